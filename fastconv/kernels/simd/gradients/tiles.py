"""The gradient by the weights as a matrix product whose inner sum runs over positions.

    dw [k][t][c] = sum over p of dy [p][k] * x [cell(p) + t][c]

Positions are taken in chunks whose operands are copied channels last, x with its padding, and stay in the L2 cache while all
taps are summed; channels first, what the next chunk copies is asked for meanwhile (ahead.py). A register tile of output
channels x vectors of input channels takes one value of dy and one vector of x a position: rows + columns loads for rows *
columns multiply-adds, as in engine/microkernel.py.

Goto and van de Geijn, Anatomy of High-Performance Matrix Multiplication (2008), section 4, on the order of the loops. Layers of
few input channels: outputs.py.
"""

from collections.abc import Iterator
from functools import lru_cache, partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, bytes_of, compiled, element, inlined
from fastconv.kernels.keeping import remembered
from fastconv.kernels.memory import LINE
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.costs import CALL, Candidate
from fastconv.kernels.simd.engine.requests import are_waited_for
from fastconv.kernels.simd.engine.sizes import reader, written
from fastconv.kernels.simd.engine.tables import TILES, Tile
from fastconv.kernels.simd.engine.walks import flattened
from fastconv.kernels.simd.engine.windows import runs
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.kernels.simd.gradients import sums
from fastconv.kernels.simd.gradients.ahead import PIECES, Coming, asker
from fastconv.kernels.simd.gradients.chunks import (
    MOST_COPIED,
    Grid,
    Part,
    cells_under,
    chunk_of,
    chunk_within,
    copy_cycles,
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

peek, poke, pointer = vector.peek, vector.poke, vector.pointer

MOST_CHANNELS = 512  # output channels of a block of dw
INPUTS = (32, 64, 128, 256)  # input channels of a block, at most
WIDEST = 6  # vectors of a register tile


class Sizes(NamedTuple):
    """The sizes of a call.

    Attributes
    ----------
    grid, blocks : Grid, Blocks
        How positions and dw are cut.
    positions : int
        Of a chunk at most.
    asks : int
        Whether what the next chunk copies is asked for.
    """

    grid: Grid
    blocks: sums.Blocks
    positions: int
    asks: int


class Parts(NamedTuple):
    """Of a thread's memory: windows of x, dy, sums."""

    windows: int
    grads: int
    sums: int


class Tables(NamedTuple):
    """Offsets: of each position's window, of the rows of a square, and of what the next chunk copies."""

    offsets: int
    steps: int
    pieces: int


read, carve, carve_tables = reader(Sizes), workspace(Parts), workspace(Tables)

# The loop nest ----------------------------------------------------------------------------------------------------------


@compiled
def find_windows(chunk, offsets, g):
    """offsets[p] = elements from the first window of a chunk to that of its position p; returns how many there are."""
    reach, p = reach_of(chunk.size, g), 0
    for plane in range(chunk.size.d):
        for h in range(chunk.size.h):
            row = (plane * g.taps.d * reach.h + h * g.stride.h) * reach.w
            for w in range(chunk.size.w):
                poke(offsets + p, (row + w * g.stride.w) * g.c_pitch)
                p += 1
    return p


@lru_cache(maxsize=16)
def multiplier(rows: int, columns: int, lanes: int) -> Any:
    """The compiled sums [k][c] += dy [p][k] * x [p][c] of a register tile, over `count` positions."""

    def multiply(to, step, grads, k_pitch, windows, offsets, count, begins):
        tile = vector.zeros(to, rows, columns, lanes) if begins else vector.load_tile(to, step, rows, columns, lanes)
        for p in range(count):
            tile = vector.fma_shared(tile, grads + p * k_pitch, windows + peek(offsets + p))
        vector.store_tile(tile, to, step)

    return inlined(multiply)


@lru_cache(maxsize=32)
def kernel(tile: Tile, lanes: int, channels_last: bool, dtype: str, isa: str) -> Kernel:
    """The compiled loops over blocks of dw and chunks of positions: f32_gradient_8x3_avx512."""
    rows, columns = tile
    width = columns * lanes
    pack_windows, pack_grads = packers(lanes, channels_last)
    multiply, write = multiplier(rows, columns, lanes), sums.writer(lanes, channels_last)
    (_, clear), (find_coming, ask) = runs(lanes), asker(LINE // bytes_of(dtype))

    def gradient(begin, end, x, dy, partial_sums, dw, sizes, parameters):
        """dw [k][t][c] = sum over p of dy [p][k] * x [cell(p) + t][c], of a block and a slice of the positions an item."""
        s = read(sizes)
        g, b, count_of = s.grid, s.blocks, blocks_in(s.blocks)
        fill, zero = parameters[0], parameters[1]
        parts = Parts(
            windows=g.chunk.d * g.windows + width, grads=g.chunk.d * g.grads + width, sums=b.sums if b.slices == 1 else 0
        )
        work, memory = carve(parts, x)
        tables, integers = carve_tables(Tables(offsets=s.positions, steps=lanes, pieces=PIECES * s.asks), sizes)
        clear(work.windows, zero, parts.windows)  # lanes without a channel are multiplied too: let them be numbers
        clear(work.grads, zero, parts.grads)
        for item in range(begin, end):
            part, number = divmod(item, count_of)
            block = block_of(number, b)
            total = work.sums if b.slices == 1 else pointer(partial_sums) + item * b.sums
            inputs = Part(block.group * b.c_group + block.c, block.channels, 0)
            outputs = Part(block.group * b.k_group + block.k, block.rows, 0)
            first, last = slice_of(part, g.chunks.d * g.chunks.h * g.chunks.w, b)
            for at in range(first, last):
                chunk = chunk_of(at, g)
                pack_windows(x, fill, chunk, inputs, work.windows, tables.steps, g)
                pack_grads(dy, zero, chunk, outputs, work.grads, tables.steps, g)
                count = find_windows(chunk, tables.offsets, g)
                if not channels_last:
                    asked, coming = 0, Coming(tables.pieces, 0, 0, 0)
                    if s.asks != 0 and at + 1 < last:
                        tiles = b.taps * -(-block.channels // width) * -(-block.rows // rows)
                        coming = find_coming(tables.pieces, chunk_of(at + 1, g), inputs, outputs, tiles, g)
                for t in range(b.taps):
                    cells = work.windows + tap_offset(t, chunk, g)
                    for c in range(0, block.channels, width):
                        for k in range(0, block.rows, rows):
                            if not channels_last:
                                asked = ask(asked, coming, x, dy)
                            to = total + (k * b.row + t * b.pitch + c)
                            multiply(to, b.row, work.grads + k, g.k_pitch, cells + c, tables.offsets, count, at == first)
            if b.slices == 1:
                for k in range(block.rows):
                    write(total + k * b.row, pointer(dw), block, k, b)
        keep(memory)
        keep(integers)

    gradient.__name__ = f"{dtype}_gradient_{rows}x{columns}_{isa}"
    return Kernel(gradient)


# Decisions --------------------------------------------------------------------------------------------------------------


class Cut(NamedTuple):
    """How a problem is cut.

    Attributes
    ----------
    tile : Tile
        Output channels x vectors of input channels.
    k_part, c_part : int
        Channels of a block of dw.
    chunk : (int, int, int)
        Planes, rows and columns of positions.
    """

    tile: Tile
    k_part: int
    c_part: int
    chunk: tuple[int, int, int]


def cut(geometry: ConvGeometry, tile: Tile, inputs: int, dtype: np.dtype[Any], machine: Machine) -> Cut:
    """Blocks of dw whose sums take half of the L2 cache, and chunks of positions that take a quarter."""
    g, width, room = geometry, tile.columns * machine.lanes(dtype), machine.l2 // (4 * dtype.itemsize)
    c_part = even_part(g.in_per_group, min(inputs, room // (g.taps * tile.rows)), width)
    k_part = even_part(g.out_per_group, min(MOST_CHANNELS, 2 * room // (g.taps * c_part)), tile.rows)
    near = 3 * machine.l1 // (4 * LINE * (tile.columns + 1))  # positions whose panels of x and dy stay in the L1 cache
    most = min(max(64, near), max(16, room // (c_part + k_part)))
    chunk = chunk_within(g, g.kernel[0], most, MOST_COPIED // c_part)
    if cells_under(g, chunk, g.kernel[0]) * c_part > MOST_COPIED:
        c_part = width
    return Cut(tile, k_part, c_part, chunk)


def seconds(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> float:
    """Cycles of products, of sums loaded and stored, of copies and of what is written."""
    g, (rows, columns), lanes = geometry, cut.tile, machine.lanes(dtype)
    positions, size = g.batch * prod(g.out_size), prod(cut.chunk)
    chunks = positions / max(1, size)
    k_parts, c_parts = -(-g.out_per_group // cut.k_part), -(-g.in_per_group // cut.c_part)
    tiles = g.taps * -(-g.out_per_group // rows) * -(-g.in_per_group // (columns * lanes))
    each = max(rows * columns / machine.units, (rows + columns + 1) / 2) * 1.06 + 0.3
    products = tiles * (positions * each + chunks * (20 + 1.5 * rows * columns))
    cells = chunks * cut.chunk[0] * g.kernel[0] * prod(reach_under(g, cut.chunk))
    of_x, of_dy = (copy_cycles(channels, g.channels_last, lanes) for channels in (g.in_per_group, g.out_per_group))
    copies = k_parts * cells * of_x + c_parts * positions * of_dy
    written = g.out_per_group * (g.in_per_group * g.taps / lanes) * (2 if g.channels_last or g.taps == 1 else 9)
    return machine.seconds(CALL + g.groups * (products + copies + written), g.bytes(dtype.itemsize))


def supports(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> str | None:
    """Windows of a few positions that can be copied."""
    return refusal(geometry.lifted(), geometry.lifted().kernel[0], WIDEST * machine.lanes(dtype))


def candidates(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> Iterator[Candidate]:
    """Every tile of the machine; blocks of few input channels copy x less often, and dy more often."""
    g = flattened(geometry)
    most = next((inputs for inputs in INPUTS if inputs >= g.in_per_group), INPUTS[-1])
    for tile in TILES[machine.isa].gradient:
        for one in dict.fromkeys(cut(g, tile, inputs, dtype, machine) for inputs in INPUTS if inputs <= most):
            yield Candidate(seconds(g, one, dtype, machine), one, partial(draft, g, one, dtype, machine))


@remembered
def draft(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> Launch:
    """What runs."""
    g, lanes, line = geometry, machine.lanes(dtype), LINE // dtype.itemsize
    c_pitch = -(-min(cut.c_part, g.in_per_group) // line) * line + line
    k_pitch = -(-cut.k_part // line) * line + line
    grid = grid_of(g, cut.chunk, c_pitch, k_pitch, g.kernel[0])
    row, pitch = cut.c_part * g.taps, cut.c_part
    k_parts, c_parts = -(-g.out_per_group // cut.k_part), -(-g.in_per_group // cut.c_part)
    size = cut.k_part * row + lanes * (pitch + 1)  # squares of lanes x lanes are read where the last taps and channels are
    size = -(-size // line) * line
    blocks = g.groups * k_parts * c_parts
    b = sums.Blocks(
        groups=g.groups,
        c_group=g.in_per_group,
        k_group=g.out_per_group,
        taps=g.taps,
        block_taps=g.taps,
        k_part=cut.k_part,
        k_parts=k_parts,
        c_part=cut.c_part,
        c_parts=c_parts,
        t_parts=1,
        row=row,
        pitch=pitch,
        sums=size,
        slices=sums.slices_of(blocks, prod(grid.chunks), g.flops, blocks * size * dtype.itemsize),
    )
    asks = not g.channels_last and are_waited_for(g.bytes(dtype.itemsize), machine)
    s = Sizes(grid, b, prod(cut.chunk), int(asks))
    made = kernel(cut.tile, lanes, g.channels_last, element(dtype), machine.isa)
    return launched(made, blocks, b, written(s), g, dtype, machine)
