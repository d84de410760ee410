"""Rows of sums of products with the weights of one axis, as passes.py makes them one axis after the other.

Sums in float64 are rounded as those of a loop in C are, product by product, in SciPy's order: where the weights of an odd
number of taps mirror each other, the middle one comes first, then pairs from the outside in; else the last one comes first,
then the others in order. What is then cut off to an integer is the same.

Of integers of 8 bits they are made in float32 first, which is enough to cut off most: where a sum of a tile lies nearer to a
whole number than its error may be, and not to 0, its sums are made again in float64.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from fastconv.kernels.jit import compiled, inlined
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.requests import ask_lines
from fastconv.problem import filters

MIRRORED = (filters.PLAIN, filters.EVEN, filters.ODD)
PLAIN, EVEN, ODD = range(len(MIRRORED))
FUSED, EXACT, CHECKED = range(3)  # how sums are made: fused, step by step, or fused and made again where that may matter
LIKELY = 14  # tiles that are made step by step at once behind two that were made again


class Pass(NamedTuple):
    """The weights of an axis: how many, where they begin, and how they mirror each other, as MIRRORED numbers it."""

    taps: int
    first: int
    mirrored: int


class Weights(NamedTuple):
    """Addresses of the weights of a pass, as its sums are made and as they are made again, and the error of the first ones."""

    first: Any
    exact: Any
    margin: float


class Source(NamedTuple):
    """Cells to sum: the first one, elements from row to row and from tap to tap, and to those that are asked for, or 0."""

    at: Any
    row: int
    tap: int
    ahead: int


@lru_cache(maxsize=8)
def weighing(columns: int, lanes: int, exact: bool) -> Any:
    """The compiled weigh(at, step, w, axis): a tile of sum over t of w[t] * at[t * step], of the type of w."""

    def weigh_fused(at, step, w, axis):
        tile = vector.zeros(w, 1, columns, lanes)
        for t in range(axis.taps):
            tile = vector.fma_shared(tile, w + t, at + t * step)
        return tile

    def weigh_exactly(at, step, w, axis):
        tile = vector.zeros(w, 1, columns, lanes)
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
def making(columns: int, lanes: int, how: int) -> tuple[Any, Any]:
    """The compiled tile of sums as a part of a row of lines, and of outputs; both return how much is in doubt behind it.

    make_lines(at, step, w, axis, like, to, doubt), make_outputs(at, step, w, axis, to, count, doubt). Of sums that are checked,
    where two tiles after each other were made again, the next ones are made step by step at once: of what is all alike, too.
    """
    weigh, again = weighing(columns, lanes, how == EXACT), weighing(columns, max(1, lanes // 2), True)
    width, half = columns * lanes, columns * lanes // 2

    def make_lines(at, step, w, axis, like, to, doubt):
        vector.store_tile(vector.rounded_row(weigh(at, step, w.first, axis), like), to, 0)
        return 0

    def make_outputs(at, step, w, axis, to, count, doubt):
        vector.store_row_as(weigh(at, step, w.first, axis), to, count)
        return 0

    @compiled
    def remake_lines(at, step, w, axis, like, to):
        for e in range(0, width, half):
            vector.store_row_as(vector.rounded_row(again(at + e, step, w.exact, axis), like), to + e, half)

    @compiled
    def remake_outputs(at, step, w, axis, to, count):
        for e in range(0, min(width, count), half):
            vector.store_row_as(again(at + e, step, w.exact, axis), to + e, count - e)

    @inlined
    def doubt_behind(doubt):
        return doubt - 1 if doubt > 1 else 1 + doubt * LIKELY

    def check_lines(at, step, w, axis, like, to, doubt):
        if doubt <= 1:
            tile = weigh(at, step, w.first, axis)
            if not vector.are_near_whole(tile, vector.number(w.first, w.margin)):
                vector.store_tile(vector.rounded_row(tile, like), to, 0)
                return 0
        remake_lines(at, step, w, axis, like, to)
        return doubt_behind(doubt)

    def check_outputs(at, step, w, axis, to, count, doubt):
        if doubt <= 1:
            tile = weigh(at, step, w.first, axis)
            if not vector.are_near_whole(tile, vector.number(w.first, w.margin)):
                vector.store_row_as(tile, to, count)
                return 0
        remake_outputs(at, step, w, axis, to, count)
        return doubt_behind(doubt)

    if how == CHECKED:
        return compiled(check_lines), compiled(check_outputs)
    return inlined(make_lines), inlined(make_outputs)


@lru_cache(maxsize=8)
def summing(columns: int, lanes: int, how: int) -> tuple[Any, Any]:
    """The compiled sum_lines and sum_outputs, a strip of all rows at a time: the cells under a row of it stay in the L1 cache.

    sum_lines(source, w, axis, lines, pitch, like, extent, strip, asked): rows of sums, rounded to the type of `like`, in whole
    tiles.
    sum_outputs(source, w, axis, to, pitch, extent, strip, asked): rows of sums, stored as what `to` points to.

    What the next rows take is asked for: cells where they lie `ahead` of a source, and outputs.
    """
    width, (make_lines, make_outputs) = columns * lanes, making(columns, lanes, how)

    @inlined
    def ask_for_cells(source, row, e, asked):
        if source.ahead > 0 and asked.of_x > 0:
            ask_lines(source.at + (source.ahead + row * source.row + e), width, asked.of_x)

    def sum_lines(source, w, axis, lines, pitch, like, extent, strip, asked):
        doubt = 0
        for begin in range(0, extent.w, strip):
            for row in range(extent.h):
                for e in range(begin, min(begin + strip, extent.w), width):
                    ask_for_cells(source, row, e, asked)
                    at = source.at + (row * source.row + e)
                    doubt = make_lines(at, source.tap, w, axis, like, lines + (row * pitch + e), doubt)

    def sum_outputs(source, w, axis, to, pitch, extent, strip, asked):
        doubt = 0
        for begin in range(0, extent.w, strip):
            for row in range(extent.h):
                for e in range(begin, min(begin + strip, extent.w), width):
                    ask_for_cells(source, row, e, asked)
                    if asked.of_y > 0:
                        ask_lines(to + ((row + extent.h) * pitch + e), width, asked.of_y)
                    at = source.at + (row * source.row + e)
                    doubt = make_outputs(at, source.tap, w, axis, to + (row * pitch + e), extent.w - e, doubt)

    return compiled(sum_lines), compiled(sum_outputs)
