"""Blocks of pairs of positions for Strassen's algorithm: where they lie, and the seven panels of sums of their pixels.

windows.py multiplies them. A block is outputs of some rows and columns; neighbouring ones are paired. Under each tap lie both
pixels of a pair, and of their halves of channels the panels are sums.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from fastconv.kernels.jit import compiled
from fastconv.kernels.memory import LINE
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import windows as engine
from fastconv.kernels.simd.engine.sizes import Axes, Plane, Strides, reader
from fastconv.kernels.simd.engine.workspace import workspace
from fastconv.kernels.simd.strassen.products import sum_rows

poke, cell_under = vector.poke, engine.cell_under
IN_PLACE, PIXELS, PLANES = "in place", "pixels", "planes"  # how a block's pixels are read


class Sizes(NamedTuple):
    """What the kernel knows of one walk.

    Attributes
    ----------
    x, y : Strides
        Of x, and of the outputs of this walk.
    y_first : int
        Elements of y before the first of them.
    outputs, taps, cells, origin, stride, dilation : Axes
        Of the walk.
    groups, c_group, half, k_group : int
        Groups, their input channels and those of the first half, and their output channels.
    block : Plane
        Outputs of a block.
    blocks, k_part : int
        Blocks of output channels of a half, and of those an item's.
    mode : int
        What the border holds.
    panels, rows : int
        Where panels of weights begin behind bias and factors, and elements of the bias.
    pair_step, windows : int
        Elements from one pair's sums to the next one's, and of the windows of a block that are turned.
    """

    x: Strides
    y: Strides
    y_first: int
    outputs: Axes
    taps: Axes
    cells: Axes
    origin: Axes
    stride: Axes
    dilation: Axes
    groups: int
    c_group: int
    half: int
    k_group: int
    block: Plane
    blocks: int
    k_part: int
    mode: int
    panels: int
    rows: int
    pair_step: int
    windows: int


class Parts(NamedTuple):
    """The workspace of a thread.

    Attributes
    ----------
    sums : int
        The seven panels of a block.
    partial : int
        Register tiles of partial sums.
    padding : int
        A pixel of the border.
    windows, results : int
        Channels first, the pixels of a block, and its results as pixels of both halves' channels.
    """

    sums: int
    partial: int
    padding: int
    windows: int
    results: int


class Tables(NamedTuple):
    """Where pairs lie: their sums; both pixels and both results of each, and the columns of turned pixels."""

    sums: int
    pixels: int
    results: int
    steps: int


read, carve, carve_tables = reader(Sizes), workspace(Parts), workspace(Tables)


class Block(NamedTuple):
    """Outputs that are summed together: image, group, the first one, how many along both axes, and pairs of them."""

    n: int
    group: int
    first: Axes
    outputs: Plane
    pairs: int


class Item(NamedTuple):
    """A block of outputs by some blocks of output channels: the first one of a half, and the one behind the last."""

    block: Block
    begin: int
    end: int


class Arrays(NamedTuple):
    """The addresses of a call's arrays."""

    x: Any
    w: Any
    bias: Any
    y: Any


class Image(NamedTuple):
    """Pixels to be summed: elements from one to the next, how many there are, the first tap's of the block, taps apart."""

    at: Any
    steps: Axes
    cells: Axes
    corner: Axes
    dilation: Axes


# Positions --------------------------------------------------------------------------------------------------------------


@compiled
def block_of(number, s):
    """The block of this number."""
    rest, column = divmod(number, -(-s.outputs.w // s.block.w))
    rest, row = divmod(rest, -(-s.outputs.h // s.block.h))
    rest, d = divmod(rest, s.outputs.d)
    n, group = divmod(rest, s.groups)
    h, w = row * s.block.h, column * s.block.w
    outputs = Plane(min(s.block.h, s.outputs.h - h), min(s.block.w, s.outputs.w - w))
    return Block(n, group, Axes(d, h, w), outputs, -(-outputs.h * outputs.w // 2))


@compiled
def table_size(s, rows):
    """Pairs of a block, and those that fill up its last tile."""
    return -(-s.block.h * s.block.w // 2) + rows


@compiled
def tables_of(s, rows, lanes):
    """The workspace of integers."""
    return Tables(table_size(s, rows), 2 * table_size(s, rows), 2 * table_size(s, rows), lanes)


@compiled
def both_of(pair, block):
    """Row and column of both outputs of a pair; an odd last one has its first output twice."""
    h1, w1 = divmod(2 * pair, block.outputs.w)
    h2, w2 = divmod(min(2 * pair + 1, block.outputs.h * block.outputs.w - 1), block.outputs.w)
    return Plane(h1, w1), Plane(h2, w2)


@compiled
def corner_of(block, s):
    """The cell under the first tap of the block's first output."""
    first = block.first
    return Axes(s.origin.d + first.d * s.stride.d, s.origin.h + first.h * s.stride.h, s.origin.w + first.w * s.stride.w)


@compiled
def image_of(x, block, s):
    """The block's pixels where they lie in x."""
    at = x + (block.n * s.x.n + block.group * s.c_group * s.x.c)
    return Image(at, Axes(s.x.d, s.x.h, s.x.w), s.cells, corner_of(block, s), s.dilation)


@compiled
def outputs_at(y, block, s):
    """The block's first output of the group's first channel."""
    at = y + (s.y_first + block.n * s.y.n + block.group * s.k_group * s.y.c)
    return at + (block.first.d * s.y.d + block.first.h * s.y.h + block.first.w * s.y.w)


@compiled
def first_pixel(x, block, s):
    """The pixel under the first tap of the block's first output."""
    image = image_of(x, block, s)
    return image.at + (image.corner.d * s.x.d + image.corner.h * s.x.h + image.corner.w * s.x.w)


@compiled
def pixel_step(output, s):
    """Elements from the pixel under the first output of a block to that under another."""
    return output.h * s.stride.h * s.x.h + output.w * s.stride.w * s.x.w


# Sums -------------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def panel_step(dtype: str) -> Any:
    """The compiled elements from one panel of a block's sums to the next: a cache line more than they have."""
    line = LINE // (8 if dtype == "f64" else 4)

    def step(s):
        return -(-s.block.h * s.block.w // 2) * s.pair_step + line

    return compiled(step)


@compiled
def pixel(image, cell, mode, padding):
    """Where the channels of a cell lie; those of the border are at `padding`."""
    d = cell_under(cell.d, image.cells.d, mode)
    h, w = cell_under(cell.h, image.cells.h, mode), cell_under(cell.w, image.cells.w, mode)
    if d < 0 or h < 0 or w < 0:
        return padding
    return image.at + (d * image.steps.d + h * image.steps.h + w * image.steps.w)


@compiled
def under(tap, output, image, s):
    """The cell of an image that a tap of an output of the block reads."""
    rest, w = divmod(tap, s.taps.w)
    d, h = divmod(rest, s.taps.h)
    return Axes(
        image.corner.d + d * image.dilation.d,
        image.corner.h + output.h * s.stride.h + h * image.dilation.h,
        image.corner.w + output.w * s.stride.w + w * image.dilation.w,
    )


@lru_cache(maxsize=16)
def summer(reads: str, lanes: int, dtype: str) -> Any:
    """The compiled sum_block(x, block, work, steps, s, border): the seven panels [pair][tap][c / 2] of a block."""
    sum_pair, sum_in_place, panel_of = sum_rows(lanes, True), sum_rows(lanes, False), panel_step(dtype)
    pack = engine.packer(lanes, False)

    @compiled
    def sum_image(image, block, work, s):
        """The panels of a block's windows, tap by tap."""
        panel = panel_of(s)
        for pair in range(block.pairs):
            first, second = both_of(pair, block)
            to = work.sums + pair * s.pair_step
            for tap in range(s.taps.d * s.taps.h * s.taps.w):
                a1 = pixel(image, under(tap, first, image, s), s.mode, work.padding)
                a2 = pixel(image, under(tap, second, image, s), s.mode, work.padding)
                sum_pair(to + tap * s.half, panel, a1, a2, s.half, s.c_group - s.half)

    def sum_pixels_in_place(x, block, work, steps, s, border):
        """Of one tap, S1 to S4 alone: a pixel is a row of the other panels."""
        at, panel = first_pixel(x, block, s), panel_of(s)
        for pair in range(block.pairs):
            first, second = both_of(pair, block)
            a1, a2 = at + pixel_step(first, s), at + pixel_step(second, s)
            sum_in_place(work.sums + pair * s.pair_step, panel, a1, a2, s.half, s.c_group - s.half)

    def sum_pixels(x, block, work, steps, s, border):
        """Channels last."""
        sum_image(image_of(x, block, s), block, work, s)

    def sum_planes(x, block, work, steps, s, border):
        """Channels first: of windows as pixels, in which the depths that a window meets follow each other."""
        plain, c = image_of(x, block, s), s.c_group
        rows = (block.outputs.h - 1) * s.stride.h + (s.taps.h - 1) * s.dilation.h + 1
        columns = (block.outputs.w - 1) * s.stride.w + (s.taps.w - 1) * s.dilation.w + 1
        source = engine.Source(plain.at, s.x, s.cells, s.mode, border)
        pack(source, engine.Block(plain.corner, s.taps.d, s.dilation.d, rows, columns, c, c), work.windows, steps)
        cells, apart = Axes(s.taps.d, rows, columns), Axes(1, s.dilation.h, s.dilation.w)
        sum_image(Image(work.windows, Axes(rows * columns * c, columns * c, c), cells, Axes(0, 0, 0), apart), block, work, s)

    return compiled({IN_PLACE: sum_pixels_in_place, PIXELS: sum_pixels, PLANES: sum_planes}[reads])


@lru_cache(maxsize=32)
def placer(reads: str, rows: int, width: int) -> Any:
    """The compiled place_pairs(block, tables, s): where sums, pixels and results of a block's pairs lie."""
    to_planes, from_pixels = reads == PLANES, reads == IN_PLACE

    @compiled
    def result_step(output, block, s):
        """Elements from the first output of a block to another: in y, or in its results as pixels."""
        if to_planes:
            return (output.h * block.outputs.w + output.w) * s.k_part * width
        return output.h * s.y.h + output.w * s.y.w

    def place_pairs(block, tables, s):
        apart = table_size(s, rows)
        for row in range(-(-block.pairs // rows) * rows):
            pair = min(row, block.pairs - 1)  # the last pair fills up the last tile
            first, second = both_of(pair, block)
            poke(tables.sums + row, pair * s.pair_step)
            if from_pixels:
                poke(tables.pixels + row, pixel_step(first, s))
                poke(tables.pixels + (apart + row), pixel_step(second, s))
            # The second output of an odd last pair goes where the first one then comes.
            poke(tables.results + row, result_step(first, block, s))
            poke(tables.results + (apart + row), result_step(second, block, s))

    return compiled(place_pairs)
