"""Largest and smallest cells of windows: SciPy's maximum_filter, minimum_filter and their forms along one axis."""

import operator
import warnings
from typing import Any

import numpy as np

from fastconv.kernels.keeping import remembered
from fastconv.ndimage.arguments import (
    HELD,
    axes_of,
    axis_of,
    border,
    computed,
    image,
    one_border,
    over_all_axes,
    result,
    sequence,
    values,
)
from fastconv.ndimage.documentation import documented
from fastconv.plans import filters
from fastconv.plans.replaying import forgo, replayed
from fastconv.problem.borders import Border
from fastconv.problem.convolutions import Array
from fastconv.problem.filters import FilterGeometry
from fastconv.problem.problem import Problem
from fastconv.problem.types import Types

MAXIMUM, MINIMUM, RANGE = "maximum", "minimum", "range"
STRUCTURED = {MAXIMUM: "dilation", MINIMUM: "erosion"}
SEVERAL = "A sequence of modes is not supported for non-separable footprints"
UNTOUCHED = Border("replicate")  # of an axis without taps


@replayed
@documented
def maximum_filter(
    input: Any,
    size: Any = None,
    footprint: Any = None,
    output: Any = None,
    mode: Any = "reflect",
    cval: Any = 0.0,
    origin: Any = 0,
    *,
    axes: Any = None,
) -> Array:
    """
    The largest cell of the window over each cell; scipy.ndimage.maximum_filter.

    Parameters
    ----------
    {input}
    {window}
    {output}
    {modes}
    {cval}
    {origins}
    {axes}

    {result}

    {raises}

    Notes
    -----
    A NaN reaches the windows that hold it, and no other. A box costs nearly the same whatever its size (van Herk 1992; Gil and
    Werman 1993). One mode an axis goes with boxes only.

    {examples}
    >>> fc.ndimage.maximum_filter(np.array([2, 8, 0, 4, 1, 9, 9, 0]), size=3)
    array([8, 8, 8, 4, 9, 9, 9, 9])
    """
    return extremes(MAXIMUM, input, size, footprint, None, output, mode, cval, origin, axes)


@replayed
@documented
def minimum_filter(
    input: Any,
    size: Any = None,
    footprint: Any = None,
    output: Any = None,
    mode: Any = "reflect",
    cval: Any = 0.0,
    origin: Any = 0,
    *,
    axes: Any = None,
) -> Array:
    """
    The smallest cell of the window over each cell; scipy.ndimage.minimum_filter.

    Parameters
    ----------
    {input}
    {window}
    {output}
    {modes}
    {cval}
    {origins}
    {axes}

    {result}

    {raises}

    Notes
    -----
    A NaN reaches the windows that hold it, and no other. A box costs nearly the same whatever its size (van Herk 1992; Gil and
    Werman 1993). One mode an axis goes with boxes only.

    {examples}
    >>> fc.ndimage.minimum_filter(np.array([2, 8, 0, 4, 1, 9, 9, 0]), size=3)
    array([2, 0, 0, 0, 1, 1, 0, 0])
    """
    return extremes(MINIMUM, input, size, footprint, None, output, mode, cval, origin, axes)


@replayed
@documented
def maximum_filter1d(
    input: Any, size: Any, axis: Any = -1, output: Any = None, mode: Any = "reflect", cval: Any = 0.0, origin: Any = 0
) -> Array:
    """
    The largest of `size` neighbouring cells along an axis; scipy.ndimage.maximum_filter1d.

    {line}

    {examples}
    >>> fc.ndimage.maximum_filter1d(np.array([2, 8, 0, 4, 1, 9, 9, 0]), size=3)
    array([8, 8, 8, 4, 9, 9, 9, 9])
    """
    return along_axis(MAXIMUM, input, size, axis, output, mode, cval, origin)


@replayed
@documented
def minimum_filter1d(
    input: Any, size: Any, axis: Any = -1, output: Any = None, mode: Any = "reflect", cval: Any = 0.0, origin: Any = 0
) -> Array:
    """
    The smallest of `size` neighbouring cells along an axis; scipy.ndimage.minimum_filter1d.

    {line}

    {examples}
    >>> fc.ndimage.minimum_filter1d(np.array([2, 8, 0, 4, 1, 9, 9, 0]), size=3)
    array([2, 0, 0, 0, 1, 1, 0, 0])
    """
    return along_axis(MINIMUM, input, size, axis, output, mode, cval, origin)


# What they share --------------------------------------------------------------------------------------------------------------


def along_axis(operation: str, input: Any, size: Any, axis: Any, output: Any, mode: Any, cval: Any, origin: Any) -> Array:
    """Windows along one axis."""
    x = image(input)
    axis = axis_of(axis, x.ndim)
    if size < 1:
        raise RuntimeError("incorrect filter size")
    y = result(output, x)
    taps, origins, borders = [1] * x.ndim, [0] * x.ndim, [UNTOUCHED] * x.ndim
    taps[axis], origins[axis], borders[axis] = int(size), inside(origin, int(size)), border(mode)
    return boxes(operation, x, y, geometry_of(operation, x.shape, tuple(taps), tuple(origins), tuple(borders)), cval)


def inside(origin: Any, size: int) -> int:
    """An origin that leaves the cell of the output inside its window."""
    origin = operator.index(origin)
    if not 0 <= size // 2 + origin < size:
        raise ValueError("invalid origin")
    return origin


def separate(operation: str, x: Array, axes: tuple[int, ...], size: Any, mode: Any, origin: Any) -> FilterGeometry:
    """A box with its sizes, modes and origins, one an axis of `axes`; those of a size below two are left out."""
    origins, sizes, modes = (sequence(value, len(axes)) for value in (origin, size, mode))
    taps, moved, borders = [1] * x.ndim, [0] * x.ndim, [UNTOUCHED] * x.ndim
    for axis, k, one, m in zip(axes, sizes, origins, modes, strict=True):
        if k > 1:
            taps[axis], moved[axis], borders[axis] = int(k), inside(one, int(k)), border(m)
    return geometry_of(operation, x.shape, tuple(taps), tuple(moved), tuple(borders))


def extremes(
    operation: str,
    input: Any,
    size: Any,
    footprint: Any,
    structure: Any,
    output: Any,
    mode: Any,
    cval: Any,
    origin: Any,
    axes: Any,
) -> Array:
    """The largest or smallest cell under a box, a footprint, or a structure that is added to cells, or subtracted."""
    if size is not None and footprint is not None:
        forgo()
        warnings.warn("ignoring size because footprint is set", UserWarning, stacklevel=5)
    if structure is None and footprint is None and size is None:
        raise RuntimeError("no footprint provided")
    mask = None if footprint is None else values("footprint", footprint, bool)
    if structure is not None:
        structure = values("structure", structure, np.float64)
        mask = np.ones(structure.shape, bool) if mask is None else mask
    if mask is not None and not mask.any():
        raise ValueError("All-zero footprint is not supported.")
    x = image(input)
    y = result(output, x)
    used = axes_of(axes, x.ndim)
    if mask is None or (structure is None and mask.all()):
        geometry = separate(operation, x, used, size if mask is None else mask.shape, mode, origin)
        return boxes(operation, x, y, geometry, cval)
    if mask.ndim != len(used):
        raise RuntimeError(f"footprint.ndim ({mask.ndim}) must match len(axes) ({len(used)})")
    origins = [inside(one, k) for one, k in zip(sequence(origin, len(used)), mask.shape, strict=True)]
    if structure is not None and structure.shape != mask.shape:
        raise RuntimeError("structure array has incorrect shape")
    around = one_border(mode, SEVERAL)
    return under(operation, x, y, cover_geometry(operation, x, used, mask.shape, origins, around), mask, structure, cval)


def cover_geometry(
    operation: str, x: Array, axes: tuple[int, ...], shape: tuple[int, ...], origins: list[int], around: Border
) -> FilterGeometry:
    """A footprint of a shape over some axes, one border around all of them."""
    taps, moved = over_all_axes(shape, axes, x.ndim, 1), over_all_axes(origins, axes, x.ndim, 0)
    return geometry_of(operation, x.shape, taps, moved, (around,) * x.ndim)


# Types ------------------------------------------------------------------------------------------------------------------------


@remembered
def geometry_of(
    operation: str, shape: tuple[int, ...], taps: tuple[int, ...], origin: tuple[int, ...], borders: tuple[Border, ...]
) -> FilterGeometry:
    """A geometry, the same object for the same arguments: what it is asked once it knows."""
    return FilterGeometry(operation, shape, taps, origin, borders)


def is_constant(geometry: FilterGeometry) -> bool:
    """Whether cells outside of the array may hold the constant."""
    return any(axis.border.mode == "constant" and axis.taps > 1 for axis in geometry.axes)


def compared_in(operation: str, x: Array, out: Array, geometry: FilterGeometry, cval: Any) -> Any:
    """(dtype, constant): what cells of boxes are compared in, which is the result's where that changes nothing.

    SciPy compares doubles. Where the result's type holds all cells, and the constant, to compare in it gives the same; an
    integer takes the whole part of the constant, since what is larger than another has no smaller whole part. A constant that
    loses against every cell may be the type's end: the cell of the output is in each window.
    """
    double = np.dtype(np.float64), cval
    if not np.can_cast(x.dtype, out.dtype):
        return double
    if not is_constant(geometry):
        return out.dtype, 0
    if out.dtype.kind == "f":
        return out.dtype, cval
    if not np.isfinite(cval):
        return double
    ends, whole = np.iinfo(out.dtype), int(cval)
    if whole < ends.min if operation == MAXIMUM else whole > ends.max:
        return out.dtype, ends.min if operation == MAXIMUM else ends.max
    return (out.dtype, whole) if ends.min <= whole <= ends.max else double


def boxes(operation: str, x: Array, y: Array, geometry: FilterGeometry, cval: Any) -> Array:
    """A box, into y."""

    def compute(source: Array, out: Array) -> None:
        dtype, constant = compared_in(operation, source, out, geometry, cval)
        filters.run(geometry, {"x": source}, out, dtype, constant)

    return computed(x, y, compute)


def spread(x: Array, size: Any, mode: Any, axes: tuple[int, ...]) -> FilterGeometry | None:
    """The window over which one kernel finds the largest cells less the smallest, if one does: no constants lie around."""
    geometry = separate(RANGE, x, axes, size, mode, 0)
    dtype = HELD.get(x.dtype.char, x.dtype.newbyteorder("="))
    served = x.dtype != np.bool_ and not is_constant(geometry) and filters.is_served(Problem(geometry, Types(*[dtype] * 4)))
    return geometry if served else None


def ranges(x: Array, y: Array, geometry: FilterGeometry) -> Array:
    """The largest cells of a window less the smallest, into y."""
    return computed(x, y, lambda source, out: filters.run(geometry, {"x": source}, out, source.dtype))


def under(
    operation: str, x: Array, y: Array, geometry: FilterGeometry, mask: Array, structure: Array | None, cval: Any
) -> Array:
    """A footprint of the window's shape but for axes of one cell, and what is added to cells, into y.

    Cells are compared in the input's type, and a constant border holds what that makes of the constant, as in SciPy. With a
    structure, integers are compared as floats that hold them, and take the whole parts of the structure.
    """
    mask = mask.reshape(geometry.taps)
    if structure is not None:
        structure = structure.reshape(geometry.taps)
        structure = np.trunc(structure) if x.dtype.kind != "f" else structure
        structure = structure if structure[mask].any() else None
    name = f"footprint {operation}" if structure is None else STRUCTURED[operation]
    g = geometry_of(name, geometry.shape, geometry.taps, geometry.origin, geometry.borders)

    def compute(source: Array, out: Array) -> None:
        constant = filters.stored(cval, source.dtype)
        if structure is None:
            filters.run(g, {"x": source, "footprint": mask}, out, source.dtype, constant)
        else:
            small = source.dtype.kind != "f" and source.dtype.itemsize <= 2 and bool((abs(structure) < 1 << 22).all())
            summed = np.float32 if small or source.dtype == np.float32 else np.float64
            filters.run(g, {"x": source, "footprint": mask, "structure": structure}, out, summed, constant)

    return computed(x, y, compute)
