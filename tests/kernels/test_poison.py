"""No result depends on what new memory holds: every implementation where numpy.empty gives NaN, compiled code's included."""

import platform
from collections.abc import Iterator
from typing import Any

import pytest
from cases import BROAD
from guards import SUPPORTED, Worker

from fastconv.plans.registry import OPERATIONS

pytestmark = pytest.mark.skipif(not SUPPORTED, reason="the worker waits by select")


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    found = Worker()
    yield found
    found.close()


def test_new_memory_is_poisoned(worker: Worker) -> None:
    """Python's and compiled code's: otherwise the other test shows nothing."""
    found = worker.call("poison.new_memory_is_poisoned")
    assert len(found) == 6
    assert all(found)


# Their kernels differ from those of others in how a cell is taken in, and not in their memory.
ALIKE = ("min_pool", "lp_pool", "lp_pool_input", "max_pool_input", "adaptive_max_pool", "conv_transpose")
# They compile much; test_guards.py has them where numpy.empty gives NaN in each run.
SELDOM = ("fft", "strassen", "winograd", "unpacked", "depthwise", "separable", "col2im", "toeplitz")


def marks(family: str, name: str) -> Any:
    """When an implementation is tested."""
    return pytest.mark.slow if family in ALIKE or name in SELDOM or (family, name) == ("conv", "direct") else ()


@pytest.mark.parametrize("dtype", ["float32", *(pytest.param(other, marks=pytest.mark.slow) for other in ("float64", "int8"))])
@pytest.mark.parametrize(
    ("family", "implementation"),
    [
        pytest.param(family, one.name, marks=marks(family, one.name))
        for family, names in OPERATIONS.items()
        for one in names[:-1]
    ],
)
def test_unwritten_memory_reaches_no_result(worker: Worker, family: str, implementation: str, dtype: str) -> None:
    """Both layouts of the broad cases, twice each; of float32, none of it is multiplied in vain either."""
    cases = [index for index, case in enumerate(BROAD) if case.family == family and case.takes(dtype)]
    served = [index for index in cases if worker.call("poison.run_poisoned", index, implementation, dtype)]
    assert served or not any(implementation in BROAD[index].supporting(dtype) for index in cases)
    assert served or dtype != "float32", "no broad case reaches this implementation"
    if dtype == "float32" and KNOWS_FLAGS:
        finite = [index for index in served if not has_exponential(index)]
        assert not [str(BROAD[index]) for index in finite if worker.call("poison.overflows", index, implementation)]


KNOWS_FLAGS = platform.machine() in ("x86_64", "aarch64")  # C's numbers of the flags of floats


def has_exponential(index: int) -> bool:
    """Whether the activation of a case has one, which overflows for small numbers of the case's own."""
    return dict(BROAD[index].options).get("activation") in ("silu", "gelu")


MEANS = {"uniform_filter": ((11, 13), 5), "uniform_filter, one axis": ((37,), 3), "uniform_filter, volumes": ((5, 11, 13), 3)}


@pytest.mark.skipif(not KNOWS_FLAGS, reason="C's numbers of the flags of floats are not known")
@pytest.mark.parametrize("name", MEANS)
def test_no_mean_has_unwritten_memory_in_it(worker: Worker, name: str) -> None:
    """Nor do means of windows, which are divided."""
    assert worker.call("poison.mean_overflows", *MEANS[name]) is False


# What tiles multiply in vain, behind the last output, may be subnormal: some processors then take a hundred times as long.
LARGE = {
    "row tiles": ((1, 2, 13, 21), (2, 1, 3, 3), {"groups": 2, "padding": 1, "implementation": "winograd"}),
    "winograd": ((1, 8, 9, 9), (8, 8, 3, 3), {"padding": 1, "implementation": "winograd"}),
    "winograd, channels last": ((1, 9, 9, 8), (8, 3, 3, 8), {"padding": 1, "layout": "NHWC", "implementation": "winograd"}),
    "direct": ((1, 8, 9, 9), (8, 8, 3, 3), {"padding": 1, "implementation": "direct"}),
    "direct, channels last": ((1, 9, 9, 8), (8, 3, 3, 8), {"padding": 1, "layout": "NHWC", "implementation": "direct"}),
    "strassen": ((1, 9, 9, 8), (8, 1, 1, 8), {"layout": "NHWC", "implementation": "strassen"}),
    "strassen, channels first": ((1, 8, 9, 9), (8, 8, 1, 1), {"implementation": "strassen"}),
}


@pytest.mark.skipif(not KNOWS_FLAGS, reason="C's numbers of the flags of floats are not known")
@pytest.mark.parametrize(
    "name", [name if name == "row tiles" else pytest.param(name, marks=pytest.mark.slow) for name in LARGE]
)
def test_no_sum_has_unwritten_memory_in_it(name: str) -> None:
    """Where new memory holds large numbers, none is multiplied: a sum would overflow, and its flag tell."""
    found = Worker()
    try:
        assert found.call("poison.run_large", *LARGE[name]) is False
    finally:
        found.close()
