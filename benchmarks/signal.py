"""fastconv.signal beside scipy.signal: milliseconds, times as fast as SciPy, and the method that runs.

    taskset -c 0 python -m benchmarks.signal

on one thread, the two sides in turn, medians. Results are compared before anything is timed.
"""

import argparse
import statistics
from collections.abc import Callable, Iterator
from math import exp, log
from typing import Any, NamedTuple

import numpy as np

import fastconv as fc
from benchmarks.windows import medians
from fastconv import signal

SIGNAL, SIDE = 1_000_000, 1024
TAPS, KERNELS = (5, 63, 1025, 20_001), (3, 9, 31, 63)
SLOW = 31  # taps on a side, from which on convolve2d of SciPy takes over a second: it has a quarter of the image


class Case(NamedTuple):
    """A call of a function by its name, and what runs it."""

    function: str
    size: str
    dtype: str
    arguments: tuple[Any, ...]
    options: dict[str, Any]

    def call(self, module: Any) -> Callable[[], Any]:
        """The call, of a module's function."""
        return lambda: getattr(module, self.function)(*self.arguments, **self.options)

    @property
    def method(self) -> str:
        """What runs."""
        if self.function in ("convolve", "correlate", "fftconvolve", "oaconvolve"):
            return str(signal.choose_conv_method(*self.arguments, **self.options))
        return "networks" if self.function.startswith("medfilt") else "direct"


def cases(dtype: str) -> Iterator[Case]:
    """All calls, in one dtype."""
    rng = np.random.default_rng(0)
    x, image = rng.standard_normal(SIGNAL).astype(dtype), rng.standard_normal((SIDE, SIDE)).astype(dtype)
    for taps in TAPS:
        h = rng.standard_normal(taps).astype(dtype)
        for function in ("convolve", "oaconvolve"):
            yield Case(function, f"1e6 by {taps}", dtype, (x, h), {})
        yield Case("correlate", f"1e6 by {taps}", dtype, (x, h), {"mode": "same"})
    for k in KERNELS:
        w = rng.standard_normal((k, k)).astype(dtype)
        small = image[: SIDE // 2, : SIDE // 2] if k >= SLOW else image
        yield Case("convolve2d", f"{small.shape[0]}^2 by {k}^2", dtype, (small, w), {"mode": "same", "boundary": "symm"})
        for function in ("convolve", "fftconvolve"):
            yield Case(function, f"{SIDE}^2 by {k}^2", dtype, (image, w), {"mode": "same"})
    h = rng.standard_normal(101).astype(dtype)
    yield Case("upfirdn", "1e6, 101 taps, 3/2", dtype, (h, x, 3, 2), {})
    yield Case("upfirdn", "1e6, 101 taps, 1/8", dtype, (h, x, 1, 8), {})
    yield Case("upfirdn", f"{SIDE}^2, 101 taps, 3/2, axis 0", dtype, (h, image, 3, 2, 0), {})
    yield Case("resample_poly", "1e6, 3/2", dtype, (x, 3, 2), {})
    yield Case("resample_poly", "1e6, 160/147", dtype, (x, 160, 147), {})
    yield Case("decimate", "1e6, 8", dtype, (x, 8), {"ftype": "fir"})
    yield Case("lfilter", "1e6, 101 taps", dtype, (h, np.ones(1, dtype), x), {})
    for k in (3, 5, 7):
        yield Case("medfilt2d", f"{SIDE // 2}^2, {k}^2", dtype, (image[: SIDE // 2, : SIDE // 2], k), {})
    yield Case("medfilt", "1e6, 5", dtype, (x, 5), {})


def same(case: Case, scipy: Any) -> None:
    """Refuse to time what does not give SciPy's numbers."""
    found, expected = case.call(signal)(), case.call(scipy)()
    scale = float(np.abs(expected).max()) or 1.0
    np.testing.assert_allclose(found, expected, rtol=0, atol=scale * (1e-4 if case.dtype == "float32" else 1e-11))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--match", default="", help="only functions with this in their name")
    arguments = parser.parse_args()
    from scipy import signal as scipy

    fc.set_num_threads(1)
    ratios = []
    print(f"{'function':16}{'size':32}{'dtype':>8}{'ms':>9}{'SciPy':>10}{'ratio':>8}  method")
    for dtype in ("float32", "float64"):
        for case in cases(dtype):
            if arguments.match not in case.function:
                continue
            same(case, scipy)
            times = medians({"fastconv": case.call(signal), "scipy": case.call(scipy)})
            ratios.append(times["scipy"] / times["fastconv"])
            line = f"{case.function:16}{case.size:32}{dtype:>8}{1e3 * times['fastconv']:9.2f}{1e3 * times['scipy']:10.1f}"
            print(f"{line}{ratios[-1]:7.1f}x  {case.method}", flush=True)
    if ratios:
        mean = exp(statistics.fmean(map(log, ratios)))
        print(f"{len(ratios)} calls: {mean:.1f} times SciPy in the geometric mean, {min(ratios):.2f} at least")


class Signal:
    """Calls of fastconv.signal."""

    params = (["convolve_63", "convolve_1025", "convolve2d_9", "upfirdn_3_2", "medfilt2d_3"], ["float32", "float64"])
    param_names = ("call", "dtype")

    def setup(self, call: str, dtype: str) -> None:
        rng = np.random.default_rng(0)
        x, image = rng.standard_normal(100_000).astype(dtype), rng.standard_normal((256, 256)).astype(dtype)
        h = rng.standard_normal(1025).astype(dtype)
        fc.set_num_threads(1)
        self.call = {
            "convolve_63": lambda: signal.convolve(x, h[:63]),
            "convolve_1025": lambda: signal.convolve(x, h),
            "convolve2d_9": lambda: signal.convolve2d(image, h[:81].reshape(9, 9)),
            "upfirdn_3_2": lambda: signal.upfirdn(h[:101], x, 3, 2),
            "medfilt2d_3": lambda: signal.medfilt2d(image, 3),
        }[call]
        self.call()

    def time_call(self, call: str, dtype: str) -> None:
        self.call()


if __name__ == "__main__":
    main()
