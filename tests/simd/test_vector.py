"""Operations on pointers, vectors and tiles, each alone, at every width that this machine runs."""

from typing import NamedTuple

import numba
import numpy as np
import pytest
from vectors import MARK, WIDTHS, marked, numbers

from fastconv.kernels.simd import vector
from fastconv.kernels.simd.vector import pointer

pytestmark = pytest.mark.parametrize(("dtype", "lanes"), WIDTHS)


def test_load_and_store_move_one_vector_to_any_address(dtype, lanes):
    @numba.njit
    def move(x, y):
        vector.store(pointer(y) + 2, vector.load(pointer(x) + 1, lanes))

    x, y = numbers(dtype, lanes + 3), marked(dtype, lanes + 4)
    move(x, y)
    assert (y[2 : 2 + lanes] == x[1 : 1 + lanes]).all()
    assert (y[:2] == MARK).all()
    assert (y[2 + lanes :] == MARK).all()


class Parts(NamedTuple):
    first: int
    second: int


def test_parts_of_memory_begin_cache_lines_and_are_the_callers_or_refused(dtype, lanes):
    carve = vector.carver_of(Parts)

    @numba.njit
    def room(like, first, second):
        parts, memory = carve(Parts(first, second), like)
        return vector.address(parts.first), vector.address(parts.second), memory

    for first, second in ((1, 100), (0, 16), (33, 1)):
        (a, b, memory), (_, _, other) = (room(numbers(dtype, lanes), first, second) for _ in range(2))
        memory[:], other[:] = 1, 2
        assert (memory == 1).all()
        assert memory.dtype == dtype
        assert a % 64 == b % 64 == 0
        assert b - a == -(-first * memory.itemsize // 64) * 64
        assert memory.ctypes.data <= a
        assert b + -(-second * memory.itemsize // 64) * 64 <= memory.ctypes.data + memory.nbytes
    with pytest.raises(MemoryError):
        room(memory, 1, 1 << 58)


def test_first_elements_are_loaded_with_zeros_behind_and_stored_alone(dtype, lanes):
    @numba.njit
    def move(x, y, z, count):
        v = vector.load_first(pointer(x), count, lanes)
        vector.store(pointer(y), v)
        vector.store_first(pointer(z), v, count)

    for count in range(-3, lanes + 6):
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


def test_pointers_advance_by_elements(dtype, lanes):
    @numba.njit
    def look(x):
        p = pointer(x)
        vector.poke(p + 3, vector.peek(p) + vector.peek(p + 1))
        return vector.distance(p, p + 5)

    x = numbers(dtype, 64)
    assert look(x) == 5
    assert x[3] == 3


@pytest.mark.parametrize(("step", "count"), [(3, 4), (-2, 4), (5, 1), (3, 2)])
def test_rows_apart_end_with_the_last_one_that_is_there(dtype, lanes, step, count):
    rows = 4

    @numba.njit
    def compute(x, b, y, step, count):
        tile = vector.zeros(pointer(x), rows, 1, lanes)
        sources = vector.rows_apart(pointer(x) + 6, step, count, rows)
        vector.store_tile(vector.fma_outer(tile, sources, 1, pointer(b)), pointer(y), lanes)

    x, b, y = numbers(dtype, 20), numbers(dtype, lanes), marked(dtype, rows, lanes)
    compute(x, b, y, step, count)
    assert (y == np.outer(x[7 + step * np.minimum(np.arange(rows), count - 1)], b)).all()


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


def test_spans_of_rows_are_stored_to_their_end(dtype, lanes):
    rows, columns = 3, 2
    length = columns * lanes

    @numba.njit
    def move(x, y, shown, count):
        tile = vector.load_tile(pointer(x), length, rows, columns, lanes)
        vector.store_spans(tile, pointer(y), length, shown, count)

    x = numbers(dtype, rows, length)
    for shown, count in ((0, 1), (1, lanes), *((2 + count % 2, count) for count in range(length + 1))):
        y = marked(dtype, rows, length)
        move(x, y, shown, count)
        assert (y[:shown, :count] == x[:shown, :count]).all()
        assert (y[shown:] == MARK).all()
        assert (y[:, count:] == MARK).all()


def test_rows_are_stored_over_what_lies_behind_those_before(dtype, lanes):
    """Each row is whole, and nothing is touched behind the last one."""
    rows = 3

    @numba.njit
    def move(x, y, step, count):
        vector.store_over(vector.load_tile(pointer(x), lanes, rows, 1, lanes), pointer(y), step, count)

    x = numbers(dtype, rows, lanes)
    for count in range(1, lanes + 1):
        for step in (max(count, lanes - count), lanes + 2):
            y = marked(dtype, rows * step + lanes)
            move(x, y, step, count)
            assert all((y[i * step :][:count] == x[i, :count]).all() for i in range(rows))
            assert (y[(rows - 1) * step + count :] == MARK).all()


def test_squares_are_turned_as_they_are_loaded(dtype, lanes):
    step = lanes + 3

    @numba.njit
    def move(x, y):
        vector.store_tile(vector.load_turned(pointer(x), step, lanes), pointer(y), lanes)

    x, y = numbers(dtype, lanes, step), marked(dtype, lanes, lanes)
    move(x.reshape(-1)[: (lanes - 1) * step + lanes].copy(), y)
    assert (y == x[:, :lanes].T).all()


@pytest.mark.parametrize("rows", [2, 3, 5])
def test_rows_are_interleaved(dtype, lanes, rows):
    @numba.njit
    def interleave(x, y):
        vector.store_interleaved(vector.load_tile(pointer(x), lanes, rows, 1, lanes), pointer(y))

    x, y = numbers(dtype, rows, lanes), marked(dtype, lanes * rows + 1)
    interleave(x.reshape(-1), y)
    assert (y[:-1] == x.T.ravel()).all()
    assert y[-1] == MARK


def test_parts_of_pairs_of_rows_are_woven(dtype, lanes):
    rows, columns = 4, 2
    length = columns * lanes

    @numba.njit
    def move(x, y, shown, low, high):
        tile = vector.load_tile(pointer(x), length, rows, columns, lanes)
        vector.store_woven(tile, pointer(y), 2 * length, shown, low, high)

    x = numbers(dtype, rows, length)
    woven = x.reshape(rows // 2, 2, length).transpose(0, 2, 1).reshape(rows // 2, 2 * length)
    for shown in (0, 2, 4):
        for low, high in ((0, 1), (0, length - 1), (1, lanes + 1), (lanes, length), (lanes + 1, lanes + 1), (0, length)):
            y = marked(dtype, rows // 2, 2 * length)
            move(x, y, shown, low, high)
            assert (y[: shown // 2, 2 * low : 2 * high] == woven[: shown // 2, 2 * low : 2 * high]).all()
            assert (y[shown // 2 :] == MARK).all()
            assert (y[:, : 2 * low] == MARK).all()
            assert (y[:, 2 * high :] == MARK).all()


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
        vector.store(pointer(y) + 3 * lanes, vector.larger_number(a, b))
        vector.store(pointer(y) + 4 * lanes, vector.smaller_number(a, b))
        mask = vector.numbers_in_both(a, b)
        vector.store(pointer(y) + 5 * lanes, vector.chosen(mask, vector.splat(one, lanes), vector.splat(zero, lanes)))

    one, zero = np.ones((), dtype)[()], np.zeros((), dtype)[()]
    pairs = [(1, 2), (2, 1), (np.nan, 1), (1, np.nan), (-0.0, 0.0), (0.0, -0.0), (-np.inf, 3), (np.inf, 3)]
    for first in range(0, len(pairs), lanes):
        x = np.ones((2, lanes), dtype)
        x[:, : len(pairs[first : first + lanes])] = np.array(pairs[first : first + lanes], dtype).T
        y = marked(dtype, 6, lanes)
        with np.errstate(all="ignore"):
            compute(x, y)
            a, b = x
            np.testing.assert_array_equal(y[3], np.where(b > a, b, a))
            np.testing.assert_array_equal(y[4], np.where(b < a, b, a))
            np.testing.assert_array_equal(y[5], (a == a) & (b == b))
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


@pytest.mark.parametrize("outputs", [1, 3, 5])
def test_dot_products_of_more_vectors_than_lanes(dtype, lanes, outputs):
    """Sums of every vector, zeros up to whole vectors, and no more; of neither operand is read what lies behind the room."""
    positions, room = 5, lanes - 1
    written = -(-positions * outputs // lanes) * lanes

    @numba.njit
    def compute(x, w, y):
        tile = vector.zeros(pointer(x), positions, outputs, lanes)
        vector.store_lane_sums(vector.fma_dots(tile, pointer(x), lanes, pointer(w), lanes, room), pointer(y))

    x, w, y = numbers(dtype, positions, lanes), numbers(dtype, outputs, lanes), marked(dtype, written + lanes)
    expected = (x[:, :room] @ w[:, :room].T).ravel()
    x[:, room:] = w[:, room:] = np.nan
    compute(x, w, y)
    assert (y[: expected.size] == expected).all()
    assert (y[expected.size : written] == 0).all()
    assert (y[written:] == MARK).all()
