"""Sums of products over the windows of a whole map, whose cells follow each other in a few vectors."""

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


@intrinsic(prefer_literal=True)
def fma_map(context: Any, tile: Any, x: Any, w: Any, side: Any, taps: Any) -> Any:
    """tile[0, e] += sum over r, s < taps of x[e + (r - taps // 2) * side + s - taps // 2] * w[r * taps + s]

    The tile has one row, of as many vectors as side * side elements take; cells beside the map are not touched and count as
    zero. Which they are is known as this is compiled: of neighbouring windows many have the same mask.
    """
    size, count = side.literal_value, taps.literal_value

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, x, w, *_ = args
        kind, before = Vector(tile.dtype, tile.lanes), count // 2
        for r in range(count):
            for s in range(count):
                weight = splatted(builder, read_one(builder, w, tile.dtype, I64(r * count + s)), tile.lanes)
                for j in range(tile.columns):
                    there = inside(size, count, (r, s), j * tile.lanes, tile.lanes)
                    if not any(there):
                        continue
                    offset = (j * tile.lanes + (r - before) * size + s - before) * BYTES[tile.dtype]
                    mask = ir.Constant(ir.VectorType(I1, tile.lanes), there)
                    cells = read_masked(builder, builder.add(x, I64(offset)), kind, mask)
                    t = builder.insert_value(t, fused(builder, weight, cells, builder.extract_value(t, j), tile), j)
        return t

    return tile(tile, x, w, side, taps), generate
