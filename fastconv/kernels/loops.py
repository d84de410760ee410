"""The reference's loops compiled by Numba, parallel over outputs that do not depend on each other.

Arrays are flat and reached by strides, so that both layouts and 1 to 3 axes are one compiled signature a dtype: geometries are
lifted to three axes, and strides are five, in elements, in the order n, c, d, h, w.
"""

from math import gcd, prod
from typing import Any

import numpy as np

from fastconv.kernels.activations import activated, codes
from fastconv.kernels.jit import Kernel, compiled, overload, types
from fastconv.problem import borders, pools
from fastconv.problem import convolutions as sizes
from fastconv.problem.convolutions import Array, ConvGeometry, Size
from fastconv.problem.pools import WHOLE, PoolGeometry, UnpoolGeometry
from fastconv.problem.problem import Operands, Problem

UNPOOLED = 32  # planes side by side that one thread fills at a time
source_cell, span = compiled(borders.source_cell), compiled(pools.span)


def strides(geometry: ConvGeometry | PoolGeometry | UnpoolGeometry, array: Array) -> Size:
    """The strides of a (n, c, ...) view, in elements, lifted to five axes."""
    found = [stride // array.itemsize for stride in geometry.channels_first(array).strides]
    return (*found[:2], *(0,) * (sizes.SPATIAL_AXES - geometry.rank), *found[2:])


# Convolution ------------------------------------------------------------------------------------------------------------


@compiled
def tap_cell(o, tap, size, stride, before, dilation, mode, transposed):
    """The input cell under `tap` of output `o` on one axis, or -1"""
    if not transposed:
        return source_cell(o * stride + tap * dilation - before, size, mode)
    position = o + before - tap * dilation
    if position < 0 or position % stride != 0 or position // stride >= size:
        return -1
    return position // stride


@Kernel
def conv(
    begin, end, x, w, bias, residual, y, xs, ws, ys, in_size, out_size, kernel, stride, before, dilation, channels, border, act
):
    """y[row, :] = act(bias[k] + sum over t r s c of x[n, c, cell] * w[k, c, t, r, s] + residual); rows are n, k, d, h

    Sums have the type of the bias. A cell outside x holds the border's value.
    """
    k_total, c_count, k_count = channels
    mode, value = border
    summed, constant = bias.dtype.type, mode == 5
    for row in range(begin, end):
        rest, h = divmod(row, out_size[1])
        rest, d = divmod(rest, out_size[0])
        n, k = divmod(rest, k_total)
        group = k // k_count
        wk = k * ws[0]
        for o in range(out_size[2]):
            total = bias[k]
            for t in range(kernel[0]):
                cd = tap_cell(d, t, in_size[0], stride[0], before[0], dilation[0], mode, 0)
                if cd < 0 and not constant:
                    continue
                for r in range(kernel[1]):
                    ch = tap_cell(h, r, in_size[1], stride[1], before[1], dilation[1], mode, 0)
                    if ch < 0 and not constant:
                        continue
                    for s in range(kernel[2]):
                        cw = tap_cell(o, s, in_size[2], stride[2], before[2], dilation[2], mode, 0)
                        if cw < 0 and not constant:
                            continue
                        xp = n * xs[0] + group * c_count * xs[1] + cd * xs[2] + ch * xs[3] + cw * xs[4]
                        wp = wk + t * ws[2] + r * ws[3] + s * ws[4]
                        if constant and min(cd, ch, cw) < 0:
                            for c in range(c_count):
                                total += value * summed(w[wp + c * ws[1]])
                            continue
                        for c in range(c_count):
                            total += summed(x[xp + c * xs[1]]) * summed(w[wp + c * ws[1]])
            to = n * ys[0] + k * ys[1] + d * ys[2] + h * ys[3] + o * ys[4]
            if len(residual):
                total += residual[to]
            y[to] = total  # an integer wraps here, before its activation
            y[to] = activated(y[to], act[0], act[1], act[2])


@compiled
def first_tap(o, size, taps, stride, before, dilation, step):
    """The first tap of a transposed convolution over output o on one axis, or `taps`: every `step`-th from there on is another.

    It is looked for cell by cell or tap by tap, whichever are fewer until one must have come.
    """
    position = o + before
    if min(dilation, size) <= min(stride, taps):
        for cell in range(min(size - 1, position // stride), -1, -1):
            rest = position - cell * stride
            tap = rest // dilation
            if tap >= taps:
                return taps
            if tap * dilation == rest:
                return tap
        return taps
    low = max(0, -(((size - 1) * stride - position) // dilation))
    for tap in range(low, min(taps, position // dilation + 1, low + step)):
        if (position - tap * dilation) % stride == 0:
            return tap
    return taps


@compiled
def cell_under(o, tap, stride, before, dilation):
    """The input cell under a tap that lies over output o, below 0 where that is none."""
    return (o + before - tap * dilation) // stride


@Kernel
def conv_transpose(
    begin, end, x, w, bias, residual, y, xs, ws, ys, in_size, out_size, kernel, stride, before, dilation, step, channels, act
):
    """y[row, :] = act(bias[k] + sum over c and the taps t r s over the output of x[n, c, cell] * w[c, k, t, r, s] + residual)

    Rows are n, k, d, h. Sums have the type of the bias.
    """
    k_total, c_count, k_count = channels
    summed = bias.dtype.type
    for row in range(begin, end):
        rest, h = divmod(row, out_size[1])
        rest, d = divmod(rest, out_size[0])
        n, k = divmod(rest, k_total)
        group = k // k_count
        wk = (k - group * k_count) * ws[0] + group * c_count * ws[1]
        t_first = first_tap(d, in_size[0], kernel[0], stride[0], before[0], dilation[0], step[0])
        r_first = first_tap(h, in_size[1], kernel[1], stride[1], before[1], dilation[1], step[1])
        for o in range(out_size[2]):
            total = bias[k]
            s_first = first_tap(o, in_size[2], kernel[2], stride[2], before[2], dilation[2], step[2])
            for t in range(t_first, kernel[0], step[0]):
                cd = cell_under(d, t, stride[0], before[0], dilation[0])
                if cd < 0:
                    break
                for r in range(r_first, kernel[1], step[1]):
                    ch = cell_under(h, r, stride[1], before[1], dilation[1])
                    if ch < 0:
                        break
                    for s in range(s_first, kernel[2], step[2]):
                        cw = cell_under(o, s, stride[2], before[2], dilation[2])
                        if cw < 0:
                            break
                        xp = n * xs[0] + group * c_count * xs[1] + cd * xs[2] + ch * xs[3] + cw * xs[4]
                        wp = wk + t * ws[2] + r * ws[3] + s * ws[4]
                        for c in range(c_count):
                            total += summed(x[xp + c * xs[1]]) * summed(w[wp + c * ws[1]])
            to = n * ys[0] + k * ys[1] + d * ys[2] + h * ys[3] + o * ys[4]
            if len(residual):
                total += residual[to]
            y[to] = total  # an integer wraps here, before its activation
            y[to] = activated(y[to], act[0], act[1], act[2])


def run_conv(operands: Operands, packed: tuple[Array, Array], problem: Problem, out: Array) -> None:
    """Convolutions and transposed convolutions, by every border and group."""
    x, geometry = operands["x"], problem.geometry
    residual = operands["residual"].reshape(-1) if problem.residual else np.empty(0, out.dtype)
    w, bias = packed
    g = geometry.lifted()
    ws = strides(geometry, w)
    arrays = x.reshape(-1), w.reshape(-1), bias, residual, out.reshape(-1), strides(geometry, x)
    before = tuple(before for before, _ in g.padding)
    walk = strides(geometry, out), g.in_size, g.out_size, g.kernel, g.stride, before, g.dilation
    channels, act = (g.out_channels, g.in_per_group, g.out_per_group), codes(geometry.activation, out.dtype)
    rows = g.batch * g.out_channels * g.out_size[0] * g.out_size[1]
    if geometry.transposed:
        step = tuple(one // gcd(one, spread) for one, spread in zip(g.stride, g.dilation, strict=True))
        by_k = (ws[1], ws[0], *ws[2:])
        conv_transpose(rows, g.flops + prod(g.out_shape), *arrays, by_k, *walk, step, channels, act)
    else:
        conv(rows, g.flops, *arrays, ws, *walk, channels, (g.mode, bias.dtype.type(g.border.value)), act)


# Pools ------------------------------------------------------------------------------------------------------------------


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
    """Pools of boxes, adaptive ones and those with indices included; ordering.py has ranks and footprints."""
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


# Windows and elements ---------------------------------------------------------------------------------------------------


@Kernel
def unfold(begin, end, x, y, in_size, out_size, kernel, stride, before, dilation):
    """y[row, :] = x[n, c, cell under the tap] or zero; rows are n, c, t, r, s"""
    positions = out_size[0] * out_size[1] * out_size[2]
    for row in range(begin, end):
        rest, s = divmod(row, kernel[2])
        rest, r = divmod(rest, kernel[1])
        plane, t = divmod(rest, kernel[0])
        to = row * positions
        for d in range(out_size[0]):
            i = tap_cell(d, t, in_size[0], stride[0], before[0], dilation[0], 0, 0)
            for h in range(out_size[1]):
                j = tap_cell(h, r, in_size[1], stride[1], before[1], dilation[1], 0, 0)
                for o in range(out_size[2]):
                    k = tap_cell(o, s, in_size[2], stride[2], before[2], dilation[2], 0, 0)
                    if i < 0 or j < 0 or k < 0:
                        y[to] = 0
                    else:
                        y[to] = x[((plane * in_size[0] + i) * in_size[1] + j) * in_size[2] + k]
                    to += 1


@Kernel
def fold(begin, end, x, y, in_size, out_size, kernel, stride, before, dilation):
    """y[row, :] = sum over taps of x[n, c, tap, position over the cell]; rows are n, c, d, h of the image"""
    for row in range(begin, end):
        rest, h = divmod(row, in_size[1])
        plane, d = divmod(rest, in_size[0])
        for cell in range(in_size[2]):
            total = x.dtype.type(0)
            for t in range(kernel[0]):
                i = tap_cell(d, t, out_size[0], stride[0], before[0], dilation[0], 0, 1)
                for r in range(kernel[1]):
                    j = tap_cell(h, r, out_size[1], stride[1], before[1], dilation[1], 0, 1)
                    for s in range(kernel[2]):
                        k = tap_cell(cell, s, out_size[2], stride[2], before[2], dilation[2], 0, 1)
                        if i >= 0 and j >= 0 and k >= 0:
                            column = ((plane * kernel[0] + t) * kernel[1] + r) * kernel[2] + s
                            total += x[((column * out_size[0] + i) * out_size[1] + j) * out_size[2] + k]
            y[row * in_size[2] + cell] = total


def run_windows(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """unfold, or its adjoint fold."""
    x, geometry = operands["x"], problem.geometry
    plane = geometry.windows.lifted()
    rows = plane.kernel if geometry.operation == "unfold" else plane.in_size[:2]
    kernel = unfold if geometry.operation == "unfold" else fold
    kernel(
        geometry.batch * geometry.channels * prod(rows),
        geometry.flops,
        x.reshape(-1),
        out.reshape(-1),
        plane.in_size,
        plane.out_size,
        plane.kernel,
        plane.stride,
        tuple(before for before, _ in plane.padding),
        plane.dilation,
    )


@Kernel
def elementwise(begin, end, x, y, act):
    """y[i] = act(x[i])"""
    for i in range(begin, end):
        y[i] = activated(x[i], act[0], act[1], act[2])


def run_activation(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """An activation of every element; x and out may be the same array."""
    x, geometry = operands["x"], problem.geometry
    elementwise(x.size, 4 * x.size, x.reshape(-1), out.reshape(-1), codes(geometry.activation, x.dtype))
