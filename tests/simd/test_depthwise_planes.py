"""Depthwise convolution of planes that are read where they lie: every kernel and stack of rows, at guard pages."""

import numpy as np
import pytest
from guards import SUPPORTED, guarded, guarded_everywhere

import fastconv as fc
from fastconv.kernels.simd.depthwise import choice
from fastconv.kernels.simd.depthwise import planes as depthwise_planes
from fastconv.kernels.simd.engine import tables
from fastconv.machine import host

pytestmark = [
    pytest.mark.skipif(not SUPPORTED, reason="guard pages are made by mprotect"),
    pytest.mark.skipif(host().vector_bytes < 32, reason="masks are slow there, and planes are copied"),
]
KERNELS = [(2, 2), (3, 3), (5, 5), (1, 9), (4, 2)]


@pytest.fixture(autouse=True)
def unturned(monkeypatch):
    """Planes are not turned, nor taken whole or by regions, whatever that is expected to take."""
    monkeypatch.setattr(choice.regions, "suits", lambda geometry, machine: False)
    monkeypatch.setattr(choice.rows, "suits", lambda geometry, lanes: False)
    monkeypatch.setattr(choice.maps, "suits", lambda geometry, dtype, machine: False)
    fc.clear_caches()


def agrees(x, w, bias, **options):
    """The kernel's result is exactly im2col's, on arrays that end, and that begin, at a guard page."""
    groups = x.shape[-1 if options.get("layout") == "NHWC" else 1]
    options, operation = {"groups": groups, "activation": "relu6", **options}, (fc.conv1d, fc.conv2d, fc.conv3d)[x.ndim - 3]
    plan = operation.plan(x.shape, w, bias, implementation="depthwise", **options)
    assert "planes" in plan.kernel
    expected = operation(x, w, bias, implementation="im2col", **options)
    for at in ("end", "beginning"):
        out = guarded(np.full(expected.shape, np.nan, x.dtype), at)
        choice.run({"x": guarded(x, at)}, guarded_everywhere(plan.packed, at), plan.served, out)
        np.testing.assert_array_equal(out, expected)
    return plan


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_padding_and_ends_of_rows_are_met_by_masks(kernel, stride, dtype, monkeypatch):
    """Maps narrower than a vector and wider, with fewer rows than a tile and more, padding wider than they are."""
    if dtype == "float64" and kernel != (3, 3):
        pytest.skip("one kernel tells of the dtype")
    monkeypatch.setattr(depthwise_planes, "ROWS", (3, 1))
    rng = np.random.default_rng(17)
    w = rng.integers(-4, 5, (3, 1, *kernel)).astype(dtype)
    bias = rng.integers(-4, 5, 3).astype(dtype)
    for size in ((1, 1), (3, 5), (7, 7), (16, 33), (31, 70)):
        for padding in (((0, 0), (0, 0)), ((1, 2), (3, 0)), ((6, 6), (6, 6))):
            if any(cells + sum(pads) < taps for cells, pads, taps in zip(size, padding, kernel, strict=True)):
                continue
            agrees(rng.integers(-4, 5, (2, 3, *size)).astype(dtype), w, bias, padding=padding, stride=stride)


@pytest.mark.parametrize("stride", [1, 2])
def test_rows_that_end_in_part_of_a_vector_leave_the_next_ones_whole(stride):
    """Rows of every width, of one stack and of two that overlap; what is stored behind a row is stored again."""
    rng, lanes = np.random.default_rng(25), host().lanes(np.dtype("f4"))
    w, bias = (rng.integers(-4, 5, shape).astype(np.float32) for shape in ((3, 1, 3, 3), 3))
    for width in range(1, 2 * lanes + 3):
        for height in (1, 8 * stride, 11 * stride):
            x = rng.integers(-4, 5, (2, 3, height, width * stride)).astype(np.float32)
            agrees(x, w, bias, padding=1, stride=stride)


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
@pytest.mark.parametrize("taps", [1, 2, 3, 9])
def test_lines_are_planes_of_one_row(taps, mode, monkeypatch):
    """Shorter than a tile, of one tile and a few cells, of several; padding on either side, both or none."""
    monkeypatch.setattr(choice.cuts, "suits", lambda geometry, machine: False)  # vectors of channels
    rng, tile = np.random.default_rng(23), depthwise_planes.STREAM * host().lanes(np.dtype("f4"))
    w, bias = (rng.integers(-4, 5, shape).astype(np.float32) for shape in ((4, 1, taps), 4))
    for length in (taps + 3, tile - 1, tile + taps - 1, tile + taps, 3 * tile + 5):
        for padding in (0, ((1, 0),), ((0, 2),), (taps - 1,)):
            x = rng.integers(-4, 5, (2, 4, length)).astype(np.float32)
            plan = agrees(x, w, bias, padding=padding, padding_mode=mode)
            assert f"1x{depthwise_planes.STREAM}_1x{taps}s1" in plan.kernel


@pytest.mark.parametrize("size", [(12, 13), (3, 7, 11), (200,)], ids=str)
def test_windows_of_one_cell_make_a_plane_one_row(size, monkeypatch):
    monkeypatch.setattr(choice.cuts, "suits", lambda geometry, machine: False)
    rng = np.random.default_rng(24)
    x, w, bias = (rng.integers(-4, 5, shape).astype(np.float32) for shape in ((2, 5, *size), (5, 1, *(1 for _ in size)), 5))
    assert f"1x{depthwise_planes.STREAM}_1x1s1" in agrees(x, w, bias).kernel


@pytest.mark.parametrize("kernel", [(3, 3), (5, 2), (1, 4)], ids=str)
@pytest.mark.parametrize("dilation", [(2, 2), (1, 3), (7, 1), (5, 40)], ids=str)
def test_dilated_tiles_have_the_rows_that_share_cells(dilation, kernel, threads, monkeypatch):
    """As many rows as a dilation and more, of every residue whole stacks and overlapping ones; taps that only padding meets."""
    monkeypatch.setattr(depthwise_planes, "ROWS", (3, 1))
    rng = np.random.default_rng(23)
    w, bias = (rng.integers(-4, 5, shape).astype(np.float32) for shape in ((3, 1, *kernel), 3))
    for size in ((7, 7), (16, 33), (31, 70)):
        for pads in (
            ((0, 0), (0, 0)),
            ((1, 2), (3, 0)),
            tuple((d * (k // 2),) * 2 for d, k in zip(dilation, kernel, strict=True)),
        ):
            reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
            outputs = [cells + sum(pad) - r + 1 for cells, pad, r in zip(size, pads, reach, strict=True)]
            if min(outputs) < 1 or outputs[0] < dilation[0]:
                continue
            agrees(rng.integers(-4, 5, (2, 3, *size)).astype(np.float32), w, bias, padding=pads, dilation=dilation)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_tiles_that_meet_padding_of_other_modes_read_copies(mode, stride, monkeypatch):
    monkeypatch.setattr(depthwise_planes, "ROWS", (3, 1))
    rng = np.random.default_rng(18)
    w, bias = (rng.integers(-4, 5, shape).astype(np.float32) for shape in ((3, 1, 5, 5), 3))
    for size in ((5, 5), (7, 16), (16, 33), (31, 70)):
        for padding in (((0, 0), (0, 0)), ((1, 2), (3, 0)), ((4, 4), (4, 4))):
            x = rng.integers(-4, 5, (2, 3, *size)).astype(np.float32)
            agrees(x, w, bias, padding=padding, stride=stride, padding_mode=mode)


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
@pytest.mark.parametrize("k", [3, pytest.param(5, marks=pytest.mark.slow), 9])
def test_large_tiles_go_where_no_window_meets_padding(k, mode, threads, monkeypatch):
    """Rows of one tile and a cell less, or more, of several, and of 4,096 bytes; fewer output rows than a tile has."""
    monkeypatch.setattr(depthwise_planes, "LONG", 1)
    rng, lanes = np.random.default_rng(20), host().lanes(np.dtype("f4"))
    rows, columns = tables.TILES[host().isa].depthwise_large[k > 3]
    w, bias = (rng.integers(-4, 5, shape).astype(np.float32) for shape in ((2, 1, k, k), 2))
    for tall, wide in ((rows, -1), (rows + 1, 0), (2 * rows, 1), (3 * rows + 2, 2 * columns * lanes + 3), (rows + k, 1024)):
        size = tall, wide if wide == 1024 else columns * lanes + k - 1 + wide
        for pads in (0, k // 2, (0, k - 1)):
            if tall + 2 * np.sum(pads) // np.size(pads) < k:
                continue
            x = rng.integers(-4, 5, (1, 2, *size)).astype(np.float32)
            padding = pads if isinstance(pads, int) else (pads, pads)
            if mode == "reflect" and np.max(pads) >= min(size):
                continue
            plan = agrees(x, w, bias, padding=padding, padding_mode=mode)
            assert f"_{rows}x{columns}_" in plan.kernel or plan.geometry.out_size[0] < rows


@pytest.mark.parametrize(("k", "rest"), [(3, 4), (7, 8)])
def test_large_tiles_of_stride_2_end_where_the_plane_does(k, rest):
    """Rows that hold exactly what such a tile reads, a cell less, or more; and several tiles."""
    rng, lanes = np.random.default_rng(22), host().lanes(np.dtype("f4"))
    w, bias = (rng.integers(-4, 5, shape).astype(np.float32) for shape in ((2, 1, k, k), 2))
    for wide in (-1, 0, 1, 2, 4 * lanes + 1):
        for padding in (0, k // 2):
            x = rng.integers(-4, 5, (1, 2, 14 + k, 4 * lanes + rest + wide)).astype(np.float32)
            plan = agrees(x, w, bias, padding=padding, stride=2)
            assert "x2_" in plan.kernel


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(
    ("channels", "k"), [(2, 3), *(pytest.param(*other, marks=pytest.mark.slow) for other in ((2, 5), (3, 3), (3, 5), (5, 3)))]
)
def test_channels_that_lie_together_meet_weights_of_their_own(channels, k, shared, mode, monkeypatch):
    """Rows shorter than a vector, and of several large tiles."""
    if channels > tables.TILES[host().isa].depthwise_channels:
        pytest.skip("more channels than its registers serve")
    monkeypatch.setattr(depthwise_planes, "LONG", 1)
    rng, lanes = np.random.default_rng(21), host().lanes(np.dtype("f4"))
    w, bias = (rng.integers(-4, 5, shape).astype(np.float32) for shape in ((channels, k, k, 1), channels))
    if shared:
        w[:] = w[:1]
    for size in ((k, k), (12, lanes), (17, 7 * lanes + 5)):
        for padding in (0, k // 2, ((1, 0), (k - 1, 2))):
            x = rng.integers(-4, 5, (2, *size, channels)).astype(np.float32)
            plan = agrees(x, w, bias, padding=padding, padding_mode=mode, layout="NHWC")
            assert f"_by{channels}_{'shared_' * shared}planes" in plan.packed.kernel.__name__


@pytest.mark.parametrize("rows", [rows for rows in depthwise_planes.ROWS if host().registers > 16 or rows <= 8])
def test_stacks_of_rows_join_without_a_seam(rows, threads, monkeypatch):
    rng = np.random.default_rng(19)
    x, w = (rng.integers(-4, 5, shape).astype(np.float32) for shape in ((2, 3, 29, 20), (3, 1, 3, 3)))
    monkeypatch.setattr(depthwise_planes, "tiles_for", lambda *arguments: [(rows, 1)])
    options = {"padding": 1, "groups": 3, "activation": "silu"}
    plan = fc.conv2d.plan(x.shape, w, implementation="depthwise", **options)
    assert f"_{rows}x1_" in plan.kernel
    expected = fc.conv2d(x, w, implementation="im2col", **options)
    for n in (1, 3):
        fc.set_num_threads(n)
        np.testing.assert_allclose(plan(x), expected, rtol=1e-6)


def test_rows_that_two_threads_write_are_gated_once(threads):
    """The last stack of rows overlaps the one before, and each thread has one: silu must not meet what it has already met."""
    rng, rows = np.random.default_rng(22), tables.TILES[host().isa].depthwise_large[1][0]
    x, w = (rng.standard_normal(shape, np.float32) for shape in ((1, 1, 2 * rows - 1, 4000), (1, 1, 5, 5)))
    fc.set_num_threads(1)
    expected = fc.silu(fc.conv2d(x, w, padding=2, implementation="depthwise"))
    fc.set_num_threads(2)
    plan = fc.conv2d.plan(x.shape, w, padding=2, implementation="depthwise", activation="silu")
    for _ in range(50):
        np.testing.assert_allclose(plan(x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("channels", "groups"), [(4, 2), (8, 4), (8, 2)])
def test_groups_of_several_channels_that_lie_together_go_elsewhere(channels, groups):
    shape, w = (1, 9, 20, channels), np.zeros((channels, 3, 3, channels // groups), np.float32)
    plan = fc.conv2d.plan(shape, w, padding=1, groups=groups, layout="NHWC")
    assert not depthwise_planes.suits(plan.geometry, plan.problem.dtype, host())


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_small_filters_of_a_grey_image_take_it(layout):
    shape = (1, 1, 500, 500) if layout == "NCHW" else (1, 500, 500, 1)
    w = np.arange(9, dtype=np.float32).reshape((1, 1, 3, 3) if layout == "NCHW" else (1, 3, 3, 1)) ** 2
    plan = fc.conv2d.plan(shape, w, padding=1, layout=layout)
    assert "planes" in plan.kernel


def test_nothing_is_multiplied_that_lies_outside(threads):
    """A NaN reaches the windows that hold it, and no neighbour of theirs in the tile."""
    x = np.ones((1, 2, 30, 40), np.float32)
    x[0, 1, 7, 20] = np.nan
    w = np.ones((2, 1, 3, 3), np.float32)
    found = np.isnan(fc.conv2d(x, w, padding=1, groups=2, implementation="depthwise"))
    expected = np.zeros_like(found)
    expected[0, 1, 6:9, 19:22] = True
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "options",
    [{"dilation": 2, "padding_mode": "reflect"}, {"dilation": 20, "padding": 20}, {"stride": (1, 2)}, {"kernel": (11, 3)}],
)
def test_other_kernels_are_copied(options):
    x_shape, w = (1, 40, 12, 30), np.zeros((40, 1, *options.pop("kernel", (3, 3))), np.float32)
    plan = fc.conv2d.plan(x_shape, w, groups=40, implementation="depthwise", **({"padding": 1} | options))
    assert "planes" not in plan.kernel
