"""Depthwise convolution: each channel by a kernel of its own.

maps          small square maps, channels first, all of a map at once
planes        rows read where they lie: channels first, also dilated, and lines; or square kernels of few channels last
regions       planes whose taps lie apart, by outputs that meet the same of them
interleaved   rows of few channels last, copied: any other kernel
rows          vectors of channels: channels last, also in groups of a few, and planes turned to channels last
volumes       vectors of channels, copied: every geometry, also transposed, with several outputs a channel
"""

from typing import NamedTuple

import numpy as np

from fastconv.kernels.jit import Launch, flat
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd.depthwise import cuts, interleaved, maps, planes, regions, rows, volumes
from fastconv.kernels.simd.engine.costs import Candidate, cheapest, of_packing
from fastconv.kernels.simd.engine.weights import Draft, launched
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array, ConvGeometry
from fastconv.problem.problem import Operands, Problem

LARGE, LARGER = 5, 7  # taps on an axis, from which on planes may be turned sooner than read; of stride 2 in many registers


def candidates(problem: Problem, machine: Machine, shared: bool) -> list[Candidate]:
    """Of the forms that suit a geometry: the first two, where they do, were measured to be the fastest of small kernels."""
    geometry, dtype = problem.geometry, problem.dtype
    turns = rows.suits(geometry, machine.lanes(dtype))
    whole = list(maps.candidates(geometry, dtype, machine)) if maps.suits(geometry, dtype, machine) else []
    whole += list(regions.candidates(geometry, dtype, machine)) if regions.suits(geometry, machine) else []
    for form in (planes, interleaved):
        if form.suits(geometry, dtype, machine):
            found = whole + list(form.candidates(geometry, shared, dtype, machine))
            if geometry.rank == 1:
                return found + others(problem, machine)
            may_turn = turns and form is planes and not geometry.channels_last and not is_small_square(geometry, machine)
            return found + (list(rows.candidates(geometry, dtype, machine)) if may_turn else [])
    return whole + others(problem, machine)


def others(problem: Problem, machine: Machine) -> list[Candidate]:
    """Of the forms that take vectors of channels."""
    geometry, dtype = problem.geometry, problem.dtype
    found = list(rows.candidates(geometry, dtype, machine)) if rows.suits(geometry, machine.lanes(dtype)) else []
    return found + (list(volumes.candidates(geometry, dtype, machine)) if cuts.suits(geometry, machine) else [])


def is_small_square(geometry: ConvGeometry, machine: Machine) -> bool:
    """Whether taps are neighbours, as many on both axes, and few: none of these is turned."""
    g, stepped = geometry, geometry.stride[0] > 1 and machine.registers > 16
    return g.kernel[0] == g.kernel[1] and g.dilation == (1, 1) and g.kernel[0] < (LARGER if stepped else LARGE)


def supports(problem: Problem) -> str | None:
    """One input channel a group; or few, channels last, in rows that are unrolled."""
    g, dtype = problem.geometry, problem.dtype
    if dtype not in (np.float32, np.float64):
        return f"its vectors are float32 or float64, not {dtype}"
    machine = host()
    by_vectors_of_channels = cuts.suits(g, machine) or rows.suits(g, machine.lanes(dtype))
    if by_vectors_of_channels or planes.suits(g, dtype, machine) or regions.suits(g, machine):
        return None
    return "it serves one input channel a group, or channels last a few channels in rows of a few taps"


@remembered
def chosen(problem: Problem, machine: Machine, shared: bool) -> Candidate:
    """The fastest candidate, for channels that have the same filter, or others."""
    return cheapest(candidates(problem, machine, shared))


def draft(problem: Problem, machine: Machine, shared: bool) -> Draft:
    """What runs, without weights."""
    made: Draft = chosen(problem, machine, shared).launch()
    return made


@remembered
def may_share(problem: Problem, machine: Machine) -> bool:
    """Whether it is asked if all channels have the same filter."""
    return any(form.suits(problem.geometry, problem.dtype, machine) for form in (planes, interleaved))


def are_shared(w: Array) -> bool:
    """Whether all channels have the same filter."""
    if len(w) > 1 and w.item(0) != w.item(w.size // len(w)):  # almost always told by the first taps
        return False
    return bool((w == w[:1]).all())


def fuses(problem: Problem) -> bool:
    """Stacks of rows may overlap in planes.py, and what two of them store is finished in registers or not at all."""
    return not (problem.finished_later and isinstance(chosen(problem, host(), True).cut, planes.Cut))


def cost(problem: Problem, machine: Machine) -> float:
    """Seconds of the fastest candidate: the least, which is that of channels with the same filter."""
    return chosen(problem, machine, True).seconds


def pack_cost(problem: Problem, machine: Machine) -> float:
    """Seconds that `pack` takes; of several channels a group, runs of them are copied."""
    g = problem.geometry
    return of_packing(g, problem.dtype, 1e-9 if g.in_per_group == 1 else 2e-10, 5e-6)


def kernel(problem: Problem, machine: Machine) -> str:
    """The name of the kernel that runs where channels have filters of their own."""
    return draft(problem, machine, False).launch.kernel.__name__


class Drafts(NamedTuple):
    """Launches without weights, for channels that have the same filter and for others: weights decide in each call."""

    shared: Draft
    others: Draft

    def run(self, x: Array, w: Array, bias: Array, y: Array) -> None:
        """One of them, once, on flat arrays."""
        (self.shared if are_shared(w) else self.others).run(x, w, bias, y)


def drafts(problem: Problem, machine: Machine) -> tuple[Draft | Drafts]:
    """The one launch."""
    others = draft(problem, machine, False)
    return (Drafts(draft(problem, machine, True), others) if may_share(problem, machine) else others,)


def pack(w: Array, bias: Array, problem: Problem) -> Launch:
    """Weights as the kernel takes them."""
    shared = may_share(problem, host()) and are_shared(w)
    return launched(draft(problem, host(), shared), w, bias)


def run(operands: Operands, packed: Launch, problem: Problem, out: Array) -> None:
    """All rows, or all planes."""
    y = flat(out)
    packed.run(flat(operands["x"], problem.dtype), flat(operands["residual"]) if problem.residual else y, y)
