"""Depthwise convolution of planes by regions of outputs that meet the same taps.

    y [k][o] = act(bias [k] + sum over the taps t of o's region of x [k / m][o + t * dilation - padding] * w [k][t])

Taps that lie far apart reach beyond the plane for many outputs, each for others: along every axis the outputs fall into runs
whose windows have the same taps inside. In a region, one run of each axis, every tap reads whole vectors where they lie, by no
mask and out of no copy, and what only padding meets is not read at all.
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
from fastconv.kernels.simd.engine import epilogue
from fastconv.kernels.simd.engine.blocks import SHARES
from fastconv.kernels.simd.engine.costs import CALL, Candidate
from fastconv.kernels.simd.engine.sizes import Axes, axes, reader, written
from fastconv.kernels.simd.engine.weights import Draft, as_given, drafted
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.machine import Machine
from fastconv.problem.borders import ZERO_FILL
from fastconv.problem.convolutions import SPATIAL_AXES, ConvGeometry
from fastconv.problem.walks import Walk

peek, poke, pointer = vector.peek, vector.poke, vector.pointer
FIELDS = 5  # int64 of a run in the table


class Sizes(NamedTuple):
    """The sizes of a call, over three axes.

    Attributes
    ----------
    channels, multiplier : int
        Outputs of an image, and outputs of each input channel.
    cells, outputs, taps, dilation : Axes
        Of the input, the output, of the kernel, and from tap to tap.
    runs : Axes
        Of outputs with the same taps, along each axis.
    band, bands : int
        Rows of an item, and items of a depth.
    """

    channels: int
    multiplier: int
    cells: Axes
    outputs: Axes
    taps: Axes
    dilation: Axes
    runs: Axes
    band: int
    bands: int


class Run(NamedTuple):
    """Outputs of an axis whose windows have the same taps inside: where they begin and end, and the taps.

    Attributes
    ----------
    begin, end : int
        The first output, and the one behind the last.
    taps, first : int
        How many taps, and the first.
    cell : int
        The cell under the first tap of the first output.
    """

    begin: int
    end: int
    taps: int
    first: int
    cell: int


class Rows(NamedTuple):
    """Of rows of outputs of a region: their first cells, where they are stored, how many of how many columns; and the bias."""

    source: Any
    y: Any
    count: int  # type: ignore[assignment]
    columns: int
    bias: Any


class Taps(NamedTuple):
    """Of a region: tables of elements from an output's first cell, and from the plane's first weight, to each tap."""

    cells: Any
    weights: Any
    count: int  # type: ignore[assignment]
    w: Any


class Tables(NamedTuple):
    """Taps of a region."""

    cells: int
    weights: int


read, carve_tables = reader(Sizes), workspace(Tables)


@compiled
def run_of(table, number):
    """A run of an axis."""
    at = table + number * FIELDS
    return Run(peek(at), peek(at + 1), peek(at + 2), peek(at + 3), peek(at + 4))


@compiled
def taps_of(d, h, w, weights, tables, s):
    """The taps of the region of a run of each axis."""
    count = 0
    for t in range(d.taps):
        for r in range(h.taps):
            for i in range(w.taps):
                cell = (t * s.dilation.d * s.cells.h + r * s.dilation.h) * s.cells.w + i * s.dilation.w
                poke(tables.cells + count, cell)
                poke(tables.weights + count, ((d.first + t) * s.taps.h + h.first + r) * s.taps.w + w.first + i)
                count += 1
    return Taps(tables.cells, tables.weights, count, weights)


@lru_cache(maxsize=64)
def region_filter(rows: int, columns: int, lanes: int, dtype: str) -> Any:
    """The compiled y = act(the sums) of rows of a region: tiles of `rows` by a vector; of fewer rows, of one by `columns`."""
    activate, width = epilogue.activation_of(dtype), columns * lanes

    @inlined
    def make_tile(tall, many, at, to, bias, taps, act, s):
        """Of whole vectors; the rows of cells, and of outputs, lie a row apart."""
        tile = vector.filled(peek(bias), tall, many, lanes)
        for i in range(taps.count):
            tile = vector.fma_down(tile, at + peek(taps.cells + i), s.cells.w, taps.w + peek(taps.weights + i), 1)
        vector.store_tile(activate(tile, act), to, s.outputs.w)

    @inlined
    def make_part(at, to, count, bias, taps, act):
        """Of a part of a vector, which is all that a row has."""
        total = vector.splat(peek(bias), lanes)
        for i in range(taps.count):
            cells = vector.load_first(at + peek(taps.cells + i), count, lanes)
            total = total + vector.scaled(peek(taps.w + peek(taps.weights + i)), cells)
        vector.store_first(to, activate(total, act), count)

    def filter_tall(of, taps, act, s):
        for begun in range(0, of.count, rows):
            row = min(begun, of.count - rows)  # the last tile may overlap the one before
            at, to = of.source + row * s.cells.w, of.y + row * s.outputs.w
            for column in range(0, of.columns, lanes):
                e = min(column, of.columns - lanes)
                make_tile(rows, 1, at + e, to + e, of.bias, taps, act, s)

    def filter_low(of, taps, act, s):
        for row in range(of.count):
            at, to, column = of.source + row * s.cells.w, of.y + row * s.outputs.w, 0
            while of.columns - column >= width:
                make_tile(1, columns, at + column, to + column, of.bias, taps, act, s)
                column += width
            while column < of.columns:
                e = min(column, of.columns - lanes)
                make_tile(1, 1, at + e, to + e, of.bias, taps, act, s)
                column += lanes

    def filter_narrow(of, taps, act, s):
        for row in range(of.count):
            make_part(of.source + row * s.cells.w, of.y + row * s.outputs.w, of.columns, of.bias, taps, act)

    tall, low, narrow = compiled(filter_tall), compiled(filter_low), compiled(filter_narrow)

    def filter_rows(of, taps, act, s):
        if of.columns < lanes:
            narrow(of, taps, act, s)
        elif of.count >= rows:
            tall(of, taps, act, s)
        else:
            low(of, taps, act, s)

    return compiled(filter_rows)


@lru_cache(maxsize=64)
def kernel(rows: int, columns: int, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over bands of rows of planes: f32_depthwise_4x1_regions_avx512."""
    filter_rows = region_filter(rows, columns, lanes, dtype)

    @compiled
    def filter_depth(depth, d, first, last, image, w, bias, y, table, tables, act, s):
        """The rows `first` to `last` - 1 of the outputs of a depth: those of the regions that they meet."""
        for i in range(s.runs.h):
            h = run_of(table, s.runs.d + i)
            begin, end = max(first, h.begin), min(last, h.end)
            if begin < end:
                row = (d.cell + depth - d.begin) * s.cells.h + h.cell + begin - h.begin
                for j in range(s.runs.w):
                    r = run_of(table, s.runs.d + s.runs.h + j)
                    at, to = image + (row * s.cells.w + r.cell), y + ((depth * s.outputs.h + begin) * s.outputs.w + r.begin)
                    of = Rows(at, to, end - begin, r.end - r.begin, bias)
                    filter_rows(of, taps_of(d, h, r, w, tables, s), act, s)

    def depthwise(begin, end, x, w, bias, residual, y, sizes, parameters, table):
        """y [k][o] = act(bias [k] + sum over the taps t of o's region of x [k / m][o + t * dilation - padding] * w [k][t])"""
        s, act = read(sizes), epilogue.epilogue(parameters, residual, y)
        plane, cells = s.outputs.d * s.outputs.h * s.outputs.w, s.cells.d * s.cells.h * s.cells.w
        of_kernel, runs = s.taps.d * s.taps.h * s.taps.w, pointer(table)
        tables, memory = carve_tables(Tables(of_kernel, of_kernel), sizes)
        for item in range(begin, end):
            rest, band = divmod(item, s.bands)
            rest, depth = divmod(rest, s.outputs.d)
            k, first, number = rest % s.channels, band * s.band, np.int64(0)
            last = min(first + s.band, s.outputs.h)
            while run_of(runs, number).end <= depth:
                number += 1
            image, to = pointer(x) + (rest // s.multiplier) * cells, pointer(y) + rest * plane
            of_plane, d = pointer(w) + k * of_kernel, run_of(runs, number)
            filter_depth(depth, d, first, last, image, of_plane, pointer(bias) + k, to, runs, tables, act, s)
            if epilogue.is_unfinished(act):
                at = to + (depth * s.outputs.h + first) * s.outputs.w
                epilogue.finish_run(at, (last - first) * s.outputs.w, act)
        keep(memory)

    depthwise.__name__ = f"{dtype}_depthwise_{rows}x1_regions_{isa}"
    return Kernel(depthwise)


# Decisions --------------------------------------------------------------------------------------------------------------

ROWS, COLUMNS = 4, 4  # of a tile of one vector, and vectors of one of a row
MOST_REGIONS = 256  # that a plan counts: two runs a tap and one more along each axis, at most


class Cut(NamedTuple):
    """Rows of a tile, and of an item."""

    rows: int
    band: int


def suits(geometry: ConvGeometry, machine: Machine) -> bool:
    """Planes with zeros around them, or nothing, whose taps lie apart along rows, and all outputs, by steps of one."""
    g = geometry
    zeros = g.mode == ZERO_FILL or not any(any(pair) for pair in g.padding)
    return bool(
        machine.vector_bytes >= 32
        and not (g.channels_last or g.transposed)
        and g.in_per_group == 1
        and g.dilation[-1] > 1
        and all(step == 1 for step in g.stride)
        and zeros
        and prod(2 * taps + 1 for taps in g.kernel) <= MOST_REGIONS
    )


@remembered
def runs_of(geometry: ConvGeometry) -> tuple[tuple[Walk, ...], ...]:
    """The runs of the lifted geometry, axis by axis."""
    return tuple(geometry.walks(axis)[0].parts() for axis in range(SPATIAL_AXES))


def cycles(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> float:
    """Products and what a tile takes beside them, region by region."""
    g, lanes = geometry.lifted(), machine.lanes(dtype)
    total = 0.0
    for d, h, w in product(*runs_of(g)):
        taps, vectors = d.taps * h.taps * w.taps, -(-w.outputs // lanes)
        if w.outputs < lanes:
            tiles, of_tile = h.outputs, 12 + 3.0 * taps
        elif h.outputs >= cut.rows:
            tiles, of_tile = vectors * -(-h.outputs // cut.rows), 14 + taps * (1 + 1.1 * cut.rows)
        else:
            tiles, of_tile = h.outputs * vectors, (14 + taps * (1 + 1.1 * COLUMNS)) / min(COLUMNS, vectors)
        total += d.outputs * (50 + 4 * taps + tiles * of_tile)
    return g.batch * g.out_channels * total


def candidates(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> Iterator[Candidate]:
    """The one cut."""
    g = geometry.lifted()
    planes, rows = g.batch * g.out_channels * g.out_size[0], g.out_size[1]
    cut = Cut(ROWS, max(1, rows if planes >= SHARES else -(-rows * planes // SHARES)))
    seconds = machine.seconds(CALL + cycles(geometry, cut, dtype, machine), geometry.bytes(dtype.itemsize))
    yield Candidate(seconds, cut, partial(draft, geometry, cut, dtype, machine))


@remembered
def draft(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> Draft:
    """The launch without its weights."""
    g, lanes = geometry.lifted(), machine.lanes(dtype)
    runs = runs_of(g)
    sizes = Sizes(
        channels=g.out_channels,
        multiplier=g.out_per_group,
        cells=axes(g.in_size),
        outputs=axes(g.out_size),
        taps=axes(g.kernel),
        dilation=axes(g.dilation),
        runs=axes([len(of_axis) for of_axis in runs]),
        band=cut.band,
        bands=-(-g.out_size[1] // cut.band),
    )
    table = [
        Run(one.first, one.first + one.outputs, one.taps, one.kernel_first, one.origin if one.taps else 0)
        for of_axis in runs
        for one in of_axis
    ]
    arguments = written(sizes), epilogue.scalars(g.activation, dtype), np.array(table, np.int64).reshape(-1)
    chosen = kernel(cut.rows, COLUMNS, lanes, element(dtype), machine.isa)
    return drafted(chosen, g.batch * g.out_channels * g.out_size[0] * sizes.bands, 2 * g.flops, arguments, as_given)
