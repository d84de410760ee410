"""The phases of a transposed convolution, woven: y [k][q * stride + phase - padding] = z [k][phase][q].

Channels first a row of y takes a value from each of the rows of its phases in turn; channels last it takes runs of channels.
"""

from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Call, Kernel, compiled, make_calls
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.sizes import Axes, axes, reader, written
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import SPATIAL_AXES, Array
from fastconv.problem.phases import Phases

peek, poke, pointer = vector.peek, vector.poke, vector.pointer


class Sizes(NamedTuple):
    """The sizes of a call.

    Attributes
    ----------
    groups, channels : int
        Groups, and output channels of one.
    outputs, positions, stride, shift : Axes
        Of y, of z, phases of each axis, and o + shift = position * stride + phase.
    """

    groups: int
    channels: int
    outputs: Axes
    positions: Axes
    stride: Axes
    shift: Axes


class Row(NamedTuple):
    """A row of y.

    Attributes
    ----------
    n, k, d, h : int
        Of y; k is 0 channels last, where a row has all channels.
    z_d, z_h, p_d, p_h : int
        Position and phase along the first two axes.
    """

    n: int
    k: int
    d: int
    h: int
    z_d: int
    z_h: int
    p_d: int
    p_h: int


read = reader(Sizes)


@compiled
def row_of(number, rows, s):
    """A row of y, of which an image has `rows` planes."""
    rest, h = divmod(number, s.outputs.h)
    rest, d = divmod(rest, s.outputs.d)
    n, k = divmod(rest, rows)
    z_d, p_d = divmod(d + s.shift.d, s.stride.d)
    z_h, p_h = divmod(h + s.shift.h, s.stride.h)
    return Row(n, k, d, h, z_d, z_h, p_d, p_h)


@Kernel
def weave_planes(begin, end, z, y, sizes):
    """y [n][k][d][h][w] = z [n][k][phase][position]"""
    s = read(sizes)
    plane = s.positions.d * s.positions.h * s.positions.w
    for number in range(begin, end):
        row = row_of(number, s.groups * s.channels, s)
        phase = (((row.n * s.groups * s.channels + row.k) * s.stride.d + row.p_d) * s.stride.h + row.p_h) * s.stride.w
        source = pointer(z) + (phase * plane + (row.z_d * s.positions.h + row.z_h) * s.positions.w)
        to = pointer(y) + number * s.outputs.w
        for p_w in range(s.stride.w):
            w = (p_w - s.shift.w) % s.stride.w
            position = (w + s.shift.w) // s.stride.w
            while w < s.outputs.w:
                poke(to + w, peek(source + (p_w * plane + position)))
                w += s.stride.w
                position += 1


@Kernel
def weave_channels(begin, end, z, y, sizes):
    """y [n][d][h][w][g][k] = z [n][position][g][phase][k]"""
    s = read(sizes)
    phases = s.stride.d * s.stride.h * s.stride.w
    for number in range(begin, end):
        row = row_of(number, 1, s)
        of_row = ((row.n * s.positions.d + row.z_d) * s.positions.h + row.z_h) * s.positions.w
        phase_of_row = (row.p_d * s.stride.h + row.p_h) * s.stride.w
        for w in range(s.outputs.w):
            position, p_w = divmod(w + s.shift.w, s.stride.w)
            source = pointer(z) + ((of_row + position) * s.groups * phases + phase_of_row + p_w) * s.channels
            to = pointer(y) + (number * s.outputs.w + w) * s.groups * s.channels
            for group in range(s.groups):
                for k in range(s.channels):
                    poke(to + (group * s.channels + k), peek(source + (group * phases * s.channels + k)))


@remembered
def launch(phases: Phases, dtype: np.dtype[Any], machine: Machine) -> tuple[Kernel, int, int, Array]:
    """(kernel, items, work, sizes)."""
    g, plain = phases.of.lifted(), phases.plain.lifted()
    missing = SPATIAL_AXES - len(phases.shift)
    shift = (0,) * missing + phases.shift
    sizes = Sizes(g.groups, g.out_per_group, *map(axes, (g.out_size, plain.out_size, g.stride, shift)))
    rows = g.batch * prod(g.out_size[:2])
    kernel, items = (weave_channels, rows) if g.channels_last else (weave_planes, rows * g.out_channels)
    return kernel, items, int(1e9 * cost(phases, dtype, machine)), written(sizes)


def cost(phases: Phases, dtype: np.dtype[Any], machine: Machine) -> float:
    """A cycle or two a value, channels last some for each cell of the result, and what is moved."""
    g = phases.of
    values, cells = prod(g.out_shape), g.batch * prod(g.out_size) if g.channels_last else 0
    return 2e-6 + machine.seconds(2.0 * values + 20 * cells, 2 * dtype.itemsize * values)


def call(z: Array, y: Array, phases: Phases) -> Call:
    """All rows of y."""
    kernel, items, work, sizes = launch(phases, y.dtype, host())
    return Call(kernel, items, work, (z.reshape(-1), y.reshape(-1), sizes))


def run(z: Array, y: Array, phases: Phases) -> None:
    """The same, made."""
    make_calls((call(z, y, phases),))
