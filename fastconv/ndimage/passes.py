"""Passes along axes: weights that are a product of vectors, summed along one axis after the other, or along a few at once."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.keeping import remembered
from fastconv.ndimage import arguments as check
from fastconv.plans import filters
from fastconv.problem.borders import Border
from fastconv.problem.convolutions import Array
from fastconv.problem.filters import FilterGeometry, geometry, summed_by

SWEPT = 9  # cells of a window by whose weights a kernel may be chosen
WHOLE = 1 << 24  # whole numbers up to here are exact in float32
ONE = np.ones(1)


class Line(NamedTuple):
    """Weights along one axis."""

    axis: int
    weights: Array
    origin: int
    border: Border


def summed_in(dtype: np.dtype[Any], result: np.dtype[Any], weights: Sequence[Array], cval: Any) -> type:
    """What sums are made in: float32 where nothing else is read or written, or where whole sums are exact in it."""
    if dtype.kind == "f":
        return np.float32 if dtype.itemsize <= 4 and result.kind == "f" and result.itemsize <= 4 else np.float64
    if dtype.itemsize > 2:
        return np.float64
    whole = cval == int(cval) if np.isfinite(cval) else False
    most = max(abs(cval), 2.0 ** (8 * dtype.itemsize))
    for w in weights:
        most *= float(np.abs(w).sum())
        whole = whole and bool((w == np.rint(w)).all())
    return np.float32 if whole and most < WHOLE else np.float64


def in_passes(x: Array, lines: Sequence[Line], output: Array, cval: Any) -> Array:
    """`output`, after one pass for each of `lines`, whose axes differ; real numbers."""
    if not lines:
        output[...] = x
        return output
    vectors = tuple(
        [(axis, np.asarray(weights, np.float64).tobytes(), origin, border) for axis, weights, origin, border in lines]
    )
    steps, summed = steps_of(x.shape, x.dtype, output.dtype, vectors, float(cval))

    def compute(source: Array, out: Array) -> None:
        for number, (window, vectors) in enumerate(steps, 1):
            to = np.empty(out.shape, out.dtype) if number < len(steps) else out
            operands = {f"w{axis}": weights for axis, weights in enumerate(vectors)}
            filters.run(window, {"x": source, **operands}, to, summed, cval)
            source = to

    return check.computed(x, output, compute)


Step = tuple[FilterGeometry, tuple[Array, ...]]


@remembered
def steps_of(
    shape: tuple[int, ...], dtype: Any, result: Any, vectors: tuple[tuple[Any, ...], ...], cval: float
) -> tuple[tuple[Step, ...], type]:
    """(what each kernel sums: a window with a vector for each axis, what sums are made in); weights as bytes of float64."""
    lines = [Line(axis, np.frombuffer(weights), origin, border) for axis, weights, origin, border in vectors]
    summed = summed_in(dtype, result, [line.weights for line in lines], cval)
    if may_be_swapped(dtype, lines, result, cval):
        lines.sort(key=lambda line: line.axis)
    steps = []
    while lines:
        count = together(shape, lines)
        now, lines = lines[:count], lines[count:]
        of_axis = {line.axis: line.weights for line in now}
        steps.append((geometry_of(shape, now), tuple(of_axis.get(axis, ONE) for axis in range(len(shape)))))
    return tuple(steps), summed


def may_be_swapped(dtype: np.dtype[Any], lines: Sequence[Line], result: np.dtype[Any], cval: Any) -> bool:
    """Whether passes give the same in any order, but for the rounding of floats."""
    if any(line.border.mode == "constant" for line in lines) and cval != 0:
        return False
    whole = dtype.kind in "biu" and all((line.weights == np.rint(line.weights)).all() for line in lines)
    if result.kind in "iu" and result.itemsize == 8:  # what wraps there is no longer exact in float64
        return False
    return result.kind == "f" or whole


def together(shape: Sequence[int], lines: Sequence[Line]) -> int:
    """How many of the first of `lines` one kernel serves: those in the order of their axes, three and no more."""
    count = 1
    while count < len(lines) and lines[count].axis > lines[count - 1].axis:
        outer = geometry_of(shape, lines[: count + 1]).folded.outer
        if sum(axis.taps > 1 for axis in outer) > 1 or len(lines[count].weights) == 1:
            break
        count += 1
    return count


def geometry_of(shape: Sequence[int], lines: Sequence[Line]) -> FilterGeometry:
    """The window of passes."""
    rank, axes = len(shape), [line.axis for line in lines]
    taps = check.over_all_axes([len(line.weights) for line in lines], axes, rank, 1)
    origin = check.over_all_axes([line.origin for line in lines], axes, rank, 0)
    borders = check.over_all_axes([line.border for line in lines], axes, rank, Border())
    found = geometry("passes", tuple(shape), taps, origin, borders)
    return summed_by(found, products_of(lines)) if found.window == SWEPT and len(lines) == 2 else found


def products_of(lines: Sequence[Line]) -> tuple[float, ...]:
    """The weights of a window over two axes, row-major."""
    first, second = sorted(lines, key=lambda line: line.axis)
    return tuple(np.outer(first.weights, second.weights).ravel().tolist())


def by_parts(run: Any, x: Array, weights: Array | None, output: Array, cval: Any) -> Array:
    """`output`, complex, of run(x, weights, output, cval) on the real and imaginary parts of x, and of the weights."""
    real = np.empty(output.shape, output.real.dtype)
    parts = [(x.real, np.real(cval), 1)] + ([(x.imag, np.imag(cval), 1j)] if x.dtype.kind == "c" else [])
    factors: list[tuple[Any, complex]] = [(weights, 1)]
    if weights is not None and weights.dtype.kind == "c":
        factors = [(weights.real, 1), (weights.imag, 1j)]
    total = np.zeros(output.shape, output.dtype)
    for part, fill, of_part in parts:
        for factor, of_factor in factors:
            total += (of_part * of_factor) * run(part, factor, real, fill)
    output[...] = total
    return output


def in_passes_of_parts(x: Array, lines: Sequence[Line], output: Array, cval: Any) -> Array:
    """`output`, after the passes; complex too."""
    if x.dtype.kind != "c":
        return in_passes(x, lines, output, cval)
    return by_parts(lambda part, _, out, fill: in_passes(part, lines, out, fill), x, None, output, cval)
