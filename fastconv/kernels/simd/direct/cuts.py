"""How direct convolution by tiles is cut: tiles, blocks of outputs, chunks of channels, and what they cost.

tiles.py computes by them, one cut for each walk of a geometry.
"""

from collections.abc import Iterable, Iterator
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.memory import LINE
from fastconv.kernels.simd.engine.tables import CONFLICT, TILES, Tile, end_cycles, step_cycles, tile_for
from fastconv.kernels.simd.engine.walks import Walks, along, walks_of
from fastconv.machine import STREAMED, Machine
from fastconv.problem.borders import CONSTANT, ZERO_FILL
from fastconv.problem.convolutions import ConvGeometry
from fastconv.problem.walks import Walk

RUN = 128 << 10, 256 << 10  # bytes of the results of a block of long rows of channels, of one group and of several
MANY = 32  # register tiles of a block that is worth two threads
SPARED = 1_000_000  # operations that a launch must spare
SHARE = 0.95  # of an axis's taps that lie in the input, at most, where it is worth parts
MOST_PARTS, FEW_TAPS = 64, 16  # of a geometry, and of an axis that is searched for parts
ROWS = 14  # outputs that a register tile makes of few as of many
BEGUN = 300  # cycles of a block beside its tiles: its place is divided out, and tables are filled
LEAST = 8  # items that a call should have for its threads
TOGETHER = 16  # register tiles that small maps of several images fill
PARTED = 10  # cycles of a vector of results that is written in parts of lines, which the L2 cache does not hold
ALONE = 8.0  # cycles of a cell whose channel is a group of several, by one vector of 32 bytes a tile: none are one run
GROUPED = 12.0  # the same of a group of a vector or less
PANELS = 4  # of output channels, or fewer, that are not worth a copy of what they read
DEEP = 128  # products of a sum, from which on the results of a tile may lie apart, channels first
SHORT, LISTED = 96, 768  # values of a run, and of a window, that are worth a list of them all
UNBROKEN = 0.85  # of the cycles of products in runs: those of values listed, where registers are few
FAR = 16  # times the room of windows, beyond which strides leave so much between them that tiles are not filled


class Blocking(NamedTuple):
    """How the loops of one walk are cut: outputs of a block, channels of a chunk, panels of channels of an item, images."""

    rows: int
    columns: int
    chunk: int
    panels: int
    images: int = 1


class Cut(NamedTuple):
    """How one walk is computed: by which tile, in which blocks, by windows where they lie or packed."""

    walks: Walks
    tile: Tile
    block: Blocking
    in_place: bool


class Cuts(NamedTuple):
    """Of every walk of a geometry."""

    of_walks: tuple[Cut, ...]

    def stores_once(self, geometry: ConvGeometry) -> bool:
        """Whether no sum is stored before all channels are in it."""
        return all(cut.block.chunk >= geometry.in_per_group for cut in self.of_walks)

    @property
    def lays_weights(self) -> bool:
        """Weights are laid out in rows."""
        return True


def crowding(geometry: ConvGeometry, walks: Walks, machine: Machine, itemsize: int) -> float:
    """How much longer tiles of many rows take, by measurement, for windows of one pixel with its channels; 0 for others.

    Rows that conflict are copied first. Of results that the L2 cache does not hold, fewer and longer runs are faster.
    """
    g = geometry
    if not g.channels_last or prod(walk.taps for walk in walks) > 1:
        return 0.0
    if apart(g, walks, itemsize) % CONFLICT == 0:
        return 1.06
    return 1.03 if itemsize * prod(g.out_shape) > machine.l2 else 1.0


def apart(geometry: ConvGeometry, walks: Walks, itemsize: int) -> int:
    """Bytes from what one row of a tile reads to what the next does."""
    return itemsize * (geometry.in_channels * walks[2].stride if geometry.channels_last else 1)


def is_in_place(geometry: ConvGeometry, walks: Walks, tile: Tile, machine: Machine, itemsize: int) -> bool:
    """Whether windows can be read where they lie: no padding, and channels that follow each other or one tap alone.

    Nor may the rows of a tile lie a multiple of CONFLICT apart: there are more of them than an L1 cache has ways. Nor may low
    tiles, for panel after panel of output channels, meet a line of each of more channels than an L1 cache keeps.
    """
    g, lanes = geometry, machine.vector_bytes // itemsize
    if not (g.channels_last or prod(walk.taps for walk in walks) == 1):
        return False
    low, panels = tile.rows * itemsize < LINE // 2, g.out_per_group // (tile.columns * lanes)
    if not g.channels_last and low and panels > PANELS and g.in_per_group * LINE >= machine.l1 // 4:
        return False
    if tile.rows > TILES[machine.isa].ways and apart(geometry, walks, itemsize) % CONFLICT == 0:
        return False
    return all(
        walk.origin >= 0 and walk.origin + (walk.outputs - 1) * walk.stride + (walk.taps - 1) * walk.dilation < walk.cells
        for walk in walks
    )


def parted_walks_of(geometry: ConvGeometry) -> Iterator[Walks]:
    """The walks of a geometry, in parts whose taps lie in the input where many others lie in zeros around it.

    Those of wide dilations do.
    """
    g, whole = geometry, tuple(walks_of(geometry))
    if g.transposed or g.border.code != ZERO_FILL or len(whole) != 1:
        yield from whole
        return
    by_axis = [walk.parts() if walk.taps <= FEW_TAPS and walk.share_inside < SHARE else (walk,) for walk in whole[0]]
    if not 1 <= prod(map(len, by_axis)) <= MOST_PARTS:
        yield from whole
        return
    parts = tuple(product(*by_axis))
    spared = 2 * g.batch * g.in_per_group * g.out_channels * (products_of(whole) - products_of(parts))
    yield from parts if spared > SPARED * (len(parts) - 1) else whole


def products_of(all_walks: Iterable[Walks]) -> int:
    """Of outputs and taps, in whole tiles."""
    found = 0
    for depth, height, width in all_walks:
        tiles = -(-height.outputs * width.outputs // ROWS)
        found += depth.outputs * tiles * ROWS * prod(walk.taps for walk in (depth, height, width))
    return found


def read_alone(geometry: ConvGeometry, walks: Walks) -> Walks:
    """The walks without cells that nothing reads, which then are not packed; planes are packed by whole vectors of a row."""
    if geometry.mode not in (ZERO_FILL, CONSTANT):
        return walks
    depth, height, width = walks
    return depth.thinned(), height.thinned(), width.thinned() if geometry.channels_last else width


def most_images(geometry: ConvGeometry, walks: Walks) -> int:
    """The images whose small maps fill TOGETHER tiles."""
    positions = max(1, walks[1].outputs * walks[2].outputs)
    return min(geometry.batch, max(1, TOGETHER * ROWS // positions))


def keeps_together(geometry: ConvGeometry, walks: Walks, tile: Tile) -> bool:
    """Whether the results of a tile lie together, channels first, or take little of its time."""
    g, positions = geometry, walks[1].outputs * walks[2].outputs
    deep = g.in_per_group * prod(walk.taps for walk in walks) >= DEEP
    return g.channels_last or deep or positions % tile.rows == 0


def rows_packed(walk: Walk, rows: int) -> int:
    """Rows of cells that are packed for so many rows of outputs: all under them, or those under each row of taps."""
    return min(walk.reach(rows), walk.taps * ((rows - 1) * walk.stride + 1))


def panels_together(items: int, panels: int) -> int:
    """Panels of channels that an item has, where so many items with all of them are LEAST or are cut until they are."""
    return -(-panels // min(panels, -(-LEAST // max(1, items))))


def shares(items: int, panels: int) -> int:
    """Items with the panels of channels that each has."""
    return items * -(-panels // panels_together(items, panels))


def blocking(geometry: ConvGeometry, walks: Walks, tile: Tile, machine: Machine, itemsize: int, most: int = 1) -> Blocking:
    """Blocks whose windows take half the L2 cache and weights a quarter, cut evenly; items enough for several threads.

    Of small maps blocks hold several images, `most` at most.
    """
    g, (depth, height, width) = geometry, walks
    lanes = machine.vector_bytes // itemsize
    taps = max(1, prod(walk.taps for walk in walks))
    room = min(machine.l2 // 2, 768 << 10) // itemsize
    chunk = min(g.in_per_group, max(16, machine.l2 // 4 // itemsize // (taps * tile.columns * lanes)))
    chunk = -(-g.in_per_group // -(-g.in_per_group // max(1, chunk))) if g.in_per_group else 1

    rows, columns = height.outputs, width.outputs
    while depth.taps * rows_packed(height, rows) * width.reach(columns) * chunk > room:
        if rows > 1 and rows * columns > 8 * tile.rows:
            rows = -(-rows // 2)
        elif columns > 4 * tile.rows:
            columns = -(-columns // 2)
        elif chunk > 16:
            chunk = -(-chunk // 2)
        elif rows > 1:
            rows = -(-rows // 2)
        elif columns > 1:
            columns = -(-columns // 2)
        else:
            break
    vectors = -(-g.out_per_group // lanes)
    panels = max(1, -(-vectors // tile.columns))
    rows = min(rows, max(1, 4096 // max(1, columns)))
    columns = -(-columns // -(-columns // 4096))
    if height.outputs == 1 and depth.outputs * g.batch * g.groups < 8 and columns == width.outputs > 32 * tile.rows:
        columns = -(-columns // 8)
    whole = -(-columns // tile.rows) * tile.rows
    if columns < width.outputs and depth.taps * rows_packed(height, rows) * width.reach(whole) * chunk <= FAR * room:
        columns = whole
    if taps == 1 and g.channels_last and itemsize * prod(g.out_shape) > machine.l2 // 4 >= itemsize * g.weights:
        # Of lines that the L2 cache does not hold, those that are fetched ahead of one panel are the next panels'.
        # Each group begins a block anew.
        longest = max(1, min(RUN[g.groups > 1], machine.l2 // 2) // (itemsize * g.out_channels) // tile.rows) * tile.rows
        if columns > longest:
            evenly = -(-columns // -(-columns // longest))
            columns = -(-evenly // tile.rows) * tile.rows
        rows = max(1, min(rows, longest // columns))
    images = 1
    if most > 1 and rows == height.outputs and columns == width.outputs:
        windows = depth.taps * rows_packed(height, rows) * width.reach(columns) * chunk
        images = max(1, min(most, room // max(1, windows)))
        while images > 1 and shares(-(-g.batch // images) * g.groups * depth.outputs, panels) < LEAST:
            images = -(-images // 2)
        images = -(-g.batch // -(-g.batch // images))
    items = -(-g.batch // images) * g.groups * depth.outputs * -(-height.outputs // rows) * -(-width.outputs // columns)
    if items * panels == 1 and taps > 1 and rows * columns >= MANY * tile.rows:
        rows, items = -(-rows // 2), 2
    return Blocking(rows, columns, max(1, chunk), panels_together(items, panels), images)


def cuts(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine, packs: bool = False) -> Cuts:
    """Of the flattened geometry's walks; windows are packed where they must be, or `packs`: of what is converted as it is."""
    g, vectors = geometry, -(-geometry.out_per_group // machine.lanes(dtype))
    of_walks = []
    for walks in parted_walks_of(g):
        crowded = crowding(g, walks, machine, dtype.itemsize)
        positions, most = walks[1].outputs * walks[2].outputs, most_images(g, walks)
        products = max(1, g.in_per_group * prod(walk.taps for walk in walks))
        tile = tile_for(most * positions, vectors, machine, crowded, products)
        if not keeps_together(g, walks, tile):
            tile, most = tile_for(positions, vectors, machine, crowded, products), 1
        in_place = not packs and is_in_place(g, walks, tile, machine, dtype.itemsize)
        seen = walks if in_place else read_alone(g, walks)
        of_walks.append(Cut(seen, tile, blocking(g, seen, tile, machine, dtype.itemsize, most), in_place))
    return Cuts(tuple(of_walks))


def lengths(total: int, most: int) -> list[tuple[int, int]]:
    """(how many, how long) of the parts that a length is cut into: whole ones, and the rest."""
    whole, rest = divmod(total, most)
    return [(count, length) for count, length in ((whole, most), (1, rest)) if count and length]


def values_listed(geometry: ConvGeometry, cut: Cut, pieces: int) -> int:
    """The values of a window where they are in several short runs, and none of them in padding that was not packed; or 0."""
    g, (walks, _, block, in_place) = geometry, cut
    values, runs = prod(along(walks, "taps")) * g.in_per_group, walks[0].taps * walks[1].taps * pieces
    all_there = not in_place or (g.channels_last and not any(map(any, g.padding)))
    short = runs > 1 and values <= min(LISTED, SHORT * runs)
    return values if block.chunk >= g.in_per_group and short and all_there else 0


def cycles_of(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> float:
    """Of one walk: the tiles' products and ends, the windows packed, and the results turned into their layout."""
    g, lanes, (walks, tile, block, in_place) = geometry, machine.lanes(dtype), cut
    vectors, c_vectors = -(-g.out_per_group // lanes), -(-g.in_per_group // lanes)
    outputs, taps = along(walks, "outputs"), along(walks, "taps")
    planes = g.groups * outputs.d
    blocks = [
        (planes * often * down * across, images, rows, columns)
        for often, images in lengths(g.batch, block.images)
        for down, rows in lengths(outputs.h, block.rows)
        for across, columns in lengths(outputs.w, block.columns)
    ]
    tiles = sum(count * -(-images * rows * columns // tile.rows) for count, images, rows, columns in blocks)
    tiles *= -(-vectors // tile.columns)
    chunks, items = -(-g.in_per_group // block.chunk), sum(count for count, *_ in blocks)
    inside = walks[0].share_inside if g.mode == 0 else 1.0
    if g.mode == 0 and tile.rows < outputs.h * outputs.w:  # a tile of all rows meets all taps
        inside *= walks[1].share_inside
    if machine.registers <= 16 and (g.channels_last or taps.d > 1) and values_listed(g, cut, 1):
        inside *= UNBROKEN
    cycles = tiles * g.in_per_group * prod(taps) * inside * step_cycles(tile, machine)
    cycles += end_cycles(tile) * tiles * chunks + BEGUN * items * chunks
    if not in_place:
        cells = taps.d * sum(
            count * images * rows_packed(walks[1], rows) * walks[2].reach(columns) for count, images, rows, columns in blocks
        )
        of_vector = 3.6 if not g.channels_last else 5.5 if g.in_per_group >= lanes else 2.5  # rows of few channels are one run
        if g.channels_last and g.groups > 1 and g.in_per_group <= lanes and machine.registers <= 16:
            of_vector = ALONE if g.in_per_group == 1 else GROUPED
        cycles += of_vector * cells * c_vectors
    if not g.channels_last:
        # Where every second element of a line is written at a time, lines that the L2 cache does not hold are fetched for each.
        size = dtype.itemsize * prod(g.out_shape)
        fetched = 7 * lanes * STREAMED / machine.streamed if walks[2].step > 1 and size > 3 * machine.l2 else 0.0
        fetched += PARTED if size > 2 * machine.l2 else 0.0
        cycles += (chunks * (7 if walks[2].step == 1 else 16) + fetched) * g.batch * planes * outputs.h * outputs.w * vectors
    return cycles
