"""Ranks of windows: every implementation gives what loops give, and SciPy's functions what SciPy gives."""

import warnings
from itertools import product
from typing import Any

import numpy as np
import pytest
from guards import SUPPORTED, guarded

import fastconv as fc
from fastconv import ndimage
from fastconv.plans import filters
from fastconv.problem.borders import PADDING_MODES, Border
from fastconv.problem.filters import RankGeometry
from fastconv.problem.problem import Problem
from fastconv.problem.types import Types

NAMES = [one.name for one in filters.FILTERS["rank"]]
FAST = [name for name in NAMES if name not in ("reference", "strided")]
DTYPES = ("uint8", "int16", "float32", "float64")

# (shape, taps): tiny and odd sizes, windows larger than the array, a last axis that is not filtered, one to four axes
CASES = [
    ((1,), (3,)),
    ((2,), (5,)),
    ((37,), (3,)),
    ((301,), (9,)),
    ((5, 7), (3, 3)),
    ((3, 2), (7, 5)),
    ((33, 70), (3, 3)),
    ((18, 131), (5, 5)),
    ((1, 300), (3, 3)),
    ((65, 1), (2, 3)),
    ((9, 20), (1, 4)),
    ((20, 9), (4, 1)),
    ((11, 13, 3), (3, 3, 1)),
    ((4, 5, 21), (3, 3, 3)),
    ((3, 4, 5, 6), (2, 1, 2, 3)),
    ((17, 19), (11, 11)),
]


def geometry(shape: tuple[int, ...], taps: tuple[int, ...], rank: int, **others: Any) -> RankGeometry:
    """Of a filter; origin, borders and footprint by name."""
    borders = others.pop("borders", (Border("symmetric"),) * len(shape))
    return RankGeometry("rank", shape, taps, others.pop("origin", (0,) * len(shape)), borders, rank, **others)


def answer(x: np.ndarray, g: RankGeometry, implementation: str, cval: Any = 0, out: np.ndarray | None = None) -> np.ndarray:
    """What an implementation gives."""
    footprint = np.array(g.cells_used).reshape(g.taps)
    y = np.empty_like(x) if out is None else out
    filters.run(g, {"x": x, "footprint": footprint, "rank": np.array(g.rank)}, y, x.dtype, cval, None, implementation)
    return y


def serving(x: np.ndarray, g: RankGeometry) -> list[str]:
    """The fast implementations that serve a filter."""
    problem = Problem(g, Types(x.dtype, x.dtype, x.dtype, x.dtype))
    return [one.name for one in filters.FILTERS["rank"] if one.name in FAST and one.supports(problem) is None]


def cells(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any, nan: float = 0.0) -> np.ndarray:
    """Values of which many are equal; some NaN."""
    x = rng.integers(0, 40, shape).astype(dtype)
    if nan:
        x[rng.random(shape) < nan] = np.nan
    return x


@pytest.mark.parametrize(("shape", "taps"), CASES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_implementations_agree(rng: np.random.Generator, shape: tuple[int, ...], taps: tuple[int, ...], dtype: str) -> None:
    """Medians by every implementation are those of sliding windows."""
    x, rank = cells(rng, shape, dtype), int(np.prod(taps)) // 2
    g = geometry(shape, taps, rank)
    expected = answer(x, g, "strided")
    names = serving(x, g)
    assert "sorting" in names
    for name in names:
        np.testing.assert_array_equal(answer(x, g, name), expected, err_msg=name)


@pytest.mark.parametrize(("shape", "taps"), [case for case in CASES if np.prod(case[0]) * np.prod(case[1]) < 10_000])
def test_windows_are_those_of_the_loops(rng: np.random.Generator, shape: tuple[int, ...], taps: tuple[int, ...]) -> None:
    """The reference defines what is right."""
    x = cells(rng, shape, np.float64, nan=0.1)
    for rank in {0, int(np.prod(taps)) // 3, int(np.prod(taps)) - 1}:
        g = geometry(shape, taps, rank)
        np.testing.assert_array_equal(answer(x, g, "strided"), answer(x, g, "reference"))


@pytest.mark.skipif(not SUPPORTED, reason="guard pages need Linux")
@pytest.mark.parametrize("at", ["begin", "end"])
@pytest.mark.parametrize(("dtype", "shape"), [("float32", (13, 531)), ("uint8", (2, 6, 1101)), ("float32", (3, 7, 120, 3))])
def test_windows_inside_are_read_where_they_are(rng: np.random.Generator, dtype: str, shape: tuple[int, ...], at: str) -> None:
    """Long rows of arrays at guard pages, an odd number of them; a NaN among them, and none."""
    taps = (1,) * (len(shape) - 2) + (3, 3) if len(shape) < 4 else (1, 3, 3, 1)
    for nan in (0.0, 0.001) if dtype == "float32" else (0.0,):
        x = cells(rng, shape, dtype, nan)
        g = geometry(shape, taps, 4)
        for name in ("network", "sweep"):
            out = guarded(np.full_like(x, 77), at)
            np.testing.assert_array_equal(answer(guarded(x, at), g, name, out=out), answer(x, g, "strided"))


@pytest.mark.parametrize("mode", PADDING_MODES)
def test_every_border_and_origin(rng: np.random.Generator, mode: str) -> None:
    """Windows that reach far outside, moved as far as they may be."""
    for shape, taps in (((6, 40), (3, 5)), ((2, 3), (5, 4)), ((3, 4, 9), (3, 2, 3))):
        x = cells(rng, shape, np.float32)
        for ends in product((0, 1), repeat=len(shape)):
            origin = tuple((-(k // 2), (k - 1) // 2)[end] for k, end in zip(taps, ends, strict=True))
            g = geometry(shape, taps, 4, origin=origin, borders=(Border(mode),) * len(shape))
            expected = answer(x, g, "strided", 7)
            np.testing.assert_array_equal(answer(x, g, "sorting", 7), expected)


def test_every_rank(rng: np.random.Generator) -> None:
    """Of windows of an even and an odd number of cells."""
    x = cells(rng, (12, 75), np.uint8)
    for taps in ((3, 3), (2, 4), (1, 6), (5, 1), (5, 5)):
        for rank in range(int(np.prod(taps))):
            g = geometry(x.shape, taps, rank)
            np.testing.assert_array_equal(answer(x, g, "sorting"), answer(x, g, "strided"))


def test_footprints(rng: np.random.Generator) -> None:
    """Cells left out, empty columns and rows among them; every rank."""
    x = cells(rng, (10, 11, 33), np.float32, nan=0.02)
    for seed, taps in enumerate(((1, 3, 3), (1, 5, 7), (3, 2, 4), (2, 5, 5), (1, 1, 9))):
        footprint = np.random.default_rng(seed).random(taps) < 0.5
        footprint.flat[:2] = True
        for rank in range(int(footprint.sum())):
            g = geometry(x.shape, taps, rank, footprint=footprint.astype(np.uint8).tobytes())
            for name in serving(x, g):
                np.testing.assert_array_equal(answer(x, g, name), answer(x, g, "strided"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("taps", [(3, 3), (5, 5), (1, 3), (11, 11)])
def test_nan_sorts_last_and_stays_local(rng: np.random.Generator, dtype: str, taps: tuple[int, int]) -> None:
    """NaN, infinities and numbers: what np.sort of each window has at the rank."""
    x = rng.standard_normal((40, 90)).astype(dtype)
    x[rng.random(x.shape) < 0.1] = np.inf
    x[rng.random(x.shape) < 0.1] = -np.inf
    x[5:9, 20:60] = np.nan
    x[rng.random(x.shape) < 0.1] = np.nan
    count = int(np.prod(taps))
    for rank in (count // 2, count // 3, count - 2):
        g = geometry(x.shape, taps, rank)
        for name in serving(x, g):
            np.testing.assert_array_equal(answer(x, g, name), answer(x, g, "strided"))
    lone = np.zeros((20, 20), dtype)
    lone[10, 10] = np.nan
    assert not np.isnan(ndimage.median_filter(lone, 3)).any()
    assert np.isnan(ndimage.rank_filter(lone, -1, 3)).sum() == 9


@pytest.mark.skipif(not SUPPORTED, reason="guard pages are made by mprotect")
@pytest.mark.parametrize("at", ["end", "beginning"])
def test_nothing_is_touched_beyond_the_arrays(rng: np.random.Generator, at: str) -> None:
    """Input and output end, or begin, at a page that nobody may touch."""
    for dtype in ("uint8", "float32"):
        for shape, taps in (((33, 70), (3, 3)), ((18, 131), (5, 5)), ((4, 5, 21), (3, 3, 3)), ((301,), (9,)), ((3, 2), (7, 5))):
            x = guarded(cells(rng, shape, dtype), at)
            g = geometry(shape, taps, int(np.prod(taps)) // 2)
            for name in serving(x, g):
                y = answer(x, g, name, out=guarded(np.zeros_like(x), at))
                np.testing.assert_array_equal(y, answer(x, g, "strided"))


def test_threads_give_the_same(rng: np.random.Generator, threads: None) -> None:
    """Blocks are independent of each other."""
    x = rng.standard_normal((300, 700)).astype(np.float32)
    for size in (3, 11, 41):
        fc.set_num_threads(1)
        one = ndimage.median_filter(x, size)
        fc.set_num_threads(2)
        np.testing.assert_array_equal(ndimage.median_filter(x, size), one)


# SciPy's functions ------------------------------------------------------------------------------------------------------------

scipy_ndimage = pytest.importorskip("scipy.ndimage")
ALL = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")


@pytest.mark.parametrize("dtype", ALL)
def test_every_dtype_is_scipys(rng: np.random.Generator, dtype: str) -> None:
    """Medians, ranks and percentiles of two axes."""
    x = rng.integers(0, 2 if dtype == "bool" else 100, (9, 31)).astype(dtype)
    for function, arguments in (("median_filter", ()), ("rank_filter", (-3,)), ("percentile_filter", (30,))):
        ours = getattr(ndimage, function)(x, *arguments, size=(3, 4))
        theirs = getattr(scipy_ndimage, function)(x, *arguments, size=(3, 4))
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "mode", ["reflect", "mirror", "nearest", "wrap", "constant", "grid-mirror", "grid-wrap", "grid-constant"]
)
def test_modes_are_scipys(rng: np.random.Generator, mode: str) -> None:
    """With a constant that the image cannot hold, too."""
    for dtype, cval in product(("uint8", "float32"), (0, 7, -3.5, 300)):
        x = rng.integers(0, 255, (7, 12)).astype(dtype)
        for size, origin in ((3, 0), ((2, 5), (0, -2)), ((9, 3), 1)):
            found = ndimage.median_filter(x, size, mode=mode, cval=cval, origin=origin, output=np.float64)
            expected = scipy_ndimage.median_filter(x, size, mode=mode, cval=cval, origin=origin, output=np.float64)
            np.testing.assert_array_equal(found, expected)


def test_axes_are_scipys(rng: np.random.Generator) -> None:
    """Some axes only, in any order, with sizes, origins and footprints for each."""
    x = rng.integers(0, 255, (6, 7, 8)).astype(np.uint8)
    for axes in ((0,), (1, 2), (2, 0), (-1, 1), 1):
        count = 1 if isinstance(axes, int) else len(axes)
        for arguments in ({"size": 3}, {"size": (2, 5)[:count], "origin": (0, -1)[:count]}):
            found = ndimage.median_filter(x, axes=axes, **arguments)
            np.testing.assert_array_equal(found, scipy_ndimage.median_filter(x, axes=axes, **arguments))
    footprint = rng.random((3, 5)) < 0.6
    found = ndimage.rank_filter(x, 2, footprint=footprint, axes=(0, 2))
    np.testing.assert_array_equal(found, scipy_ndimage.rank_filter(x, 2, footprint=footprint, axes=(0, 2)))


def test_outputs(rng: np.random.Generator) -> None:
    """Dtypes, arrays with strides, and arrays that overlap the input."""
    x = rng.integers(0, 255, (20, 30)).astype(np.uint8)
    expected = scipy_ndimage.median_filter(x, 3)
    for output in (np.float32, "int32", np.dtype(np.uint8)):
        found = ndimage.median_filter(x, 3, output=output)
        assert found.dtype == np.dtype(output)
        np.testing.assert_array_equal(found, expected)
    strided = np.zeros((40, 60), np.uint8)[::2, ::-2]
    assert ndimage.median_filter(x, 3, output=strided) is strided
    np.testing.assert_array_equal(strided, expected)
    np.testing.assert_array_equal(ndimage.median_filter(x[::-1, ::2], 3), scipy_ndimage.median_filter(x[::-1, ::2], 3))
    np.testing.assert_array_equal(ndimage.median_filter(x.astype(">i2"), 3), expected)
    same = x.copy()
    assert ndimage.median_filter(same, 3, output=same) is same
    np.testing.assert_array_equal(same, expected)


def test_float16_is_compared_in_float32(rng: np.random.Generator) -> None:
    """SciPy takes it on one axis only."""
    x = rng.standard_normal((9, 20)).astype(np.float16)
    found = ndimage.median_filter(x, 3)
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, scipy_ndimage.median_filter(x.astype(np.float32), 3).astype(np.float16))


def test_large_integers_are_exact() -> None:
    """Where float64 would round them."""
    x = np.array([2**62 + 1, 2**62 + 3, 2**62 + 2], np.int64)
    np.testing.assert_array_equal(ndimage.median_filter(x, 3), [x[0], x[2], x[2]])


def test_a_median_among_zeros() -> None:
    """What scipy.signal's medfilt is made of."""
    signal = pytest.importorskip("scipy.signal")
    x = np.random.default_rng(1).standard_normal((9, 14))
    from fastconv.ndimage.ranks import median_among_zeros

    np.testing.assert_array_equal(median_among_zeros(x, (3, 5)), signal.medfilt(x, (3, 5)))


@pytest.mark.parametrize(
    ("function", "arguments", "error"),
    [
        ("median_filter", {}, RuntimeError),
        ("median_filter", {"size": 0}, RuntimeError),
        ("median_filter", {"size": 3, "origin": 2}, ValueError),
        ("median_filter", {"size": (3, 3, 3)}, RuntimeError),
        ("median_filter", {"size": 3, "mode": "none"}, RuntimeError),
        ("median_filter", {"size": 3, "mode": ("reflect", "wrap")}, RuntimeError),
        ("median_filter", {"footprint": [1, 1, 1]}, RuntimeError),
        ("median_filter", {"footprint": np.zeros((3, 3))}, RuntimeError),
        ("median_filter", {"size": 3, "axes": (0, 0)}, ValueError),
        ("median_filter", {"size": 3, "output": np.zeros(3)}, RuntimeError),
        ("rank_filter", {"rank": 9, "size": 3}, RuntimeError),
        ("rank_filter", {"rank": -10, "size": 3}, RuntimeError),
        ("rank_filter", {"rank": 1.5, "size": 3}, TypeError),
        ("percentile_filter", {"percentile": 101, "size": 3}, RuntimeError),
        ("percentile_filter", {"percentile": -101, "size": 3}, RuntimeError),
    ],
)
def test_errors_are_scipys(function: str, arguments: dict[str, Any], error: type[Exception]) -> None:
    """The same class of exception for the same mistake."""
    x = np.zeros((5, 6))
    for module in (scipy_ndimage, ndimage):
        with pytest.raises(error):
            getattr(module, function)(x, **arguments)


def test_what_is_no_number_is_refused() -> None:
    """Complex numbers have no order; a masked array would lose its mask."""
    with pytest.raises(TypeError, match="Complex"):
        ndimage.median_filter(np.zeros(5, complex), 3)
    with pytest.raises(TypeError, match="masked"):
        ndimage.median_filter(np.ma.zeros(5), 3)


def test_size_and_footprint_warn() -> None:
    """The footprint counts."""
    x = np.arange(12.0).reshape(3, 4)
    with pytest.warns(UserWarning, match="ignoring size"):
        found = ndimage.median_filter(x, 9, footprint=np.ones((1, 3)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_array_equal(found, scipy_ndimage.median_filter(x, 9, footprint=np.ones((1, 3))))


def test_extreme_ranks_take_a_mode_for_each_axis(rng: np.random.Generator) -> None:
    """As the minimum and maximum filters do."""
    x = rng.integers(0, 255, (7, 9)).astype(np.uint8)
    for rank in (0, -1):
        found = ndimage.rank_filter(x, rank, size=3, mode=("wrap", "mirror"))
        np.testing.assert_array_equal(found, scipy_ndimage.rank_filter(x, rank, size=3, mode=("wrap", "mirror")))


def test_empty_and_scalar_arrays() -> None:
    """Nothing to do is done at once."""
    assert ndimage.median_filter(np.zeros((0, 4)), 3).shape == (0, 4)
    assert ndimage.median_filter(np.float64(3), 3) == 3
