"""The positions of a gradient by the weights in chunks, and a chunk's operands, channels last in the cache.

    windows [plane][t][row][column][c] = x        the cells under a chunk's outputs, padding filled in
    grads [plane][row][column][k] = dy

A plane is one depth of one image's output. A chunk has several planes where they are small, or rows, or a part of a row.
"""

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

from fastconv.kernels.jit import compiled
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import windows
from fastconv.kernels.simd.engine.sizes import Axes, Plane, Strides, axes
from fastconv.kernels.simd.engine.walks import strides
from fastconv.problem.convolutions import ConvGeometry

pointer = vector.pointer

MOST_COPIED = 1 << 20  # values of a chunk's windows


class Grid(NamedTuple):
    """How positions are cut, and where the cells of x and dy lie.

    Attributes
    ----------
    x, y : Strides
        Of x and of dy.
    cells, padding, outputs, stride, dilation, taps : Axes
        As of the convolution.
    mode : int
        Of the border.
    planes : int
        Planes in all.
    chunk, chunks : Axes
        Planes, rows and columns of a chunk at most, and chunks along each.
    halo : Plane
        Cells under a chunk beyond its outputs times their stride.
    c_pitch, k_pitch : int
        Elements of the copies from one cell to the next.
    windows, grads : int
        Elements of the copies of one plane at most.
    """

    x: Strides
    y: Strides
    cells: Axes
    padding: Axes
    outputs: Axes
    stride: Axes
    dilation: Axes
    taps: Axes
    mode: int
    planes: int
    chunk: Axes
    chunks: Axes
    halo: Plane
    c_pitch: int
    k_pitch: int
    windows: int
    grads: int


class Part(NamedTuple):
    """What is copied of a chunk: its first channel, how many, and cells along the depth from the windows' first."""

    channel: int
    channels: int
    depth: int


class Chunk(NamedTuple):
    """The first plane, row and column of a chunk, and how many of each."""

    first: Axes
    size: Axes


class Grads(NamedTuple):
    """A chunk's dy of some channels: elements from one plane, row and column to the next."""

    at: Any
    plane: int
    row: int
    column: int


def thinned(geometry: ConvGeometry) -> list[int]:
    """Of each axis the cells from one that is seen to the next: a stride where there is one tap and no padding, else 1.

    Columns of planes are read as vectors, all of them.
    """
    g = geometry
    axes = enumerate(zip(g.stride, g.kernel, g.padding, strict=True))
    return [step if taps == 1 and not any(pair) and (axis < 2 or g.channels_last) else 1 for axis, (step, taps, pair) in axes]


def grid_of(geometry: ConvGeometry, chunk: tuple[int, int, int], c_pitch: int, k_pitch: int, depths: int) -> Grid:
    """The grid of a lifted geometry, whose windows have so many taps along the depth."""
    g, steps = geometry, thinned(geometry)
    at = strides(g, g.in_channels, g.in_size)
    stride = Axes(*(step // thin for step, thin in zip(g.stride, steps, strict=True)))
    cells = Axes(*(-(-size // thin) for size, thin in zip(g.in_size, steps, strict=True)))
    planes = g.batch * g.out_size[0]
    counts = (planes, *g.out_size[1:])
    halo = Plane(*(extent - step for extent, step in zip(g.window[1:], stride[1:], strict=True)))
    rows, columns = chunk[1] * stride.h + halo.h, chunk[2] * stride.w + halo.w
    return Grid(
        x=Strides(at.n, at.c, *(step * thin for step, thin in zip((at.d, at.h, at.w), steps, strict=True))),
        y=strides(g, g.out_channels, g.out_size),
        cells=cells,
        padding=axes([before for before, _ in g.padding]),
        outputs=axes(g.out_size),
        stride=stride,
        dilation=axes(g.dilation),
        taps=Axes(depths, *g.kernel[1:]),
        mode=g.mode,
        planes=planes,
        chunk=axes(chunk),
        chunks=Axes(*(-(-count // size) for count, size in zip(counts, chunk, strict=True))),
        halo=halo,
        c_pitch=c_pitch,
        k_pitch=k_pitch,
        windows=depths * rows * columns * c_pitch,
        grads=prod(chunk[1:]) * k_pitch,
    )


def chunk_for(planes: int, size: tuple[int, int], most: int) -> tuple[int, int, int]:
    """(planes, rows, columns) of a chunk of about `most` of the positions of so many planes of a size, all cut evenly."""

    def part(count: int, most: int) -> int:
        return -(-count // max(1, -(-count // max(1, most)))) if count else 1

    high, wide = size
    columns = part(wide, most)
    rows = part(high, most // columns)
    return (1 if rows < high or columns < wide else part(planes, most // (rows * columns))), rows, columns


def cells_under(geometry: ConvGeometry, chunk: tuple[int, int, int], depths: int) -> int:
    """Cells of the windows of a chunk, of so many taps along the depth."""
    steps = [step // thin for step, thin in zip(geometry.stride, thinned(geometry), strict=True)]
    axes = zip(chunk[1:], steps[1:], geometry.window[1:], strict=True)
    return chunk[0] * depths * prod((n - 1) * step + extent for n, step, extent in axes)


def reach_under(geometry: ConvGeometry, chunk: tuple[int, int, int]) -> list[int]:
    """Rows and columns of x under a chunk's outputs."""
    axes = zip(chunk[1:], geometry.stride[1:], geometry.window[1:], strict=True)
    return [n * step + extent - step for n, step, extent in axes]


def copy_cycles(channels: int, channels_last: bool, lanes: int) -> float:
    """Of a cell with so many channels, copied channels last; a square of vectors is turned in as many steps as it has lanes."""
    if channels_last:
        return 2.5 * -(-channels // lanes)
    if channels == 3:
        return 1.5
    return 3.5 * (channels // lanes) + (9.0 if channels % lanes else 0.0)


def chunk_within(geometry: ConvGeometry, depths: int, most: int, cells: int) -> tuple[int, int, int]:
    """A chunk of `most` positions, or of fewer whose windows have so many cells at most, or of one."""
    high, wide = geometry.out_size[1:]
    while True:
        chunk = chunk_for(geometry.batch * geometry.out_size[0], (high, wide), most)
        if most <= 1 or cells_under(geometry, chunk, depths) <= cells:
            return chunk
        most //= 2


def refusal(geometry: ConvGeometry, depths: int, channels: int) -> str | None:
    """Why the windows of a position are too large to be copied, or None."""
    cells = cells_under(geometry, (1, 1, 1), depths)
    return None if cells * channels <= MOST_COPIED else f"a window of {cells:,} cells would be copied"


@compiled
def chunk_of(number, g):
    """The chunk of a number: the columns of a row follow each other, then rows, then planes."""
    rest, column = divmod(number, g.chunks.w)
    plane, row = divmod(rest, g.chunks.h)
    first = Axes(plane * g.chunk.d, row * g.chunk.h, column * g.chunk.w)
    rows, columns = min(g.chunk.h, g.outputs.h - first.h), min(g.chunk.w, g.outputs.w - first.w)
    return Chunk(first, Axes(min(g.chunk.d, g.planes - first.d), rows, columns))


@compiled
def reach_of(size, g):
    """Cells under so many rows and columns of outputs."""
    return Plane(size.h * g.stride.h + g.halo.h, size.w * g.stride.w + g.halo.w)


@compiled
def grads_of(copy, dy, channel, copied, chunk, g):
    """Where a chunk's dy lies, from an output channel on: in its copy, or channels last where it is."""
    size = chunk.size
    if copied != 0:
        row = size.w * g.k_pitch
        return Grads(copy, size.h * row, row, g.k_pitch)
    n, depth = divmod(chunk.first.d, g.outputs.d)
    first = n * g.y.n + depth * g.y.d + chunk.first.h * g.y.h + chunk.first.w * g.y.w
    # Depths of images follow each other as images do: a plane lies behind the one before it.
    return Grads(pointer(dy) + (first + channel), g.y.d, g.y.h, g.y.w)


@compiled
def tap_offset(tap, chunk, g):
    """Elements from a window's first cell to the one under a tap."""
    rest, s = divmod(tap, g.taps.w)
    t, r = divmod(rest, g.taps.h)
    reach = reach_of(chunk.size, g)
    return ((t * reach.h + r * g.dilation.h) * reach.w + s * g.dilation.w) * g.c_pitch


@lru_cache(maxsize=8)
def packers(lanes: int, channels_last: bool) -> tuple[Any, Any]:
    """(the compiled copy of a chunk's windows, that of its part of dy)."""
    pack = windows.packer(lanes, channels_last)

    def pack_windows(x, fill, chunk, part, to, steps, g):
        reach = reach_of(chunk.size, g)
        for i in range(chunk.size.d):
            n, depth = divmod(chunk.first.d + i, g.outputs.d)
            source = windows.Source(pointer(x) + (n * g.x.n + part.channel * g.x.c), g.x, g.cells, g.mode, fill)
            corner = Axes(
                depth * g.stride.d - g.padding.d + part.depth,
                chunk.first.h * g.stride.h - g.padding.h,
                chunk.first.w * g.stride.w - g.padding.w,
            )
            cells = windows.Block(corner, g.taps.d, g.dilation.d, reach.h, reach.w, part.channels, g.c_pitch)
            pack(source, cells, to + i * g.taps.d * reach.h * reach.w * g.c_pitch, steps)

    def pack_grads(dy, zero, chunk, part, to, steps, g):
        size, width = chunk.size, g.outputs.w
        together = size.w == width  # whole rows follow each other, and are read as one
        rows, columns = (1, size.h * size.w) if together else (size.h, size.w)
        cells = Axes(g.outputs.d, 1, g.outputs.h * width) if together else g.outputs
        for i in range(size.d):
            n, depth = divmod(chunk.first.d + i, g.outputs.d)
            corner = Axes(depth, 0, chunk.first.h * width) if together else Axes(depth, chunk.first.h, chunk.first.w)
            source = windows.Source(pointer(dy) + (n * g.y.n + part.channel * g.y.c), g.y, cells, 0, zero)
            block = windows.Block(corner, 1, 1, rows, columns, part.channels, g.k_pitch)
            pack(source, block, to + i * size.h * size.w * g.k_pitch, steps)

    return compiled(pack_windows), compiled(pack_grads)
