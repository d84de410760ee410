"""Strassen's algorithm for kernels of one tap, channels first: x and y stay planes, and nothing is turned before it is summed.

    y [k][p] = act(bias [k] + sum over c of w [c][k] * x [c][p])

by halves of positions, input and output channels, as strassen_products.py has them. A register tile takes in `span` positions
and the `span` next to them, whose sums lie together for each panel:

    sums [tile][panel][c / 2][span]

Its vectors lie along positions, and weights are the values that multiply them; or along output channels, and positions are. The
first way stores rows as they are, the second turns them in registers, but wastes no part of a vector where maps are small. Of
transposed convolutions without overlap, two taps of a row are woven into one, as pointwise.py has them.
"""

from functools import lru_cache
from itertools import product
from math import inf, prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, Launch, compiled, element, inlined
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import epilogue, packing
from fastconv.kernels.simd.engine.lines import are_lines, lines_of
from fastconv.kernels.simd.strassen.products import (
    GROUP,
    ITEMS,
    PANELS,
    SPARE,
    WORKSPACE,
    half_of,
    seven_products,
    share_of,
    summed,
)
from fastconv.kernels.simd.strassen.weights import Draft, drafted, launched, places
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array, ConvGeometry

pointer = vector.pointer


@lru_cache(maxsize=32)
def kernel(along: str, rows: int, columns: int, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over blocks of tiles: f32_strassen_5x4_channels_avx512, vectors along output channels."""
    by_channels, doubled = along == "channels", along == "doubled"
    width = columns * lanes
    span, of_block = (rows, width) if by_channels else (width, rows)
    activate_tile, spread = epilogue.activation_of(dtype), summed(lanes, True)[0]

    def multiply(tile, panel, operands, index):
        sums, weights, half = operands
        sums = sums + index * PANELS * half * span
        positions, filters = sums + panel * half * span, weights + panel * half * of_block
        for c in range(half):
            if by_channels:
                tile = vector.fma_shared(tile, positions + c * span, filters + c * of_block)
            else:
                tile = vector.fma_shared(tile, filters + c * of_block, positions + c * span)
        return tile

    @compiled
    def pairs_of(first, plane):
        """The first and second positions of the tile that begins at `first`."""
        pairs = min(span, -(-(plane - first) // 2))
        return pairs, min(pairs, plane - first - pairs)

    @compiled
    def place(dh, lines):
        """The output row that row `dh` of the input, by depth and height, becomes at this tap."""
        _, height, taps_t, t, taps_r, r = lines
        d, h = divmod(dh, height)
        return ((d * taps_t + t) * height + h) * taps_r + r

    def finish(tile, second, half, results, index):
        y, first, plane, step, lines, shown, shown_half, bias, factors, of_half, act = results
        first = first + index * 2 * span
        pairs, seconds = pairs_of(first, plane)
        here, channels = seconds if second else pairs, min(of_block, shown_half if half else shown)
        if here <= 0 or channels <= 0:
            return
        ours, first = half * of_half, first + second * pairs
        if by_channels:
            tile = activate_tile(vector.scaled_columns(tile, factors + ours, bias + ours), act)
            vector.store_transposed(tile, y + (ours * step + first), step, here, channels)
        else:
            tile = activate_tile(vector.scaled_rows(tile, factors + ours, bias + ours), act)
            if doubled:  # two taps of a row are woven, row by row of the input
                done, broad, to = 0, lines[0], y + ours // 2 * step
                while done < here:
                    dh, column = divmod(first + done, broad)
                    at, until = to + (place(dh, lines) * broad + column - done) * 2, min(here, done + broad - column)
                    vector.store_woven(tile, at, step, channels, done, until)
                    if epilogue.is_unfinished(act):
                        for k in range(channels // 2):
                            epilogue.finish_run(at + (k * step + 2 * done), 2 * (until - done), act)
                    done = until
                return
            if here == width and channels == rows:
                vector.store_tile(tile, y + (ours * step + first), step)
            else:
                vector.store_spans(tile, y + (ours * step + first), step, channels, here)
        if epilogue.is_unfinished(act):
            for k in range(channels):
                epilogue.finish_run(y + ((ours + k) * step + first), here, act)

    compute = seven_products(rows, columns, lanes, inlined(multiply), inlined(finish))

    @compiled
    def sum_tile(x, plane, count, half, c_group, to):
        """The sums of `count` positions and those behind them, channel by channel."""
        pairs, seconds = count
        panel = half * span
        for c in range(half):
            there = half + c < c_group
            for i in range(0, span, lanes):
                first, second = x + (c * plane + i), x + (c * plane + pairs + i)
                firsts, here = pairs - i, seconds - i
                a11, a21 = vector.load_first(first, firsts, lanes), vector.load_first(second, here, lanes)
                a12 = vector.load_first(first + half * plane, firsts if there else 0, lanes)
                a22 = vector.load_first(second + half * plane, here if there else 0, lanes)
                spread(to + (c * span + i), panel, a11, a12, a21, a22, span - i)

    def strassen(begin, end, x, w, bias, residual, y, sizes, parameters):
        act = epilogue.epilogue(parameters, residual, y)
        (groups, c_group, k_group), plane = packing.three(sizes, 0), sizes[3]
        tiles, of_part, blocks, k_part, panels = packing.five(sizes, 4)
        factors, half = sizes[9], -(-c_group // 2)
        (broad, height, taps_t), (t, taps_r, r) = packing.three(sizes, 10), packing.three(sizes, 13)
        lines, apart = (broad, height, taps_t, t, taps_r, r), 2 if doubled else 1
        step = plane * taps_t * taps_r * apart
        parts, k_parts = -(-tiles // of_part), -(-blocks // k_part)
        size, of_tile = rows * width, PANELS * half * span
        memory = np.empty(of_part * of_tile + SPARE * size + 32, x.dtype)
        spare = vector.line_start(pointer(memory))
        sums = vector.line_start(spare + SPARE * size)
        summed_part = -1  # the items of one part follow each other
        for item in range(begin, end):
            part, k_item = divmod(item, k_parts)
            image, first_tile = divmod(part, parts)
            first_tile = first_tile * of_part
            group = image % groups
            tiles_here = min(of_part, tiles - first_tile)
            source = pointer(x) + image * c_group * plane
            for tile in range(tiles_here if part != summed_part else 0):
                first = (first_tile + tile) * 2 * span
                sum_tile(source + first, plane, pairs_of(first, plane), half, c_group, sums + tile * of_tile)
            summed_part = part
            of_half = blocks * of_block
            for k in range(k_item * k_part, min(blocks, (k_item + 1) * k_part)):
                weights = pointer(w) + (panels + (group * blocks + k) * PANELS * half * of_block)
                offset = pointer(bias) + (group * 2 * blocks + k) * of_block
                shown = k_group - k * of_block
                to = pointer(y) + (image * k_group + k * of_block) // apart * step
                for tile in range(0, tiles_here, GROUP):
                    first = (first_tile + tile) * 2 * span
                    results = to, first, plane, step, lines, shown, shown - of_half, offset, offset + factors, of_half, act
                    compute(min(GROUP, tiles_here - tile), (sums + tile * of_tile, weights, half), results, spare)
        memory[0] = 0  # pointers do not keep an array alive: its last use does

    strassen.__name__ = f"{dtype}_strassen_{rows}x{columns}_{along}_{isa}"
    return Kernel(strassen)


# Decisions --------------------------------------------------------------------------------------------------------------


class Cut(NamedTuple):
    """A register tile and its direction, tiles of a part, blocks of output channels of a half, and of those an item's."""

    along: str
    rows: int
    columns: int
    of_part: int
    blocks: int
    k_part: int


TILES = {
    32: (*(("channels", *tile) for tile in ((5, 4), (5, 5), (7, 3), (14, 2))), ("positions", 8, 3)),
    16: (("channels", 6, 2), ("positions", 6, 2)),
}
DOUBLED = {32: (("doubled", 8, 3),), 16: (("doubled", 6, 2),)}


def suits(geometry: ConvGeometry) -> bool:
    """Whether every position is its own window, channels first, or becomes two that no other does."""
    return are_lines(geometry) and lines_of(geometry).taps[2] == (2 if geometry.transposed else 1)


@lru_cache(maxsize=1024)
def choice(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> tuple[float, Cut | None]:
    """(seconds that it is expected to take, the cut that takes the fewest); no cut where none has the room."""
    g, lanes, found, taps = geometry, machine.lanes(dtype), [], lines_of(geometry).taps
    half, plane, images = -(-g.in_per_group // 2), prod(g.in_size), g.batch * g.groups
    for along, rows, columns in (DOUBLED if g.transposed else TILES)[machine.registers]:
        span, of_block = (rows, columns * lanes) if along == "channels" else (columns * lanes, rows)
        tiles, blocks = -(-plane // (2 * span)), half_of(g.out_per_group * taps[2], of_block)
        of_tile = PANELS * half * span * dtype.itemsize
        of_part = min(tiles, max(1, machine.l2 // of_tile), share_of(tiles, images * blocks, GROUP))
        of_part = -(-tiles // max(1, -(-tiles // max(1, of_part))))
        parts = images * -(-tiles // max(1, of_part))
        if of_part * of_tile <= WORKSPACE:
            cut = Cut(along, rows, columns, of_part, blocks, -(-blocks // max(1, min(blocks, -(-ITEMS // max(1, parts))))))
            cycles = taps[0] * taps[1] * (28_000 + images * tiles * cycles_of(g, cut, lanes, machine))
            found.append((machine.seconds(cycles, g.bytes(dtype.itemsize)), cut))
    return min(found, default=(inf, None))


def cycles_of(geometry: ConvGeometry, cut: Cut, lanes: int, machine: Machine) -> float:
    """Of one tile of positions: its products, its ends, turned in registers or not, and its sums."""
    half, size = -(-geometry.in_per_group // 2), cut.rows * cut.columns
    vectors = 1 if cut.along == "channels" else cut.columns
    ends = 50 + {"channels": 22, "positions": 14, "doubled": 80}[cut.along] * size
    return cut.blocks * (1.01 * PANELS * half * max(size, 8) / machine.units + ends) + 30 * half * vectors


# Plan -------------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def drafts(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> tuple[Draft, ...]:
    """A draft for each row of the kernel."""
    g, (_, height, broad, taps) = geometry, lines_of(geometry)
    cut, lanes, names = choice(g, dtype, machine)[1], machine.lanes(dtype), (element(dtype), machine.isa)
    assert cut is not None, "supports() tells"
    span, of_block = (cut.rows, cut.columns * lanes) if cut.along == "channels" else (cut.columns * lanes, cut.rows)
    plane, k_group, c_group = prod(g.in_size), g.out_per_group * taps[2], g.in_per_group
    by_k, by_c = (1, k_group) if g.transposed else (c_group, 1)
    rows, tiles = g.groups * 2 * cut.blocks * of_block, -(-plane // (2 * span))
    items = g.batch * g.groups * -(-tiles // max(1, cut.of_part)) * -(-cut.blocks // cut.k_part)
    chosen, work = kernel(cut.along, cut.rows, cut.columns, lanes, *names), g.flops // (8 * taps[0] * taps[1])
    found = []
    for t, r in product(range(taps[0]), range(taps[1])):
        sizes = (
            *(g.groups, c_group, k_group, plane, tiles, cut.of_part, cut.blocks, cut.k_part, places(rows, dtype)[1], rows),
            *(broad, height, taps[0], t, taps[1], r),
        )
        bare = chosen, items, work, (np.array(sizes, np.int64), epilogue.scalars(g.activation, dtype))
        of_group, steps = (cut.blocks, of_block, k_group, c_group), (k_group * c_group, by_k, by_c, 1, 1, 1, 0)
        found.append(drafted(bare, g.groups, of_group, (1, 1, 1), steps, dtype, (lanes, *names)))
    return tuple(found)


def pack(w: Array, bias: Array, geometry: ConvGeometry) -> tuple[Launch, ...]:
    """A launch for each row of the kernel: bias, factors and seven panels a block, as strassen_weights.py has them."""
    g, found, lines = geometry, drafts(geometry, w.dtype, host()), [w]
    if g.transposed:  # two taps of a row are output channels, rows of the kernel before them
        apart = lines_of(g).taps[2]
        lines = list(w.reshape(-1, g.out_per_group, len(found), apart).transpose(2, 0, 1, 3))
        bias = np.repeat(bias, apart)
    return tuple(launched(one, np.ascontiguousarray(line), bias) for one, line in zip(found, lines, strict=True))
