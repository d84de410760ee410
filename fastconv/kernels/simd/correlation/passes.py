"""Correlation with a product of vectors, one of each axis: a pass an axis, over blocks that stay in the cache.

    cells [r][e] = T(sum over q of a[q] * x[plane q][r][e])          axis over planes, if it has taps
    lines [r][e] = T(sum over t of b[t] * cells [r + t][e])          rows
    y [r][e]     = T(sum over s of c[s] * lines [r][e + s * inner])  cells of a row

T rounds to what y holds, as SciPy does, which stores every pass. A constant border holds its value in every pass.

Sums in float64 are rounded as those of a loop in C are, product by product, in SciPy's order: where the weights of an odd
number of taps mirror each other, the middle one comes first, then pairs from the outside in; else the last one comes first,
then the others in order. What is then cut off to an integer is the same.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from fastconv.kernels.jit import Kernel, compiled, inlined
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.neighbourhoods import (
    INNER,
    PARTS,
    SLACK,
    Field,
    block_of,
    cell_near,
    filler,
    first_cell,
    first_output,
    inner_block,
    part_of,
    plane_under,
    rows_of,
)
from fastconv.kernels.simd.engine.requests import Lines, ask_lines
from fastconv.kernels.simd.engine.sizes import Plane, reader
from fastconv.kernels.simd.engine.windows import cell_under, runs
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.problem import filters
from fastconv.problem.borders import CONSTANT

pointer = vector.pointer
OF_CACHE = 2  # of the L1 cache: the part that a strip of cells under a row takes
TOGETHER = 16  # rows of a block that are summed before the next pass takes them
MIRRORED = (filters.PLAIN, filters.EVEN, filters.ODD)
PLAIN, EVEN, ODD = range(len(MIRRORED))


class Pass(NamedTuple):
    """The weights of an axis: how many, where they begin, and how they mirror each other, as MIRRORED numbers it."""

    taps: int
    first: int
    mirrored: int


class Source(NamedTuple):
    """Cells to sum: the first one, elements from row to row and from tap to tap, and to those that are asked for, or 0."""

    at: Any
    row: int
    tap: int
    ahead: int


class Sizes(NamedTuple):
    """The array with its windows, passes over planes, rows and cells of a row, elements between lines and of a strip of the
    pass over rows, and what is asked for.
    """

    field: Field
    planes: Pass
    rows: Pass
    cells: Pass
    pitch: int
    strip: int
    asked: Lines


class Workspace(NamedTuple):
    """The workspace of a thread: planes under a row, cells under a block, and lines of sums over rows."""

    column: int
    cells: int
    lines: int


read, carve = reader(Sizes), workspace(Workspace)


@lru_cache(maxsize=8)
def weighing(columns: int, lanes: int, exact: bool) -> Any:
    """The compiled weigh(at, step, w, axis): a tile of sum over t of w[t] * at[t * step]."""

    def weigh_fused(at, step, w, axis):
        tile = vector.zeros(at, 1, columns, lanes)
        for t in range(axis.taps):
            tile = vector.fma_shared(tile, w + t, at + t * step)
        return tile

    def weigh_exactly(at, step, w, axis):
        tile = vector.zeros(at, 1, columns, lanes)
        last = axis.taps - 1
        if axis.mirrored == PLAIN:
            tile = vector.add_product(tile, w + last, at + last * step)
            for t in range(last):
                tile = vector.add_product(tile, w + t, at + t * step)
            return tile
        middle = last // 2
        tile = vector.add_product(tile, w + middle, at + middle * step)
        if axis.mirrored == EVEN:
            for t in range(middle):
                tile = vector.add_product_of_sum(tile, w + t, at + t * step, at + (last - t) * step)
        else:
            for t in range(middle):
                tile = vector.add_product_of_difference(tile, w + t, at + t * step, at + (last - t) * step)
        return tile

    return inlined(weigh_exactly if exact else weigh_fused)


@lru_cache(maxsize=8)
def summing(columns: int, lanes: int, exact: bool) -> tuple[Any, Any]:
    """The compiled sum_lines and sum_outputs, a strip of all rows at a time: the cells under a row of it stay in the L1 cache.

    sum_lines(source, w, axis, lines, pitch, like, extent, strip, asked): rows of sums, rounded to the type of `like`, in whole
    tiles.
    sum_outputs(source, w, axis, to, pitch, extent, strip, asked): rows of sums, stored as what `to` points to.

    What the next rows take is asked for: cells where they lie `ahead` of a source, and outputs.
    """
    weigh, width = weighing(columns, lanes, exact), columns * lanes

    @inlined
    def ask_for_cells(source, row, e, asked):
        if source.ahead > 0 and asked.of_x > 0:
            ask_lines(source.at + (source.ahead + row * source.row + e), width, asked.of_x)

    def sum_lines(source, w, axis, lines, pitch, like, extent, strip, asked):
        for begin in range(0, extent.w, strip):
            for row in range(extent.h):
                for e in range(begin, min(begin + strip, extent.w), width):
                    ask_for_cells(source, row, e, asked)
                    tile = weigh(source.at + (row * source.row + e), source.tap, w, axis)
                    vector.store_tile(vector.rounded_row(tile, like), lines + (row * pitch + e), 0)

    def sum_outputs(source, w, axis, to, pitch, extent, strip, asked):
        for begin in range(0, extent.w, strip):
            for row in range(extent.h):
                for e in range(begin, min(begin + strip, extent.w), width):
                    ask_for_cells(source, row, e, asked)
                    if asked.of_y > 0:
                        ask_lines(to + ((row + extent.h) * pitch + e), width, asked.of_y)
                    tile = weigh(source.at + (row * source.row + e), source.tap, w, axis)
                    vector.store_row_as(tile, to + (row * pitch + e), extent.w - e)

    return compiled(sum_lines), compiled(sum_outputs)


@lru_cache(maxsize=16)
def kernel(columns: int, lanes: int, exact: bool, over_planes: bool, as_stored: bool, types: str, isa: str) -> Kernel:
    """The compiled loop over blocks; `types` of x, the sums and y: f32_passes_8_avx512.

    `as_stored`, windows inside of the array read its cells where they are: what has few taps reads each too seldom for a copy.
    Planes are then summed where they lie.
    """
    fill_row, fill_block = filler(lanes)
    sum_lines, sum_outputs = summing(columns, lanes, exact)
    slack = SLACK * lanes
    _, clear = runs(lanes)
    width, alike = columns * lanes, as_stored and over_planes

    @compiled
    def parts_of(s):
        """The workspace."""
        field = s.field
        column = field.outer_taps * field.pitch if over_planes else 0
        return Workspace(column=column + slack, cells=rows_of(field) * field.pitch + slack, lines=TOGETHER * s.pitch + slack)

    @compiled
    def close_line(to, first, count, field, border):
        """What lies outside of a row is its border's value, not a sum of such values."""
        begin = min(max(-first, 0), count)
        end = max(begin, min(field.w.size * field.inner - first, count))
        clear(to, vector.peek(border), begin)
        clear(to + end, vector.peek(border), count - end)

    @compiled
    def planes_apart(block, outer, field):
        """(the first plane under a block, planes to the next) where all are there, and as far apart; else (-1, 0)."""
        first = plane_under(block.plane, 0, outer, field)
        step = plane_under(block.plane, 1, outer, field) - first
        for q in range(field.outer_taps):
            plane = plane_under(block.plane, q, outer, field)
            if plane < 0 or plane != first + q * step:
                return -1, 0
        return first, step

    @compiled
    def fill_sides(to, field):
        """What stands for the cells before and behind a row of sums: of the planes' cells there they are the sums too."""
        inside = to + field.w.before * field.inner
        for i in range(field.w.taps - 1):
            position = i - field.w.before if i < field.w.before else field.w.size + i - field.w.before
            cell = cell_near(position, field.w)
            for part in range(field.inner):
                if cell >= 0:
                    vector.poke(inside + (position * field.inner + part), vector.peek(inside + (cell * field.inner + part)))

    def sum_stored_planes(x, begin, step, to, w, like, s):
        field, row = s.field, Source(pointer(x) + begin, 0, step, 0)
        inside, extent = to + field.w.before * field.inner, Plane(1, field.w.size * field.inner)
        sum_lines(row, w, s.planes, inside, 0, like, extent, extent.w, s.asked)
        fill_sides(to, field)

    def sum_no_planes(x, begin, step, to, w, like, s):
        pass

    sum_in_place = compiled(sum_stored_planes if alike else sum_no_planes)

    @compiled
    def sum_planes(work, x, block, outer, w, like, s, border):
        """cells [r][e] = T(sum over q of a[q] * x[plane q][r][e])

        Whole rows of planes that lie as far from each other are summed where they lie, if what tiles read behind them is there.
        """
        field = s.field
        first, count = block.w - field.w.before * field.inner, block.elements + (field.w.taps - 1) * field.inner
        line = field.w.size * field.inner
        nearest, apart = planes_apart(block, outer, field) if alike and block.elements == line else (-1, 0)
        step = apart * field.h.size * line
        for r in range(block.rows + field.h.taps - 1):
            h, to = cell_under(block.h + r - field.h.before, field.h.size, field.h.mode), work.cells + r * field.pitch
            if h < 0:
                clear(to, vector.peek(border), count)
                continue
            begin = (nearest * field.h.size + h) * line
            if nearest >= 0 and max(begin, begin + (field.outer_taps - 1) * step) - (-line // width) * width <= len(x):
                sum_in_place(x, begin, step, to, w + s.planes.first, like, s)
                if field.w.mode == CONSTANT:
                    close_line(to, first, count, field, border)
                continue
            for q in range(field.outer_taps):
                plane, at = plane_under(block.plane, q, outer, field), work.column + q * field.pitch
                if plane < 0:
                    clear(at, vector.peek(border), count)
                else:
                    row = pointer(x) + (plane * field.h.size + h) * field.w.size * field.inner
                    fill_row(at, row, first, count, field, border)
            source = Source(work.column, 0, field.pitch, 0)
            sum_lines(source, w + s.planes.first, s.planes, to, 0, like, Plane(1, count), count, s.asked)
            if field.w.mode == CONSTANT:
                close_line(to, first, count, field, border)

    @compiled
    def sum_rows(cells, step, block, rows, w, like, work, ahead, s, border):
        """lines [r][e] = T(sum over t of b[t] * cells [r + t][e])"""
        field = s.field
        first, count = block.w - field.w.before * field.inner, block.elements + (field.w.taps - 1) * field.inner
        source = Source(cells, step, step, ahead)
        sum_lines(source, w + s.rows.first, s.rows, work.lines, s.pitch, like, Plane(rows, count), s.strip, s.asked)
        if field.w.mode == CONSTANT:
            for row in range(rows):
                close_line(work.lines + row * s.pitch, first, count, field, border)

    @compiled
    def sum_band(cells, step, work, block, top, w, y, stored, s, border):
        """Some rows of y from row `top` of a block on: the passes over rows and over cells of a row, as there are."""
        field, rows = s.field, min(TOGETHER, block.rows - top)
        to, pitch, extent = (
            pointer(y) + first_output(block, top, field),
            field.w.size * field.inner,
            Plane(rows, block.elements),
        )
        ahead = (rows + field.h.taps - 1) * step if stored else 0
        if field.w.taps == 1:
            sum_outputs(Source(cells, step, step, 0), w + s.rows.first, s.rows, to, pitch, extent, s.strip, Lines(0, 0))
        elif field.h.taps == 1:
            source = Source(cells, step, field.inner, ahead)
            sum_outputs(source, w + s.cells.first, s.cells, to, pitch, extent, extent.w, s.asked)
        else:
            sum_rows(cells, step, block, rows, w, pointer(y), work, ahead, s, border)
            lines = Source(work.lines, s.pitch, field.inner, 0)
            sum_outputs(lines, w + s.cells.first, s.cells, to, pitch, extent, extent.w, s.asked)

    @compiled
    def sum_block(cells, step, work, block, w, y, stored, s, border):
        """All rows of a block, whose cells lie in rows `step` apart: those of the array, or copies."""
        for top in range(0, block.rows, TOGETHER):
            sum_band(cells + top * step, step, work, block, top, w, y, stored, s, border)

    def sum_stored(x, work, block, w, y, s, border):
        sum_block(pointer(x) + first_cell(block, s.field), s.field.w.size * s.field.inner, work, block, w, y, True, s, border)

    def sum_nothing(x, work, block, w, y, s, border):
        pass

    direct = as_stored and not over_planes
    sum_inner = compiled(sum_stored if direct else sum_nothing)

    def passes(begin, end, x, weights, cval, y, outer, sizes):
        """y = T(c * T(b * T(a * x)))"""
        s = read(sizes)
        work, memory = carve(parts_of(s), weights)
        border, w = pointer(cval), pointer(weights)
        if over_planes:  # what tiles read behind rows, and do not use, must be no denormal numbers: fill_block sees to it else
            clear(work.column, vector.zero(w), vector.distance(work.column, work.lines))
        clear(work.lines, vector.zero(w), TOGETHER * s.pitch + slack)
        for item in range(begin, end):
            whole = block_of(item, s.field)
            inner = inner_block(whole, s.field, columns * lanes, 4 * columns * lanes, len(x) if direct else 0)
            for part in range(PARTS):
                block = part_of(whole, inner, part)
                if block.rows == 0 or block.elements == 0:
                    continue
                if part == INNER:
                    sum_inner(x, work, block, w, y, s, border)
                    continue
                if over_planes:
                    sum_planes(work, x, block, outer, w, pointer(y), s, border)
                else:
                    fill_block(work.cells, x, block, outer, s.field, border)
                sum_block(work.cells, s.field.pitch, work, block, w, y, False, s, border)
        keep(memory)

    passes.__name__ = f"{types}_passes_{'3_' if over_planes else ''}{columns}_{isa}"
    return Kernel(passes)
