"""1x1 convolutions to few channels, channels last, as dot products: on arrays that end, and begin, at a guard page."""

import numpy as np
import pytest
from guards import SUPPORTED, guarded, guarded_everywhere

import fastconv as fc
from fastconv.kernels.simd.direct import choice as direct
from fastconv.kernels.simd.direct import dots
from fastconv.machine import host

pytestmark = pytest.mark.skipif(not SUPPORTED, reason="guard pages are made by mprotect")


@pytest.fixture(autouse=True)
def panels(monkeypatch):
    """Several of them, and no cost that speaks against any shape."""
    monkeypatch.setattr(dots, "PANEL", 40)
    monkeypatch.setattr(dots, "cycles_of", lambda *_: -1e9)


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize("outputs", [1, 2, 3, min(dots.MOST, host().lanes(np.dtype(np.float32)))])
def test_every_end_of_a_tile_and_of_a_vector(outputs, dtype):
    """Of whole numbers, which have no rounding, the result is exactly im2col's."""
    lanes = host().lanes(np.dtype(dtype))
    if outputs > lanes:
        pytest.skip("one vector holds no such results")
    rng = np.random.default_rng(29)
    for channels in (2, lanes - 1, lanes, 2 * lanes + 1):
        for rows, columns in ((1, lanes), (3, 2 * lanes + 1), (7, 29)):
            shapes = (2, rows, columns, channels), (outputs, 1, 1, channels), (outputs,)
            x, w, bias = (rng.integers(-4, 5, shape).astype(dtype) for shape in shapes)
            options = {"layout": "NHWC", "activation": "relu"}
            plan = fc.conv2d.plan(x.shape, w, bias, implementation="direct", **options)
            assert "dots" in plan.kernel
            expected = fc.conv2d(x, w, bias, implementation="im2col", **options)
            for at in ("end", "beginning"):
                out = guarded(np.full(expected.shape, np.nan, dtype), at)
                direct.run({"x": guarded(x, at)}, guarded_everywhere(plan.packed, at), plan.served, out)
                np.testing.assert_array_equal(out, expected)


def test_silu_meets_every_result_once(threads):
    x = np.random.default_rng(30).standard_normal((1, 31, 41, 20), np.float32)
    w = np.random.default_rng(31).standard_normal((3, 1, 1, 20), np.float32)
    found = fc.conv2d(x, w, layout="NHWC", activation="silu", implementation="direct")
    expected = fc.silu(fc.conv2d(x, w, layout="NHWC", implementation="direct"))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_fewer_results_than_a_vector_and_many_channels_go_elsewhere():
    one = fc.conv2d.plan((1, 1, 2, 9), np.ones((1, 1, 1, 9), np.float32), layout="NHWC", implementation="direct")
    many = fc.conv2d.plan((1, 9, 9, 9), np.ones((dots.MOST + 1, 1, 1, 9), np.float32), layout="NHWC", implementation="direct")
    assert "dots" not in one.kernel
    assert "dots" not in many.kernel
