"""The gradient by a depthwise convolution's weights, of small square maps, channels first: all outputs of a map at once.

    dw [c][r][s] = sum over n, e of dy [n][c][e] * x [n][c][e + (r - taps / 2) * side + s - taps / 2]

As the convolution itself in depthwise/maps.py: a map is a row of cells, vectors go along it, and under each tap lies the same
row, some cells further. The sums of all taps stay in registers over all images, and lanes are added up at the end.
"""

from collections.abc import Iterator
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, element
from fastconv.kernels.keeping import remembered
from fastconv.kernels.memory import LINE
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import maps
from fastconv.kernels.simd.engine.costs import CALL, Candidate
from fastconv.kernels.simd.engine.maps import Form
from fastconv.kernels.simd.engine.requests import ask_lines
from fastconv.kernels.simd.engine.sizes import reader, written
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.kernels.simd.gradients import taps as kernels
from fastconv.kernels.simd.gradients.taps import Launch
from fastconv.machine import Machine
from fastconv.problem.convolutions import ConvGeometry

peek, poke, pointer = vector.peek, vector.poke, vector.pointer


class Sizes(NamedTuple):
    """Images, and maps of each; cells of a line where what comes next is asked for, or 0."""

    images: int
    maps: int
    of_line: int


class Parts(NamedTuple):
    """A thread's sums of a channel, in whole vectors."""

    sums: int


read, carve = reader(Sizes), workspace(Parts)


@lru_cache(maxsize=64)
def kernel(form: Form, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loop over channels: f32_gradient_7x7_3x3_squares_avx512."""
    side, taps = form
    cells, weights = side * side, taps * taps
    room = -(-weights // lanes) * lanes

    def gradient(begin, end, x, dy, dw, sizes, parameters):
        """dw [c][r][s] = sum over n, e of dy [n][c][e] * x [n][c][e + (r - taps / 2) * side + s - taps / 2]"""
        s = read(sizes)
        work, memory = carve(Parts(sums=room), x)
        for channel in range(begin, end):
            tile = vector.zeros(pointer(x), weights, 1, lanes)
            for n in range(s.images):
                at = (n * s.maps + channel) * cells
                if s.of_line > 0:  # of this image the next map, and those of the next image as this one's come to an end
                    ask_lines(pointer(x) + (at + cells), cells, s.of_line)
                    ask_lines(pointer(dy) + (at + cells), cells, s.of_line)
                tile = vector.fma_map_taps(tile, pointer(x) + at, pointer(dy) + at, side, taps)
            vector.store_lane_sums(tile, work.sums)
            for k in range(weights):
                poke(pointer(dw) + (channel * weights + k), peek(work.sums + k))
        keep(memory)

    gradient.__name__ = f"{dtype}_gradient_{side}x{side}_{taps}x{taps}_squares_{isa}"
    return Kernel(gradient)


# Decisions --------------------------------------------------------------------------------------------------------------

TAPS = 3  # on either axis: of more, maps.py loads less for each


def supports(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> str | None:
    """What the convolution of small square maps serves, of few taps."""
    if maps.suits(geometry, (TAPS,), machine):
        return None
    return f"it serves {TAPS}x{TAPS} kernels on square maps of up to {maps.LARGEST} cells a side whose size the padding keeps"


def candidates(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> Iterator[Candidate]:
    """The one there is."""
    g = geometry
    cycles = g.out_channels * (g.batch * (10 + 0.9 * g.taps * maps.vectors_of(g, dtype, machine)) + 10 * g.taps)
    yield Candidate(machine.seconds(CALL + cycles, g.bytes(dtype.itemsize)), None, partial(draft, g, dtype, machine))


@remembered
def draft(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> Launch:
    """What runs."""
    g = geometry
    of_line = LINE // dtype.itemsize if machine.asks(g.bytes(dtype.itemsize)) else 0
    made = kernel(maps.form_of(g), machine.lanes(dtype), element(dtype), machine.isa)
    sizes = written(Sizes(g.batch, g.in_channels, of_line))
    return Launch(made, g.in_channels, max(1, g.flops // 4), 1, sizes, kernels.parameters_of(g, dtype))
