"""Averages' gradients by their input: each value, over its divisor, goes to all cells of its window.

A row of values is spread along the width, then added to the rows of its windows.
"""

from math import prod

import numpy as np

from fastconv.kernels.gradients.cells import block_of, clear_cells
from fastconv.kernels.jit import Kernel, compiled
from fastconv.kernels.loops.cells import span
from fastconv.problem.convolutions import Array
from fastconv.problem.gradients import PoolGradient
from fastconv.problem.pools import Axis
from fastconv.problem.pools import span as window_of
from fastconv.problem.problem import Operands, Problem

ROW = 1 << 12  # values of a row of cells and channels that stay in the cache


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


@compiled
def scaled_row(values, dy, source, shares, together, count):
    """values[o * count + c] = dy[source + o * together + c] * shares[o * count + c]"""
    if count == together:
        line = dy[source : source + len(values)]
        for k in range(len(values)):
            values[k] = line[k] * shares[k]
        return
    for o in range(len(values) // count):
        for c in range(count):
            values[o * count + c] = dy[source + o * together + c] * shares[o * count]


@compiled
def put_row(dx, at, row, together, count, adds):
    """dx[at + k * together + c] = row[k * count + c], or += that"""
    if count == together:
        cells = dx[at : at + len(row)]
        if adds:
            for k in range(len(row)):
                cells[k] += row[k]
        else:
            for k in range(len(row)):
                cells[k] = row[k]
        return
    for k in range(len(row) // count):
        cells, part = dx[at + k * together : at + k * together + count], row[k * count : k * count + count]
        for c in range(count):
            cells[c] = cells[c] + part[c] if adds else part[c]


@Kernel
def average_planes(begin, end, dy, dx, axes):
    """dx[n, cells of o] += dy[n, o] / divisor, of planes that lie by themselves

    Short rows: a cleared plane that is added to takes less time than to ask what was reached before.
    """
    depth, height, width = axes
    zero, one = dx.dtype.type(0), dx.dtype.type(1)
    cells_in, cells_out = depth.cells * height.cells * width.cells, depth.outputs * height.outputs * width.outputs
    shares, values = np.empty(width.outputs, dx.dtype), np.empty(width.outputs, dx.dtype)
    row = np.empty(width.cells, dx.dtype)
    for item in range(begin, end):
        to, source, before = item * cells_in, item * cells_out, 0
        dx[to : to + cells_in] = zero
        for d in range(depth.outputs):
            ds = span(depth, d)
            for h in range(height.outputs):
                hs = span(height, h)
                outer = ds.count * hs.count
                if outer != before:
                    before = outer
                    for o in range(width.outputs):
                        shares[o] = one / dx.dtype.type(outer * span(width, o).count)
                line = dy[source : source + width.outputs]
                for o in range(len(line)):
                    values[o] = line[o] * shares[o]
                source += width.outputs
                spread_row(row, values, width, 1)
                for i in range(ds.start, ds.stop, depth.dilation):
                    for j in range(hs.start, hs.stop, height.dilation):
                        at = to + (i * height.cells + j) * width.cells
                        cells = dx[at : at + width.cells]
                        for k in range(len(cells)):
                            cells[k] += row[k]


@Kernel
def average(begin, end, dy, dx, axes, together, block):
    """dx[n, cells of o, c] += dy[n, o, c] / divisor; `together` channels lie side by side, `block` of them are an item

    A row of outputs is spread along the width once, then added to the rows of its windows; the first that reaches a row is
    written there. With a dilation, rows are reached in no order: all are cleared before.
    """
    depth, height, width = axes
    one = dx.dtype.type(1)
    blocks = -(-together // block)
    plane = height.cells * width.cells
    cells_in, cells_out = depth.cells * plane, depth.outputs * height.outputs * width.outputs
    in_order = depth.dilation == 1 and height.dilation == 1
    shares_of, values_of = np.empty(width.outputs * block, dx.dtype), np.empty(width.outputs * block, dx.dtype)
    spread_of = np.empty(width.cells * block, dx.dtype)
    for item in range(begin, end):
        group, part = divmod(item, blocks)
        first = part * block
        count = min(block, together - first)
        to, source = group * cells_in * together + first, group * cells_out * together + first
        shares, values, row = (
            shares_of[: width.outputs * count],
            values_of[: width.outputs * count],
            spread_of[: width.cells * count],
        )
        planes_done, before = 0, 0
        if not in_order:
            clear_cells(dx, to, 0, cells_in, together, count)
            planes_done = depth.cells
        for d in range(depth.outputs):
            ds = span(depth, d)
            fresh, rows_done = max(planes_done, min(ds.start, depth.cells)), 0
            clear_cells(dx, to, planes_done * plane, fresh * plane, together, count)
            for h in range(height.outputs):
                hs = span(height, h)
                outer = ds.count * hs.count
                if outer != before:
                    before = outer
                    for o in range(width.outputs):
                        shares[o * count : o * count + count] = one / dx.dtype.type(outer * span(width, o).count)
                scaled_row(values, dy, source, shares, together, count)
                source += width.outputs * together
                spread_row(row, values, width, count)
                for i in range(ds.start, ds.stop, depth.dilation):
                    start = to + i * plane * together
                    if i >= fresh:
                        skipped = min(hs.start, height.cells)
                        clear_cells(dx, start, rows_done * width.cells, skipped * width.cells, together, count)
                    for j in range(hs.start, hs.stop, height.dilation):
                        put_row(dx, start + j * width.cells * together, row, together, count, i < fresh or j < rows_done)
                rows_done = max(rows_done, hs.stop)
            for i in range(fresh, ds.stop):
                clear_cells(dx, to + i * plane * together, rows_done * width.cells, plane, together, count)
            planes_done = max(planes_done, ds.stop)
        clear_cells(dx, to, planes_done * plane, cells_in, together, count)


def is_one_window(axes: tuple[Axis, ...]) -> bool:
    """Whether all cells of a plane lie in its only window."""
    ends = ((axis, *window_of(axis, 0)[:2]) for axis in axes if axis.outputs == 1)
    whole = [axis.dilation == 1 and (start, stop) == (0, axis.cells) for axis, start, stop in ends]
    return len(whole) == len(axes) and all(whole)


def spread(gradient: PoolGradient, values: Array, out: Array, axes: tuple[Axis, ...]) -> None:
    """out[cell] = the sum of the values, each over its divisor, of the windows that hold it."""
    g = gradient.forward
    if is_one_window(axes):
        share = out.dtype.type(1) / out.dtype.type(prod(window_of(axis, 0).count for axis in axes))
        with np.errstate(all="ignore"):
            out[...] = values * share + out.dtype.type(0)  # as the kernel adds to a zero, which has no sign
        return
    if not g.channels_last:
        average_planes(g.batch * g.channels, g.flops + out.size, values.reshape(-1), out.reshape(-1), axes)
        return
    together = g.channels
    block = min(block_of(together, g.batch * g.channels // together), max(1, ROW // max(1, g.in_size[-1])))
    items = g.batch * g.channels // together * -(-together // block)
    average(items, g.flops + out.size, values.reshape(-1), out.reshape(-1), axes, together, block)


def run_average(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """Every output's share goes to all cells of its window."""
    spread(problem.geometry, operands["dy"], out, problem.geometry.lifted_axes)
