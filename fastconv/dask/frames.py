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
from math import prod
from typing import NamedTuple

from fastconv.problem.blocks import NOWHERE, Bounds, Halo, Piece, Rule, Run, Windows, bounds_of, ranges

LEAST = 4 << 20  # bytes of a block from which on a copy costs more than the calls of strips
SHARE = 1 / 20  # of a block's cells that strips may read, at most


class Span(NamedTuple):
    """The outputs start, start + 1, ... of a block along an axis, and what they need."""

    start: int
    piece: Piece

    @property
    def cells(self) -> slice:
        """Of the block."""
        return slice(self.start, self.start + self.piece.outputs)


class Frame(NamedTuple):
    """The parts of a block along one axis.

    Attributes
    ----------
    core : Span
        What the core computes: outputs whose windows reach other blocks too, where they cost nothing and strips overwrite them.
    middle : Span
        The outputs that are right then.
    ends : tuple of Span
        The others.
    whole : Span
        All of them.
    """

    core: Span
    middle: Span
    ends: tuple[Span, ...]
    whole: Span


class Part(NamedTuple):
    """The pieces of a part along all axes, and where its outputs are in the block."""

    pieces: tuple[Piece, ...]
    to: tuple[slice, ...]

    @property
    def cells(self) -> int:
        """That it reads."""
        return prod(piece.cells for piece in self.pieces)


def frames(rule: Rule | None, chunks: Sequence[int], found: Sequence[Piece]) -> list[Frame | None]:
    """How each block of the result is cut along an axis: its pieces and their rule, and the sizes of the input's blocks."""
    if not isinstance(rule, (Halo, Windows)):
        return [uncut(piece) for piece in found]
    bounds = bounds_of(chunks)
    cuts = ranges(rule.cuts(bounds))
    return [cut(rule, bounds, first, last, piece) for (first, last), piece in zip(cuts, found, strict=True)]


def uncut(piece: Piece) -> Frame | None:
    """An axis along which the cells lie in one block."""
    all_of_it = Span(0, piece)
    return Frame(all_of_it, all_of_it, (), all_of_it) if in_place(piece) else None


def in_place(piece: Piece) -> bool:
    """Whether the cells lie side by side in one block, and the first output is the block's."""
    return len(piece.runs) == 1 and piece.runs[0].step == 1 and piece.runs[0].block != NOWHERE and not piece.crop


def cut(rule: Halo | Windows, bounds: Bounds, first: int, last: int, piece: Piece) -> Frame | None:
    """The outputs first .. last - 1, which have a piece; None where no output's window lies in one block."""
    if in_place(piece):
        return uncut(piece)
    main = max((run for run in piece.runs if run.block != NOWHERE and run.step == 1), key=lambda run: run.count, default=None)
    if main is None:
        return None
    begin, end = bounds[main.block], bounds[main.block + 1]
    if isinstance(rule, Halo):
        if (begin, end) != (first, last):
            return None
        low = first if begin == 0 and not rule.circular else first + rule.reach
        high = last if end == bounds[-1] and not rule.circular else last - rule.reach
    else:
        inward = rule.mode is not None  # padding is the operation's affair, a border is made of cells
        low = first if begin == 0 and not inward else max(first, -(-(begin + rule.before) // rule.stride))
        high = last if end == bounds[-1] and not inward else min(last, (end + rule.before - rule.extent) // rule.stride + 1)
    if low >= high:
        return None
    middle = Span(low - first, rule.piece(bounds, low, high))
    core = middle
    if isinstance(rule, Halo):  # its function gives an output for each cell
        core = Span(0, Piece(last - first, (Run(main.block, 0, 1, last - first),), first))
    if not in_place(core.piece) or len(middle.piece.runs) != 1:
        return None
    ends = [Span(a - first, rule.piece(bounds, a, b)) for a, b in ((first, low), (high, last)) if a < b]
    return Frame(core, middle, tuple(ends), Span(0, piece))


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
    return Part(tuple(span.piece for span in spans), tuple(span.cells for span in spans))
