"""Direct convolution: register tiles over blocks of the output, in every geometry the reference serves.

    y [P, K] = act(bias [K] + windows [P, L] @ w [L, K])       P output positions, K output channels, L = taps * input channels

for each image and group. No matrix of windows is made: a row of a tile is an address in the input, and a tap an offset from it.

    for block of output rows and columns:                       its input fits the L2 cache
      for chunk of input channels:                              its weights do
        windows = the block's input                             as it lies, or packed where it has padding or channels lie apart
        for panel of `columns` vectors of output channels:
          for tile of `rows` positions:                         microkernel

The order of an output's sum is fixed by the geometry: chunks, then taps, then channels. Threads take whole items, a block by
a range of output channels, so that no sum is split. A transposed convolution is one such convolution per phase of its stride.

Georganas et al., Anatomy of High-Performance Deep Learning Convolutions on SIMD Architectures (2018), and Goto and van de
Geijn, Anatomy of High-Performance Matrix Multiplication (2008), for the order of the loops.
"""

from functools import lru_cache, partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled, element
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import converting, epilogue, microkernel, weights, windows
from fastconv.kernels.simd.engine.blocks import whole_lines
from fastconv.kernels.simd.engine.costs import CALL, Candidate
from fastconv.kernels.simd.engine.sizes import Axes, Strides, reader, written
from fastconv.kernels.simd.engine.tables import CONFLICT, WAYS, Tile, tile_for
from fastconv.kernels.simd.engine.walks import Walks, along, flattened, strides, tap_steps, walks_of, widened
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.machine import Machine
from fastconv.problem.convolutions import Array, ConvGeometry
from fastconv.problem.problem import Problem

peek, poke, pointer = vector.peek, vector.poke, vector.pointer


class Blocking(NamedTuple):
    """How the loops of one walk are cut: outputs of a block, channels of a chunk, panels of output channels of an item."""

    rows: int
    columns: int
    chunk: int
    panels: int


class Sizes(NamedTuple):
    """What the kernel needs to know of one walk.

    Attributes
    ----------
    x, y : Strides
        Of the input, and of the outputs of this walk.
    outputs, taps, cells, origin, stride, dilation : Axes
        Of the walk.
    groups, c_group, k_group, panels : int
        Channels of a group, and panels of output channels that these take.
    block : Blocking
        How the loops are cut.
    skew : int
        Elements between the columns of packed windows, lest the rows of a tile fall into the same sets of the cache.
    pieces : int
        Runs of a row of taps: one where taps and channels follow each other, else one a tap.
    first, mode : int
        The first output's place in y, and the border's mode.
    bias : int
        Elements of the bias, before the weights.
    """

    x: Strides
    y: Strides
    outputs: Axes
    taps: Axes
    cells: Axes
    origin: Axes
    stride: Axes
    dilation: Axes
    groups: int
    c_group: int
    k_group: int
    panels: int
    block: Blocking
    skew: int
    pieces: int
    first: int
    mode: int
    bias: int


class Block(NamedTuple):
    """A block of outputs of one group of an image, for a range of panels of output channels.

    Attributes
    ----------
    n, group, h, w : int
        Image, group, and rows and columns of outputs.
    corner : Axes
        The cell under the first tap of the first output.
    y : int
        The first output's place.
    first_panel, last_panel : int
        The range of the panels.
    """

    n: int
    group: int
    h: int
    w: int
    corner: Axes
    y: int
    first_panel: int
    last_panel: int


class Chunk(NamedTuple):
    """A range of a group's input channels."""

    begin: int
    count: int  # type: ignore[assignment]


class Steps(NamedTuple):
    """Elements of windows from one depth of taps, row, column and channel to the next."""

    t: int
    h: int
    w: int
    c: int


class Operands(NamedTuple):
    """Addresses of the bias, the weights and the result, and of the offsets of a block's outputs."""

    bias: Any
    weights: Any
    y: Any
    offsets: Any


class Parts(NamedTuple):
    """A tile that is stored element by element, and packed windows."""

    spare: int
    windows: int


class Tables(NamedTuple):
    """Offsets of a block's positions in windows and in y, those of the runs of a window, and a vector's columns in packing."""

    positions: int
    outputs: int
    runs: int
    columns: int


read, carve, carve_tables = reader(Sizes), workspace(Parts), workspace(Tables)


@compiled
def reach(outputs, stride, taps, dilation):
    """Cells under the taps of so many outputs of an axis; a phase of a transposed convolution may have no taps, and none."""
    return max(0, (outputs - 1) * stride + (taps - 1) * dilation + 1)


@compiled
def window_room(s):
    """Elements of the packed windows of a whole block."""
    rows = reach(s.block.rows, s.stride.h, s.taps.h, s.dilation.h)
    return s.taps.d * rows * reach(s.block.columns, s.stride.w, s.taps.w, s.dilation.w) * (s.block.chunk + s.skew)


@compiled
def block_of(item, end, s):
    """(the block of the items from `item` on that meet the same windows, the item after them)."""
    k_items = -(-s.panels // s.block.panels)
    rest, k_item = divmod(item, k_items)
    after = item + min(k_items - k_item, end - item)
    rest, column = divmod(rest, -(-s.outputs.w // s.block.columns))
    rest, row = divmod(rest, -(-s.outputs.h // s.block.rows))
    rest, depth = divmod(rest, s.outputs.d)
    n, group = divmod(rest, s.groups)
    top, left = row * s.block.rows, column * s.block.columns
    origin, stride = s.origin, s.stride
    corner = Axes(origin.d + depth * stride.d, origin.h + top * stride.h, origin.w + left * stride.w)
    y = s.first + n * s.y.n + group * s.k_group * s.y.c + depth * s.y.d + top * s.y.h + left * s.y.w
    first, last = k_item * s.block.panels, min(s.panels, (k_item + after - item) * s.block.panels)
    h, w = min(s.block.rows, s.outputs.h - top), min(s.block.columns, s.outputs.w - left)
    return Block(n, group, h, w, corner, y, first, last), after


@compiled
def source_of(x, block, chunk, fill, s):
    """The image that a block reads, from the first channel of a chunk on."""
    at = pointer(x) + (block.n * s.x.n + (block.group * s.c_group + chunk.begin) * s.x.c)
    return windows.Source(at, s.x, s.cells, s.mode, fill)


@compiled
def read_in_place(source, block, chunk, to, columns, s):
    """(address, steps) of a block's windows where they lie in x."""
    corner = block.corner
    at = source.at + (corner.d * s.x.d + corner.h * s.x.h + corner.w * s.x.w)
    return at, Steps(s.x.d * s.dilation.d, s.x.h, s.x.w, s.x.c)


@lru_cache(maxsize=8)
def window_reader(lanes: int, channels_last: bool, in_place: bool) -> Any:
    """The compiled (address, steps) of a block's windows: where they lie, or packed to `to`."""
    if in_place:
        return read_in_place
    pack = windows.packer(lanes, channels_last)

    def read_packed(source, block, chunk, to, columns, s):
        reach_h = reach(block.h, s.stride.h, s.taps.h, s.dilation.h)
        reach_w = reach(block.w, s.stride.w, s.taps.w, s.dilation.w)
        pitch = chunk.count + s.skew
        cells = windows.Block(block.corner, s.taps.d, s.dilation.d, reach_h, reach_w, chunk.count, pitch)
        pack(source, cells, to, columns)
        return to, Steps(reach_h * reach_w * pitch, reach_w * pitch, pitch, 1)

    return compiled(read_packed)


@compiled
def list_runs(to, steps, s):
    """runs [t][r][piece]: offsets of the runs of a window, each of whose values follow each other or lie steps.c apart."""
    i = 0
    for t in range(s.taps.d):
        for r in range(s.taps.h):
            for piece in range(s.pieces):
                poke(to + i, t * steps.t + r * s.dilation.h * steps.h + piece * s.dilation.w * steps.w)
                i += 1


@compiled
def depths_inside(block, s):
    """(first, end) of the taps along the depth that a block must visit: those that lie in zeros add nothing."""
    first, end = 0, s.taps.d
    if s.mode == 0:
        while first < end and block.corner.d + first * s.dilation.d < 0:
            first += 1
        while end > first and block.corner.d + (end - 1) * s.dilation.d >= s.cells.d:
            end -= 1
    return first, end


@compiled
def has_zero_rows(block, s):
    """Whether some taps of a block lie in rows of zeros."""
    bottom = block.corner.h + (block.h - 1) * s.stride.h + (s.taps.h - 1) * s.dilation.h
    return s.mode == 0 and (block.corner.h < 0 or bottom >= s.cells.h)


@compiled
def heights_inside(block, first_output, last_output, s):
    """(first, end) of the taps along the height that the tile from one output to another must visit."""
    first, end = 0, s.taps.h
    upper = block.corner.h + first_output // block.w * s.stride.h
    lower = block.corner.h + last_output // block.w * s.stride.h
    while first < end and lower + first * s.dilation.h < 0:
        first += 1
    while end > first and upper + (end - 1) * s.dilation.h >= s.cells.h:
        end -= 1
    return first, end


@compiled
def ask_for_residual(y, offsets, count, width, lanes, act):
    """Bring what is added to a tile's results, in rows of `width`, to the cache while the tile is summed."""
    for i in range(count):
        row = y + (peek(offsets + i) + act.residual)
        for j in range(0, width, lanes):
            vector.prefetch(row + j)


@lru_cache(maxsize=64)
def multiplier(rows: int, columns: int, lanes: int, channels_last: bool, dtype: str) -> Any:
    """The compiled multiply: y [P, K] += windows [P, L] @ w [L, K] of a block's positions, panels and a chunk."""
    width, conv_tile = columns * lanes, microkernel.conv_tile(rows, columns, lanes, channels_last, dtype)

    def multiply(block, chunk, view, operands, act, spare, s):
        count, window = block.h * block.w, s.taps.d * s.taps.h * s.taps.w
        phase = microkernel.Phase(chunk.begin == 0, chunk.begin + s.block.chunk >= s.c_group)
        t_first, t_end = depths_inside(block, s)
        skips, adds = has_zero_rows(block, s), phase.ends and act.residual != 0
        for k in range(block.first_panel, block.last_panel):
            panel = block.group * s.panels + k
            at = operands.weights + (panel * s.c_group + chunk.begin) * window * width
            w, k_count = microkernel.Weights(operands.bias + panel * width, at), min(width, s.k_group - k * width)
            for first in range(0, count, rows):
                tile_count = min(rows, count - first)
                r_first, r_end = 0, s.taps.h
                if skips:
                    r_first, r_end = heights_inside(block, first, first + tile_count - 1, s)
                to = operands.y + (block.y + k * width * s.y.c)
                if channels_last and adds:
                    ask_for_residual(to, operands.offsets + first, tile_count, k_count, lanes, act)
                conv_tile(
                    microkernel.rows_from(view, first),
                    microkernel.Taps(t_first, t_end, r_first, r_end),
                    w,
                    microkernel.Outputs(to, operands.offsets + first, s.y.c, tile_count, k_count),
                    phase,
                    act,
                    spare,
                )

    return compiled(multiply)


@lru_cache(maxsize=64)
def kernel(rows: int, columns: int, lanes: int, channels_last: bool, in_place: bool, dtype: str, isa: str) -> Kernel:
    """The compiled loop nest over one tile shape: f32_conv_14x2_avx512."""
    width, packs = columns * lanes, not in_place
    windows_of = window_reader(lanes, channels_last, in_place)
    multiply = multiplier(rows, columns, lanes, channels_last, dtype)

    @compiled
    def place_positions(block, steps, tables, s):
        """Offsets of a block's positions in windows and in y; the last stands for those that fill up its last tile."""
        i = 0
        for row in range(block.h):
            x_at, y_at = row * s.stride.h * steps.h, row * s.y.h
            for _ in range(block.w):
                poke(tables.positions + i, x_at)
                poke(tables.outputs + i, y_at)
                x_at, y_at, i = x_at + s.stride.w * steps.w, y_at + s.y.w, i + 1
        for j in range(i, i + rows):
            poke(tables.positions + j, peek(tables.positions + (i - 1)))
            poke(tables.outputs + j, peek(tables.outputs + (i - 1)))

    def conv(begin, end, x, w, bias, residual, y, sizes, parameters):
        """y [P, K] = act(bias [K] + windows [P, L] @ w [L, K])"""
        s, act = read(sizes), epilogue.epilogue(parameters, residual, y)
        positions, fill = s.block.rows * s.block.columns + rows, epilogue.padding_value(parameters)
        work, memory = carve(Parts(spare=rows * width, windows=window_room(s) if packs else 0), x)
        runs = s.taps.d * s.taps.h * s.pieces
        tables, integers = carve_tables(Tables(positions, positions, runs, columns=lanes), sizes)
        operands = Operands(pointer(bias), pointer(w) + s.bias, pointer(y), tables.outputs)
        item = begin
        while item < end:
            block, item = block_of(item, end, s)
            for c_begin in range(0, max(1, s.c_group), s.block.chunk):
                chunk = Chunk(c_begin, min(s.block.chunk, s.c_group - c_begin))
                source = source_of(x, block, chunk, fill, s)
                at, steps = windows_of(source, block, chunk, work.windows, tables.columns, s)
                place_positions(block, steps, tables, s)
                list_runs(tables.runs, steps, s)
                length = s.taps.w * chunk.count if s.pieces == 1 else chunk.count
                view = microkernel.Windows(at, tables.positions, tables.runs, s.taps.h, s.pieces, length, steps.c)
                multiply(block, chunk, view, operands, act, work.spare, s)  # y += windows @ w
        keep(integers)
        keep(memory)

    conv.__name__ = f"{dtype}_conv_{rows}x{columns}_{isa}"
    return Kernel(conv)


# Decisions --------------------------------------------------------------------------------------------------------------


RUN = 16  # parts of the L2 cache: one holds the results of a block of long rows of channels
SLOWER = {"f": 1, "i": 3, "u": 3}  # times that the products of a type take
FAR = 16  # times the room of windows, beyond which strides leave so much between them that tiles are not filled


class Cut(NamedTuple):
    """How one walk is computed: by which tile, in which blocks, by windows where they lie or packed."""

    walks: Walks
    tile: Tile
    block: Blocking
    in_place: bool


class Cuts(NamedTuple):
    """Of every walk of a geometry."""

    of_walks: tuple[Cut, ...]

    def stores_once(self, geometry: ConvGeometry) -> bool:
        """Whether no sum is stored before all channels are in it."""
        return all(cut.block.chunk >= geometry.in_per_group for cut in self.of_walks)

    @property
    def lays_weights(self) -> bool:
        """Weights are laid out in rows."""
        return True


def suits(problem: Problem, machine: Machine) -> bool:
    """Every problem."""
    return True


def crowding(geometry: ConvGeometry, walks: Walks, machine: Machine, itemsize: int) -> float:
    """How much longer tiles of many rows take, by measurement, for windows of one pixel with its channels; 0 for others.

    Rows that conflict are copied first. Of results that the L2 cache does not hold, fewer and longer runs are faster.
    """
    g = geometry
    if not g.channels_last or prod(walk.taps for walk in walks) > 1:
        return 0.0
    if apart(g, walks, itemsize) % CONFLICT == 0:
        return 1.06
    return 1.03 if itemsize * prod(g.out_shape) > machine.l2 else 1.0


def apart(geometry: ConvGeometry, walks: Walks, itemsize: int) -> int:
    """Bytes from what one row of a tile reads to what the next does."""
    return itemsize * (geometry.in_channels * walks[2].stride if geometry.channels_last else 1)


def is_in_place(geometry: ConvGeometry, walks: Walks, tile: Tile, itemsize: int) -> bool:
    """Whether windows can be read where they lie: no padding, and channels that follow each other or one tap alone.

    Nor may the rows of a tile lie a multiple of CONFLICT apart: there are more of them than an L1 cache has ways.
    """
    if not (geometry.channels_last or prod(walk.taps for walk in walks) == 1):
        return False
    if tile.rows > WAYS and apart(geometry, walks, itemsize) % CONFLICT == 0:
        return False
    return all(
        walk.origin >= 0 and walk.origin + (walk.outputs - 1) * walk.stride + (walk.taps - 1) * walk.dilation < walk.cells
        for walk in walks
    )


def blocking(geometry: ConvGeometry, walks: Walks, tile: Tile, machine: Machine, itemsize: int) -> Blocking:
    """Blocks whose windows take half the L2 cache and weights a quarter, cut evenly; items enough for several threads."""
    g, (depth, height, width) = geometry, walks
    lanes = machine.vector_bytes // itemsize
    taps = max(1, prod(walk.taps for walk in walks))
    room = min(machine.l2 // 2, 768 << 10) // itemsize
    chunk = min(g.in_per_group, max(16, machine.l2 // 4 // itemsize // (taps * tile.columns * lanes)))
    chunk = -(-g.in_per_group // -(-g.in_per_group // max(1, chunk))) if g.in_per_group else 1

    rows, columns = height.outputs, width.outputs
    while depth.taps * height.reach(rows) * width.reach(columns) * chunk > room:
        if rows > 1 and rows * columns > 8 * tile.rows:
            rows = -(-rows // 2)
        elif columns > 4 * tile.rows:
            columns = -(-columns // 2)
        elif chunk > 16:
            chunk = -(-chunk // 2)
        elif rows > 1:
            rows = -(-rows // 2)
        elif columns > 1:
            columns = -(-columns // 2)
        else:
            break
    vectors = -(-g.out_per_group // lanes)
    panels = max(1, -(-vectors // tile.columns))
    rows = min(rows, max(1, 4096 // max(1, columns)))
    columns = -(-columns // -(-columns // 4096))
    if height.outputs == 1 and depth.outputs * g.batch * g.groups < 8 and columns == width.outputs > 32 * tile.rows:
        columns = -(-columns // 8)
    whole = -(-columns // tile.rows) * tile.rows
    if columns < width.outputs and depth.taps * height.reach(rows) * width.reach(whole) * chunk <= FAR * room:
        columns = whole
    if taps == 1 and g.channels_last and itemsize * prod(g.out_shape) > machine.l2 // 4 >= itemsize * g.weights:
        # Of lines that the L2 cache does not hold, those that are fetched ahead of one panel are the next panels'.
        most = max(1, machine.l2 // RUN // (itemsize * g.out_channels) // tile.rows) * tile.rows
        if columns > most:
            evenly = -(-columns // -(-columns // most))
            columns = -(-evenly // tile.rows) * tile.rows
        rows = max(1, min(rows, most // columns))
    items = g.batch * g.groups * depth.outputs * -(-height.outputs // rows) * -(-width.outputs // columns)
    return Blocking(rows, columns, max(1, chunk), -(-panels // min(panels, -(-8 // max(1, items)))))


def cuts(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine, packs: bool = False) -> Cuts:
    """Of the flattened geometry's walks; windows are packed where they must be, or `packs`: of what is converted as it is."""
    g, vectors = geometry, -(-geometry.out_per_group // machine.lanes(dtype))
    of_walks = []
    for walks in walks_of(g):
        crowded = crowding(g, walks, machine, dtype.itemsize)
        tile = tile_for(walks[1].outputs * walks[2].outputs, vectors, machine, crowded)
        block = blocking(g, walks, tile, machine, dtype.itemsize)
        of_walks.append(Cut(walks, tile, block, not packs and is_in_place(g, walks, tile, dtype.itemsize)))
    return Cuts(tuple(of_walks))


def cycles_of(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> float:
    """Of one walk: the tiles' products and ends, the windows packed, and the results turned into their layout."""
    g, lanes, (walks, tile, block, in_place) = geometry, machine.lanes(dtype), cut
    vectors, c_vectors = -(-g.out_per_group // lanes), -(-g.in_per_group // lanes)
    outputs, taps = along(walks, "outputs"), along(walks, "taps")
    rows, columns = min(block.rows, outputs.h), min(block.columns, outputs.w)
    blocks = g.batch * g.groups * outputs.d * -(-outputs.h // block.rows) * -(-outputs.w // block.columns)
    tiles = blocks * -(-rows * columns // tile.rows) * -(-vectors // tile.columns)
    chunks = -(-g.in_per_group // block.chunk)
    inside = walks[0].share_inside * walks[1].share_inside if g.mode == 0 else 1.0
    cycles = tiles * g.in_per_group * prod(taps) * inside * max(tile.rows * tile.columns, 8) / machine.units
    cycles += 110 * tiles * chunks
    if not in_place:
        cells = taps.d * walks[1].reach(rows) * walks[2].reach(columns)
        cycles += (5.5 if g.channels_last else 1.0) * blocks * cells * c_vectors
    if not g.channels_last:
        # Every second element of a line is written at a time, and lines that the L2 cache does not hold are fetched each time.
        apart = 16 + (7 * lanes if dtype.itemsize * prod(g.out_shape) > 3 * machine.l2 else 0)
        cycles += (7 if walks[2].step == 1 else apart) * blocks * rows * columns * vectors * chunks
    return cycles


def candidate(problem: Problem, machine: Machine) -> Candidate:
    """Direct convolution by tiles."""
    geometry, dtype = problem.geometry, problem.dtype
    g = flattened(geometry)
    cut = cuts(g, dtype, machine, converting.read(problem))
    cycles = sum((cycles_of(g, one, dtype, machine) for one in cut.of_walks), float(CALL)) * SLOWER[dtype.kind]
    return Candidate(machine.seconds(cycles, g.bytes(dtype.itemsize)), cut, partial(drafts, geometry, cut, dtype, machine))


# Plan -----------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def drafts(geometry: ConvGeometry, cuts: Cuts, dtype: np.dtype[Any], machine: Machine) -> tuple[weights.Draft, ...]:
    """A draft for each walk of the geometry."""
    return tuple(draft(geometry, cut, dtype, machine) for cut in cuts.of_walks)


@remembered
def draft(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> weights.Draft:
    """The launch of one walk, and what lays out the weights of its taps."""
    g, lanes, (walks, tile, block, in_place) = flattened(geometry), machine.lanes(dtype), cut
    outputs, taps, width = along(walks, "outputs"), along(walks, "taps"), tile.columns * lanes
    panels = -(-g.out_per_group // width)
    bias = whole_lines(g.groups * panels * width, dtype)
    sizes = sizes_of(g, cut, dtype, machine, panels, bias)
    items = g.batch * g.groups * outputs.d * -(-outputs.h // block.rows) * -(-outputs.w // block.columns)
    laid = weights.Sizes(panels, width, g.out_per_group, g.in_per_group, block.chunk, taps, tap_steps(g, walks), bias)

    def lay(w: Array, bias: Array) -> tuple[Array, Array]:
        return weights.packed(laid, g.groups, w, widened(bias, geometry), machine)

    return weights.drafted(
        kernel(*tile, lanes, g.channels_last, in_place, element(dtype), machine.isa),
        items * -(-panels // block.panels),
        g.batch * prod(outputs) * g.out_channels * g.in_per_group * prod(taps) // 8,
        (written(sizes), epilogue.scalars(g.activation, dtype, g.border.value)),
        lay,
    )


def sizes_of(g: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine, panels: int, bias: int) -> Sizes:
    """Of one walk of the flattened geometry."""
    walks, tile, block, in_place = cut
    x, y = strides(g, g.in_channels, g.in_size), strides(g, g.out_channels, g.out_size)
    step = block.chunk * walks[2].stride * dtype.itemsize
    skew = machine.lanes(dtype) if tile.rows > WAYS and step % CONFLICT == 0 else 0
    follow = (g.channels_last and x.w == g.in_per_group == block.chunk) if in_place else skew == 0
    return Sizes(
        x=x,
        y=Strides(y.n, y.c, *(stride * walk.step for stride, walk in zip(y[2:], walks, strict=True))),
        outputs=along(walks, "outputs"),
        taps=along(walks, "taps"),
        cells=along(walks, "cells"),
        origin=along(walks, "origin"),
        stride=along(walks, "stride"),
        dilation=along(walks, "dilation"),
        groups=g.groups,
        c_group=g.in_per_group,
        k_group=g.out_per_group,
        panels=panels,
        block=block,
        skew=skew,
        pieces=1 if follow and walks[2].dilation == 1 else walks[2].taps,
        first=sum(stride * walk.first for stride, walk in zip(y[2:], walks, strict=True)),
        mode=g.mode,
        bias=bias,
    )
