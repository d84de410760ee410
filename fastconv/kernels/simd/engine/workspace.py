"""Workspaces that are declared: their parts by name, each in cache lines of its own.

    class Parts(NamedTuple):
        windows: int
        products: int

    carve = workspace(Parts)            # at module level

    work, memory = carve(Parts(windows=..., products=...), x)        # in a kernel: elements of each part
    vector.store(work.windows + i, v)                                # pointers of the same names
    ...
    keep(memory)                                                     # the last line: a pointer keeps no array alive

The elements have the type that registers have for those of `x`. A part begins a cache line, and no other part shares its last
one.
"""

from itertools import pairwise
from typing import Any

from fastconv.kernels.jit import compiled, inlined
from fastconv.kernels.simd import vector

LINE = 64  # bytes of a cache line

allocated, line_start, pointer = vector.allocated, vector.line_start, vector.pointer


@compiled
def in_lines(count, like):
    """Elements of the whole cache lines that `count` elements take."""
    of_line = LINE // like.itemsize
    return -(-count // of_line) * of_line


@compiled
def empty(count, like):
    """An uninitialised array of `count` elements and of as many as may be left out to begin a cache line."""
    return allocated(count + LINE // like.itemsize, like)


def workspace(kind: Any) -> Any:
    """The compiled carve(parts, like): (pointers by the names of `kind`, the array that they point into)."""
    names, function = kind._fields, f"carve_{kind.__name__}"
    scope = {"in_lines": in_lines, "empty": empty, "line_start": line_start, "pointer": pointer}
    room = " + ".join(f"in_lines(parts.{name}, like)" for name in names)
    source = [f"def {function}(parts, like):", f"    memory = empty({room}, like)"]
    source.append(f"    {names[0]} = line_start(pointer(memory))")
    source += [f"    {name} = {before} + in_lines(parts.{before}, like)" for before, name in pairwise(names)]
    source.append(f"    return {kind.__name__}({', '.join(names)}), memory")
    scope |= {"__name__": kind.__module__, kind.__name__: kind}
    exec("\n".join(source), scope)
    return inlined(scope[function])


@compiled
def keep(memory):
    """Hold an array to here."""
    memory[0] = memory[0]
