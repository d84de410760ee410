"""What is compiled, and how: flags, names that last, the disk cache.

`compiled` is for what kernels call, `entry` for what Python calls. What kernels call becomes part of their code, and is never
made into machine code on its own.
"""

import gc
import hashlib
from collections.abc import Callable
from functools import wraps
from types import FunctionType
from typing import Any

from numba import njit

from fastconv.kernels.cache import NOTICE, DiskCache, lasting_name
from fastconv.kernels.claims import CLAIMS
from fastconv.kernels.compiling.compilers import KernelCompiler, PartCompiler

# A NaN or inf goes where the standard says: no flag lets LLVM assume that there are none, or change the order of a sum.
# Whether a function is inlined is said of each: what is not said, Numba takes from the caller that it was compiled for first.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}, "forceinline": False}
INNER = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def distinct(function: Callable[..., Any], name: str | None = None) -> Callable[..., Any]:
    """A copy of `function` with a qualified name that no other function has, in this process or another.

    Numba makes symbols of qualified names and a number that each process counts from zero: of two kernels that were compiled in
    different processes and have one symbol, the second that is loaded would run the first one's code.
    """
    digest = hashlib.sha256((name or lasting_name(function)).encode()).hexdigest()[:16]
    found: Any = function
    copy = FunctionType(found.__code__, found.__globals__, found.__name__, found.__defaults__, found.__closure__)
    copy.__module__, copy.__qualname__ = found.__module__, f"{found.__qualname__}_{digest}"
    return copy


def compiled(function: Callable[..., Any]) -> Any:
    """`function` for kernels to call: it becomes part of each kernel, and is nothing that Python could call."""
    return njit(**OPTIONS, **INNER, pipeline_class=PartCompiler)(distinct(function))


def inlined(function: Callable[..., Any]) -> Any:
    """`function` for kernels to call with register tiles: always inlined, since a call would pass them through memory."""
    return njit(**(OPTIONS | INNER | {"forceinline": True}), pipeline_class=PartCompiler)(distinct(function))


def undisturbed(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, which compiles, while Python's garbage collector rests: it makes millions of objects, and few cycles of them.

    Then there is nothing more to wait for: neither somebody who was told, nor processes that want the same kernel.
    """

    @wraps(function)
    def run(*arguments: Any) -> Any:
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            return function(*arguments)
        finally:
            NOTICE.end()
            CLAIMS.end()
            if was_enabled:
                gc.enable()

    return run


def entry(function: Callable[..., Any], name: str, **options: Any) -> Any:
    """`function` for Python to call: compiled on its first call with each signature, and kept on disk under `name`."""
    dispatcher = njit(**OPTIONS, no_cfunc_wrapper=True, pipeline_class=KernelCompiler, **options)(distinct(function, name))
    dispatcher.compile = undisturbed(dispatcher.compile)
    if hasattr(dispatcher, "_cache"):
        dispatcher._cache = DiskCache(function.__name__, name, function.__module__)
    return dispatcher
