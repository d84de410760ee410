"""Pools of small windows that are reduced in registers: every kind, window and stack of rows, at guard pages."""

import numpy as np
import pytest
from guards import SUPPORTED, guarded

import fastconv as fc
from fastconv.kernels import keeping
from fastconv.kernels.simd.engine import requests, tables
from fastconv.kernels.simd.pools import choice, windows
from fastconv.machine import host

pytestmark = [
    pytest.mark.skipif(not SUPPORTED, reason="guard pages are made by mprotect"),
    pytest.mark.skipif(host().vector_bytes < 32, reason="masks are slow there, and rows become lines"),
]
KINDS = [
    ("max_pool2d", {}),
    ("min_pool2d", {}),
    ("avg_pool2d", {}),
    ("avg_pool2d", {"count_include_pad": False}),
    ("avg_pool2d", {"divisor_override": 3}),
    ("lp_pool2d", {"norm_type": 1}),
    ("lp_pool2d", {"norm_type": 2}),
    ("lp_pool2d", {"norm_type": np.inf}),
    ("lp_pool2d", {"norm_type": 3}),
]


def slow(*values):
    """A parameter that only the slow tests have."""
    return pytest.param(*values, marks=pytest.mark.slow)


MOST_KINDS = [slow(*kind) if kind[1].get("norm_type") in (1, 3) else kind for kind in KINDS]


def cells(rng, shape, dtype):
    """Small whole numbers, some of them -0.0, NaN and infinite."""
    x = rng.integers(-4, 5, shape).astype(dtype)
    special = rng.choice([-0.0, np.nan, np.inf, -np.inf], shape)
    return np.where(rng.random(shape) < 0.02, special, x).astype(dtype)


def agrees(operation, x, **arguments):
    """The kernel gives what the loops give."""
    plan = getattr(fc, operation).plan(x.shape, implementation="direct", x_dtype=x.dtype, **arguments)
    assert windows.suits(plan.geometry, x.dtype, host())
    same_at_guards(plan, operation, x, **arguments)
    return plan


def same_at_guards(plan, operation, x, **arguments):
    """`direct` gives what the loops give, on arrays that end, and that begin, at a guard page."""
    expected = getattr(fc, operation)(x, implementation="loops", **arguments)
    near = 30 * np.finfo(x.dtype).eps
    for at in ("end", "beginning"):
        out = guarded(np.full(expected.shape, 77, x.dtype), at)
        choice.run({"x": guarded(x, at)}, None, plan.problem, out)
        np.testing.assert_allclose(out, expected, rtol=near, atol=near)


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("window", "stride"),
    [
        ((3, 3), 1),
        pytest.param((5, 5), 1, marks=pytest.mark.slow),
        ((2, 2), 2),
        pytest.param((3, 3), 2, marks=pytest.mark.slow),
        ((3, 3), 3),
        pytest.param((5, 5), 4, marks=pytest.mark.slow),
    ],
    ids=str,
)
@pytest.mark.parametrize(("operation", "options"), MOST_KINDS)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_padding_and_ends_of_rows_are_met_by_masks(operation, options, window, stride, dtype, monkeypatch):
    if dtype == "float64" and ((operation, options) not in (KINDS[0], KINDS[2]) or window != (3, 3)):
        pytest.skip("one kind with an order, and one sum, tell of the dtype")
    monkeypatch.setattr(windows, "ROWS", (3, 1))
    rng = np.random.default_rng(23)
    padded = {} if operation == "lp_pool2d" else {"padding": tuple(taps // 2 for taps in window)}
    for size in ((7, 7), (17, 33), (12, 70)):
        for ceil_mode in (False, True):
            x = cells(rng, (2, 3, *size), dtype)
            agrees(operation, x, kernel_size=window, stride=stride, ceil_mode=ceil_mode, **padded, **options)


@pytest.mark.parametrize("window", [3, *(pytest.param(other, marks=pytest.mark.slow) for other in (2, 5))])
@pytest.mark.parametrize(("operation", "options"), MOST_KINDS)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_large_tiles_go_where_no_window_meets_padding(operation, options, window, monkeypatch):
    """Rows of one tile and a cell less, or more, of several; fewer output rows than a tile has."""
    monkeypatch.setattr(windows, "CONFLICT", 1)
    rng, lanes = np.random.default_rng(31), host().lanes(np.dtype("f4"))
    rows, columns = tables.TILES[host().isa].pool_large[window > 3]
    for outputs, more in ((rows, -1), (rows + 1, 0), (2 * rows, 1), (rows - 1, 1), (3 * rows + 1, columns * lanes + 3)):
        size = outputs + window - 1, columns * lanes + window - 1 + more
        for padding in (0, window // 2) if operation != "lp_pool2d" else (0,):
            padded = {"padding": padding} if padding else {}
            x = cells(rng, (1, 2, *size), np.float32)
            plan = agrees(operation, x, kernel_size=window, stride=1, **padded, **options)
            name = choice.kernel(plan.problem, host())
            assert f"_{rows}x{columns}_" in name or plan.geometry.out_size[0] < rows


def test_rows_of_4096_bytes_take_large_tiles():
    plan = fc.max_pool2d.plan((1, 1, 64, 1024), 3, stride=1, padding=1, implementation="direct")
    rows, columns = tables.TILES[host().isa].pool_large[0]
    assert f"_{rows}x{columns}_" in choice.kernel(plan.problem, host())


@pytest.mark.parametrize("rows", windows.ROWS)
def test_stacks_of_rows_join_without_a_seam(rows, threads, monkeypatch):
    rng = np.random.default_rng(29)
    x = rng.integers(-40, 50, (2, 3, 30, 40)).astype(np.float32)
    monkeypatch.setattr(windows, "tile_for", lambda *arguments: (rows, 1))
    for far in (0, 10**9):
        monkeypatch.setattr(requests, "PLANE", far)
        keeping.forget()
        plan = fc.max_pool2d.plan(x.shape, 3, stride=2, padding=1, implementation="direct")
        expected = fc.max_pool2d(x, 3, stride=2, padding=1, implementation="loops")
        for n in (1, 3):
            fc.set_num_threads(n)
            np.testing.assert_array_equal(plan(x), expected)


@pytest.mark.parametrize("operation", ["max_pool3d", "avg_pool3d", *(slow(name) for name in ("min_pool3d", "lp_pool3d"))])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_depths_are_joined_plane_by_plane(operation, stride):
    """Windows of more depths than rows, and of fewer, with padding on all axes; of no more outputs than a tile has rows."""
    rng = np.random.default_rng(37)
    for kernel, dilation in (((3, 3, 3), 1), ((1, 3, 3), 1), ((4, 3, 3), (2, 1, 1))):
        options = {"kernel_size": kernel, "stride": (2, stride, stride)}
        if operation == "lp_pool3d":
            options["norm_type"] = 2
        else:
            options["padding"] = tuple(taps // 2 for taps in kernel)
        if operation in ("max_pool3d", "min_pool3d"):
            options["dilation"] = dilation
        for size in ((9, 5, 4), (7, 12, 37)):
            agrees(operation, cells(rng, (2, 3, *size), np.float32), **options)


@pytest.mark.parametrize(("operation", "options"), [KINDS[0], KINDS[3], slow(*KINDS[1]), slow(*KINDS[4])])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_dilated_windows_share_the_rows_that_they_can(operation, options):
    rng = np.random.default_rng(41)
    for dilation, padding in ((2, 1), (3, 0), ((2, 5), (1, 0)), ((1, 2), 0)):
        for size in ((13, 18), (24, 75)):
            x = cells(rng, (2, 3, *size), np.float32)
            agrees(operation, x, kernel_size=3, stride=1, dilation=dilation, padding=padding, **options)


@pytest.mark.parametrize(
    ("operation", "options"), [(f"{name[:-2]}1d", options) for name, options in (KINDS[0], KINDS[3], KINDS[6])]
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_one_row_takes_tiles_of_several_vectors(operation, options):
    rng, lanes = np.random.default_rng(43), host().lanes(np.dtype("f4"))
    for stride, window in ((1, 3), (2, 2), (2, 3)):
        for size in (window, 4 * lanes * stride + window - 1, 4 * lanes * stride + window, 9 * lanes + 5):
            for padding in (0, 1) if operation != "lp_pool1d" else (0,):
                padded = {"padding": padding} if padding else {}
                agrees(operation, cells(rng, (2, 3, size), np.float32), kernel_size=window, stride=stride, **padded, **options)


@pytest.mark.parametrize(("operation", "options"), [KINDS[0], KINDS[2], KINDS[6]])
@pytest.mark.parametrize("window", [2, 3])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_large_tiles_of_stride_2_end_where_the_plane_does(window, operation, options):
    """Rows that hold exactly what the last such tile reads, a cell less, or more."""
    rng, lanes, rest = np.random.default_rng(45), host().lanes(np.dtype("f4")), 4 if window > 2 else 0
    for wide in (-1, 0, 1, 2):
        x = cells(rng, (1, 2, 9, 8 * lanes + rest + wide), np.float32)
        plan = agrees(operation, x, kernel_size=window, stride=2, **options)
        assert "x2_" in choice.kernel(plan.problem, host())


@pytest.mark.parametrize("stride", [3, *(slow(stride) for stride in (4, 5, 6, 7))])
@pytest.mark.parametrize("operation", ["max_pool2d", slow("avg_pool2d"), slow("max_pool1d"), slow("avg_pool3d")])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_windows_far_apart(operation, stride):
    """Smaller windows and larger ones, on rows of less than a vector, and of whole ones, and on doubles."""
    rng, rank = np.random.default_rng(59), int(operation[-2])
    for window in {stride - 1, stride, windows.LARGEST}:
        for columns, dtype in ((window + 1, "f4"), (16 * stride + window - 1, "f4"), (37 * stride + 2, "f4"), (70, "f8")):
            rows = 3 * stride + window
            x = cells(rng, (2, 2, *(window + 1, rows, columns)[-rank:]), dtype)
            agrees(operation, x, kernel_size=window, stride=stride, padding=window // 2)


@pytest.mark.parametrize("window", [7, slow(6)])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_windows_of_more_taps(window):
    rng = np.random.default_rng(47)
    for shape in ((2, 2, 19, 40), (1, 3, window, window)):
        agrees("max_pool2d", cells(rng, shape, np.float32), kernel_size=window, stride=1, padding=3)


@pytest.mark.parametrize("operation", ["max_pool1d", "max_pool2d", slow("min_pool2d")])
@pytest.mark.parametrize(("window", "stride"), [(3, 2), pytest.param(2, 2, marks=pytest.mark.slow), (3, 1)])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_indices_of_small_windows(operation, window, stride):
    """The kernel gives what the loops give, at both guards, with every number of rows of a tile."""
    rng, rank = np.random.default_rng(53), int(operation[-2])
    for size in ((4, 5), (9, 33), (16, 70), (6, 16)):
        for padding in (0, 1):
            x = cells(rng, (2, 2, *size[-rank:]), np.float32)
            x[0, 0] = -np.inf if operation[:3] == "max" else np.inf
            options = {"kernel_size": window, "stride": stride, "padding": padding, "return_indices": True}
            plan = getattr(fc, operation).plan(x.shape, implementation="direct", **options)
            assert "windows" in choice.kernel(plan.problem, host())
            expected, at = getattr(fc, operation)(x, implementation="loops", **options)
            for side in ("end", "beginning"):
                values, indices = guarded(np.full(expected.shape, 77, x.dtype), side), guarded(np.full(at.shape, 77), side)
                choice.run({"x": guarded(x, side)}, None, plan.problem, (values, indices))
                np.testing.assert_array_equal(values, expected)
                np.testing.assert_array_equal(indices, at)


def test_of_equals_the_first_stays():
    """-0.0 and 0.0 are equal: the one that comes first is the result."""
    zeros = np.array([[-0.0, 0.0, 0.0, -0.0], [0.0, -0.0, 0.0, 0.0], [-0.0, -0.0, 0.0, 0.0]], np.float32)
    for operation in (fc.max_pool2d, fc.min_pool2d):
        found = operation(zeros[None], 2, stride=1, implementation="direct")
        assert (np.signbit(found[0]) == np.signbit(zeros[:2, :3])).all()


@pytest.mark.parametrize(
    ("operation", "window", "options"),
    [
        ("max_pool2d", 8, {}),
        ("max_pool2d", (2, 3), {"stride": 1}),
        ("max_pool2d", 3, {"dilation": 2, "stride": 2}),
        ("max_pool2d", 2, {"dilation": 7, "stride": 1}),
        ("max_pool2d", 3, {"stride": 8}),
        ("max_pool2d", 2, {"return_indices": True}),
        ("max_pool2d", 2, {"layout": "NHWC"}),
    ],
)
def test_other_windows_go_elsewhere(operation, window, options):
    shape = (1, 9, 20, 8) if "layout" in options else (1, 8, 9, 20)
    plan = getattr(fc, operation).plan(shape, window, **options)
    assert not windows.suits(plan.geometry, np.dtype(np.float32), host())
