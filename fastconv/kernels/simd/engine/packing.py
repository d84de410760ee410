"""The old names of engine/windows.py, weights.py and blocks.py, for the families that still call them."""

from functools import lru_cache
from typing import Any, NamedTuple

from fastconv.kernels.jit import Kernel, Launch, compiled
from fastconv.kernels.memory import LINE as LINE
from fastconv.kernels.memory import aligned as aligned
from fastconv.kernels.simd.engine.blocks import LEAST as LEAST
from fastconv.kernels.simd.engine.blocks import SHARES as SHARES
from fastconv.kernels.simd.engine.blocks import cut_plane as cut_plane
from fastconv.kernels.simd.engine.blocks import evenly as evenly
from fastconv.kernels.simd.engine.blocks import whole_lines as whole_lines
from fastconv.kernels.simd.engine.sizes import Axes, Strides
from fastconv.kernels.simd.engine.weights import weight_packer as weight_packer
from fastconv.kernels.simd.engine.windows import AHEAD as AHEAD
from fastconv.kernels.simd.engine.windows import FAR as FAR
from fastconv.kernels.simd.engine.windows import Block, Source, packer
from fastconv.kernels.simd.engine.windows import asker as asker
from fastconv.kernels.simd.engine.windows import cell_under as cell_under
from fastconv.kernels.simd.engine.windows import runs as runs
from fastconv.kernels.simd.engine.windows import unpacker as unpacker
from fastconv.problem.convolutions import Array


@compiled
def three(sizes, at):
    """Three sizes as a tuple."""
    return sizes[at], sizes[at + 1], sizes[at + 2]


@compiled
def five(sizes, at):
    """Five sizes as a tuple."""
    return sizes[at], sizes[at + 1], sizes[at + 2], sizes[at + 3], sizes[at + 4]


class Draft(NamedTuple):
    """A launch without its bias and weights, and what packs them."""

    kernel: Kernel
    items: int
    work: int
    arguments: tuple[Any, ...]
    packer: Kernel
    blocks: int
    rows: int
    weights: int
    weight_sizes: Array


def launched(draft: Draft, w: Array, bias: Array) -> Launch:
    """The draft with its weights, and a bias for every row of them."""
    packed = aligned(whole_lines(draft.rows, w.dtype) + draft.weights, w.dtype)
    draft.packer(draft.blocks, 4 * draft.weights, w.reshape(-1), bias, packed, draft.weight_sizes)
    return Launch(draft.kernel, draft.items, draft.work, packed, packed[: draft.rows], draft.arguments)


@lru_cache(maxsize=8)
def window_packer(lanes: int, channels_last: bool) -> Any:
    """The compiled copy of a block's input: engine/windows.py's `packer`, with its arguments one by one."""
    pack_block = packer(lanes, channels_last)

    def pack(x, to, zero, xs, cells, corner, rows, columns, taps_d, dilation_d, chunk, pitch, mode, steps):
        """`corner` is the cell of the first tap of the block's first output, on each axis."""
        source = Source(x, Strides(xs[0], xs[1], xs[2], xs[3], xs[4]), Axes(cells[0], cells[1], cells[2]), mode, zero)
        block = Block(Axes(corner[0], corner[1], corner[2]), taps_d, dilation_d, rows, columns, chunk, pitch)
        pack_block(source, block, to, steps)

    return compiled(pack)
