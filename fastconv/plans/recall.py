"""What was planned before, by all that decided it: a call that is made again costs little more than a call of its plan."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from fastconv.kernels.keeping import Kept, remembered
from fastconv.plans.dispatch import family_of
from fastconv.plans.plan import Plan
from fastconv.plans.racing import is_measured
from fastconv.plans.registry import OPERATIONS
from fastconv.problem.problem import Problem

AnyPlan = TypeVar("AnyPlan", bound=Plan)
PLAIN = {int, str, bytes, type(None)}
SCALARS = {*PLAIN, bool, float}
HASHABLE = {*SCALARS, tuple}

# The operation's choices, its family, and its plan, of an operation without weights, by all that decided it.
_planned = Kept()


@remembered
def same(problem: Problem) -> Problem:
    """The first of all equal problems: to look up a problem that is the very key costs no comparison."""
    return problem


def are_plain(values: tuple[Any, ...]) -> bool:
    """Whether equal values mean the same: 1 and True and 1.0 are equal, and only the first is an int."""
    if PLAIN.issuperset(map(type, values)):
        return True
    return all(type(value) in PLAIN or (type(value) is tuple and are_plain(value)) for value in values)


def tuples_are_plain(values: tuple[Any, ...]) -> bool:
    """Whether what is inside of tuples is, where the types of all else are part of a key."""
    return all(map(are_plain, [value for value in values if type(value) is tuple]))


def may_be_kept(values: tuple[Any, ...]) -> bool:
    """Whether values can be looked up later by what they are equal to and their types."""
    if SCALARS.issuperset(map(type, values)):
        return True
    for value in values:
        kind = type(value)
        if kind is tuple:
            if not are_plain(value):
                return False
        elif kind not in HASHABLE and not isinstance(value, np.dtype):
            return False
    return True


def recalled(
    build: Callable[..., AnyPlan], operation: str, arguments: tuple[Any, ...], options: dict[str, Any], known: bool = False
) -> AnyPlan:
    """build(operation, *arguments, **options), or the plan that it made of equal arguments before.

    `known`, the arguments come from an array, and their tuples are plain.
    """
    values = tuple(options.values())
    kinds = tuple(map(type, values))  # True is not 1, nor is 1.0
    key: Any = (operation, arguments, tuple(options), values, kinds)
    try:
        found = _planned.get(key) or _planned.found(key)
    except TypeError:  # lists have no hash
        found = None
    if found is not None and found[0] is OPERATIONS[found[1]]:
        plain = tuple not in kinds or tuples_are_plain(values)
        if plain and (known or tuples_are_plain(arguments)):
            return found[2]  # type: ignore[return-value]
    plan = build(operation, *arguments, **options)
    if may_be_kept((*arguments, *values)) and not is_measured(options.get("implementation")):
        family = family_of(operation)  # whose choices may change: an implementation may be registered
        _planned.keep(key, (OPERATIONS[family], family, plan))
    return plan
