"""Stacks of rows of windows: what a tile reduces, inside of a plane and at its borders.

windows.py runs over them.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from fastconv.kernels.jit import inlined
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import requests
from fastconv.kernels.simd.engine.requests import Rows
from fastconv.kernels.simd.engine.sizes import Axes, Plane, reader
from fastconv.kernels.simd.engine.workspace import workspace
from fastconv.kernels.simd.pools import reductions
from fastconv.kernels.simd.pools.bounds import Fold, Windows, place, span

poke, pointer = vector.poke, vector.pointer


class Sizes(NamedTuple):
    """Input, outputs, cells of padding before them, cells from tap to tap, and rows that are asked for.

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
    ahead: Rows
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
    rows : (int, int)
        The first row of the windows that is in the plane, and the one behind the last, those of a dilation counted.
    d, h : int
        The depth of the outputs, and their first row.
    """

    source: Any
    to: Any
    top: int
    taps_d: int
    rows: tuple[int, int]
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
        to, inside = pointer(y) + (plane * s.outputs.h + h) * s.outputs.w, (-top, s.cells.h - top)
        return Stack(source, to, top, 1, inside, 0, h)

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
        inside = -(top // s.dilation.h), -((top - s.cells.h) // s.dilation.h)
        return Stack(source, to, top, -((window.start - window.stop) // s.dilation.d), inside, d, h)

    return inlined(spread_stack if tile.spread else dense_stack)


@lru_cache(maxsize=8)
def parter(rows: int) -> Any:
    """The compiled place, from an item on, where a part of the items may begin or end: not between stacks that overlap.

    Two stacks may make a row with other last bits: of two threads, the one that ended last would decide.
    """

    def part_from(item, s):
        stacks, step = -(-s.outputs.h // (rows * s.dilation.h)), s.dilation.h
        of_plane = item % (stacks * step)
        return item if stacks == 1 or of_plane < (stacks - 1) * step else item + (stacks * step - of_plane)

    return inlined(part_from)


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
        source, cells, spare, empty = stack.source + left, (-left, s.cells.w - left), border.row, border.empty
        return vector.reduced_windows(
            source, step, 1, stack.rows, spare, cells, empty, rows, lanes, taps_h, taps_w, stride, order, power
        )

    def reduce_plane(source, left, inside, border, s):
        step, apart, cells = s.dilation.h * s.cells.w, s.dilation.w, (-left, s.cells.w - left)
        spare, empty = border.row, border.empty
        return vector.reduced_windows(
            source, step, apart, inside, spare, cells, empty, rows, lanes, taps_h, taps_w, stride, order, power
        )

    reduce_plane = inlined(reduce_plane)

    def reduce_spread(stack, column, border, s):
        left = column * stride - s.before.w
        windows, source = vector.filled(border.empty, rows, 1, lanes), stack.source + left
        for _ in range(stack.taps_d):
            windows = vector.joined(windows, reduce_plane(source, left, stack.rows, border, s), order)
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
def stack_asker(tile: Tile, columns: int) -> Any:
    """The compiled request for what tiles of `columns` vectors read, and write, some rows further on."""
    ask = requests.asker(tile.rows * tile.stride, columns * tile.stride, tile.lanes)
    ask_results = requests.asker(tile.rows, columns, tile.lanes)

    def ask_ahead(stack, column, s):
        if s.ahead.cells > 0:
            row = s.cells.w
            ask(stack.source + (s.ahead.cells * row + column * tile.stride - s.before.w), row)
        if s.ahead.results > 0:
            row = s.outputs.w
            ask_results(stack.to + (s.ahead.results * row + column), row)

    return inlined(ask_ahead)


@lru_cache(maxsize=64)
def masked_pooler(tile: Tile) -> Any:
    """The compiled outputs of one vector a row, from `column` on."""
    rows, ask = tile.rows, stack_asker(tile, 1)
    reduce, finish = masked_reducer(tile), tile_finisher(tile.kind)

    def pool_tile(stack, column, divisors, border, s):
        room = s.outputs.w - column
        ask(stack, column, s)
        windows = reduce(stack, column, border, s)
        windows = finish(windows, divisors, column, room, s)
        vector.store_spans(windows, stack.to + column, s.dilation.h * s.outputs.w, rows, room)

    return inlined(pool_tile)


def reach_of(tile: Tile) -> int:
    """The cells of a row that a tile reads whose windows meet no padding."""
    width, taps, stride = tile.columns * tile.lanes, tile.taps[1], tile.stride
    if stride > 2:
        return (tile.columns - 1) * tile.lanes * stride + vector.begins_of(taps, tile.lanes, stride)[-1] + tile.lanes
    return width * stride + (taps - 1 if stride == 1 else vector.rest_of(taps))


@lru_cache(maxsize=64)
def inside_pooler(tile: Tile) -> tuple[Any, Any]:
    """The compiled outputs of several vectors a row, whose windows meet no padding, and whether they are such."""
    rows, columns, (taps_h, taps_w), stride, lanes = tile.rows, tile.columns, tile.taps, tile.stride, tile.lanes
    order, power = reductions.order_and_power(tile.kind)
    height, width, finish = (rows - 1) * stride + taps_h, columns * lanes, tile_finisher(tile.kind)
    reach = reach_of(tile)
    ask = stack_asker(tile, columns)

    def is_inside(stack, column, s):
        left = column * stride - s.before.w
        rows_inside = stack.top >= 0 and stack.top + height <= s.cells.h
        return rows_inside and left >= 0 and s.outputs.w - column >= width and left + reach <= s.cells.w

    def pool_tile(stack, column, divisors, s):
        source = stack.source + (column * stride - s.before.w)
        ask(stack, column, s)
        windows = vector.reduced_inside(
            source, s.cells.w, 1, rows, columns, lanes, taps_h, taps_w, stride, stride, order, power
        )
        windows = finish(windows, divisors, column, width, s)
        vector.store_spans(windows, stack.to + column, s.outputs.w, rows, width)

    return inlined(pool_tile), inlined(is_inside)
