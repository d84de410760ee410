"""dask arrays in every operation: values, dtypes and sizes of the whole array's result, over drawn geometries and chunkings."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc

da = pytest.importorskip("dask.array", reason="dask is not installed")
strips = pytest.importorskip("fastconv.dask.parts")
RNG = np.random.default_rng(20240607)
SETTINGS = settings(max_examples=60, deadline=None, derandomize=True)


def numbers(shape: Any, dtype: Any = np.float32) -> np.ndarray:
    """Whole numbers, whose sums are exact in any order."""
    return RNG.integers(-4, 5, shape).astype(dtype)


def parts(draw: Any, size: int) -> tuple[int, ...]:
    """An axis cut into blocks, of one cell too."""
    cuts = sorted(draw(st.lists(st.integers(1, max(1, size - 1)), max_size=4)))
    bounds = [0, *(cut for cut in dict.fromkeys(cuts) if cut < size), size]
    return tuple(b - a for a, b in pairwise(bounds))


def same(lazy: Any, expected: Any) -> None:
    """Sizes and dtype are known before anything is computed, and the values are the same bits."""
    if isinstance(expected, tuple):
        assert len(lazy) == len(expected)
        for one, wanted in zip(lazy, expected, strict=True):
            same(one, wanted)
        return
    assert isinstance(lazy, da.Array)
    assert (lazy.shape, lazy.dtype, lazy._meta.dtype) == (expected.shape, expected.dtype, expected.dtype)
    y = lazy.compute(scheduler="synchronous")
    assert type(y) is np.ndarray
    assert (y.shape, y.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_array_equal(y, expected)


@st.composite
def maps(draw: Any, modes: tuple[Any, ...], most_padding: int) -> tuple[np.ndarray, Any, int, dict[str, Any]]:
    """(x of one axis or two, its chunks, the taps of a window, options) that the operations take."""
    rank = draw(st.integers(1, 2))
    size = tuple(draw(st.integers(5, 11)) for _ in range(rank))
    taps = draw(st.integers(1, 4))
    mode = draw(st.sampled_from(modes))
    dilation = draw(st.integers(1, 2)) if taps < 3 else 1
    most = min(most_padding, (dilation * (taps - 1) + 1) // 2) if mode is None else most_padding
    pads = tuple((draw(st.integers(0, most)), draw(st.integers(0, most))) for _ in range(rank))
    shape = (draw(st.integers(1, 3)), 2, *size)
    chunks = tuple(parts(draw, cells) for cells in shape)
    options = {"stride": draw(st.integers(1, 5)), "dilation": dilation, "padding": pads, "padding_mode": mode}
    return numbers(shape), chunks, taps, options


@SETTINGS
@given(maps(("zeros", "constant", "reflect", "symmetric", "replicate", "circular"), 4))
def test_convolutions(drawn: Any) -> None:
    """Bit for bit, by the reference loops, whatever numbers are drawn; weights and bias may be dask arrays."""
    x, chunks, taps, options = drawn
    if options["padding_mode"] == "constant":
        options |= {"padding_value": 2.5}
    operation = getattr(fc, f"conv{x.ndim - 2}d")
    x, w = x + RNG.random(x.shape, np.float32), RNG.random((3, 2, *(taps,) * (x.ndim - 2)), np.float32)
    bias = RNG.random(3, np.float32)
    expected = operation(x, w, bias, implementation="reference", **options)
    lazy = da.from_array(x, chunks=chunks)
    same(operation(lazy, da.from_array(w, chunks=1), da.from_array(bias), implementation="reference", **options), expected)


@SETTINGS
@given(maps(("zeros",), 2), st.integers(0, 2))
def test_transposed_convolutions(drawn: Any, extra: int) -> None:
    """Bit for bit, by the reference loops, with outputs that no input reaches."""
    x, chunks, taps, options = drawn
    del options["padding_mode"]
    extra = min(extra, max(options["stride"], options["dilation"]) - 1)
    operation = getattr(fc, f"conv_transpose{x.ndim - 2}d")
    w = RNG.random((2, 3, *(taps,) * (x.ndim - 2)), np.float32)
    options |= {"output_padding": extra, "implementation": "reference"}
    same(operation(da.from_array(x, chunks=chunks), w, **options), operation(x, w, **options))


@SETTINGS
@given(
    maps((None, None, "zeros", "reflect", "symmetric", "replicate", "circular"), 3),
    st.sampled_from(["max_pool", "min_pool", "avg_pool", "lp_pool", "median_pool", "rank_pool"]),
    st.booleans(),
    st.sampled_from([strips.SHARE, np.inf]),
)
def test_pools(drawn: Any, name: str, ceil_mode: bool, share: float) -> None:
    """Every kind of pool, by regions and by a core and strips; indices too, which count cells of the whole plane."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strips, "LEAST", 0)
        patch.setattr(strips, "SHARE", share)
        check_pool(drawn, name, ceil_mode)


def check_pool(drawn: Any, name: str, ceil_mode: bool) -> None:
    """A pool of drawn geometry."""
    x, chunks, taps, options = drawn
    operation = getattr(fc, f"{name}{x.ndim - 2}d")
    arguments = (2.0, taps) if name == "lp_pool" else (-1, taps) if name == "rank_pool" else (taps,)
    options |= {"implementation": "reference"} | ({} if name in ("median_pool", "rank_pool") else {"ceil_mode": ceil_mode})
    if name in ("max_pool", "min_pool") and x.ndim == 4 and not ceil_mode:
        options["footprint"] = np.eye(taps, dtype=bool) | (np.arange(taps) == taps // 2)
    if name in ("max_pool", "min_pool"):
        options["return_indices"] = options["padding_mode"] != "zeros"
    if name == "avg_pool":
        options["count_include_pad"] = bool(taps % 2)
    try:
        expected = operation(x, *arguments, **options)
    except ValueError as error:
        with pytest.raises(ValueError, match=str(error)[:20].replace("(", r"\(")):
            operation(da.from_array(x, chunks=chunks), *arguments, **options)
        return
    same(operation(da.from_array(x, chunks=chunks), *arguments, **options), expected)


@pytest.mark.parametrize("outputs", [1, 2, (17, 5), (4, None), (3, 7)])
@pytest.mark.parametrize("chunks", [3, 7, 20])
def test_adaptive_and_global_pools(outputs: Any, chunks: int) -> None:
    """Windows of a few blocks and of many, which are reduced; the first NaN wins, ties go to the first cell."""
    x = numbers((2, 3, 17, 19))
    x[0, 0, 3, 3] = x[0, 0, 9, 9] = np.nan
    lazy, options = da.from_array(x, chunks=chunks), {"implementation": "reference"}
    same(fc.adaptive_max_pool2d(lazy, outputs, True, **options), fc.adaptive_max_pool2d(x, outputs, True, **options))
    same(fc.adaptive_max_pool2d(lazy, outputs, **options), fc.adaptive_max_pool2d(x, outputs, **options))
    same(fc.global_max_pool(lazy, **options), fc.global_max_pool(x, **options))
    for dtype in (np.int16, np.uint8, np.float64):
        some = np.nan_to_num(x).astype(dtype)
        lazy = da.from_array(some, chunks=chunks)
        if dtype != np.float64:  # whose means are rounded from sums in an order of their own
            same(fc.adaptive_avg_pool2d(lazy, outputs, **options), fc.adaptive_avg_pool2d(some, outputs, **options))
            same(fc.global_avg_pool(lazy, **options), fc.global_avg_pool(some, **options))
        found = fc.adaptive_avg_pool2d(lazy, outputs, **options).compute(scheduler="synchronous")
        np.testing.assert_allclose(found, fc.adaptive_avg_pool2d(some, outputs, **options), rtol=8 * np.finfo(np.float64).eps)


def test_layouts_residuals_groups_and_activations() -> None:
    """Channels last, without a batch, depthwise, with a residual that is NumPy's or lazy."""
    x, w = numbers((2, 3, 9, 8)), numbers((6, 1, 3, 3))
    options = {"padding": 1, "groups": 3, "activation": "relu", "implementation": "reference"}
    residual, bias = numbers((2, 6, 9, 8)), numbers(6)
    expected = fc.conv2d(x, w, bias, residual=residual, **options)
    lazy = da.from_array(x, chunks=(1, 1, 4, 5))
    same(fc.conv2d(lazy, w, bias, residual=residual, **options), expected)
    same(fc.conv2d(lazy, w, bias, residual=da.from_array(residual, chunks=3), **options), expected)
    same(fc.conv2d(x, da.from_array(w), bias, residual=residual, **options), expected)
    same(fc.conv2d(lazy[0], w, bias, residual=residual[0], **options), expected[0])
    last, taps = np.ascontiguousarray(np.moveaxis(x, 1, -1)), np.ascontiguousarray(np.moveaxis(numbers((6, 3, 3, 3)), 1, -1))
    for options in ({"layout": "NHWC", "padding": "same", "stride": 2, "implementation": "reference"},):
        same(fc.conv2d(da.from_array(last, chunks=(1, 4, 4, 2)), taps, **options), fc.conv2d(last, taps, **options))
        del options["padding"], options["stride"]
        same(fc.max_pool2d(da.from_array(last, chunks=3), 2, **options), fc.max_pool2d(last, 2, **options))


def test_mixed_dtypes() -> None:
    """uint8 and int8 in sums of int32: the dtype is known, and the sums are exact."""
    x, w = RNG.integers(0, 255, (1, 2, 9, 9)).astype(np.uint8), RNG.integers(-99, 99, (3, 2, 3, 3)).astype(np.int8)
    options = {"dtype": np.int32, "implementation": "reference"}
    same(fc.conv2d(da.from_array(x, chunks=4), w, **options), fc.conv2d(x, w, **options))


def test_windows_as_columns() -> None:
    """unfold, fold, max_unpool and activations."""
    x = numbers((2, 3, 11, 9))
    lazy = da.from_array(x, chunks=(1, 2, 4, 5))
    for arguments in (((3, 2), 1, 1, 2), ((2, 2), 2, ((2, 0), (1, 3)), 1), ((3, 3), 1, 0, 4)):
        options = {"implementation": "reference"}
        columns = fc.unfold(x, *arguments, **options)
        same(fc.unfold(lazy, *arguments, **options), columns)
        same(fc.unfold(lazy[1], *arguments, **options), columns[1])
        for chunks in (4, (2, 3, 7), -1):
            folded = fc.fold(columns, (11, 9), *arguments, **options)
            same(fc.fold(da.from_array(columns, chunks=chunks), (11, 9), *arguments, **options), folded)
    y, where = fc.max_pool2d(x, 2, return_indices=True, implementation="reference")
    whole = fc.max_unpool2d(y, where, 2, output_size=(11, 9), implementation="reference")
    for one in (where, da.from_array(where, chunks=2)):
        same(fc.max_unpool2d(da.from_array(y, chunks=3), one, 2, output_size=(11, 9), implementation="reference"), whole)
    same(fc.relu(lazy, implementation="reference"), fc.relu(x, implementation="reference"))
    same(fc.clip(lazy, -1, 2, implementation="reference"), fc.clip(x, -1, 2, implementation="reference"))


@pytest.mark.parametrize("shape", [(0, 2, 6, 6), (2, 2, 6, 0)])
def test_no_cells(shape: tuple[int, ...]) -> None:
    """Arrays without cells have results without cells."""
    x, w = np.zeros(shape, np.float32), numbers((3, 2, 3, 3))
    options = {"padding": 2, "implementation": "reference"}
    same(fc.conv2d(da.from_array(x, chunks=3), w, **options), fc.conv2d(x, w, **options))
    same(fc.relu(da.from_array(x, chunks=3)), fc.relu(x))


def test_auto_is_exact_where_sums_are() -> None:
    """Blocks may be served by other implementations than the whole; whole numbers tell no difference."""
    x, w = numbers((1, 2, 40, 40)), numbers((3, 2, 3, 3))
    same(fc.conv2d(da.from_array(x, chunks=(1, 1, 16, 24)), w, padding=1), fc.conv2d(x, w, padding=1))
