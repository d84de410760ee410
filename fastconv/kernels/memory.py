"""Where new arrays begin: at a cache line, behind what a kernel reads, and so that large ones fill huge pages.

What is freed stays with the process, for the next call.
"""

from ctypes import addressof, c_char
from math import prod
from typing import Any

import numpy as np

from fastconv.problem.convolutions import Array, Size

LINE = 64  # bytes of a cache line
HUGE = 2 << 20  # of a huge page
LITTLE = 4096  # bytes of an array that may begin anywhere
LARGE = 2 * HUGE  # of one that NumPy asks huge pages for
LARGEST = (32 << 20) - (64 << 10)  # of one that moves the limits of GNU's allocator


def keep_freed() -> None:
    """Have the allocator keep up to 64 MiB that are freed, for what asks next, as it does once an array of 32 MiB was freed.

    GNU's gives memory back to the system where more than twice the largest array that was freed so far is free, and asks for
    its pages again one by one: a layer whose result and workspace are of a size took its 3.4 MB anew in every call, and two and
    a half times as long. An array of nearly 32 MiB, in which nothing is written, moves that limit as far as it goes. Where the
    environment sets the limits they stay.
    """
    np.empty(LARGEST, np.uint8)


keep_freed()


def aligned(size: int, dtype: np.dtype[Any]) -> Array:
    """An uninitialised flat array that begins a cache line: NumPy's own begin 16 bytes into one, and every access splits.

    To find the line costs more than it brings where there is little to read.

    A large array begins the last line before a huge page. The ends of NumPy's lie in small pages, whose first writes cost as
    much as a filter of some megabytes: 16 MB 1.3 ms, so 0.7. And a processor that reads what has the same place in its page as
    something written just before waits for that, at every vector of a kernel that writes a little ahead of where it reads;
    NumPy's large arrays, which are read, begin 16 bytes into a page.
    """
    if size * dtype.itemsize < LITTLE:
        return np.empty(size, dtype)
    step, place = (HUGE, -LINE) if size * dtype.itemsize >= LARGE else (LINE, 0)
    memory = np.empty(size + step // dtype.itemsize, dtype)
    address = addressof(c_char.from_buffer(memory))  # type: ignore[arg-type]  # memory.ctypes takes four times as long
    start = (place - address) % step // dtype.itemsize
    return memory[start : start + size]


def empty(shape: Size, dtype: np.dtype[Any]) -> Array:
    """An uninitialised array of a shape, which begins there where it is large, and of numbers."""
    cells = prod(shape)
    if cells * dtype.itemsize < LARGE or dtype.kind not in "biufc":
        return np.empty(shape, dtype)
    return aligned(cells, dtype).reshape(shape)
