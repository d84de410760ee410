"""The exponential of vectors, as other operations are made of it."""

import math
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types

from fastconv.kernels.simd.vector.building import fused
from fastconv.kernels.simd.vector.types import BYTES


class Exponential(NamedTuple):
    """Of exp(v) = 2**n * exp(r), n the whole number next to v / log(2): the figures of a float type.

    Attributes
    ----------
    fraction : int
        Bits of a fraction.
    most : float
        Where v is cut off: beyond it, exp is 0 or infinite.
    series : tuple of float
        Of exp(r), the least powers first: what is left out is below a third of a rounding.
    high, low : float
        log(2) as the sum of two, of which n times the first is exact.
    """

    fraction: int
    most: float
    series: tuple[float, ...]
    high: float
    low: float


# Of float32 the polynomial that meets exp at the seven Chebyshev nodes of [-0.3473, 0.3473], of float64 Taylor's.
SIX = (
    1.0,
    1.0000000381715242,
    0.5000000047686671,
    0.16666413496649857,
    0.041666350375805676,
    0.00837529408832633,
    0.00139413179,
)
EXPONENTIALS = {
    types.float32: Exponential(23, 110.0, SIX, 0.693145751953125, 1.4286068203094173e-06),
    types.float64: Exponential(
        52, 760.0, tuple(1 / math.factorial(k) for k in range(14)), 0.6931471803691238, 1.9082149292705877e-10
    ),
}


def cut_off(builder: Any, v: Any, most: float, least: float | None = None) -> Any:
    """min(max(v, least), most), lane by lane; a NaN stays. The least is by default -most."""
    for comparison, value in ((">", most), ("<", -most if least is None else least)):
        bound = ir.Constant(v.type, [value] * v.type.count)
        v = builder.select(builder.fcmp_ordered(comparison, v, bound), bound, v)
    return v


def reduced(builder: Any, v: Any, t: Any, sign: int) -> tuple[Any, Any]:
    """(a float whose last bits count n, r) of sign * v = n * log(2) + sign * r, lane by lane."""
    figures = EXPONENTIALS[t.dtype]

    def constant(value: float) -> Any:
        return ir.Constant(v.type, [value] * t.lanes)

    # In so large a float, the last bit of the fraction counts ones.
    shift = constant(1.5 * 2.0**figures.fraction)
    shifted = fused(builder, v, constant(sign / math.log(2)), shift, t)
    n = builder.fsub(shifted, shift)
    r = fused(builder, n, constant(-sign * figures.high), v, t)
    return shifted, fused(builder, n, constant(-sign * figures.low), r, t)


def series_of(builder: Any, r: Any, t: Any, sign: int) -> Any:
    """exp(sign * r) of a small r, lane by lane."""
    signed = [value * sign**power for power, value in enumerate(EXPONENTIALS[t.dtype].series)]
    *others, total = (ir.Constant(r.type, [value] * t.lanes) for value in signed)
    for constant in reversed(others):
        total = fused(builder, total, r, constant, t)
    return total


def power_of_two(builder: Any, shifted: Any, t: Any, more: int) -> Any:
    """2**(n + more), of a float whose last bits count n: infinite for the first n that is too large."""
    size, fraction = 8 * BYTES[t.dtype], EXPONENTIALS[t.dtype].fraction
    integer = ir.VectorType(ir.IntType(size), t.lanes)
    bias = (1 << (size - fraction - 2)) - 1 + more
    exponent = builder.add(builder.bitcast(shifted, integer), ir.Constant(integer, [bias] * t.lanes))
    return builder.bitcast(builder.shl(exponent, ir.Constant(integer, [fraction] * t.lanes)), shifted.type)


def one_and_inverse(builder: Any, v: Any, t: Any) -> Any:
    """1 + exp(-v), lane by lane, to about one rounding: infinite where exp is; a NaN stays.

    It is twice its half, of which an exponent is left for the largest exp, so that one power of two is enough.
    """
    fraction = EXPONENTIALS[t.dtype].fraction
    limit = 2 ** (
        8 * BYTES[t.dtype] - fraction - 2
    )  # n of the first power that is infinite; below its inverse exp adds nothing
    v = cut_off(builder, v, (limit - 2) * math.log(2), -(limit + 0.98) * math.log(2))
    shifted, r = reduced(builder, v, t, -1)
    half = ir.Constant(v.type, [0.5] * t.lanes)
    found = fused(builder, series_of(builder, r, t, -1), power_of_two(builder, shifted, t, -1), half, t)
    return builder.fadd(found, found)


def exponential(builder: Any, v: Any, t: Any, rest: Any = None) -> Any:
    """exp(v), lane by lane, to about one rounding, or exp(v + rest) of a small rest; a NaN stays."""
    figures = EXPONENTIALS[t.dtype]
    integer = ir.VectorType(ir.IntType(8 * BYTES[t.dtype]), t.lanes)

    def constant(value: Any) -> Any:
        return ir.Constant(integer, [value] * t.lanes)

    shifted, r = reduced(builder, cut_off(builder, v, figures.most), t, 1)
    series = series_of(builder, r if rest is None else builder.fadd(r, rest), t, 1)
    # 2**n in two factors, since one of them alone may lie outside the exponents of the type.
    shift = builder.bitcast(ir.Constant(v.type, [1.5 * 2.0**figures.fraction] * t.lanes), integer)
    whole = builder.sub(builder.bitcast(shifted, integer), shift)
    half = builder.ashr(whole, constant(1))
    bias = constant((1 << (8 * BYTES[t.dtype] - figures.fraction - 2)) - 1)
    for exponent in (half, builder.sub(whole, half)):
        bits = builder.shl(builder.add(exponent, bias), constant(figures.fraction))
        series = builder.fmul(series, builder.bitcast(bits, v.type))
    return series
