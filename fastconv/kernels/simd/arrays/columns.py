"""unfold and fold on vectors: rows of windows' cells copied out of an image, and added back into it.

    unfold   y [tap][o] = x [o * stride + tap * dilation - padding]
    fold     y [cell] = sum over taps of x [tap][o], for the output o whose tap lies over the cell

Of a row of outputs, those whose cells are padding lie at its ends: what is between them is copied, or added, without a test.
With strides, fold adds up the cells of each phase of the stride in a line of its own, and weaves the lines into the row.
"""

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from fastconv.kernels.jit import Kernel, compiled, element, inlined
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import packing
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array
from fastconv.problem.problem import Operands, Problem
from fastconv.problem.windows import FoldGeometry

peek, poke, pointer = vector.peek, vector.poke, vector.pointer


@compiled
def outputs_inside(start, size, stride, outputs):
    """The outputs lo .. hi - 1 whose cells, start + o * stride, lie in a row of `size` cells."""
    lo = min(max(0, -(start // stride)), outputs)
    hi = min(outputs, (size - 1 - start) // stride + 1)
    return lo, max(lo, hi)


@compiled
def row_over(cell, tap, dilation, before, stride, outputs):
    """The output whose `tap` lies over a cell, or -1"""
    o, rest = divmod(cell + before - tap * dilation, stride)
    return o if rest == 0 and 0 <= o < outputs else -1


@lru_cache(maxsize=16)
def unfold_kernel(lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over rows of n, c, t, r, s: f32_unfold_avx512."""

    copy_run, clear = packing.runs(lanes)

    @inlined
    def copy(to, source, count, stride):
        """to[i] = source[i * stride], for i < count"""
        done = 0
        if stride == 1:
            copy_run(to, source, count)
            return
        if stride == 2:
            while done + lanes < count:  # a cell beyond the last one that is copied is read
                at = source + 2 * done
                vector.store(to + done, vector.every_second(vector.load(at, lanes), vector.load(at + lanes, lanes)))
                done += lanes
        for i in range(done, count):
            poke(to + i, peek(source + i * stride))

    def unfold(begin, end, x, y, sizes):
        (depth_in, rows_in, columns_in), (depth, rows, columns) = packing.three(sizes, 0), packing.three(sizes, 3)
        (_, taps_h, taps_w), taps_d = packing.three(sizes, 6), sizes[6]
        (stride_d, stride_h, stride_w), (before_d, before_h, before_w) = packing.three(sizes, 9), packing.three(sizes, 12)
        (step_d, step_h, step_w), zero = packing.three(sizes, 15), x.dtype.type(0)
        for item in range(begin, end):
            rest, s = divmod(item, taps_w)
            rest, r = divmod(rest, taps_h)
            plane, t = divmod(rest, taps_d)
            start = s * step_w - before_w
            lo, hi = outputs_inside(start, columns_in, stride_w, columns)
            for d in range(depth):
                i = d * stride_d + t * step_d - before_d
                for h in range(rows):
                    j = h * stride_h + r * step_h - before_h
                    to = pointer(y) + ((item * depth + d) * rows + h) * columns
                    if i < 0 or i >= depth_in or j < 0 or j >= rows_in:
                        clear(to, zero, columns)
                        continue
                    source = pointer(x) + (((plane * depth_in + i) * rows_in + j) * columns_in + start)
                    clear(to, zero, lo)
                    copy(to + lo, source + lo * stride_w, hi - lo, stride_w)
                    clear(to + hi, zero, columns - hi)

    unfold.__name__ = f"{dtype}_unfold_{isa}"
    return Kernel(unfold)


@lru_cache(maxsize=16)
def fold_kernel(lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over rows of n, c, d, h of the image: f32_fold_avx512."""

    @inlined
    def add(to, source, count):
        """to[i] += source[i], for i < count"""
        whole = count - count % lanes
        for i in range(0, whole, lanes):
            vector.store(to + i, vector.load(to + i, lanes) + vector.load(source + i, lanes))
        if whole < count:
            room = count - whole
            total = vector.load_first(to + whole, room, lanes) + vector.load_first(source + whole, room, lanes)
            vector.store_first(to + whole, total, room)

    def fold(begin, end, x, y, sizes):
        (depth_in, rows_in, columns_in), (depth, rows, columns) = packing.three(sizes, 0), packing.three(sizes, 3)
        (_, taps_h, taps_w), taps_d = packing.three(sizes, 6), sizes[6]
        (stride_d, stride_h, stride_w), (before_d, before_h, before_w) = packing.three(sizes, 9), packing.three(sizes, 12)
        (step_d, step_h, step_w), zero = packing.three(sizes, 15), x.dtype.type(0)
        each = -(-columns_in // stride_w)
        pitch = -(-each // lanes) * lanes
        memory, integers = np.empty(stride_w * pitch + lanes, x.dtype), np.empty(3 * taps_w, np.int64)
        lines, empty, spans = pointer(memory), vector.splat(zero, lanes), pointer(integers)
        for s in range(taps_w):
            start = s * step_w - before_w
            lo, hi = outputs_inside(start, columns_in, stride_w, columns)
            cell, phase = divmod(start, stride_w)
            poke(spans + 3 * s, lo)
            poke(spans + (3 * s + 1), hi - lo)
            poke(spans + (3 * s + 2), phase * pitch + cell + lo)
        for item in range(begin, end):
            rest, h = divmod(item, rows_in)
            plane, d = divmod(rest, depth_in)
            for i in range(0, stride_w * pitch, lanes):
                vector.store(lines + i, empty)
            for t in range(taps_d):
                i = row_over(d, t, step_d, before_d, stride_d, depth)
                for r in range(taps_h):
                    j = row_over(h, r, step_h, before_h, stride_h, rows)
                    if i < 0 or j < 0:
                        continue
                    first = ((((plane * taps_d + t) * taps_h + r) * taps_w * depth + i) * rows + j) * columns
                    for s in range(taps_w):
                        lo, count, to = packing.three(integers, 3 * s)
                        add(lines + to, pointer(x) + (first + s * depth * rows * columns + lo), count)
            line = pointer(y) + item * columns_in
            if stride_w == 1:
                for i in range(0, columns_in, lanes):
                    vector.store_first(line + i, vector.load(lines + i, lanes), columns_in - i)
            else:
                for phase in range(stride_w):
                    for i in range((columns_in - phase + stride_w - 1) // stride_w):
                        poke(line + (i * stride_w + phase), peek(lines + (phase * pitch + i)))
        memory[0], integers[0] = zero, 0  # pointers do not keep an array alive: their last use does

    fold.__name__ = f"{dtype}_fold_{isa}"
    return Kernel(fold)


# Decisions --------------------------------------------------------------------------------------------------------------


def supports(problem: Problem) -> str | None:
    """The types that vectors have."""
    dtype = problem.dtype
    if dtype.kind in "iu" or dtype in (np.float32, np.float64):
        return None
    return f"its vectors are integers, float32 or float64, not {dtype}"


def cost(problem: Problem, machine: Machine) -> float:
    """A few cycles a vector, or a cell where they lie apart, and some for each row."""
    return seconds(problem.geometry, problem.dtype, machine)


def seconds(geometry: FoldGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """A few cycles a vector, or a cell where they lie apart, and some for each row."""
    plane, values = geometry.windows.lifted(), geometry.flops
    together = plane.stride[2] <= (2 if geometry.operation == "unfold" else 1)
    lines = values / max(1, plane.out_size[2])
    cycles = 15 * lines + values * (3 / machine.lanes(dtype) if together else 1.5)
    return 3e-6 + machine.seconds(cycles, geometry.bytes(dtype.itemsize))


@lru_cache(maxsize=256)
def launch(geometry: FoldGeometry, dtype: np.dtype[Any], machine: Machine) -> tuple[Any, ...]:
    """(kernel, items, work, sizes)."""
    g, plane, names = geometry, geometry.windows.lifted(), (machine.lanes(dtype), element(dtype), machine.isa)
    before = tuple(pair[0] for pair in plane.padding)
    sizes = (*plane.in_size, *plane.out_size, *plane.kernel, *plane.stride, *before, *plane.dilation)
    unfolds = g.operation == "unfold"
    items = g.batch * g.channels * prod(plane.kernel if unfolds else plane.in_size[:2])
    chosen = (unfold_kernel if unfolds else fold_kernel)(*names)
    return chosen, items, int(1e9 * seconds(g, dtype, machine)), np.array(sizes, np.int64)


def run(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """All rows."""
    x, geometry = operands["x"], problem.geometry
    kernel, items, work, sizes = launch(geometry, x.dtype, host())
    kernel(items, work, x.ravel(), out.ravel(), sizes)
