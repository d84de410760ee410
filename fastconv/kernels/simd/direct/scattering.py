"""Products of positions added up in the rows of y that lie under their windows: what scattered.py multiplies.

    y [cells under the window of p] += products [p]

Where all windows lie inside of y, the places where they begin are listed, and all positions of a band go one after another;
elsewhere a row of positions does, of whose windows some cells may lie outside.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from fastconv.kernels.jit import compiled, inlined
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import windows

peek, poke = vector.peek, vector.poke


class Runs(NamedTuple):
    """Products of a position that follow each other in a row of y.

    Attributes
    ----------
    pieces, length : int
        Runs of a row of taps, and products of each: one of all taps, or one for each tap.
    of_tap, of_cell : int
        Products of a tap in its run, and elements from a cell of y to the next.
    by_vectors : int
        Whether they are added by vectors; else one by one, those of the same tap after each other.
    whole : int
        Whether all windows lie inside of y: what is added then is listed once for all taps.
    """

    pieces: int
    length: int
    of_tap: int
    of_cell: int
    by_vectors: int
    whole: int


class Band(NamedTuple):
    """Positions from `first` on, before `end`, and the rows of y that they are added to."""

    first: int
    end: int
    h_first: int
    h_end: int


class Segment(NamedTuple):
    """Positions of a row of x: where it lies, the first one, and how many."""

    d: int
    h: int
    w: int
    positions: int


@compiled
def segment_of(position, end, s):
    """The positions from one on that lie in its row."""
    rest, w = divmod(position, s.cells.w)
    d, h = divmod(rest, s.cells.h)
    return Segment(d, h, w, min(s.cells.w - w, end - position))


@compiled
def list_windows(windows, position, end, s):
    """Where each window begins in y."""
    done = 0
    while position < end:
        segment = segment_of(position, end, s)
        row = segment.d * s.stride.d * s.y.d + segment.h * s.stride.h * s.y.h + segment.w * s.stride.w * s.y.w
        for i in range(segment.positions):
            poke(windows + (done + i), row + i * s.stride.w * s.y.w)
        position += segment.positions
        done += segment.positions


@lru_cache(maxsize=8)
def beginner(lanes: int, channels_last: bool) -> Any:
    """The compiled begin(y, bias, part, s): the bias of each channel in all rows of a part."""
    copy, clear = windows.runs(lanes)

    def begin_last(y, bias, part, s):
        together, rows = part.channels == s.y.w, part.h_end - part.h_first
        for d in range(s.outputs.d):
            to = y + (d * s.y.d + part.h_first * s.y.h)
            if together and part.channels == 1:
                clear(to, peek(bias), rows * s.y.h)
                continue
            for cell in range(s.outputs.w if together else rows * s.outputs.w):
                copy(to + cell * s.y.w, bias, part.channels)
            if together:
                for row in range(1, rows):
                    copy(to + row * s.y.h, to, s.y.h)

    def begin_first(y, bias, part, s):
        for k in range(part.channels):
            for d in range(s.outputs.d):
                clear(y + (k * s.y.c + d * s.y.d + part.h_first * s.y.h), peek(bias + k), (part.h_end - part.h_first) * s.y.h)

    return compiled(begin_last if channels_last else begin_first)


@lru_cache(maxsize=8)
def adder(lanes: int) -> Any:
    """The compiled to[i] += source[i], for i < count."""

    def add(to, source, count):
        whole = count - count % lanes
        for i in range(0, whole, lanes):
            vector.store(to + i, vector.load(to + i, lanes) + vector.load(source + i, lanes))
        for i in range(whole, count):
            poke(to + i, peek(to + i) + peek(source + i))

    return inlined(add)


@lru_cache(maxsize=8)
def row_scatterer(lanes: int) -> Any:
    """The compiled y += products of a segment of positions, of whose windows some cells may lie outside of y."""
    add = adder(lanes)

    @compiled
    def add_vectors(to, source, cell, count, s):
        """The runs of one position after those of the other: `to`, a row of y, `cell`, where the first window begins."""
        for j in range(count):
            at = cell + j * s.stride.w
            first, last = max(0, -at) * s.runs.of_tap, min(s.runs.length, (s.outputs.w - at) * s.runs.of_tap)
            if first < last:
                add(to + (at * s.runs.of_cell + first), source + (j * s.pitch + first), last - first)

    @inlined
    def inside(start, count, s):
        """The positions whose cells, from `start` on, lie in a row of y: all, as a rule, which takes no division to see."""
        if start >= 0 and start + (count - 1) * s.stride.w < s.outputs.w:
            return 0, count
        return windows.outputs_inside(start, s.outputs.w, s.stride.w, count)

    @compiled
    def add_values(to, source, cell, count, s):
        """One product of all positions after the other."""
        step, i = s.stride.w * s.runs.of_cell, 0
        while i < s.runs.length:
            lo, hi = inside(cell, count, s)
            for part in range(s.runs.of_tap):
                at, product = to + (cell * s.runs.of_cell + part), source + (i + part)
                for j in range(lo, hi):
                    poke(at + j * step, peek(at + j * step) + peek(product + j * s.pitch))
            i += s.runs.of_tap
            cell += 1

    @compiled
    def add_runs(to, source, segment, piece, s):
        """The runs of a segment that lie in one row of y."""
        cell = segment.w * s.stride.w + piece * s.dilation.w - s.before.w
        if s.runs.by_vectors > 0:
            add_vectors(to, source, cell, segment.positions, s)
        else:
            add_values(to, source, cell, segment.positions, s)

    def scatter(y, products, channels, segment, band, s):
        for k in range(channels):
            for t in range(s.taps.d):
                d = segment.d * s.stride.d + t * s.dilation.d - s.before.d
                if d < 0 or d >= s.outputs.d:
                    continue
                for r in range(s.taps.h):
                    h = segment.h * s.stride.h + r * s.dilation.h - s.before.h
                    if h < band.h_first or h >= band.h_end:
                        continue
                    to = y + (k * s.y.c + d * s.y.d + h * s.y.h)
                    tap = ((k * s.taps.d + t) * s.taps.h + r) * s.taps.w
                    for piece in range(s.runs.pieces):
                        add_runs(to, products + (tap * s.runs.of_tap + piece * s.runs.length), segment, piece, s)

    return compiled(scatter)


@lru_cache(maxsize=8)
def whole_scatterer(lanes: int) -> Any:
    """The compiled y += products of a band of positions, whose windows begin where `windows` tells, inside of y."""
    add = adder(lanes)

    @compiled
    def add_values(to, source, windows, count, s):
        for i in range(s.runs.length):
            for j in range(count):
                at = to + (peek(windows + j) + i)
                poke(at, peek(at) + peek(source + (j * s.pitch + i)))

    @compiled
    def add_vectors(to, source, windows, count, s):
        for j in range(count):
            add(to + peek(windows + j), source + j * s.pitch, s.runs.length)

    def scatter(y, products, windows, channels, count, s):
        source = products
        for k in range(channels):
            for t in range(s.taps.d):
                for r in range(s.taps.h):
                    row = y + (k * s.y.c + t * s.dilation.d * s.y.d + r * s.dilation.h * s.y.h)
                    for piece in range(s.runs.pieces):
                        to = row + piece * s.dilation.w * s.runs.of_cell
                        if s.runs.by_vectors > 0:
                            add_vectors(to, source, windows, count, s)
                        else:
                            add_values(to, source, windows, count, s)
                        source = source + s.runs.length

    return compiled(scatter)


@lru_cache(maxsize=8)
def scatterer(lanes: int) -> Any:
    """The compiled y += products of a band of positions; `windows` has room for where each begins."""
    scatter_row, scatter_whole = row_scatterer(lanes), whole_scatterer(lanes)

    @compiled
    def scatter_parts(y, products, channels, band, s):
        """Row by row of x."""
        position = band.first
        while position < band.end:
            segment = segment_of(position, band.end, s)
            scatter_row(y, products, channels, segment, band, s)
            position += segment.positions
            products = products + segment.positions * s.pitch

    def scatter(y, products, windows, channels, band, s):
        if s.runs.whole > 0:
            list_windows(windows, band.first, band.end, s)
            scatter_whole(y, products, windows, channels, band.end - band.first, s)
        else:
            scatter_parts(y, products, channels, band, s)

    return compiled(scatter)
