"""Filters on images of few channels that lie together, as colours do: depthwise convolution, channels last, C < a vector.

    y [h][w * C + c] = act(bias[c] + sum over r, s of x[h + r][(w + s) * C + c] * w[r, s][c])

A row is one line of w * C values whose neighbours in a window lie C apart, so that a tile of C vectors holds as many pixels as
a vector has lanes, and each of its vectors meets weights that repeat every C lanes: all vectors are full. Where all channels
have the same filter, as blurs have, one weight serves whole tiles. A block of the image is copied with its padding, which
leaves it in the cache. It serves what depthwise_planes.py does not: oblong and dilated kernels, steps down the rows.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from fastconv.kernels.jit import Kernel, Launch, element
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.depthwise.planes import MOST_CHANNELS
from fastconv.kernels.simd.engine import epilogue, packing
from fastconv.kernels.simd.engine.walks import plane_sizes
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array, ConvGeometry

pointer = vector.pointer
COLUMNS = {32: 8, 16: 4}  # vectors of a tile at most, where its channels share their weights


@lru_cache(maxsize=32)
def kernel(columns: int, shared: bool, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over blocks of images: f32_interleaved_1x3_avx512, or f32_interleaved_1x6_shared_avx512."""
    activate_tile = epilogue.activation_of(dtype)
    pack_windows = packing.window_packer(lanes, True)
    width, taps_size = columns * lanes, 1 if shared else columns * lanes

    def interleaved(begin, end, x, w, bias, residual, y, sizes, parameters):
        act = epilogue.epilogue(parameters, residual, y)
        (rows_in, columns_in, rows_out), (columns_out, heights, widths) = packing.three(sizes, 0), packing.three(sizes, 3)
        (down, dilation_h, dilation_w), (top_pad, left_pad, band) = packing.three(sizes, 6), packing.three(sizes, 9)
        (strip, mode, channels), zero = packing.three(sizes, 12), x.dtype.type(0)
        bands, strips = -(-rows_out // band), -(-columns_out // strip)
        wide = strip + (widths - 1) * dilation_w
        tall = (band - 1) * down + (heights - 1) * dilation_h + 1
        memory = np.empty(tall * wide * channels + 2 * width + 32, x.dtype)
        integers = np.empty(lanes, np.int64)
        padded, steps = vector.line_start(pointer(memory)), pointer(integers)
        for item in range(begin, end):
            rest, piece = divmod(item, strips)
            n, part = divmod(rest, bands)
            top, left = part * band, piece * strip
            count, broad = min(band, rows_out - top), min(strip, columns_out - left)
            high = (count - 1) * down + (heights - 1) * dilation_h + 1
            wide = broad + (widths - 1) * dilation_w
            image, corner = pointer(x) + n * rows_in * columns_in * channels, (0, top * down - top_pad, left - left_pad)
            steps_x, cells = (0, 1, 0, columns_in * channels, channels), (1, rows_in, columns_in)
            pack_windows(image, padded, zero, steps_x, cells, corner, high, wide, 1, 1, channels, channels, mode, steps)
            pitch = wide * channels
            for h in range(count):
                line = pointer(y) + ((n * rows_out + top + h) * columns_out + left) * channels
                for column in range(0, broad * channels, width):
                    tile = vector.load_tile(pointer(bias), 0, 1, columns, lanes)
                    for r in range(heights):
                        source = padded + ((h * down + r * dilation_h) * pitch + column)
                        taps = pointer(w) + r * widths * taps_size
                        for s in range(widths):
                            at = source + s * dilation_w * channels
                            if shared:
                                tile = vector.fma_shared(tile, taps + s * taps_size, at)
                            else:
                                tile = vector.fma_lanes(tile, taps + s * taps_size, at)
                    vector.store_spans(activate_tile(tile, act), line + column, 0, 1, broad * channels - column)
                if epilogue.is_unfinished(act):
                    epilogue.finish_run(line, broad * channels, act)
        memory[0], integers[0] = zero, 0  # pointers do not keep an array alive: their last use does

    interleaved.__name__ = f"{dtype}_interleaved_1x{columns}_{'shared_' * shared}{isa}"
    return Kernel(interleaved)


# Decisions --------------------------------------------------------------------------------------------------------------


def suits(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> bool:
    """Whether each channel has a filter of its own and all of them fit a tile; stride 1 along the rows."""
    g = geometry
    plain = g.channels_last and not g.transposed and g.rank <= 2 and g.stride[-1] == 1
    return plain and g.in_per_group == g.out_per_group == 1 and 1 < g.in_channels <= MOST_CHANNELS[machine.registers]


def cycles(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Of all tiles, and of the copy."""
    g, lanes = geometry, machine.lanes(dtype)
    _, outputs, taps, _, _, _ = plane_sizes(g)
    tiles = g.batch * outputs[0] * -(-outputs[1] // lanes)
    return tiles * (30 + taps[0] * taps[1] * g.in_channels * 1.6) + 30 * g.batch * outputs[0]


def pack(w: Array, bias: Array, geometry: ConvGeometry) -> Launch:
    """Weights as [r][s], with [C vectors] that repeat every C lanes unless they are shared; the bias alike."""
    g, machine = geometry, host()
    lanes, channels = machine.lanes(w.dtype), geometry.in_channels
    in_size, out_size, taps, steps, dilation, before = plane_sizes(g)
    by_tap = np.moveaxis(w.reshape(channels, *taps), 0, -1)
    shared = bool((by_tap == by_tap[..., :1]).all())
    columns = channels * max(1, COLUMNS[machine.registers] // channels) if shared else channels
    repeated = by_tap[..., :1] if shared else np.broadcast_to(by_tap[:, :, None], (*taps, lanes, channels))
    extent = tuple(spread * (count - 1) + 1 for spread, count in zip(dilation, taps, strict=True))
    room = machine.l2 // 4 // w.dtype.itemsize
    band, strip = packing.cut_plane(out_size, steps, extent, channels, room, g.batch)
    sizes = (*in_size, *out_size, *taps, steps[0], *dilation, *before, band, strip, g.mode, channels)
    items = g.batch * -(-out_size[0] // band) * -(-out_size[1] // strip)
    chosen = kernel(columns, shared, lanes, element(w.dtype), machine.isa)
    arguments = (np.array(sizes, np.int64), epilogue.scalars(g.activation, w.dtype))
    return Launch(chosen, items, g.flops // 4, repeated.reshape(-1), np.tile(bias, columns // channels * lanes), arguments)
