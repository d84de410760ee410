"""Pools and unpooling."""

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

from fastconv.kernels import ordering, reference, strided
from fastconv.kernels.borders import bordered as with_border
from fastconv.kernels.borders import never, plain
from fastconv.kernels.jit import Call
from fastconv.kernels.loops import pools as loops
from fastconv.kernels.simd.engine import converting, dense
from fastconv.kernels.simd.extrema import pools as footprints
from fastconv.kernels.simd.pools import choice as pool
from fastconv.kernels.simd.pools import running, unpool
from fastconv.kernels.simd.ranks import pools as ranks
from fastconv.machine import Machine, memory
from fastconv.plans.families.common import FAR, in_loops, in_plain_loops
from fastconv.plans.registry import Implementation
from fastconv.problem.problem import Operands, Problem

MOSTLY_PADDING = 256  # cells of a copy for each that a window sees: plain Python then takes no longer


def bordered(one: Implementation, serves: Callable[[Problem], bool] = never) -> Implementation:
    """An implementation of pools that sees a border's cells in a copy of the input, but where it serves the border itself."""

    def supports(problem: Problem) -> str | None:
        inner = plain(problem, serves)
        cells = 0 if inner is problem else prod(inner.geometry.x_shape)
        if cells * problem.dtype.itemsize > memory() or cells > max(FAR, MOSTLY_PADDING * inner.geometry.flops):
            return f"its copy of x with a border would have {cells:,} cells"
        return one.supports(inner)

    def cost(problem: Problem, machine: Machine) -> float:
        inner = plain(problem, serves)
        copied = 0 if inner is problem else 2 * inner.geometry.bytes(problem.dtype.itemsize)
        return one.cost(inner, machine) + (1e-5 + copied / machine.bandwidth if copied else 0.0)

    def kernel(problem: Problem, machine: Machine) -> str:
        assert one.kernel is not None
        return one.kernel(plain(problem, serves), machine)

    def calls(operands: Operands, packed: Any, problem: Problem, out: Any) -> tuple[Call, ...] | None:
        return one.calls(operands, packed, problem, out) if one.calls and plain(problem, serves) is problem else None

    found = replace(one, run=with_border(one.run, serves), supports=supports, cost=cost, calls=calls)
    return replace(found, kernel=kernel if one.kernel else None)


def of_boxes(one: Implementation) -> Implementation:
    """An implementation of pools whose windows have all of their cells."""

    def supports(problem: Problem) -> str | None:
        whole = problem.geometry.footprint is None
        return one.supports(problem) if whole else "it serves boxes, whose cells all count, and no footprints"

    return replace(one, supports=supports)


def filtered(summary: str, family: Any) -> Implementation:
    """A family of filters as an implementation of pools: it serves the borders of pools with one output a cell."""
    one = Implementation("filter", summary, family.run, family.cost, family.supports, kernel=family.kernel)
    return bordered(one, lambda problem: dense.is_same(problem.geometry))


def _loops_cost(problem: Problem, machine: Machine) -> float:
    """Loops over windows: 2 ns a cell, 8 of a footprint, 30 where cells are brought into order."""
    g = problem.geometry
    return 2e-5 + g.flops * (3e-8 if g.kind == "rank" else 2e-9 if g.footprint is None else 8e-9)


def _strided_cost(problem: Problem, machine: Machine) -> float:
    """NumPy's reductions of windows, or its partition of them."""
    return 6e-5 + problem.geometry.flops * (1.8e-8 if problem.geometry.kind == "rank" else 1e-8)


_VECTOR_POOLS = tuple(
    of_boxes(bordered(one))
    for one in (
        Implementation(
            "running",
            "what neighbouring windows share is taken in once, for any channels",
            running.run,
            running.cost,
            running.supports,
            converts=converting.halves,
            kernel=running.kernel,
        ),
        Implementation(
            "direct",
            "vectors of channels, or of rows before columns",
            pool.run,
            pool.cost,
            pool.supports,
            converts=converting.halves,
            kernel=pool.kernel,
            calls=pool.calls,
        ),
    )
)

_POOLS = (
    bordered(in_loops(ordering.run_pool, _loops_cost)),
    bordered(
        Implementation("strided", "sliding_window_view, reduced by NumPy", strided.pool, _strided_cost, strided.supports_pool)
    ),
    in_plain_loops(reference.pool),
)

_OF_FOOTPRINTS = filtered("runs of the cells of a footprint around each cell, over blocks in the cache", footprints)
_OF_RANKS = filtered("selection networks and histograms around each cell, over blocks in the cache", ranks)

FAMILIES: dict[str, tuple[Implementation, ...]] = {
    **dict.fromkeys(("max_pool", "min_pool"), (*_VECTOR_POOLS, _OF_FOOTPRINTS, *_POOLS)),
    **dict.fromkeys(("avg_pool", "lp_pool"), (*_VECTOR_POOLS, *_POOLS)),
    "rank_pool": (_OF_RANKS, *_POOLS),
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
