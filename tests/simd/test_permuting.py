"""Axes in another order: squares give what NumPy copies, and read and write nothing beside the arrays."""

import numpy as np
import pytest
from guards import guarded

from fastconv.kernels.jit import NO_WEIGHTS
from fastconv.kernels.simd.arrays import permuting

# (shape of x, order of its axes in y, axes of y that are mirrored)
VIEWS = [
    ((130, 65), (1, 0), ()),
    ((65, 130), (1, 0), (0,)),
    ((97, 90), (1, 0), (0, 1)),
    ((1, 40, 3, 1, 2, 1, 38), (0, 3, 5, 6, 2, 4, 1), (4, 5)),
    ((2, 30, 3, 2, 3, 2, 29), (0, 3, 5, 6, 2, 4, 1), (4, 5)),
    ((45, 16, 32), (1, 2, 0), ()),
    ((17, 7, 81), (2, 1, 0), (0, 1, 2)),
    ((1, 35, 6, 2, 16), (0, 2, 4, 1, 3), (4,)),
    ((1, 40, 30, 3, 1, 3, 1), (0, 2, 4, 6, 1, 3, 5), (5, 6)),
    ((20, 40, 2, 2, 2, 2), (1, 3, 5, 0, 2, 4), (4, 5)),
]


def view_of(x: np.ndarray, order: tuple[int, ...], mirrored: tuple[int, ...]) -> np.ndarray:
    """x with its axes in another order, some of them from their ends."""
    steps = tuple(slice(None, None, -1 if axis in mirrored else None) for axis in range(x.ndim))
    return x.transpose(order)[steps]


@pytest.mark.parametrize("at", ["end", "beginning"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("shape", "order", "mirrored"), VIEWS)
def test_squares_give_what_numpy_copies(
    shape: tuple[int, ...], order: tuple[int, ...], mirrored: tuple[int, ...], dtype: type, at: str
) -> None:
    """Up to the edges of both arrays, beyond which is no memory."""
    x = guarded(np.arange(np.prod(shape), dtype=dtype).reshape(shape), at)
    view = view_of(x, order, mirrored)
    first = (permuting.address(view) - permuting.address(x)) // x.itemsize
    found = permuting.launch(view.shape, tuple(step // x.itemsize for step in view.strides), first, x.dtype)
    assert found is not None
    kernel, items, sizes = found
    y = guarded(np.full(x.size, np.nan, dtype), at)
    for begin in range(items):
        kernel.serial(begin, begin + 1, x.reshape(-1), y, sizes)
    np.testing.assert_array_equal(y.reshape(view.shape), view)
    whole = permuting.contiguous(view, x)
    assert whole.flags.c_contiguous
    np.testing.assert_array_equal(whole, view)


@pytest.mark.parametrize(
    ("shape", "order"),
    [((30, 30, 16), (1, 0, 2)), ((5, 7), (1, 0)), ((9000,), (0,)), ((3, 2, 3, 2, 3, 2, 3, 2, 16), (8, 7, 5, 3, 1, 0, 2, 4, 6))],
)
def test_what_does_not_pay_is_numpys(shape: tuple[int, ...], order: tuple[int, ...]) -> None:
    """Runs that follow each other in both, few elements, one axis, and more axes than are served."""
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    view = x.transpose(order)
    assert permuting.launch(view.shape, tuple(step // 4 for step in view.strides), 0, x.dtype) is None
    np.testing.assert_array_equal(permuting.contiguous(view, x), view)


@pytest.mark.parametrize("dtype", [np.int64, np.float16, np.complex64])
def test_other_types_are_numpys(dtype: type) -> None:
    x = np.arange(200 * 100).reshape(200, 100).astype(dtype)
    np.testing.assert_array_equal(permuting.contiguous(x.T, x), x.T)
    assert permuting.contiguous(NO_WEIGHTS, NO_WEIGHTS).size == 0
