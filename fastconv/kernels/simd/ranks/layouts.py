"""Where the values of a selection network lie, and in which order they are made: levels, each over a whole row of cells.

A value that is needed further along the row is stored in a row of its own, and what moves it belongs to a later level. All
else lives for one vector. `tables` lists the operations for a kernel that reads them, `texts` for code that is made of them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fastconv.kernels.simd.ranks.networks import CELL, LEAST, MOST, MOVED, Program
from fastconv.problem.convolutions import Array

LINES, ROWS, LOCAL = range(3)  # where a value lies: among the cells, in a row of its own, in a place for one strip
BOTH, LOW, HIGH = range(3)  # what an operation makes of two values
PLACE_BITS = 2


class Place(NamedTuple):
    """Where a value is read or written: which kind of memory, its row there, and cells further."""

    kind: int
    row: int
    columns: int = 0


NOWHERE = Place(LOCAL, 0)


class Operation(NamedTuple):
    """The smaller and the larger of two values, or one of them."""

    kind: int
    a: Place
    b: Place
    low: Place
    high: Place


class Level(NamedTuple):
    """Operations in order, and how many cells behind the outputs they are needed at."""

    operations: tuple[Operation, ...]
    reach: int


class Layout(NamedTuple):
    """A network as levels.

    Attributes
    ----------
    levels : tuple of Level
    rows, places : int
        Rows for values that are stored, and places for a strip.
    results : tuple of int
        Rows of the results.
    """

    levels: tuple[Level, ...]
    rows: int
    places: int
    results: tuple[int, ...]


class Uses(NamedTuple):
    """Of each value: its level, the level that needs it last, cells behind the outputs at which it is needed, if stored."""

    level: list[int]
    last: list[int]
    reach: list[int]
    stored: list[bool]


def uses_of(program: Program) -> Uses:
    """What is made of each value."""
    values = program.values
    level = [0] * len(values)
    for i, (kind, a, b) in enumerate(values):
        level[i] = 0 if kind == CELL else level[a] + 1 if kind == MOVED else max(level[a], level[b])
    end = max(level) + 1
    last, reach, stored = list(level), [0] * len(values), [False] * len(values)
    for i in program.results:
        last[i], stored[i] = end, True
    for i in range(len(values) - 1, -1, -1):
        kind, a, b = values[i]
        if kind == MOVED:
            reach[a], stored[a], last[a] = max(reach[a], reach[i] + b), True, max(last[a], last[i])
        elif kind != CELL:
            for one in (a, b):
                reach[one] = max(reach[one], reach[i])
                last[one] = max(last[one], level[i])
                stored[one] |= level[one] < level[i] and values[one].kind in (LEAST, MOST)
    return Uses(level, last, reach, stored)


class Pool:
    """Rows or places, the one that was freed last first."""

    def __init__(self) -> None:
        self.free: list[int] = []
        self.count = 0

    def take(self) -> int:
        """One that is free."""
        if self.free:
            return self.free.pop()
        self.count += 1
        return self.count - 1


def laid_out(program: Program) -> Layout:
    """The levels of a network."""
    values, uses = program.values, uses_of(program)
    pairs: dict[tuple[int, int], list[int]] = {}
    for i, (kind, a, b) in enumerate(values):
        if kind in (LEAST, MOST):
            pairs.setdefault((a, b), []).append(i)
    of_level: list[list[list[int]]] = [[] for _ in range(max(uses.level) + 1)]
    for made in pairs.values():
        of_level[uses.level[made[0]]].append(made)
    at = stored_rows(program, uses)
    rows, places, levels = 1 + max(at.values()), Pool(), []
    for number, operations in enumerate(of_level):
        waiting: dict[int, int] = {}
        for made in operations:
            for one in values[made[0]][1:]:
                waiting[one] = waiting.get(one, 0) + 1
        done, reach = [], 0
        for made in in_runs(program, uses, number, operations):
            _, a, b = values[made[0]]
            reach = max(reach, *(uses.reach[i] for i in made))
            read = [place_of(program, uses, at, one) for one in (a, b)]
            for one in (a, b):
                waiting[one] -= 1
                if not waiting[one] and values[one].kind in (LEAST, MOST) and not uses.stored[one]:
                    places.free.append(at[one])
            written = [NOWHERE, NOWHERE]
            for i in made:
                if not uses.stored[i]:
                    at[i] = places.take()
                written[values[i].kind == MOST] = Place(ROWS if uses.stored[i] else LOCAL, at[i])
            asked = BOTH if len(made) == 2 else HIGH if values[made[0]].kind == MOST else LOW
            done.append(Operation(asked, *read, *written))
        levels.append(Level(tuple(done), reach))
    return Layout(tuple(levels), rows, places.count, tuple(at[i] for i in program.results))


def place_of(program: Program, uses: Uses, at: dict[int, int], number: int) -> Place:
    """Where a value is read."""
    kind, a, b = program.values[number]
    if kind == CELL:
        return Place(LINES, a, b)
    if kind == MOVED:
        return Place(ROWS, at[a], b)
    return Place(ROWS if uses.stored[number] else LOCAL, at[number])


def in_runs(program: Program, uses: Uses, level: int, operations: Sequence[list[int]]) -> list[list[int]]:
    """The operations of a level in an order that makes each value before it is used, with few changes of their kind."""
    values = program.values
    maker = {i: k for k, made in enumerate(operations) for i in made}
    blocked, blocks = [0] * len(operations), [[] for _ in operations]  # type: tuple[list[int], list[list[int]]]
    for k, made in enumerate(operations):
        for one in values[made[0]][1:]:
            if one in maker:
                blocked[k] += 1
                blocks[maker[one]].append(k)
    kinds = [2 if len(made) == 2 else int(values[made[0]].kind == MOST) for made in operations]
    ready: list[list[int]] = [[], [], []]
    for k in range(len(operations) - 1, -1, -1):
        if not blocked[k]:
            ready[kinds[k]].append(k)
    found, kind = [], 2
    while any(ready):
        if not ready[kind]:
            kind = max(range(3), key=lambda one: len(ready[one]))
        k = ready[kind].pop()
        found.append(operations[k])
        for other in reversed(blocks[k]):
            blocked[other] -= 1
            if not blocked[other]:
                ready[kinds[other]].append(other)
    return found


class Spans(NamedTuple):
    """Elements from one line, row or place to the next, and of one cell; `rows_under` lines belong to a plane of `under`."""

    plane: int
    line: int
    row: int
    place: int
    cell: int
    lines: int


class Tables(NamedTuple):
    """Operations for a kernel that reads them.

    Attributes
    ----------
    operations : array of int32 [operations, 4]
        Of a, b, the smaller and the larger: elements behind the first of its kind of memory, times 4, and that kind.
    runs : array of int64 [runs, 2]
        Operations of one kind that follow each other: the kind, and where they end.
    levels : array of int64 [levels, 2]
        Where the runs of a level end, and how many elements behind the outputs it is needed at.
    """

    operations: Array
    runs: Array
    levels: Array


def tables(layout: Layout, spans: Spans) -> Tables:
    """A layout for memory of certain spans."""

    def code(place: Place) -> int:
        if place.kind == LINES:
            plane, line = divmod(place.row, spans.lines)
            offset = plane * spans.plane + line * spans.line
        else:
            offset = place.row * (spans.row if place.kind == ROWS else spans.place)
        return (offset + place.columns * spans.cell) << PLACE_BITS | place.kind

    operations: list[list[int]] = []
    runs: list[list[int]] = []
    levels: list[list[int]] = []
    for level in layout.levels:
        first = len(runs)
        for one in level.operations:
            if len(runs) == first or runs[-1][0] != one.kind:
                runs.append([one.kind, 0])
            operations.append([code(place) for place in one[1:]])
            runs[-1][1] = len(operations)
        levels.append([len(runs), level.reach * spans.cell])
    return Tables(np.array(operations, np.int32), np.array(runs, np.int64), np.array(levels, np.int64))


def texts(program: Program, lines: int, width: int) -> list[tuple[int, str]]:
    """(reach, operations as vector.network reads them) of each level, in the order in which the program names them."""
    values, uses = program.values, uses_of(program)
    rows, found = stored_rows(program, uses), []
    for level in range(max(uses.level) + 1):
        tokens: list[str] = []
        known: dict[int, int] = {}
        reach = 0

        def register(number: int, tokens: list[str] = tokens, known: dict[int, int] = known) -> int:
            if number not in known:
                kind, a, b = values[number]
                if kind == CELL:
                    tokens.append("c{}.{}.{}".format(*divmod(a, lines), b))
                elif kind == MOVED:
                    tokens.append(f"r{rows[a] * width}.{b}")
                else:
                    tokens.append(f"r{rows[number] * width}.0")
                known[number] = len(known)
            return known[number]

        for number, (kind, a, b) in enumerate(values):
            if kind in (LEAST, MOST) and uses.level[number] == level:
                reach = max(reach, uses.reach[number])
                tokens.append("{}{}.{}".format("<" if kind == LEAST else ">", register(a), register(b)))
                known[number] = len(known)
                tokens += [f"o{known[number]}.{k}" for k, result in enumerate(program.results) if result == number]
                if uses.stored[number] and number not in program.results:
                    tokens.append(f"={known[number]}.{rows[number] * width}")
        found.append((reach, " ".join(tokens)))
    return found


def stored_rows(program: Program, uses: Uses) -> dict[int, int]:
    """The row of each value that is stored: one is free again after the level that needs its value last."""
    pool, found = Pool(), {}  # type: tuple[Pool, dict[int, int]]
    until: dict[int, list[int]] = {}
    for level in range(max(uses.level) + 1):
        for one in until.pop(level - 1, []):
            pool.free.append(found[one])
        for number, value in enumerate(program.values):
            if value.kind in (LEAST, MOST) and uses.stored[number] and uses.level[number] == level:
                found[number] = pool.take()
                until.setdefault(uses.last[number], []).append(number)
    return found
