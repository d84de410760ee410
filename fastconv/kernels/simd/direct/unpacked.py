"""Convolution with the weights as they lie, for calls that would take longer to pack them than to use them.

    y [p][k] = act(bias [k] + sum over l of windows [p][l] * w [k][l])        l: taps and input channels, in the weights' order

Each output is a dot product along l, which is contiguous in w: vectors lie along it, and no weight moves. Windows are copied,
a panel of positions by a chunk of l at a time, into rows that the L2 cache holds: on small maps there are few of them, and
many weights. A tile is several positions by several output channels, each with a vector of partial sums, whose lanes are added
up at its end. Chunks after the first add to what lies in y.
"""

from functools import lru_cache, partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, Launch, compiled, element, inlined
from fastconv.kernels.keeping import remembered
from fastconv.kernels.memory import LINE
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.direct.gathering import gatherer
from fastconv.kernels.simd.engine import costs, epilogue, weights, windows
from fastconv.kernels.simd.engine.microkernel import Phase
from fastconv.kernels.simd.engine.sizes import Axes, Strides, reader, written
from fastconv.kernels.simd.engine.tables import CONFLICT, TILES, Tile
from fastconv.kernels.simd.engine.walks import along, strides
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import SPATIAL_AXES, Array, ConvGeometry
from fastconv.problem.problem import Operands, Problem

peek, poke, pointer = vector.peek, vector.poke, vector.pointer


class Sizes(NamedTuple):
    """What the kernel needs to know.

    Attributes
    ----------
    x, y : Strides
        Of input and output.
    outputs, taps, cells, origin, stride, dilation : Axes
        Of the walk.
    images, c_group, k_group : int
        Images of the batch, and channels of a group.
    plane, window, length : int
        Positions of an image, taps of a window, and products of an output.
    mode : int
        Of the border.
    panel, chunk, step : int
        Positions of a panel, products of a chunk, and elements from one row of a panel to the next.
    """

    x: Strides
    y: Strides
    outputs: Axes
    taps: Axes
    cells: Axes
    origin: Axes
    stride: Axes
    dilation: Axes
    images: int
    c_group: int
    k_group: int
    plane: int
    window: int
    length: int
    mode: int
    panel: int
    chunk: int
    step: int


class Panel(NamedTuple):
    """`count` positions of an image from `first` on, and a group."""

    n: int
    group: int
    first: int
    count: int  # type: ignore[assignment]


class Chunk(NamedTuple):
    """A range of the products of an output."""

    begin: int
    count: int  # type: ignore[assignment]


class Pointers(NamedTuple):
    """Addresses of a group's weights and bias, and of a panel's first result."""

    weights: Any
    bias: Any
    y: Any


class Span(NamedTuple):
    """The rows and columns of a tile that are stored."""

    first_row: int
    end_row: int
    first_column: int
    end_column: int


class Parts(NamedTuple):
    """The rows of a panel, and the sums of a tile."""

    rows: int
    sums: int


class Tables(NamedTuple):
    """Offsets of a window's taps, or of rows."""

    offsets: int


read, carve, carve_tables = reader(Sizes), workspace(Parts), workspace(Tables)
STREAM = 4  # tiles of positions by which weights stream: beside more of them those of the next channels are asked for


# Tiles ------------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=32)
def finisher(columns: int, lanes: int, channels_last: bool, dtype: str) -> Any:
    """The compiled store of the sums of a tile's span: they begin with the bias, or with what lies in y."""
    activate = epilogue.activation_of(dtype, silu=True)

    def finish(sums, y, step, bias, span, phase, act):
        """The rows of y lie `step` apart."""
        for i in range(span.first_row, span.end_row):
            for j in range(span.first_column, span.end_column, lanes):
                to, width = y + (i * step + j), min(lanes, span.end_column - j)
                value = vector.load_first(sums + (i * columns + j), width, lanes)
                if not phase.begins:
                    value = value + vector.load_first(to, width, lanes)
                elif channels_last:
                    value = value + vector.load_first(bias + j, width, lanes)
                else:
                    value = value + vector.splat(peek(bias + i), lanes)
                if phase.ends:
                    value = activate(value, act)
                vector.store_first(to, value, width)

    return compiled(finish)


@lru_cache(maxsize=32)
def tile_maker(positions: int, outputs: int, lanes: int, channels_last: bool, dtype: str) -> Any:
    """The compiled y[p][k] of a panel's positions and the output channels of a tile, by a chunk of l."""
    # A row of a tile is what follows each other in y: the output channels of a position, or the positions of an output channel.
    rows, columns = (positions, outputs) if channels_last else (outputs, positions)
    finish, whole, line = finisher(columns, lanes, channels_last, dtype), lanes, LINE // (4 if dtype == "f32" else 8)

    @inlined
    def multiply(sums, at, step, w, length, room):
        if channels_last:
            return vector.fma_dots(sums, at, step, w, length, room)
        return vector.fma_dots(sums, w, length, at, step, room)

    @inlined
    def ask_for(w, p, panel, chunk, s):
        """Ask for what the next tile of output channels reads, a part of its lines for each tile of positions."""
        share = min(chunk.count, chunk.count * positions // panel.count + line)
        ahead = w + (outputs * s.length + share * (p // positions))
        for j in range(outputs):
            for i in range(0, share, line):
                vector.prefetch(ahead + (j * s.length + i))

    def make_tiles(tile, last, panel, chunk, pointers, work, act, s):
        asks = panel.count > STREAM * positions and not last  # what streams by comes sooner by itself
        k = min(tile * outputs, s.k_group - outputs)  # the last tile may overlap the one before
        done, w = tile * outputs - k, pointers.weights + (k * s.length + chunk.begin)
        phase = Phase(chunk.begin == 0, chunk.begin + s.chunk >= s.length)
        full = chunk.count - chunk.count % lanes
        for p in range(0, panel.count, positions):
            if asks:
                ask_for(w, p, panel, chunk, s)
            at, sums = work.rows + p * s.step, vector.zeros(work.rows, rows, columns, lanes)
            for i in range(0, full, lanes):
                sums = multiply(sums, at + i, s.step, w + i, s.length, whole)
            if full < chunk.count:
                sums = multiply(sums, at + full, s.step, w + full, s.length, chunk.count - full)
            vector.store_lane_sums(sums, work.sums)
            to, count = pointers.y + (p * s.y.w + k * s.y.c), min(positions, panel.count - p)
            if channels_last:
                finish(work.sums, to, s.y.w, pointers.bias + k, Span(0, count, done, outputs), phase, act)
            else:
                finish(work.sums, to, s.y.c, pointers.bias + k, Span(done, outputs, 0, count), phase, act)

    return inlined(make_tiles)


@lru_cache(maxsize=32)
def kernel_of(tile: Tile, lanes: int, channels_last: bool, pixels: bool, dtype: str, isa: str) -> Kernel:
    """The compiled loops over panels of positions and chunks of l: f32_unpacked_5x5_avx512."""
    positions, outputs = tile
    gather, make_tiles = gatherer(lanes, channels_last, pixels), tile_maker(*tile, lanes, channels_last, dtype)
    clear = windows.runs(lanes)[1]

    @compiled
    def panel_of(part, group, s):
        """The panel of a number."""
        n, panel = divmod(part, -(-s.plane // s.panel))
        return Panel(n, group, panel * s.panel, min(s.panel, s.plane - panel * s.panel))

    @compiled
    def source_of(x, panel, fill, s):
        """The image that a panel reads."""
        at = pointer(x) + (panel.n * s.x.n + panel.group * s.c_group * s.x.c)
        return windows.Source(at, s.x, s.cells, s.mode, fill)

    @compiled
    def pointers_of(w, bias, y, panel, s):
        """The addresses of a panel's group."""
        first = panel.group * s.k_group
        to = pointer(y) + (panel.n * s.y.n + first * s.y.c + panel.first * s.y.w)
        return Pointers(pointer(w) + first * s.length, pointer(bias) + first, to)

    def unpacked(begin, end, x, w, bias, residual, y, sizes, parameters):
        """y [p][k] = act(bias [k] + sum over l of windows [p][l] * w [k][l]) for a range of tiles of output channels."""
        s, act = read(sizes), epilogue.epilogue_with_silu(parameters, residual, y)
        tiles, fill = -(-s.k_group // outputs), epilogue.padding_value(parameters)
        height = -(-s.panel // positions) * positions
        work, memory = carve(Parts(rows=height * s.step, sums=positions * outputs + 2 * lanes), x)
        tables, integers = carve_tables(Tables(offsets=s.window + lanes), sizes)
        filled = min(s.panel, s.plane)
        clear(work.rows + filled * s.step, fill, (height - filled) * s.step)  # rows of a tile that are no position's
        for group in range(begin // tiles, -(-end // tiles)):
            first, last = max(0, begin - group * tiles), min(tiles, end - group * tiles)
            for part in range(s.images * -(-s.plane // s.panel)):
                panel = panel_of(part, group, s)
                source, pointers = source_of(x, panel, fill, s), pointers_of(w, bias, y, panel, s)
                for l_begin in range(0, max(1, s.length), s.chunk):
                    chunk = Chunk(l_begin, min(s.chunk, s.length - l_begin))
                    gather(work.rows, source, panel, chunk, tables.offsets, s)
                    for tile in range(first, last):
                        make_tiles(tile, tile + 1 == last, panel, chunk, pointers, work, act, s)
        keep(integers)
        keep(memory)

    unpacked.__name__ = f"{dtype}_unpacked_{positions}x{outputs}_{isa}"
    return Kernel(unpacked)


# Decisions --------------------------------------------------------------------------------------------------------------


class Cut(NamedTuple):
    """A tile of positions x output channels, positions of a panel, products of a chunk, and from one row to the next."""

    tile: Tile
    panel: int
    chunk: int
    step: int


ALONE = Tile(1, 8)  # of one position
LOW = Tile(6, 1)  # where there are fewer output channels
PANEL = 64  # positions, or a few more or less
PARTED = 65, 30  # cycles of a square of pixels of which a part is turned: where masks are slow, and where they are not


def supports(problem: Problem) -> str | None:
    """Real float types; not transposed: there the weights of an output lie apart."""
    geometry, dtype = problem.geometry, problem.dtype
    if dtype not in (np.float32, np.float64):
        return f"its vectors are float32 or float64, not {dtype}"
    return "it does not serve transposed convolutions" if geometry.transposed else None


def fuses(problem: Problem) -> bool:
    """Tiles overlap, and what two of them store is finished in registers or not at all."""
    return not problem.finished_later


def is_pixels(geometry: ConvGeometry) -> bool:
    """Whether each window is one pixel, and they follow each other in planes."""
    return geometry.is_pointwise and not geometry.channels_last


def cut(geometry: ConvGeometry, tile: Tile, dtype: np.dtype[Any], machine: Machine) -> Cut:
    """How panels and chunks are cut for a tile: rows take half the L2 cache."""
    plane, length, line = prod(geometry.out_size), geometry.reduction, LINE // dtype.itemsize
    panels = -(-plane // PANEL)
    panel = -(-plane // max(1, panels) // tile.rows) * tile.rows or tile.rows
    most = max(line, machine.l2 // 2 // dtype.itemsize // panel // line * line)
    chunks = max(1, -(-length // most))
    chunk = -(-length // chunks // line) * line or line
    step = chunk + line if chunk * dtype.itemsize % CONFLICT < 4 * LINE else chunk
    return Cut(tile, panel, chunk, step)


def cycles_of(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> float:
    """Of the products of all tiles, the sums of their lanes, and the windows copied."""
    g, lanes, size = geometry, machine.lanes(dtype), machine.vector_bytes
    plane, length, (positions, outputs) = prod(g.out_size), g.reduction, cut.tile
    chunks = max(1, -(-length // cut.chunk))
    port = 1 if size == 64 else 2  # vectors of 64 bytes take both ports to load
    loads = (positions + outputs * (1 + size / 64)) / port
    sums = 30 + 4 * positions * outputs
    tiles = g.batch * g.groups * -(-g.out_per_group // outputs) * -(-plane // cut.panel) * -(-cut.panel // positions)
    products = max(positions * outputs / machine.units, loads) * (1.2 if machine.registers <= 16 else 1.0)
    cycles = tiles * chunks * (-(-cut.chunk // lanes) * products + sums)
    cell, run = (2 / lanes, 25) if g.channels_last else (0.4 if is_pixels(g) else 2.5, 12)
    parted = PARTED[machine.masks] * -(-length // lanes) if is_pixels(g) and plane > 1 and plane % lanes else 0
    return cycles + g.batch * g.groups * (plane * (cell * length + run * g.taps * chunks) + parted)


@remembered
def choice(problem: Problem, machine: Machine) -> costs.Candidate:
    """The candidate of the tile that takes the fewest cycles."""
    return costs.cheapest(candidates(problem, machine))


def candidates(problem: Problem, machine: Machine) -> tuple[costs.Candidate, ...]:
    """A candidate for each tile: its cycles, and weights that wait for memory; of a position alone they stream by."""
    g, dtype = problem.geometry, problem.dtype
    alone = g.batch * prod(g.out_size) == 1

    def candidate(tile: Tile) -> costs.Candidate:
        one = cut(g, tile, dtype, machine)
        cycles = costs.CALL + cycles_of(g, one, dtype, machine)
        if alone:
            seconds = costs.streaming_seconds(cycles, g, dtype, machine)
        else:
            seconds = machine.seconds(cycles, g.bytes(dtype.itemsize)) + machine.seconds(0, dtype.itemsize * g.weights)
        return costs.Candidate(seconds, one, partial(draft, g, one, dtype, machine))

    tiles = [tile for tile in TILES[machine.isa].unpacked if tile.columns <= g.out_per_group]
    tiles = [tile for tile in tiles if tile.rows == 1] if alone and tiles[-1:] == [ALONE] else tiles
    return tuple(map(candidate, tiles or [LOW]))


def cost(problem: Problem, machine: Machine) -> float:
    """Of the tile that is chosen."""
    return choice(problem, machine).seconds


def kernel(problem: Problem, machine: Machine) -> str:
    """The name of the kernel that runs."""
    return drafts(problem, machine)[0].launch.kernel.__name__


# Plan -------------------------------------------------------------------------------------------------------------------


@remembered
def draft(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> weights.Draft:
    """The launch without its weights, which stay where they lie."""
    g, pixels = geometry.lifted(), is_pixels(geometry)
    walks = tuple(g.walks(axis)[0] for axis in range(SPATIAL_AXES))
    sizes = Sizes(
        x=strides(g, g.in_channels, g.in_size),
        y=strides(g, g.out_channels, g.out_size),
        outputs=along(walks, "outputs"),
        taps=along(walks, "taps"),
        cells=along(walks, "cells"),
        origin=along(walks, "origin"),
        stride=along(walks, "stride"),
        dilation=along(walks, "dilation"),
        images=g.batch,
        c_group=g.in_per_group,
        k_group=g.out_per_group,
        plane=prod(g.out_size),
        window=g.taps,
        length=g.reduction,
        mode=g.mode,
        panel=cut.panel,
        chunk=cut.chunk,
        step=cut.step,
    )
    chosen = kernel_of(cut.tile, machine.lanes(dtype), g.channels_last, pixels, element(dtype), machine.isa)
    items = g.groups * -(-g.out_per_group // cut.tile.columns)
    arguments = written(sizes), epilogue.scalars(g.activation, dtype, g.border.value)
    return weights.drafted(chosen, items, g.flops // 8, arguments, weights.as_given)


@remembered
def drafts(problem: Problem, machine: Machine) -> tuple[weights.Draft, ...]:
    """The one launch of the chosen candidate: a function asks in every call."""
    return (choice(problem, machine).launch(),)


def pack(w: Array, bias: Array, problem: Problem) -> Launch:
    """The weights themselves."""
    return weights.launched(drafts(problem, host())[0], w, bias)


def run(operands: Operands, packed: Launch, problem: Problem, out: Array) -> None:
    """All tiles."""
    y = out.ravel()
    packed.run(operands["x"].ravel(), operands["residual"].ravel() if problem.residual else y, y)
