"""Sums of products for the gradient by weights: a register tile has a row and a column for each of a stack of taps."""

from typing import Any

from numba import types
from numba.extending import intrinsic

from fastconv.kernels.simd.vector.building import (
    address_of,
    fused,
    mask_between,
    mask_of,
    opaque,
    parts_of,
    read,
    read_masked,
    two_apart,
)
from fastconv.kernels.simd.vector.types import BYTES, I1, I64


def tap_cells(builder: Any, tile: Any, x: Any, steps: Any, layout: tuple[int, int]) -> Any:
    """(k, address) of what each vector of a tile meets: rows and phases lie `steps` apart, a phase's columns `apart`."""
    (row_step, phase_step), (apart, phases), size = steps, layout, BYTES[tile.dtype]
    for r in range(tile.rows):
        row = builder.add(x, builder.mul(row_step, I64(r * size)))
        for s in range(tile.columns):
            at = builder.add(row, builder.mul(phase_step, I64(s % phases * size))) if s % phases else row
            yield r * tile.columns + s, builder.add(at, I64(s // phases * apart * size))


@intrinsic(prefer_literal=True)
def fma_taps(context: Any, tile: Any, x: Any, row_step: Any, phase_step: Any, apart: Any, phases: Any, y: Any) -> Any:
    """tile[r, s] += y[:lanes] * x[r * row_step + s % phases * phase_step + s // phases * apart:][:lanes]"""
    layout = apart.literal_value, phases.literal_value

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, x, row_step, phase_step, _, _, y = args
        factor = read(builder, y, tile, I64(0))
        for k, at in tap_cells(builder, tile, x, (row_step, phase_step), layout):
            cells = read(builder, at, tile, I64(0))
            t = builder.insert_value(t, fused(builder, factor, cells, builder.extract_value(t, k), tile), k)
        return t

    return tile(tile, x, types.intp, types.intp, apart, phases, y), generate


@intrinsic(prefer_literal=True)
def fma_taps_first(
    context: Any, tile: Any, x: Any, row_step: Any, phase_step: Any, apart: Any, phases: Any, y: Any, count: Any
) -> Any:
    """The same of the first `count` lanes: no other memory is touched, and no other lane changes."""
    layout = apart.literal_value, phases.literal_value

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, x, row_step, phase_step, _, _, y, count = args
        mask = mask_between(builder, I64(0), count, tile.lanes)
        factor = read_masked(builder, y, tile, mask)
        for k, at in tap_cells(builder, tile, x, (row_step, phase_step), layout):
            cells = read_masked(builder, at, tile, mask)
            t = builder.insert_value(t, fused(builder, factor, cells, builder.extract_value(t, k), tile), k)
        return t

    return tile(tile, x, types.intp, types.intp, apart, phases, y, types.intp), generate


@intrinsic
def fma_taps_inside(context: Any, tile: Any, x: Any, row_step: Any, tap_step: Any, y: Any, inside: Any, outside: Any) -> Any:
    """tile[r, s] += y[:lanes] * x[r * row_step + s * tap_step:][:lanes]; a tap beyond the input reads `outside`.

    `inside` are the bits of rows and those of columns: a tap lies on the input where the bits r and s of either are set.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, x, row_step, tap_step, y, inside, outside = args
        factor = read(builder, y, tile, I64(0))

        def is_set(bits: Any, bit: int) -> Any:
            return builder.trunc(builder.lshr(bits, I64(bit)), I1)

        rows, columns = (builder.extract_value(inside, k) for k in range(2))
        seen = [is_set(rows, r) for r in range(tile.rows)], [is_set(columns, s) for s in range(tile.columns)]
        for k, at in tap_cells(builder, tile, x, (row_step, tap_step), (0, tile.columns)):
            r, s = divmod(k, tile.columns)
            cells = read(builder, builder.select(builder.and_(seen[0][r], seen[1][s]), at, outside), tile, I64(0))
            t = builder.insert_value(t, fused(builder, factor, cells, builder.extract_value(t, k), tile), k)
        return t

    return tile(tile, x, types.intp, types.intp, x, types.UniTuple(types.int64, 2), x), generate


def met(outputs: int, stride: int, taps: int) -> list[list[tuple[int, int]]]:
    """Of each row of cells under so many outputs, the (output, tap) that meet in it."""
    rows = range((outputs - 1) * stride + taps)
    return [[(i, row - i * stride) for i in range(outputs) if 0 <= row - i * stride < taps] for row in rows]


@intrinsic(prefer_literal=True)
def fma_taps_down(
    context: Any,
    tile: Any,
    x: Any,
    lines: Any,
    step: Any,
    left: Any,
    cells: Any,
    y: Any,
    y_step: Any,
    count: Any,
    outputs: Any,
    down: Any,
    across: Any,
    apart: Any,
    masked: Any,
) -> Any:
    """tile[r, s][e] += sum over i < outputs of y[i * y_step + e] * line[(i * down + r) * step][left + e * across + s * apart]

    `lines` has two numbers for each: bits that are set where it is one of x, and its bytes behind x, or else its address. Of a
    line the cells 0 .. cells - 1 are there, and of the lanes e the first `count`: what lies outside is not touched, and counts
    as zero. A vector of either is loaded once for all taps that it meets; `across` is 1, or 2 where `apart` is 1. Unless
    `masked`, all is there, and at 2 across rest_of(columns) cells are read behind two to a lane.
    """
    literals = (outputs, down, across, apart, masked)
    together, stride, between, spread, partial = (literal.literal_value for literal in literals)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, x, lines, step, left, cells, y, y_step, count, *_ = args
        needed = [(s * spread, tile) for s in range(tile.columns)] if between == 1 else parts_of(tile.columns, tile)
        lanes, low, high = mask_of(builder, count, tile.lanes), builder.neg(left), builder.sub(cells, left)
        masks = [mask_between(builder, builder.sub(low, I64(s)), builder.sub(high, I64(s)), part.lanes) for s, part in needed]
        if between == 1:
            masks = [builder.and_(mask, lanes) for mask in masks]

        def vector_at(address: Any, part: Any, mask: Any) -> Any:
            return read_masked(builder, address, part, mask) if partial else read(builder, address, part, I64(0))

        factors: dict[int, Any] = {}
        size = BYTES[tile.dtype]
        offsets = [builder.mul(builder.add(left, I64(s)), I64(size)) for s, _ in needed]
        for row, users in enumerate(met(together, stride, tile.rows)):
            if not users:
                continue
            for i in [i for i, _ in users if i not in factors]:
                factors[i] = vector_at(builder.add(y, builder.mul(y_step, I64(i * size))), tile, lanes)
            place = builder.add(lines, builder.mul(step, I64(2 * row * BYTES[types.int64])))
            of_x, behind = (builder.load(address_of(builder, place, types.int64, I64(i)), typ=I64) for i in range(2))
            line = builder.add(builder.and_(x, of_x), behind)
            if row:  # LLVM would load vectors of many rows ahead, and keep them on the stack
                line = opaque(builder, line, *(builder.extract_value(t, k) for k in range(tile.rows * tile.columns)))
            found = [
                vector_at(builder.add(line, offset), part, mask)
                for (_, part), mask, offset in zip(needed, masks, offsets, strict=True)
            ]
            if between == 2:
                found = two_apart(builder, found, tile.columns, tile)
                if partial:  # cells of a window may lie under lanes that have none
                    found = [builder.select(lanes, cell, cell.type(None)) for cell in found]
            for s, cell in enumerate(found):
                for i, r in users:
                    k = r * tile.columns + s
                    t = builder.insert_value(t, fused(builder, factors[i], cell, builder.extract_value(t, k), tile), k)
        return t

    number = types.intp
    return tile(tile, x, lines, number, number, number, y, number, number, *literals), generate


@intrinsic(prefer_literal=True)
def fma_taps_along(
    context: Any, tile: Any, x: Any, steps: Any, there: Any, outside: Any, y: Any, y_step: Any, outputs: Any, stride: Any
) -> Any:
    """tile[r, s] += sum over i < outputs of y[i * y_step:][:lanes] * x[r * steps[0] + (i * stride + s) * steps[1]:][:lanes]

    A row whose bit of `there` is not set reads `outside` throughout. A vector of either is loaded once for all taps of a row
    that it meets.
    """
    together, between = outputs.literal_value, stride.literal_value

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        t, x, steps, there, outside, y, y_step, *_ = args
        size = BYTES[tile.dtype]
        down, along = (builder.mul(builder.extract_value(steps, i), I64(size)) for i in range(2))
        sources = []
        for r in range(tile.rows):
            is_set = builder.trunc(builder.lshr(there, I64(r)), I1)
            row = builder.select(is_set, builder.add(x, builder.mul(down, I64(r))), outside)
            sources.append((row, builder.select(is_set, along, I64(0))))
        factors: dict[int, Any] = {}
        for column, users in enumerate(met(together, between, tile.columns)):
            for i in [i for i, _ in users if i not in factors]:
                factors[i] = read(builder, builder.add(y, builder.mul(y_step, I64(i * size))), tile, I64(0))
            for r, (row, step) in enumerate(sources):
                if users:
                    cell = read(builder, builder.add(row, builder.mul(step, I64(column))), tile, I64(0))
                for i, s in users:
                    k = r * tile.columns + s
                    t = builder.insert_value(t, fused(builder, factors[i], cell, builder.extract_value(t, k), tile), k)
        return t

    number = types.intp
    pair = types.UniTuple(number, 2)
    return tile(tile, x, pair, types.int64, outside, y, number, outputs, stride), generate
