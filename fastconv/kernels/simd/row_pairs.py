"""Winograd's minimal filtering of rows, two outputs at a time, for groups of one channel: image filters of 4 rows and more.

    y[2 i]     = sum over j of h[2 j] * x[2 i + 2 j]     + h[2 j + 1] * x[2 i + 2 j + 1]
    y[2 i + 1] = sum over j of h[2 j] * x[2 i + 2 j + 1] + h[2 j + 1] * x[2 i + 2 j + 2]

Of each j, that is two outputs of two taps, F(2, 2), which takes three products for four:

    odd[m] = x[2 m + 1]    before[m] = x[2 m] - odd[m]    behind[m] = odd[m] - x[2 m + 2]           m = i + j
    both       = sum over j of (h[2 j] + h[2 j + 1]) * odd[m]
    y[2 i]     = both + sum over j of h[2 j] * before[m]
    y[2 i + 1] = both - sum over j of h[2 j + 1] * behind[m]

x and y are rows here, and each h[r] filters along its row: three filters of half the height, on images of half the height,
where the direct sum takes four. The sums of both outputs begin with `both`, so that nothing is added behind them. Differences
of neighbours are small in photographs, and whole numbers stay whole: rounding is about that of the direct sum. Winograd,
Arithmetic Complexity of Computations (1980); Mou and Duhamel, Short-length FIR filters and their use in fast nonrecursive
filtering (1991).

The three images of half the height are made of a block of rows as it is read, padding filled in, just ahead of the tiles that
use them. A tile has one vector of several pairs of rows beside several columns, and each vector that it loads feeds all rows
whose windows it is in.

A NaN or inf in x reaches the rows of outputs that share a pair with one whose window holds it: one row more.
"""

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from fastconv.geometry import Array, ConvGeometry
from fastconv.kernels.activations import codes
from fastconv.kernels.jit import Kernel, Launch, compiled, element, inlined
from fastconv.kernels.simd import microkernel, packing, vector
from fastconv.machine import Machine, host

peek, poke, pointer = vector.peek, vector.poke, vector.pointer


@lru_cache(maxsize=8)
def splitter(lanes: int) -> Any:
    """The compiled odd[m], before[m] and behind[m - 1] of a block, for m_first <= m < m_last.

    `corner` is the cell of the block's first row and column, which may lie in padding; of rows there are `high`, and zeros
    below. Rows of each lie `pitch` apart, and behind them there is room for a vector. `zeros` has a row of them.
    """
    cell_under, (_, clear) = packing.cell_under, packing.runs(lanes)

    @compiled
    def row_of(image, row, size, corner, high, mode, zeros):
        """Where the first column of a row would lie, or the zeros that stand for it; and whether it is one of the image."""
        cell = cell_under(corner[0] + row, size[0], mode) if row < high else -1
        return (image + (cell * size[1] + corner[1]), True) if cell >= 0 else (zeros, False)

    @compiled
    def split(image, size, corner, high, wide, mode, odd, before, behind, pitch, m_first, m_last, zeros, scratch):
        begin = min(max(-corner[1], 0), wide)
        end = max(begin, min(size[1] - corner[1], wide))
        for m in range(m_first, m_last):
            above, above_there = row_of(image, 2 * m, size, corner, high, mode, zeros)
            below, below_there = row_of(image, 2 * m + 1, size, corner, high, mode, zeros)
            to, last, back = m * pitch, odd + (m - 1) * pitch, behind + (m - 1) * pitch
            if m == 0:
                last, back = scratch, scratch
            for i in range(begin, end, lanes):
                room = end - i
                if room >= lanes:
                    middle, next_one = vector.load(above + i, lanes), vector.load(below + i, lanes)
                else:
                    middle, next_one = vector.load_first(above + i, room, lanes), vector.load_first(below + i, room, lanes)
                vector.store(odd + (to + i), next_one)
                vector.store(before + (to + i), middle - next_one)
                vector.store(back + i, vector.load(last + i, lanes) - middle)
            if mode == 0:
                for row in (odd + to, before + to, back):
                    clear(row, peek(zeros), begin)
                    clear(row + end, peek(zeros), wide - end)
            else:
                for i in range(begin + wide - end):
                    column = i if i < begin else end + i - begin
                    shift = cell_under(corner[1] + column, size[1], mode) - corner[1]
                    middle = peek(above + shift) if above_there else peek(zeros)
                    next_one = peek(below + shift) if below_there else peek(zeros)
                    poke(odd + (to + column), next_one)
                    poke(before + (to + column), middle - next_one)
                    poke(back + column, peek(last + column) - middle)

    return split


@lru_cache(maxsize=32)
def kernel(rows: int, columns: int, taps: tuple[int, int], lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over blocks of planes, for so many even and odd taps: f32_row_pairs_5x4_4+3_avx512."""
    activate_tile, split = microkernel.tile_activation(dtype), splitter(lanes)
    width, (even_taps, odd_taps), (_, clear) = columns * lanes, taps, packing.runs(lanes)

    @inlined
    def summed(tile, source, pitch, w, widths, tall):
        for s in range(widths):
            tile = vector.fma_down(tile, source + s, pitch, w + s * tall, tall)
        return tile

    @inlined
    def put(tile, to, step, there, room):
        if room >= width and there >= rows:  # without a mask
            vector.store_spans(tile, to, step, rows, width)
        else:
            vector.store_spans(tile, to, step, min(rows, there), room)

    def row_pairs(begin, end, x, w, bias, y, sizes, act):
        (channels, rows_in, columns_in), (rows_out, columns_out, widths) = packing.three(sizes, 0), packing.three(sizes, 3)
        (top_pad, left_pad, mode), (band, strip, pitch) = packing.three(sizes, 6), packing.three(sizes, 9)
        bands, strips = -(-rows_out // band), -(-columns_out // strip)
        plane_in, plane_out = rows_in * columns_in, rows_out * columns_out
        # The last pairs of a tile may not be there: what they read is.
        lines = -(-((band + 1) // 2) // rows) * rows + even_taps
        memory = np.empty((3 * lines + 2) * pitch + 48, x.dtype)
        odd = vector.line_start(pointer(memory))
        before, behind, zeros = odd + lines * pitch, odd + 2 * lines * pitch, odd + 3 * lines * pitch
        clear(zeros, x.dtype.type(0), 2 * pitch)
        for item in range(begin, end):
            rest, piece = divmod(item, strips)
            plane, part = divmod(rest, bands)
            top, left = part * band, piece * strip
            count, broad = min(band, rows_out - top), min(strip, columns_out - left)
            high, wide = count + even_taps + odd_taps - 1, broad + widths - 1
            channel, pairs, ready = plane % channels, -(-count // 2), 0
            filters = pointer(w) + channel * widths * (2 * even_taps + odd_taps)
            even_filters, odd_filters = filters + widths * even_taps, filters + 2 * widths * even_taps
            image, size, corner = pointer(x) + plane * plane_in, (rows_in, columns_in), (top - top_pad, left - left_pad)
            for pair in range(0, pairs, rows):
                coming = min(pair + rows, pairs) + even_taps
                split(image, size, corner, high, wide, mode, odd, before, behind, pitch, ready, coming, zeros, zeros + pitch)
                ready, shown = coming, count - 2 * pair
                line = pointer(y) + (plane * plane_out + (top + 2 * pair) * columns_out + left)
                for column in range(0, broad, width):
                    at, room = pair * pitch + column, broad - column
                    both = vector.filled(peek(pointer(bias) + channel), rows, columns, lanes)
                    both = summed(both, odd + at, pitch, filters, widths, even_taps)
                    upper = summed(both, before + at, pitch, even_filters, widths, even_taps)
                    put(activate_tile(upper, act), line + column, 2 * columns_out, (shown + 1) // 2, room)
                    lower = summed(both, behind + at, pitch, odd_filters, widths, odd_taps)
                    put(activate_tile(lower, act), line + (columns_out + column), 2 * columns_out, shown // 2, room)
                if act[0] == 3:
                    for i in range(min(2 * rows, shown)):
                        microkernel.silu_run(line + i * columns_out, broad)
        memory[0] = 0  # pointers do not keep an array alive: its last use does

    row_pairs.__name__ = f"{dtype}_row_pairs_{rows}x{columns}_{even_taps}+{odd_taps}_{isa}"
    return Kernel(row_pairs)


# Decisions --------------------------------------------------------------------------------------------------------------

TILES = {32: (5, 4), 16: (3, 3)}  # (pairs of rows, vectors) of a tile, by the number of vector registers
TALLEST = 14  # rows of a kernel, half of whose weights stay in registers
BAND = 60  # output rows of a block, whose images of half the height stay in the L2 cache
STRIP = 2048  # output columns of a block
NEAR_LINES = 6  # lines of a cache that a row of a tile takes: rows that lie fewer, or about LINES, apart share its sets
LINES = 64


def supports(geometry: ConvGeometry, dtype: np.dtype[Any]) -> str | None:
    """Kernels over two axes without a step, channels first or of one channel."""
    g = geometry
    if g.transposed or g.rank != 2 or g.stride != (1, 1) or g.dilation != (1, 1):
        return "it serves groups of one channel over two axes, of stride and dilation 1"
    if not 2 <= g.kernel[0] <= TALLEST:
        return f"it serves groups of one channel with kernels of 2 to {TALLEST} rows, not {g.kernel[0]}"
    return "it serves groups of one channel channels first, or one channel" if g.channels_last and g.in_channels > 1 else None


def cost(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Cycles of products, three for four, and of making the images of half the height and storing results."""
    g, lanes, (rows, columns) = geometry, machine.lanes(dtype), TILES[machine.registers]
    (tall, wide), (outputs, across) = g.kernel, g.out_size
    even_taps, odd_taps = -(-tall // 2), tall // 2
    pairs, tiles = -(-outputs // 2), -(-across // (columns * lanes))
    stacks = -(-pairs // rows)
    products = stacks * tiles * rows * columns * wide * (2 * even_taps + odd_taps)
    vectors = 2 * (pairs + even_taps) * -(-(across + wide) // lanes)
    split = (3 + machine.vector_bytes / 16) * vectors  # vectors that cross lines
    cycles = products / machine.units + split + stacks * (60 + 3 * rows * columns * tiles) + 300
    moved = g.bytes(dtype.itemsize)
    slow = 3 * machine.seconds(0, min(moved, machine.l3))  # what the L2 cache does not hold is not fetched meanwhile
    return machine.seconds(20_000 + g.batch * g.groups * cycles, moved) + slow


def pitch_of(columns: int, wide: int, dtype: np.dtype[Any], machine: Machine) -> int:
    """Elements from one row of a block to the next: what its last tile reads, in lines that spread over an L1 cache."""
    width, line = TILES[machine.registers][1] * machine.lanes(dtype), packing.LINE // dtype.itemsize
    lines = -(-(-(-columns // width) * width + wide) // line) + 1
    while lines > NEAR_LINES and not NEAR_LINES <= lines % LINES <= LINES - NEAR_LINES:
        lines += 1
    return lines * line


def pack(w: Array, bias: Array, geometry: ConvGeometry) -> Launch:
    """Of each channel the sums of taps, the even taps, and the odd ones with their signs turned: [s][j] each."""
    g, machine = geometry, host()
    (tall, wide), lanes = g.kernel, machine.lanes(w.dtype)
    kernels = w.reshape(g.groups, tall, wide).transpose(0, 2, 1)
    even, odd = kernels[:, :, ::2], kernels[:, :, 1::2]
    both = even.copy()
    both[:, :, : tall // 2] += odd
    packed = np.concatenate([part.reshape(g.groups, -1) for part in (both, even, -odd)], axis=1)
    (top, _), (left, _) = g.padding
    rows, columns = TILES[machine.registers]
    band = (packing.evenly(g.out_size[0], BAND) + 1) // 2 * 2
    strip = packing.evenly(g.out_size[1], STRIP)
    sizes = (g.groups, *g.in_size, *g.out_size, wide, top, left, g.mode, band, strip, pitch_of(strip, wide, w.dtype, machine))
    chosen = kernel(rows, columns, (-(-tall // 2), tall // 2), lanes, element(w.dtype), machine.isa)
    items = g.batch * g.groups * -(-g.out_size[0] // band) * -(-g.out_size[1] // strip)
    arguments = (np.array(sizes, np.int64), codes(g.activation, w.dtype))
    return Launch(chosen, items, 8 * prod(g.out_shape) * g.taps // lanes, packed.reshape(-1), bias, arguments)
