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


def module_of(geometry: ConvGeometry) -> Any:
    """What serves a geometry, or tells why not."""
    return row_tiles if geometry.in_per_group == geometry.out_per_group == 1 else winograd_tiles


def supports(geometry: ConvGeometry, dtype: np.dtype[Any]) -> str | None:
    """Stride 1 and few other steps, in float32 or float64."""
    if dtype not in (np.float32, np.float64):
        return f"its vectors are float32 or float64, not {dtype}"
    reason: str | None = module_of(geometry).supports(geometry, dtype)
    return reason


def cost(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Of the fastest form."""
    seconds: float = module_of(geometry).cost(geometry, dtype, machine)
    return seconds


def pack(w: Array, bias: Array, geometry: ConvGeometry) -> Launch:
    """Weights as the form takes them."""
    launch: Launch = module_of(geometry).pack(w, bias, geometry)
    return launch


def pack_cost(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Seconds that `pack` takes."""
    seconds: float = module_of(geometry).pack_cost(geometry, dtype, machine)
    return seconds


def run(x: Array, packed: Launch, geometry: ConvGeometry, out: Array) -> None:
    """All blocks."""
    packed.run(x.ravel(), out.ravel())
