"""Depthwise convolution, channels first: each plane is read where it lies, and a tile's rows stay in registers.

    y [h][w] = act(bias + sum over r, s of x [h * stride + r - padding][w * stride + s - padding] * w [r][s])

Vectors lie along the width. A tile has one vector of several output rows, and every vector of x that it loads feeds all rows
whose windows it is in. Cells of padding are left out by masks, rows of padding are read from a line of zeros: no plane is
copied, so that maps of 7x7 and of 112x112 take the same road. Where padding is not of zeros, the windows of the tiles that
meet it are copied, and no others.
"""

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from fastconv.geometry import Array, ConvGeometry
from fastconv.kernels.activations import codes
from fastconv.kernels.jit import Kernel, Launch, element
from fastconv.kernels.simd import microkernel, packing, vector
from fastconv.machine import Machine, host

peek, pointer = vector.peek, vector.pointer
AHEAD = 8  # input rows, or more, that are asked for before they are read
FAR = 16 << 10  # bytes of a plane that is worth that


@lru_cache(maxsize=64)
def kernel(rows: int, columns: int, taps: tuple[int, int], stride: int, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over stacks of `rows` output rows of a plane: f32_depthwise_14x1_3x3s1_planes_avx512.

    With several columns, tiles of so many vectors a row go where no window meets padding, of one vector at the edges.
    """
    activate_tile, pack_windows = microkernel.tile_activation(dtype), packing.window_packer(lanes, True)
    heights, widths = taps
    tall, wide = (rows - 1) * stride + heights, (lanes - 1) * stride + widths
    ahead, several = max(AHEAD, tall), columns * lanes

    def depthwise(begin, end, x, w, bias, y, sizes, act):
        channels, rows_in, columns_in = packing.three(sizes, 0)
        rows_out, columns_out, top_pad = packing.three(sizes, 3)
        left_pad, far, mode = packing.three(sizes, 6)
        stacks, plane_step = -(-rows_out // rows), (0, 0, 0, columns_in, 1)
        memory, integers = np.zeros(max(columns_in + 1, tall * wide + 2 * lanes), x.dtype), np.empty(lanes, np.int64)
        spare, zero = pointer(memory), x.dtype.type(0)
        for item in range(begin, end):
            plane, stack = divmod(item, stacks)
            h = min(stack * rows, rows_out - rows)  # the last stack may overlap the one before
            top = h * stride - top_pad
            image, line = pointer(x) + plane * rows_in * columns_in, pointer(y) + (plane * rows_out + h) * columns_out
            weights, first = pointer(w) + plane % channels * heights * widths, peek(pointer(bias) + plane % channels)
            rows_inside, column = top >= 0 and top + tall <= rows_in, 0
            while column < columns_out:
                left, room = column * stride - left_pad, columns_out - column
                source = image + (top * columns_in + left)
                if columns > 1 and rows_inside and left >= 0 and room >= several and left + several + widths <= columns_in + 1:
                    if far > 0:
                        for row in range(rows):
                            for part in range(columns):
                                vector.prefetch(source + ((ahead + row) * columns_in + part * lanes))
                    large = vector.filled(first, rows, columns, lanes)
                    large = vector.fma_inside(large, source, columns_in, weights, heights, widths)
                    vector.store_spans(activate_tile(large, act), line + column, columns_out, rows, several)
                    column += several
                    continue
                if far > 0:
                    for row in range(rows * stride):
                        for part in range(stride):
                            vector.prefetch(source + ((ahead + row) * columns_in + part * lanes))
                step, there, low, high = columns_in, (-top, rows_in - top), -left, columns_in - left
                if mode != 0 and not (rows_inside and low <= 0 and wide <= high):
                    step, corner = min(wide, (room - 1) * stride + widths), (0, top, left)
                    size = (1, rows_in, columns_in)
                    pack_windows(image, spare, zero, plane_step, size, corner, tall, step, 1, 1, 1, 1, mode, pointer(integers))
                    source, there, low, high = spare, (0, tall), 0, wide + 1
                tile = vector.filled(first, rows, 1, lanes)
                tile = vector.fma_plane(tile, source, step, there, spare + -low, (low, high), weights, heights, widths, stride)
                vector.store_spans(activate_tile(tile, act), line + column, columns_out, rows, room)
                column += lanes
            if act[0] == 3:
                microkernel.silu_run(line, rows * columns_out)
        memory[0], integers[0] = 0, 0  # pointers do not keep an array alive: their last use does

    depthwise.__name__ = f"{dtype}_depthwise_{rows}x{columns}_{heights}x{widths}s{stride}_planes_{isa}"
    return Kernel(depthwise)


# Decisions --------------------------------------------------------------------------------------------------------------

ROWS = (14, 10, 8, 7, 5, 4, 3, 2, 1)  # output rows of a tile
FEW = 8  # of them, where there are 16 registers
LONG = 12  # vectors of an output row that is worth tiles of several: it is few rows of long lines that the L1 cache holds
LARGE = {32: ((3, 5), (5, 4)), 16: ((3, 3), (3, 3))}  # such tiles, by registers: for 3x3 kernels, and for others
WIDEST = 9  # taps of a kernel on either axis
CONFLICT = 1024  # elements of a row, or a multiple: all rows fall into the same sets of an L1 cache


def cycles_of_stack(tile: tuple[int, int], geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Products, loads and, with strides, the sorting of what was loaded, of the tiles of so many rows."""
    g, (tall, wide), stride, (rows, columns) = geometry, geometry.kernel, geometry.stride[0], tile
    each, fixed = (0.9 if stride == 1 else 2.5, 3.0) if columns == 1 else (0.45, 2.5 * rows)
    loads = ((rows - 1) * stride + tall) * wide * each
    return 22 + -(-g.out_size[1] // machine.lanes(dtype)) * (rows * tall * wide / machine.units + loads + fixed)


def tile_for(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> tuple[int, int]:
    """(rows, vectors) of the tile: a large one on long rows, else the one that takes the fewest cycles over a plane's rows."""
    g, most = geometry, ROWS[0] if machine.registers > 16 else FEW
    if g.stride == (1, 1) and g.kernel[0] > 2 and g.out_size[1] >= LONG * machine.lanes(dtype):
        large = LARGE[machine.registers][g.kernel[0] > 3]
        if large[0] <= g.out_size[0]:
            return large

    def cycles(rows: int) -> float:
        return -(-g.out_size[0] // rows) * cycles_of_stack((rows, 1), g, dtype, machine)

    return min((rows for rows in ROWS if rows <= min(most, g.out_size[0])), key=cycles, default=1), 1


def cycles(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Of all tiles."""
    g, tile = geometry, tile_for(geometry, dtype, machine)
    return g.batch * g.in_channels * -(-g.out_size[0] // tile[0]) * cycles_of_stack(tile, g, dtype, machine)


def suits(geometry: ConvGeometry, machine: Machine) -> bool:
    """Whether a plane's rows are long, masks cheap, and the kernel one that the tile is written for."""
    g = geometry
    return bool(
        machine.vector_bytes >= 32
        and (not g.channels_last or g.in_channels == 1)
        and g.rank == 2
        and g.stride[0] == g.stride[1] <= 2
        and g.dilation == (1, 1)
        and g.kernel[0] == g.kernel[1] <= WIDEST  # the tile is compiled for each kernel
        and (g.stride[0] == 1 or g.in_size[1] % CONFLICT)  # so many rows of x would drive each other out of the cache
    )


def pack(w: Array, bias: Array, geometry: ConvGeometry) -> Launch:
    """Weights as they are."""
    g, machine = geometry, host()
    rows, columns = tile_for(g, w.dtype, machine)
    far = int(prod(g.in_size) * w.dtype.itemsize >= FAR)
    sizes = np.array((g.in_channels, *g.in_size, *g.out_size, *(before for before, _ in g.padding), far, g.mode), np.int64)
    taps = g.kernel[0], g.kernel[1]
    chosen = kernel(rows, columns, taps, g.stride[0], machine.lanes(w.dtype), element(w.dtype), machine.isa)
    items = g.batch * g.in_channels * -(-g.out_size[0] // rows)
    arguments: tuple[Any, ...] = (sizes, codes(g.activation, w.dtype))
    return Launch(chosen, items, 2 * g.flops, w.reshape(-1).copy(), bias, arguments)
