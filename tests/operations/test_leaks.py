"""Nothing piles up: memory, threads, open files and kept plans stay as they are over many calls of changing shapes."""

import gc
import itertools
import os
import subprocess
import sys
import threading
from functools import _lru_cache_wrapper
from pathlib import Path

import numpy as np
import pytest

import fastconv as fc
from fastconv.plans import planning, recall

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
SECONDS = 1200
GROWTH = 32 * 2**20  # bytes: less than the largest arrays of a hundred calls, or one kilobyte for each of 30,000


def resident() -> int:
    """Bytes of this process that lie in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def calls(number: int, start: int) -> None:
    """Calls of many operations, no two of one shape for long."""
    rng = np.random.default_rng(start)
    w, one, deep = (rng.standard_normal(shape).astype(np.float32) for shape in ((4, 3, 3, 3), (1, 1, 5, 5), (3, 1, 3, 3)))
    for n in range(start, start + number):
        x = np.zeros((1, 3, (8, 20, 36)[n // 211 % 3], 8 + n % 211), np.float32)
        match n % 10:
            case 0:
                fc.conv2d(x, w, padding=n // 10 % 4)
            case 1:
                fc.conv2d(x, deep, groups=3, stride=1 + n // 10 % 3)
            case 2:
                fc.conv2d(x[:, :1], one, padding=2)
            case 3:
                fc.max_pool2d(x, 3, return_indices=n % 20 == 3)
            case 4:
                fc.avg_pool2d(x, (2, 3), stride=1)
            case 5:
                fc.adaptive_avg_pool2d(x, (3, 2))
            case 6:
                fc.silu(x)
            case 7:
                str(fc.conv2d.plan(x.shape, w))
            case 8:
                fc.fold(fc.unfold(x, 3), x.shape[2:], 3)
            case 9:
                with pytest.raises(ValueError, match="padding"):
                    fc.max_pool2d(x, 2, padding=n)


def kept() -> dict[str, int]:
    """Entries of everything that the package keeps from call to call."""
    caches = {
        f"{name}.{key}": value
        for name, module in list(sys.modules.items())
        if name.startswith("fastconv")
        for key, value in vars(module).items()
        if isinstance(value, _lru_cache_wrapper)
    }
    assert len(caches) > 20
    for name, cache in caches.items():
        assert cache.cache_parameters()["maxsize"] is not None or not parameters_of(cache), f"{name} grows without end"
    return {name: cache.cache_info().currsize for name, cache in caches.items()} | {
        "plans": len(planning._unpacked) + len(recall._planned)
    }


def parameters_of(cache: _lru_cache_wrapper) -> int:
    """How many parameters a cached function has: without any, it keeps one result."""
    return cache.__wrapped__.__code__.co_argcount


@pytest.mark.parametrize("number", [1_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_memory_is_flat(number: int, threads: None) -> None:
    """After a first round, which compiles what there is to compile, the same calls take no more memory, file or thread."""
    fc.set_num_threads(2)
    calls(number // 2, 0)
    gc.collect()
    before, files, crew = resident(), len(os.listdir("/proc/self/fd")), threading.active_count()
    calls(number // 2, 0)
    gc.collect()
    assert resident() - before < GROWTH
    assert len(os.listdir("/proc/self/fd")) <= files
    assert threading.active_count() <= crew
    assert kept()["plans"] <= 2 * recall.MOST_KEPT


def test_kept_plans_are_bounded() -> None:
    """More shapes than are kept, and different dtypes: never more entries than the limit."""
    w = np.ones((1, 1, 1, 1), np.float32)
    for rows, columns in itertools.islice(itertools.product(range(1, 40), range(1, 40)), recall.MOST_KEPT + 100):
        fc.conv2d.plan((1, 1, rows, columns), w)
        fc.max_pool2d.plan((1, 1, rows, columns), 1)
        assert len(planning._unpacked) <= recall.MOST_KEPT
        assert len(recall._planned) <= recall.MOST_KEPT


def test_no_thread_is_left_at_exit() -> None:
    """A process that used threads ends by itself, and soon."""
    code = """
import numpy as np
import fastconv as fc
fc.set_num_threads(3)
fc.max_pool2d(np.ones((1, 8, 200, 200), np.float32), 3, implementation="loops")
print("done")
"""
    found = subprocess.run([sys.executable, "-c", code], timeout=120, capture_output=True, text=True)
    assert (found.returncode, found.stdout, found.stderr) == (0, "done\n", "")
