"""Dot products of what lies together: lanes are summed with lanes of their own, and added up at the end."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastconv.kernels.simd.vector.building import fused, mask_of, read, read_masked
from fastconv.kernels.simd.vector.types import BYTES, I32, I64, Vector


@intrinsic
def fma_dots(context: Any, tile: Any, x: Any, step: Any, w: Any, w_step: Any, room: Any) -> Any:
    """tile[i, j][e] += x[i * step + e] * w[j * w_step + e] for the lanes e < room of every vector."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, x, step, w, w_step, room = args
        mask = mask_of(builder, room, tile.lanes)
        weights = [read(builder, w, tile, builder.mul(w_step, I64(j))) for j in range(tile.columns)]
        for i in range(tile.rows):
            source = builder.add(x, builder.mul(step, I64(i * BYTES[tile.dtype])))
            cells = read_masked(builder, source, tile, mask)
            for j, taps in enumerate(weights):
                k = i * tile.columns + j
                t = builder.insert_value(t, fused(builder, cells, taps, builder.extract_value(t, k), tile), k)
        return t

    return tile(tile, x, types.intp, w, types.intp, types.intp), generate


@intrinsic
def lane_sums(context: Any, tile: Any) -> Any:
    """The vector of the sums of the lanes of each vector of a tile, row by row; there are as many as lanes, or fewer.

    Two vectors of which lane l holds a part of sum l % s become one of which it holds a part of sum l % 2 s.
    """
    result, count = Vector(tile.dtype, tile.lanes), tile.rows * tile.columns

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vectors = [builder.extract_value(args[0], k) for k in range(count)]
        vectors += [ir.Constant(vectors[0].type, None)] * (tile.lanes - count)
        size = 1
        while size < tile.lanes:
            first = [lane % (2 * size) < size for lane in range(tile.lanes)]
            own = [lane if a else tile.lanes + lane for lane, a in enumerate(first)]
            other = [lane + size if a else tile.lanes + lane - size for lane, a in enumerate(first)]
            masks = [ir.Constant(ir.VectorType(I32, tile.lanes), lanes) for lanes in (own, other)]
            pairs = zip(vectors[::2], vectors[1::2], strict=True)
            vectors = [builder.fadd(*(builder.shuffle_vector(a, b, mask) for mask in masks)) for a, b in pairs]
            size *= 2
        return vectors[0]

    return result(tile), generate
