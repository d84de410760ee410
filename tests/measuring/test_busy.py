"""A busy machine is told of, and spoils no time of a call on one thread."""

import time

import numpy as np
import pytest

from fastconv.measuring import busy, demo
from fastconv.measuring.busy import Watch
from fastconv.plans import timing


def interrupted() -> None:
    """A call that works for 5 ms, and has no processor for 40."""
    end = time.process_time() + 5e-3
    while time.process_time() < end:
        pass
    time.sleep(0.04)


@pytest.mark.skipif(not timing.FINE, reason="the processor's clock is coarse here")
def test_a_call_takes_the_time_that_it_has_the_processor_for():
    """Alone and in rounds; as when another program takes eight of nine turns."""
    assert 5e-3 <= timing.timed(interrupted) < 2e-2
    times = timing.timed_round(interrupted, 0.15)
    assert 1 <= len(times) <= 5
    assert 5e-3 <= min(times) <= max(times) < 2e-2


def test_short_calls_are_timed_on_the_wall():
    times = timing.timed_round(lambda: None, 0.01)
    assert len(times) > 100
    assert 0 < np.median(times) < timing.LONG


@pytest.mark.parametrize(
    ("watch", "words"),
    [
        (Watch(), []),
        (Watch(passed=2.0, held=1.99, spreads=[1.0, 1.1, 9.0], load=12.0), []),
        (Watch(passed=2.0, held=4.0), []),
        (Watch(passed=2.0, held=1.0, load=4.25), ["50 % of the time", "load 4.2 on"]),
        (Watch(passed=2.0, held=2.0, spreads=[1.1, 1.7, 2.5]), ["rounds differ 1.7x"]),
        (Watch(passed=99.0, held=0.1, spreads=[12.0], load=100.0), ["a processor 0 %", "rounds differ 12.0x"]),
    ],
)
def test_what_is_told_of_a_machine(watch, words):
    """Others that take turns, or rounds that differ; a high load alone is no proof, nor is one row that went up and down."""
    lines = watch.told()
    assert bool(lines) == bool(words)
    assert all(word in " ".join(lines) for word in words)
    assert all(len(line) <= 80 for line in lines)


@pytest.mark.skipif(not timing.FINE, reason="the processor's clock is coarse here")
def test_a_watch_sees_what_others_took():
    watch = Watch()
    with watch.calls():
        interrupted()
    assert watch.share is not None
    assert watch.share < 0.5
    assert watch.is_busy
    assert (watch.load is None) == (busy.load_average() is None)


def test_the_demo_watches_its_loops():
    watch, side = Watch(), demo.smallest_side()
    next(demo.walk(np.random.default_rng(0).random((side, side)), watch=watch))
    assert watch.passed > 0
