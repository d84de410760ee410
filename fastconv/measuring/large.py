"""An image far larger than memory, filtered and pooled with dask: stored in zarr, or computed as it is read.

    image (zarr, or a function) -> gaussian_filter -> max_pool2d -> (zarr, or means)

Memory is sampled while it runs.
"""

import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import fastconv as fc
from fastconv.measuring.extras import require
from fastconv.problem.convolutions import Array

GIGABYTE = 1e9
CHUNK = (512, 4096)  # rows and columns of a block: about two rows of blocks are in memory while windows cross them
SIGMA = 1.0
POOL = 2
MEANS = 64  # pooled rows and columns that a virtual image is reduced by
EVERY = 0.1  # seconds between samples
SHARE = 0.25  # of the free disk that a demonstration takes unasked
MOST = 2.0  # gigabytes that it takes unasked


@dataclass
class Memory:
    """The memory of this process over time: seconds from the start, and bytes that are resident."""

    seconds: list[float] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)

    @property
    def peak(self) -> int:
        """The most that was resident."""
        return max(self.bytes, default=0)


@dataclass(frozen=True)
class Run:
    """A large run: cells of the image, where the result is, seconds, and the memory on the way."""

    shape: tuple[int, int]
    result: Path
    seconds: float
    memory: Memory

    @property
    def gigabytes(self) -> float:
        """Of the image."""
        return 4 * self.shape[0] * self.shape[1] / GIGABYTE


def resident() -> int:
    """Bytes of this process that are in memory; the most that ever were, where the system tells no more."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@contextmanager
def watched() -> Iterator[Memory]:
    """Memory, sampled for the time of a with block."""
    found, over, begin = Memory(), threading.Event(), time.perf_counter()

    def sample() -> None:
        found.seconds.append(time.perf_counter() - begin)
        found.bytes.append(resident())

    def watch() -> None:
        while not over.wait(EVERY):
            sample()

    sample()
    watcher = threading.Thread(target=watch, name="fastconv-memory", daemon=True)
    watcher.start()
    try:
        yield found
    finally:
        over.set()
        watcher.join()
        sample()


def image_of(gigabytes: float, chunk: tuple[int, int] = CHUNK) -> Any:
    """A dask array of float32 that is computed as it is read: waves and noise, the same on every run."""
    da = require("dask.array", "dask")
    side = round((gigabytes * GIGABYTE / 4) ** 0.5)
    if side < 8:
        raise ValueError(f"gigabytes must be enough for 8 x 8 cells, got {gigabytes}")
    rows, columns = (np.random.default_rng(seed).standard_normal(side, np.float32) for seed in (0, 1))
    sizes = da.zeros((side, side), chunks=tuple(min(cells, side) for cells in chunk), dtype=np.float32).chunks
    lines = da.from_array(rows[:, None], chunks=(sizes[0], 1)), da.from_array(columns[None], chunks=(1, sizes[1]))
    return da.blockwise(np.add, "ij", lines[0], "ik", lines[1], "kj", dtype=np.float32, concatenate=True, align_arrays=False)


def pooled(image: Any) -> Any:
    """The image, smoothed and pooled, lazily."""
    return fc.max_pool2d(fc.ndimage.gaussian_filter(image, SIGMA)[None], POOL)[0]


def size_for(folder: Path, gigabytes: float | None) -> float:
    """The gigabytes to store: those asked for, which must fit the disk with their result, or what it easily has room for."""
    free = shutil.disk_usage(folder).free / GIGABYTE
    if gigabytes is None:
        return min(MOST, SHARE * free)
    if gigabytes * (1 + 1 / POOL**2) > free:
        raise ValueError(f"--gigabytes {gigabytes:g} and the result take more than the {free:.1f} GB that {folder} has free")
    return gigabytes


def stored(folder: Path, gigabytes: float | None = None, chunk: tuple[int, int] = CHUNK) -> Run:
    """Writes an image to zarr, then its result, both block by block; the second is what is measured."""
    da, diagnostics = require("dask.array", "dask"), require("dask.diagnostics", "dask")
    require("zarr", "dask")
    folder.mkdir(parents=True, exist_ok=True)
    image = image_of(size_for(folder, gigabytes), chunk)
    source, result = folder / "image.zarr", folder / "result.zarr"
    for path in (source, result):
        shutil.rmtree(path, ignore_errors=True)
    image.to_zarr(str(source))
    begin = time.perf_counter()
    with watched() as memory, diagnostics.ProgressBar():
        pooled(da.from_zarr(str(source))).to_zarr(str(result))
    return Run(image.shape, result, time.perf_counter() - begin, memory)


def virtual(folder: Path, gigabytes: float, chunk: tuple[int, int] = CHUNK) -> Run:
    """Reduces an image that is nowhere stored to means, a small picture."""
    diagnostics = require("dask.diagnostics", "dask")
    folder.mkdir(parents=True, exist_ok=True)
    image = image_of(gigabytes, chunk)
    result = folder / "means.npy"
    small = pooled(image)
    means = fc.avg_pool2d(small[None], min(MEANS, *small.shape))[0]
    begin = time.perf_counter()
    with watched() as memory, diagnostics.ProgressBar():
        found: Array = means.compute()
    np.save(result, found)
    return Run(image.shape, result, time.perf_counter() - begin, memory)


def picture(run: Run, folder: Path) -> Path:
    """Draws the memory over time; returns the file."""
    from fastconv.measuring.report import plotting

    path = folder / "memory.png"
    title = f"{run.gigabytes:.3g} GB, {run.shape[0]} x {run.shape[1]}, filtered and pooled in {run.seconds:.0f} s"
    plotting.memory_curve(run.memory.seconds, run.memory.bytes, run.gigabytes, title).savefig(path)
    return path
