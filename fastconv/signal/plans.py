"""Plans of the convolutions that signal's functions are made of, by one of two methods that the caller chooses between.

`local` takes the cheapest implementation whose errors are relative to the terms of an output's own window, so that a NaN, or
one huge cell, stays where it is. `spectral` takes Fourier transforms of blocks.
"""

from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.keeping import remembered
from fastconv.machine import host
from fastconv.plans.dispatch import estimate, least_of
from fastconv.plans.kinds import ConvPlan
from fastconv.plans.planning import Given, bias_array, plan_without_weights
from fastconv.plans.registry import OPERATIONS
from fastconv.problem.convolutions import Pairs, Size
from fastconv.signal.arrays import Array

MOST_AXES = 3


class Call(NamedTuple):
    """What decides a plan: batch, channel, then the spatial axes of x; and out channels, 1, then those of w.

    Attributes
    ----------
    x_shape, w_shape : tuple of int
        Of the arrays.
    x_dtype, w_dtype, dtype : dtype
        Of the arrays, and of the sums and the result.
    padding : tuple of pairs of int
        Cells (before, after) each spatial axis.
    stride : tuple of int
        Cells between windows.
    border : str
        fastconv's padding_mode.
    value : number
        What the cells of the border "constant" hold.
    layout : str, optional
        Of the arrays, where channels are not first.
    """

    x_shape: Size
    w_shape: Size
    x_dtype: np.dtype[Any]
    w_dtype: np.dtype[Any]
    dtype: np.dtype[Any]
    padding: Pairs
    stride: Size
    border: str = "zeros"
    value: Any = 0
    layout: str | None = None

    def plan(self) -> ConvPlan:
        """A plan without weights, by whatever implementation."""
        rank = len(self.stride)
        weights = np.broadcast_to(np.zeros((), self.w_dtype), self.w_shape)
        filled = {"padding_value": self.value} if self.border == "constant" else {}
        return plan_without_weights(
            f"conv{rank}d",
            rank,
            Given(self.x_shape, self.x_dtype, weights),
            True,
            dtype=self.dtype,
            stride=self.stride,
            padding=self.padding,
            padding_mode=self.border,
            layout=self.layout,
            **filled,
        )


class Planned(NamedTuple):
    """A plan without weights, and the seconds that it is expected to take with the packing of its weights."""

    plan: ConvPlan
    seconds: float

    def __call__(self, x: Array, w: Array) -> Array:
        """The correlation of x with w."""
        weights = self.plan.seen_weights(w)
        packed = self.plan.packing(weights, bias_array(None, self.plan))
        result: Array = self.plan.run({"x": x}, None, packed, {"w": w})
        return result


def by(call: Call, names: tuple[str, ...]) -> Planned | None:
    """The cheapest of these implementations, for one call, or None where none serves it."""
    plan, machine = call.plan(), host()
    found = tuple(one for one in OPERATIONS["conv"] if one.name in names and one.supports(plan.seen) is None)
    if not found:
        return None
    best = least_of(found, plan.seen, machine, once=True)
    types = plan.problem.types
    read = types.stored if best.reads(plan.seen) or "x" in best.converts(plan.seen) else types.summed
    operands = tuple(one._replace(kernel_dtype=read) for one in plan.operands)
    chosen = ConvPlan(plan.operation, plan.problem, plan.form, best, operands, plan.out_shape)
    return Planned(chosen, estimate(best, plan.seen, machine, once=True))


@remembered
def local(call: Call) -> Planned:
    """The plan whose errors are local."""
    found = by(call, tuple(one.name for one in OPERATIONS["conv"] if not one.error.spread))
    assert found is not None, "the reference serves all"
    return found


@remembered
def spectral(call: Call) -> Planned | None:
    """The plan by Fourier transforms of blocks, where the kernel fits one."""
    return by(call, ("fft",))
