"""V [P][t, c] = B^T x[t] B of a block of tiles: what of x is copied first, and where a tile's cells then lie.

Channels first, a block is copied with its padding, channels last. Channels last, tiles are read where they lie, and those that
meet padding are copied. Where the channels of one tap do not fill a vector, those of all taps are gathered.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from fastconv.kernels.jit import compiled
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import windows
from fastconv.kernels.simd.engine.filtering import Cells, cells_of, input_transform
from fastconv.kernels.simd.engine.sizes import Axes
from fastconv.kernels.simd.winograd.blocks import tap_of, tile_of

cell_under, peek, poke = windows.cell_under, vector.peek, vector.poke


class Window(NamedTuple):
    """The cells under a tile: the first one's address, and elements from one depth, row and column to the next."""

    at: Any
    d: int
    h: int
    w: int


@compiled
def is_inside(corner, depths, reach, s):
    """Whether so many slices from `corner` on, of `reach` cells, hold no padding."""
    inside = corner.d >= 0 and corner.d + (depths - 1) * s.dilation_d < s.cells.d
    inside = inside and corner.h >= 0 and corner.h + reach.h <= s.cells.h
    return inside and corner.w >= 0 and corner.w + reach.w <= s.cells.w


@compiled
def offset_of(corner, x):
    """Elements of x from the first cell to another."""
    return corner.d * x.d + corner.h * x.h + corner.w * x.w


@compiled
def corner_of(number, block, s):
    """The first cell of a tile's first tap."""
    tile = tile_of(number, block, s)
    return Axes(block.corner.d, block.corner.h + tile.h * s.stride.h, block.corner.w + tile.w * s.stride.w)


# Where the cells of a tile lie ------------------------------------------------------------------------------------------


@compiled
def window_in_block(number, block, work, s):
    """The window of a tile in the copy of its block."""
    tile = tile_of(number, block, s)
    row = block.cells.w * s.c_group
    at = work.windows + (tile.h * s.stride.h * row + tile.w * s.stride.w * s.c_group)
    return Window(at, block.cells.h * row, row, s.c_group)


@lru_cache(maxsize=8)
def block_packer(lanes: int, channels_last: bool) -> Any:
    """The compiled copy of a block's cells, channels last."""
    pack = windows.packer(lanes, channels_last)

    def pack_block(source, block, work, tables, s):
        cells = windows.Block(block.corner, s.depths, s.dilation_d, block.cells.h, block.cells.w, s.c_group, s.c_group)
        pack(source, cells, work.windows, tables.steps)

    return compiled(pack_block)


@lru_cache(maxsize=8)
def window_finder(lanes: int) -> Any:
    """The compiled window of a tile with all of its taps, channels last: in x itself, or copied with its padding."""
    pack = windows.packer(lanes, True)

    def window_of(corner, source, work, tables, s):
        if is_inside(corner, s.depths, s.window, s):
            return Window(source.at + offset_of(corner, s.x), s.dilation_d * s.x.d, s.x.h, s.x.w)
        row, to = s.window.w * s.c_group, vector.like(work.windows, source.at)
        cells = windows.Block(corner, s.depths, s.dilation_d, s.window.h, s.window.w, s.c_group, s.c_group)
        pack(source, cells, to, tables.steps)
        return Window(to, s.window.h * row, row, s.c_group)

    return compiled(window_of)


@lru_cache(maxsize=8)
def cells_finder(form: tuple[int, int], lanes: int) -> Any:
    """The compiled cells of a tile's one tap, channels last: in x itself, or copied with their padding."""
    (rows, columns), (copy, clear) = cells_of(form), windows.runs(lanes)

    @compiled
    def copy_cells(corner, source, to, s):
        """to[i, j][c] = the cells of a tile, padding filled in by its mode."""
        d = cell_under(corner.d, s.cells.d, source.mode)
        for i in range(rows):
            h = cell_under(corner.h + i * s.step.h, s.cells.h, source.mode)
            for j in range(columns):
                w, at = cell_under(corner.w + j * s.step.w, s.cells.w, source.mode), to + (i * columns + j) * s.c_group
                if d < 0 or h < 0 or w < 0:
                    clear(at, source.fill, s.c_group)
                else:
                    copy(at, source.at + (d * s.x.d + h * s.x.h + w * s.x.w), s.c_group)

    def cells_under_tile(corner, source, work, s):
        if is_inside(corner, 1, s.reach, s):
            return Cells(source.at + offset_of(corner, s.x), s.step.h * s.x.h, s.step.w * s.x.w)
        to = vector.like(work.windows, source.at)
        copy_cells(corner, source, to, s)
        return Cells(to, columns * s.c_group, s.c_group)

    return compiled(cells_under_tile)


# Transforms of a block --------------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def gatherer(form: tuple[int, int], lanes: int) -> Any:
    """The compiled to[i, j][tap][c] of the cells of a tile: few channels of all taps make whole vectors."""
    rows, columns = cells_of(form)

    @compiled
    def gather(cells, offsets, taps, channels, to, pitch):
        for i in range(rows):
            for j in range(columns):
                source, cell = cells.at + (i * cells.row + j * cells.column), to + (i * columns + j) * pitch
                for tap in range(taps):  # lanes behind the channels are those of the next tap, or room
                    vector.store(cell + tap * channels, vector.load_first(source + peek(offsets + tap), channels, lanes))

    def gather_tile(window, work, tables, sizes, s):
        """The cells of a tile's taps, gathered."""
        for number in range(s.taps):
            tap = tap_of(sizes, number, s.taps)
            poke(tables.taps + number, tap.d * window.d + tap.h * window.h + tap.w * window.w)
        cells = Cells(window.at, s.step.h * window.h, s.step.w * window.w)
        gather(cells, tables.taps, s.taps, s.c_group, work.gathered, s.c_pitch)
        return Cells(work.gathered, columns * s.c_pitch, s.c_pitch)

    return compiled(gather_tile)


@lru_cache(maxsize=16)
def inputs_first(form: tuple[int, int], lanes: int, dtype: str) -> Any:
    """The compiled transform of a block of planes."""
    pack_block, to_planes = block_packer(lanes, False), input_transform(form, lanes, dtype)

    def transform_inputs(source, block, work, tables, sizes, s):
        pack_block(source, block, work, tables, s)
        for t in range(block.tiles.h * block.tiles.w):
            window = window_in_block(t, block, work, s)
            row, column = s.step.h * window.h, s.step.w * window.w
            for number in range(s.taps):
                tap = tap_of(sizes, number, s.taps)
                cells = Cells(window.at + (tap.d * window.d + tap.h * window.h + tap.w * window.w), row, column)
                to_planes(cells, s.c_group, work.tile, work.v + (t * s.c_pitch + number * s.c_group), s.v_plane)

    return compiled(transform_inputs)


@lru_cache(maxsize=16)
def inputs_last(form: tuple[int, int], lanes: int, dtype: str) -> Any:
    """The compiled transform of tiles that are read where they lie."""
    find_cells, to_planes = cells_finder(form, lanes), input_transform(form, lanes, dtype)

    def transform_inputs(source, block, work, tables, sizes, s):
        for t in range(block.tiles.h * block.tiles.w):
            first = corner_of(t, block, s)
            for number in range(s.taps):
                tap = tap_of(sizes, number, s.taps)
                corner = Axes(first.d + tap.d * s.dilation_d, first.h + tap.h, first.w + tap.w)
                cells = find_cells(corner, source, work, s)
                to_planes(cells, s.c_group, work.tile, work.v + (t * s.c_pitch + number * s.c_group), s.v_plane)

    return compiled(transform_inputs)


@lru_cache(maxsize=16)
def gathered_first(form: tuple[int, int], lanes: int, dtype: str) -> Any:
    """The compiled transform of a block of planes, of all taps at once."""
    pack_block, gather_tile = block_packer(lanes, False), gatherer(form, lanes)
    to_planes = input_transform(form, lanes, dtype)

    def transform_inputs(source, block, work, tables, sizes, s):
        pack_block(source, block, work, tables, s)
        for t in range(block.tiles.h * block.tiles.w):
            cells = gather_tile(window_in_block(t, block, work, s), work, tables, sizes, s)
            to_planes(cells, s.taps * s.c_group, work.tile, work.v + t * s.c_pitch, s.v_plane)

    return compiled(transform_inputs)


@lru_cache(maxsize=16)
def gathered_last(form: tuple[int, int], lanes: int, dtype: str) -> Any:
    """The compiled transform of tiles that are read where they lie, of all taps at once."""
    window_of, gather_tile = window_finder(lanes), gatherer(form, lanes)
    to_planes = input_transform(form, lanes, dtype)

    def transform_inputs(source, block, work, tables, sizes, s):
        for t in range(block.tiles.h * block.tiles.w):
            window = window_of(corner_of(t, block, s), source, work, tables, s)
            cells = gather_tile(window, work, tables, sizes, s)
            to_planes(cells, s.taps * s.c_group, work.tile, work.v + t * s.c_pitch, s.v_plane)

    return compiled(transform_inputs)


def transform_of(form: tuple[int, int], lanes: int, channels_last: bool, gathers: bool, dtype: str) -> Any:
    """The compiled transform_inputs(source, block, work, tables, sizes, s) of a layout, with all taps at once or not."""
    variants = {
        (False, False): inputs_first,
        (False, True): gathered_first,
        (True, False): inputs_last,
        (True, True): gathered_last,
    }
    return variants[channels_last, gathers](form, lanes, dtype)
