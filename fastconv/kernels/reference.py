"""The definition of correct: every operation as loops over single elements, in float64 or wider.

Arrays are read as (n, c, ...) and weights as (k, c, ...), whatever the layout, through views. An operation is a function that
computes one output, looped over all outputs; comparisons call that function for a sample of the outputs of a large case.
"""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastconv.kernels.activations import KINDS, activated
from fastconv.problem.borders import Border, source_cell
from fastconv.problem.convolutions import Array, ConvGeometry, Size
from fastconv.problem.pools import PoolGeometry, span
from fastconv.problem.problem import Operands, Problem
from fastconv.problem.windows import ElementwiseGeometry

WIDER: dict[np.dtype[Any], np.dtype[Any]] = {
    np.dtype(np.float32): np.dtype(np.float64),
    np.dtype(np.float64): np.dtype(np.longdouble),
    np.dtype(np.complex64): np.dtype(np.complex128),
    np.dtype(np.complex128): np.dtype(np.clongdouble),
}


def widened(array: Array, summed: np.dtype[Any] | None = None) -> Array:
    """A copy in the dtype that the reference sums in, wider than `summed`: a float, or 64-bit integers, which wrap."""
    summed = array.dtype if summed is None else summed
    integers: np.dtype[Any] = np.dtype(np.uint64 if summed.kind == "u" else np.int64)
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(summed).astype(WIDER.get(summed, integers))


def narrowed(value: Any, dtype: np.dtype[Any]) -> Any:
    """A wide result as a scalar of `dtype`; integers wrap."""
    if dtype.kind in "iu":
        return np.array(int(value) & ((1 << 8 * dtype.itemsize) - 1), f"u{dtype.itemsize}").view(dtype)[()]
    with np.errstate(over="ignore", invalid="ignore"):
        return dtype.type(value)


def positions(size: Size) -> Iterator[Size]:
    """Every index of an array of this size, in row-major order."""
    return itertools.product(*map(range, size))


def activate_cell(value: Any, geometry: ConvGeometry | ElementwiseGeometry) -> Any:
    """The geometry's activation of one value."""
    name, low, high = geometry.activation
    return activated(value, KINDS.index(name), low, high)


# Convolution ------------------------------------------------------------------------------------------------------------


def conv_cell(x: Array, w: Array, bias: Array, geometry: ConvGeometry, n: int, k: int, position: Size) -> Any:
    """One output: bias[k] + sum over taps and channels of x[n, c, cell] * w[k, c, tap], before the activation.

    x, w and bias are widened, x as (n, c, ...) and w as (k, c, ...), or (c, k, ...) of a transposed convolution. A tap in the
    border meets the border's value.
    """
    group = k // geometry.out_per_group
    first = group * geometry.in_per_group
    total = bias[k]
    border = x.dtype.type(geometry.border.value)
    for tap in positions(geometry.kernel):
        cell = geometry.cell(position, tap)
        if cell is None and not geometry.border.value:
            continue
        for c in range(geometry.in_per_group):
            pair = (first + c, k - group * geometry.out_per_group) if geometry.transposed else (k, c)
            weight = w[(*pair, *tap)]
            total = total + (border if cell is None else x[(n, first + c, *cell)]) * weight
    return total


def conv(operands: Operands, packed: tuple[Array, Array], problem: Problem, out: Array) -> None:
    """y[n, k, position], for all of them: convolutions and transposed convolutions alike."""
    geometry, summed = problem.geometry, problem.types.summed
    w, bias = (widened(array, summed) for array in packed)
    x, w = widened(geometry.channels_first(operands["x"]), summed), geometry.channels_first(w)
    residual = widened(geometry.channels_first(operands["residual"]), summed) if problem.residual else None
    y = geometry.channels_first(out)
    with np.errstate(over="ignore", invalid="ignore"):
        for n in range(geometry.batch):
            for k in range(geometry.out_channels):
                for position in positions(geometry.out_size):
                    value = conv_cell(x, w, bias, geometry, n, k, position)
                    if residual is not None:
                        value = value + residual[(n, k, *position)]
                    if out.dtype.kind in "iu":  # as NumPy's sums would, an integer wraps before its activation
                        value = int(narrowed(value, out.dtype))
                    y[(n, k, *position)] = narrowed(activate_cell(value, geometry), out.dtype)


# Pools ------------------------------------------------------------------------------------------------------------------


def window(geometry: PoolGeometry, position: Size) -> Iterator[Size | None]:
    """The input cells of one output's window, padding left out, in row-major order."""
    if geometry.border is not None or geometry.footprint is not None:
        return window_by_taps(geometry, position)
    spans = map(span, geometry.axes, position)
    return itertools.product(
        *(range(start, stop, step) for (start, stop, _), step in zip(spans, geometry.dilation, strict=True))
    )


def window_by_taps(geometry: PoolGeometry, position: Size) -> Iterator[Size | None]:
    """The cells under the taps of a footprint; where padding holds the cells of a border these too, None for a constant."""
    g = geometry
    mode = Border().code if g.border is None else g.border.code
    for number, tap in enumerate(positions(g.kernel)):
        if g.footprint is not None and not g.footprint[number]:
            continue
        axes = zip(position, g.stride, tap, g.dilation, g.padding, g.in_size, strict=True)
        cells = tuple(source_cell(o * s + t * d - before, size, mode) for o, s, t, d, (before, _), size in axes)
        if -1 not in cells:
            yield cells
        elif g.border is not None:
            yield None


def value_of(x: Array, geometry: PoolGeometry, n: int, c: int, cell: Size | None) -> Any:
    """The value of a cell, or of the border."""
    if cell is None:
        assert geometry.border is not None
        return x.dtype.type(geometry.border.value)
    return x[(n, c, *cell)]


def is_nan(value: Any) -> bool:
    """Whether a value is not itself."""
    return bool(value != value)


def index_of(cell: Size | None, geometry: PoolGeometry) -> int:
    """The index of a cell in its plane of the input."""
    return sum(i * math.prod(geometry.in_size[axis + 1 :]) for axis, i in enumerate(cell or ()))


def cell_of_rank(x: Array, geometry: PoolGeometry, n: int, c: int, position: Size) -> tuple[Any, int]:
    """(value, index in the input plane) of the cell of a window in the geometry's place in order; NaN last."""
    found = [(value_of(x, geometry, n, c, cell), cell) for cell in window(geometry, position)]
    found.sort(key=lambda pair: (is_nan(pair[0]), 0 if is_nan(pair[0]) else pair[0]))  # equal cells stay in their order
    value, cell = found[geometry.order]
    return value, index_of(cell, geometry)


def best_cell(x: Array, geometry: PoolGeometry, n: int, c: int, position: Size) -> tuple[Any, int]:
    """(value, index in the input plane) of a window's largest cell, or smallest; the first of equals, the first NaN."""
    if geometry.kind == "rank":
        return cell_of_rank(x, geometry, n, c, position)
    best, index = None, -1
    for cell in window(geometry, position):
        value = value_of(x, geometry, n, c, cell)
        better = best is None or (value > best if geometry.kind == "max" else value < best)
        if better or (is_nan(value) and not is_nan(best)):
            best = value
            index = index_of(cell, geometry)
    return best, index


def average_cell(x: Array, geometry: PoolGeometry, n: int, c: int, position: Size) -> Any:
    """The sum of a window over its divisor; an integer's sum wraps at 64 bits and its quotient goes toward zero."""
    total = sum((value_of(x, geometry, n, c, cell) for cell in window(geometry, position)), start=x.dtype.type(0))
    divisor = geometry.divisor_override
    if divisor is None and geometry.border is not None:
        divisor = math.prod(geometry.kernel)
    elif divisor is None:
        divisor = math.prod(span(axis, o).count for axis, o in zip(geometry.axes, position, strict=True))
    if x.dtype.kind in "iu":
        quotient = abs(int(total)) // abs(divisor)
        return quotient if (total < 0) == (divisor < 0) else -quotient
    return total / x.dtype.type(divisor)


def norm_cell(x: Array, geometry: PoolGeometry, n: int, c: int, position: Size) -> Any:
    """(sum of |x|**p) ** (1 / p); the largest |x| where p is infinite."""
    values = [abs(value_of(x, geometry, n, c, cell)) for cell in window(geometry, position)]
    p = x.dtype.type(geometry.norm_type)
    if np.isinf(p):
        return max(values, key=lambda value: (is_nan(value), value), default=x.dtype.type(0))
    return sum((value**p for value in values), start=x.dtype.type(0)) ** (1 / p)


def pool_cell(x: Array, geometry: PoolGeometry, n: int, c: int, position: Size) -> Any:
    """One output of any pool; x is widened, as (n, c, ...)."""
    if geometry.kind in ("max", "min", "rank"):
        return best_cell(x, geometry, n, c, position)[0]
    return (average_cell if geometry.kind == "avg" else norm_cell)(x, geometry, n, c, position)


def pool(operands: Operands, packed: None, problem: Problem, out: Any) -> None:
    """y[n, c, position] of a pool, and its index beside it where `out` is (values, indices)."""
    x, geometry = operands["x"], problem.geometry
    values, indices = out if geometry.return_indices else (out, None)
    x, y = widened(geometry.channels_first(x)), geometry.channels_first(values)
    where = None if indices is None else geometry.channels_first(indices)
    with np.errstate(all="ignore"):
        for n in range(geometry.batch):
            for c in range(geometry.channels):
                for position in positions(geometry.out_size):
                    if where is None:
                        value = pool_cell(x, geometry, n, c, position)
                    else:
                        value, where[(n, c, *position)] = best_cell(x, geometry, n, c, position)
                    y[(n, c, *position)] = narrowed(value, values.dtype)


def max_unpool(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """y[n, c, index] = x[n, c, position], zero elsewhere; the last of equal indices stays."""
    geometry = problem.geometry
    values, indices, y = (geometry.channels_first(array) for array in (operands["x"], operands["indices"], out))
    y[...] = 0
    for n in range(geometry.batch):
        for c in range(geometry.channels):
            for position in positions(geometry.in_size):
                cell: Any = np.unravel_index(int(indices[(n, c, *position)]), geometry.out_size)
                y[(n, c, *cell)] = values[(n, c, *position)]


# Windows and elements ---------------------------------------------------------------------------------------------------


def unfold(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """y[n, (c, tap), position] = x[n, c, cell under the tap], zero in padding."""
    x, geometry = operands["x"], problem.geometry
    plane = geometry.windows
    y = out.reshape(geometry.batch, geometry.channels, plane.taps, -1)
    for n in range(geometry.batch):
        for c in range(geometry.channels):
            for t, tap in enumerate(positions(plane.kernel)):
                for p, position in enumerate(positions(plane.out_size)):
                    cell = plane.cell(position, tap)
                    y[n, c, t, p] = 0 if cell is None else x[(n, c, *cell)]


def fold(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """y[n, c, cell] = sum of x[n, (c, tap), position] over the taps and positions that lie over the cell."""
    x, geometry = operands["x"], problem.geometry
    plane = geometry.windows
    columns = widened(x.reshape(geometry.batch, geometry.channels, plane.taps, -1))
    total = np.zeros(geometry.image_shape, columns.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        for n in range(geometry.batch):
            for c in range(geometry.channels):
                for t, tap in enumerate(positions(plane.kernel)):
                    for p, position in enumerate(positions(plane.out_size)):
                        cell = plane.cell(position, tap)
                        if cell is not None:
                            total[(n, c, *cell)] += columns[n, c, t, p]
        for index in positions(geometry.image_shape):
            out[index] = narrowed(total[index], out.dtype)


def activation(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """Y = the activation of x, element by element."""
    x, geometry = operands["x"], problem.geometry
    wide = widened(x)
    for index in positions(geometry.shape):
        value = int(wide[index]) if out.dtype.kind in "iu" else wide[index]
        out[index] = narrowed(activate_cell(value, geometry), out.dtype)
