"""Minimal filtering of rows: every height of a kernel, and what is cut, on arrays that end, and begin, at a guard page."""

import numpy as np
import pytest
from guards import SUPPORTED, guarded, guarded_everywhere

import fastconv as fc
from fastconv.kernels.simd import row_pairs, winograd
from fastconv.machine import host

pytestmark = pytest.mark.skipif(not SUPPORTED, reason="guard pages are made by mprotect")
HEIGHTS = [2, 3, pytest.param(6, marks=pytest.mark.slow), 7, row_pairs.TALLEST]
WIDTH = row_pairs.TILES[host().registers][1] * host().lanes(np.dtype(np.float32))  # of a tile


@pytest.fixture(autouse=True)
def cut(monkeypatch):
    """Blocks of few rows and columns, which then have neighbours."""
    monkeypatch.setattr(row_pairs, "BAND", 12)
    monkeypatch.setattr(row_pairs, "STRIP", WIDTH + 20)


def agrees(size, kernel, dtype="float32", channels=2, **options):
    """Of whole numbers, which have no rounding, the result is exactly im2col's."""
    rng = np.random.default_rng(23)
    x, w, bias = (
        rng.integers(-4, 5, shape).astype(dtype) for shape in ((2, channels, *size), (channels, 1, *kernel), (channels,))
    )
    options = {"groups": channels, **options}
    plan = fc.plan_conv2d(x.shape, w, bias, implementation="winograd", **options)
    assert "row_pairs" in plan.kernel
    expected = fc.conv2d(x, w, bias, implementation="im2col", **options)
    for at in ("end", "beginning"):
        out = guarded(np.full(expected.shape, np.nan, dtype), at)
        winograd.run(guarded(x, at), guarded_everywhere(plan.packed, at), plan.geometry, out)
        if options.get("activation") == "silu":
            np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-30)
        else:
            np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("tall", HEIGHTS)
def test_every_height_and_every_end(tall):
    """Odd and even rows, fewer than a tile and more; rows of less than a vector, of a tile, and of several strips."""
    for rows in (tall, tall + 1, 23, 40):
        for columns in (3, WIDTH - 1, WIDTH, 2 * WIDTH + 41):
            agrees((rows, columns), (tall, 3))


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_every_padding(mode):
    """None, unlike ones, and the most that every mode allows; by zeros also wider than the map."""
    for size in ((5, 5), (6, 16), (27, 2 * WIDTH + 5)):
        for padding in (0, ((1, 2), (3, 0)), 4):
            agrees(size, (5, 4), padding=padding, padding_mode=mode)
    if mode == "zeros":
        agrees((3, 2), (5, 4), padding=9)


@pytest.mark.parametrize("options", [{"dtype": "float64"}, {"activation": "relu"}, {"activation": "silu"}, {"channels": 1}])
def test_what_else_there_is(options):
    agrees((21, WIDTH + 33), (5, 5), padding=2, **options)


def test_one_channel_serves_both_layouts_and_several_only_channels_first():
    x, w = np.ones((1, 20, 20, 1), np.float32), np.ones((1, 5, 5, 1), np.float32)
    assert "row_pairs" in fc.plan_conv2d(x.shape, w, layout="NHWC", implementation="winograd").kernel
    with pytest.raises(ValueError, match="channels first, or one channel"):
        fc.plan_conv2d((1, 20, 20, 2), np.ones((2, 5, 5, 1), np.float32), groups=2, layout="NHWC", implementation="winograd")
    with pytest.raises(ValueError, match=f"kernels of 2 to {row_pairs.TALLEST} rows, not 1"):
        fc.plan_conv2d((1, 1, 20, 20), np.ones((1, 1, 1, 5), np.float32), implementation="winograd")


def test_nan_reaches_the_other_row_of_its_pairs_and_no_further():
    x = np.random.default_rng(24).standard_normal((1, 1, 40, 60), np.float32)
    w = np.ones((1, 1, 5, 5), np.float32)
    for row in (20, 21):
        x[0, 0, row, 30] = np.nan
        lost = np.isnan(fc.conv2d(x, w, implementation="winograd")[0, 0])
        x[0, 0, row, 30] = 0
        assert lost[row - 4 : row + 1, 26:31].all()
        lost[(row - 4) // 2 * 2 : row // 2 * 2 + 2, 26:31] = False
        assert not lost.any()


@pytest.mark.parametrize("k", [5, 9])
def test_rounding_is_about_that_of_the_direct_sum(k):
    """Against float64: on noise, and on a photograph's smooth rows."""
    rng = np.random.default_rng(25)
    w = rng.standard_normal((1, 1, k, k), np.float32)
    smooth = 128 + 60 * np.sin(np.arange(200) / 30)[:, None] + rng.integers(-3, 4, (200, 300))
    for image in (rng.standard_normal((200, 300)), smooth):
        x = image.astype(np.float32)[None, None]
        exact = fc.conv2d(x.astype(np.float64), w.astype(np.float64), implementation="direct")
        worst = [np.abs(fc.conv2d(x, w, implementation=name) - exact).max() for name in ("winograd", "direct")]
        assert worst[0] <= 4 * worst[1]
