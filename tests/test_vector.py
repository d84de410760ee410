"""Each operation on pointers, vectors and tiles, alone, at every width that this machine runs."""

import numba
import numpy as np
import pytest

from fastconv.kernels.simd import vector
from fastconv.kernels.simd.vector import pointer
from fastconv.machine import host

WIDTHS = [
    pytest.param(dtype, size // np.dtype(dtype).itemsize, id=f"{dtype}x{size // np.dtype(dtype).itemsize}")
    for dtype in ("float32", "float64")
    for size in (16, 32, 64)
    if size <= host().vector_bytes
]
pytestmark = pytest.mark.parametrize(("dtype", "lanes"), WIDTHS)
MARK = -77  # what memory that must not be touched holds


def numbers(dtype, *shape):
    return np.arange(1, 1 + np.prod(shape), dtype=dtype).reshape(shape)


def marked(dtype, *shape):
    return np.full(shape, MARK, dtype)


def test_load_and_store_move_one_vector_to_any_address(dtype, lanes):
    @numba.njit
    def move(x, y):
        vector.store(pointer(y) + 2, vector.load(pointer(x) + 1, lanes))

    x, y = numbers(dtype, lanes + 3), marked(dtype, lanes + 4)
    move(x, y)
    assert (y[2 : 2 + lanes] == x[1 : 1 + lanes]).all()
    assert (y[:2] == MARK).all()
    assert (y[2 + lanes :] == MARK).all()


def test_first_elements_are_loaded_with_zeros_behind_and_stored_alone(dtype, lanes):
    @numba.njit
    def move(x, y, z, count):
        v = vector.load_first(pointer(x), count, lanes)
        vector.store(pointer(y), v)
        vector.store_first(pointer(z), v, count)

    for count in (-3, 0, 1, lanes - 1, lanes, lanes + 5):
        x, y, z = numbers(dtype, lanes), marked(dtype, lanes), marked(dtype, lanes)
        move(x, y, z, count)
        here = min(max(count, 0), lanes)
        assert (y[:here] == x[:here]).all()
        assert (y[here:] == 0).all()
        assert (z[:here] == x[:here]).all()
        assert (z[here:] == MARK).all()


def test_arithmetic_is_lane_by_lane(dtype, lanes):
    @numba.njit
    def compute(x, y, factor):
        a, b = vector.load(pointer(x), lanes), vector.load(pointer(x) + lanes, lanes)
        vector.store(pointer(y), a + b)
        vector.store(pointer(y) + lanes, a - b)
        vector.store(pointer(y) + 2 * lanes, vector.scaled(factor, a))
        vector.store(pointer(y) + 3 * lanes, vector.splat(factor, lanes))

    x, y = numbers(dtype, 2, lanes), marked(dtype, 4, lanes)
    compute(x, y, x.dtype.type(3))
    assert (y == [x[0] + x[1], x[0] - x[1], 3 * x[0], np.full(lanes, 3)]).all()


def test_pointers_advance_by_elements_and_find_cache_lines(dtype, lanes):
    @numba.njit
    def look(x):
        p = pointer(x)
        start = vector.line_start(p + 1)
        vector.poke(p + 3, vector.peek(p) + vector.peek(p + 1))
        return vector.distance(p, p + 5), vector.distance(p, start)

    x = numbers(dtype, 64)
    apart, line = look(x)
    assert apart == 5
    assert (x.ctypes.data + line * x.itemsize) % 64 == 0
    assert 1 <= line <= 64 // x.itemsize
    assert x[3] == 3


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


def test_tiles_start_from_zero(dtype, lanes):
    @numba.njit
    def compute(y):
        vector.store_tile(vector.zeros(pointer(y), 2, 2, lanes), pointer(y), 2 * lanes)

    y = marked(dtype, 2, 2 * lanes)
    compute(y)
    assert (y == 0).all()


@pytest.mark.parametrize(("count", "width"), [(0, 1), (1, 0), (2, 3), (3, 4), (3, 100)])
def test_first_rows_are_loaded_and_stored_within_count_and_width(dtype, lanes, count, width):
    rows, columns = 3, 2
    whole = columns * lanes
    width = min(width, whole)

    @numba.njit
    def move(x, y, z, offsets, steps):
        tile = vector.load_first_rows(pointer(x), pointer(offsets), count, width, rows, columns, lanes)
        vector.store_tile(tile, pointer(y), whole)
        vector.store_first_rows(tile, pointer(z), pointer(steps), count, width)

    x, offsets, steps = numbers(dtype, 4, whole), np.array([2, 0, 3]) * whole, np.arange(rows) * whole
    y, z = marked(dtype, rows, whole), marked(dtype, rows, whole)
    move(x, y, z, offsets, steps)
    expected = np.zeros((rows, whole))
    expected[:count, :width] = x[[2, 0, 3]][:count, :width]
    assert (y == expected).all()
    assert (z[:count, :width] == expected[:count, :width]).all()
    assert (z[count:] == MARK).all()
    assert (z[:, width:] == MARK).all()


def test_transposed_stores_and_loads_are_each_others_inverse(dtype, lanes):
    rows, columns = lanes + 2, 2
    whole = columns * lanes

    @numba.njit
    def turn(x, y, z, count, width):
        tile = vector.load_tile(pointer(x), whole, rows, columns, lanes)
        vector.store_transposed(tile, pointer(y), rows, count, width)
        back = vector.load_transposed(pointer(y), rows, count, width, rows, columns, lanes)
        vector.store_tile(back, pointer(z), whole)

    x = numbers(dtype, rows, whole)
    for count, width in ((rows, whole), (1, 1), (lanes, lanes + 1), (lanes + 1, 2), (0, 3)):
        y, z = marked(dtype, whole, rows), marked(dtype, rows, whole)
        turn(x, y, z, count, width)
        assert (y[:width, :count] == x[:count, :width].T).all()
        assert (y[width:] == MARK).all()
        assert (y[:, count:] == MARK).all()
        expected = np.zeros((rows, whole))
        expected[:count, :width] = x[:count, :width]
        assert (z == expected).all()


@pytest.mark.parametrize(("stride", "group"), [(1, 1), (2, 1), (3, 1), (1, 2), (2, 2)])
def test_grouped_products_spread_the_channels_of_a_group_over_its_lanes(dtype, lanes, stride, group):
    rows, taps = 4, 3

    @numba.njit
    def compute(x, w, y):
        tile = vector.zeros(pointer(x), rows, 1, lanes)
        tile = vector.fma_grouped(tile, pointer(x), lanes, pointer(w), lanes, taps, stride, group)
        vector.store_tile(tile, pointer(y), lanes)

    x, w = numbers(dtype, (rows - 1) * stride + taps, lanes), numbers(dtype, taps, group, lanes)
    y = marked(dtype, rows, lanes)
    compute(x, w, y)
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


@pytest.mark.parametrize(("tall", "wide"), [(1, 1), (3, 3), (5, 4)])
def test_products_inside_a_plane_go_to_tiles_of_several_vectors(dtype, lanes, tall, wide):
    rows, columns = 3, 2
    lines, cells = rows - 1 + tall, columns * lanes - 1 + wide

    @numba.njit
    def compute(x, w, y):
        tile = vector.filled(x[0, 0], rows, columns, lanes)
        tile = vector.fma_inside(tile, pointer(x), cells, pointer(w), tall, wide, 1, 0)
        vector.store_tile(tile, pointer(y), columns * lanes)

    x, w, y = numbers(dtype, lines, cells), numbers(dtype, tall, wide), marked(dtype, rows, columns * lanes)
    compute(x, w, y)
    windows = np.lib.stride_tricks.sliding_window_view(x, (tall, wide))
    assert (y == x[0, 0] + (windows * w).sum((2, 3))).all()


def test_products_of_values_that_lie_together_meet_weights_by_turns(dtype, lanes):
    """Taps three cells apart; the lanes of each of two columns have weights of their own, or all lanes have the same."""
    rows, apart, tall, wide = 2, 3, 2, 3
    lines, cells = rows - 1 + tall, 2 * lanes - 1 + (wide - 1) * apart + 1

    @numba.njit
    def compute(x, w, one, y, z):
        tile = vector.zeros(pointer(x), rows, 2, lanes)
        tile = vector.fma_inside(tile, pointer(x), cells, pointer(w), tall, wide, apart, 2)
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


def test_spans_of_rows_are_stored_to_their_end(dtype, lanes):
    rows, columns = 3, 2
    length = columns * lanes

    @numba.njit
    def move(x, y, shown, count):
        tile = vector.load_tile(pointer(x), length, rows, columns, lanes)
        vector.store_spans(tile, pointer(y), length, shown, count)

    x = numbers(dtype, rows, length)
    for shown, count in ((0, 1), (1, lanes), (2, length - 1), (3, length)):
        y = marked(dtype, rows, length)
        move(x, y, shown, count)
        assert (y[:shown, :count] == x[:shown, :count]).all()
        assert (y[shown:] == MARK).all()
        assert (y[:, count:] == MARK).all()


def test_pairs_of_rows_are_woven_to_their_end(dtype, lanes):
    rows, columns = 4, 2
    length = columns * lanes

    @numba.njit
    def move(x, y, shown, count):
        tile = vector.load_tile(pointer(x), length, rows, columns, lanes)
        vector.store_woven(tile, pointer(y), 2 * length, shown, count)

    x = numbers(dtype, rows, length)
    for shown, count in ((0, 1), (2, lanes), (2, length - 1), (4, 1), (4, lanes + 1), (4, length)):
        y = marked(dtype, rows // 2, 2 * length)
        move(x, y, shown, count)
        woven = x.reshape(rows // 2, 2, length).transpose(0, 2, 1).reshape(rows // 2, 2 * length)
        assert (y[: shown // 2, : 2 * count] == woven[: shown // 2, : 2 * count]).all()
        assert (y[shown // 2 :] == MARK).all()
        assert (y[:, 2 * count :] == MARK).all()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("order", "power"), [(1, 0), (-1, 0), (0, 0), (1, 1), (0, 1), (0, 2)])
@pytest.mark.parametrize(("tall", "wide"), [(1, 1), (2, 2), (3, 3), (1, 4), (5, 2)])
def test_windows_of_a_plane_are_reduced_without_what_is_not_there(dtype, lanes, tall, wide, order, power, stride):
    rows = 3
    lines, cells = (rows - 1) * stride + tall, (lanes - 1) * stride + wide
    empty = np.dtype(dtype).type(-order * np.inf if order and not power else 0)

    @numba.njit
    def compute(x, spare, y, first, last, low, high, empty):
        tile = vector.reduced_windows(
            pointer(x), cells, (first, last), pointer(spare), (low, high), empty, rows, lanes, tall, wide, stride, order, power
        )
        vector.store_tile(tile, pointer(y), lanes)

    for first, last, low, high in ((0, lines, 0, cells), (-3, 9 + lines, -70, cells + 70), (1, lines - 1, 1, cells - 1)):
        x, y, outside = numbers(dtype, lines, cells), marked(dtype, rows, lanes), np.ones((lines, cells), bool)
        outside[max(0, first) : last, max(0, low) : high] = False
        x[lines // 2, cells // 2] = np.nan
        seen = np.where(outside, 77, x)
        compute(seen, np.full(cells, empty), y, first, last, low, high, empty)
        there = np.where(outside, empty, [x, abs(x), x * x][power])
        windows = np.lib.stride_tricks.sliding_window_view(there, (tall, wide))[::stride, ::stride]
        reduce = {1: np.max, -1: np.min, 0: np.sum}[order]
        np.testing.assert_array_equal(y, reduce(windows, (2, 3))[:rows, :lanes])


@pytest.mark.parametrize(("order", "power"), [(1, 0), (-1, 0), (0, 0), (1, 1), (0, 1), (0, 2)])
@pytest.mark.parametrize(("tall", "wide"), [(2, 2), (3, 3), (5, 2)])
def test_windows_inside_a_plane_are_reduced_for_tiles_of_several_vectors(dtype, lanes, tall, wide, order, power):
    rows, columns = 3, 2
    lines, cells = rows - 1 + tall, columns * lanes - 1 + wide

    @numba.njit
    def compute(x, y):
        tile = vector.reduced_inside(pointer(x), cells, rows, columns, lanes, tall, wide, order, power)
        vector.store_tile(tile, pointer(y), columns * lanes)

    x, y = numbers(dtype, lines, cells), marked(dtype, rows, columns * lanes)
    x[lines // 2, cells // 2] = np.nan
    compute(x, y)
    windows = np.lib.stride_tricks.sliding_window_view([x, abs(x), x * x][power], (tall, wide))
    np.testing.assert_array_equal(y, {1: np.max, -1: np.min, 0: np.sum}[order](windows, (2, 3)))


def test_rows_of_a_tile_have_divisors_and_every_element_a_root(dtype, lanes):
    columns, room = 2, 2 * lanes - 1

    @numba.njit
    def compute(x, divisors, factors, y, z):
        tile = vector.load_tile(pointer(x), columns * lanes, 3, columns, lanes)
        tile = vector.divided_rows(tile, pointer(divisors), pointer(factors), room)
        vector.store_tile(tile, pointer(y), columns * lanes)
        vector.store_tile(vector.rooted(vector.filled(x[0, 0], 2, 1, lanes)), pointer(z), lanes)
        vector.prefetch(pointer(x) + 10**12)

    x, divisors, factors = 12 * numbers(dtype, 3, columns * lanes), numbers(dtype, 3) + 4, numbers(dtype, columns * lanes) + 5
    x[0, 0], factors[1] = 49, 0
    y, z = marked(dtype, 3, columns * lanes), marked(dtype, 2, lanes)
    compute(x, divisors, factors, y, z)
    np.testing.assert_array_equal(y[:, :room], (x / (divisors[:, None] * np.where(factors == 0, 1, factors)))[:, :room])
    assert (z == 7).all()


@pytest.mark.parametrize("whole", ["int8", "uint8", "int16", "uint16", "int32", "uint32"])
def test_integers_become_floats_and_come_back_toward_zero(dtype, lanes, whole):
    integer = np.dtype(whole).type(0)

    @numba.njit
    def compute(x, zero, half, y, z):
        v = vector.as_real(vector.load(pointer(x), lanes), zero)
        vector.store(pointer(y), v)
        vector.store(pointer(z), vector.as_whole(v - vector.splat(half, lanes), integer))

    bits = 20 if dtype == "float32" else 8 * integer.itemsize
    limits = np.iinfo(whole)
    x = np.linspace(max(limits.min, -(2**bits)), min(limits.max, 2**bits), lanes).astype(whole)
    y, z, half = marked(dtype, lanes), np.zeros(lanes, whole), np.dtype(dtype).type(0.5)
    compute(x, np.dtype(dtype).type(0), half, y, z)
    assert (y == x).all()
    assert (z == np.trunc(x.astype("f8") - 0.5).astype("i8").astype(whole)).all()


def test_extremes_keep_nan_and_the_first_of_equals(dtype, lanes):
    @numba.njit
    def compute(x, y):
        a, b = vector.load(pointer(x), lanes), vector.load(pointer(x) + lanes, lanes)
        vector.store(pointer(y), vector.larger(a, b))
        vector.store(pointer(y) + lanes, vector.smaller(a, b))
        vector.store(pointer(y) + 2 * lanes, vector.divided(a, b))

    pairs = [(1, 2), (2, 1), (np.nan, 1), (1, np.nan), (-0.0, 0.0), (0.0, -0.0), (-np.inf, 3), (np.inf, 3)]
    for first in range(0, len(pairs), lanes):
        x = np.ones((2, lanes), dtype)
        x[:, : len(pairs[first : first + lanes])] = np.array(pairs[first : first + lanes], dtype).T
        y = marked(dtype, 3, lanes)
        with np.errstate(all="ignore"):
            compute(x, y)
            a, b = x
            np.testing.assert_array_equal(y[0], np.maximum(a, b))
            np.testing.assert_array_equal(y[1], np.minimum(a, b))
            np.testing.assert_array_equal(y[2], a / b)
        equal = a == b
        assert (np.signbit(y[0]) == np.signbit(a))[equal].all()
        assert (np.signbit(y[1]) == np.signbit(a))[equal].all()


def test_every_second_element_of_two_vectors(dtype, lanes):
    @numba.njit
    def compute(x, y):
        p = pointer(x)
        vector.store(pointer(y), vector.every_second(vector.load(p, lanes), vector.load(p + lanes, lanes)))

    x, y = numbers(dtype, 2 * lanes), marked(dtype, lanes)
    compute(x, y)
    assert (y == x[::2]).all()


def test_activations_bound_and_scale_and_keep_nan(dtype, lanes):
    real = np.dtype(dtype).type
    low, high, slope, three, six, sixth = map(real, (-1, 2, 0.5, 3, 6, 1 / 6))

    @numba.njit
    def compute(x, y):
        for i in range(0, x.size, lanes):
            v = vector.load(pointer(x) + i, lanes)
            vector.store(pointer(y) + i, vector.clip(v, low, high))
            vector.store(pointer(y) + (x.size + i), vector.leaky(v, slope))
            vector.store(pointer(y) + (2 * x.size + i), vector.hardswish(v, three, six, sixth))

    x = np.resize(np.array([-9, -2, -0.5, 0, 0.5, 3, 9, np.nan, np.inf, -np.inf], dtype), 4 * lanes)
    y = marked(dtype, 3, x.size)
    with np.errstate(invalid="ignore"):
        compute(x, y)
        np.testing.assert_array_equal(y[0], np.clip(x, -1, 2))
        np.testing.assert_array_equal(y[1], np.where(x < 0, x * slope, x))
        np.testing.assert_array_equal(y[2], x * np.clip(x + 3, 0, 6) * sixth)
