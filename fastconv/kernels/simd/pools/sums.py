"""Averages of integers whose sums no float holds: the rows of a window are added up, then its columns, in 64 bits, which wrap.

    line [cell][c]   = sum over depths and rows of a window of x [n][d][h][cell][c]
    total [w][c]     = sum over the columns of a window of line [cell][c]
    y [n][d][h][w][c] = total / divisor, toward zero

Channels first there is one channel, and each plane is an image. Additions of a row follow each other in memory, and the
compiler makes vectors of them; where no total of a row passes 2**51, so it does of the quotients, which doubles then have
exactly.
"""

from collections.abc import Iterator
from functools import lru_cache, partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled, element, inlined
from fastconv.kernels.simd.engine.costs import CALL, Candidate
from fastconv.kernels.simd.engine.sizes import Axes, axes, reader, written
from fastconv.kernels.simd.pools import reductions
from fastconv.kernels.simd.pools.bounds import Windows, lifted, row_of, span
from fastconv.kernels.simd.pools.launches import Launch
from fastconv.machine import Machine
from fastconv.problem.pools import PoolGeometry

LARGEST = 51  # bits of a total whose quotient doubles have exactly


class Sizes(NamedTuple):
    """Cells and outputs of the axes, channels that lie side by side, and the windows."""

    cells: Axes
    outputs: Axes
    channels: int
    windows: Windows


read = reader(Sizes)


@lru_cache(maxsize=2)
def divider(signed: bool) -> Any:
    """The compiled total / divisor, toward zero."""

    def signed_quotient(total, divisor):
        if divisor == -1:  # the one quotient that can overflow, which traps
            return -total
        floor = total // divisor
        return floor + 1 if floor < 0 and floor * divisor != total else floor

    def unsigned_quotient(total, divisor):
        return total // np.uint64(divisor) if divisor > 0 else -(total // np.uint64(-divisor))

    return inlined(signed_quotient if signed else unsigned_quotient)


@compiled
def add(to, source):
    """to [k] += source [k], of slices: numbers from 0 on, of which the compiler knows that they count from no end."""
    for k in range(len(to)):
        to[k] += source[k]


@compiled
def add_rows(x, line, image, of_d, of_h, s):
    """line [cell][c] = the sum over the rows of a window."""
    length = len(line)
    line[:] = 0
    for i in range(of_d.start, of_d.stop, s.windows.d.dilation):
        for j in range(of_h.start, of_h.stop, s.windows.h.dilation):
            at = ((image * s.cells.d + i) * s.cells.h + j) * length
            add(line, x[at : at + length])


@compiled
def add_columns(line, totals, s):
    """totals [w][c] = the sum over the columns of each window."""
    w, channels = s.windows.w, s.channels
    totals[:] = 0
    for tap in range(w.taps):
        offset = tap * w.dilation - w.before
        first = max(0, -(offset // w.stride))
        last = max(first, min(w.outputs, -((offset - w.cells) // w.stride)))
        if w.stride == 1:
            begin = max(0, (first + offset) * channels)
            add(totals[first * channels : last * channels], line[begin : begin + (last - first) * channels])
        else:
            for o in range(first, last):
                at = (o * w.stride + offset) * channels
                for c in range(channels):
                    totals[o * channels + c] += line[at + c]
    if w.taps == 0:  # adaptive windows
        for o in range(w.outputs):
            of_w = span(w, o)
            for cell in range(of_w.start, of_w.stop):
                for c in range(channels):
                    totals[o * channels + c] += line[cell * channels + c]


@compiled
def are_small(totals):
    """Whether all of them have few bits."""
    bits = totals[0] ^ totals[0]
    for k in range(len(totals)):
        bits |= totals[k] ^ (totals[k] >> 63)
    return (bits >> LARGEST) == 0


@compiled
def divide_small(y, totals, divisor):
    """y [k] = totals [k] / divisor, toward zero, of totals of few bits."""
    for k in range(len(y)):
        y[k] = np.int64(np.float64(np.int64(totals[k])) / divisor)


@lru_cache(maxsize=16)
def kernel(signed: bool, dtype: str, isa: str) -> Kernel:
    """The compiled loop over rows of outputs: i64_avg_pool_sums_avx512."""
    quotient = divider(signed)

    @compiled
    def divide(totals, y, at, rows, s):
        """y [w][c] = totals [w][c] / divisor, of windows that count `rows` rows."""
        channels, small = s.channels, are_small(totals)
        begin = 0
        while begin < s.outputs.w:
            count, end = span(s.windows.w, begin).count, begin + 1
            while end < s.outputs.w and span(s.windows.w, end).count == count:
                end += 1
            divisor = rows * count
            if small:
                divide_small(y[at + begin * channels : at + end * channels], totals[begin * channels :], np.float64(divisor))
            else:
                for k in range(begin * channels, end * channels):
                    y[at + k] = quotient(totals[k], divisor)
            begin = end

    def pool(begin, end, x, y, sizes, zero):
        """y [row] = the average of each window"""
        s = read(sizes)
        line, totals = np.empty(s.cells.w * s.channels, zero.dtype), np.empty(s.outputs.w * s.channels, zero.dtype)
        for item in range(begin, end):
            row = row_of(item, s.outputs)
            of_d, of_h = span(s.windows.d, row.d), span(s.windows.h, row.h)
            add_rows(x, line, row.image, of_d, of_h, s)
            add_columns(line, totals, s)
            divide(totals, y, item * len(totals), of_d.count * of_h.count, s)

    pool.__name__ = f"{dtype}_avg_pool_sums_{isa}"
    return Kernel(pool)


# Decisions --------------------------------------------------------------------------------------------------------------


def suits(geometry: PoolGeometry, dtype: np.dtype[Any]) -> bool:
    """Averages of integers whose sums may pass what doubles hold."""
    return geometry.kind == "avg" and dtype.kind in "iu" and reductions.computed(geometry, dtype) == dtype


def candidates(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> Iterator[Candidate]:
    """The one kernel: additions by vectors, and quotients."""
    g, lanes = geometry, machine.vector_bytes // 8
    rows, outputs = prod(g.out_shape) // max(1, g.out_size[-1]), prod(g.out_shape)
    taps = max(1, g.taps // max(1, g.out_size[-1] if g.adaptive else g.kernel[-1]))
    additions = rows * taps * g.in_size[-1] + outputs * (1 if g.adaptive else g.kernel[-1])
    cycles = CALL + 200 * rows + 2 * additions / lanes + 4 * outputs
    yield Candidate(machine.seconds(cycles, g.bytes(dtype.itemsize)), None, partial(launch, geometry, dtype, machine))


def launch(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> Launch:
    """The kernel with its arguments."""
    t, signed = lifted(geometry), dtype.kind == "i"
    channels = geometry.channels if geometry.channels_last else 1
    sizes = Sizes(axes(t.in_size), axes(t.out_size), channels, t.windows)
    rows = geometry.batch * geometry.channels // max(1, channels) * prod(t.out_size[:2])
    made = kernel(signed, element(dtype), machine.isa)
    return Launch(made, rows, geometry.flops, (written(sizes), np.zeros(1, np.int64 if signed else np.uint64)))
