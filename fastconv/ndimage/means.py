"""Means of windows: SciPy's uniform_filter, and its form along one axis."""

from typing import Any

import numpy as np

from fastconv.kernels.keeping import remembered
from fastconv.ndimage.arguments import axes_of, axis_of, border, computed, image, result
from fastconv.ndimage.documentation import documented
from fastconv.ndimage.extrema import UNTOUCHED, geometry_of, inside, is_constant, separate
from fastconv.plans import filters
from fastconv.plans.replaying import replayed
from fastconv.problem.convolutions import Array
from fastconv.problem.filters import FilterGeometry, is_cell
from fastconv.problem.problem import Problem
from fastconv.problem.types import Types

MEAN = "mean"


@replayed
@documented
def uniform_filter(
    input: Any, size: Any = 3, output: Any = None, mode: Any = "reflect", cval: Any = 0.0, origin: Any = 0, *, axes: Any = None
) -> Array:
    """
    The mean of the window over each cell; scipy.ndimage.uniform_filter. Complex arrays too.

    Parameters
    ----------
    {input}
    {sizes}
    {output}
    {modes}
    {cval}
    {origins}
    {axes}

    {result}

    {raises}

    Notes
    -----
    Axes are filtered one after the other, and each time stored in the dtype of the output, so that integers are truncated each
    time. float32 is summed in float32. Nothing is subtracted, as in a running sum: errors are relative to the cells of the
    window, and a NaN reaches the windows that hold it, and no other. The cost hardly grows with the size.

    {examples}
    >>> fc.ndimage.uniform_filter(np.array([2, 8, 0, 4, 1, 9, 9, 0]), size=3)
    array([4, 3, 4, 1, 4, 6, 6, 3])
    """
    x = image(input, complex_too=True)
    y = result(output, x, complex_output=x.dtype.kind == "c")
    return averaged(x, y, separate(MEAN, x, axes_of(axes, x.ndim), size, mode, origin), cval)


@replayed
@documented
def uniform_filter1d(
    input: Any, size: Any, axis: Any = -1, output: Any = None, mode: Any = "reflect", cval: Any = 0.0, origin: Any = 0
) -> Array:
    """
    The mean of `size` neighbouring cells along an axis; scipy.ndimage.uniform_filter1d. Complex arrays too.

    {line}

    {examples}
    >>> fc.ndimage.uniform_filter1d(np.array([2, 8, 0, 4, 1, 9, 9, 0]), size=3)
    array([4, 3, 4, 1, 4, 6, 6, 3])
    """
    x = image(input, complex_too=True)
    axis = axis_of(axis, x.ndim)
    if size < 1:
        raise RuntimeError("incorrect filter size")
    y = result(output, x, complex_output=x.dtype.kind == "c")
    taps, origins, borders = [1] * x.ndim, [0] * x.ndim, [UNTOUCHED] * x.ndim
    taps[axis], origins[axis], borders[axis] = int(size), inside(origin, int(size)), border(mode)
    return averaged(x, y, geometry_of(MEAN, x.shape, tuple(taps), tuple(origins), tuple(borders)), cval)


def averaged(x: Array, y: Array, geometry: FilterGeometry, cval: Any) -> Array:
    """The means of a geometry, into y; of complex numbers their parts."""
    if x.dtype.kind == "c":
        if np.may_share_memory(x, y):
            x = x.copy()
        averaged(x.real, y.real, geometry, np.real(cval))
        averaged(x.imag, y.imag, geometry, np.imag(cval))
        return y

    def compute(source: Array, out: Array) -> None:
        around = float(cval) if is_constant(geometry) else 0
        filters.run(geometry, {"x": source}, out, summed_in(geometry, source.dtype, out.dtype, around), around)

    return computed(x, y, compute)


@remembered
def summed_in(geometry: FilterGeometry, stored: np.dtype[Any], result: np.dtype[Any], cval: Any) -> Any:
    """The type of the sums: the narrowest of integers in which quotients are exact, else float32 or float64."""
    if stored.kind in "iu" and result.kind in "iu":
        for dtype in map(np.dtype, (np.uint16, np.int32)):
            types = Types(stored, dtype, dtype, result)
            negative = dtype.kind == "u" and cval < 0
            if is_cell(cval, types) and not negative and filters.is_served(Problem(geometry, types)):
                return dtype
    narrow = result == np.float32 and (stored == np.float32 or (stored.kind in "iu" and stored.itemsize <= 2))
    return np.dtype(np.float32 if narrow else np.float64)
