"""Depthwise convolution, channels last, by vectors of channels: a tile of output positions of one row by one or two vectors.

    y[n, h, w, c] = act(bias[c] + sum over r, s of x[n, h * stride + r - padding, w * stride + s - padding, c] * w[r, s, c])

and so over three axes, where a row meets the rows of several depths. A tile reads every input vector of a kernel row once,
also of groups of a few channels. Rows of padding are left out, and tiles whose windows meet padding find their cells in a list.
Outputs of a tile lie a dilation apart, as their cells do. A tile of two vectors has fewer positions, and leaves no half of a
cache line for later, when it may be gone.
"""

from collections.abc import Iterator
from functools import lru_cache, partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, element, inlined
from fastconv.kernels.keeping import remembered
from fastconv.kernels.memory import LINE
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.depthwise.line_tiles import (
    LineSizes,
    LineTables,
    Tile,
    asker,
    carve_line,
    line_filters,
    line_of,
    read_line,
)
from fastconv.kernels.simd.engine import epilogue
from fastconv.kernels.simd.engine.costs import CALL, PERIOD, Candidate, lines_waited_for
from fastconv.kernels.simd.engine.requests import are_waited_for
from fastconv.kernels.simd.engine.sizes import Plane, axes, written
from fastconv.kernels.simd.engine.walks import plane_sizes
from fastconv.kernels.simd.engine.weights import Draft, drafted
from fastconv.kernels.simd.engine.workspace import keep
from fastconv.machine import Machine
from fastconv.problem.borders import ZERO_FILL
from fastconv.problem.convolutions import Array, ConvGeometry

poke, pointer = vector.poke, vector.pointer


class Form(NamedTuple):
    """What a kernel is compiled for: its tile, taps of a row, outputs' step, inputs of a group, whether rows are asked for."""

    tile: Tile
    taps: int
    stride: int
    group: int
    ahead: bool


@lru_cache(maxsize=64)
def channels_last_kernel(form: Form, lanes: int, itemsize: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over rows of n, d, h: f32_depthwise_8x1_3s1_g1_nhwc_avx512."""
    tile, taps, stride, group, ahead = form
    (rows, vectors), activate, ask = tile, epilogue.activation_of(dtype), asker(tile, stride, lanes, itemsize)
    filter_inside, filter_listed, list_cells = line_filters(tile, taps, stride, group, lanes)
    width = vectors * lanes

    @inlined
    def filter_tile(line, table, column, w, bias, act, s):
        """y of `rows` outputs from a column on, all channels."""
        inside = s.begin <= column and column + (rows - 1) * s.dilation.w < s.end
        if not inside:
            list_cells(line, table, column, s)
        for begun in range(0, s.channels, width):
            c = min(begun, s.channels - width)  # the last vectors may overlap those before
            to, step = line.y + (column * s.channels + c), s.dilation.w * s.channels
            if ahead:
                ask(line, column, c, s)
            if inside:
                sums = filter_inside(line, table, column, c, pointer(w), pointer(bias), s)
                vector.store_tile(activate(sums, act), to, step)
            else:
                sums = filter_listed(line, table, c, pointer(w), pointer(bias), s)
                vector.store_tile(activate(sums, act), to, step)

    def depthwise(begin, end, x, w, bias, residual, y, sizes, parameters):
        """y [n][h][w][c] = act(bias [c] + sum over r, s of x [n][h * stride + r][w * stride + s][c] * w [r][s][c])"""
        s, act = read_line(sizes), epilogue.epilogue(parameters, residual, y)
        wide, apart = (rows - 1) * stride + taps, s.dilation.w
        of_kernel = s.taps.d * s.taps.h
        table, memory = carve_line(LineTables(rows=2 * of_kernel, cells=of_kernel * wide, zeros=s.zeros), sizes)
        for i in range(s.zeros):
            poke(table.zeros + i, 0)
        for number in range(begin, end):
            line = line_of(number, x, y, table.rows, s)
            for phase in range(min(apart, s.outputs.w)):  # outputs that share cells lie a dilation apart
                count = (s.outputs.w - phase - 1) // apart + 1
                for begun in range(0, count, rows):
                    column = phase + min(begun, count - rows) * apart  # so may the last tile
                    filter_tile(line, table, column, w, bias, act, s)
            epilogue.finish_run(line.y, s.outputs.w * s.channels, act)
        keep(memory)

    depthwise.__name__ = f"{dtype}_depthwise_{rows}x{vectors}_{taps}s{stride}_g{group}{'_ahead' * ahead}_nhwc_{isa}"
    return Kernel(depthwise)


# Decisions --------------------------------------------------------------------------------------------------------------

ROWS = 8  # output positions of a tile, at most
PAIRED, PAIRED_LINES = 5, 7  # and of one of two vectors, which are a line, or two
FEW = 3  # taps of a row, or rows of taps
ADDRESSES = 12  # of cells of a row that general registers keep
HELD = 16  # vectors of weights that registers keep
ALONG = 4096  # bytes, or more, from a tile to cells on the same row that are asked for
SEEN = 1024  # bytes of a pixel, beyond which the processor sees its lines as a stream, where a vector is one
AGAIN = 1.3  # what rows under a row of outputs take that leave an L1 cache, beside such as stay
FROM_L2 = 1.3  # cycles of a cell, where the rows under a row of outputs are many and leave the L1 cache for a large L2 cache


def rows_for(outputs: int, most: int = ROWS) -> int:
    """The tile that takes the fewest loads over `outputs` outputs, of which there are as many as it has or more."""
    rows = range(min(most, outputs), 0, -1)
    return min(rows, key=lambda rows: -(-outputs // rows) * (rows + 2))


def most_rows(taps: int, stride: int, machine: Machine) -> int:
    """Rows of a tile of one vector that registers hold, with weights and cells: LLVM reads all cells of a row first."""
    return ROWS if machine.registers > 16 else max(3, min(ROWS, (11 if stride == 1 else 13) - taps))


def tiles_for(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> list[Tile]:
    """One vector wide, and two where they are a line, or where lines come by pairs."""
    g, taps, lanes = geometry, geometry.kernel[-1], machine.lanes(dtype)
    outputs = max(1, g.out_size[-1] // g.dilation[-1])
    tiles = [Tile(rows_for(outputs, most_rows(taps, g.stride[-1], machine)), 1)]
    if g.in_channels < 2 * lanes or g.in_per_group > 1:
        return tiles
    if 2 * lanes * dtype.itemsize == LINE:
        tiles.append(Tile(rows_for(outputs, PAIRED) if taps <= FEW else min(PAIRED, outputs), 2))
    elif lanes * dtype.itemsize == LINE and not machine.is_meshed:
        paired = Tile(rows_for(outputs, PAIRED_LINES), 2)
        tiles += [paired] if paired.rows >= min(tiles[0].rows, PAIRED) else []
    return tiles


def extent_of(geometry: ConvGeometry) -> Plane:
    """Cells from the first tap to the last."""
    of = plane_sizes(geometry)
    return Plane((of.taps.h - 1) * of.dilation.h + 1, (of.taps.w - 1) * of.dilation.w + 1)


def inside_of(geometry: ConvGeometry) -> tuple[int, int]:
    """(begin, end) of the outputs of a row whose windows have no padding on it."""
    g, outputs, before, stride = geometry, geometry.out_size[-1], geometry.padding[-1][0], geometry.stride[-1]
    begin = min(outputs, -(-before // stride))
    return begin, max(begin, min(outputs, (g.in_size[-1] + before - g.window[-1]) // stride + 1))


def cycles(geometry: ConvGeometry, tile: Tile, dtype: np.dtype[Any], machine: Machine) -> float:
    """Of such tiles: their products, what each output and row of taps takes beside, and cells that are listed."""
    g, rows, lanes = geometry.lifted(), tile.rows, machine.lanes(dtype)
    (taps_d, taps_h, taps), stride, outputs = g.kernel, g.stride[-1], g.out_size[-1]
    apart, (begin, end) = g.dilation[-1], inside_of(geometry)
    each, longer = divmod(outputs, apart)  # outputs of a phase, and phases that have one more
    tiles = longer * -(-(each + 1) // rows) + (apart - longer) * -(-each // rows)
    listed = tiles if end - begin <= (rows - 1) * apart else min(tiles, apart * ((begin > 0) + (end < outputs)))
    shares = [g.walks(axis)[0].share_inside if g.mode == ZERO_FILL else 1.0 for axis in (0, 1)]
    rows_of_taps = taps_d * taps_h * prod(shares)
    wide = (rows - 1) * stride + taps  # cells of a row under a tile, more of which than registers keep addresses of
    weights = taps * g.in_per_group
    of_row = rows * (1.5 + weights / machine.units) + 4 * max(0, wide - ADDRESSES)
    if machine.is_meshed and stride == apart == 1 and taps_d * taps_h > FEW and g.in_size[-1] >= lanes:
        line = g.in_size[-1] * g.in_channels * dtype.itemsize
        near = prod(g.x_shape) * dtype.itemsize <= machine.l2 * 3 // 2  # beyond, copies wait for the last cache too
        of_row += FROM_L2 * wide if near and rows_of_taps * line > machine.l1 else 0.0
    begun = 7
    if g.in_per_group > 1:  # cells are spread over the lanes of a group, and weights read again where registers hold none
        spread = rows + taps - 1 if taps <= FEW else wide
        of_row += (0.2 if weights <= HELD else 1.5 if stride == 1 else 1.2) * spread * g.in_per_group
        begun = 4
    vectors = -(-g.out_channels // (lanes * tile.vectors)) * tile.vectors
    of_line = tiles * vectors * (begun * rows + rows_of_taps * of_row) * share_of_misses(g, tile, dtype, machine)
    lines = g.batch * prod(g.out_size[:-1])
    return lines * (of_line + 2 * listed * rows_of_taps * wide) + cycles_from_afar(g, tile, dtype, machine)


def share_of_misses(geometry: ConvGeometry, tile: Tile, dtype: np.dtype[Any], machine: Machine) -> float:
    """What a tile takes, beside one of a vector whose lines all stay in the L1 cache."""
    g, pixel = geometry, geometry.in_channels * dtype.itemsize
    if machine.lanes(dtype) * dtype.itemsize >= LINE:
        return share_of_lines(g, tile, dtype, machine)
    if tile.vectors > 1:
        share = 0.65 if g.taps == 1 else 1.4 if g.kernel[-1] > FEW else 0.9 if g.stride[-1] == 1 else 1.15
        return share * (1.0 if pixel % LINE == 0 else 1.2)
    share = 1.2 if g.kernel[-1] > FEW and prod(g.x_shape) * dtype.itemsize > machine.l2 else 1.0
    if g.taps > 1 and pixel % PERIOD == 0:
        share *= 1.2 if pixel % (2 * PERIOD) else 1.5
    return share


def share_of_lines(geometry: ConvGeometry, tile: Tile, dtype: np.dtype[Any], machine: Machine) -> float:
    """The same where a vector is a line: lines come by pairs, and rows under many taps from the L2 cache, once a tap."""
    g, pixel = geometry, geometry.in_channels * dtype.itemsize
    if machine.is_meshed:
        return 1.0
    streams = g.stride[-1] == 1 and pixel > SEEN and g.bytes(dtype.itemsize) > machine.l3
    share = 1.0 if tile.vectors == 1 or streams else 0.93
    again = g.stride[-1] == 1 and g.kernel[-1] > FEW and g.kernel[-2] * g.in_size[-1] * pixel > machine.l1
    return share * (AGAIN if again else 1.0)


def cycles_from_afar(geometry: ConvGeometry, tile: Tile, dtype: np.dtype[Any], machine: Machine) -> float:
    """Of lines that are waited for, twice where half of one is left for later, and of several taps by all of a tile's cells."""
    if asks(geometry, tile, dtype, machine):
        return 0.0
    of_line = (8, 12) if tile.vectors > 1 else (10, 20)
    return lines_waited_for(geometry, dtype, machine) * of_line[geometry.taps > 1]


def candidates(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> Iterator[Candidate]:
    """Every tile."""
    for tile in tiles_for(geometry, dtype, machine):
        count = CALL + cycles(geometry, tile, dtype, machine)
        seconds = machine.seconds(count, geometry.bytes(dtype.itemsize))
        yield Candidate(seconds, tile, partial(draft, geometry, tile, dtype, machine))


def asks(geometry: ConvGeometry, tile: Tile, dtype: np.dtype[Any], machine: Machine) -> bool:
    """Whether the rows that come next are asked for.

    Where a vector is a line, of pixels of a few lines: the processor sees longer ones as streams. It sees nothing in the halves
    of lines that narrower vectors read, across two lines where an array does not begin with one.
    """
    g, most = geometry.lifted(), 2 if geometry.stride[-1] == 1 else 1
    if g.in_per_group > 1:
        return False
    wide = machine.lanes(dtype) * tile.vectors * dtype.itemsize // LINE
    seen = machine.vector_bytes >= LINE and (g.kernel[0] > 1 or g.in_channels * dtype.itemsize > SEEN)
    return 0 < wide <= most and not seen and are_waited_for(g.bytes(dtype.itemsize), machine)


@remembered
def draft(geometry: ConvGeometry, tile: Tile, dtype: np.dtype[Any], machine: Machine) -> Draft:
    """The launch of such tiles, without its weights."""
    g = geometry.lifted()
    (begin, end), tiles = inside_of(geometry), -(-ALONG // (g.in_channels * dtype.itemsize * tile.rows))
    sizes = LineSizes(
        channels=g.in_channels,
        mode=g.mode,
        cells=axes(g.in_size),
        outputs=axes(g.out_size),
        padding=axes([before for before, _ in g.padding]),
        taps=axes(g.kernel),
        stride=axes(g.stride),
        dilation=axes(g.dilation),
        begin=begin,
        end=end,
        zeros=g.in_channels * dtype.itemsize // 8 + 1,
        planes=min(g.stride[0], g.kernel[0]),
        rows=min(g.stride[1], g.kernel[1]),
        along=tiles * tile.rows * g.dilation[-1] if prod(g.out_size[:2]) == 1 else 0,
    )
    arguments = written(sizes), epilogue.scalars(g.activation, dtype)
    form = Form(tile, g.kernel[-1], g.stride[-1], g.in_per_group, asks(g, tile, dtype, machine))
    chosen = channels_last_kernel(form, machine.lanes(dtype), dtype.itemsize, element(dtype), machine.isa)
    return drafted(chosen, g.batch * prod(g.out_size[:-1]), 2 * g.flops, arguments, partial(laid, g.out_channels))


def laid(width: int, w: Array, bias: Array) -> tuple[Array, Array]:
    """(weights as [r][s][channel of the group][k], bias), of `width` channels: zeros for those that there are not."""
    channels = bias.size
    by_channel = w.reshape(channels, -1)
    if width == channels:
        return by_channel.T.reshape(-1), bias
    weights, biases = np.zeros((by_channel.shape[1], width), w.dtype), np.zeros(width, w.dtype)
    weights[:, :channels], biases[:channels] = by_channel.T, bias
    return weights.reshape(-1), biases
