"""Activations of vectors and of register tiles."""

from typing import Any

from llvmlite import ir
from numba.extending import intrinsic

from fastconv.kernels.simd.vector.building import compared, mapped
from fastconv.kernels.simd.vector.exponential import EXPONENTIALS, cut_off, exponential, one_and_inverse


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


@intrinsic
def silu(context: Any, tile: Any) -> Any:
    """v / (1 + exp(-v)); of integers, which no operation asks for, v."""

    def gated(builder: Any, v: Any, constants: list[Any]) -> Any:
        if tile.dtype not in EXPONENTIALS:
            return v
        return builder.fdiv(v, one_and_inverse(builder, v, tile))

    return tile(tile), mapped(tile, gated)


@intrinsic
def silu_slope(context: Any, tile: Any) -> Any:
    """The derivative of silu, s * (1 + v * (1 - s)) of s = 1 / (1 + exp(-v)): 0 and 1 at the infinities."""

    def sloped(builder: Any, v: Any, constants: list[Any]) -> Any:
        one = ir.Constant(v.type, [1.0] * tile.lanes)
        v = cut_off(builder, v, EXPONENTIALS[tile.dtype].most)
        share = builder.fdiv(one, builder.fadd(one, exponential(builder, builder.fneg(v), tile)))
        return builder.fmul(share, builder.fadd(one, builder.fmul(v, builder.fsub(one, share))))

    return tile(tile), mapped(tile, sloped)
