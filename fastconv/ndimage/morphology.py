"""Morphology of grey and of binary images, by SciPy's names."""

import operator
import warnings
from typing import Any

import numpy as np

from fastconv.ndimage.arguments import axes_of, image, result, sequence, values
from fastconv.ndimage.extrema import MAXIMUM, MINIMUM, boxes, cover_geometry, extremes, inside, under
from fastconv.problem.borders import Border
from fastconv.problem.convolutions import Array
from fastconv.problem.filters import FilterGeometry

IGNORED = "ignoring size because footprint is set"

# Grey images ------------------------------------------------------------------------------------------------------------------


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
    """The smallest cell under a window, or of cells less a structure.

    Parameters
    ----------
    input : array_like
        Any shape; bool, integers or floats.
    size : int or sequence of int, optional
        Cells of a flat box, one number or one an axis.
    footprint : array_like of bool, optional
        The cells that count, instead of `size`.
    structure : array_like, optional
        What is added to the cells of a dilation, and subtracted from those of an erosion; all of its cells count unless a
        footprint says which do.
    output : array or dtype, optional
        Where the result goes; may be or overlap the input. Its dtype is the input's by default.
    mode : str or sequence of str
        What lies around the array, as of `maximum_filter`; one an axis for boxes only.
    cval : scalar
        What cells of the mode "constant" hold.
    origin : int or sequence of int
        How far the window is moved to lower indices.
    axes : int or sequence of int, optional
        The axes that are filtered, all by default.

    Returns
    -------
    array
        Of the input's shape.

    Raises
    ------
    RuntimeError
        For sequences of wrong lengths, modes that do not exist, outputs of a wrong shape.
    ValueError
        Without size, footprint and structure; for an origin outside its window, a footprint without cells.
    TypeError
        For complex numbers.

    Notes
    -----
    The counterpart of `scipy.ndimage.grey_erosion`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import ndimage
    >>> x = np.array([0, 0, 5, 7, 6, 0, 0, 3, 0])
    >>> ndimage.grey_erosion(x, size=3)
    array([0, 0, 0, 5, 0, 0, 0, 0, 0])
    """
    need_window(size, footprint, structure)
    return extremes(MINIMUM, input, size, footprint, structure, output, mode, cval, origin, axes)


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
    """The largest cell under a mirrored window, or of cells and a structure.

    Parameters, returns and raises as of `grey_erosion`; the counterpart of `scipy.ndimage.grey_dilation`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import ndimage
    >>> x = np.array([0, 0, 5, 7, 6, 0, 0, 3, 0])
    >>> ndimage.grey_dilation(x, size=3)
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
    """An erosion, and a dilation of it: peaks narrower than the window go.

    Parameters, returns and raises as of `grey_erosion`; the counterpart of `scipy.ndimage.grey_opening`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import ndimage
    >>> x = np.array([0, 0, 5, 7, 6, 0, 0, 3, 0])
    >>> ndimage.grey_opening(x, size=3)
    array([0, 0, 5, 5, 5, 0, 0, 0, 0])
    """
    size, x = without_ignored(size, footprint), image(input)
    output = x.dtype if output is None else output
    between = grey_erosion(as_bytes(x), size, footprint, structure, None, mode, cval, origin, axes=axes)
    return grey_dilation(between, size, footprint, structure, output, mode, cval, origin, axes=axes)


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
    """A dilation, and an erosion of it: valleys narrower than the window go.

    Parameters, returns and raises as of `grey_erosion`; the counterpart of `scipy.ndimage.grey_closing`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import ndimage
    >>> x = np.array([0, 0, 5, 7, 6, 0, 0, 3, 0])
    >>> ndimage.grey_closing(x, size=3)
    array([0, 0, 5, 7, 6, 3, 3, 3, 3])
    """
    size, x = without_ignored(size, footprint), image(input)
    output = x.dtype if output is None else output
    between = grey_dilation(as_bytes(x), size, footprint, structure, None, mode, cval, origin, axes=axes)
    return grey_erosion(between, size, footprint, structure, output, mode, cval, origin, axes=axes)


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
    """A dilation less an erosion.

    Parameters, returns and raises as of `grey_erosion`; the counterpart of `scipy.ndimage.morphological_gradient`.
    As there, of `output` only an array counts.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import ndimage
    >>> x = np.array([0, 0, 5, 7, 6, 0, 0, 3, 0])
    >>> ndimage.morphological_gradient(x, size=3)
    array([0, 5, 7, 2, 7, 6, 3, 3, 3])
    """
    largest = grey_dilation(input, size, footprint, structure, None, mode, cval, origin, axes=axes)
    given = output if isinstance(output, np.ndarray) else None
    smallest = grey_erosion(input, size, footprint, structure, given, mode, cval, origin, axes=axes)
    return np.subtract(largest, smallest, smallest)


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
    """A dilation and an erosion, less the image twice.

    Parameters, returns and raises as of `grey_erosion`; the counterpart of `scipy.ndimage.morphological_laplace`.
    As there, of `output` only an array counts.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import ndimage
    >>> x = np.array([0, 0, 5, 7, 6, 0, 0, 3, 0])
    >>> ndimage.morphological_laplace(x, size=3)
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
    """An image less its opening: peaks narrower than the window.

    Parameters, returns and raises as of `grey_erosion`; the counterpart of `scipy.ndimage.white_tophat`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import ndimage
    >>> x = np.array([0, 0, 5, 7, 6, 0, 0, 3, 0])
    >>> ndimage.white_tophat(x, size=3)
    array([0, 0, 0, 2, 1, 0, 0, 3, 0])
    """
    size, x = without_ignored(size, footprint), image(input)
    if isinstance(output, np.ndarray) and np.may_share_memory(x, output):
        x = x.copy()
    opened = grey_opening(x, size, footprint, structure, output, mode, cval, origin, axes=axes)
    return difference(x, opened, opened)


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
    """A closing less the image: valleys narrower than the window.

    Parameters, returns and raises as of `grey_erosion`; the counterpart of `scipy.ndimage.black_tophat`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import ndimage
    >>> x = np.array([0, 0, 5, 7, 6, 0, 0, 3, 0])
    >>> ndimage.black_tophat(x, size=3)
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
        warnings.warn(IGNORED, UserWarning, stacklevel=3)
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


# Binary images ----------------------------------------------------------------------------------------------------------------


def binary_erosion(
    input: Any,
    structure: Any = None,
    iterations: Any = 1,
    mask: Any = None,
    output: Any = None,
    border_value: Any = 0,
    origin: Any = 0,
    brute_force: Any = False,
    *,
    axes: Any = None,
) -> Array:
    """Cells whose window is all set.

    Parameters
    ----------
    input : array_like
        Any shape; what is not zero is set.
    structure : array_like of bool, optional
        The cells of the window that count; by default the cell and its neighbours along each axis.
    iterations : int
        How often, each time on the result; below one until nothing changes.
    mask : array_like, optional
        Where it is zero, cells stay as they are.
    output : array or dtype, optional
        Where the result goes, bool by default; may be or overlap the input.
    border_value : int
        Whether cells outside the array are set.
    origin : int or sequence of int
        How far the window is moved to lower indices.
    brute_force : bool
        Accepted and without effect: all cells are visited each time.
    axes : int or sequence of int, optional
        The axes that are filtered, all by default.

    Returns
    -------
    array
        Of the input's shape.

    Raises
    ------
    RuntimeError
        For an empty structure, one or a mask of a wrong shape, outputs of a wrong shape.
    ValueError
        For an origin outside the window.
    TypeError
        For complex numbers, and iterations that are no integer.

    Notes
    -----
    The counterpart of `scipy.ndimage.binary_erosion`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import ndimage
    >>> ndimage.binary_erosion(np.array([0, 1, 1, 1, 0, 0, 1, 0])).astype(int)
    array([0, 0, 1, 0, 0, 0, 0, 0])
    """
    return repeated(MINIMUM, input, structure, iterations, mask, output, border_value, origin, axes)


def binary_dilation(
    input: Any,
    structure: Any = None,
    iterations: Any = 1,
    mask: Any = None,
    output: Any = None,
    border_value: Any = 0,
    origin: Any = 0,
    brute_force: Any = False,
    *,
    axes: Any = None,
) -> Array:
    """Cells whose mirrored window has a cell that is set.

    Parameters, returns and raises as of `binary_erosion`; the counterpart of `scipy.ndimage.binary_dilation`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import ndimage
    >>> ndimage.binary_dilation(np.array([0, 1, 1, 1, 0, 0, 1, 0])).astype(int)
    array([1, 1, 1, 1, 1, 1, 1, 1])
    """
    x = image(input)
    used = axes_of(axes, x.ndim)
    window = mirrored(default_structure(structure, len(used)))
    moved = mirrored_origins(sequence(origin, len(used)), window.shape)
    return repeated(MAXIMUM, x, window, iterations, mask, output, border_value, moved, used)


def binary_opening(
    input: Any,
    structure: Any = None,
    iterations: Any = 1,
    output: Any = None,
    origin: Any = 0,
    mask: Any = None,
    border_value: Any = 0,
    brute_force: Any = False,
    *,
    axes: Any = None,
) -> Array:
    """An erosion, and a dilation of it.

    Parameters, returns and raises as of `binary_erosion`; the counterpart of `scipy.ndimage.binary_opening`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import ndimage
    >>> ndimage.binary_opening(np.array([0, 1, 1, 1, 0, 0, 1, 0])).astype(int)
    array([0, 1, 1, 1, 0, 0, 0, 0])
    """
    between = binary_erosion(input, structure, iterations, mask, None, border_value, origin, brute_force, axes=axes)
    return binary_dilation(between, structure, iterations, mask, output, border_value, origin, brute_force, axes=axes)


def binary_closing(
    input: Any,
    structure: Any = None,
    iterations: Any = 1,
    output: Any = None,
    origin: Any = 0,
    mask: Any = None,
    border_value: Any = 0,
    brute_force: Any = False,
    *,
    axes: Any = None,
) -> Array:
    """A dilation, and an erosion of it.

    Parameters, returns and raises as of `binary_erosion`; the counterpart of `scipy.ndimage.binary_closing`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import ndimage
    >>> ndimage.binary_closing(np.array([0, 1, 1, 1, 0, 0, 1, 0])).astype(int)
    array([0, 1, 1, 1, 1, 1, 1, 0])
    """
    between = binary_dilation(input, structure, iterations, mask, None, border_value, origin, brute_force, axes=axes)
    return binary_erosion(between, structure, iterations, mask, output, border_value, origin, brute_force, axes=axes)


def default_structure(structure: Any, rank: int) -> Array:
    """The structure as bool: by default a cell and its neighbours along each axis."""
    if structure is not None:
        return values("structure", structure, bool)
    return np.asarray(np.abs(np.indices((3,) * rank) - 1).sum(0) <= 1)


def repeated(
    operation: str,
    input: Any,
    structure: Any,
    iterations: Any,
    mask: Any,
    output: Any,
    border_value: Any,
    origin: Any,
    axes: Any,
) -> Array:
    """Erosions or dilations of a binary image, one after the other."""
    try:
        iterations = operator.index(iterations)
    except TypeError as error:
        raise TypeError("iterations parameter should be an integer") from error
    x = image(input)
    used = axes_of(axes, x.ndim)
    window = default_structure(structure, len(used))
    if window.ndim != len(used):
        if len(used) < x.ndim:
            raise RuntimeError(f"structure.ndim ({window.ndim}) must match len(axes) ({len(used)})")
        raise RuntimeError("structure and input must have same dimensionality")
    if window.size < 1:
        raise RuntimeError("structure must not be empty")
    if mask is not None:
        mask = values("mask", mask)
        if mask.shape != x.shape:
            raise RuntimeError("mask and input must have equal sizes")
        mask = mask.astype(bool)
    origins = [inside(one, k) for one, k in zip(sequence(origin, len(used)), window.shape, strict=True)]
    if isinstance(output, np.ndarray) and output.dtype.kind == "c":
        raise TypeError("Complex output type not supported")
    y = result(output if isinstance(output, np.ndarray) else bool, x)
    around = Border("constant")
    geometry = cover_geometry(operation, x, used, window.shape, origins, around)
    image_of = x if x.dtype == np.bool_ else x != 0
    found = np.empty(x.shape, bool) if iterations != 1 or y.dtype != np.bool_ or np.may_share_memory(image_of, y) else y
    spare = image_of
    done = 0
    while True:
        once(operation, spare, found, geometry, window, bool(border_value))
        if mask is not None:
            np.copyto(found, spare, where=~mask)
        done += 1
        if done == iterations or (iterations < 1 and np.array_equal(spare, found)):
            break
        spare, found = found, np.empty_like(found) if spare is image_of else spare
    if found is not y:
        y[...] = found
    return y


def once(operation: str, x: Array, y: Array, geometry: FilterGeometry, window: Array, border_value: bool) -> None:
    """One erosion or dilation of an array of bool into another."""
    if not window.any():
        y[...] = operation == MINIMUM
    elif window.all():
        boxes(operation, x, y, geometry, border_value)
    else:
        under(operation, x, y, geometry, window, None, border_value)
