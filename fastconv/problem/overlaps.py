"""A convolution as a product with every tap and an overlap-add: the sizes of both.

    columns [k][t][p] = sum over c of w [c][k][t] * x [c][p]
    y [k] = fold (columns [k])

A plain convolution of stride 1 is a transposed one by mirrored weights, whose padding is what the kernel reaches beyond its
own.
"""

from dataclasses import replace
from math import isqrt, prod

from fastconv.problem.borders import ZERO_FILL
from fastconv.problem.convolutions import IDENTITY, ConvGeometry
from fastconv.problem.windows import FoldGeometry


def column_values(geometry: ConvGeometry) -> int:
    """Values of the columns of an image."""
    return geometry.out_channels * geometry.taps * prod(geometry.in_size)


def overlap_refusal(geometry: ConvGeometry) -> str | None:
    """Why a convolution is no such product, or None."""
    g = geometry
    if g.transposed:
        fits = all(more < step for more, step in zip(g.output_padding, g.stride, strict=True))
        return None if fits else "it serves an output_padding that is less than the stride"
    if g.mode != ZERO_FILL or any(step > 1 for step in g.stride):
        return "it serves borders of zeros and a stride of one"
    fits = all(max(pair) < reach for pair, reach in zip(g.padding, g.window, strict=True))
    return None if fits else "it serves a padding that no window fits into"


def product_geometry(geometry: ConvGeometry, images: int) -> ConvGeometry:
    """The convolution of one tap, of some images, to a channel for every output and tap."""
    g, ones = geometry, (1,) * geometry.rank
    return replace(
        g,
        batch=images,
        out_channels=g.out_channels * g.taps,
        kernel=ones,
        stride=ones,
        padding=((0, 0),) * g.rank,
        dilation=ones,
        output_padding=(0,) * g.rank,
        transposed=False,
        activation=IDENTITY,
    )


def fold_geometry(geometry: ConvGeometry, images: int) -> FoldGeometry:
    """The overlap-add of the columns of some images, channels first."""
    g, padding = geometry, geometry.padding
    if not g.transposed:
        padding = tuple((reach - 1 - a, reach - 1 - b) for (a, b), reach in zip(g.padding, g.window, strict=True))
    windows = replace(
        g,
        batch=1,
        in_channels=1,
        out_channels=1,
        groups=1,
        in_size=g.out_size,
        channels_last=False,
        padding=padding,
        output_padding=(0,) * g.rank,
        transposed=False,
        activation=IDENTITY,
    )
    return FoldGeometry("fold", images, g.out_channels, windows)


def images_together(geometry: ConvGeometry, itemsize: int, near: int, room: int) -> int:
    """The images of a pass, all passes alike: as many as have `near` bytes of columns.

    Where only few of those divide the batch, all of it, if `room` holds that.
    """
    batch, size = geometry.batch, max(1, itemsize * column_values(geometry))
    most = min(batch, near // size)
    if most < 2:
        return min(1, batch)
    divisors = (one for n in range(1, isqrt(batch) + 1) if batch % n == 0 for one in (n, batch // n))
    found = max(one for one in divisors if one <= most)
    return found if 2 * found > most or batch * size > room else batch
