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
from fastconv.kernels.simd.engine.neighbourhoods import SLACK, Field, block_of, filler, first_output, rows_of
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


read, carve = reader(Sizes), workspace(Parts)


@lru_cache(maxsize=16)
def by_tables(lanes: int) -> Any:
    """The compiled run_network(line, work, program, elements, s) that reads its operations."""
    both, low, bits = BOTH, LOW, PLACE_BITS

    def run_network(line, work, program, elements, s):
        operations, runs, levels = program
        codes, width = pointer(operations), s.strip * lanes
        shifts = np.empty(3, np.int64)
        shifts[2] = vector.distance(work.cells, work.places)
        to, first, begin = pointer(shifts), 0, 0
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
    def run_level(line, work, elements, s):
        plane = rows_of(s.field) * s.field.pitch
        for e in range(0, elements + reach * s.field.inner, lanes):
            vector.network(work.cells + (line + e), plane, s.field.pitch, s.field.inner, work.rows + e, lanes, text)

    if before is None:

        @compiled
        def run_network(line, work, program, elements, s):
            run_level(line, work, elements, s)

    else:

        @compiled
        def run_network(line, work, program, elements, s):
            before(line, work, program, elements, s)
            run_level(line, work, elements, s)

    return run_network


@lru_cache(maxsize=16)
def finishing(lanes: int, real: bool) -> tuple[Any, Any, Any]:
    """The compiled hide_nans, write_row and write_marked; `real` of floats.

    hide_nans(work, block, values, field): whether a block holds NaN. Then infinity stands for it, and work.marks holds 1 there.
    write_row(to, row, count): a row of results, as it is stored.
    write_marked(to, row, marks, offsets, count, values, s): a row of a block that holds NaN.
    """

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
            for r in range(rows):
                found |= holds_nan(work.cells + (q * rows_of(field) + r) * field.pitch, reach)
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
        return compiled(hide_nans), write_row, compiled(write_marked)
    return compiled(none_are_hidden), write_row, compiled(write_nothing)


@lru_cache(maxsize=64)
def kernel(lanes: int, real: bool, types: str, isa: str, levels: str = "") -> Kernel:
    """The compiled loop over blocks; with `levels`, the network is code: f32_ranks_code_avx512."""
    _, fill_block = filler(lanes)
    run_network = by_code(lanes, levels) if levels else by_tables(lanes)
    hide_nans, write_row, write_marked = finishing(lanes, real)
    slack, marked = SLACK * lanes, 1 if real else 0

    def ranks(begin, end, x, values, offsets, y, outer, operations, runs, levels, sizes):
        """y [e] = the cell of rank r among cells [e + offset of t]"""
        s = read(sizes)
        field = s.field
        cells = (field.outer_taps * rows_of(field) + 1) * field.pitch + slack
        work, memory = carve(Parts(cells, marked * cells, s.rows * s.width + slack, s.places * s.strip * lanes), values)
        program = operations, runs, levels
        for item in range(begin, end):
            block = block_of(item, field)
            fill_block(work.cells, x, block, outer, field, pointer(values))
            hidden = hide_nans(work, block, values, field)
            for row in range(0, block.rows, s.tall):
                run_network(row * field.pitch, work, program, block.elements, s)
                for i in range(min(s.tall, block.rows - row)):
                    result = work.rows + (s.results.w if i else s.results.h) * s.width
                    to = pointer(y) + first_output(block, row + i, field)
                    if hidden:
                        write_marked(to, result, work.marks + (row + i) * field.pitch, offsets, block.elements, values, s)
                    else:
                        write_row(to, result, block.elements)
        keep(memory)

    ranks.__name__ = f"{types}_ranks_{'code' if levels else 'tables'}_{isa}"
    return Kernel(ranks)
