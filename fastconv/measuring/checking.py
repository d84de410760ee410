"""The outputs of the reference at all positions of a case, or at as many as fit a time limit, and how far others may differ."""

import itertools
import time
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from fastconv.kernels import reference
from fastconv.kernels.gradients.reference import weight_cell
from fastconv.plans.dispatch import candidates
from fastconv.plans.errors import Error
from fastconv.problem.convolutions import IDENTITY, Array, ConvGeometry, Size
from fastconv.problem.gradients import PoolGradient, ScatterGradient, WeightGradient
from fastconv.problem.pools import PoolGeometry
from fastconv.problem.types import summed_in
from fastconv.problem.windows import ElementwiseGeometry, FoldGeometry

Geometry = ConvGeometry | PoolGeometry | WeightGradient

# What nobody told us of others: how they sum, and whether they transform first.
PEER = Error(4.0)
PEERS = {"scipy": Error(64.0)}
ROUNDINGS = {"none": 0, "clip": 0, "leaky_relu": 1, "silu": 6, "hardswish": 4, "gelu": 8}  # that an activation adds to a sum
NORM_ROUNDINGS = 6  # of a power, a root and 1 / p
COMPLEX_PRODUCT = 4  # roundings of a complex product, for one of a real
EXACT = {4: 2**24, 8: 2**53}  # by bytes of a real float: integers below are floats


def error_of(operation: str, name: str) -> Error:
    """The bound that an implementation's record states, or what a peer is allowed."""
    return next((one.error for one in candidates(operation) if one.name == name), PEERS.get(name, PEER))


def roundings(geometry: Any, dtype: np.dtype[Any], residual: bool = False) -> float:
    """The L of the bound: roundings on the way to one result."""
    product = COMPLEX_PRODUCT if dtype.kind == "c" else 1
    activation = getattr(geometry, "activation", IDENTITY).kind
    if isinstance(geometry, ConvGeometry):
        return product * (geometry.reduction + 1) + residual + ROUNDINGS[activation]
    if isinstance(geometry, WeightGradient):
        return float(geometry.reduction + 1)
    if isinstance(geometry, ScatterGradient):
        return float(prod(geometry.pooled_size))
    if isinstance(geometry, PoolGradient):
        return geometry.overlaps + (
            NORM_ROUNDINGS * max(1.0, geometry.forward.norm_type) if geometry.forward.kind == "lp" else 3
        )
    if isinstance(geometry, ElementwiseGeometry):
        return ROUNDINGS[activation]
    if isinstance(geometry, FoldGeometry):
        return float(geometry.windows.taps)
    if geometry.kind == "lp":
        return (geometry.taps + NORM_ROUNDINGS) * max(1.0, 1 / geometry.norm_type)
    return float(geometry.taps + product)


def bound_of(magnitude: Array, expected: Array, length: float, dtype: np.dtype[Any]) -> Array:
    """Eps * L * magnitude, which is conv(|x|, |w|) or its like, and one rounding where the result's dtype is narrower."""
    computed = summed_in(dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        bound = np.finfo(computed).eps * length * magnitude
        if computed != dtype:
            bound = bound + np.finfo(dtype).eps * np.abs(expected.astype(np.float64))
    return np.asarray(bound)


def allowed(bound: Array, error: Error) -> Array:
    """What an implementation may be off by: of its own window's terms, or of the largest of the result."""
    return np.asarray(error.factor * (bound.max(initial=0) if error.spread else bound))


def wrong_results(actual: Array, expected: Array, bound: Array) -> tuple[Array, Array]:
    """(where results are wrong, how far each is off): NaN and infinities must be equal, all else within the bound."""
    same = (actual == expected) | ((actual != actual) & (expected != expected))
    wide = np.clongdouble if expected.dtype.kind == "c" else np.longdouble
    with np.errstate(invalid="ignore", over="ignore"):
        errors = np.abs(np.where(same, 0, actual.astype(wide) - expected.astype(wide)))
        good = same | (np.isfinite(expected) & (errors <= bound))
    return ~good, errors


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
        What an Error's factor multiplies: eps * L * (|x| conv |w|), and one rounding to the result's dtype.
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

    def check(self, y: Array, error: Error) -> tuple[float, str | None]:
        """(largest error, None or what is wrong) of `y`, an array (n, c, ...), that may be so far off."""
        found = y[self.index]
        bound = np.broadcast_to(allowed(self.bound, error), self.expected.shape)
        wrong, errors = wrong_results(found, self.expected, bound)
        if not errors.size:
            return 0.0, None
        largest = float(np.max(np.where(np.isnan(errors), np.inf, errors)))
        if not wrong.any():
            return largest, None
        first = int(np.argmax(wrong))
        where = tuple(int(axis[first]) for axis in self.index)
        return largest, (
            f"wrong at {int(wrong.sum()):,} of {self.coverage}; {where} (n, c, ...) is {found[first]:.9g}, "
            f"should be {self.expected[first]:.9g} within {bound[first]:.2g}"
        )


def sample(geometry: Geometry, x: Array, w: Array | None, bias: Array | None, dtype: np.dtype[Any], limit: float) -> Sample:
    """Runs the reference loops for about `limit` seconds, on every output if that is enough.

    Otherwise on a seeded random choice, and on the corners besides: borders are where an implementation goes wrong.
    `dtype` is the result's.
    """
    cells = _Cells.of(geometry, x, w, bias, dtype)
    size = cells.size
    total = prod(size)
    middle = tuple(axis // 2 for axis in size)
    each = max(min(_seconds(cells, [middle]) for _ in range(3)), 1e-7) if total else 1e-7  # one may have been interrupted
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
    """The reference's function of one output, for convolutions and pools alike; arrays are widened, (n, c, ...).

    Of a gradient by weights, `w` is the gradient of the result.
    """

    geometry: Geometry
    dtype: np.dtype[Any]
    x: Array
    w: Array
    bias: Array

    @classmethod
    def of(cls, geometry: Geometry, x: Array, w: Array | None, bias: Array | None, dtype: np.dtype[Any]) -> "_Cells":
        def wide(array: Array) -> Array:
            return reference.widened(np.asarray(array, summed_in(dtype)))

        image, nothing = geometry.channels_first(wide(x)), np.empty(0)
        if isinstance(geometry, WeightGradient):
            assert w is not None
            return cls(geometry, dtype, image, geometry.channels_first(wide(w)), nothing)
        if not isinstance(geometry, ConvGeometry):
            return cls(geometry, dtype, image, nothing, nothing)
        assert w is not None
        given = np.zeros(geometry.out_channels) if bias is None else bias
        return cls(geometry, dtype, image, geometry.channels_first(wide(w)), wide(given))

    @property
    def size(self) -> Size:
        """Of the outputs, as (n, c, ...)."""
        g = self.geometry
        if isinstance(g, WeightGradient):
            return (g.forward.out_channels, g.forward.in_per_group, *g.forward.kernel)
        return (g.batch, g.out_channels if isinstance(g, ConvGeometry) else g.channels, *g.out_size)

    def value(self, at: Size) -> Any:
        """One output in the wide dtype, after the activation; integers wrapped."""
        geometry, (n, c, *rest) = self.geometry, at
        position = tuple(rest)
        if isinstance(geometry, WeightGradient):
            return weight_cell(self.x, self.w, geometry.forward, n, c, position)
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
        """The bound at each position; zero where results must be equal."""
        geometry = self.geometry
        if self.dtype.kind in "iu" or getattr(geometry, "kind", "") in ("max", "min", "rank"):
            return np.zeros(len(positions))
        length = roundings(geometry, self.dtype)
        if isinstance(geometry, ConvGeometry):
            geometry = replace(geometry, activation=IDENTITY)
        absolute = replace(self, geometry=geometry, x=np.abs(self.x), w=np.abs(self.w), bias=np.abs(self.bias))
        magnitudes = np.abs(np.array(absolute.values(positions), np.float64))
        return bound_of(magnitudes, np.array(expected, self.x.dtype), length, self.dtype)
