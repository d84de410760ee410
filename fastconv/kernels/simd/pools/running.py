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

from fastconv.kernels.jit import Kernel, compiled, element, inlined
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.sizes import Axes, axes, reader, written
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.kernels.simd.pools import reductions
from fastconv.kernels.simd.pools.bounds import Fold, Windows, lifted, place, row_of_divisors, span
from fastconv.kernels.simd.pools.launches import Launch
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array
from fastconv.problem.pools import PoolGeometry
from fastconv.problem.problem import Operands, Problem

pointer = vector.pointer
WORKSPACE = 1 << 20  # bytes a thread
CHEAP = 3  # set bits of a width, of which the highest is not a cell behind: as many rounds as without overlap
AHEAD = 1024  # results that are asked for before they are written
LINE = 16 << 10  # bytes of a line, which stays in the L1 cache while its widths are reduced


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


class Runs(NamedTuple):
    """`count` runs of `length` cells of a row, `gap` cells from one to the next: pixels' channels, or all as one."""

    count: int  # type: ignore[assignment]
    length: int
    gap: int


class Heights(NamedTuple):
    """The rows under a block: `depths` of them, `depth_step` elements apart, at top + t * dilation for each tap of each output.

    Those outside 0 .. rows - 1 are padding. The block has `count` outputs; a row has `row_step` elements.
    """

    depths: int
    depth_step: int
    top: int
    dilation: int
    taps: int
    rows: int
    row_step: int
    count: int  # type: ignore[assignment]


class Widths(NamedTuple):
    """The windows of a line: (run * stride + s * dilation) * channels + j for the taps s, `length` cells j and `count` runs.

    `step` elements lie between neighbouring taps, `span` under the first taps of all windows, and `gap` between results' runs.
    """

    count: int  # type: ignore[assignment]
    length: int
    gap: int
    pitch: int
    taps: int
    step: int
    span: int


class Divisors(NamedTuple):
    """What averages divide by: `row`, which a row's outputs share, times what each of them has, a block's from `first` on."""

    row: Any
    columns: Any
    first: int
    fold: Fold


read, carve = reader(Sizes), workspace(Parts)


def has_numbers(kind: str, dtype: str) -> bool:
    """Whether cells may be NaN, and to compare them is quicker where none is."""
    return dtype[0] == "f" and reductions.order_and_power(kind)[0] != 0


# Heights ----------------------------------------------------------------------------------------------------------------


class Group(NamedTuple):
    """The compiled operations on neighbouring vectors, a tuple: how cells are read and stored, and windows joined.

    `look` adds to a pair of masks of what is no NaN.
    """

    load: Any
    join: Any
    enter: Any
    store: Any
    start: Any
    look: Any


@lru_cache(maxsize=32)
def group_of_one(kind: str, lanes: int, dtype: str) -> Group:
    """One vector, of which the first `room` elements are read and written."""
    r = reductions.reduction(kind, dtype)
    enter, combine = r.enter, r.combine

    def load(at, room):
        return (vector.load_first(at, room, lanes),)

    def join(a, b):
        return (combine(a[0], b[0]),)

    def entered(a):
        return (enter(a[0]),)

    def store(at, a, room):
        vector.store_first(at, a[0], room)

    def start(initial):
        return (vector.splat(initial, lanes),)

    def look(numbers, a):
        return numbers

    return Group(*(inlined(each) for each in (load, join, entered, store, start, look)))


@lru_cache(maxsize=32)
def group_of_four(kind: str, lanes: int, dtype: str) -> Group:
    """Four vectors, compared as if all cells were numbers."""
    r = reductions.reduction(kind, dtype)
    enter, combine = r.enter, r.combine_numbers

    def load(at, room):
        return (
            vector.load(at, lanes),
            vector.load(at + lanes, lanes),
            vector.load(at + 2 * lanes, lanes),
            vector.load(at + 3 * lanes, lanes),
        )

    def join(a, b):
        return combine(a[0], b[0]), combine(a[1], b[1]), combine(a[2], b[2]), combine(a[3], b[3])

    def entered(a):
        return enter(a[0]), enter(a[1]), enter(a[2]), enter(a[3])

    def store(at, a, room):
        vector.store(at, a[0])
        vector.store(at + lanes, a[1])
        vector.store(at + 2 * lanes, a[2])
        vector.store(at + 3 * lanes, a[3])

    def start(initial):
        v = vector.splat(initial, lanes)
        return v, v, v, v

    def look(numbers, a):
        low, high = vector.numbers_in_both(a[0], a[1]), vector.numbers_in_both(a[2], a[3])
        return vector.both(numbers[0], low), vector.both(numbers[1], high)

    def look_away(numbers, a):
        return numbers

    looks = look if has_numbers(kind, dtype) else look_away
    return Group(*(inlined(each) for each in (load, join, entered, store, start, looks)))


@lru_cache(maxsize=64)
def row_joiner(group: Group) -> Any:
    """The compiled windows joined with row t of every depth, where it is in the plane."""
    load, join, enter, look = group.load, group.join, group.enter, group.look

    def join_row(windows, numbers, source, t, heights, room):
        r = heights.top + t * heights.dilation
        if 0 <= r < heights.rows:
            row = source + r * heights.row_step
            for d in range(heights.depths):
                cells = load(row + d * heights.depth_step, room)
                windows, numbers = join(windows, enter(cells)), look(numbers, cells)
        return windows, numbers

    return inlined(join_row)


@lru_cache(maxsize=64)
def stacker(kind: str, lanes: int, dtype: str, four: bool) -> Any:
    """The compiled heights of a block: line[i][w] = cells of the rows i .. i + k - 1 at w, for i < count.

    Where `four` vectors are reduced at a time, the last of them may overlap those before. They tell whether all cells are
    numbers, where that matters: if not, what they wrote is of no use.
    """
    group, width = (group_of_four if four else group_of_one)(kind, lanes, dtype), 4 * lanes if four else lanes
    load, join, store, start, join_row = group.load, group.join, group.store, group.start, row_joiner(group)

    def stack(image, line, pitch, runs, heights, initial):
        taps, count, none = heights.taps, heights.count, vector.splat(initial, lanes)
        all_numbers = vector.numbers_in_both(none, none)
        numbers = all_numbers, all_numbers
        for run in range(runs.count):
            for begun in range(0, runs.length, width):
                i = min(begun, runs.length - width) if four else begun
                source, to, room = image + (run * runs.gap + i), line + (run * runs.length + i), runs.length - i
                windows = start(initial)  # S, from the last row that all windows hold
                for t in range(count - 1, taps):
                    windows, numbers = join_row(windows, numbers, source, t, heights, room)
                store(to + (count - 1) * pitch, windows, room)
                for t in range(count - 2, -1, -1):
                    windows, numbers = join_row(windows, numbers, source, t, heights, room)
                    store(to + t * pitch, windows, room)
                windows = start(initial)  # P, and S + P
                for t in range(1, count):
                    windows, numbers = join_row(windows, numbers, source, taps - 1 + t, heights, room)
                    store(to + t * pitch, join(windows, load(to + t * pitch, room)), room)
        return vector.first_are_set(vector.both(numbers[0], numbers[1]), lanes)

    return compiled(stack)


# Widths -----------------------------------------------------------------------------------------------------------------


class Rounds(NamedTuple):
    """How windows of `taps` cells are made of two halves, again and again: the highest bit, and whether halves may overlap."""

    bit: int
    overlap: bool


@lru_cache(maxsize=2)
def rounds_counter(sums: bool) -> Any:
    """The compiled Rounds of a number of taps.

    Two windows may overlap, but not where they are added; one more round costs what two cells behind do.
    """

    def rounds_of(taps):
        bit, cells_behind = 1, taps & 1
        while 2 * bit <= taps:
            bit *= 2
            cells_behind += (taps & bit) // bit
        return Rounds(bit, not sums and cells_behind > CHEAP)

    return compiled(rounds_of)


@lru_cache(maxsize=64)
def doubler(join: Any, lanes: int) -> Any:
    """The compiled rounds but the last: (where windows of `span` cells are, span), of half of the taps."""

    def double_spans(line, double, widths, rounds):
        taps, step, bit, overlap = widths.taps, widths.step, rounds.bit, rounds.overlap
        span, source, half = 1, line, (taps + 1) // 2 if overlap else taps // 2
        while span < half:
            bit //= 2
            odd, near, behind = not overlap and (taps & bit) > 0, span * step, 2 * span * step
            span = 2 * span + (1 if odd else 0)
            needed = widths.span + (taps - span) * step  # by the rounds to come
            for i in range(0, needed, lanes):
                pair = join(vector.load(source + i, lanes), vector.load(source + (i + near), lanes))
                if odd:
                    pair = join(pair, vector.load(line + (i + behind), lanes))
                vector.store(double + i, pair)
            source = double
        return source, span

    return inlined(double_spans)


@lru_cache(maxsize=64)
def shrinker(kind: str, lanes: int, dtype: str, numbers: bool) -> Any:
    """The compiled widths of a line: y = leave(its cells over the taps of each window).

    Where all cells are `numbers`, it is quicker. Meanwhile the row at `ahead`, of the next block, comes into the L2 cache.
    """
    r = reductions.reduction(kind, dtype)
    join, leave = r.combine_numbers if numbers else r.combine, r.leave
    rounds_of, double_spans = rounds_counter(reductions.order_and_power(kind)[0] == 0), doubler(join, lanes)

    def finish(to, windows, divisors, at, room):
        columns = divisors.columns + place(divisors.first + at, divisors.fold)
        if room >= lanes:
            vector.store(to, leave(windows, vector.scaled(divisors.row, vector.load(columns, lanes))))
        else:
            divisor = vector.scaled(divisors.row, vector.load_first(columns, room, lanes))
            vector.store_first(to, leave(windows, divisor), room)

    finish = inlined(finish)

    def shrink(double, line, y, widths, divisors, ahead):
        taps, rounds = widths.taps, rounds_of(widths.taps)
        source, span = double_spans(line, double, widths, rounds)
        odd, behind = not rounds.overlap and taps > 1 and taps % 2 == 1, 2 * span * widths.step
        near = (taps - span) * widths.step if rounds.overlap else span * widths.step
        for run in range(widths.count):
            for j in range(0, widths.length, lanes):
                at, to = run * widths.pitch + j, run * widths.gap + j
                vector.prefetch(ahead + to)
                vector.prefetch(y + (to + AHEAD))
                windows = vector.load(source + at, lanes)
                if taps > 1:
                    windows = join(windows, vector.load(source + (at + near), lanes))
                if odd:
                    windows = join(windows, vector.load(line + (at + behind), lanes))
                finish(y + to, windows, divisors, to, widths.length - j)

    return compiled(shrink)


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
    seconds = lines * (c.pitch // lanes * vectors + 18) * 1e-9 + 5e-9 * picked
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
