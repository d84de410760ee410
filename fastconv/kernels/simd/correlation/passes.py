"""Correlation with a product of vectors, one of each axis: a pass an axis, over blocks that stay in the cache.

    cells [r][e] = T(sum over q of a[q] * x[plane q][r][e])          axis over planes, if it has taps
    lines [r][e] = T(sum over t of b[t] * cells [r + t][e])          rows
    y [r][e]     = T(sum over s of c[s] * lines [r][e + s * inner])  cells of a row

T rounds to what y holds, as SciPy does, which stores every pass. A constant border holds its value in every pass.

lines.py makes the sums.
"""

from functools import lru_cache
from typing import NamedTuple

from fastconv.kernels.jit import Kernel, compiled
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.correlation.lines import CHECKED, Pass, Source, Weights, summing
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
from fastconv.kernels.simd.engine.requests import Lines
from fastconv.kernels.simd.engine.sizes import Plane, reader
from fastconv.kernels.simd.engine.windows import cell_under, runs
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.problem.borders import CONSTANT

pointer = vector.pointer
OF_CACHE = 2  # of the L1 cache: the part that a strip of cells under a row takes
TOGETHER = 16  # rows of a block that are summed before the next pass takes them


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


@lru_cache(maxsize=16)
def kernel(columns: int, lanes: int, how: int, over_planes: bool, as_stored: bool, types: str, isa: str) -> Kernel:
    """The compiled loop over blocks; `types` of x, the sums and y: f32_passes_8_avx512.

    `as_stored`, windows inside of the array read its cells where they are: what has few taps reads each too seldom for a copy.
    Planes are then summed where they lie.
    """
    fill_row, fill_block = filler(lanes)
    sum_lines, sum_outputs = summing(columns, lanes, how)
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
    def of_pass(weights, number, axis, s):
        """The weights of a pass."""
        margins = s.planes.taps + s.rows.taps + s.cells.taps
        margin = vector.peek(weights.exact + (margins + number))
        return Weights(weights.first + axis.first, weights.exact + axis.first, margin)

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
                sum_in_place(x, begin, step, to, of_pass(w, 0, s.planes, s), like, s)
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
            sum_lines(source, of_pass(w, 0, s.planes, s), s.planes, to, 0, like, Plane(1, count), count, s.asked)
            if field.w.mode == CONSTANT:
                close_line(to, first, count, field, border)

    @compiled
    def sum_rows(cells, step, block, rows, w, like, work, ahead, s, border):
        """lines [r][e] = T(sum over t of b[t] * cells [r + t][e])"""
        field = s.field
        first, count = block.w - field.w.before * field.inner, block.elements + (field.w.taps - 1) * field.inner
        source = Source(cells, step, step, ahead)
        sum_lines(source, of_pass(w, 1, s.rows, s), s.rows, work.lines, s.pitch, like, Plane(rows, count), s.strip, s.asked)
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
            sum_outputs(Source(cells, step, step, 0), of_pass(w, 1, s.rows, s), s.rows, to, pitch, extent, s.strip, Lines(0, 0))
        elif field.h.taps == 1:
            source = Source(cells, step, field.inner, ahead)
            sum_outputs(source, of_pass(w, 2, s.cells, s), s.cells, to, pitch, extent, extent.w, s.asked)
        else:
            sum_rows(cells, step, block, rows, w, pointer(y), work, ahead, s, border)
            lines = Source(work.lines, s.pitch, field.inner, 0)
            sum_outputs(lines, of_pass(w, 2, s.cells, s), s.cells, to, pitch, extent, extent.w, s.asked)

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

    def passes(begin, end, x, weights, exact, cval, y, outer, sizes):
        """y = T(c * T(b * T(a * x)))"""
        s = read(sizes)
        work, memory = carve(parts_of(s), weights)
        border, w, zero = pointer(cval), Weights(pointer(weights), pointer(exact), exact[0]), vector.zero(pointer(weights))
        if over_planes:  # what tiles read behind rows, and do not use, must be no denormal numbers: fill_block sees to it else
            clear(work.column, zero, vector.distance(work.column, work.lines))
        clear(work.lines, zero, TOGETHER * s.pitch + slack)
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

    passes.__name__ = f"{types}_passes_{'3_' * over_planes}{'checked_' * (how == CHECKED)}{columns}_{isa}"
    return Kernel(passes)
