"""Correlation over arrays of any number of axes: implementations alike, guard pages, SciPy's results to the bit."""

from typing import Any

import numpy as np
import pytest
from filter_cases import MODES, TYPES, cases, filled, result_of, whole_numbers, window

import fastconv as fc
from fastconv import ndimage
from fastconv.kernels.filters.windows import cast
from fastconv.plans.filters import FILTERS
from fastconv.problem.filters import EVEN, ODD, PLAIN, mirrored


def weights_of(taps: tuple[int, ...], rng: np.random.Generator, whole: bool = False) -> dict[str, Any]:
    """Weights for all taps, or vectors of all axes that mirror each other in every way."""
    w = rng.integers(-3, 4, taps).astype(float) if whole else rng.normal(size=taps)
    vectors = {}
    for axis, size in enumerate(taps):
        v = rng.integers(-3, 4, size).astype(float) if whole else rng.normal(size=size)
        sign = (0, 1, -1)[(axis + size) % 3]
        vectors[f"w{axis}"] = np.ones(1) if size == 1 else v + sign * v[::-1]
    return {"w": w, **vectors}


def summed_for(stored: Any) -> Any:
    return np.float32 if stored is np.float32 else np.float64


@pytest.mark.parametrize("operation", ["correlation", "passes"])
@pytest.mark.parametrize(("stored", "result"), TYPES)
def test_implementations_agree_on_whole_numbers(operation: str, stored: Any, result: Any, rng: np.random.Generator) -> None:
    """Sums that stay exact: loops, windows and vectors give the same bits, whatever the shape, the border and the origin."""
    served = 0
    for shape, taps, origin, mode in cases():
        found, operands = window(operation, shape, taps, origin, mode), weights_of(taps, rng, whole=True)
        operands["x"] = whole_numbers(shape, stored, rng)
        arguments = found, operands, result, summed_for(stored), 3
        expected = result_of(*arguments, implementation="strided")
        if np.prod(shape) < 60:
            np.testing.assert_array_equal(result_of(*arguments, implementation="reference"), expected)
        if sum(axis.taps > 1 for axis in found.folded.outer) > 1 and operation == "passes":
            continue
        np.testing.assert_array_equal(
            result_of(*arguments, at=("end", "begin")[served % 2]), expected, f"{shape} {taps} {mode}"
        )
        served += 1
    assert served > 50


@pytest.mark.exhaustive
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("stored", "result"), [(np.uint8, np.uint8), (np.uint8, np.int32), (np.int16, np.uint16), (np.float64, np.int16)]
)
def test_integers_are_scipys_to_the_bit(mode: str, stored: Any, result: Any, rng: np.random.Generator) -> None:
    """Sums that are cut off, wrapped, and stored between passes."""
    scipy = pytest.importorskip("scipy.ndimage")
    x = filled((23, 37), stored, rng) * (10 if stored is np.float64 else 1)
    for kind in range(3):
        w, v = rng.normal(size=(3, 4)), rng.normal(size=7)
        v = v + (0, 1, -1)[kind] * v[::-1]
        options: Any = {"output": result, "mode": mode, "cval": 7.7}
        for name, given in (("correlate", (w,)), ("convolve", (w,)), ("correlate1d", (v, 0)), ("convolve1d", (v[1:], -1))):
            mine, theirs = (getattr(module, name)(x, *given, **options) for module in (ndimage, scipy))
            np.testing.assert_array_equal(mine, theirs, name)
        for name in ("gaussian_filter", "gaussian_laplace", "gaussian_gradient_magnitude"):
            mine, theirs = (getattr(module, name)(x, 1.3, **options) for module in (ndimage, scipy))
            np.testing.assert_array_equal(mine, theirs, name)
    for name in ("sobel", "prewitt", "laplace"):
        mine, theirs = (getattr(module, name)(x, **options) for module in (ndimage, scipy))
        np.testing.assert_array_equal(mine, theirs, name)


@pytest.mark.parametrize("result", [np.uint8, np.int32])
def test_bytes_are_cut_off_as_scipys_where_float32_would_differ(result: Any, rng: np.random.Generator) -> None:
    """Where all cells of a window are alike, the sum is that cell, or a little less: each byte, and noise between them."""
    scipy = pytest.importorskip("scipy.ndimage")
    x = np.repeat(np.arange(256, dtype=np.uint8), 30)[None].repeat(60, 0)
    x[40:] = rng.integers(0, 256, x[40:].shape)
    differs = 0
    for sigma in (0.6, 1.0, 2.5, (0, 1), (1, 0)):
        theirs = scipy.gaussian_filter(x, sigma, output=result)
        np.testing.assert_array_equal(ndimage.gaussian_filter(x, sigma, output=result), theirs, str(sigma))
        differs += int((ndimage.gaussian_filter(x.astype(np.float32), sigma).astype(result) != theirs)[:30].sum())
    assert differs > 1000
    for x in (np.full((70, 90), 255, np.uint8), rng.integers(-128, 128, (70, 90)).astype(np.int8)):
        for weights in ([0.1, 0.5, 0.4], [-1.0, 3.3, -1.2], [1 / 3] * 3, [2.5, 1.25, 7.0], [1e4, 0.1, 0.0]):
            for cval in (0, 0.5):
                arguments: Any = (x, weights, 0, np.int32, "constant", cval)
                mine, theirs = ndimage.correlate1d(*arguments), scipy.correlate1d(*arguments)
                np.testing.assert_array_equal(mine, theirs, f"{weights} {cval}")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_weights_that_float32_does_not_hold_are_no_reason_to_warn(dtype: Any) -> None:
    x, weights = np.ones((6, 20), dtype), [1e300, 0.0, -1e300]
    np.testing.assert_array_equal(ndimage.correlate1d(x, weights, output=np.float64), np.zeros(x.shape))
    assert ndimage.correlate1d(x, weights, 0).dtype == dtype


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_are_scipys_to_their_rounding(dtype: Any, rng: np.random.Generator) -> None:
    """Within 4 eps of the largest term for each tap, in one to four axes."""
    scipy = pytest.importorskip("scipy.ndimage")
    eps = float(np.finfo(dtype).eps)
    for shape in ((50,), (20, 30), (7, 8, 9), (3, 4, 5, 6)):
        x, w = rng.normal(size=shape).astype(dtype), rng.normal(size=(3,) * len(shape))
        for mode in MODES:
            mine, theirs = (module.correlate(x, w, mode=mode, cval=1.5) for module in (ndimage, scipy))
            assert np.abs(mine - theirs).max() <= 4 * eps * np.abs(w).sum() * max(1.5, np.abs(x).max())
            mine, theirs = (module.gaussian_filter(x, 1.5, mode=mode, cval=1.5) for module in (ndimage, scipy))
            assert np.abs(mine - theirs).max() <= 4 * len(shape) * eps * max(1.5, np.abs(x).max())


@pytest.mark.parametrize("operation", ["correlate", "gaussian_filter", "sobel", "laplace"])
def test_errors_are_local(operation: str) -> None:
    """A NaN, an inf or a huge cell changes the windows that hold it, and no other."""
    arguments = {"correlate": (np.full((3, 3), 0.1),), "gaussian_filter": (1.0,)}.get(operation, ())
    x = np.random.default_rng(1).normal(size=(40, 50)).astype(np.float32)
    plain = getattr(ndimage, operation)(x, *arguments)
    reach = 4 if operation == "gaussian_filter" else 1
    for value in (np.nan, np.inf, 1e30):
        marked = x.copy()
        marked[20, 25] = value
        found = getattr(ndimage, operation)(marked, *arguments)
        near = np.zeros(x.shape, bool)
        near[20 - reach : 21 + reach, 25 - reach : 26 + reach] = True
        np.testing.assert_array_equal(found[~near], plain[~near])
        assert not np.isfinite(found[20, 25]) or abs(found[20, 25]) > 1e20 or operation == "sobel"


def test_a_weight_of_zero_leaves_its_cell_out() -> None:
    """In correlations over all axes, as in SciPy's: a NaN below it vanishes; along one axis it does not."""
    x = np.array([1.0, np.nan, 3.0, 4.0, 5.0])
    assert ndimage.correlate(x, [1.0, 0.0, 1.0]).tolist()[1] == 4.0
    assert np.isnan(ndimage.correlate1d(x, [1.0, 0.0, 1.0])[1])


def test_a_sum_of_weights_survives_their_rounding() -> None:
    """Whole images stay as they are under weights of sum 1, in float32 too."""
    x = np.full((64, 64), 200.0, np.float32)
    assert np.abs(ndimage.gaussian_filter(x, 2.0) / 200 - 1).max() < 4 * np.finfo(np.float32).eps
    assert (ndimage.gaussian_filter(np.full((20, 20), 255, np.uint8), 3.0) >= 254).all()


@pytest.mark.parametrize("threads_wanted", [1, 2])
def test_threads_change_no_bit(threads_wanted: int, threads: None, rng: np.random.Generator) -> None:
    x, w = rng.normal(size=(300, 400)).astype(np.float32), rng.normal(size=(5, 5))
    expected = {}
    for count in (1, threads_wanted):
        fc.set_num_threads(count)
        for name, given in (("correlate", (w,)), ("gaussian_filter", (3.0,)), ("gaussian_filter1d", (3.0, 0)), ("sobel", ())):
            found = getattr(ndimage, name)(x, *given)
            np.testing.assert_array_equal(expected.setdefault(name, found), found)


@pytest.mark.parametrize("source", ["itself", "overlapping", "strided", "fortran", "swapped", "reversed", "read-only"])
def test_any_memory(source: str, rng: np.random.Generator) -> None:
    """Inputs and outputs that lie anyhow, or over each other."""
    base = rng.normal(size=(30, 40))
    expected = ndimage.gaussian_filter(base.copy(), 1.0)
    if source == "itself":
        assert ndimage.gaussian_filter(base, 1.0, output=base) is base
        np.testing.assert_array_equal(base, expected)
    elif source == "overlapping":
        room = np.zeros((31, 40))
        room[:30] = base
        ndimage.gaussian_filter(room[:30], 1.0, output=room[1:])
        np.testing.assert_array_equal(room[1:], expected)
    elif source == "strided":
        room, to = np.zeros((60, 80)), np.zeros((60, 80))
        room[::2, ::2] = base
        ndimage.gaussian_filter(room[::2, ::2], 1.0, output=to[::2, 1::2])
        np.testing.assert_array_equal(to[::2, 1::2], expected)
        assert not to[1::2].any()
        assert not to[:, ::2].any()
    elif source == "fortran":
        np.testing.assert_array_equal(ndimage.gaussian_filter(np.asfortranarray(base), 1.0), expected)
    elif source == "swapped":
        found = ndimage.gaussian_filter(base.astype(">f8"), 1.0, output=np.empty((30, 40), ">f8"))
        np.testing.assert_array_equal(found, expected)
        assert ndimage.gaussian_filter(base.astype(">f8"), 1.0).dtype == np.float64
    elif source == "reversed":
        found = ndimage.gaussian_filter(base[::-1, ::-1], 1.0)
        np.testing.assert_array_equal(found, ndimage.gaussian_filter(base[::-1, ::-1].copy(), 1.0))
    else:
        base.flags.writeable = False
        np.testing.assert_array_equal(ndimage.gaussian_filter(base, 1.0), expected)
        with pytest.raises(ValueError, match="read-only"):
            ndimage.gaussian_filter(base.copy(), 1.0, output=base)


def test_every_type_of_number() -> None:
    """bool, float16, integers of every width and complex numbers."""
    scipy = pytest.importorskip("scipy.ndimage")
    x = np.arange(30).reshape(5, 6) % 7
    for dtype in (bool, np.int8, np.uint16, np.int32, np.uint32, np.int64, np.uint64, np.complex64, np.complex128):
        mine, theirs = (module.gaussian_filter(x.astype(dtype), 1.0) for module in (ndimage, scipy))
        assert mine.dtype == theirs.dtype
        np.testing.assert_allclose(mine, theirs, rtol=1e-6)
    half = ndimage.gaussian_filter(x.astype(np.float16), 1.0)
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half, ndimage.gaussian_filter(x.astype(np.float32), 1.0).astype(np.float16))
    assert ndimage.sobel(np.zeros((0, 5))).shape == (0, 5)
    assert ndimage.correlate(np.array(3.0), np.array(2.0)) == 6.0


BAD: tuple[tuple[str, tuple[Any, ...], dict[str, Any], type[Exception]], ...] = (
    ("correlate", (np.ones((3, 3)), np.ones(3)), {}, RuntimeError),
    ("correlate", (np.ones((3, 3)), np.ones((3, 3))), {"mode": "no such mode"}, RuntimeError),
    ("correlate", (np.ones((3, 3)), np.ones((3, 3))), {"mode": ["wrap", "wrap"]}, RuntimeError),
    ("correlate", (np.ones((3, 3)), np.ones((3, 3))), {"origin": 2}, ValueError),
    ("correlate", (np.ones((3, 3)), np.ones((3, 3))), {"output": np.ones((2, 3))}, RuntimeError),
    ("correlate", (np.ones((3, 3)), np.ones((3, 3))), {"axes": (0, 0)}, ValueError),
    ("correlate", (np.ones((3, 3)), np.ones((3, 3))), {"axes": (0, 5)}, ValueError),
    ("correlate", (np.ones((3, 3)), 1j * np.ones((3, 3))), {"output": "float32"}, RuntimeError),
    ("correlate1d", (np.ones((3, 3)), []), {}, RuntimeError),
    ("correlate1d", (np.ones((3, 3)), [1, 2]), {"axis": 2}, ValueError),
    ("gaussian_filter", (np.ones((3, 3)), (1, 2, 3)), {}, RuntimeError),
    ("gaussian_filter", (np.ones((3, 3)), 1), {"order": -1}, ValueError),
    ("gaussian_filter", (np.ones((3, 3)), 1), {"radius": -1}, ValueError),
    ("gaussian_filter", (np.array(["a"]), 1), {}, RuntimeError),
    ("gaussian_filter", (np.array([None]), 1), {}, RuntimeError),
    ("gaussian_filter", (np.ma.masked_array([1.0, 2.0], [0, 1]), 1), {}, TypeError),
    ("sobel", (np.ones((3, 3)),), {"mode": ["wrap"]}, RuntimeError),
)


@pytest.mark.parametrize(("name", "given", "options", "error"), BAD)
def test_bad_arguments(name: str, given: Any, options: Any, error: type[Exception]) -> None:
    """SciPy's kinds of errors, and nothing is written before."""
    before = options["output"].copy() if isinstance(options.get("output"), np.ndarray) else None
    with pytest.raises(error):
        getattr(ndimage, name)(*given, **options)
    if before is not None:
        np.testing.assert_array_equal(options["output"], before)


def test_conversions_are_those_of_c() -> None:
    """Toward zero; what does not fit wraps by way of a signed integer."""
    values = np.array([-1.9, 1.9, -300.0, 300.0, 3e9, -3e9])
    assert cast(values, np.dtype(np.uint8))[:4].tolist() == [255, 1, 212, 44]
    assert cast(values, np.dtype(np.uint32)).tolist() == [
        2**32 - 1,
        1,
        2**32 - 300,
        300,
        3_000_000_000,
        2**32 - 3_000_000_000 % 2**32,
    ]
    assert cast(np.array([-5.0, 1e19]), np.dtype(np.uint64)).tolist() == [2**64 - 5, 10**19]


def test_mirrors() -> None:
    assert [mirrored(np.array(w)) for w in ([1.0, 2, 1], [-1.0, 0, 1], [1.0, 2, 3], [1.0, 1], [2.0])] == [
        EVEN,
        ODD,
        PLAIN,
        PLAIN,
        EVEN,
    ]


def test_every_family_has_a_reference_and_is_named() -> None:
    for operation, found in FILTERS.items():
        assert found[-1].name == "reference", operation
        assert {"direct", "strided"} & {one.name for one in found}, operation
