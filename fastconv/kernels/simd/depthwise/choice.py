"""Depthwise convolution: each channel by a kernel of its own.

planes        rows read where they lie: square kernels, channels first, or of few channels last
interleaved   rows of few channels last, copied: any other kernel
rows          vectors of channels: channels last, also in groups of a few, and what else there is channels first
"""

from typing import Any

import numpy as np

from fastconv.kernels.jit import Launch
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd.depthwise import interleaved, planes, rows
from fastconv.kernels.simd.engine.costs import Candidate, cheapest
from fastconv.kernels.simd.engine.weights import Draft, launched
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array, ConvGeometry
from fastconv.problem.problem import Operands, Problem


def form_of(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> Any:
    """The module of the candidates: the first that suits a geometry was measured to be the fastest, but for none at all."""
    return next((form for form in (planes, interleaved) if form.suits(geometry, dtype, machine)), rows)


def supports(problem: Problem) -> str | None:
    """One channel a group, or few; two axes at most, float32 or float64, strides and kernels the loops are written for."""
    g, dtype = problem.geometry, problem.dtype
    if dtype not in (np.float32, np.float64):
        return f"its vectors are float32 or float64, not {dtype}"
    lanes = host().lanes(dtype)
    small = g.groups > 1 and g.channels_last and g.in_per_group == g.out_per_group and lanes % max(1, g.in_per_group) == 0
    if g.transposed or not (small or g.in_per_group == g.out_per_group == 1):
        return "it serves one input and one output channel a group, or channels last a few of each"
    if g.rank > 2:
        return "it serves one or two axes"
    if g.stride[-1] > 2:
        return f"it serves a stride of 1 or 2 along the last axis, not {g.stride[-1]}"
    return rows.supports(g, lanes) if form_of(g, dtype, host()) is rows else None


@remembered
def chosen(problem: Problem, machine: Machine, shared: bool) -> Candidate:
    """The fastest candidate, for channels that have the same filter, or others."""
    geometry, dtype = problem.geometry, problem.dtype
    return cheapest(form_of(geometry, dtype, machine).candidates(geometry, shared, dtype, machine))


def draft(problem: Problem, machine: Machine, shared: bool) -> Draft:
    """What runs, without weights."""
    made: Draft = chosen(problem, machine, shared).launch()
    return made


def are_shared(w: Array) -> bool:
    """Whether all channels have the same filter."""
    return bool((w == w[:1]).all())


def fuses(problem: Problem) -> bool:
    """Stacks of rows may overlap in planes.py, and what two of them store is finished in registers or not at all."""
    return not (problem.finished_later and form_of(problem.geometry, problem.dtype, host()) is planes)


def cost(problem: Problem, machine: Machine) -> float:
    """Seconds of the fastest candidate: the least, which is that of channels with the same filter."""
    return chosen(problem, machine, True).seconds


def kernel(problem: Problem, machine: Machine) -> str:
    """The name of the kernel that runs where channels have filters of their own."""
    return draft(problem, machine, False).launch.kernel.__name__


def pack(w: Array, bias: Array, problem: Problem) -> Launch:
    """Weights as the kernel takes them."""
    return launched(draft(problem, host(), are_shared(w)), w, bias)


def run(operands: Operands, packed: Launch, problem: Problem, out: Array) -> None:
    """All rows, or all planes."""
    y = out.ravel()
    packed.run(operands["x"].ravel(), operands["residual"].ravel() if problem.residual else y, y)
