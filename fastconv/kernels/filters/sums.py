"""Sums of products over windows of arrays of any number of axes, as plain as they can be written: see windows.py.

Operands are x, `cval` and the weights: `w`, one for each cell of the window, or `w0`, `w1` and so on, a vector for each axis.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from fastconv.kernels.filters.windows import by_loops, by_windows, cast
from fastconv.problem.convolutions import Array
from fastconv.problem.filters import EVEN, PLAIN, FilterGeometry, mirrored
from fastconv.problem.problem import Operands, Problem


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
