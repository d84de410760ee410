"""Filters of finite length along an axis, and medians, by scipy.signal's names."""

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.ndimage.ranks import median_among_zeros
from fastconv.problem.convolutions import Size
from fastconv.served import NotServed
from fastconv.signal import sums
from fastconv.signal.arrays import Array, numbers
from fastconv.signal.methods import FEW

UNEVEN = "Each element of kernel_size should be odd."


def lfilter(
    b: npt.ArrayLike, a: npt.ArrayLike, x: npt.ArrayLike, axis: int = -1, zi: npt.ArrayLike | None = None
) -> Array | tuple[Array, Array]:
    """Filter a signal along an axis with a filter of finite length.

    Parameters
    ----------
    b : array
        The taps, on one axis.
    a : number or array
        What they are divided by. Of more than one coefficient all but the first must be zero: recursive filters are not
        served.
    x : array
        The signal.
    axis : int
        The axis of `x` to filter along.
    zi : array, optional
        What the filter holds of cells before the first: as `x`, with one cell less than `b` along the axis.

    Returns
    -------
    y : array
        Of the shape of `x`: y[n] = b[0] x[n] + b[1] x[n - 1] + ...
    zf : array
        What the filter holds at the end, where `zi` is given.

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        As SciPy's, NotImplementedError for integers too; `NotServed`, a TypeError, for recursive filters.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.signal.lfilter([1.0, 1.0], 2.0, [1.0, 2.0, 3.0])
    array([0.5, 1.5, 2.5])
    """
    b, a, x = np.atleast_1d(numbers("b", b)), np.atleast_1d(numbers("a", a)), numbers("x", x)
    for name, one in (("b", b), ("a", a)):
        if one.ndim != 1 or not one.size:
            raise ValueError(f"Parameter {name} is not a non-empty 1d array, since {name}.shape={one.shape!r}!")
    if a[1:].any() or (a.size > 1 and not a[0]):
        raise NotServed("a has more than one coefficient: fastconv does not serve recursive filters")
    if not x.ndim:
        raise ValueError("x must be at least 1-D")
    inputs = [b, a, x]
    if zi is not None:
        zi = numbers("zi", zi)
        inputs.append(zi)
    dtype = np.result_type(*inputs)
    if dtype.char not in "fdgFDG":
        raise NotImplementedError(f"Parameter's dtypes produced result type '{dtype}', which is not supported!")
    if not -x.ndim <= axis < x.ndim:
        raise np.exceptions.AxisError(axis, x.ndim)
    axis %= x.ndim
    taps = np.zeros(max(a.size, b.size), dtype)
    taps[: b.size] = b.astype(dtype) / a[0].astype(dtype)
    held = None if zi is None else held_cells(zi, x, axis, taps.size - 1)
    if 0 in x.shape:
        raise ValueError(f"x cannot be empty, got shape {x.shape}")
    return filtered(taps, x, axis, held, dtype)


def held_cells(zi: Array, x: Array, axis: int, count: int) -> Array:
    """zi in the shape that the signal asks for; an axis of one cell serves all."""
    if zi.ndim != x.ndim:
        raise ValueError(f"Dimensions of parameters x and zi must match, but x.ndim={x.ndim!r}, zi.ndim={zi.ndim!r}!")
    expected = (*x.shape[:axis], count, *x.shape[axis + 1 :])
    if not fits(zi.shape, expected, axis):
        raise ValueError(f"Unexpected shape for parameter zi: expected {expected}, found {zi.shape}.")
    return np.broadcast_to(zi, expected)


def fits(shape: Size, expected: Size, axis: int) -> bool:
    """Whether what a filter holds has the shape that is expected, or one cell for all along another axis."""
    return all(n == wanted or (n == 1 and one != axis) for one, (n, wanted) in enumerate(zip(shape, expected, strict=True)))


def filtered(taps: Array, x: Array, axis: int, held: Array | None, dtype: np.dtype[Any]) -> Any:
    """y, or (y, zf): the first outputs of the full convolution, with what was held added to them, and the rest."""
    count, cells = taps.size - 1, x.shape[axis]
    w = taps[::-1].reshape([-1 if one == axis else 1 for one in range(x.ndim)])
    pads = tuple((count if one == axis else 0, count if one == axis and held is not None else 0) for one in range(x.ndim))
    if x.ndim == 1 and taps.size * cells <= FEW:
        y = np.convolve(x.astype(dtype), taps)[: None if held is not None else cells]
    else:
        y = sums.correlated(sums.as_whole(x), w, pads, dtype)
    if held is None:
        return y
    first = [slice(None)] * x.ndim
    first[axis] = slice(0, count)
    y[tuple(first)] += held
    return tuple(np.split(y, [cells], axis))


def medfilt(volume: npt.ArrayLike, kernel_size: Any = None) -> Array:
    """The median of a window around every cell, zeros beyond the ends.

    Parameters
    ----------
    volume : array
        Of any number of axes.
    kernel_size : int or ints, optional
        The odd size of the window, on each axis; 3 by default.

    Returns
    -------
    array
        Of the shape and dtype of `volume`. NaN counts as larger than any number.

    Raises
    ------
    ValueError, TypeError, RuntimeError
        As SciPy's; TypeError for masked arrays and objects.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.signal.medfilt([1, 9, 2, 3, 8])
    array([1, 2, 3, 3, 3])
    """
    volume = np.atleast_1d(unordered("medfilt", volume))
    size = sizes_of(kernel_size, volume.ndim)
    if len(size) != volume.ndim:
        raise RuntimeError(f"kernel_size must have one size for each of {volume.ndim} axes, got {size}")
    if any(k > n for k, n in zip(size, volume.shape, strict=True)):
        warnings.warn("kernel_size exceeds volume extent: the volume will be zero-padded.", stacklevel=2)
    return median_among_zeros(volume, size)


def medfilt2d(input: npt.ArrayLike, kernel_size: Any = 3) -> Array:
    """The median of a window around every cell of an image, zeros beyond the edges.

    Parameters
    ----------
    input : array
        The image.
    kernel_size : int or two ints
        The odd size of the window; 3 by default.

    Returns
    -------
    array
        Of the shape and dtype of `input`. NaN counts as larger than any number.

    Raises
    ------
    ValueError, TypeError, RuntimeError
        As SciPy's; TypeError for masked arrays and objects.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.signal.medfilt2d([[1.0, 9.0, 2.0], [4.0, 5.0, 6.0], [7.0, 3.0, 8.0]])
    array([[0., 2., 0.],
           [3., 5., 3.],
           [0., 4., 0.]])
    """
    image = unordered("medfilt2d", input)
    if image.dtype.char not in "Bfd":
        return medfilt(image, kernel_size)
    size = sizes_of(kernel_size, 2)
    if len(size) != 2:
        raise ValueError("Size must be a length two sequence")
    if image.ndim != 2:
        raise ValueError(f"input must be an image of two axes, got shape {image.shape}")
    return median_among_zeros(image, size)


def unordered(name: str, value: Any) -> Array:
    """An array of a dtype that has an order and a kernel."""
    found = numbers("volume" if name == "medfilt" else "input", value)
    if found.dtype.kind not in "iu" and found.dtype.char not in "fd":
        raise ValueError(f"dtype={found.dtype} is not supported by medfilt")
    return found


def sizes_of(kernel_size: Any, ndim: int) -> tuple[int, ...]:
    """One odd size an axis."""
    given = np.asarray(3 if kernel_size is None else kernel_size)
    if given.dtype.kind not in "iu":
        raise TypeError(f"kernel_size must be an int or ints, got {kernel_size!r}")
    size = tuple(given.tolist()) if given.ndim else (int(given),) * ndim
    if any(isinstance(one, list) or one % 2 != 1 for one in size):
        raise ValueError(UNEVEN)
    if min(size, default=1) < 1:
        raise ValueError(f"kernel_size must be at least 1, got {size}")
    return size
