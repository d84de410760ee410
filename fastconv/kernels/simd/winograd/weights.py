"""The weights of Winograd convolution as its products take them: U = G w G^T, with vectors along the output channels."""

from functools import lru_cache

import numpy as np

from fastconv.kernels.jit import Kernel
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import packing
from fastconv.kernels.simd.winograd.transforms import KERNEL, cells_of, weight_transform

poke, pointer = vector.poke, vector.pointer


@lru_cache(maxsize=16)
def weight_kernel(form: tuple[int, int], lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled U = G w G^T, by blocks of output channels and `lanes` input channels: f32_winograd_4x4_weights_avx512."""
    n, planes = max(form) + KERNEL - 1, cells_of(form)[0] * cells_of(form)[1]
    tall, broad = (1 if outputs == 1 else KERNEL for outputs in form)
    to_planes = weight_transform(form, lanes, dtype)

    def weights(begin, end, w, u, sizes):
        _, c_group, k_group = packing.three(sizes, 0)
        by_k, by_c, by_tap = packing.three(sizes, 3)
        width, u_plane, taps_d = packing.three(sizes, 6)
        (high, wide, step_h), (step_w, pieces_w, pieces) = packing.three(sizes, 9), packing.three(sizes, 12)
        taps, places_h, places_w = taps_d * high * wide, 15, 15 + pieces // pieces_w
        blocks, c_parts = -(-k_group // width), -(-c_group // lanes)
        zero = u.dtype.type(0)
        memory = np.empty((lanes * taps + n * KERNEL + tall * broad) * lanes + 32, u.dtype)
        table = np.empty(2 * lanes, np.int64)
        square = vector.line_start(pointer(memory))
        scratch, by_column, by_channel = square + lanes * taps * lanes, pointer(table), pointer(table) + lanes
        one_piece, nothing = scratch + n * KERNEL * lanes, vector.splat(zero, lanes)
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
                to = pointer(u) + (group * planes * u_plane + block * taps_d * pieces * c_group * width + k)
                for index in range(c_count * taps_d * pieces):
                    rest, piece = divmod(index, pieces)
                    c, t = divmod(rest, taps_d)
                    at = square + (c * taps + t * high * wide) * lanes
                    if pieces > 1:  # its taps, and zeros for those beyond the kernel, one behind the other
                        top, left = sizes[places_h + piece // pieces_w], sizes[places_w + piece % pieces_w]
                        for tap in range(tall * broad):
                            row, column = top + tap // broad * step_h, left + tap % broad * step_w
                            inside = row < high and column < wide
                            value = vector.load(at + (row * wide + column) * lanes, lanes) if inside else nothing
                            vector.store(one_piece + tap * lanes, value)
                        at = one_piece
                    to_planes(at, scratch, to + ((t * pieces + piece) * c_group + c_first + c) * width, u_plane)
        memory[0], table[0] = zero, 0  # pointers do not keep an array alive: its last use does

    weights.__name__ = f"{dtype}_winograd_{form[0]}x{form[1]}_weights_{isa}"
    return Kernel(weights)
