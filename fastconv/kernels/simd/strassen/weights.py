"""Weights for Strassen's algorithm: bias, what undoes the scales of filters, and the seven panels of each block, in one array.

    panels [group][block][panel][taps c / 2][width]       bias, factors [group][half][block][width]

The panels are those of products.py, in its order. A block has `width` output channels of the first half and as many of the
second, the last filled up with zeros.

Filters that are summed are first scaled to one magnitude, by powers of two, lest a small one drown in a large one's rounding;
`factors`, which lie behind the bias, scale the results back.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled, element
from fastconv.kernels.keeping import remembered
from fastconv.kernels.memory import aligned
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import weights
from fastconv.kernels.simd.engine.blocks import whole_lines
from fastconv.kernels.simd.engine.sizes import Axes, reader, written
from fastconv.kernels.simd.engine.walks import TapSteps
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.kernels.simd.strassen.products import A11, A12, A22, PANELS, S1, S2, S3, S4, store_up_to
from fastconv.machine import Machine
from fastconv.problem.convolutions import Array

peek, poke, pointer = vector.peek, vector.poke, vector.pointer
STEADY = 60  # bits by which a filter is scaled at the most


class Sizes(NamedTuple):
    """What both kernels know.

    Attributes
    ----------
    blocks, width : int
        Blocks of a half of a group's output channels, and channels of one.
    taps, c_group, half, k_group : int
        Taps of the kernel, input channels of a group and those of the first half, and output channels of a group.
    rows : int
        Elements of the bias, behind which as many factors lie.
    plain, panels : int
        Where the weights begin, as they are packed first, and where the panels do.
    """

    blocks: int
    width: int
    taps: int
    c_group: int
    half: int
    k_group: int
    rows: int
    plain: int
    panels: int


class Parts(NamedTuple):
    """The workspace: scales and magnitudes of a vector of filters of either half, one vector more, four squares."""

    scales: int
    magnitudes: int
    vector: int
    squares: int


class Filters(NamedTuple):
    """Filters of the first half of the output channels, at most one a lane, and as many of the second; how many there are."""

    first: Any
    second: Any
    first_count: int
    second_count: int


read, carve = reader(Sizes), workspace(Parts)


@compiled
def panel_size(s):
    """Elements of a panel."""
    return s.taps * s.half * s.width


@compiled
def panels_at(to, item, s):
    """The first panel of a block."""
    return to + (s.panels + item * PANELS * panel_size(s))


@compiled
def rows_before(item, s):
    """Rows of weights before the first one of a block, among those of both halves."""
    group, block = divmod(item, s.blocks)
    return (group * 2 * s.blocks + block) * s.width


@lru_cache(maxsize=8)
def combining(lanes: int) -> tuple[Any, Any, Any]:
    """What both kernels are made of, compiled: the larger magnitudes, what scales filters, and the panels of their sums."""
    store = store_up_to(lanes)

    @compiled
    def at_least(largest, v, zero):
        """The larger of both, lane by lane, of what v is without its sign."""
        opposite = zero - v
        v = vector.chosen(vector.above(v, opposite), v, opposite)
        return vector.chosen(vector.above(v, largest), v, largest)

    @compiled
    def scale(work, count, factors, second_factors, one):
        """work.scales = what the filters of both halves are multiplied by; both factors = what undoes it."""
        for k in range(count):
            a, b = peek(work.magnitudes + k), peek(work.magnitudes + (lanes + k))
            bits = 0
            if 0 < a < np.inf and 0 < b < np.inf:
                bits = max(-STEADY, min(STEADY, math.frexp(a)[1] - math.frexp(b)[1]))
            up, down = one, one
            for _ in range(abs(bits)):
                up, down = up + up, down * (one / (one + one))
            poke(work.scales + k, one if bits >= 0 else up)
            poke(work.scales + (lanes + k), up if bits >= 0 else one)
            # What a filter of zeros gives is zero, and not what the other one's rounding leaves.
            poke(factors + k, a if a == 0 else one if bits >= 0 else down)
            poke(second_factors + k, b if b == 0 else down if bits >= 0 else one)

    @compiled
    def store_panels(to, panel, b11, b12, b21, b22, count):
        """The first `count` lanes of all panels."""
        t1 = b12 - b11
        t2 = b22 - t1
        store(to + S2 * panel, t2, count)
        store(to + S3 * panel, b22 - b12, count)
        store(to + S1 * panel, t1, count)
        store(to + S4 * panel, b22, count)
        store(to + A11 * panel, b11, count)
        store(to + A12 * panel, b21, count)
        store(to + A22 * panel, b21 - t2, count)

    return at_least, scale, store_panels


@lru_cache(maxsize=8)
def weight_combiner(lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled sums of B, by blocks of output channels of both halves: f32_strassen_weights_avx512.

    It reads weights that are packed as [group][half][block][tap][c][width].
    """
    at_least, scale, store_panels = combining(lanes)

    @compiled
    def magnitude_of(w, count, s):
        """The largest magnitudes of the rows of the weights at w, of a vector of filters."""
        zero, rows = vector.load_first(w, 0, lanes), s.taps * s.c_group
        even, odd = zero, zero
        for i in range(0, rows - 1, 2):
            even = at_least(even, vector.load_first(w + i * s.width, count, lanes), zero)
            odd = at_least(odd, vector.load_first(w + (i + 1) * s.width, count, lanes), zero)
        if rows % 2:
            even = at_least(even, vector.load_first(w + (rows - 1) * s.width, count, lanes), zero)
        return at_least(even, odd, zero)

    @compiled
    def combine_filters(to, filters, work, s):
        """The panels [tap][c] of a vector of filters of each half."""
        f1, f2, count = vector.load(work.scales, lanes), vector.load(work.scales + lanes, lanes), filters.first_count
        for i in range(s.taps * s.half):
            tap, c = divmod(i, s.half)
            at, rest = (tap * s.c_group + c) * s.width, count if s.half + c < s.c_group else 0
            b11 = f1 * vector.load_first(filters.first + at, count, lanes)
            b12 = f2 * vector.load_first(filters.second + at, count, lanes)
            at = at + s.half * s.width
            b21 = f1 * vector.load_first(filters.first + at, rest, lanes)
            b22 = f2 * vector.load_first(filters.second + at, rest, lanes)
            store_panels(to + i * s.width, panel_size(s), b11, b12, b21, b22, count)

    def combine(begin, end, plain, to, sizes):
        """T1 = B12 - B11, T2 = B22 - T1, T3 = B22 - B12, T4 = T2 - B21 of each block, its filters scaled."""
        s = read(sizes)
        work, memory = carve(Parts(scales=2 * lanes, magnitudes=2 * lanes, vector=lanes, squares=0), to)
        for item in range(begin, end):
            rows, of_half = rows_before(item, s), s.blocks * s.width
            for k in range(0, s.width, lanes):
                count, first = min(lanes, s.width - k), pointer(plain) + (s.plain + rows * s.taps * s.c_group + k)
                filters = Filters(first, first + of_half * s.taps * s.c_group, count, count)
                vector.store(work.magnitudes, magnitude_of(filters.first, count, s))
                vector.store(work.magnitudes + lanes, magnitude_of(filters.second, count, s))
                factors = pointer(to) + (s.rows + rows + k)
                scale(work, count, factors, factors + of_half, to.dtype.type(1))
                combine_filters(panels_at(pointer(to), item, s) + k, filters, work, s)
        keep(memory)

    combine.__name__ = f"{dtype}_strassen_weights_{isa}"
    return Kernel(combine)


@lru_cache(maxsize=8)
def filter_steps(lanes: int) -> tuple[Any, Any]:
    """The compiled (measure, combine) of filters whose channels follow each other."""
    at_least, _, store_panels = combining(lanes)
    square = lanes * lanes

    @compiled
    def magnitude_of(filter_at, count, of_lanes):
        """The largest magnitude of a filter's `count` weights; `of_lanes` has room for a vector."""
        zero = vector.load_first(filter_at, 0, lanes)
        even, odd = zero, zero
        for i in range(0, count, 2 * lanes):
            even = at_least(even, vector.load_first(filter_at + i, count - i, lanes), zero)
            if i + lanes < count:
                odd = at_least(odd, vector.load_first(filter_at + (i + lanes), count - i - lanes, lanes), zero)
        vector.store(of_lanes, at_least(even, odd, zero))
        largest = peek(of_lanes)
        for i in range(1, lanes):
            largest = max(largest, peek(of_lanes + i))
        return largest

    @compiled
    def measure(filters, work, zero, s):
        """work.magnitudes = the largest magnitude of each filter, zero where there is none."""
        length = s.taps * s.c_group
        for j in range(lanes):
            first, second = filters.first + j * length, filters.second + j * length
            poke(work.magnitudes + j, magnitude_of(first, length, work.vector) if j < filters.first_count else zero)
            poke(work.magnitudes + (lanes + j), magnitude_of(second, length, work.vector) if j < filters.second_count else zero)

    @compiled
    def turn(at, step, rows, filters, to):
        """to[c][k] = at[k * step + c] for c < rows and k < filters, zeros elsewhere."""
        if rows == filters == lanes:
            vector.store_tile(vector.load_turned(at, step, lanes), to, lanes)
        else:
            vector.store_tile(vector.load_transposed(at, step, rows, filters, lanes, 1, lanes), to, lanes)

    @compiled
    def turn_quarters(filters, at, c, squares, s):
        """The squares of B11, B12, B21 and B22 of the channels from c, whose first half begins at `at` in each filter."""
        length, rows, rest = s.taps * s.c_group, min(lanes, s.half - c), max(0, min(lanes, s.c_group - s.half - c))
        turn(filters.first + at, length, rows, filters.first_count, squares)
        turn(filters.second + at, length, rows, filters.second_count, squares + square)
        at = at + s.half if rest > 0 else at
        turn(filters.first + at, length, rest, filters.first_count, squares + 2 * square)
        turn(filters.second + at, length, rest, filters.second_count, squares + 3 * square)

    @compiled
    def combine_filters(to, filters, work, count, s):
        """The panels [tap][c] of a vector of filters of each half: squares are summed while the L1 cache has them."""
        f1, f2 = vector.load(work.scales, lanes), vector.load(work.scales + lanes, lanes)
        for tap in range(s.taps):
            for c in range(0, s.half, lanes):
                turn_quarters(filters, tap * s.c_group + c, c, work.squares, s)
                for i in range(min(lanes, s.half - c)):
                    row = work.squares + i * lanes
                    b11, b12 = f1 * vector.load(row, lanes), f2 * vector.load(row + square, lanes)
                    b21, b22 = f1 * vector.load(row + 2 * square, lanes), f2 * vector.load(row + 3 * square, lanes)
                    store_panels(to + (tap * s.half + c + i) * s.width, panel_size(s), b11, b12, b21, b22, count)

    return measure, combine_filters


@lru_cache(maxsize=8)
def row_combiner(lanes: int, dtype: str, isa: str) -> Kernel:
    """The same of weights as they are given, where the channels of a filter follow each other, tap by tap."""
    _, scale, _ = combining(lanes)
    measure, combine_filters = filter_steps(lanes)

    @compiled
    def pack_bias(to, bias, item, s):
        """to [half][block][k] = bias [k], zeros behind the last channel."""
        group, block = divmod(item, s.blocks)
        for half in range(2):
            for k in range(s.width):
                channel, value = (half * s.blocks + block) * s.width + k, bias.dtype.type(0)
                if channel < s.k_group:
                    value = bias[group * s.k_group + channel]
                poke(to + (group * 2 * s.blocks * s.width + channel), value)

    @compiled
    def filters_of(w, item, k, s):
        """The filters k and on of a block, as many as a vector has lanes."""
        group, block = divmod(item, s.blocks)
        first, length = block * s.width + k, s.taps * s.c_group
        second, count = first + s.blocks * s.width, min(lanes, s.width - k)
        first_count, second_count = max(0, min(count, s.k_group - first)), max(0, min(count, s.k_group - second))
        at = w + (group * s.k_group + first) * length
        return Filters(at, at + s.blocks * s.width * length if second_count > 0 else at, first_count, second_count)

    def combine_rows(begin, end, w, bias, to, sizes):
        """T1 = B12 - B11, T2 = B22 - T1, T3 = B22 - B12, T4 = T2 - B21 of each block, its filters scaled and turned."""
        s = read(sizes)
        work, memory = carve(Parts(scales=2 * lanes, magnitudes=2 * lanes, vector=lanes, squares=4 * lanes * lanes), to)
        for item in range(begin, end):
            pack_bias(pointer(to), bias, item, s)
            for k in range(0, s.width, lanes):
                filters, count = filters_of(pointer(w), item, k, s), min(lanes, s.width - k)
                measure(filters, work, to.dtype.type(0), s)
                factors = pointer(to) + (s.rows + rows_before(item, s) + k)
                scale(work, count, factors, factors + s.blocks * s.width, to.dtype.type(1))
                combine_filters(panels_at(pointer(to), item, s) + k, filters, work, count, s)
        keep(memory)

    combine_rows.__name__ = f"{dtype}_strassen_weights_by_rows_{isa}"
    return Kernel(combine_rows)


# Plan -------------------------------------------------------------------------------------------------------------------


class Channels(NamedTuple):
    """How channels are cut: groups, blocks of a half of a group's outputs, channels of one; channels of a group."""

    groups: int
    blocks: int
    width: int
    k_group: int
    c_group: int

    @property
    def rows(self) -> int:
        """Rows of weights, and elements of the bias."""
        return self.groups * 2 * self.blocks * self.width


def panels_behind(channels: Channels, dtype: np.dtype[Any]) -> int:
    """Where panels begin, behind bias and factors."""
    return whole_lines(2 * channels.rows, dtype)


def follow(steps: TapSteps, taps: Axes, channels: Channels) -> bool:
    """Whether the channels of a filter follow each other, tap by tap, and filters do."""
    k_group, c_group, window = channels.k_group, channels.c_group, math.prod(taps)
    wanted = c_group * taps.h * taps.w, c_group * taps.w, c_group
    in_order = all(
        step == one or count == 1 for step, one, count in zip((steps.t, steps.r, steps.s), wanted, taps, strict=True)
    )
    filters = steps.c == 1 and steps.k == c_group * window and steps.group == k_group * steps.k
    return in_order and filters and steps.first == 0


class Layout(NamedTuple):
    """How weights become bias, factors and panels: the channels, the taps and where they are read."""

    channels: Channels
    taps: Axes
    steps: TapSteps


@remembered
def sizes_of(layout: Layout, dtype: np.dtype[Any]) -> Array:
    """What the kernels that sum know."""
    (_, blocks, width, k_group, c_group), window, rows = layout.channels, math.prod(layout.taps), layout.channels.rows
    half, plain, panels = -(-c_group // 2), whole_lines(rows, dtype), panels_behind(layout.channels, dtype)
    return written(Sizes(blocks, width, window, c_group, half, k_group, rows, plain, panels))


def laid(layout: Layout, machine: Machine, w: Array, bias: Array) -> tuple[Array, Array]:
    """(bias, factors and panels in one array, bias and factors)."""
    (groups, blocks, width, k_group, c_group), taps, steps = layout
    channels, window, rows = layout.channels, math.prod(taps), layout.channels.rows
    of_panels = groups * blocks * PANELS * window * -(-c_group // 2) * width
    packed = aligned(panels_behind(channels, w.dtype) + of_panels, w.dtype)
    sizes = sizes_of(layout, w.dtype)
    names, work = (machine.lanes(w.dtype), element(w.dtype), machine.isa), 8 * rows * c_group * window
    if follow(steps, taps, channels):
        row_combiner(*names)(groups * blocks, work, w.reshape(-1), bias, packed, sizes)
    else:
        as_rows = weights.Sizes(2 * blocks, width, k_group, c_group, c_group, taps, steps, whole_lines(rows, w.dtype))
        plain, plain_bias = weights.Packer(as_rows, groups, machine)(w, bias)
        packed[:rows] = plain_bias
        weight_combiner(*names)(groups * blocks, work, plain, packed, sizes)
    return packed, packed[: 2 * rows]
