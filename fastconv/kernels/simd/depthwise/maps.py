"""Depthwise convolution of small square maps, channels first: all outputs of a map at once.

    y [p][e] = act(bias + sum over r, s of x [p][e + (r - taps / 2) * side + s - taps / 2] * w [r][s])

A map whose size the padding keeps is a row of cells, and under each tap lies the same row, some cells further: vectors go along
it, whole ones whatever its width, and are masked where a window reaches out of the map. Rows of 7 cells would leave every
second lane empty. Masks are known as the kernel is compiled, one for each size.
"""

from collections.abc import Iterator
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, element
from fastconv.kernels.keeping import remembered
from fastconv.kernels.memory import LINE
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import epilogue, maps
from fastconv.kernels.simd.engine.costs import CALL, Candidate
from fastconv.kernels.simd.engine.maps import Form
from fastconv.kernels.simd.engine.requests import ask_lines
from fastconv.kernels.simd.engine.sizes import reader, written
from fastconv.kernels.simd.engine.weights import Draft, drafted
from fastconv.machine import Machine
from fastconv.problem.convolutions import Array, ConvGeometry

peek, pointer = vector.peek, vector.pointer


class Sizes(NamedTuple):
    """Maps of an image, and cells ahead of those that are read and written that are asked for, or 0; cells of a line."""

    maps: int
    ahead: int
    of_line: int


read = reader(Sizes)


@lru_cache(maxsize=64)
def kernel(form: Form, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loop over maps: f32_depthwise_7x7_3x3s1_maps_avx512."""
    (side, taps), activate = form, epilogue.activation_of(dtype)
    cells, weights = side * side, taps * taps
    vectors = -(-cells // lanes)

    def depthwise(begin, end, x, w, bias, residual, y, sizes, parameters):
        """y [p][e] = act(bias + sum over r, s of x [p][e + (r - taps / 2) * side + s - taps / 2] * w [r][s])"""
        s, act = read(sizes), epilogue.epilogue(parameters, residual, y)
        channel, unfinished = begin % s.maps, epilogue.is_unfinished(act)
        for item in range(begin, end):
            at, to = pointer(x) + item * cells, pointer(y) + item * cells
            if s.ahead > 0:
                ask_lines(at + s.ahead, cells, s.of_line)
                ask_lines(to + s.ahead, cells, s.of_line)
            tile = vector.filled(peek(pointer(bias) + channel), 1, vectors, lanes)
            tile = vector.fma_map(tile, at, pointer(w) + channel * weights, side, taps)
            vector.store_row_as(activate(tile, act), to, cells)
            if unfinished:
                epilogue.finish_run(to, cells, act)
            channel = channel + 1 if channel + 1 < s.maps else np.int64(0)

    depthwise.__name__ = f"{dtype}_depthwise_{side}x{side}_{taps}x{taps}s1_maps_{isa}"
    return Kernel(depthwise)


# Decisions --------------------------------------------------------------------------------------------------------------

TAPS = {3: 0.8, 5: 0.95}  # on either axis, and cycles of a product: of more taps, rows of a tile share what they load
MASKS, OF_MASK = 18, 9.0  # of the ends of rows of a map that registers hold, and cycles of each beyond, by two halves
AHEAD = 4096  # bytes to cells that are asked for


def suits(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> bool:
    """Whether maps are small and square, and the padding keeps their size."""
    return maps.suits(geometry, tuple(TAPS), machine)


def candidates(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> Iterator[Candidate]:
    """The one there is."""
    g = geometry
    vectors, side = maps.vectors_of(g, dtype, machine), g.out_size[-1]
    of_map = 10 + TAPS[g.kernel[0]] * g.taps * vectors
    if machine.halved is not None and machine.lanes(dtype) % side and side % machine.lanes(dtype):  # else all have the same
        of_map += OF_MASK * max(0, vectors * (g.kernel[0] - 1) - MASKS)
    cycles = g.batch * g.in_channels * of_map
    form = maps.form_of(g)
    seconds = machine.seconds(CALL + cycles, g.bytes(dtype.itemsize))
    yield Candidate(seconds, form, partial(draft, g, form, dtype, machine))


@remembered
def draft(geometry: ConvGeometry, form: Form, dtype: np.dtype[Any], machine: Machine) -> Draft:
    """The launch without its weights."""
    g = geometry
    ahead = AHEAD // dtype.itemsize if machine.asks(g.bytes(dtype.itemsize)) else 0
    arguments = written(Sizes(g.in_channels, ahead, LINE // dtype.itemsize)), epilogue.scalars(g.activation, dtype)
    made = kernel(form, machine.lanes(dtype), element(dtype), machine.isa)
    return drafted(made, g.batch * g.in_channels, 2 * g.flops, arguments, laid)


def laid(w: Array, bias: Array) -> tuple[Array, Array]:
    """(weights, bias) as they are."""
    return w.reshape(-1).copy(), bias
