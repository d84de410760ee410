"""The weights of Winograd convolution as its products take them: U = G w G^T, with vectors along the output channels.

U [group][plane][block of output channels][t c][width]        a cache line behind each plane
"""

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled, element
from fastconv.kernels.memory import aligned
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.filtering import KERNEL, cells_of
from fastconv.kernels.simd.engine.sizes import Plane, reader, written
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.kernels.simd.winograd.blocks import tap_of, tap_table
from fastconv.kernels.simd.winograd.cuts import Cut, terms_of
from fastconv.kernels.simd.winograd.transforms import weight_transform
from fastconv.machine import Machine
from fastconv.problem.convolutions import Array, ConvGeometry

poke, pointer = vector.poke, vector.pointer


class Sizes(NamedTuple):
    """The sizes of the weights; a table of their slices and pieces follows them, for `tap_of`.

    Attributes
    ----------
    c_group, k_group : int
        Input and output channels of a group.
    by_k, by_c, by_tap : int
        Elements of w from one output channel, input channel and tap to the next.
    taps, taps_h, taps_w : int
        Taps of the kernel, of one slice along its height, and along its width.
    step : Plane
        Taps from one of a piece to the next.
    terms : int
        Slices times pieces.
    width, blocks : int
        Output channels of a block, and blocks of a group.
    c_parts : int
        Vectors of input channels of a group.
    u_plane : int
        Elements from one plane to the next.
    """

    c_group: int
    k_group: int
    by_k: int
    by_c: int
    by_tap: int
    taps: int
    taps_h: int
    taps_w: int
    step: Plane
    terms: int
    width: int
    blocks: int
    c_parts: int
    u_plane: int


class Part(NamedTuple):
    """A vector of input channels of one block of output channels: its group, and the first of each and how many."""

    group: int
    block: int
    c: int
    channels: int


class Parts(NamedTuple):
    """Of the memory: kernels [c][tap] of a vector of output channels each, G w of one, and one piece's taps."""

    square: int
    half: int
    piece: int


class Tables(NamedTuple):
    """Offsets of the rows of a square."""

    rows: int


read, carve, carve_tables = reader(Sizes), workspace(Parts), workspace(Tables)


@compiled
def part_of(item, lanes, s):
    """The part that an item transforms."""
    rest, part = divmod(item, s.c_parts)
    group, block = divmod(rest, s.blocks)
    return Part(group, block, part * lanes, min(lanes, s.c_group - part * lanes))


@lru_cache(maxsize=8)
def kernel_turner(lanes: int, channels_last: bool) -> Any:
    """The compiled square[c][tap] = the kernels of `lanes` output channels, of which the first is k, a vector each."""

    @compiled
    def turn_channels(source, channels, count, work, tables, s):
        """Of input channels that follow each other, tap by tap."""
        for tap in range(s.taps):
            turned = vector.load_transposed(source + tap * s.by_tap, s.by_k, channels, count, lanes, 1, lanes)
            vector.store_rows(turned, work.square + tap * lanes, tables.rows)

    @compiled
    def turn_taps(source, channels, count, work, tables, s):
        """Of input channels whose taps follow each other, in runs."""
        for first in range(0, channels * s.taps, lanes):
            length = min(lanes, channels * s.taps - first)
            turned = vector.load_transposed(source + first, s.by_k, length, count, lanes, 1, lanes)
            vector.store_rows(turned, work.square + first * lanes, tables.rows)

    turn = turn_channels if channels_last else turn_taps

    def turn_kernels(w, part, k, work, tables, s):
        source = pointer(w) + ((part.group * s.k_group + k) * s.by_k + part.c * s.by_c)
        turn(source, part.channels, min(lanes, s.k_group - k), work, tables, s)

    return compiled(turn_kernels)


@lru_cache(maxsize=8)
def piece_finder(form: tuple[int, int], lanes: int, cut: bool) -> Any:
    """The compiled address of a piece's taps; those of a kernel that is `cut` are copied, zeros for those beyond it."""
    rows, columns = (1 if outputs == 1 else KERNEL for outputs in form)

    def whole(kernel, tap, nothing, work, s):
        return kernel + tap.d * s.taps_h * s.taps_w * lanes

    def copied(kernel, tap, nothing, work, s):
        at = kernel + tap.d * s.taps_h * s.taps_w * lanes
        for i in range(rows):
            for j in range(columns):
                h, w = tap.h + i * s.step.h, tap.w + j * s.step.w
                inside = h < s.taps_h and w < s.taps_w
                value = vector.load(at + (h * s.taps_w + w) * lanes, lanes) if inside else nothing
                vector.store(work.piece + (i * columns + j) * lanes, value)
        return work.piece

    return compiled(copied if cut else whole)


@lru_cache(maxsize=16)
def weight_kernel(form: tuple[int, int], lanes: int, channels_last: bool, cut: bool, dtype: str, isa: str) -> Kernel:
    """The compiled transform, by blocks of output channels and vectors of input channels: f32_winograd_4x4_weights_avx512."""
    n, planes = max(form) + KERNEL - 1, prod(cells_of(form))
    turn_kernels, find_piece = kernel_turner(lanes, channels_last), piece_finder(form, lanes, cut)
    to_planes = weight_transform(form, lanes, dtype)

    @compiled
    def transform_part(u, part, k, work, sizes, s):
        """U [P][t c][k] = (G w[k][c] G^T)[P] of `lanes` output channels, from column k of their block on."""
        nothing = vector.splat(u.dtype.type(0), lanes)
        to = pointer(u) + (part.group * planes * s.u_plane + part.block * s.terms * s.c_group * s.width + k)
        for c in range(part.channels):
            for term in range(s.terms):
                piece = find_piece(work.square + c * s.taps * lanes, tap_of(sizes, term, s.terms), nothing, work, s)
                to_planes(piece, work.half, to + (term * s.c_group + part.c + c) * s.width, s.u_plane)

    def weights(begin, end, w, u, sizes):
        """U [P][t c][k] = (G w[k][c][t] G^T)[P] of every slice and piece t."""
        s = read(sizes)
        work, memory = carve(Parts(square=lanes * s.taps * lanes, half=n * KERNEL * lanes, piece=KERNEL * KERNEL * lanes), u)
        tables, integers = carve_tables(Tables(rows=lanes), sizes)
        for i in range(lanes):
            poke(tables.rows + i, i * (s.taps if channels_last else 1) * lanes)
        for item in range(begin, end):
            part = part_of(item, lanes, s)
            for k in range(0, s.width, lanes):
                turn_kernels(w, part, part.block * s.width + k, work, tables, s)
                transform_part(u, part, k, work, sizes, s)
        keep(memory)
        keep(integers)

    weights.__name__ = f"{dtype}_winograd_{form[0]}x{form[1]}_weights_{isa}"
    return Kernel(weights)


def sizes_of(geometry: ConvGeometry, width: int, lanes: int, u_plane: int) -> Sizes:
    """The sizes of the weights of a lifted geometry."""
    g = geometry
    by_c, by_tap = (1, g.in_per_group) if g.channels_last else (g.taps, 1)
    return Sizes(
        c_group=g.in_per_group,
        k_group=g.out_per_group,
        by_k=g.reduction,
        by_c=by_c,
        by_tap=by_tap,
        taps=g.taps,
        taps_h=g.kernel[1],
        taps_w=g.kernel[2],
        step=Plane(*g.stride[1:]),
        terms=terms_of(g),
        width=width,
        blocks=-(-g.out_per_group // width),
        c_parts=-(-g.in_per_group // lanes),
        u_plane=u_plane,
    )


class Transformer:
    """(U of the weights of a lifted geometry, its bias in whole blocks): a function makes them in every call."""

    __slots__ = ("cells", "cut", "geometry", "machine", "packer", "sizes", "u_plane", "written")

    def __init__(self, geometry: ConvGeometry, cut: Cut, u_plane: int, machine: Machine) -> None:
        self.geometry, self.cut, self.u_plane, self.machine = geometry, cut, u_plane, machine
        self.cells = geometry.groups * prod(cells_of(cut.form)) * u_plane
        self.packer: Kernel | None = None  # a plan that is never packed needs none

    def find_packer(self, dtype: np.dtype[Any]) -> Kernel:
        """The kernel, once weights have told their dtype, and what it is told."""
        g, lanes = self.geometry, self.machine.lanes(dtype)
        self.sizes = sizes_of(g, self.cut.columns * lanes, lanes, self.u_plane)
        self.written = np.concatenate([written(self.sizes), tap_table(g, Plane(1, 1))])
        is_cut = terms_of(g) > g.kernel[0]
        return weight_kernel(self.cut.form, lanes, g.channels_last, is_cut, element(dtype), self.machine.isa)

    def __call__(self, w: Array, bias: Array) -> tuple[Array, Array]:
        if self.packer is None:
            self.packer = self.find_packer(w.dtype)
        g, s, u = self.geometry, self.sizes, aligned(self.cells, w.dtype)
        self.packer(g.groups * s.blocks * s.c_parts, 4 * u.size, w.reshape(-1), u, self.written)
        if s.blocks * s.width == g.out_per_group:
            return u, bias
        filled = np.zeros((g.groups, s.blocks * s.width), w.dtype)
        filled[:, : g.out_per_group] = bias.reshape(g.groups, -1)
        return u, filled.reshape(-1)
