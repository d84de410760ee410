"""Transposed convolutions by their phases: the same sums, woven."""

from itertools import product
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv.kernels import im2col
from fastconv.kernels.simd.arrays import weaving
from fastconv.plans.forms import forms
from fastconv.problem.convolutions import LAYOUTS


def phased(plan: Any) -> Any:
    """The form of a plan's problem that asks for phases, or None."""
    return next((form for form in forms(plan.problem) if form.phases is not None), None)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_phases_are_woven(rank: int, last: bool, groups: int) -> None:
    """To the bit, of whole numbers: every padding of either side, more outputs, strides that differ by the axis."""
    rng, shown = np.random.default_rng(0), 0
    operation, size, channels, outputs = getattr(fc, f"conv_transpose{rank}d"), (4, 5, 3)[:rank], 4, {1: 3, 2: 6, 4: 4}[groups]
    for (taps, stride), before, after, extra in product(((2, 2), (4, 2), (6, 3), (3, 3), (8, 2)), (0, 1, 3), (0, 2), (0, 1)):
        kernel, strides = (taps,) * rank, (stride,) * rank
        if rank > 1:
            kernel, strides = (1, *kernel[1:]), (1, *strides[1:])
        x_shape, w_shape = (2, channels, *size), (channels, outputs // groups, *kernel)
        options = {
            "stride": strides,
            "padding": ((0, 0),) * (rank > 1) + ((before, after),) * (rank - (rank > 1)),
            "groups": groups,
        }
        options["output_padding"] = (0,) * (rank > 1) + (extra,) * (rank - (rank > 1))
        if last:
            x_shape, w_shape = ((shape[0], *shape[2:], shape[1]) for shape in (x_shape, w_shape))
            options["layout"] = LAYOUTS[rank][1]
        x, w = (rng.integers(-4, 5, shape).astype(np.float32) for shape in (x_shape, w_shape))
        bias = rng.integers(-4, 5, outputs).astype(np.float32)
        try:
            expected = operation(x, w, bias, implementation="loops", **options)
        except ValueError:  # no output is left
            continue
        form = phased(operation.plan(x.shape, w, bias, **options))
        problem = form.problem
        z, y = np.empty(problem.geometry.out_shape, np.float32), np.full(expected.shape, np.nan, np.float32)
        packed = im2col.pack(form.weights(w, last), form.bias(bias), problem)
        im2col.conv({"x": x.reshape(problem.geometry.x_shape)}, packed, problem, z)
        weaving.run(z, y, form.phases)
        np.testing.assert_array_equal(y, expected)
        shown += 1
    assert shown > 30


@pytest.mark.parametrize(
    ("kernel", "options"), [(3, {"stride": 2}), (4, {"padding": 4}), (4, {"stride": 2, "dilation": 2}), (5, {"stride": 3})]
)
def test_there_are_phases_only_where_each_has_all_its_taps(kernel: int, options: dict[str, int]) -> None:
    """Weights of zero would meet cells that the sum does not hold, a NaN among them."""
    assert phased(fc.conv_transpose1d.plan((1, 2, 9), np.ones((2, 3, kernel), np.float32), **options)) is None


def test_a_nan_reaches_its_own_outputs() -> None:
    """Few channels of large kernels go by phases, whose plan says so; a plan and a function give the same."""
    x, w = np.ones((1, 32, 30, 30), np.float32), np.ones((32, 8, 8, 8), np.float32)
    plan = fc.conv_transpose2d.plan(x.shape, w, stride=4)
    assert plan.form.phases is not None
    assert "its phases then woven" in str(plan)
    assert "the phases of x" in fc.conv_transpose2d.explain(x.shape, w.shape, stride=4)
    x[0, 3, 7, 9] = np.nan
    y = plan(x)
    assert np.isnan(y[0, :, 28:36, 36:44]).all()
    assert np.isnan(y).sum() == 8 * 64
    np.testing.assert_array_equal(y, fc.conv_transpose2d(x, w, stride=4))
    np.testing.assert_array_equal(y, fc.conv_transpose2d(x, w, stride=4, implementation="loops"))


def test_a_residual_and_an_activation_are_added() -> None:
    """Whether phases are asked or not."""
    rng = np.random.default_rng(0)
    x, w = (rng.integers(-4, 5, shape).astype(np.float32) for shape in ((1, 64, 40), (64, 8, 64)))
    added = rng.integers(-4, 5, (1, 8, 39 * 32 + 64)).astype(np.float32)
    for options in ({"activation": "relu"}, {"residual": added, "activation": "relu"}, {"activation": "gelu"}):
        found = fc.conv_transpose1d(x, w, stride=32, **options)
        expected = fc.conv_transpose1d(x, w, stride=32, implementation="loops", **options)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-38)  # far below 0 gelu rounds its square first


@pytest.mark.parametrize("last", [False, pytest.param(True, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize(
    "options",
    [
        {"padding": 1},
        pytest.param({"padding": (0, 2), "dilation": (1, 2)}, marks=pytest.mark.exhaustive),
        {"groups": 4, "padding": ((2, 0), (1, 1))},
    ],
)
def test_without_a_stride_it_is_a_convolution_by_mirrored_weights(options: dict[str, Any], last: bool) -> None:
    """Of as many channels in as out, too, where nothing but the order of the weights differs; a residual and all are added."""
    rng, groups = np.random.default_rng(1), options.get("groups", 1)
    x, w = rng.integers(-4, 5, (2, 9, 11, 32)), rng.integers(-4, 5, (32, 3, 3, 32 // groups))
    bias = rng.integers(-4, 5, 32)
    if not last:
        x, w = (np.ascontiguousarray(np.moveaxis(one, -1, 1)) for one in (x, w))
    options = options | {"layout": "NHWC" if last else "NCHW", "activation": "relu"}
    for dtype in (np.float32, np.float64, np.int32):
        arrays = tuple(one.astype(dtype) for one in (x, w, bias))
        bare = fc.conv_transpose2d(*arrays, implementation="loops", **options)
        plan = fc.conv_transpose2d.plan(x.shape, *arrays[1:], x_dtype=dtype, residual=True, **options)
        form = phased(plan)
        assert form.woven is None
        assert form.problem.geometry.out_shape == bare.shape
        residual = rng.integers(-4, 5, bare.shape).astype(dtype)
        expected = fc.conv_transpose2d(*arrays, implementation="loops", residual=residual, **options)
        np.testing.assert_allclose(plan(arrays[0], residual=residual), expected, atol=2e-3 if dtype == np.float32 else 1e-9)
        np.testing.assert_allclose(fc.conv_transpose2d(*arrays, **options), bare, atol=2e-3 if dtype == np.float32 else 1e-9)
