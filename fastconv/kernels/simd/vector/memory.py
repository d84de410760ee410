"""Vectors from memory and to it."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastconv.kernels.simd.vector.building import address_of, call, mask_of, read, read_masked, write, write_first
from fastconv.kernels.simd.vector.types import I32, I64, Vector, held, vector_of


@intrinsic(prefer_literal=True)
def load(context: Any, p: Any, lanes: Any) -> Any:
    """The vector at p."""
    result = Vector(held(p.dtype), lanes.literal_value)
    return result(p, lanes), lambda context, builder, signature, args: read(builder, args[0], result, I64(0), p.dtype)


@intrinsic(prefer_literal=True)
def load_first(context: Any, p: Any, count: Any, lanes: Any) -> Any:
    """The first `count` elements at p, zeros after them; memory behind them is not touched."""
    result = Vector(held(p.dtype), lanes.literal_value)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return read_masked(builder, args[0], result, mask_of(builder, args[1], result.lanes), None, p.dtype)

    return result(p, types.intp, lanes), generate


@intrinsic
def load_first_or(context: Any, p: Any, count: Any, others: Any) -> Any:
    """The first `count` elements at p, the lanes of `others` after them; memory behind them is not touched."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return read_masked(builder, args[0], others, mask_of(builder, args[1], others.lanes), args[2], p.dtype)

    return others(p, types.intp, others), generate


@intrinsic
def store(context: Any, p: Any, v: Any) -> Any:
    """The vector to p."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        write(builder, args[1], args[0], v, I64(0), p.dtype)
        return context.get_dummy_value()

    return types.void(p, v), generate


@intrinsic
def store_first(context: Any, p: Any, v: Any, count: Any) -> Any:
    """The first `count` elements of the vector to p; memory behind them is not touched."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        write_first(builder, args[1], args[0], v, args[2], p.dtype)
        return context.get_dummy_value()

    return types.void(p, v, types.intp), generate


@intrinsic
def store_first_wide(context: Any, p: Any, v: Any, count: Any) -> Any:
    """The first `count` integers of the vector to p, as int64."""
    wide = Vector(types.int64, v.lanes)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        write_first(builder, builder.sext(args[1], vector_of(wide)), args[0], wide, args[2])
        return context.get_dummy_value()

    return types.void(p, v, types.intp), generate


@intrinsic
def prefetch(context: Any, p: Any) -> Any:
    """Ask for the line at p to come into the L2 cache: nothing is read, and p may lie anywhere."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        hints = [I32(0), I32(2), I32(1)]  # to read, soon, data
        call(builder, "llvm.prefetch.p0", ir.VoidType(), [address_of(builder, args[0], p.dtype), *hints])
        return context.get_dummy_value()

    return types.void(p), generate
