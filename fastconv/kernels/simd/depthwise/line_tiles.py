"""Rows of outputs of depthwise convolution, channels last: where they and the rows under them lie, and the sums of their tiles.

lines.py runs over rows.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from fastconv.kernels.jit import compiled, inlined
from fastconv.kernels.memory import LINE
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import windows
from fastconv.kernels.simd.engine.sizes import Axes, reader
from fastconv.kernels.simd.engine.workspace import workspace

address, cell_under, peek, poke, pointer = vector.address, windows.cell_under, vector.peek, vector.poke, vector.pointer


class Tile(NamedTuple):
    """Output positions, and vectors of channels."""

    rows: int
    vectors: int


class LineSizes(NamedTuple):
    """The sizes of a call, channels last.

    Attributes
    ----------
    channels, mode : int
    cells, outputs, padding, taps, stride, dilation : Axes
        Of the input, the output, before the input, of the kernel.
    begin, end : int
        Outputs begin .. end - 1 of a row have windows without padding on it.
    zeros : int
        Words of 8 bytes that hold a cell.
    planes, rows : int
        Of the input, that the next depth and the next row of outputs read first, of each of their taps one at most.
    along : int
        Outputs from a tile to those that it asks for, where an image is one row; else 0: those of the next row are.
    """

    channels: int
    mode: int
    cells: Axes
    outputs: Axes
    padding: Axes
    taps: Axes
    stride: Axes
    dilation: Axes
    begin: int
    end: int
    zeros: int
    planes: int
    rows: int
    along: int


class Line(NamedTuple):
    """A row of outputs.

    Attributes
    ----------
    image, y : Pointer
        Of its image, and its first output.
    rows : int
        Rows of the kernel that do not lie in padding, over all depths.
    below : Pointer
        The first row of cells that the windows do not reach, and the next ones do, of their last depth.
    """

    image: Any
    y: Any
    rows: int
    below: Any


class LineTables(NamedTuple):
    """Words: rows of the input, each with the kernel's that it meets; addresses of cells under a tile; a cell of zeros."""

    rows: int
    cells: int
    zeros: int


read_line, carve_line = reader(LineSizes), workspace(LineTables)


@compiled
def line_of(number, x, y, rows, s):
    """A row of outputs, and the rows under it."""
    rest, h = divmod(number, s.outputs.h)
    n, d = divmod(rest, s.outputs.d)
    count = 0
    for t in range(s.taps.d):
        depth = cell_under(d * s.stride.d + t * s.dilation.d - s.padding.d, s.cells.d, s.mode)
        for r in range(s.taps.h):
            row = cell_under(h * s.stride.h + r * s.dilation.h - s.padding.h, s.cells.h, s.mode)
            if depth >= 0 and row >= 0:
                poke(rows + 2 * count, depth * s.cells.h + row)
                poke(rows + (2 * count + 1), t * s.taps.h + r)
                count += 1
    image = pointer(x) + n * s.cells.d * s.cells.h * s.cells.w * s.channels
    deepest = min(s.cells.d - 1, d * s.stride.d + (s.taps.d - 1) * s.dilation.d - s.padding.d)
    row_below = h * s.stride.h + (s.taps.h - 1) * s.dilation.h + 1 - s.padding.h
    below = image + (deepest * s.cells.h + row_below) * s.cells.w * s.channels
    return Line(image, pointer(y) + number * s.outputs.w * s.channels, count, below)


@lru_cache(maxsize=64)
def line_filters(tile: Tile, taps: int, stride: int, group: int, lanes: int) -> tuple[Any, Any, Any]:
    """The compiled sums of a tile, outputs `dilation` apart: windows without padding on their row, and any; and any's cells."""
    rows, vectors = tile
    wide = (rows - 1) * stride + taps  # cells under a tile

    @inlined
    def filter_inside(line, table, column, c, w, bias, s):
        sums = vector.repeated(bias + c, rows, vectors, lanes)
        for i in range(line.rows):
            cell, r = peek(table.rows + 2 * i) * s.cells.w + column * stride - s.padding.w, peek(table.rows + (2 * i + 1))
            source, taps_of_row = line.image + (cell * s.channels + c), w + (r * taps * group * s.channels + c)
            step = s.dilation.w * s.channels
            sums = vector.fma_grouped(sums, source, step, taps_of_row, s.channels, taps, stride, group)
        return sums

    @inlined
    def filter_listed(line, table, c, w, bias, s):
        sums = vector.repeated(bias + c, rows, vectors, lanes)
        for i in range(line.rows):
            r = peek(table.rows + (2 * i + 1))
            cells, taps_of_row = table.cells + i * wide, w + (r * taps * group * s.channels + c)
            sums = vector.fma_listed(sums, line.image, cells, c, taps_of_row, s.channels, taps, stride, group)
        return sums

    @compiled
    def list_cells(line, table, column, s):
        """The addresses of the cells under a tile, those of padding a cell of zeros."""
        for j in range(wide):
            cell = cell_under(column * stride + j * s.dilation.w - s.padding.w, s.cells.w, s.mode)
            for i in range(line.rows):
                inside = line.image + (peek(table.rows + 2 * i) * s.cells.w + cell) * s.channels
                poke(table.cells + (i * wide + j), address(inside) if cell >= 0 else address(table.zeros))

    return filter_inside, filter_listed, list_cells


@lru_cache(maxsize=64)
def asker(tile: Tile, stride: int, lanes: int, itemsize: int) -> Any:
    """The compiled request for the outputs of a tile in the next row, and for the cells that come under it there.

    Or further along an image of one row.
    """
    line_of_cells = LINE // itemsize

    def ask(line, column, c, s):
        output, cell = line.y + (s.outputs.w + column) * s.channels, line.below + column * stride * s.channels
        if s.along > 0:
            output, reach = line.y + (column + s.along) * s.channels, (s.taps.w - 1) * s.dilation.w + 1
            cell = line.image + ((column + s.along) * stride + reach - stride - s.padding.w) * s.channels
        for k in range(0, tile.vectors * lanes, line_of_cells):
            for i in range(tile.rows):
                vector.prefetch(output + (i * s.dilation.w * s.channels + (c + k)))
            for t in range(s.planes):
                for r in range(s.rows):
                    row = (r - t * s.cells.h) * s.cells.w
                    for j in range(tile.rows * stride):
                        vector.prefetch(cell + ((row + j * s.dilation.w) * s.channels + (c + k)))

    return inlined(ask)
