"""Normal forms: the same sums of the same memory, whatever a problem is seen as."""

from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
from fastconv.plans.forms import forms
from fastconv.plans.registry import OPERATIONS
from fastconv.problem import normal, signatures

FLOAT = np.dtype(np.float32)


def conv(x: tuple[int, ...], w: tuple[int, ...], **options: Any) -> Any:
    """A convolution's geometry."""
    return signatures.convolution(x, w, FLOAT, rank=len(x) - 2, transposed=False, **options)


@pytest.mark.parametrize(
    ("x", "w", "options", "seen", "weights"),
    [
        # Dilation as large as the map: one tap is left, and it is a kernel of one tap.
        ((1, 8, 33, 33), (4, 8, 3, 3), {"padding": 36, "dilation": 36}, (1, 8, 33, 33), (4, 8, 1, 1)),
        ((2, 33, 33, 8), (4, 3, 3, 8), {"padding": 36, "dilation": 36, "layout": "NHWC"}, (1, 2178, 8), (4, 1, 8)),
        # Maps of one cell: a product of a matrix and a row.
        ((3, 8, 1, 1), (4, 8, 3, 3), {"padding": 1}, (1, 3, 8), (4, 1, 8)),
        ((3, 1, 1, 8), (4, 3, 3, 4), {"padding": 1, "groups": 2, "layout": "NHWC"}, (1, 3, 8), (4, 1, 4)),
        # Kernels as large as the image.
        ((2, 8, 7, 7), (4, 8, 7, 7), {}, (1, 2, 392), (4, 1, 392)),
        ((2, 8, 7), (4, 4, 7), {"groups": 2}, (1, 2, 56), (4, 1, 28)),
        ((2, 7, 7, 8), (4, 7, 7, 8), {"layout": "NHWC"}, (1, 2, 392), (4, 1, 392)),
        ((2, 7, 7, 8), (4, 7, 7, 4), {"groups": 2, "layout": "NHWC"}, (2, 7, 7, 8), (4, 7, 7, 4)),
        # All positions are one row; axes without a window are more images.
        ((5, 6, 7, 8), (4, 1, 1, 8), {"layout": "NHWC"}, (1, 210, 8), (4, 1, 8)),
        ((5, 6, 7, 8), (4, 1, 3, 8), {"padding": (0, 1), "layout": "NHWC"}, (30, 7, 8), (4, 3, 8)),
        ((5, 6, 7, 8), (4, 3, 1, 8), {"padding": (1, 0), "layout": "NHWC"}, (5, 6, 7, 8), (4, 3, 1, 8)),
        ((5, 8, 6, 7), (4, 8, 1, 1), {}, (5, 8, 6, 7), (4, 8, 1, 1)),
        # As it is: strides, borders whose cells count, windows that padding only touches.
        ((5, 6, 7, 8), (4, 1, 1, 8), {"stride": 2, "layout": "NHWC"}, (5, 6, 7, 8), (4, 1, 1, 8)),
        ((1, 8, 9, 9), (4, 8, 3, 3), {"padding": 1}, (1, 8, 9, 9), (4, 8, 3, 3)),
        ((1, 8, 3), (4, 8, 3), {"padding": 3, "dilation": 3, "padding_mode": "circular"}, (1, 8, 3), (4, 8, 3)),
        ((1, 8, 3), (4, 8, 1), {"padding": 2}, (1, 8, 3), (4, 8, 1)),
    ],
)
def test_a_convolution_is_seen_as(
    x: tuple[int, ...], w: tuple[int, ...], options: dict[str, Any], seen: tuple[int, ...], weights: tuple[int, ...]
) -> None:
    found, _ = normal.convolution(conv(x, w, **options))
    assert (found.x_shape, found.w_shape) == (seen, weights)


@pytest.mark.parametrize(
    ("x", "w", "options", "seen", "weights"),
    [
        ((2, 8, 5, 6, 7), (4, 8, 3, 1, 1), {"padding": (1, 0, 0)}, (2, 8, 5, 42), (4, 8, 3, 1)),
        ((2, 8, 5, 6, 7), (4, 8, 1, 1, 3), {"padding": (0, 0, 1)}, (2, 8, 30, 7), (4, 8, 1, 3)),
        ((2, 8, 5, 6, 7), (4, 8, 1, 3, 1), {}, (2, 8, 5, 6, 7), (4, 8, 1, 3, 1)),
        ((2, 5, 6, 7, 8), (4, 3, 1, 1, 8), {"padding": (1, 0, 0), "layout": "NDHWC"}, (2, 5, 42, 8), (4, 3, 1, 8)),
    ],
)
def test_axes_without_a_window_side_by_side_may_be_one(
    x: tuple[int, ...], w: tuple[int, ...], options: dict[str, Any], seen: tuple[int, ...], weights: tuple[int, ...]
) -> None:
    """A form of its own, which estimates choose; a plan of it gives the same."""
    geometry = conv(x, w, **options)
    found = normal.joined(normal.convolution(geometry)[0])
    assert (found.x_shape, found.w_shape) == (seen, weights)
    plan = fc.conv3d.plan(x, np.ones(w, np.float32), **options)
    assert any(form.problem.geometry == found for form in forms(plan.problem))


def test_a_border_without_padding_is_none() -> None:
    """And a normal form has no other."""
    geometry = conv((1, 8, 9, 9), (4, 8, 3, 3), padding_mode="reflect")
    found, _ = normal.convolution(geometry)
    assert found == conv((1, 8, 9, 9), (4, 8, 3, 3))
    assert normal.convolution(found) == (found, ())


@st.composite
def problems(draw: Any) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]:
    """Shapes of x and w, and options: small maps, large dilations and paddings."""
    rank, last = draw(st.integers(1, 3)), draw(st.booleans())
    each = lambda low, high: tuple(draw(st.integers(low, high)) for _ in range(rank))  # noqa: E731
    size, kernel, stride, dilation = each(1, 7), each(1, 4), each(1, 3), each(1, 6)
    least = [max(0, d * (k - 1) + 1 - cells) for d, k, cells in zip(dilation, kernel, size, strict=True)]
    pads = tuple(
        (before, max(0, short - before) + draw(st.integers(0, 2))) for short in least for before in (draw(st.integers(0, 9)),)
    )
    groups, batch, per_in, per_out = (draw(st.integers(1, most)) for most in (2, 3, 3, 3))
    options = {"stride": stride, "dilation": dilation, "padding": pads, "groups": groups}
    channels, k = groups * per_in, groups * per_out
    if last:
        options["layout"] = {1: "NLC", 2: "NHWC", 3: "NDHWC"}[rank]
        return (batch, *size, channels), (k, *kernel, per_in), options
    return (batch, channels, *size), (k, per_in, *kernel), options


@pytest.mark.exhaustive
@settings(derandomize=True, deadline=None, max_examples=300)
@given(problems(), st.booleans())
def test_the_sums_are_the_same(problem: tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]], added: bool) -> None:
    """To the bit, of whole numbers: for plans, functions, a residual and `out`; by NumPy, for which nothing is compiled."""
    x_shape, w_shape, options = problem
    rng, operation = np.random.default_rng(0), {3: fc.conv1d, 4: fc.conv2d, 5: fc.conv3d}[len(x_shape)]
    x, w = (rng.integers(-4, 5, shape).astype(np.float32) for shape in (x_shape, w_shape))
    bias = rng.integers(-4, 5, w_shape[0]).astype(np.float32)
    expected = operation(x, w, bias, implementation="reference", **options)
    residual = rng.integers(-4, 5, expected.shape).astype(np.float32) if added else None
    if residual is not None:
        expected = expected + residual
    plain = tuple(one for one in OPERATIONS["conv"] if one.name in ("im2col", "reference"))
    with mock.patch.dict(OPERATIONS, {"conv": plain}):
        np.testing.assert_array_equal(operation(x, w, bias, residual=residual, **options), expected)
        plan = operation.plan(x_shape, w, bias, residual=added, **options)
    out = np.full(expected.shape, np.nan, np.float32)
    operands = (x,) if residual is None else (x, residual)
    np.testing.assert_array_equal(plan(*operands, out=out), expected)
    np.testing.assert_array_equal(plan(*(np.asfortranarray(one) for one in operands)), expected)
    assert "seen as" in str(plan) or plan.seen is plan.problem


@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize(
    ("cells", "outputs"), [((14, 14), (7, 7)), ((6, 9), (2, 9)), ((5, 6), (1, 6)), ((5, 6), (2, 3)), ((6,), (4,))]
)
def test_adaptive_pools_whose_windows_are_alike(kind: str, cells: tuple[int, ...], outputs: tuple[int, ...]) -> None:
    """They are seen as pools of a stride, and give what adaptive windows give, with the same indices."""
    operation = getattr(fc, f"adaptive_{kind}_pool{len(cells)}d")
    x = np.random.default_rng(0).integers(-9, 9, (2, 3, *cells)).astype(np.float32)
    alike = all(size % count == 0 for size, count in zip(cells, outputs, strict=True))
    plan = operation.plan(x.shape, outputs)
    assert plan.seen.geometry.adaptive is not alike
    np.testing.assert_array_equal(operation(x, outputs), operation(x, outputs, implementation="reference"))
    if kind == "max":
        both = [operation(x, outputs, return_indices=True, implementation=name) for name in ("auto", "reference")]
        for one, other in zip(*both, strict=True):
            np.testing.assert_array_equal(one, other)
