"""The gradient of a convolution by its weights as a product of matrices, with NumPy and BLAS.

    channels first   dw [K, C R] = sum of dy [K, P] @ col [C R, P]^T
    channels last    dw [K, R C] = sum of dy [P, K]^T @ col [P, R C]

with P output positions and R taps, over images and tiles of positions in their order, for each group. `im2col` copies windows into
columns, 16 MiB at a time; `strided` lets tensordot copy them, out of a view.
"""

from itertools import product
from math import prod

import numpy as np

from fastconv.kernels.borders import with_border
from fastconv.kernels.im2col import channels_to_front, copy_windows, slices, tiles
from fastconv.kernels.strided import WORKSPACE, supports_conv, windows_of
from fastconv.problem.convolutions import Array
from fastconv.problem.problem import Operands, Problem


def im2col(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """A tile of columns at a time: copy, multiply, add up."""
    x, dy, g = operands["x"], operands["dy"], problem.geometry.forward
    dw = out.reshape(g.groups, g.out_per_group, g.reduction)
    dw[...] = 0
    for group, n in product(range(g.groups), range(g.batch)):
        ins = slice(group * g.in_per_group, (group + 1) * g.in_per_group)
        outs = slice(group * g.out_per_group, (group + 1) * g.out_per_group)
        for begin, end in tiles(g.out_size, g.reduction, x.itemsize):
            block = slices(begin, end)
            tile = tuple(stop - start for start, stop in zip(begin, end, strict=True))
            if g.channels_last:
                col = np.empty((*tile, *g.kernel, g.in_per_group), x.dtype)
                copy_windows(np.moveaxis(x[n, ..., ins], -1, 0), channels_to_front(col, g.rank), g, begin, end)
                part = dy[(n, *block, outs)].reshape(prod(tile), g.out_per_group)
                dw[group] += part.T @ col.reshape(prod(tile), g.reduction)
            else:
                col = np.empty((g.in_per_group, *g.kernel, *tile), x.dtype)
                copy_windows(x[n, ins], col, g, begin, end)
                part = dy[(n, outs, *block)].reshape(g.out_per_group, prod(tile))
                dw[group] += part @ col.reshape(g.reduction, prod(tile)).T


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
