"""How Strassen's algorithm cuts a convolution: into walks, blocks of outputs and tiles of pairs; and what they take.

Geometries here are flattened, and have a walk along each axis, or several if they are transposed.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from math import inf, prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.simd.engine import packing
from fastconv.kernels.simd.engine.tables import CONFLICT, WAYS
from fastconv.kernels.simd.engine.walks import flattened
from fastconv.kernels.simd.strassen.products import GROUP, ITEMS, PANELS, SPARE, WORKSPACE, half_of, share_of
from fastconv.machine import Machine
from fastconv.problem.convolutions import SPATIAL_AXES, ConvGeometry, Walk


class Cut(NamedTuple):
    """A register tile, pairs x vectors of output channels; outputs of a block; blocks of channels of a half, and of an item."""

    rows: int
    columns: int
    block_rows: int
    block_columns: int
    blocks: int
    k_part: int


TILES = {32: ((5, 4), (5, 5), (7, 3), (14, 2)), 16: ((6, 2), (4, 3))}
MORE = 3  # rows that a block may have beyond what fits evenly
ROOMS = (4 << 20, 2 << 20)  # bytes of a block's sums: what is read of them is little, and comes from the L3 cache in time


Walks = tuple[Walk, ...]


def outputs_of(walks: Walks) -> tuple[int, int, int]:
    """Outputs along each axis."""
    depth, height, width = (walk.outputs for walk in walks)
    return depth, height, width


def taps_of(walks: Walks) -> int:
    """Taps of all axes."""
    return prod(walk.taps for walk in walks)


def step_of(geometry: ConvGeometry, walks: Walks, lanes: int, itemsize: int) -> int:
    """Elements from one pair's sums to the next one's: whole vectors, which do not share the sets of an L1 cache."""
    step = -(-taps_of(walks) * -(-geometry.in_per_group // 2) // lanes) * lanes
    return step + (lanes if step * itemsize % 1024 == 0 else 0)


def in_place(geometry: ConvGeometry, walks: Walks, rows: int, itemsize: int) -> bool:
    """Whether pixels are read where they lie: by one tap, without padding, and not so far apart that they share cache sets.

    Of an odd number of channels, the second half needs a zero behind it.
    """
    g = geometry
    if not g.channels_last or taps_of(walks) != 1 or g.in_per_group % 2:
        return False
    if any(walk.origin < 0 or walk.origin + walk.reach(walk.outputs) > walk.cells for walk in walks):
        return False
    apart = 2 * itemsize * g.in_channels * walks[2].stride
    return rows <= WAYS or apart % CONFLICT > 0


def room_of(geometry: ConvGeometry, walks: Walks, cut: Cut, lanes: int, itemsize: int) -> tuple[int, int]:
    """(elements of the workspace of a thread, those of the windows of a block, which are turned to pixels first)."""
    g, line, width = geometry, packing.LINE // itemsize, cut.columns * lanes
    depth, height, broad = walks
    outputs = cut.block_rows * cut.block_columns
    reach = depth.taps * height.reach(cut.block_rows) * broad.reach(cut.block_columns)
    windows, results = (0, 0) if g.channels_last else (max(0, reach) * g.in_per_group, (outputs + lanes) * cut.k_part * width)
    sums = PANELS * (-(-outputs // 2) * step_of(g, walks, lanes, itemsize) + line)
    return sums + (SPARE + 1) * cut.rows * width + g.in_per_group + lanes + windows + 2 * results + 8 * line, windows


@lru_cache(maxsize=1024)
def choice(geometry: ConvGeometry, walks: Walks, dtype: np.dtype[Any], machine: Machine) -> tuple[float, Cut | None]:
    """(cycles that a walk is expected to take, the cut that takes the fewest); no cut where none has the room.

    The geometry is flattened, and has such a walk along each axis.
    """
    g, lanes = geometry, machine.lanes(dtype)
    deep, height, width = outputs_of(walks)
    half_vectors, length, images = half_of(g.out_per_group, lanes), taps_of(walks) * -(-g.in_per_group // 2), g.batch * g.groups
    per_pair = PANELS * (length + lanes)
    if not g.channels_last:
        per_pair += 2 * (walks[0].taps * walks[1].stride * walks[2].stride * g.in_per_group + g.out_per_group)
    found = []
    for rows, columns in TILES[machine.registers]:
        blocks = -(-half_vectors // columns)
        shares = (
            share_of(-(-height * width // 2), images * deep * blocks, GROUP * rows, items) for items in (ITEMS, ITEMS // 2)
        )
        fits = [max(rows, fit - fit % rows) for fit in (room // dtype.itemsize // per_pair for room in ROOMS)]
        for pairs in {min(fit, -(-share // rows) * rows) for share in shares for fit in fits}:
            block_columns = evenly(width, 2 * pairs)
            least = evenly(height, max(1, 2 * pairs // max(1, block_columns)))
            for block_rows in range(least, max(least, min(height, least + MORE)) + 1):  # some fill their last tile better
                parts = images * deep * -(-height // max(1, block_rows)) * -(-width // max(1, block_columns))
                k_part = -(-blocks // min(blocks, -(-ITEMS // max(1, parts))))
                cut = Cut(rows, columns, block_rows, block_columns, blocks, k_part)
                if room_of(g, walks, cut, lanes, dtype.itemsize)[0] * dtype.itemsize <= WORKSPACE:
                    found.append((cycles(g, walks, cut, dtype, machine), cut))
    return min(found, default=(inf, None))


def seconds(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """What all walks are expected to take; infinite where one has not the room."""
    g = flattened(geometry)
    total = sum(28_000 + choice(g, walks, dtype, machine)[0] for walks in walks_of(g))
    return inf if total == inf else machine.seconds(total, g.bytes(dtype.itemsize))


def walks_of(geometry: ConvGeometry) -> Iterator[Walks]:
    """The plain convolutions that the geometry is made of."""
    return product(*(geometry.walks(axis) for axis in range(SPATIAL_AXES)))


def evenly(count: int, most: int) -> int:
    """Parts of about equal size, `most` at most."""
    return -(-count // max(1, -(-count // max(1, most))))


def cycles(geometry: ConvGeometry, walks: Walks, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> float:
    """Of products, of the tiles' ends, of sums and, channels first, of turning pixels and results."""
    g, lanes, taps, (deep, height, width) = geometry, machine.lanes(dtype), taps_of(walks), outputs_of(walks)
    length, vectors, size = taps * -(-g.in_per_group // 2), -(-g.in_per_group // lanes), cut.rows * cut.columns
    # Addresses of many rows do not fit the registers.
    step, end = (1.01, 12) if cut.rows <= WAYS else (1.03, 20)
    tile = cut.blocks * (step * PANELS * length * max(size, 8) / machine.units + 50 + end * size)
    pair = taps * (40 + (8 if in_place(g, walks, cut.rows, dtype.itemsize) else 12) * vectors)
    if not g.channels_last:
        pair += 22 * (walks[0].taps * walks[1].stride * walks[2].stride * vectors + -(-g.out_per_group // lanes))
    parts = (
        (number * count, -(-high * wide // 2))
        for number, high in parts_of(height, cut.block_rows)
        for count, wide in parts_of(width, cut.block_columns)
    )
    found = sum(count * (-(-pairs // cut.rows) * tile + pairs * pair) for count, pairs in parts)
    return g.batch * g.groups * deep * found


def parts_of(count: int, part: int) -> list[tuple[int, int]]:
    """(how many, outputs of each) of the parts of an axis: whole ones, and what is left."""
    whole, rest = divmod(count, max(1, part))
    return [(whole, part)] + ([(1, rest)] if rest else [])
