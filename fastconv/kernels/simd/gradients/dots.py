"""The gradient by the weights of kernels of one tap, channels first: dot products of planes where they lie.

    dw [k][c] = sum over n, p of dy [n][k][p] * x [n][c][p]

A register tile of output channels x input channels keeps a vector of partial sums for each pair, along the positions: rows +
columns loads for rows * columns multiply-adds, and no copy. The lanes are added up once a chunk of positions, which is as long
as the rows of x under a tile stay in the L1 cache while those of dy of a block, which the L2 cache holds, pass by.
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
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.kernels.simd.gradients import sums
from fastconv.kernels.simd.gradients.launches import Launch, launched
from fastconv.kernels.simd.gradients.sums import block_of, blocks_in, even_part, slice_of
from fastconv.machine import Machine
from fastconv.problem.convolutions import ConvGeometry

peek, poke, pointer = vector.peek, vector.poke, vector.pointer

MOST_OUTPUTS, MOST_INPUTS = 64, 256  # channels of a block of dw
STEP, ENDS = 1.22, 70  # times that a step takes longer than its products or loads; cycles of a tile's chunk besides
REST = 3  # cycles of a vector of which a part is read


class Sizes(NamedTuple):
    """The sizes of a call.

    Attributes
    ----------
    blocks : Blocks
        How dw is cut.
    images, plane : int
        Images, and positions of a plane.
    together, part : int
        Images of a chunk, and positions of each at most: of several images all.
    parts, chunks : int
        Parts of a plane, and chunks in all.
    """

    blocks: sums.Blocks
    images: int
    plane: int
    together: int
    part: int
    parts: int
    chunks: int


class Parts(NamedTuple):
    """Of a thread's memory: sums of a block, and of a tile."""

    sums: int
    tile: int


class Chunk(NamedTuple):
    """The first image of a chunk and the one behind its last; its first position, and how many."""

    begin: int
    end: int
    first: int
    count: int  # type: ignore[assignment]


read, carve = reader(Sizes), workspace(Parts)

# The loop nest ----------------------------------------------------------------------------------------------------------


@compiled
def chunk_of(number, s):
    """The chunk of a number: the parts of an image's planes follow each other."""
    image, part = divmod(number, s.parts)
    first = part * s.part
    return Chunk(image * s.together, min(s.images, (image + 1) * s.together), first, min(s.part, s.plane - first))


@lru_cache(maxsize=16)
def multiplier(rows: int, columns: int, lanes: int) -> Any:
    """The compiled to[i * columns + j] = sum of dy[i][p] * x[j][p] over a chunk, `grads` and `cells` at the first image's."""

    def multiply(to, grads, cells, of_dy, of_x, images, count, plane):
        tile, whole = vector.zeros(to, rows, columns, lanes), count - count % lanes
        for _ in range(images):
            for p in range(0, whole, lanes):
                tile = vector.fma_dots(tile, grads + p, plane, cells + p, plane, lanes)
            if whole < count:
                tile = vector.fma_dots(tile, grads + whole, plane, cells + whole, plane, count - whole)
            grads, cells = grads + of_dy, cells + of_x
        vector.store_lane_sums(tile, to)

    return inlined(multiply)


@lru_cache(maxsize=32)
def kernel(tile: Tile, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over blocks of dw and chunks of positions: f32_gradient_dots_4x3_avx2."""
    rows, columns = tile
    multiply, write = multiplier(rows, columns, lanes), sums.writer(lanes, False)

    @compiled
    def add(found, to, row, k, c, begins):
        """The sums of a tile, without the first k rows and c columns, which are another's."""
        for i in range(k, rows):
            for j in range(c, columns):
                at = to + (i * row + j)
                poke(at, peek(found + (i * columns + j)) if begins else peek(at) + peek(found + (i * columns + j)))

    def gradient(begin, end, x, dy, partial_sums, dw, sizes, parameters):
        """dw [k][c] = sum over n, p of dy [n][k][p] * x [n][c][p], of a block and a slice of the positions an item."""
        s = read(sizes)
        b, count_of = s.blocks, blocks_in(s.blocks)
        of_x, of_dy = b.groups * b.c_group * s.plane, b.groups * b.k_group * s.plane
        room = -(-rows * columns // lanes) * lanes
        work, memory = carve(Parts(sums=b.sums if b.slices == 1 else 0, tile=room), x)
        for item in range(begin, end):
            part, number = divmod(item, count_of)
            block = block_of(number, b)
            total = work.sums if b.slices == 1 else pointer(partial_sums) + item * b.sums
            begun, last = slice_of(part, s.chunks, b)
            for at in range(begun, last):
                chunk = chunk_of(at, s)
                cells = pointer(x) + ((chunk.begin * b.groups + block.group) * b.c_group * s.plane + chunk.first)
                grads = pointer(dy) + ((chunk.begin * b.groups + block.group) * b.k_group * s.plane + chunk.first)
                for c in range(0, block.channels, columns):
                    # The last tile overlaps the one before it, which may be another block's.
                    c_tile = min(block.c + c, b.c_group - columns)
                    for k in range(0, block.rows, rows):
                        k_tile = min(block.k + k, b.k_group - rows)
                        multiply(
                            work.tile,
                            grads + k_tile * s.plane,
                            cells + c_tile * s.plane,
                            of_dy,
                            of_x,
                            chunk.end - chunk.begin,
                            chunk.count,
                            s.plane,
                        )
                        to = total + ((k_tile - block.k) * b.row + c_tile - block.c)
                        add(work.tile, to, b.row, block.k + k - k_tile, block.c + c - c_tile, at == begun)
            if b.slices == 1:
                for k in range(block.rows):
                    write(total + k * b.row, pointer(dw), block, k, b)
        keep(memory)

    gradient.__name__ = f"{dtype}_gradient_dots_{rows}x{columns}_{isa}"
    return Kernel(gradient)


# Decisions --------------------------------------------------------------------------------------------------------------


class Cut(NamedTuple):
    """How a problem is cut: output x input channels of a tile, channels of a block of dw, images and positions of a chunk."""

    tile: Tile
    k_part: int
    c_part: int
    together: int
    part: int


def supports(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> str | None:
    """Kernels of one tap that see every position, channels first."""
    if geometry.channels_last or not geometry.is_pointwise:
        return "it serves kernels of one tap, channels first"
    return None


def candidates(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> Iterator[Candidate]:
    """The tiles of dot products whose sums and columns registers hold, with as many channels as there are."""
    g = flattened(geometry)
    if not g.out_per_group * g.in_per_group:
        return
    tiles = [(rows, columns) for rows, columns in TILES[machine.isa].unpacked if (rows + 1) * columns < machine.registers]
    for tile in dict.fromkeys(Tile(min(rows, g.out_per_group), min(columns, g.in_per_group)) for rows, columns in tiles):
        one = cut(g, tile, dtype, machine)
        yield Candidate(seconds(g, one, dtype, machine), one, partial(draft, g, one, dtype, machine))


def cut(geometry: ConvGeometry, tile: Tile, dtype: np.dtype[Any], machine: Machine) -> Cut:
    """Chunks whose x under a tile takes three eighths of the L1 cache, and blocks whose dy takes a quarter of the L2 cache."""
    g, lanes, plane = geometry, machine.lanes(dtype), prod(geometry.in_size)
    most = max(lanes, machine.l1 * 3 // 8 // (tile.columns * dtype.itemsize))
    part = plane if plane <= most else even_part(plane, most, lanes)
    together = max(1, most // part) if part == plane else 1
    room = machine.l2 // (4 * together * part * dtype.itemsize)
    k_part = even_part(g.out_per_group, min(MOST_OUTPUTS, room), tile.rows)
    return Cut(tile, k_part, even_part(g.in_per_group, MOST_INPUTS, tile.columns), together, part)


def seconds(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> float:
    """Cycles of products, of what a tile's chunk takes besides, and of what is written."""
    g, (rows, columns), lanes, plane = geometry, cut.tile, machine.lanes(dtype), prod(geometry.in_size)
    parts = -(-plane // cut.part)
    chunks = -(-g.batch // cut.together) * parts
    tiles = -(-g.out_per_group // rows) * -(-g.in_per_group // columns)
    each = max(rows * columns / machine.units, (rows + columns) * 0.75) * STEP
    steps = g.batch * (plane // lanes * each + (each + REST if plane % lanes else 0) + 4 * parts)
    written = g.out_per_group * g.in_per_group / lanes * 4
    return machine.seconds(CALL + g.groups * (tiles * (steps + chunks * ENDS) + written), g.bytes(dtype.itemsize))


@remembered
def draft(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> Launch:
    """What runs."""
    g, lanes, line, plane = geometry, machine.lanes(dtype), LINE // dtype.itemsize, prod(geometry.in_size)
    parts = -(-plane // cut.part)
    chunks = -(-g.batch // cut.together) * parts
    row = -(-cut.c_part // lanes) * lanes  # slices are added up by vectors
    size = -(-cut.k_part * row // line) * line
    k_parts, c_parts = -(-g.out_per_group // cut.k_part), -(-g.in_per_group // cut.c_part)
    blocks = g.groups * k_parts * c_parts
    b = sums.Blocks(
        groups=g.groups,
        c_group=g.in_per_group,
        k_group=g.out_per_group,
        taps=1,
        block_taps=1,
        k_part=cut.k_part,
        k_parts=k_parts,
        c_part=cut.c_part,
        c_parts=c_parts,
        t_parts=1,
        row=row,
        pitch=cut.c_part,
        sums=size,
        slices=sums.slices_of(blocks, chunks, g.flops, blocks * size * dtype.itemsize),
    )
    s = Sizes(b, g.batch, plane, cut.together, cut.part, parts, chunks)
    made = kernel(cut.tile, lanes, element(dtype), machine.isa)
    return launched(made, blocks, b, written(s), g, dtype, machine)
