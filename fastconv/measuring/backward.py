"""Gradients of layers beside torch's, by input and by weights, channels first and last: `fastconv compare --backward`.

Both run in this process in turn, round by round, on the same number of threads, and the results of either are compared.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from math import prod
from statistics import median
from typing import Any

import numpy as np

import fastconv as api
from fastconv.measuring.busy import Watch
from fastconv.measuring.checking import PEER
from fastconv.measuring.layers import Layer
from fastconv.plans.timing import timed_round
from fastconv.problem.convolutions import LAYOUTS, Array, ConvGeometry

ROUNDS = 5
SECONDS = 0.2  # of timing for each row
Call = Callable[[], Any]


@dataclass(frozen=True)
class Row:
    """The gradient of one layer by one operand, in one layout.

    Attributes
    ----------
    layer : str
        "network.layer".
    count : int
        How many such layers the network has.
    layout, operand : str
        "NCHW" or its kin; "x" or "w".
    seconds : float
        Median of one pullback of a plan, weights packed beforehand.
    torch_seconds : float or None
        Of torch.autograd.grad on tensors of the same layout; None where torch cannot serve the layer.
    difference : float or None
        The largest difference from torch's gradient, over the largest sum of the terms' magnitudes.
    wrong : bool
        Whether it is more than rounding explains.
    note : str
        Why there is nothing of torch's.
    """

    layer: str
    count: int
    layout: str
    operand: str
    seconds: float = 0.0
    torch_seconds: float | None = None
    difference: float | None = None
    wrong: bool = False
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Times as fast as torch."""
        return None if self.torch_seconds is None else self.torch_seconds / self.seconds


def rows_of(layer: Layer, dtype: str, seconds: float, watch: Watch) -> Iterator[Row]:
    """The rows of a layer in both layouts, one as it is measured."""
    for layout in LAYOUTS[layer.rank]:
        x, w = layer.arrays(dtype, layout)
        arrays = (x,) if w is None else (x, w)
        pull = _pullback(layer, layout, arrays)
        dy = np.random.default_rng(1).standard_normal(pull.shape).astype(x.dtype)
        try:
            theirs: TorchGradient | None = TorchGradient(layer, layout, (*arrays, dy))
            note = ""
        except (ImportError, RuntimeError, TypeError, AttributeError) as error:
            theirs, note = None, f"{type(error).__name__}: {str(error).splitlines()[0]}"[:160]
        magnitudes = _pullback(layer, layout, tuple(map(np.abs, arrays))).pull(np.abs(dy))
        for place, operand in enumerate(pull.names):
            terms = magnitudes[place] if isinstance(magnitudes, tuple) else magnitudes
            found = Row(layer.name, layer.count, layout, operand, note=note)
            if theirs is not None:
                found = _checked(found, pull.pull(dy, operand), theirs(place), terms, pull.lengths[place])
            calls: list[Call] = [partial(pull.pull, dy, operand), *([partial(theirs.run, place)] if theirs else [])]
            mine, *others = _medians(calls, seconds, watch)
            yield replace(found, seconds=mine, torch_seconds=others[0] if others else None)


def _checked(row: Row, mine: Array, theirs: Array, terms: Array, length: int) -> Row:
    """The row with how far the two are apart; either may round as a peer does."""
    largest = float(terms.max(initial=0)) or 1.0
    difference = float(np.abs(mine - theirs).max(initial=0)) / largest
    return replace(row, difference=difference, wrong=not difference <= 2 * PEER.factor * np.finfo(mine.dtype).eps * length)


def _medians(calls: Sequence[Call], seconds: float, watch: Watch) -> list[float]:
    """Of calls that are made in turn, round by round."""
    rounds: list[list[list[float]]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for call, of_call in zip(calls, rounds, strict=True):
            with watch.calls():
                of_call.append(timed_round(call, seconds / ROUNDS))
    middles = list(map(median, rounds[0]))
    watch.spreads.append(max(middles) / min(middles))
    return [median(chain.from_iterable(of_call)) for of_call in rounds]


@dataclass(frozen=True)
class _Pull:
    """A pullback, the shape that it takes, and how many terms a sum of each gradient has."""

    pull: Any
    shape: tuple[int, ...]
    names: tuple[str, ...]
    lengths: tuple[int, ...]


def _pullback(layer: Layer, layout: str, arrays: Sequence[Array]) -> _Pull:
    """Of a plan: the weights are packed before."""
    operation, (x, *weights) = getattr(api, layer.operation), arrays
    plan = operation.plan(x.shape, *weights, layout=layout, x_dtype=x.dtype, **layer.kwargs)
    y, pull = plan.vjp(x)
    g = plan.geometry
    taps = prod(g.kernel) if not getattr(g, "adaptive", False) else 1
    by_x = taps * (g.out_per_group if isinstance(g, ConvGeometry) else 1)
    by_w = g.batch * prod(g.in_size if getattr(g, "transposed", False) else g.out_size)
    return _Pull(pull, y.shape, pull.names, (by_x + 1, by_w + 1))


class TorchGradient:
    """torch's gradient of a layer by its first or second operand; the forward pass is done once, before."""

    def __init__(self, layer: Layer, layout: str, arrays: Sequence[Array]) -> None:
        import torch

        self.torch, self.last = torch, layout == LAYOUTS[layer.rank][1]
        torch.set_num_threads(api.get_num_threads())
        forms = {1: torch.contiguous_format, 2: torch.channels_last, 3: torch.channels_last_3d}
        turned = [np.moveaxis(one, -1, 1) if self.last else one for one in arrays]
        tensors = [torch.from_numpy(np.ascontiguousarray(one)) for one in turned]
        if self.last:
            tensors = [one.to(memory_format=forms[layer.rank]) for one in tensors]
        *leaves, self.dy = tensors
        self.leaves = [leaf.requires_grad_() for leaf in leaves]
        with torch.enable_grad():
            self.y = self._forward(layer)

    def _forward(self, layer: Layer) -> Any:
        functional, options = self.torch.nn.functional, layer.kwargs
        x, *weights = self.leaves
        padding = options.get("padding")
        if isinstance(padding, tuple) and isinstance(padding[0], tuple):  # of each side: a pass of its own
            x = functional.pad(x, [cells for pair in reversed(padding) for cells in pair])
            options.pop("padding")
        return getattr(functional, layer.operation)(x, *weights, **options)

    def run(self, place: int) -> Any:
        """The timed call."""
        return self.torch.autograd.grad(self.y, self.leaves[place], self.dy, retain_graph=True)

    def __call__(self, place: int) -> Array:
        """The gradient as an array in the layer's layout."""
        found: Array = self.run(place)[0].numpy()
        return np.moveaxis(found, 1, -1) if self.last else found


def mean_ratio(rows: Sequence[Row]) -> float | None:
    """The geometric mean of times as fast, each layer as often as the network has it; None where there is no ratio."""
    found = [(row.count, row.ratio) for row in rows if row.ratio]
    if not found:
        return None
    counts, ratios = zip(*found, strict=True)
    return float(np.exp(np.average(np.log(ratios), weights=counts)))
