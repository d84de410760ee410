"""Convolution by seven products for eight: Strassen's algorithm, where the direct sum already runs at the machine's peak.

    y [P, K] = act(bias [K] + windows [P, L] @ w [L, K])       P output positions, K output channels, L = taps * input channels

by halves of P, L and K: neighbouring positions are paired, the first half of the input channels with the second one, and so are
the output channels. Of the eight products of halves, seven are made, and sums for the eighth: products.py has them.
windows.py serves every geometry, and points.py kernels of one tap, channels first.

The error is relative to the largest of what is summed: of two positions and of all channels. Filters are scaled to one
magnitude before they are summed, so that a small one's results do not drown. A NaN or inf in x spreads to the outputs of its
pair, of all output channels: to the next or the previous position in the order of memory or, channels first with kernels of one
tap, to one that lies SPREAD positions before or behind it at most.
"""

import numpy as np

from fastconv.kernels.jit import Launch
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd.engine.costs import Candidate, cheapest
from fastconv.kernels.simd.engine.walks import refusal
from fastconv.kernels.simd.engine.weights import launched
from fastconv.kernels.simd.strassen import cuts, points, windows
from fastconv.kernels.simd.strassen.products import WORKSPACE
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array
from fastconv.problem.problem import Operands, Problem

LEAST = 4  # channels of a group
SPREAD = 64
MARGIN, FEW_REGISTERS = 1.02, 1.12  # times its estimate; where registers are few, planes of results were written more slowly
LONGEST = 30_000  # products of a sum, up to which errors stay within 1e-4 of the results' root mean square


@remembered
def candidates(problem: Problem, machine: Machine) -> tuple[Candidate, ...]:
    """What serves the geometry; of infinite cost where no workspace holds a block."""
    g, dtype = problem.geometry, problem.dtype
    return (
        *((windows.candidate(g, dtype, machine),) if windows.suits(g) else ()),
        *((points.candidate(g, dtype, machine),) if points.suits(g) else ()),
    )


@remembered
def chosen(problem: Problem, machine: Machine) -> Candidate:
    """The candidate that is expected to take the least time."""
    return cheapest(candidates(problem, machine))


def margin(problem: Problem, machine: Machine) -> float:
    """A little more than its estimate: of two that are as fast, "auto" takes the more exact one."""
    g = problem.geometry
    in_planes = points.suits(g) and not g.transposed
    return FEW_REGISTERS if in_planes and machine.registers <= 16 else MARGIN


def cost(problem: Problem, machine: Machine) -> float:
    """Of the kernel that is chosen."""
    return margin(problem, machine) * chosen(problem, machine).seconds


def least(problem: Problem, machine: Machine) -> float:
    """Seconds that the cost is not below, found at once."""
    form = points if points.suits(problem.geometry) else cuts
    return margin(problem, machine) * form.least(problem.geometry, problem.dtype, machine)


def supports(problem: Problem) -> str | None:
    """Float32 and float64 in groups of LEAST channels; transposed, channels first, those of stride 1 or of 2 taps."""
    g, dtype = problem.geometry, problem.dtype
    if dtype not in (np.float32, np.float64):
        return f"its vectors are float32 or float64, not {dtype}"
    if min(g.in_per_group, g.out_per_group) < LEAST:
        return f"it serves groups of at least {LEAST} channels, not {g.in_per_group} -> {g.out_per_group}"
    if dtype == np.float32 and g.reduction > LONGEST:
        return f"its rounding is too large for sums of {g.reduction:,} products in float32, {LONGEST:,} at most"
    if reason := refusal(g):
        return reason
    if not candidates(problem, host()):
        return "channels first, its transposed convolutions have stride 1 along the last axis, or 2 taps without overlap"
    if chosen(problem, host()).seconds == float("inf"):
        return f"its smallest blocks would take more than {WORKSPACE >> 20} MiB"
    return None


def pack(w: Array, bias: Array, problem: Problem) -> tuple[Launch, ...]:
    """The launches of the kernel that is chosen."""
    return tuple(launched(draft, w, bias) for draft in chosen(problem, host()).launch())


def kernel(problem: Problem, machine: Machine) -> str:
    """The name of the kernel that runs, or nothing where there are no outputs."""
    return next((str(draft.launch.kernel.__name__) for draft in chosen(problem, machine).launch()), "")


def run(operands: Operands, packed: tuple[Launch, ...], problem: Problem, out: Array) -> None:
    """Every launch, one after the other."""
    x, y = operands["x"].ravel(), out.ravel()
    residual = operands["residual"].ravel() if problem.residual else y
    for launch in packed:
        launch.run(x, residual, y)
