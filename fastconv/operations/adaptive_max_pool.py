"""Max pools to a given output size."""

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from fastconv.operations.types import OutputSize
from fastconv.plans.plan import PoolPlan
from fastconv.plans.planning import plan_pool, pooled


def adaptive_max_pool1d(
    x: npt.ArrayLike,
    output_size: OutputSize,
    return_indices: bool = False,
    *,
    layout: str | None = None,
    implementation: str = "auto",
    out: Any = None,
) -> Any:
    """The largest cell of windows that share `x` out among `output_size` outputs over 1 axis.

    Output o of O covers the cells floor(o * L / O) to ceil((o + 1) * L / O) - 1 of an axis of L.

    Parameters
    ----------
    x : array, shape (batch, channels, length) or (channels, length)
        With layout "NLC", (batch, length, channels).
    output_size : int or 1 ints
        Outputs per axis; None keeps the size of `x` on that axis.
    return_indices : bool
        Whether to return also where each value was found, counted inside one plane of `x`.
    layout, implementation, out
        As in `max_pool1d`.

    Returns
    -------
    array, shape (batch, channels, *output_size)
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
    >>> fc.adaptive_max_pool1d(x, 2)
    array([[5., 4.]])
    """
    return pooled(
        "adaptive_max_pool1d",
        1,
        x,
        out,
        kind="max",
        output_size=output_size,
        return_indices=return_indices,
        layout=layout,
        implementation=implementation,
    )


def plan_adaptive_max_pool1d(
    x_shape: Sequence[int],
    output_size: OutputSize,
    return_indices: bool = False,
    *,
    layout: str | None = None,
    implementation: str = "auto",
    dtype: npt.DTypeLike | None = None,
) -> PoolPlan:
    """Plan an `adaptive_max_pool1d` for inputs of one shape and dtype, float32 by default.

    ``plan(x, out=None)`` gives the result.

    Parameters
    ----------
    x_shape : sequence of int
        The shape of the inputs to come, with or without a batch axis.
    output_size, return_indices, layout, implementation
        As in `adaptive_max_pool1d`.
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
    >>> plan = fc.plan_adaptive_max_pool1d(x.shape, 2, dtype=x.dtype)
    >>> plan(x)
    array([[5., 4.]])
    """
    return plan_pool(
        "adaptive_max_pool1d",
        1,
        x_shape,
        dtype,
        kind="max",
        output_size=output_size,
        return_indices=return_indices,
        layout=layout,
        implementation=implementation,
    )


def adaptive_max_pool2d(
    x: npt.ArrayLike,
    output_size: OutputSize,
    return_indices: bool = False,
    *,
    layout: str | None = None,
    implementation: str = "auto",
    out: Any = None,
) -> Any:
    """The largest cell of windows that share `x` out among `output_size` outputs over 2 axes.

    Output o of O covers the cells floor(o * L / O) to ceil((o + 1) * L / O) - 1 of an axis of L.

    Parameters
    ----------
    x : array, shape (batch, channels, height, width) or (channels, height, width)
        With layout "NHWC", (batch, height, width, channels).
    output_size : int or 2 ints
        Outputs per axis; None keeps the size of `x` on that axis.
    return_indices : bool
        Whether to return also where each value was found, counted inside one plane of `x`.
    layout, implementation, out
        As in `max_pool2d`.

    Returns
    -------
    array, shape (batch, channels, *output_size)
        Of the dtype of `x`, and an int64 array of indices with return_indices.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.arange(16.0).reshape(1, 4, 4)
    >>> fc.adaptive_max_pool2d(x, 2)
    array([[[ 5.,  7.],
            [13., 15.]]])
    """
    return pooled(
        "adaptive_max_pool2d",
        2,
        x,
        out,
        kind="max",
        output_size=output_size,
        return_indices=return_indices,
        layout=layout,
        implementation=implementation,
    )


def plan_adaptive_max_pool2d(
    x_shape: Sequence[int],
    output_size: OutputSize,
    return_indices: bool = False,
    *,
    layout: str | None = None,
    implementation: str = "auto",
    dtype: npt.DTypeLike | None = None,
) -> PoolPlan:
    """Plan an `adaptive_max_pool2d` for inputs of one shape and dtype, float32 by default.

    ``plan(x, out=None)`` gives the result.

    Parameters
    ----------
    x_shape : sequence of int
        The shape of the inputs to come, with or without a batch axis.
    output_size, return_indices, layout, implementation
        As in `adaptive_max_pool2d`.
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
    >>> plan = fc.plan_adaptive_max_pool2d(x.shape, 2, dtype=x.dtype)
    >>> plan(x)
    array([[[ 5.,  7.],
            [13., 15.]]])
    """
    return plan_pool(
        "adaptive_max_pool2d",
        2,
        x_shape,
        dtype,
        kind="max",
        output_size=output_size,
        return_indices=return_indices,
        layout=layout,
        implementation=implementation,
    )


def adaptive_max_pool3d(
    x: npt.ArrayLike,
    output_size: OutputSize,
    return_indices: bool = False,
    *,
    layout: str | None = None,
    implementation: str = "auto",
    out: Any = None,
) -> Any:
    """The largest cell of windows that share `x` out among `output_size` outputs over 3 axes.

    Output o of O covers the cells floor(o * L / O) to ceil((o + 1) * L / O) - 1 of an axis of L.

    Parameters
    ----------
    x : array, shape (batch, channels, depth, height, width) or (channels, depth, height, width)
        With layout "NDHWC", (batch, depth, height, width, channels).
    output_size : int or 3 ints
        Outputs per axis; None keeps the size of `x` on that axis.
    return_indices : bool
        Whether to return also where each value was found, counted inside one plane of `x`.
    layout, implementation, out
        As in `max_pool3d`.

    Returns
    -------
    array, shape (batch, channels, *output_size)
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
    >>> fc.adaptive_max_pool3d(x, 1)
    array([[[[7.]]]])
    """
    return pooled(
        "adaptive_max_pool3d",
        3,
        x,
        out,
        kind="max",
        output_size=output_size,
        return_indices=return_indices,
        layout=layout,
        implementation=implementation,
    )


def plan_adaptive_max_pool3d(
    x_shape: Sequence[int],
    output_size: OutputSize,
    return_indices: bool = False,
    *,
    layout: str | None = None,
    implementation: str = "auto",
    dtype: npt.DTypeLike | None = None,
) -> PoolPlan:
    """Plan an `adaptive_max_pool3d` for inputs of one shape and dtype, float32 by default.

    ``plan(x, out=None)`` gives the result.

    Parameters
    ----------
    x_shape : sequence of int
        The shape of the inputs to come, with or without a batch axis.
    output_size, return_indices, layout, implementation
        As in `adaptive_max_pool3d`.
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
    >>> plan = fc.plan_adaptive_max_pool3d(x.shape, 1, dtype=x.dtype)
    >>> plan(x)
    array([[[[7.]]]])
    """
    return plan_pool(
        "adaptive_max_pool3d",
        3,
        x_shape,
        dtype,
        kind="max",
        output_size=output_size,
        return_indices=return_indices,
        layout=layout,
        implementation=implementation,
    )
