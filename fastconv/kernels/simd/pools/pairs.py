"""Pools of 2x2 windows that do not overlap, channels first, over planes with rows too short for vectors of their own.

Cells that a window has in a row are neighbours, and no plane has one left over: all planes are one run of pairs. Whole vectors
join them, whatever row they are of, and then two rows of pairs become one of results.
"""

from collections.abc import Iterator
from functools import lru_cache, partial
from math import frexp, prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, element, inlined
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.costs import Candidate
from fastconv.kernels.simd.engine.sizes import reader, written
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.kernels.simd.pools import reductions
from fastconv.kernels.simd.pools.launches import Launch
from fastconv.machine import Machine
from fastconv.problem.pools import PoolGeometry

pointer = vector.pointer


class Sizes(NamedTuple):
    """Output rows of all planes, their columns, and the rows of a stack, which is an item."""

    rows: int
    columns: int
    stack: int


class Parts(NamedTuple):
    """The pairs of a stack: two rows of them for each of outputs."""

    pairs: int


read, carve = reader(Sizes), workspace(Parts)


@lru_cache(maxsize=32)
def pair_joiner(kind: str, lanes: int, dtype: str) -> Any:
    """The compiled pairs[i] = x[2 i] + x[2 i + 1], for 2 i < cells; `+` is the larger, the smaller, the sum."""
    r = reductions.reduction(kind, dtype)
    enter, combine = r.enter, r.combine

    def joined(low, high):
        return combine(enter(vector.every_second(low, high)), enter(vector.every_other(low, high)))

    joined = inlined(joined)

    def join_pairs(source, pairs, cells):
        whole = cells - cells % (2 * lanes)
        for i in range(0, whole, 2 * lanes):
            vector.store(pairs + i // 2, joined(vector.load(source + i, lanes), vector.load(source + (i + lanes), lanes)))
        if whole < cells:
            low, room = vector.load_first(source + whole, cells - whole, lanes), cells - whole - lanes
            high = vector.load_first(source + (whole + lanes), room, lanes) if room > 0 else low
            vector.store(pairs + whole // 2, joined(low, high))

    return inlined(join_pairs)


@lru_cache(maxsize=32)
def row_joiner(kind: str, lanes: int, dtype: str) -> Any:
    """The compiled y[r][w] = leave(pairs[2 r][w] + pairs[2 r + 1][w]), for r < count."""
    r = reductions.reduction(kind, dtype)
    combine, leave = r.combine, r.leave

    def averaged(windows, factor):
        return vector.scaled(factor, windows)

    def left(windows, factor):
        return leave(windows, windows)

    finished = inlined(averaged if kind == "avg" else left)

    def join_rows(pairs, to, count, columns, factor):
        for row in range(count):
            upper = pairs + 2 * row * columns
            windows = combine(vector.load(upper, lanes), vector.load(upper + columns, lanes))
            vector.store_first(to + row * columns, finished(windows, factor), columns)

    return inlined(join_rows)


@lru_cache(maxsize=32)
def pairs_kernel(kind: str, lanes: int, lanes_out: int, dtype: str, isa: str) -> Kernel:
    """The compiled loop over stacks of output rows of all planes: f32_max_pool_pairs_avx512; vectors of results may be half."""
    join_pairs, join_rows = pair_joiner(kind, lanes, dtype), row_joiner(kind, lanes_out, dtype)
    fill = reductions.part_filler(lanes)

    def pool(begin, end, x, y, sizes, factor):
        """y[r, w] = leave(x[2 r, 2 w] + x[2 r, 2 w + 1] + x[2 r + 1, 2 w] + x[2 r + 1, 2 w + 1])"""
        s = read(sizes)
        room = 2 * s.stack * s.columns + 2 * lanes  # the last vectors of pairs and of a row pass the end
        work, memory = carve(Parts(pairs=room), x)
        fill(work.pairs, room, vector.zero(work.pairs))
        for item in range(begin, end):
            first = item * s.stack
            count = min(s.stack, s.rows - first)
            join_pairs(pointer(x) + first * 4 * s.columns, work.pairs, count * 4 * s.columns)
            join_rows(work.pairs, pointer(y) + first * s.columns, count, s.columns, factor)
        keep(memory)

    pool.__name__ = f"{dtype}_{kind}_pool_pairs_{isa}"
    return Kernel(pool)


# Decisions --------------------------------------------------------------------------------------------------------------

LONGEST = 8  # outputs of a row: longer ones fill vectors of their own
PAIRS = 2048  # elements of a stack: they stay in the L1 cache


def candidates(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> Iterator[Candidate]:
    """Stacks of as many rows as PAIRS hold, where planes are such runs."""
    if suits(geometry, dtype, machine):
        stack = PAIRS // (2 * max(1, geometry.out_size[1]))
        yield Candidate(seconds(geometry, dtype, machine), stack, partial(launch, geometry, dtype, machine, stack))


def suits(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> bool:
    """Whether planes are such runs of pairs; averages must divide by a power of two, whose reciprocal is as good."""
    g = geometry
    return bool(
        machine.vector_bytes >= 32
        and dtype.kind == "f"
        and g.rank == 2
        and reductions.rows_are_lines(g)
        and not (g.adaptive or g.return_indices)
        and g.kernel == g.stride == (2, 2)
        and g.dilation == (1, 1)
        and not any(any(pair) for pair in g.padding)
        and g.in_size == tuple(2 * size for size in g.out_size)
        and g.out_size[1] <= LONGEST
        and (g.kind != "avg" or frexp(divisor_of(g))[0] == 0.5)
    )


def divisor_of(geometry: PoolGeometry) -> int:
    """What every window is divided by."""
    return abs(geometry.divisor_override or geometry.taps)


def seconds(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Cycles of all pairs and of all rows of results, and the bytes at memory speed."""
    g = geometry
    cycles = prod(g.x_shape) / machine.lanes(dtype) + 2 * g.batch * g.channels * g.out_size[0]
    return 3e-6 + machine.seconds(cycles, g.bytes(dtype.itemsize))


def launch(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine, stack: int) -> Launch:
    """The kernel with its arguments."""
    g, lanes, kind, columns = geometry, machine.lanes(dtype), reductions.kind_of(geometry, dtype), geometry.out_size[1]
    rows, lanes_out = g.batch * g.channels * g.out_size[0], max(lanes // 2, 1 << (columns - 1).bit_length())
    kernel = pairs_kernel(kind, lanes, lanes_out, element(dtype), machine.isa)
    factor = dtype.type(1 / (g.divisor_override or g.taps))
    return Launch(kernel, -(-rows // stack), 8 * g.flops // lanes, (written(Sizes(rows, columns, stack)), factor))
