"""Convolution and correlation of images with a border, by scipy.signal's names: always by sums of products."""

from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.signal import methods, sums
from fastconv.signal.arrays import BAD_MODE, Array, is_mode, numbers
from fastconv.signal.methods import swapped
from fastconv.signal.sums import Border, as_whole

BORDERS = {"fill": "constant", "pad": "constant", "wrap": "circular", "circular": "circular"}
BORDERS |= {"symm": "symmetric", "symmetric": "symmetric"}
BAD_BOUNDARY = "Acceptable boundary flags are 'fill', 'circular' (or 'wrap'), and 'symmetric' (or 'symm')."
BAD_FILL = "could not cast `fillvalue` directly to the output type (it was first converted to complex)."


def convolve2d(in1: npt.ArrayLike, in2: npt.ArrayLike, mode: str = "full", boundary: str = "fill", fillvalue: Any = 0) -> Array:
    """Convolve two images by sums of products.

    Parameters
    ----------
    in1, in2 : array
        Of two axes.
    mode : {"full", "valid", "same"}
        All outputs; those whose kernel lies inside; the middle ones, of the shape of `in1`.
    boundary : {"fill", "wrap", "symm"}
        What lies around `in1`: `fillvalue`; the image again; its mirror image.
    fillvalue : number
        Of the boundary "fill".

    Returns
    -------
    array
        Of ``numpy.result_type(in1, in2)``. Sums of integers are exact, and wrap as NumPy's do.

    Raises
    ------
    ValueError, TypeError
        As SciPy's; TypeError for masked arrays and objects.

    Notes
    -----
    Errors are relative to the terms of the output's own window, and a NaN reaches no other output.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.signal.convolve2d([[1, 2], [3, 4]], [[1, 1]], boundary="wrap")
    array([[3, 3, 3],
           [7, 7, 7]])
    """
    return filtered("convolve2d", in1, in2, mode, boundary, fillvalue)


def correlate2d(
    in1: npt.ArrayLike, in2: npt.ArrayLike, mode: str = "full", boundary: str = "fill", fillvalue: Any = 0
) -> Array:
    """Cross-correlate two images by sums of products; of complex ones the second is conjugated.

    Parameters
    ----------
    in1, in2 : array
        Of two axes.
    mode : {"full", "valid", "same"}
        All outputs; those whose kernel lies inside; the middle ones, of the shape of `in1`.
    boundary : {"fill", "wrap", "symm"}
        What lies around `in1`: `fillvalue`; the image again; its mirror image.
    fillvalue : number
        Of the boundary "fill".

    Returns
    -------
    array
        Of ``numpy.result_type(in1, in2)``. Sums of integers are exact, and wrap as NumPy's do.

    Raises
    ------
    ValueError, TypeError
        As SciPy's; TypeError for masked arrays and objects.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.signal.correlate2d([[1, 2, 3]], [[1, 2]], mode="same")
    array([[5, 8, 3]])
    """
    return filtered("correlate2d", in1, in2, mode, boundary, fillvalue)


def filtered(name: str, in1: Any, in2: Any, mode: Any, boundary: Any, fillvalue: Any) -> Array:
    """Both functions: the checks in SciPy's order, the border, the sums."""
    in1, in2 = numbers("in1", in1), numbers("in2", in2)
    if not in1.ndim == in2.ndim == 2:
        raise ValueError(f"{name} inputs must both be 2-D arrays")
    swaps = swapped(mode, in1.shape, in2.shape) if in1.size and in2.size else False
    if swaps:
        in1, in2 = in2, in1
    if not is_mode(mode):
        raise ValueError(BAD_MODE)
    if not isinstance(boundary, str) or boundary not in BORDERS:
        raise ValueError(BAD_BOUNDARY)
    dtype = np.result_type(in1, in2)
    if dtype.char in "?e":
        raise ValueError(f"{name} not available for this type.")
    border = border_of(BORDERS[boundary], fillvalue, dtype)
    if border.mode != "constant" and not in1.size:
        raise ValueError(f"in1 must have cells for the boundary {boundary!r}, got shape {in1.shape}")
    correlates = name == "correlate2d"
    w = in2.conj() if correlates else in2[::-1, ::-1]
    y = windowed(as_whole(in1), as_whole(w), mode, dtype, border, correlates)
    return y[::-1, ::-1] if swaps and correlates else y


def windowed(x: Array, w: Array, mode: str, dtype: np.dtype[Any], border: Border, correlates: bool) -> Array:
    """The sums of a mode; with zeros around, and a kernel larger than the image, the image is the kernel."""
    wanted = methods.part(x.shape, w.shape, mode)
    if correlates and mode == "same":
        wanted = tuple((k // 2, count) for k, (_, count) in zip(w.shape, wanted, strict=True))
    if border.mode == "constant" and border.value == 0:
        if w.size > x.size > 0:
            kernel, image = x[::-1, ::-1], w[::-1, ::-1]
            return sums.correlated(image, kernel, methods.pads_of(image, kernel, wanted), dtype)
        border = sums.ZEROS
    return sums.correlated(x, w, methods.pads_of(x, w, wanted), dtype, border)


def border_of(mode: str, fillvalue: Any, dtype: np.dtype[Any]) -> Border:
    """The border; its value as the result's dtype holds it."""
    if mode != "constant":
        return Border(mode)
    if np.size(fillvalue) != 1:
        raise ValueError("`fillvalue` must be scalar or an array with one element")
    if isinstance(fillvalue, np.ndarray) and not np.can_cast(fillvalue.dtype, dtype, "safe"):
        raise ValueError(BAD_FILL)
    try:
        with np.errstate(over="ignore"):
            return Border(mode, np.array(fillvalue, dtype).item())
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(BAD_FILL) from error
