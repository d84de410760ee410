"""Minimal filtering of rows: every height of a kernel, and what is cut, on arrays that end, and begin, at a guard page."""

import numpy as np
import pytest
from guards import SUPPORTED, guarded, guarded_everywhere

import fastconv as fc
from fastconv.kernels.simd.engine import tables
from fastconv.kernels.simd.winograd import choice, row_tiles
from fastconv.kernels.simd.winograd import choice as winograd
from fastconv.machine import host

pytestmark = pytest.mark.skipif(not SUPPORTED, reason="guard pages are made by mprotect")
TILES = tables.TILES[host().isa].winograd_rows
FORMS = [(m, TILES[0]) for m in (2, 3, 4)] + [(4, TILES[1])]
FORMS += [pytest.param((m, TILES[1]), marks=pytest.mark.slow) for m in (2, 3)]


@pytest.fixture(params=FORMS, ids=lambda form: f"{form[0]}-{form[1][0]}x{form[1][1]}")
def form(request, monkeypatch):
    """One way to filter rows, in blocks of few rows and columns, which then have neighbours; and the width of its tiles."""
    m, tile = request.param
    width = tile[1] * host().lanes(np.dtype(np.float32))
    monkeypatch.setattr(row_tiles, "WEIGHTS", {m: row_tiles.WEIGHTS[m]})
    only = tables.TILES[host().isa]._replace(winograd_rows=(tile,))
    monkeypatch.setattr(row_tiles, "TILES", {host().isa: only})
    monkeypatch.setattr(row_tiles, "LEAST", 1)
    monkeypatch.setattr(row_tiles, "STRIP", width + 20)
    return m, width


def agrees(form, size, kernel, dtype="float32", channels=2, **options):
    """Of whole numbers the result is im2col's: exactly for m = 2, which makes no fractions of them."""
    rng = np.random.default_rng(23)
    x, w, bias = (
        rng.integers(-4, 5, shape).astype(dtype) for shape in ((2, channels, *size), (channels, 1, *kernel), (channels,))
    )
    options = {"groups": channels, **options}
    plan = fc.conv2d.plan(x.shape, w, bias, implementation="winograd", **options)
    assert f"row_tiles_{form[0]}" in plan.kernel
    expected = fc.conv2d(x, w, bias, implementation="im2col", **options)
    exact = form[0] == 2 and options.get("activation") in (None, "relu")
    tolerance = 0 if exact else 40 * np.finfo(dtype).eps * np.sqrt(np.prod(kernel))
    for at in ("end", "beginning"):
        out = guarded(np.full(expected.shape, np.nan, dtype), at)
        winograd.run({"x": guarded(x, at)}, guarded_everywhere(plan.packed, at), plan.served, out)
        np.testing.assert_allclose(out, expected, rtol=tolerance, atol=8 * tolerance)


@pytest.mark.parametrize("more", [0, 1, *(pytest.param(more, marks=pytest.mark.slow) for more in (3, 9))])
def test_every_end(form, more):
    """Kernels of whole groups of taps and others; rows of less than a vector, of a tile, and of several strips."""
    m, width = form
    for rows in (m + more, m + more + 1, 23, 8 * m + 7):
        for columns in (3, width - 1, width, 2 * width + 41):
            agrees(form, (rows, columns), (m + more, 3))


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular", "constant"])
def test_every_padding(form, mode):
    """None, unlike ones, and the most that every mode allows; by zeros and another constant also wider than the map."""
    options = {"padding_mode": mode, **({"padding_value": 3} if mode == "constant" else {})}
    for size in ((5, 5), (6, 16), (27, 2 * form[1] + 5)):
        for padding in (0, ((1, 2), (3, 0)), 4):
            agrees(form, size, (5, 4), padding=padding, **options)
    if mode in ("zeros", "constant"):
        agrees(form, (3, 2), (5, 4), padding=9, **options)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"dtype": "float64"}, marks=pytest.mark.slow),
        *({"activation": activation} for activation in ("relu", "hardswish", "silu")),
        {"channels": 1},
    ],
)
def test_what_else_there_is(form, options):
    agrees(form, (37, form[1] + 33), (5, 5), padding=2, **options)


def test_one_channel_serves_both_layouts_and_several_only_channels_first():
    x, w = np.ones((1, 20, 20, 1), np.float32), np.ones((1, 5, 5, 1), np.float32)
    assert "row_tiles" in fc.conv2d.plan(x.shape, w, layout="NHWC", implementation="winograd").kernel
    with pytest.raises(ValueError, match="channels first, or one channel"):
        fc.conv2d.plan((1, 20, 20, 2), np.ones((2, 5, 5, 1), np.float32), groups=2, layout="NHWC", implementation="winograd")
    with pytest.raises(ValueError, match=f"kernels of 2 to {row_tiles.TALLEST} rows, not 1"):
        fc.conv2d.plan((1, 1, 20, 20), np.ones((1, 1, 1, 5), np.float32), implementation="winograd")


def test_nan_reaches_few_rows_more(form):
    """m - 1 below and 2 m - 2 above, and no other column."""
    m, _ = form
    x = np.random.default_rng(24).standard_normal((1, 1, 60, 60), np.float32)
    w = np.ones((1, 1, 5, 5), np.float32)
    for row in range(28, 28 + m):
        x[0, 0, row, 30] = np.nan
        lost = np.isnan(fc.conv2d(x, w, implementation="winograd")[0, 0])
        x[0, 0, row, 30] = 0
        assert lost[row - 4 : row + 1, 26:31].all()
        lost[row - 4 - (2 * m - 2) : row + m, 26:31] = False
        assert not lost.any()


@pytest.mark.parametrize("k", [5, pytest.param(9, marks=pytest.mark.slow), 13])
def test_rounding_is_near_that_of_the_direct_sum(form, k):
    """Against float64: on noise, and on a photograph's smooth rows."""
    rng = np.random.default_rng(25)
    w = rng.standard_normal((1, 1, k, k), np.float32)
    smooth = 128 + 60 * np.sin(np.arange(200) / 30)[:, None] + rng.integers(-3, 4, (200, 300))
    for image in (rng.standard_normal((200, 300)), smooth):
        x = image.astype(np.float32)[None, None]
        exact = fc.conv2d(x.astype(np.float64), w.astype(np.float64), implementation="direct")
        worst, direct = (np.abs(fc.conv2d(x, w, implementation=name) - exact).max() for name in ("winograd", "direct"))
        assert worst <= {2: 2, 3: 3, 4: 6}[form[0]] * direct


def whole_filter(kind, taps):
    """Ones, or whole numbers at random."""
    made = np.ones((taps, taps)) if kind == "ones" else np.random.default_rng(taps).integers(-8, 9, (taps, taps))
    return made.astype(np.float32)[None, None]


@pytest.mark.parametrize("taps", range(3, 21))
def test_whole_filters_go_by_pairs_of_rows(taps):
    """Whatever the estimate says of others: what is packed is whole too, and nothing is divided afterwards."""
    x_shape = (1, 1, 64, 96)
    plan = fc.conv2d.plan(x_shape, whole_filter("random", taps), implementation="winograd")
    assert "row_tiles_2_" in plan.kernel
    np.testing.assert_array_equal(plan.packed.weights, np.rint(plan.packed.weights))
    halves = fc.conv2d.plan(x_shape, whole_filter("random", taps) + 0.5, implementation="winograd")
    assert f"row_tiles_{choice.chosen(halves.seen, host(), False).cut.m}_" in halves.kernel


@pytest.mark.parametrize("kind", ["ones", "random"])
@pytest.mark.parametrize("taps", [pytest.param(n, marks=[pytest.mark.slow] if n not in (1, 3) else []) for n in range(1, 16)])
def test_whole_images_have_whole_sums(taps, kind):
    """As plans and functions choose, up to 15 x 15: exactly what the sum in float64 is."""
    x = np.random.default_rng(1).integers(0, 2 if kind == "ones" else 256, (1, 1, 64, 96)).astype(np.float32)
    w = whole_filter(kind, taps)
    expected = fc.conv2d(x.astype(np.float64), w.astype(np.float64), implementation="im2col")
    np.testing.assert_array_equal(fc.conv2d(x, w), expected)
    np.testing.assert_array_equal(fc.conv2d.plan(x.shape, w)(x), expected)


@pytest.mark.parametrize("side", [16, 64, 300, 1024, 4000])
def test_whole_filters_never_go_by_fourier_transforms(side):
    """Nor by factors that are not whole: what "auto" takes for filters of up to 15 x 15 keeps their sums exact."""
    for taps in range(1, 16):
        for kind in ("ones", "random"):
            plan = fc.conv2d.plan((1, 1, side, side), whole_filter(kind, taps), padding=taps // 2)
            assert plan.implementation.name in {"direct", "depthwise", "winograd", "separable", "unpacked"}, (taps, kind)
            assert plan.implementation.name != "separable" or kind == "ones"
