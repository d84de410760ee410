"""How many threads kernels run on, and the team that they are.

The team is fastconv's own: Python threads that stay inside one compiled function, which holds no GIL (see team.py). They are
daemons, started by the first call that has work for them. Whoever finds the team at work for another call works alone, so that
callers from many Python threads never add up to more threads than they and the team are. A forked child starts a team of its
own; at exit the team ends what it has taken, and leaves, as do daemons of others: compiled code goes with the interpreter.

The split of the work changes no result: each item of a kernel is summed in an order of its own.
"""

import atexit
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numba

from fastconv.kernels import processors, team
from fastconv.problem import arguments as check
from fastconv.problem.convolutions import Array

VARIABLE = "FASTCONV_NUM_THREADS"
SPIN = 60e-6  # seconds that a thread waits awake
SAMPLE = 2_000  # pauses that are timed
PATIENCE = 5.0  # seconds that the end of the interpreter waits for calls of daemons


class Team:
    """Followers of this process, and the words that they share with who leads.

    Attributes
    ----------
    address : int
        Of the words; 0 where threads cannot nap, and there is no team.
    spins : int
        Pauses that make up SPIN.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.words: Array | None = None
        self.address = 0
        self.spins = 0
        self.followers: list[threading.Thread] = []
        self.closed = False

    def helpers(self, wanted: int) -> int:
        """The followers that there are, of so many that are wanted: they are started if need be."""
        if len(self.followers) < wanted and not self.closed:
            self.grow(wanted)
        return min(wanted, len(self.followers))

    def grow(self, wanted: int) -> None:
        """Start followers."""
        with self.lock:
            if self.words is None:
                self.found()
            while self.address and not self.closed and len(self.followers) < min(wanted, team.MOST):
                number = len(self.followers)
                arguments = (self.address, number, self.spins)
                one = threading.Thread(target=team.entries["follow"], args=arguments, name=f"fastconv-{number}", daemon=True)
                try:
                    one.start()
                except RuntimeError:  # no more threads are to be had, or the interpreter is about to end
                    self.closed = True
                    return
                self.followers.append(one)

    def found(self) -> None:
        """The words, and what is compiled: a thread that compiled would hold the others up."""
        words = team.memory()
        if words is None:
            self.closed = True
            return
        pauses, address = team.entries["pauses"], int(words.ctypes.data)
        pauses(1)
        begun = time.perf_counter()
        pauses(SAMPLE)
        each = max(1e-9, (time.perf_counter() - begun) / SAMPLE)
        words[team.QUIT // 8] = 1
        team.entries["follow"](address, 0, 0)  # returns at once
        words[team.QUIT // 8] = 0
        self.words, self.spins, self.address = words, max(1, int(SPIN / each)), address

    def close(self) -> None:
        """Let every follower end its part and return."""
        with self.lock:
            self.closed = True
            if self.followers:
                team.entries["dismiss"](self.address, len(self.followers))
            for one in self.followers:
                one.join()
            self.followers.clear()


class Visits:
    """The Python threads that are inside of a long call of compiled code, and whether they may still enter it.

    With the interpreter goes what it compiled: a daemon that ran it, or that left it to find the interpreter gone, could end
    the process by a signal.
    """

    def __init__(self) -> None:
        self.inside: set[int] = set()
        self.over = False

    def begin(self) -> None:
        """This thread enters."""
        me = threading.get_ident()
        self.inside.add(me)
        if self.over and me != threading.main_thread().ident:
            self.inside.discard(me)
            threading.Event().wait()  # until the process ends

    def leave(self) -> None:
        """This thread is out again."""
        self.inside.discard(threading.get_ident())

    def end(self) -> None:
        """Let nobody else enter, and wait for those inside."""
        self.over = True
        until = time.monotonic() + PATIENCE
        while self.inside - {threading.get_ident()} and time.monotonic() < until:
            time.sleep(0.001)


class _Own(threading.local):
    """What one Python thread's calls may use, where that is not what all may."""

    count: int | None = None


class _State:
    """This process's threads."""

    count: int | None = None
    team = Team()
    visits = Visits()


_state = _State()
_own = _Own()


def available() -> int:
    """Threads that this process may use: FASTCONV_NUM_THREADS, else as many as run at once without sharing a core."""
    told = os.environ.get(VARIABLE, "").strip()
    if not told:
        return processors.available()
    if not told.isdigit() or int(told) < 1:
        raise ValueError(f"{VARIABLE} must be an integer of at least 1, got {told!r}")
    return check.integer(VARIABLE, int(told), 1)


def count() -> int:
    """The number of threads that a call may use."""
    if _own.count is not None:
        return _own.count
    if _state.count is None:
        _state.count = available()
    return _state.count


def set_count(n: int) -> None:
    """Let calls from any Python thread use `n` threads from now on."""
    _state.count = n


@contextmanager
def at_most(n: int) -> Iterator[None]:
    """Let calls from this Python thread use `n` threads for the time of a with block, whatever others may."""
    before, _own.count = _own.count, n
    try:
        yield
    finally:
        _own.count = before


def crew(wanted: int) -> tuple[int, int, int]:
    """(the team's words, the followers that may help, their pauses) for a call on so many threads."""
    helpers = _state.team.helpers(wanted - 1) if wanted > 1 else 0
    return (_state.team.address, helpers, _state.team.spins) if helpers else (0, 0, 0)


def run_parts(kernel: Any, threads: int, parts: int, total: int, arguments: tuple[Any, ...]) -> None:
    """kernel.serial(begin, end, *arguments) for `parts` equal parts of range(total), on so many threads at most."""
    visits().begin()
    try:
        address, helpers, spins = crew(threads)
        if helpers < 1:
            kernel.serial(0, total, *arguments)
        elif kernel.region(address, kernel.address(arguments), parts, total, helpers, spins, *arguments):
            raise MemoryError(f"{kernel.__name__} found no memory for its workspace")
    finally:
        visits().leave()


def visits() -> Visits:
    """Who is inside of a long call."""
    return _state.visits


def _after_fork() -> None:
    """A child has none of its parent's threads, and locks that they held stay held."""
    _state.team, _state.visits = Team(), Visits()
    compiler_lock = numba.core.compiler_lock.global_compiler_lock
    if hasattr(compiler_lock, "_lock"):
        compiler_lock._lock = threading.RLock()


def _at_exit() -> None:
    """Compiled code goes with the interpreter: nobody may be inside."""
    _state.team.close()
    _state.visits.end()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
