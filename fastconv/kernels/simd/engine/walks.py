"""A geometry as kernels walk it: flattened where positions need no rows, with the strides of its arrays and weights."""

from collections.abc import Iterator
from itertools import product
from math import prod
from typing import NamedTuple

import numpy as np

from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd.engine.sizes import Axes, Plane, Strides
from fastconv.problem.convolutions import SPATIAL_AXES, Array, ConvGeometry, Size
from fastconv.problem.walks import Walk

Walks = tuple[Walk, ...]  # one an axis
MOST_WALKS = 1024  # of a geometry: each is a launch of its own


class TapSteps(NamedTuple):
    """Elements of the weights from one group, output channel, input channel and tap to the next, and to the first tap."""

    group: int
    k: int
    c: int
    t: int
    r: int
    s: int
    first: int


@remembered
def flattened(geometry: ConvGeometry) -> ConvGeometry:
    """The lifted geometry; where every position is its own window, all of them as one long row.

    Columns of a transposed convolution that do not overlap, channels last, lie together as channels do: they become channels.
    """
    g = geometry.lifted()
    if g.is_pointwise:
        return g.changed(in_size=(1, 1, prod(g.in_size)))
    plain = g.dilation[-1] == 1 and not any(g.padding[-1]) and not g.output_padding[-1]
    if g.transposed and g.channels_last and g.groups == 1 and plain and g.kernel[-1] == g.stride[-1]:
        wide = g.stride[-1]
        return g.changed(kernel=(*g.kernel[:-1], 1), stride=(*g.stride[:-1], 1), out_channels=wide * g.out_channels)
    return g


def strides(geometry: ConvGeometry, channels: int, size: Size) -> Strides:
    """Element strides of a C-ordered array in this geometry's layout."""
    shape = geometry.shape(channels, size)
    steps = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
    return Strides(*((steps[0], steps[-1], *steps[1:-1]) if geometry.channels_last else steps))


def walks_of(geometry: ConvGeometry) -> Iterator[Walks]:
    """The plain convolutions that a lifted geometry is made of, those without outputs left out, in the order that they run.

    Where some outputs of a transposed convolution meet no tap, all outputs are written first as if none did.
    """
    g = geometry
    if not prod(g.out_size):
        return
    by_axis = [g.walks(axis) for axis in range(SPATIAL_AXES)]
    if any(sum(walk.outputs for walk in walks) < outputs for walks, outputs in zip(by_axis, g.out_size, strict=True)):
        yield tuple(map(g.bare_walk, range(SPATIAL_AXES)))
    yield from product(*by_axis)


def refusal(geometry: ConvGeometry) -> str | None:
    """Why a geometry has too many walks, or None."""
    g = flattened(geometry)
    count = prod(map(g.most_walks, range(SPATIAL_AXES)))
    return None if count <= MOST_WALKS else f"a transposed convolution of {count:,} phases would take as many launches"


def along(walks: Walks, field: str) -> Axes:
    """One field of the walks of the three axes."""
    d, h, w = (getattr(walk, field) for walk in walks)
    return Axes(d, h, w)


def tap_steps(geometry: ConvGeometry, walks: Walks) -> TapSteps:
    """The steps of the weights of one walk."""
    g = geometry
    first, second = (g.in_per_group, g.out_per_group) if g.transposed else (g.out_per_group, g.in_per_group)
    shape = (g.groups * first, *g.kernel, second) if g.channels_last else (g.groups * first, second, *g.kernel)
    steps = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
    by_second, by_taps = (steps[-1], steps[1:-1]) if g.channels_last else (steps[1], steps[2:])
    by_k, by_c = (by_second, steps[0]) if g.transposed else (steps[0], by_second)
    t, r, s = (step * walk.kernel_step for step, walk in zip(by_taps, walks, strict=True))
    begun = sum(step * walk.kernel_first for step, walk in zip(by_taps, walks, strict=True))
    return TapSteps(first * steps[0], by_k, by_c, t, r, s, begun)


def widened(bias: Array, geometry: ConvGeometry) -> Array:
    """The bias of all channels of the flattened geometry."""
    if not geometry.transposed:
        return bias
    copies = flattened(geometry).out_channels // max(1, geometry.out_channels)
    return bias if copies <= 1 else np.tile(bias, copies)


class PlaneSizes(NamedTuple):
    """The sizes of a convolution of rank 1 or 2, each over two axes; `before` is the padding there."""

    cells: Plane
    outputs: Plane
    taps: Plane
    stride: Plane
    dilation: Plane
    before: Plane


def plane_sizes(geometry: ConvGeometry) -> PlaneSizes:
    """The geometry over two axes: an axis of one cell comes first."""
    g, missing = geometry, 2 - geometry.rank
    before = (0,) * missing + tuple(pair[0] for pair in g.padding)
    sizes = ((1,) * missing + size for size in (g.in_size, g.out_size, g.kernel, g.stride, g.dilation))
    return PlaneSizes(*(Plane(*size) for size in (*sizes, before)))
