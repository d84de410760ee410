"""Pools of 2x2 windows that do not overlap, channels first, over planes with rows too short for vectors of their own.

Cells that a window has in a row are neighbours, and no plane has one left over: all planes are one run of pairs. They are taken
in by whole vectors, whatever row they are of, and then two rows of pairs become one of results.
"""

from functools import lru_cache
from math import frexp, prod
from typing import Any

import numpy as np

from fastconv.kernels.jit import Kernel, element, inlined
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import packing
from fastconv.kernels.simd.pools import reductions as pooling
from fastconv.machine import Machine
from fastconv.problem.pools import PoolGeometry

pointer = vector.pointer


@lru_cache(maxsize=32)
def kernel(kind: str, lanes: int, lanes_out: int, dtype: str, isa: str) -> Kernel:
    """The compiled loop over stacks of output rows of all planes: f32_max_pool_pairs_avx512; vectors of results may be half."""
    enter, combine, _, leave, _ = pooling.reduction(kind, dtype)
    averages = kind == "avg"

    def joined(low, high):
        return combine(enter(vector.every_second(low, high)), enter(vector.every_other(low, high)))

    joined = inlined(joined)

    def pool(begin, end, x, y, sizes, factor):
        rows, columns, stack = packing.three(sizes, 0)
        memory = np.zeros(2 * stack * columns + 2 * lanes, x.dtype)
        pairs, cells_of_row = pointer(memory), 4 * columns
        for item in range(begin, end):
            first = item * stack
            count = min(stack, rows - first)
            source, cells = pointer(x) + first * cells_of_row, count * cells_of_row
            whole = cells - cells % (2 * lanes)
            for i in range(0, whole, 2 * lanes):
                both = joined(vector.load(source + i, lanes), vector.load(source + (i + lanes), lanes))
                vector.store(pairs + i // 2, both)
            if whole < cells:
                low, room = vector.load_first(source + whole, cells - whole, lanes), cells - whole - lanes
                high = vector.load_first(source + (whole + lanes), room, lanes) if room > 0 else low
                vector.store(pairs + whole // 2, joined(low, high))
            for row in range(count):
                upper = pairs + 2 * row * columns
                best = combine(vector.load(upper, lanes_out), vector.load(upper + columns, lanes_out))
                best = vector.scaled(factor, best) if averages else leave(best, best)
                vector.store_first(pointer(y) + (first + row) * columns, best, columns)
        memory[0] = 0  # pointers do not keep an array alive: its last use does

    pool.__name__ = f"{dtype}_{kind}_pool_pairs_{isa}"
    return Kernel(pool)


# Decisions --------------------------------------------------------------------------------------------------------------

WIDEST = 8  # outputs of a row: wider ones fill vectors of their own
PAIRS = 2048  # elements of a stack: they stay in the L1 cache


def suits(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> bool:
    """Whether planes are such runs of pairs; averages must divide by a power of two, whose reciprocal is as good."""
    g = geometry
    return bool(
        machine.vector_bytes >= 32
        and dtype.kind == "f"
        and g.rank == 2
        and pooling.rows_are_lines(g)
        and not (g.adaptive or g.return_indices)
        and g.kernel == g.stride == (2, 2)
        and g.dilation == (1, 1)
        and not any(any(pair) for pair in g.padding)
        and g.in_size == tuple(2 * size for size in g.out_size)
        and g.out_size[1] <= WIDEST
        and (g.kind != "avg" or frexp(divisor_of(g))[0] == 0.5)
    )


def divisor_of(geometry: PoolGeometry) -> int:
    """What every window is divided by."""
    return abs(geometry.divisor_override or geometry.taps)


def cycles(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Of all pairs, and of all rows of results."""
    g = geometry
    return 6 * prod(g.x_shape) / machine.lanes(dtype) / 2 + 9 * g.batch * g.channels * g.out_size[0]


def launch(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> tuple[Any, ...]:
    """(kernel, items, work, and the arguments after x and y)."""
    g, lanes, kind, columns = geometry, machine.lanes(dtype), pooling.kind_of(geometry, dtype), geometry.out_size[1]
    rows, stack = g.batch * g.channels * g.out_size[0], PAIRS // (2 * columns)
    chosen = kernel(kind, lanes, max(lanes // 2, 1 << (columns - 1).bit_length()), element(dtype), machine.isa)
    factor = dtype.type(1 / (g.divisor_override or g.taps))
    return chosen, -(-rows // stack), 8 * g.flops // lanes, (np.array((rows, columns, stack), np.int64), factor)
