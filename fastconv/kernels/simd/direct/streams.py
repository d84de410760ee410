"""Convolutions of one tap from or to few channels, channels first: channels stream past sums that stay in the cache.

    sums [k][p] = bias [k];   for a few channels at a time: sums [k][p] += sum over c of x [c][p] * w [k][c]

A panel of a few vectors, as pointwise.py has it, reads and writes a line or two of each channel, a plane apart, which no
processor foresees: where few channels on one side leave few products, those lines are waited for. Here a block of positions is
a run of kilobytes of each channel, of a few channels at once. Sums come and go once for these, in the order that they have in
pointwise.py, and the last channels' go to the output. Weights are read where they lie.

The last tile of a block overlaps the one before, and so do the last output channels: each tile has sums of its own.
"""

from functools import lru_cache, partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled, element, inlined
from fastconv.kernels.keeping import remembered
from fastconv.kernels.memory import LINE
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.direct import pointwise
from fastconv.kernels.simd.engine import epilogue, requests, weights
from fastconv.kernels.simd.engine.costs import CALL, Candidate, come_from_afar
from fastconv.kernels.simd.engine.lines import are_lines, lines_of
from fastconv.kernels.simd.engine.sizes import reader, written
from fastconv.kernels.simd.engine.tables import CONFLICT, TILES, Tile
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.machine import Machine
from fastconv.problem.convolutions import ConvGeometry
from fastconv.problem.problem import Problem

pointer = vector.pointer


class Sizes(NamedTuple):
    """What the kernel needs to know.

    Attributes
    ----------
    groups, c_group, k_group : int
        Groups, and channels of each.
    plane : int
        Positions of a channel, of x and of y.
    blocks : int
        Blocks of positions of an image.
    chunk : int
        Input channels that are read before sums are written.
    sums : int
        Of a block, or 0 where all channels are one chunk.
    """

    groups: int
    c_group: int
    k_group: int
    plane: int
    blocks: int
    chunk: int
    sums: int


class Block(NamedTuple):
    """`count` positions of a group of an image: where they are read and written, and the group's weights and bias."""

    x: Any
    y: Any
    weights: Any
    bias: Any
    count: int  # type: ignore[assignment]


class Parts(NamedTuple):
    """Sums by tile of output channels, tile of positions, output channel and position."""

    sums: int


read, carve = reader(Sizes), workspace(Parts)


@lru_cache(maxsize=32)
def kernel(tile: Tile, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over blocks of positions: f32_streams_4x2_avx2."""
    rows, columns = tile
    width, activate = columns * lanes, epilogue.activation_of(dtype)

    @compiled
    def first_of(number, s):
        """The first position of a block; all but the last have whole tiles."""
        return s.plane * number // s.blocks // width * width if number < s.blocks else s.plane

    @compiled
    def block_of(item, x, w, bias, y, s):
        """The block of one item."""
        image, number = divmod(item, s.blocks)
        first, group = first_of(number, s), image % s.groups
        return Block(
            pointer(x) + (image * s.c_group * s.plane + first),
            pointer(y) + (image * s.k_group * s.plane + first),
            pointer(w) + group * s.k_group * s.c_group,
            pointer(bias) + group * s.k_group,
            first_of(number + 1, s) - first,
        )

    @inlined
    def tile_so_far(c, k, sums, block):
        """The sums of the channels before c."""
        if c == 0:
            return vector.first_values(block.bias + k, rows, columns, lanes)
        return vector.load_tile(sums, width, rows, columns, lanes)

    @compiled
    def add_channels(c, count, block, work, act, s):
        """The sums with those of `count` channels from c on; results, where they are the last."""
        tiles, is_last = -(-block.count // width), c + count == s.c_group
        for number in range(-(-s.k_group // rows)):
            k = min(number * rows, s.k_group - rows)
            w = vector.rows_apart(block.weights + (k * s.c_group + c), s.c_group, rows, rows)
            for i in range(tiles):
                at, sums = min(i * width, block.count - width), work.sums + (number * tiles + i) * rows * width
                tile, cells = tile_so_far(c, k, sums, block), block.x + (c * s.plane + at)
                for channel in range(count):
                    tile = vector.fma_outer(tile, w, channel, cells + channel * s.plane)
                if is_last:
                    vector.store_tile(activate(tile, act), block.y + (k * s.plane + at), s.plane)
                else:
                    vector.store_tile(tile, sums, width)

    def streams(begin, end, x, w, bias, residual, y, sizes, parameters):
        """y [k][p] = act(bias [k] + sum over c of x [c][p] * w [k][c]) for the positions p of each block."""
        s, act = read(sizes), epilogue.epilogue(parameters, residual, y)
        work, memory = carve(Parts(s.sums), x)
        for item in range(begin, end):
            block = block_of(item, x, w, bias, y, s)
            for c in range(0, s.c_group, s.chunk):
                add_channels(c, min(s.chunk, s.c_group - c), block, work, act, s)
            epilogue.finish_runs(block.y, s.plane, s.k_group, block.count, act)
        keep(memory)

    streams.__name__ = f"{dtype}_streams_{rows}x{columns}_{isa}"
    return Kernel(streams)


# Decisions --------------------------------------------------------------------------------------------------------------

RUN = 8192  # bytes of a channel in a block, about
CHUNK, LONG_CHUNK = 8, 16  # channels that are read before sums are written, at most: the fewer, the better they are foreseen
WHOLE = 24  # of which none are written before the last, where more than CHUNK may be read
SEVERAL = 12  # output channels beside which sums that come and go cost more than what is not foreseen
FEW_INPUTS, FEW_OUTPUTS = 48, 32  # channels: of more, sums would come and go often, and would leave the caches
MOST_OUTPUTS = 256  # of few inputs, where sums come and go: of more, they would take megabytes
OF_LINE = 4  # cycles of a cache line that comes out of the L2 cache
OF_PANEL = 3, 45  # pointwise.py waits: cycles of a line, and of a channel of a panel, of x and of y, where memory is waited for
CROWDED = 9, 25  # and of a channel that shares sets of the L1 cache with others: for each block in place, and copied


class Cut(NamedTuple):
    """How the loops are cut.

    Attributes
    ----------
    tile : Tile
        Output channels x vectors of positions.
    blocks, chunk : int
        As the kernel's sizes have them.
    """

    tile: Tile
    blocks: int
    chunk: int

    @property
    def lays_weights(self) -> bool:
        """Whether weights are laid out in rows."""
        return False


def suits(problem: Problem, machine: Machine) -> bool:
    """Whether positions follow each other, a tile's at least, and channels are few."""
    g, dtype = problem.geometry, problem.dtype
    if g.transposed or not g.in_per_group or not are_lines(g) or not tiles_of(g, dtype, machine):
        return False
    if g.out_per_group <= FEW_OUTPUTS:
        return True
    return g.in_per_group <= FEW_INPUTS and (g.out_per_group <= MOST_OUTPUTS or chunk_of(g, dtype, machine) == g.in_per_group)


def tiles_of(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> list[Tile]:
    """Those that positions and output channels fill."""
    g, lanes = geometry, machine.lanes(dtype)
    return [
        tile for tile in TILES[machine.isa].streams if tile.rows <= g.out_per_group and tile.columns * lanes <= prod(g.in_size)
    ]


def chunk_of(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> int:
    """Channels that are read before sums are written: as many of each chunk, about."""
    g = geometry
    far = come_from_afar(g, dtype, machine)
    if far or g.out_per_group < SEVERAL or share_sets(g, dtype):
        most = CHUNK
    else:
        most = WHOLE if g.in_per_group <= WHOLE else LONG_CHUNK
    return -(-g.in_per_group // -(-g.in_per_group // most))


def share_sets(geometry: ConvGeometry, dtype: np.dtype[Any]) -> bool:
    """Whether the channels of a position fall into the same sets of an L1 cache."""
    return geometry.in_per_group > pointwise.WAYS and prod(geometry.in_size) * dtype.itemsize % CONFLICT == 0


def cut(geometry: ConvGeometry, tile: Tile, dtype: np.dtype[Any], machine: Machine) -> Cut:
    """Blocks of about as many positions."""
    blocks = max(1, round(prod(geometry.in_size) * dtype.itemsize / RUN))
    return Cut(tile, blocks, chunk_of(geometry, dtype, machine))


def line_cycles(tile: Tile, machine: Machine, each: float = OF_LINE) -> float:
    """Of what a tile reads of a channel, out of the L2 cache."""
    return each * tile.columns * machine.vector_bytes / LINE


def cycles_of(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> float:
    """Of all tiles."""
    g, (rows, columns) = geometry, cut.tile
    tiles = g.batch * g.groups * -(-prod(g.in_size) // (columns * machine.lanes(dtype))) * -(-g.out_per_group // rows)
    chunks = -(-g.in_per_group // cut.chunk)
    of_channel = max(rows * columns / machine.units, (rows + columns) / 2, line_cycles(cut.tile, machine))
    of_chunk = 2.0 * rows * columns + 8
    if chunks > 1 and 2 * RUN * g.out_per_group > machine.l2:
        of_chunk += 2 * rows * line_cycles(cut.tile, machine)
    return tiles * (g.in_per_group * of_channel + chunks * of_chunk)


def waiting_cycles(geometry: ConvGeometry, cut: pointwise.Cut, dtype: np.dtype[Any], machine: Machine) -> float:
    """What pointwise.py waits for: lines out of the L2 cache, sets of the L1 cache that channels share, and memory."""
    g, cycles = geometry, 0.0
    if machine.registers <= 16:
        cycles += g.in_per_group * line_cycles(cut.tile, machine, OF_PANEL[0])
        if share_sets(g, dtype):
            cycles += g.in_per_group * (CROWDED[1] if cut.copies else CROWDED[0] * cut.blocks)
    if requests.are_waited_for(g.bytes(dtype.itemsize), machine) and not machine.is_meshed:
        cycles += OF_PANEL[1] * (g.in_per_group + g.out_per_group)
    return g.batch * g.groups * lines_of(g).panels(cut.tile.columns * machine.lanes(dtype)) * cycles


def candidate(problem: Problem, machine: Machine) -> Candidate:
    """Sums in the cache, by the tile that takes the fewest cycles.

    The estimates of other kernels do not know what memory makes them wait for: what it takes less than pointwise.py is told
    from that, and its time from pointwise.py's estimate.
    """
    g, dtype = problem.geometry, problem.dtype
    cuts = [cut(g, tile, dtype, machine) for tile in tiles_of(g, dtype, machine)]
    cycles = {one: cycles_of(g, one, dtype, machine) for one in cuts}
    best = min(cuts, key=lambda one: (cycles[one], one))
    beside, moved = pointwise.candidate(problem, machine), g.bytes(dtype.itemsize)
    waits = machine.seconds(waiting_cycles(g, beside.cut, dtype, machine))
    less = machine.seconds(CALL + cycles[best], moved) / (beside.seconds + waits)
    return Candidate(beside.seconds * less, best, partial(drafts, g, best, dtype, machine))


# Plan -------------------------------------------------------------------------------------------------------------------


@remembered
def drafts(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> tuple[weights.Draft, ...]:
    """One draft; the weights stay where they lie."""
    g, (rows, columns), lanes = geometry, cut.tile, machine.lanes(dtype)
    positions, width = prod(g.in_size), columns * lanes
    tiles = positions // cut.blocks // width + 2  # where blocks begin is rounded
    kept = -(-g.out_per_group // rows) * tiles * rows * width
    sizes = Sizes(
        groups=g.groups,
        c_group=g.in_per_group,
        k_group=g.out_per_group,
        plane=positions,
        blocks=cut.blocks,
        chunk=cut.chunk,
        sums=0 if cut.chunk == g.in_per_group else kept,
    )
    arguments = written(sizes), epilogue.scalars(g.activation, dtype)
    chosen = kernel(cut.tile, lanes, element(dtype), machine.isa)
    return (weights.drafted(chosen, g.batch * g.groups * cut.blocks, g.flops // 16, arguments, weights.as_given),)
