"""Lp pools over one, two and three axes."""

from collections.abc import Sequence

import numpy.typing as npt

from fastconv.operations.types import Array, Ints, Padding
from fastconv.plans.plan import PoolPlan
from fastconv.plans.planning import plan_pool, pooled


def lp_pool1d(
    x: npt.ArrayLike,
    norm_type: float,
    kernel_size: Ints,
    stride: Ints | None = None,
    ceil_mode: bool = False,
    *,
    padding: Padding = 0,
    dilation: Ints = 1,
    layout: str | None = None,
    implementation: str = "auto",
    out: Array | None = None,
) -> Array:
    r"""The norm, (sum of \|x\|**p) ** (1 / p), of each window over 1 axis; see `lp_pool2d`, whose parameters these are.

    Parameters
    ----------
    x : array, shape (batch, channels, length) or (channels, length)
        With layout "NLC", (batch, length, channels).
    norm_type, kernel_size, stride, padding, dilation, ceil_mode, ...
        As in `lp_pool2d`, with 1 entry where it takes one per axis.

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
    >>> fc.lp_pool1d(x, 1, 2)
    array([[6., 6.]])
    """
    return pooled(
        "lp_pool1d",
        1,
        x,
        out,
        kind="lp",
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
        norm_type=norm_type,
        layout=layout,
        implementation=implementation,
    )


def plan_lp_pool1d(
    x_shape: Sequence[int],
    norm_type: float,
    kernel_size: Ints,
    stride: Ints | None = None,
    ceil_mode: bool = False,
    *,
    padding: Padding = 0,
    dilation: Ints = 1,
    layout: str | None = None,
    implementation: str = "auto",
    dtype: npt.DTypeLike | None = None,
) -> PoolPlan:
    """Plan a `lp_pool1d` for inputs of one shape and dtype, float32 by default.

    ``plan(x, out=None)`` gives the result.

    Parameters
    ----------
    x_shape : sequence of int
        The shape of the inputs to come, with or without a batch axis.
    norm_type, kernel_size, stride, padding, dilation, ...
        As in `lp_pool1d`.
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
    >>> plan = fc.plan_lp_pool1d(x.shape, 1, 2, dtype=x.dtype)
    >>> plan(x)
    array([[6., 6.]])
    """
    return plan_pool(
        "lp_pool1d",
        1,
        x_shape,
        dtype,
        kind="lp",
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
        norm_type=norm_type,
        layout=layout,
        implementation=implementation,
    )


def lp_pool2d(
    x: npt.ArrayLike,
    norm_type: float,
    kernel_size: Ints,
    stride: Ints | None = None,
    ceil_mode: bool = False,
    *,
    padding: Padding = 0,
    dilation: Ints = 1,
    layout: str | None = None,
    implementation: str = "auto",
    out: Array | None = None,
) -> Array:
    r"""The norm, (sum of \|x\|**p) ** (1 / p), of each window over 2 axes.

    Parameters
    ----------
    x : array, shape (batch, channels, height, width) or (channels, height, width)
        With layout "NHWC", (batch, height, width, channels).
    norm_type : float
        The p, above 0; infinity takes the largest absolute value.
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
    layout : {"NCHW", "NHWC"}, optional
        Order of the axes.
    implementation : str
        "auto", or a name from ``implementations("lp_pool2d")``.
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
    Float types only.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.arange(16.0).reshape(1, 4, 4)
    >>> fc.lp_pool2d(x, 1, 2)
    array([[[10., 18.],
            [42., 50.]]])
    """
    return pooled(
        "lp_pool2d",
        2,
        x,
        out,
        kind="lp",
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
        norm_type=norm_type,
        layout=layout,
        implementation=implementation,
    )


def plan_lp_pool2d(
    x_shape: Sequence[int],
    norm_type: float,
    kernel_size: Ints,
    stride: Ints | None = None,
    ceil_mode: bool = False,
    *,
    padding: Padding = 0,
    dilation: Ints = 1,
    layout: str | None = None,
    implementation: str = "auto",
    dtype: npt.DTypeLike | None = None,
) -> PoolPlan:
    """Plan a `lp_pool2d` for inputs of one shape and dtype, float32 by default.

    ``plan(x, out=None)`` gives the result.

    Parameters
    ----------
    x_shape : sequence of int
        The shape of the inputs to come, with or without a batch axis.
    norm_type, kernel_size, stride, padding, dilation, ...
        As in `lp_pool2d`.
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
    >>> plan = fc.plan_lp_pool2d(x.shape, 1, 2, dtype=x.dtype)
    >>> plan(x)
    array([[[10., 18.],
            [42., 50.]]])
    """
    return plan_pool(
        "lp_pool2d",
        2,
        x_shape,
        dtype,
        kind="lp",
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
        norm_type=norm_type,
        layout=layout,
        implementation=implementation,
    )


def lp_pool3d(
    x: npt.ArrayLike,
    norm_type: float,
    kernel_size: Ints,
    stride: Ints | None = None,
    ceil_mode: bool = False,
    *,
    padding: Padding = 0,
    dilation: Ints = 1,
    layout: str | None = None,
    implementation: str = "auto",
    out: Array | None = None,
) -> Array:
    r"""The norm, (sum of \|x\|**p) ** (1 / p), of each window over 3 axes; see `lp_pool2d`, whose parameters these are.

    Parameters
    ----------
    x : array, shape (batch, channels, depth, height, width) or (channels, depth, height, width)
        With layout "NDHWC", (batch, depth, height, width, channels).
    norm_type, kernel_size, stride, padding, dilation, ceil_mode, ...
        As in `lp_pool2d`, with 3 entries where it takes one per axis.

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
    >>> fc.lp_pool3d(x, 1, 2)
    array([[[[28.]]]])
    """
    return pooled(
        "lp_pool3d",
        3,
        x,
        out,
        kind="lp",
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
        norm_type=norm_type,
        layout=layout,
        implementation=implementation,
    )


def plan_lp_pool3d(
    x_shape: Sequence[int],
    norm_type: float,
    kernel_size: Ints,
    stride: Ints | None = None,
    ceil_mode: bool = False,
    *,
    padding: Padding = 0,
    dilation: Ints = 1,
    layout: str | None = None,
    implementation: str = "auto",
    dtype: npt.DTypeLike | None = None,
) -> PoolPlan:
    """Plan a `lp_pool3d` for inputs of one shape and dtype, float32 by default.

    ``plan(x, out=None)`` gives the result.

    Parameters
    ----------
    x_shape : sequence of int
        The shape of the inputs to come, with or without a batch axis.
    norm_type, kernel_size, stride, padding, dilation, ...
        As in `lp_pool3d`.
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
    >>> plan = fc.plan_lp_pool3d(x.shape, 1, 2, dtype=x.dtype)
    >>> plan(x)
    array([[[[28.]]]])
    """
    return plan_pool(
        "lp_pool3d",
        3,
        x_shape,
        dtype,
        kind="lp",
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
        norm_type=norm_type,
        layout=layout,
        implementation=implementation,
    )
