"""Pools of small windows, channels last: what the windows share is found once, in registers.

Vectors lie along the channels. A tile has one vector of several output pixels of a row; what their windows take in of a column
of the input is found once, and goes to all windows that the column is in. Windows of several depths are joined plane by plane,
and where windows are dilated, a tile has the pixels that share columns. It serves pixels whose windows lie inside the plane;
those at its edges take in their cells one by one.
"""

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from fastconv.kernels.jit import Kernel, element, inlined
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import packing
from fastconv.kernels.simd.pools import reductions as pooling
from fastconv.machine import Machine
from fastconv.problem.pools import PoolGeometry

poke, pointer = vector.poke, vector.pointer


@lru_cache(maxsize=64)
def kernel(kind: str, pixels: int, taps: tuple[int, int], stride: int, deep: bool, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over output rows: f32_max_pool_3x1_3x3s1_pixels_avx512; deep ones have windows of several depths."""
    (tall, wide), (order, power) = taps, pooling.order_and_power(kind)
    enter, combine, _, leave, _ = pooling.reduction(kind, dtype)
    averages, roots = kind == "avg", order == 0 and power > 1

    def at_the_edge(image, to, depths, rows, columns, steps, channels, divisor, initial):
        """One output pixel, whose window has these depths, rows and columns, `steps` cells from one to the next."""
        for begun in range(0, channels, lanes):
            c = min(begun, channels - lanes)
            best = vector.splat(initial, lanes)
            for d in range(*depths):
                for h in range(*rows):
                    for w in range(*columns):
                        best = combine(
                            best, enter(vector.load(image + (d * steps[0] + h * steps[1] + w * steps[2] + c), lanes))
                        )
            vector.store(to + c, leave(best, vector.splat(divisor, lanes)))

    at_the_edge = inlined(at_the_edge)

    def pool(begin, end, x, y, sizes, bounds, widths, initial):
        channels, depth_in, rows_in = packing.three(sizes, 0)
        columns_in, depth_out, rows_out = packing.three(sizes, 3)
        columns_out, top_pad, left_pad = packing.three(sizes, 6)
        step_d, step_h, step_w = packing.three(sizes, 9)
        row_step = columns_in * channels
        steps = (rows_in * row_step, row_step, channels)
        of_h, of_w = 3 * depth_out, 3 * (depth_out + rows_out)
        # Output columns first .. last - 1 have windows without padding on their left and right.
        first = min(columns_out, -(-left_pad // stride))
        last = max(first, min(columns_out, (columns_in - 1 - (wide - 1) * step_w + left_pad) // stride + 1))
        memory = np.ones(pixels + lanes, x.dtype)
        divisors, ones = pointer(memory), pointer(memory) + pixels
        for row in range(begin, end):
            plane, h_out = divmod(row, rows_out)
            n, d_out = divmod(plane, depth_out)
            image, line = pointer(x) + n * depth_in * steps[0], pointer(y) + row * columns_out * channels
            d_start, d_stop, d_count = packing.three(bounds, 3 * d_out)
            h_start, h_stop, h_count = packing.three(bounds, of_h + 3 * h_out)
            across, top = widths.dtype.type(d_count * h_count), h_out * stride - top_pad
            whole = top >= 0 and top + (tall - 1) * step_h < rows_in
            if averages and first < last:
                for i in range(pixels):
                    poke(divisors + i, widths[first] * across)
            for residue in range(min(step_w, columns_out)):
                # Of the pixels residue, residue + step_w, ..., those from `inner` to `outer` have whole windows.
                inner = first + (residue - first) % step_w
                outer = inner + ((last - 1 - inner) // step_w - pixels + 1) * step_w
                w_out = residue
                while w_out < columns_out:
                    if whole and inner <= w_out < last and inner <= outer:
                        w_out = min(w_out, outer)  # the last tile may overlap the one before
                        source = image + (d_start * steps[0] + top * row_step + (w_out * stride - left_pad) * channels)
                        to, depths = line + w_out * channels, range(d_start, d_stop, step_d)
                        for begun in range(0, channels, lanes):
                            c = min(begun, channels - lanes)
                            at, across_d, across_h, across_w = (
                                source + c,
                                step_d * steps[0],
                                step_h * row_step,
                                step_w * channels,
                            )
                            if deep:
                                tile = vector.filled(initial, pixels, 1, lanes)
                                for _ in depths:
                                    more = vector.reduced_inside(
                                        at, across_w, across_h, pixels, 1, lanes, wide, tall, stride, 1, order, power
                                    )
                                    tile = vector.joined(tile, more, order)
                                    at = at + across_d
                            else:
                                tile = vector.reduced_inside(
                                    at, across_w, across_h, pixels, 1, lanes, wide, tall, stride, 1, order, power
                                )
                            if averages:
                                tile = vector.divided_rows(tile, divisors, 1, ones, lanes)
                            elif roots:
                                tile = vector.root(tile, power)
                            vector.store_tile(tile, to + c, across_w)
                        w_out += pixels * step_w
                        continue
                    w_start, w_stop, _ = packing.three(bounds, of_w + 3 * w_out)
                    rows, columns = (h_start, h_stop, step_h), (w_start, w_stop, step_w)
                    divisor, to = widths[w_out] * across, line + w_out * channels
                    at_the_edge(image, to, (d_start, d_stop, step_d), rows, columns, steps, channels, divisor, initial)
                    w_out += step_w
        memory[0] = initial  # pointers do not keep an array alive: its last use does

    pool.__name__ = f"{dtype}_{kind}_pool_{pixels}x1_{tall}x{wide}s{stride}{'_deep' if deep else ''}_pixels_{isa}"
    return Kernel(pool)


# Decisions --------------------------------------------------------------------------------------------------------------

WIDEST = 5  # cells of a window on either axis
PIXELS, FEW = 4, 2  # outputs of a tile; where pixels lie FAR bytes apart, or a multiple, more would share sets of an L1 cache
FAR, WIDE = 2048, 1024


def suits(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> bool:
    """Whether windows are small, share columns, and meet whole vectors of channels."""
    g = geometry
    return bool(
        machine.vector_bytes >= 32
        and dtype.kind == "f"
        and not pooling.rows_are_lines(g)
        and g.channels >= machine.lanes(dtype)
        and apart(g, dtype) % (2 * FAR)
        and not (g.adaptive or g.return_indices)
        and g.rank >= 2
        and 1 < g.kernel[-2] == g.kernel[-1] <= WIDEST  # the tile is compiled for each window
        and g.stride[-2] == g.stride[-1] < (g.kernel[-1] if max(g.dilation[-2:]) == 1 else 2)
    )


def apart(geometry: PoolGeometry, dtype: np.dtype[Any]) -> int:
    """Bytes from one column of a window to the next."""
    return geometry.channels * geometry.dilation[-1] * dtype.itemsize


def pixels_for(geometry: PoolGeometry, dtype: np.dtype[Any]) -> int:
    """Outputs of a tile."""
    return PIXELS if apart(geometry, dtype) % FAR else FEW


def cycles(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Of the cells that all tiles take in."""
    g, pixels, taps = geometry, pixels_for(geometry, dtype), geometry.kernel[-1]
    vectors = prod(g.out_shape) // g.channels * -(-g.channels // machine.lanes(dtype)) * prod(g.kernel[:-2])
    # Of more than 3 x 3 cells, those of wide pixels leave the L1 cache before the next tile meets them again.
    longer = 1.0 if taps <= 3 else 0.9 if apart(g, dtype) < WIDE else 1.5
    return 2.7 * longer * vectors / pixels * ((pixels - 1) * g.stride[-1] + taps) * taps


def launch(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> tuple[Any, ...]:
    """(kernel, items, work, and the arguments after x and y)."""
    g, t, kind, lanes = geometry, pooling.tables(geometry, dtype), pooling.kind_of(geometry, dtype), machine.lanes(dtype)
    sizes = g.channels, *t.in_size, *t.out_size, *t.before[1:], *t.dilation
    pixels, deep = pixels_for(g, dtype), g.kernel[0] > 1 and g.rank > 2
    chosen = kernel(kind, pixels, t.kernel[1:], g.stride[-1], deep, lanes, element(dtype), machine.isa)
    arguments = np.array(sizes, np.int64), t.bounds, t.widths, pooling.initial(kind, dtype)
    return chosen, g.batch * t.out_size[0] * t.out_size[1], 8 * g.flops // lanes, arguments
