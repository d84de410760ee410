"""Numbers that are not ordinary: where a NaN or an infinity goes, and where it must not."""

import numpy as np
import pytest

import fastconv as fc

SPREADING = {"winograd"}  # families whose docstrings say that a NaN spreads further, by a cell here
LOCAL = [name for name in fc.implementations("conv2d") if name not in ("reference", "fft")]  # fft: test_fft.py
CASES = {
    "3x3": ((1, 8, 20, 20), (8, 8, 3, 3), {"padding": 1}),
    "few channels": ((1, 3, 20, 40), (8, 3, 3, 3), {"padding": 2}),
    "depthwise": ((1, 32, 20, 20), (32, 1, 3, 3), {"padding": 1, "groups": 32}),
    "1x1": ((1, 32, 9, 9), (20, 32, 1, 1), {}),
}


def arrays(case, layout):
    x_shape, w_shape, options = CASES[case]
    rng = np.random.default_rng(5)
    x, w = (rng.integers(-3, 4, shape).astype(np.float32) for shape in (x_shape, w_shape))
    bias = rng.integers(-3, 4, w_shape[0]).astype(np.float32)
    if layout == "NHWC":
        x, w = (np.ascontiguousarray(np.moveaxis(array, 1, -1)) for array in (x, w))
    return x, w, bias, {"layout": layout, **options}


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("implementation", LOCAL)
def test_the_first_cell_reaches_only_its_windows(implementation, case, layout, value):
    x, w, bias, options = arrays(case, layout)
    try:
        clean = fc.conv2d(x, w, bias, implementation=implementation, **options)
    except ValueError as error:
        pytest.skip(str(error))
    x.reshape(-1)[0] = value
    with np.errstate(invalid="ignore"):
        found = fc.conv2d(x, w, bias, implementation=implementation, **options)
    if layout == "NHWC":
        clean, found = np.moveaxis(clean, -1, 1), np.moveaxis(found, -1, 1)
    near = 4 if implementation in SPREADING else 3
    assert not np.isfinite(found[..., :near, :near]).all()
    np.testing.assert_array_equal(found[..., near:, :], clean[..., near:, :])
    np.testing.assert_array_equal(found[..., near:], clean[..., near:])


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("implementation", [name for name in fc.implementations("conv2d") if name != "reference"])
def test_a_bias_of_infinity_reaches_only_its_channel(implementation, case, layout):
    x, w, bias, options = arrays(case, layout)
    try:
        clean = fc.conv2d(x, w, bias, implementation=implementation, **options)
    except ValueError as error:
        pytest.skip(str(error))
    bias[0] = np.inf
    found = fc.conv2d(x, w, bias, implementation=implementation, **options)
    if layout == "NHWC":
        clean, found = np.moveaxis(clean, -1, 1), np.moveaxis(found, -1, 1)
    assert np.isinf(found[:, 0]).all()
    np.testing.assert_array_equal(found[:, 1:], clean[:, 1:])


def test_fold_starts_from_zero_whatever_the_first_column_holds():
    columns = np.ones((1, 4, 9), np.float32)
    columns[0, 0, 0] = np.inf
    image = fc.fold(columns, (4, 4), (2, 2))
    assert np.isinf(image[0, 0, 0, 0])
    assert np.isfinite(image.reshape(-1)[1:]).all()


def test_denormals_cost_no_hundredfold():
    from time import perf_counter

    x, w = np.full((1, 64, 28, 28), 1e-40, np.float32), np.full((64, 64, 3, 3), 0.5, np.float32)
    plan = fc.plan_conv2d(x.shape, w, padding=1, implementation="direct")

    def seconds(array):
        plan(array)
        times = []
        for _ in range(9):
            begun = perf_counter()
            plan(array)
            times.append(perf_counter() - begun)
        return min(times)

    assert seconds(x) < 100 * seconds(np.ones_like(x))
