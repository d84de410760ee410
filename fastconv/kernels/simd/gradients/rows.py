"""The gradient by a depthwise convolution's weights, channels last: vectors of channels, x and dy read where they lie.

    dw [c][t] = sum over p of dy [p][c] * x [cell(p) + t][c]

An item is a block of vectors of channels, a slice of the kernel and a slice of the rows of outputs. Where a row's taps all lie
on rows of x, most columns need no check; elsewhere a tap beyond the input reads a vector of padding instead.
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
from fastconv.kernels.simd.engine.sizes import Axes, Strides, axes, reader, written
from fastconv.kernels.simd.engine.tables import Tile
from fastconv.kernels.simd.engine.walks import strides
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.kernels.simd.gradients import taps
from fastconv.kernels.simd.gradients.taps import Launch, first_row
from fastconv.machine import Machine
from fastconv.problem.borders import CONSTANT, ZERO_FILL
from fastconv.problem.convolutions import ConvGeometry

poke, peek, pointer = vector.poke, vector.peek, vector.pointer

VECTORS = 16  # of channels of a block at most
MOST_AT_EDGES = 1024  # columns whose taps do not all lie on the input
FEW, EDGE = 12, 0.3  # taps whose addresses registers hold, and cycles of one to see where it lies


class Sizes(NamedTuple):
    """The sizes of a call.

    Attributes
    ----------
    x, y : Strides
        Of x and of dy.
    cells, padding, outputs, stride, dilation, taps : Axes
        As of the convolution.
    channels, block, parts : int
        Channels in all, of a block at most, and blocks.
    rows, slices, stacks : int
        Rows of outputs in all, slices of them, stacks of a slice of the kernel.
    left, right : int
        The first column whose taps all lie on the input, and the first behind those.
    """

    x: Strides
    y: Strides
    cells: Axes
    padding: Axes
    outputs: Axes
    stride: Axes
    dilation: Axes
    taps: Axes
    channels: int
    block: int
    parts: int
    rows: int
    slices: int
    stacks: int
    left: int
    right: int


class Parts(NamedTuple):
    """Of a thread's memory: sums [vector][stack][r][s], a vector's in order, what lies outside."""

    sums: int
    taps: int
    outside: int


class Tables(NamedTuple):
    """The bits of the taps of each column before the first whole one, of that, and of each behind the last."""

    columns: int


read, carve, carve_tables = reader(Sizes), workspace(Parts), workspace(Tables)


@compiled
def bits_of(corner, dilation, count, cells):
    """Bits of the taps of an axis: bit t where the cell corner + t * dilation is one of the input's."""
    bits = 0
    for t in range(count):
        if 0 <= corner + t * dilation < cells:
            bits |= 1 << t
    return bits


@compiled
def find_columns(to, s):
    """The table of columns."""
    behind = s.outputs.w - s.right
    for k in range(s.left + 1 + behind):
        w = k if k <= s.left else s.right + k - s.left - 1
        poke(to + k, bits_of(w * s.stride.w - s.padding.w, s.dilation.w, s.taps.w, s.cells.w))
    if s.right > s.left:
        poke(to + s.left, (1 << s.taps.w) - 1)


@lru_cache(maxsize=16)
def adder(tile: Tile, lanes: int, ahead: bool) -> Any:
    """The compiled sums [r][s] of a stack of taps and a vector of channels, over a row of outputs.

    `ahead`: the next row of x and dy is asked for, which comes sooner than where the processor sees streams begin.
    """
    rows, columns = tile
    every, step = (1 << rows) - 1, columns * lanes

    def add(to, x, y, bits, outside, table, s):
        down, across = s.dilation.h * s.x.h, s.dilation.w * s.x.w
        tile = vector.load_tile(to, step, rows, columns, lanes)
        left, right = (s.left, s.right) if bits == every else (s.outputs.w, s.outputs.w)
        for w in range(left, right):
            if ahead:
                vector.prefetch(x + (w * s.stride.w * s.x.w + rows * down))
                vector.prefetch(y + (w * s.y.w + s.y.h))
            tile = vector.fma_taps(tile, x + w * s.stride.w * s.x.w, down, across, 1, columns, y + w * s.y.w)
        for k in range(left + s.outputs.w - right):
            w = k if k < left else k - left + right
            number = min(w, s.left) if w < s.right else s.left + 1 + w - s.right
            inside = bits, peek(table + number)
            tile = vector.fma_taps_inside(tile, x + w * s.stride.w * s.x.w, down, across, y + w * s.y.w, inside, outside)
        vector.store_tile(tile, to, step)

    return inlined(add)


@lru_cache(maxsize=32)
def kernel(tile: Tile, lanes: int, ahead: bool, dtype: str, isa: str) -> Kernel:
    """The compiled loops over blocks of channels and rows of outputs: f32_gradient_rows_3x3_ahead_avx512."""
    (rows, columns), size = tile, tile.rows * tile.columns * lanes
    add, write = adder(tile, lanes, ahead), taps.writer(tile, lanes)

    @compiled
    def add_row(row, channel, channels, depth, work, table, x, dy, s):
        """The sums of a row of outputs, of all stacks and vectors of channels."""
        plane, h = divmod(row, s.outputs.h)
        n, d = divmod(plane, s.outputs.d)
        corner_d = d * s.stride.d - s.padding.d + depth * s.dilation.d
        corner_h, corner_w = h * s.stride.h - s.padding.h, -s.padding.w
        y = pointer(dy) + (n * s.y.n + d * s.y.d + h * s.y.h + channel)
        for stack in range(s.stacks):
            top = corner_h + first_row(stack, s.stacks, rows, s.taps.h) * s.dilation.h
            bits = bits_of(top, s.dilation.h, rows, s.cells.h) if 0 <= corner_d < s.cells.d else 0
            at = pointer(x) + (n * s.x.n + corner_d * s.x.d + top * s.x.h + corner_w * s.x.w + channel)
            for c in range(0, channels, lanes):
                add(work.sums + (c // lanes * s.stacks + stack) * size, at + c, y + c, bits, work.outside, table, s)

    def gradient(begin, end, x, dy, dw, sizes, parameters):
        """dw [c][t] = sum over p of dy [p][c] * x [cell(p) + t][c]"""
        s = read(sizes)
        parts = Parts(sums=s.block // lanes * s.stacks * size, taps=(s.taps.h * columns + lanes) * lanes, outside=lanes)
        work, memory = carve(parts, x)
        tables, integers = carve_tables(Tables(columns=s.left + 1 + s.outputs.w - s.right), sizes)
        find_columns(tables.columns, s)
        for lane in range(lanes):
            poke(work.outside + lane, parameters[0])
        for number in range(begin, end):
            rest, depth = divmod(number, s.taps.d)
            part, channel = divmod(rest, s.parts)
            channel *= s.block
            channels = min(s.block, s.channels - channel)
            for i in range(parts.sums):
                poke(work.sums + i, parameters[1])
            for row in range(part * s.rows // s.slices, (part + 1) * s.rows // s.slices):
                add_row(row, channel, channels, depth, work, tables.columns, x, dy, s)
            count = s.taps.d * s.taps.h * columns
            for c in range(0, channels, lanes):
                to = pointer(dw) + ((part * s.channels + channel + c) * count + depth * s.taps.h * columns)
                write(work.sums + c // lanes * s.stacks * size, s.stacks, s.taps.h, work.taps, lanes, to, count)
        keep(memory)
        keep(integers)

    gradient.__name__ = f"{dtype}_gradient_rows_{rows}x{columns}{'_ahead' * ahead}_{isa}"
    return Kernel(gradient)


# Decisions --------------------------------------------------------------------------------------------------------------


class Cut(NamedTuple):
    """How a problem is cut: the stacks of its kernel, vectors of channels of a block, whether rows are asked for ahead."""

    stacks: taps.Stacks
    vectors: int
    ahead: bool


def whole_columns(geometry: ConvGeometry) -> tuple[int, int]:
    """The first column of outputs whose taps all lie on the input, and the first behind those."""
    g = geometry
    before, step, wide = g.padding[2][0], g.stride[2], g.out_size[2]
    left = min(wide, -(-before // step))
    return left, min(wide, max(left, (g.in_size[2] - g.window[2] + before) // step + 1))


def supports(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> str | None:
    """Channels last in whole vectors, as many outputs, and a border of one value."""
    g, lanes = geometry.lifted(), machine.lanes(dtype)
    if not g.channels_last:
        return "it serves channels last"
    if g.out_per_group > 1 or g.in_channels % lanes:
        return f"it serves one output for each of a multiple of {lanes} channels, not {g.in_channels} -> {g.out_channels}"
    if g.mode not in (ZERO_FILL, CONSTANT):
        return f"it serves borders of one value, not {g.border.mode!r}"
    left, right = whole_columns(g)
    if left + g.out_size[2] - right > MOST_AT_EDGES:
        return f"it serves {MOST_AT_EDGES} columns of windows that reach into padding, not {left + g.out_size[2] - right}"
    return taps.supports(geometry, machine)


def candidates(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> Iterator[Candidate]:
    """Blocks of equal size."""
    g, lanes = geometry.lifted(), machine.lanes(dtype)
    stacks = taps.stacks_of(g, machine)
    assert stacks is not None
    in_all = g.in_channels // lanes
    vectors = -(-in_all // -(-in_all // VECTORS))
    rows, wide = g.batch * prod(g.out_size[:2]), g.out_size[2]
    left, right = whole_columns(g)
    high = g.out_size[1]
    whole = min(
        high, max(0, (g.in_size[1] - g.window[1] + g.padding[1][0]) // g.stride[1] + 1 - -(-g.padding[1][0] // g.stride[1]))
    )
    at_edges = rows * (wide - (right - left) * whole / max(1, high))
    each, edge = (
        taps.cycles(stacks, machine),
        stacks.stacks * prod(stacks.tile) * (EDGE if prod(stacks.tile) <= FEW else 2 * EDGE),
    )
    cycles = in_all * g.kernel[0] * (rows * (wide * each + 10 + 2.0 * g.taps) + at_edges * edge + 20 * g.taps)
    image = (prod(g.in_size) + prod(g.out_size)) * g.in_channels * dtype.itemsize
    cut = Cut(stacks, vectors, g.stride[1:] == (1, 1) and g.dilation[1] == 1 and stacks.stacks == 1 and 2 * image > machine.l2)
    yield Candidate(machine.seconds(CALL + cycles, g.bytes(dtype.itemsize)), cut, partial(draft, g, cut, dtype, machine))


@remembered
def draft(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> Launch:
    """What runs."""
    g, lanes = geometry, machine.lanes(dtype)
    block = cut.vectors * lanes
    parts, rows = -(-g.in_channels // block), g.batch * prod(g.out_size[:2])
    items = parts * g.kernel[0]
    slices = taps.slices_for(items, rows)
    left, right = whole_columns(g)
    s = Sizes(
        x=strides(g, g.in_channels, g.in_size),
        y=strides(g, g.out_channels, g.out_size),
        cells=axes(g.in_size),
        padding=axes([before for before, _ in g.padding]),
        outputs=axes(g.out_size),
        stride=axes(g.stride),
        dilation=axes(g.dilation),
        taps=axes(g.kernel),
        channels=g.in_channels,
        block=block,
        parts=parts,
        rows=rows,
        slices=slices,
        stacks=cut.stacks.stacks,
        left=left,
        right=right,
    )
    made = kernel(cut.stacks.tile, lanes, cut.ahead, element(dtype), machine.isa)
    return Launch(made, items * slices, max(1, g.flops // 4), slices, written(s), taps.parameters_of(g, dtype))
