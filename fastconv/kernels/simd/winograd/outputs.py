"""y [t] = act(A^T M[t] A + bias) of a block of tiles: straight into y channels last, by way of a copy channels first."""

from functools import lru_cache
from typing import Any

from fastconv.kernels.jit import compiled
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import epilogue, windows
from fastconv.kernels.simd.winograd.blocks import tile_of
from fastconv.kernels.simd.winograd.transforms import Target, output_transform

pointer = vector.pointer


@compiled
def target_of(number, block, at, row, column, channels, s):
    """The outputs of a tile that lie in its block, whose first one is at `at`; `row` and `column` elements apart."""
    tile = tile_of(number, block, s)
    rows = min(s.m.h, -(-(block.outputs.h - tile.h) // s.spread.h))
    columns = min(s.m.w, -(-(block.outputs.w - tile.w) // s.spread.w))
    first = at + (tile.h * row + tile.w * column)
    return Target(first, s.spread.h * row, s.spread.w * column, rows, columns, channels)


@compiled
def bias_of(bias, block, part, s):
    """Where the bias of a part begins; it is filled up to whole blocks."""
    return pointer(bias) + (block.group * s.k_blocks * s.width + part.k)


@compiled
def output_of(y, block, part, s):
    """Where the first output of a block's part lies."""
    first = block.n * s.y.n + (block.group * s.k_group + part.k) * s.y.c
    return pointer(y) + (first + block.d * s.y.d + block.output.h * s.y.h + block.output.w * s.y.w)


@lru_cache(maxsize=16)
def outputs_last(form: tuple[int, int], lanes: int, dtype: str) -> Any:
    """The compiled transform of tiles whose channels lie in y as vectors do."""
    to_outputs = output_transform(form, lanes, dtype)

    def transform_outputs(y, bias, block, part, work, act, s):
        to, offset = output_of(y, block, part, s), bias_of(bias, block, part, s)
        for t in range(block.tiles.h * block.tiles.w):
            target = target_of(t, block, to, s.y.h, s.y.w, part.channels, s)
            if target.rows > 0 and target.columns > 0:
                to_outputs(work.m + t * s.k_pitch, s.m_plane, offset, work.tile, target, act)
        if epilogue.is_unfinished(act):
            for h in range(block.outputs.h):
                epilogue.finish_runs(to + h * s.y.h, s.y.w, block.outputs.w, part.channels, act)

    return compiled(transform_outputs)


@lru_cache(maxsize=16)
def outputs_first(form: tuple[int, int], lanes: int, dtype: str) -> Any:
    """The compiled transform of tiles into a block channels last, which then goes to planes."""
    to_outputs, unpack = output_transform(form, lanes, dtype), windows.unpacker(lanes)

    def transform_outputs(y, bias, block, part, work, act, s):
        to, offset, rows, columns = (
            output_of(y, block, part, s),
            bias_of(bias, block, part, s),
            block.outputs.h,
            block.outputs.w,
        )
        for t in range(block.tiles.h * block.tiles.w):
            target = target_of(t, block, work.results, columns * part.channels, part.channels, part.channels, s)
            if target.rows > 0 and target.columns > 0:
                to_outputs(work.m + t * s.k_pitch, s.m_plane, offset, work.tile, target, act)
        unpack(work.results, rows, columns, part.channels, part.channels, to, s.y.h, s.y.c)
        if epilogue.is_unfinished(act):
            for h in range(rows):
                epilogue.finish_runs(to + h * s.y.h, s.y.c, part.channels, columns, act)

    return compiled(transform_outputs)


def transform_of(form: tuple[int, int], lanes: int, channels_last: bool, dtype: str) -> Any:
    """The compiled transform_outputs(y, bias, block, part, work, act, s) of a layout."""
    return (outputs_last if channels_last else outputs_first)(form, lanes, dtype)
