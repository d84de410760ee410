"""Planes of outputs cut into blocks: even parts whose input fits a cache, and items enough for several threads."""

from typing import Any

import numpy as np

from fastconv.kernels.memory import LINE
from fastconv.problem.convolutions import Size

LEAST = 8  # rows of a band and outputs of a strip's end: fewer, and the windows would be copied often
SHARES = 8  # items that a call should have for its threads


def whole_lines(size: int, dtype: np.dtype[Any]) -> int:
    """Elements of the cache lines that `size` elements take."""
    of_line = LINE // dtype.itemsize
    return -(-size // of_line) * of_line


def evenly(count: int, most: int) -> int:
    """Parts of about equal size, `most` at most but for a few more where the last part would be very small."""
    part = -(-count // -(-count // most))
    while part < count and 0 < count % part < LEAST:
        part += 1
    return part


def cut_plane(outputs: Size, stride: Size, extent: Size, deep: int, room: int, items: int) -> tuple[int, int]:
    """(rows, columns) of a block of outputs, each axis cut evenly: its input, `deep` values a cell, takes at most `room`.

    Rows are whole where they fit. There are `items` of such planes, and more cuts where those are fewer than SHARES.
    """

    def reach(axis: int, count: int) -> int:
        return (count - 1) * stride[axis] + extent[axis]

    rows, columns = outputs
    if not rows or not columns:
        return 1, 1
    least = reach(0, min(rows, LEAST))
    columns = min(columns, max(64, (room // deep // least - extent[1]) // stride[1] + 1))
    rows = min(rows, max(LEAST, (room // deep // reach(1, columns) - extent[0]) // stride[0] + 1))
    shares = -(-SHARES // max(1, items))
    if outputs[0] > 1:
        rows = min(rows, max(LEAST, -(-outputs[0] // shares)))
    else:
        columns = min(columns, max(64, -(-outputs[1] // shares)))
    return evenly(outputs[0], rows), evenly(outputs[1], columns)
