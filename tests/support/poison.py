"""What a worker process runs: calls in a process in which new memory holds NaN, in Python and in compiled code.

Importing this module changes how Numba's compiled code takes memory, and puts what is compiled so into a cache folder of its
own. NumPy's numpy.empty is changed for calls whose kernels are compiled: Numba would not know the function that stands in for
it.
"""

import ctypes
import os
import platform
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

_cache = tempfile.TemporaryDirectory()
os.environ["NUMBA_CACHE_DIR"] = _cache.name

import numba  # noqa: E402
import numpy as np  # noqa: E402
from llvmlite import ir  # noqa: E402
from numba.core import cgutils  # noqa: E402
from numba.core.runtime.context import NRTContext  # noqa: E402

NAN_BYTE = 0xFF  # floats of such bytes are NaN, integers -1
LARGE_BYTE = 0x7F  # floats of such bytes are near the largest there is
OVERFLOW = {"x86_64": 8, "aarch64": 4}.get(platform.machine())  # C's FE_OVERFLOW, where it is known
ALL_FLAGS = {"x86_64": 61, "aarch64": 31}.get(platform.machine())
_compiled_memory = NRTContext.meminfo_alloc_aligned
_python_empty = np.empty
_byte = ctypes.c_uint8(NAN_BYTE)  # what compiled code fills its memory with, and looks up each time


def _poisoned_memory(self: Any, builder: Any, size: Any, align: Any) -> Any:
    """Numba's memory of arrays and workspaces, and a loop that fills it."""
    found = _compiled_memory(self, builder, size, align)
    at = cgutils.intp_t(ctypes.addressof(_byte))
    byte = builder.load(builder.inttoptr(at, ir.PointerType()), typ=ir.IntType(8))
    cgutils.memset(builder, self.meminfo_data(builder, found), size, byte)
    return found


def _poisoned_empty(*arguments: Any, **options: Any) -> np.ndarray:
    array = _python_empty(*arguments, **options)
    array.reshape(-1).view(np.uint8)[:] = _byte.value
    return array


NRTContext.meminfo_alloc_aligned = _poisoned_memory


@numba.njit
def compiled_sum(n: int, dtype: Any) -> Any:
    """A sum over memory that nobody has written."""
    return np.empty(n, dtype).sum()


def new_memory_is_poisoned() -> list[bool]:
    """Whether Python's and compiled code's new arrays hold NaN, and kernels' workspaces, small and large."""
    from typing import NamedTuple

    from fastconv.kernels.simd import vector
    from fastconv.kernels.simd.engine.workspace import keep, workspace

    class Parts(NamedTuple):
        first: int
        last: int

    carve = workspace(Parts)

    @numba.njit
    def workspace_sum(n: int, like: Any) -> Any:
        """A sum over a workspace that nobody has written."""
        work, memory = carve(Parts(first=n, last=n), like)
        total = like.dtype.type(0)
        for i in range(n):
            total += vector.peek(work.first + i) + vector.peek(work.last + i)
        keep(memory)
        return total

    sizes, like = (3, 300_000), np.zeros(1, np.float32)
    compiled = [bool(np.isnan(found)) for n in sizes for found in (compiled_sum(n, np.float32), workspace_sum(n, like))]
    with mock.patch.object(np, "empty", _poisoned_empty):
        return compiled + [bool(np.isnan(np.empty(n).sum())) for n in sizes]


def run_poisoned(index: int, implementation: str, dtype: str) -> bool:
    """One of the cases: what the reference gives. Returns whether the implementation serves the case."""
    from cases import BROAD
    from comparing import answers, assert_answers

    from fastconv.measuring.checking import error_of

    case = BROAD[index]
    if implementation not in case.supporting(dtype):
        return False
    expected = answers(case, dtype, "whole")
    inputs = case.inputs(dtype, "whole")
    assert_answers(case.call(inputs, implementation), expected, error_of(case.operation, implementation))
    with mock.patch.object(np, "empty", _poisoned_empty):
        assert_answers(case.call(inputs, implementation), expected, error_of(case.operation, implementation))
    return True


def overflowing(call: Callable[[], Any]) -> bool:
    """Whether a call overflows where compiled code's new memory holds large numbers; on one thread, whose flags these are."""
    import fastconv as fc

    library, threads = ctypes.CDLL(None), fc.get_num_threads()
    fc.set_num_threads(1)
    call()
    _byte.value = LARGE_BYTE
    try:
        library.feclearexcept(ALL_FLAGS)
        call()
        return bool(library.fetestexcept(OVERFLOW))
    finally:
        _byte.value = NAN_BYTE
        fc.set_num_threads(threads)


def overflows(index: int, implementation: str) -> bool:
    """Whether one of the cases does, of float32."""
    from cases import BROAD

    case = BROAD[index]
    return overflowing(partial(case.call, case.inputs("float32", "whole"), implementation))


def mean_overflows(shape: tuple[int, ...], size: int) -> bool:
    """Whether a mean of ones, of float32, does."""
    from fastconv.ndimage import uniform_filter

    return overflowing(partial(uniform_filter, np.ones(shape, np.float32), size))


def run_large(x_shape: tuple[int, ...], w_shape: tuple[int, ...], options: dict[str, Any]) -> bool:
    """Whether a convolution of small numbers does."""
    import fastconv as fc

    plan = fc.conv2d.plan(x_shape, np.full(w_shape, 64, np.float32), **options)
    return overflowing(partial(plan, np.ones(x_shape, np.float32)))
