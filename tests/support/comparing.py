"""How results are compared: bit for bit where that is possible, elsewhere within one formula a family.

A result may differ from the reference's by

    |y - reference| <= c * eps * L * conv(|x|, |w|)

with eps of the dtype that is computed in and L the products that are summed, to which come the bias and the roundings that an
activation makes. c is 1 for every family that sums the products themselves, whatever the order, and a family that transforms
its input first has a c of its own in `FACTORS`. Whole numbers whose sums a float holds exactly leave no rounding to differ in:
there the bound is zero. Pools bound their roundings by the same formula, with taps for products. A result in a narrower dtype
than is computed in may be off by one rounding of its own.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from case import Array, Case

DIRECT = 1.0  # the c of families that sum the products themselves
# The c of each family that does not, and so is never exact. What such a family rounds is shared by many outputs, some of them
# with hardly more than padding in their windows: for conv(|x|, |w|) it takes the largest of the result.
FACTORS: dict[str, float] = {"winograd": 0.5, "strassen": 1.0, "fft": 4.0, "separable": 2.0}
ROUNDINGS = {"none": 0, "clip": 0, "leaky_relu": 1, "silu": 6, "hardswish": 4}  # that an activation adds to a sum
NORM_ROUNDINGS = 6  # of a power, a root and 1 / p
COMPLEX_PRODUCT = 4  # roundings of a complex product, for one of a real
EXACT = {4: 2**24, 8: 2**53}  # by bytes of a real float: integers below are floats


class Answer(NamedTuple):
    """What the reference gives, how far from it c = 1 allows a result to be, and whether sums of products must be exact."""

    value: Array
    bound: Array
    exact: bool


def assert_answers(actual: Any, answers: tuple[Answer, ...], implementation: str) -> None:
    """`actual`, one array or several, is what the reference gave, as exactly as `implementation` can."""
    found = actual if isinstance(actual, tuple) else (actual,)
    assert len(found) == len(answers), f"{len(found)} results where {len(answers)} belong"
    for one, answer in zip(found, answers, strict=True):
        if implementation in FACTORS:
            bound = FACTORS[implementation] * answer.bound.max(initial=0)
        else:
            bound = np.zeros(()) if answer.exact else DIRECT * answer.bound
        assert_within(one, answer.value, bound)


def assert_within(actual: Any, expected: Array, bound: Array) -> None:
    """Same kind of array, NaN and infinities in the same places, and everywhere else no further off than `bound`."""
    assert_same_kind(actual, expected)
    finite = np.isfinite(expected)
    same = (actual == expected) | ((actual != actual) & (expected != expected))
    with np.errstate(invalid="ignore"):
        wide = np.clongdouble if expected.dtype.kind == "c" else np.longdouble
        error = np.abs(np.where(same, 0, actual.astype(wide) - expected.astype(wide)))
        good = same | (finite & (error <= bound))
    if good.all():
        return
    first = tuple(int(axis[0]) for axis in np.nonzero(~good))
    allowed = np.broadcast_to(bound, expected.shape)[first]
    raise AssertionError(
        f"{np.count_nonzero(~good)} of {expected.size} elements differ, the first at {first}: got {actual[first]}, expected "
        f"{expected[first]} within {allowed:.3g}"
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
    if found.dtype.kind in "iu" or (exact and case.family not in ("conv", "conv_transpose")):
        return (Answer(found, np.zeros(()), True),)
    computed = np.dtype(np.float32) if found.dtype == np.float16 else found.dtype
    with np.errstate(over="ignore", invalid="ignore"):
        bound = np.finfo(computed).eps * roundings(case, found.dtype) * magnitude(case, inputs, found)
        if computed != found.dtype:
            bound = bound + np.finfo(found.dtype).eps * np.abs(found.astype(np.float64))
    return (Answer(found, bound, exact),)


def is_exact(case: Case, inputs: dict[str, Array], dtype: np.dtype[Any]) -> bool:
    """Whether every sum is of whole numbers, each of which, and whose total, a float holds."""
    if case.family in ("max_pool", "min_pool", "adaptive_max_pool", "max_unpool", "unfold"):
        return True
    if not all(is_whole(array) for array in inputs.values()):
        return False
    limit = EXACT[max(4, dtype.itemsize // (2 if dtype.kind == "c" else 1))]
    largest = {name: float(np.abs(array).max(initial=0)) for name, array in inputs.items()}
    geometry = case.geometry
    if case.family in ("conv", "conv_transpose"):
        total = geometry.reduction * largest["x"] * largest["w"] + largest.get("bias", 0)
        return total < limit and geometry.activation.kind in ("none", "clip")
    if case.family == "activation":
        return geometry.activation.kind == "clip"
    return case.family == "fold" and geometry.windows.taps * largest["x"] < limit


def is_whole(array: Array) -> bool:
    """Whether all elements are whole numbers."""
    parts = (array.real, array.imag) if array.dtype.kind == "c" else (array,)
    return all(bool((part == np.trunc(part)).all()) for part in parts)


def roundings(case: Case, dtype: np.dtype[Any]) -> float:
    """L of the formula: roundings on the way to one output."""
    geometry = case.geometry
    if case.family in ("conv", "conv_transpose"):
        products = geometry.reduction + 1
        return (COMPLEX_PRODUCT if dtype.kind == "c" else 1) * products + ROUNDINGS[geometry.activation.kind]
    if case.family == "activation":
        return ROUNDINGS[geometry.activation.kind]
    if case.family == "fold":
        return float(geometry.windows.taps)
    if case.family == "lp_pool":
        return (geometry.taps + NORM_ROUNDINGS) * max(1.0, 1 / geometry.norm_type)
    return geometry.taps + (COMPLEX_PRODUCT if dtype.kind == "c" else 1)


def magnitude(case: Case, inputs: dict[str, Array], value: Array) -> Array:
    """conv(|x|, |w|) + |bias| of the formula, or what it is for the other sums: the same operation on absolute values."""
    wide = {
        name: array if name == "indices" else np.abs(array.astype(np.complex128 if array.dtype.kind == "c" else np.float64))
        for name, array in inputs.items()
    }
    if case.family in ("conv", "conv_transpose"):
        return case.call(wide, "reference", activation=None)
    if case.family in ("lp_pool", "activation"):
        return np.abs(value.astype(np.float64)) if case.family == "lp_pool" else wide["x"]
    return np.abs(case.call(wide, "reference"))
