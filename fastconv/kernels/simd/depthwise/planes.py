"""Depthwise convolution of rows that are read where they lie, and stay in the registers of a tile.

    y [h][e] = act(bias + sum over r, s of x [h * stride + r - padding][e * stride + (s - padding) * C] * w [r][s])

Channels first, a row is one of a plane and C is 1. Of few channels, channels last, as colours are, it is one of the image, e
runs over all of its values, and taps lie C channels apart; weights then differ from lane to lane, or one serves all of them
where all channels have the same filter, as blurs have.

Vectors lie along the width, half ones where they hold a row. A tile has one vector of several output rows, and every vector of
x that it loads feeds all rows whose windows it is in. Cells of padding are left out by masks, rows of padding are read from a
line of zeros: no plane is copied, so that maps of 7x7 and of 112x112 take the same road. Where padding is not of zeros, the
windows of the tiles that meet it are copied, and no others. Long rows take tiles of several vectors, without masks, where no
window meets padding.
"""

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from fastconv.kernels.jit import NO_WEIGHTS, Kernel, Launch, element, inlined
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import epilogue, packing
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array, ConvGeometry

peek, pointer = vector.peek, vector.pointer


@lru_cache(maxsize=64)
def kernel(
    tile: tuple[int, int],
    taps: tuple[int, int],
    stride: int,
    apart: int,
    own: int,
    gated: bool,
    lanes: int,
    dtype: str,
    isa: str,
) -> Kernel:
    """The compiled loops over stacks of output rows: f32_depthwise_14x1_3x3s1_planes_avx512, or, of 3 channels, 3x3s1_by3.

    A tile of several columns goes where no window meets padding, one of one column to the edges. `own` is the vectors of
    weights that a tap has, 0 where one weight serves all lanes.
    """
    pack_windows, plainly = packing.window_packer(lanes, True), epilogue.activation_of(dtype)

    def gated_by_itself(tile, act):
        return vector.silu(tile)

    # silu is not left to the store: a row that two items write would meet it twice.
    activate_tile = inlined(gated_by_itself) if gated else plainly
    (rows, columns), (heights, widths) = tile, taps
    tall, wide = (rows - 1) * stride + heights, (lanes - 1) * stride + (widths - 1) * apart + 1
    reach = columns * lanes * stride + ((widths - 1) * apart if stride == 1 else vector.rest_of(widths))  # cells of a large row
    ahead, several, step_of_plane = max(packing.AHEAD, tall), columns * lanes, heights * widths if apart == 1 else 0
    ask_for_large, ask_for_small = (
        packing.asker(rows * stride, columns * stride, lanes),
        packing.asker(rows * stride, stride, lanes),
    )
    turns = max(1, own)  # columns of a tile meet their vectors of weights in turn, from the first one on

    def depthwise(begin, end, x, w, bias, residual, y, sizes, parameters):
        act = epilogue.epilogue(parameters, residual, y)
        channels, rows_in, columns_in = packing.three(sizes, 0)
        rows_out, columns_out, top_pad = packing.three(sizes, 3)
        left_pad, far, mode = packing.three(sizes, 6)
        stacks, pixel_steps = -(-rows_out // rows), (0, 1, 0, columns_in, apart)
        memory = np.zeros(max(columns_in + 1, tall * (wide + 2 * apart) + 2 * lanes), x.dtype)
        integers, zero = np.empty(lanes, np.int64), x.dtype.type(0)
        spare = pointer(memory)
        for item in range(begin, end):
            plane, stack = divmod(item, stacks)
            h = min(stack * rows, rows_out - rows)  # the last stack may overlap the one before
            top = h * stride - top_pad
            image, line = pointer(x) + plane * rows_in * columns_in, pointer(y) + (plane * rows_out + h) * columns_out
            weights, first = pointer(w) + plane % channels * step_of_plane, pointer(bias) + plane % channels
            rows_inside, column = top >= 0 and top + tall <= rows_in, 0
            while column < columns_out:
                left, room, turn = column * stride - left_pad, columns_out - column, column // lanes % turns
                source, start = image + (top * columns_in + left), first + column % apart
                inside = rows_inside and left >= 0 and left + reach <= columns_in
                if columns > 1 and turn == 0 and inside and room >= several:
                    if far > 0:
                        ask_for_large(source + ahead * columns_in, columns_in)
                    large = vector.filled(peek(first), rows, columns, lanes)
                    if apart > 1:
                        large = vector.repeated(start, rows, columns, lanes)
                    large = vector.fma_inside(large, source, columns_in, weights, heights, widths, stride, apart, own)
                    vector.store_spans(activate_tile(large, act), line + column, columns_out, rows, several)
                    column += several
                    continue
                if far > 0:
                    ask_for_small(source + ahead * columns_in, columns_in)
                step, there, low, high = columns_in, (-top, rows_in - top), -left, columns_in - left
                if mode != 0 and not (rows_inside and low <= 0 and wide <= high):
                    pixel, used = left // apart, min(wide, (room - 1) * stride + (widths - 1) * apart + 1)
                    offset = left - pixel * apart
                    pixels = -(-(offset + used) // apart)
                    corner, size, steps = (0, top, pixel), (1, rows_in, columns_in // apart), pointer(integers)
                    pack_windows(image, spare, zero, pixel_steps, size, corner, tall, pixels, 1, 1, apart, apart, mode, steps)
                    source, step, there, low, high = spare + offset, pixels * apart, (0, tall), 0, wide + 1
                small = vector.filled(peek(first), rows, 1, lanes)
                if apart > 1:
                    small = vector.repeated(start, rows, 1, lanes)
                under, taps_of_turn = spare + -low, weights + turn * lanes
                small = vector.fma_plane(
                    small, source, step, there, under, (low, high), taps_of_turn, heights, widths, stride, apart, own
                )
                vector.store_spans(activate_tile(small, act), line + column, columns_out, rows, room)
                column += lanes
        memory[0], integers[0] = 0, 0  # pointers do not keep an array alive: their last use does

    kind = f"{heights}x{widths}s{stride}" + (f"_by{apart}" if apart > 1 else "") + ("_shared" if apart > 1 and not own else "")
    kind += "_silu" if gated else ""
    depthwise.__name__ = f"{dtype}_depthwise_{rows}x{columns}_{kind}_planes_{isa}"
    return Kernel(depthwise)


# Decisions --------------------------------------------------------------------------------------------------------------

ROWS = (14, 10, 8, 7, 5, 4, 3, 2, 1)  # output rows of a tile
FEW = 8  # of them, where there are 16 registers
LONG = 12  # vectors of an output row that is worth tiles of several: it is few rows of long lines that the L1 cache holds
LARGE = {32: ((3, 5), (4, 5)), 16: ((3, 3), (3, 3))}  # such tiles, by registers: for 3x3 kernels, and for others
MOST = {32: 20, 16: 9}  # vectors of such a tile
APART, MOST_APART = 2, 7  # vectors, and most rows, of tiles of stride 2
WIDEST = 9  # taps of a kernel on either axis
CONFLICT = 1024  # elements of a row, or a multiple: all rows fall into the same sets of an L1 cache
MOST_CHANNELS = {32: 8, 16: 4}  # that lie together


def channels_together(geometry: ConvGeometry) -> int:
    """C of the formula."""
    return geometry.in_channels if geometry.channels_last else 1


def lanes_for(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> int:
    """Elements of a vector of a tile."""
    g = geometry
    return machine.lanes(dtype) if g.channels_last else machine.lanes_for(g.out_size[1], dtype)


def cycles_of_stack(tile: tuple[int, int], geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Products, loads and, with strides, the sorting of what was loaded, of the tiles of so many rows."""
    g, (tall, wide), stride, (rows, columns) = geometry, geometry.kernel, geometry.stride[0], tile
    each, fixed = (2.5, 3.0) if stride > 1 else (0.9, 3.0) if columns == 1 else (0.45, 2.5 * rows)
    loads = ((rows - 1) * stride + tall) * wide * each
    lanes, whole = lanes_for(g, dtype, machine), machine.lanes(dtype)
    vectors, units = -(-g.out_size[1] * channels_together(g) // lanes), machine.units if lanes == whole else 2
    return 22 + vectors * (rows * tall * wide / units + loads + fixed)


def tile_for(geometry: ConvGeometry, own: int, dtype: np.dtype[Any], machine: Machine) -> tuple[int, int]:
    """(rows, vectors) of the tile: a large one on long rows, else the one that takes the fewest cycles over a plane's rows."""
    g, most = geometry, ROWS[0] if machine.registers > 16 else FEW
    if g.stride == (1, 1) and g.kernel[0] > 2 and g.out_size[1] * channels_together(g) >= LONG * machine.lanes(dtype):
        large = LARGE[machine.registers][g.kernel[0] > 3]
        if own:
            columns = own * max(1, large[1] // own)
            large = MOST[machine.registers] // columns, columns
        if large[0] <= g.out_size[0]:
            return large

    columns, most = (APART, min(most, MOST_APART)) if g.stride[0] > 1 else (1, most)

    def cycles(rows: int) -> float:
        return -(-g.out_size[0] // rows) * cycles_of_stack((rows, columns), g, dtype, machine)

    return min((rows for rows in ROWS if rows <= min(most, g.out_size[0])), key=cycles, default=1), columns


def cycles(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Of all tiles."""
    g, together = geometry, channels_together(geometry)
    tile = tile_for(geometry, 0, dtype, machine)
    return g.batch * g.in_channels // together * -(-g.out_size[0] // tile[0]) * cycles_of_stack(tile, g, dtype, machine)


def suits(geometry: ConvGeometry, machine: Machine) -> bool:
    """Whether rows are long, masks cheap, and the kernel one that the tile is written for."""
    g, together = geometry, channels_together(geometry)
    return bool(
        machine.vector_bytes >= 32
        and g.rank == 2
        and g.in_per_group == g.out_per_group == 1
        and g.stride[0] == g.stride[1] <= (2 if together == 1 else 1)
        and g.dilation == (1, 1)
        and together <= MOST_CHANNELS[machine.registers]
        and g.kernel[0] == g.kernel[1] <= WIDEST  # the tile is compiled for each kernel
        and (g.stride[0] == 1 or g.in_size[1] % CONFLICT)  # so many rows of x would drive each other out of the cache
    )


@lru_cache(maxsize=256)
def draft(geometry: ConvGeometry, own: int, dtype: np.dtype[Any], machine: Machine) -> tuple[Launch, int]:
    """(the launch without its weights, vectors of its tiles), with `own` weights for channels that lie together, or one set."""
    g, together, lanes = geometry, channels_together(geometry), lanes_for(geometry, dtype, machine)
    tile = tile_for(g, own, dtype, machine)
    (top, _), (left, _) = g.padding
    rows_in, rows_out, far = g.in_size[0], g.out_size[0], int(prod(g.in_size) * dtype.itemsize >= packing.FAR)
    planes = g.in_channels // together
    sizes = (planes, rows_in, g.in_size[1] * together, rows_out, g.out_size[1] * together, top, left * together, far, g.mode)
    taps, name = (g.kernel[0], g.kernel[1]), (lanes, element(dtype), machine.isa)
    chosen = kernel(tile, taps, g.stride[0], together, own, g.activation.kind == "silu", *name)
    items = g.batch * planes * -(-rows_out // tile[0])
    arguments: tuple[Any, ...] = (np.array(sizes, np.int64), epilogue.scalars(g.activation, dtype))
    return Launch(chosen, items, 2 * g.flops, NO_WEIGHTS, NO_WEIGHTS, arguments), tile[1]


def pack(w: Array, bias: Array, geometry: ConvGeometry) -> Launch:
    """Weights as they are; of channels that lie together one set, or, where they differ, C vectors a tap."""
    g, machine, together = geometry, host(), channels_together(geometry)
    own, packed, lanes = 0, w.reshape(-1).copy(), lanes_for(geometry, w.dtype, machine)
    if together > 1:
        by_channel = w.reshape(together, -1)
        packed = by_channel[0].copy()
        if (by_channel != packed).any():
            own, turns = together, np.arange(together * lanes) % together
            packed = np.ascontiguousarray(by_channel.T[:, turns]).reshape(-1)
    found, columns = draft(g, own, w.dtype, machine)
    return found.with_weights(packed, np.resize(bias, together + columns * lanes) if together > 1 else bias)
