"""Convolution as a product and an overlap-add: "col2im" of the registry.

    columns [k][t][p] = sum over c of w [c][k][t] * x [c][p]
    y [k] = bias [k] + fold (columns [k])

The product is a convolution of one tap by the kernels of direct convolution; its results are added up where windows overlap. It
makes no phases and pads nothing: for few output channels, whose sums do not fill registers, and for large kernels. A plain
convolution of stride 1 is a transposed one by mirrored weights, whose padding is what the kernel reaches beyond its own.
Channels last, the columns are turned before they are added up, and the sums of several channels are turned back.

Columns of several small images are made together. Of large images they are made for a band of rows after the other, so that
they stay in a cache; the rows that two bands share are made twice.
"""

from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Call, Launch, flat, make_calls
from fastconv.kernels.keeping import remembered
from fastconv.kernels.memory import LINE, aligned
from fastconv.kernels.simd.arrays import columns, permuting, turning
from fastconv.kernels.simd.direct import choice as direct
from fastconv.kernels.simd.direct import pointwise
from fastconv.kernels.simd.engine import costs
from fastconv.kernels.simd.engine.weights import Draft, launched
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array, ConvGeometry, Size
from fastconv.problem.overlaps import (
    Band,
    bands,
    column_values,
    fold_geometry,
    images_together,
    overlap_refusal,
    product_geometry,
    rows_beside,
    starts,
    whole,
)
from fastconv.problem.problem import Operands, Problem
from fastconv.problem.types import uniform
from fastconv.problem.windows import FoldGeometry

WORKSPACE = 16 << 20  # bytes of the columns of a pass at most
TOGETHER = 4 << 20  # of several images, which are added up while they are near
NEAR = 2 << 20  # of a band
PASS = 6e-6  # seconds between the kernels of a pass
SHARED = 4  # times the rows that a band shares with the next, that it has of its own at least


class Launches(NamedTuple):
    """What runs for a band, of some images.

    Attributes
    ----------
    product : tuple of Launch
        Of the product.
    fold : Launch
        Of the overlap-add.
    """

    product: tuple[Launch, ...]
    fold: columns.Launch


class Room(NamedTuple):
    """Elements of a pass's columns, and channels last of those turned and of the planes they are added up to."""

    columns: int
    turned: int = 0
    planes: int = 0


class Packed(NamedTuple):
    """What runs.

    Attributes
    ----------
    bands : tuple of (Band, Launches)
        Of some images, or of one.
    bias : array
        What planes begin with.
    images : int
        Of a pass.
    room : Room
        Of a pass at most.
    """

    bands: tuple[tuple[Band, Launches], ...]
    bias: Array
    images: int
    room: Room


class Cut(NamedTuple):
    """Images of a pass, and of one alone the rows of x that a band has of its own."""

    images: int
    rows: int


@remembered
def cut_of(problem: Problem) -> Cut | None:
    """As many images as lie near together, or all that the workspace holds, or a band of one; None if it does not hold that."""
    g, itemsize = problem.geometry, problem.dtype.itemsize
    size = itemsize * column_values(g)
    if size <= NEAR or (g.batch > 1 and size <= TOGETHER):
        return Cut(images_together(g, itemsize, TOGETHER, WORKSPACE), max(1, g.in_size[0]))
    of_row, beside = size // g.in_size[0], rows_beside(g)
    rows = max(NEAR // of_row - beside, SHARED * beside, 1)
    if rows + beside >= g.in_size[0] and size <= WORKSPACE:  # a band would make nearly all
        return Cut(1, g.in_size[0])
    if (rows + beside) * of_row > WORKSPACE:
        rows = WORKSPACE // of_row - beside
    if rows < max(1, beside):
        return None
    return Cut(1, -(-g.in_size[0] // -(-g.in_size[0] // rows)))  # bands are alike


def bands_of(problem: Problem) -> tuple[Band, ...]:
    """Of an image."""
    cut, g = cut_of(problem), problem.geometry
    assert cut is not None
    return (whole(g),) if cut.rows >= g.in_size[0] else tuple(bands(g, cut.rows))


@remembered
def product_of(problem: Problem, rows: int) -> Problem:
    """The product, for a pass over so many rows."""
    cut = cut_of(problem)
    assert cut is not None
    return Problem(product_geometry(problem.geometry, cut.images, rows), uniform(problem.dtype))


def fold_of(problem: Problem, band: Band) -> FoldGeometry:
    """The overlap-add of what the product makes."""
    return fold_geometry(problem.geometry, product_of(problem, band.rows).geometry.batch, band)


def is_part(problem: Problem, band: Band) -> bool:
    """Whether a band's planes are parts of larger ones."""
    g = problem.geometry
    return not g.channels_last and band != whole(g)


def supports(problem: Problem) -> str | None:
    """Real floats, where the columns of a band fit the workspace."""
    g, dtype = problem.geometry, problem.dtype
    if dtype not in (np.float32, np.float64):
        return f"its vectors are float32 or float64, not {dtype}"
    refused = overlap_refusal(g)
    if refused is None and cut_of(problem) is None:
        return f"the products of the rows that one of the output takes are more than {WORKSPACE:,} bytes"
    return refused


def cost(problem: Problem, machine: Machine) -> float:
    """Of the product, of turning, and of the overlap-add, for all images."""
    g, dtype, cut, found = problem.geometry, problem.dtype, cut_of(problem), bands_of(problem)
    assert cut is not None
    if not found:
        return 1e-6
    band = found[len(found) // 2]
    product = product_of(problem, band.rows)
    made, outs = product.geometry.out_channels, g.out_channels
    part = pointwise.candidate if is_part(problem, band) else direct.choice
    seconds = part(product, machine).seconds + columns.seconds(fold_of(problem, band), dtype, machine)
    if g.channels_last:
        seconds += turning.seconds(cut.images, prod(product.geometry.in_size), made, dtype, machine)
        seconds += turning.seconds(cut.images, outs, band.made * prod(g.out_size[1:]), dtype, machine) if outs > 1 else 0
    parts = max(1.0, g.batch / max(1, cut.images)) * max(1.0, g.out_size[0] / max(1, band.made))
    return PASS * len(found) + parts * seconds + (machine.seconds(0, g.bytes(dtype.itemsize)) if len(found) > 1 else 0.0)


def least(problem: Problem, machine: Machine) -> float:
    """Seconds that the cost is not below, found at once: of whole registers of the product, and of adding them up."""
    g, dtype = problem.geometry, problem.dtype
    if dtype not in (np.float32, np.float64):
        return 0.0
    vectors = g.batch * column_values(g) / machine.lanes(dtype)
    return machine.seconds(costs.CALL + vectors * (g.in_per_group / machine.units + columns.OF_VALUES))


def pack_cost(problem: Problem, machine: Machine) -> float:
    """Weights turned, then packed."""
    return 1.8e-5 + 2e-10 * problem.geometry.weights * problem.dtype.itemsize


def kind_of(band: Band, geometry: ConvGeometry) -> tuple[int, int, int]:
    """What the overlap-adds of bands differ by."""
    return band.rows, band.made, band.begin - band.first * geometry.stride[0]


def kernel(problem: Problem, machine: Machine) -> str:
    """The names of both kernels."""
    found = bands_of(problem)[:1]
    products = {draft.launch.kernel.__name__ for band in found for draft in draft_of(problem, band, machine)}
    folds = {fold_launch(problem, band, machine).kernel.__name__ for band in found}
    return ", ".join([*sorted(products), *sorted(folds)])


def draft_of(problem: Problem, band: Band, machine: Machine) -> tuple[Draft, ...]:
    """The product of a band, without weights: of planes that are parts of larger ones by panels."""
    product = product_of(problem, band.rows)
    if not is_part(problem, band):
        return direct.drafts(product, machine)
    g, dtype, cut = product.geometry, product.dtype, pointwise.candidate(product, machine).cut
    return pointwise.drafts(g, cut, dtype, machine, False, prod(problem.geometry.in_size))


def weights_of(w: Array, geometry: ConvGeometry, shape: Size) -> Array:
    """The weights of a group as [k][t][c], in the shape that the product asks for."""
    g = geometry
    if g.transposed:
        order = (g.taps, g.out_per_group) if g.channels_last else (g.out_per_group, g.taps)
        found = w.reshape(g.groups, g.in_per_group, *order)
        found = found.transpose(0, 3, 2, 1) if g.channels_last else found.transpose(0, 2, 3, 1)
    elif g.channels_last:
        found = w.reshape(g.out_channels, g.taps, g.in_per_group)[:, ::-1]
    else:
        found = w.reshape(g.out_channels, g.in_per_group, g.taps)[:, :, ::-1].transpose(0, 2, 1)
    squares = g.transposed and (g.out_per_group >= permuting.SIDE or not g.channels_last)
    return (permuting.contiguous(found, w) if squares else np.ascontiguousarray(found)).reshape(shape)


class Drafts(NamedTuple):
    """All launches without weights.

    Attributes
    ----------
    bands : tuple of (Band, columns.Launch)
        With the overlap-add of each.
    products : dict
        The drafts of the product by rows of a band: equal ones share their weights.
    begun : array
        What the product's sums begin with.
    w_shape : tuple of int
        Of the product's weights.
    images, room
        As Packed has them.
    """

    bands: tuple[tuple[Band, columns.Launch], ...]
    products: dict[int, tuple[Draft, ...]]
    begun: Array
    w_shape: Size
    images: int
    room: Room


@remembered
def drafts(problem: Problem, machine: Machine) -> Drafts:
    """The launches of each band: a function packs weights for them in every call."""
    g, cut, found = problem.geometry, cut_of(problem), bands_of(problem)
    assert cut is not None
    rows, kinds = {band.rows: band for band in found}, {kind_of(band, g): band for band in found}
    folds = {kind: fold_launch(problem, band, machine) for kind, band in kinds.items()}
    images, begun = max(1, cut.images), np.zeros(g.out_channels * g.taps, problem.dtype)
    return Drafts(
        tuple([(band, folds[kind_of(band, g)]) for band in found]),
        {one: draft_of(problem, band, machine) for one, band in rows.items()},
        begun,
        product_geometry(g, 1, 1).w_shape,
        images,
        room_of(problem, machine),
    )


def pack(w: Array, bias: Array, problem: Problem) -> Packed:
    """The launches of each band; those of equal products share their weights."""
    found = drafts(problem, host())
    turned = weights_of(w, problem.geometry, found.w_shape)
    products = {
        rows: tuple([launched(draft, turned, found.begun) for draft in parts]) for rows, parts in found.products.items()
    }
    launches = tuple([(band, Launches(products[band.rows], fold)) for band, fold in found.bands])
    return Packed(launches, bias, found.images, found.room)


def fold_launch(problem: Problem, band: Band, machine: Machine) -> columns.Launch:
    """The overlap-add of a band."""
    g = problem.geometry
    apart = prod(g.out_size) if is_part(problem, band) else 0
    return columns.launch(fold_of(problem, band), g.out_channels, problem.dtype, machine, apart)


def run(operands: Operands, packed: Packed, problem: Problem, out: Array) -> None:
    """Some images at a time, or bands of one."""
    make_calls(calls(operands, packed, problem, out))


class Workspace(NamedTuple):
    """What all passes share: columns, and channels last those turned and the planes they are added up to, or an empty one."""

    columns: Array
    turned: Array
    planes: Array


def calls(operands: Operands, packed: Packed, problem: Problem, out: Array) -> tuple[Call, ...]:
    """The kernels of each pass, whose workspace is that of the pass before."""
    x, g, passes = operands["x"], problem.geometry, pass_last if problem.geometry.channels_last else pass_first
    room = workspace_of(packed.room, problem)
    found: list[Call] = []
    for n in range(0, len(x), packed.images):
        block: Any = slice(n, n + packed.images)
        image, made = flat(x[block]), flat(out[block])
        for band, launches in packed.bands:
            first, begin = starts(g, band)
            found += passes(image[first:], room, launches, packed, problem, band, made[begin:])
    return tuple(found)


def room_of(problem: Problem, machine: Machine) -> Room:
    """Of the largest pass; behind what is turned there is room for what is read there. Each begins a cache line."""
    g, lanes, cut, found = problem.geometry, machine.lanes(problem.dtype), cut_of(problem), bands_of(problem)
    assert cut is not None
    images, line = max(1, cut.images), LINE // problem.dtype.itemsize
    made = images * column_values(g) // max(1, g.in_size[0]) * max((band.rows for band in found), default=0)
    if not g.channels_last:
        return Room(made)
    outs, cells = g.out_channels, prod(g.out_size[1:]) * max((band.made for band in found), default=0)
    planes = images * outs * cells + turning.room(cells, lanes) if outs > 1 else 0
    columns, turned = (-(-size // line) * line for size in (made + turning.room(outs * g.taps, lanes), made))
    return Room(columns, turned, planes)


def workspace_of(room: Room, problem: Problem) -> Workspace:
    """Of a pass, in one piece."""
    memory, (first, second, _) = aligned(sum(room), problem.dtype), room
    return Workspace(memory[:first], memory[first : first + second], memory[first + second :])


def pass_first(
    x: Array, room: Workspace, launches: Launches, packed: Packed, problem: Problem, band: Band, y: Array
) -> tuple[Call, ...]:
    """A band of some images, channels first, from and to flat arrays."""
    made = room.columns
    return (*(one.call(x, made, made) for one in launches.product), launches.fold.call_of_fold(made, packed.bias, y))


def pass_last(
    x: Array, room: Workspace, launches: Launches, packed: Packed, problem: Problem, band: Band, y: Array
) -> tuple[Call, ...]:
    """A band of some images, channels last."""
    g, machine, images, (made, turned, planes) = problem.geometry, host(), packed.images, room
    outs, cells = g.out_channels, band.rows * prod(g.in_size[1:])
    product = (
        *(one.call(x, made, made) for one in launches.product),
        turning.call(made, turned, images, cells, outs * g.taps, machine),
    )
    if outs == 1:
        return (*product, launches.fold.call_of_fold(turned, packed.bias, y))
    return (
        *product,
        launches.fold.call_of_fold(turned, packed.bias, planes),
        turning.call(planes, y, images, outs, band.made * prod(g.out_size[1:]), machine),
    )
