"""A block of a result cut along an axis: the outputs whose windows lie in one block of the input, and those at either end.

problem/blocks.py says what each output reads; here the reads of a block are parted into the core, which one block of the input
serves as it is stored, and the ends, whose cells lie in several.
"""

from collections.abc import Sequence
from typing import NamedTuple

from fastconv.problem.blocks import NOWHERE, Bounds, Halo, Piece, Rule, Run, Windows, bounds_of, ranges


class Move(NamedTuple):
    """Outputs of a function along an axis, and where they belong in the block."""

    source: int
    to: int
    count: int  # type: ignore[assignment]


class Span(NamedTuple):
    """What a call of the function reads along an axis, and the outputs of it that are wanted."""

    piece: Piece
    moves: tuple[Move, ...]

    @staticmethod
    def of(piece: Piece, start: int) -> "Span":
        """The outputs of a piece, from `start` of the block on."""
        return Span(piece, (Move(piece.crop, start, piece.outputs),))


class Frame(NamedTuple):
    """The parts of a block along one axis.

    Attributes
    ----------
    core : Span
        What the core computes: all outputs, of which strips overwrite those whose windows reach other blocks.
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


def frames(rule: Rule | None, chunks: Sequence[int], found: Sequence[Piece]) -> list[Frame | None]:
    """How each block of the result is cut along an axis: its pieces and their rule, and the sizes of the input's blocks."""
    if not isinstance(rule, (Halo, Windows)):
        return [uncut(piece) for piece in found]
    bounds = bounds_of(chunks)
    cuts = ranges(rule.cuts(bounds))
    return [cut(rule, bounds, first, last, piece) for (first, last), piece in zip(cuts, found, strict=True)]


def uncut(piece: Piece) -> Frame | None:
    """An axis along which the cells lie in one block."""
    all_of_it = Span.of(piece, 0)
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
    block = main.block, bounds[main.block], bounds[main.block + 1]
    if isinstance(rule, Halo):
        found, step = of_cells(rule, block, first, last, bounds[-1]), 1
    else:
        found, step = of_windows(rule, block, first, last, bounds[-1]), rule.stride
    if found is None:
        return None
    low, high, core = found
    middle = Span.of(rule.piece(bounds, low, high), low - first)
    if not in_place(middle.piece._replace(crop=0)):
        return None
    ends = tuple(Span.of(rule.piece(bounds, a, b), a - first) for a, b in ((first, low), (high, last)) if a < b)
    return Frame(Span.of(core, 0), middle, joined(ends, step), Span.of(piece, 0))


Block = tuple[int, int, int]  # its number, and its cells begin .. end - 1
Inner = tuple[int, int, Piece]  # the outputs low .. high - 1 are right when a function has read a block alone, so


def of_cells(rule: Halo, block: Block, first: int, last: int, cells: int) -> Inner | None:
    """Of a function that gives an output for each cell."""
    number, begin, end = block
    low = first if first == 0 and not rule.circular else first + rule.reach
    high = last if last == cells and not rule.circular else last - rule.reach
    if (begin, end) != (first, last) or low >= high:
        return None
    return low, high, Piece(last - first, (Run(number, 0, 1, last - first),))


def of_windows(rule: Windows, block: Block, first: int, last: int, cells: int) -> Inner | None:
    """Of windows, which take other blocks for padding; no more of it than a pool takes."""
    number, begin, end = block
    start, stop = first * rule.stride - rule.before, (last - 1) * rule.stride - rule.before + rule.extent
    pads = max(0, begin - start), max(0, stop - end)
    if rule.mode is not None or (rule.ceil and stop > cells + rule.after) or 2 * max(pads) > rule.extent:
        return None
    low = first if begin == 0 else max(first, -(-(begin + rule.before) // rule.stride))
    high = last if end == cells else min(last, (end + rule.before - rule.extent) // rule.stride + 1)
    if low >= high:
        return None
    at = max(start, begin)
    return low, high, Piece(last - first, (Run(number, at - begin, 1, min(stop, end) - at),), padding=pads)


def joined(ends: tuple[Span, ...], step: int) -> tuple[Span, ...]:
    """Both strips in one region, side by side, where the windows of the second begin at a step of the first ones'.

    The outputs of windows across the seam are dropped.
    """
    if len(ends) < 2:
        return ends
    before, behind = ends[0].piece, ends[1].piece
    skipped = before.padding[0] + before.cells - behind.padding[0]
    if skipped % step or before.overhangs:
        return ends
    piece = Piece(
        before.outputs + behind.outputs,
        (*before.runs, *behind.runs),
        padding=(before.padding[0], behind.padding[1]),
        overhangs=behind.overhangs,
    )
    (move,) = ends[1].moves
    return (Span(piece, (*ends[0].moves, move._replace(source=move.source + skipped // step))),)
