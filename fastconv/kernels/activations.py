"""Activations, as a Python function for the reference, a compiled one for kernels and an in-place one for arrays.

    clip         min(max(v, low), high)              relu is a clip at 0 and infinity, relu6 at 0 and 6
    leaky_relu   v if v >= 0 else slope * v
    silu         v / (1 + exp(-v))                   Elfwing, Uchibe and Doya (2018)
    hardswish    v * min(max(v + 3, 0), 6) / 6       Howard et al., MobileNetV3 (2019), section 5.2
    gelu         v / 2 * (1 + erf(v / sqrt(2)))      Hendrycks and Gimpel (2016), without an approximation

A NaN stays a NaN under each.
"""

import math
from typing import Any

import numpy as np

from fastconv.kernels.jit import overload, types
from fastconv.problem.convolutions import Activation, Array

KINDS = ("none", "clip", "leaky_relu", "silu", "hardswish", "gelu")


def codes(activation: Activation, dtype: np.dtype[Any]) -> tuple[int, Any, Any]:
    """(kind, low, high) as kernels take them: an int and two scalars of `dtype`."""
    low, high = activation.low, activation.high
    if dtype.kind in "iu" and activation.kind == "none":
        low = high = 0
    return KINDS.index(activation.kind), dtype.type(low), dtype.type(high)


def coded(activation: Activation, dtype: np.dtype[Any]) -> Array:
    """The codes as an array of `dtype`."""
    return np.array(codes(activation, dtype), dtype)


def activated(value: Any, kind: int, low: Any, high: Any) -> Any:
    """The activation of one value; inside a kernel, the version that its type has."""
    if kind == 1:
        return low if value < low else high if value > high else value
    if kind == 2:
        return value if not value < 0 else low * value
    with np.errstate(over="ignore", invalid="ignore"):
        if kind == 3:
            return value / (1 + np.exp(-value))
        if kind == 4:
            return value * min(max(value + 3, 0 * value), 0 * value + 6) / 6
        if kind == 5:
            return value * type(value)(math.erfc(-value * math.sqrt(0.5)) / 2)
    return value


@overload(activated, inline="never")
def _compiled_activated(value, kind, low, high):
    if isinstance(value, types.Complex):
        return lambda value, kind, low, high: value
    if isinstance(value, types.Integer):
        return lambda value, kind, low, high: value if kind == 0 else min(max(value, low), high)
    real = np.float32 if value.bitwidth == 32 else np.float64
    zero, one, three, six, sixth = real(0), real(1), real(3), real(6), real(1 / 6)
    half, root = real(0.5), real(math.sqrt(0.5))

    def activated_float(value, kind, low, high):
        if kind == 0:
            return value
        if kind == 1:
            return low if value < low else high if value > high else value
        if kind == 2:
            return low * value if value < zero else value
        if kind == 3:
            return value / (one + np.exp(-value))
        if kind == 5:
            return value * half * math.erfc(-value * root)
        shifted = value + three
        return value * (zero if shifted < zero else six if shifted > six else shifted) * sixth

    return activated_float


def activate(array: Array, activation: Activation) -> None:
    """The activation of every element, in place."""
    if activation.kind == "clip":
        np.clip(array, *(array.dtype.type(bound) for bound in activation[1:]), out=array)
    elif activation.kind == "leaky_relu":
        np.multiply(array, array.dtype.type(activation.low), out=array, where=array < 0)
    elif activation.kind == "gelu":
        halves = (math.erfc(-value * math.sqrt(0.5)) / 2 for value in array.ravel())
        array *= np.fromiter(halves, array.dtype, array.size).reshape(array.shape)
    elif activation.kind in ("silu", "hardswish"):
        with np.errstate(over="ignore", invalid="ignore"):
            if activation.kind == "silu":
                array /= 1 + np.exp(-array)
            else:
                array *= np.clip(array + 3, 0, 6)
                array /= 6
