"""Which arrays of a convolution kernels convert as they read or write them: sums are made in float32.

x    float16, and uint8, int8, uint16 and int16 by weights of float32
y    float16
"""

import numpy as np

from fastconv.kernels.simd.vector import RECORDS
from fastconv.machine import host
from fastconv.problem.problem import Problem

UNFINISHED = ("silu", "gelu")  # activations that are applied to what was stored, which float16 has rounded


def read(problem: Problem) -> bool:
    """Whether x is, and so may be a border's cells that are copied with it."""
    stored, _, summed, _ = problem.types
    if stored not in RECORDS or summed != np.float32 or not host().converts:
        return False
    value = np.array(problem.geometry.border.value, np.float64)
    with np.errstate(all="ignore"):
        return bool(value.astype(stored) == value)


def written(problem: Problem) -> bool:
    """Whether the result is, and each sum is stored once."""
    kind = problem.geometry.activation.kind
    return problem.types.result == np.float16 and host().converts and not problem.residual and kind not in UNFINISHED


def halves(problem: Problem) -> frozenset[str]:
    """Both, of an operation without weights on float16."""
    return frozenset("xy") if problem.types.stored == np.float16 and host().converts else frozenset()


def both(problem: Problem) -> frozenset[str]:
    """Of "x" and "y" those that are."""
    return frozenset(name for name, one in (("x", read), ("y", written)) if one(problem))
