"""Gaussian filters."""

import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.kernels.keeping import remembered
from fastconv.ndimage import arguments as check
from fastconv.ndimage.documentation import documented
from fastconv.ndimage.passes import Line, in_passes_of_parts
from fastconv.plans.replaying import replayed
from fastconv.problem.convolutions import Array

NEGLIGIBLE = 1e-15  # the deviation of a Gaussian filter that leaves its axis out


@remembered
def gaussian_weights(sigma: float, order: int, radius: int) -> Array:
    """The Gaussian of deviation `sigma` at -radius .. radius, of sum 1, or its derivative of an order, for a correlation.

    The derivative of q(x) g(x), of a polynomial q, is (q'(x) - q(x) x / sigma^2) g(x).
    """
    if order < 0:
        raise ValueError("order must be non-negative")
    x = np.arange(-radius, radius + 1)
    g: Array = np.exp(-0.5 / (sigma * sigma) * x**2)
    g = g / g.sum()
    if order == 0:
        return g
    powers = np.arange(order + 1)
    step = np.diag(powers[1:], 1) + np.diag(np.ones(order) / -(sigma * sigma), -1)
    q = np.zeros(order + 1)
    q[0] = 1
    for _ in range(order):
        q = step.dot(q)
    derivative: Array = (x[:, None] ** powers).dot(q) * g
    return derivative[::-1]


def gaussian_line(axis: int, sigma: Any, order: Any, mode: Any, truncate: float, radius: Any) -> Line:
    """The pass of a Gaussian filter along one axis."""
    deviation = float(sigma)
    reach = int(truncate * deviation + 0.5) if radius is None else radius
    if not isinstance(reach, numbers.Integral) or reach < 0:
        raise ValueError("Radius must be a nonnegative integer.")
    return Line(axis, gaussian_weights(deviation, order, int(reach)), 0, check.border(mode))


@replayed
@documented
def gaussian_filter1d(
    input: npt.ArrayLike,
    sigma: float,
    axis: int = -1,
    order: int = 0,
    output: Any = None,
    mode: str = "reflect",
    cval: complex = 0.0,
    truncate: float = 4.0,
    *,
    radius: int | None = None,
) -> Array:
    """
    Smooth along one axis with a Gaussian, or its derivative; scipy.ndimage.gaussian_filter1d. Complex arrays too.

    Parameters
    ----------
    {input}
    sigma : float
        Standard deviation in cells.
    {axis}
    order : int
        0 for the Gaussian, n for its n-th derivative.
    {output}
    {mode}
    {cval}
    truncate : float
        Deviations at which the weights end: they reach int(truncate * sigma + 0.5) cells to either side.
    radius : int, optional
        Cells that they reach to either side, whatever `truncate` is.

    {result}

    {raises}

    {examples}
    >>> fc.ndimage.gaussian_filter1d([1.0, 2.0, 3.0, 4.0, 5.0], 1).round(4)
    array([1.427 , 2.0678, 3.    , 3.9322, 4.573 ])
    """
    x = check.image(input, complex_too=True)
    line = gaussian_line(check.axis_of(axis, x.ndim), sigma, order, mode, truncate, radius)
    return in_passes_of_parts(x, [line], check.result(output, x, x.dtype.kind == "c"), cval)


@replayed
@documented
def gaussian_filter(
    input: npt.ArrayLike,
    sigma: float | Sequence[float],
    order: int | Sequence[int] = 0,
    output: Any = None,
    mode: str | Sequence[str] = "reflect",
    cval: complex = 0.0,
    truncate: float = 4.0,
    *,
    radius: int | Sequence[int] | None = None,
    axes: tuple[int, ...] | None = None,
) -> Array:
    """
    Smooth with a Gaussian, or its derivatives; scipy.ndimage.gaussian_filter. Complex arrays too.

    Each axis is a pass, the first axis first, and each pass is stored in the dtype of the output.

    Parameters
    ----------
    {input}
    sigma : float or sequence of float
        Standard deviation in cells, for all axes or for each one; an axis of 0 is left as it is.
    order : int or sequence of int
        0 for the Gaussian, n for its n-th derivative, for all axes or for each one.
    {output}
    {modes}
    {cval}
    truncate : float
        Deviations at which the weights end: they reach int(truncate * sigma + 0.5) cells to either side.
    radius : int or sequence of int, optional
        Cells that they reach to either side, whatever `truncate` is.
    {axes}

    {result}

    {raises}

    {examples}
    >>> x = np.zeros((5, 5)); x[2, 2] = 100
    >>> fc.ndimage.gaussian_filter(x, sigma=1).round(1)
    array([[ 0.3,  1.4,  2.3,  1.4,  0.3],
           [ 1.4,  5.9,  9.7,  5.9,  1.4],
           [ 2.3,  9.7, 15.9,  9.7,  2.3],
           [ 1.4,  5.9,  9.7,  5.9,  1.4],
           [ 0.3,  1.4,  2.3,  1.4,  0.3]])
    """
    x = check.image(input, complex_too=True)
    along = check.axes_of(axes, x.ndim)
    sequences = [check.sequence(value, len(along)) for value in (sigma, order, mode, radius)]
    lines = [
        gaussian_line(axis, deviation, n, border, truncate, reach)
        for axis, deviation, n, border, reach in zip(along, *sequences, strict=True)
        if deviation > NEGLIGIBLE
    ]
    return in_passes_of_parts(x, lines, check.result(output, x, x.dtype.kind == "c"), cval)
