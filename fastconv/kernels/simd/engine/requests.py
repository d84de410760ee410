"""What a kernel asks for before it reads or writes it: rows of planes, ahead of a tile.

A processor sees a stream by itself where it goes on within a page; a tile of several rows reads, and writes, as many at once,
each for a vector or two. What comes next is asked for then, into the L2 cache: of large planes always, and where that cache is
far from holding what a call reads and writes of small ones too, which follow each other, and of results.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from fastconv.kernels.jit import compiled, inlined
from fastconv.kernels.memory import LINE
from fastconv.kernels.simd import vector
from fastconv.machine import Machine
from fastconv.problem.problem import Problem

AHEAD = 8  # rows of a plane, or more, that are asked for before they are read
PLANE = 128  # times the bytes of a plane, or less, that the L2 cache has where the plane is worth that
AFAR = 5  # times the L2 cache, or more, that results take which dense layers ask for
WAITED = 8  # times the L2 cache, or more, that a call moves which asks for small planes and results
CELLS, RESULTS = 32, 16  # rows of cells and of results that are asked for where memory is waited for


def are_afar(results: int, machine: Machine) -> bool:
    """Whether results of so many bytes are waited for as they are written, in rows that lie apart, and so are asked for."""
    return results >= AFAR * machine.l2 and not machine.is_meshed


def are_waited_for(moved: int, machine: Machine) -> bool:
    """Whether rows read and written by turns are waited for, where a call moves so many bytes, and so are asked for."""
    return machine.asks(moved) or (moved >= WAITED * machine.l2 and not machine.is_meshed)


class Rows(NamedTuple):
    """Rows ahead of those that are read, and written, that are asked for; or 0."""

    cells: int
    results: int


def rows_ahead(reach: int, plane: int, moved: int, machine: Machine) -> Rows:
    """What tiles ask for that read `reach` rows, of planes of some bytes and a call that moves so many."""
    asks = are_waited_for(moved, machine)
    if PLANE * plane < machine.l2 and not asks:
        return Rows(0, 0)
    return Rows(max(AHEAD, reach) if machine.is_meshed else CELLS, RESULTS if asks else 0)


class Lines(NamedTuple):
    """Elements of a cache line of the array that is read and of the result, where those that come next are asked for; or 0."""

    of_x: int
    of_y: int


def lines_of(problem: Problem, machine: Machine, *, soon: bool = False) -> Lines:
    """What a filter asks for: `soon` where it has enough to do meanwhile."""
    stored, result = problem.types.stored.itemsize, problem.types.result.itemsize
    moved = problem.geometry.bytes(stored, result)
    asks = are_waited_for(moved, machine) if soon else machine.asks(moved)
    return Lines(LINE // stored, LINE // result) if asks else Lines(0, 0)


@compiled
def ask_lines(p, count, of_line):
    """`count` elements from p on come into the L2 cache; there are `of_line` in a line."""
    for e in range(0, count, of_line):
        vector.prefetch(p + e)


@lru_cache(maxsize=256)
def asker(rows: int, parts: int, lanes: int) -> Any:
    """The compiled request that `parts` vectors of each of `rows` rows come into the L2 cache."""

    def ask(at, step):
        for row in range(rows):
            for part in range(parts):
                vector.prefetch(at + (row * step + part * lanes))

    return inlined(ask)
