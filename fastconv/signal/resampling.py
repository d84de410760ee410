"""Changes of the sampling rate: upfirdn by phases, and what is made of it.

upfirdn puts up - 1 zeros between the cells of x, filters with h, and keeps every down-th cell:

    y[m] = sum over i of h[phase + i * up] * x[t // up - i]        t = m * down, phase = t % up

Outputs m = q * P + r, with P = up / gcd(up, down), share a phase; with D = down / gcd they are a convolution of stride D:

    y[q * P + r] = sum over i of h[phase_r + i * up] * x[q * D + start_r - i]        start_r = r * down // up

Phases whose starts are near each other are the output channels of one convolution.
"""

from math import gcd, prod
from operator import index
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastconv.served import NotServed
from fastconv.signal.arrays import Array, numbers
from fastconv.signal.design import lowpass
from fastconv.signal.extension import MODES, extended
from fastconv.signal.plans import Call, local
from fastconv.signal.sums import as_whole

ROWS = 3  # phases that are woven one after the other
FAR = 8  # phases from which on they lie last in memory as they are computed


class Rates(NamedTuple):
    """A change of rate, and the taps of its filter."""

    up: int
    down: int
    taps: int

    def outputs(self, cells: int) -> int:
        """Outputs of so many cells."""
        return ((cells - 1) * self.up + self.taps - 1) // self.down + 1


def upfirdn(
    h: npt.ArrayLike, x: npt.ArrayLike, up: int = 1, down: int = 1, axis: int = -1, mode: str = "constant", cval: float = 0
) -> Array:
    """Put zeros between the cells of a signal, filter it, and keep every so many-th cell.

    Parameters
    ----------
    h : array
        The taps of the filter, on one axis.
    x : array
        The signal.
    up, down : int
        Cells that a cell becomes, and cells of which one is kept.
    axis : int
        The axis of `x` to filter along.
    mode : {"constant", "wrap", "edge", "smooth", "symmetric", "reflect", "antisymmetric", "antireflect", "line"}
        What lies beyond the ends of the signal.
    cval : float
        Of the mode "constant".

    Returns
    -------
    array
        Of ``numpy.result_type(h, x, numpy.float32)``, with ceil(((L - 1) * up + len(h)) / down) cells along the axis.

    Raises
    ------
    ValueError, TypeError, IndexError
        As SciPy's; TypeError for masked arrays, objects and extended precision.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.signal.upfirdn([0.5, 1.0, 0.5], [1, 2, 3], up=2)
    array([0.5, 1. , 1.5, 2. , 2.5, 3. , 1.5])
    """
    x, h = as_whole(numbers("x", x)), as_whole(numbers("h", h))
    if h.ndim != 1 or not h.size:
        raise ValueError("h must be 1-D with non-zero length")
    dtype = np.result_type(h, x, np.float32)
    if dtype.char not in "fdFD":
        raise NotServed(f"h and x together have dtype {dtype}: float32, float64, complex64 and complex128 are served")
    rates = Rates(int(up), int(down), h.size)
    if rates.up < 1 or rates.down < 1:
        raise ValueError("Both up and down must be >= 1")
    if not -x.ndim <= axis < x.ndim:
        raise IndexError(f"axis must be one of the {x.ndim} of x, got {axis}")
    axis %= x.ndim
    mode = mode.lower()
    if mode not in MODES:
        raise ValueError(f"Unknown mode: {mode}")
    value = complex(cval) if dtype.kind == "c" else float(cval)
    outputs = rates.outputs(x.shape[axis])
    if outputs < 0:
        raise ValueError(f"negative dimensions are not allowed: x has {x.shape[axis]} cells along axis {axis}")
    if 0 in x.shape[:axis] + x.shape[axis + 1 :]:
        return np.zeros((*x.shape[:axis], outputs, *x.shape[axis + 1 :]), dtype)
    return resampled(h, x, rates, axis, mode, value, dtype)


def resampled(h: Array, x: Array, rates: Rates, axis: int, mode: str, value: Any, dtype: np.dtype[Any]) -> Array:
    """All outputs: the signal with its ends where they are not zeros, its parts where it is complex."""
    outputs = rates.outputs(x.shape[axis])
    reach = -(-h.size // rates.up) - 1
    before = reach
    after = max(0, (outputs - 1) * rates.down // rates.up + 1 - x.shape[axis])
    if mode != "constant" or value != 0:
        x, before, after = extended(x.astype(dtype, copy=False), before, after, axis, mode, value), 0, 0
    outer, inner = prod(x.shape[:axis]), prod(x.shape[axis + 1 :])
    lines = x.reshape(outer, x.shape[axis], inner)
    shape = (*x.shape[:axis], outputs, *x.shape[axis + 1 :])
    real = np.dtype(dtype.char.lower())
    if dtype.kind != "c":
        return phases(h, lines, rates, (before, after), outputs, real).reshape(shape)
    parts = np.concatenate((lines.real, lines.imag)) if x.dtype.kind == "c" else lines
    y = np.zeros((outer, outputs, inner), dtype)
    sums = phases(h.real, parts, rates, (before, after), outputs, real)
    y.real = sums[:outer]
    if len(parts) > outer:
        y.imag = sums[outer:]
    if h.dtype.kind == "c":
        sums = phases(h.imag, parts, rates, (before, after), outputs, real)
        y.imag += sums[:outer]
        if len(parts) > outer:
            y.real -= sums[outer:]
    return y.reshape(shape)


class Group(NamedTuple):
    """Phases first .. last whose taps are the output channels of one convolution; cell is where its first window begins."""

    first: int
    last: int
    cell: int
    weights: Array


def groups(h: Array, rates: Rates) -> list[Group]:
    """The phases in groups, each with taps [phase][tap] over windows that hold no more than two filters' cells."""
    common = gcd(rates.up, rates.down)
    count, each = rates.up // common, -(-h.size // rates.up)
    filled = np.zeros(each * rates.up, h.dtype)
    filled[: h.size] = h
    by_phase = filled.reshape(each, rates.up)[::-1].T  # [phase][tap], the tap of the first cell first
    starts = np.arange(count) * rates.down // rates.up
    found, first = [], 0
    while first < count:
        last = int(np.searchsorted(starts, starts[first] + each, "right"))
        spread = int(starts[last - 1] - starts[first])
        weights = np.zeros((last - first, each + spread), h.dtype)
        for row in range(first, last):
            shift = int(starts[row] - starts[first])
            weights[row - first, shift : shift + each] = by_phase[row * rates.down % rates.up]
        found.append(Group(first, last, int(starts[first]) - each + 1, weights))
        first = last
    return found


def phases(h: Array, x: Array, rates: Rates, ends: tuple[int, int], outputs: int, dtype: np.dtype[Any]) -> Array:
    """All outputs along the middle axis of x [outer][cells][inner], which has zeros, or cells of its own, at its ends."""
    outer, cells, inner = x.shape
    common = gcd(rates.up, rates.down)
    count, step, reach = rates.up // common, rates.down // common, -(-h.size // rates.up) - 1
    lead = reach - ends[0]  # cells of x that lie before the signal's first
    turns, parts = -(-outputs // count), groups(h, rates)
    y = np.empty((outer, turns, count, inner), dtype) if len(parts) > 1 or count < FAR else None
    for group in parts:
        needed = -(-(outputs - group.first) // count)
        begin = group.cell + lead
        end = begin + (needed - 1) * step + group.weights.shape[1]
        source = x[:, max(0, begin) : max(0, min(cells, end))]
        if needed <= 0 or not source.shape[1]:
            found = np.zeros((outer, needed, len(group.weights), inner), dtype)
        else:
            found = strided(source, group.weights, (max(0, -begin), max(0, end - cells)), step, dtype)
        if y is None:
            y = found
        elif len(group.weights) <= ROWS:
            for row in range(len(group.weights)):
                y[:, :needed, group.first + row] = found[:, :needed, row]
        else:
            y[:, :needed, group.first : group.last] = found[:, :needed]
    assert y is not None
    return y.reshape(outer, -1, inner)[:, :outputs]


def strided(x: Array, weights: Array, pads: tuple[int, int], step: int, dtype: np.dtype[Any]) -> Array:
    """[outer][turn][phase][inner] of x [outer][cells][inner] and weights [phase][tap]: of many phases, these last in memory."""
    outer, cells, inner = x.shape
    channels, taps = weights.shape
    types = (x.dtype, weights.dtype, dtype)
    if inner == 1 and channels >= FAR:
        call = Call((outer, cells, 1), (channels, taps, 1), *types, (pads,), (step,), layout="NLC")
        return local(call)(x.reshape(call.x_shape), weights.reshape(call.w_shape))[..., None]
    if inner == 1:
        call = Call((outer, 1, cells), (channels, 1, taps), *types, (pads,), (step,))
    else:
        call = Call((outer, 1, cells, inner), (channels, 1, taps, 1), *types, (pads, (0, 0)), (step, 1))
    found = local(call)(x.reshape(call.x_shape), weights.reshape(call.w_shape))
    return np.moveaxis(found.reshape(outer, channels, -1, inner), 1, 2)


# Filters of its own -----------------------------------------------------------------------------------------------------


def resample_poly(
    x: npt.ArrayLike,
    up: int,
    down: int,
    axis: int = 0,
    window: Any = ("kaiser", 5.0),
    padtype: str = "constant",
    cval: float | None = None,
) -> Array:
    """Change the sampling rate by up / down, through a low-pass filter without a shift of phase.

    Parameters
    ----------
    x : array
        The signal.
    up, down : int
        The new rate over the old one.
    axis : int
        The axis of `x` to resample.
    window : str, tuple or array
        Of the low-pass filter that is designed, such as ("kaiser", 5.0) or "hamming"; or, as an array or a list, the taps of
        the filter.
    padtype : str
        What lies beyond the ends: a mode of `upfirdn`, or "mean", "median", "minimum" or "maximum", which is taken off before
        and added afterwards.
    cval : float, optional
        Of the padtype "constant".

    Returns
    -------
    array
        With ceil(L * up / down) cells along the axis.

    Raises
    ------
    ValueError, TypeError, IndexError
        As SciPy's; TypeError for masked arrays, objects, extended precision, and windows that fastconv has no formula for.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.signal.resample_poly(np.ones(100), 3, 2)[70:73].round(2)
    array([1., 1., 1.])
    """
    x = numbers("x", x)
    if up != int(up):
        raise ValueError("up must be an integer")
    if down != int(down):
        raise ValueError("down must be an integer")
    up, down = int(up), int(down)
    if up < 1 or down < 1:
        raise ValueError("up and down must be >= 1")
    if cval is not None and padtype != "constant":
        raise ValueError("cval has no effect when padtype is ", padtype)
    common = gcd(up, down)
    up, down = up // common, down // common
    if up == down == 1:
        return x.copy()
    if not -x.ndim <= axis < x.ndim:
        raise IndexError(f"axis must be one of the {x.ndim} of x, got {axis}")
    if padtype not in BACKGROUNDS and padtype not in MODES:
        raise ValueError(f"padtype must be one of: maximum, mean, median, minimum, {', '.join(MODES)}")
    h, half = filter_of(window, up, down, x.dtype)
    cells = x.shape[axis]
    wanted = -(-cells * up // down)
    lead = down - half % down
    first = (half + lead) // down
    more = (first + wanted - 1) * down + 1 - (cells - 1) * up - lead - h.size  # for as many outputs as are wanted
    h = np.concatenate((np.zeros(lead, h.dtype), h, np.zeros(max(0, more), h.dtype)))
    kept = [slice(None)] * x.ndim
    kept[axis] = slice(first, first + wanted)
    if padtype in BACKGROUNDS:
        background = BACKGROUNDS[padtype](x, axis=axis, keepdims=True)
        return upfirdn(h, x - background, up, down, axis)[tuple(kept)] + background
    value = (0 if cval is None else cval) if padtype == "constant" else 0
    return upfirdn(h, x, up, down, axis, padtype, value)[tuple(kept)]


BACKGROUNDS: dict[str, Any] = {"mean": np.mean, "median": np.median, "minimum": np.min, "maximum": np.max}


def filter_of(window: Any, up: int, down: int, dtype: np.dtype[Any]) -> tuple[Array, int]:
    """(taps, times up, of the low-pass filter, the cells before its middle): designed with a window, or given."""
    if isinstance(window, (list, np.ndarray)):
        h = numbers("window", window)
        if h.ndim > 1:
            raise ValueError("window must be 1-D")
        return np.multiply(h, up, dtype=h.dtype), (h.size - 1) // 2
    rate = max(up, down)
    half = 10 * rate
    h = lowpass(2 * half + 1, 1.0 / rate, window)
    return h.astype(dtype if dtype.kind in "fc" else np.float64) * np.dtype(dtype if dtype.kind in "fc" else "d").type(up), half


def decimate(
    x: npt.ArrayLike, q: int, n: int | None = None, ftype: Any = "iir", axis: int = -1, zero_phase: bool = True
) -> Array:
    """Keep every q-th cell of a signal, behind a low-pass filter of finite length.

    Parameters
    ----------
    x : array
        The signal.
    q : int
        Cells of which one is kept.
    n : int, optional
        The order of the filter; 20 times `q` by default.
    ftype : str or system
        "fir", or a discrete system of SciPy's without poles. Recursive filters, SciPy's default, are not served.
    axis : int
        The axis of `x` to decimate.
    zero_phase : bool
        Whether to take back the delay of the filter.

    Returns
    -------
    array
        With ceil(L / q) cells along the axis.

    Raises
    ------
    ValueError, TypeError, IndexError
        As SciPy's; `NotServed`, a TypeError, for recursive filters.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.signal.decimate(np.ones(100), 2, ftype="fir")[20:23].round(6)
    array([1., 1., 1.])
    """
    x, q = numbers("x", x), index(q)
    n = None if n is None else index(n)
    result = x.dtype if x.dtype.kind in "fc" and x.dtype != np.float16 else np.dtype(np.float64)
    b = taps_of(ftype, n, q, result)
    if not -x.ndim <= axis < x.ndim:
        raise IndexError(f"axis must be one of the {x.ndim} of x, got {axis}")
    if zero_phase:
        return resample_poly(x, 1, q, axis, b)
    kept = [slice(None)] * x.ndim
    kept[axis] = slice(None, -(-x.shape[axis] // q))
    return upfirdn(b, x, 1, q, axis)[tuple(kept)]


def taps_of(ftype: Any, n: int | None, q: int, dtype: np.dtype[Any]) -> Array:
    """The taps of a filter that is designed, or of a discrete system without poles."""
    if isinstance(ftype, str):
        if ftype == "iir":
            raise NotServed('ftype "iir" is a recursive filter, which fastconv does not serve: pass "fir"')
        if ftype != "fir":
            raise ValueError("invalid ftype")
        return lowpass((20 * q if n is None else n) + 1, 1.0 / q, "hamming").astype(dtype)
    if not (hasattr(ftype, "to_tf") and hasattr(ftype, "dt")):
        raise ValueError("invalid ftype")
    system = ftype.to_tf()
    if np.size(system.den) != 1:
        raise NotServed("ftype has poles: fastconv does not serve recursive filters")
    return np.asarray(system.num) / np.asarray(system.den)
