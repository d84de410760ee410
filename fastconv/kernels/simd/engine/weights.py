"""Weights laid out for the microkernel, once a plan.

    weights   [group][block][chunk of channels][t r s][c][width]      a row of `width` values is one vector load a column
    bias      [group][block][width]                                   in whole cache lines before the weights

`width` is the number of output channels of a register tile; the last block is filled up with zeros.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import GRAIN, NO_WEIGHTS, Kernel, Launch, compiled, element
from fastconv.kernels.memory import aligned
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.blocks import whole_lines
from fastconv.kernels.simd.engine.sizes import Axes, reader, written
from fastconv.kernels.simd.engine.walks import TapSteps
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.machine import Machine
from fastconv.problem.convolutions import Array

peek, poke, pointer = vector.peek, vector.poke, vector.pointer


class Sizes(NamedTuple):
    """What the packing needs to know.

    Attributes
    ----------
    blocks, width : int
        Blocks of output channels of a group, and channels of a block.
    k_group, c_group, chunk : int
        Output and input channels of a group, and input channels of a chunk.
    taps : Axes
        Of the kernel.
    steps : TapSteps
        Elements of the weights from one to the next, as they are given.
    first : int
        Elements from the bias to the weights, as they are packed.
    """

    blocks: int
    width: int
    k_group: int
    c_group: int
    chunk: int
    taps: Axes
    steps: TapSteps
    first: int


class Block(NamedTuple):
    """The weights of one block: where the first of its channels is read, how many there are, and where they are written."""

    source: Any
    count: int  # type: ignore[assignment]
    to: Any


class Run(NamedTuple):
    """Weights of each output channel that follow each other: the first one's address, how many, their first c and tap."""

    at: Any
    length: int
    tap: int
    taps: int


class Parts(NamedTuple):
    """The rows that the vectors of a square go to."""

    rows: int


read, carve = reader(Sizes), workspace(Parts)


@compiled
def window_of(s):
    """Taps of the kernel."""
    return s.taps.d * s.taps.h * s.taps.w


@compiled
def is_plain(s):
    """Whether (c, t r s) of an output channel follow each other in the weights as they are given."""
    apart = s.steps
    ordered = apart.s == 1 and apart.r == s.taps.w and apart.t == s.taps.h * s.taps.w
    return ordered and apart.c == window_of(s)


@compiled
def is_plain_last(s):
    """Whether (t r s, c) do, of channels that are all in one chunk."""
    apart, c = s.steps, s.c_group
    ordered = apart.s == c and apart.r == s.taps.w * c and apart.t == s.taps.h * s.taps.w * c
    return ordered and apart.c == 1 and s.chunk >= c


@compiled
def tap_offset(tap, s):
    """Elements from the first tap to another."""
    rest, column = divmod(tap, s.taps.w)
    depth, row = divmod(rest, s.taps.h)
    return depth * s.steps.t + row * s.steps.r + column * s.steps.s


@compiled
def pack_bias(to, bias, item, count, s):
    """to[block][k] = bias[k], and zeros behind the group's last channel."""
    group, block = divmod(item, s.blocks)
    first = group * s.k_group + block * s.width
    for k in range(s.width):
        value = bias.dtype.type(0)
        if k < count:
            value = bias[first + k]
        poke(to + (item * s.width + k), value)


@compiled
def clear_rest(block, zero, s):
    """Zeros for the channels that the last block lacks."""
    if block.count < s.width:
        for row in range(window_of(s) * s.c_group):
            for k in range(block.count, s.width):
                poke(block.to + (row * s.width + k), zero)


@lru_cache(maxsize=8)
def run_turner(lanes: int) -> Any:
    """The compiled turn_run: squares of output channels by weights that follow each other, turned in registers."""

    def turn_run(to, run, block, c_count, rows, s):
        """to[tap][c][k] = the run of every output channel of a block; of several taps, each channel's follow each other."""
        for begun in range(0, run.length, lanes):
            height = min(lanes, run.length - begun)
            c, tap = divmod(begun, run.taps)
            for i in range(height):
                poke(rows + i, ((run.tap + tap) * c_count + c) * s.width)
                tap += 1
                if tap == run.taps:
                    tap, c = 0, c + 1
            for k in range(0, block.count, lanes):
                width, at = min(lanes, block.count - k), run.at + (begun + k * s.steps.k)
                if width == height == lanes:
                    vector.store_rows(vector.load_turned(at, s.steps.k, lanes), to + k, rows)
                else:
                    square = vector.load_transposed(at, s.steps.k, height, width, lanes, 1, lanes)
                    vector.store_first_rows(square, to + k, rows, height, width)

    return compiled(turn_run)


@compiled
def pack_apart(to, block, c_begin, c_count, s):
    """to[tap][c][k], one by one: of weights of which neither taps nor channels follow each other."""
    for tap in range(window_of(s)):
        row = to + tap * c_count * s.width
        at = block.source + (c_begin * s.steps.c + tap_offset(tap, s))
        for c in range(c_count):
            for k in range(block.count):
                poke(row + (c * s.width + k), peek(at + (k * s.steps.k + c * s.steps.c)))


@lru_cache(maxsize=8)
def weight_packer(lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled packing, item by item a block of output channels of one group: f32_pack_weights_avx512."""
    turn_run = run_turner(lanes)

    @compiled
    def pack_chunk(block, c_begin, rows, s):
        """[t r s][c][k] = w[k][c][t r s] of the channels of a chunk."""
        window, c_count = window_of(s), min(s.chunk, s.c_group - c_begin)
        to, source = block.to + c_begin * window * s.width, block.source + c_begin * s.steps.c
        if is_plain(s):
            turn_run(to, Run(source, c_count * window, 0, window), block, c_count, rows, s)
        elif is_plain_last(s):  # in the very order of the rows
            turn_run(to, Run(source, c_count * window, 0, c_count * window), block, 1, rows, s)
        elif s.steps.c == 1:
            for tap in range(window):
                turn_run(to, Run(source + tap_offset(tap, s), c_count, tap, 1), block, c_count, rows, s)
        else:
            pack_apart(to, block, c_begin, c_count, s)

    def pack_weights(begin, end, w, bias, to, sizes):
        """to [group][block][chunk][t r s][c][k] = w [group][k][c][t r s], in the strides of `sizes`."""
        s = read(sizes)
        work, memory = carve(Parts(lanes), sizes)
        for item in range(begin, end):
            group, number = divmod(item, s.blocks)
            block = Block(
                pointer(w) + (s.steps.first + group * s.steps.group + number * s.width * s.steps.k),
                max(0, min(s.width, s.k_group - number * s.width)),
                pointer(to) + (s.first + item * window_of(s) * s.c_group * s.width),
            )
            pack_bias(pointer(to), bias, item, block.count, s)
            clear_rest(block, to.dtype.type(0), s)
            for c_begin in range(0, s.c_group, s.chunk):
                pack_chunk(block, c_begin, work.rows, s)
        keep(memory)

    pack_weights.__name__ = f"{dtype}_pack_weights_{isa}"
    return Kernel(pack_weights)


# Drafts -----------------------------------------------------------------------------------------------------------------


class Draft(NamedTuple):
    """A launch that waits for its weights.

    Attributes
    ----------
    launch : Launch
        All else.
    lay : callable
        lay(w, bias) -> (weights, bias), flat, as the kernel reads them.
    """

    launch: Launch
    lay: Callable[[Array, Array], tuple[Array, Array]]

    def run(self, x: Array, w: Array, bias: Array, y: Array) -> None:
        """Once, with these weights, on flat arrays."""
        kernel, items, work, _, _, arguments = self.launch
        weights, added = self.lay(w, bias)
        if work < GRAIN:  # as the kernel would decide, without asking it
            kernel.serial(0, items, x, weights, added, y, y, *arguments)
        else:
            kernel(items, work, x, weights, added, y, y, *arguments)


def drafted(kernel: Kernel, items: int, work: int, arguments: tuple[Any, ...], lay: Any) -> Draft:
    """The draft of a launch without weights."""
    return Draft(Launch(kernel, items, work, NO_WEIGHTS, NO_WEIGHTS, arguments), lay)


def are_whole(w: Array) -> bool:
    """Whether all weights are whole numbers: sums of whole images then are too, and are exact where nothing is divided."""
    first = w[(0,) * w.ndim] if w.size else 0.5
    return bool(first == np.rint(first)) and bool(np.isfinite(w).all()) and bool((w == np.rint(w)).all())


def launched(draft: Draft, w: Array, bias: Array) -> Launch:
    """The draft with its weights."""
    return draft.launch.with_weights(*draft.lay(w, bias))


def as_given(w: Array, bias: Array) -> tuple[Array, Array]:
    """The weights where they lie."""
    return w.reshape(-1), bias


class Packer:
    """Lays weights out in rows for the microkernel, with a bias for every row of them: a function does in every call."""

    __slots__ = ("count", "groups", "machine", "packer", "rows", "sizes", "written")

    def __init__(self, sizes: Sizes, groups: int, machine: Machine) -> None:
        self.sizes, self.groups, self.machine = sizes, groups, machine
        self.rows = groups * sizes.blocks * sizes.width
        self.count = self.rows * sizes.c_group * sizes.taps.d * sizes.taps.h * sizes.taps.w
        self.packer: Kernel | None = None  # a plan that is never packed needs none
        self.written = NO_WEIGHTS

    def __call__(self, w: Array, bias: Array) -> tuple[Array, Array]:
        if self.packer is None:
            self.written = written(self.sizes)
            self.packer = weight_packer(self.machine.lanes(w.dtype), element(w.dtype), self.machine.isa)
        rows, count = self.rows, self.count
        memory = aligned(whole_lines(rows, w.dtype) + count, w.dtype)
        blocks, work = self.groups * self.sizes.blocks, 4 * count
        if work < GRAIN:  # as the kernel would decide, without asking it
            self.packer.serial(0, blocks, w.reshape(-1), bias, memory, self.written)
        else:
            self.packer(blocks, work, w.reshape(-1), bias, memory, self.written)
        return memory, memory[:rows]
