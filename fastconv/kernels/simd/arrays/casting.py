"""Arrays of float16 as arrays of float32, and back: what NumPy's astype does value by value, vector by vector.

A value is rounded to the nearest, of two as near to the even one, as NumPy rounds; a NaN stays a NaN. Sums of integers that
were made in floats become integers, modulo their width.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from fastconv.kernels.jit import Kernel, flat
from fastconv.kernels.memory import aligned
from fastconv.kernels.simd import vector
from fastconv.machine import host
from fastconv.problem import arguments as check
from fastconv.problem.convolutions import Array

pointer = vector.pointer
HALF, SINGLE = np.dtype(np.float16), np.dtype(np.float32)
PAIRS = (HALF, SINGLE), (SINGLE, HALF)
WORTH = 256  # elements that NumPy has converted before a kernel is called
MANY = 1 << 14  # elements of integers that are worth a kernel for each pair of types
COST = 2  # operations an element


@lru_cache(maxsize=2)
def casting_kernel(lanes: int, isa: str) -> Kernel:
    """The compiled loop over elements: cast_avx512."""

    def cast(begin, end, x, y):
        """y[i] = x[i]"""
        source, to = pointer(x), pointer(y)
        whole = end - (end - begin) % lanes
        for i in range(begin, whole, lanes):
            vector.store(to + i, vector.load(source + i, lanes))
        if whole < end:
            vector.store_first(to + whole, vector.load_first(source + whole, end - whole, lanes), end - whole)

    cast.__name__ = f"cast_{isa}"
    return Kernel(cast)


@lru_cache(maxsize=4)
def wrapping_kernel(lanes: int, isa: str) -> Kernel:
    """The compiled loop over whole floats that become integers: wrap_avx512."""

    def wrap(begin, end, x, y):
        """y[i] = x[i] modulo the width of y"""
        source, to = pointer(x), pointer(y)
        whole = end - (end - begin) % lanes
        for i in range(begin, whole, lanes):
            vector.store_as(to + i, vector.load(source + i, lanes))
        if whole < end:
            vector.store_first_as(to + whole, vector.load_first(source + whole, end - whole, lanes), end - whole)

    wrap.__name__ = f"wrap_{isa}"
    return Kernel(wrap)


def serves(source: np.dtype[Any], target: np.dtype[Any], size: int) -> bool:
    """Whether vectors convert so many elements from one dtype to the other, and it is worth it."""
    return size >= WORTH and (source, target) in PAIRS and host().converts


def run(x: Array, y: Array) -> None:
    """y[...] = x, where vectors serve: both in C order."""
    machine = host()
    casting_kernel(machine.lanes(SINGLE), machine.isa)(x.size, COST * x.size, flat(x), flat(y))


def fill(y: Array, x: Array) -> None:
    """y[...] = x, of an array in C order, without a warning where a number becomes infinite.

    Whole floats become integers modulo their width.
    """
    if y.flags.carray and serves(x.dtype, y.dtype, x.size):
        run(x, y)
    elif x.dtype.kind == "f" and y.dtype.kind in "iu":
        wrap(y, x)
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            y[...] = x


def wrap(y: Array, x: Array) -> None:
    """y[...] = x, of whole floats in C order below 2**31 or 2**63, modulo the width of y."""
    if y.flags.carray and x.size >= MANY:
        machine = host()
        wrapping_kernel(machine.lanes(x.dtype), machine.isa)(x.size, COST * x.size, x.reshape(-1), y.reshape(-1))
    else:
        y[...] = x.astype(np.int32 if x.dtype == SINGLE else np.int64)


def contiguous(x: Array, dtype: np.dtype[Any]) -> Array:
    """x as check.contiguous has it: in C order, of a dtype, writeable for Numba."""
    if not serves(x.dtype, dtype, x.size):
        return check.contiguous(x, dtype)
    y = aligned(x.size, dtype).reshape(x.shape)
    run(check.contiguous(x, x.dtype), y)
    return y
