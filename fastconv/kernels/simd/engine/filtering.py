"""Winograd's minimal filtering, what its families share: the points, and transforms along one axis and of a tile's inputs.

They are the Toom-Cook polynomials at 0, +-a, +-b and infinity. For tiles of 4 x 4 outputs, a = 1 / sqrt(2) and b = sqrt(2) keep
their entries nearer to 1 than the usual 1 and 2 do, and the rounding small. On the choice of points: Barabasz, Anderson,
Soodhalter and Gregg, Error Analysis and Improving the Accuracy of Winograd Convolution (2020).
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import compiled, inlined
from fastconv.kernels.simd import vector

KERNEL = 3
A, B = np.sqrt(0.5), np.sqrt(2.0)


def plane_pitch(cells: int, line: int) -> int:
    """Elements from one plane of V, M or U to the next, of so many elements; `line` is the elements of a cache line.

    The lines are odd in number, so that the same place of all planes falls into as many cache sets as there are. One is spare.
    """
    return (-(-cells // line) + 1 | 1) * line


def cells_of(form: tuple[int, int]) -> tuple[int, int]:
    """Inputs of a tile of `form` outputs."""
    high, wide = (1 if outputs == 1 else outputs + KERNEL - 1 for outputs in form)
    return high, wide


# Transforms along one axis, of vectors of channels ----------------------------------------------------------------------


@lru_cache(maxsize=4)
def transforms(m: int, dtype: str) -> tuple[Any, Any, Any]:
    """(B^T of m + 2 vectors, A^T of m + 2 vectors, G of 3 vectors), compiled."""
    real = np.dtype(dtype.replace("f", "float")).type
    a, b, aa, bb, aabb, sum_ = (real(v) for v in (A, B, A * A, B * B, A * A * B * B, A * A + B * B))
    aaa, bbb = real(A**3), real(B**3)
    scaled = vector.scaled

    half, of_a, of_b = real(0.5), real(1 / (2 * A**2 * (A**2 - B**2))), real(1 / (2 * B**2 * (B**2 - A**2)))
    a_of_a, b_of_b, aa_of_a, bb_of_b = (real(v) for v in (A * of_a, B * of_b, A * A * of_a, B * B * of_b))
    first = real(1 / (A * A * B * B))

    def input_2(d):
        d0, d1, d2, d3 = d
        return d0 - d2, d1 + d2, d2 - d1, d3 - d1

    def output_2(m):
        m0, m1, m2, m3 = m
        return m0 + m1 + m2, m1 - m2 + m3

    def input_4(d):
        d0, d1, d2, d3, d4, d5 = d
        p, q = d4 - scaled(bb, d2), scaled(a, d3 - scaled(bb, d1))
        r, s = d4 - scaled(aa, d2), scaled(b, d3 - scaled(aa, d1))
        d_first = scaled(aabb, d0) - scaled(sum_, d2) + d4
        return d_first, p + q, p - q, r + s, r - s, scaled(aabb, d1) - scaled(sum_, d3) + d5

    def output_4(m):
        m0, m1, m2, m3, m4, m5 = m
        p, q, r, s = m1 + m2, m1 - m2, m3 + m4, m3 - m4
        return (m0 + p + r, scaled(a, q) + scaled(b, s), scaled(aa, p) + scaled(bb, r), scaled(aaa, q) + scaled(bbb, s) + m5)

    def weight_2(w):
        w0, w1, w2 = w
        p, q = scaled(half, w0 + w2), scaled(half, w1)
        return w0, p + q, p - q, w2

    def weight_4(w):
        w0, w1, w2 = w
        p, q = scaled(of_a, w0) + scaled(aa_of_a, w2), scaled(a_of_a, w1)
        r, s = scaled(of_b, w0) + scaled(bb_of_b, w2), scaled(b_of_b, w1)
        return scaled(first, w0), p + q, p - q, r + s, r - s, w2

    chosen = (input_2, output_2, weight_2) if m == 2 else (input_4, output_4, weight_4)
    return inlined(chosen[0]), inlined(chosen[1]), inlined(chosen[2])


@lru_cache(maxsize=8)
def movers(m: int, lanes: int) -> tuple[Any, Any, Any]:
    """(load m + 2 vectors, store m + 2 vectors, load their first elements): at p, p + step, ..., compiled."""

    def load_4(p, step):
        return (
            vector.load(p, lanes),
            vector.load(p + step, lanes),
            vector.load(p + 2 * step, lanes),
            vector.load(p + 3 * step, lanes),
        )

    def load_6(p, step):
        return (
            vector.load(p, lanes),
            vector.load(p + step, lanes),
            vector.load(p + 2 * step, lanes),
            vector.load(p + 3 * step, lanes),
            vector.load(p + 4 * step, lanes),
            vector.load(p + 5 * step, lanes),
        )

    def first_4(p, step, count):
        return (
            vector.load_first(p, count, lanes),
            vector.load_first(p + step, count, lanes),
            vector.load_first(p + 2 * step, count, lanes),
            vector.load_first(p + 3 * step, count, lanes),
        )

    def first_6(p, step, count):
        return (
            vector.load_first(p, count, lanes),
            vector.load_first(p + step, count, lanes),
            vector.load_first(p + 2 * step, count, lanes),
            vector.load_first(p + 3 * step, count, lanes),
            vector.load_first(p + 4 * step, count, lanes),
            vector.load_first(p + 5 * step, count, lanes),
        )

    def store_4(p, step, d):
        d0, d1, d2, d3 = d
        vector.store(p, d0)
        vector.store(p + step, d1)
        vector.store(p + 2 * step, d2)
        vector.store(p + 3 * step, d3)

    def store_6(p, step, d):
        d0, d1, d2, d3, d4, d5 = d
        vector.store(p, d0)
        vector.store(p + step, d1)
        vector.store(p + 2 * step, d2)
        vector.store(p + 3 * step, d3)
        vector.store(p + 4 * step, d4)
        vector.store(p + 5 * step, d5)

    chosen = (load_4, store_4, first_4) if m == 2 else (load_6, store_6, first_6)
    return inlined(chosen[0]), inlined(chosen[1]), inlined(chosen[2])


class Cells(NamedTuple):
    """The cells of a tile: the first one's address, and elements from one row and column of them to the next."""

    at: Any
    row: int
    column: int


@lru_cache(maxsize=16)
def input_transform(form: tuple[int, int], lanes: int, dtype: str) -> Any:
    """The compiled v[i][j][c] = (B^T x B)[i, j, c] of one tile; planes lie `plane` apart, `tile` has room for n * n vectors.

    Of the forms (1, m) and (m, 1) v[i][c] = (B^T x)[i, c], along a row or a column.
    """
    m = max(form)
    n, flat, upright = m + KERNEL - 1, min(form) == 1, form[1] == 1
    along, _, _ = transforms(m, dtype)
    load, store, load_first = movers(m, lanes)

    def transform_line(x, channels, tile, v, plane):
        step = x.row if upright else x.column
        for c in range(0, channels, lanes):
            count = channels - c
            cells = load(x.at + c, step) if count >= lanes else load_first(x.at + c, step, count)
            store(v + c, plane, along(cells))

    def transform(x, channels, tile, v, plane):
        for c in range(0, channels, lanes):
            count = channels - c
            for i in range(n):
                at = x.at + (i * x.row + c)
                cells = load(at, x.column) if count >= lanes else load_first(at, x.column, count)
                store(tile + i * n * lanes, lanes, along(cells))
            for j in range(n):
                store(v + (j * plane + c), n * plane, along(load(tile + j * lanes, n * lanes)))

    return compiled(transform_line if flat else transform)
