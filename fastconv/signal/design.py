"""Windows and low-pass filters: what resample_poly and decimate design for themselves."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from fastconv.served import NotServed
from fastconv.signal.arrays import Array

COSINES: dict[str, tuple[float, ...]] = {
    "hann": (0.5, 0.5),
    "hamming": (0.54, 0.46),
    "blackman": (0.42, 0.50, 0.08),
    "nuttall": (0.3635819, 0.4891775, 0.1365995, 0.0106411),
    "blackmanharris": (0.35875, 0.48829, 0.14128, 0.01168),
    "flattop": (0.21557895, 0.41663158, 0.277263158, 0.083578947, 0.006947368),
}
NAMES = {
    "hanning": "hann",
    "han": "hann",
    "hamm": "hamming",
    "ham": "hamming",
    "black": "blackman",
    "blk": "blackman",
    "nutl": "nuttall",
    "nut": "nuttall",
    "blackharr": "blackmanharris",
    "bkh": "blackmanharris",
    "flat": "flattop",
    "flt": "flattop",
    "box": "boxcar",
    "ones": "boxcar",
    "rect": "boxcar",
    "rectangular": "boxcar",
    "bart": "bartlett",
    "brt": "bartlett",
    "halfcosine": "cosine",
    "ksr": "kaiser",
    "gauss": "gaussian",
    "gss": "gaussian",
}


def cosines(count: int, weights: tuple[float, ...]) -> Array:
    """A sum of cosines over one period, of alternating signs."""
    turn = np.linspace(-np.pi, np.pi, count)
    return np.asarray(sum(weight * np.cos(order * turn) for order, weight in enumerate(weights)))


def kaiser(count: int, beta: float) -> Array:
    """Kaiser's window, nearly the one of most energy in the main lobe."""
    middle = (count - 1) / 2.0
    inside = 1 - ((np.arange(count) - middle) / middle) ** 2
    return np.i0(beta * np.sqrt(inside)) / np.i0(np.asarray(beta, np.float64))


def gaussian(count: int, deviation: float) -> Array:
    """A bell."""
    return np.exp(-((np.arange(count) - (count - 1) / 2.0) ** 2) / (2 * deviation * deviation))


SHAPES: dict[str, Callable[[int], Array]] = {
    "boxcar": np.ones,
    "bartlett": np.bartlett,
    "cosine": lambda count: np.sin(np.pi / count * (np.arange(count) + 0.5)),
}
OF_A_NUMBER: dict[str, Callable[[int, float], Array]] = {"kaiser": kaiser, "gaussian": gaussian}


def window_of(window: Any, count: int) -> Array:
    """The symmetric window of a name, of (name, number), or Kaiser's of a number."""
    if isinstance(window, (int, float)) and not isinstance(window, bool):
        window = ("kaiser", float(window))
    name, numbers = (window[0], window[1:]) if isinstance(window, tuple) and window else (window, ())
    if not isinstance(name, str):
        raise ValueError(f"First tuple entry of parameter window={window!r} is not a str!")
    name = NAMES.get(name, name)
    if count == 1 and (name in COSINES or name in SHAPES or name in OF_A_NUMBER):
        return np.ones(1)
    if name in COSINES and not numbers:
        return cosines(count, COSINES[name])
    if name in SHAPES and not numbers:
        return SHAPES[name](count)
    if name in OF_A_NUMBER and len(numbers) == 1:
        return OF_A_NUMBER[name](count, float(numbers[0]))
    known = ", ".join((*COSINES, *SHAPES, *OF_A_NUMBER))
    raise NotServed(f"window {window!r} is none of those that fastconv has: {known}; pass the filter's coefficients instead")


@lru_cache(maxsize=32)
def lowpass(count: int, cutoff: float, window: Any) -> Array:
    """The taps of a windowed sinc that passes what is below `cutoff`, of half the sampling rate, and a constant as it is.

    They are kept: callers copy them.
    """
    if not 0 < cutoff < 1:
        raise ValueError("Invalid cutoff frequency: frequencies must be greater than 0 and less than fs/2.")
    places = np.arange(count) - 0.5 * (count - 1)
    taps = cutoff * np.sinc(cutoff * places) * window_of(window, count)
    return taps / taps.sum()
