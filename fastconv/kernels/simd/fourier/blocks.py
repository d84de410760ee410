"""Convolution by Fourier transforms of blocks, overlapping as far as the kernel reaches: a cost that hardly grows with it.

    X [c][f]  = F(block of x[c])
    Y [k][f]  = sum over c of X[c][f] * W[k, c][f]         W = F(w) once a plan, tap t at -t, since conv is correlation
    y [k]     = act(F^-1(Y[k]) + bias[k]), of which the first (size - window + 1) cells are right

Blocks are a planes of b rows of m cells, as spectra.py transforms them. Real inputs go in pairs: two blocks of one image are
the real and the imaginary part of one transform, which the product by a real kernel's spectrum keeps apart. A complex block is
its own pair. On overlapping blocks: Oppenheim and Schafer, Discrete-Time Signal Processing, section 8.7.3.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from fastconv.kernels.jit import Kernel, compiled
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import epilogue
from fastconv.kernels.simd.engine.sizes import Axes, Strides, reader
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.kernels.simd.fourier.spectra import Cells, Form, analysis, cells_size, elements_of, synthesis, tables_in
from fastconv.problem.borders import source_cell

peek, poke, pointer = vector.peek, vector.poke, vector.pointer
cell_under = compiled(source_cell)


class Sizes(NamedTuple):
    """What the kernel knows; all in real numbers, of which a complex one is two.

    Attributes
    ----------
    x, y : Strides
        Of both arrays.
    cells, outputs : Axes
        Cells of an image of x, outputs of one of y.
    stride, window, padding : Axes
        Of the convolution: its stride, the cells from the first tap to the last, and those before the first cell.
    block : Axes
        Outputs of a block.
    form : Form
        How blocks and spectra lie in the workspace.
    groups, c_group, k_group : int
        Groups, and the input and output channels of each.
    chunk : int
        Pairs of blocks of an item: the filters are read once for all of them.
    mode : int
        What the border holds.
    """

    x: Strides
    y: Strides
    cells: Axes
    outputs: Axes
    stride: Axes
    window: Axes
    padding: Axes
    block: Axes
    form: Form
    groups: int
    c_group: int
    k_group: int
    chunk: int
    mode: int


read = reader(Sizes)


class Parts(NamedTuple):
    """The workspace of a thread: a pair of blocks, the spectra of a chunk's channels, and their sum for an output channel."""

    re: int
    im: int
    spectra: int
    sums: int


carve = workspace(Parts)


class Chunk(NamedTuple):
    """The pairs of blocks of an item: image and group, and the numbers of the first pair and of the one after the last."""

    n: int
    group: int
    begin: int
    end: int


class Block(NamedTuple):
    """A block: its first output on each axis, and how many it has."""

    first: Axes
    outputs: Axes


class Row(NamedTuple):
    """A row of x: where it lies, elements from cell to cell, its cells (none in the border), and the first one that is read."""

    at: Any
    step: int
    cells: int
    corner: int


class Border(NamedTuple):
    """What the cells around an image hold, by mode and value; and a zero of that type."""

    mode: int
    value: Any
    zero: Any


@compiled
def blocks_along(s):
    """Blocks along each axis."""
    return Axes(-(-s.outputs.d // s.block.d), -(-s.outputs.h // s.block.h), -(-s.outputs.w // s.block.w))


@compiled
def block_of(number, s):
    """The block of this number."""
    along = blocks_along(s)
    rest, w = divmod(number, along.w)
    d, h = divmod(rest, along.h)
    first = Axes(d * s.block.d, h * s.block.h, w * s.block.w)
    outputs = Axes(
        min(s.block.d, s.outputs.d - first.d), min(s.block.h, s.outputs.h - first.h), min(s.block.w, s.outputs.w - first.w)
    )
    return Block(first, outputs)


@compiled
def corner_of(block, s):
    """The cell of x that the first tap of the block's first output reads."""
    return Axes(
        block.first.d * s.stride.d - s.padding.d,
        block.first.h * s.stride.h - s.padding.h,
        block.first.w * s.stride.w - s.padding.w,
    )


@compiled
def reach_of(block, s):
    """Cells from the first one that the block's outputs read to the last."""
    return Axes(
        (block.outputs.d - 1) * s.stride.d + s.window.d,
        (block.outputs.h - 1) * s.stride.h + s.window.h,
        (block.outputs.w - 1) * s.stride.w + s.window.w,
    )


@compiled
def fill(to, begin, end, value):
    """to[i] = value for begin <= i < end."""
    for i in range(begin, end):
        poke(to + i, value)


@compiled
def read_border(to, row, begin, end, border):
    """to[i] = the cell i of the row, for begin <= i < end, where all lie outside."""
    for i in range(begin, end):
        cell = cell_under(row.corner + i, row.cells, border.mode)
        poke(to + i, border.value if cell < 0 else peek(row.at + cell * row.step))


@lru_cache(maxsize=8)
def row_reader(lanes: int) -> Any:
    """The compiled read_row(to, row, count, room, border): `count` cells of a row, from its corner, and zeros up to `room`."""

    @compiled
    def read_inside(to, row, begin, end):
        """The cells from begin to end, which all lie inside."""
        if row.step == 1:
            whole = end - (end - begin) % lanes
            for i in range(begin, whole, lanes):
                vector.store(to + i, vector.load(row.at + (row.corner + i), lanes))
            if whole < end:
                rest = vector.load_first(row.at + (row.corner + whole), end - whole, lanes)
                vector.store_first(to + whole, rest, end - whole)
        else:
            for i in range(begin, end):
                poke(to + i, peek(row.at + (row.corner + i) * row.step))

    def read_row(to, row, count, room, border):
        if row.cells == 0:
            fill(to, 0, count, border.value)
        else:
            begin = min(max(-row.corner, 0), count)
            end = max(begin, min(count, row.cells - row.corner))
            read_border(to, row, 0, begin, border)
            read_inside(to, row, begin, end)
            read_border(to, row, end, count, border)
        fill(to, count, room, border.zero)

    return compiled(read_row)


@lru_cache(maxsize=8)
def block_reader(lanes: int, long: bool) -> Any:
    """The compiled read_block(to, source, block, s, border): the cells that a block's outputs read, and zeros behind them."""
    read_row = row_reader(lanes)

    def read_long(to, source, block, s, border):
        """Of one axis: one row, as the rows of a matrix."""
        _, b, m = s.form.shape
        corner, reach = corner_of(block, s).w, reach_of(block, s).w
        for j in range(b):
            row = Row(source, s.x.w, s.cells.w, corner + j * m)
            read_row(to + j * s.form.pitch, row, min(max(reach - j * m, 0), m), m, border)

    def read_block(to, source, block, s, border):
        (a, b, m), corner, reach = s.form.shape, corner_of(block, s), reach_of(block, s)
        for i in range(a):
            for j in range(b):
                d, h = cell_under(corner.d + i, s.cells.d, border.mode), cell_under(corner.h + j, s.cells.h, border.mode)
                at, cells = source + (max(d, 0) * s.x.d + max(h, 0) * s.x.h), s.cells.w if d >= 0 and h >= 0 else 0
                count = reach.w if i < reach.d and j < reach.h else 0
                read_row(to + (i * b + j) * s.form.pitch, Row(at, s.x.w, cells, corner.w), count, m, border)

    return compiled(read_long if long else read_block)


class End(NamedTuple):
    """What becomes of the sums of an output channel."""

    bias: Any
    epilogue: Any


@lru_cache(maxsize=8)
def block_writer(lanes: int, long: bool, dtype: str) -> Any:
    """The compiled write_block(cells, to, block, s, end): the outputs of a block, which its cells 0, stride, ... hold."""
    activate = epilogue.activation_of(dtype)

    @compiled
    def write_row(row, to, count, stride, step, end):
        """to[i * step] = act(row[i * stride] + bias) for i < count."""
        if stride == 1 and step == 1:
            bias = vector.splat(end.bias, lanes)
            for i in range(0, count, lanes):
                vector.store_first(to + i, activate(vector.load(row + i, lanes) + bias, end.epilogue), count - i)
            epilogue.finish_run(to, count, end.epilogue)
        else:
            for i in range(count):
                epilogue.put(to + i * step, peek(row + i * stride) + end.bias, end.epilogue)

    def write_long(cells, to, block, s, end):
        """Of one axis: from the rows of a matrix."""
        m, stride, done = s.form.shape.m, s.stride.w, 0
        while done < block.outputs.w:
            j, column = divmod(done * stride, m)
            count = min(block.outputs.w - done, (m - column - 1) // stride + 1)
            at = to + (block.first.w + done) * s.y.w
            write_row(cells + (j * s.form.pitch + column), at, count, stride, s.y.w, end)
            done += count

    def write_block(cells, to, block, s, end):
        b, first = s.form.shape.b, block.first
        for i in range(block.outputs.d):
            for j in range(block.outputs.h):
                at = to + ((first.d + i) * s.y.d + (first.h + j) * s.y.h + first.w * s.y.w)
                row = cells + (i * s.stride.d * b + j * s.stride.h) * s.form.pitch
                write_row(row, at, block.outputs.w, s.stride.w, s.y.w, end)

    return compiled(write_long if long else write_block)


@lru_cache(maxsize=8)
def product(lanes: int) -> Any:
    """The compiled multiply(sums, x, w, s): Y [f] = sum over c of X [c][f] * W [c][f], complex numbers."""

    def multiply(sums, x, w, s):
        size, strip = elements_of(s.form, lanes), s.form.strip
        half, points = strip // 2, s.form.shape.m * lanes
        for begin in range(0, size, strip):
            for at in range(begin, begin + points, lanes):
                a, b = vector.load(x + at, lanes), vector.load(x + (at + half), lanes)
                u, v = vector.load(w + at, lanes), vector.load(w + (at + half), lanes)
                re, im = a * u - b * v, a * v + b * u
                for c in range(1, s.c_group):
                    p, q = x + (c * size + at), w + (c * size + at)
                    a, b = vector.load(p, lanes), vector.load(p + half, lanes)
                    u, v = vector.load(q, lanes), vector.load(q + half, lanes)
                    re, im = re + a * u - b * v, im + a * v + b * u
                vector.store(sums + at, re)
                vector.store(sums + (at + half), im)

    return compiled(multiply)


@lru_cache(maxsize=8)
def kernel(lanes: int, long: bool, paired: bool, dtype: str, isa: str) -> Kernel:
    """The compiled loops over chunks of pairs of blocks: f32_fft_avx512.

    `long` is for one axis. With `paired`, inputs are real, and the sides of a pair are two blocks; else they are the real and
    the imaginary part of one.
    """
    analyse, synthesise, multiply = analysis(lanes, long, dtype), synthesis(lanes, long, dtype), product(lanes)
    read_block, write_block = block_reader(lanes, long), block_writer(lanes, long, dtype)

    @compiled
    def blocks_of(s):
        """Blocks of an image."""
        along = blocks_along(s)
        return along.d * along.h * along.w

    @compiled
    def pairs_of(s):
        """Pairs of blocks of an image."""
        return -(-blocks_of(s) // 2) if paired else blocks_of(s)

    @compiled
    def chunk_of(item, s):
        """The pairs of an item."""
        rest, number = divmod(item, -(-pairs_of(s) // s.chunk))
        n, group = divmod(rest, s.groups)
        return Chunk(n, group, number * s.chunk, min(pairs_of(s), (number + 1) * s.chunk))

    @compiled
    def read_side(to, source, pair, side, s, border):
        """One side of a pair as a block; zeros where an odd last block has no other."""
        number = 2 * pair + side if paired else pair
        if number < blocks_of(s):
            read_block(to, source if paired else source + side, block_of(number, s), s, border)
            return
        a, b, m = s.form.shape
        for row in range(a * b):
            fill(to + row * s.form.pitch, 0, m, border.zero)

    @compiled
    def write_side(cells, to, pair, side, s, end):
        """The outputs of one side of a pair."""
        number = 2 * pair + side if paired else pair
        if number < blocks_of(s):
            write_block(cells, to if paired else to + side, block_of(number, s), s, end)

    @compiled
    def transform_inputs(x, chunk, work, s, tables, border):
        """X [pair][c] = F(blocks of x [c]) of the chunk's pairs."""
        size, cells = elements_of(s.form, lanes), Cells(work.re, work.im)
        for pair in range(chunk.begin, chunk.end):
            for c in range(s.c_group):
                source = x + (chunk.n * s.x.n + (chunk.group * s.c_group + c) * s.x.c)
                for side in range(2):
                    read_side(cells.im if side else cells.re, source, pair, side, s, border)
                analyse(cells, work.spectra + ((pair - chunk.begin) * s.c_group + c) * size, s.form, tables)

    def fft(begin, end, x, w, bias, residual, y, sizes, tables, parameters):
        """y [n, k] = act(bias [k] + F^-1(sum over c of F(x [n, c]) * W [k, c]))."""
        s, e = read(sizes), epilogue.epilogue(parameters, residual, y)
        parts, border = tables_in(tables, s.form), Border(s.mode, epilogue.padding_value(parameters), x.dtype.type(0))
        size, of_block = elements_of(s.form, lanes), cells_size(s.form, lanes)
        work, memory = carve(Parts(re=of_block, im=of_block, spectra=s.chunk * s.c_group * size, sums=size), x)
        cells = Cells(work.re, work.im)
        for item in range(begin, end):
            chunk = chunk_of(item, s)
            transform_inputs(pointer(x), chunk, work, s, parts, border)
            for k in range(chunk.group * s.k_group, (chunk.group + 1) * s.k_group):
                to = pointer(y) + (chunk.n * s.y.n + k * s.y.c)
                for pair in range(chunk.begin, chunk.end):
                    spectra = work.spectra + (pair - chunk.begin) * s.c_group * size
                    multiply(work.sums, spectra, pointer(w) + k * s.c_group * size, s)
                    synthesise(work.sums, cells, s.form, parts)
                    for side in range(2):
                        of_side = End(bias[k] if paired else bias[2 * k + side], e)
                        write_side(cells.im if side else cells.re, to, pair, side, s, of_side)
        keep(memory)

    fft.__name__ = f"{dtype}_fft_{isa}"
    return Kernel(fft)
