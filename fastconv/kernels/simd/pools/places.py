"""Values with their places: which of two is better, and vectors of the best of neighbouring windows' cells.

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
