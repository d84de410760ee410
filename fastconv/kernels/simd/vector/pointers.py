"""Pointers, and single elements at them."""

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin

from fastconv.kernels.simd.vector.building import address_of, read_one, write_one
from fastconv.kernels.simd.vector.types import BYTES, ELEMENTS, I64, Pointer, Rows, element_of, held


@intrinsic
def pointer(context: Any, array: Any) -> Any:
    """The address of an array's first element."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ptrtoint(context.make_array(array)(context, builder, args[0]).data, I64)

    return Pointer(element_of(array.dtype))(array), generate


@infer_global(operator.add)
class _PointerPlusInteger(AbstractTemplate):  # type: ignore[misc]
    def generic(self, args: Any, kws: Any) -> Any:
        if len(args) == 2 and isinstance(args[0], Pointer) and isinstance(args[1], types.Integer):
            return signature(args[0], args[0], types.intp)
        return None


@lower_builtin(operator.add, Pointer, types.Integer)
def _lower_pointer_plus_integer(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.add(args[0], builder.mul(args[1], I64(BYTES[sig.args[0].dtype])))


@intrinsic
def distance(context: Any, p: Any, q: Any) -> Any:
    """Elements from p to q, which both are multiples of the element's size."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.sdiv(builder.sub(args[1], args[0]), I64(BYTES[p.dtype]))

    return types.intp(p, p), generate


@intrinsic
def address(context: Any, p: Any) -> Any:
    """The address as an integer, for tables of rows that lie in different arrays."""
    return types.int64(p), lambda context, builder, signature, args: args[0]


@intrinsic
def at_address(context: Any, number: Any, like: Any) -> Any:
    """The pointer, of the type of `like`, that `address` gave."""
    return like(types.int64, like), lambda context, builder, signature, args: args[0]


@intrinsic
def peek(context: Any, p: Any) -> Any:
    """The element at p."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return read_one(builder, args[0], p.dtype)

    return held(p.dtype)(p), generate


@intrinsic
def poke(context: Any, p: Any, value: Any) -> Any:
    """The element at p becomes `value`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        write_one(builder, args[1], args[0], p.dtype)
        return context.get_dummy_value()

    return types.void(p, held(p.dtype)), generate


@intrinsic
def zero(context: Any, p: Any) -> Any:
    """The zero of the type that p points to."""
    result = held(p.dtype)
    return result(p), lambda context, builder, signature, args: ir.Constant(ELEMENTS[result], 0)


@intrinsic
def number(context: Any, p: Any, value: Any) -> Any:
    """A number as registers hold the elements at p."""
    result = held(p.dtype)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.cast(builder, args[1], value, result)

    return result(p, value), generate


@intrinsic
def like(context: Any, p: Any, q: Any) -> Any:
    """The address p, as of elements of the type that q points to."""
    return q(p, q), lambda context, builder, signature, args: args[0]


@intrinsic(prefer_literal=True)
def rows_at(context: Any, p: Any, offsets: Any, rows: Any) -> Any:
    """The addresses p + offsets[0], p + offsets[1], ...; `offsets` points to int64."""
    result = Rows(p.dtype, rows.literal_value)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        base, table, _ = args
        r = ir.Constant(context.get_value_type(result), ir.Undefined)
        for i in range(result.rows):
            offset = builder.load(address_of(builder, table, types.int64, I64(i)), typ=I64)
            r = builder.insert_value(r, builder.add(base, builder.mul(offset, I64(BYTES[p.dtype]))), i)
        return r

    return result(p, offsets, rows), generate


@intrinsic(prefer_literal=True)
def rows_apart(context: Any, p: Any, step: Any, count: Any, rows: Any) -> Any:
    """The addresses p, p + step, p + 2 * step, ... of `count` rows, and the last one's again for the rest."""
    result = Rows(p.dtype, rows.literal_value)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        base, apart, there, _ = args
        apart, last = builder.mul(apart, I64(BYTES[p.dtype])), builder.sub(there, I64(1))
        r = ir.Constant(context.get_value_type(result), ir.Undefined)
        for i in range(result.rows):
            row = builder.select(builder.icmp_signed("<", I64(i), last), I64(i), last)
            r = builder.insert_value(r, builder.add(base, builder.mul(row, apart)), i)
        return r

    return result(p, types.intp, types.intp, rows), generate
