"""Plans of transposed convolutions."""

from collections.abc import Sequence

import numpy.typing as npt

from fastconv.operations.types import ActivationLike, Ints, Padding
from fastconv.plans.plan import ConvPlan
from fastconv.plans.planning import plan_convolution


def plan_conv_transpose1d(
    x_shape: Sequence[int],
    w: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
    *,
    activation: ActivationLike = None,
    layout: str | None = None,
    implementation: str = "auto",
    dtype: npt.DTypeLike | None = None,
) -> ConvPlan:
    """Plan a `conv_transpose1d` for inputs of one shape; see `plan_conv2d`.

    Parameters
    ----------
    x_shape : sequence of int
        The shape of the inputs to come, with or without a batch axis.
    w, bias, stride, padding, output_padding, groups, dilation, activation, layout, implementation
        As in `conv_transpose1d`. The plan keeps its own packed copy of the weights.
        ``implementation="measure"`` times the candidates here and keeps the fastest.
    dtype : dtype, optional
        Of the inputs to come; that of `w` by default.

    Returns
    -------
    ConvPlan
        ``plan(x, out=None)`` gives the result.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.array([[1.0, 2.0]])
    >>> w = np.array([[[1.0, 10.0]]])
    >>> plan = fc.plan_conv_transpose1d(x.shape, w, stride=2)
    >>> plan(x)
    array([[ 1., 10.,  2., 20.]])
    """
    return plan_convolution(
        "conv_transpose1d",
        1,
        x_shape,
        dtype,
        w,
        bias,
        stride=stride,
        padding=padding,
        output_padding=output_padding,
        groups=groups,
        dilation=dilation,
        padding_mode="zeros",
        activation=activation,
        layout=layout,
        implementation=implementation,
    )


def plan_conv_transpose2d(
    x_shape: Sequence[int],
    w: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
    *,
    activation: ActivationLike = None,
    layout: str | None = None,
    implementation: str = "auto",
    dtype: npt.DTypeLike | None = None,
) -> ConvPlan:
    """Plan a `conv_transpose2d` for inputs of one shape; see `plan_conv2d`.

    Parameters
    ----------
    x_shape : sequence of int
        The shape of the inputs to come, with or without a batch axis.
    w, bias, stride, padding, output_padding, groups, dilation, activation, layout, implementation
        As in `conv_transpose2d`. The plan keeps its own packed copy of the weights.
        ``implementation="measure"`` times the candidates here and keeps the fastest.
    dtype : dtype, optional
        Of the inputs to come; that of `w` by default.

    Returns
    -------
    ConvPlan
        ``plan(x, out=None)`` gives the result.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.ones((1, 2, 2))
    >>> w = np.ones((1, 1, 2, 2))
    >>> plan = fc.plan_conv_transpose2d(x.shape, w)
    >>> plan(x)
    array([[[1., 2., 1.],
            [2., 4., 2.],
            [1., 2., 1.]]])
    """
    return plan_convolution(
        "conv_transpose2d",
        2,
        x_shape,
        dtype,
        w,
        bias,
        stride=stride,
        padding=padding,
        output_padding=output_padding,
        groups=groups,
        dilation=dilation,
        padding_mode="zeros",
        activation=activation,
        layout=layout,
        implementation=implementation,
    )


def plan_conv_transpose3d(
    x_shape: Sequence[int],
    w: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
    *,
    activation: ActivationLike = None,
    layout: str | None = None,
    implementation: str = "auto",
    dtype: npt.DTypeLike | None = None,
) -> ConvPlan:
    """Plan a `conv_transpose3d` for inputs of one shape; see `plan_conv2d`.

    Parameters
    ----------
    x_shape : sequence of int
        The shape of the inputs to come, with or without a batch axis.
    w, bias, stride, padding, output_padding, groups, dilation, activation, layout, implementation
        As in `conv_transpose3d`. The plan keeps its own packed copy of the weights.
        ``implementation="measure"`` times the candidates here and keeps the fastest.
    dtype : dtype, optional
        Of the inputs to come; that of `w` by default.

    Returns
    -------
    ConvPlan
        ``plan(x, out=None)`` gives the result.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.ones((1, 1, 1, 2))
    >>> w = np.ones((1, 1, 1, 1, 2))
    >>> plan = fc.plan_conv_transpose3d(x.shape, w)
    >>> plan(x)
    array([[[[1., 2., 1.]]]])
    """
    return plan_convolution(
        "conv_transpose3d",
        3,
        x_shape,
        dtype,
        w,
        bias,
        stride=stride,
        padding=padding,
        output_padding=output_padding,
        groups=groups,
        dilation=dilation,
        padding_mode="zeros",
        activation=activation,
        layout=layout,
        implementation=implementation,
    )
