"""Anything may come in; only a result, or a ValueError, TypeError or MemoryError in good time, comes out."""

import contextlib
import inspect
import io
import time
from typing import Any

import numpy as np
import pytest
from case import Case
from cases import BROAD, CASES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastconv as fc

SECONDS = 30  # a call that compiles something takes two of them
CACHES = ("set_cache_bytes", "get_cache_bytes", "clear_caches")
PATCHING = ("patch_scipy", "unpatch_scipy")
APART = {"set_num_threads", "get_num_threads", "warmup", "implementations", "explain", "compare", *CACHES, *PATCHING}
HUGE = (2**53, 2**61, 2**62, 2**63, 2**70)  # no machine has memory for the first
GARBAGE: tuple[Any, ...] = (
    *(None, True, False, 0, 1, 2, 3, -1, *HUGE, -(2**63), 1.5, float("nan"), float("inf"), -1.0, 1j),
    *(
        "",
        "same",
        "valid",
        "reflect",
        "NHWC",
        "relu",
        "reference",
        b"x",
        (),
        (1,),
        (1, 2),
        (0, 1),
        (2, 2, 2),
        (1,) * 9,
        [3],
        [[1, 1]],
    ),
    *(
        ((1, 0), (0, 1)),
        ((1, 2),),
        (HUGE[0], 1),
        ("clip", 0, 1),
        ("clip", 1),
        ("leaky_relu", 0.5),
        {},
        {1},
        object(),
        len,
        range(2),
    ),
    *(
        np.float32(1),
        np.int8(2),
        np.bool_(True),
        np.array(2),
        np.array([1, 2]),
        np.array([1.5]),
        np.zeros((0, 3)),
        np.zeros((1, 2, 0, 4)),
    ),
    *(np.ones((1, 2, 5, 5), np.float32), np.ones((2, 2, 3, 3)), np.full((2, 7), np.nan), np.array("x"), np.array([None, 1])),
    *(np.ones((2, 2, 2), ">i4"), np.ones(3, "m8[s]"), np.ma.zeros((2, 5)), np.broadcast_to(np.float32(0), (1, 2, 5, 5))),
)
garbage = st.sampled_from(range(len(GARBAGE)))
FUNCTIONS = {case.operation: case for case in reversed([*CASES, *BROAD])}


def public_functions() -> list[str]:
    """What takes data or shapes: every function but those that only look things up."""
    return [
        name
        for name in fc.__all__
        if callable(getattr(fc, name)) and not inspect.isclass(getattr(fc, name)) and name not in APART
    ]


def planned(name: str) -> str:
    """The name of an operation's plan, as the tests call it."""
    return f"{name}.plan"


def function_of(name: str) -> Any:
    """An operation, or its plan."""
    return getattr(fc, name.removesuffix(".plan")).plan if name.endswith(".plan") else getattr(fc, name)


def parameters_of(name: str) -> list[str]:
    """The names of all arguments."""
    operation = getattr(fc, name.removesuffix(".plan"))
    called = list(inspect.signature(operation).parameters)
    if not name.endswith(".plan"):
        return called
    return ["x_shape", "x_dtype", *(one for one in called if one not in ("x", "indices", "out"))]


def good_arguments(name: str, case: Case) -> dict[str, Any]:
    """Arguments with which the function works."""
    inputs = case.inputs(np.float32)
    if name.endswith(".plan"):
        inputs = {"x_shape": case.x_shape, **{key: value for key, value in inputs.items() if key in ("w", "bias")}}
    return {**inputs, **dict(case.options)}


@pytest.mark.parametrize("name", [*public_functions(), *map(planned, public_functions())])
def test_garbage(name: str) -> None:
    """One to three arguments of a good call replaced by anything: nothing is printed, no other exception, no long wait."""
    function, parameters = function_of(name), parameters_of(name)
    good = good_arguments(name, FUNCTIONS[name.removesuffix(".plan")])
    function(**good)
    tried = 0

    @settings(derandomize=True, deadline=None, max_examples=60, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.dictionaries(st.sampled_from(parameters), garbage, min_size=1, max_size=3))
    def attempt(chosen: dict[str, int]) -> None:
        nonlocal tried
        tried += 1
        arguments = {**good, **{key: GARBAGE[index] for key, index in chosen.items()}}
        printed, started = io.StringIO(), time.perf_counter()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            try:
                found = function(**arguments)
            except (ValueError, TypeError, MemoryError):
                pass
            else:
                assert isinstance(found, (np.ndarray, tuple, fc.Plan))
        assert not printed.getvalue()
        assert time.perf_counter() - started < SECONDS

    attempt()
    assert tried >= 20


def test_every_value_in_every_argument_of_conv2d() -> None:
    """All of the garbage, one argument at a time."""
    good = good_arguments("conv2d", FUNCTIONS["conv2d"])
    for parameter in inspect.signature(fc.conv2d).parameters:
        for value in GARBAGE:
            with contextlib.suppress(ValueError, TypeError, MemoryError):
                assert isinstance(fc.conv2d(**{**good, parameter: value}), np.ndarray)


MAPS, PLANE = np.ones((1, 2, 5, 5), np.float32), np.ones((2, 7), np.float32)
NAMED = [
    ("clip", lambda f: f(PLANE, "a", 1), "^low must be a real number"),
    ("clip", lambda f: f(PLANE, 0, (1,)), "^high must be a real number"),
    ("clip", lambda f: f(PLANE, 2, 1), "^low and high must be"),
    ("leaky_relu", lambda f: f(PLANE, None), "^negative_slope must be a real number"),
    ("leaky_relu", lambda f: f(PLANE, float("inf")), "^negative_slope must have a finite slope"),
    ("gelu", lambda f: f(PLANE.astype(int)), "^x has dtype int64, which gelu is not defined for"),
    ("gelu", lambda f: f.plan((3,), x_dtype=int), "^x_dtype is int64, which gelu is not defined for"),
    ("lp_pool2d", lambda f: f.plan((1, 2, 5, 5), 2, 2, x_dtype="i4"), "^x_dtype is int32"),
    ("max_pool2d", lambda f: f.plan((1, 2, 5, 5), 2, x_dtype=bool), "^x_dtype is bool.*x.view[(]numpy.uint8[)]"),
    ("max_pool2d", lambda f: f(MAPS > 0, 2), "^x has dtype bool.*x.view[(]numpy.uint8[)]"),
    ("max_pool2d", lambda f: f.plan(np.array(3), 2), "^x_shape must be a tuple"),
    ("avg_pool2d", lambda f: f(MAPS, 2, padding=(np.array(1), "x")), "^padding must be an int"),
    ("avg_pool2d", lambda f: f(MAPS, 2, padding=[(0, 1), np.array(1)]), "^padding must be one"),
    ("relu", lambda f: f.plan((3,), x_dtype=b"a"), "^x_dtype must be a dtype"),
    ("global_avg_pool", lambda f: f(MAPS, layout=np.ones(2)), "^layout must be None or one of"),
    ("conv2d", lambda f: f(MAPS, MAPS, padding_value=np.ones((0, 2))), "^padding_value must be a number"),
    ("conv2d", lambda f: f.explain((1, 2, 5, 5), w=MAPS), "takes w_shape"),
    ("conv2d", lambda f: f.plan((1, 2, 5, 5), np.broadcast_to(np.float32(0), (2**20, 2**20, 3, 3))), "^w of shape"),
    ("unfold", lambda f: f.plan((2, 7), (3,) * 4), "^x_shape and kernel_size must"),
    ("fold", lambda f: f(np.ones((1, 4, 9)), (9, 9), 2, stride=2**40), r"stride \(1099511627776, 1099511627776\)"),
]


@pytest.mark.parametrize(("name", "call", "words"), NAMED, ids=[f"{name}-{words[1:20]}" for name, _, words in NAMED])
def test_refusals_name_the_argument_as_the_caller_wrote_it(name: str, call: Any, words: str) -> None:
    with pytest.raises((ValueError, TypeError, MemoryError), match=words):
        call(getattr(fc, name))


@pytest.mark.parametrize("name", sorted(APART - {"compare", "warmup", *CACHES, *PATCHING}))
def test_garbage_where_things_are_looked_up(name: str, threads: None) -> None:
    """Likewise: names and numbers. Only the name of an operation, and a number of threads, are good for anything."""
    good = [value for value in GARBAGE if works(getattr(fc, name), value)]
    assert all(isinstance(value, str) if name == "implementations" else value >= 1 for value in good)


def works(function: Any, value: Any) -> bool:
    """Whether a call succeeds; any error but the two that are allowed ends the test."""
    try:
        function(value)
    except (ValueError, TypeError):
        return False
    return True
