"""Whole numbers in floats: a sum of integers is exact in a float that holds every part of it, in whatever order it is made.

    |x| * |w| * products of a sum + |bias| <= 2**24, or 2**53

Vectors multiply and add floats in one instruction, integers in several or not at all. The sum then wraps to its integer type.
"""

from typing import Any, NamedTuple

import numpy as np

from fastconv.problem.convolutions import Array, ConvGeometry
from fastconv.problem.problem import Problem

EXACT = ((np.dtype(np.float32), 1 << 24), (np.dtype(np.float64), 1 << 53))  # whole numbers that they hold, all up to these


class Magnitudes(NamedTuple):
    """Bits of the largest weight, and of the largest bias, without their signs."""

    weights: int
    bias: int


def bits(array: Array) -> int:
    """Bits of the largest of some integers without its sign."""
    return max(-int(array.min()), int(array.max())).bit_length() if array.size else 0


def magnitudes_of(x_dtype: np.dtype[Any], w: Array, bias: Any) -> Magnitudes | None:
    """What weights and bias tell of sums of integers; None where not all are integers of at most 32 bits, but for weights."""
    if w.dtype.kind not in "iu" or x_dtype.kind not in "iu" or x_dtype.itemsize > 4:
        return None
    if bias is None:
        return Magnitudes(bits(w), 0)
    found = np.asarray(bias)
    return Magnitudes(bits(w), bits(found)) if found.dtype.kind in "iu" else None


def float_for(problem: Problem, magnitudes: Magnitudes) -> np.dtype[Any] | None:
    """The narrowest float that holds all sums of a convolution of integers, or None."""
    stored, _, _, result = problem.types
    g = problem.geometry
    if not isinstance(g, ConvGeometry) or stored.kind not in "iu" or result.kind not in "iu":
        return None
    limits = np.iinfo(stored)
    largest = max(-int(limits.min), int(limits.max), abs(int(g.border.value)))
    most = (largest << magnitudes.weights) * max(1, g.reduction) + (1 << magnitudes.bias)
    return next((dtype for dtype, exact in EXACT if most <= exact), None)
