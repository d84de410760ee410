"""Correlation with weights that are no product of vectors, over a block of rows in the cache.

    y [e] = sum over t of w[t] * cells [e + offset of t]        over the taps whose weight is not zero, in order

Sums in float64 are rounded as those of a loop in C are, product by product: what is then cut off to an integer is the same.
"""

from functools import lru_cache
from typing import Any, NamedTuple

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
)
from fastconv.kernels.simd.engine.requests import Lines, ask_lines
from fastconv.kernels.simd.engine.sizes import reader
from fastconv.kernels.simd.engine.workspace import keep, workspace

pointer = vector.pointer


class Sizes(NamedTuple):
    """The array with its windows, the taps whose weight is not zero, and lines that are asked for."""

    field: Field
    taps: int
    lines: Lines


class Parts(NamedTuple):
    """The workspace of a thread: the cells under a block."""

    cells: int


read, carve = reader(Sizes), workspace(Parts)


@lru_cache(maxsize=8)
def summing(columns: int, lanes: int, exact: bool) -> Any:
    """The compiled sum_row(cells, w, offsets, to, count, ahead, s): `count` outputs of one row.

    What comes next is asked for: cells that lie `ahead`, if any do, and the next row of outputs.
    """
    add = vector.add_product if exact else vector.fma_shared
    width = columns * lanes

    def sum_row(cells, w, offsets, to, count, ahead, s):
        row = s.field.w.size * s.field.inner
        for e in range(0, count, width):
            if s.lines.of_y > 0:
                ask_lines(to + (row + e), width, s.lines.of_y)
                if ahead > 0:
                    ask_lines(cells + (ahead + e), width, s.lines.of_x)
            tile = vector.zeros(cells, 1, columns, lanes)
            for t in range(s.taps):
                tile = add(tile, w + t, cells + (e + offsets[t]))
            vector.store_row_as(tile, to + e, count - e)

    return compiled(sum_row)


@lru_cache(maxsize=16)
def kernel(columns: int, lanes: int, exact: bool, as_stored: bool, types: str, isa: str) -> Kernel:
    """The compiled loop over blocks; `types` of x, the sums and y: u8_f64_u8_correlation_8_avx512.

    `as_stored`, windows inside of the array read its cells where they are: taps lie at offsets[1] there, and at offsets[0]
    among copied cells.
    """
    _, fill_block = filler(lanes)
    sum_row, slack = summing(columns, lanes, exact), SLACK * lanes

    @compiled
    def sum_block(cells, pitch, w, offsets, y, block, ahead, s):
        """All rows of a block."""
        for row in range(block.rows):
            to = pointer(y) + first_output(block, row, s.field)
            sum_row(cells + row * pitch, pointer(w), offsets, to, block.elements, ahead, s)

    def sum_stored(x, w, offsets, y, block, s):
        cells = pointer(x) + first_cell(block, s.field)
        row = s.field.w.size * s.field.inner
        sum_block(cells, row, w, offsets[1], y, block, s.field.h.taps * row, s)

    def sum_nothing(x, w, offsets, y, block, s):
        pass

    sum_inner = compiled(sum_stored if as_stored else sum_nothing)

    def correlation(begin, end, x, w, offsets, cval, y, outer, sizes):
        """y [e] = sum over t of w[t] * cells [e + offset of t]"""
        s = read(sizes)
        field = s.field
        work, memory = carve(Parts(cells=field.outer_taps * rows_of(field) * field.pitch + slack), w)
        for item in range(begin, end):
            whole = block_of(item, field)
            inner = inner_block(whole, field, columns * lanes, 4 * columns * lanes, len(x) if as_stored else 0)
            for part in range(PARTS):
                block = part_of(whole, inner, part)
                if block.rows == 0 or block.elements == 0:
                    continue
                if part == INNER:
                    sum_inner(x, w, offsets, y, block, s)
                else:
                    fill_block(work.cells, x, block, outer, field, pointer(cval))
                    sum_block(work.cells, field.pitch, w, offsets[0], y, block, 0, s)
        keep(memory)

    correlation.__name__ = f"{types}_correlation_{columns}_{isa}"
    return Kernel(correlation)
