"""From a tutorial's loops to the machine's limit, an idea a step, on one layer: `fastconv tour`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fastconv.measuring import layers
from fastconv.measuring.comparison import Row
from fastconv.measuring.measure import measure
from fastconv.measuring.report.results import CaseResult, Results, arguments, digits, duration

LAYER = "resnet50.res3_3x3"
SECONDS = 0.3  # of timing for each step


class Step(NamedTuple):
    """An implementation on the way.

    Attributes
    ----------
    implementation : str
        Its name.
    idea : str
        In a sentence or two.
    module, function : str
        Where to read it.
    """

    implementation: str
    idea: str
    module: str
    function: str

    @property
    def source(self) -> str:
        """The file, from the project's folder."""
        return self.module.replace(".", "/") + ".py"


STEPS = (
    Step(
        "reference",
        "One output after the other: each product of a window with a kernel is added in Python. Every step below gives "
        "these sums.",
        "fastconv.kernels.reference",
        "conv_cell",
    ),
    Step(
        "loops",
        "The same loops, compiled: the interpreter is gone, but each sum waits for the one before it, and cells "
        "come from memory one by one.",
        "fastconv.kernels.loops.convolutions",
        "conv",
    ),
    Step(
        "strided",
        "A view shows each window without copying a cell, by strides that go back. NumPy multiplies all windows at once.",
        "fastconv.kernels.strided",
        "conv",
    ),
    Step(
        "im2col",
        "Windows are copied into the columns of a matrix, a block at a time: the convolution is a product of matrices, "
        "which BLAS is made for.",
        "fastconv.kernels.im2col",
        "conv",
    ),
    Step(
        "direct",
        "A tile of sums stays in vector registers until it is done: each cell that is read meets many weights, each "
        "weight many cells, and multiply-adds of whole vectors follow each other without a wait.",
        "fastconv.kernels.simd.engine.microkernel",
        "conv_tile",
    ),
    Step(
        "winograd",
        "Fewer products: squares of cells and kernels are transformed so that 36 products give the 16 outputs for which the "
        "direct sum takes 144.",
        "fastconv.kernels.simd.winograd.tiles",
        "kernel",
    ),
)


def taken(layer: str = LAYER, seconds: float = SECONDS, command: str = "") -> Results:
    """The steps measured on a layer; each is checked against the first.

    Raises
    ------
    ValueError
        If there is no such layer, or it is no convolution.
    """
    found = layers.layer(layer)
    if found.w_shape is None or found.operation.startswith("conv_transpose"):
        raise ValueError(f"the tour needs a convolution, got {layer}, a {found.operation}")
    names = [step.implementation for step in STEPS]
    return measure([found], implementations=names, seconds=seconds, command=command)


class Stop(NamedTuple):
    """A step with what it took.

    Attributes
    ----------
    step : Step
    row : Row
        As `fastconv.compare` gives it; without a time where the implementation does not serve the layer.
    gain : float or None
        The time of the step before that was fastest, over this one's.
    """

    step: Step
    row: Row
    gain: float | None


def stops(case: CaseResult) -> Iterator[Stop]:
    """The steps in their order."""
    rows = {row.implementation: row for row in case.rows}
    best: float | None = None
    for step in STEPS:
        row = rows.get(step.implementation)
        if row is None:
            continue
        yield Stop(step, row, best / row.seconds if best and row.seconds else None)
        best = min(filter(None, (best, row.seconds)), default=None)


def limit(results: Results) -> float | None:
    """Seconds of the layer's products at the machine's measured peak of multiply-adds."""
    peak = results.machine["fma_peak_gflops"]
    return results.cases[0].flops / (1e9 * peak) if peak and results.cases else None


def lines(results: Results) -> Iterator[tuple[str, str]]:
    """(style, text) of what a terminal shows."""
    case, machine = results.cases[0], results.machine
    yield "bold", f"{case.layer.name}: {case.layer.operation} {case.layer.shapes} {arguments(case.layer)}".rstrip()
    yield "dim", f"{machine['cpu']}, {machine['isa']}, threads: {machine['threads']}"
    for number, stop in enumerate(stops(case), 1):
        yield "", ""
        yield "bold", f"{number}  {stop.step.implementation:10} {took(stop)}"
        yield "", stop.step.idea
        yield "dim", f"Read {stop.step.function} in {stop.step.source}."
    least = limit(results)
    if least is not None:
        yield "", ""
        yield "bold", f"   {'the limit':10} {duration(least):>8}"
        yield "", "All products of the direct sum at the rate at which this machine multiplies and adds, and does nothing else."


def took(stop: Stop) -> str:
    """Time, speedup over the loops, and over the best before."""
    row = stop.row
    if row.seconds is None:
        return f"{row.status}: {row.verified}"
    if stop.gain is None:
        return f"{duration(row.seconds):>8}"
    return f"{duration(row.seconds):>8}  {digits(row.speedup)} times the loops, {digits(stop.gain)} times the best before"


def show(results: Results, console: Any) -> None:
    """Prints the tour."""
    for style, text in lines(results):
        console.print(text, style=style or None, markup=False, highlight=False)


def write(results: Results, folder: Path) -> Path:
    """Writes the tour as a page, index.html, into the folder; returns its path."""
    from fastconv.measuring.report import html, plotting, svg
    from fastconv.measuring.report.page import document, element, figure

    case = results.cases[0]
    title = f"From loops to the machine's limit: {case.layer.name}"
    picture = svg.inline(
        plotting.speedup_bars(case.rows, width=html.WIDTH),
        "tour",
        title,
        "; ".join(f"{stop.step.implementation} {took(stop)}" for stop in stops(case)),
    )
    parts = [element("h1", title), figure(picture, "Times as fast as the loops in Python")]
    for number, stop in enumerate(stops(case), 1):
        parts += [
            element("h2", f"{number}. {stop.step.implementation}"),
            element("p", took(stop).strip(), "headline"),
            element("p", stop.step.idea),
            f"<p>Read {element('code', stop.step.function)} in {element('code', stop.step.source)}.</p>",
        ]
    least = limit(results)
    if least is not None:
        parts += [
            element("h2", "The limit"),
            element("p", f"{duration(least)}: all products of the direct sum at this machine's rate of multiply-adds."),
        ]
    parts += html.provenance(results)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "index.html"
    path.write_text(document(title, parts), encoding="utf-8")
    return path
