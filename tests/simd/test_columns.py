"""fold on vectors: strides whose lines are woven, rows of every length, at guard pages."""

import numpy as np
import pytest
from guards import SUPPORTED, guarded

import fastconv as fc
from fastconv.kernels.simd.arrays import columns

DTYPES = ["float32", "float64", "int32", "int8"]


@pytest.mark.skipif(not SUPPORTED, reason="guard pages are made by mprotect")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stride", [1, 2, 3, 4, 5, 8, 11])
def test_fold_gives_what_the_loops_give(stride, dtype, rng):
    for kernel, outputs in ((2, 1), (3, 7), (stride, 16), (stride + 2, 33), (2 * stride + 1, 70)):
        for padding in (0, kernel // 2):
            size = tuple((n - 1) * stride + kernel - 2 * padding for n in (3, outputs))
            if min(size) < 1:
                continue
            x = rng.integers(-4, 5, (2, 3 * kernel**2, 3 * outputs)).astype(dtype)
            arguments = (size, kernel), {"stride": stride, "padding": padding}
            expected = fc.fold(x, *arguments[0], implementation="loops", **arguments[1])
            plan = fc.fold.plan(x.shape, *arguments[0], implementation="direct", x_dtype=dtype, **arguments[1])
            for at in ("end", "beginning"):
                out = guarded(np.full(expected.shape, 77, dtype), at)
                columns.run({"x": guarded(x, at)}, None, plan.problem, out)
                np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("stride", [1, 2, 3, 8])
def test_long_rows_are_woven_too(stride, rng):
    """Whose lines are as many as phases, not as a square has."""
    x = rng.integers(-4, 5, (1, stride + 1, columns.LONG + 100)).astype(np.float32)
    arguments = ((columns.LONG + 99) * stride + stride + 1,), (stride + 1,)
    expected = fc.fold(x, *arguments, implementation="loops", stride=stride)
    np.testing.assert_array_equal(fc.fold(x, *arguments, implementation="direct", stride=stride), expected)


@pytest.mark.parametrize(("stride", "kernel"), [(8, 2), (8, 4), (5, 1)])
def test_images_of_few_cells_under_taps_are_not_left_to_loops(stride, kernel):
    """Loops ask of every cell which taps lie over it."""
    size = tuple((n - 1) * stride + kernel for n in (30, 50))
    plan = fc.fold.plan((1, 30 * kernel**2, 1500), size, kernel, stride=stride)
    assert plan.implementation.name == "direct"
