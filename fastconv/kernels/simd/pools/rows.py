"""Pools of windows of any kind, row of outputs by row: clipped by padding, dilated, adaptive, global.

Channels last, vectors lie along the channels, and each output accumulates the cells of its window.

Channels first, vectors lie along the width, and a window is reduced in two steps, which is exact for max and min and reorders
the sum of an average:

    line[w]    = the best, or the sum, of x[d, h, w] over the depths and heights of the window
    y[o]       = the best, or the sum, of line[w] over the widths of the window            vectors for strides 1 and 2

The line is a padded row, with values at its ends that never win, or add nothing.
"""

from collections.abc import Iterator
from functools import lru_cache, partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled, element, inlined
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.costs import Candidate
from fastconv.kernels.simd.engine.sizes import Axes, axes, reader, written
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.kernels.simd.pools import reductions
from fastconv.kernels.simd.pools.bounds import Fold, Window, Windows, lifted, place, row_of, row_of_divisors, span
from fastconv.kernels.simd.pools.cells import Source, four_reducer, one_reducer
from fastconv.kernels.simd.pools.launches import Launch
from fastconv.kernels.simd.pools.planes import folder
from fastconv.machine import Machine
from fastconv.problem.pools import PoolGeometry, Span, largest_window

peek, poke, pointer = vector.peek, vector.poke, vector.pointer
FOLDED = 8  # cells of a row that a vector accumulates sooner than a scalar does
LINE = 1 << 15  # cells of a line, beside those of a window
FIRST = Span(0, 1, 1)


class PixelSizes(NamedTuple):
    """Channels last."""

    channels: int
    cells: Axes
    outputs: Axes
    dilation: Axes
    windows: Windows


class LineSizes(NamedTuple):
    """Channels first.

    Attributes
    ----------
    strip : int
        Outputs of a row that a line is made for.
    line : int
        Elements of a line.
    fold : Fold
        Of the divisors of a row.
    """

    cells: Axes
    outputs: Axes
    dilation: Axes
    windows: Windows
    strip: int
    line: int
    fold: Fold


class Strip(NamedTuple):
    """Outputs w .. w + columns - 1 of a row, and its cells `begin` .. end - 1: those lo .. hi - 1 are no padding."""

    w: int
    columns: int
    begin: int
    end: int
    lo: int
    hi: int


class Parts(NamedTuple):
    """A padded row, the windows of a strip of outputs, and what each of them counts."""

    line: int
    windows: int
    counts: int


class Divisors(NamedTuple):
    """What averages divide by: `rows`, which the outputs of a row share, times what each of them has."""

    rows: Any
    columns: Any


read_pixels, read_lines, carve = reader(PixelSizes), reader(LineSizes), workspace(Parts)


# Channels last ----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=16)
def channels_last_kernel(kind: str, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over rows of n, d, h: f32_max_pool_nhwc_avx512."""
    reduce_four, reduce_one = (each(kind, lanes, dtype, True) for each in (four_reducer, one_reducer))

    def pool(begin, end, x, y, sizes, divisors, initial):
        """y[n, o, c] = leave(the sum, or the best, of x[n, i, c] over the cells i of window o)"""
        s, real = read_pixels(sizes), divisors.dtype.type
        row_step, four = s.cells.w * s.channels, s.channels - s.channels % (4 * lanes)
        strides, last = Axes(s.cells.h * row_step, row_step, s.channels), max(0, s.channels - lanes)  # whole, if one is
        for item in range(begin, end):
            row = row_of(item, s.outputs)
            image = pointer(x) + row.image * s.cells.d * strides.d
            d, h = span(s.windows.d, row.d), span(s.windows.h, row.h)
            for w in range(s.outputs.w):
                to, window = pointer(y) + (item * s.outputs.w + w) * s.channels, Window(d, h, span(s.windows.w, w))
                divisor = vector.splat(real(window.w.count) * real(d.count * h.count), lanes)
                for c in range(0, four, 4 * lanes):
                    reduce_four(Source(image + c, strides, s.dilation), to + c, window, divisor, initial)
                for begun in range(four, s.channels, lanes):
                    c = min(begun, last)
                    reduce_one(Source(image + c, strides, s.dilation), to + c, window, divisor, s.channels - c, initial)

    pool.__name__ = f"{dtype}_{kind}_pool_nhwc_{isa}"
    return Kernel(pool)


# Channels first ---------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=32)
def line_reducer(kind: str, lanes: int, dtype: str) -> Any:
    """The compiled line[w] = the sum, or the best, of x[d, h, w] over the depths and heights of a window."""
    reduce_four, reduce_one = (each(kind, lanes, dtype, False) for each in (four_reducer, one_reducer))

    def reduce_rows(image, line, window, columns, initial):
        four, none = columns if columns >= 4 * lanes else 0, vector.splat(initial, lanes)
        for begun in range(0, four, 4 * lanes):
            w = min(begun, columns - 4 * lanes)  # the last four vectors may overlap those before
            reduce_four(Source(image.at + w, image.strides, image.dilation), line + w, window, none, initial)
        for begun in range(four, columns, lanes):
            w = min(begun, max(0, columns - lanes))
            reduce_one(Source(image.at + w, image.strides, image.dilation), line + w, window, none, columns - w, initial)

    return inlined(reduce_rows)


@lru_cache(maxsize=64)
def strided_columns(stride: int, kind: str, lanes: int, dtype: str) -> Any:
    """The compiled y[o] = leave(the sum, or the best, of line[o * stride + s * dilation] over the taps s): stride 1 or 2."""
    r = reductions.reduction(kind, dtype)
    combine, leave = r.combine, r.leave

    def neighbours(at):
        return vector.load(at, lanes)

    def every_second(at):
        return vector.every_second(vector.load(at, lanes), vector.load(at + lanes, lanes))

    cells = inlined(neighbours if stride < 2 else every_second)

    def divisors_at(divisors, w, s):
        return vector.scaled(divisors.rows, vector.load(divisors.columns + place(w, s.fold), lanes))

    divisors_at = inlined(divisors_at)

    def reduce_columns(work, to, divisors, strip, s, initial):
        two, line, taps = strip.columns - strip.columns % (2 * lanes), work.line, s.windows.w.taps
        for w in range(0, two, 2 * lanes):
            first = vector.splat(initial, lanes)
            second = first
            for tap in range(taps):
                at = line + (w * stride + tap * s.dilation.w)
                first, second = combine(first, cells(at)), combine(second, cells(at + stride * lanes))
            vector.store(to + w, leave(first, divisors_at(divisors, strip.w + w, s)))
            vector.store(to + (w + lanes), leave(second, divisors_at(divisors, strip.w + w + lanes, s)))
        for w in range(two, strip.columns, lanes):
            window, room = vector.splat(initial, lanes), strip.columns - w
            for tap in range(taps):
                window = combine(window, cells(line + (w * stride + tap * s.dilation.w)))
            columns = vector.load_first(divisors.columns + place(strip.w + w, s.fold), room, lanes)
            vector.store_first(to + w, leave(window, vector.scaled(divisors.rows, columns)), room)

    return inlined(reduce_columns)


@lru_cache(maxsize=32)
def any_columns(kind: str, lanes: int, dtype: str) -> Any:
    """The compiled y[o] = leave(the sum, or the best, of line[w] over the widths of window o), one by one."""
    r, averages = reductions.reduction(kind, dtype), kind.startswith("avg")
    combine, combine_two, leave, fold = r.combine, r.combine_two, r.leave, folder(r.combine, lanes)

    def reduce_cells(line, widths, step, initial):
        """One window of a line."""
        if step == 1 and widths.stop - widths.start >= FOLDED:
            none = vector.splat(initial, lanes)
            window = none
            for w in range(widths.start, widths.stop, lanes):
                window = combine(window, vector.load_first_or(line + w, widths.stop - w, none))
            return fold(window)
        total = initial
        for w in range(widths.start, widths.stop, step):
            total = combine_two(total, peek(line + w))
        return total

    reduce_cells = inlined(reduce_cells)

    def reduce_columns(work, to, divisors, strip, s, initial):
        for w in range(strip.columns):
            widths = span(s.windows.w, strip.w + w)
            cells = Span(widths.start - strip.begin, widths.stop - strip.begin, widths.count)
            poke(work.windows + w, reduce_cells(work.line, cells, s.dilation.w, initial))
            if averages:
                poke(work.counts + w, widths.count)
        for w in range(0, strip.columns, lanes):
            room = strip.columns - w  # quotients of what memory held may be subnormal, and slow
            windows = vector.load_first(work.windows + w, room, lanes)
            counts = vector.load_first_or(work.counts + w, room, vector.splat(divisors.rows, lanes)) if averages else windows
            vector.store_first(to + w, leave(windows, vector.scaled(divisors.rows, counts)), room)

    return inlined(reduce_columns)


@lru_cache(maxsize=2)
def strip_finder(clips: bool) -> Any:
    """The compiled strip of outputs from w on, with padding or the cells of clipped windows."""

    def find_strip(w, s):
        axis, columns = s.windows.w, min(s.strip, s.outputs.w - w)
        begin = w * axis.stride - axis.before
        end = begin + (columns - 1) * axis.stride + (axis.taps - 1) * axis.dilation + 1
        if axis.taps == 0:
            begin, end = span(axis, w).start, span(axis, w + columns - 1).stop
        elif clips:
            begin = max(begin, 0)
            end = max(begin, min(end, s.cells.w))
        lo = min(max(begin, 0), s.cells.w)
        return Strip(w, columns, begin, end, lo, max(lo, min(end, s.cells.w)))

    return compiled(find_strip)


@lru_cache(maxsize=32)
def channels_first_kernel(stride: int, kind: str, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over rows of n, c, d, h: f32_max_pool_s2_nchw_avx512; s0 has any other stride, or adaptive windows."""
    reduce_rows, fill_part, fill = line_reducer(kind, lanes, dtype), reductions.part_filler(lanes), reductions.filler(lanes)
    reduce_columns = strided_columns(stride, kind, lanes, dtype) if stride else any_columns(kind, lanes, dtype)
    find_strip = strip_finder(not stride)

    def pool(begin, end, x, y, sizes, divisors, initial):
        """y[n, c, o] = leave(the sum, or the best, of x[n, c, i] over the cells i of window o)"""
        s, real = read_lines(sizes), divisors.dtype.type
        work, memory = carve(Parts(line=s.line, windows=s.strip + lanes, counts=s.strip + lanes), divisors)
        fill_part(work.line, vector.distance(work.line, work.counts), initial)
        strides = Axes(s.cells.h * s.cells.w, s.cells.w, 1)
        for item in range(begin, end):
            row = row_of(item, s.outputs)
            at = pointer(x) + row.image * s.cells.d * strides.d
            d, h = span(s.windows.d, row.d), span(s.windows.h, row.h)
            of_row = Divisors(real(d.count * h.count), pointer(divisors))
            for w in range(0, s.outputs.w, s.strip):
                strip = find_strip(w, s)
                if s.strip < s.outputs.w:
                    fill(work.line, strip.lo - strip.begin, initial)
                    fill(work.line + (strip.hi - strip.begin), strip.end - strip.hi, initial)
                to, columns = work.line + (strip.lo - strip.begin), strip.hi - strip.lo
                reduce_rows(Source(at + strip.lo, strides, s.dilation), to, Window(d, h, FIRST), columns, initial)
                reduce_columns(work, pointer(y) + (item * s.outputs.w + w), of_row, strip, s, initial)
        keep(memory)

    pool.__name__ = f"{dtype}_{kind}_pool_s{stride}_nchw_{isa}"
    return Kernel(pool)


# Decisions --------------------------------------------------------------------------------------------------------------


def candidates(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> Iterator[Candidate]:
    """The kernel of the layout."""
    if not geometry.return_indices:
        stride = stride_of(geometry)
        yield Candidate(seconds(geometry, dtype, machine), stride, partial(launch, geometry, dtype, machine, stride))


def stride_of(geometry: PoolGeometry) -> int:
    """The stride of a line's windows where vectors reduce them, else 0: also of windows that reach far behind their input."""
    g = geometry
    if g.adaptive or g.stride[-1] > 2 or g.window[-1] > g.in_size[-1] + LINE:
        return 0
    return g.stride[-1]


def seconds(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Some time for each vector that a window accumulates, and for each line or loop over a window, and the bytes' own."""
    vectors, lines = accumulated(geometry, dtype, machine)
    each, of_line = (1e-9, 12e-9) if reductions.rows_are_lines(geometry) else (0.65e-9, 10e-9)
    return 3e-6 + each * vectors + of_line * lines + machine.seconds(0, geometry.bytes(dtype.itemsize))


def accumulated(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> tuple[float, int]:
    """Vectors that windows accumulate, or cells where vectors do not reach them, and lines, or loops over windows."""
    g, lanes, outputs = geometry, machine.lanes(reductions.computed(geometry, dtype)), prod(geometry.out_shape)
    if not reductions.rows_are_lines(g):
        pixels = outputs // max(1, g.channels)
        fours, ones = divmod(-(-g.channels // lanes), 4)
        return pixels * -(-g.channels // lanes) * g.taps, pixels * (fours + ones)
    columns = g.kernel[-1] if not g.adaptive else -(-g.in_size[-1] // max(1, g.out_size[-1]))
    rows, together = -(-g.taps // max(1, columns)), lanes if stride_of(g) else 1
    lines = outputs // max(1, g.out_size[-1])
    return lines * (-(-g.in_size[-1] // lanes) * rows + -(-g.out_size[-1] // together) * columns), lines


def launch(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine, stride: int) -> Launch:
    """The kernel of the layout with its arguments."""
    g, real, t = geometry, reductions.computed(geometry, dtype), lifted(geometry)
    kind, lanes = reductions.kind_of(g, dtype), machine.lanes(real)
    names = kind, lanes, element(dtype), machine.isa
    rows, work = g.batch * t.out_size[0] * t.out_size[1], 2 * g.flops // lanes * 4
    cells, outputs, dilation, initial = axes(t.in_size), axes(t.out_size), axes(t.dilation), reductions.initial(kind, real)
    if not reductions.rows_are_lines(g):
        sizes = written(PixelSizes(g.channels, cells, outputs, dilation, t.windows))
        return Launch(channels_last_kernel(*names), rows, work, (sizes, np.empty(0, real), initial))
    strip, line = strip_of(g, lanes)
    divisors, fold = row_of_divisors(g, dtype, lanes) if stride else (np.empty(0, real), Fold(0, 0))
    sizes = written(LineSizes(cells, outputs, dilation, t.windows, strip, line, fold))
    return Launch(channels_first_kernel(stride, *names), rows * g.channels, work, (sizes, divisors, initial))


def strip_of(geometry: PoolGeometry, lanes: int) -> tuple[int, int]:
    """(outputs of a line, its elements): a row, or as many outputs as a line of LINE cells beside a window has.

    Behind the padded row there is room for what a last vector reads and does not use.
    """
    g, outputs = geometry, max(1, geometry.out_size[-1])
    step, reach = g.stride[-1], g.window[-1]
    if g.adaptive:
        step, reach = -(-g.in_size[-1] // outputs), largest_window(g.in_size[-1], g.out_size[-1])
    strip = min(outputs, max(2 * lanes, LINE // step))
    cells = (strip - 1) * step + reach
    return strip, (cells if stride_of(g) else min(cells, g.in_size[-1])) + 3 * lanes
