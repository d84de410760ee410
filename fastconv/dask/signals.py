"""signal's functions whose outputs depend on a window: each block is the function's result on a region, cut out."""

import operator
from collections.abc import Callable, Sequence
from inspect import signature
from math import gcd
from typing import Any

import dask.array as da
import numpy as np

from fastconv.dask.filters import kept
from fastconv.dask.graphs import Block, Input, in_blocks, lazy, whole
from fastconv.dask.maps import counts
from fastconv.problem.blocks import Halo, Piece, Resampled, Rule, Slid, Whole, pieces, unchanged
from fastconv.served import NotServed
from fastconv.signal import convolution, methods, resampling
from fastconv.signal import filters as finite
from fastconv.signal.arrays import numbers

Arguments = dict[str, Any]
MIRRORING = ("constant", "edge", "symmetric", "reflect", "antisymmetric", "smooth")  # modes that look at cells near an end
CIRCULAR = ("wrap", "circular")


def served(function: Any, arguments: Arguments) -> Any:
    """The lazy result of a function of signal."""
    build = BUILDERS.get(function.__name__)
    if build is None:
        raise NotServed(f"signal.{function.__name__} takes no dask array: compute it first, x.compute()")
    named = signature(function).parameters
    defaults = {name: p.default for name, p in named.items() if p.default is not p.empty}
    return build(function, defaults | arguments)


def blocks_of(
    function: Any, x: tuple[str, Any], rules: Sequence[Rule | None], wholes: Arguments, dtype: Any, options: Any
) -> Any:
    """The result; an axis without a rule keeps its blocks."""
    name, array = x
    found: list[list[Piece]] = [
        unchanged(array.chunks[axis]) if rule is None else pieces(rule, array.chunks[axis]) for axis, rule in enumerate(rules)
    ]
    inputs = [Input(name, array, found)]
    label = function.__name__
    return in_blocks(label, function, inputs, wholes, counts(found), [dtype], lambda of: Block(options, kept_always(of)))


def kept_always(of_block: tuple[Piece, ...]) -> tuple[slice, ...]:
    """What of the result on a region is the block: a function may give more outputs than cells."""
    return kept(of_block) or tuple(slice(0, piece.outputs) for piece in of_block)


# Convolutions -----------------------------------------------------------------------------------------------------------------


def convolved(function: Any, a: Arguments) -> Any:
    """convolve, correlate, convolve2d, correlate2d, fftconvolve and oaconvolve: blocks of the full convolution."""
    x, w = lazy("in1", a.pop("in1")), lazy("in2", a.pop("in2"))
    cells = [np.zeros((1,) * one.ndim, one.dtype) for one in (x, w)]
    dtype = function(*cells, **a).dtype  # meets all checks but those of sizes
    if not x.ndim or 0 in x.shape or 0 in w.shape:
        raise ValueError(f"in1 and in2 must have axes and cells with dask arrays, got shapes {x.shape} and {w.shape}")
    mode, name = a["mode"], function.__name__
    axes = convolution.axes_of(a.get("axes"), x.ndim)
    for axis in set(range(x.ndim)).difference(axes):
        if w.shape[axis] != 1:
            raise ValueError(
                f"in2 must have one cell along axis {axis}, which is not convolved, with dask arrays, got shape {w.shape}"
            )
    if methods.swapped(mode, x.shape, w.shape, axes):
        return turned(name, convolved(function, a | {"in1": w, "in2": x}))
    circular = a.get("boundary", "fill") in CIRCULAR
    rules: list[Rule | None] = [None] * x.ndim
    for axis, (start, outputs) in enumerate(methods.part(x.shape, w.shape, mode, axes)):
        if axis in axes:
            begin = w.shape[axis] // 2 if name == "correlate2d" and mode == "same" else start
            rules[axis] = Slid(outputs, w.shape[axis], begin, circular)
    return blocks_of(function, ("in1", x), rules, {"in2": w}, dtype, a | {"mode": "full"})


def turned(name: str, y: Any) -> Any:
    """What "valid" gives of two arrays of what it gives of them the other way round: correlations run backwards."""
    if name.startswith("correlate"):
        y = y[(slice(None, None, -1),) * y.ndim]
    return y.conj() if name == "correlate" and y.dtype.kind == "c" else y


# Filters along an axis --------------------------------------------------------------------------------------------------------


def along(x: Any, a: Arguments) -> int:
    """The axis, counted from the front."""
    axis = operator.index(a["axis"])
    if not -x.ndim <= axis < x.ndim:
        raise IndexError(f"axis must be one of the {x.ndim} of x, got {axis}")
    return axis % x.ndim


def in_memory(a: Arguments, names: Sequence[str]) -> None:
    """Refuse dask arrays for the few numbers that a filter is made of: they tell the size of the result."""
    for name in names:
        if a.get(name) is not None and not isinstance(a[name], (str, tuple)):
            a[name] = numbers(name, a[name])


def alone(function: Any, x: Any, axis: int, rule: Rule, dtype: Any, a: Arguments) -> Any:
    """A filter along one axis."""
    if 0 in x.shape:
        raise ValueError(f"x must have cells with dask arrays, got shape {x.shape}")
    rules: list[Rule | None] = [None] * x.ndim
    rules[axis] = rule
    return blocks_of(function, ("x", x), rules, {}, dtype, a)


def lfilter(function: Any, a: Arguments) -> Any:
    """A filter of finite length sees as many cells before an output as it has taps."""
    x, zi = lazy("x", a.pop("x")), a.pop("zi", None)
    in_memory(a, ("b", "a"))
    axis = along(x, a)
    taps = max(np.size(a["b"]), np.size(a["a"]))
    if zi is not None:
        return held(function, x, axis, taps - 1, a | {"zi": lazy("zi", zi)})
    dtype = function(a["b"], a["a"], np.zeros(1, x.dtype)).dtype
    return alone(function, x, axis, Slid(x.shape[axis], taps, 0), dtype, a)


def held(function: Any, x: Any, axis: int, count: int, a: Arguments) -> Any:
    """(y, zf): what the filter holds is added to the first outputs of x and of as many zeros as it holds cells."""
    zi = a.pop("zi")
    if zi.ndim != x.ndim:
        raise ValueError(f"Dimensions of parameters x and zi must match, but x.ndim={x.ndim!r}, zi.ndim={zi.ndim!r}!")
    shape = tuple(count if one == axis else cells for one, cells in enumerate(x.shape))
    if not finite.fits(zi.shape, shape, axis):
        raise ValueError(f"Unexpected shape for parameter zi: expected {shape}, found {zi.shape}.")
    dtype = np.result_type(a["b"], a["a"], x.dtype, zi.dtype)
    longer = da.concatenate([x, da.zeros(shape, x.dtype)], axis)
    y = lfilter(function, a | {"x": longer, "b": np.asarray(a["b"], dtype), "a": np.asarray(a["a"], dtype)})
    before = (slice(None),) * axis
    first = y[(*before, slice(0, count))] + da.broadcast_to(zi, shape)
    y = da.concatenate([first, y[(*before, slice(count, None))]], axis)
    return y[(*before, slice(0, x.shape[axis]))], y[(*before, slice(x.shape[axis], None))]


def medfilt(function: Any, a: Arguments) -> Any:
    """Medians of windows, among zeros."""
    name = "volume" if function.__name__ == "medfilt" else "input"
    x = lazy(name, a.pop(name))
    finite.unordered(function.__name__, np.empty(0, x.dtype))
    size = finite.sizes_of(a["kernel_size"], x.ndim)
    if len(size) != x.ndim or (name == "input" and x.ndim != 2):
        raise ValueError(f"kernel_size must have one size for each of {x.ndim} axes, got {size}")
    x = whole(x) if any(k > n for k, n in zip(size, x.shape, strict=True)) else x
    rules = [Halo(n, k // 2) for n, k in zip(x.shape, size, strict=True)]
    return blocks_of(function, (name, x), rules, {}, x.dtype.newbyteorder("="), a)


def dtype_of(function: Any, x: Any, a: Arguments, *before: Any) -> Any:
    """The dtype of a result, from a call without cells that meets all checks."""
    empty = np.zeros((0, *(1,) * x.ndim), x.dtype)
    return function(*before, empty, **(a | {"axis": a["axis"] + 1 if a["axis"] >= 0 else a["axis"]})).dtype


def one_block(x: Any, axis: int, what: str) -> None:
    """Refuse what needs all cells of an axis where they lie in several blocks."""
    if len(x.chunks[axis]) > 1:
        raise NotServed(
            f"{what} needs all cells along axis {axis} of x, which has {len(x.chunks[axis])} chunks there: "
            f"x.rechunk({{{axis}: -1}}) puts them together"
        )


def rates(a: Arguments) -> tuple[int, int]:
    """up and down, without what they share."""
    common = gcd(int(a["up"]), int(a["down"]))
    return int(a["up"]) // common, int(a["down"]) // common


def upfirdn(function: Any, a: Arguments) -> Any:
    """As many taps as meet cells."""
    x = lazy("x", a.pop("x"))
    in_memory(a, ("h",))
    axis = along(x, a)
    dtype = function(
        a["h"], np.zeros((0, *(1,) * x.ndim), x.dtype), **{n: v for n, v in a.items() if n not in ("h", "axis")}
    ).dtype
    if a["mode"].lower() not in MIRRORING:
        one_block(x, axis, f"mode {a['mode']!r}")
    up, down, taps = int(a["up"]), int(a["down"]), np.size(a["h"])
    outputs = resampling.Rates(up, down, taps).outputs(x.shape[axis])
    return alone(function, x, axis, rule_of(x, axis, Resampled(outputs, up, down, taps - 1, up)), dtype, a)


def rule_of(x: Any, axis: int, rule: Resampled) -> Rule:
    """The rule; of one block all cells and all outputs."""
    return Whole(rule.outputs) if len(x.chunks[axis]) == 1 else rule


def resample_poly(function: Any, a: Arguments) -> Any:
    """A low-pass filter's taps around each output."""
    x = lazy("x", a.pop("x"))
    axis = along(x, a)
    if isinstance(a["window"], list):
        a["window"] = np.asarray(a["window"])
    in_memory(a, ("window",))
    background = a["padtype"] in resampling.BACKGROUNDS
    dtype = dtype_of(function, x, a | ({"padtype": "constant"} if background else {}))
    if a["padtype"] not in MIRRORING:
        one_block(x, axis, f"padtype {a['padtype']!r}")
    up, down = rates(a)
    half = 10 * max(up, down) if isinstance(a["window"], (str, tuple)) else np.size(a["window"])
    outputs = -(-x.shape[axis] * up // down)
    return alone(function, x, axis, rule_of(x, axis, Resampled(outputs, up, down, half + up, half + up)), dtype, a)


def decimate(function: Any, a: Arguments) -> Any:
    """A filter of finite length, and every so many-th cell."""
    x = lazy("x", a.pop("x"))
    axis, q = along(x, a), operator.index(a["q"])
    taps = resampling.taps_of(a["ftype"], a["n"], q, np.dtype(np.float64)).size
    dtype = dtype_of(function, x, {"q": q} | {name: value for name, value in a.items() if name != "q"})
    outputs = -(-x.shape[axis] // q)
    return alone(function, x, axis, rule_of(x, axis, Resampled(outputs, 1, q, taps, taps)), dtype, a)


BUILDERS: dict[str, Callable[[Any, Arguments], Any]] = {
    **dict.fromkeys(("convolve", "correlate", "convolve2d", "correlate2d", "fftconvolve", "oaconvolve"), convolved),
    **dict.fromkeys(("medfilt", "medfilt2d"), medfilt),
    "lfilter": lfilter,
    "upfirdn": upfirdn,
    "resample_poly": resample_poly,
    "decimate": decimate,
}
