"""Keys of calls: what stands for arguments in a dictionary, so that equal keys are calls with the same results.

Numbers, strings, None and tuples of them stand for themselves, with their types: 1 is not 1.0, nor True. For other values a
tuple does that begins with what they are: for lists one of their values, for a small array, or a number of NumPy's, one of its
bytes, and for the array to write one of its dtype.
"""

from math import copysign
from typing import Any

import numpy as np

from fastconv.problem.convolutions import Array

SIMPLE = frozenset((int, float, str, bool, type(None)))
READ = "?bBhHiIlLqQefd"  # characters of the dtypes of what is read: its bytes tell all there is to it
DTYPES = tuple(map(np.dtype, READ + "gFDG"))
KINDS = frozenset(map(type, DTYPES))
SCALARS = frozenset((int, float, bool, complex, *(dtype.type for dtype in DTYPES)))
NUMBERS = frozenset(np.dtype(character).type for character in READ[1:])
LONGEST = 1024  # values of a list, about, with those of the lists in it
LARGEST = 8192  # bytes of an array
ITEM = 32  # bytes of an item of a key
WRITTEN = "written"


def kinds_of(values: Any) -> tuple[Any, ...] | None:
    """The types of values, those of tuples in tuples of their own. None where one does not stand for itself."""
    kinds: list[Any] = []
    for value in values:
        kind: Any = type(value)
        if kind is float and value == 0 and copysign(1, value) < 0:
            return None  # a key of its own, which 0.0 would be found by
        if kind not in SIMPLE:
            kind = kinds_of(value) if kind is tuple else None
            if kind is None:
                return None
        kinds.append(kind)
    return tuple(kinds)


def part_of(value: Any, most: int = LONGEST) -> tuple[Any, ...] | None:
    """A tuple, its first item a type, that stands for a value other than an array; None where none does."""
    kind = type(value)
    if kind in SIMPLE:
        return None if value == 0 and kind is float and copysign(1, value) < 0 else (kind, value)
    if kind is list or kind is tuple:
        return part_of_sequence(value, most)
    if kind is type:
        return (kind, value) if value in SCALARS else None
    if kind in NUMBERS:
        return kind, value.tobytes()
    return (kind, value) if kind in KINDS and value.metadata is None else None


def part_of_sequence(values: Any, most: int) -> tuple[Any, ...] | None:
    """What stands for a list or a tuple of no more than `most` values."""
    if len(values) > most:
        return None
    kinds = kinds_of(values)
    if kinds is not None:
        return type(values), tuple(values), kinds
    parts = [part_of(one, most // (len(values) + 1)) for one in values]
    return None if None in parts else (type(values), *parts)


def part_of_array(array: Array) -> tuple[Any, ...] | None:
    """What stands for an array that is read. One element may be taken for a number, which NumPy warns of: it has no key."""
    dtype = array.dtype
    if array.size < 2 or array.nbytes > LARGEST or dtype.char not in READ:
        return None
    return np.ndarray, dtype, array.shape, array.tobytes()


def parts_of(x: Array, others: tuple[Any, ...], out: int | None) -> tuple[Any, ...] | None:
    """What stands for the arguments but x, the one at `out` an array to write; None where nothing does for one of them.

    Of simple ones first their type, then they themselves, and for each of the others a tuple.
    """
    parts: list[Any] = []
    read = [x]
    for place, value in enumerate(others):
        kind = type(value)
        if kind in SIMPLE and not (kind is float and value == 0 and copysign(1, value) < 0):
            parts += kind, value
            continue
        if kind is not np.ndarray:
            part = part_of(value)
        elif place == out:
            part = WRITTEN, value.dtype
        else:
            part = part_of_array(value)
            read.append(value)
        if part is None:
            return None
        parts.append(part)
    return tuple(parts) if out is None or is_written(others[out], read) else None


def is_written(out: Array, read: list[Array]) -> bool:
    """Whether kernels write what they make of arrays, the first of them of its shape, to `out` itself."""
    fits = out.shape == read[0].shape and out.flags.carray and out.dtype.isnative
    return fits and not any(np.may_share_memory(out, one) for one in read)


def place_of(out: int, arguments: tuple[Any, ...], options: dict[str, Any]) -> int | None:
    """Where behind the first argument an array to write is, which is the argument `output`; `out` is its place by position."""
    if "output" in options:
        found, place = options["output"], len(arguments) + [*options].index("output")
    else:
        found, place = arguments[out] if out < len(arguments) else None, out
    return place - 1 if type(found) is np.ndarray else None


def size_of(key: tuple[Any, ...]) -> int:
    """About the bytes of a key, but for types and dtypes, which others have too."""
    found = ITEM * len(key)
    for part in key:
        if type(part) is tuple:
            found += size_of(part)
        elif type(part) is bytes:
            found += len(part)
    return found
