"""Medians of windows of odd size, zeros around: small windows by exchanges of whole rows, large ones by partition.

The exchanges keep half the window and one more: of these the least and the greatest cannot be the median, are put away, and the
next cell comes in, until three are left whose middle it is. NaN has no place in minima and maxima; partition sorts it last.
"""

from math import prod

import numpy as np

from fastconv.problem.convolutions import Size
from fastconv.signal.arrays import Array

MOST_EXCHANGED = 121  # cells of a window that exchanges sort
BLOCK = 1 << 16  # bytes of rows that stay in the cache, with the others that they are compared with
PARTITIONED = 1 << 22  # cells of windows that lie side by side


def median(x: Array, size: Size) -> Array:
    """The middle one of each window's cells."""
    if not x.size:
        return x.copy()
    y = np.empty(x.shape, x.dtype)
    padded = np.pad(x, [(k // 2, k // 2) for k in size])
    has_nan = x.dtype.kind == "f" and np.isnan(np.add.reduce(x, axis=None)) and np.isnan(x).any()
    if prod(size) <= MOST_EXCHANGED and not has_nan:
        by_exchanges(padded, size, y)
    else:
        by_partition(padded, size, y)
    return y


def by_partition(padded: Array, size: Size, y: Array) -> None:
    """The windows laid side by side, as many at a time as fit."""
    windows = np.lib.stride_tricks.sliding_window_view(padded, size)
    cells, middle = prod(size), prod(size) // 2
    rows = max(1, PARTITIONED // (cells * prod(y.shape[1:])))
    for first in range(0, y.shape[0], rows):
        block = windows[first : first + rows]
        flat = block.reshape(-1, cells)
        y[first : first + rows] = np.partition(flat, middle, axis=1)[:, middle].reshape(block.shape[: y.ndim])


def by_exchanges(padded: Array, size: Size, y: Array) -> None:
    """Blocks of leading rows, whose shifted copies are compared cell by cell."""
    rows = max(1, BLOCK // (y.itemsize * prod(y.shape[1:])))
    for first in range(0, y.shape[0], rows):
        count = min(rows, y.shape[0] - first)
        shape = (count, *y.shape[1:])
        shifts = (
            padded[tuple(slice(start, start + n) for start, n in zip((first + tap[0], *tap[1:]), shape, strict=True))]
            for tap in np.ndindex(size)
        )
        y[first : first + count] = middle_of(list(shifts))


def middle_of(cells: list[Array]) -> Array:
    """The median of an odd number of arrays, cell by cell."""
    kept = [one.copy() for one in cells[: len(cells) // 2 + 2]]
    coming, spare = cells[len(kept) :], np.empty_like(kept[0])
    while len(kept) > 1:
        half = len(kept) // 2
        # Each of the first half against one of the second: minima below, maxima above.
        for low, high in zip(range(half), range(len(kept) - half, len(kept)), strict=True):
            spare = exchanged(kept, low, high, spare)
        for low in range(1, len(kept) - half):
            spare = exchanged(kept, 0, low, spare)
        for high in range(half, len(kept) - 1):
            spare = exchanged(kept, high, len(kept) - 1, spare)
        del kept[0], kept[-1:]
        if coming:
            kept.append(coming.pop().copy())
    return kept[0] if kept else cells[0]


def exchanged(kept: list[Array], low: int, high: int, spare: Array) -> Array:
    """Put the smaller cells at one place and the greater at another; the array that is free then."""
    np.minimum(kept[low], kept[high], out=spare)
    np.maximum(kept[low], kept[high], out=kept[high])
    kept[low], spare = spare, kept[low]
    return spare
