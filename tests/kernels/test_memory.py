"""Where new arrays begin."""

import numpy as np
import pytest

import fastconv as fc
from fastconv.kernels.memory import HUGE, LARGE, LINE, LITTLE, aligned, empty


def address(array):
    return array.ctypes.data


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64", "complex128", "longdouble"])
@pytest.mark.parametrize("size", [0, 1, LITTLE, LARGE - 64, LARGE, LARGE + 64])
def test_arrays_are_their_own_and_begin_where_they_should(dtype, size):
    dtype = np.dtype(dtype)
    made = [
        make for _ in range(3) for make in (aligned(size // dtype.itemsize, dtype), empty((size // dtype.itemsize,), dtype))
    ]
    for number, one in enumerate(made):
        assert one.dtype == dtype
        assert one.shape == (size // dtype.itemsize,)
        assert one.flags.carray
        one[:] = number
    for number, one in enumerate(made):
        assert (one == number).all()
        if one.nbytes >= LARGE:
            assert (address(one) + LINE) % HUGE == 0
    for one in made[::2]:
        assert one.nbytes < LITTLE or address(one) % LINE == 0


@pytest.mark.parametrize("dtype", [object, "datetime64[s]", "i4, f8", "S3"])
def test_arrays_of_other_things_are_numpys_own(dtype):
    found = empty((LARGE // np.dtype(dtype).itemsize + 1,), np.dtype(dtype))
    assert found.dtype == np.dtype(dtype)
    assert found.flags.owndata


def test_large_results_begin_before_a_huge_page():
    x = np.random.default_rng(0).random((1024, 1025), np.float32)
    results = [
        fc.ndimage.sobel(x),
        fc.ndimage.sobel(x),
        fc.ndimage.gaussian_filter(x, 1, output=np.float64),
        fc.relu(x[None, None]),
    ]
    assert all((address(one) + LINE) % HUGE == 0 for one in results)
    assert not np.may_share_memory(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[1])
