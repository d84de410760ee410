"""What an item of Winograd's tiles is: a block of tiles, and a part of the output channels. Its sizes, memory and addresses.

Where maps are small, a block has the tiles of several images, one image after the other, so that weights are read for all.

With a dilation, tiles go between each other: a bundle has the `spread.h` x `spread.w` tiles whose outputs alternate. A block
has whole bundles, and the cells under them.
"""

from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import compiled
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.filtering import cells_of, plane_pitch
from fastconv.kernels.simd.engine.sizes import Axes, Plane, Strides, axes, reader
from fastconv.kernels.simd.engine.walks import strides
from fastconv.kernels.simd.engine.windows import Source
from fastconv.kernels.simd.engine.workspace import workspace
from fastconv.kernels.simd.winograd.cuts import Cut, bundles_of, pieces_of, spreads_of, terms_of
from fastconv.problem.convolutions import Array, ConvGeometry

pointer = vector.pointer

# Sizes ------------------------------------------------------------------------------------------------------------------


class Sizes(NamedTuple):
    """The sizes of a call; a table of the taps follows them, for `tap_of`.

    Attributes
    ----------
    x, y : Strides
    cells, padding, outputs, stride : Axes
        Of the input, before it, of the output.
    mode : int
        Of the border.
    batch, images : int
        Images, and those of a block at most.
    groups, c_group, k_group : int
        Groups, and input and output channels of one.
    depths, dilation_d, taps : int
        Slices of the kernel and the cells from one to the next; slices times pieces.
    m : Plane
        Outputs of a tile.
    spread, step : Plane
        Outputs, and cells, from one of a tile to the next.
    reach, window : Plane
        Cells from a tile's first to its last, of one piece and of all.
    halo : Plane
        Cells under a block's tiles beyond `m * step` for each bundle.
    bundles, block, blocks : Plane
        Bundles in all and of a block at most, and blocks.
    width : int
        Output channels of a register tile, which a block of weights has.
    k_blocks, k_part, k_parts : int
        Blocks of a group's weights, those of an item at most, and items of a block of tiles.
    c_pitch, k_pitch : int
        Elements from one tile of V, and of M, to the next.
    v_plane, m_plane, u_plane : int
        Elements from one plane to the next.
    windows, results : int
        Elements of copied cells and of outputs channels last, at most.
    of_line : int
        Elements of a cache line, where what comes next is asked for, or 0.
    """

    x: Strides
    y: Strides
    cells: Axes
    padding: Axes
    outputs: Axes
    stride: Axes
    mode: int
    batch: int
    images: int
    groups: int
    c_group: int
    k_group: int
    depths: int
    dilation_d: int
    taps: int
    m: Plane
    spread: Plane
    step: Plane
    reach: Plane
    window: Plane
    halo: Plane
    bundles: Plane
    block: Plane
    blocks: Plane
    width: int
    k_blocks: int
    k_part: int
    k_parts: int
    c_pitch: int
    k_pitch: int
    v_plane: int
    m_plane: int
    u_plane: int
    windows: int
    results: int
    of_line: int


read = reader(Sizes)


def plane(values: Any) -> Plane:
    """Two numbers by name."""
    h, w = values
    return Plane(h, w)


def gathers(geometry: ConvGeometry, lanes: int) -> bool:
    """Whether the channels of all taps of a cell are gathered: they make whole vectors where those of one do not."""
    return terms_of(geometry) > 1 and geometry.in_per_group < lanes


def sizes_of(geometry: ConvGeometry, cut: Cut, lanes: int, line: int, asks: bool) -> Sizes:
    """The sizes of a lifted geometry; `line` is the elements of a cache line, and `asks` if those to come are asked for."""
    g, (depths, down, right), width = geometry, pieces_of(geometry), cut.columns * lanes
    m, n, spread, stride = plane(cut.form), plane(cells_of(cut.form)), plane(spreads_of(g)), axes(g.stride)
    step = Plane(stride.h * spread.h, stride.w * spread.w)
    reach = Plane((n.h - 1) * step.h + 1, (n.w - 1) * step.w + 1)
    last = Plane(max(down) * spread.h, max(right) * spread.w)
    halo = Plane(last.h + (n.h - m.h) * step.h + 1 - stride.h, last.w + (n.w - m.w) * step.w + 1 - stride.w)
    bundles, block = plane(bundles_of(g, cut.form)), Plane(cut.block_rows, cut.block_columns)
    window = Plane(last.h + reach.h, last.w + reach.w)
    taps, k_blocks = terms_of(g), -(-g.out_per_group // width)
    c_pitch = -(-((taps - 1) * g.in_per_group + -(-g.in_per_group // lanes) * lanes) // lanes) * lanes
    if c_pitch % (16 * line) == 0:  # rows of a tile of V would fall into the same sets of the L1 cache
        c_pitch += lanes
    k_pitch, tiles = cut.k_part * width, -(-cut.images * prod(block) * prod(spread) // cut.rows) * cut.rows
    copied, results = prod(n), 0
    if not g.channels_last:
        copied = depths * (m.h * block.h * step.h + halo.h) * (m.w * block.w * step.w + halo.w)
        results = (prod(m) * prod(block) * prod(spread) + lanes) * k_pitch + lanes
    elif gathers(g, lanes):
        copied = depths * prod(window)
    return Sizes(
        x=strides(g, g.in_channels, g.in_size),
        y=strides(g, g.out_channels, g.out_size),
        cells=axes(g.in_size),
        padding=axes([before for before, _ in g.padding]),
        outputs=axes(g.out_size),
        stride=stride,
        mode=g.mode,
        batch=g.batch,
        images=cut.images,
        groups=g.groups,
        c_group=g.in_per_group,
        k_group=g.out_per_group,
        depths=depths,
        dilation_d=g.dilation[0],
        taps=taps,
        m=m,
        spread=spread,
        step=step,
        reach=reach,
        window=window,
        halo=halo,
        bundles=bundles,
        block=block,
        blocks=Plane(-(-bundles.h // block.h), -(-bundles.w // block.w)),
        width=width,
        k_blocks=k_blocks,
        k_part=cut.k_part,
        k_parts=-(-k_blocks // cut.k_part),
        c_pitch=c_pitch,
        k_pitch=k_pitch,
        v_plane=plane_pitch(tiles * c_pitch, line),
        m_plane=plane_pitch(tiles * k_pitch, line),
        u_plane=plane_pitch(k_blocks * taps * g.in_per_group * width, line),
        windows=copied * g.in_per_group,
        results=results,
        of_line=line if asks else 0,
    )


def tap_table(geometry: ConvGeometry, spread: Plane) -> Array:
    """(d, h, w) of each slice and piece of a lifted geometry: its slice, and its first tap, `spread` cells from the next."""
    depths, down, right = pieces_of(geometry)
    taps = [(d, h * spread.h, w * spread.w) for d in range(depths) for h in down for w in right]
    return np.array(taps, np.int64).reshape(-1)


@compiled
def tap_of(sizes, number, count):
    """One of the `count` taps of the table that ends the array of sizes."""
    at = sizes.size - 3 * (count - number)
    return Axes(sizes[at], sizes[at + 1], sizes[at + 2])


# Items ------------------------------------------------------------------------------------------------------------------


class Block(NamedTuple):
    """A block of tiles of one depth of a group, of an image or several.

    Attributes
    ----------
    number, n, images, group, d : int
        Of the block, the first image and the number of them, group and depth of the output.
    tiles, output, outputs : Plane
        Tiles of an image, the first output and the number of them.
    corner : Axes
        The first cell.
    cells : Plane
        Cells under all of its tiles.
    """

    number: int
    n: int
    images: int
    group: int
    d: int
    tiles: Plane
    output: Plane
    outputs: Plane
    corner: Axes
    cells: Plane


class Part(NamedTuple):
    """A part of a group's output channels: the first one, blocks of weights, and channels."""

    k: int
    blocks: int
    channels: int


@compiled
def block_of(item, s):
    """(the block of tiles, the part of the output channels) of an item; the parts of a block follow each other."""
    number, part = divmod(item, s.k_parts)
    rest, column = divmod(number, s.blocks.w)
    rest, row = divmod(rest, s.blocks.h)
    rest, d = divmod(rest, s.outputs.d)
    several, group = divmod(rest, s.groups)
    n = several * s.images
    images = min(s.images, s.batch - n)
    top, left = row * s.block.h, column * s.block.w
    rows, columns = min(s.block.h, s.bundles.h - top), min(s.block.w, s.bundles.w - left)
    tiles = Plane(rows * s.spread.h, columns * s.spread.w)
    output = Plane(s.m.h * top * s.spread.h, s.m.w * left * s.spread.w)
    outputs = Plane(min(s.m.h * tiles.h, s.outputs.h - output.h), min(s.m.w * tiles.w, s.outputs.w - output.w))
    corner = Axes(d * s.stride.d - s.padding.d, output.h * s.stride.h - s.padding.h, output.w * s.stride.w - s.padding.w)
    cells = Plane(s.m.h * rows * s.step.h + s.halo.h, s.m.w * columns * s.step.w + s.halo.w)
    blocks = min(s.k_part, s.k_blocks - part * s.k_part)
    k = part * s.k_part * s.width
    channels = min(blocks * s.width, s.k_group - k)
    return Block(number, n, images, group, d, tiles, output, outputs, corner, cells), Part(k, blocks, channels)


@compiled
def block_of_image(block, i):
    """The part of a block that its i-th image has."""
    b = block
    return Block(b.number, b.n + i, 1, b.group, b.d, b.tiles, b.output, b.outputs, b.corner, b.cells)


@compiled
def tiles_in(block):
    """Tiles of all images of a block."""
    return block.images * block.tiles.h * block.tiles.w


@compiled
def tile_of(number, block, s):
    """The first output of a tile, from the block's."""
    row, column = divmod(number, block.tiles.w)
    bundle_h, h = divmod(row, s.spread.h)
    bundle_w, w = divmod(column, s.spread.w)
    return Plane(bundle_h * s.m.h * s.spread.h + h, bundle_w * s.m.w * s.spread.w + w)


@compiled
def source_of(x, block, fill, s):
    """The group of the image that a block reads."""
    return Source(pointer(x) + (block.n * s.x.n + block.group * s.c_group * s.x.c), s.x, s.cells, s.mode, fill)


# Memory -----------------------------------------------------------------------------------------------------------------


class Parts(NamedTuple):
    """Of a thread's memory: V, M, a tile's vectors on the way, copied cells, outputs channels last, gathered channels."""

    v: int
    m: int
    tile: int
    windows: int
    results: int
    gathered: int


class Tables(NamedTuple):
    """Offsets of the rows of a register tile, of a square's rows, and of a tile's taps."""

    rows: int
    steps: int
    taps: int


carve, carve_tables = workspace(Parts), workspace(Tables)


@compiled
def work_of_image(work, block, i, s):
    """The memory of a block's i-th image: its tiles of V and M, and what images share."""
    tiles = i * block.tiles.h * block.tiles.w
    v, m = work.v + tiles * s.c_pitch, work.m + tiles * s.k_pitch
    return Parts(v, m, work.tile, work.windows, work.results, work.gathered)
