"""Pools whose windows share most of their cells: a cost that does not grow with the window's height, and hardly with its width.

Rows are taken in first, then columns; the cells of a row are its columns with their channels, so that both layouts, and any
number of channels, are one kernel.

Heights: a block of outputs, whose windows have the rows i .. i + k - 1 for i < m, needs each row once from either side of
row m - 1, which all windows hold (van Herk, A fast algorithm for local minimum and maximum filters (1992); Gil and Werman
(1993)):

    S[i] = x[i] + ... + x[m - 1] + ... + x[k - 1]        P[i] = x[k] + ... + x[k + i - 1]        line[i] = S[i] + P[i]

Widths: windows of 2 n, or 2 n + 1, cells are two windows of n, and the cell behind them, so that k takes log2(k) rounds. Of
the largest cell, or the smallest, the two may overlap.

`+` takes in: the larger, the smaller, a sum. Every term of a result is a cell of its window, and nothing is ever taken out
again: a NaN, an infinity or a huge number reaches no other window. A sum of k_d * k_h * k_w cells rounds each of them at most
k_d * k_h + 2 * log2(k_w) times, so that an average is off by no more than

    (k_d * k_h + 2 * log2(k_w) + 1) * eps * sum of |x| / divisor

Depths are taken in cell by cell.
"""

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled, element, inlined
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import packing
from fastconv.kernels.simd.pools import reductions as pooling
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array
from fastconv.problem.pools import PoolGeometry
from fastconv.problem.problem import Operands, Problem

pointer = vector.pointer
WORKSPACE = 1 << 20  # bytes a thread
FEW_BEHIND = 3  # set bits of a width, of which the highest is not a cell behind
AHEAD = 1024  # results that are asked for before they are written
LINE = 16 << 10  # bytes of a line, which stays in the L1 cache while its widths are taken in


def has_numbers(kind: str, dtype: str) -> bool:
    """Whether cells may be NaN, and to compare them is quicker where none is."""
    return dtype[0] == "f" and pooling.order_and_power(kind)[0] != 0


@lru_cache(maxsize=64)
def stacker(kind: str, lanes: int, dtype: str, wide: bool) -> Any:
    """The compiled heights of a block: line[i][w] = cells of the rows i .. i + k - 1 at w, for i < count.

    Wide ones take in four vectors at a time, the last of which may overlap those before. They tell whether all cells are
    numbers, where that matters: if not, what they wrote is of no use.
    """
    enter, combine, _, _, combine_numbers = pooling.reduction(kind, dtype)
    matters = has_numbers(kind, dtype)

    def one(p, room):
        return (vector.load_first(p, room, lanes),)

    def join_one(a, b):
        return (combine(a[0], b[0]),)

    def enter_one(a):
        return (enter(a[0]),)

    def put_one(p, a, room):
        vector.store_first(p, a[0], room)

    def one_value(value):
        return (vector.splat(value, lanes),)

    def look_away(seen, a):
        return seen

    def four(p, room):
        return (
            vector.load(p, lanes),
            vector.load(p + lanes, lanes),
            vector.load(p + 2 * lanes, lanes),
            vector.load(p + 3 * lanes, lanes),
        )

    def join_four(a, b):
        return (
            combine_numbers(a[0], b[0]),
            combine_numbers(a[1], b[1]),
            combine_numbers(a[2], b[2]),
            combine_numbers(a[3], b[3]),
        )

    def enter_four(a):
        return enter(a[0]), enter(a[1]), enter(a[2]), enter(a[3])

    def put_four(p, a, room):
        vector.store(p, a[0])
        vector.store(p + lanes, a[1])
        vector.store(p + 2 * lanes, a[2])
        vector.store(p + 3 * lanes, a[3])

    def four_values(value):
        v = vector.splat(value, lanes)
        return v, v, v, v

    def look_at_four(seen, a):
        low, high = vector.numbers_in_both(a[0], a[1]), vector.numbers_in_both(a[2], a[3])
        return vector.both(seen[0], low), vector.both(seen[1], high)

    ones = one, join_one, enter_one, put_one, one_value, look_away
    fours = four, join_four, enter_four, put_four, four_values, look_at_four if matters else look_away
    cells_at, join, entered, put, all_of, look_at = (inlined(each) for each in (fours if wide else ones))
    width = 4 * lanes if wide else lanes

    def taken(best, seen, source, r, rows_in, row_step, depths, room):
        """The windows with row r of every depth taken in, where it is in the plane."""
        if 0 <= r < rows_in:
            row = source + r * row_step
            for d in range(depths[0]):
                cells = cells_at(row + d * depths[1], room)
                best, seen = join(best, entered(cells)), look_at(seen, cells)
        return best, seen

    taken = inlined(taken)

    def stack(image, line, pitch, pieces, length, gap, depths, top, step, taps, rows_in, row_step, count, initial):
        none = vector.numbers_in_both(vector.splat(initial, lanes), vector.splat(initial, lanes))
        seen = none, none
        for piece in range(pieces):
            for begun in range(0, length, width):
                i = min(begun, length - width) if wide else begun
                source, to, room = image + (piece * gap + i), line + (piece * length + i), length - i
                best = all_of(initial)
                for t in range(count - 1, taps):
                    best, seen = taken(best, seen, source, top + t * step, rows_in, row_step, depths, room)
                put(to + (count - 1) * pitch, best, room)
                for t in range(count - 2, -1, -1):
                    best, seen = taken(best, seen, source, top + t * step, rows_in, row_step, depths, room)
                    put(to + t * pitch, best, room)
                best = all_of(initial)
                for t in range(1, count):
                    best, seen = taken(best, seen, source, top + (taps - 1 + t) * step, rows_in, row_step, depths, room)
                    put(to + t * pitch, join(best, cells_at(to + t * pitch, room)), room)
        return vector.first_are_set(vector.both(seen[0], seen[1]), lanes)

    return compiled(stack)


@lru_cache(maxsize=64)
def shrinker(kind: str, lanes: int, dtype: str, numbers: bool) -> Any:
    """The compiled widths of a line: y[run][j] = its cells at (run * stride + s) * some + j over the taps s, divided.

    Where all cells are `numbers`, it is quicker. Meanwhile the row at `ahead`, of the next block, comes into the L2 cache.
    """
    _, combine, _, leave, combine_numbers = pooling.reduction(kind, dtype)
    join, sums = combine_numbers if numbers else combine, pooling.order_and_power(kind)[0] == 0

    def shrink(line, double, y, runs, size, apart, stride, some, taps, step, spread, across, counts, ahead):
        bit, cells_behind = 1, taps & 1
        while 2 * bit <= taps:
            bit *= 2
            cells_behind += (taps & bit) // bit
        # Two windows may overlap, but not where they are added; one more round costs what two cells behind do.
        overlap = not sums and cells_behind > FEW_BEHIND
        span, source, half = 1, line, (taps + 1) // 2 if overlap else taps // 2
        while span < half:
            bit //= 2
            odd, near, behind = not overlap and (taps & bit) > 0, span * step, 2 * span * step
            span = 2 * span + (1 if odd else 0)
            needed = spread + (taps - span) * step  # by the rounds to come
            for i in range(0, needed, lanes):
                pair = join(vector.load(source + i, lanes), vector.load(source + (i + near), lanes))
                if odd:
                    pair = join(pair, vector.load(line + (i + behind), lanes))
                vector.store(double + i, pair)
            source = double
        odd, behind = not overlap and taps > 1 and taps % 2 == 1, 2 * span * step
        near = (taps - span) * step if overlap else span * step
        for run in range(runs):
            for j in range(0, size, lanes):
                at, to, room = run * stride * some + j, run * apart + j, size - j
                vector.prefetch(ahead + to)
                vector.prefetch(y + (to + AHEAD))
                best = vector.load(source + at, lanes)
                if taps > 1:
                    best = join(best, vector.load(source + (at + near), lanes))
                if odd:
                    best = join(best, vector.load(line + (at + behind), lanes))
                if room >= lanes:
                    vector.store(y + to, leave(best, vector.scaled(across, vector.load(counts + to, lanes))))
                else:
                    divisors = vector.scaled(across, vector.load_first(counts + to, room, lanes))
                    vector.store_first(y + to, leave(best, divisors), room)

    return compiled(shrink)


@lru_cache(maxsize=32)
def kernel(kind: str, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over blocks of output rows, cut into strips of columns: f32_running_max_avx512."""
    stack, stack_one_by_one = stacker(kind, lanes, dtype, True), stacker(kind, lanes, dtype, False)
    shrink = shrinker(kind, lanes, dtype, False)
    shrink_numbers = shrinker(kind, lanes, dtype, True) if has_numbers(kind, dtype) else shrink

    @compiled
    def fill(to, count, value):
        """to[i] = value, for i < count"""
        cells = vector.splat(value, lanes)
        for i in range(0, count, lanes):
            vector.store_first(to + i, cells, count - i)

    def pool(begin, end, x, y, sizes, bounds, widths, initial):
        depth_in, rows_in, columns_in = packing.three(sizes, 0)
        depth_out, rows_out, columns_out = packing.three(sizes, 3)
        _, taps_h, taps_w = packing.three(sizes, 6)
        _, stride_h, stride_w = packing.three(sizes, 9)
        step_d, step_h, step_w = packing.three(sizes, 12)
        _, before_h, before_w = packing.three(sizes, 15)
        channels, chunk, height, comb, strip = packing.five(sizes, 18)
        row_step = columns_in * channels
        chunks, strips = -(-channels // chunk), -(-columns_out // strip)
        blocks = (rows_out + comb * height - 1) // (comb * height)
        pitch = (((strip - 1) * stride_w + (taps_w - 1) * step_w + 1) * chunk + lanes - 1) // lanes * lanes + lanes
        # Behind each row there is room for what a last vector reads or writes and nobody uses.
        memory = np.full((height + 1) * pitch + 2 * lanes + 16, initial)
        lines = vector.line_start(pointer(memory))
        double = lines + height * pitch
        for item in range(begin, end):
            rest, block = divmod(item, blocks * comb)
            rest, part = divmod(rest, strips)
            rest, group = divmod(rest, chunks)
            plane, d_out = divmod(rest, depth_out)
            first = block // blocks + comb * height * (block % blocks)
            count = min(height, -(-(rows_out - first) // comb))
            if count <= 0:
                continue
            c, left = group * chunk, part * strip
            some, broad = min(chunk, channels - c), min(strip, columns_out - left)
            # Input columns lo .. hi - 1 lie under the strip's windows, which reach from `west` to `east`.
            west = left * stride_w - before_w
            east = west + (broad - 1) * stride_w + (taps_w - 1) * step_w + 1
            lo, hi = min(max(west, 0), columns_in), max(min(east, columns_in), 0)
            pieces, length = (1, (hi - lo) * channels) if some == channels else (hi - lo, some)
            d_start, d_stop, d_count = packing.three(bounds, 3 * d_out)
            image = pointer(x) + ((plane * depth_in + d_start) * rows_in * row_step + lo * channels + c)
            top = first * stride_h - before_h
            heights = (
                (-((d_start - d_stop) // step_d), step_d * rows_in * row_step),
                top,
                step_h,
                taps_h,
                rows_in,
                row_step,
                count,
                initial,
            )
            cells = lines + (lo - west) * some
            fine = length >= 4 * lanes and stack(image, cells, pitch, pieces, length, channels, *heights)
            if not fine:
                stack_one_by_one(image, cells, pitch, pieces, length, channels, *heights)
            for i in range(count):
                line = lines + i * pitch
                fill(line, (lo - west) * some, initial)
                fill(line + (hi - west) * some, (east - hi) * some, initial)
                h_out = first + comb * i
                _, _, h_count = packing.three(bounds, 3 * (depth_out + h_out))
                runs, size = (1, broad * channels) if some == channels and stride_w == 1 else (broad, some)
                rest_of_it = (
                    pointer(y) + ((((plane * depth_out + d_out) * rows_out + h_out) * columns_out + left) * channels + c),
                    runs,
                    size,
                    channels,
                    stride_w,
                    some,
                    taps_w,
                    step_w * some,
                    ((broad - 1) * stride_w + 1) * some,
                    widths.dtype.type(d_count * h_count),
                    pointer(widths) + (left * channels + c),
                    image + (top + (taps_h - 1 + count + i) * step_h) * row_step,
                )
                if fine:
                    shrink_numbers(line, double, *rest_of_it)
                else:
                    shrink(line, double, *rest_of_it)
        memory[0] = initial  # pointers do not keep an array alive: its last use does

    pool.__name__ = f"{dtype}_running_{kind}_{isa}"
    return Kernel(pool)


# Decisions --------------------------------------------------------------------------------------------------------------


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
    reason = pooling.refusal(geometry, dtype)
    if reason or geometry.return_indices:
        return reason or "it keeps no indices"
    if geometry.adaptive:
        return "adaptive windows differ in size"
    real = pooling.computed(geometry, dtype)
    if 4 * cut(geometry, real.itemsize, host().lanes(real)).pitch * real.itemsize > WORKSPACE:
        return f"its lines of {geometry.window[-1]} cells a window would not fit its workspace"
    return None


def cost(problem: Problem, machine: Machine) -> float:
    """Nanoseconds for each line's vectors, a start for each line, and with strides what is picked out of it."""
    return seconds(problem.geometry, problem.dtype, machine)


def seconds(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Nanoseconds for each line's vectors, a start for each line, and with strides what is picked out of it."""
    g, real = geometry, pooling.computed(geometry, dtype)
    lanes = machine.lanes(real)
    c = cut(g, real.itemsize, lanes)
    outputs, depth, tall = prod(g.out_shape), prod(g.kernel[:-2]), prod(g.kernel[-2:-1])
    pieces = -(-c.channels // max(1, c.chunk)) * -(-g.out_size[-1] // max(1, c.strip))
    lines = outputs // max(1, g.out_size[-1] * c.channels) * pieces
    vectors = 0.7 * depth * (tall if c.height == 1 else 1 + tall / c.height) + 1.4 * g.kernel[-1].bit_length()
    if c.chunk < c.channels:  # what such lines were measured to cost
        vectors *= 1.5
    picked = 0 if g.stride[-1] == 1 else outputs / max(1, min(lanes, c.chunk))
    seconds = lines * (c.pitch // lanes * vectors + 18) * 1e-9 + 5e-9 * picked
    return 4e-6 + seconds + machine.seconds(0, g.bytes(dtype.itemsize))


@lru_cache(maxsize=256)
def launch(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> tuple[Any, ...]:
    """(kernel, items, work, and the arguments after x and y)."""
    g, real, t = geometry, pooling.computed(geometry, dtype), pooling.tables(geometry, dtype)
    lanes, kind = machine.lanes(real), pooling.kind_of(g, dtype)
    c = cut(g, real.itemsize, lanes)
    sizes = (*t.in_size, *t.out_size, *t.kernel, *t.stride, *t.dilation, *t.before, *c[:5])
    planes = g.batch * g.channels // c.channels
    blocks = c.comb * -(-t.out_size[1] // (c.comb * c.height))
    items = planes * t.out_size[0] * blocks * -(-t.out_size[2] // c.strip) * -(-c.channels // c.chunk)
    work = int(seconds(g, dtype, machine) * 1e9)
    widths = np.repeat(t.widths, c.channels)
    arguments = np.array(sizes, np.int64), t.bounds, widths, pooling.initial(kind, real)
    return kernel(kind, lanes, element(dtype), machine.isa), items, work, arguments


def run(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """All blocks of rows."""
    x, geometry = operands["x"], problem.geometry
    found, items, work, arguments = launch(geometry, x.dtype, host())
    found(items, work, x.ravel(), out.ravel(), *arguments)
