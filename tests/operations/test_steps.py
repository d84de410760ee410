"""Strides, dilations and paddings without end: the right result, or an error that names the argument, in no time and memory."""

import gc
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv as fc

resource = pytest.importorskip("resource")
pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")

SECONDS = 1.0
ROOM, MORE_ROOM = 100 << 20, 4 << 30  # bytes of a call, and of the first, which may compile
SMALL = 2000  # products that the reference makes in no time
FAR = (2**31, 2**40, 2**47, 2**61, 2**62)
X, W, FILTERS = (np.arange(1, 1 + n, dtype=np.float32) for n in (10, 12, 6))
OPERANDS: dict[str, tuple[Any, ...]] = {
    "conv1d": (X.reshape(1, 2, 5), W.reshape(3, 2, 2)),
    "conv2d": (X.reshape(1, 1, 2, 5), W.reshape(3, 1, 2, 2)),
    "conv_transpose1d": (X.reshape(1, 2, 5), W.reshape(2, 3, 2)),
    "conv_transpose2d": (X.reshape(1, 1, 2, 5), W.reshape(1, 3, 2, 2)),
    "max_pool1d": (X.reshape(1, 2, 5), 2),
    "min_pool2d": (X.reshape(1, 1, 2, 5), 2),
    "avg_pool1d": (X.reshape(1, 2, 5), 2),
    "lp_pool1d": (X.reshape(1, 2, 5), 2.0, 2),
    "unfold": (X.reshape(1, 2, 5), (2,)),
    "fold": (X[:8].reshape(1, 4, 2), (5,), (2,)),
    "max_unpool1d": (X.reshape(1, 2, 5), np.zeros((1, 2, 5), np.int64), 2),
}
STEPS = [
    (operation, argument)
    for operation, (_, *others) in OPERANDS.items()
    for argument in ("stride", "dilation", "padding")
    if not (argument == "dilation" and operation in ("lp_pool1d", "max_unpool1d"))
    and not (argument == "padding" and operation == "lp_pool1d")
]
BORDERS = ("constant", "replicate")


@contextmanager
def limited(room: int) -> Iterator[None]:
    """No more than so many bytes beside what the process has now; what tests before left behind is collected at other times."""
    was_enabled = gc.isenabled()
    gc.disable()
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        if was_enabled:
            gc.enable()


def attempt(operation: str, operands: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """The result, or the error, which names one of the arguments; the second call is held to the limits."""
    found: Any = None
    for room, seconds in ((MORE_ROOM, 120.0), (ROOM, SECONDS)):
        started = time.process_time()  # what other processes do meanwhile is not the call's
        with limited(room):
            try:
                found = getattr(fc, operation)(*operands, **options)
            except (ValueError, MemoryError) as error:
                found = error
        assert time.process_time() - started < seconds
    if isinstance(found, Exception):
        names = "|".join([*options, "kernel_size", "w has a kernel"])
        assert re.search(rf"\b({names})\b", str(found)), found
    return found


def check(operation: str, operands: tuple[Any, ...], options: dict[str, Any]) -> bool:
    """Whether there is a result; then it is the reference's."""
    found = attempt(operation, operands, options)
    if isinstance(found, Exception):
        return False
    results = found if isinstance(found, tuple) else (found,)
    if results[0].size < SMALL:
        expected = getattr(fc, operation)(*operands, **options, implementation="reference")
        for one, other in zip(results, expected if isinstance(expected, tuple) else (expected,), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5)
    return True


@pytest.mark.parametrize("far", FAR, ids=lambda far: f"2**{far.bit_length() - 1}")
@pytest.mark.parametrize(("operation", "argument"), STEPS)
def test_one_argument_without_end(operation: str, argument: str, far: int) -> None:
    check(operation, OPERANDS[operation], {argument: far})
    check(operation, OPERANDS[operation], {argument: far - 1})


@pytest.mark.parametrize("far", FAR, ids=lambda far: f"2**{far.bit_length() - 1}")
@pytest.mark.parametrize("operation", [name for name in OPERANDS if name not in ("max_unpool1d", "fold", "lp_pool1d")])
def test_several_arguments_without_end(operation: str, far: int) -> None:
    """Few outputs of long steps over long paddings."""
    for options in (
        {"stride": far, "padding": far},
        {"stride": far, "padding": far // 2},
        {"stride": far // 3, "padding": far // 4, "dilation": far // 5},
        {"dilation": far, "padding": far // 2},
        {"dilation": far // 2, "padding": far // 4, "stride": 2},
    ):
        check(operation, OPERANDS[operation], options)


@pytest.mark.parametrize("far", FAR[1:], ids=lambda far: f"2**{far.bit_length() - 1}")
@pytest.mark.parametrize("mode", BORDERS)
@pytest.mark.parametrize("operation", ["conv1d", "max_pool1d", "avg_pool1d"])
def test_borders_without_end(operation: str, mode: str, far: int) -> None:
    for options in ({"padding": far}, {"padding": far // 2, "stride": far // 2}, {"padding": far // 2, "dilation": far // 2}):
        check(operation, OPERANDS[operation], {**options, "padding_mode": mode})


@pytest.mark.parametrize("far", FAR, ids=lambda far: f"2**{far.bit_length() - 1}")
def test_transposed_convolutions_end_anywhere(far: int) -> None:
    operands = OPERANDS["conv_transpose1d"]
    check("conv_transpose1d", operands, {"stride": far, "output_padding": far - 1})
    check("conv_transpose1d", operands, {"dilation": far, "output_padding": far - 1})
    one = operands[0][..., :1].copy(), operands[1][..., :1].copy()
    assert check("conv_transpose1d", one, {"stride": far})
    assert check("conv_transpose1d", one, {"dilation": far})
    assert check("conv_transpose2d", (X[:1].reshape(1, 1, 1, 1), W.reshape(1, 3, 2, 2)), {"stride": far})


@pytest.mark.parametrize("far", [2**40, 2**50, 2**62])
@pytest.mark.parametrize("operation", ["adaptive_avg_pool1d", "adaptive_max_pool1d"])
def test_adaptive_outputs_without_end(operation: str, far: int) -> None:
    assert not check(operation, (X.reshape(1, 2, 5),), {"output_size": far})


@pytest.mark.parametrize(
    ("operation", "options"),
    [
        ("conv1d", {"stride": 2**62}),
        ("conv1d", {"stride": 2**40, "padding": 2**40}),
        ("max_pool1d", {"stride": 2**62}),
        ("max_pool1d", {"stride": 2**40, "padding": 2**20, "dilation": 2**21}),
        ("unfold", {"stride": 2**62}),
        ("max_pool1d", {"stride": 2**40, "padding": 2**40, "padding_mode": "replicate"}),
        ("avg_pool1d", {"stride": 2**31, "padding": 2**31, "padding_mode": "replicate"}),
        ("conv1d", {"stride": 2**31, "padding": 2**31, "padding_mode": "replicate"}),
    ],
    ids=str,
)
def test_small_results_of_long_steps_are_results(operation: str, options: dict[str, Any]) -> None:
    assert check(operation, OPERANDS[operation], options) or "dilation" in options


def test_phases_without_taps_cost_what_they_write() -> None:
    """A million phases, of which one has a tap: what is between is the bias, whatever the activation and the residual."""
    x, w, bias = X[:2].reshape(1, 1, 2), W[1:2].reshape(1, 1, 1), np.array([-3.0], np.float32)
    plan = fc.conv_transpose1d.plan(x.shape, w, bias, stride=1_000_000, activation="leaky_relu")
    y = plan(x)
    assert y.shape == (1, 1, 1_000_001)
    assert (y[0, 0, 0], y[0, 0, -1]) == (np.float32(-0.01), 1.0)
    assert np.all(y[0, 0, 1:-1] == np.float32(-0.03))
    started = time.perf_counter()
    fc.conv_transpose1d(x, w, bias, stride=1_000_000, activation="leaky_relu")
    assert time.perf_counter() - started < 0.1


@pytest.mark.exhaustive
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("implementation", ["strassen", "direct", "im2col", "loops"])
@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        ((1, 1), {"stride": (3, 4)}),
        ((2, 3), {"stride": (5, 7), "dilation": (2, 3), "padding": 1}),
        ((3, 2), {"stride": (4, 6), "dilation": (6, 4), "output_padding": 3}),
        ((2, 2), {"stride": (1, 9), "padding": (0, 4)}),
    ],
    ids=str,
)
def test_sparse_outputs(kernel: tuple[int, int], options: dict[str, Any], implementation: str, layout: str) -> None:
    """More phases than taps, on one axis or both, with an activation and a residual."""
    rng = np.random.default_rng(3)
    x, w = (rng.integers(-4, 5, shape).astype(np.float32) for shape in ((2, 4, 3, 5), (4, 5, *kernel)))
    if layout == "NHWC":
        x, w = (np.ascontiguousarray(np.moveaxis(array, 1, -1)) for array in (x, w))
    options = {**options, "layout": layout, "activation": "relu"}
    bias = np.arange(-2, 3).astype(np.float32)
    expected = fc.conv_transpose2d(x, w, bias, **options, implementation="reference")
    residual = rng.integers(-4, 5, expected.shape).astype(np.float32)
    expected = fc.conv_transpose2d(x, w, bias, **options, residual=residual, implementation="reference")
    arguments = {**options, "residual": True, "implementation": implementation}
    if implementation == "strassen" and layout == "NCHW":
        with pytest.raises(ValueError, match="cannot serve this call"):
            fc.conv_transpose2d.plan(x.shape, w, bias, **arguments)
        return
    plan = fc.conv_transpose2d.plan(x.shape, w, bias, **arguments)
    for out in (None, np.full(expected.shape, 77, np.float32)):
        np.testing.assert_array_equal(plan(x, residual, out=out), expected)


def test_very_many_phases_go_elsewhere() -> None:
    """A kernel as large as its stride: each tap is a phase, and plain paths serve them."""
    x, w = np.ones((1, 1, 2, 2), np.float32), np.ones((1, 1, 100, 100), np.float32)
    with pytest.raises(ValueError, match="a transposed convolution of 10,000 phases would take as many launches"):
        fc.conv_transpose2d(x, w, stride=100, implementation="direct")
    assert (fc.conv_transpose2d(x, w, stride=100) == 1).all()
    assert (fc.conv_transpose2d(x, w, stride=100, implementation="loops") == 1).all()
