"""Convolution by Fourier transforms of blocks, as blocks.py has them: which block, and what is packed for it.

Rounding is spread over a block: the error of an output is relative to the largest values around it, not to its own. A NaN or
inf in x spreads to the whole block that reads it, of all output channels, and to the block that is its pair.
"""

from functools import partial
from math import log2, prod
from typing import Any

import numpy as np

from fastconv.kernels.jit import NO_WEIGHTS, Launch, element
from fastconv.kernels.keeping import remembered
from fastconv.kernels.memory import aligned
from fastconv.kernels.simd.engine import epilogue
from fastconv.kernels.simd.engine.costs import Candidate, cheapest
from fastconv.kernels.simd.engine.sizes import Axes, Strides, axes, written
from fastconv.kernels.simd.engine.walks import TapSteps, strides, tap_steps
from fastconv.kernels.simd.fourier import blocks, spectra
from fastconv.kernels.simd.fourier.cuts import Cut, fastest, pairs_of, real_of
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import SPATIAL_AXES, Array, ConvGeometry
from fastconv.problem.problem import Operands, Problem

MOST_WEIGHTS = 256 << 20  # bytes of transformed weights
EXACT = 15  # taps on an axis, up to which whole filters of one channel keep the sums of whole numbers exact
LAST = 4.0  # times the seconds of those, which makes them dearer than what any exact family takes


# Candidates -------------------------------------------------------------------------------------------------------------


@remembered
def candidates(problem: Problem, machine: Machine) -> tuple[Candidate, ...]:
    """The block whose passes should take the least time, if any holds the kernel."""
    g, dtype = problem.geometry, problem.dtype
    best = fastest(g, dtype, machine)
    if best is None:
        return ()
    seconds, cut = best
    return (Candidate(seconds, cut, partial(launch, g, cut, seconds, dtype, machine)),)


@remembered
def chosen(problem: Problem, machine: Machine) -> Candidate:
    """The candidate that is expected to take the least time."""
    return cheapest(candidates(problem, machine))


def supports(problem: Problem) -> str | None:
    """Convolutions of float32, float64, complex64 or complex128 whose kernel fits a block."""
    g, dtype = problem.geometry, problem.dtype
    if dtype.char not in "fdFD":
        return f"it transforms float32, float64, complex64 or complex128, not {dtype}"
    if g.transposed:
        return "it serves convolutions, not transposed ones"
    if g.border.mode == "constant" and dtype.kind == "c":
        return "its borders of complex numbers hold zeros or cells of x, not another constant"
    if not g.in_per_group:
        return "it needs channels"
    if not candidates(problem, host()):
        return f"a kernel that reaches over {'x'.join(map(str, g.window))} cells does not fit its blocks"
    points = prod(chosen(problem, host()).cut.shape)
    weights = 2 * real_of(dtype).itemsize * points * g.in_channels * g.out_per_group
    if weights > MOST_WEIGHTS:
        return f"its transformed weights would take {weights >> 20} MiB, more than {MOST_WEIGHTS >> 20}"
    return None


def cost(problem: Problem, machine: Machine) -> float:
    """Of the block that was chosen; image filters were measured to take less than its parts add up to.

    So dear that nobody takes it for those of one channel and few taps, which others keep exact: the weights are not known when
    a family is chosen.
    """
    if not candidates(problem, machine):
        return float("inf")
    g = problem.geometry
    exact = problem.dtype.kind == "f" and g.in_channels == 1 and max(g.kernel) <= EXACT
    return share_of(problem) * chosen(problem, machine).seconds * (LAST if exact else 1.0)


def share_of(problem: Problem) -> float:
    """What image filters take of the time that their parts add up to."""
    g = problem.geometry
    return 0.8 if g.rank == 2 and g.in_per_group == 1 and problem.dtype == np.float32 else 1.0


def least(problem: Problem, machine: Machine) -> float:
    """Of the transforms and products of as many points as there are outputs, in the smallest blocks."""
    g, real = problem.geometry, real_of(problem.dtype) if problem.dtype.kind in "fc" else problem.dtype
    lanes = machine.lanes(real)
    points = g.batch * prod(g.out_size) / (1 if problem.dtype.kind == "c" else 2)
    cycles = 7 * 2 * log2(lanes) * (g.in_channels + g.out_channels) + 8 * g.in_channels * g.out_per_group
    return share_of(problem) * machine.seconds(36_000 + points / lanes * cycles, g.bytes(real.itemsize))


def pack_cost(problem: Problem, machine: Machine) -> float:
    """Seconds that `pack` takes: a transform for each kernel."""
    g = problem.geometry
    if not candidates(problem, machine):
        return float("inf")
    spectra_bytes = g.out_channels * g.in_per_group * prod(chosen(problem, machine).cut.shape) * real_of(problem.dtype).itemsize
    return 2.5e-5 + 1e-9 * float(spectra_bytes)


# Plan -------------------------------------------------------------------------------------------------------------------


def in_reals(geometry: ConvGeometry, channels: int, size: tuple[int, ...], parts: int) -> Strides:
    """The strides of an array whose elements are so many real numbers each."""
    return Strides(*(parts * step for step in strides(geometry, channels, size)))


@remembered
def launch(geometry: ConvGeometry, cut: Cut, seconds: float, dtype: np.dtype[Any], machine: Machine) -> Launch:
    """The launch for this cut, without weights."""
    g, real, parts = geometry.lifted(), real_of(dtype), 2 if dtype.kind == "c" else 1
    lanes, long, paired = machine.lanes(real), geometry.rank == 1, dtype.kind != "c"
    sizes = blocks.Sizes(
        x=in_reals(g, g.in_channels, g.in_size, parts),
        y=in_reals(g, g.out_channels, g.out_size, parts),
        cells=axes(g.in_size),
        outputs=axes(g.out_size),
        stride=axes(g.stride),
        window=axes(g.window),
        padding=Axes(*(before for before, _ in g.padding)),
        block=axes(cut.outputs),
        form=spectra.form_of(cut.shape, lanes, real),
        groups=g.groups,
        c_group=g.in_per_group,
        k_group=g.out_per_group,
        chunk=cut.chunk,
        mode=g.mode,
    )
    count = prod(-(-total // part) for total, part in zip(g.out_size, cut.outputs, strict=True))
    items = g.batch * g.groups * -(-pairs_of(count, dtype) // cut.chunk)
    parameters = epilogue.scalars(g.activation, real, g.border.value if paired else 0)
    arguments = (written(sizes), spectra.tables_of(cut.shape, long, lanes, real), parameters)
    kernel = blocks.kernel(lanes, long, paired, element(real), machine.isa)
    return Launch(kernel, items, int(seconds * 5e8), NO_WEIGHTS, NO_WEIGHTS, arguments)


def spectra_of(w: Array, geometry: ConvGeometry, cut: Cut, machine: Machine) -> Array:
    """The spectra of all kernels as [group][k][c][strip][re, im][m][lanes]."""
    g, real, parts = geometry.lifted(), real_of(w.dtype), 2 if w.dtype.kind == "c" else 1
    lanes, long, form = machine.lanes(real), geometry.rank == 1, spectra.form_of(cut.shape, machine.lanes(real), real)
    (depth, *_), (height, *_), (width, *_) = (g.walks(axis) for axis in range(SPATIAL_AXES))
    sizes = spectra.Sizes(
        form=form,
        taps=axes(g.kernel),
        dilation=axes(g.dilation),
        steps=TapSteps(*(parts * step for step in tap_steps(g, (depth, height, width)))),
        c_group=g.in_per_group,
    )
    kernels, size = g.out_channels * g.in_per_group, spectra.spectrum_size(form, lanes)
    packed = aligned(kernels * size, real)
    transform = spectra.weight_kernel(lanes, long, parts == 1, element(real), machine.isa)
    tables = spectra.tables_of(cut.shape, long, lanes, real)
    transform(kernels, kernels * 50 * size, w.reshape(-1).view(real), packed, written(sizes), tables)
    return packed


def pack(w: Array, bias: Array, problem: Problem) -> Launch:
    """The launch with the spectra of all kernels."""
    candidate = chosen(problem, host())
    bare: Launch = candidate.launch()
    return bare.with_weights(spectra_of(w, problem.geometry, candidate.cut, host()), bias.view(real_of(w.dtype)))


def kernel(problem: Problem, machine: Machine) -> str:
    """The name of the kernel that runs."""
    return str(chosen(problem, machine).launch().kernel.__name__)


def run(operands: Operands, packed: Launch, problem: Problem, out: Array) -> None:
    """All blocks."""
    real, y = real_of(out.dtype), out.reshape(-1)
    residual = operands["residual"].reshape(-1) if problem.residual else y
    packed.run(operands["x"].reshape(-1).view(real), residual.view(real), y.view(real))
