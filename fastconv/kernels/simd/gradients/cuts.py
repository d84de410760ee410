"""How a gradient by the weights is cut for Winograd's minimal filtering: blocks of dw and chunks of tiles, and their costs.

winograd.py computes by them. All geometries here are lifted to three axes.
"""

from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.simd.engine.costs import CALL
from fastconv.kernels.simd.engine.filtering import KERNEL, cells_of
from fastconv.kernels.simd.engine.tables import Tile
from fastconv.kernels.simd.gradients import sums
from fastconv.kernels.simd.gradients.chunks import chunk_for, copy_cycles
from fastconv.kernels.simd.gradients.sums import even_part
from fastconv.kernels.simd.gradients.transforms import TILE
from fastconv.machine import Machine
from fastconv.problem.convolutions import ConvGeometry

PARTS = (64, 128, 256)  # channels of a block of dw, of either kind
TILES_OF_SLICE = 64  # at least: each slice transforms its sums of products
CHUNKS = (32, 64, 128)  # tiles of a chunk that the L2 cache may have no room for
MOST_HELD = 6 << 20  # bytes of V, D, M and copies of a thread: a share of the last cache
SPILLED = (0.3, 0.02)  # cycles of a byte that the L2 cache has no room for: of many vector registers, and of few
FEW_REGISTERS = (2.6, 3.7)  # times that transforms with copies take longer by few registers: channels last, and first


class Cut(NamedTuple):
    """How a problem is cut.

    Attributes
    ----------
    form : (int, int)
        Outputs of a tile of the map.
    tile : Tile
        Output channels x vectors of input channels, of a register tile.
    k_part, c_part : int
        Channels of a block of dw.
    chunk : (int, int, int)
        Planes, rows and columns of outputs.
    """

    form: tuple[int, int]
    tile: Tile
    k_part: int
    c_part: int
    chunk: tuple[int, int, int]


def form_of(geometry: ConvGeometry) -> tuple[int, int]:
    """Outputs of a tile of a lifted geometry."""
    high, wide = (TILE if taps == KERNEL else 1 for taps in geometry.kernel[1:])
    return high, wide


def tiles_of(geometry: ConvGeometry, form: tuple[int, int]) -> int:
    """Tiles of the map in all."""
    return geometry.batch * geometry.out_size[0] * prod(-(-n // m) for n, m in zip(geometry.out_size[1:], form, strict=True))


def held_by(form: tuple[int, int], parts: tuple[int, int], tiles: int, dtype: np.dtype[Any]) -> tuple[int, int]:
    """Bytes of V, D and M of so many tiles, and of copies beside them, or less."""
    planes, copied = prod(cells_of(form)), prod(m + 2 for m in form)
    together = tiles * sum(parts)
    return planes * (prod(parts) + together) * dtype.itemsize, copied * together * dtype.itemsize


def parts_of(geometry: ConvGeometry, tile: Tile, parts: tuple[int, int], lanes: int) -> tuple[int, int]:
    """Channels of either kind of a block, of `parts` at most."""
    g = geometry
    return even_part(g.out_per_group, parts[0], tile.rows), even_part(g.in_per_group, parts[1], tile.columns * lanes)


def chunks_for(form: tuple[int, int], parts: tuple[int, int], dtype: np.dtype[Any], machine: Machine) -> Iterator[int]:
    """Tiles of a chunk: as many as the L2 cache has room for beside M, or half of it, and more that the last cache holds."""
    (fixed, _), (one, copies) = held_by(form, parts, 0, dtype), held_by(form, parts, 1, dtype)
    room = machine.l2 * 3 // 4 if machine.is_meshed else machine.l2
    near = max(4, max(machine.l2 // 3, room - fixed) // (one - fixed + copies))
    yield near
    for tiles in CHUNKS:
        if tiles > near and sum(held_by(form, parts, tiles, dtype)) <= min(MOST_HELD, machine.l3 // 4):
            yield tiles


def cut(geometry: ConvGeometry, tile: Tile, parts: tuple[int, int], tiles: int) -> Cut:
    """Blocks of so many channels, and chunks of about so many tiles."""
    g, form = geometry, form_of(geometry)
    spread = [-(-size // m) for size, m in zip(g.out_size[1:], form, strict=True)]
    together, rows, columns = chunk_for(g.batch * g.out_size[0], (spread[0], spread[1]), tiles)
    return Cut(form, tile, *parts, (together, rows * form[0], columns * form[1]))


def seconds(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> float:
    """Cycles of products, of sums loaded and stored, of transforms and copies, and of what leaves the L2 cache."""
    g, (rows, columns), lanes, planes = geometry, cut.tile, machine.lanes(dtype), prod(cells_of(cut.form))
    per_chunk = cut.chunk[0] * (cut.chunk[1] // cut.form[0]) * (cut.chunk[2] // cut.form[1])
    tiles, slices_d = tiles_of(g, cut.form), g.kernel[0]
    chunks = max(1.0, tiles / max(1, per_chunk))
    k_parts, c_parts = -(-g.out_per_group // cut.k_part), -(-g.in_per_group // cut.c_part)
    c_vectors, k_vectors = -(-g.in_per_group // lanes), -(-g.out_per_group // lanes)
    few = machine.registers <= 16
    of_plane = k_parts * c_parts * -(-min(cut.k_part, g.out_per_group) // rows)
    of_plane *= -(-min(cut.c_part, g.in_per_group) // (columns * lanes))
    each = max(rows * columns / machine.units, (rows + columns + 1) / 2) * (1.25 if few else 1.06) + 0.3
    products = planes * of_plane * (tiles * each + chunks * (15 + 1.5 * rows * columns))
    m = prod(cut.form)
    copied_x, copied_dy = (copy_cycles(channels, g.channels_last, lanes) for channels in (g.in_per_group, g.out_per_group))
    again = k_parts if chunks > 1 else 1
    of_inputs = copied_x * m * 1.3 + c_vectors * (10 + 1.8 * planes)
    of_grads = copied_dy * m + k_vectors * (10 + 1.7 * planes)
    copies = tiles * (again * of_inputs + c_parts * of_grads) * (FEW_REGISTERS[not g.channels_last] if few else 1)
    slices = slices_for(g, cut, dtype)
    ends = slices * g.out_per_group * c_vectors * (10 + 2.6 * planes)
    written = g.out_per_group * c_vectors * prod(g.kernel[1:]) * (2 if g.channels_last else 9)
    held, beside = held_by(cut.form, (cut.k_part, cut.c_part), per_chunk, dtype)
    passes = slices_d * g.groups * k_parts * c_parts * chunks
    cycles = slices_d * g.groups * (products + copies + ends + written)
    if machine.is_meshed:
        afar = passes * 2 * max(0, held + beside - machine.l2 * 7 // 8) / machine.cached
    else:
        afar = machine.seconds(passes * max(0, held - machine.l2) * SPILLED[few])
    return machine.seconds(CALL + cycles, g.bytes(dtype.itemsize)) + afar


def slices_for(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any]) -> int:
    """Slices of the tiles."""
    g = geometry
    blocks = g.groups * g.kernel[0] * -(-g.out_per_group // cut.k_part) * -(-g.in_per_group // cut.c_part)
    size = cut.k_part * cut.c_part * prod(g.kernel[1:]) * dtype.itemsize
    planes, spread = g.batch * g.out_size[0], [-(-n // m) for n, m in zip(g.out_size[1:], cut.form, strict=True)]
    counts = (planes, spread[0] * cut.form[0], spread[1] * cut.form[1])
    chunks = prod(-(-count // part) for count, part in zip(counts, cut.chunk, strict=True))
    return min(sums.slices_of(blocks, chunks, g.flops, blocks * size), max(1, tiles_of(g, cut.form) // TILES_OF_SLICE))
