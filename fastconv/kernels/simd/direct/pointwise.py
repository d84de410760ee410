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

from fastconv.kernels.jit import Kernel, compiled, element, inlined
from fastconv.kernels.keeping import remembered
from fastconv.kernels.memory import aligned
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import converting, epilogue, weights, windows
from fastconv.kernels.simd.engine.costs import CALL, Candidate
from fastconv.kernels.simd.engine.lines import are_lines, lines_of
from fastconv.kernels.simd.engine.sizes import Axes, reader, written
from fastconv.kernels.simd.engine.tables import CONFLICT, TILES, Tile
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.machine import Machine
from fastconv.problem.convolutions import Array, ConvGeometry
from fastconv.problem.problem import Problem

peek, poke, pointer = vector.peek, vector.poke, vector.pointer
MOST_SUMS = 16  # of a tile for positions that whole panels leave over


class Sizes(NamedTuple):
    """What the kernel needs to know.

    Attributes
    ----------
    groups, c_group, k_group : int
        Groups, and channels of each.
    cells, taps : Axes
        Of the input, and of the kernel: output rows of each of the input, and output columns of each position.
    x_plane, y_plane : int
        Cells of a channel of x, and of y.
    lines, length : int
        Lines of each depth that panels are cut from, and positions of a line.
    blocks, share : int
        Blocks of output channels for all lines of taps, and those of an item.
    copies, asks : int
        Whether panels are copied, and whether the next one is asked for while this one is first read.
    rest : int
        Positions that whole panels leave over, where they go by dot products.
    """

    groups: int
    c_group: int
    k_group: int
    cells: Axes
    taps: Axes
    x_plane: int
    y_plane: int
    lines: int
    length: int
    blocks: int
    share: int
    copies: int
    asks: int
    rest: int


class Panel(NamedTuple):
    """`count` positions of a line from `first` on, and the blocks of output channels from `begin` to `end` - 1."""

    n: int
    group: int
    d: int
    h: int
    first: int
    count: int  # type: ignore[assignment]
    begin: int
    end: int


class Cells(NamedTuple):
    """Where a panel's first channel is read, and elements from one channel to the next."""

    at: Any
    step: int


class Operands(NamedTuple):
    """Addresses of a group's weights, bias and planes of y."""

    weights: Any
    bias: Any
    y: Any


class Rows(NamedTuple):
    """The rows of a tile that are stored, output channels times taps, from the output channel `k` on and for a line of taps."""

    k: int
    count: int  # type: ignore[assignment]
    line: int


class Parts(NamedTuple):
    """The bias of a tile, the sums of one for positions left over, and a panel."""

    bias: int
    sums: int
    cells: int


read, carve = reader(Sizes), workspace(Parts)


@compiled
def panel_of(item, width, s):
    """The panel of one item."""
    rest, panel = divmod(item, -(-s.length // width))
    rest, h = divmod(rest, s.lines)
    rest, d = divmod(rest, s.cells.d)
    rest, share = divmod(rest, -(-s.blocks // s.share))
    n, group = divmod(rest, s.groups)
    first = panel * width
    begin, end = share * s.share, min(s.blocks, (share + 1) * s.share)
    return Panel(n, group, d, h, first, min(width, s.length - first), begin, end)


@compiled
def cells_of(x, panel, s):
    """A panel where it lies in x."""
    channels = (panel.n * s.groups + panel.group) * s.c_group
    line = (panel.d * s.cells.h + panel.h) * s.cells.w + panel.first
    return Cells(pointer(x) + (channels * s.x_plane + line), s.x_plane)


@compiled
def row_of(panel, h, line, s):
    """The row of y that a line of taps makes of a row of x."""
    t, r = divmod(line, s.taps.h)
    return ((panel.d * s.taps.d + t) * s.cells.h + h) * s.taps.h + r


@lru_cache(maxsize=32)
def rest_summer(outputs: int, positions: int, lanes: int) -> Any:
    """The compiled y[k][p] of `positions` positions or fewer, by dot products with `outputs` output channels at a time."""

    @compiled
    def turn(to, cells, count, s):
        """to [p][c] = x [c][p]; the last position stands for those that fill up a tile."""
        for p in range(positions):
            for c in range(s.c_group):
                poke(to + (p * s.c_group + c), peek(cells.at + (c * cells.step + min(p, count - 1))))

    @compiled
    def multiply(sums, rows, w, s):
        """sums [k][p] = sum over c of w [k][c] * rows [p][c]"""
        whole, tile = s.c_group - s.c_group % lanes, vector.zeros(rows, outputs, positions, lanes)
        for c in range(0, whole, lanes):
            tile = vector.fma_dots(tile, w + c, s.c_group, rows + c, s.c_group, lanes)
        if whole < s.c_group:
            tile = vector.fma_dots(tile, w + whole, s.c_group, rows + whole, s.c_group, s.c_group - whole)
        vector.store_lane_sums(tile, sums)

    def sum_rest(cells, panel, channels, operands, work, act, s):
        """Of the output channels from channels[0] to channels[1] - 1; the last block may overlap the one before."""
        first, last = channels
        turn(work.cells, cells, panel.count, s)
        for begun in range(first, last, outputs):
            k = min(begun, s.k_group - outputs)
            multiply(work.sums, work.cells, operands.weights + k * s.c_group, s)
            for i in range(begun - k, min(outputs, last - k)):
                for p in range(panel.count):
                    value = peek(work.sums + (i * positions + p)) + peek(operands.bias + (k + i))
                    epilogue.put(operands.y + ((k + i) * s.y_plane + panel.first + p), value, act)

    return compiled(sum_rest)


@lru_cache(maxsize=32)
def row_store(rows: int, width: int, packed: bool) -> Any:
    """The compiled store of a tile whose positions follow each other in y."""

    def store_rows(tile, y, panel, shown, act, s):
        row = panel.d * s.cells.h + panel.h
        if packed:
            row = row_of(panel, panel.h, shown.line, s)
        to = y + (shown.k * s.y_plane + row * s.cells.w + panel.first)
        if panel.count == width and shown.count == rows:
            vector.store_tile(tile, to, s.y_plane)
        else:
            vector.store_spans(tile, to, s.y_plane, shown.count, panel.count)
        if epilogue.is_unfinished(act):
            for i in range(shown.count):
                epilogue.finish_run(to + i * s.y_plane, panel.count, act)

    return inlined(store_rows)


@inlined
def store_woven(tile, y, panel, shown, act, s):
    """The store of a tile of whose rows two are woven into one of y; positions of several rows of x share a panel."""
    done = 0
    while done < panel.count:
        h, column = divmod(panel.first + done, s.cells.w)
        to = y + (shown.k * s.y_plane + (row_of(panel, h, shown.line, s) * s.cells.w + column - done) * 2)
        until = min(panel.count, done + s.cells.w - column)
        vector.store_woven(tile, to, s.y_plane, shown.count, done, until)
        if epilogue.is_unfinished(act):
            for i in range(shown.count // 2):
                epilogue.finish_run(to + (i * s.y_plane + 2 * done), 2 * (until - done), act)
        done = until


@lru_cache(maxsize=32)
def tile_maker(rows: int, columns: int, apart: int, packed: bool, lanes: int, dtype: str) -> Any:
    """The compiled y[k][p] of a panel and one block of output channels."""
    activate, ask_for = epilogue.activation_of(dtype), windows.asker(1, columns, lanes)
    width, by_c = columns * lanes, rows if packed else 1
    store = store_woven if apart == 2 else row_store(rows, columns * lanes, packed)

    @inlined
    def weights_at(panel, block, shown, operands, s):
        """The rows of a block's weights: packed, one after the other, or of output channels where they lie."""
        if packed:
            return vector.rows_apart(operands.weights + block * s.c_group * rows, 1, rows, rows)
        return vector.rows_apart(operands.weights + shown.k * s.c_group, s.c_group, shown.count, rows)

    @inlined
    def bias_at(shown, operands, to):
        """The bias of every row; of the last block some rows may be no channel's, and none of these is stored."""
        at = operands.bias + shown.k
        if apart == 2 or shown.count < rows:
            for i in range(shown.count):
                poke(to + i, peek(at + i // apart))
            at = to
        return at

    @inlined
    def multiply(tile, w, cells, asks, s):
        """tile [k][p] += sum over c of w [k][c] * cells [c][p]"""
        if asks:  # the next panel is on its way while this one is first read
            for c in range(s.c_group):
                ask_for(cells.at + (c * cells.step + width), 0)
                tile = vector.fma_outer(tile, w, c * by_c, cells.at + c * cells.step)
        else:
            for c in range(s.c_group):
                tile = vector.fma_outer(tile, w, c * by_c, cells.at + c * cells.step)
        return tile

    @inlined
    def rows_of(block, s):
        """The rows of a block's tile; a plain convolution has one line, and divides nothing to find it."""
        line, k_block = 0, block
        if packed:
            line, k_block = divmod(block, -(-s.k_group // (rows // apart)))
        k = k_block * (rows // apart)
        return Rows(k, min(rows, (s.k_group - k) * apart), line)

    def make_tile(block, panel, cells, operands, bias, act, s):
        shown = rows_of(block, s)
        w = weights_at(panel, block, shown, operands, s)
        tile = vector.first_values(bias_at(shown, operands, bias), rows, columns, lanes)
        tile = multiply(tile, w, cells, s.asks > 0 and block == panel.begin, s)
        store(activate(tile, act), operands.y, panel, shown, act, s)

    return compiled(make_tile)


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
    sums_rest = not packed
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
        work, memory = carve(Parts(bias=rows, sums=MOST_SUMS, cells=s.c_group * width), x)
        for item in range(begin, end):
            panel = panel_of(item, width, s)
            lines, operands = cells_of(x, panel, s), operands_of(w, bias, y, panel, s)
            if sums_rest and 0 < s.rest == panel.count:
                sum_rest(lines, panel, operands, work, act, s)
                continue
            cells = panel_cells(lines, panel.count, work.cells, s)
            for block in range(panel.begin, panel.end):
                make_tile(block, panel, cells, operands, work.bias, act, s)
        keep(memory)

    pointwise.__name__ = f"{dtype}_pointwise_{rows}x{columns}_s{apart}{'_converted' * converts}_{isa}"
    return Kernel(pointwise)


# Decisions --------------------------------------------------------------------------------------------------------------

WAYS = 8  # of a set of the L1 cache
FEW = 8  # input channels of which so little is read that results decide: they are written plane by plane
BLOCKS_OF_PANEL = 16  # that read a panel: more, and it is copied, lest its channels' lines, far apart, leave the cache


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
    copies = share > BLOCKS_OF_PANEL
    asks = not copies and dtype.itemsize * prod(g.x_shape) > machine.l2
    return Cut(tile, blocks, share, rest_of(g, tile, dtype, machine), copies, asks, g.transposed)


def cycles_of(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> float:
    """Of all tiles, and of the positions left over."""
    g, lanes, (rows, columns) = geometry, machine.lanes(dtype), cut.tile
    images = g.batch * g.groups
    panels = images * (lines_of(g).panels(columns * lanes) - (cut.rest > 0))
    products, loads = rows * columns, 2 * columns + rows
    left = images * rest_cycles(g, cut.rest, lanes, machine) if cut.rest else 0.0
    return left + panels * cut.blocks * (g.in_per_group * max(products, loads) / machine.units + 3 * products + 30)


def rest_cycles(geometry: ConvGeometry, rest: int, lanes: int, machine: Machine) -> float:
    """Of the dot products of one image."""
    outputs, positions = TILES[machine.isa].pointwise_rest[rest > 1]
    products = max(outputs * positions / machine.units, outputs + positions)
    blocks = -(-geometry.out_per_group // outputs)
    return blocks * (-(-geometry.in_per_group // lanes) * products + 8 * outputs * positions) + 2 * geometry.in_per_group


def candidate(problem: Problem, machine: Machine) -> Candidate:
    """Direct convolution by vectors of positions, by the tile that takes the fewest cycles."""
    g, dtype = problem.geometry, problem.dtype
    cuts = [cut(g, tile, dtype, machine) for tile in tiles_of(g, dtype, machine)]
    cycles, best = min((cycles_of(g, one, dtype, machine), one) for one in cuts)
    seconds = machine.seconds(CALL + cycles, g.bytes(dtype.itemsize))
    return Candidate(seconds, best, partial(drafts, g, best, dtype, machine, converting.read(problem)))


# Plan -------------------------------------------------------------------------------------------------------------------


@remembered
def drafts(
    geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine, converts: bool
) -> tuple[weights.Draft, ...]:
    """One draft; the weights of a kernel of one tap stay where they lie. What `converts` is compiled for that."""
    g, lines, lanes = geometry, lines_of(geometry), machine.lanes(dtype)
    taps = Axes(*lines.taps)
    woven = taps.w == 2  # positions of several rows then share a panel
    sizes = Sizes(
        groups=g.groups,
        c_group=g.in_per_group,
        k_group=g.out_per_group,
        cells=Axes(lines.depth, lines.height, lines.width),
        taps=taps,
        x_plane=prod(g.in_size),
        y_plane=prod(g.in_size) * prod(taps),
        lines=1 if woven else lines.height,
        length=lines.height * lines.width if woven else lines.width,
        blocks=cut.blocks,
        share=cut.share,
        copies=cut.copies,
        asks=cut.asks,
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
