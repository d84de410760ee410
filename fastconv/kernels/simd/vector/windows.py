"""Windows of a plane reduced in registers."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastconv.kernels.simd.vector.building import address_of, compared, mask_between, mask_of, read, read_masked, splatted
from fastconv.kernels.simd.vector.norms import powered
from fastconv.kernels.simd.vector.types import BYTES, ELEMENTS, I32, I64, Tile, vector_of


class Reducer:
    """The code that takes vectors into windows: the largest (order 1), the smallest (-1), where a NaN stays, or the sum (0).

    Of values as they are (power 0), or of powers of their magnitudes.
    """

    def __init__(self, builder: Any, tile: Any, order: int, power: int) -> None:
        self.builder, self.tile, self.power = builder, tile, power
        self.comparison = {1: ">", -1: "<", 0: ""}[order]
        self.nan = ir.Constant(vector_of(tile), [np.nan] * tile.lanes)

    def entered(self, v: Any) -> Any:
        """A vector of cells as it goes into a window."""
        return powered(self.builder, v, self.power, self.tile) if self.power else v

    def better(self, v: Any, best: Any) -> Any:
        """`best` with v taken in; a NaN in `best` stays, one in v is lost."""
        if not self.comparison:
            return self.builder.fadd(best, v, flags=("contract",))
        return self.builder.select(compared(self.builder, self.comparison, v, best, self.tile.dtype), v, best)

    def along(self, cells: list[Any]) -> Any:
        """What the windows along a row take in of it: of the cells under their taps."""
        found = [self.entered(v) for v in cells]
        best = found[0]
        for v in found[1:]:
            best = self.better(v, best)
        if self.comparison:  # one test for the NaN of two values
            for one, other in zip(found[1::2], found[2::2] + found[-1:], strict=False):
                best = self.builder.select(self.builder.fcmp_unordered("uno", one, other), self.nan, best)
        return best

    def take(self, windows: list[Any], users: list[int], taken: Any) -> None:
        """What was found along a row goes into the windows that it is in."""
        lost = self.builder.fcmp_unordered("uno", taken, taken) if self.comparison else None
        for i in users:
            if windows[i] is None:
                windows[i] = taken
                continue
            windows[i] = self.better(taken, windows[i])
            if lost is not None:
                windows[i] = self.builder.select(lost, self.nan, windows[i])


def tile_of(context: Any, builder: Any, result: Any, vectors: list[Any]) -> Any:
    """The vectors as a tile."""
    t = ir.Constant(context.get_value_type(result), ir.Undefined)
    for k, vector in enumerate(vectors):
        t = builder.insert_value(t, vector, k)
    return t


@intrinsic(prefer_literal=True)
def reduced_windows(
    context: Any,
    x: Any,
    step: Any,
    rows: Any,
    spare: Any,
    cells: Any,
    empty: Any,
    tile_rows: Any,
    lanes: Any,
    tall: Any,
    wide: Any,
    stride: Any,
    order: Any,
    power: Any,
) -> Any:
    """The tile whose [i, 0][e] takes in x[(i * stride + t) * step + e * stride + s] for t < tall, s < wide

    By `order` and `power`, as a Reducer has them. Only the rows rows[0] .. rows[1] - 1 of x are there, and of those the cells
    cells[0] .. cells[1] - 1; what lies outside is not touched and counts as `empty`. `spare` points to such values under the
    cells that are there. A row is taken in once, and then goes to all windows that it is in.
    """
    result = Tile(x.dtype, tile_rows.literal_value, 1, lanes.literal_value)
    heights, widths, apart = tall.literal_value, wide.literal_value, stride.literal_value
    count = result.lanes

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, step, rows, spare, cells, empty, *_ = args
        first, last = (builder.extract_value(rows, i) for i in range(2))
        low, high = (builder.extract_value(cells, i) for i in range(2))
        reducer, outside = Reducer(builder, result, order.literal_value, power.literal_value), splatted(builder, empty, count)
        needed = range(widths) if apart == 1 else [s + part for s in range(0, widths, 2) for part in (0, count)]
        masks = {s: mask_between(builder, builder.sub(low, I64(s)), builder.sub(high, I64(s)), count) for s in needed}

        def cells_of(source: Any) -> list[Any]:
            """The cells of a row under each tap."""
            loaded = {
                s: read_masked(builder, builder.add(source, I64(s * BYTES[result.dtype])), result, mask, outside)
                for s, mask in masks.items()
            }
            if apart == 1:
                return list(loaded.values())
            chosen = [ir.Constant(ir.VectorType(I32, count), [2 * lane + odd for lane in range(count)]) for odd in (0, 1)]
            pairs = [(loaded[s & ~1], loaded[(s & ~1) + count]) for s in range(widths)]
            return [builder.shuffle_vector(*pair, chosen[s % 2]) for s, pair in enumerate(pairs)]

        windows: list[Any] = [None] * result.rows
        for row in range((result.rows - 1) * apart + heights):
            users = [i for i in range(result.rows) if 0 <= row - i * apart < heights]
            if not users:
                continue
            there = builder.and_(builder.icmp_signed(">=", I64(row), first), builder.icmp_signed("<", I64(row), last))
            source = builder.select(there, builder.add(x, builder.mul(step, I64(row * BYTES[result.dtype]))), spare)
            reducer.take(windows, users, reducer.along(cells_of(source)))
        return tile_of(context, builder, result, windows)

    pair, literals = types.UniTuple(types.intp, 2), (tile_rows, lanes, tall, wide, stride, order, power)
    return result(x, types.intp, pair, spare, pair, x.dtype, *literals), generate


@intrinsic(prefer_literal=True)
def reduced_inside(
    context: Any,
    x: Any,
    step: Any,
    apart: Any,
    tile_rows: Any,
    tile_columns: Any,
    lanes: Any,
    tall: Any,
    wide: Any,
    order: Any,
    power: Any,
) -> Any:
    """The tile whose [i, e] takes in x[(i + t) * step + e + s * apart] for t < tall, s < wide, all of x inside the plane.

    What reduced_windows is at stride 1 to tiles of several vectors a row, without a mask.
    """
    result = Tile(x.dtype, tile_rows.literal_value, tile_columns.literal_value, lanes.literal_value)
    heights, widths = tall.literal_value, wide.literal_value

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, step, apart, *_ = args
        reducer = Reducer(builder, result, order.literal_value, power.literal_value)
        taps = [builder.mul(apart, I64(s)) for s in range(widths)]
        windows: list[list[Any]] = [[None] * result.rows for _ in range(result.columns)]
        for row in range(result.rows - 1 + heights):
            users = list(range(max(0, row - heights + 1), min(result.rows, row + 1)))
            source = builder.add(x, builder.mul(step, I64(row * BYTES[result.dtype])))
            for j, column in enumerate(windows):
                cells = [read(builder, source, result, builder.add(I64(j * result.lanes), tap)) for tap in taps]
                reducer.take(column, users, reducer.along(cells))
        return tile_of(context, builder, result, [windows[j][i] for i in range(result.rows) for j in range(result.columns)])

    return result(x, types.intp, types.intp, tile_rows, tile_columns, lanes, tall, wide, order, power), generate


@intrinsic
def divided_rows(context: Any, tile: Any, divisors: Any, factors: Any, room: Any) -> Any:
    """tile[i, e] / (divisors[i] * factors[e]) for e < room; where a factor is 0, the divisor is 1."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, divisors, factors, room = args
        for j in range(tile.columns):
            mask = mask_of(builder, builder.sub(room, I64(j * tile.lanes)), tile.lanes)
            across = read_masked(builder, builder.add(factors, I64(j * tile.lanes * BYTES[tile.dtype])), tile, mask)
            none = builder.fcmp_ordered("==", across, ir.Constant(across.type, None))
            across = builder.select(none, ir.Constant(across.type, [1.0] * tile.lanes), across)
            for i in range(tile.rows):
                value = builder.load(address_of(builder, divisors, tile.dtype, I64(i)), typ=ELEMENTS[tile.dtype])
                divisor = builder.fmul(splatted(builder, value, tile.lanes), across)
                k = i * tile.columns + j
                t = builder.insert_value(t, builder.fdiv(builder.extract_value(t, k), divisor), k)
        return t

    return tile(tile, divisors, factors, types.intp), generate
