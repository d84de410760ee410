"""A transposed convolution with the weights as they lie: the products of a cell with all taps, added up where windows overlap.

    products [p][m] = sum over c of x [c][p] * w [c][m]          m: taps and output channels, in the weights' order
    y [cells under the window of p] += products [p]

Both factors are read where they are: a row of weights for each input channel, of which vectors hold several m, and a value of x
for each position. Products of some positions stay in a cache until they are added to y, which begins with the bias. Nothing is
packed, turned or padded: for one call, for small maps, and for few output channels, whose sums would not fill registers.
"""

from functools import lru_cache, partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import GRAIN, Kernel, Launch, compiled, element
from fastconv.kernels.keeping import remembered
from fastconv.kernels.memory import LINE
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.direct.scattering import Band, Runs, beginner, scatterer
from fastconv.kernels.simd.engine import costs, epilogue, weights
from fastconv.kernels.simd.engine.sizes import Axes, Strides, axes, reader, written
from fastconv.kernels.simd.engine.tables import TILES, Tile
from fastconv.kernels.simd.engine.walks import strides
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array, ConvGeometry
from fastconv.problem.overlaps import are_inside, maps_of
from fastconv.problem.problem import Operands, Problem

peek, poke, pointer = vector.peek, vector.poke, vector.pointer


class Sizes(NamedTuple):
    """What the kernel needs to know.

    Attributes
    ----------
    x, y : Strides
        Of input and output.
    cells, outputs, taps, stride, before, dilation : Axes
        Of the maps and of the windows; `before`, what is cut off at the beginning of y.
    images, groups, c_group, k_group, k_item : int
        Images of an item, groups, channels of one, and output channels of an item.
    row : int
        Weights of an input channel.
    rows : int
        Rows of y of an item.
    band, pitch : int
        Positions whose products are made before they are added up, and elements from those of one to those of the next.
    copies : int
        Whether weights are copied, strip by strip, before several tiles of positions read them.
    runs : Runs
        How products are added up.
    """

    x: Strides
    y: Strides
    cells: Axes
    outputs: Axes
    taps: Axes
    stride: Axes
    before: Axes
    dilation: Axes
    images: int
    groups: int
    c_group: int
    k_group: int
    k_item: int
    row: int
    rows: int
    band: int
    pitch: int
    copies: int
    runs: Runs


class Part(NamedTuple):
    """An item: an image, a group, its first output channel and how many, and rows of y from the first one on."""

    n: int
    group: int
    first: int
    channels: int
    h_first: int
    h_end: int


class Parts(NamedTuple):
    """Products of a band, and a strip of weights."""

    products: int
    strip: int


class Tables(NamedTuple):
    """Where the windows of a band's positions begin in y."""

    windows: int


read, carve, carve_tables = reader(Sizes), workspace(Parts), workspace(Tables)


# The kernel -------------------------------------------------------------------------------------------------------------


@compiled
def part_of(item, s):
    """The part of a number."""
    rest, band = divmod(item, -(-s.outputs.h // s.rows))
    rest, block = divmod(rest, -(-s.k_group // s.k_item))
    n, group = divmod(rest, s.groups)
    first, h_first = block * s.k_item, band * s.rows
    return Part(n, group, first, min(s.k_item, s.k_group - first), h_first, min(s.outputs.h, h_first + s.rows))


@compiled
def rows_over(part, s):
    """The first row of x whose windows reach a part, and how many do."""
    first = max(0, -(-(part.h_first + s.before.h - (s.taps.h - 1) * s.dilation.h) // s.stride.h))
    last = min(s.cells.h - 1, (part.h_end - 1 + s.before.h) // s.stride.h)
    return first, max(0, last + 1 - first)


@lru_cache(maxsize=32)
def multiplier(rows: int, columns: int, lanes: int) -> Any:
    """The compiled products[p][m] of a band's positions, by tiles of positions and strips of vectors of m."""
    width = columns * lanes

    @compiled
    def copied(strip, w, count, s):
        for c in range(s.c_group):
            for j in range(0, width, lanes):
                vector.store(strip + (c * width + j), vector.load_first(w + (c * s.row + j), count - j, lanes))

    def multiply(work, x, apart, w, made, count, s):
        """`apart`: elements from one position of x to the next; `made`: products of a position."""
        for m in range(0, made, width):
            at = max(0, min(m, made - width))  # the last strip may overlap the one before
            row, step = w + at, s.row
            if made < width or s.copies > 0:
                copied(work.strip, row, made - at, s)
                row, step = work.strip, width
            for p in range(0, count, rows):
                sources = vector.rows_apart(x + p * apart, apart, min(rows, count - p), rows)
                tile = vector.zeros(work.products, rows, columns, lanes)
                for c in range(s.c_group):
                    tile = vector.fma_outer(tile, sources, c * s.x.c, row + c * step)
                vector.store_tile(tile, work.products + (p * s.pitch + at), s.pitch)

    return compiled(multiply)


@lru_cache(maxsize=32)
def kernel_of(tile: Tile, lanes: int, channels_last: bool, dtype: str, isa: str) -> Kernel:
    """The compiled loops over parts and bands of positions: f32_scattered_6x2_avx2."""
    rows, columns = tile
    begin_part, multiply, scatter = beginner(lanes, channels_last), multiplier(rows, columns, lanes), scatterer(lanes)

    def scattered(begin, end, x, w, bias, residual, y, sizes, parameters):
        """y [cells under the window of p] += sum over c of x [c][p] * w [c], from the bias on, for a range of parts."""
        s = read(sizes)
        height, of_channel = -(-s.band // rows) * rows, s.taps.d * s.taps.h * s.taps.w
        work, memory = carve(Parts(products=height * s.pitch + columns * lanes, strip=s.c_group * columns * lanes), x)
        tables, integers = carve_tables(Tables(windows=s.band), sizes)
        for item in range(begin, end):
            part = part_of(item, s)
            k = part.group * s.k_group + part.first
            source, to = (
                pointer(x) + (part.n * s.x.n + part.group * s.c_group * s.x.c),
                pointer(y) + (part.n * s.y.n + k * s.y.c),
            )
            row = pointer(w) + (part.group * s.c_group * s.row + part.first * of_channel)
            for image in range(s.images):
                begin_part(to + image * s.y.n, pointer(bias) + k, part, s)
            first_row, count = rows_over(part, s)
            whole = count == s.cells.h  # then all depths follow each other
            for d in range(1 if whole else s.cells.d):
                begun = (d * s.cells.h + first_row) * s.cells.w
                ended = begun + count * s.cells.w * (s.cells.d if whole else 1)
                for first in range(begun, ended, s.band):
                    band = Band(first, min(ended, first + s.band), part.h_first, part.h_end)
                    multiply(work, source + first * s.x.w, s.x.w, row, part.channels * of_channel, band.end - first, s)
                    scatter(to, work.products, tables.windows, 1 if channels_last else part.channels, band, s)
        keep(integers)
        keep(memory)

    scattered.__name__ = f"{dtype}_scattered_{rows}x{columns}_{isa}"
    return Kernel(scattered)


# Decisions --------------------------------------------------------------------------------------------------------------


class Cut(NamedTuple):
    """A tile of positions x vectors of m, positions of a band, and output channels and rows of y of an item."""

    tile: Tile
    band: int
    channels: int
    rows: int


WORK = 8  # multiply-adds, and as many additions, of an operation that threads are counted by
WORKSPACE = 16 << 20  # bytes of the products of a tile at most
ITEMS = 8  # or more, of a product that is worth several threads
OFTEN = 3  # tiles of positions that read a strip of weights: from as many on it is copied first
SHARED = 8  # times the rows of x that items share, that each has of its own at least
LONG = 4  # vectors of a run whose parts that two positions share were stored long ago
OF_VALUE, OF_VECTOR = 2.0, 3.0  # cycles of a product that is added up, and of a vector of them
OF_NARROW, OF_CELLS = 6.5, 1.0  # of a step of tiles one vector wide, and of a vector of cells that the L2 cache does not hold
OF_LINE = 10.0, 150.0  # of a line of weights that the L2 cache does not hold, nor the last one: rows are read piece by piece
OF_RUN, OF_ROW = 12.0, 25.0  # those to begin a run, and the same product of the positions of a row


def supports(problem: Problem) -> str | None:
    """Real float types, of transposed convolutions."""
    geometry, dtype = problem.geometry, problem.dtype
    if dtype not in (np.float32, np.float64):
        return f"its vectors are float32 or float64, not {dtype}"
    if not geometry.transposed:
        return "it serves transposed convolutions"
    products = geometry.out_per_group * geometry.taps * dtype.itemsize
    fits = products * max(tile.rows for one in TILES.values() for tile in one.scattered) <= WORKSPACE
    return None if fits else f"the products of a few positions are more than {WORKSPACE:,} bytes"


def fuses(problem: Problem) -> bool:
    """Sums are complete when the last window was added: nothing follows."""
    return problem.ends_with_sums


def runs_of(geometry: ConvGeometry, lanes: int) -> Runs:
    """How the products of a row of taps lie in y."""
    g = geometry
    together, of_cell = g.dilation[-1] == 1, g.out_channels if g.channels_last else 1
    of_tap = max(1, g.out_per_group) if g.channels_last else 1
    if g.channels_last and g.groups > 1:
        together = False
    pieces, length = (1, of_tap * g.kernel[-1]) if together else (g.kernel[-1], of_tap)
    step = g.stride[-1] * of_cell  # from a run to that of the next position
    apart = step >= length or step % lanes == 0 or length >= LONG * lanes
    return Runs(pieces, length, of_tap, of_cell, int(length >= lanes and apart), int(are_inside(g)))


def cut(geometry: ConvGeometry, tile: Tile, dtype: np.dtype[Any], machine: Machine) -> Cut:
    """Products of a band take half the L2 cache, and those of an item are more than a strip."""
    g, width, (maps, positions) = geometry, tile.columns * machine.lanes(dtype), maps_of(geometry)
    channels = max(1, g.out_per_group)
    if not g.channels_last:
        blocks = max(1, min(-(-ITEMS // max(1, maps * g.groups)), g.out_per_group * g.taps // (2 * width)))
        channels = -(-channels // blocks)
    room = machine.l2 // 2 // dtype.itemsize // pitch_of(g, channels, width)
    items = maps * g.groups * -(-g.out_per_group // channels)
    return Cut(tile, max(tile.rows, min(positions, room // tile.rows * tile.rows)), channels, rows_of(g, items))


def rows_of(geometry: ConvGeometry, items: int) -> int:
    """Rows of y of an item, along the second axis from the end: all, or fewer where there are few items and much to do."""
    g = geometry
    if g.rank < 2 or items >= ITEMS or g.flops // WORK < 2 * GRAIN:
        return g.lifted().out_size[1]
    cells, step = g.in_size[-2], g.stride[-2]
    beside = -(-(g.window[-2] - 1) // step)
    parts = max(1, min(ITEMS // max(1, items), cells // max(1, SHARED * beside)))
    return -(-g.out_size[-2] // parts)


def pitch_of(geometry: ConvGeometry, channels: int, width: int) -> int:
    """Elements of a position's products, in whole strips."""
    return max(1, -(-channels * geometry.taps // width)) * width


def cycles_of(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> float:
    """Of the products of all tiles, and of adding them up."""
    g, lanes, (rows, columns), (maps, positions) = geometry, machine.lanes(dtype), cut.tile, maps_of(geometry)
    blocks, made = -(-g.out_per_group // cut.channels), cut.channels * g.taps
    strips = maps * g.groups * blocks * -(-made // (columns * lanes))
    tiles = -(-positions // rows)
    copied = 2.0 * columns if tiles >= OFTEN or made < columns * lanes else 0.0
    products = max(rows * columns / machine.units, (rows + columns) / 2, OF_NARROW if columns == 1 else 0)
    far = positions * g.in_per_group * dtype.itemsize  # bytes of x that each strip reads again
    products += (rows / lanes if far > machine.l2 // 2 else 0) * OF_CELLS
    size = g.weights * dtype.itemsize
    line = 0.0 if size <= machine.l2 else OF_LINE[size > machine.l3 // costs.SHARE]
    bands = -(-positions // max(1, cut.band))  # each of which reads all weights again
    cycles = strips * (g.in_per_group * (tiles * products + copied * bands) + tiles * 20) + line * maps * bands * (size / LINE)
    runs = runs_of(g, lanes)
    begun = maps * g.groups * g.out_per_group // runs.of_tap * prod(g.kernel[:-1]) * runs.pieces * positions
    if runs.by_vectors:
        return cycles + begun * (OF_RUN + OF_VECTOR * (runs.length / lanes))
    rows_of_cells = -(-positions // cut.band) if runs.whole else prod(g.in_size[:-1])
    return cycles + begun * runs.length * (OF_VALUE + OF_ROW * rows_of_cells / max(1, positions))


@remembered
def choice(problem: Problem, machine: Machine) -> costs.Candidate:
    """The candidate of the tile that takes the fewest cycles."""
    g, dtype = problem.geometry, problem.dtype

    def candidate(tile: Tile) -> costs.Candidate:
        one = cut(g, tile, dtype, machine)
        seconds = machine.seconds(costs.CALL + cycles_of(g, one, dtype, machine), g.bytes(dtype.itemsize))
        return costs.Candidate(seconds, one, partial(draft, g, one, dtype, machine))

    return costs.cheapest(map(candidate, TILES[machine.isa].scattered))


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
    g, (rows, columns) = geometry.lifted(), cut.tile
    lanes, (maps, positions) = machine.lanes(dtype), maps_of(geometry)
    x, y = strides(g, g.in_channels, g.in_size), strides(g, g.out_channels, g.out_size)
    cells, stride, images = axes(g.in_size), axes(g.stride), g.batch // max(1, maps)
    if images > 1:
        x, cells, stride = x._replace(w=x.n), cells._replace(w=positions), stride._replace(w=y.n // y.w)
    sizes = Sizes(
        x=x,
        y=y,
        cells=cells,
        outputs=axes(g.out_size),
        taps=axes(g.kernel),
        stride=stride,
        before=axes(tuple(pair[0] for pair in g.padding)),
        dilation=axes(g.dilation),
        images=images,
        groups=g.groups,
        c_group=g.in_per_group,
        k_group=g.out_per_group,
        k_item=cut.channels,
        row=g.out_per_group * g.taps,
        rows=max(1, cut.rows),
        band=cut.band,
        pitch=pitch_of(g, cut.channels, columns * lanes),
        copies=int(min(cut.band, positions) > (OFTEN - 1) * rows),
        runs=runs_of(g, lanes)._replace(whole=int(are_inside(g) and cut.rows >= g.out_size[1])),
    )
    chosen = kernel_of(cut.tile, lanes, g.channels_last, element(dtype), machine.isa)
    items = maps * g.groups * -(-g.out_per_group // cut.channels) * -(-g.out_size[1] // max(1, cut.rows))
    arguments = written(sizes), epilogue.scalars(g.activation, dtype)
    return weights.drafted(chosen, items, g.flops // WORK, arguments, weights.as_given)


@remembered
def drafts(problem: Problem, machine: Machine) -> tuple[weights.Draft, ...]:
    """The one launch of the chosen candidate: a function asks in every call."""
    return (choice(problem, machine).launch(),)


def pack(w: Array, bias: Array, problem: Problem) -> Launch:
    """The weights themselves."""
    return weights.launched(drafts(problem, host())[0], w, bias)


def run(operands: Operands, packed: Launch, problem: Problem, out: Array) -> None:
    """All parts."""
    y = out.ravel()
    packed.run(operands["x"].ravel(), y, y)
