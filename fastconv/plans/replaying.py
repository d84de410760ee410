"""Filters that were called before with equal arguments: one look into a dictionary, and the implementation runs.

What a call of a filter does beside its checks is one run of one implementation, from the array itself to the result itself, or
it is not kept: `WATCH` has the runs of a call that is made. Its key is all that decided it: the shape and the type of the
array, and what stands for the other arguments (keys.py). What is kept holds no array of a caller's.
"""

import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from fastconv.kernels.keeping import ENTRY, Kept
from fastconv.kernels.memory import LARGE, empty
from fastconv.plans.keys import kinds_of, parts_of, place_of, size_of
from fastconv.plans.registry import Implementation
from fastconv.problem.convolutions import Array
from fastconv.problem.problem import Operands, Problem

Function = TypeVar("Function", bound=Callable[..., Any])


class Run(NamedTuple):
    """A run of an implementation: its operands, x among them, and where it wrote."""

    implementation: Implementation
    operands: Operands
    packed: Any
    problem: Problem
    out: Array


class Replay(NamedTuple):
    """The same without the arrays of one call; the result's type, what x is read as if not as itself, and what makes room.

    `size` is about the bytes that it takes with its key.
    """

    implementation: Implementation
    operands: Operands
    packed: Any
    problem: Problem
    result: np.dtype[Any]
    stored: np.dtype[Any] | None
    room: Callable[..., Array]
    size: int

    def __call__(self, x: Array, out: Array | None = None) -> Array:
        """The result for an array in C order: `out`, if it is given."""
        if out is None:
            out = self.room(x.shape, self.result)
        source = x if self.stored is None else x.view(self.stored)
        self.implementation.run({**self.operands, "x": source}, self.packed, self.problem, out)
        return out


class Watch(threading.local):
    """The runs of the call that this thread makes, if they are noted."""

    runs: list[Run] | None = None


WATCH = Watch()
_calls = Kept(lambda replay: replay.size)


def forgo() -> None:
    """Keep nothing of the call that this thread makes: it does more than its run, a warning for one, and so each time."""
    WATCH.runs = None


def replay_of(run: Run, x: Array, result: Array, others: tuple[Any, ...], key: Any) -> Replay | None:
    """What makes the run again for other arrays, if it led from the array itself to the result itself."""
    source, out = run.operands["x"], run.out
    if (
        source.ctypes.data != x.ctypes.data
        or source.shape != x.shape
        or (out.ctypes.data, out.shape, out.strides) != (result.ctypes.data, result.shape, result.strides)
        or out.dtype != result.dtype
    ):
        return None
    arrays = [one for one in others if type(one) is np.ndarray]
    operands = {name: apart(array, arrays) for name, array in run.operands.items() if name != "x"}
    stored = None if source.dtype == x.dtype else source.dtype
    room = np.empty if result.nbytes < LARGE else empty
    size = ENTRY + size_of(key) + sum(array.nbytes for array in operands.values())
    return Replay(run.implementation, operands, run.packed, run.problem, result.dtype, stored, room, size)


def apart(array: Array, others: list[Array]) -> Array:
    """An array that is none of a caller's, nor a part of one: a copy where it may be."""
    return array.copy() if any(np.may_share_memory(array, one) for one in others) else array


def replayed(function: Function) -> Function:
    """`function`, of an array and what it takes beside, whose calls with equal arguments run at once."""
    position = [*inspect.signature(function).parameters].index("output")

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        x = arguments[0] if arguments else None
        if type(x) is not np.ndarray or not x.flags.c_contiguous:
            return function(*arguments, **options)
        others = (*arguments[1:], *options.values())
        parts: tuple[Any, ...] | None = others
        kinds, out = kinds_of(others), None
        if kinds is None:
            out = place_of(position, arguments, options)
            parts = parts_of(x, others, out)
            if parts is None:
                return function(*arguments, **options)
        key = (function, x.shape, x.dtype, parts, kinds, *options)
        found = _calls.get(key) or _calls.found(key)
        if found is not None:
            return found(x) if out is None else found(x, others[out])
        before, WATCH.runs = WATCH.runs, []
        try:
            result, runs = function(*arguments, **options), WATCH.runs
        finally:
            WATCH.runs = before
        if runs and len(runs) == 1 and x.dtype.isnative and (out is None or result is others[out]):
            made = replay_of(runs[0], x, result, others, key)
            same = kinds is not None or parts_of(x, others, out) == parts
            if made is not None and same:  # what was read may have been written meanwhile, by another thread
                _calls.keep(key, made)
        return result

    return call  # type: ignore[return-value]
