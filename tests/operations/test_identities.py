"""The reference against SciPy, and linear operations against their adjoints."""

from typing import Any

import numpy as np
import pytest
from case import Case
from cases import CASES
from scipy import ndimage, signal

import fastconv as fc

NDIMAGE_MODES = {"zeros": "constant", "reflect": "mirror", "replicate": "nearest", "circular": "wrap"}
SIZES = {1: ((9,), (3,)), 2: ((6, 7), (3, 2)), 3: ((4, 5, 3), (2, 1, 3))}


def whole(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Whole numbers as float64: everything below is exact."""
    return rng.integers(-9, 10, shape).astype(np.float64)


def spread(kernel: np.ndarray, dilation: int) -> np.ndarray:
    """A kernel with zeros between its taps."""
    wide = np.zeros([dilation * (taps - 1) + 1 for taps in kernel.shape])
    wide[(slice(None, None, dilation),) * kernel.ndim] = kernel
    return wide


def conv(rank: int, x: np.ndarray, w: np.ndarray, **options: Any) -> np.ndarray:
    return getattr(fc, f"conv{rank}d")(x, w, **options, implementation="reference")


@pytest.mark.parametrize("rank", SIZES)
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2), (3, 2)])
def test_convolution_is_scipys_correlation(rng: np.random.Generator, rank: int, stride: int, dilation: int) -> None:
    """Summed over channels, for every image and filter; strides take some of the outputs, dilations spread the kernel."""
    size, kernel = SIZES[rank]
    x, w = whole(rng, 2, 3, *(cells * 2 for cells in size)), whole(rng, 4, 3, *kernel)
    found = conv(rank, x, w, stride=stride, dilation=dilation)
    for n in range(2):
        for k in range(4):
            full = sum(signal.correlate(x[n, c], spread(w[k, c], dilation), "valid", "direct") for c in range(3))
            np.testing.assert_array_equal(found[n, k], full[(slice(None, None, stride),) * rank])


@pytest.mark.parametrize("rank", SIZES)
def test_full_padding_and_a_flip_are_scipys_convolution(rng: np.random.Generator, rank: int) -> None:
    """As a transposed convolution does without either."""
    size, kernel = SIZES[rank]
    x, w = whole(rng, 1, *size), whole(rng, 1, 1, *kernel)
    expected = signal.convolve(x[0], w[0, 0], "full", "direct")[None]
    flipped = np.flip(w, axis=tuple(range(2, 2 + rank)))
    np.testing.assert_array_equal(conv(rank, x, flipped, padding=tuple(taps - 1 for taps in kernel)), expected)
    transposed = getattr(fc, f"conv_transpose{rank}d")(x, w, implementation="reference")
    np.testing.assert_array_equal(transposed, expected)


def test_numpys_convolve_is_the_docstrings_recipe(rng: np.random.Generator) -> None:
    x, w = whole(rng, 8), whole(rng, 3)
    np.testing.assert_array_equal(conv(1, x[None], w[::-1].reshape(1, 1, 3), padding=2)[0], np.convolve(x, w))


@pytest.mark.parametrize("rank", SIZES)
@pytest.mark.parametrize("mode", NDIMAGE_MODES)
def test_padding_modes_are_ndimages(rng: np.random.Generator, rank: int, mode: str) -> None:
    """reflect is ndimage's mirror, replicate its nearest, circular its wrap."""
    size = SIZES[rank][0]
    x, w = whole(rng, 1, *size), whole(rng, 1, 1, *(3,) * rank)
    expected = ndimage.correlate(x[0], w[0, 0], mode=NDIMAGE_MODES[mode])
    np.testing.assert_array_equal(conv(rank, x, w, padding=1, padding_mode=mode)[0], expected)


@pytest.mark.parametrize("rank", SIZES)
def test_pools_are_ndimages_filters(rng: np.random.Generator, rank: int) -> None:
    """Maxima, minima and sums over windows at stride 1, and at the strides that take some of them."""
    x = whole(rng, 1, *SIZES[rank][0])
    for stride in (1, 2):
        some = (slice(None, None, stride),) * rank
        options = {"kernel_size": 3, "stride": stride, "padding": 1, "implementation": "reference"}
        largest = ndimage.maximum_filter(x[0], 3, mode="constant", cval=-np.inf)
        smallest = ndimage.minimum_filter(x[0], 3, mode="constant", cval=np.inf)
        total = ndimage.correlate(x[0], np.ones((3,) * rank), mode="constant")
        np.testing.assert_array_equal(getattr(fc, f"max_pool{rank}d")(x, **options)[0], largest[some])
        np.testing.assert_array_equal(getattr(fc, f"min_pool{rank}d")(x, **options)[0], smallest[some])
        summed = getattr(fc, f"avg_pool{rank}d")(x, **options, divisor_override=1)
        np.testing.assert_array_equal(summed[0], total[some])
        mean = getattr(fc, f"avg_pool{rank}d")(x, **options)
        np.testing.assert_array_equal(mean[0], total[some] / 3**rank)


# Adjoints ---------------------------------------------------------------------------------------------------------------

LINEAR = [
    case
    for case in CASES
    if case.family == "conv" and case.geometry.border.mode == "zeros" and case.geometry.activation.kind == "none"
]
UNFOLDS = [case for case in CASES if case.family == "unfold"]


@pytest.mark.exhaustive
@pytest.mark.parametrize("case", LINEAR, ids=str)
def test_a_transposed_convolution_is_the_adjoint(case: Case, rng: np.random.Generator) -> None:
    """<conv(x, w), y> = <x, conv_transpose(y, w)>, exactly, with the same weights, steps and padding."""
    inputs, geometry = case.inputs(np.int64), case.geometry
    x, w = inputs["x"], inputs["w"]
    forward = case.call({"x": x, "w": w}, "reference")
    y = rng.integers(-4, 5, forward.shape)
    extra = [
        size + before + after - window - (outputs - 1) * stride
        for size, (before, after), window, outputs, stride in zip(
            geometry.in_size, geometry.padding, geometry.window, geometry.out_size, geometry.stride, strict=True
        )
    ]
    options = {name: value for name, value in case.options if name in ("stride", "dilation", "groups", "layout")}
    operation = getattr(fc, case.operation.replace("conv", "conv_transpose"))
    backward = operation(y, w, padding=geometry.padding, output_padding=tuple(extra), **options, implementation="reference")
    assert backward.shape == x.shape
    assert np.vdot(forward, y) == np.vdot(x, backward)


@pytest.mark.parametrize("case", UNFOLDS, ids=str)
def test_fold_is_the_adjoint_of_unfold(case: Case, rng: np.random.Generator) -> None:
    """<unfold(x), y> = <x, fold(y)>, exactly."""
    x = case.inputs(np.int64)["x"]
    forward = case.call({"x": x}, "reference")
    y = rng.integers(-4, 5, forward.shape)
    backward = fc.fold(y, case.geometry.windows.in_size, **dict(case.options), implementation="reference")
    assert backward.shape == x.shape
    assert np.vdot(forward, y) == np.vdot(x, backward)


@pytest.mark.parametrize("rank", SIZES)
def test_a_convolution_is_unfold_and_a_product(rng: np.random.Generator, rank: int) -> None:
    """conv(x, w) is the matrix of weights times the columns of unfold."""
    size, kernel = SIZES[rank]
    x, w = whole(rng, 2, 3, *size), whole(rng, 4, 3, *kernel)
    options = {"stride": 2, "padding": 1}
    found = conv(rank, x, w, **options)
    columns = fc.unfold(x, kernel, **options, implementation="reference")
    np.testing.assert_array_equal((w.reshape(4, -1) @ columns).reshape(found.shape), found)


@pytest.mark.parametrize("rank", SIZES)
def test_unpooling_undoes_a_max_pool(rng: np.random.Generator, rank: int) -> None:
    """Where windows do not overlap, pooling the unpooled gives the pooled back."""
    size = tuple(2 * cells for cells in SIZES[rank][0])
    x = 1 + rng.permutation(int(np.prod(size))).reshape(1, *size).astype(np.float64)
    pool, unpool = getattr(fc, f"max_pool{rank}d"), getattr(fc, f"max_unpool{rank}d")
    values, indices = pool(x, 2, return_indices=True, implementation="reference")
    apart = unpool(values, indices, 2, implementation="reference")
    assert np.count_nonzero(apart) == values.size
    np.testing.assert_array_equal(apart[apart != 0], x[apart != 0])
    again = pool(apart, 2, return_indices=True, implementation="reference")
    np.testing.assert_array_equal(again[0], values)
    np.testing.assert_array_equal(again[1], indices)
