"""Pools over whole maps."""

from collections.abc import Sequence

import numpy.typing as npt

from fastconv.operations.types import Array, pooled_rank
from fastconv.plans.plan import PoolPlan
from fastconv.plans.planning import plan_pool, pooled
from fastconv.problem.arguments import array, shape


def global_avg_pool(
    x: npt.ArrayLike, *, layout: str | None = None, implementation: str = "auto", out: Array | None = None
) -> Array:
    """The mean of each whole map, over one to three axes, which stay as axes of one cell.

    Parameters
    ----------
    x : array, shape (batch, channels, ...)
        With a batch axis, unless `layout` tells the number of axes.
    layout : str, optional
        "NCL", "NCHW", "NCDHW" or a channels-last one; channels first by default.
    implementation, out
        As in `avg_pool2d`.

    Returns
    -------
    array, shape (batch, channels, 1, ...)
        Of the dtype of `x`.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit, or a map has no cells.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.arange(8.0).reshape(1, 2, 2, 2)
    >>> fc.global_avg_pool(x)
    array([[[[1.5]],
    <BLANKLINE>
            [[5.5]]]])
    """
    x = array("x", x)
    rank, size = pooled_rank(x.shape, layout)
    return pooled(
        "global_avg_pool",
        rank,
        x,
        out,
        kind="avg",
        kernel_size=size,
        stride=1,
        padding=0,
        dilation=1,
        ceil_mode=False,
        layout=layout,
        implementation=implementation,
    )


def plan_global_avg_pool(
    x_shape: Sequence[int], *, layout: str | None = None, implementation: str = "auto", dtype: npt.DTypeLike | None = None
) -> PoolPlan:
    """Plan a `global_avg_pool` for inputs of one shape and dtype, float32 by default.

    ``plan(x, out=None)`` gives the result.

    Parameters
    ----------
    x_shape : sequence of int
        The shape of the inputs to come.
    layout, implementation
        As in `global_avg_pool`.
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
    >>> plan = fc.plan_global_avg_pool(x.shape, dtype=x.dtype)
    >>> plan(x)
    array([[[[1.5]],
    <BLANKLINE>
            [[5.5]]]])
    """
    rank, size = pooled_rank(shape("x_shape", x_shape), layout)
    return plan_pool(
        "global_avg_pool",
        rank,
        x_shape,
        dtype,
        kind="avg",
        kernel_size=size,
        stride=1,
        padding=0,
        dilation=1,
        ceil_mode=False,
        layout=layout,
        implementation=implementation,
    )


def global_max_pool(
    x: npt.ArrayLike, *, layout: str | None = None, implementation: str = "auto", out: Array | None = None
) -> Array:
    """The largest cell of each whole map, over one to three axes, which stay as axes of one cell.

    Parameters
    ----------
    x : array, shape (batch, channels, ...)
        With a batch axis, unless `layout` tells the number of axes.
    layout : str, optional
        "NCL", "NCHW", "NCDHW" or a channels-last one; channels first by default.
    implementation, out
        As in `max_pool2d`.

    Returns
    -------
    array, shape (batch, channels, 1, ...)
        Of the dtype of `x`.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit, or a map has no cells.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.arange(8.0).reshape(1, 2, 2, 2)
    >>> fc.global_max_pool(x)
    array([[[[3.]],
    <BLANKLINE>
            [[7.]]]])
    """
    x = array("x", x)
    rank, size = pooled_rank(x.shape, layout)
    return pooled(
        "global_max_pool",
        rank,
        x,
        out,
        kind="max",
        kernel_size=size,
        stride=1,
        padding=0,
        dilation=1,
        ceil_mode=False,
        layout=layout,
        implementation=implementation,
    )


def plan_global_max_pool(
    x_shape: Sequence[int], *, layout: str | None = None, implementation: str = "auto", dtype: npt.DTypeLike | None = None
) -> PoolPlan:
    """Plan a `global_max_pool` for inputs of one shape and dtype, float32 by default.

    ``plan(x, out=None)`` gives the result.

    Parameters
    ----------
    x_shape : sequence of int
        The shape of the inputs to come.
    layout, implementation
        As in `global_max_pool`.
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
    >>> plan = fc.plan_global_max_pool(x.shape, dtype=x.dtype)
    >>> plan(x)
    array([[[[3.]],
    <BLANKLINE>
            [[7.]]]])
    """
    rank, size = pooled_rank(shape("x_shape", x_shape), layout)
    return plan_pool(
        "global_max_pool",
        rank,
        x_shape,
        dtype,
        kind="max",
        kernel_size=size,
        stride=1,
        padding=0,
        dilation=1,
        ceil_mode=False,
        layout=layout,
        implementation=implementation,
    )
