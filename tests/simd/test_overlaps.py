"""Convolution as a product and an overlap-add: every layout, stride and padding, at guard pages; turned matrices."""

import numpy as np
import pytest
from guards import SUPPORTED, guarded, guarded_everywhere

import fastconv as fc
from fastconv.kernels.jit import make_calls
from fastconv.kernels.simd.arrays import turning
from fastconv.machine import host
from fastconv.plans.families import overlaps
from fastconv.problem.overlaps import column_values, images_together

CASES = {
    "plain": ("conv2d", (2, 5, 9, 20), (3, 5, 3, 3), {"padding": ((0, 2), (1, 0))}),
    "one output": ("conv2d", (1, 20, 17, 18), (1, 20, 5, 4), {"padding": 2}),
    "dilated, groups": ("conv2d", (1, 6, 12, 40), (4, 3, 3, 2), {"dilation": (2, 3), "groups": 2, "padding": 1}),
    "signals": ("conv1d", (2, 7, 50), (2, 7, 6), {}),
    "volumes": ("conv3d", (1, 3, 5, 6, 7), (2, 3, 2, 3, 2), {"padding": 1}),
    "transposed": ("conv_transpose2d", (2, 5, 6, 17), (5, 3, 4, 4), {"stride": 2, "padding": 1}),
    "transposed by 3": ("conv_transpose2d", (1, 6, 5, 7), (6, 2, 5, 2), {"stride": 3, "output_padding": 1, "groups": 2}),
    "transposed, dilated": (
        "conv_transpose2d",
        (1, 4, 8, 9),
        (4, 1, 3, 3),
        {"stride": (1, 2), "dilation": (3, 2), "padding": 2},
    ),
    "transposed volumes": ("conv_transpose3d", (1, 3, 3, 4, 5), (3, 2, 2, 2, 3), {"stride": (2, 1, 2)}),
    "one cell": ("conv_transpose1d", (3, 4, 1), (4, 2, 7), {"stride": 2, "padding": 3}),
}


def drawn(name, last, dtype):
    """(operation, x, w, bias, options) of a case: whole numbers, whose sums are exact."""
    function, x_shape, w_shape, options = CASES[name]
    rng, operation = np.random.default_rng(7), getattr(fc, function)
    x, w = (rng.integers(-4, 5, shape).astype(dtype) for shape in (x_shape, w_shape))
    outs = w_shape[1] * options.get("groups", 1) if "transpose" in function else w_shape[0]
    bias = rng.integers(-4, 5, outs).astype(dtype)
    if last:
        x, w = (np.ascontiguousarray(np.moveaxis(array, 1, -1)) for array in (x, w))
        options = {**options, "layout": {1: "NLC", 2: "NHWC", 3: "NDHWC"}[x.ndim - 2]}
    return operation, x, w, bias, options


@pytest.mark.skipif(not SUPPORTED, reason="guard pages are made by mprotect")
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
@pytest.mark.parametrize("name", CASES)
def test_sums_are_exact_and_nothing_beyond_is_touched(name, last, dtype):
    operation, x, w, bias, options = drawn(name, last, dtype)
    plan = operation.plan(x.shape, w, bias, implementation="col2im", **options)
    expected = operation(x, w, bias, implementation="loops", **options)
    for at in ("end", "beginning"):
        out = guarded(np.full(expected.shape, np.nan, x.dtype), at)
        overlaps.run({"x": guarded(x, at)}, guarded_everywhere(plan.packed, at), plan.served, out)
        np.testing.assert_array_equal(out, expected)


@pytest.mark.skipif(not SUPPORTED, reason="guard pages are made by mprotect")
@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("name", CASES)
def test_bands_of_rows_make_the_same_sums(name, rows, last, monkeypatch):
    """However few rows of its own a band has; all of x and of the output are within their bands."""
    operation, x, w, bias, options = drawn(name, last, "float32")
    expected = operation(x, w, bias, implementation="loops", **options)
    monkeypatch.setattr(overlaps, "cut_of", lambda problem: overlaps.Cut(1, rows))
    plan = operation.plan(x.shape, w, bias, implementation="col2im", **options)
    assert len(plan.packed.bands) == max(1, -(-plan.served.geometry.out_size[0] // (rows * plan.served.geometry.stride[0])))
    for at in ("end", "beginning"):
        out = guarded(np.full(expected.shape, np.nan, x.dtype), at)
        overlaps.run({"x": guarded(x, at)}, guarded_everywhere(plan.packed, at), plan.served, out)
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(
    ("shape", "weights", "options", "rows"),
    [
        ((1, 10, 352, 288), (10, 5, 3, 3), {"stride": 2}, 36),
        ((1, 56, 270, 480), (56, 1, 9, 9), {"stride": 4}, 11),
        ((4, 32, 60, 50), (32, 3, 4, 4), {"stride": 2}, 60),  # images go together
        ((1, 2, 24, 24), (2, 1, 64, 64), {}, 24),  # whose bands would share more rows than there are
        ((1, 2, 900, 1000), (2, 1, 300, 9), {"stride": (1, 3)}, None),  # a row of the output takes 300 of x
    ],
)
def test_columns_of_large_images_stay_in_a_cache(shape, weights, options, rows):
    """Or, where bands share many rows, in the workspace; else another implementation serves."""
    plan = fc.conv_transpose2d.plan(shape, np.ones(weights, np.float32), **options)
    cut = overlaps.cut_of(plan.problem)
    assert (None if cut is None else cut.rows) == rows
    if rows is None:
        assert "more than 16,777,216 bytes" in overlaps.supports(plan.problem)


@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
@pytest.mark.parametrize("name", ["plain", "transposed"])
@pytest.mark.parametrize(("most", "together"), [(0, 1), (1, 1), (4, 3), (6, 6)])
def test_images_go_together_while_their_columns_lie_near(name, last, most, together, monkeypatch):
    """In passes alike: three of six where four would fit; one by one where one fits or none."""
    operation, x, w, bias, options = drawn(name, last, "float32")
    expected = operation(x, w, bias, implementation="loops", **options)
    monkeypatch.setattr(overlaps, "TOGETHER", most * 4 * w.size * x.size // (x.shape[0] * 5 * 5))
    x = np.concatenate([x, x[::-1], x])
    plan = operation.plan(x.shape, w, bias, implementation="col2im", **options)
    assert overlaps.cut_of(plan.served).images == together
    np.testing.assert_array_equal(plan(x), np.concatenate([expected, expected[::-1], expected]))


@pytest.mark.parametrize(
    ("batch", "near", "room", "images"),
    [(6, 6, 6, 6), (6, 4, 6, 3), (7, 4, 7, 7), (7, 4, 6, 1), (1009, 512, 2000, 1009), (9, 1, 9, 1), (3, 0, 9, 1), (0, 4, 9, 0)],
)
def test_no_batch_goes_one_by_one_that_the_workspace_holds(batch, near, room, images):
    """A batch that nothing divides is one pass; columns of an image, or two, that are not near go alone."""
    plan = fc.conv2d.plan((batch, 1, 5, 5), np.ones((1, 1, 2, 2), np.float32), implementation="col2im")
    g = plan.served.geometry
    size = 4 * column_values(g)
    assert images_together(g, 4, near * size, room * size) == images


@pytest.mark.parametrize(
    ("function", "w_shape", "options", "reason"),
    [
        ("conv2d", (2, 3, 3, 3), {"stride": 2}, "stride of one"),
        ("conv2d", (2, 3, 3, 3), {"padding": 1, "padding_mode": "reflect"}, "borders of zeros"),
        ("conv2d", (2, 3, 3, 3), {"padding": 3}, "padding"),
        ("conv_transpose2d", (3, 2, 3, 3), {"stride": 1, "dilation": 2, "output_padding": 1}, "output_padding"),
    ],
)
def test_what_it_does_not_serve_is_said(function, w_shape, options, reason):
    with pytest.raises(ValueError, match=reason):
        getattr(fc, function).plan((1, 3, 9, 9), np.ones(w_shape, np.float32), implementation="col2im", **options)


@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
def test_few_outputs_of_many_channels_take_it(last):
    """The heads of networks, and their upsampling, whose sums do not fill registers; channels last one kernel does both."""
    for function, x_shape, w_shape, options in (
        ("conv2d", (1, 256, 28, 28), (1, 256, 3, 3), {"padding": 1}),
        ("conv_transpose2d", (1, 64, 32, 32), (64, 3, 4, 4), {"stride": 2, "padding": 1}),
    ):
        x, w = (np.ones(shape, np.float32) for shape in (x_shape, w_shape))
        if last:
            x, w, options = np.moveaxis(x, 1, -1), np.moveaxis(w, 1, -1), {**options, "layout": "NHWC"}
        plan = getattr(fc, function).plan(x.shape, np.ascontiguousarray(w), **options)
        by_one = last and function == "conv_transpose2d" and plan.implementation.name == "unpacked"  # level on some processors
        assert plan.implementation.name == ("unpacked" if by_one else "col2im")
        assert ("scattered" if by_one else "fold") in plan.kernel


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 16, 16), (2, 300, 7), (1, 5, 600), (2, 513, 33)], ids=str)
def test_matrices_are_turned(shape, dtype):
    lanes = host().lanes(np.dtype(dtype))
    x = np.random.default_rng(1).standard_normal(shape).astype(dtype)
    made, y = np.full(x.size + turning.room(shape[2], lanes), np.nan, dtype), np.empty(x.size, dtype)
    made[: x.size] = x.ravel()
    make_calls([turning.call(made, y, *shape, host())])
    np.testing.assert_array_equal(y.reshape(shape[0], shape[2], shape[1]), x.transpose(0, 2, 1))


@pytest.mark.parametrize("outs", [1, 3])
def test_passes_share_their_workspace(outs):
    """Whatever the number of images, the kernels of all passes write the same arrays, but for the result."""
    x, w = np.ones((64, 32, 32, 24), np.float32), np.ones((outs, 7, 7, 24), np.float32)
    plan = fc.conv2d.plan(x.shape, w, padding=3, layout="NHWC", implementation="col2im")
    y = np.empty(plan.out_shape, np.float32)
    made = overlaps.calls({"x": x}, plan.packed, plan.seen, y)
    assert plan.packed.images < len(x)
    arrays = (one for call in made for one in call.arguments if isinstance(one, np.ndarray))
    large = {one.__array_interface__["data"][0]: one.nbytes for one in arrays if not np.may_share_memory(one, x)}
    kept = sum(size for at, size in large.items() if not y.ctypes.data <= at < y.ctypes.data + y.nbytes)
    assert kept < 3 * overlaps.WORKSPACE
    np.testing.assert_array_equal(plan(x), fc.conv2d(x, w, padding=3, layout="NHWC", implementation="im2col"))
