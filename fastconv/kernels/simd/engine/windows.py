"""Windows of the input copied for a kernel, a block of outputs at a time, and outputs copied back.

    windows [t][row][column][c] = x        padding filled in, channels last, in the L2 cache

A block's rows and columns are the cells under all of its outputs' taps.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from fastconv.kernels.jit import compiled, inlined
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.sizes import Axes, Strides
from fastconv.problem.borders import source_cell

cell_under = compiled(source_cell)

FEW = 64  # elements of a square, which are turned sooner one by one
PART = 8  # vectors of positions that are turned, of all channels, before the next


class Source(NamedTuple):
    """An image that windows are copied from: its first channel of a chunk, and what cells outside of it hold.

    Attributes
    ----------
    at : Pointer
        The first cell of the chunk's first channel.
    strides, cells : Strides, Axes
        Of the input, and its size.
    mode : int
        Of the border: which cell stands for one outside, if any.
    fill : scalar
        What a cell holds that no cell of the input stands for.
    """

    at: Any
    strides: Strides
    cells: Axes
    mode: int
    fill: Any


class Block(NamedTuple):
    """The cells that a block of outputs reads.

    Attributes
    ----------
    corner : Axes
        The cell under the first tap of the block's first output.
    depths, spread : int
        Taps along the depth, and the dilation there.
    rows, columns, channels : int
        Cells of each depth, and channels of the chunk.
    pitch : int
        Elements from one column of the copy to the next: `channels` or more.
    """

    corner: Axes
    depths: int
    spread: int
    rows: int
    columns: int
    channels: int
    pitch: int


@compiled
def outputs_inside(start, size, stride, outputs):
    """The outputs lo .. hi - 1 whose cells, start + o * stride, lie in a row of `size` cells."""
    lo = min(max(0, -(start // stride)), outputs)
    hi = min(outputs, (size - 1 - start) // stride + 1)
    return lo, max(lo, hi)


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


@lru_cache(maxsize=8)
def interleaver(channels: int, lanes: int) -> Any:
    """The compiled to[column][c] = line[c][column] of vectors of columns; returns where the first column that is left lies."""

    def interleave(to, line, begin, end, apart):
        whole = end - (end - begin) % lanes
        for column in range(begin, whole, lanes):
            vector.store_interleaved(vector.load_tile(line + column, apart, channels, 1, lanes), to + column * channels)
        return whole

    return inlined(interleave)


@lru_cache(maxsize=8)
def packer(lanes: int, channels_last: bool) -> Any:
    """The compiled pack(source, block, to, steps): to[t][row][column][c] = x, padding filled in by the border's mode.

    `steps` has room for `lanes` int64, which it writes: the steps of the columns of a vector.
    """

    copy, clear = runs(lanes)

    @compiled
    def copy_few(to, at, columns, channels, pitch, apart):
        for c in range(channels):
            for column in range(columns):
                vector.poke(to + (column * pitch + c), vector.peek(at + (c * apart + column)))

    interleave_three = interleaver(3, lanes)

    @inlined
    def turn_inside(to, line, begin, end, room, source, block, steps):
        """The same of planes: squares of columns and channels, of which the last overlap those before."""
        pitch, channels, plane = block.pitch, block.channels, source.strides.c
        behind = lanes + (lanes - 1) // max(1, pitch)  # columns that whole vectors of a square are written to
        for first in range(0, channels, lanes):
            c = max(0, min(first, channels - lanes))
            width = min(lanes, channels - c)
            for begun in range(begin, end, lanes):
                column = max(begin, min(begun, end - lanes))
                count, at, there = min(lanes, end - column), line + (c * plane + column), to + (column * pitch + c)
                if count == width == lanes:
                    vector.store_tile(vector.load_turned(at, plane, lanes), there, pitch)
                elif column + behind <= room:  # what comes behind channels, or the row, is written later
                    if width == lanes:
                        vector.store_tile(vector.load_transposed(at, plane, count, lanes, lanes, 1, lanes), there, pitch)
                    else:
                        vector.store_tile(vector.load_transposed(at, plane, count, width, lanes, 1, lanes), there, pitch)
                elif count * width <= FEW:
                    copy_few(there, at, count, width, pitch, plane)
                else:
                    square = vector.load_transposed(at, plane, count, width, lanes, 1, lanes)
                    vector.store_first_rows(square, there, steps, count, width)

    @compiled
    def pack_inside(to, line, begin, end, room, source, block, steps):
        """to[column][c] of the columns begin .. end - 1, which all lie inside the row whose first column is at `line`.

        The columns behind them, up to `room`, may be written: what belongs there comes later.
        """
        apart, pitch, channels = source.strides.w, block.pitch, block.channels
        if apart == channels == pitch:  # also of one channel alone, whatever the layout
            copy(to + begin * channels, line + begin * channels, (end - begin) * channels)
        elif channels_last:
            for column in range(begin, end):
                copy(to + column * pitch, line + column * apart, channels)
        else:
            if channels == pitch == 3:  # a picture's colours
                begin = interleave_three(to, line, begin, end, source.strides.c)
            turn_inside(to, line, begin, end, room, source, block, steps)

    @compiled
    def pack_border(to, row, column, source, block):
        """to[c] of one column of the input's row at `row`, which may be padding."""
        cell = cell_under(column, source.cells.w, source.mode)
        if cell < 0:
            for c in range(block.channels):
                vector.poke(to + c, source.fill)
        else:
            for c in range(block.channels):
                vector.poke(to + c, vector.peek(row + (cell * source.strides.w + c * source.strides.c)))

    def pack(source, block, to, steps):
        corner, cells, strides = block.corner, source.cells, source.strides
        for i in range(lanes):
            vector.poke(steps + i, i * block.pitch)
        begin = min(max(-corner.w, 0), block.columns)
        end = max(begin, min(cells.w - corner.w, block.columns))
        fills = cell_under(-1, cells.w, source.mode) < 0
        for t in range(block.depths):
            d = cell_under(corner.d + t * block.spread, cells.d, source.mode)
            for row in range(block.rows):
                h = cell_under(corner.h + row, cells.h, source.mode)
                line = to + (t * block.rows + row) * block.columns * block.pitch
                if d < 0 or h < 0:
                    clear(line, source.fill, block.columns * block.pitch)
                    continue
                at = source.at + (d * strides.d + h * strides.h)
                room = (block.depths * block.rows - (t * block.rows + row)) * block.columns
                pack_inside(line, at + corner.w * strides.w, begin, end, room, source, block, steps)
                if fills:
                    clear(line, source.fill, begin * block.pitch)
                    clear(line + end * block.pitch, source.fill, (block.columns - end) * block.pitch)
                else:
                    for column in range(begin):
                        pack_border(line + column * block.pitch, at, corner.w + column, source, block)
                    for column in range(end, block.columns):
                        pack_border(line + column * block.pitch, at, corner.w + column, source, block)

    return compiled(pack)


@lru_cache(maxsize=8)
def unpacker(lanes: int) -> Any:
    """The compiled y[k][h][w] = block[h][w][k]: outputs of a block, channels last and `pitch` apart, into planes.

    Rows that follow each other in y are taken as one. Squares at their ends overlap those before. What lies behind the last
    position is read where there are fewer than lanes: of up to lanes - 1 more.
    """
    part = PART * lanes

    def unpack(block, rows, columns, channels, pitch, y, by_row, by_channel):
        if by_row == columns:
            rows, columns = 1, rows * columns
        for h in range(rows):
            for begun in range(0, columns, part):
                end = min(columns, begun + part)
                for k in range(0, channels, lanes):
                    for first in range(begun, end, lanes):
                        w = max(0, min(first, columns - lanes))
                        square = vector.load_tile(block + ((h * columns + w) * pitch + k), pitch, lanes, 1, lanes)
                        to = y + (k * by_channel + h * by_row + w)
                        vector.store_transposed(square, to, by_channel, min(lanes, columns - w), min(lanes, channels - k))

    return compiled(unpack)
