"""Direct convolution of few input channels, channels first: vectors lie along the width, and no output is transposed.

    y [k][w] = act(bias[k] + sum over l of x[offset[l] + w] * w[k][l])        l runs over c, r, s

A block of each input plane is copied with its padding, which leaves it in the cache, its columns sorted by their phase of the
stride, so that the cells under a tap follow each other whatever the stride. A tile of output channels by vectors of one output
row then reads each vector of a tap once for all of its channels; what is left of a row, half a tile or less, goes to tiles of
one vector. First layers of networks, grouped convolutions with few channels a group, and one-channel signals take this road,
where vectors along the channels would be half empty.

Where a group has one output channel, as an image filter has, the rows of a tile are output rows that follow each other, a
stack: the kernel meets each of them one row further down. Weights are read where they lie, since a vector takes one at a time.
"""

from functools import lru_cache, partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled, element, inlined
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.direct.planes import (
    Operands,
    Parts,
    Sizes,
    Tables,
    block_of,
    carve,
    carve_tables,
    cell_packer,
    list_taps,
    read,
    with_cells,
)
from fastconv.kernels.simd.engine import epilogue, weights
from fastconv.kernels.simd.engine.blocks import cut_plane
from fastconv.kernels.simd.engine.costs import CALL, Candidate
from fastconv.kernels.simd.engine.lines import are_lines
from fastconv.kernels.simd.engine.sizes import Plane, written
from fastconv.kernels.simd.engine.tables import TILES, Tile
from fastconv.kernels.simd.engine.walks import plane_sizes
from fastconv.kernels.simd.engine.workspace import keep
from fastconv.machine import Machine
from fastconv.problem.convolutions import ConvGeometry
from fastconv.problem.problem import Problem

peek, poke, pointer = vector.peek, vector.poke, vector.pointer


@lru_cache(maxsize=32)
def reduction(rows: int, stacked: bool) -> Any:
    """The compiled tile + sum over l of x[offset[l] + w] * w[k][l]; of k < count, or of a stack's rows."""
    last = rows - 1

    @inlined
    def reduce_channels(tile, operands, source, count, s):
        """All taps of all channels of `count` output channels."""
        terms = s.c_group * s.taps.h * s.taps.w
        lines = vector.rows_apart(operands.weights, terms, count, rows)
        for i in range(terms):
            tile = vector.fma_outer(tile, lines, i, source + peek(operands.offsets + i))
        return tile

    @inlined
    def reduce_plane(tile, at, source, offsets, s):
        """The taps of one channel; cells outside a row's window must not meet it, not even with a weight of zero."""
        widths, taps = s.taps.w, s.taps.h * s.taps.w
        lines = vector.rows_apart(at, -widths, rows, rows)
        for i in range(widths):
            tile = vector.fma_row(tile, 0, at + i, source + peek(offsets + i))
        for i in range(widths, taps - widths):
            tile = vector.fma_outer(tile, lines, i, source + peek(offsets + i))
        for i in range(taps - widths, taps):
            tile = vector.fma_row(tile, last, at + (i - last * widths), source + peek(offsets + i))
        return tile

    @inlined
    def reduce_stack(tile, operands, source, count, s):
        """All taps of all channels of the rows of a stack."""
        taps = s.taps.h * s.taps.w
        for c in range(s.c_group):
            at = operands.weights + c * (taps - last * s.taps.w)
            tile = reduce_plane(tile, at, source, operands.offsets + c * taps, s)
        return tile

    return reduce_stack if stacked else reduce_channels


@lru_cache(maxsize=32)
def row_maker(rows: int, columns: int, stacked: bool, lanes: int, dtype: str) -> Any:
    """The compiled y[i][w] of `count` rows of a tile, i, and all columns of a block: output channels, or rows of a stack."""
    reduce, activate, width = reduction(rows, stacked), epilogue.activation_of(dtype), columns * lanes
    narrows = slims(rows, columns)

    def make_rows(to, step, count, source, block, operands, act, s):
        """The rows lie `step` apart; of what is left of them, half a tile or less goes to tiles of one vector."""
        outputs, column = block.outputs.w, 0
        while column < outputs:
            room, at = outputs - column, source + column
            if narrows and 2 * room <= width:
                slim = vector.first_values(operands.bias, rows, 1, lanes)
                slim = reduce(slim, operands, at, count, s)
                vector.store_spans(activate(slim, act), to + column, step, count, room)
                column += lanes
                continue
            tile = vector.first_values(operands.bias, rows, columns, lanes)
            tile = reduce(tile, operands, at, count, s)
            vector.store_spans(activate(tile, act), to + column, step, count, room)
            column += width
        epilogue.finish_runs(to, step, count, outputs, act)

    return inlined(make_rows)


@lru_cache(maxsize=64)
def kernel(rows: int, columns: int, stacked: bool, sorts: bool, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over blocks of outputs of a group of an image: f32_planar_8x3_avx512."""
    width, stack = columns * lanes, rows if stacked else 1
    behind = width + lanes  # a tile at the end of a row reads on into what follows, and does not store it
    pack_cells, make_rows = cell_packer(lanes, sorts, behind), row_maker(rows, columns, stacked, lanes, dtype)

    @compiled
    def operands_of(w, bias, block, k, work, offsets, s):
        """What a tile of the output channels from k on reads; rows beyond the last channel repeat it."""
        first, count = block.group * s.k_group + k, min(rows, s.k_group - k)
        biases = pointer(bias) + first
        if count < rows:  # of the last tile, or of a stack, whose rows all have one channel's
            for i in range(rows):
                poke(work.bias + i, peek(pointer(bias) + (first + min(i, count - 1))))
            biases = work.bias
        terms = s.c_group * (s.taps.h - stack + 1) * s.taps.w
        return Operands(biases, pointer(w) + first * terms, work.cells, offsets)

    @compiled
    def make_block(y, block, k, operands, act, s):
        """y[k][h][w] of a block and the output channels of a tile."""
        plane = s.outputs.h * s.outputs.w
        at = pointer(y) + (block.n * s.groups * s.k_group + block.group * s.k_group + k) * plane
        for h in range(0, block.outputs.h, stack):
            to = at + ((block.first.h + h) * s.outputs.w + block.first.w)
            source = operands.cells + h * s.stride.h * block.pitch
            if stacked:
                make_rows(to, s.outputs.w, min(stack, block.outputs.h - h), source, block, operands, act, s)
            else:
                make_rows(to, plane, min(rows, s.k_group - k), source, block, operands, act, s)

    def planar(begin, end, x, w, bias, residual, y, sizes, parameters):
        """y [k][w] = act(bias[k] + sum over l of cells[offset[l] + w] * w[k][l]) for the rows of each block."""
        s, act = read(sizes), epilogue.epilogue(parameters, residual, y)
        largest, fill = with_cells(0, 0, s.block, s.block, stack, s), epilogue.padding_value(parameters)
        cells = s.c_group * largest.reach.h * largest.pitch + behind
        unsorted = largest.reach.h * largest.reach.w + behind if sorts else 0
        work, memory = carve(Parts(rows, cells, unsorted), x)
        tables, integers = carve_tables(Tables(s.c_group * s.taps.h * s.taps.w, lanes), sizes)
        for item in range(begin, end):
            block = block_of(item, stack, s)
            pack_cells(x, block, work, tables.columns, fill, s)
            list_taps(tables.offsets, block, s)
            for k in range(0, s.k_group, rows):
                operands = operands_of(w, bias, block, k, work, tables.offsets, s)
                make_block(y, block, k, operands, act, s)
        keep(integers)
        keep(memory)

    planar.__name__ = f"{dtype}_planar_{rows}x{columns}_{isa}"
    return Kernel(planar)


# Decisions --------------------------------------------------------------------------------------------------------------

FEW = 16  # channels of a group that may be summed to many, or made of many
MOST_CHANNELS = 1024  # that few are made of


class Cut(NamedTuple):
    """A tile, whether its rows are output rows, and the outputs of a block."""

    tile: Tile
    stacked: bool
    block: Plane

    @property
    def lays_weights(self) -> bool:
        """Weights are read where they lie."""
        return False


def suits(problem: Problem, machine: Machine) -> bool:
    """Whether few channels, in or out, lie in planes, and rows are not mostly steps; the estimate knows of short rows."""
    g = problem.geometry
    if (g.channels_last and g.in_channels + g.out_channels > 2) or g.transposed or g.rank > 2:
        return False
    if are_lines(g):  # which the kernel of lines reads where they lie
        return False
    few = g.in_per_group <= FEW or (g.in_per_group <= MOST_CHANNELS and g.out_per_group <= FEW)
    return g.in_per_group > 0 and few and g.stride[-1] <= max(g.window[-1], g.in_size[-1] // 2)


def slims(rows: int, columns: int) -> bool:
    """Whether half a tile or less, at the end of a row, is left to tiles of one vector."""
    return columns > 1 and rows >= 4


def tiles_of_row(vectors: int, rows: int, columns: int) -> tuple[int, int]:
    """(tiles, tiles of one vector) of an output row."""
    whole, left = divmod(vectors, columns)
    return (whole, left) if slims(rows, columns) and 2 * left <= columns else (whole + (left > 0), 0)


def stack_for(height: int, vectors: int, machine: Machine) -> Tile:
    """The tile that takes the fewest cycles for one channel: of (output rows, vectors), loads that cross lines count twice."""

    def cycles(tile: Tile) -> float:
        rows, columns = tile
        return -(-vectors // columns) * (height + rows - 1) * max(rows * columns, 2 * columns + rows, 8) / rows

    return min(TILES[machine.isa].planar_stacked, key=cycles)


def tile_for(channels: int, vectors: int, machine: Machine) -> Tile:
    """The tile that takes the fewest cycles over `channels` output channels and `vectors` vectors of a row."""

    def cycles(tile: Tile) -> float:
        rows, columns = tile
        large, narrow = tiles_of_row(vectors, rows, columns)
        each = large * max(rows * columns, rows + 2 * columns, 8) + narrow * max(rows + 2, 8)
        return -(-channels // rows) * each / 2

    return min(TILES[machine.isa].planar, key=cycles)


def cut(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> Cut:
    """The tile, and blocks whose cells take a quarter of the L2 cache."""
    g, s = geometry, plane_sizes(geometry)
    vectors, rows = -(-s.outputs.w // machine.lanes(dtype)), 1
    stacks = g.out_per_group == s.stride.h == s.dilation.h == 1
    if stacks:
        tile = stack_for(s.taps.h, vectors, machine)
        rows = tile.rows
    else:
        tile = tile_for(g.out_per_group, vectors, machine)
    extent = s.dilation.h * (s.taps.h + rows - 2) + 1, s.dilation.w * (s.taps.w - 1) + 1
    room = machine.l2 // 4 // dtype.itemsize
    return Cut(tile, stacks, Plane(*cut_plane(s.outputs, s.stride, extent, g.in_per_group, room, g.batch * g.groups)))


def cycles_of(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> float:
    """Products, tiles begun and stored, cells copied and sorted, and offsets of taps."""
    g, lanes, s, (tile, stacked, block) = geometry, machine.lanes(dtype), plane_sizes(geometry), cut
    stack, panels = (tile.rows, 1) if stacked else (1, -(-g.out_per_group // tile.rows))
    extent = s.dilation.h * (s.taps.h - 1) + 1, s.dilation.w * (s.taps.w - 1) + 1
    bands, strips, images = -(-s.outputs.h // block.h), -(-s.outputs.w // block.w), g.batch * g.groups
    terms = g.in_per_group * (s.taps.h + stack - 1) * s.taps.w
    large, narrow = tiles_of_row(-(-min(block.w, s.outputs.w) // lanes), *tile)
    stacks = images * panels * -(-s.outputs.h // stack) * strips
    tiles, used = stacks * (large + narrow), stacks * (large * tile.columns + narrow)
    lines = images * bands * strips * g.in_per_group * ((min(block.h, s.outputs.h) - 1) * s.stride.h + extent[0])
    cells = lines * ((min(block.w, s.outputs.w) - 1) * s.stride.w + extent[1])
    products = used * g.in_per_group * s.taps.h * s.taps.w * tile.rows
    cycles = (0.8 * products + 0.25 * terms * (tiles * tile.rows + 2 * used)) / min(machine.units, 1.5)
    cycles += 20 * tiles + used * tile.rows + 20 * lines + cells * (4 / lanes + (0, 0, 0.4, 1)[min(s.stride.w, 3)])
    cycles += 6 * images * bands * strips * terms
    return CALL + cycles


def candidate(problem: Problem, machine: Machine) -> Candidate:
    """Direct convolution by vectors along the width."""
    g, dtype = problem.geometry, problem.dtype
    one = cut(g, dtype, machine)
    seconds = machine.seconds(cycles_of(g, one, dtype, machine), g.bytes(dtype.itemsize))
    return Candidate(seconds, one, partial(drafts, g, one, dtype, machine))


# Plan -------------------------------------------------------------------------------------------------------------------


@remembered
def drafts(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> tuple[weights.Draft, ...]:
    """One draft, whose weights stay where they lie."""
    g, s, (tile, stacked, block) = geometry, plane_sizes(geometry), cut
    stacked = stacked and tile.rows > 1
    sizes = Sizes(
        groups=g.groups,
        c_group=g.in_per_group,
        k_group=g.out_per_group,
        cells=s.cells,
        outputs=s.outputs,
        taps=Plane(s.taps.h + (tile.rows - 1 if stacked else 0), s.taps.w),
        stride=s.stride,
        dilation=s.dilation,
        before=s.before,
        block=block,
        mode=g.mode,
    )
    items = g.batch * g.groups * -(-s.outputs.h // block.h) * -(-s.outputs.w // block.w)
    chosen = kernel(*tile, stacked, s.stride.w > 1, machine.lanes(dtype), element(dtype), machine.isa)
    work = g.batch * g.groups * prod(s.outputs) * g.out_per_group * g.reduction // 8
    arguments = written(sizes), epilogue.scalars(g.activation, dtype, g.border.value)
    return (weights.drafted(chosen, items, work, arguments, weights.as_given),)
