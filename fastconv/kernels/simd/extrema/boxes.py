"""Windows that are boxes, an axis after the other, over blocks of rows in the cache: cost hardly grows with the window.

    y = pass over w (pass over h (pass over an outer axis (x)))         a pass joins k neighbouring cells, and finishes them

Planes under a window are joined one by one: they are few.

Rows are joined one by one where they are few. Else a block has as many rows as a window, or fewer: its windows have the rows
i .. i + k - 1 for i < m, and all hold row m - 1, from which each row is joined once to either side (van Herk, A fast algorithm for
local minimum and maximum filters (1992); Gil and Werman (1993)):

    S[i] = x[i] + ... + x[m - 1] + ... + x[k - 1]        P[i] = x[k] + ... + x[k + i - 1]        line[i] = S[i] + P[i]

Cells of a row are joined in rounds, each of which makes wider windows of two or three narrower ones, log(k) rounds in all: see
`rounds_of`. The line stays in the L1 cache meanwhile. What lies before and behind the array is put around a line whose rows are
joined: what stands for a cell outside is joined as that cell is.

`+` is the larger, the smaller, the sum. Every term is a cell of the window, and nothing is ever subtracted: a NaN, an infinity
or a huge number reaches no other window, and an error is relative to the window's own cells. Joining the larger, or smaller,
takes less time where no cell is NaN, so that rows are looked through before they are joined.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled, inlined
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.neighbourhoods import SLACK, Field, block_of, filler, first_output, plane_under
from fastconv.kernels.simd.engine.sizes import reader
from fastconv.kernels.simd.engine.windows import cell_under, runs
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.kernels.simd.extrema.reductions import LARGEST, SMALLEST, finisher, joiner

pointer = vector.pointer
GROUP = 4  # vectors that are joined at a time


class Sizes(NamedTuple):
    """The array with its windows, rows of a block that are joined together, and rounds over the cells of a line.

    A pitch lies between lines, and between rows of the workspace: `band` of them under a block, and `planes` under a window,
    where rows are copied.
    """

    field: Field
    together: int
    rounds: int
    band: int
    planes: int


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
def group(kind: str, lanes: int, careful: bool, finish: Any) -> tuple[Any, ...]:
    """The compiled load(at, work), join(a, b), finish(a, factors, stored) and store(at, a) of GROUP vectors, as tuples."""
    join_one = joiner(kind, careful)

    def load(at, work):
        return (
            vector.load_as(at, work, lanes),
            vector.load_as(at + lanes, work, lanes),
            vector.load_as(at + 2 * lanes, work, lanes),
            vector.load_as(at + 3 * lanes, work, lanes),
        )

    def join(a, b):
        return join_one(a[0], b[0]), join_one(a[1], b[1]), join_one(a[2], b[2]), join_one(a[3], b[3])

    def finished(a, factors, stored):
        return (
            finish(a[0], factors, stored),
            finish(a[1], factors, stored),
            finish(a[2], factors, stored),
            finish(a[3], factors, stored),
        )

    def store(at, a):
        vector.store(at, a[0])
        vector.store(at + lanes, a[1])
        vector.store(at + 2 * lanes, a[2])
        vector.store(at + 3 * lanes, a[3])

    return tuple(inlined(each) for each in (load, join, finished, store))


@lru_cache(maxsize=64)
def stacker(kind: str, lanes: int, careful: bool, finish: Any) -> Any:
    """The compiled stack(rows, like, taps, outputs, to, pitch, count, factors, stored).

    to[i][e] = finish(rows[i][e] + ... + rows[i + taps - 1][e]) for i < outputs <= taps, e < count, lines `pitch` apart. `rows`
    points to addresses of cells of the type of `like`; each has room for GROUP vectors, as each line has.
    """
    load, join, finished, store = group(kind, lanes, careful, finish)
    width = GROUP * lanes

    @inlined
    def cells_of(rows, row, like, i, work):
        return load(vector.at_address(vector.peek(rows + row), like) + i, work)

    def stack(rows, like, taps, outputs, to, pitch, count, factors, stored):
        for begun in range(0, count, width):
            i = min(begun, max(count - width, 0))
            cells = cells_of(rows, outputs - 1, like, i, to)  # S, from the first row that all windows hold
            for t in range(outputs, taps):
                cells = join(cells, cells_of(rows, t, like, i, to))
            for t in range(outputs - 1, 0, -1):
                store(to + (t * pitch + i), cells)
                cells = join(cells_of(rows, t - 1, like, i, to), cells)
            store(to + i, finished(cells, factors, stored))
            if outputs > 1:  # P, and S + P
                cells = cells_of(rows, taps, like, i, to)
                line = to + (pitch + i)
                store(line, finished(join(load(line, to), cells), factors, stored))
                for t in range(2, outputs):
                    cells = join(cells, cells_of(rows, taps + t - 1, like, i, to))
                    line = to + (t * pitch + i)
                    store(line, finished(join(load(line, to), cells), factors, stored))

    return compiled(stack)


@lru_cache(maxsize=16)
def scanner(lanes: int) -> Any:
    """The compiled all_numbers(row, count): whether no cell of a row, with room for GROUP vectors, is NaN."""
    width = GROUP * lanes

    def all_numbers(row, count):
        first = vector.load(row, lanes)
        found = vector.numbers_in_both(first, first)
        for begun in range(0, count, width):
            at = row + min(begun, max(count - width, 0))
            low = vector.numbers_in_both(vector.load(at, lanes), vector.load(at + lanes, lanes))
            high = vector.numbers_in_both(vector.load(at + 2 * lanes, lanes), vector.load(at + 3 * lanes, lanes))
            found = vector.both(found, vector.both(low, high))
        return vector.first_are_set(found, lanes)

    return compiled(all_numbers)


# Cells of a line --------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def widener(kind: str, lanes: int, careful: bool, finish: Any) -> Any:
    """The compiled widen(line, spare, y, count, step, rounds, number, factors): y[e] = finish(its cells over the taps).

    `step` elements lie from tap to tap. Behind the cells of a line, and behind as many of `spare`, there is room for GROUP + 1
    vectors.
    """
    load, join, _, store = group(kind, lanes, careful, finish)
    join_one = joiner(kind, careful)
    width = GROUP * lanes

    def join_round(to, source, line, one, step, count):
        second = source + one.second * step
        third = (line if one.parts == 4 else source) + one.third * step
        if one.parts == 2:
            for i in range(0, count, width):
                store(to + i, join(load(source + i, to), load(second + i, to)))
        else:
            for i in range(0, count, width):
                store(to + i, join(join(load(source + i, to), load(second + i, to)), load(third + i, to)))

    def last_round(y, source, line, one, step, count, factors):
        second = source + one.second * step
        third = (line if one.parts == 4 else source) + one.third * step
        whole = count - count % lanes
        if one.parts == 2:
            for i in range(0, whole, lanes):
                v = join_one(vector.load(source + i, lanes), vector.load(second + i, lanes))
                vector.store_as(y + i, finish(v, factors, y))
        else:
            for i in range(0, whole, lanes):
                v = join_one(vector.load(source + i, lanes), vector.load(second + i, lanes))
                v = join_one(v, vector.load(third + i, lanes))
                vector.store_as(y + i, finish(v, factors, y))
        if whole < count:
            v = join_one(vector.load(source + whole, lanes), vector.load(second + whole, lanes))
            if one.parts > 2:
                v = join_one(v, vector.load(third + whole, lanes))
            vector.store_first_as(y + whole, finish(v, factors, y), count - whole)

    def copy_line(y, line, count):
        whole = count - count % lanes
        for i in range(0, whole, lanes):
            vector.store_as(y + i, vector.load(line + i, lanes))
        if whole < count:
            vector.store_first_as(y + whole, vector.load(line + whole, lanes), count - whole)

    join_round, last_round, copy_line = compiled(join_round), compiled(last_round), compiled(copy_line)

    def widen(line, spare, y, count, step, rounds, number, factors):
        if number == 0:
            copy_line(y, line, count)
        else:
            source, taps = line, round_at(rounds, number - 1).taps
            for i in range(number - 1):
                one = round_at(rounds, i)
                join_round(spare, source, line, one, step, count + (taps - one.taps) * step)
                source = spare
            last_round(y, source, line, round_at(rounds, number - 1), step, count, factors)

    return compiled(widen)


@compiled
def fill_edges(line, edges, before, inside, after, border):
    """What stands for the cells before and behind a line; `edges` are their elements in it, or -1 where the border is constant."""
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


@lru_cache(maxsize=64)
def locator(lanes: int, quick: bool) -> Any:
    """The compiled locate(rows, x, block, field, outside): addresses of the rows under a block; whether all are numbers.

    `outside` is a row of what cells of a constant border hold. Unless it is `quick` for numbers, nobody looks.
    """
    all_numbers = scanner(lanes)

    def locate(rows, x, block, field, outside):
        fine = True
        for r in range(block.rows + field.h.taps - 1):
            h = cell_under(block.h + r - field.h.before, field.h.size, field.h.mode)
            row = pointer(outside) if h < 0 else row_at(x, block.plane, max(h, 0), field)
            if quick:
                fine = fine and all_numbers(row, field.w.size * field.inner)
            rows[r] = vector.address(row)
        return fine

    return compiled(locate)


@lru_cache(maxsize=64)
def bander(kind: str, lanes: int, alike: bool, quick: bool, finish: Any) -> Any:
    """The compiled copy_band(rows, work, x, block, outer, s, border, factors, y): rows under a block in the type of the sums.

    Those of the planes under a window are joined. It gives `rows` their addresses, and tells whether all are numbers. Rows of
    cells that are `alike` sums, and long enough, are joined where they lie.
    """
    all_numbers, (fill_row, _), (_, clear) = scanner(lanes), filler(lanes), runs(lanes)
    stack = stacker(kind, lanes, True, finish)
    stack_numbers = stacker(kind, lanes, False, finish) if quick else stack

    @compiled
    def copy_row(to, x, plane, h, field, border):
        """A row of the array, or of what lies around it."""
        count = field.w.size * field.inner
        if plane < 0 or h < 0:
            clear(to, vector.peek(border), count)
        else:
            fill_row(to, row_at(x, plane, h, field), 0, count, field, border)

    @compiled
    def join_planes(to, planes, table, x, block, h, outer, field, border, factors, y):
        count, fine = field.w.size * field.inner, True
        for q in range(field.outer_taps):
            plane, row = plane_under(block.plane, q, outer, field), planes + q * field.pitch
            if alike and plane >= 0 and h >= 0 and count >= GROUP * lanes:
                table[q] = vector.address(row_at(x, plane, h, field))
            else:
                copy_row(row, x, plane, h, field, border)
                table[q] = vector.address(row)
            if quick:
                fine = fine and all_numbers(vector.at_address(table[q], to), count)
        if fine:
            stack_numbers(pointer(table), to, field.outer_taps, 1, to, 0, count, factors, pointer(y))
        else:
            stack(pointer(table), to, field.outer_taps, 1, to, 0, count, factors, pointer(y))
        return fine

    def copy_band(rows, table, work, x, block, outer, field, border, factors, y):
        fine = True
        for r in range(block.rows + field.h.taps - 1):
            h = cell_under(block.h + r - field.h.before, field.h.size, field.h.mode)
            to = work.band + r * field.pitch
            if field.outer_taps == 1:
                copy_row(to, x, block.plane, h, field, border)
                if quick:
                    fine = fine and all_numbers(to, field.w.size * field.inner)
            elif not join_planes(to, work.planes, table, x, block, h, outer, field, border, factors, y):
                fine = False
            rows[r] = vector.address(to)
        return fine

    return compiled(copy_band)


@lru_cache(maxsize=64)
def kernel(kind: str, lanes: int, copied: bool, types: str, isa: str) -> Kernel:
    """The compiled loop over blocks; `types` of x, the sums and y: u8_largest_box_avx512.

    Rows are joined where they lie, or `copied` into a band before: where they are short, or planes are joined.
    """
    stored, *others = types.split("_")
    summed, result = (others[0], others[-1]) if others else (stored, stored)
    finish = finisher(kind, summed[0] == "f", summed != result)
    quick = stored == summed and summed[0] == "f" and kind in (LARGEST, SMALLEST)
    stack, widen = stacker(kind, lanes, True, finish), widener(kind, lanes, True, finish)
    stack_numbers = stacker(kind, lanes, False, finish) if quick else stack
    widen_numbers = widener(kind, lanes, False, finish) if quick else widen
    all_numbers, (fill_row, _) = scanner(lanes), filler(lanes)
    locate, copy_band = locator(lanes, quick), bander(kind, lanes, stored == summed, quick, finish)
    slack = SLACK * lanes

    @compiled
    def widen_line(fine, work, line, y, block, row, s, rounds, factors):
        """A row of results, of a line with what lies around it."""
        to, step = pointer(y) + first_output(block, row, s.field), s.field.inner
        if fine:
            widen_numbers(line, work.spare, to, block.elements, step, rounds, s.rounds, factors)
        else:
            widen(line, work.spare, to, block.elements, step, rounds, s.rounds, factors)

    @compiled
    def widen_rows(work, x, y, block, s, rounds, border, factors):
        """A block of windows of one row."""
        field = s.field
        halo = (field.w.taps - 1) * field.inner
        for row in range(block.rows):
            first = block.w - field.w.before * field.inner
            source = row_at(x, block.plane, block.h + row, field)
            fill_row(work.lines, source, first, block.elements + halo, field, border)
            fine = quick and all_numbers(work.lines, block.elements + halo)
            widen_line(fine, work, work.lines, y, block, row, s, rounds, factors)

    def boxes(begin, end, x, y, outer, edges, rounds, factors, outside, cval, sizes):
        """y = pass over w (pass over h (pass over an outer axis (x)))"""
        s = read(sizes)
        field, border = s.field, pointer(cval)
        under, whole = field.block.h + field.h.taps - 1, field.w.size * field.inner
        before, after = field.w.before * field.inner, (field.w.taps - 1 - field.w.before) * field.inner
        room = Parts(s.band * field.pitch + slack, s.planes * field.pitch + slack, s.together * field.pitch + slack, field.pitch + slack)
        work, memory = carve(room, cval)
        rows, table = np.empty(under, np.int64), np.empty(field.outer_taps, np.int64)
        of_outer, of_h, of_w = pointer(factors), pointer(factors) + 2, pointer(factors) + 4
        for item in range(begin, end):
            block = block_of(item, field)
            if field.h.taps == 1 and field.outer_taps == 1:
                widen_rows(work, x, y, block, s, rounds, border, of_w)
                continue
            if copied:
                fine, like = copy_band(rows, table, work, x, block, outer, field, border, of_outer, y), work.band
            else:
                fine, like = locate(rows, x, block, field, outside), pointer(x)
            for first in range(0, block.rows, s.together):
                outputs, at = min(s.together, block.rows - first), pointer(rows) + first
                to = work.lines + before
                if quick and fine:
                    stack_numbers(at, like, field.h.taps, outputs, to, field.pitch, whole, of_h, pointer(y))
                else:
                    stack(at, like, field.h.taps, outputs, to, field.pitch, whole, of_h, pointer(y))
                for i in range(outputs):
                    line = work.lines + i * field.pitch
                    fill_edges(line, edges, before, whole, after, border)
                    widen_line(fine, work, line, y, block, first + i, s, rounds, of_w)
        keep(memory)

    boxes.__name__ = f"{types}_{kind}_box{'_copied' if copied else ''}_{isa}"
    return Kernel(boxes)
