"""A convolution as a product with every tap and an overlap-add: the sizes of both.

    columns [k][t][p] = sum over c of w [c][k][t] * x [c][p]
    y [k] = fold (columns [k])

A plain convolution of stride 1 is a transposed one by mirrored weights, whose padding is what the kernel reaches beyond its
own. Bands of rows, along the first axis of an image, go one after another: each makes the columns of all rows of x that reach
it.
"""

from collections.abc import Iterator
from dataclasses import replace
from math import isqrt, prod
from typing import NamedTuple

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


class Band(NamedTuple):
    """Rows of the output from `begin` on, and those of x from `first` on whose windows reach them."""

    first: int
    rows: int
    begin: int
    made: int


def whole(geometry: ConvGeometry) -> Band:
    """All rows."""
    return Band(0, geometry.in_size[0], 0, geometry.out_size[0])


def bands(geometry: ConvGeometry, rows: int) -> Iterator[Band]:
    """Bands that begin `rows` rows of x apart; where taps reach no row of a band, it takes the last one before."""
    g, reach, step = geometry, geometry.window[0], geometry.stride[0]
    before, made = cut_before(g), rows * step
    for begin in range(0, g.out_size[0], made):
        end = min(begin + made, g.out_size[0])
        last = min(g.in_size[0] - 1, (end - 1 + before) // step)
        first = min(last, max(0, -((reach - 1 - begin - before) // step)))
        yield Band(first, last + 1 - first, begin, end - begin)


def starts(geometry: ConvGeometry, band: Band) -> tuple[int, int]:
    """Elements of an image, or channels first of each of its planes, before a band: of x, and of the output."""
    g = geometry
    of_x, of_y = (g.in_channels, g.out_channels) if g.channels_last else (1, 1)
    return band.first * prod(g.in_size[1:]) * of_x, band.begin * prod(g.out_size[1:]) * of_y


def rows_beside(geometry: ConvGeometry) -> int:
    """Rows of x that a band shares with the next."""
    return -(-(geometry.window[0] - 1) // geometry.stride[0])


def cut_before(geometry: ConvGeometry) -> int:
    """Rows that the full overlap-add has before the first one of the output."""
    return geometry.padding[0][0] if geometry.transposed else geometry.window[0] - 1 - geometry.padding[0][0]


def product_geometry(geometry: ConvGeometry, images: int, rows: int) -> ConvGeometry:
    """The convolution of one tap, of so many rows of some images, to a channel for every output and tap."""
    g, ones = geometry, (1,) * geometry.rank
    return replace(
        g,
        batch=images,
        in_size=(rows, *g.in_size[1:]),
        out_channels=g.out_channels * g.taps,
        kernel=ones,
        stride=ones,
        padding=((0, 0),) * g.rank,
        dilation=ones,
        output_padding=(0,) * g.rank,
        transposed=False,
        activation=IDENTITY,
    )


def fold_geometry(geometry: ConvGeometry, images: int, band: Band) -> FoldGeometry:
    """The overlap-add of the columns of a band of some images, channels first."""
    g, padding = geometry, geometry.padding
    if not g.transposed:
        padding = tuple((reach - 1 - a, reach - 1 - b) for (a, b), reach in zip(g.padding, g.window, strict=True))
    before = cut_before(g) + band.begin - band.first * g.stride[0]
    after = (band.rows - 1) * g.stride[0] + g.window[0] - band.made - before
    windows = replace(
        g,
        batch=1,
        in_channels=1,
        out_channels=1,
        groups=1,
        in_size=(band.made, *g.out_size[1:]),
        channels_last=False,
        padding=((before, after), *padding[1:]),
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


def are_inside(geometry: ConvGeometry) -> bool:
    """Whether all windows lie inside of y."""
    g = geometry
    reach = ((cells - 1) * step + window for cells, step, window in zip(g.in_size, g.stride, g.window, strict=True))
    return not any(pair[0] for pair in g.padding) and all(end <= size for end, size in zip(reach, g.out_size, strict=True))


def maps_of(geometry: ConvGeometry) -> tuple[int, int]:
    """(maps, positions of one): images of one cell, whose windows lie inside of y, are positions of the same map."""
    g = geometry
    pixels = prod(g.in_size) == 1 and g.batch > 1 and g.out_channels > 0 and are_inside(g)
    return (1, g.batch) if pixels else (g.batch, prod(g.in_size))
