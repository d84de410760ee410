"""Convolution with fewer products than the direct sum, by Winograd's minimal filtering: of tiles, or of rows.

winograd_tiles.py serves groups of several channels, row_tiles.py groups of one, as filters of images are.
"""

from typing import Any

import numpy as np

from fastconv.kernels.jit import Launch
from fastconv.kernels.simd.winograd import row_tiles
from fastconv.kernels.simd.winograd import tiles as winograd_tiles
from fastconv.machine import Machine
from fastconv.problem.convolutions import Array, ConvGeometry
from fastconv.problem.problem import Operands, Problem


def module_of(geometry: ConvGeometry) -> Any:
    """What serves a geometry, or tells why not."""
    return row_tiles if geometry.in_per_group == geometry.out_per_group == 1 else winograd_tiles


def supports(problem: Problem) -> str | None:
    """Stride 1 and few other steps, in float32 or float64."""
    geometry, dtype = problem.geometry, problem.dtype
    if dtype not in (np.float32, np.float64):
        return f"its vectors are float32 or float64, not {dtype}"
    reason: str | None = module_of(geometry).supports(geometry, dtype)
    return reason


def cost(problem: Problem, machine: Machine) -> float:
    """Of the fastest form."""
    geometry, dtype = problem.geometry, problem.dtype
    seconds: float = module_of(geometry).cost(geometry, dtype, machine)
    return seconds


def pack(w: Array, bias: Array, problem: Problem) -> Launch:
    """Weights as the form takes them."""
    geometry = problem.geometry
    launch: Launch = module_of(geometry).pack(w, bias, geometry)
    return launch


def pack_cost(problem: Problem, machine: Machine) -> float:
    """Seconds that `pack` takes."""
    geometry, dtype = problem.geometry, problem.dtype
    seconds: float = module_of(geometry).pack_cost(geometry, dtype, machine)
    return seconds


def run(operands: Operands, packed: Launch, problem: Problem, out: Array) -> None:
    """All blocks."""
    y = out.ravel()
    packed.run(operands["x"].ravel(), operands["residual"].ravel() if problem.residual else y, y)
