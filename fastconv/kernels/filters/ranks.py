"""Ranks of windows over arrays of any number of axes, as plain as they can be written: see windows.py.

Operands are x, `cval`, the `footprint` of the window and the `rank` of the result among its cells, from 0 on.
"""

from typing import Any

import numpy as np

from fastconv.kernels.filters.windows import by_loops, by_windows
from fastconv.problem.convolutions import Array
from fastconv.problem.problem import Operands


def of_rank(cells: Array, operands: Operands) -> Any:
    """The cell of a rank, a NaN behind all others, of a window or of windows [..., taps]."""
    footprint, rank = operands["footprint"], int(operands["rank"])
    cells = cells.reshape(-1) if cells.shape == footprint.shape else cells
    return np.partition(cells[..., np.flatnonzero(footprint)], rank, axis=-1)[..., rank]


ranks_by_loops = by_loops(of_rank)
ranks_by_windows = by_windows(of_rank)
