"""Weights as they lie: what is cut and what is left over, on arrays that end, and begin, at a guard page; and who takes it."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from guards import SUPPORTED, guarded, guarded_everywhere
from machines import HALVING

import fastconv as fc
from fastconv.kernels.simd.direct import unpacked
from fastconv.kernels.simd.engine import tables
from fastconv.kernels.simd.engine.costs import Candidate
from fastconv.machine import host
from fastconv.plans.dispatch import choose, estimate
from fastconv.plans.registry import OPERATIONS

TILES = tables.TILES[host().isa].unpacked


@pytest.fixture(params=TILES, ids=lambda tile: f"{tile[0]}x{tile[1]}")
def tile(request, monkeypatch):
    """A tile, panels of a few of them and chunks of a few vectors, which then have neighbours."""
    lanes = host().lanes(np.dtype(np.float32))

    def choice(problem, machine):
        g = problem.geometry
        tile = request.param if request.param.columns <= g.out_per_group else unpacked.LOW
        cut = unpacked.Cut(tile, 2 * tile.rows, 2 * lanes, 3 * lanes)
        return Candidate(0.0, cut, partial(unpacked.draft, g, cut, problem.dtype, machine))

    monkeypatch.setattr(unpacked, "choice", choice)
    return request.param


def agrees(operation, x_shape, w_shape, last, dtype="float32", **options):
    """Of whole numbers, which have no rounding, the result is exactly im2col's."""
    rng = np.random.default_rng(31)
    x, w, bias = (rng.integers(-4, 5, shape).astype(dtype) for shape in (x_shape, w_shape, w_shape[:1]))
    if last:
        x, w = (np.ascontiguousarray(np.moveaxis(array, 1, -1)) for array in (x, w))
        options["layout"] = {"conv1d": "NLC", "conv2d": "NHWC", "conv3d": "NDHWC"}[operation]
    plan = getattr(fc, operation).plan(x.shape, w, bias, implementation="unpacked", **options)
    expected = getattr(fc, operation)(x, w, bias, implementation="im2col", **options)
    for at in ("end", "beginning"):
        out = guarded(np.full(expected.shape, np.nan, dtype), at)
        unpacked.run({"x": guarded(x, at)}, guarded_everywhere(plan.packed, at), plan.served, out)
        if options.get("activation") in (None, "relu"):
            np.testing.assert_array_equal(out, expected)
        else:
            np.testing.assert_allclose(out, expected, rtol=2e-6, atol=1e-6)


@pytest.mark.skipif(not SUPPORTED, reason="guard pages are made by mprotect")
@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
class TestOnGuardPages:
    def test_ends_of_tiles_panels_and_chunks(self, tile, last):
        """Fewer positions, output channels and products than a tile, a panel and a vector; as many; and some more."""
        positions, outputs = tile
        for k in (1, outputs - 1, outputs, outputs + 1, 3 * outputs):
            for columns in (1, positions, 4 * positions + 1):
                for channels in (1, 7, 16, 33):
                    agrees("conv2d", (2, channels, 3, columns + 1), (k, channels, 2, 2), last)

    def test_pixels(self, tile, last):
        for channels, size in ((3, (1, 1)), (40, (3, 7)), (65, (5, 9))):
            agrees("conv2d", (2, channels, *size), (11, channels, 1, 1), last)

    @pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
    def test_steps_and_padding(self, tile, last, mode):
        options = {"stride": (2, 1), "dilation": (1, 2), "padding": ((2, 1), (3, 0)), "padding_mode": mode}
        agrees("conv2d", (1, 12, 7, 9), (10, 6, 3, 2), last, groups=2, **options)

    @pytest.mark.parametrize("activation", ["relu", "hardswish", "silu", ("leaky_relu", 0.5)])
    def test_activations_wait_for_the_last_chunk(self, tile, last, activation):
        agrees("conv2d", (1, 40, 4, 5), (13, 40, 2, 2), last, activation=activation)

    def test_other_ranks_and_doubles(self, tile, last):
        agrees("conv1d", (2, 9, 23), (7, 9, 5), last, stride=3, padding=2)
        agrees("conv3d", (1, 5, 4, 5, 6), (6, 5, 2, 3, 2), last, padding=1)
        for k in (2, 7):  # with few output channels, rows of a tile may be longer than a vector
            agrees("conv2d", (1, 9, 5, 6), (k, 9, 3, 3), last, dtype="float64", padding=1)


def test_a_plan_has_weights_of_its_own_and_a_function_sees_new_ones():
    x, w = np.ones((1, 64, 2, 2), np.float32), np.ones((32, 64, 1, 1), np.float32)
    plan = fc.conv2d.plan(x.shape, w, implementation="unpacked")
    w[:] = 2
    assert (plan(x) == 64).all()
    assert (fc.conv2d(x, w, implementation="unpacked") == 128).all()


def test_one_call_counts_the_packing_and_calls_without_end_do_not():
    """On a small map with many weights, whose packing takes as long as their use."""
    w = np.zeros((2048, 1, 1, 1024), np.float32)
    about = fc.conv2d.plan((1, 7, 7, 1024), w, layout="NHWC").problem, host()
    fitting = {one.name: one for one in OPERATIONS["conv"] if one.supports(about[0]) is None}
    chosen = {}
    for once in (False, True):
        costs = {name: estimate(one, *about, once) for name, one in fitting.items()}
        chosen[once] = choose("conv2d", *about, once=once)
        assert chosen[once].name == min(costs, key=costs.get)
    for name in ("direct", "strassen"):
        assert estimate(fitting[name], *about, True) - fitting[name].cost(*about) > 1e-4
    assert estimate(fitting["unpacked"], *about, True) == fitting["unpacked"].cost(*about)
    lines = fc.explain("conv2d", (1, 7, 7, 1024), w.shape, layout="NHWC").splitlines()
    told = [line for line in lines if "a function, which packs the weights for one call, takes it" in line]
    others = {chosen[True].name} - {chosen[False].name}
    assert [line.split("'")[1] for line in told] == list(others)


@pytest.mark.parametrize("layout", [None, "NLC"])
def test_weights_of_one_position_that_memory_holds_stream_by_tiles(layout):
    """BLAS reads a row of them at two thirds of the speed; where the last cache holds them it may be as fast."""
    x_shape, w_shape = ((1, 2048, 1), (1000, 2048, 1)) if layout is None else ((1, 1, 2048), (1000, 1, 2048))
    problem = fc.conv1d.plan(x_shape, np.ones(w_shape, np.float32), layout=layout).problem
    names, machine = ("direct", "im2col", "unpacked"), replace(HALVING, l3=1 << 20)
    costs = {one.name: estimate(one, problem, machine) for one in OPERATIONS["conv"] if one.name in names}
    assert 1.2 * max(costs["direct"], costs["unpacked"]) < costs["im2col"]
