"""A block of planes of few channels, channels first: its outputs, its cells sorted by their phase of the stride, its taps.

planar.py runs over blocks.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from fastconv.kernels.jit import compiled
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import windows
from fastconv.kernels.simd.engine.sizes import Axes, Plane, Strides, reader
from fastconv.kernels.simd.engine.workspace import workspace

peek, poke, pointer = vector.peek, vector.poke, vector.pointer


class Sizes(NamedTuple):
    """What the kernel needs to know; of a stack, `taps.h` counts the rows that any of its windows meets."""

    groups: int
    c_group: int
    k_group: int
    cells: Plane
    outputs: Plane
    taps: Plane
    stride: Plane
    dilation: Plane
    before: Plane
    block: Plane
    mode: int


class Block(NamedTuple):
    """A block of outputs of a group of an image, and the cells under them.

    Attributes
    ----------
    n, group : int
        Image and group.
    first, outputs : Plane
        The first output, and how many there are.
    reach : Plane
        Cells of a plane; of a stack, those under the rows that it lacks too.
    phase, pitch : int
        Columns of a phase of the stride, and of all phases.
    """

    n: int
    group: int
    first: Plane
    outputs: Plane
    reach: Plane
    phase: int
    pitch: int


class Operands(NamedTuple):
    """Addresses of a tile's bias and weights, and of the cells and offsets of taps that all tiles of a block read."""

    bias: Any
    weights: Any
    cells: Any
    offsets: Any


class Parts(NamedTuple):
    """The bias of a tile, the cells of a block, and those of one plane before they are sorted."""

    bias: int
    cells: int
    unsorted: int


class Tables(NamedTuple):
    """Offsets of the taps of all channels, and the steps that packing takes."""

    offsets: int
    columns: int


read, carve, carve_tables = reader(Sizes), workspace(Parts), workspace(Tables)


@compiled
def with_cells(n, group, first, outputs, stack, s):
    """The block of these outputs, whose rows are those of whole stacks."""
    rows = -(-outputs.h // stack) * stack - stack
    reach_h = rows * s.stride.h + (s.taps.h - 1) * s.dilation.h + 1
    reach_w = (outputs.w - 1) * s.stride.w + (s.taps.w - 1) * s.dilation.w + 1
    phase = -(-reach_w // s.stride.w)
    return Block(n, group, first, outputs, Plane(reach_h, reach_w), phase, phase * s.stride.w)


@compiled
def block_of(item, stack, s):
    """The block of one item."""
    rest, column = divmod(item, -(-s.outputs.w // s.block.w))
    rest, row = divmod(rest, -(-s.outputs.h // s.block.h))
    n, group = divmod(rest, s.groups)
    first = Plane(row * s.block.h, column * s.block.w)
    outputs = Plane(min(s.block.h, s.outputs.h - first.h), min(s.block.w, s.outputs.w - first.w))
    return with_cells(n, group, first, outputs, stack, s)


@compiled
def list_taps(offsets, block, s):
    """offsets [c][r][s]: from the cell under an output's first tap to that under each other."""
    for c in range(s.c_group):
        for r in range(s.taps.h):
            row = (c * block.reach.h + r * s.dilation.h) * block.pitch
            for tap in range(s.taps.w):
                cell, phase = divmod(tap * s.dilation.w, s.stride.w)
                poke(offsets + ((c * s.taps.h + r) * s.taps.w + tap), row + phase * block.phase + cell)


@lru_cache(maxsize=8)
def phase_sorter(lanes: int) -> Any:
    """The compiled to[phase][i] = line[i * stride + phase]; what is written beyond a phase is written again."""

    @compiled
    def sort_two(line, to, block):
        for phase in range(2):
            for i in range(0, block.phase, lanes):
                at = line + (2 * i + phase)
                cells = vector.every_second(vector.load(at, lanes), vector.load(at + lanes, lanes))
                vector.store(to + (phase * block.phase + i), cells)

    @compiled
    def sort_several(line, to, block, stride):
        for phase in range(stride):
            count = (block.reach.w - phase + stride - 1) // stride
            for i in range(count):
                poke(to + (phase * block.phase + i), peek(line + (i * stride + phase)))
            for i in range(count, block.phase):
                poke(to + (phase * block.phase + i), vector.zero(to))

    def sort_phases(line, to, block, stride):
        if stride == 2:
            sort_two(line, to, block)
        else:
            sort_several(line, to, block, stride)

    return compiled(sort_phases)


@lru_cache(maxsize=8)
def cell_packer(lanes: int, sorts: bool, behind: int) -> Any:
    """The compiled copy of a block's cells: work.cells [c][row][phase][i]; without a stride there is one phase.

    Tiles read on into `behind` elements, which are zeros: products of what memory held may be subnormal, and slow.
    """
    pack, sort_phases, (_, clear) = windows.packer(lanes, True), phase_sorter(lanes), windows.runs(lanes)

    @compiled
    def plane_of(x, block, c, fill, s):
        """A channel's plane as a source."""
        at = pointer(x) + ((block.n * s.groups + block.group) * s.c_group + c) * s.cells.h * s.cells.w
        return windows.Source(at, Strides(0, 0, 0, s.cells.w, 1), Axes(1, s.cells.h, s.cells.w), s.mode, fill)

    def pack_cells(x, block, work, columns, fill, s):
        corner = Axes(0, block.first.h * s.stride.h - s.before.h, block.first.w * s.stride.w - s.before.w)
        cells = windows.Block(corner, 1, 1, block.reach.h, block.reach.w, 1, 1)
        if sorts:
            clear(work.unsorted + block.reach.h * block.reach.w, vector.zero(work.cells), behind)
        for c in range(s.c_group):
            to = work.cells + c * block.reach.h * block.pitch
            pack(plane_of(x, block, c, fill, s), cells, work.unsorted if sorts else to, columns)
            if sorts:
                for row in range(block.reach.h):
                    sort_phases(work.unsorted + row * block.reach.w, to + row * block.pitch, block, s.stride.w)
        clear(work.cells + s.c_group * block.reach.h * block.pitch, vector.zero(work.cells), behind)

    return compiled(pack_cells)
