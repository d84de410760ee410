"""Convolutions and transposed convolutions: one output after the other, each the sum of its products."""

from math import gcd, prod

import numpy as np

from fastconv.kernels.activations import activated, codes
from fastconv.kernels.jit import Kernel, compiled
from fastconv.kernels.loops.cells import strides, tap_cell
from fastconv.problem.convolutions import Array
from fastconv.problem.problem import Operands, Problem


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
