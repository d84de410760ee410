"""How a Winograd convolution is cut: its kernel into pieces, its outputs into bundles of tiles, and those into blocks.

Tiles are taken in blocks whose V and M stay in the L2 cache, or where weights would be read too often, in larger ones. All
geometries here are lifted to three axes, but for that of `cuts`.
"""

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.keeping import remembered
from fastconv.kernels.memory import LINE
from fastconv.kernels.simd.engine.filtering import KERNEL, cells_of
from fastconv.kernels.simd.engine.tables import Tile, step_cycles, tile_for
from fastconv.machine import CACHED, Machine
from fastconv.problem.convolutions import ConvGeometry

ROOMS = (2 << 20, 4 << 20, 8 << 20)  # bytes of V and M that a block may take where the L2 cache would hold too few tiles
WORKSPACE = 16 << 20  # bytes of a block at most, a thread
FROM_MEMORY = 14  # cycles that transforms wait for a line that no cache holds: a tile's rows are short, and many
SPARSE = 1.5  # what tiles take whose channels fill a third of a vector, or less
NEAR = 4 << 20  # bytes that come back from the last cache at some speed
FEW = 4  # items below which blocks are shared out further
MOST_PIECES = 4  # along an axis
SHARED = 8_000_000  # operations of a map from which on two threads take less time than one
MANY = 14  # tiles of a block whose weights cost little to read
ENOUGH = 56  # tiles of several images at most: more leave the caches, and weights cost little by then
TURNED = 100  # cycles of a tile's vector of channels that were turned to the last axis, where registers are few
PARTS_OF_LINES = (350, 800)  # cycles of a tile's few channels, where registers are few: of one piece, and of each of several
MORE = 1.08  # times the products that two blocks may take in one's place
CALL = 28_000  # cycles of a call beside those of its blocks
SPARED = 4  # times fewer products at most: of F(4) for kernels of 3x3 taps
LONGEST = 100_000  # products of a sum of which F(4) stays within 1e-4 of the results' root mean square


class Cut(NamedTuple):
    """How a geometry is cut.

    Attributes
    ----------
    form : (int, int)
        Outputs of a tile's sides.
    block_rows, block_columns : int
        Bundles of tiles of a block.
    rows, columns : int
        The register tile: tiles, and vectors of output channels.
    k_part : int
        Blocks of output channels of an item.
    images : int
        Images that a block has its tiles of: more than one where it has all of each.
    """

    form: tuple[int, int]
    block_rows: int
    block_columns: int
    rows: int
    columns: int
    k_part: int
    images: int


@lru_cache(maxsize=64)
def places(taps: int, stride: int) -> tuple[int, ...]:
    """The first tap of each piece along an axis; its others lie `stride` apart, 3 in all, and may lie beyond the kernel."""
    if taps == 1:
        return (0,)
    phases = (range(phase, taps, stride) for phase in range(min(taps, stride)))
    return tuple(first for phase in phases for first in phase[::KERNEL])


def pieces_of(geometry: ConvGeometry) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """The slices, and the places of the pieces along the other axes, that a kernel is the sum of."""
    (depth, high, wide), (_, down, right) = geometry.kernel, geometry.stride
    return depth, places(high, down), places(wide, right)


@remembered
def spreads_of(geometry: ConvGeometry) -> tuple[int, int]:
    """What outputs of a tile lie apart by, along the last two axes."""
    high, wide = (spread if taps > 1 else 1 for spread, taps in zip(geometry.dilation[1:], geometry.kernel[1:], strict=True))
    return high, wide


def bundles_of(geometry: ConvGeometry, form: tuple[int, int]) -> tuple[int, int]:
    """Bundles of tiles that go between each other, along the last two axes."""
    sizes = zip(geometry.out_size[1:], form, spreads_of(geometry), strict=True)
    high, wide = (-(-size // (m * spread)) for size, m, spread in sizes)
    return high, wide


@remembered
def terms_of(geometry: ConvGeometry) -> int:
    """Slices times pieces."""
    depth, down, right = pieces_of(geometry)
    return depth * len(down) * len(right)


def forms(geometry: ConvGeometry) -> tuple[tuple[int, int], ...]:
    """The tiles' sizes that the kernel can have: F(4), whose rounding errors are larger, where sums are not too long for it."""
    high, wide = geometry.kernel[1:]
    return tuple((m if high > 1 else 1, m if wide > 1 else 1) for m in (4, 2) if m == 2 or geometry.reduction <= LONGEST)


def of_halves(rows: int, tiles: int, vectors: int, machine: Machine) -> int:
    """Rows of two blocks in one's place, for two threads, where register tiles cover both by few more products; else the one's.

    `tiles` are those of a row.
    """
    half = -(-rows // 2)
    pair = 2 * products_of(half * tiles, vectors, machine)
    few_more = half * tiles >= MANY and pair <= MORE * products_of(rows * tiles, vectors, machine)
    return half if few_more else rows


def products_of(tiles: int, vectors: int, machine: Machine) -> int:
    """Of a block's tiles and vectors of output channels with those of one input channel, in whole register tiles."""
    tile = tile_for(tiles, vectors, machine)
    return prod(tile) * -(-tiles // tile.rows) * -(-vectors // tile.columns)


def rooms(machine: Machine) -> tuple[int, ...]:
    """Bytes that blocks are cut for: half the L2 cache, and more."""
    return (machine.l2 // 2, *(room for room in ROOMS if room > machine.l2 // 2))


@remembered
def cuts(
    geometry: ConvGeometry, form: tuple[int, int], dtype: np.dtype[Any], machine: Machine, only: int | None = None
) -> tuple[Cut, ...]:
    """Blocks of tiles that fit the L2 cache or, where weights would be read too often, larger ones; or those of one room."""
    g = geometry.lifted()
    planes, spread = prod(cells_of(form)), prod(spreads_of(g))
    per_group = planes * (g.in_per_group * terms_of(g) + g.out_per_group) * dtype.itemsize * spread
    high, wide = bundles_of(g, form)
    vectors = -(-g.out_per_group // machine.lanes(dtype))
    weights = planes * g.in_per_group * terms_of(g) * g.out_per_group * dtype.itemsize  # that both halves of a map would read
    is_near = g.batch * g.groups * g.out_size[0] == 1 and g.flops >= SHARED and weights <= machine.l2
    found: list[Cut] = []
    for room in rooms(machine) if only is None else rooms(machine)[only : only + 1]:
        tiles = max(1, room // per_group)
        columns = -(-wide // max(1, -(-wide // max(1, min(wide, tiles)))))
        rows = min(high, max(1, tiles // max(1, columns)))
        rows = -(-high // max(1, -(-high // max(1, rows))))
        if is_near and (rows, columns) == (high, wide):
            rows = of_halves(rows, columns * spread, vectors, machine)
            if found and rows < high:  # blocks of a smaller room are as many
                break
        images = images_of(g, min(tiles, ENOUGH // spread) // max(1, high * wide))
        tile = tile_for(images * rows * columns * spread, vectors, machine)
        k_blocks = max(1, -(-vectors // tile.columns))
        blocks = -(-high // max(1, rows)) * -(-wide // max(1, columns))
        items = -(-g.batch // images) * g.groups * g.out_size[0] * blocks
        # Few blocks are shared out by their output channels: each thread then transforms the input for itself.
        one = Cut(form, rows, columns, *tile, -(-k_blocks // min(k_blocks, -(-FEW // max(1, items)))), images)
        if one not in found and bytes_of_block(g, one, dtype, machine) <= WORKSPACE:
            found.append(one)
        if tiles >= high * wide * images_of(g, ENOUGH // max(1, high * wide * spread)):  # larger rooms hold no more
            break
    return tuple(found)


def images_of(geometry: ConvGeometry, most: int) -> int:
    """Images of a block that has room for `most`: as many in each as in the others, or nearly."""
    batch = max(1, geometry.batch)
    blocks = -(-batch // max(1, min(batch, most)))
    return -(-batch // blocks)


def seconds(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> float:
    """Cycles of products, of transforms and of turning channels to the front, and the weights from where they lie."""
    g, form, planes, lanes = geometry, cut.form, prod(cells_of(cut.form)), machine.lanes(dtype)
    together, pieces = cut.images * prod(spreads_of(g)), terms_of(g)
    blocks, of_block, register_tiles = blocks_of(g, cut, together)
    tiles = together * cut.block_rows * cut.block_columns
    terms = g.in_per_group * pieces
    k_blocks, c_vectors = -(-g.out_per_group // (cut.columns * lanes)), -(-g.in_per_group // lanes)
    rows = planes * register_tiles * cut.rows * k_blocks
    transform = pieces * c_vectors * (30 + 1.8 * planes)
    if pieces > 1 and g.in_per_group < lanes:  # gathered from all pieces first
        transform = 5.0 * planes * pieces + -(-terms // lanes) * (10 + 1.8 * planes)
    if machine.registers <= 16:
        line = g.in_per_group * dtype.itemsize
        if (g.groups > 1 and line <= LINE) or (g.channels_last and pieces == 1 and line <= 2 * LINE):
            transform += PARTS_OF_LINES[pieces > 1] * pieces * c_vectors
        elif not g.channels_last and pieces == 1:
            transform += TURNED * c_vectors
    step = step_cycles(Tile(cut.rows, cut.columns), machine) / cut.rows
    cycles = rows * (13 + 1.07 * terms * step) + of_block * transform
    if not g.channels_last:
        cells = g.kernel[0] * prod(g.stride[1:]) * c_vectors
        cycles += 5.8 * of_block * prod(form) * (cells + -(-g.out_per_group // lanes))
    weights = planes * terms * k_blocks * cut.columns * lanes * dtype.itemsize
    speed = machine.cached if weights * g.groups <= machine.l3 else 2 * machine.bandwidth
    if weights <= machine.l2 // 2:
        speed = max(speed, CACHED)
    # V and M leave the L2 cache, and come back, where they are larger; a part of them where they leave little room for others.
    held = planes * tiles * (terms + min(g.out_per_group, cut.k_part * cut.columns * lanes)) * dtype.itemsize
    share = min(1.0, max(0.0, 2 * held / machine.l2 - 1))
    back = share * 2 * held / (machine.bandwidth * (3 if held <= NEAR else 1))
    # Weights come while products are made: the slower of both tells, and a part of the other.
    slow, fast = sorted((machine.seconds(cycles), weights / speed), reverse=True)
    of_all = -(-g.batch // cut.images) * g.groups * g.out_size[0] * blocks
    lanes_used = SPARSE if g.channels_last and 3 * terms <= lanes else 1.0
    waits = machine.seconds(FROM_MEMORY * g.bytes(dtype.itemsize) / LINE) if machine.asks(g.bytes(dtype.itemsize)) else 0.0
    return machine.seconds(CALL, g.bytes(dtype.itemsize)) + of_all * (lanes_used * slow + 0.25 * fast + back) + waits


def blocks_of(geometry: ConvGeometry, cut: Cut, together: int) -> tuple[int, float, float]:
    """(blocks of a map, tiles of one, register tiles of one), of which a bundle is `together`: the last blocks are smaller."""
    high, wide = bundles_of(geometry, cut.form)
    down, low = divmod(high, max(1, cut.block_rows))
    across, narrow = divmod(wide, max(1, cut.block_columns))
    blocks = register_tiles = 0
    for count, rows in ((down, cut.block_rows), (1, low)):
        for of_row, columns in ((across, cut.block_columns), (1, narrow)):
            if rows and columns:
                blocks += count * of_row
                register_tiles += count * of_row * -(-together * rows * columns // cut.rows)
    every = max(1, blocks)
    return blocks, together * high * wide / every, register_tiles / every


def least_seconds(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """What no cut is below: a call, and a quarter of the products."""
    products = geometry.flops / (2 * SPARED * machine.lanes(dtype) * machine.units)
    return machine.seconds(CALL + products, geometry.bytes(dtype.itemsize))


def least_of_form(geometry: ConvGeometry, form: tuple[int, int], dtype: np.dtype[Any], machine: Machine) -> float:
    """What no cut into tiles of this form is below: a call, and their products."""
    terms = geometry.in_per_group * terms_of(geometry) * geometry.out_channels
    tiles = geometry.batch * prod(geometry.out_size) / prod(form)
    products = prod(cells_of(form)) * tiles * terms / (machine.lanes(dtype) * machine.units)
    return machine.seconds(CALL + products, geometry.bytes(dtype.itemsize))


def bytes_of_block(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> int:
    """Bytes of a block: V and M, and channels first its windows and outputs."""
    g, width, terms = geometry, cut.columns * machine.lanes(dtype), geometry.in_per_group * terms_of(geometry)
    spreads, blocks = spreads_of(g), (cut.block_rows, cut.block_columns)
    high, wide = (m * block * spread for m, block, spread in zip(cut.form, blocks, spreads, strict=True))
    tiles = -(-cut.images * prod(blocks) * prod(spreads) // cut.rows) * cut.rows
    values = prod(cells_of(cut.form)) * tiles * (terms + cut.k_part * width)
    if not g.channels_last:
        _, down, right = pieces_of(g)
        tall = high * g.stride[1] + (max(down) + KERNEL) * spreads[0]
        broad = wide * g.stride[2] + (max(right) + KERNEL) * spreads[1]
        values += g.kernel[0] * tall * broad * g.in_per_group + high * wide * cut.k_part * width
    return values * dtype.itemsize
