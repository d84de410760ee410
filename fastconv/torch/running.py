"""A traced model that runs without asking again what it found out in its first call with inputs of a kind.

    the first call, by torch.fx -> values recorded -> lifetimes -> Schedule: steps, and the buffers that they write into
    later calls -> steps, one after the other

Results of layers lie in buffers that belong to the model and are used again within a call; what leaves the model is new
memory. A call that finds the buffers in use, or inputs that are not plain tensors, runs as torch.fx wrote it.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import fx, nn
from torch.nn.modules import module as modules

from fastconv.torch.formats import computed_in
from fastconv.torch.layers import MOST, unserved
from fastconv.torch.schedules import Changed, Schedule, kind

ROWS = "fastconv_rows"
PLAIN = (bool, int, float, str, type(None))


class Recorder(fx.Interpreter):  # type: ignore[misc]
    """A run that keeps every value."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module, garbage_collect_values=False)


def memory(network: nn.Module) -> tuple[int, int, int, int]:
    """(results, buffers, bytes of these, bytes of those, each by itself) of the schedules of a model and of all in it."""
    found = [one for module in network.modules() if isinstance(module, Network) for one in module.schedules.values()]
    slots = [one.slots for one in found]
    return (
        sum(len(one.of) for one in slots),
        sum(len(one.sizes) for one in slots),
        sum(sum(one.sizes) for one in slots),
        sum(one.values for one in slots),
    )


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
        self.memory_format = torch.preserve_format  # that maps are converted to as they come, and results back

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
                found.__dict__[name] = memo.get(id(value), value)
        found.memory_format = self.memory_format
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
    network.memory_format = fields.get("memory_format", torch.preserve_format)
    return network.train(fields.get("training", False))


def scheduled(self: Any, *arguments: Any, **named: Any) -> Any:
    """The result for maps in the network's format."""
    if self.memory_format is torch.preserve_format:
        return looked_up(self, *arguments, **named)
    return computed_in(self.memory_format, partial(looked_up, self), arguments, named)


def looked_up(self: Any, *arguments: Any, **named: Any) -> Any:
    """The result of a schedule, where there is one or one can be made."""
    key = None if named or self.training or modules._has_any_global_hook() else key_of(arguments)
    if key is None:
        return self.written(*arguments, **named)
    schedule = self.schedules.get(key)
    if schedule is None:
        return recorded_run(self, key, arguments)
    watched = schedule.watched
    if not watched.unchanged():
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
