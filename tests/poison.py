"""What a worker process runs: calls in a process in which new memory holds NaN, in Python and in compiled code.

Importing this module changes NumPy's and Numba's numpy.empty, and puts what is compiled so into a cache folder of its own.
"""

import os
import tempfile
from typing import Any

_cache = tempfile.TemporaryDirectory()
os.environ["NUMBA_CACHE_DIR"] = _cache.name

import numba  # noqa: E402
import numpy as np  # noqa: E402
from numba.core import cgutils, types  # noqa: E402
from numba.np import arrayobj  # noqa: E402

NAN_BYTE = 0xFF  # floats of such bytes are NaN, integers -1
_compiled_empty = arrayobj._empty_nd_impl
_python_empty = np.empty


def _poisoned_empty_impl(context: Any, builder: Any, arrtype: Any, shapes: Any) -> Any:
    """Numba's numpy.empty, and a loop that fills what it gives."""
    array = _compiled_empty(context, builder, arrtype, shapes)
    size = builder.mul(array.nitems, array.itemsize)
    cgutils.raw_memset(builder, array.data, size, context.get_constant(types.uint8, NAN_BYTE))
    return array


def _poisoned_empty(*arguments: Any, **options: Any) -> np.ndarray:
    array = _python_empty(*arguments, **options)
    array.reshape(-1).view(np.uint8)[:] = NAN_BYTE
    return array


arrayobj._empty_nd_impl = _poisoned_empty_impl
np.empty = _poisoned_empty  # type: ignore[assignment]


@numba.njit
def compiled_sum(n: int, dtype: Any) -> Any:
    """A sum over memory that nobody has written."""
    return np.empty(n, dtype).sum()


def new_memory_is_poisoned() -> list[bool]:
    """Whether Python's and compiled code's new arrays hold NaN, small and large."""
    return [bool(np.isnan(f(n))) for n in (3, 300_000) for f in (lambda n: np.empty(n).sum(), lambda n: compiled_sum(n, np.float32))]


def run_poisoned(index: int, implementation: str, dtype: str) -> bool:
    """One of the cases: what the reference gives. Returns whether the implementation serves the case."""
    from cases import BROAD
    from comparing import answers, assert_answers

    case = BROAD[index]
    if implementation not in case.supporting(dtype):
        return False
    expected = answers(case, dtype, "whole")
    for _ in range(2):  # the second call finds memory that the first has used
        assert_answers(case.call(case.inputs(dtype, "whole"), implementation), expected, implementation)
    return True
