"""Pools and unpooling."""

from dataclasses import replace
from math import prod

from fastconv.kernels import loops, reference, strided
from fastconv.kernels.borders import bordered as with_border
from fastconv.kernels.borders import plain
from fastconv.kernels.simd.pools import choice as pool
from fastconv.kernels.simd.pools import running, unpool
from fastconv.machine import Machine, memory
from fastconv.plans.families.common import FAR, at, in_loops, in_plain_loops
from fastconv.plans.registry import Implementation
from fastconv.problem.problem import Problem

MOSTLY_PADDING = 256  # cells of a copy for each that a window sees: plain Python then takes no longer


def bordered(one: Implementation) -> Implementation:
    """An implementation of pools that sees a border's cells in a copy of the input."""

    def supports(problem: Problem) -> str | None:
        inner = plain(problem)
        cells = 0 if inner is problem else prod(inner.geometry.x_shape)
        if cells * problem.dtype.itemsize > memory() or cells > max(FAR, MOSTLY_PADDING * inner.geometry.flops):
            return f"its copy of x with a border would have {cells:,} cells"
        return one.supports(inner)

    def cost(problem: Problem, machine: Machine) -> float:
        inner = plain(problem)
        copied = 0 if inner is problem else 2 * inner.geometry.bytes(problem.dtype.itemsize)
        return one.cost(inner, machine) + (1e-5 + copied / machine.bandwidth if copied else 0.0)

    def kernel(problem: Problem, machine: Machine) -> str:
        assert one.kernel is not None
        return one.kernel(plain(problem), machine)

    return replace(one, run=with_border(one.run), supports=supports, cost=cost, kernel=kernel if one.kernel else None)


_VECTOR_POOLS = tuple(
    map(
        bordered,
        (
            Implementation(
                "running",
                "what neighbouring windows share is taken in once, for any channels",
                running.run,
                running.cost,
                running.supports,
                kernel=running.kernel,
            ),
            Implementation(
                "direct",
                "vectors of channels, or of rows before columns",
                pool.run,
                pool.cost,
                pool.supports,
                kernel=pool.kernel,
            ),
        ),
    )
)

_POOLS = (
    bordered(in_loops(loops.run_pool)),
    bordered(
        Implementation("strided", "sliding_window_view, reduced by NumPy", strided.pool, at(1e8, 6e-5), strided.supports_pool)
    ),
    in_plain_loops(reference.pool),
)

FAMILIES: dict[str, tuple[Implementation, ...]] = {
    **dict.fromkeys(("max_pool", "min_pool", "avg_pool", "lp_pool"), (*_VECTOR_POOLS, *_POOLS)),
    **dict.fromkeys(("adaptive_avg_pool", "adaptive_max_pool"), (_VECTOR_POOLS[1], *_POOLS)),
    "max_unpool": (
        Implementation(
            "direct",
            "planes cleared by the vector, then filled",
            unpool.run,
            unpool.cost,
            unpool.supports,
            kernel=unpool.kernel,
        ),
        in_loops(loops.run_max_unpool),
        in_plain_loops(reference.max_unpool),
    ),
}
