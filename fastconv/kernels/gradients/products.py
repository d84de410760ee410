"""The gradient of a convolution by its weights as a product of matrices, with NumPy and BLAS.

    channels first   dw [K, C R] = sum of dy [K, P] @ col [C R, P]^T
    channels last    dw [K, R C] = sum of dy [P, K]^T @ col [P, R C]

with P output positions and R taps, over images and tiles of positions in their order, for each group. `im2col` copies windows
into columns, 16 MiB at a time; `strided` lets tensordot copy them, out of a view.
"""

from itertools import product
from math import prod

import numpy as np

from fastconv.kernels.borders import with_border
from fastconv.kernels.im2col import EVERY, overlap, slices, tiles
from fastconv.kernels.strided import WORKSPACE, supports_conv, windows_of
from fastconv.problem.borders import CONSTANT, ZERO_FILL
from fastconv.problem.convolutions import Array, ConvGeometry, Size
from fastconv.problem.problem import Operands, Problem


def im2col(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """A tile of columns of some images at a time: copy, multiply, add up."""
    g = problem.geometry.forward
    x, dy = operands["x"], operands["dy"]
    dw = out.reshape(g.groups, g.out_per_group, g.reduction)
    dw[...] = 0
    for group in range(g.groups):
        ins = slice(group * g.in_per_group, (group + 1) * g.in_per_group)
        outs = slice(group * g.out_per_group, (group + 1) * g.out_per_group)
        for begin, end in tiles((g.batch, *g.out_size), g.reduction, x.itemsize):
            (first, *low), (last, *high) = begin, end
            block = slices(tuple(low), tuple(high))
            tile = (last - first, *(stop - start for start, stop in zip(low, high, strict=True)))
            images = slice(first, last)
            if g.channels_last:
                col = np.empty((*tile, *g.kernel, g.in_per_group), x.dtype)
                place = channels_to_front(col, g.rank + 1)  # [c, *tap, image, *position]
                copy_columns(np.moveaxis(x[images, ..., ins], -1, 0), place, g, tuple(low), tuple(high))
                part = dy[(images, *block, outs)].reshape(prod(tile), g.out_per_group)
                dw[group] += part.T @ col.reshape(prod(tile), g.reduction)
            else:
                col = np.empty((g.in_per_group, *g.kernel, *tile), x.dtype)
                copy_columns(np.moveaxis(x[images, ins], 1, 0), col, g, tuple(low), tuple(high))
                part = np.moveaxis(dy[(images, outs, *block)], 1, 0).reshape(g.out_per_group, prod(tile))
                dw[group] += part @ col.reshape(g.reduction, prod(tile)).T


def channels_to_front(col: Array, axes: int) -> Array:
    """A view of [image, *position, *tap, c] as [c, *tap, image, *position], with so many axes of images and positions."""
    return col.transpose(col.ndim - 1, *range(axes, col.ndim - 1), *range(axes))


def copy_columns(x: Array, col: Array, g: ConvGeometry, begin: Size, end: Size) -> None:
    """col[c, *tap, image, *position] = x[c, image, *cell] for a block of positions."""
    plain = g.border.code in (ZERO_FILL, CONSTANT)
    if plain and any(any(pair) for pair in g.padding):
        col[...] = col.dtype.type(g.border.value)
    for tap in product(*map(range, g.kernel)):
        to = col[(EVERY, *tap)]
        if plain:
            positions, cells = overlap(g, tap, begin, end)
            to[(EVERY, EVERY, *positions)] = x[(EVERY, EVERY, *cells)]
        else:
            sources = (g.sources(axis, t, begin[axis], end[axis]) for axis, t in enumerate(tap))
            to[...] = x[(EVERY, EVERY, *np.ix_(*sources))]


def supports_strided(problem: Problem) -> str | None:
    """Convolutions of an input that can be copied with its padding."""
    g = problem.geometry.forward
    return supports_conv(Problem(g, problem.types))


def strided(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """dy [K, *O] . windows [C, *O, *K_in] -> dw [K, C, *K_in], over images and blocks of rows."""
    g = problem.geometry.forward
    x, dy, dw = (g.channels_first(array) for array in (operands["x"], operands["dy"], out))
    views = windows_of(with_border(x, g.padding, g.border), g.kernel, g.stride, g.dilation)
    rows = max(1, WORKSPACE // max(1, x.itemsize * g.reduction * prod(g.out_size[1:])))
    contracted = (tuple(range(1, 1 + g.rank)), tuple(range(1, 1 + g.rank)))
    dw[...] = 0
    for group, n, first in product(range(g.groups), range(g.batch), range(0, g.out_size[0], rows)):
        outs = slice(group * g.out_per_group, (group + 1) * g.out_per_group)
        view = views[n, group * g.in_per_group : (group + 1) * g.in_per_group, first : first + rows]
        dw[outs] += np.tensordot(dy[n, outs, first : first + rows], view, contracted)
