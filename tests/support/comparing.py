"""How results are compared: bit for bit where that is possible, elsewhere within the bound that a record states.

The formula of the bound, and what it is multiplied by, are fastconv's own: fastconv.measuring.checking and plans.errors. Whole
numbers whose sums a float holds exactly leave no rounding to differ in: there the bound is zero. Pools bound their roundings by
the same formula, with taps for products. A result in a narrower dtype than is summed in may be off by one rounding of its own.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from case import Array, Case

from fastconv.measuring.checking import EXACT, allowed, bound_of, roundings, wrong_results
from fastconv.plans.errors import Error

PRODUCTS = ("conv", "conv_transpose", "conv_weight")  # which may be transformed before they are summed


class Answer(NamedTuple):
    """What the reference gives, how far from it c = 1 allows a result to be, and whether sums of products must be exact."""

    value: Array
    bound: Array
    exact: bool


def assert_answers(actual: Any, answers: tuple[Answer, ...], error: Error) -> None:
    """`actual`, one array or several, is what the reference gave, as exactly as an implementation of this error can."""
    found = actual if isinstance(actual, tuple) else (actual,)
    assert len(found) == len(answers), f"{len(found)} results where {len(answers)} belong"
    for one, answer in zip(found, answers, strict=True):
        exact = answer.exact and not error.spread
        assert_within(one, answer.value, np.zeros(()) if exact else allowed(answer.bound, error))


def assert_within(actual: Any, expected: Array, bound: Array) -> None:
    """Same kind of array, NaN and infinities in the same places, and everywhere else no further off than `bound`."""
    assert_same_kind(actual, expected)
    wrong, _ = wrong_results(actual, expected, bound)
    if not wrong.any():
        return
    first = tuple(int(axis[0]) for axis in np.nonzero(wrong))
    within = np.broadcast_to(bound, expected.shape)[first]
    raise AssertionError(
        f"{np.count_nonzero(wrong)} of {expected.size} elements differ, the first at {first}: got {actual[first]}, expected "
        f"{expected[first]} within {within:.3g}"
    )


def assert_same_kind(actual: Any, expected: Array) -> None:
    """A plain ndarray of the same shape and dtype."""
    assert type(actual) is np.ndarray, f"got {type(actual).__name__}"
    assert actual.dtype == expected.dtype, f"got dtype {actual.dtype}, expected {expected.dtype}"
    assert actual.shape == expected.shape, f"got shape {actual.shape}, expected {expected.shape}"


def assert_same_bits(actual: Any, expected: Any) -> None:
    """One array or several, equal to the last bit: signs of zeros and payloads of NaN too."""
    pairs = zip(actual, expected, strict=True) if isinstance(expected, tuple) else [(actual, expected)]
    for one, other in pairs:
        assert_same_kind(one, other)
        if one.tobytes() != other.tobytes():
            wrong = np.ascontiguousarray(one).view(np.uint8) != np.ascontiguousarray(other).view(np.uint8)
            raise AssertionError(f"bits differ in {np.count_nonzero(wrong)} of {one.nbytes} bytes")


# What to expect ---------------------------------------------------------------------------------------------------------


@cache
def answers(case: Case, dtype: Any, values: str = "whole") -> tuple[Answer, ...]:
    """The reference's results on the case's inputs: one, or values and indices."""
    return expect(case, case.inputs(dtype, values))


def expect(case: Case, inputs: dict[str, Array]) -> tuple[Answer, ...]:
    """The reference's results on these inputs."""
    found = case.call(inputs, "reference")
    if isinstance(found, tuple):
        return tuple(Answer(value, np.zeros(()), True) for value in found)
    exact = found.dtype.kind in "iu" or is_exact(case, inputs, found.dtype)
    if found.dtype.kind in "iu" or (exact and case.family not in PRODUCTS):
        return (Answer(found, np.zeros(()), True),)
    length = roundings(case.geometry, found.dtype, case.residual)
    with np.errstate(over="ignore", invalid="ignore"):
        return (Answer(found, bound_of(magnitude(case, inputs, found), found, length, found.dtype), exact),)


def is_exact(case: Case, inputs: dict[str, Array], dtype: np.dtype[Any]) -> bool:
    """Whether every sum is of whole numbers, each of which, and whose total, a float holds."""
    if case.family in ("avg_pool_input", "lp_pool_input"):
        return False
    if case.family in ("max_pool", "min_pool", "rank_pool", "adaptive_max_pool", "max_unpool", "unfold"):
        return True
    if not all(is_whole(array) for array in inputs.values()):
        return False
    limit = EXACT[max(4, dtype.itemsize // (2 if dtype.kind == "c" else 1))]
    largest = {name: float(np.abs(array).max(initial=0)) for name, array in inputs.items()}
    geometry = case.geometry
    if case.family == "conv_weight":
        return geometry.reduction * max(largest["input"], abs(geometry.forward.border.value)) * largest["grad_output"] < limit
    if case.family == "max_pool_input":
        return case.inputs(dtype)["grad_output"].size * largest["grad_output"] < limit
    if case.family in ("conv", "conv_transpose"):
        cell = max(largest["x"], abs(geometry.border.value))
        total = geometry.reduction * cell * largest["w"] + largest.get("bias", 0) + largest.get("residual", 0)
        return total < limit and geometry.activation.kind in ("none", "clip")
    if case.family == "activation":
        return geometry.activation.kind == "clip"
    return case.family == "fold" and geometry.windows.taps * largest["x"] < limit


def is_whole(array: Array) -> bool:
    """Whether all elements are whole numbers."""
    parts = (array.real, array.imag) if array.dtype.kind == "c" else (array,)
    return all(bool((part == np.trunc(part)).all()) for part in parts)


def magnitude(case: Case, inputs: dict[str, Array], value: Array) -> Array:
    """conv(|x|, |w|) + |bias| of the formula, or what it is for the other sums: the same operation on absolute values.

    A bound needs no exact sums, so that compiled loops in doubles do.
    """
    wide = {
        name: array if name == "indices" else np.abs(array.astype(np.complex128 if array.dtype.kind == "c" else np.float64))
        for name, array in inputs.items()
    }
    if case.family in ("conv", "conv_transpose"):
        return case.call(wide, "loops", activation=None, **absolute_border(case))
    if case.family in ("lp_pool", "activation"):
        return np.abs(value.astype(np.float64)) if case.family == "lp_pool" else wide["x"]
    return np.abs(case.call(wide, "loops", **absolute_border(case)))


def absolute_border(case: Case) -> dict[str, Any]:
    """The options that make a constant border positive."""
    value = dict(case.options).get("padding_value")
    return {} if value is None else {"padding_value": abs(value)}
