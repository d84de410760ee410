"""max_unpool: an output is cleared by the vector, plane by plane while it is in the cache, and values go where indices say."""

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from fastconv.kernels.jit import Kernel, element
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import packing
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array
from fastconv.problem.pools import UnpoolGeometry
from fastconv.problem.problem import Operands, Problem

peek, poke, pointer = vector.peek, vector.poke, vector.pointer
BLOCK = 32  # planes side by side that one item fills


@lru_cache(maxsize=16)
def kernel(lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over planes, or over blocks of planes that lie together: f32_max_unpool_avx512."""
    _, clear = packing.runs(lanes)

    def unpool(begin, end, x, indices, y, sizes):
        cells_in, cells_out, together = packing.three(sizes, 0)
        blocks, zero = -(-together // BLOCK), x.dtype.type(0)
        for item in range(begin, end):
            group, part = divmod(item, blocks)
            first = part * BLOCK
            count = min(BLOCK, together - first)
            begun, to = group * cells_in * together + first, pointer(y) + (group * cells_out * together + first)
            source, where = pointer(x) + begun, pointer(indices) + begun
            if together == 1:
                clear(to, zero, cells_out)
                for cell in range(cells_in):
                    poke(to + peek(where + cell), peek(source + cell))
                continue
            if count == together:
                clear(to, zero, cells_out * together)
            else:
                for cell in range(cells_out):
                    clear(to + cell * together, zero, count)
            for at in range(0, cells_in * together, together):
                for plane in range(at, at + count):
                    poke(to + (peek(where + plane) * together + plane - at), peek(source + plane))

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


@lru_cache(maxsize=256)
def launch(geometry: UnpoolGeometry, dtype: np.dtype[Any], machine: Machine) -> tuple[Any, ...]:
    """(kernel, items, work, sizes)."""
    g, together = geometry, geometry.channels if geometry.channels_last else 1
    items = g.batch * g.channels // max(1, together) * -(-together // BLOCK)
    sizes = np.array((prod(g.in_size), prod(g.out_size), together), np.int64)
    return kernel(machine.lanes(dtype), element(dtype), machine.isa), items, int(1e9 * seconds(g, dtype, machine)), sizes


def run(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """Values to the cells that their indices name, which lie inside the output."""
    values, indices = operands["x"], operands["indices"]
    found, items, work, sizes = launch(problem.geometry, values.dtype, host())
    found(items, work, values.reshape(-1), indices.reshape(-1), out.reshape(-1), sizes)
