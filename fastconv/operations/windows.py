"""Windows as columns, and columns added back."""

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from fastconv.operations.types import Array, Ints, Padding
from fastconv.plans.plan import Plan
from fastconv.plans.planning import plan_windows
from fastconv.problem.arguments import array


def unfold(
    x: npt.ArrayLike,
    kernel_size: Ints,
    dilation: Ints = 1,
    padding: Padding = 0,
    stride: Ints = 1,
    *,
    implementation: str = "auto",
    out: Array | None = None,
) -> Array:
    """Every window of `x` as a column: im2col.

    Parameters
    ----------
    x : array, shape (batch, channels, ...) or (channels, ...)
        One to three spatial axes; the length of `kernel_size` tells how many.
    kernel_size : int or ints
        Taps of a window per axis. An int means as many axes as a batched `x` has.
    dilation, padding, stride
        As in `conv2d`.
    implementation : str
        "auto", or a name from ``implementations("unfold")``.
    out : array, optional
        Where to write the result.

    Returns
    -------
    array, shape (batch, channels * taps, windows)
        Windows in row-major order, rows ordered by channel, then tap.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.unfold(np.arange(4.0).reshape(1, 1, 4), (2,))
    array([[[0., 1., 2.],
            [1., 2., 3.]]])
    """
    x = array("x", x)
    plan = plan_unfold(x.shape, kernel_size, dilation, padding, stride, implementation=implementation, dtype=x.dtype)
    result: Array = plan(x, out)
    return result


def plan_unfold(
    x_shape: Sequence[int],
    kernel_size: Ints,
    dilation: Ints = 1,
    padding: Padding = 0,
    stride: Ints = 1,
    *,
    implementation: str = "auto",
    dtype: npt.DTypeLike | None = None,
) -> Plan:
    """Plan an `unfold` for inputs of one shape and dtype, float32 by default; ``plan(x, out=None)`` gives the result.

    Parameters
    ----------
    x_shape : sequence of int
        The shape of the inputs to come.
    kernel_size, dilation, padding, stride, implementation
        As in `unfold`.
    dtype : dtype, optional
        Of the inputs to come.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.plan_unfold((1, 3, 8, 8), 3).out_shape
    (1, 27, 36)
    """
    options: dict[str, Any] = {"kernel_size": kernel_size, "dilation": dilation, "padding": padding, "stride": stride}
    return plan_windows("unfold", x_shape, dtype, implementation=implementation, **options)


def fold(
    x: npt.ArrayLike,
    output_size: Sequence[int],
    kernel_size: Ints,
    dilation: Ints = 1,
    padding: Padding = 0,
    stride: Ints = 1,
    *,
    implementation: str = "auto",
    out: Array | None = None,
) -> Array:
    """Add columns back to the windows that they came from: col2im, the adjoint of `unfold`.

    Parameters
    ----------
    x : array, shape (batch, channels * taps, windows) or (channels * taps, windows)
        Columns in the order of `unfold`.
    output_size : sequence of int
        Size of the image per axis; its length tells the number of axes.
    kernel_size, dilation, padding, stride
        Those of the `unfold`.
    implementation : str
        "auto", or a name from ``implementations("fold")``.
    out : array, optional
        Where to write the result.

    Returns
    -------
    array, shape (batch, channels, *output_size)
        Cells under several windows hold the sum.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.fold(np.array([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]]), (4,), (2,))
    array([[0., 2., 4., 3.]])
    """
    x = array("x", x)
    plan = plan_fold(x.shape, output_size, kernel_size, dilation, padding, stride, implementation=implementation, dtype=x.dtype)
    result: Array = plan(x, out)
    return result


def plan_fold(
    x_shape: Sequence[int],
    output_size: Sequence[int],
    kernel_size: Ints,
    dilation: Ints = 1,
    padding: Padding = 0,
    stride: Ints = 1,
    *,
    implementation: str = "auto",
    dtype: npt.DTypeLike | None = None,
) -> Plan:
    """Plan a `fold` for columns of one shape and dtype, float32 by default; ``plan(x, out=None)`` gives the result.

    Parameters
    ----------
    x_shape : sequence of int
        The shape of the columns to come.
    output_size, kernel_size, dilation, padding, stride, implementation
        As in `fold`.
    dtype : dtype, optional
        Of the columns to come.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.plan_fold((1, 27, 36), (8, 8), 3).out_shape
    (1, 3, 8, 8)
    """
    options: dict[str, Any] = {"kernel_size": kernel_size, "dilation": dilation, "padding": padding, "stride": stride}
    return plan_windows("fold", x_shape, dtype, implementation=implementation, output_size=output_size, **options)
