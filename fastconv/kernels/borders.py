"""Arrays with the cells of a border around them, for what reads plain windows alone."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from fastconv.problem.borders import Border
from fastconv.problem.convolutions import Array, Pairs
from fastconv.problem.pools import PoolGeometry
from fastconv.problem.problem import Operands, Problem

NUMPY_MODES = {"reflect": "reflect", "symmetric": "symmetric", "replicate": "edge", "circular": "wrap"}
Run = Callable[[Operands, Any, Problem, Any], None]


def with_border(x: Array, pads: Pairs, border: Border) -> Array:
    """A copy of x[n, c, ...] with `pads` cells around its last axes."""
    widths = ((0, 0),) * (x.ndim - len(pads)) + tuple(pads)
    if border.mode in NUMPY_MODES:
        return np.pad(x, widths, mode=NUMPY_MODES[border.mode])  # type: ignore[call-overload]
    return np.pad(x, widths, constant_values=x.dtype.type(border.value))


def folded(dy: Array, pads: Pairs, border: Border, first: int) -> Array:
    """The adjoint of `with_border`: the gradient of each cell of a border is added to that of the cell which it copies.

    The axes from `first` on have `pads` cells around them; those of a constant are dropped.
    """
    for axis, (before, after) in enumerate(pads, first):
        size = dy.shape[axis] - before - after
        if not before + after:
            continue
        at = (slice(None),) * axis
        inner = dy[(*at, slice(before, before + size))]
        if border.mode in NUMPY_MODES:
            sources = with_border(np.arange(size), ((before, after),), border)
            inner = inner.copy()
            for place in (*range(before), *range(before + size, before + size + after)):
                inner[(*at, sources[place])] += dy[(*at, place)]
        dy = inner
    return np.ascontiguousarray(dy)


def never(problem: Problem) -> bool:
    """No border is served."""
    return False


def plain(problem: Problem, serves: Callable[[Problem], bool] = never) -> Problem:
    """The pool of the input with its border around it; the problem itself, where it has none or one that is served."""
    if problem.geometry.border is None or serves(problem):
        return problem
    return replace(problem, geometry=problem.geometry.without_border)


def bordered(run: Run, serves: Callable[[Problem], bool] = never) -> Run:
    """`run`, which serves pools without a border, for pools with one: it gets a copy of the input that holds its cells.

    `serves` tells the problems whose border it serves itself.
    """

    def run_with_border(operands: Operands, packed: Any, problem: Problem, out: Any) -> None:
        g: PoolGeometry = problem.geometry
        if g.border is None or serves(problem):
            run(operands, packed, problem, out)
            return
        x = with_border(g.channels_first(operands["x"]), g.reach, g.border)
        x = np.ascontiguousarray(np.moveaxis(x, 1, -1) if g.channels_last else x)
        run({"x": x}, packed, plain(problem), out)
        if g.return_indices:
            out[1][...] = source_indices(out[1], g)

    return run_with_border


def source_indices(indices: Array, geometry: PoolGeometry) -> Array:
    """Positions in a plane with its border as positions in the plane."""
    g = geometry
    assert g.border is not None
    total = np.zeros((), np.int64)
    for axis, cells in enumerate(np.unravel_index(indices, g.without_border.in_size)):
        size, (before, after) = g.in_size[axis], g.reach[axis]
        sources = with_border(np.arange(size), ((before, after),), g.border)
        total = total * size + sources[cells]
    return total
