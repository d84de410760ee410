"""What kernels of pools share: how a window accumulates a cell, and what becomes of it at the end."""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import compiled, inlined
from fastconv.kernels.simd import vector
from fastconv.problem.pools import PoolGeometry

LARGEST_NORM = 8  # of the whole norms, whose powers are products


class Reduction(NamedTuple):
    """The compiled operations of one kind of pool.

    Attributes
    ----------
    enter : callable
        What a window accumulates of a vector of cells.
    combine, combine_two : callable
        The larger, the smaller, the sum: of vectors, or of scalars.
    combine_numbers : callable
        What combine does where no cell is NaN, in a third of its time.
    leave : callable
        leave(window, divisors): the result; an average divides.
    """

    enter: Any
    combine: Any
    combine_two: Any
    leave: Any
    combine_numbers: Any


@lru_cache(maxsize=64)
def reduction(kind: str, dtype: str) -> Reduction:
    """Of "max", "min", "avg", "norm1" to "norm8" or "norminf"; integers are averaged by "avg_f32" or "avg_f64"."""
    scalar = np.dtype(f"{dtype[0]}{int(dtype[1:]) // 8}").type(0)
    real = np.float64(0) if kind.endswith("64") else np.float32(0)
    order, n = order_and_power(kind)

    def as_it_is(v):
        return v

    def converted(v):
        return vector.as_real(v, real)

    def power(v):
        return vector.power(v, n)

    def larger(a, b):
        return vector.larger(a, b)

    def smaller(a, b):
        return vector.smaller(a, b)

    def larger_number(a, b):
        return vector.larger_number(a, b)

    def smaller_number(a, b):
        return vector.smaller_number(a, b)

    def sum_of(a, b):
        return a + b

    def larger_of_two(a, b):
        return b if b > a or b != b else a

    def smaller_of_two(a, b):
        return b if b < a or b != b else a

    def whole(v, divisors):
        return v

    def averaged(v, divisors):
        return vector.divided(v, divisors)

    def averaged_whole(v, divisors):
        return vector.as_whole(vector.divided(v, divisors), scalar)

    def root(v, divisors):
        return vector.root(v, n)

    averages = {"avg": (as_it_is, averaged), "avg_f32": (converted, averaged_whole), "avg_f64": (converted, averaged_whole)}
    enter, leave = averages.get(kind, (power if n else as_it_is, root if n and not order else whole))
    combine, combine_two, combine_numbers = {
        1: (larger, larger_of_two, larger_number),
        -1: (smaller, smaller_of_two, smaller_number),
        0: (sum_of, sum_of, sum_of),
    }[order]
    return Reduction(*(inlined(one) for one in (enter, combine, combine_two, leave, combine_numbers)))


def order_and_power(kind: str) -> tuple[int, int]:
    """Whether a kind keeps the largest (1), the smallest (-1) or a sum (0), and of what power of |x|: 0 for x itself."""
    order = {"max": (1, 0), "min": (-1, 0), "norminf": (1, 1)}.get(kind)
    return order or (0, int(kind[4:]) if kind.startswith("norm") else 0)


@lru_cache(maxsize=8)
def filler(lanes: int) -> Any:
    """The compiled to[i] = value, for i < count."""

    def fill(to, count, value):
        values, count = vector.splat(value, lanes), max(0, count)
        whole = count - count % lanes
        for i in range(0, whole, lanes):
            vector.store(to + i, values)
        if whole < count:
            vector.store_first(to + whole, values, count - whole)

    return compiled(fill)


@lru_cache(maxsize=8)
def part_filler(lanes: int) -> Any:
    """The compiled fill of a workspace's part, which has room for whole vectors, with one value."""

    def fill(part, count, value):
        for i in range(0, count, lanes):
            vector.store(part + i, vector.splat(value, lanes))

    return compiled(fill)


# Decisions --------------------------------------------------------------------------------------------------------------


def kind_of(geometry: PoolGeometry, dtype: np.dtype[Any]) -> str:
    """The reduction of a pool, by its name."""
    if geometry.kind == "avg" and dtype.kind in "iu":
        return f"avg_f{8 * computed(geometry, dtype).itemsize}"
    return f"norm{geometry.norm_type:g}" if geometry.kind == "lp" else geometry.kind


def computed(geometry: PoolGeometry, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type that windows are reduced in: for averages of integers a float, else that of the cells.

    Sums of 2**22 in float32, or 2**51 in float64, are exact, and so is what divides them; the quotient then rounds to a whole
    number only if it is one, so that what is left of it toward zero is right. Larger sums stay integers.
    """
    if geometry.kind != "avg" or dtype.kind not in "iu":
        return dtype
    largest = max(geometry.taps << 8 * dtype.itemsize, abs(geometry.divisor_override or 0))
    return np.dtype(np.float32) if largest <= 1 << 22 else np.dtype(np.float64) if largest <= 1 << 51 else dtype


def initial(kind: str, dtype: np.dtype[Any]) -> Any:
    """What a window starts from, as a scalar of `dtype`: nothing is below it, or above, or it adds nothing."""
    if kind not in ("max", "min"):
        return dtype.type(0)
    if dtype.kind == "f":
        return dtype.type(-np.inf if kind == "max" else np.inf)
    limits = np.iinfo(dtype)
    return dtype.type(limits.min if kind == "max" else limits.max)


def rows_are_lines(geometry: PoolGeometry) -> bool:
    """Whether the cells of a channel follow each other along a row, in either layout."""
    return not geometry.channels_last or geometry.channels == 1


def refusal(geometry: PoolGeometry, dtype: np.dtype[Any]) -> str | None:
    """Why vectors do not serve a pool, or None: norms that are no whole numbers, norms and huge sums of integers."""
    if geometry.kind == "lp" and geometry.norm_type not in (*range(1, LARGEST_NORM + 1), math.inf):
        return f"its norms are infinity and whole numbers up to {LARGEST_NORM}, not {geometry.norm_type:g}"
    if dtype.kind in "iu" and geometry.kind != "lp":
        return None if geometry.kind != "avg" or computed(geometry, dtype) != dtype else "sums of its windows may pass 2**51"
    return None if dtype in (np.float32, np.float64) else f"its vectors are float32 or float64, not {dtype}"
