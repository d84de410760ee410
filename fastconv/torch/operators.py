"""Convolutions and pools as torch operators with gradients, which torch.compile takes as they are.

    conv(x, w)  ->  y               by x: conv_input(w, dy)     by w: conv_weight(x, dy)
    max_pool(x) ->  y, indices      by x: max_pool_input(indices, dy)
    avg_pool(x) ->  y               by x: avg_pool_input(dy)

A transposed convolution is conv_input. Each of the three of a convolution is linear in two arrays, and the gradient by one is
another of the three, so that gradients of gradients need no formula of their own.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

import fastconv as fc
from fastconv import grad
from fastconv.problem.convolutions import same_padding
from fastconv.torch.layers import FIRST, FORMATS, LAST, TO_FIRST, TO_LAST, is_last

Ints = int | Sequence[int]
STEPS = "SymInt[] stride, SymInt[] padding, SymInt[] dilation, SymInt groups"
WINDOW = "SymInt[] kernel_size, SymInt[] stride, SymInt[] padding"
AVERAGE = f"{WINDOW}, bool ceil_mode, bool count_include_pad, int? divisor_override"
SCHEMAS = {
    "conv": f"(Tensor x, Tensor w, Tensor? bias, {STEPS}) -> Tensor",
    "conv_input": f"(SymInt[] size, Tensor w, Tensor dy, {STEPS}) -> Tensor",
    "conv_weight": f"(Tensor x, SymInt[] size, Tensor dy, {STEPS}) -> Tensor",
    "max_pool": f"(Tensor x, {WINDOW}, SymInt[] dilation, bool ceil_mode) -> (Tensor, Tensor)",
    "max_pool_input": "(SymInt[] size, Tensor indices, Tensor dy) -> Tensor",
    "avg_pool": f"(Tensor x, {AVERAGE}) -> Tensor",
    "avg_pool_input": f"(SymInt[] size, Tensor dy, {AVERAGE}) -> Tensor",
}
_library = torch.library.Library("fastconv", "DEF")
for _name, _schema in SCHEMAS.items():
    _library.define(_name + _schema)
_ops = torch.ops.fastconv


# Memory ---------------------------------------------------------------------------------------------------------------


def read(x: Tensor, last: bool) -> np.ndarray[Any, Any]:
    """The array of a tensor's memory, channels last or first."""
    array: np.ndarray[Any, Any] = x.detach().numpy()
    return array.transpose(TO_LAST[x.ndim - 2]) if last else array


def tensor(y: np.ndarray[Any, Any], last: bool) -> Tensor:
    """The tensor of an array's memory."""
    return torch.from_numpy(y.transpose(TO_FIRST[y.ndim - 2]) if last else y)


def sizes(size: Sequence[int], last: bool) -> tuple[int, ...]:
    """A tensor's sizes in the order of its array."""
    return tuple(size[axis] for axis in TO_LAST[len(size) - 2]) if last else tuple(size)


def layout(rank: int, last: bool) -> str:
    """The name of an order of axes."""
    return (LAST if last else FIRST)[rank]


def pairs(flat: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """(before, after) of each axis, of all befores and then all afters."""
    half = len(flat) // 2
    return tuple(zip(flat[:half], flat[half:], strict=True))


def empty(like: Tensor, shape: Sequence[Any], last: bool) -> Tensor:
    """A tensor of a shape, in the order that a result has."""
    return like.new_empty(shape).contiguous(memory_format=FORMATS[len(shape) - 2]) if last else like.new_empty(shape)


# What runs ------------------------------------------------------------------------------------------------------------


def conv(x: Tensor, w: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any, groups: int) -> Tensor:
    """y of x and w."""
    rank, last = w.ndim - 2, is_last(x, w.ndim - 2)
    y = getattr(fc, f"conv{rank}d")(
        read(x, last),
        read(w, last),
        None if bias is None else bias.detach().numpy(),
        tuple(stride),
        pairs(padding),
        tuple(dilation),
        groups,
        layout=layout(rank, last),
    )
    return tensor(y, last)


def conv_input(size: Any, w: Tensor, dy: Tensor, stride: Any, padding: Any, dilation: Any, groups: int) -> Tensor:
    """dx of w and dy."""
    rank, last = w.ndim - 2, is_last(dy, w.ndim - 2)
    dx = getattr(grad, f"conv{rank}d_input")(
        sizes(size, last),
        read(w, last),
        read(dy, last),
        tuple(stride),
        pairs(padding),
        tuple(dilation),
        groups,
        layout=layout(rank, last),
    )
    return tensor(dx, last)


def conv_weight(x: Tensor, size: Any, dy: Tensor, stride: Any, padding: Any, dilation: Any, groups: int) -> Tensor:
    """dw of x and dy."""
    rank, last = x.ndim - 2, is_last(x, x.ndim - 2)
    dw = getattr(grad, f"conv{rank}d_weight")(
        read(x, last),
        sizes(size, last),
        read(dy, last),
        tuple(stride),
        pairs(padding),
        tuple(dilation),
        groups,
        layout=layout(rank, last),
    )
    return tensor(dw, last)


def max_pool(x: Tensor, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> tuple[Tensor, Tensor]:
    """The largest cells and where they are."""
    rank, last = x.ndim - 2, is_last(x, x.ndim - 2)
    window = (tuple(kernel_size), tuple(stride), tuple(padding), tuple(dilation), ceil_mode, True)
    y, where = getattr(fc, f"max_pool{rank}d")(read(x, last), *window, layout=layout(rank, last))
    return tensor(y, last), tensor(where, last)


def max_pool_input(size: Any, indices: Tensor, dy: Tensor) -> Tensor:
    """dx: what the winners of each cell are due."""
    rank, last = dy.ndim - 2, is_last(indices, dy.ndim - 2)
    find = getattr(grad, f"max_pool{rank}d_input")
    return tensor(find(sizes(size, last), read(indices, last), read(dy, last), layout=layout(rank, last)), last)


def avg_pool(
    x: Tensor, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool, count_include_pad: bool, divisor_override: Any
) -> Tensor:
    """The means of windows."""
    rank, last = x.ndim - 2, is_last(x, x.ndim - 2)
    window = (tuple(kernel_size), tuple(stride), tuple(padding), ceil_mode, count_include_pad, divisor_override)
    return tensor(getattr(fc, f"avg_pool{rank}d")(read(x, last), *window, layout=layout(rank, last)), last)


def avg_pool_input(size: Any, dy: Tensor, *window: Any) -> Tensor:
    """dx: what each cell gave to the means."""
    rank, last = dy.ndim - 2, is_last(dy, dy.ndim - 2)
    kernel_size, stride, padding, *rest = window
    given = (tuple(kernel_size), tuple(stride), tuple(padding), *rest)
    find = getattr(grad, f"avg_pool{rank}d_input")
    return tensor(find(sizes(size, last), read(dy, last), *given, layout=layout(rank, last)), last)


# What torch.compile sees ----------------------------------------------------------------------------------------------


def conv_shape(x: Tensor, w: Tensor, bias: Any, stride: Any, padding: Any, dilation: Any, groups: Any) -> Tensor:
    """A tensor like the result of conv."""
    axes = zip(x.shape[2:], w.shape[2:], stride, pairs(padding), dilation, strict=True)
    out = [(cells + sum(pair) - spread * (taps - 1) - 1) // step + 1 for cells, taps, step, pair, spread in axes]
    return empty(x, [x.shape[0], w.shape[0], *out], is_last(x, w.ndim - 2))


def pool_shape(x: Tensor, window: Any, dilation: Any, ceil_mode: bool) -> Tensor:
    """A tensor like the result of a pool."""
    out = []
    for cells, taps, step, pad, spread in zip(x.shape[2:], *window, dilation, strict=True):
        slack = cells + 2 * pad - spread * (taps - 1) - 1
        count = (slack + step - 1) // step + 1 if ceil_mode else slack // step + 1
        out.append(count - 1 if ceil_mode and (count - 1) * step >= cells + pad else count)
    return empty(x, [*x.shape[:2], *out], is_last(x, x.ndim - 2))


def fake_max_pool(x: Tensor, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> Any:
    """Tensors like the results of max_pool."""
    y = pool_shape(x, (kernel_size, stride, padding), dilation, ceil_mode)
    return y, torch.empty_like(y, dtype=torch.int64)


def fake_avg_pool(x: Tensor, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool, *others: Any) -> Tensor:
    """A tensor like the result of avg_pool."""
    return pool_shape(x, (kernel_size, stride, padding), [1] * (x.ndim - 2), ceil_mode)


# Gradients ------------------------------------------------------------------------------------------------------------


def save(places: tuple[int, ...]) -> Callable[..., None]:
    """A function that keeps inputs: the tensors at these places, the shapes of all, and what is no tensor."""

    def setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*(inputs[place] for place in places))
        ctx.shapes = [one.shape if isinstance(one, Tensor) else None for one in inputs]
        ctx.others = [None if isinstance(one, Tensor) else one for one in inputs]

    return setup


def conv_backward(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
    """By x, w and bias."""
    (x, w), steps, needs = ctx.saved_tensors, ctx.others[3:], ctx.needs_input_grad
    dx = _ops.conv_input(x.shape, w, dy, *steps) if needs[0] else None
    dw = _ops.conv_weight(x, w.shape, dy, *steps) if needs[1] else None
    return dx, dw, dy.sum((0, *range(2, dy.ndim))) if needs[2] else None, None, None, None, None


def conv_input_backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
    """By w and dy."""
    (w, dy), steps, needs = ctx.saved_tensors, ctx.others[3:], ctx.needs_input_grad
    by_w = _ops.conv_weight(g, w.shape, dy, *steps) if needs[1] else None
    return None, by_w, _ops.conv(g, w, None, *steps) if needs[2] else None, None, None, None, None


def conv_weight_backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
    """By x and dy."""
    (x, dy), steps, needs = ctx.saved_tensors, ctx.others[3:], ctx.needs_input_grad
    by_x = _ops.conv_input(x.shape, g, dy, *steps) if needs[0] else None
    return by_x, None, _ops.conv(x, g, None, *steps) if needs[2] else None, None, None, None, None


def max_pool_setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    """Keep where the largest cells are."""
    ctx.save_for_backward(output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.size = inputs[0].shape


def max_pool_backward(ctx: Any, dy: Tensor, _: Any) -> tuple[Any, ...]:
    """By x."""
    (indices,) = ctx.saved_tensors
    return _ops.max_pool_input(ctx.size, indices, dy), None, None, None, None, None


def max_pool_input_backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
    """By dy: the cells that the indices name."""
    (indices,) = ctx.saved_tensors
    return None, None, g.flatten(2).gather(2, indices.flatten(2)).reshape(indices.shape)


def avg_pool_backward(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
    """By x."""
    return _ops.avg_pool_input(ctx.shapes[0], dy, *ctx.others[1:]), *(None,) * 6


def avg_pool_input_backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
    """By dy."""
    return None, _ops.avg_pool(g, *ctx.others[2:]), *(None,) * 6


def like_size(size: int, order: int, values: int) -> Callable[..., Tensor]:
    """A tensor of the size that stands at one place, in the order of the tensor at the next, of the dtype of the third."""
    return lambda *inputs: empty(inputs[values], inputs[size], is_last(inputs[order], len(inputs[size]) - 2))


_KINDS: dict[str, tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any], Callable[..., Any]]] = {
    "conv": (conv, conv_shape, conv_backward, save((0, 1))),
    "conv_input": (conv_input, like_size(0, 2, 2), conv_input_backward, save((1, 2))),
    "conv_weight": (conv_weight, like_size(1, 0, 0), conv_weight_backward, save((0, 2))),
    "max_pool": (max_pool, fake_max_pool, max_pool_backward, max_pool_setup),
    "max_pool_input": (max_pool_input, like_size(0, 1, 2), max_pool_input_backward, save((1,))),
    "avg_pool": (avg_pool, fake_avg_pool, avg_pool_backward, save(())),
    "avg_pool_input": (avg_pool_input, like_size(0, 1, 1), avg_pool_input_backward, save(())),
}
for _name, (_run, _fake, _backward, _setup) in _KINDS.items():
    _library.impl(_name, _run, "CPU")
    torch.library.register_fake(f"fastconv::{_name}", _fake, lib=_library)
    torch.library.register_autograd(f"fastconv::{_name}", _backward, setup_context=_setup, lib=_library)


# Functions ------------------------------------------------------------------------------------------------------------


def several(name: str, value: Any, rank: int) -> list[Any]:
    """One for every axis, or one per axis."""
    if isinstance(value, (tuple, list)):
        if len(value) == 1:
            return list(value) * rank
        if len(value) != rank:
            raise ValueError(f"{name} must be an int or {rank} ints, one per axis, got {value!r}")
        return list(value)
    if isinstance(value, bool) or not isinstance(value, (int, torch.SymInt)):
        raise TypeError(f"{name} must be an int or {rank} ints, one per axis, got {value!r}")
    return [value] * rank


def batched(name: str, x: Any, rank: int) -> tuple[Tensor, bool]:
    """(x with a batch axis, whether it came without one)."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a Tensor, got {type(x).__name__}")
    if x.ndim not in (rank + 1, rank + 2):
        raise ValueError(f"{name} must have {rank + 2} axes, or {rank + 1} without the batch, got shape {tuple(x.shape)}")
    return (x[None], True) if x.ndim == rank + 1 else (x, False)


def check_weight(weight: Any, x: Tensor, rank: int, groups: Any) -> None:
    """Weights for as many axes, of the input's dtype."""
    if not isinstance(weight, Tensor):
        raise TypeError(f"weight must be a Tensor, got {type(weight).__name__}")
    if weight.ndim != rank + 2:
        raise ValueError(f"weight must have {rank + 2} axes, got shape {tuple(weight.shape)}")
    if weight.dtype != x.dtype:
        raise TypeError(f"weight must have the dtype of input, {x.dtype}, got {weight.dtype}")
    if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1:
        raise ValueError(f"groups must be an int of at least 1, got {groups!r}")


def check_bias(bias: Any, channels: Any, dtype: torch.dtype) -> None:
    """One value per output channel."""
    if bias is not None and not isinstance(bias, Tensor):
        raise TypeError(f"bias must be a Tensor or None, got {type(bias).__name__}")
    if bias is not None and (tuple(bias.shape) != (channels,) or bias.dtype != dtype):
        raise ValueError(f"bias must have shape ({channels},) and dtype {dtype}, got {tuple(bias.shape)} and {bias.dtype}")


def convolve(rank: int, input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: Any) -> Tensor:
    """conv{rank}d."""
    x, single = batched("input", input, rank)
    check_weight(weight, x, rank, groups)
    check_bias(bias, weight.shape[0], x.dtype)
    if x.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups:
        raise ValueError(
            f"weight must have {x.shape[1]} / groups input channels and a multiple of groups output channels, got shape "
            f"{tuple(weight.shape)} with groups {groups}"
        )
    strides, dilations = several("stride", stride, rank), several("dilation", dilation, rank)
    if isinstance(padding, str):
        if padding not in ("valid", "same"):
            raise ValueError(f'padding must be "valid", "same" or ints, got {padding!r}')
        axes = zip(x.shape[2:], weight.shape[2:], strides, dilations, strict=True)
        found = [(0, 0) if padding == "valid" else same_padding(*axis, lower=False) for axis in axes]
        pads = [pair[0] for pair in found] + [pair[1] for pair in found]
    else:
        pads = several("padding", padding, rank) * 2
    y: Tensor = _ops.conv(x, weight, bias, strides, pads, dilations, groups)
    return y[0] if single else y


def convolve_transposed(
    rank: int, input: Any, weight: Any, bias: Any, stride: Any, padding: Any, output_padding: Any, groups: Any, dilation: Any
) -> Tensor:
    """conv_transpose{rank}d."""
    x, single = batched("input", input, rank)
    check_weight(weight, x, rank, groups)
    channels = weight.shape[1] * groups
    check_bias(bias, channels, x.dtype)
    if x.shape[1] != weight.shape[0]:
        raise ValueError(f"weight must have {x.shape[1]} input channels on its first axis, got shape {tuple(weight.shape)}")
    strides, dilations = several("stride", stride, rank), several("dilation", dilation, rank)
    pads, extra = several("padding", padding, rank), several("output_padding", output_padding, rank)
    axes = list(zip(x.shape[2:], weight.shape[2:], strides, pads, dilations, extra, strict=True))
    if any(more >= max(step, spread) for _, _, step, _, spread, more in axes):
        raise ValueError(f"output_padding must be smaller than stride or dilation, got {output_padding!r}")
    size = [(cells - 1) * step - 2 * pad + spread * (taps - 1) + more + 1 for cells, taps, step, pad, spread, more in axes]
    y: Tensor = _ops.conv_input([x.shape[0], channels, *size], weight, x, strides, pads * 2, dilations, groups)
    if bias is not None:
        y = y + bias.reshape(-1, *(1,) * rank)
    return y[0] if single else y


def pool_largest(
    rank: int, input: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool, return_indices: bool
) -> Any:
    """max_pool{rank}d."""
    x, single = batched("input", input, rank)
    kernel = several("kernel_size", kernel_size, rank)
    steps = kernel if stride is None else several("stride", stride, rank)
    pads, spreads = several("padding", padding, rank), several("dilation", dilation, rank)
    found = _ops.max_pool(x, kernel, steps, pads, spreads, bool(ceil_mode))
    y, where = (one[0] for one in found) if single else found
    return (y, where) if return_indices else y


def pool_mean(rank: int, input: Any, kernel_size: Any, stride: Any, padding: Any, *options: Any) -> Tensor:
    """avg_pool{rank}d."""
    x, single = batched("input", input, rank)
    kernel = several("kernel_size", kernel_size, rank)
    steps = kernel if stride is None else several("stride", stride, rank)
    y: Tensor = _ops.avg_pool(x, kernel, steps, several("padding", padding, rank), *options)
    return y[0] if single else y
