"""Depthwise rows, channels last: every width, padding on either side or both, dilations, groups, borders, guard pages."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from guards import guarded, guarded_everywhere

import fastconv as fc
from fastconv.kernels.simd.depthwise import choice, lines, rows
from fastconv.kernels.simd.engine.weights import launched
from fastconv.machine import CACHED, Machine, host

FLOAT = np.dtype(np.float32)
MACHINE = host()
LANES = MACHINE.lanes(FLOAT)


def check(shape: tuple[int, ...], kernel: tuple[int, ...], each: int = 1, machine: Machine = MACHINE, **options: Any) -> None:
    """The loops' sums, to the bit, of whole numbers, by every tile whatever is cheaper; every array ends at a guard page."""
    rng = np.random.default_rng(0)
    channels = shape[-1]
    x = guarded(rng.integers(-4, 5, shape).astype(FLOAT))
    w, bias = (guarded(rng.integers(-4, 5, one).astype(FLOAT)) for one in ((channels, *kernel, each), (channels,)))
    operation, layout = (fc.conv2d, "NHWC") if len(kernel) == 2 else (fc.conv3d, "NDHWC")
    found = {**options, "groups": channels // each, "layout": layout}
    plan = operation.plan(shape, w, bias, implementation="depthwise", **found)
    assert rows.suits(plan.geometry, LANES)
    expected = operation(x, w, bias, implementation="loops", **found)
    for candidate in rows.candidates(plan.geometry, FLOAT, machine):
        y = guarded(np.full(expected.shape, np.nan, FLOAT))
        choice.run({"x": x}, guarded_everywhere(launched(candidate.launch(), w, bias), "end"), plan.problem, y)
        np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [(3, 3), (1, 5), (5, 2), (2, 15)])
def test_every_width(kernel: tuple[int, int], stride: int) -> None:
    """Rows that one tile covers, that the last tile covers again, and that are as narrow as padding."""
    for width in range(1, 20):
        for channels in (LANES + 3, 2 * LANES + 3):  # tiles of one vector alone, and of two as well
            check((1, 4, width, channels), kernel, stride=stride, padding=(kernel[0] // 2, kernel[1] // 2))


@pytest.mark.parametrize("stride", [1, 2])
def test_rows_that_are_asked_for(stride: int) -> None:
    """A processor whose caches hold nothing asks for the next row: behind the last one lies no memory."""
    small = replace(host(), l2=1 << 10, l3=1 << 10, cached=CACHED)
    if not small.is_meshed:
        channels = 2 * LANES
        plan = fc.conv2d.plan((2, 7, 12, channels), np.ones((channels, 3, 3, 1), FLOAT), groups=channels, layout="NHWC")
        g = plan.geometry.lifted()
        asked = [lines.asks(g, tile, FLOAT, small) for tile in lines.tiles_for(g, FLOAT, small)]
        assert any(asked)
        assert not any(lines.asks(g, tile, FLOAT, host()) for tile in lines.tiles_for(g, FLOAT, host()))
    for channels in (LANES + 3, 2 * LANES, 2 * LANES + 3):
        check((2, 7, 12, channels), (3, 3), machine=small, stride=stride, padding=1)


@pytest.mark.parametrize("padding", [0, (0, 4), (4, 1), ((0, 0), (6, 0)), ((0, 0), (0, 6))])
def test_padding_on_either_side(padding: Any) -> None:
    """No tile, some or all meet it; windows that lie wholly in it give the bias alone."""
    for width in (7, 12, 23):
        check((2, 6, width, LANES), (3, 5), padding=padding)


@pytest.mark.parametrize("dilation", [2, 3, 7, 30])
def test_dilations(dilation: int) -> None:
    """Phases of several outputs, of one, and more phases than outputs."""
    for width in (5, 16, 29):
        check((1, 5, width, 2 * LANES), (2, 3), dilation=(1, dilation), padding=(1, dilation))


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_borders(mode: str) -> None:
    """Cells that stand for those of padding are in the list, dilated too."""
    for dilation in (1, 2):
        check((1, 9, 11, LANES), (3, 3), padding=2, dilation=dilation, padding_mode=mode)


@pytest.mark.parametrize(
    "options",
    [
        {"padding": 1},
        {"padding": (2, 0, 1), "dilation": (2, 1, 1)},
        {"padding": (1, 2, 2), "stride": (2, 1, 2)},
        {"padding": (0, 2, 4), "dilation": (1, 2, 4)},
        {"padding": 1, "padding_mode": "reflect"},
        {"padding": (4, 4, 0)},  # windows that lie wholly in padding
    ],
    ids=str,
)
def test_rows_of_several_depths(options: dict[str, Any]) -> None:
    for width in (3, 9, 17):
        check((2, 4, 5, width, 2 * LANES + 3), (3, 3, 3), **options)


def test_groups_over_several_depths() -> None:
    for each in (2, 4):
        check((1, 4, 5, 9, 4 * LANES), (2, 3, 3), each, padding=1)


def test_groups_of_a_few_channels() -> None:
    for each in (2, 4):
        check((1, 5, 9, 4 * LANES), (3, 3), each, padding=1)
        check((1, 5, 9, 4 * LANES), (3, 3), each, padding=(1, 2), dilation=(1, 2))


def test_tiles_have_no_more_outputs_than_a_row() -> None:
    """And the fewest loads: 7 outputs in one tile, 14 in two, 112 in fourteen of 8."""
    assert [lines.rows_for(outputs) for outputs in (1, 2, 7, 14, 112)] == [1, 2, 7, 7, 8]
    assert all(lines.rows_for(outputs) <= outputs for outputs in range(1, 200))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("padding", [24, 7, ((30, 0), (0, 30))])
def test_planes_whose_taps_lie_in_zeros(padding: Any, dtype: str) -> None:
    """Channels first, wide dilations: rows and columns of zeros are neither copied nor multiplied; arrays end at guards."""
    rng = np.random.default_rng(1)
    x, w = (rng.integers(-4, 5, shape).astype(dtype) for shape in ((2, 9 * LANES, 19, 21), (9 * LANES, 1, 3, 3)))
    x, w = guarded(x), guarded(w)
    options = {"padding": padding, "dilation": (11, 9), "groups": 9 * LANES}
    problem = fc.conv2d.plan(x.shape, w, implementation="depthwise", **options).served
    (candidate,) = rows.candidates(problem.geometry, np.dtype(dtype), host())
    launch = launched(candidate.launch(), w, np.zeros(9 * LANES, dtype))
    assert "nchw" in launch.kernel.__name__
    expected = fc.conv2d(x, w, implementation="loops", **options)
    y = guarded(np.full_like(expected, np.nan))
    choice.run({"x": x}, launch, problem, y)
    np.testing.assert_array_equal(y, expected)
