"""Direct convolution, by the kernel that takes the fewest cycles.

conv.py serves every geometry, planar.py few channels, channels first, pointwise.py kernels without overlap, channels first, and
dots.py kernels of one tap to few channels, channels last.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from fastconv.kernels.jit import Launch
from fastconv.kernels.simd.direct import dots, planar, pointwise
from fastconv.kernels.simd.direct import tiles as conv
from fastconv.kernels.simd.engine import costs
from fastconv.kernels.simd.engine.lines import are_lines
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array
from fastconv.problem.problem import Operands, Problem


@lru_cache(maxsize=1024)
def choice(problem: Problem, machine: Machine) -> tuple[float, Any]:
    """(seconds it is expected to take, the module of the kernel)."""
    geometry, dtype = problem.geometry, problem.dtype
    found = [(conv.cost(geometry, dtype, machine), conv)]
    if are_lines(geometry):
        found.append((pointwise.cost(geometry, dtype, machine), pointwise))
    elif planar.suits(geometry):  # which copies what the one above reads where it lies
        found.append((planar.cost(geometry, dtype, machine), planar))
    if dots.suits(problem, machine):
        found.append((dots.cost(geometry, dtype, machine), dots))
    return min(found, key=lambda one: one[0])


def cost(problem: Problem, machine: Machine) -> float:
    """Of the kernel that is chosen."""
    return choice(problem, machine)[0]


def pack_cost(problem: Problem, machine: Machine) -> float:
    """Of the kernel that is chosen; some take the weights as they lie."""
    geometry, module = problem.geometry, choice(problem, machine)[1]
    packs = module is conv or (module is pointwise and geometry.transposed)
    return costs.of_packing(geometry, problem.dtype, 8e-11, 6e-6) if packs else 2e-6


def pack(w: Array, bias: Array, problem: Problem) -> tuple[Launch, ...]:
    """The launches of the kernel that is chosen."""
    launches: tuple[Launch, ...] = choice(problem, host())[1].pack(w, bias, problem.geometry)
    return launches


def run(operands: Operands, packed: tuple[Launch, ...], problem: Problem, out: Array) -> None:
    """Every launch, one after the other."""
    x, y = operands["x"].ravel(), out.ravel()
    residual = operands["residual"].ravel() if problem.residual else y
    for launch in packed:
        launch.run(x, residual, y)


def supports(problem: Problem) -> str | None:
    """Real float types."""
    dtype = problem.dtype
    return None if dtype in (np.float32, np.float64) else f"its vectors are float32 or float64, not {dtype}"
