"""How depthwise convolution of any geometry is cut: tiles, blocks of positions, phases of transposed ones, and what they cost.

volumes.py computes by them.
"""

from math import gcd, prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.keeping import remembered
from fastconv.kernels.memory import LINE
from fastconv.kernels.simd.engine.costs import CALL, PERIOD, lines_waited_for
from fastconv.kernels.simd.engine.sizes import Axes
from fastconv.machine import Machine
from fastconv.problem.convolutions import ConvGeometry
from fastconv.problem.walks import Walk

WIDEST = 15  # taps of a kernel row that are unrolled
ROWS = (8, 7, 6, 5, 4, 3, 2, 1)  # positions of a tile
MOST_PAIRED = 4  # taps of a row whose weights take two registers each
MOST_PHASES = 4096
WORKSPACE = 16 << 20  # bytes that the cells under one position may take
LEAST = 8  # items that a call should have for its threads
MESHED = 13.0  # cycles of a vector that comes over a mesh
SMALL = 9  # taps of a window whose sums take so little time there that copies from the L2 cache tell too
JUMP = 1536  # bytes from a cell to the next, or more: no line ahead is guessed


class Form(NamedTuple):
    """What a kernel is compiled for: see its parts."""

    rows: int
    taps: int
    stride: int
    repeats: int
    channels_last: bool


class Cut(NamedTuple):
    """What the kernel is compiled for, and positions of a block."""

    form: Form
    block: Axes


class Reach(NamedTuple):
    """The walks of the three axes, and what they reach.

    Attributes
    ----------
    walks : tuple of tuple of Walk
        Of each axis its phases.
    corner, reach, positions, taps : Axes
        As in Sizes.
    """

    walks: tuple[tuple[Walk, ...], ...]
    corner: Axes
    reach: Axes
    positions: Axes
    taps: Axes


def phases_of(geometry: ConvGeometry, axis: int) -> tuple[Walk, ...]:
    """The walks of an axis by their phase, those without taps too: their outputs are the bias."""
    g, walks = geometry, geometry.walks(axis)
    if not g.transposed:
        return walks
    stride, outputs, cells = g.stride[axis], g.out_size[axis], g.in_size[axis]
    known, spread = {walk.first: walk for walk in walks}, g.dilation[axis] // gcd(stride, g.dilation[axis])
    return tuple(
        known.get(phase) or Walk(len(range(phase, outputs, stride)), 0, cells, 0, 1, spread, phase, stride, 0, 1)
        for phase in range(min(stride, outputs))
    )


@remembered
def reach_of(geometry: ConvGeometry) -> Reach:
    """The walks of a geometry, and what all of them reach."""
    g = geometry.lifted()
    walks = tuple(phases_of(g, axis) for axis in range(3))
    corners, reaches = [], []
    for of_axis in walks:
        some = [walk for walk in of_axis if walk.taps] or list(of_axis)
        corners.append(min(walk.origin for walk in some))
        reaches.append(max(walk.origin + (walk.taps - 1) * walk.dilation for walk in some) - corners[-1] + 1)
    positions = (max(walk.outputs for walk in of_axis) for of_axis in walks)
    taps = (sum(walk.taps for walk in of_axis) for of_axis in walks)
    return Reach(walks, Axes(*corners), Axes(*(max(1, one) for one in reaches)), Axes(*positions), Axes(*taps))


def suits(geometry: ConvGeometry, machine: Machine) -> bool:
    """One input channel a group, no more phases than a table has room for, and windows that a workspace holds."""
    g = geometry
    phases, none = prod(g.stride) if g.transposed else 1, 0 in (*g.x_shape, *g.out_shape)
    if g.in_per_group != 1 or phases > MOST_PHASES or none:
        return False
    return prod(reach_of(g).reach) * machine.vector_bytes <= WORKSPACE


def repeats_of(multiplier: int, lanes: int) -> int:
    """The multiplier, where vectors of as many repeated channels are one shuffle; else 0."""
    return multiplier if lanes % multiplier == 0 or multiplier % lanes == 0 else 0


def unrolled(of: Reach) -> int:
    """Taps of a row that are unrolled: all of a walk, where other walks have as many, next to each other; else 0."""
    walk, taps = of.walks[2][0], {walk.taps for walk in of.walks[2]}
    plain = len(taps) == 1 and walk.dilation == 1 and 0 < walk.taps <= WIDEST and walk.stride <= 2
    return walk.taps if plain else 0


def lanes_for(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> int:
    """Elements of the vectors of a tile: channels last those of a cache line, whose halves would come, and go, twice.

    A line takes two registers of AVX2, which has them for few taps; and no more than some of its lanes are left empty.
    """
    g, lanes, line = geometry, machine.lanes(dtype), LINE // dtype.itemsize
    few = unrolled(reach_of(g)) <= MOST_PAIRED and repeats_of(g.out_per_group, line) > 0
    full = 4 * g.out_channels >= 3 * line * -(-g.out_channels // line) or lanes < g.out_channels <= line
    return line if g.channels_last and 2 * lanes == line and few and full else lanes


def rows_for(columns: int, taps: int, pairs: bool, machine: Machine) -> int:
    """Positions of a tile: as many as leave registers for taps, where each takes a pair, and a row leaves few over."""
    most = machine.registers // 2 - max(1, taps) - 1 if pairs else ROWS[0]
    return min((rows for rows in ROWS if rows <= most), key=lambda rows: (-(-columns // rows) * (rows + 2), -rows))


def cut_for(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> Cut:
    """Blocks whose cells take a quarter of the L2 cache, and of which there are some for every thread."""
    g, of, lanes = geometry, reach_of(geometry), lanes_for(geometry, dtype, machine)
    taps = unrolled(of)
    room, items = machine.l2 // 4 // dtype.itemsize // lanes, g.batch * -(-g.out_channels // lanes)
    steps = [of_axis[0].stride for of_axis in of.walks]
    block = list(of.positions)

    def cells() -> int:
        return prod((count - 1) * step + reach for count, step, reach in zip(block, steps, of.reach, strict=True))

    while cells() > room or items * prod(-(-all_ // part) for all_, part in zip(of.positions, block, strict=True)) < LEAST:
        axis = next((axis for axis in (1, 0, 2) if block[axis] > max(1, of.reach[axis] // steps[axis])), None)
        axis = axis if axis is not None or cells() <= room else max(range(3), key=block.__getitem__)
        if axis is None or block[axis] == 1:
            break
        block[axis] = -(-block[axis] // 2)
    rows = rows_for(block[2], taps, lanes > machine.lanes(dtype), machine)
    stride = of.walks[2][0].stride if taps else 0
    form = Form(rows, taps, stride, repeats_of(g.out_per_group, lanes), g.channels_last)
    return Cut(form, Axes(*block))


def cycles(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> float:
    """Taps of all tiles, cells copied, and channels first outputs turned back."""
    g, of, lanes, (form, block) = geometry, reach_of(geometry), lanes_for(geometry, dtype, machine), cut
    parts = g.batch * -(-g.out_channels // lanes)
    steps = [of_axis[0].stride for of_axis in of.walks]
    under = [(count - 1) * step + reach for count, step, reach in zip(block, steps, of.reach, strict=True)]
    blocks = [-(-count // part) for count, part in zip(of.positions, block, strict=True)]
    cells = parts * prod(blocks) * prod(under)
    tiles = parts * prod(of.positions[:2]) * blocks[2] * -(-block.w // form.rows)
    rows_of_taps = prod(of.taps[:2])
    units = machine.units * machine.lanes(dtype) / lanes
    of_tile, of_row, of_tap = (30, 4, 1.1 / units) if form.taps else (12, 3, 2.5 / units)
    phases = [len(of_axis) for of_axis in of.walks]
    count = CALL + tiles * (of_tile * prod(phases) + rows_of_taps * (of_row * phases[2] + of.taps.w * form.rows * of_tap))
    lines = parts * prod(blocks) * prod(under[:2])
    if g.channels_last:
        count += 25 * lines + cells * (cycles_of_copying(g, dtype, machine) if form.repeats == 1 else 4.0)
        count += lines_waited_for(g, dtype, machine) * (16 if g.in_channels * dtype.itemsize < JUMP else 24)
    else:
        channels = 1 if form.repeats == 1 else 1 / max(1, min(form.repeats, lanes))
        count += lines * (20 + lanes * channels * 3.6 * -(-under[2] // lanes)) + 7 * parts * prod(g.out_size)
        count += 0 if form.repeats == 1 else 2.0 * cells
    return count + (0 if form.repeats else 1.5 * lanes * cells)


def cycles_of_copying(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """A vector of channels: what lies further than the L2 cache is waited for, and by AVX2 what lies in pages or sets apart.

    Over a mesh, lines that lie apart come slowly.
    """
    pixel, near = geometry.in_channels * dtype.itemsize, dtype.itemsize * prod(geometry.x_shape) <= machine.l2
    each = 2.0 if near else 6.0
    if machine.is_meshed and geometry.bytes(dtype.itemsize) > machine.l2:
        each = MESHED
    elif machine.is_meshed and geometry.taps <= SMALL:
        each = 4.0
    if machine.vector_bytes < LINE:
        each += 0.0 if pixel % PERIOD else 4.0 if pixel % (2 * PERIOD) else 8.0
        each += 3.0 if pixel >= JUMP and not near else 0.0
    return each
