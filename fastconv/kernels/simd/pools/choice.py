"""Pools on vectors, for windows of any kind: clipped by padding, dilated, adaptive, global.

Channels last, vectors lie along the channels, and each output position takes in the cells of its window.

Channels first, vectors lie along the width, and a window is taken in two steps, which is exact for max and min and reorders the
sum of an average:

    line[w]    = the best, or the sum, of x[d, h, w] over the depths and heights of the window
    y[o]       = the best, or the sum, of line[w] over the widths of the window            vectors for strides 1 and 2

The line is a padded row, with values at its ends that never win, or add nothing.

Small windows are pool_windows.py's, channels first, or on small planes pool_pairs.py's, and pool_pixels.py's, channels last;
windows of whole planes are pool_planes.py's, indices pool_indices.py's.
"""

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from fastconv.kernels.jit import Kernel, element, inlined
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import packing
from fastconv.kernels.simd.pools import indices as pool_indices
from fastconv.kernels.simd.pools import pairs as pool_pairs
from fastconv.kernels.simd.pools import pixels as pool_pixels
from fastconv.kernels.simd.pools import planes as pool_planes
from fastconv.kernels.simd.pools import reductions as pooling
from fastconv.kernels.simd.pools import windows as pool_windows
from fastconv.machine import Machine, host
from fastconv.problem.pools import PoolGeometry
from fastconv.problem.problem import Operands, Problem

peek, poke, pointer = vector.peek, vector.poke, vector.pointer
FOLDED = 8  # cells of a row that vectors take in sooner than one by one


@lru_cache(maxsize=16)
def channels_last_kernel(kind: str, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over rows of n, d, h: f32_max_pool_nhwc_avx512."""
    enter, combine, _, leave, _ = pooling.reduction(kind, dtype)

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
                # Four vectors at a time meet each cell's channels as they lie; the rest follow one by one.
                four = channels - channels % (4 * lanes)
                for begun in range(0, four, 4 * lanes):
                    first = vector.splat(initial, lanes)
                    second, third, fourth = first, first, first
                    for d in range(d_start, d_stop, step_d):
                        for h in range(h_start, h_stop, step_h):
                            source = image + (d * depth_step + h * row_step + begun)
                            for w in range(w_start, w_stop, step_w):
                                at = source + w * channels
                                first = combine(first, enter(vector.load(at, lanes)))
                                second = combine(second, enter(vector.load(at + lanes, lanes)))
                                third = combine(third, enter(vector.load(at + 2 * lanes, lanes)))
                                fourth = combine(fourth, enter(vector.load(at + 3 * lanes, lanes)))
                    to = line + (w_out * channels + begun)
                    vector.store(to, leave(first, divisor))
                    vector.store(to + lanes, leave(second, divisor))
                    vector.store(to + 2 * lanes, leave(third, divisor))
                    vector.store(to + 3 * lanes, leave(fourth, divisor))
                for c in range(four, channels, lanes):
                    room = channels - c
                    best = vector.splat(initial, lanes)
                    for d in range(d_start, d_stop, step_d):
                        for h in range(h_start, h_stop, step_h):
                            source = image + (d * depth_step + h * row_step + c)
                            if room >= lanes:
                                for w in range(w_start, w_stop, step_w):
                                    best = combine(best, enter(vector.load(source + w * channels, lanes)))
                            else:
                                for w in range(w_start, w_stop, step_w):
                                    best = combine(best, enter(vector.load_first(source + w * channels, room, lanes)))
                    vector.store_first(line + (w_out * channels + c), leave(best, divisor), room)

    pool.__name__ = f"{dtype}_{kind}_pool_nhwc_{isa}"
    return Kernel(pool)


@lru_cache(maxsize=32)
def channels_first_kernel(stride: int, kind: str, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over rows of n, c, d, h: f32_max_pool_s2_nchw_avx512; s0 has any other stride, or adaptive windows."""
    enter, combine, combine_two, leave, _ = pooling.reduction(kind, dtype)

    def next_cells(at):
        return vector.load(at, lanes)

    def next_cells_apart(at):
        return vector.every_second(vector.load(at, lanes), vector.load(at + lanes, lanes))

    strided, fold = inlined(next_cells if stride < 2 else next_cells_apart), pool_planes.folder(combine, lanes)

    def pool(begin, end, x, y, sizes, bounds, widths, initial):
        depth_in, rows_in, columns_in = packing.three(sizes, 0)
        depth_out, rows_out, columns_out = packing.three(sizes, 3)
        step_d, step_h, step_w, taps, before = packing.five(sizes, 6)
        depth_step = rows_in * columns_in
        of_h, of_w = 3 * depth_out, 3 * (depth_out + rows_out)
        # Behind the padded row there is room for what a last vector reads and does not use.
        reach = max(before + columns_in, (columns_out - 1) * max(1, stride) + (taps - 1) * step_w + 1)
        memory = np.full(reach + columns_out + 4 * lanes + 16, initial)
        line = vector.line_start(pointer(memory))
        cells, totals = line + before, line + (reach + 3 * lanes)
        for row in range(begin, end):
            rest, h_out = divmod(row, rows_out)
            plane, d_out = divmod(rest, depth_out)
            image, out = pointer(x) + plane * depth_in * depth_step, pointer(y) + row * columns_out
            d_start, d_stop, d_count = packing.three(bounds, 3 * d_out)
            h_start, h_stop, h_count = packing.three(bounds, of_h + 3 * h_out)
            # Four vectors at a time, of which the last four may overlap the ones before; or one by one.
            four = columns_in if columns_in >= 4 * lanes else 0
            for begun in range(0, four, 4 * lanes):
                w = min(begun, columns_in - 4 * lanes)
                first = vector.splat(initial, lanes)
                second, third, fourth = first, first, first
                for d in range(d_start, d_stop, step_d):
                    for h in range(h_start, h_stop, step_h):
                        source = image + (d * depth_step + h * columns_in + w)
                        first = combine(first, enter(vector.load(source, lanes)))
                        second = combine(second, enter(vector.load(source + lanes, lanes)))
                        third = combine(third, enter(vector.load(source + 2 * lanes, lanes)))
                        fourth = combine(fourth, enter(vector.load(source + 3 * lanes, lanes)))
                vector.store(cells + w, first)
                vector.store(cells + (w + lanes), second)
                vector.store(cells + (w + 2 * lanes), third)
                vector.store(cells + (w + 3 * lanes), fourth)
            for w in range(four, columns_in, lanes):
                room = columns_in - w
                best = vector.splat(initial, lanes)
                for d in range(d_start, d_stop, step_d):
                    for h in range(h_start, h_stop, step_h):
                        source = image + (d * depth_step + h * columns_in + w)
                        if room >= lanes:
                            best = combine(best, enter(vector.load(source, lanes)))
                        else:
                            best = combine(best, enter(vector.load_first(source, room, lanes)))
                vector.store_first(cells + w, best, room)
            across, counts = widths.dtype.type(d_count * h_count), pointer(widths)
            if stride > 0:
                two = columns_out - columns_out % (2 * lanes)
                for w in range(0, two, 2 * lanes):
                    first = vector.splat(initial, lanes)
                    second = first
                    for s in range(taps):
                        at = line + (w * stride + s * step_w)
                        first = combine(first, strided(at))
                        second = combine(second, strided(at + stride * lanes))
                    low, high = vector.load(counts + w, lanes), vector.load(counts + (w + lanes), lanes)
                    vector.store(out + w, leave(first, vector.scaled(across, low)))
                    vector.store(out + (w + lanes), leave(second, vector.scaled(across, high)))
                for w in range(two, columns_out, lanes):
                    best = vector.splat(initial, lanes)
                    for s in range(taps):
                        best = combine(best, strided(line + (w * stride + s * step_w)))
                    divisor = vector.scaled(across, vector.load_first(counts + w, columns_out - w, lanes))
                    vector.store_first(out + w, leave(best, divisor), columns_out - w)
            else:
                for w_out in range(columns_out):
                    w_start, w_stop, _ = packing.three(bounds, of_w + 3 * w_out)
                    total = initial
                    if step_w == 1 and w_stop - w_start >= FOLDED:
                        best = vector.splat(initial, lanes)
                        for w in range(w_start, w_stop, lanes):
                            best = combine(best, vector.load_first_or(cells + w, w_stop - w, vector.splat(initial, lanes)))
                        total = fold(best)
                    else:
                        for w in range(w_start, w_stop, step_w):
                            total = combine_two(total, peek(cells + w))
                    poke(totals + w_out, total)
                for w in range(0, columns_out, lanes):
                    room = columns_out - w
                    divisor = vector.scaled(across, vector.load_first(counts + w, room, lanes))
                    vector.store_first(out + w, leave(vector.load(totals + w, lanes), divisor), room)
        memory[0] = initial  # pointers do not keep an array alive: its last use does

    pool.__name__ = f"{dtype}_{kind}_pool_s{stride}_nchw_{isa}"
    return Kernel(pool)


# Decisions --------------------------------------------------------------------------------------------------------------


def supports(problem: Problem) -> str | None:
    """Pools of every geometry."""
    geometry, dtype = problem.geometry, problem.dtype
    return pooling.refusal(geometry, dtype) or (pool_indices.refusal(geometry) if geometry.return_indices else None)


def cost(problem: Problem, machine: Machine) -> float:
    """A cell of a window a vector, or the bytes at memory speed."""
    geometry, dtype = problem.geometry, problem.dtype
    g, lanes = geometry, machine.lanes(pooling.computed(geometry, dtype))
    if pool_pairs.suits(g, dtype, machine):
        return 3e-6 + machine.seconds(pool_pairs.cycles(g, dtype, machine), g.bytes(dtype.itemsize))
    if pool_pixels.suits(g, dtype, machine):
        return 3e-6 + machine.seconds(pool_pixels.cycles(g, dtype, machine), g.bytes(dtype.itemsize))
    if pool_windows.suits(g, dtype, machine):
        return 3e-6 + machine.seconds(pool_windows.cycles(g, dtype, machine), g.bytes(dtype.itemsize))
    outputs, lines = prod(g.out_shape), 0
    if pool_planes.suits(g, dtype, machine):
        vectors = prod(g.x_shape) / lanes + (8 * outputs if pooling.rows_are_lines(g) else 0)
    elif pooling.rows_are_lines(g):
        # Windows of whole rows, then those of cells: one by one where vectors do not reach them.
        wide = g.kernel[-1] if not g.adaptive else -(-g.in_size[-1] // max(1, g.out_size[-1]))
        tall, reached = -(-g.taps // max(1, wide)), not g.adaptive and g.stride[-1] <= 2
        lines = outputs // max(1, g.out_size[-1])
        vectors = lines * (-(-g.in_size[-1] // lanes) * tall + -(-g.out_size[-1] // (lanes if reached else 1)) * wide)
    else:
        vectors = outputs / max(1, g.channels) * -(-g.channels // lanes) * g.taps
    seconds = vectors * (2 if g.return_indices else 1) / 1e9 + 12e-9 * lines
    return 3e-6 + seconds + machine.seconds(0, g.bytes(dtype.itemsize))


@lru_cache(maxsize=256)
def launch(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> tuple[Any, ...]:
    """(kernel, items, work, and the arguments after x and y)."""
    if pool_planes.suits(geometry, dtype, machine):
        return pool_planes.launch(geometry, dtype, machine)
    if pool_pairs.suits(geometry, dtype, machine):
        return pool_pairs.launch(geometry, dtype, machine)
    if pool_windows.suits(geometry, dtype, machine):
        return pool_windows.launch(geometry, dtype, machine)
    if pool_pixels.suits(geometry, dtype, machine):
        return pool_pixels.launch(geometry, dtype, machine)
    g, real, t = geometry, pooling.computed(geometry, dtype), pooling.tables(geometry, dtype)
    kind, lanes = pooling.kind_of(g, dtype), machine.lanes(real)
    names = kind, lanes, element(dtype), machine.isa
    rows, work = g.batch * t.out_size[0] * t.out_size[1], 2 * g.flops // lanes * 4
    tables = t.bounds, t.widths, pooling.initial(kind, real)
    if not pooling.rows_are_lines(g):
        sizes = (g.channels, *t.in_size, *t.out_size, *t.dilation, 0)
        return channels_last_kernel(*names), rows, work, (np.array(sizes, np.int64), *tables)
    stride = 0 if g.adaptive or g.stride[-1] > 2 else g.stride[-1]
    taps, before = (g.kernel[-1], t.before[-1]) if stride else (1, 0)
    sizes = (*t.in_size, *t.out_size, *t.dilation, taps, before)
    return channels_first_kernel(stride, *names), rows * g.channels, work, (np.array(sizes, np.int64), *tables)


def run(operands: Operands, packed: None, problem: Problem, out: Any) -> None:
    """All rows."""
    x, geometry = operands["x"], problem.geometry
    if geometry.return_indices:
        pool_indices.run(x, geometry, *out)
        return
    kernel, items, work, arguments = launch(geometry, x.dtype, host())
    kernel(items, work, x.ravel(), out.ravel(), *arguments)
