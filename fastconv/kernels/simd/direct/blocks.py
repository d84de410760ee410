"""A block of direct convolution by tiles: its sizes, its place among the items, and its windows, where they lie or packed.

tiles.py runs over blocks.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from fastconv.kernels.jit import compiled
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.direct.cuts import Blocking
from fastconv.kernels.simd.engine import windows
from fastconv.kernels.simd.engine.sizes import Axes, Strides, reader
from fastconv.kernels.simd.engine.workspace import workspace

peek, poke, pointer = vector.peek, vector.poke, vector.pointer


class Sizes(NamedTuple):
    """What the kernel needs to know of one walk.

    Attributes
    ----------
    x, y : Strides
        Of the input, and of the outputs of this walk.
    outputs, taps, cells, origin, stride, dilation : Axes
        Of the walk.
    batch, groups, c_group, k_group, panels : int
        Images, channels of a group, and panels of output channels that these take.
    block : Blocking
        How the loops are cut.
    skew : int
        Elements between the columns of packed windows, lest the rows of a tile fall into the same sets of the cache.
    pieces : int
        Runs of a row of taps: one where taps and channels follow each other, else one a tap.
    first, mode : int
        The first output's place in y, and the border's mode.
    bias : int
        Elements of the bias, before the weights.
    ahead, of_line : int
        Results that each tile asks for, or 0, and those of a cache line.
    listed : int
        Values of a window that are read one by one, rows of zeros too; or 0.
    """

    x: Strides
    y: Strides
    outputs: Axes
    taps: Axes
    cells: Axes
    origin: Axes
    stride: Axes
    dilation: Axes
    batch: int
    groups: int
    c_group: int
    k_group: int
    panels: int
    block: Blocking
    skew: int
    pieces: int
    first: int
    mode: int
    bias: int
    ahead: int
    of_line: int
    listed: int


class Block(NamedTuple):
    """A block of outputs of one group of one or more images, for a range of panels of output channels.

    Attributes
    ----------
    n, images, group, h, w : int
        The first image and how many, group, and rows and columns of outputs of each.
    corner : Axes
        The cell under the first tap of the first output.
    y : int
        The first output's place.
    first_panel, last_panel : int
        The range of the panels.
    """

    n: int
    images: int
    group: int
    h: int
    w: int
    corner: Axes
    y: int
    first_panel: int
    last_panel: int


class Chunk(NamedTuple):
    """A range of a group's input channels."""

    begin: int
    count: int  # type: ignore[assignment]


class Steps(NamedTuple):
    """Elements of windows from one image, depth of taps, row of taps, row, column and channel to the next."""

    n: int
    t: int
    r: int
    h: int
    w: int
    c: int


class Parts(NamedTuple):
    """A tile that is stored element by element, and packed windows."""

    spare: int
    windows: int


class Tables(NamedTuple):
    """Offsets of a block's positions in windows and in y, of a window's runs and listed values, and columns in packing."""

    positions: int
    outputs: int
    runs: int
    values: int
    columns: int


read, carve, carve_tables = reader(Sizes), workspace(Parts), workspace(Tables)


@compiled
def reach(outputs, stride, taps, dilation):
    """Cells under the taps of so many outputs of an axis; a phase of a transposed convolution may have no taps, and none."""
    return max(0, (outputs - 1) * stride + (taps - 1) * dilation + 1)


@compiled
def rows_packed(outputs, s):
    """(parts, rows): all rows of cells under so many rows of outputs, or those under each row of taps where there are fewer."""
    whole, of_tap = reach(outputs, s.stride.h, s.taps.h, s.dilation.h), (outputs - 1) * s.stride.h + 1
    return (s.taps.h, of_tap) if s.taps.h * of_tap < whole else (1, whole)


@compiled
def window_room(s):
    """Elements of the packed windows of a whole block."""
    parts, rows = rows_packed(s.block.rows, s)
    cells = parts * rows * reach(s.block.columns, s.stride.w, s.taps.w, s.dilation.w)
    return s.block.images * s.taps.d * cells * (s.block.chunk + s.skew)


@compiled
def block_of(item, end, s):
    """(the block of the items from `item` on that meet the same windows, the item after them)."""
    k_items = -(-s.panels // s.block.panels)
    rest, k_item = divmod(item, k_items)
    after = item + min(k_items - k_item, end - item)
    group, together = 0, s.x.c == 1  # the groups of a block, whose channels share lines, follow each other
    if together:
        rest, group = divmod(rest, s.groups)
    rest, column = divmod(rest, -(-s.outputs.w // s.block.columns))
    rest, row = divmod(rest, -(-s.outputs.h // s.block.rows))
    rest, depth = divmod(rest, s.outputs.d)
    if not together:
        rest, group = divmod(rest, s.groups)
    n = rest * s.block.images
    top, left = row * s.block.rows, column * s.block.columns
    origin, stride = s.origin, s.stride
    corner = Axes(origin.d + depth * stride.d, origin.h + top * stride.h, origin.w + left * stride.w)
    y = s.first + n * s.y.n + group * s.k_group * s.y.c + depth * s.y.d + top * s.y.h + left * s.y.w
    first, last = k_item * s.block.panels, min(s.panels, (k_item + after - item) * s.block.panels)
    h, w = min(s.block.rows, s.outputs.h - top), min(s.block.columns, s.outputs.w - left)
    return Block(n, min(s.block.images, s.batch - n), group, h, w, corner, y, first, last), after


@compiled
def source_of(x, block, chunk, fill, s):
    """The first image that a block reads, from the first channel of a chunk on."""
    at = pointer(x) + (block.n * s.x.n + (block.group * s.c_group + chunk.begin) * s.x.c)
    return windows.Source(at, s.x, s.cells, s.mode, fill)


@compiled
def read_in_place(source, block, chunk, to, columns, s):
    """(address, steps) of a block's windows where they lie in x."""
    corner = block.corner
    at = source.at + (corner.d * s.x.d + corner.h * s.x.h + corner.w * s.x.w)
    return at, Steps(s.x.n, s.x.d * s.dilation.d, s.x.h * s.dilation.h, s.x.h, s.x.w, s.x.c)


@lru_cache(maxsize=8)
def window_reader(lanes: int, channels_last: bool, in_place: bool) -> Any:
    """The compiled (address, steps) of a block's windows: where they lie, or packed to `to`."""
    if in_place:
        return read_in_place
    pack = windows.packer(lanes, channels_last)

    def read_packed(source, block, chunk, to, columns, s):
        parts, rows = rows_packed(block.h, s)
        reach_w = reach(block.w, s.stride.w, s.taps.w, s.dilation.w)
        pitch = chunk.count + s.skew
        of_row, of_part = reach_w * pitch, s.taps.d * rows * reach_w * pitch
        for image in range(block.images):
            one = windows.Source(source.at + image * s.x.n, source.strides, source.cells, source.mode, source.fill)
            for part in range(parts):
                corner = Axes(block.corner.d, block.corner.h + part * s.dilation.h, block.corner.w)
                cells = windows.Block(corner, s.taps.d, s.dilation.d, rows, reach_w, chunk.count, pitch)
                pack(one, cells, to + (image * parts + part) * of_part, columns)
        of_taps = of_part if parts > 1 else s.dilation.h * of_row
        return to, Steps(parts * of_part, rows * of_row, of_taps, of_row, pitch, 1)

    return compiled(read_packed)


@compiled
def list_runs(to, steps, s):
    """runs [t][r][piece]: offsets of the runs of a window, each of whose values follow each other or lie steps.c apart."""
    i = 0
    for t in range(s.taps.d):
        for r in range(s.taps.h):
            for piece in range(s.pieces):
                poke(to + i, t * steps.t + r * steps.r + piece * s.dilation.w * steps.w)
                i += 1


@compiled
def list_values(to, runs, s):
    """values [t][r][s][c]: offsets of the values of a window whose runs are short, of which `runs` has the offsets."""
    length = s.c_group if s.pieces > 1 else s.taps.w * s.c_group
    for i in range(s.listed):
        run, value = divmod(i, length)
        poke(to + i, peek(runs + run) + value)


@compiled
def depths_inside(block, s):
    """(first, end) of the taps along the depth that a block must visit: those that lie in zeros add nothing."""
    first, end = 0, s.taps.d
    if s.mode == 0:
        while first < end and block.corner.d + first * s.dilation.d < 0:
            first += 1
        while end > first and block.corner.d + (end - 1) * s.dilation.d >= s.cells.d:
            end -= 1
    return first, end


@compiled
def has_zero_rows(block, s):
    """Whether some taps of a block lie in rows of zeros."""
    bottom = block.corner.h + (block.h - 1) * s.stride.h + (s.taps.h - 1) * s.dilation.h
    return s.mode == 0 and (block.corner.h < 0 or bottom >= s.cells.h)


@compiled
def heights_inside(block, first_output, last_output, s):
    """(first, end) of the taps along the height that the tile from one output to another must visit."""
    first, end = 0, s.taps.h
    image, last_image = first_output // (block.h * block.w), last_output // (block.h * block.w)
    upper_row, lower_row = first_output // block.w - image * block.h, last_output // block.w - last_image * block.h
    if image < last_image:
        upper_row, lower_row = 0, block.h - 1
    upper, lower = block.corner.h + upper_row * s.stride.h, block.corner.h + lower_row * s.stride.h
    while first < end and lower + first * s.dilation.h < 0:
        first += 1
    while end > first and upper + (end - 1) * s.dilation.h >= s.cells.h:
        end -= 1
    return first, end
