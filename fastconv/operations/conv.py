"""Convolutions and transposed convolutions over one, two and three axes."""

import numpy.typing as npt

from fastconv.operations.types import ActivationLike, Array, Ints, Padding
from fastconv.plans.planning import convolve


def conv1d(
    x: npt.ArrayLike,
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
    out: Array | None = None,
) -> Array:
    """Correlate `x` with the kernels `w` over 1 axis; see `conv2d`, whose parameters these are.

    Parameters
    ----------
    x : array, shape (batch, channels, length) or (channels, length)
        With layout "NLC", (batch, length, channels).
    w : array, shape (out_channels, channels / groups, kernel)
        With layout "NLC", (out_channels, kernel, channels / groups).
    bias, stride, padding, dilation, groups, padding_mode, activation, implementation, out
        As in `conv2d`, with 1 entry where it takes one per axis.
    layout : {"NCL", "NLC"}, optional
        Order of the axes of `x` and the result.

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
    >>> x = np.arange(5.0)[None]
    >>> w = np.ones((1, 1, 3))
    >>> fc.conv1d(x, w)
    array([[3., 6., 9.]])
    """
    return convolve(
        "conv1d",
        1,
        x,
        w,
        bias,
        out,
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


def conv2d(
    x: npt.ArrayLike,
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
    out: Array | None = None,
) -> Array:
    """Correlate `x` with the kernels `w` over 2 axes, as every deep-learning library does.

    y[n, k, p] = activation(bias[k] + sum over c, t of x[n, c, p * stride + t * dilation - padding] * w[k, c, t]). For the
    convolution of signal processing, numpy.convolve's, pass the kernels reversed along every spatial axis
    (``w[..., ::-1, ::-1]``) with ``padding`` one less than the kernel.

    Parameters
    ----------
    x : array, shape (batch, channels, height, width) or (channels, height, width)
        With a channels-last layout, (batch, height, width, channels). Never written to.
    w : array, shape (out_channels, channels / groups, kernel height, width)
        With a channels-last layout, (out_channels, kernel height, width, channels / groups).
    bias : array, shape (out_channels,), optional
        Added to every position of its output channel.
    stride, dilation : int or 2 ints
        Cells between windows, and between the taps of a window.
    padding : int, 2 ints, 2 pairs (before, after), "valid", "same" or "same_lower"
        Cells added around `x`. "same" gives ceil(L / stride) outputs with the odd cell at the end, "same_lower" at the start.
    groups : int
        Channels are split into so many groups, each convolved with its own kernels; as many as channels is depthwise.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        What the added cells hold.
    activation : str or tuple, optional
        "relu", "relu6", "leaky_relu", "silu", "hardswish", ("clip", low, high) or ("leaky_relu", slope), applied after the
        bias as the output is written.
    layout : {"NCHW", "NHWC"}, optional
        Order of the axes of `x` and the result; the first by default. Both are native.
    implementation : str
        "auto", or a name from ``implementations("conv2d")``.
    out : array, optional
        Where to write the result, of its shape and dtype and any strides; it must overlap no input.

    Returns
    -------
    array, shape (batch, out_channels, out height, width)
        Of dtype ``numpy.result_type(x, w)``, or `out`. Integers wrap; float16 is computed in float32 and rounded once.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit; the message names it, what came and what is allowed.

    Notes
    -----
    A NaN or inf in `x` reaches the outputs whose window holds it, and under "winograd", "strassen" and "fft" some near them.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.arange(16.0).reshape(1, 4, 4)
    >>> w = np.ones((1, 1, 3, 3))
    >>> fc.conv2d(x, w)
    array([[[45., 54.],
            [81., 90.]]])
    """
    return convolve(
        "conv2d",
        2,
        x,
        w,
        bias,
        out,
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


def conv3d(
    x: npt.ArrayLike,
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
    out: Array | None = None,
) -> Array:
    """Correlate `x` with the kernels `w` over 3 axes; see `conv2d`, whose parameters these are.

    Parameters
    ----------
    x : array, shape (batch, channels, depth, height, width) or (channels, depth, height, width)
        With layout "NDHWC", (batch, depth, height, width, channels).
    w : array, shape (out_channels, channels / groups, kernel depth, height, width)
        With layout "NDHWC", (out_channels, kernel depth, height, width, channels / groups).
    bias, stride, padding, dilation, groups, padding_mode, activation, implementation, out
        As in `conv2d`, with 3 entries where it takes one per axis.
    layout : {"NCDHW", "NDHWC"}, optional
        Order of the axes of `x` and the result.

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
    >>> x = np.ones((1, 2, 3, 3))
    >>> w = np.ones((1, 1, 2, 2, 2))
    >>> fc.conv3d(x, w)
    array([[[[8., 8.],
             [8., 8.]]]])
    """
    return convolve(
        "conv3d",
        3,
        x,
        w,
        bias,
        out,
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
