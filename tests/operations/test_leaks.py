"""Nothing piles up: memory, threads, open files and kept plans stay as they are over many calls of changing shapes."""

import gc
import itertools
import os
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from functools import _lru_cache_wrapper
from pathlib import Path

import numpy as np
import pytest

import fastconv as fc
from fastconv.kernels import keeping
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


@pytest.mark.parametrize(
    "number", [pytest.param(1_000, marks=pytest.mark.exhaustive), pytest.param(100_000, marks=pytest.mark.slow)]
)
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
    assert keeping.kept_bytes() <= fc.get_cache_bytes()


@pytest.fixture
def limit() -> Iterator[int]:
    """A limit that a few hundred plans reach."""
    before = fc.get_cache_bytes()
    fc.set_cache_bytes(1 << 20)
    yield 1 << 20
    fc.set_cache_bytes(before)


def test_what_is_kept_is_bounded(limit: int) -> None:
    """More shapes than fit: never more bytes than the limit, and what is asked for again and again stays."""
    w, often, most = np.ones((1, 1, 1, 1), np.float32), fc.max_pool2d.plan((1, 1, 50, 50), 1), 0
    for rows, columns in itertools.product(range(1, 30), range(1, 30)):
        fc.conv2d.plan((1, 1, rows, columns), w)
        fc.max_pool2d.plan((1, 1, rows, columns), 1)
        assert fc.max_pool2d.plan((1, 1, 50, 50), 1) is often
        assert keeping.kept_bytes() <= limit
        most = max(most, sum(len(one) + len(one.older) for one in (planning._unpacked, recall._planned)))
    assert most > 20


def test_caches_can_be_cleared() -> None:
    fc.max_pool2d(np.ones((1, 1, 8, 8), np.float32), 2)
    fc.conv2d(np.ones((1, 1, 8, 8), np.float32), np.ones((1, 1, 3, 3), np.float32))
    assert keeping.kept_bytes() > 0
    fc.clear_caches()
    assert keeping.kept_bytes() == 0
    assert kept()["plans"] == 0
    assert fc.max_pool2d(np.ones((1, 1, 8, 8), np.float32), 2).shape == (1, 1, 4, 4)


def test_nothing_need_be_kept() -> None:
    """A limit of no byte: every call plans anew, and is right."""
    before, x = fc.get_cache_bytes(), np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    fc.set_cache_bytes(0)
    for _ in range(2):
        assert fc.max_pool2d(x, 2).ravel().tolist() == [5, 7, 13, 15]
        assert keeping.kept_bytes() < 20 * keeping.ENTRY
    fc.set_cache_bytes(before)


@pytest.mark.exhaustive
def test_bytes_are_estimated_from_above() -> None:
    """Against what Python says that it allocated, over many sizes of several operations."""
    w, deep = np.ones((4, 3, 3, 3), np.float32), np.ones((3, 1, 3, 3), np.float32)
    fc.clear_caches()
    gc.collect()
    tracemalloc.start()
    for n in range(8, 208):
        fc.conv2d.plan((1, 3, n, 20), w)
        fc.conv2d.plan((1, 3, n, 20), deep, groups=3)
        fc.max_pool2d.plan((1, 3, n, 20), 3)(np.zeros((1, 3, n, 20), np.float32))
        fc.avg_pool2d(np.zeros((1, 3, n, 20), np.float32), 3, padding=1, count_include_pad=False)
    gc.collect()
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert taken < keeping.kept_bytes() * 1.2, (taken, keeping.kept_bytes())


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
