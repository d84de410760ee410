"""fastconv.ndimage beside scipy.ndimage and OpenCV: milliseconds, and times as fast.

    taskset -c 0 python -m benchmarks.ndimage --side 2048

on one thread, all in turn, medians. Results are compared with SciPy's before anything is timed.
"""

import argparse
from math import exp, log
from statistics import fmean

import numpy as np

import fastconv as fc
from fastconv.measuring.filters import Call, call_of, compared

DTYPES = ("float32", "uint8", "float64")
DISK = np.hypot(*np.mgrid[-7:8, -7:8]) <= 7.5
CASES = (
    ("gaussian_filter", {"sigma": 1}),
    ("gaussian_filter", {"sigma": 5}),
    ("gaussian_gradient_magnitude", {"sigma": 2}),
    ("gaussian_laplace", {"sigma": 2}),
    ("uniform_filter", {"size": 5}),
    ("uniform_filter", {"size": 31}),
    ("sobel", {}),
    ("laplace", {}),
    ("correlate", {"kernel": 3}),
    ("correlate", {"kernel": 5}),
    ("correlate", {"kernel": 15}),
    ("correlate1d", {"kernel": 9}),
    ("maximum_filter", {"size": 3}),
    ("minimum_filter", {"size": 15}),
    ("grey_dilation", {"footprint": DISK}),
    ("morphological_gradient", {"size": 3}),
    ("white_tophat", {"size": 9}),
    ("median_filter", {"size": 3}),
    ("median_filter", {"size": 5}),
    ("median_filter", {"size": 11}),
    ("percentile_filter", {"percentile": 20, "size": 7}),
)


def made(function: str, options: dict, shape: tuple[int, ...], dtype: str) -> Call:
    """The call of a case."""
    if "footprint" in options:
        plain = call_of(f"ndimage.{function}", shape, dtype)
        return Call("ndimage", function, plain.x, (), options)
    return call_of(f"ndimage.{function}", shape, dtype, **options)


def mean(ratios: list[float]) -> float:
    """The geometric mean."""
    return exp(fmean(map(log, ratios)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=2048, help="rows and columns of the image (%(default)s)")
    parser.add_argument("--match", default="", help="only functions with this in their name")
    parser.add_argument("--dtype", choices=DTYPES, help="only this one")
    parser.add_argument("--seconds", type=float, default=0.3, help="that each side is timed (%(default)s)")
    given = parser.parse_args()
    fc.set_num_threads(1)
    print(f"{'function':46}{'dtype':>8}{'ms':>9}{'SciPy':>10}{'OpenCV':>9}{'SciPy/':>9}{'OpenCV/':>9}")
    for dtype in DTYPES if given.dtype is None else (given.dtype,):
        against: dict[str, list[float]] = {"scipy": [], "cv2": []}
        for function, options in CASES:
            if given.match not in function:
                continue
            call = made(function, options, (given.side, given.side), dtype)
            times = {row.library: row.seconds for row in compared(call, seconds=given.seconds)}
            named = ", ".join(f"{name}={'disk' if name == 'footprint' else value}" for name, value in options.items())
            line = f"{function + '(' + named + ')':46}{dtype:>8}{1e3 * times['fastconv']:9.2f}"
            for library, width in (("scipy", 10), ("cv2", 9)):
                line += f"{'' if times.get(library) is None else format(1e3 * times[library], '.2f'):>{width}}"
            for library, ratios in against.items():
                if times.get(library) is not None:
                    ratios.append(times[library] / times["fastconv"])
                line += f"{'' if times.get(library) is None else format(ratios[-1], '.2f') + 'x':>9}"
            print(line, flush=True)
        for library, ratios in against.items():
            if ratios:
                print(f"{dtype} against {library}: {mean(ratios):.2f} in the geometric mean, {min(ratios):.2f} at least")


class Ndimage:
    """Calls of fastconv.ndimage."""

    params = ([f"{function} {number}" for number, (function, _) in enumerate(CASES)], ["float32", "uint8"])
    param_names = ("call", "dtype")

    def setup(self, call: str, dtype: str) -> None:
        function, options = CASES[int(call.split()[1])]
        self.call = made(function, options, (512, 512), dtype).of("fastconv")
        fc.set_num_threads(1)
        self.call()

    def time_call(self, call: str, dtype: str) -> None:
        self.call()


if __name__ == "__main__":
    main()
