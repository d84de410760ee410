"""Filters over arrays of any number of axes, as plain as they can be written: loops, and sliding windows reduced by NumPy.

    y [i, j, ...] = f(x[i + r - before, j + s - before, ...] for the taps r, s, ... of the window)

Operands are x, `cval` (one element: what cells of a constant border hold, of the type of the sums) and what the filter takes.
What is computed in one type and stored in another is converted as C does.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastconv.kernels.borders import NUMPY_MODES
from fastconv.problem.borders import source_cell
from fastconv.problem.convolutions import Array
from fastconv.problem.filters import FilterGeometry
from fastconv.problem.problem import Operands, Problem

STRIP = 1 << 22  # cells under windows that are gathered at a time


def cast(values: Array, dtype: np.dtype[Any]) -> Array:
    """Values as C converts them: toward zero, and modulo the width of an integer, by way of a signed one."""
    if values.dtype.kind == "f" and dtype.kind in "iu":
        with np.errstate(invalid="ignore"):
            if dtype == np.uint64:
                half = values.dtype.type(2.0**63)
                high = values >= half
                low = np.where(high, values - half, values).astype(np.int64).astype(np.uint64)
                return np.where(high, low ^ np.uint64(1 << 63), low)
            narrow = dtype.itemsize < 4 or dtype == np.int32
            return values.astype(np.int32 if narrow else np.int64).astype(dtype)
    return values.astype(dtype)


def bordered_axis(x: Array, axis: int, geometry: FilterGeometry, cval: Any) -> Array:
    """A copy of x with the cells of the border around one axis."""
    one = geometry.axes[axis]
    before, after = geometry.pads[axis]
    if one.border.mode in NUMPY_MODES and one.size:
        cells = [source_cell(p, one.size, one.border.code) for p in range(-before, one.size + after)]
        return np.take(x, cells, axis)
    widths = [(0, 0)] * x.ndim
    widths[axis] = before, after
    return np.pad(x, widths, constant_values=cval)


def with_borders(x: Array, geometry: FilterGeometry, cval: Any) -> Array:
    """A copy of x with the cells of the border around every axis; a constant one holds the corners."""
    if any(axis.border.mode not in NUMPY_MODES for axis in geometry.axes):
        inside = np.ones(x.shape, bool)
        for axis in range(x.ndim):
            x, inside = bordered_axis(x, axis, geometry, cval), bordered_axis(inside, axis, geometry, False)
        return np.where(inside, x, cval).astype(x.dtype)
    for axis in range(x.ndim):
        x = bordered_axis(x, axis, geometry, cval)
    return x


def neighbourhoods(problem: Problem, operands: Operands) -> Iterator[tuple[tuple[int, ...], Array]]:
    """(position, cells of the window there, in the type of the sums), for every output in order."""
    g: FilterGeometry = problem.geometry
    x, cval = operands["x"], operands["cval"][0]
    for position in np.ndindex(g.shape):
        cells = np.empty(g.taps, problem.types.summed)
        for tap in np.ndindex(g.taps):
            source = [
                source_cell(p + t - axis.before, axis.size, axis.border.code)
                for p, t, axis in zip(position, tap, g.axes, strict=True)
            ]
            cells[tap] = cval if min(source, default=0) < 0 else cast(x[tuple(source)], problem.types.summed)
        yield position, cells


def by_loops(reduce: Callable[[Array, Operands], Any]) -> Callable[[Operands, Any, Problem, Array], None]:
    """The reference of a filter: `reduce` of the window at each output."""

    def run(operands: Operands, packed: Any, problem: Problem, out: Array) -> None:
        for position, cells in neighbourhoods(problem, operands):
            out[position] = cast(np.asarray(reduce(cells, operands)), out.dtype)

    return run


def by_windows(reduce: Callable[[Array, Operands], Array]) -> Callable[[Operands, Any, Problem, Array], None]:
    """A filter by sliding_window_view: `reduce` of windows [..., taps], some rows of the first axis at a time."""

    def run(operands: Operands, packed: Any, problem: Problem, out: Array) -> None:
        g: FilterGeometry = problem.geometry
        if not g.cells:
            return
        x = with_borders(cast(operands["x"], problem.types.summed), g, operands["cval"][0])
        windows = np.lib.stride_tricks.sliding_window_view(x, g.taps)
        step = max(1, STRIP * g.shape[0] // max(1, g.cells * g.window)) if g.shape else 1
        for first in range(0, len(windows) if g.shape else 1, step):
            part = windows[first : first + step] if g.shape else windows
            rows = reduce(part.reshape(*part.shape[: x.ndim], g.window), operands)
            (out[first : first + step] if g.shape else out)[...] = cast(rows, out.dtype)

    return run
