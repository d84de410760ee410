"""Calls with lazy arrays: they go to the module that makes lazy results, which is imported by the first of them.

A check that meets a lazy array raises `LazyArray`; what NumPy arrays ask for costs nothing more than one call by position.
"""

import functools
from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar

from fastconv.problem.foreign import LazyArray

Function = TypeVar("Function", bound=Callable[..., Any])
DOORS = {"dask": "fastconv.dask"}
DOOR = """
def served({parameters}):
    try:
        return function({arguments})
    except LazyArray as error:
        return later(locals(), error.library)
"""


def lazily(function: Any, arguments: dict[str, Any], library: str) -> Any:
    """The lazy result of a call, its arguments by name."""
    try:
        return import_module(DOORS[library]).served(function, arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise error from None  # that a lazy array was met first is no part of it


def open_to_lazy_arrays(function: Function, module: str) -> Function:
    """The function, which serves lazy arrays too; the module is where users find it.

    What takes its place is compiled with its very parameters: to pass ``*arguments, **options`` on takes three times as long.
    """
    from inspect import Parameter, signature

    named = signature(function).parameters
    parameters, arguments, keyword = list[str](), list[str](), False
    for name, one in named.items():
        if one.kind is one.KEYWORD_ONLY and not keyword:
            parameters, keyword = [*parameters, "*"], True
        starred = "**" if one.kind is one.VAR_KEYWORD else ""
        parameters.append(starred + name)
        arguments.append(f"{name}={name}" if one.kind is one.KEYWORD_ONLY else starred + name)

    def later(values: dict[str, Any], library: str) -> Any:
        """The lazy result, of the arguments that are not their defaults."""
        given = {name: values[name] for name, one in named.items() if values[name] is not one.default}
        return lazily(function, {name: value for name, value in given.items() if name != "kwargs" or value}, library)

    text = DOOR.format(parameters=", ".join(parameters), arguments=", ".join(arguments))
    made: dict[str, Any] = {"function": function, "later": later, "LazyArray": LazyArray}
    exec(compile(text, __file__, "exec"), made)
    served: Any = functools.wraps(function)(made["served"])
    defaults = {name: one.default for name, one in named.items() if one.default is not one.empty}
    served.__kwdefaults__ = {name: value for name, value in defaults.items() if named[name].kind is Parameter.KEYWORD_ONLY}
    served.__defaults__ = tuple(value for name, value in defaults.items() if name not in served.__kwdefaults__)
    served.__module__ = module
    return served  # type: ignore[no-any-return]
