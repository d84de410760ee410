"""Lines of a running pool: the rows under a block are reduced to a line for each output row, and a line's columns to results.

running.py says how, and runs over the blocks.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from fastconv.kernels.jit import compiled, inlined
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.pools import reductions
from fastconv.kernels.simd.pools.bounds import Fold, place

CHEAP = 3  # set bits of a width, of which the highest is not a cell behind: as many rounds as without overlap
AHEAD = 1024  # results that are asked for before they are written


class Runs(NamedTuple):
    """`count` runs of `length` cells of a row, `gap` cells from one to the next: pixels' channels, or all as one."""

    count: int  # type: ignore[assignment]
    length: int
    gap: int


class Heights(NamedTuple):
    """The rows under a block: `depths` of them, `depth_step` elements apart, at top + t * dilation for each tap of each output.

    Those outside 0 .. rows - 1 are padding. The block has `count` outputs; a row has `row_step` elements.
    """

    depths: int
    depth_step: int
    top: int
    dilation: int
    taps: int
    rows: int
    row_step: int
    count: int  # type: ignore[assignment]


class Widths(NamedTuple):
    """The windows of a line: (run * stride + s * dilation) * channels + j for the taps s, `length` cells j and `count` runs.

    `step` elements lie between neighbouring taps, `span` under the first taps of all windows, and `gap` between results' runs.
    """

    count: int  # type: ignore[assignment]
    length: int
    gap: int
    pitch: int
    taps: int
    step: int
    span: int


class Divisors(NamedTuple):
    """What averages divide by: `row`, which a row's outputs share, times what each of them has, a block's from `first` on."""

    row: Any
    columns: Any
    first: int
    fold: Fold


def has_numbers(kind: str, dtype: str) -> bool:
    """Whether cells may be NaN, and to compare them is quicker where none is."""
    return dtype[0] == "f" and reductions.order_and_power(kind)[0] != 0


# Heights ----------------------------------------------------------------------------------------------------------------


class Group(NamedTuple):
    """The compiled operations on neighbouring vectors, a tuple: how cells are read and stored, and windows joined.

    `look` adds to a pair of masks of what is no NaN.
    """

    load: Any
    join: Any
    enter: Any
    store: Any
    start: Any
    look: Any


@lru_cache(maxsize=32)
def group_of_one(kind: str, lanes: int, dtype: str) -> Group:
    """One vector, of which the first `room` elements are read and written."""
    r = reductions.reduction(kind, dtype)
    enter, combine = r.enter, r.combine

    def load(at, room):
        return (vector.load_first(at, room, lanes),)

    def join(a, b):
        return (combine(a[0], b[0]),)

    def entered(a):
        return (enter(a[0]),)

    def store(at, a, room):
        vector.store_first(at, a[0], room)

    def start(initial):
        return (vector.splat(initial, lanes),)

    def look(numbers, a):
        return numbers

    return Group(*(inlined(each) for each in (load, join, entered, store, start, look)))


@lru_cache(maxsize=32)
def group_of_four(kind: str, lanes: int, dtype: str) -> Group:
    """Four vectors, compared as if all cells were numbers."""
    r = reductions.reduction(kind, dtype)
    enter, combine = r.enter, r.combine_numbers

    def load(at, room):
        return (
            vector.load(at, lanes),
            vector.load(at + lanes, lanes),
            vector.load(at + 2 * lanes, lanes),
            vector.load(at + 3 * lanes, lanes),
        )

    def join(a, b):
        return combine(a[0], b[0]), combine(a[1], b[1]), combine(a[2], b[2]), combine(a[3], b[3])

    def entered(a):
        return enter(a[0]), enter(a[1]), enter(a[2]), enter(a[3])

    def store(at, a, room):
        vector.store(at, a[0])
        vector.store(at + lanes, a[1])
        vector.store(at + 2 * lanes, a[2])
        vector.store(at + 3 * lanes, a[3])

    def start(initial):
        v = vector.splat(initial, lanes)
        return v, v, v, v

    def look(numbers, a):
        low, high = vector.numbers_in_both(a[0], a[1]), vector.numbers_in_both(a[2], a[3])
        return vector.both(numbers[0], low), vector.both(numbers[1], high)

    def look_away(numbers, a):
        return numbers

    looks = look if has_numbers(kind, dtype) else look_away
    return Group(*(inlined(each) for each in (load, join, entered, store, start, looks)))


@lru_cache(maxsize=64)
def row_joiner(group: Group) -> Any:
    """The compiled windows joined with row t of every depth, where it is in the plane."""
    load, join, enter, look = group.load, group.join, group.enter, group.look

    def join_row(windows, numbers, source, t, heights, room):
        r = heights.top + t * heights.dilation
        if 0 <= r < heights.rows:
            row = source + r * heights.row_step
            for d in range(heights.depths):
                cells = load(row + d * heights.depth_step, room)
                windows, numbers = join(windows, enter(cells)), look(numbers, cells)
        return windows, numbers

    return inlined(join_row)


@lru_cache(maxsize=64)
def stacker(kind: str, lanes: int, dtype: str, four: bool) -> Any:
    """The compiled heights of a block: line[i][w] = cells of the rows i .. i + k - 1 at w, for i < count.

    Where `four` vectors are reduced at a time, the last of them may overlap those before. They tell whether all cells are
    numbers, where that matters: if not, what they wrote is of no use.
    """
    group, width = (group_of_four if four else group_of_one)(kind, lanes, dtype), 4 * lanes if four else lanes
    load, join, store, start, join_row = group.load, group.join, group.store, group.start, row_joiner(group)

    def stack(image, line, pitch, runs, heights, initial):
        taps, count, none = heights.taps, heights.count, vector.splat(initial, lanes)
        all_numbers = vector.numbers_in_both(none, none)
        numbers = all_numbers, all_numbers
        for run in range(runs.count):
            for begun in range(0, runs.length, width):
                i = min(begun, runs.length - width) if four else begun
                source, to, room = image + (run * runs.gap + i), line + (run * runs.length + i), runs.length - i
                windows = start(initial)  # S, from the last row that all windows hold
                for t in range(count - 1, taps):
                    windows, numbers = join_row(windows, numbers, source, t, heights, room)
                store(to + (count - 1) * pitch, windows, room)
                for t in range(count - 2, -1, -1):
                    windows, numbers = join_row(windows, numbers, source, t, heights, room)
                    store(to + t * pitch, windows, room)
                windows = start(initial)  # P, and S + P
                for t in range(1, count):
                    windows, numbers = join_row(windows, numbers, source, taps - 1 + t, heights, room)
                    store(to + t * pitch, join(windows, load(to + t * pitch, room)), room)
        return vector.first_are_set(vector.both(numbers[0], numbers[1]), lanes)

    return compiled(stack)


# Widths -----------------------------------------------------------------------------------------------------------------


class Rounds(NamedTuple):
    """How windows of `taps` cells are made of two halves, again and again: the highest bit, and whether halves may overlap."""

    bit: int
    overlap: bool


@lru_cache(maxsize=2)
def rounds_counter(sums: bool) -> Any:
    """The compiled Rounds of a number of taps.

    Two windows may overlap, but not where they are added; one more round costs what two cells behind do.
    """

    def rounds_of(taps):
        bit, cells_behind = 1, taps & 1
        while 2 * bit <= taps:
            bit *= 2
            cells_behind += (taps & bit) // bit
        return Rounds(bit, not sums and cells_behind > CHEAP)

    return compiled(rounds_of)


@lru_cache(maxsize=64)
def doubler(join: Any, lanes: int) -> Any:
    """The compiled rounds but the last: (where windows of `span` cells are, span), of half of the taps."""

    def double_spans(line, double, widths, rounds):
        taps, step, bit, overlap = widths.taps, widths.step, rounds.bit, rounds.overlap
        span, source, half = 1, line, (taps + 1) // 2 if overlap else taps // 2
        while span < half:
            bit //= 2
            odd, near, behind = not overlap and (taps & bit) > 0, span * step, 2 * span * step
            span = 2 * span + (1 if odd else 0)
            needed = widths.span + (taps - span) * step  # by the rounds to come
            for i in range(0, needed, lanes):
                pair = join(vector.load(source + i, lanes), vector.load(source + (i + near), lanes))
                if odd:
                    pair = join(pair, vector.load(line + (i + behind), lanes))
                vector.store(double + i, pair)
            source = double
        return source, span

    return inlined(double_spans)


@lru_cache(maxsize=64)
def shrinker(kind: str, lanes: int, dtype: str, numbers: bool) -> Any:
    """The compiled widths of a line: y = leave(its cells over the taps of each window).

    Where all cells are `numbers`, it is quicker. Meanwhile the row at `ahead`, of the next block, comes into the L2 cache.
    """
    r = reductions.reduction(kind, dtype)
    join, leave = r.combine_numbers if numbers else r.combine, r.leave
    rounds_of, double_spans = rounds_counter(reductions.order_and_power(kind)[0] == 0), doubler(join, lanes)

    def finish(to, windows, divisors, at, room):
        columns = divisors.columns + place(divisors.first + at, divisors.fold)
        if room >= lanes:
            vector.store(to, leave(windows, vector.scaled(divisors.row, vector.load(columns, lanes))))
        else:
            divisor = vector.scaled(divisors.row, vector.load_first(columns, room, lanes))
            vector.store_first(to, leave(windows, divisor), room)

    finish = inlined(finish)

    def shrink(double, line, y, widths, divisors, ahead):
        taps, rounds = widths.taps, rounds_of(widths.taps)
        source, span = double_spans(line, double, widths, rounds)
        odd, behind = not rounds.overlap and taps > 1 and taps % 2 == 1, 2 * span * widths.step
        near = (taps - span) * widths.step if rounds.overlap else span * widths.step
        for run in range(widths.count):
            for j in range(0, widths.length, lanes):
                at, to = run * widths.pitch + j, run * widths.gap + j
                vector.prefetch(ahead + to)
                vector.prefetch(y + (to + AHEAD))
                windows = vector.load(source + at, lanes)
                if taps > 1:
                    windows = join(windows, vector.load(source + (at + near), lanes))
                if odd:
                    windows = join(windows, vector.load(line + (at + behind), lanes))
                finish(y + to, windows, divisors, to, widths.length - j)

    return compiled(shrink)
