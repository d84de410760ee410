"""Convolution by NumPy's Fourier transforms of whole arrays: for kernels as large as the signal, many kernels, many axes."""

from collections.abc import Sequence
from functools import lru_cache
from math import log2, prod
from typing import Any

import numpy as np

from fastconv.problem.convolutions import Size
from fastconv.signal.arrays import Array

POINT = 1.1e-9  # seconds of a point of a transform, times the logarithm of their number


@lru_cache(maxsize=256)
def fast_length(n: int) -> int:
    """The least number from `n` on that has no prime factors but 2, 3, 5 and 7."""
    best = 1 << max(0, n - 1).bit_length()
    sevens = 1
    while sevens < best:
        fives = sevens
        while fives < best:
            threes = fives
            while threes < best:
                twos = threes << max(0, -(-n // threes) - 1).bit_length()
                best = min(best, twos)
                threes *= 3
            fives *= 5
        sevens *= 7
    return best


def transformed_in(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype whose transform SciPy takes: of whole numbers float64, of float16 float32."""
    if dtype.kind in "biu":
        return np.dtype(np.float64)
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def seconds(shape: Size, is_complex: bool) -> float:
    """What the three transforms of a convolution of so many outputs should take."""
    points = prod(map(fast_length, shape))
    return 2e-5 + 3 * (2 if is_complex else 1) * points * (1 + log2(max(2, points))) * POINT / 2


def convolved(in1: Array, in2: Array, axes: Sequence[int]) -> Array:
    """The full convolution along `axes`; the others, of equal length or of 1, multiply as NumPy's broadcasting has it."""
    types = transformed_in(in1.dtype), transformed_in(in2.dtype)
    dtype = np.result_type(*types)
    full = [in1.shape[axis] + in2.shape[axis] - 1 for axis in axes]
    lengths = [fast_length(n) for n in full]
    y: Array
    if dtype.kind == "c":
        product = np.fft.fftn(in1, lengths, axes) * np.fft.fftn(in2, lengths, axes)
        y = np.fft.ifftn(product, lengths, axes)
    else:
        floats = (in1.astype(types[0], copy=False), in2.astype(types[1], copy=False))
        product = np.fft.rfftn(floats[0], lengths, axes) * np.fft.rfftn(floats[1], lengths, axes)
        y = np.fft.irfftn(product, lengths, axes)
    kept = [slice(None)] * y.ndim
    for axis, n in zip(axes, full, strict=True):
        kept[axis] = slice(n)
    return y[tuple(kept)].astype(dtype, copy=False)
