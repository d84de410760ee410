"""Pools of small windows, channels last: what neighbouring windows share is reduced once, in registers.

Vectors lie along the channels. A tile has one vector of several output pixels of a row, or of a signal. What their windows
accumulate of a column of the input is reduced once, and goes to all windows that have the column; windows that share none gain
by the other pixels of the tile, while each waits for its own sums. Windows of several depths are joined plane by plane, and
where windows are dilated, a tile has the pixels that share columns. It serves pixels whose windows lie inside the plane; those
at its edges accumulate their cells one by one.
"""

from collections.abc import Iterator
from functools import lru_cache, partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled, element, inlined
from fastconv.kernels.memory import LINE
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import requests
from fastconv.kernels.simd.engine.costs import Candidate
from fastconv.kernels.simd.engine.sizes import Axes, Plane, axes, reader, written
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.kernels.simd.pools import reductions
from fastconv.kernels.simd.pools.bounds import Windows, lifted, row_of, span
from fastconv.kernels.simd.pools.launches import Launch
from fastconv.machine import Machine
from fastconv.problem.pools import PoolGeometry, Span

pointer = vector.pointer


class Columns(NamedTuple):
    """Outputs of an axis whose windows lie inside of it: first .. last - 1."""

    first: int
    last: int


class Sizes(NamedTuple):
    """What the kernel needs to know.

    Attributes
    ----------
    channels : int
    cells, outputs, before, dilation : Axes or Plane
        Of the input, the output, cells of padding before rows and columns, and cells from tap to tap.
    windows, inside : Windows, Columns
        Windows, and those of a row that are whole.
    planes, along : int
        Planes that the next depth reads first, of each tap one at most; outputs from a tile to those that it asks for, where an
        image is one row, else 0.
    """

    channels: int
    cells: Axes
    outputs: Axes
    before: Plane
    dilation: Axes
    windows: Windows
    inside: Columns
    planes: int
    along: int


class Line(NamedTuple):
    """A row of outputs.

    Attributes
    ----------
    image, to : pointer
        The image, and the row's first output.
    d, h : Span
        Its windows' depths and heights.
    top : int
        The input row of their first taps, which may be padding.
    divisor : scalar
        What its averages are divided by but for their widths.
    """

    image: Any
    to: Any
    d: Span
    h: Span
    top: int
    divisor: Any


class Parts(NamedTuple):
    """A divisor for each pixel of a tile, and a factor of 1 for each channel of a vector."""

    divisors: int
    ones: int


read, carve = reader(Sizes), workspace(Parts)


class Tile(NamedTuple):
    """The tile that a kernel is compiled for: vectors of neighbouring pixels, and their windows.

    Attributes
    ----------
    deep, ahead : bool
        Whether windows have depths, and whether the rows that come next are asked for.
    """

    kind: str
    pixels: int
    taps: tuple[int, int]
    stride: int
    deep: bool
    ahead: bool
    lanes: int


@compiled
def steps_of(s):
    """Elements of the input from a cell to the next on each axis."""
    row = s.cells.w * s.channels
    return Axes(s.cells.h * row, row, s.channels)


@lru_cache(maxsize=32)
def pixel_pooler(kind: str, lanes: int, dtype: str) -> Any:
    """The compiled outputs of a pixel whose window may be clipped: cells one by one; the last vectors may overlap."""
    r = reductions.reduction(kind, dtype)
    enter, combine, leave = r.enter, r.combine, r.leave

    def pool_pixel(line, to, widths, divisor, initial, s):
        step = steps_of(s)
        for begun in range(0, s.channels, lanes):
            c = min(begun, s.channels - lanes)
            windows, d = vector.splat(initial, lanes), line.d.start
            while d < line.d.stop:  # a range of unknown steps would divide
                h = line.h.start
                while h < line.h.stop:
                    row, w = line.image + (d * step.d + h * step.h + c), widths.start
                    while w < widths.stop:
                        windows = combine(windows, enter(vector.load(row + w * step.w, lanes)))
                        w += s.dilation.w
                    h += s.dilation.h
                d += s.dilation.d
            vector.store(to + c, leave(windows, vector.splat(divisor, lanes)))

    return inlined(pool_pixel)


@lru_cache(maxsize=64)
def tile_reducer(tile: Tile) -> Any:
    """The compiled windows of a tile, which lie inside the plane, before what follows."""
    pixels, (taps_h, taps_w), stride, lanes = tile.pixels, tile.taps, tile.stride, tile.lanes
    order, power = reductions.order_and_power(tile.kind)

    def reduce_plane(at, depths, initial, s):
        step_w, step_h = s.dilation.w * s.channels, s.dilation.h * s.cells.w * s.channels
        return vector.reduced_inside(at, step_w, step_h, pixels, 1, lanes, taps_w, taps_h, stride, 1, order, power)

    reduce_plane = inlined(reduce_plane)

    def reduce_depths(at, depths, initial, s):
        windows, step = vector.filled(initial, pixels, 1, lanes), s.dilation.d * steps_of(s).d
        for _ in range(depths.start, depths.stop, s.dilation.d):
            windows = vector.joined(windows, reduce_plane(at, depths, initial, s), order)
            at = at + step
        return windows

    return inlined(reduce_depths) if tile.deep else reduce_plane


@lru_cache(maxsize=64)
def tile_asker(tile: Tile) -> Any:
    """The compiled request for a vector of a tile's pixels in the next row, and of the cells that come under them there.

    `cells` are those of its windows in their last plane. Of an image of one row those further along are asked for.
    """
    (taps_h, taps_w), stride, pixels = tile.taps, tile.stride, tile.pixels
    ask, ask_results = requests.asker(stride if taps_h > 1 else 1, 1, tile.lanes), requests.asker(pixels, 1, tile.lanes)

    def ask_ahead(cells, results, s):
        step = steps_of(s)
        below, output = cells + ((taps_h - 1) * s.dilation.h + 1) * step.h, results + s.outputs.w * s.channels
        if s.along > 0:
            below = cells + (s.along * stride + (taps_w - 1) * s.dilation.w + 1 - stride) * step.w
            output = results + s.along * s.channels
        for plane in range(s.planes):
            for column in range(pixels * stride):
                ask(below + (column * s.dilation.w * step.w - plane * step.d), step.h)
        ask_results(output, s.dilation.w * s.channels)

    return inlined(ask_ahead)


@lru_cache(maxsize=64)
def tile_pooler(tile: Tile) -> Any:
    """The compiled outputs of neighbouring pixels whose windows lie inside the plane; the last vectors may overlap."""
    lanes, stride, ahead, reduce, ask = tile.lanes, tile.stride, tile.ahead, tile_reducer(tile), tile_asker(tile)
    order, power = reductions.order_and_power(tile.kind)
    of_line = max(lanes, LINE // 4)

    def divide(windows, work):
        return vector.divided_rows(windows, work.divisors, 1, work.ones, lanes)

    def root(windows, work):
        return vector.root(windows, power)

    def leave(windows, work):
        return windows

    finish = inlined(divide if tile.kind == "avg" else root if order == 0 and power > 1 else leave)

    def pool_tile(line, w, work, initial, s):
        step = steps_of(s)
        source = line.image + (line.d.start * step.d + line.top * step.h + (w * stride - s.before.w) * step.w)
        to, deepest = line.to + w * s.channels, (line.d.count - 1) * s.dilation.d * step.d
        for begun in range(0, s.channels, lanes):
            c = min(begun, s.channels - lanes)
            if ahead and begun % of_line == 0:
                ask(source + (deepest + c), to + c, s)
            windows = reduce(source + c, line.d, initial, s)
            vector.store_tile(finish(windows, work), to + c, s.dilation.w * s.channels)

    return inlined(pool_tile)


@lru_cache(maxsize=64)
def pixels_kernel(tile: Tile, dtype: str, isa: str) -> Kernel:
    """The compiled loops over output rows: f32_max_pool_3x1_3x3s1_pixels_avx512."""
    pixels, stride, lanes, span_h, averages = tile.pixels, tile.stride, tile.lanes, tile.taps[0] - 1, tile.kind == "avg"
    pool_pixel, pool_tile = pixel_pooler(tile.kind, lanes, dtype), tile_pooler(tile)
    fill = reductions.part_filler(lanes)

    @inlined
    def line_of(item, x, y, s):
        row, step = row_of(item, s.outputs), steps_of(s)
        d, h = span(s.windows.d, row.d), span(s.windows.h, row.h)
        image, to = pointer(x) + row.image * s.cells.d * step.d, pointer(y) + item * s.outputs.w * s.channels
        return Line(image, to, d, h, row.h * stride - s.before.h, vector.number(image, d.count * h.count))

    def pool(begin, end, x, y, sizes, initial):
        """y[n, o, c] = leave(the sum, or the best, of x[n, i, c] over the cells i of window o)"""
        s = read(sizes)
        work, memory = carve(Parts(divisors=pixels, ones=lanes), x)
        fill(work.ones, lanes, vector.number(work.ones, 1))
        for item in range(begin, end):
            line = line_of(item, x, y, s)
            whole = line.top >= 0 and line.top + span_h * s.dilation.h < s.cells.h
            if averages and s.inside.first < s.inside.last:
                fill(work.divisors, pixels, vector.number(work.ones, span(s.windows.w, s.inside.first).count) * line.divisor)
            for residue in range(min(s.dilation.w, s.outputs.w)):
                # Of the pixels residue, residue + dilation, ..., those from `inner` to `outer` begin tiles of whole windows.
                inner = s.inside.first + (residue - s.inside.first) % s.dilation.w
                outer = inner + ((s.inside.last - 1 - inner) // s.dilation.w - pixels + 1) * s.dilation.w
                w = residue
                while w < s.outputs.w:
                    if whole and inner <= w < s.inside.last and inner <= outer:
                        w = min(w, outer)  # the last tile may overlap the one before
                        pool_tile(line, w, work, initial, s)
                        w += pixels * s.dilation.w
                        continue
                    widths = span(s.windows.w, w)
                    divisor = vector.number(work.ones, widths.count) * line.divisor
                    pool_pixel(line, line.to + w * s.channels, widths, divisor, initial, s)
                    w += s.dilation.w
        keep(memory)

    window = f"{tile.taps[0]}x{tile.taps[1]}s{stride}{'_deep' * tile.deep}{'_ahead' * tile.ahead}"
    pool.__name__ = f"{dtype}_{tile.kind}_pool_{pixels}x1_{window}_pixels_{isa}"
    return Kernel(pool)


# Decisions --------------------------------------------------------------------------------------------------------------

LARGEST = 5  # cells of a window on either axis
PIXELS, FEWER = 4, 2  # outputs of a tile; where pixels lie FAR bytes apart, or a multiple, more share sets of an L1 cache
FAR, LARGE = 2048, 1024
ALONG = 4096  # bytes, or more, from a tile to cells on the same row that are asked for
SEEN = 256  # channels of a pixel, beyond which the processor sees a row as a stream
SHORT = 0.8  # of the cycles of a window, what those of vectors of 32 bytes were measured to take
LATENCY, ALONE = 4, 20  # cycles of an addition or comparison that waits for the one before; of a pixel that is in no tile


def candidates(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> Iterator[Candidate]:
    """The tile of as many pixels as the L1 cache holds."""
    if suits(geometry, dtype, machine):
        pixels = pixels_for(geometry, dtype)
        yield Candidate(seconds(geometry, dtype, machine, pixels), pixels, partial(launch, geometry, dtype, machine, pixels))


def suits(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> bool:
    """Whether windows are small, and meet whole vectors of channels."""
    g = geometry
    return bool(
        machine.vector_bytes >= 32
        and dtype.kind == "f"
        and not reductions.rows_are_lines(g)
        and g.channels >= machine.lanes(dtype)
        and apart(g, dtype) % (2 * FAR)
        and not (g.adaptive or g.return_indices)
        and 1 < g.kernel[-2:][0] == g.kernel[-1] <= LARGEST  # the tile is compiled for each window
        and g.stride[-2:][0] == g.stride[-1] <= (LARGEST if max(g.dilation[-2:]) == 1 else 1)
    )


def apart(geometry: PoolGeometry, dtype: np.dtype[Any]) -> int:
    """Bytes from one column of a window to the next."""
    return geometry.channels * geometry.dilation[-1] * dtype.itemsize


def pixels_for(geometry: PoolGeometry, dtype: np.dtype[Any]) -> int:
    """Outputs of a tile."""
    return PIXELS if apart(geometry, dtype) % FAR else FEWER


def seconds(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine, pixels: int) -> float:
    """Cycles of the cells that windows accumulate, and the bytes at memory speed."""
    g, inside = geometry, [first_and_last(geometry, axis) for axis in range(-min(2, geometry.rank), 0)]
    vectors = prod(g.out_shape) // g.channels * -(-g.channels // machine.lanes(dtype))
    shares = [(last - first) / g.out_size[axis] for axis, (first, last) in enumerate(inside, -len(inside))]
    alone = 1.0 if shares[-1] * g.out_size[-1] < pixels else 1 - prod(shares)
    together = prod(g.kernel[:-2]) * cycles_of_window(g, dtype, pixels) * (SHORT if machine.vector_bytes < 64 else 1)
    each = (1 - alone) * together + alone * (ALONE + LATENCY * g.taps)
    return 3e-6 + machine.seconds(vectors * each, g.bytes(dtype.itemsize))


def cycles_of_window(geometry: PoolGeometry, dtype: np.dtype[Any], pixels: int) -> float:
    """Of one vector and depth: a tile's share of columns, or the cells of a window that is alone in its plane."""
    g, taps, rows = geometry, geometry.kernel[-1], 1 if geometry.rank == 1 else geometry.kernel[-2]
    if prod(g.out_size) == 1:
        return LATENCY * taps * rows
    # Of more than 3 x 3 cells, those of large pixels leave the L1 cache before the next tile meets them again.
    longer = 1.0 if taps <= 3 else 0.9 if apart(g, dtype) < LARGE else 1.5
    return 2.7 * longer / pixels * ((pixels - 1) * min(taps, g.stride[-1]) + taps) * rows


def first_and_last(geometry: PoolGeometry, axis: int) -> Columns:
    """The outputs of an axis whose windows have no padding before and behind."""
    g, (before, _) = geometry, geometry.padding[axis]
    first = min(g.out_size[axis], -(-before // g.stride[axis]))
    last = (g.in_size[axis] - g.window[axis] + before) // g.stride[axis] + 1
    return Columns(first, max(first, min(g.out_size[axis], last)))


def asks(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> bool:
    """Whether what comes next is asked for: of pixels of a few lines, for longer ones are seen as streams.

    Where vectors are parts of lines, and neighbouring windows share cells, those of longer ones come late too.
    """
    g, moved = geometry, geometry.bytes(dtype.itemsize)
    deep = g.kernel[0] > 1 and g.rank > 2
    if machine.vector_bytes < LINE:
        some = g.channels <= SEEN and not (deep and g.kernel[-1] <= g.stride[-1])
        return (some or g.stride[-1] == 1) and requests.are_waited_for(moved, machine)
    return g.rank > 1 and max(g.dilation) == 1 and not deep and g.channels <= SEEN and machine.asks(moved)


def launch(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine, pixels: int) -> Launch:
    """The kernel of the tile with its arguments."""
    g, t, kind, lanes = geometry, lifted(geometry), reductions.kind_of(geometry, dtype), machine.lanes(dtype)
    before, inside = Plane(*t.before[1:]), first_and_last(g, -1)
    tiles = -(-ALONG // (g.channels * dtype.itemsize * pixels))
    along = tiles * pixels * t.dilation[2] if t.out_size[:2] == (1, 1) else 0
    planes = min(t.stride[0], t.kernel[0])
    sizes = written(
        Sizes(g.channels, axes(t.in_size), axes(t.out_size), before, axes(t.dilation), t.windows, inside, planes, along)
    )
    deep, ahead = g.kernel[0] > 1 and g.rank > 2, asks(g, dtype, machine)
    tile = Tile(kind, pixels, (t.kernel[1], t.kernel[2]), g.stride[-1], deep, ahead, lanes)
    arguments = sizes, reductions.initial(kind, dtype)
    kernel = pixels_kernel(tile, element(dtype), machine.isa)
    return Launch(kernel, g.batch * t.out_size[0] * t.out_size[1], 8 * g.flops // lanes, arguments)
