"""Arrays that hold the same values in other places: every way in which NumPy lets memory lie."""

from collections.abc import Callable

import numpy as np
from case import Array

CANARY = 77  # what fills the cells around an array


def _inside(array: Array, shape: tuple[int, ...], index: object) -> Array:
    """A view of a larger array that holds `array`, with canaries around it."""
    around = np.full(shape, CANARY, array.dtype)
    view = around[index]  # type: ignore[index]
    view[...] = array
    return view


def fortran(array: Array) -> Array:
    """Columns first."""
    return np.array(array, order="F")


def sliced(array: Array) -> Array:
    """Every other cell, from the second on, of an array twice as large on each axis."""
    return _inside(array, tuple(2 * cells + 2 for cells in array.shape), tuple(slice(1, 1 + 2 * n, 2) for n in array.shape))


def framed(array: Array) -> Array:
    """A block inside a larger array."""
    return _inside(array, tuple(cells + 3 for cells in array.shape), tuple(slice(1, 1 + n) for n in array.shape))


def transposed(array: Array) -> Array:
    """The transpose of an array in C order."""
    return np.array(array.T, order="C").T


def negative(array: Array) -> Array:
    """Stored backwards on every axis."""
    return np.ascontiguousarray(np.flip(array))[(slice(None, None, -1),) * array.ndim]


def unaligned(array: Array) -> Array:
    """Beginning one byte past a boundary."""
    raw = np.zeros(array.nbytes + 1, np.uint8)
    view = raw[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def read_only(array: Array) -> Array:
    """Not to be written."""
    kept = array.copy()
    kept.flags.writeable = False
    return kept


def swapped(array: Array) -> Array:
    """In the other byte order."""
    return array.astype(array.dtype.newbyteorder("S"))


def repeated(array: Array) -> Array:
    """A view whose first axis repeats one row, and which holds what the row's copies would."""
    return np.broadcast_to(array[:1], array.shape)


SHAPES: tuple[Callable[[Array], Array], ...] = (fortran, sliced, framed, transposed, negative, unaligned)
WRITEABLE = SHAPES
READABLE = (*SHAPES, read_only, swapped)


def whole_buffer(array: Array) -> Array:
    """The array that owns the memory of a view."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
