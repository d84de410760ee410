"""Filters of one channel as sums of few products of a column and a row, each of which is two passes of one axis.

    w [r][s]  = sum over i < rank of u[i][r] * v[i][s]            by a singular value decomposition, once a plan
    y [h][w]  = act(bias + sum over i, s of v[i][s] * (sum over r of u[i][r] * x[h + r][w + s]))

Gaussian, box and Sobel kernels have rank 1: kh + kw products for kh * kw. separable.py has the passes.
Szeliski, Computer Vision: Algorithms and Applications, section 3.2.1.

The rank is the smallest that gives every weight within 8 eps of the largest one.
"""

from functools import partial
from math import inf
from typing import Any

import numpy as np

from fastconv.kernels.jit import NO_WEIGHTS, Launch, element
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd.engine import epilogue
from fastconv.kernels.simd.engine.blocks import cut_plane
from fastconv.kernels.simd.engine.costs import Candidate, cheapest
from fastconv.kernels.simd.engine.sizes import Plane, written
from fastconv.kernels.simd.engine.tables import TILES
from fastconv.kernels.simd.engine.weights import are_whole
from fastconv.kernels.simd.filters import separable
from fastconv.kernels.simd.filters.separable import STACK, values_of_column
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array, ConvGeometry
from fastconv.problem.problem import Operands, Problem

TOLERANCE = 8  # eps of the largest weight


def supports(problem: Problem) -> str | None:
    """One channel a group, two axes, channels first, stride 1."""
    g, dtype = problem.geometry, problem.dtype
    if dtype not in (np.float32, np.float64):
        return f"its vectors are float32 or float64, not {dtype}"
    if g.transposed or not g.in_per_group == g.out_per_group == 1:
        return "it serves one input and one output channel a group"
    if g.rank != 2 or min(g.kernel) < 2:
        return f"it serves kernels over two axes, not {'x'.join(map(str, g.kernel))}"
    if g.stride != (1, 1):
        return f"it serves stride 1, not {g.stride}"
    return "it serves channels first, or one channel" if g.channels_last and g.in_channels > 1 else None


def decomposed(w: Array, geometry: ConvGeometry) -> tuple[Array, Array]:
    """(u [channel][rank][kh], v [channel][rank][kw]), of the lowest rank that gives the kernels to within the tolerance."""
    kernels = w.reshape(geometry.groups, *geometry.kernel).astype(np.float64)
    if not np.isfinite(kernels).all():  # each row by itself
        return np.tile(np.eye(geometry.kernel[0], dtype=w.dtype), (geometry.groups, 1, 1)), kernels.astype(w.dtype)
    allowed = TOLERANCE * np.finfo(w.dtype).eps * np.abs(kernels).max((1, 2), initial=0)
    u, v = crosses(kernels)
    errors = np.abs(kernels - u[:, 0, :, None] * v).max((1, 2), initial=0)
    if (errors <= allowed).all():  # rank 1, with less rounding than an SVD
        if (kernels == np.rint(kernels)).all():
            u[:, 0], v[:, 0] = zip(*(whole_factors(*one) for one in zip(kernels, u[:, 0], v[:, 0], strict=True)), strict=True)
        return u.astype(w.dtype), v.astype(w.dtype)
    u, sizes, v = np.linalg.svd(kernels, full_matrices=False)
    roots = np.sqrt(sizes)
    u, v = np.moveaxis(u * roots[:, None, :], 1, 2), v * roots[:, :, None]
    lowest, rest = sizes.shape[1], kernels.copy()
    for rank in range(1, lowest):
        rest -= u[:, rank - 1, :, None] * v[:, rank - 1, None, :]
        if (np.abs(rest).max((1, 2), initial=0) <= allowed).all():
            lowest = rank
            break
    return u[:, :lowest].astype(w.dtype), v[:, :lowest].astype(w.dtype)


def crosses(kernels: Array) -> tuple[Array, Array]:
    """The column and the row through the largest weight of each kernel, shared out so that their largest factors are alike."""
    each, (_, height, width) = np.arange(len(kernels)), kernels.shape
    r, s = np.divmod(np.abs(kernels).reshape(len(kernels), height * width).argmax(1), width)
    largest = kernels[each, r, s][:, None]
    root = np.sqrt(np.abs(largest))
    root[root == 0] = 1
    return (kernels[each, :, s] / root)[:, None], (kernels[each, r] / root * np.sign(largest))[:, None]


def whole_factors(kernel: Array, u: Array, v: Array) -> tuple[Array, Array]:
    """The whole column and row whose product a whole kernel is, where there are such; else u and v.

    Whole images under box, Sobel and binomial kernels then have whole sums.
    """
    largest = np.abs(kernel).max(initial=0)
    if not 0 < largest < 2**53:
        return u, v
    r, s = np.unravel_index(np.abs(kernel).argmax(), kernel.shape)
    row = kernel[r] / np.gcd.reduce(np.abs(kernel[r]).astype(np.int64))
    column = kernel[:, s] / row[s]
    return (column, row) if np.array_equal(np.outer(column, row), kernel) else (u, v)


# Candidates -------------------------------------------------------------------------------------------------------------


@remembered
def candidates(problem: Problem, rank: int, machine: Machine) -> tuple[Candidate, ...]:
    """The two passes, of kernels of this rank."""
    g, dtype = problem.geometry, problem.dtype
    room = machine.l2 // 4 // dtype.itemsize
    block = Plane(*cut_plane(g.out_size, g.stride, g.window, 1, room, g.batch * g.groups))
    expected = seconds(g, rank, dtype, machine)
    return (Candidate(expected, block, partial(launch, g, rank, block, expected, dtype, machine)),)


@remembered
def chosen(problem: Problem, rank: int, machine: Machine) -> Candidate:
    """The candidate that is expected to take the least time."""
    return cheapest(candidates(problem, rank, machine))


def seconds(geometry: ConvGeometry, rank: int, dtype: np.dtype[Any], machine: Machine) -> float:
    """The cycles of its passes, and of the lines between them."""
    g, lines = geometry, geometry.batch * geometry.groups * geometry.out_size[0]
    vectors = lines * -(-g.out_size[1] // machine.lanes(dtype))
    cycles = 32_000 + 150 * lines + 2.2 * vectors * rank * (sum(g.kernel) + 1) / machine.units
    return machine.seconds(cycles, g.bytes(dtype.itemsize))


def cost(problem: Problem, machine: Machine) -> float:
    """Of kernels of full rank."""
    return chosen(problem, min(problem.geometry.kernel), machine).seconds


def weigh(w: Array | None, problem: Problem, machine: Machine) -> float:
    """The cost of these kernels; of None, of kernels of rank 1. Whole ones whose factors are not are left to exact sums."""
    if w is None:
        return chosen(problem, 1, machine).seconds
    u, v = decomposed(w, problem.geometry)
    if are_whole(w) and not np.array_equal(np.einsum("gir,gis->grs", u, v), w.reshape(-1, *problem.geometry.kernel)):
        return inf
    return chosen(problem, u.shape[1], machine).seconds


# Plan -------------------------------------------------------------------------------------------------------------------


def stack_of(geometry: ConvGeometry) -> int:
    """Output rows at a time: those of a dilated kernel do not share the cells under them."""
    return STACK if geometry.dilation[0] == 1 else 1


@remembered
def launch(geometry: ConvGeometry, rank: int, block: Plane, seconds: float, dtype: np.dtype[Any], machine: Machine) -> Launch:
    """The launch for kernels of this rank, without weights."""
    g = geometry
    sizes = separable.Sizes(
        channels=g.groups,
        rank=rank,
        mode=g.mode,
        cells=Plane(*g.in_size),
        outputs=Plane(*g.out_size),
        taps=Plane(*g.kernel),
        dilation=Plane(*g.dilation),
        padding=Plane(*(before for before, _ in g.padding)),
        block=block,
    )
    items = g.batch * g.groups * -(-g.out_size[0] // block.h) * -(-g.out_size[1] // block.w)
    arguments = written(sizes), epilogue.scalars(g.activation, dtype, g.border.value)
    passes = separable.kernel(stack_of(g), TILES[machine.isa].filter_vectors, machine.lanes(dtype), element(dtype), machine.isa)
    return Launch(passes, items, int(5e8 * seconds), NO_WEIGHTS, NO_WEIGHTS, arguments)


def laid(u: Array, v: Array, stack: int) -> Array:
    """Of each channel u as [rank][r][stack], moved one row down for each row of the stack, then v as [rank][s]."""
    channels, rank, heights = u.shape
    stacked = np.zeros((channels, rank, heights + stack - 1, stack), u.dtype)
    for row in range(stack):
        stacked[:, :, row : row + heights, row] = u
    of_column = values_of_column(heights, stack)
    return np.concatenate((stacked.reshape(channels, rank * of_column), v.reshape(channels, -1)), 1).reshape(-1)


def pack(w: Array, bias: Array, problem: Problem) -> Launch:
    """The launch for the columns and rows of the kernels."""
    u, v = decomposed(w, problem.geometry)
    bare: Launch = chosen(problem, u.shape[1], host()).launch()
    return bare.with_weights(laid(u, v, stack_of(problem.geometry)), bias)


def kernel(problem: Problem, machine: Machine) -> str:
    """The name of the kernel that runs, of any rank."""
    return str(chosen(problem, 1, machine).launch().kernel.__name__)


def run(operands: Operands, packed: Launch, problem: Problem, out: Array) -> None:
    """All blocks."""
    y = out.ravel()
    packed.run(operands["x"].ravel(), operands["residual"].ravel() if problem.residual else y, y)
