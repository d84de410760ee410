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

TOGETHER = 32  # channels, side by side, of an item
ROW = 1 << 14  # values of a row of cells and channels that stay in the cache

# By indices -------------------------------------------------------------------------------------------------------------


@Kernel
def scatter(begin, end, dy, indices, dx, cells_in, cells_out, together, block):
    """dx[plane][index] += dy[plane][position]; `together` planes lie side by side, `block` are an item"""
    blocks = -(-together // block)
    zero = dx.dtype.type(0)
    for item in range(begin, end):
        group, part = divmod(item, blocks)
        first = part * block
        last = min(first + block, together)
        source, to = group * cells_in * together, group * cells_out * together
        if together == 1:
            dx[to : to + cells_out] = zero
            plane_out, places, values = (
                dx[to : to + cells_out],
                indices[source : source + cells_in],
                dy[source : source + cells_in],
            )
            for cell in range(len(values)):
                plane_out[places[cell]] += values[cell]
            continue
        for cell in range(cells_out):
            dx[to + cell * together + first : to + cell * together + last] = zero
        for cell in range(cells_in):
            for plane in range(first, last):
                at = source + cell * together + plane
                dx[np.uint64(to + plane) + indices[at] * np.uint64(together)] += dy[at]


def run_scatter(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """Each value is added to the cell that its index names."""
    g: ScatterGradient = problem.geometry
    together = g.channels if g.channels_last else 1
    block = min(together, TOGETHER)
    scatter(
        g.batch * g.channels // together * -(-together // block),
        g.flops,
        operands["dy"].reshape(-1),
        operands["indices"].reshape(-1).view(np.uint64),  # which Numba need not compare with zero
        out.reshape(-1),
        prod(g.pooled_size),
        prod(g.in_size),
        together,
        block,
    )


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


@Kernel
def average(begin, end, dy, dx, axes, together, block):
    """dx[n, cells of o, c] += dy[n, o, c] / divisor; `together` channels lie side by side, `block` of them are an item

    A row of outputs is spread along the width once, then added to the rows of its windows.
    """
    depth, height, width = axes
    zero, one = dx.dtype.type(0), dx.dtype.type(1)
    blocks = -(-together // block)
    cells_in, cells_out = depth.cells * height.cells * width.cells, depth.outputs * height.outputs * width.outputs
    shares = np.empty(width.outputs * block, dx.dtype)
    values = np.empty(width.outputs * block, dx.dtype)
    spread = np.empty(width.cells * block, dx.dtype)
    for item in range(begin, end):
        group, part = divmod(item, blocks)
        first = part * block
        count = min(block, together - first)
        to, source = group * cells_in * together + first, group * cells_out * together + first
        if count == together:
            dx[to : to + cells_in * together] = zero
        else:
            for cell in range(cells_in):
                dx[to + cell * together : to + cell * together + count] = zero
        before = 0
        row = spread[: width.cells * count]
        for d in range(depth.outputs):
            ds = span(depth, d)
            for h in range(height.outputs):
                hs = span(height, h)
                outer = ds.count * hs.count
                if outer != before:
                    before = outer
                    for o in range(width.outputs):
                        share = one / dx.dtype.type(outer * span(width, o).count)
                        shares[o * count : o * count + count] = share
                if count == together:
                    line = dy[source : source + width.outputs * count]
                    for o in range(len(line)):
                        values[o] = line[o] * shares[o]
                else:
                    for o in range(width.outputs):
                        for c in range(count):
                            values[o * count + c] = dy[source + o * together + c] * shares[o * count]
                source += width.outputs * together
                spread_row(row, values, width, count)
                for i in range(ds.start, ds.stop, depth.dilation):
                    for j in range(hs.start, hs.stop, height.dilation):
                        at = to + (i * height.cells + j) * width.cells * together
                        if count == together:
                            cells = dx[at : at + width.cells * together]
                            for k in range(len(cells)):
                                cells[k] += row[k]
                        else:
                            for k in range(width.cells):
                                for c in range(count):
                                    dx[at + k * together + c] += row[k * count + c]


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
    block = max(1, min(together, ROW // max(1, g.in_size[-1])))
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
