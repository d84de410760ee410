"""One axis of a plain convolution: which cells each output reads. Geometries are made of walks, and kernels follow them."""

from itertools import pairwise
from typing import NamedTuple


def window_extent(kernel: int, dilation: int) -> int:
    """Cells from the first tap of a window to its last, both counted."""
    return dilation * (kernel - 1) + 1


class Walk(NamedTuple):
    """One axis of a plain convolution: output o reads the cells origin + o * stride + tap * dilation.

    Attributes
    ----------
    outputs, taps, cells : int
        Outputs and taps on this axis, and cells of the input.
    origin, stride, dilation : int
        As in the formula; cells outside the input are padding.
    first, step : int
        Output o lies at first + o * step of the result.
    kernel_first, kernel_step : int
        Tap t is the kernel's kernel_first + t * kernel_step.
    skip : int
        Cell c is the input's c * skip.
    """

    outputs: int
    taps: int
    cells: int
    origin: int
    stride: int
    dilation: int
    first: int
    step: int
    kernel_first: int
    kernel_step: int
    skip: int = 1

    def reach(self, outputs: int) -> int:
        """Cells from the first one that so many outputs read to the last."""
        return (outputs - 1) * self.stride + window_extent(self.taps, self.dilation)

    @property
    def share_inside(self) -> float:
        """The share of the outputs' taps that lie in the input."""
        inside = 0
        for tap in range(self.taps):
            offset = self.origin + tap * self.dilation
            first, last = max(0, -(offset // self.stride)), min(self.outputs, -((offset - self.cells) // self.stride))
            inside += max(0, last - first)
        return inside / max(1, self.outputs * self.taps)

    def thinned(self) -> "Walk":
        """The same without the cells that no output reads: those between the strides of one tap, where it begins on a cell."""
        if self.taps != 1 or self.origin % self.stride:
            return self
        cells, origin = -(-self.cells // self.stride), self.origin // self.stride
        return self._replace(cells=cells, origin=origin, stride=1, skip=self.skip * self.stride)

    def parts(self) -> "tuple[Walk, ...]":
        """The same in runs of outputs whose taps all lie in the input, or none: those that lie around it are left out."""
        firsts, ends = [], []  # of the outputs for which each tap lies there
        for tap in range(self.taps):
            offset = self.origin + tap * self.dilation
            firsts.append(-(offset // self.stride))
            ends.append(-((offset - self.cells) // self.stride))
        cuts = sorted({0, self.outputs, *(one for one in (*firsts, *ends) if 0 < one < self.outputs)})
        found = []
        for begin, end in pairwise(cuts):
            taps = [tap for tap in range(self.taps) if firsts[tap] <= begin < ends[tap]]
            start = taps[0] if taps else 0
            part = self._replace(
                outputs=end - begin,
                taps=len(taps),
                origin=self.origin + begin * self.stride + start * self.dilation,
                first=self.first + begin * self.step,
                kernel_first=self.kernel_first + start * self.kernel_step,
            )
            found.append(part)
        return tuple(found)
