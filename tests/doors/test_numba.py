"""fastconv inside of numba.njit."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
from numba import njit, prange
from numba.core.errors import TypingError

import fastconv as fc
import fastconv.numba

fastconv.numba.init()


@njit
def convolved(x, w):
    return fc.conv2d(x, w, padding=1)


@njit
def network(x, w, bias):
    y = fc.conv2d(x, w, bias, stride=(2, 1), padding=1, activation="relu")
    return fc.avg_pool2d(fc.max_pool2d(y, 2, stride=1), (2, 2)), fc.relu(y - 1)


@njit
def planned(plan, x):
    return plan(x)


@njit(parallel=True, nogil=True)
def of_each(images, w):
    y = np.empty_like(images)
    for i in prange(len(images)):
        y[i] = fc.conv2d(images[i], w, padding=1)
    return y


@pytest.fixture
def arrays(rng):
    return rng.standard_normal((2, 4, 6, 6), np.float32), rng.standard_normal((4, 4, 3, 3), np.float32)


def test_calls_give_what_they_give_in_python(arrays, rng, threads):
    """Bit for bit: one kernel runs."""
    x, w = arrays
    bias = rng.standard_normal(4, np.float32)
    assert (convolved(x, w) == fc.conv2d(x, w, padding=1)).all()
    assert (convolved(x[0], w) == fc.conv2d(x[0], w, padding=1)).all()
    pooled, cut = network(x, w, bias)
    y = fc.conv2d(x, w, bias, (2, 1), 1, activation="relu")
    assert (pooled == fc.avg_pool2d(fc.max_pool2d(y, 2, 1), 2)).all()
    assert (cut == fc.relu(y - 1)).all()


def test_results_have_numpys_types(arrays, threads):
    """Mixed dtypes, views that are not in C order, and `out`, which is given back."""
    x, w = arrays
    assert convolved(x.astype(np.float64), w).dtype == np.float64
    turned = x.transpose(0, 1, 3, 2)
    assert (convolved(turned, w) == fc.conv2d(turned, w, padding=1)).all()

    @njit
    def into(x, w, out):
        return fc.conv2d(x, w, padding=1, out=out)

    out = np.zeros((2, 4, 6, 6), np.float32)
    assert np.shares_memory(into(x, w, out), out)
    assert (out == convolved(x, w)).all()


def test_nothing_leaks(arrays, threads):
    """Arrays go back when the last that holds them does."""
    import sys

    x, w = arrays
    convolved(x, w)
    before = sys.getrefcount(x), sys.getrefcount(w)
    for _ in range(50):
        convolved(x, w)
    assert (sys.getrefcount(x), sys.getrefcount(w)) == before


def test_errors_are_pythons(arrays):
    x, w = arrays
    with pytest.raises(ValueError, match="w must have 4 input channels") as python:
        fc.conv2d(x, w[:, :2], padding=1)
    with pytest.raises(ValueError, match="w must have 4 input channels") as compiled:
        convolved(x, w[:, :2].copy())
    assert str(compiled.value) == str(python.value)
    with pytest.raises(TypingError, match="x of conv2d must have 4 axes"):
        convolved(x[0, 0], w)
    with pytest.raises(TypingError, match="w of conv2d must be an array"):
        convolved(x, 3.0)


def test_plans_are_called(arrays, threads):
    """As arguments and as what a function closes over; a wrong shape is the plan's own error."""
    x, w = arrays
    plan = fc.conv2d.plan(x.shape, w, padding=1)
    assert (planned(plan, x) == plan(x)).all()

    @njit
    def closed(x, out):
        return plan(x, out)

    out = np.zeros(plan.out_shape, np.float32)
    assert np.shares_memory(closed(x, out), out)
    assert (out == plan(x)).all()
    with pytest.raises(ValueError, match="x must have shape"):
        planned(plan, x[:1])


@pytest.mark.exhaustive
def test_a_parallel_function_calls_on_one_thread(arrays, threads):
    """In its loop, from each of its threads; without nogil it is refused, where it would wait for ever."""
    x, w = arrays
    expected = np.stack([fc.conv2d(one, w, padding=1) for one in x])
    assert (of_each(x, w) == expected).all()

    @njit(parallel=True)
    def held(x, w):
        return fc.conv2d(x, w)

    with pytest.raises(TypingError, match="compile it with nogil=True too"):
        held(x, w)


def test_the_entry_point_is_declared():
    project = Path(__file__).parents[2] / "pyproject.toml"
    if not project.exists():
        pytest.skip("an installed package has no pyproject.toml")
    declared = tomllib.loads(project.read_text())["project"]["entry-points"]["numba_extensions"]
    assert declared == {"init": "fastconv.numba:init"}


@pytest.mark.parametrize("name", fastconv.numba.SIGNATURES)
def test_signatures_are_those_of_the_operations(name):
    """What is by position in Python is so in compiled code, in the same order, with the same defaults."""
    import inspect

    parameters = inspect.signature(getattr(fc, name)).parameters
    written = fastconv.numba.SIGNATURES[name][1].split(", ")
    for one, parameter in zip(written, parameters.values(), strict=False):
        if parameter.kind is parameter.KEYWORD_ONLY or parameter.name == "return_indices":
            break
        assert one.split("=")[0] == parameter.name
        assert parameter.default is parameter.empty or one.split("=")[1] == repr(parameter.default)
    assert {one.split("=")[0] for one in written} <= set(parameters)
