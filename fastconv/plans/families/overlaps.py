"""Convolution as a product and an overlap-add: "col2im" of the registry.

    columns [k][t][p] = sum over c of w [c][k][t] * x [c][p]
    y [k] = bias [k] + fold (columns [k])

The product is a convolution of one tap by the kernels of direct convolution; its results are added up where windows overlap. It
makes no phases and pads nothing: for few output channels, whose sums do not fill registers, and for large kernels. A plain
convolution of stride 1 is a transposed one by mirrored weights, whose padding is what the kernel reaches beyond its own.
Channels last, the columns are turned before they are added up, and the sums of several channels are turned back.
"""

from dataclasses import replace
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Launch
from fastconv.kernels.keeping import remembered
from fastconv.kernels.memory import aligned
from fastconv.kernels.simd.arrays import columns, turning
from fastconv.kernels.simd.direct import choice as direct
from fastconv.machine import Machine, host
from fastconv.problem.borders import ZERO_FILL
from fastconv.problem.convolutions import IDENTITY, Array
from fastconv.problem.problem import Operands, Problem
from fastconv.problem.windows import FoldGeometry

WORKSPACE = 16 << 20  # bytes of the columns of an image, or of several


class Packed(NamedTuple):
    """The product's launches, and the bias."""

    product: tuple[Launch, ...]
    bias: Array


@remembered
def product_of(problem: Problem) -> Problem:
    """The convolution of one tap to a channel for every tap and output, of as many images as the workspace holds, or of one."""
    g = problem.geometry
    ones = (1,) * g.rank
    each = problem.dtype.itemsize * g.out_channels * g.taps * prod(g.in_size)
    geometry = replace(
        g,
        batch=g.batch if g.batch * each <= WORKSPACE else 1,
        out_channels=g.out_channels * g.taps,
        kernel=ones,
        stride=ones,
        padding=((0, 0),) * g.rank,
        dilation=ones,
        output_padding=(0,) * g.rank,
        transposed=False,
        activation=IDENTITY,
    )
    return replace(problem, geometry=geometry, residual=False)


@remembered
def fold_of(problem: Problem) -> FoldGeometry:
    """The overlap-add of what the product makes."""
    g = problem.geometry
    padding = g.padding
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
    return FoldGeometry("fold", product_of(problem).geometry.batch, g.out_channels, windows)


def supports(problem: Problem) -> str | None:
    """Real floats, where the columns of an image fit the workspace."""
    g, dtype = problem.geometry, problem.dtype
    if dtype not in (np.float32, np.float64):
        return f"its vectors are float32 or float64, not {dtype}"
    if not g.transposed:
        if g.mode != ZERO_FILL or any(step > 1 for step in g.stride):
            return "it serves borders of zeros and a stride of one"
        if any(max(pair) >= reach for pair, reach in zip(g.padding, g.window, strict=True)):
            return "it serves a padding that no window fits into"
    each = dtype.itemsize * g.out_channels * g.taps * prod(g.in_size)
    if each > WORKSPACE:
        return f"the products of an image take {each:,} bytes, more than {WORKSPACE:,}"
    if any(more >= step for more, step in zip(g.output_padding, g.stride, strict=True)):
        return "it serves an output_padding that is less than the stride"
    return None


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
    return f"{direct.kernel(product_of(problem), machine)}, {columns.name_of(fold_of(problem), problem.dtype, machine)}"


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
    made = np.ascontiguousarray(weights).reshape(product.geometry.w_shape)
    return Packed(direct.pack(made, np.zeros(product.geometry.out_channels, w.dtype), product), bias)


def run(operands: Operands, packed: Packed, problem: Problem, out: Array) -> None:
    """Some images at a time."""
    product, folded, x, machine = product_of(problem), fold_of(problem), operands["x"], host()
    for n in range(0, len(x), max(1, product.geometry.batch)):
        block: Any = slice(n, n + product.geometry.batch)
        y = out[block].reshape(-1)
        if problem.geometry.channels_last:
            run_last(x[block], packed, product, folded, y)
            continue
        made = aligned(prod(product.geometry.out_shape), problem.dtype)
        direct.run({"x": x[block]}, packed.product, product, made)
        columns.fold(made, packed.bias, folded, y, machine)


def run_last(x: Array, packed: Packed, product: Problem, folded: FoldGeometry, y: Array) -> None:
    """Some images, channels last."""
    g, machine, lanes = product.geometry, host(), host().lanes(product.dtype)
    images, positions, cells = g.batch, prod(g.out_size), prod(folded.windows.in_size)
    size = prod(g.out_shape)
    made = aligned(size + turning.room(g.out_channels, lanes), product.dtype)
    direct.run({"x": x}, packed.product, product, made[:size])
    turned = aligned(size, product.dtype)
    turning.run(made, turned, images, positions, g.out_channels, machine)
    if folded.channels == 1:
        columns.fold(turned, packed.bias, folded, y, machine)
        return
    planes = aligned(len(y) + turning.room(cells, lanes), product.dtype)
    columns.fold(turned, packed.bias, folded, planes[: len(y)], machine)
    turning.run(planes, y, images, folded.channels, cells, machine)
