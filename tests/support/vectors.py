"""What tests of vectors share: every dtype and width that this machine runs, numbers to move, and memory that is marked."""

import numpy as np
import pytest

from fastconv.machine import host

WIDTHS = [
    pytest.param(dtype, size // np.dtype(dtype).itemsize, id=f"{dtype}x{size // np.dtype(dtype).itemsize}")
    for dtype in ("float32", "float64")
    for size in (16, 32, 64)
    if size <= host().vector_bytes
]
MARK = -77  # what memory that must not be touched holds


def numbers(dtype, *shape):
    return np.arange(1, 1 + np.prod(shape), dtype=dtype).reshape(shape)


def marked(dtype, *shape):
    return np.full(shape, MARK, dtype)
