"""Ranks by a histogram that slides along the rows: for large windows, at a cost that grows with their height alone.

    histogram of the window at e + 1 = that at e, with the cells that enter, without those that leave

Cells are counted by their places in the sorted block, which a radix sort gives, or by their values where these are 8 bits. Sums
over groups of bins lead to the rank (Huang, Yang and Tang, A fast two-dimensional median filtering algorithm, 1979).
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.neighbourhoods import SLACK, Field, block_of, filler, first_output, rows_of
from fastconv.kernels.simd.engine.sizes import reader

pointer = vector.pointer
DIGIT = 11  # bits that one pass of the sort looks at
BYTE_GROUP, GROUP = 4, 6  # bits of the bins of a group


class Sizes(NamedTuple):
    """The array with its windows, and the rank."""

    field: Field
    rank: int


read = reader(Sizes)


@lru_cache(maxsize=16)
def numbering(bits: int, real: bool, signed: bool) -> Any:
    """The compiled number_cells(cells, unsigned, keys, order, spare, block, field): how many bins there are.

    keys[i] is the bin of cell i, and order[bin] a cell that it counts. `unsigned` holds the cells' bits; of a float, those of
    negative values are turned around, and NaN is the last.
    """
    top, every, mask = 1 << (bits - 1), (1 << bits) - 1, (1 << DIGIT) - 1
    passes = -(-bits // DIGIT)
    kind = np.dtype(f"u{bits // 8}")

    @compiled
    def sortable(cell, raw):
        if real:
            if cell != cell:
                return kind.type(every)
            return kind.type(raw ^ kind.type(every)) if raw & kind.type(top) else kind.type(raw | kind.type(top))
        return kind.type(raw ^ kind.type(top)) if signed else raw

    def number_bytes(cells, unsigned, keys, order, spare, block, field):
        rows, reach = block.rows + field.h.taps - 1, block.elements + (field.w.taps - 1) * field.inner
        for q in range(field.outer_taps):
            for r in range(rows):
                line = (q * rows_of(field) + r) * field.pitch
                for i in range(line, line + reach):
                    key = np.int64(sortable(cells[i], unsigned[i]))
                    keys[i] = key
                    order[key] = i
        return 256

    def number_cells(cells, unsigned, keys, order, spare, block, field):
        rows, reach = block.rows + field.h.taps - 1, block.elements + (field.w.taps - 1) * field.inner
        count = 0
        for q in range(field.outer_taps):
            for r in range(rows):
                line = (q * rows_of(field) + r) * field.pitch
                for i in range(line, line + reach):
                    unsigned[i] = sortable(cells[i], unsigned[i])
                    order[count] = i
                    count += 1
        starts = np.empty(mask + 2, np.int64)
        from_, to = order, spare
        for digit in range(passes):
            shift = kind.type(digit * DIGIT)
            starts[:] = 0
            for k in range(count):
                starts[np.int64((unsigned[from_[k]] >> shift) & kind.type(mask)) + 1] += 1
            for i in range(mask):
                starts[i + 1] += starts[i]
            for k in range(count):
                at = np.int64((unsigned[from_[k]] >> shift) & kind.type(mask))
                to[starts[at]] = from_[k]
                starts[at] += 1
            from_, to = to, from_
        for k in range(count):
            keys[from_[k]] = k
            order[k] = from_[k]
        return count

    return compiled(number_bytes if bits == 8 else number_cells)


@lru_cache(maxsize=16)
def kernel(lanes: int, bits: int, real: bool, signed: bool, types: str, isa: str) -> Kernel:
    """The compiled loop over blocks: f32_ranks_sliding_avx512."""
    _, fill_block = filler(lanes)
    number_cells = numbering(bits, real, signed)
    slack, group, kind = SLACK * lanes, BYTE_GROUP if bits == 8 else GROUP, np.dtype(f"u{bits // 8}")

    @compiled
    def count_cells(fine, coarse, keys, first, offsets, change, group_at):
        """Add `change` for each cell at first + offsets: how many more cells lie in groups before group_at."""
        below = 0
        for t in range(len(offsets)):
            key = keys[first + offsets[t]]
            fine[key] += change
            at = key >> group
            coarse[at] += change
            below += change if at < group_at else 0
        return below

    @compiled
    def ranks_of_row(to, cells, histogram, offsets, line, count, s):
        """One row of outputs, which lie `inner` apart in as many chains."""
        fine, coarse, keys, order = histogram
        taps, entering, leaving = offsets
        inner = s.field.inner
        for chain in range(inner):
            at, below = 0, count_cells(fine, coarse, keys, line + chain, taps, 1, 0)
            for e in range(chain, count, inner):
                if e > chain:
                    below += count_cells(fine, coarse, keys, line + e - inner, leaving, -1, at)
                    below += count_cells(fine, coarse, keys, line + e, entering, 1, at)
                while below > s.rank:
                    at -= 1
                    below -= coarse[at]
                while below + coarse[at] <= s.rank:
                    below += coarse[at]
                    at += 1
                key, left = at << group, s.rank - below
                while left >= fine[key]:
                    left -= fine[key]
                    key += 1
                vector.poke_as(to + e, pointer(cells) + np.int64(order[key]))
            last = chain + (count - 1 - chain) // inner * inner
            count_cells(fine, coarse, keys, line + last, taps, -1, 0)

    def ranks(begin, end, x, values, taps, entering, leaving, y, outer, sizes):
        """y [e] = the cell of rank r among cells [e + offset of t]"""
        s = read(sizes)
        field = s.field
        count = field.outer_taps * rows_of(field) * field.pitch
        cells = np.empty(count + slack, values.dtype)
        unsigned = cells.copy().view(kind)
        keys, order, spare = np.empty(count, np.int32), np.empty(max(count, 256), np.int32), np.empty(count, np.int32)
        fine = np.zeros(max(count, 256) + 1, np.int32)
        coarse = np.zeros((len(fine) >> group) + 2, np.int32)
        for item in range(begin, end):
            block = block_of(item, field)
            fill_block(pointer(cells), x, block, outer, field, pointer(values))
            unsigned[:] = cells.view(kind)
            number_cells(cells, unsigned, keys, order, spare, block, field)
            for row in range(block.rows):
                to = pointer(y) + first_output(block, row, field)
                histogram, offsets = (fine, coarse, keys, order), (taps, entering, leaving)
                ranks_of_row(to, cells, histogram, offsets, row * field.pitch, block.elements, s)

    ranks.__name__ = f"{types}_ranks_sliding_{isa}"
    return Kernel(ranks)
