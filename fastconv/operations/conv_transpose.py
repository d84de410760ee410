"""Transposed convolutions over one, two and three axes."""

import numpy.typing as npt

from fastconv.operations.types import ActivationLike, Array, Ints, Padding
from fastconv.plans.planning import convolve


def conv_transpose1d(
    x: npt.ArrayLike,
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
    out: Array | None = None,
) -> Array:
    """The adjoint of a convolution over 1 axis; see `conv_transpose2d`, whose parameters these are.

    Parameters
    ----------
    x : array, shape (batch, channels, length) or (channels, length)
        With layout "NLC", (batch, length, channels).
    w : array, shape (channels, out_channels / groups, kernel)
        With layout "NLC", (channels, kernel, out_channels / groups).
    bias, stride, padding, output_padding, groups, dilation, activation, layout, implementation, out
        As in `conv_transpose2d`, with 1 entry where it takes one per axis.

    Returns
    -------
    array, shape (batch, out_channels, out length)
        Of dtype ``numpy.result_type(x, w)``, or `out`.

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
    >>> fc.conv_transpose1d(x, w, stride=2)
    array([[ 1., 10.,  2., 20.]])
    """
    return convolve(
        "conv_transpose1d",
        1,
        x,
        w,
        bias,
        out,
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


def conv_transpose2d(
    x: npt.ArrayLike,
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
    out: Array | None = None,
) -> Array:
    """The adjoint of a convolution over 2 axes: every input cell adds its kernel, scaled, to the output.

    The output has (L - 1) * stride - 2 * padding + dilation * (k - 1) + output_padding + 1 cells on an axis of L.

    Parameters
    ----------
    x : array, shape (batch, channels, height, width) or (channels, height, width)
        With layout "NHWC", (batch, height, width, channels). Never written to.
    w : array, shape (channels, out_channels / groups, kernel height, width)
        With layout "NHWC", (channels, kernel height, width, out_channels / groups).
    bias : array, shape (out_channels,), optional
        Added to every position of its output channel.
    stride, dilation : int or 2 ints
        Output cells between the kernels of two inputs, and between the taps of a kernel.
    padding : int, 2 ints, 2 pairs (before, after), "valid", "same" or "same_lower"
        Cells cut off the full output. "same" gives L * stride outputs.
    output_padding : int or 2 ints
        Cells added to the output's end, below stride or dilation; 0 with "same".
    groups : int
        Channels are split into so many groups, each with its own kernels.
    activation, layout, implementation, out
        As in `conv2d`.

    Returns
    -------
    array, shape (batch, out_channels, out height, width)
        Of dtype ``numpy.result_type(x, w)``, or `out`.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit; the message names it, what came and what is allowed.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.ones((1, 2, 2))
    >>> w = np.ones((1, 1, 2, 2))
    >>> fc.conv_transpose2d(x, w)
    array([[[1., 2., 1.],
            [2., 4., 2.],
            [1., 2., 1.]]])
    """
    return convolve(
        "conv_transpose2d",
        2,
        x,
        w,
        bias,
        out,
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


def conv_transpose3d(
    x: npt.ArrayLike,
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
    out: Array | None = None,
) -> Array:
    """The adjoint of a convolution over 3 axes; see `conv_transpose2d`, whose parameters these are.

    Parameters
    ----------
    x : array, shape (batch, channels, depth, height, width) or (channels, depth, height, width)
        With layout "NDHWC", (batch, depth, height, width, channels).
    w : array, shape (channels, out_channels / groups, kernel depth, height, width)
        With layout "NDHWC", (channels, kernel depth, height, width, out_channels / groups).
    bias, stride, padding, output_padding, groups, dilation, activation, layout, implementation, out
        As in `conv_transpose2d`, with 3 entries where it takes one per axis.

    Returns
    -------
    array, shape (batch, out_channels, out depth, height, width)
        Of dtype ``numpy.result_type(x, w)``, or `out`.

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
    >>> fc.conv_transpose3d(x, w)
    array([[[[1., 2., 1.]]]])
    """
    return convolve(
        "conv_transpose3d",
        3,
        x,
        w,
        bias,
        out,
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
