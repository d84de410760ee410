"""Selection networks for windows: minima and maxima that leave the cell of one rank, and what neighbours share of them.

    sorted columns     [v]      the cells under one column of windows, which all windows that hold the column share
    merged columns     [2 v]    of two neighbours, then of four, ...: shared by all windows that hold them
    core               [n']     of the rows that `tall` windows below each other share
    result             [1]      the cell of the rank among the core and the rows that one window has alone

A list of m cells keeps only those that can have rank r among all n: cell i has i cells before it and m - 1 - i behind, so that
r - n + m <= i <= r (Adams, Fast median filters using separable sorting networks, 2021; the merges are Batcher's odd-even ones,
for lists of any two lengths: Knuth, The Art of Computer Programming 3, 5.3.4). Nothing is computed that no result needs.

A value holds at every cell of a row, and `moved` is the same value so many cells further. Sorting happens on vectors of cells.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from math import prod
from typing import NamedTuple

Columns = tuple[tuple[int, ...], ...]  # of a footprint: of each place in a row, the lines under it, in order

CELL, MOVED, LEAST, MOST = "cell", "moved", "min", "max"
CHAIN_LIMIT = 600  # cells of a window: the ways to merge larger ones are not compared


class Value(NamedTuple):
    """What is known at each cell: a cell itself, of a line under the window and so many cells further, or made of two values.

    Attributes
    ----------
    kind : str
    a, b : int
        Line and cells further; the value that is moved and cells; or the two values compared.
    """

    kind: str
    a: int
    b: int


class Run(NamedTuple):
    """A sorted list of cells, without `low` ones that are too small and `high` that are too large to have the rank."""

    values: tuple[int, ...]
    low: int = 0
    high: int = 0

    @property
    def cells(self) -> int:
        """With those that were dropped."""
        return self.low + len(self.values) + self.high


class Network:
    """Values by number, each made once; a network for rank `rank` among `cells`."""

    def __init__(self, cells: int, rank: int) -> None:
        self.cells, self.rank = cells, rank
        self.values: list[Value] = []
        self.numbers: dict[Value, int] = {}

    def value(self, kind: str, a: int, b: int) -> int:
        """The number of a value."""
        one = Value(kind, a, b) if kind in (CELL, MOVED) or a <= b else Value(kind, b, a)
        found = self.numbers.get(one)
        if found is None:
            found = self.numbers[one] = len(self.values)
            self.values.append(one)
        return found

    def moved(self, run: Run, columns: int) -> Run:
        """A list so many cells further."""
        return run._replace(values=tuple(self.moved_value(v, columns) for v in run.values)) if columns else run

    def moved_value(self, number: int, columns: int) -> int:
        """A value so many cells further: a cell is read there."""
        one = self.values[number]
        return self.value(one.kind, one.a, one.b + columns) if one.kind in (CELL, MOVED) else self.value(MOVED, number, columns)

    def ordered(self, a: int, b: int) -> tuple[int, int]:
        """Two values, the smaller first."""
        return (a, a) if a == b else (self.value(LEAST, a, b), self.value(MOST, a, b))

    def merged(self, a: Sequence[int], b: Sequence[int]) -> list[int]:
        """Two sorted lists as one: those of even places, those of odd ones, and their neighbours put in order."""
        if not a or not b:
            return list(a or b)
        if len(a) == len(b) == 1:
            return list(self.ordered(a[0], b[0]))
        even, odd = self.merged(a[::2], b[::2]), self.merged(a[1::2], b[1::2])
        found = even[:1]
        for i, one in enumerate(odd):
            found += self.ordered(one, even[i + 1]) if i + 1 < len(even) else [one]
        return found + even[len(odd) + 1 :]

    def kept(self, values: Sequence[int], low: int = 0, high: int = 0) -> Run:
        """A sorted list without those that cannot have the rank."""
        first = max(0, len(values) - (self.cells - high - self.rank))
        last = min(len(values), self.rank - low + 1)
        return Run(tuple(values[first:last]), low + first, high + len(values) - last)

    def joined(self, a: Run, b: Run) -> Run:
        """Two lists as one."""
        return self.kept(self.merged(a.values, b.values), a.low + b.low, a.high + b.high)

    def sorted(self, values: Sequence[int]) -> Run:
        """Values as a sorted list."""
        if len(values) < 2:
            return self.kept(values)
        half = (len(values) + 1) // 2
        return self.joined(self.sorted(values[:half]), self.sorted(values[half:]))

    def arranged(self, values: Sequence[int]) -> list[int]:
        """All of the values as a sorted list."""
        half = (len(values) + 1) // 2
        return list(values) if len(values) < 2 else self.merged(self.arranged(values[:half]), self.arranged(values[half:]))

    def selected(self, a: Run, b: Run) -> int:
        """The value of the rank among two lists that hold all cells: rank k is the least over i of max(a[i - 1], b[k - i])."""
        k, terms = self.rank - a.low - b.low, []
        for i in range(max(0, k + 1 - len(b.values)), min(len(a.values), k + 1) + 1):
            pair = [*a.values[i - 1 : i], *([b.values[k - i]] if i <= k else [])] if i else [b.values[k]]
            terms.append(pair[0] if len(pair) == 1 else self.value(MOST, *pair))
        return self.least(terms)

    def least(self, values: Sequence[int]) -> int:
        """The smallest of values."""
        while len(values) > 1:
            pairs = [self.value(LEAST, a, b) for a, b in zip(values[::2], values[1::2], strict=False)]
            values = [*pairs, *values[len(values) // 2 * 2 :]]
        return values[0]


class Way(NamedTuple):
    """How a network is made.

    Attributes
    ----------
    halves : bool
        Whether columns are merged by halves of their number, or by powers of two.
    grid : bool
        Whether rows of sorted columns are sorted: of cell (i, j), those above and before are smaller.
    tall : int
        Windows below each other that share a core: one or two.
    """

    halves: bool
    grid: bool
    tall: int


class Program(NamedTuple):
    """A network without what no result needs.

    Attributes
    ----------
    values : tuple of Value
        Each after those that it is made of.
    results : tuple of int
        The value of the rank of each of `tall` windows.
    """

    values: tuple[Value, ...]
    results: tuple[int, ...]

    @property
    def comparisons(self) -> int:
        """Minima and maxima for each result."""
        return sum(one.kind in (LEAST, MOST) for one in self.values) // len(self.results)


def columns_of(network: Network, lines: Sequence[int], count: int, halves: bool, known: dict[int, Run]) -> Run:
    """The cells under `count` neighbouring columns of the same lines, sorted; `known` holds those of fewer."""
    if count not in known:
        if count == 1:
            known[1] = network.sorted([network.value(CELL, line, 0) for line in lines])
        else:
            first = (count // 2 if count % 2 == 0 else count - 1) if halves else 1 << ((count - 1).bit_length() - 1)
            a = columns_of(network, lines, first, halves, known)
            b = columns_of(network, lines, count - first, halves, known)
            known[count] = network.joined(a, network.moved(b, first))
    return known[count]


def all_in_one(network: Network, runs: Sequence[Run]) -> int:
    """The value of the rank among lists that hold all cells: the shortest two are merged until there are two."""
    runs = sorted(runs, key=lambda run: len(run.values))
    while len(runs) > 2:
        runs = sorted([*runs[2:], network.joined(*runs[:2])], key=lambda run: len(run.values))
    return network.selected(runs[0], runs[1] if len(runs) > 1 else Run(()))


def of_box(network: Network, outer: int, h: int, w: int, way: Way) -> list[int]:
    """The results of windows of `outer` planes, `h` rows and `w` columns; line (q, t) has number q (h + tall - 1) + t."""
    reach = h + way.tall - 1
    if way.grid:
        return [of_grid(network, outer, h, w, first, reach) for first in range(way.tall)]
    core = [q * reach + t for q in range(outer) for t in range(way.tall - 1, h)]
    if way.tall == 1:
        return [last_columns(network, core, w, way.halves)]
    shared = columns_of(network, core, w, way.halves, {})
    found = []
    for row in (0, h):
        own = columns_of(network, [q * reach + row for q in range(outer)], w, way.halves, {})
        found.append(network.selected(shared, own))
    return found


def last_columns(network: Network, lines: Sequence[int], w: int, halves: bool) -> int:
    """The result of windows of w columns of the same lines: the last merge only selects."""
    if w == 1:
        half = (len(lines) + 1) // 2
        values = [network.value(CELL, line, 0) for line in lines]
        return network.selected(network.sorted(values[:half]), network.sorted(values[half:]))
    known: dict[int, Run] = {}
    first = (w // 2 if w % 2 == 0 else w - 1) if halves else 1 << ((w - 1).bit_length() - 1)
    a = columns_of(network, lines, first, halves, known)
    return network.selected(a, network.moved(columns_of(network, lines, w - first, halves, known), first))


def of_grid(network: Network, outer: int, h: int, w: int, first: int, reach: int) -> int:
    """The result of windows by rows of sorted columns: cell (i, j) has (i + 1) (j + 1) - 1 smaller ones, or more."""
    shared = network.arranged([network.value(CELL, q * reach + t, 0) for q in range(outer) for t in range(1, h)])
    own = network.arranged([network.value(CELL, q * reach + first * h, 0) for q in range(outer)])
    if reach == h:
        own = network.arranged([network.value(CELL, q * reach, 0) for q in range(outer)])
    column = network.merged(shared, own)
    height, rows = outer * h, []
    for i in range(height):
        row = network.arranged([network.moved_value(column[i], s) for s in range(w)])
        low = [j for j in range(w) if (height - i) * (w - j) > network.cells - network.rank]
        high = [j for j in range(w) if (i + 1) * (j + 1) > network.rank + 1]
        rows.append(Run(tuple(row[j] for j in range(w) if j not in low and j not in high), len(low), len(high)))
    drops = Run((), sum(run.low for run in rows), sum(run.high for run in rows))
    alive = [Run(run.values) for run in rows if run.values]
    inner = Network(network.cells - drops.low - drops.high, network.rank - drops.low)
    inner.values, inner.numbers = network.values, network.numbers
    return all_in_one(inner, alive)


def of_footprint(network: Network, columns: Columns) -> list[int]:
    """The result of windows of columns of any lines: neighbours of the same lines are merged first."""
    runs, place = [], 0
    known: dict[tuple[int, ...], dict[int, Run]] = {}
    for lines, group in groupby(columns):
        count = len(list(group))
        if lines:
            run = columns_of(network, lines, count, False, known.setdefault(lines, {}))
            runs.append(network.moved(run, place))
        place += count
    return [all_in_one(network, runs)]


def pruned(network: Network, results: Sequence[int]) -> Program:
    """A network without what no result needs."""
    needed, waiting = set(), list(results)
    while waiting:
        number = waiting.pop()
        if number not in needed:
            needed.add(number)
            one = network.values[number]
            waiting += [] if one.kind == CELL else [one.a] if one.kind == MOVED else [one.a, one.b]
    order = sorted(needed)
    renamed = {number: place for place, number in enumerate(order)}
    values = []
    for number in order:
        kind, a, b = network.values[number]
        values.append(Value(kind, a if kind == CELL else renamed[a], b if kind in (CELL, MOVED) else renamed[b]))
    return Program(tuple(values), tuple(renamed[number] for number in results))


def flattened(program: Program) -> Program:
    """The same in which nothing is stored: what neighbours share is made for each of them, of cells further along the row."""
    network = Network(0, 0)

    def made(number: int, columns: int) -> int:
        kind, a, b = program.values[number]
        if kind == CELL:
            return network.value(CELL, a, b + columns)
        if kind == MOVED:
            return made(a, columns + b)
        return network.value(kind, made(a, columns), made(b, columns))

    return pruned(network, [made(number, 0) for number in program.results])


def ways(outer: int, h: int, w: int) -> Iterator[Way]:
    """The ways to make the network of a box."""
    small = outer * h * w <= CHAIN_LIMIT
    for tall in (2,) if h > 1 else (1,):
        yield Way(False, False, tall)
        if small and w > 2:
            yield Way(True, False, tall)
    if small and h > 1 and w > 1:
        yield Way(False, True, 2)


@lru_cache(maxsize=64)
def box_program(outer: int, h: int, w: int, rank: int) -> Program:
    """The program of fewest comparisons for windows of a box: of two windows below each other where they share rows."""
    found = []
    for way in ways(outer, h, w):
        network = Network(outer * h * w, rank)
        found.append(pruned(network, of_box(network, outer, h, w, way)))
    return min(found, key=lambda program: program.comparisons)


@lru_cache(maxsize=64)
def footprint_program(columns: Columns, rank: int) -> Program:
    """The program for windows of any cells."""
    network = Network(sum(map(len, columns)), rank)
    return pruned(network, of_footprint(network, columns))


def columns_under(taps: Sequence[int], footprint: Sequence[bool]) -> Columns:
    """The columns of a footprint over (planes, rows, cells of a row): taps that are not in a row are its lines."""
    w = taps[-1]
    lines = prod(taps[:-1])
    return tuple(tuple(line for line in range(lines) if footprint[line * w + s]) for s in range(w))
