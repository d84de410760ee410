"""dtype=: of the result and its sums, over the registry; arrays of other types take no detour that changes a value."""

from typing import Any

import numpy as np
import pytest
from case import Case
from cases import BROAD
from comparing import assert_answers, assert_same_bits, expect

import fastconv as fc
from fastconv.kernels.simd.arrays import casting
from fastconv.plans.registry import OPERATIONS, Implementation

NAMES = ("kernel3x3-two-images", "depthwise-stride2", "constant", "doubled-of-many")
CONVOLUTIONS = [case for case in BROAD if case.family in ("conv", "conv_transpose") and case.name in NAMES]
# (x, w, dtype): small integers into larger ones, integers into floats, floats into wider ones, and narrower than the usual.
OFTEN = [("uint8", "int8", "int32"), ("uint8", "int16", "float32"), ("float32", "float32", "float16")]
SELDOM = [("uint8", "uint8", "int64"), ("int16", "int16", "float64"), ("float32", "float32", "float64")]
SELDOM += [("float64", "float64", "float32"), ("int8", "float32", "complex64")]


def converted(case: Case, types: tuple[str, str, str]) -> dict[str, np.ndarray]:
    """Inputs of whole numbers in the stored types, beside weights of another."""
    x, w, _ = types
    inputs = {name: array for name, array in case.inputs(x).items() if name != "w"}
    return {**inputs, "w": case.inputs(w)["w"]}


def matrix() -> list[Any]:
    """Every case on every implementation; what compiles a kernel of its own for seldom types, in slow runs."""

    def marks(case: Case, one: Implementation, types: tuple[str, str, str]) -> Any:
        compiles = one.name not in ("im2col", "strided", "reference")
        return (
            pytest.mark.slow if compiles and (types in SELDOM or (types == OFTEN[0] and "layout" in dict(case.options))) else ()
        )

    return [
        pytest.param(case, one, types, id=f"{case}-{one.name}-{'-'.join(types)}", marks=marks(case, one, types))
        for case in CONVOLUTIONS
        for one in OPERATIONS[case.family]
        for types in (*OFTEN, *SELDOM)
    ]


@pytest.mark.exhaustive
@pytest.mark.parametrize(("case", "implementation", "types"), matrix())
def test_a_dtype_is_that_of_the_result_and_its_sums(
    case: Case, implementation: Implementation, types: tuple[str, str, str]
) -> None:
    """The same as converting the arrays first, which the reference is asked to do; a plan gives what the function does."""
    dtype = np.dtype(types[2])
    inputs = converted(case, types)
    # A plan tells whether the implementation serves the call; what it sums in may be wider than what is stored.
    weights = {name: inputs[name] for name in ("w", "bias") if name in inputs}
    residual = {"residual": True} if case.residual else {}
    x = inputs["x"]

    def plan(name: str) -> Any:
        options = {**dict(case.options), **residual, "dtype": dtype, "implementation": name}
        return case.planner(x.shape, **weights, **options, x_dtype=x.dtype)

    if implementation.supports(plan("reference").problem) is not None:
        with pytest.raises(ValueError, match="cannot serve this call"):
            case.call(inputs, implementation.name, dtype=dtype)
        return
    with np.errstate(over="ignore"):
        wide = {name: array.astype(dtype) for name, array in inputs.items()}
    found = case.call(inputs, implementation.name, dtype=dtype)
    assert found.dtype == dtype
    assert_answers(found, expect(case, wide), implementation.error)
    operands = {name: array for name, array in inputs.items() if name in ("x", "residual")}
    if case.residual:
        operands["residual"] = operands["residual"].astype(dtype)
    assert_same_bits(plan(implementation.name)(**operands), case.call({**inputs, **operands}, implementation.name, dtype=dtype))


def test_sums_of_bytes_do_not_wrap_at_eight_bits() -> None:
    """The reason for it: 9 times 200 times 2."""
    x, w = np.full((1, 4, 4), 200, np.uint8), np.full((1, 1, 3, 3), 2, np.uint8)
    for name in ("reference", "loops", "im2col", "strided"):
        assert fc.conv2d(x, w, dtype=np.int32, implementation=name).tolist() == [[[3600, 3600], [3600, 3600]]]
        assert fc.conv2d(x, w, implementation=name).tolist() == [[[16, 16], [16, 16]]]  # 3600 modulo 256


def full_range(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Integers over all that their type holds."""
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


@pytest.mark.parametrize(
    ("types", "summed"),
    [
        (("uint8", "int8", None), "float32"),  # 255 * 128 * 36 is below 2**24
        (("uint8", "int8", "int32"), "float32"),
        (("uint8", "uint8", None), "float32"),
        (("int16", "int8", None), "float64"),
    ],
)
def test_sums_of_small_integers_are_made_in_floats_and_wrap(types: tuple[str, str, str | None], summed: str) -> None:
    """Bit for bit what loops over integers give, of all values: bias, residual and activation meet what wrapped."""
    rng, (x_dtype, w_dtype, dtype) = np.random.default_rng(5), types
    x, w = full_range(rng, (1, 4, 6, 7), x_dtype), full_range(rng, (5, 4, 3, 3), w_dtype)
    options: dict[str, Any] = {"bias": full_range(rng, (5,), w_dtype), "padding": 1, "dtype": dtype}
    expected = fc.conv2d(x, w, **options, implementation="reference")
    plan = fc.conv2d.plan(x.shape, w, **options, x_dtype=x.dtype)
    assert plan.seen.dtype == summed
    assert f"summed in {summed}" in str(plan)
    for found in (fc.conv2d(x, w, **options), plan(x)):
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)
    options |= {"residual": full_range(rng, expected.shape, str(expected.dtype)), "activation": ("clip", 3, 50)}
    out = np.zeros((*expected.shape, 2), expected.dtype)[..., 0]  # whose cells lie apart
    assert fc.conv2d(x, w, **options, out=out) is out
    assert np.array_equal(out, fc.conv2d(x, w, **options, implementation="reference"))


def test_integers_stay_integers_where_a_float_would_round() -> None:
    """The largest weights and biases decide; a name that was asked for runs as it is named."""

    def summed(w: np.ndarray, x_dtype: str, **options: Any) -> Any:
        return fc.conv2d.plan((1, 1, 5, 5), w, **options, x_dtype=x_dtype).seen.dtype

    ones = np.ones((1, 1, 3, 3), np.int64)
    assert summed(ones, "uint8") == np.float32  # one of few bits, whatever its type
    assert summed(ones << 20, "uint8") == np.float64
    assert summed(ones << 20, "int32") == np.int64  # 2**31 * 2**20 * 9 passes 2**53
    assert summed(ones, "uint8", bias=np.array([1 << 30])) == np.float64
    assert summed(ones, "uint8", bias=np.array([1 << 60])) == np.int64
    assert summed(ones, "uint8", implementation="im2col") == np.int64
    assert "in float32 on x as" in fc.conv2d.explain((1, 16, 64, 64), (16, 16, 3, 3), padding=1, x_dtype="int8")


@pytest.mark.parametrize(("x_dtype", "bits", "dtype"), [("float32", 24, "int8"), ("float64", 52, "uint32")])
def test_many_sums_become_integers_modulo_their_width(x_dtype: str, bits: int, dtype: str) -> None:
    """By vectors, and what is left of them, as NumPy has it by way of int64."""
    x = np.random.default_rng(5).integers(-(1 << bits), 1 << bits, casting.MANY + 5).astype(x_dtype)
    y = np.empty(x.shape, dtype)
    casting.fill(y, x)
    assert np.array_equal(y, x.astype(np.int64).astype(dtype))


def test_loops_read_bytes_as_they_are_stored() -> None:
    """No array of x in another dtype is made: the plan hands it to the kernel as it is."""
    plan = fc.conv2d.plan(
        (1, 1, 9, 9), np.ones((1, 1, 3, 3), np.int8), dtype=np.int32, x_dtype=np.uint8, implementation="loops"
    )
    assert plan.operands[0].as_it_is
    assert plan.weights_dtype == np.int8
    assert plan.takes({"x": np.zeros((1, 1, 9, 9), np.uint8)})
    assert "summed in int32" in str(plan)


@pytest.mark.parametrize(
    ("x", "w", "dtype", "message"),
    [
        ("float32", "float32", "int32", "dtype must be one that float32, the dtype of x and w together, casts to, got int32"),
        ("complex64", "float32", "float32", "dtype must be one that complex64"),
        ("int16", "int8", "uint16", "dtype must be one that int16"),
        ("float32", "float32", "bool", "dtype is bool"),
        ("float32", "float32", "no", "dtype must be a dtype, got 'no'"),
    ],
)
def test_a_dtype_that_loses_its_kind_is_refused(x: str, w: str, dtype: Any, message: str) -> None:
    """As numpy.sum refuses it."""
    with pytest.raises(TypeError, match=message):
        fc.conv2d(np.ones((1, 3, 3), x), np.ones((1, 1, 2, 2), w), dtype=dtype)


@pytest.mark.parametrize(
    ("residual", "error", "message"),
    [
        (np.ones((1, 1, 2, 3), np.float32), ValueError, r"residual must have the result's shape, \(1, 1, 2, 2\), got"),
        (np.ones((1, 1, 2, 2), np.complex64), TypeError, "residual must have a dtype that casts to float32"),
        (np.ones((1, 1, 2, 2), bool), TypeError, "residual has dtype bool"),
        ("a", TypeError, "residual must be an array, got str"),
    ],
)
def test_a_residual_that_does_not_fit_is_refused(residual: Any, error: type[Exception], message: str) -> None:
    x, w = np.ones((1, 1, 3, 3), np.float32), np.ones((1, 1, 2, 2), np.float32)
    with pytest.raises(error, match=message):
        fc.conv2d(x, w, residual=residual)


def test_operands_of_a_plan_go_by_place_or_by_name() -> None:
    """x, residual, out: each once, whichever way."""
    x, w = np.ones((1, 1, 3, 3), np.float32), np.ones((1, 1, 2, 2), np.float32)
    plan = fc.conv2d.plan(x.shape, w, residual=True)
    residual, out = np.full((1, 1, 2, 2), 5, np.float32), np.empty((1, 1, 2, 2), np.float32)
    for found in (plan(x, residual), plan(x, residual=residual), plan(x, residual, out), plan(x, residual=residual, out=out)):
        assert (found == 9).all()
    assert plan(x, residual, out) is out
    for arguments, named, message in (
        ((x,), {}, "residual is missing"),
        ((x, residual, out), {"out": out}, "out was given twice"),
        ((x, residual, out, out), {}, "each once"),
        ((x, residual), {"residual": residual}, "each once"),
        ((x,), {"indices": residual}, "each once"),
    ):
        with pytest.raises(TypeError, match=f"takes x, residual and out.*{message}"):
            plan(*arguments, **named)
    with pytest.raises(ValueError, match="out must not overlap residual"):
        plan(x, residual, residual)
