"""How many threads kernels run on, and by what means they reach them.

A parallel region of Numba costs 3 us under OpenMP and TBB, but GNU OpenMP ends a forked child at its first region, and the
workqueue layer ends a process that two threads enter. There, kernels run on a pool of Python threads instead, which release the
GIL: 30 to 90 us a call, and safe. The split of the work is the same by either means, and so are the results.
"""

import os
import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from itertools import pairwise
from typing import Any

import numba
from numba.np.ufunc import parallel as numba_parallel


class _State:
    """This process's threads."""

    count: int | None = None
    pool: Executor | None = None
    # A threading layer that was launched before this module came may have been launched before a fork: do not use it.
    foreign = numba_parallel._is_initialized
    forked = False


_state = _State()
_lock = threading.Lock()


def available() -> int:
    """Threads that this process may use: its processors, or fewer where Numba was told so."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, numba.config.NUMBA_NUM_THREADS))


def count() -> int:
    """The number of threads that a call may use."""
    if _state.count is None:
        _state.count = available()
    return _state.count


def set_count(n: int) -> None:
    """Let calls from any Python thread use `n` threads from now on."""
    _state.count = n


def threading_layer() -> str:
    """The means in use: Numba's "omp" or "tbb", or "python" for a pool of Python threads."""
    return "python" if not _regions_are_safe() else str(numba.threading_layer())


def _regions_are_safe() -> bool:
    if _state.foreign or _state.forked:
        return False
    try:
        if not numba_parallel._is_initialized:
            numba_parallel._launch_threads()
        return bool(numba.threading_layer() != "workqueue")
    except (ValueError, AttributeError, ImportError):
        return False


def run_parts(kernel: Any, parts: int, total: int, arguments: tuple[Any, ...]) -> None:
    """kernel.serial(begin, end, *arguments) for `parts` equal parts of range(total), side by side."""
    if _regions_are_safe():
        if kernel.region(kernel.address(arguments), parts, total, *arguments):
            raise MemoryError(f"{kernel.__name__} found no memory for its workspace")
        return
    bounds = [part * total // parts for part in range(parts + 1)]
    futures: list[Future[None]] = []
    try:
        for begin, end in pairwise(bounds[1:]):
            futures.append(_pool().submit(kernel.serial, begin, end, *arguments))
        kernel.serial(bounds[0], bounds[1], *arguments)
    finally:
        finish(futures)
    for future in futures:
        future.result()


def finish(futures: list[Future[None]]) -> None:
    """Wait for all of them, also when interrupted: no thread may go on writing once the call has ended."""
    interruption: BaseException | None = None
    while True:
        try:
            wait(futures)
        except BaseException as error:
            interruption = error
        else:
            break
    if interruption is not None:
        raise interruption


def _pool() -> Executor:
    with _lock:
        if _state.pool is None:
            _state.pool = ThreadPoolExecutor(max(1, available() - 1), thread_name_prefix="fastconv")
        return _state.pool


def _after_fork() -> None:
    """A child has none of its parent's threads, and locks that they held stay held."""
    global _lock
    _lock = threading.Lock()
    _state.pool = None
    _state.forked = _state.forked or numba_parallel._is_initialized
    compiler_lock = numba.core.compiler_lock.global_compiler_lock
    if hasattr(compiler_lock, "_lock"):
        compiler_lock._lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
