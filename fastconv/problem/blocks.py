"""A result in blocks: which cells of the input each one needs, along one axis, and what is left to do where the input ends.

An axis is given by the bounds of its input blocks, 0 <= ... <= cells, and the outputs first .. last - 1 of one output block. A
Piece answers in runs of cells, one after another, each inside one input block:

    region   | run of block 3 | run of block 4 | run of block 0, backwards |

so that a region holds what the windows of the output block see. Cells around the input are runs too where a border repeats
cells; where padding holds none, the piece says how much padding is left to the operation.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from fastconv.problem.borders import PADDING_MODES, source_cell
from fastconv.problem.convolutions import Array, Size

NOWHERE = -1  # the block of cells that hold a border's value
Bounds = Sequence[int]


class Run(NamedTuple):
    """Cells start, start + step, ... of a block, so many; the step of a cell that is repeated is 0."""

    block: int
    start: int
    step: int
    count: int  # type: ignore[assignment]


class Piece(NamedTuple):
    """What one output block needs along one axis.

    Attributes
    ----------
    outputs : int
        Its cells.
    runs : tuple of Run
        The cells of the region.
    first : int
        Where the region begins, in cells of the input; before 0 where a border is part of it.
    padding : (int, int)
        Cells of padding before and after the region that are left to the operation.
    crop : int
        Outputs of the operation on the region that come before the block's.
    extra : int
        What a kind of window adds: the output_padding of a transposed convolution.
    overhangs : bool
        Whether the last window ends behind the padding, as with ceil_mode.
    windows : tuple of (start, stop)
        Where windows of the region follow no rule, each of them.
    """

    outputs: int
    runs: tuple[Run, ...]
    first: int = 0
    padding: tuple[int, int] = (0, 0)
    crop: int = 0
    extra: int = 0
    overhangs: bool = False
    windows: tuple[tuple[int, int], ...] = ()

    @property
    def cells(self) -> int:
        """Of the region."""
        return sum(run.count for run in self.runs)

    @property
    def blocks(self) -> list[int]:
        """The input blocks that it reads, in order."""
        return sorted({run.block for run in self.runs if run.block != NOWHERE})

    def sources(self, bounds: Bounds) -> Array:
        """The input cell that each cell of the region is, -1 for the border's value."""
        found = [
            np.full(run.count, -1) if run.block == NOWHERE else bounds[run.block] + run.start + run.step * np.arange(run.count)
            for run in self.runs
        ]
        return np.concatenate(found) if found else np.zeros(0, np.int64)


# Cells ------------------------------------------------------------------------------------------------------------------------


def bounds_of(chunks: Sequence[int]) -> list[int]:
    """Where blocks of these sizes begin, and where the last one ends."""
    return [0, *np.cumsum(chunks, dtype=np.int64).tolist()]


def ranges(bounds: Bounds) -> Iterator[tuple[int, int]]:
    """(first, last + 1) of each block that has cells; of none, one without."""
    found = [(first, last) for first, last in pairwise(bounds) if last > first]
    return iter(found or [(0, 0)])


def within(bounds: Bounds, first: int, last: int) -> tuple[Run, ...]:
    """The cells first .. last - 1 of the input."""
    found = []
    block = max(0, bisect_right(bounds, first) - 1)
    while first < last:
        stop = min(last, bounds[block + 1])
        if stop > first:
            found.append(Run(block, first - bounds[block], 1, stop - first))
        first, block = max(first, stop), block + 1
    return tuple(found)


def around(bounds: Bounds, first: int, last: int, mode: str) -> tuple[Run, ...]:
    """The cells at positions first .. last - 1, all outside of the input, by a mode of PADDING_MODES."""
    code, found = PADDING_MODES.index(mode), list[Run]()
    for position in range(first, last):
        cell = source_cell(position, bounds[-1], code)
        if cell < 0:
            return (Run(NOWHERE, 0, 0, last - first),)
        block = bisect_right(bounds, cell) - 1
        start = cell - bounds[block]
        before = found[-1] if found else None
        if before is not None and before.block == block:
            step = start - (before.start + before.step * (before.count - 1))
            if abs(step) <= 1 and (before.count == 1 or step == before.step):
                found[-1] = Run(block, before.start, step, before.count + 1)
                continue
        found.append(Run(block, start, 1, 1))
    return tuple(found)


def repeated(bounds: Bounds, first: int, last: int, mode: str) -> tuple[Run, ...]:
    """The cells at positions first .. last - 1, with the border of a mode where they lie outside of the input."""
    cells = bounds[-1]
    inside = within(bounds, max(0, first), min(cells, last))
    return (*around(bounds, first, min(last, 0), mode), *inside, *around(bounds, max(first, cells), last, mode))


# Windows ----------------------------------------------------------------------------------------------------------------------


class Windows(NamedTuple):
    """Output o sees the cells o * stride - before .. o * stride - before + extent - 1.

    Attributes
    ----------
    outputs : int
        Of the axis.
    stride, extent, before, after : int
        As in the formula; `after` is the padding behind the last cell.
    mode : str or None
        What lies around the input; None leaves padding to the operation.
    ceil : bool
        Whether the last window may end behind the padding.
    """

    outputs: int
    stride: int
    extent: int
    before: int
    after: int
    mode: str | None = None
    ceil: bool = False

    def cuts(self, bounds: Bounds) -> list[int]:
        """Where the result is cut: each output belongs to the block that holds the middle of its window."""
        middle = self.before - (self.extent - 1) // 2
        inner = (-(-(bound + middle) // self.stride) for bound in bounds[1:-1])
        return [0, *(min(max(0, cut), self.outputs) for cut in inner), self.outputs]

    def piece(self, bounds: Bounds, first: int, last: int) -> Piece:
        """What the outputs first .. last - 1 need."""
        cells = bounds[-1]
        begin, end = first * self.stride - self.before, (last - 1) * self.stride - self.before + self.extent
        if self.mode is not None:
            return Piece(last - first, repeated(bounds, begin, end, self.mode), begin)
        low = min(max(0, begin), cells)
        high = max(low, min(cells, end))
        overhangs = self.ceil and end > cells + self.after
        if overhangs and high - low + max(0, low - begin) + self.after < self.extent and first:
            return self.piece(bounds, first - 1, last)._replace(outputs=last - first, crop=1)  # no pool has a smaller input
        padding = (max(0, min(low, end) - begin), self.after if overhangs else max(0, end - max(high, begin)))
        return Piece(last - first, within(bounds, low, high), low, padding, overhangs=overhangs)


class Spread(NamedTuple):
    """Input i adds to the outputs i * stride - before .. i * stride - before + extent - 1: a transposed convolution."""

    outputs: int
    stride: int
    extent: int
    before: int

    def cuts(self, bounds: Bounds) -> list[int]:
        """Where the result is cut: at the middle of what the first input of a block adds to."""
        middle = (self.extent - self.stride) // 2 - self.before
        return [0, *(min(max(0, bound * self.stride + middle), self.outputs) for bound in bounds[1:-1]), self.outputs]

    def piece(self, bounds: Bounds, first: int, last: int) -> Piece:
        """What the outputs first .. last - 1 need: inputs that reach from before the first of them to behind the last."""
        cells = bounds[-1]
        low = (first + self.before - self.extent) // self.stride + 1
        low = max(0, min(low, (first + self.before) // self.stride, cells - 1))
        high = max((last - 1 + self.before) // self.stride, -(-(last + self.before - self.extent) // self.stride)) + 1
        high = max(low + 1, min(cells, high))
        begin, end = low * self.stride - self.before, (high - 1) * self.stride - self.before + self.extent
        padding = (first - begin, max(0, end - last))
        return Piece(last - first, within(bounds, low, high), low, padding, extra=max(0, last - end))


class Shares(NamedTuple):
    """Output o of O sees the cells floor(o * L / O) .. ceil((o + 1) * L / O) - 1 of L: an adaptive pool."""

    outputs: int

    def window(self, cells: int, output: int) -> tuple[int, int]:
        """(first cell, last + 1) of an output."""
        return output * cells // self.outputs, -(-(output + 1) * cells // self.outputs)

    def cuts(self, bounds: Bounds) -> list[int]:
        """Where the result is cut: where windows begin with a cell of their own if such places are near, else anywhere."""
        cells = bounds[-1]
        period = self.outputs // int(np.gcd(cells, self.outputs)) if self.outputs else 1
        found = [0]
        for bound in bounds[1:-1]:
            cut = bound * self.outputs // cells
            found.append(max(found[-1], cut // period * period if 2 * period <= self.outputs else cut))
        return [*found, self.outputs]

    def piece(self, bounds: Bounds, first: int, last: int) -> Piece:
        """What the outputs first .. last - 1 need; its windows are listed where they are not those of an adaptive pool."""
        cells = bounds[-1]
        low, high = self.window(cells, first)[0], self.window(cells, last - 1)[1]
        regular = first * cells % self.outputs == 0 and last * cells % self.outputs == 0
        listed = () if regular else tuple((a - low, b - low) for a, b in (self.window(cells, o) for o in range(first, last)))
        return Piece(last - first, within(bounds, low, high), low, windows=listed)


class Halo(NamedTuple):
    """Output o sees the cells o - reach .. o + reach at most, and meets the borders of the input with the function's own mode.

    Where the input ends the region ends with it, and holds all cells that a mode could mirror. A circular axis has no ends.
    """

    outputs: int
    reach: int
    circular: bool = False

    def cuts(self, bounds: Bounds) -> list[int]:
        """Where the result is cut: as the input is."""
        return list(bounds)

    def piece(self, bounds: Bounds, first: int, last: int) -> Piece:
        """What the outputs first .. last - 1 need."""
        cells, reach = bounds[-1], self.reach
        if last - first + 2 * reach >= cells:
            return Piece(last - first, within(bounds, 0, cells), 0, crop=first)
        if self.circular:
            begin = first - reach
            return Piece(last - first, repeated(bounds, begin, last + reach, "circular"), begin, crop=reach)
        low, high = max(0, first - reach), min(cells, last + reach)
        if first < reach:
            high = max(high, min(cells, 2 * reach + 1))
        if last + reach > cells:
            low = min(low, max(0, cells - 2 * reach - 1))
        if (low, high) == (0, cells):
            return Piece(last - first, within(bounds, 0, cells), 0, crop=first)
        return Piece(last - first, within(bounds, low, high), low, crop=first - low)


class Slid(NamedTuple):
    """Output o is position start + o of the full convolution: it sees the cells position - taps + 1 .. position.

    Where the input ends the region ends with it, as with Halo; the function gives the full convolution of the region.
    """

    outputs: int
    taps: int
    start: int
    circular: bool = False

    def cuts(self, bounds: Bounds) -> list[int]:
        """Where the result is cut: each output belongs to the block that holds the middle of its window."""
        middle = (self.taps - 1) // 2 - self.start
        return [0, *(min(max(0, bound + middle), self.outputs) for bound in bounds[1:-1]), self.outputs]

    def piece(self, bounds: Bounds, first: int, last: int) -> Piece:
        """What the outputs first .. last - 1 need."""
        cells, begin, end = bounds[-1], self.start + first - self.taps + 1, self.start + last
        if self.circular and end - begin < cells:
            return Piece(last - first, repeated(bounds, begin, end, "circular"), begin, crop=self.taps - 1)
        low, high = min(max(0, begin), cells - 1), min(cells, end)
        if begin < 0:
            high = max(high, min(cells, self.taps))
        if end > cells:
            low = min(low, max(0, cells - self.taps))
        if self.circular:
            low, high = 0, cells
        return Piece(last - first, within(bounds, low, max(low + 1, high)), low, crop=self.start + first - low)


class Resampled(NamedTuple):
    """Output o sees the cells ceil((o * down - before) / up) .. floor((o * down + after) / up).

    A region begins where an output lies at a cell, so that its first output is one of the whole's.
    """

    outputs: int
    up: int
    down: int
    before: int
    after: int

    def cuts(self, bounds: Bounds) -> list[int]:
        """Where the result is cut: each output belongs to the block that holds the middle of its window."""
        middle = (self.before - self.after) // 2
        inner = (-(-(bound * self.up + middle) // self.down) for bound in bounds[1:-1])
        return [0, *(min(max(0, cut), self.outputs) for cut in inner), self.outputs]

    def piece(self, bounds: Bounds, first: int, last: int) -> Piece:
        """What the outputs first .. last - 1 need, and where the input ends as much as a mode could mirror."""
        cells, step = bounds[-1], self.down // int(np.gcd(self.up, self.down))
        begin, end = -(-(first * self.down - self.before) // self.up), ((last - 1) * self.down + self.after) // self.up + 1
        reach = (self.before + self.after) // self.up + 2
        low, high = min(max(0, begin), cells - 1), min(cells, end)
        if begin < 0:
            high = max(high, min(cells, reach))
        if end > cells:
            low = min(low, max(0, cells - reach))
        low = min(low, first * self.down // self.up) // step * step
        return Piece(last - first, within(bounds, low, max(low + 1, high)), low, crop=first - low * self.up // self.down)


class Whole(NamedTuple):
    """All cells in one block."""

    outputs: int

    def cuts(self, bounds: Bounds) -> list[int]:
        """Nowhere."""
        return [0, self.outputs]

    def piece(self, bounds: Bounds, first: int, last: int) -> Piece:
        """All cells."""
        return Piece(self.outputs, within(bounds, 0, bounds[-1]))


Rule = Windows | Spread | Shares | Halo | Slid | Resampled | Whole


def pieces(rule: Rule, chunks: Size) -> list[Piece]:
    """What each output block needs along an axis that has blocks of these sizes."""
    bounds = bounds_of(chunks)
    return [rule.piece(bounds, first, last) for first, last in ranges(rule.cuts(bounds))]


def unchanged(chunks: Size) -> list[Piece]:
    """Blocks that each need their own cells."""
    return [Piece(count, (Run(block, 0, 1, count),)) for block, count in enumerate(chunks)]
