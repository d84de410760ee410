"""Ranks by selection networks: every vector of outputs of a block of rows in the cache, `tall` rows at a time.

    y [e] = the cell of rank r among cells [e + offset of t]        over the taps t of the window

A network is either code of its own, whose values stay in registers, or tables that one kernel reads for all windows.

Minima and maxima of vectors lose a NaN. Where a block holds one, infinity stands for it, which sorts last as well. NaN then is
the result of the windows that hold as many as reach down to the rank.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.neighbourhoods import (
    INNER,
    PARTS,
    SLACK,
    Field,
    block_of,
    filler,
    first_cell,
    first_output,
    inner_block,
    part_of,
    rows_of,
    trimmed,
)
from fastconv.kernels.simd.engine.sizes import Plane, reader
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.kernels.simd.ranks.layouts import BOTH, LOW, PLACE_BITS

pointer = vector.pointer
BORDER, NONE, ONE, INFINITE, NAN, LAST = range(6)  # values that a kernel is given: of a border, and what NaN takes


class Sizes(NamedTuple):
    """The array with its windows, the network and its memory.

    Attributes
    ----------
    taps : int
        Cells of a window.
    levels, rows, width, places, strip : int
        Of the network, elements of each row, and vectors of each place.
    tall : int
        Outputs below each other that a network has.
    results : Plane
        Rows of the results of two windows below each other; of one, the same.
    """

    field: Field
    taps: int
    levels: int
    rows: int
    width: int
    places: int
    strip: int
    tall: int
    results: Plane


class Parts(NamedTuple):
    """The workspace of a thread: the cells under a block, which of them were NaN, rows and places of the network."""

    cells: int
    marks: int
    rows: int
    places: int


class Source(NamedTuple):
    """The cells under outputs: the first one, and elements from plane to plane and from line to line."""

    at: Any
    plane: int
    line: int


class Target(NamedTuple):
    """Where code writes results: those of a first row of outputs, and elements to those of a second one."""

    at: Any
    step: int


read, carve = reader(Sizes), workspace(Parts)


@lru_cache(maxsize=16)
def by_tables(lanes: int) -> Any:
    """The compiled run_network(source, target, work, program, elements, s) that reads its operations, of copied cells.

    It leaves results in the rows of the workspace that tables name.
    """
    both, low, bits = BOTH, LOW, PLACE_BITS

    def run_network(source, target, work, program, elements, s):
        operations, runs, levels = program
        codes, width = pointer(operations), s.strip * lanes
        shifts = np.empty(3, np.int64)
        shifts[2] = vector.distance(work.cells, work.places)
        to, first, begin, line = pointer(shifts), 0, 0, vector.distance(work.cells, source.at)
        for level in range(s.levels):
            last, done = levels[level, 0], begin
            for e in range(0, elements + levels[level, 1], width):
                shifts[0], shifts[1], done = line + e, vector.distance(work.cells, work.rows) + e, begin
                for run in range(first, last):
                    kind, end = runs[run, 0], runs[run, 1]
                    if kind == both:
                        for k in range(done, end):
                            vector.network_step(work.cells, codes + 4 * k, to, s.strip, lanes, 1, 1, bits)
                    elif kind == low:
                        for k in range(done, end):
                            vector.network_step(work.cells, codes + 4 * k, to, s.strip, lanes, 1, 0, bits)
                    else:
                        for k in range(done, end):
                            vector.network_step(work.cells, codes + 4 * k, to, s.strip, lanes, 0, 1, bits)
                    done = end
            first, begin = last, done

    return compiled(run_network)


@lru_cache(maxsize=64)
def by_code(lanes: int, levels: str) -> Any:
    """The compiled run_network of the levels of a text: 'reach:operations', apart by semicolons."""
    found = None
    for one in levels.split(";"):
        reach, text = one.split(":")
        found = one_level(lanes, int(reach), text, found)
    return found


def one_level(lanes: int, reach: int, text: str, before: Any) -> Any:
    """The compiled levels up to one."""

    @compiled
    def run_level(source, target, work, elements, s):
        rows, inner = work.rows, s.field.inner
        for e in range(0, elements + reach * inner, lanes):
            to = target.at + e
            vector.network(source.at + e, source.plane, source.line, inner, rows + e, to, target.step, lanes, text)

    if before is None:

        @compiled
        def run_network(source, target, work, program, elements, s):
            run_level(source, target, work, elements, s)

    else:

        @compiled
        def run_network(source, target, work, program, elements, s):
            before(source, target, work, program, elements, s)
            run_level(source, target, work, elements, s)

    return run_network


@lru_cache(maxsize=16)
def finishing(lanes: int, real: bool) -> tuple[Any, Any, Any, Any]:
    """The compiled find_nan, hide_nans, write_row and write_marked; `real` of floats.

    find_nan(cells, rows, line, count): whether there is NaN in some rows of cells.
    hide_nans(work, block, values, field): whether a block holds NaN. Then infinity stands for it, and work.marks holds 1 there.
    write_row(to, row, count): a row of results, as it is stored.
    write_marked(to, row, marks, offsets, count, values, s): a row of a block that holds NaN.
    """

    def none_is_found(cells, rows, line, count):
        return False

    def none_are_hidden(work, block, values, field):
        return False

    def write_nothing(to, row, marks, offsets, count, values, s):
        pass

    @compiled
    def holds_nan(row, count):
        whole = count - count % lanes
        last = vector.load_first(row + whole, count - whole, lanes)
        fine = vector.numbers(last)
        for e in range(0, whole, lanes):
            fine = vector.both(fine, vector.numbers(vector.load(row + e, lanes)))
        return not vector.first_are_set(fine, lanes)

    @compiled
    def find_nan(cells, rows, line, count):
        found = False
        for r in range(rows):
            found |= holds_nan(cells + r * line, count)
        return found

    @compiled
    def hide_row(row, marks, count, values):
        for e in range(0, count, lanes):
            v = vector.load(row + e, lanes)
            number = vector.numbers(v)
            vector.store(row + e, vector.chosen(number, v, vector.splat(values[INFINITE], lanes)))
            vector.store(marks + e, vector.chosen(number, vector.splat(values[NONE], lanes), vector.splat(values[ONE], lanes)))

    def hide_nans(work, block, values, field):
        rows, reach = block.rows + field.h.taps - 1, block.elements + (field.w.taps - 1) * field.inner
        found = False
        for q in range(field.outer_taps):
            found |= find_nan(work.cells + q * rows_of(field) * field.pitch, rows, field.pitch, reach)
        if found:
            for line in range(field.outer_taps * rows_of(field)):
                hide_row(work.cells + line * field.pitch, work.marks + line * field.pitch, field.pitch, values)
        return found

    def write_marked(to, row, marks, offsets, count, values, s):
        for e in range(0, count, lanes):
            hidden = vector.load(marks + e, lanes)
            for t in range(1, s.taps):
                hidden = hidden + vector.load(marks + (e + offsets[t]), lanes)
            lost = vector.above(hidden, vector.splat(values[LAST], lanes))
            v = vector.chosen(lost, vector.splat(values[NAN], lanes), vector.load(row + e, lanes))
            vector.store_first_as(to + e, v, count - e)

    @compiled
    def write_row(to, row, count):
        whole = count - count % lanes
        for e in range(0, whole, lanes):
            vector.store_as(to + e, vector.load(row + e, lanes))
        if whole < count:
            vector.store_first_as(to + whole, vector.load(row + whole, lanes), count - whole)

    if real:
        return find_nan, compiled(hide_nans), write_row, compiled(write_marked)
    return compiled(none_is_found), compiled(none_are_hidden), write_row, compiled(write_nothing)


@lru_cache(maxsize=64)
def kernel(lanes: int, real: bool, as_stored: bool, types: str, isa: str, levels: str = "") -> Kernel:
    """The compiled loop over blocks; with `levels`, the network is code: f32_ranks_code_avx512.

    `as_stored`, code reads the cells of windows inside of the array where they are, unless there is NaN among them.
    """
    _, fill_block = filler(lanes)
    run_network = by_code(lanes, levels) if levels else by_tables(lanes)
    find_nan, hide_nans, write_row, write_marked = finishing(lanes, real)
    slack, marked, direct = SLACK * lanes, 1 if real else 0, bool(levels) and as_stored

    @compiled
    def results_of(work, s):
        """Rows of the workspace for results."""
        return Target(work.rows + s.results.h * s.width, (s.results.w - s.results.h) * s.width)

    @compiled
    def rank_rows(source, work, program, block, y, s):
        """The ranks of a block without NaN."""
        target = results_of(work, s)
        for row in range(0, block.rows, s.tall):
            at = Source(source.at + row * source.line, source.plane, source.line)
            run_network(at, target, work, program, block.elements, s)
            for i in range(min(s.tall, block.rows - row)):
                result = work.rows + (s.results.w if i else s.results.h) * s.width
                write_row(pointer(y) + first_output(block, row + i, s.field), result, block.elements)

    @compiled
    def rank_marked(source, work, program, block, values, offsets, y, s):
        """Those of a block where infinity stands for NaN."""
        target = results_of(work, s)
        for row in range(0, block.rows, s.tall):
            at = Source(source.at + row * source.line, source.plane, source.line)
            run_network(at, target, work, program, block.elements, s)
            for i in range(min(s.tall, block.rows - row)):
                result = work.rows + (s.results.w if i else s.results.h) * s.width
                to, marks = pointer(y) + first_output(block, row + i, s.field), work.marks + (row + i) * s.field.pitch
                write_marked(to, result, marks, offsets, block.elements, values, s)

    def rank_stored(x, work, program, block, y, s):
        """Rank a block of windows inside of the array. Whether it was without NaN, looked for where cells were just read."""
        field = s.field
        cells, line = pointer(x) + first_cell(block, field), field.w.size * field.inner
        reach, found = block.elements + (field.w.taps - 1) * field.inner, False
        for row in range(0, block.rows, s.tall):
            target = Target(pointer(y) + first_output(block, row, field), line)
            run_network(Source(cells + row * line, 0, line), target, work, program, block.elements, s)
            found |= find_nan(cells + row * line, s.tall, line, reach)
        return not (found or find_nan(cells + block.rows * line, field.h.taps - 1, line, reach))

    def rank_none(x, work, program, block, y, s):
        return False

    rank_inner = compiled(rank_stored if direct else rank_none)

    @compiled
    def inner_of(block, elements, s):
        """The part of a block whose cells are read, and results written, where they are: whole vectors, and pairs of rows."""
        b = inner_block(block, s.field, 2 * lanes, 16 * lanes, elements if direct else 0)
        return trimmed(b, b.rows - b.rows % s.tall, b.elements - b.elements % lanes)

    def ranks(begin, end, x, values, offsets, y, outer, operations, runs, levels, sizes):
        """y [e] = the cell of rank r among cells [e + offset of t]"""
        s = read(sizes)
        field = s.field
        cells = (field.outer_taps * rows_of(field) + 1) * field.pitch + slack
        work, memory = carve(Parts(cells, marked * cells, s.rows * s.width + slack, s.places * s.strip * lanes), values)
        program = operations, runs, levels
        for item in range(begin, end):
            whole = block_of(item, field)
            inner = inner_of(whole, len(x), s)
            for part in range(PARTS):
                block = part_of(whole, inner, part)
                if block.rows == 0 or block.elements == 0 or (part == INNER and rank_inner(x, work, program, block, y, s)):
                    continue
                fill_block(work.cells, x, block, outer, field, pointer(values))
                source = Source(work.cells, rows_of(field) * field.pitch, field.pitch)
                if hide_nans(work, block, values, field):
                    rank_marked(source, work, program, block, values, offsets, y, s)
                else:
                    rank_rows(source, work, program, block, y, s)
        keep(memory)

    ranks.__name__ = f"{types}_ranks_{'code' if levels else 'tables'}_{isa}"
    return Kernel(ranks)
