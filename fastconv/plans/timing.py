"""Times of calls: the one timer, of measured choices, comparisons and benchmarks."""

from collections.abc import Callable
from time import perf_counter
from typing import Any

MOST_CALLS = 100_000  # of one round: enough for any median


def timed_round(call: Callable[[], Any], seconds: float) -> list[float]:
    """Seconds of each call in a round of about `seconds`: at least one, after one that warms caches and is not counted.

    A call that takes longer than the round is not repeated for warmth.
    """
    begin = perf_counter()
    call()
    first = perf_counter() - begin
    if first > seconds:
        return [first]
    times: list[float] = []
    end = perf_counter() + seconds
    now = perf_counter()
    while now < end and len(times) < MOST_CALLS:
        call()
        then, now = now, perf_counter()
        times.append(now - then)
    return times
