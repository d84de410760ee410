"""The reference's loops compiled by Numba, parallel over results that do not depend on each other.

Arrays are flat and reached by strides, five a geometry, in the order n, c, d, h, w, as in kernels/loops.
"""

from fastconv.kernels.jit import Kernel
from fastconv.kernels.loops.cells import strides, tap_cell
from fastconv.problem.convolutions import Array
from fastconv.problem.problem import Operands, Problem


@Kernel
def conv_weight(
    begin, end, x, dy, dw, xs, ys, ws, in_size, out_size, kernel, stride, before, dilation, batch, c_count, k_count, border
):
    """dw[row, :] = sum over n, d, h, o of x[n, c, cell] * dy[n, k, d, h, o]; rows are k, c, t, r

    Sums have the type of the border's value; a row of outputs is summed before it is added.
    """
    mode, value = border
    zero = value - value
    constant = mode == 5
    for row in range(begin, end):
        rest, r = divmod(row, kernel[1])
        rest, t = divmod(rest, kernel[0])
        k, c = divmod(rest, c_count)
        channel = k // k_count * c_count + c
        for s in range(kernel[2]):
            total = zero
            for n in range(batch):
                for d in range(out_size[0]):
                    cd = tap_cell(d, t, in_size[0], stride[0], before[0], dilation[0], mode, 0)
                    if cd < 0 and not constant:
                        continue
                    for h in range(out_size[1]):
                        ch = tap_cell(h, r, in_size[1], stride[1], before[1], dilation[1], mode, 0)
                        if ch < 0 and not constant:
                            continue
                        part = zero
                        xp = n * xs[0] + channel * xs[1] + cd * xs[2] + ch * xs[3]
                        yp = n * ys[0] + k * ys[1] + d * ys[2] + h * ys[3]
                        for o in range(out_size[2]):
                            cw = tap_cell(o, s, in_size[2], stride[2], before[2], dilation[2], mode, 0)
                            if min(cd, ch, cw) >= 0:
                                part += x[xp + cw * xs[4]] * dy[yp + o * ys[4]]
                            elif constant:
                                part += value * dy[yp + o * ys[4]]
                        total += part
            dw[k * ws[0] + c * ws[1] + t * ws[2] + r * ws[3] + s * ws[4]] = total


def run_conv_weight(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """The gradient by the weights, by every border and group."""
    x, dy, geometry = operands["x"], operands["dy"], problem.geometry.forward
    g = geometry.lifted()
    conv_weight(
        g.out_channels * g.in_per_group * g.kernel[0] * g.kernel[1],
        g.flops,
        x.reshape(-1),
        dy.reshape(-1),
        out.reshape(-1),
        strides(geometry, x),
        strides(geometry, dy),
        strides(geometry, out),
        g.in_size,
        g.out_size,
        g.kernel,
        g.stride,
        tuple(before for before, _ in g.padding),
        g.dilation,
        g.batch,
        g.in_per_group,
        g.out_per_group,
        (g.mode, out.dtype.type(g.border.value)),
    )
