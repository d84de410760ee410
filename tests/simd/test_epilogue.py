"""What follows the sums: runs of every length, with a residual and without, and nothing beside them."""

from typing import Any

import numpy as np
import pytest
from guards import guarded

import fastconv as fc
from fastconv.kernels.activations import activate
from fastconv.kernels.jit import Kernel
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import epilogue
from fastconv.problem.convolutions import Activation

pointer = vector.pointer
ACTIVATIONS = {
    "none": Activation("none"),
    "relu": Activation("clip", 0.0, np.inf),
    "leaky relu": Activation("leaky_relu", 0.25),
    "silu": Activation("silu"),
    "hardswish": Activation("hardswish"),
    "gelu": Activation("gelu"),
}
ROWS = 3
LENGTHS = (1, 7, 8, 9, 15, 16, 23, 24, 31, 32, 39, 63, 64, 101)  # parts of every width that silu takes at once


def finish(begin, end, y, residual, parameters, count, apart):
    """The runs y[i * apart:][:count] of sums, as kernels finish them."""
    e = epilogue.epilogue(parameters, residual, y)
    epilogue.finish_runs(pointer(y), apart, end - begin, count, e)


def finish_by_offsets(begin, end, y, residual, parameters, count, apart, offsets):
    """The same of runs that lie at offsets."""
    e = epilogue.epilogue(parameters, residual, y)
    epilogue.finish_rows(pointer(y), pointer(offsets), end - begin, 1, count, e)


KERNELS = {"apart": Kernel(finish), "offsets": Kernel(finish_by_offsets)}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("adds", [False, True], ids=["alone", "residual"])
@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("kind", KERNELS)
def test_runs_of_every_length_are_finished(kind: str, name: str, adds: bool, dtype: Any) -> None:
    """The array's last run ends at a guard page; what lies between runs stays, and what registers do before the store."""
    activation, rng = ACTIVATIONS[name], np.random.default_rng(4)
    parameters = epilogue.scalars(activation, np.dtype(dtype))
    is_left = adds or name in ("silu", "gelu")
    for count in LENGTHS:
        apart = count + 5
        start = rng.standard_normal(ROWS * apart - 5).astype(dtype)
        other = rng.standard_normal(start.shape).astype(dtype)
        y, residual = guarded(start), guarded(other) if adds else None
        expected = start.copy()
        for i in range(ROWS):
            run = slice(i * apart, i * apart + count)
            done = expected[run] + other[run] if adds else expected[run].copy()
            activate(done, activation)
            expected[run] = done if is_left else start[run]
        offsets = (np.arange(ROWS) * apart,) if kind == "offsets" else ()
        KERNELS[kind].serial(0, ROWS, y, y if residual is None else residual, parameters, count, apart, *offsets)
        np.testing.assert_allclose(y, expected, rtol=20 * np.finfo(dtype).eps, atol=4 * np.finfo(dtype).eps)
        for i in range(ROWS - 1):
            between = slice(i * apart + count, (i + 1) * apart)
            np.testing.assert_array_equal(y[between], start[between])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_silu_alone_of_every_length(dtype: Any) -> None:
    for count in LENGTHS:
        x = guarded(np.random.default_rng(count).standard_normal(count).astype(dtype))
        y = guarded(np.full(count, np.nan, dtype))
        fc.silu(x, out=y)
        np.testing.assert_allclose(y, x / (1 + np.exp(-x)), rtol=20 * np.finfo(dtype).eps)
