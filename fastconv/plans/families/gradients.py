"""Gradients: of convolutions by weights, of pools by input."""

from dataclasses import replace
from typing import Any

from fastconv.kernels.gradients import averages as gradient_averages
from fastconv.kernels.gradients import loops as gradient_loops
from fastconv.kernels.gradients import pools as gradient_pools
from fastconv.kernels.gradients import products as gradient_products
from fastconv.kernels.gradients import reference as gradient_reference
from fastconv.kernels.simd.gradients import averages, winners
from fastconv.kernels.simd.gradients import choice as gradients
from fastconv.kernels.simd.pools import choice as pool
from fastconv.kernels.simd.pools import running
from fastconv.machine import Machine
from fastconv.plans.errors import LOCAL, SPREAD, Error
from fastconv.plans.families.common import blas_cost, in_loops, in_plain_loops, near
from fastconv.plans.registry import Implementation
from fastconv.problem.convolutions import Array
from fastconv.problem.problem import Operands, Problem


def _weight_blas_cost(problem: Problem, machine: Machine) -> float:
    """As of the convolution itself: the same columns, and a product of the same size."""
    g = problem.geometry.forward
    calls = (g.batch - 1) * g.groups * (g.taps + 12)  # which take all images at once
    return max(1e-5, blas_cost(replace(problem, geometry=g), machine) - 2e-6 * calls)


# The gradient of a convolution by its weights: implementations that work in vectors come first.
def _weight_gradient(name: str, summary: str, family: gradients.Family, error: Error = LOCAL) -> Implementation:
    return near(Implementation(name, summary, family.run, family.cost, family.supports, kernel=family.kernel, error=error))


_WEIGHT_GRADIENTS = (
    _weight_gradient(
        "winograd",
        "kernels of 3 taps along an axis or two with a quarter to half of the products, at about twice the rounding error",
        gradients.WINOGRAD,
        SPREAD["winograd_weights"],
    ),
    _weight_gradient("depthwise", "sums of each channel's own taps, in registers", gradients.DEPTHWISE),
    _weight_gradient(
        "direct", "a matrix product over positions, in register tiles of vectors, of blocks in the cache", gradients.DIRECT
    ),
    Implementation(
        "im2col", "windows copied into columns, 16 MiB at a time, then BLAS", gradient_products.im2col, _weight_blas_cost
    ),
    in_loops(gradient_loops.run_conv_weight),
    Implementation(
        "strided",
        "sliding_window_view, then tensordot",
        gradient_products.strided,
        lambda problem, machine: 3e-5 + 2 * _weight_blas_cost(problem, machine),
        gradient_products.supports_strided,
    ),
    in_plain_loops(gradient_reference.conv_weight),
)


def _averaged(name: str, summary: str, family: Any) -> Implementation:
    """The gradient of an average whose windows lie one cell apart: an average of dy, by kernels of pools."""

    def forward(problem: Problem) -> Problem:
        return replace(problem, geometry=problem.geometry.averaged)

    def supports(problem: Problem) -> str | None:
        if problem.geometry.averaged is None:
            return "it serves windows one cell apart that all divide by the same"
        refusal: str | None = family.supports(forward(problem))
        return refusal

    def run(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
        family.run({"x": operands["dy"]}, packed, forward(problem), out)

    return Implementation(
        name,
        summary,
        run,
        lambda problem, machine: family.cost(forward(problem), machine),
        supports,
        kernel=lambda problem, machine: family.kernel(forward(problem), machine),
    )


FAMILIES: dict[str, tuple[Implementation, ...]] = {
    "conv_weight": _WEIGHT_GRADIENTS,
    "max_pool_input": (
        Implementation(
            "direct",
            "values go to their cells, which are asked for before",
            winners.run,
            winners.cost,
            winners.supports,
            kernel=winners.kernel,
        ),
        in_loops(gradient_pools.run_scatter),
        in_plain_loops(gradient_reference.scatter),
    ),
    "avg_pool_input": (
        _averaged("running", "an average of dy: what neighbouring windows share is taken in once", running),
        _averaged("direct", "an average of dy, on vectors", pool),
        Implementation(
            "gather",
            "each cell from the windows that hold it, on vectors",
            averages.run,
            averages.cost,
            averages.supports,
            kernel=averages.kernel,
        ),
        in_loops(gradient_averages.run_average),
        in_plain_loops(gradient_reference.pool_input),
    ),
    "lp_pool_input": (in_loops(gradient_pools.run_norm), in_plain_loops(gradient_reference.pool_input)),
}
