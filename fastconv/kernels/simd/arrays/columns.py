"""unfold and fold on vectors: rows of windows' cells copied out of an image, and added back into it.

    unfold   y [tap][o] = x [o * stride + tap * dilation - padding]
    fold     y [cell] = start + sum over taps of x [tap][o], for the output o whose tap lies over the cell

Of a row of outputs, those whose cells are padding lie at its ends: what is between them is copied, or added, without a test.
With strides, fold adds up the cells of each phase of the stride in a line of its own, and weaves the lines into the row.
"""

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Call, Kernel, compiled, element, inlined
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.sizes import Axes, axes, reader, written
from fastconv.kernels.simd.engine.windows import outputs_inside, runs
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array
from fastconv.problem.problem import Operands, Problem
from fastconv.problem.windows import FoldGeometry

peek, poke, pointer = vector.peek, vector.poke, vector.pointer
SQUARE = 16  # rows of a square that is turned in registers, at most
LONG = 4096  # cells of a line, of which there are no more than phases, even where a square would read them
LINE = 16  # elements that are asked for at a time
JUMPS = 2  # the stride beyond which the rows that a row of cells meets are few, of taps far apart
OF_VALUES = 3  # cycles of a vector of columns that is added up, or copied
FAR = 64 << 10  # bytes of the columns of a plane that no L1 cache holds


class Sizes(NamedTuple):
    """Starts of planes, which they take by turns, the image, the windows of it, and cells of padding before it.

    fold's planes lie `plane` cells apart; where `far` is 1, it asks for the cells of the next outputs.
    """

    starts: int
    plane: int
    far: int
    cells: Axes
    outputs: Axes
    taps: Axes
    stride: Axes
    before: Axes
    dilation: Axes


class Column(NamedTuple):
    """A tap t, r, s of the windows of a plane."""

    plane: int
    t: int
    r: int
    s: int


class Row(NamedTuple):
    """A row d, h of a plane."""

    plane: int
    d: int
    h: int


class Run(NamedTuple):
    """The outputs of a row whose cells lie inside the image, `count` from `first` on, and where fold's lines have the first."""

    first: int
    count: int  # type: ignore[assignment]
    at: int


class Parts(NamedTuple):
    """A line of cells for each phase of the stride that has cells."""

    lines: int


class Tables(NamedTuple):
    """A Run of every tap of a row."""

    runs: int


read, carve, carve_tables = reader(Sizes), workspace(Parts), workspace(Tables)


@compiled
def row_over(cell, tap, dilation, before, stride, outputs):
    """The output whose `tap` lies over a cell, or -1"""
    o, rest = cell + before - tap * dilation, 0
    if stride > 1:  # a division takes as long as several vectors
        o, rest = divmod(o, stride)
    return o if rest == 0 and 0 <= o < outputs else -1


# Unfold -----------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def copier(lanes: int) -> Any:
    """The compiled to[i] = source[i * stride], for i < count."""
    copy_run, _ = runs(lanes)

    def copy(to, source, count, stride):
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

    return inlined(copy)


@compiled
def column_of(item, taps):
    """The tap that an item of unfold is."""
    rest, s = divmod(item, taps.w)
    rest, r = divmod(rest, taps.h)
    plane, t = divmod(rest, taps.d)
    return Column(plane, t, r, s)


@lru_cache(maxsize=16)
def unfold_kernel(lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over rows of n, c, t, r, s: f32_unfold_avx512."""
    copy, clear = copier(lanes), runs(lanes)[1]

    def unfold(begin, end, x, y, sizes):
        """y[p, t, r, s, d, h, w] = x[p, (d, h, w) * stride + (t, r, s) * dilation - before], 0 where that is padding"""
        s, zero = read(sizes), x.dtype.type(0)
        for item in range(begin, end):
            column = column_of(item, s.taps)
            start = column.s * s.dilation.w - s.before.w
            lo, hi = outputs_inside(start, s.cells.w, s.stride.w, s.outputs.w)
            for d in range(s.outputs.d):
                i = d * s.stride.d + column.t * s.dilation.d - s.before.d
                for h in range(s.outputs.h):
                    j = h * s.stride.h + column.r * s.dilation.h - s.before.h
                    to = pointer(y) + ((item * s.outputs.d + d) * s.outputs.h + h) * s.outputs.w
                    if i < 0 or i >= s.cells.d or j < 0 or j >= s.cells.h:
                        clear(to, zero, s.outputs.w)
                        continue
                    source = pointer(x) + (((column.plane * s.cells.d + i) * s.cells.h + j) * s.cells.w + start)
                    clear(to, zero, lo)
                    copy(to + lo, source + lo * s.stride.w, hi - lo, s.stride.w)
                    clear(to + hi, zero, s.outputs.w - hi)

    unfold.__name__ = f"{dtype}_unfold_{isa}"
    return Kernel(unfold)


# Fold -------------------------------------------------------------------------------------------------------------------


@compiled
def run_at(runs, tap):
    """The Run of a tap."""
    at = runs + 3 * tap
    return Run(peek(at), peek(at + 1), peek(at + 2))


@compiled
def write_runs(runs, pitch, s):
    """The Run of every tap of a row; the lines of the phases of the stride lie `pitch` apart."""
    for tap in range(s.taps.w):
        start, at = tap * s.dilation.w - s.before.w, runs + 3 * tap
        lo, hi = outputs_inside(start, s.cells.w, s.stride.w, s.outputs.w)
        cell, phase = divmod(start, s.stride.w)
        poke(at, lo)
        poke(at + 1, hi - lo)
        poke(at + 2, phase * pitch + cell + lo)


@lru_cache(maxsize=8)
def adder(lanes: int) -> Any:
    """The compiled to[i] += source[i], for i < count; zeros are added to the rest of the last vector.

    The next tap reads what was written here a cell or two further: a store of a part of a vector would have it wait. The first
    `asked` cells of the next outputs, which lie `after` elements behind these, come to the cache.
    """

    def add(to, source, count, after, asked):
        whole = count - count % lanes
        for i in range(0, asked, LINE):
            vector.prefetch(source + (after + i))
        for i in range(0, whole, lanes):
            vector.store(to + i, vector.load(to + i, lanes) + vector.load(source + i, lanes))
        if whole < count:
            rest = vector.load_first(source + whole, count - whole, lanes)
            vector.store(to + whole, vector.load(to + whole, lanes) + rest)

    return inlined(add)


@lru_cache(maxsize=8)
def row_adder(lanes: int) -> Any:
    """The compiled lines of a row of cells: the sums of all taps over them."""
    add = adder(lanes)

    def add_taps(x, lines, runs, row, s):
        for t in range(s.taps.d):
            i = row_over(row.d, t, s.dilation.d, s.before.d, s.stride.d, s.outputs.d)
            for r in range(s.taps.h):
                j = row_over(row.h, r, s.dilation.h, s.before.h, s.stride.h, s.outputs.h)
                if i < 0 or j < 0:
                    continue
                column = ((row.plane * s.taps.d + t) * s.taps.h + r) * s.taps.w
                first = ((column * s.outputs.d + i) * s.outputs.h + j) * s.outputs.w
                for tap in range(s.taps.w):
                    run = run_at(runs, tap)
                    source = x + (first + tap * s.outputs.d * s.outputs.h * s.outputs.w + run.first)
                    add(lines + run.at, source, run.count, s.outputs.w, run.count * s.far)

    return inlined(add_taps)


@lru_cache(maxsize=8)
def squarer(lanes: int) -> Any:
    """The compiled: are the lines of the phases, `pitch` apart, turned by squares of `lanes` lines?"""

    def takes_squares(stride, pitch):
        return 2 < stride <= lanes <= SQUARE and (stride == lanes or pitch <= LONG)

    return compiled(takes_squares)


@lru_cache(maxsize=8)
def weaver(lanes: int) -> Any:
    """The compiled y[i * stride + phase] = lines[phase][i]."""
    takes_squares = squarer(lanes)

    def weave_two(to, lines, pitch, cells):
        pairs = cells // 2
        for i in range(0, pairs, lanes):
            vector.store_woven(vector.load_tile(lines + i, pitch, 2, 1, lanes), to + 2 * i, 0, 2, 0, min(lanes, pairs - i))
        if cells % 2 == 1:
            poke(to + (cells - 1), peek(lines + pairs))

    weave_two, (copy, _) = inlined(weave_two), runs(lanes)

    @inlined
    def weave_turned(to, lines, pitch, s):
        """A vector of cells of each phase, turned, while it is all inside the row; returns the cells of a phase that are done.

        A row of the turned square holds the cells of all phases, and what lies behind them, which the next row is written over.
        """
        done = 0
        while (done + lanes - 1) * s.stride.w + lanes <= s.cells.w:
            vector.store_tile(vector.load_turned(lines + done, pitch, lanes), to + done * s.stride.w, s.stride.w)
            done += lanes
        return done

    def weave(to, lines, pitch, s):
        if s.stride.w == 1:
            copy(to, lines, s.cells.w)
            return
        if s.stride.w == 2 and s.cells.w > 1:
            weave_two(to, lines, pitch, s.cells.w)
            return
        done = weave_turned(to, lines, pitch, s) if takes_squares(s.stride.w, pitch) else 0
        for phase in range(min(s.stride.w, s.cells.w)):
            for i in range(done, (s.cells.w - phase + s.stride.w - 1) // s.stride.w):
                poke(to + (i * s.stride.w + phase), peek(lines + (phase * pitch + i)))

    return inlined(weave)


@lru_cache(maxsize=16)
def fold_kernel(lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over rows of n, c, d, h of the image: f32_fold_avx512."""
    clear, add_taps, weave, takes_squares = runs(lanes)[1], row_adder(lanes), weaver(lanes), squarer(lanes)

    def fold(begin, end, x, starts, y, sizes):
        """y[p, i] = start[p] + the sum of x[p, t, o] over taps t and outputs o with o * stride + t * dilation - before = i"""
        s = read(sizes)
        of_phase = -(-s.cells.w // s.stride.w)
        pitch = -(-of_phase // lanes) * lanes
        phases = min(s.stride.w, s.cells.w)
        rows = max(phases, lanes) if takes_squares(s.stride.w, pitch) else phases
        work, memory = carve(Parts(lines=rows * pitch + lanes), x)
        tables, integers = carve_tables(Tables(runs=3 * s.taps.w), sizes)
        write_runs(tables.runs, pitch, s)
        for item in range(begin, end):
            rest, h = divmod(item, s.cells.h)
            plane, d = divmod(rest, s.cells.d)
            clear(work.lines, starts[plane % s.starts], phases * pitch + lanes)
            add_taps(pointer(x), work.lines, tables.runs, Row(plane, d, h), s)
            to = pointer(y) + (plane * s.plane + (d * s.cells.h + h) * s.cells.w)
            weave(to, work.lines, pitch, s)
        keep(memory)
        keep(integers)

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
    g, plane, values = geometry, geometry.windows.lifted(), geometry.flops
    lines, stride = values / max(1, plane.out_size[2]), plane.stride[2]
    if g.operation == "unfold":
        cycles = 15 * lines + values * (OF_VALUES / machine.lanes(dtype) if stride <= 2 else 1.5)
    else:
        cells = prod(g.image_shape)
        woven = 0.1 if stride == 1 else 0.3 if stride == 2 else 1.2
        of_line, of_row = (14, 100) if machine.registers <= 16 else (8, 40)
        cycles = of_line * lines + values * OF_VALUES / machine.lanes(dtype)
        cycles += cells * woven + of_row * cells / max(1, plane.in_size[2])
        if values * dtype.itemsize > 2 * machine.l2:  # taps lie far apart: each line is waited for
            cycles += 15 * lines
    return 1e-6 + machine.seconds(cycles, g.bytes(dtype.itemsize))


class Launch(NamedTuple):
    """A kernel with its sizes."""

    kernel: Kernel
    items: int
    work: int
    sizes: Array

    def unfold(self, x: Array, y: Array) -> None:
        """From and to flat arrays."""
        self.kernel(self.items, self.work, x, y, self.sizes)

    def fold(self, x: Array, starts: Array, y: Array) -> None:
        """From and to flat arrays; planes begin with the values of `starts` by turns."""
        self.kernel(self.items, self.work, x, starts, y, self.sizes)

    def call_of_fold(self, x: Array, starts: Array, y: Array) -> Call:
        """What `fold` does."""
        return Call(self.kernel, self.items, self.work, (x, starts, y, self.sizes))


@remembered
def launch(geometry: FoldGeometry, starts: int, dtype: np.dtype[Any], machine: Machine, apart: int = 0) -> Launch:
    """What runs; fold's planes begin with so many values, by turns, and may be parts of larger ones, `apart` cells each."""
    g, plane, names = geometry, geometry.windows.lifted(), (machine.lanes(dtype), element(dtype), machine.isa)
    before = tuple(pair[0] for pair in plane.padding)
    parts = map(axes, (plane.in_size, plane.out_size, plane.kernel, plane.stride, before, plane.dilation))
    far = int(plane.stride[1] > JUMPS and prod(plane.kernel) * prod(plane.out_size) * dtype.itemsize >= FAR)
    unfolds = g.operation == "unfold"
    items = g.batch * g.channels * prod(plane.kernel if unfolds else plane.in_size[:2])
    made = (unfold_kernel if unfolds else fold_kernel)(*names)
    return Launch(
        made, items, int(1e9 * seconds(g, dtype, machine)), written(Sizes(starts, apart or prod(plane.in_size), far, *parts))
    )


def kernel(problem: Problem, machine: Machine) -> str:
    """The name of the kernel that runs."""
    return launch(problem.geometry, 1, problem.dtype, machine).kernel.__name__


def run(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """All rows."""
    x = operands["x"]
    made = launch(problem.geometry, 1, x.dtype, host())
    if problem.geometry.operation == "fold":
        made.fold(x.reshape(-1), np.zeros(1, x.dtype), out.reshape(-1))
    else:
        made.unfold(x.reshape(-1), out.reshape(-1))
