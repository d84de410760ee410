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

from typing import Any

from fastconv.kernels.jit import compiled
from fastconv.kernels.simd import vector


def workspace(kind: Any) -> Any:
    """The function carve(parts, like), for kernels: (pointers by the names of `kind`, the array that they point into)."""
    return vector.carver_of(kind)


@compiled
def keep(memory):
    """Hold an array to here."""
    memory[0] = memory[0]
