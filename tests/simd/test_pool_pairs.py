"""Pools of 2x2 windows on planes of few columns, and of whole planes channels last: every kind, at guard pages."""

import numpy as np
import pytest
from guards import SUPPORTED
from test_pool_windows import KINDS, cells, same_at_guards

import fastconv as fc
from fastconv.kernels.simd.pools import choice as pool
from fastconv.kernels.simd.pools import pairs as pool_pairs
from fastconv.kernels.simd.pools import planes as pool_planes
from fastconv.machine import host

pytestmark = pytest.mark.skipif(not SUPPORTED, reason="guard pages are made by mprotect")
F4 = np.dtype("f4")
wide = pytest.mark.skipif(host().vector_bytes < 32, reason="it serves wider vectors")


def agrees(kernel, operation, x, **arguments):
    """The kernel is the one that is named, and gives what the loops give."""
    plan = getattr(fc, operation).plan(x.shape, implementation="direct", x_dtype=x.dtype, **arguments)
    assert kernel in pool.launch(plan.geometry, x.dtype, host())[0].__name__
    same_at_guards(plan, operation, x, **arguments)


@wide
@pytest.mark.parametrize(("operation", "options"), [kind for kind in KINDS if "divisor_override" not in kind[1]])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_rows_of_few_cells_are_pairs(operation, options, monkeypatch):
    """Planes of every width that it serves; stacks of rows of all planes, of which the last has fewer."""
    monkeypatch.setattr(pool_pairs, "PAIRS", 128)
    rng = np.random.default_rng(61)
    for columns in range(1, 9):
        for planes, rows in ((1, 2), (3, 5), (7, columns + 1)):
            x = cells(rng, (1, planes, 2 * rows, 2 * columns), np.float32)
            agrees("pairs", operation, x, kernel_size=2, stride=2, **options)


@wide
def test_doubles_and_other_divisors():
    rng = np.random.default_rng(62)
    for columns in (1, 4, 7, 8):
        x = rng.standard_normal((2, 3, 6, 2 * columns))
        agrees("pairs", "max_pool2d", x, kernel_size=2)
        for divisor in (-8, 1, 1 << 40):
            agrees("pairs", "avg_pool2d", x, kernel_size=2, divisor_override=divisor)
        agrees("windows", "avg_pool2d", x, kernel_size=2, divisor_override=6)


@wide
def test_of_equals_the_first_stays():
    x = np.zeros((1, 4, 4), np.float32)
    x[0] = [[-0.0, 0.0, 0.0, -0.0], [0.0, 0.0, -0.0, -0.0], [-5.0, -0.0, 0.0, -9.0], [0.0, -1.0, -0.0, 0.0]]
    for operation, first in ((fc.max_pool2d, [[True, False], [True, False]]), (fc.min_pool2d, [[True, False], [False, False]])):
        found = operation(x, 2, implementation="direct")
        assert np.array_equal(np.signbit(found[0]), np.array(first) | (found[0] < 0))


@wide
@pytest.mark.parametrize("options", [{"padding": 1}, {"stride": 1}, {"dilation": 2}, {"kernel_size": 3}, {"ceil_mode": True}])
def test_other_pools_go_elsewhere(options):
    shape = (1, 2, 7, 7) if "ceil_mode" in options else (1, 2, 8, 8)
    plan = fc.max_pool2d.plan(shape, **{"kernel_size": 2, "stride": 2, **options})
    assert not pool_pairs.suits(plan.geometry, F4, host())


@pytest.mark.parametrize("kind", ["max", "min", "avg"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_tiles_of_channels_take_in_a_whole_plane(kind, dtype):
    """Channels of one tile, and of several, of which the last two overlap; one pixel and more."""
    rng, width = np.random.default_rng(63), pool_planes.columns_for(host()) * host().lanes(np.dtype(dtype))
    for size, channels in (((1, 1), width), ((3, 4), width + 1), ((7, 7), 3 * width - 1)):
        x = cells(rng, (2, *size, channels), dtype)
        agrees("pixels", f"{kind}_pool2d", x, kernel_size=size, stride=1, layout="NHWC")


@pytest.mark.parametrize("kind", ["max", "min"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [(1, 1), (7, 7), (9, 29)])
def test_planes_with_and_without_a_nan_lie_side_by_side(kind, dtype, size):
    """What is not NaN is looked at with less care, some planes at a time; infinities of both signs add up to a NaN too."""
    rng = np.random.default_rng(65)
    for planes in (1, pool_planes.TOGETHER, pool_planes.TOGETHER + 1, 3 * pool_planes.TOGETHER - 1):
        for special in ((), (np.nan,), (np.inf,), (np.inf, -np.inf), (np.finfo(dtype).max,) * 3, (np.nan, np.inf)):
            x = rng.standard_normal((1, planes, *size)).astype(dtype)
            flat = x.reshape(-1)
            flat[rng.integers(0, flat.size, len(special))] = special
            agrees("planes", f"{kind}_pool2d", x, kernel_size=size, stride=1)
    for place in range(size[0] * size[1]):
        x = rng.standard_normal((1, 3, *size)).astype(dtype)
        x[0, 1].reshape(-1)[place] = np.nan
        found = getattr(fc, f"{kind}_pool2d")(x, size, implementation="direct")
        assert np.isnan(found[0, 1]).all()
        assert not np.isnan(found[0, [0, 2]]).any()


def test_threads_share_planes(threads):
    rng = np.random.default_rng(64)
    x, pixels = rng.standard_normal((8, 300, 14, 14), np.float32), rng.standard_normal((9, 20, 20, 700), np.float32)
    plans = [
        (fc.avg_pool2d.plan(x.shape, 2, implementation="direct"), x),
        (fc.avg_pool2d.plan(pixels.shape, 20, layout="NHWC", implementation="direct"), pixels),
    ]
    for plan, given in plans:
        fc.set_num_threads(1)
        expected = plan(given)
        fc.set_num_threads(3)
        np.testing.assert_array_equal(plan(given), expected)
