"""The gradient by the weights as a matrix product whose inner sum runs over positions.

    dw [k][t][c] = sum over p of dy [p][k] * x [cell(p) + t][c]

Positions are taken in chunks whose operands are copied channels last, x with its padding, and stay in the L2 cache while all
taps are summed. A register tile of output channels x vectors of input channels takes one value of dy and one vector of x a
position: rows + columns loads for rows * columns multiply-adds, as in engine/microkernel.py.

Where the input channels of a group do not fill vectors, those of all taps are gathered, position by position: [t][c] then takes
the place of [c], and there is one tap. Goto and van de Geijn, Anatomy of High-Performance Matrix Multiplication (2008), section
4, on the order of the loops.
"""

from collections.abc import Iterator
from functools import lru_cache, partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled, element, inlined
from fastconv.kernels.keeping import remembered
from fastconv.kernels.memory import LINE
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.costs import CALL, Candidate
from fastconv.kernels.simd.engine.sizes import reader, written
from fastconv.kernels.simd.engine.tables import TILES, Tile
from fastconv.kernels.simd.engine.walks import flattened
from fastconv.kernels.simd.engine.windows import runs
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.kernels.simd.gradients import sums
from fastconv.kernels.simd.gradients.chunks import (
    MOST_COPIED,
    Grid,
    Part,
    cells_under,
    chunk_of,
    chunk_within,
    grid_of,
    packers,
    reach_of,
    refusal,
)
from fastconv.kernels.simd.gradients.launches import Launch, launched
from fastconv.kernels.simd.gradients.sums import block_of, blocks_in, even_part, slice_of
from fastconv.machine import Machine
from fastconv.problem.convolutions import ConvGeometry

peek, poke, pointer = vector.peek, vector.poke, vector.pointer

MOST_CHANNELS = 256  # of a block of dw, of either kind
MOST_GATHERED = 2048  # values of a position
WIDEST = 6  # vectors of a register tile


class Sizes(NamedTuple):
    """The sizes of a call.

    Attributes
    ----------
    grid, blocks : Grid, Blocks
        How positions and dw are cut.
    gathered : int
        Elements of the gathered windows of a position, or 0.
    positions : int
        Of a chunk at most.
    """

    grid: Grid
    blocks: sums.Blocks
    gathered: int
    positions: int


class Parts(NamedTuple):
    """Of a thread's memory: windows of x, gathered ones, dy, sums."""

    windows: int
    gathered: int
    grads: int
    sums: int


class Tables(NamedTuple):
    """Offsets: of each position's window, and of the rows of a square."""

    offsets: int
    steps: int


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


@compiled
def tap_offset(tap, chunk, g):
    """Elements from a window's first cell to the one under a tap."""
    rest, s = divmod(tap, g.taps.w)
    t, r = divmod(rest, g.taps.h)
    reach = reach_of(chunk.size, g)
    return ((t * reach.h + r * g.dilation.h) * reach.w + s * g.dilation.w) * g.c_pitch


@lru_cache(maxsize=8)
def gatherer(lanes: int) -> Any:
    """The compiled gathered [p][t][c] = windows of a chunk: the taps of a row lie together where there is no dilation."""

    @compiled
    def copy_over(to, source, count):
        """to[:count] = source[:count], in whole vectors: what follows is written later, or room."""
        for i in range(0, count, lanes):
            vector.store(to + i, vector.load(source + i, lanes))

    def gather(work, offsets, count, chunk, s):
        g, channels = s.grid, s.blocks.c_group
        together = g.taps.w if g.dilation.w == 1 else 1
        pieces, length = g.taps.d * g.taps.h * g.taps.w // together, together * channels
        for piece in range(pieces):
            window, to = work.windows + tap_offset(piece * together, chunk, g), work.gathered + piece * length
            for p in range(count):
                copy_over(to + p * s.gathered, window + peek(offsets + p), length)
        for p in range(count):
            poke(offsets + p, p * s.gathered)

    return compiled(gather)


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
def kernel(tile: Tile, lanes: int, channels_last: bool, is_gathered: bool, dtype: str, isa: str) -> Kernel:
    """The compiled loops over blocks of dw and chunks of positions: f32_gradient_8x3_avx512."""
    rows, columns = tile
    width = columns * lanes
    pack_windows, pack_grads = packers(lanes, channels_last)
    multiply, write, gather = multiplier(rows, columns, lanes), sums.writer(lanes, channels_last), gatherer(lanes)
    _, clear = runs(lanes)

    def gradient(begin, end, x, dy, partial_sums, dw, sizes, parameters):
        """dw [k][t][c] = sum over p of dy [p][k] * x [cell(p) + t][c], of a block and a slice of the positions an item."""
        s = read(sizes)
        g, b, count_of = s.grid, s.blocks, blocks_in(s.blocks)
        fill, zero = parameters[0], parameters[1]
        parts = Parts(
            windows=g.chunk.d * g.windows + width,
            gathered=s.positions * s.gathered + width,
            grads=g.chunk.d * g.grads + width,
            sums=b.sums if b.slices == 1 else 0,
        )
        work, memory = carve(parts, x)
        tables, integers = carve_tables(Tables(offsets=s.positions, steps=lanes), sizes)
        clear(work.windows, zero, parts.windows)  # lanes without a channel are multiplied too: let them be numbers
        clear(work.gathered, zero, parts.gathered)
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
                if is_gathered:
                    gather(work, tables.offsets, count, chunk, s)
                source = work.gathered if is_gathered else work.windows
                for t in range(1 if is_gathered else b.taps):
                    cells = source if is_gathered else source + tap_offset(t, chunk, g)
                    for c in range(0, b.taps * b.c_group if is_gathered else block.channels, width):
                        for k in range(0, block.rows, rows):
                            to = total + (k * b.row + t * b.pitch + c)
                            multiply(to, b.row, work.grads + k, g.k_pitch, cells + c, tables.offsets, count, at == first)
            if b.slices == 1:
                for k in range(block.rows):
                    write(total + k * b.row, pointer(dw), block, k, b)
        keep(memory)
        keep(integers)

    gradient.__name__ = f"{dtype}_gradient_{'gathered_' if is_gathered else ''}{rows}x{columns}_{isa}"
    return Kernel(gradient)


# Decisions --------------------------------------------------------------------------------------------------------------


class Cut(NamedTuple):
    """How a problem is cut.

    Attributes
    ----------
    tile : Tile
        Output channels x vectors of input channels.
    gathered : bool
        Whether all taps' channels are gathered.
    k_part, c_part : int
        Channels of a block of dw.
    chunk : (int, int, int)
        Planes, rows and columns of positions.
    """

    tile: Tile
    gathered: bool
    k_part: int
    c_part: int
    chunk: tuple[int, int, int]


def cut(geometry: ConvGeometry, tile: Tile, gathered: bool, dtype: np.dtype[Any], machine: Machine) -> Cut:
    """Blocks of dw whose sums take a quarter of the L2 cache, and chunks of positions that take another."""
    g, width, room = geometry, tile.columns * machine.lanes(dtype), machine.l2 // (4 * dtype.itemsize)
    values = g.taps * g.in_per_group if gathered else g.in_per_group
    taps = 1 if gathered else g.taps
    whole = -(-values // width) * width
    c_part = whole if gathered else even_part(values, min(MOST_CHANNELS, room // (taps * 2 * tile.rows)), width)
    k_part = even_part(g.out_per_group, min(MOST_CHANNELS, room // (taps * c_part)), tile.rows)
    each = c_part + k_part + (prod(g.stride[1:]) * g.in_per_group if gathered else 0)
    near = 3 * machine.l1 // (4 * LINE * (tile.columns + 1))  # positions whose panels of x and dy stay in the L1 cache
    most, channels = min(max(64, near), max(16, room // each)), g.in_per_group if gathered else c_part
    chunk = chunk_within(g, g.kernel[0], most, MOST_COPIED // channels)
    if not gathered and cells_under(g, chunk, g.kernel[0]) * c_part > MOST_COPIED:
        c_part = width
    return Cut(tile, gathered, k_part, c_part, chunk)


def seconds(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> float:
    """Cycles of products, of sums loaded and stored, of copies and of what is written."""
    g, (rows, columns), lanes = geometry, cut.tile, machine.lanes(dtype)
    values = g.taps * g.in_per_group if cut.gathered else g.in_per_group
    taps, width = 1 if cut.gathered else g.taps, columns * lanes
    positions, size = g.batch * prod(g.out_size), prod(cut.chunk)
    chunks = positions / max(1, size)
    k_parts, c_parts = -(-g.out_per_group // cut.k_part), -(-values // cut.c_part)
    tiles = taps * -(-g.out_per_group // rows) * -(-values // width)
    each = max(rows * columns / machine.units, (rows + columns + 1) / 2) * 1.06 + 0.3
    products = tiles * (positions * each + chunks * (20 + 1.5 * rows * columns))
    turned = 2.5 if g.channels_last else 6.0
    reach = prod(n * step + extent - step for n, step, extent in zip(cut.chunk[1:], g.stride[1:], g.window[1:], strict=True))
    c_vectors, k_vectors = -(-g.in_per_group // lanes), -(-g.out_per_group // lanes)
    cells = chunks * cut.chunk[0] * reach * g.kernel[0]
    copies = turned * (k_parts * cells * c_vectors + c_parts * positions * k_vectors)
    if cut.gathered:
        copies += k_parts * positions * (g.taps // g.kernel[2]) * (4 + 1.5 * -(-g.kernel[2] * g.in_per_group // lanes))
    written = g.out_per_group * (values * taps / lanes) * (2 if g.channels_last or g.taps == 1 else 9)
    return machine.seconds(CALL + g.groups * (products + copies + written), g.bytes(dtype.itemsize))


def supports(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> str | None:
    """Windows of a few positions that can be copied."""
    return refusal(geometry.lifted(), geometry.lifted().kernel[0], WIDEST * machine.lanes(dtype))


def candidates(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> Iterator[Candidate]:
    """Every tile of the machine, with gathered windows or not."""
    g = flattened(geometry)
    for gathered in (False, True):
        if gathered and (g.taps == 1 or g.in_per_group * g.taps > MOST_GATHERED or g.in_per_group >= 4 * machine.lanes(dtype)):
            continue
        for tile in TILES[machine.isa].gradient:
            one = cut(g, tile, gathered, dtype, machine)
            yield Candidate(seconds(g, one, dtype, machine), one, partial(draft, g, one, dtype, machine))


@remembered
def draft(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> Launch:
    """What runs."""
    g, lanes, line = geometry, machine.lanes(dtype), LINE // dtype.itemsize
    gathered = -(-g.taps * g.in_per_group // lanes) * lanes + line if cut.gathered else 0
    c_pitch = g.in_per_group if cut.gathered else -(-min(cut.c_part, g.in_per_group) // line) * line + line
    k_pitch = -(-cut.k_part // line) * line + line
    grid = grid_of(g, cut.chunk, c_pitch, k_pitch, g.kernel[0])
    row = cut.c_part * (1 if cut.gathered else g.taps)
    pitch = g.in_per_group if cut.gathered else cut.c_part
    k_parts, c_parts = -(-g.out_per_group // cut.k_part), 1 if cut.gathered else -(-g.in_per_group // cut.c_part)
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
        c_part=g.in_per_group if cut.gathered else cut.c_part,
        c_parts=c_parts,
        t_parts=1,
        row=row,
        pitch=pitch,
        sums=size,
        slices=sums.slices_of(blocks, prod(grid.chunks), g.flops, blocks * size * dtype.itemsize),
    )
    s = Sizes(grid, b, gathered, prod(cut.chunk))
    names = lanes, g.channels_last, cut.gathered, element(dtype), machine.isa
    return launched(kernel(cut.tile, *names), blocks, b, written(s), g, dtype, machine)
