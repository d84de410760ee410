"""Vectors from vectors, lane by lane, or by halves."""

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin

from fastconv.kernels.simd.vector.building import better, compared, mask_of, splatted
from fastconv.kernels.simd.vector.types import BYTES, I32, INTEGERS, QUIET, Vector, vector_of


@intrinsic(prefer_literal=True)
def splat(context: Any, scalar: Any, lanes: Any) -> Any:
    """A vector of one value."""
    result = Vector(scalar, lanes.literal_value)
    return result(scalar, lanes), lambda context, builder, signature, args: splatted(builder, args[0], result.lanes)


@infer_global(operator.add)
@infer_global(operator.sub)
@infer_global(operator.mul)
class _LaneByLane(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        if len(args) == 2 and isinstance(args[0], Vector) and args[0] == args[1]:
            return signature(args[0], args[0], args[0])
        return None


@lower_builtin(operator.add, Vector, Vector)
def _lower_add(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    if sig.return_type.dtype in INTEGERS:
        return builder.add(*args)
    return builder.fadd(*args, flags=("contract",))


@lower_builtin(operator.sub, Vector, Vector)
def _lower_subtract(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    if sig.return_type.dtype in INTEGERS:
        return builder.sub(*args)
    return builder.fsub(*args, flags=("contract",))


@lower_builtin(operator.mul, Vector, Vector)
def _lower_multiply(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.fmul(*args, flags=("contract",))


@intrinsic
def scaled(context: Any, factor: Any, v: Any) -> Any:
    """A scalar times a vector; added to another vector, LLVM makes one instruction of it."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        factor = splatted(builder, args[0], v.lanes)
        if v.dtype in INTEGERS:
            return builder.mul(factor, args[1])
        return builder.fmul(factor, args[1], flags=("contract",))

    return v(v.dtype, v), generate


@intrinsic
def larger(context: Any, a: Any, b: Any) -> Any:
    """The larger, lane by lane; of equals a, and a NaN in either stays."""
    return a(a, a), extreme(">", a.dtype)


@intrinsic
def smaller(context: Any, a: Any, b: Any) -> Any:
    """The smaller, lane by lane; of equals a, and a NaN in either stays."""
    return a(a, a), extreme("<", a.dtype)


@intrinsic
def larger_number(context: Any, a: Any, b: Any) -> Any:
    """The larger, lane by lane: of equals a, and where either is NaN."""
    return a(a, a), _better_number(">", a.dtype)


@intrinsic
def smaller_number(context: Any, a: Any, b: Any) -> Any:
    """The smaller, lane by lane: of equals a, and where either is NaN."""
    return a(a, a), _better_number("<", a.dtype)


def _better_number(comparison: str, dtype: Any) -> Callable[..., Any]:
    """The code of the larger, or the smaller: of equals a, and where either is NaN."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        a, b = args
        return builder.select(compared(builder, comparison, b, a, dtype), b, a)

    return generate


def extreme(comparison: str, dtype: Any) -> Callable[..., Any]:
    """The code of the larger, or the smaller, where a NaN in either stays."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        best, b = _better_number(comparison, dtype)(context, builder, signature, args), args[1]
        if dtype in INTEGERS:
            return best
        # A quiet NaN for b's own: with b itself LLVM would join the two choices into one that is slower.
        bits = ir.VectorType(ir.IntType(8 * BYTES[dtype]), best.type.count)
        quiet = builder.or_(builder.bitcast(b, bits), ir.Constant(bits, [QUIET[BYTES[dtype]]] * bits.count))
        return builder.select(builder.fcmp_unordered("uno", b, b), builder.bitcast(quiet, best.type), best)

    return generate


@intrinsic
def divided(context: Any, a: Any, b: Any) -> Any:
    """The quotient, lane by lane."""
    return a(a, a), lambda context, builder, signature, args: builder.fdiv(*args)


@intrinsic
def as_real(context: Any, v: Any, like: Any) -> Any:
    """Integers as floats of the type of the scalar `like`."""
    result = Vector(like, v.lanes)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return (builder.sitofp if v.dtype.signed else builder.uitofp)(args[0], vector_of(result))

    return result(v, like), generate


@intrinsic
def as_whole(context: Any, v: Any, like: Any) -> Any:
    """Floats toward zero as integers of the type of the scalar `like`, by as many bits as the floats have: they wrap there."""
    result, wide = Vector(like, v.lanes), ir.VectorType(ir.IntType(8 * BYTES[v.dtype]), v.lanes)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        whole = builder.fptosi(args[0], wide)
        return whole if wide == vector_of(result) else builder.trunc(whole, vector_of(result))

    return result(v, like), generate


# Values with positions: of equal values, and of NaN, the one at the lower position is the better.


@intrinsic
def above(context: Any, a: Any, b: Any) -> Any:
    """The lanes where a is larger than b: none where one is NaN."""
    return Vector(types.boolean, a.lanes)(a, a), _compares(">", a.dtype)


@intrinsic
def below(context: Any, a: Any, b: Any) -> Any:
    """The lanes where a is smaller than b: none where one is NaN."""
    return Vector(types.boolean, a.lanes)(a, a), _compares("<", a.dtype)


def _compares(comparison: str, dtype: Any) -> Callable[..., Any]:
    return lambda context, builder, signature, args: compared(builder, comparison, args[0], args[1], dtype)


@intrinsic
def numbers(context: Any, v: Any) -> Any:
    """The lanes that are not NaN."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if v.dtype in INTEGERS:
            return ir.Constant(vector_of(signature.return_type), [1] * v.lanes)
        return builder.fcmp_ordered("ord", args[0], args[0])

    return Vector(types.boolean, v.lanes)(v), generate


@intrinsic
def numbers_in_both(context: Any, a: Any, b: Any) -> Any:
    """The lanes where neither vector has a NaN."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if a.dtype in INTEGERS:
            return ir.Constant(vector_of(signature.return_type), [1] * a.lanes)
        return builder.fcmp_ordered("ord", *args)

    return Vector(types.boolean, a.lanes)(a, a), generate


@intrinsic
def both(context: Any, mask: Any, other: Any) -> Any:
    """The lanes that are set in both masks."""
    return mask(mask, mask), lambda context, builder, signature, args: builder.and_(*args)


@intrinsic
def first_are_set(context: Any, mask: Any, count: Any) -> Any:
    """Whether the first `count` lanes of a mask are set."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = builder.or_(args[0], builder.not_(mask_of(builder, args[1], mask.lanes)))
        bits = builder.bitcast(lanes, ir.IntType(mask.lanes))
        return builder.icmp_unsigned("==", bits, ir.Constant(bits.type, -1))

    return types.boolean(mask, types.intp), generate


@intrinsic
def larger_first(context: Any, a: Any, at_a: Any, b: Any, at_b: Any) -> Any:
    """The lanes where b at position at_b is better than a at at_a: larger, or NaN, or first of equals."""
    return Vector(types.boolean, a.lanes)(a, at_a, b, at_b), _better(">", a.dtype)


@intrinsic
def smaller_first(context: Any, a: Any, at_a: Any, b: Any, at_b: Any) -> Any:
    """The lanes where b at position at_b is better than a at at_a: smaller, or NaN, or first of equals."""
    return Vector(types.boolean, a.lanes)(a, at_a, b, at_b), _better("<", a.dtype)


def _better(comparison: str, dtype: Any) -> Callable[..., Any]:
    return lambda context, builder, signature, args: better(builder, comparison, args[:2], args[2:], dtype)


@intrinsic
def chosen(context: Any, mask: Any, a: Any, b: Any) -> Any:
    """The lanes of a where the mask is set, of b elsewhere."""
    return a(mask, a, a), lambda context, builder, signature, args: builder.select(*args)


@intrinsic(prefer_literal=True)
def numbered(context: Any, start: Any, step: Any, lanes: Any) -> Any:
    """32-bit integers start, start + step, ..."""
    result = Vector(types.int32, lanes.literal_value)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        first, apart = (splatted(builder, builder.trunc(value, I32), result.lanes) for value in args[:2])
        lane = ir.Constant(ir.VectorType(I32, result.lanes), list(range(result.lanes)))
        return builder.add(first, builder.mul(apart, lane))

    return result(types.intp, types.intp, lanes), generate


@intrinsic(prefer_literal=True)
def dealt(context: Any, v: Any, each: Any) -> Any:
    """The first elements of a vector, each in so many lanes that lie side by side."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        order = ir.Constant(ir.VectorType(I32, v.lanes), [lane // each.literal_value for lane in range(v.lanes)])
        return builder.shuffle_vector(args[0], args[0], order)

    return v(v, each), generate


@intrinsic
def every_second(context: Any, a: Any, b: Any) -> Any:
    """The even elements of two vectors that follow each other in memory."""
    return a(a, a), _picked(range(0, 2 * a.lanes, 2))


@intrinsic
def every_other(context: Any, a: Any, b: Any) -> Any:
    """The odd elements of two vectors that follow each other in memory."""
    return a(a, a), _picked(range(1, 2 * a.lanes, 2))


def _picked(lanes: range) -> Callable[..., Any]:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.shuffle_vector(*args, ir.Constant(ir.VectorType(I32, len(lanes)), list(lanes)))

    return generate


@intrinsic
def low_half(context: Any, v: Any) -> Any:
    """The first half of the lanes."""
    return Vector(v.dtype, v.lanes // 2)(v), _part(range(v.lanes // 2))


@intrinsic
def high_half(context: Any, v: Any) -> Any:
    """The second half of the lanes."""
    return Vector(v.dtype, v.lanes // 2)(v), _part(range(v.lanes // 2, v.lanes))


def _part(lanes: range) -> Callable[..., Any]:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.shuffle_vector(args[0], args[0], ir.Constant(ir.VectorType(I32, len(lanes)), list(lanes)))

    return generate


@intrinsic
def first(context: Any, v: Any) -> Any:
    """The first lane."""
    return v.dtype(v), lambda context, builder, signature, args: builder.extract_element(args[0], I32(0))
