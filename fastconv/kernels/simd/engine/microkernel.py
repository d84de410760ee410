"""One register tile from start to end: the bias or a partial sum, the whole reduction, the activation, the store.

    y[i, j] = act(bias[j] + sum over l of x[offsets[i] + l] * w[l, j])

for i < rows output positions and j < columns * lanes output channels.
Each step of l loads one value of x for every row, which a vector of the weights' row multiplies: rows + columns loads for
rows * columns multiply-adds. Low, Igual, Smith and Quintana-Orti, Analytical Modeling Is Enough for High-Performance BLIS
(2016), section 3, on how such a tile is sized; engine/tables.py has the table.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from fastconv.kernels.jit import compiled, inlined
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import epilogue

peek, poke = vector.peek, vector.poke
AHEAD = 2048  # elements from weights to those of which a line is asked for, where nothing else is: they may come from afar


class Windows(NamedTuple):
    """What the rows of tiles read.

    Attributes
    ----------
    at : Pointer
        Where the windows begin.
    offsets : Pointer
        int64: elements from there to the window of each row.
    runs : Pointer
        int64: elements from a window to each of its runs, [t][r][piece].
    heights, pieces : int
        Taps along the height, and runs of each: all of a row's taps, or one.
    length, step : int
        Values of a run, and elements from one to the next.
    values : Pointer
        int64: elements from a window to each of its values, where they are listed.
    listed : int
        How many values are read one by one, since runs are short: to begin one takes as long as a dozen products; or 0.
    """

    at: Any
    offsets: Any
    runs: Any
    heights: int
    pieces: int
    length: int
    step: int
    values: Any
    listed: int


class Taps(NamedTuple):
    """The taps to visit along the depth and the height: those of a tile whose other taps all meet zeros are left out."""

    t_first: int
    t_last: int
    r_first: int
    r_last: int


class Weights(NamedTuple):
    """Addresses of a block's bias, of its rows of weights, and of what is to come: a line of each `pace` elements."""

    bias: Any
    rows: Any
    ahead: Any
    pace: int


class Outputs(NamedTuple):
    """Where a tile is stored: [i, j] at offsets[i] + j * step, for i < count and j < width.

    Attributes
    ----------
    at, offsets : Pointer
        Elements, and int64.
    step, count, width : int
        Elements from one channel to the next; rows and channels that are stored.
    """

    at: Any
    offsets: Any
    step: int
    count: int  # type: ignore[assignment]
    width: int


class Phase(NamedTuple):
    """Whether a reduction begins here, with the bias, and whether it ends here, with the activation."""

    begins: bool
    ends: bool


@inlined
def rows_from(windows, first):
    """The windows of the tile whose first row is the `first` of these."""
    of, offsets = windows, windows.offsets + first
    return Windows(of.at, offsets, of.runs, of.heights, of.pieces, of.length, of.step, of.values, of.listed)


@lru_cache(maxsize=64)
def values_summer(rows: int, columns: int, lanes: int) -> Any:
    """The compiled tile + windows @ rows of weights, by the offsets of a window's values, the first of which is 0.

    Each is read a step ahead, and one more than there are: if rows waited for it, LLVM would load them all before any product,
    and keep the tile in memory.
    """
    width = columns * lanes

    def sum_values(tile, windows, offsets, row):
        sources, value = vector.rows_at(windows.at, offsets, rows), 0
        for i in range(1, windows.listed + 1):
            tile = vector.fma_outer(tile, sources, value, row)
            row, value = row + width, peek(windows.values + i)
        return tile

    return inlined(sum_values)


@compiled
def is_contiguous(offsets, count):
    """Whether the offsets of the first `count` rows follow each other."""
    return peek(offsets + (count - 1)) - peek(offsets) == count - 1


@lru_cache(maxsize=64)
def store_of(rows: int, columns: int, lanes: int, channels_last: bool, dtype: str, spares: bool = False) -> Any:
    """The compiled store(tile, outputs, ends, act, spare): after a reduction's last part, what follows the sums too.

    `spare` has room for a tile. Channels first, it is used where rows do not follow each other; channels last, if `spares`, for
    exponentials, since results may be far.
    """
    whole = columns * lanes
    activate_tile, smoothed = epilogue.activation_of(dtype), epilogue.smoother(rows, columns, lanes, dtype)

    @inlined
    def store_rows(tile, to, spare):
        if to.count == rows and to.width == whole:
            vector.store_rows(tile, to.at, to.offsets)
        else:
            vector.store_first_rows(tile, to.at, to.offsets, to.count, to.width)

    @inlined
    def store_columns(tile, to, spare):
        if is_contiguous(to.offsets, to.count):
            vector.store_transposed(tile, to.at + peek(to.offsets), to.step, to.count, to.width)
        else:
            vector.store_tile(tile, spare, whole)
            for j in range(to.width):
                for i in range(to.count):
                    poke(to.at + (peek(to.offsets + i) + j * to.step), peek(spare + (i * whole + j)))

    @inlined
    def add_residual(tile, to, act):
        if to.count == rows and to.width == whole:
            return vector.added_rows(tile, to.at + act.residual, to.offsets)
        return vector.added_first_rows(tile, to.at + act.residual, to.offsets, to.count, to.width)

    def store_last(tile, to, ends, act, spare):
        if ends:
            if act.adds:
                tile, act = add_residual(tile, to, act), epilogue.added(act)
            tile = activate_tile(tile, act)
            if spares:
                tile, act = smoothed(tile, spare, act)
        store_rows(tile, to, spare)
        if ends:
            epilogue.finish_rows(to.at, to.offsets, to.count, to.step, to.width, act)

    def store_first(tile, to, ends, act, spare):
        if ends:
            tile = activate_tile(tile, act)
        store_columns(tile, to, spare)
        if ends:
            epilogue.finish_rows(to.at, to.offsets, to.count, to.step, to.width, act)

    return inlined(store_last if channels_last else store_first)


@lru_cache(maxsize=64)
def load_of(rows: int, columns: int, lanes: int, channels_last: bool) -> Any:
    """The compiled load(outputs, spare) of a partial sum: the tile that was stored."""
    whole = columns * lanes

    def load_rows(at, spare):
        return vector.load_first_rows(at.at, at.offsets, at.count, at.width, rows, columns, lanes)

    def load_columns(at, spare):
        if is_contiguous(at.offsets, at.count):
            return vector.load_transposed(at.at + peek(at.offsets), at.step, at.count, at.width, rows, columns, lanes)
        for j in range(at.width):
            for i in range(at.count):
                poke(spare + (i * whole + j), peek(at.at + (peek(at.offsets + i) + j * at.step)))
        return vector.load_tile(spare, whole, rows, columns, lanes)

    return inlined(load_rows if channels_last else load_columns)


@lru_cache(maxsize=64)
def conv_tile(rows: int, columns: int, lanes: int, channels_last: bool, unit: bool, dtype: str) -> Any:
    """The compiled microkernel of one tile: outputs = act(bias or outputs + windows @ weights).

    `unit`, the values of a run follow each other.
    """
    width = columns * lanes
    load, sum_values = load_of(rows, columns, lanes, channels_last), values_summer(rows, columns, lanes)
    store = store_of(rows, columns, lanes, channels_last, dtype, spares=True)

    def tile_kernel(windows, taps, weights, outputs, phase, act, spare):
        tile = vector.repeated(weights.bias, rows, columns, lanes) if phase.begins else load(outputs, spare)
        # One loop over the runs of all depths: two would keep twice as many addresses.
        of_depth, count = windows.heights * windows.pieces, (taps.r_last - taps.r_first) * windows.pieces
        run = taps.t_first * of_depth + taps.r_first * windows.pieces
        end, last = run + count, (taps.t_last - 1) * of_depth + taps.r_last * windows.pieces if count > 0 else run
        if windows.listed:
            tile, last = sum_values(tile, windows, windows.offsets, weights.rows), run
        while run < last:
            sources = vector.rows_at(windows.at + peek(windows.runs + run), windows.offsets, rows)
            row = weights.rows + run * windows.length * width
            ahead = weights.ahead + run * windows.length * weights.pace
            for i in range(windows.length):
                vector.prefetch(ahead + i * weights.pace)
                tile = vector.fma_outer(tile, sources, i if unit else i * windows.step, row + i * width)
            run += 1
            if run == end:
                run, end = run + (of_depth - count), end + of_depth
        store(tile, outputs, phase.ends, act, spare)

    return inlined(tile_kernel)


@lru_cache(maxsize=64)
def tile_store(rows: int, columns: int, lanes: int, channels_last: bool, dtype: str) -> Any:
    """The compiled store of a tile: y[offsets[i] + j * step] = tile[i, j] for i < count and j < width."""
    store_to = store_of(rows, columns, lanes, channels_last, dtype)

    def store(tile, y, offsets, step, count, width, last, act, spare):
        store_to(tile, Outputs(y, offsets, step, count, width), last, act, spare)

    return inlined(store)
