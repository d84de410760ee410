"""Windows as columns and back, max_unpool, and activations."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv.dask.graphs import Block, Input, Pieces, in_blocks, no_out, numeric, whole
from fastconv.dask.maps import Axes, rules_of
from fastconv.machine import host
from fastconv.operations.windows import fold as fold_of_arrays
from fastconv.plans.dispatch import chosen_form
from fastconv.plans.functions import once
from fastconv.problem import arguments as check
from fastconv.problem import signatures
from fastconv.problem.blocks import Piece, Spread, Whole, Windows, bounds_of, pieces, ranges, unchanged, within
from fastconv.problem.convolutions import Array, Size
from fastconv.problem.problem import Problem
from fastconv.problem.types import uniform


def unfold(operation: Any, arguments: dict[str, Any]) -> Any:
    """Columns of the windows that begin in a range of rows: they follow each other."""
    no_out(arguments)
    x = numeric("x", arguments.pop("x"))
    implementation = arguments.pop("implementation", "auto")
    geometry, _ = signatures.unfold(x.shape, **arguments)
    dtype = check.native(x.dtype)
    chosen_form("unfold", Problem(geometry, uniform(dtype)), host(), implementation)
    plane, common = geometry.windows, arguments | {"implementation": implementation}
    lead = x.ndim - plane.rank
    inner = int(np.prod(plane.out_size[1:]))
    x = x.rechunk(dict.fromkeys(range(lead + 1, x.ndim), -1))
    if 0 in x.shape or 0 in geometry.out_shape:
        found = [*map(unchanged, whole(x).chunks)]
        found[lead - 1] = [piece._replace(outputs=geometry.out_shape[1]) for piece in found[lead - 1]]
        columns = [Piece(geometry.out_shape[2], found[lead][0].runs)]
        return columns_of(operation, whole(x), [*found[:lead], columns], found[lead + 1 :], lambda _: Block(common), dtype)
    along = zip(plane.out_size, plane.stride, plane.window, plane.padding, strict=True)
    rules = [Windows(outputs, stride, extent, pads[0], pads[1]) for outputs, stride, extent, pads in along]
    rows = pieces(rules[0], x.chunks[lead])
    others = [[rule.piece(bounds_of(x.chunks[axis]), 0, rule.outputs)] for axis, rule in enumerate(rules[1:], lead + 1)]
    pads = tuple(piece.padding for (piece,) in others)
    found = [*map(unchanged, x.chunks[:lead])]
    found[lead - 1] = [piece._replace(outputs=piece.outputs * plane.taps) for piece in found[lead - 1]]
    columns = [piece._replace(outputs=piece.outputs * inner) for piece in rows]

    def local(of_block: Pieces) -> Block:
        return Block(common | {"padding": (of_block[lead].padding, *pads)})

    return columns_of(operation, x, [*found, columns], others, local, dtype)


def columns_of(operation: Any, x: Any, found: Sequence[Any], others: Sequence[Any], local: Any, dtype: Any) -> Any:
    """The result of unfold: its last axis has the pieces of the first spatial one, the others are read whole."""
    chunks = [tuple(piece.outputs for piece in along) for along in found]

    def place_of(place: Size) -> Size:
        return (*place, *(0,) * len(others))

    return in_blocks("unfold", operation, [Input("x", x, [*found, *others])], {}, chunks, [dtype], local, place_of)


def fold(operation: Any, arguments: dict[str, Any]) -> Any:
    """Rows of the image from the columns of the windows that reach them."""
    no_out(arguments)
    x = numeric("x", arguments.pop("x"))
    implementation = arguments.pop("implementation", "auto")
    geometry, _ = signatures.fold(x.shape, **arguments)
    dtype = check.native(x.dtype)
    chosen_form("fold", Problem(geometry, uniform(dtype)), host(), implementation)
    plane, lead = geometry.windows, x.ndim - 2
    rows, inner = plane.out_size[0], int(np.prod(plane.out_size[1:]))
    x = x.rechunk({lead: -1})
    size = plane.in_size
    channels = [Piece(geometry.channels, pieces(Whole(1), x.chunks[lead])[0].runs)]
    common = arguments | {"implementation": implementation}
    if 0 in x.shape or 0 in geometry.out_shape:
        x = whole(x)
        found = [*map(unchanged, x.chunks[:lead]), channels, pieces(Whole(size[0]), x.chunks[-1])]
        return rows_of(operation, x, found, size, lambda _: Block(common), dtype)
    rule = Spread(size[0], plane.stride[0], plane.window[0], plane.padding[0][0])
    bounds = bounds_of(x.chunks[-1])
    cuts = [size[0] * number // x.numblocks[-1] for number in range(x.numblocks[-1] + 1)]
    image = []
    for first, last in ranges(cuts):
        piece = rule.piece([0, rows], first, last)
        image.append(piece._replace(runs=within(bounds, piece.first * inner, (piece.first + piece.cells) * inner)))
    found = [*map(unchanged, x.chunks[:lead]), channels, image]

    def local(of_block: Pieces) -> Block:
        piece = of_block[-1]
        count = piece.cells // inner
        height = (count - 1) * plane.stride[0] + plane.window[0]
        cut = {"height": height, "first": piece.padding[0], "outputs": piece.outputs}
        return Block(common | {"padding": ((0, 0), *plane.padding[1:]), "output_size": (height, *size[1:])} | cut)

    return rows_of(fold_rows, x, found, size, local, dtype)


def rows_of(function: Any, x: Any, found: Sequence[Any], size: Size, local: Any, dtype: Any) -> Any:
    """The result of fold: the pieces of the columns are those of its first spatial axis."""
    chunks = [*(tuple(piece.outputs for piece in along) for along in found), *((cells,) for cells in size[1:])]

    def place_of(place: Size) -> Size:
        return place[: x.ndim]

    return in_blocks("fold", function, [Input("x", x, found)], {}, chunks, [dtype], local, place_of)


def fold_rows(x: Array, height: int, first: int, outputs: int, **options: Any) -> Array:
    """The rows first .. first + outputs - 1 of an image of so many; those behind its end are zero."""
    y = fold_of_arrays(x, **options)
    axis = y.ndim - len(options["output_size"])
    kept = y[(*(slice(None),) * axis, slice(first, first + outputs))]
    missing = outputs - kept.shape[axis]
    if not missing:
        return kept
    return np.pad(kept, [(0, missing) if one == axis else (0, 0) for one in range(y.ndim)])


def max_unpool(operation: Any, arguments: dict[str, Any]) -> Any:
    """Whole planes: an index may name any cell."""
    no_out(arguments)
    once(arguments)
    x, indices = numeric("x", arguments.pop("x")), numeric("indices", arguments.pop("indices"))
    plan = operation.planned(x.shape, x.dtype, dict(arguments))
    if indices.shape != x.shape:
        raise ValueError(f"indices must have the shape of x, {x.shape}, got {indices.shape}")
    if indices.dtype.kind not in "iu":
        raise TypeError(f"indices must have an integer dtype, got {indices.dtype}")
    g = plan.geometry
    axes = Axes.of(x.ndim, g.rank, g.channels_last)
    x = x.rechunk(dict.fromkeys(axes.spatial, -1))
    indices = indices.rechunk(x.chunks)
    found = rules_of([Whole(cells) for cells in g.out_size], axes, x.chunks)
    inputs = [Input(name, array, found) for name, array in (("x", x), ("indices", indices))]
    chunks = [tuple(piece.outputs for piece in along) for along in found]
    return in_blocks(operation.name, operation, inputs, {}, chunks, [check.native(x.dtype)], lambda _: Block(arguments))


def activation(operation: Any, arguments: dict[str, Any]) -> Any:
    """Block by block."""
    no_out(arguments)
    once(arguments)
    x = numeric("x", arguments.pop("x"))
    operation.planned(x.shape, x.dtype, dict(arguments))
    found = [*map(unchanged, x.chunks)]
    return in_blocks(
        operation.name, operation, [Input("x", x, found)], {}, x.chunks, [check.native(x.dtype)], lambda _: Block(arguments)
    )
