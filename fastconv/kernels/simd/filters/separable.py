"""Sums of few products of a column and a row, each of which is two passes of one axis, over a plane with its padding.

    lines [i][w] = sum over r of u[i][r] * x[h + r][w]                  two rows h at a time, into the L1 cache
    y [h][w]     = act(bias + sum over i, s of v[i][s] * lines [i][w + s])

A block of the image is copied with its padding, which leaves it in the cache.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from fastconv.kernels.jit import Kernel, compiled, inlined
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import epilogue, windows
from fastconv.kernels.simd.engine.sizes import Axes, Plane, Strides, reader
from fastconv.kernels.simd.engine.workspace import keep, workspace

pointer = vector.pointer
STACK = 2  # output rows at a time, where no dilation parts them


class Sizes(NamedTuple):
    """What the kernel knows.

    Attributes
    ----------
    channels, rank : int
        Planes of an image, and products of a column and a row that make a filter.
    mode : int
        What the border holds.
    cells, outputs : Plane
        Of a plane of x, and of y.
    taps, dilation, padding : Plane
        Of the convolution; padding before the first cell.
    block : Plane
        Outputs of a block.
    """

    channels: int
    rank: int
    mode: int
    cells: Plane
    outputs: Plane
    taps: Plane
    dilation: Plane
    padding: Plane
    block: Plane


read = reader(Sizes)


class Parts(NamedTuple):
    """The workspace of a thread: the cells of a block, and lines of sums over columns as [i][row of the stack][w]."""

    cells: int
    lines: int


class Tables(NamedTuple):
    """What the copy of cells numbers its columns by."""

    steps: int


carve, carve_tables = workspace(Parts), workspace(Tables)


class Block(NamedTuple):
    """A block of a plane: its first output, its outputs, and the cells under whole stacks of its rows."""

    plane: int
    first: Plane
    outputs: Plane
    reach: Plane


class Filter(NamedTuple):
    """The weights of a channel: columns u [i][r][row of the stack], then rows v [i][s]; and its bias."""

    u: Any
    v: Any
    bias: Any


@compiled
def reach_of(outputs, s):
    """Cells from the first one that so many outputs read to the last."""
    return Plane(outputs.h + (s.taps.h - 1) * s.dilation.h, outputs.w + (s.taps.w - 1) * s.dilation.w)


@compiled
def block_of(item, stack, s):
    """The block of an item."""
    rest, column = divmod(item, -(-s.outputs.w // s.block.w))
    plane, row = divmod(rest, -(-s.outputs.h // s.block.h))
    h, w = row * s.block.h, column * s.block.w
    outputs = Plane(min(s.block.h, s.outputs.h - h), min(s.block.w, s.outputs.w - w))
    return Block(plane, Plane(h, w), outputs, reach_of(Plane(-(-outputs.h // stack) * stack, outputs.w), s))


@compiled
def filter_of(plane, w, bias, stack, s):
    """The filter of a plane."""
    channel, of_columns = plane % s.channels, s.rank * column_values(s.taps.h, stack)
    u = pointer(w) + channel * (of_columns + s.rank * s.taps.w)
    return Filter(u, u + of_columns, pointer(bias) + channel)


def values_of_column(taps: int, stack: int) -> int:
    """Weights of a column for a stack of output rows: each row's begin one further down."""
    return (taps + stack - 1) * stack


column_values = compiled(values_of_column)


@lru_cache(maxsize=8)
def copier(lanes: int) -> Any:
    """The compiled fill(to, x, block, border, steps, s): to [h][w] = the cells under a block, and those of the border."""
    pack = windows.packer(lanes, True)

    def fill(to, x, block, border, steps, s):
        plane, cells = pointer(x) + block.plane * s.cells.h * s.cells.w, Axes(1, s.cells.h, s.cells.w)
        source = windows.Source(plane, Strides(0, 0, 0, s.cells.w, 1), cells, s.mode, border)
        corner = Axes(0, block.first.h - s.padding.h, block.first.w - s.padding.w)
        pack(source, windows.Block(corner, 1, 1, block.reach.h, block.reach.w, 1, 1), to, steps)

    return compiled(fill)


@lru_cache(maxsize=8)
def column_pass(stack: int, columns: int, lanes: int) -> Any:
    """The compiled sum_columns(cells, pitch, u, lines, line, s): lines [i][row][w] of the stack of rows at `cells`."""
    width = columns * lanes

    def sum_row(cells, pitch, u, s):
        """The sums of one output row."""
        tile = vector.zeros(cells, 1, columns, lanes)
        for r in range(s.taps.h):
            tile = vector.fma_shared(tile, u + r, cells + r * s.dilation.h * pitch)
        return tile

    def sum_pair(cells, pitch, u, s):
        """Those of two. A cell outside a row's window must not meet it, not even with a weight of zero."""
        tile = vector.fma_row(vector.zeros(cells, STACK, columns, lanes), 0, u, cells)
        for r in range(1, s.taps.h):
            tile = vector.fma_shared(tile, u + r * STACK, cells + r * pitch)
        return vector.fma_row(tile, 1, u + (s.taps.h * STACK + 1), cells + s.taps.h * pitch)

    sum_stack = inlined(sum_pair if stack == STACK else sum_row)

    def sum_columns(cells, pitch, u, lines, line, s):
        for column in range(0, pitch, width):
            for i in range(s.rank):
                tile = sum_stack(cells + column, pitch, u + i * column_values(s.taps.h, stack), s)
                vector.store_tile(tile, lines + (i * stack * line + column), line)

    return compiled(sum_columns)


@lru_cache(maxsize=8)
def row_pass(stack: int, columns: int, lanes: int, dtype: str) -> Any:
    """The compiled sum_rows(lines, line, weights, out, count, act, s): one output row of `count`, from its lines [i]."""
    width, activate_tile = columns * lanes, epilogue.activation_of(dtype)

    def sum_rows(lines, line, weights, out, count, act, s):
        bias = vector.first_values(weights.bias, 1, columns, lanes)
        for column in range(0, count, width):
            tile = bias
            for i in range(s.rank):
                at = lines + (i * stack * line + column)
                for tap in range(s.taps.w):
                    tile = vector.fma_shared(tile, weights.v + (i * s.taps.w + tap), at + tap * s.dilation.w)
            vector.store_spans(activate_tile(tile, act), out + column, 0, 1, count - column)
        epilogue.finish_run(out, count, act)

    return compiled(sum_rows)


@lru_cache(maxsize=8)
def kernel(stack: int, columns: int, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over blocks of planes, `stack` output rows at a time: f32_separable_2x8_avx512."""
    fill, sum_columns, width = copier(lanes), column_pass(stack, columns, lanes), columns * lanes
    sum_rows, (_, clear) = row_pass(stack, columns, lanes, dtype), windows.runs(lanes)

    @compiled
    def line_of(s):
        """Elements of a line: whole tiles over the cells under a block's columns."""
        return -(-reach_of(s.block, s).w // width) * width

    @compiled
    def parts_of(s):
        """The workspace. A tile at the end of a row reads on into what follows, zeros or cells, and does not store it."""
        reach = reach_of(s.block, s)
        return Parts(cells=(reach.h + stack) * reach.w + width, lines=s.rank * stack * line_of(s) + width)

    def separable(begin, end, x, w, bias, residual, y, sizes, parameters):
        """y [h][w] = act(bias + sum over i, s of v[i][s] * (sum over r of u[i][r] * x[h + r][w + s]))."""
        s, e = read(sizes), epilogue.epilogue(parameters, residual, y)
        work, memory = carve(parts_of(s), x)
        tables, integers = carve_tables(Tables(steps=lanes), sizes)
        border, line, zero = epilogue.padding_value(parameters), line_of(s), vector.zero(work.cells)
        clear(work.lines, zero, parts_of(s).lines)
        for item in range(begin, end):
            block = block_of(item, stack, s)
            weights = filter_of(block.plane, w, bias, stack, s)
            fill(work.cells, x, block, border, tables.steps, s)
            clear(work.cells + block.reach.h * block.reach.w, zero, width)
            for h in range(0, block.outputs.h, stack):
                sum_columns(work.cells + h * block.reach.w, block.reach.w, weights.u, work.lines, line, s)
                for row in range(min(stack, block.outputs.h - h)):
                    first = (block.plane * s.outputs.h + block.first.h + h + row) * s.outputs.w + block.first.w
                    sum_rows(work.lines + row * line, line, weights, pointer(y) + first, block.outputs.w, e, s)
        keep(memory)
        keep(integers)

    separable.__name__ = f"{dtype}_separable_{stack}x{columns}_{isa}"
    return Kernel(separable)
