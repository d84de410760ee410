"""How a gradient by the weights is launched: the sums of blocks and slices, then the slices together."""

from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, element
from fastconv.kernels.memory import aligned
from fastconv.kernels.simd.engine.sizes import written
from fastconv.kernels.simd.gradients import sums
from fastconv.machine import Machine
from fastconv.problem.convolutions import Array, ConvGeometry


class Launch(NamedTuple):
    """A kernel with its sizes, and what adds up partial sums where there are several slices.

    Attributes
    ----------
    kernel : Kernel
        kernel(items, work, x, dy, partial sums, dw, sizes, parameters).
    items, work : int
        Independent items, scalar operations in all.
    sizes, parameters : array
        Of the kernel; what cells of the border hold, and a zero.
    combine : Kernel or None
        combine(items, work, partial sums, dw, blocks).
    rows, partial : int
        Items of `combine`, and elements of the partial sums.
    blocks : array
        Sizes of `combine`.
    """

    kernel: Kernel
    items: int
    work: int
    sizes: Array
    parameters: Array
    combine: Kernel | None
    rows: int
    partial: int
    blocks: Array

    def run(self, x: Array, dy: Array, dw: Array) -> None:
        """On flat arrays."""
        if self.combine is None:
            self.kernel(self.items, self.work, x, dy, dw, dw, self.sizes, self.parameters)
            return
        partial = aligned(self.partial, dw.dtype)
        self.kernel(self.items, self.work, x, dy, partial, dw, self.sizes, self.parameters)
        self.combine(self.rows, self.partial, partial, dw, self.blocks)


def launched(
    kernel: Kernel,
    count: int,
    blocks: sums.Blocks,
    sizes: Array,
    geometry: ConvGeometry,
    dtype: np.dtype[Any],
    machine: Machine,
) -> Launch:
    """The launch of a kernel over `count` blocks and their slices."""
    g, b = geometry, blocks
    parameters = np.array([g.border.value, 0], dtype)
    combine = sums.combiner(machine.lanes(dtype), g.channels_last, element(dtype), machine.isa) if b.slices > 1 else None
    work = max(1, g.flops // 32)
    return Launch(
        kernel, count * b.slices, work, sizes, parameters, combine, count * b.k_part, count * b.slices * b.sums, written(b)
    )
