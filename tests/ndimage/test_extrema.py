"""Largest and smallest cells of windows: kernels against loops, sliding windows and SciPy, NaN, types, borders, memory."""

import numpy as np
import pytest
from filter_cases import by_each, cells, geometry_of
from guards import SUPPORTED, Worker

from fastconv import get_num_threads, ndimage, set_num_threads
from fastconv.kernels.simd.extrema import boxes, footprints

SCIPY_MODES = ("reflect", "mirror", "nearest", "wrap", "constant", "grid-mirror", "grid-wrap", "grid-constant")
MODES = ("symmetric", "reflect", "replicate", "circular", "constant")
# Shape and window: 1 to 4 axes, tiny, odd, windows larger than the array, short last axes, planes joined, runs one by one.
BOXES = (
    ((1,), (4,)),
    ((23,), (5,)),
    ((500,), (33,)),
    ((5, 7), (3, 2)),
    ((6, 5), (13, 11)),
    ((9, 300), (7, 4)),
    ((6, 80), (3, 3)),
    ((40, 300), (12, 1)),
    ((9, 9000), (4, 1)),
    ((7, 9, 3), (3, 4, 1)),
    ((5, 6, 7), (3, 2, 3)),
    ((12, 3, 4), (11, 1, 2)),
    ((4, 3, 2, 5), (2, 1, 3, 2)),
    ((3, 4, 3, 270), (2, 3, 1, 4)),
)
COVERS = (
    ((9,), (4,)),
    ((6, 7), (3, 4)),
    ((5, 300), (7, 6)),
    ((7, 9, 3), (3, 4, 1)),
    ((4, 5, 6), (2, 3, 3)),
    ((2, 3, 2, 5), (2, 1, 3, 2)),
)


def origins(taps: tuple[int, ...], seed: int) -> tuple[int, ...]:
    """Origins that leave the cell of the output in its window; none along axes without taps."""
    rng = np.random.default_rng(seed)
    return tuple(int(rng.integers(-(k // 2), (k - 1) // 2 + 1)) for k in taps)


def agree(found: dict[str, np.ndarray]) -> None:
    """All results are the same."""
    first = next(iter(found.values()))
    for name, one in found.items():
        assert np.array_equal(one, first, equal_nan=True), name


@pytest.mark.parametrize("operation", ["maximum", pytest.param("minimum", marks=pytest.mark.slow)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_boxes_are_what_loops_and_windows_find(operation, dtype):
    for i, (shape, taps) in enumerate(BOXES):
        for j, mode in enumerate(MODES):
            geometry = geometry_of(operation, shape, taps, mode, origins(taps, 7 * i + j))
            agree(by_each(geometry, {"x": cells(shape, dtype, i)}, dtype, dtype, 17))


@pytest.mark.parametrize("operation", ["footprint maximum", "footprint minimum"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_footprints_are_what_loops_and_windows_find(operation, dtype):
    for i, (shape, taps) in enumerate(COVERS):
        mask = np.random.default_rng(i).random(taps) < 0.5
        mask.flat[-1] = True
        for j, mode in enumerate(MODES):
            geometry = geometry_of(operation, shape, taps, mode, origins(taps, 7 * i + j))
            agree(by_each(geometry, {"x": cells(shape, dtype, i), "footprint": mask}, dtype, dtype, 17))


@pytest.mark.parametrize("operation", ["dilation", "erosion"])
def test_structures_are_what_loops_and_windows_find(operation):
    for i, (shape, taps) in enumerate(COVERS):
        mask, structure = np.random.default_rng(i).random(taps) < 0.7, cells(taps, np.float64, i)
        mask.flat[0] = True
        geometry = geometry_of(operation, shape, taps, MODES[i % len(MODES)], origins(taps, i))
        operands = {"x": cells(shape, np.int16, i), "footprint": mask, "structure": structure}
        agree(by_each(geometry, operands, np.int16, np.float64, 17))


@pytest.mark.parametrize(
    "dtype",
    [
        *(np.int16, np.uint64, np.float64),
        *(pytest.param(one, marks=pytest.mark.slow) for one in (np.int8, np.uint16, np.uint32, np.int32, np.int64)),
    ],
)
def test_every_dtype(dtype):
    x = cells((5, 40), dtype)
    agree(by_each(geometry_of("maximum", x.shape, (3, 4), "symmetric"), {"x": x}, dtype, dtype))


@pytest.mark.parametrize(("stored", "result"), [(np.float32, np.uint8), (np.int64, np.float32), (np.uint8, np.float64)])
def test_types_that_differ_are_stored_after_every_pass(stored, result):
    x = abs(cells((9, 30), stored))
    agree(by_each(geometry_of("minimum", x.shape, (3, 4), "constant"), {"x": x}, result, np.float64, 3.5))


@pytest.mark.parametrize("overlap", [True, False])
def test_rounds_make_every_size(overlap):
    """Parts of windows of 1 .. 300 cells cover them, and do not overlap where they must not."""
    for taps in range(1, 301):
        width = 1
        for one in boxes.rounds_of(taps, overlap):
            third = {2: one.second, 3: one.third, 4: one.third}[one.parts]
            ends = [(0, width), (one.second, width), (third, 1 if one.parts == 4 else width)]
            covered = set()
            for first, length in ends[: 2 if one.parts == 2 else 3]:
                part = set(range(first, first + length))
                assert overlap or not covered & part
                covered |= part
            assert covered == set(range(one.taps))
            width = one.taps
        assert width == taps


def test_a_run_is_two_of_a_power_of_two():
    """Of runs of every length, in a table whose cells are the runs of so many from each cell on."""
    for length in range(1, 40):
        mask = np.ones((1, length), bool)
        tables, apart = footprints.tables_of(mask), 1000
        found = footprints.run_offsets(mask, np.arange(length)[None], apart)
        covered = {at % apart + i for at in found for i in range(1 << (at // apart))}
        assert covered == set(range(length))
        assert max(found) // apart < tables


@pytest.mark.parametrize("shape", [(21, 300), (21, 9), (3000,)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("footprint", [False, True])
def test_a_nan_reaches_the_windows_that_hold_it_and_no_other(shape, dtype, footprint):
    x, hole = cells(shape, dtype), tuple(size // 2 for size in shape)
    x[hole] = np.nan
    mask = np.ones((5,) * len(shape), bool)
    mask.flat[0] = not footprint
    for function in (ndimage.maximum_filter, ndimage.minimum_filter):
        y = function(x, footprint=mask)
        expected = np.zeros(shape, bool)
        expected[tuple(slice(at - 2, at + 3) for at in hole)] = mask[(slice(None, None, -1),) * len(shape)]
        assert np.array_equal(np.isnan(y), expected)
        assert np.isfinite(y[~expected]).all()


@pytest.mark.parametrize("operation", ["maximum", "minimum", "footprint maximum", "dilation"])
@pytest.mark.parametrize("at", ["end", "beginning"])
@pytest.mark.skipif(not SUPPORTED, reason="needs mprotect")
def test_kernels_stay_inside_their_arrays(operation, at):
    worker = Worker()
    try:
        for shape, taps in (*BOXES[:10], ((20, 4200), (5, 3)), ((30000,), (9,))):
            for mode in ("symmetric", "constant"):
                summed = "float64" if operation == "dilation" else "uint8"
                worker.call("filter_cases.run_guarded", operation, shape, taps, mode, "uint8", summed, at)
    finally:
        worker.close()


def test_any_number_of_threads_gives_the_same_bits():
    before, x = get_num_threads(), np.random.default_rng(0).normal(size=(400, 700)).astype(np.float32)
    try:
        found = []
        for count in (1, 2):
            set_num_threads(count)
            found.append((ndimage.maximum_filter(x, 9), ndimage.uniform_filter(x, 9)))
    finally:
        set_num_threads(before)
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))


# The public functions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", SCIPY_MODES)
def test_as_scipy(mode):
    scipy = pytest.importorskip("scipy.ndimage")
    for i, (shape, taps) in enumerate(BOXES):
        x = cells(shape, np.uint8 if i % 2 else np.float32, i)
        for name in ("maximum_filter", "minimum_filter"):
            options = {"size": taps, "mode": mode, "cval": 7.5, "origin": origins(taps, i)}
            assert np.array_equal(getattr(ndimage, name)(x, **options), getattr(scipy, name)(x, **options)), (shape, taps)
        for name in ("maximum_filter1d", "minimum_filter1d"):
            options = {"size": 4, "axis": 0, "mode": mode, "cval": 7.5, "origin": -1}
            assert np.array_equal(getattr(ndimage, name)(x, **options), getattr(scipy, name)(x, **options)), shape


def test_footprints_as_scipy():
    scipy = pytest.importorskip("scipy.ndimage")
    mask = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], bool)
    x = cells((12, 13, 4), np.uint8)
    for axes in ((0, 1), (-1, 0), (1, 2)):
        for options in ({}, {"mode": "constant", "cval": 300}, {"origin": (1, -1)}, {"output": np.float64}):
            expected = scipy.minimum_filter(x, footprint=mask, axes=axes, **options)
            found = ndimage.minimum_filter(x, footprint=mask, axes=axes, **options)
            assert found.dtype == expected.dtype
            assert np.array_equal(found, expected), (axes, options)


@pytest.mark.parametrize("cval", [-5, 300, 3.7, 1e30])
def test_constants_that_the_dtype_does_not_hold(cval):
    scipy = pytest.importorskip("scipy.ndimage")
    x = cells((12, 13), np.uint8)
    for name in ("maximum_filter", "minimum_filter"):
        if cval == 1e30 and name == "maximum_filter":
            continue  # undefined in C
        expected = getattr(scipy, name)(x, size=3, mode="constant", cval=cval)
        assert np.array_equal(getattr(ndimage, name)(x, size=3, mode="constant", cval=cval), expected), name


def test_outputs_of_any_layout():
    x = cells((30, 40), np.float32)
    expected = ndimage.maximum_filter(x, 5)
    memory = np.zeros((60, 80), np.float32)
    for out in (memory[::2, ::2], memory[:30, :40][::-1], np.empty((40, 30), np.float32).T, np.empty((30, 40), ">f4")):
        assert ndimage.maximum_filter(x, 5, output=out) is out
        assert np.array_equal(out, expected)
    whole = np.concatenate([x, x])
    assert np.array_equal(ndimage.maximum_filter(whole[:30], 5, output=whole[7:37]), expected)
    assert ndimage.maximum_filter(x, 5, output=x) is x
    assert np.array_equal(x, expected)


def test_inputs_of_any_layout():
    x = cells((30, 40), np.float32)
    expected = ndimage.maximum_filter(x, 5)
    for one in (np.repeat(x, 2, 1)[:, ::2], x[::-1].copy()[::-1], np.asfortranarray(x), x.astype(">f4")):
        assert np.array_equal(ndimage.maximum_filter(one, 5), expected)
    assert ndimage.maximum_filter(x > 0, 3).dtype == bool
    assert ndimage.maximum_filter(x.astype(np.float16), 3).dtype == np.float16
    assert ndimage.maximum_filter(np.zeros((0, 4)), 3).shape == (0, 4)
    assert ndimage.maximum_filter(np.array(3.0), ()) == 3.0


def test_bad_input():
    x = np.zeros((4, 5))
    for error, options in (
        (RuntimeError, {}),
        (RuntimeError, {"size": (3, 3, 3)}),
        (RuntimeError, {"size": 3, "mode": "around"}),
        (RuntimeError, {"size": 3, "output": np.zeros(4)}),
        (RuntimeError, {"footprint": [[1, 0]], "mode": ["wrap", "mirror"]}),
        (RuntimeError, {"footprint": [1, 0]}),
        (ValueError, {"size": 3, "origin": 2}),
        (ValueError, {"footprint": np.zeros((3, 3))}),
        (ValueError, {"size": 3, "axes": 2}),
        (ValueError, {"size": 3, "axes": (1, 1)}),
    ):
        with pytest.raises(error):
            ndimage.maximum_filter(x, **options)
    with pytest.raises(TypeError):
        ndimage.minimum_filter(x + 1j, 3)
    with pytest.raises(TypeError):
        ndimage.minimum_filter(np.ma.masked_array(x), 3)
    with pytest.raises(RuntimeError, match="incorrect filter size"):
        ndimage.minimum_filter1d(x, 0)
    with pytest.raises(ValueError, match="axis"):
        ndimage.minimum_filter1d(x, 3, axis=2)
    with pytest.warns(UserWarning, match="ignoring size"):
        ndimage.minimum_filter(x, size=3, footprint=np.ones((3, 3)))
