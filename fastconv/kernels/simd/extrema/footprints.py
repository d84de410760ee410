"""The largest and the smallest cells under footprints, over a block of rows in the cache.

    y [e] = join over runs of (table[j][e + first], table[j][e + last])            cells under a footprint
    y [e] = join over t of (cells [e + offset of t] + w[t])                        cells with a structure added to them

A row of a footprint is runs of neighbouring taps. A run of 2^j .. 2^(j + 1) - 1 taps is two of 2^j, which may overlap: table j
holds the joined 2^j cells from each cell on, made of two of those in table j - 1 (Urbach and Wilkinson, Efficient 2-D grayscale
morphological transformations with arbitrary flat structuring elements (2008)). So a run costs two joins, whatever its length.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.neighbourhoods import SLACK, Field, block_of, filler, first_output
from fastconv.kernels.simd.engine.sizes import reader
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.kernels.simd.extrema.reductions import joining
from fastconv.problem.convolutions import Array

pointer = vector.pointer


class Sizes(NamedTuple):
    """The array with its windows, how many tables are made of its cells, elements of each, and how many offsets are joined."""

    field: Field
    tables: int
    apart: int
    offsets: int


class Parts(NamedTuple):
    """The workspace of a thread: the cells under a block, and tables made of them."""

    cells: int


read, carve = reader(Sizes), workspace(Parts)


def tables_of(footprint: Array) -> int:
    """Tables that the longest run along the last axis needs."""
    longest = max((stop - start for row in footprint.reshape(-1, footprint.shape[-1]) for start, stop in spans(row)), default=1)
    return int(longest).bit_length()


def spans(row: Array) -> list[tuple[int, int]]:
    """(start, stop) of the runs of a row."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], row, [False])).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def run_offsets(footprint: Array, offsets: Array, apart: int) -> Array:
    """Offsets whose cells are joined, of `offsets` of all taps in the first table; tables lie `apart`."""
    found = []
    for row, taps in zip(footprint.reshape(offsets.shape), offsets, strict=True):
        for start, stop in spans(row):
            table = (stop - start).bit_length() - 1
            found.append(table * apart + taps[start])
            if stop - start > 1 << table:
                found.append(table * apart + taps[stop - (1 << table)])
    return np.array(found, np.int64)


@lru_cache(maxsize=16)
def tabulator(how: str, lanes: int) -> Any:
    """The compiled make_tables(cells, step, number, apart): table j from table j - 1, `step` elements between cells."""

    def make_tables(cells, step, number, apart):
        for j in range(1, number):
            source, to = cells + (j - 1) * apart, cells + j * apart
            other = source + (step << (j - 1))
            for e in range(0, apart, lanes):
                vector.store(to + e, vector.join(vector.load(source + e, lanes), vector.load(other + e, lanes), how))

    return compiled(make_tables)


@lru_cache(maxsize=16)
def covering(how: str, columns: int, lanes: int) -> Any:
    """The compiled cover_row(cells, offsets, w, to, count, s): `count` outputs of one row."""
    width = columns * lanes

    def cover_row(cells, offsets, w, to, count, s):
        for e in range(0, count, width):
            tile = vector.load_tile(cells + (e + offsets[0]), 0, 1, columns, lanes)
            for t in range(1, s.offsets):
                tile = vector.join(tile, vector.load_tile(cells + (e + offsets[t]), 0, 1, columns, lanes), how)
            vector.store_row_as(tile, to + e, count - e)

    return compiled(cover_row)


@lru_cache(maxsize=16)
def raising(how: str, columns: int, lanes: int) -> Any:
    """The compiled raise_row(cells, offsets, w, to, count, s): likewise, of cells and what is added to them."""
    width = columns * lanes

    def raise_row(cells, offsets, w, to, count, s):
        for e in range(0, count, width):
            tile = vector.added(vector.filled(w[0], 1, columns, lanes), cells + (e + offsets[0]), 0)
            for t in range(1, s.offsets):
                other = vector.added(vector.filled(w[t], 1, columns, lanes), cells + (e + offsets[t]), 0)
                tile = vector.join(tile, other, how)
            vector.store_row_as(tile, to + e, count - e)

    return compiled(raise_row)


@lru_cache(maxsize=32)
def kernel(kind: str, columns: int, lanes: int, structured: bool, types: str, isa: str) -> Kernel:
    """The compiled loop over blocks; `types` of x, the cells and y: u8_largest_footprint_8_avx512."""
    how, slack = joining(kind), SLACK * lanes
    cover = (raising if structured else covering)(how, columns, lanes)
    make_tables, (_, fill_block) = tabulator(how, lanes), filler(lanes)

    def footprints(begin, end, x, offsets, w, cval, y, outer, sizes):
        """y [e] = join over runs of (table[j][e + first], table[j][e + last])"""
        s = read(sizes)
        field = s.field
        work, memory = carve(Parts(cells=s.tables * s.apart + slack), cval)
        for item in range(begin, end):
            block = block_of(item, field)
            fill_block(work.cells, x, block, outer, field, pointer(cval))
            make_tables(work.cells, field.inner, s.tables, s.apart)
            for row in range(block.rows):
                to = pointer(y) + first_output(block, row, field)
                cover(work.cells + row * field.pitch, offsets, w, to, block.elements, s)
        keep(memory)

    footprints.__name__ = f"{types}_{kind}_{'structure' if structured else 'footprint'}_{columns}_{isa}"
    return Kernel(footprints)
