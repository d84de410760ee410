"""The taps of a channel's own kernel as register tiles: rows x columns of them, each a vector of partial sums.

    tile [r, s] += dy [p] * x [cell(p) + (r, s)]        of vectors of channels, or of positions

A kernel of more rows than registers hold is summed by stacks of rows, the last of which ends with the kernel: rows that two
stacks share are summed twice, to the same bits.

An item sums over all positions and writes dw, or sums over a slice of them and writes a dw of its own; these are added up in
their order. How many slices there are depends on the problem alone.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled
from fastconv.kernels.memory import aligned
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.sizes import Axes, Strides, axes
from fastconv.kernels.simd.engine.tables import Tile
from fastconv.kernels.simd.engine.walks import strides
from fastconv.kernels.simd.engine.windows import unpacker
from fastconv.machine import Machine
from fastconv.problem.convolutions import Array, ConvGeometry

SPARE = 4  # registers that hold no sums
MOST_STACKS = 16
SHARES = 8  # items that a call should have for its threads


class Stacks(NamedTuple):
    """How a kernel is summed.

    Attributes
    ----------
    tile : Tile
        Rows of a stack, and taps of a row.
    stacks : int
        Of a slice of the kernel.
    """

    tile: Tile
    stacks: int


class Places(NamedTuple):
    """Where x and dy lie, and how windows lie on them.

    Attributes
    ----------
    x, y : Strides
        Of x and of dy.
    cells, padding, outputs, stride, dilation, taps : Axes
        As of the convolution.
    """

    x: Strides
    y: Strides
    cells: Axes
    padding: Axes
    outputs: Axes
    stride: Axes
    dilation: Axes
    taps: Axes


class Launch(NamedTuple):
    """A kernel with its sizes.

    Attributes
    ----------
    kernel : Kernel
        kernel(items, work, x, dy, dw of each slice, sizes, parameters).
    items, work, slices : int
        Independent items, scalar operations in all, slices of the positions.
    sizes, parameters : array
        Of the kernel; what cells of the border hold, and a zero.
    """

    kernel: Kernel
    items: int
    work: int
    slices: int
    sizes: Array
    parameters: Array

    def run(self, x: Array, dy: Array, dw: Array) -> None:
        """On flat arrays."""
        if self.slices == 1:
            self.kernel(self.items, self.work, x, dy, dw, self.sizes, self.parameters)
            return
        partial = aligned(self.slices * dw.size, dw.dtype)
        self.kernel(self.items, self.work, x, dy, partial, self.sizes, self.parameters)
        with np.errstate(all="ignore"):
            np.add.reduce(partial.reshape(self.slices, dw.size), axis=0, out=dw)


def stacks_of(geometry: ConvGeometry, machine: Machine, columns: bool = False) -> Stacks | None:
    """The stacks of a lifted geometry's kernel; None where a row has too many taps, or there are too many of them.

    Registers hold their sums and SPARE other vectors, or, with `columns`, those of dy of as many outputs as a row has taps.
    """
    _, high, wide = geometry.kernel
    rows = (machine.registers - max(SPARE, columns * (wide + 1))) // wide
    if rows <= 0:
        return None
    stacks = -(-high // rows)
    return Stacks(Tile(-(-high // stacks), wide), stacks) if stacks <= MOST_STACKS else None


def supports(geometry: ConvGeometry, machine: Machine) -> str | None:
    """Input channels that are groups of their own."""
    g = geometry
    if g.in_per_group != 1:
        return f"it serves one input channel a group, not {g.in_per_group}"
    return None if stacks_of(g.lifted(), machine) else f"it serves kernels of fewer taps than {'x'.join(map(str, g.kernel))}"


def refusal(geometry: ConvGeometry, machine: Machine) -> str | None:
    """Why registers cannot hold a row of taps of a lifted geometry and as many outputs, or None."""
    if stacks_of(geometry, machine, columns=True):
        return None
    return f"it serves kernels of fewer taps than {'x'.join(map(str, geometry.kernel))}"


def slices_for(items: int, chunks: int) -> int:
    """Slices of so many chunks of positions, where so many items have all of them."""
    return max(1, min(-(-SHARES // max(1, items)), chunks))


@compiled
def first_row(stack, stacks, rows, taps):
    """The first row of taps of a stack."""
    return min(stack * rows, taps - rows)


@lru_cache(maxsize=16)
def writer(tile: Tile, lanes: int) -> Any:
    """The compiled dw [c][t], c `apart` elements apart, of the first `count` channels of a vector.

    The sums [stack][r][s] are put into their order in `room` first, of high * columns vectors.
    """
    (rows, columns), unpack = tile, unpacker(lanes)

    def write(sums, stacks, high, room, count, dw, apart):
        for r in range(high):
            stack = min(r // rows, stacks - 1)
            at = sums + (stack * rows + r - first_row(stack, stacks, rows, high)) * columns * lanes
            for t in range(columns):
                vector.store(room + (r * columns + t) * lanes, vector.load(at + t * lanes, lanes))
        unpack(room, 1, high * columns, count, lanes, dw, 0, apart)

    return compiled(write)


@lru_cache(maxsize=16)
def lane_writer(tile: Tile, lanes: int) -> Any:
    """The compiled dw [t] of one channel and a slice of its kernel: the lanes of its sums [stack][r][s] added up."""
    rows, columns = tile

    def write(sums, stacks, high, room, dw):
        for stack in range(stacks):
            at = sums + stack * rows * columns * lanes
            vector.store_lane_sums(vector.load_tile(at, columns * lanes, rows, columns, lanes), room)
            first = first_row(stack, stacks, rows, high)
            for t in range(rows * columns):
                vector.poke(dw + (first * columns + t), vector.peek(room + t))

    return compiled(write)


def cycles(stacks: Stacks, machine: Machine) -> float:
    """Of a vector of positions or channels that meets all taps of a slice."""
    rows, columns = stacks.tile
    return stacks.stacks * (max(4.0, (rows * columns + 1) / min(2, machine.units)) + 1.5)


def places_of(geometry: ConvGeometry) -> Places:
    """Those of a lifted geometry."""
    g = geometry
    return Places(
        x=strides(g, g.in_channels, g.in_size),
        y=strides(g, g.out_channels, g.out_size),
        cells=axes(g.in_size),
        padding=axes([before for before, _ in g.padding]),
        outputs=axes(g.out_size),
        stride=axes(g.stride),
        dilation=axes(g.dilation),
        taps=axes(g.kernel),
    )


def parameters_of(geometry: ConvGeometry, dtype: np.dtype[Any]) -> Array:
    """What cells of the border hold, and a zero."""
    return np.array([geometry.border.value, 0], dtype)
