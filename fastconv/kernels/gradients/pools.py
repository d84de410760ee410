"""Gradients of pools by their input, compiled, parallel over planes or blocks of channels.

Channels first, an item is a plane. Channels last, it is a block of the channels of an image, which lie together in memory: each cell of
a window is a short vector of them. No item writes what another one writes, and each adds in one order.
"""

from math import prod

import numpy as np

from fastconv.kernels.jit import Kernel
from fastconv.kernels.loops import span, strides
from fastconv.problem import convolutions as sizes
from fastconv.problem.convolutions import Array
from fastconv.problem.gradients import PoolGradient, ScatterGradient
from fastconv.problem.pools import WHOLE
from fastconv.problem.problem import Operands, Problem

TOGETHER = 32  # channels, side by side, of an item

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
            for cell in range(source, source + cells_in):
                dx[to + indices[cell]] += dy[cell]
            continue
        for cell in range(cells_out):
            dx[to + cell * together + first : to + cell * together + last] = zero
        for cell in range(cells_in):
            for plane in range(first, last):
                at = source + cell * together + plane
                dx[to + indices[at] * together + plane] += dy[at]


def run_scatter(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """Each value is added to the cell that its index names."""
    g: ScatterGradient = problem.geometry
    together = g.channels if g.channels_last else 1
    block = min(together, TOGETHER)
    scatter(
        g.batch * g.channels // together * -(-together // block),
        g.flops,
        operands["dy"].reshape(-1),
        operands["indices"].reshape(-1),
        out.reshape(-1),
        prod(g.pooled_size),
        prod(g.in_size),
        together,
        block,
    )


# Averages ---------------------------------------------------------------------------------------------------------------


@Kernel
def average_planes(begin, end, dy, dx, axes):
    """dx[plane, cells of o] += dy[plane, o] / divisor; a row of outputs is spread along the width once, then added to rows"""
    depth, height, width = axes
    zero = dx.dtype.type(0)
    one = dx.dtype.type(1)
    spread = np.zeros(width.cells, dx.dtype)
    w_last = width.cells
    cells_in, cells_out = depth.cells * height.cells * w_last, depth.outputs * height.outputs * width.outputs
    for plane in range(begin, end):
        to, source = plane * cells_in, plane * cells_out
        dx[to : to + cells_in] = zero
        for d in range(depth.outputs):
            ds = span(depth, d)
            for h in range(height.outputs):
                hs = span(height, h)
                spread[:] = zero
                outer = ds.count * hs.count
                before, share = 0, zero
                for o in range(width.outputs):
                    ws = span(width, o)
                    divisor = outer * ws.count
                    if divisor != before:
                        before, share = divisor, one / dx.dtype.type(divisor)
                    value = dy[source] * share
                    source += 1
                    for k in range(ws.start, ws.stop, width.dilation):
                        spread[k] += value
                for i in range(ds.start, ds.stop, depth.dilation):
                    for j in range(hs.start, hs.stop, height.dilation):
                        at = to + (i * height.cells + j) * w_last
                        for k in range(w_last):
                            dx[at + k] += spread[k]


@Kernel
def average_channels(begin, end, dy, dx, axes, channels, block):
    """dx[n, cells of o, c] += dy[n, o, c] / divisor for a block of channels"""
    depth, height, width = axes
    zero = dx.dtype.type(0)
    one = dx.dtype.type(1)
    blocks = -(-channels // block)
    cells_in, cells_out = depth.cells * height.cells * width.cells, depth.outputs * height.outputs * width.outputs
    for item in range(begin, end):
        n, part = divmod(item, blocks)
        first = part * block
        count = min(block, channels - first)
        to, source = n * cells_in * channels + first, n * cells_out * channels + first
        for cell in range(cells_in):
            dx[to + cell * channels : to + cell * channels + count] = zero
        for d in range(depth.outputs):
            ds = span(depth, d)
            for h in range(height.outputs):
                hs = span(height, h)
                for o in range(width.outputs):
                    ws = span(width, o)
                    share = one / dx.dtype.type(ds.count * hs.count * ws.count)
                    for i in range(ds.start, ds.stop, depth.dilation):
                        for j in range(hs.start, hs.stop, height.dilation):
                            for k in range(ws.start, ws.stop, width.dilation):
                                at = to + ((i * height.cells + j) * width.cells + k) * channels
                                for c in range(count):
                                    dx[at + c] += dy[source + c] * share
                    source += channels


def lifted_axes(gradient: PoolGradient):
    """The windows of three axes: those of one cell come first."""
    g = gradient.forward
    return (WHOLE,) * (sizes.SPATIAL_AXES - g.rank) + g.axes


def run_average(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """Every output's share goes to all cells of its window."""
    g, axes = problem.geometry.forward, lifted_axes(problem.geometry)
    dy, dx = operands["dy"].reshape(-1), out.reshape(-1)
    if g.channels_last and g.channels > 1:
        block = min(g.channels, 4 * TOGETHER)
        average_channels(g.batch * -(-g.channels // block), g.flops + out.size, dy, dx, axes, g.channels, block)
    else:
        average_planes(g.batch * g.channels, g.flops + out.size, dy, dx, axes)


# Norms ------------------------------------------------------------------------------------------------------------------


@Kernel
def norm(begin, end, x, y, dy, dx, xs, ys, axes, channels, p):
    """dx[cell] += dy[o] * sign(x) * (|x[cell]| / y[o]) ** (p - 1); of an infinite p, shared where |x| is y"""
    depth, height, width = axes
    zero, one, two = dx.dtype.type(0), dx.dtype.type(1), dx.dtype.type(2)
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
                                elif p == two:
                                    slope = element / size
                                elif element == zero:
                                    slope = zero
                                else:
                                    slope = (abs(element) / size) ** (p - one)
                                    slope = slope if element > zero else -slope
                                dx[cell] += value * slope


def run_norm(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """The gradient of an Lp pool."""
    g, axes = problem.geometry.forward, lifted_axes(problem.geometry)
    arrays = (operands["x"].reshape(-1), operands["y"].reshape(-1), operands["dy"].reshape(-1), out.reshape(-1))
    p = out.dtype.type(g.norm_type)
    work = (8 if g.norm_type != 2 else 2) * g.flops + out.size
    norm(g.batch * g.channels, work, *arrays, strides(g, out), strides(g, operands["dy"]), axes, g.channels, p)
