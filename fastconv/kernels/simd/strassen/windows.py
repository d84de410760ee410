"""Strassen's algorithm for every geometry, by blocks of pairs of positions that follow each other.

    y [P, K] = act(bias [K] + windows [P, L] @ w [L, K])       P output positions, K output channels, L = taps * input channels

by halves of P, L and K, as products.py has them. Neighbouring positions are paired, and the first half of the input channels
with the second one.

    for block of output rows and columns:
      for pair of positions, for tap:
        seven panels [pair, L / 2] = sums of both pixels' halves
      for block of `columns` vectors of output channels, of each half:
        for tile of `rows` pairs:                               seven products, four results

Channels last, pixels are read where they lie: by one tap without padding, the panels of A11, A12 and A22 too; else those of
padding are pixels of their own. Channels first, a block is turned to pixels before it is summed, and its results back.
"""

from functools import lru_cache, partial
from math import inf, prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled, element, inlined
from fastconv.kernels.keeping import remembered
from fastconv.kernels.memory import LINE
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import epilogue, microkernel
from fastconv.kernels.simd.engine import windows as engine
from fastconv.kernels.simd.engine.costs import Candidate
from fastconv.kernels.simd.engine.sizes import Axes, Plane, Strides, reader, written
from fastconv.kernels.simd.engine.walks import Walks, along, flattened, strides, tap_steps, walks_of, widened
from fastconv.kernels.simd.engine.weights import Draft, drafted
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.kernels.simd.strassen.cuts import Cut, fastest, in_place, outputs_of, pair_step, window_size
from fastconv.kernels.simd.strassen.products import A11, A12, A22, GROUP, PANELS, PARTIAL, seven_products, sum_rows
from fastconv.kernels.simd.strassen.weights import Channels, Layout, laid, panels_behind
from fastconv.machine import Machine
from fastconv.problem.convolutions import Array, ConvGeometry

peek, poke, pointer, cell_under = vector.peek, vector.poke, vector.pointer, engine.cell_under
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


class Operands(NamedTuple):
    """What some tiles of pairs and a block of output channels multiply.

    Attributes
    ----------
    sums, panel, offsets : Pointer, int, Pointer
        The panels of A, elements from one to the next, and those from its first row to each pair's.
    pixels, half, firsts, seconds : Pointer, int, Pointer, Pointer
        Of pixels in place: the block's first one, channels of the first half, and elements to both pixels of each pair.
    weights, weights_panel, length : Pointer, int, int
        The panels of B, elements from one to the next, and rows of each.
    """

    sums: Any
    panel: int
    offsets: Any
    pixels: Any
    half: int
    firsts: Any
    seconds: Any
    weights: Any
    weights_panel: int
    length: int


class Results(NamedTuple):
    """Where the results of some tiles and a block of output channels go.

    Attributes
    ----------
    at, half : Pointer, int
        The block's first channel of output 0, and elements to that of the second half.
    offsets, apart : Pointer, int
        Elements from there to the first output of each pair; and in that table, from there to the second outputs.
    pairs, channels, of_half : int
        Pairs and channels from the first on that there are, and channels of a half.
    bias, factors : Pointer
        Of the block's first channel.
    epilogue : Epilogue
        What follows the sums.
    """

    at: Any
    half: int
    offsets: Any
    apart: int
    pairs: int
    channels: int
    of_half: int
    bias: Any
    factors: Any
    epilogue: Any


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


# Products ---------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def products(reads: str, rows: int, columns: int, lanes: int, dtype: str) -> Any:
    """The compiled seven products of some tiles of pairs and a block of output channels, with their four results."""
    width, activate = columns * lanes, epilogue.activation_of(dtype)
    store_tile = microkernel.store_of(rows, columns, lanes, True, dtype)

    def row_of_sums(panel, operands, index):
        """The rows of a panel that a tile multiplies."""
        return vector.rows_at(operands.sums + panel * operands.panel, operands.offsets + index * rows, rows)

    def row_of_pixels(panel, operands, index):
        """The same where A11, A12 and A22 are pixels."""
        at, table = operands.sums + panel * operands.panel, operands.offsets
        if panel == A11:
            at, table = operands.pixels, operands.firsts
        elif panel == A12:
            at, table = operands.pixels + operands.half, operands.firsts
        elif panel == A22:
            at, table = operands.pixels + operands.half, operands.seconds
        return vector.rows_at(at, table + index * rows, rows)

    sources_of = inlined(row_of_pixels if reads == IN_PLACE else row_of_sums)

    def multiply(tile, panel, operands, index):
        """tile [pair, k] += sum over l of A [pair, l] * B [l, k], of one panel of each."""
        sources, weights = sources_of(panel, operands, index), operands.weights + panel * operands.weights_panel
        for i in range(operands.length):
            tile = vector.fma_outer(tile, sources, i, weights + i * width)
        return tile

    def store_pixels(tile, to, act):
        """Channels last, the results themselves."""
        store_tile(tile, to, True, act, to.at)

    def store_planes(tile, to, act):
        """Channels first, pixels of the workspace, to which nothing is added there."""
        store_tile(activate(tile, act), to, False, act, to.at)

    store = inlined(store_planes if reads == PLANES else store_pixels)

    def finish(tile, second, half, results, index):
        """y = act(tile * factors + bias), of the pairs and channels that there are."""
        k = half * results.of_half
        channels, count = results.channels - k, min(rows, results.pairs - index * rows)
        if channels > 0:
            tile = vector.scaled_columns(tile, results.factors + k, results.bias + k)
            offsets = results.offsets + (second * results.apart + index * rows)
            to = microkernel.Outputs(results.at + half * results.half, offsets, 1, count, min(width, channels))
            store(tile, to, results.epilogue)

    return seven_products(rows, columns, lanes, inlined(multiply), inlined(finish))


@compiled
def results_size(s, width, lanes):
    """Elements of the results of one half as pixels. Some pixels behind the last one are read as they are turned."""
    return (s.block.h * s.block.w + lanes) * s.k_part * width


@compiled
def finish_planes(y, channels, block, s, e):
    """What is left to do for a block's outputs of some channels."""
    if epilogue.is_unfinished(e):
        for k in range(channels):
            for h in range(block.outputs.h):
                epilogue.finish_run(y + (k * s.y.c + h * s.y.h), block.outputs.w, e)


@lru_cache(maxsize=8)
def plane_writer(width: int, lanes: int) -> Any:
    """The compiled write_planes(y, results, item, s, e): a block's results, which are pixels, become planes of y."""
    unpack = engine.unpacker(lanes)

    def write_planes(y, results, item, s, e):
        block, pitch = item.block, s.k_part * width
        for half in range(2):
            k = (half * s.blocks + item.begin) * width
            channels = min((item.end - item.begin) * width, s.k_group - k)
            if channels > 0:
                at, source = outputs_at(y, block, s) + k * s.y.c, results + half * results_size(s, width, lanes)
                unpack(source, block.outputs.h, block.outputs.w, channels, pitch, at, s.y.h, s.y.c)
                finish_planes(at, channels, block, s, e)

    return compiled(write_planes)


@compiled
def write_nothing(y, results, item, s, e):
    """Channels last, tiles are stored where they belong."""


# Kernel -----------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def addresses(reads: str, rows: int, width: int, lanes: int, dtype: str) -> tuple[Any, Any]:
    """The compiled (operands_of, results_of): what tiles from the pair `first` on read and write, by a block k of channels."""
    panel_of = panel_step(dtype)

    def operands_of(arrays, item, k, first, work, tables, s):
        length = s.taps.d * s.taps.h * s.taps.w * s.half
        return Operands(
            sums=work.sums,
            panel=panel_of(s),
            offsets=tables.sums + first,
            pixels=first_pixel(arrays.x, item.block, s),
            half=s.half,
            firsts=tables.pixels + first,
            seconds=tables.pixels + (table_size(s, rows) + first),
            weights=arrays.w + (s.panels + (item.block.group * s.blocks + k) * PANELS * length * width),
            weights_panel=length * width,
            length=length,
        )

    @compiled
    def results_at(y, results, item, k, s):
        """(where the results of a block of channels go, elements to those of the second half)."""
        if reads == PLANES:
            return results + (k - item.begin) * width, results_size(s, width, lanes)
        return outputs_at(y, item.block, s) + k * width, s.blocks * width

    def results_of(arrays, item, k, first, work, tables, s, e):
        at, half = results_at(arrays.y, work.results, item, k, s)
        row = arrays.bias + (item.block.group * 2 * s.blocks + k) * width
        return Results(
            at=at,
            half=half,
            offsets=tables.results + first,
            apart=table_size(s, rows),
            pairs=item.block.pairs - first,
            channels=s.k_group - k * width,
            of_half=s.blocks * width,
            bias=row,
            factors=row + s.rows,
            epilogue=e,
        )

    return compiled(operands_of), compiled(results_of)


@lru_cache(maxsize=64)
def kernel(reads: str, rows: int, columns: int, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over blocks of pairs of positions: f32_strassen_5x4_avx512."""
    width, turned, panel_of = columns * lanes, reads == PLANES, panel_step(dtype)
    compute, sum_block = products(reads, rows, columns, lanes, dtype), summer(reads, lanes, dtype)
    place_pairs, fill = placer(reads, rows, width), engine.runs(lanes)[1]
    operands_of, results_of = addresses(reads, rows, width, lanes, dtype)
    write_planes = plane_writer(width, lanes) if turned else write_nothing

    @compiled
    def parts_of(s):
        """The workspace."""
        sums, results = PANELS * panel_of(s), 2 * results_size(s, width, lanes) if turned else 0
        return Parts(sums, partial=PARTIAL * rows * width, padding=s.c_group + lanes, windows=s.windows, results=results)

    @compiled
    def item_of(number, part, s):
        """The item of this block and part of the output channels."""
        return Item(block_of(number, s), part * s.k_part, min(s.blocks, (part + 1) * s.k_part))

    def strassen(begin, end, x, w, bias, residual, y, sizes, parameters):
        """y [P, K] = act(bias [K] + windows [P, L] @ w [L, K])."""
        s, e = read(sizes), epilogue.epilogue(parameters, residual, y)
        arrays, border = Arrays(pointer(x), pointer(w), pointer(bias), pointer(y)), epilogue.padding_value(parameters)
        work, memory = carve(parts_of(s), x)
        tables, integers = carve_tables(tables_of(s, rows, lanes), sizes)
        fill(work.padding, border, s.c_group)
        at_hand = -1
        for number in range(begin, end):
            block, part = divmod(number, -(-s.blocks // s.k_part))
            item = item_of(block, part, s)
            if block != at_hand:  # a block's items follow each other
                sum_block(arrays.x, item.block, work, tables.steps, s, border)
                place_pairs(item.block, tables, s)
                at_hand = block
            for k in range(item.begin, item.end):
                for first in range(0, item.block.pairs, GROUP * rows):
                    operands = operands_of(arrays, item, k, first, work, tables, s)
                    results = results_of(arrays, item, k, first, work, tables, s, e)
                    compute(min(GROUP, -(-results.pairs // rows)), operands, results, work.partial)
            write_planes(arrays.y, work.results, item, s, e)
        keep(memory)
        keep(integers)

    strassen.__name__ = f"{dtype}_strassen_{rows}x{columns}_{isa}"
    return Kernel(strassen)


# Plan -------------------------------------------------------------------------------------------------------------------


def suits(geometry: ConvGeometry) -> bool:
    """Whether the outputs of a walk follow each other in memory, by cells or by vectors of channels."""
    return not geometry.transposed or geometry.channels_last or geometry.stride[-1] == 1


def candidate(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> Candidate:
    """For each walk, the cut that takes the fewest cycles; of infinite cost where one has not the room."""
    g = flattened(geometry)
    best = [fastest(g, walks, dtype, machine) for walks in walks_of(g)]
    total, cuts = sum(28_000 + cycles for cycles, _ in best), tuple(cut for _, cut in best)
    seconds = inf if total == inf else machine.seconds(total, g.bytes(dtype.itemsize))
    return Candidate(seconds, cuts, partial(drafts, geometry, cuts, dtype, machine))


@remembered
def drafts(geometry: ConvGeometry, cuts: tuple[Cut, ...], dtype: np.dtype[Any], machine: Machine) -> tuple[Draft, ...]:
    """A draft for each walk of the geometry."""
    walks = walks_of(flattened(geometry))
    return tuple(draft(geometry, of_axes, cut, dtype, machine) for of_axes, cut in zip(walks, cuts, strict=True))


def draft(geometry: ConvGeometry, walks: Walks, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> Draft:
    """The draft of one walk."""
    g, lanes, outputs, taps = flattened(geometry), machine.lanes(dtype), outputs_of(walks), along(walks, "taps")
    channels = Channels(g.groups, cut.blocks, cut.columns * lanes, g.out_per_group, g.in_per_group)
    reads = PLANES if not g.channels_last else IN_PLACE if in_place(g, walks, cut.rows, dtype.itemsize) else PIXELS
    items = g.batch * g.groups * outputs.d * -(-cut.blocks // cut.k_part)
    items *= -(-outputs.h // max(1, cut.block.h)) * -(-outputs.w // max(1, cut.block.w))
    work = g.batch * prod(outputs) * g.out_channels * g.in_per_group * prod(taps) // 4
    sizes = sizes_of(g, walks, cut, channels, dtype, machine)
    arguments = written(sizes), epilogue.scalars(g.activation, dtype, g.border.value)
    chosen = kernel(reads, cut.rows, cut.columns, lanes, element(dtype), machine.isa)
    lay = partial(laid_walk, geometry, Layout(channels, taps, tap_steps(g, walks)), machine)
    return drafted(chosen, items, work, arguments, lay)


def sizes_of(
    geometry: ConvGeometry, walks: Walks, cut: Cut, channels: Channels, dtype: np.dtype[Any], machine: Machine
) -> Sizes:
    """What the kernel knows of one walk."""
    g, y = geometry, strides(geometry, geometry.out_channels, geometry.out_size)
    by_axis = tuple(zip(y[2:], walks, strict=True))
    d, h, w = (step * walk.step for step, walk in by_axis)
    return Sizes(
        x=strides(g, g.in_channels, g.in_size),
        y=Strides(y.n, y.c, d, h, w),
        y_first=sum(step * walk.first for step, walk in by_axis),
        outputs=outputs_of(walks),
        taps=along(walks, "taps"),
        cells=along(walks, "cells"),
        origin=along(walks, "origin"),
        stride=along(walks, "stride"),
        dilation=along(walks, "dilation"),
        groups=g.groups,
        c_group=g.in_per_group,
        half=-(-g.in_per_group // 2),
        k_group=g.out_per_group,
        block=cut.block,
        blocks=cut.blocks,
        k_part=cut.k_part,
        mode=g.mode,
        panels=panels_behind(channels, dtype),
        rows=channels.rows,
        pair_step=pair_step(g, walks, machine.lanes(dtype), dtype.itemsize),
        windows=window_size(g, walks, cut),
    )


def laid_walk(geometry: ConvGeometry, layout: Layout, machine: Machine, w: Array, bias: Array) -> tuple[Array, Array]:
    """The weights of one walk, and a bias for the channels that columns become."""
    return laid(layout, machine, w, widened(bias, geometry))
