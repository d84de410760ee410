"""Pools of whole planes: a plane is one run of memory, channels first, or of pixels, whose channels a tile takes in.

Channels first, four vectors take in every fourth vector of a piece of the plane each; the pieces' sums are added up and then
folded in halves. The order of a sum depends on the plane's size alone, and no vector takes in so many cells that one more is
lost.

Channels last, a tile has as many vectors as half the registers: pixels lie pages apart, and each page is met once a tile.
"""

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from fastconv.kernels.jit import Kernel, element, inlined
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.pools import reductions as pooling
from fastconv.machine import Machine
from fastconv.problem.pools import PoolGeometry

poke, pointer = vector.poke, vector.pointer
PIECE = 2**16  # cells: a multiple of four vectors of any width
TOGETHER = 16  # planes that are looked over for a NaN together


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

    def reduce(source, cells, sums, initial, empty):
        four = cells - cells % (4 * lanes)
        all_pieces = vector.splat(initial, lanes)
        for start in range(0, four, PIECE):
            a = vector.splat(initial, lanes)
            b, c, d = a, a, a
            for i in range(start, min(start + PIECE, four), 4 * lanes):
                e, f = enter(vector.load(source + i, lanes)), enter(vector.load(source + (i + lanes), lanes))
                g, h = enter(vector.load(source + (i + 2 * lanes), lanes)), enter(vector.load(source + (i + 3 * lanes), lanes))
                a, b, c, d = combine(a, e), combine(b, f), combine(c, g), combine(d, h)
                if witness:
                    sums = sums + ((e + f) + (g + h))
            all_pieces = combine(all_pieces, combine(combine(a, b), combine(c, d)))
        for i in range(four, cells, lanes):
            last = enter(vector.load_first_or(source + i, cells - i, vector.splat(empty, lanes)))
            all_pieces = combine(all_pieces, last)
            if witness:
                sums = sums + last
        return fold(all_pieces), sums

    return inlined(reduce)


@lru_cache(maxsize=32)
def kernel(kind: str, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loop over planes: f32_max_pool_planes_avx512.

    A NaN among the cells of some planes makes their sum a NaN, and so may infinities: what was done as if all were numbers is
    then done again with care.
    """
    enter, combine, _, leave, combine_numbers = pooling.reduction(kind, dtype)
    witness = dtype[0] == "f" and pooling.order_and_power(kind)[0] != 0
    careful = plane_reducer(enter, combine, lanes, False)
    quick = plane_reducer(enter, combine_numbers, lanes, witness)
    fold_sums: Any = folder(pooling.reduction("avg", dtype).combine, lanes) if witness else None

    def pool(begin, end, x, y, cells, divisor, initial, empty):
        for some in range(begin, end, TOGETHER):
            most, sums = min(some + TOGETHER, end), vector.splat(x.dtype.type(0), lanes)
            for plane in range(some, most):
                total, sums = quick(pointer(x) + plane * cells, cells, sums, initial, empty)
                poke(pointer(y) + plane, vector.first(leave(vector.splat(total, lanes), vector.splat(divisor, lanes))))
            if witness:
                sum_of_all = fold_sums(sums)
                if sum_of_all != sum_of_all:
                    for plane in range(some, most):
                        total, _ = careful(pointer(x) + plane * cells, cells, sums, initial, empty)
                        poke(pointer(y) + plane, vector.first(leave(vector.splat(total, lanes), vector.splat(divisor, lanes))))

    pool.__name__ = f"{dtype}_{kind}_pool_planes_{isa}"
    return Kernel(pool)


@lru_cache(maxsize=32)
def pixels_kernel(kind: str, columns: int, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loop over groups of channels of an image: f32_max_pool_pixels_1x16_avx512."""
    (order, _), wide, averages = pooling.order_and_power(kind), columns * lanes, kind == "avg"

    def pool(begin, end, x, y, cells, channels, divisor, initial):
        groups = -(-channels // wide)
        memory = np.full(wide + 1, divisor)
        memory[1:] = 1
        for item in range(begin, end):
            n, group = divmod(item, groups)
            c = min(group * wide, channels - wide)  # the last group may overlap the one before
            source = pointer(x) + n * cells * channels + c
            tile = vector.filled(initial, 1, columns, lanes)
            for i in range(cells):
                tile = vector.joined(tile, vector.load_tile(source + i * channels, 0, 1, columns, lanes), order)
            if averages:
                tile = vector.divided_rows(tile, pointer(memory), 1, pointer(memory) + 1, wide)
            vector.store_tile(tile, pointer(y) + n * channels + c, 0)
        memory[0] = divisor  # pointers do not keep an array alive: its last use does

    pool.__name__ = f"{dtype}_{kind}_pool_pixels_1x{columns}_{isa}"
    return Kernel(pool)


# Decisions --------------------------------------------------------------------------------------------------------------


def columns_for(machine: Machine) -> int:
    """Vectors of a tile of channels."""
    return machine.registers // 2


@lru_cache(maxsize=256)
def suits(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> bool:
    """Whether each plane is the window of one output; channels last, whether tiles serve it and channels fill one."""
    g = geometry
    if g.return_indices or prod(g.out_size) != 1:
        return False
    if not pooling.rows_are_lines(g) and (
        dtype.kind != "f" or g.kind == "lp" or g.channels < columns_for(machine) * machine.lanes(dtype)
    ):
        return False
    steps = zip(g.windows, g.in_size, g.dilation, strict=True)
    return all(axis.start[0] == 0 and axis.stop[0] == size and (step == 1 or size == 1) for axis, size, step in steps)


def launch(geometry: PoolGeometry, dtype: np.dtype[Any], machine: Machine) -> tuple[Any, ...]:
    """(kernel, items, work, and the arguments after x and y)."""
    g, real, kind = geometry, pooling.computed(geometry, dtype), pooling.kind_of(geometry, dtype)
    lanes, divisor = machine.lanes(real), real.type(g.divisors().item() if g.kind == "avg" else 1)
    if not pooling.rows_are_lines(g):
        columns = columns_for(machine)
        arguments = prod(g.in_size), g.channels, divisor, pooling.initial(kind, real)
        chosen = pixels_kernel(kind, columns, lanes, element(dtype), machine.isa)
        return chosen, g.batch * -(-g.channels // (columns * lanes)), 4 * g.flops // lanes, arguments
    arguments = prod(g.in_size), divisor, pooling.initial(kind, real), pooling.initial(kind, dtype)
    return kernel(kind, lanes, element(dtype), machine.isa), g.batch * g.channels, 4 * g.flops // lanes, arguments
