"""Powers of cells and roots of their sums, for the norms of windows."""

from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastconv.kernels.simd.vector.building import call, fused, mapped, suffix
from fastconv.kernels.simd.vector.types import BYTES


def powered(builder: Any, v: Any, n: int, t: Any) -> Any:
    """|v|**n, lane by lane; added to another vector, LLVM makes one instruction of the last product and the sum."""
    if n % 2:
        v = call(builder, f"llvm.fabs.{suffix(t)}", v.type, [v])
    square, result = v, None
    while n:
        if n % 2:
            result = square if result is None else builder.fmul(result, square, flags=("contract",))
        n //= 2
        if n:
            square = builder.fmul(square, square, flags=("contract",))
    return result


class _Roots(NamedTuple):
    """How roots of a float type are found.

    Attributes
    ----------
    rounds : int
        Of Newton's method, from a guess that is off by 8 % to one rounding.
    tiny : float
        What lies below is scaled by 2**(step * n), since the guess is wrong for numbers that are not normal.
    step : int
        Of that scale.
    one : int
        The bits of 1.0.
    """

    rounds: int
    tiny: float
    step: int
    one: int


_ROOTS = {types.float32: _Roots(4, 2.0**-100, 16, 0x3F800000), types.float64: _Roots(6, 2.0**-900, 64, 0x3FF0000000000000)}


def _odd_root(builder: Any, v: Any, n: int, t: Any) -> Any:
    """The n-th root of numbers that are not negative by Newton's method; zero, infinity and NaN stay.

    The bits of a float are a straight-line logarithm: those of the first guess are the n-th part of v's, between v's and 1.0's.
    """
    figures, integer = _ROOTS[t.dtype], ir.VectorType(ir.IntType(8 * BYTES[t.dtype]), t.lanes)

    def constant(value: float) -> Any:
        return ir.Constant(v.type, [value] * t.lanes)

    small = builder.fcmp_ordered("<", v, constant(figures.tiny))
    w = builder.select(small, builder.fmul(v, constant(2.0 ** (figures.step * n))), v)
    bits = builder.sitofp(builder.bitcast(w, integer), v.type)
    guess = fused(builder, bits, constant(1 / n), constant(figures.one * (1 - 1 / n)), t)
    r = builder.bitcast(builder.fptosi(guess, integer), v.type)
    for _ in range(figures.rounds):
        ratio = builder.fdiv(w, powered(builder, r, n - 1, t))
        r = fused(builder, builder.fsub(ratio, r), constant(1 / n), r, t)
    r = builder.select(small, builder.fmul(r, constant(2.0**-figures.step)), r)
    for limit in (0.0, float("inf")):
        r = builder.select(builder.fcmp_ordered("==", v, constant(limit)), v, r)
    return r


@intrinsic(prefer_literal=True)
def power(context: Any, v: Any, n: Any) -> Any:
    """|v|**n, lane by lane, of a whole n that is known to the compiler."""
    exponent = n.literal_value
    return v(v, n), lambda context, builder, signature, args: powered(builder, args[0], exponent, v)


@intrinsic(prefer_literal=True)
def root(context: Any, tile: Any, n: Any) -> Any:
    """The n-th root of every element, none of them negative, of a whole n that is known to the compiler."""
    halvings, odd = 0, n.literal_value
    while odd % 2 == 0:
        halvings, odd = halvings + 1, odd // 2

    def rooted(builder: Any, v: Any, constants: list[Any]) -> Any:
        for _ in range(halvings):
            v = call(builder, f"llvm.sqrt.{suffix(tile)}", v.type, [v])
        return v if odd == 1 else _odd_root(builder, v, odd, tile)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return mapped(tile, rooted)(context, builder, signature, args[:1])

    return tile(tile, n), generate
