"""Programs: kernel calls laid down in memory do what the calls do, in order, on as many threads, and keep what they read."""

import gc
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv.kernels.jit import GRAIN, Call, Kernel
from fastconv.kernels.programs import joined, program
from fastconv.plans.registry import OPERATIONS


@Kernel
def scaled(begin, end, x, sizes, y):
    """y = a * x + b, where sizes = (a, (b, an array that is added too))."""
    a, (b, more) = sizes
    for i in range(begin, end):
        y[i] = a * x[i] + b + more[i]


@Kernel
def unwilling(begin, end, y, bad):
    """y[i] = i, but for one item that raises."""
    for i in range(begin, end):
        if i == bad:
            raise MemoryError
        y[i] = i


def call(x: Any, y: Any, a: float, b: int, work: int = 0) -> Call:
    """y = a * x + b + item's number."""
    return Call(scaled, len(y), work, (x, (a, (b, np.arange(len(y), dtype=np.float64))), y))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_calls_are_made_in_order(count: int, threads: None) -> None:
    """Each reads what the one before wrote, also where several threads share each."""
    fc.set_num_threads(count)
    n = 1000
    x, y, z = np.ones(n), np.zeros(n), np.zeros(n)
    made = program([call(x, y, 2, 1, 10 * GRAIN), call(y, z, 3, 0), call(z, x, 1, -1, 10 * GRAIN)])
    expected = x.copy()
    for _ in range(50):
        made.run()
        expected = 3 * (2 * expected + 1 + np.arange(n)) + np.arange(n) - 1 + np.arange(n)
        np.testing.assert_array_equal(x, expected)
        x[:] = expected = np.full(n, expected[0] % 7)


def test_arrays_live_as_long_as_a_program(threads: None) -> None:
    """Those in tuples too: what nobody else holds is not given to others."""
    y = np.zeros(5000)
    made = program([call(np.full(5000, 3.0), y, 2, 1)])
    gc.collect()
    others = [np.full(5000, -1.0) for _ in range(50)]
    made.run()
    np.testing.assert_array_equal(y, 7 + np.arange(5000))
    assert len(others) == 50


def test_the_one_that_raises_is_told(threads: None) -> None:
    """By its name, on one thread and on several; those before it were made."""
    for count in (1, 2):
        fc.set_num_threads(count)
        y, z = np.zeros(100), np.full(100, -1.0)
        made = program([call(np.ones(100), y, 1, 0), Call(unwilling, 100, 10 * GRAIN, (z, 50))])
        with pytest.raises(MemoryError, match="unwilling found no memory for its workspace"):
            made.run()
        np.testing.assert_array_equal(y, 1 + np.arange(100))


def test_joined_programs_are_one(threads: None) -> None:
    x, y, z = np.ones(10), np.zeros(10), np.zeros(10)
    parts = [program([call(x, y, 2, 0)]), program([call(y, z, 1, 5)])]
    made = joined(parts)
    del parts
    made.run()
    np.testing.assert_array_equal(z, 2 + 2 * np.arange(10) + 5)


CONVOLUTIONS = [one.name for one in OPERATIONS["conv"] if one.calls is not None]


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("implementation", CONVOLUTIONS)
def test_programs_of_convolutions(implementation: str, layout: str, count: int, threads: None) -> None:
    """What `calls` says is what `run` does, bit for bit, on one thread and on two."""
    fc.set_num_threads(count)
    rng = np.random.default_rng(0)
    groups = 32 if implementation == "depthwise" else 1
    side = 3 if implementation == "toeplitz" else 20
    shape = (2, 32, side, side) if layout == "NCHW" else (2, side, side, 32)
    taps = (1, 1) if implementation == "strassen" else (3, 3)
    w = rng.standard_normal((32, 32 // groups, *taps) if layout == "NCHW" else (32, *taps, 32 // groups)).astype(np.float32)
    options = {"layout": layout, "groups": groups, "implementation": implementation, "padding": taps[0] // 2}
    residual = implementation not in ("unpacked", "depthwise", "col2im")
    options |= {"residual": residual, "activation": "relu" if residual else None}
    plan = fc.conv2d.plan(shape, w, rng.standard_normal(32).astype(np.float32), **options)
    x = rng.standard_normal(shape).astype(np.float32)
    others = (rng.standard_normal(plan.out_shape).astype(np.float32),) if residual else ()
    y = np.empty(plan.out_shape, np.float32)
    bound = plan.bind(x, *others, out=y)
    assert bound.program is not None
    for sign in (1, -1):
        x *= sign
        np.testing.assert_array_equal(bound(), plan(x, *others))


def test_programs_of_pools(threads: None) -> None:
    """Of both layouts; a border that is a copy of the input is no call of a kernel."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 8, 12, 12)).astype(np.float32)
    for layout in ("NCHW", "NHWC"):
        for plan in (
            fc.max_pool2d.plan(x.shape, 3, 2, 1, layout=layout, implementation="direct"),
            fc.avg_pool2d.plan(x.shape, 2, layout=layout, implementation="direct"),
            fc.adaptive_avg_pool2d.plan(x.shape, 1, layout=layout, implementation="direct"),
        ):
            bound = plan.bind(x, out=np.empty(plan.out_shape, np.float32))
            assert bound.program is not None
            np.testing.assert_array_equal(bound(), plan(x))
    plan = fc.max_pool2d.plan(x.shape, 3, 1, 1, padding_mode="reflect", implementation="direct")
    bound = plan.bind(x, out=np.empty(plan.out_shape, np.float32))
    assert bound.program is None
    np.testing.assert_array_equal(bound(), plan(x))
