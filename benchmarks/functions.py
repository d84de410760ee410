"""Functions, over the layers of a network, beside torch's functional calls.

    taskset -c 0 python -m benchmarks.functions --network resnet50

on one thread and float32. Weights of up to 256 KiB are found packed by the calls behind the first. torch runs in processes of
its own, one for each of its two memory layouts; the faster one counts.
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from math import exp, log
from typing import Any

import numpy as np

import fastconv as fc
from fastconv.measuring import layers
from fastconv.measuring.layers import Layer
from fastconv.measuring.measure import GENERIC_LAYOUTS, progress
from fastconv.measuring.peers import Case, Peer, opened
from fastconv.plans.timing import timed_round
from fastconv.problem.convolutions import LAYOUTS

PEERS = ("torch", "torch_channels_last")
ROUNDS, SECONDS = 5, 0.03  # rounds, and the seconds that each side has in one


def function(layer: Layer, layout: str) -> tuple[Callable[[], Any], Case]:
    """(the call, the case for the peers) of a layer."""
    x, w = layer.arrays("float32", layout)
    operands = () if w is None else (w,)
    call = partial(getattr(fc, layer.operation), x, *operands, layout=layout, **layer.kwargs)
    plan = getattr(fc, layer.operation).plan(x.shape, *operands, layout=layout, **layer.kwargs)
    return call, Case(plan.geometry, x, w, called=True)


def measured(call: Callable[[], Any], case: Case, peers: Sequence[Peer]) -> tuple[float, float | None]:
    """Seconds of the function and of the fastest peer: medians of interleaved rounds, after all gave the same result."""
    expected = case.geometry.channels_first(call())
    serving = [peer for peer in peers if peer.prepare(case) is None]
    for peer in serving:
        np.testing.assert_allclose(peer.result(), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    ours: list[float] = []
    theirs: dict[str, list[float]] = {peer.name: [] for peer in serving}
    for _ in range(ROUNDS):
        ours.append(statistics.median(timed_round(call, SECONDS)))
        for peer in serving:
            theirs[peer.name].append(statistics.median(peer.run(SECONDS)))
    best = min((statistics.median(times) for times in theirs.values()), default=None)
    return statistics.median(ours), best


def line(name: str, order: str, seconds: float, peer: float | None) -> str:
    """One row of the table."""
    beside = f"{1e6 * peer:10.1f}{peer / seconds:8.2f}x" if peer is not None else ""
    return f"{name:30}{order.removeprefix('channels_'):>8}{1e6 * seconds:10.1f}{beside}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=layers.networks(), default="resnet50", help="default: %(default)s")
    parser.add_argument("--match", default="", help="only layers with this in their name")
    arguments = parser.parse_args()
    chosen = [layer for layer in layers.network(arguments.network) if arguments.match in layer.name]
    fc.set_num_threads(1)
    ratios = []
    print(f"{'layer':30}{'layout':>8}{'us':>10}{'torch':>10}{'ratio':>9}")
    with opened(PEERS) as peers, progress(2 * len(chosen)) as bar:
        for layer in chosen:
            for order, layout in zip(GENERIC_LAYOUTS, LAYOUTS[layer.rank], strict=True):
                bar.case(1)
                bar.step(f"{layer.name}, {order}")
                call, case = function(layer, layout)
                ours, theirs = measured(call, case, peers)
                print(line(layer.name, order, ours, theirs), flush=True)
                if theirs is not None:
                    ratios.append(theirs / ours)
    if ratios:
        mean, level = exp(statistics.fmean(map(log, ratios))), sum(ratio >= 1 for ratio in ratios)
        print(f"{level} of {len(ratios)} no slower than torch, geometric mean {mean:.2f}x")


if __name__ == "__main__":
    main()
