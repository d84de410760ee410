"""Fourier transforms along the rows of a matrix, for `lanes` columns at once, in place; real and imaginary parts lie apart.

    forward    X[rev(k)] = sum over j of x[j] * exp(-2 pi i j k / n)        decimation in frequency
    inverse    x[j] = sum over k of X[rev(k)] * exp(+2 pi i j k / n)        decimation in time; n times the inverse

rev is the order in which the forward transform leaves its results, and the inverse takes them. A product of two spectra does
not depend on it, so that no pass puts it right. Van Loan, Computational Frameworks for the Fast Fourier Transform (1992),
sections 1.9 and 2.4.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import compiled, inlined
from fastconv.kernels.simd import vector
from fastconv.problem.convolutions import Array

peek = vector.peek


class Columns(NamedTuple):
    """Real and imaginary parts of some columns of a matrix, and the elements from a row of them to the next."""

    re: Any
    im: Any
    pitch: int


def factors(n: int) -> tuple[int, ...]:
    """The radices of a transform of n = 2**a or 3 * 2**a points, in the order of the forward transform."""
    threes = (3,) if n % 3 == 0 else ()
    rest = n // 3 if threes else n
    if rest & (rest - 1):
        raise ValueError(f"a transform has 2**a or 3 * 2**a points, not {n}")
    twos = rest.bit_length() - 1
    return (*threes, *(4,) * (twos // 2), *(2,) * (twos % 2))


def order(n: int) -> Array:
    """The frequency that each row holds after the forward transform."""
    frequencies = np.zeros(1, np.int64)
    for radix in reversed(factors(n)):
        frequencies = (np.arange(radix)[:, None] + radix * frequencies[None, :]).reshape(-1)
    return frequencies


def twiddles(n: int, dtype: np.dtype[Any]) -> Array:
    """cos and sin of the factors, stage by stage: for j, for the branches 1 .. radix - 1."""
    parts, length = [], n
    for radix in factors(n):
        angles = -2 * np.pi / length * np.outer(np.arange(length // radix), np.arange(1, radix))
        parts.append(np.stack((np.cos(angles), np.sin(angles)), -1).reshape(-1))
        length //= radix
    return np.concatenate(parts).astype(dtype) if parts else np.zeros(0, dtype)


@lru_cache(maxsize=8)
def arithmetic(lanes: int, dtype: str) -> tuple[Any, ...]:
    """The compiled (load, store, turned, thirds, fourths) of complex vectors, each a pair (real part, imaginary part)."""
    real = np.dtype(dtype.replace("f", "float")).type
    half, root = real(0.5), real(np.sqrt(0.75))
    scaled = vector.scaled

    @inlined
    def load(x, at):
        return vector.load(x.re + at, lanes), vector.load(x.im + at, lanes)

    @inlined
    def store(x, at, a):
        vector.store(x.re + at, a[0])
        vector.store(x.im + at, a[1])

    @inlined
    def turned(a, c, s):
        """a * (c + i s)"""
        return scaled(c, a[0]) - scaled(s, a[1]), scaled(c, a[1]) + scaled(s, a[0])

    @inlined
    def thirds(a, b, c):
        """The transform of 3 points: (sum, middle - i side, middle + i side)."""
        total, apart = plus(b, c), minus(b, c)
        middle = a[0] - scaled(half, total[0]), a[1] - scaled(half, total[1])
        side = scaled(root, apart[0]), scaled(root, apart[1])
        return plus(a, total), minus_i(middle, side), plus_i(middle, side)

    @inlined
    def fourths(a, b, c, d):
        """The transform of 4 points: at the frequencies 0, 1, 2 and 3."""
        even, odd, even_apart, odd_apart = plus(a, c), plus(b, d), minus(a, c), minus(b, d)
        return plus(even, odd), minus_i(even_apart, odd_apart), minus(even, odd), plus_i(even_apart, odd_apart)

    return load, store, turned, thirds, fourths


@inlined
def plus(a, b):
    """a + b"""
    return a[0] + b[0], a[1] + b[1]


@inlined
def minus(a, b):
    """a - b"""
    return a[0] - b[0], a[1] - b[1]


@inlined
def plus_i(a, b):
    """a + i b"""
    return a[0] - b[1], a[1] + b[0]


@inlined
def minus_i(a, b):
    """a - i b"""
    return a[0] + b[1], a[1] - b[0]


@lru_cache(maxsize=8)
def halves(lanes: int, dtype: str) -> Any:
    """The compiled last stage of the forward transform, and the first of the inverse: pairs of neighbouring rows."""
    load, store, *_ = arithmetic(lanes, dtype)

    def halve(x, n):
        for at in range(0, n * x.pitch, 2 * x.pitch):
            a, b = load(x, at), load(x, at + x.pitch)
            store(x, at, plus(a, b))
            store(x, at + x.pitch, minus(a, b))

    return inlined(halve)


@lru_cache(maxsize=8)
def forward_transform(lanes: int, dtype: str) -> Any:
    """The compiled forward(x, n, table) of the columns `lanes` wide at x, of n rows; `table` are `twiddles`."""
    load, store, turned, thirds, fourths = arithmetic(lanes, dtype)
    halve = halves(lanes, dtype)

    @inlined
    def by_3(x, q, table):
        """The stage of radix 3, of rows q apart; returns where the next stage's factors begin."""
        for j in range(q):
            c1, s1, c2, s2 = peek(table), peek(table + 1), peek(table + 2), peek(table + 3)
            table, at, step = table + 4, j * x.pitch, q * x.pitch
            y0, y1, y2 = thirds(load(x, at), load(x, at + step), load(x, at + 2 * step))
            store(x, at, y0)
            store(x, at + step, turned(y1, c1, s1))
            store(x, at + 2 * step, turned(y2, c2, s2))
        return table

    @inlined
    def by_4(x, n, q, table):
        """A stage of radix 4: transforms of 4 * q rows, into four of q rows each."""
        step = q * x.pitch
        for j in range(q):
            c1, s1, c2 = peek(table), peek(table + 1), peek(table + 2)
            s2, c3, s3 = peek(table + 3), peek(table + 4), peek(table + 5)
            table = table + 6
            for at in range(j * x.pitch, n * x.pitch, 4 * step):
                a, b, c, d = load(x, at), load(x, at + step), load(x, at + 2 * step), load(x, at + 3 * step)
                y0, y1, y2, y3 = fourths(a, b, c, d)
                store(x, at, y0)
                store(x, at + step, turned(y1, c1, s1))
                store(x, at + 2 * step, turned(y2, c2, s2))
                store(x, at + 3 * step, turned(y3, c3, s3))
        return table

    def forward(x, n, table):
        length = n
        if n % 3 == 0:
            length = n // 3
            table = by_3(x, length, table)
        while length >= 4:
            length = length // 4
            table = by_4(x, n, length, table)
        if length == 2:
            halve(x, n)

    return compiled(forward)


@lru_cache(maxsize=8)
def inverse_transform(lanes: int, dtype: str) -> Any:
    """The compiled inverse(x, n, table), which goes through `twiddles` backwards from `table`, their end."""
    load, store, turned, thirds, fourths = arithmetic(lanes, dtype)
    halve = halves(lanes, dtype)

    @inlined
    def by_4(x, n, q, table):
        """A stage of radix 4: four transforms of q rows, into one of 4 * q."""
        step = q * x.pitch
        for j in range(q):
            factors = table + 6 * j
            c1, s1, c2 = peek(factors), -peek(factors + 1), peek(factors + 2)
            s2, c3, s3 = -peek(factors + 3), peek(factors + 4), -peek(factors + 5)
            for at in range(j * x.pitch, n * x.pitch, 4 * step):
                a, b = load(x, at), turned(load(x, at + step), c1, s1)
                c = turned(load(x, at + 2 * step), c2, s2)
                d = turned(load(x, at + 3 * step), c3, s3)
                y0, y3, y2, y1 = fourths(a, b, c, d)
                store(x, at, y0)
                store(x, at + step, y1)
                store(x, at + 2 * step, y2)
                store(x, at + 3 * step, y3)

    @inlined
    def by_3(x, q, table):
        """The stage of radix 3, of rows q apart."""
        step = q * x.pitch
        for j in range(q):
            factors, at = table + 4 * j, j * x.pitch
            b = turned(load(x, at + step), peek(factors), -peek(factors + 1))
            c = turned(load(x, at + 2 * step), peek(factors + 2), -peek(factors + 3))
            y0, y2, y1 = thirds(load(x, at), b, c)
            store(x, at, y0)
            store(x, at + step, y1)
            store(x, at + 2 * step, y2)

    def inverse(x, n, table):
        whole = n // 3 if n % 3 == 0 else n
        length = 1
        twos = 0
        while (whole >> twos) > 1:
            twos += 1
        if twos % 2:
            table = table + (-2)
            halve(x, n)
            length = 2
        while length < whole:
            table = table + (-6 * length)
            by_4(x, n, length, table)
            length = 4 * length
        if whole < n:
            by_3(x, whole, table + (-4 * whole))

    return compiled(inverse)
