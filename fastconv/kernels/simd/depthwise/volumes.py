"""Depthwise convolution of any geometry, by vectors of channels over blocks of cells that lie in the cache.

    y [n][o][c * m + j] = act(bias + sum over taps t of x [n][o * stride + t * dilation - padding][c] * w [c * m + j][t])

over one to three axes, in either layout, with m outputs a channel, and transposed. A block of cells is copied, channels last
and its border filled in, for a vector of outputs; with m > 1 each channel is repeated for the lanes that need it. Then tiles of
positions of a row by one vector take in tap after tap. The outputs of a transposed convolution are as many plain ones as it
has phases, which read the same block and whose outputs lie `step` apart.
"""

from collections.abc import Iterator
from functools import lru_cache, partial
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled, element, inlined
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.depthwise.blocks import (
    Parts,
    Phase,
    Sizes,
    Tables,
    block_finder,
    block_packer,
    carve,
    carve_tables,
    cells_under,
    phase_of,
    read,
)
from fastconv.kernels.simd.depthwise.cuts import Cut, Form, Reach, cut_for, cycles, lanes_for, reach_of
from fastconv.kernels.simd.engine import epilogue, windows
from fastconv.kernels.simd.engine.costs import PERIOD, Candidate
from fastconv.kernels.simd.engine.requests import are_waited_for
from fastconv.kernels.simd.engine.sizes import Axes, axes, written
from fastconv.kernels.simd.engine.walks import strides
from fastconv.kernels.simd.engine.weights import Draft, drafted
from fastconv.kernels.simd.engine.workspace import keep
from fastconv.machine import Machine
from fastconv.problem.convolutions import Array, ConvGeometry
from fastconv.problem.walks import Walk

pointer = vector.pointer


class Target(NamedTuple):
    """Where outputs go: the first of a block, and the steps from depth, row and column to the next."""

    at: Any
    d: int
    h: int
    w: int


@lru_cache(maxsize=64)
def block_filter(rows: int, taps: int, stride: int, lanes: int, dtype: str) -> Any:
    """The compiled y = act(the sums) of a block's windows, a tile of `rows` positions of a row at a time.

    `taps` of a kernel row are unrolled, at a stride of `stride`; or where `taps` is 0 they are taken one by one, at any.
    """
    activate, unrolled = epilogue.activation_of(dtype), taps > 0

    @inlined
    def add_row(tile, at, w, count, s):
        """The products of a row of taps."""
        if unrolled:
            return vector.fma_grouped(tile, at, lanes, w, s.parts * lanes, taps, stride, 1)
        for tap in range(count):
            here, weights = at + tap * s.dilation.w * lanes, w + tap * s.parts * lanes
            tile = vector.fma_grouped(tile, here, s.stride.w * lanes, weights, 0, 1, 1, 1)
        return tile

    @inlined
    def sum_tile(at, block, w, bias, d, h, x, s):
        """The sums of the tile whose first window begins at `at`; d, h, x are the phases of the axes."""
        tile, row = vector.repeated(bias, rows, 1, lanes), block.cells.w * lanes
        for t in range(d.taps):
            for r in range(h.taps):
                source = at + (t * s.dilation.d * block.cells.h + r * s.dilation.h) * row
                tile = add_row(tile, source, w + (t * h.taps + r) * x.taps * s.parts * lanes, x.taps, s)
        return tile

    @inlined
    def filter_row(block, windows_at, line, w, bias, d, h, x, to, act, s):
        """A row of the outputs of a phase."""
        columns = min(block.positions.w, x.outputs - block.position.w)
        for begun in range(0, columns, rows):
            column = max(0, min(begun, columns - rows))  # the last tile may overlap the one before
            if s.asks > 0:
                for i in range(rows):
                    vector.prefetch(line + ((column + i) * to.w + to.h))
            at = windows_at + (x.offset + column * s.stride.w) * lanes
            tile = activate(sum_tile(at, block, w, bias, d, h, x, s), act)
            if columns >= rows and block.count == lanes:
                vector.store_tile(tile, line + column * to.w, to.w)
            else:
                vector.store_spans(tile, line + column * to.w, to.w, columns, block.count)

    def filter_phases(block, work, to, step_w, w, bias, table, d, h, act, s):
        """The outputs of the phases of a depth and a height: all of a row follow each other, for they share its lines."""
        width = s.parts * lanes
        for i in range(min(block.positions.d, d.outputs - block.position.d)):
            for j in range(min(block.positions.h, h.outputs - block.position.h)):
                row = ((i * s.stride.d + d.offset) * block.cells.h + j * s.stride.h + h.offset) * block.cells.w * lanes
                line = to.at + (i * to.d + j * to.h)
                for k in range(s.phases.w):
                    x = phase_of(table, 2, k, s)
                    of_phase = w + d.taps * h.taps * x.before * width
                    filter_row(block, work.windows + row, line + k * step_w, of_phase, bias, d, h, x, to, act, s)

    return compiled(filter_phases)


@lru_cache(maxsize=64)
def kernel(form: Form, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over blocks: f32_depthwise_8x1_3s1_volumes_nhwc_avx512."""
    rows, taps, stride, repeats, channels_last = form
    block_of, pack_block = block_finder(lanes), block_packer(repeats, channels_last, lanes)
    filter_phases, unpack = block_filter(rows, taps, stride, lanes, dtype), windows.unpacker(lanes)
    _, clear = windows.runs(lanes)

    @compiled
    def first_output(block, s):
        """The element of y that the block begins with."""
        p = block.position
        of_axes = p.d * s.step.d * s.y.d + p.h * s.step.h * s.y.h + p.w * s.step.w * s.y.w
        return block.n * s.y.n + block.k * s.y.c + of_axes

    @compiled
    def region_of(block, s):
        """The outputs that the block's positions have in all phases."""
        p, of = block.position, block.positions
        return Axes(
            min(of.d * s.step.d, s.outputs.d - p.d * s.step.d),
            min(of.h * s.step.h, s.outputs.h - p.h * s.step.h),
            min(of.w * s.step.w, s.outputs.w - p.w * s.step.w),
        )

    @compiled
    def target_of(block, y, work, region, s):
        """Where the outputs of the first phase go, and the steps to the next."""
        if channels_last:
            return Target(pointer(y) + first_output(block, s), s.y.d, s.y.h, s.y.w)
        return Target(work.results, region.h * region.w * lanes, region.w * lanes, lanes)

    @compiled
    def filter_block(block, work, target, w, bias, table, act, s):
        """All phases of a block."""
        width = s.parts * lanes
        for i in range(s.phases.d):
            d = phase_of(table, 0, i, s)
            for j in range(s.phases.h):
                h = phase_of(table, 1, j, s)
                of_rows = d.before * s.taps.h * s.taps.w + d.taps * h.before * s.taps.w
                at = target.at + (i * target.d + j * target.h)
                to = Target(at, s.step.d * target.d, s.step.h * target.h, s.step.w * target.w)
                filter_phases(block, work, to, target.w, w + of_rows * width, bias, table, d, h, act, s)

    @compiled
    def store_planes(block, region, work, y, s):
        """y [c][d][h][w] = results [d][h][w][c]"""
        to = pointer(y) + first_output(block, s)
        for d in range(region.d):
            turned = work.results + d * region.h * region.w * lanes
            unpack(turned, region.h, region.w, block.count, lanes, to + d * s.y.d, s.y.h, s.y.c)

    @compiled
    def finish_block(block, region, y, act, s):
        """What follows the sums, where registers leave it."""
        first = pointer(y) + first_output(block, s)
        for d in range(region.d):
            for h in range(region.h):
                row = first + (d * s.y.d + h * s.y.h)
                if channels_last:
                    epilogue.finish_runs(row, s.y.w, region.w, block.count, act)
                else:
                    epilogue.finish_runs(row, s.y.c, block.count, region.w, act)

    def depthwise(begin, end, x, w, bias, residual, y, sizes, parameters, table):
        """y [o] = act(bias + sum over taps t of x [o * stride + t * dilation - padding] * w [t]) of blocks of channels"""
        s, act, fill = read(sizes), epilogue.epilogue(parameters, residual, y), epilogue.padding_value(parameters)
        most = cells_under(s.block, s)
        outputs = s.block.d * s.step.d * s.block.h * s.step.h * s.block.w * s.step.w
        # A tile at the end of a row reads, and outputs that are turned by squares are read, behind what is there.
        behind = rows * (s.stride.w + taps)
        results = 0 if channels_last else (outputs + lanes) * lanes
        work, memory = carve(Parts((most.d * most.h * most.w + behind) * lanes, results), x)
        tables, integers = carve_tables(Tables(steps=lanes), sizes)
        for item in range(begin, end):
            block = block_of(item, s)
            region = region_of(block, s)
            pack_block(x, block, work.windows, tables.steps, fill, s)
            if block.positions.w <= rows:  # products of what memory held may be subnormal, and slow
                cells = block.cells.d * block.cells.h * block.cells.w
                clear(work.windows + cells * lanes, vector.zero(work.windows), behind * lanes)
            target = target_of(block, y, work, region, s)
            filter_block(block, work, target, pointer(w) + block.k, pointer(bias) + block.k, table, act, s)
            if not channels_last:
                store_planes(block, region, work, y, s)
            if epilogue.is_unfinished(act):
                finish_block(block, region, y, act, s)
        keep(memory)
        keep(integers)

    of_row = f"{taps}s{stride}" if taps else "any"
    many = "" if repeats == 1 else f"_m{repeats}" if repeats else "_mx"
    depthwise.__name__ = f"{dtype}_depthwise_{rows}x1_{of_row}{many}_volumes_{'nhwc' if channels_last else 'nchw'}_{isa}"
    return Kernel(depthwise)


# Decisions --------------------------------------------------------------------------------------------------------------


def candidates(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> Iterator[Candidate]:
    """The one cut."""
    cut = cut_for(geometry, dtype, machine)
    seconds = machine.seconds(cycles(geometry, cut, dtype, machine), geometry.bytes(dtype.itemsize))
    yield Candidate(seconds, cut, partial(draft, geometry, cut, dtype, machine))


def table_of(of: Reach) -> Array:
    """The phases of each axis, as `phase_of` reads them."""
    rows = []
    for of_axis, corner in zip(of.walks, of.corner, strict=True):
        before = 0
        for walk in of_axis:
            rows.append(Phase(walk.taps, before, walk.origin - corner if walk.taps else 0, walk.outputs))
            before += walk.taps
    return np.array(rows, np.int64).reshape(-1)


def takes_turns(geometry: ConvGeometry, dtype: np.dtype[Any]) -> bool:
    """Whether vectors of channels write a block by turns: many outputs, whose lines they share and no cache keeps for later."""
    g = geometry
    return g.channels_last and prod(g.out_shape) > prod(g.x_shape) and g.out_channels * dtype.itemsize % PERIOD > 0


@remembered
def draft(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> Draft:
    """The launch without its weights."""
    g, of, lanes = geometry.lifted(), reach_of(geometry), lanes_for(geometry, dtype, machine)
    blocks = Axes(*(-(-count // part) for count, part in zip(of.positions, cut.block, strict=True)))
    sizes = Sizes(
        channels=g.out_channels,
        multiplier=g.out_per_group,
        mode=g.mode,
        x=strides(g, g.in_channels, g.in_size),
        y=strides(g, g.out_channels, g.out_size),
        cells=axes(g.in_size),
        outputs=axes(g.out_size),
        taps=of.taps,
        stride=Axes(*(of_axis[0].stride for of_axis in of.walks)),
        dilation=Axes(*(of_axis[0].dilation for of_axis in of.walks)),
        corner=of.corner,
        reach=of.reach,
        positions=of.positions,
        block=cut.block,
        blocks=blocks,
        phases=Axes(*(len(of_axis) for of_axis in of.walks)),
        step=Axes(*(of_axis[0].step for of_axis in of.walks)),
        parts=-(-g.out_channels // lanes),
        by_turns=takes_turns(g, dtype),
        asks=g.channels_last and are_waited_for(g.bytes(dtype.itemsize), machine),
    )
    items = g.batch * sizes.parts * prod(blocks)
    arguments = written(sizes), epilogue.scalars(g.activation, dtype, g.border.value), table_of(of)
    chosen = kernel(cut.form, lanes, element(dtype), machine.isa)
    return drafted(chosen, items, 2 * g.flops, arguments, partial(laid, g, order_of(g, of.walks), sizes.parts * lanes))


def order_of(geometry: ConvGeometry, walks: tuple[tuple[Walk, ...], ...]) -> Array | None:
    """The taps of the kernel as the phases take them, one phase after the other, by number; None, as they are."""
    numbers = np.arange(prod(geometry.kernel)).reshape(geometry.kernel)
    phases = product(*walks)
    taps = ([[walk.kernel_first + t * walk.kernel_step for t in range(walk.taps)] for walk in phase] for phase in phases)
    order = np.concatenate([numbers[np.ix_(*of_phase)].reshape(-1) for of_phase in taps])
    return None if np.array_equal(order, numbers.reshape(-1)) else order


def laid(geometry: ConvGeometry, order: Array | None, width: int, w: Array, bias: Array) -> tuple[Array, Array]:
    """(weights as [phase][t][r][s][k], bias), of `width` outputs: zeros for those that there are not."""
    g, count = geometry, prod(geometry.kernel)
    if g.transposed and g.channels_last:
        taps = w.reshape(g.in_channels, count, g.out_per_group).transpose(1, 0, 2).reshape(count, g.out_channels)
    else:
        taps = w.reshape(g.out_channels, count).T
    weights, biases = np.zeros((count, width), w.dtype), np.zeros(width, w.dtype)
    if order is None:
        weights[:, : g.out_channels] = taps
    else:
        weights[: len(order), : g.out_channels] = taps[order]
    biases[: g.out_channels] = bias
    return weights.reshape(-1), biases
