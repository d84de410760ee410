"""Blocks of rows of an array with all cells that windows over them reach, copied for a kernel: borders filled in, converted.

    cells [q][r][e] = x[plane q under the window][h + r - before][w + e - before]       q over the outer taps of the window

A filter over any number of axes reads neighbourhoods of (plane, row, element): see problem.filters.Folded. A block is some rows
of one plane, or of a strip of each of them. Row r + t of plane q holds the cells under tap (q, t) of the block's row r, and
element e + s * inner those under tap s of its element e: `tap_offsets` tells how far each tap lies from (0, 0, 0).

    field = field_of(geometry, block)            # in Python: Field is part of a kernel's Sizes, outer_table an argument
    block = block_of(item, s.field)              # in a kernel
    fill_block(cells, x, block, outer, s.field, border)

Where cells are read as they are stored, the windows that lie inside of the array need no copy: PARTS of a block are what lies
around them, and INNER, whose cells are read from the array itself.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import compiled
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.sizes import Plane
from fastconv.kernels.simd.engine.windows import cell_under, runs
from fastconv.machine import Machine
from fastconv.problem.borders import CIRCULAR, REFLECT, SYMMETRIC
from fastconv.problem.convolutions import Array
from fastconv.problem.filters import Axis, FilterGeometry, Folded
from fastconv.problem.types import Types

pointer = vector.pointer
SLACK = 16  # vectors behind a block's cells that a tile may read and not use
BLOCKS = 8  # or more, of a large array
LEAST = 8192  # elements of a block that is worth a thread
FAR, APART = 768, 256  # bytes that come from memory, or the last cache, while the first ones of a piece of a row do
PARTS, INNER = 5, 4  # of a block: above, below, before and behind the windows inside of the array, and these


class Line(NamedTuple):
    """An axis as kernels know it: see problem.filters.Axis; `mode` is the code of its border."""

    size: int
    taps: int
    before: int
    mode: int


class Field(NamedTuple):
    """An array and its windows.

    Attributes
    ----------
    planes, outer, outer_taps : int
        Planes of the array, its axes over planes, and planes under a window.
    h, w : Line
        Rows of a plane, and cells of a row.
    inner : int
        Elements of a cell.
    block : Plane
        Rows, and elements of each, that one block has at most.
    pitch : int
        Elements from one row of a block's cells to the next.
    """

    planes: int
    outer: int
    outer_taps: int
    h: Line
    w: Line
    inner: int
    block: Plane
    pitch: int


class Block(NamedTuple):
    """Outputs of an item: a plane, the first row and element, and how many rows and elements of each."""

    plane: int
    h: int
    w: int
    rows: int
    elements: int


OUTER_FIELDS = 4  # of each axis in outer_table: those of Line


def line_of(axis: Axis) -> Line:
    """An axis for kernels."""
    return Line(axis.size, axis.taps, axis.before, axis.border.code)


def outer_table(folded: Folded) -> Array:
    """The axes over planes, as kernels read them by `outer_line`."""
    return np.array([line_of(axis) for axis in folded.outer] or [line_of(Axis(1, 1, 0, folded.h.border))], np.int64).ravel()


def field_of(geometry: FilterGeometry, block: Plane, lanes: int) -> Field:
    """The field of a geometry, in blocks of so many outputs; `lanes` of the vectors that read its cells."""
    f = geometry.folded
    return Field(f.planes, len(f.outer), f.outer_taps, line_of(f.h), line_of(f.w), f.inner, block, pitch_of(f, block.w, lanes))


def pitch_of(folded: Folded, elements: int, lanes: int) -> int:
    """Elements of a row of cells in whole vectors; an odd number of them, so that rows do not share cache sets."""
    return (-(-(elements + (folded.w.taps - 1) * folded.inner) // lanes) | 1) * lanes


def items_of(field: Field) -> int:
    """Blocks of a field."""
    return field.planes * -(-field.h.size // field.block.h) * -(-field.w.size * field.inner // field.block.w)


def rows_under(field: Field) -> int:
    """Rows of cells of each plane under a whole block."""
    return field.block.h + field.h.taps - 1


rows_of = compiled(rows_under)


def block_cells(field: Field) -> int:
    """Elements of a block's cells, without slack."""
    return field.outer_taps * rows_under(field) * field.pitch


def cut(geometry: FilterGeometry, types: Types, itemsize: int, machine: Machine, planes: int = 0, beside: int = 0) -> Plane:
    """Rows and elements of a block whose cells, of so many bytes, fit half of the L2 cache with little copied twice.

    Cells are those of all planes under a window, or of `planes`; `beside` more rows of them must fit too. There are BLOCKS
    blocks or more where the array is long enough, so that threads can share them. Pieces of rows are waited for as they begin,
    for long where no cache holds the array.
    """
    f, stored = geometry.folded, types.stored.itemsize
    moved = geometry.bytes(stored, types.result.itemsize)
    begun = (FAR if machine.asks(moved) else APART if moved > machine.l2 else 0) / stored
    planes = planes or f.outer_taps
    whole, lanes, room = f.w.size * f.inner, machine.vector_bytes // itemsize, machine.l2 // 2 // itemsize
    step, halo, lines = lanes * f.inner, (f.w.taps - 1) * f.inner, f.h.size * f.planes
    best: tuple[float, Plane] | None = None
    blocks = BLOCKS if lines * whole >= BLOCKS * LEAST else 1
    pieces = max(1, min(-(-blocks // lines), whole // LEAST))
    while True:
        of_piece = -(-whole // pieces)
        elements = min(whole, -(-of_piece // step) * step)
        of_row = planes * pitch_of(f, elements, lanes)
        rows = max(1, min(room // of_row - (f.h.taps - 1) - beside, f.h.size, -(-lines // blocks)))
        reach = rows + f.h.taps - 1
        copied = reach / rows * (elements + halo + begun) / elements * max(1.0, (reach + beside) * of_row / room)
        if best is None or copied < best[0]:
            best = copied, Plane(rows, elements)
        if elements <= max(8 * lanes, step):
            return best[1]
        pieces *= 2


def tap_offsets(geometry: FilterGeometry, field: Field) -> Array:
    """Elements from the first cell under a window to that of each tap [taps], in row-major order over the axes."""
    f = geometry.folded
    q, t, s = np.ix_(np.arange(f.outer_taps), np.arange(f.h.taps), np.arange(f.w.taps))
    return ((q * rows_under(field) + t) * field.pitch + s * f.inner).ravel()


def stored_offsets(geometry: FilterGeometry) -> Array:
    """The same in the array itself, of windows over one plane."""
    f = geometry.folded
    t, s = np.ix_(np.arange(f.h.taps), np.arange(f.w.taps))
    return ((t * f.w.size + s) * f.inner).ravel()


# In kernels -------------------------------------------------------------------------------------------------------------------


@compiled
def inner_block(block, field, slack, least, elements):
    """The windows of a block that lie inside of the array, with `slack` elements that tiles read behind their cells.

    The array has so many elements; none where its cells are not read as they are stored. There are no windows over several
    planes, nor of less than `least` elements a row, beside which what lies around them would take as long.
    """
    line, after = field.w.size * field.inner, (field.w.taps - 1 - field.w.before) * field.inner
    h, w = max(block.h, field.h.before), max(block.w, field.w.before * field.inner)
    below = field.h.taps - 1 - field.h.before
    right = min(block.w + block.elements, line - after)
    last = (elements - slack - right - after) // line - block.plane * field.h.size  # the last row of cells
    bottom = min(block.h + block.rows, min(field.h.size - 1, last) - below + 1)
    found = Block(block.plane, h, w, bottom - h, right - w)
    return trimmed(found, 0 if field.outer_taps > 1 or found.elements < least else found.rows, found.elements)


@compiled
def trimmed(block, rows, elements):
    """The first rows and elements of a block; none where there are none of either."""
    if rows <= 0 or elements <= 0:
        return Block(block.plane, block.h, block.w, 0, 0)
    return Block(block.plane, block.h, block.w, rows, elements)


@compiled
def part_of(block, inner, part):
    """A part of a block around the windows inside of the array, or these; where there are none, the first is the block."""
    if inner.rows == 0:
        return Block(block.plane, block.h, block.w, block.rows if part == 0 else 0, block.elements)
    if part == INNER:
        return inner
    bottom, right = inner.h + inner.rows, inner.w + inner.elements
    if part == 0:
        return Block(block.plane, block.h, block.w, inner.h - block.h, block.elements)
    if part == 1:
        return Block(block.plane, bottom, block.w, block.h + block.rows - bottom, block.elements)
    if part == 2:
        return Block(block.plane, inner.h, block.w, inner.rows, inner.w - block.w)
    return Block(block.plane, inner.h, right, inner.rows, block.w + block.elements - right)


@compiled
def first_cell(block, field):
    """Where the first cell under a block of windows inside of the array lies in it."""
    row = block.plane * field.h.size + block.h - field.h.before
    return row * field.w.size * field.inner + block.w - field.w.before * field.inner


@compiled
def outer_line(outer, i):
    """Axis i over planes."""
    at = i * OUTER_FIELDS
    return Line(outer[at], outer[at + 1], outer[at + 2], outer[at + 3])


@compiled
def block_of(item, field):
    """The outputs of an item: strips of a band follow each other, then bands of a plane."""
    rest, strip = divmod(item, -(-field.w.size * field.inner // field.block.w))
    plane, band = divmod(rest, -(-field.h.size // field.block.h))
    h, w = band * field.block.h, strip * field.block.w
    return Block(plane, h, w, min(field.block.h, field.h.size - h), min(field.block.w, field.w.size * field.inner - w))


@compiled
def first_output(block, row, field):
    """Where row `row` of a block begins in the result."""
    return ((block.plane * field.h.size + block.h + row) * field.w.size) * field.inner + block.w


@compiled
def plane_under(plane, tap, outer, field):
    """The plane under outer tap `tap` of the windows over a plane, or -1 where none is."""
    found, step = 0, 1
    for i in range(field.outer - 1, -1, -1):
        line = outer_line(outer, i)
        plane, at = divmod(plane, line.size)
        tap, t = divmod(tap, line.taps)
        cell = cell_under(at + t - line.before, line.size, line.mode)
        if cell < 0:
            return -1
        found += cell * step
        step *= line.size
    return found


@compiled
def cell_near(position, line):
    """cell_under, without a division where the cell lies less than a row outside."""
    size, mode = line.size, line.mode
    if mode == SYMMETRIC:
        near = -1 - position if position < 0 else 2 * size - 1 - position
    elif mode == REFLECT:
        near = -position if position < 0 else 2 * size - 2 - position
    elif mode == CIRCULAR:
        near = position + size if position < 0 else position - size
    else:
        near = -1
    return near if 0 <= near < size else cell_under(position, size, mode)


@lru_cache(maxsize=8)
def filler(lanes: int) -> tuple[Any, Any]:
    """The compiled fill_row and fill_block; `lanes` of the vectors that cells are converted by.

    fill_row(to, row, first, count, field, border): to[e] = the element first + e of a row, or what stands for it; whole cells.
    fill_block(cells, x, block, outer, field, border): all cells under a block, in rows `field.pitch` apart, and SLACK zeros
    behind each: a tile reads on there, where arithmetic on the denormal numbers that memory may hold would take a hundred times
    as long.
    `border` points to what cells of a constant border hold, of the type of the cells.
    """
    _, clear = runs(lanes)

    @compiled
    def fill_outside(to, row, position, cells, field, border):
        """The next `cells` cells from one outside of a row on."""
        for i in range(cells):
            cell = cell_near(position + i, field.w)
            for part in range(field.inner):
                at = to + (i * field.inner + part)
                if cell < 0:
                    vector.poke(at, vector.peek(border))
                else:
                    vector.poke_as(at, row + (cell * field.inner + part))

    @compiled
    def fill_row(to, row, first, count, field, border):
        begin = min(max(-first, 0), count)
        end = max(begin, min(field.w.size * field.inner - first, count))
        position = first // field.inner
        fill_outside(to, row, position, begin // field.inner, field, border)
        source, whole = row + first, end - (end - begin) % lanes
        for e in range(begin, whole, lanes):
            vector.store(to + e, vector.load_as(source + e, to, lanes))
        if whole < end:
            left = end - whole
            vector.store_first(to + whole, vector.load_first_as(source + whole, to, left, lanes), left)
        after = end // field.inner
        fill_outside(to + end, row, position + after, count // field.inner - after, field, border)

    @compiled
    def fill_block(cells, x, block, outer, field, border):
        rows, reach = block.rows + field.h.taps - 1, block.elements + (field.w.taps - 1) * field.inner
        none = vector.zero(cells)
        for q in range(field.outer_taps):
            plane = plane_under(block.plane, q, outer, field)
            for r in range(rows):
                h = cell_under(block.h + r - field.h.before, field.h.size, field.h.mode)
                to = cells + (q * rows_of(field) + r) * field.pitch
                if plane < 0 or h < 0:
                    clear(to, vector.peek(border), reach)
                else:
                    row = pointer(x) + (plane * field.h.size + h) * field.w.size * field.inner
                    fill_row(to, row, block.w - field.w.before * field.inner, reach, field, border)
                clear(to + reach, none, min(field.pitch - reach, SLACK * lanes))
        clear(cells + field.outer_taps * rows_of(field) * field.pitch, none, SLACK * lanes)

    return fill_row, fill_block
