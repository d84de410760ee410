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
    bank = [[[[1, 2], [3, 4]]]]
    check("conv2d", SQUARE, [[[37, 47], [67, 77]]], bank)
    check("conv2d", SQUARE, [[[37], [67]]], bank, stride=(1, 2))
    check("conv2d", SQUARE, [[[64]]], bank, dilation=2)
    check("conv2d", SQUARE, [[[4, 11, 18, 9], [18, 37, 47, 21], [36, 67, 77, 33]]], bank, padding=((1, 0), (1, 1)))
    check("conv2d", SQUARE, [[[3, 13], [12, 30], [21, 48]]], [[[[1, 0], [2, 3]]]], padding=((1, 0), (1, 0)), stride=(1, 2))
    check("conv2d", SQUARE, [[[-4, -4], [-4, -4]]], [[[[1, 0], [0, -1]]]])


def test_conv3d() -> None:
    x = np.arange(8.0).reshape(1, 2, 2, 2)
    check("conv3d", x, [[[[28]]]], np.ones((1, 1, 2, 2, 2)))
    check("conv3d", x, [[[[6]], [[22]]]], np.ones((1, 1, 1, 2, 2)))
    check("conv3d", x, [[[[10 * 7 + 3]]]], [[[[[0, 0], [0, 1]], [[0, 0], [0, 10]]]]])


def test_channels_are_summed_and_the_bias_added() -> None:
    check("conv1d", [[1, 2], [3, 4]], [[31, 42], [7, 10]], [[[1], [10]], [[1], [2]]])
    check("conv1d", [[1, 2], [3, 4]], [[131, 142]], [[[1], [10]]], [100])
    check("conv1d", [[1, 3], [2, 4]], [[131], [142]], [[[1, 10]]], [100], layout="NLC")


def test_groups_keep_to_their_channels() -> None:
    """Two groups of one input and two outputs each, in order."""
    check(
        "conv1d", [[1, 2], [3, 4]], [[1, 2], [10, 20], [300, 400], [3000, 4000]], [[[1]], [[10]], [[100]], [[1000]]], groups=2
    )
    check(
        "conv_transpose1d",
        [[1, 2], [3, 4]],
        [[1, 2], [10, 20], [300, 400], [3000, 4000]],
        [[[1], [10]], [[100], [1000]]],
        groups=2,
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [1, 12, 120, 200]),
        ({"stride": 2}, [1, 10, 102, 20, 200]),
        ({"stride": 4}, [1, 10, 100, 0, 2, 20, 200]),
        ({"stride": 2, "output_padding": 1}, [1, 10, 102, 20, 200, 0]),
        ({"stride": 2, "padding": 1}, [10, 102, 20]),
        ({"stride": 2, "padding": 1, "output_padding": 1}, [10, 102, 20, 200]),
        ({"stride": 2, "padding": ((0, 2),)}, [1, 10, 102]),
        ({"dilation": 2}, [1, 2, 10, 20, 100, 200]),
        ({"stride": 2, "padding": "same"}, [1, 10, 102, 20]),
        ({"stride": 2, "padding": "same_lower"}, [10, 102, 20, 200]),
        ({"stride": 4, "padding": "same"}, [1, 10, 100, 0, 2, 20, 200, 0]),
        ({"activation": "relu6"}, [1, 6, 6, 6]),
    ],
)
def test_conv_transpose1d(options: dict[str, Any], expected: list[int]) -> None:
    """1 2, each of which adds its multiple of 1 10 100."""
    check("conv_transpose1d", [[1, 2]], [expected], [[[1, 10, 100]]], **options)


def test_conv_transpose2d() -> None:
    check("conv_transpose2d", [[[1, 2]]], [[[1, 12, 20], [100, 1200, 2000]]], [[[[1, 10], [100, 1000]]]])
    check("conv_transpose2d", [[[1], [2]]], [[[1, 10], [102, 1020], [200, 2000]]], [[[[1, 10], [100, 1000]]]])
    check("conv_transpose1d", [[1], [2]], [[201, 2010]], [[[1, 10]], [[100, 1000]]])


def test_conv_transpose3d() -> None:
    check("conv_transpose3d", [[[[1, 2]]]], [[[[1, 12, 20]]]], [[[[[1, 10]]]]])


@pytest.mark.parametrize(
    ("dtype", "x", "w", "expected"),
    [
        ("int8", [100, 100], [1, 1], -56),
        ("uint8", [200, 100], [1, 1], 44),
        ("int64", [2**62, 2**62], [1, 1], -(2**63)),
        ("float16", [2048, 1, 1], [1, 1, 1], 2050),
        ("float32", [2**24, 1, 1], [1, 1, 1], 2**24 + 2),
        ("complex64", [1 + 2j], [3 - 1j], 5 + 5j),
    ],
)
def test_dtypes(dtype: Any, x: list[Any], w: list[Any], expected: Any) -> None:
    """Integers wrap, float16 and float32 are rounded once, complex weights are not conjugated."""
    check("conv1d", [x], [[expected]], [[w]], dtype=dtype)


def test_an_integer_wraps_before_its_activation() -> None:
    check("conv1d", [[100, 100]], [[0]], [[[1, 1]]], dtype=np.int8, activation="relu")


def test_activations_of_a_convolution() -> None:
    x, w = [[-2, -0.5, 0, 0.5, 8]], [[[1]]]
    check("conv1d", x, [[0, 0, 0, 0.5, 8]], w, activation="relu")
    check("conv1d", x, [[0, 0, 0, 0.5, 6]], w, activation="relu6")
    check("conv1d", x, [[-0.5, -0.125, 0, 0.5, 8]], w, activation=("leaky_relu", 0.25))
    check("conv1d", x, [[-1, -0.5, 0, 0.5, 1]], w, activation=("clip", -1, 1))
    check("conv1d", [[-4, -3, 0, 3, 5]], [[0, 0, 0, 3, 5]], w, activation="hardswish")
    check("conv1d", [[0, INF]], [[0, INF]], w, activation="silu")


@pytest.mark.parametrize("activation", [None, "relu", "relu6", "leaky_relu", "silu", "hardswish", ("clip", -1, 1)])
def test_a_nan_spoils_its_windows_alone(activation: Any) -> None:
    """And no activation hides it."""
    found = fc.conv1d(np.array([[1, 2, NAN, 4, 5, 6.0]]), np.ones((1, 1, 2)), activation=activation, implementation="reference")
    np.testing.assert_array_equal(np.isnan(found), [[False, True, True, False, False]])


# Pools ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "options", "values", "indices"),
    [
        ([1, 5, 2, 4], {"kernel_size": 2}, [5, 4], [1, 3]),
        ([1, 5, 2, 4], {"kernel_size": 2, "stride": 1}, [5, 5, 4], [1, 1, 3]),
        ([3, 3, 1], {"kernel_size": 2, "stride": 1}, [3, 3], [0, 1]),
        ([1, 9, 2, 8, 3], {"kernel_size": 2, "stride": 1, "dilation": 2}, [2, 9, 3], [2, 1, 4]),
        ([1, 2, 3, 4, 5], {"kernel_size": 2}, [2, 4], [1, 3]),
        ([1, 2, 3, 4, 5], {"kernel_size": 2, "ceil_mode": True}, [2, 4, 5], [1, 3, 4]),
        ([1, 2, 3, 4, 5], {"kernel_size": 2, "stride": 3, "padding": 1, "ceil_mode": True}, [1, 4], [0, 3]),
        ([2, 1], {"kernel_size": 3, "ceil_mode": True}, [2], [0]),
        ([1, 2, 9, 3], {"kernel_size": 3, "stride": 5, "dilation": 3, "ceil_mode": True}, [3], [3]),
        ([-1, -2, -3], {"kernel_size": 3, "stride": 1, "padding": 1}, [-1, -1, -2], [0, 0, 1]),
        ([-INF, -INF, -INF], {"kernel_size": 3, "stride": 1, "padding": 1}, [-INF, -INF, -INF], [0, 0, 1]),
        ([1, NAN, 3, NAN], {"kernel_size": 4}, [NAN], [1]),
        ([NAN, 1, 2], {"kernel_size": 2, "stride": 1}, [NAN, 2], [0, 2]),
        ([1, 2, 3, 4, 5], {"kernel_size": 3, "stride": 2, "padding": "same"}, [2, 4, 5], [1, 3, 4]),
    ],
)
def test_max_pool1d(x: list[float], options: dict[str, Any], values: list[float], indices: list[int]) -> None:
    """Padding never wins, ties go to the first, a NaN wins, and its index is the first NaN's; min is max's mirror image."""
    for operation, sign in (("max_pool1d", 1), ("min_pool1d", -1)):
        array = sign * np.array([x])
        found, where = getattr(fc, operation)(array, **options, return_indices=True, implementation="reference")
        np.testing.assert_array_equal(found, sign * np.array([values], array.dtype), strict=True)
        np.testing.assert_array_equal(where, np.array([indices], np.int64), strict=True)
        np.testing.assert_array_equal(getattr(fc, operation)(array, **options, implementation="reference"), found)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "float16", "float32"])
def test_padding_never_wins_for_any_dtype(dtype: Any) -> None:
    """The least and the greatest value of a dtype come out of a padded pool as they are."""
    limits = np.finfo(dtype) if np.dtype(dtype).kind == "f" else np.iinfo(dtype)
    options = {"kernel_size": 3, "stride": 1, "padding": 1, "return_indices": True, "implementation": "reference"}
    for operation, value in ((fc.max_pool1d, limits.min), (fc.min_pool1d, limits.max)):
        values, indices = operation(np.full((1, 3), value, dtype), **options)
        np.testing.assert_array_equal(values, np.full((1, 3), value, dtype), strict=True)
        np.testing.assert_array_equal(indices, [[0, 0, 1]])


def test_ties_go_row_by_row() -> None:
    """Of equal cells the first in row-major order, inside the plane of one image and channel."""
    x = np.array([[[[1, 2], [2, 1]], [[7, 7], [7, 7]]]])
    values, indices = fc.max_pool2d(x, 2, return_indices=True, implementation="reference")
    np.testing.assert_array_equal(values, [[[[2]], [[7]]]])
    np.testing.assert_array_equal(indices, [[[[1]], [[0]]]])
    values, indices = fc.max_pool2d(np.moveaxis(x, 1, -1), 2, return_indices=True, layout="NHWC", implementation="reference")
    np.testing.assert_array_equal(values, [[[[2, 7]]]])
    np.testing.assert_array_equal(indices, [[[[1, 0]]]])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"kernel_size": 2}, [3, 7]),
        ({"kernel_size": 3, "stride": 2, "padding": 1}, [2, 6]),
        ({"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False}, [3, 6]),
        ({"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}, [2, 6, 4]),
        ({"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": False}, [3, 6, 8]),
        ({"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True, "divisor_override": 2}, [3, 9, 4]),
        ({"kernel_size": 2, "divisor_override": -2}, [-3, -7]),
        ({"kernel_size": 3, "ceil_mode": True}, [4, 8]),
        ({"kernel_size": 6, "ceil_mode": True}, [5]),
        ({"kernel_size": 7, "padding": ((1, 0),), "ceil_mode": True}, [4]),
        ({"kernel_size": 2, "stride": 1, "dilation": 2}, [4, 6]),
    ],
)
def test_avg_pool1d(options: dict[str, Any], expected: list[int]) -> None:
    """Means of 2 4 6 8: padding counts or not, the overhang of ceil_mode never does, and a divisor beats both."""
    for dtype in ("float32", "int64"):
        check("avg_pool1d", [[2, 4, 6, 8]], [expected], dtype=dtype, **options)


@pytest.mark.parametrize(
    ("x", "divisor", "expected"), [([-3, -4], None, -3), ([3, 4], None, 3), ([3, 4], -2, -3), ([-3, -4], -2, 3)]
)
def test_integer_averages_go_toward_zero(x: list[int], divisor: int | None, expected: int) -> None:
    for dtype in ("int8", "int64"):
        check("avg_pool1d", [x], [[expected]], kernel_size=2, divisor_override=divisor, dtype=dtype)


def test_integer_averages_do_not_wrap() -> None:
    """Sums of small integers are kept in 64 bits."""
    check("avg_pool1d", [[100, 120]], [[110]], kernel_size=2, dtype=np.int8)
    check("avg_pool1d", [[250, 252]], [[251]], kernel_size=2, dtype=np.uint8)


@pytest.mark.parametrize(
    ("x", "p", "expected"),
    [([3, -4], 2, 5), ([3, -4], 1, 7), ([3, -4], INF, 4), ([-3, 4, 5], 3, 6), ([4, 9], 0.5, 25), ([0, 0], 2, 0)],
)
def test_lp_pool1d(x: list[int], p: float, expected: float) -> None:
    """(sum of |x|**p) ** (1 / p): the sign does not matter."""
    check("lp_pool1d", [x], [[expected]], p, kernel_size=len(x), dtype=np.float32)


@pytest.mark.parametrize(
    ("x", "wanted", "means", "largest", "where"),
    [
        ([1, 2, 3, 4, 5], 3, [1.5, 3, 4.5], [2, 4, 5], [1, 3, 4]),
        ([1, 2, 3, 4, 5], 2, [2, 4], [3, 5], [2, 4]),
        ([1, 3], 3, [1, 2, 3], [1, 3, 3], [0, 1, 1]),
        ([1, 3, 5], None, [1, 3, 5], [1, 3, 5], [0, 1, 2]),
        ([4, 4, 4, 4], 2, [4, 4], [4, 4], [0, 2]),
    ],
)
def test_adaptive_pools(x: list[int], wanted: int | None, means: list[float], largest: list[int], where: list[int]) -> None:
    """Output o of O covers the cells floor(o L / O) to ceil((o + 1) L / O) - 1."""
    check("adaptive_avg_pool1d", [x], [means], output_size=wanted)
    check("adaptive_max_pool1d", [x], [largest], output_size=wanted)
    values, indices = fc.adaptive_max_pool1d(np.array([x]), wanted, return_indices=True, implementation="reference")
    np.testing.assert_array_equal(values, [largest])
    np.testing.assert_array_equal(indices, [where])


def test_global_pools() -> None:
    check("global_avg_pool", [[[1, 3], [5, 7]]], [[[2], [6]]])
    check("global_max_pool", [[[[1, 3], [5, 7]]]], [[[[7]]]])
    check("global_avg_pool", [[[1, 5], [3, 7]]], [[[2, 6]]], layout="NLC")


def test_max_unpool() -> None:
    """Values go to their cells; of equal indices the last stays."""
    check("max_unpool1d", [[5, 4]], [[0, 5, 0, 4]], np.array([[1, 3]]), kernel_size=2)
    check("max_unpool1d", [[5, 4]], [[0, 0, 4, 0]], np.array([[2, 2]]), kernel_size=2)
    check("max_unpool1d", [[5, 4]], [[0, 5, 0, 4, 0]], np.array([[1, 3]]), kernel_size=2, output_size=(5,))
    check("max_unpool2d", [[[9]]], [[[0, 0], [9, 0]]], np.array([[[2]]]), kernel_size=2)


# Windows ----------------------------------------------------------------------------------------------------------------


def test_unfold_and_fold() -> None:
    """Rows by channel, then tap; columns by window; fold adds what overlaps."""
    x, columns = [[[1, 2, 3], [4, 5, 6]]], [[1, 2], [2, 3], [4, 5], [5, 6]]
    check("unfold", x, columns, kernel_size=(2, 2))
    check("fold", columns, [[[1, 4, 3], [4, 10, 6]]], output_size=(2, 3), kernel_size=(2, 2))
    check("unfold", [[1, 2], [3, 4]], [[0, 1], [1, 2], [0, 3], [3, 4]], kernel_size=(2,), padding=((1, 0),))
    check("unfold", [[1, 2, 3, 4, 5]], [[1, 3], [3, 5]], kernel_size=(2,), stride=2, dilation=2)
    check("fold", [[1, 3], [30, 50]], [[1, 0, 33, 0, 50]], output_size=(5,), kernel_size=(2,), stride=2, dilation=2)
