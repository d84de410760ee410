"""Activations, on their own and fused: each against its formula in float64."""

import math
from typing import Any

import numpy as np
import pytest
from cases import CASES
from comparing import assert_same_bits, assert_within

import fastconv as fc
from fastconv.measuring.checking import ROUNDINGS

FORMULAS: dict[str, Any] = {
    "relu": lambda v: np.maximum(v, 0),
    "relu6": lambda v: np.clip(v, 0, 6),
    "leaky_relu": lambda v: np.where(v < 0, 0.01 * v, v),
    "silu": lambda v: v / (1 + np.exp(-v)),
    "hardswish": lambda v: v * np.clip(v + 3, 0, 6) / 6,
}
KINDS = {"relu": "clip", "relu6": "clip"}
VALUES = np.array([-80, -7, -6, -3.5, -3, -2.5, -1e-3, -1e-30, 0, 1e-30, 1e-3, 0.5, 2.5, 3, 5.5, 6, 6.5, 80])
IMPLEMENTATIONS = fc.implementations("relu")


def close_to(found: np.ndarray, expected: np.ndarray, kind: str) -> None:
    """Within the roundings of the activation, each relative to the value that it is applied to."""
    rounded = expected.astype(found.dtype)
    scale = np.abs(VALUES) * ROUNDINGS[KINDS.get(kind, kind)] * np.finfo(found.dtype).eps
    assert_within(found, rounded, scale + np.spacing(np.abs(rounded)) * (KINDS.get(kind) != "clip"))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("kind", FORMULAS)
def test_an_activation_is_its_formula(kind: str, dtype: Any, implementation: str) -> None:
    """Below, at and above every bend."""
    x = VALUES.astype(dtype)
    found = getattr(fc, kind)(x, implementation=implementation)
    close_to(found, FORMULAS[kind](x.astype(np.float64)), kind)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_bounds_and_slopes_are_arguments(implementation: str) -> None:
    x = VALUES.astype(np.float32)
    assert_same_bits(fc.clip(x, -2.5, 0.5, implementation=implementation), np.clip(x, np.float32(-2.5), np.float32(0.5)))
    assert_same_bits(fc.leaky_relu(x, 0.25, implementation=implementation), np.where(x < 0, x * np.float32(0.25), x))
    assert_same_bits(fc.leaky_relu(x, -1, implementation=implementation), np.abs(x))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("kind", FORMULAS)
def test_nan_and_infinities(kind: str, implementation: str) -> None:
    """A NaN stays a NaN; infinity goes where the formula's limit is."""
    x = np.array([np.nan, np.inf, 1.0], np.float32)
    found = getattr(fc, kind)(x, implementation=implementation)
    assert np.isnan(found[0])
    assert found[1] == (6 if kind == "relu6" else np.inf)


@pytest.mark.parametrize("kind", FORMULAS)
def test_in_place(kind: str) -> None:
    """`out` may be the input itself, whatever its strides."""
    for x in (VALUES.astype(np.float32), np.repeat(VALUES, 2).astype(np.float32)[::2], VALUES.astype(np.float32)[::-1]):
        expected = getattr(fc, kind)(x)
        assert getattr(fc, kind)(x, out=x) is x
        assert_same_bits(np.array(x), expected)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64"])
def test_integers_are_clipped(dtype: Any, implementation: str) -> None:
    """By relu, relu6 and clip, which keep the dtype; the rest is for floats."""
    x = np.array([0, 1, 5, 6, 7, 100, *([] if dtype == "uint8" else [-1, -100])], dtype)
    assert_same_bits(fc.relu(x, implementation=implementation), np.maximum(x, x.dtype.type(0)))
    assert_same_bits(fc.relu6(x, implementation=implementation), np.clip(x, x.dtype.type(0), x.dtype.type(6)))
    assert_same_bits(fc.clip(x, 2, 50, implementation=implementation), np.clip(x, x.dtype.type(2), x.dtype.type(50)))
    for function in (fc.leaky_relu, fc.silu, fc.hardswish):
        with pytest.raises(TypeError, match=f"x has dtype {dtype}, which .* is not defined for: it takes real floats"):
            function(x)


def test_relu_of_unsigned_integers_changes_nothing() -> None:
    """The upper bound is the dtype's own."""
    x = np.array([0, 255], np.uint8)
    assert_same_bits(fc.relu(x), x)
    assert_same_bits(fc.clip(x, -5, 1000), x)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2), (2, 3, 4, 5, 6)])
def test_any_shape(shape: tuple[int, ...]) -> None:
    x = np.full(shape, -1.0)
    assert_same_bits(fc.relu(x), np.zeros(shape))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_silu_over_its_whole_range(dtype: Any) -> None:
    """As many roundings of the result as of x, as long as exp is finite; zero beyond; a NaN of minus infinity."""
    limit = np.log(np.finfo(dtype).max)
    x = np.linspace(-0.99 * limit, 2 * limit, 20_011).astype(dtype)
    expected = FORMULAS["silu"](x.astype(np.longdouble)).astype(dtype)
    found = fc.silu(x, implementation="direct")
    assert_within(found, expected, ROUNDINGS["silu"] * np.spacing(np.abs(expected)))
    beyond = np.linspace(-2 * limit, -1.0001 * limit, 1_003).astype(dtype)
    assert_same_bits(fc.silu(beyond, implementation="direct"), np.full(beyond.shape, -0.0, dtype))
    assert np.isnan(fc.silu(np.full(3, -np.inf, dtype), implementation="direct")).all()


FUSED = [case for case in CASES if "activation" in dict(case.options)]


# They compile much; test_registry.py has their activations in each run, within the tolerance of rounding.
SLOW = ("winograd", "strassen", "fft", "unpacked", "direct")


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "implementation",
    [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in fc.implementations("conv2d")],
)
def test_fused_is_separate(implementation: str) -> None:
    """A fused clip is the clip of the result, bit for bit, and the others are applied to each value as if alone."""
    served = 0
    for case in FUSED:
        if implementation not in case.supporting(np.float32):
            continue
        served += 1
        inputs, activation = case.inputs(np.float32), dict(case.options)["activation"]
        name, *bounds = activation if isinstance(activation, tuple) else (activation,)
        plain = case.call(inputs, implementation, activation=None)
        separate = getattr(fc, name)(plain, *bounds, implementation="reference")
        fused = case.call(inputs, implementation)
        if case.geometry.activation.kind == "clip":
            assert_same_bits(fused, separate)
        else:
            eps = np.finfo(np.float32).eps
            assert_within(fused, separate, eps * ROUNDINGS[case.geometry.activation.kind] * np.abs(plain).astype(float))
    assert served


@pytest.mark.parametrize("implementation", ["direct", "loops", "reference"])
def test_a_call_with_an_equal_bound_before_changes_no_bit(implementation):
    """-0.0 and 0.0 are equal, and so are the plans that they decide: both mean 0.0, whichever came first."""
    for first, second, size in ((0.0, -0.0, 5), (-0.0, 0.0, 6)):
        x = np.full(size, -1, np.float32)
        for bound in (first, second):
            assert not np.signbit(fc.clip(x, bound, 3, implementation=implementation)).any()
            assert np.signbit(fc.leaky_relu(x, bound, implementation=implementation)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gelu_and_the_slopes_of_exponentials_over_their_whole_range(dtype: Any) -> None:
    """To a few roundings of their terms: tails as small as the type has, both infinities and NaN."""
    eps, least = np.finfo(dtype).eps, np.finfo(dtype).tiny
    x = np.concatenate([np.linspace(-12, 12, 4001), np.geomspace(1e-30, 1, 200), -np.geomspace(1e-30, 1, 200)]).astype(dtype)
    wide = x.astype(np.float64)
    tail = np.array([math.erfc(-v / math.sqrt(2)) / 2 for v in wide])
    tail_error = 1 + wide**2 * np.finfo(np.float64).eps / eps  # of what erfc itself is given
    assert_within(fc.gelu(x).astype(float), wide * tail, 8 * eps * tail_error * np.abs(wide * tail) + least)
    bell = wide * np.exp(-(wide**2) / 2) / math.sqrt(2 * math.pi)
    share = 1 / (1 + np.exp(-wide))
    slopes = {
        fc.gelu: (tail + bell, 8 * eps * tail_error * (tail + np.abs(bell))),
        fc.silu: (share + wide * share * (1 - share), 8 * eps * (share + np.abs(wide) * share)),
    }
    for function, (expected, bound) in slopes.items():
        assert_within(function.vjp(x)[1](np.ones_like(x)).astype(float), expected, bound + least)
        ends = np.array([-np.inf, np.inf, np.nan], dtype)
        np.testing.assert_array_equal(function.vjp(ends)[1](np.ones_like(ends)), [0, 1, np.nan])


@pytest.mark.parametrize("make", [fc.relu.plan, fc.silu.plan, lambda shape: fc.max_pool2d.plan(shape, 2)])
def test_plain_arrays_go_to_the_kernel_as_they_are(make):
    x = np.ones((1, 2, 4, 4), np.float32)
    plan = make(x.shape)
    out = np.empty(plan.out_shape, np.float32)
    assert plan.target({"x": x}, out, {}) is out
    assert plan.target({"x": x}, out, {"w": out}) is None
    assert plan.takes({"x": x})
    assert not plan.takes({"x": x[..., ::-1]})
    assert plan(x, out) is out
