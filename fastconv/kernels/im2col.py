"""Convolution as matrix multiplication: windows copied into the columns of a matrix, then BLAS.

    channels first   w [K, C R] @ col [C R, P]  -> y [K, P]
    channels last    col [P, R C] @ w [R C, K]  -> y [P, K]

with P output positions and R taps, for each image and group. Only a tile of P positions is ever copied, WORKSPACE bytes at
most, so that the matrix never exists as a whole. Chellapilla, Puri and Simard, High Performance Convolutional Neural Networks
for Document Processing (2006). The transposed convolution runs the same road backwards: col = w^T @ x, then col2im adds
every column to the cells of its window.
"""

from collections.abc import Iterator
from itertools import product
from math import prod
from typing import Any

import numpy as np

from fastconv.kernels.activations import activate
from fastconv.problem.borders import CONSTANT, ZERO_FILL
from fastconv.problem.convolutions import Array, ConvGeometry, Size
from fastconv.problem.problem import Operands, Problem

WORKSPACE = 16 << 20
EVERY: Any = slice(None)
Packed = tuple[Array, Array]


def pack(w: Array, bias: Array, problem: Problem) -> Packed:
    """W as one matrix a group: [G, K, C R] channels first, [G, R C, K] last; transposed [G, K R, C], [G, C, R K].

    Views: BLAS reads a matrix by rows or by columns, and to copy one would take longer than one product of few positions.
    """
    g = problem.geometry
    if g.transposed:
        grouped = w.reshape(g.groups, g.in_per_group, g.out_per_group * g.taps)
        return (grouped if g.channels_last else grouped.transpose(0, 2, 1)), bias
    grouped = w.reshape(g.groups, g.out_per_group, g.reduction)
    return (grouped.transpose(0, 2, 1) if g.channels_last else grouped), bias


def tiles(size: Size, depth: int, itemsize: int) -> Iterator[tuple[Size, Size]]:
    """(begin, end) of blocks of positions whose columns of `depth` values fit the workspace; whole last axes first."""
    room = max(1, WORKSPACE // max(1, itemsize * depth))
    block: list[int] = []
    for cells in reversed(size):
        block.insert(0, max(1, min(cells, room)))
        room = max(1, room // block[0])
    for begin in product(*(range(0, cells, step) for cells, step in zip(size, block, strict=True))):
        yield begin, tuple(min(b + step, cells) for b, step, cells in zip(begin, block, size, strict=True))


def slices(begin: Size, end: Size) -> tuple[Any, ...]:
    """The block between two corners."""
    return tuple(map(slice, begin, end))


def overlap(geometry: ConvGeometry, tap: Size, begin: Size, end: Size) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """(positions inside the block, cells under them): the block's positions whose `tap` is no padding."""
    positions, cells = [], []
    for axis, t in enumerate(tap):
        low, high, start = geometry.span(axis, t)
        stride = geometry.stride[axis]
        moved = max(low, begin[axis]) - low
        low, high, start = low + moved, max(low + moved, min(high, end[axis])), start + moved * stride
        positions.append(slice(low - begin[axis], high - begin[axis]))
        cells.append(slice(start, start + (high - low) * stride, stride))
    return tuple(positions), tuple(cells)


def channels_to_front(array: Array, rank: int) -> Array:
    """A view of [*position, *tap, c] as [c, *tap, *position]."""
    return np.moveaxis(np.moveaxis(array, -1, 0), range(1, 1 + rank), range(1 + rank, 1 + 2 * rank))


# Convolution ------------------------------------------------------------------------------------------------------------


def copy_windows(x: Array, col: Array, geometry: ConvGeometry, begin: Size, end: Size) -> None:
    """col[c, *tap, *position] = x[c, *cell] for a block of positions; views of any order."""
    g = geometry
    plain = g.border.code in (ZERO_FILL, CONSTANT)
    if plain and any(any(pair) for pair in g.padding):
        col[...] = col.dtype.type(g.border.value)
    for tap in product(*map(range, g.kernel)):
        to = col[(EVERY, *tap)]
        if plain:
            positions, cells = overlap(g, tap, begin, end)
            to[(EVERY, *positions)] = x[(EVERY, *cells)]
        else:
            sources = (g.sources(axis, t, begin[axis], end[axis]) for axis, t in enumerate(tap))
            to[...] = x[(EVERY, *np.ix_(*sources))]


def finish(y: Array, operands: Operands, place: Any, geometry: ConvGeometry) -> None:
    """The residual of a tile, whose results go to `place`, and the activation."""
    if "residual" in operands:
        y += operands["residual"][place].reshape(y.shape)
    activate(y, geometry.activation)


def conv(operands: Operands, packed: Packed, problem: Problem, out: Array) -> None:
    """A tile of columns at a time: copy, multiply, add the bias, activate."""
    x, g = operands["x"], problem.geometry
    w, bias = packed
    n: Any
    for n, group in product(range(g.batch), range(g.groups)):
        ins: Any = slice(group * g.in_per_group, (group + 1) * g.in_per_group)
        outs: Any = slice(group * g.out_per_group, (group + 1) * g.out_per_group)
        for begin, end in tiles(g.out_size, g.reduction, x.itemsize):
            block = slices(begin, end)
            tile = tuple(stop - start for start, stop in zip(begin, end, strict=True))
            if g.channels_last:
                col = np.empty((*tile, *g.kernel, g.in_per_group), x.dtype)
                copy_windows(np.moveaxis(x[n, ..., ins], -1, 0), channels_to_front(col, g.rank), g, begin, end)
                y = col.reshape(prod(tile), g.reduction) @ w[group] + bias[outs]
                finish(y, operands, (n, *block, outs), g)
                out[(n, *block, outs)] = y.reshape(*tile, g.out_per_group)
            else:
                col = np.empty((g.in_per_group, *g.kernel, *tile), x.dtype)
                copy_windows(x[n, ins], col, g, begin, end)
                y = w[group] @ col.reshape(g.reduction, prod(tile)) + bias[outs, None]
                finish(y, operands, (n, outs, *block), g)
                out[(n, outs, *block)] = y.reshape(g.out_per_group, *tile)


# Transposed -------------------------------------------------------------------------------------------------------------


def col2im(col: Array, y: Array, geometry: ConvGeometry, begin: Size, end: Size) -> None:
    """y[k, *cell] += col[k, *tap, *position] for a block of positions; views of any order."""
    for tap in product(*map(range, geometry.kernel)):
        positions, cells = overlap(geometry, tap, begin, end)
        y[(EVERY, *cells)] += col[(EVERY, *tap, *positions)]


def conv_transpose(operands: Operands, packed: Packed, problem: Problem, out: Array) -> None:
    """A tile of input cells at a time: multiply, add each column to its window; then the activation of a plane."""
    x, g = operands["x"], problem.geometry
    w, bias = packed
    n: Any
    for n, group in product(range(g.batch), range(g.groups)):
        ins: Any = slice(group * g.in_per_group, (group + 1) * g.in_per_group)
        outs: Any = slice(group * g.out_per_group, (group + 1) * g.out_per_group)
        y = np.moveaxis(out[n, ..., outs], -1, 0) if g.channels_last else out[n, outs]
        y[...] = bias[outs].reshape(-1, *(1,) * g.rank)
        for begin, end in tiles(g.in_size, g.out_per_group * g.taps, x.itemsize):
            block = slices(begin, end)
            tile = tuple(stop - start for start, stop in zip(begin, end, strict=True))
            if g.channels_last:
                pixels = x[(n, *block, ins)].reshape(prod(tile), g.in_per_group)
                col = channels_to_front((pixels @ w[group]).reshape(*tile, *g.kernel, g.out_per_group), g.rank)
            else:
                pixels = x[(n, ins, *block)].reshape(g.in_per_group, prod(tile))
                col = (w[group] @ pixels).reshape(g.out_per_group, *g.kernel, *tile)
            col2im(col, y, g, begin, end)
        if problem.residual:
            residual = operands["residual"]
            y += np.moveaxis(residual[n, ..., outs], -1, 0) if g.channels_last else residual[n, outs]
        activate(y, g.activation)
