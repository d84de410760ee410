"""Values with their places: which of two is better, and the best cells of windows, of vectors of columns or of channels.

indices.py computes by them.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import compiled, inlined
from fastconv.kernels.simd import vector

BEYOND = np.iinfo(np.int32).max  # a position behind all


class Best(NamedTuple):
    """The best of neighbouring windows' cells: a vector of values, one of positions."""

    value: Any
    place: Any


class Outputs(NamedTuple):
    """Where values and indices go."""

    values: Any
    indices: Any


@compiled
def outputs_at(to, offset):
    """What lies `offset` further of both."""
    return Outputs(to.values + offset, to.indices + offset)


@lru_cache(maxsize=2)
def comparisons(kind: str) -> tuple[Any, Any]:
    """The compiled better(a, at_a, b, at_b): whether b is, lane by lane, and of scalars."""

    def larger(a, at_a, b, at_b):
        return vector.larger_first(a, at_a, b, at_b)

    def smaller(a, at_a, b, at_b):
        return vector.smaller_first(a, at_a, b, at_b)

    def larger_of_two(a, at_a, b, at_b):
        if a == b or (a != a and b != b):
            return at_b < at_a
        return b > a or b != b

    def smaller_of_two(a, at_a, b, at_b):
        if a == b or (a != a and b != b):
            return at_b < at_a
        return b < a or b != b

    pair = (larger, larger_of_two) if kind == "max" else (smaller, smaller_of_two)
    return inlined(pair[0]), inlined(pair[1])


@lru_cache(maxsize=2)
def accumulator(kind: str) -> Any:
    """The compiled best of `best` and of a vector of cells."""
    better, _ = comparisons(kind)

    def accumulate(best, value, place):
        wins = better(best.value, best.place, value, place)
        return Best(vector.chosen(wins, value, best.value), vector.chosen(wins, place, best.place))

    return inlined(accumulate)


@lru_cache(maxsize=2)
def quick_accumulator(kind: str) -> Any:
    """The same by one comparison: right where no cell is NaN, and cells come in row-major order."""

    def larger(best, value, place):
        wins = vector.above(value, best.value)
        return Best(vector.chosen(wins, value, best.value), vector.chosen(wins, place, best.place))

    def smaller(best, value, place):
        wins = vector.below(value, best.value)
        return Best(vector.chosen(wins, value, best.value), vector.chosen(wins, place, best.place))

    return inlined(larger if kind == "max" else smaller)


@lru_cache(maxsize=8)
def storer(lanes: int) -> Any:
    """The compiled store of the first `room` lanes' values and indices."""

    def store(to, best, room):
        vector.store_first(to.values, best.value, room)
        vector.store_first_wide(to.indices, best.place, room)

    return inlined(store)


@lru_cache(maxsize=8)
def starter(lanes: int) -> Any:
    """The compiled best of no cell."""

    def start(initial):
        return Best(vector.splat(initial, lanes), vector.numbered(BEYOND, 0, lanes))

    return inlined(start)


@lru_cache(maxsize=8)
def quick_pooler(kind: str, lanes: int) -> Any:
    """The compiled outputs of two vectors of channels as if no cell were NaN: False, and nothing stored, where one may be."""
    accumulate, start = quick_accumulator(kind), starter(lanes)

    def store(to, best):
        vector.store(to.values, best.value)
        vector.store_first_wide(to.indices, best.place, lanes)

    store = inlined(store)

    def pool_two(image, c, to, window, initial):
        low, high = start(initial), start(initial)
        beyond, clean = low.place, vector.numbers(low.value)
        d = window.d.start
        while d < window.d.stop:  # a range of unknown steps would divide
            h = window.h.start
            while h < window.h.stop:
                row = (d * image.cells.h + h) * image.cells.w
                cell, end = row + window.w.start, row + window.w.stop
                while cell < end:
                    place, at = vector.numbered(cell, 0, lanes), image.at + (cell * image.step + c)
                    value, more = vector.load(at, lanes), vector.load(at + lanes, lanes)
                    clean = vector.both(vector.both(clean, vector.numbers(value)), vector.numbers(more))
                    low, high = accumulate(low, value, place), accumulate(high, more, place)
                    cell += image.dilation.w
                h += image.dilation.h
            d += image.dilation.d
        won = vector.both(vector.below(low.place, beyond), vector.below(high.place, beyond))
        if vector.first_are_set(vector.both(clean, won), lanes):
            store(to, low)
            store(outputs_at(to, lanes), high)
            return True
        return False

    return inlined(pool_two)


@lru_cache(maxsize=8)
def careful_pooler(kind: str, lanes: int) -> Any:
    """The compiled outputs of a vector of channels, or of the first `room` of them."""
    accumulate, start, store = accumulator(kind), starter(lanes), storer(lanes)

    def pool_one(image, c, to, window, room, initial):
        best, whole, d = start(initial), room >= lanes, window.d.start
        while d < window.d.stop:
            h = window.h.start
            while h < window.h.stop:
                row = (d * image.cells.h + h) * image.cells.w
                cell, end = row + window.w.start, row + window.w.stop
                while cell < end:
                    at = image.at + (cell * image.step + c)
                    value = vector.load(at, lanes) if whole else vector.load_first(at, room, lanes)
                    best = accumulate(best, value, vector.numbered(cell, 0, lanes))
                    cell += image.dilation.w
                h += image.dilation.h
            d += image.dilation.d
        store(to, best, room)

    return inlined(pool_one)
