"""Morphology of grey images, by SciPy's names; binary.py has that of binary ones."""

import operator
import warnings
from typing import Any

import numpy as np

from fastconv.ndimage.arguments import axes_of, image, result, sequence, values
from fastconv.ndimage.documentation import documented
from fastconv.ndimage.extrema import MAXIMUM, MINIMUM, extremes, ranges, spread
from fastconv.plans.replaying import replayed
from fastconv.problem.convolutions import Array

IGNORED = "ignoring size because footprint is set"


@replayed
@documented
def grey_erosion(
    input: Any,
    size: Any = None,
    footprint: Any = None,
    structure: Any = None,
    output: Any = None,
    mode: Any = "reflect",
    cval: Any = 0.0,
    origin: Any = 0,
    *,
    axes: Any = None,
) -> Array:
    """
    The smallest cell under a window, or of cells less a structure; scipy.ndimage.grey_erosion.

    {grey}

    {examples}
    >>> x = np.array([0, 0, 5, 7, 6, 0, 0, 3, 0])
    >>> fc.ndimage.grey_erosion(x, size=3)
    array([0, 0, 0, 5, 0, 0, 0, 0, 0])
    """
    need_window(size, footprint, structure)
    return extremes(MINIMUM, input, size, footprint, structure, output, mode, cval, origin, axes)


@replayed
@documented
def grey_dilation(
    input: Any,
    size: Any = None,
    footprint: Any = None,
    structure: Any = None,
    output: Any = None,
    mode: Any = "reflect",
    cval: Any = 0.0,
    origin: Any = 0,
    *,
    axes: Any = None,
) -> Array:
    """
    The largest cell under a mirrored window, or of cells and a structure; scipy.ndimage.grey_dilation.

    {grey}

    {examples}
    >>> x = np.array([0, 0, 5, 7, 6, 0, 0, 3, 0])
    >>> fc.ndimage.grey_dilation(x, size=3)
    array([0, 5, 7, 7, 7, 6, 3, 3, 3])
    """
    need_window(size, footprint, structure)
    x = image(input)
    used = axes_of(axes, x.ndim)
    structure, footprint = mirrored(structure), mirrored(footprint)
    window = footprint if footprint is not None else structure
    sizes = sequence(size, len(used)) if window is None else window.shape
    moved = mirrored_origins(sequence(origin, len(used)), sizes)
    return extremes(MAXIMUM, x, size, footprint, structure, output, mode, cval, moved, used)


@documented
def grey_opening(
    input: Any,
    size: Any = None,
    footprint: Any = None,
    structure: Any = None,
    output: Any = None,
    mode: Any = "reflect",
    cval: Any = 0.0,
    origin: Any = 0,
    *,
    axes: Any = None,
) -> Array:
    """
    An erosion, and a dilation of it: peaks narrower than the window go; scipy.ndimage.grey_opening.

    {grey}

    {examples}
    >>> x = np.array([0, 0, 5, 7, 6, 0, 0, 3, 0])
    >>> fc.ndimage.grey_opening(x, size=3)
    array([0, 0, 5, 5, 5, 0, 0, 0, 0])
    """
    size, x = without_ignored(size, footprint), image(input)
    output = x.dtype if output is None else output
    between = grey_erosion(as_bytes(x), size, footprint, structure, None, mode, cval, origin, axes=axes)
    return grey_dilation(between, size, footprint, structure, output, mode, cval, origin, axes=axes)


@documented
def grey_closing(
    input: Any,
    size: Any = None,
    footprint: Any = None,
    structure: Any = None,
    output: Any = None,
    mode: Any = "reflect",
    cval: Any = 0.0,
    origin: Any = 0,
    *,
    axes: Any = None,
) -> Array:
    """
    A dilation, and an erosion of it: valleys narrower than the window go; scipy.ndimage.grey_closing.

    {grey}

    {examples}
    >>> x = np.array([0, 0, 5, 7, 6, 0, 0, 3, 0])
    >>> fc.ndimage.grey_closing(x, size=3)
    array([0, 0, 5, 7, 6, 3, 3, 3, 3])
    """
    size, x = without_ignored(size, footprint), image(input)
    output = x.dtype if output is None else output
    between = grey_dilation(as_bytes(x), size, footprint, structure, None, mode, cval, origin, axes=axes)
    return grey_erosion(between, size, footprint, structure, output, mode, cval, origin, axes=axes)


@replayed
@documented
def morphological_gradient(
    input: Any,
    size: Any = None,
    footprint: Any = None,
    structure: Any = None,
    output: Any = None,
    mode: Any = "reflect",
    cval: Any = 0.0,
    origin: Any = 0,
    *,
    axes: Any = None,
) -> Array:
    """
    A dilation less an erosion; scipy.ndimage.morphological_gradient.

    {grey}

    Notes
    -----
    As in SciPy, of `output` only an array counts.

    {examples}
    >>> x = np.array([0, 0, 5, 7, 6, 0, 0, 3, 0])
    >>> fc.ndimage.morphological_gradient(x, size=3)
    array([0, 5, 7, 2, 7, 6, 3, 3, 3])
    """
    given = output if isinstance(output, np.ndarray) else None
    if size is not None and footprint is None and structure is None and type(origin) is int and origin == 0:
        x = image(input)
        geometry = spread(x, size, mode, axes_of(axes, x.ndim))
        if geometry is not None and (given is None or (given.shape == x.shape and given.dtype == x.dtype)):
            return ranges(x, result(given, x), geometry)
    largest = grey_dilation(input, size, footprint, structure, None, mode, cval, origin, axes=axes)
    smallest = grey_erosion(input, size, footprint, structure, given, mode, cval, origin, axes=axes)
    return np.subtract(largest, smallest, smallest)


@documented
def morphological_laplace(
    input: Any,
    size: Any = None,
    footprint: Any = None,
    structure: Any = None,
    output: Any = None,
    mode: Any = "reflect",
    cval: Any = 0.0,
    origin: Any = 0,
    *,
    axes: Any = None,
) -> Array:
    """
    A dilation and an erosion, less the image twice; scipy.ndimage.morphological_laplace.

    {grey}

    Notes
    -----
    As in SciPy, of `output` only an array counts.

    {examples}
    >>> x = np.array([0, 0, 5, 7, 6, 0, 0, 3, 0])
    >>> fc.ndimage.morphological_laplace(x, size=3)
    array([ 0,  5, -3, -2, -5,  6,  3, -3,  3])
    """
    x = image(input)
    given = output if isinstance(output, np.ndarray) else None
    if given is not None and np.may_share_memory(x, given):
        x = x.copy()
    largest = grey_dilation(x, size, footprint, structure, None, mode, cval, origin, axes=axes)
    y = grey_erosion(x, size, footprint, structure, given, mode, cval, origin, axes=axes)
    np.add(largest, y, y)
    np.subtract(y, x, y)
    return np.subtract(y, x, y)


@documented
def white_tophat(
    input: Any,
    size: Any = None,
    footprint: Any = None,
    structure: Any = None,
    output: Any = None,
    mode: Any = "reflect",
    cval: Any = 0.0,
    origin: Any = 0,
    *,
    axes: Any = None,
) -> Array:
    """
    An image less its opening: peaks narrower than the window; scipy.ndimage.white_tophat.

    {grey}

    {examples}
    >>> x = np.array([0, 0, 5, 7, 6, 0, 0, 3, 0])
    >>> fc.ndimage.white_tophat(x, size=3)
    array([0, 0, 0, 2, 1, 0, 0, 3, 0])
    """
    size, x = without_ignored(size, footprint), image(input)
    if isinstance(output, np.ndarray) and np.may_share_memory(x, output):
        x = x.copy()
    opened = grey_opening(x, size, footprint, structure, output, mode, cval, origin, axes=axes)
    return difference(x, opened, opened)


@documented
def black_tophat(
    input: Any,
    size: Any = None,
    footprint: Any = None,
    structure: Any = None,
    output: Any = None,
    mode: Any = "reflect",
    cval: Any = 0.0,
    origin: Any = 0,
    *,
    axes: Any = None,
) -> Array:
    """
    A closing less the image: valleys narrower than the window; scipy.ndimage.black_tophat.

    {grey}

    {examples}
    >>> x = np.array([0, 0, 5, 7, 6, 0, 0, 3, 0])
    >>> fc.ndimage.black_tophat(x, size=3)
    array([0, 0, 0, 0, 0, 3, 3, 0, 3])
    """
    size, x = without_ignored(size, footprint), image(input)
    if isinstance(output, np.ndarray) and np.may_share_memory(x, output):
        x = x.copy()
    closed = grey_closing(x, size, footprint, structure, output, mode, cval, origin, axes=axes)
    return difference(closed, x, closed)


def need_window(size: Any, footprint: Any, structure: Any) -> None:
    """At least one of them."""
    if size is None and footprint is None and structure is None:
        raise ValueError("size, footprint, or structure must be specified")


def without_ignored(size: Any, footprint: Any) -> Any:
    """The size, or None, with a warning, where a footprint beats it."""
    if size is not None and footprint is not None:
        warnings.warn(IGNORED, UserWarning, stacklevel=4)
        return None
    return size


def as_bytes(x: Array) -> Array:
    """bool as uint8, so that what a structure adds is kept between two steps; all else as it is."""
    return x.view(np.uint8) if x.dtype == np.bool_ else x


def mirrored(window: Any) -> Any:
    """A window, if there is one, with all of its axes the other way round."""
    return None if window is None else np.flip(values("structure or footprint", window))


def mirrored_origins(origins: Any, sizes: Any) -> list[int]:
    """Where the mirrored window lies: an even size has its middle on the other side."""
    if len(origins) != len(sizes):
        raise RuntimeError("sequence argument must have length equal to input rank")
    return [-operator.index(one) - (1 if size % 2 == 0 else 0) for one, size in zip(origins, sizes, strict=True)]


def difference(a: Array, b: Array, out: Array) -> Array:
    """a - b, or where they differ of bool."""
    if a.dtype == np.bool_ and b.dtype == np.bool_:
        return np.bitwise_xor(a, b, out=out)
    return np.subtract(a, b, out=out)
