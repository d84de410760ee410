"""Sums of products in register tiles."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastconv.kernels.simd.vector.building import address_of, fused, read, splatted
from fastconv.kernels.simd.vector.types import ELEMENTS, I32, I64


@intrinsic
def fma_outer(context: Any, tile: Any, rows: Any, offset: Any, b: Any) -> Any:
    """tile[i, j] += rows[i][offset] * b[j * lanes:][:lanes]"""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, r, offset, b = args
        vectors = [read(builder, b, tile, I64(j * tile.lanes)) for j in range(tile.columns)]
        for i in range(tile.rows):
            base = builder.inttoptr(builder.extract_value(r, i), ir.PointerType())
            address = builder.gep(base, [offset], source_etype=ELEMENTS[tile.dtype])
            row = splatted(builder, builder.load(address, typ=ELEMENTS[tile.dtype]), tile.lanes)
            for j, column in enumerate(vectors):
                k = i * tile.columns + j
                t = builder.insert_value(t, fused(builder, row, column, builder.extract_value(t, k), tile), k)
        return t

    return tile(tile, rows, types.intp, b), generate


@intrinsic
def fma_shared(context: Any, tile: Any, w: Any, x: Any) -> Any:
    """tile[i, e] += w[i] * x[e]: each vector of x feeds every row."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, w, x = args
        vectors = [read(builder, x, tile, I64(j * tile.lanes)) for j in range(tile.columns)]
        for i in range(tile.rows):
            tap = builder.load(address_of(builder, w, tile.dtype, I64(i)), typ=ELEMENTS[tile.dtype])
            row = splatted(builder, tap, tile.lanes)
            for j, cells in enumerate(vectors):
                k = i * tile.columns + j
                t = builder.insert_value(t, fused(builder, row, cells, builder.extract_value(t, k), tile), k)
        return t

    return tile(tile, w, x), generate


@intrinsic(prefer_literal=True)
def fma_row(context: Any, tile: Any, row: Any, w: Any, x: Any) -> Any:
    """tile[row, e] += w[0] * x[e], and no other row."""
    first = row.literal_value * tile.columns

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, _, w, x = args
        tap = splatted(builder, builder.load(address_of(builder, w, tile.dtype, I64(0)), typ=ELEMENTS[tile.dtype]), tile.lanes)
        for j in range(tile.columns):
            cells = read(builder, x, tile, I64(j * tile.lanes))
            k = first + j
            t = builder.insert_value(t, fused(builder, tap, cells, builder.extract_value(t, k), tile), k)
        return t

    return tile(tile, row, w, x), generate


@intrinsic
def fma_lanes(context: Any, tile: Any, w: Any, x: Any) -> Any:
    """tile[i, j] += w[i, j] * x[j], lane by lane; the vectors of w follow each other, as those of x do."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, w, x = args
        for j in range(tile.columns):
            cells = read(builder, x, tile, I64(j * tile.lanes))
            for i in range(tile.rows):
                k = i * tile.columns + j
                taps = read(builder, w, tile, I64(k * tile.lanes))
                t = builder.insert_value(t, fused(builder, taps, cells, builder.extract_value(t, k), tile), k)
        return t

    return tile(tile, w, x), generate


@intrinsic(prefer_literal=True)
def fma_grouped(context: Any, tile: Any, x: Any, x_step: Any, w: Any, w_step: Any, taps: Any, stride: Any, group: Any) -> Any:
    """tile[i, 0] += sum over s < taps, g < group of x[(i * stride + s) * x_step:][g of each lane's group] * w[s, g]

    Each vector of x is loaded once and feeds every row whose window it is in. Lanes are channels in groups of `group`, inputs
    and outputs alike; the rows of w, [s][g], lie `w_step` apart.
    """
    count, apart, size = taps.literal_value, stride.literal_value, group.literal_value

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, x, x_step, w, w_step, *_ = args
        weights = [read(builder, w, tile, builder.mul(w_step, I64(row))) for row in range(count * size)]
        lanes = range(tile.lanes)
        for column in range((tile.rows - 1) * apart + count):
            users = [(i, column - i * apart) for i in range(tile.rows) if 0 <= column - i * apart < count]
            if not users:
                continue
            cell = read(builder, x, tile, builder.mul(x_step, I64(column)))
            for g in range(size):
                chosen = ir.Constant(ir.VectorType(I32, tile.lanes), [lane // size * size + g for lane in lanes])
                spread = builder.shuffle_vector(cell, cell, chosen) if size > 1 else cell
                for i, s in users:
                    total = fused(builder, spread, weights[s * size + g], builder.extract_value(t, i), tile)
                    t = builder.insert_value(t, total, i)
        return t

    return tile(tile, x, types.intp, w, types.intp, taps, stride, group), generate
