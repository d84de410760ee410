"""Max and min pools under footprints by the kernels of filters: one for each cell, of which those of the windows are kept."""

from typing import Any

import numpy as np

from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd.engine.dense import copied, dense, refused, run_dense
from fastconv.kernels.simd.extrema import choice
from fastconv.machine import Machine
from fastconv.problem.convolutions import Array
from fastconv.problem.filters import FilterGeometry
from fastconv.problem.pools import PoolGeometry
from fastconv.problem.problem import Operands, Problem

KINDS = {"max": "largest", "min": "smallest"}


@remembered
def filtered(problem: Problem) -> Problem:
    """The problem of the filter."""
    types = problem.types
    of_window = FilterGeometry("footprint", *dense(problem.geometry))
    return Problem(of_window, types._replace(stored=types.summed, weights=types.summed, result=types.summed))


def supports(problem: Problem) -> str | None:
    """Footprints without dilation, of what vectors hold."""
    if problem.geometry.footprint is None:
        return "it serves footprints; boxes have kernels of their own"
    return refused(problem.geometry) or choice.supports(filtered(problem))


def cost(problem: Problem, machine: Machine) -> float:
    """Of the filter, and of what is copied."""
    moved = 3 * copied(problem.geometry) * problem.dtype.itemsize
    return choice.cover_cost(filtered(problem), machine) + moved / machine.bandwidth


def kernel(problem: Problem, machine: Machine) -> str:
    """The name of the kernel that runs."""
    return choice.cover_kernel(KINDS[problem.geometry.kind], False)(filtered(problem), machine)


def outside(geometry: PoolGeometry, dtype: np.dtype[Any]) -> Any:
    """What cells around the input hold: the border's value, or one that no window takes for its own."""
    if geometry.border is not None:
        return dtype.type(geometry.border.value)
    if dtype.kind == "f":
        return dtype.type(-np.inf if geometry.kind == "max" else np.inf)
    limits = np.iinfo(dtype)
    return dtype.type(limits.min if geometry.kind == "max" else limits.max)


def run(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """The filter, on the array and the border of the pool."""
    g, inner = problem.geometry, filtered(problem)
    value, run_cover = outside(g, problem.dtype), choice.covered(KINDS[g.kind], False)
    footprint = np.frombuffer(g.footprint or b"", bool).reshape(inner.geometry.taps)

    def run_filter(x: Array, y: Array) -> None:
        run_cover({"x": x, "cval": value.reshape(1), "footprint": footprint}, None, inner, y)

    run_dense(run_filter, operands["x"], g, out, value)
