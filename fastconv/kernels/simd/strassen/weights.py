"""Weights for Strassen's algorithm: bias, what undoes the scales of filters, and the seven panels of each block, in one array.

    panels [group][block][panel][taps c / 2][width]       bias, factors [group][half][block][width]

The panels are those of strassen_products.py, in its order. A block has `width` output channels of the first half and as many of
the second, the last filled up with zeros.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, Launch, compiled
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import packing
from fastconv.kernels.simd.strassen.products import A11, A12, A22, PANELS, S1, S2, S3, S4, putter
from fastconv.problem.convolutions import Array, Size

peek, poke, pointer = vector.peek, vector.poke, vector.pointer
STEADY = 60  # bits by which a filter is scaled at the most


@lru_cache(maxsize=8)
def combining(lanes: int) -> tuple[Any, Any, Any]:
    """What both of the kernels that follow are made of, compiled: the largest magnitudes, what scales filters, the panels."""
    put = putter(lanes)

    @compiled
    def at_least(largest, v, zero):
        """The larger of both, lane by lane, of what v is without its sign."""
        opposite = zero - v
        v = vector.chosen(vector.above(v, opposite), v, opposite)
        return vector.chosen(vector.above(v, largest), v, largest)

    @compiled
    def scales(scratch, count, factors, others):
        """scratch[0], [1] = the vectors that two filters a lane are multiplied by; factors, others = what undoes it.

        Their magnitudes are scratch[2], [3], and behind them lie 1 and 1 / 2.
        """
        one = peek(scratch + 4 * lanes)
        for k in range(count):
            a, b = peek(scratch + (2 * lanes + k)), peek(scratch + (3 * lanes + k))
            apart = 0
            if 0 < a < np.inf and 0 < b < np.inf:
                apart = max(-STEADY, min(STEADY, math.frexp(a)[1] - math.frexp(b)[1]))
            up, down = one, one
            for _ in range(abs(apart)):
                up, down = up + up, down * peek(scratch + (4 * lanes + 1))
            poke(scratch + k, one if apart >= 0 else up)
            poke(scratch + (lanes + k), up if apart >= 0 else one)
            # What a filter of zeros gives is zero, and not what the other one's rounding leaves.
            poke(factors + k, a if a == 0 else one if apart >= 0 else down)
            poke(others + k, b if b == 0 else down if apart >= 0 else one)

    @compiled
    def place(to, panel, b11, b12, b21, b22, count):
        """The first `count` lanes of all panels."""
        t1 = b12 - b11
        t2 = b22 - t1
        put(to + S2 * panel, t2, count)
        put(to + S3 * panel, b22 - b12, count)
        put(to + S1 * panel, t1, count)
        put(to + S4 * panel, b22, count)
        put(to + A11 * panel, b11, count)
        put(to + A12 * panel, b21, count)
        put(to + A22 * panel, b21 - t2, count)

    return at_least, scales, place


@lru_cache(maxsize=8)
def weight_combiner(lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled sums of B, by blocks of output channels of both halves: f32_strassen_weights_avx512.

    Filters that are summed are first scaled to one magnitude, by powers of two, lest a small one drown in a large one's
    rounding; the results are scaled back by `factors`, which lie behind the bias.
    """
    at_least, scales, place = combining(lanes)

    @compiled
    def peaks(w, step, count, lanes_here):
        """The largest magnitudes of `count` rows of a vector."""
        zero = vector.load_first(w, 0, lanes)
        largest, of_odd = zero, zero
        for i in range(0, count - 1, 2):
            largest = at_least(largest, vector.load_first(w + i * step, lanes_here, lanes), zero)
            of_odd = at_least(of_odd, vector.load_first(w + (i + 1) * step, lanes_here, lanes), zero)
        if count % 2:
            largest = at_least(largest, vector.load_first(w + (count - 1) * step, lanes_here, lanes), zero)
        return at_least(largest, of_odd, zero)

    def combine(begin, end, plain, to, sizes):
        blocks, width, taps = packing.three(sizes, 0)
        c_group, rows, from_rows = packing.three(sizes, 3)
        to_panels = sizes[6]
        half = -(-c_group // 2)
        of_block, panel = taps * c_group * width, taps * half * width
        memory = np.empty(5 * lanes, to.dtype)
        scratch = pointer(memory)
        memory[4 * lanes], memory[4 * lanes + 1] = 1, 0.5
        for item in range(begin, end):
            group, block = divmod(item, blocks)
            first = group * 2 * blocks + block
            w1 = pointer(plain) + (from_rows + first * of_block)
            w2, out = w1 + blocks * of_block, pointer(to) + (to_panels + item * PANELS * panel)
            for k in range(0, width, lanes):
                here = min(lanes, width - k)
                factors = pointer(to) + (rows + first * width + k)
                vector.store(scratch + 2 * lanes, peaks(w1 + k, width, taps * c_group, here))
                vector.store(scratch + 3 * lanes, peaks(w2 + k, width, taps * c_group, here))
                scales(scratch, here, factors, factors + blocks * width)
                f1, f2 = vector.load(scratch, lanes), vector.load(scratch + lanes, lanes)
                for i in range(taps * half):
                    tap, c = divmod(i, half)
                    at, there = (tap * c_group + c) * width + k, here if half + c < c_group else 0
                    b11, b12 = f1 * vector.load_first(w1 + at, here, lanes), f2 * vector.load_first(w2 + at, here, lanes)
                    at = at + half * width
                    b21, b22 = f1 * vector.load_first(w1 + at, there, lanes), f2 * vector.load_first(w2 + at, there, lanes)
                    place(out + (i * width + k), panel, b11, b12, b21, b22, here)
        memory[0] = 0  # pointers do not keep an array alive: its last use does

    combine.__name__ = f"{dtype}_strassen_weights_{isa}"
    return Kernel(combine)


@lru_cache(maxsize=8)
def row_combiner(lanes: int, dtype: str, isa: str) -> Kernel:
    """The same where channels of a filter follow each other: squares are turned, and combined while the L1 cache has them."""
    at_least, scales, place = combining(lanes)

    @compiled
    def peak(at, count, scratch):
        """The largest magnitude of a run."""
        zero = vector.load_first(at, 0, lanes)
        largest, of_odd = zero, zero
        for i in range(0, count, 2 * lanes):
            largest = at_least(largest, vector.load_first(at + i, count - i, lanes), zero)
            if i + lanes < count:
                of_odd = at_least(of_odd, vector.load_first(at + (i + lanes), count - i - lanes, lanes), zero)
        vector.store(scratch, at_least(largest, of_odd, zero))
        found = peek(scratch)
        for i in range(1, lanes):
            found = max(found, peek(scratch + i))
        return found

    @compiled
    def turn(at, step, rows, filters, to):
        """to[c][k] = at[k * step + c] for c < rows and k < filters, zeros elsewhere."""
        if rows == filters == lanes:
            vector.store_tile(vector.load_turned(at, step, lanes), to, lanes)
        else:
            vector.store_tile(vector.load_transposed(at, step, rows, filters, lanes, 1, lanes), to, lanes)

    def combine_rows(begin, end, w, bias, to, sizes):
        blocks, width, taps = packing.three(sizes, 0)
        c_group, k_group, rows = packing.three(sizes, 3)
        to_panels, half = sizes[6], -(-c_group // 2)
        length, panel, square, zero = taps * c_group, taps * half * width, lanes * lanes, to.dtype.type(0)
        memory = np.empty(6 * lanes + 4 * square + 32, to.dtype)
        scratch = pointer(memory)
        memory[4 * lanes], memory[4 * lanes + 1] = 1, 0.5
        squares = vector.line_start(scratch + 6 * lanes)
        for item in range(begin, end):
            group, block = divmod(item, blocks)
            first = group * 2 * blocks + block
            out = pointer(to) + (to_panels + item * PANELS * panel)
            for j in range(2):
                for k in range(width):
                    place_of = (j * blocks + block) * width + k
                    value = bias[group * k_group + place_of] if place_of < k_group else zero
                    poke(pointer(to) + ((first + j * blocks) * width + k), value)
            for k in range(0, width, lanes):
                here, k1 = min(lanes, width - k), block * width + k
                k2 = k1 + blocks * width
                n1, n2 = max(0, min(here, k_group - k1)), max(0, min(here, k_group - k2))
                w1 = pointer(w) + (group * k_group + k1) * length
                w2 = w1 + blocks * width * length if n2 > 0 else w1
                for j in range(lanes):
                    poke(scratch + (2 * lanes + j), peak(w1 + j * length, length, scratch + 5 * lanes) if j < n1 else zero)
                    poke(scratch + (3 * lanes + j), peak(w2 + j * length, length, scratch + 5 * lanes) if j < n2 else zero)
                factors = pointer(to) + (rows + first * width + k)
                scales(scratch, here, factors, factors + blocks * width)
                f1, f2 = vector.load(scratch, lanes), vector.load(scratch + lanes, lanes)
                for tap in range(taps):
                    for c in range(0, half, lanes):
                        at, cells, less = tap * c_group + c, min(lanes, half - c), max(0, min(lanes, c_group - half - c))
                        turn(w1 + at, length, cells, n1, squares)
                        turn(w2 + at, length, cells, n2, squares + square)
                        at = at + half if less > 0 else at
                        turn(w1 + at, length, less, n1, squares + 2 * square)
                        turn(w2 + at, length, less, n2, squares + 3 * square)
                        for i in range(cells):
                            row = squares + i * lanes
                            b11, b12 = f1 * vector.load(row, lanes), f2 * vector.load(row + square, lanes)
                            b21 = f1 * vector.load(row + 2 * square, lanes)
                            b22 = f2 * vector.load(row + 3 * square, lanes)
                            place(out + ((tap * half + c + i) * width + k), panel, b11, b12, b21, b22, here)
        memory[0] = 0  # pointers do not keep an array alive: its last use does

    combine_rows.__name__ = f"{dtype}_strassen_weights_by_rows_{isa}"
    return Kernel(combine_rows)


class Draft(NamedTuple):
    """A launch without its bias and weights.

    Attributes
    ----------
    kernel, items, work, arguments
        As a Launch has them.
    rows, plain, panels : int
        Elements of the bias, which those of the factors equal, of the weights as they are packed first, and of the panels.
    blocks : int
        Blocks of output channels of a half, of all groups.
    by_rows : bool
        Whether the channels of a filter follow each other, tap by tap.
    names : tuple
        Lanes, dtype and instruction set, as the kernels that pack are found by.
    packed_sizes, combined_sizes : array of int64
        What those kernels need to know.
    """

    kernel: Kernel
    items: int
    work: int
    arguments: tuple[Any, ...]
    rows: int
    plain: int
    panels: int
    blocks: int
    by_rows: bool
    names: tuple[int, str, str]
    packed_sizes: Array
    combined_sizes: Array


def places(rows: int, dtype: np.dtype[Any]) -> tuple[int, int]:
    """Where weights begin behind the bias as they are packed first, and panels behind bias and factors."""
    return packing.whole_lines(rows, dtype), packing.whole_lines(2 * rows, dtype)


def drafted(
    bare: tuple[Kernel, int, int, tuple[Any, ...]],
    groups: int,
    of_group: Size,
    taps: Size,
    steps: Size,
    dtype: np.dtype[Any],
    names: tuple[int, str, str],
) -> Draft:
    """The draft of (kernel, items, work, arguments), whose weights become [group][block][panel][taps c / 2][width].

    `of_group` are the blocks of a half, their width, and the output and input channels of a group; bias and factors have
    [group][half][block][width]. `steps` are those of conv.tap_steps.
    """
    blocks, width, k_group, c_group = of_group
    rows, window = groups * 2 * blocks * width, math.prod(taps)
    begun, behind = places(rows, dtype)
    by_group, by_k, by_c, *by_taps, first = steps
    whole = [c_group * math.prod(taps[axis + 1 :]) for axis in range(3)]
    in_order = all(step == wanted or count == 1 for step, wanted, count in zip(by_taps, whole, taps, strict=True))
    by_rows = in_order and by_c == 1 and by_k == c_group * window and by_group == k_group * by_k and first == 0
    return Draft(
        *bare,
        rows,
        rows * c_group * window,
        groups * blocks * PANELS * window * -(-c_group // 2) * width,
        groups * blocks,
        by_rows,
        names,
        np.array((2 * blocks, width, k_group, c_group, c_group, *taps, *steps, begun), np.int64),
        np.array((blocks, width, window, c_group, k_group if by_rows else rows, rows if by_rows else begun, behind), np.int64),
    )


def launched(draft: Draft, w: Array, bias: Array) -> Launch:
    """The draft with its weights: bias, factors and panels in one array."""
    begun, behind = places(draft.rows, w.dtype)
    packed = packing.aligned(behind + draft.panels, w.dtype)
    complete = Launch(draft.kernel, draft.items, draft.work, packed, packed[: 2 * draft.rows], draft.arguments)
    if draft.by_rows:
        row_combiner(*draft.names)(draft.blocks, 8 * draft.plain, w.reshape(-1), bias, packed, draft.combined_sizes)
        return complete
    plain = packing.aligned(begun + draft.plain, w.dtype)
    packing.weight_packer(*draft.names)(2 * draft.blocks, 4 * draft.plain, w.reshape(-1), bias, plain, draft.packed_sizes)
    packed[: draft.rows] = plain[: draft.rows]
    weight_combiner(*draft.names)(draft.blocks, 8 * draft.plain, plain, packed, draft.combined_sizes)
    return complete
