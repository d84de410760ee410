"""Which kernel sums the products of a window, and what it is expected to take."""

from functools import partial
from typing import Any

import numpy as np

from fastconv.kernels.jit import Kernel, element
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd.correlation import dense
from fastconv.kernels.simd.engine.costs import Candidate, cheapest
from fastconv.kernels.simd.engine.neighbourhoods import cut, field_of, items_of, outer_table, tap_offsets
from fastconv.kernels.simd.engine.sizes import written
from fastconv.kernels.simd.engine.tables import TILES
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array
from fastconv.problem.filters import FilterGeometry
from fastconv.problem.problem import Operands, Problem
from fastconv.problem.types import Types


def supports(problem: Problem) -> str | None:
    """Sums in float32 or float64 of real numbers."""
    for dtype in problem.types:
        if dtype.kind not in "iuf" or dtype.itemsize > 8 or dtype == np.float16:
            return f"its vectors are integers, float32 or float64, not {dtype}"
    summed = problem.types.summed
    return None if summed.kind == "f" else f"it sums in float32 or float64, not {summed}"


def names(types: Types) -> str:
    """The types of x, of the sums and of y, as kernels are named."""
    return "_".join(map(element, dict.fromkeys((types.stored, types.summed, types.result))))


def seconds(geometry: FilterGeometry, types: Types, taps: int, machine: Machine) -> float:
    """Cycles of its products and of copying cells, or the bytes at memory speed."""
    f, lanes = geometry.folded, machine.lanes(types.summed)
    rows = f.planes * f.h.size
    vectors = rows * -(-f.w.size * f.inner // lanes)
    cycles = 30_000 + 60 * rows + vectors * (4 * f.outer_taps + 1.1 * taps * (1 if types.summed == np.float32 else 1.6))
    return machine.seconds(cycles, geometry.bytes(types.stored.itemsize, types.result.itemsize))


@remembered
def candidates(problem: Problem, machine: Machine) -> tuple[Candidate, ...]:
    """The dense kernel."""
    g, types = problem.geometry, problem.types
    block = cut(g, types.summed.itemsize, machine)
    expected = seconds(g, types, g.window, machine)
    return (Candidate(expected, block, partial(launch, problem, machine)),)


def cost(problem: Problem, machine: Machine) -> float:
    """Of weights that are all used."""
    return cheapest(candidates(problem, machine)).seconds


@remembered
def launch(problem: Problem, machine: Machine) -> tuple[Kernel, Any, Array, Array]:
    """(kernel, field, offsets of all taps, axes over planes)."""
    g, types = problem.geometry, problem.types
    lanes = machine.lanes(types.summed)
    field = field_of(g, cheapest(candidates(problem, machine)).cut, lanes)
    columns = TILES[machine.isa].filter_vectors
    made = dense.kernel(columns, lanes, types.summed == np.float64, names(types), machine.isa)
    return made, field, tap_offsets(g, field), outer_table(g.folded)


def kernel(problem: Problem, machine: Machine) -> str:
    """The name of the kernel that runs."""
    return launch(problem, machine)[0].__name__


def run(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """All blocks."""
    made, field, offsets, outer = launch(problem, host())
    w = np.ascontiguousarray(operands["w"].ravel(), problem.types.summed)
    used = np.flatnonzero(w)
    sizes = written(dense.Sizes(field, len(used)))
    work = int(1e9 * seconds(problem.geometry, problem.types, len(used), host()))
    made(items_of(field), work, operands["x"].ravel(), w[used], offsets[used], operands["cval"], out.ravel(), outer, sizes)
