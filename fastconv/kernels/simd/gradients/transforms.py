"""The transposes of a Winograd convolution's transforms: A dy A^T of gradients, G^T M G of sums of products.

A convolution y = A^T ((G w G^T) * (B^T x B)) A has the gradient dw = G^T ((A dy A^T) * (B^T x B)) G. engine/filtering.py has
the points, and B^T x B.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from fastconv.kernels.jit import compiled, inlined
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.filtering import KERNEL, A, B, cells_of, movers

TILE = 4  # outputs of a tile along an axis that has taps


@lru_cache(maxsize=4)
def transposes(dtype: str) -> tuple[Any, Any]:
    """(A of 4 vectors, G^T of 6 vectors), compiled."""
    real = np.dtype(dtype.replace("f", "float")).type
    a, b, aa, bb, aaa, bbb = (real(v) for v in (A, B, A * A, B * B, A**3, B**3))
    of_a, of_b = 1 / (2 * A**2 * (A**2 - B**2)), 1 / (2 * B**2 * (B**2 - A**2))
    first, one_a, one_b = real(1 / (A * A * B * B)), real(of_a), real(of_b)
    a_of_a, b_of_b, aa_of_a, bb_of_b = (real(v) for v in (A * of_a, B * of_b, A * A * of_a, B * B * of_b))
    scaled = vector.scaled

    def of_grads(d):
        d0, d1, d2, d3 = d
        p, q = d0 + scaled(aa, d2), scaled(a, d1) + scaled(aaa, d3)
        r, s = d0 + scaled(bb, d2), scaled(b, d1) + scaled(bbb, d3)
        return d0, p + q, p - q, r + s, r - s, d3

    def of_sums(u):
        u0, u1, u2, u3, u4, u5 = u
        p, q, r, s = u1 + u2, u1 - u2, u3 + u4, u3 - u4
        return (
            scaled(first, u0) + scaled(one_a, p) + scaled(one_b, r),
            scaled(a_of_a, q) + scaled(b_of_b, s),
            scaled(aa_of_a, p) + scaled(bb_of_b, r) + u5,
        )

    return inlined(of_grads), inlined(of_sums)


@lru_cache(maxsize=16)
def grad_transform(form: tuple[int, int], lanes: int, dtype: str) -> Any:
    """The compiled d[i][j][k] = (A dy A^T)[i, j, k] of one tile, whose cells lie `row` and `column` elements apart.

    Of the forms (1, 4) and (4, 1) d[i][k] = (A dy)[i, k], along a row or a column. `tile` has room for 4 * 6 vectors.
    """
    n, flat, upright = cells_of((TILE, TILE))[0], min(form) == 1, form[1] == 1
    (along, _), (_, store, _) = transposes(dtype), movers(TILE, lanes)

    @inlined
    def four(p, step):
        return (
            vector.load(p, lanes),
            vector.load(p + step, lanes),
            vector.load(p + 2 * step, lanes),
            vector.load(p + 3 * step, lanes),
        )

    def transform(cells, channels, tile, d, plane):
        for k in range(0, channels, lanes):
            for i in range(TILE):
                store(tile + i * n * lanes, lanes, along(four(cells.at + (i * cells.row + k), cells.column)))
            for j in range(n):
                store(d + (j * plane + k), n * plane, along(four(tile + j * lanes, n * lanes)))

    def transform_line(cells, channels, tile, d, plane):
        step = cells.row if upright else cells.column
        for k in range(0, channels, lanes):
            store(d + k, plane, along(four(cells.at + k, step)))

    return compiled(transform_line if flat else transform)


@lru_cache(maxsize=16)
def sum_transform(form: tuple[int, int], lanes: int, dtype: str) -> Any:
    """The compiled w[r][s][c] = (G^T M G)[r, s, c] of one output channel; planes of M lie `plane` apart, taps `pitch`.

    Of the forms (1, 4) and (4, 1) w[r][c] = (G^T M)[r, c]. `tile` has room for 3 * 6 vectors.
    """
    n, flat = cells_of((TILE, TILE))[0], min(form) == 1
    (_, along), (load, _, _) = transposes(dtype), movers(TILE, lanes)

    @inlined
    def keep(p, step, v):
        v0, v1, v2 = v
        vector.store(p, v0)
        vector.store(p + step, v1)
        vector.store(p + 2 * step, v2)

    def transform(m, plane, channels, tile, w, pitch):
        for c in range(0, channels, lanes):
            for j in range(n):
                keep(tile + j * lanes, n * lanes, along(load(m + (j * plane + c), n * plane)))
            for r in range(KERNEL):
                keep(w + (r * KERNEL * pitch + c), pitch, along(load(tile + r * n * lanes, lanes)))

    def transform_line(m, plane, channels, tile, w, pitch):
        for c in range(0, channels, lanes):
            keep(w + c, pitch, along(load(m + c, plane)))

    return compiled(transform_line if flat else transform)
