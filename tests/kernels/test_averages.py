"""Averages of integers on vectors: sums are exact, quotients go toward zero, results wrap as the reference's do."""

import numpy as np
import pytest

import fastconv as fc
from fastconv.kernels.simd.pools import reductions

DTYPES = ["uint8", "int32", *(pytest.param(other, marks=pytest.mark.slow) for other in ("int8", "int16", "uint16", "uint32"))]
POOLS = [
    (3, {"stride": 1, "padding": 1}),
    ((2, 5), {"stride": (2, 3), "padding": (1, 2), "count_include_pad": False}),
    (15, {"stride": 1}),
    ((17, 40), {}),
    (3, {"ceil_mode": True, "stride": 2}),
    (2, {"divisor_override": -3}),
    (3, {"divisor_override": 1}),
]


def geometry(x, kernel_size, **options):
    return fc.avg_pool2d.plan(x.shape, kernel_size, x_dtype=x.dtype, **options).geometry


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("implementation", ["direct", "running"])
@pytest.mark.parametrize(("kernel_size", "options"), POOLS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_integers_over_their_whole_range(dtype, kernel_size, options, implementation, layout):
    limits = np.iinfo(dtype)
    shape = (2, 3, 17, 40) if layout == "NCHW" else (2, 17, 40, 21)
    x = np.random.default_rng(5).integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    options = {"layout": layout, **options}
    found = fc.avg_pool2d(x, kernel_size, implementation=implementation, **options)
    np.testing.assert_array_equal(found, fc.avg_pool2d(x, kernel_size, implementation="loops", **options), strict=True)


@pytest.mark.parametrize("dtype", ["int64", pytest.param("uint64", marks=pytest.mark.slow)])
def test_sums_that_no_double_holds(dtype):
    """Of numbers of all sizes they wrap at 64 bits, and of small ones quotients are exact, in either layout."""
    limits, rng = np.iinfo(dtype), np.random.default_rng(5)
    pools = [*POOLS[:2], (3, {"stride": 1, "dilation": 2, "divisor_override": -7}), (2, {"divisor_override": -1, "stride": 3})]
    for low, high in ((limits.min, limits.max), (max(-9, limits.min), 99)):
        x = rng.integers(low, high, (2, 5, 7, 9), dtype=dtype, endpoint=True)
        for options in ({"layout": "NCHW"}, {"layout": "NHWC"}):
            for kernel_size, others in pools:
                found, expected = (
                    fc.avg_pool2d(x, kernel_size, **options, **others, implementation=name) for name in ("direct", "reference")
                )
                np.testing.assert_array_equal(found, expected, strict=True)
            found, expected = (
                fc.adaptive_avg_pool2d(x, (2, 5), **options, implementation=name) for name in ("auto", "reference")
            )
            np.testing.assert_array_equal(found, expected, strict=True)
    assert "avg_pool_sums" in str(fc.avg_pool2d.plan((1, 512, 512), 5, 1, 2, x_dtype=dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_integers_of_adaptive_and_whole_windows(dtype):
    limits = np.iinfo(dtype)
    x = np.random.default_rng(6).integers(limits.min, limits.max, (2, 3, 19, 23), dtype=dtype, endpoint=True)
    for size in ((4, 5), (1, 1)):
        found = fc.adaptive_avg_pool2d(x, size, implementation="direct")
        np.testing.assert_array_equal(found, fc.adaptive_avg_pool2d(x, size, implementation="reference"), strict=True)


@pytest.mark.parametrize("dtype", ["int16", "int32"])
@pytest.mark.parametrize("below", [0, 1])
def test_a_quotient_just_below_a_whole_number_stays_below_it(dtype, below):
    """Sums of n * d and n * d - 1, up to the largest that the type and the window allow."""
    largest, rng = np.iinfo(dtype).max, np.random.default_rng(7)
    for taps in (2, 3, 7, 11, 31, 63):
        quotients = rng.integers(largest // 2, largest, 300)
        x = np.repeat(quotients[:, None], taps, 1)
        x[:, 0] -= below
        for sign in (1, -1):
            signed = (sign * x).astype(dtype)[None]
            found = fc.avg_pool1d(signed, taps, implementation="direct")
            np.testing.assert_array_equal(found[0, :, 0], sign * (quotients - below))


def test_the_type_of_the_sums_is_the_smallest_that_holds_them():
    x8, x16 = np.zeros((1, 1, 200, 200), np.uint8), np.zeros((1, 1, 200, 200), np.int16)
    x32, x64 = np.zeros((1, 1, 9, 9), np.uint32), np.zeros((1, 1, 9, 9), np.int64)
    assert reductions.computed(geometry(x8, 128), x8.dtype) == np.float32
    assert reductions.computed(geometry(x8, 129), x8.dtype) == np.float64
    assert reductions.computed(geometry(x16, 8), x16.dtype) == np.float32
    assert reductions.computed(geometry(x8, 2, divisor_override=2**40), x8.dtype) == np.float64
    assert reductions.computed(geometry(x32, 9), x32.dtype) == np.float64
    assert reductions.computed(geometry(x64, 2), x64.dtype) == np.int64
    assert fc.avg_pool2d(x64, 2, implementation="direct").dtype == np.int64
