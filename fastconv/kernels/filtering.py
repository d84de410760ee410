"""Filters over arrays of any number of axes, as plain as they can be written: loops, and sliding windows reduced by NumPy.

    y [i, j, ...] = f(x[i + r - before, j + s - before, ...] for the taps r, s, ... of the window)

Operands are x, `cval` (one element: what cells of a constant border hold, of the type of the sums) and what the filter takes.
What is computed in one type and stored in another is converted as C does.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from fastconv.kernels.borders import NUMPY_MODES
from fastconv.problem.borders import source_cell
from fastconv.problem.convolutions import Array
from fastconv.problem.filters import EVEN, PLAIN, FilterGeometry, mirrored
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


# Sums of products -------------------------------------------------------------------------------------------------------------


def weighted(cells: Array, operands: Operands) -> Any:
    """The sum of the cells of a window, or of windows [..., taps], times the weights that are not zero, one after another."""
    w = operands["w"].ravel()
    cells = cells.reshape(*cells.shape[: cells.ndim - (operands["w"].ndim if cells.size == w.size else 1)], w.size)
    total = np.zeros(cells.shape[:-1], cells.dtype)
    for t in np.flatnonzero(w):
        total += cells[..., t] * w[t]
    return total


correlation_by_loops = by_loops(weighted)
correlation_by_windows = by_windows(weighted)


def weighted_line(cells: Array, operands: Operands) -> Any:
    """The sum of the cells of a window along one axis, or of windows [..., taps], times its weights.

    Where these mirror each other the middle tap comes first, then pairs of taps from the outside in; else the last tap does,
    then the others in order.
    """
    w = operands["w"].ravel()
    cells = cells.reshape(w.size) if cells.size == w.size else cells
    kind, last = mirrored(w), w.size - 1
    if kind == PLAIN:
        total = cells[..., last] * w[last]
        for t in range(last):
            total = total + cells[..., t] * w[t]
        return total
    total = cells[..., last // 2] * w[last // 2]
    for t in range(last // 2):
        other = cells[..., last - t]
        total = total + (cells[..., t] + (other if kind == EVEN else -other)) * w[t]
    return total


def in_passes(correlate: Callable[[Operands, Any, Problem, Array], None]) -> Callable[[Operands, Any, Problem, Array], None]:
    """A pass along each axis whose weights are more than a single 1, in the order of axes: each stores what `out` holds."""

    def run(operands: Operands, packed: Any, problem: Problem, out: Array) -> None:
        g: FilterGeometry = problem.geometry
        x, axes = operands["x"], range(len(g.shape))
        for axis in axes:
            w = np.asarray(operands[f"w{axis}"], problem.types.summed)
            if len(w) == 1 and w[0] == 1:
                continue
            along, origin = (
                tuple(own if i == axis else other for i in axes) for own, other in ((len(w), 1), (g.origin[axis], 0))
            )
            one = replace(problem, geometry=replace(g, taps=along, origin=origin), types=problem.types._replace(stored=x.dtype))
            y = np.empty_like(out)
            correlate({"x": x, "w": w, "cval": operands["cval"]}, None, one, y)
            x = y
        out[...] = cast(x, out.dtype)

    return run


passes_by_loops = in_passes(by_loops(weighted_line))
passes_by_windows = in_passes(by_windows(weighted_line))
