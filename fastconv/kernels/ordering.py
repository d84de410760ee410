"""Pools whose result is one cell of a window, as loops: ranks, and the largest or smallest cell under a footprint.

Of equal cells the first in row-major order is found. A NaN lies behind all others in order, and wins where an extreme is
sought.
"""

from typing import Any

import numpy as np

from fastconv.kernels.jit import Kernel, compiled
from fastconv.kernels.loops.cells import strides
from fastconv.kernels.loops.pools import run_pool as run_boxes
from fastconv.problem import convolutions as sizes
from fastconv.problem.convolutions import Array
from fastconv.problem.pools import WHOLE, PoolGeometry
from fastconv.problem.problem import Operands, Problem

LARGEST, SMALLEST = -1, -2  # what is sought in the place of a rank


@compiled
def goes_before(a, b):
    """Whether a comes before b in order."""
    return a < b or (b != b and a == a)


@compiled
def selected(cells, count, order):
    """The cell of a place in order among the first `count`, which are permuted: Hoare's algorithm FIND."""
    low, high = 0, count - 1
    while low < high:
        pivot, i, j = cells[(low + high) // 2], low, high
        while i <= j:
            while goes_before(cells[i], pivot):
                i += 1
            while goes_before(pivot, cells[j]):
                j -= 1
            if i <= j:
                cells[i], cells[j] = cells[j], cells[i]
                i, j = i + 1, j - 1
        if order <= j:
            high = j
        elif order >= i:
            low = i
        else:
            break
    return cells[order]


@compiled
def place_of_rank(cells, count, value, order):
    """The first place whose cell is `value`, or the second or a later one, where cells that are equal share the rank."""
    for place in range(count):
        order -= goes_before(cells[place], value)
    for place in range(count):
        if not (goes_before(cells[place], value) or goes_before(value, cells[place])):
            if order == 0:
                return place
            order -= 1
    return -1


@compiled
def place_of_best(cells, count, seek):
    """The first place of the largest or smallest cell, or of a NaN."""
    best = 0
    for place in range(1, count):
        value, other = cells[best], cells[place]
        better = other > value if seek == LARGEST else other < value
        if better or (other != other and value == value):
            best = place
    return best


@compiled
def is_inside(axis, first):
    """Whether a window that begins at a cell lies in the input along an axis."""
    return first >= 0 and first + (axis.taps - 1) * axis.dilation < axis.cells


@Kernel
def found(begin, end, x, y, indices, xs, ys, axes, channels, members, offsets, seek):
    """y[row, :] = the cell of each window that is sought, with its index; rows are n, c, d, h

    `members` are the taps (t, r, s) of a window, and `offsets` of each its elements of x and its cells from the first tap.
    """
    depth, height, width = axes
    cells, order = np.empty(len(members), x.dtype), np.empty(len(members), x.dtype)
    numbers = np.empty(len(members), np.int64)
    for row in range(begin, end):
        rest, h = divmod(row, height.outputs)
        rest, d = divmod(rest, depth.outputs)
        n, c = divmod(rest, channels)
        plane = n * xs[0] + c * xs[1]
        i, j = d * depth.stride - depth.before, h * height.stride - height.before
        inside = is_inside(depth, i) and is_inside(height, j)
        for o in range(width.outputs):
            k, count = o * width.stride - width.before, len(members)
            if inside and is_inside(width, k):
                origin, first = plane + i * xs[2] + j * xs[3] + k * xs[4], (i * height.cells + j) * width.cells + k
                for m in range(count):
                    cells[m], numbers[m] = x[origin + offsets[m, 0]], first + offsets[m, 1]
            else:
                count = 0
                for m in range(len(members)):
                    a = i + members[m, 0] * depth.dilation
                    b = j + members[m, 1] * height.dilation
                    e = k + members[m, 2] * width.dilation
                    if 0 <= a < depth.cells and 0 <= b < height.cells and 0 <= e < width.cells:
                        cells[count] = x[plane + a * xs[2] + b * xs[3] + e * xs[4]]
                        numbers[count] = (a * height.cells + b) * width.cells + e
                        count += 1
            to = n * ys[0] + c * ys[1] + d * ys[2] + h * ys[3] + o * ys[4]
            if seek < 0:
                place = place_of_best(cells, count, seek)
                y[to] = cells[place]
                if len(indices):
                    indices[to] = numbers[place]
                continue
            order[:count] = cells[:count]
            y[to] = selected(order, count, seek)
            if len(indices):
                indices[to] = numbers[place_of_rank(cells, count, y[to], seek)]


def run_pool(operands: Operands, packed: None, problem: Problem, out: Any) -> None:
    """Pools of every kind, with footprints and indices too."""
    x, g = operands["x"], problem.geometry
    if g.kind != "rank" and g.footprint is None:
        run_boxes(operands, packed, problem, out)
        return
    y, indices = out if g.return_indices else (out, np.empty(0, np.int64))
    axes = (WHOLE,) * (sizes.SPATIAL_AXES - g.rank) + g.axes
    xs, members = strides(g, x), taps_of(g)
    steps = members * [axis.dilation for axis in axes]
    offsets = np.stack([steps @ xs[2:], steps @ (axes[1].cells * axes[2].cells, axes[2].cells, 1)], 1)
    seek = {"max": LARGEST, "min": SMALLEST}.get(g.kind, g.order)
    rows = g.batch * g.channels * axes[0].outputs * axes[1].outputs
    arrays = x.reshape(-1), y.reshape(-1), indices.reshape(-1), xs, strides(g, y)
    found(rows, 4 * g.flops, *arrays, axes, g.channels, members, offsets, seek)


def taps_of(geometry: PoolGeometry) -> Array:
    """The taps (t, r, s) of a window that its footprint has."""
    kernel = (1,) * (sizes.SPATIAL_AXES - geometry.rank) + geometry.kernel
    return np.stack(np.unravel_index(geometry.members, kernel), 1)
