"""Pools of 2x2 windows on planes of few columns, and of whole planes channels last: every kind, at guard pages."""

import numpy as np
import pytest
from guards import SUPPORTED
from test_pool_windows import KINDS, cells, same_at_guards

import fastconv as fc
from fastconv.kernels.jit import Kernel
from fastconv.kernels.simd.pools import choice, pairs, planes
from fastconv.machine import host

pytestmark = pytest.mark.skipif(not SUPPORTED, reason="guard pages are made by mprotect")
F4 = np.dtype("f4")
wide = pytest.mark.skipif(host().vector_bytes < 32, reason="it serves wider vectors")


def agrees(kernel, operation, x, **arguments):
    """The kernel is the one that is named, and gives what the loops give."""
    plan = getattr(fc, operation).plan(x.shape, implementation="direct", x_dtype=x.dtype, **arguments)
    assert kernel in choice.kernel(plan.problem, host())
    same_at_guards(plan, operation, x, **arguments)


@wide
@pytest.mark.parametrize(("operation", "options"), [kind for kind in KINDS if "divisor_override" not in kind[1]])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_rows_of_few_cells_are_pairs(operation, options, monkeypatch):
    """Planes of every width that it serves; stacks of rows of all planes, of which the last has fewer."""
    monkeypatch.setattr(pairs, "PAIRS", 128)
    rng = np.random.default_rng(61)
    for columns in range(1, 9):
        for count, rows in ((1, 2), (3, 5), (7, columns + 1)):
            x = cells(rng, (1, count, 2 * rows, 2 * columns), np.float32)
            agrees("pairs", operation, x, kernel_size=2, stride=2, **options)


@wide
def test_doubles_and_other_divisors():
    rng = np.random.default_rng(62)
    for columns in (1, 4, 7, 8):
        x = rng.standard_normal((2, 3, 6, 2 * columns))
        agrees("pairs", "max_pool2d", x, kernel_size=2)
        for divisor in (-8, 1, 1 << 40):
            agrees("pairs", "avg_pool2d", x, kernel_size=2, divisor_override=divisor)
        agrees("windows", "avg_pool2d", x[:1, :1].copy(), kernel_size=2, divisor_override=6)


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
    assert not pairs.suits(plan.geometry, F4, host())


@pytest.mark.parametrize("kind", ["max", "min", "avg"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_tiles_of_channels_accumulate_a_whole_plane(kind, dtype):
    """Channels of one tile, and of several, of which the last two overlap; one pixel and more."""
    rng, width = np.random.default_rng(63), planes.columns_for(host()) * host().lanes(np.dtype(dtype))
    for size, channels in (((1, 1), width), ((3, 4), width + 1), ((7, 7), 3 * width - 1)):
        x = cells(rng, (2, *size, channels), dtype)
        agrees("pixels", f"{kind}_pool2d", x, kernel_size=size, stride=1, layout="NHWC")


@pytest.mark.parametrize("kind", ["max", "min"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [(1, 1), (7, 7), (9, 29)])
def test_planes_with_and_without_a_nan_lie_side_by_side(kind, dtype, size):
    """What is not NaN is looked at with less care, some planes at a time; infinities of both signs add up to a NaN too."""
    rng = np.random.default_rng(65)
    for count in (1, planes.BATCH, planes.BATCH + 1, 3 * planes.BATCH - 1):
        for special in ((), (np.nan,), (np.inf,), (np.inf, -np.inf), (np.finfo(dtype).max,) * 3, (np.nan, np.inf)):
            x = rng.standard_normal((1, count, *size)).astype(dtype)
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


def vectors(count, dtype="float32"):
    """Channels of so many tiles of whole planes, channels last."""
    return count * planes.columns_for(host()) * host().lanes(np.dtype(dtype))


AMBIGUOUS = {  # (shape, options, the kernel): pools that several kernels serve
    "2x2 stride 2 of a plane": ((2, 5, 2, 2), {"kernel_size": 2, "stride": 2}, "pairs"),
    "2x2 stride 2 of planes": ((1, 300, 2, 2), {"kernel_size": 2, "stride": 2}, "pairs"),
    "2x2 stride 2": ((1, 3, 14, 14), {"kernel_size": 2, "stride": 2}, "pairs"),
    "3x3 stride 1 of a plane": ((2, 5, 3, 3), {"kernel_size": 3, "stride": 1}, "planes"),
    "7x7 stride 1 of a plane": ((1, 40, 7, 7), {"kernel_size": 7, "stride": 1}, "planes"),
    "3x3 stride 1": ((1, 3, 9, 9), {"kernel_size": 3, "stride": 1}, "windows"),
    "5x5 channels last of a plane": ((1, 5, 5, vectors(1)), {"kernel_size": 5, "stride": 1, "layout": "NHWC"}, "pixels_1x"),
    "3x3 channels last of a plane": ((2, 3, 3, vectors(2)), {"kernel_size": 3, "stride": 1, "layout": "NHWC"}, "pixels_1x"),
    "5x5 channels last": ((1, 9, 12, 40), {"kernel_size": 5, "stride": 1, "layout": "NHWC"}, "x1_5x5s1_pixels"),
    "any window": ((1, 3, 20, 20), {"kernel_size": 9, "stride": 4}, "nchw"),
}


@wide
@pytest.mark.parametrize("operation", ["max_pool2d", "avg_pool2d"])
@pytest.mark.parametrize(("shape", "options", "part"), AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_the_kernel_that_was_estimated_is_the_one_that_runs(operation, shape, options, part, monkeypatch):
    """Of all candidates, `cost` tells the least seconds, and the kernel of that candidate is called."""
    called = []
    monkeypatch.setattr(Kernel, "__call__", lambda self, *arguments: called.append(self.__name__))
    plan = getattr(fc, operation).plan(shape, implementation="direct", **options)
    problem = plan.problem
    best = min(choice.candidates(problem.geometry, problem.dtype, host()), key=lambda one: one.seconds)
    assert choice.cost(problem, host()) == best.seconds
    plan(np.zeros(shape, np.float32))
    assert called == [choice.kernel(problem, host())] == [best.launch().kernel.__name__]
    assert part in called[0]


@pytest.mark.parametrize("options", [{}, {"padding": 1}, {"stride": 1}, {"kernel_size": 6}, {"layout": "NHWC"}], ids=str)
def test_the_kernel_of_indices_is_the_one_that_runs(options, monkeypatch):
    called, shape = [], (1, 9, 12, 20)
    monkeypatch.setattr(Kernel, "__call__", lambda self, *arguments: called.append(self.__name__))
    plan = fc.max_pool2d.plan(shape, **{"kernel_size": 3, **options}, return_indices=True, implementation="direct")
    (best,) = choice.candidates(plan.geometry, F4, host())
    plan(np.zeros(shape, np.float32))
    assert called == [choice.kernel(plan.problem, host())] == [best.launch().kernel.__name__]
    assert choice.cost(plan.problem, host()) == best.seconds
