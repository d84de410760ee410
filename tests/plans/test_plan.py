"""Plans: decided once, never changed, used by any number of threads."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, fields
from typing import Any

import numpy as np
import pytest
from case import Case
from cases import BROAD, CASES
from comparing import assert_same_bits

import fastconv as fc
from fastconv.plans.registry import OPERATIONS

CONVOLUTIONS = [case for case in BROAD if case.family in ("conv", "conv_transpose") and not case.residual]
SERVED = [
    pytest.param(case, one.name, id=f"{case}-{one.name}")
    for case in CONVOLUTIONS
    for one in OPERATIONS[case.family]
    if one.supports(case.problem(np.float32)) is None
]


@pytest.mark.parametrize("case", list({case.operation: case for case in CASES}.values()), ids=lambda case: case.operation)
def test_a_plan_gives_what_the_function_gives(case: Case) -> None:
    """The same bits, of the shape and dtype that the plan says, under the public name of the operation."""
    inputs = case.inputs(np.float32, "normal")
    plan = case.plan(inputs)
    given = case.operands(plan, inputs)
    found = plan(*given)
    assert_same_bits(found, case.call(inputs))
    first = found[0] if isinstance(found, tuple) else found
    assert plan.operation == case.operation
    assert (plan.x_shape, plan.out_shape, plan.out_dtype) == (given[0].shape, first.shape, first.dtype)


@pytest.mark.parametrize("case", BROAD, ids=str)
def test_a_plan_cannot_be_changed(case: Case) -> None:
    """No attribute can be set, deleted or added."""
    plan = case.plan(case.inputs(np.float32))
    for field in fields(plan):
        with pytest.raises(FrozenInstanceError):
            setattr(plan, field.name, None)
        with pytest.raises(FrozenInstanceError):
            delattr(plan, field.name)
    with pytest.raises(FrozenInstanceError):
        plan.another = 1


@pytest.mark.exhaustive
@pytest.mark.parametrize(("case", "implementation"), SERVED)
def test_weights_are_copied(case: Case, implementation: str) -> None:
    """What becomes of w and bias after the plan was made changes nothing."""
    inputs = case.inputs(np.float32, "normal")
    expected = case.call(inputs, implementation)
    plan = case.plan(inputs, implementation)
    for name in ("w", "bias"):
        inputs[name][...] = np.nan
    assert_same_bits(plan(inputs["x"]), expected)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("case", "implementation"), SERVED)
def test_results_do_not_share_memory(case: Case, implementation: str) -> None:
    """A result belongs to its caller: the next call does not touch it, nor does writing to it touch the plan."""
    inputs = case.inputs(np.float32, "normal")
    plan = case.plan(inputs, implementation)
    first = plan(inputs["x"])
    kept = first.copy()
    second = plan(-inputs["x"])
    assert_same_bits(first, kept)
    first[...] = np.nan
    assert_same_bits(plan(-inputs["x"]), second)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("case", "implementation"), SERVED)
def test_eight_threads_share_one_plan(case: Case, implementation: str) -> None:
    """Each gets the result of its own input, every time."""
    base = case.inputs(np.float32, "normal")
    plan = case.plan(base, implementation)
    inputs = [base["x"] * (n + 1) for n in range(8)]
    expected = [plan(x) for x in inputs]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(1 if implementation == "reference" else 10):
            for found, one in zip(pool.map(plan, inputs), expected, strict=True):
                assert_same_bits(found, one)


def test_a_plan_prints_what_was_decided() -> None:
    """Geometry, implementation, packed layout, bytes and work."""
    w = np.ones((8, 2, 3, 3), np.float32)
    plan = fc.conv2d.plan(
        (2, 4, 9, 10), w, stride=2, padding=((1, 0), (2, 1)), groups=2, activation="relu6", implementation="loops"
    )
    text = str(plan)
    flops = 2 * (2 * 8 * 4 * 6) * (2 * 9)
    moved = 4 * (2 * 4 * 9 * 10 + w.size + 2 * 8 * 4 * 6)
    assert plan.out_shape == (2, 8, 4, 6)
    for part in (
        "conv2d by 'loops'",
        "x        (2, 4, 9, 10) float32",
        "w        (8, 2, 3, 3), packed as",
        f"{w.nbytes + 8 * 4:,} bytes",
        "layout   NCHW, 2 groups of 2 -> 4 channels",
        "stride (2, 2), dilation (1, 1), padding 1+0, 2+1 of zeros",
        "clip to 0 .. 6",
        "output   (2, 8, 4, 6) float32",
        f"{flops:,} FLOP",
        f"{moved:,} bytes moved",
    ):
        assert part in text, text
    assert repr(plan) == "<ConvPlan conv2d (2, 4, 9, 10) -> (2, 8, 4, 6) by 'loops'>"


@pytest.mark.parametrize("case", list({case.operation: case for case in CASES}.values()), ids=lambda case: case.operation)
def test_every_plan_prints(case: Case) -> None:
    """The operation, the implementation and both shapes."""
    plan = case.plan(case.inputs(np.float32))
    lines = str(plan).splitlines()
    assert lines[0].startswith(f"{case.operation} by '{plan.implementation.name}'")
    assert any(str(plan.x_shape) in line for line in lines)
    assert any(str(plan.out_shape) in line for line in lines)
    assert "FLOP" in lines[-1]


@pytest.mark.parametrize("implementation", fc.implementations("conv1d"))
def test_float16_is_rounded_once(implementation: str) -> None:
    """Sums are float32's: 2048 + 1 + 1 is 2050, where float16 on the way would leave 2048; then one rounding to even."""
    w = np.ones((1, 1, 3), np.float16)
    refusals = [line for line in fc.explain("conv1d", (1, 3), w.shape, dtype=np.float16).splitlines() if "cannot serve" in line]
    if any(f"'{implementation}'" in line for line in refusals):
        with pytest.raises(ValueError, match="cannot serve this call"):
            fc.conv1d.plan((1, 3), w, implementation=implementation)
        return
    plan = fc.conv1d.plan((1, 3), w, implementation=implementation)
    assert (plan.dtype, plan.out_dtype, plan.problem.dtype) == (np.float16, np.float16, np.float32)
    assert plan(np.array([[2048, 1, 1]], np.float16)).tolist() == [[2050]]
    assert plan(np.array([[2048, 1, 0]], np.float16)).tolist() == [[2048]]
    assert plan(np.array([[2048, 2, 1]], np.float16)).tolist() == [[2052]]
    assert plan(np.array([[60000, 60000, 0]], np.float16)).tolist() == [[np.inf]]


def test_float16_pools_are_rounded_once() -> None:
    x = np.array([[2048, 1, 1, 1]], np.float16)
    assert fc.avg_pool1d(x, 4, divisor_override=1).tolist() == [[2052]]
    assert fc.avg_pool1d(x, 4).dtype == np.float16
    values, indices = fc.max_pool1d(x, 2, return_indices=True)
    assert (values.dtype, indices.dtype) == (np.float16, np.int64)


@pytest.mark.parametrize("implementation", fc.implementations("max_pool2d"))
def test_indices_come_with_their_values(implementation: str, rng: np.random.Generator) -> None:
    """A pair from the function, a plan and out=; each index names a cell of the input plane that holds the value."""
    x = rng.integers(-4, 5, (2, 3, 6, 7)).astype(np.float32)
    try:
        plan = fc.max_pool2d.plan(x.shape, 3, 2, return_indices=True, implementation=implementation)
    except ValueError as error:
        assert implementation not in ("reference", "loops", "direct")
        pytest.skip(str(error))
    values, indices = plan(x)
    assert indices.dtype == np.int64
    assert_same_bits(np.take_along_axis(x.reshape(2, 3, -1), indices.reshape(2, 3, -1), 2).reshape(values.shape), values)
    out = np.empty_like(values), np.empty_like(indices)
    assert plan(x, out)[0] is out[0]
    assert_same_bits(out, (values, indices))
    assert_same_bits(fc.max_pool2d(x, 3, 2, return_indices=True, implementation=implementation), (values, indices))


def test_the_dtype_of_a_plan_is_that_of_its_weights_unless_told() -> None:
    """And the result has numpy.result_type of both."""
    w: Any = np.ones((1, 1, 2), np.int8)
    assert fc.conv1d.plan((1, 3), w).dtype == np.int8
    plan = fc.conv1d.plan((1, 3), w, x_dtype=np.float64)
    assert (plan.dtype, plan.out_dtype) == (np.float64, np.float64)
    assert plan(np.array([[1.5, 2, 3]])).tolist() == [[3.5, 5.0]]
    assert fc.max_pool1d.plan((1, 3), 2).dtype == np.float32


@pytest.mark.parametrize("size", [(127, 128), (128, 128), (129, 131)])
def test_large_results_begin_a_cache_line(size):
    """As plain arrays: in C order, writeable, of no memory that another result has."""
    x = np.ones((1, 1, *size), np.float32)
    for plan in (fc.relu.plan(x.shape), fc.conv2d.plan(x.shape, np.ones((1, 1, 1, 1), np.float32))):
        first, second = plan(x), plan(x)
        assert plan.cells_in_lines == (x.size if x.nbytes >= 64 << 10 else 0)
        if plan.cells_in_lines:
            assert first.ctypes.data % 64 == 0
        assert first.flags.carray
        assert not np.may_share_memory(first, second)
        np.testing.assert_array_equal(first, x)
