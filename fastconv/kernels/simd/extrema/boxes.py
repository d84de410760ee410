"""Windows that are boxes, an axis after the other, over blocks of rows in the cache: cost hardly grows with the window.

    y = pass over w (pass over h (pass over an outer axis (x)))         a pass joins k neighbouring cells, and finishes them

Planes under a window are joined one by one: they are few.

Rows are joined one by one where they are few. Else m <= k lines are made together: their windows have the rows i .. i + k - 1
for i < m, and all hold row m - 1, from which each row is joined once to either side (van Herk, A fast algorithm for local
minimum and maximum filters (1992); Gil and Werman (1993)):

    S[i] = x[i] + ... + x[m - 1] + ... + x[k - 1]        P[i] = x[k] + ... + x[k + i - 1]        line[i] = S[i] + P[i]

Cells of a row are joined in rounds, each of which makes wider windows of two or three narrower ones, log(k) rounds in all: see
`rounds_of`. The line stays in the L1 cache meanwhile. What lies before and behind the array is put around a line whose rows are
joined: what stands for a cell outside is joined as that cell is.

`+` is the larger, the smaller, the sum. Every term is a cell of the window, and nothing is ever subtracted: a NaN, an infinity
or a huge number reaches no other window, and an error is relative to the window's own cells.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled, inlined
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.neighbourhoods import SLACK, Field, block_of, filler, first_output, plane_under
from fastconv.kernels.simd.engine.requests import Lines, ask_lines
from fastconv.kernels.simd.engine.sizes import reader
from fastconv.kernels.simd.engine.windows import cell_under, runs
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.kernels.simd.extrema.reductions import QUOTIENT, WHOLE, finishing, joining

pointer = vector.pointer
GROUP = 4  # vectors that are joined at a time
BOX, BAND, PLANES = "box", "band", "planes"  # where a kernel finds rows


class Sizes(NamedTuple):
    """The array with its windows, rows of a block that are joined together, and rounds over the cells of a line.

    A pitch lies between lines, and between rows of the workspace: `band` of them under a block, and `planes` under a window,
    where rows are copied. `asked` tells which lines are asked for before they are read and written.
    """

    field: Field
    together: int
    rounds: int
    band: int
    planes: int
    asked: Lines


class Parts(NamedTuple):
    """The workspace of a thread: rows under a block, and of planes; lines of joined rows; a line of wider windows."""

    band: int
    planes: int
    lines: int
    spare: int


class Round(NamedTuple):
    """A round over a line: windows of `taps` cells are those at 0 and `second`, and a part at `third` of `parts`.

    `parts` is 2 where there is no third, 3 where it is one like the others, 4 where it is a cell of the line.
    """

    parts: int
    second: int
    third: int
    taps: int


def rounds_of(taps: int, overlap: bool) -> tuple[Round, ...]:
    """How windows of so many cells are made; parts may overlap, or must not, as of sums."""
    found: list[Round] = []
    while taps > 1:
        if overlap:
            part = -(-taps // (2 if taps <= 2 else 3))
            last = taps - part
            found.append(Round(2, last, last, taps) if last <= part else Round(3, min(part, last), last, taps))
        elif taps % 3 == 0:
            part = taps // 3
            found.append(Round(3, part, 2 * part, taps))
        else:
            part = taps // 2
            found.append(Round(4 if taps % 2 else 2, part, 2 * part, taps))
        taps = part
    return tuple(reversed(found))


read, carve = reader(Sizes), workspace(Parts)
ROUND_FIELDS = len(Round._fields)


@inlined
def round_at(rounds, i):
    """Round i of a table of them."""
    at = i * ROUND_FIELDS
    return Round(rounds[at], rounds[at + 1], rounds[at + 2], rounds[at + 3])


# Rows -------------------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def stacker(how: str, finishes: str, lanes: int) -> Any:
    """The compiled stack(rows, like, taps, outputs, to, pitch, count, factors, stored, asked).

    to[i][e] = finish(rows[i][e] + ... + rows[i + taps - 1][e]) for i < outputs <= taps, e < count, lines `pitch` apart. `rows`
    points to addresses of cells of the type of `like`; each has room for GROUP vectors, as each line has. Of the rows that
    follow, as many as the outputs, what comes under them is asked for, where `asked` is the elements of a line.
    """
    width = GROUP * lanes

    def stack(rows, like, taps, outputs, to, pitch, count, factors, stored, asked):
        for begun in range(0, count, width):
            i = min(begun, max(count - width, 0))
            if asked > 0:
                for t in range(outputs):
                    row = vector.at_address(vector.peek(rows + (taps + outputs - 1 + t)), like)
                    ask_lines(row + i, width, asked)
            line = to + ((outputs - 1) * pitch + i)
            tile = vector.load_row_as(vector.at_address(vector.peek(rows + (outputs - 1)), like) + i, to, GROUP, lanes)
            for t in range(outputs, taps):  # S, from the first row that all windows hold
                row = vector.load_row_as(vector.at_address(vector.peek(rows + t), like) + i, to, GROUP, lanes)
                tile = vector.join(tile, row, how)
            for t in range(outputs - 2, -1, -1):
                vector.store_tile(tile, line, 0)
                row = vector.load_row_as(vector.at_address(vector.peek(rows + t), like) + i, to, GROUP, lanes)
                tile, line = vector.join(row, tile, how), to + (t * pitch + i)
            vector.store_tile(vector.finish(tile, factors, stored, finishes), line, 0)
            for t in range(1, outputs):  # P, and S + P
                row = vector.load_row_as(vector.at_address(vector.peek(rows + (taps + t - 1)), like) + i, to, GROUP, lanes)
                tile = row if t == 1 else vector.join(tile, row, how)
                line = to + (t * pitch + i)
                both = vector.join(vector.load_row_as(line, to, GROUP, lanes), tile, how)
                vector.store_tile(vector.finish(both, factors, stored, finishes), line, 0)

    return compiled(stack)


# Cells of a line --------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def widener(how: str, finishes: str, lanes: int) -> Any:
    """The compiled widen(line, spare, y, count, step, rounds, number, factors, ahead, asked): y[e] = finish(its cells).

    `step` elements lie from tap to tap. Behind the cells of a line, and behind as many of `spare`, there is room for GROUP
    vectors. Results that lie `ahead` are asked for, where `asked` is the elements of a line.
    """
    width = GROUP * lanes

    def widen(line, spare, y, count, step, rounds, number, factors, ahead, asked):
        source, taps = line, round_at(rounds, max(number - 1, 0)).taps
        for i in range(number - 1):
            one = round_at(rounds, i)
            second, third = source + one.second * step, (line if one.parts == 4 else source) + one.third * step
            needed = count + (taps - one.taps) * step
            for e in range(0, needed, width):
                tile, other = vector.load_tile(source + e, 0, 1, GROUP, lanes), vector.load_tile(second + e, 0, 1, GROUP, lanes)
                tile = vector.join(tile, other, how)
                if one.parts > 2:
                    tile = vector.join(tile, vector.load_tile(third + e, 0, 1, GROUP, lanes), how)
                vector.store_tile(tile, spare + e, 0)
            source = spare
        one = round_at(rounds, max(number - 1, 0))
        second, third = source + one.second * step, (line if one.parts == 4 else source) + one.third * step
        for e in range(0, count, width):
            if asked > 0:
                ask_lines(y + (ahead + e), width, asked)
            tile = vector.load_tile(source + e, 0, 1, GROUP, lanes)
            if number > 0:
                tile = vector.join(tile, vector.load_tile(second + e, 0, 1, GROUP, lanes), how)
                if one.parts > 2:
                    tile = vector.join(tile, vector.load_tile(third + e, 0, 1, GROUP, lanes), how)
                tile = vector.finish(tile, factors, y, finishes)
            vector.store_row_as(tile, y + e, count - e)

    return compiled(widen)


@compiled
def fill_edges(line, edges, before, inside, after, border):
    """What stands for the cells before and behind a line: its elements `edges`, or the border's where they are -1."""
    cells = line + before
    for e in range(before):
        source = edges[e]
        vector.poke(line + e, vector.peek(border) if source < 0 else vector.peek(cells + source))
    for e in range(after):
        source = edges[before + e]
        vector.poke(cells + (inside + e), vector.peek(border) if source < 0 else vector.peek(cells + source))


# Blocks -----------------------------------------------------------------------------------------------------------------------


@compiled
def row_at(x, plane, h, field):
    """The first element of a row of the array."""
    return pointer(x) + (plane * field.h.size + h) * field.w.size * field.inner


@lru_cache(maxsize=16)
def copier(lanes: int) -> Any:
    """The compiled copy_row(to, x, plane, h, block, field, border): a block's part of a row of the array, or around it."""
    _, clear = runs(lanes)

    def copy_row(to, x, plane, h, block, field, border):
        count = block.elements
        if plane < 0 or h < 0:
            clear(to, vector.peek(border), count)
        else:
            row, whole = row_at(x, plane, h, field) + block.w, count - count % lanes
            for e in range(0, whole, lanes):
                vector.store(to + e, vector.load_as(row + e, to, lanes))
            vector.store(to + whole, vector.load_first_as(row + whole, to, count - whole, lanes))

    return compiled(copy_row)


@lru_cache(maxsize=64)
def plane_joiner(how: str, finishes: str, lanes: int, alike: bool) -> Any:
    """The compiled join_planes(band, work, x, h, block, outer, field, border, factors, y, asked): row h of the planes joined.

    Rows of cells that are `alike` sums, and long enough, are joined where they lie; of the last plane, which none was joined
    with before, the next row is asked for.
    """
    stack, copy_row = stacker(how, finishes, lanes), copier(lanes)

    def join_planes(band, work, x, h, block, outer, field, border, factors, y, asked):
        table = np.empty(field.outer_taps + 1, np.int64)
        table[field.outer_taps] = vector.address(row_at(x, block.plane, h + 1, field) + block.w)
        for q in range(field.outer_taps):
            plane, to = plane_under(block.plane, q, outer, field), work.planes + q * field.pitch
            if alike and plane >= 0 and h >= 0 and block.elements >= GROUP * lanes:
                table[q] = vector.address(row_at(x, plane, h, field) + block.w)
                table[field.outer_taps] = vector.address(row_at(x, plane, h + 1, field) + block.w)
            else:
                copy_row(to, x, plane, h, block, field, border)
                table[q] = vector.address(to)
        count, further = block.elements, asked if alike else 0
        stack(pointer(table), band, field.outer_taps, 1, band, field.pitch, count, factors, pointer(y), further)

    return compiled(join_planes)


# Kernels ----------------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=16)
def emptier(kind: str, lanes: int) -> Any:
    """The compiled empty(memory): zeros, where quotients of what memory held, behind rows, may be subnormal, and slow."""
    _, clear = runs(lanes)

    def empty(memory):
        clear(pointer(memory), vector.zero(pointer(memory)), memory.size)

    def leave(memory):
        return

    return compiled(empty if kind in (QUOTIENT, WHOLE) else leave)


@lru_cache(maxsize=64)
def line_kernel(kind: str, lanes: int, types: str, isa: str) -> Kernel:
    """The compiled loop over blocks of rows of windows that are one row: u8_largest_line_avx512."""
    widen, (fill_row, _), slack = widener(joining(kind), finishing(kind), lanes), filler(lanes), SLACK * lanes
    empty = emptier(kind, lanes)

    def lines(begin, end, x, y, outer, edges, rounds, factors, outside, cval, sizes):
        """y[e] = pass over w (x)"""
        s = read(sizes)
        field = s.field
        halo, before = (field.w.taps - 1) * field.inner, field.w.before * field.inner
        work, memory = carve(Parts(0, 0, field.pitch + slack, field.pitch + slack), cval)
        empty(memory)
        for item in range(begin, end):
            block = block_of(item, field)
            for row in range(block.rows):
                source, to = row_at(x, block.plane, block.h + row, field), pointer(y) + first_output(block, row, field)
                fill_row(work.lines, source, block.w - before, block.elements + halo, field, pointer(cval))
                count, of_line, of_w = block.elements, field.w.size * field.inner, pointer(factors) + 4
                widen(work.lines, work.spare, to, count, field.inner, rounds, s.rounds, of_w, of_line, s.asked.of_y)
        keep(memory)

    lines.__name__ = f"{types}_{kind}_line_{isa}"
    return Kernel(lines)


@lru_cache(maxsize=64)
def box_kernel(kind: str, lanes: int, rows_are: str, types: str, isa: str) -> Kernel:
    """The compiled loop over blocks; `types` of x, the sums and y: u8_largest_box_avx512.

    Rows are joined where they lie (BOX), or copied before: as they are (BAND), or joined over planes (PLANES).
    """
    how, finishes, slack = joining(kind), finishing(kind), SLACK * lanes
    stack, widen, copy_row = stacker(how, finishes, lanes), widener(how, finishes, lanes), copier(lanes)
    join_planes = plane_joiner(how, finishes, lanes, "_" not in types)
    copied, planes_too, empty = rows_are != BOX, rows_are == PLANES, emptier(kind, lanes)

    def boxes(begin, end, x, y, outer, edges, rounds, factors, outside, cval, sizes):
        """y = pass over w (pass over h (pass over an outer axis (x)))"""
        s = read(sizes)
        field, border, step, of_y = s.field, pointer(cval), s.field.inner, pointer(y)
        before = field.w.before * step
        after = (field.w.taps - 1) * step - before
        band, planes, lines = s.band * field.pitch, s.planes * field.pitch, s.together * field.pitch
        work, memory = carve(Parts(band + slack, planes + slack, lines + slack, field.pitch + slack), cval)
        empty(memory)
        rows = np.empty(field.block.h + field.h.taps + s.together, np.int64)
        of_line = field.w.size * step
        of_outer, of_h, of_w = pointer(factors), pointer(factors) + 2, pointer(factors) + 4
        like = work.band if copied else pointer(x)
        for item in range(begin, end):
            block = block_of(item, field)
            whole = block.elements
            for r in range(block.rows + field.h.taps - 1):
                h, to = cell_under(block.h + r - field.h.before, field.h.size, field.h.mode), work.band + r * field.pitch
                if planes_too:
                    join_planes(to, work, x, h, block, outer, field, border, of_outer, y, s.asked.of_x)
                    rows[r] = vector.address(to)
                elif copied:
                    copy_row(to, x, block.plane, h, block, field, border)
                    rows[r] = vector.address(to)
                elif h < 0:
                    rows[r] = vector.address(pointer(outside))
                else:
                    rows[r] = vector.address(row_at(x, block.plane, h, field) + block.w)
            for r in range(s.together):  # the next block's rows, or what lies behind the plane: they are asked for alone
                h = block.h + block.rows + field.h.taps - 1 + r - field.h.before
                rows[block.rows + field.h.taps - 1 + r] = vector.address(row_at(x, block.plane, h, field) + block.w)
            asked = 0 if copied else s.asked.of_x
            for first in range(0, block.rows, s.together):
                outputs, at = min(s.together, block.rows - first), pointer(rows) + first
                stack(at, like, field.h.taps, outputs, work.lines + before, field.pitch, whole, of_h, of_y, asked)
                for i in range(outputs):
                    line, to = work.lines + i * field.pitch, of_y + first_output(block, first + i, field)
                    fill_edges(line, edges, before, whole, after, border)
                    ahead = outputs * of_line
                    widen(line, work.spare, to, whole, step, rounds, s.rounds, of_w, ahead, s.asked.of_y)
        keep(memory)

    boxes.__name__ = f"{types}_{kind}_{rows_are}_{isa}"
    return Kernel(boxes)
