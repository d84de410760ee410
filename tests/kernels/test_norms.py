"""Powers and roots on vectors, each alone, at every width that this machine runs, and the pools that they make."""

import numba
import numpy as np
import pytest
from vectors import WIDTHS, marked

import fastconv as fc
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.pools.reductions import LARGEST_NORM
from fastconv.kernels.simd.vector import pointer

WHOLE = range(1, LARGEST_NORM + 1)


@pytest.mark.parametrize("n", WHOLE)
@pytest.mark.parametrize(("dtype", "lanes"), WIDTHS)
def test_powers_of_magnitudes(dtype, lanes, n):
    @numba.njit
    def compute(x, y):
        vector.store(pointer(y), vector.power(vector.load(pointer(x), lanes), n))

    x, y = np.arange(lanes).astype(dtype) % 7 - 3, marked(dtype, lanes)
    compute(x, y)
    np.testing.assert_array_equal(y, np.abs(x) ** n)


@pytest.mark.parametrize("n", WHOLE)
@pytest.mark.parametrize(("dtype", "lanes"), WIDTHS)
def test_roots_of_everything_from_zero_to_infinity(dtype, lanes, n):
    """Within two roundings of the true root, also of the smallest numbers that are not normal; a NaN stays."""

    @numba.njit
    def compute(x, y):
        for i in range(0, len(x), lanes):
            tile = vector.load_tile(pointer(x) + i, 0, 1, 1, lanes)
            vector.store_tile(vector.root(tile, n), pointer(y) + i, lanes)

    figures = np.finfo(dtype)
    least, most = np.log2(float(figures.smallest_subnormal)), figures.maxexp - 1
    x = np.exp2(np.linspace(least, most, 8 * 16 * 9 - 6)).astype(dtype)
    x = np.concatenate([x, np.array([0, 1, figures.max, figures.smallest_subnormal, np.inf, np.nan], dtype)])
    y = marked(dtype, len(x))
    compute(x, y)
    expected = np.power(x.astype(np.longdouble), 1 / np.longdouble(n)).astype(dtype)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(x))
    np.testing.assert_array_equal(y[np.isin(x, (0, np.inf))], x[np.isin(x, (0, np.inf))])
    finite = np.isfinite(x) & (x > 0)
    assert (np.abs(y[finite] - expected[finite]) <= figures.eps * expected[finite]).all()


@pytest.mark.parametrize("implementation", ["direct", "running"])
def test_other_norms_go_elsewhere(implementation):
    x = np.ones((1, 2, 9, 9), np.float32)
    for norm in (0.5, 2.5, LARGEST_NORM + 1):
        with pytest.raises(ValueError, match=f"its norms are infinity and whole numbers up to {LARGEST_NORM}, not {norm:g}"):
            fc.lp_pool2d(x, norm, 3, implementation=implementation)
    assert fc.lp_pool2d.plan(x.shape, LARGEST_NORM, 3).implementation.name == "direct"
