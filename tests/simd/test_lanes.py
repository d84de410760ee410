"""What vectors of numbers of every kind do lane by lane: order, positions, masks and halves, against NumPy."""

import numba
import numpy as np
import pytest

from fastconv.kernels.simd import vector
from fastconv.kernels.simd.vector import pointer
from fastconv.machine import host

DTYPES = ["float32", "float64", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))]
pytestmark = pytest.mark.parametrize("dtype", DTYPES)
MARK = 77


def extremes(dtype, count):
    """Numbers from the whole range of a dtype, its ends among them."""
    rng = np.random.default_rng(count)
    if np.dtype(dtype).kind == "f":
        return np.where(rng.random(count) < 0.3, np.inf, rng.standard_normal(count)).astype(dtype) * rng.choice([-1, 1], count)
    limits = np.iinfo(dtype)
    ends = np.array([limits.min, limits.max, 0, 1], dtype)
    return np.where(rng.random(count) < 0.5, rng.choice(ends, count), rng.integers(limits.min, limits.max, count, dtype))


def test_order_knows_the_sign_of_its_type(dtype):
    lanes = host().lanes(np.dtype(dtype))

    @numba.njit
    def compute(x, y, low, high):
        a, b = vector.load(pointer(x), lanes), vector.load(pointer(x) + lanes, lanes)
        vector.store(pointer(y), vector.larger(a, b))
        vector.store(pointer(y) + lanes, vector.smaller(a, b))
        vector.store(pointer(y) + 2 * lanes, vector.clip(a, low, high))

    for _ in range(3):
        x, y = extremes(dtype, 2 * lanes).astype(dtype), np.empty(3 * lanes, dtype)
        low, high = np.sort(x[:2])
        compute(x, y, low, high)
        a, b = x[:lanes], x[lanes:]
        assert (y == np.concatenate([np.maximum(a, b), np.minimum(a, b), np.clip(a, low, high)])).all()


def test_masks_touch_what_they_should(dtype):
    lanes = host().lanes(np.dtype(dtype))

    @numba.njit
    def move(x, y, z, count, other):
        vector.store(pointer(y), vector.load_first_or(pointer(x), count, vector.splat(other, lanes)))
        vector.store_first(pointer(z), vector.load_first(pointer(x), count, lanes), count)

    other = np.dtype(dtype).type(MARK)
    for count in {-1, 0, 1, lanes - 1, lanes, lanes + 300}:
        x, y, z = extremes(dtype, lanes).astype(dtype), np.empty(lanes, dtype), np.full(lanes, other)
        move(x, y, z, count, other)
        here = np.arange(lanes) < count
        assert (y == np.where(here, x, other)).all()
        assert (z == y).all()


def test_positions_decide_between_equals(dtype):
    lanes = host().lanes(np.dtype(dtype))

    @numba.njit
    def compute(x, y, places):
        a, b = vector.load(pointer(x), lanes), vector.load(pointer(x) + lanes, lanes)
        early, late = vector.numbered(5, 2, lanes), vector.numbered(6, 2, lanes)
        best, worst = vector.larger_first(a, late, b, early), vector.smaller_first(a, early, b, late)
        vector.store(pointer(y), vector.chosen(best, b, a))
        vector.store(pointer(y) + lanes, vector.chosen(worst, b, a))
        vector.store_first_wide(pointer(places), vector.chosen(best, early, late), lanes)
        vector.store_first_wide(pointer(places) + lanes, vector.chosen(worst, late, early), lanes)

    x = np.resize(np.array([3, 1, 2], dtype), 2 * lanes)
    if np.dtype(dtype).kind == "f":
        x[[0, lanes, lanes + 1]] = np.nan
    y, places = np.empty(2 * lanes, dtype), np.empty(2 * lanes, np.int64)
    compute(x, y, places)
    a, b, lane = x[:lanes], x[lanes:], np.arange(lanes)
    equal = (a == b) | (np.isnan(a) & np.isnan(b))
    np.testing.assert_array_equal(y, np.concatenate([np.maximum(a, b), np.minimum(a, b)]))
    best, worst = equal | (y[:lanes] != a), ~equal & (y[lanes:] != a) & ~(np.isnan(a))
    assert (places[:lanes] == np.where(best & ~(np.isnan(a) & ~equal), 5, 6) + 2 * lane).all()
    assert (places[lanes:] == np.where(worst, 6, 5) + 2 * lane).all()


def test_halves_and_the_first(dtype):
    lanes = host().lanes(np.dtype(dtype))
    half = lanes // 2

    @numba.njit
    def compute(x, y):
        v = vector.load(pointer(x), lanes)
        vector.store(pointer(y), vector.high_half(v))
        vector.store(pointer(y) + half, vector.low_half(v))
        vector.store(pointer(y) + 2 * half, vector.every_second(v, v))
        vector.store(pointer(y) + 4 * half, vector.every_other(v, v))
        return vector.first(v)

    x, y = np.arange(1, lanes + 1).astype(dtype), np.empty(6 * half, dtype)
    assert compute(x, y) == 1
    assert (y == np.concatenate([np.roll(x, half), x[::2], x[::2], x[1::2], x[1::2]])).all()


def test_masks_are_joined_and_asked(dtype):
    """Which lanes are larger, smaller, numbers; whether the first ones are set."""
    lanes = host().lanes(np.dtype(dtype))

    @numba.njit
    def compute(x, y, count):
        a, b, one = vector.load(pointer(x), lanes), vector.load(pointer(x) + lanes, lanes), vector.splat(x[0], lanes)
        none = vector.splat(x.dtype.type(0), lanes)
        masks = vector.above(a, b), vector.below(a, b), vector.both(vector.numbers(a), vector.numbers(b))
        for i in range(3):
            vector.store(pointer(y) + i * lanes, vector.chosen(masks[i], one, none))
        return vector.first_are_set(masks[2], count), vector.first_are_set(vector.both(masks[0], masks[1]), count)

    x, y = np.resize(np.array([3, 1, 2], dtype), 2 * lanes), np.empty(3 * lanes, dtype)
    last = lanes - 1
    if np.dtype(dtype).kind == "f":
        x[lanes + last] = np.nan
    for count in (-1, 0, 1, last, lanes):
        numbers, none = compute(x, y, count)
        assert numbers == (np.dtype(dtype).kind != "f" or count <= last)
        assert none == (count <= 0)
    a, b = x[:lanes], x[lanes:]
    expected = np.concatenate([a > b, a < b, (a == a) & (b == b)])
    np.testing.assert_array_equal(y, np.where(expected, x[0], 0))
