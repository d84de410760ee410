"""Winograd's filtering of rows, m outputs at a time, for groups of one channel: image filters of some rows and more.

With r = m i + a and the taps of a kernel in groups of m, h[m j + b],

    y[m i + a] = sum over j of (sum over b of h[m j + b] * x[m (i + j) + a + b])

the inner sums are m outputs of m taps each, F(m, m), which row_transforms.py makes of 2 m - 1 products:

    image_p[i] = (B^T x[m i : m i + 2 m - 1])[p]          filter_p[j] = (G h[m j : m j + m])[p]
    y[m i : m i + m] = A^T (sum over j of filter_p[j] * image_p[i + j])

x and y are rows here, and each filter_p[j] filters along its row: 2 m - 1 filters for m taps, of images with one row for m. For
m = 2, 3 and 4 these are 3 / 4, 5 / 9 and 7 / 16 of the direct sum's products.

The images are made of a block of rows as it is read, padding filled in, just ahead of the tiles that use them. A tile has one
vector of several rows of an image beside several columns, and each vector that it loads feeds all rows whose windows it is in.
Mou and Duhamel, Short-length FIR filters and their use in fast nonrecursive filtering (1991).

A NaN or inf in x reaches rows of outputs whose windows do not hold it: up to m - 1 below and 2 m - 2 above.
"""

from collections.abc import Iterator
from functools import lru_cache, partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled, element, inlined
from fastconv.kernels.keeping import remembered
from fastconv.kernels.memory import LINE
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import blocks, epilogue, windows
from fastconv.kernels.simd.engine.costs import Candidate
from fastconv.kernels.simd.engine.sizes import Plane, written
from fastconv.kernels.simd.engine.tables import TILES
from fastconv.kernels.simd.engine.weights import Draft, drafted
from fastconv.kernels.simd.engine.workspace import keep
from fastconv.kernels.simd.winograd.row_images import Block, Lines, Parts, Sizes, Tables, carve, carve_tables, read, splitter
from fastconv.kernels.simd.winograd.row_transforms import WEIGHTS, output_transform
from fastconv.machine import Machine
from fastconv.problem.convolutions import Array, ConvGeometry

poke, pointer = vector.poke, vector.pointer


# The loop nest ----------------------------------------------------------------------------------------------------------


@compiled
def block_of(item, s):
    """The block of outputs of an item."""
    rest, column = divmod(item, s.blocks.w)
    plane, row = divmod(rest, s.blocks.h)
    output = Plane(row * s.block.h, column * s.block.w)
    outputs = Plane(min(s.block.h, s.outputs.h - output.h), min(s.block.w, s.outputs.w - output.w))
    corner = Plane(output.h - s.padding.h, output.w - s.padding.w)
    cells = Plane(outputs.h + s.taps.h - 1, outputs.w + s.taps.w - 1)
    begin = min(max(-corner.w, 0), cells.w)
    end = max(begin, min(s.cells.w - corner.w, cells.w))
    return Block(plane, plane % s.channels, output, outputs, corner, cells, begin, end)


@lru_cache(maxsize=32)
def tile_filter(m: int, rows: int, columns: int, taps: tuple[int, int], lanes: int, dtype: str) -> Any:
    """The compiled sums of one register tile, of `taps` of the filters and of the last one."""
    area, width, last, (whole, fewer) = rows * columns * lanes, columns * lanes, 2 * m - 2, taps
    zero = np.dtype(dtype.replace("f", "float")).type(0)

    def filter_tile(images, filters, bias, sums, s):
        """sums_p[i] = sum over j, s of filter_p[j][s] * image_p[i + j][s]; every output has image 1 once, and the bias."""
        for p in range(last):
            tile = vector.filled(bias if p == 1 else zero, rows, columns, lanes)
            for tap in range(s.taps.w):
                column = filters + (p * s.taps.w + tap) * whole
                tile = vector.fma_down(tile, images + (p * s.image + tap), s.pitch, column, whole)
            vector.store_tile(tile, sums + p * area, width)
        tile = vector.filled(zero, rows, columns, lanes)
        for tap in range(s.taps.w):
            column = filters + (last * s.taps.w * whole + tap * fewer)
            tile = vector.fma_down(tile, images + (last * s.image + tap), s.pitch, column, fewer)
        vector.store_tile(tile, sums + last * area, width)

    return inlined(filter_tile)


@lru_cache(maxsize=32)
def tile_store(m: int, rows: int, columns: int, lanes: int, dtype: str) -> Any:
    """The compiled y[m i : m i + m] = act(A^T sums[i]) of one register tile, of the outputs that there are."""
    width, area = columns * lanes, rows * columns * lanes
    transform, transform_first = (output_transform(m, lanes, dtype, whole) for whole in (True, False))
    real = np.dtype(dtype.replace("f", "float")).type
    highest = real(np.inf)

    def store(sums, y, count, row, act):
        """`count` outputs of y, whose rows lie `row` elements apart."""
        clips = epilogue.is_plain(act) or epilogue.is_clip(act)
        if clips and count.w >= width and count.h >= m * rows:
            bounds = epilogue.as_clip(act, highest)
            for i in range(rows):
                for j in range(0, width, lanes):
                    transform(sums + (i * width + j), area, y + (m * i * row + j), row, lanes, m, bounds)
        else:
            for i in range(min(rows, -(-count.h // m))):
                for j in range(0, min(width, count.w), lanes):
                    at, to = sums + (i * width + j), y + (m * i * row + j)
                    transform_first(at, area, to, row, count.w - j, count.h - m * i, act)

    return inlined(store)


@lru_cache(maxsize=32)
def kernel(m: int, tile: tuple[int, int], taps: tuple[int, int], lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over blocks of planes, for so many taps of filters and of the last: f32_row_tiles_4_8x2_3+2_avx512."""
    rows, columns = tile
    split, filter_tile = splitter(m, lanes, dtype), tile_filter(m, rows, columns, taps, lanes, dtype)
    store, (_, clear) = tile_store(m, rows, columns, lanes, dtype), windows.runs(lanes)
    width, count, reach, size = columns * lanes, 2 * m - 1, taps[0] - 1, (2 * m - 2) * taps[0] + taps[1]

    @compiled
    def filter_rows(images, filters, bias, y, outputs, work, act, s):
        """The outputs of `rows` rows of images, a register tile at a time."""
        for column in range(0, outputs.w, width):
            filter_tile(images + column, filters, bias, work.sums, s)
            store(work.sums, y + column, Plane(outputs.h, outputs.w - column), s.outputs.w, act)
        epilogue.finish_runs(y, s.outputs.w, min(m * rows, outputs.h), outputs.w, act)

    @compiled
    def clear_rest(images, s):
        """Zeros where register tiles read what no block writes: behind its columns, and below its rows.

        What memory held before may be subnormal, and some processors take a hundred cycles to multiply such a number.
        """
        zero, lines = vector.zero(images), s.image // s.pitch
        least = Plane(s.outputs.h - (s.blocks.h - 1) * s.block.h, s.outputs.w - (s.blocks.w - 1) * s.block.w)
        written = Plane(-(-least.h // m) + reach, least.w + s.taps.w - 1)
        for p in range(count):
            for i in range(lines):
                first = written.w if i < written.h else 0
                clear(images + (p * s.image + i * s.pitch + first), zero, s.pitch - first)
        clear(images + count * s.image, zero, lanes)

    def row_tiles(begin, end, x, w, bias, residual, y, sizes, parameters):
        """y [c][h][w] = act(bias [c] + sum over r, s of x [c][h + r][w + s] * w [c][r][s]), m rows at a time."""
        s, act = read(sizes), epilogue.epilogue(parameters, residual, y)
        area = rows * width
        parts = Parts(
            sums=count * area, cells=count * lanes, products=count * lanes, fill=s.pitch, images=count * s.image + lanes
        )
        work, memory = carve(parts, x)
        tables, integers = carve_tables(Tables(count, count, count), sizes)
        clear(work.fill, epilogue.padding_value(parameters), s.pitch)
        clear_rest(work.images, s)
        for a in range(count):
            poke(tables.gathered + a, a * lanes)
        for item in range(begin, end):
            block = block_of(item, s)
            plane, filters = pointer(x) + block.plane * s.cells.h * s.cells.w, pointer(w) + block.channel * s.taps.w * size
            images = work.images + -block.begin % lanes  # cells of the plane begin a cache line
            groups, ready = -(-block.outputs.h // m), 0
            for group in range(0, groups, rows):  # images are made just ahead of the tiles that use them
                needed = min(group + rows, groups) + reach
                split(plane, images, Lines(ready, needed), block, work, tables, s)
                ready, top = needed, m * group
                at = block.plane * s.outputs.h * s.outputs.w + (block.output.h + top) * s.outputs.w + block.output.w
                outputs = Plane(block.outputs.h - top, block.outputs.w)
                filter_rows(images + group * s.pitch, filters, bias[block.channel], pointer(y) + at, outputs, work, act, s)
        keep(memory)
        keep(integers)

    row_tiles.__name__ = f"{dtype}_row_tiles_{m}_{rows}x{columns}_{taps[0]}+{taps[1]}_{isa}"
    return Kernel(row_tiles)


# Decisions --------------------------------------------------------------------------------------------------------------


class Cut(NamedTuple):
    """How a plane is filtered.

    Attributes
    ----------
    m : int
        Output rows that are made at a time.
    rows, columns : int
        Rows of images and vectors of a tile.
    band, strip : int
        Rows of images and output columns of a block.
    pitch : int
        Elements from one row of an image to the next.
    """

    m: int
    rows: int
    columns: int
    band: int
    strip: int
    pitch: int


TALLEST = 20  # rows of a kernel
STRIP = 1040  # output columns of a block, or a few more
LEAST = 3  # tiles above each other in a block: what a block reads beyond its own is split twice
FEW_REGISTERS, WIDE = (1.7, 1.25), 256  # times that it takes longer by half as many registers: of narrow planes, and of wide
NEAR_LINES = 6  # lines of a cache that a row of a tile takes: rows that lie fewer, or about LINES, apart share its sets
LINES = 64


def supports(geometry: ConvGeometry, dtype: np.dtype[Any]) -> str | None:
    """Kernels over two axes without a step, channels first or of one channel."""
    g = geometry
    if g.transposed or g.rank != 2 or g.stride != (1, 1) or g.dilation != (1, 1):
        return "it serves groups of one channel over two axes, of stride and dilation 1"
    if not min(WEIGHTS) <= g.kernel[0] <= TALLEST:
        return f"it serves groups of one channel with kernels of {min(WEIGHTS)} to {TALLEST} rows, not {g.kernel[0]}"
    return "it serves groups of one channel channels first, or one channel" if g.channels_last and g.in_channels > 1 else None


def cut_for(geometry: ConvGeometry, m: int, tile: tuple[int, int], dtype: np.dtype[Any], machine: Machine) -> Cut:
    """Blocks whose images take half the L2 cache, cut evenly; items enough for several threads."""
    g, (rows, columns), taps = geometry, tile, -(-geometry.kernel[0] // m)
    strip = blocks.evenly(g.out_size[1], STRIP)
    pitch = pitch_of(strip, g.kernel[1], columns * machine.lanes(dtype), dtype)
    lines = machine.l2 // 2 // dtype.itemsize // ((2 * m - 1) * pitch)
    stacks = -(-g.out_size[0] // (m * rows))
    shares = -(-blocks.SHARES // max(1, g.batch * g.groups * -(-g.out_size[1] // strip)))
    most = min(max(2, (lines - taps) // rows), max(LEAST, -(-stacks // shares)))
    return Cut(m, rows, columns, rows * -(-stacks // -(-stacks // most)), strip, pitch)


def cycles(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> float:
    """Of all planes: products, or the loads for them, images as they are made, and sums that become outputs."""
    g, lanes, size = geometry, machine.lanes(dtype), machine.vector_bytes
    (kernel_h, kernel_w), (out_h, out_w), (m, rows, columns, band) = g.kernel, g.out_size, cut[:4]
    taps, points = [-(-kernel_h // m)] * (2 * m - 2) + [kernel_h // m], 2 * m - 1
    load = (1 + size / 64) / (1 if size == 64 else 2)  # a vector of 64 bytes takes both ports, and one that crosses lines twice
    groups, tiles = -(-out_h // m), -(-out_w // (columns * lanes))
    products = sum(max(rows * count / machine.units, load * (rows + count - 1)) for count in taps)
    tile = 80 + 10 * rows + kernel_w * columns * products
    split = points * load + {2: 8, 3: 15, 4: 24}[m] / machine.units
    line = 3 * points + split * -(-(out_w + kernel_w) // lanes)
    lines = groups + -(-groups // band) * (taps[0] - 1)
    few = 1.0 if machine.registers > 16 else FEW_REGISTERS[out_w >= WIDE]
    return few * g.batch * g.groups * (-(-groups // rows) * tiles * tile + lines * line + 200)


def seconds(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> float:
    """Cycles, and what the L2 cache does not hold, which is not fetched meanwhile."""
    moved = geometry.bytes(dtype.itemsize)
    slow = 2 * machine.seconds(0, min(moved, machine.l3))
    return machine.seconds(20_000 + cycles(geometry, cut, dtype, machine), moved) + slow


def candidates(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> Iterator[Candidate]:
    """Every m that the kernel has rows for, by every register tile."""
    for m in WEIGHTS:
        for tile in TILES[machine.isa].winograd_rows if m <= geometry.kernel[0] else ():
            cut = cut_for(geometry, m, tile, dtype, machine)
            yield Candidate(seconds(geometry, cut, dtype, machine), cut, partial(draft, geometry, cut, dtype, machine))


def pack_cost(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any]) -> float:
    """Seconds that `pack` takes, by NumPy."""
    return 7e-6 + 6e-9 * geometry.weights


def pitch_of(columns: int, taps: int, width: int, dtype: np.dtype[Any]) -> int:
    """Elements from one row of an image to the next: what its last tile reads, and lines that spread over an L1 cache."""
    line = LINE // dtype.itemsize
    lines = -(-(-(-columns // width) * width + taps) // line) + 2
    while lines > NEAR_LINES and not NEAR_LINES <= lines % LINES <= LINES - NEAR_LINES:
        lines += 1
    return lines * line


@remembered
def draft(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> Draft:
    """All but the weights."""
    g, m, lanes, outputs = geometry, cut.m, machine.lanes(dtype), Plane(*geometry.out_size)
    taps = -(-g.kernel[0] // m), g.kernel[0] // m
    block = Plane(m * cut.band, cut.strip)
    sizes = Sizes(
        channels=g.groups,
        cells=Plane(*g.in_size),
        outputs=outputs,
        padding=Plane(*(before for before, _ in g.padding)),
        taps=Plane(*g.kernel),
        mode=g.mode,
        block=block,
        blocks=Plane(-(-outputs.h // block.h), -(-outputs.w // block.w)),
        pitch=cut.pitch,
        image=(cut.band + taps[0]) * cut.pitch,
    )
    items = g.batch * g.groups * prod(sizes.blocks)
    arguments = written(sizes), epilogue.scalars(g.activation, dtype, g.border.value)
    chosen = kernel(m, (cut.rows, cut.columns), taps, lanes, element(dtype), machine.isa)
    return drafted(chosen, items, 8 * prod(g.out_shape) * g.taps // lanes, arguments, partial(filters_of, g, m))


def filters_of(geometry: ConvGeometry, m: int, w: Array, bias: Array) -> tuple[Array, Array]:
    """(2 m - 1 filters of a row for m taps of each channel: [p][s][j], the last one without the taps that are none; bias)."""
    g, (kernel_h, kernel_w) = geometry, geometry.kernel
    taps = -(-kernel_h // m)
    kernels = np.zeros((g.groups, taps * m, kernel_w))
    kernels[:, :kernel_h] = w.reshape(g.groups, kernel_h, kernel_w)
    packed = np.empty((g.groups, kernel_w * (len(WEIGHTS[m]) * taps - (kernel_h % m > 0))), w.dtype)
    whole = packed[:, : kernel_w * taps * (len(WEIGHTS[m]) - 1)]
    with np.errstate(invalid="ignore", over="ignore"):  # weights that are not finite are the caller's affair
        filters = WEIGHTS[m] @ kernels.reshape(g.groups, taps, m, kernel_w)
        whole.reshape(g.groups, -1, kernel_w, taps)[...] = filters[:, :, :-1].transpose(0, 2, 3, 1)
        packed[:, whole.shape[1] :].reshape(g.groups, kernel_w, -1)[...] = filters[:, : kernel_h // m, -1].transpose(0, 2, 1)
    return packed.reshape(-1), bias
