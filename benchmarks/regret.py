"""How much time "auto" loses to the best implementation, over geometries of real layers and random ones.

    python -m benchmarks.regret --count 200 --seed 0
    python -m benchmarks.regret --functions --match conv        of functions, which pack the weights for one call

runs every implementation that is estimated within `MARGIN` of the chosen one's cost, interleaved, and prints the distribution
of (time of the chosen one) / (time of the best one), and each case above the limit.
"""

import argparse
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from math import exp, log, prod
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

import fastconv as fc
from fastconv.machine import host
from fastconv.measuring import layers
from fastconv.plans import dispatch
from fastconv.problem.convolutions import LAYOUTS

MARGIN = 6.0  # candidates that are estimated dearer than this many times the chosen one are not run
ROUNDS, LEAST = 5, 0.004  # rounds, and the seconds that an implementation has in one
WORST, EXCUSED = 1.5, 20e-6  # a case counts as bad above this ratio, if it loses more than these seconds


class Geometry(NamedTuple):
    """One call of a convolution or pool."""

    operation: str
    x_shape: tuple[int, ...]
    w_shape: tuple[int, ...] | None
    options: dict[str, Any]


def real() -> list[Geometry]:
    """The named layers, both layouts."""
    found = []
    for name in layers.names():
        layer = layers.layer(name)
        for last in (False, True):
            options, x_shape, w_shape = dict(layer.kwargs), layer.x_shape, layer.w_shape
            if last:
                x_shape = (x_shape[0], *x_shape[2:], x_shape[1])
                w_shape = w_shape and (w_shape[0], *w_shape[2:], w_shape[1])
                options["layout"] = LAYOUTS[len(x_shape) - 2][1]
            found.append(Geometry(layer.operation, x_shape, w_shape, options))
    return found


def random(rng: np.random.Generator) -> Iterator[Geometry]:
    """Convolutions of every rank, with sizes spread over their orders of magnitude."""
    while True:
        rank = int(rng.choice([1, 2, 2, 2, 3]))

        def spread(low: float, high: float) -> int:
            return round(exp(rng.uniform(log(low), log(high))))

        channels, outputs = spread(1, 512), spread(1, 512)
        depthwise = rng.random() < 0.2
        kernel = tuple(int(rng.choice([1, 3, 3, 3, 5, 7, 11, 21])) for _ in range(rank))
        if rng.random() < 0.7:
            kernel = (kernel[0],) * rank
        size = tuple(spread(4, {1: 50_000, 2: 300, 3: 40}[rank]) for _ in range(rank))
        stride = int(rng.choice([1, 1, 1, 2]))
        groups = channels if depthwise else 1
        outputs = channels if depthwise else outputs
        padding = tuple(k // 2 for k in kernel)
        flops = 2 * prod(size) * prod(kernel) * channels // groups * outputs / stride**rank
        moved = 4 * prod(size) * (channels + outputs)
        if flops > 4e9 or moved > 2e8 or flops < 2e4:
            continue
        options = {"padding": padding, "stride": stride, "groups": groups}
        if rng.random() < 0.5:
            yield Geometry(f"conv{rank}d", (1, channels, *size), (outputs, channels // groups, *kernel), options)
        else:
            options["layout"] = LAYOUTS[rank][1]
            yield Geometry(f"conv{rank}d", (1, *size, channels), (outputs, *kernel, channels // groups), options)


class Result(NamedTuple):
    """Seconds of each implementation, the chosen one first, and what they were estimated at."""

    geometry: Geometry
    seconds: dict[str, float]
    estimates: dict[str, float]

    @property
    def ratio(self) -> float:
        return next(iter(self.seconds.values())) / min(self.seconds.values())

    @property
    def lost(self) -> float:
        return next(iter(self.seconds.values())) - min(self.seconds.values())

    def __str__(self) -> str:
        times = ", ".join(
            f"{name} {1e6 * took:,.0f} us ({1e6 * self.estimates[name]:,.0f})" for name, took in self.seconds.items()
        )
        w, options = self.geometry.w_shape, self.geometry.options
        return f"{self.ratio:5.2f}  {self.geometry.operation} {self.geometry.x_shape} {w} {options}: {times}"


def measured(geometry: Geometry, rng: np.random.Generator, functions: bool) -> Result:
    """The medians of interleaved rounds, of plans or of functions."""
    operation, x_shape, w_shape, options = geometry
    planner = getattr(fc, operation).plan
    arguments = [] if w_shape is None else [rng.standard_normal(w_shape, np.float32)]
    auto = planner(x_shape, *arguments, **options)
    costs = {
        one.name: dispatch.estimate(one, auto.problem, host(), functions)
        for one in dispatch.candidates(operation)
        if one.supports(auto.problem) is None and one.name != "reference"
    }
    costs["auto"] = dispatch.estimate(auto.implementation, auto.seen, host(), functions)
    names = ["auto", *(name for name, cost in costs.items() if name != "auto" and cost < MARGIN * costs["auto"])]
    x = rng.standard_normal(x_shape, np.float32)
    calls_of: dict[str, Callable[..., Any]]
    if functions:
        function = partial(getattr(fc, operation), x, *arguments, **options)
        calls_of = {name: partial(function, implementation=name) for name in names}
    else:
        plans = {name: planner(x_shape, *arguments, **options, implementation=name) for name in names}
        calls_of = {name: partial(plan, x) for name, plan in plans.items()}
    out = auto(x)
    times: dict[str, list[float]] = {name: [] for name in names}
    for call in calls_of.values():
        call(out=out)
    for _ in range(ROUNDS):
        for name, call in calls_of.items():
            calls, begin = 0, perf_counter()
            while not calls or perf_counter() - begin < LEAST:
                call(out=out)
                calls += 1
            times[name].append((perf_counter() - begin) / calls)
    return Result(geometry, {name: statistics.median(taken) for name, taken in times.items()}, costs)


def main() -> None:
    """Measure, and print the distribution."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="random geometries (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the random geometries (default: %(default)s)")
    parser.add_argument("--real", action=argparse.BooleanOptionalAction, default=True, help="the named layers too")
    parser.add_argument("--match", default="", help="only operations with this in their name")
    parser.add_argument("--functions", action="store_true", help="measure functions instead of plans")
    arguments = parser.parse_args()
    fc.set_num_threads(1)
    rng = np.random.default_rng(arguments.seed)
    drawn = random(rng)
    cases = (real() if arguments.real else []) + [next(drawn) for _ in range(arguments.count)]
    seen, results = set(), []
    for case in cases:
        if arguments.match in case.operation and str(case) not in seen and not case.options.get("return_indices"):
            seen.add(str(case))
            results.append(measured(case, rng, arguments.functions))
    ratios = sorted(result.ratio for result in results)
    bad = [result for result in results if result.ratio > WORST and result.lost > EXCUSED]
    for result in sorted(results, key=lambda one: -one.ratio)[: max(25, len(bad))]:
        print(result)
    marks = ", ".join(
        f"{share} % {ratios[min(len(ratios) - 1, len(ratios) * share // 100)]:.3f}" for share in (50, 75, 90, 95, 99)
    )
    mean = exp(sum(map(log, ratios)) / len(ratios))
    print(f"{len(results)} geometries: geometric mean {mean:.4f}; {marks}; {len(bad)} above {WORST} by over 20 us")


if __name__ == "__main__":
    main()
