"""Max and min pools on vectors that keep the index of each window's best cell, its number in a plane of the input.

As `pool`, with a vector of 32-bit positions beside each vector of values. A cell is better if its value is, or if it is a NaN;
of equal values, and of NaN, the one at the lower position is the first in row-major order, whatever the order in which they are
taken in. A window starts from a value that none is below, at a position beyond all others: no padding stays in it.
"""

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from fastconv.geometry import Array
from fastconv.kernels.jit import Kernel, element, inlined
from fastconv.kernels.simd import packing, pooling, vector
from fastconv.machine import Machine, host
from fastconv.pool_geometry import PoolGeometry

peek, poke, pointer = vector.peek, vector.poke, vector.pointer
BEYOND = np.iinfo(np.int32).max  # a position behind all


@lru_cache(maxsize=2)
def comparisons(kind: str) -> tuple[Any, Any]:
    """The compiled better(a, at_a, b, at_b): whether b is, lane by lane, and of scalars."""

    def larger(a, at_a, b, at_b):
        return vector.larger_first(a, at_a, b, at_b)

    def smaller(a, at_a, b, at_b):
        return vector.smaller_first(a, at_a, b, at_b)

    def larger_of_two(a, at_a, b, at_b):
        if a == b or (a != a and b != b):
            return at_b < at_a
        return b > a or b != b

    def smaller_of_two(a, at_a, b, at_b):
        if a == b or (a != a and b != b):
            return at_b < at_a
        return b < a or b != b

    pair = (larger, larger_of_two) if kind == "max" else (smaller, smaller_of_two)
    return inlined(pair[0]), inlined(pair[1])


@lru_cache(maxsize=16)
def channels_last_kernel(kind: str, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over rows of n, d, h: f32_max_pool_indices_nhwc_avx512."""
    better, _ = comparisons(kind)

    def pool(begin, end, x, y, indices, sizes, bounds, initial):
        channels, depth_in, rows_in = packing.three(sizes, 0)
        columns_in, depth_out, rows_out = packing.three(sizes, 3)
        columns_out, step_d, step_h, step_w, _ = packing.five(sizes, 6)
        of_h, of_w = 3 * depth_out, 3 * (depth_out + rows_out)
        for row in range(begin, end):
            rest, h_out = divmod(row, rows_out)
            n, d_out = divmod(rest, depth_out)
            image = pointer(x) + n * depth_in * rows_in * columns_in * channels
            d_start, d_stop, _ = packing.three(bounds, 3 * d_out)
            h_start, h_stop, _ = packing.three(bounds, of_h + 3 * h_out)
            for w_out in range(columns_out):
                w_start, w_stop, _ = packing.three(bounds, of_w + 3 * w_out)
                for c in range(0, channels, lanes):
                    room = channels - c
                    best, place = vector.splat(initial, lanes), vector.numbered(BEYOND, 0, lanes)
                    for d in range(d_start, d_stop, step_d):
                        for h in range(h_start, h_stop, step_h):
                            first = (d * rows_in + h) * columns_in
                            for w in range(first + w_start, first + w_stop, step_w):
                                source = image + (w * channels + c)
                                whole = room >= lanes
                                value = vector.load(source, lanes) if whole else vector.load_first(source, room, lanes)
                                at = vector.numbered(w, 0, lanes)
                                taken = better(best, place, value, at)
                                best, place = vector.chosen(taken, value, best), vector.chosen(taken, at, place)
                    to = (row * columns_out + w_out) * channels + c
                    vector.store_first(pointer(y) + to, best, room)
                    vector.store_first_wide(pointer(indices) + to, place, room)

    pool.__name__ = f"{dtype}_{kind}_pool_indices_nhwc_{isa}"
    return Kernel(pool)


@lru_cache(maxsize=32)
def channels_first_kernel(stride: int, kind: str, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over rows of n, c, d, h: f32_max_pool_indices_s2_nchw_avx512; s0 has any other stride."""
    better, better_of_two = comparisons(kind)

    def pool(begin, end, x, y, indices, sizes, bounds, initial):
        depth_in, rows_in, columns_in = packing.three(sizes, 0)
        depth_out, rows_out, columns_out = packing.three(sizes, 3)
        step_d, step_h, step_w, taps, before = packing.five(sizes, 6)
        of_h, of_w = 3 * depth_out, 3 * (depth_out + rows_out)
        # Behind the padded row there is room for what a last vector reads and does not use.
        reach = max(before + columns_in, (columns_out - 1) * max(1, stride) + (taps - 1) * step_w + 1) + 3 * lanes
        values, numbers = np.full(reach, initial), np.full(reach, np.int32(BEYOND))
        line, places = pointer(values), pointer(numbers)
        for row in range(begin, end):
            rest, h_out = divmod(row, rows_out)
            plane, d_out = divmod(rest, depth_out)
            image = pointer(x) + plane * depth_in * rows_in * columns_in
            out, out_at = pointer(y) + row * columns_out, pointer(indices) + row * columns_out
            d_start, d_stop, _ = packing.three(bounds, 3 * d_out)
            h_start, h_stop, _ = packing.three(bounds, of_h + 3 * h_out)
            for w in range(0, columns_in, lanes):
                room = columns_in - w
                best, place = vector.splat(initial, lanes), vector.numbered(BEYOND, 0, lanes)
                for d in range(d_start, d_stop, step_d):
                    for h in range(h_start, h_stop, step_h):
                        first = (d * rows_in + h) * columns_in + w
                        if room >= lanes:
                            value = vector.load(image + first, lanes)
                        else:
                            value = vector.load_first(image + first, room, lanes)
                        at = vector.numbered(first, 1, lanes)
                        taken = better(best, place, value, at)
                        best, place = vector.chosen(taken, value, best), vector.chosen(taken, at, place)
                vector.store_first(line + (before + w), best, room)
                vector.store_first(places + (before + w), place, room)
            if stride > 0:
                for w in range(0, columns_out, lanes):
                    best, place = vector.splat(initial, lanes), vector.numbered(BEYOND, 0, lanes)
                    for s in range(taps):
                        first = w * stride + s * step_w
                        value, at = vector.load(line + first, lanes), vector.load(places + first, lanes)
                        if stride == 2:
                            first += lanes
                            value = vector.every_second(value, vector.load(line + first, lanes))
                            at = vector.every_second(at, vector.load(places + first, lanes))
                        taken = better(best, place, value, at)
                        best, place = vector.chosen(taken, value, best), vector.chosen(taken, at, place)
                    vector.store_first(out + w, best, columns_out - w)
                    vector.store_first_wide(out_at + w, place, columns_out - w)
            else:
                for w_out in range(columns_out):
                    w_start, w_stop, _ = packing.three(bounds, of_w + 3 * w_out)
                    chosen = before + w_start
                    for w in range(chosen + step_w, before + w_stop, step_w):
                        a, at_a, b, at_b = peek(line + chosen), peek(places + chosen), peek(line + w), peek(places + w)
                        if better_of_two(a, at_a, b, at_b):
                            chosen = w
                    poke(out + w_out, peek(line + chosen))
                    poke(out_at + w_out, np.int64(peek(places + chosen)))
        values[0], numbers[0] = initial, 0  # pointers do not keep an array alive: their last use does

    pool.__name__ = f"{dtype}_{kind}_pool_indices_s{stride}_nchw_{isa}"
    return Kernel(pool)


# Decisions --------------------------------------------------------------------------------------------------------------


def refusal(geometry: PoolGeometry) -> str | None:
    """Why positions of 32 bits cannot tell the cells of a plane, or None."""
    cells = prod(geometry.in_size)
    return None if cells < BEYOND else f"its indices are below 2**31 - 1, and a plane has {cells} cells"


@lru_cache(maxsize=256)
def launch(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> tuple[Any, ...]:
    """(kernel, items, work, and the arguments after x, y and indices)."""
    g, lanes, t = geometry, machine.lanes(dtype), pooling.tables(geometry, dtype)
    names = g.kind, lanes, element(dtype), machine.isa
    rows, work = g.batch * t.out_size[0] * t.out_size[1], 4 * g.flops // lanes * 4
    tables = t.bounds, pooling.initial(g.kind, dtype)
    if not pooling.rows_are_lines(g):
        sizes = (g.channels, *t.in_size, *t.out_size, *t.dilation, 0)
        return channels_last_kernel(*names), rows, work, (np.array(sizes, np.int64), *tables)
    stride = 0 if g.adaptive or g.stride[-1] > 2 else g.stride[-1]
    taps, before = (g.kernel[-1], t.before[-1]) if stride else (1, 0)
    sizes = (*t.in_size, *t.out_size, *t.dilation, taps, before)
    return channels_first_kernel(stride, *names), rows * g.channels, work, (np.array(sizes, np.int64), *tables)


def run(x: Array, geometry: PoolGeometry, values: Array, indices: Array) -> None:
    """All rows."""
    kernel, items, work, arguments = launch(geometry, x.dtype, host())
    kernel(items, work, x.reshape(-1), values.reshape(-1), indices.reshape(-1), *arguments)
