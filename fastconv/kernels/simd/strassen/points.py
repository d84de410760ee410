"""Strassen's algorithm for kernels of one tap, channels first: x and y stay planes, and nothing is turned before it is summed.

    y [k][p] = act(bias [k] + sum over c of w [c][k] * x [c][p])

by halves of positions, input and output channels, as products.py has them. A register tile reads `span` positions and the
`span` behind them; the sums of both follow each other for each panel:

    sums [tile][panel][c / 2][span]

Its vectors lie along positions, and weights are the values that multiply them; or along output channels, and positions are. The
first way stores rows as they are, the second turns them in registers, but wastes no part of a vector where maps are small. Of
transposed convolutions without overlap, two taps of a row are woven into one, as pointwise.py has them.
"""

from collections.abc import Iterator
from functools import lru_cache, partial
from itertools import product
from math import inf, prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled, element
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import epilogue
from fastconv.kernels.simd.engine.costs import Candidate, lines_from_afar
from fastconv.kernels.simd.engine.lines import are_lines, lines_of
from fastconv.kernels.simd.engine.sizes import Axes, written
from fastconv.kernels.simd.engine.tables import TILES
from fastconv.kernels.simd.engine.walks import TapSteps
from fastconv.kernels.simd.engine.weights import Draft, drafted
from fastconv.kernels.simd.engine.workspace import keep
from fastconv.kernels.simd.strassen.cuts import FROM_AFAR, spilled
from fastconv.kernels.simd.strassen.products import GROUP, ITEMS, PANELS, PARTIAL, WORKSPACE, half_of, share_of
from fastconv.kernels.simd.strassen.steps import Operands, Part, Parts, Results, Sizes, Weave, carve, products, read, summer
from fastconv.kernels.simd.strassen.weights import Channels, Layout, laid, panels_behind
from fastconv.machine import Machine
from fastconv.problem.convolutions import Array, ConvGeometry

pointer = vector.pointer


# Kernel -----------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=32)
def kernel(along: str, rows: int, columns: int, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over parts of images: f32_strassen_5x4_channels_avx512, vectors along output channels."""
    width, woven = columns * lanes, 2 if along == "doubled" else 1
    span, of_block = (rows, width) if along == "channels" else (width, rows)
    compute, sum_part = products(along, rows, columns, lanes, dtype), summer(span, lanes)

    @compiled
    def part_of(number, s):
        """The part of this number."""
        image, part = divmod(number, -(-s.tiles // s.part))
        return Part(image, image % s.groups, part * s.part, min(s.part, s.tiles - part * s.part))

    @compiled
    def operands_of(sums, w, part, k, tile, s):
        """The panels of the tiles from `tile` on, and of a block of weights."""
        block = part.group * s.blocks + k
        weights = w + (s.panels + block * PANELS * s.half * of_block)
        return Operands(sums + tile * PANELS * s.half * span, weights, s.half)

    @compiled
    def results_of(y, bias, part, k, tile, s, e):
        """Where the results of those tiles and that block go."""
        step = s.plane * s.weave.taps.d * s.weave.taps.h * woven
        at = y + (part.image * s.k_group + k * of_block) // woven * step
        row = bias + (part.group * 2 * s.blocks + k) * of_block
        channels, of_half = s.k_group - k * of_block, s.blocks * of_block
        first = (part.first + tile) * 2 * span
        return Results(at, first, s.plane, step, channels, of_half, row, row + s.rows, s.weave, e)

    def strassen(begin, end, x, w, bias, residual, y, sizes, parameters):
        """y [k][p] = act(bias [k] + sum over c of w [c][k] * x [c][p])."""
        s, e = read(sizes), epilogue.epilogue(parameters, residual, y)
        k_parts = -(-s.blocks // s.k_part)
        work, memory = carve(Parts(partial=PARTIAL * rows * width, sums=s.part * PANELS * s.half * span), x)
        at_hand = -1
        for item in range(begin, end):
            number, k_item = divmod(item, k_parts)
            part = part_of(number, s)
            if number != at_hand:  # a part's items follow each other
                sum_part(pointer(x), part, work.sums, s)
                at_hand = number
            for k in range(k_item * s.k_part, min(s.blocks, (k_item + 1) * s.k_part)):
                for tile in range(0, part.tiles, GROUP):
                    operands = operands_of(work.sums, pointer(w), part, k, tile, s)
                    results = results_of(pointer(y), pointer(bias), part, k, tile, s, e)
                    compute(min(GROUP, part.tiles - tile), operands, results, work.partial)  # seven products, four results
        keep(memory)

    strassen.__name__ = f"{dtype}_strassen_{rows}x{columns}_{along}_{isa}"
    return Kernel(strassen)


# Decisions --------------------------------------------------------------------------------------------------------------

ENDS = {"channels": 22, "positions": 14, "doubled": 80}  # cycles of storing a vector, by what lies along the rows of a tile
SUMS = 30  # cycles of a pair's seven sums of a channel


class Cut(NamedTuple):
    """A register tile and its direction, tiles of a part, blocks of output channels of a half, and of those an item's."""

    along: str
    rows: int
    columns: int
    part: int
    blocks: int
    k_part: int


def tiles_of(geometry: ConvGeometry, machine: Machine) -> Iterator[tuple[str, int, int]]:
    """(what lies along the rows of a tile, rows, vectors of a row) of every tile."""
    of = TILES[machine.isa]
    if geometry.transposed:
        yield from (("doubled", *tile) for tile in of.strassen_doubled)
    else:
        yield from (("channels", *tile) for tile in of.strassen_channels)
        yield from (("positions", *tile) for tile in of.strassen_positions)


def suits(geometry: ConvGeometry) -> bool:
    """Whether every position is its own window, channels first, or becomes two that no other does."""
    return are_lines(geometry) and lines_of(geometry).taps[2] == (2 if geometry.transposed else 1)


def tile_sizes(along: str, rows: int, columns: int, lanes: int) -> tuple[int, int]:
    """(positions, rows of weights) of a register tile."""
    return (rows, columns * lanes) if along == "channels" else (columns * lanes, rows)


@remembered
def fastest(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> tuple[float, Cut | None]:
    """(seconds that it is expected to take, the cut that takes the fewest); no cut where none has the room."""
    g, lanes, taps = geometry, machine.lanes(dtype), lines_of(geometry).taps
    half, plane, images = -(-g.in_per_group // 2), prod(g.in_size), g.batch * g.groups
    cuts = []
    for along, rows, columns in tiles_of(g, machine):
        span, of_block = tile_sizes(along, rows, columns, lanes)
        tiles, blocks = -(-plane // (2 * span)), half_of(g.out_per_group * taps[2], of_block)
        of_tile = PANELS * half * span * dtype.itemsize
        part = min(tiles, max(1, machine.l2 // of_tile), share_of(tiles, images * blocks, GROUP))
        part = -(-tiles // max(1, -(-tiles // max(1, part))))
        parts = images * -(-tiles // max(1, part))
        if part * of_tile <= WORKSPACE:
            cut = Cut(along, rows, columns, part, blocks, -(-blocks // max(1, min(blocks, -(-ITEMS // max(1, parts))))))
            weights = PANELS * half * blocks * of_block * dtype.itemsize
            cycles = 28_000 + images * tiles * cycles_of(g, cut, lanes, machine) + parts * spilled(weights, 0, 0, machine)
            cycles = cycles * taps[0] * taps[1] + FROM_AFAR * lines_from_afar(g, dtype, machine)
            cuts.append((machine.seconds(cycles, g.bytes(dtype.itemsize)), cut))
    return min(cuts, default=(inf, None))


def cycles_of(geometry: ConvGeometry, cut: Cut, lanes: int, machine: Machine) -> float:
    """Of one tile of positions: its products, its ends, turned in registers or not, and its sums."""
    half, size = -(-geometry.in_per_group // 2), cut.rows * cut.columns
    vectors = 1 if cut.along == "channels" else cut.columns
    ends = 50 + ENDS[cut.along] * size
    return cut.blocks * (1.01 * PANELS * half * max(size, 8) / machine.units + ends) + SUMS * half * vectors


def least(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Seconds that no cut is below: of whole halves in whole tiles, which end as the cheapest do."""
    g, lanes, taps = geometry, machine.lanes(dtype), lines_of(geometry).taps
    half, pairs = -(-g.in_per_group // 2), prod(g.in_size) / 2
    products = PANELS * half / machine.units + min(ENDS.values())  # of a pair and a vector of channels
    sums = SUMS * half / max(lanes, *(rows for _, rows, _ in tiles_of(g, machine)))  # of a pair
    cycles = 28_000 + g.batch * g.groups * pairs * (g.out_per_group * taps[2] / (2 * lanes) * products + sums)
    return machine.seconds(cycles * taps[0] * taps[1], g.bytes(dtype.itemsize))


def candidate(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> Candidate:
    """The cut that takes the fewest cycles."""
    seconds, cut = fastest(geometry, dtype, machine)
    return Candidate(seconds, cut, partial(drafts, geometry, cut, dtype, machine))


# Plan -------------------------------------------------------------------------------------------------------------------


@remembered
def drafts(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> tuple[Draft, ...]:
    """A draft for each row of the kernel: one of a convolution, and of a transposed one as many as it has lines."""
    g, lines = geometry, lines_of(geometry)
    lanes, taps = machine.lanes(dtype), lines.taps
    span, of_block = tile_sizes(cut.along, cut.rows, cut.columns, lanes)
    channels = Channels(g.groups, cut.blocks, of_block, g.out_per_group * taps[2], g.in_per_group)
    tiles = -(-prod(g.in_size) // (2 * span))
    items = g.batch * g.groups * -(-tiles // max(1, cut.part)) * -(-cut.blocks // cut.k_part)
    chosen = kernel(cut.along, cut.rows, cut.columns, lanes, element(dtype), machine.isa)
    rows = []
    for number, (t, r) in enumerate(product(range(taps[0]), range(taps[1]))):
        sizes = sizes_of(g, cut, channels, tiles, Weave(lines.height, lines.width, Axes(*taps), Axes(t, r, 0)), dtype)
        arguments = written(sizes), epilogue.scalars(g.activation, dtype)
        lay = partial(laid_line, g, Layout(channels, Axes(1, 1, 1), steps_of(g, channels)), number, machine)
        rows.append(drafted(chosen, items, g.flops // (8 * taps[0] * taps[1]), arguments, lay))
    return tuple(rows)


def sizes_of(geometry: ConvGeometry, cut: Cut, channels: Channels, tiles: int, weave: Weave, dtype: np.dtype[Any]) -> Sizes:
    """What the kernel knows."""
    return Sizes(
        groups=channels.groups,
        c_group=channels.c_group,
        half=-(-channels.c_group // 2),
        k_group=channels.k_group,
        plane=prod(geometry.in_size),
        tiles=tiles,
        part=cut.part,
        blocks=cut.blocks,
        k_part=cut.k_part,
        panels=panels_behind(channels, dtype),
        rows=channels.rows,
        weave=weave,
    )


def steps_of(geometry: ConvGeometry, channels: Channels) -> TapSteps:
    """The steps of the weights of one row of the kernel."""
    k_group, c_group = channels.k_group, channels.c_group
    by_k, by_c = (1, k_group) if geometry.transposed else (c_group, 1)
    return TapSteps(k_group * c_group, by_k, by_c, 1, 1, 1, 0)


def laid_line(
    geometry: ConvGeometry, layout: Layout, number: int, machine: Machine, w: Array, bias: Array
) -> tuple[Array, Array]:
    """The weights of one row of the kernel: two taps of a transposed one are output channels."""
    if geometry.transposed:
        columns = lines_of(geometry).taps[2]
        w = w.reshape(-1, geometry.out_per_group, geometry.taps // columns, columns)[:, :, number]
        bias = np.repeat(bias, columns)
    return laid(layout, machine, np.ascontiguousarray(w), bias)
