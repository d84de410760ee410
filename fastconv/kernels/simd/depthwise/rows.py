"""Depthwise convolution: each channel by a kernel of its own, by the row; channels last also groups of a few channels.

    y[n, c, p] = act(bias[c] + sum over taps of x[n, c, p * stride + tap - padding] * w[c, tap])

Channels last, vectors lie along the channels, and a tile of output positions in one row reads every input vector of a kernel
row once; rows of padding are left out, and the few columns whose windows meet padding take a path of their own. Channels
first, and where few channels lie together, square kernels without dilation are depthwise_planes.py's; others of few channels
last interleaved.py's. Of others channels first, a band of as many planes as a vector has lanes is turned to channels last, with
its padding, in the cache; it goes through the same tile, and is turned back.

Zhang, Lo and Lu, High Performance Depthwise and Pointwise Convolutions on Mobile Devices (2020), section 3, for the reuse of
rows.
"""

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from fastconv.kernels.jit import NO_WEIGHTS, Kernel, Launch, element
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.depthwise import interleaved
from fastconv.kernels.simd.depthwise import planes as depthwise_planes
from fastconv.kernels.simd.engine import epilogue, packing
from fastconv.kernels.simd.engine.costs import CALL
from fastconv.kernels.simd.engine.walks import plane_sizes
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array, ConvGeometry
from fastconv.problem.problem import Operands, Problem

peek, poke, pointer = vector.peek, vector.poke, vector.pointer
cell_under = packing.cell_under

WIDEST = 7  # taps of a kernel row that are unrolled
ROWS = (8, 7, 6, 5, 4)  # output positions of a tile, channels last


@lru_cache(maxsize=64)
def channels_last_kernel(rows: int, taps: int, stride: int, group: int, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over rows of n, h: f32_depthwise_8x1_3s1_g1_nhwc_avx512."""
    activate_tile = epilogue.activation_of(dtype)

    def depthwise(begin, end, x, w, bias, residual, y, sizes, parameters):
        act = epilogue.epilogue(parameters, residual, y)
        channels, rows_in, columns_in, rows_out, columns_out = packing.five(sizes, 0)
        heights, strides, dilation = packing.three(sizes, 5)
        top_pad, left_pad, mode = packing.three(sizes, 8)
        row_step, column_step = columns_in * channels, channels
        # Outputs inside .. outside - 1 have windows without padding on their row.
        inside = min(columns_out, -(-left_pad // stride))
        outside = max(inside, min(columns_out, (columns_in + left_pad - taps) // stride + 1))
        memory = np.empty(heights, np.int64)
        cells = pointer(memory)
        for line_out in range(begin, end):
            n, h = divmod(line_out, rows_out)
            first, last = heights, 0
            for r in range(heights):
                cell = cell_under(h * strides + r * dilation - top_pad, rows_in, mode)
                poke(cells + r, cell)
                if cell >= 0:
                    first, last = min(first, r), r + 1
            image, line = pointer(x) + n * rows_in * row_step, pointer(y) + line_out * columns_out * channels
            column = 0
            while column < columns_out:
                count = 1
                if inside <= column < outside and outside - inside >= rows:
                    count, column = rows, min(column, outside - rows)  # the last tile may overlap the one before
                for block in range(0, channels, lanes):
                    c = min(block, channels - lanes)
                    if count == rows:
                        tile = vector.repeated(pointer(bias) + c, rows, 1, lanes)
                        for r in range(first, last):
                            source = image + (peek(cells + r) * row_step + (column * stride - left_pad) * column_step + c)
                            taps_at = pointer(w) + (r * taps * group * channels + c)
                            tile = vector.fma_grouped(tile, source, column_step, taps_at, channels, taps, stride, group)
                        vector.store_tile(activate_tile(tile, act), line + (column * channels + c), channels)
                    else:
                        single = vector.repeated(pointer(bias) + c, 1, 1, lanes)
                        for r in range(first, last):
                            for s in range(taps):
                                cell = cell_under(column * stride + s - left_pad, columns_in, mode)
                                if cell >= 0:
                                    source = image + (peek(cells + r) * row_step + cell * column_step + c)
                                    taps_at = pointer(w) + ((r * taps + s) * group * channels + c)
                                    single = vector.fma_grouped(single, source, 0, taps_at, channels, 1, 1, group)
                        vector.store_tile(activate_tile(single, act), line + (column * channels + c), channels)
                column += count
            if epilogue.is_unfinished(act):
                epilogue.finish_run(line, columns_out * channels, act)
        memory[0] = 0  # pointers do not keep an array alive: its last use does

    depthwise.__name__ = f"{dtype}_depthwise_{rows}x1_{taps}s{stride}_g{group}_nhwc_{isa}"
    return Kernel(depthwise)


@lru_cache(maxsize=64)
def channels_first_kernel(rows: int, taps: int, stride: int, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over blocks of outputs of `lanes` planes: f32_depthwise_8x1_3s1_nchw_avx512.

    `taps` of a kernel row are unrolled at a time: all of them, or one where they lie apart.
    """
    activate_tile = epilogue.activation_of(dtype)
    pack_windows, unpack = packing.window_packer(lanes, False), packing.unpacker(lanes)

    def depthwise(begin, end, x, w, bias, residual, y, sizes, parameters):
        act = epilogue.epilogue(parameters, residual, y)
        channels, rows_in, columns_in = packing.three(sizes, 0)
        rows_out, columns_out, heights = packing.three(sizes, 3)
        pieces, down, dilation_h = packing.three(sizes, 6)
        dilation_w, top_pad, left_pad = packing.three(sizes, 9)
        band, mode, strip = packing.three(sizes, 12)
        blocks, bands, strips = -(-channels // lanes), -(-rows_out // band), -(-columns_out // strip)
        filled = blocks * lanes
        wide = (strip - 1) * stride + (taps * pieces - 1) * dilation_w + 1
        tall = (band - 1) * down + (heights - 1) * dilation_h + 1
        zero = x.dtype.type(0)
        memory = np.empty((tall * wide + band * strip + lanes) * lanes + 48, x.dtype)
        integers = np.empty(lanes, np.int64)
        windows, steps = vector.line_start(pointer(memory)), pointer(integers)
        finished = vector.line_start(windows + tall * wide * lanes)
        for item in range(begin, end):
            rest, piece = divmod(item, strips)
            rest, part = divmod(rest, bands)
            n, block = divmod(rest, blocks)
            c, top, left = block * lanes, part * band, piece * strip
            c_count, count, broad = min(lanes, channels - c), min(band, rows_out - top), min(strip, columns_out - left)
            high = (count - 1) * down + (heights - 1) * dilation_h + 1
            wide = (broad - 1) * stride + (taps * pieces - 1) * dilation_w + 1
            plane_in, plane_out = rows_in * columns_in, rows_out * columns_out
            if c_count < lanes:  # lanes without a channel hold numbers that are quick to multiply
                for i in range(high * wide * lanes):
                    poke(windows + i, zero)
            pack_windows(
                pointer(x) + (n * channels + c) * plane_in,
                windows,
                zero,
                (0, plane_in, 0, columns_in, 1),
                (1, rows_in, columns_in),
                (0, top * down - top_pad, left * stride - left_pad),
                high,
                wide,
                1,
                1,
                c_count,
                lanes,
                mode,
                steps,
            )
            for h in range(count):
                for begun in range(0, broad, rows):
                    column = min(begun, broad - rows)  # the last tile may overlap the one before
                    tile = vector.repeated(pointer(bias) + c, rows, 1, lanes)
                    for r in range(heights):
                        source = windows + ((h * down + r * dilation_h) * wide + column * stride) * lanes
                        taps_at = pointer(w) + (r * pieces * taps * filled + c)
                        for piece in range(pieces):
                            at, weights = source + piece * dilation_w * lanes, taps_at + piece * taps * filled
                            tile = vector.fma_grouped(tile, at, lanes, weights, filled, taps, stride, 1)
                    vector.store_tile(activate_tile(tile, act), finished + (h * broad + column) * lanes, lanes)
            to = pointer(y) + ((n * channels + c) * plane_out + top * columns_out + left)
            unpack(finished, count, broad, c_count, lanes, to, columns_out, plane_out)
            if epilogue.is_unfinished(act):
                for k in range(c_count):
                    for h in range(count):
                        epilogue.finish_run(to + (k * plane_out + h * columns_out), broad, act)
        memory[0], integers[0] = zero, 0  # pointers do not keep an array alive: their last use does

    depthwise.__name__ = f"{dtype}_depthwise_{rows}x1_{taps}s{stride}_nchw_{isa}"
    return Kernel(depthwise)


def supports(problem: Problem) -> str | None:
    """One channel a group, or few; two axes at most, float32 or float64, strides and kernels the loops are written for."""
    geometry, dtype = problem.geometry, problem.dtype
    g = geometry
    if dtype not in (np.float32, np.float64):
        return f"its vectors are float32 or float64, not {dtype}"
    lanes = host().lanes(dtype)
    small = g.groups > 1 and g.channels_last and g.in_per_group == g.out_per_group and lanes % max(1, g.in_per_group) == 0
    if g.transposed or not (small or g.in_per_group == g.out_per_group == 1):
        return "it serves one input and one output channel a group, or channels last a few of each"
    if g.rank > 2:
        return "it serves one or two axes"
    if g.stride[-1] > 2:
        return f"it serves a stride of 1 or 2 along the last axis, not {g.stride[-1]}"
    if not g.channels_last or depthwise_planes.suits(g, host()) or interleaved.suits(g, dtype, host()):
        return None
    if g.kernel[-1] > WIDEST or g.dilation[-1] > 1:
        return f"channels last it serves rows of at most {WIDEST} taps without dilation"
    return None if g.in_channels >= lanes else f"channels last it serves {lanes} channels or more, not {g.in_channels}"


def fuses(problem: Problem) -> bool:
    """Stacks of rows may overlap in planes.py, and what two of them store is finished in registers or not at all."""
    return not (problem.finished_later and depthwise_planes.suits(problem.geometry, host()))


def rows_for(outputs: int) -> int:
    """The tile that takes the fewest loads over `outputs` outputs whose windows meet no padding."""
    return min(ROWS, key=lambda rows: (outputs < rows, -(-outputs // rows) * (rows + 2)))


@lru_cache(maxsize=256)
def draft(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> tuple[Launch, int]:
    """(the launch without its weights, channels that they are filled up to)."""
    g, lanes, name = geometry, machine.lanes(dtype), (element(dtype), machine.isa)
    missing = 2 - g.rank
    in_size, out_size, kernel = ((1,) * missing + size for size in (g.in_size, g.out_size, g.kernel))
    strides, dilation = ((1,) * missing + steps for steps in (g.stride, g.dilation))
    before = (0,) * missing + tuple(pair[0] for pair in g.padding)
    act = epilogue.scalars(g.activation, dtype)
    if g.channels_last:
        rows = rows_for((in_size[1] - kernel[1]) // strides[1] + 1)
        chosen = channels_last_kernel(rows, kernel[1], strides[1], g.in_per_group, lanes, *name)
        sizes = (g.in_channels, *in_size, *out_size, kernel[0], strides[0], dilation[0], *before, g.mode)
        arguments = (np.array(sizes, np.int64), act)
        return Launch(chosen, g.batch * out_size[0], 2 * g.flops, NO_WEIGHTS, NO_WEIGHTS, arguments), g.out_channels
    taps = kernel[1] if dilation[1] == 1 and kernel[1] <= WIDEST else 1
    filled = -(-g.out_channels // lanes) * lanes
    extent = tuple(spread * (count - 1) + 1 for spread, count in zip(dilation, kernel, strict=True))
    room = machine.l2 // 4 // dtype.itemsize
    band, strip = packing.cut_plane(out_size, strides, extent, lanes, room, g.batch * (filled // lanes))
    rows = min(rows_for(strip), out_size[1] % strip or strip)
    chosen = channels_first_kernel(rows, taps, strides[1], lanes, *name)
    sizes = (g.in_channels, *in_size, *out_size, kernel[0], kernel[1] // taps, strides[0], *dilation, *before)
    items = g.batch * (filled // lanes) * -(-out_size[0] // band) * -(-out_size[1] // strip)
    arguments = (np.array((*sizes, band, g.mode, strip), np.int64), act)
    return Launch(chosen, items, 2 * g.flops, NO_WEIGHTS, NO_WEIGHTS, arguments), filled


def pack(w: Array, bias: Array, problem: Problem) -> Launch:
    """Weights as [r][s][channel of the group][k] channels last, [r][s][k] first, or as the other files have them."""
    geometry = problem.geometry
    g, machine = geometry, host()
    if depthwise_planes.suits(g, machine):
        return depthwise_planes.pack(w, bias, g)
    if interleaved.suits(g, w.dtype, machine):
        return interleaved.pack(w, bias, g)
    found, filled = draft(g, w.dtype, machine)
    by_channel = w.reshape(g.out_channels, -1)
    if filled == g.out_channels:
        return found.with_weights(by_channel.T.reshape(-1), bias)
    weights, biases = np.zeros((g.taps, filled), w.dtype), np.zeros(filled, w.dtype)
    weights[:, : g.out_channels], biases[: g.out_channels] = by_channel.T, bias
    return found.with_weights(weights.reshape(-1), biases)


def run(operands: Operands, packed: Launch, problem: Problem, out: Array) -> None:
    """All rows, or all planes."""
    y = out.ravel()
    packed.run(operands["x"].ravel(), operands["residual"].ravel() if problem.residual else y, y)


def cost(problem: Problem, machine: Machine) -> float:
    """Of depthwise.py: rows read where they lie; or planes turned to channels last and back."""
    geometry, dtype = problem.geometry, problem.dtype
    if depthwise_planes.suits(geometry, machine):
        cycles = CALL + depthwise_planes.cycles(geometry, dtype, machine)
        return machine.seconds(cycles, geometry.bytes(dtype.itemsize))
    if interleaved.suits(geometry, dtype, machine):
        return machine.seconds(CALL + interleaved.cycles(geometry, dtype, machine), geometry.bytes(dtype.itemsize))
    g, lanes = geometry, machine.lanes(dtype)
    _, outputs, kernel, steps, dilation, _ = plane_sizes(g)
    vectors = -(-g.out_channels // lanes)
    results = g.batch * prod(outputs) * vectors
    cycles = CALL + results * g.taps * g.in_per_group * 1.5 / machine.units
    if not g.channels_last:
        extent = tuple(spread * (count - 1) + 1 for spread, count in zip(dilation, kernel, strict=True))
        room = machine.l2 // 4 // dtype.itemsize
        band, strip = packing.cut_plane(outputs, steps, extent, lanes, room, g.batch * vectors)
        high = (min(band, outputs[0]) - 1) * steps[0] + extent[0]
        wide = (min(strip, outputs[1]) - 1) * steps[1] + extent[1]
        turned = g.out_channels // lanes + (2.5 if g.out_channels % lanes else 0)  # by squares, those of fewer lanes by masks
        lines = g.batch * turned * -(-outputs[0] // band) * -(-outputs[1] // strip) * high
        cycles += lines * lanes * (3.6 * -(-wide // lanes) + 2.2 * (extent[1] - 1))
        cycles += 7 * g.batch * vectors * outputs[0] * -(-outputs[1] // lanes) * lanes
    return machine.seconds(cycles, g.bytes(dtype.itemsize))
