"""Convolutions and transposed convolutions: ordered lists, best first, reference last."""

from dataclasses import replace
from functools import partial
from math import prod
from typing import Any

from fastconv.kernels import im2col, reference, strided
from fastconv.kernels.jit import launch_calls
from fastconv.kernels.loops import convolutions as loops
from fastconv.kernels.simd.depthwise import choice as depthwise
from fastconv.kernels.simd.direct import choice as direct
from fastconv.kernels.simd.direct import scattered, unpacked
from fastconv.kernels.simd.engine import converting
from fastconv.kernels.simd.engine.filtering import cells_of
from fastconv.kernels.simd.filters import choice as separable
from fastconv.kernels.simd.fourier import choice as fft
from fastconv.kernels.simd.strassen import choice as strassen
from fastconv.kernels.simd.winograd import choice as winograd
from fastconv.kernels.simd.winograd import row_tiles
from fastconv.kernels.simd.winograd.cuts import terms_of
from fastconv.machine import Machine
from fastconv.plans.errors import SPREAD
from fastconv.plans.families import overlaps, toeplitz
from fastconv.plans.families.common import as_given, blas_cost, in_loops, in_plain_loops, near, per_weight
from fastconv.plans.registry import Implementation
from fastconv.problem.problem import Problem


def _loops_cost(problem: Problem, machine: Machine) -> float:
    """Loops over the taps, which ask of each whether it lies in the image: in groups of few channels that is most of it."""
    g = problem.geometry
    return 2e-5 + g.flops / 5e8 + prod(g.out_shape) * (1.5e-8 + 6e-9 * g.taps)


def _sparse_cost(problem: Problem, machine: Machine) -> float:
    """Loops over the taps of a transposed convolution, and 30 ns for an output that meets none."""
    g = problem.geometry
    return 2e-5 + g.flops / 2e8 + 3e-8 * max(0, prod(g.out_shape) - g.flops // 2)


def _of_seven_sums(problem: Problem, machine: Machine) -> float:
    """Seven sums of quarters of the weights."""
    return 7 / 4


def _of_planes(problem: Problem, machine: Machine) -> float:
    """The cells of a tile for its taps; one-channel filters are small."""
    g = problem.geometry
    if winograd.form_of(g) is row_tiles:
        return 1.0
    cut: Any = winograd.chosen(problem, machine, False).cut
    return float(prod(cells_of(cut.form)) * terms_of(g.lifted()) / g.taps)


_DIRECT = Implementation(
    "direct",
    "register tiles of vectors over blocks in the cache, padding filled in as a block is read",
    direct.run,
    direct.cost,
    direct.supports,
    direct.pack,
    pack_cost=direct.pack_cost,
    converts=direct.converts,
    kernel=direct.kernel,
    calls=launch_calls,
    drafts=direct.drafts,
    adds_in_place=direct.adds_in_place,
)

_STRASSEN = Implementation(
    "strassen",
    "seven products for eight of halves of positions and channels, at two to three times the rounding error",
    strassen.run,
    strassen.cost,
    strassen.supports,
    strassen.pack,
    pack_cost=per_weight(1.5e-10, 1e-5),
    growth=_of_seven_sums,
    error=SPREAD["strassen"],
    least=strassen.least,
    kernel=strassen.kernel,
    calls=launch_calls,
)

_WINOGRAD = Implementation(
    "winograd",
    "kernels of 3 taps and more with a quarter to three quarters of the products, at about twice the rounding error",
    winograd.run,
    winograd.cost,
    winograd.supports,
    winograd.pack,
    pack_cost=winograd.pack_cost,
    growth=_of_planes,
    converts=winograd.converts,
    error=SPREAD["winograd"],
    least=winograd.least,
    kernel=winograd.kernel,
    calls=launch_calls,
    drafts=winograd.drafts,
)
_WINOGRAD = replace(
    _WINOGRAD,
    once=replace(
        _WINOGRAD,
        cost=partial(winograd.cost, once=True),
        pack=partial(winograd.pack, once=True),
        pack_cost=partial(winograd.pack_cost, once=True),
        kernel=partial(winograd.kernel, once=True),
        drafts=partial(winograd.drafts, once=True),
    ),
)

_DEPTHWISE = Implementation(
    "depthwise",
    "a kernel for each channel, input rows reused in registers",
    depthwise.run,
    depthwise.cost,
    depthwise.supports,
    depthwise.pack,
    pack_cost=depthwise.pack_cost,
    converts=converting.both,
    fuses=depthwise.fuses,
    kernel=depthwise.kernel,
    calls=launch_calls,
    drafts=depthwise.drafts,
)

_UNPACKED = Implementation(
    "unpacked",
    "dot products of windows, copied into rows, with the weights as they lie: for one call on a small map",
    unpacked.run,
    unpacked.cost,
    unpacked.supports,
    unpacked.pack,
    fuses=unpacked.fuses,
    kernel=unpacked.kernel,
    calls=launch_calls,
    drafts=unpacked.drafts,
)

_SCATTERED = Implementation(
    "unpacked",
    "products of every cell with the weights as they lie, added up where windows overlap: for one call, and for small maps",
    scattered.run,
    scattered.cost,
    scattered.supports,
    scattered.pack,
    fuses=scattered.fuses,
    kernel=scattered.kernel,
    calls=launch_calls,
    drafts=scattered.drafts,
)

_SEPARABLE = Implementation(
    "separable",
    "filters of one channel as columns times rows, as many as their rank: auto looks at the weights",
    separable.run,
    separable.cost,
    separable.supports,
    separable.pack,
    separable.weigh,
    per_weight(2e-8, 1e-4),
    error=SPREAD["separable"],
    kernel=separable.kernel,
)

_FFT = Implementation(
    "fft",
    "Fourier transforms of overlapping blocks: for large kernels",
    fft.run,
    fft.cost,
    fft.supports,
    fft.pack,
    pack_cost=fft.pack_cost,
    error=SPREAD["fft"],
    least=fft.least,
    kernel=fft.kernel,
)

_OVERLAPS = Implementation(
    "col2im",
    "a product of every cell with all taps by register tiles, then windows added up where they overlap, by vectors",
    overlaps.run,
    overlaps.cost,
    overlaps.supports,
    overlaps.pack,
    pack_cost=overlaps.pack_cost,
    fuses=lambda problem: problem.ends_with_sums,
    least=overlaps.least,
    kernel=overlaps.kernel,
    calls=overlaps.calls,
)

_TOEPLITZ = Implementation(
    "toeplitz",
    "small maps as rows of one product with the matrix of all windows, in which padding takes no time",
    toeplitz.run,
    toeplitz.cost,
    toeplitz.supports,
    toeplitz.pack,
    pack_cost=toeplitz.pack_cost,
    growth=toeplitz.growth,
    converts=toeplitz.converts,
    error=SPREAD["toeplitz"],
    kernel=toeplitz.kernel,
    calls=toeplitz.calls,
)

_VECTORS = tuple(map(near, (_WINOGRAD, _STRASSEN, _DEPTHWISE, _DIRECT, _TOEPLITZ, _OVERLAPS, _UNPACKED, _SEPARABLE, _FFT)))

FAMILIES: dict[str, tuple[Implementation, ...]] = {
    "conv": (
        *_VECTORS,
        Implementation(
            "im2col",
            "windows copied into columns, 16 MiB at a time, then BLAS",
            im2col.conv,
            blas_cost,
            pack=im2col.pack,
            growth=lambda problem, machine: 1.5,  # BLAS asks for less ahead: products of one row take so much longer
        ),
        in_loops(loops.run_conv, _loops_cost, pack=as_given),
        Implementation(
            "strided",
            "sliding_window_view, then tensordot",
            strided.conv,
            lambda problem, machine: 3e-5 + 2 * blas_cost(problem, machine),
            strided.supports_conv,
            as_given,
        ),
        in_plain_loops(reference.conv, pack=as_given),
    ),
    "conv_transpose": (
        near(_STRASSEN),
        near(_DEPTHWISE),
        near(_DIRECT),
        near(_OVERLAPS),
        near(_SCATTERED),
        Implementation("im2col", "a matrix product by BLAS, then col2im", im2col.conv_transpose, blas_cost, pack=im2col.pack),
        in_loops(loops.run_conv, _sparse_cost, pack=as_given),
        in_plain_loops(reference.conv, pack=as_given),
    ),
}
