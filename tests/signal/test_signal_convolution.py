"""Convolutions and correlations against SciPy's: dtypes, modes, axes, layouts in memory, sizes, and what is refused."""

import inspect
from math import prod

import numpy as np
import pytest
from scipy_cases import COMPLEX, FLOATS, INTEGERS, LAYOUTS, agree, agree_or_refuse, array, laid_out, outcome

import fastconv as fc
from fastconv import signal
from fastconv.served import NotServed

scipy = pytest.importorskip("scipy.signal")

MODES = ("full", "same", "valid")
MOST = {1: 300, 2: 14, 3: 7, 4: 5}  # cells on an axis, by their number
LIMITS = np.iinfo(np.int64)


def shapes(rng, axes, fitting=0.5):
    """Two shapes; one of them often the larger on every axis."""
    first, second = (tuple(int(n) for n in rng.integers(1, MOST[axes], axes)) for _ in range(2))
    if rng.random() < fitting:
        first, second = tuple(map(max, first, second)), tuple(map(min, first, second))
    return (second, first) if rng.random() < 0.3 else (first, second)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("axes", [1, 2, pytest.param(3, marks=pytest.mark.exhaustive), pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("method", ["auto", "direct", "fft"])
@pytest.mark.parametrize("name", ["convolve", "correlate"])
def test_convolve_and_correlate(rng, name, method, axes, mode):
    """Any two dtypes, sizes and layouts: sums of integers to the last bit, where they wrap too."""
    for _ in range(12):
        first, second = shapes(rng, axes)
        dtypes = rng.choice(list(INTEGERS + FLOATS + COMPLEX), 2)
        whole = method == "direct" and rng.random() < 0.4
        a, b = (array(rng, shape, dtype, whole) for shape, dtype in zip((first, second), dtypes, strict=True))
        a, b = (laid_out(x, rng.choice(LAYOUTS)) for x in (a, b))
        arguments = (getattr(signal, name), getattr(scipy, name), prod(second), a, b)
        agree_or_refuse(*arguments, mode=mode, method=method)


@pytest.mark.parametrize("name", ["fftconvolve", "oaconvolve"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("axes", [1, 2, 3, 4])
def test_along_some_axes(rng, axes, mode, name):
    """Others multiply as broadcasting has it."""
    for _ in range(12):
        first, second = shapes(rng, axes)
        along = [int(axis) for axis in rng.permutation(axes)[: rng.integers(1, axes + 1)]]
        second = tuple(n if axis in along else int(rng.choice([1, first[axis]])) for axis, n in enumerate(second))
        a, b = (array(rng, shape, rng.choice(list("fdFDl"))) for shape in (first, second))
        if rng.random() < 0.5:
            a, b = b, a
        agree_or_refuse(getattr(signal, name), getattr(scipy, name), prod(second), a, b, mode, along)


@pytest.mark.parametrize("boundary", ["fill", "wrap", "symm"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["convolve2d", "correlate2d"])
def test_images(rng, name, mode, boundary):
    """Kernels of even sizes and larger than the image too, and borders that repeat."""
    for _ in range(20):
        first, second = (tuple(int(n) for n in rng.integers(1, 12, 2)) for _ in range(2))
        dtypes = rng.choice(list("?e" + INTEGERS + FLOATS + COMPLEX), 2)
        a, b = (array(rng, shape, dtype, rng.random() < 0.3) for shape, dtype in zip((first, second), dtypes, strict=True))
        a, b = (laid_out(x, rng.choice(LAYOUTS)) if x.dtype.char != "e" else x for x in (a, b))
        fill = (0, 1, 2.5, -1, 3j)[rng.integers(5)]
        agree_or_refuse(getattr(signal, name), getattr(scipy, name), prod(second), a, b, mode, boundary, fill)


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "int16", *(pytest.param(one, marks=pytest.mark.slow) for one in ("complex64", "uint8"))]
)
@pytest.mark.parametrize("taps", [5, 63, pytest.param(1025, marks=pytest.mark.exhaustive), 30_001])
def test_long_signals(rng, taps, dtype):
    """Lengths that blocks of transforms are for."""
    x, h = array(rng, 60_000, dtype), array(rng, taps, dtype)
    for mode in MODES:
        agree(signal.convolve(x, h, mode), scipy.convolve(x, h, mode), taps, x)
    agree(signal.oaconvolve(x, h), scipy.oaconvolve(x, h), taps, x)


@pytest.mark.parametrize(
    "dtype", ["int64", "uint8", *(pytest.param(one, marks=pytest.mark.slow) for one in ("uint64", "int32"))]
)
def test_integers_wrap_as_numpys_do(rng, dtype):
    x, h = array(rng, 3000, dtype, whole_range=True), array(rng, 40, dtype, whole_range=True)
    expected = np.convolve(x, h)
    np.testing.assert_array_equal(signal.convolve(x, h, method="direct"), expected)
    np.testing.assert_array_equal(signal.convolve(x, h), expected)
    np.testing.assert_array_equal(signal.convolve2d(x[None], h[None])[0], expected)


def test_sums_at_the_edge_of_what_a_float_holds_are_exact():
    """2**24 and 2**53 decide whether integers are summed in floats."""
    for top in (2**12 - 1, 2**12, 2**26 - 1, 2**26, 2**31 - 1):
        x, h = np.full((60, 60), top), np.full((2, 2), top)
        x[::2] -= 1
        np.testing.assert_array_equal(signal.convolve(x, h, method="direct"), scipy.convolve(x, h, method="direct"))
        np.testing.assert_array_equal(signal.convolve2d(x, h, boundary="wrap"), scipy.convolve2d(x, h, boundary="wrap"))


@pytest.mark.parametrize("name", ["convolve", "convolve2d", "correlate2d"])
def test_a_nan_stays_where_it_is(rng, name):
    """Sums of products reach no further than the kernel does."""
    x, w = rng.standard_normal((200, 300)), rng.standard_normal((9, 9))
    x[100, 150] = np.nan
    options = {"method": "direct"} if name == "convolve" else {}
    found = np.isnan(getattr(signal, name)(x, w, "same", **options))
    assert found[96:105, 146:155].all()
    assert found.sum() == w.size


def test_a_transform_that_meets_a_nan_warns(rng):
    x = rng.standard_normal(100_000)
    x[70_000] = np.inf
    with pytest.warns(RuntimeWarning, match="Use of fft convolution"):
        signal.convolve(x, rng.standard_normal(999), method="fft")


def test_auto_takes_what_is_estimated_cheaper(rng):
    x = rng.standard_normal(200_000)
    assert signal.choose_conv_method(x, x[:3]) == "direct"
    assert signal.choose_conv_method(x, x[:5000]) == "fft"
    assert signal.choose_conv_method(np.array([2**51]), np.array([2**51])) == "direct"
    assert signal.choose_conv_method(np.full(200_000, 2**40), np.full(5000, 2**40)) == "direct"
    method, times = signal.choose_conv_method(x[:99], x[:9], measure=True)
    assert times.keys() == {"fft", "direct"}
    assert times[method] == min(times.values())


@pytest.mark.parametrize("mode", MODES)
def test_lags(mode):
    for first in range(1, 12):
        for second in range(1, 12):
            expected = scipy.correlation_lags(first, second, mode)
            np.testing.assert_array_equal(signal.correlation_lags(first, second, mode), expected)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("convolve", ([1], [[1]])),
        ("convolve", ([1, 2], [1], "middle")),
        ("convolve", ([1, 2], [1], "same", "slow")),
        ("convolve", ([[1, 2, 3]], [[1], [2]], "valid")),
        ("convolve", ([], [1])),
        ("convolve", (np.zeros((0, 3)), np.ones((2, 2)))),
        ("correlate", ([1], 2)),
        ("correlate", ([1, 2], [1], 2)),
        ("convolve2d", ([1], [1])),
        ("convolve2d", ([[1]], [[1]], "full", "mirror")),
        ("convolve2d", ([[1]], [[1]], "full", "fill", [1, 2])),
        ("convolve2d", ([[1]], [[1]], "full", "fill", [])),
        ("convolve2d", (np.ones((1, 1), np.uint8), np.ones((1, 1), np.uint8), "full", "fill", 300)),
        ("convolve2d", (np.ones((1, 1), np.float16), np.ones((1, 1), np.float16))),
        ("fftconvolve", ([1], [2], "middle")),
        ("fftconvolve", ([1, 2], [2], "full", [])),
        ("fftconvolve", ([1, 2], [2], "full", [0, 0])),
        ("fftconvolve", ([1, 2], [2], "full", 1.5)),
        ("fftconvolve", ([1, 2], [2], "full", 1)),
        ("fftconvolve", (np.ones((5, 2)), np.ones((5, 3)), "full", 0)),
        ("choose_conv_method", ([1, 2], [2], "middle")),
        ("correlation_lags", (3, 2, "middle")),
    ],
)
def test_errors_are_scipys(name, arguments):
    expected, found = outcome(getattr(scipy, name), *arguments), outcome(getattr(signal, name), *arguments)
    assert isinstance(expected, (ValueError, TypeError))
    assert isinstance(found, (ValueError, TypeError))
    assert isinstance(found, type(expected)) or isinstance(expected, type(found))


@pytest.mark.parametrize("name", ["convolve", "correlate", "fftconvolve", "oaconvolve", "convolve2d", "correlate2d"])
def test_arrays_that_are_refused(name):
    """Masks would be lost, and objects are not numbers."""
    function, x = getattr(signal, name), np.ones((3, 3))
    with pytest.raises(TypeError, match="masked"):
        function(np.ma.masked_array(x), x)
    with pytest.raises(NotServed, match="objects"):
        function(x, x.astype(object))
    for bad in (None, "text", np.array(["a"]), np.array(["2020"], "datetime64[D]")):
        with pytest.raises(TypeError):
            function(bad, bad)


def test_arrays_without_cells():
    """What SciPy gives, or an error where it would divide by zero."""
    empty, image = np.zeros((0, 3)), np.ones((3, 4))
    for pair in ((empty, image), (image, empty)):
        agree(signal.convolve2d(*pair), scipy.convolve2d(*pair), 1)
        agree(signal.fftconvolve(*pair), scipy.fftconvolve(*pair), 1)
    with pytest.raises(ValueError, match="must have cells"):
        signal.convolve2d(empty, image, boundary="wrap")


def test_nothing_is_written_to(rng):
    x, w = rng.standard_normal((30, 30)), rng.standard_normal((3, 3))
    before = x.copy(), w.copy()
    for name in ("convolve", "correlate", "fftconvolve", "oaconvolve", "convolve2d", "correlate2d"):
        assert not np.shares_memory(getattr(signal, name)(x, w), x)
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(w, before[1])


def test_results_are_the_same_for_any_number_of_threads(rng, threads):
    x, h = rng.standard_normal(300_000), rng.standard_normal(2000)
    results = []
    for count in (1, 2):
        fc.set_num_threads(count)
        results.append([signal.convolve(x, h), signal.convolve(x, h[:50], method="direct"), signal.upfirdn(h, x, 3, 2)])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", signal.__all__)
def test_a_function_is_documented_and_has_scipys_signature(name):
    """The same arguments, in the same order, with the same defaults; numpydoc's sections; an example."""
    ours, theirs = (inspect.signature(getattr(module, name)).parameters for module in (signal, scipy))
    assert [(one.name, one.kind) for one in ours.values()] == [(one.name, one.kind) for one in theirs.values()]
    assert [one.default for one in ours.values()] == [one.default for one in theirs.values()]
    text = inspect.getdoc(getattr(signal, name))
    for section in ("Parameters", "Returns", "Raises", "Examples"):
        assert f"\n{section}\n{'-' * len(section)}\n" in text
    assert all(f"\n{one}" in text or f", {one}" in text for one in ours)


def test_the_module_is_there_when_it_is_asked_for():
    assert fc.signal is signal
