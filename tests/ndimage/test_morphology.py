"""Morphology against SciPy, and what must hold of it whatever the image."""

import numpy as np
import pytest
from filter_cases import cells

from fastconv import ndimage

GREY = (
    "grey_erosion",
    "grey_dilation",
    "grey_opening",
    "grey_closing",
    "morphological_gradient",
    "morphological_laplace",
    "white_tophat",
    "black_tophat",
)
BINARY = ("binary_erosion", "binary_dilation", "binary_opening", "binary_closing")
DISK = np.hypot(*(np.indices((7, 7)) - 3)) < 3.3


@pytest.mark.parametrize("name", GREY)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_grey_as_scipy(name, dtype):
    scipy = pytest.importorskip("scipy.ndimage")
    for shape, window in (
        ((20, 300), {"size": (3, 4)}),
        ((20, 30), {"size": 5, "mode": "wrap", "origin": (1, -1)}),
        ((20, 30), {"footprint": DISK}),
        ((20, 30), {"footprint": DISK[:, :4], "mode": "constant", "cval": 9, "origin": (0, -1)}),
        ((6, 20, 30), {"size": (2, 3), "axes": (2, 0), "mode": ["mirror", "nearest"]}),
    ):
        x = cells(shape, dtype)
        expected, found = getattr(scipy, name)(x, **window), getattr(ndimage, name)(x, **window)
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected), (shape, window)
        out = np.empty(shape, np.float64)
        assert getattr(ndimage, name)(x, output=out, **window) is out
        assert np.array_equal(out, getattr(scipy, name)(x, output=np.empty(shape), **window)), (shape, window)


@pytest.mark.parametrize("name", ["grey_erosion", "grey_dilation", "grey_opening", "grey_closing", "white_tophat"])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_structures_as_scipy(name, dtype):
    scipy = pytest.importorskip("scipy.ndimage")
    structure = np.where(DISK, 9 - np.hypot(*(np.indices((7, 7)) - 3)).round(), -3)
    x = cells((20, 30), dtype)
    for window in ({"structure": structure}, {"structure": structure, "footprint": DISK}, {"structure": np.zeros((3, 3))}):
        expected, found = getattr(scipy, name)(x, **window), getattr(ndimage, name)(x, **window)
        assert np.array_equal(found, expected), window


@pytest.mark.parametrize("name", BINARY)
def test_binary_as_scipy(name):
    scipy = pytest.importorskip("scipy.ndimage")
    rng = np.random.default_rng(0)
    x, mask = rng.random((30, 40)) < 0.8, rng.random((30, 40)) < 0.7
    for options in (
        {},
        {"structure": np.ones((3, 3))},
        {"structure": DISK},
        {"structure": [[0, 1], [1, 1]], "origin": (0, -1)},
        {"border_value": 1},
        {"iterations": 3},
        {"iterations": 0, "mask": mask},
        {"iterations": 2, "mask": mask, "brute_force": True, "border_value": 1},
        {"structure": np.zeros((3, 3))},
        {"structure": [0, 1, 1], "axes": (1,), "iterations": 2},
    ):
        expected, found = getattr(scipy, name)(x, **options), getattr(ndimage, name)(x, **options)
        assert found.dtype == bool
        assert np.array_equal(found, expected), options
        out = np.full(x.shape, 7, np.int16)
        assert getattr(ndimage, name)(x.astype(np.float32) * 3, output=out, **options) is out
        assert np.array_equal(out, expected), options
    volume = rng.random((6, 7, 8)) < 0.9
    assert np.array_equal(getattr(ndimage, name)(volume), getattr(scipy, name)(volume))


@pytest.mark.parametrize("name", [*GREY, *BINARY])
def test_in_place_as_elsewhere(name):
    function, binary = getattr(ndimage, name), name.startswith("binary")
    x = cells((20, 300), np.int16)
    x = x > 0 if binary else x
    window = {} if binary else {"size": 3}
    expected = function(x, **window)
    assert function(x, output=x, **window) is x
    assert np.array_equal(x, expected)


def test_an_opening_lies_below_the_image_and_is_its_own_opening():
    x = cells((40, 50), np.uint8)
    opened, closed = ndimage.grey_opening(x, footprint=DISK), ndimage.grey_closing(x, footprint=DISK)
    assert (opened <= x).all()
    assert (closed >= x).all()
    inside = (slice(8, -8),) * 2
    assert np.array_equal(ndimage.grey_opening(opened, footprint=DISK)[inside], opened[inside])
    assert np.array_equal(ndimage.grey_dilation(x, footprint=DISK), 255 - ndimage.grey_erosion(255 - x, footprint=DISK))


def test_bad_input():
    x = np.zeros((4, 5), bool)
    for name in GREY[:4]:
        with pytest.raises(ValueError, match="must be specified"):
            getattr(ndimage, name)(x)
    with pytest.warns(UserWarning, match="ignoring size"):
        ndimage.grey_opening(x, size=3, footprint=np.ones((3, 3)))
    for name in BINARY:
        with pytest.raises(TypeError, match="iterations"):
            getattr(ndimage, name)(x, iterations=1.5)
    with pytest.raises(TypeError):
        ndimage.binary_erosion(x + 1j)
    with pytest.raises(TypeError):
        ndimage.binary_erosion(x, output=np.zeros((4, 5), complex))
    with pytest.raises(RuntimeError, match="dimensionality"):
        ndimage.binary_erosion(x, structure=np.ones(3))
    with pytest.raises(RuntimeError, match="empty"):
        ndimage.binary_erosion(x, structure=np.ones((0, 3)))
    with pytest.raises(RuntimeError, match="mask"):
        ndimage.binary_erosion(x, mask=np.ones((3, 3)))
    with pytest.raises(ValueError, match="origin"):
        ndimage.binary_erosion(x, origin=2)
