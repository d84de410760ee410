"""Blocks of a result in parts: the core, whose windows lie in one block of the input, and strips around it.

    +--------------------+      core    read where it is stored, written where it belongs: nothing is copied
    |       strip        |      strips  small regions that are put together of several blocks
    +---+------------+---+
    | s |    core    | s |
    +---+------------+---+
    |       strip        |
    +--------------------+

A region of the whole block costs a copy of all its cells, as much as a filter of few cells itself. Strips cost their own cells
twice or three times, and a call each: where they are a small share of a large block, they cost less.
"""

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import NamedTuple

from fastconv.problem.blocks import Piece
from fastconv.problem.frames import Frame, Span

LEAST = 4 << 20  # bytes of a block from which on a copy costs more than the calls of strips
SHARE = 1 / 20  # of a block's cells that strips may read, at most


class Part(NamedTuple):
    """The pieces of a part along all axes, and which outputs of the function belong where in the block."""

    pieces: tuple[Piece, ...]
    moves: tuple[tuple[tuple[slice, ...], tuple[slice, ...]], ...]

    @property
    def cells(self) -> int:
        """That it reads."""
        return prod(piece.cells for piece in self.pieces)


def parts(along: Sequence[Frame | None], itemsize: int) -> list[Part]:
    """The core of a block and the strips around it; none where a region of the whole block costs less."""
    framed = [frame for frame in along if frame is not None]
    if len(framed) < len(along) or not any(frame.ends for frame in framed):
        return []
    found = [part([frame.core for frame in framed])]
    for axis, frame in enumerate(framed):
        before, behind = [one.middle for one in framed[:axis]], [one.whole for one in framed[axis + 1 :]]
        found += [part([*before, end, *behind]) for end in frame.ends]
    cells = found[0].cells
    if cells * itemsize < LEAST or sum(one.cells for one in found[1:]) > SHARE * cells:
        return []
    return found


def part(spans: Sequence[Span]) -> Part:
    """The outputs of a span along each axis."""
    moves = [
        (
            tuple(slice(one.source, one.source + one.count) for one in along),
            tuple(slice(one.to, one.to + one.count) for one in along),
        )
        for along in product(*(span.moves for span in spans))
    ]
    return Part(tuple(span.piece for span in spans), tuple(moves))
