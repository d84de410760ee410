"""Arrays of more than 2**31 elements: every kind of kernel writes and reads their far ends as it does near ones.

Inputs are zeros but for their last cells, so that the far end of a result is that of a small call.
"""

from typing import Any

import numpy as np
import pytest

import fastconv as fc

pytestmark = pytest.mark.slow
LIMIT = 2**31
END = 40  # rows at the far end that hold numbers


def ended(shape: tuple[int, ...], dtype: Any, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """(an array of over 2**31 bytes or elements, a small one): zeros, then the same numbers in the last rows of `axis`."""
    large = np.zeros(shape, dtype)
    size = list(shape)
    size[axis] = 2 * END
    small = np.zeros(size, dtype)
    rng = np.random.default_rng(0)
    size[axis] = END
    numbers = rng.integers(0, 9, size).astype(dtype)
    for array in (large, small):
        where = [slice(None)] * array.ndim
        where[axis] = slice(array.shape[axis] - END, None)
        array[tuple(where)] = numbers
    return large, small


def compare_ends(large: np.ndarray, small: np.ndarray, axis: int) -> None:
    """The far end of `large` is that of `small`, and its beginning is zero."""
    rows = END // 2
    for array in (large, small):
        assert array.shape[axis] >= rows
    take = [slice(None)] * large.ndim
    take[axis] = slice(-rows, None)
    np.testing.assert_array_equal(large[tuple(take)], small[tuple(take)])
    assert np.any(large[tuple(take)])
    take[axis] = slice(0, rows)
    assert not np.any(large[tuple(take)])


CONVOLUTIONS = {
    "direct": ((1, 1, 66_000, 16_500), (1, 1, 3, 3), {}),
    "separable": ((1, 1, 66_000, 16_500), (1, 1, 5, 5), {}),
    "fft": ((1, 1, 66_000, 16_500), (1, 1, 9, 9), {}),
    "depthwise": ((1, 16, 66_000, 1_031), (16, 1, 3, 3), {"groups": 16}),
    "winograd": ((1, 16, 66_000, 1_031), (16, 16, 3, 3), {}),
    "strassen": ((1, 4, 66_000, 4_125), (4, 4, 1, 1), {}),
    "loops": ((1, 1, 66_000, 16_500), (1, 1, 1, 3), {}),
}


@pytest.mark.parametrize("implementation", CONVOLUTIONS)
def test_convolutions(implementation: str) -> None:
    """Over 2**32 bytes of float32 in each array."""
    shape, w_shape, options = CONVOLUTIONS[implementation]
    x, small = ended(shape, np.float32, 2)
    assert x.nbytes > 2 * LIMIT
    w = np.zeros(w_shape, np.float32)
    w[:] = 1 if implementation != "winograd" else np.eye(16).reshape(16, 16, 1, 1)
    found = fc.conv2d(x, w, **options, implementation=implementation)
    near = fc.conv2d(small, w, **options, implementation=implementation)
    assert found.nbytes > 2 * LIMIT
    if implementation in ("fft", "winograd", "separable"):
        found, near = (np.rint(array[:, :, -END:]) for array in (found, near))
        np.testing.assert_array_equal(found, near)
        assert np.any(found)
    else:
        compare_ends(found, near, 2)


def test_convolution_with_channels_last() -> None:
    x, small = ended((1, 66_000, 1_031, 16), np.float32, 1)
    w = np.ones((16, 1, 1, 16), np.float32)
    compare_ends(fc.conv2d(x, w, layout="NHWC"), fc.conv2d(small, w, layout="NHWC"), 1)


@pytest.mark.parametrize("implementation", ["running", "direct", "loops"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_pools_of_bytes(implementation: str, layout: str) -> None:
    """Over 2**31 elements in and out."""
    shape, axis = ((1, 1, 66_000, 33_000), 2) if layout == "NCHW" else ((1, 66_000, 8_250, 4), 1)
    x, small = ended(shape, np.uint8, axis)
    assert x.size > LIMIT
    options = {"kernel_size": 3, "stride": 1, "padding": 1, "layout": layout, "implementation": implementation}
    found = fc.max_pool2d(x, **options)
    assert found.size > LIMIT
    compare_ends(found, fc.max_pool2d(small, **options), axis)


def test_indices() -> None:
    """Of cells past the 2**31-th of their plane."""
    x = np.zeros((1, 1, 66_000, 33_000), np.uint8)
    x[0, 0, -1, -1] = 1
    values, indices = fc.max_pool2d(x, 100, return_indices=True)
    assert values[0, 0, -1, -1] == 1
    assert indices[0, 0, -1, -1] == x.size - 1
    assert indices[0, 0, -2, -2] == (66_000 - 200) * 33_000 + 33_000 - 200


@pytest.mark.parametrize("operation", ["avg_pool2d", "global_avg_pool"])
def test_averages(operation: str) -> None:
    """A window of ones over the far end, and the mean of a whole plane."""
    x = np.ones((1, 1, 66_000, 16_500), np.float32)
    x[0, 0, -2:, -2:] = 5
    if operation == "avg_pool2d":
        found = fc.avg_pool2d(x, 2)
        assert found[0, 0, -1, -1] == 5
        assert found[0, 0, -2, -2] == 1
    else:
        found = fc.global_avg_pool(x)
        assert abs(float(found[0, 0, 0, 0]) - 1) <= np.finfo(np.float32).eps * np.log2(x.size) ** 2


@pytest.mark.parametrize(("operation", "dtype"), [("relu", np.int8), ("silu", np.float32), ("leaky_relu", np.float32)])
def test_activations_in_place(operation: str, dtype: Any) -> None:
    x = np.zeros(LIMIT + 1001, dtype)
    x[-1001:] = np.arange(1001) % 100 - 50
    wanted = getattr(fc, operation)(x[-1001:].copy())
    getattr(fc, operation)(x, out=x)
    np.testing.assert_array_equal(x[-1001:], wanted)
    assert not x[:1001].any()
