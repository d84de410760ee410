"""The gradient by a depthwise convolution's weights, channels last: vectors of channels, x and dy read where they lie.

    dw [c][t] = sum over p of dy [p][c] * x [cell(p) + t][c]

An item is a block of vectors of channels, a slice of the kernel and a slice of the rows of outputs. Vectors go along a row,
some outputs at a time: one of x is loaded once for all outputs that it meets, one of dy for all taps. A tap beyond the input
reads a vector of padding instead: rows are told apart once, columns at the ends of a row alone.
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
from fastconv.kernels.simd.engine.requests import WAITED
from fastconv.kernels.simd.engine.sizes import reader, written
from fastconv.kernels.simd.engine.tables import Tile
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.kernels.simd.gradients import taps
from fastconv.kernels.simd.gradients.taps import Launch, Places, first_row
from fastconv.machine import Machine
from fastconv.problem.borders import CONSTANT, ZERO_FILL
from fastconv.problem.convolutions import ConvGeometry

poke, peek, pointer = vector.poke, vector.peek, vector.pointer

VECTORS = 16  # of channels of a block at most
TOGETHER = 4  # outputs of a row that go together
MOST_AT_EDGES = 1024  # columns whose taps do not all lie on the input
OF_HALVES, OF_FEW_SETS = 1.35, 1.4  # times the cycles, of vectors that are half lines, of pixels that share sets of the L1
FEW_SETS = 512  # bytes of a pixel, or a multiple, whose lines do
FEW, EDGE = 12, 0.3  # taps whose addresses registers hold, and cycles of one to see where it lies


class Sizes(NamedTuple):
    """The sizes of a call.

    Attributes
    ----------
    at : Places
        Where x and dy lie, and the windows on them.
    channels, block, parts : int
        Channels in all, of a block at most, and blocks.
    rows, slices, stacks : int
        Rows of outputs in all, slices of them, stacks of a slice of the kernel.
    left, right : int
        The first column whose taps all lie on the input, and the first behind those.
    """

    at: Places
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
    behind = s.at.outputs.w - s.right
    for k in range(s.left + 1 + behind):
        w = k if k <= s.left else s.right + k - s.left - 1
        poke(to + k, bits_of(w * s.at.stride.w - s.at.padding.w, s.at.dilation.w, s.at.taps.w, s.at.cells.w))
    if s.right > s.left:
        poke(to + s.left, (1 << s.at.taps.w) - 1)


class Form(NamedTuple):
    """What a kernel is compiled for.

    Attributes
    ----------
    rows, columns : int
        Taps of a stack.
    together : int
        Outputs of a row.
    down, across : int
        Cells from one output to the next of either axis, where several go together or rows are asked for.
    ahead : bool
        Whether the next row of x and dy is asked for, which comes sooner than where the processor sees streams begin.
    """

    rows: int
    columns: int
    together: int
    down: int
    across: int
    ahead: bool


@lru_cache(maxsize=16)
def asker(form: Form) -> Any:
    """The compiled request for what lies under the next row of outputs and not under this one, and for that row."""

    def ask(x, y, w, s):
        for i in range(form.together):
            vector.prefetch(y + ((w + i) * s.at.y.w + s.at.y.h))
            for r in range(form.down):
                for j in range(form.across):
                    cell = (w + i) * form.across + j
                    vector.prefetch(x + ((s.at.taps.h + r) * s.at.x.h + cell * s.at.x.w))

    return inlined(ask)


@lru_cache(maxsize=16)
def adder(form: Form, lanes: int) -> Any:
    """The compiled sums [r][s] of a stack of taps and a vector of channels, over a row of outputs."""
    (rows, columns, together, _, between, ahead), ask = form, asker(form)
    step = columns * lanes

    def add(to, x, y, bits, outside, table, s):
        g = s.at
        down, along = g.dilation.h * g.x.h, g.dilation.w * g.x.w
        tile, apart, w = vector.load_tile(to, step, rows, columns, lanes), g.stride.w * g.x.w, s.left
        while w + together <= s.right:
            if ahead:
                ask(x, y, w, s)
            steps = down, along
            tile = vector.fma_taps_along(tile, x + w * apart, steps, bits, outside, y + w * g.y.w, g.y.w, together, between)
            w += together
        while w < s.right:
            steps = down, along
            tile = vector.fma_taps_along(tile, x + w * apart, steps, bits, outside, y + w * g.y.w, g.y.w, 1, between)
            w += 1
        for k in range(s.left + g.outputs.w - s.right):
            w = k if k < s.left else k - s.left + s.right
            inside = bits, peek(table + (k if k < s.left else k + 1))
            tile = vector.fma_taps_inside(tile, x + w * apart, down, along, y + w * g.y.w, inside, outside)
        vector.store_tile(tile, to, step)

    return inlined(add)


@lru_cache(maxsize=32)
def kernel(form: Form, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over blocks of channels and rows of outputs: f32_gradient_rows_3x3_4_ahead_avx512."""
    rows, columns, size = form.rows, form.columns, form.rows * form.columns * lanes
    add, write = adder(form, lanes), taps.writer(Tile(rows, columns), lanes)

    @compiled
    def add_row(row, channel, channels, depth, work, table, x, dy, s):
        """The sums of a row of outputs, of all stacks and vectors of channels."""
        plane, h = divmod(row, s.at.outputs.h)
        n, d = divmod(plane, s.at.outputs.d)
        corner_d = d * s.at.stride.d - s.at.padding.d + depth * s.at.dilation.d
        corner_h, corner_w = h * s.at.stride.h - s.at.padding.h, -s.at.padding.w
        y = pointer(dy) + (n * s.at.y.n + d * s.at.y.d + h * s.at.y.h + channel)
        for stack in range(s.stacks):
            top = corner_h + first_row(stack, s.stacks, rows, s.at.taps.h) * s.at.dilation.h
            bits = bits_of(top, s.at.dilation.h, rows, s.at.cells.h) if 0 <= corner_d < s.at.cells.d else 0
            at = pointer(x) + (n * s.at.x.n + corner_d * s.at.x.d + top * s.at.x.h + corner_w * s.at.x.w + channel)
            for c in range(0, channels, lanes):
                add(work.sums + (c // lanes * s.stacks + stack) * size, at + c, y + c, bits, work.outside, table, s)

    def gradient(begin, end, x, dy, dw, sizes, parameters):
        """dw [c][t] = sum over p of dy [p][c] * x [cell(p) + t][c]"""
        s = read(sizes)
        parts = Parts(sums=s.block // lanes * s.stacks * size, taps=(s.at.taps.h * columns + lanes) * lanes, outside=lanes)
        work, memory = carve(parts, x)
        tables, integers = carve_tables(Tables(columns=s.left + 1 + s.at.outputs.w - s.right), sizes)
        find_columns(tables.columns, s)
        for lane in range(lanes):
            poke(work.outside + lane, parameters[0])
        for number in range(begin, end):
            rest, depth = divmod(number, s.at.taps.d)
            part, channel = divmod(rest, s.parts)
            channel *= s.block
            channels = min(s.block, s.channels - channel)
            for i in range(parts.sums):
                poke(work.sums + i, parameters[1])
            for row in range(part * s.rows // s.slices, (part + 1) * s.rows // s.slices):
                add_row(row, channel, channels, depth, work, tables.columns, x, dy, s)
            count = s.at.taps.d * s.at.taps.h * columns
            for c in range(0, channels, lanes):
                to = pointer(dw) + ((part * s.channels + channel + c) * count + depth * s.at.taps.h * columns)
                write(work.sums + c // lanes * s.stacks * size, s.stacks, s.at.taps.h, work.taps, lanes, to, count)
        keep(memory)
        keep(integers)

    gradient.__name__ = f"{dtype}_gradient_rows_{rows}x{columns}_{form.together}{'_ahead' * form.ahead}_{isa}"
    return Kernel(gradient)


# Decisions --------------------------------------------------------------------------------------------------------------


class Cut(NamedTuple):
    """How a problem is cut: what the kernel is compiled for, stacks of its taps, vectors of channels of a block."""

    form: Form
    stacks: int
    vectors: int


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
    return taps.supports(geometry, machine) or taps.refusal(g, machine)


def is_far(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> bool:
    """Whether rows are waited for: what the L2 cache does not hold, the forward pass may have read and written long ago.

    Where vectors are half lines, each of which asks, that pays for more.
    """
    g, moved = geometry, geometry.bytes(dtype.itemsize)
    if machine.is_meshed:
        return 2 * (prod(g.in_size) + prod(g.out_size)) * g.in_channels * dtype.itemsize > machine.l2
    return machine.asks(moved) or moved > machine.l2 * (1 if machine.vector_bytes >= LINE else WAITED)


def candidates(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> Iterator[Candidate]:
    """Blocks of equal size."""
    g, lanes = geometry.lifted(), machine.lanes(dtype)
    stacks = taps.stacks_of(g, machine, columns=True)
    assert stacks is not None
    (tall, wide), (_, down, across) = stacks.tile, g.stride
    in_all = g.in_channels // lanes
    vectors = -(-in_all // -(-in_all // VECTORS))
    left, right = whole_columns(g)
    together = min(TOGETHER, max(1, right - left)) if g.dilation[2] == 1 and across < wide else 1
    ahead = max(down, across) <= 2 and g.dilation[1:] == (1, 1) and stacks.stacks == 1 and is_far(g, dtype, machine)
    rows, ends = g.batch * prod(g.out_size[:2]), g.out_size[2] - (right - left)
    cells = ((together - 1) * across + wide) / together
    each = max(tall * cells + 1, tall * wide / min(2, machine.units)) + 1.5 / together
    if machine.vector_bytes < LINE and stacks.stacks == 1:
        each *= OF_HALVES * (OF_FEW_SETS if g.in_channels * dtype.itemsize % FEW_SETS == 0 else 1)
    edge = tall * wide * (2 + (2 if tall * wide <= FEW else 4) * EDGE) + 3
    of_row = (right - left) * each + ends * edge + 15 + 2.0 * tall * wide
    cycles = in_all * g.kernel[0] * (rows * stacks.stacks * of_row + 20 * g.taps)
    form = Form(tall, wide, together, down if ahead else 1, across if together > 1 or ahead else 1, ahead)
    cut = Cut(form, stacks.stacks, vectors)
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
        at=taps.places_of(g),
        channels=g.in_channels,
        block=block,
        parts=parts,
        rows=rows,
        slices=slices,
        stacks=cut.stacks,
        left=left,
        right=right,
    )
    made = kernel(cut.form, lanes, element(dtype), machine.isa)
    return Launch(made, items * slices, max(1, g.flops // 4), slices, written(s), taps.parameters_of(g, dtype))
