"""Winograd convolution by 3x3 kernels of stride 1: tiles of m x m outputs from (m + 2)**2 products a channel.

    V [P][t, c] = B^T x[t] B        for each tile t of (m + 2) x (m + 2) inputs; P = (m + 2)**2 planes
    M [P][t, k] = V[P] @ U[P]       one matrix product a plane, with U = G w G^T made once a plan
    y [t]       = act(A^T M[t] A + bias)

The direct sum takes 9 m**2 products where this takes (m + 2)**2: 4 times as many for m = 4, 2.25 times for m = 2. Lavin and
Gray, Fast Algorithms for Convolutional Neural Networks (2016), section 4; transforms.py has B, G and A.

Tiles are taken in blocks whose V and M stay in the L2 cache. The planes lie one cache line more than a block apart: without it
they fall into the same cache sets, and the transforms wait for memory.

A NaN or inf in x spreads to the whole tile of m x m outputs, of all output channels, whose input holds it.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from fastconv.geometry import Array, ConvGeometry
from fastconv.kernels.activations import codes
from fastconv.kernels.jit import Kernel, Launch, compiled, element
from fastconv.kernels.simd import microkernel, packing, vector
from fastconv.kernels.simd.conv import strides, tile_for
from fastconv.kernels.simd.transforms import KERNEL, input_transform, output_transform, weight_transform
from fastconv.machine import Machine, host

peek, poke, pointer = vector.peek, vector.poke, vector.pointer
FEW = 4  # items below which blocks are shared out further


# The loop nest ----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=32)
def kernel(m: int, rows: int, columns: int, lanes: int, channels_last: bool, dtype: str, isa: str) -> Kernel:
    """The compiled loops over blocks of tiles: f32_winograd_4x4_14x2_avx512."""
    n, width = m + KERNEL - 1, columns * lanes
    planes = n * n
    to_planes, to_outputs = input_transform(m, lanes, dtype), output_transform(m, lanes, dtype)
    pack_windows, unpack = packing.window_packer(lanes, channels_last), packing.unpacker(lanes)
    line = packing.LINE // (4 if dtype == "f32" else 8)

    @compiled
    def multiply(tiles, channels, v, v_step, v_offsets, u, blocks, products, m_step):
        """products[tiles, blocks * width] = v[tiles, channels] @ u[blocks][channels, width]; whole tiles of rows"""
        for block in range(blocks):
            weights = u + block * channels * width
            for first in range(0, tiles, rows):
                tile = vector.zeros(v, rows, columns, lanes)
                sources = vector.rows_at(v + first * v_step, v_offsets, rows)
                for c in range(channels):
                    tile = vector.fma_outer(tile, sources, c, weights + c * width)
                vector.store_tile(tile, products + (first * m_step + block * width), m_step)

    def winograd(begin, end, x, u, bias, y, sizes, act):
        xs, ys = packing.five(sizes, 0), packing.five(sizes, 5)
        (high_in, wide_in, high_out), (wide_out, top_pad, left_pad) = packing.three(sizes, 10), packing.three(sizes, 13)
        groups, c_group, k_group = packing.three(sizes, 16)
        block_rows, block_columns, k_part = packing.three(sizes, 19)
        u_plane, mode = sizes[22], sizes[23]
        tiles_h, tiles_w = -(-high_out // m), -(-wide_out // m)
        blocks_h, blocks_w = -(-tiles_h // block_rows), -(-tiles_w // block_columns)
        k_blocks = -(-k_group // width)
        k_parts = -(-k_blocks // k_part)
        c_step, k_step = -(-c_group // lanes) * lanes, k_part * width
        most = -(-(block_rows * block_columns) // rows) * rows
        v_plane, m_plane = most * c_step + line, most * k_step + line
        tall, wide = (n, n) if channels_last else (m * block_rows + 2, m * block_columns + 2)
        outputs = 0 if channels_last else (m * block_rows) * (m * block_columns) * k_step + lanes * k_step + lanes
        zero = x.dtype.type(0)

        memory = np.empty(planes * (v_plane + m_plane + lanes) + tall * wide * c_group + outputs + 6 * line, x.dtype)
        integers = np.empty(rows + lanes, np.int64)
        v = vector.line_start(pointer(memory))
        products = vector.line_start(v + planes * v_plane)
        scratch = vector.line_start(products + planes * m_plane)
        windows = vector.line_start(scratch + planes * lanes)
        finished = vector.line_start(windows + tall * wide * c_group)
        v_offsets = pointer(integers)
        steps = v_offsets + rows
        for i in range(rows):
            poke(v_offsets + i, i * c_step)

        transformed = -1  # the block whose V is at hand: the items of one block follow each other
        for item in range(begin, end):
            block, part = divmod(item, k_parts)
            rest, block_column = divmod(block, blocks_w)
            rest, block_row = divmod(rest, blocks_h)
            n_image, group = divmod(rest, groups)
            tile_top, tile_left = block_row * block_rows, block_column * block_columns
            across, down = min(block_columns, tiles_w - tile_left), min(block_rows, tiles_h - tile_top)
            tiles = down * across
            if block != transformed:
                transformed = block
                source = pointer(x) + (n_image * xs[0] + group * c_group * xs[1])
                cells = (1, high_in, wide_in)
                top, left, wide = m * tile_top - top_pad, m * tile_left - left_pad, m * across + 2
                if not channels_last:
                    corner, tall = (0, top, left), m * down + 2
                    pack_windows(source, windows, zero, xs, cells, corner, tall, wide, 1, 1, c_group, c_group, mode, steps)
                for t in range(tiles):
                    i, j = divmod(t, across)
                    h, w = top + m * i, left + m * j
                    if not channels_last:
                        at, row, column = windows + (m * i * wide + m * j) * c_group, wide * c_group, c_group
                    elif h >= 0 and w >= 0 and h + n <= high_in and w + n <= wide_in:
                        at, row, column = source + (h * xs[3] + w * xs[4]), xs[3], xs[4]
                    else:
                        pack_windows(source, windows, zero, xs, cells, (0, h, w), n, n, 1, 1, c_group, c_group, mode, steps)
                        at, row, column = windows, n * c_group, c_group
                    to_planes(at, row, column, c_group, scratch, v + t * c_step, v_plane)

            k_first = part * k_part
            k_here = min(k_part, k_blocks - k_first)
            k_begin, shown_k = k_first * width, min(k_here * width, k_group - k_first * width)
            filters = pointer(u) + (group * planes * u_plane + k_begin * c_group)
            for plane in range(planes):
                ours, theirs, out = v + plane * v_plane, filters + plane * u_plane, products + plane * m_plane
                multiply(tiles, c_group, ours, c_step, v_offsets, theirs, k_here, out, k_step)

            offset = pointer(bias) + (group * k_blocks * width + k_begin)
            to = pointer(y) + (n_image * ys[0] + (group * k_group + k_begin) * ys[1])
            to = to + (m * tile_top * ys[3] + m * tile_left * ys[4])
            shown_h, shown_w = min(m * down, high_out - m * tile_top), min(m * across, wide_out - m * tile_left)
            for t in range(tiles):
                i, j = divmod(t, across)
                high, broad = min(m, shown_h - m * i), min(m, shown_w - m * j)
                if channels_last:
                    at, row, column = to + (m * i * ys[3] + m * j * ys[4]), ys[3], ys[4]
                else:
                    at, row, column = finished + (m * i * shown_w + m * j) * shown_k, shown_w * shown_k, shown_k
                to_outputs(products + t * k_step, m_plane, shown_k, offset, scratch, at, row, column, high, broad, act)
            if not channels_last:
                unpack(finished, shown_h, shown_w, shown_k, shown_k, to, ys[3], ys[1])
            if act[0] == 3:
                for h in range(shown_h):
                    if channels_last:
                        for w in range(shown_w):
                            microkernel.silu_run(to + (h * ys[3] + w * ys[4]), shown_k)
                    else:
                        for k in range(shown_k):
                            microkernel.silu_run(to + (h * ys[3] + k * ys[1]), shown_w)
        memory[0], integers[0] = zero, 0  # pointers do not keep an array alive: its last use does

    winograd.__name__ = f"{dtype}_winograd_{m}x{m}_{rows}x{columns}_{isa}"
    return Kernel(winograd)


@lru_cache(maxsize=16)
def weight_kernel(m: int, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled U = G w G^T, by blocks of output channels and `lanes` input channels: f32_winograd_4x4_weights_avx512."""
    n, taps = m + KERNEL - 1, KERNEL * KERNEL
    to_planes = weight_transform(m, lanes, dtype)

    def weights(begin, end, w, u, sizes):
        _, c_group, k_group = packing.three(sizes, 0)
        by_k, by_c, by_tap = packing.three(sizes, 3)
        width, u_plane = sizes[6], sizes[7]
        blocks, c_parts = -(-k_group // width), -(-c_group // lanes)
        zero = u.dtype.type(0)
        memory = np.empty((lanes * taps + n * KERNEL) * lanes + 32, u.dtype)
        table = np.empty(2 * lanes, np.int64)
        square = vector.line_start(pointer(memory))
        scratch, by_column, by_channel = square + lanes * taps * lanes, pointer(table), pointer(table) + lanes
        for i in range(lanes):
            poke(by_column + i, i * lanes)
            poke(by_channel + i, i * taps * lanes)
        for item in range(begin, end):
            rest, part = divmod(item, c_parts)
            group, block = divmod(rest, blocks)
            c_first = part * lanes
            c_count = min(lanes, c_group - c_first)
            for k in range(0, width, lanes):
                k_first = block * width + k
                k_count = min(lanes, k_group - k_first)
                source = pointer(w) + ((group * k_group + k_first) * by_k + c_first * by_c)
                # square[c][tap] = the kernels of `lanes` output channels
                if by_c == 1:
                    for tap in range(taps):
                        turned = vector.load_transposed(source + tap * by_tap, by_k, c_count, k_count, lanes, 1, lanes)
                        vector.store_rows(turned, square + tap * lanes, by_channel)
                else:
                    for run in range(0, c_count * taps, lanes):
                        there = min(lanes, c_count * taps - run)
                        turned = vector.load_transposed(source + run, by_k, there, k_count, lanes, 1, lanes)
                        vector.store_rows(turned, square + run * lanes, by_column)
                to = pointer(u) + (group * n * n * u_plane + block * c_group * width + k)
                for c in range(c_count):
                    to_planes(square + c * taps * lanes, scratch, to + (c_first + c) * width, u_plane)
        memory[0], table[0] = zero, 0  # pointers do not keep an array alive: its last use does

    weights.__name__ = f"{dtype}_winograd_{m}x{m}_weights_{isa}"
    return Kernel(weights)


# Decisions --------------------------------------------------------------------------------------------------------------


class Choice(NamedTuple):
    """How a geometry is cut: outputs of a tile's side, tiles of a block, the register tile, its columns that an item has."""

    m: int
    block_rows: int
    block_columns: int
    rows: int
    columns: int
    k_part: int


def supports(geometry: ConvGeometry, dtype: np.dtype[Any]) -> str | None:
    """3x3 kernels of stride 1 without dilation, in float32 or float64."""
    g = geometry
    if dtype not in (np.float32, np.float64):
        return f"its vectors are float32 or float64, not {dtype}"
    if g.transposed or g.rank != 2 or g.kernel != (KERNEL, KERNEL):
        return f"it serves 3x3 kernels of a 2-D convolution, not {'x'.join(map(str, g.kernel))}"
    if g.stride != (1, 1) or g.dilation != (1, 1):
        return f"it serves stride 1 and dilation 1, not {g.stride} and {g.dilation}"
    if min(g.in_per_group, g.out_per_group) < 4:
        return f"it serves groups of at least 4 channels, not {g.in_per_group} -> {g.out_per_group}"
    return None


def seconds(geometry: ConvGeometry, m: int, dtype: np.dtype[Any], machine: Machine) -> float:
    """Products at nine tenths of the peak while weights come from the L3 cache, and transforms at the L2 cache's speed."""
    g, n = geometry, m + KERNEL - 1
    tiles = g.batch * -(-g.out_size[0] // m) * -(-g.out_size[1] // m)
    lanes = machine.lanes(dtype)
    products = 2 * tiles * n * n * g.in_channels * -(-g.out_per_group // lanes) * lanes / (0.85 * machine.flops(dtype))
    moved = tiles * (n * n * 2 + m * m) * (g.in_channels + g.out_channels) * dtype.itemsize
    weights = n * n * g.in_channels * g.out_per_group * dtype.itemsize
    return 6e-6 + max(products, weights / (2.5 * machine.bandwidth)) + moved / (4 * machine.bandwidth)


@lru_cache(maxsize=256)
def choice(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> Choice:
    """F(4) or F(2), whichever should be faster; blocks of tiles that fit the L2 cache, or a few more where weights do not."""
    g = geometry
    m = min((4, 2), key=lambda m: seconds(g, m, dtype, machine))
    planes = (m + KERNEL - 1) ** 2
    high, wide = (-(-size // m) for size in g.out_size)
    per_tile = planes * (g.in_per_group + g.out_per_group) * dtype.itemsize
    weights = planes * g.in_per_group * g.out_per_group * dtype.itemsize
    room = max(machine.l2 // 2, min(4 << 20, weights // 2))
    tiles = max(1, room // per_tile)
    columns = min(wide, tiles)
    columns = -(-wide // -(-wide // columns))
    rows = min(high, max(1, tiles // columns))
    rows = -(-high // -(-high // rows))
    vectors = -(-g.out_per_group // machine.lanes(dtype))
    tile = tile_for(rows * columns, vectors, machine)
    k_blocks = max(1, -(-vectors // tile.columns))
    items = g.batch * g.groups * -(-high // rows) * -(-wide // columns)
    # Few blocks are shared out by their output channels: each thread then transforms the input for itself.
    return Choice(m, rows, columns, *tile, -(-k_blocks // min(k_blocks, -(-FEW // max(1, items)))))


def cost(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """The faster of F(4) and F(2)."""
    return min(seconds(geometry, m, dtype, machine) for m in (4, 2))


def pack(w: Array, bias: Array, geometry: ConvGeometry) -> Launch:
    """U = G w G^T as [group][plane][block of output channels][c][width]; planes lie a cache line more than that apart."""
    g, machine = geometry, host()
    cut, lanes = choice(geometry, w.dtype, machine), machine.lanes(w.dtype)
    n, width, names = cut.m + KERNEL - 1, cut.columns * lanes, (element(w.dtype), machine.isa)
    blocks = -(-g.out_per_group // width)
    u_plane = blocks * g.in_per_group * width + packing.LINE // w.dtype.itemsize
    u = packing.aligned(g.groups * n * n * u_plane, w.dtype)
    by_c, by_tap = (1, g.in_per_group) if g.channels_last else (g.taps, 1)
    weight_sizes = (g.groups, g.in_per_group, g.out_per_group, g.reduction, by_c, by_tap, width, u_plane)
    transform = weight_kernel(cut.m, lanes, *names)
    transform(g.groups * blocks * -(-g.in_per_group // lanes), 4 * u.size, w.reshape(-1), u, np.array(weight_sizes, np.int64))
    filled = np.zeros((g.groups, blocks * width), w.dtype)
    filled[:, : g.out_per_group] = bias.reshape(g.groups, -1)
    lifted = g.lifted()
    sizes = (
        *strides(lifted, g.in_channels, lifted.in_size),
        *strides(lifted, g.out_channels, lifted.out_size),
        *g.in_size,
        *g.out_size,
        g.padding[0][0],
        g.padding[1][0],
        *(g.groups, g.in_per_group, g.out_per_group),
        *(cut.block_rows, cut.block_columns, cut.k_part),
        *(u_plane, g.mode),
    )
    high, wide = (-(-size // cut.m) for size in g.out_size)
    items = g.batch * g.groups * -(-high // cut.block_rows) * -(-wide // cut.block_columns) * -(-blocks // cut.k_part)
    chosen = kernel(cut.m, cut.rows, cut.columns, lanes, g.channels_last, *names)
    arguments = (np.array(sizes, np.int64), codes(g.activation, w.dtype))
    return Launch(chosen, items, g.flops // 32, u, filled.reshape(-1), arguments)


def run(x: Array, packed: Launch, geometry: ConvGeometry, out: Array) -> None:
    """All blocks."""
    packed.run(x.reshape(-1), out.reshape(-1))
