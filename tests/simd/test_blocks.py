"""Cases that kernels cut into several blocks: planes and signals too long for a cache, few blocks for several threads."""

import numpy as np
import pytest
from machines import MESHED

import fastconv as fc
from fastconv.kernels.jit import Launch
from fastconv.kernels.simd.direct import choice as direct
from fastconv.kernels.simd.direct import planar, tiles
from fastconv.kernels.simd.engine import weights
from fastconv.kernels.simd.winograd import choice as winograd
from fastconv.kernels.simd.winograd import cuts
from fastconv.kernels.simd.winograd import tiles as winograd_tiles
from fastconv.machine import host
from fastconv.problem import signatures

FLOAT = np.dtype(np.float32)

CASES = {
    "signal": ("conv1d", (1, 1, 100_003), (3, 1, 5), {"padding": 2}),
    "signal by thirds": ("conv1d", (1, 1, 300_003), (3, 1, 5), {"padding": 2, "stride": 3}),
    "signals": ("conv1d", (1, 18, 20_007), (18, 1, 3), {"groups": 18, "padding": 1}),
    "wide plane": ("conv2d", (1, 2, 24, 20_011), (4, 2, 3, 3), {"padding": 1, "padding_mode": "reflect", "stride": 2}),
    "wide planes": ("conv2d", (1, 17, 12, 9_001), (17, 1, 3, 3), {"groups": 17, "padding": 1, "padding_mode": "circular"}),
    "image filter": ("conv2d", (1, 1, 301, 700), (1, 1, 5, 7), {"padding": (2, 3), "padding_mode": "reflect"}),
    "image filters": ("conv2d", (2, 3, 29, 333), (3, 1, 9, 2), {"groups": 3, "padding": ((7, 1), (0, 0))}),
    "first layer": ("conv2d", (1, 3, 112, 112), (8, 3, 7, 7), {"padding": 3, "stride": 2}),
}


def launches(plan):
    return (plan.packed,) if isinstance(plan.packed, Launch) else plan.packed


@pytest.mark.parametrize("implementation", ["direct", "depthwise"])
@pytest.mark.parametrize("case", CASES)
def test_blocks_join_without_a_seam(case, implementation, threads):
    operation, x_shape, w_shape, options = CASES[case]
    rng = np.random.default_rng(11)
    x, w = (rng.integers(-4, 5, shape).astype(np.float32) for shape in (x_shape, w_shape))
    try:
        plan = getattr(fc, operation).plan(x_shape, w, implementation=implementation, **options)
    except ValueError as error:
        pytest.skip(str(error))
    assert sum(launch.items for launch in launches(plan)) > 1
    expected = getattr(fc, operation)(x, w, implementation="im2col", **options)
    for n in (1, 3):
        fc.set_num_threads(n)
        np.testing.assert_array_equal(plan(x), expected)


@pytest.mark.parametrize("shared", [False, True], ids=["a filter each", "one filter"])
@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_colours_may_share_their_filter(dtype, channels, shared, threads):
    rng = np.random.default_rng(13)
    x, w = (rng.integers(-4, 5, shape).astype(dtype) for shape in ((2, 61, 170, channels), (channels, 5, 3, 1)))
    if shared:
        w[1:] = w[0]
    bias = rng.integers(-4, 5, channels).astype(dtype)
    options = {"padding": 2, "padding_mode": "reflect", "groups": channels, "layout": "NHWC"}
    plan = fc.conv2d.plan(x.shape, w, bias, implementation="depthwise", **options)
    assert ("shared" in plan.packed.kernel.__name__) == shared
    expected = fc.conv2d(x, w, bias, implementation="loops", **options)
    for n in (1, 3):
        fc.set_num_threads(n)
        np.testing.assert_array_equal(plan(x), expected)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_winograd_shares_few_blocks_out_by_output_channels(layout, threads):
    rng = np.random.default_rng(12)
    x, w = rng.standard_normal((1, 128, 14, 14), np.float32), rng.standard_normal((200, 128, 3, 3), np.float32)
    if layout == "NHWC":
        x, w = (np.ascontiguousarray(np.moveaxis(array, 1, -1)) for array in (x, w))
    plan = fc.conv2d.plan(x.shape, w, padding=1, layout=layout, implementation="winograd", activation="silu")
    assert plan.packed.items > 1
    found = []
    for n in (1, 2, 3):
        fc.set_num_threads(n)
        found.append(plan(x))
    assert all((one == found[0]).all() for one in found)
    exact = fc.conv2d(x, w, padding=1, layout=layout, implementation="direct", activation="silu")
    assert np.abs(found[0] - exact).max() < 1e-4 * np.abs(exact).max()


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_winograd_refuses_blocks_that_no_workspace_holds(layout):
    """Tiles of a dilated kernel go between each other, and a block has all of them."""

    def supports(channels, size, dilation):
        x_shape, w_shape = ((1, channels, size, size), (channels, channels, 3, 3))
        if layout == "NHWC":
            x_shape, w_shape = (1, size, size, channels), (channels, 3, 3, channels)
        options = {"padding": dilation, "dilation": dilation, "layout": layout}
        plan = fc.conv2d.plan(x_shape, np.zeros(w_shape, np.float32), implementation="direct", **options)
        return winograd.supports(plan.served)

    assert supports(64, 40, 3) is None
    assert "MiB" in supports(256, 256, 64)
    assert "MiB" in supports(64, 10, 1000)


IMAGES = {
    "a tile each": ("conv2d", (70, 24, 4, 3), (20, 24, 3, 3), {"padding": 1}),
    "four tiles, the last block with fewer": ("conv2d", (11, 20, 7, 7), (36, 20, 3, 3), {"padding": 1, "activation": "silu"}),
    "groups": ("conv2d", (9, 24, 5, 6), (12, 6, 3, 3), {"padding": 1, "groups": 4}),
    "dilation": ("conv2d", (7, 20, 6, 7), (17, 20, 3, 3), {"padding": 2, "dilation": 2}),
    "pieces of few channels": ("conv2d", (13, 5, 7, 6), (8, 5, 5, 5), {"padding": 2, "stride": 2, "padding_mode": "reflect"}),
    "depths": ("conv3d", (5, 18, 3, 4, 4), (20, 18, 3, 3, 3), {"padding": 1}),
}


@pytest.mark.parametrize("layout", ["first", "last"])
@pytest.mark.parametrize("case", IMAGES)
def test_winograd_takes_the_tiles_of_several_small_images_together(case, layout, threads):
    operation, x_shape, w_shape, options = IMAGES[case]
    rng = np.random.default_rng(23)
    x, w = (rng.standard_normal(shape, np.float32) for shape in (x_shape, w_shape))
    bias = rng.standard_normal(w_shape[0], np.float32)
    if layout == "last":
        x, w = (np.ascontiguousarray(np.moveaxis(array, 1, -1)) for array in (x, w))
        options = options | {"layout": "NHWC" if operation == "conv2d" else "NDHWC"}
    plan = getattr(fc, operation).plan(x.shape, w, bias, implementation="winograd", **options)
    assert winograd.chosen(plan.served, host(), False).cut.images > 1
    expected = getattr(fc, operation)(x, w, bias, implementation="loops", **options)
    found = []
    for n in (1, 3):
        fc.set_num_threads(n)
        found.append(plan(x))
    assert np.abs(found[0] - expected).max() < 1e-5 * np.abs(expected).max()
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_winograd_leaves_out_no_cut_that_is_faster(layout):
    """F(2) is looked at only where its bound is below what F(4) takes; no cut is looked at twice."""
    rng, left_out = np.random.default_rng(5), 0
    for _ in range(60):
        channels, features, size = (int(2 ** rng.uniform(*ends)) for ends in ((2, 9), (2, 9), (2, 7.5)))
        kernel, step = int(rng.choice([3, 5, 7])), int(rng.integers(1, 3))
        x_shape, w_shape = (int(rng.integers(1, 5)), channels, size, size), (features, channels, kernel, kernel)
        if layout == "NHWC":
            x_shape, w_shape = ((first, *rest, second) for first, second, *rest in (x_shape, w_shape))
        options = {"stride": step, "padding": kernel // 2, "layout": layout}
        g = signatures.convolution(x_shape, w_shape, FLOAT, rank=2, transposed=False, **options)
        every = [(form, cut) for form in cuts.forms(g.lifted()) for cut in cuts.cuts(g, form, FLOAT, host())]
        assert len(set(every)) == len(every)
        took = [cuts.seconds(g.lifted(), cut, FLOAT, host()) for _, cut in every]
        for (form, _), seconds in zip(every, took, strict=True):
            assert cuts.least_of_form(g.lifted(), form, FLOAT, host()) <= seconds
        found = [one.seconds for one in winograd_tiles.candidates(g, FLOAT, host())]
        left_out += len(every) - len(found)
        assert min(found) == min(took)
    assert left_out > 0


def test_winograd_counts_the_last_blocks_as_small_as_they_are():
    """Blocks, tiles and register tiles of each, one by one."""
    w = np.zeros((64, 64, 3, 3), np.float32)
    for size in ((56, 56), (30, 50), (7, 7), (1, 100), (13, 2)):
        g = fc.conv2d.plan((1, 64, *size), w, padding=1).geometry.lifted()
        high, wide = cuts.bundles_of(g, (4, 4))
        for rows, columns in ((1, 1), (2, wide), (min(4, high), min(3, wide)), (high, wide)):
            cut = cuts.Cut((4, 4), rows, columns, 7, 2, 1, 1)
            sides = [
                [min(part, size - begun) for begun in range(0, size, part)] for part, size in ((rows, high), (columns, wide))
            ]
            tiles = [3 * down * across for down in sides[0] for across in sides[1]]
            expected = len(tiles), sum(tiles) / len(tiles), sum(-(-count // 7) for count in tiles) / len(tiles)
            assert cuts.blocks_of(g, cut, 3) == expected


def test_winograd_leaves_room_in_the_cache():
    """V and M of a block that take nearly all of it go in and out: blocks of half its size are taken for them."""
    for channels, outputs, size in ((64, 64, 112), (16, 64, 112), (64, 128, 56)):
        g = fc.conv2d.plan((1, channels, size, size), np.zeros((outputs, channels, 3, 3), np.float32), padding=1).geometry
        best = min(winograd_tiles.candidates(g, FLOAT, MESHED), key=lambda one: one.seconds).cut
        tiles = best.images * best.block_rows * best.block_columns
        assert best.form == (4, 4)
        assert 36 * 4 * tiles * (channels + outputs) <= 0.6 * MESHED.l2


def test_a_call_that_packs_for_itself_takes_smaller_tiles_where_weights_are_many():
    """F(2), whose weights are less than half of F(4)'s: for 512 channels on small maps, and not where maps are large."""
    for channels, size, batch, once in ((512, 7, 8, (2, 2)), (512, 14, 1, (2, 2)), (64, 56, 1, (4, 4))):
        w = np.zeros((channels, channels, 3, 3), np.float32)
        problem = fc.conv2d.plan((batch, channels, size, size), w, padding=1, implementation="winograd").served
        assert winograd.chosen(problem, MESHED, False).cut.form == (4, 4)
        assert winograd.chosen(problem, MESHED, True).cut.form == once
        cheaper = [winograd.cost(problem, MESHED, one) + winograd.pack_cost(problem, MESHED, one) for one in (True, False)]
        assert cheaper[0] <= cheaper[1]


def test_a_call_that_packs_for_itself_has_the_right_sums():
    rng = np.random.default_rng(3)
    x, w = (rng.integers(-2, 3, shape).astype(np.float32) for shape in ((8, 512, 7, 7), (512, 512, 3, 3)))
    found, expected = (fc.conv2d(x, w, padding=1, implementation=name) for name in ("winograd", "direct"))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.sqrt((expected**2).mean()))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_items_that_share_windows_may_be_split_anywhere(layout):
    """Output channels are shared out: wherever one thread ends and the next begins, each packs the windows that it meets."""
    rng = np.random.default_rng(15)
    x_shape, w_shape = ((2, 20, 9, 9), (300, 20, 3, 3)) if layout == "NCHW" else ((2, 9, 9, 20), (300, 3, 3, 20))
    x, w = (rng.integers(-2, 3, shape).astype(np.float32) for shape in (x_shape, w_shape))
    options = {"stride": 2, "padding": 1, "layout": layout}
    expected = fc.conv2d(x, w, implementation="im2col", **options)
    one = tiles.candidate(fc.conv2d.plan(x_shape, w, **options).served, host())
    (launch,) = (weights.launched(draft, w, np.zeros(300, np.float32)) for draft in one.launch())
    assert launch.items >= 8
    for split in range(launch.items + 1):
        found = np.full_like(expected, np.nan)
        y = found.reshape(-1)
        arguments = x.reshape(-1), launch.weights, launch.bias, y, y, *launch.arguments
        launch.kernel.serial(0, split, *arguments)
        launch.kernel.serial(split, launch.items, *arguments)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("channels", [4, 8, 12])
def test_ends_of_rows_of_few_channels_take_tiles_of_one_vector(channels, stride):
    """Rows of whole tiles, of some vectors more, and of a part of one more."""
    rng, lanes = np.random.default_rng(41), host().lanes(np.dtype("f4"))
    w, bias = (rng.integers(-4, 5, shape).astype(np.float32) for shape in ((channels, 3, 3, 3), channels))
    for outputs in (3 * lanes, 3 * lanes + 1, 4 * lanes, 5 * lanes - 3, 7 * lanes):
        x = rng.integers(-4, 5, (2, 3, 7, (outputs - 1) * stride + 1)).astype(np.float32)
        options = {"padding": 1, "stride": stride, "activation": "relu"}
        expected = fc.conv2d(x, w, bias, implementation="im2col", **options)
        problem, found = fc.conv2d.plan(x.shape, w, **options).served, np.full_like(expected, np.nan)
        packed = tuple(weights.launched(draft, w, bias) for draft in planar.candidate(problem, host()).launch())
        direct.run({"x": x}, packed, problem, found)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.skipif(host().registers < 32, reason="tiles of four vectors need more registers")
@pytest.mark.parametrize(
    ("shape", "outputs", "stride"),
    [((1, 14, 14, 1024), 64, 1), ((1, 9, 25, 512), 52, 2), ((1, 57, 91, 40), 64, 1)],
    ids=["pixels 4096 bytes apart", "two pixels 4096 bytes apart", "results beyond the L2 cache"],
)
def test_pixels_that_conflict_are_read_where_they_lie(shape, outputs, stride, threads):
    """By tiles of six rows, of which the last has fewer, and four vectors of channels."""
    rng = np.random.default_rng(14)
    x, w = (rng.integers(-2, 3, size).astype(np.float32) for size in (shape, (outputs, 1, 1, shape[-1])))
    options = {"stride": stride, "layout": "NHWC"}
    plan = fc.conv2d.plan(shape, w, implementation="direct", **options)
    assert "_6x4_" in plan.kernel
    expected = fc.conv2d(x, w, implementation="im2col", **options)
    for n in (1, 3):
        fc.set_num_threads(n)
        np.testing.assert_array_equal(plan(x), expected)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    ("implementation", "channels", "outputs", "kernel", "stride", "size"),
    [
        ("winograd", 32, 32, 3, 1, 40),
        ("winograd", 16, 16, 3, 1, 56),
        ("direct", 16, 16, 7, 1, 28),
        ("direct", 3, 32, 3, 2, 112),
    ],
)
def test_a_map_of_one_block_is_shared_in_halves(implementation, channels, outputs, kernel, stride, size, layout, threads):
    """So that a second thread has work; for any number of them the bits are the same."""
    rng = np.random.default_rng(13)
    x = rng.standard_normal((1, size, size, channels), np.float32)
    w = rng.standard_normal((outputs, kernel, kernel, channels), np.float32)
    if layout == "NCHW":
        x, w = (np.ascontiguousarray(np.moveaxis(array, -1, 1)) for array in (x, w))
    options = {"stride": stride, "padding": kernel // 2, "layout": layout}
    plan = fc.conv2d.plan(x.shape, w, implementation=implementation, **options)
    launches = plan.packed if isinstance(plan.packed, tuple) and not hasattr(plan.packed, "items") else (plan.packed,)
    assert all(launch.items > 1 for launch in launches)
    found = []
    for n in (1, 2, 3):
        fc.set_num_threads(n)
        found.append(plan(x))
    assert all((one == found[0]).all() for one in found)
    exact = fc.conv2d(x, w, implementation="loops", **options)
    assert np.abs(found[0] - exact).max() < 1e-4 * np.abs(exact).max()
