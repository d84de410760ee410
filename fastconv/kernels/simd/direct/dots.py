"""1x1 convolutions to few output channels, channels last: each result is one dot product of channels that follow each other.

    y [p][k] = act(bias [k] + sum over c of x [p][c] * w [k][c])

Vectors lie along the input channels, where those along the few output channels would be almost empty. A tile has as many
positions as have results for one vector; the lanes of its sums are added up together, by log2(lanes) rounds over pairs.
"""

from functools import lru_cache, partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, element, inlined
from fastconv.kernels.keeping import remembered
from fastconv.kernels.memory import aligned
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import epilogue, weights
from fastconv.kernels.simd.engine.costs import CALL, Candidate
from fastconv.kernels.simd.engine.sizes import reader, written
from fastconv.kernels.simd.engine.tables import Tile
from fastconv.machine import Machine
from fastconv.problem.convolutions import Array, ConvGeometry
from fastconv.problem.problem import Problem

pointer = vector.pointer


class Sizes(NamedTuple):
    """Positions, input channels, and positions of a panel."""

    count: int  # type: ignore[assignment]
    channels: int
    panel: int


read = reader(Sizes)


@lru_cache(maxsize=32)
def kernel(positions: int, outputs: int, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loop over panels of positions: f32_dots_8x2_avx512."""
    activate, whole, results = epilogue.activation_of(dtype, silu=True), lanes, positions * outputs

    @inlined
    def reduce(x, w, channels):
        """tile [p, k] = sum over c of x [p][c] * w [k][c], a sum for each lane."""
        full, step = channels - channels % lanes, -(-channels // lanes) * lanes
        tile = vector.zeros(x, positions, outputs, lanes)
        for c in range(0, full, lanes):
            tile = vector.fma_dots(tile, x + c, channels, w + c, step, whole)
        if full < channels:
            tile = vector.fma_dots(tile, x + full, channels, w + full, step, channels - full)
        return tile

    def dots(begin, end, x, w, bias, residual, y, sizes, parameters):
        """y [p][k] = act(bias [k] + sum over c of x [p][c] * w [k][c]) for the positions of each panel."""
        s, act = read(sizes), epilogue.epilogue_with_silu(parameters, residual, y)
        biases = vector.load(pointer(bias), lanes)
        for item in range(begin, end):
            last = min(s.count, (item + 1) * s.panel)
            for begun in range(item * s.panel, last, positions):
                first = max(0, min(begun, last - positions))  # the last tile may overlap the one before
                source = pointer(x) + first * s.channels
                sums = vector.lane_sums(reduce(source, pointer(w), s.channels)) + biases
                vector.store_first(pointer(y) + first * outputs, activate(sums, act), results)

    dots.__name__ = f"{dtype}_dots_{positions}x{outputs}_{isa}"
    return Kernel(dots)


# Decisions --------------------------------------------------------------------------------------------------------------

MOST = 12  # output channels
PANEL = 1024  # positions of an item, or a few less


class Cut(NamedTuple):
    """A tile of positions x output channels, and positions of a panel."""

    tile: Tile
    panel: int

    @property
    def lays_weights(self) -> bool:
        """They are few."""
        return False


def suits(problem: Problem, machine: Machine) -> bool:
    """Whether each of few outputs is one dot product, at positions that follow each other and fill a tile.

    Tiles may overlap, and what two of them store is finished in registers or not at all.
    """
    g, lanes = problem.geometry, machine.lanes(problem.dtype)
    if problem.finished_later:
        return False
    fits = g.groups == 1 and g.out_channels <= min(MOST, lanes) and g.in_channels > 1 and g.channels_last
    return fits and g.is_pointwise and g.batch * prod(g.out_size) * g.out_channels >= lanes


def cut(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> Cut:
    """The tile whose results fill a vector."""
    positions = machine.lanes(dtype) // geometry.out_channels
    return Cut(Tile(positions, geometry.out_channels), max(1, PANEL // positions) * positions)


def cycles_of(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> float:
    """Loads that cross lines, products, and the sums of lanes."""
    g, lanes, (positions, outputs) = geometry, machine.lanes(dtype), cut.tile
    each = max(2 * positions, positions * outputs / machine.units)
    tiles = -(-g.batch * prod(g.out_size) // positions)
    return tiles * (-(-g.in_channels // lanes) * each + 1.5 * lanes / machine.units + 8)


def candidate(problem: Problem, machine: Machine) -> Candidate:
    """Direct convolution by dot products."""
    g, dtype = problem.geometry, problem.dtype
    one = cut(g, dtype, machine)
    seconds = machine.seconds(CALL + cycles_of(g, one, dtype, machine), g.bytes(dtype.itemsize))
    return Candidate(seconds, one, partial(drafts, g, one, dtype, machine))


# Plan -------------------------------------------------------------------------------------------------------------------


@remembered
def drafts(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> tuple[weights.Draft, ...]:
    """One draft."""
    g, lanes = geometry, machine.lanes(dtype)
    count, of_result = g.batch * prod(g.out_size), np.arange(lanes) % g.out_channels

    def lay(w: Array, bias: Array) -> tuple[Array, Array]:
        """[k][c], filled up with zeros to whole vectors, and the bias of each result of a tile."""
        packed = aligned(g.out_channels * -(-g.in_channels // lanes) * lanes, dtype)
        rows = packed.reshape(g.out_channels, -1)
        rows[:, : g.in_channels], rows[:, g.in_channels :] = w.reshape(g.out_channels, -1), 0
        return packed, bias[of_result]

    chosen = kernel(*cut.tile, lanes, element(dtype), machine.isa)
    arguments = written(Sizes(count, g.in_channels, cut.panel)), epilogue.scalars(g.activation, dtype)
    return (weights.drafted(chosen, -(-count // cut.panel), g.flops // 8, arguments, lay),)
