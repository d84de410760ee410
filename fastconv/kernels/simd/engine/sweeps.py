"""Windows of three rows and three cells, a row of outputs at a time, of cells that are read where they are stored.

    y [r][e] = window(x[r - before.h + t][e + (s - before.w) * inner] for t, s < 3)

An image is read once, and a row that was just read is still in the cache for the next two. Rows around the array are those that
the border names, or one of constants. At either end of a row windows reach out of it: the cells under them are copied, with
what lies around the array, and so are all cells of a row that is shorter than a vector.

A family writes sweep(rows, to, count, inner, w): `count` outputs at `to`, of windows that begin at the three pointers `rows`.
It may read a vector and two cells more than it is asked for where count is less than a vector, and nothing more elsewhere; it
returns whether the last row's cells, the first of each window, are numbers.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import requests
from fastconv.kernels.simd.engine.neighbourhoods import Line, line_of
from fastconv.kernels.simd.engine.requests import Lines, ask_lines
from fastconv.kernels.simd.engine.sizes import reader, written
from fastconv.kernels.simd.engine.windows import cell_under
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.machine import Machine
from fastconv.problem.borders import source_cell
from fastconv.problem.convolutions import Array
from fastconv.problem.filters import FilterGeometry
from fastconv.problem.problem import Problem

pointer = vector.pointer
TAPS = 3  # rows of a window, and cells of each
HALO = TAPS - 1  # of them behind the first
SLACK = 4  # vectors behind the copies that a sweep may read
BLOCKS = 16  # or more, of a large array
LEAST = 1 << 14  # elements of a block that is worth a thread
PARTS = 4  # lines of a part of a row: of more the requests fill what waits for memory, and reads come after them
WIDE = 16  # times what a row has more than this part of the L2 cache: three of them would not stay there


class Sweep(NamedTuple):
    """What the kernel knows.

    Attributes
    ----------
    planes : int
        Of the array.
    h : Line
        Rows of a plane.
    elements, inner : int
        Of a row, and of a cell.
    high : int
        Rows of a block, at most.
    left, right : int
        Outputs at the ends of a row whose cells are copied.
    pitch : int
        Elements from the copies of one row's ends to those of the next.
    part : int
        Elements of a part of a row, before which as much is asked for of the next one; or 0.
    lines : Lines
        Of both arrays.
    """

    planes: int
    h: Line
    elements: int
    inner: int
    high: int
    left: int
    right: int
    pitch: int
    part: int
    lines: Lines


class Rows(NamedTuple):
    """Where the windows of a row of outputs begin: in the row above, in the middle one, and in the one below."""

    above: Any
    middle: Any
    below: Any


class Copies(NamedTuple):
    """The workspace of a thread: both ends of the rows under a block."""

    ends: int


read, carve = reader(Sweep), workspace(Copies)


# In Python --------------------------------------------------------------------------------------------------------------------


def refused(geometry: FilterGeometry, itemsize: int, machine: Machine) -> str | None:
    """Why a window is not swept, or None: three rows and three cells, of rows that stay in the cache."""
    f = geometry.folded
    if f.outer_taps != 1 or f.h.taps != TAPS or f.w.taps != TAPS:
        return f"it sweeps windows of {TAPS} rows and {TAPS} cells, not of {'x'.join(map(str, geometry.taps))}"
    if f.w.size * f.inner * itemsize * WIDE > machine.l2:
        return "it sweeps rows of which several fit the L2 cache"
    return None


def sweep_of(problem: Problem, lanes: int, machine: Machine) -> Sweep:
    """The sizes of a problem, for vectors of so many elements."""
    f, lines = problem.geometry.folded, requests.lines_of(problem, machine)
    whole = f.w.size * f.inner
    left, right = f.w.before * f.inner, (TAPS - 1 - f.w.before) * f.inner
    if whole - left - right < lanes:
        left, right = whole, 0
    blocks = min(BLOCKS, max(1, f.planes * f.h.size * whole // LEAST))
    high = max(1, min(f.h.size, -(-f.planes * f.h.size // blocks)))
    pitch = left + right + 2 * HALO * f.inner
    return Sweep(f.planes, line_of(f.h), whole, f.inner, high, left, right, pitch, PARTS * lines.of_x, lines)


def edges_of(geometry: FilterGeometry, sweep: Sweep) -> Array:
    """The element of a row that each copied one is, or -1 for what the border holds: of the left end, then of the right one."""
    f, found = geometry.folded, []
    before, halo = f.w.before * f.inner, HALO * f.inner
    for first, count in ((-before, sweep.left), (sweep.elements - sweep.right - before, sweep.right)):
        for e in range(first, first + count + halo):
            cell = source_cell(e // f.inner, f.w.size, f.w.border.code)
            found.append(-1 if cell < 0 else cell * f.inner + e % f.inner)
    return np.array(found, np.int64)


class Launch(NamedTuple):
    """A kernel of sweeps with all of its arguments but the array, the border and the result.

    Attributes
    ----------
    kernel : Kernel
        kernel(begin, end, x, outside, border, edges, w, y, sizes); `read` makes a Sweep of the sizes.
    items, work : int
        As a Kernel takes them.
    edges, w, sizes : array
        Of `edges_of`, what `sweep` takes as w, and of a Sweep.
    beyond : int
        Elements of a row of what the border holds: 1 where its mode has no such row.
    """

    kernel: Kernel
    items: int
    work: int
    edges: Array
    w: Array
    sizes: Array
    beyond: int

    def run(self, x: Array, border: Array, y: Array) -> None:
        """All rows; `border` is one element of the type of x."""
        outside = border.repeat(self.beyond) if self.beyond > 1 else border
        self.kernel(self.items, self.work, x.ravel(), outside, border, self.edges, self.w, y.ravel(), self.sizes)


def launch_of(kernel: Kernel, problem: Problem, lanes: int, w: Array, seconds: float, machine: Machine) -> Launch:
    """The launch for a problem, of vectors of so many elements."""
    geometry, sweep = problem.geometry, sweep_of(problem, lanes, machine)
    items = sweep.planes * -(-sweep.h.size // sweep.high)
    beyond = sweep.elements if geometry.folded.h.border.mode in ("constant", "zeros") else 1
    return Launch(kernel, items, int(1e9 * seconds), edges_of(geometry, sweep), w, written(sweep), beyond)


def seconds_of(problem: Problem, each: float, machine: Machine) -> float:
    """Of so many cycles for each vector of outputs, or of the bytes at memory speed."""
    g, types = problem.geometry, problem.types
    rows = g.folded.planes * g.folded.h.size
    vectors = rows * -(-g.folded.w.size * g.folded.inner // machine.lanes(types.result))
    return machine.seconds(15_000 + 60 * rows + each * vectors, g.bytes(types.stored.itemsize, types.result.itemsize))


# In kernels -------------------------------------------------------------------------------------------------------------------


@compiled
def copy_ends(to, row, edges, count, border):
    """The cells under the windows at both ends of a row."""
    for i in range(count):
        cell = vector.peek(edges + i)
        vector.poke(to + i, vector.peek(border) if cell < 0 else vector.peek(row + cell))


@lru_cache(maxsize=8)
def looker(lanes: int) -> Any:
    """The compiled are_numbers(row, count): whether none of some elements is NaN."""

    def are_numbers(row, count):
        whole = count - count % lanes
        fine = vector.numbers(vector.load_first(row + whole, count - whole, lanes))
        for e in range(0, whole, lanes):
            fine = vector.both(fine, vector.numbers(vector.load(row + e, lanes)))
        return vector.first_are_set(fine, lanes)

    return compiled(are_numbers)


@lru_cache(maxsize=8)
def unchecked(lanes: int) -> Any:
    """The same, of what has no NaN or minds none."""

    def are_numbers(row, count):
        return True

    return compiled(are_numbers)


@lru_cache(maxsize=32)
def sweeper(lanes: int, sweep: Any, again: Any) -> Any:
    """The compiled sweep_blocks(begin, end, x, outside, border, edges, w, y, sizes): all rows of some blocks.

    `again` writes a row in place of `sweep` where a cell under its windows is NaN; None, if `sweep` itself minds it.
    """
    minds = again is not None
    are_numbers, repeat = (looker(lanes), again) if minds else (unchecked(lanes), sweep)

    @compiled
    def sweep_row(rows, ends, to, w, s, once_more):
        """A row of outputs; whether the cells of the last row between the ends are numbers."""
        inner, middle, fine = s.inner, s.elements - s.left - s.right, True
        behind, shift = to + (s.left + middle), s.left + HALO * inner
        right = Rows(ends.above + shift, ends.middle + shift, ends.below + shift)
        if once_more:
            repeat(ends, to, s.left, inner, w)
            repeat(right, behind, s.right, inner, w)
            repeat(rows, to + s.left, middle, inner, w)
        else:
            sweep(ends, to, s.left, inner, w)
            sweep(right, behind, s.right, inner, w)
            begun, part = np.int64(0), s.part
            while part > 0 and middle - begun >= 2 * part:
                ask_lines(rows.below + (s.elements + begun), part, s.lines.of_x)
                ask_lines(to + (s.elements + s.left + begun), part, s.lines.of_y)
                here = Rows(rows.above + begun, rows.middle + begun, rows.below + begun)
                fine &= sweep(here, to + (s.left + begun), part, inner, w)
                begun += part
            rest = Rows(rows.above + begun, rows.middle + begun, rows.below + begun)
            fine &= sweep(rest, to + (s.left + begun), middle - begun, inner, w)
        return fine

    def sweep_blocks(begin, end, x, outside, border, edges, w, y, sizes):
        s = read(sizes)
        held = s.high + HALO
        work, memory = carve(Copies(held * s.pitch + SLACK * lanes), x)
        for i in range(SLACK * lanes):
            vector.poke(work.ends + (held * s.pitch + i), vector.zero(work.ends))
        for item in range(begin, end):
            plane, band = divmod(item, -(-s.h.size // s.high))
            top = band * s.high - s.h.before
            first, to = pointer(x) + plane * s.h.size * s.elements, pointer(y) + plane * s.h.size * s.elements
            count = min(s.high, s.h.size - band * s.high) + HALO
            for r in range(count):  # before any is read: what was just written, piece by piece, vectors would wait for
                h = cell_under(top + r, s.h.size, s.h.mode)
                row = pointer(outside) if h < 0 else first + h * s.elements
                copy_ends(work.ends + r * s.pitch, row, pointer(edges), s.pitch, pointer(border))
            rows, ends = Rows(first, first, first), Rows(work.ends, work.ends, work.ends)
            above, middle, below = True, True, True  # whether the cells of a row are numbers
            for r in range(count):
                h = cell_under(top + r, s.h.size, s.h.mode)
                row = pointer(outside) if h < 0 else first + h * s.elements
                rows, ends = Rows(rows.middle, rows.below, row), Rows(ends.middle, ends.below, work.ends + r * s.pitch)
                above, middle, below = middle, below, are_numbers(ends.below, s.pitch)
                if r < HALO:
                    below &= are_numbers(row, s.elements)
                    continue
                at = to + (band * s.high + r - HALO) * s.elements
                below &= sweep_row(rows, ends, at, w, s, False)
                if minds and not (above and middle and below):
                    sweep_row(rows, ends, at, w, s, True)
        keep(memory)

    return compiled(sweep_blocks)
