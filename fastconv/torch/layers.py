"""Modules that stand in the place of torch's: they run on plans, and leave to torch what plans do not serve.

    x -> why not? -> torch's own function
      -> plan of its shape, strides and dtype -> array of the same memory -> plan -> tensor of the same memory

A tensor in channels-first order runs on channels-first kernels, one in channels_last order on channels-last ones, and the
result has the order of the input.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import fastconv as fc

MOST = 4  # shapes for which a layer keeps plans: each has a packed copy of the weights
TYPES = (torch.float32, torch.float64)
FIRST = {1: "NCL", 2: "NCHW", 3: "NCDHW"}
LAST = {2: "NHWC", 3: "NDHWC"}
TO_LAST = {2: (0, 2, 3, 1), 3: (0, 2, 3, 4, 1)}
TO_FIRST = {2: (0, 3, 1, 2), 3: (0, 4, 1, 2, 3)}
FORMATS = {2: torch.channels_last, 3: torch.channels_last_3d}
ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "relu": functional.relu,
    "relu6": functional.relu6,
    "silu": functional.silu,
    "hardswish": functional.hardswish,
    "gelu": functional.gelu,
}

# What torch computes in vectors, and a plan value by value: applied in place to what the plan gives.
LATE: dict[Any, Callable[[torch.Tensor], torch.Tensor]] = {"gelu": torch.ops.aten.gelu_}


class Ready(NamedTuple):
    """A plan for tensors of one shape and memory order, and the orders of axes that lead to its arrays and back."""

    plan: Any
    to: tuple[int, ...] | None
    back: tuple[int, ...] | None


def is_last(x: torch.Tensor, rank: int) -> bool:
    """Whether a tensor lies in channels_last order, and not in channels-first order as well."""
    return x.ndim == rank + 2 and rank in FORMATS and not x.is_contiguous() and x.is_contiguous(memory_format=FORMATS[rank])


def unserved(x: Any) -> str | None:
    """Why torch runs for this input: None where fastconv can."""
    if not isinstance(x, torch.Tensor):
        return f"its input is no tensor, but {type(x).__name__}"
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return "torch is tracing the model"
    if type(x) is not torch.Tensor and type(x) is not nn.Parameter:
        return f"its input is a {type(x).__name__}, a subclass of Tensor"
    if not x.is_cpu or x.layout is not torch.strided:
        return f"its input is a {x.layout} tensor on {x.device}"
    if x.dtype not in TYPES:
        return f"its input has dtype {x.dtype}: {' and '.join(map(str, TYPES))} are served"
    if x.requires_grad and torch.is_grad_enabled():
        return "its input requires a gradient"
    if torch.is_autocast_enabled("cpu"):
        return "autocast is on"
    if x.is_neg() or torch._C._functorch.is_functorch_wrapped_tensor(x):
        return "its input is transformed lazily"
    return None


class Layer(nn.Module):  # type: ignore[misc]
    """What layers share: plans by shape, and torch's own function where there is none.

    Attributes
    ----------
    rank : int
        Spatial axes.
    reason : str or None
        Why torch ran in the last call that fastconv did not serve.
    """

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.rank, self.norm = rank, False
        self.reason: str | None = None
        self.late: Callable[[torch.Tensor], torch.Tensor] | None = None
        self.plans: OrderedDict[Any, Ready | str] = OrderedDict()

    def planned(self, x: torch.Tensor, last: bool, *others: Any) -> Any:
        """A plan for tensors like x."""
        raise NotImplementedError

    def own(self, x: Any, *others: Any) -> Any:
        """What torch computes."""
        raise NotImplementedError

    def key(self, x: torch.Tensor, *others: Any) -> Any:
        """All that a plan depends on."""
        return x.shape, x.stride(), x.dtype

    def ready(self, key: Any, x: torch.Tensor, *others: Any) -> Ready | str:
        """The plan for a key, or why there is none; the oldest goes where there are many."""
        last = is_last(x, self.rank)
        to, back = (TO_LAST[self.rank], TO_FIRST[self.rank]) if last else (None, None)
        try:
            found: Ready | str = Ready(self.planned(x, last, *others), to, back)
        except (ValueError, TypeError, MemoryError) as error:
            found = str(error)
        self.plans[key] = found
        while len(self.plans) > MOST:
            self.plans.popitem(last=False)
        return found

    def left(self, reason: str, x: Any, *others: Any) -> Any:
        """What torch computes, for a reason."""
        self.reason = reason
        return self.own(x, *others)

    def forward(self, x: Any) -> Any:
        """The result, of a plan where there is one."""
        reason = unserved(x)
        if reason is not None:
            return self.left(reason, x)
        key = self.key(x)
        found = self.plans.get(key) or self.ready(key, x)
        if isinstance(found, str):
            return self.left(found, x)
        plan, to, back = found
        array = x.detach().numpy() if x.requires_grad else x.numpy()
        y = tensors(plan(array if to is None else array.transpose(to)), back)
        return y if self.late is None else self.late(y)

    def implementation(self) -> str:
        """What the plans that there are run on, for a report."""
        names = [one.plan.implementation.name for one in self.plans.values() if isinstance(one, Ready)]
        return ", ".join(dict.fromkeys(names))

    def train(self, mode: bool = True) -> "Layer":
        """Training mode, which a folded batch norm does not have."""
        if mode and self.norm:
            raise RuntimeError(
                "train() was called on a converted layer that has its batch norm folded in: train the model that was "
                "converted, and convert it again"
            )
        super().train(mode)
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Without plans: a copy makes its own."""
        return {**self.__dict__, "plans": OrderedDict()}


def tensors(y: Any, back: tuple[int, ...] | None) -> Any:
    """Results of a plan as tensors of the same memory."""
    if isinstance(y, tuple):
        return tuple(tensors(one, back) for one in y)
    return torch.from_numpy(y if back is None else y.transpose(back))


def activated(y: torch.Tensor, activation: Any) -> torch.Tensor:
    """What torch makes of an activation in fastconv's form."""
    if activation is None:
        return y
    if isinstance(activation, str):
        return ACTIVATIONS[activation](y)
    kind, *numbers = activation
    return functional.leaky_relu(y, *numbers) if kind == "leaky_relu" else torch.clamp(y, *numbers)


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
        w, b = self.weight, self.bias
        state = (w.data_ptr(), w._version) if b is None else (w.data_ptr(), w._version, b.data_ptr(), b._version)
        return x.shape, x.stride(), x.dtype, others[0] is not None, state

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

    def extra_repr(self) -> str:
        """What is part of it."""
        return described(self)


class Pool(Layer):
    """A pool: max, avg, adaptive.

    Parameters
    ----------
    of : torch.nn.Module
        MaxPool1d to AdaptiveMaxPool3d.
    name : str
        Of fastconv's operation.
    """

    def __init__(self, of: nn.Module, name: str) -> None:
        super().__init__(int(name[-2]))
        self.of, self.name = of, name

    def planned(self, x: torch.Tensor, last: bool, *others: Any) -> Any:
        """A plan."""
        m: Any = self.of
        shape = tuple(x.shape)
        if last:
            shape = tuple(shape[axis] for axis in TO_LAST[self.rank])
        layout = (LAST if last else FIRST)[self.rank]
        names = {
            "max": ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"),
            "avg": ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"),
            "adaptive_max": ("output_size", "return_indices"),
            "adaptive_avg": ("output_size",),
        }[self.name.split("_pool")[0]]
        options = {name: getattr(m, name) for name in names if hasattr(m, name)}
        return getattr(fc, self.name).plan(shape, x_dtype=np.dtype(str(x.dtype)[6:]), layout=layout, **options)

    def own(self, x: Any, *others: Any) -> Any:
        """What torch computes."""
        return self.of(x)

    def extra_repr(self) -> str:
        """What is part of it."""
        return described(self)


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
        s, b = self.scale, self.shift
        return x.shape, x.stride(), x.dtype, s.data_ptr(), s._version, b.data_ptr(), b._version

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

    def extra_repr(self) -> str:
        """What is part of it."""
        return described(self)


def described(layer: Layer) -> str:
    """A layer in words: the operation and what is fused into it."""
    if isinstance(layer, Pool):
        return layer.name
    parts = [f"conv{'_transpose' * layer.transposed}{layer.rank}d"] if isinstance(layer, Convolution) else []
    parts += ["batch norm"] if getattr(layer, "norm", False) else []
    parts += ["residual"] if getattr(layer, "adds", False) else []
    activation = getattr(layer, "activation", None)
    if activation is not None:
        parts.append(activation if isinstance(activation, str) else " ".join(map(str, activation)))
    return " + ".join(parts)
