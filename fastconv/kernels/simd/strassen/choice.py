"""Convolution by seven products for eight: Strassen's algorithm, where the direct sum already runs at the machine's peak.

    y [P, K] = act(bias [K] + windows [P, L] @ w [L, K])       P output positions, K output channels, L = taps * input channels

by halves of P, L and K: neighbouring positions go together, the first half of the input channels with the second one, and so of
the output channels. Of the eight products of halves, seven are made, and sums for the eighth: strassen_products.py has them.
strassen_windows.py serves every geometry, and strassen_points.py kernels of one tap, channels first.

The error is relative to the largest of what is summed: of two positions and of all channels. Filters are scaled to one
magnitude before they are summed, so that a small one's results do not drown. A NaN or inf in x spreads to the outputs of its
pair, of all output channels: to the next or the previous position in the order of memory or, channels first with kernels of one
tap, to one that lies SPREAD positions before or behind it at most.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from fastconv.kernels.jit import Launch
from fastconv.kernels.simd.strassen import cuts as strassen_cuts
from fastconv.kernels.simd.strassen import points as strassen_points
from fastconv.kernels.simd.strassen import windows as strassen_windows
from fastconv.kernels.simd.strassen.products import WORKSPACE
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array, ConvGeometry
from fastconv.problem.problem import Operands, Problem

LEAST = 4  # channels of a group
SPREAD = 64
MARGIN = 1.02
LONGEST = 30_000  # products of a sum, up to which errors stay within 1e-4 of the results' root mean square


@lru_cache(maxsize=1024)
def choice(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> tuple[float, Any]:
    """(seconds it is expected to take, what packs for it), infinite where no workspace holds a block."""
    found = []
    if not spread_out(geometry):
        found.append((strassen_cuts.seconds(geometry, dtype, machine), strassen_windows.pack))
    if strassen_points.suits(geometry):
        found.append((strassen_points.choice(geometry, dtype, machine)[0], strassen_points.pack))
    return min(found, key=lambda one: one[0])


def spread_out(geometry: ConvGeometry) -> bool:
    """Whether outputs of a walk lie apart in memory: by cells, not by vectors."""
    return geometry.transposed and not geometry.channels_last and geometry.stride[-1] > 1


def cost(problem: Problem, machine: Machine) -> float:
    """Of the kernel that is chosen, and a little more: of two that are as fast, "auto" takes the more exact one."""
    geometry, dtype = problem.geometry, problem.dtype
    return MARGIN * choice(geometry, dtype, machine)[0]


def supports(problem: Problem) -> str | None:
    """Convolutions of groups of a few channels, in float32 and float64; of transposed ones, channels first, some."""
    geometry, dtype = problem.geometry, problem.dtype
    g = geometry
    if dtype not in (np.float32, np.float64):
        return f"its vectors are float32 or float64, not {dtype}"
    if min(g.in_per_group, g.out_per_group) < LEAST:
        return f"it serves groups of at least {LEAST} channels, not {g.in_per_group} -> {g.out_per_group}"
    if dtype == np.float32 and g.reduction > LONGEST:
        return f"its rounding is too large for sums of {g.reduction:,} products in float32, {LONGEST:,} at most"
    if spread_out(g) and not strassen_points.suits(g):
        return "channels first, its transposed convolutions have stride 1 along the last axis, or 2 taps without overlap"
    if choice(g, dtype, host())[0] == float("inf"):
        return f"its smallest blocks would take more than {WORKSPACE >> 20} MiB"
    return None


def pack(w: Array, bias: Array, problem: Problem) -> tuple[Launch, ...]:
    """The launches of the kernel that is chosen."""
    geometry = problem.geometry
    launches: tuple[Launch, ...] = choice(geometry, w.dtype, host())[1](w, bias, geometry)
    return launches


def run(operands: Operands, packed: tuple[Launch, ...], problem: Problem, out: Array) -> None:
    """Every launch, one after the other."""
    x, y = operands["x"].ravel(), out.ravel()
    residual = operands["residual"].ravel() if problem.residual else y
    for launch in packed:
        launch.run(x, residual, y)
