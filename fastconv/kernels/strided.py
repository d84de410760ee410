"""Windows as a view: numpy.lib.stride_tricks.sliding_window_view, then tensordot for convolutions and max, sum for pools.

The shortest form in plain NumPy. It pads the whole input first, and a tensordot copies the windows that it multiplies: a block
of output rows at a time, so that the copy stays within WORKSPACE bytes where one row does.
"""

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from fastconv.kernels.activations import activate
from fastconv.kernels.borders import with_border
from fastconv.machine import memory
from fastconv.problem.convolutions import Array, ConvGeometry, Pairs, Size
from fastconv.problem.pools import PoolGeometry
from fastconv.problem.problem import Operands, Problem

WORKSPACE = 16 << 20


def windows_of(x: Array, kernel: Size, stride: Size, dilation: Size) -> Array:
    """v[n, c, *out, *kernel] of x[n, c, ...]: a view, nothing is copied."""
    axes = tuple(range(2, x.ndim))
    extent = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    every = sliding_window_view(x, extent, axes)
    steps = (slice(None), slice(None), *(slice(None, None, s) for s in stride), *(slice(None, None, d) for d in dilation))
    return every[steps]


def too_large(geometry: ConvGeometry | PoolGeometry, pads: Pairs, itemsize: int) -> str | None:
    """Why there is no memory for a copy of the input with its padding, or None."""
    cells = prod(size + sum(pair) for size, pair in zip(geometry.in_size, pads, strict=True))
    size = itemsize * cells * prod(geometry.x_shape) // max(1, prod(geometry.in_size))
    return None if size <= memory() else f"its copy of x with padding would take {size >> 30:,} GiB"


# Convolution ------------------------------------------------------------------------------------------------------------


def supports_conv(problem: Problem) -> str | None:
    """Convolutions of an input that can be copied with its padding."""
    return too_large(problem.geometry, problem.geometry.padding, problem.dtype.itemsize)


def conv(operands: Operands, packed: tuple[Array, Array], problem: Problem, out: Array) -> None:
    """Windows [C, *O, *K] . w [K_out, C, *K] -> y [K_out, *O], for each image and group."""
    x, g = operands["x"], problem.geometry
    w, bias = packed
    residual = g.channels_first(operands["residual"]) if problem.residual else None
    padded = with_border(g.channels_first(x), g.padding, g.border)
    views = windows_of(padded, g.kernel, g.stride, g.dilation)
    y, w = g.channels_first(out), g.channels_first(w)
    rows = max(1, WORKSPACE // max(1, x.itemsize * g.reduction * prod(g.out_size[1:])))
    contracted = (1, *range(2, 2 + g.rank)), (0, *range(1 + g.rank, 1 + 2 * g.rank))
    for n in range(g.batch):
        for group in range(g.groups):
            into = slice(group * g.out_per_group, (group + 1) * g.out_per_group)
            view = views[n, group * g.in_per_group : (group + 1) * g.in_per_group]
            for first in range(0, g.out_size[0], rows):
                block = np.tensordot(w[into], view[:, first : first + rows], contracted)
                block += bias[into].reshape(-1, *(1,) * g.rank)
                if residual is not None:
                    block += residual[n, into, first : first + rows]
                activate(block, g.activation)
                y[n, into, first : first + rows] = block


# Pools ------------------------------------------------------------------------------------------------------------------


def supports_pool(problem: Problem) -> str | None:
    """Pools whose windows all have one size; indices only where no padding can be the first of equals."""
    geometry = problem.geometry
    if geometry.adaptive:
        even = all(o and size % o == 0 for size, o in zip(geometry.in_size, geometry.out_size, strict=True))
        return None if even else "adaptive windows differ in size, and a strided view has one size"
    if geometry.return_indices and geometry.reach != ((0, 0),) * geometry.rank:
        return "a padded window may find its index in the padding"
    if picks_cells(geometry):
        copied = problem.dtype.itemsize * prod(geometry.out_shape) * geometry.taps
        if copied > memory():
            return f"its copy of the windows would take {copied >> 30:,} GiB"
    return too_large(geometry, geometry.reach, problem.dtype.itemsize)


def picks_cells(geometry: PoolGeometry) -> bool:
    """Whether windows are copied: to leave cells out, or to bring them into order."""
    return geometry.kind == "rank" or geometry.footprint is not None


def regular(geometry: PoolGeometry) -> PoolGeometry:
    """The same pool without `adaptive`: windows that share an axis out evenly are as long as the step between them."""
    if not geometry.adaptive:
        return geometry
    extent = tuple(size // o for size, o in zip(geometry.in_size, geometry.out_size, strict=True))
    return replace(geometry, adaptive=False, kernel=extent, stride=extent)


def filler(kind: str, dtype: np.dtype[Any]) -> Any:
    """A value that no window takes for its own: the least one under max, the greatest under min, else zero."""
    if kind not in ("max", "min"):
        return 0
    if dtype.kind == "f":
        return -np.inf if kind == "max" else np.inf
    limits = np.iinfo(dtype)
    return limits.min if kind == "max" else limits.max


def pool(operands: Operands, packed: None, problem: Problem, out: Any) -> None:
    """Windows [N, C, *O, *K] -> y [N, C, *O], reduced over K."""
    x, g = operands["x"], regular(problem.geometry)
    values, indices = out if g.return_indices else (out, None)
    pads = ((0, 0), (0, 0), *g.reach)
    padded = np.pad(g.channels_first(x), pads, constant_values=filler(g.kind, x.dtype))
    view = windows_of(padded, g.kernel, g.stride, g.dilation)
    # A window may be left over where ceil_mode is off.
    view = view[(slice(None), slice(None), *(slice(outputs) for outputs in g.out_size))]
    taps, y = tuple(range(2 + g.rank, 2 + 2 * g.rank)), g.channels_first(values)
    if picks_cells(g):
        view, taps = view.reshape(*y.shape, -1)[..., g.members], (y.ndim,)
    with np.errstate(over="ignore", invalid="ignore"):
        if g.kind == "avg":
            y[...] = averaged(view, taps, g)
        elif g.kind == "lp":
            y[...] = normed(view, taps, x.dtype.type(g.norm_type))
        elif g.kind == "rank":
            y[...] = np.partition(view, g.order, -1)[..., g.order]
            if indices is not None:
                g.channels_first(indices)[...] = cell_indices(g.members[places_of(y, view, g.order)], g)
        elif indices is None:
            (np.max if g.kind == "max" else np.min)(view, axis=taps, out=y)
        else:
            chosen = (np.argmax if g.kind == "max" else np.argmin)(view.reshape(*view.shape[: 2 + g.rank], -1), axis=-1)
            cells = cell_indices(chosen if g.footprint is None else g.members[chosen], g)
            y[...] = np.take_along_axis(
                g.channels_first(x).reshape(*y.shape[:2], -1), cells.reshape(*y.shape[:2], -1), 2
            ).reshape(y.shape)
            g.channels_first(indices)[...] = cells


def places_of(y: Array, cells: Array, order: int) -> Array:
    """Where each y[...], of a place in order among cells[..., :], lies: of equal ones in the order of their places."""
    value, nan = y[..., None], np.isnan(cells)
    before = np.where(np.isnan(value), ~nan, (cells < value) & ~nan)
    same = np.where(np.isnan(value), nan, cells == value)
    among = order - before.sum(-1, keepdims=True)
    return np.asarray((same & (same.cumsum(-1) == among + 1)).argmax(-1))


def averaged(view: Array, taps: Size, geometry: PoolGeometry) -> Array:
    """Sums over divisors, an integer's toward zero."""
    kind = view.dtype.kind
    total = view.sum(axis=taps, dtype={"i": np.int64, "u": np.uint64}.get(kind, view.dtype))
    divisors = geometry.divisors()
    if kind not in "iu":
        return total / divisors.astype(view.dtype)
    if kind == "u":
        quotient = total // np.abs(divisors).astype(np.uint64)
        return np.where(divisors < 0, -quotient, quotient)
    quotient = total // divisors
    return quotient + ((quotient < 0) & (quotient * divisors != total))


def normed(view: Array, taps: Size, p: Any) -> Array:
    """(sum of |x|**p) ** (1 / p)"""
    if np.isinf(p):
        return np.abs(view).max(axis=taps)
    return (np.abs(view) ** p).sum(axis=taps) ** (1 / p)


def cell_indices(chosen: Array, geometry: PoolGeometry) -> Array:
    """Positions inside windows as positions inside the input plane."""
    g = geometry
    total = np.zeros((), np.int64)
    for axis, tap in enumerate(np.unravel_index(chosen, g.kernel)):
        origin = np.arange(g.out_size[axis]) * g.stride[axis]
        cell = origin.reshape(-1, *(1,) * (g.rank - 1 - axis)) + tap * g.dilation[axis]
        total = total * g.in_size[axis] + cell
    return total
