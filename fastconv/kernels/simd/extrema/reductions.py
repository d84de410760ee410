"""What windows are reduced by: how cells are joined, and what a pass over one axis makes of the cells it joined.

    ========= =============================== ==========================================================================
    kind      joined by                       a pass over an axis of k taps gives
    ========= =============================== ==========================================================================
    largest   the larger, a NaN stays         what was joined
    smallest  the smaller, a NaN stays        what was joined
    shift     the sum, in 16 unsigned bits    (sum * factor >> 16) >> shift
    whole     the sum of integers             sum * factor, toward zero
    quotient  the sum                         sum / k
    ========= =============================== ==========================================================================

and rounds it to the type of the result, as SciPy does, which stores the result of every pass.

Integers. Let s be a sum, k the taps, q the quotient of s by k toward zero.

`shift`: factor m = ceil(2^p / k) with p = 16 + shift, so that e = m k - 2^p lies in 0 .. k - 1, and

    s m / 2^p = s / k + s e / (k 2^p)

whose floor is q if s e < 2^p, since s / k lies at least 1 / k below the next integer (Granlund and Montgomery, Division by
invariant integers using multiplication (1994)). `divided_by_shift` tells whether that holds for all sums.

`whole`: the factor f is 1 / k times 1 + d, a little too large. In floats of p bits with d = 2^(3 - p), what is rounded, f and
the product, errs by less than d / 2 in all: the product lies between s / k and s / k (1 + 2 d). It reaches q where k divides s,
and stays below q + 1 elsewhere if s / k * 2 d < 1 / k, which is |s| < 2^(p - 4): 2^20 of float32, 2^49 of float64.
"""

from typing import Any, NamedTuple

import numpy as np

from fastconv.problem.convolutions import Array

LARGEST, SMALLEST, SHIFT, WHOLE, QUOTIENT = "largest", "smallest", "shift", "whole", "quotient"
BITS = {4: 24, 8: 53}  # of the fractions of floats, by their bytes


def is_extreme(kind: str) -> bool:
    """Whether cells may be joined twice."""
    return kind in (LARGEST, SMALLEST)


# Factors ----------------------------------------------------------------------------------------------------------------------


class Division(NamedTuple):
    """(sum * factor >> 16) >> shift."""

    factor: int
    shift: int


def divided_by_shift(taps: int, most: int) -> Division | None:
    """How sums of so many taps, none above `most`, are divided in 16 bits, if they can be."""
    shift = taps.bit_length() - 1
    if taps & (taps - 1) == 0:
        shift = max(0, shift - 1)
    factor = -(-(1 << (16 + shift)) // taps)
    total, excess = most * taps, factor * taps - (1 << (16 + shift))
    return Division(factor, shift) if max(total, factor) < 1 << 16 and total * excess < 1 << (16 + shift) else None


def divided_by_factor(taps: int, most: int, real: np.dtype[Any]) -> bool:
    """Whether sums of so many integers, none beyond `most`, are divided by a factor of this type of floats."""
    return taps * most < 1 << (BITS[real.itemsize] - 4)


def factors(kind: str, taps: int, summed: np.dtype[Any]) -> Array:
    """(factor, second) of a pass: as `finisher` takes them."""
    if kind == SHIFT:
        found = divided_by_shift(taps, 255)
        return np.array(found or (0, 0), np.uint16)
    real = np.dtype(np.float32 if summed.itemsize <= 4 else np.float64)
    if kind == WHOLE:
        with np.errstate(over="ignore"):
            nudged = (np.longdouble(1) + np.longdouble(2) ** (3 - BITS[real.itemsize])) / taps
        return np.array([nudged, taps], real)
    return np.array([real.type(1) / real.type(taps), taps], real)


# In kernels -------------------------------------------------------------------------------------------------------------------


def joining(kind: str) -> str:
    """How vector.join joins cells."""
    return {LARGEST: "larger", SMALLEST: "smaller"}.get(kind, "sum")


def finishing(kind: str) -> str:
    """How vector.finish finishes them."""
    return "keep" if is_extreme(kind) else kind
