"""upfirdn, resample_poly and decimate against SciPy's."""

import numpy as np
import pytest
from scipy_cases import LAYOUTS, agree, agree_or_refuse, array, laid_out, outcome

from fastconv import signal
from fastconv.served import NotServed
from fastconv.signal import design
from fastconv.signal.extension import MODES

scipy = pytest.importorskip("scipy.signal")

WINDOWS = (("kaiser", 5.0), 8.0, "hamming", "hann", "blackman", "flattop", "boxcar", "nuttall", "bartlett", "cosine")
BACKGROUNDS = ("mean", "median", "minimum", "maximum")


def signals(rng, count, dtypes="?bBhilLefdFD"):
    """Signals of one to three axes, with an axis of each."""
    for _ in range(count):
        axes = int(rng.integers(1, 4))
        shape = tuple(int(n) for n in rng.integers(2, (0, 60, 9, 6)[axes], axes))
        x = array(rng, shape, rng.choice(list(dtypes)))
        layout = rng.choice(LAYOUTS)
        yield x if x.dtype.char == "e" else laid_out(x, layout), int(rng.integers(-axes, axes))


@pytest.mark.parametrize("mode", MODES)
def test_upfirdn(rng, mode):
    """Any rates and dtypes, along any axis, filters longer than the signal too."""
    for x, axis in signals(rng, 30):
        h = array(rng, rng.integers(1, 40), rng.choice(list("bBlefdFD")))
        up, down = (int(n) for n in rng.integers(1, 9, 2))
        options = {"cval": 2.5} if mode == "constant" and rng.random() < 0.3 else {}
        terms = 40 * (1 + 40 * (mode in ("smooth", "line", "antireflect")))
        agree_or_refuse(signal.upfirdn, scipy.upfirdn, terms, h, x, up, down, axis, mode, **options)


@pytest.mark.parametrize(
    "dtype", ["float32", "int16", *(pytest.param(one, marks=pytest.mark.slow) for one in ("float64", "complex64"))]
)
@pytest.mark.parametrize(("up", "down"), [(1, 1), (1, 8), (3, 2), (8, 7), (12, 5), (160, 147), (441, 480), (6, 4), (50, 1)])
def test_rates(rng, up, down, dtype):
    """Phases in one group and in many, woven in each of the ways that there are."""
    x, h = array(rng, 5000, dtype), array(rng, 701, dtype)
    agree(signal.upfirdn(h, x, up, down), scipy.upfirdn(h, x, up, down), h.size, x)
    image = x.reshape(50, 100)
    for axis in (0, 1):
        agree(signal.upfirdn(h, image, up, down, axis), scipy.upfirdn(h, image, up, down, axis), h.size, x)


@pytest.mark.parametrize("padtype", [*MODES, *BACKGROUNDS])
def test_resample_poly(rng, padtype):
    for x, axis in signals(rng, 30):
        if padtype in BACKGROUNDS[1:] and x.dtype.kind in "cb":
            continue
        up, down = (int(n) for n in rng.integers(1, 9, 2))
        if up == down:
            continue
        window = WINDOWS[rng.integers(len(WINDOWS))] if rng.random() < 0.7 else rng.standard_normal(rng.integers(1, 30))
        terms = 40 * (1 + 40 * (padtype in ("smooth", "line", "antireflect")))
        agree_or_refuse(signal.resample_poly, scipy.resample_poly, terms, x, up, down, axis, window, padtype)


@pytest.mark.parametrize("zero_phase", [True, False])
def test_decimate(rng, zero_phase):
    for x, axis in signals(rng, 60):
        q, n = int(rng.integers(2, 6)), None if rng.random() < 0.5 else int(rng.integers(0, 30))
        agree_or_refuse(signal.decimate, scipy.decimate, 100, x, q, n, "fir", axis, zero_phase)


def test_decimate_takes_a_system_without_poles(rng):
    x, system = rng.standard_normal(300), scipy.dlti([1.0, 2.0, 1.0], 4.0)
    for zero_phase in (True, False):
        expected = scipy.decimate(x, 3, ftype=system, zero_phase=zero_phase)
        agree(signal.decimate(x, 3, ftype=system, zero_phase=zero_phase), expected, 3)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("count", [1, 2, 21, 60])
def test_windows_are_scipys(window, count):
    if count == 2 and window == "bartlett":
        return  # SciPy's and NumPy's are zeros, whose sum the filter would be divided by
    expected = scipy.get_window(window, count, fftbins=False)
    np.testing.assert_allclose(design.window_of(window, count), expected, rtol=0, atol=8 * np.finfo(float).eps)
    if count > 2:
        np.testing.assert_allclose(
            design.lowpass(count, 0.3, window), scipy.firwin(count, 0.3, window=window), rtol=0, atol=8 * np.finfo(float).eps
        )


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("upfirdn", ([], [1.0])),
        ("upfirdn", ([[1.0]], [1.0])),
        ("upfirdn", ([1.0], [1.0], 0, 1)),
        ("upfirdn", ([1.0], [1.0], 1, 0)),
        ("upfirdn", ([1.0], [1.0], 1, 1, 1)),
        ("upfirdn", ([1.0], 1.0)),
        ("upfirdn", ([1.0], [1.0], 1, 1, 0, "middle")),
        ("upfirdn", ([1.0], [1.0], 1, 1, 0, 3)),
        ("upfirdn", ([1.0], [1.0], 1, 1, 0, "constant", 3j)),
        ("upfirdn", ([1.0], np.ones(3, np.longdouble))),
        ("resample_poly", ([1.0, 2.0], 1.5, 2)),
        ("resample_poly", ([1.0, 2.0], 2, 1.5)),
        ("resample_poly", ([1.0, 2.0], 0, 1)),
        ("resample_poly", ([1.0, 2.0], 2, 1, 0, np.ones((2, 2)))),
        ("resample_poly", ([1.0, 2.0], 2, 1, 0, "hamming", "middle")),
        ("resample_poly", ([1.0, 2.0], 2, 1, 0, "hamming", "mean", 1.0)),
        ("resample_poly", ([1.0, 2.0], 2, 1, 3)),
        ("resample_poly", ([1.0, 2.0], 2, 1, 0, (1, 2))),
        ("decimate", ([1.0, 2.0], 1.5)),
        ("decimate", ([1.0, 2.0], 2, 1.5)),
        ("decimate", ([1.0, 2.0], 2, None, "middle")),
        ("decimate", ([1.0, 2.0], 1, None, "fir")),
    ],
)
def test_errors_are_scipys(name, arguments):
    expected, found = outcome(getattr(scipy, name), *arguments), outcome(getattr(signal, name), *arguments)
    assert isinstance(expected, Exception)
    assert isinstance(found, type(expected)) or isinstance(expected, type(found)), (found, expected)


def test_what_is_not_served():
    x = np.ones(30)
    for call in (
        lambda: signal.decimate(x, 2),
        lambda: signal.decimate(x, 2, ftype=scipy.dlti([1.0], [1.0, 0.5])),
        lambda: signal.resample_poly(x, 2, 1, window="parzen"),
        lambda: signal.upfirdn(x.astype(object), x),
    ):
        with pytest.raises(NotServed):
            call()
    with pytest.raises(TypeError, match="masked"):
        signal.upfirdn([1.0], np.ma.masked_array(x))


def test_signals_of_no_and_of_one_cell():
    """SciPy gives zeros for no cells; where it divides by zero, an error or the one cell again."""
    agree(signal.upfirdn([1.0, 2.0], np.zeros((0, 3)), 2), scipy.upfirdn([1.0, 2.0], np.zeros((0, 3)), 2), 2)
    agree(signal.upfirdn([1.0, 2.0], np.zeros((2, 0)), 1), scipy.upfirdn([1.0, 2.0], np.zeros((2, 0)), 1), 2)
    with pytest.raises(ValueError, match="must have cells"):
        signal.upfirdn(np.ones(3), np.zeros(0), mode="symmetric")
    with pytest.raises(ValueError, match="negative dimensions"):
        signal.upfirdn([1.0], np.zeros(0), 3)
    for mode in ("reflect", "smooth", "line", "antireflect"):
        np.testing.assert_array_equal(signal.upfirdn(np.ones(3), [5.0], mode=mode), [15.0, 15.0, 15.0])


def test_nothing_is_written_to(rng):
    x, h = rng.standard_normal(100), rng.standard_normal(9)
    before = x.copy(), h.copy()
    for padtype in (*MODES, *BACKGROUNDS):
        signal.resample_poly(x, 3, 2, window=h, padtype=padtype)
    assert not np.shares_memory(signal.resample_poly(x, 2, 2), x)
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(h, before[1])
