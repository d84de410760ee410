"""Direct convolution, by the kernel that takes the fewest cycles.

tiles.py serves every geometry, pointwise.py kernels without overlap, channels first, streams.py those of few channels among
them, planar.py few channels, channels first, dots.py kernels of one tap to few channels, channels last, held.py and patches.py
sums of few products, in either layout.
"""

from math import prod
from typing import Any

import numpy as np

from fastconv.kernels.jit import Launch, flat
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd.direct import dots, held, patches, planar, pointwise, streams, tiles
from fastconv.kernels.simd.direct.cuts import Cuts
from fastconv.kernels.simd.engine import converting, costs, walks, weights
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array
from fastconv.problem.problem import Operands, Problem

OF_PHASE = 4e-6  # seconds of each phase, to pack its weights
OF_ZERO = 4.5e-10  # seconds of a byte beside the weights in the vectors that hold them


def kernels(problem: Problem, machine: Machine) -> list[Any]:
    """The modules of the kernels that serve a problem."""
    known = (tiles, pointwise, streams, planar, dots, held, patches) if problem.dtype.kind == "f" else (tiles,)
    return [one for one in known if one.suits(problem, machine)]


def candidates(problem: Problem, machine: Machine) -> tuple[costs.Candidate, ...]:
    """What each kernel that serves a problem would take."""
    return tuple(one.candidate(problem, machine) for one in kernels(problem, machine))


@remembered
def choice(problem: Problem, machine: Machine) -> costs.Candidate:
    """The candidate that is expected to take the least time; of sizes that share a choice, by the kernel of the middle one."""
    near = problem.representative
    if near is not problem:
        kernel = kernel_of(near, machine)
        if kernel.suits(problem, machine):
            found: costs.Candidate = kernel.candidate(problem, machine)
            return found
    return costs.cheapest(candidates(problem, machine))


@remembered
def kernel_of(problem: Problem, machine: Machine) -> Any:
    """The module of the cheapest candidate."""
    return min(kernels(problem, machine), key=lambda one: one.candidate(problem, machine).seconds)


@remembered
def drafts(problem: Problem, machine: Machine) -> tuple[weights.Draft, ...]:
    """What the chosen candidate launches, without weights: a function packs them in every call."""
    made: tuple[weights.Draft, ...] = choice(problem, machine).launch()
    return made


def cost(problem: Problem, machine: Machine) -> float:
    """Of the kernel that is chosen."""
    return choice(problem, machine).seconds


def converts(problem: Problem) -> frozenset[str]:
    """Arrays that are converted as they are read or written: by tiles, which store a sum once or in parts, and by panels."""
    cut = choice(problem, host()).cut
    if isinstance(cut, Cuts):
        return converting.both(problem) if cut.stores_once(problem.geometry) else converting.both(problem) - {"y"}
    return converting.both(problem) if isinstance(cut, pointwise.Cut | streams.Cut) else frozenset()


def adds_in_place(problem: Problem) -> bool:
    """Whether out may hold the residual: channels last, tiles add it to their registers, where they store each sum once."""
    cut, g = choice(problem, host()).cut, problem.geometry
    return problem.residual and g.channels_last and isinstance(cut, Cuts) and cut.stores_once(g)


def pack_cost(problem: Problem, machine: Machine) -> float:
    """Of the kernel that is chosen; some take the weights as they lie. Vectors that they do not fill get zeros one by one.

    The weights of a transposed convolution are packed phase by phase.
    """
    g, dtype = problem.geometry, problem.dtype
    if not choice(problem, machine).cut.lays_weights:
        return 2e-6
    zeros = g.groups * g.reduction * (-g.out_per_group % machine.lanes(dtype))
    phases = prod(map(g.most_walks, range(g.rank))) if g.transposed else 0
    return costs.of_packing(g, dtype, 8e-11, 6e-6 + OF_PHASE * phases) + OF_ZERO * zeros * dtype.itemsize


def kernel(problem: Problem, machine: Machine) -> str:
    """The name of the kernel that is chosen."""
    names = {draft.launch.kernel.__name__ for draft in drafts(problem, machine)}
    return ", ".join(sorted(names))


def pack(w: Array, bias: Array, problem: Problem) -> tuple[Launch, ...]:
    """The launches of the kernel that is chosen."""
    return tuple([weights.launched(draft, w, bias) for draft in drafts(problem, host())])


def run(operands: Operands, packed: tuple[Launch, ...], problem: Problem, out: Array) -> None:
    """Every launch, one after the other."""
    x, y = flat(operands["x"], problem.dtype), flat(out)
    residual = flat(operands["residual"]) if problem.residual else y
    for launch in packed:
        launch.run(x, residual, y)


def supports(problem: Problem) -> str | None:
    """Real float types and integers of as many bits; transposed, those of not too many phases."""
    dtype = problem.dtype
    if dtype not in (np.float32, np.float64) and not (dtype.kind in "iu" and dtype.itemsize >= 4):
        return f"its vectors are floats or integers of 32 or 64 bits, not {dtype}"
    return walks.refusal(problem.geometry)
