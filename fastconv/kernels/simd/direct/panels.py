"""A panel of positions of convolutions without overlap: its place among the items, its tiles, and the positions left over.

pointwise.py runs over panels.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from fastconv.kernels.jit import compiled, inlined
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import epilogue, requests
from fastconv.kernels.simd.engine.sizes import Axes, reader
from fastconv.kernels.simd.engine.workspace import workspace

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
    fills : int
        Whether what the next panel writes is asked for while this one is summed.
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
    fills: int
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
    """The bias of a tile, the sums of one, for positions left over or for exponentials, and a panel."""

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
def end_of_line(s):
    """What stands for the panel before the first one: a line's end."""
    return Panel(0, 0, 0, 0, s.length, 0, 0, 0)


@compiled
def panel_behind(panel, item, width, s):
    """The panel of the item behind that of a panel: in the same line, where that goes on, which divides nothing to find it."""
    first = panel.first + width
    if first >= s.length:
        return panel_of(item, width, s)
    return Panel(panel.n, panel.group, panel.d, panel.h, first, min(width, s.length - first), panel.begin, panel.end)


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
        if packed and s.taps.d * s.taps.h > 1:
            row = row_of(panel, panel.h, shown.line, s)
        to = y + (shown.k * s.y_plane + row * s.cells.w + panel.first)
        if panel.count == width and shown.count == rows:
            vector.store_tile(tile, to, s.y_plane)
        else:
            vector.store_spans(tile, to, s.y_plane, shown.count, panel.count)
        epilogue.finish_runs(to, s.y_plane, shown.count, panel.count, act)

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
        epilogue.finish_runs(to + 2 * done, s.y_plane, shown.count // 2, 2 * (until - done), act)
        done = until


@lru_cache(maxsize=32)
def tile_maker(rows: int, columns: int, apart: int, packed: bool, lanes: int, dtype: str) -> Any:
    """The compiled y[k][p] of a panel and one block of output channels."""
    activate = epilogue.activation_of(dtype)
    ask_for, ask_for_results = (requests.asker(lines, columns, lanes) for lines in (1, rows))
    width, by_c, smoothed = columns * lanes, rows if packed else 1, epilogue.smoother(rows, columns, lanes, dtype)
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
        if packed and s.taps.d * s.taps.h > 1:
            line, k_block = divmod(block, -(-s.k_group // (rows // apart)))
        k = k_block * (rows // apart)
        return Rows(k, min(rows, (s.k_group - k) * apart), line)

    def make_tile(block, panel, cells, operands, work, asks, act, s):
        shown = rows_of(block, s)
        w = weights_at(panel, block, shown, operands, s)
        tile = vector.first_values(bias_at(shown, operands, work.bias), rows, columns, lanes)
        if not packed and s.fills > 0:
            ask_for_results(operands.y + (shown.k * s.y_plane + panel.first + width), s.y_plane)
        tile = multiply(tile, w, cells, asks, s)
        tile, left = smoothed(activate(tile, act), work.sums, act)
        store(tile, operands.y, panel, shown, left, s)

    return inlined(make_tile)
