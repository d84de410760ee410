"""What comes next is asked for where no cache holds a layer: the same bits, and no memory beside the arrays is touched."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from guards import SUPPORTED, guarded, guarded_everywhere
from machines import MESHED

import fastconv as fc
from fastconv import ndimage
from fastconv.kernels.simd.depthwise import choice as depthwise
from fastconv.kernels.simd.depthwise import lines
from fastconv.kernels.simd.direct import choice as direct
from fastconv.kernels.simd.direct import tiles
from fastconv.kernels.simd.engine import requests, weights
from fastconv.kernels.simd.engine.walks import flattened
from fastconv.kernels.simd.pools import choice as pools
from fastconv.machine import CACHED, Machine, host

pytestmark = [
    pytest.mark.skipif(not SUPPORTED, reason="guard pages are made by mprotect"),
    pytest.mark.skipif(host().vector_bytes < 32, reason="these kernels serve wider vectors"),
]
LANES = host().lanes(np.dtype(np.float32))


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A processor whose caches hold nothing."""
    fc.clear_caches()
    monkeypatch.setattr(Machine, "asks", lambda self, moved: True)
    yield
    fc.clear_caches()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_depthwise_layers(far: None, layout: str, stride: int) -> None:
    """Planes smaller than the rows that are asked for, and larger ones; pixels of one line and of two."""
    rng = np.random.default_rng(3)
    for channels, size in ((LANES, (5, 9)), (2 * LANES, (7, 40)), (2 * LANES + 3, (35, 18))):
        shape = (2, channels, *size) if layout == "NCHW" else (2, *size, channels)
        x = rng.integers(-4, 5, shape).astype(np.float32)
        w = rng.integers(-4, 5, (channels, 1, 3, 3) if layout == "NCHW" else (channels, 3, 3, 1)).astype(np.float32)
        options: dict[str, Any] = {"stride": stride, "padding": 1, "groups": channels, "layout": layout}
        plan = fc.conv2d.plan(shape, w, implementation="depthwise", **options)
        expected = fc.conv2d(x, w, implementation="loops", **options)
        for at in ("end", "beginning"):
            out = guarded(np.full(expected.shape, np.nan, np.float32), at)
            depthwise.run({"x": guarded(x, at)}, guarded_everywhere(plan.packed, at), plan.served, out)
            np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(
    ("size", "kernel", "options"),
    [
        ((300,), (3,), {"padding": 1}),
        ((41,), (5,), {"stride": 2}),
        ((97,), (3,), {"padding": 4, "dilation": 4}),
        ((11, 40), (3, 3), {"padding": 2, "dilation": (2, 3)}),
        ((5, 9, 13), (3, 3, 3), {"padding": 1}),
        ((6, 9, 13), (3, 2, 3), {"stride": (2, 1, 2)}),
        ((6, 9, 21), (2, 3, 3), {"padding": 1, "dilation": (2, 1, 1)}),
    ],
    ids=str,
)
def test_depthwise_rows_of_every_rank(far: None, size: tuple[int, ...], kernel: tuple[int, ...], options: Any) -> None:
    """Images of one row ask along it, others for the row below of the deepest plane; by every tile, channels last."""
    rng = np.random.default_rng(5)
    channels, operation = 4 * LANES + 3, getattr(fc, f"conv{len(size)}d")
    options = {**options, "groups": channels, "layout": {1: "NLC", 2: "NHWC", 3: "NDHWC"}[len(size)]}
    x = rng.integers(-4, 5, (2, *size, channels)).astype(np.float32)
    w = rng.integers(-4, 5, (channels, *kernel, 1)).astype(np.float32)
    expected = operation(x, w, implementation="loops", **options)
    problem = operation.plan(x.shape, w, implementation="depthwise", **options).served
    asked, bias = 0, np.zeros(channels, np.float32)
    for candidate in lines.candidates(problem.geometry, problem.dtype, host()):
        launch = weights.launched(candidate.launch(), w, bias)
        asked += "ahead" in launch.kernel.__name__
        for at in ("end", "beginning"):
            out = guarded(np.full(expected.shape, np.nan, np.float32), at)
            depthwise.run({"x": guarded(x, at)}, guarded_everywhere(launch, at), problem, out)
            np.testing.assert_array_equal(out, expected)
    assert asked or host().vector_bytes >= 64 or host().is_meshed


def test_no_stride_is_asked_for_beyond_what_windows_read(far: None) -> None:
    """A request for each cell of a stride would not end."""
    far_apart, channels = 2**40, 2 * LANES
    x = np.random.default_rng(8).integers(-4, 5, (1, 3, 4, 20, channels)).astype(np.float32)
    w = np.ones((channels, 2, 3, 3, 1), np.float32)
    options: dict[str, Any] = {"groups": channels, "layout": "NDHWC"}
    for stride in ((far_apart, 1, 1), (1, far_apart, 1), (far_apart, far_apart, 2)):
        found = fc.conv3d(x, w, stride=stride, implementation="depthwise", **options)
        np.testing.assert_array_equal(found, fc.conv3d(x, w, stride=stride, implementation="loops", **options))
    for stride in ((far_apart, 1, 1), (far_apart, 2, 2)):
        pooled = [fc.max_pool3d(x, 2, stride=stride, layout="NDHWC", implementation=one) for one in ("direct", "loops")]
        np.testing.assert_array_equal(*pooled)


def test_upsampling(far: None) -> None:
    """Transposed depthwise layers, channels last, write rows two apart by turns."""
    rng = np.random.default_rng(7)
    for channels in (LANES, 2 * LANES + 3):
        x = rng.integers(-4, 5, (2, 6, 9, channels)).astype(np.float32)
        w = rng.integers(-4, 5, (channels, 4, 4, 1)).astype(np.float32)
        options: dict[str, Any] = {"stride": 2, "padding": 1, "groups": channels, "layout": "NHWC"}
        plan = fc.conv_transpose2d.plan(x.shape, w, implementation="depthwise", **options)
        expected = fc.conv_transpose2d(x, w, implementation="loops", **options)
        for at in ("end", "beginning"):
            out = guarded(np.full(expected.shape, np.nan, np.float32), at)
            depthwise.run({"x": guarded(x, at)}, guarded_everywhere(plan.packed, at), plan.served, out)
            np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (2, 2)])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("kind", ["max", "avg"])
def test_pools(far: None, kind: str, layout: str, kernel: int, stride: int) -> None:
    rng = np.random.default_rng(4)
    for size in ((6, 9), (35, 50)):
        shape = (2, LANES, *size) if layout == "NCHW" else (2, *size, LANES)
        x = rng.integers(-4, 5, shape).astype(np.float32)
        options: dict[str, Any] = {"kernel_size": kernel, "stride": stride, "padding": kernel // 2, "layout": layout}
        plan = getattr(fc, f"{kind}_pool2d").plan(shape, implementation="direct", x_dtype=np.float32, **options)
        expected = getattr(fc, f"{kind}_pool2d")(x, implementation="loops", **options)
        for at in ("end", "beginning"):
            out = guarded(np.full(expected.shape, np.nan, np.float32), at)
            pools.run({"x": guarded(x, at)}, None, plan.problem, out)
            np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "options"),
    [
        ((300,), {"kernel_size": 3, "stride": 1}),
        ((97,), {"kernel_size": 2, "stride": 2}),
        ((97,), {"kernel_size": 3, "stride": 1, "dilation": 4}),
        ((11, 40), {"kernel_size": 3, "stride": 1, "dilation": 2, "padding": 1}),
        ((7, 9, 13), {"kernel_size": 3, "stride": 1, "padding": 1}),
        ((7, 9, 13), {"kernel_size": 3, "stride": 2}),
        ((7, 9, 13), {"kernel_size": 2, "stride": 1, "dilation": 2}),
    ],
    ids=str,
)
def test_pools_of_pixels(far: None, size: tuple[int, ...], options: Any) -> None:
    """Of every rank and dilation, channels last: signals ask along their row."""
    x = np.random.default_rng(5).integers(-4, 5, (2, *size, 4 * LANES + 3)).astype(np.float32)
    operation, layout = getattr(fc, f"max_pool{len(size)}d"), {1: "NLC", 2: "NHWC", 3: "NDHWC"}[len(size)]
    plan = operation.plan(x.shape, implementation="direct", x_dtype=np.float32, layout=layout, **options)
    assert "pixels" in plan.kernel
    assert "ahead" in plan.kernel or host().vector_bytes >= 64 or host().is_meshed
    expected = operation(x, implementation="loops", layout=layout, **options)
    for at in ("end", "beginning"):
        out = guarded(np.full(expected.shape, np.nan, np.float32), at)
        pools.run({"x": guarded(x, at)}, None, plan.problem, out)
        np.testing.assert_array_equal(out, expected)


def test_winograds_blocks(far: None) -> None:
    """Of several images, of parts of one, and the last, behind which lies no other."""
    rng = np.random.default_rng(6)
    for shape, outputs, padding in (((9, 6, 7, 5), 8, 1), ((2, 60, 50, 8), 12, 0), ((3, 9, 11, 24), 40, 2)):
        x, w = (rng.integers(-4, 5, one).astype(np.float32) for one in (shape, (outputs, 3, 3, shape[-1])))
        options: dict[str, Any] = {"padding": padding, "layout": "NHWC"}
        plan = fc.conv2d.plan(shape, w, implementation="winograd", **options)
        expected = fc.conv2d(x, w, implementation="loops", **options)
        for at in ("end", "beginning"):
            out = guarded(np.full(expected.shape, np.nan, np.float32), at)
            plan.implementation.run({"x": guarded(x, at)}, guarded_everywhere(plan.packed, at), plan.served, out)
            np.testing.assert_allclose(out, expected, atol=2e-3)


IMAGES: dict[str, Any] = {
    "sweep of sums": lambda x, y: ndimage.sobel(x, output=y),
    "sweep of ranks": lambda x, y: ndimage.median_filter(x, 3, output=y),
    "sweep of extrema": lambda x, y: ndimage.maximum_filter(x, 3, output=y),
    "dense": lambda x, y: ndimage.correlate(x, WEIGHTS[x.ndim], output=y),
    "passes": lambda x, y: ndimage.gaussian_filter(x, 1, output=y),
    "passes over rows": lambda x, y: ndimage.correlate1d(x, [1, 2, 3, 2, 1], axis=-2, output=y),
    "boxes, rows one by one": lambda x, y: ndimage.uniform_filter(x, 3, output=y, mode="constant", cval=2),
    "boxes, rows together": lambda x, y: ndimage.minimum_filter(x, 9, output=y, mode="nearest"),
    "lines": lambda x, y: ndimage.maximum_filter1d(x, 5, output=y),
}
WEIGHTS = {2: np.arange(35.0).reshape(5, 7), 3: np.arange(18.0).reshape(2, 3, 3)}


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("activation", [None, "silu"])
def test_dense_layers(monkeypatch: pytest.MonkeyPatch, kernel: int, activation: str | None) -> None:
    """Channels last, tiles ask for what the next block's write, of several blocks and behind the last one too."""
    monkeypatch.setattr(requests, "AFAR", 0)
    fc.clear_caches()
    rng = np.random.default_rng(13)
    for channels, outputs, size in ((5, 2 * LANES, (9, 7)), (24, 9 * LANES + 3, (20, 70)), (1, 9 * LANES + 3, (20, 70))):
        x = rng.integers(-4, 5, (2, *size, channels)).astype(np.float32)
        w = rng.integers(-4, 5, (outputs, kernel, kernel, channels)).astype(np.float32)
        options: dict[str, Any] = {"padding": kernel // 2, "activation": activation, "layout": "NHWC"}
        plan = fc.conv2d.plan(x.shape, w, implementation="direct", **options)
        assert channels > 1 or kernel > 1 or host().is_meshed or ("held" in plan.kernel and "ahead" in plan.kernel)
        expected = fc.conv2d(x, w, implementation="im2col", **options)
        for at in ("end", "beginning"):
            out = guarded(np.full(expected.shape, np.nan, np.float32), at)
            direct.run({"x": guarded(x, at)}, guarded_everywhere(plan.packed, at), plan.served, out)
            np.testing.assert_allclose(out, expected, rtol=1e-5 if activation else 0)
    fc.clear_caches()


def test_planes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Channels first, tiles ask for what the next panel writes: parts of panels, of blocks, and lines to the last one."""
    monkeypatch.setattr(requests, "AFAR", 0)
    fc.clear_caches()
    rng = np.random.default_rng(17)
    for channels, outputs, size in ((50, 37, (9, 7)), (70, 37, (20, 70))):
        x, w = (rng.integers(-4, 5, shape).astype(np.float32) for shape in ((2, channels, *size), (outputs, channels, 1, 1)))
        plan = fc.conv2d.plan(x.shape, w, implementation="direct")
        assert "pointwise" in plan.kernel
        expected = fc.conv2d(x, w, implementation="im2col")
        for at in ("end", "beginning"):
            out = guarded(np.full(expected.shape, np.nan, np.float32), at)
            direct.run({"x": guarded(x, at)}, guarded_everywhere(plan.packed, at), plan.served, out)
            np.testing.assert_array_equal(out, expected)
    fc.clear_caches()


def test_results_of_the_next_block_follow() -> None:
    """Those of a group, or of a part of a row of a block of several, do not; nor is asked for what an L2 cache about holds."""
    dtype, machine = np.dtype(np.float32), host()
    near, far = replace(machine, l2=1 << 30), replace(machine, l2=1 << 10)

    def ahead(w: tuple[int, ...], machine: Machine, **options: Any) -> int:
        plan = fc.conv2d.plan((1, 20, 70, 24), np.ones(w, dtype), implementation="im2col", layout="NHWC", **options)
        g = flattened(plan.problem.geometry)
        (cut,) = tiles.cuts(g, dtype, host()).of_walks
        return tiles.results_ahead(g, cut, dtype, machine)

    assert ahead((96, 1, 1, 24), far) > 0
    assert ahead((96, 1, 1, 24), near) == 0
    assert ahead((96, 1, 1, 12), far, groups=2) == 0
    assert ahead((96, 1, 1, 24), replace(far, cached=CACHED / 2)) == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
@pytest.mark.parametrize("name", IMAGES)
def test_images(monkeypatch: pytest.MonkeyPatch, name: str, dtype: Any) -> None:
    """To the bit, of rows that have parts and of such as have none, and of volumes; at guard pages."""
    for shape in ((40, 700), (9, 33), (7, 12, 270)):
        x, found = np.random.default_rng(5).integers(0, 99, shape).astype(dtype), []
        for asks in (False, True):
            fc.clear_caches()
            monkeypatch.setattr(Machine, "asks", lambda self, moved, asks=asks: asks)
            for at in ("end", "beginning"):
                found.append(guarded(np.full(shape, 77, dtype), at))
                IMAGES[name](guarded(x, at), found[-1])
        for other in found[1:]:
            np.testing.assert_array_equal(other, found[0])
    fc.clear_caches()


def test_what_a_cache_holds_is_not_asked_for() -> None:
    """Requests take a twentieth to a fifth of the time where all lies near; what a mesh brings was not measured."""
    near = replace(host(), l3=32 << 20, cached=CACHED)
    assert [near.asks(moved) for moved in (8 << 20, 12 << 20, 13 << 20)] == [False, False, True]
    assert not MESHED.asks(1 << 40)


def test_rows_of_small_planes_go_on_in_the_next_ones() -> None:
    near, small, large = replace(host(), l2=1 << 20, l3=32 << 20, cached=CACHED), 4 << 10, 8 << 10
    assert requests.rows_ahead(16, small, 7 << 20, near) == requests.Rows(0, 0)
    assert requests.rows_ahead(16, small, 8 << 20, near) == requests.Rows(requests.CELLS, requests.RESULTS)
    assert requests.rows_ahead(16, large, 7 << 20, near) == requests.Rows(requests.CELLS, 0)
    assert requests.rows_ahead(16, small, 1 << 30, near) == requests.Rows(requests.CELLS, requests.RESULTS)
    assert requests.rows_ahead(16, 2 * large, 1 << 30, MESHED) == requests.Rows(16, 0)
