"""Gradients beside torch's as one page of HTML with pictures: `fastconv compare --backward --report DIR`."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib import metadata
from itertools import product
from pathlib import Path

import numpy as np

import fastconv as api
from fastconv.machine import cpu_name, host
from fastconv.measuring.backward import Row, mean_ratio
from fastconv.measuring.busy import Watch
from fastconv.measuring.report import plotting, svg
from fastconv.measuring.report.html import WIDTH, listed
from fastconv.measuring.report.page import Cell, document, element, figure, table
from fastconv.measuring.report.results import duration

COLUMNS = ("layer", "count", "by", "layout", "fastconv", "torch", "times as fast", "difference", "note")
OPERANDS = {"x": "input", "w": "weights"}
METHOD = """Both libraries run in one process, in turn, round by round, and medians are taken: fastconv's pullback of a plan,
whose weights are packed beforehand, and torch.autograd.grad on tensors of the same layout. Differences are the largest from
torch's gradient, over the largest sum of the terms' magnitudes."""


def write(rows: Sequence[Row], watch: Watch, command: str, folder: Path) -> Path:
    """Writes index.html into the folder, which is made if it is not there; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "index.html"
    path.write_text(page(rows, watch, command), encoding="utf-8")
    return path


def page(rows: Sequence[Row], watch: Watch, command: str) -> str:
    """The page's text."""
    layers = list(dict.fromkeys(row.layer for row in rows))
    subject = layers[0] if len(layers) == 1 else f"{len(layers)} layers"
    title = f"{subject}: gradients by fastconv beside torch"
    parts = [element("h1", title), *_opening(rows, watch), *_pictures(rows)]
    parts.append(table("Every gradient", COLUMNS, [("wrong" if row.wrong else "", _cells(row)) for row in rows]))
    facts = [
        ("command", command),
        ("date", datetime.now(UTC).isoformat(timespec="seconds")),
        ("processor", f"{cpu_name()}, {host().isa}"),
        ("threads", str(api.get_num_threads())),
        ("fastconv", api.__version__),
        ("numpy", np.__version__),
        *[("torch", one.version) for one in metadata.distributions(name="torch")][:1],
    ]
    return document(title, [*parts, *listed(facts, METHOD)])


def _kinds(rows: Sequence[Row]) -> Iterator[tuple[str, str, list[Row]]]:
    """(operand, layout, its rows) of each that there is."""
    for operand, layout in product(OPERANDS, dict.fromkeys(row.layout for row in rows)):
        found = [row for row in rows if (row.operand, row.layout) == (operand, layout)]
        if found:
            yield operand, layout, found


def _opening(rows: Sequence[Row], watch: Watch) -> Iterator[str]:
    """The means, and what stands against them."""
    for operand, layout, found in _kinds(rows):
        mean = mean_ratio(found)
        if mean is not None:
            told = f"By the {OPERANDS[operand]}, {layout}: <strong>{mean:.2f} times</strong> as fast as torch, in the mean."
            yield f'<p class="headline">{told}</p>'
    for row in rows:
        if row.wrong:
            yield element("p", f"{row.layer} {row.layout} by {row.operand}: differs from torch's gradient: wrong", "warning")
    for text in watch.told():
        yield element("p", text, "warning")


def _pictures(rows: Sequence[Row]) -> Iterator[str]:
    """Bars of the ratios, a picture an operand and layout."""
    for operand, layout, found in _kinds(rows):
        ratios = [(row.layer.rpartition(".")[2], row.ratio) for row in found if row.ratio is not None]
        if ratios:
            caption = f"Gradients by the {OPERANDS[operand]}, {layout}: torch's time over fastconv's"
            spoken = "; ".join(f"{name} {ratio:.2f} times" for name, ratio in ratios)
            drawn = plotting.ratio_bars(ratios, width=WIDTH)
            yield figure(svg.inline(drawn, f"by-{operand}-{layout}", caption, spoken), caption)


def _cells(row: Row) -> list[Cell]:
    """A row under COLUMNS."""
    theirs, ratio, apart = row.torch_seconds, row.ratio, row.difference
    return [
        Cell(row.layer, kind="words"),
        Cell(str(row.count), row.count),
        Cell(row.operand, kind="words"),
        Cell(row.layout, kind="words"),
        Cell(duration(row.seconds), row.seconds),
        Cell("") if theirs is None else Cell(duration(theirs), theirs),
        Cell("") if ratio is None else Cell(f"{ratio:.2f}", ratio),
        Cell("") if apart is None else Cell(f"{apart:.1e}", apart),
        Cell(row.note, kind="long"),
    ]
