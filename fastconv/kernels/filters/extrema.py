"""The largest, the smallest and the mean of windows, as plain as they can be written: see windows.py.

Boxes are filtered along one axis after the other, and every pass is stored in the type of the result, as SciPy does. An operand
`footprint` says which cells of a window count; `structure` is added to them, or subtracted where the smallest is sought.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from fastconv.kernels.filters.windows import by_loops, by_windows, cast
from fastconv.problem.convolutions import Array
from fastconv.problem.problem import Operands, Problem
from fastconv.problem.types import Types

Reduce = Callable[[Array, Operands], Array]  # of windows [..., taps]
Run = Callable[[Operands, Any, Problem, Array], None]


def largest(windows: Array, operands: Operands) -> Array:
    """Of all cells, or of those under a footprint with a structure added to them."""
    return np.asarray(raised(windows, operands, 1).max(-1))


def smallest(windows: Array, operands: Operands) -> Array:
    """Of all cells, or of those under a footprint with a structure subtracted."""
    return np.asarray(raised(windows, operands, -1).min(-1))


def spread(windows: Array, operands: Operands) -> Array:
    """The largest cell less the smallest."""
    return np.asarray(windows.max(-1) - windows.min(-1))


def raised(windows: Array, operands: Operands, sign: int) -> Array:
    """The cells that count."""
    if "footprint" not in operands:
        return windows
    mask = operands["footprint"].ravel()
    cells: Array = windows[..., mask]
    if "structure" in operands:
        cells = cells + sign * operands["structure"].ravel()[mask].astype(windows.dtype)
    return cells


def mean(windows: Array, operands: Operands) -> Array:
    """The sum by the number of cells; of integers toward zero."""
    taps = windows.shape[-1]
    if windows.dtype.kind == "f":
        return np.asarray(windows.sum(-1, dtype=windows.dtype) / windows.dtype.type(taps))
    total = windows.sum(-1, dtype=np.int64)
    return np.asarray(np.sign(total) * (abs(total) // taps))


def loops(reduce: Reduce) -> Run:
    """The reference: one window after the other."""
    return by_loops(lambda cells, operands: reduce(cells.reshape(1, -1), operands)[0])


def passes(run: Run) -> Run:
    """A filter of boxes, an axis after the other."""

    def run_passes(operands: Operands, packed: Any, problem: Problem, out: Array) -> None:
        g, types, x = problem.geometry, problem.types, operands["x"]
        for i in (i for i, taps in enumerate(g.taps) if taps > 1):
            taps = tuple(size if j == i else 1 for j, size in enumerate(g.taps))
            origin = tuple(one if j == i else 0 for j, one in enumerate(g.origin))
            of_pass = Types(x.dtype, types.summed, types.summed, out.dtype)
            y = np.empty_like(out)
            run({**operands, "x": x}, packed, replace(problem, geometry=replace(g, taps=taps, origin=origin), types=of_pass), y)
            x = y
        out[...] = cast(x, out.dtype)

    return run_passes


largest_by_loops, smallest_by_loops, mean_by_loops = (passes(loops(one)) for one in (largest, smallest, mean))
largest_by_windows, smallest_by_windows, mean_by_windows = (passes(by_windows(one)) for one in (largest, smallest, mean))
range_by_loops, range_by_windows = loops(spread), by_windows(spread)
cover_largest_by_loops, cover_smallest_by_loops = loops(largest), loops(smallest)
cover_largest_by_windows, cover_smallest_by_windows = by_windows(largest), by_windows(smallest)


# Kernels for types that are seldom met together -------------------------------------------------------------------------------


def or_in_doubles(run: Run, has_kernel: Callable[[Types], bool]) -> Run:
    """A filter of boxes, made pass by pass in float64 where its types have no kernel; NumPy converts between passes."""
    double = np.dtype(np.float64)
    types = Types(double, double, double, double)

    def run_pass(operands: Operands, packed: Any, problem: Problem, out: Array) -> None:
        y = np.empty(out.shape, double)
        of_pass = {"x": cast(operands["x"], double), "cval": operands["cval"].astype(double)}
        run(of_pass, packed, replace(problem, types=types), y)
        out[...] = cast(y, out.dtype)

    in_doubles = passes(run_pass)

    def run_either(operands: Operands, packed: Any, problem: Problem, out: Array) -> None:
        (run if has_kernel(problem.types) else in_doubles)(operands, packed, problem, out)

    return run_either


def converting(run: Run) -> Run:
    """A filter in one type, before and after which NumPy converts."""

    def run_converted(operands: Operands, packed: Any, problem: Problem, out: Array) -> None:
        summed = problem.types.summed
        y = out if out.dtype == summed else np.empty(out.shape, summed)
        x, types = cast(operands["x"], summed) if operands["x"].dtype != summed else operands["x"], Types(*[summed] * 4)
        run({**operands, "x": x}, packed, replace(problem, types=types), y)
        if y is not out:
            out[...] = cast(y, out.dtype)

    return run_converted
