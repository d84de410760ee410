"""Pools of every kind, in both layouts, beside the libraries that offer them: bytes a second, and their share of a copy's.

    taskset -c 0 python -m benchmarks.pools

on one thread and float32. Small maps lie in the caches, and move more than a copy of large arrays does.
"""

import math

import fastconv as fc
from fastconv.measuring.layers import Layer
from fastconv.measuring.measure import GENERIC_LAYOUTS, measure
from fastconv.measuring.report.results import CaseResult

SHAPES = {1: (1, 64, 16_000), 2: (1, 64, 112, 112), 3: (1, 64, 16, 28, 28)}
SMALL = (1, 512, 14, 14)


def pool(name: str, operation: str, shape: tuple[int, ...], **arguments: object) -> Layer:
    return Layer(name, operation, shape, None, tuple(arguments.items()))


LAYERS = (
    *(pool(f"max {rank}-D 2, stride 2", f"max_pool{rank}d", shape, kernel_size=2) for rank, shape in SHAPES.items()),
    *(
        pool(f"{kind} {rank}-D 3, stride 2", f"{kind}_pool{rank}d", shape, kernel_size=3, stride=2, padding=1)
        for kind in ("max", "avg")
        for rank, shape in SHAPES.items()
    ),
    pool("max 3, stride 1", "max_pool2d", SHAPES[2], kernel_size=3, stride=1, padding=1),
    pool("avg 3, stride 1", "avg_pool2d", SHAPES[2], kernel_size=3, stride=1, padding=1),
    pool("max 13, stride 1", "max_pool2d", SHAPES[2], kernel_size=13, stride=1, padding=6),
    pool("avg 13, stride 1", "avg_pool2d", SHAPES[2], kernel_size=13, stride=1, padding=6),
    pool("max 2 of 14x14", "max_pool2d", SMALL, kernel_size=2),
    pool("avg 2 of 14x14", "avg_pool2d", SMALL, kernel_size=2),
    pool("max 3, indices", "max_pool2d", SHAPES[2], kernel_size=3, stride=2, padding=1, return_indices=True),
    pool("max 3, dilation 2", "max_pool2d", SHAPES[2], kernel_size=3, stride=1, dilation=2),
    *(pool(f"lp {norm:g} of 2x2", "lp_pool2d", SHAPES[2], norm_type=norm, kernel_size=2) for norm in (1, 2, 3, math.inf)),
    pool("adaptive avg to 7x7", "adaptive_avg_pool2d", SHAPES[2], output_size=7),
    pool("adaptive max to 7x7", "adaptive_max_pool2d", SHAPES[2], output_size=7),
    pool("global avg of 7x7", "global_avg_pool", (1, 2048, 7, 7)),
    pool("global max of 7x7", "global_max_pool", (1, 2048, 7, 7)),
)


def line(case: CaseResult, copy: float) -> str:
    """One row of the table: bytes are those of input and output, each once."""
    ours = case.seconds("auto")
    if ours is None:  # interrupted, or wrong
        return f"{case.layer.name:21}{'-':>8}"
    theirs = {row.implementation: row.seconds for row in case.rows if row.peer and row.seconds is not None}
    best = min(theirs, key=lambda name: theirs[name], default=None)
    beside = f"{best:>21}{1e6 * theirs[best]:8.1f}{theirs[best] / ours:7.2f}x" if best else ""
    speed = case.bytes / ours
    return f"{case.layer.name:21}{1e6 * ours:8.1f}{speed / 1e9:6.0f}{speed / copy:6.0%}{beside}"


def main() -> None:
    """Measure and print."""
    fc.set_num_threads(1)
    for layout in GENERIC_LAYOUTS:
        results = measure(LAYERS, layout=layout, implementations=("auto", "reference"), peers=True, seconds=0.1)
        copy = 1e9 * results.machine["copy_gbytes_per_second"]
        print(f"{layout}; copies move {copy / 1e9:.0f} GB/s")
        print(f"{'pool':21}{'us':>8}{'GB/s':>6}{'copy':>6}{'best peer':>21}{'us':>8}{'ratio':>8}")
        for case in results.cases:
            print(line(case, copy))
        if not results.complete:
            return


if __name__ == "__main__":
    main()
