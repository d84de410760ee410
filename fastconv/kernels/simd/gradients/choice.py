"""The gradient of a convolution by its weights: three families, each by the kernel that is expected to take the least time.

tiles.py      "direct": every geometry, as a product over positions
outputs.py    "direct": the same for few input channels, vectors of output channels
dots.py       "direct": kernels of one tap, channels first, vectors of positions, nothing copied
winograd.py   "winograd": kernels of 3 taps with a quarter to half of the products, at a larger rounding error
channels.py   "depthwise": one input channel a group, vectors of channels
rows.py       "depthwise": the same, channels last, nothing copied
squares.py    "depthwise": the same, channels first, of small square maps
maps.py       "depthwise": the same, channels first, vectors of positions, nothing copied
planes.py     "depthwise": the same, of rows that are copied: every stride, dilation and border
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd.engine.costs import Candidate, cheapest
from fastconv.kernels.simd.gradients import channels, dots, maps, outputs, planes, rows, squares, tiles, winograd
from fastconv.kernels.simd.gradients.launches import Launch
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array
from fastconv.problem.problem import Operands, Problem


@dataclass(frozen=True)
class Family:
    """What the registry takes of the kernels of some modules.

    Attributes
    ----------
    name : str
        Of the family, in MODULES.
    """

    name: str

    def supports(self, problem: Problem) -> str | None:
        """Real float types, and what the module serves."""
        dtype = problem.dtype
        if dtype not in (np.float32, np.float64):
            return f"its vectors are float32 or float64, not {dtype}"
        reasons = [one.supports(problem.geometry.forward, dtype, host()) for one in MODULES[self.name]]
        return None if None in reasons else reasons[0]

    def candidates(self, problem: Problem, machine: Machine) -> Iterator[Candidate]:
        """What each kernel that serves the problem would take."""
        geometry, dtype = problem.geometry.forward, problem.dtype
        for one in MODULES[self.name]:
            if one.supports(geometry, dtype, machine) is None:
                yield from one.candidates(geometry, dtype, machine)

    def cost(self, problem: Problem, machine: Machine) -> float:
        """Seconds of the fastest candidate."""
        return chosen(self, problem, machine).seconds

    def kernel(self, problem: Problem, machine: Machine) -> str:
        """The name of the kernel that runs."""
        return launch_of(self, problem, machine).kernel.__name__

    def run(self, operands: Operands, packed: None, problem: Problem, out: Array) -> None:
        """All blocks of dw; zeros where there is nothing to sum."""
        if not operands["dy"].size:
            out.fill(0)
            return
        launch_of(self, problem, host()).run(operands["x"].ravel(), operands["dy"].ravel(), out.ravel())


MODULES: dict[str, tuple[Any, ...]] = {
    "direct": (tiles, outputs, dots),
    "winograd": (winograd,),
    "depthwise": (rows, channels, squares, maps, planes),
}
DIRECT, WINOGRAD, DEPTHWISE = map(Family, MODULES)


@remembered
def chosen(family: Family, problem: Problem, machine: Machine) -> Candidate:
    """The fastest candidate of a family."""
    return cheapest(family.candidates(problem, machine))


@remembered
def launch_of(family: Family, problem: Problem, machine: Machine) -> Launch:
    """What runs."""
    made: Launch = chosen(family, problem, machine).launch()
    return made
