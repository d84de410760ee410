"""The gradient by weights of 3x3 kernels with a quarter of the products, by Winograd's minimal filtering: F(3x3, 4x4).

    V [P][t, c] = B^T x[t] B                    of each tile t of 6 x 6 cells; P = 36 planes
    D [P][t, k] = A dy[t] A^T                   of its 4 x 4 outputs
    M [P][k, c] = sum over t of D[P][t, k] * V[P][t, c]
    dw [k][c]   = G^T M[k, c] G

This is the transpose of the convolution by tiles of 4 x 4 outputs, at the same points: Lavin and Gray, Fast Algorithms for
Convolutional Neural Networks (2016), section 4; transforms.py has A and G. Outputs that a tile has beyond the map are zeros.
Kernels along one axis take tiles of 1 x 4 or 4 x 1 outputs and 6 products for 12; over three axes each slice of the kernel is
an item of its own.

Tiles are taken in chunks whose V and D stay in the L2 cache with M, or in the last cache where they are many: each chunk loads
and stores all of M. Planes lie a cache line more than their size apart.

A NaN or inf in dy or x spreads to all taps of the channels that meet it.
"""

from collections.abc import Iterator
from functools import lru_cache, partial
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled, element, inlined
from fastconv.kernels.keeping import remembered
from fastconv.kernels.memory import LINE
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.costs import Candidate, cheapest
from fastconv.kernels.simd.engine.filtering import KERNEL, Cells, cells_of, input_transform, plane_pitch
from fastconv.kernels.simd.engine.sizes import Axes, Plane, reader, written
from fastconv.kernels.simd.engine.tables import TILES, Tile
from fastconv.kernels.simd.engine.windows import runs
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.kernels.simd.gradients import sums
from fastconv.kernels.simd.gradients.chunks import Chunk, Grid, Part, chunk_of, grid_of, packers, reach_of
from fastconv.kernels.simd.gradients.cuts import PARTS, Cut, chunks_for, cut, form_of, parts_of, seconds, slices_for
from fastconv.kernels.simd.gradients.launches import Launch, launched
from fastconv.kernels.simd.gradients.sums import block_of, blocks_in, slice_of
from fastconv.kernels.simd.gradients.transforms import grad_transform, sum_transform
from fastconv.machine import Machine
from fastconv.problem.convolutions import ConvGeometry

pointer = vector.pointer


class Sizes(NamedTuple):
    """The sizes of a call.

    Attributes
    ----------
    grid, blocks : Grid, Blocks
        How positions and dw are cut; of the grid's kernel one slice.
    dilation_d : int
        Cells from one slice of the kernel to the next.
    m : Plane
        Outputs of a tile.
    tiles : int
        Of a chunk at most.
    v_plane, d_plane, m_plane : int
        Elements from one plane to the next.
    """

    grid: Grid
    blocks: sums.Blocks
    dilation_d: int
    m: Plane
    tiles: int
    v_plane: int
    d_plane: int
    m_plane: int


class Parts(NamedTuple):
    """Of a thread's memory: copies of x and dy, V, D and M, a tile's vectors on the way, sums."""

    windows: int
    grads: int
    v: int
    d: int
    m: int
    tile: int
    sums: int


class Tables(NamedTuple):
    """Offsets of the rows of a square."""

    steps: int


read, carve, carve_tables = reader(Sizes), workspace(Parts), workspace(Tables)

# The loop nest ----------------------------------------------------------------------------------------------------------


@compiled
def whole_tiles(chunk, s):
    """(The chunk with its last tiles whole, its tiles)."""
    high, wide = -(-chunk.size.h // s.m.h), -(-chunk.size.w // s.m.w)
    return Chunk(chunk.first, Axes(chunk.size.d, high * s.m.h, wide * s.m.w)), Axes(chunk.size.d, high, wide)


@lru_cache(maxsize=16)
def tile_transforms(form: tuple[int, int], lanes: int, dtype: str) -> tuple[Any, Any]:
    """(The compiled transform of the windows of a chunk's tiles to V, that of dy to D)."""
    of_inputs, of_grads = input_transform(form, lanes, dtype), grad_transform(form, lanes, dtype)

    def transform_windows(chunk, tiles, channels, work, s):
        g, reach = s.grid, reach_of(chunk.size, s.grid)
        for t in range(tiles.d * tiles.h * tiles.w):
            rest, column = divmod(t, tiles.w)
            plane, row = divmod(rest, tiles.h)
            at = work.windows + ((plane * reach.h + row * s.m.h) * reach.w + column * s.m.w) * g.c_pitch
            of_inputs(Cells(at, reach.w * g.c_pitch, g.c_pitch), channels, work.tile, work.v + t * g.c_pitch, s.v_plane)

    def transform_grads(chunk, tiles, channels, work, s):
        g, size = s.grid, chunk.size
        for t in range(tiles.d * tiles.h * tiles.w):
            rest, column = divmod(t, tiles.w)
            plane, row = divmod(rest, tiles.h)
            at = work.grads + ((plane * size.h + row * s.m.h) * size.w + column * s.m.w) * g.k_pitch
            of_grads(Cells(at, size.w * g.k_pitch, g.k_pitch), channels, work.tile, work.d + t * g.k_pitch, s.d_plane)

    return compiled(transform_windows), compiled(transform_grads)


@lru_cache(maxsize=16)
def multiplier(tile: Tile, lanes: int) -> Any:
    """The compiled M [k][c] += sum over t of D [t][k] * V [t][c] of one plane."""
    rows, columns = tile
    width = columns * lanes

    def multiply(plane, count, block, begins, work, s):
        g, b = s.grid, s.blocks
        for c in range(0, block.channels, width):
            cells = work.v + (plane * s.v_plane + c)
            for k in range(0, block.rows, rows):
                to, grads = work.m + (plane * s.m_plane + k * b.pitch + c), work.d + (plane * s.d_plane + k)
                tile = vector.zeros(to, rows, columns, lanes) if begins else vector.load_tile(to, b.pitch, rows, columns, lanes)
                for t in range(count):
                    tile = vector.fma_shared(tile, grads + t * g.k_pitch, cells + t * g.c_pitch)
                vector.store_tile(tile, to, b.pitch)

    return inlined(multiply)


@lru_cache(maxsize=32)
def kernel(form: tuple[int, int], tile: Tile, lanes: int, channels_last: bool, dtype: str, isa: str) -> Kernel:
    """The compiled loops over blocks of dw and chunks of tiles: f32_gradient_winograd_4x4_8x3_avx512."""
    planes = prod(cells_of(form))
    pack_windows, pack_grads = packers(lanes, channels_last)
    transform_windows, transform_grads = tile_transforms(form, lanes, dtype)
    multiply, to_taps, write = multiplier(tile, lanes), sum_transform(form, lanes, dtype), sums.writer(lanes, channels_last)
    _, clear = runs(lanes)

    def gradient(begin, end, x, dy, partial_sums, dw, sizes, parameters):
        """dw [k][c] = G^T (sum over t of (A dy[t] A^T) * (B^T x[t] B)) G, of a block and a slice of the tiles an item."""
        s = read(sizes)
        g, b, count_of = s.grid, s.blocks, blocks_in(s.blocks)
        fill, zero, chunks = parameters[0], parameters[1], g.chunks.d * g.chunks.h * g.chunks.w
        parts = Parts(
            windows=g.chunk.d * g.windows + 2 * lanes,
            grads=g.chunk.d * g.grads + 2 * lanes,
            v=planes * s.v_plane,
            d=planes * s.d_plane,
            m=planes * s.m_plane,
            tile=planes * lanes,
            sums=b.sums if b.slices == 1 else 0,
        )
        work, memory = carve(parts, x)
        tables, integers = carve_tables(Tables(steps=lanes), sizes)
        clear(work.grads, zero, parts.grads)  # lanes without a channel are multiplied too: let them be numbers
        clear(work.v, zero, parts.v + parts.d)
        at_hand = -1
        for item in range(begin, end):
            part, number = divmod(item, count_of)
            block = block_of(number, b)
            total = work.sums if b.slices == 1 else pointer(partial_sums) + item * b.sums
            inputs = Part(block.group * b.c_group + block.c, block.channels, block.t // b.block_taps * s.dilation_d)
            outputs = Part(block.group * b.k_group + block.k, block.rows, 0)
            first, last = slice_of(part, chunks, b)
            for at in range(first, last):
                chunk, tiles = whole_tiles(chunk_of(at, g), s)
                if last - first > 1 or item // b.k_parts != at_hand:  # the items of one V follow each other
                    pack_windows(x, fill, chunk, inputs, work.windows, tables.steps, g)
                    transform_windows(chunk, tiles, block.channels, work, s)
                    at_hand = item // b.k_parts
                pack_grads(dy, zero, chunk, outputs, work.grads, tables.steps, g)
                transform_grads(chunk, tiles, block.rows, work, s)
                for plane in range(planes):
                    multiply(plane, tiles.d * tiles.h * tiles.w, block, at == first, work, s)
            for k in range(block.rows):
                to_taps(work.m + k * b.pitch, s.m_plane, block.channels, work.tile, total + k * b.row, b.pitch)
                if b.slices == 1:
                    write(total + k * b.row, pointer(dw), block, k, b)
        keep(memory)
        keep(integers)

    gradient.__name__ = f"{dtype}_gradient_winograd_{form[0]}x{form[1]}_{tile.rows}x{tile.columns}_{isa}"
    return Kernel(gradient)


# Decisions --------------------------------------------------------------------------------------------------------------

LEAST_CHANNELS = 3  # of a group, of either kind
LEAST_SUM = 16  # products of a sum: of fewer, rounding errors of the transforms are larger than those of the sum may be


def supports(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> str | None:
    """Kernels of 3 taps along the last axis or two, of stride 1 and no dilation there, and groups of several channels."""
    g = geometry.lifted()
    taps = g.kernel[1:]
    if any(one not in (1, KERNEL) for one in taps) or max(taps) == 1:
        return f"it serves kernels of 1 or 3 taps along the last axes, not {'x'.join(map(str, geometry.kernel))}"
    if any(one == KERNEL and apart > 1 for one, apart in zip(taps, g.dilation[1:], strict=True)):
        return f"it serves no dilation, not {geometry.dilation}"
    if any(step > 1 for step in g.stride[1:]):
        return f"it serves a stride of 1 along the last axes, not {geometry.stride}"
    if g.batch * prod(g.out_size) < LEAST_SUM:
        return f"it serves sums of at least {LEAST_SUM} products, not {g.batch * prod(g.out_size)}"
    if min(g.in_per_group, g.out_per_group) < LEAST_CHANNELS:
        return f"it serves groups of at least {LEAST_CHANNELS} channels, not {g.in_per_group} -> {g.out_per_group}"
    return None


def candidates(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> Iterator[Candidate]:
    """Blocks and chunks of several sizes by one register tile, and the best of them by the machine's others."""
    g, lanes = geometry.lifted(), machine.lanes(dtype)
    form, (first, *others) = form_of(g), TILES[machine.isa].gradient

    def candidate(one: Cut) -> Candidate:
        return Candidate(seconds(g, one, dtype, machine), one, partial(draft, g, one, dtype, machine))

    all_parts = {parts_of(g, first, (k, c), lanes): (k, c) for k, c in product(reversed(PARTS), repeat=2)}
    cuts = {cut(g, first, parts, tiles): None for parts in all_parts for tiles in chunks_for(form, parts, dtype, machine)}
    found = list(map(candidate, cuts))
    yield from found
    best: Cut = cheapest(found).cut
    most = all_parts[best.k_part, best.c_part]
    for tile in others:
        yield candidate(Cut(form, tile, *parts_of(g, tile, most, lanes), best.chunk))


@remembered
def draft(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> Launch:
    """What runs."""
    g, lanes, line = geometry, machine.lanes(dtype), LINE // dtype.itemsize
    c_pitch, k_pitch = (-(-part // line) * line + line for part in (cut.c_part, cut.k_part))
    grid = grid_of(g, cut.chunk, c_pitch, k_pitch, 1)
    tiles = cut.chunk[0] * (cut.chunk[1] // cut.form[0]) * (cut.chunk[2] // cut.form[1])
    taps = prod(g.kernel[1:])
    k_parts, c_parts = -(-g.out_per_group // cut.k_part), -(-g.in_per_group // cut.c_part)
    size = cut.k_part * taps * cut.c_part + lanes * (cut.c_part + 1)
    size = -(-size // line) * line
    blocks = g.groups * c_parts * g.kernel[0] * k_parts
    b = sums.Blocks(
        groups=g.groups,
        c_group=g.in_per_group,
        k_group=g.out_per_group,
        taps=g.taps,
        block_taps=taps,
        k_part=cut.k_part,
        k_parts=k_parts,
        c_part=cut.c_part,
        c_parts=c_parts,
        t_parts=g.kernel[0],
        row=taps * cut.c_part,
        pitch=cut.c_part,
        sums=size,
        slices=slices_for(g, cut, dtype),
    )
    s = Sizes(
        grid=grid,
        blocks=b,
        dilation_d=g.dilation[0],
        m=Plane(*cut.form),
        tiles=tiles,
        v_plane=plane_pitch(tiles * c_pitch, line),
        d_plane=plane_pitch(tiles * k_pitch, line),
        m_plane=plane_pitch(cut.k_part * cut.c_part, line),
    )
    chosen = kernel(cut.form, cut.tile, lanes, g.channels_last, element(dtype), machine.isa)
    return launched(chosen, blocks, b, written(s), g, dtype, machine)
