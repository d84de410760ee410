"""GELU of vectors and its derivative, by the normal distribution: v * P(v) of P(v) = erfc(-v / sqrt(2)) / 2.

With E = exp(-v**2 / 2) and u = 1 / (1 + |v| / 4), the tail P(-|v|) is E * u * p(u): p is the polynomial through
exp(v**2 / 2) * erfc(v / sqrt(2)) / (2 u) at Chebyshev's points of the u of all v whose tail is no zero, in u - 1/2. Its
coefficients, found in 60 digits, leave less than half a rounding; as it is a factor, small tails are as exact as large ones.
"""

import math
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastconv.kernels.simd.vector.building import fused, mapped
from fastconv.kernels.simd.vector.exponential import EXPONENTIALS, cut_off, exponential
from fastconv.kernels.simd.vector.types import BYTES

_FAR = {types.float32: 15.0, types.float64: 39.0}  # from here on the tail is zero
_TAIL = {
    types.float32: (
        0.188821284649048234,
        0.30394829707254087,
        0.38713668307040542,
        0.373046613515535645,
        0.241624742057167163,
        0.0602032193456683574,
        -0.0563355651837819851,
        -0.0501402140089889519,
        0.0120957772428968943,
        0.0160714733570887804,
    ),
    types.float64: (
        0.18882128260393787,
        0.303948320985945879,
        0.387137400742218879,
        0.373043715919388327,
        0.241586299562797857,
        0.0603215117247444722,
        -0.0556750777958805335,
        -0.0521861901404915071,
        0.00853403225721914344,
        0.0295801367448801551,
        -0.000488413832105307503,
        -0.017993820752773618,
        0.000732165730223728503,
        0.0121218923146511082,
        -0.00256054109818006741,
        -0.00835424134605633344,
        0.00432017384675862529,
        0.00505489671348914551,
        -0.00500569345457550154,
        -0.00191084538718276285,
        0.00365009934575251229,
        -0.0000381133546010794496,
        -0.00101223502134415245,
    ),
}


def _splat(value: float, v: Any) -> Any:
    """A constant in every lane of a vector like v."""
    return ir.Constant(v.type, [value] * v.type.count)


def _bell(builder: Any, v: Any, t: Any) -> Any:
    """exp(-v**2 / 2), lane by lane: the square as the sum of an exact one, of v's upper bits, and the rest."""
    integer = ir.VectorType(ir.IntType(8 * BYTES[t.dtype]), t.lanes)
    mask = ir.Constant(integer, [-(1 << (EXPONENTIALS[t.dtype].fraction // 2 + 1))] * t.lanes)
    upper = builder.bitcast(builder.and_(builder.bitcast(v, integer), mask), v.type)
    half = _splat(-0.5, v)
    rest = builder.fmul(builder.fmul(half, builder.fsub(v, upper)), builder.fadd(v, upper))
    return exponential(builder, builder.fmul(half, builder.fmul(upper, upper)), t, rest)


def _distribution(builder: Any, v: Any, t: Any) -> tuple[Any, Any]:
    """(P(v), exp(-v**2 / 2)), lane by lane."""
    one = _splat(1.0, v)
    size = builder.select(builder.fcmp_ordered("<", v, _splat(0.0, v)), builder.fneg(v), v)
    bell = _bell(builder, v, t)
    u = builder.fdiv(one, fused(builder, size, _splat(0.25, v), one, t))
    at, (*others, series) = builder.fsub(u, _splat(0.5, v)), (_splat(value, v) for value in _TAIL[t.dtype])
    for coefficient in reversed(others):
        series = fused(builder, series, at, coefficient, t)
    tail = builder.fmul(builder.fmul(bell, u), series)
    return builder.select(builder.fcmp_ordered(">", v, _splat(0.0, v)), builder.fsub(one, tail), tail), bell


@intrinsic
def gelu(context: Any, tile: Any) -> Any:
    """v * P(v); of integers, which no operation asks for, v."""

    def weighed(builder: Any, v: Any, constants: list[Any]) -> Any:
        if tile.dtype not in _FAR:
            return v
        share, _ = _distribution(builder, cut_off(builder, v, _FAR[tile.dtype]), tile)
        return builder.fmul(v, share)

    return tile(tile), mapped(tile, weighed)


@intrinsic
def gelu_slope(context: Any, tile: Any) -> Any:
    """The derivative of gelu, P(v) + v * exp(-v**2 / 2) / sqrt(2 pi): 0 and 1 at the infinities."""

    def sloped(builder: Any, v: Any, constants: list[Any]) -> Any:
        v = cut_off(builder, v, _FAR[tile.dtype])
        share, bell = _distribution(builder, v, tile)
        density = builder.fmul(bell, _splat(1 / math.sqrt(2 * math.pi), v))
        return fused(builder, v, density, share, tile)

    return tile(tile), mapped(tile, sloped)
