"""Pools of whole planes: a plane is one run of memory, channels first, or of pixels, whose channels a tile accumulates.

Channels first, four vectors accumulate every fourth vector of a piece of the plane each; the pieces' sums are added up and
then folded in halves. The order of a sum depends on the plane's size alone, and no vector accumulates so many cells that one
more is lost.

Channels last, a tile has as many vectors as half the registers: pixels lie pages apart, and each page is met once a tile.
"""

from collections.abc import Iterator
from functools import lru_cache, partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled, element, inlined
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.costs import Candidate
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.kernels.simd.pools import reductions
from fastconv.kernels.simd.pools.launches import Launch
from fastconv.machine import Machine
from fastconv.problem.pools import PoolGeometry, span

poke, pointer = vector.poke, vector.pointer
PIECE = 2**16  # cells: a multiple of four vectors of any width
BATCH = 16  # planes that one sum looks over for a NaN


class Plane(NamedTuple):
    """The cells of a plane and the scalars of its pool; windows start from `initial`, missing cells are `empty`."""

    cells: int
    divisor: Any
    initial: Any
    empty: Any


class Parts(NamedTuple):
    """The divisor, and a factor of 1 for each channel of a tile."""

    divisor: int
    ones: int


carve = workspace(Parts)


@lru_cache(maxsize=32)
def folder(combine: Any, lanes: int) -> Any:
    """The compiled reduction of a vector to a scalar, half by half."""
    if lanes == 1:

        def only(v):
            return vector.first(v)

        return inlined(only)
    rest = folder(combine, lanes // 2)

    def fold(v):
        return rest(combine(vector.low_half(v), vector.high_half(v)))

    return inlined(fold)


@lru_cache(maxsize=32)
def plane_reducer(enter: Any, combine: Any, lanes: int, witness: bool) -> Any:
    """The compiled reduction of a plane: (scalar, the vector `sums` and, where there is a witness, all cells added to it)."""
    fold = folder(combine, lanes)

    def reduce(source, plane, sums):
        four = plane.cells - plane.cells % (4 * lanes)
        all_pieces = vector.splat(plane.initial, lanes)
        for start in range(0, four, PIECE):
            a = vector.splat(plane.initial, lanes)
            b, c, d = a, a, a
            for i in range(start, min(start + PIECE, four), 4 * lanes):
                e, f = enter(vector.load(source + i, lanes)), enter(vector.load(source + (i + lanes), lanes))
                g, h = enter(vector.load(source + (i + 2 * lanes), lanes)), enter(vector.load(source + (i + 3 * lanes), lanes))
                a, b, c, d = combine(a, e), combine(b, f), combine(c, g), combine(d, h)
                if witness:
                    sums = sums + ((e + f) + (g + h))
            all_pieces = combine(all_pieces, combine(combine(a, b), combine(c, d)))
        for i in range(four, plane.cells, lanes):
            last = enter(vector.load_first_or(source + i, plane.cells - i, vector.splat(plane.empty, lanes)))
            all_pieces = combine(all_pieces, last)
            if witness:
                sums = sums + last
        return fold(all_pieces), sums

    return inlined(reduce)


@lru_cache(maxsize=32)
def batch_pooler(kind: str, lanes: int, dtype: str, careful: bool) -> Any:
    """The compiled pools of a batch of planes, and the sum of their cells where it tells whether one is a NaN.

    A NaN among the cells makes the sum a NaN, and so may infinities. Where planes are not pooled carefully, they are as if all
    cells were numbers.
    """
    r = reductions.reduction(kind, dtype)
    witness = not careful and is_doubtful(kind, dtype)
    reduce, leave = plane_reducer(r.enter, r.combine if careful else r.combine_numbers, lanes, witness), r.leave
    fold: Any = folder(reductions.reduction("avg", dtype).combine, lanes) if witness else None

    def pool_batch(x, y, first, last, plane):
        sums = vector.splat(vector.zero(pointer(x)), lanes)
        for i in range(first, last):
            total, sums = reduce(pointer(x) + i * plane.cells, plane, sums)
            poke(pointer(y) + i, vector.first(leave(vector.splat(total, lanes), vector.splat(plane.divisor, lanes))))
        return fold(sums) if witness else vector.zero(pointer(x))

    return inlined(pool_batch)


def is_doubtful(kind: str, dtype: str) -> bool:
    """Whether cells may be NaN, and to compare them is quicker where none is."""
    return dtype[0] == "f" and reductions.order_and_power(kind)[0] != 0


@lru_cache(maxsize=32)
def planes_kernel(kind: str, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loop over planes: f32_max_pool_planes_avx512."""
    doubtful = is_doubtful(kind, dtype)
    pool_batch, pool_carefully = (batch_pooler(kind, lanes, dtype, careful) for careful in (False, True))

    def pool(begin, end, x, y, cells, divisor, initial, empty):
        """y[p] = leave(the sum, or the best, of x[p, i] over the cells i of plane p)"""
        plane = Plane(cells, divisor, initial, empty)
        for first in range(begin, end, BATCH):
            last = min(first + BATCH, end)
            total = pool_batch(x, y, first, last, plane)
            if doubtful and total != total:
                pool_carefully(x, y, first, last, plane)

    pool.__name__ = f"{dtype}_{kind}_pool_planes_{isa}"
    return Kernel(pool)


@lru_cache(maxsize=32)
def pixels_kernel(kind: str, columns: int, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loop over groups of channels of an image: f32_max_pool_pixels_1x16_avx512."""
    (order, _), group, averages = reductions.order_and_power(kind), columns * lanes, kind == "avg"
    fill = reductions.part_filler(lanes)

    @compiled
    def finish(tile, work):
        return vector.divided_rows(tile, work.divisor, 1, work.ones, group) if averages else tile

    def pool(begin, end, x, y, cells, channels, divisor, initial):
        """y[n, c] = leave(the sum, or the best, of x[n, i, c] over the cells i of a plane)"""
        groups = -(-channels // group)
        work, memory = carve(Parts(divisor=1, ones=group), x)
        fill(work.divisor, 1, divisor)
        fill(work.ones, group, vector.number(work.ones, 1))
        for item in range(begin, end):
            n, part = divmod(item, groups)
            c = min(part * group, channels - group)  # the last group may overlap the one before
            source = pointer(x) + n * cells * channels + c
            tile = vector.filled(initial, 1, columns, lanes)
            for i in range(cells):
                tile = vector.joined(tile, vector.load_tile(source + i * channels, 0, 1, columns, lanes), order)
            vector.store_tile(finish(tile, work), pointer(y) + n * channels + c, 0)
        keep(memory)

    pool.__name__ = f"{dtype}_{kind}_pool_pixels_1x{columns}_{isa}"
    return Kernel(pool)


# Decisions --------------------------------------------------------------------------------------------------------------


def columns_for(machine: Machine) -> int:
    """Vectors of a tile of channels."""
    return machine.registers // 2


def candidates(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> Iterator[Candidate]:
    """The kernel of the layout, where each plane is one window."""
    if suits(geometry, dtype, machine):
        columns = 1 if reductions.rows_are_lines(geometry) else columns_for(machine)
        yield Candidate(seconds(geometry, dtype, machine), columns, partial(launch, geometry, dtype, machine))


@remembered
def suits(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> bool:
    """Whether each plane is the window of one output; channels last, whether tiles serve it and channels fill one."""
    g = geometry
    if g.return_indices or prod(g.out_size) != 1:
        return False
    if not reductions.rows_are_lines(g) and (
        dtype.kind != "f" or g.kind == "lp" or g.channels < columns_for(machine) * machine.lanes(dtype)
    ):
        return False
    return all(span(axis, 0)[:2] == (0, axis.cells) and (axis.dilation == 1 or axis.cells == 1) for axis in g.axes)


def seconds(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Half a nanosecond for each vector, one to fold each plane's, and the bytes at memory speed."""
    g = geometry
    folds = 2 * prod(g.out_shape) if reductions.rows_are_lines(g) else 0
    vectors = prod(g.x_shape) / machine.lanes(reductions.computed(g, dtype)) + folds
    return 3e-6 + vectors / 2e9 + machine.seconds(0, g.bytes(dtype.itemsize))


def launch(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> Launch:
    """The kernel of the layout with its arguments."""
    g, real, kind = geometry, reductions.computed(geometry, dtype), reductions.kind_of(geometry, dtype)
    lanes, divisor = machine.lanes(real), real.type(prod(span(axis, 0).count for axis in g.axes) if g.kind == "avg" else 1)
    cells, initial, work = prod(g.in_size), reductions.initial(kind, real), 4 * g.flops // lanes
    if reductions.rows_are_lines(g):
        kernel = planes_kernel(kind, lanes, element(dtype), machine.isa)
        return Launch(kernel, g.batch * g.channels, work, (cells, divisor, initial, reductions.initial(kind, dtype)))
    columns = columns_for(machine)
    kernel = pixels_kernel(kind, columns, lanes, element(dtype), machine.isa)
    return Launch(kernel, g.batch * -(-g.channels // (columns * lanes)), work, (cells, g.channels, divisor, initial))
