"""What the kernels that sum products themselves are expected to take: cycles of their parts, as fitted to measurements.

Each estimate adds up multiply-adds of vectors, which the processor's units share, and what goes on around them: tiles begun and
stored, windows copied, results turned into their layout. Fitted on a processor with AVX-512 over 620 geometries: nine tenths
of the times of `direct` lay between 0.9 and 1.3 of their estimates. Only ratios of costs decide anything.
"""

from itertools import product
from math import prod
from typing import Any

import numpy as np

from fastconv.geometry import SPATIAL_AXES, ConvGeometry
from fastconv.kernels.simd import conv, depthwise_planes, dots, interleaved, packing, planar, pointwise
from fastconv.machine import Machine

CALL = 28_000  # cycles of a call that does next to nothing
NEAR = 4 << 20  # bytes of weights, beyond which packing them waits for memory


def of_tiles(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Of conv.py."""
    g, lanes = conv.flattened(geometry), machine.lanes(dtype)
    vectors, c_vectors = -(-g.out_per_group // lanes), -(-g.in_per_group // lanes)
    cycles = float(CALL)
    # Every second element of a line is written at a time, and lines that the L2 cache does not hold are fetched each time.
    apart = 16 + (7 * lanes if dtype.itemsize * prod(g.out_shape) > 3 * machine.l2 else 0)
    for walks in product(*(g.walks(axis) for axis in range(SPATIAL_AXES))):
        outputs, taps = [walk.outputs for walk in walks], [walk.taps for walk in walks]
        if not prod(outputs):
            continue
        tile = conv.tile_for(prod(outputs[1:]), vectors, machine, conv.crowding(g, walks, machine, dtype.itemsize))
        cut = conv.blocking(g, walks, tile, machine, dtype.itemsize)
        high, wide = min(cut.rows, outputs[1]), min(cut.columns, outputs[2])
        blocks = g.batch * g.groups * outputs[0] * -(-outputs[1] // cut.rows) * -(-outputs[2] // cut.columns)
        tiles = blocks * -(-high * wide // tile.rows) * -(-vectors // tile.columns)
        chunks = -(-g.in_per_group // cut.chunk)
        inside = walks[0].share_inside * walks[1].share_inside if g.mode == 0 else 1.0
        cycles += tiles * g.in_per_group * prod(taps) * inside * max(tile.rows * tile.columns, 8) / machine.units
        cycles += 110 * tiles * chunks
        if not cut.direct:
            cells = taps[0] * walks[1].reach(high) * walks[2].reach(wide)
            cycles += (5.5 if g.channels_last else 1.0) * blocks * cells * c_vectors
        if not g.channels_last:
            cycles += (7 if walks[2].step == 1 else apart) * blocks * high * wide * vectors * chunks
    return machine.seconds(cycles, g.bytes(dtype.itemsize))


def of_planes(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Of planar.py."""
    g, lanes = geometry, machine.lanes(dtype)
    _, outputs, (heights, widths), steps, dilation, _ = planar.plane_sizes(g)
    vectors, stack, blocks = -(-outputs[1] // lanes), 1, 1
    if g.out_per_group == steps[0] == dilation[0] == 1:
        stack, columns = planar.stack_for(heights, vectors, machine)
        rows = stack
    else:
        rows, columns = planar.tile_for(g.out_per_group, vectors, machine)
        blocks = -(-g.out_per_group // rows)
    extent = tuple(spread * (count - 1) + 1 for spread, count in zip(dilation, (heights, widths), strict=True))
    room = machine.l2 // 4 // dtype.itemsize
    band, strip = packing.cut_plane(outputs, steps, extent, g.in_per_group, room, g.batch * g.groups)
    bands, strips, images = -(-outputs[0] // band), -(-outputs[1] // strip), g.batch * g.groups
    terms = g.in_per_group * (heights + stack - 1) * widths
    large, narrow = planar.tiles_of_row(-(-min(strip, outputs[1]) // lanes), rows, columns)
    stacks = images * blocks * -(-outputs[0] // stack) * strips
    tiles, used = stacks * (large + narrow), stacks * (large * columns + narrow)
    lines = images * bands * strips * g.in_per_group * ((min(band, outputs[0]) - 1) * steps[0] + extent[0])
    cells = lines * ((min(strip, outputs[1]) - 1) * steps[1] + extent[1])
    products = used * g.in_per_group * heights * widths * rows
    cycles = CALL + (0.8 * products + 0.25 * terms * (tiles * rows + 2 * used)) / min(machine.units, 1.5)
    cycles += 20 * tiles + used * rows + 20 * lines + cells * (4 / lanes + (0, 0, 0.4, 1)[min(steps[1], 3)])
    return machine.seconds(cycles + 6 * images * bands * strips * terms, g.bytes(dtype.itemsize))


def of_points(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Of pointwise.py."""
    return machine.seconds(CALL + pointwise.tile_for(geometry, dtype, machine)[0], geometry.bytes(dtype.itemsize))


def of_dots(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Of dots.py."""
    return machine.seconds(CALL + dots.cycles(geometry, dtype, machine), geometry.bytes(dtype.itemsize))


def depthwise(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Of depthwise.py: rows read where they lie; or planes turned to channels last and back."""
    if depthwise_planes.suits(geometry, machine):
        cycles = CALL + depthwise_planes.cycles(geometry, dtype, machine)
        return machine.seconds(cycles, geometry.bytes(dtype.itemsize))
    if interleaved.suits(geometry, dtype, machine):
        return machine.seconds(CALL + interleaved.cycles(geometry, dtype, machine), geometry.bytes(dtype.itemsize))
    g, lanes = geometry, machine.lanes(dtype)
    _, outputs, kernel, steps, dilation, _ = planar.plane_sizes(g)
    vectors = -(-g.out_channels // lanes)
    results = g.batch * prod(outputs) * vectors
    cycles = CALL + results * g.taps * g.in_per_group * 1.5 / machine.units
    if not g.channels_last:
        extent = tuple(spread * (count - 1) + 1 for spread, count in zip(dilation, kernel, strict=True))
        room = machine.l2 // 4 // dtype.itemsize
        band, strip = packing.cut_plane(outputs, steps, extent, lanes, room, g.batch * vectors)
        high = (min(band, outputs[0]) - 1) * steps[0] + extent[0]
        wide = (min(strip, outputs[1]) - 1) * steps[1] + extent[1]
        turned = g.out_channels // lanes + (2.5 if g.out_channels % lanes else 0)  # by squares, those of fewer lanes by masks
        lines = g.batch * turned * -(-outputs[0] // band) * -(-outputs[1] // strip) * high
        cycles += lines * lanes * (3.6 * -(-wide // lanes) + 2.2 * (extent[1] - 1))
        cycles += 7 * g.batch * vectors * outputs[0] * -(-outputs[1] // lanes) * lanes
    return machine.seconds(cycles, g.bytes(dtype.itemsize))


def of_packing(geometry: ConvGeometry, dtype: np.dtype[Any], seconds_per_byte: float, overhead: float) -> float:
    """Seconds; twice as many where taps lie together and channels apart."""
    size = geometry.weights * dtype.itemsize
    apart = 1 if geometry.channels_last or geometry.taps == 1 else 2
    return overhead + (size + 1.5 * max(0, size - NEAR)) * seconds_per_byte * apart
