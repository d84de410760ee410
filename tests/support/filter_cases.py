"""Filters over arrays of any number of axes, as tests call them: by implementation, with operands at guard pages."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from guards import guarded

from fastconv.ndimage.arguments import border
from fastconv.plans import filters
from fastconv.problem.filters import FilterGeometry, geometry

MODES = ("reflect", "mirror", "nearest", "wrap", "constant")
# (shape, window): one axis to four, windows larger than the array, axes without taps, short last axes, strips and bands.
SHAPES = (
    ((11,), (5,)),
    ((7, 9), (3, 2)),
    ((3, 4), (7, 9)),
    ((1, 1), (3, 3)),
    ((40, 90), (5, 7)),
    ((30, 40), (5, 1)),
    ((30, 40), (1, 4)),
    ((5, 6, 3), (3, 3, 1)),
    ((4, 5, 6), (2, 3, 3)),
    ((6, 10, 50), (3, 1, 5)),
    ((2, 3, 8, 9), (1, 1, 3, 5)),
    ((3, 4, 5, 6), (3, 2, 3, 2)),
)
TYPES = ((np.float32, np.float32), (np.float64, np.float64), (np.uint8, np.uint8), (np.int16, np.float64))


def origins(taps: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """The middle, and the extremes of every axis."""
    yield (0,) * len(taps)
    yield tuple(-(size // 2) for size in taps)
    yield tuple((size - 1) // 2 for size in taps)


def cases() -> Iterator[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], str]]:
    """(shape, window, origin, mode): every mode for some shapes, and every shape for some modes."""
    for (shape, taps), mode in itertools.product(SHAPES, MODES):
        every = list(origins(taps))
        yield shape, taps, every[(len(shape) + MODES.index(mode)) % 3], mode


def window(operation: str, shape: tuple[int, ...], taps: tuple[int, ...], origin: tuple[int, ...], mode: str) -> FilterGeometry:
    """The geometry that fastconv.ndimage makes of SciPy's arguments."""
    return geometry(operation, shape, taps, origin, (border(mode),) * len(shape))


def filled(shape: tuple[int, ...], dtype: Any, rng: np.random.Generator) -> np.ndarray:
    """Numbers of a type, all bits of small ones."""
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return rng.normal(size=shape).astype(dtype)
    low, high = (0, 255) if dtype.kind == "u" else (-100, 100)
    return rng.integers(low, high, shape, endpoint=True).astype(dtype)


def whole_numbers(shape: tuple[int, ...], dtype: Any, rng: np.random.Generator) -> np.ndarray:
    """Whole numbers, whose sums are exact in floats too."""
    return filled(shape, dtype, rng) if np.dtype(dtype).kind != "f" else rng.integers(-9, 9, shape).astype(dtype)


def result_of(
    found: FilterGeometry,
    operands: dict[str, Any],
    dtype: Any,
    summed: Any,
    cval: Any = 0,
    implementation: str = "direct",
    at: str = "",
) -> np.ndarray:
    """What an implementation writes; with `at`, every array ends or begins at a guard page."""
    out = np.full(found.shape, 77, dtype)
    if at:
        operands = {name: guarded(array, at) if isinstance(array, np.ndarray) else array for name, array in operands.items()}
        out = guarded(out, at)
    filters.run(found, operands, out, summed, cval, implementation=implementation)
    return out
