"""Graphs of dask arrays: how many tasks, their names, what is known without computing, errors, threads, sources, schedulers."""

import os
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv.kernels import threads as kernel_threads

dask = pytest.importorskip("dask", reason="dask is not installed")
da = pytest.importorskip("dask.array", reason="dask.array is not installed")
X = np.random.default_rng(20240607).integers(-4, 5, (2, 2, 24, 20)).astype(np.float32)
W = np.random.default_rng(1).integers(-4, 5, (3, 2, 3, 3)).astype(np.float32)
REFERENCE = {"padding": 1, "implementation": "reference"}


def never(block: np.ndarray) -> np.ndarray:
    raise AssertionError("something was computed")


def uncomputed(chunks: Any, dtype: Any = np.float32) -> Any:
    """A dask array that cannot be computed."""
    x = da.zeros(X.shape, chunks=chunks, dtype=dtype)
    return x.map_blocks(never, dtype=dtype, meta=np.empty((0,) * 4, dtype))


def test_a_task_a_block() -> None:
    """One for each output block; besides them weights have one, and axes that are put together one a block."""
    for chunks in ((1, 2, 4, 5), (2, 2, 24, 1)):
        x = uncomputed(chunks)
        for lazy in (fc.conv2d(x, W, **REFERENCE), fc.max_pool2d(x, 3, 1, 1), fc.ndimage.sobel(x), fc.unfold(x, 3)):
            own = [layer for name, layer in lazy.dask.layers.items() if name == lazy.name]
            assert [len(layer) for layer in own] == [lazy.npartitions]
            assert len(lazy.dask) <= len(x.dask) + 2 * lazy.npartitions + 2


def test_everything_is_known_at_once() -> None:
    """dtype, chunks and meta, of arrays that cannot be computed."""
    x = uncomputed((1, 1, 6, 20), np.uint8)
    y = fc.conv2d(x, W.astype(np.int8), padding="same", dtype=np.int32)
    assert y.chunks == ((1, 1), (3,), (6, 6, 6, 6), (20,))
    assert (y.dtype, type(y._meta), y._meta.dtype) == (np.int32, np.ndarray, np.int32)
    assert fc.max_pool2d(x, 2).chunks == ((1, 1), (1, 1), (3, 3, 3, 3), (10,))
    assert fc.ndimage.gaussian_filter(x, 2, output=np.float64).dtype == np.float64
    assert fc.ndimage.binary_erosion(x).dtype == bool


def test_names_tell_what_is_computed() -> None:
    """Equal calls have equal names, others have others; names do not change from one process to the next."""
    x = da.from_array(X, chunks=8, name="x")
    names = {fc.conv2d(x, W, **REFERENCE).name, fc.conv2d(x, W, **REFERENCE).name}
    assert len(names) == 1
    names |= {fc.conv2d(x, W + 1, **REFERENCE).name, fc.conv2d(x, W, padding=2, implementation="reference").name}
    names |= {fc.conv2d(x, W, implementation="reference").name, fc.conv2d(x[..., :19], W, **REFERENCE).name}
    assert len(names) == 5
    assert fc.max_pool2d(x, 2).name != fc.min_pool2d(x, 2).name
    with dask.config.set({"fastconv.num-threads": 2}):
        assert fc.conv2d(x, W, **REFERENCE).name not in names


def test_a_part_of_the_result_costs_a_part() -> None:
    """Blocks of the input that it does not need are not computed; annotations reach the layer."""
    seen: list[Any] = []

    def look(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        seen.append(block_info[0]["chunk-location"])
        return block

    x = da.from_array(X, chunks=(2, 2, 6, 20)).map_blocks(look, dtype=X.dtype, meta=np.empty((0,) * 4, X.dtype))
    with dask.annotate(priority=7):
        y = fc.conv2d(x, W, **REFERENCE)
    assert y.dask.layers[y.name].annotations == {"priority": 7}
    found = y[:, :, :3].compute(scheduler="synchronous")
    np.testing.assert_array_equal(found, fc.conv2d(X, W, **REFERENCE)[:, :, :3])
    assert {place[2] for place in seen} == {0, 1}


def test_errors_are_those_of_the_function() -> None:
    """Raised by the call, by the argument's name, with nothing computed and no other error behind them."""
    x = uncomputed(8)
    for call, message in (
        (lambda: fc.conv2d(x, W[:, :1]), "w must have 2 input channels"),
        (lambda: fc.conv2d(x, W, padding=-1), "padding must be at least 0"),
        (lambda: fc.conv2d(x, W, implementation="nothing"), "implementation must be"),
        (lambda: fc.conv2d(x, W, bias=np.zeros(4)), "bias must have shape"),
        (lambda: fc.conv2d(x, W, residual=np.zeros(4)), "residual must have the result's shape"),
        (lambda: fc.conv2d(x, W, out=np.zeros(4)), "out must be None with dask arrays"),
        (lambda: fc.conv2d(x.astype(bool), W), "x has dtype bool"),
        (lambda: fc.conv2d(x[x > 0], W), "x has chunks of unknown sizes"),
        (lambda: fc.max_pool2d(x, 2, padding=9), "padding must be at most half"),
        (lambda: fc.max_pool2d(x, 99), "kernel_size spans 99"),
        (lambda: fc.adaptive_max_pool2d(x, (1, 2, 3)), "output_size must be"),
        (lambda: fc.global_avg_pool(x, layout="HW"), "layout must be"),
        (lambda: fc.unfold(x, 99), "kernel_size spans 99"),
        (lambda: fc.fold(x[0], (4, 4), 2), "x must have"),
        (lambda: fc.relu(x.astype(bool)), "x has dtype bool"),
        (lambda: fc.max_unpool2d(x, np.zeros((1, 1), int), 2), "indices must have the shape of x"),
        (lambda: fc.conv2d(dask.delayed(X), W), "x must be a dask array, got dask's Delayed"),
    ):
        with pytest.raises((ValueError, TypeError)) as caught:
            call()
        assert str(caught.value).startswith(message), caught.value
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
    with pytest.raises(TypeError, match="x is a dask array, which only fastconv's functions take"):
        fc.relu.plan((2, 2))(da.zeros((2, 2)))
    with pytest.raises(TypeError, match="w is a dask array, which only fastconv's functions take"):
        fc.conv2d.plan((1, 1, 4, 4), da.zeros((1, 1, 3, 3)))


def test_plans_and_explain_take_shapes() -> None:
    """Of an array that is passed for its shape they say what to pass."""
    x, w = uncomputed(8), da.from_array(W)
    plan = fc.conv2d.plan
    for told, call in (
        (r"x\.shape; x\.chunksize is a block's", lambda: plan(x, W)),
        (r"x\.shape; x\.chunksize is a block's", lambda: fc.max_pool2d.explain(x, 2)),
        (r"w\.shape$", lambda: fc.conv2d.explain(X.shape, w)),
    ):
        with pytest.raises(TypeError, match=f"_shape must be a shape, got a dask array: pass {told}"):
            call()
    with pytest.raises(TypeError, match=r"x_shape must be a shape, got an array of shape \(2, 2, 24, 20\): pass x\.shape"):
        plan(X, W)
    assert fc.conv2d.explain(x.chunksize, w.shape).count("\n") == len(fc.conv2d.implementations) - 1


def test_masked_arrays_are_refused() -> None:
    """Their masks would be lost in every block."""
    x = da.ma.masked_equal(da.from_array(X, chunks=8), 0)
    with pytest.raises(TypeError, match="x must be a dask array of NumPy arrays"):
        fc.relu(x)


def test_a_task_runs_on_one_thread() -> None:
    """Whatever fastconv may use elsewhere, unless the setting says otherwise; the caller's number stays."""
    counts: list[int] = []
    before = fc.get_num_threads()

    class Counting:
        def __call__(self, x: np.ndarray) -> np.ndarray:
            counts.append(kernel_threads.count())
            return x

    from fastconv.dask.tasks import Region, Step, Task
    from fastconv.problem.blocks import Run

    task = Task(Counting(), (Step((Region("x", (1,), ((Run(0, 0, 1, 3),),)),), {}),))
    worker = threading.Thread(target=lambda: task(np.zeros(3)))
    worker.start()
    worker.join()
    Task(Counting(), task.steps, threads=before + 1)(np.zeros(3))
    assert counts == [1, before + 1]
    assert fc.get_num_threads() == before
    x = da.from_array(X, chunks=8)
    for setting, expected in ((None, 1), (2, 2)):
        with dask.config.set({} if setting is None else {"fastconv.num-threads": setting}):
            y = fc.relu(x)
            tasks = list(dict(y.dask.layers[y.name]).values())
        found = [a for t in tasks for a in (t if isinstance(t, tuple) else [t.func]) if isinstance(a, Task)]
        assert {one.threads for one in found} == {expected}
    with (
        dask.config.set({"fastconv.num-threads": 0}),
        pytest.raises(ValueError, match=r"fastconv.num-threads must be at least 1"),
    ):
        fc.relu(x)


def test_sources(tmp_path: Path) -> None:
    """A memory map, and zarr in, zarr out: nothing is read but the chunks, and the file holds the result."""
    zarr = pytest.importorskip("zarr", reason="zarr is not installed")
    expected = fc.conv2d(X, W, **REFERENCE)
    np.save(tmp_path / "x.npy", X)
    mapped = da.from_array(np.load(tmp_path / "x.npy", mmap_mode="r"), chunks=8)
    np.testing.assert_array_equal(fc.conv2d(mapped, W, **REFERENCE).compute(scheduler="synchronous"), expected)
    da.from_array(X, chunks=(1, 2, 8, 8)).to_zarr(str(tmp_path / "x.zarr"))
    lazy = fc.conv2d(da.from_zarr(str(tmp_path / "x.zarr")), W, **REFERENCE)
    lazy.to_zarr(str(tmp_path / "y.zarr"))
    np.testing.assert_array_equal(zarr.open(str(tmp_path / "y.zarr"), mode="r")[:], expected)


# Schedulers -------------------------------------------------------------------------------------------------------------------


def pipeline(x: Any) -> Any:
    """A convolution by plain loops, a pool and a reduction: nothing is compiled for it."""
    y = fc.conv2d(x, W, implementation="strided", padding=1)
    return fc.global_max_pool(fc.max_pool2d(y, 2, implementation="strided"))


def test_threads() -> None:
    expected = pipeline(X)
    np.testing.assert_array_equal(pipeline(da.from_array(X, chunks=8)).compute(scheduler="threads", num_workers=4), expected)


def test_tasks_travel() -> None:
    """A graph can be pickled, and means the same then."""
    lazy = fc.conv2d(da.from_array(X, chunks=8), W, **REFERENCE)
    found = pickle.loads(pickle.dumps(lazy))
    np.testing.assert_array_equal(found.compute(scheduler="synchronous"), fc.conv2d(X, W, **REFERENCE))


@pytest.mark.slow
def test_processes() -> None:
    found = pipeline(da.from_array(X, chunks=12)).compute(scheduler="processes", num_workers=2)
    np.testing.assert_array_equal(found, pipeline(X))


def cluster(**options: Any) -> Any:
    """A cluster of worker processes on this machine."""
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    return distributed.LocalCluster(processes=True, threads_per_worker=1, dashboard_address=None, **options)


@pytest.mark.exhaustive
@pytest.mark.filterwarnings("ignore")
def test_distributed() -> None:
    """Two worker processes."""
    with cluster(n_workers=2) as workers, workers.get_client() as client:
        lazy = fc.conv2d(da.from_array(X, chunks=12), W, **REFERENCE)
        np.testing.assert_array_equal(client.compute(lazy).result(timeout=60), fc.conv2d(X, W, **REFERENCE))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_worker_dies() -> None:
    """In the middle of the work: its blocks are computed again, by a worker that takes its place."""
    import signal
    import time

    def slowly(block: np.ndarray) -> np.ndarray:
        time.sleep(0.2)
        return block

    with cluster(n_workers=2) as workers, workers.get_client() as client:
        before = client.run(os.getpid)
        x = da.from_array(X, chunks=(1, 2, 6, 5)).map_blocks(slowly, dtype=X.dtype, meta=np.empty((0,) * 4, X.dtype))
        future = client.compute(fc.conv2d(x, W, **REFERENCE))
        time.sleep(1.5)
        assert future.status == "pending"
        os.kill(next(iter(before.values())), signal.SIGKILL)
        np.testing.assert_array_equal(future.result(timeout=120), fc.conv2d(X, W, **REFERENCE))
        assert set(client.run(os.getpid).values()) != set(before.values())
