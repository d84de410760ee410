"""What a worker process runs: calls in a process in which new memory holds NaN, in Python and in compiled code.

Importing this module changes Numba's numpy.empty, and puts what is compiled so into a cache folder of its own. NumPy's is
changed for calls whose kernels are compiled: Numba would not know the function that stands in for it.
"""

import ctypes
import os
import platform
import tempfile
from typing import Any
from unittest import mock

_cache = tempfile.TemporaryDirectory()
os.environ["NUMBA_CACHE_DIR"] = _cache.name

import numba  # noqa: E402
import numpy as np  # noqa: E402
from numba.core import cgutils  # noqa: E402
from numba.np import arrayobj  # noqa: E402

NAN_BYTE = 0xFF  # floats of such bytes are NaN, integers -1
LARGE_BYTE = 0x7F  # floats of such bytes are near the largest there is
OVERFLOW = {"x86_64": 8, "aarch64": 4}.get(platform.machine())  # C's FE_OVERFLOW, where it is known
ALL_FLAGS = {"x86_64": 61, "aarch64": 31}.get(platform.machine())
_compiled_empty = arrayobj._empty_nd_impl
_python_empty = np.empty
_state = {"byte": NAN_BYTE}  # what code that is compiled from now on fills its memory with


def _poisoned_empty_impl(context: Any, builder: Any, arrtype: Any, shapes: Any) -> Any:
    """Numba's numpy.empty, and a loop that fills what it gives."""
    array = _compiled_empty(context, builder, arrtype, shapes)
    size = builder.mul(array.nitems, array.itemsize)
    cgutils.memset(builder, builder.bitcast(array.data, cgutils.voidptr_t), size, _state["byte"])
    return array


def _poisoned_empty(*arguments: Any, **options: Any) -> np.ndarray:
    array = _python_empty(*arguments, **options)
    array.reshape(-1).view(np.uint8)[:] = NAN_BYTE
    return array


arrayobj._empty_nd_impl = _poisoned_empty_impl


@numba.njit
def compiled_sum(n: int, dtype: Any) -> Any:
    """A sum over memory that nobody has written."""
    return np.empty(n, dtype).sum()


def new_memory_is_poisoned() -> list[bool]:
    """Whether Python's and compiled code's new arrays hold NaN, small and large."""
    sizes = 3, 300_000
    compiled = [bool(np.isnan(compiled_sum(n, np.float32))) for n in sizes]
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


def run_large(x_shape: tuple[int, ...], w_shape: tuple[int, ...], options: dict[str, Any]) -> bool:
    """Whether a convolution of small numbers overflows where compiled code's new memory holds large ones.

    The worker must not have compiled its kernels before.
    """
    import fastconv as fc

    _state["byte"] = LARGE_BYTE
    fc.set_num_threads(1)
    x, w = np.ones(x_shape, np.float32), np.full(w_shape, 64, np.float32)
    plan = fc.conv2d.plan(x.shape, w, **options)
    plan(x)
    library = ctypes.CDLL(None)
    library.feclearexcept(ALL_FLAGS)
    plan(x)
    return bool(library.fetestexcept(OVERFLOW))
