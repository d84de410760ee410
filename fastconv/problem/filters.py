"""Sizes of a filter over an array of any number of axes: a window over each cell, what lies around the array, where it is.

    y [i, j, ...] = f(x[i + r - before, j + s - before, ...] for the taps r, s, ... of the window)

The result has the shape of the input. Kernels see `folded`: planes of rows, whatever the number of axes was.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.problem.borders import Border, centred
from fastconv.problem.convolutions import Array, Hashed, Size, cached_property
from fastconv.problem.types import Types

EVEN, ODD, PLAIN = "even", "odd", "plain"
SHORT = 32  # elements of a last axis without taps: a shorter one makes no row of its own


class Axis(NamedTuple):
    """One axis of an array under a window.

    Attributes
    ----------
    size, taps, before : int
        Cells of the array, cells of the window, and those of them that lie before the cell of the output.
    border : Border
        What lies around the array along this axis.
    """

    size: int
    taps: int
    before: int
    border: Border


def mirrored(weights: Array) -> str:
    """How the weights of an axis mirror each other, to the rounding of 1: an odd number of them as EVEN, or as ODD."""
    eps = np.finfo(np.float64).eps
    middle = len(weights) // 2
    if len(weights) % 2 and (np.abs(weights - weights[::-1]) <= eps).all():
        return EVEN
    return ODD if len(weights) % 2 and (np.abs(weights + weights[::-1])[:middle] <= eps).all() else PLAIN


class Folded(NamedTuple):
    """An array of any number of axes as planes of rows: neighbouring axes without taps are one.

    Attributes
    ----------
    outer : tuple of Axis
        Axes over planes, the last one first to change.
    h, w : Axis
        Rows of a plane, and cells of a row.
    inner : int
        Elements of a cell, which lie side by side: a short last axis without taps.
    """

    outer: tuple[Axis, ...]
    h: Axis
    w: Axis
    inner: int

    @property
    def planes(self) -> int:
        return prod(axis.size for axis in self.outer)

    @property
    def outer_taps(self) -> int:
        """Planes under a window."""
        return prod(axis.taps for axis in self.outer)


def largest_cell(dtype: np.dtype[Any]) -> int:
    """The magnitude of an integer of a dtype, at most."""
    found = np.iinfo(dtype)
    return max(int(found.max), -int(found.min))


def is_cell(value: Any, types: Types) -> bool:
    """Whether a value is an integer no larger than cells of the array, or of the result, may be."""
    most = max((largest_cell(dtype) for dtype in (types.stored, types.result) if dtype.kind in "iu"), default=0)
    return bool(np.isfinite(value)) and bool(value == np.trunc(value)) and bool(abs(value) <= most)


ONE = Axis(1, 1, 0, Border())


@dataclass(frozen=True)
class FilterGeometry(Hashed):
    """A window over an array.

    Attributes
    ----------
    operation : str
        The family of implementations that serves it.
    shape : tuple of int
        Of the array, and of the result.
    taps, origin : tuple of int
        Of the window, an axis each: its cells, and how many cells further before the middle one it begins.
    borders : tuple of Border
        An axis each.
    """

    operation: str
    shape: Size
    taps: Size
    origin: Size
    borders: tuple[Border, ...]

    __hash__ = Hashed.__hash__

    @property
    def cells(self) -> int:
        """Of the array."""
        return prod(self.shape)

    @property
    def window(self) -> int:
        """Cells of a window."""
        return prod(self.taps)

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """Each axis by itself."""
        every = zip(self.shape, self.taps, self.origin, self.borders, strict=True)
        return tuple(Axis(size, taps, centred(taps, origin)[0], border) for size, taps, origin, border in every)

    @property
    def pads(self) -> tuple[tuple[int, int], ...]:
        """(before, after) of each axis."""
        return tuple((axis.before, axis.taps - 1 - axis.before) for axis in self.axes)

    @cached_property
    def folded(self) -> Folded:
        """The array as planes of rows."""
        merged: list[Axis] = []
        for axis in self.axes:
            if axis.taps == 1 and merged and merged[-1].taps == 1:
                merged[-1] = ONE._replace(size=merged[-1].size * axis.size)
            elif axis.taps == 1:
                merged.append(ONE._replace(size=axis.size))
            else:
                merged.append(axis)
        inner = 1
        if len(merged) > 1 and merged[-1].taps == 1 and merged[-1].size < SHORT:
            inner = merged.pop().size
        w = merged.pop() if merged else ONE
        h = merged.pop() if merged else ONE
        return Folded(tuple(merged), h, w, inner)

    def bytes(self, read: int, written: int) -> int:
        """Of the array and of the result, whose elements have so many."""
        return self.cells * (read + written)


@dataclass(frozen=True)
class RankGeometry(FilterGeometry):
    """A window over an array, of which the cell of one rank is the result.

    Attributes
    ----------
    rank : int
        Of the result among the cells in order, from 0 on.
    footprint : bytes or None
        One byte for each cell of the window in row-major order, 0 for those left out; None where no cell is.
    """

    rank: int
    footprint: bytes | None = None

    __hash__ = Hashed.__hash__

    @property
    def members(self) -> int:
        """Cells of the window that are not left out."""
        return self.window if self.footprint is None else sum(map(bool, self.footprint))

    @property
    def cells_used(self) -> list[bool]:
        """Of each cell of the window, whether it is not left out."""
        return [True] * self.window if self.footprint is None else [byte != 0 for byte in self.footprint]


@dataclass(frozen=True)
class SumGeometry(FilterGeometry):
    """A window over an array, whose cells are summed with weights that are so few that a kernel may be chosen by them.

    Attributes
    ----------
    weights : tuple of float
        One for each cell of the window in row-major order.
    """

    weights: tuple[float, ...]

    __hash__ = Hashed.__hash__


@lru_cache(maxsize=1024)
def summed_by(geometry: FilterGeometry, weights: tuple[float, ...]) -> SumGeometry:
    """The geometry with weights, the same object for the same arguments."""
    g = geometry
    return SumGeometry(g.operation, g.shape, g.taps, g.origin, g.borders, weights)


@lru_cache(maxsize=1024)
def geometry(operation: str, shape: Size, taps: Size, origin: Size, borders: tuple[Border, ...]) -> FilterGeometry:
    """The geometry, the same object for the same arguments: what is derived from it is derived once."""
    return FilterGeometry(operation, shape, taps, origin, borders)
