"""Pools as filters: a window over each cell of an array of any number of axes, of whose results those of the pool are kept.

same pool: one output a cell            z = y, the border is the filter's own
else                                    z [o] = the window that begins at cell o;  y = z[..., : stride]

dense(geometry)                         shape, taps, origin and borders of the filter
run_dense(run, x, geometry, out, fill)  run(x, out) is the filter
"""

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.problem.borders import Border
from fastconv.problem.convolutions import Array, Size
from fastconv.problem.pools import PoolGeometry


class Dense(NamedTuple):
    """A filter: see problem.filters.FilterGeometry, whose fields these are, behind the operation."""

    shape: Size
    taps: Size
    origin: Size
    borders: tuple[Border, ...]


def is_same(geometry: PoolGeometry) -> bool:
    """Whether there is one output for each cell."""
    return set(geometry.stride) == {1} and geometry.in_size == geometry.out_size


def refused(geometry: PoolGeometry) -> str | None:
    """Why a pool is no filter: steps between taps, indices."""
    if set(geometry.dilation) != {1}:
        return f"it serves no dilation, {geometry.dilation} was given"
    return "it finds no indices" if geometry.return_indices else None


def copied(geometry: PoolGeometry) -> int:
    """Cells that are copied: those of an input with its padding, and of a filter's result."""
    if is_same(geometry):
        return 0
    return geometry.batch * geometry.channels * prod(padded_size(geometry)) * (1 + any(map(any, geometry.reach)))


def padded_size(geometry: PoolGeometry) -> Size:
    """Cells of each axis with those that windows reach around it."""
    return tuple(cells + sum(pair) for cells, pair in zip(geometry.in_size, geometry.reach, strict=True))


def dense(geometry: PoolGeometry) -> Dense:
    """The filter that gives what a pool does, and more; a batch and its channels are one axis where channels come first."""
    g, same = geometry, is_same(geometry)
    size = g.in_size if same else padded_size(g)
    before = tuple(pair[0] for pair in g.padding) if same else (0,) * g.rank
    origin = tuple(cells - taps // 2 for cells, taps in zip(before, g.kernel, strict=True))
    border = Border("constant") if g.border is None or g.border.mode == "zeros" or not same else Border(g.border.mode)
    if g.channels_last:
        return Dense((g.batch, *size, g.channels), (1, *g.kernel, 1), (0, *origin, 0), (border,) * (g.rank + 2))
    return Dense((g.batch * g.channels, *size), (1, *g.kernel), (0, *origin), (border,) * (g.rank + 1))


def run_dense(run: Callable[[Array, Array], None], x: Array, geometry: PoolGeometry, out: Array, fill: Any) -> None:
    """`run`, a filter of an array into another; `fill` is what cells hold that windows reach beyond the input."""
    g, shape = geometry, dense(geometry).shape
    if is_same(g):
        run(x.reshape(shape), out.reshape(shape))
        return
    first = 1 if g.channels_last else 2
    pads = ((0, 0),) * first + g.reach + ((0, 0),) * (x.ndim - first - g.rank)
    if any(map(any, pads)):
        x = np.pad(x, pads, constant_values=fill)
    z = np.empty(x.shape, x.dtype)
    run(x.reshape(shape), z.reshape(shape))
    steps = zip(g.out_size, g.stride, strict=True)
    out[...] = z[(slice(None),) * first + tuple(slice(0, (outputs - 1) * stride + 1, stride) for outputs, stride in steps)]
