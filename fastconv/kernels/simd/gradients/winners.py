"""Gradients of max, min and rank pools by their input: values go one by one to the cells that won, which were asked for before.

    dx [index [o]] += dy [o]

Cells become zero while the cache is to hold them: those of a plane, or, channels last, those that a row of windows reaches and
the rows before it do not. What lies in no cache, the cells of the next plane or rows, and the values and indices that follow,
is asked for while values are placed; an addition that waits for its cell holds up all behind it.

planes   channels first
rows     channels last; of windows that are not known, all cells become zero before any value is placed
"""

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled, element, flat, inlined
from fastconv.kernels.keeping import remembered
from fastconv.kernels.memory import LINE
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.costs import CALL
from fastconv.kernels.simd.engine.requests import are_waited_for
from fastconv.kernels.simd.engine.sizes import reader, written
from fastconv.kernels.simd.engine.windows import runs
from fastconv.machine import Machine, host
from fastconv.problem import pools
from fastconv.problem.convolutions import SPATIAL_AXES, Array
from fastconv.problem.gradients import ScatterGradient
from fastconv.problem.pools import Axis
from fastconv.problem.problem import Operands, Problem

peek, poke, pointer, prefetch = vector.peek, vector.poke, vector.pointer, vector.prefetch
span = compiled(pools.span)

TOGETHER = 16  # values whose additions are written out
FAR = 512  # values ahead of those that are placed
SHARES = 8  # items that a call should have for its threads, in bands of rows of one image
BAND = 4  # rows of windows of a band, or more, for each that it shares cells with
PARTS = 1024  # values for which a pace tells what is asked for


class PlaneSizes(NamedTuple):
    """Cells of a plane of values and of one of the input; lines of the next plane that PARTS values ask for."""

    cells_in: int
    cells_out: int
    pace: int


class RowSizes(NamedTuple):
    """Windows of three axes, channels that lie side by side, and bands of an image."""

    depth: Axis
    height: Axis
    width: Axis
    channels: int
    bands: int


class Band(NamedTuple):
    """The rows of windows from `first` to before `end` of an image, and the rows of cells that are theirs, likewise."""

    image: int
    first: int
    end: int
    begins: int
    ends: int


class Values(NamedTuple):
    """Where values, their indices and the cells of their plane lie."""

    values: Any
    indices: Any
    cells: Any


class Launch(NamedTuple):
    """A kernel with its sizes and a zero: kernel(items, work, dy, indices, dx, sizes, zero)."""

    kernel: Kernel
    items: int
    work: int
    sizes: Array
    zero: Any

    def run(self, *arrays: Array) -> None:
        """On dy, indices and dx."""
        self.kernel(self.items, self.work, *map(flat, arrays), self.sizes, self.zero)


read_planes, read_rows = reader(PlaneSizes), reader(RowSizes)


# Channels first -------------------------------------------------------------------------------------------------------


@compiled
def place(at, i):
    """Value i of a plane, to its cell."""
    cell = at.cells + peek(at.indices + i)
    poke(cell, peek(cell) + peek(at.values + i))


@lru_cache(maxsize=8)
def asker(itemsize: int) -> Any:
    """The compiled request for TOGETHER values, and for their indices, `far` ahead."""
    values, indices = LINE // itemsize, LINE // 8

    def ask(at, i, far):
        for k in range(0, TOGETHER, values):
            prefetch(at.values + (i + far + k))
        for k in range(0, TOGETHER, indices):
            prefetch(at.indices + (i + far + k))

    return inlined(ask)


@lru_cache(maxsize=8)
def planes(ahead: bool, lanes: int, itemsize: int, dtype: str, isa: str) -> Kernel:
    """The compiled loop over planes: f32_gradient_placed_ahead_avx512."""
    (_, clear_run), ask, line = runs(lanes), asker(itemsize), LINE // itemsize

    def gradient(begin, end, dy, indices, dx, sizes, zero):
        """dx[p, indices[p, o]] += dy[p, o]"""
        s = read_planes(sizes)
        whole = s.cells_in - s.cells_in % TOGETHER
        for plane in range(begin, end):
            first, to = plane * s.cells_in, pointer(dx) + plane * s.cells_out
            at = Values(pointer(dy) + first, pointer(indices) + first, to)
            clear_run(to, zero, s.cells_out)
            asked = 0
            for i in range(0, whole, TOGETHER):
                if ahead:
                    until = i * s.pace // PARTS
                    while asked < until:
                        prefetch(to + (s.cells_out + asked * line))
                        asked += 1
                    ask(at, i, FAR)
                for k in range(TOGETHER):
                    place(at, i + k)
            for i in range(whole, s.cells_in):
                place(at, i)

    gradient.__name__ = f"{dtype}_gradient_placed{'_ahead' * ahead}_{isa}"
    return Kernel(gradient)


# Channels last --------------------------------------------------------------------------------------------------------


@compiled
def place_beside(at, c, channels):
    """The value of channel c, to its cell."""
    cell = at.cells + (peek(at.indices + c) * channels + c)
    poke(cell, peek(cell) + peek(at.values + c))


@compiled
def reach(row, s):
    """The first row of cells that no window of the first rows of windows holds; `row` is the last of these."""
    d, h = divmod(row, s.height.outputs)
    if row == s.depth.outputs * s.height.outputs - 1:
        return s.depth.cells * s.height.cells
    last = max(span(s.depth, d).stop - 1, 0)
    whole = span(s.depth, d - 1).stop * s.height.cells if d > 0 else 0
    return max(whole, last * s.height.cells + span(s.height, h).stop)


@compiled
def band_of(item, s):
    """The band of one item: cells that windows of several bands hold are the first one's."""
    image, number = divmod(item, s.bands)
    stacks = s.depth.outputs * s.height.outputs
    first, end = stacks * number // s.bands, stacks * (number + 1) // s.bands
    return Band(image, first, end, reach(first - 1, s) if first > 0 else 0, reach(end - 1, s))


@lru_cache(maxsize=8)
def rows(ahead: bool, lanes: int, itemsize: int, dtype: str, isa: str) -> Kernel:
    """The compiled loop over bands of images: f32_gradient_placed_ahead_nhwc_avx512."""
    (_, clear_run), ask, line = runs(lanes), asker(itemsize), LINE // itemsize

    @compiled
    def values_of(row, o, band, dy, indices, to, s):
        """The values of the window o of a row of windows."""
        stacks = s.depth.outputs * s.height.outputs
        first = ((band.image * stacks + row) * s.width.outputs + o) * s.channels
        return Values(pointer(dy) + first, pointer(indices) + first, to)

    @compiled
    def place_row(row, cleared, band, dy, indices, to, s):
        """The values of a row of windows all of whose cells are the band's."""
        wide, of_row, whole = s.width.outputs, s.width.cells * s.channels, s.channels - s.channels % TOGETHER
        asked, placed, pace = cleared * of_row, 0, 0
        if ahead:  # of the next image, what its first windows reach
            following = reach(row + 1, s) if row + 1 < s.depth.outputs * s.height.outputs else cleared + s.height.taps
            pace = max(0, following - cleared) * of_row * PARTS // (wide * s.channels)
        for o in range(wide):
            at = values_of(row, o, band, dy, indices, to, s)
            for c in range(0, whole, TOGETHER):
                if ahead:
                    until = cleared * of_row + placed * pace // PARTS
                    while asked < until:
                        prefetch(to + asked)
                        asked += line
                    placed += TOGETHER
                    ask(at, c, wide * s.channels)
                for k in range(TOGETHER):
                    place_beside(at, c + k, s.channels)
            for c in range(whole, s.channels):
                place_beside(at, c, s.channels)

    @compiled
    def place_shared(row, band, dy, indices, to, s):
        """The values of a row of windows whose cells are the band's."""
        begins, ends = band.begins * s.width.cells, band.ends * s.width.cells
        for o in range(s.width.outputs):
            at = values_of(row, o, band, dy, indices, to, s)
            for c in range(s.channels):
                if begins <= peek(at.indices + c) < ends:
                    place_beside(at, c, s.channels)

    def gradient(begin, end, dy, indices, dx, sizes, zero):
        """dx[n, indices[n, o, c], c] += dy[n, o, c]"""
        s = read_rows(sizes)
        stacks, of_row = s.depth.outputs * s.height.outputs, s.width.cells * s.channels
        for item in range(begin, end):
            band = band_of(item, s)
            to, cleared = pointer(dx) + band.image * s.depth.cells * s.height.cells * of_row, band.begins
            row = band.first
            while row < band.end or (row < stacks and span(s.height, row).start < band.ends):
                reached = min(reach(row, s), band.ends)
                if reached > cleared:
                    clear_run(to + cleared * of_row, zero, (reached - cleared) * of_row)
                    cleared = reached
                if s.bands > 1 and (row >= band.end or span(s.height, row).start < band.begins):
                    place_shared(row, band, dy, indices, to, s)
                else:
                    place_row(row, cleared, band, dy, indices, to, s)
                row += 1

    gradient.__name__ = f"{dtype}_gradient_placed{'_ahead' * ahead}_nhwc_{isa}"
    return Kernel(gradient)


# Decisions --------------------------------------------------------------------------------------------------------------


def supports(problem: Problem) -> str | None:
    """Any indices, of values that there are: loops clear what none goes to."""
    g, dtype = problem.geometry, problem.dtype
    if dtype not in (np.float32, np.float64):
        return f"it serves float32 or float64, not {dtype}"
    return None if prod(g.dy_shape) else "it places values, and there are none"


def cost(problem: Problem, machine: Machine) -> float:
    """Cycles of each value, and of each vector that is cleared."""
    g, lanes = problem.geometry, machine.lanes(problem.dtype)
    cycles = (
        2 * prod(g.dy_shape)
        + 1.5 * prod(g.x_shape) / lanes
        + 20 * g.batch * (prod(g.pooled_size) if g.channels_last else g.channels)
    )
    return machine.seconds(CALL + cycles, g.bytes(problem.dtype.itemsize))


def bands_for(g: ScatterGradient) -> int:
    """Bands of an image: several where images are few, and rows of windows in one plane begin one behind the other."""
    if g.windows is None or g.windows[0].outputs > 1:
        return 1
    height = g.windows[1]
    if height.dilation > 1 or (height.taps == 0 and height.rest):
        return 1
    shared = max(0, height.taps - 1) // height.stride  # rows of windows that have cells in another band
    return max(1, min(-(-SHARES // g.batch), height.outputs // (BAND * (1 + shared))))


def anywhere(g: ScatterGradient) -> list[Axis]:
    """Windows of three axes that hold all cells: what is known of indices alone."""
    ones = (1,) * (SPATIAL_AXES - g.rank)
    sizes = zip(ones + g.in_size, ones + g.pooled_size, strict=True)
    return [Axis(cells, outputs, cells, 0, 1, 0, 0, 0, cells, 0) for cells, outputs in sizes]


@remembered
def launch(gradient: ScatterGradient, dtype: np.dtype[Any], machine: Machine) -> Launch:
    """The kernel with its arguments."""
    g, ahead, line = gradient, are_waited_for(gradient.bytes(dtype.itemsize), machine), LINE // dtype.itemsize
    names = ahead, machine.lanes(dtype), dtype.itemsize, element(dtype), machine.isa
    if not g.channels_last:
        cells_in, cells_out = prod(g.pooled_size), prod(g.in_size)
        sizes = written(PlaneSizes(cells_in, cells_out, cells_out * PARTS // (line * cells_in)))
        return Launch(planes(*names), g.batch * g.channels, g.flops, sizes, dtype.type(0))
    bands, (depth, height, width) = bands_for(g), g.windows or anywhere(g)
    sizes = written(RowSizes(depth, height, width, g.channels, bands))
    return Launch(rows(*names), g.batch * bands, g.flops, sizes, dtype.type(0))


def kernel(problem: Problem, machine: Machine) -> str:
    """The name of the kernel that runs."""
    return launch(problem.geometry, problem.dtype, machine).kernel.__name__


def run(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """Each value is added to the cell that its index names."""
    launch(problem.geometry, problem.dtype, host()).run(operands["dy"], operands["indices"], out)
