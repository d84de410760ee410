"""Convolution with fewer products than the direct sum, by Winograd's minimal filtering: of tiles, or of rows.

tiles.py serves groups of several channels, row_tiles.py groups of one, as filters of images are. Filters whose weights are
whole numbers go by pairs of rows, which divide nothing: sums of whole images stay exact.
"""

from typing import Any

import numpy as np

from fastconv.kernels.jit import Launch, flat
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd.engine import converting
from fastconv.kernels.simd.engine.costs import Candidate, cheapest
from fastconv.kernels.simd.engine.weights import Draft, are_whole, launched
from fastconv.kernels.simd.winograd import row_tiles, tiles
from fastconv.kernels.simd.winograd.cuts import least_seconds
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array, ConvGeometry
from fastconv.problem.problem import Operands, Problem


def form_of(geometry: ConvGeometry) -> Any:
    """The module of what is filtered: tiles or rows."""
    return row_tiles if geometry.in_per_group == geometry.out_per_group == 1 else tiles


def supports(problem: Problem) -> str | None:
    """Kernels of several taps, of float32 or float64."""
    geometry, dtype = problem.geometry, problem.dtype
    if dtype not in (np.float32, np.float64):
        return f"its vectors are float32 or float64, not {dtype}"
    reason: str | None = form_of(geometry).supports(geometry, dtype)
    return reason


@remembered
def chosen(problem: Problem, machine: Machine, once: bool) -> Candidate:
    """The fastest of the forms, each with its blocks; of sizes that share a choice, that of the middle one.

    `once`, the time to pack the weights counts: F(2) has less than half of those of F(4).
    """
    g, dtype, near = problem.geometry, problem.dtype, problem.representative
    if form_of(g) is row_tiles:
        return cheapest(row_tiles.candidates(g, dtype, machine))
    if near is not problem and supports(near) is None:
        found = tiles.alike(g, near.geometry, chosen(near, machine, once).cut, dtype, machine)
        if found is not None:
            return found
    if once:
        return min(tiles.candidates(g, dtype, machine, True), key=lambda one: one.seconds + tiles.pack_cost(g, one.cut, dtype))
    return cheapest(tiles.candidates(g, dtype, machine))


@remembered
def draft(problem: Problem, machine: Machine, once: bool) -> Draft:
    """What runs, without weights."""
    made: Draft = chosen(problem, machine, once).launch()
    return made


def converts(problem: Problem) -> frozenset[str]:
    """Arrays that are converted as they are read or written: those of tiles."""
    return converting.both(problem) if form_of(problem.geometry) is tiles else frozenset()


def cost(problem: Problem, machine: Machine, once: bool = False) -> float:
    """Seconds of the fastest candidate, or of the one that is taken where its weights are packed `once`."""
    return chosen(problem, machine, once).seconds


def least(problem: Problem, machine: Machine) -> float:
    """Seconds that tiles are not below, found at once; of rows 0."""
    geometry = problem.geometry
    return 0.0 if form_of(geometry) is row_tiles else least_seconds(geometry, problem.dtype, machine)


def kernel(problem: Problem, machine: Machine, once: bool = False) -> str:
    """The name of the kernel that runs."""
    return draft(problem, machine, once).launch.kernel.__name__


@remembered
def paired(problem: Problem, machine: Machine) -> Draft:
    """What runs of pairs of rows, or where there are none of what there is, without weights."""
    found = tuple(row_tiles.candidates(problem.geometry, problem.dtype, machine))
    made: Draft = cheapest(tuple(one for one in found if one.cut.m == 2) or found).launch()
    return made


def drafts(problem: Problem, machine: Machine, once: bool = False) -> tuple[Draft, ...] | None:
    """The one launch of tiles; of rows, weights decide."""
    return (draft(problem, machine, once),) if form_of(problem.geometry) is tiles else None


def pack(w: Array, bias: Array, problem: Problem, once: bool = False) -> Launch:
    """Weights as the kernel takes them."""
    machine = host()
    exact = form_of(problem.geometry) is row_tiles and chosen(problem, machine, once).cut.m > 2 and are_whole(w)
    return launched(paired(problem, machine) if exact else draft(problem, machine, once), w, bias)


def pack_cost(problem: Problem, machine: Machine, once: bool = False) -> float:
    """Seconds that `pack` takes."""
    geometry, dtype = problem.geometry, problem.dtype
    seconds: float = form_of(geometry).pack_cost(geometry, chosen(problem, machine, once).cut, dtype)
    return seconds


def run(operands: Operands, packed: Launch, problem: Problem, out: Array) -> None:
    """All blocks."""
    y = flat(out)
    packed.run(flat(operands["x"], problem.dtype), flat(operands["residual"]) if problem.residual else y, y)
