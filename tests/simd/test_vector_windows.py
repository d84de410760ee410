"""Windows reduced in tiles, each alone, at every width that this machine runs."""

import numba
import numpy as np
import pytest
from vectors import WIDTHS, marked, numbers

from fastconv.kernels.simd import vector
from fastconv.kernels.simd.vector import pointer

pytestmark = pytest.mark.parametrize(("dtype", "lanes"), WIDTHS)

REDUCTIONS = [(1, 0), (-1, 0), (0, 0), (1, 1), (0, 1), (0, 2)]
NANS = ("no", "one")


def where_nan(x, where):
    """Cells of x that are not numbers, or infinite."""
    if where == "one":
        x[x.shape[0] // 2, x.shape[1] // 2] = np.nan
    elif where in ("all", "empty", "equal"):
        x[...] = {"all": np.nan, "empty": -np.inf, "equal": 3}[where]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("order", "power", "tall", "wide"),
    [*((*one, 3, 3) for one in REDUCTIONS), *((*one, *size) for size in ((1, 4), (5, 2)) for one in ((1, 0), (0, 2)))],
)
def test_windows_of_a_plane_are_reduced_without_what_is_not_there(dtype, lanes, tall, wide, order, power, stride):
    rows = 3
    lines, cells = (rows - 1) * stride + tall, (lanes - 1) * stride + wide
    empty = np.dtype(dtype).type(-order * np.inf if order and not power else 0)

    @numba.njit
    def compute(x, spare, y, first, last, low, high, empty):
        tile = vector.reduced_windows(
            pointer(x),
            cells,
            1,
            (first, last),
            pointer(spare),
            (low, high),
            empty,
            rows,
            lanes,
            tall,
            wide,
            stride,
            order,
            power,
        )
        vector.store_tile(tile, pointer(y), lanes)

    for first, last, low, high in ((0, lines, 0, cells), (-3, 9 + lines, -70, cells + 70), (1, lines - 1, 1, cells - 1)):
        x, y, outside = numbers(dtype, lines, cells), marked(dtype, rows, lanes), np.ones((lines, cells), bool)
        outside[max(0, first) : last, max(0, low) : high] = False
        for nan in NANS:
            where_nan(x, nan)
            seen = np.where(outside, 77, x)
            compute(seen, np.full(cells, empty), y, first, last, low, high, empty)
            there = np.where(outside, empty, [x, abs(x), x * x][power])
            windows = np.lib.stride_tricks.sliding_window_view(there, (tall, wide))[::stride, ::stride]
            reduce = {1: np.max, -1: np.min, 0: np.sum}[order]
            np.testing.assert_array_equal(y, reduce(windows, (2, 3))[:rows, :lanes])


@pytest.mark.parametrize("order", [1, -1, 0])
def test_dilated_windows_meet_every_second_cell(dtype, lanes, order):
    rows, tall, wide, apart = 4, 3, 3, 2
    lines, cells = (rows + tall - 2) * apart + 1, lanes + (wide - 1) * apart
    empty = np.dtype(dtype).type(-order * np.inf if order else 0)

    @numba.njit
    def compute(x, spare, y, empty, apart):
        tile = vector.reduced_windows(
            pointer(x), apart * cells, apart, (0, 99), pointer(spare), (0, cells), empty, rows, lanes, tall, wide, 1, order, 0
        )
        vector.store_tile(vector.joined(tile, vector.filled(empty, rows, 1, lanes), order), pointer(y), lanes)

    x, y = numbers(dtype, lines, cells), marked(dtype, rows, lanes)
    for nan in NANS:
        where_nan(x, nan)
        compute(x, np.full(cells, empty), y, empty, apart)
        windows = np.lib.stride_tricks.sliding_window_view(x[::apart], (tall, (wide - 1) * apart + 1))[..., ::apart]
        np.testing.assert_array_equal(y, {1: np.max, -1: np.min, 0: np.sum}[order](windows, (2, 3)))


@pytest.mark.parametrize(
    ("order", "power", "tall", "wide", "stride"),
    [
        *((*one, *size) for size in ((2, 2, 1), (3, 3, 2)) for one in REDUCTIONS),
        *((*one, *size) for size in ((5, 3, 1), (2, 5, 2)) for one in ((1, 0), (0, 2))),
    ],
)
def test_windows_inside_a_plane_are_reduced_for_tiles_of_several_vectors(dtype, lanes, tall, wide, stride, order, power):
    rows, columns = 3, 2
    lines, cells = (rows - 1) * stride + tall, columns * lanes * stride + max(wide, 8)

    @numba.njit
    def compute(x, y):
        tile = vector.reduced_inside(pointer(x), cells, 1, rows, columns, lanes, tall, wide, stride, stride, order, power)
        vector.store_tile(tile, pointer(y), columns * lanes)

    x, y = numbers(dtype, lines, cells), marked(dtype, rows, columns * lanes)
    for nan in NANS:
        where_nan(x, nan)
        compute(x, y)
        windows = np.lib.stride_tricks.sliding_window_view([x, abs(x), x * x][power], (tall, wide))[::stride, ::stride]
        reduced = {1: np.max, -1: np.min, 0: np.sum}[order](windows, (2, 3))
        np.testing.assert_array_equal(y, reduced[:, : columns * lanes])


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("stride", [1, 2])
def test_windows_know_where_their_best_cell_lies(dtype, lanes, stride, order):
    """Of equals and of NaN the first, never a cell that is not there, and not where a row of cells like those begins."""
    rows, tall, wide, corner = 3, 3, 3, 1000
    lines, cells = (rows - 1) * stride + tall, (lanes - 1) * stride + wide
    empty = np.dtype(dtype).type(-order * np.inf)

    @numba.njit
    def compute(x, spare, y, places, first, last, low, high, empty):
        best, at = vector.placed_windows(
            pointer(x),
            cells,
            (first, last),
            pointer(spare),
            (low, high),
            empty,
            corner,
            lanes,
            rows,
            lanes,
            tall,
            wide,
            stride,
            order,
        )
        vector.store_tile(best, pointer(y), lanes)
        vector.store_spans_wide(at, pointer(places), lanes, lanes)

    for first, last, low, high in ((0, lines, 0, cells), (1, lines - 1, 1, cells - 1), (-9, 2**40, -(2**40), 2**40)):
        y, places, outside = marked(dtype, rows, lanes), np.empty((rows, lanes), np.int64), np.ones((lines, cells), bool)
        outside[max(0, first) : last, max(0, low) : high] = False
        for nan in (*NANS, "all", "empty", "equal"):
            x = np.round(numbers(dtype, lines, cells) / 4)
            where_nan(x, nan)
            compute(np.where(outside, 77, x), np.full(cells, empty), y, places, first, last, low, high, empty)
            key = np.where(np.isnan(x), np.inf, order * x.astype(float))  # a NaN is better than any number here
            key = np.where(outside, -np.inf, key + 0.0)
            number = corner + np.arange(lines * cells).reshape(lines, cells)
            for i, e in np.ndindex(rows, lanes):
                part = slice(i * stride, i * stride + tall), slice(e * stride, e * stride + wide)
                there = ~outside[part]
                chosen = np.argmax(key[part][there])
                assert places[i, e] == number[part][there][chosen]
                np.testing.assert_equal(y[i, e], x[part][there][chosen])


def test_rows_of_a_tile_have_divisors_and_every_element_a_root(dtype, lanes):
    columns, room = 2, 2 * lanes - 1

    @numba.njit
    def compute(x, divisors, factors, y, z):
        tile = vector.load_tile(pointer(x), columns * lanes, 3, columns, lanes)
        tile = vector.divided_rows(tile, pointer(divisors), 2, pointer(factors), room)
        vector.store_tile(tile, pointer(y), columns * lanes)
        vector.store_tile(vector.root(vector.filled(x[0, 0], 2, 1, lanes), 2), pointer(z), lanes)
        vector.prefetch(pointer(x) + 10**12)

    x, divisors, factors = 12 * numbers(dtype, 3, columns * lanes), numbers(dtype, 5) + 4, numbers(dtype, columns * lanes) + 5
    x[0, 0], factors[1] = 49, 0
    y, z = marked(dtype, 3, columns * lanes), marked(dtype, 2, lanes)
    compute(x, divisors, factors, y, z)
    np.testing.assert_array_equal(y[:, :room], (x / (divisors[::2, None] * np.where(factors == 0, 1, factors)))[:, :room])
    assert (z == 7).all()
