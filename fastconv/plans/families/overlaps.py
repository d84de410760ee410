"""Convolution as a product and an overlap-add: "col2im" of the registry.

    columns [k][t][p] = sum over c of w [c][k][t] * x [c][p]
    y [k] = bias [k] + fold (columns [k])

The product is a convolution of one tap by the kernels of direct convolution; its results are added up where windows overlap. It
makes no phases and pads nothing: for few output channels, whose sums do not fill registers, and for large kernels. A plain
convolution of stride 1 is a transposed one by mirrored weights, whose padding is what the kernel reaches beyond its own.
Channels last, the columns are turned before they are added up, and the sums of several channels are turned back.
"""

from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Call, Launch, flat, make_calls
from fastconv.kernels.keeping import remembered
from fastconv.kernels.memory import aligned
from fastconv.kernels.simd.arrays import columns, turning
from fastconv.kernels.simd.direct import choice as direct
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array
from fastconv.problem.overlaps import column_values, fold_geometry, images_together, overlap_refusal, product_geometry
from fastconv.problem.problem import Operands, Problem
from fastconv.problem.types import uniform
from fastconv.problem.windows import FoldGeometry

WORKSPACE = 16 << 20  # bytes of the columns of an image, or of several
TOGETHER = 4 << 20  # of several, which are added up while they are near


class Packed(NamedTuple):
    """What runs.

    Attributes
    ----------
    product : tuple of Launch
        Of the product.
    fold : Launch
        Of the overlap-add.
    bias : array
        What planes begin with.
    images, made : int
        Images of a pass, and elements of their columns.
    """

    product: tuple[Launch, ...]
    fold: columns.Launch
    bias: Array
    images: int
    made: int


@remembered
def product_of(problem: Problem) -> Problem:
    """The product, of as many images as lie near together, of all that the workspace holds, or of one."""
    g = problem.geometry
    images = images_together(g, problem.dtype.itemsize, TOGETHER, WORKSPACE)
    return Problem(product_geometry(g, images), uniform(problem.dtype))


@remembered
def fold_of(problem: Problem) -> FoldGeometry:
    """The overlap-add of what the product makes."""
    return fold_geometry(problem.geometry, product_of(problem).geometry.batch)


def supports(problem: Problem) -> str | None:
    """Real floats, where the columns of an image fit the workspace."""
    g, dtype = problem.geometry, problem.dtype
    if dtype not in (np.float32, np.float64):
        return f"its vectors are float32 or float64, not {dtype}"
    size = dtype.itemsize * column_values(g)
    if size > WORKSPACE:
        return f"the products of an image take {size:,} bytes, more than {WORKSPACE:,}"
    return overlap_refusal(g)


def cost(problem: Problem, machine: Machine) -> float:
    """Of the product, of turning, and of the overlap-add, for all images."""
    product, g, dtype = product_of(problem), problem.geometry, problem.dtype
    images, outs, made = product.geometry.batch, g.out_channels, product.geometry.out_channels
    seconds = direct.cost(product, machine) + columns.seconds(fold_of(problem), dtype, machine)
    if g.channels_last:
        seconds += turning.seconds(images, prod(g.in_size), made, dtype, machine)
        seconds += turning.seconds(images, outs, prod(g.out_size), dtype, machine) if outs > 1 else 0
    return max(1.0, g.batch / max(1, images)) * seconds


def pack_cost(problem: Problem, machine: Machine) -> float:
    """Weights turned, then packed."""
    return 5e-6 + 5e-10 * product_of(problem).geometry.weights * problem.dtype.itemsize


def kernel(problem: Problem, machine: Machine) -> str:
    """The names of both kernels."""
    fold = columns.launch(fold_of(problem), problem.geometry.out_channels, problem.dtype, machine)
    return f"{direct.kernel(product_of(problem), machine)}, {fold.kernel.__name__}"


def pack(w: Array, bias: Array, problem: Problem) -> Packed:
    """The weights of a group as [k][t][c], for the product."""
    g, product = problem.geometry, product_of(problem)
    if g.transposed:
        order = (g.taps, g.out_per_group) if g.channels_last else (g.out_per_group, g.taps)
        weights = w.reshape(g.groups, g.in_per_group, *order)
        weights = weights.transpose(0, 3, 2, 1) if g.channels_last else weights.transpose(0, 2, 3, 1)
    elif g.channels_last:
        weights = w.reshape(g.out_channels, g.taps, g.in_per_group)[:, ::-1]
    else:
        weights = w.reshape(g.out_channels, g.in_per_group, g.taps)[:, :, ::-1].transpose(0, 2, 1)
    g = product.geometry
    turned = np.ascontiguousarray(weights).reshape(g.w_shape)
    launches = direct.pack(turned, np.zeros(g.out_channels, w.dtype), product)
    fold = columns.launch(fold_of(problem), len(bias), problem.dtype, host())
    return Packed(launches, fold, bias, max(1, g.batch), prod(g.out_shape))


def run(operands: Operands, packed: Packed, problem: Problem, out: Array) -> None:
    """Some images at a time."""
    make_calls(calls(operands, packed, problem, out))


class Workspace(NamedTuple):
    """What all passes share: columns, and channels last those turned and the planes they are added up to, or an empty one."""

    columns: Array
    turned: Array
    planes: Array


def calls(operands: Operands, packed: Packed, problem: Problem, out: Array) -> tuple[Call, ...]:
    """The kernels of each pass, whose workspace is that of the pass before."""
    x, passes = operands["x"], pass_last if problem.geometry.channels_last else pass_first
    room = workspace_of(packed, problem)
    if packed.images == len(x):
        return passes(flat(x), room, packed, problem, flat(out))
    found: list[Call] = []
    for n in range(0, len(x), packed.images):
        block: Any = slice(n, n + packed.images)
        found += passes(flat(x[block]), room, packed, problem, flat(out[block]))
    return tuple(found)


def workspace_of(packed: Packed, problem: Problem) -> Workspace:
    """Of a pass; behind what is turned there is room for what is read there."""
    g, dtype, lanes = problem.geometry, problem.dtype, host().lanes(problem.dtype)
    if not g.channels_last:
        made = aligned(packed.made, dtype)
        return Workspace(made, made[:0], made[:0])
    cells, outs = prod(g.out_size), g.out_channels
    made = aligned(packed.made + turning.room(outs * g.taps, lanes), dtype)
    planes = made[:0] if outs == 1 else aligned(packed.images * outs * cells + turning.room(cells, lanes), dtype)
    return Workspace(made, aligned(packed.made, dtype), planes)


def pass_first(x: Array, room: Workspace, packed: Packed, problem: Problem, y: Array) -> tuple[Call, ...]:
    """Some images, channels first, from and to flat arrays."""
    made = room.columns
    return (*(one.call(x, made, made) for one in packed.product), packed.fold.call_of_fold(made, packed.bias, y))


def pass_last(x: Array, room: Workspace, packed: Packed, problem: Problem, y: Array) -> tuple[Call, ...]:
    """Some images, channels last."""
    g, machine, images, (made, turned, planes) = problem.geometry, host(), packed.images, room
    outs = g.out_channels
    product = (
        *(one.call(x, made, made) for one in packed.product),
        turning.call(made, turned, images, prod(g.in_size), outs * g.taps, machine),
    )
    if outs == 1:
        return (*product, packed.fold.call_of_fold(turned, packed.bias, y))
    return (
        *product,
        packed.fold.call_of_fold(turned, packed.bias, planes),
        turning.call(planes, y, images, outs, prod(g.out_size), machine),
    )
