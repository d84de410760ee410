"""Operands laid out for the microkernel: weights once a plan, windows of the input a block at a time.

    weights   [groups][blocks][chunks of channels][t r s][c][width]   a row of `width` values is one vector load a column
    windows   [t][rows][columns][c]                                   padding filled in, channels last, in the L2 cache

`width` is the number of output channels of a register tile; the last block is filled up with zeros.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from fastconv.geometry import Array, source_cell
from fastconv.kernels.jit import compiled
from fastconv.kernels.simd import vector

LINE = 64  # bytes of a cache line
cell_under = compiled(source_cell)


def aligned(size: int, dtype: np.dtype[Any]) -> Array:
    """An uninitialised flat array that begins a cache line: NumPy's own begin 16 bytes into one, and every access splits."""
    memory = np.empty(size + LINE // dtype.itemsize, dtype)
    start = -memory.ctypes.data % LINE // dtype.itemsize
    return memory[start : start + size]


def pack_weights(w: Array, groups: int, width: int, chunk: int) -> Array:
    """w as (groups * k, c, t, r, s), a view of any order, as the flat array drawn above."""
    k, c = w.shape[0] // groups, w.shape[1]
    blocks, taps = -(-k // width), int(np.prod(w.shape[2:]))
    packed = aligned(groups * blocks * c * taps * width, w.dtype)
    if k % width:
        packed[:] = 0
    if not packed.size:
        return packed
    grouped = w.reshape(groups, k, c, taps)
    for begin in range(0, c, max(1, chunk)):
        end = min(c, begin + chunk)
        for block in range(blocks):
            part = grouped[:, block * width : (block + 1) * width, begin:end]
            rows = packed.reshape(groups, blocks, c * taps, width)[:, block, begin * taps : end * taps]
            rows.reshape(groups, taps, end - begin, width)[..., : part.shape[1]] = part.transpose(0, 3, 2, 1)
    return packed


@lru_cache(maxsize=8)
def window_packer(lanes: int, channels_last: bool) -> Any:
    """The compiled copy of a block's input: to[t][row][column][c] = x, padding filled in by its mode."""

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

    @compiled
    def copy_pixels(to, source, begin, end, column_step, channel_step, chunk, steps):
        """to[column][c] for the columns begin .. end - 1, which all lie inside the row at `source`."""
        if channels_last:
            if column_step == chunk:
                copy(to + begin * chunk, source + begin * chunk, (end - begin) * chunk)
            else:
                for column in range(begin, end):
                    copy(to + column * chunk, source + column * column_step, chunk)
        else:
            for c in range(0, chunk, lanes):
                for column in range(begin, end, lanes):
                    count, width = min(lanes, end - column), min(lanes, chunk - c)
                    at = source + (c * channel_step + column)
                    square = vector.load_transposed(at, channel_step, count, width, lanes, 1, lanes)
                    vector.store_first_rows(square, to + (column * chunk + c), steps, count, width)

    @compiled
    def copy_pixel(to, source, zero, cell, column_step, channel_step, chunk):
        """to[c] of one pixel, which may be padding."""
        if cell < 0:
            for c in range(chunk):
                vector.poke(to + c, zero)
        else:
            for c in range(chunk):
                vector.poke(to + c, vector.peek(source + (cell * column_step + c * channel_step)))

    def pack(x, to, zero, xs, cells, corner, rows, columns, taps_d, dilation_d, chunk, mode, steps):
        """`corner` is the cell of the first tap of the block's first output, on each axis."""
        for i in range(lanes):
            vector.poke(steps + i, i * chunk)
        begin = min(max(-corner[2], 0), columns)
        end = max(begin, min(cells[2] - corner[2], columns))
        for t in range(taps_d):
            d = cell_under(corner[0] + t * dilation_d, cells[0], mode)
            for row in range(rows):
                h = cell_under(corner[1] + row, cells[1], mode)
                line = to + (t * rows + row) * columns * chunk
                if d < 0 or h < 0:
                    clear(line, zero, columns * chunk)
                    continue
                source = x + (d * xs[2] + h * xs[3])
                for column in range(begin):
                    cell = cell_under(corner[2] + column, cells[2], mode)
                    copy_pixel(line + column * chunk, source, zero, cell, xs[4], xs[1], chunk)
                copy_pixels(line, source + corner[2] * xs[4], begin, end, xs[4], xs[1], chunk, steps)
                for column in range(end, columns):
                    cell = cell_under(corner[2] + column, cells[2], mode)
                    copy_pixel(line + column * chunk, source, zero, cell, xs[4], xs[1], chunk)

    return compiled(pack)
