"""Windows of a plane reduced in registers."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastconv.kernels.simd.vector.building import address_of, call, compared, mask_between, read_masked, splatted, suffix
from fastconv.kernels.simd.vector.types import BYTES, ELEMENTS, I32, I64, Tile, vector_of


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

    By `order` it is the largest (1), the smallest (-1), where a NaN stays and of equals the first, or the sum (0); of values as
    they are (`power` 0), their magnitudes (1) or squares (2). Only the rows rows[0] .. rows[1] - 1 of x are there, and of those
    the cells cells[0] .. cells[1] - 1; what lies outside is not touched and counts as `empty`. `spare` points to such values
    under the cells that are there. A row is taken in once, and then goes to all windows that it is in.
    """
    result = Tile(x.dtype, tile_rows.literal_value, 1, lanes.literal_value)
    heights, widths, apart = tall.literal_value, wide.literal_value, stride.literal_value
    comparison, entry = {1: ">", -1: "<", 0: ""}[order.literal_value], power.literal_value
    vector, count = vector_of(result), result.lanes

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, step, rows, spare, cells, empty, *_ = args
        first, last = (builder.extract_value(rows, i) for i in range(2))
        low, high = (builder.extract_value(cells, i) for i in range(2))
        nan, outside = ir.Constant(vector, [np.nan] * count), splatted(builder, empty, count)
        needed = range(widths) if apart == 1 else [s + part for s in range(0, widths, 2) for part in (0, count)]
        masks = {s: mask_between(builder, builder.sub(low, I64(s)), builder.sub(high, I64(s)), count) for s in needed}

        def entered(v: Any) -> Any:
            if entry == 1:
                return call(builder, f"llvm.fabs.{suffix(result)}", vector, [v])
            return builder.fmul(v, v, flags=("contract",)) if entry == 2 else v

        def better(v: Any, best: Any) -> Any:
            """A NaN in `best` stays; one in v is lost."""
            if not comparison:
                return builder.fadd(best, v, flags=("contract",))
            return builder.select(compared(builder, comparison, v, best, result.dtype), v, best)

        def row_at(source: Any) -> Any:
            """What the windows along a row take in of it."""
            loaded = {
                s: read_masked(builder, builder.add(source, I64(s * BYTES[result.dtype])), result, mask, outside)
                for s, mask in masks.items()
            }
            found = []
            for s in range(widths):
                if apart == 1:
                    found.append(entered(loaded[s]))
                else:
                    chosen = ir.Constant(ir.VectorType(I32, count), [2 * lane + s % 2 for lane in range(count)])
                    found.append(entered(builder.shuffle_vector(loaded[s & ~1], loaded[(s & ~1) + count], chosen)))
            best = found[0]
            for v in found[1:]:
                best = better(v, best)
            if comparison:  # one test for the NaN of two values
                for one, other in zip(found[1::2], found[2::2] + found[-1:], strict=False):
                    best = builder.select(builder.fcmp_unordered("uno", one, other), nan, best)
            return best

        windows: list[Any] = [None] * result.rows
        for row in range((result.rows - 1) * apart + heights):
            users = [i for i in range(result.rows) if 0 <= row - i * apart < heights]
            if not users:
                continue
            there = builder.and_(builder.icmp_signed(">=", I64(row), first), builder.icmp_signed("<", I64(row), last))
            source = builder.select(there, builder.add(x, builder.mul(step, I64(row * BYTES[result.dtype]))), spare)
            taken = row_at(source)
            lost = builder.fcmp_unordered("uno", taken, taken)
            for i in users:
                if windows[i] is None:
                    windows[i] = taken
                    continue
                windows[i] = better(taken, windows[i])
                if comparison:
                    windows[i] = builder.select(lost, nan, windows[i])
        t = ir.Constant(context.get_value_type(result), ir.Undefined)
        for i, window in enumerate(windows):
            t = builder.insert_value(t, window, i)
        return t

    pair, literals = types.UniTuple(types.intp, 2), (tile_rows, lanes, tall, wide, stride, order, power)
    return result(x, types.intp, pair, spare, pair, x.dtype, *literals), generate


@intrinsic
def divided_rows(context: Any, tile: Any, divisors: Any, factors: Any) -> Any:
    """Row i of the tile over divisors[i] * factors, lane by lane, and over 1 in the lanes that have a factor of 0."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, divisors, factors = args
        none = builder.fcmp_ordered("==", factors, ir.Constant(factors.type, None))
        factors = builder.select(none, ir.Constant(factors.type, [1.0] * tile.lanes), factors)
        for i in range(tile.rows):
            value = builder.load(address_of(builder, divisors, tile.dtype, I64(i)), typ=ELEMENTS[tile.dtype])
            divisor = builder.fmul(splatted(builder, value, tile.lanes), factors)
            for k in range(i * tile.columns, (i + 1) * tile.columns):
                t = builder.insert_value(t, builder.fdiv(builder.extract_value(t, k), divisor), k)
        return t

    return tile(tile, divisors, factors), generate


@intrinsic
def rooted(context: Any, tile: Any) -> Any:
    """The square root of every element of a tile."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        (t,) = args
        for k in range(tile.rows * tile.columns):
            v = builder.extract_value(t, k)
            t = builder.insert_value(t, call(builder, f"llvm.sqrt.{suffix(tile)}", v.type, [v]), k)
        return t

    return tile(tile), generate
