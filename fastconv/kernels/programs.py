"""Calls of kernels that are made again and again on the same arrays: laid down in memory once, then made without Python.

calls -> rows of one table -> run(): one compiled loop over them

A call from Python takes two microseconds where all that it reads is in the caches, and ten between kernels that fill them: its
sizes are spread over a hundred objects. Laid down they take a few lines.

    a row: adapter of the arguments, the arguments, the kernel, items, the most threads that pay
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels import threads
from fastconv.kernels.compiling import compiled, entry
from fastconv.kernels.jit import ITEMS, PARTS, Call, most_threads
from fastconv.kernels.memory import aligned
from fastconv.kernels.simd.vector.atomics import adapter_failed, laid_at, loaded, room_of
from fastconv.kernels.team import ALONE, lead
from fastconv.problem.convolutions import Array

COLUMNS = 5
BYTE = np.dtype(np.uint8)


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
    adapter, arguments, kernel, total = loaded(row), loaded(row + 8), loaded(row + 16), loaded(row + 24)
    several = min(most, loaded(row + 32))
    if helpers > 0 and several > 1:
        parts = several * max(1, min(PARTS, total // (ITEMS * several)))
        failures = lead(team, (arguments, adapter), kernel, parts, total, min(helpers, several - 1), spins)
        if failures != ALONE:
            return failures > 0
    return adapter_failed(adapter, arguments, kernel, 0, total) > 0


def run_rows(table, rows, most, team, helpers, spins):
    """Make the calls of a table, one after the other: the number of the one that raised, from 1 on, or 0."""
    for i in range(rows):
        if row_failed(table + i * 8 * COLUMNS, most, team, helpers, spins):
            return i + 1
    return 0


compiled_run = entry(run_rows, "run of a program")


class Row(NamedTuple):
    """A call that is laid down: its row of the table, and what must stay alive for it."""

    numbers: tuple[int, ...]
    call: Call
    room: Array


def laid(call: Call) -> Row:
    """A call whose arguments lie in memory, its kernel compiled."""
    lay = lay_of(len(call.arguments))
    room = aligned(lay(0, *call.arguments), BYTE)
    adapter = lay(room.ctypes.data, *call.arguments)
    kernel = call.kernel.address(call.arguments)
    return Row((adapter, room.ctypes.data, kernel, call.items, most_threads(call.items, call.work)), call, room)


class Program:
    """Calls that are made in order, on arrays that stay where they are. No two threads may run it at once.

    Parameters
    ----------
    rows : iterable of Row
        Of calls that are laid down.
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows = tuple(rows)
        self.table = np.array([row.numbers for row in self.rows], np.int64)
        self.address, self.most = int(self.table.ctypes.data), int(self.table[:, -1].max())

    def run(self) -> None:
        """Make the calls, on as many threads as calls may use now."""
        wanted = min(threads.count(), self.most)
        failed = compiled_run(self.address, len(self.rows), wanted, *threads.crew(wanted))
        if failed:
            raise MemoryError(f"{self.rows[failed - 1].call.kernel.__name__} found no memory for its workspace")


def program(calls: Iterable[Call]) -> Program:
    """The program of calls."""
    return Program(map(laid, calls))


def joined(programs: Iterable[Program]) -> Program:
    """The programs one after the other, as one."""
    return Program(row for one in programs for row in one.rows)
