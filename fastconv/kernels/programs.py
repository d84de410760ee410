"""Calls of kernels that are made again and again on the same arrays: laid down in memory once, then made without Python.

calls -> rows of one table -> run(): one compiled loop over them

A call from Python takes two microseconds where all that it reads is in the caches, and ten between kernels that fill them: its
sizes are spread over a hundred objects. Laid down they take a few lines.

    ADAPTER, ARGUMENTS, KERNEL          of a row: the kernel and what it is called with, by address
    TOTAL, MOST                         items, and the threads that pay at most
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels import threads
from fastconv.kernels.compiling.functions import compiled, entry
from fastconv.kernels.jit import LONG, Call, most_threads, parts_of
from fastconv.kernels.memory import aligned
from fastconv.kernels.simd.vector.atomics import adapter_failed, laid_at, loaded, room_of
from fastconv.kernels.team import ALONE, lead
from fastconv.problem.convolutions import Array

WORDS = tuple(range(0, 40, 8))
ADAPTER, ARGUMENTS, KERNEL, TOTAL, MOST = WORDS  # bytes from the beginning of a row
ROW = 8 * len(WORDS)
BYTE = np.dtype(np.uint8)

parts_for = compiled(parts_of)


@lru_cache(maxsize=64)
def lay_of(count: int) -> Any:
    """The compiled lay(where, *arguments): it lays them down and gives their adapter; for no address, the room they take."""
    names = ", ".join(f"argument{i}" for i in range(count))
    source = f"""
def lay(where, {names}):
    arguments = ({names},)
    return room_of(arguments) if where == 0 else laid_at(where, arguments)
"""
    scope = {"room_of": room_of, "laid_at": laid_at, "__name__": __name__}
    exec(source, scope)
    return entry(scope["lay"], f"lay of {count} arguments")


@compiled
def row_failed(row, most, team, helpers, spins):
    """Whether the kernel of a row raised, on so many threads at most."""
    adapter, arguments, kernel = loaded(row + ADAPTER), loaded(row + ARGUMENTS), loaded(row + KERNEL)
    total, several = loaded(row + TOTAL), min(most, loaded(row + MOST))
    if helpers > 0 and several > 1:
        parts = several * parts_for(total, several)
        failures = lead(team, (arguments, adapter), kernel, parts, total, min(helpers, several - 1), spins)
        if failures != ALONE:
            return failures > 0
    return adapter_failed(adapter, arguments, kernel, 0, total) > 0


def run_rows(table, rows, most, team, helpers, spins):
    """Make the calls of a table, one after the other: the number of the one that raised, from 1 on, or 0."""
    for i in range(rows):
        if row_failed(table + i * ROW, most, team, helpers, spins):
            return i + 1
    return 0


compiled_run = entry(run_rows, "run of a program")


class Row(NamedTuple):
    """A call that is laid down.

    Attributes
    ----------
    words : tuple of int
        Its row of the table.
    most : int
        Threads that pay at most.
    call, room : Call, array
        What must stay alive: its arrays, and where its arguments lie.
    """

    words: tuple[int, ...]
    most: int
    call: Call
    room: Array


def laid(call: Call) -> Row:
    """A call whose arguments lie in memory, its kernel compiled."""
    lay = lay_of(len(call.arguments))
    room = aligned(lay(0, *call.arguments), BYTE)
    adapter = lay(room.ctypes.data, *call.arguments)
    kernel, most = call.kernel.address(call.arguments), most_threads(call.items, call.work)
    return Row((adapter, room.ctypes.data, kernel, call.items, most), most, call, room)


class Program:
    """Calls that are made in order, on arrays that stay where they are. No two threads may run it at once.

    Parameters
    ----------
    rows : iterable of Row
        Of calls that are laid down.
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows = tuple(rows)
        self.table = np.array([row.words for row in self.rows], np.int64)
        self.address, self.most = int(self.table.ctypes.data), max(row.most for row in self.rows)
        self.is_long = sum(row.call.work for row in self.rows) >= LONG

    def run(self) -> None:
        """Make the calls, on as many threads as calls may use now."""
        wanted = min(threads.count(), self.most)
        if wanted > 1 or self.is_long:
            threads.visits().begin()
            try:
                failed = compiled_run(self.address, len(self.rows), wanted, *threads.crew(wanted))
            finally:
                threads.visits().leave()
        else:
            failed = compiled_run(self.address, len(self.rows), 1, *threads.crew(1))
        if failed:
            raise MemoryError(f"{self.rows[failed - 1].call.kernel.__name__} found no memory for its workspace")


def program(calls: Iterable[Call]) -> Program:
    """The program of calls."""
    return Program(map(laid, calls))


def joined(programs: Iterable[Program]) -> Program:
    """The programs one after the other, as one."""
    return Program(row for one in programs for row in one.rows)
