"""Windows gathered into rows, tap after tap and channel after channel, as weights lie: what unpacked.py multiplies."""

from functools import lru_cache
from typing import Any

from fastconv.kernels.jit import compiled
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import windows

peek, poke = vector.peek, vector.poke


@compiled
def list_taps(to, p, source, s):
    """offsets [t][r][s]: of the cell under each tap of position p, or -1 where there is none."""
    rest, column = divmod(p, s.outputs.w)
    depth, row = divmod(rest, s.outputs.h)
    i = 0
    for t in range(s.taps.d):
        d = windows.cell_under(s.origin.d + depth * s.stride.d + t * s.dilation.d, s.cells.d, s.mode)
        for r in range(s.taps.h):
            h = windows.cell_under(s.origin.h + row * s.stride.h + r * s.dilation.h, s.cells.h, s.mode)
            for tap in range(s.taps.w):
                w = windows.cell_under(s.origin.w + column * s.stride.w + tap * s.dilation.w, s.cells.w, s.mode)
                is_inside = d >= 0 and h >= 0 and w >= 0
                poke(to + i, d * source.strides.d + h * source.strides.h + w * source.strides.w if is_inside else -1)
                i += 1


@lru_cache(maxsize=8)
def last_gatherer(lanes: int) -> Any:
    """The compiled row of one window, of channels that follow each other."""
    copy, clear = windows.runs(lanes)

    def gather_last(to, source, offsets, chunk, s):
        done = 0
        while done < chunk.count:
            tap, c = divmod(chunk.begin + done, s.c_group)
            count = min(s.c_group - c, chunk.count - done)
            at = peek(offsets + tap)
            if at < 0:
                clear(to + done, source.fill, count)
            else:
                copy(to + done, source.at + (at + c), count)
            done += count

    return compiled(gather_last)


@compiled
def gather_first(to, source, offsets, chunk, s):
    """The row of one window, of channels that lie apart."""
    c, tap = divmod(chunk.begin, s.window)
    plane = source.at + c * source.strides.c
    for i in range(chunk.count):
        at = peek(offsets + tap)
        poke(to + i, peek(plane + at) if at >= 0 else source.fill)
        tap += 1
        if tap == s.window:
            tap, plane = 0, plane + source.strides.c


@lru_cache(maxsize=8)
def gatherer(lanes: int, channels_last: bool, pixels: bool) -> Any:
    """The compiled rows[p][l] = what tap and channel l of position p meet, for a panel's positions and a chunk of l.

    With `pixels`, windows of one pixel follow each other in planes, which are turned.
    """
    gather_row = last_gatherer(lanes) if channels_last else gather_first

    def gather_windows(rows, source, panel, chunk, offsets, s):
        for p in range(panel.count):
            list_taps(offsets, panel.first + p, source, s)
            gather_row(rows + p * s.step, source, offsets, chunk, s)

    def gather_pixels(rows, source, panel, chunk, offsets, s):
        for i in range(lanes):
            poke(offsets + i, i * s.step)
        plane = source.strides.c
        for c in range(0, chunk.count, lanes):
            width = min(lanes, chunk.count - c)
            for p in range(0, panel.count, lanes):
                height, at = min(lanes, panel.count - p), source.at + ((chunk.begin + c) * plane + panel.first + p)
                square = vector.load_transposed(at, plane, height, width, lanes, 1, lanes)
                vector.store_first_rows(square, rows + (p * s.step + c), offsets, height, width)

    return compiled(gather_pixels if pixels else gather_windows)
