"""Average pools over one, two and three axes."""

from collections.abc import Sequence

import numpy.typing as npt

from fastconv.operations.types import Array, Ints, Padding
from fastconv.plans.plan import PoolPlan
from fastconv.plans.planning import plan_pool, pooled


def avg_pool1d(
    x: npt.ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    dilation: Ints = 1,
    layout: str | None = None,
    implementation: str = "auto",
    out: Array | None = None,
) -> Array:
    """The mean of each window over 1 axis; see `avg_pool2d`, whose parameters these are.

    Parameters
    ----------
    x : array, shape (batch, channels, length) or (channels, length)
        With layout "NLC", (batch, length, channels).
    kernel_size, stride, padding, dilation, ceil_mode, ...
        As in `avg_pool2d`, with 1 entry where it takes one per axis.

    Returns
    -------
    array, shape (batch, channels, out length)
        Of the dtype of `x`.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.array([[1.0, 5.0, 2.0, 4.0]])
    >>> fc.avg_pool1d(x, 2)
    array([[3., 3.]])
    """
    return pooled(
        "avg_pool1d",
        1,
        x,
        out,
        kind="avg",
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
        divisor_override=divisor_override,
        layout=layout,
        implementation=implementation,
    )


def plan_avg_pool1d(
    x_shape: Sequence[int],
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    dilation: Ints = 1,
    layout: str | None = None,
    implementation: str = "auto",
    dtype: npt.DTypeLike | None = None,
) -> PoolPlan:
    """Plan a `avg_pool1d` for inputs of one shape and dtype, float32 by default.

    ``plan(x, out=None)`` gives the result.

    Parameters
    ----------
    x_shape : sequence of int
        The shape of the inputs to come, with or without a batch axis.
    kernel_size, stride, padding, dilation, ...
        As in `avg_pool1d`.
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
    >>> plan = fc.plan_avg_pool1d(x.shape, 2, dtype=x.dtype)
    >>> plan(x)
    array([[3., 3.]])
    """
    return plan_pool(
        "avg_pool1d",
        1,
        x_shape,
        dtype,
        kind="avg",
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
        divisor_override=divisor_override,
        layout=layout,
        implementation=implementation,
    )


def avg_pool2d(
    x: npt.ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    dilation: Ints = 1,
    layout: str | None = None,
    implementation: str = "auto",
    out: Array | None = None,
) -> Array:
    """The mean of each window over 2 axes.

    Parameters
    ----------
    x : array, shape (batch, channels, height, width) or (channels, height, width)
        With layout "NHWC", (batch, height, width, channels).
    kernel_size : int or 2 ints
        Taps of a window.
    stride : int or 2 ints, optional
        Cells between windows; kernel_size by default.
    padding : int, 2 ints, 2 pairs (before, after), "valid", "same" or "same_lower"
        Cells added around `x`, at most half a window, of zeros.
    dilation : int or 2 ints
        Cells between the taps of a window.
    ceil_mode : bool
        Round the number of outputs up; a window that would start past the input and the padding before it is dropped.
    count_include_pad : bool
        Whether padding counts in the divisor; what hangs over it with ceil_mode never does.
    divisor_override : int, optional
        Divides every sum, instead of a count; not 0.
    layout : {"NCHW", "NHWC"}, optional
        Order of the axes.
    implementation : str
        "auto", or a name from ``implementations("avg_pool2d")``.
    out : array, optional
        Where to write the result.

    Returns
    -------
    array, shape (batch, channels, out height, width)
        Of the dtype of `x`.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit, or a window would hold nothing but padding.

    Notes
    -----
    Integers divide toward zero.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.arange(16.0).reshape(1, 4, 4)
    >>> fc.avg_pool2d(x, 2)
    array([[[ 2.5,  4.5],
            [10.5, 12.5]]])
    """
    return pooled(
        "avg_pool2d",
        2,
        x,
        out,
        kind="avg",
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
        divisor_override=divisor_override,
        layout=layout,
        implementation=implementation,
    )


def plan_avg_pool2d(
    x_shape: Sequence[int],
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    dilation: Ints = 1,
    layout: str | None = None,
    implementation: str = "auto",
    dtype: npt.DTypeLike | None = None,
) -> PoolPlan:
    """Plan a `avg_pool2d` for inputs of one shape and dtype, float32 by default.

    ``plan(x, out=None)`` gives the result.

    Parameters
    ----------
    x_shape : sequence of int
        The shape of the inputs to come, with or without a batch axis.
    kernel_size, stride, padding, dilation, ...
        As in `avg_pool2d`.
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
    >>> plan = fc.plan_avg_pool2d(x.shape, 2, dtype=x.dtype)
    >>> plan(x)
    array([[[ 2.5,  4.5],
            [10.5, 12.5]]])
    """
    return plan_pool(
        "avg_pool2d",
        2,
        x_shape,
        dtype,
        kind="avg",
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
        divisor_override=divisor_override,
        layout=layout,
        implementation=implementation,
    )


def avg_pool3d(
    x: npt.ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    dilation: Ints = 1,
    layout: str | None = None,
    implementation: str = "auto",
    out: Array | None = None,
) -> Array:
    """The mean of each window over 3 axes; see `avg_pool2d`, whose parameters these are.

    Parameters
    ----------
    x : array, shape (batch, channels, depth, height, width) or (channels, depth, height, width)
        With layout "NDHWC", (batch, depth, height, width, channels).
    kernel_size, stride, padding, dilation, ceil_mode, ...
        As in `avg_pool2d`, with 3 entries where it takes one per axis.

    Returns
    -------
    array, shape (batch, channels, out depth, height, width)
        Of the dtype of `x`.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.arange(8.0).reshape(1, 2, 2, 2)
    >>> fc.avg_pool3d(x, 2)
    array([[[[3.5]]]])
    """
    return pooled(
        "avg_pool3d",
        3,
        x,
        out,
        kind="avg",
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
        divisor_override=divisor_override,
        layout=layout,
        implementation=implementation,
    )


def plan_avg_pool3d(
    x_shape: Sequence[int],
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    dilation: Ints = 1,
    layout: str | None = None,
    implementation: str = "auto",
    dtype: npt.DTypeLike | None = None,
) -> PoolPlan:
    """Plan a `avg_pool3d` for inputs of one shape and dtype, float32 by default.

    ``plan(x, out=None)`` gives the result.

    Parameters
    ----------
    x_shape : sequence of int
        The shape of the inputs to come, with or without a batch axis.
    kernel_size, stride, padding, dilation, ...
        As in `avg_pool3d`.
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
    >>> plan = fc.plan_avg_pool3d(x.shape, 2, dtype=x.dtype)
    >>> plan(x)
    array([[[[3.5]]]])
    """
    return plan_pool(
        "avg_pool3d",
        3,
        x_shape,
        dtype,
        kind="avg",
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
        divisor_override=divisor_override,
        layout=layout,
        implementation=implementation,
    )
