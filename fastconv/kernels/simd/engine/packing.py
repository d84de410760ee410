"""Operands laid out for the microkernel: weights once a plan, windows of the input a block at a time.

    weights   [groups][blocks][chunks of channels][t r s][c][width]   a row of `width` values is one vector load a column
    bias      [groups][blocks][width]                                 in whole cache lines before the weights
    windows   [t][rows][columns][c]                                   padding filled in, channels last, in the L2 cache

`width` is the number of output channels of a register tile; the last block is filled up with zeros.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, Launch, compiled, inlined
from fastconv.kernels.memory import LINE as LINE
from fastconv.kernels.memory import aligned as aligned
from fastconv.kernels.simd import vector
from fastconv.problem.borders import source_cell
from fastconv.problem.convolutions import Array, Size

cell_under = compiled(source_cell)


def whole_lines(size: int, dtype: np.dtype[Any]) -> int:
    """Elements of the cache lines that `size` elements take."""
    of_line = LINE // dtype.itemsize
    return -(-size // of_line) * of_line


@compiled
def three(sizes, at):
    """Three sizes as a tuple; kernels take their sizes as one array, which a call unpacks faster than many ints."""
    return sizes[at], sizes[at + 1], sizes[at + 2]


@compiled
def five(sizes, at):
    """Five sizes as a tuple."""
    return sizes[at], sizes[at + 1], sizes[at + 2], sizes[at + 3], sizes[at + 4]


@lru_cache(maxsize=8)
def weight_packer(lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled packing, item by item a block of output channels of one group: f32_pack_weights_avx512."""

    def pack_weights(begin, end, w, bias, to, sizes):
        blocks, width, k_group, c_group, chunk = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]
        taps = sizes[5], sizes[6], sizes[7]
        # Elements from one to the next: group, output channel, input channel, t, r, s; and the first tap.
        by_group, by_k, by_c, by_t, by_r, by_s, first = (
            sizes[8],
            sizes[9],
            sizes[10],
            sizes[11],
            sizes[12],
            sizes[13],
            sizes[14],
        )
        window, rows = taps[0] * taps[1] * taps[2], vector.pointer(to)
        packed = rows + sizes[15]
        plain = by_s == 1 and by_r == taps[2] and by_t == taps[1] * taps[2] and by_c == window
        table = np.empty(lanes, np.int64)
        offsets, zero = vector.pointer(table), to.dtype.type(0)
        for item in range(begin, end):
            group, block = divmod(item, blocks)
            source = vector.pointer(w) + (first + group * by_group + block * width * by_k)
            line, count = packed + item * window * c_group * width, max(0, min(width, k_group - block * width))
            for k in range(width):
                vector.poke(rows + (item * width + k), bias[group * k_group + block * width + k] if k < count else zero)
            if count < width:
                for i in range(window * c_group):
                    for k in range(count, width):
                        vector.poke(line + (i * width + k), zero)
            for c_begin in range(0, c_group, chunk):
                c_count = min(chunk, c_group - c_begin)
                to_chunk = line + c_begin * window * width
                if plain or by_c == 1:
                    # (c, t r s), or c alone, follow each other: runs of all output channels, turned in registers.
                    length = c_count * window if plain else c_count
                    for tap in range(1 if plain else window):
                        rest, s = divmod(tap, taps[2])
                        t, r = divmod(rest, taps[1])
                        at = source + (c_begin * by_c + t * by_t + r * by_r + s * by_s)
                        for run in range(0, length, lanes):
                            there = min(lanes, length - run)
                            for i in range(there):
                                c, row_tap = divmod(run + i, window) if plain else (run + i, tap)
                                vector.poke(offsets + i, (row_tap * c_count + c) * width)
                            for k in range(0, count, lanes):
                                here = min(lanes, count - k)
                                if here == there == lanes:
                                    square = vector.load_turned(at + (run + k * by_k), by_k, lanes)
                                    vector.store_rows(square, to_chunk + k, offsets)
                                    continue
                                square = vector.load_transposed(at + (run + k * by_k), by_k, there, here, lanes, 1, lanes)
                                vector.store_first_rows(square, to_chunk + k, offsets, there, here)
                    continue
                for tap in range(window):
                    rest, s = divmod(tap, taps[2])
                    t, r = divmod(rest, taps[1])
                    row = to_chunk + tap * c_count * width
                    at = source + (c_begin * by_c + t * by_t + r * by_r + s * by_s)
                    for c in range(c_count):
                        for k in range(count):
                            vector.poke(row + (c * width + k), vector.peek(at + (k * by_k + c * by_c)))
        table[0] = 0  # pointers do not keep an array alive: its last use does

    pack_weights.__name__ = f"{dtype}_pack_weights_{isa}"
    return Kernel(pack_weights)


class Draft(NamedTuple):
    """A launch without its bias and weights.

    Attributes
    ----------
    kernel, items, work, arguments
        As a Launch has them.
    packer, blocks, rows, weights
        The kernel that packs the weights, its items and the elements of bias and of weights that it writes.
    weight_sizes : array of int64
        What the packer needs to know.
    """

    kernel: Kernel
    items: int
    work: int
    arguments: tuple[Any, ...]
    packer: Kernel
    blocks: int
    rows: int
    weights: int
    weight_sizes: Array


def launched(draft: Draft, w: Array, bias: Array) -> Launch:
    """The draft with its weights, and a bias for every row of them."""
    packed = aligned(whole_lines(draft.rows, w.dtype) + draft.weights, w.dtype)
    draft.packer(draft.blocks, 4 * draft.weights, w.reshape(-1), bias, packed, draft.weight_sizes)
    return Launch(draft.kernel, draft.items, draft.work, packed, packed[: draft.rows], draft.arguments)


LEAST = 8  # rows of a band and outputs of a strip's end: fewer, and the windows would be copied often
SHARES = 8  # items that a call should have for its threads


def cut_plane(outputs: Size, stride: Size, extent: Size, deep: int, room: int, items: int) -> tuple[int, int]:
    """(rows, columns) of a block of outputs, each axis cut evenly: its input, `deep` values a cell, takes at most `room`.

    Rows are whole where they fit. There are `items` of such planes, and more cuts where those are fewer than SHARES.
    """

    def cells(axis: int, count: int) -> int:
        return (count - 1) * stride[axis] + extent[axis]

    rows, columns = outputs
    if not rows or not columns:
        return 1, 1
    least = cells(0, min(rows, LEAST))
    columns = min(columns, max(64, (room // deep // least - extent[1]) // stride[1] + 1))
    rows = min(rows, max(LEAST, (room // deep // cells(1, columns) - extent[0]) // stride[0] + 1))
    shares = -(-SHARES // max(1, items))
    if outputs[0] > 1:
        rows = min(rows, max(LEAST, -(-outputs[0] // shares)))
    else:
        columns = min(columns, max(64, -(-outputs[1] // shares)))
    return evenly(outputs[0], rows), evenly(outputs[1], columns)


def evenly(count: int, most: int) -> int:
    """Parts of about equal size, `most` at most but for a few more where the last part would be very small."""
    part = -(-count // -(-count // most))
    while part < count and 0 < count % part < LEAST:
        part += 1
    return part


@lru_cache(maxsize=8)
def runs(lanes: int) -> tuple[Any, Any]:
    """The compiled to[i] = source[i], and to[i] = zero, for i < count."""

    @compiled
    def copy(to, source, count):
        whole = count - count % lanes
        for i in range(0, whole, lanes):
            vector.store(to + i, vector.load(source + i, lanes))
        if whole < count:
            vector.store_first(to + whole, vector.load_first(source + whole, count - whole, lanes), count - whole)

    @compiled
    def clear(to, zero, count):
        empty = vector.splat(zero, lanes)
        whole = count - count % lanes
        for i in range(0, whole, lanes):
            vector.store(to + i, empty)
        if whole < count:
            vector.store_first(to + whole, empty, count - whole)

    return copy, clear


AHEAD = 8  # rows of a plane, or more, that are asked for before they are read
FAR = 16 << 10  # bytes of a plane that is worth that


@lru_cache(maxsize=64)
def asker(rows: int, parts: int, lanes: int) -> Any:
    """The compiled request that `parts` vectors of each of `rows` rows come into the L2 cache."""

    def ask(at, step):
        for row in range(rows):
            for part in range(parts):
                vector.prefetch(at + (row * step + part * lanes))

    return inlined(ask)


@lru_cache(maxsize=8)
def window_packer(lanes: int, channels_last: bool) -> Any:
    """The compiled copy of a block's input: to[t][row][column][c] = x, padding filled in by its mode.

    Columns lie `pitch` elements apart, `chunk` or more.
    """

    copy, clear = runs(lanes)

    @compiled
    def copy_pixels(to, source, begin, end, column_step, channel_step, chunk, pitch, steps):
        """to[column * pitch + c] for the columns begin .. end - 1, which all lie inside the row at `source`."""
        if column_step == chunk == pitch:  # also of one channel alone, whatever the layout
            copy(to + begin * chunk, source + begin * chunk, (end - begin) * chunk)
        elif channels_last:
            for column in range(begin, end):
                copy(to + column * pitch, source + column * column_step, chunk)
        else:
            for c in range(0, chunk, lanes):
                for column in range(begin, end, lanes):
                    count, width = min(lanes, end - column), min(lanes, chunk - c)
                    at = source + (c * channel_step + column)
                    square = vector.load_transposed(at, channel_step, count, width, lanes, 1, lanes)
                    vector.store_first_rows(square, to + (column * pitch + c), steps, count, width)

    @compiled
    def copy_pixel(to, source, zero, cell, column_step, channel_step, chunk):
        """to[c] of one pixel, which may be padding."""
        if cell < 0:
            for c in range(chunk):
                vector.poke(to + c, zero)
        else:
            for c in range(chunk):
                vector.poke(to + c, vector.peek(source + (cell * column_step + c * channel_step)))

    def pack(x, to, zero, xs, cells, corner, rows, columns, taps_d, dilation_d, chunk, pitch, mode, steps):
        """`corner` is the cell of the first tap of the block's first output, on each axis."""
        for i in range(lanes):
            vector.poke(steps + i, i * pitch)
        begin = min(max(-corner[2], 0), columns)
        end = max(begin, min(cells[2] - corner[2], columns))
        for t in range(taps_d):
            d = cell_under(corner[0] + t * dilation_d, cells[0], mode)
            for row in range(rows):
                h = cell_under(corner[1] + row, cells[1], mode)
                line = to + (t * rows + row) * columns * pitch
                if d < 0 or h < 0:
                    clear(line, zero, columns * pitch)
                    continue
                source = x + (d * xs[2] + h * xs[3])
                for column in range(begin):
                    cell = cell_under(corner[2] + column, cells[2], mode)
                    copy_pixel(line + column * pitch, source, zero, cell, xs[4], xs[1], chunk)
                copy_pixels(line, source + corner[2] * xs[4], begin, end, xs[4], xs[1], chunk, pitch, steps)
                for column in range(end, columns):
                    cell = cell_under(corner[2] + column, cells[2], mode)
                    copy_pixel(line + column * pitch, source, zero, cell, xs[4], xs[1], chunk)

    return compiled(pack)


@lru_cache(maxsize=8)
def unpacker(lanes: int) -> Any:
    """The compiled y[k][h][w] = block[h][w][k]: outputs of a block, channels last and `pitch` apart, into planes."""

    def unpack(block, high, wide, channels, pitch, y, row, channel):
        for h in range(high):
            for k in range(0, channels, lanes):
                for w in range(0, wide, lanes):
                    square = vector.load_tile(block + ((h * wide + w) * pitch + k), pitch, lanes, 1, lanes)
                    to = y + (k * channel + h * row + w)
                    vector.store_transposed(square, to, channel, min(lanes, wide - w), min(lanes, channels - k))

    return compiled(unpack)
