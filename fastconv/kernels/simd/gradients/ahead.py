"""What the next chunk of a gradient by the weights copies, channels first, asked for while this one's products are made.

A chunk copies a short row of each channel, too short for the processor to see what comes next: 8 images waited up to a
fifth of its time for them. Where the pieces of rows begin is found once a chunk; then each register tile asks for a few.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from fastconv.kernels.jit import compiled
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.sizes import Axes
from fastconv.kernels.simd.gradients.chunks import reach_of

peek, poke, pointer = vector.peek, vector.poke, vector.pointer

LINES = 4  # of a piece, which are asked for together
PIECES = 2048  # that are asked for at most


class Rows(NamedTuple):
    """Rows that are copied: the image, the first cell, how many rows and cells of one, the first channel and how many."""

    n: int
    corner: Axes
    rows: int
    columns: int
    channel: int
    channels: int


class Coming(NamedTuple):
    """Pieces to ask for: where their offsets lie, how many, how many of them are of x, and what a tile asks for."""

    offsets: Any
    pieces: int
    of_x: int
    each: int


@compiled
def find(offsets, i, rows, at, cells, piece):
    """offsets[i] = where a piece of the rows inside of a map begins, from the i-th on; returns the one behind the last."""
    first, last = max(0, rows.corner.w), min(cells.w, rows.corner.w + rows.columns)
    if not 0 <= rows.corner.d < cells.d or first >= last:
        return i
    begin = rows.n * at.n + rows.corner.d * at.d + rows.channel * at.c + first * at.w
    for h in range(max(0, rows.corner.h), min(cells.h, rows.corner.h + rows.rows)):
        for c in range(rows.channels):
            for w in range(0, last - first, piece):
                if i == PIECES:
                    return i
                poke(offsets + i, begin + h * at.h + c * at.c + w)
                i += 1
    return i


@lru_cache(maxsize=2)
def asker(line: int) -> tuple[Any, Any]:
    """(the compiled finding of what a chunk copies, that tiles ask for, and the asking) of lines of so many elements."""
    piece = LINES * line

    @compiled
    def find_coming(offsets, chunk, inputs, outputs, tiles, g):
        """What a chunk copies of its inputs and outputs, for so many tiles to ask for."""
        reach, size, of_x = reach_of(chunk.size, g), chunk.size, 0
        for i in range(size.d):
            n, depth = divmod(chunk.first.d + i, g.outputs.d)
            for t in range(g.taps.d):
                corner = Axes(
                    depth * g.stride.d - g.padding.d + t * g.dilation.d,
                    chunk.first.h * g.stride.h - g.padding.h,
                    chunk.first.w * g.stride.w - g.padding.w,
                )
                rows = Rows(n, corner, reach.h, reach.w, inputs.channel, inputs.channels)
                of_x = find(offsets, of_x, rows, g.x, g.cells, piece)
        pieces = of_x
        for i in range(size.d):
            n, depth = divmod(chunk.first.d + i, g.outputs.d)
            corner = Axes(depth, chunk.first.h, chunk.first.w)
            rows = Rows(n, corner, size.h, size.w, outputs.channel, outputs.channels)
            pieces = find(offsets, pieces, rows, g.y, g.outputs, piece)
        return Coming(offsets, pieces, of_x, -(-pieces // max(1, tiles)))

    @compiled
    def ask(asked, coming, x, dy):
        """Ask for some pieces from the one of this number on; returns the number of the next."""
        end = min(asked + coming.each, coming.pieces)
        for i in range(asked, end):
            at = (pointer(x) if i < coming.of_x else pointer(dy)) + peek(coming.offsets + i)
            for j in range(0, piece, line):
                vector.prefetch(at + j)
        return end

    return find_coming, ask
