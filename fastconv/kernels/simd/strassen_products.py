"""Seven products where eight would be: a matrix product by halves, and the weights laid out for it.

    [C11 C12]   [A11 A12]   [B11 B12]    S1 = A21 + A22  T1 = B12 - B11   U2  = A11 B11 + S2 T2
    [C21 C22] = [A21 A22] @ [B21 B22]    S2 = S1 - A11   T2 = B22 - T1    U3  = U2 + S3 T3
                                         S3 = A11 - A21  T3 = B22 - B12   C11 = A11 B11 + A12 B21   C12 = U2 + S1 T1 + S4 B22
                                         S4 = A12 - S2   T4 = T2 - B21    C21 = U3 - A22 T4         C22 = U3 + S1 T1

Winograd's form of Strassen's algorithm, with the fewest sums: Strassen, Gaussian elimination is not optimal (1969); Winograd,
On multiplication of 2x2 matrices (1971). A row of A1 and one of A2 are the windows of two neighbouring outputs, the halves of
their columns those of the input channels, and B1, B2 halves of the output channels.

The sums of A are made once a block and those of B once a plan. What is left of the algorithm stays with one register tile,
whose partial sums go no further than the L1 cache: a tile adds up to a product and then to the next, from seven panels of A and
of B

    A11 S2 S3 A22 A12 S1 S4      B11 T2 T3 -T4 B21 T1 B22

in this order, by which they are numbered.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np

from fastconv.geometry import Array, Size
from fastconv.kernels.jit import Kernel, compiled, inlined
from fastconv.kernels.simd import packing, vector

peek, poke, pointer = vector.peek, vector.poke, vector.pointer

PANELS = 7
A11, S2, S3, A22, A12, S1, S4 = range(PANELS)
WORKSPACE = 16 << 20  # bytes at most, a thread
ITEMS = 8  # that a call should have for its threads
GROUP = 4  # register tiles that a panel of weights meets before the next one does
SPARE = 3 * GROUP  # register tiles of partial sums
STEADY = 60  # bits by which a filter is scaled at the most


def half_of(count: int, part: int) -> int:
    """Parts of the first half of `count`; the second may have fewer."""
    parts = -(-count // part)
    return -(-parts // 2)


def share_of(count: int, others: int, least: int) -> int:
    """The most of `count` that go together, lest threads have fewer than ITEMS items; there are `others` for each part."""
    parts = -(-ITEMS // max(1, min(ITEMS, others)))
    return max(least, -(-count // parts))


@lru_cache(maxsize=64)
def seven_products(rows: int, columns: int, lanes: int, multiply: Any, finish: Any) -> Any:
    """The compiled products of some register tiles of each quarter of C, GROUP at the most.

    multiply(tile, panel, operands, index) adds the product of two panels to the tile `index`. finish(tile, second, half,
    results, index) stores one quarter of it: second outputs of the pairs or the first ones, of the second half of the output
    channels or of the first. Second outputs are finished before the first. A panel of B meets all of the tiles, one after the
    other, and is fetched once; meanwhile, partial sums wait in `spare`, which has room for SPARE tiles.
    """
    width, size, group = columns * lanes, rows * columns * lanes, GROUP * rows * columns * lanes

    def compute(count, operands, results, spare):
        shared, u2, u3 = spare, spare + group, spare + 2 * group  # A11 B11, and later U2 + S1 T1
        for panel in range(PANELS):
            waiting = shared + (panel - S2) * group if panel <= A22 else shared
            for t in range(count):
                tile = vector.zeros(spare, rows, columns, lanes)
                if panel not in (A11, S1):
                    tile = vector.load_tile(waiting + t * size, width, rows, columns, lanes)
                tile = multiply(tile, panel, operands, t)
                if panel <= S3:
                    vector.store_tile(tile, shared + (panel * group + t * size), width)
                    continue
                if panel == S1:
                    vector.store_tile(vector.added(tile, u2 + t * size, width), shared + t * size, width)
                    tile = vector.added(tile, u3 + t * size, width)
                finish(tile, int(panel in (A22, S1)), int(panel >= S1), results, t)

    return inlined(compute)


@lru_cache(maxsize=8)
def summed(lanes: int, copied: bool) -> tuple[Any, Any]:
    """The compiled sums of A, of one vector of each quarter and of a row of them.

    Panels lie `plane` elements apart, in their order; without copies, those of A11, A22 and A12 are not written.
    """

    @compiled
    def place(to, v, count):
        if count >= lanes:
            vector.store(to, v)
        else:
            vector.store_first(to, v, count)

    @compiled
    def spread(to, plane, a11, a12, a21, a22, count):
        """The first `count` lanes are stored, if there are fewer than a vector has."""
        s1 = a21 + a22
        s2 = s1 - a11
        place(to + S1 * plane, s1, count)
        place(to + S2 * plane, s2, count)
        place(to + S3 * plane, a11 - a21, count)
        place(to + S4 * plane, a12 - s2, count)
        if copied:
            place(to + A11 * plane, a11, count)
            place(to + A12 * plane, a12, count)
            place(to + A22 * plane, a22, count)

    @compiled
    def add(to, plane, first, second, behind, count, less):
        """`first` and `second` point to A11 and A21; A12 and A22 lie `behind` elements behind them, and are `less`.

        Whole vectors are stored: what is behind `count` is zeros.
        """
        whole = less - less % lanes
        for i in range(0, whole, lanes):
            a11, a12 = vector.load(first + i, lanes), vector.load(first + (behind + i), lanes)
            a21, a22 = vector.load(second + i, lanes), vector.load(second + (behind + i), lanes)
            spread(to + i, plane, a11, a12, a21, a22, lanes)
        for i in range(whole, count, lanes):
            a11, a12 = vector.load_first(first + i, count - i, lanes), vector.load_first(first + (behind + i), less - i, lanes)
            a21, a22 = (
                vector.load_first(second + i, count - i, lanes),
                vector.load_first(second + (behind + i), less - i, lanes),
            )
            spread(to + i, plane, a11, a12, a21, a22, lanes)

    return spread, add


# Weights ----------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def weight_combiner(lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled sums of B, by blocks of output channels of both halves: f32_strassen_weights_avx512.

    Filters that are summed are first scaled to one magnitude, by powers of two, lest a small one drown in a large one's
    rounding; the results are scaled back by `factors`, which lie behind the bias.
    """

    @compiled
    def peaks(w, step, count, lanes_here):
        """The largest magnitudes of `count` rows of a vector."""
        zero = vector.load_first(w, 0, lanes)
        largest = zero
        for i in range(count):
            v = vector.load_first(w + i * step, lanes_here, lanes)
            largest = vector.larger(largest, vector.larger(v, zero - v))
        return largest

    @compiled
    def scales(scratch, w, other, step, count, lanes_here, factors, others):
        """scratch[0], [1] = the vectors that both halves are multiplied by; factors, others = what undoes it."""
        one = peek(scratch + 4 * lanes)
        vector.store(scratch + 2 * lanes, peaks(w, step, count, lanes_here))
        vector.store(scratch + 3 * lanes, peaks(other, step, count, lanes_here))
        for k in range(lanes_here):
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
                scales(scratch, w1 + k, w2 + k, width, taps * c_group, here, factors, factors + blocks * width)
                f1, f2 = vector.load(scratch, lanes), vector.load(scratch + lanes, lanes)
                for i in range(taps * half):
                    tap, c = divmod(i, half)
                    at = (tap * c_group + c) * width + k
                    there = here if half + c < c_group else 0
                    b11 = f1 * vector.load_first(w1 + at, here, lanes)
                    b12 = f2 * vector.load_first(w2 + at, here, lanes)
                    b21 = f1 * vector.load_first(w1 + (at + half * width), there, lanes)
                    b22 = f2 * vector.load_first(w2 + (at + half * width), there, lanes)
                    t1 = b12 - b11
                    t2 = b22 - t1
                    row = out + (i * width + k)
                    vector.store_first(row + S2 * panel, t2, here)
                    vector.store_first(row + S3 * panel, b22 - b12, here)
                    vector.store_first(row + S1 * panel, t1, here)
                    vector.store_first(row + S4 * panel, b22, here)
                    vector.store_first(row + A11 * panel, b11, here)
                    vector.store_first(row + A12 * panel, b21, here)
                    vector.store_first(row + A22 * panel, b21 - t2, here)
        memory[0] = 0  # pointers do not keep an array alive: its last use does

    combine.__name__ = f"{dtype}_strassen_weights_{isa}"
    return Kernel(combine)


def packed_weights(
    w: Array, bias: Array, groups: int, sizes: Size, taps: Size, steps: Size, lanes: int, names: tuple[str, str]
) -> tuple[Array, int]:
    """(bias, factors and panels in one array, where the panels begin): [group][block][panel][taps c / 2][width].

    `sizes` are the blocks of a half, their width, and the output and input channels of a group; bias and factors have
    [group][half][block][width]. `steps` are those of conv.tap_steps.
    """
    blocks, width, k_group, c_group = sizes
    rows, weights = groups * 2 * blocks * width, groups * 2 * blocks * width * c_group * math.prod(taps)
    begun = packing.whole_lines(rows, w.dtype)
    plain = packing.aligned(begun + weights, w.dtype)
    plain_sizes = np.array((2 * blocks, width, k_group, c_group, c_group, *taps, *steps, begun), np.int64)
    packing.weight_packer(lanes, *names)(2 * groups * blocks, 4 * weights, w.reshape(-1), bias, plain, plain_sizes)
    half, behind = -(-c_group // 2), packing.whole_lines(2 * rows, w.dtype)
    packed = packing.aligned(behind + groups * blocks * PANELS * math.prod(taps) * half * width, w.dtype)
    packed[:rows] = plain[:rows]
    combined_sizes = np.array((blocks, width, math.prod(taps), c_group, rows, begun, behind), np.int64)
    weight_combiner(lanes, *names)(groups * blocks, 8 * weights, plain, packed, combined_sizes)
    return packed, behind
