"""Sums of products over the windows of a whole map, whose cells follow each other in a few vectors.

Which cells under a tap lie on the map is known as this is compiled: of neighbouring windows many have the same mask. Cells
beside the map are not touched and count as zero.
"""

from typing import Any

from llvmlite import ir
from numba.extending import intrinsic

from fastconv.kernels.simd.vector.building import fused, read_masked, read_one, splatted
from fastconv.kernels.simd.vector.types import BYTES, I1, I64, Vector


def inside(side: int, taps: int, tap: tuple[int, int], first: int, lanes: int) -> list[bool]:
    """Which of the outputs first, first + 1, ... of a square map have the cell under a tap on it."""
    before, found = taps // 2, []
    for output in range(first, first + lanes):
        row, column = output // side + tap[0] - before, output % side + tap[1] - before
        found.append(output < side * side and 0 <= row < side and 0 <= column < side)
    return found


def cells_under(builder: Any, x: Any, tile: Any, side: int, taps: int, tap: tuple[int, int], first: int) -> Any:
    """The vector of the cells under a tap of the outputs first, first + 1, ..."""
    kind, before = Vector(tile.dtype, tile.lanes), taps // 2
    offset = (first + (tap[0] - before) * side + tap[1] - before) * BYTES[tile.dtype]
    there = ir.Constant(ir.VectorType(I1, tile.lanes), inside(side, taps, tap, first, tile.lanes))
    return read_masked(builder, builder.add(x, I64(offset)), kind, there)


@intrinsic(prefer_literal=True)
def fma_map(context: Any, tile: Any, x: Any, w: Any, side: Any, taps: Any) -> Any:
    """tile[0, e] += sum over r, s < taps of x[e + (r - taps // 2) * side + s - taps // 2] * w[r * taps + s]

    The tile has one row, of as many vectors as side * side elements take.
    """
    size, count = side.literal_value, taps.literal_value

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, x, w, *_ = args
        for k in range(count * count):
            weight = splatted(builder, read_one(builder, w, tile.dtype, I64(k)), tile.lanes)
            for j in range(tile.columns):
                cells = cells_under(builder, x, tile, size, count, divmod(k, count), j * tile.lanes)
                t = builder.insert_value(t, fused(builder, weight, cells, builder.extract_value(t, j), tile), j)
        return t

    return tile(tile, x, w, side, taps), generate


@intrinsic(prefer_literal=True)
def fma_map_taps(context: Any, tile: Any, x: Any, y: Any, side: Any, taps: Any) -> Any:
    """tile[r * taps + s, 0] += x[e + (r - taps // 2) * side + s - taps // 2] * y[e], lane by lane, for all e < side * side."""
    size, count = side.literal_value, taps.literal_value

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, x, y, *_ = args
        kind = Vector(tile.dtype, tile.lanes)
        for first in range(0, size * size, tile.lanes):
            there = ir.Constant(ir.VectorType(I1, tile.lanes), [first + lane < size * size for lane in range(tile.lanes)])
            outputs = read_masked(builder, builder.add(y, I64(first * BYTES[tile.dtype])), kind, there)
            for k in range(count * count):
                cells = cells_under(builder, x, tile, size, count, divmod(k, count), first)
                t = builder.insert_value(t, fused(builder, outputs, cells, builder.extract_value(t, k), tile), k)
        return t

    return tile(tile, x, y, side, taps), generate
