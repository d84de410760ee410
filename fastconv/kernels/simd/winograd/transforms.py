"""The transforms of Winograd convolution, of vectors of channels: G w G^T of kernels, A^T m A of products.

engine/filtering.py has the points, and B^T x B of inputs.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from fastconv.kernels.jit import compiled, inlined
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import epilogue
from fastconv.kernels.simd.engine.filtering import KERNEL, movers, transforms


class Target(NamedTuple):
    """The outputs of a tile that there are: the first one's address, elements from one row and column to the next.

    Attributes
    ----------
    at : Pointer
        Of the first output's first channel.
    row, column : int
        Elements from one to the next.
    rows, columns, channels : int
        How many are stored.
    """

    at: Any
    row: int
    column: int
    rows: int
    columns: int
    channels: int


@lru_cache(maxsize=16)
def output_transform(form: tuple[int, int], lanes: int, dtype: str) -> Any:
    """The compiled y[i][j][k] = act((A^T m A)[i, j, k] + bias[k]) of one tile, where there are such outputs.

    Of the forms (1, m) and (m, 1) y[i][k] = act((A^T m)[i, k] + bias[k]), along a row or a column.
    """
    m = max(form)
    n, flat, upright = m + KERNEL - 1, min(form) == 1, form[1] == 1
    _, along, _ = transforms(m, dtype)
    load, _, _ = movers(m, lanes)
    activate = epilogue.activation_of(dtype)

    @inlined
    def put(y, v, act, channels):
        v = activate(v, act)
        if channels >= lanes:
            vector.store(y, v)
        else:
            vector.store_first(y, v, channels)

    if m == 2:

        @inlined
        def keep(p, v):
            v0, v1 = v
            vector.store(p, v0)
            vector.store(p + n * lanes, v1)

        @inlined
        def write(y, v, bias, act, channels, step, count):
            v0, v1 = v
            put(y, v0 + bias, act, channels)
            if count > 1:
                put(y + step, v1 + bias, act, channels)

    else:

        @inlined
        def keep(p, v):
            v0, v1, v2, v3 = v
            vector.store(p, v0)
            vector.store(p + n * lanes, v1)
            vector.store(p + 2 * n * lanes, v2)
            vector.store(p + 3 * n * lanes, v3)

        @inlined
        def write(y, v, bias, act, channels, step, count):
            v0, v1, v2, v3 = v
            put(y, v0 + bias, act, channels)
            if count > 1:
                put(y + step, v1 + bias, act, channels)
            if count > 2:
                put(y + 2 * step, v2 + bias, act, channels)
            if count > 3:
                put(y + 3 * step, v3 + bias, act, channels)

    def transform(products, plane, bias, tile, y, act):
        for k in range(0, y.channels, lanes):
            offset, channels = vector.load(bias + k, lanes), y.channels - k
            for j in range(n):
                keep(tile + j * lanes, along(load(products + (j * plane + k), n * plane)))
            for i in range(y.rows):
                values = along(load(tile + i * n * lanes, lanes))
                write(y.at + (i * y.row + k), values, offset, act, channels, y.column, y.columns)

    def transform_line(products, plane, bias, tile, y, act):
        step, count = (y.row, y.rows) if upright else (y.column, y.columns)
        for k in range(0, y.channels, lanes):
            values = along(load(products + k, plane))
            write(y.at + k, values, vector.load(bias + k, lanes), act, y.channels - k, step, count)

    return compiled(transform_line if flat else transform)


@lru_cache(maxsize=16)
def weight_transform(form: tuple[int, int], lanes: int, dtype: str) -> Any:
    """The compiled u[i][j] = (G w G^T)[i, j] of one 3 x 3 kernel a lane, w[r][s] one vector behind the other.

    Of the forms (1, m) and (m, 1) u[i] = (G w)[i], of a kernel of 3 taps.
    """
    m = max(form)
    n, flat = m + KERNEL - 1, min(form) == 1
    _, _, along = transforms(m, dtype)
    _, store, _ = movers(m, lanes)

    @inlined
    def three(p, step):
        return vector.load(p, lanes), vector.load(p + step, lanes), vector.load(p + 2 * step, lanes)

    def transform(w, scratch, u, plane):
        for s in range(KERNEL):
            store(scratch + s * lanes, KERNEL * lanes, along(three(w + s * lanes, KERNEL * lanes)))
        for i in range(n):
            store(u + i * n * plane, plane, along(three(scratch + i * KERNEL * lanes, lanes)))

    def transform_line(w, scratch, u, plane):
        store(u, plane, along(three(w, lanes)))

    return compiled(transform_line if flat else transform)
