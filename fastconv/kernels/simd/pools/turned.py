"""Pools of many small planes, channels first, whatever their windows: the lanes of a vector are planes.

    cells[i][p] = x[p][i]           as many planes as a vector has lanes, turned by whole squares
    results[o][p] = the best, or the sum, of cells[i][p] over the cells i of window o
    y[p][o] = leave(results[o][p])

Rows that fill no vector, and windows that begin and end anywhere, adaptive ones, then cost nothing: neighbours in a vector
never meet. What a window accumulates comes in the order of its cells.
"""

from collections.abc import Iterator
from functools import lru_cache, partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, element, inlined
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.costs import Candidate
from fastconv.kernels.simd.engine.sizes import Axes, axes, reader, written
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.kernels.simd.pools import reductions
from fastconv.kernels.simd.pools.bounds import Window, Windows, lifted, span
from fastconv.kernels.simd.pools.launches import Launch
from fastconv.kernels.simd.pools.rows import Source, one_reducer
from fastconv.machine import Machine
from fastconv.problem.pools import PoolGeometry

pointer = vector.pointer


class Sizes(NamedTuple):
    """Planes, their cells and outputs, cells from tap to tap, and the windows."""

    planes: int
    cells: Axes
    outputs: Axes
    dilation: Axes
    windows: Windows


class Parts(NamedTuple):
    """Of the planes of a vector: cells and results."""

    cells: int
    results: int


read, carve = reader(Sizes), workspace(Parts)


@lru_cache(maxsize=8)
def turner(lanes: int) -> Any:
    """The compiled to[i][p] = source[p][i], for `count` cells i, a square or more: the last may overlap the one before."""

    def turn(source, to, count):
        for begun in range(0, count, lanes):
            i = min(begun, count - lanes)
            vector.store_tile(vector.load_turned(source + i, count, lanes), to + i * lanes, lanes)

    return inlined(turn)


@lru_cache(maxsize=8)
def returner(lanes: int) -> Any:
    """The compiled to[p][o] = source[o][p], for `count` outputs o."""

    def turn_back(source, to, count):
        for o in range(0, count, lanes):
            square = vector.load_tile(source + o * lanes, lanes, lanes, 1, lanes)
            vector.store_transposed(square, to + o, count, min(lanes, count - o), lanes)

    return inlined(turn_back)


@lru_cache(maxsize=32)
def turned_kernel(kind: str, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loop over vectors of planes: f32_max_pool_turned_avx512."""
    turn, turn_back, reduce = turner(lanes), returner(lanes), one_reducer(kind, lanes, dtype, True)

    def pool(begin, end, x, y, sizes, divisors, initial):
        """y[p, o] = leave(the sum, or the best, of x[p, i] over the cells i of window o)"""
        s, real = read(sizes), divisors.dtype.type
        count, outputs = s.cells.d * s.cells.h * s.cells.w, s.outputs.d * s.outputs.h * s.outputs.w
        work, memory = carve(Parts(cells=count * lanes, results=(outputs + lanes) * lanes), divisors)
        source = Source(work.cells, Axes(s.cells.h * s.cells.w * lanes, s.cells.w * lanes, lanes), s.dilation)
        for item in range(begin, end):
            first = min(item * lanes, s.planes - lanes)  # the last planes may be some of those before them
            turn(pointer(x) + first * count, work.cells, count)
            to = work.results
            for i in range(s.outputs.d):
                d = span(s.windows.d, i)
                for j in range(s.outputs.h):
                    h = span(s.windows.h, j)
                    for k in range(s.outputs.w):
                        window = Window(d, h, span(s.windows.w, k))
                        divisor = vector.splat(real(window.w.count) * real(d.count * h.count), lanes)
                        reduce(source, to, window, divisor, lanes, initial)
                        to = to + lanes
            turn_back(work.results, pointer(y) + first * outputs, outputs)
        keep(memory)

    pool.__name__ = f"{dtype}_{kind}_pool_turned_{isa}"
    return Kernel(pool)


# Decisions --------------------------------------------------------------------------------------------------------------

SHARE = 2  # of the L2 cache: what cells and results of a vector of planes take at most


def candidates(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> Iterator[Candidate]:
    """The kernel, where planes are many and small."""
    if suits(geometry, dtype, machine):
        yield Candidate(seconds(geometry, dtype, machine), None, partial(launch, geometry, dtype, machine))


def suits(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> bool:
    """Whether planes fill a vector, their cells a square of it, and both a part of the L2 cache."""
    g, lanes = geometry, machine.lanes(dtype)
    cells, outputs = prod(g.in_size), prod(g.out_size)
    return bool(
        dtype.kind == "f"
        and not g.return_indices
        and reductions.rows_are_lines(g)
        and g.batch * g.channels >= lanes <= cells
        and outputs > 0
        and (cells + outputs + lanes) * lanes * dtype.itemsize <= machine.l2 // SHARE
    )


def seconds(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Squares turned, and for each window some cycles and one or two a cell."""
    g, lanes = geometry, machine.lanes(dtype)
    squares, outputs = -(-prod(g.in_size) // lanes), prod(g.out_size)
    cycles = 4.0 * lanes * squares + 6.0 * lanes * -(-outputs // lanes) + 30 * outputs + 1.5 * cells_of_windows(g)
    return 3e-6 + machine.seconds(-(-g.batch * g.channels // lanes) * cycles, g.bytes(dtype.itemsize))


def cells_of_windows(geometry: PoolGeometry) -> int:
    """Of all windows of a plane, padding counted too."""
    g = geometry
    if not g.adaptive:
        return prod(g.out_size) * g.taps
    return prod(outputs * -(-cells // max(1, outputs)) for outputs, cells in zip(g.out_size, g.in_size, strict=True))


def launch(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> Launch:
    """The kernel with its arguments."""
    g, t, lanes, kind = geometry, lifted(geometry), machine.lanes(dtype), reductions.kind_of(geometry, dtype)
    planes = g.batch * g.channels
    sizes = written(Sizes(planes, axes(t.in_size), axes(t.out_size), axes(t.dilation), t.windows))
    kernel, initial = turned_kernel(kind, lanes, element(dtype), machine.isa), reductions.initial(kind, dtype)
    return Launch(kernel, -(-planes // lanes), 8 * g.flops // lanes, (sizes, np.empty(0, dtype), initial))
