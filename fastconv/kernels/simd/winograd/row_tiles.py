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

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import NO_WEIGHTS, Kernel, Launch, compiled, element
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import epilogue, packing
from fastconv.kernels.simd.winograd.row_transforms import WEIGHTS, input_transform, output_transform
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array, ConvGeometry

peek, poke, pointer = vector.peek, vector.poke, vector.pointer


@lru_cache(maxsize=8)
def splitter(m: int, lanes: int, dtype: str) -> Any:
    """The compiled images of a block of rows: image_p[i][column] at to + p * step + i * pitch, for lines[0] <= i < lines[1].

    `corner` is the cell of the block's first row and column, which may lie in padding; of rows there are `high`, and zeros
    below. Of the `wide` columns those from inside[0] to inside[1] - 1 are cells of the plane; behind each row of an image there
    is room for a vector. `zeros` has a row of them, `spare` room for 4 m vectors and `offsets` for 6 m numbers.
    """
    cell_under, cells = packing.cell_under, 2 * m - 1
    transform, transform_first = (input_transform(m, lanes, dtype, masked) for masked in (False, True))

    @compiled
    def gather(image, columns, corner, mode, line, step, begin, end, zeros, spare, offsets):
        """Columns begin .. end - 1 of one row of each image, which are padding, from their cells one by one."""
        inside, gathered, results = offsets + cells, offsets + 2 * cells, spare + cells * lanes
        for left in range(begin, end, lanes):
            count = min(lanes, end - left)
            for j in range(count):
                cell = cell_under(corner + left + j, columns, mode)
                for a in range(cells):
                    value = peek(image + (peek(offsets + a) + cell)) if peek(inside + a) == 1 else peek(zeros)
                    poke(spare + (a * lanes + j), value)
            transform_first(spare, gathered, count, results, lanes)
            for p in range(cells):
                vector.store_first(line + (p * step + left), vector.load(results + p * lanes, lanes), count)

    @compiled
    def clear(line, step, begin, end, zero):
        empty = vector.splat(zero, lanes)
        for p in range(cells):
            for column in range(begin, end, lanes):
                vector.store(line + (p * step + column), empty)

    @compiled
    def split(image, size, corner, high, wide, inside, mode, to, step, pitch, lines, zeros, spare, offsets):
        begin, end = inside
        whole = begin + (end - begin) // lanes * lanes
        for a in range(cells):
            poke(offsets + (2 * cells + a), a * lanes)
        for i in range(lines[0], lines[1]):
            for a in range(cells):
                row = m * i + a
                cell = cell_under(corner[0] + row, size[0], mode) if row < high else -1
                poke(offsets + (cells + a), 1 if cell >= 0 else 0)
                poke(offsets + a, cell * size[1] if cell >= 0 else vector.distance(image, zeros) - corner[1])
            line, start = to + i * pitch, image + corner[1]
            if mode == 0:
                clear(line, step, 0, begin, peek(zeros))
            for column in range(begin, whole, lanes):
                transform(start + column, offsets, lanes, line + column, step)
            reached = whole
            if whole < end:
                transform_first(start + whole, offsets, end - whole, line + whole, step)
                reached += lanes
            if mode == 0:
                clear(line, step, reached, wide, peek(zeros))
            else:
                gather(image, size[1], corner[1], mode, line, step, 0, begin, zeros, spare, offsets)
                gather(image, size[1], corner[1], mode, line, step, end, wide, zeros, spare, offsets)

    return split


@lru_cache(maxsize=32)
def kernel(m: int, rows: int, columns: int, taps: int, last_taps: int, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over blocks of planes, for so many taps of filters and of the last: f32_row_tiles_4_8x2_3+2_avx512."""
    split, width, last, (_, clear) = splitter(m, lanes, dtype), columns * lanes, 2 * m - 2, packing.runs(lanes)
    transform, transform_some = (output_transform(m, lanes, dtype, whole) for whole in (True, False))
    real = np.dtype(dtype.replace("f", "float")).type
    highest = real(np.inf)

    def row_tiles(begin, end, x, w, bias, residual, y, sizes, parameters):
        act = epilogue.epilogue(parameters, residual, y)
        (channels, rows_in, columns_in), (rows_out, columns_out, widths) = packing.three(sizes, 0), packing.three(sizes, 3)
        (top_pad, left_pad, mode), (band, strip, pitch) = packing.three(sizes, 6), packing.three(sizes, 9)
        tall, zero = sizes[12], x.dtype.type(0)
        bands, strips = -(-rows_out // (m * band)), -(-columns_out // strip)
        plane_in, plane_out = rows_in * columns_in, rows_out * columns_out
        step, area = (band + taps) * pitch, rows * width
        memory = np.empty((last + 1) * (step + area) + pitch + (4 * m + 1) * lanes + 16, x.dtype)
        table = np.empty(6 * m, np.int64)
        sums, offsets = vector.line_start(pointer(memory)), pointer(table)
        spare = sums + (last + 1) * area
        zeros = spare + 4 * m * lanes
        workspace = zeros + pitch
        clips, bounds = epilogue.is_plain(act) or epilogue.is_clip(act), epilogue.as_clip(act, highest)
        clear(zeros, zero, pitch)
        for item in range(begin, end):
            rest, piece = divmod(item, strips)
            plane, part = divmod(rest, bands)
            top, left = part * band * m, piece * strip
            count, broad = min(band * m, rows_out - top), min(strip, columns_out - left)
            high, wide = count + tall - 1, broad + widths - 1
            channel, groups, ready = plane % channels, -(-count // m), 0
            filters = pointer(w) + channel * widths * (last * taps + last_taps)
            image, size, corner = pointer(x) + plane * plane_in, (rows_in, columns_in), (top - top_pad, left - left_pad)
            first = min(max(-corner[1], 0), wide)
            cells = first, max(first, min(size[1] - corner[1], wide))
            images = workspace + -first % lanes  # cells of the plane begin a cache line
            for group in range(0, groups, rows):
                coming = min(group + rows, groups) + taps - 1
                split(image, size, corner, high, wide, cells, mode, images, step, pitch, (ready, coming), zeros, spare, offsets)
                ready, shown = coming, count - m * group
                line = pointer(y) + (plane * plane_out + (top + m * group) * columns_out + left)
                for column in range(0, broad, width):
                    at = images + (group * pitch + column)
                    for p in range(last):
                        tile = vector.filled(peek(pointer(bias) + channel) if p == 1 else zero, rows, columns, lanes)
                        for s in range(widths):
                            tap = filters + (p * widths + s) * taps
                            tile = vector.fma_down(tile, at + (p * step + s), pitch, tap, taps)
                        vector.store_tile(tile, sums + p * area, width)
                    tile = vector.filled(zero, rows, columns, lanes)
                    for s in range(widths):
                        tap = filters + (last * widths * taps + s * last_taps)
                        tile = vector.fma_down(tile, at + (last * step + s), pitch, tap, last_taps)
                    vector.store_tile(tile, sums + last * area, width)
                    to, room = line + column, broad - column
                    if clips and room >= width and shown >= m * rows:
                        for i in range(rows):
                            for j in range(0, width, lanes):
                                at_sum, at_y = sums + (i * width + j), to + (m * i * columns_out + j)
                                transform(at_sum, area, at_y, columns_out, lanes, m, bounds)
                    else:
                        for i in range(min(rows, groups - group)):
                            for j in range(0, min(width, room), lanes):
                                at_sum, at_y = sums + (i * width + j), to + (m * i * columns_out + j)
                                transform_some(at_sum, area, at_y, columns_out, room - j, shown - m * i, act)
                if epilogue.is_unfinished(act):
                    for i in range(min(m * rows, shown)):
                        epilogue.finish_run(line + i * columns_out, broad, act)
        memory[0], table[0] = zero, 0  # pointers do not keep an array alive: its last use does

    row_tiles.__name__ = f"{dtype}_row_tiles_{m}_{rows}x{columns}_{taps}+{last_taps}_{isa}"
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


TILES = {32: ((4, 4), (8, 2)), 16: ((3, 4), (4, 2))}  # (rows of images, vectors) of a tile, by the number of vector registers
TALLEST = 20  # rows of a kernel
STRIP = 1040  # output columns of a block, or a few more
LEAST = 3  # tiles above each other in a block: what a block reads beyond its own is split twice
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
    strip = packing.evenly(g.out_size[1], STRIP)
    pitch = pitch_of(strip, g.kernel[1], columns * machine.lanes(dtype), dtype)
    lines = machine.l2 // 2 // dtype.itemsize // ((2 * m - 1) * pitch)
    stacks = -(-g.out_size[0] // (m * rows))
    shares = -(-packing.SHARES // max(1, g.batch * g.groups * -(-g.out_size[1] // strip)))
    most = min(max(2, (lines - taps) // rows), max(LEAST, -(-stacks // shares)))
    return Cut(m, rows, columns, rows * -(-stacks // -(-stacks // most)), strip, pitch)


def cycles(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> float:
    """Of all planes: products, or the loads for them, images as they are made, and sums that become outputs."""
    g, lanes, size = geometry, machine.lanes(dtype), machine.vector_bytes
    (tall, wide), (high, across), (m, rows, columns, band) = g.kernel, g.out_size, cut[:4]
    taps, points = [-(-tall // m)] * (2 * m - 2) + [tall // m], 2 * m - 1
    load = (1 + size / 64) / (1 if size == 64 else 2)  # a vector of 64 bytes takes both ports, and one that crosses lines twice
    groups, tiles = -(-high // m), -(-across // (columns * lanes))
    tile = 80 + 10 * rows + wide * columns * sum(max(rows * count / machine.units, load * (rows + count - 1)) for count in taps)
    split = points * load + {2: 8, 3: 15, 4: 24}[m] / machine.units
    line = 3 * points + split * -(-(across + wide) // lanes)
    lines = groups + -(-groups // band) * (taps[0] - 1)
    return g.batch * g.groups * (-(-groups // rows) * tiles * tile + lines * line + 200)


@lru_cache(maxsize=1024)
def chosen(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> tuple[float, Cut]:
    """(cycles, cut) of the m and the tile that take the fewest."""
    forms = [(m, tile) for m in WEIGHTS if m <= geometry.kernel[0] for tile in TILES[machine.registers]]
    cuts = [cut_for(geometry, m, tile, dtype, machine) for m, tile in forms]
    return min((cycles(geometry, cut, dtype, machine), cut) for cut in cuts)


def cost(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Cycles, and what the L2 cache does not hold, which is not fetched meanwhile."""
    moved = geometry.bytes(dtype.itemsize)
    slow = 2 * machine.seconds(0, min(moved, machine.l3))
    return machine.seconds(20_000 + chosen(geometry, dtype, machine)[0], moved) + slow


def pack_cost(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> float:
    """Seconds that `pack` takes, by NumPy."""
    return 7e-6 + 6e-9 * geometry.weights


def pitch_of(columns: int, taps: int, width: int, dtype: np.dtype[Any]) -> int:
    """Elements from one row of an image to the next: what its last tile reads, and lines that spread over an L1 cache."""
    line = packing.LINE // dtype.itemsize
    lines = -(-(-(-columns // width) * width + taps) // line) + 2
    while lines > NEAR_LINES and not NEAR_LINES <= lines % LINES <= LINES - NEAR_LINES:
        lines += 1
    return lines * line


@lru_cache(maxsize=256)
def draft(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> Launch:
    """The launch without its weights."""
    g, (m, rows, columns, band, strip, pitch) = geometry, cut
    (tall, wide), (top, left) = g.kernel, (before for before, _ in g.padding)
    sizes = (g.groups, *g.in_size, *g.out_size, wide, top, left, g.mode, band, strip, pitch, tall)
    items = g.batch * g.groups * -(-g.out_size[0] // (m * band)) * -(-g.out_size[1] // strip)
    lanes = machine.lanes(dtype)
    chosen_kernel = kernel(m, rows, columns, -(-tall // m), tall // m, lanes, element(dtype), machine.isa)
    arguments = (np.array(sizes, np.int64), epilogue.scalars(g.activation, dtype))
    return Launch(chosen_kernel, items, 8 * prod(g.out_shape) * g.taps // lanes, NO_WEIGHTS, NO_WEIGHTS, arguments)


def pack(w: Array, bias: Array, geometry: ConvGeometry) -> Launch:
    """Of each channel 2 m - 1 filters of a row for m taps: [p][s][j], the last one without the taps that are none."""
    g, (_, cut) = geometry, chosen(geometry, w.dtype, host())
    (tall, wide), taps = g.kernel, -(-g.kernel[0] // cut.m)
    kernels = np.zeros((g.groups, taps * cut.m, wide))
    kernels[:, :tall] = w.reshape(g.groups, tall, wide)
    packed = np.empty((g.groups, wide * (len(WEIGHTS[cut.m]) * taps - (tall % cut.m > 0))), w.dtype)
    whole = packed[:, : wide * taps * (len(WEIGHTS[cut.m]) - 1)]
    with np.errstate(invalid="ignore", over="ignore"):  # weights that are not finite are the caller's affair
        filters = WEIGHTS[cut.m] @ kernels.reshape(g.groups, taps, cut.m, wide)
        whole.reshape(g.groups, -1, wide, taps)[...] = filters[:, :, :-1].transpose(0, 2, 3, 1)
        packed[:, whole.shape[1] :].reshape(g.groups, wide, -1)[...] = filters[:, : tall // cut.m, -1].transpose(0, 2, 1)
    return draft(g, cut, w.dtype, host()).with_weights(packed.reshape(-1), bias)
