"""Direct convolution of few products, channels first: the cells under a vector of positions stay in registers.

    y [k][p] = act(bias [k] + sum over l of patches [l][p] * w [k][l])         l runs over few c, t, r, s

planar.py takes vectors of one output row, which are half empty where maps are small. Here the cells under each tap are laid out
for the positions of several rows, one row after the other as they are stored; the L vectors of a vector of positions are loaded
once, and meet the weights of one output channel after the other, which are read where they lie. Where they are few, they are
loaded again for each tile of output channels, and planes are written one after the other, as memory likes it.
"""

from functools import lru_cache, partial
from math import gcd, prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled, element, inlined
from fastconv.kernels.keeping import remembered
from fastconv.kernels.memory import LINE
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.direct.blocks import reach
from fastconv.kernels.simd.direct.held import ROWS, room
from fastconv.kernels.simd.engine import epilogue, weights, windows
from fastconv.kernels.simd.engine.costs import CALL, Candidate
from fastconv.kernels.simd.engine.sizes import Axes, Strides, axes, reader, written
from fastconv.kernels.simd.engine.tables import CONFLICT
from fastconv.kernels.simd.engine.walks import flattened
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.machine import Machine
from fastconv.problem.convolutions import ConvGeometry
from fastconv.problem.problem import Problem

peek, poke, pointer = vector.peek, vector.poke, vector.pointer


class Sizes(NamedTuple):
    """What the kernel needs to know; `rows` and `columns` are those of a block, which has whole rows or a part of one."""

    groups: int
    c_group: int
    k_group: int
    cells: Axes
    outputs: Axes
    taps: Axes
    stride: Axes
    dilation: Axes
    before: Axes
    rows: int
    columns: int
    mode: int


class Block(NamedTuple):
    """A block of outputs of a group of an image.

    Attributes
    ----------
    n, group : int
        Image and group.
    first : Axes
        The first output.
    rows, columns : int
        Outputs.
    reach_h, reach_w : int
        Cells under them.
    """

    n: int
    group: int
    first: Axes
    rows: int
    columns: int
    reach_h: int
    reach_w: int


class Parts(NamedTuple):
    """The cells of all channels of a block, and the cells under each tap for each of its positions."""

    cells: int
    patches: int


class Tables(NamedTuple):
    """The steps that packing takes."""

    columns: int


read, carve, carve_tables = reader(Sizes), workspace(Parts), workspace(Tables)


@compiled
def block_of(item, s):
    """The block of one item."""
    rest, column = divmod(item, -(-s.outputs.w // s.columns))
    rest, row = divmod(rest, -(-s.outputs.h // s.rows))
    rest, depth = divmod(rest, s.outputs.d)
    n, group = divmod(rest, s.groups)
    first = Axes(depth, row * s.rows, column * s.columns)
    rows, columns = min(s.rows, s.outputs.h - first.h), min(s.columns, s.outputs.w - first.w)
    tall = reach(rows, s.stride.h, s.taps.h, s.dilation.h)
    return Block(n, group, first, rows, columns, tall, reach(columns, s.stride.w, s.taps.w, s.dilation.w))


@lru_cache(maxsize=8)
def cell_packer(lanes: int) -> Any:
    """The compiled cells [c][t][row][column] of a block, padding filled in."""
    pack = windows.packer(lanes, True)

    def pack_cells(x, block, to, steps, fill, s):
        of_plane = s.cells.h * s.cells.w
        of_channel = s.cells.d * of_plane
        d = block.first.d * s.stride.d - s.before.d
        corner = Axes(d, block.first.h * s.stride.h - s.before.h, block.first.w * s.stride.w - s.before.w)
        cells = windows.Block(corner, s.taps.d, s.dilation.d, block.reach_h, block.reach_w, 1, 1)
        first = pointer(x) + (block.n * s.groups + block.group) * s.c_group * of_channel
        for c in range(s.c_group):
            source = windows.Source(first + c * of_channel, Strides(0, 0, of_plane, s.cells.w, 1), s.cells, s.mode, fill)
            pack(source, cells, to + c * s.taps.d * block.reach_h * block.reach_w, steps)

    return compiled(pack_cells)


@lru_cache(maxsize=8)
def spreader(lanes: int) -> Any:
    """The compiled patches [c t r s][position] of a block, zeros behind them; what goes beyond a row is written again."""

    @inlined
    def spread_short(to, source, down, block):
        """Rows of one vector or less, whose cells follow each other."""
        for _ in range(block.rows):
            vector.store(to, vector.load(source, lanes))
            to, source = to + block.columns, source + down

    @inlined
    def spread_rows(to, source, down, block):
        for _ in range(block.rows):
            for i in range(0, block.columns, lanes):
                vector.store(to + i, vector.load(source + i, lanes))
            to, source = to + block.columns, source + down

    @inlined
    def spread_two(to, source, down, block):
        for _ in range(block.rows):
            for i in range(0, block.columns, lanes):
                at = source + 2 * i
                vector.store(to + i, vector.every_second(vector.load(at, lanes), vector.load(at + lanes, lanes)))
            to, source = to + block.columns, source + down

    @inlined
    def spread_several(to, source, down, block, stride):
        for _ in range(block.rows):
            for i in range(block.columns):
                poke(to + i, peek(source + i * stride))
            to, source = to + block.columns, source + down

    def spread(cells, to, pitch, block, s):
        down, count, zeros = s.stride.h * block.reach_w, block.rows * block.columns, vector.splat(vector.zero(cells), lanes)
        for plane in range(s.c_group * s.taps.d):
            for r in range(s.taps.h):
                at = cells + (plane * block.reach_h + r * s.dilation.h) * block.reach_w
                for _ in range(s.taps.w):
                    if s.stride.w > 2:
                        spread_several(to, at, down, block, s.stride.w)
                    elif s.stride.w == 2:
                        spread_two(to, at, down, block)
                    elif block.columns > lanes:
                        spread_rows(to, at, down, block)
                    else:
                        spread_short(to, at, down, block)
                    vector.store(to + count, zeros)  # the last vector's products of what is there may be subnormal, and slow
                    to, at = to + pitch, at + s.dilation.w

    return compiled(spread)


@lru_cache(maxsize=64)
def summer(rows: int, terms: int, by_planes: bool, lanes: int, dtype: str) -> Any:
    """The compiled y[k][p] of a block: all output channels of a vector of positions, `rows` at a time, and then of the next.

    `by_planes`, all positions of `rows` channels, and then of the next.
    """
    activate = epilogue.activation_of(dtype)

    @inlined
    def store(tile, to, apart, many, count, act):
        if count >= lanes:
            vector.store_tile(activate(tile, act), to, apart)
        else:
            vector.store_spans(activate(tile, act), to, apart, many, count)

    @inlined
    def sum_rows(held, w, bias, to, apart, count, act):
        tile = vector.first_values(bias, rows, 1, lanes)
        tile = vector.fma_held(tile, held, w, terms, (0, 0, 0), 1, 1, 1, terms)
        store(tile, to, apart, rows, count, act)

    @inlined
    def sum_row(held, w, bias, to, apart, count, act):
        one = vector.first_values(bias, 1, 1, lanes)
        one = vector.fma_held(one, held, w, terms, (0, 0, 0), 1, 1, 1, terms)
        store(one, to, apart, 1, count, act)

    def sum_vectors(patches, pitch, count, w, bias, channels, y, apart, act):
        whole = channels - channels % rows
        for p in range(0, count, lanes):
            held = vector.load_tile(patches + p, pitch, terms, 1, lanes)
            for k in range(0, whole, rows):
                sum_rows(held, w + k * terms, bias + k, y + k * apart + p, apart, count - p, act)
            for k in range(whole, channels):
                sum_row(held, w + k * terms, bias + k, y + k * apart + p, apart, count - p, act)

    def sum_planes(patches, pitch, count, w, bias, channels, y, apart, act):
        whole = channels - channels % rows
        for k in range(0, whole, rows):
            for p in range(0, count, lanes):
                held = vector.load_tile(patches + p, pitch, terms, 1, lanes)
                sum_rows(held, w + k * terms, bias + k, y + k * apart + p, apart, count - p, act)
        for k in range(whole, channels):
            for p in range(0, count, lanes):
                held = vector.load_tile(patches + p, pitch, terms, 1, lanes)
                sum_row(held, w + k * terms, bias + k, y + k * apart + p, apart, count - p, act)

    return compiled(sum_planes if by_planes else sum_vectors)


@lru_cache(maxsize=64)
def kernel(rows: int, terms: int, by_planes: bool, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over blocks of outputs: f32_patches_8x9_avx512, of 8 output channels and 9 products."""
    pack_cells, spread, make_sums = cell_packer(lanes), spreader(lanes), summer(rows, terms, by_planes, lanes, dtype)

    def patches(begin, end, x, w, bias, residual, y, sizes, parameters):
        """y [k][p] = act(bias [k] + sum over l of patches [l][p] * w [k][l])"""
        s, act = read(sizes), epilogue.epilogue(parameters, residual, y)
        fill, plane = epilogue.padding_value(parameters), s.outputs.d * s.outputs.h * s.outputs.w
        pitch = -(-s.rows * s.columns // lanes) * lanes
        tall = reach(s.rows, s.stride.h, s.taps.h, s.dilation.h)
        wide = reach(s.columns, s.stride.w, s.taps.w, s.dilation.w)
        # A vector at the end of a row reads on into what follows, and is written beyond it: there is room for both.
        cells = s.c_group * s.taps.d * tall * wide + 2 * lanes
        work, memory = carve(Parts(cells, terms * pitch + lanes), x)
        tables, integers = carve_tables(Tables(lanes), sizes)
        for item in range(begin, end):
            block = block_of(item, s)
            pack_cells(x, block, work.cells, tables.columns, fill, s)
            spread(work.cells, work.patches, pitch, block, s)
            k, count = block.group * s.k_group, block.rows * block.columns
            place = (block.first.d * s.outputs.h + block.first.h) * s.outputs.w + block.first.w
            to = pointer(y) + ((block.n * s.groups * s.k_group + k) * plane + place)
            make_sums(work.patches, pitch, count, pointer(w) + k * terms, pointer(bias) + k, s.k_group, to, plane, act)
            epilogue.finish_runs(to, plane, s.k_group, count, act)
        keep(integers)
        keep(memory)

    patches.__name__ = f"{dtype}_patches_{rows}x{terms}{'_planes' if by_planes else ''}_{isa}"
    return Kernel(patches)


# Decisions --------------------------------------------------------------------------------------------------------------

NEAR = 16 << 10  # bytes of patches that the L1 cache holds beside results
PARTED = 15  # cycles of a row of results that ends in a part of a vector, where masks are slow
LONG = 10  # products of sums that wait for each other, and are not loaded again
FAR = 64 << 10  # bytes of a plane, beyond which each of many needs pages of its own
FALL = 16  # lines, about, that a set of the L1 cache and what is behind it hold until the next vector of each is stored


class Cut(NamedTuple):
    """Output channels of a tile, the outputs of a block, and whether all of these come before the next channels."""

    rows: int
    block: tuple[int, int]
    by_planes: bool

    @property
    def lays_weights(self) -> bool:
        """Weights are read where they lie."""
        return False


def products_of(geometry: ConvGeometry) -> int:
    """Of a sum."""
    return geometry.in_per_group * prod(geometry.kernel)


def suits(problem: Problem, machine: Machine) -> bool:
    """Whether the cells under a vector of positions fit registers, and those under a block half the L2 cache."""
    g, dtype = flattened(problem.geometry), problem.dtype
    if g.channels_last or g.transposed or dtype.kind != "f" or not 0 < products_of(g) < room(machine):
        return False
    lines, of_line = cells_under(g, cut(g, dtype, machine))
    return lines * of_line * dtype.itemsize <= machine.l2 // 2


def cut(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> Cut:
    """As many output channels as registers have room for beside the cells, and blocks whose patches the L1 cache holds.

    The cells under them take half the L2 cache, where a row's do.
    """
    g, products, lanes = geometry, products_of(geometry), machine.lanes(dtype)
    rows = max(rows for rows in ROWS if rows + products <= room(machine) and (rows == 1 or rows <= g.out_per_group))
    most = max(4, NEAR // dtype.itemsize // products // lanes) * lanes
    _, height, width = g.out_size
    columns = max(1, width if width <= most else most)
    down = max(1, min(height, most // columns)) if columns == width else 1
    lines = machine.l2 // 2 // dtype.itemsize // (g.in_per_group * g.kernel[0] * ((columns - 1) * g.stride[2] + g.window[2]))
    down = max(1, min(down, (lines - g.window[1]) // g.stride[1] + 1))
    return Cut(rows, (-(-height // -(-height // down)) if height else 1, columns), products <= LONG)


def cells_under(geometry: ConvGeometry, cut: Cut) -> tuple[int, int]:
    """(lines, cells of a line) under a block, of all channels and depths of taps."""
    g, (tall, wide) = geometry, cut.block
    lines = g.in_per_group * g.kernel[0] * ((tall - 1) * g.stride[1] + g.window[1])
    return lines, (wide - 1) * g.stride[2] + g.window[2]


def cycles_of(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> float:
    """Products, stores, cells packed and spread, and blocks begun."""
    g, products, lanes, (rows, (tall, wide), by_planes) = geometry, products_of(geometry), machine.lanes(dtype), cut
    depth, height, width = g.out_size
    if not prod(g.out_size):
        return 0.0
    blocks = g.batch * g.groups * depth * -(-height // tall) * -(-width // wide)
    vectors = blocks * -(-min(tall, height) * min(wide, width) // lanes)
    whole, left = divmod(g.out_per_group, rows)
    waits = rows < ROWS[0] or products > LONG  # sums wait for products before them
    each = (1.3 if waits else 0.9) * max(2, products) / machine.units
    each += 3 if dtype.itemsize * prod(g.out_size) > FAR else 0
    tiles = whole * (rows * (each + 1) + 4) + left * (each + 5)
    lines, of_line = cells_under(g, cut)
    of_row = 2 + 2 * -(-min(wide, width) // lanes) * (1 if g.stride[2] <= 2 else lanes)
    spread = blocks * products * min(tall, height) * of_row
    if by_planes:
        tiles += whole * products
    else:  # a vector of each output channel, in few sets of the L1 cache
        sets = min(CONFLICT // LINE, CONFLICT // gcd(dtype.itemsize * height * width * depth, CONFLICT))
        tiles += 20 * max(0, g.out_per_group - FALL * sets)
    parted = blocks * g.out_per_group * PARTED if min(tall, height) * min(wide, width) % lanes and not machine.masks else 0
    return 150 * blocks + vectors * (tiles + products + 20) + blocks * lines * (20 + 4 * of_line / lanes) + spread + parted


def candidate(problem: Problem, machine: Machine) -> Candidate:
    """Direct convolution by cells that stay in registers."""
    g, dtype = flattened(problem.geometry), problem.dtype
    one = cut(g, dtype, machine)
    seconds = machine.seconds(CALL + cycles_of(g, one, dtype, machine), g.bytes(dtype.itemsize))
    return Candidate(seconds, one, partial(drafts, g, one, dtype, machine))


# Plan -------------------------------------------------------------------------------------------------------------------


@remembered
def drafts(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> tuple[weights.Draft, ...]:
    """One draft, whose weights stay where they lie."""
    g, (rows, (tall, wide), by_planes) = geometry, cut
    depth, height, width = g.out_size
    sizes = Sizes(
        groups=g.groups,
        c_group=g.in_per_group,
        k_group=g.out_per_group,
        cells=axes(g.in_size),
        outputs=axes(g.out_size),
        taps=axes(g.kernel),
        stride=axes(g.stride),
        dilation=axes(g.dilation),
        before=axes([pair[0] for pair in g.padding]),
        rows=tall,
        columns=wide,
        mode=g.mode,
    )
    items = g.batch * g.groups * depth * -(-height // tall) * -(-width // wide)
    chosen = kernel(rows, products_of(g), by_planes, machine.lanes(dtype), element(dtype), machine.isa)
    work = g.batch * g.groups * prod(g.out_size) * g.out_per_group * g.reduction // 8
    arguments = written(sizes), epilogue.scalars(g.activation, dtype, g.border.value)
    return (weights.drafted(chosen, items, work, arguments, weights.as_given),)
