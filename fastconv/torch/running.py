"""A traced model that runs without asking again what it found out in its first call with inputs of a kind.

    the first call, by torch.fx -> values recorded -> lifetimes -> Schedule: steps, and the buffers that they write into
    later calls -> steps, one after the other

Results of layers lie in buffers that belong to the model and are used again within a call; what leaves the model is new
memory. A call that finds the buffers in use, or inputs that are not plain tensors, runs as torch.fx wrote it.
"""

import builtins
import operator
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import fx
from torch.nn.modules import module as modules

from fastconv.kernels.memory import aligned
from fastconv.torch.layers import MOST, Layer, Ready, is_last, tensors, unserved
from fastconv.torch.lifetimes import Recorded, Slots, assigned, last_uses

ROWS = "fastconv_rows"
BYTE = np.dtype(np.uint8)
PLAIN = (bool, int, float, str, type(None))
KNOWN = ("torch", "_operator", "math", "builtins", "einops")  # whose functions keep nothing of what they read


class Changed(Exception):
    """A value is not as it was when the schedule was made."""


class Recorder(fx.Interpreter):  # type: ignore[misc]
    """A run that keeps every value."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module, garbage_collect_values=False)


class Watched(NamedTuple):
    """What a schedule depends on: the modules that it calls by their names, and the tensors that they hold."""

    owner: dict[str, Any]
    layers: tuple[tuple[str, Any], ...]
    others: tuple[Any, ...]

    def state(self) -> list[Any]:
        """All that changes if weights do, or modules, or what watches their calls."""
        found: list[Any] = []
        for name, layer in self.layers:
            fields = layer.__dict__
            whole = self.owner.get(name) is layer and not fields["training"]
            found.append(whole and not fields["_forward_hooks"] and not fields["_forward_pre_hooks"])
            for one in fields["_parameters"].values():
                found += (None,) if one is None else (one._version, one.data_ptr())
        return found

    def needs_gradients(self) -> bool:
        """Whether what torch computes is written down for a backward pass."""
        return torch.is_grad_enabled() and any(
            one.requires_grad for layer in self.others for one in layer._parameters.values() if one is not None
        )


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
        self.values: list[Any] = [None] * len(self.numbers)
        self.steps: list[tuple[Callable[..., Any], bool]] = []
        self.ready = {node: one for node in recorded if (one := ready_of(module, node, recorded)) is not None}
        last = last_uses(self.ready, recorded, {node for node in recorded if keeps(module, node)})
        self.slots: Slots = assigned(last, recorded)
        self.buffers = [aligned(size, BYTE) for size in self.slots.sizes]
        for node in recorded:
            if node.op == "output":
                self.result = node.args[0]
            elif node in self.ready:
                self.add_layer(node, recorded)
            elif node.op == "get_attr":
                self.add(node, attribute(module, str(node.target)))
            elif node.op != "placeholder":
                self.add(node, called(module, node))
        names = [str(node.target) for node in self.ready]
        layers = tuple((name, module.get_submodule(name)) for name in dict.fromkeys(names))
        self.watched = Watched(module._modules, layers, tuple(module.modules()))
        self.state = self.watched.state()

    def add(self, node: fx.Node, run: Callable[..., Any]) -> None:
        """A step of torch's own: its arguments are looked up, and its result is kept until it was read."""
        number, numbers = self.numbers[node], self.numbers
        after = [numbers[one] for one in node.all_input_nodes if one not in self.slots.of and last_reader(one) is node]

        def step(values: list[Any]) -> None:
            arguments = fx.node.map_arg(node.args, lambda one: values[numbers[one]])
            named = fx.node.map_arg(node.kwargs, lambda one: values[numbers[one]]) if node.kwargs else {}
            values[number] = run(*arguments, **named)
            for one in after:
                values[one] = None

        self.steps.append((step, True))

    def add_layer(self, node: fx.Node, recorded: Recorded) -> None:
        """A step that runs a plan: on arrays that stay, or on those of tensors that come."""
        (plan, to, back), layer = self.ready[node], self.module.get_submodule(str(node.target))
        number, y = self.numbers[node], None
        if node in self.slots.of:
            cells = self.buffers[self.slots.of[node]][: recorded[node].numel() * recorded[node].element_size()]
            y = cells.view(plan.out_dtype).reshape(plan.out_shape)
            self.values[number] = tensors(y, back)
        inputs = [one for one in node.args if one is not None]
        late, fixed = layer.late, self.values[number]
        if y is not None and all(one in self.slots.of for one in inputs):
            arrays = [ordered(self.values[self.numbers[one]].numpy(), to) for one in inputs]
            self.steps.append((plan.bind(*arrays, out=y), False))
            if late is not None:
                self.steps.append((lambda: late(fixed), False))
            return
        kinds = [(self.numbers[one], one.op != "placeholder" and one not in self.slots.of, kind(recorded[one])) for one in inputs]

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


class Schedules(OrderedDict[Any, Schedule]):
    """Those of one model, by kinds of arguments. A copy of a model makes its own."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "Schedules":
        return Schedules()

    def __reduce__(self) -> Any:
        return Schedules, ()


class Network(fx.GraphModule):  # type: ignore[misc]
    """A traced model with fastconv's layers, which keeps schedules for its last kinds of inputs."""

    def __init__(self, root: Any, graph: fx.Graph, class_name: str = "GraphModule") -> None:
        super().__init__(root, graph, class_name)
        self.schedules = Schedules()

    def recompile(self) -> Any:
        """Write the forward function anew, and put the schedules before it."""
        code = super().recompile()
        kind: Any = type(self)
        kind.written = kind.forward
        kind.forward = scheduled
        if "schedules" in self.__dict__:
            self.schedules.clear()
        return code

    def _deepcopy_init(self) -> Callable[..., None]:
        return Network.__init__

    def __deepcopy__(self, memo: dict[int, Any]) -> "Network":
        found = super().__deepcopy__(memo)
        for name, value in self.__dict__.items():
            if name not in found.__dict__:
                found.__dict__[name] = memo[id(value)] if id(value) in memo else value
        return found.train(self.training) if self.training else found.eval()

    def __reduce__(self) -> tuple[Any, ...]:
        rebuild, arguments = super().__reduce__()
        return rebuilt, (rebuild, *arguments)


def rebuilt(rebuild: Callable[..., Any], fields: dict[str, Any], imports: str) -> Network:
    """A network of what was pickled."""
    found = rebuild(fields, imports)
    network = Network(found, found.graph, fields.get("_graphmodule_cls_name", "GraphModule"))
    if ROWS in fields:
        setattr(network, ROWS, fields[ROWS])
    return network.train(fields.get("training", False))


def scheduled(self: Any, *arguments: Any, **named: Any) -> Any:
    """The result of a schedule, where there is one or one can be made."""
    key = None if named or self.training or modules._has_any_global_hook() else key_of(arguments)
    if key is None:
        return self.written(*arguments, **named)
    schedule = self.schedules.get(key)
    if schedule is None:
        return recorded_run(self, key, arguments)
    watched = schedule.watched
    if watched.state() != schedule.state:
        self.schedules.pop(key, None)
        return self.written(*arguments)
    if watched.needs_gradients() or not schedule.busy.acquire(blocking=False):
        return self.written(*arguments)
    try:
        return schedule.run(arguments)
    except Changed:
        return self.written(*arguments)
    finally:
        schedule.busy.release()


def recorded_run(network: Network, key: Any, arguments: tuple[Any, ...]) -> Any:
    """The result of a first call, from which a schedule is made."""
    if len(arguments) != sum(node.op == "placeholder" for node in network.graph.nodes):
        return network.written(*arguments)  # type: ignore[operator]
    run = Recorder(network)
    result = run.run(*arguments)
    recorded = {node: run.env[node] for node in network.graph.nodes if node in run.env}
    if len(recorded) == len(network.graph.nodes):
        with torch.inference_mode(False), torch.no_grad():
            network.schedules[key] = Schedule(network, recorded)
        while len(network.schedules) > MOST:
            network.schedules.popitem(last=False)
    return result


def key_of(arguments: tuple[Any, ...]) -> Any:
    """All that a schedule depends on of the arguments; None where one of them is nothing that is served."""
    found: list[Any] = []
    served = False
    for one in arguments:
        if isinstance(one, PLAIN):
            found.append((type(one), one))
            continue
        if unserved(one) is not None:
            return None
        found.append(kind(one))
        served = True
    return tuple(found) if served else None


def kind(x: torch.Tensor) -> Any:
    """What a plan depends on of a tensor."""
    return x.shape, x.stride(), x.dtype


def ordered(array: Any, to: tuple[int, ...] | None) -> Any:
    """An array in the order of a plan's axes."""
    return array if to is None or array.ndim != len(to) else array.transpose(to)


def ready_of(module: fx.GraphModule, node: fx.Node, recorded: Recorded) -> Ready | None:
    """The plan that a node ran on; None where it ran on none, or gives more than one tensor."""
    layer = module.get_submodule(str(node.target)) if node.op == "call_module" else None
    if not isinstance(layer, Layer) or not isinstance(recorded[node], torch.Tensor) or node.kwargs:
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
        known = isinstance(called, Layer) or type(called).__module__.startswith("torch.nn.modules.")
        return not known or bool(called._forward_hooks) or bool(called._forward_pre_hooks) or bool(called._modules)
    if node.op == "call_function":
        home = str(getattr(node.target, "__module__", None) or "torch").split(".")[0]
        return home not in KNOWN and not hasattr(builtins, getattr(node.target, "__name__", ""))
    return node.op != "call_method"


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
