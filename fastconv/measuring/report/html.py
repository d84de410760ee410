"""What a comparison measured, as one page of HTML with pictures: `fastconv compare --report DIR`."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fastconv.measuring.comparison import Row
from fastconv.measuring.report import plotting, svg
from fastconv.measuring.report.page import Cell, document, element, figure, table
from fastconv.measuring.report.results import CaseResult, Results, Total, arguments, counted, digits, duration, scaled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["listed", "page", "provenance", "write"]

COLUMNS = ("implementation", "time", "GFLOP/s", "GB/s", "of peak", "over loops", "max error", "checked", "note", "kernel")
WIDTH = 5.2  # inches of a picture whose words can be read on a phone
NAMED = 3  # layers that a title names
METHOD = """Every result is first checked against plain loops in double precision. Then all are timed in turn, round by round,
with weights packed beforehand, and medians are taken; other libraries run in processes of their own. GFLOP/s count the
operations of the direct method, so that Winograd may pass the peak; bytes are those of input, weights and output, each once.
The time of the loops is extrapolated from a sample where they are slow."""


def write(results: Results, folder: Path) -> Path:
    """Writes index.html into the folder, which is made if it is not there; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "index.html"
    path.write_text(page(results), encoding="utf-8")
    return path


def page(results: Results) -> str:
    """The page's text."""
    title = f"{_subject(results)}: fastconv{_against(results)}"
    parts = [element("h1", title), *_opening(results)]
    if results.network is None:
        for number, case in enumerate(results.cases):
            parts += _case(case, number, results)
    elif results.cases:
        parts += _network(results)
    parts += provenance(results)
    return document(title, parts)


def _subject(results: Results) -> str:
    if results.network is not None:
        return f"{results.network}, all layers" if results.complete else f"{results.network}, {_layers(results)}"
    names = [case.layer.name for case in results.cases]
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "") if names else "Nothing measured"


def _layers(results: Results) -> str:
    return f"the first {counted(len(results.cases), 'layer')}"


def _against(results: Results) -> str:
    peers = _peers(results)
    return f" beside {', '.join(peers)}" if peers else ", every implementation" if results.network is None else ""


def _peers(results: Results) -> list[str]:
    """Those that measured anything, in their order."""
    rows = (row for case in results.cases for row in case.rows if row.peer and row.seconds)
    return list(dict.fromkeys(row.implementation for row in rows))


# Text -------------------------------------------------------------------------------------------------------------------


def _opening(results: Results) -> Iterator[str]:
    """The headline, and what stands against it."""
    sums = results.sums()
    ours = _ours(sums)
    if ours is not None and ours.seconds is not None:
        yield f'<p class="headline">{_headline(results, ours, sums)}</p>'
    if not results.complete:
        yield element("p", "Interrupted: this is what was measured until then.", "warning")
    for case in results.cases:
        for row in case.rows:
            if row.status == "wrong":
                yield element("p", f"{case.layer.name}, {row.implementation}: wrong: {row.verified}", "warning")


def _ours(sums: Sequence[Total]) -> Total | None:
    """What "auto" takes, or else the fastest of fastconv's that serves every layer."""
    named = {total.implementation: total for total in sums}
    auto = named.get("auto")
    if auto is not None and auto.seconds is not None:
        return auto
    return next((total for total in sums if not total.peer and total.seconds is not None), None)


def _headline(results: Results, ours: Total, sums: Sequence[Total]) -> str:
    names = {row.implementation for case in results.cases for row in case.rows if row.auto}
    who = ours.implementation if ours.implementation != "auto" else names.pop() if len(names) == 1 else "fastconv"
    work = f" for {counted(ours.layers, 'layer')}" if len(results.cases) > 1 else ""
    text = [f"<strong>{_safe(duration(ours.seconds))}</strong>{work} by {_safe(who)}"]
    if ours.speedup and ours.implementation != "reference":
        text.append(f"<strong>{digits(ours.speedup)} times</strong> as fast as plain loops")
    best = next((total for total in sums if total.peer and total.seconds), None)
    if best is not None and best.seconds and ours.seconds:
        ratio = f"<strong>{best.seconds / ours.seconds:.2f} times</strong>"
        text.append(
            f"{ratio} as fast as the fastest other library, {_safe(best.implementation)} ({_safe(duration(best.seconds))})"
        )
    return "; ".join(text) + "."


def _safe(text: str) -> str:
    return element("span", text)


def provenance(results: Results) -> Iterator[str]:
    """What ran where, when and how."""
    machine = results.machine
    peak = machine["fma_peak_gflops"]
    facts = [
        ("command", results.command),
        ("date", results.date),
        ("processor", f"{machine['cpu']}, {machine['isa']}"),
        ("threads", str(machine["threads"])),
        ("multiply-add peak", f"{peak:.0f} GFLOP/s, measured" if peak else "not measured"),
        ("memory", f"{machine['copy_gbytes_per_second']:.0f} GB/s of a large copy, read and written, measured"),
        *((name, str(machine[name])) for name in ("fastconv", "numpy", "numba", "python")),
        *_peer_versions(results).items(),
    ]
    return listed(facts, METHOD)


def listed(facts: Iterable[tuple[str, str]], method: str) -> Iterator[str]:
    """How a page's figures were measured: names with what they were, those that are not empty, and the method."""
    yield element("h2", "How this was measured")
    terms = "".join(
        f"{element('dt', name)}<dd>{element('code', value) if name == 'command' else _safe(value)}</dd>"
        for name, value in facts
        if value
    )
    yield f"<dl>{terms}</dl>"
    yield element("p", method, "faint")


def _peer_versions(results: Results) -> dict[str, str]:
    found: dict[str, str] = {}
    for case in results.cases:
        for row in case.rows:
            if row.peer and row.note:
                found.setdefault(row.implementation.removesuffix("_channels_last"), row.note.split(",")[0])
    return found


# Tables and pictures ----------------------------------------------------------------------------------------------------


def _case(case: CaseResult, number: int, results: Results) -> Iterator[str]:
    yield element("h2", case.layer.name)
    yield element("p", _description(case), "faint")
    name = f"case{number}"
    if any(row.speedup for row in case.rows):
        caption = f"{case.layer.name}: speedup over the reference loops"
        yield _picture(f"{name}-bars", plotting.speedup_bars(case.rows, width=WIDTH), caption, _spoken(case.rows))
    ours = min((row for row in case.rows if row.auto and row.seconds), key=_time, default=None)
    peers = sorted((row for row in case.rows if row.peer and row.seconds), key=_time)
    if ours is not None and peers:
        ratios = [(row.implementation, _time(row) / _time(ours)) for row in peers]
        caption = f"{case.layer.name}: {ours.implementation} against each other library"
        yield _picture(f"{name}-peers", plotting.ratio_bars(ratios, width=WIDTH), caption, _ratios_spoken(ratios))
    yield from _roofline(f"{name}-roof", case.layer.name, case.rows, results, case.layer.w_shape is not None)
    fastest = min((row.seconds for row in case.rows if row.seconds), default=None)
    yield table(f"{case.layer.name}: every implementation", COLUMNS, [_row(row, fastest) for row in case.rows])


def _network(results: Results) -> Iterator[str]:
    sums = results.totals()
    yield element("h2", "All layers, times their counts")
    rows = [
        Row(one.implementation, one.peer, one.implementation == "auto", seconds=one.seconds, speedup=one.speedup)
        for one in sums
    ]
    if any(row.speedup for row in rows):
        yield _picture(
            "total-bars",
            plotting.speedup_bars(rows, width=WIDTH),
            "Whole network: speedup over the reference loops",
            _spoken(rows),
        )
    ours = _ours(sums)
    peers = [one for one in sums if one.peer and one.seconds]
    if ours is not None and ours.seconds and peers:
        ratios = [(one.implementation, (one.seconds or 0.0) / ours.seconds) for one in peers]
        caption = f"Whole network: {ours.implementation} against each other library"
        yield _picture("total-peers", plotting.ratio_bars(ratios, width=WIDTH), caption, _ratios_spoken(ratios))
    columns = ("implementation", "time", "over loops", "layers served")
    yield table("Whole network", columns, [("", _total(one)) for one in sums])
    yield element("h2", "Layer by layer")
    by_layer = [(_short(case), ratio) for case in results.cases if (ratio := _best_ratio(case)) is not None]
    if by_layer:
        caption = "Each layer: what auto takes against the fastest other library"
        yield _picture("layer-peers", plotting.ratio_bars(by_layer, width=WIDTH), caption, _ratios_spoken(by_layer))
    points = [
        Row(**{**row.__dict__, "implementation": _short(case)})
        for case in results.cases
        for row in case.rows
        if row.auto and case.layer.w_shape is not None
    ]
    yield from _roofline("layer-roof", "Each layer", points, results, True)
    yield table(
        "Every layer and implementation",
        ("layer", "count", "shapes", *COLUMNS),
        [
            (
                kind,
                (
                    Cell(_short(case)),
                    Cell(str(case.layer.count), case.layer.count),
                    Cell(case.layer.shapes, kind="words"),
                    *cells,
                ),
            )
            for case in results.cases
            for kind, cells in (_row(row, None) for row in case.rows)
        ],
    )


def _picture(name: str, drawn: "Figure", caption: str, spoken: str) -> str:
    return figure(svg.inline(drawn, name, caption, spoken), caption)


def _roofline(name: str, subject: str, rows: Sequence[Row], results: Results, multiplies: bool) -> Iterator[str]:
    if not any(row.gflops and row.gbytes_per_second and row.implementation != "reference" for row in rows):
        return
    peak, bandwidth = results.machine["fma_peak_gflops"], 1e9 * results.machine["copy_gbytes_per_second"]
    drawn = plotting.roofline(rows, 1e9 * peak if peak and multiplies else None, bandwidth, width=WIDTH)
    caption = f"{subject}: roofline, under the arithmetic and memory limits measured on this machine"
    rates = [f"{row.implementation} {digits(row.gflops)} GFLOP/s" for row in rows if row.gflops]
    yield _picture(name, drawn, caption, "; ".join(rates))


def _row(row: Row, fastest: float | None) -> tuple[str, list[Cell]]:
    """(class, cells) of a row under COLUMNS."""
    kind = "wrong" if row.status == "wrong" else "best" if row.seconds and row.seconds == fastest else ""
    share = "" if row.share_of_peak is None else f"{100 * row.share_of_peak:.0f} %"
    error = "" if row.max_error is None else f"{row.max_error:.1e}" if row.max_error else "0"
    checked = row.verified if row.status == "ok" else f"{row.status}: {row.verified}"
    return kind, [
        Cell(row.implementation + (" (auto)" if row.auto else ""), kind="words"),
        _number(duration, row.seconds),
        _number(digits, row.gflops),
        _number(digits, row.gbytes_per_second),
        Cell(share, row.share_of_peak),
        _number(lambda value: f"{digits(value)}x", row.speedup),
        Cell(error, row.max_error),
        Cell(checked, kind="long"),
        Cell(row.note, kind="long"),
        Cell(row.kernel or "", kind="words"),
    ]


def _total(total: Total) -> list[Cell]:
    return [
        Cell(total.implementation, kind="words"),
        _number(duration, total.seconds),
        _number(lambda value: f"{digits(value)}x", total.speedup),
        Cell(f"{total.served} of {total.layers}", total.served),
    ]


def _number(text: Callable[[float], str], value: float | None) -> Cell:
    return Cell("") if value is None else Cell(text(value), value)


def _description(case: CaseResult) -> str:
    layer = case.layer
    work = f"{scaled(case.flops)}FLOP, " if layer.w_shape is not None else ""
    call = f"{layer.operation} {layer.shapes} {arguments(layer)}".rstrip()
    return f"{call}; {case.layout} {case.dtype}; {work}{scaled(case.bytes)}B moved at least"


def _short(case: CaseResult) -> str:
    return case.layer.name.partition(".")[2] or case.layer.name


def _time(row: Row) -> float:
    return row.seconds or 0.0


def _best_ratio(case: CaseResult) -> float | None:
    """The fastest peer's time over that of what "auto" takes."""
    ours = case.seconds("auto")
    peer = min((row.seconds for row in case.rows if row.peer and row.seconds), default=None)
    return peer / ours if ours and peer else None


def _spoken(rows: Sequence[Row]) -> str:
    return "; ".join(
        f"{row.implementation} {digits(row.speedup)} times, {duration(row.seconds)}" for row in rows if row.speedup
    )


def _ratios_spoken(ratios: Sequence[tuple[str, float]]) -> str:
    return "; ".join(f"{name} {ratio:.2f} times" for name, ratio in ratios)
