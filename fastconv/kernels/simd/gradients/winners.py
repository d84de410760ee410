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
LEAST = 32  # channels of an item
SHARES = 4  # items that a call should have for its threads: to clear some of the channels of each cell takes longer
PARTS = 1024  # values for which a pace tells what is asked for


class PlaneSizes(NamedTuple):
    """Cells of a plane of values and of one of the input; lines of the next plane that PARTS values ask for."""

    cells_in: int
    cells_out: int
    pace: int


class RowSizes(NamedTuple):
    """Windows of three axes, channels that lie side by side, and those of an item at most."""

    depth: Axis
    height: Axis
    width: Axis
    channels: int
    block: int


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


@lru_cache(maxsize=8)
def rows(ahead: bool, lanes: int, itemsize: int, dtype: str, isa: str) -> Kernel:
    """The compiled loop over images and blocks of channels: f32_gradient_placed_ahead_nhwc_avx512."""
    (_, clear_run), ask, line = runs(lanes), asker(itemsize), LINE // itemsize

    @compiled
    def clear(to, begin, end, count, zero, s):
        """The cells of some rows, of an item's channels."""
        wide = s.width.cells
        if count == s.channels:
            clear_run(to + begin * wide * s.channels, zero, (end - begin) * wide * s.channels)
        else:
            for cell in range(begin * wide, end * wide):
                clear_run(to + cell * s.channels, zero, count)

    def gradient(begin, end, dy, indices, dx, sizes, zero):
        """dx[n, indices[n, o, c], c] += dy[n, o, c]"""
        s = read_rows(sizes)
        blocks, wide = -(-s.channels // s.block), s.width.outputs
        stacks, of_row = s.depth.outputs * s.height.outputs, s.width.cells * s.channels
        for item in range(begin, end):
            n, part = divmod(item, blocks)
            channel = part * s.block
            count, cleared = min(s.block, s.channels - channel), 0
            whole = count - count % TOGETHER
            to = pointer(dx) + (n * s.depth.cells * s.height.cells * of_row + channel)
            for row in range(stacks):
                reached = reach(row, s)
                if reached > cleared:
                    clear(to, cleared, reached, count, zero, s)
                    cleared = reached
                asked, placed, pace = cleared * of_row, 0, 0
                if ahead and count == s.channels:  # of the next image, what its first windows reach
                    following = reach(row + 1, s) if row + 1 < stacks else cleared + s.height.taps
                    pace = max(0, following - cleared) * of_row * PARTS // (wide * s.channels)
                for o in range(wide):
                    first = ((n * stacks + row) * wide + o) * s.channels + channel
                    at = Values(pointer(dy) + first, pointer(indices) + first, to)
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
                    for c in range(whole, count):
                        place_beside(at, c, s.channels)

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


def block_for(g: ScatterGradient) -> int:
    """Channels of an item: all, or as many as leave each call some items."""
    block = g.channels
    while block > LEAST and g.batch * -(-g.channels // block) < SHARES:
        block = -(-block // 2)
    return max(1, block)


def anywhere(g: ScatterGradient) -> list[Axis]:
    """Windows of three axes that hold all cells: what is known of indices alone."""
    ones = (1,) * (SPATIAL_AXES - g.rank)
    sizes = zip(ones + g.in_size, ones + g.pooled_size, strict=True)
    return [Axis(cells, outputs, cells, 0, 1, 0, 0, 0, cells, 0) for cells, outputs in sizes]


@remembered
def launch(gradient: ScatterGradient, dtype: np.dtype[Any], machine: Machine) -> Launch:
    """The kernel with its arguments."""
    g, ahead, line = gradient, machine.asks(gradient.bytes(dtype.itemsize)), LINE // dtype.itemsize
    names = ahead, machine.lanes(dtype), dtype.itemsize, element(dtype), machine.isa
    if not g.channels_last:
        cells_in, cells_out = prod(g.pooled_size), prod(g.in_size)
        sizes = written(PlaneSizes(cells_in, cells_out, cells_out * PARTS // (line * cells_in)))
        return Launch(planes(*names), g.batch * g.channels, g.flops, sizes, dtype.type(0))
    block, (depth, height, width) = block_for(g), g.windows or anywhere(g)
    sizes = written(RowSizes(depth, height, width, g.channels, block))
    return Launch(rows(*names), g.batch * -(-g.channels // block), g.flops, sizes, dtype.type(0))


def kernel(problem: Problem, machine: Machine) -> str:
    """The name of the kernel that runs."""
    return launch(problem.geometry, problem.dtype, machine).kernel.__name__


def run(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """Each value is added to the cell that its index names."""
    launch(problem.geometry, problem.dtype, host()).run(operands["dy"], operands["indices"], out)
