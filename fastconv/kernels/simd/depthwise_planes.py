"""Depthwise convolution, channels first: each plane is read where it lies, and a tile's rows stay in registers.

    y [h][w] = act(bias + sum over r, s of x [h * stride + r - padding][w * stride + s - padding] * w [r][s])

Vectors lie along the width. A tile has one vector of several output rows, and every vector of x that it loads feeds all rows
whose windows it is in. Cells of padding are left out by masks, rows of padding are read from a line of zeros: no plane is
copied, so that maps of 7x7 and of 112x112 take the same road.
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
def kernel(rows: int, taps: tuple[int, int], stride: int, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over stacks of `rows` output rows of a plane: f32_depthwise_14x1_3x3s1_planes_avx512."""
    activate_tile = microkernel.tile_activation(dtype)
    heights, widths = taps
    ahead = max(AHEAD, rows * stride)

    def depthwise(begin, end, x, w, bias, y, sizes, act):
        channels, rows_in, columns_in = packing.three(sizes, 0)
        rows_out, columns_out, top_pad = packing.three(sizes, 3)
        left_pad, far = sizes[6], sizes[7] > 0
        stacks = -(-rows_out // rows)
        memory = np.zeros(columns_in + 1, x.dtype)
        zeros = pointer(memory)
        for item in range(begin, end):
            plane, stack = divmod(item, stacks)
            h = min(stack * rows, rows_out - rows)  # the last stack may overlap the one before
            top = h * stride - top_pad
            image, line = pointer(x) + plane * rows_in * columns_in, pointer(y) + (plane * rows_out + h) * columns_out
            c = plane % channels
            for column in range(0, columns_out, lanes):
                left = column * stride - left_pad
                if far:
                    for row in range(rows * stride):
                        for part in range(stride):
                            vector.prefetch(image + ((top + ahead + row) * columns_in + left + part * lanes))
                tile = vector.fma_plane(
                    vector.filled(peek(pointer(bias) + c), rows, 1, lanes),
                    image + (top * columns_in + left),
                    columns_in,
                    (-top, rows_in - top),
                    zeros + left,
                    (-left, columns_in - left),
                    pointer(w) + c * heights * widths,
                    heights,
                    widths,
                    stride,
                )
                vector.store_spans(activate_tile(tile, act), line + column, columns_out, rows, columns_out - column)
            if act[0] == 3:
                microkernel.silu_run(line, rows * columns_out)
        memory[0] = 0  # pointers do not keep an array alive: its last use does

    depthwise.__name__ = f"{dtype}_depthwise_{rows}x1_{heights}x{widths}s{stride}_planes_{isa}"
    return Kernel(depthwise)


# Decisions --------------------------------------------------------------------------------------------------------------

ROWS = (14, 10, 8, 7, 5, 4, 3, 2, 1)  # output rows of a tile
FEW = 8  # of them, where there are 16 registers
WIDEST = 7  # taps of a kernel on either axis
CONFLICT = 1024  # elements of a row, or a multiple: all rows fall into the same sets of an L1 cache


def cycles_of_stack(rows: int, geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Products, loads and, with strides, the sorting of what was loaded, of the tiles of so many rows."""
    g, (tall, wide), stride = geometry, geometry.kernel, geometry.stride[0]
    loads = ((rows - 1) * stride + tall) * wide * (0.9 if stride == 1 else 2.5)
    return 22 + -(-g.out_size[1] // machine.lanes(dtype)) * (rows * tall * wide / machine.units + loads + 3)


def rows_for(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> int:
    """The tile that takes the fewest cycles over the rows of a plane."""
    g, most = geometry, ROWS[0] if machine.registers > 16 else FEW

    def cycles(rows: int) -> float:
        return -(-g.out_size[0] // rows) * cycles_of_stack(rows, g, dtype, machine)

    return min((rows for rows in ROWS if rows <= min(most, g.out_size[0])), key=cycles, default=1)


def cycles(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Of all tiles."""
    g, rows = geometry, rows_for(geometry, dtype, machine)
    return g.batch * g.in_channels * -(-g.out_size[0] // rows) * cycles_of_stack(rows, g, dtype, machine)


def suits(geometry: ConvGeometry, machine: Machine) -> bool:
    """Whether a plane's rows are long, masks cheap, and the kernel one that the tile is written for."""
    g = geometry
    return bool(
        machine.vector_bytes >= 32
        and (not g.channels_last or g.in_channels == 1)
        and g.rank == 2
        and g.mode == 0
        and g.stride[0] == g.stride[1] <= 2
        and g.dilation == (1, 1)
        and g.kernel[0] == g.kernel[1] <= WIDEST  # the tile is compiled for each kernel
        and g.in_size[1] % CONFLICT  # rows of x, or of x and the result, would drive each other out of the cache
    )


def pack(w: Array, bias: Array, geometry: ConvGeometry) -> Launch:
    """Weights as they are."""
    g, machine = geometry, host()
    rows = rows_for(g, w.dtype, machine)
    far = int(prod(g.in_size) * w.dtype.itemsize >= FAR)
    sizes = np.array((g.in_channels, *g.in_size, *g.out_size, *(before for before, _ in g.padding), far), np.int64)
    taps = g.kernel[0], g.kernel[1]
    chosen = kernel(rows, taps, g.stride[0], machine.lanes(w.dtype), element(w.dtype), machine.isa)
    items = g.batch * g.in_channels * -(-g.out_size[0] // rows)
    arguments: tuple[Any, ...] = (sizes, codes(g.activation, w.dtype))
    return Launch(chosen, items, 2 * g.flops, w.reshape(-1).copy(), bias, arguments)
