"""Every refusal: it names the argument, says what came and what is allowed, and comes before anything runs."""

import operator
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv.plans.registry import OPERATIONS

X, W, BIAS = np.ones((1, 2, 5, 5), np.float32), np.ones((3, 2, 3, 3), np.float32), np.ones(3, np.float32)
BIG = 2**63


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """No kernel may run here, nothing may be printed, and the arrays stay as they are."""

    def run(*arguments: Any) -> None:
        pytest.fail("a kernel ran")

    for family, names in OPERATIONS.items():
        monkeypatch.setitem(OPERATIONS, family, tuple(replace(one, run=run) for one in names))
    yield
    assert capsys.readouterr() == ("", "")
    for array in (X, W, BIAS):
        assert (array == 1).all()


def refuse(error: type[Exception], parts: tuple[str, ...], operation: str, *arguments: Any, **options: Any) -> None:
    """The call raises exactly `error`, whose message begins with the name of the argument and holds all parts."""
    with pytest.raises((ValueError, TypeError)) as caught:
        operator.attrgetter(operation)(fc)(*arguments, **options)
    assert type(caught.value) is error, repr(caught.value)
    for part in parts:
        assert part in str(caught.value), str(caught.value)
    assert "\n" not in str(caught.value)


CONV = [
    ({"stride": 0}, ValueError, ("stride must be at least 1", "got 0")),
    ({"stride": -1}, ValueError, ("stride", "got -1")),
    ({"stride": 1.0}, TypeError, ("stride must be an int", "got 1.0")),
    ({"stride": True}, TypeError, ("stride must be an int", "got True")),
    ({"stride": "2"}, TypeError, ("stride must be an int", "got '2'")),
    ({"stride": None}, TypeError, ("stride must be an int", "got None")),
    ({"stride": (1, 2, 3)}, ValueError, ("stride must be an int or 2 ints", "got (1, 2, 3)")),
    ({"stride": (1, 0)}, ValueError, ("stride must be at least 1", "got 0")),
    ({"stride": ()}, ValueError, ("stride must be an int or 2 ints", "got ()")),
    ({"stride": BIG}, ValueError, ("stride must be below 2**62", str(BIG))),
    ({"dilation": 0}, ValueError, ("dilation must be at least 1", "got 0")),
    ({"dilation": (1,)}, ValueError, ("dilation must be an int or 2 ints", "got (1,)")),
    ({"dilation": 3}, ValueError, ("w has a kernel of 3", "dilation 3", "only 5")),
    ({"padding": -1}, ValueError, ("padding must be at least 0", "got -1")),
    ({"padding": 1.5}, TypeError, ("padding must be an int", "got 1.5")),
    ({"padding": "full"}, ValueError, ("padding must be", '"same_lower"', "got 'full'")),
    ({"padding": ((1, 1),)}, ValueError, ("padding must be one (before, after) pair", "2 axes", "got ((1, 1),)")),
    ({"padding": ((1, 1), (1, 1, 1))}, ValueError, ("padding must be one (before, after) pair", "(1, 1, 1)")),
    ({"padding": ((1, -1), (0, 0))}, ValueError, ("padding must be at least 0", "got -1")),
    ({"padding": (1, 2, 3)}, ValueError, ("padding must be an int or 2 ints", "got (1, 2, 3)")),
    ({"padding": BIG}, ValueError, ("padding must be below 2**62", str(BIG))),
    ({"padding": 2**40}, ValueError, ("padding", "more than a 64-bit offset can reach")),
    ({"padding_mode": "mirror"}, ValueError, ("padding_mode must be one of", "'reflect'", "got 'mirror'")),
    ({"padding_mode": None}, ValueError, ("padding_mode must be one of", "got None")),
    ({"padding": 5, "padding_mode": "reflect"}, ValueError, ("padding must be at most 4", "'reflect'", "got (5, 5)")),
    ({"padding": 6, "padding_mode": "circular"}, ValueError, ("padding must be at most 5", "'circular'", "got (6, 6)")),
    ({"groups": 0}, ValueError, ("groups must be at least 1", "got 0")),
    ({"groups": 3}, ValueError, ("groups must divide the 2 channels", "got 3")),
    ({"groups": 2}, ValueError, ("w must have 1 input channels", "got 2")),
    ({"groups": 1.0}, TypeError, ("groups must be an int", "got 1.0")),
    ({"activation": "tanh"}, ValueError, ("activation must be None, 'relu'", "got 'tanh'")),
    ({"activation": ("clip", 2, 1)}, ValueError, ("activation must be", "low <= high", "('clip', 2, 1)")),
    ({"activation": ("clip", 1)}, ValueError, ("activation must be", "('clip', 1)")),
    ({"activation": ("clip", 0, np.nan)}, ValueError, ("activation must be", "nan")),
    ({"activation": ("clip", "0", 1)}, TypeError, ("activation must be a real number", "'0'")),
    ({"activation": ("leaky_relu", np.inf)}, ValueError, ("activation must have a finite slope", "inf")),
    ({"activation": 6}, TypeError, ("activation must be", "got 6")),
    ({"layout": "NCL"}, ValueError, ("layout must be None or one of ('NCHW', 'NHWC')", "got 'NCL'")),
    ({"layout": 2}, ValueError, ("layout must be", "got 2")),
    ({"layout": "NHWC"}, ValueError, ("w must have", "5 of x", "(3, 2, 3, 3)")),
    ({"implementation": "fast"}, ValueError, ('implementation must be "auto" or one of', "'reference'", "got 'fast'")),
    ({"implementation": None}, ValueError, ("implementation must be", "got None")),
    ({"bias": np.ones(2, np.float32)}, ValueError, ("bias must have shape (3,)", "got (2,)")),
    ({"bias": np.ones((3, 1), np.float32)}, ValueError, ("bias must have shape (3,)", "got (3, 1)")),
    ({"bias": np.float32(1)}, ValueError, ("bias must have shape (3,)", "got ()")),
    ({"bias": np.ones(3, complex)}, TypeError, ("bias must have a dtype that casts to float32", "got complex128")),
    ({"bias": "abc"}, TypeError, ("bias must be an array", "got str")),
    ({"bias": [None] * 3}, TypeError, ("bias has dtype object", "float32")),
]


@pytest.mark.parametrize(
    ("options", "error", "parts"), CONV, ids=lambda value: str(value)[:40] if isinstance(value, dict) else ""
)
def test_conv2d(options: dict[str, Any], error: type[Exception], parts: tuple[str, ...]) -> None:
    """And plan_conv2d and explain refuse alike."""
    refuse(error, parts, "conv2d", X, W, **options)
    refuse(error, parts, "conv2d.plan", X.shape, W, **options)
    if not {"bias", "implementation"} & set(options):
        refuse(error, parts, "explain", "conv2d", X.shape, W.shape, **options)


@pytest.mark.parametrize(
    ("x", "w", "error", "parts"),
    [
        (X[0, 0], W, ValueError, ("x must have 4 dimensions", "or 3 without the batch", "(5, 5)")),
        (X[None], W, ValueError, ("x must have 4 dimensions", "(1, 1, 2, 5, 5)")),
        (np.float32(1), W, ValueError, ("x must have 4 dimensions", "()")),
        (X, W[0], ValueError, ("w must have 4 dimensions", "(2, 3, 3)")),
        (X, W[:, :1], ValueError, ("w must have 2 input channels", "got 1")),
        (X, W[:, :, :0], ValueError, ("w must have a kernel of at least one cell", "(3, 2, 0, 3)")),
        (X[..., :2], W, ValueError, ("w has a kernel of 3", "axis 1", "only 2")),
        (X.astype(bool), W, TypeError, ("x has dtype bool", "float32", "x.view(numpy.uint8)")),
        (X.astype(object), W, TypeError, ("x has dtype object", "float32")),
        (X.astype(str), W, TypeError, ("x has dtype <U", "float32")),
        (X.astype(np.longdouble), W, TypeError, ("x has dtype", "float64")),
        (X.astype(np.clongdouble), W, TypeError, ("x has dtype", "complex128")),
        (X.astype("m8[s]"), W, TypeError, ("x has dtype timedelta64", "float32")),
        (np.zeros(X.shape, [("a", "f4")]), W, TypeError, ("x has dtype [('a'", "float32")),
        (X, W.astype(bool), TypeError, ("w has dtype bool", "float32")),
        (np.ma.array(X), W, TypeError, ("x must be a plain array", "masked", "filled")),
        (X, np.ma.array(W), TypeError, ("w must be a plain array", "masked", "filled")),
        ("image.png", W, TypeError, ("x must be an array", "got str")),
        (b"image", W, TypeError, ("x must be an array", "got bytes")),
        (None, W, TypeError, ("x must be an array", "got NoneType")),
        ({}, W, TypeError, ("x must be an array", "got dict")),
        (X, None, TypeError, ("w must be an array", "got NoneType")),
        ([[1.0], [1.0, 2.0]], W, ValueError, ("x must be an array", "got list")),
        (object(), W, TypeError, ("x",)),
        (iter([1.0]), W, TypeError, ("x",)),
    ],
)
def test_arrays_of_conv2d(x: Any, w: Any, error: type[Exception], parts: tuple[str, ...]) -> None:
    """Number of dimensions, channels, dtype and kind of object."""
    refuse(error, parts, "conv2d", x, w)


@pytest.mark.parametrize(
    ("options", "error", "parts"),
    [
        ({"output_padding": 1}, ValueError, ("output_padding must be smaller than stride or dilation", "(1, 1)")),
        ({"output_padding": -1}, ValueError, ("output_padding must be at least 0", "got -1")),
        ({"output_padding": 1, "stride": 2, "padding": "same"}, ValueError, ("output_padding must be 0", "'same'", "got 1")),
        ({"padding": 9}, ValueError, ("padding", "leaves no output on axis 0", "-")),
        ({"padding": "full"}, ValueError, ("padding must be", "got 'full'")),
        ({"groups": 2}, ValueError, ("groups must divide the 3 channels", "got 2")),
        ({"stride": 2**61}, ValueError, ("stride", "64-bit")),
    ],
)
def test_conv_transpose2d(options: dict[str, Any], error: type[Exception], parts: tuple[str, ...]) -> None:
    """On 3 channels, which the weights have as inputs."""
    x = np.ones((1, 3, 5, 5), np.float32)
    refuse(error, parts, "conv_transpose2d", x, W, **options)
    refuse(error, parts, "conv_transpose2d.plan", x.shape, W, **options)


def test_conv_transpose_needs_the_inputs_channels_first() -> None:
    refuse(ValueError, ("w must have 2 input channels on its first axis", "(3, 2, 3, 3)"), "conv_transpose2d", X, W)


POOL = [
    ({"kernel_size": 0}, ValueError, ("kernel_size must be at least 1", "got 0")),
    ({"kernel_size": 2.0}, TypeError, ("kernel_size must be an int", "got 2.0")),
    ({"kernel_size": (2, 2, 2)}, ValueError, ("kernel_size must be an int or 2 ints", "got (2, 2, 2)")),
    ({"kernel_size": 6}, ValueError, ("kernel_size spans 6 cells", "only 5")),
    ({"kernel_size": 3, "dilation": 3}, ValueError, ("kernel_size spans 7 cells", "only 5")),
    ({"kernel_size": 2, "stride": 0}, ValueError, ("stride must be at least 1", "got 0")),
    ({"kernel_size": 2, "dilation": 0}, ValueError, ("dilation must be at least 1", "got 0")),
    ({"kernel_size": 3, "padding": 2}, ValueError, ("padding must be at most half the dilated kernel", "1", "got (2, 2)")),
    ({"kernel_size": 3, "padding": ((0, 2), (0, 0))}, ValueError, ("padding must be at most half", "got (0, 2)")),
    ({"kernel_size": 2, "padding": -1}, ValueError, ("padding must be at least 0", "got -1")),
    ({"kernel_size": 2, "ceil_mode": 1}, TypeError, ("ceil_mode must be True or False", "got 1")),
    ({"kernel_size": 2, "layout": "HW"}, ValueError, ("layout must be None or one of", "got 'HW'")),
    ({"kernel_size": 2, "implementation": "fast"}, ValueError, ("implementation must be", "'reference'", "got 'fast'")),
]


@pytest.mark.parametrize("operation", ["max_pool2d", "min_pool2d", "avg_pool2d", "lp_pool2d"])
@pytest.mark.parametrize(
    ("options", "error", "parts"), POOL, ids=lambda value: str(value)[:50] if isinstance(value, dict) else ""
)
def test_pools(operation: str, options: dict[str, Any], error: type[Exception], parts: tuple[str, ...]) -> None:
    norm = {"norm_type": 2} if operation == "lp_pool2d" else {}
    refuse(error, parts, operation, X, **norm, **options)
    refuse(error, parts, f"{operation}.plan", X.shape, **norm, **options)


@pytest.mark.parametrize(
    ("operation", "arguments", "options", "error", "parts"),
    [
        ("max_pool2d", (X, 2), {"return_indices": 1}, TypeError, ("return_indices must be True or False", "got 1")),
        ("max_pool2d", (X.astype(complex), 2), {}, TypeError, ("x has dtype complex128", "max_pool2d", "order")),
        ("max_pool2d", (X > 0, 2), {}, TypeError, ("x has dtype bool",)),
        (
            "max_pool1d",
            (np.ones((1, 1, 1)), 2),
            {"padding": 1, "stride": 2, "dilation": 2},
            ValueError,
            ("padding", "without any cell"),
        ),
        (
            "min_pool1d",
            (np.ones((1, 1, 1)), 2),
            {"padding": 1, "stride": 2, "dilation": 2},
            ValueError,
            ("padding", "without any cell"),
        ),
        ("avg_pool2d", (X, 2), {"divisor_override": 0}, ValueError, ("divisor_override must not be 0",)),
        ("avg_pool2d", (X, 2), {"divisor_override": 1.5}, TypeError, ("divisor_override must be an int", "got 1.5")),
        ("avg_pool2d", (X, 2), {"count_include_pad": None}, TypeError, ("count_include_pad must be True or False", "got None")),
        ("lp_pool2d", (X, 0, 2), {}, ValueError, ("norm_type must be above 0", "got 0")),
        ("lp_pool2d", (X, np.nan, 2), {}, ValueError, ("norm_type must be above 0", "got nan")),
        ("lp_pool2d", (X, "2", 2), {}, TypeError, ("norm_type must be a real number", "got '2'")),
        ("lp_pool2d", (X.astype(int), 2, 2), {}, TypeError, ("x has dtype int64", "lp_pool2d", "root")),
        ("lp_pool2d", (X.astype(complex), 2, 2), {}, TypeError, ("x has dtype complex128", "lp_pool2d")),
        ("adaptive_avg_pool2d", (X, -1), {}, ValueError, ("output_size must be at least 0", "got -1")),
        ("adaptive_avg_pool2d", (X, (1, 2, 3)), {}, ValueError, ("output_size must be an int or 2 ints", "got (1, 2, 3)")),
        ("adaptive_avg_pool2d", (X, 1.5), {}, TypeError, ("output_size must be an int", "got 1.5")),
        ("adaptive_max_pool2d", (X[..., :0], 2), {}, ValueError, ("output_size must be 0 on axis 1", "got 2")),
        ("adaptive_avg_pool2d", (X, 2**31), {}, ValueError, ("output_size", "64-bit")),
        ("global_avg_pool", (X[0, 0],), {}, ValueError, ("x must have a batch, a channel and 1 to 3 spatial axes", "(5, 5)")),
        ("global_max_pool", (X[..., :0],), {}, ValueError, ("x must have cells on every spatial axis", "(1, 2, 5, 0)")),
        ("global_max_pool", (X,), {"layout": "NLC"}, ValueError, ("x must have", "'NLC'")),
        ("max_unpool2d", (X, X, 2), {}, TypeError, ("indices must be integers", "got dtype float32")),
        (
            "max_unpool2d",
            (X, np.zeros((1, 2, 5, 4), int), 2),
            {},
            ValueError,
            ("indices must have the shape of x", "(1, 2, 5, 4)"),
        ),
        ("max_unpool2d", (X, np.full(X.shape, 100), 2), {}, ValueError, ("indices must lie in 0 .. 99", "100 .. 100")),
        ("max_unpool2d", (X, np.full(X.shape, -1), 2), {}, ValueError, ("indices must lie in 0 .. 99", "-1 .. -1")),
        ("max_unpool2d", (X, np.full(X.shape, 2**63, np.uint64), 2), {}, ValueError, ("indices must lie in 0 .. 99",)),
        (
            "max_unpool2d",
            (X, np.zeros(X.shape, int), 2),
            {"output_size": (8, 10)},
            ValueError,
            ("output_size must lie within", "(8, 10)"),
        ),
        (
            "max_unpool2d",
            (X, np.zeros(X.shape, int), 2),
            {"output_size": 10},
            TypeError,
            ("output_size must be a tuple", "got 10"),
        ),
        ("unfold", (X, 0), {}, ValueError, ("kernel_size must be at least 1", "got 0")),
        ("unfold", (X, 6), {}, ValueError, ("kernel_size spans 6 cells", "only 5")),
        ("unfold", (X[0], 2), {}, ValueError, ("kernel_size must be a tuple", "got 2")),
        ("unfold", (X, (2, 2, 2, 2)), {}, ValueError, ("x and kernel_size must have 1 to 3 spatial axes", "(2, 2, 2, 2)")),
        ("fold", (X[0], 5, 2), {}, ValueError, ("output_size must be a tuple of 1 to 3 ints", "got 5")),
        ("fold", (X[0], (5, 5), 2), {}, ValueError, ("x must have a multiple of 4 rows", "(2, 5, 5)")),
        ("fold", (np.ones((1, 4, 5)), (5, 5), 2), {}, ValueError, ("x must have 16 columns", "(1, 4, 5)")),
        ("relu", (X > 0,), {}, TypeError, ("x has dtype bool",)),
        ("relu", (X.astype(complex),), {}, TypeError, ("x has dtype complex128", "real numbers")),
        ("silu", (X.astype(int),), {}, TypeError, ("x has dtype int64", "real floats")),
        ("clip", (X, 2, 1), {}, ValueError, ("low <= high", "2, 1")),
        ("leaky_relu", (X, np.nan), {}, ValueError, ("slope", "nan")),
        ("implementations", ("conv4d",), {}, ValueError, ("operation must be one of", "conv_transpose", "got 'conv4d'")),
        ("implementations", (2,), {}, TypeError, ("operation must be a string", "got 2")),
        ("explain", ("conv", X.shape, W.shape), {}, ValueError, ("operation must be", "got 'conv'")),
        ("explain", ("conv2d", X.shape), {}, TypeError, ("w_shape must be the shape of the weights", "got None")),
        ("explain", ("max_pool2d", (1, -2, 5, 5), 2), {}, ValueError, ("x_shape must be at least 0", "got -2")),
        ("explain", ("max_pool2d", 5, 2), {}, TypeError, ("x_shape must be a tuple", "got 5")),
        ("explain", ("max_pool2d", X.shape, 2), {"x_dtype": "bool"}, TypeError, ("x_dtype is bool",)),
        ("explain", ("max_pool2d", X.shape, 2), {"x_dtype": "no"}, TypeError, ("x_dtype must be a dtype", "got 'no'")),
        ("set_num_threads", (0,), {}, ValueError, ("n must be at least 1", "got 0")),
        ("set_num_threads", (1.5,), {}, TypeError, ("n must be an int", "got 1.5")),
        ("warmup", (["bool"],), {}, TypeError, ("dtypes has dtype bool",)),
        ("conv2d.plan", ((1, 2, 2**40, 2**40), W), {}, ValueError, ("x_shape", "more elements than a 64-bit offset can reach")),
        ("conv2d.plan", (X.shape, W), {"x_dtype": "bool"}, TypeError, ("x_dtype is bool",)),
        ("max_pool2d.plan", ("abcd", 2), {}, TypeError, ("x_shape must be a tuple", "got 'abcd'")),
    ],
)
def test_other_operations(operation: str, arguments: Any, options: dict[str, Any], error: type[Exception], parts: Any) -> None:
    refuse(error, parts, operation, *arguments, **options)


def test_integer_activations_are_clips_with_whole_bounds() -> None:
    """A bound that the dtype cannot hold has no place in it."""
    x, w = X.astype(np.int8), W.astype(np.int8)
    refuse(TypeError, ("activation must be None or a clip", "'silu'", "int8"), "conv2d", x, w, activation="silu")
    refuse(ValueError, ("whole bounds", "0.5"), "conv2d", x, w, activation=("clip", 0.5, 3))
    refuse(ValueError, ("whole bounds", "200"), "conv2d", x, w, activation=("clip", 200, 300))
    refuse(TypeError, ("activation must be None", "complex64"), "conv2d", X.astype(np.complex64), W, activation="relu")


@pytest.mark.parametrize(
    ("x", "error", "parts"),
    [
        (X[:, :1], ValueError, ("x must have shape (1, 2, 5, 5)", "got (1, 1, 5, 5)")),
        (X[0], ValueError, ("x must have shape (1, 2, 5, 5)", "got (2, 5, 5)")),
        (X.astype(np.float64), TypeError, ("x must have dtype float32", "got float64")),
        (X > 0, TypeError, ("x has dtype bool",)),
        (None, TypeError, ("x must be an array", "got NoneType")),
    ],
)
def test_a_plan_takes_the_shape_and_dtype_it_was_made_for(x: Any, error: type[Exception], parts: tuple[str, ...]) -> None:
    for plan in (fc.conv2d.plan(X.shape, W), fc.max_pool2d.plan(X.shape, 2), fc.relu.plan(X.shape)):
        with pytest.raises((ValueError, TypeError)) as caught:
            plan(x)
        assert type(caught.value) is error
        assert all(part in str(caught.value) for part in parts), str(caught.value)


@pytest.mark.parametrize("asked", [fc.conv2d.plan, fc.max_pool2d.plan, fc.max_pool2d.explain, fc.conv_transpose2d.plan])
def test_plans_name_the_shape_that_they_were_given(asked: Any) -> None:
    """A caller of a plan has no x."""
    with pytest.raises(ValueError, match=r"^x_shape must have 4 dimensions"):
        asked((5,), W if "conv" in repr(asked.__self__) else 2)


def test_a_stride_is_named_as_it_was_given() -> None:
    """However far beyond the image it reaches."""
    refuse(ValueError, ("1 columns", f"stride ({2**62}, {2**62})"), "fold", np.ones((1, 4, 4)), (3, 3), 2, stride=2**62)


def test_channels_on_the_last_axis_are_hinted_at() -> None:
    """Where x would fit with channels last, and only there."""
    refuse(ValueError, ('layout="NHWC"',), "conv2d", np.ones((1, 9, 9, 2), np.float32), W)
    refuse(ValueError, ('layout="NHWC"',), "conv_transpose2d", np.ones((9, 9, 3), np.float32), W)
    with pytest.raises(ValueError, match="input channels") as caught:
        fc.conv2d(np.ones((1, 5, 9, 9), np.float32), W)
    assert "layout" not in str(caught.value)


@pytest.mark.parametrize("pairs", [np.array([[1, 0], [0, 2]]), [[1, 0], [0, 2]], [np.array([1, 0]), (0, 2)]], ids=str)
def test_padding_may_be_arrays_of_pairs(pairs: Any) -> None:
    assert fc.conv2d.plan(X.shape, W, padding=pairs).geometry.padding == ((1, 0), (0, 2))


def test_a_good_call_does_reach_a_kernel() -> None:
    """So that the tests above could have failed."""
    with pytest.raises(pytest.fail.Exception, match="a kernel ran"):
        fc.conv2d(X, W)
