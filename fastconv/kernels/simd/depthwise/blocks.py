"""Blocks of cells, channels last, for depthwise convolutions of any geometry: where they lie, and how they are copied.

volumes.py runs over them. A block is what the positions of one vector of outputs read: the cells of its channels, the border
filled in; with several outputs a channel each channel is repeated for the lanes that need it.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from fastconv.kernels.jit import compiled, inlined
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import windows
from fastconv.kernels.simd.engine.sizes import Axes, Strides, reader
from fastconv.kernels.simd.engine.workspace import workspace

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
    parts, by_turns : int
        Vectors of outputs, and whether all have a block of positions before the next block, for they share lines.
    asks : int
        Whether the outputs of the next row are asked for before they are written.
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
    by_turns: int
    asks: int


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
        part, rest = 0, item
        if s.by_turns > 0:
            rest, part = divmod(rest, s.parts)
        rest, w = divmod(rest, s.blocks.w)
        rest, h = divmod(rest, s.blocks.h)
        n, d = divmod(rest, s.blocks.d)
        if s.by_turns == 0:
            n, part = divmod(n, s.parts)
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
            clear(to, vector.zero(to), block.depths * block.rows * block.columns * lanes)
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
