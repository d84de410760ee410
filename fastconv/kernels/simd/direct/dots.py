"""1x1 convolutions to few output channels, channels last: each result is one dot product of what lies together.

    y [p][k] = act(bias [k] + sum over c of x [p][c] * w [k][c])

Vectors lie along the input channels, where those along the few output channels would be almost empty. A tile has as many
positions as have results for one vector; the lanes of its sums are added up together, by log2(lanes) rounds over pairs.
"""

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from fastconv.kernels.jit import Kernel, Launch, element
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import epilogue, packing
from fastconv.kernels.simd.engine.costs import CALL
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array, ConvGeometry
from fastconv.problem.problem import Problem

pointer = vector.pointer
AHEAD = 1  # tiles whose lines are asked for before they are read


@lru_cache(maxsize=32)
def kernel(positions: int, outputs: int, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loop over panels of positions: f32_dots_8x2_avx512."""
    activate, whole, results = epilogue.activation_of(dtype, silu=True), lanes, positions * outputs
    line = packing.LINE // (4 if dtype == "f32" else 8)

    def dots(begin, end, x, w, bias, residual, y, sizes, parameters):
        act = epilogue.epilogue_with_silu(parameters, residual, y)
        count, channels, panel = packing.three(sizes, 0)
        full, step = channels - channels % lanes, -(-channels // lanes) * lanes
        added = vector.load(pointer(bias), lanes)
        for item in range(begin, end):
            last = min(count, (item + 1) * panel)
            for begun in range(item * panel, last, positions):
                first = max(0, min(begun, last - positions))  # the last tile may overlap the one before
                source = pointer(x) + first * channels
                for i in range(0, positions * channels, line):
                    vector.prefetch(source + (AHEAD * positions * channels + i))
                tile = vector.zeros(source, positions, outputs, lanes)
                for c in range(0, full, lanes):
                    tile = vector.fma_dots(tile, source + c, channels, pointer(w) + c, step, whole)
                if full < channels:
                    tile = vector.fma_dots(tile, source + full, channels, pointer(w) + full, step, channels - full)
                found = vector.lane_sums(tile) + added
                vector.store_first(pointer(y) + first * outputs, activate(found, act), results)

    dots.__name__ = f"{dtype}_dots_{positions}x{outputs}_{isa}"
    return Kernel(dots)


# Decisions --------------------------------------------------------------------------------------------------------------

MOST = 12  # output channels
PANEL = 1024  # positions of an item, or a few less


def suits(problem: Problem, machine: Machine) -> bool:
    """Whether each of few outputs is one dot product, at positions that follow each other and fill a tile.

    Tiles may overlap, and what two of them store is finished in registers or not at all.
    """
    g, lanes = problem.geometry, machine.lanes(problem.dtype)
    if problem.finished_later:
        return False
    few = g.groups == 1 and g.out_channels <= min(MOST, lanes) and g.in_channels > 1 and g.channels_last
    return few and g.is_pointwise and g.batch * prod(g.out_size) * g.out_channels >= lanes


def cycles(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Loads that cross lines, products, and the sums of lanes."""
    g, lanes = geometry, machine.lanes(dtype)
    positions = lanes // g.out_channels
    each = max(2 * positions, positions * g.out_channels / machine.units)
    tiles = -(-g.batch * prod(g.out_size) // positions)
    return tiles * (-(-g.in_channels // lanes) * each + 1.5 * lanes / machine.units + 8)


def pack(w: Array, bias: Array, geometry: ConvGeometry) -> tuple[Launch, ...]:
    """Weights as [k][c], filled up with zeros to whole vectors, and the bias of each result of a tile."""
    g, machine = geometry, host()
    lanes = machine.lanes(w.dtype)
    positions, count = lanes // g.out_channels, g.batch * prod(g.out_size)
    packed = packing.aligned(g.out_channels * -(-g.in_channels // lanes) * lanes, w.dtype)
    rows = packed.reshape(g.out_channels, -1)
    rows[:, : g.in_channels], rows[:, g.in_channels :] = w.reshape(g.out_channels, -1), 0
    panel = max(1, PANEL // positions) * positions
    arguments = (np.array((count, g.in_channels, panel), np.int64), epilogue.scalars(g.activation, w.dtype))
    chosen = kernel(positions, g.out_channels, lanes, element(w.dtype), machine.isa)
    return (Launch(chosen, -(-count // panel), g.flops // 8, packed, np.resize(bias, lanes), arguments),)


def cost(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Of py."""
    return machine.seconds(CALL + cycles(geometry, dtype, machine), geometry.bytes(dtype.itemsize))
