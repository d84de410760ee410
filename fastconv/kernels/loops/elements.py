"""What moves cells, and activations: the cells under each window, their sums back in the image, every element on its own."""

from math import prod

from fastconv.kernels.activations import activated, codes
from fastconv.kernels.jit import Kernel
from fastconv.kernels.loops.cells import tap_cell
from fastconv.problem.convolutions import Array
from fastconv.problem.problem import Operands, Problem


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
