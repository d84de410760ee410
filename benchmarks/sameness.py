"""Two versions of fastconv beside each other: the bits of their results, and their times on the named layers.

    python -m benchmarks.sameness record FILE                    hashes of this version's results
    python -m benchmarks.sameness compare FILE [FILE]            differences of a record from another, or from this version
    python -m benchmarks.sameness times OLD [--match TEXT]       this version against the checkout OLD, layer by layer

A change that moves code and alters no sum leaves every hash as it was. The problems are drawn here, from a fixed seed, so that
a record does not depend on the cases that the tests have. `times` runs each version in a process of its own, pinned to one
core, in interleaved rounds, and prints ratios of medians.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import fastconv as fc

SLOW = 30_000  # scalar operations beyond which plain Python loops would take too long
EVERY = {"float32": 1, "float64": 3, "float16": 5, "int32": 5, "uint8": 5}  # which problems a dtype has
LAYOUTS = {1: ("NCL", "NLC"), 2: ("NCHW", "NHWC"), 3: ("NCDHW", "NDHWC")}
THREADS = (1, 2)
POOLS = ("max_pool", "min_pool", "avg_pool", "lp_pool")


# Problems ---------------------------------------------------------------------------------------------------------------


def convolutions(rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Dense, grouped, depthwise, pointwise, transposed and one-channel convolutions over 1 to 3 axes."""
    kinds = ("dense", "dense", "winograd", "depthwise", "grouped", "pointwise", "filter", "transposed", "strided", "small")
    for number in range(110):
        kind = kinds[number % len(kinds)]
        rank = int(rng.choice([1, 2, 2, 2, 3]))
        size = [int(n) for n in rng.integers(*{1: (60, 700), 2: (7, 40), 3: (4, 12)}[rank], rank)]
        kernel = [int(k) for k in rng.integers(1, 6, rank)]
        c, k, groups = int(rng.integers(3, 70)), int(rng.integers(3, 70)), 1
        options: dict[str, Any] = {}
        if kind == "winograd":
            kernel = [3] * rank
        if kind == "depthwise":
            groups = k = c
            kernel = [int(rng.choice([3, 5, 7]))] * rank
        if kind == "grouped":
            groups = int(rng.choice([2, 4]))
            c, k = groups * int(rng.integers(2, 20)), groups * int(rng.integers(2, 20))
        if kind == "pointwise":
            kernel = [1] * rank
            c, k = int(rng.integers(16, 200)), int(rng.integers(16, 200))
        if kind == "filter":
            c = k = 1
            size = [4 * n for n in size]
        if kind == "small":
            size = [int(n) for n in rng.integers(2, 8, rank)]
            c, k = int(rng.integers(1, 6)), int(rng.integers(1, 6))
            kernel = [min(a, b) for a, b in zip(kernel, size, strict=True)]
        if kind in ("strided", "transposed") or (kind == "depthwise" and rng.random() < 0.3):
            options["stride"] = int(rng.integers(2, 4))
        elif rng.random() < 0.25:
            options["dilation"] = 2
        if kind != "transposed" and rng.random() < 0.7:
            options["padding"] = "same"
        spread = options.get("dilation", 1)
        size = [max(n, spread * (t - 1) + 1) for n, t in zip(size, kernel, strict=True)]
        if kind != "transposed" and rng.random() < 0.15 and "padding" in options and min(size) > spread * max(kernel):
            options["padding_mode"] = str(rng.choice(["reflect", "replicate", "circular"]))
        if rng.random() < 0.3:
            options["activation"] = str(rng.choice(["relu", "relu6"]))
        elif rng.random() < 0.2:
            options["activation"] = str(rng.choice(["silu", "hardswish", "leaky_relu"]))
        if groups > 1:
            options["groups"] = groups
        batch = int(rng.choice([1, 1, 2]))
        w = (c, k // groups) if kind == "transposed" else (k, c // groups)
        yield {
            "operation": f"conv{'_transpose' * (kind == 'transposed')}{rank}d",
            "x": [batch, c, *size],
            "w": [*w, *kernel],
            "bias": bool(rng.random() < 0.5),
            "options": options,
        }


def reductions(rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Pools of every kind, small and large windows, indices, adaptive and global ones, unfold, fold and activations."""
    for number in range(70):
        kind = POOLS[number % 4]
        rank = int(rng.choice([1, 2, 2, 3]))
        size = [int(n) for n in rng.integers(*{1: (30, 900), 2: (7, 60), 3: (4, 14)}[rank], rank)]
        kernel = int(rng.choice([2, 2, 3, 3, 5, 7])) if number % 5 else int(rng.integers(9, 14))
        kernel = min(kernel, *size)
        options: dict[str, Any] = {"kernel_size": kernel}
        if kind == "lp":
            options["norm_type"] = float(rng.choice([1, 2, 3]))
        if rng.random() < 0.6:
            options["stride"] = int(rng.integers(1, 3))
        if rng.random() < 0.5:
            options["padding"] = kernel // 2
        if rng.random() < 0.3:
            options["ceil_mode"] = True
        if kind in ("max_pool", "min_pool") and rng.random() < 0.25:
            options["return_indices"] = True
        if kind == "lp_pool":
            options["norm_type"] = float(rng.choice([1, 2, 3]))
        yield {
            "operation": f"{kind}{rank}d",
            "x": [int(rng.choice([1, 2])), int(rng.integers(1, 70)), *size],
            "options": options,
        }
    for operation in ("adaptive_avg_pool2d", "adaptive_max_pool2d"):
        for wanted in (1, 3, [4, 7]):
            yield {"operation": operation, "x": [2, 19, 15, 22], "options": {"output_size": wanted}}
    for operation in ("global_avg_pool", "global_max_pool"):
        yield {"operation": operation, "x": [2, 70, 7, 7], "options": {}}
    for operation in ("relu", "relu6", "silu", "hardswish", "leaky_relu"):
        yield {"operation": operation, "x": [3, 17, 41, 13], "options": {}}
    for stride in (1, 2):
        yield {"operation": "unfold", "x": [2, 5, 22, 31], "options": {"kernel_size": [3, 4], "stride": stride, "padding": 1}}
        folded = {"output_size": [20, 29], "kernel_size": [2, 3], "stride": stride}
        rows, columns = (20 - 2) // stride + 1, (29 - 3) // stride + 1
        yield {"operation": "fold", "x": [2, 24, rows * columns], "options": folded}


def problems() -> list[dict[str, Any]]:
    """All of them, the same every time."""
    rng = np.random.default_rng(20261126)
    return [*convolutions(rng), *reductions(rng)]


# Running one ------------------------------------------------------------------------------------------------------------


def planned(operation: str, x: Any, operands: tuple[Any, ...], options: dict[str, Any], **more: Any) -> Any:
    """The plan of a call, in versions with `plan_` functions and in those with operations that are objects."""
    function = getattr(fc, f"plan_{operation}", None)
    if function is None:
        return getattr(fc, operation).plan(x.shape, *operands, **options, **more, x_dtype=x.dtype)
    return function(x.shape, *operands, **options, **more, dtype=x.dtype)


def draw(rng: np.random.Generator, shape: Any, dtype: str) -> Any:
    if np.dtype(dtype).kind in "iu":
        return rng.integers(0, 100, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


def last(array: Any) -> Any:
    """Channels last, in C order."""
    return np.ascontiguousarray(np.moveaxis(array, 1, -1))


def call_of(problem: dict[str, Any], dtype: str, channels_last: bool) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """(x, operands, options) of a problem."""
    rng = np.random.default_rng(hashlib.sha256(json.dumps(problem, sort_keys=True).encode()).digest()[0])
    options = dict(problem["options"])
    if "output_size" in options and isinstance(options["output_size"], list):
        options["output_size"] = tuple(options["output_size"])
    if isinstance(options.get("kernel_size"), list):
        options["kernel_size"] = tuple(options["kernel_size"])
    operation, x = problem["operation"], draw(rng, problem["x"], dtype)
    operands = []
    if "w" in problem:
        w = draw(rng, problem["w"], dtype)
        operands = [last(w) if channels_last else w]
        if problem["bias"]:
            groups = options.get("groups", 1)
            count = problem["w"][1] * groups if "transpose" in operation else problem["w"][0]
            operands.append(draw(rng, (count,), dtype))
    if channels_last:
        x = last(x)
        options["layout"] = LAYOUTS[x.ndim - 2][1]
    return x, tuple(operands), options


def has_layouts(operation: str) -> bool:
    return "conv" in operation or "pool" in operation


def hashes(match: str, share: tuple[int, int]) -> Iterator[tuple[str, str]]:
    """(name, hash of the result) of every problem, dtype, layout, implementation and number of threads that is served."""
    before = fc.get_num_threads()
    for number, problem in enumerate(problems()):
        operation = problem["operation"]
        if number % share[1] != share[0]:
            continue
        for dtype in (dtype for dtype, every in EVERY.items() if number % every == 0):
            for channels_last in (False, True) if has_layouts(operation) else (False,):
                x, operands, options = call_of(problem, dtype, channels_last)
                for one in [*fc.implementations(operation), "auto"]:
                    name = f"{number}-{operation}-{dtype}-{'last' if channels_last else 'first'}-{one}"
                    if match not in name:
                        continue
                    try:
                        plan = planned(operation, x, operands, options, implementation=one)
                    except (ValueError, TypeError):
                        continue
                    if one == "reference" and plan.geometry.flops > SLOW:
                        continue
                    for threads in THREADS:
                        fc.set_num_threads(threads)
                        result = plan(x)
                        digest = hashlib.sha256()
                        for part in result if isinstance(result, tuple) else (result,):
                            digest.update(np.ascontiguousarray(part).tobytes())
                        yield f"{name}-{threads}", digest.hexdigest()[:16]
    fc.set_num_threads(before)


def recorded(match: str = "", share: tuple[int, int] = (0, 1)) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, digest in hashes(match, share):
        found[name] = digest
        if len(found) % 500 == 0:
            print(f"{len(found)} results, at {name}", file=sys.stderr, flush=True)
    return found


def compare(first: Path, second: Path | None, match: str) -> int:
    """Print what differs; the number of differences."""
    old = {name: digest for name, digest in json.loads(first.read_text()).items() if match in name}
    new = recorded(match) if second is None else json.loads(second.read_text())
    differing = [name for name in old if name in new and old[name] != new[name]]
    missing, added = [name for name in old if name not in new], [name for name in new if name not in old and match in name]
    print(f"{len(old)} results: {len(differing)} differ, {len(missing)} are missing, {len(added)} are new")
    for label, names in (("differs", differing), ("missing", missing), ("new", added)):
        for name in names[:40]:
            print(f"  {label}  {name}")
    return len(differing) + len(missing)


# Times ------------------------------------------------------------------------------------------------------------------


def serve() -> None:
    """Read problems as lines, answer each with seconds a call: the worker of `times`."""
    fc.set_num_threads(1)
    kept: dict[str, Any] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        key = json.dumps(asked["problem"]) + str(asked["last"])
        if key not in kept:
            kept.clear()
            x, operands, options = call_of(asked["problem"], "float32", asked["last"])
            plan = planned(asked["problem"]["operation"], x, operands, options)
            out = plan(x)
            kept[key] = plan, x, out
        plan, x, out = kept[key]
        calls, begin, took, best = 0, time.perf_counter(), 0.0, 1e9
        while took < asked["seconds"] or calls < 3:
            started = time.perf_counter()
            plan(x, out)
            ended = time.perf_counter()
            best = min(best, ended - started)
            calls, took = calls + 1, ended - begin
        print(json.dumps({"median": took / calls, "best": best, "implementation": plan.implementation.name}), flush=True)


def named_layers(match: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The named layers as problems."""
    try:
        from fastconv.measuring.measure import layers
    except ImportError:
        from fastconv.measuring import layers  # type: ignore[no-redef]
    for name in layers.names():
        layer = layers.layer(name)
        problem = {"operation": layer.operation, "x": list(layer.x_shape), "bias": False, "options": layer.kwargs}
        if layer.w_shape is not None:
            problem["w"] = list(layer.w_shape)
        if match in name:
            yield name, json.loads(json.dumps(problem))


def worker(folder: str, core: int) -> Any:
    """A process that serves with the fastconv that lies in `folder`."""
    command = [sys.executable, str(Path(__file__).resolve()), "serve"]
    environment = {**os.environ, "PYTHONPATH": folder}
    if hasattr(os, "sched_setaffinity"):
        command = ["taskset", "-c", str(core), *command]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd="/")


def ask(process: Any, question: dict[str, Any]) -> dict[str, Any]:
    process.stdin.write(json.dumps(question) + "\n")
    process.stdin.flush()
    return dict(json.loads(process.stdout.readline()))


def times(old: str, match: str, rounds: int, seconds: float) -> None:
    """A line a layer: the medians of both versions in us, and new / old."""
    here = str(Path(__file__).resolve().parents[1])
    sides = {"old": worker(str(Path(old).resolve()), 0), "new": worker(here, 0)}
    ratios = []
    for name, problem in named_layers(match):
        for channels_last in (False, True):
            measured: dict[str, list[dict[str, Any]]] = {"old": [], "new": []}
            for number in range(rounds + 1):
                for side in sides if number % 2 else reversed(sides):
                    found = ask(sides[side], {"problem": problem, "last": channels_last, "seconds": seconds})
                    if number:
                        measured[side].append(found)
            middle = {side: statistics.median(one["best"] for one in found) for side, found in measured.items()}
            ratio = statistics.median(
                new["best"] / old["best"] for new, old in zip(measured["new"], measured["old"], strict=True)
            )
            ratios.append(ratio)
            kinds = {side: found[0]["implementation"] for side, found in measured.items()}
            layout = "last" if channels_last else "first"
            print(
                f"{name:36} {layout:5} {1e6 * middle['old']:10.1f} {1e6 * middle['new']:10.1f} {ratio:6.3f}  {kinds['new']}"
                f"{'' if kinds['new'] == kinds['old'] else ' (was ' + kinds['old'] + ')'}",
                flush=True,
            )
    print(
        f"{len(ratios)} layers: geometric mean {statistics.geometric_mean(ratios):.4f}, worst {max(ratios):.3f}, "
        f"{sum(ratio > 1.02 for ratio in ratios)} over 1.02"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("record", help="hashes of this version's results")
    one.add_argument("file", type=Path)
    one.add_argument(
        "--share", type=int, nargs=2, default=(0, 1), metavar=("PART", "PARTS"), help="of the problems, one in PARTS"
    )
    one = commands.add_parser("compare", help="what differs from a record")
    one.add_argument("file", type=Path)
    one.add_argument("other", type=Path, nargs="?")
    one.add_argument("--match", default="")
    one = commands.add_parser("times", help="this version against another checkout")
    one.add_argument("old")
    one.add_argument("--match", default="")
    one.add_argument("--rounds", type=int, default=7)
    one.add_argument("--seconds", type=float, default=0.03)
    commands.add_parser("serve", help="(the worker of `times`)")
    asked = parser.parse_args()
    if asked.command == "record":
        asked.file.write_text(json.dumps(recorded(share=tuple(asked.share))))
        return 0
    if asked.command == "compare":
        return min(1, compare(asked.file, asked.other, asked.match))
    if asked.command == "times":
        times(asked.old, asked.match, asked.rounds, asked.seconds)
    else:
        serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
