"""A traced graph, with convolutions and what follows them made one layer each.

    conv -> batch norm -> (+ residual) -> activation    one Convolution
    batch norm -> activation                            one Scale
    linear -> activation                                one Linear
    pool                                                one Pool

A node is fused only where nobody else reads what it gives, and a convolution is moved to where its residual is added only
where nothing between the two writes in place.
"""

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import fx, nn
from torch.nn import functional

from fastconv.torch.pools import Pool
from fastconv.torch.products import Convolution, Linear, Scale

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
POOLS: dict[type, str] = {
    getattr(nn, f"{torch_name}{rank}d"): f"{name}{rank}d"
    for torch_name, name in (
        ("MaxPool", "max_pool"),
        ("AvgPool", "avg_pool"),
        ("AdaptiveMaxPool", "adaptive_max_pool"),
        ("AdaptiveAvgPool", "adaptive_avg_pool"),
    )
    for rank in (1, 2, 3)
}
FUNCTIONAL_POOLS: dict[Any, type] = {
    getattr(functional, name): kind for kind, name in POOLS.items() if not name.startswith(("max_pool", "adaptive_max"))
}
FUNCTIONAL_POOLS |= {torch.avg_pool1d: nn.AvgPool1d, torch.adaptive_avg_pool1d: nn.AdaptiveAvgPool1d}
FUNCTIONAL_POOLS |= {getattr(functional, f"max_pool{rank}d"): getattr(nn, f"MaxPool{rank}d") for rank in (1, 2, 3)}
MODULES: dict[type, Callable[[Any], Any]] = {
    nn.ReLU: lambda m: "relu",
    nn.ReLU6: lambda m: "relu6",
    nn.SiLU: lambda m: "silu",
    nn.Hardswish: lambda m: "hardswish",
    nn.GELU: lambda m: "gelu" if m.approximate == "none" else None,
    nn.LeakyReLU: lambda m: ("leaky_relu", float(m.negative_slope)),
    nn.Hardtanh: lambda m: ("clip", float(m.min_val), float(m.max_val)),
}
FUNCTIONS: dict[Any, str] = {
    functional.relu: "relu",
    functional.relu_: "relu",
    torch.relu: "relu",
    torch.relu_: "relu",
    functional.relu6: "relu6",
    functional.silu: "silu",
    functional.hardswish: "hardswish",
    functional.gelu: "gelu",
}
METHODS = {"relu": "relu", "relu_": "relu"}
ADDITIONS = (operator.add, operator.iadd, torch.add)
IN_PLACE = {value for name, value in vars(operator).items() if name.startswith("i") and f"__{name}__" in vars(operator)} | {
    operator.setitem
}
IDLE = ("stochastic_depth",)  # torchvision's: (input, p, mode, training)
OWN = ("torch.nn.", "fastconv.")  # modules that say by `inplace` whether they write
PASSING = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.Sigmoid, nn.Hardsigmoid, nn.Flatten)


class Row(NamedTuple):
    """A layer of the model that was converted: what of it runs where."""

    name: str
    kind: str
    layer: Any  # of fastconv; None where torch runs
    reason: str | None


def hooks(module: nn.Module) -> bool:
    """Whether anything watches a module's calls, which a layer in its place would not tell."""
    names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, name, None) for name in names)


def folds(conv: nn.Module, norm: nn.Module) -> bool:
    """Whether a batch norm is a scale and a shift of what the convolution gives."""
    if type(norm) not in NORMS or type(conv) not in CONVOLUTIONS or hooks(norm) or hooks(conv):
        return False
    same = norm.running_mean is not None and norm.num_features == conv.out_channels
    return same and norm.running_mean.dtype == conv.weight.dtype and norm.running_mean.device == conv.weight.device


def scale_and_shift(norm: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch norm as x * scale + shift, in float64."""
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    shift = -norm.running_mean.double() * scale
    if norm.weight is not None:
        scale, shift = scale * norm.weight.double(), shift * norm.weight.double()
    return scale, shift + norm.bias.double() if norm.bias is not None else shift


def convolution(conv: Any, norm: Any = None, activation: Any = None) -> Convolution:
    """A layer of a convolution, a batch norm folded into its weights, and an activation."""
    weight, bias = conv.weight.detach().clone(), None if conv.bias is None else conv.bias.detach().clone()
    if norm is not None:
        scale, shift = scale_and_shift(norm)
        if conv.transposed:  # (channels, out_channels / groups, ...): groups lie along the first axis
            parts = scale.reshape(conv.groups, 1, -1).expand(-1, len(weight) // conv.groups, -1)
            by_weight = parts.reshape(len(weight), -1)
            by_weight = by_weight.reshape(*by_weight.shape, *(1,) * (weight.ndim - 2))
        else:
            by_weight = scale.reshape(-1, *(1,) * (weight.ndim - 1))
        dtype, device = weight.dtype, weight.device
        weight = (weight.double() * by_weight).to(dtype)
        bias = (shift if bias is None else shift + scale * bias.double()).to(device, dtype)
    return Convolution(conv, weight.contiguous(), bias, activation, norm is not None)


def refusal(module: nn.Module) -> str | None:
    """Why a module of a kind that is served stays torch's."""
    if hooks(module):
        return "it has hooks"
    weight = getattr(module, "weight", None)
    if isinstance(weight, torch.Tensor) and weight.dtype not in (torch.float32, torch.float64):
        return f"its weights have dtype {weight.dtype}"
    if isinstance(weight, torch.Tensor) and weight.device.type != "cpu":
        return f"its weights are on {weight.device}"
    return None


class Fuser:
    """What is done to one traced module.

    Attributes
    ----------
    module : torch.fx.GraphModule
        Is changed.
    rows : list of Row
        What became of each layer, in order.
    """

    def __init__(self, module: fx.GraphModule, prefix: str) -> None:
        self.module, self.prefix = module, prefix
        self.rows: list[Row] = []
        self.made = 0
        self.gone: set[fx.Node] = set()

    def run(self) -> None:
        """Put layers in the place of nodes, from the first to the last."""
        self.leave_out_idle()
        self.make_modules_of_functions()
        for node in list(self.module.graph.nodes):
            if node in self.gone:
                continue
            kind = type(self.target(node))
            if kind in CONVOLUTIONS:
                self.convolve(node)
            elif kind in NORMS:
                self.scale(node)
            elif kind is nn.Linear:
                self.multiply(node)
            elif kind in POOLS:
                self.pool(node)
            elif kind is not type(None) and kind not in MODULES and kind not in PASSING:
                self.rows.append(Row(self.name(node), kind.__name__, None, "fastconv has no such operation"))
        self.module.delete_all_unused_submodules()
        self.module.recompile()

    def target(self, node: fx.Node) -> Any:
        """The module that a node calls, or None."""
        return self.module.get_submodule(str(node.target)) if node.op == "call_module" else None

    def name(self, node: fx.Node) -> str:
        """A layer's name in the whole model."""
        return self.prefix + str(node.target)

    def leave_out_idle(self) -> None:
        """Functions that were traced as those of eval mode, where they give their input, are left out."""
        for node in list(self.module.graph.nodes):
            if node.op == "call_function" and getattr(node.target, "__name__", "") in IDLE:
                training = node.kwargs.get("training", node.args[3] if len(node.args) > 3 else True)
                if training is False and node.args and isinstance(node.args[0], fx.Node):
                    self.replace(node, node.args[0])

    def make_modules_of_functions(self) -> None:
        """Pools that are called as functions become modules, where all their arguments but x are numbers."""
        for node in list(self.module.graph.nodes):
            kind = FUNCTIONAL_POOLS.get(node.target) if node.op == "call_function" else None
            first = node.args[0] if node.args else None
            if kind is None or not isinstance(first, fx.Node) or len(node.all_input_nodes) != 1:
                continue
            try:
                made = kind(*node.args[1:], **node.kwargs)
            except (TypeError, ValueError):
                continue
            with self.module.graph.inserting_before(node):
                new = self.module.graph.call_module(self.added(node.name, made.eval()), (first,))
            self.replace(node, new)

    def added(self, name: str, layer: nn.Module) -> str:
        """The name of a new submodule."""
        name = f"fastconv_{self.made}_{name.replace('.', '_')}"
        self.made += 1
        self.module.add_submodule(name, layer)
        return name

    def replace(self, old: fx.Node, new: fx.Node) -> None:
        """Let all that read the old node read the new one."""
        old.replace_all_uses_with(new)
        self.module.graph.erase_node(old)

    def alone(self, node: fx.Node) -> fx.Node | None:
        """The one node that reads a node, once."""
        users = list(node.users)
        return users[0] if len(users) == 1 and list(users[0].all_input_nodes).count(node) == 1 else None

    def activation(self, node: fx.Node | None) -> Any:
        """The activation that a node is, in fastconv's form; None where it is none."""
        if node is None:
            return None
        if node.op == "call_module":
            module = self.target(node)
            return MODULES[type(module)](module) if type(module) in MODULES and not hooks(module) else None
        plain = len(node.args) == 1 and not (set(node.kwargs) - {"inplace"})
        if node.op == "call_function" and plain:
            return FUNCTIONS.get(node.target)
        return METHODS.get(str(node.target)) if node.op == "call_method" and plain else None

    def writes(self, node: fx.Node) -> bool:
        """Whether a node may write into what others read."""
        if node.op == "call_module":
            module = self.target(node)
            return bool(getattr(module, "inplace", False)) or not type(module).__module__.startswith(OWN)
        if node.op == "call_method" or node.op == "call_function":
            name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
            in_place = name.endswith("_") and not name.endswith("__")
            return in_place or bool(node.kwargs.get("inplace")) or "out" in node.kwargs or node.target in IN_PLACE
        return False

    def residual(self, chain: list[fx.Node]) -> tuple[fx.Node | None, fx.Node | None]:
        """(the addition that is all that reads a chain, what it adds), where the chain may wait until then."""
        at = self.alone(chain[-1])
        if at is None or at.op != "call_function" or at.target not in ADDITIONS or at.kwargs or len(at.args) != 2:
            return None, None
        first, second = at.args
        other = second if first is chain[-1] else first
        if not isinstance(other, fx.Node) or (at.target is operator.iadd and first is not chain[-1]):
            return None, None
        node = chain[0].next
        while node is not at:
            if self.writes(node):
                return None, None
            node = node.next
        return at, other

    def convolve(self, node: fx.Node) -> None:
        """A convolution and all that may be fused into it."""
        conv = self.target(node)
        reason = refusal(conv)
        if len(node.args) != 1 or node.kwargs:
            reason = reason or "it is called with more than x"
        if reason is not None:
            self.rows.append(Row(self.name(node), type(conv).__name__, None, reason))
            return
        chain, norm, activation = [node], None, None
        after = self.alone(node)
        if after is not None and folds(conv, self.target(after)):
            norm = self.target(after)
            chain.append(after)
        at, added = self.residual(chain)
        if at is not None:
            chain.append(at)
        after = self.alone(chain[-1])
        if after is not None:
            activation = self.activation(after)
            chain += [after] if activation is not None else []
        layer = convolution(conv, norm, activation)
        layer.adds = added is not None
        self.put(chain, layer, node.args if added is None else (*node.args, added))

    def put(self, chain: list[fx.Node], layer: nn.Module, arguments: tuple[Any, ...]) -> None:
        """Put a layer in the place of the nodes of a chain, each of which only the next one reads."""
        node, last = chain[0], chain[-1]
        self.rows.append(Row(self.name(node), type(self.target(node)).__name__, layer, None))
        with self.module.graph.inserting_before(last):
            new = self.module.graph.call_module(self.added(str(node.target), layer), arguments)
        last.replace_all_uses_with(new)
        for one in reversed(chain):
            self.module.graph.erase_node(one)
        self.gone.update(chain)

    def scale(self, node: fx.Node) -> None:
        """A batch norm that is not folded into a convolution, and the activation behind it."""
        norm = self.target(node)
        reason = refusal(norm)
        if norm.running_mean is None:
            reason = reason or "it keeps no running statistics"
        elif norm.running_mean.dtype not in (torch.float32, torch.float64) or norm.running_mean.device.type != "cpu":
            reason = reason or f"its statistics are {norm.running_mean.dtype} on {norm.running_mean.device}"
        if reason is not None or len(node.args) != 1:
            self.rows.append(Row(self.name(node), type(norm).__name__, None, reason or "it is called with more than x"))
            return
        after, chain = self.alone(node), [node]
        activation = None if after is None else self.activation(after)
        if after is not None and activation is not None:
            chain.append(after)
        scale, shift = (one.to(norm.running_mean.dtype) for one in scale_and_shift(norm))
        self.put(chain, Scale(scale, shift, NORMS.index(type(norm)) + 1, activation), node.args)

    def multiply(self, node: fx.Node) -> None:
        """A linear layer, and the activation behind it."""
        of = self.target(node)
        reason = refusal(of)
        if reason is not None or len(node.args) != 1:
            self.rows.append(Row(self.name(node), type(of).__name__, None, reason or "it is called with more than x"))
            return
        after = self.alone(node)
        activation = self.activation(after)
        self.put([node] if after is None or activation is None else [node, after], Linear(of, activation), node.args)

    def pool(self, node: fx.Node) -> None:
        """A pool."""
        pool = self.target(node)
        reason = refusal(pool)
        if reason is not None or len(node.args) != 1:
            self.rows.append(Row(self.name(node), type(pool).__name__, None, reason or "it is called with more than x"))
            return
        self.put([node], Pool(pool, POOLS[type(pool)]), node.args)
