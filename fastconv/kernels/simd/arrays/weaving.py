"""The phases of a transposed convolution, woven: y [k][q * stride + phase - padding] = z [k][phase][q].

Channels first a row of y takes a value from each of the rows of its phases in turn, where they are few by vectors. Channels
last it takes runs of channels; of one group those of a position's phases along the row follow each other, and are one run.
"""

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Call, Kernel, compiled, element, make_calls
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import windows
from fastconv.kernels.simd.engine.sizes import Axes, axes, reader, written
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import SPATIAL_AXES, Array, ConvGeometry
from fastconv.problem.phases import Phases

peek, poke, pointer = vector.peek, vector.poke, vector.pointer

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
FEW = (2, 3, 4)  # phases of a row whose vectors are woven in registers
OF_RUN, OF_ROW, OF_VECTOR, OF_VALUE = 14.0, 70.0, 2.0, 0.4  # cycles


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


@lru_cache(maxsize=8)
def runs_kernel(lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loop over runs of the phases of a position, of one group: f32_weave_runs_avx512."""
    copy, _ = windows.runs(lanes)

    def weave_runs(begin, end, z, y, sizes):
        """y [n][d][h][position * stride + phase - shift][k] = z [n][position][phase][k], phases and k in one run"""
        s = read(sizes)
        run, cell = s.stride.w * s.channels, s.stride.d * s.stride.h * s.stride.w * s.channels
        whole, last = -(-run // lanes) * lanes, s.outputs.w * s.channels
        for number in range(begin, end):
            row = row_of(number, 1, s)
            line = ((row.n * s.positions.d + row.z_d) * s.positions.h + row.z_h) * s.positions.w
            place = line * cell + (row.p_d * s.stride.h + row.p_h) * run
            to = pointer(y) + number * last
            for position in range(s.shift.w // s.stride.w, (s.outputs.w - 1 + s.shift.w) // s.stride.w + 1):
                at, start = position * run - s.shift.w * s.channels, place + position * cell
                source = pointer(z) + start
                if at >= 0 and at + whole <= last and start + whole <= z.size:
                    for i in range(0, whole, lanes):  # the next position writes over what is too much
                        vector.store(to + (at + i), vector.load(source + i, lanes))
                else:
                    skipped = max(0, -at)
                    copy(to + (at + skipped), source + skipped, min(run, last - at) - skipped)

    weave_runs.__name__ = f"{dtype}_weave_runs_{isa}"
    return Kernel(weave_runs)


@lru_cache(maxsize=8)
def rows_kernel(stride: int, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loop over rows of a few phases, by vectors of each: f32_weave_rows_2_avx512."""
    interleave = windows.interleaver(stride, lanes)

    def weave_rows(begin, end, z, y, sizes):
        """y [n][k][d][h][w] = z [n][k][phase][position]"""
        s = read(sizes)
        plane = s.positions.d * s.positions.h * s.positions.w
        for number in range(begin, end):
            row = row_of(number, s.groups * s.channels, s)
            phase = (((row.n * s.groups * s.channels + row.k) * s.stride.d + row.p_d) * s.stride.h + row.p_h) * stride
            source = pointer(z) + (phase * plane + (row.z_d * s.positions.h + row.z_h) * s.positions.w)
            to, first = pointer(y) + number * s.outputs.w, -(-s.shift.w // stride)
            count = (s.outputs.w + s.shift.w) // stride - first  # of the positions whose phases are all in the row
            begun, done = first * stride - s.shift.w, 0
            if count >= lanes:
                interleave(to + begun, source + first, 0, count, plane)
                interleave(to + begun, source + first, count - lanes, count, plane)  # the last ones, some again
                done = count
            for w in range(min(begun, s.outputs.w)):
                position, p_w = divmod(w + s.shift.w, stride)
                poke(to + w, peek(source + (p_w * plane + position)))
            for w in range(begun + done * stride, s.outputs.w):
                position, p_w = divmod(w + s.shift.w, stride)
                poke(to + w, peek(source + (p_w * plane + position)))

    weave_rows.__name__ = f"{dtype}_weave_rows_{stride}_{isa}"
    return Kernel(weave_rows)


def by_runs(g: ConvGeometry, dtype: np.dtype[Any]) -> bool:
    """Whether vectors take the phases of a position at once."""
    return g.channels_last and g.groups == 1 and dtype in FLOATS


def by_vectors(g: ConvGeometry, dtype: np.dtype[Any]) -> bool:
    """Whether vectors take positions of every phase of a row."""
    return not g.channels_last and g.stride[-1] in FEW and dtype in FLOATS


@remembered
def launch(phases: Phases, dtype: np.dtype[Any], machine: Machine) -> tuple[Kernel, int, int, Array]:
    """(kernel, items, work, sizes)."""
    g, plain = phases.of.lifted(), phases.plain.lifted()
    missing = SPATIAL_AXES - len(phases.shift)
    shift = (0,) * missing + phases.shift
    sizes = Sizes(g.groups, g.out_per_group, *map(axes, (g.out_size, plain.out_size, g.stride, shift)))
    rows = g.batch * prod(g.out_size[:2])
    kernel, items = (weave_channels, rows) if g.channels_last else (weave_planes, rows * g.out_channels)
    if by_runs(g, dtype):
        kernel = runs_kernel(machine.lanes(dtype), element(dtype), machine.isa)
    elif by_vectors(g, dtype):
        kernel = rows_kernel(g.stride[-1], machine.lanes(dtype), element(dtype), machine.isa)
    return kernel, items, int(1e9 * cost(phases, dtype, machine)), written(sizes)


def cost(phases: Phases, dtype: np.dtype[Any], machine: Machine) -> float:
    """A cycle or two a value or, by vectors, a few a vector and a run; channels last some a cell else; and what is moved."""
    g = phases.of
    values, cells, lanes = prod(g.out_shape), g.batch * prod(g.out_size), machine.lanes(dtype)
    if by_runs(g, dtype):
        runs = cells // g.stride[-1]
        cycles = OF_VALUE * values + runs * (OF_RUN + OF_VECTOR * -(-g.stride[-1] * g.out_channels // lanes))
    elif by_vectors(g, dtype):
        cycles = OF_VALUE * values + OF_VECTOR * g.stride[-1] * values / lanes + OF_ROW * values / g.out_size[-1]
    else:
        cycles = 2.0 * values + (20 * cells if g.channels_last else 0)
    return 2e-6 + machine.seconds(cycles, 2 * dtype.itemsize * values)


def call(z: Array, y: Array, phases: Phases) -> Call:
    """All rows of y."""
    kernel, items, work, sizes = launch(phases, y.dtype, host())
    return Call(kernel, items, work, (z.reshape(-1), y.reshape(-1), sizes))


def run(z: Array, y: Array, phases: Phases) -> None:
    """The same, made."""
    make_calls((call(z, y, phases),))
