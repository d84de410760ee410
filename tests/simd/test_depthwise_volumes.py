"""Depthwise kernels of any geometry: tiles and blocks that end anywhere, several outputs a channel, phases, guard pages."""

from typing import Any

import numpy as np
import pytest
from guards import guarded, guarded_everywhere

import fastconv as fc
from fastconv.kernels.simd.depthwise import choice, cuts, volumes
from fastconv.kernels.simd.depthwise.cuts import Cut
from fastconv.kernels.simd.engine.sizes import Axes
from fastconv.kernels.simd.engine.weights import launched
from fastconv.machine import host
from fastconv.problem.convolutions import LAYOUTS

FLOAT = np.dtype(np.float32)
LANES = host().lanes(FLOAT)


def problem(shape: tuple[int, ...], kernel: tuple[int, ...], each: int, last: bool, transposed: bool, options: Any) -> Any:
    """(operation, x, w, bias, options) of whole numbers, of `each` outputs a channel; `shape` is (batch, channels, *size)."""
    rng, (batch, channels, *size) = np.random.default_rng(1), shape
    x_shape = (batch, *size, channels) if last else shape
    first, second = (channels, each) if transposed else (channels * each, 1)
    w_shape = (first, *kernel, second) if last else (first, second, *kernel)
    x, w, bias = (rng.integers(-4, 5, shape).astype(FLOAT) for shape in (x_shape, w_shape, (channels * each,)))
    found = {**options, "groups": channels, "layout": LAYOUTS[len(size)][last]}
    return getattr(fc, f"conv{'_transpose' * transposed}{len(size)}d"), x, w, bias, found


def check(case: Any, block: tuple[int, int, int] | None, rows: int, at: str = "end") -> None:
    """By tiles of `rows` positions and blocks of a size, with every array at a guard page: the loops' sums, to the bit."""
    operation, x, w, bias, options = case
    plan = operation.plan(x.shape, w, bias, implementation="depthwise", **options)
    expected = operation(x, w, bias, implementation="im2col", **options)
    geometry = plan.geometry
    usual = cuts.cut_for(geometry, FLOAT, host())
    of = cuts.reach_of(geometry)
    whole = Axes(*(min(most, part) for most, part in zip(of.positions, block or of.positions, strict=True)))
    cut = Cut(usual.form._replace(rows=rows), whole)
    launch = launched(volumes.draft(geometry, cut, FLOAT, host()), w, bias)
    out = guarded(np.full(expected.shape, np.nan, FLOAT), at)
    choice.run({"x": guarded(x, at)}, guarded_everywhere(launch, at), plan.problem, out)
    np.testing.assert_array_equal(out, expected)


OPTIONS: tuple[tuple[tuple[int, ...], tuple[int, ...], bool, dict[str, Any]], ...] = (
    ((2, 5, 9), (3,), False, {"padding": 2, "dilation": 2}),
    ((1, 4, 7, 11), (3, 3), False, {"padding": 4, "dilation": 4}),
    ((1, 4, 9, 14), (1, 9), False, {"padding": (0, 4), "stride": (3, 1)}),
    ((1, 3, 5, 6, 9), (3, 3, 3), False, {"padding": 1, "stride": 2}),
    ((1, 3, 5, 6, 7), (1, 3, 3), False, {"padding": (0, 1, 1), "stride": (3, 1, 1)}),
    ((1, 4, 6, 7), (4, 4), True, {"stride": 2, "padding": 1}),
    ((1, 4, 6, 7), (3, 5), True, {"stride": (2, 3), "output_padding": (1, 2), "padding": (0, 1)}),
    ((1, 2, 3, 4, 4), (2, 3, 2), True, {"stride": (1, 2, 3), "dilation": (2, 1, 1)}),
    ((1, 3, 9), (2,), True, {"stride": 5}),
    ((1, 3, 4, 19), (2, 13), False, {"padding": (1, 6), "stride": (1, 2)}),
    ((1, 3, 17), (16,), False, {"padding": 8}),  # more taps than are unrolled
    ((1, 4, 5, 6), (3, 6), True, {"stride": (2, 3), "padding": (1, 2)}),  # phases of two taps along rows
    ((1, 3, 2, 3, 5), (1, 2, 9), True, {"stride": (1, 2, 3), "padding": (0, 0, 3), "output_padding": (0, 1, 2)}),
)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("case", OPTIONS, ids=lambda case: f"{'x'.join(map(str, case[1]))}{'-transposed' * case[2]}")
def test_every_block_and_tile(case: Any, last: bool) -> None:
    """Blocks of one position, of some, of all; tiles longer than a row."""
    shape, kernel, transposed, options = case
    for block in ((1, 1, 1), (2, 3, 4), None):
        check(problem(shape, kernel, 1, last, transposed, options), block, 4)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("each", [2, 3, *(pytest.param(one, marks=pytest.mark.slow) for one in (LANES, 2 * LANES, LANES + 1))])
def test_several_outputs_a_channel(each: int, transposed: bool, last: bool) -> None:
    """As many as share a vector evenly, or not, and more than one holds; channels that end inside of a vector."""
    for channels in (1, LANES // 2 + 1):
        check(problem((1, channels, 4, 9), (3, 3), each, last, transposed, {"stride": 2}), None, 4)


@pytest.mark.parametrize("at", ["start", "end"])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("channels", [1, LANES - 1, LANES, LANES + 1])
def test_channels_end_inside_of_a_vector(channels: int, last: bool, at: str) -> None:
    """Nothing is read or written before the arrays, or behind them."""
    check(problem((2, channels, 6, 10), (3, 3), 1, last, False, {"padding": 2, "dilation": 2}), (1, 2, 5), 4, at)


@pytest.mark.parametrize("at", ["start", "end"])
@pytest.mark.parametrize("channels", [LANES + 1, 2 * LANES - 1, 2 * LANES, 4 * LANES - 1])
@pytest.mark.parametrize("taps", [1, 2, 4])
def test_channels_of_a_line(taps: int, channels: int, at: str) -> None:
    """Unrolled taps of phases, with as many positions as registers leave room for."""
    case = problem((1, channels, 3, 7), (4, 2 * taps), 1, True, True, {"stride": 2, "padding": 1})
    operation, x, w, bias, options = case
    geometry = operation.plan(x.shape, w, bias, implementation="depthwise", **options).geometry
    check(case, (1, 2, 5), cuts.cut_for(geometry, FLOAT, host()).form.rows, at)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("mode", ["reflect", "symmetric", "replicate", "circular", "constant"])
def test_borders_of_every_mode(mode: str, last: bool) -> None:
    """Of each side, wider than a block."""
    options = {"padding": ((3, 2), (4, 3)), "padding_mode": mode, "dilation": 2}
    options |= {"padding_value": 3} if mode == "constant" else {}
    check(problem((1, 3, 6, 7), (3, 3), 1, last, False, options), (1, 2, 2), 4)


@pytest.mark.parametrize(
    ("operation", "x", "w", "options"),
    [
        ("conv3d", (1, 16, 6, 8, 8), (16, 1, 3, 3, 3), {"padding": 1, "groups": 16}),
        ("conv2d", (1, 14, 14, 32), (32, 3, 3, 1), {"padding": 2, "dilation": 2, "stride": 2, "groups": 32, "layout": "NHWC"}),
        ("conv_transpose2d", (1, 32, 8, 8), (32, 1, 4, 4), {"stride": 2, "padding": 1, "groups": 32}),
    ],
)
def test_auto_takes_it(operation: str, x: tuple[int, ...], w: tuple[int, ...], options: dict[str, Any]) -> None:
    """Where there was none but a kernel for all channels together; the plan names it."""
    plan = getattr(fc, operation).plan(x, np.ones(w, FLOAT), **options)
    assert plan.implementation.name == "depthwise"
    assert "volumes" in str(plan.kernel)


def test_a_residual_is_added_once(threads: None) -> None:
    """Also where tiles overlap, on any number of threads."""
    operation, x, w, bias, options = problem((1, LANES + 3, 9, 13), (3, 3), 1, True, False, {"padding": 2, "dilation": 2})
    added = np.random.default_rng(2).integers(-4, 5, (1, 9, 13, LANES + 3)).astype(FLOAT)
    expected = np.maximum(operation(x, w, bias, implementation="im2col", **options) + added, 0)
    for n in (1, 3):
        fc.set_num_threads(n)
        found = operation(x, w, bias, residual=added, activation="relu", implementation="depthwise", **options)
        np.testing.assert_array_equal(found, expected)


def test_too_many_phases_go_elsewhere() -> None:
    """A table of them would be larger than what it tells of."""
    x, w = np.ones((1, 4, 3), FLOAT), np.ones((4, 1, 2), FLOAT)
    stride = cuts.MOST_PHASES + 1
    with pytest.raises(ValueError, match="'depthwise' cannot serve this call"):
        fc.conv_transpose1d(x, w, stride=stride, groups=4, implementation="depthwise")


def test_windows_that_no_workspace_holds_go_elsewhere() -> None:
    """Taps so far apart that the cells between them would take more memory than the result."""
    x, w = np.ones((1, 2, 1700, 1700), FLOAT), np.ones((2, 1, 2, 2), FLOAT)
    with pytest.raises(ValueError, match="'depthwise' cannot serve this call"):
        fc.conv2d.plan(x.shape, w, dilation=1699, groups=2, stride=(1, 3), implementation="depthwise")
    np.testing.assert_array_equal(fc.conv2d(x, w, dilation=1699, groups=2, stride=(1, 3)), np.full((1, 2, 1, 1), 4))
