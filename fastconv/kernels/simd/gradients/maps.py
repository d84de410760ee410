"""The gradient by a depthwise convolution's weights, channels first: vectors of positions, x and dy read where they lie.

    dw [k][r, s] = sum over n, h, w of dy [n][k][h][w] * x [n][c][h * stride + r - padding][w * stride + s - padding]

An item is a block of output channels, a slice of the kernel and a slice of the rows of outputs. Vectors go down a map, some
rows of outputs at a time: a vector of x is loaded once for all taps and rows of outputs that it meets, one of dy for all taps.
Cells of padding are left out by masks, rows of padding are read from a line of zeros. The lanes of each tap's vector are added
up at the end.
"""

from collections.abc import Iterator
from functools import lru_cache, partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled, element, inlined
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import requests
from fastconv.kernels.simd.engine.costs import CALL, Candidate
from fastconv.kernels.simd.engine.sizes import reader, written
from fastconv.kernels.simd.engine.tables import Tile
from fastconv.kernels.simd.engine.windows import runs
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.kernels.simd.gradients import taps
from fastconv.kernels.simd.gradients.taps import Launch, Places, first_row
from fastconv.machine import Machine
from fastconv.problem.borders import ZERO_FILL
from fastconv.problem.convolutions import ConvGeometry

address, poke, pointer = vector.address, vector.poke, vector.pointer

TOGETHER = 8  # rows of outputs at most that go down a map together
BLOCK, SUMS = 16, 16 << 10  # channels of a block at most, and bytes of their sums
ROOM = 24 << 10  # bytes of the maps that are read together
MANY = 5  # taps of a row whose kernels leave registers to spare
LONGEST = 1 << 16  # rows under a map, which a table tells of, and cells of a row of zeros


class Form(NamedTuple):
    """What a kernel is compiled for.

    Attributes
    ----------
    rows, columns : int
        Taps of a stack.
    together : int
        Rows of outputs.
    down, across, apart : int
        Cells from one output to the next of either axis, those down where several go together, and from one tap of a row to
        the next.
    ahead : bool
        Whether the next map is asked for, which comes sooner than where the processor sees streams begin.
    """

    rows: int
    columns: int
    together: int
    down: int
    across: int
    apart: int
    ahead: bool


class Sizes(NamedTuple):
    """The sizes of a call.

    Attributes
    ----------
    at : Places
        Where x and dy lie, and the windows on them.
    channels, multiple : int
        Of dy, and of dy for each of x.
    block, blocks, few : int
        Channels of a block at most, blocks, and channels of a block whose maps are read together.
    rows, slices, stacks : int
        Rows of outputs in all, slices of them, stacks of a slice of the kernel.
    """

    at: Places
    channels: int
    multiple: int
    block: int
    blocks: int
    few: int
    rows: int
    slices: int
    stacks: int


class Parts(NamedTuple):
    """Of a thread's memory: sums [channel][stack][r][s], the lanes of a tile's added up, a line of zeros."""

    sums: int
    taps: int
    zeros: int


class Tables(NamedTuple):
    """The rows under a map, from the first of padding on, two numbers each; the same of a plane of padding."""

    lines: int


class Maps(NamedTuple):
    """Rows of outputs of a few channels.

    Attributes
    ----------
    sums : Pointer
        Of the first channel and a stack of taps.
    x, y : Pointer
        The first channel's plane, and its first output.
    lines : Pointer
        Where the rows under a map lie, from those of a stack's first taps on.
    begin, end : int
        The rows begin .. end - 1 are meant.
    """

    sums: Any
    x: Any
    y: Any
    lines: Any
    begin: int
    end: int


read, carve, carve_tables = reader(Sizes), workspace(Parts), workspace(Tables)


def reach_of(form: Form, lanes: int) -> int:
    """Cells of a row that are read for a vector of outputs."""
    behind = (form.columns - 1) * form.apart if form.across == 1 else vector.rest_of(form.columns)
    return lanes * form.across + behind


@compiled
def lines_under(s):
    """Rows under a map, of padding too."""
    return (s.at.outputs.h - 1) * s.at.stride.h + (s.at.taps.h - 1) * s.at.dilation.h + 1


@compiled
def find_lines(lines, zeros, itemsize, s):
    """The table of lines."""
    count, before = lines_under(s), s.at.padding.h
    for i in range(count):
        inside = before <= i < before + s.at.cells.h
        poke(lines + 2 * i, -1 if inside else 0)
        poke(lines + (2 * i + 1), (i - before) * s.at.x.h * itemsize if inside else address(zeros))
        poke(lines + 2 * (count + i), 0)
        poke(lines + (2 * (count + i) + 1), address(zeros))


@lru_cache(maxsize=32)
def adder(form: Form, lanes: int, masked: bool) -> Any:
    """The compiled sums [r][s] of a stack of taps, over a vector of columns of a few channels' maps."""
    (rows, columns, together, down, across, apart, ahead), partly = form, int(masked)
    size = rows * columns * lanes
    ask, ask_y = requests.asker(together * down, across, lanes), requests.asker(together, 1, lanes)

    def add(maps, channels, w, s):
        g = s.at
        stride, step, left, wide, count = (g.stride.h, g.dilation.h, w * across - g.padding.w, g.cells.w, g.outputs.w - w)
        for i in range(channels):
            x, to = maps.x + i * g.x.c, maps.sums + i * s.stacks * size
            tile = vector.load_tile(to, columns * lanes, rows, columns, lanes)
            for phase in range(step):
                h = maps.begin + phase
                while h < maps.end:
                    if ahead:
                        ask(x + (g.x.c + (h * stride - g.padding.h) * g.x.h + w * across), g.x.h)
                        ask_y(maps.y + ((i + 1) * g.y.c + h * g.y.h + w), g.y.h)
                    lines, y = maps.lines + 2 * h * stride, maps.y + (i * g.y.c + h * g.y.h + w)
                    if h + (together - 1) * step < maps.end:
                        tile = vector.fma_taps_down(
                            tile, x, lines, step, left, wide, y, step * g.y.h, count, together, down, across, apart, partly
                        )
                        h += together * step
                    else:
                        tile = vector.fma_taps_down(
                            tile, x, lines, step, left, wide, y, 0, count, 1, down, across, apart, partly
                        )
                        h += step
            vector.store_tile(tile, to, columns * lanes)

    return inlined(add)


@lru_cache(maxsize=32)
def kernel(form: Form, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over blocks of channels and rows of outputs: f32_gradient_maps_3x3s1_7_16_avx512."""
    rows, columns, together, _, across, _, ahead = form
    size, reach = rows * columns * lanes, reach_of(form, lanes)
    add_inside, add_masked = adder(form, lanes, False), adder(form, lanes, True)
    write, (_, clear) = taps.lane_writer(Tile(rows, columns), lanes), runs(lanes)

    @inlined
    def add(maps, channels, s):
        """The sums of a stack of taps, over all columns."""
        for w in range(0, s.at.outputs.w, lanes):
            left = w * across - s.at.padding.w
            if left >= 0 and left + reach <= s.at.cells.w and w + lanes <= s.at.outputs.w:
                add_inside(maps, channels, w, s)
            else:
                add_masked(maps, channels, w, s)

    def gradient(begin, end, x, dy, dw, sizes, parameters):
        """dw [k][r, s] = sum over n, h, w of dy [n][k][h][w] * x [n][c][h * stride + r - padding][w * stride + s - padding]"""
        s = read(sizes)
        line, under = s.at.outputs.w * across + reach, lines_under(s)
        work, memory = carve(Parts(sums=s.block * s.stacks * size, taps=rows * columns + lanes, zeros=line), x)
        tables, integers = carve_tables(Tables(lines=4 * under), sizes)
        clear(work.zeros, parameters[1], line)
        find_lines(tables.lines, work.zeros + s.at.padding.w, x.itemsize, s)
        for number in range(begin, end):
            rest, depth = divmod(number, s.at.taps.d)
            part, block = divmod(rest, s.blocks)
            channels = min(s.block, s.channels - block * s.block)
            clear(work.sums, parameters[1], channels * s.stacks * size)
            row, last = part * s.rows // s.slices, (part + 1) * s.rows // s.slices
            while row < last:
                plane, h = divmod(row, s.at.outputs.h)
                n, d = divmod(plane, s.at.outputs.d)
                below = min(s.at.outputs.h, h + last - row)
                d_x = d * s.at.stride.d - s.at.padding.d + depth * s.at.dilation.d
                lines = tables.lines + (0 if 0 <= d_x < s.at.cells.d else 2 * under)
                for first in range(0, channels, s.few):
                    count, k = min(s.few, channels - first), block * s.block + first
                    at = pointer(x) + (n * s.at.x.n + k // s.multiple * s.at.x.c + d_x * s.at.x.d)
                    y = pointer(dy) + (n * s.at.y.n + k * s.at.y.c + d * s.at.y.d)
                    for stack in range(s.stacks):
                        sums = work.sums + (first * s.stacks + stack) * size
                        top = first_row(stack, s.stacks, rows, s.at.taps.h) * s.at.dilation.h
                        add(Maps(sums, at, y, lines + 2 * top, h, below), count, s)
                row += below - h
            count = s.at.taps.h * columns
            for i in range(channels):
                k = part * s.channels + block * s.block + i
                to = pointer(dw) + ((k * s.at.taps.d + depth) * count)
                write(work.sums + i * s.stacks * size, s.stacks, s.at.taps.h, work.taps, to)
        keep(memory)
        keep(integers)

    gradient.__name__ = f"{dtype}_gradient_maps_{rows}x{columns}s{across}_{together}_{lanes}{'_ahead' * ahead}_{isa}"
    return Kernel(gradient)


# Decisions --------------------------------------------------------------------------------------------------------------


class Cut(NamedTuple):
    """How a problem is cut: what the kernel is compiled for, stacks of its taps, lanes, channels of a block and together."""

    form: Form
    stacks: int
    lanes: int
    block: int
    few: int


def supports(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> str | None:
    """Channels first, a border of zeros, a stride of one or two, or a dilation, where masked vectors are cheap."""
    g = geometry.lifted()
    if g.channels_last:
        return "it serves channels first"
    if g.in_per_group != 1:
        return f"it serves one input channel a group, not {g.in_per_group}"
    if machine.vector_bytes < 32:
        return "it serves machines whose vectors have masks"
    if g.mode != ZERO_FILL:
        return f"it serves borders of zeros, not {g.border.mode!r}"
    if g.stride[2] > 2 or (g.stride[2] == 2 and (g.dilation[2] > 1 or g.kernel[2] > 9)):
        return f"it serves a stride of one, or two without dilation, along rows of few taps, not {g.stride[2]}"
    if g.dilation[1] > 1 and g.stride[1] > 1:
        return "it serves a stride or a dilation down"
    under = g.stride[1] * g.out_size[1] + g.window[1], g.stride[2] * g.out_size[2] + g.window[2]
    if max(under) > LONGEST:
        return f"it serves maps of {LONGEST:,} rows and columns at most"
    return taps.refusal(g, machine)


def together_for(rows: int, most: int) -> int:
    """The rows of outputs that go together: those that leave the fewest to go alone."""
    return min(range(1, min(rows, most) + 1), key=lambda n: (rows // n) * (n + 1.5) + 2.5 * (rows % n), default=1)


def candidates(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> Iterator[Candidate]:
    """Blocks of channels that lie together, of equal size."""
    g = geometry.lifted()
    (_, high, wide), lanes = g.out_size, machine.lanes_for(g.out_size[2], dtype)
    stacks = taps.stacks_of(g, machine, columns=True)
    assert stacks is not None
    rows, columns = stacks.tile
    together = together_for(-(-high // g.dilation[1]), TOGETHER) if g.stride[1] < rows else 1  # else no row meets two
    down = g.stride[1] if together > 1 else 1
    of_map = dtype.itemsize * (prod(g.in_size[1:]) + prod(g.out_size[1:]))
    ahead = 2 * of_map > ROOM and g.stride[1] <= 2 and g.bytes(dtype.itemsize) > machine.l2
    form = Form(rows, columns, together, down, g.stride[2], g.dilation[2], ahead)
    size = stacks.stacks * rows * columns * lanes * dtype.itemsize
    block = max(1, min(BLOCK, SUMS // size, g.out_channels * g.kernel[0] // taps.SHARES))
    block = -(-g.out_channels // max(1, -(-g.out_channels // block)))
    planes = g.batch * g.out_size[0] * g.out_channels * g.kernel[0]

    def cycles(outputs: int) -> float:
        cells = (outputs - 1) * down + rows
        loads = cells * (columns if g.stride[2] == 1 else columns + max(3, columns)) + outputs
        sums = outputs * rows * columns / min(2, machine.units)
        return (1.0 if columns <= MANY else 1.3) * max(loads, sums) + 6

    each = high // together * cycles(together) + high % together * cycles(1)
    of_plane = stacks.stacks * (-(-wide // lanes) * (each + 15) + 1.5 * rows * columns + 15)
    total = planes * of_plane + g.out_channels * 15 * g.taps
    few = max(1, min(block, ROOM // max(1, of_map))) if g.out_per_group == 1 else 1
    cut = Cut(form, stacks.stacks, lanes, max(1, block), few)
    yield Candidate(machine.seconds(CALL + total, g.bytes(dtype.itemsize)), cut, partial(draft, g, cut, dtype, machine))


@remembered
def draft(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> Launch:
    """What runs."""
    g = geometry
    blocks, rows = -(-g.out_channels // cut.block), g.batch * prod(g.out_size[:2])
    items = blocks * g.kernel[0]
    slices = taps.slices_for(items, rows)
    s = Sizes(
        at=taps.places_of(g),
        channels=g.out_channels,
        multiple=g.out_per_group,
        block=cut.block,
        blocks=blocks,
        few=cut.few,
        rows=rows,
        slices=slices,
        stacks=cut.stacks,
    )
    made = kernel(cut.form, cut.lanes, element(dtype), machine.isa)
    return Launch(made, items * slices, max(1, g.flops // 4), slices, written(s), taps.parameters_of(g, dtype))
