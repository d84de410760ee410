"""torch models whose convolutions and pools run on fastconv.

copy in eval mode -> trace -> fuse -> layers in the place of nodes
  what cannot be traced -> each of its children by itself
"""

import copy
import sys
import warnings
from typing import Any

import torch
from torch import fx, nn
from torch.nn.modules.container import ModuleDict, ModuleList

from fastconv.torch.formats import computed_in
from fastconv.torch.fusing import CONVOLUTIONS, NORMS, POOLS, Fuser, Row, convolution, hooks, refusal
from fastconv.torch.layers import Layer
from fastconv.torch.pools import Pool
from fastconv.torch.products import Linear
from fastconv.torch.running import ROWS, Network, memory

TOLERANCE = 1e-3  # of the largest output: what a conversion that went wrong passes, and rounding never does
MANY = 8  # convolutions, for which maps may be converted once on their way in and out
VIEWS = {"view": "reshape"}


class _Tracer(fx.Tracer):  # type: ignore[misc]
    """Modules with hooks are called as they are, and so are torch's own."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a call of a module is one node."""
        return hooks(m) or super().is_leaf_module(m, module_qualified_name)


class Ends(nn.Module):  # type: ignore[misc]
    """A model that computes in one memory format, whatever its inputs have; a traced one does so by itself.

    Parameters
    ----------
    model : torch.nn.Module
        Gets tensors with four or five axes in the format.
    memory_format : torch.memory_format
        torch.channels_last or torch.contiguous_format.
    """

    def __init__(self, model: nn.Module, memory_format: torch.memory_format) -> None:
        super().__init__()
        self.model, self.memory_format = model, memory_format

    def forward(self, *arguments: Any, **named: Any) -> Any:
        """The result of the model, in the format of the first map that came."""
        return computed_in(self.memory_format, self.model, arguments, named)


class Progress:
    """A line on the terminal that says how far the conversion is."""

    def __init__(self, shown: bool) -> None:
        self.shown, self.written = shown, False

    def say(self, done: int, total: int, what: str) -> None:
        """Write the line anew."""
        if self.shown:
            width = 24
            bar = "#" * (width * done // max(1, total))
            sys.stderr.write(f"\r\x1b[Kfastconv [{bar:{width}}] {done}/{total} {what}")
            sys.stderr.flush()
            self.written = True

    def close(self) -> None:
        """End the line."""
        if self.written:
            sys.stderr.write("\n")


def convert(
    model: nn.Module,
    example_input: Any = None,
    *,
    memory_format: torch.memory_format | None = None,
    progress: bool | None = None,
) -> nn.Module:
    """A copy of a torch model, for inference, whose convolutions, linear layers and pools run on fastconv.

    Batch norms are folded into the convolutions before them, and activations and the addition of a residual are computed as
    the convolutions write, where torch.fx can trace the model; what it cannot trace is converted module by module. Whatever
    fastconv does not serve stays torch's, and `report` says why.

    Parameters
    ----------
    model : torch.nn.Module
        Is not changed. It may be in training mode; the copy is in eval mode, and its parameters require no gradients.
    example_input : Tensor or tuple of Tensor, optional
        What the copy will be called with. The plans are then made here and not in the first call, and the copy's result is
        compared with the model's: a RuntimeWarning tells if they differ.
    memory_format : {torch.channels_last, torch.contiguous_format, torch.preserve_format}, optional
        The format that the copy computes in: inputs are converted to it where they come in another, and results back; with
        torch.preserve_format that in which they come. By default channels_last, which is faster in most, in models of 8 and
        more two-dimensional convolutions that torch.fx traces as a whole; in others that in which they come.
    progress : bool, optional
        Whether to show a progress bar on stderr; by default, on a terminal.

    Returns
    -------
    torch.nn.Module
        Called as the model is, under torch.no_grad() or not. It keeps plans for the last few input shapes. In training mode
        it raises, where a batch norm is folded.

    Raises
    ------
    TypeError
        If model is no torch.nn.Module, or memory_format none of the three.

    Examples
    --------
    >>> import torch
    >>> import fastconv.torch
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
    >>> fast = fastconv.torch.convert(model)
    >>> fast(torch.zeros(1, 3, 6, 6)).shape
    torch.Size([1, 8, 4, 4])
    >>> print(fastconv.torch.report(fast))
    0  Conv2d  fastconv: conv2d + batch norm + relu, by direct
    1 of 1 layers run on fastconv
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if memory_format not in (None, torch.channels_last, torch.contiguous_format, torch.preserve_format):
        raise TypeError(
            f"memory_format must be None, torch.channels_last, torch.contiguous_format or torch.preserve_format, got "
            f"{memory_format!r}"
        )
    bar = Progress(sys.stderr.isatty() if progress is None else bool(progress))
    try:
        with torch.inference_mode(False), torch.no_grad():
            bar.say(0, 3, "tracing")
            copied = copy.deepcopy(model).eval()
            rows: list[Row] = []
            wanted = chosen_format(copied) if memory_format is None else memory_format
            found = converted(copied, "", rows, wanted is torch.channels_last)
            for parameter in found.parameters():
                parameter.requires_grad_(False)
            if wanted is not torch.preserve_format:
                if isinstance(found, Network):
                    found.memory_format = wanted
                elif memory_format is not None:
                    found = Ends(found, wanted).eval()
            setattr(found, ROWS, rows)
            if example_input is not None:
                verify(model, found, example_input, bar)
            bar.say(3, 3, f"{sum(row.layer is not None for row in rows)} layers converted")
    finally:
        bar.close()
    return found


def chosen_format(model: nn.Module) -> torch.memory_format:
    """channels_last, in which kernels read and write vectors of channels, where it pays to convert inputs and results."""
    kinds = [type(one) for one in model.modules()]
    many = kinds.count(nn.Conv2d) >= MANY and not any(kind in CONVOLUTIONS and kind is not nn.Conv2d for kind in kinds)
    return torch.channels_last if many and not any(map(hooks, model.modules())) else torch.preserve_format


def converted(module: nn.Module, prefix: str, rows: list[Row], last: bool) -> nn.Module:
    """A module traced and fused, or with its children converted."""
    kind = type(module)
    if kind in CONVOLUTIONS or kind in POOLS or kind is nn.Linear:
        return single(module, prefix, rows)
    if not module._modules:
        if kind in NORMS:
            rows.append(Row(prefix.rstrip("."), kind.__name__, None, "what surrounds it could not be traced"))
        return module
    reason = untraced(module, prefix)
    if reason is None:
        tracer = _Tracer()
        try:
            graph = tracer.trace(module)
        except Exception as error:  # whatever the model's own code raises for proxies
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        else:
            found = Network(module, graph, kind.__name__)
            if last:
                reshape_views(found)
            fuser = Fuser(found, prefix)
            fuser.run()
            rows += fuser.rows
            for name, value in vars(module).items():
                if name not in vars(found):
                    found.__dict__[name] = value
            for name, child in list(found.named_modules()):  # modules with hooks, called as they are
                if hooks(child) and child._modules:
                    children(child, f"{prefix}{name}.", rows, last)
            return found.eval()
    rows.append(Row(prefix.rstrip(".") or "(model)", kind.__name__, None, f"converted child by child: {reason}"))
    children(module, prefix, rows, last)
    return module


def children(module: nn.Module, prefix: str, rows: list[Row], last: bool) -> None:
    """Convert the children of a module in their places."""
    for name, child in list(module.named_children()):
        setattr(module, name, converted(child, f"{prefix}{name}.", rows, last))


def untraced(module: nn.Module, prefix: str) -> str | None:
    """Why a module is not traced as a whole."""
    if hooks(module):
        return "it has hooks"
    if isinstance(module, (ModuleList, ModuleDict)):
        return "a container is never called"
    if isinstance(module, torch.jit.ScriptModule):
        return "it is a script module"
    known = dir(nn.Module)
    methods = [name for name in dir(type(module)) if not name.startswith("_") and name not in known and name != "forward"]
    if prefix and not isinstance(module, nn.Sequential) and any(callable(getattr(type(module), one)) for one in methods):
        return f"others may call its {methods[0]}()"
    return None


def single(module: Any, prefix: str, rows: list[Row]) -> nn.Module:
    """A layer in the place of one module."""
    name, reason = prefix.rstrip(".") or "(model)", refusal(module)
    layer: Layer | None = None
    if reason is None:
        if type(module) in CONVOLUTIONS:
            layer = convolution(module)
        else:
            layer = Linear(module) if type(module) is nn.Linear else Pool(module, POOLS[type(module)])
        layer.eval()
    rows.append(Row(name, type(module).__name__, layer, reason))
    return module if layer is None else layer


def reshape_views(module: fx.GraphModule) -> None:
    """Views of maps, which channels_last memory does not have, become reshapes."""
    for node in module.graph.nodes:
        if node.op == "call_method" and node.target in VIEWS and not isinstance(node.args[-1], torch.dtype):
            node.target = VIEWS[node.target]
    module.recompile()


def verify(model: nn.Module, found: nn.Module, example_input: Any, bar: Progress) -> None:
    """Make the plans, and compare the results."""
    arguments = example_input if isinstance(example_input, tuple) else (example_input,)
    bar.say(1, 3, "making plans")
    ours = found(*arguments)
    bar.say(2, 3, "comparing")
    modes = [(one, one.training) for one in model.modules()]
    try:
        theirs = model.eval()(*arguments)
    finally:
        for one, training in modes:
            one.training = training
    pairs = zip(torch.utils._pytree.tree_leaves(ours), torch.utils._pytree.tree_leaves(theirs), strict=True)
    for mine, expected in pairs:
        if isinstance(expected, torch.Tensor) and expected.is_floating_point() and expected.numel():
            far = (mine.double() - expected.double()).abs().max() / expected.double().abs().max().clamp_min(1e-30)
            if not far <= TOLERANCE and bool(expected.isfinite().all()):
                warnings.warn(
                    f"the converted model's result differs from the model's by {float(far):.2g} of its largest value for "
                    "example_input: is the model random, or does it keep a state?",
                    RuntimeWarning,
                    stacklevel=3,
                )


def report(converted: nn.Module) -> str:
    """What runs on fastconv in a converted model and what does not, and why: a line a layer.

    Parameters
    ----------
    converted : torch.nn.Module
        What `convert` returned. Once it was called, the lines also tell which implementations run, and what torch ran after
        all.

    Returns
    -------
    str
        Lines to print.

    Raises
    ------
    TypeError
        If `converted` is no converted model.

    Examples
    --------
    >>> import torch
    >>> import fastconv.torch
    >>> model = torch.nn.Sequential(torch.nn.MaxPool2d(2), torch.nn.Linear(4, 4), torch.nn.Softmax(-1))
    >>> print(fastconv.torch.report(fastconv.torch.convert(model)))
    0  MaxPool2d  fastconv: max_pool2d
    1  Linear     fastconv: linear
    2  Softmax    torch: fastconv has no such operation
    2 of 3 layers run on fastconv
    """
    rows = getattr(converted, ROWS, None)
    if rows is None:
        raise TypeError(f"converted must be what fastconv.torch.convert returned, got {type(converted).__name__}")
    lines = [(row.name, row.kind, where(row)) for row in rows]
    wide = [max((len(line[column]) for line in lines), default=0) for column in (0, 1)]
    served = sum(row.layer is not None for row in rows)
    layers = sum(not (row.reason or "").startswith("converted child") for row in rows)
    table = [f"{name:{wide[0]}}  {kind:{wide[1]}}  {text}" for name, kind, text in lines]
    results, buffers, held, apart = memory(converted)
    if results:
        written = f"{results} results share {buffers} buffers of {held / 1e6:.1f} MB, for {apart / 1e6:.1f} MB in all"
        table.append(f"{written}; the others are new in each call")
    return "\n".join([*table, f"{served} of {layers} layers run on fastconv"])


def where(row: Row) -> str:
    """Where a layer runs."""
    if row.layer is None:
        return f"torch: {row.reason}"
    names, reason = row.layer.implementation(), row.layer.reason
    by = f", by {names}" if names else ""
    return f"fastconv: {row.layer.summary}{by}" + (f"; torch ran it last time: {reason}" if reason else "")
