"""What `fastconv tour`, `demo` and `train` run and print: each takes the command's options and returns its exit code."""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

import fastconv as api
from fastconv import training
from fastconv.measuring import demo, digits, gallery, large, tour
from fastconv.measuring.busy import Watch
from fastconv.measuring.extras import require
from fastconv.measuring.report.results import duration


def show_tour(given: argparse.Namespace) -> int:
    """The steps from loops to the machine's limit."""
    if given.seconds is not None and not given.seconds > 0:
        raise ValueError(f"--seconds must be above 0, got {given.seconds}")
    if given.report is not None:
        require("matplotlib.figure")
        given.report.mkdir(parents=True, exist_ok=True)
    console = require("rich.console").Console()
    api.set_num_threads(given.threads)
    results = tour.taken(given.layer or tour.LAYER, given.seconds or tour.SECONDS, given.command_line)
    if not results.complete:
        return 130
    tour.show(results, console)
    if given.report is not None:
        print(f"wrote {tour.write(results, given.report)}", file=sys.stderr)
    return 1 if results.failed else 0


def show_walk(given: argparse.Namespace) -> int:
    """The tutorial's walk on a photograph, or what stands in its place: filters, or an image of gigabytes."""
    require("matplotlib.figure")
    if given.large is not None:
        return show_large(given)
    if given.gigabytes is not None or given.virtual:
        raise ValueError("--gigabytes and --virtual go with --large")
    image = demo.photograph(given.image)
    if given.filters:
        return show_filters(image, given.out)
    height, width = image.shape
    side_h, side_w = (min(demo.CROP, side) for side in image.shape)
    print(f"image {height} x {width}, grey; the loops run on its central {side_h} x {side_w}\n")
    header = f"{'step':12} {'shape':>15} {'whole image':>12} {'crop':>10} {'loops, crop':>12} {'speedup':>9}"
    print(header, "-" * len(header), sep="\n")
    steps, watch = [], Watch()
    for step in demo.walk(image, watch=watch):
        steps.append(step)
        shape = " x ".join(map(str, step.maps.shape))
        times = f"{1e3 * step.seconds:9.2f} ms {1e3 * step.crop_seconds:7.2f} ms {1e3 * step.loop_seconds:9.1f} ms"
        print(f"{step.layer} {step.name:10} {shape:>15} {times} {step.speedup:8,.0f}x", flush=True)
    loops, fast = sum(step.loop_seconds for step in steps), sum(step.crop_seconds for step in steps)
    print(
        f"\nall steps on the crop: loops {1e3 * loops:.0f} ms, fastconv {1e3 * fast:.2f} ms: {loops / fast:,.0f} times as fast"
    )
    for line in watch.told():
        print(line)
    for path in demo.pictures(image, steps, given.out):
        print(f"wrote {path}")
    return 0


def show_filters(image: Any, folder: Path) -> int:
    """fastconv.ndimage's filters on the photograph, beside SciPy's times."""
    print(f"image {image.shape[0]} x {image.shape[1]}, grey, float32\n")
    header = f"{'filter':52} {'fastconv':>9} {'SciPy':>9} {'times':>6}"
    print(header, "-" * len(header), sep="\n")
    pictures = []
    for one in gallery.filtered(image):
        pictures.append(one)
        mine, theirs = one.seconds("fastconv"), one.seconds("scipy")
        ratio = f"{theirs / mine:5.0f}x" if mine and theirs else ""
        print(f"{one.arguments:52} {duration(mine):>9} {duration(theirs):>9} {ratio:>6}", flush=True)
    print(f"\nwrote {gallery.sheet(image, pictures, folder)}")
    return 0


def show_large(given: argparse.Namespace) -> int:
    """An image larger than memory, and its memory curve."""
    if given.image is not None or given.filters:
        raise ValueError("--large makes an image of its own: it takes no image and no --filters")
    if given.gigabytes is not None and not 0 < given.gigabytes <= 1e6:
        raise ValueError(f"--gigabytes must be above 0 and at most a million, got {given.gigabytes:g}")
    if given.virtual:
        run = large.virtual(given.large, 40.0 if given.gigabytes is None else given.gigabytes)
    else:
        run = large.stored(given.large, given.gigabytes)
    print(f"image     {run.shape[0]} x {run.shape[1]} float32, {run.gigabytes:.3g} GB, gaussian_filter and max_pool2d")
    print(f"time      {run.seconds:.1f} s, {run.gigabytes / run.seconds:.2f} GB/s")
    print(f"memory    {run.memory.bytes[0] / 1e9:.2f} GB before, at most {run.memory.peak / 1e9:.2f} GB")
    print(f"wrote {run.result}\nwrote {large.picture(run, given.large)}")
    return 0


def show_training(given: argparse.Namespace) -> int:
    """A small CNN trained on digits."""
    require("matplotlib.figure")
    progress = require("rich.progress")
    if given.seed < 0:
        raise ValueError(f"--seed must be at least 0, got {given.seed}")
    if given.threads is not None:
        api.set_num_threads(given.threads)
    data, history = digits.digits(), digits.History()
    model = training.Model(np.random.default_rng(given.seed))
    count = sum(value.size for value in model.weights.values())
    print(f"{len(data.labels):,} digits of 8 x 8, {len(data.test_labels)} held out; {count:,} weights", flush=True)
    columns = (
        "epoch {task.fields[epoch]:2}",
        progress.BarColumn(),
        "loss {task.fields[loss]:.4f}",
        progress.TimeElapsedColumn(),
    )
    with progress.Progress(*columns, console=require("rich.console").Console()) as bar:
        total = given.epochs * -(-len(data.labels) // digits.BATCH)
        task = bar.add_task("train", total=total, epoch=1, loss=float("nan"))
        for step in digits.trained(model, data, given.epochs, history):
            bar.update(task, advance=1, epoch=step.epoch + 1, loss=step.loss)
    print(f"held out: {100 * history.test[-1]:.1f} % right after {given.epochs} epochs, {history.seconds:.1f} s")
    if given.peers:
        mine, theirs = digits.beside_torch(data)
        print(f"an epoch: fastconv {1e3 * mine:.0f} ms, torch {1e3 * theirs:.0f} ms: {theirs / mine:.2f} times as fast")
    for path in digits.pictures(model, data, history, given.out):
        print(f"wrote {path}")
    return 0
