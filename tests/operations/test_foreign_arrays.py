"""Arrays of every wrong kind in every public function: an error that names the argument, inputs untouched, in good time."""

import contextlib
import gc
import inspect
import io
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from case import Case
from cases import CASES

import fastconv as fc

SECONDS = 1.0  # for a refusal: nothing is compiled for it
OPERATIONS = {case.operation: case for case in reversed(CASES) if 0 not in case.x_shape and not case.is_gradient}
ARRAYS = ("x", "w", "bias", "indices")
STRUCTURE = [("a", "f4"), ("b", "i4")]
# What no argument may be, whatever its place.
WRONG: dict[str, Callable[[np.ndarray], Any]] = {
    "bool": lambda array: array.astype(bool),
    "object": lambda array: array.astype(object),
    "strings": lambda array: array.astype("U4"),
    "bytes": lambda array: array.astype("S4"),
    "dates": lambda array: array.astype("i8").astype("M8[s]"),
    "structured": lambda array: np.zeros(array.shape, STRUCTURE),
    "longdouble": lambda array: array.astype(np.longdouble),
    "masked": np.ma.masked_array,
    "list of text": lambda array: [["a", "b"], ["c", "d"]],
    "ragged": lambda array: [[1.0], [1.0, 2.0]],
    "none in a list": lambda array: [None, 1.0],
    "a dict": lambda array: {"x": array},
    "a generator": lambda array: iter(array),
    "text": lambda array: "x",
    "a type": lambda array: float,
}


def inputs_of(case: Case) -> dict[str, np.ndarray]:
    return case.inputs(np.float32)


@contextlib.contextmanager
def without_collections() -> Iterator[None]:
    """A collection of all that a run of tests keeps may take seconds by itself."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def refused(function: Callable[..., Any], name: str, arguments: dict[str, Any]) -> None:
    """The call raises one of the three errors, whose message begins with the argument's name; nothing else happens."""
    found = {key: value for key, value in arguments.items() if type(value) is np.ndarray and value.dtype != object}
    arrays = {key: value for key, value in found.items() if value.nbytes < 2**24}  # larger ones are one cell, repeated
    before = {key: value.tobytes() for key, value in arrays.items()}
    printed, started = io.StringIO(), time.process_time()
    with (
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        pytest.raises((ValueError, TypeError, MemoryError)) as caught,
        without_collections(),
    ):
        function(**arguments)
    assert time.process_time() - started < SECONDS
    assert str(caught.value).startswith(name), caught.value
    assert not printed.getvalue()
    assert {key: value.tobytes() for key, value in arrays.items()} == before


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_array_of_a_wrong_kind(operation: str, wrong: str) -> None:
    """Any of the arrays of the operation, one at a time."""
    case = OPERATIONS[operation]
    good = {**inputs_of(case), **dict(case.options)}
    tried = 0
    for name in ARRAYS:
        if name in good:
            refused(getattr(fc, operation), name, {**good, name: WRONG[wrong](good[name])})
            tried += 1
    assert tried


OUTS: dict[str, Callable[[np.ndarray], Any]] = {
    "read-only": lambda out: np.broadcast_to(out, out.shape),
    "another shape": lambda out: np.empty((*out.shape, 2), out.dtype),
    "another dtype": lambda out: np.empty(out.shape, np.int16),
    "the other byte order": lambda out: np.empty(out.shape, out.dtype.newbyteorder("S")),
    "overlapping cells": lambda out: np.lib.stride_tricks.as_strided(np.empty(99999, out.dtype), out.shape, (4,) * out.ndim),
    "masked": lambda out: np.ma.masked_array(out),
    "a list": lambda out: out.tolist(),
    "text": lambda out: "out",
    "a number": lambda out: 1,
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("wrong", OUTS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_wrong_out(operation: str, wrong: str) -> None:
    """Of functions and of plans, each output of those that have two."""
    case = OPERATIONS[operation]
    inputs = inputs_of(case)
    first = case.call(inputs)
    shape = first[0].shape if isinstance(first, tuple) else first.shape
    if wrong == "overlapping cells" and sum(cells > 1 for cells in shape) < 2:
        pytest.skip("one axis cannot overlap itself by steps of a cell")
    if "return_indices" in inspect.signature(getattr(fc, operation)).parameters and wrong != "a list":
        values, indices = case.call(inputs, return_indices=True)
        refused(case.call, "out[0]", {"inputs": inputs, "return_indices": True, "out": (OUTS[wrong](values), indices)})
    out = case.call(inputs, **({"return_indices": False} if "return_indices" in dict(case.options) else {}))
    good = {**inputs, **dict(case.options)}
    good.pop("return_indices", None)
    refused(getattr(fc, operation), "out", {**good, "out": OUTS[wrong](out)})
    changes = {key: value for key, value in good.items() if key not in ("x", "indices")}
    plan = getattr(fc, operation).plan(case.x_shape, **changes)
    refused(plan, "out", {**{key: inputs[key] for key in ("x", "indices") if key in inputs}, "out": OUTS[wrong](out)})


@pytest.mark.parametrize("operation", OPERATIONS)
def test_names_of_implementations(operation: str) -> None:
    """Of another operation, empty, in other letters, and no names at all; "measure" is for plans."""
    case = OPERATIONS[operation]
    good = {**inputs_of(case), **dict(case.options)}
    planned = {key: value for key, value in good.items() if key not in ("x", "indices")}
    names = fc.implementations(operation)
    assert names[-1] == "reference"
    for wrong in (
        "",
        "Direct",
        "nothing",
        "auto ",
        *{"winograd", "strided", "fft", "running"}.difference(names),
        None,
        1,
        b"auto",
    ):
        refused(getattr(fc, operation), "implementation", {**good, "implementation": wrong})
        refused(getattr(fc, operation).plan, "implementation", {"x_shape": case.x_shape, **planned, "implementation": wrong})
    refused(getattr(fc, operation), "implementation", {**good, "implementation": "measure"})


HUGE_PRODUCTS = [
    ("conv2d", (2**31, 2**31, 2, 2), (1, 2**31, 1, 1)),
    ("conv2d", (2**16, 1, 2**16, 2**32), (1, 1, 1, 1)),
    ("max_pool2d", (2**40, 2**40, 2, 2), None),
    ("relu", (2**32, 2**32), None),
    ("adaptive_avg_pool3d", (1, 1, 2**21, 2**21, 2**22), None),
    ("unfold", (1, 2**30, 2**30, 2**10), None),
]


@pytest.mark.parametrize(("operation", "x_shape", "w_shape"), HUGE_PRODUCTS)
def test_shapes_whose_products_pass_64_bits(operation: str, x_shape: tuple[int, ...], w_shape: tuple[int, ...] | None) -> None:
    """Plans and explanations refuse them by name."""
    options = {} if operation in ("conv2d", "relu") else {"output_size": 2} if "adaptive" in operation else {"kernel_size": 2}
    if w_shape is not None:
        options["w"] = np.broadcast_to(np.float32(0), w_shape)
    refused(getattr(fc, operation).plan, "x_shape", {"x_shape": x_shape, **options})


@pytest.mark.parametrize(
    "operation", ["conv1d", "conv2d", "max_pool2d", "unfold", "fold", "max_unpool2d", "adaptive_avg_pool2d"]
)
@pytest.mark.parametrize(
    "value", [2**31 - 1, 2**31, 2**32 + 1, 2**60, 2**62, 2**63 - 1, 2**64, -1, -(2**63), 1.5, np.nan, None]
)
def test_sizes_at_the_edges_of_integers(operation: str, value: Any) -> None:
    """As any of the sizes of a call: refused at once, unless it is one that the call can have."""
    case = OPERATIONS[operation]
    good = {**inputs_of(case), **dict(case.options)}
    sizes = {"stride", "padding", "dilation", "groups", "kernel_size", "output_size"}
    parameters = sizes & inspect.signature(getattr(fc, operation)).parameters.keys()
    assert parameters
    function = getattr(fc, operation)
    function(**good)
    for parameter in sorted(parameters):
        started, message = time.perf_counter(), None
        try:
            function(**{**good, parameter: value})
        except MemoryError:
            pass
        except (ValueError, TypeError) as error:
            message = str(error)
        named = {"kernel_size", "padding", "stride", "x", "w", "output_size"} | {parameter}
        assert message is None or message.startswith(tuple(named)), message
        assert time.perf_counter() - started < 30 * SECONDS


@pytest.mark.parametrize("parameter", ["padding_mode", "layout", "implementation", "activation"])
@pytest.mark.parametrize("value", [np.zeros((0, 3)), np.array([1, 2]), np.array("relu"), (np.array([1, 2]), 0, 1)])
def test_arrays_where_names_belong(parameter: str, value: Any) -> None:
    """They are compared with no name, which would give an array, a warning or an error that names nothing."""
    refused(fc.conv2d, parameter, {"x": np.ones((1, 2, 5, 5)), "w": np.ones((2, 2, 3, 3)), parameter: value})
