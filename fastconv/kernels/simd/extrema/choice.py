"""Which kernel reduces windows, how their axes are cut into runs, and what they are expected to take."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, element
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd.engine.neighbourhoods import (
    Field,
    block_cells,
    cut,
    field_of,
    items_of,
    line_of,
    outer_table,
    tap_offsets,
)
from fastconv.kernels.simd.engine.requests import lines_of
from fastconv.kernels.simd.engine.sizes import Plane, written
from fastconv.kernels.simd.engine.tables import TILES
from fastconv.kernels.simd.extrema import boxes, footprints
from fastconv.kernels.simd.extrema.reductions import (
    LARGEST,
    QUOTIENT,
    SHIFT,
    WHOLE,
    divided_by_factor,
    divided_by_shift,
    factors,
    is_extreme,
)
from fastconv.machine import Machine, host
from fastconv.problem.borders import source_cell
from fastconv.problem.convolutions import Array
from fastconv.problem.filters import FilterGeometry, is_cell, largest_cell
from fastconv.problem.problem import Operands, Problem
from fastconv.problem.types import Types

FEW = 3  # rows of a window that are joined one by one
PLANES = 3  # under a window, likewise; more are a run of their own
ROOM = 256 << 10  # bytes of lines that are joined together, and of a band
LINE = 16 << 10  # bytes of a piece of a row whose windows have no other axis
STRIP = 8 << 10  # bytes of a piece of a row without taps along it
LEAST = 8  # blocks at least, where there are rows for them


DOUBLE: np.dtype[Any] = np.dtype(np.float64)
IN_DOUBLES = Types(DOUBLE, DOUBLE, DOUBLE, DOUBLE)  # of what has no kernel of its own
Run = Callable[[Operands, None, Problem, Array], None]


class Cover(NamedTuple):
    """A kernel of footprints with what does not depend on the array."""

    kernel: Kernel
    items: int
    work: int
    offsets: Array
    outer: Array
    sizes: Array


class Launch(NamedTuple):
    """A run over all axes, or over one: the kernel with what does not depend on the array."""

    kernel: Kernel
    items: int
    work: int
    outer: Array
    edges: Array
    rounds: Array
    factors: Array
    outside: int
    sizes: Array


def names(types: Types) -> str:
    """The types of x, of the sums and of y, as kernels are named; one where they are one."""
    found = [element(one) for one in (types.stored, types.summed, types.result)]
    return found[0] if len(set(found)) == 1 else "_".join(found)


def held(dtype: np.dtype[Any]) -> bool:
    """Whether vectors hold it."""
    return dtype.kind in "iuf" and dtype.itemsize <= 8 and dtype != np.float16


def supports(problem: Problem) -> str | None:
    """Integers and real numbers."""
    wrong = next((dtype for dtype in problem.types if not held(dtype)), None)
    return None if wrong is None else f"its vectors are integers, float32 or float64, not {wrong}"


def supports_mean(problem: Problem) -> str | None:
    """Sums in floats, or of narrow integers in wider ones whose quotients are exact."""
    reason = supports(problem)
    if reason or mean_kind(problem, False):
        return reason
    return f"it divides no sums of {max(problem.geometry.taps)} cells of {problem.types.stored} in {problem.types.summed}"


def has_kernel(types: Types) -> bool:
    """Whether types are met often enough to be worth a kernel: one type, or what narrow integers are made floats of."""
    if types.stored == types.result:
        return types.summed == types.stored or types.stored.itemsize < 4 or types.stored.kind == "i"
    return types.stored in (np.uint8, np.uint16, np.float32) and types.summed == types.result and types.result.kind == "f"


@remembered
def mean_kind(problem: Problem, fractions: bool) -> str | None:
    """How sums over each axis are divided, if they can be; `fractions` if cells of a constant border have some."""
    types, taps = problem.types, max(problem.geometry.taps, default=1)
    whole = types.stored.kind in "iu" and types.result.kind in "iu" and not fractions
    most = max(largest_cell(types.stored), largest_cell(types.result)) if whole else 0
    if types.summed.kind == "f":
        exact = whole and divided_by_factor(taps, most, types.summed)
        return WHOLE if exact and types.summed == np.float64 else QUOTIENT
    every = problem.geometry.taps
    if types.summed == np.uint16:
        fits = types.stored == types.result == np.uint8 and all(k == 1 or divided_by_shift(k, 255) for k in every)
        return SHIFT if fits and not fractions else None
    fits = whole and most < 1 << 16 and divided_by_factor(taps, most, np.dtype(np.float32))
    return WHOLE if fits and types.summed == np.int32 else None


# Runs -------------------------------------------------------------------------------------------------------------------------


@remembered
def runs_of(problem: Problem) -> tuple[Problem, ...]:
    """A problem as runs one after the other: each joins at most one axis of a few planes, then h, then w.

    An axis over planes that has no h to follow is a run of its own, in which it is h.
    """
    found: list[Problem] = []
    while True:
        folded = problem.geometry.folded
        outer = [axis for axis in folded.outer if axis.taps > 1]
        if not outer or (len(outer) == 1 and folded.outer_taps <= PLANES and folded.h.taps > 1):
            return (*found, problem)
        g, types = problem.geometry, problem.types
        first = next(i for i, taps in enumerate(g.taps) if taps > 1)
        alone = tuple(taps if i == first else 1 for i, taps in enumerate(g.taps))
        others = tuple(1 if i == first else taps for i, taps in enumerate(g.taps))
        found.append(replace(problem, geometry=_over(g, alone)))
        problem = replace(
            problem, geometry=_over(g, others), types=Types(types.result, types.summed, types.summed, types.result)
        )


def _over(g: FilterGeometry, taps: tuple[int, ...]) -> FilterGeometry:
    origin = tuple(one if k > 1 else 0 for one, k in zip(g.origin, taps, strict=True))
    return replace(g, taps=taps, origin=origin)


class Cut(NamedTuple):
    """How a run is cut: rows and elements of a block, rows joined together, elements between lines, whether rows are copied."""

    block: Plane
    together: int
    pitch: int
    copied: bool


def cut_of(problem: Problem, machine: Machine) -> Cut:
    """Lines in the L1 cache where they are cells of one row, blocks in the L2 cache elsewhere."""
    f, types = problem.geometry.folded, problem.types
    size, lanes = types.summed.itemsize, machine.lanes(types.summed)
    whole, halo, group = f.w.size * f.inner, (f.w.taps - 1) * f.inner, boxes.GROUP * lanes
    rows = f.h.size
    if f.h.taps == 1 and f.outer_taps == 1:
        strip = max(LINE // size, 2 * halo) // lanes * lanes
        block = Plane(max(1, min(rows, LINE // size // max(1, whole), -(-rows * f.planes // LEAST))), min(whole, strip))
        return Cut(block, 1, pitch_of(block.w + halo, lanes), False)
    strip = whole if f.w.taps > 1 or f.outer_taps > 1 else max(group, STRIP // size)  # whose cells have nothing beside them
    pieces = -(-whole // min(whole, strip))
    strip = min(whole, -(-whole // (pieces * lanes)) * lanes)
    pitch = pitch_of(strip + halo + group, lanes)
    room = max(1, ROOM // (pitch * size))
    copied = whole < group or f.outer_taps > 1 or types.stored.itemsize > types.summed.itemsize or not fits(types)
    together = 1 if f.h.taps <= FEW else min(f.h.taps, room)
    block = together * max(1, min(room // together, -(-rows * f.planes // LEAST) // together))
    return Cut(Plane(max(1, min(block, rows)), strip), min(together, rows), pitch, copied)


def fits(types: Types) -> bool:
    """Whether a cell of the array is one of the sums, whatever it is."""
    return bool(np.can_cast(types.stored, types.summed))


def pitch_of(elements: int, lanes: int) -> int:
    """Whole vectors, an odd number of them."""
    return (-(-elements // lanes) | 1) * lanes


def edges_of(problem: Problem) -> Array:
    """Elements of a row that stand for those before and behind it, or -1."""
    f = problem.geometry.folded
    before, after = f.w.before, f.w.taps - 1 - f.w.before
    cells = [source_cell(p, f.w.size, f.w.border.code) for p in (*range(-before, 0), *range(f.w.size, f.w.size + after))]
    found = np.array(cells, np.int64)[:, None] * f.inner + np.arange(f.inner)
    found[np.array(cells, np.int64) < 0] = -1
    return np.ascontiguousarray(found.ravel())


def seconds(problem: Problem, machine: Machine) -> float:
    """Cycles of all rounds over vectors, a start for each row, or the bytes at memory speed."""
    total, types = 0.0, problem.types
    for one in runs_of(problem):
        f, lanes = one.geometry.folded, machine.lanes(types.summed)
        rows = f.planes * f.h.size
        vectors = rows * -(-f.w.size * f.inner // lanes)
        each = 4 + 2 * (f.outer_taps - 1) + min(f.h.taps, 5) + 2 * len(boxes.rounds_of(f.w.taps, True))
        moved = one.geometry.bytes(one.types.stored.itemsize, one.types.result.itemsize)
        total += machine.seconds(20_000 + 60 * rows + vectors * each, moved)
    return total


@remembered
def launch(problem: Problem, kind: str, simple: bool, machine: Machine) -> Launch:
    """One run; `simple` if the array's type holds what cells of a constant border do."""
    g, types = problem.geometry, problem.types
    f, lanes, of_run = g.folded, machine.lanes(types.summed), cut_of(problem, machine)
    copied = of_run.copied or not simple
    field = Field(f.planes, len(f.outer), f.outer_taps, line_of(f.h), line_of(f.w), f.inner, of_run.block, of_run.pitch)
    rounds = boxes.rounds_of(f.w.taps, is_extreme(kind))
    banded = copied and (f.h.taps > 1 or f.outer_taps > 1)
    band, planes = (of_run.block.h + f.h.taps - 1, f.outer_taps) if banded else (0, 0)
    sizes = boxes.Sizes(field, of_run.together, len(rounds), band, planes, lines_of(problem, machine))
    if f.h.taps == 1 and f.outer_taps == 1:
        made = boxes.line_kernel(kind, lanes, names(types), machine.isa)
    else:
        rows_are = boxes.PLANES if f.outer_taps > 1 else boxes.BAND if copied else boxes.BOX
        made = boxes.box_kernel(kind, lanes, rows_are, names(types), machine.isa)
    passes = [factors(kind, taps, types.summed) for taps in (f.outer_taps, f.h.taps, f.w.taps)]
    outside = of_run.block.w + boxes.GROUP * lanes if not copied and f.h.border.mode in ("constant", "zeros") else 1
    table = np.array([value for one in rounds for value in one] or [0], np.int64)
    work = int(1e9 * seconds(problem, machine))
    return Launch(
        made, items_of(field), work, outer_table(f), edges_of(problem), table, np.concatenate(passes), outside, written(sizes)
    )


def run_kind(kind: str, operands: Operands, problem: Problem, out: Array) -> None:
    """All runs; between them, results lie in `out` and in one temporary by turns."""
    x, cval, machine = operands["x"], operands["cval"], host()
    every = runs_of(problem)
    temporary = np.empty_like(out) if len(every) > 1 else out
    for i, one in enumerate(every):
        y = out if (len(every) - i) % 2 else temporary
        border, simple = cval, True
        if x.dtype != cval.dtype:
            with np.errstate(over="ignore", invalid="ignore"):
                border = cval.astype(x.dtype)
            simple = bool(border[0] == cval[0]) or (x.dtype.kind == "f" and bool(np.isnan(cval[0])))
        made = launch(one, kind, simple, machine)
        outside, flat = border.repeat(made.outside), (x.ravel(), y.ravel())
        made.kernel(made.items, made.work, *flat, made.outer, made.edges, made.rounds, made.factors, outside, cval, made.sizes)
        x = y


def reduced(kind: str) -> Run:
    """The implementation of "largest", "smallest" or "mean"."""

    def run(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
        if kind == "mean":
            fractions = problem.types.summed == np.float64 and not is_cell(operands["cval"][0], problem.types)
            run_kind(str(mean_kind(problem, fractions)), operands, problem, out)
        else:
            run_kind(kind, operands, problem, out)

    return run


def cost(problem: Problem, machine: Machine) -> float:
    """Of all runs."""
    return seconds(problem, machine)


def kernel(kind: str) -> Callable[[Problem, Machine], str]:
    """The name of the kernel that runs last."""

    def name(problem: Problem, machine: Machine) -> str:
        problem = replace(problem, types=problem.types if has_kernel(problem.types) else IN_DOUBLES)
        made = str(mean_kind(problem, False)) if kind == "mean" else kind
        return launch(runs_of(problem)[-1], made, True, machine).kernel.__name__

    return name


# Footprints -------------------------------------------------------------------------------------------------------------------


def cover_seconds(problem: Problem, joins: int, machine: Machine) -> float:
    """Cycles of so many joins an output and of copying cells, or the bytes at memory speed."""
    g, types = problem.geometry, problem.types
    f, lanes = g.folded, machine.lanes(types.summed)
    rows = f.planes * f.h.size
    vectors = rows * -(-f.w.size * f.inner // lanes)
    cycles = 30_000 + 60 * rows + vectors * (4 * f.outer_taps + 1.1 * joins)
    return machine.seconds(cycles, g.bytes(types.stored.itemsize, types.result.itemsize))


def cover_cost(problem: Problem, machine: Machine) -> float:
    """Of a footprint of two runs a row."""
    g = problem.geometry
    return cover_seconds(problem, 4 * g.window // max(1, g.folded.w.taps), machine)


def structure_cost(problem: Problem, machine: Machine) -> float:
    """Of a structure of all taps."""
    return cover_seconds(problem, problem.geometry.window, machine)


def supports_structure(problem: Problem) -> str | None:
    """Sums in floats."""
    summed = problem.types.summed
    return supports(problem) or (None if summed.kind == "f" else f"it adds structures in float32 or float64, not {summed}")


@remembered
def cover_launch(problem: Problem, kind: str, structured: bool, footprint: bytes, machine: Machine) -> Cover:
    """A kernel with the offsets of a footprint, an array of bools of the window's shape."""
    g, types = problem.geometry, problem.types
    f, lanes = g.folded, machine.lanes(types.summed)
    mask = np.frombuffer(footprint, bool).reshape(f.outer_taps * f.h.taps, f.w.taps)
    tables = 1 if structured else footprints.tables_of(mask)
    field = field_of(g, cut(g, types, types.summed.itemsize * tables, machine), lanes)
    apart = -(-block_cells(field) // lanes) * lanes
    offsets = tap_offsets(g, field).reshape(mask.shape)
    joined = offsets[mask] if structured else footprints.run_offsets(mask, offsets, apart)
    made = footprints.kernel(kind, TILES[machine.isa].filter_vectors, lanes, structured, names(types), machine.isa)
    work = int(1e9 * cover_seconds(problem, len(joined), machine))
    sizes = written(footprints.Sizes(field, tables, apart, len(joined)))
    return Cover(made, items_of(field), work, joined, outer_table(f), sizes)


def run_cover(kind: str, structured: bool, operands: Operands, problem: Problem, out: Array) -> None:
    """All blocks of a footprint; a structure is added to cells of which the largest is sought, and subtracted else."""
    mask = np.ascontiguousarray(operands["footprint"], bool)
    made = cover_launch(problem, kind, structured, mask.tobytes(), host())
    x, cval, w = operands["x"].ravel(), operands["cval"], operands["cval"]
    if structured:
        w = operands["structure"][mask].astype(problem.types.summed)
        w = w if kind == LARGEST else -w
    made.kernel(made.items, made.work, x, made.offsets, w, cval, out.ravel(), made.outer, made.sizes)


def covered(kind: str, structured: bool) -> Run:
    """The implementation of a kind, with a structure or without."""

    def run(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
        run_cover(kind, structured, operands, problem, out)

    return run


def cover_kernel(kind: str, structured: bool) -> Callable[[Problem, Machine], str]:
    """The name of the kernel that runs."""

    def name(problem: Problem, machine: Machine) -> str:
        full = np.ones(problem.geometry.taps, bool).tobytes()
        return cover_launch(problem, kind, structured, full, machine).kernel.__name__

    return name
