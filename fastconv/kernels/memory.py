"""Arrays that begin a cache line."""

from ctypes import addressof, c_char
from typing import Any

import numpy as np

from fastconv.problem.convolutions import Array

LINE = 64  # bytes of a cache line
LITTLE = 4096  # bytes of an array that may begin anywhere


def aligned(size: int, dtype: np.dtype[Any]) -> Array:
    """An uninitialised flat array that begins a cache line: NumPy's own begin 16 bytes into one, and every access splits.

    To find the line costs more than it brings where there is little to read.
    """
    if size * dtype.itemsize < LITTLE:
        return np.empty(size, dtype)
    memory = np.empty(size + LINE // dtype.itemsize, dtype)
    address = addressof(c_char.from_buffer(memory))  # type: ignore[arg-type]  # memory.ctypes takes four times as long
    start = -address % LINE // dtype.itemsize
    return memory[start : start + size]
