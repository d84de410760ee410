"""Direct convolution: register tiles over blocks of the output, in every geometry the reference serves.

    y [P, K] = act(bias [K] + windows [P, L] @ w [L, K])       P output positions, K output channels, L = taps * input channels

for each image and group. No matrix of windows is made: a row of a tile is an address in the input, and a tap an offset from it.

    for block of output rows and columns, of small maps of several images: its input fits the L2 cache
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
from fastconv.kernels.simd.direct.cuts import Blocking, Cut, Cuts, cuts, cycles_of
from fastconv.kernels.simd.engine import converting, epilogue, microkernel, weights, windows
from fastconv.kernels.simd.engine.blocks import whole_lines
from fastconv.kernels.simd.engine.costs import CALL, Candidate
from fastconv.kernels.simd.engine.sizes import Axes, Strides, reader, written
from fastconv.kernels.simd.engine.tables import CONFLICT, WAYS
from fastconv.kernels.simd.engine.walks import along, flattened, strides, tap_steps, widened
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.machine import Machine
from fastconv.problem.convolutions import Array, ConvGeometry
from fastconv.problem.problem import Problem

peek, poke, pointer, AHEAD = vector.peek, vector.poke, vector.pointer, microkernel.AHEAD


class Sizes(NamedTuple):
    """What the kernel needs to know of one walk.

    Attributes
    ----------
    x, y : Strides
        Of the input, and of the outputs of this walk.
    outputs, taps, cells, origin, stride, dilation : Axes
        Of the walk.
    batch, groups, c_group, k_group, panels : int
        Images, channels of a group, and panels of output channels that these take.
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
    batch: int
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
    """A block of outputs of one group of one or more images, for a range of panels of output channels.

    Attributes
    ----------
    n, images, group, h, w : int
        The first image and how many, group, and rows and columns of outputs of each.
    corner : Axes
        The cell under the first tap of the first output.
    y : int
        The first output's place.
    first_panel, last_panel : int
        The range of the panels.
    """

    n: int
    images: int
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
    """Elements of windows from one image, depth of taps, row of taps, row, column and channel to the next."""

    n: int
    t: int
    r: int
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
def rows_packed(outputs, s):
    """(parts, rows): all rows of cells under so many rows of outputs, or those under each row of taps where there are fewer."""
    whole, of_tap = reach(outputs, s.stride.h, s.taps.h, s.dilation.h), (outputs - 1) * s.stride.h + 1
    return (s.taps.h, of_tap) if s.taps.h * of_tap < whole else (1, whole)


@compiled
def window_room(s):
    """Elements of the packed windows of a whole block."""
    parts, rows = rows_packed(s.block.rows, s)
    cells = parts * rows * reach(s.block.columns, s.stride.w, s.taps.w, s.dilation.w)
    return s.block.images * s.taps.d * cells * (s.block.chunk + s.skew)


@compiled
def block_of(item, end, s):
    """(the block of the items from `item` on that meet the same windows, the item after them)."""
    k_items = -(-s.panels // s.block.panels)
    rest, k_item = divmod(item, k_items)
    after = item + min(k_items - k_item, end - item)
    rest, column = divmod(rest, -(-s.outputs.w // s.block.columns))
    rest, row = divmod(rest, -(-s.outputs.h // s.block.rows))
    rest, depth = divmod(rest, s.outputs.d)
    rest, group = divmod(rest, s.groups)
    n = rest * s.block.images
    top, left = row * s.block.rows, column * s.block.columns
    origin, stride = s.origin, s.stride
    corner = Axes(origin.d + depth * stride.d, origin.h + top * stride.h, origin.w + left * stride.w)
    y = s.first + n * s.y.n + group * s.k_group * s.y.c + depth * s.y.d + top * s.y.h + left * s.y.w
    first, last = k_item * s.block.panels, min(s.panels, (k_item + after - item) * s.block.panels)
    h, w = min(s.block.rows, s.outputs.h - top), min(s.block.columns, s.outputs.w - left)
    return Block(n, min(s.block.images, s.batch - n), group, h, w, corner, y, first, last), after


@compiled
def source_of(x, block, chunk, fill, s):
    """The first image that a block reads, from the first channel of a chunk on."""
    at = pointer(x) + (block.n * s.x.n + (block.group * s.c_group + chunk.begin) * s.x.c)
    return windows.Source(at, s.x, s.cells, s.mode, fill)


@compiled
def read_in_place(source, block, chunk, to, columns, s):
    """(address, steps) of a block's windows where they lie in x."""
    corner = block.corner
    at = source.at + (corner.d * s.x.d + corner.h * s.x.h + corner.w * s.x.w)
    return at, Steps(s.x.n, s.x.d * s.dilation.d, s.x.h * s.dilation.h, s.x.h, s.x.w, s.x.c)


@lru_cache(maxsize=8)
def window_reader(lanes: int, channels_last: bool, in_place: bool) -> Any:
    """The compiled (address, steps) of a block's windows: where they lie, or packed to `to`."""
    if in_place:
        return read_in_place
    pack = windows.packer(lanes, channels_last)

    def read_packed(source, block, chunk, to, columns, s):
        parts, rows = rows_packed(block.h, s)
        reach_w = reach(block.w, s.stride.w, s.taps.w, s.dilation.w)
        pitch = chunk.count + s.skew
        of_row, of_part = reach_w * pitch, s.taps.d * rows * reach_w * pitch
        for image in range(block.images):
            one = windows.Source(source.at + image * s.x.n, source.strides, source.cells, source.mode, source.fill)
            for part in range(parts):
                corner = Axes(block.corner.d, block.corner.h + part * s.dilation.h, block.corner.w)
                cells = windows.Block(corner, s.taps.d, s.dilation.d, rows, reach_w, chunk.count, pitch)
                pack(one, cells, to + (image * parts + part) * of_part, columns)
        of_taps = of_part if parts > 1 else s.dilation.h * of_row
        return to, Steps(parts * of_part, rows * of_row, of_taps, of_row, pitch, 1)

    return compiled(read_packed)


@compiled
def list_runs(to, steps, s):
    """runs [t][r][piece]: offsets of the runs of a window, each of whose values follow each other or lie steps.c apart."""
    i = 0
    for t in range(s.taps.d):
        for r in range(s.taps.h):
            for piece in range(s.pieces):
                poke(to + i, t * steps.t + r * steps.r + piece * s.dilation.w * steps.w)
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
    image, last_image = first_output // (block.h * block.w), last_output // (block.h * block.w)
    upper_row, lower_row = first_output // block.w - image * block.h, last_output // block.w - last_image * block.h
    if image < last_image:
        upper_row, lower_row = 0, block.h - 1
    upper, lower = block.corner.h + upper_row * s.stride.h, block.corner.h + lower_row * s.stride.h
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
def multiplier(rows: int, columns: int, lanes: int, channels_last: bool, unit: bool, dtype: str) -> Any:
    """The compiled multiply: y [P, K] += windows [P, L] @ w [L, K] of a block's positions, panels and a chunk."""
    width, conv_tile = columns * lanes, microkernel.conv_tile(rows, columns, lanes, channels_last, unit, dtype)

    def multiply(block, chunk, view, operands, act, spare, s):
        count, window = block.images * block.h * block.w, s.taps.d * s.taps.h * s.taps.w
        phase = microkernel.Phase(chunk.begin == 0, chunk.begin + s.block.chunk >= s.c_group)
        t_first, t_end = depths_inside(block, s)
        # What the rows of a tile read follows each other; lines of one vector a row come by themselves.
        streams = channels_last and window == 1 and s.stride.w == 1 and s.c_group > lanes
        skips, adds = has_zero_rows(block, s), phase.ends and act.adds
        for k in range(block.first_panel, block.last_panel):
            panel = block.group * s.panels + k
            at, apart = operands.weights + (panel * s.c_group + chunk.begin) * window * width, s.c_group * window * width
            bias, k_count = operands.bias + panel * width, min(width, s.k_group - k * width)
            left = -(-count // rows)
            follows, reads = k + 1 < block.last_panel and count > columns * rows, streams and k == block.first_panel
            for first in range(0, count, rows):
                tile_count, left = min(rows, count - first), left - 1
                w = microkernel.Weights(bias, at, at + AHEAD, width)
                if follows and left < columns:  # a column of the next panel
                    w = microkernel.Weights(bias, at, at + (apart + left * lanes), width)
                elif reads and left > 0:  # the rows of the next tile
                    w = microkernel.Weights(bias, at, view.at + peek(view.offsets + (first + rows)), rows)
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
    multiply = multiplier(rows, columns, lanes, channels_last, channels_last or packs, dtype)

    @compiled
    def place_positions(block, steps, tables, s):
        """Offsets of a block's positions in windows and in y; the last stands for those that fill up its last tile."""
        i = 0
        for image in range(block.images):
            for row in range(block.h):
                x_at, y_at = image * steps.n + row * s.stride.h * steps.h, image * s.y.n + row * s.y.h
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
        positions, fill = s.block.images * s.block.rows * s.block.columns + rows, epilogue.padding_value(parameters)
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


# Plan -----------------------------------------------------------------------------------------------------------------

LAUNCH = 2_500  # cycles of a walk beside the first: a call of the kernel, and its tables
SLOWER = {"f": 1, "i": 3, "u": 3}  # times that the products of a type take


def suits(problem: Problem, machine: Machine) -> bool:
    """Every problem."""
    return True


def candidate(problem: Problem, machine: Machine) -> Candidate:
    """Direct convolution by tiles."""
    geometry, dtype = problem.geometry, problem.dtype
    g = flattened(geometry)
    cut = cuts(g, dtype, machine, converting.read(problem))
    begun = CALL + LAUNCH * (len(cut.of_walks) - 1)
    cycles = sum((cycles_of(g, one, dtype, machine) for one in cut.of_walks), float(begun)) * SLOWER[dtype.kind]
    return Candidate(machine.seconds(cycles, g.bytes(dtype.itemsize)), cut, partial(drafts, geometry, cut, dtype, machine))


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
    blocks = outputs.d * -(-outputs.h // block.rows) * -(-outputs.w // block.columns)
    items = -(-g.batch // block.images) * g.groups * blocks
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
    x = Strides(x.n, x.c, *(stride * walk.skip for stride, walk in zip(x[2:], walks, strict=True)))
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
        batch=g.batch,
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
