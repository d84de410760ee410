"""What a comparison measured, as a JSON document and as tables of at most 80 columns.

compare.schema.json, which `fastconv schema` prints, describes the document. Within a version a key may be added, and none is
removed or changes its meaning.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from typing import Any

from fastconv.measuring.comparison import Row
from fastconv.measuring.extras import require
from fastconv.measuring.filters import Row as FilterRow
from fastconv.measuring.layers import Layer

WIDTH = 80  # columns that a table may take

Document = dict[str, Any]


@dataclass(frozen=True)
class CaseResult:
    """One layer and the rows that were measured on it; shapes in the order of the layout."""

    layer: Layer
    layout: str
    dtype: str
    flops: int
    bytes: int
    rows: list[Row]

    def seconds(self, name: str) -> float | None:
        """The time of an implementation, of a peer, or of the implementation that "auto" picks."""
        row = next((row for row in self.rows if (row.auto if name == "auto" else row.implementation == name)), None)
        return None if row is None else row.seconds


@dataclass(frozen=True)
class Total:
    """Time of a whole network in one implementation: the sum over layers times their counts, None if it serves not all."""

    implementation: str
    peer: bool
    seconds: float | None
    speedup: float | None
    served: int
    layers: int


@dataclass
class Results:
    """All that one command measured."""

    machine: Document
    network: str | None = None
    complete: bool = False
    cases: list[CaseResult] = field(default_factory=list)
    date: str = ""
    command: str = ""
    busy: list[str] = field(default_factory=list)  # lines that say that the machine had something else to do

    @property
    def failed(self) -> bool:
        """Whether one of fastconv's implementations gave a wrong result."""
        return any(row.status == "wrong" and not row.peer for case in self.cases for row in case.rows)

    def totals(self) -> list[Total]:
        """ "auto", and every implementation and peer, fastest first; empty unless this is a network."""
        return [] if self.network is None else self.sums()

    def sums(self) -> list[Total]:
        """As `totals`; layers that make up no network count once each."""
        if not self.cases:
            return []
        peers = {row.implementation: row.peer for case in self.cases for row in case.rows}
        totals = [self._total(name, peer) for name, peer in {"auto": False, **peers}.items()]
        return sorted(totals, key=lambda total: (total.seconds is None, total.seconds or 0.0))

    def _total(self, name: str, peer: bool) -> Total:
        seconds, served = self._sum(name)
        loops, _ = self._sum("reference")
        speedup = loops / seconds if loops and seconds else None
        return Total(name, peer, seconds, speedup, served, sum(map(self._count, self.cases)))

    def _sum(self, name: str) -> tuple[float | None, int]:
        found = [(case.seconds(name), self._count(case)) for case in self.cases]
        served = sum(count for seconds, count in found if seconds is not None)
        whole = all(seconds is not None for seconds, _ in found)
        return (sum((seconds or 0.0) * count for seconds, count in found) if whole and found else None), served

    def _count(self, case: CaseResult) -> int:
        return 1 if self.network is None else case.layer.count

    def document(self) -> Document:
        """The document that compare.schema.json describes."""
        return {
            "format": "fastconv-compare",
            "version": 1,
            "complete": self.complete,
            "date": self.date,
            "command": self.command,
            "machine": self.machine,
            "cases": [_case_document(case) for case in self.cases],
            "totals": [asdict(total) for total in self.totals()],
        }

    def json(self) -> str:
        """The document as text; infinite and undefined numbers become null."""
        return json.dumps(_finite(self.document()), indent=2, allow_nan=False)


def schema() -> str:
    """The JSON Schema of the document."""
    return files("fastconv").joinpath("compare.schema.json").read_text(encoding="utf-8")


def _case_document(case: CaseResult) -> Document:
    layer = case.layer
    return {
        "name": layer.name,
        "operation": layer.operation,
        "x_shape": layer.x_shape,
        "w_shape": layer.w_shape,
        "arguments": layer.kwargs,
        "layout": case.layout,
        "dtype": case.dtype,
        "count": layer.count,
        "flops": case.flops,
        "bytes": case.bytes,
        "rows": [asdict(row) for row in case.rows],
    }


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


# Tables -----------------------------------------------------------------------------------------------------------------


def show(results: Results, console: Any) -> None:
    """Prints the machine, then a table per case, or one of all layers and one of totals for a network."""
    machine = results.machine
    limits = [counted(machine["threads"], "thread")]
    if machine["fma_peak_gflops"]:
        limits.append(f"multiply-add peak {machine['fma_peak_gflops']:.0f} GFLOP/s")
    limits.append(f"copy {machine['copy_gbytes_per_second']:.0f} GB/s")
    print_line(console, f"{machine['cpu']}, {machine['isa']}; {'; '.join(limits)}", style="dim")
    if results.network is None:
        for case in results.cases:
            _show_case(case, console)
    elif results.cases:
        _show_network(results, console)
    for text in results.busy:
        print_line(console, text, style="yellow")
    if not results.complete:
        print_line(console, "\nInterrupted: this is what was measured until then.", style="yellow")


def print_line(console: Any, text: str, style: str = "") -> None:
    """Print a text as it is."""
    console.print(text, style=style or None, markup=False, highlight=False)


def _show_case(case: CaseResult, console: Any) -> None:
    layer = case.layer
    print_line(console, f"\n{layer.name}", style="bold")
    print_line(console, f"{layer.operation} {layer.shapes} {arguments(layer)}".rstrip())
    is_conv = layer.w_shape is not None
    work = f"{scaled(case.flops)}FLOP, " if is_conv else ""
    print_line(console, f"{case.layout} {case.dtype}; {work}{scaled(case.bytes)}B moved at least", style="dim")
    with_share = any(row.share_of_peak for row in case.rows)
    table = new_table(
        "", "time", "GFLOP/s" if is_conv else "GB/s", *(("of peak",) if with_share else ()), "speedup", "max error"
    )
    fastest = min((row.seconds for row in case.rows if row.seconds), default=None)
    for row in case.rows:
        if row.status == "skipped":
            continue
        rate = row.gflops if is_conv else row.gbytes_per_second
        cells = [row.implementation + (" (auto)" if row.auto else ""), duration(row.seconds), digits(rate)]
        if with_share:
            cells.append("" if row.share_of_peak is None else f"{100 * row.share_of_peak:.0f} %")
        cells += [
            f"{digits(row.speedup)}x" if row.speedup else "",
            "" if row.max_error is None else f"{row.max_error:.1e}" if row.max_error else "0",
        ]
        if row.status == "wrong":
            cells[1] = "WRONG"
        table.add_row(*cells, style="red" if row.status == "wrong" else "bold" if row.seconds == fastest else None)
    console.print(table)
    _explain(case, console)


def arguments(layer: Layer) -> str:
    """A layer's arguments as words."""
    return ", ".join(f"{key} {value}" for key, value in layer.arguments)


def _explain(case: CaseResult, console: Any) -> None:
    """What was checked, and a line for each row that has something to say."""
    checked = {row.verified for row in case.rows if row.status == "ok"}
    for text in sorted(checked):
        print_line(console, f"Checked against the reference loops: {text}.", style="dim")
    for row in case.rows:
        if row.status != "ok":
            print_line(
                console, f"{row.implementation}: {row.status}: {row.verified}", style="red" if row.status == "wrong" else "dim"
            )
        elif row.note and not row.peer:
            print_line(console, f"{row.implementation}: {row.note}", style="dim")
    peers = [f"{row.implementation.removesuffix('_channels_last')} {row.note}" for row in case.rows if row.peer and row.note]
    if peers:
        print_line(console, "; ".join(dict.fromkeys(peers)), style="dim")


def _show_network(results: Results, console: Any) -> None:
    print_line(console, f"\n{results.network}", style="bold")
    best_peers = any(row.peer for case in results.cases for row in case.rows)
    table = new_table(
        "layer", "x", "picked", "time", "GFLOP/s", *(("best peer", "time", "ratio") if best_peers else ("speedup",))
    )
    table.columns[2].justify = "left"
    if best_peers:
        table.columns[5].justify = "left"
    for case in results.cases:
        auto = next((row for row in case.rows if row.auto), None)
        cells = [case.layer.name.partition(".")[2], str(case.layer.count)]
        if auto is None or auto.seconds is None:
            cells += [auto.implementation if auto else "", "WRONG" if auto and auto.status == "wrong" else "", ""]
        else:
            cells += [auto.implementation, duration(auto.seconds), digits(auto.gflops)]
        if best_peers:
            peer = min((row for row in case.rows if row.peer and row.seconds), key=lambda row: row.seconds or 0.0, default=None)
            cells += ["", "", ""] if peer is None else [short(peer.implementation), duration(peer.seconds), _ratio(peer, auto)]
        else:
            cells.append(f"{digits(auto.speedup)}x" if auto and auto.speedup else "")
        table.add_row(*cells, style="red" if "WRONG" in cells else None)
    console.print(table)
    _show_totals(results, console)
    for case in results.cases:
        for row in case.rows:
            if row.status == "wrong":
                print_line(console, f"{case.layer.name}, {row.implementation}: wrong: {row.verified}", style="red")


def _show_totals(results: Results, console: Any) -> None:
    table = new_table("all layers, times their counts", "time", "speedup")
    for total in results.totals():
        missing = "" if total.seconds is not None else f"serves {total.served} of {total.layers}"
        table.add_row(
            total.implementation, duration(total.seconds) or missing, f"{digits(total.speedup)}x" if total.speedup else ""
        )
    console.print(table)
    print_line(console, "Speedups are over the reference loops, whose time is extrapolated from a sample.", style="dim")


def short(name: str) -> str:
    """A peer's name where there is little room."""
    return {"torch_channels_last": "torch c.l.", "onnxruntime": "onnxrt"}.get(name, name)


def _ratio(peer: Row, ours: Row | None) -> str:
    return f"{peer.seconds / ours.seconds:.2f}" if ours and ours.seconds and peer.seconds else ""


def show_filter(title: str, rows: Sequence[FilterRow], console: Any) -> None:
    """A function beside SciPy's and OpenCV's: a line a library."""
    table = new_table("library", "time", "fastconv is", "largest difference")
    mine = rows[0].seconds
    for row in rows:
        ratio = f"{row.seconds / mine:.2f} times as fast" if mine and row.seconds and row is not rows[0] else ""
        difference = "" if row.difference is None else f"{row.difference:.2g}"
        table.add_row(row.library, duration(row.seconds) or "not run", ratio, difference)
    print_line(console, title, "bold")
    console.print(table)
    for row in rows:
        if row.note:
            print_line(console, f"{row.library}: {row.note}")


def new_table(first: str, *others: str) -> Any:
    """A table whose first column has words and whose others numbers."""
    box = require("rich.box").SIMPLE_HEAD
    table = require("rich.table").Table(box=box, padding=(0, 1, 0, 0), pad_edge=False, header_style="", show_edge=False)
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def duration(seconds: float | None) -> str:
    """ "2.08 ms", "412 us"; empty for None."""
    if seconds is None:
        return ""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{digits(seconds / size)} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def digits(value: float | None) -> str:
    """Three digits that say something: 0.0123, 1.23, 12.3, 1,234."""
    if value is None:
        return ""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 1e-3 else f"{value:.{2 - math.floor(math.log10(value))}f}"


def scaled(value: float) -> str:
    """A count with a unit prefix, which the caller's unit follows: "231 M"."""
    for prefix, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {prefix}"
    return f"{value:.3g} "


def counted(number: int, noun: str) -> str:
    """ "1 thread", "2 threads"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
