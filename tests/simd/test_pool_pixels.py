"""Pools of small windows, channels last: every kind and window at guard pages, by pools on loops."""

import numpy as np
import pytest
from guards import SUPPORTED
from test_pool_windows import KINDS, cells, same_at_guards, slow

import fastconv as fc
from fastconv.kernels.simd.pools import choice, pixels
from fastconv.machine import host

pytestmark = [
    pytest.mark.skipif(not SUPPORTED, reason="guard pages are made by mprotect"),
    pytest.mark.skipif(host().vector_bytes < 32, reason="it serves wider vectors"),
]
F4 = np.dtype("f4")


def agrees(operation, x, **arguments):
    """The kernel gives what the loops give."""
    arguments = {"stride": 1, "layout": "NHWC", **arguments}
    plan = getattr(fc, operation).plan(x.shape, implementation="direct", x_dtype=x.dtype, **arguments)
    assert pixels.suits(plan.geometry, x.dtype, host())
    assert "pixels" in choice.kernel(plan.problem, host())
    same_at_guards(plan, operation, x, **arguments)


@pytest.mark.parametrize("window", [2, 3, slow(4), slow(5)])
@pytest.mark.parametrize(("operation", "options"), KINDS)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_edges_and_inside(operation, options, window):
    """Whole vectors of channels and a part of one more; planes of fewer columns than a tile, of some, of many."""
    rng, lanes = np.random.default_rng(51), host().lanes(F4)
    pads = [((0, 0), (0, 0))] if operation == "lp_pool2d" else [((0, 0), (0, 0)), ((1, 0), (0, 1)), ((1, 1), (1, 1))]
    for channels in (lanes, 2 * lanes + 3):
        for size in ((window, window), (4, 3) if window < 4 else (9, 8), (5, 6), (7, 13)):
            for padding in pads:
                x = cells(rng, (2, *size, channels), np.float32)
                padded = {} if operation == "lp_pool2d" else {"padding": padding}
                agrees(operation, x, kernel_size=window, **padded, **options)


@pytest.mark.parametrize("operation", ["max_pool2d", "avg_pool2d"])
@pytest.mark.parametrize(("window", "stride"), [(3, 2), (2, 2), slow(3, 3), slow(2, 5)])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_windows_several_pixels_apart(operation, window, stride):
    """Those that share columns, that follow each other, and that leave pixels between them."""
    rng, channels = np.random.default_rng(54), host().lanes(F4) + 3
    for size in ((3, 3), (5, 6), (8, 21), (9, 33)):
        for padding in (((0, 0), (0, 0)), ((1, 0), (0, 1)), ((1, 1), (1, 1))):
            for ceil_mode in (False, True):
                x = cells(rng, (2, *size, channels), np.float32)
                agrees(operation, x, kernel_size=window, stride=stride, padding=padding, ceil_mode=ceil_mode)


@pytest.mark.parametrize("operation", ["max_pool1d", "avg_pool1d"])
@pytest.mark.parametrize(("window", "stride"), [(3, 1), (5, 2), slow(2, 2)])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_windows_of_signals(operation, window, stride):
    rng, channels = np.random.default_rng(57), host().lanes(F4) + 3
    for cells_of_line in (window, 7, 40):
        for options in ({}, {"padding": 1}, {"padding": 1, "ceil_mode": True}):
            x = cells(rng, (2, cells_of_line, channels), np.float32)
            agrees(operation, x, kernel_size=window, stride=stride, layout="NLC", **options)


@pytest.mark.parametrize(("operation", "options"), [KINDS[0], KINDS[3]])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_dilated_windows_share_the_columns_that_they_can(operation, options):
    rng, channels = np.random.default_rng(55), host().lanes(F4) + 3
    for dilation, padding in ((2, 1), (3, 0), ((2, 5), (1, 0)), ((5, 1), 1)):
        for size in ((11, 13), (14, 30)):
            x = cells(rng, (2, *size, channels), np.float32)
            agrees(operation, x, kernel_size=3, dilation=dilation, padding=padding, **options)


@pytest.mark.parametrize("operation", ["max_pool3d", "avg_pool3d", slow("lp_pool3d")])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_depths_are_joined_plane_by_plane(operation):
    rng, channels = np.random.default_rng(56), host().lanes(F4) + 3
    options = {"norm_type": 2} if operation == "lp_pool3d" else {"padding": 1}
    for depths, stride in ((3, 2), (2, 1)):
        x = cells(rng, (2, 5, 7, 11, channels), np.float32)
        agrees(operation, x, kernel_size=(depths, 3, 3), stride=stride, layout="NDHWC", **options)


def test_doubles_and_pixels_far_apart():
    rng = np.random.default_rng(52)
    agrees("max_pool2d", cells(rng, (1, 6, 9, 11), np.float64), kernel_size=3, padding=1)
    agrees("avg_pool2d", cells(rng, (1, 6, 9, 512), np.float32), kernel_size=3, padding=1, count_include_pad=False)
    agrees("max_pool2d", cells(rng, (1, 9, 12, 19), np.float32), kernel_size=5, padding=2)


def test_threads_share_rows(threads):
    x = np.random.default_rng(53).standard_normal((3, 40, 41, 48), np.float32)
    plan = fc.avg_pool2d.plan(x.shape, 3, stride=1, padding=1, layout="NHWC", implementation="direct")
    fc.set_num_threads(1)
    expected = plan(x)
    fc.set_num_threads(3)
    np.testing.assert_array_equal(plan(x), expected)


@pytest.mark.parametrize(
    ("channels", "window", "options"),
    [
        (1024, 3, {}),
        (3, 3, {}),
        (32, 6, {}),
        (32, (2, 3), {}),
        (32, 2, {"stride": 6}),
        (32, 3, {"dilation": 2, "stride": 2}),
        (256, 3, {"dilation": 4}),
    ],
)
def test_other_pools_go_elsewhere(channels, window, options):
    plan = fc.max_pool2d.plan((1, 9, 12, channels), window, layout="NHWC", **{"stride": 1, **options})
    assert not pixels.suits(plan.geometry, F4, host())
