"""Filters on small arrays by every implementation that serves them, and in a process whose arrays end at guard pages."""

from typing import Any

import numpy as np

from fastconv.plans import filters
from fastconv.problem.borders import Border
from fastconv.problem.filters import FilterGeometry
from fastconv.problem.problem import Problem
from fastconv.problem.types import Types


def cells(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> np.ndarray:
    """Integers that every dtype holds."""
    low = 0 if np.dtype(dtype).kind == "u" else -100
    return np.random.default_rng(seed).integers(low, 101, shape).astype(dtype)


def geometry_of(operation: str, shape: Any, taps: Any, mode: str, origin: Any = None) -> FilterGeometry:
    """A window with one mode around all axes."""
    origin = (0,) * len(shape) if origin is None else origin
    return FilterGeometry(operation, tuple(shape), tuple(taps), tuple(origin), (Border(mode),) * len(shape))


def by_each(
    geometry: FilterGeometry, operands: dict[str, Any], dtype: Any, summed: Any, cval: Any = 0, least: int = 1
) -> dict[str, np.ndarray]:
    """The results of the implementations that serve a filter; those that visit cells one by one only for few cells."""
    dtype, summed = np.dtype(dtype), np.dtype(summed)
    problem = Problem(geometry, Types(operands["x"].dtype, summed, summed, dtype))
    found = {}
    for one in filters.FILTERS[geometry.operation]:
        slow = one.name == "reference" and geometry.cells * geometry.window > 20_000
        if one.supports(problem) is None and not slow:
            found[one.name] = np.empty(geometry.shape, dtype)
            filters.run(geometry, operands, found[one.name], summed, cval, implementation=one.name)
    assert len(found) > least
    return found


def run_guarded(operation: str, shape: list[int], taps: list[int], mode: str, dtype: str, summed: str, at: str) -> None:
    """A filter by its kernel whose x and result lie at guard pages: the same bits as elsewhere."""
    from guards import guarded

    geometry, x = geometry_of(operation, shape, taps, mode), cells(tuple(shape), dtype)
    operands: dict[str, Any] = {"x": x}
    if operation.startswith("footprint") or operation in ("dilation", "erosion"):
        operands["footprint"] = np.random.default_rng(1).random(taps) < 0.6
        operands["footprint"].flat[0] = True
        operands["structure"] = cells(tuple(taps), np.float64, 2)
    if operation.startswith("footprint"):
        del operands["structure"]
    expected, out = np.empty_like(x), guarded(np.empty_like(x), at)
    filters.run(geometry, operands, expected, summed, 3, implementation="direct")
    fenced = {**operands, "x": guarded(x, at)}
    filters.run(geometry, fenced, out, summed, 3, implementation="direct")
    assert np.array_equal(out, expected)
