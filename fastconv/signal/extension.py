"""A signal's cells beyond its ends, in the modes of upfirdn.

================ ============================== ==================================================
mode             around a b c d                 the cell at position p of L cells
================ ============================== ==================================================
constant         v v | a b c d | v v            the value
edge             a a | a b c d | d d            p clipped to 0 .. L - 1
wrap             c d | a b c d | a b            p modulo L
symmetric        b a | a b c d | d c            p over a period of 2 L
reflect          c b | a b c d | c b            p over a period of 2 (L - 1)
antisymmetric    -b -a | a b c d | -d -c        as symmetric, mirrored cells negated
antireflect      as reflect about the end cell  2 a - b | a b c d | 2 d - c, and so on
smooth           a line through the last two    a + p (b - a), d + (p - L + 1) (d - c)
line             a line through both ends       a + p (d - a) / (L - 1), d + (p - L + 1) (d - a) / (L - 1)
================ ============================== ==================================================

A signal of one cell goes on as that cell, in the modes that have a slope or reflect.
"""

from typing import Any

import numpy as np

from fastconv.signal.arrays import Array

MODES = ("constant", "wrap", "edge", "smooth", "symmetric", "reflect", "antisymmetric", "antireflect", "line")
OF_ONE_CELL = {"smooth": "edge", "reflect": "edge", "antireflect": "edge", "line": "edge"}


def extended(x: Array, before: int, after: int, axis: int, mode: str, value: Any) -> Array:
    """x with so many cells added to both ends of an axis."""
    length = x.shape[axis]
    cells = np.moveaxis(x, axis, -1)
    ends = [beyond(cells, positions, mode, value) for positions in (np.arange(-before, 0), np.arange(length, length + after))]
    return np.concatenate((np.moveaxis(ends[0], -1, axis), x, np.moveaxis(ends[1], -1, axis)), axis)


def beyond(x: Array, p: Array, mode: str, value: Any) -> Array:
    """The cells at positions outside of the last axis, in the dtype of x."""
    length = x.shape[-1]
    if mode == "constant":
        return np.full((*x.shape[:-1], p.size), value, x.dtype)
    if not length:
        raise ValueError(f"x must have cells along the axis for the mode {mode!r}, got shape {x.shape}")
    mode = OF_ONE_CELL.get(mode, mode) if length == 1 else mode
    if mode == "edge":
        return x[..., np.clip(p, 0, length - 1)]
    if mode == "wrap":
        return x[..., p % length]
    if mode in ("smooth", "line"):
        return on_a_line(x, p, mode)
    mirrored = mode in ("symmetric", "antisymmetric")
    period = 2 * length if mirrored else 2 * (length - 1)
    turn, cell = np.divmod(p, period)
    back = cell >= length
    found = x[..., np.where(back, period - mirrored - cell, cell)]
    if mode == "antisymmetric":
        return np.where(back, -found, found)
    if mode == "antireflect":
        rise = x[..., -1:] - x[..., :1]
        found = np.where(back, 2 * x[..., -1:] - found, found)
        return (found + 2 * turn * rise).astype(x.dtype, copy=False)
    return found


def on_a_line(x: Array, p: Array, mode: str) -> Array:
    """Cells on the line through the two cells at an end, or through both ends."""
    length = x.shape[-1]
    first, last = x[..., :1], x[..., -1:]
    if mode == "line":
        left = right = (last - first) / (length - 1)
    else:
        left, right = x[..., 1:2] - first, last - x[..., -2:-1]
    found = np.where(p < 0, first + p * left, last + (p - length + 1) * right)
    return found.astype(x.dtype, copy=False)
