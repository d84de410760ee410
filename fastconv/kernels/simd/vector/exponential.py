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
    degree : int
        Of the series of exp(r): what is left out is below one rounding.
    high, low : float
        log(2) as the sum of two, of which n times the first is exact.
    """

    fraction: int
    most: float
    degree: int
    high: float
    low: float


EXPONENTIALS = {
    types.float32: Exponential(23, 110.0, 7, 0.693145751953125, 1.4286068203094173e-06),
    types.float64: Exponential(52, 760.0, 13, 0.6931471803691238, 1.9082149292705877e-10),
}


def cut_off(builder: Any, v: Any, most: float) -> Any:
    """min(max(v, -most), most), lane by lane; a NaN stays."""
    for comparison, value in ((">", most), ("<", -most)):
        bound = ir.Constant(v.type, [value] * v.type.count)
        v = builder.select(builder.fcmp_ordered(comparison, v, bound), bound, v)
    return v


def exponential(builder: Any, v: Any, t: Any, rest: Any = None) -> Any:
    """exp(v), lane by lane, to about one rounding, or exp(v + rest) of a small rest; a NaN stays."""
    figures = EXPONENTIALS[t.dtype]
    integer = ir.VectorType(ir.IntType(8 * BYTES[t.dtype]), t.lanes)

    def constant(value: Any, kind: Any = v.type) -> Any:
        return ir.Constant(kind, [value] * t.lanes)

    v = cut_off(builder, v, figures.most)
    # In so large a float, the last bit of the fraction counts ones.
    shift = constant(1.5 * 2.0**figures.fraction)
    shifted = builder.fadd(builder.fmul(v, constant(1 / math.log(2))), shift)
    n = builder.fsub(shifted, shift)
    r = fused(builder, n, constant(-figures.low), fused(builder, n, constant(-figures.high), v, t), t)
    r = r if rest is None else builder.fadd(r, rest)
    series = constant(1 / math.factorial(figures.degree))
    for k in range(figures.degree - 1, -1, -1):
        series = fused(builder, series, r, constant(1 / math.factorial(k)), t)
    # 2**n in two factors, since one of them alone may lie outside the exponents of the type.
    whole = builder.sub(builder.bitcast(shifted, integer), builder.bitcast(shift, integer))
    half = builder.ashr(whole, constant(1, integer))
    bias = constant((1 << (8 * BYTES[t.dtype] - figures.fraction - 2)) - 1, integer)
    for exponent in (half, builder.sub(whole, half)):
        bits = builder.shl(builder.add(exponent, bias), constant(figures.fraction, integer))
        series = builder.fmul(series, builder.bitcast(bits, v.type))
    return series
