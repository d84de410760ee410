"""Convolutions without overlap, channels first: kernels of one tap, and transposed ones whose kernel is their stride.

    y [k][p] = act(bias [k] + sum over c of x [c][p] * w [c][k])

Vectors lie along the positions, which follow each other in x and in y alike: x is read where it lies, a vector of one channel
feeds every output channel of the tile, and nothing is turned. A panel of positions meets all output channels whose weights the
L2 cache holds before the next panel begins.

Positions that whole panels leave over are few at times, as of 7x7 maps: each is then a channel vector whose dot products with
the weights are summed, rather than a panel that is mostly empty.

A transposed convolution whose windows meet without overlap, as where a decoder doubles its maps, is the same for each row of
its kernel, over the output channels times the taps of the row; two taps are woven into one row of the output as it is stored,
and a panel then has positions of several rows.
"""

from functools import lru_cache, partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled, element
from fastconv.kernels.keeping import remembered
from fastconv.kernels.memory import aligned
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.direct.panels import (
    MOST_SUMS,
    Cells,
    Operands,
    Parts,
    Sizes,
    carve,
    cells_of,
    end_of_line,
    panel_behind,
    read,
    rest_summer,
    tile_maker,
)
from fastconv.kernels.simd.engine import converting, epilogue, requests, weights
from fastconv.kernels.simd.engine.costs import CALL, Candidate, come_from_afar
from fastconv.kernels.simd.engine.lines import are_lines, lines_of
from fastconv.kernels.simd.engine.sizes import Axes, written
from fastconv.kernels.simd.engine.tables import CONFLICT, TILES, Tile
from fastconv.kernels.simd.engine.workspace import keep
from fastconv.machine import Machine
from fastconv.problem.convolutions import Array, ConvGeometry
from fastconv.problem.problem import Problem

pointer = vector.pointer


@lru_cache(maxsize=32)
def kernel(
    tile: Tile, rest: tuple[Tile, Tile], apart: int, packed: bool, converts: bool, lanes: int, dtype: str, isa: str
) -> Kernel:
    """The compiled loops over panels of positions: f32_pointwise_8x3_s1_avx512.

    There are `apart` output columns for each of x, and positions that are left over go by tiles of `rest`. Where x is converted
    as it is read, all panels are copied.
    """
    rows, columns = tile
    width = columns * lanes
    make_tile, copy_first = tile_maker(rows, columns, apart, packed, lanes, dtype), vector.load_first
    sums_rest, ask_for = not packed, requests.asker(1, columns, lanes)
    sum_one, sum_several = (rest_summer(*shape, lanes) for shape in rest)

    @compiled
    def operands_of(w, bias, y, panel, s):
        """The addresses of a panel's group."""
        size = s.blocks * s.c_group * rows if packed else s.k_group * s.c_group
        first = panel.group * s.k_group
        planes = (panel.n * s.groups * s.k_group + first) * s.y_plane
        return Operands(pointer(w) + panel.group * size, pointer(bias) + first, pointer(y) + planes)

    @compiled
    def copied(cells, count, to, s):
        """The panel in rows of its own, zeros behind its last position."""
        for c in range(s.c_group):
            if s.asks > 0:
                ask_for(cells.at + (c * cells.step + width), 0)
            for j in range(columns):
                v = copy_first(cells.at + (c * cells.step + j * lanes), count - j * lanes, lanes)
                vector.store(to + (c * width + j * lanes), v)
        return Cells(to, width)

    def copied_if_asked(cells, count, to, s):
        """The panel where it lies, or copied."""
        return copied(cells, count, to, s) if s.copies > 0 or count < width else cells

    panel_cells = copied if converts else compiled(copied_if_asked)

    @compiled
    def sum_rest(cells, panel, operands, work, act, s):
        """The positions that whole panels leave over."""
        channels = panel.begin * rows, min(s.k_group, panel.end * rows)
        if panel.count == 1:
            sum_one(cells, panel, channels, operands, work, act, s)
        else:
            sum_several(cells, panel, channels, operands, work, act, s)

    def pointwise(begin, end, x, w, bias, residual, y, sizes, parameters):
        """y [k][p] = act(bias [k] + sum over c of x [c][p] * w [c][k]) for the positions p of each panel."""
        s, act = read(sizes), epilogue.epilogue(parameters, residual, y)
        work, memory = carve(Parts(bias=rows, sums=max(MOST_SUMS, rows * width), cells=s.c_group * width), x)
        panel = end_of_line(s)
        for item in range(begin, end):
            panel = panel_behind(panel, item, width, s)
            lines, operands = cells_of(x, panel, s), operands_of(w, bias, y, panel, s)
            if sums_rest and 0 < s.rest == panel.count:
                sum_rest(lines, panel, operands, work, act, s)
                continue
            cells = panel_cells(lines, panel.count, work.cells, s)
            asks = s.asks > 0 and s.copies == 0  # while it is copied, it has been asked for
            for block in range(panel.begin, panel.end):
                make_tile(block, panel, cells, operands, work, asks and block == panel.begin, act, s)
        keep(memory)

    pointwise.__name__ = f"{dtype}_pointwise_{rows}x{columns}_s{apart}{'_converted' * converts}_{isa}"
    return Kernel(pointwise)


# Decisions --------------------------------------------------------------------------------------------------------------

PARTED = 20  # cycles of a row that is stored in part, where masks are slow
TALL, LOW = 1.05, 4  # times that more rows of weights take longer where registers are few
WAYS = 8  # of a set of the L1 cache
FEW = 8  # input channels of which so little is read that results decide: they are written plane by plane
BLOCKS_OF_PANEL = 16  # that read a panel: more, and it is copied, lest its channels' lines, far apart, leave the cache
BLOCKS_OF_SMALL, BLOCKS_OF_LONG = 10, 6  # the same of few vector registers, whose tiles read it more often; of a long panel
BLOCKS_OF_CONFLICT = 2  # and of channels that fall into the same sets of the L1 cache
BLOCKS_OVER_MESH, BLOCKS_OF_ALL = 3, 12  # over a mesh: of x that comes from the last cache, and of panels that are copied once
LINES = 0.5, 1.2  # there, cycles of a line of a panel that the L1 cache does not hold: of one that is copied, and in place
LEAST_LINES = 4  # of each channel: shorter runs take as long
RUNS = 17, 6  # cycles of a channel of a panel, of x and of y, that no one asked for and the L2 cache has no room for
WIDE = 0.04  # of all cycles, a column of the tile: loads in the place in their pages of what was stored just before wait for it


class Cut(NamedTuple):
    """How the loops are cut.

    Attributes
    ----------
    tile : Tile
        Output channels x vectors of positions.
    blocks, share : int
        Blocks of output channels for all lines of taps, and those of an item.
    rest : int
        Positions that go by dot products.
    copies, asks : bool
        As the kernel's sizes have them.
    lays_weights : bool
        Whether weights are laid out in rows: those of a transposed convolution.
    """

    tile: Tile
    blocks: int
    share: int
    rest: int
    copies: bool
    asks: bool
    lays_weights: bool


def suits(problem: Problem, machine: Machine) -> bool:
    """Whether windows do not overlap."""
    return are_lines(problem.geometry)


def tiles_of(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> tuple[Tile, ...]:
    """Those whose rows of weights, where they are a multiple of CONFLICT apart, fit into one set of the L1 cache."""
    g, tiles = geometry, TILES[machine.isa].pointwise
    apart = g.in_per_group * dtype.itemsize
    return tiles if g.transposed or apart % CONFLICT else tuple(tile for tile in tiles if tile.rows <= WAYS)


def rest_of(geometry: ConvGeometry, tile: Tile, dtype: np.dtype[Any], machine: Machine) -> int:
    """Positions that whole panels leave over, where they are few enough to go by dot products; else 0."""
    g, (one, several) = geometry, TILES[machine.isa].pointwise_rest
    left = prod(g.in_size) % (tile.columns * machine.lanes(dtype))
    return left if not g.transposed and left <= several.columns and g.out_per_group >= one.rows else 0


def cut(geometry: ConvGeometry, tile: Tile, dtype: np.dtype[Any], machine: Machine) -> Cut:
    """The loops over one tile: half the L2 cache holds the weights of an item."""
    g, taps = geometry, lines_of(geometry).taps
    blocks = taps[0] * taps[1] * -(-g.out_per_group * taps[2] // tile.rows)
    share = min(blocks, max(1, machine.l2 // 2 // dtype.itemsize // max(1, g.in_per_group * tile.rows)))
    if not g.transposed and g.in_per_group <= FEW and dtype.itemsize * prod(g.x_shape) <= machine.l2:
        share = 1
    asks = dtype.itemsize * prod(g.x_shape) > machine.l2
    copies = share > blocks_in_place(g, tile, dtype, machine)
    if machine.is_meshed and share == blocks:
        copies = share > (BLOCKS_OVER_MESH if asks else BLOCKS_OF_ALL)
    return Cut(tile, blocks, share, rest_of(g, tile, dtype, machine), copies, asks, g.transposed)


def blocks_in_place(geometry: ConvGeometry, tile: Tile, dtype: np.dtype[Any], machine: Machine) -> int:
    """The most blocks that read a panel where it lies."""
    g = geometry
    if machine.registers >= 32:
        return BLOCKS_OF_PANEL
    if g.in_per_group > WAYS and prod(g.in_size) * dtype.itemsize % CONFLICT == 0:
        return BLOCKS_OF_CONFLICT
    long = g.in_per_group * tile.columns * machine.vector_bytes > machine.l1 // 2
    return BLOCKS_OF_LONG if long else BLOCKS_OF_SMALL


def cycles_of(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> float:
    """Of all tiles, and of the positions left over."""
    g, lanes, (rows, columns) = geometry, machine.lanes(dtype), cut.tile
    images = g.batch * g.groups
    panels = images * (lines_of(g).panels(columns * lanes) - (cut.rest > 0))
    products, loads = rows * columns, 2 * columns + rows
    left = images * rest_cycles(g, cut.rest, lanes, machine) if cut.rest else 0.0
    if not machine.masks and not cut.rest and not g.transposed and prod(g.in_size) % (columns * lanes):
        left += images * (cut.blocks * rows * PARTED + 4 * g.in_per_group * columns)
    tall = TALL if machine.registers <= 16 and rows > LOW else 1.0
    of_channel = max(products, loads) * tall / machine.units
    return left + panels * cut.blocks * (g.in_per_group * of_channel + 3 * products + 30)


def mesh_cycles(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> float:
    """Over a mesh, with those of lines that the L1 cache does not hold, and of where runs begin that the L2 cache does not.

    They tell cuts apart, and are no part of what is estimated: nor do the estimates of the kernels beside this one know them.
    """
    g, columns = geometry, cut.tile.columns
    panels = g.batch * g.groups * lines_of(g).panels(columns * machine.lanes(dtype))
    cycles = (1 + WIDE * columns) * cycles_of(g, cut, dtype, machine)
    if 4 * g.in_per_group * columns * machine.vector_bytes > 3 * machine.l1:
        lines = max(LEAST_LINES, columns + (not cut.copies))  # NumPy's arrays begin in the middle of a line
        cycles += panels * cut.blocks * g.in_per_group * lines * LINES[not cut.copies]
    if not cut.asks and g.bytes(dtype.itemsize) > machine.l2 * 7 // 8:
        cycles += panels * (RUNS[0] * g.in_per_group + RUNS[1] * g.out_per_group)
    return cycles


def rest_cycles(geometry: ConvGeometry, rest: int, lanes: int, machine: Machine) -> float:
    """Of the dot products of one image."""
    outputs, positions = TILES[machine.isa].pointwise_rest[rest > 1]
    products = max(outputs * positions / machine.units, outputs + positions)
    blocks = -(-geometry.out_per_group // outputs)
    return blocks * (-(-geometry.in_per_group // lanes) * products + 8 * outputs * positions) + 2 * geometry.in_per_group


@remembered
def candidate(problem: Problem, machine: Machine) -> Candidate:
    """Direct convolution by vectors of positions, by the tile that takes the fewest cycles."""
    g, dtype = problem.geometry, problem.dtype
    cuts = [cut(g, tile, dtype, machine) for tile in tiles_of(g, dtype, machine)]
    cycles = {one: cycles_of(g, one, dtype, machine) for one in cuts}
    told_by = {one: mesh_cycles(g, one, dtype, machine) for one in cuts} if machine.is_meshed else cycles
    best = min(cuts, key=lambda one: (told_by[one], one))
    seconds = machine.seconds(CALL + min(cycles.values()), g.bytes(dtype.itemsize))
    return Candidate(seconds, best, partial(drafts, g, best, dtype, machine, converting.read(problem)))


# Plan -------------------------------------------------------------------------------------------------------------------


@remembered
def drafts(
    geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine, converts: bool, plane: int = 0
) -> tuple[weights.Draft, ...]:
    """One draft; the weights of a kernel of one tap stay where they lie. What `converts` is compiled for that.

    Planes of x may be a part of larger ones, of `plane` cells.
    """
    g, lines, lanes = geometry, lines_of(geometry), machine.lanes(dtype)
    taps = Axes(*lines.taps)
    woven = taps.w == 2  # positions of several rows then share a panel
    sizes = Sizes(
        groups=g.groups,
        c_group=g.in_per_group,
        k_group=g.out_per_group,
        cells=Axes(lines.depth, lines.height, lines.width),
        taps=taps,
        x_plane=plane or prod(g.in_size),
        y_plane=prod(g.in_size) * prod(taps),
        lines=1 if woven else lines.height,
        length=lines.height * lines.width if woven else lines.width,
        blocks=cut.blocks,
        share=cut.share,
        copies=cut.copies,
        asks=cut.asks,
        fills=come_from_afar(g, dtype, machine) or requests.are_afar(dtype.itemsize * prod(g.out_shape), machine),
        rest=cut.rest,
    )
    items = g.batch * g.groups * -(-cut.blocks // max(1, cut.share)) * lines.panels(cut.tile.columns * lanes)
    rest = TILES[machine.isa].pointwise_rest
    chosen = kernel(cut.tile, rest, taps.w, g.transposed, converts, lanes, element(dtype), machine.isa)
    arguments = written(sizes), epilogue.scalars(g.activation, dtype)
    lay = partial(laid, geometry=g, rows=cut.tile.rows) if g.transposed else weights.as_given
    return (weights.drafted(chosen, items, g.flops // 16, arguments, lay),)


def laid(w: Array, bias: Array, geometry: ConvGeometry, rows: int) -> tuple[Array, Array]:
    """[group][line of taps][block of channels and taps][c][rows], flat: taps of a line go with the output channels."""
    g, (taps_t, taps_r, apart) = geometry, lines_of(geometry).taps
    of_line, tap_lines, c_group = g.out_per_group * apart, taps_t * taps_r, g.in_per_group
    blocks = -(-of_line // rows)
    turned = w.reshape(g.groups, c_group, g.out_per_group, tap_lines, apart).transpose(0, 3, 1, 2, 4)
    turned = turned.reshape(g.groups, tap_lines, c_group, of_line)
    packed = aligned(turned.size // max(1, of_line) * blocks * rows, w.dtype)
    to = packed.reshape(g.groups, tap_lines, blocks, c_group, rows)
    whole, left = divmod(of_line, rows)
    blocks_of = turned[..., : whole * rows].reshape(*turned.shape[:-1], whole, rows)
    to[:, :, :whole] = blocks_of.transpose(0, 1, 3, 2, 4)
    if left:
        to[:, :, whole, :, :left] = turned[..., whole * rows :]
        to[:, :, whole, :, left:] = 0
    return packed, bias
