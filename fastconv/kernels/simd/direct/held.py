"""Direct convolution of few products, channels last: the weights of a vector of output channels stay in registers.

    y [P, K] = act(bias [K] + windows [P, L] @ w [L, K])       where L = taps * input channels are few

A register tile of several vectors, as tiles.py has it, reads a vector of weights and a value of each position for every step of
its sum, and is stored after few of them: its ends take longer than its products. Here the L vectors of weights are loaded once
for a panel and a stretch of positions, and a product reads nothing but a value of the input. First layers of networks, filter
banks of one channel and 1x1 convolutions of few channels take this road.

Blocks, walks and windows are those of tiles.py.
"""

from functools import lru_cache, partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled, element, inlined
from fastconv.kernels.keeping import remembered
from fastconv.kernels.memory import LINE
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.direct import tiles
from fastconv.kernels.simd.direct.blocks import Chunk, Sizes, block_of, read, source_of, window_reader, window_room
from fastconv.kernels.simd.direct.cuts import Cut, Cuts, blocking, is_in_place, parted_walks_of, read_alone, rows_packed
from fastconv.kernels.simd.engine import converting, epilogue, weights
from fastconv.kernels.simd.engine.costs import CALL, Candidate
from fastconv.kernels.simd.engine.requests import ask_lines
from fastconv.kernels.simd.engine.tables import TILES, Tile
from fastconv.kernels.simd.engine.walks import Walks, along, flattened
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.machine import Machine
from fastconv.problem.convolutions import ConvGeometry
from fastconv.problem.problem import Problem

poke, pointer = vector.poke, vector.pointer
NEAR, LARGER = 16 << 10, 64 << 10  # bytes of results that are written panel by panel, and of vectors of half a line
ASKED = 24 << 10  # of those at most that were asked for: the L1 cache holds them
AHEAD = 4  # cache lines of results of a position, or more, that are asked for: fewer come by themselves


class Form(NamedTuple):
    """What a kernel is compiled for: taps along the depth and the height, runs of a row of taps, and values of a run."""

    deep: int
    tall: int
    wide: int
    length: int


class Parts(NamedTuple):
    """Packed windows."""

    windows: int


class Tables(NamedTuple):
    """Offsets of a row's outputs, and a vector's columns in packing."""

    outputs: int
    columns: int


class Stretch(NamedTuple):
    """Positions of a row that follow each other: the first one's window, how many, and where they are stored."""

    source: Any
    count: int  # type: ignore[assignment]
    y: Any


carve, carve_tables = workspace(Parts), workspace(Tables)


def results_near(lanes: int, itemsize: int, asked: bool) -> int:
    """Results that the caches hold while one panel after the other is written."""
    near = NEAR if lanes * itemsize >= LINE else LARGER
    return (min(near, ASKED) if asked else near) // itemsize


@lru_cache(maxsize=64)
def summer(rows: int, form: Form, lanes: int, dtype: str) -> Any:
    """The compiled sums of the positions of a stretch, `rows` at a time: those of the channels of one panel."""
    deep, tall, wide, length = form
    terms, activate = deep * tall * wide * length, epilogue.activation_of(dtype)

    @inlined
    def store(tile, y, offsets, count, width, act, adds, far):
        """Of tiles that are whole, or of one position; a residual is added in registers."""
        if width == lanes:
            if adds:
                tile = vector.added_rows(tile, y + far, offsets)
            vector.store_rows(activate(tile, act), y, offsets)
        else:
            if adds:
                tile = vector.added_first_rows(tile, y + far, offsets, count, width)
            vector.store_first_rows(activate(tile, act), y, offsets, count, width)

    def make_sums(stretch, w, bias, width, steps, step, offsets, act):
        held, late = vector.load_tile(w, lanes, terms, 1, lanes), epilogue.added(act) if act.adds else act
        whole = stretch.count - stretch.count % rows
        for i in range(0, whole, rows):
            tile = vector.repeated(bias, rows, 1, lanes)
            tile = vector.fma_held(tile, held, stretch.source + i * step, step, steps, deep, tall, wide, length)
            store(tile, stretch.y, offsets + i, rows, width, late, act.adds, act.residual)
        for i in range(whole, stretch.count):
            one = vector.repeated(bias, 1, 1, lanes)
            one = vector.fma_held(one, held, stretch.source + i * step, step, steps, deep, tall, wide, length)
            store(one, stretch.y, offsets + i, 1, width, late, act.adds, act.residual)
        # Behind the loops: a call within would take the weights out of their registers.
        epilogue.finish_rows(stretch.y, offsets, stretch.count, 1, width, late)

    return compiled(make_sums)


@lru_cache(maxsize=64)
def kernel(rows: int, form: Form, lanes: int, in_place: bool, ahead: bool, dtype: str, isa: str) -> Kernel:
    """The compiled loops over blocks of positions: f32_held_8x9_avx512, of 8 positions and 9 products.

    Where results are asked for `ahead`, those of the span behind are.
    """
    windows_of, make_sums = window_reader(lanes, True, in_place), summer(rows, form, lanes, dtype)
    terms, packs = prod(form), not in_place
    near = results_near(lanes, 4 if dtype == "f32" else 8, ahead)

    @inlined
    def make_row(block, source, y, w, bias, span, steps, step, offsets, act, s):
        """The outputs of a row of a block, which has one image: of a span after the other those of all panels."""
        for first in range(0, block.w, span):
            count = min(span, block.w - first)
            for k in range(block.first_panel, block.last_panel):
                panel, width = block.group * s.panels + k, min(lanes, s.k_group - k * lanes)
                at = Stretch(source + first * step, count, y + k * lanes)
                if ahead:  # of the span behind as much as this panel writes
                    ask_lines(y + ((first + count) * s.k_group + k * lanes * count), lanes * count, s.of_line)
                make_sums(at, w + panel * terms * lanes, bias + panel * lanes, width, steps, step, offsets + first, act)

    def held(begin, end, x, w, bias, residual, y, sizes, parameters):
        """y [P, K] = act(bias [K] + windows [P, L] @ w [L, K])"""
        s, act = read(sizes), epilogue.epilogue(parameters, residual, y)
        fill = epilogue.padding_value(parameters)
        work, memory = carve(Parts(window_room(s) if packs else 0), x)
        tables, integers = carve_tables(Tables(s.block.columns, columns=lanes), sizes)
        for i in range(s.block.columns):
            poke(tables.outputs + i, i * s.y.w)
        span, weights_at = max(rows, near // max(1, s.k_group) // rows * rows), pointer(w) + s.bias
        item = begin
        while item < end:
            block, item = block_of(item, end, s)
            chunk = Chunk(0, s.c_group)
            at, steps = windows_of(source_of(x, block, chunk, fill, s), block, chunk, work.windows, tables.columns, s)
            apart, step = (steps.t, steps.r, s.dilation.w * steps.w), s.stride.w * steps.w
            for row in range(block.h):
                source, to = at + row * s.stride.h * steps.h, pointer(y) + (block.y + row * s.y.h)
                make_row(block, source, to, weights_at, pointer(bias), span, apart, step, tables.outputs, act, s)
        keep(integers)
        keep(memory)

    held.__name__ = f"{dtype}_held_{rows}x{terms}{'_ahead' * ahead}_{isa}"
    return Kernel(held)


# Decisions --------------------------------------------------------------------------------------------------------------

MOST_RUNS = 9  # of a window, whose places general registers keep
ROWS = (8, 6, 5, 4, 1)  # positions of a tile
PARTED, APART = 1, 4  # cycles of a vector that is stored in part, and of one beside others that are stored much later
LATENCY = 4  # cycles of a multiply-add
FEW = 8  # cycles of a cell with a few channels that is copied


def room(machine: Machine) -> int:
    """Vector registers for weights and a tile."""
    return TILES[machine.isa].held


def products_of(geometry: ConvGeometry, walks: Walks) -> int:
    """Of a sum."""
    return geometry.in_per_group * prod(walk.taps for walk in walks)


def cycles_of_row(positions: int, rows: int, products: int, machine: Machine) -> float:
    """Of a vector of channels: products, which wait for each other where a tile has few rows, and what a tile leaves over."""
    whole, left = divmod(positions, rows)
    each = products * max(1.2 / machine.units, LATENCY / rows)  # some of them wait for those before
    return whole * (rows * max(1.0, each) + 2) + left * (each + 3)


def tile_for(positions: int, products: int, machine: Machine) -> Tile:
    """Of as many positions of a row as registers have room for beside the weights, and the row leaves few over."""
    fitting = [rows for rows in ROWS if rows + products <= room(machine)]
    return Tile(min(fitting, key=lambda rows: cycles_of_row(positions, rows, products, machine)), 1)


def form_of(geometry: ConvGeometry, walks: Walks, pieces: int) -> Form:
    """The kernel's, of so many runs of a row of taps."""
    depth, height, width = walks
    return Form(depth.taps, height.taps, pieces, width.taps // pieces * geometry.in_per_group)


def suits(problem: Problem, machine: Machine) -> bool:
    """Whether weights of a vector of channels, and windows' places, fit registers."""
    g = flattened(problem.geometry)
    if not g.channels_last or not g.in_per_group or problem.dtype.kind != "f":
        return False
    for walks in parted_walks_of(g):
        apart = walks[2].dilation > 1 or g.groups > 1
        runs = prod(walk.taps for walk in (walks if apart else walks[:2]))
        if not 1 <= runs <= MOST_RUNS or products_of(g, walks) >= room(machine):
            return False
    return True


def cuts(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine, packs: bool) -> Cuts:
    """Of the flattened geometry's walks."""
    g, of_walks = geometry, []
    for walks in parted_walks_of(g):
        tile = tile_for(walks[2].outputs, products_of(g, walks), machine)
        in_place = not packs and is_in_place(g, walks, tile, machine, dtype.itemsize)
        seen = walks if in_place else read_alone(g, walks)
        block = blocking(g, seen, tile, machine, dtype.itemsize)._replace(chunk=g.in_per_group)
        of_walks.append(Cut(seen, tile, block, in_place))
    return Cuts(tuple(of_walks))


def cycles_of(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> float:
    """Of one walk: products, stores, stretches begun, and windows packed."""
    g, (walks, tile, block, in_place) = geometry, cut
    lanes = machine.lanes(dtype)
    outputs, panels, products = along(walks, "outputs"), -(-g.out_per_group // lanes), products_of(g, walks)
    lines = g.batch * g.groups * outputs.d * outputs.h * -(-outputs.w // block.columns)
    span = max(tile.rows, results_near(lanes, dtype.itemsize, False) // max(1, g.out_per_group))
    stretches = lines * -(-min(block.columns, outputs.w) // span)
    rows = g.batch * g.groups * outputs.d * outputs.h
    of_store = 1 + (PARTED if g.out_per_group % lanes else 0)
    if g.groups > 1:  # results of a group lie apart
        of_store += APART if dtype.itemsize * prod(g.out_shape) <= machine.l2 else 3 * APART
    of_row = cycles_of_row(outputs.w, tile.rows, products, machine) + of_store * outputs.w
    cycles = panels * (rows * of_row + stretches * (20 + products))
    if not in_place:
        blocks = g.batch * g.groups * outputs.d * -(-outputs.h // block.rows) * -(-outputs.w // block.columns)
        rows = blocks * walks[0].taps * rows_packed(walks[1], min(block.rows, outputs.h))
        of_cell = 3 * g.in_per_group / lanes if g.groups == 1 else FEW  # channels of a group are copied cell by cell
        cycles += rows * (15 + of_cell * walks[2].reach(min(block.columns, outputs.w)))
    return cycles


def candidate(problem: Problem, machine: Machine) -> Candidate:
    """Direct convolution by weights that stay in registers."""
    geometry, dtype = problem.geometry, problem.dtype
    g = flattened(geometry)
    cut = cuts(g, dtype, machine, converting.read(problem))
    begun = CALL + tiles.LAUNCH * (len(cut.of_walks) - 1)
    cycles = sum((cycles_of(g, one, dtype, machine) for one in cut.of_walks), float(begun))
    return Candidate(machine.seconds(cycles, g.bytes(dtype.itemsize)), cut, partial(drafts, geometry, cut, dtype, machine))


# Plan -------------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def drafts(geometry: ConvGeometry, cuts: Cuts, dtype: np.dtype[Any], machine: Machine) -> tuple[weights.Draft, ...]:
    """A draft for each walk of the geometry."""
    return tuple(draft(geometry, cut, dtype, machine) for cut in cuts.of_walks)


def asks(sizes: Sizes, lanes: int) -> bool:
    """Whether results are asked for: vectors of rows that are no whole vectors lie across two lines, and wait for both."""
    return sizes.ahead > 0 and sizes.k_group >= AHEAD * sizes.of_line and sizes.k_group % lanes != 0


@remembered
def draft(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> weights.Draft:
    """The launch of one walk, and what lays out the weights of its taps."""
    g, (walks, tile, _, in_place) = flattened(geometry), cut

    def kernel_for(sizes: Sizes) -> Kernel:
        form, lanes = form_of(g, walks, sizes.pieces), machine.lanes(dtype)
        return kernel(tile.rows, form, lanes, in_place, asks(sizes, lanes), element(dtype), machine.isa)

    return tiles.draft_of(geometry, cut, kernel_for, dtype, machine)
