"""Windows of 3x3 in one sweep: the same bits as by any other way."""

from typing import Any

import numpy as np
import pytest
from filter_cases import geometry_of, result_of, whole_numbers, window
from guards import SUPPORTED

from fastconv import ndimage
from fastconv.plans import filters
from fastconv.problem.filters import SumGeometry, summed_by
from fastconv.problem.problem import Problem
from fastconv.problem.types import Types

SOBEL, LAPLACE = np.outer([1, 2, 1], [-1, 0, 1]), np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
# Rows shorter and longer than a vector, several planes, cells of several elements, one row, one cell
SHAPES = (
    ((9, 531), (3, 3)),
    ((1, 1), (3, 3)),
    ((40, 30), (3, 3)),
    ((3, 5, 70), (1, 3, 3)),
    ((7, 50, 3), (3, 3, 1)),
    ((1, 80), (3, 3)),
)
MODES = ("reflect", "mirror", "nearest", "wrap", "constant")


def swept(operation: str, shape: tuple[int, ...], taps: tuple[int, ...], mode: str, w: np.ndarray) -> SumGeometry:
    """A window with its weights, whose origin is at one end of it in one mode in two."""
    at = MODES.index(mode) % 3 - 1
    plain = window(operation, shape, taps, tuple(at if size > 1 else 0 for size in taps), mode)
    return summed_by(plain, tuple(map(float, w.ravel())))


def is_served(geometry: SumGeometry, stored: Any, summed: Any) -> bool:
    """Whether a sweep serves a filter."""
    kinds = map(np.dtype, (stored, summed, summed, stored))
    return filters.FILTERS[geometry.operation][0].supports(Problem(geometry, Types(*kinds))) is None


@pytest.mark.skipif(not SUPPORTED, reason="guard pages need Linux")
@pytest.mark.parametrize("stored", [np.float32, np.uint8])
@pytest.mark.parametrize("operation", ["correlation", "passes"])
def test_sweeps_are_windows(operation: str, stored: Any, rng: np.random.Generator) -> None:
    """Whole sums by sweeps are those of sliding windows, whatever lies around the array, which ends at a guard page."""
    served = 0
    w = SOBEL if operation == "passes" else LAPLACE
    for shape, taps in SHAPES:
        for mode in MODES:
            found = swept(operation, shape, taps, mode, w)
            if not is_served(found, stored, np.float32):
                assert operation == "passes"
                assert mode == "constant"
                continue
            vectors = iter((np.array([1.0, 2.0, 1.0]), np.array([-1.0, 0.0, 1.0])))
            operands: dict[str, Any] = {f"w{i}": next(vectors) if size > 1 else np.ones(1) for i, size in enumerate(taps)}
            operands |= {"w": w.reshape(taps).astype(float), "x": whole_numbers(shape, stored, rng)}
            arguments = found, operands, stored, np.float32, 3
            expected = result_of(*arguments, implementation="strided")
            at = ("end", "begin")[served % 2]
            np.testing.assert_array_equal(result_of(*arguments, implementation="sweep", at=at), expected, f"{shape} {mode}")
            served += 1
    assert served >= 24


def test_any_nine_weights_are_swept(rng: np.random.Generator) -> None:
    """Those that are zero leave their cells out, as everywhere in correlations; NaN and infinity reach no other window."""
    x = rng.normal(size=(20, 70)).astype(np.float32)
    w = rng.normal(size=(3, 3))
    assert is_served(swept("correlation", x.shape, (3, 3), "reflect", w), np.float32, np.float32)
    plain = window("correlation", x.shape, (3, 3), (0, 0), "reflect")
    expected = result_of(plain, {"x": x, "w": w}, np.float32, np.float64, implementation="strided")
    np.testing.assert_allclose(ndimage.correlate(x, w), expected, atol=40 * np.finfo(np.float32).eps)
    w[1, 1] = 0
    assert not is_served(swept("correlation", x.shape, (3, 3), "reflect", w), np.float32, np.float32)
    plain = ndimage.sobel(x)
    for value in (np.nan, np.inf):
        x[10, 30] = value
        found = ndimage.sobel(x) != plain
        assert found.sum() == 9
        assert found[9:12, 29:32].all()


def test_narrow_sums_wrap_as_scipys(rng: np.random.Generator) -> None:
    """What is stored in 8 bits, and negative numbers in unsigned ones."""
    scipy = pytest.importorskip("scipy.ndimage", reason="scipy is not installed")
    x = rng.integers(0, 256, (40, 30), np.uint8)
    for name, options in (("sobel", {}), ("laplace", {}), ("laplace", {"mode": "constant", "cval": 255})):
        np.testing.assert_array_equal(getattr(ndimage, name)(x, **options), getattr(scipy, name)(x, **options), name)


@pytest.mark.parametrize(
    ("operation", "dtype"), [("range", np.uint8), *((one, np.float32) for one in ("range", "maximum", "minimum"))]
)
def test_extremes_of_nine(operation: str, dtype: Any, rng: np.random.Generator) -> None:
    """By sweeps as by sliding windows, whatever lies around the array; a NaN stays."""
    for shape in ((7, 150), (5, 4)):
        x = whole_numbers(shape, dtype, rng)
        if dtype is np.float32:
            x[(3, 3, 4), (0, 2, shape[1] - 1)] = np.nan
        for mode in ("symmetric", "circular", "constant"):
            arguments = geometry_of(operation, shape, (3, 3), mode), {"x": x}, dtype, dtype, 5
            expected = result_of(*arguments, implementation="strided")
            np.testing.assert_array_equal(result_of(*arguments, implementation="sweep"), expected)


def test_gradients_are_largest_less_smallest(rng: np.random.Generator) -> None:
    """Into a new array, one that is given, and the image itself."""
    x = rng.normal(size=(20, 70)).astype(np.float32)
    expected, out = ndimage.maximum_filter(x, 3) - ndimage.minimum_filter(x, 3), x.copy()
    for source, given in ((x, None), (x, np.empty_like(x)), (out, out)):
        np.testing.assert_array_equal(ndimage.morphological_gradient(source, 3, output=given), expected)
    np.testing.assert_array_equal(out, expected)
