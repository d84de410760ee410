"""Pools whose lanes are planes: windows of every kind on as many small planes as fill vectors, and on some more."""

import numpy as np
import pytest
from guards import SUPPORTED
from test_pool_windows import KINDS, cells, same_at_guards

import fastconv as fc
from fastconv.kernels.simd.pools import choice, rows, turned
from fastconv.machine import host

F4 = np.dtype("f4")
guard = pytest.mark.skipif(not SUPPORTED, reason="guard pages are made by mprotect")


@pytest.fixture
def forced(monkeypatch):
    """No other kernel is chosen."""
    monkeypatch.setattr(choice, "candidates", turned.candidates)


def agrees(operation, x, **arguments):
    """The kernel gives what the loops give."""
    plan = getattr(fc, operation).plan(x.shape, implementation="direct", x_dtype=x.dtype, **arguments)
    assert "turned" in choice.kernel(plan.problem, host())
    same_at_guards(plan, operation, x, **arguments)


@guard
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("size", "window"),
    [
        ((8, 5), {"kernel_size": 3, "stride": 3, "padding": 1}),
        ((11, 7), {"kernel_size": (2, 4), "stride": (1, 3), "padding": (1, 2), "ceil_mode": True}),
        ((4, 9), {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": (1, 3)}),
        ((16, 1), {"kernel_size": (5, 1), "stride": 1}),
    ],
    ids=str,
)
@pytest.mark.parametrize(("operation", "options"), KINDS)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_every_kind_and_window(operation, options, size, window, dtype, forced):
    """Of planes that fill vectors, and of some more, which a last vector shares with the one before."""
    rng, lanes = np.random.default_rng(71), host().lanes(np.dtype(dtype))
    for shape in ((1, lanes), (2, lanes), (3, lanes - 1), (1, 2 * lanes + 1)):
        agrees(operation, cells(rng, (*shape, *size), dtype), **window, **options)


@guard
@pytest.mark.parametrize("kind", ["avg", "max"])
@pytest.mark.parametrize("outputs", [(1, 1), (4, 3), (7, 7), (11, 5)], ids=str)
def test_adaptive_windows(outputs, kind, forced):
    rng, lanes = np.random.default_rng(72), host().lanes(F4)
    x = rng.integers(-9, 9, (1, 2 * lanes + 3, 11, 5)).astype(np.float32)
    agrees(f"adaptive_{kind}_pool2d", x, output_size=outputs)


@guard
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_bands_of_rows(rows, forced, monkeypatch):
    """Whose windows share rows, begin and end in padding, lie apart, or hold fewer cells than a square."""
    monkeypatch.setattr(turned, "band_of_rows", lambda *arguments: rows)
    rng, lanes = np.random.default_rng(76), host().lanes(F4)
    x = cells(rng, (1, lanes + 3, 11, 7), np.float32)
    agrees("max_pool2d", x, kernel_size=3, stride=2, padding=1, ceil_mode=True)
    agrees("max_pool2d", x, kernel_size=3, stride=1, padding=1, dilation=(3, 1))
    agrees("avg_pool2d", x, kernel_size=(2, 3), stride=(4, 1))
    agrees("adaptive_avg_pool2d", rng.integers(-9, 9, x.shape).astype(np.float32), output_size=(9, 4))
    agrees("max_pool2d", cells(rng, (1, lanes, 20, 1), np.float32), kernel_size=(2, 1), stride=1)
    agrees("min_pool3d", cells(rng, (1, lanes, 6, 4, 5), np.float32), kernel_size=3, stride=(1, 2, 3), padding=1)


@guard
def test_signals_and_volumes(forced):
    rng, lanes = np.random.default_rng(73), host().lanes(F4)
    agrees("avg_pool1d", cells(rng, (2, lanes, 40), np.float32), kernel_size=5, stride=3, padding=2)
    agrees("max_pool3d", cells(rng, (1, lanes + 1, 3, 5, 4), np.float32), kernel_size=(2, 3, 2), stride=2, padding=1)


def test_halves_are_converted_on_the_way(forced):
    rng = np.random.default_rng(74)
    x = rng.standard_normal((1, 40, 9, 8)).astype(np.float16)
    for operation in ("max_pool2d", "avg_pool2d"):
        plan = getattr(fc, operation).plan(x.shape, 3, 3, x_dtype=np.float16, implementation="direct")
        assert "turned" in plan.kernel
        expected = getattr(fc, operation)(x.astype(np.float32), 3, 3, implementation="loops").astype(np.float16)
        np.testing.assert_allclose(plan(x).astype(np.float32), expected.astype(np.float32), rtol=2e-3)


def test_a_nan_stays_in_its_plane(forced):
    """Neighbours in a vector never meet."""
    x = np.ones((1, 2 * host().lanes(F4), 8, 8), np.float32)
    x[0, 3] = np.nan
    for operation in (fc.max_pool2d, fc.avg_pool2d, fc.min_pool2d):
        found = np.isnan(operation(x, 3, 2, implementation="direct"))
        assert found[0, 3].all()
        assert found.sum() == found[0, 3].size


def test_threads_share_planes(threads, forced):
    x = np.random.default_rng(75).standard_normal((8, 300, 14, 14), np.float32)
    plan = fc.avg_pool2d.plan(x.shape, 5, 3, implementation="direct")
    fc.set_num_threads(1)
    expected = plan(x)
    fc.set_num_threads(3)
    np.testing.assert_array_equal(plan(x), expected)


def test_what_it_is_chosen_for():
    """Windows of any kind on small planes; few planes, large ones and those of few cells go elsewhere, as do integers."""
    lanes = host().lanes(F4)

    def suits(x_shape, dtype=F4, **options):
        plan = fc.max_pool2d.plan(x_shape, **{"kernel_size": 3, "stride": 3, **options}, x_dtype=dtype)
        return turned.suits(plan.geometry, dtype, host())

    assert suits((1, lanes, 14, 14))
    assert not suits((1, lanes - 1, 14, 14))
    assert not suits((1, lanes, 3, 1), kernel_size=1)
    assert suits((1, lanes, 2000, 200))
    assert not suits((1, lanes, 20, 200_000))
    assert not suits((1, 14, 14, lanes), layout="NHWC")
    assert not suits((1, lanes, 14, 14), return_indices=True)
    assert not suits((1, lanes, 14, 14), np.dtype(np.int32))
    small = fc.adaptive_avg_pool2d.plan((1, 140, 11, 11), 4).problem.geometry
    wide = fc.adaptive_avg_pool2d.plan((1, 140, 63, 63), 1).problem.geometry
    assert {one.launch().kernel.__name__.split("_")[3] for one in choice.candidates(small, F4, host())} == {"turned", "s0"}
    assert turned.seconds(small, F4, host()) < rows.seconds(small, F4, host())
    assert choice.chosen(wide, F4, host()).launch().kernel.__name__.startswith("f32_avg_pool_planes")


def test_bands_of_very_high_planes_are_found_at_once(monkeypatch):
    """By halves: as many rows as the cache holds, cut evenly, whatever their number."""
    asked, cells_of_band, lanes, machine = [], turned.cells_of_band, host().lanes(F4), host()
    geometry = fc.max_pool2d.plan((1, lanes, 30_000_000, 10), 3).problem.geometry
    monkeypatch.setattr(turned, "cells_of_band", lambda *arguments: asked.append(arguments) or cells_of_band(*arguments))
    band = turned.band_of_rows(geometry, F4, machine)
    room = machine.l2 // turned.SHARE // F4.itemsize // lanes
    assert 0 < len(asked) < 40
    assert band > 1
    assert cells_of_band(geometry, band) <= room < cells_of_band(geometry, 2 * band)
