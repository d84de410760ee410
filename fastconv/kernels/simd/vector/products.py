"""Sums of products in register tiles."""

from collections.abc import Callable
from itertools import product
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastconv.kernels.simd.vector.building import address_of, fused, opaque, read, rounded, splatted
from fastconv.kernels.simd.vector.conversions import read_as
from fastconv.kernels.simd.vector.types import BYTES, ELEMENTS, I32, I64

FEW = 4  # rows whose addresses LLVM makes one after the other: of more rows the last would wait long for the first


@intrinsic
def fma_outer(context: Any, tile: Any, rows: Any, offset: Any, b: Any) -> Any:
    """tile[i, j] += rows[i][offset] * b[j * lanes:][:lanes]"""
    stored = b.dtype

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, r, offset, b = args
        vectors = [read(builder, b, tile, I64(j * tile.lanes), stored) for j in range(tile.columns)]
        for i in range(tile.rows):
            base = builder.inttoptr(builder.extract_value(r, i), ir.PointerType())
            address = builder.gep(base, [offset], source_etype=ELEMENTS[tile.dtype])
            row = splatted(builder, builder.load(address, typ=ELEMENTS[tile.dtype]), tile.lanes)
            for j, column in enumerate(vectors):
                k = i * tile.columns + j
                t = builder.insert_value(t, fused(builder, row, column, builder.extract_value(t, k), tile), k)
        return t

    return tile(tile, rows, types.intp, b), generate


@intrinsic(prefer_literal=True)
def fma_held(
    context: Any, tile: Any, vectors: Any, x: Any, step: Any, steps: Any, deep: Any, tall: Any, wide: Any, length: Any
) -> Any:
    """tile[i, 0] += sum over t, r, s, l of x[i * step + t * steps[0] + r * steps[1] + s * steps[2] + l] * vectors[t, r, s, l]

    `vectors` is a tile of one column, which stays in registers: a vector for each value of deep * tall * wide runs of `length`.
    """
    counts = tuple(range(one.literal_value) for one in (deep, tall, wide))
    stored = x.dtype

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, rows, x, step, steps, *_ = args
        if tile.rows > FEW:
            x = opaque(builder, x)
        apart = [builder.mul(builder.extract_value(steps, axis), I64(BYTES[stored])) for axis in range(3)]
        each, of_row, k = builder.mul(step, I64(BYTES[stored])), [x], 0
        for _ in range(1, tile.rows):
            of_row.append(builder.add(of_row[-1], each))
        for run in product(*counts):
            behind = I64(0)
            for one, many in zip(apart, run, strict=True):
                behind = builder.add(behind, builder.mul(one, I64(many)))
            for value in range(length.literal_value):
                vector, offset = builder.extract_value(rows, k), builder.add(behind, I64(value * BYTES[stored]))
                for i, at in enumerate(of_row):
                    cell = builder.load(builder.inttoptr(builder.add(at, offset), ir.PointerType()), typ=ELEMENTS[stored])
                    total = fused(builder, splatted(builder, cell, tile.lanes), vector, builder.extract_value(t, i), tile)
                    t = builder.insert_value(t, total, i)
                k += 1
        return t

    return tile(tile, vectors, x, types.intp, types.UniTuple(types.intp, 3), deep, tall, wide, length), generate


@intrinsic
def scaled_columns(context: Any, tile: Any, factors: Any, terms: Any) -> Any:
    """tile[i, e] * factors[e] + terms[e]"""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, *sources = args
        for j in range(tile.columns):
            factor, term = (read(builder, source, tile, I64(j * tile.lanes)) for source in sources)
            for k in range(j, tile.rows * tile.columns, tile.columns):
                t = builder.insert_value(t, fused(builder, builder.extract_value(t, k), factor, term, tile), k)
        return t

    return tile(tile, factors, terms), generate


@intrinsic
def scaled_rows(context: Any, tile: Any, factors: Any, terms: Any) -> Any:
    """tile[i, e] * factors[i] + terms[i]"""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, *sources = args
        for i in range(tile.rows):
            values = (
                builder.load(address_of(builder, source, tile.dtype, I64(i)), typ=ELEMENTS[tile.dtype]) for source in sources
            )
            factor, term = (splatted(builder, value, tile.lanes) for value in values)
            for k in range(i * tile.columns, (i + 1) * tile.columns):
                t = builder.insert_value(t, fused(builder, builder.extract_value(t, k), factor, term, tile), k)
        return t

    return tile(tile, factors, terms), generate


@intrinsic
def fma_shared(context: Any, tile: Any, w: Any, x: Any) -> Any:
    """tile[i, e] += w[i] * x[e]: each vector of x feeds every row."""
    stored = x.dtype

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, w, x = args
        vectors = [read(builder, x, tile, I64(j * tile.lanes), stored) for j in range(tile.columns)]
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
    first, stored = row.literal_value * tile.columns, x.dtype

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, _, w, x = args
        tap = splatted(builder, builder.load(address_of(builder, w, tile.dtype, I64(0)), typ=ELEMENTS[tile.dtype]), tile.lanes)
        for j in range(tile.columns):
            cells = read(builder, x, tile, I64(j * tile.lanes), stored)
            k = first + j
            t = builder.insert_value(t, fused(builder, tap, cells, builder.extract_value(t, k), tile), k)
        return t

    return tile(tile, row, w, x), generate


@intrinsic
def fma_lanes(context: Any, tile: Any, w: Any, x: Any) -> Any:
    """tile[i, j] += w[i, j] * x[j], lane by lane; the vectors of w follow each other, as those of x do."""
    stored = x.dtype

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, w, x = args
        for j in range(tile.columns):
            cells = read(builder, x, tile, I64(j * tile.lanes), stored)
            for i in range(tile.rows):
                k = i * tile.columns + j
                taps = read(builder, w, tile, I64(k * tile.lanes))
                t = builder.insert_value(t, fused(builder, taps, cells, builder.extract_value(t, k), tile), k)
        return t

    return tile(tile, w, x), generate


def add_grouped(
    builder: Any, sums: Any, tile: Any, j: int, cell_at: Callable[[int, int], Any], weights: list[Any], stride: int, group: int
) -> Any:
    """The sums of column j of a tile and of its windows' products.

    Weights are [s][g], and each vector of x feeds all rows that it meets.
    """
    t, taps, lanes = sums, len(weights) // group, range(tile.lanes)
    for column in range((tile.rows - 1) * stride + taps):
        users = [(i, column - i * stride) for i in range(tile.rows) if 0 <= column - i * stride < taps]
        if not users:
            continue
        cell = cell_at(column, j)
        for g in range(group):
            chosen = ir.Constant(ir.VectorType(I32, tile.lanes), [lane // group * group + g for lane in lanes])
            spread = builder.shuffle_vector(cell, cell, chosen) if group > 1 else cell
            for i, s in users:
                k = i * tile.columns + j
                total = fused(builder, spread, weights[s * group + g], builder.extract_value(t, k), tile)
                t = builder.insert_value(t, total, k)
    return t


def weights_of_column(builder: Any, t: Any, tile: Any, j: int, w: Any, w_step: Any, count: int) -> list[Any]:
    """The `count` vectors of weights that column j of a tile meets; LLVM reads them when the column before is summed."""
    sums = [builder.extract_value(t, i * tile.columns + j - 1) for i in range(tile.rows)] if j else []
    at, first = opaque(builder, w, *sums) if j else w, I64(j * tile.lanes)
    return [read(builder, at, tile, builder.add(builder.mul(w_step, I64(row)), first)) for row in range(count)]


@intrinsic(prefer_literal=True)
def fma_grouped(context: Any, tile: Any, x: Any, x_step: Any, w: Any, w_step: Any, taps: Any, stride: Any, group: Any) -> Any:
    """tile[i, j] += sum over s < taps, g < group of x[(i * stride + s) * x_step:][j][g of each lane's group] * w[s, g][j]

    x[...][j] and w[...][j] are the vectors j from there on. Each vector of x is loaded once and feeds every row whose window it
    is in. Lanes are channels in groups of `group`, inputs and outputs alike; the rows of w, [s][g], lie `w_step` apart.
    """
    count, apart, size, stored = taps.literal_value, stride.literal_value, group.literal_value, x.dtype

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, x, x_step, w, w_step, *_ = args

        def cell_at(column: int, j: int) -> Any:
            return read(builder, x, tile, builder.add(builder.mul(x_step, I64(column)), I64(j * tile.lanes)), stored)

        for j in range(tile.columns):
            weights = weights_of_column(builder, t, tile, j, w, w_step, count * size)
            t = add_grouped(builder, t, tile, j, cell_at, weights, apart, size)
        return t

    return tile(tile, x, types.intp, w, types.intp, taps, stride, group), generate


@intrinsic(prefer_literal=True)
def fma_listed(
    context: Any, tile: Any, x: Any, cells: Any, first: Any, w: Any, w_step: Any, taps: Any, stride: Any, group: Any
) -> Any:
    """The same of cells that lie anywhere: vector `column` of x begins `first` elements behind the address cells[column].

    `x` is any pointer to elements as they are.
    """
    count, apart, size, stored = taps.literal_value, stride.literal_value, group.literal_value, x.dtype

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, _, cells, first, w, w_step, *_ = args

        def cell_at(column: int, j: int) -> Any:
            cell = builder.load(address_of(builder, cells, types.int64, I64(column)), typ=I64)
            return read(builder, cell, tile, builder.add(first, I64(j * tile.lanes)), stored)

        for j in range(tile.columns):
            weights = weights_of_column(builder, t, tile, j, w, w_step, count * size)
            t = add_grouped(builder, t, tile, j, cell_at, weights, apart, size)
        return t

    return tile(tile, x, cells, types.intp, w, types.intp, taps, stride, group), generate


# Sums whose every step is rounded, as those of a loop in C are ---------------------------------------------------------------


def _steps(tile: Any, stored: Any, sign: str) -> Any:
    """The code of tile[0, e] += w[0] * (x0[e] + x1[e]), or -, or of one x alone: of cells that are `stored` in memory."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, w, *cells = args
        tap = builder.load(address_of(builder, w, tile.dtype, I64(0)), typ=ELEMENTS[tile.dtype])
        weight = splatted(builder, tap, tile.lanes)
        for j in range(tile.columns):
            term, *others = (read_as(builder, p, stored, tile, I64(j * tile.lanes)) for p in cells)
            for other in others:
                term = (builder.fadd if sign == "+" else builder.fsub)(term, other)
            t = builder.insert_value(
                t, builder.fadd(builder.extract_value(t, j), rounded(builder, builder.fmul(term, weight))), j
            )
        return t

    return generate


@intrinsic
def add_product(context: Any, tile: Any, w: Any, x: Any) -> Any:
    """tile[0, e] += w[0] * x[e]"""
    return tile(tile, w, x), _steps(tile, x.dtype, "+")


@intrinsic
def add_product_of_sum(context: Any, tile: Any, w: Any, x: Any, other: Any) -> Any:
    """tile[0, e] += w[0] * (x[e] + other[e])"""
    return tile(tile, w, x, other), _steps(tile, x.dtype, "+")


@intrinsic
def add_product_of_difference(context: Any, tile: Any, w: Any, x: Any, other: Any) -> Any:
    """tile[0, e] += w[0] * (x[e] - other[e])"""
    return tile(tile, w, x, other), _steps(tile, x.dtype, "-")
