"""The registry is the matrix: every implementation on every case, on dtypes and on memory of every kind."""

from typing import Any

import memory
import numpy as np
import pytest
from case import Case
from cases import BROAD, CASES
from comparing import answers, assert_answers, assert_same_bits, expect

import fastconv as fc
from fastconv.machine import host
from fastconv.plans import dispatch
from fastconv.plans.registry import OPERATIONS, Implementation

LEAST = 5  # cases that each implementation must serve
MORE_DTYPES = tuple(map(np.dtype, ("float64", "float16", "int8", "uint8", "int64", "complex64")))
# Of each operation one case in each layout, the last of them: what lies in memory how does not depend on the geometry.
PLACED = list({(case.operation, dict(case.options).get("layout"), case.family): case for case in BROAD}.values())
PLACED += [case for case in BROAD if case.name in ("depthwise-stride2", "kernel3x3-two-images", "indices-padding")]
OF_EACH_RANK = ("direct", "fft", "depthwise", "running")  # vector kernels that walk over three axes
PLAIN = ("loops", "strided", "im2col")  # implementations without vectors of their own
ORDERED = ("max_pool", "min_pool", "rank_pool", "adaptive_max_pool", "activation", "lp_pool")


def rivals(case: Case) -> list[Implementation]:
    """All implementations of a case's operation but the reference."""
    return [one for one in OPERATIONS[case.family] if one.name != "reference"]


def placed(places: Any, often: Any) -> Any:
    """Parameters: places in memory, those `often` in ordinary runs, the others in exhaustive ones."""
    kept = [pytest.param(place, marks=() if place in often else pytest.mark.exhaustive, id=place.__name__) for place in places]
    return pytest.mark.parametrize("place", kept)


def matrix(cases: list[Case], often: list[Case] | None = None, alike: tuple[str, ...] = ()) -> Any:
    """Parameters: every case on every implementation of its operation.

    Those `often` go in both layouts where memory is placed, else with channels first; the others, and the rest, in
    exhaustive runs. There the families `alike`, whose kernels are another's but for how a cell is taken in, are left to
    slow runs. Kernels of vectors take seconds to compile: of the others the layouts take turns, and slow runs have both,
    and one axis and three for kernels that see them as two.
    """
    with_both = dict.fromkeys((case.operation, case.name) for case in cases if dict(case.options).get("layout"))
    turns = {key: turn % 2 for turn, key in enumerate(with_both)}

    def marks(case: Case, one: Implementation) -> Any:
        last = case.channels_last
        if often is None or case in often:
            return pytest.mark.exhaustive if often and last and case not in PLACED else ()
        if case.family in alike:
            return pytest.mark.slow
        if one.name in PLAIN:
            return pytest.mark.exhaustive
        seldom = case.function.rank in (1, 3) and one.name not in OF_EACH_RANK
        return pytest.mark.slow if seldom or turns.get((case.operation, case.name), last) != last else pytest.mark.exhaustive

    return pytest.mark.parametrize(
        ("case", "implementation"),
        [pytest.param(case, one, id=f"{case}-{one.name}", marks=marks(case, one)) for case in cases for one in rivals(case)],
    )


def refused(case: Case, implementation: Implementation, dtype: Any) -> bool:
    """Whether the implementation has a reason not to serve the case; then shows that a call says what explain() says."""
    if implementation.supports(case.problem(dtype)) is None:
        return False
    with pytest.raises(ValueError, match=f"implementation '{implementation.name}' cannot serve this call: ") as error:
        case.call(case.inputs(dtype), implementation.name)
    assert any(str(error.value) in line for line in case.explain(dtype))
    return True


def defined(case: Case, dtype: Any) -> bool:
    """Whether the operation is defined for a dtype: an order, a root and most activations need real or float numbers."""
    kind = np.dtype(dtype).kind
    if case.is_gradient:
        return kind == "f"
    if kind == "c":
        return case.family not in ORDERED and not dict(case.options).get("activation")
    return kind == "f" or not case.floats_only


@matrix(CASES, often=BROAD, alike=("min_pool", "lp_pool"))
def test_every_implementation_gives_what_the_reference_gives(case: Case, implementation: Implementation) -> None:
    """Bit for bit on whole numbers whose sums floats hold, within the family's bound on normal ones; or explain()'s refusal.

    The function gets the whole numbers, which stay as they were; a plan the normal ones, twice, and gives the same bits.
    """
    if refused(case, implementation, np.float32):
        return
    inputs = case.inputs(np.float32)
    before = {name: array.copy() for name, array in inputs.items()}
    assert_answers(case.call(inputs, implementation.name), answers(case, np.float32), implementation.error)
    for name, array in inputs.items():
        assert_same_bits(array, before[name])
    inputs = case.inputs(np.float32, "normal")
    plan = case.plan(inputs, implementation.name)
    arrays = case.operands(plan, inputs)
    found = plan(*arrays)
    assert_answers(found, answers(case, np.float32, "normal"), implementation.error)
    assert_same_bits(plan(*arrays), found)


def typed() -> list[Any]:
    """Broad cases on every implementation in more dtypes; in those that compile much, one of each operation and layout."""

    def marks(case: Case, dtype: np.dtype[Any]) -> Any:
        # min_pool's and lp_pool's kernels differ from those of max_pool and avg_pool in how a cell is taken in.
        seldom = case not in PLACED or (case.channels_last and dtype == np.float64)
        return pytest.mark.slow if case.family in ("min_pool", "lp_pool") or seldom else pytest.mark.exhaustive

    return [
        pytest.param(case, one, dtype, id=f"{case}-{one.name}-{dtype}", marks=marks(case, dtype))
        for dtype in MORE_DTYPES
        for case in BROAD
        for one in rivals(case)
    ]


@pytest.mark.parametrize(("case", "implementation", "dtype"), typed())
def test_every_dtype(case: Case, implementation: Implementation, dtype: Any) -> None:
    """Integers wrap, float16 is rounded once, complex works; where an operation is not defined, a TypeError names the dtype."""
    inputs = case.inputs(dtype)
    if not defined(case, dtype):
        with pytest.raises(TypeError, match=str(dtype)):
            case.call(inputs, implementation.name)
        return
    if refused(case, implementation, dtype):
        return
    assert_answers(case.call(inputs, implementation.name), answers(case, dtype), implementation.error)
    if dtype.kind in "fc":
        normal = case.inputs(dtype, "normal")
        assert_answers(case.call(normal, implementation.name), answers(case, dtype, "normal"), implementation.error)


@placed(memory.READABLE, often=(memory.sliced,))
@matrix(PLACED)
def test_memory_of_inputs_does_not_matter(case: Case, implementation: Implementation, place: Any) -> None:
    """The same values anywhere in memory give the same bits, and nothing in that memory changes."""
    if refused(case, implementation, np.float32):
        return
    inputs = case.inputs(np.float32, "normal")
    placed = {name: place(array) for name, array in inputs.items()}
    before = {name: memory.whole_buffer(array).copy() for name, array in placed.items()}
    assert_same_bits(case.call(placed, implementation.name), case.call(inputs, implementation.name))
    for name, array in placed.items():
        assert_same_bits(memory.whole_buffer(array), before[name])


@placed((np.copy, *memory.WRITEABLE), often=(memory.sliced,))
@matrix(PLACED)
def test_out_may_lie_anywhere(case: Case, implementation: Implementation, place: Any) -> None:
    """The result is written to `out`, which comes back, and to no cell around it."""
    if refused(case, implementation, np.float32):
        return
    inputs = case.inputs(np.float32, "normal")
    expected = case.call(inputs, implementation.name)
    outs = tuple(place(np.full_like(one, 5)) for one in (expected if isinstance(expected, tuple) else (expected,)))
    around = [memory.whole_buffer(out).copy() for out in outs]
    given = outs if isinstance(expected, tuple) else outs[0]
    found = case.call(inputs, implementation.name, out=given)
    for one, out in zip(found if isinstance(found, tuple) else (found,), outs, strict=True):
        assert one is out
    assert_same_bits(found, expected)
    for out, before in zip(outs, around, strict=True):
        out[...] = 5
        assert_same_bits(memory.whole_buffer(out), before)


@pytest.mark.exhaustive
@pytest.mark.parametrize("place", memory.READABLE, ids=lambda place: place.__name__)
def test_auto_takes_any_memory(place: Any) -> None:
    """What "auto" chooses works on the dtypes and places of the matrix as the named ones do."""
    for case in BROAD:
        inputs = case.inputs(np.float32)
        placed = {name: place(array) for name, array in inputs.items()}
        assert_same_bits(case.call(placed), case.call(inputs))


@pytest.mark.parametrize(
    ("x", "w"),
    [
        ("int8", "uint8"),
        *(pytest.param(*pair, marks=pytest.mark.exhaustive) for pair in (("float32", "int8"), ("float16", "float32"))),
        *(pytest.param(*pair, marks=pytest.mark.slow) for pair in (("int64", "float32"), ("complex64", "float64"))),
    ],
)
@pytest.mark.parametrize("operation", ["conv2d", "conv_transpose2d"])
def test_mixed_dtypes_give_the_result_type(x: str, w: str, operation: str) -> None:
    """x and w of two dtypes are computed in numpy.result_type of both, by every implementation."""
    case = next(case for case in BROAD if case.operation == operation and case.bias and not case.floats_only)
    inputs = {"x": case.inputs(x)["x"], "w": case.inputs(w)["w"]}
    expected = expect(case, inputs)
    assert expected[0].value.dtype == np.result_type(np.dtype(x), np.dtype(w))
    for one in OPERATIONS[case.family]:
        if one.supports(case.problem(expected[0].value.dtype)) is None:
            assert_answers(case.call(inputs, one.name), expected, one.error)


def channel_axis(case: Case) -> int:
    """The axis of the channels of x, and of those of a group's input in the weights."""
    return -1 if case.geometry.channels_last else 1


NONFINITE = {"nan": np.nan, "inf": np.inf, "minus-inf": -np.inf}


@pytest.mark.parametrize("value", NONFINITE.values(), ids=NONFINITE)
@matrix([case for case in BROAD if case.family not in ("activation",)])
def test_nan_and_inf_reach_only_their_windows(case: Case, implementation: Implementation, value: float) -> None:
    """A NaN or inf in x comes out where the reference has it, and everywhere else the result is what it was."""
    if refused(case, implementation, np.float32):
        return
    inputs = case.inputs(np.float32)
    if "w" in inputs:
        inputs["w"][inputs["w"] == 0] = 1
    cell = tuple(size // 2 for size in inputs[case.first].shape)
    inputs[case.first][cell] = value
    with np.errstate(invalid="ignore"):
        expected = case.call(inputs, "reference")
        found = case.call(inputs, implementation.name)
    if implementation.error.spread:  # over a tile, but no other image, or channel of a gradient
        assert not np.isfinite(found[~np.isfinite(expected)]).any()
        axis, at = (0, cell[0]) if case.family != "conv_weight" else (channel_axis(case), cell[channel_axis(case)])
        assert np.isfinite(np.delete(found, at, axis)).all()
        return
    for one, other in zip(*((each if isinstance(each, tuple) else (each,)) for each in (found, expected)), strict=True):
        np.testing.assert_array_equal(np.isnan(one), np.isnan(other))
        np.testing.assert_array_equal(np.isinf(one), np.isinf(other))


# The list itself --------------------------------------------------------------------------------------------------------

ENTRIES = [pytest.param(family, one, id=f"{family}-{one.name}") for family, names in OPERATIONS.items() for one in names]


@pytest.mark.parametrize(("family", "implementation"), ENTRIES)
def test_every_implementation_serves_cases(family: str, implementation: Implementation) -> None:
    """No entry of the registry passes the matrix by refusing it."""
    cases = [case for case in CASES if case.family == family]
    served = [case for case in cases if implementation.supports(case.problem("f4")) is None]
    assert len(served) >= LEAST
    assert any(case in served for case in BROAD)
    assert len({dict(case.options).get("layout") for case in served}) >= (2 if "conv" in family or "pool" in family else 1)


@pytest.mark.parametrize(("family", "implementation"), ENTRIES)
def test_an_entry_is_a_whole_record(family: str, implementation: Implementation) -> None:
    """A name, one line about it, a finite cost, weights packed where there are weights; the reference serves all."""
    assert implementation.name.isidentifier()
    assert implementation.summary
    assert "\n" not in implementation.summary
    assert (implementation.pack is not None) == (family in ("conv", "conv_transpose"))
    for case in CASES:
        if case.family == family:
            reason = implementation.supports(case.problem("f4"))
            assert reason is None or (isinstance(reason, str) and reason and implementation.name != "reference")
            assert reason or 0 < implementation.cost(case.problem("f4"), host()) < float("inf")


@pytest.mark.parametrize("family", OPERATIONS)
def test_the_reference_comes_last(family: str) -> None:
    """Names are unique, "auto" is none of them, and the reference is the last."""
    names = [one.name for one in OPERATIONS[family]]
    assert len(set(names)) == len(names)
    assert "auto" not in names
    assert names[-1] == "reference"
    assert names.count("reference") == 1


OPERATION_CASES = list({case.operation: case for case in CASES}.values())


@pytest.mark.parametrize("case", OPERATION_CASES, ids=lambda case: case.operation)
def test_an_unknown_implementation_lists_the_valid_ones(case: Case) -> None:
    """The message names the argument, what came and all that is allowed."""
    with pytest.raises(ValueError, match=r"implementation must be .*got 'fastest'") as error:
        case.call(case.inputs(np.float32), "fastest")
    names = fc.implementations(case.operation)
    assert all(repr(name) in str(error.value) for name in names)


def test_every_operation_has_cases() -> None:
    """Every public function that takes implementation= is in the matrix, and ids are unique."""
    public = {name for name in fc.__all__ if isinstance(getattr(fc, name), fc.Operation)}
    public |= {name for name in fc.grad.__all__ if not name.startswith("conv") or name.endswith("_weight")}
    assert {case.operation for case in CASES} == public
    assert len({str(case) for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", BROAD, ids=str)
def test_explain_has_a_line_for_each(case: Case) -> None:
    """One line a candidate, in the registry's order, of which one is chosen: the one that a plan takes.

    Before them, that of an implementation that serves the phases of a transposed convolution alone.
    """
    lines = case.explain(np.float32)
    names, told = fc.implementations(case.operation), [line.split("'")[1] for line in lines]
    chosen = [name for name, line in zip(told, lines, strict=True) if "is chosen" in line]
    assert chosen == [case.plan(case.inputs(np.float32)).implementation.name]
    assert told == names or (told == [*chosen, *names] and chosen[0] not in names and case.family == "conv_transpose")


def test_explain_serves_every_case() -> None:
    """No geometry, the empty ones included, is beyond explaining."""
    for case in CASES:
        assert len(case.explain(np.float32)) - len(OPERATIONS[case.family]) in (0, case.family == "conv_transpose")


@pytest.mark.parametrize("once", [False, True])
def test_no_search_is_left_out_that_would_find_a_cheaper_one(once: bool) -> None:
    """Bounds are below costs, and the choice is that of all estimates."""
    bounded = 0
    for case in CASES:
        for problem in {case.problem(dtype) for dtype in ("float32", "float64", "complex64") if defined(case, dtype)}:
            fitting = [one for one in OPERATIONS[case.family] if one.supports(problem) is None]
            for one in fitting:
                if one.least is not None:
                    bounded += 1
                    assert one.least(problem, host()) <= one.cost(problem, host())
            best = min(fitting, key=lambda one: dispatch.estimate(one, problem, host(), once))
            assert dispatch.least_of(OPERATIONS[case.family], problem, host(), once) is best
    assert bounded > 50


@pytest.mark.skipif(host().vector_bytes < 32, reason="narrow vectors are no faster than BLAS")
@pytest.mark.parametrize("rows", [2, 4, 6])
def test_products_of_a_few_rows_are_not_for_blas(rows: int) -> None:
    """Which packs the weights for each call."""
    plan = fc.conv2d.plan((rows, 2048, 1, 1), np.ones((1000, 2048, 1, 1), np.float32))
    assert plan.implementation.name == "direct"


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (1, 2), (3, 3), (5, 1)])
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_channels_of_integers_alone_are_not_left_to_loops(kernel: int, stride: int, dtype: str) -> None:
    """Which ask of each tap whether it lies in the image."""
    w = np.ones((19, 1, kernel, kernel), dtype)
    plan = fc.conv2d.plan((2, 19, 78, 73), w, x_dtype=dtype, stride=stride, padding=kernel // 2, groups=19)
    assert plan.implementation.name != "loops"


def test_transposed_columns_are_counted_by_output_channels() -> None:
    """The estimate of im2col falls with them: the columns are what the product makes."""
    found = []
    for outputs in (2, 64):
        plan = fc.conv_transpose2d.plan(
            (1, 64, 30, 30), np.ones((64, outputs, 3, 3), np.float32), stride=2, implementation="im2col"
        )
        found.append(plan.implementation.cost(plan.served, host()))
    assert 5 * found[0] < found[1]
