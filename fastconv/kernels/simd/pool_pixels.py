"""Pools of small windows of stride 1, channels last: what the windows share is found once, in registers.

Vectors lie along the channels. A tile has one vector of several output pixels that follow each other in a row; what their
windows take in of a column of the input is found once, and goes to all windows that the column is in. It serves pixels whose
windows lie inside the plane; those at its edges take in their cells one by one.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from fastconv.kernels.jit import Kernel, element, inlined
from fastconv.kernels.simd import packing, pooling, vector
from fastconv.machine import Machine
from fastconv.pool_geometry import PoolGeometry

poke, pointer = vector.poke, vector.pointer


@lru_cache(maxsize=64)
def kernel(kind: str, pixels: int, taps: tuple[int, int], lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over output rows: f32_max_pool_3x1_3x3_pixels_avx512."""
    (tall, wide), (order, power) = taps, pooling.order_and_power(kind)
    enter, combine, _, leave = pooling.reduction(kind, dtype)
    averages, roots = kind == "avg", order == 0 and power > 1

    def at_the_edge(image, to, rows, columns, row_step, channels, divisor, initial):
        """One output pixel, whose window has these rows and columns."""
        for begun in range(0, channels, lanes):
            c = min(begun, channels - lanes)
            best = vector.splat(initial, lanes)
            for h in range(*rows):
                for w in range(*columns):
                    best = combine(best, enter(vector.load(image + (h * row_step + w * channels + c), lanes)))
            vector.store(to + c, leave(best, vector.splat(divisor, lanes)))

    at_the_edge = inlined(at_the_edge)

    def pool(begin, end, x, y, sizes, bounds, widths, initial):
        channels, rows_in, columns_in = packing.three(sizes, 0)
        rows_out, columns_out, left_pad = packing.three(sizes, 3)
        row_step, of_w = columns_in * channels, 3 + 3 * rows_out
        # Output columns first .. last - 1 have windows without padding on their left and right.
        first, last = left_pad, min(columns_out, columns_in - wide + 1 + left_pad)
        memory = np.ones(pixels + lanes, x.dtype)
        divisors, ones = pointer(memory), pointer(memory) + pixels
        if averages and first < last:
            for i in range(pixels):
                poke(divisors + i, widths[first] * widths.dtype.type(sizes[6]))
        for row in range(begin, end):
            n, h_out = divmod(row, rows_out)
            image, line = pointer(x) + n * rows_in * row_step, pointer(y) + row * columns_out * channels
            h_start, h_stop, h_count = packing.three(bounds, 3 + 3 * h_out)
            whole = h_stop - h_start == tall and last - first >= pixels
            w_out = 0
            while w_out < columns_out:
                if whole and first <= w_out < last:
                    w_out = min(w_out, last - pixels)  # the last tile may overlap the one before
                    source, to = image + (h_start * row_step + (w_out - left_pad) * channels), line + w_out * channels
                    for begun in range(0, channels, lanes):
                        c = min(begun, channels - lanes)
                        tile = vector.reduced_inside(source + c, channels, row_step, pixels, 1, lanes, wide, tall, order, power)
                        if averages:
                            tile = vector.divided_rows(tile, divisors, ones, lanes)
                        elif roots:
                            tile = vector.root(tile, power)
                        vector.store_tile(tile, to + c, channels)
                    w_out += pixels
                    continue
                w_start, w_stop, _ = packing.three(bounds, of_w + 3 * w_out)
                divisor = widths[w_out] * widths.dtype.type(h_count)
                to = line + w_out * channels
                at_the_edge(image, to, (h_start, h_stop), (w_start, w_stop), row_step, channels, divisor, initial)
                w_out += 1
        memory[0] = initial  # pointers do not keep an array alive: its last use does

    pool.__name__ = f"{dtype}_{kind}_pool_{pixels}x1_{tall}x{wide}_pixels_{isa}"
    return Kernel(pool)


# Decisions --------------------------------------------------------------------------------------------------------------

WIDEST = 3  # cells of a window on either axis
PIXELS, FEW = 3, 2  # outputs of a tile; where pixels lie FAR bytes apart, or a multiple, more would share sets of an L1 cache
FAR = 2048


def suits(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> bool:
    """Whether windows are small, share columns, and meet whole vectors of channels."""
    g = geometry
    return bool(
        machine.vector_bytes >= 32
        and dtype.kind == "f"
        and not pooling.rows_are_lines(g)
        and g.channels >= machine.lanes(dtype)
        and g.channels * dtype.itemsize % (2 * FAR)
        and not (g.adaptive or g.return_indices)
        and g.rank == 2
        and 1 < g.kernel[0] == g.kernel[1] <= WIDEST  # the tile is compiled for each window
        and g.stride == g.dilation == (1, 1)
    )


def pixels_for(geometry: PoolGeometry, dtype: np.dtype[Any]) -> int:
    """Outputs of a tile."""
    return PIXELS if geometry.channels * dtype.itemsize % FAR else FEW


def cycles(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Of the cells that all tiles take in."""
    g, pixels, taps = geometry, pixels_for(geometry, dtype), geometry.kernel[0]
    vectors = g.batch * -(-g.channels // machine.lanes(dtype)) * g.out_size[0] * g.out_size[1]
    return 2.7 * vectors / pixels * (pixels + taps - 1) * taps


def launch(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> tuple[Any, ...]:
    """(kernel, items, work, and the arguments after x and y)."""
    g, t, kind = geometry, pooling.tables(geometry, dtype), pooling.kind_of(geometry, dtype)
    whole = 1 if g.divisor_override is not None else g.kernel[0]
    sizes = g.channels, *t.in_size[1:], *t.out_size[1:], t.before[2], whole
    chosen = kernel(kind, pixels_for(g, dtype), t.kernel[1:], machine.lanes(dtype), element(dtype), machine.isa)
    arguments = np.array(sizes, np.int64), t.bounds, t.widths, pooling.initial(kind, dtype)
    return chosen, g.batch * g.out_size[0], 8 * g.flops // machine.lanes(dtype), arguments
