"""Sums of products over the windows of a plane, in register tiles."""

from collections.abc import Callable
from typing import Any

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
    splatted,
    two_apart,
)
from fastconv.kernels.simd.vector.types import BYTES, ELEMENTS, I64

FEW_TAPS = 12


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
