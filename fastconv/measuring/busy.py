"""Whether a machine was busy with something else while it was measured, and what that did to the times."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fastconv.kernels import processors

HELD = 0.9  # of the time of a call on one thread: with less, others took turns
SPREAD = 1.3  # of the medians of one row's rounds


@dataclass
class Watch:
    """What was seen of a machine while calls were timed.

    Attributes
    ----------
    passed, held : float
        Seconds of calls on the wall, and seconds that this process had the processor meanwhile.
    spreads : list of float
        Of each row with several rounds, the slowest round's median over the fastest's.
    load : float or None
        The most processes that ran or waited for a processor, in the mean of a minute, where the system counts them.
    """

    passed: float = 0.0
    held: float = 0.0
    spreads: list[float] = field(default_factory=list)
    load: float | None = None

    @contextmanager
    def calls(self) -> Iterator[None]:
        """Calls of this process alone are timed inside."""
        begin, begun = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.passed, self.held = self.passed + time.perf_counter() - begin, self.held + time.process_time() - begun
            self.load = max(self.load or 0.0, load) if (load := load_average()) is not None else self.load

    @property
    def share(self) -> float | None:
        """Of the time of calls, what this process had a processor for, at most 1; None before any was timed."""
        return min(1.0, self.held / self.passed) if self.passed else None

    @property
    def spread(self) -> float | None:
        """The middle of the spreads, or None."""
        found = sorted(self.spreads)
        return found[len(found) // 2] if found else None

    @property
    def is_busy(self) -> bool:
        """Whether others took turns, or times went up and down."""
        return (self.share is not None and self.share < HELD) or (self.spread is not None and self.spread > SPREAD)

    def told(self) -> list[str]:
        """Lines that say so, of at most 80 columns; none of a machine that had nothing else to do."""
        if not self.is_busy:
            return []
        facts = []
        if self.share is not None:
            facts.append(f"a processor {100 * self.share:.0f} % of the time")
        if self.load is not None:
            facts.append(f"load {self.load:.1f} on {processors.available()}")
        if self.spread is not None:
            facts.append(f"rounds differ {self.spread:.1f}x")
        advice = "Ratios are of rounds side by side; for times to quote, let the machine rest."
        return [f"Busy machine: {', '.join(facts)}.", advice]


def load_average() -> float | None:
    """Processes that run or wait for a processor, in the mean of a minute; None where the system does not count them."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None
