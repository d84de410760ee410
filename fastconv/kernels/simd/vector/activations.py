"""Activations of vectors and of register tiles."""

import math
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastconv.kernels.simd.vector.building import compared, fused, mapped
from fastconv.kernels.simd.vector.types import BYTES


@intrinsic
def clip(context: Any, tile: Any, low: Any, high: Any) -> Any:
    """min(max(v, low), high), a NaN stays"""

    def clipped(builder: Any, v: Any, bounds: list[Any]) -> Any:
        low, high = bounds
        v = builder.select(compared(builder, "<", v, low, tile.dtype), low, v)
        return builder.select(compared(builder, ">", v, high, tile.dtype), high, v)

    return tile(tile, tile.dtype, tile.dtype), mapped(tile, clipped)


@intrinsic
def leaky(context: Any, tile: Any, slope: Any) -> Any:
    """v, or slope * v where that is negative"""

    def sloped(builder: Any, v: Any, slopes: list[Any]) -> Any:
        return builder.select(builder.fcmp_ordered("<", v, ir.Constant(v.type, None)), builder.fmul(v, slopes[0]), v)

    return tile(tile, tile.dtype), mapped(tile, sloped)


@intrinsic
def hardswish(context: Any, tile: Any, three: Any, six: Any, sixth: Any) -> Any:
    """v * min(max(v + 3, 0), 6) / 6"""

    def gated(builder: Any, v: Any, constants: list[Any]) -> Any:
        three, six, sixth = constants
        zero, shifted = ir.Constant(v.type, None), builder.fadd(v, three)
        gate = builder.select(builder.fcmp_ordered("<", shifted, zero), zero, shifted)
        gate = builder.select(builder.fcmp_ordered(">", gate, six), six, gate)
        return builder.fmul(builder.fmul(v, gate), sixth)

    return tile(tile, tile.dtype, tile.dtype, tile.dtype), mapped(tile, gated)


class _Exponential(NamedTuple):
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


_EXPONENTIALS = {
    types.float32: _Exponential(23, 110.0, 7, 0.693145751953125, 1.4286068203094173e-06),
    types.float64: _Exponential(52, 760.0, 13, 0.6931471803691238, 1.9082149292705877e-10),
}


def _exp(builder: Any, v: Any, t: Any) -> Any:
    """exp(v), lane by lane, to about one rounding; a NaN stays."""
    figures = _EXPONENTIALS[t.dtype]
    integer = ir.VectorType(ir.IntType(8 * BYTES[t.dtype]), t.lanes)

    def constant(value: Any, kind: Any = v.type) -> Any:
        return ir.Constant(kind, [value] * t.lanes)

    for comparison, bound in ((">", constant(figures.most)), ("<", constant(-figures.most))):
        v = builder.select(builder.fcmp_ordered(comparison, v, bound), bound, v)
    # In so large a float, the last bit of the fraction counts ones.
    shift = constant(1.5 * 2.0**figures.fraction)
    shifted = builder.fadd(builder.fmul(v, constant(1 / math.log(2))), shift)
    n = builder.fsub(shifted, shift)
    r = fused(builder, n, constant(-figures.low), fused(builder, n, constant(-figures.high), v, t), t)
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


@intrinsic
def silu(context: Any, tile: Any) -> Any:
    """v / (1 + exp(-v)); of integers, which no operation asks for, v."""

    def gated(builder: Any, v: Any, constants: list[Any]) -> Any:
        if tile.dtype not in _EXPONENTIALS:
            return v
        one = ir.Constant(v.type, [1.0] * tile.lanes)
        return builder.fdiv(v, builder.fadd(one, _exp(builder, builder.fneg(v), tile)))

    return tile(tile), mapped(tile, gated)
