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
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import epilogue, microkernel
from fastconv.kernels.simd.engine import windows as engine
from fastconv.kernels.simd.engine.costs import Candidate, lines_from_afar
from fastconv.kernels.simd.engine.sizes import Strides, written
from fastconv.kernels.simd.engine.walks import Walks, along, flattened, strides, tap_steps, walks_of, widened
from fastconv.kernels.simd.engine.weights import Draft, drafted
from fastconv.kernels.simd.engine.workspace import keep
from fastconv.kernels.simd.strassen.blocks import (
    IN_PLACE,
    PIXELS,
    PLANES,
    Arrays,
    Item,
    Parts,
    Sizes,
    block_of,
    carve,
    carve_tables,
    first_pixel,
    outputs_at,
    panel_step,
    placer,
    read,
    summer,
    table_size,
    tables_of,
)
from fastconv.kernels.simd.strassen.cuts import FROM_AFAR, Cut, fastest, in_place, outputs_of, pair_step, window_size
from fastconv.kernels.simd.strassen.products import A11, A12, A22, GROUP, PANELS, PARTIAL, seven_products
from fastconv.kernels.simd.strassen.weights import Channels, Layout, laid, panels_behind
from fastconv.machine import Machine
from fastconv.problem.convolutions import Array, ConvGeometry

pointer = vector.pointer


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


# Products ---------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def products(reads: str, rows: int, columns: int, lanes: int, dtype: str) -> Any:
    """The compiled seven products of some tiles of pairs and a block of output channels, with their four results."""
    width, pace, activate = columns * lanes, columns * lanes // GROUP, epilogue.activation_of(dtype)
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
        """tile [pair, k] += sum over l of A [pair, l] * B [l, k], of one panel of each; a part of the next one is asked for."""
        sources, weights = sources_of(panel, operands, index), operands.weights + panel * operands.weights_panel
        ahead = weights + (operands.weights_panel + index * operands.length * pace)
        for i in range(operands.length):
            vector.prefetch(ahead + i * pace)
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
            epilogue.finish_runs(y + k * s.y.c, s.y.h, block.outputs.h, block.outputs.w, e)


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
    total += FROM_AFAR * lines_from_afar(g, dtype, machine)
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
