"""Sizes by name: one NamedTuple writes the int64 array that crosses into compiled code, and is built from it again inside.

    class Sizes(NamedTuple):
        x: Strides                      # NamedTuples nest
        outputs: Axes
        chunk: int

    read = reader(Sizes)                # at module level, where a kernel's factory finds it

    array = written(Sizes(x=..., outputs=..., chunk=...))
    s = read(array)                     # in a kernel: s.x.c, s.outputs.w, s.chunk

An array is the cheapest argument that a compiled function takes; what is read from it by name costs what loads by position do.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple, get_type_hints

import numpy as np

from fastconv.kernels.jit import types
from fastconv.kernels.simd import vector
from fastconv.problem.convolutions import Array


class Axes(NamedTuple):
    """A size over three axes."""

    d: int
    h: int
    w: int


class Plane(NamedTuple):
    """A size over the last two axes."""

    h: int
    w: int


class Strides(NamedTuple):
    """Elements from one image, channel, depth, row and column of an array to the next."""

    n: int
    c: int
    d: int
    h: int
    w: int


def written(sizes: tuple[Any, ...]) -> Array:
    """The array that `reader` of the class of `sizes` reads."""
    return np.array(leaves_of(type(sizes))(sizes), np.int64).reshape(-1)


@lru_cache(maxsize=256)
def leaves_of(kind: Any) -> Callable[[Any], Any]:
    """What gives the ints of a NamedTuple of a class, and of those in it, in order."""
    return attrgetter(*names_of(kind))


def names_of(kind: Any, before: str = "") -> list[str]:
    """The names of its ints, as of attributes of attributes."""
    found: list[str] = []
    for name, annotation in fields_of(kind):
        found += names_of(annotation, f"{before}{name}.") if is_named(annotation) else [before + name]
    return found


def fields_of(kind: Any) -> list[tuple[str, Any]]:
    """(name, annotation) of a NamedTuple's fields."""
    hints = get_type_hints(kind)
    return [(name, hints[name]) for name in kind._fields]


def is_named(kind: Any) -> bool:
    """Whether an annotation is a NamedTuple."""
    return isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields")


def typed(kind: Any) -> Any:
    """Numba's type of a NamedTuple of ints, or of NamedTuples of them."""
    found = []
    for name, annotation in fields_of(kind):
        if annotation is not int and not is_named(annotation):
            raise TypeError(f"{kind.__name__}.{name} must be an int or a NamedTuple, not {annotation}")
        found.append(types.int64 if annotation is int else typed(annotation))
    return types.BaseTuple.from_types(found, kind)


def reader(kind: Any) -> Any:
    """The function, for kernels, that builds a NamedTuple of ints, or of NamedTuples of them, from the array that holds it."""
    return vector.reader_of(typed(kind))


def axes(values: Sequence[int]) -> Axes:
    """Three numbers by name."""
    d, h, w = values
    return Axes(d, h, w)
