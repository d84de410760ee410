"""Convolution and correlation of signals of any number of axes, by scipy.signal's names, signatures and results."""

import timeit
import warnings
from collections.abc import Iterable
from operator import index
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.signal import methods
from fastconv.signal.arrays import BAD_MODE, Array, is_mode, numbers, reversed_conjugate

METHODS = ("auto", "direct", "fft")
BAD_METHOD = "Acceptable method flags are 'auto', 'direct', or 'fft'."
SPREADS = (
    "Use of fft convolution on input with NAN or inf results in NAN or inf output. Consider using method='direct' instead."
)


def convolve(in1: npt.ArrayLike, in2: npt.ArrayLike, mode: str = "full", method: str = "auto") -> Array:
    """Convolve two arrays of any number of axes.

    Parameters
    ----------
    in1, in2 : array
        Of the same number of axes.
    mode : {"full", "valid", "same"}
        All outputs; those whose kernel lies inside; the middle ones, of the shape of `in1`.
    method : {"auto", "direct", "fft"}
        Sums of products, Fourier transforms, or the cheaper by fastconv's estimates.

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
    Under "direct" a NaN reaches the outputs whose window holds it and no other; under "fft" it reaches at least these.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.signal.convolve([1, 2, 3], [0, 1, 1], mode="same")
    array([1, 3, 5])
    """
    in1, in2 = numbers("in1", in1), numbers("in2", in2)
    if in1.ndim == in2.ndim == 0:
        return in1 * in2
    if in1.ndim != in2.ndim:
        raise ValueError("volume and kernel should have the same dimensionality")
    check_names(mode, method)
    if methods.swapped(mode, in1.shape, in2.shape):
        in1, in2 = in2, in1
    check_cells(in1, in2)
    if method == "auto":
        method = methods.cheaper(in1, in2, mode)
    return transformed(in1, in2, mode) if method == "fft" else summed(in1, in2, mode)


def correlate(in1: npt.ArrayLike, in2: npt.ArrayLike, mode: str = "full", method: str = "auto") -> Array:
    """Cross-correlate two arrays of any number of axes: convolve the first with the second, turned around and conjugated.

    Parameters
    ----------
    in1, in2 : array
        Of the same number of axes.
    mode : {"full", "valid", "same"}
        All outputs; those whose kernel lies inside; the middle ones, of the shape of `in1`.
    method : {"auto", "direct", "fft"}
        Sums of products, Fourier transforms, or the cheaper by fastconv's estimates.

    Returns
    -------
    array
        Of ``numpy.result_type(in1, in2)``; `correlation_lags` says which lag each output belongs to.

    Raises
    ------
    ValueError, TypeError
        As SciPy's; TypeError for masked arrays and objects.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.signal.correlate([1, 2, 3, 4], [1, 2], mode="valid")
    array([ 5,  8, 11])
    """
    in1, in2 = numbers("in1", in1), numbers("in2", in2)
    if in1.ndim == in2.ndim == 0:
        return in1 * in2.conj()
    if in1.ndim != in2.ndim:
        raise ValueError("in1 and in2 should have the same dimensionality")
    check_names(mode, method)
    if not methods.swapped(mode, in1.shape, in2.shape):
        return convolve(in1, reversed_conjugate(in2), mode, method)
    return convolve(reversed_conjugate(in2), in1, mode, method)


def check_names(mode: Any, method: Any) -> None:
    """Refuse a mode or a method that there is not."""
    if not is_mode(mode):
        raise ValueError(BAD_MODE)
    if not isinstance(method, str) or method not in METHODS:
        raise ValueError(BAD_METHOD)


def check_cells(in1: Array, in2: Array) -> None:
    """Refuse arrays without cells, whose convolution is not defined."""
    for name, value in (("in1", in1), ("in2", in2)):
        if not value.size:
            raise ValueError(f"{name} cannot be empty, got shape {value.shape}")


def summed(in1: Array, in2: Array, mode: str) -> Array:
    """The convolution by sums of products."""
    dtype = np.result_type(in1, in2)
    if in1.ndim > 1 and dtype.char in "?e":
        raise ValueError(f"Unsupported type: sums over {in1.ndim} axes are not defined for {dtype}")
    return methods.by_sums(in1, in2, mode, dtype)


def transformed(in1: Array, in2: Array, mode: str) -> Array:
    """The convolution by Fourier transforms, in the dtype of sums, with a warning where it is not finite."""
    result = np.result_type(in1, in2)
    y = by_fft(in1, in2, mode, None, may_sum=False)
    if not all_finite(y):
        warnings.warn(SPREADS, RuntimeWarning, stacklevel=3)
    if result.kind in "iu":
        y = np.round(y)
    with np.errstate(invalid="ignore"):
        return y.astype(result, copy=False)


def all_finite(y: Array) -> bool:
    """Whether no cell is infinite or no number; a finite sum shows it at once."""
    with np.errstate(all="ignore"):
        return bool(np.isfinite(y.sum())) or bool(np.isfinite(y).all())


def fftconvolve(in1: npt.ArrayLike, in2: npt.ArrayLike, mode: str = "full", axes: int | Iterable[int] | None = None) -> Array:
    """Convolve two arrays, of any sizes, at the least cost: by Fourier transforms of blocks or of whole arrays, or by few sums.

    Parameters
    ----------
    in1, in2 : array
        Of the same number of axes.
    mode : {"full", "valid", "same"}
        All outputs; those whose kernel lies inside; the middle ones, of the shape of `in1`.
    axes : int or ints, optional
        The axes to convolve along; all by default. Along the others the arrays multiply as NumPy's broadcasting has it.

    Returns
    -------
    array
        Floats or complex numbers: float32 stays so, integers give float64.

    Raises
    ------
    ValueError, TypeError
        As SciPy's; TypeError for masked arrays and objects.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.signal.fftconvolve([1.0, 2.0, 3.0], [0.0, 1.0]).round(6)
    array([0., 1., 2., 3.])
    """
    return by_fft(numbers("in1", in1), numbers("in2", in2), mode, axes, may_sum=True)


def by_fft(in1: Array, in2: Array, mode: Any, axes: Any, may_sum: bool) -> Array:
    """fftconvolve of arrays; `may_sum`, by sums of products where these are cheaper."""
    if in1.ndim == in2.ndim == 0:
        return in1 * in2
    if in1.ndim != in2.ndim:
        raise ValueError("in1 and in2 should have the same dimensionality")
    if not (in1.size and in2.size):
        return np.zeros(0)
    along = axes_of(axes, in1.ndim)
    along = [axis for axis in along if in1.shape[axis] != 1 and in2.shape[axis] != 1]
    others = [pair for axis, pair in enumerate(zip(in1.shape, in2.shape, strict=True)) if axis not in along]
    if not all(n == k or 1 in (n, k) for n, k in others):
        raise ValueError(f"incompatible shapes for in1 and in2: {in1.shape} and {in2.shape}")
    if methods.swapped(mode, in1.shape, in2.shape, along):
        in1, in2 = in2, in1
    if not is_mode(mode):
        raise ValueError("acceptable mode flags are 'valid', 'same', or 'full'")
    if along:
        return methods.by_transforms(in1, in2, mode, along, may_sum)
    wanted = methods.part(in1.shape, in2.shape, mode, along)
    return (in1 * in2)[tuple(slice(start, start + count) for start, count in wanted)].copy()


def axes_of(axes: Any, ndim: int) -> list[int]:
    """The axes as numbers from zero on, each once."""
    if axes is None:
        return list(range(ndim))
    try:
        found = [index(axis) for axis in axes] if isinstance(axes, Iterable) else [index(axes)]
    except TypeError:
        raise ValueError("axes must be a scalar or iterable of integers") from None
    if not found:
        raise ValueError("when provided, axes cannot be empty")
    if any(not -ndim <= axis < ndim for axis in found):
        raise ValueError("axes exceeds dimensionality of input")
    found = [axis % ndim for axis in found]
    if len(set(found)) != len(found):
        raise ValueError("all axes must be unique")
    return found


def oaconvolve(in1: npt.ArrayLike, in2: npt.ArrayLike, mode: str = "full", axes: int | Iterable[int] | None = None) -> Array:
    """Convolve two arrays of very different sizes: as `fftconvolve`, which takes transforms of blocks where they serve.

    Parameters
    ----------
    in1, in2 : array
        Of the same number of axes.
    mode : {"full", "valid", "same"}
        All outputs; those whose kernel lies inside; the middle ones, of the shape of `in1`.
    axes : int or ints, optional
        The axes to convolve along; all by default. Along the others the arrays multiply as NumPy's broadcasting has it.

    Returns
    -------
    array
        Floats or complex numbers: float32 stays so, integers give float64.

    Raises
    ------
    ValueError, TypeError
        As SciPy's; TypeError for masked arrays and objects.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.signal.oaconvolve(np.ones(1000), np.ones(3), mode="valid").shape
    (998,)
    """
    return fftconvolve(in1, in2, mode, axes)


def choose_conv_method(
    in1: npt.ArrayLike, in2: npt.ArrayLike, mode: str = "full", measure: bool = False
) -> str | tuple[str, dict[str, float]]:
    """The method that `convolve` takes under "auto".

    Parameters
    ----------
    in1, in2 : array
        What would be convolved.
    mode : {"full", "valid", "same"}
        As in `convolve`.
    measure : bool
        Time both methods, and take the faster one.

    Returns
    -------
    method : {"direct", "fft"}
        The cheaper by fastconv's estimates; "direct" where a transform would round integers.
    times : dict
        The seconds of each, where `measure` asks for them.

    Raises
    ------
    ValueError, TypeError
        As `convolve`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.signal.choose_conv_method(np.ones(100_000), np.ones(3))
    'direct'
    """
    in1, in2 = numbers("in1", in1), numbers("in2", in2)
    if measure:
        times = {one: seconds_of(in1, in2, mode, one) for one in ("fft", "direct")}
        return min(times, key=times.__getitem__), times
    if in1.ndim != in2.ndim:
        raise ValueError("volume and kernel should have the same dimensionality")
    if not is_mode(mode):
        raise ValueError(f"{BAD_MODE[:-1]}, not mode={mode}")
    if not (in1.ndim and in1.size and in2.size):
        return "direct"
    return methods.cheaper(in1, in2, mode)


def seconds_of(in1: Array, in2: Array, mode: str, method: str) -> float:
    """The least time of a call, of as many as take a millisecond or two."""
    timer = timeit.Timer(lambda: convolve(in1, in2, mode, method))
    once = timer.timeit(1)
    number = max(1, int(2e-3 / max(once, 1e-6)))
    return once if once > 1 else min(timer.repeat(3, number)) / number


def correlation_lags(in1_len: int, in2_len: int, mode: str = "full") -> Array:
    """The lag, in cells, of each output of `correlate` on one axis.

    Parameters
    ----------
    in1_len, in2_len : int
        The lengths of its arrays.
    mode : {"full", "valid", "same"}
        As in `correlate`.

    Returns
    -------
    array
        Of integers.

    Raises
    ------
    ValueError
        If the mode is none of these.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.signal.correlation_lags(3, 2)
    array([-1,  0,  1,  2])
    """
    if mode == "full":
        return np.arange(1 - in2_len, in1_len)
    if mode == "same":
        lags, middle = np.arange(1 - in2_len, in1_len), in1_len // 2
        centre = lags.size // 2
        return lags[centre - middle : centre + middle + in1_len % 2]
    if mode == "valid":
        more = in1_len - in2_len
        return np.arange(more + 1) if more >= 0 else np.arange(more, 1)
    raise ValueError(f"Mode {mode} is invalid")
