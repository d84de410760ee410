"""Pools of boxes: the best cell of a window, averages, norms; and unpooling."""

from math import prod
from typing import Any

import numpy as np

from fastconv.kernels.jit import Kernel, overload, types
from fastconv.kernels.loops.cells import span, strides
from fastconv.problem import convolutions as sizes
from fastconv.problem.convolutions import Array
from fastconv.problem.pools import WHOLE
from fastconv.problem.problem import Operands, Problem

UNPOOLED = 32  # planes side by side that one thread fills at a time


def _best(keep_largest: bool) -> Kernel:
    sign = 1 if keep_largest else -1

    @Kernel
    def best(begin, end, x, y, indices, xs, ys, axes, channels):
        """y[row, :] = the best cell of each window, with its index; rows are n, c, d, h"""
        depth, height, width = axes
        for row in range(begin, end):
            rest, h = divmod(row, height.outputs)
            rest, d = divmod(rest, depth.outputs)
            n, c = divmod(rest, channels)
            ds, hs = span(depth, d), span(height, h)
            for o in range(width.outputs):
                ws, origin = span(width, o), n * xs[0] + c * xs[1]
                index = (ds.start * height.cells + hs.start) * width.cells + ws.start
                value = x[origin + ds.start * xs[2] + hs.start * xs[3] + ws.start * xs[4]]
                for i in range(ds.start, ds.stop, depth.dilation):
                    for j in range(hs.start, hs.stop, height.dilation):
                        for k in range(ws.start, ws.stop, width.dilation):
                            other = x[origin + i * xs[2] + j * xs[3] + k * xs[4]]
                            better = other > value if sign > 0 else other < value
                            if better or (other != other and value == value):
                                value, index = other, (i * height.cells + j) * width.cells + k
                to = n * ys[0] + c * ys[1] + d * ys[2] + h * ys[3] + o * ys[4]
                y[to] = value
                if len(indices):
                    indices[to] = index

    return best


BEST = {"max": _best(keep_largest=True), "min": _best(keep_largest=False)}


@Kernel
def average(begin, end, x, y, xs, ys, axes, channels, zero):
    """y[row, :] = sum of each window / its divisor, in the type of `zero`; rows are n, c, d, h"""
    depth, height, width = axes
    for row in range(begin, end):
        rest, h = divmod(row, height.outputs)
        rest, d = divmod(rest, depth.outputs)
        n, c = divmod(rest, channels)
        ds, hs = span(depth, d), span(height, h)
        for o in range(width.outputs):
            total, ws = zero, span(width, o)
            for i in range(ds.start, ds.stop, depth.dilation):
                for j in range(hs.start, hs.stop, height.dilation):
                    for k in range(ws.start, ws.stop, width.dilation):
                        total += x[n * xs[0] + c * xs[1] + i * xs[2] + j * xs[3] + k * xs[4]]
            divisor = ds.count * hs.count * ws.count
            y[n * ys[0] + c * ys[1] + d * ys[2] + h * ys[3] + o * ys[4]] = quotient(total, divisor)


def quotient(total: Any, divisor: int) -> Any:
    """Total / divisor in the type of `total`, an integer's toward zero; compiled code takes the version of its type."""
    raise NotImplementedError


@overload(quotient)
def _compiled_quotient(total, divisor):
    if not isinstance(total, types.Integer):
        return lambda total, divisor: total / divisor
    if not total.signed:
        return lambda total, divisor: total // np.uint64(divisor) if divisor > 0 else -(total // np.uint64(-divisor))

    def toward_zero(total, divisor):
        if divisor == -1:  # the one quotient that can overflow, which traps
            return -total
        floor = total // divisor
        return floor + 1 if floor < 0 and floor * divisor != total else floor

    return toward_zero


@Kernel
def norm(begin, end, x, y, xs, ys, axes, channels, p, inverse):
    """y[row, :] = (sum of |x|**p) ** (1 / p), or the largest |x| where p is infinite; rows are n, c, d, h"""
    depth, height, width = axes
    for row in range(begin, end):
        rest, h = divmod(row, height.outputs)
        rest, d = divmod(rest, depth.outputs)
        n, c = divmod(rest, channels)
        ds, hs = span(depth, d), span(height, h)
        for o in range(width.outputs):
            total, ws = inverse - inverse, span(width, o)
            for i in range(ds.start, ds.stop, depth.dilation):
                for j in range(hs.start, hs.stop, height.dilation):
                    for k in range(ws.start, ws.stop, width.dilation):
                        value = abs(x[n * xs[0] + c * xs[1] + i * xs[2] + j * xs[3] + k * xs[4]])
                        if inverse != 0:
                            total += value**p
                        elif value > total or value != value:
                            total = value
            y[n * ys[0] + c * ys[1] + d * ys[2] + h * ys[3] + o * ys[4]] = total**inverse if inverse != 0 else total


def run_pool(operands: Operands, packed: None, problem: Problem, out: Any) -> None:
    """Pools of boxes, adaptive ones and those with indices included; kernels/ordering.py has ranks and footprints."""
    x, geometry = operands["x"], problem.geometry
    y, indices = out if geometry.return_indices else (out, np.empty(0, np.int64))
    axes = (WHOLE,) * (sizes.SPATIAL_AXES - geometry.rank) + geometry.axes
    rows = geometry.batch * geometry.channels * axes[0].outputs * axes[1].outputs
    flat, xs, ys = x.reshape(-1), strides(geometry, x), strides(geometry, y)
    if geometry.kind in BEST:
        into = y.reshape(-1), indices.reshape(-1)
        BEST[geometry.kind](rows, geometry.flops, flat, *into, xs, ys, axes, geometry.channels)
    elif geometry.kind == "avg":
        zero = np.zeros((), {"i": np.int64, "u": np.uint64}.get(x.dtype.kind, x.dtype))[()]
        average(rows, geometry.flops, flat, y.reshape(-1), xs, ys, axes, geometry.channels, zero)
    else:
        p = x.dtype.type(geometry.norm_type)
        norm(rows, 8 * geometry.flops, flat, y.reshape(-1), xs, ys, axes, geometry.channels, p, 1 / p)


@Kernel
def unpool(begin, end, x, indices, y, cells_in, cells_out, together, block, zero):
    """y[plane][index] = x[plane][position], zero elsewhere; `together` planes lie side by side, `block` are an item"""
    blocks = -(-together // block)
    for item in range(begin, end):
        group, part = divmod(item, blocks)
        first = part * block
        last = min(first + block, together)
        source, to = group * cells_in * together, group * cells_out * together
        if blocks == 1:
            y[to : to + cells_out * together] = zero
        else:
            for cell in range(cells_out):
                y[to + cell * together + first : to + cell * together + last] = zero
        for cell in range(cells_in):
            for plane in range(first, last):
                at = source + cell * together + plane
                y[to + indices[at] * together + plane] = x[at]


def run_max_unpool(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """Values to the cells that their indices name."""
    values, indices, geometry = operands["x"], operands["indices"], problem.geometry
    together = geometry.channels if geometry.channels_last else 1
    block = min(together, UNPOOLED)
    unpool(
        geometry.batch * geometry.channels // together * -(-together // block),
        out.size,
        values.reshape(-1),
        indices.reshape(-1),
        out.reshape(-1),
        prod(geometry.in_size),
        prod(geometry.out_size),
        together,
        block,
        out.dtype.type(0),
    )
