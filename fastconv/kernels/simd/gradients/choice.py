"""The gradient of a convolution by its weights, by the kernel that is expected to take the least time.

tiles.py serves every geometry as a product over positions.
"""

import numpy as np

from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd.engine.costs import Candidate, cheapest
from fastconv.kernels.simd.gradients import tiles
from fastconv.kernels.simd.gradients.launches import Launch
from fastconv.machine import Machine, host
from fastconv.problem.problem import Operands, Problem
from fastconv.problem.convolutions import Array


def candidates(problem: Problem, machine: Machine) -> list[Candidate]:
    """What each kernel that serves a problem would take."""
    return list(tiles.candidates(problem.geometry.forward, problem.dtype, machine))


@remembered
def chosen(problem: Problem, machine: Machine) -> Candidate:
    """The fastest candidate."""
    return cheapest(candidates(problem, machine))


@remembered
def launch_of(problem: Problem, machine: Machine) -> Launch:
    """What runs."""
    made: Launch = chosen(problem, machine).launch()
    return made


def supports(problem: Problem) -> str | None:
    """Real float types."""
    dtype = problem.dtype
    if dtype not in (np.float32, np.float64):
        return f"its vectors are float32 or float64, not {dtype}"
    return None


def cost(problem: Problem, machine: Machine) -> float:
    """Seconds of the fastest candidate."""
    return chosen(problem, machine).seconds


def kernel(problem: Problem, machine: Machine) -> str:
    """The name of the kernel that runs."""
    return launch_of(problem, machine).kernel.__name__


def run(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """All blocks of dw; zeros where there is nothing to sum."""
    if not operands["dy"].size:
        out.fill(0)
        return
    launch_of(problem, host()).run(operands["x"].ravel(), operands["dy"].ravel(), out.ravel())
