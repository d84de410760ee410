"""The FMA peak of one core, measured: a register tile that multiplies and adds and waits for nothing."""

import time
from functools import lru_cache
from typing import Any

import numpy as np

from fastconv.kernels.jit import Kernel, element
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import epilogue, microkernel
from fastconv.machine import host
from fastconv.problem.convolutions import IDENTITY

ROUNDS, STEPS = 15, 400


@lru_cache(maxsize=8)
def peak_kernel(rows: int, columns: int, lanes: int, dtype: str) -> Kernel:
    """The compiled loop: `end` times STEPS outer products of data in the L1 cache."""
    width = columns * lanes
    keep = microkernel.tile_store(rows, columns, lanes, True, dtype)

    def peak(begin, end, a, b, y, a_offsets, y_offsets, parameters):
        act = epilogue.epilogue(parameters, y, y)
        tile = vector.zeros(vector.pointer(a), rows, columns, lanes)
        sources = vector.rows_at(vector.pointer(a), vector.pointer(a_offsets), rows)
        for _ in range(begin, end):
            for k in range(STEPS):
                tile = vector.fma_outer(tile, sources, k % 8, vector.pointer(b) + (k % 8) * width)
        to = vector.pointer(y)
        keep(tile, to, vector.pointer(y_offsets), 1, rows, width, False, act, to)

    peak.__name__ = f"{dtype}_peak_{rows}x{columns}"
    return Kernel(peak)


@lru_cache(maxsize=2)
def fma_peak(dtype: np.dtype[Any]) -> float:
    """FLOP/s of one core for float32 or float64: the fastest of several rounds of a few milliseconds."""
    dtype = np.dtype(dtype)
    machine = host()
    rows, columns = (8, 3) if machine.registers >= 32 else (6, 2)
    lanes = machine.lanes(dtype)
    width = columns * lanes
    kernel = peak_kernel(rows, columns, lanes, element(dtype))
    a, b, y = np.full(rows * 8, 1e-3, dtype), np.full(8 * width, 1e-3, dtype), np.empty(rows * width, dtype)
    arguments = a, b, y, np.arange(rows) * 8, np.arange(rows) * width, epilogue.scalars(IDENTITY, dtype)
    repeats = 100
    kernel.serial(0, 1, *arguments)
    best = float("inf")
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        kernel.serial(0, repeats, *arguments)
        best = min(best, time.perf_counter() - begun)
    return 2.0 * rows * width * STEPS * repeats / best
