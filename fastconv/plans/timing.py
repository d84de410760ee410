"""Times of calls: the one timer, of measured choices, comparisons and benchmarks.

A call of one thread takes the time that it has the processor for: where other programs take turns with it, the clock on the
wall says more. Of a call that is spread over threads, and of short ones, which are rarely interrupted, the wall's time is the
time.
"""

import os
from collections.abc import Callable
from time import perf_counter, process_time
from typing import Any

MOST_CALLS = 100_000  # of one round: enough for any median
LONG = 50e-6  # seconds of a call that is worth a look at the processor's clock, which takes one or two of a millionth
FINE = os.name == "posix"  # the processor's clock counts by the nanosecond; Windows' does by 1/64 s


def timed(call: Callable[[], Any]) -> float:
    """Seconds of one call: on the wall, or of the processor, whichever are fewer."""
    begin, begun = perf_counter(), process_time()
    call()
    held, passed = process_time() - begun, perf_counter() - begin
    return min(passed, held) if FINE and passed > LONG else passed


def timed_round(call: Callable[[], Any], seconds: float) -> list[float]:
    """Seconds of each call in a round of about `seconds`: at least one, after one that warms caches and is not counted.

    A call that takes longer than the round is not repeated for warmth.
    """
    first = timed(call)
    if first > seconds:
        return [first]
    times: list[float] = []
    end = perf_counter() + seconds
    if first > LONG:
        while perf_counter() < end and len(times) < MOST_CALLS:
            times.append(timed(call))
        return times or [first]
    now = perf_counter()
    while now < end and len(times) < MOST_CALLS:
        call()
        then, now = now, perf_counter()
        times.append(now - then)
    return times
