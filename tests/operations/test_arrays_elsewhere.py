"""Arrays that are not NumPy's: served where their cells are at hand, refused with what to do where they are not."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import fastconv as fc

X = np.arange(16.0, dtype=np.float32).reshape(1, 4, 4)


def fake(module: str, name: str, **attributes: Any) -> Any:
    """An object of a class of another library, which numpy.asarray would turn into an array."""

    def converted(self: Any, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise AssertionError("it was converted whole")

    found = type(name, (), {"__module__": module, "__array__": converted, "shape": X.shape, "dtype": X.dtype, **attributes})
    return found()


ELSEWHERE = {
    "cupy": (
        fake("cupy._core.core", "ndarray", __cuda_array_interface__={}),
        r"cupy's ndarray on a GPU: copy it first, x\.get\(\)",
    ),
    "torch": (
        fake("torch", "Tensor", device=type("device", (), {"type": "cuda", "__str__": lambda self: "cuda:0"})()),
        r"torch's Tensor on cuda:0: copy it first, x\.cpu\(\)",
    ),
    "dlpack": (fake("other.gpu", "Array", __dlpack_device__=lambda self: (2, 0)), "other's Array on device type 2 of DLPack"),
    "sparse": (fake("sparse._coo", "COO", todense=lambda self: X), r"sparse's sparse COO: convert it first, x\.todense\(\)"),
    "scipy": (fake("scipy.sparse", "csr_array", toarray=lambda self: X), r"sparse csr_array: convert it first, x\.toarray\(\)"),
    "lazy": (
        fake("cubed.core", "Array", compute=lambda self: X),
        r"cubed's Array, which is lazy: compute it first, x\.compute\(\)",
    ),
    "zarr": (
        fake("zarr.core", "Array", chunks=(1, 2, 2)),
        r"zarr's Array, which is stored in chunks: read it, x\[\.\.\.\], or",
    ),
    "h5py": (fake("h5py._hl.dataset", "Dataset", chunks=None), "h5py's Dataset, which is stored in chunks"),
}


@pytest.mark.parametrize("library", ELSEWHERE)
def test_what_is_not_at_hand_is_refused(library: str) -> None:
    """A TypeError that says what came and what to do; nothing is converted. In every room."""
    value, message = ELSEWHERE[library]
    with pytest.raises(TypeError, match=message):
        fc.relu(value)
    with pytest.raises(TypeError, match=message.replace("x\\", "w\\").replace(r"x\[", r"w\[")):
        fc.conv1d(X[0], value)
    with pytest.raises(TypeError, match=message.replace("x\\", "input\\")):
        fc.ndimage.sobel(value)
    with pytest.raises(TypeError, match=message.replace("x\\", "weights\\")):
        fc.ndimage.correlate(X, value)
    with pytest.raises(TypeError, match=message.replace("x\\", "in1\\")):
        fc.signal.convolve(value, X)


def test_what_labels_an_array_gives_it() -> None:
    """xarray's DataArray is its data: NumPy's, or dask's, lazily; the result is the bare array."""
    labelled = fake("xarray.core.dataarray", "DataArray", data=X, chunks=None, compute=lambda self: self)
    found = fc.relu(labelled)
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(found, X)
    da = pytest.importorskip("dask.array", reason="dask is not installed")
    lazy = fc.relu(fake("xarray.core.dataarray", "DataArray", data=da.from_array(X, chunks=2)))
    assert isinstance(lazy, da.Array)
    np.testing.assert_array_equal(lazy.compute(scheduler="synchronous"), X)
    on_gpu = fake("xarray.core.dataarray", "DataArray", data=ELSEWHERE["cupy"][0])
    with pytest.raises(TypeError, match="on a GPU"):
        fc.relu(on_gpu)


def test_what_is_at_hand_is_served() -> None:
    """Lists, subclasses, views of memory, and what shares its memory by one of NumPy's protocols."""
    interface = SimpleNamespace(__array_interface__=X.__array_interface__)
    for value in (X.tolist(), tuple(X.tolist()), X.view(np.memmap), memoryview(X), interface):
        np.testing.assert_array_equal(fc.relu(value), X)
    with_device = fake("other", "Array", __dlpack_device__=lambda self: (1, 0), __array__=lambda self, dtype=None, copy=None: X)
    np.testing.assert_array_equal(fc.relu(with_device), X)


def test_a_tensor_on_the_cpu_is_served() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    np.testing.assert_array_equal(fc.relu(torch.from_numpy(X.copy())), X)
    with pytest.raises(TypeError, match=r"x must be in this machine's memory, got torch's Tensor on meta"):
        fc.relu(torch.zeros(2, device="meta"))


def test_a_zarr_array_is_not_read_whole() -> None:
    zarr = pytest.importorskip("zarr", reason="zarr is not installed")
    with pytest.raises(TypeError, match=r"zarr's Array, which is stored in chunks: read it, x\[\.\.\.\]"):
        fc.relu(zarr.zeros((4, 4), chunks=(2, 2)))
