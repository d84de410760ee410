"""Means of windows: kernels against loops, sliding windows and SciPy; exact quotients; errors that stay local."""

import numpy as np
import pytest
from filter_cases import by_each, cells, geometry_of
from guards import SUPPORTED, Worker
from test_extrema import BOXES, MODES, SCIPY_MODES, agree, origins

from fastconv import ndimage
from fastconv.kernels.simd.extrema import reductions
from fastconv.ndimage.means import summed_in


@pytest.mark.parametrize(
    ("dtype", "summed"),
    [(np.uint8, np.uint16), (np.int16, np.float64), pytest.param(np.int16, np.int32, marks=pytest.mark.slow)],
)
def test_means_of_integers_are_what_loops_and_windows_find(dtype, summed):
    for i, (shape, taps) in enumerate(BOXES):
        for j, mode in enumerate(MODES):
            geometry = geometry_of("mean", shape, taps, mode, origins(taps, 7 * i + j))
            agree(by_each(geometry, {"x": cells(shape, dtype, i)}, dtype, summed, 17))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_means_of_floats_are_what_loops_and_windows_find(dtype):
    for i, (shape, taps) in enumerate(BOXES):
        geometry = geometry_of("mean", shape, taps, MODES[i % len(MODES)], origins(taps, i))
        found = by_each(geometry, {"x": cells(shape, dtype, i)}, dtype, dtype, 17)
        bound = 4 * len(shape) * np.finfo(dtype).eps * 100
        for name, one in found.items():
            assert np.abs(one - found["strided"]).max() <= bound, (name, shape)


def test_sums_in_16_bits_divide_exactly():
    """Every sum of every size that is divided so."""
    served = 0
    for taps in range(2, 400):
        division = reductions.divided_by_shift(taps, 255)
        if division is not None:
            sums = np.arange(255 * taps + 1)
            assert np.array_equal((sums * division.factor >> 16) >> division.shift, sums // taps), taps
            served += 1
    assert served > 200
    assert all(reductions.divided_by_shift(taps, 255) for taps in range(2, 129))


@pytest.mark.parametrize("real", [np.float32, np.float64])
def test_a_factor_divides_exactly(real):
    """The largest sums that are divided so, and those around them, by sizes of all kinds."""
    dtype = np.dtype(real)
    for taps in (2, 3, 5, 7, 9, 11, 31, 127, 255, 1001, 30_011):
        limit = (1 << (reductions.BITS[dtype.itemsize] - 4)) - 1
        most = limit // taps
        assert reductions.divided_by_factor(taps, most, dtype)
        factor = reductions.factors("whole", taps, np.dtype(np.int32 if real == np.float32 else np.float64))[0]
        quotients = np.unique(np.concatenate([np.arange(min(most, 3000)), np.maximum(most - np.arange(3000), 0)]))
        for rest in (0, 1, taps // 2, taps - 1):
            sums = quotients * taps + rest
            sums = sums[sums <= limit]
            whole = np.trunc(sums.astype(real) * factor).astype(np.int64)
            assert np.array_equal(whole, sums // taps), (taps, rest)
            assert np.array_equal(np.trunc(-sums.astype(real) * factor).astype(np.int64), -(sums // taps))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_mean_of_one_value_is_that_value(dtype):
    for value in (0.1, 1 / 3, 123.456, 1e30):
        x = np.full((20, 300), value, dtype)
        for size in (3, 5, 7):
            error = np.abs(ndimage.uniform_filter(x, size) - x).max()
            assert error <= 2 * np.spacing(dtype(value)), (value, size)


@pytest.mark.parametrize("shape", [(21, 300), (21, 9), (3000,)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e8])
def test_what_a_cell_holds_reaches_its_windows_alone(shape, dtype, value):
    x = np.random.default_rng(0).normal(size=shape).astype(dtype)
    hole = tuple(size // 2 for size in shape)
    expected = ndimage.uniform_filter(x, 5)
    x[hole] = value
    y, near = ndimage.uniform_filter(x, 5), np.zeros(shape, bool)
    near[tuple(slice(at - 2, at + 3) for at in hole)] = True
    assert np.array_equal(y[~near], expected[~near])
    if not np.isfinite(value):
        assert np.array_equal(np.isfinite(y), ~near)
        assert np.array_equal(np.isnan(y), near & np.isnan(value))


@pytest.mark.parametrize("mode", SCIPY_MODES)
def test_as_scipy(mode):
    scipy = pytest.importorskip("scipy.ndimage")
    for i, (shape, taps) in enumerate(BOXES):
        options = {"size": taps, "mode": mode, "cval": 7, "origin": origins(taps, i)}
        for dtype in (np.uint8, np.int16):
            x = cells(shape, dtype, i)
            assert np.array_equal(ndimage.uniform_filter(x, **options), scipy.uniform_filter(x, **options)), (shape, taps)
        x = cells(shape, np.float32, i)
        error = np.abs(ndimage.uniform_filter(x, **options) - scipy.uniform_filter(x, **options)).max()
        assert error <= 4 * np.finfo(np.float32).eps * 100, (shape, taps)


def test_types_as_scipy():
    scipy = pytest.importorskip("scipy.ndimage")
    x = cells((9, 40), np.uint8)
    for output in (np.uint8, np.int32, np.float32, np.float64, "uint16", None):
        expected, found = scipy.uniform_filter(x, 3, output=output), ndimage.uniform_filter(x, 3, output=output)
        assert found.dtype == expected.dtype
        assert np.allclose(found, expected, rtol=1e-6, atol=1e-6 if expected.dtype.kind == "f" else 0), output
    for z in (x + 1j * x[::-1], (x - 50j).astype(np.complex64)):
        expected, found = (
            scipy.uniform_filter(z, 3, mode="constant", cval=1 + 2j),
            ndimage.uniform_filter(z, 3, mode="constant", cval=1 + 2j),
        )
        assert found.dtype == expected.dtype
        assert np.allclose(found, expected, rtol=1e-5)
        assert np.array_equal(ndimage.uniform_filter(z, 3, mode="constant", cval=1 + 2j, output=z), found)


def test_fractions_around_integers_as_scipy():
    scipy = pytest.importorskip("scipy.ndimage")
    x = cells((9, 40), np.uint8)
    for cval in (0.5, 3.25, 1e3, -7):
        expected = scipy.uniform_filter(x, 4, output=np.int32, mode="constant", cval=cval)
        assert np.array_equal(ndimage.uniform_filter(x, 4, output=np.int32, mode="constant", cval=cval), expected), cval


def test_sums_are_as_narrow_as_quotients_are_exact():
    def summed(dtype, taps, cval=0):
        return summed_in(geometry_of("mean", (2, 2), taps, "constant"), np.dtype(dtype), np.dtype(dtype), cval)

    assert summed(np.uint8, (5, 5)) == np.uint16
    assert summed(np.uint8, (300, 1)) == np.int32
    assert summed(np.uint8, (5, 5), 0.5) == np.float64
    assert summed(np.uint8, (5, 5), -1) == np.int32
    assert summed(np.int16, (31, 31)) == np.int32
    assert summed(np.int16, (33, 1)) == np.float64
    assert summed(np.int32, (3, 3)) == np.float64
    assert summed(np.float32, (3, 3)) == np.float32


@pytest.mark.parametrize("at", ["end", "beginning"])
@pytest.mark.skipif(not SUPPORTED, reason="needs mprotect")
def test_kernels_stay_inside_their_arrays(at):
    worker = Worker()
    try:
        for shape, taps in (*BOXES[:10], ((20, 4200), (5, 3)), ((30000,), (9,))):
            for dtype, summed in (("uint8", "uint16"), ("float32", "float32")):
                worker.call("filter_cases.run_guarded", "mean", shape, taps, "constant", dtype, summed, at)
    finally:
        worker.close()


def test_bad_input():
    x = np.zeros((4, 5))
    with pytest.raises(RuntimeError, match="incorrect filter size"):
        ndimage.uniform_filter1d(x, 0)
    with pytest.raises(ValueError, match="invalid origin"):
        ndimage.uniform_filter(x, 3, origin=2)
    with pytest.raises(RuntimeError, match="sequence argument"):
        ndimage.uniform_filter(x, (3, 3, 3))
    with pytest.raises(RuntimeError, match="complex"):
        ndimage.uniform_filter(x + 1j, 3, output=np.zeros((4, 5)))
    with pytest.warns(UserWarning, match="promoting"):
        ndimage.uniform_filter(x + 1j, 3, output=np.float64)
