"""The implementations of filters over arrays of any number of axes, and how one is chosen and run.

A filter is a plan that is made and called once: its geometry is that of its input, and what it keeps are launches by problem.
"""

from typing import Any

import numpy as np

from fastconv.kernels.filters import extrema as plain_extrema
from fastconv.kernels.filters import ranks as plain_ranks
from fastconv.kernels.filters import sums
from fastconv.kernels.filters.windows import cast
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd.correlation import choice as correlation
from fastconv.kernels.simd.extrema import choice as extrema
from fastconv.kernels.simd.extrema import nine as extreme_of_nine
from fastconv.kernels.simd.ranks import choice as ranks
from fastconv.kernels.simd.ranks import nine
from fastconv.machine import host
from fastconv.plans.dispatch import least_of, refusal
from fastconv.plans.registry import Implementation
from fastconv.plans.replaying import WATCH, Run
from fastconv.problem.convolutions import Array
from fastconv.problem.filters import FilterGeometry
from fastconv.problem.problem import Operands, Problem
from fastconv.problem.types import Types


def _at(seconds: float, overhead: float) -> Any:
    """A cost that grows with the cells under all windows."""
    return lambda problem, machine: overhead + seconds * problem.geometry.cells * problem.geometry.window


_REFERENCE = "plain Python loops: the definition of correct"
_SWEEP = "three rows and three cells in one sweep over the array"
_WINDOWS = "sliding_window_view, reduced by NumPy"

_BOXES = "an axis after the other over blocks in the cache, at a cost that hardly grows with the window"
_RUNS = "tables of runs of cells, over blocks in the cache"
_STRUCTURE = "cells with a structure added to them, over blocks in the cache"


def _with_plain(direct: Implementation, name: str) -> tuple[Implementation, ...]:
    """The implementations of a reduction of windows, two of which kernels/filters/extrema.py has by a name."""
    by_windows, by_loops = (getattr(plain_extrema, f"{name}_by_{how}") for how in ("windows", "loops"))
    windows = Implementation("strided", _WINDOWS, by_windows, _at(4e-9, 1e-4))
    return direct, windows, Implementation("reference", _REFERENCE, by_loops, _at(1e-6, 1e-4))


def _reduced(kind: str) -> tuple[Implementation, ...]:
    """Those of the largest or smallest cell, or the mean, of boxes."""
    serves = extrema.supports_mean if kind == "mean" else extrema.supports
    run = plain_extrema.or_in_doubles(extrema.reduced(kind), extrema.has_kernel)
    direct = Implementation("direct", _BOXES, run, extrema.cost, serves, kernel=extrema.kernel(kind))
    plain = _with_plain(direct, kind)
    return plain if kind == "mean" else (_swept_extreme(kind), *plain)  # first: where memory decides, it takes fewer cycles


def _swept_extreme(kind: str) -> Implementation:
    """That of nine cells."""
    one = extreme_of_nine.Kind(kind)
    return Implementation("sweep", _SWEEP, one.run, one.cost, extreme_of_nine.supports, kernel=one.kernel)


def _covered(kind: str, structured: bool) -> tuple[Implementation, ...]:
    """Those of the largest or smallest cell under a footprint, with a structure or without."""
    direct = Implementation(
        "direct",
        _STRUCTURE if structured else _RUNS,
        plain_extrema.converting(extrema.covered(kind, structured)),
        extrema.structure_cost if structured else extrema.cover_cost,
        extrema.supports_structure if structured else extrema.supports,
        kernel=extrema.cover_kernel(kind, structured),
    )
    return _with_plain(direct, f"cover_{kind}")


_SWEPT = Implementation(
    "sweep", _SWEEP, correlation.run_sweep, correlation.sweep_cost, correlation.supports_sweep, kernel=correlation.sweep_kernel
)
FILTERS: dict[str, tuple[Implementation, ...]] = {
    "correlation": (
        _SWEPT,
        Implementation(
            "direct",
            "rows of vectors over blocks in the cache, borders filled in as a block is read",
            correlation.run,
            correlation.cost,
            correlation.supports,
            kernel=correlation.kernel,
        ),
        Implementation("strided", _WINDOWS, sums.correlation_by_windows, _at(4e-9, 1e-4)),
        Implementation("reference", _REFERENCE, sums.correlation_by_loops, _at(1e-6, 1e-4)),
    ),
    "passes": (
        _SWEPT,
        Implementation(
            "direct",
            "passes over the axes of a block that stays in the cache",
            correlation.run_passes,
            correlation.pass_cost,
            correlation.supports_passes,
            kernel=correlation.pass_kernel,
        ),
        Implementation("strided", _WINDOWS, sums.passes_by_windows, _at(4e-9, 1e-4)),
        Implementation("reference", _REFERENCE, sums.passes_by_loops, _at(1e-6, 1e-4)),
    ),
    "rank": (
        Implementation(
            "sweep", "the median of nine in one sweep over the array", nine.run, nine.cost, nine.supports, kernel=nine.kernel_of
        ),
        Implementation(
            "network",
            "selection networks in registers, whose sorted columns neighbouring windows share",
            ranks.run_code,
            ranks.cost_of_code,
            ranks.supports_code,
            kernel=ranks.kernel_of_code,
        ),
        Implementation(
            "sorting",
            "selection networks in the cache, for any window and rank",
            ranks.run_tables,
            ranks.cost_of_tables,
            ranks.supports,
            kernel=ranks.kernel_of_tables,
        ),
        Implementation(
            "columns",
            "histograms of columns of 8-bit cells, at a cost that hardly depends on the window",
            ranks.run_columns,
            ranks.columns_cost,
            ranks.supports_columns,
            kernel=ranks.kernel_of_columns,
        ),
        Implementation(
            "sliding",
            "a histogram that slides along the rows, for large windows",
            ranks.run_sliding,
            ranks.sliding_cost,
            ranks.supports,
            kernel=ranks.kernel_of_sliding,
        ),
        Implementation("strided", _WINDOWS, plain_ranks.ranks_by_windows, _at(2e-8, 1e-4)),
        Implementation("reference", _REFERENCE, plain_ranks.ranks_by_loops, _at(1e-6, 1e-4)),
    ),
    "maximum": _reduced("largest"),
    "minimum": _reduced("smallest"),
    "mean": _reduced("mean"),
    "range": _with_plain(_swept_extreme(extreme_of_nine.RANGE), "range"),
    "footprint maximum": _covered("largest", False),
    "footprint minimum": _covered("smallest", False),
    "dilation": _covered("largest", True),
    "erosion": _covered("smallest", True),
}


@remembered
def cheapest(problem: Problem) -> Implementation:
    """The implementation that is expected to take the least time."""
    return least_of(FILTERS[problem.geometry.operation], problem, host(), once=False)


def chosen(problem: Problem, implementation: str = "auto") -> Implementation:
    """The cheapest implementation that serves a filter, or the one named."""
    if implementation == "auto":
        return cheapest(problem)
    found = FILTERS[problem.geometry.operation]
    names = [one.name for one in found]
    if implementation not in names:
        raise ValueError(f'implementation must be "auto" or one of {names}, got {implementation!r}')
    one = found[names.index(implementation)]
    reason = one.supports(problem)
    if reason is not None:
        raise ValueError(refusal(one, reason))
    return one


@remembered
def problem_of(geometry: FilterGeometry, stored: np.dtype[Any], summed: np.dtype[Any], result: np.dtype[Any]) -> Problem:
    """The problem, the same object for the same arguments: what is derived from it is derived once."""
    return Problem(geometry, Types(stored, summed, summed, result))


def border_value(cval: Any, dtype: np.dtype[Any]) -> Array:
    """What cells of a constant border hold, as an array of one element."""
    if isinstance(cval, float | int) and cval == 0:
        return np.zeros(1, dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        return cast(np.array([cval]), dtype)


def is_served(problem: Problem) -> bool:
    """Whether kernels serve a filter."""
    return FILTERS[problem.geometry.operation][0].supports(problem) is None


def run(
    geometry: FilterGeometry,
    operands: Operands,
    out: Array,
    summed: Any,
    cval: Any = 0,
    packed: Any = None,
    implementation: str = "auto",
) -> None:
    """Write a filter of the array `x` among the operands to all of `out`.

    Arrays are in C order, native, of real numbers that vectors hold (bool as uint8), and `out` overlaps no operand. `summed` is
    the type of the sums, in which a constant border holds `cval`.
    """
    if not geometry.cells:
        return
    summed = np.dtype(summed)
    problem = problem_of(geometry, operands["x"].dtype, summed, out.dtype)
    one, operands = chosen(problem, implementation), {**operands, "cval": border_value(cval, summed)}
    one.run(operands, packed, problem, out)
    if WATCH.runs is not None:
        WATCH.runs.append(Run(one, operands, packed, problem, out))


def stored(value: Any, dtype: Any) -> Any:
    """What an array of a dtype holds of a number, as C converts it."""
    with np.errstate(over="ignore", invalid="ignore"):
        return cast(np.array([value], np.float64), np.dtype(dtype))[0]
