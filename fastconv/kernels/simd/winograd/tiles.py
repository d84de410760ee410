"""Winograd convolution by 3x3 kernels, and larger ones: tiles of m x m outputs from (m + 2)**2 products a channel.

    V [P][t, c] = B^T x[t] B        for each tile t of (m + 2) x (m + 2) inputs; P = (m + 2)**2 planes
    M [P][t, k] = V[P] @ U[P]       one matrix product a plane, with U = G w G^T made once a plan
    y [t]       = act(A^T M[t] A + bias)

The direct sum takes 9 m**2 products where this takes (m + 2)**2: 4 times as many for m = 4, 2.25 times for m = 2. Lavin and
Gray, Fast Algorithms for Convolutional Neural Networks (2016), section 4; engine/filtering.py has B, G and A.

Kernels along one axis, those of 1-D convolutions too, take tiles of 1 x m or m x 1 outputs and m + 2 products for 3 m. Larger
kernels are cut into pieces of 3 taps an axis, the last filled up with zeros, those of stride s first into the taps that meet
every s-th cell: c runs over the pieces as well, each of which sees x some cells further on, s apart. So it does, over three
axes, over the taps of the first: a sum of Winograd convolutions of slices. With a dilation d, cells and outputs of a tile lie d
apart, and d tiles go between each other.

Tiles are taken in blocks whose V and M stay in the L2 cache. The planes lie one cache line more than a block apart: without it
they fall into the same cache sets, and the transforms wait for memory.

A NaN or inf in x spreads to the whole tile of m x m outputs, of all output channels, whose input holds it.
"""

from collections.abc import Iterator
from functools import lru_cache, partial
from math import prod
from typing import Any

import numpy as np

from fastconv.kernels.jit import Kernel, compiled, element, inlined
from fastconv.kernels.keeping import remembered
from fastconv.kernels.memory import LINE
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import epilogue, windows
from fastconv.kernels.simd.engine.costs import Candidate
from fastconv.kernels.simd.engine.filtering import KERNEL, cells_of
from fastconv.kernels.simd.engine.sizes import written
from fastconv.kernels.simd.engine.weights import Draft, drafted
from fastconv.kernels.simd.engine.workspace import keep
from fastconv.kernels.simd.winograd import ahead, inputs, outputs
from fastconv.kernels.simd.winograd.blocks import (
    Parts,
    Tables,
    block_of,
    block_of_image,
    carve,
    carve_tables,
    gathers,
    read,
    sizes_of,
    source_of,
    tap_table,
    tiles_in,
    work_of_image,
)
from fastconv.kernels.simd.winograd.cuts import (
    MOST_PIECES,
    WORKSPACE,
    Cut,
    cuts,
    forms,
    least_of_form,
    places,
    seconds,
    terms_of,
)
from fastconv.kernels.simd.winograd.weights import Transformer
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import ConvGeometry

poke, pointer = vector.poke, vector.pointer

# The loop nest ----------------------------------------------------------------------------------------------------------


@compiled
def weights_of(u, planes, block, part, s):
    """Where the weights of a part begin, in the first plane."""
    return pointer(u) + (block.group * planes * s.u_plane + part.k * s.taps * s.c_group)


@lru_cache(maxsize=16)
def multiplier(rows: int, columns: int, lanes: int) -> Any:
    """The compiled product of one plane, by register tiles of rows x columns vectors."""
    width = columns * lanes

    def multiply(plane, block, part, u, work, tables, s):
        """M [P][t, k] = V[P] @ U[P] of a block's tiles, in whole register tiles, and a part's output channels.

        A panel of weights comes from afar, where they are many, in its first register tile: the next panel is asked for during
        all register tiles of this one.
        """
        v, m = work.v + plane * s.v_plane, work.m + plane * s.m_plane
        terms, count = s.taps * s.c_group, tiles_in(block)
        tiles = -(-count // rows)
        pace = max(1, width // tiles) if tiles > 1 else 0  # weights that are read once come as a stream
        for number in range(part.blocks):
            weights = u + (plane * s.u_plane + number * terms * width)
            ahead = weights + terms * width
            for first in range(0, count, rows):
                tile = vector.zeros(v, rows, columns, lanes)
                sources = vector.rows_at(v + first * s.c_pitch, tables.rows, rows)
                for c in range(terms):
                    vector.prefetch(ahead + c * pace)
                    tile = vector.fma_outer(tile, sources, c, weights + c * width)
                ahead = ahead + terms * pace
                vector.store_tile(tile, m + (first * s.k_pitch + number * width), s.k_pitch)

    return inlined(multiply)


@lru_cache(maxsize=16)
def rest_clearer(rows: int, planes: int, lanes: int) -> Any:
    """The compiled zeros in the rows of V behind a block's last tile, which its last register tiles read.

    Their products are not stored; but what memory held before may be subnormal, and some processors take a hundred cycles to
    multiply such a number.
    """
    _, clear = windows.runs(lanes)

    def clear_rest(block, work, s):
        count = tiles_in(block)
        rest = -count % rows
        if rest > 0:
            for plane in range(planes):
                clear(work.v + (plane * s.v_plane + count * s.c_pitch), vector.zero(work.v), rest * s.c_pitch)

    return compiled(clear_rest)


@lru_cache(maxsize=32)
def kernel(cut_of: tuple[Any, ...], lanes: int, channels_last: bool, gathered: bool, dtype: str, isa: str) -> Kernel:
    """The compiled loops over blocks of tiles, of a form and a register tile: f32_winograd_4x4_14x2_avx512."""
    form, rows, columns = cut_of
    planes, multiply = prod(cells_of(form)), multiplier(rows, columns, lanes)
    transform_inputs = inputs.transform_of(form, lanes, channels_last, gathered, dtype)
    ask = ahead.asker(planes, channels_last)
    transform_outputs, clear_rest = outputs.transform_of(form, lanes, channels_last, dtype), rest_clearer(rows, planes, lanes)

    def winograd(begin, end, x, u, bias, residual, y, sizes, parameters):
        """y [n][k][h][w] = act(bias [k] + sum over c, r, s of x [n][c][h + r][w + s] * w [k][c][r][s]), by tiles."""
        s, act, fill = read(sizes), epilogue.epilogue(parameters, residual, y), epilogue.padding_value(parameters)
        parts = Parts(
            v=planes * s.v_plane,
            m=planes * s.m_plane,
            tile=planes * lanes,
            windows=s.windows,
            results=s.results,
            gathered=planes * s.c_pitch,
        )
        work, memory = carve(parts, x)
        tables, integers = carve_tables(Tables(rows=rows, steps=lanes, taps=s.taps), sizes)
        for row in range(rows):
            poke(tables.rows + row, row * s.c_pitch)
        at_hand = -1
        for item in range(begin, end):
            block, part = block_of(item, s)
            if block.number != at_hand:  # the items of one block follow each other
                for i in range(block.images):
                    one = block_of_image(block, i)
                    transform_inputs(source_of(x, one, fill, s), one, work_of_image(work, block, i, s), tables, sizes, s)
                clear_rest(block, work, s)
                at_hand = block.number
            filters = weights_of(u, planes, block, part, s)
            for plane in range(planes):
                if s.of_line > 0:
                    ask(x, y, block, part, plane, s)
                multiply(plane, block, part, filters, work, tables, s)
            for i in range(block.images):
                transform_outputs(y, bias, block_of_image(block, i), part, work_of_image(work, block, i, s), act, s)
        keep(memory)
        keep(integers)

    winograd.__name__ = f"{dtype}_winograd_{form[0]}x{form[1]}_{rows}x{columns}_{isa}"
    return Kernel(winograd)


# Decisions --------------------------------------------------------------------------------------------------------------

FEW = 32  # input channels whose products leave time, and room in the L2 cache, for what the next block takes
KEPT = 32 << 20  # bytes of an array whose memory an allocator keeps for the next one


@remembered
def supports(geometry: ConvGeometry, dtype: np.dtype[Any]) -> str | None:
    """Kernels of one tap, or at least 3, along each of the last axes, strided or dilated there."""
    g = geometry
    axes = [(taps, places(taps, step)) for taps, step in zip(g.kernel[-2:], g.stride[-2:], strict=True)]
    fits = all((taps == 1 or taps >= KERNEL) and len(pieces) <= MOST_PIECES for taps, pieces in axes)
    if g.transposed or max(g.kernel[-2:]) == 1 or not fits:
        shape = "x".join(map(str, g.kernel))
        return f"it serves 1, or 3 and more, taps along the last axes, in {MOST_PIECES} pieces at most, not {shape}"
    if any(step > 1 and spread > 1 for step, spread in zip(g.stride[-2:], g.dilation[-2:], strict=True)):
        return f"it serves a stride or a dilation along an axis, not {g.stride} and {g.dilation}"
    if min(g.in_per_group, g.out_per_group) < KERNEL:
        return f"it serves groups of at least {KERNEL} channels, not {g.in_per_group} -> {g.out_per_group}"
    fits = any(cuts(g, form, dtype, host(), 0) for form in forms(g.lifted()))  # larger blocks fit no better
    return None if fits else f"its smallest blocks would take more than {WORKSPACE >> 20} MiB"


def candidates(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine, every: bool = False) -> Iterator[Candidate]:
    """F(4) and F(2), each in blocks of several sizes; F(2) only where it may be faster than F(4), or for `every` one."""
    g, best = geometry.lifted(), float("inf")
    for form in forms(g):
        if not every and least_of_form(g, form, dtype, machine) >= best:
            continue
        for cut in cuts(geometry, form, dtype, machine):
            taken = seconds(g, cut, dtype, machine)
            best = min(best, taken)
            yield Candidate(taken, cut, partial(draft, geometry, cut, dtype, machine))


def alike(geometry: ConvGeometry, near: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> Candidate | None:
    """The candidate that is to a geometry what `cut` is to one near it, if it fits."""
    room = cuts(near, cut.form, dtype, machine).index(cut)
    for one in cuts(geometry, cut.form, dtype, machine, room):
        taken = seconds(geometry.lifted(), one, dtype, machine)
        return Candidate(taken, one, partial(draft, geometry, one, dtype, machine))
    return None


def pack_cost(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any]) -> float:
    """Seconds that `pack` takes, most of them to write U; twice as long where memory for it comes from the system each time."""
    planes, terms = prod(cells_of(cut.form)), terms_of(geometry.lifted())
    size = dtype.itemsize * planes * geometry.out_channels * geometry.in_per_group * terms
    return 6e-6 + (8e-11 if size < KEPT else 2.3e-10) * size


@remembered
def draft(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> Draft:
    """Everything but the weights."""
    g, lanes = geometry.lifted(), machine.lanes(dtype)
    asks = g.channels_last and g.in_per_group <= FEW and machine.asks(g.bytes(dtype.itemsize))
    s = sizes_of(g, cut, lanes, LINE // dtype.itemsize, asks)
    names = gathers(g, lanes), element(dtype), machine.isa
    items = -(-g.batch // cut.images) * g.groups * g.out_size[0] * prod(s.blocks) * s.k_parts
    arguments = (np.concatenate([written(s), tap_table(g, s.spread)]), epilogue.scalars(g.activation, dtype, g.border.value))
    lay = Transformer(g, cut, s.u_plane, machine)
    chosen = kernel((cut.form, cut.rows, cut.columns), lanes, g.channels_last, *names)
    return drafted(chosen, items, g.flops // 32, arguments, lay)
