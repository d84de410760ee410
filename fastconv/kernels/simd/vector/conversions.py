"""Vectors between memory of one type and registers of another, as C converts: toward zero, integers modulo their width."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastconv.kernels.simd.vector.building import call, mask_of, read, read_masked, splatted, suffix, write, write_first
from fastconv.kernels.simd.vector.types import BYTES, I32, I64, INTEGERS, Vector, vector_of


def converted(builder: Any, v: Any, source: Any, target: Any) -> Any:
    """A vector of type `source` as one of type `target`, of as many lanes."""
    a, b = source.dtype, target.dtype
    if a == b:
        return v
    if a in INTEGERS:
        return _from_integers(builder, v, source, target)
    if b in INTEGERS:
        return _from_floats(builder, v, source, target)
    return (builder.fpext if BYTES[b] > BYTES[a] else builder.fptrunc)(v, vector_of(target))


def _from_integers(builder: Any, v: Any, source: Any, target: Any) -> Any:
    a, b = source.dtype, target.dtype
    if b in INTEGERS:
        if BYTES[a] == BYTES[b]:
            return v
        if BYTES[a] > BYTES[b]:
            return builder.trunc(v, vector_of(target))
        return (builder.sext if a.signed else builder.zext)(v, vector_of(target))
    if BYTES[a] < 4:  # signed 32-bit integers are what every processor converts
        v = (builder.sext if a.signed else builder.zext)(v, ir.VectorType(I32, source.lanes))
        return builder.sitofp(v, vector_of(target))
    return (builder.sitofp if a.signed else builder.uitofp)(v, vector_of(target))


def _from_floats(builder: Any, v: Any, source: Any, target: Any) -> Any:
    b, lanes = target.dtype, source.lanes
    if BYTES[b] < 4 or b == types.int32:
        whole = builder.fptosi(v, ir.VectorType(I32, lanes))
        return whole if b == types.int32 else builder.trunc(whole, vector_of(target))
    wide = ir.VectorType(I64, lanes)
    if b == types.uint64:
        half = ir.Constant(vector_of(source), [float(1 << 63)] * lanes)
        high = builder.fcmp_ordered(">=", v, half)
        low = builder.fptosi(builder.select(high, builder.fsub(v, half), v), wide)
        top = ir.Constant(wide, [-(1 << 63)] * lanes)
        return builder.select(high, builder.xor(low, top), low)
    whole = builder.fptosi(v, wide)
    return whole if BYTES[b] == 8 else builder.trunc(whole, vector_of(target))


def read_as(builder: Any, p: Any, stored: Any, t: Any, offset: Any) -> Any:
    """The vector `offset` elements behind p, which are `stored` there, as t has them."""
    source = Vector(stored, t.lanes)
    return converted(builder, read(builder, p, source, offset), source, t)


@intrinsic(prefer_literal=True)
def load_as(context: Any, p: Any, like: Any, lanes: Any) -> Any:
    """The vector at p, converted to what the pointer `like` points to."""
    stored, result = Vector(p.dtype, lanes.literal_value), Vector(like.dtype, lanes.literal_value)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return converted(builder, read(builder, args[0], stored, I64(0)), stored, result)

    return result(p, like, lanes), generate


@intrinsic(prefer_literal=True)
def load_first_as(context: Any, p: Any, like: Any, count: Any, lanes: Any) -> Any:
    """The first `count` elements at p, converted to what `like` points to, zeros after them; no other memory is touched."""
    stored, result = Vector(p.dtype, lanes.literal_value), Vector(like.dtype, lanes.literal_value)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        v = read_masked(builder, args[0], stored, mask_of(builder, args[2], stored.lanes))
        return converted(builder, v, stored, result)

    return result(p, like, types.intp, lanes), generate


@intrinsic
def store_as(context: Any, p: Any, v: Any) -> Any:
    """The vector to p, converted to what p points to."""
    stored = Vector(p.dtype, v.lanes)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        write(builder, converted(builder, args[1], v, stored), args[0], stored, I64(0))
        return context.get_dummy_value()

    return types.void(p, v), generate


@intrinsic
def store_first_as(context: Any, p: Any, v: Any, count: Any) -> Any:
    """The first `count` elements of the vector to p, converted to what p points to; no other memory is touched."""
    stored = Vector(p.dtype, v.lanes)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        write_first(builder, converted(builder, args[1], v, stored), args[0], stored, args[2])
        return context.get_dummy_value()

    return types.void(p, v, types.intp), generate


@intrinsic
def poke_as(context: Any, p: Any, source: Any) -> Any:
    """The element at p becomes the one at `source`, converted."""
    one, other = Vector(source.dtype, 1), Vector(p.dtype, 1)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        write(builder, converted(builder, read(builder, args[1], one, I64(0)), one, other), args[0], other, I64(0))
        return context.get_dummy_value()

    return types.void(p, source), generate


# Tiles of one row ---------------------------------------------------------------------------------------------------------


@intrinsic
def store_row_as(context: Any, tile: Any, p: Any, count: Any) -> Any:
    """p[:count] = the first elements of a tile of one row, converted to what p points to; no other memory is touched."""
    stored = Vector(p.dtype, tile.lanes)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, p, count = args
        whole = builder.icmp_signed(">=", count, I64(tile.columns * tile.lanes))
        with builder.if_else(whole) as (then, otherwise):
            with then:
                for j in range(tile.columns):
                    write(
                        builder, converted(builder, builder.extract_value(t, j), tile, stored), p, stored, I64(j * tile.lanes)
                    )
            with otherwise:
                for j in range(tile.columns):
                    left = builder.sub(count, I64(j * tile.lanes))
                    with builder.if_then(builder.icmp_signed(">", left, I64(0))):  # a store of no lanes may take microseconds
                        v = converted(builder, builder.extract_value(t, j), tile, stored)
                        at = builder.add(p, I64(j * tile.lanes * BYTES[stored.dtype]))
                        write_first(builder, v, at, stored, left)
        return context.get_dummy_value()

    return types.void(tile, p, types.intp), generate


@intrinsic
def rounded_row(context: Any, tile: Any, like: Any) -> Any:
    """The tile, as it comes back from memory of the type that the pointer `like` points to."""
    stored = Vector(like.dtype, tile.lanes)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t = args[0]
        if like.dtype == tile.dtype:
            return t
        for k in range(tile.rows * tile.columns):
            v = converted(builder, builder.extract_value(t, k), tile, stored)
            t = builder.insert_value(t, converted(builder, v, stored, tile), k)
        return t

    return tile(tile, like), generate


@intrinsic
def are_near_whole(context: Any, tile: Any, margin: Any) -> Any:
    """Whether an element of a tile lies within `margin` of a whole number that is not 0, where it may be cut off otherwise."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, bound = args[0], splatted(builder, args[1], tile.lanes)
        zero, found = ir.Constant(vector_of(tile), None), ir.Constant(ir.VectorType(ir.IntType(1), tile.lanes), None)
        for k in range(tile.rows * tile.columns):
            v = builder.extract_value(t, k)
            whole = call(builder, f"llvm.rint.{suffix(tile)}", v.type, [v])
            apart = call(builder, f"llvm.fabs.{suffix(tile)}", v.type, [builder.fsub(v, whole)])
            near = builder.and_(builder.fcmp_ordered("<", apart, bound), builder.fcmp_ordered("!=", whole, zero))
            found = builder.or_(found, near)
        bits = builder.bitcast(found, ir.IntType(tile.lanes))
        return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    return types.boolean(tile, tile.dtype), generate
