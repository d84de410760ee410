"""Normal forms: a smaller problem with the same sums, on the same memory seen in another shape.

    taps that only padding meets        are left out of the kernel
    windows that are a whole image      are one product of a row of x and a row of w: channels of a map of one cell
    kernels of one tap, channels last   know no images and no rows: all positions are one row
    axes without a window, before others, channels last    are more images
    borders without padding             are borders of zeros
    adaptive windows that divide x      are a pool of stride and kernel alike

No array is copied but weights that lose taps. What a caller asks of an implementation by name is left as it is.
"""

from math import prod
from typing import Any, NamedTuple

from fastconv.problem.borders import ZERO_FILL, ZEROS
from fastconv.problem.convolutions import ConvGeometry
from fastconv.problem.pools import PoolGeometry
from fastconv.problem.problem import Problem

Cut = tuple[slice, ...]
OF_AXES = ("in_size", "kernel", "stride", "padding", "dilation", "output_padding")


class Axis(NamedTuple):
    """An axis of a kernel without taps that no output needs.

    Attributes
    ----------
    first, last : int
        The taps first .. last - 1 are left.
    before, after : int
        The padding that remains.
    """

    first: int
    last: int
    before: int
    after: int


def needed(geometry: ConvGeometry, axis: int) -> Axis:
    """The taps of an axis between the first and the last that some output meets inside of x; all of them where none is met."""
    taps, (before, after) = geometry.kernel[axis], geometry.padding[axis]
    stride, dilation, cells = geometry.stride[axis], geometry.dilation[axis], geometry.in_size[axis]

    def is_met(tap: int) -> bool:
        first, last, _ = geometry.span(axis, tap)
        return first < last

    if is_met(0) and is_met(taps - 1):
        return Axis(0, taps, before, after)
    met = [tap for tap in range(taps) if is_met(tap)]
    if not met:
        return Axis(0, taps, before, after)
    first = min(met[0], before // dilation)  # windows may begin before x, and not behind its first cell
    last = met[-1] + 1
    reach = (geometry.out_size[axis] - 1) * stride + 1 - before - cells
    while last < taps and reach + dilation * (last - 1) < 0:  # nor end before its last one
        last += 1
    return Axis(first, last, before - first * dilation, after if last == taps else reach + dilation * (last - 1))


def trimmed(geometry: ConvGeometry) -> tuple[ConvGeometry, Cut]:
    """The geometry without taps that only padding meets, and what is cut out of the kernel's axes."""
    g = geometry
    if g.transposed or g.mode != ZERO_FILL or 0 in g.out_shape:
        return g, ()
    axes = [needed(g, axis) for axis in range(g.rank)]
    kernel = tuple(axis.last - axis.first for axis in axes)
    if kernel == g.kernel:
        return g, ()
    dilation = tuple(1 if taps == 1 else step for taps, step in zip(kernel, g.dilation, strict=True))
    padding = tuple((axis.before, axis.after) for axis in axes)
    return g.changed(kernel=kernel, dilation=dilation, padding=padding), tuple(slice(one.first, one.last) for one in axes)


def row(geometry: ConvGeometry, batch: int, cells: int, in_channels: int) -> ConvGeometry:
    """A kernel of one tap on rows of `cells` positions, channels last."""
    return geometry.changed(
        batch=batch,
        in_channels=in_channels,
        in_size=(cells,),
        kernel=(1,),
        stride=(1,),
        padding=((0, 0),),
        dilation=(1,),
        output_padding=(0,),
        channels_last=True,
    )


def is_still(geometry: ConvGeometry, axis: int) -> bool:
    """Whether each cell of an axis is one window."""
    of = geometry.kernel[axis], geometry.stride[axis], geometry.padding[axis]
    return of == (1, 1, (0, 0))


def merged(geometry: ConvGeometry) -> ConvGeometry:
    """The geometry with fewer axes, or with one image."""
    g = geometry
    if g.transposed or 0 in g.out_shape or 0 in g.x_shape:
        return g
    whole = g.kernel == g.in_size and not any(map(any, g.padding)) and all(step == 1 for step in g.dilation)
    if whole and prod(g.out_size) == 1 and (g.groups == 1 or prod(g.in_size) == 1 or not g.channels_last):
        return row(g, 1, g.batch, g.in_channels * prod(g.in_size))
    if not g.channels_last:
        return g
    still = next((axis for axis in range(g.rank) if not is_still(g, axis)), g.rank)
    if still == g.rank:
        return row(g, 1, g.batch * prod(g.in_size), g.in_channels) if g.rank > 1 or g.batch > 1 else g
    if not still:
        return g
    left = {name: getattr(g, name)[still:] for name in OF_AXES}
    return g.changed(batch=g.batch * prod(g.in_size[:still]), **left)


def joined(geometry: ConvGeometry) -> ConvGeometry:
    """The geometry with one axis in place of neighbours whose cells are each one window, beside an axis where they are not.

    It is no normal form: some kernels are faster on rows of a plane.
    """
    g = geometry
    still = [is_still(g, axis) for axis in range(g.rank)]
    second = next((axis for axis in range(1, g.rank) if still[axis - 1] and still[axis]), 0)
    if g.transposed or 0 in g.x_shape or all(still) or not second:
        return g
    left: dict[str, Any] = {name: (*getattr(g, name)[:second], *getattr(g, name)[second + 1 :]) for name in OF_AXES}
    left["in_size"] = (*g.in_size[: second - 1], g.in_size[second - 1] * g.in_size[second], *g.in_size[second + 1 :])
    return joined(g.changed(**left))


def convolution(geometry: ConvGeometry) -> tuple[ConvGeometry, Cut]:
    """The normal form of a convolution, and what is cut out of the spatial axes of its weights."""
    if geometry.border is not ZEROS and not any(map(any, geometry.padding)):
        geometry = geometry.changed(border=ZEROS)
    small, cut = trimmed(geometry)
    return merged(small), cut


def pool(geometry: PoolGeometry) -> PoolGeometry:
    """The normal form of a pool."""
    g = geometry
    if not g.adaptive or 0 in (*g.in_size, *g.out_size):
        return g
    if any(cells % outputs for cells, outputs in zip(g.in_size, g.out_size, strict=True)):
        return g
    steps = tuple(cells // outputs for cells, outputs in zip(g.in_size, g.out_size, strict=True))
    return g.changed(kernel=steps, stride=steps, adaptive=False)


def normal(problem: Problem) -> tuple[Problem, Cut]:
    """The normal form of a problem, or the problem itself, and what is cut out of the spatial axes of its weights."""
    geometry = found = problem.geometry
    cut: Cut = ()
    if isinstance(geometry, ConvGeometry):
        found, cut = convolution(geometry)
    elif isinstance(geometry, PoolGeometry):
        found = pool(geometry)
    return (problem if found is geometry else problem.changed(geometry=found)), cut
