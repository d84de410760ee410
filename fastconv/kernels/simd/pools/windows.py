"""Pools of small windows, channels first: each plane is read where it lies, and windows are reduced in registers.

Vectors lie along the width, half ones where they hold a row. A tile has one vector of several output rows; what the windows
take in of an input row is found once, and goes to all of them that the row is in. Cells of padding are left out by masks, rows
of padding are read from a line of values that never win, or add nothing. Windows of several depths are joined plane by plane.
Where windows are dilated, a tile has the output rows that share input rows.
"""

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from fastconv.kernels.jit import Kernel, element
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import packing
from fastconv.kernels.simd.pools import reductions as pooling
from fastconv.machine import Machine
from fastconv.problem.pools import PoolGeometry

pointer = vector.pointer


@lru_cache(maxsize=64)
def kernel(
    kind: str, rows: int, columns: int, taps: tuple[int, int], stride: int, spread: bool, lanes: int, dtype: str, isa: str
) -> Kernel:
    """The compiled loops over stacks of output rows of a plane: f32_max_pool_4x1_3x3s2_windows_avx512.

    With several columns, tiles of so many vectors a row go where no window meets padding, of one vector at the edges. Kernels
    that spread take windows dilated, or of several depths.
    """
    (tall, wide), (order, power) = taps, pooling.order_and_power(kind)
    high, several = (rows - 1) * stride + tall, columns * lanes
    ahead = max(packing.AHEAD, high)
    reach = several * stride + (wide - 1 if stride == 1 else vector.rest_of(wide))  # cells of a row that such a tile reads
    ask_for_large, ask_for_small = (
        packing.asker(rows * stride, columns * stride, lanes),
        packing.asker(rows * stride, stride, lanes),
    )
    averages, roots = kind == "avg", order == 0 and power > 1

    def pool(begin, end, x, y, sizes, bounds, counted, widths, empty):
        rows_in, columns_in, rows_out = packing.three(sizes, 0)
        columns_out, top_pad, left_pad = packing.three(sizes, 3)
        far, depth_in, depth_out = packing.three(sizes, 6)
        step_d, step_h, step_w = packing.three(sizes, 9)
        # The output rows of a stack lie step_h apart: of every residue there are as many stacks, the last of which overlap.
        stacks = -(-rows_out // (rows * step_h))
        memory = np.full(columns_in + 1, empty)
        spare = pointer(memory)
        for item in range(begin, end):
            plane, stack = divmod(item, stacks * step_h)
            depth, image_row, d_start, d_stop = 0, plane * rows_in, 0, 1
            if spread:
                whole, depth = divmod(plane, depth_out)
                d_start, d_stop, _ = packing.three(bounds, 3 * depth)
                image_row = (whole * depth_in + d_start) * rows_in
                stack, residue = divmod(stack, step_h)
                share = (rows_out - residue - 1) // step_h + 1
                h = residue + min(stack * rows, share - rows) * step_h
            else:
                h = min(stack * rows, rows_out - rows)
            top = h * stride - top_pad
            image, line = pointer(x) + image_row * columns_in, pointer(y) + (plane * rows_out + h) * columns_out
            divisors = pointer(counted) + depth * rows_out + h
            rows_inside, column = top >= 0 and top + high <= rows_in, 0
            while column < columns_out:
                left, room = column * stride - left_pad, columns_out - column
                source = image + (top * columns_in + left)
                if columns > 1 and rows_inside and left >= 0 and room >= several and left + reach <= columns_in:
                    if far > 0:
                        ask_for_large(source + ahead * columns_in, columns_in)
                    large = vector.reduced_inside(
                        source, columns_in, 1, rows, columns, lanes, tall, wide, stride, stride, order, power
                    )
                    if averages:
                        large = vector.divided_rows(large, divisors, 1, pointer(widths) + column, room)
                    elif roots:
                        large = vector.root(large, power)
                    vector.store_spans(large, line + column, columns_out, rows, several)
                    column += several
                    continue
                if far > 0:
                    ask_for_small(source + ahead * columns_in, columns_in)
                cells = (-left, columns_in - left)
                if spread:
                    there = (-(top // step_h), -((top - rows_in) // step_h))
                    tile = vector.filled(empty, rows, 1, lanes)
                    for _ in range(d_start, d_stop, step_d):
                        more = vector.reduced_windows(
                            source,
                            step_h * columns_in,
                            step_w,
                            there,
                            spare + left,
                            cells,
                            empty,
                            rows,
                            lanes,
                            tall,
                            wide,
                            stride,
                            order,
                            power,
                        )
                        tile = vector.joined(tile, more, order)
                        source = source + step_d * rows_in * columns_in
                else:
                    there = (-top, rows_in - top)
                    tile = vector.reduced_windows(
                        source, columns_in, 1, there, spare + left, cells, empty, rows, lanes, tall, wide, stride, order, power
                    )
                if averages:
                    tile = vector.divided_rows(tile, divisors, step_h, pointer(widths) + column, room)
                elif roots:
                    tile = vector.root(tile, power)
                vector.store_spans(tile, line + column, step_h * columns_out, rows, room)
                column += lanes
        memory[0] = empty  # pointers do not keep an array alive: its last use does

    pool.__name__ = f"{dtype}_{kind}_pool_{rows}x{columns}_{tall}x{wide}s{stride}{'_spread' if spread else ''}_windows_{isa}"
    return Kernel(pool)


# Decisions --------------------------------------------------------------------------------------------------------------

LONG = 4  # vectors of tiles of one row
ROWS = (14, 7, 4, 2, 1)  # output rows of a tile
FEW = 7  # of them, where there are 16 registers
WIDEST = 7  # cells of a window on either axis
FEW_OF_LONG = 4  # output rows where they are long and share little: more leave the L1 cache before their next columns are read
CONFLICT = 1024  # elements of a row, or a multiple: all rows fall into the same sets of an L1 cache, which holds few then
APART = 4, 2  # (rows, vectors) of tiles of stride 2, where rows have more than three vectors
LARGE = {32: ((3, 5), (4, 4)), 16: ((3, 3), (4, 2))}  # (rows, vectors) of tiles there: of windows up to 3x3, and of others


def suits(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> bool:
    """Whether these kernels serve a pool."""
    return small(geometry, dtype, machine) and not geometry.return_indices


def small(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> bool:
    """Whether windows are small, masks cheap, and what reduces them written for the dtype."""
    g = geometry
    return bool(
        machine.vector_bytes >= 32
        and dtype.kind == "f"
        and pooling.rows_are_lines(g)
        and not g.adaptive
        and g.kernel[-2:][0] == g.kernel[-1] <= WIDEST  # the tile is compiled for each window
        and g.stride[-2:][0] == g.stride[-1] <= (2 if max(g.dilation[-2:]) == 1 else 1)
        and plane_of(g)[0] >= plane_of(g)[2]
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
    g, stride, tall, rows = geometry, geometry.stride[-1], plane_of(geometry)[1], tile[0]
    taken = 0.8 * (((rows - 1) * stride + tall) * (1.8 * g.kernel[-1] * stride + 3) + 4 * rows)
    if spreads(g):  # each depth is joined to the ones before
        taken = 1.5 * prod(g.kernel[:-2]) * (taken + 3 * rows) * (1.5 if g.in_size[-1] % CONFLICT == 0 else 1)
    return 25 + -(-g.out_size[-1] // machine.lanes_for(g.out_size[-1], dtype)) * taken


def tile_for(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> tuple[int, int]:
    """(rows, vectors) of the tile: the one that takes the fewest cycles over a plane's rows, but for rows that conflict."""
    g, most = geometry, ROWS[0] if machine.registers > 16 else FEW
    row, (outputs, tall, step) = g.in_size[-1] * dtype.itemsize, plane_of(geometry)
    share = outputs // step  # of the rows that lie `step` apart
    if g.rank == 1 and not spreads(g):
        return 1, LONG
    if g.stride[-1] == 1 and g.in_size[-1] % CONFLICT == 0 and not spreads(g):
        large = LARGE[machine.registers][tall > 3]
        if large[0] <= outputs:
            return large
    if g.stride[-1] == 2 and share >= APART[0] and g.out_size[-1] > 3 * machine.lanes(dtype) and not spreads(g):
        return APART
    if g.stride[-1] > 1 and most * g.stride[-1] * row > machine.l1 // 2:
        most = FEW_OF_LONG

    def cycles(rows: int) -> float:
        return -(-share // rows) * cycles_of_stack((rows, 1), g, dtype, machine)

    return min((rows for rows in ROWS if rows <= min(most, share)), key=cycles, default=1), 1


def stacks_of(geometry: PoolGeometry, rows: int) -> int:
    """Stacks of so many rows that cover all planes' outputs."""
    g, (outputs, _, step) = geometry, plane_of(geometry)
    return g.batch * g.channels * prod(g.out_size[:-2]) * -(-outputs // (rows * step)) * step


def cycles(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Of all tiles."""
    tile = tile_for(geometry, dtype, machine)
    return stacks_of(geometry, tile[0]) * cycles_of_stack(tile, geometry, dtype, machine)


def launch(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> tuple[Any, ...]:
    """(kernel, items, work, and the arguments after x and y)."""
    g, t, kind = geometry, pooling.tables(geometry, dtype), pooling.kind_of(geometry, dtype)
    tile, lanes, depths = tile_for(g, dtype, machine), machine.lanes_for(g.out_size[-1], dtype), t.out_size[0]
    far = int(g.rank > 1 and prod(g.in_size) * dtype.itemsize >= packing.FAR)  # the rows of a plane ahead, where it has some
    sizes = *t.in_size[1:], *t.out_size[1:], *t.before[1:], far, t.in_size[0], depths, *t.dilation
    chosen = kernel(kind, *tile, t.kernel[1:], g.stride[-1], spreads(g), lanes, element(dtype), machine.isa)
    counts = t.bounds[2::3].astype(dtype)
    counted = np.outer(counts[:depths], counts[depths : depths + t.out_size[1]]).ravel()
    arguments = np.array(sizes, np.int64), t.bounds, counted, t.widths, pooling.initial(kind, dtype)
    return chosen, stacks_of(g, tile[0]), 8 * g.flops // lanes, arguments
