"""Spectra of blocks, and of kernels: Fourier transforms of a planes of b rows of m cells, along each axis.

A block of one axis is one row of b * m cells. It is transformed as a matrix: its columns, a turn of each element, its rows.
Bailey, FFTs in external or hierarchical memory (1990). The cells along m lie together, so that passes along a and b go on
vectors of them; for the pass along m, `lanes` rows are turned so that they are columns, and the spectrum stays so:

    spectrum   [rows / lanes][re, im][m][lanes]     each re and each im one cache line longer
"""

from functools import lru_cache
from typing import Any

import numpy as np

from fastconv.kernels.jit import Kernel, compiled
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import packing
from fastconv.kernels.simd.fourier import butterflies
from fastconv.problem.convolutions import Array, Size

peek, poke, pointer = vector.peek, vector.poke, vector.pointer


@lru_cache(maxsize=8)
def passes(lanes: int, dtype: str) -> tuple[Any, Any]:
    """The compiled (analysis, synthesis): a block as rows -> its spectrum, and back."""
    forward, inverse = butterflies.transforms(lanes, dtype)

    def analysis(re, im, spectrum, shape, pitch, strip, tables):
        (a, b, m), (table_a, table_b, table_l, turns, turned) = shape, tables
        if a > 1:
            for row in range(b):
                for column in range(0, m, lanes):
                    at = row * pitch + column
                    forward(re + at, im + at, a, b * pitch, table_a)
        for plane in range(a):
            for column in range(0, m, lanes):
                at = plane * b * pitch + column
                forward(re + at, im + at, b, pitch, table_b)
        for row in range(0, a * b, lanes):
            to = spectrum + row // lanes * strip
            side = to + (strip // 2)
            for column in range(0, m, lanes):
                at, there = row * pitch + column, column * lanes
                square = vector.load_transposed(re + at, pitch, lanes, lanes, lanes, 1, lanes)
                vector.store_tile(square, to + there, lanes)
                square = vector.load_transposed(im + at, pitch, lanes, lanes, lanes, 1, lanes)
                vector.store_tile(square, side + there, lanes)
            if turned:
                for at in range(0, m * lanes, lanes):
                    c, s = (
                        vector.load(turns + (row * 2 * m + at), lanes),
                        vector.load(turns + ((row * 2 + lanes) * m + at), lanes),
                    )
                    u, v = vector.load(to + at, lanes), vector.load(side + at, lanes)
                    vector.store(to + at, c * u - s * v)
                    vector.store(side + at, c * v + s * u)
            forward(to, side, m, lanes, table_l)

    def synthesis(spectrum, re, im, shape, pitch, strip, tables, ends):
        (a, b, m), (_, _, _, turns, turned), (end_a, end_b, end_l) = shape, tables, ends
        for row in range(0, a * b, lanes):
            to = spectrum + row // lanes * strip
            side = to + (strip // 2)
            inverse(to, side, m, lanes, end_l)
            if turned:
                for at in range(0, m * lanes, lanes):
                    c, s = (
                        vector.load(turns + (row * 2 * m + at), lanes),
                        vector.load(turns + ((row * 2 + lanes) * m + at), lanes),
                    )
                    u, v = vector.load(to + at, lanes), vector.load(side + at, lanes)
                    vector.store(to + at, c * u + s * v)
                    vector.store(side + at, c * v - s * u)
            for column in range(0, m, lanes):
                at, there = row * pitch + column, column * lanes
                square = vector.load_transposed(to + there, lanes, lanes, lanes, lanes, 1, lanes)
                vector.store_tile(square, re + at, pitch)
                square = vector.load_transposed(side + there, lanes, lanes, lanes, lanes, 1, lanes)
                vector.store_tile(square, im + at, pitch)
        for plane in range(a):
            for column in range(0, m, lanes):
                at = plane * b * pitch + column
                inverse(re + at, im + at, b, pitch, end_b)
        if a > 1:
            for row in range(b):
                for column in range(0, m, lanes):
                    at = row * pitch + column
                    inverse(re + at, im + at, a, b * pitch, end_a)

    return compiled(analysis), compiled(synthesis)


@compiled
def table_pointers(tables, shape, counts):
    """((a's, b's, m's twiddles, turns, whether there are any), the ends of the first three) in one array."""
    first = pointer(tables)
    end_a, end_b, end_l = first + counts[0], first + (counts[0] + counts[1]), first + (counts[0] + counts[1] + counts[2])
    return (first, end_a, end_b, end_l, counts[3] > 0), (end_a, end_b, end_l)


@lru_cache(maxsize=64)
def tables_of(shape: Size, long: bool, lanes: int, dtype: np.dtype[Any]) -> tuple[Array, tuple[int, int, int, int]]:
    """(twiddles of a, b and m, then the turns between the passes of a long row; the length of each)."""
    _, b, m = shape
    parts = [butterflies.twiddles(points, dtype) for points in shape]
    turns = np.zeros(0)
    if long:
        angles = -2 * np.pi / (b * m) * np.outer(butterflies.order(b), np.arange(m))
        both = np.stack((np.cos(angles), np.sin(angles)))
        turns = both.reshape(2, b // lanes, lanes, m).transpose(1, 0, 3, 2).reshape(-1)
    parts.append(turns.astype(dtype))
    return np.concatenate(parts), tuple(len(part) for part in parts)  # type: ignore[return-value]


@lru_cache(maxsize=8)
def weight_kernel(lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled spectra of kernels, divided by the points of a block, item by item one of [k][c]: f32_fft_weights_avx512."""
    analysis, _ = passes(lanes, dtype)

    def weights(begin, end, w, to, sizes, tables):
        shape, taps, dilation = packing.three(sizes, 0), packing.three(sizes, 3), packing.three(sizes, 6)
        by_k, by_c, by_t, by_r, by_s = packing.five(sizes, 9)
        pitch, strip, long, step, c_group = packing.five(sizes, 14)
        passes_tables, _ = table_pointers(tables, shape, packing.five(sizes, 19))
        a, b, m = shape
        rows, zero = a * b, w.dtype.type(0)
        size, plane, scale = rows // lanes * strip, rows * pitch + 2 * lanes, w.dtype.type(1) / w.dtype.type(rows * m)
        memory = np.empty(2 * plane + 64, w.dtype)
        re = vector.line_start(pointer(memory))
        im = re + plane
        for item in range(begin, end):
            k, c = divmod(item, c_group)
            source = pointer(w) + (k * by_k + c * by_c) * step
            for i in range(2 * plane):
                poke(re + i, zero)
            for t in range(taps[0]):
                for r in range(taps[1]):
                    for s in range(taps[2]):
                        if long:
                            row, column = divmod(-s * dilation[2] % (rows * m), m)
                        else:
                            row, column = -t * dilation[0] % a * b + -r * dilation[1] % b, -s * dilation[2] % m
                        at = source + (t * by_t + r * by_r + s * by_s) * step
                        poke(re + (row * pitch + column), peek(at) * scale)
                        if step == 2:
                            poke(im + (row * pitch + column), peek(at + 1) * scale)
            analysis(re, im, pointer(to) + item * size, shape, pitch, strip, passes_tables)
        memory[0] = zero  # pointers do not keep an array alive: its last use does

    weights.__name__ = f"{dtype}_fft_weights_{isa}"
    return Kernel(weights)
