"""The steps of products over points: sums of panels, products of a tile, and stores that weave rows.

points.py runs over them.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from fastconv.kernels.jit import compiled, inlined
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import epilogue
from fastconv.kernels.simd.engine.sizes import Axes, reader
from fastconv.kernels.simd.engine.workspace import workspace
from fastconv.kernels.simd.strassen.products import PANELS, seven_products, store_sums


class Weave(NamedTuple):
    """Where the positions of a line of the input lie in y, of transposed convolutions.

    Attributes
    ----------
    height, width : int
        Lines of the input of a depth, and positions of a line.
    taps : Axes
        Output lines of each line, by depth and height, and output columns of each position.
    tap : Axes
        Which of them a launch writes.
    """

    height: int
    width: int
    taps: Axes
    tap: Axes


class Sizes(NamedTuple):
    """What the kernel knows.

    Attributes
    ----------
    groups, c_group, half, k_group : int
        Groups, their input channels and those of the first half, and their rows of weights.
    plane : int
        Positions of an image.
    tiles, part : int
        Register tiles of an image, and of a part of it.
    blocks, k_part : int
        Blocks of rows of weights of a half, and of those an item's.
    panels, rows : int
        Where panels begin behind bias and factors, and elements of the bias.
    weave : Weave
        Where results lie, if two taps are woven.
    """

    groups: int
    c_group: int
    half: int
    k_group: int
    plane: int
    tiles: int
    part: int
    blocks: int
    k_part: int
    panels: int
    rows: int
    weave: Weave


class Parts(NamedTuple):
    """The workspace of a thread: register tiles of partial sums, and the panels of a part."""

    partial: int
    sums: int


read, carve = reader(Sizes), workspace(Parts)


class Part(NamedTuple):
    """Tiles of a group of an image that are summed together: number and group, the first tile, how many there are."""

    image: int
    group: int
    first: int
    tiles: int


class Operands(NamedTuple):
    """The panels of some tiles, those of a block of weights, and the channels of a half."""

    sums: Any
    weights: Any
    half: int


class Results(NamedTuple):
    """Where the results of some tiles and a block of weights go.

    Attributes
    ----------
    at : Pointer
        The first channel of the block, position 0.
    first, plane : int
        The first tile's first position, and positions of the image.
    step : int
        Elements of y from one channel to the next.
    channels, of_half : int
        Rows of weights from the block's first to the group's last, and from one half to the other.
    bias, factors : Pointer
        Of the block's first row.
    weave : Weave
        Where positions lie.
    epilogue : Epilogue
        What follows the sums.
    """

    at: Any
    first: int
    plane: int
    step: int
    channels: int
    of_half: int
    bias: Any
    factors: Any
    weave: Weave
    epilogue: Any


class Run(NamedTuple):
    """The first position of one quarter of a tile and how many it has; the first of its rows of weights and how many."""

    first: int
    positions: int
    k: int
    channels: int


# Steps ------------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=32)
def counter(span: int) -> Any:
    """The compiled counts(first, plane): the first and the second positions of the tile that begins at `first`."""

    def counts(first, plane):
        pairs = min(span, -(-(plane - first) // 2))
        return pairs, min(pairs, plane - first - pairs)

    return compiled(counts)


@lru_cache(maxsize=32)
def summer(span: int, lanes: int) -> Any:
    """The compiled sum_part(x, part, sums, s): the seven panels [c / 2][span] of each tile of a part."""
    counts, store_panels = counter(span), store_sums(lanes, True)

    @compiled
    def sum_tile(x, first, to, s):
        """The panels of the tile whose first position is `first`, channel by channel."""
        pairs, seconds = counts(first, s.plane)
        for c in range(s.half):
            paired = s.half + c < s.c_group
            for i in range(0, span, lanes):
                a1, a2 = x + (c * s.plane + first + i), x + (c * s.plane + first + pairs + i)
                a11, a21 = vector.load_first(a1, pairs - i, lanes), vector.load_first(a2, seconds - i, lanes)
                a12 = vector.load_first(a1 + s.half * s.plane, pairs - i if paired else 0, lanes)
                a22 = vector.load_first(a2 + s.half * s.plane, seconds - i if paired else 0, lanes)
                store_panels(to + (c * span + i), s.half * span, a11, a12, a21, a22, span - i)

    def sum_part(x, part, sums, s):
        image = x + part.image * s.c_group * s.plane
        for tile in range(part.tiles):
            sum_tile(image, (part.first + tile) * 2 * span, sums + tile * PANELS * s.half * span, s)

    return compiled(sum_part)


@compiled
def line_of(line, weave):
    """The output line that a line of the input becomes at this tap."""
    d, h = divmod(line, weave.height)
    return ((d * weave.taps.d + weave.tap.d) * weave.height + h) * weave.taps.h + weave.tap.h


@lru_cache(maxsize=32)
def storer(along: str, rows: int, width: int) -> Any:
    """The compiled store(tile, run, results): y [k][p] of one quarter of a tile."""

    def store_turned(tile, run, results):
        """Vectors along output channels."""
        at = results.at + (run.k * results.step + run.first)
        vector.store_transposed(tile, at, results.step, run.positions, run.channels)
        epilogue.finish_runs(at, results.step, run.channels, run.positions, results.epilogue)

    def store_rows(tile, run, results):
        """Vectors along positions."""
        at = results.at + (run.k * results.step + run.first)
        if run.positions == width and run.channels == rows:
            vector.store_tile(tile, at, results.step)
        else:
            vector.store_spans(tile, at, results.step, run.channels, run.positions)
        epilogue.finish_runs(at, results.step, run.channels, run.positions, results.epilogue)

    def store_woven(tile, run, results):
        """Vectors along positions, of which each becomes two; line by line of the input."""
        to, weave, done = results.at + run.k // 2 * results.step, results.weave, 0
        while done < run.positions:
            line, column = divmod(run.first + done, weave.width)
            at = to + (line_of(line, weave) * weave.width + column - done) * 2
            until = min(run.positions, done + weave.width - column)
            vector.store_woven(tile, at, results.step, run.channels, done, until)
            epilogue.finish_runs(at + 2 * done, results.step, run.channels // 2, 2 * (until - done), results.epilogue)
            done = until

    return inlined({"channels": store_turned, "positions": store_rows, "doubled": store_woven}[along])


@lru_cache(maxsize=32)
def products(along: str, rows: int, columns: int, lanes: int, dtype: str) -> Any:
    """The compiled seven products of some tiles and a block of weights, with their four results."""
    by_channels, width = along == "channels", columns * lanes
    span, of_block = (rows, width) if by_channels else (width, rows)
    activate, counts, store = epilogue.activation_of(dtype), counter(span), storer(along, rows, width)
    scaled = vector.scaled_columns if by_channels else vector.scaled_rows

    def multiply(tile, panel, operands, index):
        """tile [p][k] += sum over c of sums [c][p] * weights [c][k], or tile [k][p]."""
        sums = operands.sums + (index * PANELS + panel) * operands.half * span
        weights = operands.weights + panel * operands.half * of_block
        for c in range(operands.half):
            if by_channels:
                tile = vector.fma_shared(tile, sums + c * span, weights + c * of_block)
            else:
                tile = vector.fma_shared(tile, weights + c * of_block, sums + c * span)
        return tile

    def finish(tile, second, half, results, index):
        """y = act(tile * factors + bias), without positions behind the image and channels behind the group."""
        first, k = results.first + index * 2 * span, half * results.of_half
        pairs, seconds = counts(first, results.plane)
        run = Run(first + second * pairs, seconds if second else pairs, k, min(of_block, results.channels - k))
        if run.positions > 0 and run.channels > 0:
            store(activate(scaled(tile, results.factors + k, results.bias + k), results.epilogue), run, results)

    return seven_products(rows, columns, lanes, inlined(multiply), inlined(finish))
