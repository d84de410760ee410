"""Every implementation of every operation: one ordered list an operation, best first, reference last.

An entry here is in the tests, the comparison table and the benchmarks, with nothing more to write.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv.kernels import im2col, loops, reference, strided
from fastconv.kernels.simd.arrays import columns, elementwise
from fastconv.kernels.simd.depthwise import rows as depthwise
from fastconv.kernels.simd.direct import choice as direct
from fastconv.kernels.simd.direct import unpacked
from fastconv.kernels.simd.engine import costs
from fastconv.kernels.simd.filters import choice as separable
from fastconv.kernels.simd.fourier import choice as fft
from fastconv.kernels.simd.pools import choice as pool
from fastconv.kernels.simd.pools import running, unpool
from fastconv.kernels.simd.strassen import choice as strassen
from fastconv.kernels.simd.winograd import choice as winograd
from fastconv.machine import Machine
from fastconv.problem.convolutions import ConvGeometry
from fastconv.problem.pools import PoolGeometry, UnpoolGeometry
from fastconv.problem.windows import ElementwiseGeometry, FoldGeometry

Geometry = ConvGeometry | PoolGeometry | UnpoolGeometry | FoldGeometry | ElementwiseGeometry
Dtype = np.dtype[Any]


@dataclass(frozen=True)
class Implementation:
    """One way to compute an operation.

    Attributes
    ----------
    name, summary : str
        What users call it, and one line of what it does.
    run : callable
        run(x, packed, geometry, out) writes all of `out`. Arrays are in C order and of the dtype that is computed in.
    cost : callable
        cost(geometry, dtype, machine) -> the seconds that it is expected to take on one thread.
    supports : callable
        supports(geometry, dtype) -> None, or the reason why not.
    pack : callable or None
        pack(w, bias, geometry) -> what `run` takes as `packed`; None for operations without weights.
    weigh : callable or None
        weigh(w, geometry, dtype, machine) -> the cost for these weights, where it depends on them; for None, the least.
    pack_cost : callable
        pack_cost(geometry, dtype, machine) -> the seconds that `pack` is expected to take.
    """

    name: str
    summary: str
    run: Callable[[Any, Any, Any, Any], None]
    cost: Callable[[Any, Dtype, Machine], float]
    supports: Callable[[Any, Dtype], str | None] = lambda geometry, dtype: None
    pack: Callable[[Any, Any, Any], Any] | None = None
    weigh: Callable[[Any, Any, Dtype, Machine], float] | None = None
    pack_cost: Callable[[Any, Dtype, Machine], float] = lambda geometry, dtype, machine: 0.0


def _at(operations_per_second: float, overhead: float) -> Callable[[Geometry, Dtype, Machine], float]:
    """A cost that grows with the operations alone."""
    return lambda geometry, dtype, machine: overhead + geometry.flops / operations_per_second


def _per_weight(seconds_per_byte: float, overhead: float) -> Callable[[ConvGeometry, Dtype, Machine], float]:
    """A time to pack that grows with the bytes of the weights."""
    return lambda geometry, dtype, machine: costs.of_packing(geometry, dtype, seconds_per_byte, overhead)


def _as_given(w: Any, bias: Any, geometry: Any) -> Any:
    return w, bias


def _blas_cost(geometry: ConvGeometry, dtype: Dtype, machine: Machine) -> float:
    """Columns written and read at memory speed, and the product at BLAS speed, or NumPy's own for integers."""
    copied = 2 * dtype.itemsize * geometry.batch * geometry.groups * geometry.reduction
    positions = geometry.flops / max(1, 2 * geometry.batch * geometry.groups * geometry.reduction * geometry.out_per_group)
    full = geometry.reduction + 1  # short sums do not keep BLAS busy
    rate = 0.7 * machine.flops(dtype) * full / (full + 48) if dtype.kind in "fc" else 1e9
    calls = geometry.batch * geometry.groups * (geometry.taps + 12)
    return 2e-6 * (1 + calls) + copied * positions / machine.bandwidth + geometry.flops / rate


_LOOPS = "the reference's loops, compiled and parallel over outputs"
_REFERENCE = "plain Python loops in float64 or wider: the definition of correct"


def _loops(run: Any, rate: float = 5e8, pack: Any = None) -> Implementation:
    return Implementation("loops", _LOOPS, run, _at(rate, 2e-5), pack=pack)


def _reference(run: Any, pack: Any = None) -> Implementation:
    return Implementation("reference", _REFERENCE, run, _at(1e6, 1e-4), pack=pack)


_VECTOR_POOLS = (
    Implementation(
        "running",
        "what neighbouring windows share is taken in once, for any channels",
        running.run,
        running.cost,
        running.supports,
    ),
    Implementation("direct", "vectors of channels, or of rows taken in before columns", pool.run, pool.cost, pool.supports),
)

_VECTOR_COLUMNS = Implementation(
    "direct", "rows copied, or added, by the vector, padding left out", columns.run, columns.cost, columns.supports
)

_POOLS = (
    _loops(loops.run_pool),
    Implementation("strided", "sliding_window_view, reduced by NumPy", strided.pool, _at(1e8, 6e-5), strided.supports_pool),
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
)

_STRASSEN = Implementation(
    "strassen",
    "seven products for eight of halves of positions and channels, at two to three times the rounding error",
    strassen.run,
    strassen.cost,
    strassen.supports,
    strassen.pack,
    pack_cost=_per_weight(1.5e-10, 1e-5),
)

OPERATIONS: dict[str, tuple[Implementation, ...]] = {
    "conv": (
        Implementation(
            "winograd",
            "kernels of 3 taps and more with a quarter to three quarters of the products, at about twice the rounding error",
            winograd.run,
            winograd.cost,
            winograd.supports,
            winograd.pack,
            pack_cost=winograd.pack_cost,
        ),
        _STRASSEN,
        Implementation(
            "depthwise",
            "a kernel for each channel, input rows reused in registers",
            depthwise.run,
            depthwise.cost,
            depthwise.supports,
            depthwise.pack,
            pack_cost=_per_weight(1e-9, 5e-6),
        ),
        _DIRECT,
        Implementation(
            "unpacked",
            "dot products of windows, copied into rows, with the weights as they lie: for one call on a small map",
            unpacked.run,
            unpacked.cost,
            unpacked.supports,
            unpacked.pack,
        ),
        Implementation(
            "separable",
            "filters of one channel as columns times rows, as many as their rank: auto looks at the weights",
            separable.run,
            separable.cost,
            separable.supports,
            separable.pack,
            separable.weigh,
            _per_weight(2e-8, 1e-4),
        ),
        Implementation(
            "fft",
            "Fourier transforms of overlapping blocks: for large kernels",
            fft.run,
            fft.cost,
            fft.supports,
            fft.pack,
            pack_cost=fft.pack_cost,
        ),
        Implementation(
            "im2col", "windows copied into columns, 16 MiB at a time, then BLAS", im2col.conv, _blas_cost, pack=im2col.pack
        ),
        _loops(loops.run_conv, pack=_as_given),
        Implementation(
            "strided",
            "sliding_window_view, then tensordot",
            strided.conv,
            lambda geometry, dtype, machine: 3e-5 + 2 * _blas_cost(geometry, dtype, machine),
            pack=_as_given,
        ),
        _reference(reference.conv, pack=_as_given),
    ),
    "conv_transpose": (
        _STRASSEN,
        _DIRECT,
        Implementation("im2col", "a matrix product by BLAS, then col2im", im2col.conv_transpose, _blas_cost, pack=im2col.pack),
        _loops(loops.run_conv, 2e8, pack=_as_given),
        _reference(reference.conv, pack=_as_given),
    ),
    **dict.fromkeys(("max_pool", "min_pool", "avg_pool", "lp_pool"), (*_VECTOR_POOLS, *_POOLS)),
    **dict.fromkeys(("adaptive_avg_pool", "adaptive_max_pool"), (_VECTOR_POOLS[1], *_POOLS)),
    "max_unpool": (
        Implementation("direct", "planes cleared by the vector, then filled", unpool.run, unpool.cost, unpool.supports),
        _loops(loops.run_max_unpool),
        _reference(reference.max_unpool),
    ),
    "unfold": (_VECTOR_COLUMNS, _loops(loops.run_windows), _reference(reference.unfold)),
    "fold": (_VECTOR_COLUMNS, _loops(loops.run_windows), _reference(reference.fold)),
    "activation": (
        Implementation("direct", "vectors, each written once", elementwise.run, elementwise.cost, elementwise.supports),
        _loops(loops.run_activation),
        _reference(reference.activation),
    ),
}
