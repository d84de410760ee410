"""Filters on images of few channels that lie together, as colours do: depthwise convolution, channels last, C < a vector.

    y [h][w * C + c] = act(bias[c] + sum over r, s of x[h + r][(w + s) * C + c] * w[r, s][c])

A row is one line of w * C values whose neighbours in a window lie C apart, so that a tile of C vectors holds as many pixels as
a vector has lanes, and each of its vectors meets weights that repeat every C lanes: all vectors are full. Where all channels
have the same filter, as blurs have, one weight serves whole tiles. A block of the image is copied with its padding, which
leaves it in the cache. It serves what planes.py does not: oblong and dilated kernels, steps down the rows.
"""

from collections.abc import Iterator
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled, element, inlined
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import blocks, epilogue, windows
from fastconv.kernels.simd.engine.costs import CALL, Candidate
from fastconv.kernels.simd.engine.sizes import Axes, Plane, Strides, reader, written
from fastconv.kernels.simd.engine.tables import TILES
from fastconv.kernels.simd.engine.walks import plane_sizes
from fastconv.kernels.simd.engine.weights import Draft, drafted
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.machine import Machine
from fastconv.problem.convolutions import Array, ConvGeometry

pointer = vector.pointer


class Sizes(NamedTuple):
    """The sizes of a call.

    Attributes
    ----------
    channels, mode, stride : int
        Channels that lie together, the border's mode, and cells from one output row's window to the next.
    cells, outputs, padding, taps, dilation : Plane
        Of the input, the output, before the input, of the kernel.
    block, blocks : Plane
        Outputs of a block at most, and blocks of an image.
    """

    channels: int
    mode: int
    stride: int
    cells: Plane
    outputs: Plane
    padding: Plane
    taps: Plane
    dilation: Plane
    block: Plane
    blocks: Plane


class Block(NamedTuple):
    """A block of outputs of one image: the first one, how many, the first cell under it and how many cells."""

    n: int
    output: Plane
    outputs: Plane
    corner: Plane
    cells: Plane


class Parts(NamedTuple):
    """Of a thread's memory: the copied cells of a block."""

    windows: int


class Tables(NamedTuple):
    """Offsets of the columns of a copied vector."""

    steps: int


read, carve, carve_tables = reader(Sizes), workspace(Parts), workspace(Tables)


@compiled
def cells_under(rows, columns, s):
    """Cells under so many outputs."""
    return Plane((rows - 1) * s.stride + (s.taps.h - 1) * s.dilation.h + 1, columns + (s.taps.w - 1) * s.dilation.w)


@compiled
def block_of(item, s):
    """The block of outputs of an item."""
    rest, column = divmod(item, s.blocks.w)
    n, row = divmod(rest, s.blocks.h)
    output = Plane(row * s.block.h, column * s.block.w)
    outputs = Plane(min(s.block.h, s.outputs.h - output.h), min(s.block.w, s.outputs.w - output.w))
    corner = Plane(output.h * s.stride - s.padding.h, output.w - s.padding.w)
    return Block(n, output, outputs, corner, cells_under(outputs.h, outputs.w, s))


@lru_cache(maxsize=8)
def block_packer(lanes: int) -> Any:
    """The compiled copy of a block's cells, with its padding."""
    pack = windows.packer(lanes, True)

    def pack_block(x, block, to, steps, fill, s):
        row = s.cells.w * s.channels
        image = pointer(x) + block.n * s.cells.h * row
        source = windows.Source(image, Strides(0, 1, 0, row, s.channels), Axes(1, s.cells.h, s.cells.w), s.mode, fill)
        corner = Axes(0, block.corner.h, block.corner.w)
        pack(source, windows.Block(corner, 1, 1, block.cells.h, block.cells.w, s.channels, s.channels), to, steps)

    return compiled(pack_block)


@lru_cache(maxsize=32)
def kernel(columns: int, shared: bool, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over blocks of images: f32_interleaved_1x3_avx512, or f32_interleaved_1x6_shared_avx512."""
    pack_block, activate = block_packer(lanes), epilogue.activation_of(dtype)
    multiply = vector.fma_shared if shared else vector.fma_lanes
    width, of_tap = columns * lanes, 1 if shared else columns * lanes

    @inlined
    def filter_tile(x, pitch, w, bias, s):
        """The sums of a tile: all taps of the cells from x on, whose rows lie `pitch` apart."""
        tile = vector.load_tile(bias, 0, 1, columns, lanes)
        for r in range(s.taps.h):
            row, taps = x + r * s.dilation.h * pitch, w + r * s.taps.w * of_tap
            for t in range(s.taps.w):
                tile = multiply(tile, taps + t * of_tap, row + t * s.dilation.w * s.channels)
        return tile

    @compiled
    def filter_line(x, pitch, w, bias, y, count, act, s):
        """One row of outputs, `count` values."""
        for column in range(0, count, width):
            tile = filter_tile(x + column, pitch, w, bias, s)
            vector.store_spans(activate(tile, act), y + column, 0, 1, count - column)
        epilogue.finish_run(y, count, act)

    def interleaved(begin, end, x, w, bias, residual, y, sizes, parameters):
        """y [h][w c] = act(bias [c] + sum over r, s of x [h + r][(w + s) c] * w [r][s][c])"""
        s, act, fill = read(sizes), epilogue.epilogue(parameters, residual, y), epilogue.padding_value(parameters)
        most = cells_under(s.block.h, s.block.w, s)
        # The last tile of a row reads up to a tile beyond the copy.
        work, memory = carve(Parts(windows=most.h * most.w * s.channels + 2 * width), x)
        tables, integers = carve_tables(Tables(steps=lanes), sizes)
        for item in range(begin, end):
            block = block_of(item, s)
            pack_block(x, block, work.windows, tables.steps, fill, s)
            pitch = block.cells.w * s.channels
            for h in range(block.outputs.h):
                row = (block.n * s.outputs.h + block.output.h + h) * s.outputs.w + block.output.w
                line, to = work.windows + h * s.stride * pitch, pointer(y) + row * s.channels
                filter_line(line, pitch, pointer(w), pointer(bias), to, block.outputs.w * s.channels, act, s)
        keep(memory)
        keep(integers)

    interleaved.__name__ = f"{dtype}_interleaved_1x{columns}_{'shared_' * shared}{isa}"
    return Kernel(interleaved)


# Decisions --------------------------------------------------------------------------------------------------------------


class Cut(NamedTuple):
    """Vectors of a tile, whether its channels share their weights, and rows and columns of a block."""

    columns: int
    shared: bool
    band: int
    strip: int


def suits(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> bool:
    """Whether each channel has a filter of its own and all of them fit a tile; stride 1 along the rows."""
    g = geometry
    plain = g.channels_last and not g.transposed and g.rank <= 2 and g.stride[-1] == 1 and g.border.mode != "constant"
    return plain and g.in_per_group == g.out_per_group == 1 and 1 < g.in_channels <= TILES[machine.isa].depthwise_channels


def cycles(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Of all tiles, and of the copy."""
    g, sizes = geometry, plane_sizes(geometry)
    tiles = g.batch * sizes.outputs.h * -(-sizes.outputs.w // machine.lanes(dtype))
    return tiles * (30 + g.taps * g.in_channels * 1.6) + 30 * g.batch * sizes.outputs.h


def cut_for(geometry: ConvGeometry, shared: bool, dtype: np.dtype[Any], machine: Machine) -> Cut:
    """Blocks whose cells take a quarter of the L2 cache."""
    g, channels = geometry, geometry.in_channels
    columns = channels * max(1, TILES[machine.isa].filter_vectors // channels) if shared else channels
    sizes, room = plane_sizes(g), machine.l2 // 4 // dtype.itemsize
    extent = tuple(spread * (count - 1) + 1 for spread, count in zip(sizes.dilation, sizes.taps, strict=True))
    return Cut(columns, shared, *blocks.cut_plane(sizes.outputs, sizes.stride, extent, channels, room, g.batch))


def candidates(geometry: ConvGeometry, shared: bool, dtype: np.dtype[Any], machine: Machine) -> Iterator[Candidate]:
    """The one cut, for channels that share their filter or do not."""
    cut = cut_for(geometry, shared, dtype, machine)
    seconds = machine.seconds(CALL + cycles(geometry, dtype, machine), geometry.bytes(dtype.itemsize))
    yield Candidate(seconds, cut, partial(draft, geometry, cut, dtype, machine))


@remembered
def draft(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> Draft:
    """The launch without its weights."""
    g, of, lanes, block = geometry, plane_sizes(geometry), machine.lanes(dtype), Plane(cut.band, cut.strip)
    sizes = Sizes(
        channels=g.in_channels,
        mode=g.mode,
        stride=of.stride.h,
        cells=of.cells,
        outputs=of.outputs,
        padding=of.before,
        taps=of.taps,
        dilation=of.dilation,
        block=block,
        blocks=Plane(-(-of.outputs.h // block.h), -(-of.outputs.w // block.w)),
    )
    items = g.batch * sizes.blocks.h * sizes.blocks.w
    arguments = written(sizes), epilogue.scalars(g.activation, dtype, g.border.value)
    chosen = kernel(cut.columns, cut.shared, lanes, element(dtype), machine.isa)
    return drafted(chosen, items, g.flops // 4, arguments, partial(laid, g, cut, lanes))


def laid(geometry: ConvGeometry, cut: Cut, lanes: int, w: Array, bias: Array) -> tuple[Array, Array]:
    """(weights as [r][s], with [C vectors] that repeat every C lanes unless they are shared; the bias alike)."""
    channels = geometry.in_channels
    by_tap = w.reshape(channels, -1).T
    repeated = by_tap[:, :1] if cut.shared else np.broadcast_to(by_tap[:, None], (len(by_tap), lanes, channels))
    return repeated.reshape(-1), np.tile(bias, cut.columns // channels * lanes)
