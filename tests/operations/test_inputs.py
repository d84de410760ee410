"""What arrays are accepted, as inputs and as `out`, and what is done with them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparing import assert_same_bits

import fastconv as fc

W = np.arange(12.0, dtype=np.float32).reshape(2, 2, 3)
X = np.arange(10.0, dtype=np.float32).reshape(2, 5)
EXPECTED = fc.conv1d(X, W, implementation="reference")


class OnlyDLPack:
    """Another library's array, as the DLPack protocol alone shows it."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


class OnlyArray:
    """An object that turns into an array when it is asked to."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.asarray(self.array, dtype)


class Subclass(np.ndarray):
    """An ndarray with ideas of its own."""

    def __array_finalize__(self, other: Any) -> None:
        self.idea = "mine"


def matrix(array: np.ndarray) -> np.ndarray:
    """As numpy.asmatrix, which warns, makes it."""
    return array.view(np.matrix)


def subclass(array: np.ndarray) -> np.ndarray:
    return array.view(Subclass)


@pytest.mark.parametrize("kind", [OnlyDLPack, OnlyArray, matrix, subclass, memoryview])
def test_arrays_of_other_kinds(kind: Any) -> None:
    """What NumPy reads without a copy is an array; the result is a plain one. A matrix is an unbatched input of conv1d."""
    assert_same_bits(fc.conv1d(kind(X), W), EXPECTED)
    if kind is not matrix:
        assert_same_bits(fc.conv1d(X, kind(W), kind(np.zeros(2, np.float32))), EXPECTED)
    assert_same_bits(fc.conv1d.plan(X.shape, W)(kind(X)), EXPECTED)
    assert_same_bits(fc.max_pool1d(kind(X), 2), fc.max_pool1d(X, 2))


def test_lists_are_arrays() -> None:
    """Of float64, as NumPy makes them."""
    assert_same_bits(fc.conv1d(X.tolist(), W.tolist()), EXPECTED.astype(np.float64))
    assert_same_bits(fc.conv1d(((1, 2, 3),), (((1, 1),),)), np.array([[3, 5]]))
    assert_same_bits(fc.max_unpool1d([[5.0]], [[1]], 2), np.array([[0.0, 5.0]]))


def test_a_mapped_file_is_an_array(tmp_path: Path) -> None:
    """Read-only, and not read before it is needed."""
    path = tmp_path / "x.npy"
    np.save(path, X)
    assert_same_bits(fc.conv1d(np.load(path, mmap_mode="r"), W), EXPECTED)


def test_a_torch_tensor_is_an_array() -> None:
    torch = pytest.importorskip("torch", exc_type=ImportError)
    assert_same_bits(fc.conv1d(torch.from_numpy(X), torch.from_numpy(W)), EXPECTED)
    with pytest.raises(TypeError, match="x must be an array, got Tensor, which NumPy cannot read"):
        fc.conv1d(torch.from_numpy(X.copy()).requires_grad_(), W)


def raising(*arguments: Any, **options: Any) -> None:
    raise RuntimeError("not on this device")


@pytest.mark.parametrize(
    "broken",
    [
        OnlyArray("text"),
        OnlyArray([[1.0], [1.0, 2.0]]),
        type("Raising", (), {"__array__": raising})(),
        type("NoDLPack", (), {"__dlpack__": lambda self, **options: None, "__dlpack_device__": lambda self: (2, 0)})(),
    ],
)
def test_objects_that_only_look_like_arrays(broken: Any) -> None:
    """Whatever goes wrong as they are read is a ValueError or TypeError that names the argument."""
    with pytest.raises((ValueError, TypeError), match=r"^x "):
        fc.conv1d(broken, W)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_both_layouts_are_one_computation(rank: int, rng: np.random.Generator) -> None:
    """Arrays and weights with their channels moved to the end give the result with its channels moved to the end."""
    x = rng.integers(-4, 5, (2, 4, *range(4, 4 + rank))).astype(np.float32)
    w = rng.integers(-4, 5, (6, 2, *(2, 3, 1)[:rank])).astype(np.float32)
    last = {1: "NLC", 2: "NHWC", 3: "NDHWC"}[rank]
    first = {1: "NCL", 2: "NCHW", 3: "NCDHW"}[rank]
    conv, pool = getattr(fc, f"conv{rank}d"), getattr(fc, f"max_pool{rank}d")

    def moved(array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.moveaxis(array, 1, -1))

    expected = conv(x, w, groups=2)
    assert_same_bits(conv(x, w, groups=2, layout=first), expected)
    assert_same_bits(conv(moved(x), moved(w), groups=2, layout=last), moved(expected))
    values, indices = pool(x, 2, return_indices=True)
    for one, other in zip(pool(moved(x), 2, return_indices=True, layout=last), (values, indices), strict=True):
        assert_same_bits(one, moved(other))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_without_a_batch_the_result_has_none(rank: int, rng: np.random.Generator) -> None:
    x = rng.integers(-4, 5, (1, 3, *(4, 5, 3)[:rank])).astype(np.float32)
    w = rng.integers(-4, 5, (2, 3, *(2,) * rank)).astype(np.float32)
    conv, transposed = getattr(fc, f"conv{rank}d"), getattr(fc, f"conv_transpose{rank}d")
    assert_same_bits(conv(x[0], w), conv(x, w)[0])
    back = np.swapaxes(w, 0, 1)
    assert_same_bits(transposed(x[0], back), transposed(x, back)[0])
    for kind in ("max", "min", "avg"):
        pool = getattr(fc, f"{kind}_pool{rank}d")
        assert_same_bits(pool(x[0], 2), pool(x, 2)[0])


# out --------------------------------------------------------------------------------------------------------------------


def test_out_comes_back() -> None:
    """It is written to, and it is the result: of the function, of a plan, and both of a pool with indices."""
    out = np.empty_like(EXPECTED)
    assert fc.conv1d(X, W, out=out) is out
    assert_same_bits(out, EXPECTED)
    assert fc.conv1d.plan(X.shape, W)(X, out) is out
    pair = np.empty((2, 2), np.float32), np.empty((2, 2), np.int64)
    found = fc.max_pool1d(X, 2, return_indices=True, out=pair)
    assert found[0] is pair[0]
    assert found[1] is pair[1]
    assert_same_bits(found, fc.max_pool1d(X, 2, return_indices=True))
    batch = np.empty((1, *EXPECTED.shape), np.float32)
    assert fc.conv1d(X[None], W, out=batch) is batch


BUFFER = np.zeros(64, np.float32)


@pytest.mark.parametrize(
    ("out", "error", "message"),
    [
        (np.empty((2, 4), np.float32), ValueError, r"out must have shape \(2, 3\), got \(2, 4\)"),
        (np.empty((1, 2, 3), np.float32), ValueError, r"out must have shape \(2, 3\), got \(1, 2, 3\)"),
        (np.empty((2, 3)), TypeError, "out must have dtype float32, got float64"),
        (np.empty((2, 3), np.int32), TypeError, "out must have dtype float32, got int32"),
        (np.empty((2, 3), np.dtype(np.float32).newbyteorder("S")), TypeError, "out must have dtype float32, got [<>]f4"),
        (np.broadcast_to(np.float32(0), (2, 3)), ValueError, "out must be writeable"),
        *(
            (np.lib.stride_tricks.as_strided(BUFFER[32:], (2, 3), strides), ValueError, "out must have cells of its own")
            for strides in ((0, 4), (4, 4), (8, 4), (-8, 4), (8, 8), (2, 16), (12, 2))
        ),
        (np.ma.zeros((2, 3), np.float32), TypeError, "out must be a plain array"),
        ([[0.0] * 3] * 2, TypeError, "out must be a NumPy array, got list"),
        ((np.empty((2, 3), np.float32),), TypeError, "out must be a NumPy array, got tuple"),
        ("out", TypeError, "out must be a NumPy array, got str"),
    ],
)
def test_a_wrong_out_is_refused(out: Any, error: type[Exception], message: str) -> None:
    """Shape, dtype, byte order, and cells that can be written."""
    before = np.array(out, copy=True) if isinstance(out, np.ndarray) else out
    with pytest.raises(error, match=message):
        fc.conv1d(X, W, out=out)
    with pytest.raises(error, match=message):
        fc.conv1d.plan(X.shape, W)(X, out=out)
    if isinstance(out, np.ndarray):
        assert np.asarray(out).tobytes() == np.asarray(before).tobytes()


@pytest.mark.parametrize(
    "view",
    [
        lambda memory: memory.reshape(6, 9)[1:6:4, 2:8:2],
        lambda memory: memory.reshape(9, 6)[1:9:3, ::-5].T,
        lambda memory: memory[::-1].reshape(6, 9)[::-3, ::3],
        lambda memory: np.lib.stride_tricks.as_strided(memory, (2, 3), (12, 4)),
    ],
    ids=["sliced", "transposed", "negative", "stride tricks"],
)
def test_an_out_of_any_strides_is_written(view: Any) -> None:
    """As long as its cells are its own."""
    out = view(np.full(54, -1, np.float32))
    assert out.shape == (2, 3)
    assert fc.conv1d(X, W, out=out) is out
    np.testing.assert_array_equal(out, EXPECTED)


@pytest.mark.parametrize("name", ["x", "w", "bias"])
def test_out_may_not_overlap_an_input(name: str) -> None:
    """One shared cell is enough, of x, w or bias."""
    memory = np.ones(60, np.float32)
    inputs = {"x": X.copy(), "w": W.copy(), "bias": np.zeros(2, np.float32)}
    size = inputs[name].size
    inputs[name] = memory[:size].reshape(inputs[name].shape)
    out = memory[size - 1 : size + 5].reshape(2, 3)
    with pytest.raises(ValueError, match=f"out must not overlap {name}"):
        fc.conv1d(**inputs, out=out)
    apart = memory[size : size + 6].reshape(2, 3)
    assert fc.conv1d(**inputs, out=apart) is apart


def test_interleaved_memory_is_no_overlap() -> None:
    """Every other cell of one array holds x, and the cells between them out."""
    memory = np.zeros((2, 10), np.float32)
    memory[:, ::2] = X
    out = memory[:, 1:7:2]
    assert_same_bits(np.array(fc.conv1d(memory[:, ::2], W, out=out)), EXPECTED)
    assert_same_bits(np.array(memory[:, ::2]), X)


def test_indices_and_values_may_not_overlap() -> None:
    memory = np.zeros(64, np.float32)
    values, indices = memory[:4].reshape(2, 2), memory[2:10].view(np.int64).reshape(2, 2)
    with pytest.raises(ValueError, match=r"out\[1\] must not overlap out\[0\]"):
        fc.max_pool1d(X, 2, return_indices=True, out=(values, indices))
    for out in (values, (values,), [values, indices, indices]):
        with pytest.raises(TypeError, match=r"out must be two arrays, \(values, indices\)"):
            fc.max_pool1d(X, 2, return_indices=True, out=out)
    with pytest.raises(TypeError, match=r"out\[1\] must have dtype int64, got int32"):
        fc.max_pool1d(X, 2, return_indices=True, out=(values.copy(), np.zeros((2, 2), np.int32)))
    where = np.array([[0, 1], [1, 0]])
    with pytest.raises(ValueError, match="out must not overlap indices"):
        fc.max_unpool1d(np.ones((2, 2)), where, 1, out=where.view(np.float64))


def test_an_activation_may_write_onto_its_input_but_not_across_it() -> None:
    memory = np.arange(-5.0, 5.0)
    assert fc.relu(memory, out=memory) is memory
    np.testing.assert_array_equal(memory, [0, 0, 0, 0, 0, 0, 1, 2, 3, 4])
    with pytest.raises(ValueError, match="out must not overlap x"):
        fc.relu(memory[:-1], out=memory[1:])
    with pytest.raises(ValueError, match="out must not overlap x"):
        fc.relu(memory, out=memory[::-1])
