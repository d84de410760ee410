"""Medians of windows of three rows and three cells, which are read where they are stored: the median of nine.

    low, mid, high [s]      the cells of column s in order
    y = median(largest low, median of mid, smallest high)

(Smith, Implementing median filters in XC4000E FPGAs, 1996.) All of it stays in registers.

Minima and maxima lose a NaN. Where a row of cells holds one, the rows of outputs that it reaches are made again: infinity then
stands for NaN, which sorts last as well, and where more than four of nine cells are NaN, so is the median.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from fastconv.kernels.jit import Kernel, compiled, element, inlined
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import sweeps
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array
from fastconv.problem.filters import RankGeometry
from fastconv.problem.problem import Operands, Problem

pointer = vector.pointer
RANK = 4  # of the median
INFINITE, NAN, ONE, HALF = range(4)  # values that a kernel is given; HALF lies between RANK and the next


@inlined
def ordered(a, b, c):
    """Three vectors, the smallest first."""
    low, high = vector.smaller_number(b, c), vector.larger_number(b, c)
    rest, low = vector.larger_number(a, low), vector.smaller_number(a, low)
    return low, vector.smaller_number(rest, high), vector.larger_number(rest, high)


@inlined
def middle(a, b, c):
    """The median of three vectors."""
    low, high = vector.smaller_number(a, b), vector.larger_number(a, b)
    return vector.larger_number(low, vector.smaller_number(high, c))


@inlined
def median(first, second, third):
    """The median of three columns in order."""
    low = vector.larger_number(vector.larger_number(first[0], second[0]), third[0])
    high = vector.smaller_number(vector.smaller_number(first[2], second[2]), third[2])
    return middle(low, middle(first[1], second[1], third[1]), high)


@lru_cache(maxsize=8)
def ranking(lanes: int, real: bool) -> tuple[Any, Any]:
    """The compiled sweep, and the one for rows that hold NaN, as engine/sweeps.py takes them; no second one of integers."""

    def rank_row(rows, to, count, inner, w):
        a, b, c = rows
        fine = vector.numbers(vector.splat(vector.zero(to), lanes))
        for begun in range(0, count, lanes):
            e = min(begun, max(count - lanes, 0))
            last = vector.load(c + e, lanes)
            if real:
                fine = vector.both(fine, vector.numbers(last))
            first = ordered(vector.load(a + e, lanes), vector.load(b + e, lanes), last)
            e += inner
            second = ordered(vector.load(a + e, lanes), vector.load(b + e, lanes), vector.load(c + e, lanes))
            e += inner
            third = ordered(vector.load(a + e, lanes), vector.load(b + e, lanes), vector.load(c + e, lanes))
            found = median(first, second, third)
            if count < lanes:
                vector.store_first(to, found, count)
            else:
                vector.store(to + (e - 2 * inner), found)
        return vector.first_are_set(fine, lanes)

    @inlined
    def column(a, b, c, w, hidden):
        """A column in order without its NaN, and how many were hidden before and are now."""
        infinite, one = vector.splat(vector.peek(w + INFINITE), lanes), vector.splat(vector.peek(w + ONE), lanes)
        none = one - one
        of_a, of_b, of_c = vector.numbers(a), vector.numbers(b), vector.numbers(c)
        hidden = hidden + vector.chosen(of_a, none, one) + vector.chosen(of_b, none, one) + vector.chosen(of_c, none, one)
        found = ordered(vector.chosen(of_a, a, infinite), vector.chosen(of_b, b, infinite), vector.chosen(of_c, c, infinite))
        return found, hidden

    def rank_marked(rows, to, count, inner, w):
        a, b, c = rows
        for e in range(0, count, lanes):
            left, next_one, last = e, e + inner, e + 2 * inner
            room = max(0, count - e) + 2 * inner
            hidden = vector.splat(vector.zero(to), lanes)
            first, hidden = column(
                vector.load_first(a + left, room, lanes),
                vector.load_first(b + left, room, lanes),
                vector.load_first(c + left, room, lanes),
                w,
                hidden,
            )
            room -= inner
            second, hidden = column(
                vector.load_first(a + next_one, room, lanes),
                vector.load_first(b + next_one, room, lanes),
                vector.load_first(c + next_one, room, lanes),
                w,
                hidden,
            )
            room -= inner
            third, hidden = column(
                vector.load_first(a + last, room, lanes),
                vector.load_first(b + last, room, lanes),
                vector.load_first(c + last, room, lanes),
                w,
                hidden,
            )
            lost = vector.above(hidden, vector.splat(vector.peek(w + HALF), lanes))
            found = vector.chosen(lost, vector.splat(vector.peek(w + NAN), lanes), median(first, second, third))
            vector.store_first(to + e, found, count - e)
        return True

    return compiled(rank_row), compiled(rank_marked) if real else None


@lru_cache(maxsize=32)
def kernel(lanes: int, real: bool, types: str, isa: str) -> Kernel:
    """The compiled loop over blocks of rows: u8_median9_sweep_avx512."""
    sweep_blocks = sweeps.sweeper(lanes, *ranking(lanes, real))

    def medians(begin, end, x, outside, border, edges, values, y, sizes):
        """y [r][e] = the median of x[r + t][e + s]"""
        sweep_blocks(begin, end, x, outside, border, edges, pointer(values), y, sizes)

    medians.__name__ = f"{types}_median9_sweep_{isa}"
    return Kernel(medians)


# Plan -------------------------------------------------------------------------------------------------------------------------


def supports(problem: Problem) -> str | None:
    """Medians of boxes of 3x3, of integers, float32 or float64."""
    g: RankGeometry = problem.geometry
    stored, _, summed, result = problem.types
    if not stored == summed == result or stored.kind not in "iuf" or stored.itemsize > 8 or stored == np.float16:
        return f"it ranks integers, float32 or float64 and stores them as they are, not {stored} as {result}"
    if g.footprint is not None or g.rank != RANK:
        return "it serves medians of boxes"
    return sweeps.refused(g, stored.itemsize, host())


def cost(problem: Problem, machine: Machine) -> float:
    """Of thirty comparisons."""
    dtype = problem.types.stored
    return sweeps.seconds_of(problem, 60 if dtype.kind != "f" and dtype.itemsize == 8 else 20, machine)


@remembered
def launch(problem: Problem, machine: Machine) -> sweeps.Launch:
    """The launch of a problem."""
    dtype = problem.types.stored
    lanes, real = machine.lanes(dtype), dtype.kind == "f"
    values = np.array([np.inf, np.nan, 1, RANK + 0.5] if real else [0] * 4, dtype)
    made = kernel(lanes, real, element(dtype), machine.isa)
    return sweeps.launch_of(made, problem, lanes, values, cost(problem, machine), machine)


def run(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """All rows."""
    launch(problem, host()).run(operands["x"], operands["cval"], out)


def kernel_of(problem: Problem, machine: Machine) -> str:
    """The name of the kernel that runs."""
    return launch(problem, machine).kernel.__name__
