"""Sizes that share a choice: large maps whose sizes differ by no more than an eighth.

The choice among implementations is made for a middle size of those between two round ones, so that a caller whose sizes change
with every call does not wait for it every time. Small sizes and round ones, multiples of a power of two, have a choice of their
own. It is a function of the size alone, whatever was asked before. A middle size is odd, for most sizes fill no whole tiles. Of
dilated layers the cells that meet the same taps are the size: 77 cells by 18 are five or four, and 71 are four.
"""

from typing import Any

from fastconv.problem.convolutions import ConvGeometry
from fastconv.problem.pools import PoolGeometry

SMALL = 32  # sizes below it are their own
FEW = 8  # cells that meet the same taps of a dilated kernel: a tile more or less is much of them
PARTS = 4  # of the sizes from one power of two to the next


def middle(size: int) -> int:
    """The size that the choice for a size is made for."""
    if size < SMALL:
        return size
    step = (1 << (size.bit_length() - 1)) // PARTS
    rest = size % step
    return size if rest == 0 else size - rest + step // 2 - 1


def near(geometry: Any) -> Any:
    """The geometry that the choice for a geometry is made for: itself, or one with sizes close by that has outputs."""
    g = geometry
    if not isinstance(g, (ConvGeometry, PoolGeometry)):
        return g
    steps = g.dilation if isinstance(g, ConvGeometry) else (1,) * len(g.in_size)
    batch, size = middle(g.batch), tuple(n if n < FEW * step else middle(n) for n, step in zip(g.in_size, steps, strict=True))
    if batch == g.batch and size == g.in_size:
        return g
    found = g.changed(batch=batch, in_size=size)
    return found if min(found.out_size, default=1) > 0 else g
