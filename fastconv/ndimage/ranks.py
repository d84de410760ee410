"""Ranks of windows: medians, percentiles, any rank."""

import operator
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.kernels.keeping import remembered
from fastconv.ndimage import arguments as check
from fastconv.ndimage.documentation import documented
from fastconv.ndimage.extrema import maximum_filter, minimum_filter
from fastconv.plans import filters
from fastconv.plans.replaying import forgo, replayed
from fastconv.problem.borders import Border
from fastconv.problem.convolutions import Array, Size
from fastconv.problem.filters import RankGeometry


def ranked(
    x: Array, footprint: Array, rank: int, output: Array, borders: Sequence[Border], cval: Any, origins: Sequence[int]
) -> Array:
    """`output`, after the cell of a rank of each window; `footprint` has as many axes as x.

    As in SciPy, `cval` is first converted to what x holds.
    """
    constant = any(border.mode == "constant" for border in borders)
    used = None if np.count_nonzero(footprint) == footprint.size else np.ascontiguousarray(footprint, np.uint8).tobytes()
    geometry = geometry_of(x.shape, footprint.shape, tuple(origins), tuple(borders), rank, used)

    def compute(source: Array, out: Array) -> None:
        operands = {"x": source, "footprint": footprint, "rank": np.array(rank)}
        filters.run(geometry, operands, out, source.dtype, float(cval) if constant else 0)

    if footprint.size == 1:
        output[...] = x
        return output
    return check.computed(x, output, compute)


@remembered
def geometry_of(
    shape: Size, taps: Size, origin: Size, borders: tuple[Border, ...], rank: int, footprint: bytes | None
) -> RankGeometry:
    """The geometry, the same object for the same arguments: what is derived from it is derived once."""
    return RankGeometry("rank", shape, taps, origin, borders, rank, footprint)


@remembered
def box(sizes: Size) -> Array:
    """The footprint of a box."""
    return np.ones(sizes, bool)


def of_windows(
    kind: str, wanted: Any, input: npt.ArrayLike, window: tuple[Any, Any], output: Any, border: tuple[Any, Any, Any], axes: Any
) -> Array:
    """The filters of SciPy's names: `window` is (size, footprint), `border` (mode, cval, origin)."""
    size, footprint = window
    mode, cval, origin = border
    if size is not None and footprint is not None:
        forgo()
        warnings.warn("ignoring size because footprint is set", UserWarning, stacklevel=5)
    x = check.image(input)
    axes = check.axes_of(axes, x.ndim)
    if footprint is None:
        if size is None:
            raise RuntimeError("no footprint or filter size provided")
        footprint = box(tuple([operator.index(one) for one in check.sequence(size, len(axes))]))
    else:
        footprint = check.values("footprint", footprint, bool)
    if footprint.ndim != len(axes) or not all(footprint.shape):
        raise RuntimeError(f"footprint.ndim ({footprint.ndim}) must match len(axes) ({len(axes)}), and no size may be 0")
    origins = check.sequence(origin, len(axes))
    for one, taps in zip(origins, footprint.shape, strict=True):
        check.check_origin(one, taps, "invalid origin")
    count = int(np.count_nonzero(footprint))
    rank = rank_of(kind, wanted, count)
    if rank == count - 1 or (rank == 0 and x.dtype.kind != "f"):  # a NaN is the largest, and not the smallest
        extreme = maximum_filter if rank == count - 1 else minimum_filter
        return extreme(x, None, footprint, output, mode, cval, origin, axes=axes)
    several = not isinstance(mode, str) and np.iterable(mode)
    if several and (0 < rank < count - 1 or count < footprint.size):
        raise RuntimeError("A sequence of modes is not supported by non-separable rank filters")
    borders = [check.border(one) for one in check.sequence(mode, len(axes))]
    footprint = footprint.reshape(check.over_all_axes(footprint.shape, sorted(axes), x.ndim, 1))
    return ranked(
        x,
        footprint,
        rank,
        check.result(output, x),
        check.over_all_axes(borders, axes, x.ndim, Border()),
        cval,
        check.over_all_axes([operator.index(one) for one in origins], axes, x.ndim, 0),
    )


def rank_of(kind: str, wanted: Any, count: int) -> int:
    """The rank among so many cells, from 0 on."""
    if kind == "median":
        rank = count // 2
    elif kind == "percentile":
        percentile = wanted + 100.0 if wanted < 0.0 else wanted
        if not 0 <= percentile <= 100:
            raise RuntimeError("invalid percentile")
        rank = count - 1 if percentile == 100.0 else int(float(count) * percentile / 100.0)
    else:
        rank = operator.index(wanted)
    rank += count if rank < 0 else 0
    if not 0 <= rank < count:
        raise RuntimeError("rank not within filter footprint size")
    return rank


def median_among_zeros(x: Array, sizes: Sequence[int]) -> Array:
    """The medians of windows of odd sizes, one an axis, over an array that zeros lie around."""
    footprint, borders = np.ones(tuple(sizes), bool), [Border("constant")] * x.ndim
    return ranked(x, footprint, footprint.size // 2, check.result(None, x), borders, 0, [0] * x.ndim)


# SciPy's functions ------------------------------------------------------------------------------------------------------------


@replayed
@documented
def rank_filter(
    input: npt.ArrayLike,
    rank: int,
    size: Any = None,
    footprint: npt.ArrayLike | None = None,
    output: Any = None,
    mode: str = "reflect",
    cval: float = 0.0,
    origin: Any = 0,
    *,
    axes: Any = None,
) -> Array:
    """
    The cell of a rank of each window; scipy.ndimage.rank_filter. A NaN sorts last.

    Parameters
    ----------
    {input}
    rank : int
        Of the result among the cells of a window in order, from 0 on; a negative one counts from the last cell, -1.
    {window}
    {output}
    {mode}
    {cval}
    {origins}
    {axes}

    {result}

    {raises}

    {examples}
    >>> fc.ndimage.rank_filter([3, 1, 2, 5, 4], rank=0, size=3)
    array([1, 1, 1, 2, 4])
    """
    return of_windows("rank", operator.index(rank), input, (size, footprint), output, (mode, cval, origin), axes)


@replayed
@documented
def median_filter(
    input: npt.ArrayLike,
    size: Any = None,
    footprint: npt.ArrayLike | None = None,
    output: Any = None,
    mode: str = "reflect",
    cval: float = 0.0,
    origin: Any = 0,
    *,
    axes: Any = None,
) -> Array:
    """
    The median of each window, of n cells the one of rank n // 2; scipy.ndimage.median_filter. A NaN sorts last.

    Parameters
    ----------
    {input}
    {window}
    {output}
    {mode}
    {cval}
    {origins}
    {axes}

    {result}

    {raises}

    {examples}
    >>> fc.ndimage.median_filter([3, 1, 9, 5, 4], size=3)
    array([3, 3, 5, 5, 4])
    """
    return of_windows("median", None, input, (size, footprint), output, (mode, cval, origin), axes)


@replayed
@documented
def percentile_filter(
    input: npt.ArrayLike,
    percentile: float,
    size: Any = None,
    footprint: npt.ArrayLike | None = None,
    output: Any = None,
    mode: str = "reflect",
    cval: float = 0.0,
    origin: Any = 0,
    *,
    axes: Any = None,
) -> Array:
    """
    The percentile of each window, of n cells the one of rank int(n * percentile / 100); scipy.ndimage.percentile_filter.

    A NaN sorts last.

    Parameters
    ----------
    {input}
    percentile : float
        From 0 to 100, which is the last rank; to a negative one 100 is added.
    {window}
    {output}
    {mode}
    {cval}
    {origins}
    {axes}

    {result}

    {raises}

    {examples}
    >>> fc.ndimage.percentile_filter([3, 1, 9, 5, 4], percentile=100, size=3)
    array([3, 9, 9, 9, 5])
    """
    return of_windows("percentile", percentile, input, (size, footprint), output, (mode, cval, origin), axes)
