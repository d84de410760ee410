"""Max, min and average pools on vectors, for windows of any kind: clipped by padding, dilated, adaptive, global.

Channels last, vectors lie along the channels, and each output position takes in the cells of its window.

Channels first, vectors lie along the width, and a window is taken in two steps, which is exact for max and min and reorders the
sum of an average:

    line[w]    = the best, or the sum, of x[d, h, w] over the depths and heights of the window
    y[o]       = the best, or the sum, of line[w] over the widths of the window            vectors for strides 1 and 2

The line is a padded row, with values at its ends that never win, or add nothing.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from fastconv.geometry import SPATIAL_AXES, Array
from fastconv.kernels.jit import Kernel, element, inlined
from fastconv.kernels.simd import packing, vector
from fastconv.machine import Machine, host
from fastconv.pool_geometry import PoolGeometry, Windows

peek, poke, pointer = vector.peek, vector.poke, vector.pointer
STARTS = {"max": -np.inf, "min": np.inf, "avg": 0.0}  # what a window starts from


@lru_cache(maxsize=8)
def combiners(kind: str) -> tuple[Any, Any]:
    """The compiled operations that take one more cell into a window: of vectors, and of scalars."""

    def larger(a, b):
        return vector.larger(a, b)

    def smaller(a, b):
        return vector.smaller(a, b)

    def sum_of(a, b):
        return a + b

    def larger_of_two(a, b):
        return b if b > a or b != b else a

    def smaller_of_two(a, b):
        return b if b < a or b != b else a

    pair = {"max": (larger, larger_of_two), "min": (smaller, smaller_of_two), "avg": (sum_of, sum_of)}[kind]
    return inlined(pair[0]), inlined(pair[1])


@lru_cache(maxsize=16)
def channels_last_kernel(kind: str, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over rows of n, d, h: f32_max_pool_nhwc_avx512."""
    (combine, _), average = combiners(kind), kind == "avg"

    def pool(begin, end, x, y, sizes, bounds, widths, initial):
        channels, depth_in, rows_in = packing.three(sizes, 0)
        columns_in, depth_out, rows_out = packing.three(sizes, 3)
        columns_out, step_d, step_h, step_w, _ = packing.five(sizes, 6)
        row_step = columns_in * channels
        depth_step = rows_in * row_step
        of_h, of_w = 3 * depth_out, 3 * (depth_out + rows_out)
        for row in range(begin, end):
            rest, h_out = divmod(row, rows_out)
            n, d_out = divmod(rest, depth_out)
            image, line = pointer(x) + n * depth_in * depth_step, pointer(y) + row * columns_out * channels
            d_start, d_stop, d_count = packing.three(bounds, 3 * d_out)
            h_start, h_stop, h_count = packing.three(bounds, of_h + 3 * h_out)
            for w_out in range(columns_out):
                w_start, w_stop, _ = packing.three(bounds, of_w + 3 * w_out)
                divisor = vector.splat(widths[w_out] * widths.dtype.type(d_count * h_count), lanes)
                for c in range(0, channels, lanes):
                    room = channels - c
                    best = vector.splat(initial, lanes)
                    for d in range(d_start, d_stop, step_d):
                        for h in range(h_start, h_stop, step_h):
                            source = image + (d * depth_step + h * row_step + c)
                            if room >= lanes:
                                for w in range(w_start, w_stop, step_w):
                                    best = combine(best, vector.load(source + w * channels, lanes))
                            else:
                                for w in range(w_start, w_stop, step_w):
                                    best = combine(best, vector.load_first(source + w * channels, room, lanes))
                    if average:
                        best = vector.divided(best, divisor)
                    vector.store_first(line + (w_out * channels + c), best, room)

    pool.__name__ = f"{dtype}_{kind}_pool_nhwc_{isa}"
    return Kernel(pool)


@lru_cache(maxsize=32)
def channels_first_kernel(kind: str, stride: int, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over rows of n, c, d, h: f32_max_pool_s2_nchw_avx512; s0 has any other stride, or adaptive windows."""
    (combine, combine_two), average = combiners(kind), kind == "avg"

    def pool(begin, end, x, y, sizes, bounds, widths, initial):
        depth_in, rows_in, columns_in = packing.three(sizes, 1)
        depth_out, rows_out, columns_out = packing.three(sizes, 4)
        step_d, step_h, step_w, taps, before = packing.five(sizes, 7)
        depth_step = rows_in * columns_in
        of_h, of_w = 3 * depth_out, 3 * (depth_out + rows_out)
        # Behind the padded row there is room for what a last vector reads and does not use.
        reach = max(before + columns_in, (columns_out - 1) * max(1, stride) + (taps - 1) * step_w + 1)
        memory = np.full(reach + 3 * lanes + 16, initial)
        line = vector.line_start(pointer(memory))
        cells = line + before
        for row in range(begin, end):
            rest, h_out = divmod(row, rows_out)
            plane, d_out = divmod(rest, depth_out)
            image, out = pointer(x) + plane * depth_in * depth_step, pointer(y) + row * columns_out
            d_start, d_stop, d_count = packing.three(bounds, 3 * d_out)
            h_start, h_stop, h_count = packing.three(bounds, of_h + 3 * h_out)
            for w in range(0, columns_in, lanes):
                room = columns_in - w
                best = vector.splat(initial, lanes)
                for d in range(d_start, d_stop, step_d):
                    for h in range(h_start, h_stop, step_h):
                        source = image + (d * depth_step + h * columns_in + w)
                        if room >= lanes:
                            best = combine(best, vector.load(source, lanes))
                        else:
                            best = combine(best, vector.load_first(source, room, lanes))
                vector.store_first(cells + w, best, room)
            across = d_count * h_count
            if stride > 0:
                for w in range(0, columns_out, lanes):
                    best = vector.splat(initial, lanes)
                    for s in range(taps):
                        at = line + (w * stride + s * step_w)
                        if stride == 1:
                            best = combine(best, vector.load(at, lanes))
                        else:
                            low, high = vector.load(at, lanes), vector.load(at + lanes, lanes)
                            best = combine(best, vector.every_second(low, high))
                    if average:
                        counts = vector.load_first(pointer(widths) + w, columns_out - w, lanes)
                        best = vector.divided(best, vector.scaled(widths.dtype.type(across), counts))
                    vector.store_first(out + w, best, columns_out - w)
            else:
                for w_out in range(columns_out):
                    w_start, w_stop, _ = packing.three(bounds, of_w + 3 * w_out)
                    total = initial
                    for w in range(w_start, w_stop, step_w):
                        total = combine_two(total, peek(cells + w))
                    poke(out + w_out, total / (widths[w_out] * widths.dtype.type(across)) if average else total)
        memory[0] = initial  # pointers do not keep an array alive: its last use does

    pool.__name__ = f"{dtype}_{kind}_pool_s{stride}_nchw_{isa}"
    return Kernel(pool)


# Decisions --------------------------------------------------------------------------------------------------------------


def supports(geometry: PoolGeometry, dtype: np.dtype[Any]) -> str | None:
    """Pools without indices, in float32 or float64."""
    if dtype not in (np.float32, np.float64):
        return f"its vectors are float32 or float64, not {dtype}"
    return "it keeps no indices" if geometry.return_indices else None


def cost(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """A cell of a window a vector, or the bytes at memory speed."""
    vectors = geometry.flops / machine.lanes(dtype)
    return 3e-6 + max(vectors / 5e8, geometry.bytes(dtype.itemsize) / machine.bandwidth)


@lru_cache(maxsize=256)
def launch(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> tuple[Any, ...]:
    """(kernel, items, work, and the arguments after x and y)."""
    g, lanes = geometry, machine.lanes(dtype)
    missing = SPATIAL_AXES - g.rank
    ones = (1,) * missing
    whole = Windows(np.zeros(1, np.int64), np.ones(1, np.int64), np.ones(1, np.int64))
    windows = (whole,) * missing + g.windows
    counts = [axis.counted for axis in windows]
    if g.divisor_override is not None:
        counts = [*(np.ones_like(axis) for axis in counts[:2]), np.full_like(counts[2], g.divisor_override)]
    bounds = np.concatenate(
        [np.stack((axis.start, axis.stop, count), 1).ravel() for axis, count in zip(windows, counts, strict=True)]
    )
    widths, initial = counts[2].astype(dtype), dtype.type(STARTS[g.kind])
    in_size, out_size, steps = ones + g.in_size, ones + g.out_size, ones + g.dilation
    names = lanes, element(dtype), machine.isa
    rows = g.batch * out_size[0] * out_size[1]
    work = 2 * g.flops // lanes * 4
    if g.channels_last:
        sizes = (g.channels, *in_size, *out_size, *steps, 0)
        kernel = channels_last_kernel(g.kind, *names)
        return kernel, rows, work, (np.array(sizes, np.int64), bounds, widths, initial)
    stride = 0 if g.adaptive or g.stride[-1] > 2 else g.stride[-1]
    taps, before = (g.kernel[-1], g.padding[-1][0]) if stride else (1, 0)
    sizes = (g.channels, *in_size, *out_size, *steps, taps, before)
    kernel = channels_first_kernel(g.kind, stride, *names)
    return kernel, rows * g.channels, work, (np.array(sizes, np.int64), bounds, widths, initial)


def run(x: Array, packed: None, geometry: PoolGeometry, out: Array) -> None:
    """All rows."""
    kernel, items, work, arguments = launch(geometry, x.dtype, host())
    kernel(items, work, x.reshape(-1), out.reshape(-1), *arguments)
