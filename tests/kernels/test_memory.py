"""Where new arrays begin, and that what is freed is taken again."""

import os
import platform
import subprocess
import sys

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


SECONDS = 120  # that a process may take, compilation included
FAULTS = """
import resource
import numpy as np
import fastconv as fc

x, w = np.ones((1, 8, 57, 8), np.float32), np.ones((1008, 8, 3, 3), np.float32)  # a result of 1.8 MB, and a workspace alike
plan = fc.conv2d.plan(x.shape, w, padding=1, implementation="winograd")
for _ in range(3):
    plan(x)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    plan(x)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have their own ways")
def test_a_call_takes_no_memory_from_the_system_that_the_last_one_freed():
    """In a process of its own, whose largest array ever freed is the result."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    command = [sys.executable, "-c", FAULTS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=True)
    assert int(done.stdout) < 1000  # of the 8,650 that ten results and workspaces have pages
