"""The transforms of Winograd's filtering along one axis, F(m, m): m outputs of m taps from 2 m - 1 products instead of m m.

    products = (G h) * (B^T x)        y = A^T products        of taps h[m], cells x[2 m - 1], outputs y[m]

They are the Toom-Cook polynomials at 0, 1 and infinity (m = 2), and -1 and 2 (m = 3), and -2 and 1/2 (m = 4). B^T has whole
numbers, and G the fractions: it is applied in double precision. Every output takes the product at 1, the second one, once.
Rounding of filters of 7 to 11 rows was 1.0, 1.4 and 2.2 times that of the direct sum.
Winograd, Arithmetic Complexity of Computations (1980).
"""

from functools import lru_cache
from typing import Any

import numpy as np

from fastconv.kernels.jit import inlined
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import epilogue

peek, scaled = vector.peek, vector.scaled

WEIGHTS = {
    2: np.array([(1, 0), (1, 1), (0, 1)], float),
    3: np.array([(3, 0, 0), (3, 3, 3), (1, -1, 1), (1, 2, 4), (0, 0, 6)]) / 6,
    4: np.array(
        [
            (90, 0, 0, 0),
            (-60, -60, -60, -60),
            (20, -20, 20, -20),
            (5, 10, 20, 40),
            (-3, 6, -12, 24),
            (256, 128, 64, 32),
            (0, 0, 0, 180),
        ]
    )
    / 360,
}


@lru_cache(maxsize=16)
def input_transform(m: int, lanes: int, dtype: str, masked: bool) -> Any:
    """The compiled to[i * step] = (B^T x)[i] of the vectors x + offsets[0], x + offsets[1], ...

    Where `masked`, of their first `count` elements, and zeros.
    """
    real = np.dtype(dtype.replace("f", "float")).type
    two, three, four, five = real(2), real(3), real(4), real(5)
    store = vector.store

    @inlined
    def load(x, offsets, i, count):
        return vector.load_first(x + peek(offsets + i), count, lanes) if masked else vector.load(x + peek(offsets + i), lanes)

    def transform_2(x, offsets, count, to, step):
        x0, x1, x2 = load(x, offsets, 0, count), load(x, offsets, 1, count), load(x, offsets, 2, count)
        store(to, x0 - x1)
        store(to + step, x1)
        store(to + 2 * step, x2 - x1)

    def transform_3(x, offsets, count, to, step):
        x0, x1, x2 = load(x, offsets, 0, count), load(x, offsets, 1, count), load(x, offsets, 2, count)
        x3, x4 = load(x, offsets, 3, count), load(x, offsets, 4, count)
        odd = x3 - x1
        store(to, scaled(two, x0 - x2) + odd)
        store(to + step, (x1 + x2) - odd)
        store(to + 2 * step, scaled(three, x2 - x1) - odd)
        store(to + 3 * step, odd)
        store(to + 4 * step, (x4 - x2) - scaled(two, odd))

    def transform_4(x, offsets, count, to, step):
        x0, x1, x2 = load(x, offsets, 0, count), load(x, offsets, 1, count), load(x, offsets, 2, count)
        x3, x4 = load(x, offsets, 3, count), load(x, offsets, 4, count)
        x5, x6 = load(x, offsets, 5, count), load(x, offsets, 6, count)
        # Of the polynomial whose roots are 1, -1, 2 and -2, and of the one whose root is 1 / 2.
        f0, f1 = x4 - scaled(five, x2) + scaled(four, x0), x5 - scaled(five, x3) + scaled(four, x1)
        f2 = x6 - scaled(five, x4) + scaled(four, x2)
        g1, g2, g3, g4 = scaled(two, x2) - x1, scaled(two, x3) - x2, scaled(two, x4) - x3, scaled(two, x5) - x4
        p, q, r, s = g4 - scaled(four, g2), g3 - scaled(four, g1), g4 - g2, scaled(two, g3 - g1)
        store(to, f0 - scaled(two, f1))
        store(to + step, p + q)
        store(to + 2 * step, p - q)
        store(to + 3 * step, r + s)
        store(to + 4 * step, r - s)
        store(to + 5 * step, f1)
        store(to + 6 * step, scaled(two, f2) - f1)

    return inlined({2: transform_2, 3: transform_3, 4: transform_4}[m])


@lru_cache(maxsize=16)
def output_transform(m: int, lanes: int, dtype: str, whole: bool) -> Any:
    """The compiled y[i * row] = act(A^T products)[i] of the vectors at p, p + step, ...

    Where not `whole`, of the outputs i < count the first `width` elements. Of activations `whole` knows clips.
    """
    real = np.dtype(dtype.replace("f", "float")).type
    two, four, eight, half, quarter, eighth = (real(v) for v in (2, 4, 8, 0.5, 0.25, 0.125))
    activate = epilogue.activation_of(dtype)

    @inlined
    def load(p):
        return vector.load(p, lanes)

    @inlined
    def put_whole(y, value, width, wanted, act):
        vector.store(y, vector.clip(value, act.low, act.high))

    @inlined
    def put_first(y, value, width, wanted, act):
        if wanted:
            vector.store_first(y, activate(value, act), min(width, lanes))

    put = put_whole if whole else put_first

    def transform_2(p, step, y, row, width, count, act):
        m0, m1, m2 = load(p), load(p + step), load(p + 2 * step)
        put(y, m0 + m1, width, True, act)
        put(y + row, m1 + m2, width, count > 1, act)

    def transform_3(p, step, y, row, width, count, act):
        m0, m1, m2, m3, m4 = load(p), load(p + step), load(p + 2 * step), load(p + 3 * step), load(p + 4 * step)
        even = m1 + m2
        put(y, even + (m0 + m3), width, True, act)
        put(y + row, (m1 - m2) + scaled(two, m3), width, count > 1, act)
        put(y + 2 * row, (even + m4) + scaled(four, m3), width, count > 2, act)

    def transform_4(p, step, y, row, width, count, act):
        m0, m1, m2, m3 = load(p), load(p + step), load(p + 2 * step), load(p + 3 * step)
        m4, m5, m6 = load(p + 4 * step), load(p + 5 * step), load(p + 6 * step)
        even, odd, even_2, odd_2 = m1 + m2, m1 - m2, m3 + m4, m3 - m4
        put(y, (even + m0) + (even_2 + m5), width, True, act)
        put(y + row, (odd + scaled(two, odd_2)) + scaled(half, m5), width, count > 1, act)
        put(y + 2 * row, (even + scaled(four, even_2)) + scaled(quarter, m5), width, count > 2, act)
        put(y + 3 * row, (odd + m6) + (scaled(eight, odd_2) + scaled(eighth, m5)), width, count > 3, act)

    return inlined({2: transform_2, 3: transform_3, 4: transform_4}[m])
