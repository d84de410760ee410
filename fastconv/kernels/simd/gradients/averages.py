"""Gradients of averages by their input, on vectors: a cell takes the values of the windows that hold it, and is written once.

    dx [cell] = sum over the windows o that hold the cell of dy [o] / divisor

gathered   channels last: of each cell the places and shares of its windows, then vectors of channels
doubled    channels first, windows of two columns beside each other: a vector of dy is two of dx
"""

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled, element, inlined
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.costs import CALL
from fastconv.kernels.simd.engine.sizes import reader, written
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.machine import Machine, host
from fastconv.problem import pools
from fastconv.problem.convolutions import Array
from fastconv.problem.gradients import PoolGradient
from fastconv.problem.pools import Axis
from fastconv.problem.problem import Operands, Problem

peek, poke, pointer = vector.peek, vector.poke, vector.pointer
span = compiled(pools.span)

MOST = 32  # windows that hold one cell


class Sizes(NamedTuple):
    """The sizes of a call: windows of three axes, channels that lie side by side, windows of a cell at most."""

    depth: Axis
    height: Axis
    width: Axis
    channels: int
    windows: int


class Shares(NamedTuple):
    """Of the windows of a cell, what each divides by."""

    shares: int


class Tables(NamedTuple):
    """Integers of a thread.

    Attributes
    ----------
    places : int
        Of the windows of a cell, elements from the first value of dy.
    rows, outer : int
        Of the rows of windows of a row of cells, their numbers, and what their depths and heights count.
    first, behind : int
        Of each column of cells, the first window that holds it, and the first behind the last.
    counts : int
        What each column of windows counts.
    """

    places: int
    rows: int
    outer: int
    first: int
    behind: int
    counts: int


class Launch(NamedTuple):
    """A kernel with its sizes: kernel(items, work, dy, dx, sizes, share)."""

    kernel: Kernel
    items: int
    work: int
    sizes: Array
    share: Any


read, carve_shares, carve_tables = reader(Sizes), workspace(Shares), workspace(Tables)


@compiled
def windows_of(axis, cell):
    """(The first window of an axis that holds a cell, the first behind the last); there is no dilation."""
    if axis.taps == 0:
        return cell * axis.outputs // axis.cells, ((cell + 1) * axis.outputs - 1) // axis.cells + 1
    first = -((axis.taps - 1 - cell - axis.before) // axis.stride)
    return max(0, first), min(axis.outputs, (cell + axis.before) // axis.stride + 1)


@compiled
def find_columns(tables, s):
    """The windows of each column of cells, and what each column of windows counts."""
    for k in range(s.width.cells):
        first, behind = windows_of(s.width, k)
        poke(tables.first + k, first)
        poke(tables.behind + k, behind)
    for o in range(s.width.outputs):
        poke(tables.counts + o, span(s.width, o).count)


@compiled
def find_rows(item, tables, s):
    """The rows of windows that hold a row of cells; returns how many."""
    rest, j = divmod(item, s.height.cells)
    n, i = divmod(rest, s.depth.cells)
    (first_d, behind_d), (first_h, behind_h), rows = windows_of(s.depth, i), windows_of(s.height, j), 0
    for d in range(first_d, behind_d):
        for h in range(first_h, behind_h):
            poke(tables.rows + rows, (n * s.depth.outputs + d) * s.height.outputs + h)
            poke(tables.outer + rows, span(s.depth, d).count * span(s.height, h).count)
            rows += 1
    return rows


@lru_cache(maxsize=8)
def gathered(lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loop over rows of cells, channels last: f32_gradient_gathered_avg_avx512."""

    @inlined
    def scale(to, source, share, zero, channels):
        """A cell of one window."""
        whole, none = channels - channels % lanes, vector.splat(zero, lanes)
        for c in range(0, whole, lanes):
            vector.store(to + c, none + vector.scaled(share, vector.load(source + c, lanes)))
        if whole < channels:
            part = vector.load_first(source + whole, channels - whole, lanes)
            vector.store_first(to + whole, none + vector.scaled(share, part), channels - whole)

    @inlined
    def add_up(to, dy, places, shares, count, zero, channels):
        """A cell of several windows, or of none."""
        begun, none = 0, vector.splat(zero, lanes)
        for c in range(0, channels - 4 * lanes + 1, 4 * lanes):
            one, two, three, four = none, none, none, none
            for w in range(count):
                at, share = pointer(dy) + (peek(places + w) + c), peek(shares + w)
                one = one + vector.scaled(share, vector.load(at, lanes))
                two = two + vector.scaled(share, vector.load(at + lanes, lanes))
                three = three + vector.scaled(share, vector.load(at + 2 * lanes, lanes))
                four = four + vector.scaled(share, vector.load(at + 3 * lanes, lanes))
            vector.store(to + c, one)
            vector.store(to + (c + lanes), two)
            vector.store(to + (c + 2 * lanes), three)
            vector.store(to + (c + 3 * lanes), four)
            begun = c + 4 * lanes
        for c in range(begun, channels, lanes):
            total, there = none, min(lanes, channels - c)
            for w in range(count):
                part = vector.load_first(pointer(dy) + (peek(places + w) + c), there, lanes)
                total = total + vector.scaled(peek(shares + w), part)
            vector.store_first(to + c, total, there)

    def average(begin, end, dy, dx, sizes, share):
        """dx[n, cell, c] = sum over windows o of dy[n, o, c] * share of o"""
        s = read(sizes)
        numbers, memory = carve_shares(Shares(shares=s.windows), dy)
        cells, outputs = s.width.cells, s.width.outputs
        tables, integers = carve_tables(Tables(s.windows, s.windows, s.windows, cells, cells, outputs), sizes)
        find_columns(tables, s)
        for item in range(begin, end):
            rows = find_rows(item, tables, s)
            for k in range(cells):
                count = 0
                for r in range(rows):
                    row, outer = peek(tables.rows + r), peek(tables.outer + r)
                    for o in range(peek(tables.first + k), peek(tables.behind + k)):
                        poke(tables.places + count, (row * outputs + o) * s.channels)
                        poke(numbers.shares + count, share / type(share)(outer * peek(tables.counts + o)))
                        count += 1
                to = pointer(dx) + (item * s.width.cells + k) * s.channels
                if count == 1:
                    scale(to, pointer(dy) + peek(tables.places), peek(numbers.shares), share - share, s.channels)
                else:
                    add_up(to, dy, tables.places, numbers.shares, count, share - share, s.channels)
        keep(memory)
        keep(integers)

    average.__name__ = f"{dtype}_gradient_gathered_avg_{isa}"
    return Kernel(average)


@lru_cache(maxsize=8)
def doubled(lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loop over planes, channels first, of windows that lie beside each other: f32_gradient_doubled_avg_avx512."""
    half = lanes // 2

    @compiled
    def double_row(to, source, share, zero, s):
        """A row of dx of a row of dy."""
        outputs = s.width.outputs
        for o in range(0, outputs, half):
            rest = outputs - o
            if rest >= half:
                v = vector.scaled(share, vector.load_first(source + o, half, lanes))
                vector.store(to + 2 * o, vector.dealt(v, 2))
            else:
                v = vector.scaled(share, vector.load_first(source + o, rest, lanes))
                vector.store_first(to + 2 * o, vector.dealt(v, 2), 2 * rest)
        for k in range(2 * outputs, s.width.cells):
            poke(to + k, zero)

    def average(begin, end, dy, dx, sizes, share):
        """dx[plane][d, h, w] = dy[plane][d // taps, h // taps, w // 2] * share"""
        s = read(sizes)
        zero, cells, outputs = share - share, s.width.cells, s.width.outputs
        for plane in range(begin, end):
            for i in range(s.depth.cells):
                for j in range(s.height.cells):
                    to = pointer(dx) + ((plane * s.depth.cells + i) * s.height.cells + j) * cells
                    d, h = i // s.depth.taps, j // s.height.taps
                    if d < s.depth.outputs and h < s.height.outputs:
                        row = ((plane * s.depth.outputs + d) * s.height.outputs + h) * outputs
                        double_row(to, pointer(dy) + row, share, zero, s)
                    else:
                        for k in range(cells):
                            poke(to + k, zero)

    average.__name__ = f"{dtype}_gradient_doubled_avg_{isa}"
    return Kernel(average)


# Decisions --------------------------------------------------------------------------------------------------------------


def divisor(gradient: PoolGradient) -> int | None:
    """What all windows divide by that lie beside each other, two columns wide and without padding; None of others."""
    g = gradient.forward
    if g.adaptive or g.kernel != g.stride or g.kernel[-1] != 2 or any(map(any, g.padding)):
        return None
    if any(outputs * taps > cells for outputs, taps, cells in zip(g.out_size, g.kernel, g.in_size, strict=True)):
        return None
    return g.divisor_override or prod(g.kernel)


def supports(problem: Problem) -> str | None:
    """Channels last without a dilation; channels first, windows beside each other."""
    gradient, dtype = problem.geometry, problem.dtype
    g = gradient.forward
    if dtype not in (np.float32, np.float64):
        return f"its vectors are float32 or float64, not {dtype}"
    if not g.channels_last:
        return None if divisor(gradient) else "channels first it serves windows of two columns beside each other"
    if any(step > 1 for step in g.dilation):
        return f"it serves no dilation, not {g.dilation}"
    if gradient.overlaps > MOST:
        return f"it serves {MOST} windows that hold one cell, not {gradient.overlaps}"
    return None


def cost(problem: Problem, machine: Machine) -> float:
    """Cycles of each cell and window, and of each vector."""
    gradient, lanes = problem.geometry, machine.lanes(problem.dtype)
    g = gradient.forward
    cells = g.batch * prod(g.in_size)
    if g.channels_last:
        windows = 1 + gradient.overlaps / 2 if gradient.overlaps > 1 else 1
        cycles = cells * (10 + 8 * windows + -(-g.channels // lanes) * (2 + 2 * windows))
    else:
        rows = cells * g.channels // max(1, g.in_size[-1])
        cycles = rows * (25 + 6 * -(-g.in_size[-1] // lanes))
    return machine.seconds(CALL + cycles, gradient.bytes(problem.dtype.itemsize))


@remembered
def launch(gradient: PoolGradient, dtype: np.dtype[Any], machine: Machine) -> Launch:
    """What runs."""
    g, lanes, work = gradient.forward, machine.lanes(dtype), max(1, (gradient.flops + prod(gradient.x_shape)) // 4)
    depth, height, width = gradient.lifted_axes
    s = Sizes(depth, height, width, g.channels, max(1, gradient.overlaps))
    names = lanes, element(dtype), machine.isa
    if g.channels_last:
        rows = g.batch * prod(axis.cells for axis in (s.depth, s.height))
        return Launch(gathered(*names), rows, work, written(s), dtype.type(1))
    share = dtype.type(1) / dtype.type(divisor(gradient))
    return Launch(doubled(*names), g.batch * g.channels, work, written(s), share)


def kernel(problem: Problem, machine: Machine) -> str:
    """The name of the kernel that runs."""
    return launch(problem.geometry, problem.dtype, machine).kernel.__name__


def run(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """All cells."""
    made = launch(problem.geometry, problem.dtype, host())
    made.kernel(made.items, made.work, operands["dy"].ravel(), out.reshape(-1), made.sizes, made.share)
