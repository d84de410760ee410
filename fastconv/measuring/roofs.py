"""The two limits of this machine that a kernel can meet, measured: arithmetic and memory."""

import importlib
import time
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np

BUFFER = 64 << 20  # bytes a thread: several times its share of a last-level cache
ROUNDS = 7


@lru_cache(maxsize=16)
def copy_bandwidth(threads: int = 1) -> float:
    """Bytes a second that `threads` threads read and write while they copy memory too large for a cache: the best of a few."""
    buffers = [(np.zeros(BUFFER, np.uint8), np.ones(BUFFER, np.uint8)) for _ in range(threads)]
    best = float("inf")
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(ROUNDS):
            begin = time.perf_counter()
            list(pool.map(lambda pair: np.copyto(*pair), buffers))
            best = min(best, time.perf_counter() - begin)
    return 2 * BUFFER * threads / best


@lru_cache(maxsize=16)
def fma_peak(dtype: np.dtype[Any], threads: int = 1) -> float | None:
    """FLOP/s of `threads` cores that do nothing but multiply and add; None for a dtype without vector arithmetic.

    float16 is computed in float32, and has its peak.
    """
    if dtype.kind != "f":
        return None
    try:
        peak = importlib.import_module("fastconv.kernels.simd.engine.peak")
    except ModuleNotFoundError:
        return None
    return threads * float(peak.fma_peak(np.dtype(np.float32) if dtype.itemsize < 4 else dtype))
