"""Convolution by Fourier transforms of blocks, overlapping as far as the kernel reaches: a cost that hardly grows with it.

    X [c][f]  = F(block of x[c])
    Y [k][f]  = sum over c of X[c][f] * W[k, c][f]         W = F(w) once a plan, tap t at -t, since conv is correlation
    y [k]     = F^-1(Y[k]), of which the first (size - window + 1) cells are right

Blocks are a planes of b rows of m cells, as spectra.py transforms them. Real inputs go in pairs: two blocks of one image are
the real and the imaginary part of one transform, which the product by a real kernel's spectrum keeps apart. On overlapping
blocks: Oppenheim and Schafer, Discrete-Time Signal Processing, section 8.7.3.

Rounding is spread over a block: the error of an output is relative to the largest values around it, not to its own. A NaN or
inf in x spreads to the whole block that reads it, of all output channels, and to the block that is its pair.
"""

from functools import lru_cache
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, Launch, compiled, element
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import epilogue, packing
from fastconv.kernels.simd.engine.walks import strides
from fastconv.kernels.simd.fourier import spectra
from fastconv.machine import CLOCK, Machine, host
from fastconv.problem.borders import source_cell
from fastconv.problem.convolutions import Array, ConvGeometry, Size
from fastconv.problem.problem import Operands, Problem

peek, poke, pointer = vector.peek, vector.poke, vector.pointer
cell_under = compiled(source_cell)
POINTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)  # of a pass
MOST_PLANES = 64  # of a block
MOST_WEIGHTS = 256 << 20  # bytes of transformed weights
WORKSPACE = 4 << 20  # bytes of transformed input a thread
ROW = 38e-9  # seconds until the first line of a row comes from behind the L2 cache
SHORT = 64  # cells of a row that ends before the next lines of it are fetched ahead


# The loop nest ------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def kernel(lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over pairs of blocks: f32_fft_avx512."""
    analysis, synthesis = spectra.passes(lanes, dtype)
    activate = epilogue.activation_of(dtype)

    @compiled
    def read_row(to, source, corner, count, room, cells, step, mode, zero):
        """to[i] = the cell corner + i of a row of `cells`, for i < count; zeros up to room."""
        begin = min(max(-corner, 0), count)
        end = max(begin, min(count, cells - corner))
        for i in range(begin):
            cell = cell_under(corner + i, cells, mode)
            poke(to + i, zero if cell < 0 else peek(source + cell * step))
        if step == 1:
            whole = end - (end - begin) % lanes
            for i in range(begin, whole, lanes):
                vector.store(to + i, vector.load(source + (corner + i), lanes))
            if whole < end:
                rest = vector.load_first(source + (corner + whole), end - whole, lanes)
                vector.store_first(to + whole, rest, end - whole)
        else:
            for i in range(begin, end):
                poke(to + i, peek(source + (corner + i) * step))
        for i in range(end, count):
            cell = cell_under(corner + i, cells, mode)
            poke(to + i, zero if cell < 0 else peek(source + cell * step))
        for i in range(count, room):
            poke(to + i, zero)

    @compiled
    def read(to, source, there, corner, needed, shape, pitch, long, cells, xs, step, mode, zero):
        """One block at `corner`, zeros beyond the cells that are needed, or nothing but zeros."""
        a, b, m = shape
        for row in range(a * b):
            i, j = divmod(row, b)
            line = to + row * pitch
            if long:
                count = min(max(needed[2] - j * m, 0), m) if there else 0
                read_row(line, source, corner[2] + j * m, count, m, cells[2], xs[4] * step, mode, zero)
                continue
            d, h = -1, -1
            if there and i < needed[0] and j < needed[1]:
                d, h = cell_under(corner[0] + i, cells[0], mode), cell_under(corner[1] + j, cells[1], mode)
            count = needed[2] if d >= 0 and h >= 0 else 0
            at = source + (max(d, 0) * xs[2] + max(h, 0) * xs[3]) * step
            read_row(line, at, corner[2], count, m, cells[2], xs[4] * step, mode, zero)

    @compiled
    def write_row(row, to, count, stride, step, bias, act):
        """to[i] = act(row[i * stride] + bias) for i < count."""
        offset = vector.splat(bias, lanes)
        if stride == 1 and step == 1:
            for i in range(0, count, lanes):
                vector.store_first(to + i, activate(vector.load(row + i, lanes) + offset, act), count - i)
            if epilogue.is_unfinished(act):
                epilogue.finish_run(to, count, act)
        else:
            for i in range(count):
                epilogue.put(to + i * step, peek(row + i * stride) + bias, act)

    @compiled
    def write(block, to, first, shown, shape, pitch, long, stride, ys, step, bias, act):
        """The outputs `first` .. first + shown - 1 of one block, which its cells 0, stride, ... hold."""
        _, b, m = shape
        if long:
            done = 0
            while done < shown[2]:
                j, column = divmod(done * stride[2], m)
                count = min(shown[2] - done, (m - column - 1) // stride[2] + 1)
                at = to + (first[2] + done) * ys[4] * step
                write_row(block + (j * pitch + column), at, count, stride[2], ys[4] * step, bias, act)
                done += count
            return
        for i in range(shown[0]):
            for j in range(shown[1]):
                at = to + ((first[0] + i) * ys[2] + (first[1] + j) * ys[3] + first[2] * ys[4]) * step
                row = block + (i * stride[0] * b + j * stride[1]) * pitch
                write_row(row, at, shown[2], stride[2], ys[4] * step, bias, act)

    @compiled
    def multiply(to, x, x_step, w, size, strip, channels):
        """to = sum over c of x[c] * w[c]: a product of complex numbers."""
        half = strip // 2
        for begin in range(0, size, strip):
            for at in range(begin, begin + half - lanes + 1, lanes):
                s, t = vector.load(x + at, lanes), vector.load(x + (at + half), lanes)
                u, v = vector.load(w + at, lanes), vector.load(w + (at + half), lanes)
                re, im = s * u - t * v, s * v + t * u
                for c in range(1, channels):
                    p, q = x + (c * x_step + at), w + (c * size + at)
                    s, t = vector.load(p, lanes), vector.load(p + half, lanes)
                    u, v = vector.load(q, lanes), vector.load(q + half, lanes)
                    re, im = re + s * u - t * v, im + s * v + t * u
                vector.store(to + at, re)
                vector.store(to + (at + half), im)

    @compiled
    def place(index, tiles, tile, stride, out_size):
        """(first output, outputs shown) of a block on each axis."""
        rest, w = divmod(index, tiles[2])
        d, h = divmod(rest, tiles[1])
        first = d * (tile[0] // stride[0]), h * (tile[1] // stride[1]), w * (tile[2] // stride[2])
        shown = (
            min(tile[0] // stride[0], out_size[0] - first[0]),
            min(tile[1] // stride[1], out_size[1] - first[1]),
            min(tile[2] // stride[2], out_size[2] - first[2]),
        )
        return first, shown

    def fft(begin, end, x, w, bias, residual, y, sizes, tables, parameters):
        act = epilogue.epilogue(parameters, residual, y)
        xs, ys, cells, out_size = (
            packing.five(sizes, 0),
            packing.five(sizes, 5),
            packing.three(sizes, 10),
            packing.three(sizes, 13),
        )
        stride, shape, tile = packing.three(sizes, 16), packing.three(sizes, 19), packing.three(sizes, 22)
        extent, before, (groups, c_group, k_group) = (
            packing.three(sizes, 25),
            packing.three(sizes, 28),
            packing.three(sizes, 31),
        )
        chunk, pitch, strip, long, mode = packing.five(sizes, 34)
        paired = sizes[39] == 0
        step = 1 if paired else 2
        passes_tables, ends = spectra.table_pointers(tables, shape, packing.five(sizes, 40))
        tiles = (
            -(-out_size[0] // (tile[0] // stride[0])),
            -(-out_size[1] // (tile[1] // stride[1])),
            -(-out_size[2] // (tile[2] // stride[2])),
        )
        count = tiles[0] * tiles[1] * tiles[2]
        pairs = -(-count // 2) if paired else count
        chunks = -(-pairs // chunk)
        rows, zero = shape[0] * shape[1], x.dtype.type(0)
        size, plane = rows // lanes * strip, rows * pitch + 2 * lanes

        memory = np.empty(2 * plane + (chunk * c_group + 1) * size + 64, x.dtype)
        re = vector.line_start(pointer(memory))
        im = re + plane
        blocks = vector.line_start(im + plane)
        sums = blocks + chunk * c_group * size
        for item in range(begin, end):
            rest, part = divmod(item, chunks)
            n, group = divmod(rest, groups)
            first_pair, last_pair = part * chunk, min(pairs, (part + 1) * chunk)
            for pair in range(first_pair, last_pair):
                for c in range(c_group):
                    source = pointer(x) + (n * xs[0] + (group * c_group + c) * xs[1]) * step
                    for side in range(2):
                        index = 2 * pair + side if paired else pair
                        first, shown = place(min(index, count - 1), tiles, tile, stride, out_size)
                        corner = (
                            first[0] * stride[0] - before[0],
                            first[1] * stride[1] - before[1],
                            first[2] * stride[2] - before[2],
                        )
                        needed = (
                            (shown[0] - 1) * stride[0] + extent[0],
                            (shown[1] - 1) * stride[1] + extent[1],
                            (shown[2] - 1) * stride[2] + extent[2],
                        )
                        to, at, there = im if side else re, source if paired else source + side, index < count
                        read(to, at, there, corner, needed, shape, pitch, long, cells, xs, step, mode, zero)
                    to = blocks + ((pair - first_pair) * c_group + c) * size
                    analysis(re, im, to, shape, pitch, strip, passes_tables)
            for k in range(k_group):
                filters = pointer(w) + (group * k_group + k) * c_group * size
                channel = group * k_group + k
                for pair in range(first_pair, last_pair):
                    multiply(sums, blocks + (pair - first_pair) * c_group * size, size, filters, size, strip, c_group)
                    synthesis(sums, re, im, shape, pitch, strip, passes_tables, ends)
                    for side in range(2):
                        index = 2 * pair + side if paired else pair
                        if index < count:
                            first, shown = place(index, tiles, tile, stride, out_size)
                            to = pointer(y) + (n * ys[0] + channel * ys[1]) * step
                            offset = bias[channel * step] if paired else bias[channel * step + side]
                            to, block = to if paired else to + side, im if side else re
                            write(block, to, first, shown, shape, pitch, long, stride, ys, step, offset, act)
        memory[0] = zero  # pointers do not keep an array alive: its last use does

    fft.__name__ = f"{dtype}_fft_{isa}"
    return Kernel(fft)


# Decisions ----------------------------------------------------------------------------------------------------------------


class Choice(NamedTuple):
    """How a geometry is cut: the points of a block as three passes, its outputs at stride 1 on each axis, what it costs."""

    shape: Size
    tile: Size
    seconds: float


def supports(problem: Problem) -> str | None:
    """Convolutions of float32, float64, complex64 or complex128 whose kernel fits a block."""
    geometry, dtype = problem.geometry, problem.dtype
    g = geometry
    if dtype.char not in "fdFD":
        return f"it transforms float32, float64, complex64 or complex128, not {dtype}"
    if g.transposed:
        return "it serves convolutions, not transposed ones"
    if not g.in_per_group:
        return "it needs channels"
    found = choice(g, dtype, host())
    if found is None:
        return f"a kernel that reaches over {'x'.join(map(str, g.window))} cells does not fit its blocks"
    weights = 2 * real_of(dtype).itemsize * prod(found.shape) * g.in_channels * g.out_per_group
    if weights > MOST_WEIGHTS:
        return f"its transformed weights would take {weights >> 20} MiB, more than {MOST_WEIGHTS >> 20}"
    return None


def real_of(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of the real part."""
    return np.dtype(dtype.char.lower())


def chunk_of(geometry: ConvGeometry, size: Any, real: np.dtype[Any], pairs: Any) -> Any:
    """Pairs of blocks whose products go together, so that the filters are read less often; sizes may be arrays."""
    if geometry.in_per_group == 1:
        return 1
    return np.maximum(1, np.minimum(pairs, WORKSPACE // (2 * size * real.itemsize * geometry.in_per_group)))


@lru_cache(maxsize=16)
def shapes(rank: int, lanes: int) -> Array:
    """The blocks that there are, as the columns a, b, m: whole vectors along the last two."""
    fitting = [points for points in POINTS if points % lanes == 0]
    planes = [points for points in POINTS if points <= MOST_PLANES] if rank == 3 else [1]
    return np.array(list(product(planes, fitting, fitting)), np.int64).T


@lru_cache(maxsize=1024)
def choice(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> Choice | None:
    """The block whose passes should take the least time, or None where none holds the kernel."""
    g, real = geometry.lifted(), real_of(dtype)
    lanes = machine.lanes(real)
    found = shapes(geometry.rank, lanes)
    ones = np.ones_like(found[0])
    points = np.stack((ones, ones, found[1] * found[2])) if geometry.rank == 1 else found
    # As floats: a shape that nobody has memory for may pass 64 bits.
    extent, stride, outputs = (np.array(sizes, np.float64)[:, None] for sizes in (g.window, g.stride, g.out_size))
    holds = (points >= extent).all(0)
    if not holds.any():
        return None
    found, points = found[:, holds], points[:, holds]
    shown = (points - extent) // stride + 1  # outputs of a block
    count = (-(-outputs // shown)).prod(0)
    size = found.prod(0)
    blocks = g.batch * (count if dtype.kind == "c" else -(-count // 2))
    # What is summed over channels comes from the L2 cache, or from behind it.
    fits = 2 * size * real.itemsize * (g.in_per_group + 1) <= machine.l2
    cycles = size // lanes * (g.in_channels + g.out_channels) * 7 * np.log2(size)
    cycles += size // lanes * g.in_channels * g.out_per_group * np.where(fits, 8, 22)
    if g.channels_last:
        cycles += 2 * size * ((g.in_channels > 1) * 1.8 * g.in_channels + (g.out_channels > 1) * g.out_channels)
    cycles = 36_000 + blocks * (cycles + 580 * (g.in_channels + g.out_channels))
    filters = 2 * size * real.itemsize * g.in_channels * g.out_per_group
    # Whatever ran before has driven spectra of more than the L2 cache out to memory.
    speed = machine.bandwidth * np.where(filters <= machine.l2, 9, 0.8)
    passes = -(-blocks // chunk_of(g, size, real, count))
    seconds = cycles / CLOCK + machine.seconds(0, g.bytes(real.itemsize)) + passes * filters / speed
    if g.rank > 1 and not g.channels_last and real.itemsize * prod(g.x_shape) > machine.l2:
        seconds += np.where(found[2] <= SHORT, 1, 0.25) * ROW * 2 * blocks * g.in_channels * found[0] * found[1]
    best = int(np.argmin(seconds))
    tile = tuple(int(cells) for cells in (shown * stride)[:, best])
    return Choice(tuple(int(n) for n in found[:, best]), tile, float(seconds[best]))


def cost(problem: Problem, machine: Machine) -> float:
    """Of the block that was chosen; image filters were measured to take less than its parts add up to."""
    geometry, dtype = problem.geometry, problem.dtype
    found = choice(geometry, dtype, machine)
    part = 0.8 if geometry.rank == 2 and geometry.in_per_group == 1 and dtype == np.float32 else 1.0
    return float("inf") if found is None else part * found.seconds


def pack_cost(problem: Problem, machine: Machine) -> float:
    """Seconds that `pack` takes: a transform for each kernel."""
    geometry, dtype = problem.geometry, problem.dtype
    found = choice(geometry, dtype, machine)
    kernels = geometry.out_channels * geometry.in_per_group
    return float("inf") if found is None else 2.5e-5 + 1e-9 * kernels * prod(found.shape) * real_of(dtype).itemsize


def pack(w: Array, bias: Array, problem: Problem) -> Launch:
    """The spectra of all kernels as [group][k][c][strip][re, im][m][lanes]."""
    geometry = problem.geometry
    g, machine, real = geometry.lifted(), host(), real_of(w.dtype)
    lanes, name, cut = machine.lanes(real), (element(real), machine.isa), choice(geometry, w.dtype, machine)
    assert cut is not None
    long, line = geometry.rank == 1, packing.LINE // real.itemsize
    a, b, m = cut.shape
    pitch, strip = m + line, 2 * (m * lanes + line)
    size = a * b // lanes * strip
    tables, counts = spectra.tables_of(cut.shape, long, lanes, real)
    by_c, by_s = (1, g.in_per_group) if g.channels_last else (g.taps, 1)
    by_row = g.kernel[2] * by_s
    step = 2 if w.dtype.kind == "c" else 1
    weight_sizes = (
        *(*cut.shape, *g.kernel, *g.dilation),
        *(g.reduction, by_c, g.kernel[1] * by_row, by_row, by_s),
        *(pitch, strip, long, step, g.in_per_group),
        *(*counts, 0),
    )
    kernels = g.out_channels * g.in_per_group
    filters = packing.aligned(kernels * size, real)
    transform = spectra.weight_kernel(lanes, *name)
    transform(kernels, kernels * 50 * size, w.reshape(-1).view(real), filters, np.array(weight_sizes, np.int64), tables)
    pairs = prod(
        -(-outputs // (cells // stride)) for outputs, cells, stride in zip(g.out_size, cut.tile, g.stride, strict=True)
    )
    pairs = pairs if step == 2 else -(-pairs // 2)
    chunk = int(chunk_of(g, a * b * m, real, pairs))
    sizes = (
        *strides(g, g.in_channels, g.in_size),
        *strides(g, g.out_channels, g.out_size),
        *(*g.in_size, *g.out_size, *g.stride),
        *(*cut.shape, *cut.tile, *g.window),
        *(pair[0] for pair in g.padding),
        *(g.groups, g.in_per_group, g.out_per_group),
        *(chunk, pitch, strip, long, g.mode),
        *(step - 1, *counts, 0),
    )
    items = g.batch * g.groups * -(-pairs // chunk)
    work = int(cut.seconds * 5e8)
    arguments = (np.array(sizes, np.int64), tables, epilogue.scalars(g.activation, real))
    return Launch(kernel(lanes, *name), items, work, filters, bias.view(real), arguments)


def run(operands: Operands, packed: Launch, problem: Problem, out: Array) -> None:
    """All blocks."""
    real, y = real_of(out.dtype), out.reshape(-1)
    residual = operands["residual"].reshape(-1) if problem.residual else y
    packed.run(operands["x"].reshape(-1).view(real), residual.view(real), y.view(real))
