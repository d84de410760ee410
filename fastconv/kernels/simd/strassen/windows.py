"""Strassen's algorithm for every convolution: windows as rows of pixels, whose channels follow each other.

    y [P, K] = act(bias [K] + windows [P, L] @ w [L, K])       P output positions, K output channels, L = taps * input channels

by halves of P, L and K, as strassen_products.py has them. Neighbouring positions go together, and the first half of the input
channels with the second one.

    for block of output rows and columns:
      for pair of positions, for tap:
        seven panels [pair, L / 2] = sums of both pixels' halves
      for block of `columns` vectors of output channels, of each half:
        for tile of `rows` pairs:                               seven products, four results

Pixels are read where they lie, those of padding as zeros; channels first, a block is turned to pixels before it is summed, and
its results back.
"""

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from fastconv.kernels.jit import Kernel, Launch, compiled, element, inlined
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import epilogue, microkernel, packing
from fastconv.kernels.simd.engine.walks import flattened, strides, tap_steps, widened
from fastconv.kernels.simd.strassen.cuts import Walks, choice, in_place, outputs_of, room_of, step_of, walks_of
from fastconv.kernels.simd.strassen.products import A11, A12, A22, GROUP, PANELS, SPARE, seven_products, summed
from fastconv.kernels.simd.strassen.weights import Draft, drafted, launched, places
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array, ConvGeometry

peek, poke, pointer = vector.peek, vector.poke, vector.pointer


@lru_cache(maxsize=64)
def kernel(rows: int, columns: int, lanes: int, channels_last: bool, dtype: str, isa: str) -> Kernel:
    """The compiled loops over blocks of pairs of positions: f32_strassen_5x4_avx512."""
    width, line = columns * lanes, packing.LINE // (8 if dtype == "f64" else 4)
    store = microkernel.tile_store(rows, columns, lanes, True, dtype)
    add, add_copied, (_, clear) = summed(lanes, False)[1], summed(lanes, True)[1], packing.runs(lanes)
    pack_windows, unpack = packing.window_packer(lanes, False), packing.unpacker(lanes)

    def multiply(tile, panel, operands, index):
        (plain, behind, firsts, seconds), (sums, a_panel, offsets), weights, b_panel, length = operands
        at, table = sums + panel * a_panel, offsets + index * rows
        if panel == A11:
            at, table = plain, firsts + index * rows
        elif panel == A12:
            at, table = plain + behind, firsts + index * rows
        elif panel == A22:
            at, table = plain + behind, seconds + index * rows
        sources = vector.rows_at(at, table, rows)
        weights = weights + panel * b_panel
        for i in range(length):
            tile = vector.fma_outer(tile, sources, i, weights + i * width)
        return tile

    def finish(tile, second, half, results, index):
        y, y_half, offsets, apart, pairs, shown, shown_half, bias, factors, of_half, act, spare = results
        here = shown_half if half else shown
        if here > 0:
            tile = vector.scaled_columns(tile, factors + half * of_half, bias + half * of_half)
            places, count = offsets + (second * apart + index * rows), min(rows, pairs - index * rows)
            store(tile, y + half * y_half, places, 1, count, min(width, here), True, act, spare)

    compute = seven_products(rows, columns, lanes, inlined(multiply), inlined(finish))

    @compiled
    def pixel(x, xs, cells, place, mode, zeros):
        """Where the channels of a cell lie, or zeros."""
        d, h, w = (
            packing.cell_under(place[0], cells[0], mode),
            packing.cell_under(place[1], cells[1], mode),
            packing.cell_under(place[2], cells[2], mode),
        )
        if d < 0 or h < 0 or w < 0:
            return zeros
        return x + (d * xs[2] + h * xs[3] + w * xs[4])

    def strassen(begin, end, x, w, bias, residual, y, sizes, parameters):
        act = epilogue.epilogue(parameters, residual, y)
        xs, ys = packing.five(sizes, 0), packing.five(sizes, 5)
        outputs, taps, cells = packing.three(sizes, 10), packing.three(sizes, 13), packing.three(sizes, 16)
        origin, stride, dilation = packing.three(sizes, 19), packing.three(sizes, 22), packing.three(sizes, 25)
        groups, c_group, k_group = packing.three(sizes, 28)
        block_rows, block_columns, k_part, blocks, mode = packing.five(sizes, 31)
        (factors, panels, a_step, window, room), in_place = packing.five(sizes, 36), sizes[41] > 0
        k_parts = -(-blocks // k_part)
        row_items, column_items = -(-outputs[1] // block_rows), -(-outputs[2] // block_columns)
        half, count_taps = -(-c_group // 2), taps[0] * taps[1] * taps[2]
        length, most = count_taps * half, -(-block_rows * block_columns // 2)
        a_panel, b_panel = most * a_step + line, length * width
        outcome = 0 if channels_last else block_rows * block_columns + lanes
        zero, size = x.dtype.type(0), rows * width

        memory = np.empty(room, x.dtype)
        integers = np.empty(5 * (most + rows) + lanes, np.int64)
        sums = vector.line_start(pointer(memory))
        spare = vector.line_start(sums + PANELS * a_panel)
        zeros = vector.line_start(spare + (SPARE + 1) * size)
        windows = vector.line_start(zeros + c_group + lanes)
        finished = vector.line_start(windows + window)
        apart = most + rows
        a_offsets = pointer(integers)
        x_offsets, y_offsets = a_offsets + apart, a_offsets + 3 * apart
        steps = y_offsets + 2 * apart
        clear(zeros, zero, c_group)
        summed_block = -1  # the items of one block follow each other

        for item in range(begin, end):
            block, part = divmod(item, k_parts)
            rest, column_item = divmod(block, column_items)
            rest, row_item = divmod(rest, row_items)
            rest, depth = divmod(rest, outputs[0])
            n, group = divmod(rest, groups)
            top, left = row_item * block_rows, column_item * block_columns
            high, broad = min(block_rows, outputs[1] - top), min(block_columns, outputs[2] - left)
            positions = high * broad
            pairs = -(-positions // 2)
            k_begin = part * k_part
            k_here = min(k_part, blocks - k_begin)
            # Where the pixels of the block lie, and its results go.
            source = pointer(x) + (n * xs[0] + group * c_group * xs[1])
            to = pointer(y) + (sizes[42] + n * ys[0] + depth * ys[2] + top * ys[3] + left * ys[4] + group * k_group * ys[1])
            corner = (origin[0] + depth * stride[0], origin[1] + top * stride[1], origin[2] + left * stride[2])
            if channels_last:
                y_row, y_column = ys[3], ys[4]
                at, y_half = to + k_begin * width, blocks * width
            else:
                y_row, y_column = broad * k_part * width, k_part * width
                at, y_half = finished, outcome * k_part * width

            x_row, x_column = stride[1] * xs[3], stride[2] * xs[4]
            plain, behind = sums + A11 * a_panel, (A12 - A11) * a_panel
            if in_place:
                plain, behind = source + (corner[0] * xs[2] + corner[1] * xs[3] + corner[2] * xs[4]), half

            if block != summed_block:
                summed_block = block
                inner, inner_cells, start = xs, cells, corner
                if not channels_last:
                    tall, wide = (
                        (high - 1) * stride[1] + (taps[1] - 1) * dilation[1] + 1,
                        (broad - 1) * stride[2] + (taps[2] - 1) * dilation[2] + 1,
                    )
                    pack_windows(
                        source,
                        windows,
                        zero,
                        xs,
                        cells,
                        corner,
                        tall,
                        wide,
                        taps[0],
                        dilation[0],
                        c_group,
                        c_group,
                        mode,
                        steps,
                    )
                    source = windows
                    inner, inner_cells = (0, 1, tall * wide * c_group, wide * c_group, c_group), (taps[0], tall, wide)
                    start = (0, 0, 0)
                # Channels first, the depths that a window meets follow each other.
                deep = dilation[0] if channels_last else 1
                for pair in range(pairs):
                    i1, j1 = divmod(2 * pair, broad)
                    i2, j2 = divmod(min(2 * pair + 1, positions - 1), broad)
                    to_pair = sums + pair * a_step
                    if in_place:
                        first = plain + (i1 * x_row + j1 * x_column)
                        second = plain + (i2 * x_row + j2 * x_column)
                        add(to_pair, a_panel, first, second, half, half, c_group - half)
                        continue
                    for tap in range(count_taps):
                        rest, s = divmod(tap, taps[2])
                        t, r = divmod(rest, taps[1])
                        d, h, c = start[0] + t * deep, start[1] + r * dilation[1], start[2] + s * dilation[2]
                        first = pixel(source, inner, inner_cells, (d, h + i1 * stride[1], c + j1 * stride[2]), mode, zeros)
                        second = pixel(source, inner, inner_cells, (d, h + i2 * stride[1], c + j2 * stride[2]), mode, zeros)
                        add_copied(to_pair + tap * half, a_panel, first, second, half, half, c_group - half)

            for pair in range(-(-pairs // rows) * rows):
                real = min(pair, pairs - 1)  # the last pair fills up the last tile
                i1, j1 = divmod(2 * real, broad)
                i2, j2 = divmod(min(2 * real + 1, positions - 1), broad)
                poke(a_offsets + pair, real * a_step)
                poke(x_offsets + pair, i1 * x_row + j1 * x_column if in_place else real * a_step)
                poke(
                    x_offsets + (apart + pair),
                    i2 * x_row + j2 * x_column if in_place else real * a_step + (A22 - A12) * a_panel,
                )
                poke(y_offsets + pair, i1 * y_row + j1 * y_column)
                # The second output of an odd last pair goes where the first one then comes.
                poke(y_offsets + (apart + pair), i2 * y_row + j2 * y_column)

            of_half = blocks * width
            for k in range(k_begin, k_begin + k_here):
                weights = pointer(w) + (panels + (group * blocks + k) * PANELS * b_panel)
                offset = pointer(bias) + (group * 2 * blocks + k) * width
                shown = k_group - k * width
                for first in range(0, pairs, GROUP * rows):
                    left = pairs - first
                    pixels = plain, behind, x_offsets + first, x_offsets + (apart + first)
                    compute(
                        min(GROUP, -(-left // rows)),
                        (pixels, (sums, a_panel, a_offsets + first), weights, b_panel, length),
                        (
                            at + (k - k_begin) * width,
                            y_half,
                            y_offsets + first,
                            apart,
                            left,
                            shown,
                            shown - of_half,
                            offset,
                            offset + factors,
                            of_half,
                            act,
                            spare + SPARE * size,
                        ),
                        spare,
                    )
            if not channels_last:
                for second_half in range(2):
                    k_first = second_half * of_half + k_begin * width
                    shown = min(k_here * width, k_group - k_first)
                    if shown > 0:
                        unpack(at + second_half * y_half, high, broad, shown, y_column, to + k_first * ys[1], ys[3], ys[1])
        memory[0], integers[0] = zero, 0  # pointers do not keep an array alive: its last use does

    strassen.__name__ = f"{dtype}_strassen_{rows}x{columns}_{isa}"
    return Kernel(strassen)


# Plan -----------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def drafts(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> tuple[Draft, ...]:
    """A draft for each walk of the geometry that has outputs."""
    g = flattened(geometry)
    return tuple(draft(g, walks, dtype, machine) for walks in walks_of(g) if prod(outputs_of(walks)))


def draft(geometry: ConvGeometry, walks: Walks, dtype: np.dtype[Any], machine: Machine) -> Draft:
    """The draft of one walk."""
    g, cut, lanes = geometry, choice(geometry, walks, dtype, machine)[1], machine.lanes(dtype)
    assert cut is not None, "supports() tells"
    taps, names = tuple(walk.taps for walk in walks), (element(dtype), machine.isa)
    room, windows = room_of(g, walks, cut, lanes, dtype.itemsize)
    rows, ys = g.groups * 2 * cut.blocks * cut.columns * lanes, strides(g, g.out_channels, g.out_size)
    sizes = (
        *strides(g, g.in_channels, g.in_size),
        *ys[:2],
        *(step * walk.step for step, walk in zip(ys[2:], walks, strict=True)),
        *(getattr(walk, name) for name in ("outputs", "taps", "cells", "origin", "stride", "dilation") for walk in walks),
        *(g.groups, g.in_per_group, g.out_per_group),
        *(cut.block_rows, cut.block_columns, cut.k_part, cut.blocks, g.mode),
        *(rows, places(rows, dtype)[1], step_of(g, walks, lanes, dtype.itemsize), windows, room),
        int(in_place(g, walks, cut.rows, dtype.itemsize)),
        sum(step * walk.first for step, walk in zip(ys[2:], walks, strict=True)),
    )
    deep, height, broad = outputs_of(walks)
    items = g.batch * g.groups * deep * -(-cut.blocks // cut.k_part)
    items *= -(-height // max(1, cut.block_rows)) * -(-broad // max(1, cut.block_columns))
    work = g.batch * prod(outputs_of(walks)) * g.out_channels * g.in_per_group * prod(taps) // 4
    chosen = kernel(cut.rows, cut.columns, lanes, g.channels_last, *names)
    bare = chosen, items, work, (np.array(sizes, np.int64), epilogue.scalars(g.activation, dtype))
    of_group = cut.blocks, cut.columns * lanes, g.out_per_group, g.in_per_group
    return drafted(bare, g.groups, of_group, taps, tap_steps(g, walks), dtype, (lanes, *names))


def pack(w: Array, bias: Array, geometry: ConvGeometry) -> tuple[Launch, ...]:
    """A launch for each walk: bias, factors and seven panels a block of output channels, as strassen_weights.py has them."""
    bias = widened(bias, geometry)
    return tuple(launched(found, w, bias) for found in drafts(geometry, w.dtype, host()))
