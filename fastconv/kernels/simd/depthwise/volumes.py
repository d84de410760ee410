"""Depthwise convolution of any geometry, by vectors of channels over blocks of cells that lie in the cache.

    y [n][o][c * m + j] = act(bias + sum over taps t of x [n][o * stride + t * dilation - padding][c] * w [c * m + j][t])

over one to three axes, in either layout, with m outputs a channel, and transposed. A block of cells is copied, channels last
and its border filled in, for a vector of outputs; with m > 1 each channel is repeated for the lanes that need it. Then tiles of
positions of a row by one vector take in tap after tap. The outputs of a transposed convolution are as many plain ones as it
has phases, which read the same block and whose outputs lie `step` apart.
"""

from collections.abc import Iterator
from functools import lru_cache, partial
from itertools import product
from math import gcd, prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled, element, inlined
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import epilogue, windows
from fastconv.kernels.simd.engine.costs import CALL, Candidate
from fastconv.kernels.simd.engine.sizes import Axes, Strides, axes, reader, written
from fastconv.kernels.simd.engine.walks import strides
from fastconv.kernels.simd.engine.weights import Draft, drafted
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.machine import Machine
from fastconv.problem.convolutions import Array, ConvGeometry, Walk

cell_under, peek, poke, pointer = windows.cell_under, vector.peek, vector.poke, vector.pointer
PHASE = 4  # int64 of a phase of an axis in the table


class Sizes(NamedTuple):
    """The sizes of a call, over three axes.

    Attributes
    ----------
    channels, multiplier, mode : int
        Outputs, outputs of each input channel, the border's mode.
    x, y : Strides
        Of the arrays.
    cells, outputs : Axes
        Of the input and the output.
    taps : Axes
        Of all phases of an axis together.
    stride, dilation : Axes
        Cells from one position's window to the next, and from tap to tap.
    corner, reach : Axes
        The cell under the first tap of the first position, and the cells that the windows of one position reach over.
    positions, block, blocks : Axes
        Outputs of a phase at most, those of a block, and the number of blocks.
    phases, step : Axes
        Phases, and outputs from one position to the next: both 1 but for transposed convolutions.
    parts : int
        Vectors of outputs.
    """

    channels: int
    multiplier: int
    mode: int
    x: Strides
    y: Strides
    cells: Axes
    outputs: Axes
    taps: Axes
    stride: Axes
    dilation: Axes
    corner: Axes
    reach: Axes
    positions: Axes
    block: Axes
    blocks: Axes
    phases: Axes
    step: Axes
    parts: int


class Phase(NamedTuple):
    """The outputs of an axis that are one plain convolution.

    Attributes
    ----------
    taps, before : int
        Its taps, and those of the phases before it.
    offset : int
        The cell under the first tap of its first position, from the corner of the block.
    outputs : int
        Its number of outputs.
    """

    taps: int
    before: int
    offset: int
    outputs: int


class Block(NamedTuple):
    """Positions of a vector of outputs.

    Attributes
    ----------
    n, k, count : int
        The image, the first output channel and the number of them.
    position, positions, cells : Axes
        The first position, the number of them, and the cells under them.
    """

    n: int
    k: int
    count: int  # type: ignore[assignment]
    position: Axes
    positions: Axes
    cells: Axes


class Target(NamedTuple):
    """Where outputs go: the first of a block, and the steps from depth, row and column to the next."""

    at: Any
    d: int
    h: int
    w: int


class Parts(NamedTuple):
    """Of a thread's memory: copied cells, and channels first the outputs that are turned back."""

    windows: int
    results: int


class Tables(NamedTuple):
    """Offsets of the columns of a copied vector."""

    steps: int


read, carve, carve_tables = reader(Sizes), workspace(Parts), workspace(Tables)


@compiled
def phase_of(table, axis, number, s):
    """A phase of an axis."""
    before_axis = 0
    if axis > 0:
        before_axis += s.phases.d
    if axis > 1:
        before_axis += s.phases.h
    at = pointer(table) + (before_axis + number) * PHASE
    return Phase(peek(at), peek(at + 1), peek(at + 2), peek(at + 3))


@compiled
def cells_under(positions, s):
    """The cells that so many positions read."""
    return Axes(
        (positions.d - 1) * s.stride.d + s.reach.d,
        (positions.h - 1) * s.stride.h + s.reach.h,
        (positions.w - 1) * s.stride.w + s.reach.w,
    )


@lru_cache(maxsize=8)
def block_finder(lanes: int) -> Any:
    """The compiled block of an item."""

    def block_of(item, s):
        rest, w = divmod(item, s.blocks.w)
        rest, h = divmod(rest, s.blocks.h)
        rest, d = divmod(rest, s.blocks.d)
        n, part = divmod(rest, s.parts)
        position = Axes(d * s.block.d, h * s.block.h, w * s.block.w)
        positions = Axes(
            min(s.block.d, s.positions.d - position.d),
            min(s.block.h, s.positions.h - position.h),
            min(s.block.w, s.positions.w - position.w),
        )
        count = min(lanes, s.channels - part * lanes)
        return Block(n, part * lanes, count, position, positions, cells_under(positions, s))

    return compiled(block_of)


@lru_cache(maxsize=8)
def vector_packer(lanes: int) -> Any:
    """The compiled windows[d][h][w][lane] of a block of channels that lie side by side in x, zeros behind them."""
    _, clear = windows.runs(lanes)

    @inlined
    def copy_cells(to, line, begin, end, apart, count):
        """The columns begin .. end - 1 of a row, all inside of it."""
        if count == lanes:
            for column in range(begin, end):
                vector.store(to + column * lanes, vector.load(line + column * apart, lanes))
        else:
            for column in range(begin, end):
                vector.store(to + column * lanes, vector.load_first(line + column * apart, count, lanes))

    @inlined
    def copy_border(to, row, first, begin, end, source, count):
        """The columns begin .. end - 1 of a row that begins with column `first`, which may be padding."""
        empty = vector.splat(source.fill, lanes)
        for column in range(begin, end):
            cell = cell_under(first + column, source.cells.w, source.mode)
            if cell < 0:
                vector.store(to + column * lanes, empty)
            else:
                vector.store(to + column * lanes, vector.load_first(row + cell * source.strides.w, count, lanes))

    def pack(source, block, to, steps, s):
        corner, cells = block.corner, source.cells
        begin = min(max(-corner.w, 0), block.columns)
        end = max(begin, min(cells.w - corner.w, block.columns))
        for t in range(block.depths):
            d = cell_under(corner.d + t, cells.d, source.mode)
            if t % s.stride.d >= s.reach.d:  # no window holds it
                continue
            for row in range(block.rows):
                if row % s.stride.h >= s.reach.h:
                    continue
                h = cell_under(corner.h + row, cells.h, source.mode)
                line = to + (t * block.rows + row) * block.columns * lanes
                if d < 0 or h < 0:
                    clear(line, source.fill, block.columns * lanes)
                    continue
                at = source.at + (d * source.strides.d + h * source.strides.h)
                copy_border(line, at, corner.w, 0, begin, source, block.channels)
                copy_cells(line, at + corner.w * source.strides.w, begin, end, source.strides.w, block.channels)
                copy_border(line, at, corner.w, end, block.columns, source, block.channels)

    return compiled(pack)


@lru_cache(maxsize=8)
def plane_packer(lanes: int) -> Any:
    """The compiled windows[d][h][w][lane] of a block of up to `lanes` planes, zeros behind them."""
    turn, (_, clear) = windows.packer(lanes, False), windows.runs(lanes)

    def pack(source, block, to, steps, s):
        if block.channels < lanes:  # lanes without a channel hold what is quick to multiply
            clear(to, source.fill * 0, block.depths * block.rows * block.columns * lanes)
        turn(source, block, to, steps)

    return compiled(pack)


@lru_cache(maxsize=32)
def block_packer(repeats: int, channels_last: bool, lanes: int) -> Any:
    """The compiled windows[d][h][w][lane] of a block: lane l has the input channel of output k + l.

    `repeats` is the multiplier where it divides the lanes or they divide it, and 0 of any other.
    """
    each, pack = max(1, min(repeats, lanes)), (vector_packer if channels_last else plane_packer)(lanes)

    @compiled
    def repeat_channels(to, cells, first, s):
        """Each cell's channels, which lie side by side, once for each of their outputs."""
        for cell in range(cells):
            at = to + cell * lanes
            if repeats > 0:
                vector.store(at, vector.dealt(vector.load(at, lanes), each))
            else:
                for lane in range(lanes - 1, -1, -1):  # backwards: a channel is not behind its first lane
                    poke(at + lane, peek(at + (first + lane) // s.multiplier))

    @compiled
    def source_of(x, block, c, fill, s):
        """The image of a block, from its first channel on."""
        return windows.Source(pointer(x) + (block.n * s.x.n + c * s.x.c), s.x, s.cells, s.mode, fill)

    @compiled
    def cells_of(block, channels, s):
        """The cells under a block."""
        corner = Axes(
            s.corner.d + block.position.d * s.stride.d,
            s.corner.h + block.position.h * s.stride.h,
            s.corner.w + block.position.w * s.stride.w,
        )
        return windows.Block(corner, block.cells.d, 1, block.cells.h, block.cells.w, channels, lanes)

    def pack_block(x, block, to, steps, fill, s):
        c, first = divmod(block.k, s.multiplier)
        channels, cells = (block.k + block.count - 1) // s.multiplier - c + 1, block.cells
        pack(source_of(x, block, c, fill, s), cells_of(block, channels, s), to, steps, s)
        if repeats != 1:
            repeat_channels(to, cells.d * cells.h * cells.w, first, s)

    return compiled(pack_block)


@lru_cache(maxsize=64)
def block_filter(rows: int, taps: int, stride: int, lanes: int, dtype: str) -> Any:
    """The compiled y = act(the sums) of a block's windows, a tile of `rows` positions of a row at a time.

    `taps` of a kernel row are unrolled, at a stride of `stride`; or where `taps` is 0 they are taken one by one, at any.
    """
    activate, unrolled = epilogue.activation_of(dtype), taps > 0

    @inlined
    def add_row(tile, at, w, count, s):
        """The products of a row of taps."""
        if unrolled:
            return vector.fma_grouped(tile, at, lanes, w, s.parts * lanes, taps, stride, 1)
        for tap in range(count):
            here, weights = at + tap * s.dilation.w * lanes, w + tap * s.parts * lanes
            tile = vector.fma_grouped(tile, here, s.stride.w * lanes, weights, 0, 1, 1, 1)
        return tile

    @inlined
    def sum_tile(at, block, w, bias, d, h, x, s):
        """The sums of the tile whose first window begins at `at`; d, h, x are the phases of the axes."""
        tile, row = vector.repeated(bias, rows, 1, lanes), block.cells.w * lanes
        for t in range(d.taps):
            for r in range(h.taps):
                source = at + (t * s.dilation.d * block.cells.h + r * s.dilation.h) * row
                tile = add_row(tile, source, w + (t * h.taps + r) * x.taps * s.parts * lanes, x.taps, s)
        return tile

    def filter_phase(block, work, to, w, bias, d, h, x, act, s):
        """The outputs of one phase."""
        high, wide = block.cells.h, block.cells.w
        columns = min(block.positions.w, x.outputs - block.position.w)
        for i in range(min(block.positions.d, d.outputs - block.position.d)):
            for j in range(min(block.positions.h, h.outputs - block.position.h)):
                cell = ((i * s.stride.d + d.offset) * high + j * s.stride.h + h.offset) * wide + x.offset
                line = to.at + (i * to.d + j * to.h)
                for begun in range(0, columns, rows):
                    column = max(0, min(begun, columns - rows))  # the last tile may overlap the one before
                    at = work.windows + (cell + column * s.stride.w) * lanes
                    tile = activate(sum_tile(at, block, w, bias, d, h, x, s), act)
                    if columns >= rows and block.count == lanes:
                        vector.store_tile(tile, line + column * to.w, to.w)
                    else:
                        vector.store_spans(tile, line + column * to.w, to.w, columns, block.count)

    return compiled(filter_phase)


class Form(NamedTuple):
    """What a kernel is compiled for: see its parts."""

    rows: int
    taps: int
    stride: int
    repeats: int
    channels_last: bool


@lru_cache(maxsize=64)
def kernel(form: Form, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over blocks: f32_depthwise_8x1_3s1_volumes_nhwc_avx512."""
    rows, taps, stride, repeats, channels_last = form
    block_of, pack_block = block_finder(lanes), block_packer(repeats, channels_last, lanes)
    filter_phase, unpack = block_filter(rows, taps, stride, lanes, dtype), windows.unpacker(lanes)

    @compiled
    def first_output(block, s):
        """The element of y that the block begins with."""
        p = block.position
        of_axes = p.d * s.step.d * s.y.d + p.h * s.step.h * s.y.h + p.w * s.step.w * s.y.w
        return block.n * s.y.n + block.k * s.y.c + of_axes

    @compiled
    def region_of(block, s):
        """The outputs that the block's positions have in all phases."""
        p, of = block.position, block.positions
        return Axes(
            min(of.d * s.step.d, s.outputs.d - p.d * s.step.d),
            min(of.h * s.step.h, s.outputs.h - p.h * s.step.h),
            min(of.w * s.step.w, s.outputs.w - p.w * s.step.w),
        )

    @compiled
    def target_of(block, y, work, region, s):
        """Where the outputs of the first phase go, and the steps to the next."""
        if channels_last:
            return Target(pointer(y) + first_output(block, s), s.y.d, s.y.h, s.y.w)
        return Target(work.results, region.h * region.w * lanes, region.w * lanes, lanes)

    @compiled
    def filter_block(block, work, target, w, bias, table, act, s):
        """All phases of a block."""
        width = s.parts * lanes
        for i in range(s.phases.d):
            d = phase_of(table, 0, i, s)
            for j in range(s.phases.h):
                h = phase_of(table, 1, j, s)
                for k in range(s.phases.w):
                    x = phase_of(table, 2, k, s)
                    of_rows = d.before * s.taps.h * s.taps.w + d.taps * (h.before * s.taps.w + h.taps * x.before)
                    at = target.at + (i * target.d + j * target.h + k * target.w)
                    to = Target(at, s.step.d * target.d, s.step.h * target.h, s.step.w * target.w)
                    filter_phase(block, work, to, w + of_rows * width, bias, d, h, x, act, s)

    @compiled
    def store_planes(block, region, work, y, s):
        """y [c][d][h][w] = results [d][h][w][c]"""
        to = pointer(y) + first_output(block, s)
        for d in range(region.d):
            turned = work.results + d * region.h * region.w * lanes
            unpack(turned, region.h, region.w, block.count, lanes, to + d * s.y.d, s.y.h, s.y.c)

    @compiled
    def finish_block(block, region, y, act, s):
        """What follows the sums, where registers leave it."""
        first = pointer(y) + first_output(block, s)
        for d in range(region.d):
            for h in range(region.h):
                row = first + (d * s.y.d + h * s.y.h)
                if channels_last:
                    for w in range(region.w):
                        epilogue.finish_run(row + w * s.y.w, block.count, act)
                else:
                    for k in range(block.count):
                        epilogue.finish_run(row + k * s.y.c, region.w, act)

    def depthwise(begin, end, x, w, bias, residual, y, sizes, parameters, table):
        """y [o] = act(bias + sum over taps t of x [o * stride + t * dilation - padding] * w [t]) of blocks of channels"""
        s, act, fill = read(sizes), epilogue.epilogue(parameters, residual, y), epilogue.padding_value(parameters)
        most = cells_under(s.block, s)
        outputs = s.block.d * s.step.d * s.block.h * s.step.h * s.block.w * s.step.w
        # A tile at the end of a row reads, and outputs that are turned by squares are read, behind what is there.
        behind = rows * (s.stride.w + taps)
        results = 0 if channels_last else (outputs + lanes) * lanes
        work, memory = carve(Parts((most.d * most.h * most.w + behind) * lanes, results), x)
        tables, integers = carve_tables(Tables(steps=lanes), sizes)
        for item in range(begin, end):
            block = block_of(item, s)
            region = region_of(block, s)
            pack_block(x, block, work.windows, tables.steps, fill, s)
            target = target_of(block, y, work, region, s)
            filter_block(block, work, target, pointer(w) + block.k, pointer(bias) + block.k, table, act, s)
            if not channels_last:
                store_planes(block, region, work, y, s)
            if epilogue.is_unfinished(act):
                finish_block(block, region, y, act, s)
        keep(memory)
        keep(integers)

    of_row = f"{taps}s{stride}" if taps else "any"
    many = "" if repeats == 1 else f"_m{repeats}" if repeats else "_mx"
    depthwise.__name__ = f"{dtype}_depthwise_{rows}x1_{of_row}{many}_volumes_{'nhwc' if channels_last else 'nchw'}_{isa}"
    return Kernel(depthwise)


# Decisions --------------------------------------------------------------------------------------------------------------

WIDEST = 7  # taps of a kernel row that are unrolled
ROWS = (8, 7, 6, 5, 4, 2, 1)  # positions of a tile
MOST_PHASES = 4096
WORKSPACE = 16 << 20  # bytes that the cells under one position may take
LEAST = 8  # items that a call should have for its threads


class Cut(NamedTuple):
    """What the kernel is compiled for, and positions of a block."""

    form: Form
    block: Axes


class Reach(NamedTuple):
    """The walks of the three axes, and what they reach.

    Attributes
    ----------
    walks : tuple of tuple of Walk
        Of each axis its phases.
    corner, reach, positions, taps : Axes
        As in Sizes.
    """

    walks: tuple[tuple[Walk, ...], ...]
    corner: Axes
    reach: Axes
    positions: Axes
    taps: Axes


def phases_of(geometry: ConvGeometry, axis: int) -> tuple[Walk, ...]:
    """The walks of an axis by their phase, those without taps too: their outputs are the bias."""
    g, walks = geometry, geometry.walks(axis)
    if not g.transposed:
        return walks
    stride, outputs, cells = g.stride[axis], g.out_size[axis], g.in_size[axis]
    known, spread = {walk.first: walk for walk in walks}, g.dilation[axis] // gcd(stride, g.dilation[axis])
    return tuple(
        known.get(phase) or Walk(len(range(phase, outputs, stride)), 0, cells, 0, 1, spread, phase, stride, 0, 1)
        for phase in range(min(stride, outputs))
    )


@remembered
def reach_of(geometry: ConvGeometry) -> Reach:
    """The walks of a geometry, and what all of them reach."""
    g = geometry.lifted()
    walks = tuple(phases_of(g, axis) for axis in range(3))
    corners, reaches = [], []
    for of_axis in walks:
        some = [walk for walk in of_axis if walk.taps] or list(of_axis)
        corners.append(min(walk.origin for walk in some))
        reaches.append(max(walk.origin + (walk.taps - 1) * walk.dilation for walk in some) - corners[-1] + 1)
    positions = (max(walk.outputs for walk in of_axis) for of_axis in walks)
    taps = (sum(walk.taps for walk in of_axis) for of_axis in walks)
    return Reach(walks, Axes(*corners), Axes(*(max(1, one) for one in reaches)), Axes(*positions), Axes(*taps))


def suits(geometry: ConvGeometry, machine: Machine) -> bool:
    """One input channel a group, no more phases than a table has room for, and windows that a workspace holds."""
    g = geometry
    phases, none = prod(g.stride) if g.transposed else 1, 0 in (*g.x_shape, *g.out_shape)
    if g.in_per_group != 1 or phases > MOST_PHASES or none:
        return False
    return prod(reach_of(g).reach) * machine.vector_bytes <= WORKSPACE


def repeats_of(multiplier: int, lanes: int) -> int:
    """The multiplier, where vectors of as many repeated channels are one shuffle; else 0."""
    return multiplier if lanes % multiplier == 0 or multiplier % lanes == 0 else 0


def cut_for(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> Cut:
    """Blocks whose cells take a quarter of the L2 cache, and of which there are some for every thread."""
    g, of, lanes = geometry, reach_of(geometry), machine.lanes(dtype)
    walk = of.walks[2][0]
    plain = not g.transposed and walk.dilation == 1 and walk.taps <= WIDEST and walk.stride <= 2
    room, items = machine.l2 // 4 // dtype.itemsize // lanes, g.batch * -(-g.out_channels // lanes)
    steps = [of_axis[0].stride for of_axis in of.walks]
    block = list(of.positions)

    def cells() -> int:
        return prod((count - 1) * step + reach for count, step, reach in zip(block, steps, of.reach, strict=True))

    while cells() > room or items * prod(-(-all_ // part) for all_, part in zip(of.positions, block, strict=True)) < LEAST:
        axis = next((axis for axis in (1, 0, 2) if block[axis] > max(1, of.reach[axis] // steps[axis])), None)
        axis = axis if axis is not None or cells() <= room else max(range(3), key=block.__getitem__)
        if axis is None or block[axis] == 1:
            break
        block[axis] = -(-block[axis] // 2)
    rows = min(ROWS, key=lambda rows: (-(-block[2] // rows) * (rows + 2), -rows))
    form = Form(
        rows, walk.taps if plain else 0, walk.stride if plain else 0, repeats_of(g.out_per_group, lanes), g.channels_last
    )
    return Cut(form, Axes(*block))


def cycles(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> float:
    """Taps of all tiles, cells copied, and channels first outputs turned back."""
    g, of, lanes, (form, block) = geometry, reach_of(geometry), machine.lanes(dtype), cut
    parts = g.batch * -(-g.out_channels // lanes)
    steps = [of_axis[0].stride for of_axis in of.walks]
    under = [(count - 1) * step + reach for count, step, reach in zip(block, steps, of.reach, strict=True)]
    blocks = [-(-count // part) for count, part in zip(of.positions, block, strict=True)]
    cells = parts * prod(blocks) * prod(under)
    tiles = parts * prod(of.positions[:2]) * blocks[2] * -(-block.w // form.rows)
    rows_of_taps = prod(of.taps[:2])
    load = 0.75 if form.taps else 1.1
    phases = [len(of_axis) for of_axis in of.walks]
    count = CALL + tiles * (12 * prod(phases) + rows_of_taps * (3 * phases[2] + of.taps.w * form.rows * load))
    lines = parts * prod(blocks) * prod(under[:2])
    if g.channels_last:
        count += 25 * lines + cells * (2.0 if form.repeats == 1 else 4.0)
    else:
        channels = 1 if form.repeats == 1 else 1 / max(1, min(form.repeats, lanes))
        count += lines * (20 + lanes * channels * 3.6 * -(-under[2] // lanes)) + 7 * parts * prod(g.out_size)
        count += 0 if form.repeats == 1 else 2.0 * cells
    return count + (0 if form.repeats else 1.5 * lanes * cells)


def candidates(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> Iterator[Candidate]:
    """The one cut."""
    cut = cut_for(geometry, dtype, machine)
    seconds = machine.seconds(cycles(geometry, cut, dtype, machine), geometry.bytes(dtype.itemsize))
    yield Candidate(seconds, cut, partial(draft, geometry, cut, dtype, machine))


def table_of(of: Reach) -> Array:
    """The phases of each axis, as `phase_of` reads them."""
    rows = []
    for of_axis, corner in zip(of.walks, of.corner, strict=True):
        before = 0
        for walk in of_axis:
            rows.append(Phase(walk.taps, before, walk.origin - corner if walk.taps else 0, walk.outputs))
            before += walk.taps
    return np.array(rows, np.int64).reshape(-1)


@remembered
def draft(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> Draft:
    """The launch without its weights."""
    g, of, lanes = geometry.lifted(), reach_of(geometry), machine.lanes(dtype)
    blocks = Axes(*(-(-count // part) for count, part in zip(of.positions, cut.block, strict=True)))
    sizes = Sizes(
        channels=g.out_channels,
        multiplier=g.out_per_group,
        mode=g.mode,
        x=strides(g, g.in_channels, g.in_size),
        y=strides(g, g.out_channels, g.out_size),
        cells=axes(g.in_size),
        outputs=axes(g.out_size),
        taps=of.taps,
        stride=Axes(*(of_axis[0].stride for of_axis in of.walks)),
        dilation=Axes(*(of_axis[0].dilation for of_axis in of.walks)),
        corner=of.corner,
        reach=of.reach,
        positions=of.positions,
        block=cut.block,
        blocks=blocks,
        phases=Axes(*(len(of_axis) for of_axis in of.walks)),
        step=Axes(*(of_axis[0].step for of_axis in of.walks)),
        parts=-(-g.out_channels // lanes),
    )
    items = g.batch * sizes.parts * prod(blocks)
    arguments = written(sizes), epilogue.scalars(g.activation, dtype, g.border.value), table_of(of)
    chosen = kernel(cut.form, lanes, element(dtype), machine.isa)
    return drafted(chosen, items, 2 * g.flops, arguments, partial(laid, g, of.walks, sizes.parts * lanes))


def laid(geometry: ConvGeometry, walks: tuple[tuple[Walk, ...], ...], width: int, w: Array, bias: Array) -> tuple[Array, Array]:
    """(weights as [phase][t][r][s][k], bias), of `width` outputs: zeros for those that there are not."""
    g = geometry
    by_output = w.reshape(g.in_channels, *g.kernel, g.out_per_group) if g.transposed and g.channels_last else None
    if by_output is None:
        shape = (g.in_channels, g.out_per_group) if g.transposed else (g.out_channels, 1)
        taps = np.moveaxis(w.reshape(*shape, *g.kernel).reshape(g.out_channels, *g.kernel), 0, -1)
    else:
        taps = np.moveaxis(by_output, 0, -2).reshape(*g.kernel, g.out_channels)
    weights, biases = np.zeros((prod(g.kernel), width), w.dtype), np.zeros(width, w.dtype)
    at = 0
    for phase in product(*walks):
        chosen = taps[np.ix_(*([walk.kernel_first + t * walk.kernel_step for t in range(walk.taps)] for walk in phase))]
        rows = chosen.reshape(-1, g.out_channels)
        weights[at : at + len(rows), : g.out_channels] = rows
        at += len(rows)
    biases[: g.out_channels] = bias
    return weights.reshape(-1), biases
