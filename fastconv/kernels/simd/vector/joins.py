"""Vectors and tiles of one row that take in others, as a reduction joins cells; and what is made of the cells it joined."""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastconv.kernels.simd.vector.arithmetic import extreme
from fastconv.kernels.simd.vector.building import address_of, call, fused, read, splatted, suffix
from fastconv.kernels.simd.vector.conversions import converted
from fastconv.kernels.simd.vector.types import ELEMENTS, I32, I64, Tile, Vector, vector_of


def _on_each(context: Any, builder: Any, kind: Any, operands: list[Any], function: Callable[..., Any]) -> Any:
    """A function of vectors on vectors, or on all vectors of tiles."""
    if isinstance(kind, Vector):
        return function(*operands)
    found = ir.Constant(context.get_value_type(kind), ir.Undefined)
    for k in range(kind.rows * kind.columns):
        found = builder.insert_value(found, function(*(builder.extract_value(one, k) for one in operands)), k)
    return found


@intrinsic(prefer_literal=True)
def load_row_as(context: Any, p: Any, like: Any, columns: Any, lanes: Any) -> Any:
    """The tile of one row at p, converted to what the pointer `like` points to."""
    stored = Vector(p.dtype, lanes.literal_value)
    result = Tile(like.dtype, 1, columns.literal_value, lanes.literal_value)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t = ir.Constant(context.get_value_type(result), ir.Undefined)
        for j in range(result.columns):
            v = converted(builder, read(builder, args[0], stored, I64(j * result.lanes)), stored, result)
            t = builder.insert_value(t, v, j)
        return t

    return result(p, like, columns, lanes), generate


@intrinsic(prefer_literal=True)
def join(context: Any, a: Any, b: Any, how: Any) -> Any:
    """The "sum", or the "larger" or "smaller", where a NaN in either stays."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def joined(x: Any, y: Any) -> Any:
            word = how.literal_value
            if word == "sum":
                real = a.dtype in types.real_domain
                return builder.fadd(x, y, flags=("contract",)) if real else builder.add(x, y)
            return extreme(">" if word == "larger" else "<", a.dtype)(context, builder, signature, (x, y))

        return _on_each(context, builder, a, list(args[:2]), joined)

    return a(a, a, how), generate


@intrinsic(prefer_literal=True)
def finish(context: Any, v: Any, factors: Any, stored: Any, how: Any) -> Any:
    """What is made of joined cells, as memory that `stored` points to holds it; `factors` points to two numbers.

    =========== ==================================================================================
    how         result
    =========== ==================================================================================
    "keep"      v
    "quotient"  v / factors[1], rounded as a division rounds; factors[0] is the rounded reciprocal
    "whole"     v * factors[0] toward zero: of integers by way of float32
    "shift"     (v * factors[0] >> 16) >> factors[1], of unsigned 16-bit integers
    =========== ==================================================================================

    The quotient is one step of Newton's from a product (Markstein, Computation of elementary functions on the IBM RISC
    System/6000 processor (1990), theorem 8.2); an infinite one has no remainder, and stays.
    """
    lanes, kind = v.lanes, Vector(v.dtype, v.lanes)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, at, _, _ = args
        word = how.literal_value
        first, second = (
            splatted(builder, builder.load(address_of(builder, at, factors.dtype, I64(i)), typ=ELEMENTS[factors.dtype]), lanes)
            for i in range(2)
        )

        def finished(x: Any) -> Any:
            if word == "shift":
                wide = ir.VectorType(I32, lanes)
                product = builder.mul(builder.zext(x, wide), builder.zext(first, wide))
                high = builder.lshr(product, ir.Constant(wide, [16] * lanes))
                return builder.lshr(builder.trunc(high, vector_of(kind)), second)
            if word == "whole" and v.dtype in types.real_domain:
                return call(builder, f"llvm.trunc.{suffix(kind)}", x.type, [builder.fmul(x, first)])
            if word == "whole":
                real = builder.sitofp(x, ir.VectorType(ELEMENTS[factors.dtype], lanes))
                return builder.fptosi(builder.fmul(real, first), vector_of(kind))
            if word == "quotient":
                product = builder.fmul(x, first)
                rest = fused(builder, builder.fneg(product), second, x, kind)
                better = fused(builder, rest, first, product, kind)
                x = builder.select(builder.fcmp_ordered("ord", rest, rest), better, product)
            if stored.dtype == v.dtype:
                return x
            there = Vector(stored.dtype, lanes)
            return converted(builder, converted(builder, x, kind, there), there, kind)

        return _on_each(context, builder, v, [t], finished)

    return v(v, factors, stored, how), generate
