"""A geometry as kernels walk it: flattened where positions need no rows, with the strides of its arrays and weights."""

from dataclasses import replace
from functools import lru_cache
from math import prod

import numpy as np

from fastconv.problem.convolutions import Array, ConvGeometry, Size, Walk


@lru_cache(maxsize=1024)
def flattened(geometry: ConvGeometry) -> ConvGeometry:
    """The lifted geometry; where every position is its own window, all of them as one long row.

    Columns of a transposed convolution that do not overlap, channels last, lie together as channels do: they become channels.
    """
    g = geometry.lifted()
    if g.is_pointwise:
        return replace(g, in_size=(1, 1, prod(g.in_size)))
    plain = g.dilation[-1] == 1 and not any(g.padding[-1]) and not g.output_padding[-1]
    if g.transposed and g.channels_last and g.groups == 1 and plain and g.kernel[-1] == g.stride[-1]:
        wide = g.stride[-1]
        return replace(g, kernel=(*g.kernel[:-1], 1), stride=(*g.stride[:-1], 1), out_channels=wide * g.out_channels)
    return g


def strides(geometry: ConvGeometry, channels: int, size: Size) -> Size:
    """Element strides of a C-ordered array in this geometry's layout, in the order n, c, d, h, w."""
    shape = geometry.shape(channels, size)
    steps = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
    return (steps[0], steps[-1], *steps[1:-1]) if geometry.channels_last else tuple(steps)


def tap_steps(geometry: ConvGeometry, walks: tuple[Walk, ...]) -> Size:
    """Elements of the weights from one group, k, c, t, r, s to the next, and to the first tap of the walk."""
    g = geometry
    first, second = (g.in_per_group, g.out_per_group) if g.transposed else (g.out_per_group, g.in_per_group)
    shape = (g.groups * first, *g.kernel, second) if g.channels_last else (g.groups * first, second, *g.kernel)
    steps = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
    by_second, by_taps = (steps[-1], steps[1:-1]) if g.channels_last else (steps[1], steps[2:])
    by_k, by_c = (by_second, steps[0]) if g.transposed else (steps[0], by_second)
    return (
        first * steps[0],
        by_k,
        by_c,
        *(step * walk.kernel_step for step, walk in zip(by_taps, walks, strict=True)),
        sum(step * walk.kernel_first for step, walk in zip(by_taps, walks, strict=True)),
    )


def widened(bias: Array, geometry: ConvGeometry) -> Array:
    """The bias of all channels of the flattened geometry."""
    if not geometry.transposed:
        return bias
    copies = flattened(geometry).out_channels // max(1, geometry.out_channels)
    return bias if copies <= 1 else np.tile(bias, copies)


def plane_sizes(geometry: ConvGeometry) -> tuple[Size, ...]:
    """(input, output, kernel, stride, dilation, padding before), each over two axes."""
    g, missing = geometry, 2 - geometry.rank
    ones = (1,) * missing
    before = (0,) * missing + tuple(pair[0] for pair in g.padding)
    return (*(ones + size for size in (g.in_size, g.out_size, g.kernel, g.stride, g.dilation)), before)
