"""Windows of a plane reduced in registers."""

from functools import partial, reduce
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastconv.kernels.simd.vector.building import address_of, begins_of, mask_of, parts_of, read, read_masked, splatted
from fastconv.kernels.simd.vector.reducers import Placer, Plane, Reducer, tile_of
from fastconv.kernels.simd.vector.types import BYTES, ELEMENTS, I32, I64, Tile, held


@intrinsic(prefer_literal=True)
def reduced_windows(
    context: Any,
    x: Any,
    step: Any,
    across: Any,
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
    """The tile whose [i, 0][e] takes in x[(i * stride + t) * step + e * stride + s * across] for t < tall, s < wide

    By `order` and `power`, as a Reducer has them. Only the rows rows[0] .. rows[1] - 1 of x are there, and of those the cells
    cells[0] .. cells[1] - 1; what lies outside is not touched and counts as `empty`. `spare` points to such values under the
    cells that are there. `across` is 1 but for stride 1. A row is taken in once, and then goes to all windows that it is in; at
    strides of more than 2 the rows of a window are joined first.
    """
    result, stored = Tile(held(x.dtype), tile_rows.literal_value, 1, lanes.literal_value), x.dtype
    heights, widths, apart = tall.literal_value, wide.literal_value, stride.literal_value
    beside = getattr(across, "literal_value", 0) == 1  # then the first and last taps meet all cells

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, step, across, rows, spare, cells, empty, *_ = args
        reducer = Reducer(builder, result, order.literal_value, power.literal_value, stored)
        plane = Plane(reducer, x, step, across, rows, spare, cells, empty)

        def row(k: int) -> Any:
            """What the windows take in of a row."""
            return reduce(reducer.joined, map(reducer.entered, plane.cells(k, widths, apart, beside)))

        def vectors() -> list[Any]:
            if apart <= 2:
                return list(reducer.down(row, result.rows, heights, apart))
            return list(reducer.across(lambda k: plane.far_apart(k, widths, apart), result.rows, heights, apart, widths))

        return tile_of(context, builder, result, reducer.quick_or_careful(vectors))

    pair, literals = types.UniTuple(types.intp, 2), (tile_rows, lanes, tall, wide, stride, order, power)
    return result(x, types.intp, across, pair, spare, pair, result.dtype, *literals), generate


@intrinsic(prefer_literal=True)
def placed_windows(
    context: Any,
    x: Any,
    step: Any,
    rows: Any,
    spare: Any,
    cells: Any,
    empty: Any,
    corner: Any,
    room: Any,
    tile_rows: Any,
    lanes: Any,
    tall: Any,
    wide: Any,
    stride: Any,
    order: Any,
) -> Any:
    """The tile of reduced_windows for a largest or smallest cell, and a tile of where it lies: its number is `corner` at x.

    Of equals, and of NaN, the first counts. Every window of the first `room` vectors' lanes has a cell that is there.
    """
    result, stored = Tile(held(x.dtype), tile_rows.literal_value, 1, lanes.literal_value), x.dtype
    places = Tile(types.int32, result.rows, 1, result.lanes)
    heights, widths, apart, kinds = tall.literal_value, wide.literal_value, stride.literal_value, types.Tuple((result, places))

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, step, rows, spare, cells, empty, corner, room, *_ = args
        placer, limit = Placer(builder, result, order.literal_value, 0, stored), I64(1 << 30)
        plane = Plane(placer, x, step, I64(1), rows, spare, cells, empty)
        columns = []
        for end in (plane.low, plane.high):
            end = builder.select(builder.icmp_signed("<", end, limit), end, limit)
            columns.append(builder.trunc(builder.select(builder.icmp_signed(">", end, I64(-(1 << 30))), end, I64(-1)), I32))

        def row(k: int) -> Any:
            """What the windows take in of a row, and where it lies."""
            found = plane.cells(k, widths, apart, True)
            return reduce(placer.joined, placer.placed(found, k, apart, plane.there(k), (columns[0], columns[1])))

        def vectors() -> list[Any]:
            best, at = zip(*placer.down(row, result.rows, heights, apart), strict=True)
            if not placer.careful:
                placer.doubt(list(best), plane.outside, room)
            return [*best, *at]

        found = placer.quick_or_careful(vectors)
        first = splatted(builder, builder.trunc(corner, I32), result.lanes)
        at = [builder.add(placer.number(code, step, apart), first) for code in found[result.rows :]]
        tiles = tile_of(context, builder, result, found[: result.rows]), tile_of(context, builder, places, at)
        return context.make_tuple(builder, kinds, tiles)

    pair, literals = types.UniTuple(types.intp, 2), (tile_rows, lanes, tall, wide, stride, order)
    return kinds(x, types.intp, pair, spare, pair, result.dtype, types.intp, types.intp, *literals), generate


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
    stride: Any,
    every: Any,
    order: Any,
    power: Any,
) -> Any:
    """The tile whose [i, e] takes in x[(i * stride + t) * step + e * every + s * apart] for t < tall, s < wide, all in a plane.

    What reduced_windows is to tiles of several vectors a row, without a mask. Where `every` is 2 or more, `apart` is 1: behind
    the cells under first taps, two to an output, rest_of(wide) more are read, or all that begins_of tells of each vector.
    """
    result, stored = Tile(held(x.dtype), tile_rows.literal_value, tile_columns.literal_value, lanes.literal_value), x.dtype
    heights, widths, between, cells_apart = (v.literal_value for v in (tall, wide, stride, every))
    beside = getattr(apart, "literal_value", 0) == 1  # then the first and last taps meet all cells

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, step, apart, *_ = args
        reducer = Reducer(builder, result, order.literal_value, power.literal_value, stored)
        taps = [builder.mul(apart, I64(s)) for s in range(widths)]

        def row(j: int, k: int) -> Any:
            """What the windows of the j-th vectors take in of a row."""
            source = reducer.place(builder.add(x, builder.mul(step, I64(k * BYTES[stored]))))
            if cells_apart == 1:
                cells = [read(builder, source, result, builder.add(I64(j * result.lanes), tap), stored) for tap in taps]
                reducer.look_at(cells[:: widths - 1] if beside and 1 < widths <= result.lanes + 1 else cells)
            else:
                parts = [read(builder, source, t, I64(2 * j * result.lanes + s), stored) for s, t in parts_of(widths, result)]
                cells = reducer.two_apart(parts, widths)
            return reduce(reducer.joined, [reducer.entered(v) for v in cells])

        def far_row(j: int, k: int) -> list[Any]:
            """The cells of a row that the windows of the j-th vectors lie in."""
            source = reducer.place(builder.add(x, builder.mul(step, I64(k * BYTES[stored]))))
            first, begins = cells_apart * j * result.lanes, begins_of(widths, result.lanes, cells_apart)
            cells = [read(builder, source, result, I64(first + s), stored) for s in begins]
            reducer.look_at(cells)
            return [reducer.entered(v) for v in cells]

        def windows_of(j: int) -> Any:
            """Those of the j-th vectors."""
            if cells_apart <= 2:
                return reducer.down(partial(row, j), result.rows, heights, between)
            return reducer.across(partial(far_row, j), result.rows, heights, between, widths)

        def vectors() -> list[Any]:
            columns = [windows_of(j) for j in range(result.columns)]
            return [window for windows in zip(*columns, strict=True) for window in windows]

        return tile_of(context, builder, result, reducer.quick_or_careful(vectors))

    literals = tile_rows, tile_columns, lanes, tall, wide, stride, every, order, power
    return result(x, types.intp, apart, *literals), generate


@intrinsic(prefer_literal=True)
def joined(context: Any, a: Any, b: Any, order: Any) -> Any:
    """What two tiles of parts of windows, a before b, have taken in, by `order` as a Reducer has it."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, other, _ = args
        reducer = Reducer(builder, a, order.literal_value, 0)
        reducer.careful = True
        for k in range(a.rows * a.columns):
            t = builder.insert_value(t, reducer.joined(*(builder.extract_value(tile, k) for tile in (t, other))), k)
        return t

    return a(a, a, order), generate


@intrinsic
def divided_rows(context: Any, tile: Any, divisors: Any, step: Any, factors: Any, room: Any) -> Any:
    """tile[i, e] / (divisors[i * step] * factors[e]) for e < room; where a factor is 0, the divisor is 1."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, divisors, step, factors, room = args
        for j in range(tile.columns):
            mask = mask_of(builder, builder.sub(room, I64(j * tile.lanes)), tile.lanes)
            across = read_masked(builder, builder.add(factors, I64(j * tile.lanes * BYTES[tile.dtype])), tile, mask)
            none = builder.fcmp_ordered("==", across, ir.Constant(across.type, None))
            across = builder.select(none, ir.Constant(across.type, [1.0] * tile.lanes), across)
            for i in range(tile.rows):
                value = builder.load(
                    address_of(builder, divisors, tile.dtype, builder.mul(step, I64(i))), typ=ELEMENTS[tile.dtype]
                )
                divisor = builder.fmul(splatted(builder, value, tile.lanes), across)
                k = i * tile.columns + j
                t = builder.insert_value(t, builder.fdiv(builder.extract_value(t, k), divisor), k)
        return t

    return tile(tile, divisors, types.intp, factors, types.intp), generate
