"""What is kept from call to call, plans and what they are made of: all of it together within a number of bytes.

`Kept` is a dict of two generations: what was not asked for since the last ones came goes first. `remembered` is lru_cache for
functions of geometries. Compiled kernels are no part of this.
"""

from collections.abc import Callable
from functools import lru_cache, update_wrapper
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

MOST = 8192  # results of one function
ENTRY = 1500  # bytes of a key, a value and what they share with others, but for arrays
PART = 16  # of the limit: as much may come until all is weighed again

if TYPE_CHECKING:
    from functools import _lru_cache_wrapper

Result = TypeVar("Result")


def weight_of(value: Any) -> int:
    """About the bytes that a value takes: of arrays, and of those in tuples of tuples."""
    if not isinstance(value, tuple):
        return value.nbytes if isinstance(value, np.ndarray) else 0
    found = 0
    for one in value:
        if type(one) is np.ndarray:
            found += one.nbytes
        elif isinstance(one, tuple):
            found += weight_of(one)
    return found


class Kept(dict[Any, Any]):
    """Values by key. To look one up is to look into a dict; where that has none, `found` looks among the older ones.

    Parameters
    ----------
    weigh : callable, optional
        The bytes of a value, where they are many.
    """

    def __init__(self, weigh: Callable[[Any], int] | None = None) -> None:
        super().__init__()
        self.older: dict[Any, Any] = {}
        self.weigh = weigh
        _dicts.append(self)

    def found(self, key: Any) -> Any:
        """The value among the older ones, which is young again, or None."""
        value = self.older.pop(key, None)
        if value is not None:
            self[key] = value
        return value

    def keep(self, key: Any, value: Any) -> None:
        """Add a value; what is oldest may go for it."""
        self[key] = value
        grown(ENTRY)

    def bytes(self) -> int:
        """About the bytes of all values."""
        if self.weigh is None:
            return ENTRY * (len(self) + len(self.older))
        return sum(map(self.weigh, [*self.values(), *self.older.values()]))

    def age(self) -> None:
        """Drop what was not asked for since this was called last."""
        self.older = dict(self)
        self.clear()

    def forget(self) -> None:
        """Drop all."""
        self.clear()
        self.older = {}


class Remembered:
    """The results of a function, and about how many bytes one takes."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.bytes, self.made = function, 0, 0
        update_wrapper(self, function)

    def __call__(self, *arguments: Any) -> Any:
        result = self.function(*arguments)
        size = ENTRY + weight_of(result)
        self.bytes, self.made = self.bytes + size, self.made + 1
        grown(size)
        return result


def remembered(function: Callable[..., Result]) -> "_lru_cache_wrapper[Result]":
    """`function`, whose results are looked up by its arguments."""
    made = Remembered(function)
    cached = lru_cache(maxsize=MOST)(made)
    _functions.append((cached, made))
    return cached


class Budget:
    """How many bytes may be kept, and how many came since all was weighed."""

    def __init__(self, limit: int) -> None:
        self.limit, self.came = limit, 0


_dicts: list[Kept] = []
_functions: list[tuple[Any, Remembered]] = []
BUDGET = Budget(64 << 20)


def grown(size: int) -> None:
    """Note what came, and settle where that is much."""
    BUDGET.came += size
    if BUDGET.came * PART > BUDGET.limit:
        settle()


def kept_bytes() -> int:
    """About the bytes of all that is kept."""
    functions = sum(made.bytes * cached.cache_info().currsize // max(1, made.made) for cached, made in _functions)
    return functions + sum(one.bytes() for one in _dicts)


def settle() -> None:
    """Drop older plans, then what plans are made of, then all, until the rest is within the limit."""
    BUDGET.came = 0
    most = BUDGET.limit - BUDGET.limit // PART
    for drop in (age, forget_parts, forget):
        if kept_bytes() <= most:
            return
        drop()


def age() -> None:
    """Drop the plans that were not asked for since this was called last."""
    for one in _dicts:
        one.age()


def forget_parts() -> None:
    """Drop what plans are made of."""
    for cached, made in _functions:
        cached.cache_clear()
        made.bytes = made.made = 0


def forget() -> None:
    """Drop all."""
    forget_parts()
    for one in _dicts:
        one.forget()


def set_limit(limit: int) -> None:
    """Keep no more than so many bytes from now on."""
    BUDGET.limit = limit
    settle()
