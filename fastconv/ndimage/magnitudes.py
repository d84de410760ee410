"""Magnitudes of gradients: the root of the sum of squared derivatives along axes."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.ndimage import arguments as check
from fastconv.ndimage.derivatives import in_chunks
from fastconv.ndimage.documentation import documented
from fastconv.ndimage.filters import gaussian_filter
from fastconv.problem.convolutions import Array


@documented
def generic_gradient_magnitude(
    input: npt.ArrayLike,
    derivative: Callable[..., Any],
    output: Any = None,
    mode: str | Sequence[str] = "reflect",
    cval: complex = 0.0,
    extra_arguments: Sequence[Any] = (),
    extra_keywords: Mapping[str, Any] | None = None,
    *,
    axes: tuple[int, ...] | None = None,
) -> Array:
    """
    The root of the sum of squared derivatives along axes; scipy.ndimage.generic_gradient_magnitude. Complex arrays too.

    Parameters
    ----------
    {input}
    derivative : callable
        ``derivative(input, axis, output, mode, cval, *extra_arguments, **extra_keywords)`` gives the derivative along an axis;
        `output` is an array to write, or a dtype.
    {output}
    {modes}
    {cval}
    extra_arguments, extra_keywords : sequence, mapping
        Further arguments of `derivative`.
    {axes}

    {result}

    {raises}

    {examples}
    >>> x = np.array([[0.0, 3.0, 6.0], [4.0, 7.0, 10.0], [8.0, 11.0, 14.0]])
    >>> fc.ndimage.generic_gradient_magnitude(x, fc.ndimage.sobel)[1, 1]
    np.float64(40.0)
    """
    x = check.image(input, complex_too=True)
    to = check.result(output, x)
    along = check.axes_of(axes, x.ndim)
    if not along:
        to[...] = x
        return to
    modes, keywords = check.sequence(mode, len(along)), extra_keywords or {}
    source = x.copy() if len(along) > 1 and np.may_share_memory(x, to) else x
    derivative(source, along[0], to, modes[0], cval, *extra_arguments, **keywords)
    in_chunks(square, to)
    for axis, border in zip(along[1:], modes[1:], strict=True):
        other = derivative(source, axis, to.dtype, border, cval, *extra_arguments, **keywords)
        in_chunks(add_square if axis != along[-1] else end_magnitude, to, other)
    if len(along) == 1:
        in_chunks(root, to)
    return to


def square(total: Array) -> None:
    """total = total**2"""
    np.multiply(total, total, out=total)


def add_square(total: Array, other: Array) -> None:
    """total += other**2, which other becomes"""
    square(other)
    np.add(total, other, out=total)


def root(total: Array) -> None:
    """total = its square root"""
    if total.dtype.kind in "iu" and total.dtype.itemsize == 1:
        np.take(roots(total.dtype), total.view(np.uint8), out=total, mode="clip")
    else:
        np.sqrt(total, out=total, casting="unsafe")


@lru_cache(maxsize=2)
def roots(dtype: np.dtype[Any]) -> Array:
    """The square roots of all numbers of 8 bits, as NumPy stores them; by their bits."""
    every = np.arange(256, dtype=np.uint8).view(dtype)
    with np.errstate(invalid="ignore"):
        return np.sqrt(every, out=np.empty_like(every), casting="unsafe")


def end_magnitude(total: Array, other: Array) -> None:
    """total = the square root of total + other**2"""
    add_square(total, other)
    root(total)


@documented
def gaussian_gradient_magnitude(
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
    The length of the gradient of a smoothed image; scipy.ndimage.gaussian_gradient_magnitude. Complex arrays too.

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
    >>> x = np.arange(64.0).reshape(8, 8)
    >>> fc.ndimage.gaussian_gradient_magnitude(x, sigma=0.5)[4, 4].round(3)
    np.float64(6.934)
    """
    x = check.image(input, complex_too=True)

    def first(source: Any, axis: int, to: Any, mode: str, cval: Any, sigma: Any, **options: Any) -> Array:
        order = [1 if i == axis else 0 for i in range(x.ndim)]
        return gaussian_filter(source, sigma, order, to, mode, cval, **options)

    return generic_gradient_magnitude(x, first, output, mode, cval, (sigma,), kwargs, axes=axes)
