"""Small maps as rows of matrices: each image is one row of x, and each output map one row of y.

    y [image][q, k] = sum over p, c of x [image][p, c] * matrix [q, k][p, c]        p: cells of the input, q: of the output

The matrix, a block Toeplitz one, holds w [k][tap][c] where tap of output q meets cell p, and zeros where none does. Windows on
a map of a few cells lie for the most part in padding: of 2x2 cells by 3x3 taps, padded by one, each output meets four cells.
"""

from dataclasses import replace
from math import prod

import numpy as np

from fastconv.problem.borders import ZERO_FILL
from fastconv.problem.convolutions import Array, ConvGeometry
from fastconv.problem.normal import row

MOST = 32  # cells of a map, and outputs
ROOM = 1 << 22  # elements of the matrix
WASTE = 1.5  # cells for a tap, of which the others are zeros
SMALL, MOST_WASTE = 1 << 18, 4  # elements of a matrix that may have more of them


def size(geometry: ConvGeometry) -> int:
    """Elements of the matrix."""
    return prod(geometry.in_size) * geometry.in_channels * prod(geometry.out_size) * geometry.out_channels


def refusal(geometry: ConvGeometry) -> str | None:
    """Why there is no matrix, or none that is worth its zeros."""
    g = geometry
    cells, outputs = prod(g.in_size), prod(g.out_size)
    if g.transposed or g.groups > 1 or g.mode != ZERO_FILL:
        return "it serves plain convolutions of one group, padded with zeros"
    waste = MOST_WASTE if size(g) <= SMALL else WASTE
    if not 1 < cells <= MOST or not 0 < outputs <= MOST or cells > waste * g.taps:
        return f"its maps have 2 to {MOST} cells, at most {waste:g} for a tap, not {cells} for {g.taps}"
    if size(g) > ROOM:
        return f"its matrix would have {size(g):,} elements, more than {ROOM:,}"
    return None


def as_rows(geometry: ConvGeometry) -> ConvGeometry:
    """The product that gives all outputs of all images."""
    g = geometry
    product = row(g, 1, g.batch, prod(g.in_size) * g.in_channels)
    return replace(product, out_channels=prod(g.out_size) * g.out_channels)


def taps_met(geometry: ConvGeometry) -> Array:
    """The tap by which each output meets each cell, [output][cell] in a row; -1 where none does."""
    g = geometry
    found = np.full((prod(g.out_size), prod(g.in_size)), -1)
    for output, position in enumerate(np.ndindex(*g.out_size)):
        for tap, place in enumerate(np.ndindex(*g.kernel)):
            cell = g.cell(position, place)
            if cell is not None:
                found[output, np.ravel_multi_index(cell, g.in_size)] = tap
    return found.reshape(-1)


def biases(bias: Array, geometry: ConvGeometry) -> Array:
    """The bias of every output of a row."""
    outputs = prod(geometry.out_size)
    return np.tile(bias, outputs) if geometry.channels_last else np.repeat(bias, outputs)
