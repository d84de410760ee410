"""What moves cells, and activations."""

from math import prod

from fastconv.kernels import reference
from fastconv.kernels.loops import elements as loops
from fastconv.kernels.simd.arrays import columns, elementwise
from fastconv.kernels.simd.engine import converting
from fastconv.machine import Machine
from fastconv.plans.families.common import in_loops, in_plain_loops
from fastconv.plans.registry import Implementation
from fastconv.problem.problem import Problem

_VECTOR_COLUMNS = Implementation(
    "direct",
    "rows copied, or added, by the vector, padding left out",
    columns.run,
    columns.cost,
    columns.supports,
    kernel=columns.kernel,
)


def _cost_of_fold(problem: Problem, machine: Machine) -> float:
    """Seconds of loops that ask of every tap whether it lies over a cell: strides beyond the kernel leave cells without any."""
    geometry = problem.geometry
    return 2e-5 + (1e-8 + 2e-9 * prod(geometry.windows.kernel)) * prod(geometry.image_shape)


FAMILIES: dict[str, tuple[Implementation, ...]] = {
    "unfold": (_VECTOR_COLUMNS, in_loops(loops.run_windows), in_plain_loops(reference.unfold)),
    "fold": (_VECTOR_COLUMNS, in_loops(loops.run_windows, _cost_of_fold), in_plain_loops(reference.fold)),
    "activation": (
        Implementation(
            "direct",
            "vectors, each written once",
            elementwise.run,
            elementwise.cost,
            elementwise.supports,
            converts=converting.halves,
            kernel=elementwise.kernel,
            calls=elementwise.calls,
        ),
        in_loops(loops.run_activation),
        in_plain_loops(reference.activation),
    ),
}
