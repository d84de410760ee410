"""Fourier transforms along the rows of a matrix, for `lanes` columns at once, in place; real and imaginary parts lie apart.

    forward    X[rev(k)] = sum over j of x[j] * exp(-2 pi i j k / n)        decimation in frequency
    inverse    x[j] = sum over k of X[rev(k)] * exp(+2 pi i j k / n)        decimation in time; n times the inverse

rev is the order in which the forward transform leaves its results, and the inverse takes them. A product of two spectra does
not care about it, so that no pass puts it right. Van Loan, Computational Frameworks for the Fast Fourier Transform (1992),
sections 1.9 and 2.4.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from fastconv.kernels.jit import compiled, inlined
from fastconv.kernels.simd import vector
from fastconv.problem.convolutions import Array

peek = vector.peek


def factors(n: int) -> tuple[int, ...]:
    """The radices of a transform of n = 2**a or 3 * 2**a points, in the order of the forward transform."""
    found = [3] if n % 3 == 0 else []
    n //= 3 if found else 1
    if n & (n - 1):
        raise ValueError(f"a transform has 2**a or 3 * 2**a points, not {n}")
    twos = n.bit_length() - 1
    return (*found, *(4,) * (twos // 2), *(2,) * (twos % 2))


def order(n: int) -> Array:
    """The frequency that each row holds after the forward transform."""
    found = np.zeros(1, np.int64)
    for radix in reversed(factors(n)):
        found = (np.arange(radix)[:, None] + radix * found[None, :]).reshape(-1)
    return found


def twiddles(n: int, dtype: np.dtype[Any]) -> Array:
    """cos and sin of the factors, stage by stage: for j, for the branches 1 .. radix - 1."""
    parts, length = [], n
    for radix in factors(n):
        angles = -2 * np.pi / length * np.outer(np.arange(length // radix), np.arange(1, radix))
        parts.append(np.stack((np.cos(angles), np.sin(angles)), -1).reshape(-1))
        length //= radix
    return np.concatenate(parts).astype(dtype) if parts else np.zeros(0, dtype)


@lru_cache(maxsize=8)
def transforms(lanes: int, dtype: str) -> tuple[Any, Any]:
    """The compiled (forward, inverse) of the columns `lanes` wide at re and im, whose n rows lie `pitch` apart."""
    real = np.dtype(dtype.replace("f", "float")).type
    half, root = real(0.5), real(np.sqrt(0.75))
    scaled = vector.scaled

    @inlined
    def load(re, im, at):
        return vector.load(re + at, lanes), vector.load(im + at, lanes)

    @inlined
    def store(re, im, at, a):
        vector.store(re + at, a[0])
        vector.store(im + at, a[1])

    @inlined
    def plus(a, b):
        return a[0] + b[0], a[1] + b[1]

    @inlined
    def minus(a, b):
        return a[0] - b[0], a[1] - b[1]

    @inlined
    def turned(a, c, s):
        """a * (c + i s)"""
        return scaled(c, a[0]) - scaled(s, a[1]), scaled(c, a[1]) + scaled(s, a[0])

    @inlined
    def plus_i(a, b):
        return a[0] - b[1], a[1] + b[0]

    @inlined
    def minus_i(a, b):
        return a[0] + b[1], a[1] - b[0]

    @inlined
    def thirds(a, b, c):
        """(a + b + c, the middle, the side) of which a transform of 3 points is made"""
        both, apart = plus(b, c), minus(b, c)
        middle = a[0] - scaled(half, both[0]), a[1] - scaled(half, both[1])
        return plus(a, both), middle, (scaled(root, apart[0]), scaled(root, apart[1]))

    def forward(re, im, n, pitch, table):
        length = n
        if n % 3 == 0:
            q = n // 3
            for j in range(q):
                c1, s1, c2, s2 = peek(table), peek(table + 1), peek(table + 2), peek(table + 3)
                table, at = table + 4, j * pitch
                total, middle, side = thirds(load(re, im, at), load(re, im, at + q * pitch), load(re, im, at + 2 * q * pitch))
                store(re, im, at, total)
                store(re, im, at + q * pitch, turned(minus_i(middle, side), c1, s1))
                store(re, im, at + 2 * q * pitch, turned(plus_i(middle, side), c2, s2))
            length = q
        while length >= 4:
            q = length // 4
            for j in range(q):
                c1, s1, c2 = peek(table), peek(table + 1), peek(table + 2)
                s2, c3, s3 = peek(table + 3), peek(table + 4), peek(table + 5)
                table = table + 6
                for at in range(j * pitch, n * pitch, length * pitch):
                    a, b = load(re, im, at), load(re, im, at + q * pitch)
                    c, d = load(re, im, at + 2 * q * pitch), load(re, im, at + 3 * q * pitch)
                    even, odd, other, rest = plus(a, c), plus(b, d), minus(a, c), minus(b, d)
                    store(re, im, at, plus(even, odd))
                    store(re, im, at + q * pitch, turned(minus_i(other, rest), c1, s1))
                    store(re, im, at + 2 * q * pitch, turned(minus(even, odd), c2, s2))
                    store(re, im, at + 3 * q * pitch, turned(plus_i(other, rest), c3, s3))
            length = q
        if length == 2:
            for at in range(0, n * pitch, 2 * pitch):
                a, b = load(re, im, at), load(re, im, at + pitch)
                store(re, im, at, plus(a, b))
                store(re, im, at + pitch, minus(a, b))

    def inverse(re, im, n, pitch, table):
        """`table` is the end of the forward one's."""
        thirds_last = n % 3 == 0
        whole = n // 3 if thirds_last else n
        length = 1
        twos = 0
        while (whole >> twos) > 1:
            twos += 1
        if twos % 2:
            table = table + (-2)
            for at in range(0, n * pitch, 2 * pitch):
                a, b = load(re, im, at), load(re, im, at + pitch)
                store(re, im, at, plus(a, b))
                store(re, im, at + pitch, minus(a, b))
            length = 2
        while length < whole:
            q, length = length, 4 * length
            table = table + (-6 * q)
            for j in range(q):
                here = table + 6 * j
                c1, s1, c2 = peek(here), -peek(here + 1), peek(here + 2)
                s2, c3, s3 = -peek(here + 3), peek(here + 4), -peek(here + 5)
                for at in range(j * pitch, n * pitch, length * pitch):
                    a, b = load(re, im, at), turned(load(re, im, at + q * pitch), c1, s1)
                    c = turned(load(re, im, at + 2 * q * pitch), c2, s2)
                    d = turned(load(re, im, at + 3 * q * pitch), c3, s3)
                    even, odd, other, rest = plus(a, c), plus(b, d), minus(a, c), minus(b, d)
                    store(re, im, at, plus(even, odd))
                    store(re, im, at + q * pitch, plus_i(other, rest))
                    store(re, im, at + 2 * q * pitch, minus(even, odd))
                    store(re, im, at + 3 * q * pitch, minus_i(other, rest))
        if thirds_last:
            q = whole
            table = table + (-4 * q)
            for j in range(q):
                here, at = table + 4 * j, j * pitch
                b = turned(load(re, im, at + q * pitch), peek(here), -peek(here + 1))
                c = turned(load(re, im, at + 2 * q * pitch), peek(here + 2), -peek(here + 3))
                total, middle, side = thirds(load(re, im, at), b, c)
                store(re, im, at, total)
                store(re, im, at + q * pitch, plus_i(middle, side))
                store(re, im, at + 2 * q * pitch, minus_i(middle, side))

    return compiled(forward), compiled(inverse)
