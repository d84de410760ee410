"""Direct convolution of few input channels, channels first: vectors lie along the width, and no output is transposed.

    y [k][w] = act(bias[k] + sum over l of x[offset[l] + w] * w[k][l])        l runs over c, r, s

A block of each input plane is copied with its padding, which leaves it in the cache, its columns sorted by their phase of the
stride, so that the cells under a tap follow each other whatever the stride. A tile of output channels by vectors of one output
row then reads each vector of a tap once for all of its channels; what is left of a row, half a tile or less, goes to tiles of
one vector. First layers of networks, grouped convolutions with few channels a group, and one-channel signals take this road,
where vectors along the channels would be half empty.

Where a group has one output channel, as an image filter has, the rows of a tile are output rows that follow each other: the
kernel meets each of them one row further down. Weights are read where they lie, since a vector takes one at a time.
"""

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from fastconv.kernels.jit import NO_WEIGHTS, Kernel, Launch, compiled, element, inlined
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import epilogue, packing
from fastconv.kernels.simd.engine.costs import CALL
from fastconv.kernels.simd.engine.walks import plane_sizes
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array, ConvGeometry

peek, poke, pointer = vector.peek, vector.poke, vector.pointer

# (output channels, vectors of a row) of a tile, by the number of vector registers.
TILES = {
    32: ((8, 3), (8, 2), (4, 4), (4, 2), (8, 1), (4, 1), (2, 4), (1, 8), (1, 4)),
    16: ((4, 2), (6, 1), (2, 4), (2, 2), (1, 8), (1, 4)),
}
# The same, of (output rows, vectors), for one output channel.
STACKS = {32: ((2, 8), (2, 4), (1, 8), (1, 4)), 16: ((2, 4), (2, 2), (1, 8), (1, 4))}
MOST_CHANNELS = 16  # of a group


@lru_cache(maxsize=32)
def kernel(rows: int, columns: int, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over blocks of outputs of a group of an image: f32_planar_8x3_avx512."""
    activate_tile = epilogue.activation_of(dtype)
    pack_windows = packing.window_packer(lanes, True)
    width = columns * lanes

    @compiled
    def sort_phases(line, sorted_line, stride, each, cells):
        """sorted_line[phase][i] = line[i * stride + phase], `each` cells a phase; what is written beyond comes again"""
        if stride == 2:
            for phase in range(2):
                for i in range(0, each, lanes):
                    at = line + (2 * i + phase)
                    both = vector.every_second(vector.load(at, lanes), vector.load(at + lanes, lanes))
                    vector.store(sorted_line + (phase * each + i), both)
            return
        for phase in range(stride):
            for i in range((cells - phase + stride - 1) // stride):
                poke(sorted_line + (phase * each + i), peek(line + (i * stride + phase)))

    last, slim = rows - 1, slims(rows, columns)

    @inlined
    def stacked(tile, weights, source, offsets, taps, widths):
        """The taps of one channel; cells outside a row's window must not meet it, not even with a weight of zero."""
        lines = vector.rows_apart(weights, -widths, rows, rows)
        for i in range(widths):
            tile = vector.fma_row(tile, 0, weights + i, source + peek(offsets + i))
        for i in range(widths, taps - widths):
            tile = vector.fma_outer(tile, lines, i, source + peek(offsets + i))
        for i in range(taps - widths, taps):
            tile = vector.fma_row(tile, last, weights + (i - last * widths), source + peek(offsets + i))
        return tile

    @inlined
    def summed(tile, weights, source, offsets, c_group, taps, widths, stack, there):
        """All taps of all channels; `there` rows are output channels, or output rows of one that has a stack."""
        if stack == 1:
            lines = vector.rows_apart(weights, c_group * taps, there, rows)
            for i in range(c_group * taps):
                tile = vector.fma_outer(tile, lines, i, source + peek(offsets + i))
        else:
            for c in range(c_group):
                line = weights + c * (taps - (stack - 1) * widths)
                tile = stacked(tile, line, source, offsets + c * taps, taps, widths)
        return tile

    def planar(begin, end, x, w, bias, residual, y, sizes, parameters):
        act = epilogue.epilogue(parameters, residual, y)
        groups, c_group, k_group = packing.three(sizes, 0)
        rows_in, columns_in, rows_out = packing.three(sizes, 3)
        columns_out, heights, widths = packing.three(sizes, 6)
        down, dilation_h, dilation_w = packing.three(sizes, 9)
        top_pad, left_pad, band = packing.three(sizes, 12)
        (mode, stride, strip), stack = packing.three(sizes, 15), sizes[18]
        bands, strips = -(-rows_out // band), -(-columns_out // strip)
        k_blocks, taps = -(-k_group // rows), heights * widths
        reduction = c_group * (taps - (stack - 1) * widths)
        # Of a stack `heights` has the rows that any of its windows meets, and a last stack of a band reads on below it.
        wide = (strip - 1) * stride + (widths - 1) * dilation_w + 1
        tall = (-(-band // stack) * stack - stack) * down + (heights - 1) * dilation_h + 1
        each = -(-wide // stride)
        pitch = each * stride
        # A tile at the end of a row reads on into what follows, which is there, and does not store it.
        room = c_group * tall * pitch + (tall * wide if stride > 1 else 0) + 2 * (width + lanes)
        memory = np.empty(rows + room + 32, x.dtype)
        integers = np.empty(c_group * taps + lanes, np.int64)
        padded, zero = vector.line_start(pointer(memory) + rows), x.dtype.type(0)
        unsorted = vector.line_start(padded + (c_group * tall * pitch + width))
        offsets = pointer(integers)
        steps = offsets + c_group * taps
        starts = pointer(memory)
        for item in range(begin, end):
            rest, piece = divmod(item, strips)
            rest, part = divmod(rest, bands)
            n, group = divmod(rest, groups)
            top, left = part * band, piece * strip
            count, broad = min(band, rows_out - top), min(strip, columns_out - left)
            high = (-(-count // stack) * stack - stack) * down + (heights - 1) * dilation_h + 1
            wide = (broad - 1) * stride + (widths - 1) * dilation_w + 1
            each = -(-wide // stride)
            pitch = each * stride
            for c in range(c_group):
                plane = pointer(x) + ((n * groups + group) * c_group + c) * rows_in * columns_in
                at = padded + c * high * pitch
                corner = (0, top * down - top_pad, left * stride - left_pad)
                steps_x = (0, 0, 0, columns_in, 1)
                to = at if stride == 1 else unsorted
                pack_windows(plane, to, zero, steps_x, (1, rows_in, columns_in), corner, high, wide, 1, 1, 1, 1, mode, steps)
                if stride > 1:
                    for row in range(high):
                        sort_phases(unsorted + row * wide, at + row * pitch, stride, each, wide)
                for r in range(heights):
                    for s in range(widths):
                        cell, phase = (s * dilation_w, 0) if stride == 1 else divmod(s * dilation_w, stride)
                        place = (c * high + r * dilation_h) * pitch + phase * each + cell
                        poke(offsets + ((c * heights + r) * widths + s), place)
            for k in range(k_blocks):
                first, there = group * k_group + k * rows, min(rows, k_group - k * rows)
                weights, first_bias = pointer(w) + first * reduction, pointer(bias) + first
                if there < rows:  # of the last block, or of a stack, whose rows all have one channel's
                    for i in range(rows):
                        poke(starts + i, peek(first_bias + min(i, there - 1)))
                    first_bias = starts
                plane = pointer(y) + (n * groups * k_group + first) * rows_out * columns_out
                apart = rows_out * columns_out if stack == 1 else columns_out
                for h in range(0, count, stack):
                    shown = there if stack == 1 else min(stack, count - h)
                    line = plane + ((top + h) * columns_out + left)
                    column = 0
                    while column < broad:
                        source, room = padded + (h * down * pitch + column), broad - column
                        if slim and 2 * room <= width:
                            narrow = vector.first_values(first_bias, rows, 1, lanes)
                            narrow = summed(narrow, weights, source, offsets, c_group, taps, widths, stack, there)
                            vector.store_spans(activate_tile(narrow, act), line + column, apart, shown, room)
                            column += lanes
                            continue
                        tile = vector.first_values(first_bias, rows, columns, lanes)
                        tile = summed(tile, weights, source, offsets, c_group, taps, widths, stack, there)
                        vector.store_spans(activate_tile(tile, act), line + column, apart, shown, room)
                        column += width
                    if epilogue.is_unfinished(act):
                        for i in range(shown):
                            epilogue.finish_run(line + i * apart, broad, act)
        memory[0], integers[0] = zero, 0  # pointers do not keep an array alive: their last use does

    planar.__name__ = f"{dtype}_planar_{rows}x{columns}_{isa}"
    return Kernel(planar)


# Decisions --------------------------------------------------------------------------------------------------------------


def suits(geometry: ConvGeometry) -> bool:
    """Whether few channels lie in planes, and rows are not mostly steps; the estimate knows what rows of few vectors cost."""
    g = geometry
    if (g.channels_last and g.in_channels + g.out_channels > 2) or g.transposed or g.rank > 2:
        return False
    return 0 < g.in_per_group <= MOST_CHANNELS and g.stride[-1] <= max(g.window[-1], g.in_size[-1] // 2)


def slims(rows: int, columns: int) -> bool:
    """Whether half a tile or less, at the end of a row, is left to tiles of one vector."""
    return columns > 1 and rows >= 4


def tiles_of_row(vectors: int, rows: int, columns: int) -> tuple[int, int]:
    """(tiles, tiles of one vector) of an output row."""
    whole, left = divmod(vectors, columns)
    return (whole, left) if slims(rows, columns) and 2 * left <= columns else (whole + (left > 0), 0)


def stack_for(height: int, vectors: int, machine: Machine) -> tuple[int, int]:
    """The tile that takes the fewest cycles for one channel: of (output rows, vectors), loads that cross lines count twice."""

    def cycles(tile: tuple[int, int]) -> float:
        rows, columns = tile
        return -(-vectors // columns) * (height + rows - 1) * max(rows * columns, 2 * columns + rows, 8) / rows

    return min(STACKS[machine.registers], key=cycles)


def tile_for(channels: int, vectors: int, machine: Machine) -> tuple[int, int]:
    """The tile that takes the fewest cycles over `channels` output channels and `vectors` vectors of a row."""

    def cycles(tile: tuple[int, int]) -> float:
        rows, columns = tile
        large, narrow = tiles_of_row(vectors, rows, columns)
        each = large * max(rows * columns, rows + 2 * columns, 8) + narrow * max(rows + 2, 8)
        return -(-channels // rows) * each / 2

    return min(TILES[machine.registers], key=cycles)


@lru_cache(maxsize=256)
def draft(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> Launch:
    """The launch without its weights."""
    g, lanes = geometry, machine.lanes(dtype)
    in_size, out_size, taps, steps, dilation, before = plane_sizes(g)
    vectors, stack = -(-out_size[1] // lanes), 1
    if g.out_per_group == steps[0] == dilation[0] == 1:
        stack, columns = rows, _ = stack_for(taps[0], vectors, machine)
        taps = (taps[0] + stack - 1, taps[1])
    else:
        rows, columns = tile_for(g.out_per_group, vectors, machine)
    extent = tuple(spread * (count - 1) + 1 for spread, count in zip(dilation, taps, strict=True))
    room = machine.l2 // 4 // dtype.itemsize
    band, strip = packing.cut_plane(out_size, steps, extent, g.in_per_group, room, g.batch * g.groups)
    sizes = (
        *(g.groups, g.in_per_group, g.out_per_group),
        *in_size,
        *out_size,
        *taps,
        steps[0],
        *dilation,
        *before,
        band,
        g.mode,
        steps[1],
        strip,
        stack,
    )
    items = g.batch * g.groups * -(-out_size[0] // band) * -(-out_size[1] // strip)
    chosen = kernel(rows, columns, lanes, element(dtype), machine.isa)
    work = g.batch * g.groups * prod(out_size) * g.out_per_group * g.reduction // 8
    arguments = (np.array(sizes, np.int64), epilogue.scalars(g.activation, dtype))
    return Launch(chosen, items, work, NO_WEIGHTS, NO_WEIGHTS, arguments)


def pack(w: Array, bias: Array, geometry: ConvGeometry) -> tuple[Launch, ...]:
    """The weights themselves."""
    return (draft(geometry, w.dtype, host()).with_weights(w.reshape(-1), bias),)


def cost(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Of py."""
    g, lanes = geometry, machine.lanes(dtype)
    _, outputs, (heights, widths), steps, dilation, _ = plane_sizes(g)
    vectors, stack, blocks = -(-outputs[1] // lanes), 1, 1
    if g.out_per_group == steps[0] == dilation[0] == 1:
        stack, columns = stack_for(heights, vectors, machine)
        rows = stack
    else:
        rows, columns = tile_for(g.out_per_group, vectors, machine)
        blocks = -(-g.out_per_group // rows)
    extent = tuple(spread * (count - 1) + 1 for spread, count in zip(dilation, (heights, widths), strict=True))
    room = machine.l2 // 4 // dtype.itemsize
    band, strip = packing.cut_plane(outputs, steps, extent, g.in_per_group, room, g.batch * g.groups)
    bands, strips, images = -(-outputs[0] // band), -(-outputs[1] // strip), g.batch * g.groups
    terms = g.in_per_group * (heights + stack - 1) * widths
    large, narrow = tiles_of_row(-(-min(strip, outputs[1]) // lanes), rows, columns)
    stacks = images * blocks * -(-outputs[0] // stack) * strips
    tiles, used = stacks * (large + narrow), stacks * (large * columns + narrow)
    lines = images * bands * strips * g.in_per_group * ((min(band, outputs[0]) - 1) * steps[0] + extent[0])
    cells = lines * ((min(strip, outputs[1]) - 1) * steps[1] + extent[1])
    products = used * g.in_per_group * heights * widths * rows
    cycles = CALL + (0.8 * products + 0.25 * terms * (tiles * rows + 2 * used)) / min(machine.units, 1.5)
    cycles += 20 * tiles + used * rows + 20 * lines + cells * (4 / lanes + (0, 0, 0.4, 1)[min(steps[1], 3)])
    return machine.seconds(cycles + 6 * images * bands * strips * terms, g.bytes(dtype.itemsize))
