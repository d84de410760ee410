"""Runs comparisons over a list of layers, with a progress bar on a terminal, and draws what they found."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from platform import python_version
from typing import Any, NamedTuple, Protocol

import numpy as np

import fastconv as api
from fastconv import __version__
from fastconv.machine import cpu_name, host
from fastconv.measuring.busy import Watch
from fastconv.measuring.comparison import Comparison, Row, peer_names
from fastconv.measuring.extras import require
from fastconv.measuring.layers import Layer
from fastconv.measuring.peers import Peer, opened
from fastconv.measuring.report.results import CaseResult, Document, Results, counted
from fastconv.measuring.roofs import copy_bandwidth, fma_peak
from fastconv.problem.convolutions import LAYOUTS

DEFAULT_LAYERS = ("resnet50.res3_3x3", "resnet50.res3_1x1b", "mobilenetv2.b3_dw", "resnet50.pool1")
GENERIC_LAYOUTS = ("channels_first", "channels_last")
SECONDS, NETWORK_SECONDS = 0.5, 0.2  # of timing for each row
REFERENCE_SECONDS, NETWORK_REFERENCE_SECONDS = 1.0, 0.2


def measure(
    chosen: Sequence[Layer],
    *,
    network: str | None = None,
    dtype: str = "float32",
    layout: str | None = None,
    implementations: Iterable[str] | None = None,
    peers: bool | Iterable[str] = False,
    seconds: float | None = None,
    command: str = "",
) -> Results:
    """Compares the layers one by one. Ctrl-C ends it, and the results say that they are not complete.

    Parameters
    ----------
    chosen : sequence of Layer
        What to compare.
    network : str, optional
        The network that these layers make up: then only the implementation that "auto" picks runs beside the reference,
        unless `implementations` says otherwise, and the results have totals.
    dtype, layout : str, optional
        "channels_first" and "channels_last" are layouts for any number of axes; each layer's own if not given.
    implementations, peers, seconds
        As `fastconv.compare` takes them.
    command : str
        What the results say that they were made by.

    Returns
    -------
    Results

    Raises
    ------
    ValueError, TypeError
        If a layer, a name or an argument does not fit; before anything has run if it is the first layer's.
    """
    names = peer_names(peers)
    if network is not None and implementations is None:
        implementations = ("auto", "reference")
    wanted = None if implementations is None else tuple(implementations)
    limit = REFERENCE_SECONDS if network is None else NETWORK_REFERENCE_SECONDS
    spent = seconds if seconds is not None else SECONDS if network is None else NETWORK_SECONDS
    begun = datetime.now(UTC).isoformat(timespec="seconds")
    results = Results(_machine(np.dtype(dtype)), network, date=begun, command=command)
    comparison: Comparison | None = None
    watch = Watch()
    try:
        with opened(names, api.get_num_threads()) as running, progress(len(chosen)) as bar:
            for layer in chosen:
                comparison = None
                comparison, order = _comparison(layer, dtype, layout, wanted, spent, limit)
                comparison.watch = watch
                _run(comparison, layer, running, bar)
                results.cases.append(_result(layer, order, comparison))
        results.complete = True
    except KeyboardInterrupt:
        if comparison is not None and len(results.cases) < len(chosen) and comparison.rows():
            results.cases.append(_result(chosen[len(results.cases)], order, comparison))
    watch.spreads = [row.spread for case in results.cases for row in case.rows if row.spread is not None]
    results.machine |= {"processor_share": watch.share, "load_average": watch.load}
    results.busy = watch.told()
    return results


def _machine(dtype: np.dtype[Any]) -> Document:
    peak = fma_peak(dtype, api.get_num_threads())
    return {
        "cpu": cpu_name(),
        "isa": host().isa,
        "threads": api.get_num_threads(),
        "fma_peak_gflops": None if peak is None else peak / 1e9,
        "copy_gbytes_per_second": copy_bandwidth(api.get_num_threads()) / 1e9,
        "python": python_version(),
        "numpy": np.__version__,
        "numba": metadata.version("numba"),
        "fastconv": __version__,
    }


def _comparison(
    layer: Layer, dtype: str, layout: str | None, implementations: Sequence[str] | None, seconds: float, limit: float
) -> tuple[Comparison, str]:
    """The comparison of a layer, and its layout."""
    order = layer.layout if layout is None else layout
    if order in GENERIC_LAYOUTS and layer.rank in LAYOUTS:
        order = LAYOUTS[layer.rank][GENERIC_LAYOUTS.index(order)]
    x, w = layer.arrays(dtype, order)
    call: dict[str, Any] = {**layer.kwargs, "layout": order}
    if w is not None:
        call["w"] = w
    comparison = Comparison(
        layer.operation, x, implementations=implementations, seconds=seconds, reference_seconds=limit, **call
    )
    return comparison, order


def _run(comparison: Comparison, layer: Layer, peers: Sequence[Peer], bar: "Bar") -> None:
    comparison.add_peers(peers)
    bar.case(comparison.total_steps)
    for step in comparison.steps():
        bar.step(f"{layer.name}: {step}")


def _result(layer: Layer, layout: str, comparison: Comparison) -> CaseResult:
    geometry, itemsize = comparison.geometry, comparison.dtype.itemsize
    return CaseResult(layer, layout, str(comparison.dtype), geometry.flops, geometry.bytes(itemsize), comparison.rows())


# Progress ---------------------------------------------------------------------------------------------------------------


class Bar(Protocol):
    """What work tells of itself."""

    def case(self, steps: int) -> None:
        """A case of so many steps begins."""

    def step(self, text: str) -> None:
        """A step begins."""


class _Silent:
    def case(self, steps: int) -> None:
        pass

    def step(self, text: str) -> None:
        pass


class _Rich:
    """Each case is one unit of the bar, whatever its number of steps, so that the time left is that of all cases."""

    def __init__(self, progress: Any, cases: int) -> None:
        self._progress, self._task = progress, progress.add_task("", total=cases)
        self._begun, self._done, self._steps = 0, 0, 1

    def case(self, steps: int) -> None:
        self._begun += 1
        self._done, self._steps = 0, steps

    def step(self, text: str) -> None:
        completed = self._begun - 1 + min(1.0, self._done / self._steps)
        self._progress.update(self._task, completed=completed, description=text)
        self._done += 1


@contextmanager
def progress(cases: int) -> Iterator[Bar]:
    """A bar with the time left on stderr; nothing where that is no terminal."""
    if not sys.stderr.isatty():
        yield _Silent()
        return
    rich = require("rich.progress")
    console = require("rich.console").Console(stderr=True)
    columns = (rich.TextColumn("{task.description}"), rich.BarColumn(20), rich.TimeRemainingColumn())
    with rich.Progress(*columns, console=console, transient=True) as bar:
        yield _Rich(bar, cases)


# Pictures ---------------------------------------------------------------------------------------------------------------


def draw(results: Results, path: Path) -> list[Path]:
    """Writes speedup bars to `path` and a roofline beside it, for each case or for the network; returns the files."""
    from fastconv.measuring.report import plotting, svg

    peak, bandwidth = results.machine["fma_peak_gflops"], 1e9 * results.machine["copy_gbytes_per_second"]
    written = []
    for sheet in _sheets(results):
        title = f"{sheet.title}, {results.machine['cpu']}, {counted(results.machine['threads'], 'thread')}"
        roof = 1e9 * peak if peak and sheet.multiplies else None
        pictures = {
            f"{path.stem}{sheet.suffix}{path.suffix}": (sheet.bars, partial(plotting.speedup_bars, title=title)),
            f"{path.stem}{sheet.suffix}-roofline{path.suffix}": (
                sheet.points,
                partial(plotting.roofline, peak=roof, bandwidth=bandwidth, title=title),
            ),
        }
        for name, (rows, picture) in pictures.items():
            if any(row.speedup for row in rows):
                figure = picture(rows)
                if path.suffix == ".svg":
                    path.with_name(name).write_text(svg.standalone(figure, title), encoding="utf-8")
                else:
                    figure.savefig(path.with_name(name))
                written.append(path.with_name(name))
    return written


class _Sheet(NamedTuple):
    """Rows for bars and points for a roofline, whose arithmetic roof only those that multiply can reach."""

    suffix: str
    title: str
    bars: list[Row]
    points: list[Row]
    multiplies: bool


def _sheets(results: Results) -> list[_Sheet]:
    if results.network is None:
        several = len(results.cases) > 1
        return [
            _Sheet(
                f"-{case.layer.name}" if several else "", case.layer.name, case.rows, case.rows, case.layer.w_shape is not None
            )
            for case in results.cases
        ]
    totals = [
        Row(total.implementation, total.peer, total.implementation == "auto", seconds=total.seconds, speedup=total.speedup)
        for total in results.totals()
    ]
    points = [
        replace(row, implementation=case.layer.name.partition(".")[2])
        for case in results.cases
        for row in case.rows
        if row.auto and case.layer.w_shape is not None
    ]
    return [_Sheet("", f"{results.network}, all layers", totals, points, True)]
