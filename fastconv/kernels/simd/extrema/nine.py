"""The largest and the smallest cell of windows of three rows and three cells, which are read where they are stored.

    y = largest of nine        y = smallest of nine        y = largest - smallest, a morphological gradient

Maxima and minima of vectors lose a NaN. Where a row of cells holds one, the rows of outputs that it reaches are made again with
care.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from fastconv.kernels.jit import Kernel, compiled, element, inlined
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import sweeps
from fastconv.kernels.simd.extrema.reductions import LARGEST, SMALLEST
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array
from fastconv.problem.problem import Operands, Problem

pointer = vector.pointer
RANGE = "range"
LONG, BESIDE = 8, 8  # vectors of a row, and cycles of each
WIDTHS = {LARGEST: 9, SMALLEST: 9, RANGE: 17}  # comparisons of a window


def joiner(larger: Any, lanes: int) -> Any:
    """The compiled join(a, b, c, i): what a comparison leaves of nine cells, whose rows begin at a, b and c."""

    @inlined
    def of_column(a, b, c):
        return larger(larger(vector.load(a, lanes), vector.load(b, lanes)), vector.load(c, lanes))

    def join(a, b, c, i):
        return larger(larger(of_column(a, b, c), of_column(a + i, b + i, c + i)), of_column(a + 2 * i, b + 2 * i, c + 2 * i))

    return inlined(join)


@lru_cache(maxsize=16)
def window_of(kind: str, lanes: int, careful: bool) -> Any:
    """The compiled result of a window; with care, a NaN in it is the result."""
    largest = joiner(larger if careful else larger_number, lanes)
    smallest = joiner(smaller if careful else smaller_number, lanes)

    def find_largest(a, b, c, i):
        return largest(a, b, c, i)

    def find_smallest(a, b, c, i):
        return smallest(a, b, c, i)

    def find_range(a, b, c, i):
        return largest(a, b, c, i) - smallest(a, b, c, i)

    return inlined({LARGEST: find_largest, SMALLEST: find_smallest, RANGE: find_range}[kind])


@inlined
def larger(a, b):
    """The larger; a NaN in either stays."""
    return vector.larger(a, b)


@inlined
def smaller(a, b):
    """The smaller; a NaN in either stays."""
    return vector.smaller(a, b)


@inlined
def larger_number(a, b):
    """The larger, of what is no NaN."""
    return vector.larger_number(a, b)


@inlined
def smaller_number(a, b):
    """The smaller, of what is no NaN."""
    return vector.smaller_number(a, b)


@lru_cache(maxsize=16)
def finding(kind: str, lanes: int, real: bool) -> tuple[Any, Any]:
    """The compiled sweep, and the one for rows that hold NaN, as engine/sweeps.py takes them; no second one of integers."""

    def sweep_with(careful: bool) -> Any:
        of_window, looks = window_of(kind, lanes, careful), real and not careful

        def find_row(rows, to, count, inner, w):
            fine = vector.numbers(vector.splat(vector.zero(to), lanes))
            for begun in range(0, count, lanes):
                e = min(begun, max(count - lanes, 0))
                if looks:
                    fine = vector.both(fine, vector.numbers(vector.load(rows.below + e, lanes)))
                found = of_window(rows.above + e, rows.middle + e, rows.below + e, inner)
                if count < lanes:
                    vector.store_first(to, found, count)
                else:
                    vector.store(to + e, found)
            return vector.first_are_set(fine, lanes)

        return compiled(find_row)

    return sweep_with(False), sweep_with(True) if real else None


@lru_cache(maxsize=32)
def kernel(kind: str, lanes: int, real: bool, types: str, isa: str) -> Kernel:
    """The compiled loop over blocks of rows: u8_largest_sweep_avx512."""
    sweep_blocks = sweeps.sweeper(lanes, *finding(kind, lanes, real))

    def extremes(begin, end, x, outside, border, edges, w, y, sizes):
        """y [r][e] = the largest, or the smallest, of x[r + t][e + s]"""
        sweep_blocks(begin, end, x, outside, border, edges, pointer(w), y, sizes)

    extremes.__name__ = f"{types}_{kind}_sweep_{isa}"
    return Kernel(extremes)


# Plan -------------------------------------------------------------------------------------------------------------------------


def supports(problem: Problem) -> str | None:
    """Boxes of 3x3, of integers, float32 or float64."""
    stored, _, summed, result = problem.types
    if not stored == summed == result or stored.kind not in "iuf" or stored.itemsize > 8 or stored == np.float16:
        return f"it compares integers, float32 or float64 and stores them as they are, not {stored} as {result}"
    return sweeps.refused(problem.geometry, stored.itemsize, host())


class Kind:
    """One of the kinds, as an implementation: "largest", "smallest" or "range"."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def cost(self, problem: Problem, machine: Machine) -> float:
        """Of its comparisons; over long rows of bytes, boxes take fewer, and are not bound by memory either."""
        f, dtype = problem.geometry.folded, problem.types.stored
        is_long = dtype.itemsize == 1 and f.inner == 1 and f.w.size > LONG * machine.lanes(dtype)
        return sweeps.seconds_of(problem, WIDTHS[self.kind] + (BESIDE if is_long else 0), machine)

    def run(self, operands: Operands, packed: None, problem: Problem, out: Array) -> None:
        """All rows."""
        launch(problem, self.kind, host()).run(operands["x"], operands["cval"], out)

    def kernel(self, problem: Problem, machine: Machine) -> str:
        """The name of the kernel that runs."""
        return launch(problem, self.kind, machine).kernel.__name__


@remembered
def launch(problem: Problem, kind: str, machine: Machine) -> sweeps.Launch:
    """The launch of a problem."""
    dtype = problem.types.stored
    lanes = machine.lanes(dtype)
    made = kernel(kind, lanes, dtype.kind == "f", element(dtype), machine.isa)
    return sweeps.launch_of(made, problem, lanes, np.zeros(1, dtype), Kind(kind).cost(problem, machine), machine)
