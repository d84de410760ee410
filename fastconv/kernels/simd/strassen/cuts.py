"""How Strassen's algorithm cuts a convolution: into walks, blocks of outputs and tiles of pairs; and what they take.

Geometries here are flattened, and have a walk along each axis, or several if they are transposed.
"""

from collections.abc import Iterator
from math import inf, prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.keeping import remembered
from fastconv.kernels.memory import LINE
from fastconv.kernels.simd.engine.sizes import Axes, Plane
from fastconv.kernels.simd.engine.tables import CONFLICT, TILES, WAYS
from fastconv.kernels.simd.engine.walks import Walks, along
from fastconv.kernels.simd.strassen.products import GROUP, ITEMS, PANELS, PARTIAL, WORKSPACE, half_of, share_of
from fastconv.machine import CLOCK, Machine
from fastconv.problem.convolutions import ConvGeometry


class Cut(NamedTuple):
    """A register tile, pairs x vectors of output channels; outputs of a block; blocks of channels of a half, and of an item."""

    rows: int
    columns: int
    block: Plane
    blocks: int
    k_part: int


FROM_AFAR = 11  # cycles that a line of the arrays is waited for, where the last cache does not keep them
OF_END = 12  # cycles in which a vector of a tile is stored, at least
OF_PAIR, OF_VECTOR = 40, 8  # cycles of a pair's sums at a tap, and of a vector of its channels, at least
MORE = 3  # rows that a block may have beyond what fits evenly
ROOMS = (4 << 20, 2 << 20)  # bytes of a block's sums: what is read of them is little, and comes from the L3 cache in time


def outputs_of(walks: Walks) -> Axes:
    """Outputs along each axis."""
    return along(walks, "outputs")


def taps_of(walks: Walks) -> int:
    """Taps of all axes."""
    return prod(walk.taps for walk in walks)


def pair_step(geometry: ConvGeometry, walks: Walks, lanes: int, itemsize: int) -> int:
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


def window_size(geometry: ConvGeometry, walks: Walks, cut: Cut) -> int:
    """Elements of the windows of a block, which are turned to pixels before they are summed; none, channels last."""
    depth, height, width = walks
    cells = depth.taps * height.reach(cut.block.h) * width.reach(cut.block.w)
    return 0 if geometry.channels_last else max(0, cells) * geometry.in_per_group


def workspace_size(geometry: ConvGeometry, walks: Walks, cut: Cut, lanes: int, itemsize: int) -> int:
    """Elements of the workspace of a thread, those that begin cache lines included."""
    g, line, width = geometry, LINE // itemsize, cut.columns * lanes
    outputs = cut.block.h * cut.block.w
    results = 0 if g.channels_last else 2 * (outputs + lanes) * cut.k_part * width
    sums = PANELS * (-(-outputs // 2) * pair_step(g, walks, lanes, itemsize) + line)
    padding = g.in_per_group + lanes
    return sums + (PARTIAL + 1) * cut.rows * width + padding + window_size(g, walks, cut) + results + 8 * line


@remembered
def fastest(geometry: ConvGeometry, walks: Walks, dtype: np.dtype[Any], machine: Machine) -> tuple[float, Cut | None]:
    """(cycles that a walk is expected to take, the cut that takes the fewest); no cut where none has the room.

    The geometry is flattened, and has such a walk along each axis.
    """
    lanes, itemsize = machine.lanes(dtype), dtype.itemsize
    fitting = (
        cut
        for cut in cuts_of(geometry, walks, dtype, machine)
        if workspace_size(geometry, walks, cut, lanes, itemsize) * itemsize <= WORKSPACE
    )
    return min(((cycles(geometry, walks, cut, dtype, machine), cut) for cut in fitting), default=(inf, None))


def cuts_of(geometry: ConvGeometry, walks: Walks, dtype: np.dtype[Any], machine: Machine) -> Iterator[Cut]:
    """By every tile, blocks of about as many outputs as a workspace has room for, or as leave each thread an item."""
    g, lanes, (depth, height, width) = geometry, machine.lanes(dtype), outputs_of(walks)
    half_vectors, length, images = half_of(g.out_per_group, lanes), taps_of(walks) * -(-g.in_per_group // 2), g.batch * g.groups
    per_pair = PANELS * (length + lanes)
    if not g.channels_last:
        per_pair += 2 * (walks[0].taps * walks[1].stride * walks[2].stride * g.in_per_group + g.out_per_group)
    for rows, columns in TILES[machine.isa].strassen:
        blocks = -(-half_vectors // columns)
        shares = [
            share_of(-(-height * width // 2), images * depth * blocks, GROUP * rows, items) for items in (ITEMS, ITEMS // 2)
        ]
        fits = [max(rows, fit - fit % rows) for fit in (room // dtype.itemsize // per_pair for room in ROOMS)]
        for pairs in {min(fit, -(-share // rows) * rows) for share in shares for fit in fits}:
            block_w = evenly(width, 2 * pairs)
            least = evenly(height, max(1, 2 * pairs // max(1, block_w)))
            for block_h in range(least, max(least, min(height, least + MORE)) + 1):  # more rows may fill the last tile better
                parts = images * depth * -(-height // max(1, block_h)) * -(-width // max(1, block_w))
                k_part = -(-blocks // min(blocks, -(-ITEMS // max(1, parts))))
                yield Cut(rows, columns, Plane(block_h, block_w), blocks, k_part)


def evenly(count: int, most: int) -> int:
    """Parts of about equal size, `most` at most."""
    return -(-count // max(1, -(-count // max(1, most))))


def cycles(geometry: ConvGeometry, walks: Walks, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> float:
    """Of products, of the tiles' ends, of sums and, channels first, of turning pixels and results."""
    g, lanes, taps, (depth, height, width) = geometry, machine.lanes(dtype), taps_of(walks), outputs_of(walks)
    length, vectors, size = taps * -(-g.in_per_group // 2), -(-g.in_per_group // lanes), cut.rows * cut.columns
    # Addresses of many rows do not fit the registers, nor do a tile's sums beside those that wait where vectors are few.
    step, end = (1.01, OF_END) if cut.rows <= WAYS else (1.03, 20)
    end += 16 if machine.registers <= 16 else 0
    tile = cut.blocks * (step * PANELS * length * max(size, 8) / machine.units + 50 + end * size)
    pair = taps * (OF_PAIR + (OF_VECTOR if in_place(g, walks, cut.rows, dtype.itemsize) else 12) * vectors)
    if not g.channels_last:
        pair += 22 * (walks[0].taps * walks[1].stride * walks[2].stride * vectors + -(-g.out_per_group // lanes))
    parts = (
        (rows * columns, -(-block_h * block_w // 2))
        for rows, block_h in parts_of(height, cut.block.h)
        for columns, block_w in parts_of(width, cut.block.w)
    )
    weights = PANELS * length * cut.blocks * cut.columns * lanes * dtype.itemsize
    of_pair = PANELS * pair_step(g, walks, lanes, dtype.itemsize) * dtype.itemsize
    of_depth = sum(
        count * (-(-pairs // cut.rows) * tile + pairs * pair + spilled(weights, pairs * of_pair, cut.blocks, machine))
        for count, pairs in parts
    )
    return g.batch * g.groups * depth * of_depth


def least(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Seconds that no cuts of the walks are below: of products, ends and sums, and of weights that each image reads again."""
    g, lanes, images = geometry, machine.lanes(dtype), geometry.batch * geometry.groups
    # Of a transposed convolution, every phase makes at least so many outputs, of its share of the taps.
    outputs = prod(size // step if g.transposed else size for size, step in zip(g.out_size, g.stride, strict=True))
    vectors, length = half_of(g.out_per_group, lanes), g.taps * -(-g.in_per_group // 2)
    of_pair = PANELS * length * vectors / machine.units + OF_END * vectors
    of_pair += g.taps * (OF_PAIR + OF_VECTOR * -(-g.in_per_group // lanes))
    weights = spilled(PANELS * length * vectors * lanes * dtype.itemsize, 0, 0, machine)
    return machine.seconds(28_000 + images * (outputs / 2 * of_pair + weights), g.bytes(dtype.itemsize))


def spilled(weights: int, sums: int, readings: int, machine: Machine) -> float:
    """Cycles in which a block's weights, and its sums at each reading, come from beyond the L2 cache, where they are larger."""
    moved = weights * (weights > machine.l2) + readings * sums * (sums > machine.l2)
    return CLOCK * moved / (3 * machine.bandwidth)


def parts_of(count: int, part: int) -> list[tuple[int, int]]:
    """(how many, outputs of each) of the parts of an axis: whole ones, and what is left."""
    whole, rest = divmod(count, max(1, part))
    return [(whole, part)] + ([(1, rest)] if rest else [])
