"""Correlations over any number of axes as fastconv's own over one to three, exact for integers, and complex.

    y[p] = sum over t of x[p + t - before] * w[t]        correlated(x, w, pads, dtype), pads = (before, after) an axis

An axis along which w has one tap and nothing is padded is a batch; neighbours of them are one. More than three axes are left:
the sum over the taps of the first is made outside. A pad below zero cuts cells off.
"""

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.problem.convolutions import Pairs, Size
from fastconv.signal.arrays import Array, largest
from fastconv.signal.plans import MOST_AXES, Call, Planned, local, spectral

SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
EXACT = ((1 << 24, SINGLE), (1 << 53, DOUBLE))  # integers below this are whole in a dtype


class Border(NamedTuple):
    """What the cells around x hold: a padding_mode of fastconv's, and the value of "constant"."""

    mode: str = "zeros"
    value: Any = 0


ZEROS = Border()
NUMPY_MODES = {"zeros": "constant", "constant": "constant", "circular": "wrap", "symmetric": "symmetric"}


class Layout(NamedTuple):
    """The axes of a correlation as fastconv takes them: a batch, then at most so many groups of neighbours."""

    batch: int
    sizes: Size
    taps: Size
    padding: Pairs


def out_shape(x: Size, w: Size, pads: Pairs) -> Size:
    """Outputs on each axis."""
    return tuple(max(0, n + sum(pad) - k + 1) for n, k, pad in zip(x, w, pads, strict=True))


def layout(x: Size, w: Size, pads: Pairs) -> Layout:
    """Leading axes without taps or pads are the batch; elsewhere such axes that are neighbours are one."""
    still = [k == 1 and pad == (0, 0) for k, pad in zip(w, pads, strict=True)]
    lead = still.index(False) if False in still else len(still)
    sizes: list[int] = []
    taps: list[int] = []
    padding: list[tuple[int, int]] = []
    for axis in range(lead, len(x)):
        if still[axis] and axis > lead and still[axis - 1]:
            sizes[-1] *= x[axis]
        else:
            sizes.append(x[axis])
            taps.append(w[axis])
            padding.append(pads[axis])
    return Layout(prod(x[:lead]), tuple(sizes), tuple(taps), tuple(padding))


def cropped(x: Array, pads: Pairs) -> tuple[Array, Pairs]:
    """(x without the cells that pads below zero cut off, the other pads)."""
    cut = tuple(slice(max(0, -before), n - max(0, -after)) for n, (before, after) in zip(x.shape, pads, strict=True))
    return x[cut], tuple((max(0, before), max(0, after)) for before, after in pads)


def padded(x: Array, pads: Pairs, border: Border) -> Array:
    """A copy of x with its border."""
    filled = {"constant_values": border.value} if border.mode in ("zeros", "constant") else {}
    return np.pad(x, pads, NUMPY_MODES[border.mode], **filled)  # type: ignore[call-overload, no-any-return]


def call_of(x: Array, w: Array, pads: Pairs, dtype: np.dtype[Any], border: Border = ZEROS, as_rows: bool = True) -> Call | None:
    """What decides the plan of a correlation over one to three axes, or None where there are more, or none.

    `as_rows`, signals of one axis are the rows of an image, which sums take together, and not a batch.
    """
    found = layout(x.shape, w.shape, pads)
    if not 1 <= len(found.sizes) <= MOST_AXES:
        return None
    if as_rows and found.batch > 1 and len(found.sizes) == 1:
        found = Layout(1, (found.batch, *found.sizes), (1, *found.taps), ((0, 0), *found.padding))
    return Call(
        (found.batch, 1, *found.sizes),
        (1, 1, *found.taps),
        x.dtype,
        w.dtype,
        dtype,
        found.padding,
        (1,) * len(found.sizes),
        *border,
    )


def ran(planned: Planned, call: Call, x: Array, w: Array, shape: Size) -> Array:
    """The correlation by a plan, in the shape of the caller."""
    return planned(x.reshape(call.x_shape), w.reshape(call.w_shape)).reshape(shape)


def as_whole(x: Array) -> Array:
    """Truth values as numbers."""
    return x.view(np.uint8) if x.dtype.kind == "b" else x


# Direct sums ------------------------------------------------------------------------------------------------------------


def correlated(x: Array, w: Array, pads: Pairs, dtype: np.dtype[Any], border: Border = ZEROS) -> Array:
    """The sums of products, of `dtype`: whole numbers wrap, others are rounded as any order of summing does."""
    x, pads = cropped(x, pads)
    shape = out_shape(x.shape, w.shape, pads)
    if not w.size or 0 in shape:
        return np.zeros(shape, dtype)
    if x.size and dtype.kind in "iu":
        return integers(x, w, pads, dtype, border)
    if x.size and dtype.char in "FD":
        return complexes(x, w, pads, dtype, border)
    if x.size and dtype.char in "fd":
        return reals(x, w, pads, dtype, border)
    return plainly(x, w, pads, dtype, border)


def reals(x: Array, w: Array, pads: Pairs, dtype: np.dtype[Any], border: Border) -> Array:
    """Sums in float32 or float64, or in integers of 64 bits on compiled loops."""
    if border.mode == "circular" and any(max(pad) > n for n, pad in zip(x.shape, pads, strict=True)):
        x, pads = padded(x, pads, border), ((0, 0),) * x.ndim
    shape = out_shape(x.shape, w.shape, pads)
    call = call_of(x, w, pads, dtype, border)
    if call is not None:
        return ran(local(call), call, x, w, shape)
    if w.size == 1:
        return np.multiply(x, w.reshape(()), dtype=dtype)
    return over_first_axis(reals, x, w, pads, dtype, border)


def over_first_axis(
    inner: Callable[..., Array], x: Array, w: Array, pads: Pairs, dtype: np.dtype[Any], border: Border
) -> Array:
    """The sum over the taps of the first axis that has any, each a correlation over the other axes."""
    axis = next(axis for axis, (k, pad) in enumerate(zip(w.shape, pads, strict=True)) if k > 1 or pad != (0, 0))
    alone = tuple(pad if one == axis else (0, 0) for one, pad in enumerate(pads))
    x, rest = padded(x, alone, border), tuple((0, 0) if one == axis else pad for one, pad in enumerate(pads))
    taps, before = w.shape[axis], (slice(None),) * axis
    outputs = x.shape[axis] - taps + 1
    y = inner(x[(*before, slice(0, outputs))], w[(*before, slice(0, 1))], rest, dtype, border)
    for tap in range(1, taps):
        y += inner(x[(*before, slice(tap, tap + outputs))], w[(*before, slice(tap, tap + 1))], rest, dtype, border)
    return y


def integers(x: Array, w: Array, pads: Pairs, dtype: np.dtype[Any], border: Border) -> Array:
    """Sums of whole numbers: in floats where those hold every one of them, else on loops; they wrap as NumPy's do."""
    bound, carrier = carried(x, w, border)
    if carrier is None:
        wide = np.dtype(np.uint64 if dtype.kind == "u" else np.int64)
        return reals(x, w, pads, wide, border).astype(dtype, copy=False)
    y = reals(x, w, pads, carrier, border)
    if bound <= np.iinfo(dtype).max:
        return y.astype(dtype)
    return y.astype(np.int64).astype(dtype)


def carried(x: Array, w: Array, border: Border = ZEROS) -> tuple[int, np.dtype[Any] | None]:
    """(a bound of every sum's magnitude, the float dtype in which sums of whole numbers below it are exact, or None)."""
    taps = min(w.size, x.size) if border.mode == "zeros" else w.size
    limits = [max(-int(np.iinfo(one.dtype).min), int(np.iinfo(one.dtype).max)) for one in (x, w) if one.dtype.kind != "b"]
    bound = taps * prod(limits)
    if bound >= EXACT[0][0]:
        bound = taps * max(largest(x), abs(int(border.value))) * largest(w)
    return bound, next((dtype for limit, dtype in EXACT if bound < limit), None)


def complexes(x: Array, w: Array, pads: Pairs, dtype: np.dtype[Any], border: Border) -> Array:
    """Complex sums as real ones: the parts of x are a batch, those of w are correlated with it one after the other."""
    if border.mode == "constant":
        x, pads, border = padded(x.astype(dtype), pads, border), ((0, 0),) * x.ndim, ZEROS
    real, outer = np.dtype(dtype.char.lower()), ((0, 0), *pads)
    parts = np.stack((x.real, x.imag)).astype(real) if x.dtype.kind == "c" else x.astype(real)[None]
    y = np.zeros(out_shape(x.shape, w.shape, pads), dtype)
    sums = correlated(parts, w.real[None], outer, real, border)
    y.real = sums[0]
    if len(parts) == 2:
        y.imag = sums[1]
    if w.dtype.kind == "c":
        sums = correlated(parts, w.imag[None], outer, real, border)
        y.imag += sums[0]
        if len(parts) == 2:
            y.real -= sums[1]
    return y


def plainly(x: Array, w: Array, pads: Pairs, dtype: np.dtype[Any], border: Border) -> Array:
    """Sums of shifted copies by NumPy: for dtypes that fastconv has no kernels for."""
    shape = out_shape(x.shape, w.shape, pads)
    wide, y = padded(x.astype(dtype), pads, border), np.zeros(shape, dtype)
    for tap in np.ndindex(w.shape):
        y += wide[tuple(slice(start, start + count) for start, count in zip(tap, shape, strict=True))] * w[tap]
    return y


# Fourier transforms of blocks -------------------------------------------------------------------------------------------


def spectrally(x: Array, w: Array, pads: Pairs, dtype: np.dtype[Any]) -> Planned | None:
    """The plan of a correlation by Fourier transforms of blocks, or None where the kernel fits none."""
    call = call_of(x, w, pads, dtype, as_rows=False)
    return None if call is None else spectral(call)


def correlated_spectrally(planned: Planned, x: Array, w: Array, pads: Pairs, dtype: np.dtype[Any]) -> Array:
    """The correlation by that plan."""
    call = call_of(x, w, pads, dtype, as_rows=False)
    assert call is not None
    return ran(planned, call, x, w, out_shape(x.shape, w.shape, pads))
