"""The outputs of the reference at all positions of a case, or at as many as fit a time limit, and how far others may differ."""

import itertools
import time
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from fastconv.kernels import reference
from fastconv.problem.arguments import compute_dtype
from fastconv.problem.convolutions import IDENTITY, Array, ConvGeometry, Size
from fastconv.problem.pools import PoolGeometry

Geometry = ConvGeometry | PoolGeometry

# error <= factor * eps * L * (|x| conv |w|), with L the products of one output. A sum in any order has a factor of 1; the
# transforms of Winograd and FFT mix outputs, so that one borrows rounding from its neighbours; nobody knows what peers do.
DIRECT = 1.0
FACTORS = {
    "winograd": 16.0,
    "strassen": 16.0,
    "fft": 64.0,
    "separable": 16.0,
    "scipy": 64.0,
    **dict.fromkeys(("torch", "torch_channels_last"), 4.0),
}
FACTORS |= dict.fromkeys(("onnxruntime", "openvino", "cv2"), 4.0)
ACTIVATION_ROUNDINGS = 6  # the most that an activation adds
COMPLEX_ROUNDINGS = 4  # of a complex product, for one of a real


def factor(name: str) -> float:
    """The factor of the error bound for an implementation or a peer."""
    return FACTORS.get(name, DIRECT)


@dataclass(frozen=True)
class Sample:
    """Outputs of the reference loops.

    Attributes
    ----------
    index : tuple of arrays
        Where the outputs lie in an array (n, c, ...).
    expected : array
        The outputs, in the wide dtype of the reference.
    bound : array
        What `FACTORS` multiply: eps * L * (|x| conv |w|), and one rounding to the result's dtype.
    total : int
        Outputs of the whole case.
    seconds : float
        Time of the loops for the whole case: measured, or extrapolated from the sampled outputs.
    """

    index: tuple[Array, ...]
    expected: Array
    bound: Array
    total: int
    seconds: float

    @property
    def count(self) -> int:
        return len(self.expected)

    @property
    def complete(self) -> bool:
        return self.count == self.total

    @property
    def coverage(self) -> str:
        """ "all outputs", or "k of n outputs"."""
        return "all outputs" if self.complete else f"{self.count:,} of {self.total:,} outputs"

    def check(self, y: Array, name: str) -> tuple[float, str | None]:
        """(largest error, None or what is wrong) of `y`, an array (n, c, ...) that implementation `name` gave."""
        with np.errstate(invalid="ignore", over="ignore"):
            found = y[self.index].astype(self.expected.dtype)
            same = (found == self.expected) | ((found != found) & (self.expected != self.expected))
            errors = np.where(same, 0.0, np.abs(found - self.expected)).astype(np.float64)
            allowed = factor(name) * self.bound
            wrong = ~(errors <= allowed)
        if not errors.size:
            return 0.0, None
        worst = int(np.argmax(np.where(np.isnan(errors), np.inf, errors)))
        if not wrong.any():
            return float(errors[worst]), None
        first = int(np.argmax(wrong))
        where = tuple(int(axis[first]) for axis in self.index)
        return float(errors[worst]), (
            f"wrong at {int(wrong.sum()):,} of {self.coverage}; {where} (n, c, ...) is {found[first]:.9g}, "
            f"should be {self.expected[first]:.9g} within {allowed[first]:.2g}"
        )


def sample(geometry: Geometry, x: Array, w: Array | None, bias: Array | None, dtype: np.dtype[Any], limit: float) -> Sample:
    """Runs the reference loops for about `limit` seconds, on every output if that is enough.

    Otherwise on a seeded random choice, and on the corners besides: borders are where an implementation goes wrong.
    `dtype` is the result's.
    """
    cells = _Cells.of(geometry, x, w, bias, dtype)
    size = (geometry.batch, cells.channels, *geometry.out_size)
    total = prod(size)
    middle = tuple(axis // 2 for axis in size)
    each = max(_seconds(cells, [middle]), 1e-7) if total else 1e-7
    affordable = max(8, int(limit / 2 / each))  # the other half is for the bounds
    if total <= affordable:
        chosen, corners = list(reference.positions(size)), []
    else:
        random = np.random.default_rng(0).choice(total, affordable, replace=False)
        chosen = [tuple(int(axis) for axis in np.unravel_index(at, size)) for at in random]
        corners = sorted(set(_corners(size)).difference(chosen))
    begin = time.perf_counter()
    expected = cells.values(chosen)
    seconds = (time.perf_counter() - begin) * total / max(1, len(chosen))
    expected += cells.values(corners)
    chosen += corners
    index = tuple(np.array([at[axis] for at in chosen], np.intp) for axis in range(len(size)))
    return Sample(index, np.array(expected, cells.x.dtype), cells.bounds(chosen, expected), total, seconds)


def _seconds(cells: "_Cells", positions: list[Size]) -> float:
    begin = time.perf_counter()
    cells.values(positions)
    return time.perf_counter() - begin


def _corners(size: Size) -> list[Size]:
    """The extreme positions of an array, at most 64 of them."""
    return list(itertools.islice(itertools.product(*({0, cells - 1} for cells in size)), 64))


@dataclass(frozen=True)
class _Cells:
    """The reference's function of one output, for convolutions and pools alike; arrays are widened, (n, c, ...)."""

    geometry: Geometry
    dtype: np.dtype[Any]
    x: Array
    w: Array
    bias: Array

    @classmethod
    def of(cls, geometry: Geometry, x: Array, w: Array | None, bias: Array | None, dtype: np.dtype[Any]) -> "_Cells":
        def wide(array: Array) -> Array:
            return reference.widened(np.asarray(array, compute_dtype(dtype)))

        image, nothing = geometry.channels_first(wide(x)), np.empty(0)
        if not isinstance(geometry, ConvGeometry):
            return cls(geometry, dtype, image, nothing, nothing)
        assert w is not None
        given = np.zeros(geometry.out_channels) if bias is None else bias
        return cls(geometry, dtype, image, geometry.channels_first(wide(w)), wide(given))

    @property
    def channels(self) -> int:
        return self.geometry.out_channels if isinstance(self.geometry, ConvGeometry) else self.geometry.channels

    def value(self, at: Size) -> Any:
        """One output in the wide dtype, after the activation; integers wrapped."""
        geometry, (n, c, *rest) = self.geometry, at
        position = tuple(rest)
        if not isinstance(geometry, ConvGeometry):
            return reference.pool_cell(self.x, geometry, n, c, position)
        value = reference.conv_cell(self.x, self.w, self.bias, geometry, n, c, position)
        if self.dtype.kind in "iu":
            value = int(reference.narrowed(value, self.dtype))
        return reference.activate_cell(value, geometry)

    def values(self, positions: list[Size]) -> list[Any]:
        with np.errstate(all="ignore"):
            return [self.value(at) for at in positions]

    def bounds(self, positions: list[Size], expected: list[Any]) -> Array:
        """Eps * L * (|x| conv |w|) at each position, and one rounding; zero where results must be equal."""
        geometry = self.geometry
        if self.dtype.kind in "iu" or getattr(geometry, "kind", "") in ("max", "min"):
            return np.zeros(len(positions))
        length = geometry.taps + ACTIVATION_ROUNDINGS
        if isinstance(geometry, ConvGeometry):
            geometry, length = replace(geometry, activation=IDENTITY), geometry.reduction + 1 + ACTIVATION_ROUNDINGS
        if self.dtype.kind == "c":
            length *= COMPLEX_ROUNDINGS
        absolute = replace(self, geometry=geometry, x=np.abs(self.x), w=np.abs(self.w), bias=np.abs(self.bias))
        magnitudes = np.abs(np.array(absolute.values(positions), np.float64))
        with np.errstate(all="ignore"):
            rounding = np.finfo(self.dtype).eps * np.abs(np.array(expected, self.x.dtype)).astype(np.float64)
        return np.asarray(np.finfo(compute_dtype(self.dtype)).eps * length * magnitudes + rounding)
