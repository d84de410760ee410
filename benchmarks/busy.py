"""Threads beside other programs: a plan's call on one thread and on all, while other programs keep the processors busy.

    python -m benchmarks.busy --processes 3

Each figure is the mean, and the median, of the calls of several fresh processes, since the effect comes and goes by process.
Other programs are plain loops that the scheduler places as it likes. torch runs the same layer, OpenCV a filter of an image,
where they are installed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import numpy as np

SIDES = ("fastconv", "torch", "cv2")
CALLS, WARM = 300, 20
LAYER = {"x": (1, 64, 56, 56), "w": (64, 64, 3, 3)}
BUSY = "while True: pass"


def prepared(side: str, threads: int) -> Any:
    """A call of the layer without arguments; of OpenCV a filter of as many planes, one by one."""
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape).astype(np.float32) for shape in LAYER.values())
    if side == "fastconv":
        import fastconv as fc

        fc.set_num_threads(threads)
        plan = fc.conv2d.plan(x.shape, w, padding=1)
        out = plan(x)
        return lambda: plan(x, out=out)
    if side == "torch":
        import torch

        torch.set_num_threads(threads)
        tx, tw = (torch.from_numpy(one).to(memory_format=torch.channels_last) for one in (x, w))
        return lambda: torch.nn.functional.conv2d(tx, tw, padding=1)
    import cv2

    cv2.setNumThreads(threads)
    image, kernel = rng.standard_normal((1024, 1024)).astype(np.float32), rng.standard_normal((5, 5)).astype(np.float32)
    return lambda: cv2.filter2D(image, -1, kernel)


def one_process(side: str, threads: int) -> None:
    """Print the seconds of the calls."""
    call, times = prepared(side, threads), []
    for number in range(WARM + CALLS):
        begin = perf_counter()
        call()
        if number >= WARM:
            times.append(perf_counter() - begin)
    print(json.dumps(times))


def measured(side: str, threads: int, processes: int) -> tuple[float, float] | None:
    """(mean, median) of the calls of fresh processes; None where the library is not installed."""
    times: list[float] = []
    for _ in range(processes):
        command = [sys.executable, "-m", "benchmarks.busy", "--side", side, "--threads", str(threads)]
        found = subprocess.run(command, capture_output=True, text=True)
        if found.returncode:
            return None
        times += json.loads(found.stdout)
    return statistics.fmean(times), statistics.median(times)


@contextmanager
def others(count: int) -> Iterator[None]:
    """So many busy programs."""
    running = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for one in running:
            one.kill()
            one.wait()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=3, help="fresh processes for each figure (default: %(default)s)")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        one_process(given.side, given.threads)
        return
    most = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    heads = f"{'other programs':>14} {'':10}{'1 thread: mean, median ms':>28}", f"{most} threads: mean, median ms"
    print(f"{heads[0]}{heads[1]:>30}{'ratio of means':>18}")
    for count in (0, 1, most, 2 * most):
        with others(count):
            for side in SIDES:
                one, several = (measured(side, threads, given.processes) for threads in (1, most))
                if one is None or several is None:
                    continue
                told = f"{1e3 * one[0]:18.3f} {1e3 * one[1]:9.3f}{1e3 * several[0]:20.3f} {1e3 * several[1]:9.3f}"
                print(f"{count:14} {side:10}{told}{several[0] / one[0]:18.2f}", flush=True)


if __name__ == "__main__":
    main()
