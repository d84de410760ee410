"""Rank pools by the kernels of rank filters: one for each cell, of which those of the windows are kept."""

from collections.abc import Callable
from typing import Any, NamedTuple

from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd.engine.dense import copied, dense, refused, run_dense
from fastconv.kernels.simd.ranks import choice
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array
from fastconv.problem.filters import RankGeometry
from fastconv.problem.problem import Operands, Problem


class Candidate(NamedTuple):
    """One of the kernels of rank filters."""

    supports: Callable[[Problem], str | None]
    cost: Callable[[Problem, Machine], float]
    run: Callable[[Operands, None, Problem, Array], None]
    kernel: Callable[[Problem, Machine], str]


CANDIDATES = (
    Candidate(choice.supports_code, choice.cost_of_code, choice.run_code, choice.kernel_of_code),
    Candidate(choice.supports, choice.cost_of_tables, choice.run_tables, choice.kernel_of_tables),
    Candidate(choice.supports_columns, choice.columns_cost, choice.run_columns, choice.kernel_of_columns),
    Candidate(choice.supports, choice.sliding_cost, choice.run_sliding, choice.kernel_of_sliding),
)


@remembered
def filtered(problem: Problem) -> Problem:
    """The problem of the filter."""
    g, types = problem.geometry, problem.types
    of_window = RankGeometry("rank", *dense(g), g.order, g.footprint)
    return Problem(of_window, types._replace(stored=types.summed, weights=types.summed, result=types.summed))


@remembered
def chosen(problem: Problem, machine: Machine) -> Candidate:
    """The candidate that is expected to take the least time for a filter."""
    return min((one for one in CANDIDATES if one.supports(problem) is None), key=lambda one: one.cost(problem, machine))


def supports(problem: Problem) -> str | None:
    """Windows without dilation, of what rank filters serve."""
    return refused(problem.geometry) or choice.supports(filtered(problem))


def cost(problem: Problem, machine: Machine) -> float:
    """Of the filter, and of what is copied."""
    g, inner = problem.geometry, filtered(problem)
    return chosen(inner, machine).cost(inner, machine) + 3 * copied(g) * problem.dtype.itemsize / machine.bandwidth


def kernel(problem: Problem, machine: Machine) -> str:
    """The name of the kernel that runs."""
    inner = filtered(problem)
    return chosen(inner, machine).kernel(inner, machine)


def run(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """The filter, on the array and the border of the pool."""
    g, inner = problem.geometry, filtered(problem)
    value: Any = problem.dtype.type(0 if g.border is None else g.border.value)
    one = chosen(inner, host())

    def run_filter(x: Array, y: Array) -> None:
        one.run({"x": x, "cval": value.reshape(1)}, None, inner, y)

    run_dense(run_filter, operands["x"], g, out, value)
