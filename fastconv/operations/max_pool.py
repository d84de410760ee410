"""Max pools over one, two and three axes."""

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from fastconv.operations.types import Ints, Padding
from fastconv.plans.plan import PoolPlan
from fastconv.plans.planning import plan_pool, pooled


def max_pool1d(
    x: npt.ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    layout: str | None = None,
    implementation: str = "auto",
    out: Any = None,
) -> Any:
    """The largest cell of each window over 1 axis; see `max_pool2d`, whose parameters these are.

    Parameters
    ----------
    x : array, shape (batch, channels, length) or (channels, length)
        With layout "NLC", (batch, length, channels).
    kernel_size, stride, padding, dilation, ceil_mode, ...
        As in `max_pool2d`, with 1 entry where it takes one per axis.

    Returns
    -------
    array, shape (batch, channels, out length)
        Of the dtype of `x`, and an int64 array of indices with return_indices.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.array([[1.0, 5.0, 2.0, 4.0]])
    >>> fc.max_pool1d(x, 2)
    array([[5., 4.]])
    """
    return pooled(
        "max_pool1d",
        1,
        x,
        out,
        kind="max",
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
        return_indices=return_indices,
        layout=layout,
        implementation=implementation,
    )


def plan_max_pool1d(
    x_shape: Sequence[int],
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    layout: str | None = None,
    implementation: str = "auto",
    dtype: npt.DTypeLike | None = None,
) -> PoolPlan:
    """Plan a `max_pool1d` for inputs of one shape and dtype, float32 by default.

    ``plan(x, out=None)`` gives the result.

    Parameters
    ----------
    x_shape : sequence of int
        The shape of the inputs to come, with or without a batch axis.
    kernel_size, stride, padding, dilation, ...
        As in `max_pool1d`.
        ``implementation="measure"`` times the candidates here and keeps the fastest.
    dtype : dtype, optional
        Of the inputs to come.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.array([[1.0, 5.0, 2.0, 4.0]])
    >>> plan = fc.plan_max_pool1d(x.shape, 2, dtype=x.dtype)
    >>> plan(x)
    array([[5., 4.]])
    """
    return plan_pool(
        "max_pool1d",
        1,
        x_shape,
        dtype,
        kind="max",
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
        return_indices=return_indices,
        layout=layout,
        implementation=implementation,
    )


def max_pool2d(
    x: npt.ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    layout: str | None = None,
    implementation: str = "auto",
    out: Any = None,
) -> Any:
    """The largest cell of each window over 2 axes.

    Parameters
    ----------
    x : array, shape (batch, channels, height, width) or (channels, height, width)
        With layout "NHWC", (batch, height, width, channels).
    kernel_size : int or 2 ints
        Taps of a window.
    stride : int or 2 ints, optional
        Cells between windows; kernel_size by default.
    padding : int, 2 ints, 2 pairs (before, after), "valid", "same" or "same_lower"
        Cells added around `x`, at most half a window; they never win.
    dilation : int or 2 ints
        Cells between the taps of a window.
    ceil_mode : bool
        Round the number of outputs up; a window that would start past the input and the padding before it is dropped.
    return_indices : bool
        Whether to return also where each value was found, counted inside one plane of `x`.
    layout : {"NCHW", "NHWC"}, optional
        Order of the axes.
    implementation : str
        "auto", or a name from ``implementations("max_pool2d")``.
    out : array, optional
        Where to write the result; (values, indices) with return_indices.

    Returns
    -------
    array, shape (batch, channels, out height, width)
        Of the dtype of `x`, and an int64 array of indices with return_indices.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit, or a window would hold nothing but padding.

    Notes
    -----
    Ties go to the first cell in row-major order. A NaN wins over all else, and its index is the first NaN's.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.arange(16.0).reshape(1, 4, 4)
    >>> fc.max_pool2d(x, 2)
    array([[[ 5.,  7.],
            [13., 15.]]])
    """
    return pooled(
        "max_pool2d",
        2,
        x,
        out,
        kind="max",
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
        return_indices=return_indices,
        layout=layout,
        implementation=implementation,
    )


def plan_max_pool2d(
    x_shape: Sequence[int],
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    layout: str | None = None,
    implementation: str = "auto",
    dtype: npt.DTypeLike | None = None,
) -> PoolPlan:
    """Plan a `max_pool2d` for inputs of one shape and dtype, float32 by default.

    ``plan(x, out=None)`` gives the result.

    Parameters
    ----------
    x_shape : sequence of int
        The shape of the inputs to come, with or without a batch axis.
    kernel_size, stride, padding, dilation, ...
        As in `max_pool2d`.
        ``implementation="measure"`` times the candidates here and keeps the fastest.
    dtype : dtype, optional
        Of the inputs to come.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.arange(16.0).reshape(1, 4, 4)
    >>> plan = fc.plan_max_pool2d(x.shape, 2, dtype=x.dtype)
    >>> plan(x)
    array([[[ 5.,  7.],
            [13., 15.]]])
    """
    return plan_pool(
        "max_pool2d",
        2,
        x_shape,
        dtype,
        kind="max",
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
        return_indices=return_indices,
        layout=layout,
        implementation=implementation,
    )


def max_pool3d(
    x: npt.ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    layout: str | None = None,
    implementation: str = "auto",
    out: Any = None,
) -> Any:
    """The largest cell of each window over 3 axes; see `max_pool2d`, whose parameters these are.

    Parameters
    ----------
    x : array, shape (batch, channels, depth, height, width) or (channels, depth, height, width)
        With layout "NDHWC", (batch, depth, height, width, channels).
    kernel_size, stride, padding, dilation, ceil_mode, ...
        As in `max_pool2d`, with 3 entries where it takes one per axis.

    Returns
    -------
    array, shape (batch, channels, out depth, height, width)
        Of the dtype of `x`, and an int64 array of indices with return_indices.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.arange(8.0).reshape(1, 2, 2, 2)
    >>> fc.max_pool3d(x, 2)
    array([[[[7.]]]])
    """
    return pooled(
        "max_pool3d",
        3,
        x,
        out,
        kind="max",
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
        return_indices=return_indices,
        layout=layout,
        implementation=implementation,
    )


def plan_max_pool3d(
    x_shape: Sequence[int],
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    layout: str | None = None,
    implementation: str = "auto",
    dtype: npt.DTypeLike | None = None,
) -> PoolPlan:
    """Plan a `max_pool3d` for inputs of one shape and dtype, float32 by default.

    ``plan(x, out=None)`` gives the result.

    Parameters
    ----------
    x_shape : sequence of int
        The shape of the inputs to come, with or without a batch axis.
    kernel_size, stride, padding, dilation, ...
        As in `max_pool3d`.
        ``implementation="measure"`` times the candidates here and keeps the fastest.
    dtype : dtype, optional
        Of the inputs to come.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.arange(8.0).reshape(1, 2, 2, 2)
    >>> plan = fc.plan_max_pool3d(x.shape, 2, dtype=x.dtype)
    >>> plan(x)
    array([[[[7.]]]])
    """
    return plan_pool(
        "max_pool3d",
        3,
        x_shape,
        dtype,
        kind="max",
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
        return_indices=return_indices,
        layout=layout,
        implementation=implementation,
    )
