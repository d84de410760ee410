"""Filters of one channel as sums of few products of a column and a row, each of which is two passes of one axis.

    w [r][s]  = sum over i < rank of u[i][r] * v[i][s]            by a singular value decomposition, once a plan
    y [h][w]  = act(bias + sum over i, s of v[i][s] * (sum over r of u[i][r] * x[h + r][w + s]))

Gaussian, box and Sobel kernels have rank 1: kh + kw products for kh * kw. A block of the image is copied with its padding,
which leaves it in the cache; two rows at a time go through the columns into the L1 cache, and from there through the rows.
Szeliski, Computer Vision: Algorithms and Applications, section 3.2.1.

The rank is the smallest that gives every weight within 8 eps of the largest one.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from fastconv.kernels.jit import Kernel, Launch, element
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import epilogue, packing
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array, ConvGeometry
from fastconv.problem.problem import Operands, Problem

poke, pointer = vector.poke, vector.pointer
TOLERANCE = 8  # eps of the largest weight
COLUMNS = {32: 8, 16: 4}  # vectors of a row in a tile, by the number of vector registers
STACK = 2  # output rows at a time


@lru_cache(maxsize=8)
def kernel(columns: int, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over blocks of planes: f32_separable_2x8_avx512."""
    activate_tile = epilogue.activation_of(dtype)
    pack_windows = packing.window_packer(lanes, True)
    width = columns * lanes

    def separable(begin, end, x, w, bias, residual, y, sizes, parameters):
        act = epilogue.epilogue(parameters, residual, y)
        (channels, rank, mode), (rows_in, columns_in, rows_out) = packing.three(sizes, 0), packing.three(sizes, 3)
        (columns_out, heights, widths), (dilation_h, dilation_w, top_pad) = packing.three(sizes, 6), packing.three(sizes, 9)
        left_pad, band, strip = packing.three(sizes, 12)
        bands, strips = -(-rows_out // band), -(-columns_out // strip)
        reach_h, reach_w = (heights - 1) * dilation_h, (widths - 1) * dilation_w
        # Two rows go together where no dilation parts them; the last two of a band may read on below it.
        stack = STACK if dilation_h == 1 else 1
        tall, zero = band + STACK + reach_h, x.dtype.type(0)
        filter_size = rank * ((heights + STACK - 1) * STACK + widths)
        line_size = -(-(strip + reach_w) // width) * width
        # A tile at the end of a row reads on into what follows, which is there, and does not store it.
        memory = np.empty(tall * (strip + reach_w) + rank * STACK * line_size + 3 * width + 48, x.dtype)
        integers = np.empty(lanes, np.int64)
        padded, steps = vector.line_start(pointer(memory)), pointer(integers)
        lines = vector.line_start(padded + (tall * (strip + reach_w) + width))
        for item in range(begin, end):
            rest, piece = divmod(item, strips)
            plane, part = divmod(rest, bands)
            top, left = part * band, piece * strip
            count, broad = min(band, rows_out - top), min(strip, columns_out - left)
            wide, high = broad + reach_w, -(-count // stack) * stack + reach_h
            source, corner = pointer(x) + plane * rows_in * columns_in, (0, top - top_pad, left - left_pad)
            steps_x, cells = (0, 0, 0, columns_in, 1), (1, rows_in, columns_in)
            pack_windows(source, padded, zero, steps_x, cells, corner, high, wide, 1, 1, 1, 1, mode, steps)
            channel = plane % channels
            filters = pointer(w) + channel * filter_size
            offset = vector.first_values(pointer(bias) + channel, 1, columns, lanes)
            for h in range(0, count, stack):
                for column in range(0, wide, width):
                    for i in range(rank):
                        at, taps = padded + (h * wide + column), filters + i * (heights + STACK - 1) * STACK
                        to = lines + (i * STACK * line_size + column)
                        if stack == STACK:
                            pair = vector.zeros(padded, STACK, columns, lanes)
                            # A cell outside a row's window must not meet it, not even with a weight of zero.
                            pair = vector.fma_row(pair, 0, taps, at)
                            for r in range(1, heights):
                                pair = vector.fma_shared(pair, taps + r * STACK, at + r * wide)
                            pair = vector.fma_row(pair, 1, taps + (heights * STACK + 1), at + heights * wide)
                            vector.store_tile(pair, to, line_size)
                        else:
                            single = vector.zeros(padded, 1, columns, lanes)
                            for r in range(heights):
                                single = vector.fma_shared(single, taps + r * STACK, at + r * dilation_h * wide)
                            vector.store_tile(single, to, line_size)
                taps = filters + rank * (heights + STACK - 1) * STACK
                for row in range(min(stack, count - h)):
                    out = pointer(y) + ((plane * rows_out + top + h + row) * columns_out + left)
                    for column in range(0, broad, width):
                        tile = offset
                        for i in range(rank):
                            at = lines + ((i * STACK + row) * line_size + column)
                            for s in range(widths):
                                tile = vector.fma_shared(tile, taps + (i * widths + s), at + s * dilation_w)
                        vector.store_spans(activate_tile(tile, act), out + column, 0, 1, broad - column)
                    if epilogue.is_unfinished(act):
                        epilogue.finish_run(out, broad, act)
        memory[0], integers[0] = zero, 0  # pointers do not keep an array alive: their last use does

    separable.__name__ = f"{dtype}_separable_{STACK}x{columns}_{isa}"
    return Kernel(separable)


# Decisions --------------------------------------------------------------------------------------------------------------


def supports(problem: Problem) -> str | None:
    """One channel a group, two axes, channels first, stride 1."""
    geometry, dtype = problem.geometry, problem.dtype
    g = geometry
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
    if (
        np.abs(kernels - u[:, 0, :, None] * v).max((1, 2), initial=0) <= allowed
    ).all():  # rank 1, with less rounding than an SVD
        if (kernels == np.rint(kernels)).all():
            u[:, 0], v[:, 0] = zip(*(whole_factors(*one) for one in zip(kernels, u[:, 0], v[:, 0], strict=True)), strict=True)
        return u.astype(w.dtype), v.astype(w.dtype)
    u, sizes, v = np.linalg.svd(kernels, full_matrices=False)
    roots = np.sqrt(sizes)
    u, v = np.moveaxis(u * roots[:, None, :], 1, 2), v * roots[:, :, None]
    most, rest = sizes.shape[1], kernels.copy()
    for rank in range(1, most):
        rest -= u[:, rank - 1, :, None] * v[:, rank - 1, None, :]
        if (np.abs(rest).max((1, 2), initial=0) <= allowed).all():
            most = rank
            break
    return u[:, :most].astype(w.dtype), v[:, :most].astype(w.dtype)


def crosses(kernels: Array) -> tuple[Array, Array]:
    """The column and the row through the largest weight of each kernel, shared out so that their largest factors are alike."""
    each, (_, tall, wide) = np.arange(len(kernels)), kernels.shape
    r, s = np.divmod(np.abs(kernels).reshape(len(kernels), tall * wide).argmax(1), wide)
    largest = kernels[each, r, s][:, None]
    root = np.sqrt(np.abs(largest))
    root[root == 0] = 1
    return (kernels[each, :, s] / root)[:, None], (kernels[each, r] / root * np.sign(largest))[:, None]


def whole_factors(kernel: Array, u: Array, v: Array) -> tuple[Array, Array]:
    """The column and the row through the smallest weight of a whole kernel, where they give it exactly; else u and v.

    Whole images under Sobel, box and binomial kernels then have whole sums.
    """
    sizes = np.where(kernel == 0, np.inf, np.abs(kernel))
    r, s = np.unravel_index(np.argmin(sizes), kernel.shape)
    column, row = kernel[:, s], kernel[r] / (kernel[r, s] or 1.0)
    return (column, row) if np.array_equal(np.outer(column, row), kernel) else (u, v)


def seconds(geometry: ConvGeometry, rank: int, dtype: np.dtype[Any], machine: Machine) -> float:
    """The cycles of its passes, and of the lines between them."""
    g, lines = geometry, geometry.batch * geometry.groups * geometry.out_size[0]
    vectors = lines * -(-g.out_size[1] // machine.lanes(dtype))
    cycles = 32_000 + 150 * lines + 2.2 * vectors * rank * (sum(g.kernel) + 1) / machine.units
    return machine.seconds(cycles, g.bytes(dtype.itemsize))


def cost(problem: Problem, machine: Machine) -> float:
    """Of kernels of full rank."""
    geometry, dtype = problem.geometry, problem.dtype
    return seconds(geometry, min(geometry.kernel), dtype, machine)


def weigh(w: Array | None, problem: Problem, machine: Machine) -> float:
    """The cost of these kernels; of None, of kernels of rank 1."""
    geometry, dtype = problem.geometry, problem.dtype
    if w is None:
        return seconds(geometry, 1, dtype, machine)
    return seconds(geometry, decomposed(w, geometry)[0].shape[1], dtype, machine)


def pack(w: Array, bias: Array, problem: Problem) -> Launch:
    """Of each channel u as [rank][r][STACK], moved one row down for each row of the stack, then v as [rank][s]."""
    geometry = problem.geometry
    g, machine = geometry, host()
    lanes = machine.lanes(w.dtype)
    u, v = decomposed(w, g)
    rank, heights = u.shape[1], g.kernel[0]
    stacked = np.zeros((g.groups, rank, heights + STACK - 1, STACK), w.dtype)
    for row in range(STACK):
        stacked[:, :, row : row + heights, row] = u
    filters = np.concatenate((stacked.reshape(g.groups, -1), v.reshape(g.groups, -1)), 1)
    room = machine.l2 // 4 // w.dtype.itemsize
    band, strip = packing.cut_plane(g.out_size, g.stride, g.window, 1, room, g.batch * g.groups)
    before = tuple(pair[0] for pair in g.padding)
    sizes = (g.groups, rank, g.mode, *g.in_size, *g.out_size, *g.kernel, *g.dilation, *before, band, strip)
    items = g.batch * g.groups * -(-g.out_size[0] // band) * -(-g.out_size[1] // strip)
    chosen = kernel(COLUMNS[machine.registers], lanes, element(w.dtype), machine.isa)
    work = int(5e8 * seconds(g, rank, w.dtype, machine))
    arguments = (np.array(sizes, np.int64), epilogue.scalars(g.activation, w.dtype))
    return Launch(chosen, items, work, filters.reshape(-1), bias, arguments)


def run(operands: Operands, packed: Launch, problem: Problem, out: Array) -> None:
    """All blocks."""
    y = out.ravel()
    packed.run(operands["x"].ravel(), operands["residual"].ravel() if problem.residual else y, y)
