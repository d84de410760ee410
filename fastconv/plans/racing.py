"""implementation="measure": plans of one call, timed against one another on this machine, now."""

import statistics
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np

from fastconv.plans.timing import timed_round
from fastconv.problem.convolutions import Array, Size

MEASURE = "measure"
ROUNDS = 5
LEAST = 2e-3  # seconds that a plan has in a round


class Runnable(Protocol):
    """What a race asks of a plan."""

    @property
    def x_shape(self) -> Size: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __call__(self, x: Any, out: Any = None) -> Any: ...


Racer = TypeVar("Racer", bound=Runnable)


def is_measured(implementation: Any) -> bool:
    """Whether a caller asked for a measurement."""
    return isinstance(implementation, str) and implementation == MEASURE


def fastest(plans: Sequence[Racer]) -> Racer:
    """The plan whose median over interleaved rounds is the least; of one plan, that one, without a run."""
    if len(plans) == 1:
        return plans[0]
    x = sample_input(plans[0].x_shape, plans[0].dtype)
    out = plans[0](x)
    rounds: list[list[float]] = [[] for _ in plans]
    for number in range(ROUNDS + 1):  # in round 0 code is loaded, and nothing is noted
        for plan, times in zip(plans, rounds, strict=True):
            took = timed_round(partial(plan, x, out), LEAST if number else 0.0)
            if number:
                times.append(statistics.fmean(took))
    medians = [statistics.median(times) for times in rounds]
    return plans[medians.index(min(medians))]


def sample_input(shape: Size, dtype: np.dtype[Any]) -> Array:
    """Numbers of a normal distribution, or small whole ones."""
    rng = np.random.default_rng(0)
    if dtype.kind in "iu":
        return rng.integers(0, 9, shape).astype(dtype)
    found = rng.standard_normal(shape)
    return np.asarray(found + 1j * rng.standard_normal(shape) if dtype.kind == "c" else found, dtype)
