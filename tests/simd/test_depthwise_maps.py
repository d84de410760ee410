"""Depthwise convolution of small square maps, all outputs of a map at once: every size, at guard pages."""

from typing import Any

import numpy as np
import pytest
from guards import SUPPORTED, guarded, guarded_everywhere
from machines import HALVING, NARROW

import fastconv as fc
from fastconv.kernels.simd.depthwise import choice, maps, planes
from fastconv.kernels.simd.engine.maps import LARGEST
from fastconv.kernels.simd.engine.weights import launched
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import ConvGeometry

pytestmark = [
    pytest.mark.skipif(not SUPPORTED, reason="guard pages are made by mprotect"),
    pytest.mark.skipif(host().vector_bytes < 32, reason="masks are slow there, and planes are copied"),
]
FLOAT = np.dtype(np.float32)
SIDES = [(taps, side) for taps in maps.TAPS for side in range(taps // 2 + 1, LARGEST + 1)]
FEW = {(3, 7), (3, 14), (5, 3), (5, 7)}


def whole(side: int, taps: int, dtype: Any, batch: int = 2, channels: int = 3) -> tuple[np.ndarray, ...]:
    """(x, w, bias) of small whole numbers."""
    rng = np.random.default_rng(side)
    shapes = (batch, channels, side, side), (channels, 1, taps, taps), (channels,)
    return tuple(rng.integers(-4, 5, shape).astype(dtype) for shape in shapes)


def geometry_of(x: np.ndarray, w: np.ndarray, **options: Any) -> ConvGeometry:
    """As a plan has it."""
    given = {"padding": w.shape[-1] // 2, "groups": len(w), **options}
    return fc.conv2d.plan(x.shape, w, implementation="depthwise", **given).geometry


@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("taps", "side"), [one if one in FEW else pytest.param(*one, marks=pytest.mark.slow) for one in SIDES])
def test_every_size(taps: int, side: int, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loops' sums, to the bit; a processor whose caches hold nothing asks for maps behind the last one."""
    x, w, bias = whole(side, taps, dtype)
    options = {"padding": taps // 2, "groups": 3, "activation": "relu"}
    expected = fc.conv2d(x, w, bias, implementation="loops", **options)
    plan = fc.conv2d.plan(x.shape, w, bias, implementation="depthwise", **options)
    assert maps.suits(plan.geometry, np.dtype(dtype), host())
    for asks in (False, True):
        monkeypatch.setattr(Machine, "asks", lambda self, moved, asks=asks: asks)
        fc.clear_caches()
        (candidate,) = maps.candidates(plan.geometry, np.dtype(dtype), host())
        for at in ("end", "beginning"):
            out = guarded(np.full(expected.shape, np.nan, dtype), at)
            packed = guarded_everywhere(launched(candidate.launch(), w, bias), at)
            choice.run({"x": guarded(x, at)}, packed, plan.problem, out)
            np.testing.assert_array_equal(out, expected)
    fc.clear_caches()


@pytest.mark.parametrize("activation", ["leaky_relu", "hardswish", "silu", "gelu", "relu6"])
@pytest.mark.parametrize("residual", [False, True])
def test_what_follows_the_sums(activation: str, residual: bool) -> None:
    """In registers, and after them: a residual, and activations that are no bounds."""
    x, w, bias = whole(7, 3, np.float32)
    more = {"residual": np.arange(x.size, dtype=np.float32).reshape(x.shape) / x.size} if residual else {}
    options = {"padding": 1, "groups": 3, "activation": activation, **more}
    found = fc.conv2d(x, w, bias, implementation="depthwise", **options)
    np.testing.assert_allclose(found, fc.conv2d(x, w, bias, implementation="loops", **options), rtol=2e-6, atol=2e-6)
    assert "maps" in fc.conv2d.plan(x.shape, w, bias, padding=1, groups=3, implementation="depthwise").kernel


def test_threads_share_maps_wherever_they_are_cut() -> None:
    """Each has its own channel to begin with."""
    x, w, bias = whole(5, 3, np.float32, batch=3, channels=301)
    plan = fc.conv2d.plan(x.shape, w, bias, padding=1, groups=301, implementation="depthwise")
    assert "maps" in plan.kernel
    expected, launch, y = plan(x), plan.packed, np.full(x.shape, np.nan, np.float32)
    for begin, end in ((0, 7), (7, 300), (300, 302), (302, 903)):
        arguments = x.reshape(-1), launch.weights, launch.bias, y.reshape(-1), y.reshape(-1), *launch.arguments
        launch.kernel.serial(begin, end, *arguments)
    np.testing.assert_array_equal(y, expected)


def test_other_maps_go_elsewhere() -> None:
    """Such as are not square, or large; other paddings, strides, dilations, borders and layouts."""
    x, w, _ = whole(7, 3, np.float32)
    assert maps.suits(geometry_of(x, w), FLOAT, host())
    for options in ({"padding": 0}, {"stride": 2}, {"dilation": 2, "padding": 2}, {"padding_mode": "reflect"}):
        assert not maps.suits(geometry_of(x, w, **options), FLOAT, host()), options
    assert not maps.suits(geometry_of(x[..., :6], w), FLOAT, host())
    assert not maps.suits(geometry_of(np.ones((1, 3, 17, 17), np.float32), w), FLOAT, host())
    last = geometry_of(np.ones((1, 7, 7, 3), np.float32), np.ones((3, 3, 3, 1), np.float32), padding=1, layout="NHWC")
    assert not maps.suits(last, FLOAT, host())


def chosen_on(machine: Machine, channels: int, side: int, taps: int, stride: int) -> Any:
    """The cut of a depthwise layer, channels first."""
    plan = fc.conv2d.plan(
        (1, channels, side, side),
        np.ones((channels, 1, taps, taps), np.float32),
        padding=taps // 2,
        stride=stride,
        groups=channels,
    )
    return choice.chosen(plan.served, machine, False).cut


def test_maps_whose_masks_registers_do_not_hold_go_elsewhere_where_vectors_run_as_halves() -> None:
    """Rows of 8 or 16 have the same masks in every vector."""
    for side, found in ((8, True), (9, True), (14, False), (16, True)):
        assert isinstance(chosen_on(HALVING, 480, side, 5, 1), maps.Form) == found, side
    assert isinstance(chosen_on(HALVING, 480, 14, 3, 1), maps.Form)


def test_large_kernels_of_stride_two_are_turned() -> None:
    """In many registers those of 5x5 are not."""
    for machine, taps, turned in ((HALVING, 7, True), (HALVING, 5, False), (NARROW, 5, True), (NARROW, 3, False)):
        assert isinstance(chosen_on(machine, 584, 10, taps, 2), planes.Cut) != turned, (machine.isa, taps)
