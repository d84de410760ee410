"""Winograd convolution by 3x3 kernels, and larger ones: tiles of m x m outputs from (m + 2)**2 products a channel.

    V [P][t, c] = B^T x[t] B        for each tile t of (m + 2) x (m + 2) inputs; P = (m + 2)**2 planes
    M [P][t, k] = V[P] @ U[P]       one matrix product a plane, with U = G w G^T made once a plan
    y [t]       = act(A^T M[t] A + bias)

The direct sum takes 9 m**2 products where this takes (m + 2)**2: 4 times as many for m = 4, 2.25 times for m = 2. Lavin and
Gray, Fast Algorithms for Convolutional Neural Networks (2016), section 4; transforms.py has B, G and A.

Kernels along one axis, those of 1-D convolutions too, take tiles of 1 x m or m x 1 outputs and m + 2 products for 3 m. Larger
kernels are cut into pieces of 3 taps an axis, the last filled up with zeros, those of stride s first into the taps that meet
every s-th cell: c runs over the pieces as well, each of which sees x some cells further on, s apart. So it does, over three
axes, over the taps of the first: a sum of Winograd convolutions of slices. With a dilation d, cells and outputs of a tile lie d
apart, and d tiles go between each other.

Tiles are taken in blocks whose V and M stay in the L2 cache. The planes lie one cache line more than a block apart: without it
they fall into the same cache sets, and the transforms wait for memory.

A NaN or inf in x spreads to the whole tile of m x m outputs, of all output channels, whose input holds it.
"""

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from fastconv.kernels.jit import Kernel, Launch, compiled, element
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import epilogue, packing
from fastconv.kernels.simd.engine.walks import strides
from fastconv.kernels.simd.winograd.cuts import (
    MOST_PIECES,
    WORKSPACE,
    choice,
    cuts,
    groups_of,
    pieces_of,
    places,
    seconds,
    spreads_of,
    terms_of,
)
from fastconv.kernels.simd.winograd.transforms import KERNEL, cells_of, input_transform, output_transform
from fastconv.kernels.simd.winograd.weights import weight_kernel
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array, ConvGeometry

peek, poke, pointer = vector.peek, vector.poke, vector.pointer

# The loop nest ----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=32)
def kernel(form: tuple[int, int], rows: int, columns: int, lanes: int, channels_last: bool, dtype: str, isa: str) -> Kernel:
    """The compiled loops over blocks of tiles: f32_winograd_4x4_14x2_avx512."""
    (m_h, m_w), (n_h, n_w), width = form, cells_of(form), columns * lanes
    planes = n_h * n_w
    to_planes, to_outputs = input_transform(form, lanes, dtype), output_transform(form, lanes, dtype)
    pack_windows, unpack = packing.window_packer(lanes, channels_last), packing.unpacker(lanes)
    copy, clear = packing.runs(lanes)
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

    @compiled
    def origin(tile, m, spread):
        """The first output of a tile, `spread` of which go between each other."""
        group, within = divmod(tile, spread)
        return group * m * spread + within

    @compiled
    def take_cells(x, xs, cells, corner, steps, channels, mode, to, zero):
        """to[i, j][c] = the cells of a tile, padding filled in by its mode; channels lie together."""
        d = packing.cell_under(corner[0], cells[0], mode)
        for i in range(n_h):
            h = packing.cell_under(corner[1] + i * steps[0], cells[1], mode)
            for j in range(n_w):
                w = packing.cell_under(corner[2] + j * steps[1], cells[2], mode)
                if d < 0 or h < 0 or w < 0:
                    clear(to + (i * n_w + j) * channels, zero, channels)
                else:
                    copy(to + (i * n_w + j) * channels, x + (d * xs[2] + h * xs[3] + w * xs[4]), channels)

    @compiled
    def gather(x, row, column, offsets, taps, channels, to, step):
        """to[i, j][tap][c] = x[i, j][offsets[tap] + c] of the cells of a tile: few channels of all taps make whole vectors."""
        for i in range(n_h):
            for j in range(n_w):
                source, cell = x + (i * row + j * column), to + (i * n_w + j) * step
                for tap in range(taps):  # lanes behind the channels are those of the next tap, or room
                    few = vector.load_first(source + peek(offsets + tap), channels, lanes)
                    vector.store(cell + tap * channels, few)

    def winograd(begin, end, x, u, bias, residual, y, sizes, parameters):
        act = epilogue.epilogue(parameters, residual, y)
        xs, ys = packing.five(sizes, 0), packing.five(sizes, 5)
        cells, (deep_out, high_out, wide_out) = packing.three(sizes, 10), packing.three(sizes, 13)
        (groups, c_group, k_group), (front_pad, top_pad, left_pad) = packing.three(sizes, 16), packing.three(sizes, 19)
        block_rows, block_columns, k_part = packing.three(sizes, 22)
        u_plane, mode, stride_d, dilation_d, taps_d = packing.five(sizes, 25)
        (step_h, step_w, last_h), (last_w, pieces_w, pieces) = packing.three(sizes, 30), packing.three(sizes, 33)
        spread_h, spread_w, taps, places_h, places_w = sizes[36], sizes[37], taps_d * pieces, 38, 38 + pieces // pieces_w
        stride_h, stride_w = step_h // spread_h, step_w // spread_w
        # Cells from the first of a tile to the last, and those that the tiles of a block reach beyond all but their last row.
        reach_h, reach_w = (n_h - 1) * step_h + 1, (n_w - 1) * step_w + 1
        halo_h, halo_w = last_h + (n_h - m_h) * step_h + 1 - stride_h, last_w + (n_w - m_w) * step_w + 1 - stride_w
        # Groups of tiles that go between each other.
        groups_h, groups_w = -(-high_out // (m_h * spread_h)), -(-wide_out // (m_w * spread_w))
        blocks_h, blocks_w = -(-groups_h // block_rows), -(-groups_w // block_columns)
        k_blocks = -(-k_group // width)
        k_parts = -(-k_blocks // k_part)
        c_step, k_step = -(-((taps - 1) * c_group + -(-c_group // lanes) * lanes) // lanes) * lanes, k_part * width
        if c_step % (16 * line) == 0:  # rows of a tile of V would fall into the same sets of the L1 cache
            c_step += lanes
        most = -(-(block_rows * spread_h * block_columns * spread_w) // rows) * rows
        v_plane, m_plane = most * c_step + line, most * k_step + line
        tall, wide = m_h * block_rows * step_h + halo_h, m_w * block_columns * step_w + halo_w
        gathers = taps > 1 and c_group < lanes
        if channels_last:
            tall, wide = (last_h + reach_h, last_w + reach_w) if gathers else (n_h, n_w)
        cells_of_block = m_h * block_rows * spread_h * m_w * block_columns * spread_w
        outputs = 0 if channels_last else (cells_of_block + lanes) * k_step + lanes
        zero, shown_cells = x.dtype.type(0), taps_d * tall * wide * c_group

        memory = np.empty(planes * (v_plane + m_plane + lanes + c_step) + shown_cells + outputs + 7 * line, x.dtype)
        integers = np.empty(rows + lanes + taps, np.int64)
        v = vector.line_start(pointer(memory))
        products = vector.line_start(v + planes * v_plane)
        scratch = vector.line_start(products + planes * m_plane)
        windows = vector.line_start(scratch + planes * lanes)
        finished = vector.line_start(windows + shown_cells)
        gathered = vector.line_start(finished + outputs)
        v_offsets = pointer(integers)
        steps = v_offsets + rows
        tap_offsets = steps + lanes
        for i in range(rows):
            poke(v_offsets + i, i * c_step)

        transformed = -1  # the block whose V is at hand: the items of one block follow each other
        for item in range(begin, end):
            block, part = divmod(item, k_parts)
            rest, block_column = divmod(block, blocks_w)
            rest, block_row = divmod(rest, blocks_h)
            rest, d_out = divmod(rest, deep_out)
            n_image, group = divmod(rest, groups)
            tile_top, tile_left = block_row * block_rows, block_column * block_columns
            right, down = min(block_columns, groups_w - tile_left), min(block_rows, groups_h - tile_top)
            across = right * spread_w
            tiles = down * spread_h * across
            if block != transformed:
                transformed = block
                source = pointer(x) + (n_image * xs[0] + group * c_group * xs[1])
                front, top, left = (
                    d_out * stride_d - front_pad,
                    m_h * tile_top * step_h - top_pad,
                    m_w * tile_left * step_w - left_pad,
                )
                tall, wide = m_h * down * step_h + halo_h, m_w * right * step_w + halo_w
                if not channels_last:
                    corner = (front, top, left)
                    pack_windows(
                        source, windows, zero, xs, cells, corner, tall, wide, taps_d, dilation_d, c_group, c_group, mode, steps
                    )
                for t in range(tiles if gathers else 0):
                    i, j = divmod(t, across)
                    i, j = origin(i, m_h, spread_h) * stride_h, origin(j, m_w, spread_w) * stride_w
                    h, w = top + i, left + j
                    inside = front >= 0 and h >= 0 and w >= 0 and front + (taps_d - 1) * dilation_d < cells[0]
                    inside = inside and h + last_h + reach_h <= cells[1] and w + last_w + reach_w <= cells[2]
                    if not channels_last:
                        at = windows + (i * wide + j) * c_group
                        depth, row, column = tall * wide * c_group, wide * c_group, c_group
                    elif inside:
                        at = source + (front * xs[2] + h * xs[3] + w * xs[4])
                        depth, row, column = dilation_d * xs[2], xs[3], xs[4]
                    else:
                        high, broad = last_h + reach_h, last_w + reach_w
                        at, depth, row, column = windows, high * broad * c_group, broad * c_group, c_group
                        corner = (front, h, w)
                        pack_windows(
                            source,
                            windows,
                            zero,
                            xs,
                            cells,
                            corner,
                            high,
                            broad,
                            taps_d,
                            dilation_d,
                            c_group,
                            c_group,
                            mode,
                            steps,
                        )
                    for tap in range(taps):
                        tap_d, piece = divmod(tap, pieces)
                        down_by, right_by = sizes[places_h + piece // pieces_w], sizes[places_w + piece % pieces_w]
                        poke(tap_offsets + tap, tap_d * depth + down_by * row + right_by * column)
                    gather(at, step_h * row, step_w * column, tap_offsets, taps, c_group, gathered, c_step)
                    to_planes(gathered, n_w * c_step, c_step, taps * c_group, scratch, v + t * c_step, v_plane)
                for index in range(0 if gathers else tiles * taps):
                    t, tap = divmod(index, taps)
                    i, j = divmod(t, across)
                    tap_d, piece = divmod(tap, pieces)
                    down_by = origin(i, m_h, spread_h) * stride_h + sizes[places_h + piece // pieces_w]
                    right_by = origin(j, m_w, spread_w) * stride_w + sizes[places_w + piece % pieces_w]
                    d, h, w = front + tap_d * dilation_d, top + down_by, left + right_by
                    inside = d >= 0 and h >= 0 and w >= 0 and d < cells[0]
                    inside = inside and h + reach_h <= cells[1] and w + reach_w <= cells[2]
                    if not channels_last:
                        at = windows + ((tap_d * tall + down_by) * wide + right_by) * c_group
                        row, column = step_h * wide * c_group, step_w * c_group
                    elif inside:
                        at, row, column = source + (d * xs[2] + h * xs[3] + w * xs[4]), step_h * xs[3], step_w * xs[4]
                    else:
                        take_cells(source, xs, cells, (d, h, w), (step_h, step_w), c_group, mode, windows, zero)
                        at, row, column = windows, n_w * c_group, c_group
                    to_planes(at, row, column, c_group, scratch, v + (t * c_step + tap * c_group), v_plane)

            k_first = part * k_part
            k_here = min(k_part, k_blocks - k_first)
            k_begin, shown_k = k_first * width, min(k_here * width, k_group - k_first * width)
            channels = taps * c_group
            filters = pointer(u) + (group * planes * u_plane + k_begin * channels)
            for plane in range(planes):
                ours, theirs, out = v + plane * v_plane, filters + plane * u_plane, products + plane * m_plane
                multiply(tiles, channels, ours, c_step, v_offsets, theirs, k_here, out, k_step)

            offset = pointer(bias) + (group * k_blocks * width + k_begin)
            to = pointer(y) + (n_image * ys[0] + (group * k_group + k_begin) * ys[1])
            shown_top, shown_left = m_h * tile_top * spread_h, m_w * tile_left * spread_w
            to = to + (d_out * ys[2] + shown_top * ys[3] + shown_left * ys[4])
            shown_h, shown_w = min(m_h * down * spread_h, high_out - shown_top), min(m_w * across, wide_out - shown_left)
            for t in range(tiles):
                i, j = divmod(t, across)
                i, j = origin(i, m_h, spread_h), origin(j, m_w, spread_w)
                high, broad = min(m_h, -(-(shown_h - i) // spread_h)), min(m_w, -(-(shown_w - j) // spread_w))
                if high <= 0 or broad <= 0:
                    continue
                if channels_last:
                    at, row, column = to + (i * ys[3] + j * ys[4]), spread_h * ys[3], spread_w * ys[4]
                else:
                    at = finished + (i * shown_w + j) * shown_k
                    row, column = spread_h * shown_w * shown_k, spread_w * shown_k
                to_outputs(products + t * k_step, m_plane, shown_k, offset, scratch, at, row, column, high, broad, act)
            if not channels_last:
                unpack(finished, shown_h, shown_w, shown_k, shown_k, to, ys[3], ys[1])
            if epilogue.is_unfinished(act):
                for h in range(shown_h):
                    if channels_last:
                        for w in range(shown_w):
                            epilogue.finish_run(to + (h * ys[3] + w * ys[4]), shown_k, act)
                    else:
                        for k in range(shown_k):
                            epilogue.finish_run(to + (h * ys[3] + k * ys[1]), shown_w, act)
        memory[0], integers[0] = zero, 0  # pointers do not keep an array alive: its last use does

    winograd.__name__ = f"{dtype}_winograd_{m_h}x{m_w}_{rows}x{columns}_{isa}"
    return Kernel(winograd)


# Decisions --------------------------------------------------------------------------------------------------------------

KEPT = 32 << 20  # bytes of an array whose memory an allocator keeps for the next one


def supports(geometry: ConvGeometry, dtype: np.dtype[Any]) -> str | None:
    """Kernels of one tap, or at least 3, along each of the last axes, strided or dilated there."""
    g = geometry
    axes = [(taps, places(taps, step)) for taps, step in zip(g.kernel[-2:], g.stride[-2:], strict=True)]
    fits = all((taps == 1 or taps >= KERNEL) and len(found) <= MOST_PIECES for taps, found in axes)
    if g.transposed or max(g.kernel[-2:]) == 1 or not fits:
        shape = "x".join(map(str, g.kernel))
        return f"it serves 1, or 3 and more, taps along the last axes, in {MOST_PIECES} pieces at most, not {shape}"
    if any(step > 1 and spread > 1 for step, spread in zip(g.stride[-2:], g.dilation[-2:], strict=True)):
        return f"it serves a stride or a dilation along an axis, not {g.stride} and {g.dilation}"
    if min(g.in_per_group, g.out_per_group) < KERNEL:
        return f"it serves groups of at least {KERNEL} channels, not {g.in_per_group} -> {g.out_per_group}"
    return None if cuts(g, dtype, host()) else f"its smallest blocks would take more than {WORKSPACE >> 20} MiB"


def cost(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """The faster of F(4) and F(2)."""
    return seconds(geometry.lifted(), choice(geometry, dtype, machine), dtype, machine)


def pack_cost(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Seconds that `pack` takes, most of them to write U; twice as long where memory for it comes from the system each time."""
    planes = prod(cells_of(choice(geometry, dtype, machine).form))
    size = dtype.itemsize * planes * geometry.out_channels * geometry.in_per_group * terms_of(geometry.lifted())
    return 6e-6 + (8e-11 if size < KEPT else 2.3e-10) * size


@lru_cache(maxsize=256)
def draft(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> packing.Draft:
    """Everything but the weights: U as [group][plane][block of output channels][t c][width], a line behind each plane."""
    g, cut, lanes = geometry.lifted(), choice(geometry, dtype, machine), machine.lanes(dtype)
    width, names, planes = cut.columns * lanes, (element(dtype), machine.isa), prod(cells_of(cut.form))
    (depth, down, right), (spread_h, spread_w), slices = pieces_of(g), spreads_of(g), terms_of(g)
    blocks, terms = -(-g.out_per_group // width), g.in_per_group * slices
    u_plane = blocks * terms * width + packing.LINE // dtype.itemsize
    by_c, by_tap = (1, g.in_per_group) if g.channels_last else (g.taps, 1)
    weight_sizes = (
        *(g.groups, g.in_per_group, g.out_per_group, g.reduction, by_c, by_tap),
        *(width, u_plane, *g.kernel, *g.stride[1:], len(right), len(down) * len(right), *down, *right),
    )
    sizes = (
        *strides(g, g.in_channels, g.in_size),
        *strides(g, g.out_channels, g.out_size),
        *(*g.in_size, *g.out_size),
        *(g.groups, g.in_per_group, g.out_per_group),
        *(before for before, _ in g.padding),
        *(cut.block_rows, cut.block_columns, cut.k_part),
        *(u_plane, g.mode, g.stride[0], g.dilation[0], depth),
        *(g.stride[1] * spread_h, g.stride[2] * spread_w, max(down) * spread_h, max(right) * spread_w),
        *(len(right), len(down) * len(right), spread_h, spread_w),
        *(place * spread_h for place in down),
        *(place * spread_w for place in right),
    )
    high, wide = groups_of(g, cut.form)
    items = g.batch * g.groups * g.out_size[0]
    return packing.Draft(
        kernel(cut.form, cut.rows, cut.columns, lanes, g.channels_last, *names),
        items * -(-high // cut.block_rows) * -(-wide // cut.block_columns) * -(-blocks // cut.k_part),
        g.flops // 32,
        (np.array(sizes, np.int64), epilogue.scalars(g.activation, dtype)),
        weight_kernel(cut.form, lanes, *names),
        g.groups * blocks * -(-g.in_per_group // lanes),
        blocks * width,
        g.groups * planes * u_plane,
        np.array(weight_sizes, np.int64),
    )


def pack(w: Array, bias: Array, geometry: ConvGeometry) -> Launch:
    """U = G w G^T, and the bias in whole blocks."""
    groups, found = geometry.groups, draft(geometry, w.dtype, host())
    u = packing.aligned(found.weights, w.dtype)
    found.packer(found.blocks, 4 * u.size, w.reshape(-1), u, found.weight_sizes)
    filled = np.zeros((groups, found.rows), w.dtype)
    filled[:, : geometry.out_per_group] = bias.reshape(groups, -1)
    return Launch(found.kernel, found.items, found.work, u, filled.reshape(-1), found.arguments)
