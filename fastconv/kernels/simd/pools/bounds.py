"""The windows of a pool as kernels work them out: by arithmetic on sizes, output by output.

All outputs of a row but those at its two ends have the same divisor. A row of divisors therefore has its ends, and between
them as many as are read at once.
"""

from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import compiled, inlined
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd.pools.reductions import computed
from fastconv.problem import pools
from fastconv.problem.convolutions import SPATIAL_AXES, Array, Size
from fastconv.problem.pools import WHOLE, Axis, PoolGeometry, Span, counts

span = inlined(pools.span)


class Windows(NamedTuple):
    """The windows of all axes."""

    d: Axis
    h: Axis
    w: Axis


class Window(NamedTuple):
    """The window of an output."""

    d: Span
    h: Span
    w: Span


class Row(NamedTuple):
    """A row of outputs: its image, or its plane of an image, and its place there."""

    image: int
    d: int
    h: int


class Fold(NamedTuple):
    """A row of numbers of which `out` were left out from `left` on: all there are alike."""

    left: int
    out: int


@compiled
def row_of(item, outputs):
    """The row of outputs that an item is."""
    rest, h = divmod(item, outputs.h)
    image, d = divmod(rest, outputs.d)
    return Row(image, d, h)


@compiled
def place(i, fold):
    """Where number i of a row lies, with those behind it that are read at once."""
    return min(i, max(fold.left, i - fold.out))


# Decisions --------------------------------------------------------------------------------------------------------------


class Lifted(NamedTuple):
    """A pool over three axes.

    Attributes
    ----------
    windows : Windows
        Of all outputs.
    in_size, out_size, kernel, dilation, stride, before : tuple of int
        One entry an axis.
    """

    windows: Windows
    in_size: Size
    out_size: Size
    kernel: Size
    stride: Size
    dilation: Size
    before: Size


@remembered
def lifted(geometry: PoolGeometry) -> Lifted:
    """The geometry with axes of one cell before its own."""
    g, missing = geometry, SPATIAL_AXES - geometry.rank
    ones, before = (1,) * missing, (0,) * missing + tuple(before for before, _ in g.padding)
    windows = Windows(*(WHOLE,) * missing, *g.axes)
    in_size, out_size, kernel, stride, dilation = (
        ones + size for size in (g.in_size, g.out_size, g.kernel, g.stride, g.dilation)
    )
    return Lifted(windows, in_size, out_size, kernel, stride, dilation, before)


def row_of_divisors(geometry: PoolGeometry, dtype: np.dtype[Any], together: int, channels: int = 1) -> tuple[Array, Fold]:
    """(divisors of the widths of a row of windows, how it is folded), of which `together` neighbours are read at once.

    Each stands there for so many channels, in the type that windows are reduced in. What is no average has ones.
    """
    real = computed(geometry, dtype)
    axis = geometry.axes[-1]
    if geometry.kind != "avg":
        return np.ones(together, real), Fold(0, max(0, axis.outputs * channels - together))
    first, last = ends_of(axis)
    alike = (last - first) * channels
    kept = min(alike, together)
    edges = np.concatenate((np.arange(first), np.arange(last, axis.outputs)))
    left, right = np.split(np.repeat(counts(axis, edges).astype(real), channels), [first * channels])
    middle = np.full(kept, axis.fixed or axis.taps, np.int64).astype(real)
    return np.concatenate((left, middle, right)), Fold(first * channels, alike - kept)


def ends_of(axis: Axis) -> tuple[int, int]:
    """(first, last): the outputs first .. last - 1 have the same divisor, that of a window inside the input."""
    a = axis
    if a.fixed:
        return 0, a.outputs
    if a.taps == 0:
        return 0, 0
    first = min(a.outputs, -(-(a.before + a.low) // a.stride))
    reach = (a.taps - 1) * a.dilation + 1
    return first, min(a.outputs, max(first, (a.high - reach + a.before) // a.stride + 1))
