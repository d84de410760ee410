"""The team: who makes which parts of a call, and what becomes of parts that raise."""

import threading
import time
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv.kernels import team
from fastconv.kernels import threads as kernel_threads
from fastconv.kernels.jit import Kernel


@Kernel
def cells_by_part(begin, end, taken, slow):
    """Each item's number goes where it belongs, after so many steps."""
    for i in range(begin, end):
        value = 0.0
        for step in range(slow):
            value += np.sqrt(float(step + i))
        taken[i] = i + (value < 0.0)


@Kernel
def refusing(begin, end, y, bad):
    """y[i] = i, but for one item that raises."""
    for i in range(begin, end):
        if i == bad:
            raise MemoryError
        y[i] = i


def crew(followers: int) -> kernel_threads.Team:
    """A team of its own, with so many followers."""
    made = kernel_threads.Team()
    made.helpers(followers)
    return made


def lead(made: kernel_threads.Team, kernel: Kernel, parts: int, total: int, *arguments: Any, helpers: int | None = None) -> int:
    """How many parts raised."""
    count = len(made.followers) if helpers is None else helpers
    return kernel.region(made.address, kernel.address(arguments), parts, total, count, made.spins, *arguments)


@pytest.mark.parametrize("followers", [1, 2, 7])
@pytest.mark.parametrize("parts", [1, 2, 3, 16, 1000])
def test_every_part_is_made_once(followers: int, parts: int) -> None:
    """Whoever takes it, awake or woken; more followers than parts, and more parts than items."""
    made = crew(followers)
    try:
        for total in (1, 5, 999):
            for pause in (0, 0, 0.002):
                y = np.full(total, -1.0)
                time.sleep(pause)
                assert lead(made, cells_by_part, parts, total, y, 3) == 0
                np.testing.assert_array_equal(y, np.arange(total))
    finally:
        made.close()
    assert not any(one.is_alive() for one in made.followers)


def test_a_leader_waits_for_no_thread_that_took_nothing() -> None:
    """Followers that are never scheduled, here such as were never started: the call ends all the same, and so do the next."""
    made = crew(1)
    made.close()
    made.words[team.QUIT // 8] = 0
    for _ in range(100):
        y = np.full(500, -1.0)
        assert lead(made, cells_by_part, 8, 500, y, 3, helpers=5) == 0
        np.testing.assert_array_equal(y, np.arange(500))


def test_who_finds_the_team_at_work_works_alone() -> None:
    """A word says that somebody leads: the call is right, and the team's words stay as they are."""
    made = crew(2)
    try:
        before = made.words.copy()
        made.words[team.LED // 8] = 1
        y = np.full(500, -1.0)
        assert lead(made, cells_by_part, 8, 500, y, 3) == 0
        np.testing.assert_array_equal(y, np.arange(500))
        unchanged = [word // 8 for word in (team.LEFT, team.DONE, team.KERNEL, team.PARTS, team.TOTAL)]
        np.testing.assert_array_equal(made.words[unchanged], before[unchanged])
        assert lead(made, refusing, 8, 500, y, 77) == 1  # alone, it is one part
        made.words[team.LED // 8] = 0
    finally:
        made.close()


@pytest.mark.parametrize("bad", [0, 250, 499])
def test_a_part_that_raises_is_told(bad: int, threads: None) -> None:
    """The others are made all the same, the next call is as any, and Python raises MemoryError."""
    made = crew(2)
    try:
        for _ in range(20):
            y = np.full(500, -1.0)
            assert lead(made, refusing, 10, 500, y, bad) == 1
            others = np.arange(500) // 50 != bad // 50
            np.testing.assert_array_equal(y[others], np.arange(500)[others])
            assert lead(made, refusing, 10, 500, y, -1) == 0
            np.testing.assert_array_equal(y, np.arange(500))
    finally:
        made.close()
    fc.set_num_threads(3)
    with pytest.raises(MemoryError, match="refusing found no memory for its workspace"):
        refusing(500, 10**9, np.zeros(500), bad)


def test_a_closed_team_starts_nobody() -> None:
    """At exit calls go on, on one thread."""
    made = crew(1)
    made.close()
    assert made.helpers(3) == 0
    made.close()


def test_where_no_thread_can_be_had_calls_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No functions to nap by, or no more threads."""
    monkeypatch.setattr(team, "functions", lambda: None)
    assert crew(3).helpers(3) == 0
    monkeypatch.undo()

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert crew(3).helpers(3) == 0
