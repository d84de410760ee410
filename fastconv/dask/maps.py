"""Convolutions and pools: maps with a batch, channels, and axes that windows slide along."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fastconv.dask.graphs import Block, Input, Pieces, in_blocks, no_out, numeric, stand_in, whole
from fastconv.machine import host
from fastconv.plans.dispatch import chosen_form
from fastconv.plans.functions import once
from fastconv.plans.planning import Given, bias_array, plan_without_weights, pool_dtype
from fastconv.problem import arguments as check
from fastconv.problem import signatures
from fastconv.problem.blocks import Piece, Rule, Spread, Whole, Windows, bounds_of, pieces, unchanged
from fastconv.problem.convolutions import Array, Size
from fastconv.problem.frames import frames
from fastconv.problem.problem import Problem
from fastconv.problem.types import uniform

INDEX = np.dtype(np.int64)


class Axes(NamedTuple):
    """Where the axes of a map lie in an array."""

    batch: int | None
    channels: int
    spatial: Size

    @staticmethod
    def of(ndim: int, rank: int, channels_last: bool) -> "Axes":
        """Of an array with or without a batch."""
        batch = 0 if ndim == rank + 2 else None
        first = ndim - rank - 1
        if channels_last:
            return Axes(batch, ndim - 1, tuple(range(first, ndim - 1)))
        return Axes(batch, first, tuple(range(first + 1, ndim)))


def rules_of(rules: Sequence[Rule], axes: Axes, chunks: Sequence[Size]) -> list[list[Piece]]:
    """The pieces of each axis of an array: those of the rules along spatial axes, else each block's own cells."""
    found = [unchanged(sizes) for sizes in chunks]
    for rule, axis in zip(rules, axes.spatial, strict=True):
        found[axis] = pieces(rule, chunks[axis])
    return found


def spatial(of_block: Pieces, axes: Axes) -> list[Piece]:
    """The pieces along spatial axes."""
    return [of_block[axis] for axis in axes.spatial]


def counts(found: Sequence[Sequence[Piece]]) -> list[Size]:
    """Sizes of the blocks of the result."""
    return [tuple(piece.outputs for piece in along) for along in found]


# Convolutions -----------------------------------------------------------------------------------------------------------------


def convolution(operation: Any, arguments: dict[str, Any]) -> Any:
    """conv1d to conv3d, and the transposed ones."""
    no_out(arguments)
    once(arguments)
    x, w = numeric("x", arguments.pop("x")), numeric("w", arguments.pop("w"))
    bias, residual = (arguments.pop(name) for name in ("bias", "residual"))
    given = Given(x.shape, x.dtype, stand_in(w), residual is not None)
    plan = plan_without_weights(operation.name, operation.rank, given, True, **arguments)
    wholes = {"w": w}
    if bias is not None:
        wholes["bias"] = numeric("bias", bias)
        bias_array(stand_in(wholes["bias"]), plan)
    g = plan.geometry
    axes = Axes.of(x.ndim, g.rank, g.channels_last)
    x = x.rechunk({axes.channels: -1})
    rules: list[Rule]
    mode = None if g.border.mode in ("zeros", "constant") else g.border.mode
    if 0 in x.shape or 0 in plan.out_shape:
        x, mode, rules = whole(x), None, [Whole(cells) for cells in g.out_size]
    elif g.transposed:
        along = zip(g.out_size, g.stride, g.window, g.padding, strict=True)
        rules = [Spread(outputs, stride, extent, before) for outputs, stride, extent, (before, _) in along]
    else:
        along = zip(g.out_size, g.stride, g.window, g.padding, strict=True)
        rules = [Windows(outputs, stride, extent, pads[0], pads[1], mode) for outputs, stride, extent, pads in along]
    found = rules_of(rules, axes, x.chunks)
    found[axes.channels] = [Piece(g.out_channels, found[axes.channels][0].runs)]
    chunks = counts(found)
    inputs = [Input("x", x, found)]
    if residual is not None:
        added = numeric("residual", residual)
        if added.shape != plan.out_shape:
            raise ValueError(f"residual must have the result's shape, {plan.out_shape}, got {added.shape}")
        check.cast("residual", added, plan.out_dtype)
        added = added.rechunk(tuple(chunks))
        inputs.append(Input("residual", added, [unchanged(sizes) for sizes in added.chunks]))
    common = dict(arguments)
    if mode is not None:
        common |= {"padding_mode": "zeros", "padding": 0}

    def local(of_block: Pieces) -> Block:
        along = spatial(of_block, axes)
        if isinstance(rules[0], Whole):
            return Block(common)
        pads = {"padding": tuple(piece.padding for piece in along)}
        return Block(common | pads | ({"output_padding": tuple(piece.extra for piece in along)} if g.transposed else {}))

    return in_blocks(operation.name, operation, inputs, wholes, chunks, [plan.out_dtype], local)


# Pools ------------------------------------------------------------------------------------------------------------------------


def behind(of_block: Pieces) -> tuple[slice, ...] | None:
    """What of a result is the block where it begins with outputs of another one."""
    if not any(piece.crop for piece in of_block):
        return None
    return tuple(slice(piece.crop, piece.crop + piece.outputs) for piece in of_block)


@dataclass(frozen=True)
class GlobalIndices:
    """Indices of a pool on a region as indices of the whole plane: tables[axis][cell of the region] is a cell of the plane."""

    tables: tuple[Array, ...]
    plane: Size

    def __call__(self, found: Any) -> Any:
        """(values, indices)."""
        values, indices = found
        local = np.unravel_index(indices, tuple(map(len, self.tables)))
        cells = [table[index] for table, index in zip(self.tables, local, strict=True)]
        return values, np.ravel_multi_index(cells, self.plane).astype(INDEX, copy=False)


def pool(operation: Any, arguments: dict[str, Any]) -> Any:
    """Pools with a kernel."""
    no_out(arguments)
    once(arguments)
    x = numeric("x", arguments.pop("x"))
    implementation = arguments.pop("implementation", "auto")
    dtype = pool_dtype(operation.name, x.dtype)
    full, _ = check.batched("x", x.shape, operation.rank)
    g = signatures.pool(full, rank=operation.rank, dtype=dtype, **operation.named(arguments))
    chosen_form(operation.name, Problem(g, uniform(dtype)), host(), implementation)
    arguments.pop("kind")
    axes = Axes.of(x.ndim, g.rank, g.channels_last)
    rules: list[Rule]
    mode = None if g.border is None else g.border.mode
    if 0 in x.shape or 0 in g.out_shape:
        x, mode, rules = whole(x), None, [Whole(cells) for cells in g.out_size]
    else:
        along = zip(g.out_size, g.stride, g.window, g.padding, strict=True)
        rules = [
            Windows(outputs, stride, extent, pads[0], pads[1], mode, g.ceil_mode) for outputs, stride, extent, pads in along
        ]
    found = rules_of(rules, axes, x.chunks)
    common = arguments | {"implementation": implementation}
    rounds_up = "ceil_mode" in arguments
    if mode is not None:  # what lies around is part of the regions
        common |= {"padding": 0, "padding_mode": None, "padding_value": None} | ({"ceil_mode": False} if rounds_up else {})
    bounds = [bounds_of(x.chunks[axis]) for axis in axes.spatial]

    def local(of_block: Pieces) -> Block:
        along = spatial(of_block, axes)
        if isinstance(rules[0], Whole):
            return Block(common)
        options = common
        if mode is None:
            pads = tuple(piece.padding for piece in along)
            options = common | {"padding": pads}
            if rounds_up:
                options["ceil_mode"] = any(piece.overhangs for piece in along)
        tables = tuple(piece.sources(bound) for piece, bound in zip(along, bounds, strict=True)) if g.return_indices else ()
        return Block(options, behind(of_block), GlobalIndices(tables, g.in_size) if tables else None)

    fill = 0 if g.border is None else g.border.value
    dtypes = [dtype, INDEX] if g.return_indices else [dtype]
    rule_of = dict(zip(axes.spatial, rules, strict=True))
    framed = [frames(rule_of.get(axis), x.chunks[axis], one) for axis, one in enumerate(found)] if len(dtypes) == 1 else []
    return in_blocks(operation.name, operation, [Input("x", x, found, fill, framed)], {}, counts(found), dtypes, local)
