"""Gradients beside torch's as a table of at most 80 columns, or as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from fastconv.measuring.backward import Row, mean_ratio
from fastconv.measuring.busy import Watch
from fastconv.measuring.report.results import duration, new_table, print_line


def show(rows: Sequence[Row], watch: Watch, console: Any) -> None:
    """A line a layer and operand: either layout's time, torch's, and times as fast; then the mean, and what is wrong."""
    layouts = list(dict.fromkeys(row.layout for row in rows))
    table = new_table("layer", "by", *(name for layout in layouts for name in (layout, "torch", "ratio")))
    for (layer, operand), group in groupby(
        sorted(rows, key=lambda row: order(row, rows)), key=lambda row: (row.layer, row.operand)
    ):
        of_layout = {row.layout: row for row in group}
        cells = [layer.rpartition(".")[2], operand]
        for layout in layouts:
            row = of_layout.get(layout)
            cells += ["", "", ""] if row is None else [duration(row.seconds), duration(row.torch_seconds), ratio(row.ratio)]
        table.add_row(*cells, style="red" if any(row.wrong for row in of_layout.values()) else None)
    console.print(table)
    for operand in ("x", "w"):
        means = [mean_ratio([row for row in rows if row.operand == operand and row.layout == layout]) for layout in layouts]
        if any(means):
            told = ", ".join(f"{ratio(mean)} {layout}" for mean, layout in zip(means, layouts, strict=True) if mean)
            print_line(console, f"by {operand}, times as fast as torch, geometric mean of all: {told}")
    largest = max((row.difference for row in rows if row.difference is not None), default=None)
    if largest is not None:
        print_line(console, f"Gradients differ by {largest:.1e} of the largest sum of terms at most.", "dim")
    for row in rows:
        if row.wrong or row.note:
            told = row.note or f"differs from torch's gradient by {row.difference:.1e} of the largest sum of terms: WRONG"
            print_line(console, f"{row.layer} {row.layout} by {row.operand}: {told}", "red" if row.wrong else "dim")
    for text in watch.told():
        print_line(console, text, "yellow")


def order(row: Row, rows: Sequence[Row]) -> tuple[int, str]:
    """As layers come; by x before by w."""
    return [one.layer for one in rows].index(row.layer), {"x": "0", "w": "1"}.get(row.operand, row.operand)


def ratio(value: float | None) -> str:
    """Two decimals, or nothing."""
    return "" if value is None else f"{value:.2f}"


def document(rows: Sequence[Row], command: str) -> str:
    """The rows as JSON."""
    found = [{**asdict(row), "ratio": row.ratio} for row in rows]
    return json.dumps({"format": "fastconv-compare-backward", "version": 1, "command": command, "rows": found}, indent=2)
