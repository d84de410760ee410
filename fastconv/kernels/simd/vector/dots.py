"""Dot products of what lies together: lanes are summed with lanes of their own, and added up at the end."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastconv.kernels.simd.vector.building import fused, mask_of, read_masked, write
from fastconv.kernels.simd.vector.types import BYTES, I32, I64, Vector


@intrinsic
def fma_dots(context: Any, tile: Any, x: Any, step: Any, w: Any, w_step: Any, room: Any) -> Any:
    """tile[i, j][e] += x[i * step + e] * w[j * w_step + e] for the lanes e < room of every vector."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, x, step, w, w_step, room = args
        mask = mask_of(builder, room, tile.lanes)

        def row(p: Any, apart: Any, i: int) -> Any:
            return read_masked(builder, builder.add(p, builder.mul(apart, I64(i * BYTES[tile.dtype]))), tile, mask)

        weights = [row(w, w_step, j) for j in range(tile.columns)]
        for i in range(tile.rows):
            cells = row(x, step, i)
            for j, taps in enumerate(weights):
                k = i * tile.columns + j
                t = builder.insert_value(t, fused(builder, cells, taps, builder.extract_value(t, k), tile), k)
        return t

    return tile(tile, x, types.intp, w, types.intp, types.intp), generate


def summed(builder: Any, vectors: list[Any], lanes: int) -> Any:
    """The vector of the sums of the lanes of each vector, of which there are as many as lanes, or fewer.

    Two vectors of which lane l holds a part of sum l % s become one of which it holds a part of sum l % 2 s.
    """
    vectors = vectors + [ir.Constant(vectors[0].type, None)] * (lanes - len(vectors))
    size = 1
    while size < lanes:
        first = [lane % (2 * size) < size for lane in range(lanes)]
        own = [lane if a else lanes + lane for lane, a in enumerate(first)]
        other = [lane + size if a else lanes + lane - size for lane, a in enumerate(first)]
        masks = [ir.Constant(ir.VectorType(I32, lanes), numbers) for numbers in (own, other)]
        pairs = zip(vectors[::2], vectors[1::2], strict=True)
        vectors = [builder.fadd(*(builder.shuffle_vector(a, b, mask) for mask in masks)) for a, b in pairs]
        size *= 2
    return vectors[0]


@intrinsic
def lane_sums(context: Any, tile: Any) -> Any:
    """The vector of the sums of the lanes of each vector of a tile, row by row; there are as many as lanes, or fewer."""
    count = tile.rows * tile.columns

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return summed(builder, [builder.extract_value(args[0], k) for k in range(count)], tile.lanes)

    return Vector(tile.dtype, tile.lanes)(tile), generate


@intrinsic
def store_lane_sums(context: Any, tile: Any, p: Any) -> Any:
    """p[k] = the sum of the lanes of vector k of a tile, row by row, and zeros up to whole vectors."""
    count = tile.rows * tile.columns

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vectors = [builder.extract_value(args[0], k) for k in range(count)]
        for first in range(0, count, tile.lanes):
            sums = summed(builder, vectors[first : first + tile.lanes], tile.lanes)
            write(builder, sums, args[1], tile, I64(first))
        return context.get_dummy_value()

    return types.void(tile, p), generate
