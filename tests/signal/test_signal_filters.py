"""lfilter, medfilt and medfilt2d against SciPy's and against sorting."""

import numpy as np
import pytest
from scipy_cases import LAYOUTS, agree, agree_or_refuse, array, laid_out, outcome

from fastconv import signal
from fastconv.served import NotServed

scipy = pytest.importorskip("scipy.signal")


def joined(function):
    """The function, its results one behind the other."""

    def call(*arguments):
        found = function(*arguments)
        return np.concatenate([one.ravel() for one in found]) if isinstance(found, tuple) else found

    return call


@pytest.mark.parametrize("a", [1.0, 2.0, [2.0], np.float32(3), [1.0, 0.0, 0.0], 1j])
def test_lfilter(rng, a):
    """Filters of finite length, along any axis, with and without what was held before."""
    for _ in range(40):
        axes = int(rng.integers(1, 4))
        shape = tuple(int(n) for n in rng.integers(1, (0, 60, 9, 6)[axes], axes))
        axis = int(rng.integers(-axes, axes))
        b, x = array(rng, rng.integers(1, 12), rng.choice(list("lfdFDg"))), array(rng, shape, rng.choice(list("lfdFDg")))
        held = list(shape)
        held[axis] = max(np.size(a), b.size) - 1
        held = [n if rng.random() < 0.8 or one == axis % axes else 1 for one, n in enumerate(held)]
        zi = None if rng.random() < 0.5 else array(rng, held, rng.choice(list("fdD")))
        b, x = (laid_out(one, rng.choice(LAYOUTS)) for one in (b, x))
        agree_or_refuse(joined(signal.lfilter), joined(scipy.lfilter), 12, b, a, x, axis, zi)


def test_lfilter_goes_on_where_it_stopped(rng):
    x, b = rng.standard_normal(1000), rng.standard_normal(30)
    first, held = signal.lfilter(b, 1.0, x[:400], zi=np.zeros(29))
    second, _ = signal.lfilter(b, 1.0, x[400:], zi=held)
    agree(np.concatenate((first, second)), signal.lfilter(b, 1.0, x), b.size)


@pytest.mark.parametrize(
    "arguments",
    [
        ([], [1.0], [1.0]),
        ([[1.0]], [1.0], [1.0]),
        ([1.0], [], [1.0]),
        ([1.0], [1.0], 1.0),
        ([1.0], [1.0], []),
        ([1], [1], [1]),
        ([1.0], [1.0], [1.0], 2),
        ([1.0, 2.0], [1.0], [1.0], -1, [1.0, 2.0]),
        ([1.0, 2.0], [1.0], [1.0], -1, [[1.0]]),
    ],
)
def test_errors_of_lfilter_are_scipys(arguments):
    expected, found = outcome(scipy.lfilter, *arguments), outcome(signal.lfilter, *arguments)
    assert isinstance(expected, Exception)
    assert isinstance(found, type(expected)) or isinstance(expected, type(found)), (found, expected)


def test_recursive_filters_are_not_served():
    with pytest.raises(NotServed, match="recursive"):
        signal.lfilter([1.0], [1.0, 0.5], np.ones(9))


def by_sorting(x, size):
    """The medians, by sorting each window."""
    padded = np.pad(x, [(k // 2, k // 2) for k in size])
    windows = np.lib.stride_tricks.sliding_window_view(padded, size).reshape(*x.shape, -1)
    return np.sort(windows, axis=-1)[..., windows.shape[-1] // 2]


@pytest.mark.filterwarnings("ignore:kernel_size exceeds")
@pytest.mark.parametrize("dtype", [*"Bf", *(pytest.param(one, marks=pytest.mark.slow) for one in "bhHiIlLd")])
def test_medians(rng, dtype):
    """Of any dtype's whole range, on any number of axes, by either way."""
    for turn in range(40):
        axes = int(rng.integers(1, 4))
        shape = tuple(int(n) for n in rng.integers(1, (0, 40, 9, 6)[axes], axes))
        size = tuple(int(n) for n in 2 * rng.integers(0, 5, axes) + 1)
        x = array(rng, shape, dtype, whole_range=True)
        if dtype in "fd" and turn % 2:
            x[rng.random(shape) < 0.2] = (np.nan, np.inf, -np.inf)[turn % 3]
        found = signal.medfilt(laid_out(x, rng.choice(LAYOUTS)), size)
        assert found.dtype == x.dtype
        np.testing.assert_array_equal(found, by_sorting(x, size))


@pytest.mark.parametrize(
    "dtype", ["uint8", "float32", *(pytest.param(one, marks=pytest.mark.slow) for one in ("float64", "int16"))]
)
@pytest.mark.parametrize("size", [1, 3, 5, (3, 7), (7, 3), 13])
def test_medians_of_images_are_scipys(rng, size, dtype):
    image = array(rng, (70, 90), dtype, whole_range=True)
    np.testing.assert_array_equal(signal.medfilt2d(image, size), scipy.medfilt2d(image, size))
    np.testing.assert_array_equal(signal.medfilt(image, size), scipy.medfilt(image, size))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("medfilt", ([1.0, 2.0], 2)),
        ("medfilt", ([1.0, 2.0], -1)),
        ("medfilt", ([[1.0, 2.0]], [3, 3, 3])),
        ("medfilt", ([1.0], 3.0)),
        ("medfilt", ([True, False],)),
        ("medfilt", (np.ones(3, np.float16),)),
        ("medfilt", (np.ones(3, complex),)),
        ("medfilt2d", (np.ones(4),)),
        ("medfilt2d", (np.ones((4, 4, 4)),)),
        ("medfilt2d", (np.ones((4, 4)), [3])),
        ("medfilt2d", (np.ones((4, 4)), 2)),
        ("medfilt2d", (np.ones((4, 4)), 3.0)),
    ],
)
def test_errors_of_medians_are_scipys(name, arguments):
    expected, found = outcome(getattr(scipy, name), *arguments), outcome(getattr(signal, name), *arguments)
    assert isinstance(expected, Exception)
    assert isinstance(found, type(expected)) or isinstance(expected, type(found)), (found, expected)


def test_medians_of_no_cells_and_of_large_windows():
    assert signal.medfilt2d(np.zeros((0, 3))).shape == (0, 3)
    with pytest.warns(UserWarning, match="exceeds volume extent"):
        np.testing.assert_array_equal(signal.medfilt([1.0, 2.0], 5), [0.0, 0.0])
    with pytest.raises(TypeError, match="masked"):
        signal.medfilt(np.ma.masked_array([1.0, 2.0]))
    np.testing.assert_array_equal(signal.medfilt(5.0, 1), [5.0])
