"""The gradient by a depthwise convolution's weights: vectors of channels.

    dw [c][t] = sum over p of dy [p][c] * x [cell(p) + t][c]

An item is a block of vectors of channels, a slice of the kernel and a slice of the positions. The cells under a chunk are
copied with their padding, a cache line more than a block apart: else those under a tile fall into a few sets of the L1 cache.
Channels last, dy is read where it lies; it is copied where its channels fill no vectors or are several for one of x. Channels
first both are turned, a block at a time, which pays for small maps.
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
from fastconv.kernels.simd.engine.sizes import reader, written
from fastconv.kernels.simd.engine.tables import Tile
from fastconv.kernels.simd.engine.windows import runs
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.kernels.simd.gradients import taps
from fastconv.kernels.simd.gradients.chunks import (
    MOST_COPIED,
    Grads,
    Grid,
    Part,
    chunk_of,
    chunk_within,
    grads_of,
    grid_of,
    packers,
    reach_of,
    refusal,
)
from fastconv.kernels.simd.gradients.taps import Launch, first_row
from fastconv.machine import Machine
from fastconv.problem.convolutions import ConvGeometry

peek, poke, pointer = vector.peek, vector.poke, vector.pointer

BLOCKS = (1, 2, 4, 8, 16)  # vectors of channels of a block
FEW = 4  # of the smallest block that is tried
OF_PIECES = 20.0  # cycles of a position's pieces, if a vector were one


class Sizes(NamedTuple):
    """The sizes of a call.

    Attributes
    ----------
    grid : Grid
        How positions are cut; of the grid's kernel one slice.
    dilation_d, depths, taps : int
        Cells from one slice of the kernel to the next, slices, and taps in all.
    channels, multiple : int
        Of x, and of dy for each of x.
    parts, slices, stacks : int
        Blocks of channels, slices of the positions, stacks of a slice of the kernel.
    copied : int
        Whether dy is copied.
    """

    grid: Grid
    dilation_d: int
    depths: int
    taps: int
    channels: int
    multiple: int
    parts: int
    slices: int
    stacks: int
    copied: int


class Parts(NamedTuple):
    """Of a thread's memory: copies of x and dy, sums [vector][stack][r][s], a vector's in order."""

    windows: int
    grads: int
    sums: int
    taps: int


class Tables(NamedTuple):
    """Offsets of the rows of a square."""

    steps: int


class Item(NamedTuple):
    """The slice of positions, first channel, how many, slice of the kernel and which of an x channel's outputs."""

    part: int
    channel: int
    channels: int
    depth: int
    other: int


read, carve, carve_tables = reader(Sizes), workspace(Parts), workspace(Tables)


@compiled
def item_of(number, block, s):
    """What an item sums."""
    rest, other = divmod(number, s.multiple)
    rest, depth = divmod(rest, s.depths)
    part, channel = divmod(rest, s.parts)
    return Item(part, channel * block, min(block, s.channels - channel * block), depth, other)


@compiled
def copy_grads(dy, chunk, item, to, s):
    """to [p][c] = dy [p][channel * multiple + other] of a chunk's positions and an item's channels."""
    g, size = s.grid, chunk.size
    for i in range(size.d):
        n, depth = divmod(chunk.first.d + i, g.outputs.d)
        for h in range(size.h):
            row = n * g.y.n + depth * g.y.d + (chunk.first.h + h) * g.y.h + chunk.first.w * g.y.w
            for w in range(size.w):
                at = pointer(dy) + (row + w * g.y.w + (item.channel * s.multiple + item.other) * g.y.c)
                cell = to + ((i * size.h + h) * size.w + w) * g.k_pitch
                for c in range(item.channels):
                    poke(cell + c, peek(at + c * s.multiple * g.y.c))


@lru_cache(maxsize=16)
def adder(tile: Tile, lanes: int, apart: int) -> Any:
    """The compiled sums [r][s] of a stack of taps, over a chunk's positions."""
    rows, columns = tile

    def add(to, windows, grads, chunk, begins, g):
        reach, size = reach_of(chunk.size, g), chunk.size
        down = g.dilation.h * reach.w * g.c_pitch
        step = columns * lanes
        tile = vector.zeros(to, rows, columns, lanes) if begins else vector.load_tile(to, step, rows, columns, lanes)
        for i in range(size.d):
            for h in range(size.h):
                cells = windows + (i * reach.h + h * g.stride.h) * reach.w * g.c_pitch
                y = grads.at + (i * grads.plane + h * grads.row)
                for w in range(size.w):
                    at = cells + w * g.stride.w * g.c_pitch
                    tile = vector.fma_taps(tile, at, down, 0, apart, 1, y + w * grads.column)
        vector.store_tile(tile, to, step)

    return inlined(add)


@lru_cache(maxsize=32)
def kernel(tile: Tile, lanes: int, steps: tuple[int, int], channels_last: bool, dtype: str, isa: str) -> Kernel:
    """The compiled loops over blocks of channels and chunks of positions: f32_gradient_channels_3x3_16_avx512."""
    rows, columns = tile
    (pitch, dilation), size, line = steps, rows * columns * lanes, LINE // bytes_of(dtype)
    pack_windows, pack_grads = packers(lanes, channels_last)
    add, write, (_, clear) = adder(tile, lanes, dilation * (pitch + line)), taps.writer(tile, lanes), runs(lanes)

    def gradient(begin, end, x, dy, dw, sizes, parameters):
        """dw [c][t] = sum over p of dy [p][c] * x [cell(p) + t][c]"""
        s = read(sizes)
        g, fill, zero = s.grid, parameters[0], parameters[1]
        parts = Parts(
            windows=g.chunk.d * g.windows + pitch,
            grads=s.copied * (g.chunk.d * g.grads + pitch),
            sums=pitch // lanes * s.stacks * size,
            taps=(g.taps.h * columns + lanes) * lanes,
        )
        work, memory = carve(parts, x)
        tables, integers = carve_tables(Tables(steps=lanes), sizes)
        clear(work.windows, zero, parts.windows)  # lanes without a channel are multiplied too: let them be numbers
        clear(work.grads, zero, parts.grads)
        for number in range(begin, end):
            item, chunks = item_of(number, pitch, s), g.chunks.d * g.chunks.h * g.chunks.w
            inputs = Part(item.channel, item.channels, item.depth * s.dilation_d)
            outputs = Part(item.channel, item.channels, 0)
            first, last = item.part * chunks // s.slices, (item.part + 1) * chunks // s.slices
            for at in range(first, last):
                chunk = chunk_of(at, g)
                pack_windows(x, fill, chunk, inputs, work.windows, tables.steps, g)
                if s.multiple > 1:
                    copy_grads(dy, chunk, item, work.grads, s)
                elif s.copied != 0:
                    pack_grads(dy, zero, chunk, outputs, work.grads, tables.steps, g)
                grads = grads_of(work.grads, dy, item.channel, s.copied, chunk, g)
                for stack in range(s.stacks):
                    reach = reach_of(chunk.size, g)
                    down = first_row(stack, s.stacks, rows, g.taps.h) * g.dilation.h * reach.w * g.c_pitch
                    for c in range(0, item.channels, lanes):
                        of_vector = Grads(grads.at + c, grads.plane, grads.row, grads.column)
                        to = work.sums + (c // lanes * s.stacks + stack) * size
                        add(to, work.windows + (down + c), of_vector, chunk, at == first, g)
            for c in range(0, item.channels, lanes):
                k = (item.channel + c) * s.multiple + item.other
                to = pointer(dw) + ((item.part * s.channels * s.multiple + k) * s.taps + item.depth * g.taps.h * columns)
                sums, count = work.sums + c // lanes * s.stacks * size, min(lanes, item.channels - c)
                write(sums, s.stacks, g.taps.h, work.taps, count, to, s.multiple * s.taps)
        keep(memory)
        keep(integers)

    gradient.__name__ = f"{dtype}_gradient_channels_{rows}x{columns}_{pitch // lanes}_{isa}"
    return Kernel(gradient)


# Decisions --------------------------------------------------------------------------------------------------------------


class Cut(NamedTuple):
    """How a problem is cut: the stacks of its kernel, channels of a block, planes, rows and columns of a chunk of positions."""

    stacks: taps.Stacks
    pitch: int
    chunk: tuple[int, int, int]


def supports(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> str | None:
    """Such kernels whose windows can be copied."""
    return taps.supports(geometry, machine) or refusal(geometry.lifted(), 1, BLOCKS[-1] * machine.lanes(dtype))


def is_copied(geometry: ConvGeometry, lanes: int) -> bool:
    """Whether vectors of dy are not those of x: channels first, several for one of x, vectors that end beyond the last."""
    return not geometry.channels_last or geometry.out_per_group > 1 or geometry.in_channels % lanes > 0


def candidates(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> Iterator[Candidate]:
    """Chunks whose cells take a quarter of the L2 cache; of half lines, smaller blocks in larger chunks too."""
    vectors = -(-geometry.in_channels // machine.lanes(dtype))
    most = next((one for one in BLOCKS if one >= vectors), BLOCKS[-1])
    least = min(most, FEW) if machine.vector_bytes < LINE else most
    yield from (candidate(geometry, block, dtype, machine) for block in BLOCKS if least <= block <= most)


def candidate(geometry: ConvGeometry, block: int, dtype: np.dtype[Any], machine: Machine) -> Candidate:
    """That of blocks of so many vectors."""
    g, lanes = geometry.lifted(), machine.lanes(dtype)
    stacks = taps.stacks_of(g, machine)
    assert stacks is not None
    vectors, pitch = -(-g.in_channels // lanes), lanes * block
    room = machine.l2 // (4 * dtype.itemsize * pitch)
    wide = g.out_size[2]
    chunk = chunk_within(g, 1, max(16, room // prod(g.stride[1:]) - wide * g.kernel[1]), MOST_COPIED // pitch)
    vectors, positions = vectors * g.out_per_group * g.kernel[0], g.batch * prod(g.out_size)
    reach = prod(n * step + extent - step for n, step, extent in zip(chunk[1:], g.stride[1:], g.window[1:], strict=True))
    wide = max(1, wide)
    turned = 3.0 if g.channels_last else 4.5 * -(-wide // lanes) * lanes / wide
    copied = turned * positions / max(1, prod(chunk[1:])) * reach
    if machine.vector_bytes < LINE:
        copied += OF_PIECES / block * positions
    if is_copied(g, lanes):
        copied += positions * (1.5 * lanes if g.out_per_group > 1 else 3.0 if g.channels_last else 8.0)
    cycles = vectors * (positions * taps.cycles(stacks, machine) + copied + 20 * g.taps)
    seconds = machine.seconds(CALL + cycles, g.bytes(dtype.itemsize))
    cut = Cut(stacks, pitch, chunk)
    return Candidate(seconds, cut, partial(draft, g, cut, dtype, machine))


@remembered
def draft(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> Launch:
    """What runs."""
    g, lanes, pitch = geometry, machine.lanes(dtype), cut.pitch
    grid = grid_of(g, cut.chunk, pitch + LINE // dtype.itemsize, pitch, 1)
    parts = -(-g.in_channels // pitch)
    items = parts * g.kernel[0] * g.out_per_group
    slices = taps.slices_for(items, prod(grid.chunks))
    s = Sizes(
        grid=grid,
        dilation_d=g.dilation[0],
        depths=g.kernel[0],
        taps=g.taps,
        channels=g.in_channels,
        multiple=g.out_per_group,
        parts=parts,
        slices=slices,
        stacks=cut.stacks.stacks,
        copied=int(is_copied(g, lanes)),
    )
    made = kernel(cut.stacks.tile, lanes, (pitch, g.dilation[2]), g.channels_last, element(dtype), machine.isa)
    return Launch(made, items * slices, max(1, g.flops // 4), slices, written(s), taps.parameters_of(g, dtype))
