"""Seven products where eight would be: a matrix product by halves.

    [C11 C12]   [A11 A12]   [B11 B12]    S1 = A21 + A22  T1 = B12 - B11   U2  = A11 B11 + S2 T2
    [C21 C22] = [A21 A22] @ [B21 B22]    S2 = S1 - A11   T2 = B22 - T1    U3  = U2 + S3 T3
                                         S3 = A11 - A21  T3 = B22 - B12   C11 = A11 B11 + A12 B21   C12 = U2 + S1 T1 + S4 B22
                                         S4 = A12 - S2   T4 = T2 - B21    C21 = U3 - A22 T4         C22 = U3 + S1 T1

Winograd's form of Strassen's algorithm, with the fewest sums: Strassen, Gaussian elimination is not optimal (1969); Winograd,
On multiplication of 2x2 matrices (1971). A row of A1 and one of A2 are the windows of two neighbouring outputs, the halves of
their columns those of the input channels, and B1, B2 halves of the output channels.

The sums of A are made once a block and those of B once a plan. What is left of the algorithm stays with one register tile,
whose partial sums go no further than the L1 cache: a tile accumulates one product after the other, from seven panels of A and
of B, which weights.py lays out,

    A11 S2 S3 A22 A12 S1 S4      B11 T2 T3 -T4 B21 T1 B22

in this order, by which they are numbered.
"""

from functools import lru_cache
from typing import Any

from fastconv.kernels.jit import compiled, inlined
from fastconv.kernels.simd import vector

PANELS = 7
A11, S2, S3, A22, A12, S1, S4 = range(PANELS)
WORKSPACE = 16 << 20  # bytes at most, a thread
ITEMS = 8  # that a call should have for its threads
GROUP = 4  # register tiles that a panel of weights meets before the next one does
PARTIAL = 3 * GROUP  # register tiles of partial sums


def half_of(count: int, part: int) -> int:
    """Parts of the first half of `count`; the second may have fewer."""
    parts = -(-count // part)
    return -(-parts // 2)


def share_of(count: int, others: int, least: int, items: int = ITEMS) -> int:
    """The most of `count` that go together, lest threads have too few items; there are `others` for each part."""
    parts = -(-items // max(1, min(items, others)))
    return max(least, -(-count // parts))


@lru_cache(maxsize=64)
def seven_products(rows: int, columns: int, lanes: int, multiply: Any, finish: Any) -> Any:
    """The compiled compute(count, operands, results, partial): `count` register tiles of each quarter of C, GROUP at the most.

    multiply(tile, panel, operands, index) adds the product of two panels to the tile `index`. finish(tile, second, half,
    results, index) stores one quarter of it: second outputs of the pairs or the first ones, of the second half of the output
    channels or of the first. Second outputs are finished before the first. A panel of B meets all of the tiles, one after the
    other, and is fetched once; meanwhile, sums wait in `partial`, which has room for PARTIAL tiles.
    """
    width, size, group = columns * lanes, rows * columns * lanes, GROUP * rows * columns * lanes

    def compute(count, operands, results, partial):
        shared, u2, u3 = partial, partial + group, partial + 2 * group  # A11 B11, and later U2 + S1 T1
        for panel in range(PANELS):
            waiting = shared + (panel - S2) * group if panel <= A22 else shared
            for t in range(count):
                tile = vector.zeros(partial, rows, columns, lanes)
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
def store_up_to(lanes: int) -> Any:
    """The compiled store of a vector, or of its first `count` lanes."""

    @compiled
    def store(to, v, count):
        if count >= lanes:
            vector.store(to, v)
        else:
            vector.store_first(to, v, count)

    return store


@lru_cache(maxsize=8)
def store_sums(lanes: int, copied: bool) -> Any:
    """The compiled store_panels(to, panel, a11, a12, a21, a22, count): a vector of each quarter of A becomes one of each panel.

    Panels lie `panel` elements apart, in their order; without copies, those of A11, A22 and A12 are not written. The first
    `count` lanes are stored, if there are fewer than a vector has.
    """
    store = store_up_to(lanes)

    @compiled
    def store_panels(to, panel, a11, a12, a21, a22, count):
        s1 = a21 + a22
        s2 = s1 - a11
        store(to + S1 * panel, s1, count)
        store(to + S2 * panel, s2, count)
        store(to + S3 * panel, a11 - a21, count)
        store(to + S4 * panel, a12 - s2, count)
        if copied:
            store(to + A11 * panel, a11, count)
            store(to + A12 * panel, a12, count)
            store(to + A22 * panel, a22, count)

    return store_panels


@lru_cache(maxsize=8)
def sum_rows(lanes: int, copied: bool) -> Any:
    """The compiled sum_pair(to, panel, first, second, half, rest): the panels of the pixels at `first` and `second`.

    A pixel has `half` channels of the first half, then `rest` of the second. Whole vectors are stored: zeros behind the half.
    """
    store_panels = store_sums(lanes, copied)

    @compiled
    def sum_pair(to, panel, first, second, half, rest):
        whole = rest - rest % lanes
        for i in range(0, whole, lanes):
            a11, a12 = vector.load(first + i, lanes), vector.load(first + (half + i), lanes)
            a21, a22 = vector.load(second + i, lanes), vector.load(second + (half + i), lanes)
            store_panels(to + i, panel, a11, a12, a21, a22, lanes)
        for i in range(whole, half, lanes):
            a11, a12 = vector.load_first(first + i, half - i, lanes), vector.load_first(first + (half + i), rest - i, lanes)
            a21, a22 = vector.load_first(second + i, half - i, lanes), vector.load_first(second + (half + i), rest - i, lanes)
            store_panels(to + i, panel, a11, a12, a21, a22, lanes)

    return sum_pair
