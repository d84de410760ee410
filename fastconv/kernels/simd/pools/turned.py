"""Pools of many small planes, channels first, whatever their windows: the lanes of a vector are planes.

    cells[i][p] = x[p][i]           a band of as many planes as a vector has lanes, turned by whole squares
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

from fastconv.kernels.jit import Kernel, compiled, element, inlined
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.costs import Candidate
from fastconv.kernels.simd.engine.sizes import Axes, axes, reader, written
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.kernels.simd.pools import reductions
from fastconv.kernels.simd.pools.bounds import Window, Windows, lifted, span
from fastconv.kernels.simd.pools.cells import Source, one_reducer
from fastconv.kernels.simd.pools.launches import Launch
from fastconv.machine import Machine
from fastconv.problem.pools import PoolGeometry

pointer = vector.pointer


class Sizes(NamedTuple):
    """The sizes of a call.

    Attributes
    ----------
    planes : int
        Of all images.
    cells, outputs, dilation : Axes
        Of a plane, and cells from tap to tap.
    windows : Windows
        Of all outputs.
    deep, band, most : int
        Whether bands are of depths, not of rows; output rows of a band, and cells that its windows lie in at most.
    """

    planes: int
    cells: Axes
    outputs: Axes
    dilation: Axes
    windows: Windows
    deep: int
    band: int
    most: int


class Band(NamedTuple):
    """Output rows first .. last - 1 of a vector of planes, and the cells begin .. end - 1 that their windows lie in."""

    plane: int
    first: int
    last: int
    begin: int
    end: int


class Parts(NamedTuple):
    """Of a band: cells and results."""

    cells: int
    results: int


read, carve = reader(Sizes), workspace(Parts)


@compiled
def band_of(item, lanes, s):
    """The band of an item; the last planes may be some of those before them."""
    rows, axis, of_row = s.outputs.h, s.windows.h, s.cells.w
    if s.deep > 0:
        rows, axis, of_row = s.outputs.d, s.windows.d, s.cells.h * s.cells.w
    part, number = divmod(item, -(-rows // s.band))
    first = number * s.band
    last = min(rows, first + s.band)
    top, bottom = span(axis, first).start, span(axis, last - 1).stop
    if axis.taps > 0:  # of dilated windows those at the ends may begin behind others
        top = max(0, first * axis.stride - axis.before)
        bottom = min(axis.cells, (last - 1) * axis.stride - axis.before + (axis.taps - 1) * axis.dilation + 1)
    count = s.cells.d * s.cells.h * s.cells.w
    begin = max(0, min(top * of_row, count - lanes))
    return Band(min(part * lanes, s.planes - lanes), first, last, begin, min(count, max(bottom * of_row, begin + lanes)))


@lru_cache(maxsize=8)
def turner(lanes: int) -> Any:
    """The compiled to[i][p] = source[p][i], for `count` cells i, a square or more, of planes that lie `apart`.

    The last square may overlap the one before.
    """

    def turn(source, apart, to, count):
        for begun in range(0, count, lanes):
            i = min(begun, count - lanes)
            vector.store_tile(vector.load_turned(source + i, apart, lanes), to + i * lanes, lanes)

    return inlined(turn)


@lru_cache(maxsize=8)
def returner(lanes: int) -> Any:
    """The compiled to[p][o] = source[o][p], for `count` outputs o of planes that lie `apart`."""

    def turn_back(source, to, apart, count):
        for o in range(0, count, lanes):
            square = vector.load_tile(source + o * lanes, lanes, lanes, 1, lanes)
            vector.store_transposed(square, to + o, apart, min(lanes, count - o), lanes)

    return inlined(turn_back)


@lru_cache(maxsize=32)
def turned_kernel(kind: str, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loop over bands of vectors of planes: f32_max_pool_turned_avx512."""
    turn, turn_back, reduce = turner(lanes), returner(lanes), one_reducer(kind, lanes, dtype, True)

    def pool(begin, end, x, y, sizes, divisors, initial):
        """y[p, o] = leave(the sum, or the best, of x[p, i] over the cells i of window o)"""
        s, real = read(sizes), divisors.dtype.type
        count, outputs = s.cells.d * s.cells.h * s.cells.w, s.outputs.d * s.outputs.h * s.outputs.w
        of_row = s.outputs.h * s.outputs.w if s.deep > 0 else s.outputs.w
        work, memory = carve(Parts(cells=max(s.most, lanes) * lanes, results=(s.band * of_row + lanes) * lanes), divisors)
        strides = Axes(s.cells.h * s.cells.w * lanes, s.cells.w * lanes, lanes)
        for item in range(begin, end):
            band = band_of(item, lanes, s)
            turn(pointer(x) + (band.plane * count + band.begin), count, work.cells, band.end - band.begin)
            source, to = Source(work.cells + -band.begin * lanes, strides, s.dilation), work.results
            first_d, last_d, first_h, last_h = 0, 1, band.first, band.last
            if s.deep > 0:
                first_d, last_d, first_h, last_h = band.first, band.last, 0, s.outputs.h
            for i in range(first_d, last_d):
                d = span(s.windows.d, i)
                for j in range(first_h, last_h):
                    h = span(s.windows.h, j)
                    for k in range(s.outputs.w):
                        window = Window(d, h, span(s.windows.w, k))
                        divisor = vector.splat(real(window.w.count) * real(d.count * h.count), lanes)
                        reduce(source, to, window, divisor, lanes, initial)
                        to = to + lanes
            found = (band.last - band.first) * of_row
            turn_back(work.results, pointer(y) + (band.plane * outputs + band.first * of_row), outputs, found)
        keep(memory)

    pool.__name__ = f"{dtype}_{kind}_pool_turned_{isa}"
    return Kernel(pool)


# Decisions --------------------------------------------------------------------------------------------------------------

SHARE = 4  # of the L2 cache: what cells and results of a band take at most, but for those of one row


def candidates(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> Iterator[Candidate]:
    """The kernel, where planes are many and small."""
    if suits(geometry, dtype, machine):
        yield Candidate(seconds(geometry, dtype, machine), None, partial(launch, geometry, dtype, machine))


def suits(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> bool:
    """Whether planes fill a vector, their cells a square of it, and those of a row of outputs less than the L2 cache."""
    g, lanes = geometry, machine.lanes(dtype)
    return bool(
        dtype.kind == "f"
        and not g.return_indices
        and reductions.rows_are_lines(g)
        and g.batch * g.channels >= lanes <= prod(g.in_size)
        and prod(g.out_size) > 0
        and cells_of_band(g, 1) * lanes * dtype.itemsize <= machine.l2
    )


def banded_axis(geometry: PoolGeometry) -> int:
    """The axis of three whose outputs make bands: the rows, or a volume's depths."""
    return 0 if geometry.rank > 2 else 1


def cells_of_band(geometry: PoolGeometry, rows: int) -> int:
    """Cells that the windows of so many rows of outputs, or depths, lie in at most, and the outputs."""
    t, banded = lifted(geometry), banded_axis(geometry)
    axis = t.windows[banded]
    reach = (rows - 1) * axis.stride + (axis.taps - 1) * axis.dilation + 1
    if axis.taps == 0:
        reach = rows * axis.stride + 2 + rows * axis.rest // axis.outputs
    return max(1, min(reach, axis.cells)) * prod(t.in_size[banded + 1 :]) + rows * prod(t.out_size[banded + 1 :])


def band_of_rows(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> int:
    """As many output rows, cut evenly, as a band holds: one at least."""
    rows = lifted(geometry).out_size[banded_axis(geometry)]
    room = machine.l2 // SHARE // dtype.itemsize // machine.lanes(dtype)
    most, over = 1, rows + 1
    while over - most > 1:
        middle = (most + over) // 2
        most, over = (middle, over) if cells_of_band(geometry, middle) <= room else (most, middle)
    return -(-rows // -(-rows // most))


def seconds(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Squares turned, and for each window some cycles, some more for each row of it, and one or two a cell."""
    g, lanes, band = geometry, machine.lanes(dtype), band_of_rows(geometry, dtype, machine)
    rows, outputs = lifted(g).out_size[banded_axis(g)], prod(g.out_size)
    squares = -(-rows // band) * -(-cells_of_band(g, band) // lanes)
    rows_of_windows = outputs if g.adaptive else outputs * (g.taps // g.kernel[-1])
    of_windows = 12 * outputs + 7 * max(3 * outputs, rows_of_windows) + 1.5 * cells_of_windows(g)
    cycles = 4.0 * lanes * squares + 6.0 * lanes * -(-outputs // lanes) + of_windows
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
    planes, banded, band = g.batch * g.channels, banded_axis(g), band_of_rows(g, dtype, machine)
    plane = axes(t.in_size), axes(t.out_size), axes(t.dilation)
    sizes = written(Sizes(planes, *plane, t.windows, 1 - banded, band, cells_of_band(g, band)))
    kernel, initial = turned_kernel(kind, lanes, element(dtype), machine.isa), reductions.initial(kind, dtype)
    return Launch(
        kernel, -(-planes // lanes) * -(-t.out_size[banded] // band), 8 * g.flops // lanes, (sizes, np.empty(0, dtype), initial)
    )
