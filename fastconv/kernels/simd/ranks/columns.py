"""Ranks of 8-bit cells by histograms of columns, at a cost that hardly depends on the size of the window.

    column c, one row on        one cell of each plane leaves, one enters
    window, one column on       the histogram of one column leaves, that of one enters, by vectors of bins

(Perreault and Hebert, Median filtering in constant time, 2007.) Behind the 256 bins lie 16 sums of 16 bins each.
"""

from functools import lru_cache
from typing import NamedTuple

from fastconv.kernels.jit import Kernel, compiled
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.neighbourhoods import SLACK, Field, block_of, filler, first_output, rows_of
from fastconv.kernels.simd.engine.sizes import reader
from fastconv.kernels.simd.engine.workspace import keep, workspace

pointer = vector.pointer
BINS, GROUP = 256, 4  # and the bits of the bins of a group


class Sizes(NamedTuple):
    """The array with its windows, the rank, and what makes a bin of a cell."""

    field: Field
    rank: int
    bias: int


class Parts(NamedTuple):
    """The workspace of a thread: the histogram of the window, and those of all columns of a block."""

    window: int
    columns: int


class Cells(NamedTuple):
    """The cells under a block."""

    cells: int


read, carve, carve_cells = reader(Sizes), workspace(Parts), workspace(Cells)


@lru_cache(maxsize=4)
def kernel(lanes: int, counters: int, types: str, isa: str) -> Kernel:
    """The compiled loop over blocks, by vectors of so many counters: u8_ranks_columns_avx512."""
    _, fill_block = filler(lanes)
    bins, group, pitch, slack = BINS, GROUP, BINS + max(counters, BINS >> GROUP), SLACK * lanes

    @compiled
    def clear(to, count, zero):
        for i in range(0, count, counters):
            vector.store(to + i, vector.splat(zero, counters))

    @compiled
    def add(to, column):
        for i in range(0, pitch, counters):
            vector.store(to + i, vector.load(to + i, counters) + vector.load(column + i, counters))

    @compiled
    def move(to, entering, leaving):
        for i in range(0, pitch, counters):
            change = vector.load(entering + i, counters) - vector.load(leaving + i, counters)
            vector.store(to + i, vector.load(to + i, counters) + change)

    @compiled
    def type_of(one, value):
        return one.dtype.type(value)

    @compiled
    def count_row(columns, row, change, one, reach, s):
        """Add `change` for each cell of a row to its column."""
        for c in range(reach):
            key, to = vector.peek(row + c) + s.bias, columns + c * pitch
            for place in (key, bins + (key >> group)):
                vector.poke(to + place, type_of(one, vector.peek(to + place) + change))

    @compiled
    def bin_of(window, rank):
        """The bin that holds the cell of a rank."""
        at, left = bins, rank
        while left >= vector.peek(window + at):
            left -= vector.peek(window + at)
            at += 1
        at = (at - bins) << group
        while left >= vector.peek(window + at):
            left -= vector.peek(window + at)
            at += 1
        return at

    @compiled
    def ranks_of_row(to, work, values, zero, count, s):
        """One row of outputs, which lie `inner` apart in as many chains."""
        inner, taps = s.field.inner, s.field.w.taps
        for chain in range(inner):
            clear(work.window, pitch, zero)
            for t in range(taps):
                add(work.window, work.columns + (chain + t * inner) * pitch)
            for e in range(chain, count, inner):
                if e > chain:
                    move(work.window, work.columns + (e + (taps - 1) * inner) * pitch, work.columns + (e - inner) * pitch)
                vector.poke_as(to + e, pointer(values) + bin_of(work.window, s.rank))

    def ranks(begin, end, x, border, values, counter, y, outer, sizes):
        """y [e] = the cell of rank r among cells [e + offset of t]"""
        s = read(sizes)
        field = s.field
        reach = field.block.w + (field.w.taps - 1) * field.inner
        held, cells_memory = carve_cells(Cells(cells=field.outer_taps * rows_of(field) * field.pitch + slack), border)
        work, memory = carve(Parts(window=pitch, columns=reach * pitch), counter)
        for item in range(begin, end):
            block = block_of(item, field)
            fill_block(held.cells, x, block, outer, field, pointer(border))
            columns = block.elements + (field.w.taps - 1) * field.inner
            clear(work.columns, columns * pitch, counter[0])
            for row in range(block.rows):
                for q in range(field.outer_taps):
                    plane = held.cells + q * rows_of(field) * field.pitch
                    for r in range(0 if row == 0 else field.h.taps - 1, field.h.taps):
                        count_row(work.columns, plane + (row + r) * field.pitch, 1, counter, columns, s)
                    if row:
                        count_row(work.columns, plane + (row - 1) * field.pitch, -1, counter, columns, s)
                ranks_of_row(pointer(y) + first_output(block, row, field), work, values, counter[0], block.elements, s)
        keep(memory)
        keep(cells_memory)

    ranks.__name__ = f"{types}_ranks_columns_{isa}"
    return Kernel(ranks)
