"""Max and min pools on vectors that keep the index of each window's best cell, its number in a plane of the input.

As those of rows.py, with a vector of 32-bit positions beside each vector of values; small windows, channels first, are reduced
in registers, as windows.py does. A cell is better if its value is, or if it is a NaN; of equal values, and of NaN, the one at
the lower position is the first in row-major order, whatever the order of the reduction. A window starts from a value that none
is below, at a position beyond all others: no padding stays in it.
"""

from collections.abc import Iterator
from functools import lru_cache, partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, element, inlined
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.costs import Candidate
from fastconv.kernels.simd.engine.sizes import Axes, Plane, axes, reader, written
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.kernels.simd.pools import reductions, rows, windows
from fastconv.kernels.simd.pools.bounds import Window, Windows, lifted, row_of, span
from fastconv.kernels.simd.pools.launches import Launch
from fastconv.kernels.simd.pools.places import (
    BEYOND,
    Outputs,
    accumulator,
    careful_pooler,
    comparisons,
    outputs_at,
    quick_pooler,
    starter,
    storer,
)
from fastconv.kernels.simd.pools.stacks import Border
from fastconv.machine import Machine
from fastconv.problem.pools import PoolGeometry

peek, poke, pointer = vector.peek, vector.poke, vector.pointer


class PixelSizes(NamedTuple):
    """Channels last."""

    channels: int
    cells: Axes
    outputs: Axes
    dilation: Axes
    windows: Windows


class LineSizes(NamedTuple):
    """Channels first; a line has `line` elements, for a strip of outputs of a row."""

    cells: Axes
    outputs: Axes
    dilation: Axes
    windows: Windows
    strip: int
    line: int


class WindowSizes(NamedTuple):
    """Planes of small windows: input, outputs, cells of padding before them, and values for a tile's row of padding."""

    cells: Plane
    outputs: Plane
    before: Plane
    spare: int


class Image(NamedTuple):
    """An image, or a plane of it: elements from a cell to the next, and cells from tap to tap."""

    at: Any
    cells: Axes
    step: int
    dilation: Axes


class Lines(NamedTuple):
    """The best of a row's cells: their values and positions."""

    values: Any
    places: Any


class Parts(NamedTuple):
    """A padded row."""

    line: int


read_pixels, read_lines, read_windows, carve = reader(PixelSizes), reader(LineSizes), reader(WindowSizes), workspace(Parts)


# Channels last ----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=16)
def channels_last_kernel(kind: str, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over rows of n, d, h: f32_max_pool_indices_nhwc_avx512."""
    pool_two, pool_one = quick_pooler(kind, lanes), careful_pooler(kind, lanes)

    def pool(begin, end, x, y, indices, sizes, initial):
        """indices[n, o, c] = the first i of window o whose x[n, i, c] is best;  y[n, o, c] = x[n, indices[n, o, c], c]"""
        s = read_pixels(sizes)
        for item in range(begin, end):
            row = row_of(item, s.outputs)
            at = pointer(x) + row.image * s.cells.d * s.cells.h * s.cells.w * s.channels
            image = Image(at, s.cells, s.channels, s.dilation)
            d, h = span(s.windows.d, row.d), span(s.windows.h, row.h)
            for w in range(s.outputs.w):
                window = Window(d, h, span(s.windows.w, w))
                pixel, c = (item * s.outputs.w + w) * s.channels, np.int64(0)
                while c < s.channels:
                    to, room = Outputs(pointer(y) + (pixel + c), pointer(indices) + (pixel + c)), s.channels - c
                    if room >= 2 * lanes and pool_two(image, c, to, window, initial):
                        c += 2 * lanes
                    else:
                        pool_one(image, c, to, window, room, initial)
                        c += lanes

    pool.__name__ = f"{dtype}_{kind}_pool_indices_nhwc_{isa}"
    return Kernel(pool)


# Channels first ---------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def line_reducer(kind: str, lanes: int) -> Any:
    """The compiled best of each column first .. last - 1 over the depths and heights of a window."""
    accumulate, start = accumulator(kind), starter(lanes)

    def reduce_rows(image, lines, d_span, h_span, first, last, initial):
        for w in range(first, last, lanes):
            best, room, at, d = start(initial), last - w, w - first, d_span.start
            while d < d_span.stop:
                h = h_span.start
                while h < h_span.stop:
                    cell = (d * image.cells.h + h) * image.cells.w + w
                    if room >= lanes:
                        value = vector.load(image.at + cell, lanes)
                    else:
                        value = vector.load_first(image.at + cell, room, lanes)
                    best = accumulate(best, value, vector.numbered(cell, 1, lanes))
                    h += image.dilation.h
                d += image.dilation.d
            vector.store_first(lines.values + at, best.value, room)
            vector.store_first(lines.places + at, best.place, room)

    return inlined(reduce_rows)


@lru_cache(maxsize=16)
def strided_columns(stride: int, kind: str, lanes: int) -> Any:
    """The compiled best of a line's windows: stride 1 or 2."""
    accumulate, start, store = accumulator(kind), starter(lanes), storer(lanes)

    def neighbours(at):
        return vector.load(at, lanes)

    def every_second(at):
        return vector.every_second(vector.load(at, lanes), vector.load(at + lanes, lanes))

    cells = inlined(neighbours if stride < 2 else every_second)

    def reduce_columns(lines, to, strip, s, initial):
        for w in range(0, strip.columns, lanes):
            best = start(initial)
            for tap in range(s.windows.w.taps):
                first = w * stride + tap * s.dilation.w
                best = accumulate(best, cells(lines.values + first), cells(lines.places + first))
            store(outputs_at(to, w), best, strip.columns - w)

    return inlined(reduce_columns)


@lru_cache(maxsize=2)
def any_columns(kind: str) -> Any:
    """The compiled best of a line's windows, one by one."""
    _, better = comparisons(kind)

    def reduce_columns(lines, to, strip, s, initial):
        values, places = lines.values, lines.places
        for o in range(strip.columns):
            widths = span(s.windows.w, strip.w + o)
            best = widths.start - strip.begin
            w, end = best + s.dilation.w, widths.stop - strip.begin
            while w < end:
                if better(peek(values + best), peek(places + best), peek(values + w), peek(places + w)):
                    best = w
                w += s.dilation.w
            poke(to.values + o, peek(values + best))
            poke(to.indices + o, np.int64(peek(places + best)))

    return inlined(reduce_columns)


@lru_cache(maxsize=32)
def channels_first_kernel(stride: int, kind: str, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over rows of n, c, d, h: f32_max_pool_indices_s2_nchw_avx512; s0 has any other stride."""
    reduce_rows, find_strip = line_reducer(kind, lanes), rows.strip_finder(not stride)
    fill_part, fill_places, fill = *map(reductions.part_filler, (lanes, 4)), reductions.filler(lanes)
    reduce_columns = strided_columns(stride, kind, lanes) if stride else any_columns(kind)

    def pool(begin, end, x, y, indices, sizes, initial):
        """indices[n, c, o] = the first i of window o whose x[n, c, i] is best;  y[n, c, o] = x[n, c, indices[n, c, o]]"""
        s = read_lines(sizes)
        values, memory = carve(Parts(line=s.line), x)
        places, numbers = carve(Parts(line=s.line), np.empty(0, np.int32))
        lines = Lines(values.line, places.line)
        fill_part(lines.values, s.line, initial)
        fill_places(lines.places, s.line, np.int32(BEYOND))
        for item in range(begin, end):
            row = row_of(item, s.outputs)
            at = pointer(x) + row.image * s.cells.d * s.cells.h * s.cells.w
            image, d, h = Image(at, s.cells, 1, s.dilation), span(s.windows.d, row.d), span(s.windows.h, row.h)
            for w in range(0, s.outputs.w, s.strip):
                strip = find_strip(w, s)
                inner, outer = strip.lo - strip.begin, strip.hi - strip.begin
                if s.strip < s.outputs.w:
                    for first, last in ((0, inner), (outer, strip.end - strip.begin)):
                        fill(lines.values + first, last - first, initial)
                        fill(lines.places + first, last - first, np.int32(BEYOND))
                reduce_rows(image, Lines(lines.values + inner, lines.places + inner), d, h, strip.lo, strip.hi, initial)
                to = item * s.outputs.w + w
                reduce_columns(lines, Outputs(pointer(y) + to, pointer(indices) + to), strip, s, initial)
        keep(memory)
        keep(numbers)

    pool.__name__ = f"{dtype}_{kind}_pool_indices_s{stride}_nchw_{isa}"
    return Kernel(pool)


# Small windows ----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=32)
def tile_reducer(kind: str, rows: int, taps: tuple[int, int], stride: int, lanes: int) -> Any:
    """The compiled windows of a tile, (values, places), whose first input row is `top` and first output column `column`."""
    (taps_h, taps_w), (order, _) = taps, reductions.order_and_power(kind)

    def reduce(image, top, column, border, s):
        left = column * stride - s.before.w
        corner, inside, cells = top * s.cells.w + left, (-top, s.cells.h - top), (-left, s.cells.w - left)
        source, step, spare, empty, room = image + corner, s.cells.w, border.row, border.empty, s.outputs.w - column
        return vector.placed_windows(
            source, step, inside, spare, cells, empty, corner, room, rows, lanes, taps_h, taps_w, stride, order
        )

    return inlined(reduce)


@lru_cache(maxsize=32)
def windows_kernel(kind: str, rows: int, taps: tuple[int, int], stride: int, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over stacks of output rows of a plane: f32_max_pool_indices_4x1_3x3s2_windows_avx512.

    As those of windows.py, for windows that are neither dilated nor of several depths.
    """
    reduce, fill = tile_reducer(kind, rows, taps, stride, lanes), reductions.part_filler(lanes)

    def pool(begin, end, x, y, indices, sizes, empty):
        """indices[p, o] = the first i of window o whose x[p, i] is best;  y[p, o] = x[p, indices[p, o]]"""
        s = read_windows(sizes)
        stacks = -(-s.outputs.h // rows)
        work, memory = carve(Parts(line=s.spare), x)
        row = vector.like(work.line, pointer(x))
        fill(row, s.spare, empty)
        border = Border(row, empty)
        for item in range(begin, end):
            plane, stack = divmod(item, stacks)
            h = min(stack * rows, s.outputs.h - rows)  # the last stack may overlap the one before
            image, to = pointer(x) + plane * s.cells.h * s.cells.w, (plane * s.outputs.h + h) * s.outputs.w
            for column in range(0, s.outputs.w, lanes):
                best, places = reduce(image, h * stride - s.before.h, column, border, s)
                room = s.outputs.w - column
                vector.store_spans(best, pointer(y) + (to + column), s.outputs.w, rows, room)
                vector.store_spans_wide(places, pointer(indices) + (to + column), s.outputs.w, room)
        keep(memory)

    pool.__name__ = f"{dtype}_{kind}_pool_indices_{rows}x1_{taps[0]}x{taps[1]}s{stride}_windows_{isa}"
    return Kernel(pool)


# Decisions --------------------------------------------------------------------------------------------------------------

ROWS = (7, 4, 2, 1)  # output rows of a tile
LARGEST = 3  # cells of the windows of such tiles on either axis
PLACES = 2  # times of a pool with indices to one without


def refusal(geometry: PoolGeometry) -> str | None:
    """Why positions of 32 bits cannot tell the cells of a plane, or None."""
    cells = prod(geometry.in_size)
    return None if cells < BEYOND else f"its indices are below 2**31 - 1, and a plane has {cells} cells"


def candidates(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> Iterator[Candidate]:
    """Tiles of small windows where they serve, else the kernel of the layout."""
    g = geometry
    if not g.return_indices:
        return
    if windows.small(g, dtype, machine, 2) and not windows.spreads(g) and g.kernel[0] <= LARGEST:
        stack = next(count for count in ROWS if count <= windows.plane_of(g)[0])
        cycles = windows.stacks_of(g, stack) * windows.cycles_of_stack((stack, 1), g, dtype, machine)
        seconds = 3e-6 + machine.seconds(PLACES * cycles, g.bytes(dtype.itemsize))
        yield Candidate(seconds, stack, partial(launch_windows, g, dtype, machine, stack))
    else:
        vectors, lines = rows.accumulated(g, dtype, machine)
        seconds = 3e-6 + PLACES * vectors / 1e9 + 12e-9 * lines + machine.seconds(0, g.bytes(dtype.itemsize))
        yield Candidate(seconds, rows.stride_of(g), partial(launch, g, dtype, machine))


def launch_windows(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine, stack: int) -> Launch:
    """The kernel of small windows with its arguments."""
    g, t, lanes = geometry, lifted(geometry), machine.lanes_for(geometry.out_size[-1], dtype)
    kernel = windows_kernel(g.kind, stack, (t.kernel[1], t.kernel[2]), g.stride[-1], lanes, element(dtype), machine.isa)
    cells, outputs, before = Plane(*t.in_size[1:]), Plane(*t.out_size[1:]), Plane(*t.before[1:])
    sizes = written(WindowSizes(cells, outputs, before, windows.spare_of(g, lanes)))
    arguments = sizes, reductions.initial(g.kind, dtype)
    return Launch(kernel, windows.stacks_of(g, stack), work_of(g, machine.lanes(dtype)), arguments)


def launch(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> Launch:
    """The kernel of the layout with its arguments."""
    g, t, lanes = geometry, lifted(geometry), machine.lanes(dtype)
    names = g.kind, lanes, element(dtype), machine.isa
    lines, stride, work = g.batch * t.out_size[0] * t.out_size[1], rows.stride_of(g), work_of(g, lanes)
    cells, outputs, dilation = axes(t.in_size), axes(t.out_size), axes(t.dilation)
    initial = reductions.initial(g.kind, dtype)
    if not reductions.rows_are_lines(g):
        sizes = written(PixelSizes(g.channels, cells, outputs, dilation, t.windows))
        return Launch(channels_last_kernel(*names), lines, work, (sizes, initial))
    sizes = written(LineSizes(cells, outputs, dilation, t.windows, *rows.strip_of(g, lanes)))
    return Launch(channels_first_kernel(stride, *names), lines * g.channels, work, (sizes, initial))


def work_of(geometry: PoolGeometry, lanes: int) -> int:
    """Scalar operations as a kernel counts them."""
    return 4 * geometry.flops // lanes * 4
