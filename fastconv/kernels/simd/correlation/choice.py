"""Which kernel sums the products of a window, and what it is expected to take.

The operation "correlation" has weights for each tap, `w`; "passes" a vector of them for each axis, `w0`, `w1` and so on: an
axis of one tap whose weight is 1 has no pass.
"""

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, element
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd.correlation import dense, lines, passes, sweeps
from fastconv.kernels.simd.engine import sweeps as engine
from fastconv.kernels.simd.engine.costs import Candidate, cheapest
from fastconv.kernels.simd.engine.neighbourhoods import cut, field_of, items_of, outer_table, stored_offsets, tap_offsets
from fastconv.kernels.simd.engine.requests import lines_of
from fastconv.kernels.simd.engine.sizes import written
from fastconv.kernels.simd.engine.tables import CONFLICT, TILES
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array
from fastconv.problem.filters import PLAIN, FilterGeometry, SumGeometry, mirrored
from fastconv.problem.problem import Operands, Problem
from fastconv.problem.types import Types

# Taps of a pass up to which copied cells, whose rows lie where caches hold them together, are not worth the copy; the second
# where rows come from memory, are asked for where they lie, and do not share sets of the L1 cache.
FEW = 7, 25
WIDE = 2.0**-8  # the error of sums in float32 from which on too many tiles would be summed again
MOST_OF_BYTE = 255.0


def supports(problem: Problem) -> str | None:
    """Sums in float32 or float64 of real numbers."""
    for dtype in problem.types:
        if dtype.kind not in "iuf" or dtype.itemsize > 8 or dtype == np.float16:
            return f"its vectors are integers, float32 or float64, not {dtype}"
    summed = problem.types.summed
    return None if summed.kind == "f" else f"it sums in float32 or float64, not {summed}"


def names(types: Types) -> str:
    """The types of x, of the sums and of y, as kernels are named."""
    return "_".join(map(element, dict.fromkeys((types.stored, types.summed, types.result))))


def seconds(geometry: FilterGeometry, types: Types, taps: int, machine: Machine) -> float:
    """Cycles of its products and of copying cells, or the bytes at memory speed."""
    f, lanes = geometry.folded, machine.lanes(types.summed)
    rows = f.planes * f.h.size
    vectors = rows * -(-f.w.size * f.inner // lanes)
    cycles = 30_000 + 60 * rows + vectors * (4 * f.outer_taps + 1.1 * taps * (1.6 if stepwise(types) else 1.0))
    return machine.seconds(cycles, geometry.bytes(types.stored.itemsize, types.result.itemsize))


@remembered
def candidates(problem: Problem, machine: Machine) -> tuple[Candidate, ...]:
    """The dense kernel."""
    g, types = problem.geometry, problem.types
    block = cut(g, types, types.summed.itemsize, machine)
    expected = seconds(g, types, g.window, machine)
    return (Candidate(expected, block, partial(launch, problem, machine)),)


def cost(problem: Problem, machine: Machine) -> float:
    """Of weights that are all used."""
    return cheapest(candidates(problem, machine)).seconds


@remembered
def launch(problem: Problem, machine: Machine) -> tuple[Kernel, Any, Array, Array]:
    """(kernel, field, offsets of all taps among copied cells and in the array, axes over planes)."""
    g, types = problem.geometry, problem.types
    lanes = machine.lanes(types.summed)
    field = field_of(g, cheapest(candidates(problem, machine)).cut, lanes)
    columns = TILES[machine.isa].filter_vectors
    made = dense.kernel(columns, lanes, stepwise(types), types.stored == types.summed, names(types), machine.isa)
    stored = stored_offsets(g) if g.folded.outer_taps == 1 else tap_offsets(g, field)
    return made, field, np.stack([tap_offsets(g, field), stored]), outer_table(g.folded)


def stepwise(types: Types) -> bool:
    """Whether each step of a sum is rounded, as C does it: where what is cut off to an integer hangs on it."""
    return bool(types.summed == np.float64 and types.result.kind in "iu")


def kernel(problem: Problem, machine: Machine) -> str:
    """The name of the kernel that runs."""
    return launch(problem, machine)[0].__name__


class Weighed(NamedTuple):
    """A kernel with its weights, and all of its arguments but arrays of numbers."""

    kernel: Kernel
    items: int
    work: int
    w: Array
    offsets: Array
    outer: Array
    sizes: Array


@remembered
def weighed(problem: Problem, weights: bytes, machine: Machine) -> Weighed:
    """The launch for weights in float64, of which those that are zero are left out."""
    made, field, offsets, outer = launch(problem, machine)
    w = np.frombuffer(weights).astype(problem.types.summed)
    used = np.flatnonzero(w)
    sizes = written(dense.Sizes(field, len(used), lines_of(problem, machine, soon=True)))
    work = int(1e9 * seconds(problem.geometry, problem.types, len(used), machine))
    return Weighed(made, items_of(field), work, w[used], np.ascontiguousarray(offsets[:, used]), outer, sizes)


def run(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """All blocks."""
    made = weighed(problem, operands["w"].astype(np.float64, copy=False).tobytes(), host())
    cells = operands["x"].ravel(), made.w, made.offsets, operands["cval"], out.ravel()
    made.kernel(made.items, made.work, *cells, made.outer, made.sizes)


# Passes -----------------------------------------------------------------------------------------------------------------------


def supports_passes(problem: Problem) -> str | None:
    """As many axes as three."""
    with_taps = sum(axis.taps > 1 for axis in problem.geometry.folded.outer)
    if with_taps > 1:
        return f"it has passes over rows, cells of a row and one axis over planes, not {with_taps}"
    return supports(problem)


def pass_seconds(geometry: FilterGeometry, types: Types, machine: Machine) -> float:
    """Cycles of the products of each pass and of copying cells, or the bytes at memory speed."""
    f, lanes = geometry.folded, machine.lanes(types.summed)
    rows = f.planes * f.h.size
    vectors = rows * -(-f.w.size * f.inner // lanes)
    products = f.outer_taps + f.h.taps + f.w.taps
    cycles = 30_000 + 100 * rows + vectors * (6 + 2 * f.outer_taps + (1.5 if stepwise(types) else 1.0) * products)
    return machine.seconds(cycles, geometry.bytes(types.stored.itemsize, types.result.itemsize))


def pass_cost(problem: Problem, machine: Machine) -> float:
    """Of its passes."""
    return pass_seconds(problem.geometry, problem.types, machine)


class PassLaunch(NamedTuple):
    """The kernel of passes with all of its arguments but arrays of numbers."""

    kernel: Kernel
    items: int
    work: int
    outer: Array
    sizes: Array


@remembered
def pass_launch(problem: Problem, mirrors: tuple[str, ...], how: int, machine: Machine) -> PassLaunch:
    """The launch for weights that mirror each other as `mirrors` tells of each pass, whose sums are made as `how` tells."""
    g, types = problem.geometry, problem.types
    if how == lines.CHECKED:
        types = types._replace(summed=np.dtype(np.float32))
    f, lanes, columns = g.folded, machine.lanes(types.summed), TILES[machine.isa].filter_vectors
    beside = f.outer_taps if f.outer_taps > 1 else passes.TOGETHER
    block = cut(g, types, types.summed.itemsize, machine, planes=1, beside=beside)
    field = field_of(g, block, lanes)
    pitch = (-(-field.pitch // (columns * lanes)) * columns + 1) * lanes
    asked = lines_of(problem, machine, soon=True)
    few = FEW[asked.of_x > 0 and f.w.size * f.inner * types.stored.itemsize % CONFLICT != 0]
    as_stored = types.stored == types.summed and (f.outer_taps > 1 or max(g.taps) <= few)
    made = passes.kernel(columns, lanes, how, f.outer_taps > 1, as_stored, names(types), machine.isa)
    first, found = 0, []
    for axis, mirror in zip(passes_of(g), mirrors, strict=True):
        taps = 1 if axis is None else g.taps[axis]
        found.append(lines.Pass(taps, first, lines.MIRRORED.index(mirror)))
        first += taps
    over_planes, over_rows, over_cells = found
    width = columns * lanes
    strip = machine.l1 // passes.OF_CACHE // types.summed.itemsize // (over_rows.taps + 1) // width * width
    sizes = written(passes.Sizes(field, over_planes, over_rows, over_cells, pitch, max(width, strip), asked))
    return PassLaunch(made, items_of(field), int(1e9 * pass_seconds(g, types, machine)), outer_table(f), sizes)


@remembered
def passes_of(geometry: FilterGeometry) -> tuple[int | None, int | None, int | None]:
    """The axes whose weights are those of the passes over planes, rows and cells of a row; None for a single 1.

    Where no axis has several taps, the pass over rows has the product of all weights.
    """
    f, taps = geometry.folded, geometry.taps
    with_taps = iter([axis for axis, count in enumerate(taps) if count > 1])
    found = [next(with_taps) if axis.taps > 1 else None for axis in (*f.outer, f.h, f.w)]
    planes = next((axis for axis in found[:-2] if axis is not None), None)
    return planes, found[-2], found[-1]


def in_single(w: Array) -> Array:
    """Weights in float32, whose sum is that of the weights: the largest one makes up for what rounding the others lost."""
    found = w.astype(np.float32)
    if np.isfinite(found).all():
        found[np.abs(found).argmax()] += np.float32((w - found).sum())
    return found


def pass_kernel(problem: Problem, machine: Machine) -> str:
    """The name of the kernel that runs; of 8 bits, with weights whose sums float32 is enough for."""
    how = lines.CHECKED if may_be_checked(problem.types) else how_summed(problem.types)
    return pass_launch(problem, (PLAIN,) * 3, how, machine).kernel.__name__


ONE = np.ones(1)


class WeighedPasses(NamedTuple):
    """A launch with the weights of all passes: as sums are made, and with errors of each as they are made again."""

    launch: PassLaunch
    w: Array
    exact: Array


def how_summed(types: Types) -> int:
    """Step by step where what is cut off to an integer hangs on it."""
    return lines.EXACT if stepwise(types) else lines.FUSED


def may_be_checked(types: Types) -> bool:
    """Whether float32 may be enough for what is cut off to an integer, but for sums close to a whole number."""
    return stepwise(types) and types.stored.itemsize == 1


@remembered
def weighed_passes(problem: Problem, vectors: tuple[bytes, ...], zero_border: bool, machine: Machine) -> WeighedPasses:
    """What runs for a vector in float64 for each axis; `zero_border`, if cells of a constant border hold 0."""
    types, of_axis = problem.types, [np.frombuffer(one) for one in vectors]
    weights = [ONE if axis is None else of_axis[axis] for axis in passes_of(problem.geometry)]
    if problem.geometry.window == 1:
        weights[1] = np.prod(of_axis, 0).reshape(1)
    mirrors, how = tuple(map(mirrored, weights)) if stepwise(types) else (PLAIN,) * 3, how_summed(types)
    margins = np.zeros(len(weights))
    if may_be_checked(types) and zero_border:
        found = margins_of(weights)
        if found.max() < WIDE:
            how, margins = lines.CHECKED, found
    made = pass_launch(problem, mirrors, how, machine)
    exact = np.concatenate([*weights, margins], dtype=types.summed)
    if how == lines.CHECKED:
        return WeighedPasses(made, exact.astype(np.float32), exact)
    if types.summed == np.float32:
        exact = np.concatenate([*(w if w is ONE else in_single(w) for w in weights), margins], dtype=types.summed)
    return WeighedPasses(made, exact, exact)


def margins_of(weights: list[Array]) -> Array:
    """How far the sums in float32 of each pass over integers of 8 bits may be from those in float64.

    Weights are rounded once, and each product and sum; what the next pass sums may be as large as the sum of all weights.
    """
    most, found = MOST_OF_BYTE, []
    with np.errstate(over="ignore", invalid="ignore"):
        for w in weights:
            single = w.astype(np.float32)
            size = float(np.abs(single).sum())
            error = float(np.abs(single - w).sum()) + (len(w) + 1) * 2.0**-24 * size
            found.append(most * error if np.isfinite(error) else np.inf)
            most *= max(1.0, size)
    return np.array(found)


def run_passes(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """All blocks."""
    vectors = [operands[f"w{axis}"] for axis in range(len(problem.geometry.shape))]
    key = tuple([w.astype(np.float64, copy=False).tobytes() for w in vectors])
    border = operands["cval"]
    (kernel, items, work, outer, sizes), w, exact = weighed_passes(problem, key, not border[0], host())
    if w.dtype != border.dtype:
        border = np.zeros(1, w.dtype)
    kernel(items, work, operands["x"].ravel(), w, exact, border, out.ravel(), outer, sizes)


# Sweeps of 3x3 windows --------------------------------------------------------------------------------------------------------

NARROW = 2  # bytes of integers whose sums wrap in vectors of their own


def is_narrow(dtype: np.dtype[Any]) -> bool:
    """Whether it is an integer of 8 or 16 bits."""
    return dtype.kind in "iu" and dtype.itemsize <= NARROW


def around(geometry: FilterGeometry) -> bool:
    """Whether windows reach cells that no cell of the array stands for."""
    return any(axis.taps > 1 and axis.border.mode in ("constant", "zeros") for axis in geometry.axes)


def sweep_kind(problem: Problem) -> str | None:
    """Which sums of a sweep serve a problem, by its weights."""
    g, (stored, _, summed, result) = problem.geometry, problem.types
    w = g.weights if isinstance(g, SumGeometry) else ()
    if summed == result:
        exact = stored == summed or (not around(g) and (is_narrow(stored) or stored == np.float32))
        if not exact or len(w) != engine.TAPS**2:
            return None
        if g.operation == "passes" or all(w):
            return sweeps.FULL
        used = [i for i, one in enumerate(w) if one]
        return sweeps.CROSS if used == sweeps.weights_used(sweeps.CROSS) else None
    wraps = is_narrow(stored) and is_narrow(result) and summed == np.float32  # which says that all sums are whole
    return sweeps.KNOWN.get(w) if wraps and (stored.itemsize >= result.itemsize or not around(g)) else None


def supports_sweep(problem: Problem) -> str | None:
    """Windows of three rows and three cells, of weights that are known."""
    g = problem.geometry
    reason = supports(problem) or engine.refused(g, problem.types.stored.itemsize, host())
    if reason is not None:
        return reason
    if g.operation == "passes" and around(g):
        return "in passes, a constant border holds its value in each: a window over both axes does not"
    kind = sweep_kind(problem)
    return (
        None
        if kind
        else "it serves sums of floats with known weights, and of 8 and 16 bits those of Sobel, Prewitt and Laplace"
    )


def sweep_cost(problem: Problem, machine: Machine) -> float:
    """Of nine products."""
    return engine.seconds_of(problem, 9, machine)


@remembered
def sweep_launch(problem: Problem, machine: Machine) -> engine.Launch:
    """The launch for the weights of a geometry."""
    g, types = problem.geometry, problem.types
    lanes, w = machine.lanes(types.result), np.array(g.weights)
    name = "_".join(map(element, dict.fromkeys((types.stored, types.result))))
    made = sweeps.kernel(str(sweep_kind(problem)), lanes, name, machine.isa)
    w = in_single(w) if types.summed == np.float32 else w
    return engine.launch_of(made, problem, lanes, w, sweep_cost(problem, machine), machine)


def run_sweep(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """All rows."""
    x, border = operands["x"], operands["cval"]
    if border.dtype != x.dtype:
        with np.errstate(over="ignore", invalid="ignore"):
            border = border.astype(np.int32 if x.dtype.kind != "f" else x.dtype).astype(x.dtype)
    sweep_launch(problem, host()).run(x, border, out)


def sweep_kernel(problem: Problem, machine: Machine) -> str:
    """The name of the kernel that runs."""
    return sweep_launch(problem, machine).kernel.__name__
