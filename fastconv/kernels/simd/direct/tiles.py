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

from collections.abc import Callable
from functools import lru_cache, partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, bytes_of, compiled, element
from fastconv.kernels.keeping import remembered
from fastconv.kernels.memory import LINE
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.direct.blocks import (
    Chunk,
    Parts,
    Sizes,
    Tables,
    block_of,
    carve,
    carve_tables,
    depths_inside,
    has_zero_rows,
    heights_inside,
    list_runs,
    list_values,
    read,
    source_of,
    window_reader,
    window_room,
)
from fastconv.kernels.simd.direct.cuts import Cut, Cuts, cuts, cycles_of, values_listed
from fastconv.kernels.simd.engine import converting, epilogue, microkernel, weights
from fastconv.kernels.simd.engine.blocks import whole_lines
from fastconv.kernels.simd.engine.costs import CALL, Candidate, cheapest, streaming_seconds
from fastconv.kernels.simd.engine.requests import are_afar, ask_lines
from fastconv.kernels.simd.engine.sizes import Strides, written
from fastconv.kernels.simd.engine.tables import CONFLICT, TILES
from fastconv.kernels.simd.engine.walks import along, flattened, strides, tap_steps, widened
from fastconv.kernels.simd.engine.workspace import keep
from fastconv.machine import Machine
from fastconv.problem.convolutions import Array, ConvGeometry
from fastconv.problem.problem import Problem

peek, poke, pointer, AHEAD = vector.peek, vector.poke, vector.pointer, microkernel.AHEAD


class Operands(NamedTuple):
    """Addresses of the bias, the weights and the result, and of the offsets of a block's outputs."""

    bias: Any
    weights: Any
    y: Any
    offsets: Any


@compiled
def ask_for_residual(y, offsets, count, width, lanes, act):
    """Bring what is added to a tile's results, in rows of `width`, to the cache while the tile is summed."""
    for i in range(count):
        row = y + (peek(offsets + i) + act.residual)
        for j in range(0, width, lanes):
            vector.prefetch(row + j)


@lru_cache(maxsize=64)
def whole_tiles(rows: int, columns: int, lanes: int, dtype: str) -> Any:
    """The compiled y [P, K] = act(bias [K] + windows [P, L] @ w [L, K]) of whole tiles of a panel, channels last.

    What makes tiles differ is left to the microkernel: between the products of two tiles, which may be few, this has little to
    do. If it `reads`, it asks for what the rows of the next tile read, whose offsets are there.
    """
    width, activate = columns * lanes, epilogue.activation_of(dtype)
    smoothed, sum_values = epilogue.smoother(rows, columns, lanes, dtype), microkernel.values_summer(rows, columns, lanes)

    def sum_tiles(view, w, bias, reads, y, outputs, count, k_count, coming, act, spare, s):
        runs = 0 if s.listed else s.taps.d * s.taps.h * s.pieces
        for first in range(0, count, rows):
            tile, row, offsets = vector.repeated(bias, rows, columns, lanes), w, view.offsets + first
            ahead, pace = (view.at + peek(offsets + rows), rows) if reads else (w + AHEAD, width)
            ask_lines(coming, s.ahead, s.of_line)
            coming = coming + s.ahead
            for run in range(runs):
                sources = vector.rows_at(view.at + peek(view.runs + run), offsets, rows)
                for i in range(view.length):
                    vector.prefetch(ahead)
                    tile = vector.fma_outer(tile, sources, i, row)
                    row, ahead = row + width, ahead + pace
            if s.listed:
                tile = sum_values(tile, view, offsets, row)
            tile, _ = smoothed(activate(tile, act), spare, act)
            if k_count == width:
                vector.store_rows(tile, y, outputs + first)
            else:
                vector.store_first_rows(tile, y, outputs + first, rows, k_count)

    return compiled(sum_tiles)


@lru_cache(maxsize=64)
def multiplier(rows: int, columns: int, lanes: int, channels_last: bool, unit: bool, dtype: str) -> Any:
    """The compiled multiply: y [P, K] += windows [P, L] @ w [L, K] of a block's positions, panels and a chunk."""
    width, conv_tile = columns * lanes, microkernel.conv_tile(rows, columns, lanes, channels_last, unit, dtype)
    sum_tiles: Any = whole_tiles(rows, columns, lanes, dtype) if channels_last else None

    def multiply(block, chunk, view, operands, act, spare, s):
        count, window = block.images * block.h * block.w, s.taps.d * s.taps.h * s.taps.w
        phase = microkernel.Phase(chunk.begin == 0, chunk.begin + s.block.chunk >= s.c_group)
        t_first, t_end = depths_inside(block, s)
        # What the rows of a tile read follows each other; lines of one vector a row come by themselves.
        streams = channels_last and window == 1 and s.stride.w == 1 and s.c_group > lanes
        planes = not unit and window == 1
        skips, adds = has_zero_rows(block, s), phase.ends and act.adds
        some = (skips or t_end - t_first < s.taps.d) and not s.listed  # of whose windows rows are left out
        differ = some or act.adds or not (phase.begins and phase.ends)
        coming = operands.y + (block.y + count * s.y.w)  # the next block's results
        for k in range(block.first_panel, block.last_panel):
            panel = block.group * s.panels + k
            at, apart = operands.weights + (panel * s.c_group + chunk.begin) * window * width, s.c_group * window * width
            bias, k_count = operands.bias + panel * width, min(width, s.k_group - k * width)
            left = -(-count // rows)
            follows, reads = k + 1 < block.last_panel and count > columns * rows, streams and k == block.first_panel
            to, done = operands.y + (block.y + k * width * s.y.c), 0
            if channels_last and not differ:
                # The last tiles, and of those that read the last, are others: they ask for something else.
                done = max(0, count - (columns * rows if follows else rows if reads else 0)) // rows * rows
                sum_tiles(view, at, bias, reads, to, operands.offsets, done, k_count, coming, act, spare, s)
                left, coming = left - done // rows, coming + done // rows * s.ahead
            for first in range(done, count, rows):
                tile_count, left = min(rows, count - first), left - 1
                ask_lines(coming, s.ahead, s.of_line)
                coming = coming + s.ahead
                w = microkernel.Weights(bias, at, at + AHEAD, width)
                if follows and left < columns:  # a column of the next panel
                    w = microkernel.Weights(bias, at, at + (apart + left * lanes), width)
                elif reads and left > 0:  # the rows of the next tile
                    w = microkernel.Weights(bias, at, view.at + peek(view.offsets + (first + rows)), rows)
                elif planes and k == block.first_panel:  # of each plane the line where the next tile ends
                    after = min(first + 2 * rows, count) - 1
                    w = microkernel.Weights(bias, at, view.at + peek(view.offsets + after), view.step)
                r_first, r_end = 0, s.taps.h
                if skips:
                    r_first, r_end = heights_inside(block, first, first + tile_count - 1, s)
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
        tables, integers = carve_tables(Tables(positions, positions, runs, s.listed + 1, columns=lanes), sizes)
        operands = Operands(pointer(bias), pointer(w) + s.bias, pointer(y), tables.outputs)
        item, placed = begin, (0, 0, 0, 0)
        while item < end:
            block, item = block_of(item, end, s)
            for c_begin in range(0, max(1, s.c_group), s.block.chunk):
                chunk = Chunk(c_begin, min(s.block.chunk, s.c_group - c_begin))
                source = source_of(x, block, chunk, fill, s)
                at, steps = windows_of(source, block, chunk, work.windows, tables.columns, s)
                form = (block.images, block.h, block.w, chunk.count)
                if form != placed:  # blocks of one form have the same tables
                    place_positions(block, steps, tables, s)
                    list_runs(tables.runs, steps, s)
                    list_values(tables.values, tables.runs, s)
                    placed = form
                length = s.taps.w * chunk.count if s.pieces == 1 else chunk.count
                view = microkernel.Windows(
                    at, tables.positions, tables.runs, s.taps.h, s.pieces, length, steps.c, tables.values, s.listed
                )
                multiply(block, chunk, view, operands, act, work.spare, s)  # y += windows @ w
        keep(integers)
        keep(memory)

    halves = isa == "avx512" and lanes * bytes_of(dtype) < LINE
    conv.__name__ = f"{dtype}_conv_{rows}x{columns}{'_halves' * halves}_{isa}"
    return Kernel(conv)


# Plan -----------------------------------------------------------------------------------------------------------------

LAUNCH = 2_500  # cycles of a walk beside the first: a call of the kernel, and its tables
SLOWER = {"f": 1, "i": 3, "u": 3}  # times that the products of a type take


def suits(problem: Problem, machine: Machine) -> bool:
    """Every problem."""
    return True


def candidate(problem: Problem, machine: Machine) -> Candidate:
    """Direct convolution by tiles of whole vectors; or of halves, where these leave less of the last one empty."""
    halved, spare = machine.halved, -problem.geometry.out_per_group % machine.lanes(problem.dtype)
    if halved is None or 2 * spare < machine.lanes(problem.dtype):
        return candidate_of(problem, machine)
    return cheapest(candidate_of(problem, one) for one in (machine, halved))


def candidate_of(problem: Problem, machine: Machine) -> Candidate:
    """By vectors of one size."""
    geometry, dtype = problem.geometry, problem.dtype
    g = flattened(geometry)
    cut = cuts(g, dtype, machine, converting.read(problem))
    begun = CALL + LAUNCH * (len(cut.of_walks) - 1)
    cycles = sum((cycles_of(g, one, dtype, machine) for one in cut.of_walks), float(begun)) * SLOWER[dtype.kind]
    return Candidate(streaming_seconds(cycles, g, dtype, machine), cut, partial(drafts, geometry, cut, dtype, machine))


@lru_cache(maxsize=256)
def drafts(geometry: ConvGeometry, cuts: Cuts, dtype: np.dtype[Any], machine: Machine) -> tuple[weights.Draft, ...]:
    """A draft for each walk of the geometry."""
    return tuple(draft(geometry, cut, dtype, machine) for cut in cuts.of_walks)


@remembered
def draft(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> weights.Draft:
    """The launch of one walk, and what lays out the weights of its taps."""
    last = flattened(geometry).channels_last
    made = kernel(*cut.tile, machine.lanes(dtype), last, cut.in_place, element(dtype), machine.isa)
    return draft_of(geometry, cut, lambda sizes: made, dtype, machine)


def draft_of(
    geometry: ConvGeometry, cut: Cut, kernel_for: Callable[[Sizes], Kernel], dtype: np.dtype[Any], machine: Machine
) -> weights.Draft:
    """The launch of one walk by a kernel whose weights lie in panels of a tile's channels."""
    g, lanes, (walks, tile, block, _) = flattened(geometry), machine.lanes(dtype), cut
    outputs, taps, width = along(walks, "outputs"), along(walks, "taps"), tile.columns * lanes
    panels = -(-g.out_per_group // width)
    bias = whole_lines(g.groups * panels * width, dtype)
    sizes = sizes_of(g, cut, dtype, machine, panels, bias)
    blocks = outputs.d * -(-outputs.h // block.rows) * -(-outputs.w // block.columns)
    items = -(-g.batch // block.images) * g.groups * blocks
    laid = weights.Sizes(panels, width, g.out_per_group, g.in_per_group, block.chunk, taps, tap_steps(g, walks), bias)
    pack = weights.Packer(laid, g.groups, machine)

    def lay(w: Array, bias: Array) -> tuple[Array, Array]:
        return pack(w, widened(bias, geometry) if geometry.transposed else bias)

    return weights.drafted(
        kernel_for(sizes),
        items * -(-panels // block.panels),
        g.batch * prod(outputs) * g.out_channels * g.in_per_group * prod(taps) // 8,
        (written(sizes), epilogue.scalars(g.activation, dtype, g.border.value)),
        lay,
    )


def results_ahead(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> int:
    """Results that a tile asks for, as many as it writes, where those of the next block lie behind the block's; or 0.

    Rows of a tile lie apart, each of a line or two: no processor sees a stream in what they write, and waits for all of it.
    """
    g, (walks, tile, block, _) = geometry, cut
    follow = g.groups == 1 and all(walk.step == 1 for walk in walks) and (block.rows == 1 or block.columns == walks[2].outputs)
    if not g.channels_last or not follow or not are_afar(dtype.itemsize * prod(g.out_shape), machine):
        return 0
    return tile.rows * tile.columns * machine.lanes(dtype)


def sizes_of(g: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine, panels: int, bias: int) -> Sizes:
    """Of one walk of the flattened geometry."""
    walks, tile, block, in_place = cut
    x, y = strides(g, g.in_channels, g.in_size), strides(g, g.out_channels, g.out_size)
    x = Strides(x.n, x.c, *(stride * walk.skip for stride, walk in zip(x[2:], walks, strict=True)))
    step = block.chunk * walks[2].stride * dtype.itemsize
    skew = machine.lanes(dtype) if tile.rows > TILES[machine.isa].ways and step % CONFLICT == 0 else 0
    follow = (g.channels_last and x.w == g.in_per_group == block.chunk) if in_place else skew == 0
    pieces = 1 if follow and walks[2].dilation == 1 else walks[2].taps
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
        pieces=pieces,
        first=sum(stride * walk.first for stride, walk in zip(y[2:], walks, strict=True)),
        mode=g.mode,
        bias=bias,
        ahead=results_ahead(g, cut, dtype, machine),
        of_line=LINE // dtype.itemsize,
        listed=values_listed(g, cut, pieces),
    )
