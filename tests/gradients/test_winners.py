"""The kernels that place a pool's gradient: the bits of plain loops, memory that ends at a page, cells that fill no cache."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from comparing import assert_same_bits
from guards import guarded

import fastconv as fc
from fastconv.kernels.gradients.pools import run_scatter
from fastconv.kernels.simd.gradients import winners
from fastconv.machine import CACHED, Machine, host
from fastconv.problem.convolutions import LAYOUTS
from fastconv.problem.gradients import ScatterGradient, lifted_axes
from fastconv.problem.problem import Problem
from fastconv.problem.types import uniform

# Pools of an input [batch, channels, ...]: windows that overlap and that leave gaps, padding, a dilation, ceil_mode.
POOLS: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "overlap": ("max", (2, 5, 9, 8), {"kernel_size": 3, "stride": 2, "padding": 1}),
    "many channels": ("min", (1, 133, 7, 5), {"kernel_size": 3, "stride": 1, "padding": 1}),
    "gaps": ("max", (3, 17, 11, 13), {"kernel_size": 2, "stride": (3, 4)}),
    "dilation": ("max", (2, 19, 12, 11), {"kernel_size": (2, 3), "stride": 1, "dilation": (3, 2), "padding": 1}),
    "ceil": ("max", (5, 6, 10, 9), {"kernel_size": 3, "stride": 2, "ceil_mode": True}),
    "line": ("max", (4, 33, 50), {"kernel_size": 5, "stride": 3, "padding": 2}),
    "volume": ("max", (2, 18, 5, 7, 6), {"kernel_size": (3, 2, 3), "stride": (2, 1, 2), "padding": (1, 0, 1)}),
    "volume, apart": ("min", (1, 66, 6, 6, 4), {"kernel_size": 2, "stride": 2, "dilation": (2, 1, 1)}),
    "bands": ("max", (1, 5, 41, 8), {"kernel_size": 3, "stride": 2, "padding": 1}),
    "bands apart": ("min", (2, 19, 46, 5), {"kernel_size": 2, "stride": (2, 1)}),
    "bands that share rows": ("max", (1, 3, 80, 6), {"kernel_size": (7, 2), "stride": 1, "padding": (3, 0)}),
    "bands, dilated": ("max", (1, 3, 60, 6), {"kernel_size": (2, 1), "stride": 1, "dilation": (20, 1), "padding": (1, 0)}),
    "adaptive bands": ("adaptive_max", (1, 5, 40, 6), {"output_size": (20, 4)}),
    "one window": ("max", (2, 16, 4, 4), {"kernel_size": 4}),
    "adaptive": ("adaptive_max", (2, 21, 11, 7), {"output_size": (5, 4)}),
    "adaptive, larger": ("adaptive_max", (1, 16, 3, 4), {"output_size": (5, 7)}),
}
# Every array fills the caches of such a machine, and what follows is asked for.
SMALL = replace(host(), l2=1 << 10, l3=1 << 10, cached=CACHED)


def drawn(name: str, dtype: Any, last: bool) -> tuple[Problem, np.ndarray, np.ndarray]:
    """(problem of the gradient, dy, indices) of a pool of normal values."""
    kind, shape, options = POOLS[name]
    rng, rank = np.random.default_rng(1), len(shape) - 2
    x = rng.standard_normal(shape).astype(dtype)
    x = np.ascontiguousarray(np.moveaxis(x, 1, -1)) if last else x
    layout = LAYOUTS[rank][last]
    plan = getattr(fc, f"{kind}_pool{rank}d").plan(x.shape, **options, layout=layout, x_dtype=dtype, return_indices=True)
    dy, indices, g = rng.standard_normal(plan.out_shape).astype(dtype), plan(x)[1], plan.geometry
    gradient = ScatterGradient(g.batch, g.channels, g.in_size, g.out_size, last, lifted_axes(g))
    return Problem(gradient, uniform(np.dtype(dtype))), dy, indices


def placed(problem: Problem, dy: np.ndarray, indices: np.ndarray, machine: Machine, out: np.ndarray) -> np.ndarray:
    """The gradient by the kernel that a machine chooses."""
    winners.launch(problem.geometry, problem.dtype, machine).run(dy, indices, out)
    return out


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("name", POOLS)
def test_values_are_placed_as_loops_place_them(name: str, last: bool) -> None:
    """To the bit: each cell adds its windows in their order."""
    for dtype in (np.float32, np.float64):
        problem, dy, indices = drawn(name, dtype, last)
        assert winners.supports(problem) is None
        expected = np.full(problem.geometry.out_shape, 7, dtype)
        run_scatter({"dy": dy, "indices": indices}, None, problem, expected)
        bare = replace(problem, geometry=replace(problem.geometry, windows=None))
        for machine in (host(), SMALL):
            for one in (problem, bare):
                assert_same_bits(placed(one, dy, indices, machine, np.full_like(expected, np.nan)), expected)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("name", POOLS)
def test_no_memory_beside_the_arrays_is_touched(name: str, last: bool) -> None:
    problem, dy, indices = drawn(name, np.float32, last)
    expected = placed(problem, dy, indices, host(), np.empty(problem.geometry.out_shape, np.float32))
    for at in ("end", "begin"):
        for machine in (host(), SMALL):
            out = guarded(np.full_like(expected, np.nan), at)
            assert_same_bits(placed(problem, guarded(dy, at), guarded(indices, at), machine, out), expected)


def test_a_pullback_knows_its_windows() -> None:
    """Channels last they tell how far cells must be clear; of indices alone all are cleared first."""
    for last, layout in ((False, "NCHW"), (True, "NHWC")):
        problem, dy, _ = drawn("overlap", np.float32, last)
        size = problem.geometry.out_shape
        assert fc.grad.max_pool2d_input.plan(dy.shape, size, layout=layout).implementation.name == "direct"
        x = np.random.default_rng(2).standard_normal(size).astype(np.float32)
        _, pull = fc.max_pool2d.vjp(x, 3, stride=2, padding=1, layout=layout)
        _, where = fc.max_pool2d(x, 3, stride=2, padding=1, layout=layout, return_indices=True)
        assert_same_bits(pull(dy), fc.grad.max_pool2d_input(size, where, dy, layout=layout))


@pytest.mark.parametrize(
    ("name", "bands"),
    [
        ("bands", 2),
        ("bands apart", 4),
        ("bands that share rows", 2),
        ("bands, dilated", 1),
        ("adaptive bands", 5),
        ("overlap", 1),
        ("volume", 1),
    ],
)
def test_an_image_has_bands_for_threads(name: str, bands: int, threads: None) -> None:
    """As many as do not look through too many of each other's rows; the bits of one thread."""
    problem, dy, indices = drawn(name, np.float32, True)
    assert winners.bands_for(problem.geometry) == bands
    assert winners.bands_for(replace(problem.geometry, windows=None)) == 1
    found = []
    for count in (1, 3):
        fc.set_num_threads(count)
        found.append(placed(problem, dy, indices, host(), np.full(problem.geometry.out_shape, np.nan, np.float32)))
    assert_same_bits(*found)


def test_no_values_leave_zeros() -> None:
    """Of a pool whose result is empty along an axis, in either layout."""
    for size, pooled, layout in (((1, 2, 4, 4), (1, 2, 0, 2), "NCHW"), ((1, 4, 4, 2), (1, 2, 0, 2), "NHWC")):
        indices, dy, out = np.zeros(pooled, np.int64), np.zeros(pooled, np.float32), np.full(size, 7, np.float32)
        found = fc.grad.max_pool2d_input(size, indices, dy, layout=layout, out=out)
        np.testing.assert_array_equal(found, np.zeros(size, np.float32))
