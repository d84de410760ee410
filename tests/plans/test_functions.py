"""Calls of functions that were made before with arrays of the same shapes: what they find, and what they look over again."""

from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv.plans import packings
from fastconv.plans.registry import OPERATIONS

GEOMETRIES: list[tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ("conv1d", (2, 6, 40), (5, 6, 3), {"padding": "same"}),
    ("conv2d", (1, 8, 12, 13), (16, 8, 3, 3), {"padding": 1}),
    ("conv2d", (1, 12, 13, 8), (16, 3, 3, 8), {"padding": (1, 0), "layout": "NHWC", "activation": "relu"}),
    ("conv2d", (3, 13, 1, 1), (8, 13, 1, 1), {}),
    ("conv2d", (1, 6, 2, 2), (4, 6, 5, 5), {"padding": 2}),
    ("conv2d", (1, 6, 9, 9), (12, 1, 3, 3), {"groups": 6, "stride": 2}),
    ("conv2d", (6, 9, 9), (6, 1, 3, 3), {"groups": 6, "padding_mode": "reflect", "padding": 1}),
    ("conv2d", (1, 1, 20, 20), (1, 1, 5, 5), {}),
    ("conv3d", (1, 2, 5, 6, 7), (3, 2, 3, 3, 3), {"dilation": (1, 2, 1)}),
    ("conv_transpose2d", (1, 6, 7, 7), (6, 2, 4, 4), {"stride": 2, "padding": 1}),
    ("conv_transpose1d", (2, 5, 9), (5, 3, 4), {"output_padding": 1, "stride": 3}),
]
EACH = [
    pytest.param(*one, name, id=f"{one[0]}-{place}-{name}")
    for place, one in enumerate(GEOMETRIES)
    for name in ("auto", *(each.name for each in OPERATIONS[one[0][:-2]]))
]


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    fc.clear_caches()


def numbers(shape: tuple[int, ...], seed: int, dtype: Any = np.float32) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.exhaustive
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize(("operation", "x_shape", "w_shape", "options", "implementation"), EACH)
def test_new_weights_in_each_call(
    operation: str, x_shape: tuple[int, ...], w_shape: tuple[int, ...], options: dict[str, Any], implementation: str, dtype: Any
) -> None:
    """Weights, biases and arrays that change from call to call, some of them in no order that a kernel takes."""
    function, named = getattr(fc, operation), options | {"implementation": implementation}
    channels = w_shape[1] * options.get("groups", 1) if "transpose" in operation else w_shape[0]
    out = None
    for seed in range(12):
        x, w = numbers(x_shape, seed, dtype), numbers(w_shape, 100 + seed, dtype)
        bias = None if seed % 3 == 0 else numbers((channels,), 200 + seed, dtype)
        try:
            expected = function.plan(x_shape, w, bias, **named)(x)
        except ValueError:
            pytest.skip(f"{implementation} does not serve it")
        before = [one.copy() for one in (x, w)]
        if seed % 4 == 1:
            x = np.ascontiguousarray(x[..., ::-1])[..., ::-1]
        if seed % 4 == 2:
            w = np.asfortranarray(w)
        if seed % 4 == 3 and bias is not None:
            bias = np.repeat(bias, 2)[::2]
        if seed == 7:
            x.flags.writeable = w.flags.writeable = False
        found = function(x, w, bias, out=out if seed % 2 else None, **named)
        tolerance = 2e-2 if dtype == np.float16 else 1e-4
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
        assert found.dtype == expected.dtype
        assert out is None or not seed % 2 or found is out
        np.testing.assert_array_equal(x, before[0])
        np.testing.assert_array_equal(w, before[1])
        out = np.empty_like(expected)
    for known in packings._packings.values():
        assert known.decided is None or not known.decided.no_bias.any()


def test_a_repeated_call_refuses_what_the_first_one_does() -> None:
    x, w = numbers((1, 8, 12, 13), 0), numbers((16, 8, 3, 3), 1)
    for _ in range(3):
        w += 1
        expected = fc.conv2d(x, w, padding=1)
        wrong: list[tuple[type[Exception], str, dict[str, Any]]] = [
            (ValueError, "bias must have shape", {"bias": np.zeros(15, np.float32)}),
            (TypeError, "bias", {"bias": np.zeros(16, complex)}),
            (ValueError, "out", {"out": np.empty((1, 16, 12, 12), np.float32)}),
            (TypeError, "out", {"out": np.empty(expected.shape, np.float64)}),
            (ValueError, "out", {"out": np.lib.stride_tricks.as_strided(x, expected.shape, expected.strides)}),
            (ValueError, "measure", {"implementation": "measure"}),
            (TypeError, "stride", {"stride": True}),
            (TypeError, "unexpected", {"strides": 2}),
        ]
        for error, match, options in wrong:
            with pytest.raises(error, match=match):
                fc.conv2d(x, w, **{"padding": 1, **options})
        np.testing.assert_array_equal(fc.conv2d(x, w, padding=1), expected)


def test_out_that_holds_the_weights_or_the_bias_is_refused() -> None:
    """Also where the call was made before."""
    x, memory = numbers((1, 4, 10), 0), np.zeros(60, np.float32)
    w, bias, out = memory[:12].reshape(3, 4, 1), memory[12:15], memory[10:40].reshape(1, 3, 10)
    for _ in range(3):
        w += 1
        fc.conv1d(x, w, bias)
        with pytest.raises(ValueError, match="out"):
            fc.conv1d(x, w, out=out)
        with pytest.raises(ValueError, match="out"):
            fc.conv1d(x, w + 1, bias, out=out)


def test_a_byte_order_that_is_not_the_machines() -> None:
    x, w = numbers((1, 8, 12, 13), 0), numbers((16, 8, 3, 3), 1)
    for _ in range(3):
        w += 1
        expected = fc.conv2d(x, w)
        np.testing.assert_array_equal(fc.conv2d(x.astype(">f4"), w), expected)
        np.testing.assert_array_equal(fc.conv2d(x, w.astype(">f4")), expected)


def test_filters_that_are_alike_in_some_calls() -> None:
    """Depthwise layers ask, channels first, whether all channels have one filter: in each call."""
    x, w = numbers((1, 16, 12, 12), 0), numbers((16, 1, 3, 3), 1)
    for alike in (False, True, False, True, True, False):
        w += 1
        if alike:
            w[...] = w[:1]
        else:
            w[7, 0, 2, 2] += 1
        np.testing.assert_array_equal(
            fc.conv2d(x, w, groups=16, padding=1), fc.conv2d.plan(x.shape, w, groups=16, padding=1)(x)
        )
