"""Max pools undone: values back to the cells that their indices name."""

from collections.abc import Sequence

import numpy.typing as npt

from fastconv.operations.types import Array, Ints
from fastconv.plans.plan import UnpoolPlan
from fastconv.plans.planning import plan_unpool
from fastconv.problem.arguments import array


def max_unpool1d(
    x: npt.ArrayLike,
    indices: npt.ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    output_size: Sequence[int] | None = None,
    *,
    layout: str | None = None,
    implementation: str = "auto",
    out: Array | None = None,
) -> Array:
    """Undo a max pool over 1 axis: each value goes to the cell that its index names, the others are zero.

    Parameters
    ----------
    x : array, shape (batch, channels, length) or (channels, length)
        Values, as `max_pool1d` gave them.
    indices : array of int, of the shape of `x`
        Cells counted inside one output plane. Of equal indices the last one's value stays.
    kernel_size, stride, padding
        Those of the pool; the output has (L - 1) * stride - 2 * padding + kernel_size cells on an axis.
    output_size : sequence of int, optional
        Another output size, less than one stride from the usual one; its last 1 entry counts.
    layout, implementation, out
        As in `max_pool1d`.

    Returns
    -------
    array, shape (batch, channels, out length)
        Of the dtype of `x`.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit, or an index lies outside the output plane.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.array([[1.0, 5.0, 2.0, 4.0]])
    >>> y, where = fc.max_pool1d(x, 2, return_indices=True)
    >>> fc.max_unpool1d(y, where, 2)
    array([[0., 5., 0., 4.]])
    """
    x = array("x", x)
    plan = plan_unpool(
        "max_unpool1d",
        1,
        x.shape,
        x.dtype,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        output_size=output_size,
        layout=layout,
        implementation=implementation,
    )
    result: Array = plan(x, indices, out)
    return result


def plan_max_unpool1d(
    x_shape: Sequence[int],
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    output_size: Sequence[int] | None = None,
    *,
    layout: str | None = None,
    implementation: str = "auto",
    dtype: npt.DTypeLike | None = None,
) -> UnpoolPlan:
    """Plan a `max_unpool1d` for values of one shape and dtype, float32 by default.

    ``plan(x, indices, out=None)`` gives the result.

    Parameters
    ----------
    x_shape : sequence of int
        The shape of the values to come, with or without a batch axis.
    kernel_size, stride, padding, output_size, layout, implementation
        As in `max_unpool1d`.
    dtype : dtype, optional
        Of the values to come.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.array([[1.0, 5.0, 2.0, 4.0]])
    >>> y, where = fc.max_pool1d(x, 2, return_indices=True)
    >>> plan = fc.plan_max_unpool1d(y.shape, 2, dtype=y.dtype)
    >>> plan(y, where)
    array([[0., 5., 0., 4.]])
    """
    return plan_unpool(
        "max_unpool1d",
        1,
        x_shape,
        dtype,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        output_size=output_size,
        layout=layout,
        implementation=implementation,
    )


def max_unpool2d(
    x: npt.ArrayLike,
    indices: npt.ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    output_size: Sequence[int] | None = None,
    *,
    layout: str | None = None,
    implementation: str = "auto",
    out: Array | None = None,
) -> Array:
    """Undo a max pool over 2 axes: each value goes to the cell that its index names, the others are zero.

    Parameters
    ----------
    x : array, shape (batch, channels, height, width) or (channels, height, width)
        Values, as `max_pool2d` gave them.
    indices : array of int, of the shape of `x`
        Cells counted inside one output plane. Of equal indices the last one's value stays.
    kernel_size, stride, padding
        Those of the pool; the output has (L - 1) * stride - 2 * padding + kernel_size cells on an axis.
    output_size : sequence of int, optional
        Another output size, less than one stride from the usual one; its last 2 entries count.
    layout, implementation, out
        As in `max_pool2d`.

    Returns
    -------
    array, shape (batch, channels, out height, width)
        Of the dtype of `x`.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit, or an index lies outside the output plane.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.arange(4.0).reshape(1, 2, 2)
    >>> y, where = fc.max_pool2d(x, 2, return_indices=True)
    >>> fc.max_unpool2d(y, where, 2)
    array([[[0., 0.],
            [0., 3.]]])
    """
    x = array("x", x)
    plan = plan_unpool(
        "max_unpool2d",
        2,
        x.shape,
        x.dtype,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        output_size=output_size,
        layout=layout,
        implementation=implementation,
    )
    result: Array = plan(x, indices, out)
    return result


def plan_max_unpool2d(
    x_shape: Sequence[int],
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    output_size: Sequence[int] | None = None,
    *,
    layout: str | None = None,
    implementation: str = "auto",
    dtype: npt.DTypeLike | None = None,
) -> UnpoolPlan:
    """Plan a `max_unpool2d` for values of one shape and dtype, float32 by default.

    ``plan(x, indices, out=None)`` gives the result.

    Parameters
    ----------
    x_shape : sequence of int
        The shape of the values to come, with or without a batch axis.
    kernel_size, stride, padding, output_size, layout, implementation
        As in `max_unpool2d`.
    dtype : dtype, optional
        Of the values to come.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.arange(4.0).reshape(1, 2, 2)
    >>> y, where = fc.max_pool2d(x, 2, return_indices=True)
    >>> plan = fc.plan_max_unpool2d(y.shape, 2, dtype=y.dtype)
    >>> plan(y, where)
    array([[[0., 0.],
            [0., 3.]]])
    """
    return plan_unpool(
        "max_unpool2d",
        2,
        x_shape,
        dtype,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        output_size=output_size,
        layout=layout,
        implementation=implementation,
    )


def max_unpool3d(
    x: npt.ArrayLike,
    indices: npt.ArrayLike,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    output_size: Sequence[int] | None = None,
    *,
    layout: str | None = None,
    implementation: str = "auto",
    out: Array | None = None,
) -> Array:
    """Undo a max pool over 3 axes: each value goes to the cell that its index names, the others are zero.

    Parameters
    ----------
    x : array, shape (batch, channels, depth, height, width) or (channels, depth, height, width)
        Values, as `max_pool3d` gave them.
    indices : array of int, of the shape of `x`
        Cells counted inside one output plane. Of equal indices the last one's value stays.
    kernel_size, stride, padding
        Those of the pool; the output has (L - 1) * stride - 2 * padding + kernel_size cells on an axis.
    output_size : sequence of int, optional
        Another output size, less than one stride from the usual one; its last 3 entries count.
    layout, implementation, out
        As in `max_pool3d`.

    Returns
    -------
    array, shape (batch, channels, out depth, height, width)
        Of the dtype of `x`.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit, or an index lies outside the output plane.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.arange(8.0).reshape(1, 2, 2, 2)
    >>> y, where = fc.max_pool3d(x, 2, return_indices=True)
    >>> fc.max_unpool3d(y, where, 2)
    array([[[[0., 0.],
             [0., 0.]],
    <BLANKLINE>
            [[0., 0.],
             [0., 7.]]]])
    """
    x = array("x", x)
    plan = plan_unpool(
        "max_unpool3d",
        3,
        x.shape,
        x.dtype,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        output_size=output_size,
        layout=layout,
        implementation=implementation,
    )
    result: Array = plan(x, indices, out)
    return result


def plan_max_unpool3d(
    x_shape: Sequence[int],
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    output_size: Sequence[int] | None = None,
    *,
    layout: str | None = None,
    implementation: str = "auto",
    dtype: npt.DTypeLike | None = None,
) -> UnpoolPlan:
    """Plan a `max_unpool3d` for values of one shape and dtype, float32 by default.

    ``plan(x, indices, out=None)`` gives the result.

    Parameters
    ----------
    x_shape : sequence of int
        The shape of the values to come, with or without a batch axis.
    kernel_size, stride, padding, output_size, layout, implementation
        As in `max_unpool3d`.
    dtype : dtype, optional
        Of the values to come.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.arange(8.0).reshape(1, 2, 2, 2)
    >>> y, where = fc.max_pool3d(x, 2, return_indices=True)
    >>> plan = fc.plan_max_unpool3d(y.shape, 2, dtype=y.dtype)
    >>> plan(y, where)
    array([[[[0., 0.],
             [0., 0.]],
    <BLANKLINE>
            [[0., 0.],
             [0., 7.]]]])
    """
    return plan_unpool(
        "max_unpool3d",
        3,
        x_shape,
        dtype,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        output_size=output_size,
        layout=layout,
        implementation=implementation,
    )
