"""Calls with lazy arrays: they go to the module that makes lazy results, which is imported by the first of them.

A check that meets a lazy array raises `LazyArray`; what NumPy arrays ask for costs nothing more than that.
"""

import functools
from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar

from fastconv.problem.arguments import LazyArray

Function = TypeVar("Function", bound=Callable[..., Any])
DOORS = {"dask": "fastconv.dask"}


def lazily(function: Any, arguments: dict[str, Any], library: str) -> Any:
    """The lazy result of a call, its arguments by name."""
    try:
        return import_module(DOORS[library]).served(function, arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise error from None  # that a lazy array was met first is no part of it


def open_to_lazy_arrays(function: Function, module: str) -> Function:
    """The function, which serves lazy arrays too; the module is where users find it."""
    from inspect import signature

    named = signature(function)

    @functools.wraps(function)
    def served(*arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except LazyArray as error:
            return lazily(function, named.bind(*arguments, **options).arguments, error.library)

    served.__module__ = module
    return served  # type: ignore[return-value]
