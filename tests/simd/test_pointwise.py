"""Kernels that do not overlap, by every register tile, on arrays that end at a guard page; and when they are chosen."""

from dataclasses import replace

import numpy as np
import pytest
from guards import SUPPORTED, guarded, guarded_everywhere
from machines import MESHED

import fastconv as fc
from fastconv.kernels.simd.direct import choice as direct
from fastconv.kernels.simd.direct import pointwise
from fastconv.kernels.simd.engine import tables, weights
from fastconv.kernels.simd.engine.lines import are_lines
from fastconv.machine import CACHED, CACHED_FAR, host

TILES = tables.TILES[host().isa].pointwise
CASES = {
    "one tap": ("conv2d", (2, 5, 3, 37), (13, 5, 1, 1), {}),
    "groups": ("conv1d", (2, 6, 83), (9, 2, 1), {"groups": 3}),
    "volume": ("conv3d", (1, 3, 3, 5, 11), (26, 3, 1, 1, 1), {}),
    "doubled": ("conv_transpose2d", (2, 5, 3, 37), (5, 13, 2, 2), {"stride": 2}),
    "doubled in groups": ("conv_transpose1d", (2, 6, 83), (6, 3, 2), {"stride": 2, "groups": 3}),
    "volume doubled": ("conv_transpose3d", (1, 3, 2, 3, 35), (3, 9, 2, 2, 2), {"stride": 2}),
    "one tap, turned": ("conv_transpose2d", (1, 3, 5, 9), (3, 7, 1, 1), {}),
    "rows alone": ("conv_transpose2d", (1, 3, 5, 19), (3, 7, 4, 1), {"stride": (4, 1)}),
}


def launches(problem, w, bias, tile=None, machine=None):
    """Those of the kernel by one tile, or by the one that is chosen, as a machine would cut them."""
    machine = machine or host()
    one = pointwise.candidate(problem, machine)
    if tile is None:
        return tuple(weights.launched(draft, w, bias) for draft in one.launch())
    cut = pointwise.cut(problem.geometry, tile, problem.dtype, machine)
    drafts = pointwise.drafts(problem.geometry, cut, problem.dtype, machine, False)
    return tuple(weights.launched(draft, w, bias) for draft in drafts)


@pytest.mark.skipif(not SUPPORTED, reason="guard pages are made by mprotect")
@pytest.mark.parametrize("activation", [None, "relu", "silu"])
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("tile", TILES, ids=str)
def test_every_tile_gives_the_sums(tile, case, dtype, activation):
    check_sums(tile, case, dtype, activation)


@pytest.mark.skipif(not SUPPORTED, reason="guard pages are made by mprotect")
@pytest.mark.parametrize("case", ["one tap", "groups", "volume"])
def test_results_are_asked_for_that_lie_behind_the_array(case, monkeypatch):
    """As of arrays that no cache keeps: the last panel asks for one that is not there."""
    monkeypatch.setattr(pointwise, "come_from_afar", lambda *arguments: True)
    fc.clear_caches()
    check_sums(TILES[0], case, "float32", "relu")
    fc.clear_caches()


def check_sums(tile, case, dtype, activation):
    """im2col's sums, on arrays that end, and that begin, at a guard page."""
    operation, x_shape, w_shape, options = CASES[case]
    rng = np.random.default_rng(3)
    x, w = (rng.integers(-4, 5, shape).astype(dtype) for shape in (x_shape, w_shape))
    k = w_shape[1] * options.get("groups", 1) if "transpose" in operation else w_shape[0]
    bias = rng.integers(-4, 5, k).astype(dtype)
    plan = getattr(fc, operation).plan(x_shape, w, bias, activation=activation, implementation="direct", **options)
    assert are_lines(plan.geometry)
    packed = launches(plan.served, w, bias, tile)
    expected = getattr(fc, operation)(x, w, bias, activation=activation, implementation="im2col", **options)
    for at in ("end", "beginning"):
        out = guarded(np.full(expected.shape, np.nan, dtype), at)
        direct.run({"x": guarded(x, at)}, guarded_everywhere(packed, at), plan.served, out)
        if activation == "silu":
            np.testing.assert_allclose(out, expected, rtol=8 * np.finfo(dtype).eps)
        else:
            np.testing.assert_array_equal(out, expected)


@pytest.mark.skipif(not SUPPORTED, reason="guard pages are made by mprotect")
@pytest.mark.parametrize("activation", [None, pytest.param("relu6", marks=pytest.mark.slow), "silu"])
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize("tile", TILES, ids=str)
def test_positions_that_whole_panels_leave_over_are_summed_too(tile, dtype, activation, threads):
    """One to a few, of one panel and of two, by weights that lie in one share of the cache and in several."""
    rng, lanes = np.random.default_rng(7), host().lanes(np.dtype(dtype))
    most = tables.TILES[host().isa].pointwise_rest[1].columns
    for extra in range(1, most + 2):
        for channels, outputs, groups, l2 in ((3, 8, 1, host().l2), (2 * lanes + 3, 19, 2, host().l2), (lanes, 41, 1, 4096)):
            small = replace(host(), l2=l2)
            length = (1 + extra % 2) * tile.columns * lanes + extra
            shapes = (2, groups * channels, length), (groups * outputs, channels, 1), (groups * outputs,)
            x, w, bias = (rng.integers(-4, 5, shape).astype(dtype) for shape in shapes)
            options = {"groups": groups, "activation": activation}
            problem = fc.conv1d.plan(x.shape, w, bias, implementation="direct", **options).served
            assert pointwise.rest_of(problem.geometry, tile, np.dtype(dtype), small) == (extra if extra <= most else 0)
            expected = fc.conv1d(x, w, bias, implementation="im2col", **options)
            packed = launches(problem, w, bias, tile, small)
            for at, n in (("end", 1), ("beginning", 3)):
                fc.set_num_threads(n)
                out = guarded(np.full(expected.shape, np.nan, dtype), at)
                direct.run({"x": guarded(x, at)}, guarded_everywhere(packed, at), problem, out)
                np.testing.assert_allclose(out, expected, rtol=8 * np.finfo(dtype).eps if activation == "silu" else 0)


@pytest.mark.parametrize("shares", [1, 3])
def test_weights_and_panels_are_cut_without_a_seam(shares, threads, monkeypatch):
    """Panels that are copied or read where they lie, weights in one share of the cache or in several, one thread or three."""
    rng = np.random.default_rng(5)
    x, w = (rng.integers(-4, 5, shape).astype(np.float32) for shape in ((2, 7, 11, 70), (7, 90, 2, 2)))
    expected = fc.conv_transpose2d(x, w, stride=2, implementation="im2col")
    plan = fc.conv_transpose2d.plan(x.shape, w, stride=2, implementation="direct")
    for most in (0, 1000):
        monkeypatch.setattr(pointwise, "BLOCKS_OF_PANEL", most)
        l2 = 2 * w.nbytes // shares if shares > 1 else host().l2
        machine = replace(host(), l2=l2)
        packed = launches(plan.served, w, np.zeros(90, np.float32), machine=machine)
        for n in (1, 3):
            fc.set_num_threads(n)
            out = np.full(expected.shape, np.nan, np.float32)
            direct.run({"x": x}, packed, plan.served, out)
            np.testing.assert_array_equal(out, expected)


def test_what_comes_over_a_mesh_is_copied_for_few_blocks_already():
    """Where panels are copied once and the L2 cache does not hold x; and its cuts have shorter runs than they would have."""

    def found(channels, outputs, size, cached):
        machine = replace(MESHED, cached=cached)
        w = np.zeros((outputs, channels, 1, 1), np.float32)
        problem = fc.conv2d.plan((1, channels, size, size), w, implementation="direct").served
        return pointwise.candidate(problem, machine)

    assert found(256, 64, 56, CACHED_FAR).cut.copies
    assert not found(64, 64, 56, CACHED_FAR).cut.copies  # which the L2 cache holds
    assert not found(256, 4, 56, CACHED_FAR).cut.copies  # for one block or two
    assert not found(256, 64, 56, CACHED).cut.copies
    for case in ((256, 64, 56), (64, 256, 56), (24, 144, 28)):
        assert found(*case, CACHED_FAR).seconds == found(*case, CACHED).seconds


@pytest.mark.parametrize(
    ("operation", "x_shape", "w_shape", "options"),
    [("conv2d", (1, 64, 56, 56), (256, 64, 1, 1), {}), ("conv_transpose2d", (1, 64, 128, 128), (64, 64, 2, 2), {"stride": 2})],
)
def test_layers_of_many_channels_and_decoders_take_it(operation, x_shape, w_shape, options):
    plan = getattr(fc, operation).plan(x_shape, np.zeros(w_shape, np.float32), implementation="direct", **options)
    assert "pointwise" in plan.kernel


@pytest.mark.parametrize(
    ("operation", "x_shape", "w_shape", "options"),
    [
        ("conv2d", (1, 3, 8, 64), (8, 3, 1, 1), {"stride": 2}),
        ("conv2d", (1, 3, 8, 64), (8, 3, 1, 1), {"padding": 1}),
        ("conv2d", (1, 3, 8, 64), (8, 3, 1, 3), {}),
        ("conv_transpose2d", (1, 3, 8, 64), (3, 8, 2, 2), {"stride": 2, "padding": 1}),
        ("conv_transpose2d", (1, 3, 8, 64), (3, 8, 2, 2), {"stride": 2, "output_padding": 1}),
        ("conv_transpose2d", (1, 3, 8, 64), (3, 8, 2, 2), {"stride": 2, "dilation": 2}),
        ("conv_transpose2d", (1, 3, 8, 64), (3, 8, 3, 3), {"stride": 3}),
        ("conv_transpose2d", (1, 3, 8, 64), (3, 8, 2, 2), {"stride": 3}),
    ],
)
def test_what_overlaps_or_is_padded_goes_elsewhere(operation, x_shape, w_shape, options):
    plan = getattr(fc, operation).plan(x_shape, np.zeros(w_shape, np.float32), implementation="direct", **options)
    assert not are_lines(plan.geometry)
    assert "pointwise" not in plan.kernel
