"""The windows of a pool: a table of their bounds for all outputs of each axis, and what kernels read of it by name."""

from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import compiled
from fastconv.kernels.simd.pools.reductions import computed
from fastconv.problem.convolutions import SPATIAL_AXES, Array, Size
from fastconv.problem.pools import PoolGeometry, Windows


class Span(NamedTuple):
    """The window of an output on one axis: its cells are range(start, stop, dilation), and an average counts `count`."""

    start: int
    stop: int
    count: int  # type: ignore[assignment]


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


@compiled
def row_of(item, outputs):
    """The row of outputs that an item is."""
    rest, h = divmod(item, outputs.h)
    image, d = divmod(rest, outputs.d)
    return Row(image, d, h)


@compiled
def span(bounds, output):
    """The window of an output of all axes' outputs in a line: depths, then heights, then widths."""
    at = 3 * output
    return Span(bounds[at], bounds[at + 1], bounds[at + 2])


@compiled
def depths(bounds, d):
    """The depths of the windows of outputs at depth `d`."""
    return span(bounds, d)


@compiled
def heights(bounds, h, outputs):
    """The heights of the windows of outputs in row `h`."""
    return span(bounds, outputs.d + h)


@compiled
def widths_of(bounds, w, outputs):
    """The widths of the windows of outputs in column `w`."""
    return span(bounds, outputs.d + outputs.h + w)


# Decisions --------------------------------------------------------------------------------------------------------------


class Tables(NamedTuple):
    """The windows of a pool lifted to three axes.

    Attributes
    ----------
    bounds : array of int64
        A Span of every output: of all depths, all heights, all widths.
    widths : array
        The widths' divisors in the type that windows are reduced in.
    in_size, out_size, kernel, stride, dilation, before : tuple of int
        One entry an axis.
    """

    bounds: Array
    widths: Array
    in_size: Size
    out_size: Size
    kernel: Size
    stride: Size
    dilation: Size
    before: Size


def tables(geometry: PoolGeometry, dtype: np.dtype[Any]) -> Tables:
    """The tables of a geometry."""
    g, missing = geometry, SPATIAL_AXES - geometry.rank
    ones = (1,) * missing
    whole = Windows(np.zeros(1, np.int64), np.ones(1, np.int64), np.ones(1, np.int64))
    windows = (whole,) * missing + g.windows
    counts = [axis.counted for axis in windows]
    if g.divisor_override is not None:
        counts = [*(np.ones_like(axis) for axis in counts[:2]), np.full_like(counts[2], g.divisor_override)]
    spans = [np.stack((axis.start, axis.stop, count), 1).ravel() for axis, count in zip(windows, counts, strict=True)]
    return Tables(
        np.concatenate(spans),
        counts[2].astype(computed(g, dtype)),
        ones + g.in_size,
        ones + g.out_size,
        ones + g.kernel,
        ones + g.stride,
        ones + g.dilation,
        (0,) * missing + tuple(before for before, _ in g.padding),
    )
