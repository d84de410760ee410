"""Sums of products in register tiles."""

from collections.abc import Callable
from itertools import product
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastconv.kernels.simd.vector.building import (
    address_of,
    fused,
    mask_between,
    opaque,
    parts_of,
    read,
    read_masked,
    rounded,
    splatted,
    two_apart,
)
from fastconv.kernels.simd.vector.types import BYTES, ELEMENTS, I32, I64

FEW_TAPS = 12


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
    builder: Any, sums: Any, tile: Any, cell_at: Callable[[int], Any], weights: list[Any], stride: int, group: int
) -> Any:
    """The sums of a tile and of its windows' products: weights are [s][g], each vector of x feeds all rows that it meets."""
    t, taps, lanes = sums, len(weights) // group, range(tile.lanes)
    for column in range((tile.rows - 1) * stride + taps):
        users = [(i, column - i * stride) for i in range(tile.rows) if 0 <= column - i * stride < taps]
        if not users:
            continue
        cell = cell_at(column)
        for g in range(group):
            chosen = ir.Constant(ir.VectorType(I32, tile.lanes), [lane // group * group + g for lane in lanes])
            spread = builder.shuffle_vector(cell, cell, chosen) if group > 1 else cell
            for i, s in users:
                total = fused(builder, spread, weights[s * group + g], builder.extract_value(t, i), tile)
                t = builder.insert_value(t, total, i)
    return t


@intrinsic(prefer_literal=True)
def fma_grouped(context: Any, tile: Any, x: Any, x_step: Any, w: Any, w_step: Any, taps: Any, stride: Any, group: Any) -> Any:
    """tile[i, 0] += sum over s < taps, g < group of x[(i * stride + s) * x_step:][g of each lane's group] * w[s, g]

    Each vector of x is loaded once and feeds every row whose window it is in. Lanes are channels in groups of `group`, inputs
    and outputs alike; the rows of w, [s][g], lie `w_step` apart.
    """
    count, apart, size, stored = taps.literal_value, stride.literal_value, group.literal_value, x.dtype

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, x, x_step, w, w_step, *_ = args
        weights = [read(builder, w, tile, builder.mul(w_step, I64(row))) for row in range(count * size)]

        def cell_at(column: int) -> Any:
            return read(builder, x, tile, builder.mul(x_step, I64(column)), stored)

        return add_grouped(builder, t, tile, cell_at, weights, apart, size)

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
        weights = [read(builder, w, tile, builder.mul(w_step, I64(row))) for row in range(count * size)]

        def cell_at(column: int) -> Any:
            cell = builder.load(address_of(builder, cells, types.int64, I64(column)), typ=I64)
            return read(builder, cell, tile, first, stored)

        return add_grouped(builder, t, tile, cell_at, weights, apart, size)

    return tile(tile, x, cells, types.intp, w, types.intp, taps, stride, group), generate


def taps_at(builder: Any, w: Any, count: int, tile: Any, own: int) -> Callable[[int, int], Any]:
    """The weights of tap k for column j, as a vector: one value, or of `own` vectors a tap the one that is the column's."""
    if own:
        return lambda k, j: read(builder, w, tile, I64((k * own + j % own) * tile.lanes))
    values = (builder.load(address_of(builder, w, tile.dtype, I64(k)), typ=ELEMENTS[tile.dtype]) for k in range(count))
    taps = [splatted(builder, value, tile.lanes) for value in values]
    return lambda k, j: taps[k]


def nearest(builder: Any, at: Any, low: Any, high: Any, lanes: int) -> Any:
    """`at`, or `low` where none of the `lanes` cells from there on is one of low .. high - 1."""
    before = builder.icmp_signed("<=", builder.add(at, I64(lanes)), low)
    return builder.select(builder.or_(before, builder.icmp_signed(">=", at, high)), low, at)


@intrinsic(prefer_literal=True)
def fma_plane(
    context: Any,
    tile: Any,
    x: Any,
    step: Any,
    rows: Any,
    zeros: Any,
    cells: Any,
    w: Any,
    tall: Any,
    wide: Any,
    stride: Any,
    apart: Any,
    own: Any,
) -> Any:
    """tile[i, 0][e] += sum over t < tall, s < wide of x[(i * stride + t) * step + e * stride + s * apart] * w[t * wide + s]

    Only the rows rows[0] .. rows[1] - 1 of x are there, and of those the cells cells[0] .. cells[1] - 1; what lies outside is
    not touched and counts as zero. `zeros` points to zeros under the cells that are there. A vector is loaded once for all rows
    of the tile; `stride` is 1, or 2 where `apart` is 1. With `own`, w has so many vectors a tap, of which the first is meant.
    `apart` may be known only when it runs.
    """
    heights, widths, stride_value = (literal.literal_value for literal in (tall, wide, stride))
    vectors, stored = own.literal_value, x.dtype

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, x, step, rows, zeros, cells, w, *_, between, _ = args
        first, last = (builder.extract_value(rows, i) for i in range(2))
        low, high = (builder.extract_value(cells, i) for i in range(2))
        # Few taps stay in registers. LLVM would keep more on the stack, where each takes a vector: they are read again.
        few = not vectors and heights * widths <= FEW_TAPS
        taps = taps_at(builder, w, heights * widths, tile, vectors)
        of_row = [(s, tile) for s in range(widths)] if stride_value == 1 else parts_of(widths, tile)
        needed = [(builder.mul(between, I64(s)) if stride_value == 1 else I64(s), part) for s, part in of_row]
        masks = [mask_between(builder, builder.sub(low, at), builder.sub(high, at), part.lanes) for at, part in needed]
        if not hasattr(apart, "literal_value"):  # a tap of which no cell is there is read at one: elsewhere may be no memory
            needed = [(nearest(builder, at, low, high, part.lanes), part) for at, part in needed]
        for row in range((tile.rows - 1) * stride_value + heights):
            users = [(i, row - i * stride_value) for i in range(tile.rows) if 0 <= row - i * stride_value < heights]
            there = builder.and_(builder.icmp_signed(">=", I64(row), first), builder.icmp_signed("<", I64(row), last))
            source = builder.select(there, builder.add(x, builder.mul(step, I64(row * BYTES[stored]))), zeros)
            vectors_of_row = [
                read_masked(builder, builder.add(source, builder.mul(at, I64(BYTES[stored]))), part, mask, None, stored)
                for (at, part), mask in zip(needed, masks, strict=True)
            ]
            if stride_value == 2:
                vectors_of_row = two_apart(builder, vectors_of_row, widths, tile)
            if not few:
                w = opaque(builder, w)
                taps = taps_at(builder, w, heights * widths, tile, vectors)
            for s, vector in enumerate(vectors_of_row):
                for i, tap_row in users:
                    tap = taps(tap_row * widths + s, 0)
                    t = builder.insert_value(t, fused(builder, tap, vector, builder.extract_value(t, i), tile), i)
        return t

    pair = types.UniTuple(types.intp, 2)
    return tile(tile, x, types.intp, pair, zeros, pair, w, tall, wide, stride, apart, own), generate


@intrinsic(prefer_literal=True)
def fma_inside(
    context: Any, tile: Any, x: Any, step: Any, w: Any, tall: Any, wide: Any, stride: Any, apart: Any, own: Any
) -> Any:
    """tile[i, e] += sum over t < tall, s < wide of x[(i * stride + t) * step + e * stride + s * apart] * w[t * wide + s]

    All of x is in the plane: what fma_plane is to tiles of several vectors a row, without a mask. With `own`, w has so many
    vectors a tap, which the columns take by turns. At stride 2, rest_of(wide) cells are read behind two to an output.
    """
    stored = x.dtype
    heights, widths, between, spread, vectors = (literal.literal_value for literal in (tall, wide, stride, apart, own))

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, x, step, w, *_ = args
        few = not vectors and heights * widths <= FEW_TAPS
        taps = taps_at(builder, w, heights * widths, tile, vectors)
        for row in range((tile.rows - 1) * between + heights):
            users = [(i, row - i * between) for i in range(tile.rows) if 0 <= row - i * between < heights]
            if not few:
                w = opaque(builder, w)
                taps = taps_at(builder, w, heights * widths, tile, vectors)
            source = builder.add(x, builder.mul(step, I64(row * BYTES[stored])))
            found = []
            for j in range(tile.columns if between == 2 else 0):
                parts = [read(builder, source, part, I64(2 * j * tile.lanes + s), stored) for s, part in parts_of(widths, tile)]
                found.append(two_apart(builder, parts, widths, tile))
            for s in range(widths):  # the weights of a column of taps meet all vectors before the next are read
                for j in range(tile.columns):
                    vector = found[j][s] if found else read(builder, source, tile, I64(j * tile.lanes + s * spread), stored)
                    for i, tap_row in users:
                        k = i * tile.columns + j
                        tap = taps(tap_row * widths + s, j)
                        t = builder.insert_value(t, fused(builder, tap, vector, builder.extract_value(t, k), tile), k)
        return t

    return tile(tile, x, types.intp, w, tall, wide, stride, apart, own), generate


@intrinsic(prefer_literal=True)
def fma_down(context: Any, tile: Any, x: Any, step: Any, w: Any, tall: Any) -> Any:
    """tile[i, e] += sum over t < tall of x[(i + t) * step + e] * w[t]: a column of taps meets rows that lie `step` apart."""
    heights = tall.literal_value

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, x, step, w, _ = args
        taps = taps_at(builder, w, heights, tile, 0)
        before: list[Any] = []
        for row in range(tile.rows + heights - 1):
            users = [(i, row - i) for i in range(tile.rows) if 0 <= row - i < heights]
            # LLVM would read rows ahead, and keep them in memory of its own: they are read after what was summed before.
            source = opaque(builder, builder.add(x, builder.mul(step, I64(row * BYTES[tile.dtype]))), *before)
            for j in range(tile.columns):
                vector = read(builder, source, tile, I64(j * tile.lanes))
                for i, tap_row in users:
                    k = i * tile.columns + j
                    total = fused(builder, taps(tap_row, 0), vector, builder.extract_value(t, k), tile)
                    t, before = builder.insert_value(t, total, k), [total]
        return t

    return tile(tile, x, types.intp, w, tall), generate


# Sums whose every step is rounded, as those of a loop in C are ---------------------------------------------------------------


def _steps(tile: Any, sign: str) -> Any:
    """The code of tile[0, e] += w[0] * (x0[e] + x1[e]), or -, or of one x alone."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, w, *cells = args
        tap = builder.load(address_of(builder, w, tile.dtype, I64(0)), typ=ELEMENTS[tile.dtype])
        weight = splatted(builder, tap, tile.lanes)
        for j in range(tile.columns):
            term, *others = (read(builder, p, tile, I64(j * tile.lanes)) for p in cells)
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
    return tile(tile, w, x), _steps(tile, "+")


@intrinsic
def add_product_of_sum(context: Any, tile: Any, w: Any, x: Any, other: Any) -> Any:
    """tile[0, e] += w[0] * (x[e] + other[e])"""
    return tile(tile, w, x, other), _steps(tile, "+")


@intrinsic
def add_product_of_difference(context: Any, tile: Any, w: Any, x: Any, other: Any) -> Any:
    """tile[0, e] += w[0] * (x[e] - other[e])"""
    return tile(tile, w, x, other), _steps(tile, "-")
