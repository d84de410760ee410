"""The gradient by the weights as a product whose vectors are output channels: for layers of few input channels.

    dw [t][c][k] = sum over p of x [cell(p) + t][c] * dy [p][k]

Positions are taken in chunks that are copied channels last, as in tiles.py. The input channels of a row of taps lie beside each
other there, whatever their number: a register tile takes some of these values, one by one, and vectors of dy. Nothing is
gathered, and no vector is filled with a few channels. Sums are turned to [k][t][c] at the end.
"""

from collections.abc import Iterator
from functools import lru_cache, partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, element, inlined
from fastconv.kernels.keeping import remembered
from fastconv.kernels.memory import LINE
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.costs import CALL, Candidate
from fastconv.kernels.simd.engine.sizes import reader, written
from fastconv.kernels.simd.engine.tables import TILES, Tile
from fastconv.kernels.simd.engine.walks import flattened
from fastconv.kernels.simd.engine.windows import runs, unpacker
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.kernels.simd.gradients import sums
from fastconv.kernels.simd.gradients.chunks import (
    MOST_COPIED,
    Grads,
    Grid,
    Part,
    chunk_of,
    chunk_within,
    copy_cycles,
    grads_of,
    grid_of,
    packers,
    reach_of,
    reach_under,
    refusal,
    tap_offset,
)
from fastconv.kernels.simd.gradients.launches import Launch, launched
from fastconv.kernels.simd.gradients.sums import block_of, blocks_in, even_part, slice_of
from fastconv.machine import Machine
from fastconv.problem.convolutions import ConvGeometry

pointer = vector.pointer

MOST_CHANNELS = 256  # output channels of a block
MOST_VALUES = 8192  # of a window


class Sizes(NamedTuple):
    """The sizes of a call.

    Attributes
    ----------
    grid, blocks : Grid, Blocks
        How positions and dw are cut.
    pieces, together, length : int
        Of a window: pieces whose values lie beside each other, taps of each, and values.
    room : int
        Values of a piece that have sums: whole tiles.
    k_pitch : int
        Elements from one value's sums to the next.
    copied : int
        Whether dy is copied.
    """

    grid: Grid
    blocks: sums.Blocks
    pieces: int
    together: int
    length: int
    room: int
    k_pitch: int
    copied: int


class Parts(NamedTuple):
    """Of a thread's memory: windows of x, dy, sums [piece][value][k], the same turned."""

    windows: int
    grads: int
    sums: int
    turned: int


class Tables(NamedTuple):
    """Offsets of the rows of a square."""

    steps: int


read, carve, carve_tables = reader(Sizes), workspace(Parts), workspace(Tables)

# The loop nest ----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=16)
def multiplier(rows: int, columns: int, lanes: int) -> Any:
    """The compiled sums [value][k] += x [p][value] * dy [p][k] of a register tile, over a chunk's positions."""

    def multiply(to, step, values, grads, chunk, begins, g):
        size, reach = chunk.size, reach_of(chunk.size, g)
        tile = vector.zeros(to, rows, columns, lanes) if begins else vector.load_tile(to, step, rows, columns, lanes)
        for i in range(size.d):
            for h in range(size.h):
                x = values + (i * g.taps.d * reach.h + h * g.stride.h) * reach.w * g.c_pitch
                y = grads.at + (i * grads.plane + h * grads.row)
                for w in range(size.w):
                    tile = vector.fma_shared(tile, x + w * g.stride.w * g.c_pitch, y + w * grads.column)
        vector.store_tile(tile, to, step)

    return inlined(multiply)


@lru_cache(maxsize=32)
def kernel(tile: Tile, lanes: int, channels_last: bool, dtype: str, isa: str) -> Kernel:
    """The compiled loops over blocks of dw and chunks of positions: f32_gradient_outputs_9x2_avx512."""
    rows, columns = tile
    width = columns * lanes
    pack_windows, pack_grads = packers(lanes, channels_last)
    multiply, turn, write = multiplier(rows, columns, lanes), unpacker(lanes), sums.writer(lanes, channels_last)
    _, clear = runs(lanes)

    def gradient(begin, end, x, dy, partial_sums, dw, sizes, parameters):
        """dw [t][c][k] = sum over p of x [cell(p) + t][c] * dy [p][k], of a block and a slice of the positions an item."""
        s = read(sizes)
        g, b, count_of = s.grid, s.blocks, blocks_in(s.blocks)
        fill, zero = parameters[0], parameters[1]
        parts = Parts(
            windows=g.chunk.d * g.windows + rows,
            grads=s.copied * (g.chunk.d * g.grads + width),
            sums=(s.pieces * s.room + lanes) * s.k_pitch,
            turned=b.sums if b.slices == 1 else 0,
        )
        work, memory = carve(parts, x)
        tables, integers = carve_tables(Tables(steps=lanes), sizes)
        clear(work.windows, zero, parts.windows)  # what is read beyond a piece or a channel is multiplied: let it be numbers
        clear(work.grads, zero, parts.grads)
        clear(work.sums, zero, parts.sums)
        for item in range(begin, end):
            part, number = divmod(item, count_of)
            block = block_of(number, b)
            total = work.turned if b.slices == 1 else pointer(partial_sums) + item * b.sums
            inputs = Part(block.group * b.c_group, b.c_group, 0)
            outputs = Part(block.group * b.k_group + block.k, block.rows, 0)
            first, last = slice_of(part, g.chunks.d * g.chunks.h * g.chunks.w, b)
            for at in range(first, last):
                chunk = chunk_of(at, g)
                pack_windows(x, fill, chunk, inputs, work.windows, tables.steps, g)
                if s.copied != 0:
                    pack_grads(dy, zero, chunk, outputs, work.grads, tables.steps, g)
                grads = grads_of(work.grads, dy, outputs.channel, s.copied, chunk, g)
                for k in range(0, block.rows, width):
                    of_tile = Grads(grads.at + k, grads.plane, grads.row, grads.column)
                    for piece in range(s.pieces):
                        values = work.windows + tap_offset(piece * s.together, chunk, g)
                        for i in range(0, s.length, rows):
                            to = work.sums + ((piece * s.room + i) * s.k_pitch + k)
                            multiply(to, s.k_pitch, values + i, of_tile, chunk, at == first, g)
            for piece in range(s.pieces):
                of_piece = work.sums + piece * s.room * s.k_pitch
                turn(of_piece, 1, s.length, block.rows, s.k_pitch, total + piece * s.length, 0, b.row)
            if b.slices == 1:
                for k in range(block.rows):
                    write(total + k * b.row, pointer(dw), block, k, b)
        keep(memory)
        keep(integers)

    gradient.__name__ = f"{dtype}_gradient_outputs_{rows}x{columns}_{isa}"
    return Kernel(gradient)


# Decisions --------------------------------------------------------------------------------------------------------------


class Cut(NamedTuple):
    """How a problem is cut: values x vectors of output channels of a register tile, output channels of a block of dw, planes,
    rows and columns of a chunk of positions.
    """

    tile: Tile
    k_part: int
    chunk: tuple[int, int, int]


def pieces_of(geometry: ConvGeometry) -> tuple[int, int, int]:
    """(pieces of a window whose values lie beside each other, taps of each, values of each)."""
    g = geometry
    together = g.kernel[2] if g.dilation[2] == 1 else 1
    return g.taps // together, together, together * g.in_per_group


def supports(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> str | None:
    """Windows of a few positions that can be copied, of few values."""
    g = geometry.lifted()
    if g.taps * g.in_per_group > MOST_VALUES:
        return f"it serves windows of {MOST_VALUES:,} values at most"
    return refusal(g, g.kernel[0], g.in_per_group)


def candidates(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> Iterator[Candidate]:
    """The rows of every tile of the machine, or fewer that fill a piece evenly."""
    g = flattened(geometry)
    _, _, length = pieces_of(g)
    for most, columns in TILES[machine.isa].gradient:
        tile = Tile(-(-length // -(-length // most)), columns)
        one = cut(g, tile, dtype, machine)
        yield Candidate(seconds(g, one, dtype, machine), one, partial(draft, g, one, dtype, machine))


def cut(geometry: ConvGeometry, tile: Tile, dtype: np.dtype[Any], machine: Machine) -> Cut:
    """Sums, and chunks of positions, that take a quarter of the L2 cache each."""
    g, width, room = geometry, tile.columns * machine.lanes(dtype), machine.l2 // (4 * dtype.itemsize)
    pieces, _, length = pieces_of(g)
    values = pieces * -(-length // tile.rows) * tile.rows
    k_part = even_part(g.out_per_group, min(MOST_CHANNELS, room // values), width)
    each = k_part + prod(g.stride[1:]) * g.in_per_group
    return Cut(tile, k_part, chunk_within(g, g.kernel[0], max(16, room // each), MOST_COPIED // g.in_per_group))


def lies_in_vectors(geometry: ConvGeometry, cut: Cut, lanes: int) -> bool:
    """Whether dy is read where it lies: channels last, which one tile takes. Several would read parts of lines from memory."""
    return geometry.channels_last and geometry.out_per_group == cut.tile.columns * lanes


def seconds(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> float:
    """Cycles of products, of sums loaded and stored, of copies and of what is written."""
    g, (rows, columns), lanes = geometry, cut.tile, machine.lanes(dtype)
    pieces, _, length = pieces_of(g)
    positions = g.batch * prod(g.out_size)
    chunks = positions / max(1, prod(cut.chunk))
    k_parts = -(-g.out_per_group // cut.k_part)
    tiles = pieces * -(-length // rows) * -(-g.out_per_group // (columns * lanes))
    loads = 1.2 * columns + rows / 2 if machine.registers <= 16 else (rows + columns + 1) / 2
    each = max(rows * columns / machine.units, loads) * 1.06 + 0.3
    lines = positions / max(1, cut.chunk[2])
    products = tiles * (positions * each + 8 * lines + chunks * (20 + 1.5 * rows * columns))
    cells = chunks * cut.chunk[0] * g.kernel[0] * prod(reach_under(g, cut.chunk))
    copies = k_parts * cells * copy_cycles(g.in_per_group, g.channels_last, lanes)
    if not lies_in_vectors(g, cut, lanes):
        copies += positions * copy_cycles(g.out_per_group, g.channels_last, lanes)
    written = g.out_per_group * pieces * length / lanes * (4 if g.channels_last or g.taps == 1 else 11)
    return machine.seconds(CALL + g.groups * (products + copies + written), g.bytes(dtype.itemsize))


@remembered
def draft(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> Launch:
    """What runs."""
    g, lanes, line = geometry, machine.lanes(dtype), LINE // dtype.itemsize
    pieces, together, length = pieces_of(g)
    k_pitch = -(-cut.k_part // line) * line + line
    grid = grid_of(g, cut.chunk, g.in_per_group, k_pitch, g.kernel[0])
    row = -(-pieces * length // lanes) * lanes  # slices are added up by vectors
    size = cut.k_part * row + lanes * (g.in_per_group + 1)  # squares are read where the last taps and channels are
    size = -(-size // line) * line
    k_parts = -(-g.out_per_group // cut.k_part)
    blocks = g.groups * k_parts
    b = sums.Blocks(
        groups=g.groups,
        c_group=g.in_per_group,
        k_group=g.out_per_group,
        taps=g.taps,
        block_taps=g.taps,
        k_part=cut.k_part,
        k_parts=k_parts,
        c_part=g.in_per_group,
        c_parts=1,
        t_parts=1,
        row=row,
        pitch=g.in_per_group,
        sums=size,
        slices=sums.slices_of(blocks, prod(grid.chunks), g.flops, blocks * size * dtype.itemsize),
    )
    room = -(-length // cut.tile.rows) * cut.tile.rows
    s = Sizes(grid, b, pieces, together, length, room, k_pitch, copied=int(not lies_in_vectors(g, cut, lanes)))
    made = kernel(cut.tile, lanes, g.channels_last, element(dtype), machine.isa)
    return launched(made, blocks, b, written(s), g, dtype, machine)
