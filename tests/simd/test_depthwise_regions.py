"""Depthwise convolution of planes whose taps lie apart, by regions of outputs that meet the same of them, at guard pages."""

import numpy as np
import pytest
from guards import SUPPORTED, guarded, guarded_everywhere

import fastconv as fc
from fastconv.kernels.simd.depthwise import choice, regions
from fastconv.machine import host

pytestmark = [
    pytest.mark.skipif(not SUPPORTED, reason="guard pages are made by mprotect"),
    pytest.mark.skipif(host().vector_bytes < 32, reason="planes are copied there"),
]


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No other form suits."""
    for form in (choice.maps, choice.planes, choice.interleaved):
        monkeypatch.setattr(form, "suits", lambda geometry, dtype, machine: False)
    monkeypatch.setattr(choice.rows, "suits", lambda geometry, lanes: False)
    monkeypatch.setattr(choice.cuts, "suits", lambda geometry, machine: False)
    fc.clear_caches()
    yield
    fc.clear_caches()


def agrees(shape, kernel, dtype="float32", multiplier=1, **options):
    """The kernel's result is exactly the reference's, on arrays that end, and that begin, at a guard page."""
    rng, channels = np.random.default_rng(31), shape[1]
    x = rng.integers(-4, 5, shape).astype(dtype)
    w, bias = (rng.integers(-4, 5, of).astype(dtype) for of in ((channels * multiplier, 1, *kernel), channels * multiplier))
    operation = (fc.conv1d, fc.conv2d, fc.conv3d)[len(kernel) - 1]
    residual = options.pop("residual", False)
    plan = operation.plan(shape, w, bias, implementation="depthwise", groups=channels, residual=residual, **options)
    assert "regions" in plan.kernel
    added = {"residual": rng.integers(-4, 5, plan.out_shape).astype(dtype)} if residual else {}
    expected = operation(x, w, bias, implementation="loops", groups=channels, **options, **added)
    for at in ("end", "beginning"):
        out = guarded(np.full(expected.shape, np.nan, dtype), at)
        operands = {name: guarded(one, at) for name, one in ({"x": x} | added).items()}
        choice.run(operands, guarded_everywhere(plan.packed, at), plan.served, out)
        np.testing.assert_allclose(out, expected, rtol=1e-5 if options.get("activation") == "silu" else 0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("dilation", [2, 5, 9, 40])
def test_runs_of_every_width_read_their_taps_and_nothing_else(dilation, dtype):
    """Narrower than a vector, of one, of tiles and a rest; in maps smaller than the dilation windows have one tap or two."""
    for size in ((3, 4), (7, 9), (dilation, dilation + 1), (2 * dilation + 3, 2 * dilation + 41)):
        for padding in (dilation, ((dilation, 1), (1, 2 * dilation)), 2 * dilation):
            pads = [(padding, padding)] * 2 if isinstance(padding, int) else padding
            if any(cells + sum(pair) <= 2 * dilation for cells, pair in zip(size, pads, strict=True)):
                continue
            agrees((2, 3, *size), (3, 3), dtype, dilation=dilation, padding=padding)


@pytest.mark.parametrize("kernel", [(1, 2), (5, 5), (4, 7)], ids=str)
def test_kernels_of_every_size(kernel):
    for size in ((13, 11), (30, 77)):
        agrees((1, 5, *size), kernel, dilation=(3, 4), padding=(6, 9))


@pytest.mark.parametrize("padding", [0, 1, 4, 20])
def test_windows_without_a_tap_inside_hold_the_bias(padding):
    """Where the taps on either side of the plane lie outside of it, between two of them."""
    agrees((1, 2, 5, 21 - 2 * min(padding, 4)), (1, 2), dilation=(1, 13), padding=(0, padding))


def test_lines_and_volumes():
    agrees((2, 4, 57), (3,), dilation=8, padding=8)
    agrees((1, 3, 200), (5,), dilation=16, padding=((60, 4),))
    agrees((2, 3, 7, 9, 25), (3, 2, 3), dilation=(2, 3, 4), padding=(2, 3, 4))


@pytest.mark.parametrize("multiplier", [2, 3])
def test_several_outputs_of_a_channel(multiplier):
    agrees((2, 3, 12, 31), (3, 3), multiplier=multiplier, dilation=6, padding=6)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("activation", [None, "relu6", ("leaky_relu", 0.25), "hardswish", "silu"], ids=str)
def test_what_follows_the_sums(activation, residual):
    agrees((2, 3, 12, 31), (3, 3), dilation=6, padding=6, activation=activation, residual=residual)


@pytest.mark.parametrize("planes", [1, 3])
def test_few_planes_are_cut_into_bands(planes):
    geometry = fc.conv2d.plan((1, planes, 40, 50), np.ones((planes, 1, 3, 3), "f4"), dilation=7, padding=7, groups=planes)
    (found,) = regions.candidates(geometry.problem.geometry, np.dtype("f4"), host())
    assert -(-40 // found.cut.band) * planes >= regions.SHARES
    agrees((1, planes, 40, 50), (3, 3), dilation=7, padding=7)


def test_kernels_of_many_regions_are_refused():
    """A plan counts what each of them takes."""
    for kernel, suited in (((7, 7), True), ((9, 9), False)):
        x = (1, 4, 80, 80)
        plan = fc.conv2d.plan(x, np.ones((4, 1, *kernel), "f4"), dilation=2, groups=4, implementation="im2col")
        assert regions.suits(plan.problem.geometry, host()) is suited


def test_a_border_of_something_else_is_refused():
    options = {"dilation": 7, "padding": 7, "groups": 4, "implementation": "im2col"}
    for mode, suited in (("zeros", True), ("reflect", False)):
        plan = fc.conv2d.plan((1, 4, 40, 50), np.ones((4, 1, 3, 3), "f4"), padding_mode=mode, **options)
        assert regions.suits(plan.problem.geometry, host()) is suited
