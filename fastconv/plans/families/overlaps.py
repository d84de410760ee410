"""Convolution as a product and an overlap-add: "col2im" of the registry.

    columns [k][t][p] = sum over c of w [c][k][t] * x [c][p]
    y [k] = bias [k] + fold (columns [k])

The product is a convolution of one tap by the kernels of direct convolution; its results are added up where windows overlap. It
makes no phases and pads nothing: for few output channels, whose sums do not fill registers, and for large kernels. A plain
convolution of stride 1 is a transposed one by mirrored weights, whose padding is what the kernel reaches beyond its own.
"""

from dataclasses import replace
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Launch
from fastconv.kernels.keeping import remembered
from fastconv.kernels.memory import aligned
from fastconv.kernels.simd.arrays import columns
from fastconv.kernels.simd.direct import choice as direct
from fastconv.machine import Machine, host
from fastconv.problem.borders import ZERO_FILL
from fastconv.problem.convolutions import IDENTITY, Array, ConvGeometry
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
        padding=padding,
        output_padding=(0,) * g.rank,
        transposed=False,
        activation=IDENTITY,
    )
    return FoldGeometry("fold", product_of(problem).geometry.batch, g.out_channels, windows)


def supports(problem: Problem) -> str | None:
    """Real floats, channels first, where the columns of an image fit the workspace."""
    g, dtype = problem.geometry, problem.dtype
    if dtype not in (np.float32, np.float64):
        return f"its vectors are float32 or float64, not {dtype}"
    if g.channels_last:
        return "it serves channels first"
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
    """Of the product and of the overlap-add, for all images."""
    product, passes = product_of(problem), problem.geometry.batch / max(1, product_of(problem).geometry.batch)
    return passes * (direct.cost(product, machine) + columns.seconds(fold_of(problem), problem.dtype, machine))


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
        turned = w.reshape(g.groups, g.in_per_group, g.out_per_group * g.taps).transpose(0, 2, 1)
    else:
        turned = w.reshape(g.out_channels, g.in_per_group, g.taps)[:, :, ::-1].transpose(0, 2, 1)
    weights = np.ascontiguousarray(turned).reshape(product.geometry.w_shape)
    return Packed(direct.pack(weights, np.zeros(product.geometry.out_channels, w.dtype), product), bias)


def run(operands: Operands, packed: Packed, problem: Problem, out: Array) -> None:
    """Some images at a time."""
    product, folded, x = product_of(problem), fold_of(problem), operands["x"]
    images: ConvGeometry = product.geometry
    made = aligned(images.batch * images.out_channels * prod(images.out_size), problem.dtype)
    for n in range(0, len(x), max(1, images.batch)):
        block: Any = slice(n, n + images.batch)
        direct.run({"x": x[block]}, packed.product, product, made)
        columns.fold(made, packed.bias, folded, out[block].reshape(-1), host())
