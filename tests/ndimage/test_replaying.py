"""Calls that are made again with equal arguments: results and errors are those of calls that are not."""

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from inspect import signature, unwrap
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import ndimage
from fastconv.plans import filters
from fastconv.plans.keys import kinds_of, parts_of, place_of
from fastconv.plans.replaying import _calls

CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]])
SLOPE = np.array([[0.5, 1.0, -2.0], [0.25, -0.0, 3.0], [1.0, 1.5, -1.0]])
Choices = list[Any]


@pytest.fixture
def choices(monkeypatch: pytest.MonkeyPatch) -> Choices:
    """What has been chosen to run: one more with each filter that is not a call made again."""
    made: Choices = []
    choose = filters.chosen
    monkeypatch.setattr(filters, "chosen", lambda *arguments: made.append(arguments) or choose(*arguments))
    _calls.forget()
    return made


@pytest.fixture
def x(rng: np.random.Generator) -> np.ndarray:
    """An image."""
    return rng.normal(size=(20, 70)).astype(np.float32)


def is_again(call: Callable[[], Any], choices: Choices) -> bool:
    """Whether a call was made before."""
    before = len(choices)
    call()
    return len(choices) == before


def plain(name: str) -> Any:
    """The function that nothing is kept of."""
    return unwrap(getattr(ndimage, name))


def assert_as_scipys(found: np.ndarray, name: str, x: np.ndarray, *arguments: Any, **options: Any) -> None:
    """The same dtype, and the same numbers but for rounding."""
    scipy = pytest.importorskip("scipy.ndimage", reason="scipy is not installed")
    expected = getattr(scipy, name)(x, *arguments, **options)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_call_is_made_again(rng: np.random.Generator, choices: Choices, threads: None) -> None:
    """With other arrays of the same shape and type, each time a new result; what differs in anything is another call."""
    a, b = rng.normal(size=(2, 20, 70)).astype(np.float32)
    first = ndimage.sobel(a, 0, mode="wrap")
    kept = first.copy()
    assert is_again(lambda: ndimage.sobel(b, 0, mode="wrap"), choices)
    second = ndimage.sobel(b, 0, mode="wrap")
    np.testing.assert_array_equal(second, ndimage.sobel(b, 0, None, "wrap"))
    np.testing.assert_array_equal(first, kept)
    assert not np.shares_memory(first, second)
    assert second.dtype == np.float32
    assert not np.array_equal(ndimage.sobel(b, 1, mode="wrap"), second)
    np.testing.assert_array_equal(ndimage.sobel(b.repeat(2, 1)[:, ::2], 0, mode="wrap"), second)
    fc.set_num_threads(1)
    np.testing.assert_array_equal(ndimage.sobel(b, 0, mode="wrap"), second)


def test_equal_arguments_of_other_types_are_other_calls() -> None:
    """1 is not 1.0: what is an error of one stays an error after the other was served."""
    x = np.arange(1400, dtype=np.float32).reshape(20, 70)
    ndimage.median_filter(x, 3)
    with pytest.raises(TypeError):
        ndimage.median_filter(x, 3.0)
    for window in (tuple, list):
        ndimage.median_filter(x, window((3, 3)))
        with pytest.raises(TypeError):
            ndimage.median_filter(x, window((3.0, 3)))
        ndimage.uniform_filter(x, 5, origin=window((1, 1)))
        with pytest.raises(TypeError):
            ndimage.uniform_filter(x, 5, origin=window((1, 1.0)))
    for _ in range(2):
        with pytest.raises(RuntimeError):
            ndimage.sobel(x, mode="wrong")
    assert kinds_of((1, (True, None), "a")) == (int, (bool, type(None)), str)
    assert kinds_of(([3, 3],)) is None
    assert kinds_of((np.float64(1),)) is None
    assert kinds_of((-0.0,)) is None


def test_flags_and_other_layouts_are_made_anew(x: np.ndarray) -> None:
    """Arrays of another type, or that lie otherwise."""
    expected, flags = ndimage.median_filter(x, 3), x > 0
    for _ in range(2):
        assert ndimage.median_filter(flags, 3).dtype == np.bool_
        np.testing.assert_array_equal(ndimage.median_filter(np.asfortranarray(x), 3), expected)


# Lists, small arrays and types among the arguments ---------------------------------------------------------------------------

CALLS: tuple[tuple[str, tuple[Any, ...], dict[str, Any]], ...] = (
    ("gaussian_filter", ([1.0, 2],), {}),
    ("gaussian_filter", (np.float64(1.5),), {"order": [0, 1], "axes": [0, 1]}),
    ("gaussian_filter", (np.array([1.0, 2.0]),), {"output": np.float64}),
    ("gaussian_filter1d", (1.5, np.int64(0)), {}),
    ("gaussian_laplace", (1.0,), {}),
    ("correlate1d", ([1, 2, 3], 0), {}),
    ("correlate1d", ((1, 2.5, 3), 0), {"output": float}),
    ("correlate1d", (np.array([1.0, -0.0, 3.0]), 1), {"mode": "mirror"}),
    ("convolve1d", ([1, 2, 3, 4],), {}),
    ("convolve1d", (np.array([1, 2, 4, 8])[::-1],), {}),
    ("correlate", (SLOPE,), {}),
    ("correlate", (SLOPE.astype(">f4"),), {"mode": "constant", "cval": 2.0}),
    ("correlate", ((SLOPE + 0).tolist(),), {"output": np.dtype("f8")}),
    ("convolve", (SLOPE.T,), {"origin": [1, 0]}),
    ("convolve", (((0, 1, 0), [1, 2, True], (0, 1.5, 0)),), {}),
    ("convolve", ([1, 2, 3],), {"axes": [0]}),
    ("maximum_filter", (), {"footprint": CROSS}),
    ("minimum_filter", (), {"footprint": CROSS.tolist()}),
    ("grey_dilation", (), {"footprint": CROSS.astype(bool)}),
    ("grey_erosion", (), {"structure": SLOPE}),
    ("grey_dilation", (), {"footprint": CROSS[:2], "structure": SLOPE[:2]}),
    ("median_filter", (), {"footprint": CROSS}),
    ("rank_filter", (1,), {"footprint": CROSS.astype(bool)}),
    ("sobel", (), {"mode": ["wrap", "nearest"]}),
)


@pytest.mark.parametrize(("name", "arguments", "options"), CALLS)
def test_what_is_no_number_is_made_again(name: str, arguments: Any, options: Any, x: np.ndarray, choices: Choices) -> None:
    """Of an image of another kind before, and of two others."""
    call = getattr(ndimage, name)
    call(x.astype(np.float64), *arguments, **options)
    for number, image in enumerate((x, x[::-1].copy(), -x)):
        assert is_again(lambda image=image: call(image, *arguments, **options), choices) == (number > 0)
        found = call(image, *arguments, **options)
        assert_as_scipys(found, name, image, *arguments, **options)
        np.testing.assert_array_equal(found, plain(name)(image, *arguments, **options), strict=True)


def test_what_arrays_hold_counts(x: np.ndarray, choices: Choices) -> None:
    """Written anew between calls they are other arguments, and what is kept stays what it was; so are lists."""
    for name, kept in (("correlate", SLOPE), ("grey_dilation", CROSS.astype(bool)), ("minimum_filter", CROSS.astype(bool))):
        call, window = getattr(ndimage, name), kept.copy()
        option = "weights" if name == "correlate" else "footprint"
        first = call(x, **{option: window})
        window[0, 1] = 0
        changed = call(x, **{option: window})
        assert not np.array_equal(changed, first)
        np.testing.assert_array_equal(changed, plain(name)(x, **{option: window}))
        window[:] = 1
        assert is_again(lambda call=call, kept=kept, option=option: call(x, **{option: kept.copy()}), choices)
        np.testing.assert_array_equal(call(x, **{option: kept}), first)
    for w in (
        SLOPE,
        SLOPE.view(np.int64),
        CROSS,
        CROSS[:2],
        CROSS.ravel()[:6].reshape(3, 2),
        CROSS == 1,
        CROSS.astype(np.uint8),
    ):
        np.testing.assert_array_equal(ndimage.convolve(x, w), plain("convolve")(x, w))
    weights = [1, 2, 3]
    for last in (3, 4, 3.5, True):
        weights[-1] = last
        for given in (weights, tuple(weights), np.array(weights)):
            np.testing.assert_array_equal(ndimage.correlate1d(x, given), plain("correlate1d")(x, weights))


def test_zeros_and_nans_among_weights(x: np.ndarray) -> None:
    """A zero of another sign is another weight, and a NaN one like others."""
    x[3, 5] = np.inf
    for weights in ([0.0, 1, 2], [-0.0, 1, 2], [np.nan, 1, 2], [0, 1, 2]):
        for given in (weights, np.array(weights), tuple(weights)):
            for _ in range(2):
                found = ndimage.convolve1d(x, given, mode="wrap")
                np.testing.assert_array_equal(found, plain("convolve1d")(x, given, mode="wrap"))
    assert parts_of(x, ([1, -0.0],), None) is None
    assert parts_of(x, (-0.0,), None) is None


def test_what_has_no_key(x: np.ndarray, choices: Choices) -> None:
    """Long lists, large arrays, those whose bytes do not tell what they hold, and all that other classes have: made anew."""
    endless: list[Any] = []
    endless.append(endless)
    masked, subclass = np.ma.masked_array(SLOPE, SLOPE > 1), SLOPE.view(type("Subclass", (np.ndarray,), {}))
    ones, long = np.ones((40, 40)), [1.0] * 2000
    values = (endless, masked, subclass, ones, ones.tolist(), long, SLOPE * 1j, SLOPE.astype(object), SLOPE.astype("g"))
    for value in (*values, [SLOPE], np.ones(1), 1j, np.float64, np.floating, memoryview(SLOPE), type("Float", (float,), {})(1)):
        assert (parts_of(x, (1, value), None) is None) == (value is not np.float64)
    for value in (subclass, ones, ones.tolist()):
        for _ in range(2):
            assert not is_again(lambda value=value: ndimage.correlate(x, value), choices)
        np.testing.assert_array_equal(ndimage.correlate(x, value), plain("correlate")(x, np.asarray(value)))
    weights = np.array([1, 2, 3], object)
    before = ndimage.correlate1d(x, weights)
    weights[1] = 5
    assert not np.array_equal(ndimage.correlate1d(x, weights), before)


def test_what_another_thread_writes_meanwhile_is_not_kept(x: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """A footprint that changes after it was looked up is no footprint of the calls to come."""
    _calls.forget()
    footprint, choose = CROSS.astype(bool), filters.chosen

    def chosen(*arguments: Any) -> Any:
        footprint[:] = True
        return choose(*arguments)

    monkeypatch.setattr(filters, "chosen", chosen)
    ndimage.maximum_filter(x, footprint=footprint)
    monkeypatch.undo()
    expected = plain("maximum_filter")(x, footprint=CROSS)
    np.testing.assert_array_equal(ndimage.maximum_filter(x, footprint=CROSS.astype(bool)), expected)


@pytest.mark.parametrize("name", ["maximum_filter", "grey_erosion", "median_filter"])
def test_warnings_come_each_time(name: str, x: np.ndarray) -> None:
    """That a size is ignored is said of the caller's line whenever it is."""
    for _ in range(3):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            getattr(ndimage, name)(x, 3, CROSS)
        assert [(one.category, one.filename) for one in caught] == [(UserWarning, __file__)]


# Arrays to write -------------------------------------------------------------------------------------------------------------

WRITING: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("gaussian_filter", (1,)),
    ("correlate1d", ([1, 2, 3],)),
    ("convolve", (SLOPE,)),
    ("uniform_filter", (5,)),
    ("maximum_filter", (3,)),
    ("grey_dilation", ((3, 5),)),
    ("median_filter", (3,)),
    ("laplace", ()),
    ("sobel", (0,)),
)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "arguments"), WRITING)
def test_arrays_given_to_write_are_written(name: str, arguments: Any, dtype: Any, x: np.ndarray, choices: Choices) -> None:
    """By name and by position, each into its own; calls without one give new arrays, and those with a dtype of its type."""
    call = getattr(ndimage, name)
    defaults = {one.name: one.default for one in signature(call).parameters.values()}
    between = [defaults[one] for one in [*defaults][len(arguments) + 1 : [*defaults].index("output")]]
    out = np.empty_like(x, dtype)
    for number, image in enumerate((x, x[::-1].copy(), -x, x)):
        for given in (out, np.empty_like(out)):
            given[:] = np.nan
            options = {"output": given} if number % 2 else {}
            positions = arguments if number % 2 else (*arguments, *between, given)
            before = len(choices)
            found = call(image, *positions, **options)
            assert found is given
            assert (len(choices) == before) == (number > 0 or given is not out)
            assert_as_scipys(found, name, image, *arguments, output=dtype)
            np.testing.assert_array_equal(found, plain(name)(image, *arguments, output=dtype), strict=True)
        if number:
            new = call(image, *arguments), call(image, *arguments, output=dtype)
            assert [one.dtype for one in new] == [np.float32, dtype]
            assert not any(np.shares_memory(one, other) for one in new for other in (out, image))
            np.testing.assert_array_equal(new[1], out)


def test_outputs_of_all_kinds(x: np.ndarray) -> None:
    """One after the other, twice: each call gives what it gives of itself."""
    whole = np.round(x * 40).astype(np.uint8)
    kinds = ("float64", np.float64, np.dtype("f8"), float, np.dtype(">f8"), np.float32, None, bool, np.bool_, np.int16, "int16")
    arrays = [np.empty(x.shape, dtype) for dtype in ("f8", "f4", "?", "i2", ">f8", "u1", "e")]
    for name, argument in (("maximum_filter", 3), ("gaussian_filter", 1), ("correlate1d", [1, 0, 2])):
        for image in (x, whole, whole, x):
            for output in (*kinds, *arrays):
                found = getattr(ndimage, name)(image, argument, output=output)
                assert found is output or not any(found is one for one in arrays)
                expected = plain(name)(image, argument, output=found.dtype if isinstance(output, np.ndarray) else output)
                np.testing.assert_array_equal(found, expected, strict=True)
            for wrong in ("bool", "nothing", np.empty(3), np.floating):
                with pytest.raises((RuntimeError, TypeError, DeprecationWarning)):
                    getattr(ndimage, name)(image, argument, output=wrong)


def test_a_dtype_that_does_not_count(x: np.ndarray) -> None:
    """Of what a gradient is told to write only an array counts."""
    expected, out = ndimage.morphological_gradient(x, 3), np.empty(x.shape)
    for _ in range(2):
        np.testing.assert_array_equal(ndimage.morphological_gradient(x, 3, output=out.dtype), expected, strict=True)
        assert ndimage.morphological_gradient(x, 3, output=out) is out
        np.testing.assert_allclose(out, expected, rtol=1e-6)


def test_arrays_that_lie_otherwise_are_written_too(x: np.ndarray) -> None:
    """Over the image, a part of it or beside it, in other orders, of other classes; after a call that wrote."""
    expected = ndimage.gaussian_filter(x, 1)
    ndimage.gaussian_filter(x, 1, output=np.empty_like(x))
    room = np.zeros((30, 70), np.float32)
    subclass = np.empty_like(x).view(type("Subclass", (np.ndarray,), {}))
    unaligned = np.zeros(x.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(x.shape)
    for given in (np.empty((70, 20), np.float32).T, np.empty((20, 140), np.float32)[:, ::2], subclass, unaligned):
        for _ in range(2):
            found = ndimage.gaussian_filter(x, 1, output=given)
            np.testing.assert_array_equal(found, expected)
            np.testing.assert_array_equal(given, expected)
    for name, size in (("gaussian_filter", 1), ("maximum_filter", 3), ("sobel", 0)):
        getattr(ndimage, name)(x, size, output=np.empty_like(x))
        for image, given in ((room[:20], room[:20]), (room[:20], room[1:21]), (room[1:21], room[:20])):
            image[:] = x
            assert getattr(ndimage, name)(image, size, output=given) is given
            np.testing.assert_array_equal(given, plain(name)(x, size))
    masked = np.ma.masked_array(np.zeros_like(x), x > 0)
    np.testing.assert_array_equal(ndimage.gaussian_filter(x, 1, output=masked), expected)


def test_arrays_that_cannot_be_written_stay_errors(x: np.ndarray) -> None:
    """After a call that could."""
    out = np.zeros_like(x)
    ndimage.median_filter(x, 3, output=out)
    out[:] = 0
    out.flags.writeable = False
    for _ in range(2):
        with pytest.raises(ValueError, match="read-only"):
            ndimage.median_filter(x, 3, output=out)
        for shape in ((70, 20), (1, 20, 70)):
            with pytest.raises(RuntimeError, match="shape"):
                ndimage.median_filter(x, 3, output=np.empty(shape, np.float32))
    assert not out.any()


def test_what_is_written_is_not_read(rng: np.random.Generator) -> None:
    """An array to write that lies over weights or a footprint, or is the weights."""
    x, w = rng.normal(size=(2, 3, 3))
    for _ in range(2):
        ndimage.correlate(x, w, output=np.empty_like(x))
    expected, given = plain("correlate")(x, w), w.copy()
    for _ in range(2):
        given[:] = w
        assert ndimage.correlate(x, given, output=given) is given
        np.testing.assert_array_equal(given, expected)
    room = np.zeros(9 * 8, np.uint8)
    footprint, given = room[:9].view(bool).reshape(3, 3), room.view(np.float64).reshape(3, 3)
    for _ in range(2):
        footprint[:] = CROSS
        assert ndimage.maximum_filter(x, footprint=footprint, output=given) is given
        np.testing.assert_array_equal(given, plain("maximum_filter")(x, footprint=CROSS))


def test_where_the_array_to_write_is_found() -> None:
    """By its name, in any order, or its position; other arrays are not it."""
    out, other = np.empty(3), np.empty(3)
    assert place_of(2, (other, 1, out), {}) == 1
    assert place_of(2, (other, 1), {"footprint": other, "output": out}) == 2
    assert place_of(2, (other,), {"output": out, "footprint": other}) == 0
    assert place_of(2, (other, 1), {"footprint": other}) is None
    assert place_of(2, (other, 1, "f8"), {"footprint": other}) is None
    inner: Any = ndimage.maximum_filter.__wrapped__
    x = np.arange(1400.0).reshape(20, 70)
    y, z = np.empty_like(x), np.empty_like(x)
    for _ in range(2):
        assert inner(x, footprint=CROSS, output=y, mode="wrap") is y
        assert inner(x, mode="wrap", output=z, footprint=CROSS) is z
        np.testing.assert_array_equal(y, z)


def test_threads_make_calls_again(rng: np.random.Generator) -> None:
    """Each with arrays of its own, of the same calls and at the same time."""
    images = rng.normal(size=(4, 20, 70)).astype(np.float32)
    _calls.forget()

    def is_right(number: int) -> bool:
        out, weights, right = np.empty((20, 70), np.float32), SLOPE.copy(), True
        expected = plain("correlate")(images[number], SLOPE)
        for turn in range(200):
            weights[:] = SLOPE
            found = ndimage.correlate(images[number], weights, output=out if turn % 2 else None)
            weights[:] = number
            right = right and np.array_equal(found, expected)
        return right

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(is_right, range(4)))


def test_what_is_kept_is_weighed(x: np.ndarray) -> None:
    """With its arrays, and the bytes of arrays in its key."""
    _calls.forget()
    ndimage.maximum_filter(x, 3)
    light = _calls.bytes()
    ndimage.correlate(x, np.arange(625.0).reshape(25, 25))
    assert light < 3000
    assert 2 * 5000 < _calls.bytes() - light < 3 * 5000
