"""The definition of correct gradients: loops over single elements, in float64 or wider.

Arrays are read as (n, c, ...) and weights as (k, c, ...), whatever the layout, through views. `dy` is the gradient of the result.
"""

import math
from typing import Any

import numpy as np

from fastconv.kernels.reference import narrowed, positions, widened, window
from fastconv.problem.convolutions import Array, ConvGeometry, Size
from fastconv.problem.gradients import PoolGradient
from fastconv.problem.pools import PoolGeometry, span
from fastconv.problem.problem import Operands, Problem


def weight_cell(x: Array, dy: Array, geometry: ConvGeometry, k: int, c: int, tap: Size) -> Any:
    """The gradient of one weight: the sum over images and positions of the cell under the tap times dy there.

    x and dy are widened, as (n, c, ...). A tap in the border meets the border's value.
    """
    channel = k // geometry.out_per_group * geometry.in_per_group + c
    border = x.dtype.type(geometry.border.value)
    total = x.dtype.type(0)
    for n in range(geometry.batch):
        for position in positions(geometry.out_size):
            cell = geometry.cell(position, tap)
            if cell is not None:
                total = total + x[(n, channel, *cell)] * dy[(n, k, *position)]
            elif border:
                total = total + border * dy[(n, k, *position)]
    return total


def conv_weight(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """dw[k, c, tap], for all of them."""
    geometry, summed = problem.geometry.forward, problem.types.summed
    x, dy = (widened(geometry.channels_first(operands[name]), summed) for name in ("x", "dy"))
    dw = geometry.channels_first(out)
    with np.errstate(over="ignore", invalid="ignore"):
        for k in range(geometry.out_channels):
            for c in range(geometry.in_per_group):
                for tap in positions(geometry.kernel):
                    dw[(k, c, *tap)] = narrowed(weight_cell(x, dy, geometry, k, c, tap), out.dtype)


# Pools ------------------------------------------------------------------------------------------------------------------


def scatter(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """dx[n, c, index] += dy[n, c, position], zero where no index leads."""
    g = problem.geometry
    dy, indices = (g.channels_first(operands[name]) for name in ("dy", "indices"))
    dx, wide = g.channels_first(out), widened(dy)
    with np.errstate(over="ignore", invalid="ignore"):
        for n in range(g.batch):
            for c in range(g.channels):
                total = np.zeros(math.prod(g.in_size), wide.dtype)
                for position in positions(g.pooled_size):
                    total[int(indices[(n, c, *position)])] += wide[(n, c, *position)]
                for cell, value in zip(positions(g.in_size), total, strict=True):
                    dx[(n, c, *cell)] = narrowed(value, out.dtype)


def divisor(geometry: PoolGeometry, position: Size) -> int:
    """What the average of one window divides by."""
    if geometry.divisor_override is not None:
        return geometry.divisor_override
    return math.prod(span(axis, o).count for axis, o in zip(geometry.axes, position, strict=True))


def is_tie(x: Any, y: Any) -> bool:
    """Whether a cell is as large as the largest of its window, or a NaN."""
    return bool(abs(x) == y or x != x)


def norm_slope(x: Any, y: Any, p: Any, ties: int) -> Any:
    """The derivative of a norm y by one of its cells: sign(x) |x|**(p - 1) y**(1 - p); 0 where the norm is.

    Of the largest absolute value, p infinite, the derivative is the sign of a cell that is as large, which `ties` share.
    """
    if y == 0:
        return y * 0
    sign = x - x if x == 0 else np.copysign(type(x)(1), x)
    if np.isinf(p):
        return sign / ties if is_tie(x, y) else x * 0
    if x == 0 and p != 1:
        return x * 0
    return sign * (abs(x) / y) ** (p - 1)


def pool_input(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """dx of an average: dy / divisor into every cell of its window. Of a norm: dy times its slope at each cell."""
    gradient: PoolGradient = problem.geometry
    g = gradient.forward
    wide = {name: widened(g.channels_first(array)) for name, array in operands.items()}
    dx, dy = g.channels_first(out), wide["dy"]
    total = np.zeros(dx.shape, dy.dtype)
    p = dy.dtype.type(g.norm_type)
    with np.errstate(all="ignore"):
        for n in range(g.batch):
            for c in range(g.channels):
                for position in positions(g.out_size):
                    at = (n, c, *position)
                    cells = [(n, c, *cell) for cell in window(g, position) if cell is not None]
                    if g.kind == "avg":
                        for to in cells:
                            total[to] += dy[at] / dy.dtype.type(divisor(g, position))
                        continue
                    x, y = wide["x"], wide["y"][at]
                    ties = sum(is_tie(x[to], y) for to in cells)
                    for to in cells:
                        total[to] += dy[at] * norm_slope(x[to], y, p, ties)
        for index in positions(dx.shape):
            dx[index] = narrowed(total[index], out.dtype)
