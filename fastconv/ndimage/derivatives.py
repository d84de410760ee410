"""Derivatives of images: differences of neighbours, and sums of second derivatives."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.ndimage import arguments as check
from fastconv.ndimage.correlation import correlate1d, correlated
from fastconv.ndimage.documentation import documented
from fastconv.ndimage.filters import gaussian_filter
from fastconv.ndimage.passes import Line, in_passes_of_parts
from fastconv.plans.replaying import replayed
from fastconv.problem.borders import Border
from fastconv.problem.convolutions import Array

CHUNK = 1 << 15  # elements that are combined while they are in the cache


def difference(input: Any, axis: Any, output: Any, mode: Any, cval: Any, smoothing: Sequence[int]) -> Array:
    """The difference of neighbours along an axis, smoothed along the others."""
    x = check.image(input, complex_too=True)
    axis = check.axis_of(axis, x.ndim)
    borders = [check.border(one) for one in check.sequence(mode, x.ndim)]
    smooth = np.array(smoothing, float)
    lines = [Line(axis, np.array([-1.0, 0.0, 1.0]), 0, borders[axis])]
    lines += [Line(i, smooth, 0, borders[i]) for i in range(x.ndim) if i != axis]
    return in_passes_of_parts(x, lines, check.result(output, x, x.dtype.kind == "c"), cval)


@replayed
@documented
def prewitt(
    input: npt.ArrayLike, axis: int = -1, output: Any = None, mode: str | Sequence[str] = "reflect", cval: complex = 0.0
) -> Array:
    """
    Differences -1, 0, 1 along one axis, summed over three cells along the others; scipy.ndimage.prewitt. Complex arrays too.

    Parameters
    ----------
    {input}
    {axis}
    {output}
    {modes}
    {cval}

    {result}

    {raises}

    {examples}
    >>> fc.ndimage.prewitt(np.array([[0, 1, 4], [0, 1, 4], [0, 1, 4]]))
    array([[ 3, 12,  9],
           [ 3, 12,  9],
           [ 3, 12,  9]])
    """
    return difference(input, axis, output, mode, cval, (1, 1, 1))


@replayed
@documented
def sobel(
    input: npt.ArrayLike, axis: int = -1, output: Any = None, mode: str | Sequence[str] = "reflect", cval: complex = 0.0
) -> Array:
    """
    Differences -1, 0, 1 along one axis, smoothed by 1, 2, 1 along the others; scipy.ndimage.sobel. Complex arrays too.

    Parameters
    ----------
    {input}
    {axis}
    {output}
    {modes}
    {cval}

    {result}

    {raises}

    {examples}
    >>> fc.ndimage.sobel(np.array([[0, 1, 4], [0, 1, 4], [0, 1, 4]]))
    array([[ 4, 16, 12],
           [ 4, 16, 12],
           [ 4, 16, 12]])
    """
    return difference(input, axis, output, mode, cval, (1, 2, 1))


# Sums of second derivatives --------------------------------------------------------------------------------------------------


def in_chunks(combine: Callable[..., Any], *arrays: Array) -> None:
    """combine(*arrays), on parts of them that stay in the cache where all are laid out alike."""
    if not all(a.flags.c_contiguous for a in arrays):
        combine(*arrays)
        return
    flat = [a.reshape(-1) for a in arrays]
    for first in range(0, flat[0].size, CHUNK):
        combine(*(a[first : first + CHUNK] for a in flat))


@documented
def generic_laplace(
    input: npt.ArrayLike,
    derivative2: Callable[..., Any],
    output: Any = None,
    mode: str | Sequence[str] = "reflect",
    cval: complex = 0.0,
    extra_arguments: Sequence[Any] = (),
    extra_keywords: Mapping[str, Any] | None = None,
    *,
    axes: tuple[int, ...] | None = None,
) -> Array:
    """
    The sum of second derivatives along axes; scipy.ndimage.generic_laplace. Complex arrays too.

    Parameters
    ----------
    {input}
    derivative2 : callable
        ``derivative2(input, axis, output, mode, cval, *extra_arguments, **extra_keywords)`` gives the second derivative
        along an axis; `output` is an array to write, or a dtype.
    {output}
    {modes}
    {cval}
    extra_arguments, extra_keywords : sequence, mapping
        Further arguments of `derivative2`.
    {axes}

    {result}

    {raises}

    {examples}
    >>> def second(x, axis, output, mode, cval):
    ...     return fc.ndimage.correlate1d(x, [1, -2, 1], axis, output, mode, cval)
    >>> fc.ndimage.generic_laplace(np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]]), second)
    array([[ 0,  1,  0],
           [ 1, -4,  1],
           [ 0,  1,  0]])
    """
    x = check.image(input, complex_too=True)
    to = check.result(output, x)
    along = check.axes_of(axes, x.ndim)
    if not along:
        to[...] = x
        return to
    modes, keywords = check.sequence(mode, len(along)), extra_keywords or {}
    source = x.copy() if len(along) > 1 and np.may_share_memory(x, to) else x
    derivative2(source, along[0], to, modes[0], cval, *extra_arguments, **keywords)
    for axis, border in zip(along[1:], modes[1:], strict=True):
        other = derivative2(source, axis, to.dtype, border, cval, *extra_arguments, **keywords)
        in_chunks(lambda total, one: np.add(total, one, out=total), to, other)
    return to


@replayed
@documented
def laplace(
    input: npt.ArrayLike,
    output: Any = None,
    mode: str | Sequence[str] = "reflect",
    cval: complex = 0.0,
    *,
    axes: tuple[int, ...] | None = None,
) -> Array:
    """
    The sum of second differences 1, -2, 1 along all axes; scipy.ndimage.laplace. Complex arrays too.

    Parameters
    ----------
    {input}
    {output}
    {modes}
    {cval}
    {axes}

    {result}

    {raises}

    {examples}
    >>> fc.ndimage.laplace(np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]]))
    array([[ 0,  1,  0],
           [ 1, -4,  1],
           [ 0,  1,  0]])
    """
    x = check.image(input, complex_too=True)
    along = check.axes_of(axes, x.ndim)
    borders = [check.border(one) for one in check.sequence(mode, len(along))]
    to = check.result(output, x)
    if along and x.dtype.kind != "c" and is_one_sum(x, to, cval):
        return at_once(x, along, borders, to, cval)

    def second(source: Any, axis: int, to: Any, mode: str, cval: Any) -> Array:
        return correlate1d(source, (1, -2, 1), axis, to, mode, cval)

    return generic_laplace(x, second, to, mode, cval, axes=along)


def is_one_sum(x: Array, output: Array, cval: Any) -> bool:
    """Whether second differences along all axes may be summed before they are stored: only rounding tells, or nothing."""
    small = x.dtype.kind in "biu" and x.dtype.itemsize <= 2 and cval == np.rint(cval)
    return small or (x.dtype.kind == output.dtype.kind == "f" and x.dtype.itemsize <= output.dtype.itemsize)


@lru_cache(maxsize=8)
def second_differences(axes: int) -> Array:
    """The sum of 1, -2, 1 along so many axes, as weights."""
    weights, middle = np.zeros((3,) * axes), (1,) * axes
    for i in range(axes):
        for at in (0, 2):
            weights[(*middle[:i], at, *middle[i + 1 :])] = 1
    weights[middle] = -2 * axes
    return weights


def at_once(x: Array, axes: Sequence[int], borders: Sequence[Border], output: Array, cval: Any) -> Array:
    """The sum of second differences in one correlation over all axes. A border that differs by axis is met along axes alone."""
    weights = second_differences(len(axes))
    order = sorted(range(len(axes)), key=axes.__getitem__)
    along, around = [axes[i] for i in order], [borders[i] for i in order]
    return correlated(x, weights, along, [0] * len(along), around, output, cval)


@documented
def gaussian_laplace(
    input: npt.ArrayLike,
    sigma: float | Sequence[float],
    output: Any = None,
    mode: str | Sequence[str] = "reflect",
    cval: complex = 0.0,
    *,
    axes: tuple[int, ...] | None = None,
    **kwargs: Any,
) -> Array:
    """
    The sum of second derivatives of the image smoothed by a Gaussian; scipy.ndimage.gaussian_laplace. Complex arrays too.

    Parameters
    ----------
    {input}
    sigma : float or sequence of float
        Standard deviation in cells, for all axes or for each one.
    {output}
    {modes}
    {cval}
    {axes}
    **kwargs
        Further arguments of `gaussian_filter`.

    {result}

    {raises}

    {examples}
    >>> x = np.zeros((5, 5)); x[2, 2] = 100
    >>> fc.ndimage.gaussian_laplace(x, sigma=1)[2].round(1)
    array([  5.5,  -9.6, -31.8,  -9.6,   5.5])
    """
    x = check.image(input, complex_too=True)
    along = check.axes_of(axes, x.ndim)
    deviations = check.over_all_axes(check.sequence(sigma, len(along)), along, x.ndim, 0)

    def second(source: Any, axis: int, to: Any, mode: str, cval: Any, deviations: Any, **options: Any) -> Array:
        order = [2 if i == axis else 0 for i in range(x.ndim)]
        return gaussian_filter(source, deviations, order, to, mode, cval, **options)

    return generic_laplace(x, second, output, mode, cval, (deviations,), kwargs, axes=along)
