"""Pools of small windows, channels first: each plane is read where it lies, and windows are reduced in registers.

Vectors lie along the width, half ones where they hold a row. A tile has one vector of several output rows; what the windows
take in of an input row is found once, and goes to all of them that the row is in. Cells of padding are left out by masks, rows
of padding are read from a line of values that never win, or add nothing.
"""

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from fastconv.kernels.jit import Kernel, element
from fastconv.kernels.simd import packing, pooling, vector
from fastconv.machine import Machine
from fastconv.pool_geometry import PoolGeometry

pointer = vector.pointer


@lru_cache(maxsize=64)
def kernel(kind: str, rows: int, columns: int, taps: tuple[int, int], stride: int, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over stacks of output rows of a plane: f32_max_pool_4x1_3x3s2_windows_avx512.

    With several columns, tiles of so many vectors a row go where no window meets padding, of one vector at the edges.
    """
    (tall, wide), (order, power) = taps, pooling.order_and_power(kind)
    high, several = (rows - 1) * stride + tall, columns * lanes
    ahead = max(packing.AHEAD, high)
    ask_for_large, ask_for_small = packing.asker(rows, columns, lanes), packing.asker(rows * stride, stride, lanes)
    averages, roots = kind == "avg", order == 0 and power > 1

    def pool(begin, end, x, y, sizes, counted, widths, empty):
        rows_in, columns_in, rows_out = packing.three(sizes, 0)
        columns_out, top_pad, left_pad = packing.three(sizes, 3)
        stacks, far = -(-rows_out // rows), sizes[6] > 0
        memory = np.full(columns_in + 1, empty)
        spare = pointer(memory)
        for item in range(begin, end):
            plane, stack = divmod(item, stacks)
            h = min(stack * rows, rows_out - rows)  # the last stack may overlap the one before
            top = h * stride - top_pad
            image, line = pointer(x) + plane * rows_in * columns_in, pointer(y) + (plane * rows_out + h) * columns_out
            rows_inside, column = top >= 0 and top + high <= rows_in, 0
            while column < columns_out:
                left, room = column * stride - left_pad, columns_out - column
                source = image + (top * columns_in + left)
                if columns > 1 and rows_inside and left >= 0 and room >= several and left + several + wide <= columns_in + 1:
                    if far:
                        ask_for_large(source + ahead * columns_in, columns_in)
                    large = vector.reduced_inside(source, columns_in, 1, rows, columns, lanes, tall, wide, order, power)
                    if averages:
                        large = vector.divided_rows(large, pointer(counted) + h, pointer(widths) + column, room)
                    elif roots:
                        large = vector.root(large, power)
                    vector.store_spans(large, line + column, columns_out, rows, several)
                    column += several
                    continue
                if far:
                    ask_for_small(source + ahead * columns_in, columns_in)
                tile = vector.reduced_windows(
                    source,
                    columns_in,
                    (-top, rows_in - top),
                    spare + left,
                    (-left, columns_in - left),
                    empty,
                    rows,
                    lanes,
                    tall,
                    wide,
                    stride,
                    order,
                    power,
                )
                if averages:
                    tile = vector.divided_rows(tile, pointer(counted) + h, pointer(widths) + column, room)
                elif roots:
                    tile = vector.root(tile, power)
                vector.store_spans(tile, line + column, columns_out, rows, room)
                column += lanes
        memory[0] = empty  # pointers do not keep an array alive: its last use does

    pool.__name__ = f"{dtype}_{kind}_pool_{rows}x{columns}_{tall}x{wide}s{stride}_windows_{isa}"
    return Kernel(pool)


# Decisions --------------------------------------------------------------------------------------------------------------

ROWS = (14, 7, 4, 2, 1)  # output rows of a tile
FEW = 7  # of them, where there are 16 registers
WIDEST = 5  # cells of a window on either axis
FEW_OF_LONG = 4  # output rows where they are long and share little: more leave the L1 cache before their next columns are read
CONFLICT = 1024  # elements of a row, or a multiple: all rows fall into the same sets of an L1 cache, which holds few then
LARGE = {32: ((3, 5), (4, 4)), 16: ((3, 3), (4, 2))}  # (rows, vectors) of tiles there: of windows up to 3x3, and of others


def suits(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> bool:
    """Whether windows are small, masks cheap, and what reduces them written for the dtype."""
    g = geometry
    return bool(
        machine.vector_bytes >= 32
        and dtype.kind == "f"
        and pooling.rows_are_lines(g)
        and not (g.adaptive or g.return_indices)
        and g.rank <= 2
        and g.kernel[0] == g.kernel[-1] <= WIDEST  # the tile is compiled for each window
        and max(g.dilation) == 1
        and g.stride[0] == g.stride[-1] <= 2
    )


def cycles_of_stack(tile: tuple[int, int], geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Loads and combinations of the tiles of so many rows."""
    g, stride, tall, rows = geometry, geometry.stride[0], geometry.kernel[0] if geometry.rank == 2 else 1, tile[0]
    lines = (rows - 1) * stride + tall
    taken = lines * (2 * g.kernel[-1] * stride + (2 if stride == 1 else 0)) + 1.5 * rows * tall + 3
    return 25 + -(-g.out_size[-1] // machine.lanes_for(g.out_size[-1], dtype)) * taken


def tile_for(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> tuple[int, int]:
    """(rows, vectors) of the tile: the one that takes the fewest cycles over a plane's rows, but for rows that conflict."""
    g, most = geometry, ROWS[0] if machine.registers > 16 else FEW
    row, outputs = g.in_size[-1] * dtype.itemsize, g.out_size[0] if g.rank == 2 else 1
    if g.stride[0] == 1 and g.in_size[-1] % CONFLICT == 0:
        large = LARGE[machine.registers][g.kernel[0] > 3]
        if large[0] <= outputs:
            return large
    if g.stride[0] > 1 and most * g.stride[0] * row > machine.l1 // 2:
        most = FEW_OF_LONG

    def cycles(rows: int) -> float:
        return -(-outputs // rows) * cycles_of_stack((rows, 1), g, dtype, machine)

    return min((rows for rows in ROWS if rows <= min(most, outputs)), key=cycles, default=1), 1


def cycles(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Of all tiles."""
    g, tile = geometry, tile_for(geometry, dtype, machine)
    outputs = g.out_size[0] if g.rank == 2 else 1
    return g.batch * g.channels * -(-outputs // tile[0]) * cycles_of_stack(tile, g, dtype, machine)


def launch(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> tuple[Any, ...]:
    """(kernel, items, work, and the arguments after x and y)."""
    g, t, kind = geometry, pooling.tables(geometry, dtype), pooling.kind_of(geometry, dtype)
    tile = tile_for(g, dtype, machine)
    far = int(prod(g.in_size) * dtype.itemsize >= packing.FAR)
    sizes = (*t.in_size[1:], *t.out_size[1:], *t.before[1:], far)
    lanes = machine.lanes_for(g.out_size[-1], dtype)
    chosen = kernel(kind, *tile, t.kernel[1:], g.stride[0], lanes, element(dtype), machine.isa)
    items = g.batch * g.channels * -(-t.out_size[1] // tile[0])
    counted = t.bounds[5 : 3 * (1 + t.out_size[1]) : 3].astype(dtype) * dtype.type(t.bounds[2])
    arguments = np.array(sizes, np.int64), counted, t.widths, pooling.initial(kind, dtype)
    return chosen, items, 8 * g.flops // lanes, arguments
