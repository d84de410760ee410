"""Correlation and convolution, over all axes at once or along one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.kernels.keeping import remembered
from fastconv.ndimage import arguments as check
from fastconv.ndimage.documentation import documented
from fastconv.ndimage.passes import SWEPT, Line, by_parts, in_passes, summed_in
from fastconv.plans import filters
from fastconv.plans.replaying import replayed
from fastconv.problem.borders import Border
from fastconv.problem.convolutions import Array
from fastconv.problem.filters import geometry, summed_by

SKIPPED = float(np.finfo(np.float64).eps)  # weights that are no larger are none, in correlations over all axes
LEAST = 12  # taps from which on weights that are a product of vectors pay as passes
ORIGIN = "Invalid origin; origin must satisfy -({0} // 2) <= origin <= ({0}-1) // 2"


def is_complex_call(x: Array, w: Array, cval: Any) -> bool:
    """Whether an array or weights are complex; what lies around a real array must be real."""
    is_complex = x.dtype.kind == "c" or w.dtype.kind == "c"
    if is_complex and x.dtype.kind != "c" and np.iscomplexobj(cval):
        raise ValueError("Cannot provide a complex-valued cval when the input is real.")
    return is_complex


@replayed
@documented
def correlate1d(
    input: npt.ArrayLike,
    weights: npt.ArrayLike,
    axis: int = -1,
    output: Any = None,
    mode: str = "reflect",
    cval: complex = 0.0,
    origin: int = 0,
) -> Array:
    """
    Correlate with a vector along one axis; scipy.ndimage.correlate1d. Complex arrays and weights too; weights are conjugated.

    Parameters
    ----------
    {input}
    weights : array_like
        One axis of numbers.
    {axis}
    {output}
    {mode}
    {cval}
    {origin}

    {result}

    {raises}

    {examples}
    >>> fc.ndimage.correlate1d([2, 8, 0, 4, 1, 9, 9, 0], weights=[1, 3])
    array([ 8, 26,  8, 12,  7, 28, 36,  9])
    """
    return along_axis(input, weights, axis, output, mode, cval, origin)


@replayed
@documented
def convolve1d(
    input: npt.ArrayLike,
    weights: npt.ArrayLike,
    axis: int = -1,
    output: Any = None,
    mode: str = "reflect",
    cval: complex = 0.0,
    origin: int = 0,
) -> Array:
    """
    Convolve with a vector along one axis; scipy.ndimage.convolve1d. Complex arrays and weights too.

    Parameters
    ----------
    {input}
    weights : array_like
        One axis of numbers.
    {axis}
    {output}
    {mode}
    {cval}
    {origin}

    {result}

    {raises}

    {examples}
    >>> fc.ndimage.convolve1d([2, 8, 0, 4, 1, 9, 9, 0], weights=[1, 3])
    array([14, 24,  4, 13, 12, 36, 27,  0])
    """
    w = check.values("weights", weights)[::-1]
    origin = -origin - (len(w) % 2 == 0)
    return along_axis(input, w.conj() if w.dtype.kind == "c" else w, axis, output, mode, cval, origin)


def along_axis(input: Any, weights: Any, axis: Any, output: Any, mode: Any, cval: Any, origin: Any) -> Array:
    """The correlation with a vector, which convolve1d has turned round."""
    x, w = check.image(input, complex_too=True), check.values("weights", weights)
    is_complex = is_complex_call(x, w, cval)
    if w.ndim != 1 or not len(w):
        raise RuntimeError("no filter weights given")
    axis = check.axis_of(axis, x.ndim)
    origin = check.check_origin(origin, len(w), ORIGIN.format("len(weights)"))
    border = check.border(mode)
    to = check.result(output, x, is_complex, frames=5)
    w = w.conj() if w.dtype.kind == "c" else w.astype(np.float64)

    def run(part: Array, factor: Array, out: Array, fill: Any) -> Array:
        return in_passes(part, [Line(axis, np.asarray(factor, np.float64), origin, border)], out, fill)

    return by_parts(run, x, w, to, cval) if is_complex else run(x, w, to, cval)


def over_window(
    input: Any, weights: Any, output: Any, mode: Any, cval: Any, origin: Any, axes: Any, convolution: bool
) -> Array:
    """correlate, or convolve."""
    x, w = check.image(input, complex_too=True), check.values("weights", weights)
    is_complex = is_complex_call(x, w, cval)
    along = check.axes_of(axes, x.ndim)
    if w.ndim != len(along) or not w.size:
        raise RuntimeError(f"weights.ndim ({w.ndim}) must match len(axes) ({len(along)})")
    origins = [int(o) for o in check.sequence(origin, len(along))]
    if convolution:
        w = w[(slice(None, None, -1),) * w.ndim]
        origins = [-o - (size % 2 == 0) for o, size in zip(origins, w.shape, strict=True)]
    elif w.dtype.kind == "c":
        w = w.conj()
    for o, size in zip(origins, w.shape, strict=True):
        check.check_origin(o, size, ORIGIN.format("weights.shape[k]").replace("origin <=", "origin[k] <="))
    border = check.one_border(mode, "A sequence of modes is not supported")
    to = check.result(output, x, is_complex, frames=5)
    order = sorted(
        range(len(along)), key=along.__getitem__
    )  # of the origins; the axes of weights are in order, as SciPy has it
    along, origins = tuple(sorted(along)), [origins[i] for i in order]

    def run(part: Array, factor: Array, out: Array, fill: Any) -> Array:
        return correlated(part, np.asarray(factor, np.float64), along, origins, [border] * len(along), out, fill)

    return by_parts(run, x, w, to, cval) if is_complex else run(x, w, to, cval)


def correlated(
    x: Array, w: Array, axes: Sequence[int], origins: Sequence[int], borders: Sequence[Border], output: Array, cval: Any
) -> Array:
    """`output`, of real weights along some axes; as passes, where they are a product of vectors and only rounding tells."""
    weights, factors, summed = weighed(w.shape, w.tobytes(), x.dtype, output.dtype, float(cval))
    if factors is not None:
        return in_passes(x, list(map(Line, axes, factors, origins, borders)), output, cval)
    taps = check.over_all_axes(w.shape, axes, x.ndim, 1)
    origin = check.over_all_axes(origins, axes, x.ndim, 0)
    around = check.over_all_axes(borders, axes, x.ndim, Border())
    window, weights = geometry("correlation", x.shape, taps, origin, around), weights.reshape(taps)
    if weights.size == SWEPT:
        window = summed_by(window, tuple(weights.ravel().tolist()))

    def compute(source: Array, out: Array) -> None:
        filters.run(window, {"x": source, "w": weights}, out, summed, cval)

    return check.computed(x, output, compute)


@remembered
def weighed(
    shape: tuple[int, ...], weights: bytes, dtype: np.dtype[Any], result: np.dtype[Any], cval: float
) -> tuple[Array, tuple[Array, ...] | None, type]:
    """(weights without those that are none, the vectors to pass along axes with instead, what sums are made in)."""
    w = np.frombuffer(weights).reshape(shape)
    w = np.where(np.abs(w) > SKIPPED, w, 0)
    summed = summed_in(dtype, result, [w], cval)
    in_vectors = summed is np.float32 and w.size >= LEAST and bool(w.all())
    return w, vectors_of(w) if in_vectors else None, summed


def vectors_of(w: Array) -> tuple[Array, ...] | None:
    """A vector for each axis, whose product the weights are to the rounding of float32; or None."""
    at = tuple(map(int, np.unravel_index(np.abs(w).argmax(), w.shape)))
    largest = w[at]
    lines = (np.moveaxis(w, axis, -1)[at[:axis] + at[axis + 1 :]] for axis in range(w.ndim))
    found = [line / largest if axis else line for axis, line in enumerate(lines)]
    product = found[0]
    for v in found[1:]:
        product = np.multiply.outer(product, v)
    return tuple(found) if (np.abs(product - w) <= np.finfo(np.float32).eps / 2 * np.abs(w)).all() else None


@replayed
@documented
def correlate(
    input: npt.ArrayLike,
    weights: npt.ArrayLike,
    output: Any = None,
    mode: str = "reflect",
    cval: complex = 0.0,
    origin: int | Sequence[int] = 0,
    *,
    axes: tuple[int, ...] | None = None,
) -> Array:
    """
    Correlate with weights over all axes; scipy.ndimage.correlate. Complex arrays and weights too; weights are conjugated.

    A weight of 0 leaves its cell out: a NaN below it reaches no result.

    Parameters
    ----------
    {input}
    weights : array_like
        As many axes as `input`, or as `axes` names.
    {output}
    {mode}
    {cval}
    {origins}
    {axes}

    {result}

    {raises}

    {examples}
    >>> x = np.arange(12).reshape(3, 4)
    >>> fc.ndimage.correlate(x, [[0, 1, 0], [1, -4, 1], [0, 1, 0]])
    array([[ 5,  4,  4,  3],
           [ 1,  0,  0, -1],
           [-3, -4, -4, -5]])
    """
    return over_window(input, weights, output, mode, cval, origin, axes, convolution=False)


@replayed
@documented
def convolve(
    input: npt.ArrayLike,
    weights: npt.ArrayLike,
    output: Any = None,
    mode: str = "reflect",
    cval: complex = 0.0,
    origin: int | Sequence[int] = 0,
    *,
    axes: tuple[int, ...] | None = None,
) -> Array:
    """
    Convolve with weights over all axes; scipy.ndimage.convolve. Complex arrays and weights too.

    A weight of 0 leaves its cell out: a NaN below it reaches no result.

    Parameters
    ----------
    {input}
    weights : array_like
        As many axes as `input`, or as `axes` names.
    {output}
    {mode}
    {cval}
    {origins}
    {axes}

    {result}

    {raises}

    {examples}
    >>> fc.ndimage.convolve(np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]]), [[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    array([[1, 2, 3],
           [4, 5, 6],
           [7, 8, 9]])
    """
    return over_window(input, weights, output, mode, cval, origin, axes, convolution=True)
