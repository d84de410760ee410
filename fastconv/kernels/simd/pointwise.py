"""Convolutions without overlap, channels first: kernels of one tap, and transposed ones whose kernel is their stride.

    y [k][p] = act(bias [k] + sum over c of x [c][p] * w [c][k])

Vectors lie along the positions, which follow each other in x and in y alike: x is read where it lies, a vector of one channel
feeds every output channel of the tile, and nothing is turned. A panel of positions meets all output channels whose weights the
L2 cache holds before the next panel begins.

A transposed convolution whose windows meet without overlap, as where a decoder doubles its maps, is the same for each row of
its kernel, over the output channels times the taps of the row; two taps are woven into one row of the output as it is stored,
and a panel then has positions of several rows.
"""

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.geometry import Array, ConvGeometry
from fastconv.kernels.activations import codes
from fastconv.kernels.jit import Kernel, Launch, element
from fastconv.kernels.simd import microkernel, packing, vector
from fastconv.machine import Machine, host

pointer = vector.pointer


@lru_cache(maxsize=32)
def kernel(rows: int, columns: int, apart: int, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over panels of positions: f32_pointwise_8x3_s1_avx512; `apart` output columns for each of x."""
    activate_tile = microkernel.tile_activation(dtype)
    width, of_block, ask_for = columns * lanes, rows // apart, packing.asker(1, columns, lanes)

    def pointwise(begin, end, x, w, bias, y, sizes, act):
        groups, c_group, k_group = packing.three(sizes, 0)
        depth, height, broad = packing.three(sizes, 3)
        taps_t, taps_r, part = packing.three(sizes, 6)
        copied, far = sizes[9] > 0, sizes[11] > 0
        # Positions of several rows share a panel where rows are taken apart as they are stored.
        lines, length = (1, height * broad) if apart == 2 else (height, broad)
        k_blocks, panels = -(-k_group // of_block), -(-length // width)
        blocks = taps_t * taps_r * k_blocks
        parts = -(-blocks // part)
        plane_in, plane_out = depth * height * broad, depth * taps_t * height * taps_r * broad * apart
        memory = np.empty(c_group * width + 32, x.dtype)
        spare = vector.line_start(pointer(memory))
        packed = pointer(w) + sizes[10]
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
                weights = packed + (group * blocks + block) * c_group * rows
                tile = vector.first_values(pointer(bias) + (group * k_blocks + k_block) * rows, rows, columns, lanes)
                if far and block == share * part:  # the next panel is on its way while this one is first read
                    for c in range(c_group):
                        ask_for(source + (c * step + width), 0)
                        tile = vector.fma_shared(tile, weights + c * rows, source + c * step)
                else:
                    for c in range(c_group):
                        tile = vector.fma_shared(tile, weights + c * rows, source + c * step)
                tile = activate_tile(tile, act)
                plane = pointer(y) + ((n * groups + group) * k_group + k) * plane_out
                shown = min(rows, (k_group - k) * apart)
                if apart == 2:
                    done = 0
                    while done < count:
                        h, column = divmod(first + done, broad)
                        row = ((d * taps_t + t) * height + h) * taps_r + r
                        to, until = plane + (row * broad + column - done) * 2, min(count, done + broad - column)
                        vector.store_woven(tile, to, plane_out, shown, done, until)
                        if act[0] == 3:
                            for i in range(shown // 2):
                                microkernel.silu_run(to + (i * plane_out + 2 * done), 2 * (until - done))
                        done = until
                    continue
                row = ((d * taps_t + t) * height + h) * taps_r + r
                to = plane + (row * broad + first)
                if count == width and shown == rows:
                    vector.store_tile(tile, to, plane_out)
                else:
                    vector.store_spans(tile, to, plane_out, shown, count)
                if act[0] == 3:
                    for i in range(shown):
                        microkernel.silu_run(to + i * plane_out, count)
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
SQUARE = 4  # weights that are turned together along either axis: rows of a tile are seldom a multiple of more
BLOCKS_OF_PANEL = 16  # that read a panel: more, and it is copied, lest its channels' lines, far apart, leave the cache


class Lines(NamedTuple):
    """The positions as lines, and what each of them becomes.

    Attributes
    ----------
    depth, height, width : int
        Lines of the input by depth and height, and positions of a line.
    taps : tuple of int
        Output lines of each by depth and height, and output columns of each position.
    """

    depth: int
    height: int
    width: int
    taps: tuple[int, int, int]

    def panels(self, width: int) -> int:
        """Panels of `width` positions; those of several lines share one where columns are woven."""
        if self.taps[2] == 2:
            return self.depth * -(-self.height * self.width // width)
        return self.depth * self.height * -(-self.width // width)


def lines(geometry: ConvGeometry) -> Lines:
    """All positions as one line, or those of a row where they are spread over several."""
    g = geometry.lifted()
    if g.taps == 1:
        return Lines(1, 1, prod(g.in_size), (1, 1, 1))
    depth, height, width = g.in_size
    return Lines(depth, height, width, (g.kernel[0], g.kernel[1], g.kernel[2]))


def suits(geometry: ConvGeometry) -> bool:
    """Whether each output meets one position of the input, and vectors of positions lie in memory as they do in registers."""
    g = geometry
    if g.channels_last or any(any(pair) for pair in g.padding) or any(g.output_padding):
        return False
    if not g.transposed:
        return g.taps == 1 and all(step == 1 for step in g.stride)
    plain = all(spread == 1 or taps == 1 for spread, taps in zip(g.dilation, g.kernel, strict=True))
    return plain and g.kernel == g.stride and g.kernel[-1] <= 2


def tile_for(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> tuple[float, Tile]:
    """(cycles of all tiles, the tile that takes the fewest)."""
    g, cut, lanes = geometry, lines(geometry), machine.lanes(dtype)
    apart, images = cut.taps[2], geometry.batch * geometry.groups

    def cycles(tile: Tile) -> float:
        panels = images * cut.panels(tile.columns * lanes)
        tiles = panels * cut.taps[0] * cut.taps[1] * -(-g.out_per_group * apart // tile.rows)
        products, loads = tile.rows * tile.columns, 2 * tile.columns + tile.rows
        return tiles * (g.in_per_group * max(products, loads) / machine.units + 3 * products + 30)

    return min((cycles(tile), tile) for tile in TILES[machine.registers])


# Plan -------------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def draft(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> packing.Draft:
    """Everything but the weights, which lie as [group][row of the kernel][block of output channels and taps][c][rows]."""
    g, cut, lanes = geometry, lines(geometry), machine.lanes(dtype)
    apart, tap_lines, k_group, c_group = cut.taps[2], cut.taps[0] * cut.taps[1], g.out_per_group, g.in_per_group
    _, (rows, columns) = tile_for(g, dtype, machine)
    blocks = -(-k_group * apart // rows)
    part = min(tap_lines * blocks, max(1, machine.l2 // 2 // dtype.itemsize // max(1, c_group * rows)))
    sizes = (
        g.groups,
        c_group,
        k_group,
        *cut[:3],
        *cut.taps[:2],
        part,
        int(part > BLOCKS_OF_PANEL),
        packing.whole_lines(g.groups * blocks * rows, dtype),
        int(part <= BLOCKS_OF_PANEL and dtype.itemsize * prod(g.x_shape) > machine.l2),
    )
    shares = -(-tap_lines * blocks // max(1, part))
    by_k, by_c = (1, k_group) if g.transposed else (c_group, 1)
    steps = k_group * c_group, by_k, by_c, 1, 1, 1, 0
    return packing.Draft(
        kernel(rows, columns, apart, lanes, element(dtype), machine.isa),
        g.batch * g.groups * shares * cut.panels(columns * lanes),
        g.flops // 16,
        (np.array(sizes, np.int64), codes(g.activation, dtype)),
        packing.weight_packer(min(lanes, SQUARE), element(dtype), machine.isa),
        g.groups * blocks,
        g.groups * blocks * rows,
        g.groups * tap_lines * blocks * c_group * rows,
        np.array((blocks, rows, k_group, c_group, c_group, 1, 1, 1, *steps, sizes[-2]), np.int64),
    )


def pack(w: Array, bias: Array, geometry: ConvGeometry) -> tuple[Launch, ...]:
    """The draft with its weights and a bias for every row of a tile."""
    g, found = geometry, draft(geometry, w.dtype, host())
    if g.taps == 1:
        return (packing.launched(found, w, bias),)
    taps_t, taps_r, apart = lines(g).taps
    blocks, rows = int(found.weight_sizes[0]), int(found.weight_sizes[1])
    of_line, tap_lines, c_group = g.out_per_group * apart, taps_t * taps_r, g.in_per_group
    # Taps of a row go with the output channels, rows of the kernel before them.
    turned = w.reshape(g.groups, c_group, g.out_per_group, tap_lines, apart).transpose(0, 3, 1, 2, 4)
    turned = turned.reshape(g.groups, tap_lines, c_group, of_line)
    begun = packing.whole_lines(found.rows, w.dtype)
    packed = packing.aligned(begun + found.weights, w.dtype)
    to = packed[begun:].reshape(g.groups, tap_lines, blocks, c_group, rows)
    for block in range(blocks):
        first, last = block * rows, min((block + 1) * rows, of_line)
        to[:, :, block, :, : last - first] = turned[..., first:last]
        to[:, :, block, :, last - first :] = 0
    filled = packed[: found.rows].reshape(g.groups, blocks * rows)
    filled[:, :of_line], filled[:, of_line:] = np.repeat(bias, apart).reshape(g.groups, of_line), 0
    return (Launch(found.kernel, found.items, found.work, packed, packed[: found.rows], found.arguments),)
