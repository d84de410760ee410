"""Convolutions without overlap, channels first: kernels of one tap, and transposed ones whose kernel is their stride.

    y [k][p] = act(bias [k] + sum over c of x [c][p] * w [c][k])

Vectors lie along the positions, which follow each other in x and in y alike: x is read where it lies, a vector of one channel
feeds every output channel of the tile, and nothing is turned. A panel of positions meets all output channels whose weights the
L2 cache holds before the next panel begins.

Positions that whole panels leave over are few at times, as of 7x7 maps: each is then a channel vector whose dot products with
the weights are summed, rather than a panel that is mostly empty.

A transposed convolution whose windows meet without overlap, as where a decoder doubles its maps, is the same for each row of
its kernel, over the output channels times the taps of the row; two taps are woven into one row of the output as it is stored,
and a panel then has positions of several rows.
"""

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import NO_WEIGHTS, Kernel, Launch, compiled, element
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import epilogue, packing
from fastconv.kernels.simd.engine.costs import CALL
from fastconv.kernels.simd.engine.lines import lines_of
from fastconv.kernels.simd.engine.tables import CONFLICT
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array, ConvGeometry, Size

peek, poke, pointer = vector.peek, vector.poke, vector.pointer


@lru_cache(maxsize=32)
def left_over(outputs: int, positions: int, lanes: int) -> Any:
    """The compiled sums of `count` positions, by dot products of `outputs` channels with all of `positions` at a time."""

    @compiled
    def sum_left_over(x, apart, count, w, c_group, bias, channels, y, plane, act, spare):
        """y[k * plane + p] for the channels from channels[0] to channels[1] - 1 of the channels[2] that the weights have.

        `spare` has room for positions * c_group elements, and for the sums before them.
        """
        found, rows = spare, spare + MOST_SUMS
        for p in range(positions):
            for c in range(c_group):
                poke(rows + (p * c_group + c), peek(x + (c * apart + min(p, count - 1))))
        whole = c_group - c_group % lanes
        for begun in range(channels[0], channels[1], outputs):
            k = min(begun, channels[2] - outputs)  # the last block may overlap the one before
            weights, sums = w + k * c_group, vector.zeros(x, outputs, positions, lanes)
            for c in range(0, whole, lanes):
                sums = vector.fma_dots(sums, weights + c, c_group, rows + c, c_group, lanes)
            if whole < c_group:
                sums = vector.fma_dots(sums, weights + whole, c_group, rows + whole, c_group, c_group - whole)
            vector.store_lane_sums(sums, found)
            for i in range(begun - k, min(outputs, channels[1] - k)):
                for p in range(count):
                    value = peek(found + (i * positions + p)) + peek(bias + (k + i))
                    epilogue.put(y + ((k + i) * plane + p), value, act)

    return sum_left_over


@lru_cache(maxsize=32)
def kernel(rows: int, columns: int, apart: int, ends: tuple[Size, Size], lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over panels of positions: f32_pointwise_8x3_s1_avx512.

    There are `apart` output columns for each of x, and positions that are left over go by tiles of `ends`.
    """
    activate_tile = epilogue.activation_of(dtype)
    sum_one, sum_some = (left_over(*tile, lanes) for tile in ends)
    width, of_block, ask_for = columns * lanes, rows // apart, packing.asker(1, columns, lanes)

    def pointwise(begin, end, x, w, bias, residual, y, sizes, parameters):
        act = epilogue.epilogue(parameters, residual, y)
        groups, c_group, k_group = packing.three(sizes, 0)
        depth, height, broad = packing.three(sizes, 3)
        taps_t, taps_r, part = packing.three(sizes, 6)
        copied, far, packed, extra = sizes[9] > 0, sizes[10] > 0, sizes[11] > 0, sizes[12]
        # Positions of several rows share a panel where rows are taken apart as they are stored.
        lines, length = (1, height * broad) if apart == 2 else (height, broad)
        k_blocks, panels = -(-k_group // of_block), -(-length // width)
        blocks = taps_t * taps_r * k_blocks
        parts = -(-blocks // part)
        plane_in, plane_out = depth * height * broad, depth * taps_t * height * taps_r * broad * apart
        memory = np.empty(c_group * width + 32 + max(rows, MOST_SUMS), x.dtype)
        starts, by_c = pointer(memory), rows if packed else 1
        spare = vector.line_start(starts + rows)
        for item in range(begin, end):
            rest, panel = divmod(item, panels)
            rest, h = divmod(rest, lines)
            rest, d = divmod(rest, depth)
            rest, share = divmod(rest, parts)
            n, group = divmod(rest, groups)
            first = panel * width
            count = min(width, length - first)
            source = pointer(x) + ((n * groups + group) * c_group * plane_in + (d * height + h) * broad + first)
            step = plane_in
            if apart == 1 and 0 < extra == count:
                channels = share * part * rows, min(k_group, (share + 1) * part * rows), k_group
                weights, of_group = pointer(w) + group * k_group * c_group, pointer(bias) + group * k_group
                to = pointer(y) + ((n * groups + group) * k_group * plane_out + first)
                if extra == 1:
                    sum_one(source, step, count, weights, c_group, of_group, channels, to, plane_out, act, starts)
                else:
                    sum_some(source, step, count, weights, c_group, of_group, channels, to, plane_out, act, starts)
                continue
            if copied or count < width:
                for c in range(c_group):
                    for j in range(columns):
                        cells = vector.load_first(source + (c * plane_in + j * lanes), count - j * lanes, lanes)
                        vector.store(spare + (c * width + j * lanes), cells)
                source, step = spare, width
            for block in range(share * part, min(blocks, (share + 1) * part)):
                line, k_block = divmod(block, k_blocks)
                t, r = divmod(line, taps_r)
                k = k_block * of_block
                shown = min(rows, (k_group - k) * apart)
                if packed:
                    weights = vector.rows_apart(pointer(w) + (group * blocks + block) * c_group * rows, 1, rows, rows)
                else:
                    weights = vector.rows_apart(pointer(w) + (group * k_group + k) * c_group, c_group, shown, rows)
                first_bias = pointer(bias) + (group * k_group + k)
                if apart == 2 or shown < rows:  # of the last block some may be no channel's, and none is stored
                    for i in range(shown):
                        poke(starts + i, peek(first_bias + i // apart))
                    first_bias = starts
                tile = vector.first_values(first_bias, rows, columns, lanes)
                if far and block == share * part:  # the next panel is on its way while this one is first read
                    for c in range(c_group):
                        ask_for(source + (c * step + width), 0)
                        tile = vector.fma_outer(tile, weights, c * by_c, source + c * step)
                else:
                    for c in range(c_group):
                        tile = vector.fma_outer(tile, weights, c * by_c, source + c * step)
                tile = activate_tile(tile, act)
                plane = pointer(y) + ((n * groups + group) * k_group + k) * plane_out
                if apart == 2:
                    done = 0
                    while done < count:
                        h, column = divmod(first + done, broad)
                        row = ((d * taps_t + t) * height + h) * taps_r + r
                        to, until = plane + (row * broad + column - done) * 2, min(count, done + broad - column)
                        vector.store_woven(tile, to, plane_out, shown, done, until)
                        if epilogue.is_unfinished(act):
                            for i in range(shown // 2):
                                epilogue.finish_run(to + (i * plane_out + 2 * done), 2 * (until - done), act)
                        done = until
                    continue
                row = ((d * taps_t + t) * height + h) * taps_r + r
                to = plane + (row * broad + first)
                if count == width and shown == rows:
                    vector.store_tile(tile, to, plane_out)
                else:
                    vector.store_spans(tile, to, plane_out, shown, count)
                if epilogue.is_unfinished(act):
                    for i in range(shown):
                        epilogue.finish_run(to + i * plane_out, count, act)
        memory[0] = 0  # pointers do not keep an array alive: its last use does

    pointwise.__name__ = f"{dtype}_pointwise_{rows}x{columns}_s{apart}_{isa}"
    return Kernel(pointwise)


# Decisions --------------------------------------------------------------------------------------------------------------


class Tile(NamedTuple):
    """A register tile: output channels x vectors of positions."""

    rows: int
    columns: int


# By the number of vector registers, which hold a tile's sums, the vectors of one input channel and a weight.
TILES = {32: (Tile(8, 3), Tile(12, 2), Tile(6, 4), Tile(4, 6), Tile(2, 8)), 16: (Tile(4, 3), Tile(6, 2), Tile(2, 4))}
WAYS = 8  # of a set of the L1 cache
# (output channels, positions) of the tiles for one position left over and for more, by the number of vector registers.
LEFT_OVER = {32: ((8, 1), (4, 4)), 16: ((6, 1), (4, 3))}
MOST_SUMS = 16  # of such a tile
BLOCKS_OF_PANEL = 16  # that read a panel: more, and it is copied, lest its channels' lines, far apart, leave the cache


def tile_for(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> tuple[float, Tile]:
    """(cycles of all tiles, the tile that takes the fewest)."""
    g, cut, lanes = geometry, lines_of(geometry), machine.lanes(dtype)
    apart, images = cut.taps[2], geometry.batch * geometry.groups

    def cycles(tile: Tile) -> float:
        extra = extras(g, tile, dtype, machine)
        panels = images * (cut.panels(tile.columns * lanes) - (extra > 0))
        tiles = panels * cut.taps[0] * cut.taps[1] * -(-g.out_per_group * apart // tile.rows)
        products, loads = tile.rows * tile.columns, 2 * tile.columns + tile.rows
        left = images * extra_cycles(g, extra, lanes, machine) if extra else 0.0
        return left + tiles * (g.in_per_group * max(products, loads) / machine.units + 3 * products + 30)

    return min((cycles(tile), tile) for tile in tiles_of(g, dtype, machine))


def extras(geometry: ConvGeometry, tile: Tile, dtype: np.dtype[Any], machine: Machine) -> int:
    """Positions that whole panels leave over, where they are few enough to go by dot products; else 0."""
    g, tiles = geometry, LEFT_OVER[machine.registers]
    left = prod(g.in_size) % (tile.columns * machine.lanes(dtype))
    few = not g.transposed and left <= tiles[1][1] and g.out_per_group >= tiles[0][0]
    return left if few else 0


def extra_cycles(geometry: ConvGeometry, extra: int, lanes: int, machine: Machine) -> float:
    """Of the dot products of one image."""
    outputs, positions = LEFT_OVER[machine.registers][extra > 1]
    products = max(outputs * positions / machine.units, outputs + positions)
    blocks = -(-geometry.out_per_group // outputs)
    return blocks * (-(-geometry.in_per_group // lanes) * products + 8 * outputs * positions) + 2 * geometry.in_per_group


def tiles_of(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> tuple[Tile, ...]:
    """Those whose rows of weights, where they are a multiple of CONFLICT apart, fit into one set of the L1 cache."""
    g, tiles = geometry, TILES[machine.registers]
    apart = g.in_per_group * dtype.itemsize
    return tiles if g.transposed or apart % CONFLICT else tuple(tile for tile in tiles if tile.rows <= WAYS)


# Plan -------------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def draft(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> tuple[Launch, int]:
    """(the launch without its weights, rows of its tiles)."""
    g, cut, lanes = geometry, lines_of(geometry), machine.lanes(dtype)
    apart, tap_lines, c_group = cut.taps[2], cut.taps[0] * cut.taps[1], g.in_per_group
    _, tile = tile_for(g, dtype, machine)
    rows, columns = tile
    blocks = tap_lines * -(-g.out_per_group * apart // rows)
    part = min(blocks, max(1, machine.l2 // 2 // dtype.itemsize // max(1, c_group * rows)))
    sizes = (
        *(g.groups, c_group, g.out_per_group),
        *cut[:3],
        *cut.taps[:2],
        part,
        int(part > BLOCKS_OF_PANEL),
        int(part <= BLOCKS_OF_PANEL and dtype.itemsize * prod(g.x_shape) > machine.l2),
        int(g.transposed),
        extras(g, tile, dtype, machine),
    )
    items = g.batch * g.groups * -(-blocks // max(1, part)) * cut.panels(columns * lanes)
    chosen = kernel(rows, columns, apart, LEFT_OVER[machine.registers], lanes, element(dtype), machine.isa)
    arguments = (np.array(sizes, np.int64), epilogue.scalars(g.activation, dtype))
    return Launch(chosen, items, g.flops // 16, NO_WEIGHTS, NO_WEIGHTS, arguments), rows


def pack(w: Array, bias: Array, geometry: ConvGeometry) -> tuple[Launch, ...]:
    """The weights themselves; of a transposed convolution [group][row of the kernel][block of channels and taps][c][rows]."""
    found, rows = draft(geometry, w.dtype, host())
    return (found.with_weights(pack_taps(w, geometry, rows) if geometry.transposed else w.reshape(-1), bias),)


def pack_taps(w: Array, geometry: ConvGeometry, rows: int) -> Array:
    """Flat; taps of a row go with the output channels, rows of the kernel before them."""
    g, (taps_t, taps_r, apart) = geometry, lines_of(geometry).taps
    of_line, tap_lines, c_group = g.out_per_group * apart, taps_t * taps_r, g.in_per_group
    blocks = -(-of_line // rows)
    turned = w.reshape(g.groups, c_group, g.out_per_group, tap_lines, apart).transpose(0, 3, 1, 2, 4)
    turned = turned.reshape(g.groups, tap_lines, c_group, of_line)
    packed = packing.aligned(turned.size // max(1, of_line) * blocks * rows, w.dtype)
    to = packed.reshape(g.groups, tap_lines, blocks, c_group, rows)
    for block in range(blocks):
        first, last = block * rows, min((block + 1) * rows, of_line)
        to[:, :, block, :, : last - first] = turned[..., first:last]
        to[:, :, block, :, last - first :] = 0
    return packed


def cost(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Of py."""
    return machine.seconds(CALL + tile_for(geometry, dtype, machine)[0], geometry.bytes(dtype.itemsize))
