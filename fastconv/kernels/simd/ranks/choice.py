"""Which kernel finds ranks, and what it is expected to take."""

from functools import partial
from typing import Any

import numpy as np

from fastconv.kernels.jit import Kernel, element
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd.engine.neighbourhoods import field_of, items_of, outer_table, tap_offsets
from fastconv.kernels.simd.engine.sizes import Plane, written
from fastconv.kernels.simd.ranks import columns, sliding, sorting
from fastconv.kernels.simd.ranks.layouts import Layout, Spans, laid_out, tables, texts
from fastconv.kernels.simd.ranks.networks import Program, box_program, columns_under, flattened, footprint_program
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array
from fastconv.problem.filters import RankGeometry
from fastconv.problem.problem import Operands, Problem
from fastconv.problem.types import Types

ROW_BYTES = 2048  # of a block's rows of a network that is code
LINE_BYTES = 8192  # and of one that has no rows but those of its results
CODE = 1200  # minima and maxima of a network that may be code: it compiles within two seconds
COMMON = ((1, 1, 3), (1, 3, 3), (1, 5, 5))  # windows whose networks are worth code for any array: planes, rows, columns
FLAT = 9  # cells of a window whose network is worth more comparisons, and no rows that are written and read again
VECTOR, NEAR = 64, 3  # bytes, and vectors
ALIAS = 4096  # bytes: a read waits for a write that lies about so many before it
MANY = 1 << 18  # cells of an array for which that of other windows is


def supports(problem: Problem) -> str | None:
    """Windows of two cells or more, of integers, float32 or float64."""
    for dtype in problem.types:
        if dtype.kind not in "iuf" or dtype.itemsize > 8 or dtype == np.float16:
            return f"its vectors are integers, float32 or float64, not {dtype}"
    return None if problem.geometry.members > 1 else "it compares the cells of windows that have more than one"


def supports_code(problem: Problem) -> str | None:
    """Medians of small boxes."""
    g: RankGeometry = problem.geometry
    reason = supports(problem)
    if reason is not None:
        return reason
    if g.footprint is not None or g.rank != g.members // 2:
        return "networks become code for medians of boxes; other ranks and footprints share one kernel"
    f = g.folded
    if g.cells < MANY and (f.outer_taps, f.h.taps, f.w.taps) not in COMMON:
        return f"an array of less than {MANY} cells is not worth code of its own for this window"
    if g.window > 130 or made_comparisons(problem) > CODE:
        return f"the code of {g.window} cells would take too long to compile"
    return None


def made_comparisons(problem: Problem) -> int:
    """Minima and maxima in all."""
    program = program_of(problem.geometry)
    return program.comparisons * len(program.results)


@remembered
def program_of(geometry: RankGeometry) -> Program:
    """The network of a geometry."""
    f = geometry.folded
    if geometry.footprint is None:
        return box_program(f.outer_taps, f.h.taps, f.w.taps, geometry.rank)
    return footprint_program(columns_under((f.outer_taps * f.h.taps, f.w.taps), geometry.cells_used), geometry.rank)


@remembered
def coded_program_of(geometry: RankGeometry) -> Program:
    """The network as code: that of a small window stays in registers from its cells to its results."""
    program = program_of(geometry)
    return flattened(program) if geometry.window <= FLAT else program


@remembered
def layout_of(geometry: RankGeometry, code: bool = False) -> Layout:
    """Its levels."""
    return laid_out(coded_program_of(geometry) if code else program_of(geometry))


def lines_of(geometry: RankGeometry) -> int:
    """Lines of a plane that a program names."""
    f = geometry.folded
    return f.h.taps + len(program_of(geometry).results) - 1


def row_bytes(geometry: RankGeometry, code: bool) -> int:
    """Of a block's rows."""
    return LINE_BYTES if code and geometry.window <= FLAT else ROW_BYTES


def cut(geometry: RankGeometry, itemsize: int, rows: int, wide: int, machine: Machine) -> Plane:
    """Rows and elements, of so many bytes, of a block: that many rows of the network and its cells fit the L2 cache."""
    f = geometry.folded
    whole, lanes, halo = f.w.size * f.inner, machine.vector_bytes // itemsize, (f.w.taps - 1) * f.inner
    room = machine.l2 // 3 // itemsize
    most = max(wide // itemsize, 4 * halo)
    while most > max(8 * lanes, 2 * halo) and rows * most > room:
        most //= 2
    strips = -(-whole // most)
    elements = min(whole, -(-whole // strips // lanes) * lanes)
    lines = room // (f.outer_taps * (elements + halo))
    least = -(-8 // max(1, f.planes * strips))
    high = max(1, min(f.h.size, max(lines - (f.h.taps - 1), f.h.taps // 2), -(-f.h.size // least)))
    return Plane(high + high % 2 if high < f.h.size else high, elements)


def names(types: Types) -> str:
    """The types of x, of the ranks and of y, as kernels are named."""
    return "_".join(map(element, dict.fromkeys((types.stored, types.summed, types.result))))


def of_comparison(types: Types, machine: Machine) -> float:
    """Cycles of a minimum of vectors that lie in registers."""
    return 0.6 if types.summed.kind == "f" else 3.0 if types.summed.itemsize == 8 else 1.0


def seconds(problem: Problem, per_comparison: float, machine: Machine) -> float:
    """Cycles of the comparisons, and of copying cells."""
    g, types = problem.geometry, problem.types
    f, lanes = g.folded, machine.lanes(types.summed)
    rows = f.planes * f.h.size
    vectors = rows * -(-f.w.size * f.inner // lanes)
    cycles = 30_000 + 150 * rows + vectors * (6 * f.outer_taps + 8 + per_comparison * program_of(g).comparisons)
    return machine.seconds(cycles, g.bytes(types.stored.itemsize, types.result.itemsize))


def cost_of_code(problem: Problem, machine: Machine) -> float:
    """Of a network in registers."""
    return seconds(problem, 2 * of_comparison(problem.types, machine), machine)


def cost_of_tables(problem: Problem, machine: Machine) -> float:
    """Of a network in the cache."""
    apart = max(1.0, layout_of(problem.geometry).places * 4 * machine.vector_bytes / machine.l1) ** 0.4
    return 5e-6 + seconds(problem, apart * max(3.2, 2.4 * of_comparison(problem.types, machine)), machine)


def width_of(elements: int, lanes: int) -> int:
    """Elements of a row of a network in whole vectors: as many that no few rows lie about ALIAS bytes behind each other."""
    vectors, around = -(-elements // lanes), ALIAS // VECTOR
    while any((vectors * rows + NEAR) % around < 2 * NEAR + 1 for rows in range(1, 6)):
        vectors += 1
    return vectors * lanes


def strip_of(layout: Layout, elements: int, lanes: int, machine: Machine) -> int:
    """Vectors that an operation of a table makes at a time: what a network has in places stays in the L1 cache, if it can."""
    near = machine.l1 // (2 * machine.vector_bytes * max(1, layout.places))
    return min(-(-elements // lanes), max(4, min(8, near)))


Launch = tuple[Kernel, tuple[Any, ...], Any, int, int]


@remembered
def launch(problem: Problem, machine: Machine, code: bool) -> Launch:
    """(kernel, arguments but for arrays, offsets of all taps, items, work)."""
    g, types = problem.geometry, problem.types
    program, layout = coded_program_of(g) if code else program_of(g), layout_of(g, code)
    lanes, itemsize, tall = machine.lanes(types.summed), types.summed.itemsize, len(program.results)
    f = g.folded
    block = cut(g, itemsize, layout.rows + layout.places // 8, row_bytes(g, code), machine)
    field = field_of(g, block, lanes)
    halo = (f.w.taps - 1) * f.inner
    real, as_stored, lines = types.summed.kind == "f", types.stored == types.summed == types.result, lines_of(g)
    rows_under = field.block.h + field.h.taps - 1
    if code:
        width = width_of(max(row_bytes(g, code) // itemsize, block.w) + halo, lanes)
        levels = ";".join(f"{reach}:{text}" for reach, text in texts(program, lines, width))
        made = sorting.kernel(lanes, real, as_stored, names(types), machine.isa, levels)
        strip, spread = 1, (np.empty((0, 4), np.int32), np.empty((0, 2), np.int64), np.empty((0, 2), np.int64))
    else:
        strip = strip_of(layout, block.w, lanes, machine)
        width = width_of(block.w + halo + (strip - 1) * lanes, lanes)
        spans = Spans(rows_under * field.pitch, field.pitch, width, strip * lanes, f.inner, lines)
        spread = tables(layout, spans)
        made = sorting.kernel(lanes, real, False, names(types), machine.isa)
    results = Plane(layout.results[0], layout.results[-1])
    s = sorting.Sizes(field, g.members, len(layout.levels), layout.rows, width, layout.places, strip, tall, results)
    work = int(1e9 * (cost_of_code if code else cost_of_tables)(problem, machine))
    offsets = tap_offsets(g, field)
    if g.footprint is not None:
        offsets = offsets[np.flatnonzero(g.cells_used)]
    return made, (outer_table(f), *spread, written(s)), offsets, items_of(field), work


def run_by(code: bool, operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """All blocks."""
    made, arguments, offsets, items, work = launch(problem, host(), code)
    g, dtype = problem.geometry, problem.types.summed
    values = np.zeros(6, dtype)
    values[sorting.BORDER] = operands["cval"][0]
    if dtype.kind == "f":
        values[sorting.ONE :] = 1, np.inf, np.nan, g.members - g.rank - 0.5
    made(items, work, operands["x"].ravel(), values, offsets, out.ravel(), *arguments)


run_code, run_tables = partial(run_by, True), partial(run_by, False)


def kernel_of(code: bool, problem: Problem, machine: Machine) -> str:
    """The name of the kernel that runs."""
    return launch(problem, machine, code)[0].__name__


kernel_of_code, kernel_of_tables = partial(kernel_of, True), partial(kernel_of, False)


# By a sliding histogram -------------------------------------------------------------------------------------------------------

SORTED = 1 << 16  # cells of a block whose places are found by sorting


def edges(geometry: RankGeometry) -> tuple[Array, Array, Array]:
    """Which taps are members, which of them enter a window as it moves by one cell, and which leave it [taps]."""
    members = np.array(geometry.cells_used).reshape(-1, geometry.folded.w.taps)
    outside = np.zeros((len(members), 1), bool)
    entering = members & ~np.concatenate([members[:, 1:], outside], 1)
    leaving = members & ~np.concatenate([outside, members[:, :-1]], 1)
    return members.ravel(), entering.ravel(), leaving.ravel()


def sliding_cut(geometry: RankGeometry, itemsize: int) -> Plane:
    """Rows and elements of a block: wide, since a row begins with a whole window, and of a limited number of cells."""
    f = geometry.folded
    halo = (f.w.taps - 1) * f.inner
    elements = min(f.w.size * f.inner, max(256, 4 * halo))
    room = (8 if itemsize == 1 else 1) * SORTED // (f.outer_taps * (elements + halo))
    return Plane(max(1, min(f.h.size, max(room - (f.h.taps - 1), (f.h.taps + 1) // 2))), elements)


@remembered
def sliding_cost(problem: Problem, machine: Machine) -> float:
    """Cells that enter and leave, the sort of a block, the windows at the beginnings of rows."""
    g, itemsize = problem.geometry, problem.types.summed.itemsize
    f, block = g.folded, sliding_cut(g, itemsize)
    moving = 2 * f.outer_taps * f.h.taps if g.footprint is None else int(sum(edges(g)[1])) * 2
    copied = f.outer_taps * (block.h + f.h.taps - 1) * (block.w + (f.w.taps - 1) * f.inner) / (block.h * block.w)
    sort = 3 if itemsize == 1 else 12 + 20 * -(-8 * itemsize // sliding.DIGIT)
    cycles = 50_000 + g.cells * (240 + 8 * moving + 6 * g.members * f.inner / block.w + sort * copied)
    return machine.seconds(cycles)


@remembered
def sliding_launch(problem: Problem, machine: Machine) -> Launch:
    """(kernel, arguments behind the offsets, offsets of all three kinds of taps, items, work)."""
    g, types = problem.geometry, problem.types
    dtype, lanes = types.summed, machine.lanes(types.summed)
    field = field_of(g, sliding_cut(g, dtype.itemsize), lanes)
    made = sliding.kernel(lanes, 8 * dtype.itemsize, dtype.kind == "f", dtype.kind == "i", names(types), machine.isa)
    offsets = tap_offsets(g, field)
    taps = tuple(offsets[np.flatnonzero(one)] for one in edges(g))
    work = int(1e9 * sliding_cost(problem, machine))
    return made, (outer_table(g.folded), written(sliding.Sizes(field, g.rank))), taps, items_of(field), work


def run_sliding(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """All blocks."""
    made, arguments, offsets, items, work = sliding_launch(problem, host())
    made(items, work, operands["x"].ravel(), operands["cval"], *offsets, out.ravel(), *arguments)


def kernel_of_sliding(problem: Problem, machine: Machine) -> str:
    """The name of the kernel that runs."""
    return sliding_launch(problem, machine)[0].__name__


# By histograms of columns -----------------------------------------------------------------------------------------------------


def supports_columns(problem: Problem) -> str | None:
    """Boxes of 8-bit integers."""
    reason = supports(problem)
    if reason is not None:
        return reason
    if problem.types.summed.itemsize > 1:
        return f"its histograms have a bin for each value of 8 bits, not of {problem.types.summed}"
    if problem.geometry.footprint is not None or problem.geometry.window >= 1 << 16:
        return "it counts the cells of a box, at most 65,535 of them"
    return None


def columns_cut(geometry: RankGeometry, machine: Machine) -> Plane:
    """Rows and elements of a block: the histograms of its columns fit three quarters of the L2 cache."""
    f = geometry.folded
    halo = (f.w.taps - 1) * f.inner
    most = max(machine.l2 * 3 // 4 // (2 * (columns.BINS + 32)) - halo, 2 * halo, 256)
    strips = -(-f.w.size * f.inner // most)
    return Plane(max(1, min(f.h.size, max(64, 4 * f.h.taps))), -(-f.w.size * f.inner // strips))


def columns_cost(problem: Problem, machine: Machine) -> float:
    """A vector of bins after another, and where the rank lies; a block begins with whole columns."""
    g, block = problem.geometry, columns_cut(problem.geometry, machine)
    f = g.folded
    vectors = 2 * columns.BINS // machine.vector_bytes + 1
    wide = 1 + (f.w.taps - 1) * f.inner / block.w
    counted = f.outer_taps * (2 + f.h.taps / block.h) * wide
    per_cell = 60 + 5 * vectors + 5 * counted + 2 * vectors * f.w.taps * f.inner / block.w
    return machine.seconds(50_000 + g.cells * per_cell)


@remembered
def columns_launch(problem: Problem, machine: Machine) -> Launch:
    """(kernel, arguments behind the arrays, the value of each bin, items, work)."""
    g, types = problem.geometry, problem.types
    lanes = machine.lanes(types.summed)
    field = field_of(g, columns_cut(g, machine), lanes)
    made = columns.kernel(lanes, machine.vector_bytes // 2, names(types), machine.isa)
    bias = 128 if types.summed.kind == "i" else 0
    values = (np.arange(columns.BINS) - bias).astype(types.summed)
    work = int(1e9 * columns_cost(problem, machine))
    return made, (outer_table(g.folded), written(columns.Sizes(field, g.rank, bias))), values, items_of(field), work


def run_columns(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """All blocks."""
    made, arguments, values, items, work = columns_launch(problem, host())
    made(items, work, operands["x"].ravel(), operands["cval"], values, np.zeros(1, np.uint16), out.ravel(), *arguments)


def kernel_of_columns(problem: Problem, machine: Machine) -> str:
    """The name of the kernel that runs."""
    return columns_launch(problem, machine)[0].__name__
