"""Kernels whose windows do not overlap, as lines: a convolution of one tap, or a transposed one whose kernel is its stride.

Their positions follow each other along a line; each tap of a transposed one is a convolution of its own, woven into the rows
of the result.
"""

from math import prod
from typing import NamedTuple

from fastconv.problem.convolutions import ConvGeometry


class Lines(NamedTuple):
    """The positions as lines, and what each of them becomes.

    Attributes
    ----------
    depth, height, width : int
        Lines of the input by depth and height, and positions of a line.
    taps : tuple of int
        Output lines of each by depth and height, and output columns of each position.
    """

    depth: int
    height: int
    width: int
    taps: tuple[int, int, int]

    def panels(self, width: int) -> int:
        """Panels of `width` positions; those of several lines share one where columns are woven."""
        if self.taps[2] == 2:
            return self.depth * -(-self.height * self.width // width)
        return self.depth * self.height * -(-self.width // width)


def lines_of(geometry: ConvGeometry) -> Lines:
    """All positions as one line, or those of a row where they are spread over several."""
    g = geometry.lifted()
    if g.taps == 1:
        return Lines(1, 1, prod(g.in_size), (1, 1, 1))
    depth, height, width = g.in_size
    return Lines(depth, height, width, (g.kernel[0], g.kernel[1], g.kernel[2]))


def are_lines(geometry: ConvGeometry) -> bool:
    """Whether each output meets one position of the input, and vectors of positions lie in memory as they do in registers."""
    g = geometry
    if g.channels_last or any(any(pair) for pair in g.padding) or any(g.output_padding):
        return False
    if not g.transposed:
        return g.taps == 1 and all(step == 1 for step in g.stride)
    plain = all(spread == 1 or taps == 1 for spread, taps in zip(g.dilation, g.kernel, strict=True))
    return plain and g.kernel == g.stride and g.kernel[-1] <= 2
