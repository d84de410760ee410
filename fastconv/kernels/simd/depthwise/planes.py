"""Depthwise convolution of rows that are read where they lie, and stay in the registers of a tile.

    y [h][e] = act(bias + sum over r, s of x [h * stride + r - padding][e * stride + (s - padding) * C] * w [r][s])

Channels first, a row is one of a plane and C is 1. Of few channels, channels last, as colours are, it is one of the image, e
runs over all of its values, and taps lie C channels apart; weights then differ from lane to lane, or one serves all of them
where all channels have the same filter, as blurs have.

Vectors lie along the width, half ones where they hold a row. A tile has one vector of several output rows, and every vector of
x that it loads feeds all rows whose windows it is in. Cells of padding are left out by masks, rows of padding are read from a
line of zeros: no plane is copied, so that maps of 7x7 and of 112x112 take the same road. Where padding is not of zeros, the
windows of the tiles that meet it are copied, and no others. Long rows take tiles of several vectors, without masks, where no
window meets padding. Of dilated kernels, a tile has the output rows that share input rows: those that lie a dilation apart. A
line is a plane of one row, and so is a plane whose windows are one cell.
"""

from collections.abc import Iterator
from functools import lru_cache, partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, element, inlined
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.depthwise.stacks import (
    Form,
    Parts,
    Sizes,
    Tables,
    carve,
    carve_tables,
    read,
    stack_finder,
    window_finder,
)
from fastconv.kernels.simd.engine import epilogue, requests, windows
from fastconv.kernels.simd.engine.blocks import SHARES
from fastconv.kernels.simd.engine.costs import CALL, Candidate
from fastconv.kernels.simd.engine.sizes import Plane, written
from fastconv.kernels.simd.engine.tables import TILES
from fastconv.kernels.simd.engine.weights import Draft, drafted
from fastconv.kernels.simd.engine.workspace import keep
from fastconv.machine import Machine
from fastconv.problem.borders import ZERO_FILL as ZEROS
from fastconv.problem.convolutions import Array, ConvGeometry

peek, pointer = vector.peek, vector.pointer


def name_of(form: Form, dtype: str, isa: str) -> str:
    """A kernel's name: f32_depthwise_14x1_3x3s1_planes_avx512, or of 3 channels ..._3x3s1_by3_planes_avx512."""
    kind = f"{form.taps_h}x{form.taps_w}s{form.stride}" + (f"_by{form.apart}" if form.apart > 1 else "")
    kind += "_shared" * (form.apart > 1 and not form.own) + "_dilated" * form.dilated + "_silu" * form.gated
    return f"{dtype}_depthwise_{form.rows}x{form.columns}_{kind}_planes_{isa}"


@lru_cache(maxsize=64)
def activation_of(gated: bool, dtype: str) -> Any:
    """The compiled activation of a tile. Silu is not left to the store: a row that two items write would meet it twice."""

    def activate(tile, act):
        return vector.silu(tile)

    return inlined(activate) if gated else epilogue.activation_of(dtype)


@lru_cache(maxsize=64)
def start_of(rows: int, columns: int, apart: int, lanes: int) -> Any:
    """The compiled tile of biases: one of a plane, or of channels that lie together one a lane, from a column's on."""

    def filled(stack, column):
        return vector.filled(peek(stack.bias), rows, columns, lanes)

    def repeated(stack, column):
        return vector.repeated(stack.bias + column % apart, rows, columns, lanes)

    return inlined(filled if apart == 1 else repeated)


@lru_cache(maxsize=64)
def kernel(form: Form, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over stacks of output rows: f32_depthwise_14x1_3x3s1_planes_avx512.

    A tile of several columns goes where no window meets padding, one of one column to the edges.
    """
    (rows, columns, taps_h, taps_w), (stride, apart, own), dilated = form[:4], form[4:7], form.dilated
    stack_of, window_of, activate = stack_finder(form), window_finder(form, lanes), activation_of(form.gated, dtype)
    ask, ask_inside = (requests.asker(rows * stride, count * stride, lanes) for count in (1, columns))
    ask_results, ask_results_inside = (requests.asker(rows, count, lanes) for count in (1, columns))
    width, turns = columns * lanes, max(1, own)
    # Cells of a row under a tile of several columns, and those of the window of one column, which may be copied.
    reach = width * stride + ((taps_w - 1) * apart if stride == 1 else vector.rest_of(taps_w))
    edge = (lanes - 1) * stride + (taps_w - 1) * apart + 1
    copied = ((rows - 1) * stride + taps_h) * (edge + 2 * apart) + 2 * lanes
    start, start_inside = start_of(rows, 1, apart, lanes), start_of(rows, columns, apart, lanes)
    _, clear = windows.runs(lanes)

    def sum_dense(tile, window, zeros, weights, s):
        """The taps of all windows of a tile."""
        there, cells = (window.top, window.bottom), (window.left, window.right)
        at, step = window.at, window.step
        return vector.fma_plane(tile, at, step, there, zeros, cells, weights, taps_h, taps_w, stride, apart, own)

    def sum_dilated(tile, window, zeros, weights, s):
        there, cells = (window.top, window.bottom), (window.left, window.right)
        at, step = window.at, window.step
        return vector.fma_plane(tile, at, step, there, zeros, cells, weights, taps_h, taps_w, stride, s.dilation.w, own)

    sum_window = inlined(sum_dilated if dilated else sum_dense)

    def depthwise(begin, end, x, w, bias, residual, y, sizes, parameters):
        """y [h][e] = act(bias + sum over r, s of x [h * stride + r][e * stride + s * C] * w [r][s])"""
        s, act, fill = read(sizes), epilogue.epilogue(parameters, residual, y), epilogue.padding_value(parameters)
        count = max(s.cells.w + 1, copied)  # zeros, which rows of padding are read from
        work, memory = carve(Parts(window=count), x)
        tables, integers = carve_tables(Tables(steps=lanes), sizes)
        copy = Parts(vector.like(work.window, pointer(x)))
        clear(copy.window, vector.zero(copy.window), count)
        row = s.dilation.h * s.cells.w
        for item in range(begin, end):
            stack, end = stack_of(item, x, w, bias, y, s), s.outputs.w
            column = end - end % lanes if s.over > 0 else np.int64(0)
            while column < end:
                left, room, turn = column * stride - s.padding.w, s.outputs.w - column, column // lanes % turns
                at, to = stack.image + (stack.top * s.cells.w + left), stack.y + column
                inside = stack.inside and left >= 0 and left + reach <= s.cells.w
                # Columns of a tile meet their vectors of weights in turn, from the first one on.
                if columns > 1 and turn == 0 and inside and room >= width:
                    if s.ahead.cells > 0:
                        ask_inside(at + s.ahead.cells * s.cells.w, s.cells.w)
                    if s.ahead.results > 0:
                        ask_results_inside(to + s.ahead.results * s.outputs.w, s.outputs.w)
                    large = start_inside(stack, column)
                    large = vector.fma_inside(large, at, s.cells.w, stack.weights, taps_h, taps_w, stride, apart, own)
                    vector.store_spans(activate(large, act), to, s.outputs.w, rows, width)
                    column += width
                else:
                    if s.ahead.cells > 0:
                        ask(at + s.ahead.cells * row, row)
                    if s.ahead.results > 0:
                        ask_results(to + s.ahead.results * s.outputs.w, s.outputs.w)
                    window, weights = window_of(stack, left, room, copy, tables.steps, fill, s), stack.weights + turn * lanes
                    tile = sum_window(start(stack, column), window, copy.window + -window.left, weights, s)
                    if s.over > 0 and room < lanes:  # the first tile: what it stores behind its rows is stored again
                        vector.store_over(activate(tile, act), to, s.outputs.w, room)
                        column, end = np.int64(0), column
                    else:
                        vector.store_spans(activate(tile, act), to, s.dilation.h * s.outputs.w, rows, room)
                        column += lanes
        keep(memory)
        keep(integers)

    depthwise.__name__ = name_of(form, dtype, isa)
    return Kernel(depthwise)


# Decisions --------------------------------------------------------------------------------------------------------------

ROWS = (14, 10, 8, 7, 5, 4, 3, 2, 1)  # output rows of a tile
STREAM = 8  # vectors of a tile of a plane of one row
ROW = 128  # cells of a plane that is worth one
LONG = 12  # vectors of an output row that is worth tiles of several: it is few rows of long lines that the L1 cache holds
APART, MOST_APART = 2, 7  # vectors, and most rows, of tiles of stride 2
WIDEST = 9  # taps of a kernel on either axis
CONFLICT = 1024  # elements of a row, or a multiple: all rows fall into the same sets of an L1 cache


class Cut(NamedTuple):
    """Rows and vectors of a tile, and the vectors of weights that a tap has, 0 where one weight serves all lanes."""

    rows: int
    columns: int
    own: int


def in_planes(geometry: ConvGeometry) -> ConvGeometry:
    """The same sums over two axes, where it has one; over a single row, where windows are one cell and planes many."""
    g = geometry
    one_row = g.rank == 1 or (g.is_pointwise and prod(g.in_size) >= ROW)
    return g.as_row() if one_row and not g.channels_last and g.batch * g.in_channels >= SHARES else g


def channels_together(geometry: ConvGeometry) -> int:
    """C of the formula."""
    return geometry.in_channels if geometry.channels_last else 1


def lanes_for(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> int:
    """Elements of a vector of a tile."""
    g = geometry
    return machine.lanes(dtype) if g.channels_last else machine.lanes_for(g.out_size[1], dtype)


def suits(geometry: ConvGeometry, dtype: np.dtype[Any], machine: Machine) -> bool:
    """Whether rows are long, masks cheap, and the kernel one that the tile is written for."""
    g, together = in_planes(geometry), channels_together(geometry)
    return bool(
        machine.vector_bytes >= 32
        and g.rank == 2
        and g.in_per_group == g.out_per_group == 1
        and g.stride[0] == g.stride[1] <= (2 if together == 1 else 1)
        and not g.transposed
        and g.border.mode != "constant"
        and together <= TILES[machine.isa].depthwise_channels
        and (g.kernel[0] == g.kernel[1] or together == 1)
        and max(g.kernel) <= WIDEST  # the tile is compiled for each kernel
        and (g.dilation == (1, 1) or may_dilate(g))
        and (g.stride[0] == 1 or g.in_size[1] % CONFLICT)  # so many rows of x would drive each other out of the cache
    )


def may_dilate(geometry: ConvGeometry) -> bool:
    """Whether taps may lie apart: in planes with zeros around them, of which every residue of the dilation has rows."""
    g = geometry
    return bool(not g.channels_last and g.stride == (1, 1) and g.mode == ZEROS and 0 < g.dilation[0] <= g.out_size[0])


def is_stream(geometry: ConvGeometry) -> bool:
    """Whether planes have one row of outputs, and steps of one: tiles are long."""
    g = geometry
    return not g.channels_last and g.out_size[0] == 1 and g.stride == g.dilation == (1, 1)


def tiles_for(geometry: ConvGeometry, own: int, dtype: np.dtype[Any], machine: Machine) -> list[tuple[int, int]]:
    """(rows, vectors) of the tiles to choose from: a large one on long rows, else those of one vector, two for stride 2."""
    g, most = geometry, TILES[machine.isa].depthwise_rows
    if is_stream(g):
        return [(1, STREAM)]
    dense = g.dilation == (1, 1) and g.kernel[0] == g.kernel[1]
    if dense and g.stride == (1, 1) and g.kernel[0] > 2 and g.out_size[1] * channels_together(g) >= LONG * machine.lanes(dtype):
        large: tuple[int, int] = TILES[machine.isa].depthwise_large[g.kernel[0] > 3]
        if own:
            columns = own * max(1, large[1] // own)
            large = TILES[machine.isa].depthwise_vectors // columns, columns
        if large[0] <= g.out_size[0]:
            return [large]
    columns, most = (APART, min(most, MOST_APART)) if g.stride[0] > 1 else (1, most)
    most = min(most, g.out_size[0] // g.dilation[0])
    return [(rows, columns) for rows in ROWS if rows <= most] or [(1, columns)]


def cycles(geometry: ConvGeometry, tile: tuple[int, int], dtype: np.dtype[Any], machine: Machine) -> float:
    """Products, loads and, with strides, the sorting of what was loaded, of all tiles."""
    g, (taps_h, taps_w), stride, (rows, columns) = geometry, geometry.kernel, geometry.stride[0], tile
    each, fixed = (2.5, 3.0) if stride > 1 else (0.9, 3.0) if columns == 1 else (0.45, 2.5 * rows)
    loads = ((rows - 1) * stride + taps_h) * taps_w * each
    lanes, whole, together = lanes_for(g, dtype, machine), machine.lanes(dtype), channels_together(g)
    vectors, units = -(-g.out_size[1] * together // lanes), machine.units if lanes == whole else 2
    if machine.registers <= 16 and stride == columns == 1:
        spilled, fixed = (1.0, 1.4, 1.5)[2 if taps_h > 3 else taps_w > 3], 12.0
    else:
        spilled = 1.15 if taps_h > 3 else 1.0
    of_stack = 22 + spilled * vectors * (rows * taps_h * taps_w / units + loads + fixed)
    if rows == 1 and stride == 1:  # no other row shares what a tile of one vector takes
        _, (left, _) = g.padding
        inside = g.in_size[1] - (taps_w - 1) - (lanes if left else 0)
        of_stack += (vectors - (columns * max(0, inside // (columns * lanes)) if columns > 1 else 0)) * (10 + 6 * taps_w)
    apart = g.dilation[0]
    return g.batch * g.in_channels // together * -(-g.out_size[0] // (rows * apart)) * apart * of_stack


def candidates(geometry: ConvGeometry, shared: bool, dtype: np.dtype[Any], machine: Machine) -> Iterator[Candidate]:
    """Every tile, with one weight for all channels that lie together where those are `shared`, or one for each."""
    g, together = in_planes(geometry), channels_together(geometry)
    own = 0 if shared or together == 1 else together
    for tile in tiles_for(g, own, dtype, machine):
        seconds = machine.seconds(CALL + cycles(g, tile, dtype, machine), g.bytes(dtype.itemsize))
        cut = Cut(*tile, own)
        yield Candidate(seconds, cut, partial(draft, g, cut, dtype, machine))


def may_store_over(geometry: ConvGeometry, lanes: int, machine: Machine) -> bool:
    """Whether rows that follow each other end in a part of a vector, and the rest of it lies in the next one."""
    row = geometry.out_size[1] * channels_together(geometry)
    return not machine.masks and geometry.dilation == (1, 1) and row % lanes > 0 and row + row % lanes >= lanes


def rows_ahead(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> requests.Rows:
    """What is asked for: of a row alone nothing, and no results where rows of a tile lie apart."""
    g, reach = geometry, (cut.rows - 1) * geometry.stride[0] + geometry.kernel[0]
    if g.in_size[0] == 1:
        return requests.Rows(0, 0)
    found = requests.rows_ahead(reach, prod(g.in_size) * dtype.itemsize, g.bytes(dtype.itemsize), machine)
    return found if g.dilation == (1, 1) else requests.Rows(min(found.cells, max(requests.AHEAD, reach)), 0)


@remembered
def draft(geometry: ConvGeometry, cut: Cut, dtype: np.dtype[Any], machine: Machine) -> Draft:
    """The launch without its weights."""
    g, together, lanes = geometry, channels_together(geometry), lanes_for(geometry, dtype, machine)
    (top, _), (left, _) = g.padding
    sizes = Sizes(
        planes=g.in_channels // together,
        cells=Plane(g.in_size[0], g.in_size[1] * together),
        outputs=Plane(g.out_size[0], g.out_size[1] * together),
        padding=Plane(top, left * together),
        dilation=Plane(*g.dilation),
        over=may_store_over(g, lanes, machine),
        ahead=rows_ahead(g, cut, dtype, machine),
        mode=g.mode,
    )
    gated, dilated = g.activation.kind == "silu", g.dilation != (1, 1)
    form = Form(cut.rows, cut.columns, *g.kernel, g.stride[0], together, cut.own, gated, dilated)  # type: ignore[call-arg,arg-type]
    items = g.batch * sizes.planes * -(-sizes.outputs.h // (cut.rows * g.dilation[0])) * g.dilation[0]
    arguments = written(sizes), epilogue.scalars(g.activation, dtype, g.border.value)
    lay = partial(laid, together, cut, lanes)
    return drafted(kernel(form, lanes, element(dtype), machine.isa), items, 2 * g.flops, arguments, lay)


def laid(together: int, cut: Cut, lanes: int, w: Array, bias: Array) -> tuple[Array, Array]:
    """(weights as they are, of channels that lie together one set, or C vectors a tap; bias, for those in every lane)."""
    if together == 1:
        return w.reshape(-1).copy(), bias
    by_tap, packed = w.reshape(together, -1).T, w.reshape(together, -1)[0].copy()
    if cut.own:
        packed = np.ascontiguousarray(by_tap[:, np.arange(together * lanes) % together]).reshape(-1)
    return packed, np.resize(bias, together + cut.columns * lanes)
