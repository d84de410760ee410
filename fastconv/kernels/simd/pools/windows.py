"""Pools of small windows, channels first: each plane is read where it lies, and windows are reduced in registers.

Vectors lie along the width, half ones where they hold a row. A tile has one vector of several output rows. What windows
accumulate of an input row is reduced once, and goes to all of them that have the row. Cells of padding are left out by masks,
rows of padding are read from a line of values that never win, or add nothing. Windows of several depths are joined plane by
plane. Where windows are dilated, a tile has the output rows that share input rows.
"""

from collections.abc import Iterator
from functools import lru_cache, partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled, element, inlined
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.costs import Candidate
from fastconv.kernels.simd.engine.sizes import Axes, Plane, axes, reader, written
from fastconv.kernels.simd.engine.tables import TILES
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.kernels.simd.pools import reductions
from fastconv.kernels.simd.pools.bounds import Fold, Windows, lifted, place, row_of_divisors, span
from fastconv.kernels.simd.pools.launches import Launch
from fastconv.machine import Machine
from fastconv.problem.pools import PoolGeometry

poke, pointer = vector.poke, vector.pointer
AHEAD = 8  # rows of a plane, or more, that are asked for before they are read
FAR = 16 << 10  # bytes of a plane that is worth that


class Sizes(NamedTuple):
    """Input, outputs, cells of padding before them, cells from tap to tap, and whether rows ahead are asked for.

    Attributes
    ----------
    spare : int
        Values that stand for the cells of a tile's row of padding.
    fold : Fold
        Of the divisors of a row.
    """

    cells: Axes
    outputs: Axes
    before: Plane
    dilation: Axes
    far: int
    windows: Windows
    spare: int
    fold: Fold


class Stack(NamedTuple):
    """The output rows of an item.

    Attributes
    ----------
    source : pointer
        The input row of the first tap, which may lie before the plane: its number is `top`.
    to : pointer
        The first output row.
    top, taps_d : int
        Input row and depths of the windows.
    d, h : int
        The depth of the outputs, and their first row.
    """

    source: Any
    to: Any
    top: int
    taps_d: int
    d: int
    h: int


class Border(NamedTuple):
    """What padding holds: a tile's row of such values, and one."""

    row: Any
    empty: Any


class Divisors(NamedTuple):
    """What averages divide by: those of a stack's rows, times those of a row's columns."""

    rows: Any
    columns: Any


class Parts(NamedTuple):
    """A tile's row of padding, and a divisor for each row of a stack."""

    row: int
    divisors: int


read, carve = reader(Sizes), workspace(Parts)


class Tile(NamedTuple):
    """The tile that a kernel is compiled for: rows x columns vectors of outputs, and their windows.

    Attributes
    ----------
    spread : bool
        Whether windows are dilated, or of several depths.
    """

    kind: str
    rows: int
    columns: int
    taps: tuple[int, int]
    stride: int
    spread: bool
    lanes: int


@lru_cache(maxsize=64)
def stacks_of_tile(tile: Tile) -> Any:
    """The compiled stack_of(item, x, y, s): the stacks of all planes follow each other.

    Where windows are spread, the output rows of a stack lie a dilation apart: of every residue there are as many stacks. The
    last of them may overlap.
    """
    rows, stride = tile.rows, tile.stride

    def dense_stack(item, x, y, s):
        plane, stack = divmod(item, -(-s.outputs.h // rows))
        h = min(stack * rows, s.outputs.h - rows)
        top = h * stride - s.before.h
        source = pointer(x) + (plane * s.cells.h + top) * s.cells.w
        return Stack(source, pointer(y) + (plane * s.outputs.h + h) * s.outputs.w, top, 1, 0, h)

    def spread_stack(item, x, y, s):
        stacks = -(-s.outputs.h // (rows * s.dilation.h))
        plane, of_plane = divmod(item, stacks * s.dilation.h)
        image, d = divmod(plane, s.outputs.d)
        window = span(s.windows.d, d)
        stack, residue = divmod(of_plane, s.dilation.h)
        share = (s.outputs.h - residue - 1) // s.dilation.h + 1
        h = residue + min(stack * rows, share - rows) * s.dilation.h
        top = h * stride - s.before.h
        source = pointer(x) + ((image * s.cells.d + window.start) * s.cells.h + top) * s.cells.w
        to = pointer(y) + (plane * s.outputs.h + h) * s.outputs.w
        return Stack(source, to, top, -((window.start - window.stop) // s.dilation.d), d, h)

    return compiled(spread_stack if tile.spread else dense_stack)


@lru_cache(maxsize=64)
def divider(tile: Tile) -> Any:
    """The compiled divisors of a stack's rows, which averages have."""
    rows, averages = tile.rows, tile.kind == "avg"

    def write_divisors(to, stack, s):
        if averages:
            of_depth = span(s.windows.d, stack.d).count
            for row in range(rows):
                poke(to + row, of_depth * span(s.windows.h, stack.h + row * s.dilation.h).count)

    return inlined(write_divisors)


@lru_cache(maxsize=64)
def masked_reducer(tile: Tile) -> Any:
    """The compiled windows of one vector a row, from `column` on: cells of padding are left out."""
    rows, (taps_h, taps_w), stride, lanes = tile.rows, tile.taps, tile.stride, tile.lanes
    order, power = reductions.order_and_power(tile.kind)

    def reduce_dense(stack, column, border, s):
        left, step = column * stride - s.before.w, s.cells.w
        inside, cells = (-stack.top, s.cells.h - stack.top), (-left, s.cells.w - left)
        source, spare, empty = stack.source + left, border.row, border.empty
        return vector.reduced_windows(
            source, step, 1, inside, spare, cells, empty, rows, lanes, taps_h, taps_w, stride, order, power
        )

    def reduce_plane(source, left, top, border, s):
        inside, cells = (-(top // s.dilation.h), -((top - s.cells.h) // s.dilation.h)), (-left, s.cells.w - left)
        step, apart, spare, empty = s.dilation.h * s.cells.w, s.dilation.w, border.row, border.empty
        return vector.reduced_windows(
            source, step, apart, inside, spare, cells, empty, rows, lanes, taps_h, taps_w, stride, order, power
        )

    reduce_plane = inlined(reduce_plane)

    def reduce_spread(stack, column, border, s):
        left = column * stride - s.before.w
        windows, source = vector.filled(border.empty, rows, 1, lanes), stack.source + left
        for _ in range(stack.taps_d):
            windows = vector.joined(windows, reduce_plane(source, left, stack.top, border, s), order)
            source = source + s.dilation.d * s.cells.h * s.cells.w
        return windows

    return inlined(reduce_spread if tile.spread else reduce_dense)


@lru_cache(maxsize=64)
def tile_finisher(kind: str) -> Any:
    """The compiled end of a tile's windows: an average divides the first `room` columns from one on, a norm has a root."""
    order, power = reductions.order_and_power(kind)

    def divide(windows, divisors, column, room, s):
        return vector.divided_rows(windows, divisors.rows, 1, divisors.columns + place(column, s.fold), room)

    def root(windows, divisors, column, room, s):
        return vector.root(windows, power)

    def leave(windows, divisors, column, room, s):
        return windows

    return inlined(divide if kind == "avg" else root if order == 0 and power > 1 else leave)


@lru_cache(maxsize=64)
def asker(rows: int, parts: int, lanes: int, ahead: int) -> Any:
    """The compiled request that `parts` vectors of each of `rows` rows, which lie `ahead` rows on, come into the L2 cache."""

    def ask(at, step, far):
        if far > 0:
            for row in range(rows):
                for part in range(parts):
                    vector.prefetch(at + ((ahead + row) * step + part * lanes))

    return inlined(ask)


@lru_cache(maxsize=64)
def masked_pooler(tile: Tile) -> Any:
    """The compiled outputs of one vector a row, from `column` on."""
    rows, stride, lanes = tile.rows, tile.stride, tile.lanes
    reduce, finish = masked_reducer(tile), tile_finisher(tile.kind)
    ask = asker(rows * stride, stride, lanes, max(AHEAD, (rows - 1) * stride + tile.taps[0]))

    def pool_tile(stack, column, divisors, border, s):
        room = s.outputs.w - column
        ask(stack.source + (column * stride - s.before.w), s.cells.w, s.far)
        windows = reduce(stack, column, border, s)
        windows = finish(windows, divisors, column, room, s)
        vector.store_spans(windows, stack.to + column, s.dilation.h * s.outputs.w, rows, room)

    return inlined(pool_tile)


@lru_cache(maxsize=64)
def inside_pooler(tile: Tile) -> tuple[Any, Any]:
    """The compiled outputs of several vectors a row, whose windows meet no padding, and whether they are such."""
    rows, columns, (taps_h, taps_w), stride, lanes = tile.rows, tile.columns, tile.taps, tile.stride, tile.lanes
    order, power = reductions.order_and_power(tile.kind)
    height, width, finish = (rows - 1) * stride + taps_h, columns * lanes, tile_finisher(tile.kind)
    reach = width * stride + (taps_w - 1 if stride == 1 else vector.rest_of(taps_w))  # cells of a row that such a tile reads
    ask = asker(rows * stride, columns * stride, lanes, max(AHEAD, height))

    def is_inside(stack, column, s):
        left = column * stride - s.before.w
        rows_inside = stack.top >= 0 and stack.top + height <= s.cells.h
        return rows_inside and left >= 0 and s.outputs.w - column >= width and left + reach <= s.cells.w

    def pool_tile(stack, column, divisors, s):
        source = stack.source + (column * stride - s.before.w)
        ask(source, s.cells.w, s.far)
        windows = vector.reduced_inside(
            source, s.cells.w, 1, rows, columns, lanes, taps_h, taps_w, stride, stride, order, power
        )
        windows = finish(windows, divisors, column, width, s)
        vector.store_spans(windows, stack.to + column, s.outputs.w, rows, width)

    return inlined(pool_tile), inlined(is_inside)


@lru_cache(maxsize=64)
def windows_kernel(tile: Tile, dtype: str, isa: str) -> Kernel:
    """The compiled loops over stacks of output rows of a plane: f32_max_pool_4x1_3x3s2_windows_avx512.

    With several columns, tiles of so many vectors a row go where no window meets padding, of one vector at the edges.
    """
    rows, lanes, width, stack_of = tile.rows, tile.lanes, tile.columns * tile.lanes, stacks_of_tile(tile)
    fill, write_divisors = reductions.part_filler(lanes), divider(tile)
    pool_tile, (pool_inside, is_inside) = masked_pooler(tile), inside_pooler(tile)

    def pool(begin, end, x, y, sizes, widths, empty):
        """y[p, o] = leave(the sum, or the best, of x[p, i] over the cells i of window o)"""
        s = read(sizes)
        work, memory = carve(Parts(row=s.spare, divisors=rows), x)
        row = vector.like(work.row, pointer(x))
        fill(row, s.spare, empty)
        divisors, border = Divisors(work.divisors, pointer(widths)), Border(row, empty)
        for item in range(begin, end):
            stack = stack_of(item, x, y, s)
            write_divisors(work.divisors, stack, s)
            for column in range(0, s.outputs.w, lanes):
                pool_tile(stack, column, divisors, border, s)
        keep(memory)

    def pool_large(begin, end, x, y, sizes, widths, empty):
        """y[p, o] = leave(the sum, or the best, of x[p, i] over the cells i of window o)"""
        s = read(sizes)
        work, memory = carve(Parts(row=s.spare, divisors=rows), x)
        row = vector.like(work.row, pointer(x))
        fill(row, s.spare, empty)
        divisors, border = Divisors(work.divisors, pointer(widths)), Border(row, empty)
        for item in range(begin, end):
            stack, column = stack_of(item, x, y, s), np.int64(0)
            write_divisors(work.divisors, stack, s)
            while column < s.outputs.w:
                if is_inside(stack, column, s):
                    pool_inside(stack, column, divisors, s)
                    column += width
                else:
                    pool_tile(stack, column, divisors, border, s)
                    column += lanes
        keep(memory)

    function, window = pool_large if tile.columns > 1 else pool, f"{tile.taps[0]}x{tile.taps[1]}s{tile.stride}"
    spread = "_spread" if tile.spread else ""
    function.__name__ = f"{dtype}_{tile.kind}_pool_{tile.rows}x{tile.columns}_{window}{spread}_windows_{isa}"
    return Kernel(function)


# Decisions --------------------------------------------------------------------------------------------------------------

WIDE = 15  # cycles of a row of the windows of volumes, at most
LONG = 4  # vectors of tiles of one row
ROWS = (14, 7, 4, 2, 1)  # output rows of a tile
LARGEST = 7  # cells of a window on either axis
ROWS_OF_LONG = 4  # where rows are long and share little: more leave the L1 cache before their next columns are read
WIDEST = 1 << 15  # cells that a window may reach behind its row
CONFLICT = 1024  # elements of a row, or a multiple: all rows fall into the same sets of an L1 cache, which holds few then
APART = 4, 2  # (rows, vectors) of tiles of stride 2, where rows have more than three vectors


def candidates(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> Iterator[Candidate]:
    """The tile that takes the fewest cycles."""
    if suits(geometry, dtype, machine):
        tile = tile_for(geometry, dtype, machine)
        cycles = stacks_of(geometry, tile[0]) * cycles_of_stack(tile, geometry, dtype, machine)
        seconds = 3e-6 + machine.seconds(cycles, geometry.bytes(dtype.itemsize))
        yield Candidate(seconds, tile, partial(launch, geometry, dtype, machine, tile))


def suits(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> bool:
    """Whether these kernels serve a pool."""
    return small(geometry, dtype, machine) and not geometry.return_indices


def small(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> bool:
    """Whether windows are small, masks cheap, and what reduces them written for the dtype."""
    g = geometry
    return bool(
        machine.vector_bytes >= 32
        and dtype.kind == "f"
        and reductions.rows_are_lines(g)
        and not g.adaptive
        and g.kernel[-2:][0] == g.kernel[-1] <= LARGEST  # the tile is compiled for each window
        and g.stride[-2:][0] == g.stride[-1] <= (2 if max(g.dilation[-2:]) == 1 else 1)
        and plane_of(g)[0] >= plane_of(g)[2]
        and g.window[-1] <= g.in_size[-1] + WIDEST
    )


def plane_of(geometry: PoolGeometry) -> tuple[int, int, int]:
    """(output rows, rows of a window, dilation of rows) of a plane."""
    g = geometry
    return (g.out_size[-2], g.kernel[-2], g.dilation[-2]) if g.rank > 1 else (1, 1, 1)


def spreads(geometry: PoolGeometry) -> bool:
    """Whether windows are dilated, or of several depths."""
    return geometry.rank > 2 or max(geometry.dilation) > 1


def cycles_of_stack(tile: tuple[int, int], geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Loads and combinations of the tiles of so many rows."""
    g, stride, taps_h, rows = geometry, geometry.stride[-1], plane_of(geometry)[1], tile[0]
    of_row = 1.8 * g.kernel[-1] * stride + 3
    cycles = 0.8 * (((rows - 1) * stride + taps_h) * (min(of_row, WIDE) if spreads(g) else of_row) + 4 * rows)
    if spreads(g):  # each depth is joined to the ones before
        depths = prod(g.kernel[:-2])
        each = 0.7 if depths > 2 else 0.95
        cycles = each * depths * (cycles + 3 * rows) * (1.5 if g.in_size[-1] % CONFLICT == 0 else 1)
    return 25 + -(-g.out_size[-1] // machine.lanes_for(g.out_size[-1], dtype)) * cycles


def tile_for(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> tuple[int, int]:
    """(rows, vectors) of the tile: the one that takes the fewest cycles over a plane's rows, but for rows that conflict."""
    g, most = geometry, TILES[machine.isa].pool_rows
    row, (outputs, taps_h, step) = g.in_size[-1] * dtype.itemsize, plane_of(geometry)
    share = outputs // step  # of the rows that lie `step` apart
    if g.rank == 1 and not spreads(g):
        return 1, LONG
    if g.stride[-1] == 1 and g.in_size[-1] % CONFLICT == 0 and not spreads(g):
        large = TILES[machine.isa].pool_large[taps_h > 3]
        if large[0] <= outputs:
            return large
    if g.stride[-1] == 2 and share >= APART[0] and g.out_size[-1] > 3 * machine.lanes(dtype) and not spreads(g):
        return APART
    if g.stride[-1] > 1 and most * g.stride[-1] * row > machine.l1 // 2:
        most = ROWS_OF_LONG

    def cycles(rows: int) -> float:
        return -(-share // rows) * cycles_of_stack((rows, 1), g, dtype, machine)

    return min((rows for rows in ROWS if rows <= min(most, share)), key=cycles, default=1), 1


def stacks_of(geometry: PoolGeometry, rows: int) -> int:
    """Stacks of so many rows that cover all planes' outputs."""
    g, (outputs, _, step) = geometry, plane_of(geometry)
    return g.batch * g.channels * prod(g.out_size[:-2]) * -(-outputs // (rows * step)) * step


def spare_of(geometry: PoolGeometry, lanes: int) -> int:
    """Cells from the first that a row of a tile of one vector reads to the last, and a vector."""
    return lanes * geometry.stride[-1] + geometry.window[-1] + lanes


def launch(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine, cut: tuple[int, int]) -> Launch:
    """The kernel of the tile with its arguments."""
    g, t, kind = geometry, lifted(geometry), reductions.kind_of(geometry, dtype)
    tile = Tile(kind, *cut, (t.kernel[1], t.kernel[2]), g.stride[-1], spreads(g), machine.lanes_for(g.out_size[-1], dtype))
    far = int(g.rank > 1 and prod(g.in_size) * dtype.itemsize >= FAR)  # the rows of a plane ahead, where it has some
    cells, outputs, dilation, before = axes(t.in_size), axes(t.out_size), axes(t.dilation), Plane(*t.before[1:])
    widths, fold = row_of_divisors(g, dtype, tile.columns * tile.lanes)
    sizes = written(Sizes(cells, outputs, before, dilation, far, t.windows, spare_of(g, tile.lanes), fold))
    kernel = windows_kernel(tile, element(dtype), machine.isa)
    return Launch(kernel, stacks_of(g, cut[0]), 8 * g.flops // tile.lanes, (sizes, widths, reductions.initial(kind, dtype)))
