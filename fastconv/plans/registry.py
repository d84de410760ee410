"""Every implementation of every operation: one ordered list an operation, best first, reference last.

An entry here is in the tests, the comparison table and the benchmarks, with nothing more to write.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from fastconv.kernels import im2col, loops, reference, strided
from fastconv.kernels.borders import bordered, plain
from fastconv.kernels.gradients import loops as gradient_loops
from fastconv.kernels.gradients import pools as gradient_pools
from fastconv.kernels.gradients import products as gradient_products
from fastconv.kernels.gradients import reference as gradient_reference
from fastconv.kernels.simd.arrays import columns, elementwise
from fastconv.kernels.simd.depthwise import choice as depthwise
from fastconv.kernels.simd.direct import choice as direct
from fastconv.kernels.simd.direct import unpacked
from fastconv.kernels.simd.engine import converting, costs
from fastconv.kernels.simd.filters import choice as separable
from fastconv.kernels.simd.fourier import choice as fft
from fastconv.kernels.simd.gradients import choice as gradients
from fastconv.kernels.simd.pools import choice as pool
from fastconv.kernels.simd.pools import running, unpool
from fastconv.kernels.simd.strassen import choice as strassen
from fastconv.kernels.simd.winograd import choice as winograd
from fastconv.machine import Machine, host, memory
from fastconv.plans.errors import LOCAL, SPREAD, Error
from fastconv.problem.problem import Problem

Dtype = np.dtype[Any]


@dataclass(frozen=True)
class Implementation:
    """One way to compute an operation.

    Attributes
    ----------
    name, summary : str
        What users call it, and one line of what it does.
    run : callable
        run(operands, packed, problem, out) writes all of `out`. Arrays are in C order and, unless `reads` says otherwise, of
        the dtype that sums are made in.
    cost : callable
        cost(problem, machine) -> the seconds that it is expected to take on one thread.
    supports : callable
        supports(problem) -> None, or the reason why not.
    pack : callable or None
        pack(w, bias, problem) -> what `run` takes as `packed`; None for operations without weights.
    weigh : callable or None
        weigh(w, problem, machine) -> the cost for these weights, where it depends on them; for None, the least.
    pack_cost : callable
        pack_cost(problem, machine) -> the seconds that `pack` is expected to take.
    reads : callable
        reads(problem) -> whether `run` takes arrays as they are stored, and writes the result's dtype.
    converts : callable
        converts(problem) -> those of "x" and "y" that `run` takes as they are stored, converting as it reads or writes them;
        its weights have the dtype of the sums.
    fuses : callable
        fuses(problem) -> whether `run` adds the residual and applies the activation; else a pass of its own does so.
    least : callable or None
        least(problem, machine) -> seconds that the cost is not below, found at once, where the cost takes a search.
    kernel : callable or None
        kernel(problem, machine) -> the name of the compiled kernel that runs, where there are several.
    error : Error
        The bound of its rounding.
    """

    name: str
    summary: str
    run: Callable[[Any, Any, Problem, Any], None]
    cost: Callable[[Problem, Machine], float]
    supports: Callable[[Problem], str | None] = lambda problem: None
    pack: Callable[[Any, Any, Problem], Any] | None = None
    weigh: Callable[[Any, Problem, Machine], float] | None = None
    pack_cost: Callable[[Problem, Machine], float] = lambda problem, machine: 0.0
    reads: Callable[[Problem], bool] = lambda problem: False
    converts: Callable[[Problem], frozenset[str]] = lambda problem: frozenset()
    fuses: Callable[[Problem], bool] = lambda problem: True
    least: Callable[[Problem, Machine], float] | None = None
    kernel: Callable[[Problem, Machine], str] | None = None
    error: Error = LOCAL


def _at(operations_per_second: float, overhead: float) -> Callable[[Problem, Machine], float]:
    """A cost that grows with the operations alone."""
    return lambda problem, machine: overhead + problem.geometry.flops / operations_per_second


def _per_weight(seconds_per_byte: float, overhead: float) -> Callable[[Problem, Machine], float]:
    """A time to pack that grows with the bytes of the weights."""
    return lambda problem, machine: costs.of_packing(problem.geometry, problem.dtype, seconds_per_byte, overhead)


def _as_given(w: Any, bias: Any, problem: Problem) -> Any:
    return w, bias


def _blas_cost(problem: Problem, machine: Machine) -> float:
    """Columns written and read at memory speed, and the product at BLAS speed, or NumPy's own for integers."""
    g, dtype = problem.geometry, problem.dtype
    copied = 2 * dtype.itemsize * g.batch * g.groups * g.reduction
    positions = g.flops / max(1, 2 * g.batch * g.groups * g.reduction * g.out_per_group)
    full = g.reduction + 1  # short sums do not keep BLAS busy
    rate = 0.7 * machine.flops(dtype) * full / (full + 48) if dtype.kind in "fc" else 1e9
    calls = g.batch * g.groups * (g.taps + 12)
    return 2e-6 * (1 + calls) + copied * positions / machine.bandwidth + g.flops / rate


def _weight_blas_cost(problem: Problem, machine: Machine) -> float:
    """As of the convolution itself: the same columns, and a product of the same size."""
    g = problem.geometry.forward
    calls = (g.batch - 1) * g.groups * (g.taps + 12)  # which take all images at once
    return max(1e-5, _blas_cost(replace(problem, geometry=g), machine) - 2e-6 * calls)


def _reads_all(problem: Problem) -> bool:
    """Loops are compiled for any dtypes but float16, which the processor may not have."""
    return np.dtype(np.float16) not in problem.types


def _converts(problem: Problem) -> frozenset[str]:
    """Both, of an operation without weights."""
    return frozenset("xy") if problem.types.stored == np.float16 and host().converts else frozenset()


FAR = 1 << 24  # cells that a window, a padding or a stride may have where kernels copy what a few outputs reach over
MOSTLY_PADDING = 256  # cells of a copy for each that a window sees: plain Python then takes no longer


def _bordered(one: Implementation) -> Implementation:
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

    return replace(one, run=bordered(one.run), supports=supports, cost=cost, kernel=kernel if one.kernel else None)


def _near(one: Implementation) -> Implementation:
    """An implementation of convolutions whose workspaces hold what a few outputs reach over."""

    def supports(problem: Problem) -> str | None:
        longest = problem.geometry.longest
        if longest > FAR:
            return f"its windows, paddings and strides have at most {FAR:,} cells, not {longest:,}"
        return one.supports(problem)

    return replace(one, supports=supports)


_LOOPS = "the reference's loops, compiled and parallel over outputs"
_REFERENCE = "plain Python loops in float64 or wider: the definition of correct"


def _loops(run: Any, cost: Any = None, pack: Any = None) -> Implementation:
    cost = cost or _at(5e8, 2e-5)
    return Implementation("loops", _LOOPS, run, cost, pack=pack, reads=_reads_all if pack else lambda problem: False)


def _sparse_cost(problem: Problem, machine: Machine) -> float:
    """Loops over the taps of a transposed convolution, and 30 ns for an output that meets none."""
    g = problem.geometry
    return 2e-5 + g.flops / 2e8 + 3e-8 * max(0, prod(g.out_shape) - g.flops // 2)


def _reference(run: Any, pack: Any = None) -> Implementation:
    return Implementation("reference", _REFERENCE, run, _at(1e6, 1e-4), pack=pack, reads=lambda problem: pack is not None)


_VECTOR_POOLS = tuple(
    map(
        _bordered,
        (
            Implementation(
                "running",
                "what neighbouring windows share is taken in once, for any channels",
                running.run,
                running.cost,
                running.supports,
                converts=_converts,
                kernel=running.kernel,
            ),
            Implementation(
                "direct",
                "vectors of channels, or of rows before columns",
                pool.run,
                pool.cost,
                pool.supports,
                converts=_converts,
                kernel=pool.kernel,
            ),
        ),
    )
)

_VECTOR_COLUMNS = Implementation(
    "direct",
    "rows copied, or added, by the vector, padding left out",
    columns.run,
    columns.cost,
    columns.supports,
    kernel=columns.kernel,
)

_POOLS = (
    _bordered(_loops(loops.run_pool)),
    _bordered(
        Implementation("strided", "sliding_window_view, reduced by NumPy", strided.pool, _at(1e8, 6e-5), strided.supports_pool)
    ),
    _reference(reference.pool),
)

_DIRECT = Implementation(
    "direct",
    "register tiles of vectors over blocks in the cache, padding filled in as a block is read",
    direct.run,
    direct.cost,
    direct.supports,
    direct.pack,
    pack_cost=direct.pack_cost,
    converts=direct.converts,
    kernel=direct.kernel,
)

_STRASSEN = Implementation(
    "strassen",
    "seven products for eight of halves of positions and channels, at two to three times the rounding error",
    strassen.run,
    strassen.cost,
    strassen.supports,
    strassen.pack,
    pack_cost=_per_weight(1.5e-10, 1e-5),
    error=SPREAD["strassen"],
    least=strassen.least,
    kernel=strassen.kernel,
)

_WINOGRAD = Implementation(
    "winograd",
    "kernels of 3 taps and more with a quarter to three quarters of the products, at about twice the rounding error",
    winograd.run,
    winograd.cost,
    winograd.supports,
    winograd.pack,
    pack_cost=winograd.pack_cost,
    converts=winograd.converts,
    error=SPREAD["winograd"],
    kernel=winograd.kernel,
)

_DEPTHWISE = Implementation(
    "depthwise",
    "a kernel for each channel, input rows reused in registers",
    depthwise.run,
    depthwise.cost,
    depthwise.supports,
    depthwise.pack,
    pack_cost=_per_weight(1e-9, 5e-6),
    converts=converting.both,
    fuses=depthwise.fuses,
    kernel=depthwise.kernel,
)

_UNPACKED = Implementation(
    "unpacked",
    "dot products of windows, copied into rows, with the weights as they lie: for one call on a small map",
    unpacked.run,
    unpacked.cost,
    unpacked.supports,
    unpacked.pack,
    fuses=unpacked.fuses,
    kernel=unpacked.kernel,
)

_SEPARABLE = Implementation(
    "separable",
    "filters of one channel as columns times rows, as many as their rank: auto looks at the weights",
    separable.run,
    separable.cost,
    separable.supports,
    separable.pack,
    separable.weigh,
    _per_weight(2e-8, 1e-4),
    error=SPREAD["separable"],
    kernel=separable.kernel,
)

_FFT = Implementation(
    "fft",
    "Fourier transforms of overlapping blocks: for large kernels",
    fft.run,
    fft.cost,
    fft.supports,
    fft.pack,
    pack_cost=fft.pack_cost,
    error=SPREAD["fft"],
    least=fft.least,
    kernel=fft.kernel,
)

_VECTORS = tuple(map(_near, (_WINOGRAD, _STRASSEN, _DEPTHWISE, _DIRECT, _UNPACKED, _SEPARABLE, _FFT)))


# The gradient of a convolution by its weights: implementations that work in vectors come first.
def _weight_gradient(name: str, summary: str, family: gradients.Family, error: Error = LOCAL) -> Implementation:
    return _near(Implementation(name, summary, family.run, family.cost, family.supports, kernel=family.kernel, error=error))


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
    _loops(gradient_loops.run_conv_weight),
    Implementation(
        "strided",
        "sliding_window_view, then tensordot",
        gradient_products.strided,
        lambda problem, machine: 3e-5 + 2 * _weight_blas_cost(problem, machine),
        gradient_products.supports_strided,
    ),
    _reference(gradient_reference.conv_weight),
)

OPERATIONS: dict[str, tuple[Implementation, ...]] = {
    "conv": (
        *_VECTORS,
        Implementation(
            "im2col", "windows copied into columns, 16 MiB at a time, then BLAS", im2col.conv, _blas_cost, pack=im2col.pack
        ),
        _loops(loops.run_conv, pack=_as_given),
        Implementation(
            "strided",
            "sliding_window_view, then tensordot",
            strided.conv,
            lambda problem, machine: 3e-5 + 2 * _blas_cost(problem, machine),
            strided.supports_conv,
            _as_given,
        ),
        _reference(reference.conv, pack=_as_given),
    ),
    "conv_weight": _WEIGHT_GRADIENTS,
    "max_pool_input": (_loops(gradient_pools.run_scatter), _reference(gradient_reference.scatter)),
    "avg_pool_input": (_loops(gradient_pools.run_average), _reference(gradient_reference.pool_input)),
    "lp_pool_input": (_loops(gradient_pools.run_norm), _reference(gradient_reference.pool_input)),
    "conv_transpose": (
        _near(_STRASSEN),
        _near(_DEPTHWISE),
        _near(_DIRECT),
        Implementation("im2col", "a matrix product by BLAS, then col2im", im2col.conv_transpose, _blas_cost, pack=im2col.pack),
        _loops(loops.run_conv, _sparse_cost, pack=_as_given),
        _reference(reference.conv, pack=_as_given),
    ),
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
        _loops(loops.run_max_unpool),
        _reference(reference.max_unpool),
    ),
    "unfold": (_VECTOR_COLUMNS, _loops(loops.run_windows), _reference(reference.unfold)),
    "fold": (_VECTOR_COLUMNS, _loops(loops.run_windows), _reference(reference.fold)),
    "activation": (
        Implementation(
            "direct",
            "vectors, each written once",
            elementwise.run,
            elementwise.cost,
            elementwise.supports,
            converts=_converts,
            kernel=elementwise.kernel,
        ),
        _loops(loops.run_activation),
        _reference(reference.activation),
    ),
}
