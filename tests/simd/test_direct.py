"""The kernels of direct convolution, each on everything that it could serve, chosen or not, at guard pages."""

from typing import Any

import numpy as np
import pytest
from cases import CASES
from comparing import answers, assert_answers
from guards import SUPPORTED, guarded, guarded_everywhere

import fastconv as fc
from fastconv.kernels.simd.direct import choice as direct
from fastconv.kernels.simd.direct import dots, planar, pointwise
from fastconv.kernels.simd.direct import tiles as conv
from fastconv.machine import host
from fastconv.plans.errors import LOCAL

MODULES = {"tiles": conv, "planes": planar, "points": pointwise, "dots": dots}


def serves(module: Any, geometry: Any, dtype: np.dtype) -> bool:
    """Whether direct.choice would ask the module for its cost."""
    if module is conv:
        return True
    return module.suits(geometry, dtype, host()) if module is dots else module.suits(geometry)


@pytest.mark.skipif(not SUPPORTED, reason="guard pages are made by mprotect")
@pytest.mark.parametrize("at", ["end", pytest.param("beginning", marks=pytest.mark.slow)])
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", MODULES)
def test_each_kernel_gives_what_it_would_give_if_it_were_chosen(name, dtype, at, monkeypatch):
    """Whatever the costs say; whole numbers, which have no rounding. Where tiles are chosen, other tests have them."""
    module, served, choice = MODULES[name], 0, direct.choice
    monkeypatch.setattr(direct, "choice", lambda *_: (0.0, module))
    for case in CASES:
        if case.family not in ("conv", "conv_transpose") or not serves(module, case.geometry, np.dtype(dtype)):
            continue
        if module is conv and choice(case.geometry, np.dtype(dtype), host())[1] is conv:
            continue
        inputs = case.inputs(dtype)
        plan = case.plan(inputs, "direct")
        found = guarded(np.full(plan.geometry.out_shape, np.nan, dtype), at)
        x = guarded(inputs["x"], at).reshape(plan.geometry.x_shape)
        direct.run(x, guarded_everywhere(plan.packed, at), plan.geometry, found)
        assert_answers(found.reshape(plan.out_shape), answers(case, dtype, "whole"), LOCAL)
        served += 1
    assert served >= 5


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("channels", "outputs"), [(1, 1), (1, 5), (3, 4), (7, 9), (16, 2)])
def test_rows_shorter_than_a_vector(channels, outputs, dtype, monkeypatch):
    """Weights are read where they lie, also those of a block that has fewer channels than a tile has rows."""
    monkeypatch.setattr(direct, "choice", lambda *_: (0.0, planar))
    rng = np.random.default_rng(channels)
    for width in range(3, 2 * host().lanes(np.dtype(dtype)) + 2, 3):
        for options in ({"padding": 1}, {"stride": 2, "padding": (0, 1)}, {"dilation": (2, 1), "padding": 2, "groups": 2}):
            groups = options.get("groups", 1)
            shapes = (2, channels * groups, 5, width), (outputs * groups, channels, 3, 3), (outputs * groups,)
            x, w, bias = (rng.integers(-4, 5, shape).astype(dtype) for shape in shapes)
            plan = fc.conv2d.plan(x.shape, w, bias, activation="relu", implementation="direct", **options)
            expected = fc.conv2d(x, w, bias, activation="relu", implementation="im2col", **options)
            np.testing.assert_array_equal(plan(x), expected)


@pytest.mark.skipif(host().vector_bytes < 32, reason="narrow vectors are not half empty along the channels")
def test_small_maps_of_few_channels_read_their_weights_where_they_lie():
    """A call of the function then packs nothing."""
    w = np.ones((4, 3, 3, 3), np.float32)
    plan = fc.conv2d.plan((1, 3, 8, 8), w)
    assert "planar" in plan.kernel
    assert plan.packed[0].weights.size == w.size
