"""Depthwise convolution by vectors of channels, channels last as in lines.py; channels first in bands that are turned.

A band of as many planes as a vector has lanes is turned to channels last, with its padding, in the cache; it goes through the
same tile of output positions of one row by one vector, and is turned back.

Zhang, Lo and Lu, High Performance Depthwise and Pointwise Convolutions on Mobile Devices (2020), section 3, for the reuse of
rows.
"""

from collections.abc import Iterator
from functools import lru_cache, partial
from math import ceil, prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled, element, inlined
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.depthwise import lines
from fastconv.kernels.simd.depthwise.lines import extent_of, laid, rows_for
from fastconv.kernels.simd.engine import blocks, epilogue, windows
from fastconv.kernels.simd.engine.costs import CALL, Candidate
from fastconv.kernels.simd.engine.sizes import Axes, Plane, Strides, reader, written
from fastconv.kernels.simd.engine.walks import plane_sizes
from fastconv.kernels.simd.engine.weights import Draft, drafted
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.machine import Machine
from fastconv.problem.borders import CONSTANT, ZERO_FILL
from fastconv.problem.convolutions import ConvGeometry

pointer = vector.pointer


class BlockSizes(NamedTuple):
    """The sizes of a call, channels first.

    Attributes
    ----------
    channels, mode : int
    cells, outputs, padding, dilation : Plane
        Of the input, the output, before the input, of the kernel.
    taps_h, pieces, stride_h : int
        Rows of the kernel, pieces of a row that are unrolled, and steps down the rows.
    block, blocks : Plane
        Outputs of a block at most, and blocks of a plane.
    c_blocks : int
        Vectors of channels.
    """

    channels: int
    mode: int
    cells: Plane
    outputs: Plane
    padding: Plane
    dilation: Plane
    taps_h: int
    pieces: int
    stride_h: int
    block: Plane
    blocks: Plane
    c_blocks: int


class Block(NamedTuple):
    """A block of outputs of a vector of planes.

    Attributes
    ----------
    n, c, channels : int
        The image, the first channel and the number of them.
    output, outputs : Plane
        The first output and the number of them.
    corner, cells : Plane
        The first cell under them and the number of them, without rows of zeros before and behind the plane.
    """

    n: int
    c: int
    channels: int
    output: Plane
    outputs: Plane
    corner: Plane
    cells: Plane


class Parts(NamedTuple):
    """Of a thread's memory: copied cells, and outputs that are turned back."""

    windows: int
    results: int


class Tables(NamedTuple):
    """Offsets of the columns of a copied vector."""

    steps: int


read_block, carve, carve_tables = reader(BlockSizes), workspace(Parts), workspace(Tables)


@lru_cache(maxsize=64)
def block_finder(taps: int, stride: int, lanes: int) -> tuple[Any, Any]:
    """The compiled cells under so many outputs, and the block of an item."""

    @compiled
    def cells_under(rows, columns, s):
        high = (rows - 1) * s.stride_h + (s.taps_h - 1) * s.dilation.h + 1
        return Plane(high, (columns - 1) * stride + (taps * s.pieces - 1) * s.dilation.w + 1)

    @compiled
    def block_of(item, s):
        rest, column = divmod(item, s.blocks.w)
        rest, row = divmod(rest, s.blocks.h)
        n, part = divmod(rest, s.c_blocks)
        output = Plane(row * s.block.h, column * s.block.w)
        outputs = Plane(min(s.block.h, s.outputs.h - output.h), min(s.block.w, s.outputs.w - output.w))
        corner = Plane(output.h * s.stride_h - s.padding.h, output.w * stride - s.padding.w)
        channels, cells = min(lanes, s.channels - part * lanes), cells_under(outputs.h, outputs.w, s)
        if s.mode == ZERO_FILL:
            top = min(max(corner.h, 0), s.cells.h)
            cells = Plane(max(0, min(corner.h + cells.h, s.cells.h) - top), cells.w)
            corner = Plane(top, corner.w)
        return Block(n, part * lanes, channels, output, outputs, corner, cells)

    return cells_under, block_of


@lru_cache(maxsize=64)
def block_packer(stride: int, lanes: int) -> Any:
    """The compiled windows[row][column][c] of a block's planes, padding filled in."""
    pack, (_, clear) = windows.packer(lanes, False), windows.runs(lanes)

    def pack_block(x, block, to, steps, fill, s):
        plane, cells, corner = s.cells.h * s.cells.w, block.cells, Axes(0, block.corner.h, block.corner.w)
        if block.channels < lanes:  # lanes without a channel hold numbers that are quick to multiply
            clear(to, vector.zero(to), cells.h * cells.w * lanes)
        planes, strides = pointer(x) + (block.n * s.channels + block.c) * plane, Strides(0, plane, 0, s.cells.w, 1)
        source = windows.Source(planes, strides, Axes(1, s.cells.h, s.cells.w), s.mode, fill)
        pack(source, windows.Block(corner, 1, 1, cells.h, cells.w, block.channels, lanes), to, steps)

    return compiled(pack_block)


@compiled
def taps_inside(first, last, dilation, taps, cells, s):
    """(begin, end) of the taps on an axis that do not lie in zeros for all windows whose first cells are `first` to `last`."""
    begin, end = 0, taps
    if s.mode == ZERO_FILL:
        while begin < end and last + begin * dilation < 0:
            begin += 1
        while end > begin and first + (end - 1) * dilation >= cells:
            end -= 1
    return begin, end


@lru_cache(maxsize=64)
def block_filter(rows: int, taps: int, stride: int, lanes: int, dtype: str) -> Any:
    """The compiled results[h][w][c] = act(the sums) of a block's windows, a tile of `rows` outputs of a row at a time."""
    activate = epilogue.activation_of(dtype)

    @inlined
    def filter_tile(source, pitch, w, bias, down, across, s):
        """The sums of the tile whose first window begins at `source`, in rows `pitch` apart, of some rows and pieces."""
        tile, width = vector.repeated(bias, rows, 1, lanes), s.c_blocks * lanes
        for r in range(down[0], down[1]):
            row, taps_of_row = source + r * s.dilation.h * pitch, w + r * s.pieces * taps * width
            for piece in range(across[0], across[1]):
                at, weights = row + piece * s.dilation.w * lanes, taps_of_row + piece * taps * width
                tile = vector.fma_grouped(tile, at, lanes, weights, width, taps, stride, 1)
        return tile

    def filter_block(block, w, bias, work, act, s):
        pitch = block.cells.w * lanes
        for h in range(block.outputs.h):
            top = (block.output.h + h) * s.stride_h - s.padding.h
            down = taps_inside(top, top, s.dilation.h, s.taps_h, s.cells.h, s)
            for begun in range(0, block.outputs.w, rows):
                column = min(begun, block.outputs.w - rows)  # the last tile may overlap the one before
                across = (0, s.pieces)
                if taps == 1:
                    left = block.corner.w + column * stride
                    across = taps_inside(left, left + (rows - 1) * stride, s.dilation.w, s.pieces, s.cells.w, s)
                at = work.windows + ((top - block.corner.h) * pitch + column * stride * lanes)
                tile = filter_tile(at, pitch, w, bias, down, across, s)
                vector.store_tile(activate(tile, act), work.results + (h * block.outputs.w + column) * lanes, lanes)

    return compiled(filter_block)


@lru_cache(maxsize=64)
def channels_first_kernel(rows: int, taps: int, stride: int, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over blocks of outputs of `lanes` planes: f32_depthwise_8x1_3s1_nchw_avx512.

    `taps` of a kernel row are unrolled at a time: all of them, or one where they lie apart.
    """
    (cells_under, block_of), pack_block = block_finder(taps, stride, lanes), block_packer(stride, lanes)
    filter_block, unpack = block_filter(rows, taps, stride, lanes, dtype), windows.unpacker(lanes)

    @compiled
    def store_block(block, y, work, act, s):
        """y[c][h][w] = results[h][w][c], and what follows the sums."""
        plane, outputs = s.outputs.h * s.outputs.w, block.outputs
        first = (block.n * s.channels + block.c) * plane + block.output.h * s.outputs.w + block.output.w
        to = pointer(y) + first
        unpack(work.results, outputs.h, outputs.w, block.channels, lanes, to, s.outputs.w, plane)
        if epilogue.is_unfinished(act):
            for c in range(block.channels):
                epilogue.finish_runs(to + c * plane, s.outputs.w, outputs.h, outputs.w, act)

    def depthwise(begin, end, x, w, bias, residual, y, sizes, parameters):
        """y [n][c][h][w] = act(bias [c] + sum over r, s of x [n][c][h * stride + r][w * stride + s] * w [r][s][c])"""
        s, act, fill = read_block(sizes), epilogue.epilogue(parameters, residual, y), epilogue.padding_value(parameters)
        most = cells_under(s.block.h, s.block.w, s)
        # Outputs are turned by squares, of which the last one reads behind them.
        parts = Parts(windows=most.h * most.w * lanes, results=(s.block.h * s.block.w + lanes) * lanes)
        work, memory = carve(parts, x)
        tables, integers = carve_tables(Tables(steps=lanes), sizes)
        for item in range(begin, end):
            block = block_of(item, s)
            pack_block(x, block, work.windows, tables.steps, fill, s)
            filter_block(block, pointer(w) + block.c, pointer(bias) + block.c, work, act, s)
            store_block(block, y, work, act, s)
        keep(memory)
        keep(integers)

    depthwise.__name__ = f"{dtype}_depthwise_{rows}x1_{taps}s{stride}_nchw_{isa}"
    return Kernel(depthwise)


# Decisions --------------------------------------------------------------------------------------------------------------

WIDEST = 15  # taps of a kernel row that are unrolled
PARTED = 12  # cycles of a row whose last vector is stored in part, where masks are slow
WHOLE = 2  # times the room of a block: planes that take no more are not cut


class Cut(NamedTuple):
    """Output positions of a tile, taps of a row that are unrolled, and rows and columns of a block."""

    rows: int
    taps: int
    band: int
    strip: int


def suits(geometry: ConvGeometry, lanes: int) -> bool:
    """Planes of one or two axes; or channels last rows that are unrolled, of a vector of channels or more, groups of a few."""
    g = geometry
    if g.transposed or (g.rank > 2 and not g.channels_last) or g.stride[-1] > 2 or g.in_per_group != g.out_per_group:
        return False
    if not g.channels_last:
        return g.in_per_group == 1
    small = g.in_per_group == 1 or (g.groups > 1 and g.in_per_group > 1 and lanes % g.in_per_group == 0)
    unrolled = g.kernel[-1] <= WIDEST and 1 in (g.dilation[-1], g.stride[-1])
    return small and unrolled and g.border.mode != "constant" and g.in_channels >= lanes


def cut_for(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> Cut:
    """Blocks whose cells take a quarter of the L2 cache."""
    g, of, lanes = geometry, plane_sizes(geometry), machine.lanes(dtype)
    taps = of.taps.w if of.dilation.w == 1 and of.taps.w <= WIDEST else 1
    room, items = machine.l2 // 4 // dtype.itemsize, g.batch * -(-g.out_channels // lanes)
    band, strip = blocks.cut_plane(of.outputs, of.stride, extent_of(g), lanes, room, items)
    if rows_packed(g, of.outputs.h) * columns_packed(g, of.outputs.w) * lanes <= WHOLE * room and items >= blocks.SHARES:
        band, strip = of.outputs
    return Cut(min(rows_for(strip), of.outputs.w % strip or strip), taps, band, strip)


def rows_packed(geometry: ConvGeometry, rows: int) -> int:
    """Rows of cells under so many rows of outputs, without those of zeros around the plane."""
    of = plane_sizes(geometry)
    under = (rows - 1) * of.stride.h + extent_of(geometry).h
    return min(under, of.cells.h) if geometry.mode == ZERO_FILL else under


def columns_packed(geometry: ConvGeometry, columns: int) -> int:
    """Columns of cells under so many columns of outputs."""
    return (columns - 1) * plane_sizes(geometry).stride.w + extent_of(geometry).w


def cycles(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> float:
    """Of planes turned to channels last and back."""
    g, of, lanes = geometry, plane_sizes(geometry), machine.lanes(dtype)
    vectors = -(-g.out_channels // lanes)
    results = g.batch * prod(of.outputs) * vectors
    of_tap = 1.1 if cut.taps > 1 else 1.5  # unrolled taps share what they read
    inside = 1.0
    if cut.taps == 1 and g.mode == ZERO_FILL:
        inside = prod(walk.share_inside for walk in (g.lifted().walks(1)[0], g.lifted().walks(2)[0]))
    count = CALL + results * g.taps * g.in_per_group * of_tap * inside / machine.units
    turned = g.out_channels // lanes + (2.5 if g.out_channels % lanes else 0)  # by squares, those of fewer lanes by masks
    count += g.batch * turned * cycles_of_turning(g, cut, lanes)
    if of.outputs.w % lanes and not machine.masks:
        count += PARTED * g.batch * vectors * of.outputs.h * lanes
    return count + 7 * g.batch * vectors * of.outputs.h * -(-of.outputs.w // lanes) * lanes


def cycles_of_turning(geometry: ConvGeometry, cut: Cut, lanes: int) -> float:
    """Of the cells of all blocks of a vector of planes: squares that are turned, and padding, which is dearer but for zeros."""
    g, of = geometry, plane_sizes(geometry)
    down, across = -(-of.outputs.h // cut.band), -(-of.outputs.w // cut.strip)
    high, wide = rows_packed(g, min(cut.band, of.outputs.h)), columns_packed(g, min(cut.strip, of.outputs.w))
    pads = [sum(pair) for pair in g.padding[-2:]]
    rows, columns = float(down * high), max(1.0, wide - pads[-1] / across)
    each = 1.0 if g.mode in (ZERO_FILL, CONSTANT) else 2.2 * lanes
    if g.mode != ZERO_FILL and g.rank > 1:
        rows = max(1.0, rows - pads[0])
    padding = down * high * wide - rows * columns
    return across * (rows * (30 + 3.6 * lanes * ceil(columns / lanes)) + each * max(0.0, padding))


def candidates(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> Iterator[Candidate]:
    """Channels last, rows read where they lie; or one that turns planes."""
    if geometry.channels_last:
        yield from lines.candidates(geometry, dtype, machine)
        return
    cut = cut_for(geometry, dtype, machine)
    launch = partial(draft_first, geometry, cut, dtype, machine)
    yield Candidate(machine.seconds(cycles(geometry, cut, dtype, machine), geometry.bytes(dtype.itemsize)), cut, launch)


@remembered
def draft_first(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> Draft:
    """The launch without its weights, channels first."""
    g, of, lanes, block = geometry, plane_sizes(geometry), machine.lanes(dtype), Plane(cut.band, cut.strip)
    sizes = BlockSizes(
        channels=g.in_channels,
        mode=g.mode,
        cells=of.cells,
        outputs=of.outputs,
        padding=of.before,
        dilation=of.dilation,
        taps_h=of.taps.h,
        pieces=of.taps.w // cut.taps,
        stride_h=of.stride.h,
        block=block,
        blocks=Plane(-(-of.outputs.h // block.h), -(-of.outputs.w // block.w)),
        c_blocks=-(-g.out_channels // lanes),
    )
    items = g.batch * sizes.c_blocks * prod(sizes.blocks)
    arguments = written(sizes), epilogue.scalars(g.activation, dtype, g.border.value)
    chosen = channels_first_kernel(cut.rows, cut.taps, of.stride.w, lanes, element(dtype), machine.isa)
    return drafted(chosen, items, 2 * g.flops, arguments, partial(laid, sizes.c_blocks * lanes))
