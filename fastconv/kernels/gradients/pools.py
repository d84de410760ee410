"""Gradients of pools by their input, compiled, parallel over planes or blocks of channels.

Channels first, an item is a plane. Channels last, it is a block of the channels of an image, which lie together in memory: each
cell of a window is a short vector of them. No item writes what another one writes, and each adds in one order.
"""

from math import prod

import numpy as np

from fastconv.kernels.jit import Kernel, compiled
from fastconv.kernels.loops import span, strides
from fastconv.problem import convolutions as sizes
from fastconv.problem.convolutions import Array
from fastconv.problem.gradients import PoolGradient, ScatterGradient
from fastconv.problem.pools import WHOLE, Axis, PoolGeometry
from fastconv.problem.pools import span as window_of
from fastconv.problem.problem import Operands, Problem

TOGETHER = 32  # channels, side by side, of an item at least
SHARES = 8  # items that a call should have for its threads
ROW = 1 << 14  # values of a row of cells and channels that stay in the cache

# By indices -------------------------------------------------------------------------------------------------------------


@compiled
def clear_cells(dx, to, begin, end, together, count):
    """dx[to + cell * together :][:count] = 0 of the cells begin .. end - 1"""
    zero = dx.dtype.type(0)
    if count == together:
        dx[to + begin * together : to + max(begin, end) * together] = zero
        return
    for cell in range(begin, end):
        dx[to + cell * together : to + cell * together + count] = zero


@Kernel
def scatter(begin, end, dy, indices, dx, cells_in, cells_out, row, together, block):
    """dx[plane][index] += dy[plane][position]; `together` planes lie side by side, `block` are an item

    Cells become zero as the windows of a row of positions reach them: those of an image would leave the cache in between.
    """
    blocks = -(-together // block)
    for item in range(begin, end):
        group, part = divmod(item, blocks)
        first = part * block
        count = min(block, together - first)
        source, to = group * cells_in * together + first, group * cells_out * together + first
        if together == 1:
            clear_cells(dx, to, 0, cells_out, 1, 1)
            plane_out, places, values = (
                dx[to : to + cells_out],
                indices[source : source + cells_in],
                dy[source : source + cells_in],
            )
            for cell in range(len(values)):
                plane_out[places[cell]] += values[cell]
            continue
        cleared, step = 0, np.uint64(together)
        for first_cell in range(0, cells_in, row):
            last_cell, furthest = min(first_cell + row, cells_in), np.uint64(0)
            for cell in range(first_cell, last_cell):
                places = indices[source + cell * together : source + cell * together + count]
                for plane in range(len(places)):
                    furthest = max(furthest, places[plane])
            reached = max(cleared, np.int64(furthest) + 1)
            clear_cells(dx, to, cleared, reached, together, count)
            cleared = reached
            for cell in range(first_cell, last_cell):
                at = source + cell * together
                places, values = indices[at : at + count], dy[at : at + count]
                for plane in range(len(values)):
                    dx[np.uint64(to + plane) + places[plane] * step] += values[plane]
        clear_cells(dx, to, cleared, cells_out, together, count)


def run_scatter(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """Each value is added to the cell that its index names."""
    g: ScatterGradient = problem.geometry
    together = g.channels if g.channels_last else 1
    block = block_of(together, g.batch * g.channels // together)
    scatter(
        g.batch * g.channels // together * -(-together // block),
        g.flops,
        operands["dy"].reshape(-1),
        operands["indices"].reshape(-1).view(np.uint64),  # which Numba need not compare with zero
        out.reshape(-1),
        prod(g.pooled_size),
        prod(g.in_size),
        max(1, g.pooled_size[-1]),
        together,
        block,
    )


def block_of(together: int, groups: int) -> int:
    """Channels, side by side, of an item: all, or as many as leave each call SHARES of them."""
    block = together
    while block > TOGETHER and groups * -(-together // block) < SHARES:
        block = -(-block // 2)
    return max(1, block)


# Averages ---------------------------------------------------------------------------------------------------------------


@compiled
def spread_row(row, values, axis, count):
    """row[cells of o] += values[o], `count` values side by side: tap by tap, or window by window of an adaptive axis"""
    row[:] = 0
    if axis.taps == 0:
        for o in range(axis.outputs):
            cells = span(axis, o)
            for k in range(cells.start, cells.stop):
                for c in range(count):
                    row[k * count + c] += values[o * count + c]
        return
    for tap in range(axis.taps):
        offset = tap * axis.dilation - axis.before
        first = max(0, -(offset // axis.stride))
        last = min(axis.outputs, -((offset - axis.cells) // axis.stride))
        if last <= first:
            continue
        source = values[first * count : last * count]
        begin = (first * axis.stride + offset) * count
        if axis.stride == 1 or count == 1:
            to = row[begin :: axis.stride] if axis.stride > 1 else row[begin:]
            for k in range(len(source)):
                to[k] += source[k]
            continue
        for o in range(last - first):
            to = row[begin + o * axis.stride * count : begin + o * axis.stride * count + count]
            part = source[o * count : o * count + count]
            for c in range(count):
                to[c] += part[c]


@compiled
def scaled_row(values, dy, source, shares, together, count):
    """values[o * count + c] = dy[source + o * together + c] * shares[o * count + c]"""
    if count == together:
        line = dy[source : source + len(values)]
        for k in range(len(values)):
            values[k] = line[k] * shares[k]
        return
    for o in range(len(values) // count):
        for c in range(count):
            values[o * count + c] = dy[source + o * together + c] * shares[o * count]


@compiled
def put_row(dx, at, row, together, count, adds):
    """dx[at + k * together + c] = row[k * count + c], or += that"""
    if count == together:
        cells = dx[at : at + len(row)]
        if adds:
            for k in range(len(row)):
                cells[k] += row[k]
        else:
            for k in range(len(row)):
                cells[k] = row[k]
        return
    for k in range(len(row) // count):
        cells, part = dx[at + k * together : at + k * together + count], row[k * count : k * count + count]
        for c in range(count):
            cells[c] = cells[c] + part[c] if adds else part[c]


@Kernel
def average(begin, end, dy, dx, axes, together, block):
    """dx[n, cells of o, c] += dy[n, o, c] / divisor; `together` channels lie side by side, `block` of them are an item

    A row of outputs is spread along the width once, then added to the rows of its windows; the first that reaches a row is
    written there. With a dilation, rows are reached in no order: all are cleared before.
    """
    depth, height, width = axes
    one = dx.dtype.type(1)
    blocks = -(-together // block)
    plane = height.cells * width.cells
    cells_in, cells_out = depth.cells * plane, depth.outputs * height.outputs * width.outputs
    in_order = depth.dilation == 1 and height.dilation == 1
    shares_of, values_of = np.empty(width.outputs * block, dx.dtype), np.empty(width.outputs * block, dx.dtype)
    spread_of = np.empty(width.cells * block, dx.dtype)
    for item in range(begin, end):
        group, part = divmod(item, blocks)
        first = part * block
        count = min(block, together - first)
        to, source = group * cells_in * together + first, group * cells_out * together + first
        shares, values, row = (
            shares_of[: width.outputs * count],
            values_of[: width.outputs * count],
            spread_of[: width.cells * count],
        )
        planes_done, before = 0, 0
        if not in_order:
            clear_cells(dx, to, 0, cells_in, together, count)
            planes_done = depth.cells
        for d in range(depth.outputs):
            ds = span(depth, d)
            fresh, rows_done = max(planes_done, min(ds.start, depth.cells)), 0
            clear_cells(dx, to, planes_done * plane, fresh * plane, together, count)
            for h in range(height.outputs):
                hs = span(height, h)
                outer = ds.count * hs.count
                if outer != before:
                    before = outer
                    for o in range(width.outputs):
                        shares[o * count : o * count + count] = one / dx.dtype.type(outer * span(width, o).count)
                scaled_row(values, dy, source, shares, together, count)
                source += width.outputs * together
                spread_row(row, values, width, count)
                for i in range(ds.start, ds.stop, depth.dilation):
                    start = to + i * plane * together
                    if i >= fresh:
                        skipped = min(hs.start, height.cells)
                        clear_cells(dx, start, rows_done * width.cells, skipped * width.cells, together, count)
                    for j in range(hs.start, hs.stop, height.dilation):
                        put_row(dx, start + j * width.cells * together, row, together, count, i < fresh or j < rows_done)
                rows_done = max(rows_done, hs.stop)
            for i in range(fresh, ds.stop):
                clear_cells(dx, to + i * plane * together, rows_done * width.cells, plane, together, count)
            planes_done = max(planes_done, ds.stop)
        clear_cells(dx, to, planes_done * plane, cells_in, together, count)


def lifted_axes(gradient: PoolGradient) -> tuple[Axis, ...]:
    """The windows of three axes: those of one cell come first."""
    g = gradient.forward
    return (WHOLE,) * (sizes.SPATIAL_AXES - g.rank) + g.axes


def is_one_window(axes: tuple[Axis, ...]) -> bool:
    """Whether all cells of a plane lie in its only window."""
    ends = ((axis, *window_of(axis, 0)[:2]) for axis in axes if axis.outputs == 1)
    whole = [axis.dilation == 1 and (start, stop) == (0, axis.cells) for axis, start, stop in ends]
    return len(whole) == len(axes) and all(whole)


def spread(g: PoolGeometry, values: Array, out: Array, axes: tuple[Axis, ...]) -> None:
    """out[cell] = the sum of the values, each over its divisor, of the windows that hold it."""
    if is_one_window(axes):
        share = out.dtype.type(1) / out.dtype.type(prod(window_of(axis, 0).count for axis in axes))
        with np.errstate(all="ignore"):
            out[...] = values * share + out.dtype.type(0)  # as the kernel adds to a zero, which has no sign
        return
    together = g.channels if g.channels_last else 1
    block = min(block_of(together, g.batch * g.channels // together), max(1, ROW // max(1, g.in_size[-1])))
    items = g.batch * g.channels // together * -(-together // block)
    average(items, g.flops + out.size, values.reshape(-1), out.reshape(-1), axes, together, block)


def run_average(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """Every output's share goes to all cells of its window."""
    spread(problem.geometry.forward, operands["dy"], out, lifted_axes(problem.geometry))


# Norms ------------------------------------------------------------------------------------------------------------------


@Kernel
def norm(begin, end, x, y, dy, dx, xs, ys, axes, channels, p):
    """dx[cell] += dy[o] * sign(x) * (|x[cell]| / y[o]) ** (p - 1); of an infinite p, shared where |x| is y"""
    depth, height, width = axes
    zero, one = dx.dtype.type(0), dx.dtype.type(1)
    infinite = np.isinf(p)
    for plane in range(begin, end):
        n, c = divmod(plane, channels)
        origin = n * xs[0] + c * xs[1]
        for i in range(depth.cells):
            for j in range(height.cells):
                for k in range(width.cells):
                    dx[origin + i * xs[2] + j * xs[3] + k * xs[4]] = zero
        for d in range(depth.outputs):
            ds = span(depth, d)
            for h in range(height.outputs):
                hs = span(height, h)
                for o in range(width.outputs):
                    ws = span(width, o)
                    at = n * ys[0] + c * ys[1] + d * ys[2] + h * ys[3] + o * ys[4]
                    size, value, ties = y[at], dy[at], zero
                    if infinite:
                        for i in range(ds.start, ds.stop, depth.dilation):
                            for j in range(hs.start, hs.stop, height.dilation):
                                for k in range(ws.start, ws.stop, width.dilation):
                                    element = x[origin + i * xs[2] + j * xs[3] + k * xs[4]]
                                    if abs(element) == size or element != element:
                                        ties += one
                    for i in range(ds.start, ds.stop, depth.dilation):
                        for j in range(hs.start, hs.stop, height.dilation):
                            for k in range(ws.start, ws.stop, width.dilation):
                                cell = origin + i * xs[2] + j * xs[3] + k * xs[4]
                                element = x[cell]
                                if size == zero:
                                    slope = zero
                                elif infinite:
                                    sign = one if element > zero else -one if element < zero else element
                                    slope = sign / ties if abs(element) == size or element != element else zero
                                elif element == zero:
                                    slope = zero
                                else:
                                    slope = (abs(element) / size) ** (p - one)
                                    slope = slope if element > zero else -slope
                                dx[cell] += value * slope


def run_euclidean(operands: Operands, g: PoolGeometry, axes: tuple[Axis, ...], out: Array) -> None:
    """dx = x * the sum of dy / y over the windows of a cell: the norm of p = 2, whose terms share a factor."""
    x, y, dy = (operands[name] for name in ("x", "y", "dy"))
    with np.errstate(all="ignore"):
        shares = np.where(y == 0, 0, dy * (y / y) / y)  # a window that holds an infinity has no gradient
        spread(g, shares, out, tuple(axis._replace(fixed=1) for axis in axes))
        np.multiply(out, x, out=out, where=out != 0)  # a cell of no window, which may be infinite, has none either


def run_norm(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """The gradient of an Lp pool."""
    g, axes = problem.geometry.forward, lifted_axes(problem.geometry)
    if g.norm_type == 2:
        run_euclidean(operands, g, axes, out)
        return
    arrays = (operands["x"].reshape(-1), operands["y"].reshape(-1), operands["dy"].reshape(-1), out.reshape(-1))
    p = out.dtype.type(g.norm_type)
    work = 8 * g.flops + out.size
    norm(g.batch * g.channels, work, *arrays, strides(g, out), strides(g, operands["dy"]), axes, g.channels, p)
