"""Phases woven by vectors: rows of every length and shift, both dtypes, at guard pages."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from guards import SUPPORTED, guarded

import fastconv as fc
from fastconv.kernels.simd.arrays import weaving
from fastconv.machine import host
from fastconv.problem.convolutions import LAYOUTS
from fastconv.problem.phases import phases


@pytest.mark.skipif(not SUPPORTED, reason="guard pages are made by mprotect")
@pytest.mark.parametrize("at", ["end", "beginning"])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("stride", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_every_length(dtype: Any, stride: int, last: bool, at: str) -> None:
    """Output o is z [phase][position] of o + shift = position * stride + phase, and nothing else is read or written."""
    for width, channels, before, after in product((1, 3, 8, 9, 21, 40), (1, 3, 9), (0, 1, 2), (0, 3)):
        x_shape, w_shape = (2, 1, 2, width), (1, channels, 2 * stride, 2 * stride)
        options: dict[str, Any] = {"stride": stride, "padding": ((before, after), (before, after))}
        if last:
            x_shape, w_shape = ((shape[0], *shape[2:], shape[1]) for shape in (x_shape, w_shape))
            options["layout"] = LAYOUTS[2][1]
        try:
            plan = fc.conv_transpose2d.plan(x_shape, np.ones(w_shape, dtype), **options)
        except ValueError:  # no output is left
            continue
        if 0 in plan.out_shape:
            continue
        found = phases(plan.geometry)
        assert found is not None
        shape = found.plain.out_shape
        kernel = weaving.launch(found, np.dtype(dtype), host())[0]
        assert ("weave_runs" if last else "weave_rows" if stride < 5 else "weave_planes") in kernel.__name__
        z = np.arange(np.prod(shape), dtype=dtype).reshape(shape)
        y = guarded(np.full(plan.out_shape, np.nan, dtype), at)
        weaving.run(guarded(z, at), y, found)
        np.testing.assert_array_equal(y, expected(z, plan.out_shape, stride, found.shift, last))


def expected(z: Any, out_shape: Any, stride: int, shift: Any, last: bool) -> Any:
    """What NumPy makes of it."""
    if last:
        z, out_shape = np.moveaxis(z, -1, 1), (out_shape[0], out_shape[-1], *out_shape[1:-1])
    n, k, height, width = out_shape
    of_phases = (n, stride, stride, k) if last else (n, k, stride, stride)
    split = z.reshape(*of_phases, *z.shape[2:])
    split = np.moveaxis(split, 3, 1) if last else split  # [n][k][p_h][p_w][h][w]
    whole = split.transpose(0, 1, 4, 2, 5, 3).reshape(n, k, z.shape[2] * stride, z.shape[3] * stride)
    y = whole[:, :, shift[0] : shift[0] + height, shift[1] : shift[1] + width]
    return np.moveaxis(y, 1, -1) if last else y
