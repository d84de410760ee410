"""Register tiles to memory."""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastconv.kernels.simd.vector.building import (
    address_of,
    mask_between,
    masks_are_cheap,
    transposed,
    write,
    write_first,
    write_lanes,
)
from fastconv.kernels.simd.vector.types import BYTES, I32, I64, Vector, vector_of


def write_rows(builder: Any, t: Any, tile: Any, rows: Any, count: Any, width: Any, stored: Any) -> None:
    """The first `width` elements of the first `count` rows of a tile, to the addresses that rows(i) gives.

    Where a masked store is dear, a whole tile is told from a part of one once, and not at each of its vectors.
    """

    def vector(i: int, j: int) -> Any:
        return builder.extract_value(t, i * tile.columns + j)

    def write_part(row: Any, i: int) -> None:
        for j in range(tile.columns):
            here, left = builder.add(row, I64(j * tile.lanes * BYTES[stored])), builder.sub(width, I64(j * tile.lanes))
            write_first(builder, vector(i, j), here, tile, left, stored)

    def write_parts() -> None:
        for i in range(tile.rows):
            with builder.if_then(builder.icmp_signed("<", I64(i), count)):
                write_part(rows(i), i)

    if masks_are_cheap():
        write_parts()
        return
    all_rows = builder.icmp_signed(">=", count, I64(tile.rows))
    whole = builder.and_(all_rows, builder.icmp_signed(">=", width, I64(tile.columns * tile.lanes)))
    with builder.if_else(whole) as (then, otherwise):
        with then:
            for i in range(tile.rows):
                row = rows(i)
                for j in range(tile.columns):
                    write(builder, vector(i, j), row, tile, I64(j * tile.lanes), stored)
        with otherwise:
            write_parts()


def rows_by(builder: Any, p: Any, table: Any, stored: Any) -> Callable[[int], Any]:
    """The address of row i, `table[i]` elements behind p."""

    def row(i: int) -> Any:
        offset = builder.load(address_of(builder, table, types.int64, I64(i)), typ=I64)
        return builder.add(p, builder.mul(offset, I64(BYTES[stored])))

    return row


@intrinsic
def store_rows(context: Any, tile: Any, p: Any, offsets: Any) -> Any:
    """p[offsets[i]:] = the vectors of row i; `offsets` points to int64"""
    stored = p.dtype

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, p, table = args
        row_of = rows_by(builder, p, table, stored)
        for i in range(tile.rows):
            row = row_of(i)
            for j in range(tile.columns):
                write(builder, builder.extract_value(t, i * tile.columns + j), row, tile, I64(j * tile.lanes), stored)
        return context.get_dummy_value()

    return types.void(tile, p, offsets), generate


@intrinsic
def store_first_rows(context: Any, tile: Any, p: Any, offsets: Any, count: Any, width: Any) -> Any:
    """p[offsets[i]:][:width] = row i, for the rows i < count; nothing else is touched"""
    stored = p.dtype

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, p, table, count, width = args
        write_rows(builder, t, tile, rows_by(builder, p, table, stored), count, width, stored)
        return context.get_dummy_value()

    return types.void(tile, p, offsets, types.intp, types.intp), generate


@intrinsic
def store_tile(context: Any, tile: Any, p: Any, step: Any) -> Any:
    """p[i * step + j * lanes:][:lanes] = tile[i, j]"""
    stored = p.dtype

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, p, step = args
        for i in range(tile.rows):
            for j in range(tile.columns):
                offset = builder.add(builder.mul(step, I64(i)), I64(j * tile.lanes))
                write(builder, builder.extract_value(t, i * tile.columns + j), p, tile, offset, stored)
        return context.get_dummy_value()

    return types.void(tile, p, types.intp), generate


@intrinsic
def store_spans(context: Any, tile: Any, p: Any, step: Any, rows: Any, count: Any) -> Any:
    """p[i * step:][:count] = the first elements of row i, for the rows i < rows; nothing else is touched"""
    stored = p.dtype

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, p, step, rows, count = args

        def row(i: int) -> Any:
            return builder.add(p, builder.mul(step, I64(i * BYTES[stored])))

        write_rows(builder, t, tile, row, rows, count, stored)
        return context.get_dummy_value()

    return types.void(tile, p, types.intp, types.intp, types.intp), generate


@intrinsic
def store_over(context: Any, tile: Any, p: Any, step: Any, count: Any) -> Any:
    """p[i * step:][:count] = the first elements of row i of a tile of one column, where row i + 1 covers what lies behind.

    All rows but the last are stored by whole vectors, and nothing is touched behind the last one: `step + count` is not less
    than the lanes of a vector.
    """
    stored = p.dtype

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, p, step, count = args
        rows = [builder.add(p, builder.mul(step, I64(i * BYTES[stored]))) for i in range(tile.rows)]
        for i, row in enumerate(rows[:-1]):
            write(builder, builder.extract_value(t, i), row, tile, I64(0), stored)
        write_first(builder, builder.extract_value(t, tile.rows - 1), rows[-1], tile, count, stored)
        return context.get_dummy_value()

    return types.void(tile, p, types.intp, types.intp), generate


@intrinsic
def store_spans_wide(context: Any, tile: Any, p: Any, step: Any, count: Any) -> Any:
    """p[i * step:][:count] = the first integers of row i of a tile of one column, as int64; nothing else is touched"""
    wide = Vector(types.int64, tile.lanes)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, p, step, count = args
        for i in range(tile.rows):
            row = builder.add(p, builder.mul(step, I64(i * BYTES[wide.dtype])))
            write_first(builder, builder.sext(builder.extract_value(t, i), vector_of(wide)), row, wide, count)
        return context.get_dummy_value()

    return types.void(tile, p, types.intp, types.intp), generate


@intrinsic
def store_interleaved(context: Any, tile: Any, p: Any) -> Any:
    """p[c * rows + i] = element c of row i, of a tile of one column"""
    stored, rows, lanes = p.dtype, tile.rows, tile.lanes

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vectors = [builder.extract_value(args[0], i) for i in range(rows)]
        for j in range(rows):
            places = [divmod(j * lanes + lane, rows) for lane in range(lanes)]  # (element, row) of each lane
            found = vectors[0]
            for i in range(1, rows):
                # Lanes of row i, those that rows before it filled, and in the first round elements of row 0.
                chosen = [lanes + c if row == i else c if i == 1 else lane for lane, (c, row) in enumerate(places)]
                found = builder.shuffle_vector(found, vectors[i], ir.Constant(ir.VectorType(I32, lanes), chosen))
            write(builder, found, args[1], tile, I64(j * lanes), stored)
        return context.get_dummy_value()

    return types.void(tile, p), generate


@intrinsic
def store_woven(context: Any, tile: Any, p: Any, step: Any, rows: Any, low: Any, high: Any) -> Any:
    """p[i // 2 * step + 2 * c + i % 2] = element c of row i, for the rows i < rows and the elements low <= c < high

    Two rows become one, in which their elements alternate; `rows` is even, and nothing else is touched.
    """
    lanes, stored = tile.lanes, p.dtype
    masks = [
        ir.Constant(ir.VectorType(I32, lanes), [half + i // 2 + i % 2 * lanes for i in range(lanes)])
        for half in (0, lanes // 2)
    ]

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, p, step, rows, low, high = args
        for j in range(2 * tile.columns):
            begin, end = (builder.sub(builder.add(bound, bound), I64(j * lanes)) for bound in (low, high))
            # A store of no lanes, to where no memory is, would take microseconds, and one of all lanes needs no mask.
            some = builder.and_(builder.icmp_signed("<", begin, I64(lanes)), builder.icmp_signed(">", end, I64(0)))
            all_lanes = builder.and_(builder.icmp_signed("<=", begin, I64(0)), builder.icmp_signed(">=", end, I64(lanes)))
            mask = mask_between(builder, begin, end, lanes)
            with builder.if_then(some), builder.if_else(all_lanes) as (whole, part):
                for branch, lanes_set in ((whole, None), (part, mask)):
                    with branch:
                        for i in range(0, tile.rows, 2):
                            with builder.if_then(builder.icmp_signed("<", I64(i), rows)):
                                row = builder.add(p, builder.mul(step, I64(i // 2 * BYTES[stored])))
                                pair = [builder.extract_value(t, k * tile.columns + j // 2) for k in (i, i + 1)]
                                woven, here = builder.shuffle_vector(*pair, masks[j % 2]), I64(j * lanes)
                                if lanes_set is None:
                                    write(builder, woven, row, tile, here, stored)
                                else:
                                    at = builder.add(row, builder.mul(here, I64(BYTES[stored])))
                                    write_lanes(builder, woven, at, tile, lanes_set, stored)
        return context.get_dummy_value()

    return types.void(tile, p, types.intp, types.intp, types.intp, types.intp), generate


@intrinsic
def store_transposed(context: Any, tile: Any, p: Any, step: Any, count: Any, width: Any) -> Any:
    """p[c * step + i] = element c of row i, for the rows i < count and the elements c < width

    `lanes` rows at a time are transposed in registers; rows beyond the tile's count as undefined and are not stored.
    """
    stored = p.dtype

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, p, step, count, width = args
        undefined = ir.Constant(vector_of(tile), ir.Undefined)
        for j in range(tile.columns):
            for top in range(0, tile.rows, tile.lanes):
                rows = range(top, min(top + tile.lanes, tile.rows))
                vectors = [builder.extract_value(t, i * tile.columns + j) for i in rows]
                vectors += [undefined] * (tile.lanes - len(vectors))
                for lane, column in enumerate(transposed(builder, vectors, tile.lanes)):
                    c = j * tile.lanes + lane
                    with builder.if_then(builder.icmp_signed("<", I64(c), width)):
                        offset = builder.add(builder.mul(step, I64(c)), I64(top))
                        here = builder.add(p, builder.mul(offset, I64(BYTES[stored])))
                        write_first(builder, column, here, tile, builder.sub(count, I64(top)), stored, len(rows))
        return context.get_dummy_value()

    return types.void(tile, p, types.intp, types.intp, types.intp), generate
