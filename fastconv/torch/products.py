"""Layers of products: convolutions, batch norms that none precedes, and linear layers, each with what follows it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional

import fastconv as fc
from fastconv.torch.layers import FIRST, LAST, MOST, TO_LAST, Layer, Ready, unserved

ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "relu": functional.relu,
    "relu6": functional.relu6,
    "silu": functional.silu,
    "hardswish": functional.hardswish,
    "gelu": functional.gelu,
}
ROWS = {2: "NLC", 3: "NLC", 4: "NHWC", 5: "NDHWC"}  # how a linear layer's input lies, by its axes: channels last

# What torch computes in vectors, and a plan value by value: applied in place to what the plan gives.
LATE: dict[Any, Callable[[torch.Tensor], torch.Tensor]] = {"gelu": torch.ops.aten.gelu_}


def activated(y: torch.Tensor, activation: Any) -> torch.Tensor:
    """What torch makes of an activation in fastconv's form."""
    if activation is None:
        return y
    if isinstance(activation, str):
        return ACTIVATIONS[activation](y)
    kind, *numbers = activation
    return functional.leaky_relu(y, *numbers) if kind == "leaky_relu" else torch.clamp(y, *numbers)


def state_of(weight: torch.Tensor, bias: torch.Tensor | None) -> tuple[int, ...]:
    """What changes where weights do: packed ones are of no use then."""
    of_weight = weight.data_ptr(), weight._version
    return of_weight if bias is None else (*of_weight, bias.data_ptr(), bias._version)


def words(*parts: str, activation: Any = None) -> str:
    """An operation and what is fused into it."""
    if activation is not None:
        parts = (*parts, activation if isinstance(activation, str) else " ".join(map(str, activation)))
    return " + ".join(one for one in parts if one)


class Convolution(Layer):
    """A convolution with what follows it: a folded batch norm, the addition of a residual, an activation.

    Parameters
    ----------
    of : torch.nn.Module
        Conv1d to Conv3d, or ConvTranspose1d to ConvTranspose3d.
    weight, bias : Tensor, Tensor or None
        Those of the module, or with a batch norm folded in.
    activation : object
        As fastconv.conv2d takes it.
    norm : bool
        Whether a batch norm is folded in.
    """

    def __init__(self, of: Any, weight: torch.Tensor, bias: torch.Tensor | None, activation: Any, norm: bool) -> None:
        super().__init__(weight.ndim - 2)
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self.activation, self.norm, self.adds = activation, norm, False
        self.late = LATE.get(activation)
        self.transposed = of.transposed
        self.mode, self.groups = of.padding_mode, of.groups
        self.stride, self.padding, self.dilation = of.stride, of.padding, of.dilation
        self.output_padding = of.output_padding
        self.pads: Any = getattr(of, "_reversed_padding_repeated_twice", None)

    def key(self, x: torch.Tensor, *others: Any) -> Any:
        """All that a plan depends on, the state of the weights too."""
        return x.shape, x.stride(), x.dtype, others[0] is not None, state_of(self.weight, self.bias)

    def planned(self, x: torch.Tensor, last: bool, *others: Any) -> Any:
        """A plan with the weights packed."""
        if self.weight.dtype != x.dtype:
            raise TypeError(f"its weights have dtype {self.weight.dtype}, its input {x.dtype}")
        w, layout, shape = self.weight.numpy(), FIRST[self.rank], tuple(x.shape)
        if last:
            w, layout = w.transpose(TO_LAST[self.rank]), LAST[self.rank]
            shape = tuple(shape[axis] for axis in TO_LAST[self.rank])
        bias = None if self.bias is None else self.bias.numpy()
        name = f"conv{'_transpose' * self.transposed}{self.rank}d"
        options: dict[str, Any] = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}
        if self.transposed:
            options |= {"output_padding": self.output_padding}
        elif self.mode != "zeros":
            options |= {"padding_mode": self.mode}
        fused = self.activation if self.late is None else None
        options |= {"groups": self.groups, "activation": fused, "layout": layout, "implementation": "network"}
        plan = getattr(fc, name).plan(shape, w, bias, residual=others[0] is not None, x_dtype=w.dtype, **options)
        return replace(plan, weights=None)  # which only gradients need, and torch has

    def own(self, x: Any, *others: Any) -> Any:
        """What torch computes."""
        if self.transposed:
            function = getattr(functional, f"conv_transpose{self.rank}d")
            y = function(x, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation)
        else:
            padding = self.padding
            if self.mode != "zeros":
                x, padding = functional.pad(x, self.pads, mode=self.mode), 0
            function = getattr(functional, f"conv{self.rank}d")
            y = function(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)
        if others and others[0] is not None:
            y = y + others[0]
        return activated(y, self.activation)

    def forward(self, x: Any, residual: Any = None) -> Any:
        """The result, of a plan where there is one."""
        reason = unserved(x) or (None if residual is None else unserved(residual))
        if reason is None and self.training:
            reason = "it is in training mode"
        if reason is not None:
            return self.left(reason, x, residual)
        key = self.key(x, residual)
        found = self.plans.get(key) or self.ready(key, x, residual)
        if isinstance(found, str):
            return self.left(found, x, residual)
        plan, to, back = found
        array = x.detach().numpy() if x.requires_grad else x.numpy()
        if to is not None:
            array = array.transpose(to)
        if residual is None:
            y = plan(array)
        else:
            added = residual.detach().numpy() if residual.requires_grad else residual.numpy()
            if to is not None and added.ndim == len(to):
                added = added.transpose(to)
            if added.shape != plan.out_shape or added.dtype != plan.out_dtype:
                return self.left("what is added has another shape or dtype", x, residual)
            y = plan(array, added)
        found = torch.from_numpy(y if back is None else y.transpose(back))
        return found if self.late is None else self.late(found)

    @property
    def summary(self) -> str:
        """The convolution, and what is fused into it."""
        name = f"conv{'_transpose' * self.transposed}{self.rank}d"
        return words(name, "batch norm" * self.norm, "residual" * self.adds, activation=self.activation)


class Scale(Layer):
    """A batch norm that no convolution precedes, and the activation behind it: x * scale + shift, channel by channel.

    It runs as a convolution of each channel by itself with a kernel of one cell.
    """

    def __init__(self, scale: torch.Tensor, shift: torch.Tensor, rank: int, activation: Any) -> None:
        super().__init__(rank)
        self.scale = nn.Parameter(scale, requires_grad=False)
        self.shift = nn.Parameter(shift, requires_grad=False)
        self.activation, self.norm = activation, True
        self.late = LATE.get(activation)

    def key(self, x: torch.Tensor, *others: Any) -> Any:
        """All that a plan depends on, the state of scale and shift too."""
        return x.shape, x.stride(), x.dtype, state_of(self.scale, self.shift)

    def planned(self, x: torch.Tensor, last: bool, *others: Any) -> Any:
        """A plan of a convolution."""
        if self.scale.dtype != x.dtype:
            raise TypeError(f"its weights have dtype {self.scale.dtype}, its input {x.dtype}")
        if x.ndim != self.rank + 2:
            raise ValueError(f"its input has {x.ndim} axes, not {self.rank + 2}")
        ones, shape, channels = (1,) * self.rank, tuple(x.shape), len(self.scale)
        w = self.scale.numpy().reshape(channels, *ones, 1) if last else self.scale.numpy().reshape(channels, 1, *ones)
        if last:
            shape = tuple(shape[axis] for axis in TO_LAST[self.rank])
        layout = (LAST if last else FIRST)[self.rank]
        name, fused = f"conv{self.rank}d", self.activation if self.late is None else None
        plan = getattr(fc, name).plan(
            shape, w, self.shift.numpy(), groups=channels, activation=fused, layout=layout, x_dtype=w.dtype
        )
        return replace(plan, weights=None)

    def own(self, x: Any, *others: Any) -> Any:
        """What torch computes."""
        ones = (1,) * (x.ndim - 2)
        y = x * self.scale.reshape(-1, *ones) + self.shift.reshape(-1, *ones)
        return activated(y, self.activation)

    @property
    def summary(self) -> str:
        """A batch norm, and what is fused into it."""
        return words("batch norm", activation=self.activation)


class Linear(Layer):
    """A linear layer and the activation behind it: a convolution with a kernel of one cell, channels last.

    Parameters
    ----------
    of : torch.nn.Linear
        Its parameters are those of this layer.
    activation : object
        As fastconv.conv2d takes it.
    """

    def __init__(self, of: nn.Linear, activation: Any = None) -> None:
        super().__init__(0)
        self.weight, self.bias = of.weight, of.bias
        self.in_features, self.out_features = of.in_features, of.out_features
        self.activation, self.late = activation, LATE.get(activation)

    def key(self, x: torch.Tensor, *others: Any) -> Any:
        """All that a plan depends on, the state of the weights too."""
        return x.shape, x.stride(), x.dtype, state_of(self.weight, self.bias)

    def ready(self, key: Any, x: torch.Tensor, *others: Any) -> Ready | str:
        """The plan for a key, or why there is none: sequences of ever new lengths would have the weights packed for each."""
        shapes = {planned[0] for planned in self.plans if planned[-1] == key[-1]}
        if len(shapes) >= MOST:
            return f"it has plans for {MOST} other shapes, and makes no more"
        return super().ready(key, x, *others)

    def planned(self, x: torch.Tensor, last: bool, *others: Any) -> Any:
        """A plan with the weights packed."""
        if self.weight.dtype != x.dtype:
            raise TypeError(f"its weights have dtype {self.weight.dtype}, its input {x.dtype}")
        if x.ndim not in ROWS:
            raise ValueError(f"its input has {x.ndim} axes: {min(ROWS)} to {max(ROWS)} are served")
        rank = max(1, x.ndim - 2)
        w = self.weight.detach().numpy().reshape(len(self.weight), *(1,) * rank, -1)
        bias = None if self.bias is None else self.bias.detach().numpy()
        fused = self.activation if self.late is None else None
        options = {"layout": ROWS[x.ndim], "activation": fused, "x_dtype": w.dtype, "implementation": "network"}
        return replace(getattr(fc, f"conv{rank}d").plan(tuple(x.shape), w, bias, **options), weights=None)

    def own(self, x: Any, *others: Any) -> Any:
        """What torch computes."""
        return activated(functional.linear(x, self.weight, self.bias), self.activation)

    def forward(self, x: Any) -> Any:
        """The result, of a plan where there is one."""
        if self.training:
            return self.left("it is in training mode", x)
        if self.weight.requires_grad and torch.is_grad_enabled():
            return self.left("its weights require a gradient", x)
        return super().forward(x)

    @property
    def summary(self) -> str:
        """The product, and what is fused into it."""
        return words("linear", activation=self.activation)
