"""Gradients of pools by their input, compiled, parallel over planes or blocks of channels.

Channels first, an item is a plane. Channels last, it is a block of the channels of an image, which lie together in memory: each
cell of a window is a short vector of them. No item writes what another one writes, and each adds in one order.
"""

from math import prod

import numpy as np

from fastconv.kernels.gradients.averages import spread
from fastconv.kernels.gradients.cells import block_of, clear_cells
from fastconv.kernels.jit import Kernel
from fastconv.kernels.loops.cells import span, strides
from fastconv.problem.convolutions import Array
from fastconv.problem.gradients import PoolGradient, ScatterGradient
from fastconv.problem.pools import Axis
from fastconv.problem.problem import Operands, Problem

# By indices -------------------------------------------------------------------------------------------------------------


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
        cleared, step = np.int64(0), np.uint64(together)
        for first_cell in range(0, cells_in, row):
            last_cell, furthest = min(first_cell + row, cells_in), np.uint64(0)
            for cell in range(first_cell, last_cell):
                places = indices[source + cell * together : source + cell * together + count]
                for plane in range(len(places)):
                    if places[plane] > furthest:
                        furthest = places[plane]
            reached = np.int64(furthest) + 1
            if reached > cleared:
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


def run_euclidean(operands: Operands, gradient: PoolGradient, axes: tuple[Axis, ...], out: Array) -> None:
    """dx = x * the sum of dy / y over the windows of a cell: the norm of p = 2, whose terms share a factor."""
    x, y, dy = (operands[name] for name in ("x", "y", "dy"))
    with np.errstate(all="ignore"):
        shares = np.where(y == 0, 0, dy * (y / y) / y)  # a window that holds an infinity has no gradient
        spread(gradient, shares, out, tuple(axis._replace(fixed=1) for axis in axes))
        np.multiply(out, x, out=out, where=out != 0)  # a cell of no window, which may be infinite, has none either


def run_norm(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """The gradient of an Lp pool."""
    g, axes = problem.geometry.forward, problem.geometry.lifted_axes
    if g.norm_type == 2:
        run_euclidean(operands, problem.geometry, axes, out)
        return
    arrays = (operands["x"].reshape(-1), operands["y"].reshape(-1), operands["dy"].reshape(-1), out.reshape(-1))
    p = out.dtype.type(g.norm_type)
    work = 8 * g.flops + out.size
    norm(g.batch * g.channels, work, *arrays, strides(g, out), strides(g, operands["dy"]), axes, g.channels, p)
