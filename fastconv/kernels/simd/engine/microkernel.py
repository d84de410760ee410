"""One register tile from start to end: the bias or a partial sum, the whole inner product, the activation, the store.

    y[i, j] = act(bias[j] + sum over l of x[offsets[i] + l] * w[l, j])

for i < rows output positions and j < columns * lanes output channels.
Each step of l loads one value of x for every row, which a vector of the weights' row multiplies: rows + columns loads for
rows * columns multiply-adds. Low, Igual, Smith and Quintana-Orti, Analytical Modeling Is Enough for High-Performance BLIS
(2016), section 3, on how such a tile is sized; here `machine` has the table.
"""

from functools import lru_cache
from typing import Any

from fastconv.kernels.jit import compiled, inlined
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import epilogue

peek, poke = vector.peek, vector.poke


@compiled
def is_contiguous(offsets, count):
    """Whether the offsets of the first `count` rows follow each other."""
    return peek(offsets + (count - 1)) - peek(offsets) == count - 1


@lru_cache(maxsize=64)
def tile_store(rows: int, columns: int, lanes: int, channels_last: bool, dtype: str) -> Any:
    """The compiled store of a tile: y[offsets[i] + j * step] = tile[i, j] for i < count and j < width."""
    whole = columns * lanes
    activate_tile = epilogue.activation_of(dtype)

    def store(tile, y, offsets, step, count, width, last, act, spare):
        if last:
            tile = activate_tile(tile, act)
        if channels_last:
            if count == rows and width == whole:
                vector.store_rows(tile, y, offsets)
            else:
                vector.store_first_rows(tile, y, offsets, count, width)
        elif is_contiguous(offsets, count):
            vector.store_transposed(tile, y + peek(offsets), step, count, width)
        else:
            vector.store_tile(tile, spare, whole)
            for j in range(width):
                for i in range(count):
                    poke(y + (peek(offsets + i) + j * step), peek(spare + (i * whole + j)))
        if last:
            epilogue.finish_rows(y, offsets, count, step, width, act)

    return inlined(store)


@lru_cache(maxsize=64)
def tile_load(rows: int, columns: int, lanes: int, channels_last: bool) -> Any:
    """The compiled load of a partial sum: the tile that tile_store stored."""
    whole = columns * lanes

    def load(y, offsets, step, count, width, spare):
        if channels_last:
            return vector.load_first_rows(y, offsets, count, width, rows, columns, lanes)
        if is_contiguous(offsets, count):
            return vector.load_transposed(y + peek(offsets), step, count, width, rows, columns, lanes)
        for j in range(width):
            for i in range(count):
                poke(spare + (i * whole + j), peek(y + (peek(offsets + i) + j * step)))
        return vector.load_tile(spare, whole, rows, columns, lanes)

    return inlined(load)


@lru_cache(maxsize=64)
def conv_tile(rows: int, columns: int, lanes: int, channels_last: bool, dtype: str) -> Any:
    """The compiled microkernel of one tile."""
    width_of_tile = columns * lanes
    load = tile_load(rows, columns, lanes, channels_last)
    store = tile_store(rows, columns, lanes, channels_last, dtype)

    def tile_kernel(x, x_offsets, runs, length, step, w, bias, y, y_offsets, y_step, count, width, begins, ends, act, spare):
        """`runs`: their offsets' table, heights of the kernel, runs a height, then first and last depth and height to visit."""
        tile = vector.repeated(bias, rows, columns, lanes) if begins else load(y, y_offsets, y_step, count, width, spare)
        table, heights, pieces, t_first, t_last, r_first, r_last = runs
        for t in range(t_first, t_last):
            for run in range((t * heights + r_first) * pieces, (t * heights + r_last) * pieces):
                sources, row = vector.rows_at(x + peek(table + run), x_offsets, rows), w + run * length * width_of_tile
                for i in range(length):
                    tile = vector.fma_outer(tile, sources, i * step, row + i * width_of_tile)
        store(tile, y, y_offsets, y_step, count, width, ends, act, spare)

    return inlined(tile_kernel)
