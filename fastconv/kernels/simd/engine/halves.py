"""Which arrays of a convolution kernels read or write as float16: vectors convert on the way, sums are made in float32."""

import numpy as np

from fastconv.machine import host
from fastconv.problem.problem import Problem

HALF = np.dtype(np.float16)
UNFINISHED = ("silu", "gelu")  # activations that are applied to what was stored, which float16 has rounded
NONE: frozenset[str] = frozenset()


def is_half(value: float) -> bool:
    """Whether float16 has a number."""
    with np.errstate(over="ignore"):
        return bool(np.float16(value) == value)


def read(problem: Problem) -> bool:
    """Whether x is float16, and so may be a border's cells that are copied with it."""
    return problem.types.stored == HALF and host().halves and is_half(problem.geometry.border.value)


def written(problem: Problem) -> bool:
    """Whether the result is float16, and each sum is stored once."""
    return (
        problem.types.result == HALF
        and host().halves
        and not problem.residual
        and problem.geometry.activation.kind not in UNFINISHED
    )


def both(problem: Problem) -> frozenset[str]:
    """Of "x" and "y" those that are."""
    return frozenset(name for name, one in (("x", read), ("y", written)) if one(problem))
