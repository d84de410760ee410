"""Time against the size of the window: image filters, and max and average pools of stride 1, beside OpenCV where installed.

    taskset -c 0 python -m benchmarks.windows --plot windows.svg

on one thread and one grey float32 image. Filters are random, or Gaussian; the bytes are of the image, read and written once.
"""

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import fastconv as fc
from fastconv.measuring.extras import require
from fastconv.measuring.roofs import copy_bandwidth

SIDE = 1024
SIZES = (3, 5, 7, 9, 11, 15, 21, 31, 63)
ROUNDS, LEAST = 7, 0.01  # rounds, and the seconds that each side has in one

Cases = dict[str, Callable[[], Any]]


def opencv() -> Any:
    """cv2 on one thread, or None."""
    try:
        import cv2
    except ImportError:
        return None
    cv2.setNumThreads(1)
    return cv2


def gaussian(k: int) -> Any:
    side = np.exp(-(np.linspace(-2, 2, k) ** 2))
    return np.outer(side, side / side.sum() ** 2).astype(np.float32)


def cases(k: int, image: Any, cv2: Any) -> dict[str, Cases]:
    """For each kind of window a call of fastconv, and of OpenCV."""
    x, y, around = image[None], np.empty_like(image)[None], {"stride": 1, "padding": k // 2}
    random = np.random.default_rng(k).standard_normal((k, k), np.float32)
    filters = {"random filter": random, "Gaussian filter": gaussian(k)}
    plans = {name: fc.conv2d.plan(x.shape, w[None, None], padding=k // 2) for name, w in filters.items()}
    plans["max window"] = fc.max_pool2d.plan(x.shape, k, **around)
    plans["mean window"] = fc.avg_pool2d.plan(x.shape, k, **around)
    found: dict[str, Cases] = {name: {"fastconv": lambda plan=plan: plan(x, y)} for name, plan in plans.items()}
    if cv2 is not None:
        out, square = np.empty_like(image), np.ones((k, k), np.uint8)
        border = {"dst": out, "borderType": cv2.BORDER_CONSTANT}
        for name, w in filters.items():
            found[name]["cv2"] = lambda w=w: cv2.filter2D(image, -1, w, **border)
        found["max window"]["cv2"] = lambda: cv2.dilate(image, square, dst=out)
        found["mean window"]["cv2"] = lambda: cv2.blur(image, (k, k), **border)
    return found


def medians(calls: Cases) -> dict[str, float]:
    """Seconds of each call: the medians of interleaved rounds."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(ROUNDS):
        for name, call in calls.items():
            count, begin = 0, perf_counter()
            while not count or perf_counter() - begin < LEAST:
                call()
                count += 1
            times[name].append((perf_counter() - begin) / count)
    return {name: statistics.median(taken) for name, taken in times.items()}


def picture(results: dict[str, dict[int, dict[str, float]]], path: Path) -> None:
    """Curves of time against size, both on logarithmic axes."""
    figure = require("matplotlib.figure").Figure(figsize=(8, 6), dpi=144, layout="constrained")
    for axes, (title, by_size) in zip(figure.subplots(2, 2, sharex=True, sharey=True).flat, results.items(), strict=True):
        for name, colour in (("fastconv", "#0b7285"), ("cv2", "#e8590c")):
            points = {k: 1e3 * times[name] for k, times in by_size.items() if name in times}
            if points:
                axes.plot(*zip(*points.items(), strict=True), marker="o", markersize=3, color=colour, label=name)
        axes.set(title=title, xscale="log", yscale="log", xlabel="cells on a side", ylabel="ms")
        axes.set_xticks(SIZES, map(str, SIZES), minor=False)
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.suptitle(f"Windows on a grey float32 image of {SIDE} x {SIDE}, one thread")
    figure.savefig(path)


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the curves, as the format that FILE's ending names")
    arguments = parser.parse_args()
    fc.set_num_threads(1)
    image, cv2 = np.random.default_rng(0).standard_normal((SIDE, SIDE), np.float32), opencv()
    copy, moved = copy_bandwidth(1), 2 * image.nbytes
    results: dict[str, dict[int, dict[str, float]]] = {}
    print(
        f"copies move {copy / 1e9:.1f} GB/s\n{'window':16}{'k':>4}{'ms':>9}{'GB/s':>7}{'of copy':>9}{'cv2, ms':>9}{'ratio':>7}"
    )
    for k in SIZES:
        for name, calls in cases(k, image, cv2).items():
            times = medians(calls)
            results.setdefault(name, {})[k] = times
            ours, theirs = times["fastconv"], times.get("cv2")
            beside = f"{1e3 * theirs:9.2f}{theirs / ours:6.1f}x" if theirs else ""
            speed = moved / ours
            print(f"{name:16}{k:4}{1e3 * ours:9.2f}{speed / 1e9:7.1f}{speed / copy:9.0%}{beside}")
    if arguments.plot:
        picture(results, arguments.plot)


if __name__ == "__main__":
    main()
