"""Windows reduced cell by cell, vectors of what lies side by side: channels, or the columns of a row.

rows.py computes by them.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from fastconv.kernels.jit import inlined
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.sizes import Axes
from fastconv.kernels.simd.pools import reductions


class Source(NamedTuple):
    """An image, or what follows a place of it: elements from a cell to its neighbours, and cells from tap to tap."""

    at: Any
    strides: Axes
    dilation: Axes


@lru_cache(maxsize=32)
def four_reducer(kind: str, lanes: int, dtype: str, leaves: bool) -> Any:
    """The compiled to[c] = leave(the sum, or the best, of source[i, c] over the cells i of a window), of four vectors c.

    Without `leaves`, results are what windows accumulated.
    """
    r = reductions.reduction(kind, dtype)
    enter, combine, leave = r.enter, r.combine, r.leave if leaves else reductions.reduction("max", dtype).leave

    def reduce(source, to, window, divisors, initial):
        a = vector.splat(initial, lanes)
        b, c, d = a, a, a
        i = window.d.start
        while i < window.d.stop:  # a range of unknown steps would divide
            j = window.h.start
            while j < window.h.stop:
                row, k = source.at + (i * source.strides.d + j * source.strides.h), window.w.start
                while k < window.w.stop:
                    at = row + k * source.strides.w
                    a = combine(a, enter(vector.load(at, lanes)))
                    b = combine(b, enter(vector.load(at + lanes, lanes)))
                    c = combine(c, enter(vector.load(at + 2 * lanes, lanes)))
                    d = combine(d, enter(vector.load(at + 3 * lanes, lanes)))
                    k += source.dilation.w
                j += source.dilation.h
            i += source.dilation.d
        vector.store(to, leave(a, divisors))
        vector.store(to + lanes, leave(b, divisors))
        vector.store(to + 2 * lanes, leave(c, divisors))
        vector.store(to + 3 * lanes, leave(d, divisors))

    return inlined(reduce)


@lru_cache(maxsize=32)
def one_reducer(kind: str, lanes: int, dtype: str, leaves: bool) -> Any:
    """The same of one vector, or of the first `room` elements of it."""
    r = reductions.reduction(kind, dtype)
    enter, combine, leave = r.enter, r.combine, r.leave if leaves else reductions.reduction("max", dtype).leave

    def reduce(source, to, window, divisors, room, initial):
        total = vector.splat(initial, lanes)
        i = window.d.start
        while i < window.d.stop:
            j = window.h.start
            while j < window.h.stop:
                row, k = source.at + (i * source.strides.d + j * source.strides.h), window.w.start
                while k < window.w.stop:
                    if room >= lanes:
                        total = combine(total, enter(vector.load(row + k * source.strides.w, lanes)))
                    else:
                        total = combine(total, enter(vector.load_first(row + k * source.strides.w, room, lanes)))
                    k += source.dilation.w
                j += source.dilation.h
            i += source.dilation.d
        vector.store_first(to, leave(total, divisors), room)

    return inlined(reduce)
