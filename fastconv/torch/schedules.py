"""The steps of a traced model for inputs of one kind, and the buffers that they write into.

values of one run -> which node runs a plan, which writes where it is told to, which gives a view -> buffers -> steps
"""

import builtins
import operator
import threading
from collections.abc import Callable
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import fx, nn

from fastconv.kernels.memory import aligned
from fastconv.kernels.programs import joined
from fastconv.torch.layers import FORMATS, Layer, Ready, is_last, tensors, unserved
from fastconv.torch.lifetimes import Recorded, Slots, assigned, last_uses, storages

Step = tuple[Callable[..., Any], bool]
BYTE = np.dtype(np.uint8)
KNOWN = ("torch", "_operator", "math", "builtins", "einops")  # whose functions keep nothing of what they read
# Which of torch's functions give what they read, or a view of it, and which write where they are told to.
VIEWS = {"flatten", "view", "reshape", "permute", "squeeze", "unsqueeze", "chunk", "split", "contiguous", "getitem"}
PASSING = (nn.Identity, nn.Flatten, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
WRITING: dict[Any, Callable[..., Any]] = {
    operator.mul: torch.mul,
    torch.mul: torch.mul,
    operator.add: torch.add,
    torch.add: torch.add,
    torch.cat: torch.cat,
    torch.concat: torch.cat,
    nn.Sigmoid: torch.sigmoid,
}


class Changed(Exception):
    """A value is not as it was when the schedule was made."""


class Watched(NamedTuple):
    """What a schedule depends on: the modules that it calls, where each is found by its name, and all that there are.

    A module that is called is (dict that holds it, its name there, itself, its fields, its parameters, and these as (name,
    tensor or None, version, address)): all that changes if weights do, or modules, or what watches their calls.
    """

    called: tuple[tuple[Any, ...], ...]
    modules: tuple[Any, ...]

    def unchanged(self) -> bool:
        """Whether all is as it was: what is looked at lies in few lines, for after a call none of them is in a cache."""
        for owner, name, module, fields, parameters, seen in self.called:
            if owner.get(name) is not module or not is_quiet(fields) or fields["_parameters"] is not parameters:
                return False
            if len(parameters) != len(seen):
                return False
            for key, tensor, version, address in seen:
                if parameters.get(key) is not tensor:
                    return False
                if tensor is not None and (tensor._version != version or tensor.data_ptr() != address):
                    return False
        return True

    def needs_gradients(self) -> bool:
        """Whether what torch computes is written down for a backward pass."""
        return torch.is_grad_enabled() and any(
            one.requires_grad for module in self.modules for one in module._parameters.values() if one is not None
        )


def watched(module: fx.GraphModule) -> Watched:
    """The modules of a model, and those that its graph calls."""
    found = []
    for path in dict.fromkeys(str(node.target) for node in module.graph.nodes if node.op == "call_module"):
        owner, _, name = path.rpartition(".")
        called = module.get_submodule(path)
        parameters = called._parameters
        seen = [
            (key, one, *((None, None) if one is None else (one._version, one.data_ptr()))) for key, one in parameters.items()
        ]
        found.append((module.get_submodule(owner)._modules, name, called, called.__dict__, parameters, tuple(seen)))
    return Watched(tuple(found), tuple(module.modules()))


def is_quiet(fields: dict[str, Any]) -> bool:
    """Whether a module, by its fields, is in eval mode and nothing watches its calls."""
    return not (fields["training"] or fields["_forward_hooks"] or fields["_forward_pre_hooks"])


class Schedule:
    """The steps of a model for inputs of one kind.

    Attributes
    ----------
    steps : list of (callable, bool)
        What is called, and whether it takes the values.
    values : list
        Of nodes, by number, where they are known before a call.
    buffers : list of array
        What steps write into.
    slots : Slots
        Which value lies in which buffer.
    busy : threading.Lock
        Held while a call uses the buffers.
    """

    def __init__(self, module: fx.GraphModule, recorded: Recorded) -> None:
        self.module, self.busy = module, threading.Lock()
        self.numbers = {node: number for number, node in enumerate(recorded)}
        self.fixed: set[fx.Node] = set()
        self.values: list[Any] = [None] * len(self.numbers)
        self.steps: list[Step] = []
        self.ready = {node: one for node in recorded if (one := ready_of(module, node, recorded)) is not None}
        written = {node for node in recorded if writes_where_told(module, node, recorded)}
        last = last_uses([*self.ready, *written], recorded, {node for node in recorded if keeps(module, node)})
        self.over = {node: other for node in self.ready if (other := self.written_over(node, last, recorded)) is not None}
        self.slots: Slots = assigned(last, recorded, self.over)
        self.buffers = [aligned(size, BYTE) for size in self.slots.sizes]
        for node in recorded:
            if node.op == "output":
                self.result = node.args[0]
            elif node in self.ready:
                self.add_layer(node, recorded)
            elif node in written and node in self.slots.of:
                self.add_written(node, recorded)
            elif is_view(module, node, recorded) and all(self.is_fixed(one) for one in node.all_input_nodes):
                self.values[self.numbers[node]] = self.looked_up(node, called(module, node), self.values)
                self.fixed.add(node)
            elif node.op == "get_attr":
                self.add(node, attribute(module, str(node.target)))
            elif node.op != "placeholder":
                self.add(node, called(module, node))
        self.steps = merged(self.steps)
        self.watched = watched(module)

    def written_over(self, node: fx.Node, last: dict[fx.Node, int], recorded: Recorded) -> fx.Node | None:
        """The residual that a node may write its result over, of the same shape and read by nothing behind it; else None."""
        inputs = [one for one in node.args if one is not None]
        if node not in last or len(inputs) != 2 or not self.ready[node].plan.adds_in_place:
            return None
        x, residual = inputs
        if x is residual or x not in last or last.get(residual) != self.numbers[node]:
            return None
        return residual if kind(recorded[residual]) == kind(recorded[node]) else None

    def add(self, node: fx.Node, run: Callable[..., Any]) -> None:
        """A step of torch's own: its arguments are looked up, and its result is kept until it was read."""
        number, numbers = self.numbers[node], self.numbers
        after = [numbers[one] for one in node.all_input_nodes if not self.is_fixed(one) and last_reader(one) is node]

        def step(values: list[Any]) -> None:
            values[number] = self.looked_up(node, run, values)
            for one in after:
                values[one] = None

        self.steps.append((step, True))

    def looked_up(self, node: fx.Node, run: Callable[..., Any], values: list[Any]) -> Any:
        """What a function gives for a node's arguments."""
        numbers = self.numbers
        arguments = fx.node.map_arg(node.args, lambda one: values[numbers[one]])
        named = fx.node.map_arg(node.kwargs, lambda one: values[numbers[one]]) if node.kwargs else {}
        return run(*arguments, **named)

    def is_fixed(self, node: fx.Node) -> bool:
        """Whether the value of a node is known before a call: in a buffer, or a view of one."""
        return node in self.slots.of or node in self.fixed

    def cells(self, node: fx.Node, like: torch.Tensor) -> Any:
        """The part of a buffer where a node's result lies: flat, of the dtype of a tensor."""
        part = self.buffers[self.slots.of[node]][: like.numel() * like.element_size()]
        return part.view(like.detach()[..., :0].numpy().dtype)

    def add_written(self, node: fx.Node, recorded: Recorded) -> None:
        """A step of torch's own that writes into a buffer."""
        like, kind_of = recorded[node], type(self.module.get_submodule(str(node.target))) if node.op == "call_module" else None
        write = WRITING[node.target if kind_of is None else kind_of]
        to = torch.from_numpy(self.cells(node, like)).as_strided(like.shape, like.stride())
        self.values[self.numbers[node]] = to
        if not all(self.is_fixed(one) for one in node.all_input_nodes):
            self.steps.append((lambda values: self.looked_up(node, partial(write, out=to), values), True))
            return
        arguments = fx.node.map_arg(node.args, lambda one: self.values[self.numbers[one]])
        named = fx.node.map_arg(node.kwargs, lambda one: self.values[self.numbers[one]])
        self.steps.append((partial(write, *arguments, **named, out=to), False))

    def add_layer(self, node: fx.Node, recorded: Recorded) -> None:
        """A step that runs a plan: on arrays that stay, or on those of tensors that come."""
        (plan, to, back), layer = self.ready[node], self.module.get_submodule(str(node.target))
        number, y = self.numbers[node], None
        if node in self.slots.of:
            y = self.cells(node, recorded[node]).reshape(plan.out_shape)
            self.values[number] = tensors(y, back)
        inputs = [one for one in node.args if one is not None]
        late, fixed = layer.late, self.values[number]
        if y is not None and all(self.is_fixed(one) for one in inputs):
            over = self.over.get(node)
            arrays = [y if one is over else ordered(self.values[self.numbers[one]].numpy(), to) for one in inputs]
            self.steps.append((plan.bind(*arrays, out=y), False))
            if late is not None:
                self.steps.append((lambda: late(fixed), False))
            return
        kinds = [(self.numbers[one], one.op != "placeholder" and not self.is_fixed(one), kind(recorded[one])) for one in inputs]

        def step(values: list[Any]) -> None:
            arrays = []
            for place, may_change, expected in kinds:
                x = values[place]
                if may_change and (type(x) is not torch.Tensor or kind(x) != expected or x.is_neg()):
                    raise Changed
                arrays.append(ordered(x.detach().numpy() if x.requires_grad else x.numpy(), to))
            result = plan(*arrays, out=y)
            if y is None:
                values[number] = tensors(result, back)
            if late is not None:
                late(values[number])

        self.steps.append((step, True))

    def run(self, arguments: tuple[Any, ...]) -> Any:
        """The result for arguments of the kind that the schedule was made for."""
        values = self.values.copy()
        values[: len(arguments)] = arguments
        for step, takes_values in self.steps:
            if takes_values:
                step(values)
            else:
                step()
        return fx.node.map_arg(self.result, lambda one: values[self.numbers[one]])


def merged(steps: list[Step]) -> list[Step]:
    """Steps, of which those that follow each other and only call kernels are made one."""
    found: list[Step] = []
    for plain, together in groupby(steps, lambda step: getattr(step[0], "program", None) is not None):
        group = list(together)
        found += [(joined(bound.program for bound, _ in group).run, False)] if plain else group  # type: ignore[attr-defined]
    return found


def kind(x: torch.Tensor) -> Any:
    """What a plan depends on of a tensor."""
    return x.shape, x.stride(), x.dtype


def ordered(array: Any, to: tuple[int, ...] | None) -> Any:
    """An array in the order of a plan's axes."""
    return array if to is None or array.ndim != len(to) else array.transpose(to)


def ready_of(module: fx.GraphModule, node: fx.Node, recorded: Recorded) -> Ready | None:
    """The plan that a node ran on; None where it ran on none, or gives more than one tensor."""
    layer = module.get_submodule(str(node.target)) if node.op == "call_module" else None
    if not isinstance(layer, Layer) or node.kwargs or not is_quiet(layer.__dict__):
        return None
    if not isinstance(recorded[node], torch.Tensor) or not recorded[node].numel():
        return None
    inputs = [one for one in node.args if one is not None]
    if not all(isinstance(one, fx.Node) and type(recorded[one]) is torch.Tensor for one in inputs):
        return None
    given = [recorded[one] for one in inputs]
    found = layer.plans.get(layer.key(given[0], *(given[1:] or [None])))
    if not isinstance(found, Ready) or len(found.plan.operands) != len(given) or layer.reason is not None:
        return None
    last = is_last(given[0], layer.rank)
    return found if (found.to is not None) == last else None


def keeps(module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node may keep what it reads: the output, and whatever is not torch's own."""
    if node.op in ("placeholder", "get_attr"):
        return False
    if node.op == "call_module":
        called = module.get_submodule(str(node.target))
        own = isinstance(called, Layer) or (type(called).__module__.startswith("torch.nn.modules.") and not called._modules)
        return not own or not is_quiet(called.__dict__)
    if node.op == "call_function":
        home = str(getattr(node.target, "__module__", None) or "torch").split(".")[0]
        return home not in KNOWN and not hasattr(builtins, getattr(node.target, "__name__", ""))
    return node.op != "call_method"


def writes_where_told(module: fx.GraphModule, node: fx.Node, recorded: Recorded) -> bool:
    """Whether a node is a function of torch's that can write its result, a whole tensor, into a given one."""
    if node.op not in ("call_module", "call_function") or not node.args or isinstance(node.args[0], (int, float)):
        return False
    target = node.target
    if node.op == "call_module":
        called = module.get_submodule(str(node.target))
        target = type(called) if is_quiet(called.__dict__) else None
    if target not in WRITING or "out" in node.kwargs:
        return False
    inputs: list[Any] = []
    fx.node.map_arg((node.args, node.kwargs), lambda one: inputs.append(recorded[one]))
    y = recorded[node]
    same = all(type(one) is torch.Tensor and one.dtype == y.dtype for one in (*inputs, y))
    return bool(same and inputs and y.numel() and unserved(y) is None and is_dense(y))


def is_dense(x: torch.Tensor) -> bool:
    """Whether a tensor fills its memory, in one of torch's formats."""
    return x.is_contiguous() or (x.ndim - 2 in FORMATS and x.is_contiguous(memory_format=FORMATS[x.ndim - 2]))


def is_view(module: fx.GraphModule, node: fx.Node, recorded: Recorded) -> bool:
    """Whether a node gives what it reads, or a view of it."""
    lies = storages(recorded[node])
    if not lies or not lies <= storages([recorded[one] for one in node.all_input_nodes]):
        return False
    if node.op == "call_module":
        called = module.get_submodule(str(node.target))
        return type(called) in PASSING and is_quiet(called.__dict__)
    name = node.target if node.op == "call_method" else getattr(node.target, "__name__", "")
    return node.op in ("call_method", "call_function") and name in VIEWS


def last_reader(node: fx.Node) -> fx.Node | None:
    """The last node, in order, that reads a node."""
    return max(node.users, default=None)


def called(module: fx.GraphModule, node: fx.Node) -> Callable[..., Any]:
    """What a node calls."""
    if node.op == "call_module":
        return module.get_submodule(str(node.target))
    if node.op == "call_method":
        name = str(node.target)
        return lambda x, *others, **named: getattr(x, name)(*others, **named)
    return node.target  # type: ignore[return-value]


def attribute(module: fx.GraphModule, path: str) -> Callable[[], Any]:
    """What looks up a parameter, or a constant, of a model."""
    return lambda: operator.attrgetter(path)(module)
