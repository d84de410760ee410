"""Forms of a problem: what an implementation is asked in its place, and how weights and results come and go."""

from collections.abc import Iterator
from dataclasses import replace
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.simd.arrays import permuting, weaving
from fastconv.machine import Machine
from fastconv.problem.convolutions import Array, ConvGeometry
from fastconv.problem.normal import Cut, joined, normal
from fastconv.problem.phases import Phases, phases
from fastconv.problem.problem import Problem
from fastconv.problem.types import Types
from fastconv.problem.wholes import Magnitudes, float_for

WRAP = 1e-9  # seconds of a sum that becomes an integer
ORDERED, OF_ORDERED = 3e-6, (1.6e-10, 9e-11)  # seconds of weights in another order, and of a byte of them, by layout


class Form(NamedTuple):
    """A problem as an implementation sees it.

    Attributes
    ----------
    problem : Problem
        What is asked.
    cut : tuple of slice
        What is left of the spatial axes of the weights; empty where all is.
    phases : Phases or None
        The transposed convolution whose phases are asked, and then woven where there are several.
    real : bool
        Whether sums of integers are made in floats that hold them; what follows the sums is then left out.
    """

    problem: Problem
    cut: Cut = ()
    phases: Phases | None = None
    real: bool = False

    def in_floats(self, dtype: np.dtype[Any]) -> "Form":
        """The sums of this form, of integers, in floats that hold them."""
        stored, weights, _, _ = self.problem.types
        return self._replace(problem=replace(self.problem.bare, types=Types(stored, weights, dtype, dtype)), real=True)

    @property
    def woven(self) -> Phases | None:
        """The phases, where there are several."""
        return self.phases if self.phases is not None and self.phases.are_woven else None

    def weights(self, w: Array, channels_last: bool) -> Array:
        """Weights as they are asked, in C order as those that are given."""
        if self.phases is not None:
            w = permuting.contiguous(self.phases.weights(w), w).reshape(self.phases.plain.w_shape)
        if self.cut:
            w = permuting.contiguous(
                w[(slice(None), *self.cut)] if channels_last else w[(slice(None), slice(None), *self.cut)], w
            )
        return w.reshape(self.problem.geometry.w_shape)

    def bias(self, bias: Array) -> Array:
        """The bias as it is asked."""
        return bias if self.phases is None else self.phases.bias(bias)

    def operation(self, asked: str) -> str:
        """The operation whose implementations serve the form, where the caller asked for `asked`."""
        return asked if self.phases is None else self.problem.geometry.operation

    def described(self, problem: Problem) -> str:
        """What an explanation says of a form that is not the problem itself."""
        if self.problem is problem:
            return ""
        of = "" if self.woven is None else "the phases of "
        sums = f" in {self.problem.dtype}" if self.real else ""
        return f"{sums} on {of}x as {self.problem.geometry.x_shape} {self.problem.geometry.layout}"

    def cost(self, machine: Machine, once: bool = False) -> float:
        """Seconds beside the implementation's own; those of the weights' new order where they are packed `once`."""
        seconds = 0.0 if self.woven is None else weaving.cost(self.woven, self.problem.dtype, machine)
        if once and (self.cut or self.phases is not None):
            g = self.problem.geometry
            seconds += ORDERED + OF_ORDERED[g.channels_last] * g.weights * self.problem.dtype.itemsize
        return seconds + WRAP * prod(self.problem.geometry.out_shape) if self.real else seconds


def forms(problem: Problem, magnitudes: Magnitudes | None = None) -> Iterator[Form]:
    """The forms that "auto" chooses from; of integers of known magnitudes, those whose floats hold all sums, too."""
    dtype = None if magnitudes is None else float_for(problem, magnitudes)
    for form in stored_forms(problem):
        yield form
        if dtype is not None:
            yield form.in_floats(dtype)


def stored_forms(problem: Problem) -> Iterator[Form]:
    """The normal form, that with axes joined, and that of a transposed convolution's phases."""
    form = Form(*normal(problem))
    yield form
    geometry, seen = problem.geometry, form.problem.geometry
    if isinstance(seen, ConvGeometry) and joined(seen) != seen:
        yield form._replace(problem=replace(form.problem, geometry=joined(seen)))
    if isinstance(geometry, ConvGeometry) and geometry.transposed:
        found = phases(geometry)
        if found is not None and not (found.are_woven and problem.residual):
            yield Form(*normal(replace(problem, geometry=found.plain)), found)
