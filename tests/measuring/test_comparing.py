"""The comparer compares: each way in which a result can be wrong fails it."""

from typing import Any

import numpy as np
import pytest
from cases import BROAD, CASES
from comparing import answers, assert_answers, assert_same_bits, assert_within

from fastconv.plans.errors import LOCAL, Error

PLAIN = next(case for case in BROAD if str(case) == "conv2d-kernel3x3-two-images")
SILU = next(case for case in CASES if str(case) == "conv2d-then-silu")
FLOATS = ["float16", "float32", "float64", "complex64"]


@pytest.mark.parametrize("dtype", [*FLOATS, "int8", "uint8", "int64"])
def test_what_the_reference_gives_passes(dtype: Any) -> None:
    for values in ("whole", "normal"):
        (answer,) = answers(PLAIN, dtype, values)
        assert_answers(answer.value.copy(), (answer,), LOCAL)


@pytest.mark.parametrize("dtype", FLOATS)
def test_one_perturbed_element_fails(dtype: Any) -> None:
    """A single element that is off by the next float, where results are exact, or by twice the bound, where they are not."""
    (exact,), (rounded,) = answers(PLAIN, dtype), answers(PLAIN, dtype, "normal")
    assert exact.exact
    assert not rounded.exact
    for cell in np.ndindex(exact.value.shape):
        wrong = exact.value.copy()
        wrong[cell] = np.nextafter(wrong[cell].real, np.inf, dtype=wrong.real.dtype)
        with pytest.raises(AssertionError, match="1 of"):
            assert_answers(wrong, (exact,), LOCAL)
        wrong = rounded.value.copy()
        wrong[cell] += (2 * rounded.bound[cell]).astype(wrong.real.dtype)
        with pytest.raises(AssertionError, match="1 of"):
            assert_answers(wrong, (rounded,), LOCAL)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64"])
def test_integers_must_be_equal(dtype: Any) -> None:
    (answer,) = answers(PLAIN, dtype)
    assert answer.exact
    wrong = answer.value.copy()
    wrong[-1, -1, -1, -1] += 1
    with pytest.raises(AssertionError, match="1 of"):
        assert_answers(wrong, (answer,), LOCAL)


def test_a_bound_is_small() -> None:
    """The bound is one that a wrong tap cannot hide in: far below what any single product contributes."""
    (answer,) = answers(PLAIN, "float32", "normal")
    inputs = PLAIN.inputs("float32", "normal")
    assert 0 < answer.bound.max() < np.abs(inputs["x"]).mean() * np.abs(inputs["w"]).mean() / 1000


def test_a_family_that_spreads_errors_is_not_exact() -> None:
    """A family that transforms its input is held to its own factor, on whole numbers too, and to no more than that."""
    (answer,) = answers(PLAIN, "float32", "normal")
    off = (answer.value + 2 * answer.bound.max()).astype(np.float32)
    with pytest.raises(AssertionError):
        assert_answers(off, (answer,), LOCAL)
    assert_answers(off, (answer,), Error(4.0, spread=True))
    with pytest.raises(AssertionError):
        assert_answers((answer.value + 8 * answer.bound.max()).astype(np.float32), (answer,), Error(4.0, spread=True))


def test_curved_activations_are_not_exact() -> None:
    """silu of a whole number is none, so that the bound holds there."""
    (answer,) = answers(SILU, "float32")
    assert not answer.exact
    assert answer.bound.min() > 0


@pytest.mark.parametrize("bound", [0.0, 1e3, np.inf])
def test_nan_must_be_where_it_belongs(bound: float) -> None:
    """A NaN where a number belongs, a number where a NaN belongs, and a NaN in the next cell all fail, whatever the bound."""
    expected = np.array([1.0, np.nan, 3.0], np.float32)
    assert_within(expected.copy(), expected, np.float64(bound))
    for wrong in ([np.nan, np.nan, 3.0], [1.0, 2.0, 3.0], [np.nan, 1.0, 3.0]):
        with pytest.raises(AssertionError, match="elements differ"):
            assert_within(np.array(wrong, np.float32), expected, np.float64(bound))


@pytest.mark.parametrize("bound", [0.0, 1e3, np.inf])
def test_infinities_must_be_equal(bound: float) -> None:
    """An infinity of the other sign, or a number in its place, fails, whatever the bound."""
    expected = np.array([np.inf, -np.inf, 0.0], np.float32)
    assert_within(expected.copy(), expected, np.float64(bound))
    for wrong in ([-np.inf, -np.inf, 0.0], [1e30, -np.inf, 0.0]):
        with pytest.raises(AssertionError, match="elements differ"):
            assert_within(np.array(wrong, np.float32), expected, np.float64(bound))


def test_another_kind_of_array_fails() -> None:
    """Shape, dtype and type are part of a result."""
    expected = np.ones((2, 3), np.float32)
    for wrong, message in (
        (np.ones((3, 2), np.float32), "shape"),
        (np.ones((1, 2, 3), np.float32), "shape"),
        (np.ones((2, 3)), "dtype"),
        (np.ones((2, 3), np.int32), "dtype"),
        (np.ones((2, 3), ">f4"), "dtype"),
        (np.ma.ones((2, 3), np.float32), "MaskedArray"),
        ([[1.0] * 3] * 2, "list"),
    ):
        with pytest.raises(AssertionError, match=message):
            assert_within(wrong, expected, np.float64(1e3))


def test_the_number_of_results_counts() -> None:
    """Values without their indices are not the answer."""
    case = next(case for case in BROAD if case.name == "indices-padding")
    found = answers(case, "float32")
    assert len(found) == 2
    with pytest.raises(AssertionError, match="1 results where 2 belong"):
        assert_answers(found[0].value, found, LOCAL)


def test_a_wrong_index_fails() -> None:
    case = next(case for case in BROAD if case.name == "indices-padding")
    found = answers(case, "float32")
    wrong = found[1].value.copy()
    wrong[0, 0, 0, 0] += 1
    with pytest.raises(AssertionError, match="1 of"):
        assert_answers((found[0].value, wrong), found, LOCAL)


def test_bits_tell_zeros_apart() -> None:
    """Equal numbers of other bits are not the same bits, and the same NaN is."""
    assert_same_bits(np.array([np.nan, 0.0]), np.array([np.nan, 0.0]))
    with pytest.raises(AssertionError, match="bits differ"):
        assert_same_bits(np.array([-0.0]), np.array([0.0]))
    with pytest.raises(AssertionError, match="dtype"):
        assert_same_bits(np.zeros(1, np.int32), np.zeros(1, np.float32))


@pytest.mark.parametrize("case", BROAD, ids=str)
def test_exactness_needs_whole_numbers(case: Any) -> None:
    """Sums of numbers that are not whole are never taken for exact; values that are only moved always are."""
    moving = ("max_pool", "min_pool", "rank_pool", "adaptive_max_pool", "max_unpool", "unfold")
    moved = case.family in moving or case.operation in ("relu", "relu6", "clip")
    for answer in answers(case, "float32", "normal"):
        assert answer.exact == moved or case.operation in ("relu", "relu6", "clip")
