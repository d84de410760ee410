"""Products summed in tiles, each alone, at every width that this machine runs."""

import numba
import numpy as np
import pytest
from vectors import WIDTHS, marked, numbers

from fastconv.kernels.simd import vector
from fastconv.kernels.simd.vector import pointer

pytestmark = pytest.mark.parametrize(("dtype", "lanes"), WIDTHS)


def test_outer_product_adds_to_each_row_of_a_tile(dtype, lanes):
    rows, columns = 3, 2

    @numba.njit
    def compute(x, offsets, b, y, y_offsets):
        tile = vector.repeated(pointer(b) + columns * lanes, rows, columns, lanes)
        sources = vector.rows_at(pointer(x), pointer(offsets), rows)
        tile = vector.fma_outer(tile, sources, 4, pointer(b))
        vector.store_rows(tile, pointer(y), pointer(y_offsets))

    x, b = numbers(dtype, 20), numbers(dtype, 2, columns * lanes)
    offsets, y_offsets = np.array([5, 0, 11]), np.array([0, 2, 1]) * columns * lanes
    y = marked(dtype, rows, columns * lanes)
    compute(x, offsets, b, y, y_offsets)
    expected = b[1] + np.outer(x[offsets + 4], b[0])
    assert (y[[0, 2, 1]] == expected).all()


@pytest.mark.parametrize(("stride", "group"), [(1, 1), (2, 1), (3, 1), (1, 2), (2, 2)])
def test_grouped_products_spread_the_channels_of_a_group_over_its_lanes(dtype, lanes, stride, group):
    rows, taps = 4, 3

    @numba.njit
    def compute(x, w, y):
        tile = vector.zeros(pointer(x), rows, 1, lanes)
        tile = vector.fma_grouped(tile, pointer(x), lanes, pointer(w), lanes, taps, stride, group)
        vector.store_tile(tile, pointer(y), lanes)

    @numba.njit
    def compute_listed(x, cells, w, y):
        tile = vector.zeros(pointer(x), rows, 1, lanes)
        tile = vector.fma_listed(tile, pointer(x), pointer(cells), lanes, pointer(w), lanes, taps, stride, group)
        vector.store_tile(tile, pointer(y), lanes)

    x, w = numbers(dtype, (rows - 1) * stride + taps, lanes), numbers(dtype, taps, group, lanes)
    y = marked(dtype, rows, lanes)
    compute(x, w, y)
    apart = [numbers(dtype, 2, lanes) for _ in x]  # cells that lie anywhere, each a vector behind its address
    for one, cell in zip(apart, x, strict=True):
        one[1] = cell
    listed = marked(dtype, rows, lanes)
    compute_listed(x, np.array([one.ctypes.data for one in apart]), w, listed)
    assert (listed == y).all()
    lane = np.arange(lanes) // group * group
    pairs = [(s, g) for s in range(taps) for g in range(group)]
    assert (y == [sum(x[i * stride + s][lane + g] * w[s, g] for s, g in pairs) for i in range(rows)]).all()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("tall", "wide"), [(1, 1), (2, 3), (3, 3), (5, 4)])
def test_products_over_a_plane_leave_out_what_is_not_there(dtype, lanes, tall, wide, stride):
    rows = 3
    lines, cells = (rows - 1) * stride + tall, (lanes - 1) * stride + wide

    @numba.njit
    def compute(x, w, zero, y, first, last, low, high):
        tile = vector.filled(zero[0], rows, 1, lanes)
        tile = vector.fma_plane(
            tile, pointer(x), cells, (first, last), pointer(zero), (low, high), pointer(w), tall, wide, stride, 1, 0
        )
        vector.store_tile(tile, pointer(y), lanes)

    w = numbers(dtype, tall, wide)
    for first, last, low, high in ((0, lines, 0, cells), (-3, 9 + lines, -70, cells + 70), (1, lines - 1, 1, cells - 1)):
        x = numbers(dtype, lines, cells)
        y, outside = marked(dtype, rows, lanes), np.ones((lines, cells), bool)
        outside[max(0, first) : last, max(0, low) : high] = False
        x[outside] = np.nan
        compute(x, w, np.zeros(cells, dtype), y, first, last, low, high)
        x[outside] = 0
        windows = np.lib.stride_tricks.sliding_window_view(x, (tall, wide))[::stride, ::stride]
        assert (y == (windows * w).sum((2, 3))[:rows, :lanes]).all()


@pytest.mark.parametrize(("tall", "wide", "stride"), [(1, 1, 1), (3, 3, 1), (5, 4, 1), (1, 2, 2), (3, 3, 2), (5, 7, 2)])
def test_products_inside_a_plane_go_to_tiles_of_several_vectors(dtype, lanes, tall, wide, stride):
    rows, columns = 3, 2
    lines, cells = (rows - 1) * stride + tall, columns * lanes * stride + max(wide, 8)

    @numba.njit
    def compute(x, w, y):
        tile = vector.filled(x[0, 0], rows, columns, lanes)
        tile = vector.fma_inside(tile, pointer(x), cells, pointer(w), tall, wide, stride, 1, 0)
        vector.store_tile(tile, pointer(y), columns * lanes)

    x, w, y = numbers(dtype, lines, cells), numbers(dtype, tall, wide), marked(dtype, rows, columns * lanes)
    compute(x, w, y)
    windows = np.lib.stride_tricks.sliding_window_view(x, (tall, wide))[::stride, ::stride][:, : columns * lanes]
    assert (y == x[0, 0] + (windows * w).sum((2, 3))).all()


@pytest.mark.parametrize(("tall", "rows", "columns"), [(1, 1, 2), (3, 2, 1), (2, 5, 1)])
def test_a_column_of_taps_meets_rows_below_each_other(dtype, lanes, tall, rows, columns):
    @numba.njit
    def compute(x, w, y):
        tile = vector.filled(x[0, 0], rows, columns, lanes)
        tile = vector.fma_down(tile, pointer(x), columns * lanes, pointer(w), tall)
        vector.store_tile(tile, pointer(y), columns * lanes)

    x, w, y = numbers(dtype, rows + tall - 1, columns * lanes), numbers(dtype, tall), marked(dtype, rows, columns * lanes)
    compute(x, w, y)
    assert (y == x[0, 0] + sum(x[t : t + rows] * w[t] for t in range(tall))).all()


@pytest.mark.parametrize("outputs", [1, 2, 3])
def test_dot_products_are_summed_by_lanes_and_then_over_them(dtype, lanes, outputs):
    """As many results as a vector holds, or a few less; what lies behind the room is not read."""
    if outputs > lanes:
        pytest.skip("one vector holds no such results")
    positions = lanes // outputs

    @numba.njit
    def compute(x, w, y, room):
        tile = vector.zeros(pointer(x), positions, outputs, lanes)
        tile = vector.fma_dots(tile, pointer(x), x.shape[1], pointer(w), lanes, lanes)
        tile = vector.fma_dots(tile, pointer(x) + lanes, x.shape[1], pointer(w), lanes, room)
        vector.store(pointer(y), vector.lane_sums(tile))

    x, w = numbers(dtype, positions, 2 * lanes), numbers(dtype, outputs, lanes)
    for room in (lanes - 1, lanes):
        y = marked(dtype, lanes)
        lost = x.copy()
        lost[:, lanes + room :] = np.nan
        compute(lost, w, y, room)
        expected = x[:, :lanes] @ w.T + x[:, lanes : lanes + room] @ w[:, :room].T
        assert (y == np.concatenate([expected.ravel(), np.zeros(lanes - positions * outputs)])).all()


def test_products_of_values_that_lie_together_meet_weights_by_turns(dtype, lanes):
    """Taps three cells apart; the lanes of each of two columns have weights of their own, or all lanes have the same."""
    rows, apart, tall, wide = 2, 3, 2, 3
    lines, cells = rows - 1 + tall, 2 * lanes - 1 + (wide - 1) * apart + 1

    @numba.njit
    def compute(x, w, one, y, z):
        tile = vector.zeros(pointer(x), rows, 2, lanes)
        tile = vector.fma_inside(tile, pointer(x), cells, pointer(w), tall, wide, 1, apart, 2)
        vector.store_tile(tile, pointer(y), 2 * lanes)
        for j in range(2):
            for own in range(2):
                tile = vector.zeros(pointer(x), rows, 1, lanes)
                at, there, inside = pointer(x) + j * lanes, (0, lines), (0, cells)
                if own == 1:
                    taps = pointer(w) + j * lanes
                    tile = vector.fma_plane(tile, at, cells, there, at, inside, taps, tall, wide, 1, apart, 2)
                else:
                    tile = vector.fma_plane(tile, at, cells, there, at, inside, pointer(one), tall, wide, 1, apart, 0)
                vector.store_tile(tile, pointer(z) + (own * rows * 2 * lanes + j * lanes), 2 * lanes)

    x, w, one = numbers(dtype, lines, cells), numbers(dtype, tall, wide, 2 * lanes), numbers(dtype, tall, wide) + 1
    y, z = marked(dtype, rows, 2 * lanes), marked(dtype, 2, rows, 2 * lanes)
    compute(x, w, one, y, z)
    taps = [(t, s) for t in range(tall) for s in range(wide)]
    under = {(t, s): x[t : t + rows, s * apart :][:, : 2 * lanes] for t, s in taps}
    assert (y == sum(under[tap] * w[tap] for tap in taps)).all()
    assert (z[1] == y).all()
    assert (z[0] == sum(under[tap] * one[tap] for tap in taps)).all()


def test_shared_products_give_every_row_its_own_tap(dtype, lanes):
    rows, columns = 3, 2

    @numba.njit
    def compute(x, w, b, y):
        tile = vector.first_values(pointer(b), rows, columns, lanes)
        tile = vector.fma_shared(tile, pointer(w), pointer(x))
        vector.store_tile(tile, pointer(y), columns * lanes)

    x, w, b = numbers(dtype, columns * lanes), numbers(dtype, rows), 100 * numbers(dtype, rows)
    y = marked(dtype, rows, columns * lanes)
    compute(x, w, b, y)
    assert (y == b[:, None] + np.outer(w, x)).all()


def test_tiles_are_scaled_and_added_to_by_rows_and_by_columns(dtype, lanes):
    rows, columns = 3, 2
    size = rows * columns * lanes

    @numba.njit
    def compute(x, factors, terms, y):
        tile = vector.load_tile(pointer(x), columns * lanes, rows, columns, lanes)
        vector.store_tile(vector.scaled_rows(tile, pointer(factors), pointer(terms)), pointer(y), columns * lanes)
        tile = vector.scaled_columns(tile, pointer(factors), pointer(terms))
        vector.store_tile(tile, pointer(y) + size, columns * lanes)
        tile = vector.added(tile, pointer(x) + 1, columns * lanes - 1)
        vector.store_tile(tile, pointer(y) + 2 * size, columns * lanes)

    x, y = numbers(dtype, rows + 1, columns * lanes), marked(dtype, 3, rows, columns * lanes)
    factors, terms = numbers(dtype, columns * lanes) + 2, 100 * numbers(dtype, columns * lanes)
    compute(x, factors, terms, y)
    tile = x[:rows]
    assert (y[0] == tile * factors[:rows, None] + terms[:rows, None]).all()
    assert (y[1] == tile * factors + terms).all()
    shifted = [x.reshape(-1)[1 + i * (columns * lanes - 1) :][: columns * lanes] for i in range(rows)]
    assert (y[2] == y[1] + shifted).all()


def test_a_row_of_a_tile_takes_a_product_alone(dtype, lanes):
    @numba.njit
    def compute(x, w, y):
        tile = vector.zeros(pointer(x), 2, 3, lanes)
        tile = vector.fma_row(tile, 1, pointer(w), pointer(x))
        vector.store_tile(tile, pointer(y), 3 * lanes)

    x, w, y = numbers(dtype, 3 * lanes), numbers(dtype, 1) + 4, marked(dtype, 2, 3 * lanes)
    compute(x, w, y)
    assert (y[0] == 0).all()
    assert (y[1] == w[0] * x).all()


def test_products_lane_by_lane_share_the_vectors_of_x_between_rows(dtype, lanes):
    rows, columns = 2, 3

    @numba.njit
    def compute(x, w, y):
        tile = vector.zeros(pointer(x), rows, columns, lanes)
        tile = vector.fma_lanes(tile, pointer(w), pointer(x))
        vector.store_tile(tile, pointer(y), columns * lanes)

    x, w = numbers(dtype, columns * lanes), numbers(dtype, rows, columns * lanes)
    y = marked(dtype, rows, columns * lanes)
    compute(x, w, y)
    assert (y == w * x).all()
