"""Register tiles from memory and to it."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastconv.kernels.simd.vector.building import address_of, mask_of, read, read_masked, splatted, transposed
from fastconv.kernels.simd.vector.types import BYTES, ELEMENTS, I64, Tile, held


@intrinsic(prefer_literal=True)
def zeros(context: Any, p: Any, rows: Any, columns: Any, lanes: Any) -> Any:
    """A tile of zeros of the type that p points to."""
    result = Tile(p.dtype, rows.literal_value, columns.literal_value, lanes.literal_value)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(context.get_value_type(result), None)

    return result(p, rows, columns, lanes), generate


@intrinsic(prefer_literal=True)
def repeated(context: Any, p: Any, rows: Any, columns: Any, lanes: Any) -> Any:
    """A tile whose every row is the vectors at p: a bias, before the sum."""
    result = Tile(p.dtype, rows.literal_value, columns.literal_value, lanes.literal_value)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t = ir.Constant(context.get_value_type(result), ir.Undefined)
        for j in range(result.columns):
            vector = read(builder, args[0], result, I64(j * result.lanes))
            for i in range(result.rows):
                t = builder.insert_value(t, vector, i * result.columns + j)
        return t

    return result(p, rows, columns, lanes), generate


@intrinsic(prefer_literal=True)
def filled(context: Any, value: Any, rows: Any, columns: Any, lanes: Any) -> Any:
    """A tile of one value."""
    result = Tile(value, rows.literal_value, columns.literal_value, lanes.literal_value)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, vector = ir.Constant(context.get_value_type(result), ir.Undefined), splatted(builder, args[0], result.lanes)
        for k in range(result.rows * result.columns):
            t = builder.insert_value(t, vector, k)
        return t

    return result(value, rows, columns, lanes), generate


@intrinsic(prefer_literal=True)
def load_tile(context: Any, p: Any, step: Any, rows: Any, columns: Any, lanes: Any) -> Any:
    """The tile of p[i * step + j * lanes:][:lanes]."""
    result = Tile(held(p.dtype), rows.literal_value, columns.literal_value, lanes.literal_value)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t = ir.Constant(context.get_value_type(result), ir.Undefined)
        for i in range(result.rows):
            for j in range(result.columns):
                offset = builder.add(builder.mul(args[1], I64(i)), I64(j * result.lanes))
                t = builder.insert_value(t, read(builder, args[0], result, offset, p.dtype), i * result.columns + j)
        return t

    return result(p, types.intp, rows, columns, lanes), generate


@intrinsic(prefer_literal=True)
def load_first_rows(context: Any, p: Any, offsets: Any, count: Any, width: Any, rows: Any, columns: Any, lanes: Any) -> Any:
    """The tile whose row i is p[offsets[i]:][:width], zeros after; zeros for the rows i >= count."""
    result, stored = Tile(held(p.dtype), rows.literal_value, columns.literal_value, lanes.literal_value), p.dtype

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        p, table, count, width, *_ = args
        t = ir.Constant(context.get_value_type(result), None)
        for i in range(result.rows):
            offset = builder.load(address_of(builder, table, types.int64, I64(i)), typ=I64)
            row = builder.add(p, builder.mul(offset, I64(BYTES[stored])))
            wanted = builder.select(builder.icmp_signed("<", I64(i), count), width, I64(0))
            for j in range(result.columns):
                here = builder.add(row, I64(j * result.lanes * BYTES[stored]))
                mask = mask_of(builder, builder.sub(wanted, I64(j * result.lanes)), result.lanes)
                t = builder.insert_value(t, read_masked(builder, here, result, mask, None, stored), i * result.columns + j)
        return t

    return result(p, offsets, types.intp, types.intp, rows, columns, lanes), generate


@intrinsic(prefer_literal=True)
def load_transposed(context: Any, p: Any, step: Any, count: Any, width: Any, rows: Any, columns: Any, lanes: Any) -> Any:
    """The tile whose row i holds p[c * step + i] as element c, for i < count and c < width; zeros elsewhere."""
    result, stored = Tile(held(p.dtype), rows.literal_value, columns.literal_value, lanes.literal_value), p.dtype

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        p, step, count, width, *_ = args
        t = ir.Constant(context.get_value_type(result), None)
        for j in range(result.columns):
            for top in range(0, result.rows, result.lanes):
                loaded = []
                for lane in range(result.lanes):
                    c = j * result.lanes + lane
                    # What is masked out is read at p: at an address without memory behind it, it would take microseconds.
                    there = builder.icmp_signed("<", I64(c), width)
                    offset = builder.select(there, builder.add(builder.mul(step, I64(c)), I64(top)), I64(0))
                    here = builder.add(p, builder.mul(offset, I64(BYTES[stored])))
                    wanted = builder.select(there, builder.sub(count, I64(top)), I64(0))
                    mask = mask_of(builder, wanted, result.lanes)
                    loaded.append(read_masked(builder, here, result, mask, None, stored))
                rows_here = range(top, min(top + result.lanes, result.rows))
                for i, row in zip(rows_here, transposed(builder, loaded, result.lanes), strict=False):
                    t = builder.insert_value(t, row, i * result.columns + j)
        return t

    return result(p, types.intp, types.intp, types.intp, rows, columns, lanes), generate


@intrinsic(prefer_literal=True)
def load_turned(context: Any, p: Any, step: Any, lanes: Any) -> Any:
    """The tile of `lanes` rows whose row i holds p[c * step + i] as element c: load_transposed of a whole square."""
    result, stored = Tile(held(p.dtype), lanes.literal_value, 1, lanes.literal_value), p.dtype

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t = ir.Constant(context.get_value_type(result), ir.Undefined)
        loaded = [read(builder, args[0], result, builder.mul(args[1], I64(c)), stored) for c in range(result.lanes)]
        for i, row in enumerate(transposed(builder, loaded, result.lanes)):
            t = builder.insert_value(t, row, i)
        return t

    return result(p, types.intp, lanes), generate


@intrinsic(prefer_literal=True)
def first_values(context: Any, p: Any, rows: Any, columns: Any, lanes: Any) -> Any:
    """A tile whose row i is p[i] everywhere."""
    result = Tile(p.dtype, rows.literal_value, columns.literal_value, lanes.literal_value)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t = ir.Constant(context.get_value_type(result), ir.Undefined)
        for i in range(result.rows):
            value = builder.load(address_of(builder, args[0], result.dtype, I64(i)), typ=ELEMENTS[result.dtype])
            vector = splatted(builder, value, result.lanes)
            for j in range(result.columns):
                t = builder.insert_value(t, vector, i * result.columns + j)
        return t

    return result(p, rows, columns, lanes), generate


@intrinsic
def added(context: Any, tile: Any, p: Any, step: Any) -> Any:
    """tile[i, j] + p[i * step + j * lanes:][:lanes]"""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, p, step = args
        for i in range(tile.rows):
            for j in range(tile.columns):
                k, offset = i * tile.columns + j, builder.add(builder.mul(step, I64(i)), I64(j * tile.lanes))
                t = builder.insert_value(t, builder.fadd(builder.extract_value(t, k), read(builder, p, tile, offset)), k)
        return t

    return tile(tile, p, types.intp), generate


def sum_of(builder: Any, dtype: Any, a: Any, b: Any) -> Any:
    """a + b, of vectors of floats or of integers."""
    return builder.fadd(a, b) if isinstance(dtype, types.Float) else builder.add(a, b)


@intrinsic
def added_rows(context: Any, tile: Any, p: Any, offsets: Any) -> Any:
    """tile[i, j] + p[offsets[i] + j * lanes:][:lanes]; `offsets` points to int64"""
    stored = p.dtype

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, p, table = args
        for i in range(tile.rows):
            offset = builder.load(address_of(builder, table, types.int64, I64(i)), typ=I64)
            row = builder.add(p, builder.mul(offset, I64(BYTES[stored])))
            for j in range(tile.columns):
                k, other = i * tile.columns + j, read(builder, row, tile, I64(j * tile.lanes), stored)
                t = builder.insert_value(t, sum_of(builder, tile.dtype, builder.extract_value(t, k), other), k)
        return t

    return tile(tile, p, offsets), generate


@intrinsic
def added_first_rows(context: Any, tile: Any, p: Any, offsets: Any, count: Any, width: Any) -> Any:
    """tile[i, :] + p[offsets[i]:][:width] for the rows i < count; nothing else is read"""
    stored = p.dtype

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, p, table, count, width = args
        for i in range(tile.rows):
            offset = builder.load(address_of(builder, table, types.int64, I64(i)), typ=I64)
            row = builder.add(p, builder.mul(offset, I64(BYTES[stored])))
            wanted = builder.select(builder.icmp_signed("<", I64(i), count), width, I64(0))
            for j in range(tile.columns):
                k, here = i * tile.columns + j, builder.add(row, I64(j * tile.lanes * BYTES[stored]))
                mask = mask_of(builder, builder.sub(wanted, I64(j * tile.lanes)), tile.lanes)
                other = read_masked(builder, here, tile, mask, None, stored)
                t = builder.insert_value(t, sum_of(builder, tile.dtype, builder.extract_value(t, k), other), k)
        return t

    return tile(tile, p, offsets, types.intp, types.intp), generate
