"""Modules that stand in the place of torch's: they run on plans, and leave to torch what plans do not serve.

    x -> why not? -> torch's own function
      -> plan of its shape, strides and dtype -> array of the same memory -> plan -> tensor of the same memory

A tensor in channels-first order runs on channels-first kernels, one in channels_last order on channels-last ones, and the
result has the order of the input.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

MOST = 4  # shapes for which a layer keeps plans: each has a packed copy of the weights
TYPES = (torch.float32, torch.float64)
FIRST = {1: "NCL", 2: "NCHW", 3: "NCDHW"}
LAST = {2: "NHWC", 3: "NDHWC"}
TO_LAST = {2: (0, 2, 3, 1), 3: (0, 2, 3, 4, 1)}
TO_FIRST = {2: (0, 3, 1, 2), 3: (0, 4, 1, 2, 3)}
FORMATS = {2: torch.channels_last, 3: torch.channels_last_3d}


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

    @property
    def summary(self) -> str:
        """The layer in words: the operation and what is fused into it."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """What is part of it."""
        return self.summary

    def __getstate__(self) -> dict[str, Any]:
        """Without plans: a copy makes its own."""
        return {**self.__dict__, "plans": OrderedDict()}


def tensors(y: Any, back: tuple[int, ...] | None) -> Any:
    """Results of a plan as tensors of the same memory."""
    if isinstance(y, tuple):
        return tuple(tensors(one, back) for one in y)
    return torch.from_numpy(y if back is None else y.transpose(back))
