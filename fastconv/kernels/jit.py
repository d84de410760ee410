"""The one doorway to Numba: flags, disk cache, threads.

`compiled` is for what kernels call, `Kernel` what Python calls: kernel(begin, end, ...) over independent items, which is
split over threads without changing the order of any sum.
"""

import inspect
from collections.abc import Callable
from typing import Any

from numba import njit, prange, types
from numba.extending import overload

from fastconv.kernels import threads
from fastconv.kernels.cache import DiskCache, lasting_name

__all__ = ["Kernel", "compiled", "overload", "types"]

# A NaN or inf goes where the standard says: no flag lets LLVM assume that there are none, or change the order of a sum.
FASTMATH = {"contract"}
GRAIN = 200_000  # operations that a thread must have to do before it is worth waking


def compiled(function: Callable[..., Any]) -> Any:
    """`function` for kernels to call: it becomes part of each kernel, and is nothing that Python could call for long."""
    return njit(nogil=True, error_model="numpy", fastmath=FASTMATH, no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)


def entry(function: Callable[..., Any], name: str, **options: Any) -> Any:
    """`function` for Python to call: compiled on its first call with each signature, and kept on disk under `name`."""
    dispatcher = njit(nogil=True, error_model="numpy", fastmath=FASTMATH, no_cfunc_wrapper=True, **options)(function)
    if hasattr(dispatcher, "_cache"):
        dispatcher._cache = DiskCache(function.__name__, name)
    return dispatcher


def region_of(kernel: Any) -> Any:
    """A parallel region that runs kernel(begin, end, ...) on equal parts of range(total).

    Numba takes tuples into a region only as arguments of their own, hence a function of exactly the kernel's arguments.
    """
    names = ", ".join(list(inspect.signature(kernel.py_func).parameters)[2:])
    source = f"""
def region(parts, total, {names}):
    for part in prange(parts):
        _kernel(part * total // parts, (part + 1) * total // parts, {names})
"""
    scope = {"prange": prange, "_kernel": kernel, "__name__": kernel.py_func.__module__}
    exec(source, scope)
    return entry(scope["region"], f"region of {lasting_name(kernel)}", parallel=True)


class Kernel:
    """A compiled kernel(begin, end, *arguments) that writes items begin .. end - 1 of its output and reads no other's.

    Call it with the number of items, the number of scalar operations in all (which decides how many threads pay), and the
    arguments.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.serial = entry(function, lasting_name(function))
        self.region = region_of(self.serial)
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__

    def __call__(self, total: int, work: int, *arguments: Any) -> None:
        parts = min(threads.count(), total, 1 + work // GRAIN)
        if parts > 1:
            threads.run_parts(self.serial, self.region, parts, total, arguments)
        else:
            self.serial(0, total, *arguments)
