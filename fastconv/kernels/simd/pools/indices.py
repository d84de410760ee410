"""Max and min pools on vectors that keep the index of each window's best cell, its number in a plane of the input.

As `pool`, with a vector of 32-bit positions beside each vector of values; small windows, channels first, are reduced in
registers, as pool_windows.py does. A cell is better if its value is, or if it is a NaN; of equal values, and of NaN, the one at
the lower position is the first in row-major order, whatever the order in which they are taken in. A window starts from a value
that none is below, at a position beyond all others: no padding stays in it.
"""

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from fastconv.kernels.jit import Kernel, element, inlined
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import packing
from fastconv.kernels.simd.pools import reductions as pooling
from fastconv.kernels.simd.pools import windows as pool_windows
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array
from fastconv.problem.pools import PoolGeometry

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


@lru_cache(maxsize=2)
def quick_comparison(kind: str) -> Any:
    """The compiled beats(b, a): whether b is larger, or smaller, lane by lane."""

    def larger(b, a):
        return vector.above(b, a)

    def smaller(b, a):
        return vector.below(b, a)

    return inlined(larger if kind == "max" else smaller)


@lru_cache(maxsize=16)
def channels_last_kernel(kind: str, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over rows of n, d, h: f32_max_pool_indices_nhwc_avx512."""
    better, _ = comparisons(kind)
    beats = quick_comparison(kind)

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
                to = (row * columns_out + w_out) * channels
                out, out_at = pointer(y) + to, pointer(indices) + to
                c = 0
                while c < channels:
                    room = channels - c
                    # Two vectors at a time, cell after cell, by one comparison: right where no cell is NaN, and one wins.
                    none, nowhere = vector.splat(initial, lanes), vector.numbered(BEYOND, 0, lanes)
                    if room >= 2 * lanes:
                        low, high, low_at, high_at, clean = none, none, nowhere, nowhere, vector.numbers(none)
                        for d in range(d_start, d_stop, step_d):
                            for h in range(h_start, h_stop, step_h):
                                first = (d * rows_in + h) * columns_in
                                for w in range(first + w_start, first + w_stop, step_w):
                                    at = vector.numbered(w, 0, lanes)
                                    value = vector.load(image + (w * channels + c), lanes)
                                    more = vector.load(image + (w * channels + c + lanes), lanes)
                                    taken, clean = beats(value, low), vector.both(clean, vector.numbers(value))
                                    low, low_at = vector.chosen(taken, value, low), vector.chosen(taken, at, low_at)
                                    taken, clean = beats(more, high), vector.both(clean, vector.numbers(more))
                                    high, high_at = vector.chosen(taken, more, high), vector.chosen(taken, at, high_at)
                        found = vector.both(vector.below(low_at, nowhere), vector.below(high_at, nowhere))
                        if vector.first_are_set(vector.both(clean, found), lanes):
                            vector.store(out + c, low)
                            vector.store(out + (c + lanes), high)
                            vector.store_first_wide(out_at + c, low_at, lanes)
                            vector.store_first_wide(out_at + (c + lanes), high_at, lanes)
                            c += 2 * lanes
                            continue
                    best, place = none, nowhere
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
                    vector.store_first(out + c, best, room)
                    vector.store_first_wide(out_at + c, place, room)
                    c += lanes

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


@lru_cache(maxsize=32)
def windows_kernel(kind: str, rows: int, taps: tuple[int, int], stride: int, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over stacks of output rows of a plane: f32_max_pool_indices_4x1_3x3s2_windows_avx512.

    As those of pool_windows.py, for windows that are neither dilated nor of several depths.
    """
    (tall, wide), (order, _) = taps, pooling.order_and_power(kind)

    def pool(begin, end, x, y, indices, sizes, empty):
        rows_in, columns_in, rows_out = packing.three(sizes, 0)
        columns_out, top_pad, left_pad = packing.three(sizes, 3)
        stacks = -(-rows_out // rows)
        memory = np.full(columns_in + 1, empty)
        spare = pointer(memory)
        for item in range(begin, end):
            plane, stack = divmod(item, stacks)
            h = min(stack * rows, rows_out - rows)  # the last stack may overlap the one before
            top = h * stride - top_pad
            image, to = pointer(x) + plane * rows_in * columns_in, (plane * rows_out + h) * columns_out
            for column in range(0, columns_out, lanes):
                left, room = column * stride - left_pad, columns_out - column
                corner, out = top * columns_in + left, to + column
                best, places = vector.placed_windows(
                    image + corner,
                    columns_in,
                    (-top, rows_in - top),
                    spare + left,
                    (-left, columns_in - left),
                    empty,
                    corner,
                    room,
                    rows,
                    lanes,
                    tall,
                    wide,
                    stride,
                    order,
                )
                vector.store_spans(best, pointer(y) + out, columns_out, rows, room)
                vector.store_spans_wide(places, pointer(indices) + out, columns_out, room)
        memory[0] = empty  # pointers do not keep an array alive: its last use does

    pool.__name__ = f"{dtype}_{kind}_pool_indices_{rows}x1_{tall}x{wide}s{stride}_windows_{isa}"
    return Kernel(pool)


# Decisions --------------------------------------------------------------------------------------------------------------

ROWS = (7, 4, 2, 1)  # output rows of a tile
WIDEST = 3  # cells of the windows of such tiles on either axis


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
    if pool_windows.small(g, dtype, machine) and not pool_windows.spreads(g) and g.kernel[0] <= WIDEST:
        stack = next(rows for rows in ROWS if rows <= t.out_size[1])
        lanes = machine.lanes_for(g.out_size[-1], dtype)
        chosen = windows_kernel(g.kind, stack, t.kernel[1:], g.stride[-1], lanes, element(dtype), machine.isa)
        sizes = *t.in_size[1:], *t.out_size[1:], *t.before[1:]
        return chosen, g.batch * g.channels * -(-t.out_size[1] // stack), work, (np.array(sizes, np.int64), tables[1])
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
    kernel(items, work, x.ravel(), values.ravel(), indices.ravel(), *arguments)
