"""Filters over arrays of any number of axes, as tests call them: by implementation, on small arrays, at guard pages."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from guards import guarded

from fastconv.ndimage.arguments import border
from fastconv.plans import filters
from fastconv.problem.borders import Border
from fastconv.problem.filters import FilterGeometry, geometry
from fastconv.problem.problem import Problem
from fastconv.problem.types import Types

MODES = ("reflect", "mirror", "nearest", "wrap", "constant")
# (shape, window): one axis to four, windows larger than the array, axes without taps, short last axes, strips and bands, and
# rows that are long enough for windows inside of the array to be read where they are, and planes that are summed there.
SHAPES = (
    ((11,), (5,)),
    ((7, 9), (3, 2)),
    ((3, 4), (7, 9)),
    ((1, 1), (3, 3)),
    ((40, 90), (5, 7)),
    ((30, 40), (5, 1)),
    ((9, 531), (3, 3)),
    ((2, 6, 180, 3), (1, 4, 2, 1)),
    ((30, 40), (1, 4)),
    ((5, 6, 3), (3, 3, 1)),
    ((4, 5, 6), (2, 3, 3)),
    ((6, 10, 50), (3, 1, 5)),
    ((2, 3, 8, 9), (1, 1, 3, 5)),
    ((3, 4, 5, 6), (3, 2, 3, 2)),
    ((4, 20, 90), (2, 3, 2)),
    ((6, 11, 70), (3, 2, 3)),
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
    return geometry_of(operation, shape, taps, border(mode).mode, origin)


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


def cells(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> np.ndarray:
    """Integers that every dtype holds."""
    low = 0 if np.dtype(dtype).kind == "u" else -100
    return np.random.default_rng(seed).integers(low, 101, shape).astype(dtype)


def geometry_of(operation: str, shape: Any, taps: Any, mode: str, origin: Any = None) -> FilterGeometry:
    """A window with one mode around all axes."""
    origin = (0,) * len(shape) if origin is None else origin
    return geometry(operation, tuple(shape), tuple(taps), tuple(origin), (Border(mode),) * len(shape))


def by_each(
    window: FilterGeometry, operands: dict[str, Any], dtype: Any, summed: Any, cval: Any = 0, least: int = 1
) -> dict[str, np.ndarray]:
    """The results of the implementations that serve a filter; those that visit cells one by one only for few cells."""
    dtype, summed = np.dtype(dtype), np.dtype(summed)
    problem = Problem(window, Types(operands["x"].dtype, summed, summed, dtype))
    found = {}
    for one in filters.FILTERS[window.operation]:
        slow = one.name == "reference" and window.cells * window.window > 20_000
        if one.supports(problem) is None and not slow:
            found[one.name] = np.empty(window.shape, dtype)
            filters.run(window, operands, found[one.name], summed, cval, implementation=one.name)
    assert len(found) > least
    return found


def run_guarded(operation: str, shape: list[int], taps: list[int], mode: str, dtype: str, summed: str, at: str) -> None:
    """A filter by its kernel whose x and result lie at guard pages: the same bits as elsewhere."""
    found, x = geometry_of(operation, shape, taps, mode), cells(tuple(shape), dtype)
    operands: dict[str, Any] = {"x": x}
    if operation.startswith("footprint") or operation in ("dilation", "erosion"):
        operands["footprint"] = np.random.default_rng(1).random(taps) < 0.6
        operands["footprint"].flat[0] = True
        operands["structure"] = cells(tuple(taps), np.float64, 2)
    if operation.startswith("footprint"):
        del operands["structure"]
    expected, out = np.empty_like(x), guarded(np.empty_like(x), at)
    filters.run(found, operands, expected, summed, 3, implementation="direct")
    fenced = {**operands, "x": guarded(x, at)}
    filters.run(found, fenced, out, summed, 3, implementation="direct")
    assert np.array_equal(out, expected)
