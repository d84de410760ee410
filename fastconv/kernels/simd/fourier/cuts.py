"""How a convolution is cut into blocks for Fourier transforms, and what it should take.

The block is the one whose passes should take the least time, of all that hold the kernel.
"""

from functools import lru_cache
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd.fourier.spectra import Shape
from fastconv.machine import CLOCK, Machine
from fastconv.problem.convolutions import Array, ConvGeometry, Size

POINTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)  # of a pass
MOST_PLANES = 64  # of a block
WORKSPACE = 4 << 20  # bytes of transformed input a thread
ROW = 38e-9  # seconds until the first line of a row comes from behind the L2 cache
SHORT = 64  # cells of a row that ends before the next lines of it are fetched ahead


class Cut(NamedTuple):
    """A block: its points, as three passes, and its outputs on each axis; and the pairs of blocks of an item."""

    shape: Shape
    outputs: Size
    chunk: int


def real_of(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of the real part."""
    return np.dtype(dtype.char.lower())


def pairs_of(blocks: Any, dtype: np.dtype[Any]) -> Any:
    """Transforms of so many blocks of an image: of real ones, two go together. The number may be an array."""
    return blocks if dtype.kind == "c" else -(-blocks // 2)


def chunk_of(geometry: ConvGeometry, size: Any, real: np.dtype[Any], pairs: Any) -> Any:
    """Pairs of blocks whose products go together, so that the filters are read less often; sizes may be arrays."""
    if geometry.in_per_group == 1:
        return 1
    return np.maximum(1, np.minimum(pairs, WORKSPACE // (2 * size * real.itemsize * geometry.in_per_group)))


@lru_cache(maxsize=16)
def shapes(rank: int, lanes: int) -> Array:
    """The blocks that there are, as the columns a, b, m: whole vectors along the last two."""
    fitting = [points for points in POINTS if points % lanes == 0]
    planes = [points for points in POINTS if points <= MOST_PLANES] if rank == 3 else [1]
    return np.array(list(product(planes, fitting, fitting)), np.int64).T


@remembered
def fastest(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> tuple[float, Cut] | None:
    """(seconds, cut) of the block whose passes should take the least time, or None where none holds the kernel."""
    g, real = geometry.lifted(), real_of(dtype)
    blocks = shapes(geometry.rank, machine.lanes(real))
    ones = np.ones_like(blocks[0])
    points = np.stack((ones, ones, blocks[1] * blocks[2])) if geometry.rank == 1 else blocks
    # As floats: a shape that nobody has memory for may pass 64 bits.
    window, stride, out_size = (np.array(sizes, np.float64)[:, None] for sizes in (g.window, g.stride, g.out_size))
    holding = (points >= window).all(0)
    if not holding.any():
        return None
    blocks, points = blocks[:, holding], points[:, holding]
    outputs = (points - window) // stride + 1
    count = (-(-out_size // outputs)).prod(0)
    expected = seconds(geometry, blocks, count, dtype, machine)
    best = int(np.argmin(expected))
    shape = Shape(*(int(n) for n in blocks[:, best]))
    outputs_of_block = tuple(int(n) for n in outputs[:, best])
    number = prod(-(-total // part) for total, part in zip(g.out_size, outputs_of_block, strict=True))
    chunk = int(chunk_of(g, prod(shape), real, pairs_of(number, dtype)))
    return float(expected[best]), Cut(shape, outputs_of_block, chunk)


def seconds(geometry: ConvGeometry, blocks: Array, count: Array, dtype: np.dtype[Any], machine: Machine) -> Array:
    """What each of the cuts should take, of `count` blocks an image: transforms, products, what moves, filters read again."""
    g, real, size = geometry.lifted(), real_of(dtype), blocks.prod(0)
    lanes, bytes_of = machine.lanes(real), 2 * size * real.itemsize
    pairs = g.batch * pairs_of(count, dtype)
    # What is summed over channels comes from the L2 cache, or from behind it.
    near = bytes_of * (g.in_per_group + 1) <= machine.l2
    cycles = size // lanes * (g.in_channels + g.out_channels) * 7 * np.log2(size)
    cycles += size // lanes * g.in_channels * g.out_per_group * np.where(near, 8, 22)
    if g.channels_last:
        cycles += 2 * size * ((g.in_channels > 1) * 1.8 * g.in_channels + (g.out_channels > 1) * g.out_channels)
    cycles = 36_000 + pairs * (cycles + 580 * (g.in_channels + g.out_channels))
    filters = bytes_of * g.in_channels * g.out_per_group
    # Whatever ran before has driven spectra of more than the L2 cache out to memory.
    speed = machine.bandwidth * np.where(filters <= machine.l2, 9, 0.8)
    passes = -(-pairs // chunk_of(g, size, real, count))
    expected = cycles / CLOCK + machine.seconds(0, g.bytes(real.itemsize)) + passes * filters / speed
    if geometry.rank > 1 and not g.channels_last and real.itemsize * prod(g.x_shape) > machine.l2:
        expected += np.where(blocks[2] <= SHORT, 1, 0.25) * ROW * 2 * pairs * g.in_channels * blocks[0] * blocks[1]
    return np.asarray(expected)
