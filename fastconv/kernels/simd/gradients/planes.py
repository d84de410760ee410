"""The gradient by a depthwise convolution's weights, channels first: vectors of positions of a row.

    dw [k][t] = sum over n, h, w of dy [n][k][h][w] * x [n][c][cell(h, w) + t]

An item is an output channel, a slice of the kernel and a slice of the positions. The rows under a chunk are copied with their
padding, each stride-th cell beside the next; the lanes of each tap's vector are added up at the end.
"""

from collections.abc import Iterator
from functools import lru_cache, partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled, element, inlined
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.costs import CALL, Candidate
from fastconv.kernels.simd.engine.sizes import reader, written
from fastconv.kernels.simd.engine.tables import Tile
from fastconv.kernels.simd.engine.windows import cell_under, runs
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.kernels.simd.gradients import taps
from fastconv.kernels.simd.gradients.chunks import MOST_COPIED, Grid, chunk_of, grid_of, reach_of
from fastconv.kernels.simd.gradients.taps import Launch, first_row
from fastconv.machine import Machine
from fastconv.problem.borders import CONSTANT, ZERO_FILL
from fastconv.problem.convolutions import ConvGeometry

peek, poke, pointer = vector.peek, vector.poke, vector.pointer

ROOM = 32 << 10  # bytes of a chunk's rows


class Sizes(NamedTuple):
    """The sizes of a call.

    Attributes
    ----------
    grid : Grid
        How positions are cut; a chunk has whole rows of one plane.
    dilation_d, depths, taps : int
        Cells from one slice of the kernel to the next, slices, and taps in all.
    channels, multiple : int
        Of dy, and of dy for each of x.
    slices, stacks : int
        Slices of the positions, stacks of a slice of the kernel.
    phase, row : int
        Elements of the copy from one phase of the stride, and one row, to the next.
    """

    grid: Grid
    dilation_d: int
    depths: int
    taps: int
    channels: int
    multiple: int
    slices: int
    stacks: int
    phase: int
    row: int


class Parts(NamedTuple):
    """Of a thread's memory: a chunk's rows, sums [stack][r][s], the lanes of a tile's added up."""

    rows: int
    sums: int
    taps: int


read, carve = reader(Sizes), workspace(Parts)


@lru_cache(maxsize=16)
def cells_copier(lanes: int, stride: int) -> Any:
    """The compiled to [phase][i] = `count` cells from `line` on, the first of which is cell `begin` of the copy."""

    def copy_one_apart(to, line, begin, count, phase):
        to, whole = to + begin, count - count % lanes
        for i in range(0, whole, lanes):
            vector.store(to + i, vector.load(line + i, lanes))
        if whole < count:
            vector.store_first(to + whole, vector.load_first(line + whole, count - whole, lanes), count - whole)

    def copy_two_apart(to, line, begin, count, phase):
        even = to + (begin % 2 * phase + begin // 2)
        odd = to + ((begin + 1) % 2 * phase + (begin + 1) // 2)
        whole = count - count % (2 * lanes)
        for i in range(0, whole, 2 * lanes):
            a, b = vector.load(line + i, lanes), vector.load(line + (i + lanes), lanes)
            vector.store(even + i // 2, vector.every_second(a, b))
            vector.store(odd + i // 2, vector.every_other(a, b))
        left, i = count - whole, whole // 2
        if left > 0:
            a = vector.load_first(line + whole, left, lanes)
            b = vector.load_first(line + (whole + min(left, lanes)), left - lanes, lanes)
            vector.store_first(even + i, vector.every_second(a, b), (left + 1) // 2)
            vector.store_first(odd + i, vector.every_other(a, b), left // 2)

    def copy_apart(to, line, begin, count, phase):
        for i in range(count):
            poke(to + ((begin + i) % stride * phase + (begin + i) // stride), peek(line + i))

    return compiled({1: copy_one_apart, 2: copy_two_apart}.get(stride, copy_apart))


@lru_cache(maxsize=16)
def row_copier(lanes: int, stride: int) -> Any:
    """The compiled to [phase][i] = the cell i * stride + phase of a row from `corner` on, padding filled in."""
    copy, (_, clear) = cells_copier(lanes, stride), runs(lanes)

    @compiled
    def copy_border(to, begin, end, line, corner, s):
        """The cells that others of the row stand for."""
        for i in range(begin, end):
            cell = cell_under(corner + i, s.grid.cells.w, s.grid.mode)
            if cell >= 0:
                poke(to + (i % stride * s.phase + i // stride), peek(line + cell))

    def copy_row(to, line, corner, count, fill, s):
        begin = min(count, max(0, -corner))
        end = max(begin, min(count, s.grid.cells.w - corner))
        if begin > 0 or end < count:
            clear(to, fill, s.row)
            if s.grid.mode != ZERO_FILL and s.grid.mode != CONSTANT:
                copy_border(to, 0, begin, line, corner, s)
                copy_border(to, end, count, line, corner, s)
        copy(to, line + (corner + begin), begin, end - begin, s.phase)

    return compiled(copy_row)


@lru_cache(maxsize=16)
def adder(tile: Tile, lanes: int, apart: int, phases: int) -> Any:
    """The compiled sums [r][s] of a stack of taps, over a chunk's positions."""
    rows, columns = tile

    def add(to, cells, y, chunk, begins, s):
        g, step = s.grid, columns * lanes
        down, whole = g.dilation.h * s.row, chunk.size.w - chunk.size.w % lanes
        tile = vector.zeros(to, rows, columns, lanes) if begins else vector.load_tile(to, step, rows, columns, lanes)
        for h in range(chunk.size.h):
            at, factors = cells + h * g.stride.h * s.row, y + h * g.y.h
            for w in range(0, whole, lanes):
                tile = vector.fma_taps(tile, at + w, down, s.phase, apart, phases, factors + w)
            if whole < chunk.size.w:
                count = chunk.size.w - whole
                tile = vector.fma_taps_first(tile, at + whole, down, s.phase, apart, phases, factors + whole, count)
        vector.store_tile(tile, to, step)

    return inlined(add)


@lru_cache(maxsize=32)
def kernel(tile: Tile, lanes: int, steps: tuple[int, int], dtype: str, isa: str) -> Kernel:
    """The compiled loops over channels and chunks of rows: f32_gradient_planes_3x3_avx512."""
    (rows, columns), (stride, dilation) = tile, steps
    apart, phases = (dilation // stride, 1) if dilation % stride == 0 else (1, stride)
    size = rows * columns * lanes
    copy_row, add, (_, clear) = row_copier(lanes, stride), adder(tile, lanes, apart, phases), runs(lanes)
    write = taps.lane_writer(tile, lanes)

    @compiled
    def copy_chunk(x, chunk, channel, depth, fill, work, s):
        """The rows under a chunk's outputs."""
        g, reach = s.grid, reach_of(chunk.size, s.grid)
        n, d = divmod(chunk.first.d, g.outputs.d)
        d = cell_under(d * g.stride.d - g.padding.d + depth * s.dilation_d, g.cells.d, g.mode)
        plane = pointer(x) + (n * g.x.n + channel * g.x.c + max(0, d) * g.x.d)
        for i in range(reach.h):
            h = cell_under(chunk.first.h * g.stride.h - g.padding.h + i, g.cells.h, g.mode)
            to, corner = work.rows + i * s.row, chunk.first.w * g.stride.w - g.padding.w
            if d < 0 or h < 0:
                clear(to, fill, s.row)
            else:
                copy_row(to, plane + h * g.x.h, corner, reach.w, fill, s)

    def gradient(begin, end, x, dy, dw, sizes, parameters):
        """dw [k][t] = sum over n, h, w of dy [n][k][h][w] * x [n][c][cell(h, w) + t]"""
        s = read(sizes)
        g, fill = s.grid, parameters[0]
        reach = reach_of(g.chunk, g)
        work, memory = carve(Parts(rows=reach.h * s.row + lanes, sums=s.stacks * size, taps=rows * columns + lanes), x)
        chunks = g.chunks.d * g.chunks.h * g.chunks.w
        for item in range(begin, end):
            rest, depth = divmod(item, s.depths)
            part, k = divmod(rest, s.channels)
            first, last = part * chunks // s.slices, (part + 1) * chunks // s.slices
            for at in range(first, last):
                chunk = chunk_of(at, g)
                copy_chunk(x, chunk, k // s.multiple, depth, fill, work, s)
                n, d = divmod(chunk.first.d, g.outputs.d)
                y = pointer(dy) + (n * g.y.n + k * g.y.c + d * g.y.d + chunk.first.h * g.y.h + chunk.first.w * g.y.w)
                for stack in range(s.stacks):
                    down = first_row(stack, s.stacks, rows, g.taps.h) * g.dilation.h * s.row
                    add(work.sums + stack * size, work.rows + down, y, chunk, at == first, s)
            to = pointer(dw) + ((part * s.channels + k) * s.taps + depth * g.taps.h * columns)
            write(work.sums, s.stacks, g.taps.h, work.taps, to)
        keep(memory)

    gradient.__name__ = f"{dtype}_gradient_planes_{rows}x{columns}_s{stride}_{lanes}_{isa}"
    return Kernel(gradient)


# Decisions --------------------------------------------------------------------------------------------------------------


class Cut(NamedTuple):
    """How a problem is cut: the stacks of its kernel, lanes of a vector, and planes, rows and columns of a chunk."""

    stacks: taps.Stacks
    lanes: int
    chunk: tuple[int, int, int]


def supports(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> str | None:
    """Channels first, a stride or a dilation along the rows, or a dilation that is a multiple of the stride."""
    g = geometry
    if g.channels_last:
        return "it serves channels first"
    if g.dilation[-1] > 1 and g.dilation[-1] % g.stride[-1]:
        return f"it serves a stride or a dilation along the rows, not {g.stride[-1]} and {g.dilation[-1]}"
    if g.lifted().window[1] * row_of(g.lifted(), 8 * machine.lanes(dtype))[1] > MOST_COPIED:
        return f"rows of outputs {g.stride[-1]:,} cells apart would be copied"
    return taps.supports(g, machine)


def row_of(geometry: ConvGeometry, columns: int) -> tuple[int, int]:
    """(elements of a phase, of a row) of a copy of the cells under so many outputs."""
    stride, reach = geometry.stride[2], (columns - 1) * geometry.stride[2] + geometry.window[2]
    phase = -(-reach // stride)
    return phase, stride * phase


def candidates(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> Iterator[Candidate]:
    """Whole rows where they are not too long."""
    g = geometry.lifted()
    high, wide = g.out_size[1:]
    lanes = machine.lanes_for(wide, dtype)
    stacks = taps.stacks_of(g, machine)
    assert stacks is not None
    room = ROOM // dtype.itemsize
    columns = min(wide, max(8 * lanes, room // (g.window[1] * g.stride[2]) // lanes * lanes))
    rows = min(high, max(1, (room // max(1, row_of(g, columns)[1]) - g.window[1]) // g.stride[1] + 1))
    rows = -(-high // max(1, -(-high // max(1, rows))))
    cut = Cut(stacks, lanes, (1, max(1, rows), max(1, columns)))
    planes, vectors = g.batch * g.out_size[0] * g.out_channels * g.kernel[0], -(-wide // lanes)
    reach = 150 + (high * g.stride[1] + g.window[1]) * (25 + 3.0 * vectors * g.stride[2] * (1 if g.stride[2] < 3 else lanes))
    cycles = planes * (high * (vectors * taps.cycles(stacks, machine) + 8) + reach) + g.out_channels * 15 * g.taps
    yield Candidate(machine.seconds(CALL + cycles, g.bytes(dtype.itemsize)), cut, partial(draft, g, cut, dtype, machine))


@remembered
def draft(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> Launch:
    """What runs."""
    g = geometry
    grid = grid_of(g, cut.chunk, 1, 1, 1)
    phase, row = row_of(g, cut.chunk[2])
    items = g.out_channels * g.kernel[0]
    slices = taps.slices_for(items, prod(grid.chunks))
    s = Sizes(
        grid=grid,
        dilation_d=g.dilation[0],
        depths=g.kernel[0],
        taps=g.taps,
        channels=g.out_channels,
        multiple=g.out_per_group,
        slices=slices,
        stacks=cut.stacks.stacks,
        phase=phase,
        row=row,
    )
    steps = grid.stride.w, g.dilation[2]
    made = kernel(cut.stacks.tile, cut.lanes, steps, element(dtype), machine.isa)
    return Launch(made, items * slices, max(1, g.flops // 4), slices, written(s), taps.parameters_of(g, dtype))
