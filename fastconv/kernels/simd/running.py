"""Pools whose windows share most of their cells: a cost that does not grow with the window's height, and hardly with its width.

Rows are taken in first, then columns; the cells of a row are its columns with their channels, so that both layouts, and any
number of channels, are one kernel.

Heights: a block of outputs, whose windows have the rows i .. i + k - 1 for i < m, needs each row once from either side of
row m - 1, which all windows hold (van Herk, A fast algorithm for local minimum and maximum filters (1992); Gil and Werman
(1993)):

    S[i] = x[i] + ... + x[m - 1] + ... + x[k - 1]        P[i] = x[k] + ... + x[k + i - 1]        line[i] = S[i] + P[i]

Widths: windows of 2 n, or 2 n + 1, cells are two windows of n, and the cell behind them, so that k takes log2(k) rounds.

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

from fastconv.geometry import Array
from fastconv.kernels.jit import Kernel, element, inlined
from fastconv.kernels.simd import packing, pooling, vector
from fastconv.machine import Machine, host
from fastconv.pool_geometry import PoolGeometry

pointer = vector.pointer
WORKSPACE = 1 << 20  # bytes a thread
LINE = 16 << 10  # bytes of a line, which stays in the L1 cache while its widths are taken in


@lru_cache(maxsize=32)
def kernel(kind: str, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over blocks of output rows, cut into strips of columns: f32_running_max_avx512."""
    enter, combine, _, leave = pooling.reduction(kind, dtype)

    def take(base, to, source, pieces, length, gap):
        """to[i] = base[i] with source[i] taken in; the source's pieces lie `gap` apart"""
        whole = length - length % lanes
        for piece in range(pieces):
            cells, shift = source + piece * gap, piece * length
            for i in range(0, whole, lanes):
                more = enter(vector.load(cells + i, lanes))
                vector.store(to + (shift + i), combine(vector.load(base + (shift + i), lanes), more))
            if whole < length:
                more, room = enter(vector.load_first(cells + whole, length - whole, lanes)), length - whole
                best = combine(vector.load_first(base + (shift + whole), room, lanes), more)
                vector.store_first(to + (shift + whole), best, room)

    def fill(to, count, value):
        """to[i] = value, for i < count"""
        cells = vector.splat(value, lanes)
        for i in range(0, count, lanes):
            vector.store_first(to + i, cells, count - i)

    def widen(line, double, count, taps, step):
        """double[i] = the `taps` cells at i, i + step, ... of `line`, for i < count; True where that is `line` as it is"""
        bit = 1
        while 2 * bit <= taps:
            bit *= 2
        span, source = 1, line
        while bit > 1:
            bit //= 2
            odd, near, behind = (taps & bit) > 0, span * step, 2 * span * step
            span = 2 * span + (1 if odd else 0)
            needed = count + (taps - span) * step  # by the rounds to come
            for i in range(0, needed, lanes):
                pair = combine(vector.load(source + i, lanes), vector.load(source + (i + near), lanes))
                if odd:
                    pair = combine(pair, vector.load(line + (i + behind), lanes))
                vector.store(double + i, pair)
            source = double
        return span == 1

    take, fill, widen = inlined(take), inlined(fill), inlined(widen)

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
        memory = np.full((height + 3) * pitch + 2 * lanes + 16, initial)
        suffixes = vector.line_start(pointer(memory))
        prefix = suffixes + height * pitch
        double = prefix + pitch
        line = double + pitch
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
            cells = line + (lo - west) * some
            used = (hi - lo) * some
            image = pointer(x) + (plane * depth_in * rows_in * row_step + lo * channels + c)
            d_start, d_stop, d_count = packing.three(bounds, 3 * d_out)
            top = first * stride_h - before_h
            # The rows that all windows of the block hold, from registers to the last suffix, or to the line of a lone output.
            r_start, r_stop = top + (count - 1) * step_h, min(top + (taps_h - 1) * step_h + 1, rows_in)
            r_start += max(0, -(r_start // step_h)) * step_h
            last = cells if count == 1 else suffixes + (count - 1) * pitch
            for piece in range(pieces):
                for i in range(0, length, lanes):
                    best, room = vector.splat(initial, lanes), length - i
                    for d in range(d_start, d_stop, step_d):
                        for r in range(r_start, r_stop, step_h):
                            source = image + ((d * rows_in + r) * row_step + piece * channels + i)
                            if room >= lanes:
                                best = combine(best, enter(vector.load(source, lanes)))
                            else:
                                best = combine(best, enter(vector.load_first(source, room, lanes)))
                    vector.store_first(last + (piece * length + i), best, room)
            for i in range(count - 2, -1, -1):
                base, to, r = suffixes + (i + 1) * pitch, suffixes + i * pitch, top + i * step_h
                if 0 <= r < rows_in:
                    for d in range(d_start, d_stop, step_d):
                        take(base, to, image + (d * rows_in + r) * row_step, pieces, length, channels)
                        base = to
                else:
                    for j in range(0, used, lanes):
                        vector.store(to + j, vector.load(base + j, lanes))
            fill(prefix, used, initial)
            for i in range(count):
                r = top + (taps_h - 1 + i) * step_h
                if i > 0 and r < rows_in:
                    for d in range(d_start, d_stop, step_d):
                        take(prefix, prefix, image + (d * rows_in + r) * row_step, pieces, length, channels)
                if count > 1:
                    for j in range(0, used, lanes):
                        both = combine(vector.load(suffixes + (i * pitch + j), lanes), vector.load(prefix + j, lanes))
                        vector.store(cells + j, both)
                fill(line, (lo - west) * some, initial)
                fill(cells + used, (east - hi) * some, initial)
                h_out = first + comb * i
                _, _, h_count = packing.three(bounds, 3 * (depth_out + h_out))
                across = widths.dtype.type(d_count * h_count)
                out = pointer(y) + (((plane * depth_out + d_out) * rows_out + h_out) * columns_out + left) * channels + c
                counts = pointer(widths) + (left * channels + c)
                spread = ((broad - 1) * stride_w + 1) * some
                found = line if widen(line, double, spread, taps_w, step_w * some) else double
                runs, size = (1, broad * channels) if some == channels and stride_w == 1 else (broad, some)
                for run in range(runs):
                    for j in range(0, size, lanes):
                        at, room = run * channels + j, size - j
                        divisor = vector.scaled(across, vector.load_first(counts + at, room, lanes))
                        best = leave(vector.load(found + (run * stride_w * some + j), lanes), divisor)
                        vector.store_first(out + at, best, room)
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
    chunk = channels
    if channels > lanes:
        chunk = min(channels, max(lanes, room // max(1, (columns - 1) * step + shared + 1) // lanes * lanes))
    strip = min(columns, max((room // max(1, chunk) - shared) // step, 2 * shared // step, lanes))
    pitch = (((strip - 1) * step + shared + 1) * chunk + 2 * lanes - 1) // lanes * lanes
    height, comb = 1, 1
    if g.rank > 1 and g.stride[-2] == 1 and g.kernel[-2] > 1:
        comb = g.dilation[-2]
        height = max(1, min(g.kernel[-2], -(-rows // comb), WORKSPACE // itemsize // pitch - 4))
    return Cut(channels, chunk, height, comb if height > 1 else 1, strip, pitch)


def supports(geometry: PoolGeometry, dtype: np.dtype[Any]) -> str | None:
    """Pools whose windows all have one size, without indices."""
    reason = pooling.refusal(geometry, dtype)
    if reason or geometry.return_indices:
        return reason or "it keeps no indices"
    if geometry.adaptive:
        return "adaptive windows differ in size"
    real = pooling.computed(geometry, dtype)
    if 4 * cut(geometry, real.itemsize, host().lanes(real)).pitch * real.itemsize > WORKSPACE:
        return f"its lines of {geometry.window[-1]} cells a window would not fit its workspace"
    return None


def cost(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """The rounds over each line's vectors, a start for each line, and with strides what is picked out of it."""
    g, real = geometry, pooling.computed(geometry, dtype)
    lanes = machine.lanes(real)
    c = cut(g, real.itemsize, lanes)
    outputs, depth, tall = prod(g.out_shape), prod(g.kernel[:-2]), prod(g.kernel[-2:-1])
    pieces = -(-c.channels // max(1, c.chunk)) * -(-g.out_size[-1] // max(1, c.strip))
    lines = outputs // max(1, g.out_size[-1] * c.channels) * pieces
    heights = depth * tall if c.height == 1 else depth * (1 + tall / c.height + 1) + 4
    rounds = heights + 2 * g.kernel[-1].bit_length() + 4
    if c.chunk > lanes:  # what such lines were measured to cost
        rounds *= 1.3
    picked = 0 if g.stride[-1] == 1 else outputs / max(1, min(lanes, c.chunk))
    seconds = lines * (c.pitch // lanes * rounds / 2e9 + 45e-9) + 5e-9 * picked
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
    work = int(cost(g, dtype, machine) * 1e9)
    widths = np.repeat(t.widths, c.channels)
    arguments = np.array(sizes, np.int64), t.bounds, widths, pooling.initial(kind, real)
    return kernel(kind, lanes, element(dtype), machine.isa), items, work, arguments


def run(x: Array, packed: None, geometry: PoolGeometry, out: Array) -> None:
    """All blocks of rows."""
    found, items, work, arguments = launch(geometry, x.dtype, host())
    found(items, work, x.reshape(-1), out.reshape(-1), *arguments)
