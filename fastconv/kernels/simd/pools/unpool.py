"""max_unpool: an output is cleared by the vector, plane by plane while it is in the cache, and values go where indices say."""

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, element, inlined
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.sizes import reader, written
from fastconv.kernels.simd.pools.launches import Launch
from fastconv.kernels.simd.pools.reductions import filler
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array
from fastconv.problem.pools import UnpoolGeometry
from fastconv.problem.problem import Operands, Problem

peek, poke, pointer = vector.peek, vector.poke, vector.pointer
BLOCK = 32  # planes side by side that one item fills


class Sizes(NamedTuple):
    """Cells of a plane of values and of a plane of outputs, and how many planes lie side by side, cell by cell."""

    cells_in: int
    cells_out: int
    planes: int


class Planes(NamedTuple):
    """The planes of an item, `count` side by side: their first values, indices and outputs."""

    values: Any
    indices: Any
    to: Any
    count: int  # type: ignore[assignment]


read = reader(Sizes)


@lru_cache(maxsize=8)
def one_plane(lanes: int) -> Any:
    """The compiled plane whose cells follow each other."""
    fill = filler(lanes)

    def fill_plane(planes, zero, s):
        fill(planes.to, s.cells_out, zero)
        for cell in range(s.cells_in):
            poke(planes.to + peek(planes.indices + cell), peek(planes.values + cell))

    return inlined(fill_plane)


@lru_cache(maxsize=8)
def many_planes(lanes: int) -> Any:
    """The compiled planes of an item, of all that lie side by side."""
    fill = filler(lanes)

    def fill_planes(planes, zero, s):
        if planes.count == s.planes:
            fill(planes.to, s.cells_out * s.planes, zero)
        else:
            for cell in range(s.cells_out):
                fill(planes.to + cell * s.planes, planes.count, zero)
        for at in range(0, s.cells_in * s.planes, s.planes):
            for i in range(planes.count):
                cell = peek(planes.indices + (at + i))
                poke(planes.to + (cell * s.planes + i), peek(planes.values + (at + i)))

    return inlined(fill_planes)


@lru_cache(maxsize=16)
def unpool_kernel(side_by_side: bool, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over planes, or over blocks of planes that lie side by side: f32_max_unpool_avx512."""
    place = (many_planes if side_by_side else one_plane)(lanes)

    def unpool(begin, end, x, indices, y, sizes):
        """y[n, indices[n, i, c], c] = x[n, i, c], and 0 where no index points"""
        s = read(sizes)
        blocks = -(-s.planes // BLOCK)
        for item in range(begin, end):
            group, block = divmod(item, blocks)
            first = block * BLOCK
            at, to = group * s.cells_in * s.planes + first, group * s.cells_out * s.planes + first
            count = min(BLOCK, s.planes - first)
            place(Planes(pointer(x) + at, pointer(indices) + at, pointer(y) + to, count), x.dtype.type(0), s)

    unpool.__name__ = f"{dtype}_max_unpool_{isa}"
    return Kernel(unpool)


# Decisions --------------------------------------------------------------------------------------------------------------


def supports(problem: Problem) -> str | None:
    """The types that vectors have."""
    dtype = problem.dtype
    if dtype.kind in "iu" or dtype in (np.float32, np.float64):
        return None
    return f"its vectors are integers, float32 or float64, not {dtype}"


def cost(problem: Problem, machine: Machine) -> float:
    """Two cycles a value, and the vectors that are cleared."""
    return seconds(problem.geometry, problem.dtype, machine)


def seconds(geometry: UnpoolGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Two cycles a value, and the vectors that are cleared."""
    cycles = 2 * geometry.flops + prod(geometry.out_shape) / machine.lanes(dtype)
    return 3e-6 + machine.seconds(cycles, geometry.bytes(dtype.itemsize))


@remembered
def launch(geometry: UnpoolGeometry, dtype: np.dtype[Any], machine: Machine) -> Launch:
    """The kernel with its arguments."""
    g, planes = geometry, geometry.channels if geometry.channels_last else 1
    items = g.batch * g.channels // max(1, planes) * -(-planes // BLOCK)
    sizes = written(Sizes(prod(g.in_size), prod(g.out_size), planes))
    made = unpool_kernel(planes > 1, machine.lanes(dtype), element(dtype), machine.isa)
    return Launch(made, items, int(1e9 * seconds(g, dtype, machine)), (sizes,))


def kernel(problem: Problem, machine: Machine) -> str:
    """The name of the kernel that runs."""
    return launch(problem.geometry, problem.dtype, machine).kernel.__name__


def run(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """Values to the cells that their indices name, which lie inside the output."""
    values, indices = operands["x"], operands["indices"]
    launch(problem.geometry, values.dtype, host()).run(values, indices, out)
