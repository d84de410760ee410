"""Sums over windows of three rows and three cells that are read where they are stored: Sobel, Prewitt, Laplace, any 3x3.

    y [r][e] = sum over t, s of w[t][s] * x[r + t][e + s]        by rows, each in the order of its cells

Sums in floats take any weights: all nine of them (FULL), or those of the middle row and the middle column (CROSS).

Sums in integers are those of a few known weights, and wrap as the result does: what SciPy sums in float64 and stores in 8 or 16
bits has the same bits, as long as weights and cells are whole.
"""

from functools import lru_cache
from typing import Any

from fastconv.kernels.jit import Kernel, compiled
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.sweeps import sweeper

pointer = vector.pointer
FULL, CROSS = "full", "cross"
KNOWN: dict[tuple[float, ...], str] = {
    (-1, 0, 1, -2, 0, 2, -1, 0, 1): "sobel_across",
    (-1, -2, -1, 0, 0, 0, 1, 2, 1): "sobel_down",
    (-1, 0, 1, -1, 0, 1, -1, 0, 1): "prewitt_across",
    (-1, -1, -1, 0, 0, 0, 1, 1, 1): "prewitt_down",
    (0, 1, 0, 1, -4, 1, 0, 1, 0): "laplace",
}


def weights_used(kind: str) -> list[int]:
    """The places of the weights that sums in floats of a kind take, in order."""
    return list(range(9)) if kind == FULL else [1, 3, 4, 5, 7]


def in_floats(kind: str, lanes: int) -> Any:
    """The sum of a window, of weights that are registers."""

    def sum_full(a, b, c, i, w, like):
        upper = w[0] * vector.load_as(a, like, lanes) + w[1] * vector.load_as(a + i, like, lanes)
        middle = w[3] * vector.load_as(b, like, lanes) + w[4] * vector.load_as(b + i, like, lanes)
        lower = w[6] * vector.load_as(c, like, lanes) + w[7] * vector.load_as(c + i, like, lanes)
        upper = upper + w[2] * vector.load_as(a + 2 * i, like, lanes)
        middle = middle + w[5] * vector.load_as(b + 2 * i, like, lanes)
        return upper + middle + (lower + w[8] * vector.load_as(c + 2 * i, like, lanes))

    def sum_cross(a, b, c, i, w, like):
        down = w[1] * vector.load_as(a + i, like, lanes) + w[7] * vector.load_as(c + i, like, lanes)
        across = w[3] * vector.load_as(b, like, lanes) + w[5] * vector.load_as(b + 2 * i, like, lanes)
        return down + across + w[4] * vector.load_as(b + i, like, lanes)

    return compiled(sum_full if kind == FULL else sum_cross)


def in_integers(kind: str, lanes: int) -> Any:
    """The same, of weights that KNOWN names."""
    twice = kind.startswith("sobel")

    @compiled
    def difference(p, q, like):
        return vector.load_as(q, like, lanes) - vector.load_as(p, like, lanes)

    def sum_across(a, b, c, i, w, like):
        one = difference(b, b + 2 * i, like)
        both = difference(a, a + 2 * i, like) + difference(c, c + 2 * i, like)
        return both + one + one if twice else both + one

    def sum_down(a, b, c, i, w, like):
        one = difference(a + i, c + i, like)
        both = difference(a, c, like) + difference(a + 2 * i, c + 2 * i, like)
        return both + one + one if twice else both + one

    def sum_laplace(a, b, c, i, w, like):
        middle = vector.load_as(b + i, like, lanes)
        down = vector.load_as(a + i, like, lanes) + vector.load_as(c + i, like, lanes)
        across = vector.load_as(b, like, lanes) + vector.load_as(b + 2 * i, like, lanes)
        twice_middle = middle + middle
        return down + across - (twice_middle + twice_middle)

    if kind == "laplace":
        return compiled(sum_laplace)
    return compiled(sum_across if kind.endswith("across") else sum_down)


@lru_cache(maxsize=32)
def summing(kind: str, lanes: int) -> Any:
    """The compiled sweep of a kind, as engine/sweeps.py takes it."""
    whole = kind in KNOWN.values()
    sum_window = in_integers(kind, lanes) if whole else in_floats(kind, lanes)

    @compiled
    def splats(w):
        return (
            vector.splat(vector.peek(w), lanes),
            vector.splat(vector.peek(w + 1), lanes),
            vector.splat(vector.peek(w + 2), lanes),
            vector.splat(vector.peek(w + 3), lanes),
            vector.splat(vector.peek(w + 4), lanes),
            vector.splat(vector.peek(w + 5), lanes),
            vector.splat(vector.peek(w + 6), lanes),
            vector.splat(vector.peek(w + 7), lanes),
            vector.splat(vector.peek(w + 8), lanes),
        )

    def sum_row(rows, to, count, inner, w):
        weights = splats(w)
        for begun in range(0, count, lanes):
            e = min(begun, max(count - lanes, 0))
            found = sum_window(rows.above + e, rows.middle + e, rows.below + e, inner, weights, to)
            if count < lanes:
                vector.store_first_as(to, found, count)
            else:
                vector.store_as(to + e, found)
        return True

    return compiled(sum_row)


@lru_cache(maxsize=32)
def kernel(kind: str, lanes: int, types: str, isa: str) -> Kernel:
    """The compiled loop over blocks of rows; `types` of x and y: f32_full_sweep_avx512."""
    sweep_blocks = sweeper(lanes, summing(kind, lanes), None)

    def sweep(begin, end, x, outside, border, edges, w, y, sizes):
        """y [r][e] = sum over t, s of w[t][s] * x[r + t][e + s]"""
        sweep_blocks(begin, end, x, outside, border, edges, pointer(w), y, sizes)

    sweep.__name__ = f"{types}_{kind}_sweep_{isa}"
    return Kernel(sweep)
