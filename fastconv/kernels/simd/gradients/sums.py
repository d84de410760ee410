"""Sums of a gradient by the weights: from an item's block of sums to dw, and partial sums over parts of the positions.

    sums [k][t][c]      a block of output channels, taps and input channels, c padded to whole vectors

An item sums over all positions and writes dw, or sums over a slice of them: then a second kernel adds the slices up, in their
order. How many slices there are depends on the problem alone, so that the number of threads changes no bit.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from fastconv.kernels.jit import Kernel, compiled
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import windows
from fastconv.kernels.simd.engine.sizes import reader

pointer = vector.pointer

SHARES = 8  # items that a call should have for its threads
LEAST_WORK = 4_000_000  # operations of a slice at least
PARTIAL_BYTES = 4 << 20  # of all partial sums


class Blocks(NamedTuple):
    """How dw is cut into blocks, and the positions into slices.

    Attributes
    ----------
    groups, c_group, k_group, taps : int
        Groups of channels, channels of one, and taps of the kernel.
    first_tap, block_taps : int
        Elements of dw, as [k][c][t] or [k][t][c], span all taps; a block has so many of them.
    k_part, k_parts, c_part, c_parts, t_parts : int
        Channels of a block at most and blocks of a group, of either kind, and blocks of the taps.
    row, pitch : int
        Elements from one output channel of the sums to the next, and from one tap to the next.
    sums : int
        Elements of a block's sums, and of what may be read behind them.
    slices : int
        Parts of the positions, each with sums of its own.
    """

    groups: int
    c_group: int
    k_group: int
    taps: int
    block_taps: int
    k_part: int
    k_parts: int
    c_part: int
    c_parts: int
    t_parts: int
    row: int
    pitch: int
    sums: int
    slices: int


class Block(NamedTuple):
    """A block of dw: its group, first channels and tap, and how many channels of each kind."""

    group: int
    k: int
    c: int
    t: int
    rows: int
    channels: int


read = reader(Blocks)


def slices_of(blocks: int, chunks: int, flops: int, size: int) -> int:
    """Slices of so many chunks of positions: one where there are blocks enough, or partial sums of `size` bytes too large."""
    wanted = min(-(-SHARES // max(1, blocks)), chunks, flops // LEAST_WORK, PARTIAL_BYTES // max(1, size))
    return max(1, wanted)


def even_part(count: int, most: int, multiple: int) -> int:
    """The parts of about equal size, whole multiples, that `count` is cut into: of `most` at most, or one multiple."""
    most = max(multiple, most // multiple * multiple)
    parts = max(1, -(-count // most))
    each = -(-count // parts)
    return -(-each // multiple) * multiple


@compiled
def block_of(number, b):
    """The block of a number; those of the same input channels follow each other."""
    rest, k = divmod(number, b.k_parts)
    rest, t = divmod(rest, b.t_parts)
    group, c = divmod(rest, b.c_parts)
    k, c = k * b.k_part, c * b.c_part
    return Block(group, k, c, t * b.block_taps, min(b.k_part, b.k_group - k), min(b.c_part, b.c_group - c))


@compiled
def blocks_in(b):
    """Blocks in all."""
    return b.groups * b.c_parts * b.t_parts * b.k_parts


@compiled
def slice_of(part, chunks, b):
    """(first, last + 1) of the chunks of a slice."""
    return part * chunks // b.slices, (part + 1) * chunks // b.slices


@lru_cache(maxsize=8)
def writer(lanes: int, channels_last: bool) -> Any:
    """The compiled dw[k] = sums of one output channel `k` of a block."""
    copy, _ = windows.runs(lanes)
    unpack = windows.unpacker(lanes)

    def write_last(sums, dw, block, k, b):
        to = dw + ((block.group * b.k_group + block.k + k) * b.taps * b.c_group + block.t * b.c_group + block.c)
        if b.pitch == b.c_group:
            copy(to, sums, b.block_taps * b.c_group)
        else:
            for t in range(b.block_taps):
                copy(to + t * b.c_group, sums + t * b.pitch, block.channels)

    def write_first(sums, dw, block, k, b):
        to = dw + (((block.group * b.k_group + block.k + k) * b.c_group + block.c) * b.taps + block.t)
        if b.taps == 1:
            copy(to, sums, block.channels)
        else:
            unpack(sums, 1, b.block_taps, block.channels, b.pitch, to, 0, b.taps)

    return compiled(write_last if channels_last else write_first)


@lru_cache(maxsize=8)
def combiner(lanes: int, channels_last: bool, dtype: str, isa: str) -> Kernel:
    """The compiled sum over slices, in their order, of one output channel of a block an item."""
    write = writer(lanes, channels_last)

    def combine(begin, end, partial, dw, blocks):
        """dw [k][c][t] = sum over slices of partial [slice][block][k][t][c]"""
        b = read(blocks)
        count = blocks_in(b)
        for item in range(begin, end):
            number, k = divmod(item, b.k_part)
            block = block_of(number, b)
            if k >= block.rows:
                continue
            total = pointer(partial) + (number * b.sums + k * b.row)
            for one in range(1, b.slices):
                other = total + one * count * b.sums
                for i in range(0, b.row, lanes):
                    vector.store(total + i, vector.load(total + i, lanes) + vector.load(other + i, lanes))
            write(total, pointer(dw), block, k, b)

    combine.__name__ = f"{dtype}_gradient_combine_{isa}"
    return Kernel(combine)
