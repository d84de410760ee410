"""Functions on dask arrays beside the same work in memory, SciPy by dask-image, and what dask itself takes for a copy.

    python -m benchmarks.blocks --side 8192 --chunk 4096 --workers 1

Milliseconds of wall clock and of processor time, medians of rounds in turn; ratios are medians of a round's. The blocks are in
memory already; "persist" leaves the result in blocks, "store" writes it to an array that is at hand. The rows "copy" and
"overlap" do nothing but that: numpy.copy in memory and on blocks, and map_overlap of a function that returns its block.
"""

import argparse
import gc
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

import fastconv as fc

ROUNDS = 5


def cases(x: np.ndarray) -> dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]]:
    """(in memory, lazily) by name."""
    nd = fc.ndimage
    w = np.random.default_rng(1).random((5, 5), np.float32)
    filters = np.random.default_rng(2).random((4, 1, 5, 5), np.float32)
    functions: dict[str, Callable[[Any], Any]] = {
        "maximum 9": lambda a: nd.maximum_filter(a, 9),
        "gaussian 2": lambda a: nd.gaussian_filter(a, 2),
        "median 3": lambda a: nd.median_filter(a, 3),
        "sobel": nd.sobel,
        "uniform 7": lambda a: nd.uniform_filter(a, 7),
        "correlate 5x5": lambda a: nd.correlate(a, w),
        "max_pool 3, stride 1": lambda a: fc.max_pool2d(a[None], 3, 1, 1),
        "max_pool 2": lambda a: fc.max_pool2d(a[None], 2),
        "conv2d 1->4, 5x5 s2": lambda a: fc.conv2d(a[None], filters, stride=2, padding=2),
        "gaussian, pool, max": lambda a: fc.max_pool2d(nd.gaussian_filter(a, 2)[None], 2).max(),
    }
    same = {name: (one, one) for name, one in functions.items()}
    return {
        "copy": (np.copy, lambda a: a.map_blocks(np.copy, dtype=a.dtype, meta=a._meta)),
        "overlap": (np.copy, lambda a: a.map_overlap(np.copy, depth=4, boundary="none", dtype=a.dtype, meta=a._meta)),
        **same,
    }


def by_scipy(name: str, x: Any) -> Any:
    """The same by dask-image, where it has it."""
    from dask_image import ndfilters

    if name == "maximum 9":
        return ndfilters.maximum_filter(x, size=9)
    if name == "median 3":
        return ndfilters.median_filter(x, size=3)
    if name == "uniform 7":
        return ndfilters.uniform_filter(x, size=7)
    return ndfilters.gaussian_filter(x, 2) if name == "gaussian 2" else None


def timed(call: Callable[[], Any]) -> tuple[float, float]:
    """(wall clock, processor time) of a call, seconds."""
    gc.collect()
    wall, busy = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - busy


def main() -> None:
    """Measure and print."""
    import dask.array as da

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=8192, help="rows and columns (%(default)s)")
    parser.add_argument("--chunk", type=int, default=4096, help="rows and columns of a block (%(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="threads of fastconv in memory, and of dask (%(default)s)")
    parser.add_argument("--scipy", action="store_true", help="time dask-image too")
    parser.add_argument("--only", nargs="*", help="names of rows")
    given = parser.parse_args()
    fc.set_num_threads(given.workers)
    x = np.random.default_rng(0).random((given.side, given.side), np.float32)
    blocks = da.from_array(x, chunks=given.chunk, name=False)
    blocks = blocks.map_blocks(np.copy, dtype=x.dtype, meta=blocks._meta).persist(scheduler="synchronous")
    options = {"scheduler": "threads", "num_workers": given.workers}
    print(
        f"{'':22}{'in memory':>11}{'persist':>9}{'ratio':>7}{'of cpu':>8}{'store':>9}{'ratio':>7}{'of cpu':>8}{'by SciPy':>10}"
    )
    for name, (memory, lazily) in cases(x).items():
        if given.only and name not in given.only:
            continue
        lazy = lazily(blocks)
        out = np.zeros(lazy.shape, lazy.dtype)
        ways = [
            lambda f=memory: f(x),
            lambda y=lazy: y.persist(**options),
            lambda y=lazy, to=out: da.store(y, to, lock=False, **options),
        ]
        found = [[timed(way) for way in ways] for _ in range(ROUNDS + 1)][1:]
        text = f"{name:22}{1e3 * median(one[0][0] for one in found):11.1f}"
        for way in (1, 2):
            text += f"{1e3 * median(one[way][0] for one in found):9.1f}"
            text += "".join(f"{median(one[0][kind] / one[way][kind] for one in found):{7 + kind}.2f}" for kind in (0, 1))
        other = by_scipy(name, blocks) if given.scipy else None
        print(text + (f"{1e3 * timed(lambda y=other: y.persist(**options))[0]:10.1f}" if other is not None else ""), flush=True)


if __name__ == "__main__":
    main()
