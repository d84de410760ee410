"""What lists of implementations share: costs, loops that are compiled, and loops in Python."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from fastconv.kernels.simd.engine import costs
from fastconv.machine import Machine
from fastconv.plans.registry import Implementation
from fastconv.problem.problem import Problem

FAR = 1 << 24  # cells that a window, a padding or a stride may have where kernels copy what a few outputs reach over
LOOPS = "the reference's loops, compiled and parallel over outputs"
PLAIN_LOOPS = "plain Python loops in float64 or wider: the definition of correct"


def at(operations_per_second: float, overhead: float) -> Callable[[Problem, Machine], float]:
    """A cost that grows with the operations alone."""
    return lambda problem, machine: overhead + problem.geometry.flops / operations_per_second


def per_weight(seconds_per_byte: float, overhead: float) -> Callable[[Problem, Machine], float]:
    """A time to pack that grows with the bytes of the weights."""
    return lambda problem, machine: costs.of_packing(problem.geometry, problem.dtype, seconds_per_byte, overhead)


def as_given(w: Any, bias: Any, problem: Problem) -> Any:
    """Nothing is packed."""
    return w, bias


def blas_cost(problem: Problem, machine: Machine) -> float:
    """Columns written and read at memory speed, weights as they come, the product at BLAS speed, or NumPy's own for integers.

    The columns of a transposed convolution are what the product makes, to be added to windows: channels last a few at a time.
    """
    g, dtype = problem.geometry, problem.dtype
    each, summed = (g.out_per_group * g.taps, g.in_per_group) if g.transposed else (g.reduction, g.reduction)
    positions = g.flops / max(1, 2 * g.batch * g.groups * g.reduction * g.out_per_group)
    columns = g.batch * g.groups * positions
    full = summed + 1  # short sums do not keep BLAS busy
    rate = 0.7 * machine.flops(dtype) * full / (full + 48) if dtype.kind in "fc" else 1e9
    calls = g.batch * g.groups * (g.taps + 12)
    runs = columns * g.taps if g.transposed and g.channels_last and g.out_per_group > 1 else 0
    weights = dtype.itemsize * g.groups * g.reduction * g.out_per_group
    near = weights <= machine.l3
    packed = 0.6 if g.transposed else 2.0 if near else 1.0  # rows of the weights of a transposed convolution are columns to it
    speed = packed if positions > 1 else 7 if near else 1.7  # of reads that follow each other; else BLAS packs them
    moved = 2 * dtype.itemsize * columns * each + g.batch * weights / speed
    return 2e-6 * (1 + calls) + moved / machine.bandwidth + 1e-8 * runs + g.flops / rate


def reads_all(problem: Problem) -> bool:
    """Loops are compiled for any dtypes but float16, which the processor may not have."""
    return np.dtype(np.float16) not in problem.types


def near(one: Implementation) -> Implementation:
    """An implementation of convolutions whose workspaces hold what a few outputs reach over."""

    def supports(problem: Problem) -> str | None:
        longest = problem.geometry.longest
        if longest > FAR:
            return f"its windows, paddings and strides have at most {FAR:,} cells, not {longest:,}"
        return one.supports(problem)

    return replace(one, supports=supports)


def in_loops(run: Any, cost: Any = None, pack: Any = None) -> Implementation:
    """The record of compiled loops."""
    cost = cost or at(5e8, 2e-5)
    return Implementation("loops", LOOPS, run, cost, pack=pack, reads=reads_all if pack else lambda problem: False)


def in_plain_loops(run: Any, pack: Any = None) -> Implementation:
    """The record of loops in Python."""
    return Implementation("reference", PLAIN_LOOPS, run, at(1e6, 1e-4), pack=pack, reads=lambda problem: pack is not None)
