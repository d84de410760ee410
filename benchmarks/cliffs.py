"""Geometries as users have them, drawn at random, beside the best peer: where is fastconv slower than what it could be held to?

    taskset -c 0 python -m benchmarks.cliffs --count 90 --seed 1
    taskset -c 0 python -m benchmarks.cliffs --kind depthwise --kind dilated --functions new

Each geometry is run in both layouts on one thread. A peer serves the layout that fastconv does: torch in its memory format of
it, the others in their own, which is channels first. Beside a peer that is told its arrays before it is timed, a plan is bound
to its own; beside one that is called with them, it is called with them. Functions race those that take weights with each call:
torch's, and ONNX Runtime's models whose weights are an input. Results are checked against a peer's. The kinds of geometries:

    dense         1x1 to 7x7, stride 1 and 2                         tiny         maps of 1x1 to 7x7
    depthwise     3x3 to 15x15 and 1xk, stride 1 and 2               many         hundreds of small images
    multiplier    several outputs for each channel                   line         one axis, kernels up to hundreds of taps
    grouped       groups of 4 to 64 channels                         solid        three axes
    dilated       dilations up to the size of the map                depthwise3d  three axes, a filter for each channel
    transposed    stride 1 to 4, and more on one axis                pool         max and avg, strides, padding, both sizes
    upsampling    transposed depthwise                               adaptive     adaptive averages
"""

import argparse
import itertools
import statistics
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import exp, log, prod
from typing import Any, NamedTuple

import numpy as np

import fastconv as fc
from fastconv.measuring.measure import progress
from fastconv.measuring.peers import Case, Peer, PeerError, opened
from fastconv.plans.timing import timed_round
from fastconv.problem.convolutions import LAYOUTS, Array

PEERS = ("torch", "torch_channels_last", "onnxruntime", "openvino", "ncnn", "mnn")
BOUND = ("onnxruntime", "openvino", "mnn")  # those that are told their arrays before they are timed
ROUNDS, SECONDS = 5, 0.02  # rounds, and the seconds that each side has in one
MOST_FLOPS, MOST_CELLS = 3e9, 3e7  # of a geometry that is worth its time here
CALLS = ("plans", "equal", "new")  # what is measured: plans, or functions with equal weights in each call, or others
CHANGED = 64  # weights that new ones differ by, in turn
LOW = 0.9  # the ratio below which a row is shown

Rng = np.random.Generator


class Geometry(NamedTuple):
    """A call, channels first.

    Attributes
    ----------
    kind, operation : str
    x_shape : tuple of int
    w_shape : tuple of int or None
    options : dict
    """

    kind: str
    operation: str
    x_shape: tuple[int, ...]
    w_shape: tuple[int, ...] | None
    options: dict[str, Any]

    @property
    def rank(self) -> int:
        return len(self.x_shape) - 2

    def ordered(self, last: bool) -> "Geometry":
        """The same call in either layout."""
        if not last:
            return self

        def turned(shape: tuple[int, ...]) -> tuple[int, ...]:
            return (shape[0], *shape[2:], shape[1])

        options = self.options | {"layout": LAYOUTS[self.rank][1]}
        return self._replace(x_shape=turned(self.x_shape), w_shape=self.w_shape and turned(self.w_shape), options=options)

    def __str__(self) -> str:
        told = " ".join(f"{name} {value}" for name, value in self.options.items() if name != "layout")
        return f"{self.operation} {self.x_shape} {self.w_shape or ''} {told}".replace(", ", ",")


def spread(rng: Rng, low: float, high: float) -> int:
    """A whole number, its logarithm evenly spread."""
    return round(exp(rng.uniform(log(low), log(high))))


def channels(rng: Rng, low: int = 1, high: int = 1024) -> int:
    """As networks have them: multiples of 8 for the most part, or anything."""
    found = spread(rng, low, high)
    return max(8, found // 8 * 8) if found >= 8 and rng.random() < 0.7 else found


def pick(rng: Rng, *values: Any) -> Any:
    """One of them."""
    return values[rng.integers(len(values))]


def convolution(kind: str, x: tuple[int, ...], w: tuple[int, ...], **options: Any) -> Geometry:
    """A convolution; `transposed` is no option of it."""
    name = "conv_transpose" if options.pop("transposed", False) else "conv"
    return Geometry(kind, f"{name}{len(x) - 2}d", x, w, options)


def dense(rng: Rng) -> Geometry:
    c, k, size, taps = channels(rng), channels(rng), (spread(rng, 7, 224), spread(rng, 7, 224)), pick(rng, 1, 1, 3, 3, 3, 5, 7)
    size = pick(rng, size, (size[0], size[0]))
    return convolution("dense", (1, c, *size), (k, c, taps, taps), stride=pick(rng, 1, 1, 2), padding=taps // 2)


def depthwise(rng: Rng) -> Geometry:
    c, cells, (th, tw) = (
        channels(rng, 8),
        spread(rng, 7, 160),
        pick(rng, (3, 3), (3, 3), (5, 5), (7, 7), (1, 9), (9, 1), (13, 13)),
    )
    w, padding = (c, 1, th, tw), (th // 2, tw // 2)
    return convolution("depthwise", (1, c, cells, cells), w, stride=pick(rng, 1, 1, 2), padding=padding, groups=c)


def multiplier(rng: Rng) -> Geometry:
    c, cells, taps = channels(rng, 3, 128), spread(rng, 7, 128), pick(rng, 3, 5)
    w = (c * pick(rng, 2, 4, 8), 1, taps, taps)
    return convolution("multiplier", (1, c, cells, cells), w, stride=pick(rng, 1, 2), padding=taps // 2, groups=c)


def grouped(rng: Rng) -> Geometry:
    groups, of_group, cells = pick(rng, 2, 4, 8, 16, 32), pick(rng, 4, 8, 16, 32, 64), spread(rng, 7, 80)
    c, taps = groups * of_group, pick(rng, 1, 3, 3)
    w = (c, of_group, taps, taps)
    return convolution("grouped", (1, c, cells, cells), w, stride=pick(rng, 1, 1, 2), padding=taps // 2, groups=groups)


def dilated(rng: Rng) -> Geometry:
    c, cells, step, taps = (
        channels(rng, 16, 512),
        spread(rng, 14, 97),
        pick(rng, 2, 2, 4, 6, 12, 18, 24, 36),
        pick(rng, 3, 3, 5),
    )
    groups = pick(rng, 1, c)
    k = c if groups == c else channels(rng, 16, 512)
    padding = step * (taps // 2)
    return convolution(
        "dilated", (1, c, cells, cells), (k, c // groups, taps, taps), padding=padding, dilation=step, groups=groups
    )


def transposed(rng: Rng) -> Geometry:
    if rng.random() < 0.25:
        c, k, stride = channels(rng, 16, 1025), pick(rng, 1, 2, 16), pick(rng, 4, 16, 64, 256)
        return convolution(
            "transposed", (1, c, spread(rng, 20, 2000)), (c, k, stride * pick(rng, 1, 2, 4)), stride=stride, transposed=True
        )
    c, k, cells, taps = (
        channels(rng, 8, 512),
        pick(rng, 1, 3, channels(rng, 8, 256)),
        spread(rng, 4, 64),
        pick(rng, 2, 3, 4, 4, 5, 9),
    )
    stride = min(taps, pick(rng, 1, 2, 2, 3, 4))
    return convolution(
        "transposed", (1, c, cells, cells), (c, k, taps, taps), stride=stride, padding=(taps - stride) // 2, transposed=True
    )


def upsampling(rng: Rng) -> Geometry:
    c, cells, stride = channels(rng, 3, 256), spread(rng, 7, 80), pick(rng, 2, 2, 4, 8)
    w, padding = (c, 1, 2 * stride, 2 * stride), stride // 2
    return convolution("upsampling", (1, c, cells, cells), w, stride=stride, padding=padding, groups=c, transposed=True)


def tiny(rng: Rng) -> Geometry:
    c, k, cells, taps = channels(rng, 32), channels(rng, 32), spread(rng, 1, 7), pick(rng, 1, 3, 3, 5)
    if rng.random() < 0.3:
        return convolution("tiny", (1, c, cells, cells), (k, c, cells, cells))
    return convolution("tiny", (pick(rng, 1, 1, 8), c, cells, cells), (k, c, taps, taps), padding=taps // 2)


def many(rng: Rng) -> Geometry:
    n, c, k, cells = spread(rng, 64, 2000), channels(rng, 1, 128), channels(rng, 4, 128), spread(rng, 1, 28)
    taps = pick(rng, 1, 3) if cells > 2 else 1
    return convolution("many", (n, c, cells, cells), (k, c, taps, taps), padding=taps // 2)


def line(rng: Rng) -> Geometry:
    c, k, cells = channels(rng, 1, 768), channels(rng, 1, 768), spread(rng, 30, 100_000)
    taps, groups = pick(rng, 1, 3, 5, 7, 15, 63, 129), pick(rng, 1, 1, 1, c)
    k = c if groups == c else k
    w = (k, c // groups, taps)
    return convolution("line", (1, c, cells), w, stride=pick(rng, 1, 1, 2), padding=taps // 2, groups=groups)


def solid(rng: Rng) -> Geometry:
    c, k, taps = channels(rng, 1, 128), channels(rng, 8, 128), pick(rng, (1, 1, 1), (3, 3, 3), (3, 3, 3), (1, 3, 3), (3, 1, 1))
    size = tuple(spread(rng, 4, 40) for _ in range(3))
    padding = tuple(one // 2 for one in taps)
    return convolution("solid", (1, c, *size), (k, c, *taps), stride=pick(rng, 1, 1, 2), padding=padding)


def depthwise3d(rng: Rng) -> Geometry:
    c, taps = channels(rng, 8, 128), pick(rng, (3, 3, 3), (3, 3, 3), (1, 3, 3), (5, 5, 5))
    size = tuple(spread(rng, 5, 40) for _ in range(3))
    padding = tuple(one // 2 for one in taps)
    return convolution("depthwise3d", (1, c, *size), (c, 1, *taps), stride=pick(rng, 1, 1, 2), padding=padding, groups=c)


def pool(rng: Rng) -> Geometry:
    rank, kind = pick(rng, 1, 2, 2, 2, 3), pick(rng, "max", "avg")
    taps, c = pick(rng, 2, 3, 3, 5, 7), channels(rng, 1, 512)
    size = tuple(spread(rng, 7, {1: 100_000, 2: 224, 3: 40}[rank]) for _ in range(rank))
    padding = taps // 2 if rng.random() < 0.5 else 0
    options = {"kernel_size": taps, "stride": pick(rng, 1, 2, taps), "padding": padding}
    return Geometry("pool", f"{kind}_pool{rank}d", (1, c, *size), None, options)


def adaptive(rng: Rng) -> Geometry:
    cells, outputs = spread(rng, 7, 64), pick(rng, 1, 2, 3, 4, 7)
    return Geometry("adaptive", "adaptive_avg_pool2d", (1, channels(rng, 16), cells, cells), None, {"output_size": outputs})


KINDS: tuple[Callable[[Rng], Geometry], ...] = (
    dense, depthwise, multiplier, grouped, dilated, transposed, upsampling, tiny, many, line, solid, depthwise3d, pool, adaptive
)  # fmt: skip


def drawn(rng: Rng, kinds: Sequence[str] = ()) -> Iterator[Geometry]:
    """Geometries of each kind in turn, those left out that take long or that have no output."""
    chosen = [kind for kind in KINDS if not kinds or kind.__name__ in kinds]
    while True:
        for kind in chosen:
            while True:
                found = kind(rng)
                try:
                    sizes = planned(found, np.dtype(np.float32), np.zeros).geometry
                except ValueError:
                    continue
                if sizes.flops < MOST_FLOPS and prod(sizes.x_shape) + prod(sizes.out_shape) < MOST_CELLS:
                    break
            yield found


def planned(geometry: Geometry, dtype: np.dtype[Any], fill: Callable[..., Any]) -> Any:
    """The plan of a geometry, with weights of `fill`."""
    weights = () if geometry.w_shape is None else (fill(geometry.w_shape).astype(dtype),)
    return getattr(fc, geometry.operation).plan(geometry.x_shape, *weights, x_dtype=dtype, **geometry.options)


class Row(NamedTuple):
    """What was measured.

    Attributes
    ----------
    geometry : Geometry
    layout : str
    seconds : float
        Of fastconv, called as the best peer is.
    best : float or None
        Seconds of the peer that is fastest beside it; None where none serves it.
    peer, kernel : str
        Its name, and what ran here.
    """

    geometry: Geometry
    layout: str
    seconds: float
    best: float | None
    peer: str
    kernel: str

    @property
    def ratio(self) -> float | None:
        return None if self.best is None else self.best / self.seconds

    def __str__(self) -> str:
        beside = "no peer serves it" if self.best is None else f"{1e6 * self.best:10,.1f} {self.peer}"
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        return f"{ratio:>6} {1e6 * self.seconds:10,.1f} {beside:32} {self.geometry} {self.layout} by {self.kernel}"


def numbers(rng: Rng, dtype: np.dtype[Any]) -> Callable[..., Any]:
    """What arrays are filled with: normal numbers, or small whole ones."""
    return rng.standard_normal if dtype.kind == "f" else partial(rng.integers, 0, 9)


def function_of(geometry: Geometry, x: Array, weights: tuple[Array, ...], calls: str) -> Callable[[], Any]:
    """A function's call; with "new", each call has weights that none had before it, as every step of a training has."""
    function = partial(getattr(fc, geometry.operation), **geometry.options)
    if calls == "equal" or not weights:
        return partial(function, x, *weights)
    w = weights[0].copy()
    cells = itertools.cycle([w.reshape(-1)[i : i + 1] for i in range(min(w.size, CHANGED))])

    def call() -> Any:
        cell = next(cells)
        np.add(cell, 1, out=cell)
        return function(x, w)

    return call


def measured(geometry: Geometry, last: bool, dtype: np.dtype[Any], calls: str, peers: Sequence[Peer], rng: Rng) -> Row:
    """Medians of interleaved rounds of a geometry in one layout, after the results were compared."""
    ordered, fill = geometry.ordered(last), numbers(rng, dtype)
    x = fill(ordered.x_shape).astype(dtype)
    w = None if ordered.w_shape is None else fill(ordered.w_shape).astype(dtype)
    weights = () if w is None else (w,)
    plan = planned(ordered, dtype, lambda shape: w)
    case, y = Case(plan.geometry, x, w, called=calls != "plans"), plan(x)
    call = function_of(ordered, x, weights, calls) if case.called else partial(plan, x, out=y)
    bound = call if case.called else plan.bind(x, out=plan(x))
    expected = plan.geometry.channels_first(function_of(ordered, x, weights, "equal")() if case.called else y)
    serving = [peer for peer in peers if not (last and peer.name == "torch") and peer.prepare(case) is None]
    serving = [peer for peer in serving if last or peer.name != "torch_channels_last"]
    ours: dict[bool, list[float]] = {False: [], True: []}
    theirs: dict[str, list[float]] = {peer.name: [] for peer in serving}
    for peer in serving:
        scale = np.abs(expected.astype(float)).max(initial=0.0)
        np.testing.assert_allclose(peer.result(), expected, rtol=1e-3, atol=1e-3 * scale, err_msg=f"{peer.name}: {ordered}")
    for _ in range(ROUNDS):
        for binds, one in ((False, call), (True, bound)):
            ours[binds].append(statistics.median(timed_round(one, SECONDS)))
        for peer in serving:
            theirs[peer.name].append(statistics.median(peer.run(SECONDS)))
    medians = {name: statistics.median(times) for name, times in theirs.items()}
    seconds = {name: statistics.median(ours[name in BOUND and not case.called]) for name in ("", *medians)}
    name = min(medians, key=lambda name: medians[name] / seconds[name], default="")
    kernel = f"{plan.implementation.name}" + (f" ({plan.kernel})" if plan.kernel else "")
    return Row(geometry, plan.geometry.layout, seconds[name], medians.get(name), name, kernel)


def summary(rows: Sequence[Row]) -> str:
    """The distribution of the ratios, and that of each kind."""
    lines = []
    for kind in ("all", *dict.fromkeys(row.geometry.kind for row in rows)):
        ratios = sorted(row.ratio for row in rows if row.ratio is not None and kind in ("all", row.geometry.kind))
        if ratios:
            mean = exp(statistics.fmean(map(log, ratios)))
            low = sum(ratio < LOW for ratio in ratios)
            lines.append(
                f"{kind:12} {len(ratios):4} rows: geometric mean {mean:5.2f}, worst {ratios[0]:5.2f}, {low} below {LOW}"
            )
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=90, help="geometries, each in both layouts (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--kind", action="append", default=[], choices=[kind.__name__ for kind in KINDS], help="only these")
    parser.add_argument(
        "--dtype", default="float32", choices=["float32", "float64", "float16", "uint8"], help="default: %(default)s"
    )
    parser.add_argument(
        "--functions",
        dest="calls",
        nargs="?",
        choices=CALLS[1:],
        const="equal",
        default="plans",
        help="functions: with equal weights in each call, which are found packed where they are small, or with new ones",
    )
    parser.add_argument("--peers", nargs="*", default=PEERS, help="default: %(default)s")
    arguments = parser.parse_args()
    fc.set_num_threads(1)
    rng, dtype, rows = np.random.default_rng(arguments.seed), np.dtype(arguments.dtype), []
    source = drawn(rng, arguments.kind)
    with opened(arguments.peers) as peers, progress(2 * arguments.count) as bar:
        for geometry in (next(source) for _ in range(arguments.count)):
            for last in (False, True):
                bar.case(1)
                bar.step(str(geometry))
                try:
                    rows.append(measured(geometry, last, dtype, arguments.calls, peers, rng))
                except (PeerError, AssertionError) as error:
                    print(f"{geometry}: {error}", flush=True)
    for row in sorted(rows, key=lambda row: row.ratio or 0.0):
        if row.ratio is None or row.ratio < LOW:
            print(row)
    print(summary(rows))


if __name__ == "__main__":
    main()
