"""Plans of convolutions."""

from collections.abc import Sequence

import numpy.typing as npt

from fastconv.operations.types import ActivationLike, Ints, Padding
from fastconv.plans.plan import ConvPlan
from fastconv.plans.planning import plan_convolution


def plan_conv1d(
    x_shape: Sequence[int],
    w: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    activation: ActivationLike = None,
    layout: str | None = None,
    implementation: str = "auto",
    dtype: npt.DTypeLike | None = None,
) -> ConvPlan:
    """Plan a `conv1d` for inputs of one shape: everything that does not depend on the data is done once.

    Parameters
    ----------
    x_shape : sequence of int
        The shape of the inputs to come, with or without a batch axis.
    w, bias, stride, padding, dilation, groups, padding_mode, activation, layout, implementation
        As in `conv1d`. The plan keeps its own packed copy of the weights.
        ``implementation="measure"`` times the candidates here and keeps the fastest.
    dtype : dtype, optional
        Of the inputs to come; that of `w` by default.

    Returns
    -------
    ConvPlan
        ``plan(x, out=None)`` gives the result; ``print(plan)`` tells what was decided. Immutable and thread-safe.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.arange(5.0)[None]
    >>> w = np.ones((1, 1, 3))
    >>> plan = fc.plan_conv1d(x.shape, w)
    >>> plan(x)
    array([[3., 6., 9.]])
    """
    return plan_convolution(
        "conv1d",
        1,
        x_shape,
        dtype,
        w,
        bias,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        output_padding=0,
        padding_mode=padding_mode,
        activation=activation,
        layout=layout,
        implementation=implementation,
    )


def plan_conv2d(
    x_shape: Sequence[int],
    w: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    activation: ActivationLike = None,
    layout: str | None = None,
    implementation: str = "auto",
    dtype: npt.DTypeLike | None = None,
) -> ConvPlan:
    """Plan a `conv2d` for inputs of one shape: everything that does not depend on the data is done once.

    Parameters
    ----------
    x_shape : sequence of int
        The shape of the inputs to come, with or without a batch axis.
    w, bias, stride, padding, dilation, groups, padding_mode, activation, layout, implementation
        As in `conv2d`. The plan keeps its own packed copy of the weights.
        ``implementation="measure"`` times the candidates here and keeps the fastest.
    dtype : dtype, optional
        Of the inputs to come; that of `w` by default.

    Returns
    -------
    ConvPlan
        ``plan(x, out=None)`` gives the result; ``print(plan)`` tells what was decided. Immutable and thread-safe.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.arange(16.0).reshape(1, 4, 4)
    >>> w = np.ones((1, 1, 3, 3))
    >>> plan = fc.plan_conv2d(x.shape, w)
    >>> plan(x)
    array([[[45., 54.],
            [81., 90.]]])
    """
    return plan_convolution(
        "conv2d",
        2,
        x_shape,
        dtype,
        w,
        bias,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        output_padding=0,
        padding_mode=padding_mode,
        activation=activation,
        layout=layout,
        implementation=implementation,
    )


def plan_conv3d(
    x_shape: Sequence[int],
    w: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    activation: ActivationLike = None,
    layout: str | None = None,
    implementation: str = "auto",
    dtype: npt.DTypeLike | None = None,
) -> ConvPlan:
    """Plan a `conv3d` for inputs of one shape: everything that does not depend on the data is done once.

    Parameters
    ----------
    x_shape : sequence of int
        The shape of the inputs to come, with or without a batch axis.
    w, bias, stride, padding, dilation, groups, padding_mode, activation, layout, implementation
        As in `conv3d`. The plan keeps its own packed copy of the weights.
        ``implementation="measure"`` times the candidates here and keeps the fastest.
    dtype : dtype, optional
        Of the inputs to come; that of `w` by default.

    Returns
    -------
    ConvPlan
        ``plan(x, out=None)`` gives the result; ``print(plan)`` tells what was decided. Immutable and thread-safe.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.ones((1, 2, 3, 3))
    >>> w = np.ones((1, 1, 2, 2, 2))
    >>> plan = fc.plan_conv3d(x.shape, w)
    >>> plan(x)
    array([[[[8., 8.],
             [8., 8.]]]])
    """
    return plan_convolution(
        "conv3d",
        3,
        x_shape,
        dtype,
        w,
        bias,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        output_padding=0,
        padding_mode=padding_mode,
        activation=activation,
        layout=layout,
        implementation=implementation,
    )
