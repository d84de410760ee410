"""Pools of small windows, channels first: each plane is read where it lies, and windows are reduced in registers.

Vectors lie along the width, half ones where they hold a row. A tile has one vector of several output rows. What windows
accumulate of an input row is reduced once, and goes to all of them that have the row; at strides of more than 2 the rows of a
window are joined first, and cells that lie a stride apart are brought together once. Cells of padding are left out by masks,
and rows of padding are read from a line of values that never win, or add nothing. Windows of several depths are joined plane
by plane. Where windows are dilated, a tile has the output rows that share input rows.
"""

from collections.abc import Iterator
from functools import lru_cache, partial
from math import prod
from typing import Any

import numpy as np

from fastconv.kernels.jit import Kernel, element
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import requests
from fastconv.kernels.simd.engine.costs import Candidate
from fastconv.kernels.simd.engine.sizes import Plane, axes, written
from fastconv.kernels.simd.engine.tables import TILES
from fastconv.kernels.simd.engine.workspace import keep
from fastconv.kernels.simd.pools import reductions
from fastconv.kernels.simd.pools.bounds import lifted, row_of_divisors
from fastconv.kernels.simd.pools.launches import Launch
from fastconv.kernels.simd.pools.stacks import (
    Border,
    Divisors,
    Parts,
    Sizes,
    Tile,
    carve,
    divider,
    inside_pooler,
    masked_pooler,
    parter,
    read,
    stacks_of_tile,
)
from fastconv.machine import Machine
from fastconv.problem.pools import PoolGeometry

pointer = vector.pointer


@lru_cache(maxsize=64)
def windows_kernel(tile: Tile, dtype: str, isa: str) -> Kernel:
    """The compiled loops over stacks of output rows of a plane: f32_max_pool_4x1_3x3s2_windows_avx512.

    With several columns, or strides of more than 2, tiles without a mask go where no window meets padding.
    """
    rows, lanes, width = tile.rows, tile.lanes, tile.columns * tile.lanes
    stack_of, part_from = stacks_of_tile(tile), parter(rows)
    fill, write_divisors = reductions.part_filler(lanes), divider(tile)
    pool_tile, (pool_inside, is_inside) = masked_pooler(tile), inside_pooler(tile)

    def pool(begin, end, x, y, sizes, widths, empty):
        """y[p, o] = leave(the sum, or the best, of x[p, i] over the cells i of window o)"""
        s = read(sizes)
        work, memory = carve(Parts(row=s.spare, divisors=rows), x)
        row = vector.like(work.row, pointer(x))
        fill(row, s.spare, empty)
        divisors, border = Divisors(work.divisors, pointer(widths)), Border(row, empty)
        for item in range(part_from(begin, s), part_from(end, s)):
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
        for item in range(part_from(begin, s), part_from(end, s)):
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

    large = tile.columns > 1 or (tile.stride > 2 and not tile.spread)
    function, window = pool_large if large else pool, f"{tile.taps[0]}x{tile.taps[1]}s{tile.stride}"
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
    return small(geometry, dtype, machine, LARGEST) and not geometry.return_indices


def small(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine, most: int) -> bool:
    """Whether windows are small and at `most` so far apart, masks cheap, and what reduces them written for the dtype."""
    g = geometry
    return bool(
        machine.vector_bytes >= 32
        and dtype.kind == "f"
        and reductions.rows_are_lines(g)
        and not g.adaptive
        and g.kernel[-2:][0] == g.kernel[-1] <= LARGEST  # the tile is compiled for each window
        and g.stride[-2:][0] == g.stride[-1] <= (most if max(g.dilation[-2:]) == 1 else 1)
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
    if stride > 2:  # the rows of each window, and what brings its columns together
        cycles = 10 + rows * (1.3 * stride * taps_h + 0.8 * stride**2 + g.kernel[-1])
    if spreads(g):  # each depth is joined to the ones before
        depths = prod(g.kernel[:-2])
        each = 1.2 if stride > 2 else 0.7 if depths > 2 else 0.95
        cycles = each * depths * (cycles + 3 * rows) * (1.5 if g.in_size[-1] % CONFLICT == 0 else 1)
    elif g.rank == 1:
        cycles *= 0.6
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
    if g.stride[-1] > 2 or (g.stride[-1] > 1 and most * g.stride[-1] * row > machine.l1 // 2):
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


def rows_ahead(geometry: PoolGeometry, rows: int, dtype: np.dtype[Any], machine: Machine) -> requests.Rows:
    """What is asked for: of a row alone nothing, and no results where rows of a tile lie apart, or depths are joined."""
    g, reach = geometry, (rows - 1) * geometry.stride[-1] + geometry.kernel[-1]
    if g.rank == 1:
        return requests.Rows(0, 0)
    found = requests.rows_ahead(reach, prod(g.in_size) * dtype.itemsize, g.bytes(dtype.itemsize), machine)
    return requests.Rows(min(found.cells, max(requests.AHEAD, reach)), 0) if spreads(g) else found


def launch(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine, cut: tuple[int, int]) -> Launch:
    """The kernel of the tile with its arguments."""
    g, t, kind = geometry, lifted(geometry), reductions.kind_of(geometry, dtype)
    tile = Tile(kind, *cut, (t.kernel[1], t.kernel[2]), g.stride[-1], spreads(g), machine.lanes_for(g.out_size[-1], dtype))
    cells, outputs, dilation, before = axes(t.in_size), axes(t.out_size), axes(t.dilation), Plane(*t.before[1:])
    widths, fold = row_of_divisors(g, dtype, tile.columns * tile.lanes)
    sizes = written(
        Sizes(cells, outputs, before, dilation, rows_ahead(g, cut[0], dtype, machine), t.windows, spare_of(g, tile.lanes), fold)
    )
    kernel = windows_kernel(tile, element(dtype), machine.isa)
    return Launch(kernel, stacks_of(g, cut[0]), 8 * g.flops // tile.lanes, (sizes, widths, reductions.initial(kind, dtype)))
