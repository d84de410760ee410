"""What the kernels that sum products themselves are expected to take: cycles of their parts, as fitted to measurements.

Each estimate adds up multiply-adds of vectors, which the processor's units share, and what goes on around them: tiles begun and
stored, windows copied, results turned into their layout. Fitted on a processor with AVX-512 over 620 geometries: nine tenths
of the times of `direct` lay between 0.9 and 1.3 of their estimates. Only ratios of costs decide anything.
"""

from collections.abc import Callable, Iterable
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.memory import LINE
from fastconv.kernels.simd.engine.requests import WAITED, are_waited_for
from fastconv.machine import Machine
from fastconv.problem.convolutions import ConvGeometry

CALL = 28_000  # cycles of a call that does next to nothing
NEAR = 4 << 20  # bytes of weights, beyond which packing them waits for memory
SHARE = 3  # of the last cache that the arrays of a core may take
RAMP = 1.5  # times as many bytes again as some of which are waited for, until all are
BESIDE = 0.9  # of the cycles of products that wait for nothing, where an estimate has them wait
PERIOD = 1024  # bytes between cells, or a multiple: their lines share few sets of an L1 cache


class Candidate(NamedTuple):
    """A kernel that serves a problem: what was estimated is what runs.

    Attributes
    ----------
    seconds : float
        Expected, on one thread.
    cut : object
        How its loops are cut: what the estimate counted and the launch takes.
    launch : callable
        Makes what runs: a launch, or drafts that wait for weights.
    """

    seconds: float
    cut: Any
    launch: Callable[[], Any]


def cheapest(candidates: Iterable[Candidate]) -> Candidate:
    """The candidate that is expected to take the least time; the first of equals."""
    return min(candidates, key=lambda one: one.seconds)


def of_packing(geometry: ConvGeometry, dtype: np.dtype[Any], seconds_per_byte: float, overhead: float) -> float:
    """Seconds; twice as many where taps lie together and channels apart."""
    size = geometry.weights * dtype.itemsize
    apart = 1 if geometry.channels_last or geometry.taps == 1 else 2
    return overhead + (size + 1.5 * max(0, size - NEAR)) * seconds_per_byte * apart


def streaming_seconds(cycles: float, geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Seconds of products whose weights follow each other: those that the last cache does not hold come faster than the rest.

    One position waits for them, or they for its products.
    """
    g = geometry
    far = max(0, dtype.itemsize * g.weights - machine.l3)
    near = g.bytes(dtype.itemsize) - far
    if g.batch * prod(g.out_size) > 1:
        return machine.seconds(cycles, near) + far / machine.streamed
    return max(machine.seconds(BESIDE * cycles), machine.seconds(CALL, near) + far / machine.streamed)


def come_from_afar(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> bool:
    """Whether the last cache does not keep the arrays."""
    return geometry.bytes(dtype.itemsize) >= machine.l3 // SHARE


def lines_from_afar(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Cache lines of arrays that the last cache does not keep, where vectors are parts of one: they are waited for."""
    far = machine.vector_bytes < LINE and come_from_afar(geometry, dtype, machine)
    return geometry.bytes(dtype.itemsize) / LINE if far else 0.0


def lines_waited_for(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """The same where fewer lines are enough: of rows that are read and written by turns.

    From a few times the L2 cache on other cores may have taken the room of some; of arrays more than twice that large all are.
    """
    moved, soon = geometry.bytes(dtype.itemsize), WAITED * machine.l2
    if machine.vector_bytes >= LINE or not are_waited_for(moved, machine):
        return 0.0
    share = 1.0 if machine.asks(moved) else min(1.0, (moved - soon) / (RAMP * soon))
    return share * moved / LINE
