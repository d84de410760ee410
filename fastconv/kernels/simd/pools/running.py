"""Pools whose windows share most of their cells: a cost that does not grow with the window's height, and hardly with its width.

Rows are reduced first, then columns; the cells of a row are its columns with their channels, so that both layouts, and any
number of channels, are one kernel.

Heights: a block of outputs, whose windows have the rows i .. i + k - 1 for i < m, needs each row once from either side of
row m - 1, which all windows hold (van Herk, A fast algorithm for local minimum and maximum filters (1992); Gil and Werman
(1993)):

    S[i] = x[i] + ... + x[m - 1] + ... + x[k - 1]        P[i] = x[k] + ... + x[k + i - 1]        line[i] = S[i] + P[i]

Widths: windows of 2 n, or 2 n + 1, cells are two windows of n, and the cell behind them, so that k takes log2(k) rounds. Of
the largest cell, or the smallest, the two may overlap.

`+` is the larger, the smaller, the sum. Every term of a result is a cell of its window, and nothing is ever subtracted: a NaN,
an infinity or a huge number reaches no other window. A sum of k_d * k_h * k_w cells rounds each of them at most
k_d * k_h + 2 * log2(k_w) times, so that an average is off by no more than

    (k_d * k_h + 2 * log2(k_w) + 1) * eps * sum of |x| / divisor

Depths are accumulated cell by cell.
"""

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled, element
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.sizes import Axes, axes, reader, written
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.kernels.simd.pools import reductions
from fastconv.kernels.simd.pools.bounds import Fold, Windows, lifted, row_of_divisors, span
from fastconv.kernels.simd.pools.launches import Launch
from fastconv.kernels.simd.pools.lines import Divisors, Heights, Runs, Widths, has_numbers, shrinker, stacker
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array
from fastconv.problem.pools import PoolGeometry
from fastconv.problem.problem import Operands, Problem

pointer = vector.pointer
WORKSPACE = 1 << 20  # bytes a thread
LINE = 16 << 10  # bytes of a line, which stays in the L1 cache while its widths are reduced
SHORT = 1.8  # what lines of planes were measured to cost on vectors of 32 bytes, by what they take on longer ones
FEW_REGISTERS = 1.75  # times that lines of several channels were measured to take by half as many registers


class Cut(NamedTuple):
    """How the outputs are cut into items.

    Attributes
    ----------
    channels, chunk : int
        Channels that lie side by side in a row, and how many of them one line has.
    height, comb : int
        Output rows of a block, and from one to the next: the dilation, so that they share the rows of their windows.
    strip : int
        Output columns of a line.
    pitch : int
        Elements from one line of the workspace to the next.
    """

    channels: int
    chunk: int
    height: int
    comb: int
    strip: int
    pitch: int


class Sizes(NamedTuple):
    """Everything of a pool, and how it is cut; and how the divisors of a row of outputs with their channels are folded."""

    cells: Axes
    outputs: Axes
    taps: Axes
    stride: Axes
    dilation: Axes
    before: Axes
    cut: Cut
    windows: Windows
    fold: Fold


class Parts(NamedTuple):
    """The lines of a block, and a line of windows of twice the cells."""

    lines: int
    double: int


class Block(NamedTuple):
    """The outputs of an item.

    Attributes
    ----------
    plane, d, h : int
        Their image or plane of an image, their depth, and their first row.
    count : int
        Rows, `cut.comb` from one to the next; none or less where no row is left.
    c, channels : int
        Their first channel, and channels.
    w, columns : int
        Their first column, and columns.
    """

    plane: int
    d: int
    h: int
    count: int  # type: ignore[assignment]
    c: int
    channels: int
    w: int
    columns: int


class Reach(NamedTuple):
    """The input columns under a block's windows, begin .. end - 1, and those of them inside the row, lo .. hi - 1."""

    begin: int
    end: int
    lo: int
    hi: int


read, carve = reader(Sizes), workspace(Parts)

# Blocks -----------------------------------------------------------------------------------------------------------------


@compiled
def block_of(item, s):
    """The block of an item: blocks of rows follow each other within strips of columns, within chunks of channels."""
    cut = s.cut
    chunks, strips = -(-cut.channels // cut.chunk), -(-s.outputs.w // cut.strip)
    blocks = (s.outputs.h + cut.comb * cut.height - 1) // (cut.comb * cut.height)
    rest, block = divmod(item, blocks * cut.comb)
    rest, strip = divmod(rest, strips)
    rest, chunk = divmod(rest, chunks)
    plane, d = divmod(rest, s.outputs.d)
    h = block // blocks + cut.comb * cut.height * (block % blocks)
    count, c, w = min(cut.height, -(-(s.outputs.h - h) // cut.comb)), chunk * cut.chunk, strip * cut.strip
    return Block(plane, d, h, count, c, min(cut.chunk, cut.channels - c), w, min(cut.strip, s.outputs.w - w))


@compiled
def reach_of(block, s):
    """The input columns under a block's windows."""
    begin = block.w * s.stride.w - s.before.w
    end = begin + (block.columns - 1) * s.stride.w + (s.taps.w - 1) * s.dilation.w + 1
    return Reach(begin, end, min(max(begin, 0), s.cells.w), max(min(end, s.cells.w), 0))


@compiled
def heights_of(block, window, s):
    """The rows under a block, whose windows have the depths of `window`."""
    row_step = s.cells.w * s.cut.channels
    step_d = s.dilation.d * s.cells.h * row_step
    top, count = block.h * s.stride.h - s.before.h, -((window.start - window.stop) // s.dilation.d)
    return Heights(count, step_d, top, s.dilation.h, s.taps.h, s.cells.h, row_step, block.count)


@compiled
def widths_of(block, s):
    """The windows of a block's lines."""
    n, whole = block.channels, block.channels == s.cut.channels and s.stride.w == 1
    count, length = (1, block.columns * n) if whole else (block.columns, n)
    span = ((block.columns - 1) * s.stride.w + 1) * n
    return Widths(count, length, s.cut.channels, s.stride.w * n, s.taps.w, s.dilation.w * n, span)


@compiled
def place_of(block, h, s):
    """Where y has a block's first output of row `h`."""
    row = (block.plane * s.outputs.d + block.d) * s.outputs.h + h
    return (row * s.outputs.w + block.w) * s.cut.channels + block.c


@compiled
def runs_of(block, reach, s):
    """The cells of a row under a block: a run for each column, or one run where a block has all channels."""
    columns, channels = reach.hi - reach.lo, s.cut.channels
    if block.channels == channels:
        return Runs(1, columns * channels, channels)
    return Runs(columns, block.channels, channels)


@lru_cache(maxsize=32)
def running_kernel(kind: str, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over blocks of output rows, cut into strips of columns: f32_running_max_avx512."""
    stack, stack_one_by_one = stacker(kind, lanes, dtype, True), stacker(kind, lanes, dtype, False)
    shrink = shrinker(kind, lanes, dtype, False)
    shrink_numbers = shrinker(kind, lanes, dtype, True) if has_numbers(kind, dtype) else shrink
    fill = reductions.filler(lanes)

    def pool(begin, end, x, y, sizes, counts, initial):
        """y[n, o, c] = leave(the sum, or the best, of x[n, o * stride + t * dilation - before, c] over the taps t)"""
        s = read(sizes)
        # Behind each row there is room for what a last vector reads or writes and nobody uses.
        lines, double = s.cut.height * s.cut.pitch, s.cut.pitch + 2 * lanes
        work, memory = carve(Parts(lines=lines, double=double), counts)
        fill(work.lines, vector.distance(work.lines, work.double) + double, initial)
        for item in range(begin, end):
            block = block_of(item, s)
            if block.count <= 0:
                continue
            reach, window, widths = reach_of(block, s), span(s.windows.d, block.d), widths_of(block, s)
            heights, runs = heights_of(block, window, s), runs_of(block, reach, s)
            row = (block.plane * s.cells.d + window.start) * s.cells.h
            image = pointer(x) + (row * heights.row_step + reach.lo * s.cut.channels + block.c)
            ahead = image + (heights.top + (s.taps.h - 1 + block.count) * s.dilation.h) * heights.row_step
            cells = work.lines + (reach.lo - reach.begin) * block.channels
            clean = runs.length >= 4 * lanes and stack(image, cells, s.cut.pitch, runs, heights, initial)
            if not clean:
                stack_one_by_one(image, cells, s.cut.pitch, runs, heights, initial)
            for i in range(block.count):
                line, h = work.lines + i * s.cut.pitch, block.h + s.cut.comb * i
                fill(line, (reach.lo - reach.begin) * block.channels, initial)
                fill(line + (reach.hi - reach.begin) * block.channels, (reach.end - reach.hi) * block.channels, initial)
                of_row = counts.dtype.type(window.count * span(s.windows.h, h).count)
                divisors = Divisors(of_row, pointer(counts), block.w * s.cut.channels + block.c, s.fold)
                to, next_row = pointer(y) + place_of(block, h, s), ahead + i * s.dilation.h * heights.row_step
                if clean:
                    shrink_numbers(work.double, line, to, widths, divisors, next_row)
                else:
                    shrink(work.double, line, to, widths, divisors, next_row)
        keep(memory)

    pool.__name__ = f"{dtype}_running_{kind}_{isa}"
    return Kernel(pool)


# Decisions --------------------------------------------------------------------------------------------------------------


def cut(geometry: PoolGeometry, itemsize: int, lanes: int) -> Cut:
    """Lines that fit the L1 cache and are long beside what they share with their neighbours, blocks that fit the workspace."""
    g, room = geometry, LINE // itemsize
    channels, columns, rows = g.channels if g.channels_last else 1, g.out_size[-1], prod(g.out_size[-2:-1])
    step, shared = g.stride[-1], (g.kernel[-1] - 1) * g.dilation[-1]
    chunk, whole = channels, (room // max(1, channels) - shared) // step  # outputs of a line with all channels
    if channels > lanes and whole < min(columns, max(1, 2 * shared // step)):
        chunk = min(channels, max(lanes, room // max(1, (columns - 1) * step + shared + 1) // lanes * lanes))
    strip = min(columns, max((room // max(1, chunk) - shared) // step, 2 * shared // step, lanes))
    pitch = (((strip - 1) * step + shared + 1) * chunk + 2 * lanes - 1) // lanes * lanes
    height, comb = 1, 1
    if g.rank > 1 and g.stride[-2] == 1 and g.kernel[-2] > 1:
        comb = g.dilation[-2]
        height = max(1, min(g.kernel[-2], -(-rows // comb), WORKSPACE // itemsize // pitch - 2))
    return Cut(channels, chunk, height, comb if height > 1 else 1, strip, pitch)


def supports(problem: Problem) -> str | None:
    """Pools whose windows all have one size, without indices."""
    geometry, dtype = problem.geometry, problem.dtype
    reason = reductions.refusal(geometry, dtype)
    if reason or geometry.return_indices:
        return reason or "it keeps no indices"
    if geometry.adaptive:
        return "adaptive windows differ in size"
    real = reductions.computed(geometry, dtype)
    if 4 * cut(geometry, real.itemsize, host().lanes(real)).pitch * real.itemsize > WORKSPACE:
        return f"its lines of {geometry.window[-1]} cells a window would not fit its workspace"
    return None


def cost(problem: Problem, machine: Machine) -> float:
    """Nanoseconds for each line's vectors, a start for each line, and with strides what is picked out of it."""
    return seconds(problem.geometry, problem.dtype, machine)


def seconds(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Nanoseconds for each line's vectors, a start for each line, and with strides what is picked out of it."""
    g, real = geometry, reductions.computed(geometry, dtype)
    lanes = machine.lanes(real)
    c = cut(g, real.itemsize, lanes)
    outputs, taps_d, taps_h = prod(g.out_shape), prod(g.kernel[:-2]), prod(g.kernel[-2:-1])
    pieces = -(-c.channels // max(1, c.chunk)) * -(-g.out_size[-1] // max(1, c.strip))
    lines = outputs // max(1, g.out_size[-1] * c.channels) * pieces
    vectors = 0.7 * taps_d * (taps_h if c.height == 1 else 1 + taps_h / c.height) + 1.4 * g.kernel[-1].bit_length()
    if c.chunk < c.channels:  # what such lines were measured to cost
        vectors *= 1.5
    picked = 0 if g.stride[-1] == 1 else outputs / max(1, min(lanes, c.chunk))
    seconds = 0.7e-9 * (lines * (c.pitch // lanes * vectors + 18) + 5 * picked)
    if machine.vector_bytes < 64 and reductions.rows_are_lines(g) and g.rank > 1:
        seconds *= SHORT
    elif machine.registers <= 16 and g.channels_last:
        seconds *= FEW_REGISTERS
    return 4e-6 + seconds + machine.seconds(0, g.bytes(dtype.itemsize))


@remembered
def launch(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> Launch:
    """The kernel with its arguments."""
    g, real, t = geometry, reductions.computed(geometry, dtype), lifted(geometry)
    lanes, kind = machine.lanes(real), reductions.kind_of(g, dtype)
    c = cut(g, real.itemsize, lanes)
    counts, fold = row_of_divisors(g, dtype, lanes, c.channels)
    sizes = Sizes(*map(axes, (t.in_size, t.out_size, t.kernel, t.stride, t.dilation, t.before)), c, t.windows, fold)  # type: ignore[call-arg,arg-type]
    planes = g.batch * g.channels // max(1, c.channels)
    blocks = c.comb * -(-t.out_size[1] // (c.comb * c.height))
    items = planes * t.out_size[0] * blocks * -(-t.out_size[2] // c.strip) * -(-c.channels // max(1, c.chunk))
    arguments = written(sizes), counts, reductions.initial(kind, real)
    made = running_kernel(kind, lanes, element(dtype), machine.isa)
    return Launch(made, items, int(seconds(g, dtype, machine) * 1e9), arguments)


def kernel(problem: Problem, machine: Machine) -> str:
    """The name of the kernel that runs."""
    return launch(problem.geometry, problem.dtype, machine).kernel.__name__


def run(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """All blocks of rows."""
    launch(problem.geometry, problem.dtype, host()).run(operands["x"], out)
