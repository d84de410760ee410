"""The block Toeplitz matrix of a convolution's weights, whose product with an image as a row is the image's result.

    channels first      matrix [k][q][c][p] = w [k][c][tap of q and p]       p: cells of the input, q: of the output
    channels last       matrix [q][k][p][c] = w [k][tap of q and p][c]

Zeros stand where no tap of an output meets a cell. A function lays it out in every call.
"""

from math import prod
from typing import NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.sizes import reader, written
from fastconv.problem import toeplitz
from fastconv.problem.convolutions import Array, ConvGeometry, Size

peek, poke, pointer = vector.peek, vector.poke, vector.pointer


class Sizes(NamedTuple):
    """Channels of the input and the output, taps, cells and outputs."""

    c: int
    k: int
    taps: int
    cells: int
    outputs: int


read = reader(Sizes)


@compiled
def copy_or_clear(to, source, count, met, zero):
    """A run of weights, or zeros."""
    if met:
        for i in range(count):
            poke(to + i, peek(source + i))
    else:
        for i in range(count):
            poke(to + i, zero)


@Kernel
def lay_first(begin, end, w, matrix, met, sizes):
    """matrix [k][q][c][p] for a range of (k, q)."""
    s = read(sizes)
    zero = matrix.dtype.type(0)
    for item in range(begin, end):
        k, q = divmod(item, s.outputs)
        row = pointer(matrix) + item * s.c * s.cells
        source, taps = pointer(w) + k * s.c * s.taps, pointer(met) + q * s.cells
        for c in range(s.c):
            for p in range(s.cells):
                tap, value = peek(taps + p), zero
                if tap >= 0:
                    value = peek(source + (c * s.taps + tap))
                poke(row + (c * s.cells + p), value)


@Kernel
def lay_last(begin, end, w, matrix, met, sizes):
    """matrix [q][k][p][c] for a range of (q, k)."""
    s = read(sizes)
    for item in range(begin, end):
        q, k = divmod(item, s.k)
        for p in range(s.cells):
            tap, row = peek(pointer(met) + (q * s.cells + p)), pointer(matrix) + (item * s.cells + p) * s.c
            source = pointer(w) + (k * s.taps + max(0, tap)) * s.c
            copy_or_clear(row, source, s.c, tap >= 0, matrix.dtype.type(0))


@remembered
def launch(geometry: ConvGeometry) -> tuple[Kernel, int, Array, Array, Size]:
    """(kernel, items, the taps that outputs and cells meet by, sizes, the shape that the product asks for)."""
    g = geometry
    sizes = Sizes(g.in_channels, g.out_channels, g.taps, prod(g.in_size), prod(g.out_size))
    kernel = lay_last if g.channels_last else lay_first
    return kernel, sizes.k * sizes.outputs, toeplitz.taps_met(g), written(sizes), toeplitz.as_rows(g).w_shape


def matrix(w: Array, geometry: ConvGeometry) -> Array:
    """The weights of the product, of those of the convolution."""
    kernel, items, met, sizes, shape = launch(geometry)
    found = np.empty(shape, w.dtype)
    kernel(items, found.size, w.reshape(-1), found.reshape(-1), met, sizes)
    return found
