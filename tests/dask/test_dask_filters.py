"""dask arrays in ndimage's and signal's functions: the values of the whole array's result, whatever its chunks."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv.served import NotServed

da = pytest.importorskip("dask.array", reason="dask is not installed")
strips = pytest.importorskip("fastconv.dask.parts")
dask_tasks = pytest.importorskip("fastconv.dask.tasks")
dask_filters = pytest.importorskip("fastconv.dask.filters")
dask_signals = pytest.importorskip("fastconv.dask.signals")
RNG = np.random.default_rng(20240607)
CHUNKS = [(3, 5), ((1, 1, 10, 9), (17, 2)), (20, 8)]
STRUCTURE = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 1]])
WEIGHTS = np.array([[1.0, 2, 0], [-1, 3, 1], [0, 1, -2], [2, 0, 1]])


@pytest.fixture(params=["regions", "core and strips"])
def ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of any size are computed so."""
    monkeypatch.setattr(strips, "LEAST", 0)
    monkeypatch.setattr(strips, "SHARE", 0 if request.param == "regions" else np.inf)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """Whole numbers: a sum of them is exact in any order."""
    return RNG.integers(-4, 5, (21, 19)).astype(np.float32)


def same(function: Callable[..., Any], x: np.ndarray, *arguments: Any, chunked: Any = CHUNKS, **options: Any) -> None:
    """The same bits, of a size and dtype that are known before."""
    expected = function(x, *arguments, **options)
    for chunks in chunked:
        lazy = function(da.from_array(x, chunks=(chunks,) if x.ndim == 1 else chunks), *arguments, **options)
        assert (lazy.shape, lazy.dtype) == (expected.shape, expected.dtype)
        y = lazy.compute(scheduler="synchronous")
        assert (y.shape, y.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_array_equal(y, expected, err_msg=f"chunks {chunks}")


def test_every_function_is_served_or_refused_with_a_reason(image: np.ndarray) -> None:
    """No function of SciPy's names computes a dask array whole, and none fails for want of a rule."""
    generic = {"generic_laplace", "generic_gradient_magnitude"}
    assert set(fc.ndimage.__all__) == set(dask_filters.RULES) | generic
    unserved = {"choose_conv_method", "correlation_lags"}
    assert set(fc.signal.__all__) == set(dask_signals.BUILDERS) | unserved
    lazy = da.from_array(image)
    for name in generic:
        with pytest.raises(NotServed, match="map_overlap"):
            getattr(fc.ndimage, name)(lazy, fc.ndimage.sobel)
    with pytest.raises(NotServed, match=r"x\.compute\(\)"):
        fc.signal.choose_conv_method(lazy, lazy)


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("mode", ["reflect", "mirror", "nearest", "wrap", "constant"])
def test_filters(image: np.ndarray, mode: str) -> None:
    """Windows and two steps, larger than a chunk and than the image."""
    options = {"mode": mode, "cval": 2.0}
    same(fc.ndimage.correlate1d, image, [1, 2, 1, 3], 0, **options)
    same(fc.ndimage.maximum_filter, image, (5, 30), **options)
    same(fc.ndimage.grey_opening, image, (4, 3), **options)


@pytest.mark.usefixtures("ways")
@pytest.mark.exhaustive
@pytest.mark.parametrize("mode", ["reflect", "mirror", "nearest", "wrap", "constant"])
def test_filters_of_weights(image: np.ndarray, mode: str) -> None:
    """Moved windows, two passes, and a structure."""
    options = {"mode": mode, "cval": 2.0}
    same(fc.ndimage.correlate, image, WEIGHTS, **options)
    same(fc.ndimage.convolve, image, WEIGHTS, origin=(-2, 1), **options)
    same(fc.ndimage.sobel, image, **options)
    same(fc.ndimage.gaussian_filter, image, 1.5, radius=(12, 2), **options)
    same(fc.ndimage.black_tophat, image, None, STRUCTURE, **options)


@pytest.mark.usefixtures("ways")
def test_axes_and_modes_of_their_own(image: np.ndarray) -> None:
    """Sequences have a value for each axis; an output has the dtype that is asked for."""
    same(fc.ndimage.maximum_filter, image, (3, 5), mode=["wrap", "reflect"])
    same(fc.ndimage.maximum_filter, image, 5, axes=(0,), origin=1)
    same(fc.ndimage.maximum_filter1d, image, 4, 0)
    same(fc.ndimage.correlate1d, image, [1, 2, 1], output=np.float32)


@pytest.mark.usefixtures("ways")
def test_medians(image: np.ndarray) -> None:
    """Of ndimage and of signal, whose border is zeros."""
    same(fc.ndimage.median_filter, image, 3)
    same(fc.signal.medfilt2d, image, 3)


@pytest.mark.usefixtures("ways")
@pytest.mark.exhaustive
def test_binary_morphology(image: np.ndarray) -> None:
    """Several iterations reach several times as far; a mask is cut as the image is; without an end there is no block."""
    x, mask = image > 0, image > -2
    same(fc.ndimage.binary_dilation, x, iterations=3)
    same(fc.ndimage.binary_opening, x, STRUCTURE, mask=mask)
    expected = fc.ndimage.binary_erosion(x, STRUCTURE, 2, mask, border_value=1)
    lazy = fc.ndimage.binary_erosion(da.from_array(x, chunks=4), STRUCTURE, 2, da.from_array(mask, chunks=9), border_value=1)
    np.testing.assert_array_equal(lazy.compute(scheduler="synchronous"), expected)


def test_weights_may_be_lazy(image: np.ndarray) -> None:
    """With a lazy image, and with NumPy's."""
    expected, lazy = fc.ndimage.correlate(image, WEIGHTS), da.from_array(WEIGHTS, chunks=2)
    for x in (image, da.from_array(image, chunks=5)):
        np.testing.assert_array_equal(fc.ndimage.correlate(x, lazy).compute(scheduler="synchronous"), expected)


@pytest.mark.usefixtures("ways")
@pytest.mark.exhaustive
def test_gaussian_derivatives(image: np.ndarray) -> None:
    """Whose options are those of the Gaussian filter that they call, and whose squares are exact here."""
    same(fc.ndimage.gaussian_laplace, np.zeros_like(image), 1.0, radius=3)
    same(fc.ndimage.gaussian_gradient_magnitude, np.zeros_like(image), 1.0, truncate=2.0)


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
def test_convolutions(image: np.ndarray, mode: str) -> None:
    """By sums, all modes and borders; the kernel may be lazy."""
    kernel = WEIGHTS.astype(np.float32)
    same(fc.signal.convolve, image, kernel, mode, "direct")
    same(fc.signal.correlate, image, kernel, mode, "direct")
    for boundary, fill in (("fill", 3), ("wrap", 0), ("symm", 0)):
        same(fc.signal.convolve2d, image, kernel, mode, boundary, fill)
        same(fc.signal.correlate2d, image, kernel, mode, boundary, fill)
    lazy = fc.signal.convolve(da.from_array(image, chunks=8), da.from_array(kernel, chunks=1), mode, "direct")
    expected = fc.signal.convolve(image, kernel, mode, "direct")
    np.testing.assert_array_equal(lazy.compute(scheduler="synchronous"), expected)


def test_transforms(image: np.ndarray) -> None:
    """Transforms of blocks have errors of their own: relative to the largest terms, as the whole's have."""
    for function, options in ((fc.signal.fftconvolve, {}), (fc.signal.oaconvolve, {"axes": 0})):
        kernel = WEIGHTS if not options else WEIGHTS[:, :1]
        expected = function(image.astype(np.float64), kernel, "same", **options)
        lazy = function(da.from_array(image.astype(np.float64), chunks=7), kernel, "same", **options)
        found, bound = lazy.compute(scheduler="synchronous"), np.abs(image).max() * np.abs(kernel).sum()
        assert np.abs(found - expected).max() <= 64 * np.finfo(np.float64).eps * bound


@pytest.mark.exhaustive
@pytest.mark.parametrize("axis", [0, -1])
def test_filters_along_an_axis(image: np.ndarray, axis: int) -> None:
    """Finite filters and changes of rate; whole numbers, so that sums are exact."""
    x = image
    taps = np.array([1, 2, 1, 4, 2], np.float32)

    def lfilter(x: Any) -> Any:
        return fc.signal.lfilter(taps, 2.0, x, axis)

    same(lfilter, x)
    for up, down, mode in ((1, 3, "constant"), (3, 2, "edge"), (2, 1, "symmetric"), (4, 6, "reflect"), (5, 3, "constant")):

        def upfirdn(x: Any, up: int = up, down: int = down, mode: str = mode) -> Any:
            return fc.signal.upfirdn(taps, x, up, down, axis, mode, 1.5)

        def resample(x: Any, up: int = up, down: int = down) -> Any:
            return fc.signal.resample_poly(x, up, down, axis, window=taps, padtype="constant", cval=2.0)

        same(upfirdn, x)
        same(resample, x)
    same(fc.signal.decimate, np.zeros_like(x), 3, 8, "fir", axis)
    same(fc.signal.decimate, np.zeros_like(x), 3, 8, "fir", axis, False)


def test_large_blocks_are_not_copied() -> None:
    """The core of a block is read where it is stored; strips of a few cells are put together."""
    seen: list[tuple[tuple[int, ...], bool]] = []
    x = np.zeros((2200, 2400), np.float32)
    x[1199, 1299] = 1
    filtered = fc.ndimage.maximum_filter

    def watched(input: Any, *arguments: Any, **options: Any) -> Any:
        seen.append((np.shape(input), np.may_share_memory(input, x)))
        return filtered(input, *arguments, **options)

    lazy = fc.ndimage.maximum_filter(da.from_array(x, chunks=(1200, 1300), name=False), 3)
    task = dict(lazy.dask.layers[lazy.name])[(lazy.name, 0, 0)]
    found = next(one for one in (task if isinstance(task, tuple) else (task.func,)) if isinstance(one, dask_tasks.Task))
    block = dataclasses.replace(found, function=watched)(x[:1200, :1300], x[:1200, 1300:], x[1200:, :1300], x[1200:, 1300:])
    assert seen[0] == ((1200, 1300), True)
    assert seen[1:] == [((3, 1301), False), ((1200, 3), False)]
    np.testing.assert_array_equal(block, filtered(x, 3)[:1200, :1300])


def test_no_end_no_block(image: np.ndarray) -> None:
    """Iterations until nothing changes are refused: a cell may reach any other."""
    with pytest.raises(TypeError, match="iterations must be at least 1 with dask arrays, got -1"):
        fc.ndimage.binary_erosion(da.from_array(image > 0), iterations=-1)


def test_a_finite_filter(image: np.ndarray) -> None:
    """Along one axis of a signal; sums of few products are NumPy's."""
    same(lambda x: fc.signal.lfilter([1.0, 2.0, 1.0], 2.0, x), image[0], chunked=(4, 9, (1, 17, 1)))


def test_a_filter_that_holds_cells(image: np.ndarray) -> None:
    """(y, zf) for a NumPy's or a lazy zi, of more taps than a chunk has cells, by blocks and by an axis that serves all."""
    taps, b = image[0, :6], image[0]
    for x, zi in ((b, image[1, :5]), (b[:3], image[1, :5]), (image[:4], image[:1, :5])):
        expected = fc.signal.lfilter(taps, 2.0, x, zi=zi)
        for held in (zi, da.from_array(zi, chunks=2)):
            found = fc.signal.lfilter(taps, 2.0, da.from_array(x, chunks=4), zi=held)
            for one, wanted in zip(found, expected, strict=True):
                assert (one.shape, one.dtype) == (wanted.shape, wanted.dtype)
                np.testing.assert_array_equal(one.compute(scheduler="synchronous"), wanted)


@pytest.mark.parametrize("name", ["convolve", "correlate", "convolve2d", "correlate2d"])
def test_the_second_array_is_larger(image: np.ndarray, name: str) -> None:
    """ "valid" slides the smaller array over the larger one, whichever comes first; correlations are conjugated right."""
    kernel = WEIGHTS.astype(np.float32)
    function, options = getattr(fc.signal, name), {} if name.endswith("2d") else {"method": "direct"}
    pairs = [(kernel, image), (kernel * (1 + 2j), image)] if name == "correlate" else [(kernel, image)]
    for small, large in pairs:
        expected = function(small, large, "valid", **options)
        for one in (small, da.from_array(small, chunks=3)):
            found = function(one, da.from_array(large, chunks=8), "valid", **options)
            assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
            np.testing.assert_array_equal(found.compute(scheduler="synchronous"), expected)


REFUSED: list[tuple[str, Callable[[Any], Any], str]] = [
    ("a recursive filter", lambda x: fc.signal.lfilter([1.0], [1.0, 0.5], x), "recursive"),
    ("decimate by one", lambda x: fc.signal.decimate(x, 2), "recursive filter"),
    ("what a filter held", lambda x: fc.signal.lfilter([1.0, 1.0], 1.0, x, zi=np.zeros((21, 2))), "Unexpected shape .* zi"),
    ("a line through both ends", lambda x: fc.signal.upfirdn([1.0, 1.0], x, mode="line"), r"x\.rechunk\(\{1: -1\}\)"),
    ("a mean of the axis", lambda x: fc.signal.resample_poly(x, 2, 1, padtype="mean"), r"x\.rechunk\(\{0: -1\}\)"),
    ("an array to write", lambda x: fc.ndimage.sobel(x, output=np.zeros((21, 19))), "output must be None"),
    ("a mode", lambda x: fc.ndimage.sobel(x, mode="nonsense"), "mode not supported"),
    ("an origin", lambda x: fc.ndimage.maximum_filter(x, 3, origin=2), "invalid origin"),
    ("a mode of signal's", lambda x: fc.signal.convolve(x, WEIGHTS, "most"), "mode"),
    ("a boundary", lambda x: fc.signal.convolve2d(x, WEIGHTS, boundary="most"), "boundary"),
    (
        "a kernel larger on one axis",
        lambda x: fc.signal.convolve(x, np.ones((40, 4)), "valid"),
        "one must be at least as large",
    ),
    ("complex numbers", lambda x: fc.ndimage.maximum_filter(x.astype(complex), 3), "Complex"),
    ("an axis", lambda x: fc.signal.upfirdn([1.0], x, axis=2), "axis must be one of the 2"),
]


@pytest.mark.parametrize(("call", "message"), [(call, message) for _, call, message in REFUSED], ids=[n for n, _, _ in REFUSED])
def test_refusals(image: np.ndarray, call: Callable[[Any], Any], message: str) -> None:
    """At once, before anything is computed, with what to do."""

    def compute(block: np.ndarray) -> np.ndarray:
        raise AssertionError("something was computed")

    lazy = da.from_array(image, chunks=8).map_blocks(compute, dtype=image.dtype, meta=np.empty((0, 0), image.dtype))
    with pytest.raises((ValueError, TypeError, RuntimeError, IndexError, NotImplementedError), match=message):
        call(lazy)
