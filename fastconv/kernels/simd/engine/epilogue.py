"""What becomes of a sum as it is written: y = act(sum + residual). The one place that knows activations and residuals.

A kernel takes an array of scalars, from `scalars`, and the residual, an array laid out as y; where there is none, y itself
stands for it, and an empty array where y holds it before the call. Of these, `epilogue` makes what the functions below take:

    e = epilogue(parameters, residual, y)       once, at the top of a kernel
    tile = activate(tile, e)                    of `activation_of`: before a tile is stored, what registers can do
    finish_run(at, count, e)                    after it is stored: the rest, or nothing; finish_runs, of several
    put(at, value, e)                           a single value: all at once

The residual of the value at any address of y lies `e.residual` elements further. With a residual, and for activations that
are more than a few instructions of a vector (silu, gelu), everything is left to what follows the store, while the values are in
the L1 cache, or goes through memory of the thread's own before it, by `smoother`. A kernel whose tiles may overlap cannot leave
it so: a value would meet its activation twice. A kernel that adds the residual to its registers, before the store, goes on with
`e = added(e)`; no other may run where y holds the residual.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.activations import KINDS, activated, codes
from fastconv.kernels.jit import compiled, inlined
from fastconv.kernels.simd import vector
from fastconv.problem.convolutions import Activation, Array

peek, poke, pointer = vector.peek, vector.poke, vector.pointer
NONE, CLIP, LEAKY, SILU, HARDSWISH, GELU = range(len(KINDS))
LANES = 8  # of what is finished after it is stored: one register or two, on every machine
WIDE, HALF = 4 * LANES, 2 * LANES  # of silu: what waits for exponentials would fill a processor's queues, one after the other


class Epilogue(NamedTuple):
    """An activation, what registers do of it, its numbers; whether there is a residual, and elements from a result to it."""

    kind: int
    early: int
    low: float
    high: float
    adds: bool
    residual: int


def scalars(activation: Activation, dtype: np.dtype[Any], padding_value: complex = 0) -> Array:
    """What kernels take beside sizes: the activation and what padding holds, as one array of `dtype`."""
    return np.array((*codes(activation, dtype), padding_value), dtype)


@compiled
def epilogue(parameters, residual, y):
    """The epilogue of a call."""
    kind, apart = int(parameters[0]), vector.distance(pointer(y), pointer(residual)) if len(residual) else 0
    adds = apart != 0 or len(residual) == 0
    early = NONE if adds or kind in (SILU, GELU) else kind
    return Epilogue(kind, early, parameters[1], parameters[2], adds, apart)


@compiled
def epilogue_with_silu(parameters, residual, y):
    """The epilogue of a call of a kernel that does silu in registers too."""
    e = epilogue(parameters, residual, y)
    return Epilogue(e.kind, SILU if e.kind == SILU and not e.adds else e.early, e.low, e.high, e.adds, e.residual)


@compiled
def added(e):
    """The epilogue of sums that hold their residual."""
    return Epilogue(e.kind, NONE if e.kind in (SILU, GELU) else e.kind, e.low, e.high, False, 0)


@compiled
def padding_value(parameters):
    """What the cells of a border hold."""
    return parameters[3]


@lru_cache(maxsize=16)
def activation_of(dtype: str, silu: bool = False) -> Any:
    """The compiled activate(tile, e) of a tile, or of one vector; with `silu`, of a vector alone."""
    real = np.float64 if dtype.endswith("64") else np.float32
    three, six, sixth = real(3), real(6), real(1 / 6)

    def activate(tile, e):
        if e.early == CLIP:
            tile = vector.clip(tile, e.low, e.high)
        elif e.early == LEAKY:
            tile = vector.leaky(tile, e.low)
        elif e.early == HARDSWISH:
            tile = vector.hardswish(tile, three, six, sixth)
        return tile

    def bound(tile, e):
        return vector.clip(tile, e.low, e.high) if e.early == CLIP else tile

    plain = inlined(activate if dtype[0] == "f" else bound)

    def activate_or_silu(v, e):
        return vector.silu(v) if e.early == SILU else plain(v, e)

    return inlined(activate_or_silu) if silu else plain


@compiled
def put(at, value, e):
    """The result of one sum, at `at`."""
    if e.adds:
        value += peek(at + e.residual)
    poke(at, activated(value, e.kind, e.low, e.high))


@compiled
def is_unfinished(e):
    """Whether something is left to do after the store."""
    return e.early != e.kind or e.adds


@compiled
def adds_and_clips(e):
    """Whether what is left to do is an addition, and a clip or nothing."""
    return e.adds and (e.kind == CLIP or e.kind == NONE)


@inlined
def sums(at, lanes, e):
    """Values that lie at an address, with their residual."""
    v = vector.load(at, lanes)
    return v + vector.load(at + e.residual, lanes) if e.adds else v


@inlined
def first_sums(at, count, e):
    """The first of LANES values."""
    v = vector.load_first(at, count, LANES)
    return v + vector.load_first(at + e.residual, count, LANES) if e.adds else v


@compiled
def finish_clipped(y, count, e):
    """y[:count] = min(max(y[:count] + residual, low), high), a NaN stays, or the sum alone: vector by vector."""
    whole = count - count % LANES
    for at in range(0, whole, LANES):
        v = sums(y + at, LANES, e)
        vector.store(y + at, vector.clip(v, e.low, e.high) if e.kind == CLIP else v)
    if whole < count:
        v = first_sums(y + whole, count - whole, e)
        vector.store_first(y + whole, vector.clip(v, e.low, e.high) if e.kind == CLIP else v, count - whole)


@inlined
def finish_silu(y, count, e):
    """y[:count] = silu(y[:count] + residual)"""
    at = 0
    while count - at >= WIDE:
        vector.store(y + at, vector.silu(sums(y + at, WIDE, e)))
        at += WIDE
    if count - at >= HALF:
        vector.store(y + at, vector.silu(sums(y + at, HALF, e)))
        at += HALF
    if count - at >= LANES:
        vector.store(y + at, vector.silu(sums(y + at, LANES, e)))
        at += LANES
    if at < count:
        vector.store_first(y + at, vector.silu(first_sums(y + at, count - at, e)), count - at)


@inlined
def finish_gelu(y, count, e):
    """y[:count] = gelu(y[:count] + residual)"""
    whole = count - count % LANES
    for at in range(0, whole, LANES):
        vector.store(y + at, vector.gelu(sums(y + at, LANES, e)))
    if whole < count:
        vector.store_first(y + whole, vector.gelu(first_sums(y + whole, count - whole, e)), count - whole)


@compiled
def silu_runs(y, apart, rows, count, e):
    """Of several runs, so that what the exponential is made of is read once for all."""
    for i in range(rows):
        finish_silu(y + i * apart, count, e)


@compiled
def gelu_runs(y, apart, rows, count, e):
    """The same of gelu."""
    for i in range(rows):
        finish_gelu(y + i * apart, count, e)


@compiled
def silu_rows(y, offsets, rows, count, e):
    """Of runs that lie at offsets."""
    for i in range(rows):
        finish_silu(y + peek(offsets + i), count, e)


@compiled
def gelu_rows(y, offsets, rows, count, e):
    """The same of gelu."""
    for i in range(rows):
        finish_gelu(y + peek(offsets + i), count, e)


@compiled
def is_smooth(e):
    """Whether the activation is one of exponentials."""
    return e.kind == SILU or e.kind == GELU


@lru_cache(maxsize=64)
def smoother(rows: int, columns: int, lanes: int, dtype: str) -> Any:
    """The compiled smoothed(tile, spare, e): the tile after silu or gelu, if that and no residual is left to do, and what is.

    It goes through `spare`, which has room for it: results may be far, and are short runs.
    """
    width = columns * lanes
    size = rows * width

    def smoothed(tile, spare, e):
        if is_smooth(e) and not e.adds:
            vector.store_tile(tile, spare, width)
            if e.kind == SILU:
                silu_runs(spare, 0, 1, size, e)
            else:
                gelu_runs(spare, 0, 1, size, e)
            tile, e = vector.load_tile(spare, width, rows, columns, lanes), Epilogue(NONE, NONE, e.low, e.high, False, 0)
        return tile, e

    def unchanged(tile, spare, e):
        return tile, e

    return inlined(smoothed if dtype[0] == "f" else unchanged)


@compiled
def finish_runs(y, apart, rows, count, e):
    """y[i * apart:][:count] = act(the same + residual) of i < rows, where that is left to do."""
    if not is_unfinished(e):
        return
    if e.kind == SILU:
        silu_runs(y, apart, rows, count, e)
    elif e.kind == GELU:
        gelu_runs(y, apart, rows, count, e)
    else:
        for i in range(rows):
            if adds_and_clips(e):
                finish_clipped(y + i * apart, count, e)
            else:
                for j in range(count):
                    put(y + i * apart + j, peek(y + i * apart + j), e)


@compiled
def finish_run(y, count, e):
    """y[:count] = act(y[:count] + residual), where that is left to do."""
    finish_runs(y, 0, 1, count, e)


@inlined
def finish_rows(y, offsets, count, step, width, e):
    """The same for y[offsets[i] + j * step], of the rows i < count and j < width."""
    if is_unfinished(e):
        first = peek(offsets)
        if step != 1 and peek(offsets + (count - 1)) - first == count - 1:
            finish_runs(y + first, step, width, count, e)
        elif step == 1 and e.kind == SILU:
            silu_rows(y, offsets, count, width, e)
        elif step == 1 and e.kind == GELU:
            gelu_rows(y, offsets, count, width, e)
        else:
            for i in range(count):
                row = y + peek(offsets + i)
                if adds_and_clips(e) and step == 1:
                    finish_clipped(row, width, e)
                else:
                    for j in range(width):
                        put(row + j * step, peek(row + j * step), e)


@compiled
def as_clip(e, highest):
    """The same with bounds that change nothing where registers do nothing."""
    if e.early == NONE:
        return Epilogue(e.kind, e.early, -highest, highest, e.adds, e.residual)
    return e


@compiled
def is_clip(e):
    """Whether registers clip, and do nothing else."""
    return e.early == CLIP


@compiled
def is_plain(e):
    """Whether registers do nothing."""
    return e.early == NONE
