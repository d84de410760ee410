"""What a candidate among the kernels of pools makes: a kernel with all of its arguments but the arrays."""

from typing import Any, NamedTuple

from fastconv.kernels.jit import Kernel, flat
from fastconv.problem.convolutions import Array


class Launch(NamedTuple):
    """A kernel with all of its arguments but the arrays.

    Attributes
    ----------
    kernel : Kernel
        kernel(items, work, *arrays, *arguments).
    items, work : int
        Independent items, scalar operations in all.
    arguments : tuple
        Sizes, tables and scalars.
    """

    kernel: Kernel
    items: int
    work: int
    arguments: tuple[Any, ...]

    def run(self, *arrays: Array) -> None:
        """On arrays in C order."""
        self.kernel(self.items, self.work, *map(flat, arrays), *self.arguments)
