"""conv2d and its kin with the names, arguments and gradients of torch.nn.functional."""

from typing import Any

from torch import Tensor

from fastconv.torch.operators import Ints, convolve, convolve_transposed, pool_largest, pool_mean

CONVOLUTION = """
Correlate with a bank of kernels over {rank} axes: torch.nn.functional.conv{rank}d on fastconv.

Parameters
----------
input : Tensor, shape (batch, channels, ...) or (channels, ...)
    On the CPU, in either memory format; the result has the format of the input.
weight : Tensor, shape (out_channels, channels / groups, ...)
    Of the dtype of `input`.
bias : Tensor, shape (out_channels,), optional
    Added to each output channel.
stride, dilation : int or {rank} ints
    Cells between windows, and between the taps of a kernel.
padding : int, {rank} ints, "valid" or "same"
    Cells of zeros added on both sides.
groups : int
    Channels are split into so many groups, each with its own kernels.

Returns
-------
Tensor, shape (batch, out_channels, ...)
    Differentiable, by `input`, `weight` and `bias`, as often as is wished; torch.compile takes it as one operator.

Raises
------
ValueError, TypeError
    If an argument does not fit.

Examples
--------
>>> import torch
>>> import fastconv.torch
>>> x, w = torch.ones(1, 2, {ones}), torch.ones(3, 2, {threes}, requires_grad=True)
>>> y = fastconv.torch.conv{rank}d(x, w, padding=1)
>>> y.sum().backward()
>>> tuple(y.shape), tuple(w.grad.shape)
((1, 3, {ones}), (3, 2, {threes}))
"""
TRANSPOSED = """
The adjoint of a convolution over {rank} axes: torch.nn.functional.conv_transpose{rank}d on fastconv.

Parameters
----------
input : Tensor, shape (batch, channels, ...) or (channels, ...)
    On the CPU, in either memory format; the result has the format of the input.
weight : Tensor, shape (channels, out_channels / groups, ...)
    Of the dtype of `input`.
bias : Tensor, shape (out_channels,), optional
    Added to each output channel.
stride, dilation : int or {rank} ints
    Output cells between the kernels of two inputs, and between the taps of a kernel.
padding : int or {rank} ints
    Cells cut off both ends of the full output.
output_padding : int or {rank} ints
    Cells added to the output's end, below stride or dilation.
groups : int
    Channels are split into so many groups, each with its own kernels.

Returns
-------
Tensor, shape (batch, out_channels, ...)
    Differentiable, as often as is wished; torch.compile takes it as one operator.

Raises
------
ValueError, TypeError
    If an argument does not fit.

Examples
--------
>>> import torch
>>> import fastconv.torch
>>> x, w = torch.ones(1, 2, {ones}), torch.ones(2, 3, {threes})
>>> tuple(fastconv.torch.conv_transpose{rank}d(x, w, padding=1).shape)
(1, 3, {ones})
"""
LARGEST = """
The largest cell of each window over {rank} axes: torch.nn.functional.max_pool{rank}d on fastconv.

Parameters
----------
input : Tensor, shape (batch, channels, ...) or (channels, ...)
    On the CPU, in either memory format; the result has the format of the input.
kernel_size, stride, padding, dilation : int or {rank} ints
    Of the window; stride is kernel_size by default.
ceil_mode : bool
    Round the number of outputs up.
return_indices : bool
    Whether to return also where each value was found, counted inside one plane of `input`.

Returns
-------
Tensor, or (Tensor, Tensor of int64) with return_indices
    Differentiable, as often as is wished; torch.compile takes it as one operator.

Raises
------
ValueError, TypeError
    If an argument does not fit.

Examples
--------
>>> import torch
>>> import fastconv.torch
>>> tuple(fastconv.torch.max_pool{rank}d(torch.ones(1, 2, {ones}), 3).shape)
(1, 2, {thirds})
"""
MEAN = """
The mean of each window over {rank} axes: torch.nn.functional.avg_pool{rank}d on fastconv.

Parameters
----------
input : Tensor, shape (batch, channels, ...) or (channels, ...)
    On the CPU, in either memory format; the result has the format of the input.
kernel_size, stride, padding : int or {rank} ints
    Of the window; stride is kernel_size by default.
ceil_mode : bool
    Round the number of outputs up.
count_include_pad : bool
    Whether padding counts in the divisor.
divisor_override : int, optional
    Divides every sum, instead of a count.

Returns
-------
Tensor
    Differentiable, as often as is wished; torch.compile takes it as one operator.

Raises
------
ValueError, TypeError
    If an argument does not fit.

Examples
--------
>>> import torch
>>> import fastconv.torch
>>> tuple(fastconv.torch.avg_pool{rank}d(torch.ones(1, 2, {ones}), 3).shape)
(1, 2, {thirds})
"""


def _named(function: Any, name: str, rank: int, text: str) -> Any:
    """A function under its public name, with its documentation."""
    words = {"ones": ", ".join("6" * rank), "threes": ", ".join("3" * rank), "thirds": ", ".join("2" * rank), "rank": rank}
    function.__name__ = function.__qualname__ = name
    function.__doc__ = text.strip().format(**words)
    return function


def _convolution(rank: int) -> Any:
    def conv(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Ints = 1,
        padding: Ints | str = 0,
        dilation: Ints = 1,
        groups: int = 1,
    ) -> Tensor:
        return convolve(rank, input, weight, bias, stride, padding, dilation, groups)

    return _named(conv, f"conv{rank}d", rank, CONVOLUTION)


def _transposed(rank: int) -> Any:
    def conv_transpose(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Ints = 1,
        padding: Ints = 0,
        output_padding: Ints = 0,
        groups: int = 1,
        dilation: Ints = 1,
    ) -> Tensor:
        return convolve_transposed(rank, input, weight, bias, stride, padding, output_padding, groups, dilation)

    return _named(conv_transpose, f"conv_transpose{rank}d", rank, TRANSPOSED)


def _largest(rank: int) -> Any:
    def max_pool(
        input: Tensor,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Ints = 0,
        dilation: Ints = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        return pool_largest(rank, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)

    return _named(max_pool, f"max_pool{rank}d", rank, LARGEST)


def _mean(rank: int) -> Any:
    def avg_pool(
        input: Tensor,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Ints = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Tensor:
        return pool_mean(rank, input, kernel_size, stride, padding, bool(ceil_mode), count_include_pad, divisor_override)

    return _named(avg_pool, f"avg_pool{rank}d", rank, MEAN)


conv1d, conv2d, conv3d = map(_convolution, (1, 2, 3))
conv_transpose1d, conv_transpose2d, conv_transpose3d = map(_transposed, (1, 2, 3))
max_pool1d, max_pool2d, max_pool3d = map(_largest, (1, 2, 3))
avg_pool1d, avg_pool2d, avg_pool3d = map(_mean, (1, 2, 3))
