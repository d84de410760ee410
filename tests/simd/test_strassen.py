"""Strassen's algorithm by every register tile, on arrays that end at a guard page; its rounding, and when it is chosen."""

import numpy as np
import pytest
from guards import SUPPORTED, guarded, guarded_everywhere

import fastconv as fc
from fastconv.kernels.simd.engine import tables
from fastconv.kernels.simd.engine.sizes import Plane
from fastconv.kernels.simd.engine.walks import flattened, walks_of
from fastconv.kernels.simd.engine.weights import launched
from fastconv.kernels.simd.strassen import choice as strassen
from fastconv.kernels.simd.strassen import cuts, points, windows
from fastconv.machine import host
from fastconv.problem.convolutions import LAYOUTS

# By float64, the registry's cases try the tiles that are chosen.
DTYPES = ["float32", pytest.param("float64", marks=pytest.mark.slow)]
WINDOWS = {
    "one tap": ("conv2d", (2, 8, 3, 7), (9, 8, 1, 1), {}),
    "one tap, odd channels": ("conv2d", (1, 37, 3, 5), (70, 37, 1, 1), {}),
    "one tap, stride": ("conv2d", (1, 20, 5, 7), (40, 20, 1, 1), {"stride": 2}),
    "3x3, stride": ("conv2d", (2, 7, 9, 12), (33, 7, 3, 3), {"stride": 2, "padding": 1}),
    "dilation in groups": ("conv2d", (1, 10, 7, 9), (12, 5, 3, 2), {"dilation": 2, "padding": (2, 1), "groups": 2}),
    "reflect": ("conv2d", (1, 5, 6, 5), (6, 5, 3, 3), {"padding": 2, "padding_mode": "reflect"}),
    "signal": ("conv1d", (1, 18, 41), (5, 18, 3), {"padding": 1}),
    "volume": ("conv3d", (1, 6, 3, 4, 5), (7, 6, 2, 3, 3), {"padding": 1, "stride": (1, 2, 1)}),
    "transposed rows": ("conv_transpose2d", (1, 10, 5, 9), (10, 6, 3, 2), {"stride": (2, 1), "groups": 2, "padding": 1}),
}
LAST = {
    "doubled": ("conv_transpose2d", (2, 8, 5, 7), (8, 9, 2, 2), {"stride": 2}),
    "without taps": ("conv_transpose2d", (1, 5, 4, 7), (5, 6, 1, 2), {"stride": (2, 3), "output_padding": (1, 0)}),
    "overlapping": ("conv_transpose1d", (1, 6, 23), (6, 40, 5), {"stride": 2, "padding": 2, "output_padding": 1}),
}
POINTS = {
    "planes": ("conv2d", (2, 8, 5, 41), (9, 8, 1, 1), {}),
    "odd channels": ("conv2d", (1, 37, 7, 7), (70, 37, 1, 1), {}),
    "groups": ("conv1d", (2, 10, 131), (26, 5, 1), {"groups": 2}),
    "volume": ("conv3d", (1, 6, 3, 4, 17), (40, 6, 1, 1, 1), {}),
}
DOUBLED = {
    "doubled": ("conv_transpose2d", (2, 7, 3, 37), (7, 13, 2, 2), {"stride": 2}),
    "in groups": ("conv_transpose1d", (2, 10, 131), (10, 5, 2), {"stride": 2, "groups": 2}),
    "volume": ("conv_transpose3d", (1, 6, 2, 3, 35), (6, 9, 2, 1, 2), {"stride": (2, 1, 2)}),
}


def arrays(case, dtype, last=False):
    """(operation, x, w, bias, options) of whole numbers, so that sums have no rounding to differ in."""
    operation, x_shape, w_shape, options = case
    rng = np.random.default_rng(3)
    channels = w_shape[1] * options.get("groups", 1) if "transpose" in operation else w_shape[0]
    x, w, bias = (rng.integers(-4, 5, shape).astype(dtype) for shape in (x_shape, w_shape, channels))
    if last:
        x, w = (np.ascontiguousarray(np.moveaxis(array, 1, -1)) for array in (x, w))
    return operation, x, w, bias, {**options, "layout": LAYOUTS[len(x_shape) - 2][last]}


def windows_drafts(tile, geometry, dtype):
    """The drafts of blocks of two rows and five columns, and items of one block of output channels."""
    rows, columns = tile
    g = flattened(geometry)
    blocks = -(-cuts.half_of(g.out_per_group, host().lanes(dtype)) // columns)
    cut = cuts.Cut(rows, columns, Plane(2, 5), blocks, 1)
    return windows.drafts(geometry, tuple(cut for _ in walks_of(g)), dtype, host())


def points_drafts(tile, geometry, dtype):
    """The drafts of parts of two tiles, and items of one block of output channels."""
    along, rows, columns = tile
    of_block = columns * host().lanes(dtype) if along == "channels" else rows
    outputs = geometry.out_per_group * (2 if along == "doubled" else 1)
    return points.drafts(geometry, points.Cut(along, rows, columns, 2, points.half_of(outputs, of_block), 1), dtype, host())


def check(drafts, tile, case, dtype, last):
    """The sums of products, on guarded arrays and any number of threads, with and without an activation and a residual."""
    operation, x, w, bias, options = arrays(case, dtype, last)
    for activation, residual in ((None, False), ("relu", True), ("silu", False), ("silu", True)):
        plan = getattr(fc, operation).plan(
            x.shape, w, bias, activation=activation, residual=residual, implementation="loops", **options
        )
        operands = {"x": x}
        if residual:
            operands["residual"] = np.random.default_rng(4).integers(-4, 5, plan.out_shape).astype(dtype)
        expected = plan(**operands)
        packed = tuple(launched(draft, w, bias) for draft in drafts(tile, plan.geometry, x.dtype))
        assert sum(launch.items for launch in packed) > 1
        for at in ("end", "beginning"):
            out = guarded(np.full(expected.shape, np.nan, dtype), at)
            fenced = {name: guarded(array, at) for name, array in operands.items()}
            strassen.run(fenced, guarded_everywhere(packed, at), plan.problem, out)
            if activation == "silu":
                np.testing.assert_allclose(out, expected, rtol=8 * np.finfo(dtype).eps)
            else:
                np.testing.assert_array_equal(out, expected)
        for n in (1, 3):
            fc.set_num_threads(n)
            again = np.full_like(out, np.nan)
            strassen.run(operands, tuple(launch._replace(work=10**9) for launch in packed), plan.problem, again)
            np.testing.assert_array_equal(again, out)


@pytest.mark.skipif(not SUPPORTED, reason="guard pages are made by mprotect")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
@pytest.mark.parametrize("tile", tables.TILES[host().isa].strassen, ids=str)
def test_windows_give_the_sums_by_every_tile(tile, last, dtype, threads):
    for case in (*WINDOWS.values(), *(LAST.values() if last else ())):
        check(windows_drafts, tile, case, dtype, last)


@pytest.mark.skipif(not SUPPORTED, reason="guard pages are made by mprotect")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "tile",
    [("channels", *tile) for tile in tables.TILES[host().isa].strassen_channels]
    + [("positions", *tile) for tile in tables.TILES[host().isa].strassen_positions]
    + [("doubled", *tile) for tile in tables.TILES[host().isa].strassen_doubled],
    ids=str,
)
def test_points_give_the_sums_by_every_tile(tile, dtype, threads):
    for case in (DOUBLED if tile[0] == "doubled" else POINTS).values():
        check(points_drafts, tile, case, dtype, False)


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
def test_the_kernel_that_runs_is_the_one_that_is_named(last):
    for case in (WINDOWS["one tap"], WINDOWS["3x3, stride"]):
        operation, x, w, bias, options = arrays(case, "float32", last)
        problem = getattr(fc, operation).plan(x.shape, w, bias, implementation="loops", **options).problem
        name = strassen.kernel(problem, host())
        assert "strassen" in name
        assert {launch.kernel.__name__ for launch in strassen.pack(w, bias, problem)} == {name}


def test_a_constant_border_is_summed_as_it_is():
    x, w = np.ones((1, 5, 6, 7), np.float32), np.ones((6, 5, 3, 3), np.float32)
    options = {"padding": 2, "padding_mode": "constant", "padding_value": 3.0}
    plan = fc.conv2d.plan(x.shape, w, implementation="loops", **options)
    for last in (False, True):
        arrays_of = [np.ascontiguousarray(np.moveaxis(array, 1, -1)) if last else array for array in (x, w)]
        layout = LAYOUTS[2][last]
        problem = fc.conv2d.plan(arrays_of[0].shape, arrays_of[1], implementation="loops", layout=layout, **options).problem
        out = np.empty(problem.geometry.out_shape, np.float32)
        packed = strassen.pack(arrays_of[1], np.zeros(6, np.float32), problem)
        strassen.run({"x": arrays_of[0]}, packed, problem, out)
        np.testing.assert_array_equal(np.moveaxis(out, -1, 1) if last else out, plan(x))


def worst(found, expected):
    """The largest error over the root mean square, for each output channel of (n, k, ...)."""
    axes = (0, *range(2, expected.ndim))
    return np.abs(found - expected).max(axes) / np.sqrt(np.mean(expected**2, axes))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("positive", [False, True], ids=["normal", "after a ReLU"])
@pytest.mark.parametrize(
    ("x_shape", "w_shape", "options"),
    [((1, 2048, 7, 7), (64, 2048, 1, 1), {}), ((1, 512, 14, 14), (64, 512, 3, 3), {"stride": 2, "padding": 1})],
    ids=["2,048 products", "4,608 products"],
)
def test_the_error_stays_small_beside_the_results(x_shape, w_shape, options, positive, layout):
    rng = np.random.default_rng(8)
    x, w = rng.standard_normal(x_shape, np.float32), rng.standard_normal(w_shape, np.float32)
    x = np.maximum(x, 0) if positive else x
    expected = fc.conv2d(x.astype("f8"), w.astype("f8"), implementation="im2col", **options)
    if layout == "NHWC":
        x, w = (np.ascontiguousarray(np.moveaxis(array, 1, -1)) for array in (x, w))
    found = fc.conv2d(x, w, implementation="strassen", layout=layout, **options)
    assert worst(found if layout == "NCHW" else np.moveaxis(found, -1, 1), expected).max() < 1e-4


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("k", [3, 40], ids=["of the first half", "of the second half"])
def test_a_small_filter_does_not_drown_in_a_large_one(k, layout):
    """Its error is small beside its own results, those of the filter that it is summed with being a million times as large.

    And a filter of zeros gives zeros.
    """
    rng = np.random.default_rng(9)
    x, w = rng.standard_normal((1, 64, 10, 10), np.float32), rng.standard_normal((64, 64, 1, 1), np.float32)
    w[k] *= np.float32(1e-6)
    w[k + 1] = 0
    expected = np.einsum("kc,ncij->nkij", w[:, :, 0, 0].astype("f8"), x.astype("f8"))
    if layout == "NHWC":
        x, w = (np.ascontiguousarray(np.moveaxis(array, 1, -1)) for array in (x, w))
    found = fc.conv2d(x, w, implementation="strassen", layout=layout)
    found = found if layout == "NCHW" else np.moveaxis(found, -1, 1)
    assert not found[:, k + 1].any()
    expected[:, k + 1] = found[:, k + 1] + 1  # nothing to compare with: zero
    found[:, k + 1] += 1
    assert worst(found, expected).max() < 1e-5


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("layout", "kernel", "reach"),
    [("NHWC", 1, 1), ("NCHW", 1, strassen.SPREAD), ("NHWC", 3, 1), ("NCHW", 3, 1)],
    ids=["channels last", "planes", "3x3, channels last", "3x3, channels first"],
)
def test_a_nan_spreads_to_the_other_output_of_a_pair(layout, kernel, reach, value):
    """Beyond the outputs whose windows hold it, `reach` positions in the order of memory at most."""
    options = {"padding": kernel // 2, "layout": layout}
    for position in (0, 37, 150, 195):
        x, w = np.ones((1, 32, 14, 14), np.float32), np.ones((48, 32, kernel, kernel), np.float32)
        x[0, 5].reshape(-1)[position] = value
        if layout == "NHWC":
            x, w = (np.ascontiguousarray(np.moveaxis(array, 1, -1)) for array in (x, w))
        clean = fc.conv2d(np.ones_like(x), w, implementation="direct", **options)
        exact, found = (fc.conv2d(x, w, implementation=name, **options) for name in ("direct", "strassen"))
        by_position = [((array != clean).any(axis=1 if layout == "NCHW" else -1)).reshape(-1) for array in (exact, found)]
        holding, wrong = map(np.flatnonzero, by_position)
        assert np.isin(holding, wrong).all()
        assert len(wrong) <= 2 * len(holding)
        assert (np.abs(wrong[:, None] - holding).min(axis=1) <= reach).all()


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    ("x_shape", "w_shape", "options", "taken"),
    [
        ((1, 256, 28, 28), (256, 256, 1, 1), {}, True),
        ((1, 128, 28, 28), (512, 128, 1, 1), {}, True),
        ((1, 512, 14, 14), (512, 512, 3, 3), {"stride": 2, "padding": 1}, False),  # its weights lie beyond the L2 cache
        ((1, 256, 28, 28), (256, 256, 3, 3), {"padding": 1}, False),
        ((1, 16, 14, 14), (16, 16, 1, 1), {}, False),
        ((1, 2048, 1, 1), (1000, 2048, 1, 1), {}, False),
    ],
)
def test_auto_takes_it_where_an_eighth_of_the_products_is_worth_the_sums(x_shape, w_shape, options, taken, layout):
    if layout == "NHWC":
        x_shape, w_shape = ((first, *rest, second) for first, second, *rest in (x_shape, w_shape))
    taken = taken and host().registers >= 32  # of few, direct was measured to be as fast or faster
    plan = fc.conv2d.plan(x_shape, np.zeros(w_shape, np.float32), layout=layout, **options)
    assert (plan.implementation.name == "strassen") == taken


def test_what_it_does_not_serve_is_refused_by_name():
    def refused(x_shape, w_shape, **options):
        planned = fc.conv_transpose2d.plan if options.pop("transposed", False) else fc.conv2d.plan
        with pytest.raises(ValueError, match="'strassen' cannot serve this call") as found:
            planned(x_shape, np.zeros(w_shape, options.pop("dtype", np.float32)), implementation="strassen", **options)
        return str(found.value)

    assert "at least 4 channels" in refused((1, 3, 9, 9), (8, 3, 1, 1))
    assert "at least 4 channels" in refused((1, 8, 9, 9), (8, 2, 1, 1), groups=4)
    assert "float32 or float64" in refused((1, 8, 9, 9), (8, 8, 1, 1), dtype=np.int32)
    assert "without overlap" in refused((1, 8, 9, 9), (8, 8, 3, 3), transposed=True, stride=2)
    assert "40,000 products" in refused((1, 4000, 9, 9), (8, 4000, 2, 5))
    assert "MiB" in refused((1, 3000, 60, 60), (4, 3000, 45, 45), dtype=np.float64)
