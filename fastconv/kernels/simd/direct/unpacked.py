"""Convolution with the weights as they lie, for calls that would take longer to pack them than to use them.

    y [p][k] = act(bias [k] + sum over l of windows [p][l] * w [k][l])        l: taps and input channels, in the weights' order

Each output is a dot product along l, which is contiguous in w: vectors lie along it, and no weight moves. Windows are copied,
a panel of positions by a chunk of l at a time, into rows that the L2 cache holds: on small maps these are few, and the weights
many. A tile is several positions by several output channels, each with a vector of partial sums, whose lanes are added up at
its end. Chunks after the first add to what lies in y.
"""

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import NO_WEIGHTS, Kernel, Launch, compiled, element, inlined
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import costs, epilogue, packing, tables
from fastconv.kernels.simd.engine.walks import strides
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import SPATIAL_AXES, Array, ConvGeometry
from fastconv.problem.problem import Operands, Problem

peek, poke, pointer = vector.peek, vector.poke, vector.pointer


@lru_cache(maxsize=8)
def gatherer(lanes: int, channels_last: bool) -> Any:
    """The compiled rows[p * step + l] = what tap and channel l of position p meet, for the panel's positions and chunk of l.

    `image` is the first channel of a group in an image; `table` has room for a number for each tap, and one for each lane.
    """
    cell_under, (copy, clear) = packing.cell_under, packing.runs(lanes)

    @compiled
    def place(table, p, outputs, taps, cells, origin, stride, dilation, xs, mode):
        """The offset of what each tap of position p meets, or -1 for padding."""
        rest, column = divmod(p, outputs[2])
        depth, row = divmod(rest, outputs[1])
        i = 0
        for t in range(taps[0]):
            d = cell_under(origin[0] + depth * stride[0] + t * dilation[0], cells[0], mode)
            for r in range(taps[1]):
                h = cell_under(origin[1] + row * stride[1] + r * dilation[1], cells[1], mode)
                for s in range(taps[2]):
                    w = cell_under(origin[2] + column * stride[2] + s * dilation[2], cells[2], mode)
                    there = d >= 0 and h >= 0 and w >= 0
                    poke(table + i, d * xs[2] + h * xs[3] + w * xs[4] if there else -1)
                    i += 1

    @compiled
    def gather_last(to, image, zero, table, window, channels, l_begin, l_count):
        """One row, of channels that follow each other."""
        done = 0
        while done < l_count:
            tap, c = divmod(l_begin + done, channels)
            count = min(channels - c, l_count - done)
            at = peek(table + tap)
            if at < 0:
                clear(to + done, zero, count)
            else:
                copy(to + done, image + (at + c), count)
            done += count

    @compiled
    def gather_first(to, image, zero, table, window, channel, l_begin, l_count):
        """One row, of channels that lie `channel` apart."""
        c, tap = divmod(l_begin, window)
        source = image + c * channel
        for i in range(l_count):
            at = peek(table + tap)
            poke(to + i, peek(source + at) if at >= 0 else zero)
            tap += 1
            if tap == window:
                tap, source = 0, source + channel

    @compiled
    def turn(rows, step, image, channel, count, l_count, table):
        """All rows, of windows of one pixel that follow each other in planes of `channel` pixels."""
        for i in range(lanes):
            poke(table + i, i * step)
        for c in range(0, l_count, lanes):
            wide = min(lanes, l_count - c)
            for p in range(0, count, lanes):
                high = min(lanes, count - p)
                square = vector.load_transposed(image + (c * channel + p), channel, high, wide, lanes, 1, lanes)
                vector.store_first_rows(square, rows + (p * step + c), table, high, wide)

    gather_row = gather_last if channels_last else gather_first

    def gather(rows, step, image, zero, table, begin, count, axes, xs, channels, mode, pixels, l_begin, l_count):
        outputs, taps, cells, origin, stride, dilation = axes
        if pixels:
            turn(rows, step, image + (l_begin * xs[1] + begin), xs[1], count, l_count, table)
            return
        for p in range(count):
            place(table, begin + p, outputs, taps, cells, origin, stride, dilation, xs, mode)
            apart = channels if channels_last else xs[1]
            gather_row(rows + p * step, image, zero, table, taps[0] * taps[1] * taps[2], apart, l_begin, l_count)

    return compiled(gather)


@lru_cache(maxsize=32)
def kernel(positions: int, outputs: int, lanes: int, channels_last: bool, dtype: str, isa: str) -> Kernel:
    """The compiled loops over panels of positions and chunks of l: f32_unpacked_5x5_avx512."""
    gather, activate, whole = gatherer(lanes, channels_last), epilogue.activation_of(dtype, silu=True), lanes
    line = packing.LINE // (4 if dtype == "f32" else 8)
    # A row of a tile is what lies together in y: the output channels of a position, or the positions of an output channel.
    rows, columns = (positions, outputs) if channels_last else (outputs, positions)

    @inlined
    def multiplied(sums, windows, step, weights, length, room):
        if channels_last:
            return vector.fma_dots(sums, windows, step, weights, length, room)
        return vector.fma_dots(sums, weights, length, windows, step, room)

    @compiled
    def finish(found, y, row, bias, begun, ended, begins, ends, act):
        """The sums of a tile's rows and columns from `begun` to `ended` - 1 to y, whose rows lie `row` apart.

        They begin with the bias, or with what lies in y, and end with the activation.
        """
        for i in range(begun[0], ended[0]):
            for j in range(begun[1], ended[1], lanes):
                to, width = y + (i * row + j), min(lanes, ended[1] - j)
                value = vector.load_first(found + (i * columns + j), width, lanes)
                if not begins:
                    value = value + vector.load_first(to, width, lanes)
                elif channels_last:
                    value = value + vector.load_first(bias + j, width, lanes)
                else:
                    value = value + vector.splat(peek(bias + i), lanes)
                if ends:
                    value = activate(value, act)
                vector.store_first(to, value, width)

    def unpacked(begin, end, x, w, bias, residual, y, sizes, parameters):
        act = epilogue.epilogue_with_silu(parameters, residual, y)
        xs, ys = packing.five(sizes, 0), packing.five(sizes, 5)
        axes = (
            packing.three(sizes, 10),
            packing.three(sizes, 13),
            packing.three(sizes, 16),
            packing.three(sizes, 19),
            packing.three(sizes, 22),
            packing.three(sizes, 25),
        )
        images, c_group, k_group = packing.three(sizes, 28)
        mode, pixels, panel, chunk, step = packing.five(sizes, 31)
        plane, window = axes[0][0] * axes[0][1] * axes[0][2], axes[1][0] * axes[1][1] * axes[1][2]
        length, tiles, zero = window * c_group, -(-k_group // outputs), x.dtype.type(0)
        memory = np.zeros(-(-panel // positions) * positions * step + positions * outputs + 2 * lanes + line, x.dtype)
        numbers = np.empty(window + lanes, np.int64)
        windows, table = vector.line_start(pointer(memory)), pointer(numbers)
        found = windows + -(-panel // positions) * positions * step
        for group in range(begin // tiles, -(-end // tiles)):
            first_tile, last_tile = max(0, begin - group * tiles), min(tiles, end - group * tiles)
            for part in range(images * -(-plane // panel)):
                n, p_begin = part // -(-plane // panel), part % -(-plane // panel) * panel
                count = min(panel, plane - p_begin)
                image = pointer(x) + (n * xs[0] + group * c_group * xs[1])
                to = pointer(y) + (n * ys[0] + group * k_group * ys[1] + p_begin * ys[4])
                for l_begin in range(0, max(1, length), chunk):
                    l_count = min(chunk, length - l_begin)
                    full = l_count - l_count % lanes
                    gather(windows, step, image, zero, table, p_begin, count, axes, xs, c_group, mode, pixels, l_begin, l_count)
                    for tile in range(first_tile, last_tile):
                        k = min(tile * outputs, k_group - outputs)  # the last tile may overlap the one before
                        weights = pointer(w) + ((group * k_group + k) * length + l_begin)
                        for p in range(0, count, positions):
                            # What the next tile reads is asked for, a part of its lines at a time.
                            if tile + 1 < last_tile:
                                share = min(l_count, l_count * positions // count + line)
                                ahead = weights + (outputs * length + share * (p // positions))
                                for j in range(outputs):
                                    for i in range(0, share, line):
                                        vector.prefetch(ahead + (j * length + i))
                            at = windows + p * step
                            sums = vector.zeros(windows, rows, columns, lanes)
                            for i in range(0, full, lanes):
                                sums = multiplied(sums, at + i, step, weights + i, length, whole)
                            if full < l_count:
                                sums = multiplied(sums, at + full, step, weights + full, length, l_count - full)
                            vector.store_lane_sums(sums, found)
                            done, shown = tile * outputs - k, min(positions, count - p)
                            finish(
                                found,
                                to + (p * ys[4] + k * ys[1]),
                                ys[4] if channels_last else ys[1],
                                pointer(bias) + (group * k_group + k),
                                (0, done) if channels_last else (done, 0),
                                (shown, outputs) if channels_last else (outputs, shown),
                                l_begin == 0,
                                l_begin + chunk >= length,
                                act,
                            )
        memory[0], numbers[0] = zero, 0  # pointers do not keep an array alive: its last use does

    unpacked.__name__ = f"{dtype}_unpacked_{positions}x{outputs}_{isa}"
    return Kernel(unpacked)


# Decisions --------------------------------------------------------------------------------------------------------------


class Cut(NamedTuple):
    """Positions and output channels of a tile, positions of a panel, elements of a chunk, and from one row to the next."""

    positions: int
    outputs: int
    panel: int
    chunk: int
    step: int


TILES = {32: ((5, 5), (6, 4)), 16: ((4, 3), (3, 4))}  # (positions, output channels), by the number of registers
LOW = (6, 1)  # where there are fewer output channels
PANEL = 64  # positions, or a few more or less


def supports(problem: Problem) -> str | None:
    """Real float types; not transposed: there the weights of an output lie apart."""
    geometry, dtype = problem.geometry, problem.dtype
    if dtype not in (np.float32, np.float64):
        return f"its vectors are float32 or float64, not {dtype}"
    return "it does not serve transposed convolutions" if geometry.transposed else None


def fuses(problem: Problem) -> bool:
    """Tiles overlap, and what two of them store is finished in registers or not at all."""
    return not problem.finished_later


@lru_cache(maxsize=1024)
def chosen(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> tuple[float, Cut]:
    """(cycles, cut) of the tile that takes the fewest."""
    tiles = [tile for tile in TILES[machine.registers] if tile[1] <= geometry.out_per_group]
    return min(candidate(geometry, tile, dtype, machine) for tile in tiles or [LOW])


def candidate(geometry: ConvGeometry, tile: tuple[int, int], dtype: np.dtype[Any], machine: Machine) -> tuple[float, Cut]:
    """The expected cycles with such a tile, and how its panels and chunks are cut: rows take half the L2 cache."""
    g, lanes, size = geometry, machine.lanes(dtype), machine.vector_bytes
    plane, length, line = prod(g.out_size), g.reduction, packing.LINE // dtype.itemsize
    positions, outputs = tile
    panels = -(-plane // PANEL)
    panel = -(-plane // max(1, panels) // positions) * positions or positions
    panels = -(-plane // panel)
    most = max(line, machine.l2 // 2 // dtype.itemsize // panel // line * line)
    chunks = max(1, -(-length // most))
    chunk = -(-length // chunks // line) * line or line
    step = chunk + line if chunk * dtype.itemsize % tables.CONFLICT < 4 * packing.LINE else chunk
    port = 1 if size == 64 else 2  # vectors of 64 bytes take both ports to load
    loads = (positions + outputs * (1 + size / 64)) / port
    sums = 30 + 4 * positions * outputs
    tiles = g.batch * g.groups * -(-g.out_per_group // outputs) * panels * -(-panel // positions)
    products = max(positions * outputs / machine.units, loads) * (1.2 if machine.registers <= 16 else 1.0)
    cycles = tiles * chunks * (-(-chunk // lanes) * products + sums)
    cell, run = (2 / lanes, 25) if g.channels_last else (0.4 if is_pixels(g) else 2.5, 12)
    cycles += g.batch * g.groups * plane * (cell * length + run * g.taps * chunks)
    return cycles, Cut(positions, outputs, panel, chunk, step)


def is_pixels(geometry: ConvGeometry) -> bool:
    """Whether each window is one pixel, and they follow each other in planes."""
    return geometry.is_pointwise and not geometry.channels_last


def cost(problem: Problem, machine: Machine) -> float:
    """Cycles, and weights that come from memory."""
    geometry, dtype = problem.geometry, problem.dtype
    weights = machine.seconds(0, dtype.itemsize * geometry.weights)
    return machine.seconds(costs.CALL + chosen(geometry, dtype, machine)[0], geometry.bytes(dtype.itemsize)) + weights


@lru_cache(maxsize=256)
def draft(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> Launch:
    """The launch without its weights."""
    g, cut = geometry.lifted(), chosen(geometry, dtype, machine)[1]
    walks = [g.walks(axis)[0] for axis in range(SPATIAL_AXES)]
    fields = ("outputs", "taps", "cells", "origin", "stride", "dilation")
    sizes = (
        *strides(g, g.in_channels, g.in_size),
        *strides(g, g.out_channels, g.out_size),
        *(getattr(walk, name) for name in fields for walk in walks),
        *(g.batch, g.in_per_group, g.out_per_group),
        *(g.mode, is_pixels(g), cut.panel, cut.chunk, cut.step),
    )
    names = element(dtype), machine.isa
    items = g.groups * -(-g.out_per_group // cut.outputs)
    arguments = (np.array(sizes, np.int64), epilogue.scalars(g.activation, dtype))
    chosen_kernel = kernel(cut.positions, cut.outputs, machine.lanes(dtype), g.channels_last, *names)
    return Launch(chosen_kernel, items, g.flops // 8, NO_WEIGHTS, NO_WEIGHTS, arguments)


def pack(w: Array, bias: Array, problem: Problem) -> Launch:
    """The weights themselves."""
    geometry = problem.geometry
    return draft(geometry, w.dtype, host()).with_weights(w.reshape(-1), bias)


def run(operands: Operands, packed: Launch, problem: Problem, out: Array) -> None:
    """All tiles."""
    y = out.ravel()
    packed.run(operands["x"].ravel(), operands["residual"].ravel() if problem.residual else y, y)
