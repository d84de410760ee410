"""What a comparison runs: an implementation through its plan, or a peer in a process of its own."""

from collections.abc import Callable
from typing import Protocol

import fastconv as api
from fastconv.machine import host
from fastconv.measuring.peers import Case, Peer
from fastconv.plans.plan import Plan
from fastconv.plans.registry import Implementation
from fastconv.plans.timing import timed_round
from fastconv.problem.convolutions import Array

LONGEST_CALL = 20.0  # seconds that one call may be expected to take


class Runner(Protocol):
    """What a comparison asks of an implementation, a peer, or the reference loops."""

    name: str
    peer: bool

    def prepare(self) -> str | None:
        """Gets ready, first call included; returns why it cannot serve the case, or None."""

    def result(self) -> Array:
        """The output as (n, c, ...)."""

    def run(self, seconds: float) -> list[float]:
        """Seconds of each call in a round."""

    def notes(self) -> tuple[str | None, str]:
        """(kernel, note)."""


class Own:
    """An implementation of fastconv, run through its plan. `like` is a plan of the same case."""

    peer = False

    def __init__(self, record: Implementation, make: Callable[..., Plan], operands: tuple[Array, ...], like: Plan) -> None:
        self.name, self._record, self._make, self._operands, self._like = record.name, record, make, operands, like

    def prepare(self) -> str | None:
        reason = self._record.supports(self._like.problem)
        if reason is not None:
            return reason
        cost = self._record.cost(self._like.problem, host()) / api.get_num_threads()
        if cost > LONGEST_CALL:
            return f"one call is expected to take {cost:,.0f} s"
        self.plan = self._make(implementation=self.name)
        self.y = self.plan(*self._operands)
        return None

    def result(self) -> Array:
        values = self.y[0] if isinstance(self.y, tuple) else self.y
        geometry = self.plan.geometry
        return geometry.channels_first(values.reshape(geometry.out_shape))  # type: ignore[no-any-return]

    def run(self, seconds: float) -> list[float]:
        plan, operands, y = self.plan, self._operands, self.y
        return timed_round(lambda: plan(*operands, out=y), seconds)

    def notes(self) -> tuple[str | None, str]:
        return self.plan.kernel, ""


class Other:
    """A peer."""

    peer = True

    def __init__(self, peer: Peer, case: Case) -> None:
        self.name, self._peer, self._case = peer.name, peer, case

    def prepare(self) -> str | None:
        return self._peer.prepare(self._case)

    def result(self) -> Array:
        return self._peer.result()

    def run(self, seconds: float) -> list[float]:
        return self._peer.run(seconds)

    def notes(self) -> tuple[str | None, str]:
        return None, ", ".join(filter(None, (self._peer.version, self._peer.note)))
