"""Indices of pools: the first of equals, the first NaN, and never padding, as the reference has them."""

import numpy as np
import pytest
from comparing import assert_same_bits

import fastconv as fc
from fastconv.machine import host

LANES = host().lanes(np.dtype(np.float32))
OPTIONS = [{"stride": 1, "padding": 1}, {"stride": 2, "padding": 1}, {"stride": 3}, {"stride": 1, "dilation": 2, "padding": 2}]
FILLED = {
    "equal cells": lambda rng, shape: np.full(shape, 2.0),
    "two values": lambda rng, shape: rng.integers(0, 2, shape),
    "padding's own values": lambda rng, shape: np.where(rng.random(shape) < 0.5, -np.inf, np.inf),
    "all NaN": lambda rng, shape: np.full(shape, np.nan),
    "some NaN": lambda rng, shape: np.where(rng.random(shape) < 0.2, np.nan, rng.integers(0, 3, shape)),
    "zeros of both signs": lambda rng, shape: np.where(rng.random(shape) < 0.5, -0.0, 0.0),
}


@pytest.mark.parametrize(
    "dtype", ["float32", "int8", *(pytest.param(one, marks=pytest.mark.slow) for one in ("float64", "uint16"))]
)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("fill", FILLED.values(), ids=FILLED)
@pytest.mark.parametrize("kind", ["max", "min"])
def test_the_first_of_equals(kind, fill, options, layout, dtype):
    """Where values tie, or are NaN, the index is the reference's."""
    shape = (1, 2, 6, 2 * LANES + 3) if layout == "NCHW" else (1, 6, 7, LANES + 3)
    x = fill(np.random.default_rng(3), shape)
    if not np.isfinite(x).all() and "int" in dtype:
        limits = np.iinfo(dtype)
        x = np.nan_to_num(x, nan=0, posinf=limits.max, neginf=limits.min)
    x = x.astype(dtype)
    function = getattr(fc, f"{kind}_pool2d")
    values, indices = function(x, 3, return_indices=True, layout=layout, implementation="direct", **options)
    expected, at = function(x, 3, return_indices=True, layout=layout, implementation="reference", **options)
    np.testing.assert_array_equal(values, expected)
    assert_same_bits(indices, at)
