"""Images of rows: how rows of cells are split into the points of tiles along them, and back.

row_tiles.py runs over blocks of them.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from fastconv.kernels.jit import compiled
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import windows
from fastconv.kernels.simd.engine.sizes import Plane, reader
from fastconv.kernels.simd.engine.workspace import workspace
from fastconv.kernels.simd.winograd.row_transforms import input_transform
from fastconv.problem.borders import ZERO_FILL as ZEROS

cell_under, peek, poke = windows.cell_under, vector.peek, vector.poke


class Sizes(NamedTuple):
    """The sizes of a call.

    Attributes
    ----------
    channels : int
    cells, outputs, padding, taps : Plane
        Of the input, the output, before the input, of the kernel.
    mode : int
        Of the border.
    block, blocks : Plane
        Outputs of a block at most, and blocks of a plane.
    pitch, image : int
        Elements from one row of an image to the next, and from one image of a block to the next.
    """

    channels: int
    cells: Plane
    outputs: Plane
    padding: Plane
    taps: Plane
    mode: int
    block: Plane
    blocks: Plane
    pitch: int
    image: int


class Block(NamedTuple):
    """A block of outputs of one plane.

    Attributes
    ----------
    plane, channel : int
        The plane of the batch, and its channel.
    output, outputs : Plane
        The first output and the number of them.
    corner, cells : Plane
        The first cell under it, which may be padding, and the number of them.
    begin, end : int
        The columns of cells that lie in the plane.
    """

    plane: int
    channel: int
    output: Plane
    outputs: Plane
    corner: Plane
    cells: Plane
    begin: int
    end: int


class Columns(NamedTuple):
    """The columns begin .. end - 1 of a block's images."""

    begin: int
    end: int


class Lines(NamedTuple):
    """The rows begin .. end - 1 of a block's images."""

    begin: int
    end: int


class Parts(NamedTuple):
    """Of a thread's memory: sums of a tile, cells and products of a vector, a row of what padding holds, a block's images."""

    sums: int
    cells: int
    products: int
    fill: int
    images: int


class Tables(NamedTuple):
    """Of the rows under a row of images: where they begin, whether cells lie there, and where the gathered ones begin."""

    rows: int
    inside: int
    gathered: int


read, carve, carve_tables = reader(Sizes), workspace(Parts), workspace(Tables)

# Images -----------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def line_splitter(m: int, lanes: int, dtype: str) -> Any:
    """The compiled image_p[column] of one row of each image, of all of its columns, from the rows that `tables` tells.

    Behind each row of an image there is room for a vector.
    """
    transform, transform_first = (input_transform(m, lanes, dtype, masked) for masked in (False, True))
    count = 2 * m - 1

    @compiled
    def clear(line, columns, zero, s):
        """Zeros, which B^T makes of zeros."""
        empty = vector.splat(zero, lanes)
        for p in range(count):
            for column in range(columns.begin, columns.end, lanes):
                vector.store(line + (p * s.image + column), empty)

    @compiled
    def gather(image, line, columns, corner, work, tables, s):
        """Of columns in padding, whose cells are found one by one."""
        for left in range(columns.begin, columns.end, lanes):
            width = min(lanes, columns.end - left)
            for j in range(width):
                cell = cell_under(corner + left + j, s.cells.w, s.mode)
                for a in range(count):
                    value = peek(work.fill)
                    if cell >= 0 and peek(tables.inside + a) == 1:
                        value = peek(image + (peek(tables.rows + a) + cell))
                    poke(work.cells + (a * lanes + j), value)
            transform_first(work.cells, tables.gathered, width, work.products, lanes)
            for p in range(count):
                vector.store_first(line + (p * s.image + left), vector.load(work.products + p * lanes, lanes), width)

    @compiled
    def transform_inside(start, line, columns, tables, s):
        """Of columns in the plane, by vectors; the column behind the last one written."""
        whole = columns.begin + (columns.end - columns.begin) // lanes * lanes
        for column in range(columns.begin, whole, lanes):
            transform(start + column, tables.rows, lanes, line + column, s.image)
        if whole == columns.end:
            return whole
        transform_first(start + whole, tables.rows, columns.end - whole, line + whole, s.image)
        return whole + lanes

    def split_line(image, line, block, work, tables, s):
        inside, start = Columns(block.begin, block.end), image + block.corner.w
        before, after = Columns(0, block.begin), Columns(block.end, block.cells.w)
        if s.mode == ZEROS:
            clear(line, before, peek(work.fill), s)
            reached = transform_inside(start, line, inside, tables, s)
            clear(line, Columns(reached, block.cells.w), peek(work.fill), s)
        else:
            transform_inside(start, line, inside, tables, s)
            gather(image, line, before, block.corner.w, work, tables, s)
            gather(image, line, after, block.corner.w, work, tables, s)

    return compiled(split_line)


@lru_cache(maxsize=8)
def splitter(m: int, lanes: int, dtype: str) -> Any:
    """The compiled image_p[i] = (B^T x[m i : m i + 2 m - 1])[p], of the rows begin <= i < end of a block's images."""
    split_line, count = line_splitter(m, lanes, dtype), 2 * m - 1

    @compiled
    def find_rows(image, i, block, work, tables, s):
        """Where the rows of the plane under one row of the images begin; for rows of padding, those that `fill` has."""
        for a in range(count):
            row, cell = m * i + a, -1
            if row < block.cells.h:
                cell = cell_under(block.corner.h + row, s.cells.h, s.mode)
            poke(tables.inside + a, 1 if cell >= 0 else 0)
            padding = vector.distance(image, work.fill) - block.corner.w
            poke(tables.rows + a, cell * s.cells.w if cell >= 0 else padding)

    def split(image, images, lines, block, work, tables, s):
        for i in range(lines.begin, lines.end):
            find_rows(image, i, block, work, tables, s)
            split_line(image, images + i * s.pitch, block, work, tables, s)

    return compiled(split)
