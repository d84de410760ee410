"""No kernel reads or writes out of bounds: every implementation on arrays that end, and begin, at a guard page."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from cases import BROAD, CASES
from comparing import answers, assert_answers, assert_same_bits
from guards import SUPPORTED, Fault, Worker, guarded, guarded_everywhere

from fastconv.measuring.checking import error_of
from fastconv.plans.registry import OPERATIONS

pytestmark = pytest.mark.skipif(not SUPPORTED, reason="guard pages are made by mprotect")
DTYPES = ("float32", "float64", "int8", "uint8", "int32", "int64", "float16", "complex64")
OFTEN = ("float32", "uint8", "complex64")  # in every run; the others, and most at the beginning, in slow ones


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    found = Worker()
    yield found
    found.close()


@pytest.mark.parametrize("at", ["end", "beginning"])
@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
def test_the_guard_guards(worker: Worker, at: str, write: bool) -> None:
    """The last element may be touched and the next may not: it ends the process, and the run goes on."""
    worker.call("guards.touch", at, 0, write)
    with pytest.raises(Fault, match=r"SIGSEGV|SIGBUS"):
        worker.call("guards.touch", at, 1, write)
    worker.call("guards.touch", at, 0, write)


def test_a_failure_in_the_worker_is_a_failure_here(worker: Worker) -> None:
    """An exception there is an AssertionError with its traceback."""
    with pytest.raises(AssertionError, match="IndexError"):
        worker.call("guards.run_guarded", len(BROAD), "reference", "float32", "end")


@pytest.mark.parametrize("dtype", ["int8", "float32", "complex128"])
@pytest.mark.parametrize("shape", [(3, 5, 7), (1,), (4096,), (0, 3)])
def test_a_guarded_array_is_a_plain_copy(shape: tuple[int, ...], dtype: Any) -> None:
    """Same values, C order, aligned, writeable: what a kernel takes without a copy."""
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    for at in ("end", "beginning"):
        for boundary in (1, 64):
            copy = guarded(array, at, boundary)
            np.testing.assert_array_equal(copy, array)
            flags = copy.flags
            assert flags.c_contiguous
            assert flags.aligned
            assert flags.writeable
            assert copy.ctypes.data % boundary == 0


def test_packed_weights_are_guarded_inside_what_holds_them() -> None:
    """Arrays in tuples are replaced and everything else stays."""
    array = np.arange(5.0)
    (first, (second,), third) = guarded_everywhere((array, (array,), 7), "end")
    assert third == 7
    for copy in (first, second):
        assert not np.shares_memory(copy, array)
        np.testing.assert_array_equal(copy, array)


ALIKE = ("min_pool", "lp_pool")  # kernels that differ from max_pool's in how a cell is taken in, and not in their memory


@pytest.mark.parametrize(
    ("dtype", "at"),
    [
        *(pytest.param(dtype, "end", marks=() if dtype in OFTEN else pytest.mark.slow) for dtype in DTYPES),
        *(pytest.param(dtype, "beginning", marks=() if dtype in OFTEN[:1] else pytest.mark.slow) for dtype in DTYPES),
    ],
)
@pytest.mark.parametrize(
    ("family", "implementation"),
    [
        pytest.param(family, one.name, marks=pytest.mark.slow if family in ALIKE else ())
        for family, names in OPERATIONS.items()
        for one in names
    ],
)
def test_kernels_stay_inside_their_arrays(worker: Worker, family: str, implementation: str, dtype: str, at: str) -> None:
    """x, w, packed weights, bias and out at guard pages, in both layouts: no fault, and the same bits as elsewhere."""
    cases = [index for index, case in enumerate(BROAD) if case.family == family and case.takes(dtype)]
    served = [BROAD[index] for index in cases if worker.call("guards.run_guarded", index, implementation, dtype, at)]
    assert served or not any(implementation in BROAD[index].supporting(dtype) for index in cases)
    assert served or dtype != "float32", "no broad case reaches this implementation"


POISON = {"nan": float("nan"), "large": 1e30}


# They compile much; what their kernels take for themselves, test_poison.py poisons in each run.
SLOW = ("winograd", "depthwise", "direct", "unpacked")


@pytest.mark.parametrize("poison", ["nan", pytest.param("large", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("family", "implementation"),
    [
        pytest.param(
            family,
            one.name,
            marks=pytest.mark.slow if family in ALIKE or (family in ("conv", "conv_transpose") and one.name in SLOW) else (),
        )
        for family, names in OPERATIONS.items()
        for one in names[:-1]
    ],
)
def test_nothing_unwritten_is_read(family: str, implementation: str, poison: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """New arrays hold a NaN or a large number in every cell: results, workspaces and packed weights do not depend on it."""
    plain_empty = np.empty

    def poisoned_empty(*arguments: Any, **options: Any) -> np.ndarray:
        array = plain_empty(*arguments, **options)
        array.fill(POISON[poison] if array.dtype.kind in "fc" else 85)
        return array

    served = [case for case in CASES if case.family == family and implementation in case.supporting(np.float32)]
    assert served
    for case in served:
        inputs = case.inputs(np.float32, "normal")
        expected = case.call(inputs, implementation)  # compiles what is not yet compiled
        assert_answers(expected, answers(case, np.float32, "normal"), error_of(case.operation, implementation))
        with monkeypatch.context() as patch:
            patch.setattr(np, "empty", poisoned_empty)
            plan = case.plan(inputs, implementation)
            found = plan(*case.operands(plan, inputs))
        assert_same_bits(found, expected)
