"""implementation="measure": which of several plans is kept, and where it may be asked for."""

import time

import numpy as np
import pytest

import fastconv as fc
from fastconv.plans import racing


class Worker:
    """A plan that takes its time."""

    x_shape, dtype = (2, 3), np.dtype(np.float32)

    def __init__(self, seconds):
        self.seconds, self.calls = seconds, 0

    def __call__(self, x, out=None):
        assert x.shape == self.x_shape
        assert x.dtype == self.dtype
        self.calls += 1
        end = time.process_time() + self.seconds
        while time.process_time() < end:
            pass
        return x


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_the_fastest_is_kept(order):
    plans = [(Worker(0.02), Worker(0.0001), Worker(0.01))[i] for i in order]
    assert racing.fastest(plans) is plans[order.index(1)]
    assert all(plan.calls > racing.ROUNDS for plan in plans)


def test_one_plan_wins_without_a_run():
    plan = Worker(1)
    assert racing.fastest([plan]) is plan
    assert plan.calls == 0


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "complex64"])
def test_a_measured_plan_gives_what_the_implementation_it_names_gives(dtype):
    rng = np.random.default_rng(0)
    x, w = rng.integers(-3, 4, (1, 4, 12, 12)).astype(dtype), rng.integers(-3, 4, (4, 4, 3, 3)).astype(dtype)
    plan = fc.conv2d.plan(x.shape, w, padding=1, x_dtype=dtype, implementation="measure")
    assert plan.implementation.name in fc.implementations("conv2d")
    # Integers may have been summed as floats, by an implementation that serves no integers itself.
    name = "reference" if dtype == "int8" else plan.implementation.name
    np.testing.assert_array_equal(plan(x), fc.conv2d(x, w, padding=1, implementation=name))


@pytest.mark.parametrize("return_indices", [False, True])
def test_pools_are_measured_too(return_indices):
    x = np.random.default_rng(0).standard_normal((1, 4, 30, 30)).astype(np.float32)
    plan = fc.max_pool2d.plan(x.shape, 3, return_indices=return_indices, implementation="measure")
    expected = fc.max_pool2d(x, 3, return_indices=return_indices)
    np.testing.assert_array_equal(plan(x), expected)


def test_functions_refuse_to_measure():
    x, w = np.ones((1, 1, 8, 8), np.float32), np.ones((1, 1, 3, 3), np.float32)
    with pytest.raises(ValueError, match="for plans, which are made once"):
        fc.conv2d(x, w, implementation="measure")
    with pytest.raises(ValueError, match="for plans, which are made once"):
        fc.max_pool2d(x, 2, implementation="measure")
    with pytest.raises(ValueError, match="implementation must be"):
        fc.relu.plan(x.shape, implementation="measure")
