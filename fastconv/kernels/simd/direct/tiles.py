"""Direct convolution: register tiles over blocks of the output, in every geometry the reference serves.

    y [P, K] = act(bias [K] + windows [P, L] @ w [L, K])       P output positions, K output channels, L = taps * input channels

for each image and group. No matrix of windows is made: a row of a tile is an address in the input, and a tap an offset from it.

    for block of output rows and columns:                       its input fits the L2 cache
      for chunk of input channels:                              its weights do
        windows = the block's input                             as it lies, or packed where it has padding or channels lie apart
        for block of `columns` vectors of output channels:
          for tile of `rows` positions:                         microkernel

The order of an output's sum is fixed by the geometry: chunks, then taps, then channels. Threads take whole items, a block by
a range of output channels, so that no sum is split. A transposed convolution is one such convolution per phase of its stride.

Georganas et al., Anatomy of High-Performance Deep Learning Convolutions on SIMD Architectures (2018), and Goto and van de
Geijn, Anatomy of High-Performance Matrix Multiplication (2008), for the order of the loops.
"""

from functools import lru_cache
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, Launch, compiled, element
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import epilogue, microkernel, packing
from fastconv.kernels.simd.engine.costs import CALL
from fastconv.kernels.simd.engine.tables import CONFLICT, WAYS, Tile, tile_for
from fastconv.kernels.simd.engine.walks import flattened, strides, tap_steps, widened
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import SPATIAL_AXES, Array, ConvGeometry, Walk

peek, poke, pointer = vector.peek, vector.poke, vector.pointer


@lru_cache(maxsize=64)
def kernel(rows: int, columns: int, lanes: int, channels_last: bool, dtype: str, isa: str) -> Kernel:
    """The compiled loop nest over one tile shape: f32_conv_14x2_avx512."""
    width, conflict = columns * lanes, CONFLICT // (8 if dtype == "f64" else 4)
    conv_tile = microkernel.conv_tile(rows, columns, lanes, channels_last, dtype)
    pack_windows = packing.window_packer(lanes, channels_last)

    @compiled
    def spread(step):
        """Elements to add to the step from one row of a tile to the next, lest they all fall into the same cache sets."""
        return lanes if rows > 7 and step % conflict == 0 else 0

    @compiled
    def place_positions(x_offsets, y_offsets, high, broad, x_row, x_column, y_row, y_column):
        """Offsets of a block's positions in windows and output; the last stands for those that fill up its last tile."""
        i = 0
        for row in range(high):
            x_at, y_at = row * x_row, row * y_row
            for _ in range(broad):
                poke(x_offsets + i, x_at)
                poke(y_offsets + i, y_at)
                x_at, y_at, i = x_at + x_column, y_at + y_column, i + 1
        for j in range(i, i + rows):
            poke(x_offsets + j, peek(x_offsets + (i - 1)))
            poke(y_offsets + j, peek(y_offsets + (i - 1)))

    def conv(begin, end, x, w, bias, residual, y, sizes, parameters):
        act = epilogue.epilogue(parameters, residual, y)
        xs, ys = packing.five(sizes, 0), packing.five(sizes, 5)
        outputs, taps, cells = packing.three(sizes, 10), packing.three(sizes, 13), packing.three(sizes, 16)
        origin, stride, dilation = packing.three(sizes, 19), packing.three(sizes, 22), packing.three(sizes, 25)
        groups, c_group, k_group = packing.three(sizes, 28)
        block_rows, block_columns, chunk, k_blocks, direct = packing.five(sizes, 31)
        y_first, mode = sizes[36], sizes[37]
        k_total = -(-k_group // width)
        k_items, row_items, column_items = (
            -(-k_total // k_blocks),
            -(-outputs[1] // block_rows),
            -(-outputs[2] // block_columns),
        )
        # A phase of a transposed convolution may have no taps, and then reads nothing.
        tall = max(0, (block_rows - 1) * stride[1] + (taps[1] - 1) * dilation[1] + 1)
        wide = max(0, (block_columns - 1) * stride[2] + (taps[2] - 1) * dilation[2] + 1)
        positions = block_rows * block_columns
        extra = spread(chunk * stride[2])
        merged = dilation[2] == 1 and ((channels_last and xs[4] == c_group and chunk == c_group) if direct else extra == 0)
        pieces = 1 if merged else taps[2]
        zero = x.dtype.type(0)
        weights = pointer(w) + sizes[38]

        room = 0 if direct else taps[0] * tall * wide * (chunk + extra)
        memory = np.empty(room + rows * width + 32, x.dtype)  # used to the end, below
        spare = vector.line_start(pointer(memory))
        packed = spare + rows * width
        integers = np.empty(2 * (positions + rows) + taps[0] * taps[1] * pieces + lanes, np.int64)
        x_offsets = pointer(integers)
        y_offsets = x_offsets + (positions + rows)
        runs = y_offsets + (positions + rows)
        steps = runs + taps[0] * taps[1] * pieces

        item = begin
        while item < end:
            rest, k_item = divmod(item, k_items)
            share = min(k_items - k_item, end - item)  # items that meet the same windows, which are then packed once
            item += share
            rest, column_item = divmod(rest, column_items)
            rest, row_item = divmod(rest, row_items)
            rest, depth = divmod(rest, outputs[0])
            n, group = divmod(rest, groups)
            top, left = row_item * block_rows, column_item * block_columns
            high, broad = min(block_rows, outputs[1] - top), min(block_columns, outputs[2] - left)
            count = high * broad
            corner = (origin[0] + depth * stride[0], origin[1] + top * stride[1], origin[2] + left * stride[2])
            # The windows' strides: those of x, or of the packed block.
            if direct:
                wt, wr, wc, wk = xs[2] * dilation[0], xs[3], xs[4], xs[1]
            else:
                tall = max(0, (high - 1) * stride[1] + (taps[1] - 1) * dilation[1] + 1)
                wide = max(0, (broad - 1) * stride[2] + (taps[2] - 1) * dilation[2] + 1)
                wt, wr, wc, wk = 0, 0, 0, 1

            y_origin = y_first + n * ys[0] + depth * ys[2] + top * ys[3] + left * ys[4] + group * k_group * ys[1]
            for c_begin in range(0, max(1, c_group), chunk):
                c_count = min(chunk, c_group - c_begin)
                source = pointer(x) + (n * xs[0] + (group * c_group + c_begin) * xs[1])
                if direct:
                    windows = source + (corner[0] * xs[2] + corner[1] * xs[3] + corner[2] * xs[4])
                else:
                    windows = packed
                    wc = c_count + extra
                    wr, wt = wide * wc, tall * wide * wc
                    pack_windows(
                        source, packed, zero, xs, cells, corner, tall, wide, taps[0], dilation[0], c_count, wc, mode, steps
                    )
                place_positions(x_offsets, y_offsets, high, broad, stride[1] * wr, stride[2] * wc, ys[3], ys[4])
                for t in range(taps[0]):
                    for r in range(taps[1]):
                        for s in range(pieces):
                            run = (t * taps[1] + r) * pieces + s
                            poke(runs + run, t * wt + r * dilation[1] * wr + s * dilation[2] * wc)
                length = taps[2] * c_count if merged else c_count
                bottom = corner[1] + (high - 1) * stride[1] + (taps[1] - 1) * dilation[1]
                padded_rows = mode == 0 and (corner[1] < 0 or bottom >= cells[1])

                t_first, t_last = 0, taps[0]
                if mode == 0:  # depths that lie in padding add nothing
                    while t_first < t_last and corner[0] + t_first * dilation[0] < 0:
                        t_first += 1
                    while t_last > t_first and corner[0] + (t_last - 1) * dilation[0] >= cells[0]:
                        t_last -= 1

                for k in range(k_item * k_blocks, min(k_total, (k_item + share) * k_blocks)):
                    block = weights + (((group * k_total + k) * c_group + c_begin) * taps[0] * taps[1] * taps[2] * width)
                    k_count = min(width, k_group - k * width)
                    for first in range(0, count, rows):
                        tile_count = min(rows, count - first)
                        r_first, r_last = 0, taps[1]
                        if padded_rows:  # nor do rows
                            upper = corner[1] + (first // broad) * stride[1]
                            lower = corner[1] + ((first + tile_count - 1) // broad) * stride[1]
                            while r_first < r_last and lower + r_first * dilation[1] < 0:
                                r_first += 1
                            while r_last > r_first and upper + (r_last - 1) * dilation[1] >= cells[1]:
                                r_last -= 1
                        conv_tile(
                            windows,
                            x_offsets + first,
                            (runs, taps[1], pieces, t_first, t_last, r_first, r_last),
                            length,
                            wk,
                            block,
                            pointer(bias) + (group * k_total + k) * width,
                            pointer(y) + (y_origin + k * width * ys[1]),
                            y_offsets + first,
                            ys[1],
                            tile_count,
                            k_count,
                            c_begin == 0,
                            c_begin + chunk >= c_group,
                            act,
                            spare,
                        )
        # Pointers do not keep an array alive: its last use does.
        memory[0], integers[0] = zero, 0

    conv.__name__ = f"{dtype}_conv_{rows}x{columns}_{isa}"
    return Kernel(conv)


# Decisions --------------------------------------------------------------------------------------------------------------


def crowding(geometry: ConvGeometry, walks: tuple[Walk, ...], machine: Machine, itemsize: int) -> float:
    """How much longer tiles of many rows take, by measurement, for windows of one pixel with its channels; 0 for others.

    Rows that conflict are copied first. Of results that the L2 cache does not hold, fewer and longer runs are faster.
    """
    g = geometry
    if not g.channels_last or prod(walk.taps for walk in walks) > 1:
        return 0.0
    if apart(g, walks, itemsize) % CONFLICT == 0:
        return 1.06
    return 1.03 if itemsize * prod(g.out_shape) > machine.l2 else 1.0


class Blocking(NamedTuple):
    """How the loops of one walk are cut: outputs of a block, channels of a chunk, blocks of output channels of an item."""

    rows: int
    columns: int
    chunk: int
    k_blocks: int
    direct: bool


def apart(geometry: ConvGeometry, walks: tuple[Walk, ...], itemsize: int) -> int:
    """Bytes from what one row of a tile reads to what the next does."""
    return itemsize * (geometry.in_channels * walks[2].stride if geometry.channels_last else 1)


def is_direct(geometry: ConvGeometry, walks: tuple[Walk, ...], tile: Tile, itemsize: int) -> bool:
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


def blocking(geometry: ConvGeometry, walks: tuple[Walk, ...], tile: Tile, machine: Machine, itemsize: int) -> Blocking:
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
    k_total = max(1, -(-vectors // tile.columns))
    rows = min(rows, max(1, 4096 // max(1, columns)))
    columns = -(-columns // -(-columns // 4096))
    if height.outputs == 1 and depth.outputs * g.batch * g.groups < 8 and columns == width.outputs > 32 * tile.rows:
        columns = -(-columns // 8)
    columns = -(-columns // tile.rows) * tile.rows if columns < width.outputs else columns
    items = g.batch * g.groups * depth.outputs * -(-height.outputs // rows) * -(-width.outputs // columns)
    return Blocking(
        rows, columns, max(1, chunk), -(-k_total // min(k_total, -(-8 // max(1, items)))), is_direct(g, walks, tile, itemsize)
    )


# Plan -----------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def drafts(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> tuple[packing.Draft, ...]:
    """A draft for each walk of the geometry."""
    g, lanes = flattened(geometry), machine.lanes(dtype)
    xs, ys = strides(g, g.in_channels, g.in_size), strides(g, g.out_channels, g.out_size)
    found = []
    for walks in product(*(g.walks(axis) for axis in range(SPATIAL_AXES))):
        outputs, taps = (tuple(getattr(walk, name) for walk in walks) for name in ("outputs", "taps"))
        crowded = crowding(g, walks, machine, dtype.itemsize)
        tile = tile_for(prod(outputs[1:]), -(-g.out_per_group // lanes), machine, crowded)
        cut, width = blocking(g, walks, tile, machine, dtype.itemsize), tile.columns * lanes
        blocks = -(-g.out_per_group // width)
        rows = g.groups * blocks * width
        sizes = (
            *xs,
            *ys[:2],
            *(stride * walk.step for stride, walk in zip(ys[2:], walks, strict=True)),
            *(getattr(walk, name) for name in ("outputs", "taps", "cells", "origin", "stride", "dilation") for walk in walks),
            *(g.groups, g.in_per_group, g.out_per_group),
            *cut,
            sum(stride * walk.first for stride, walk in zip(ys[2:], walks, strict=True)),
            g.mode,
            packing.whole_lines(rows, dtype),
        )
        items = g.batch * g.groups * outputs[0] * -(-outputs[1] // cut.rows) * -(-outputs[2] // cut.columns)
        names = element(dtype), machine.isa
        found.append(
            packing.Draft(
                kernel(*tile, lanes, g.channels_last, *names),
                items * -(-blocks // cut.k_blocks),
                g.batch * prod(outputs) * g.out_channels * g.in_per_group * prod(taps) // 8,
                (np.array(sizes, np.int64), epilogue.scalars(g.activation, dtype)),
                packing.weight_packer(lanes, *names),
                g.groups * blocks,
                rows,
                rows * g.in_per_group * prod(taps),
                np.array(
                    (blocks, width, g.out_per_group, g.in_per_group, cut.chunk, *taps, *tap_steps(g, walks), sizes[-1]),
                    np.int64,
                ),
            )
        )
    return tuple(found)


def pack(w: Array, bias: Array, geometry: ConvGeometry) -> tuple[Launch, ...]:
    """A launch for each walk of the geometry, with the weights of its taps."""
    bias = widened(bias, geometry)
    return tuple(packing.launched(draft, w, bias) for draft in drafts(geometry, w.dtype, host()))


def cost(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Of py."""
    g, lanes = flattened(geometry), machine.lanes(dtype)
    vectors, c_vectors = -(-g.out_per_group // lanes), -(-g.in_per_group // lanes)
    cycles = float(CALL)
    # Every second element of a line is written at a time, and lines that the L2 cache does not hold are fetched each time.
    apart = 16 + (7 * lanes if dtype.itemsize * prod(g.out_shape) > 3 * machine.l2 else 0)
    for walks in product(*(g.walks(axis) for axis in range(SPATIAL_AXES))):
        outputs, taps = [walk.outputs for walk in walks], [walk.taps for walk in walks]
        if not prod(outputs):
            continue
        tile = tile_for(prod(outputs[1:]), vectors, machine, crowding(g, walks, machine, dtype.itemsize))
        cut = blocking(g, walks, tile, machine, dtype.itemsize)
        high, wide = min(cut.rows, outputs[1]), min(cut.columns, outputs[2])
        blocks = g.batch * g.groups * outputs[0] * -(-outputs[1] // cut.rows) * -(-outputs[2] // cut.columns)
        tiles = blocks * -(-high * wide // tile.rows) * -(-vectors // tile.columns)
        chunks = -(-g.in_per_group // cut.chunk)
        inside = walks[0].share_inside * walks[1].share_inside if g.mode == 0 else 1.0
        cycles += tiles * g.in_per_group * prod(taps) * inside * max(tile.rows * tile.columns, 8) / machine.units
        cycles += 110 * tiles * chunks
        if not cut.direct:
            cells = taps[0] * walks[1].reach(high) * walks[2].reach(wide)
            cycles += (5.5 if g.channels_last else 1.0) * blocks * cells * c_vectors
        if not g.channels_last:
            cycles += (7 if walks[2].step == 1 else apart) * blocks * high * wide * vectors * chunks
    return machine.seconds(cycles, g.bytes(dtype.itemsize))
