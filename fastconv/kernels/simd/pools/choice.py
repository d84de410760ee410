"""Pools on vectors: the kernel that is expected to take the least time, of all that serve a geometry.

    planes    windows of whole planes
    pairs     2x2 windows, channels first, on planes with short rows
    windows   small windows, channels first, in registers
    pixels    small windows, channels last, in registers
    turned    any windows of many small planes, channels first
    indices   maxima and minima with their places
    rows      windows of any kind
    sums      averages of integers whose sums are larger than what doubles hold

What was estimated is what runs. "rows" is a candidate where none but "turned" serves: its estimates are too rough to be held
against the others'.
"""

from typing import Any

import numpy as np

from fastconv.kernels.jit import Call, flat
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd.engine.costs import Candidate, cheapest
from fastconv.kernels.simd.pools import indices, pairs, pixels, planes, reductions, rows, sums, turned, windows
from fastconv.kernels.simd.pools.launches import Launch
from fastconv.machine import Machine, host
from fastconv.problem.pools import PoolGeometry
from fastconv.problem.problem import Operands, Problem

SPECIAL = (planes, pairs, windows, pixels, indices)


def supports(problem: Problem) -> str | None:
    """Pools of every geometry."""
    geometry, dtype = problem.geometry, problem.dtype
    if sums.suits(geometry, dtype):
        return None
    return reductions.refusal(geometry, dtype) or (indices.refusal(geometry) if geometry.return_indices else None)


def candidates(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> list[Candidate]:
    """Every kernel that serves a geometry better than the one of its layout, or that one."""
    if sums.suits(geometry, dtype):
        return list(sums.candidates(geometry, dtype, machine))
    special = [one for kernels in SPECIAL for one in kernels.candidates(geometry, dtype, machine)]
    of_any_windows = (turned,) if special else (turned, rows)
    return special + [one for kernels in of_any_windows for one in kernels.candidates(geometry, dtype, machine)]


@remembered
def chosen(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> Candidate:
    """The candidate whose seconds `cost` tells, and which runs."""
    return cheapest(candidates(geometry, dtype, machine))


@remembered
def launch(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> Launch:
    """What the chosen candidate runs."""
    made: Launch = chosen(geometry, dtype, machine).launch()
    return made


def cost(problem: Problem, machine: Machine) -> float:
    """The seconds of the chosen candidate."""
    return chosen(problem.geometry, problem.dtype, machine).seconds


def kernel(problem: Problem, machine: Machine) -> str:
    """The name of the kernel that runs."""
    return launch(problem.geometry, problem.dtype, machine).kernel.__name__


def run(operands: Operands, packed: None, problem: Problem, out: Any) -> None:
    """All rows; with indices, `out` is an array of values and one of indices."""
    x, geometry = operands["x"], problem.geometry
    made = launch(geometry, problem.dtype, host())
    if geometry.return_indices:
        made.run(x, *out)
    else:
        made.kernel(made.items, made.work, flat(x), flat(out), *made.arguments)


def calls(operands: Operands, packed: None, problem: Problem, out: Any) -> tuple[Call, ...] | None:
    """What `run` calls for one result."""
    made = launch(problem.geometry, problem.dtype, host())
    if problem.geometry.return_indices:
        return None
    return (Call(made.kernel, made.items, made.work, (flat(operands["x"]), flat(out), *made.arguments)),)
