"""Adaptive and global pools: by windows where a few blocks hold them, else reduced block by block, and the parts combined.

    part     of each block and each window that it meets: its largest cell and where it is, or the sum of its cells
    result   of each window: the first of the largest, or the sum over the number of cells

Sums are made in float64, complex128 or integers of 64 bits, and a mean is rounded once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np
from dask.base import tokenize

from fastconv.dask.graphs import Block, Input, Pieces, array_of, in_blocks, no_out, numeric, picked, whole
from fastconv.dask.maps import INDEX, Axes, GlobalIndices, counts, rules_of, spatial
from fastconv.machine import host
from fastconv.operations.adaptive_pools import pooled_rank
from fastconv.plans.dispatch import chosen_form
from fastconv.plans.functions import once
from fastconv.plans.planning import pool_dtype
from fastconv.problem import arguments as check
from fastconv.problem import signatures
from fastconv.problem.blocks import Bounds, Shares, Whole, bounds_of
from fastconv.problem.convolutions import Array, Size
from fastconv.problem.pools import PoolGeometry
from fastconv.problem.problem import Problem
from fastconv.problem.types import uniform

FEW = 2  # blocks along an axis that one task reads a window from
Window = tuple[int, int]
Cells = tuple[slice, ...]


def adaptive_pool(operation: Any, arguments: dict[str, Any]) -> Any:
    """adaptive_max_pool and adaptive_avg_pool."""
    no_out(arguments)
    once(arguments)
    x = numeric("x", arguments.pop("x"))
    implementation, kind = arguments.pop("implementation", "auto"), arguments.pop("kind")
    full, _ = check.batched("x", x.shape, operation.rank)
    dtype = pool_dtype(operation.name, x.dtype)
    g = signatures.adaptive_pool(full, rank=operation.rank, dtype=dtype, kind=kind, **arguments)
    chosen_form(operation.name, Problem(g, uniform(dtype)), host(), implementation)
    axes = Axes.of(x.ndim, g.rank, g.channels_last)
    rules = [Shares(outputs) for outputs in g.out_size]
    if 0 not in x.shape and 0 not in g.out_shape and are_large(rules, [x.chunks[axis] for axis in axes.spatial]):
        return reduced(operation.name, x, g, axes)
    if 0 in x.shape or 0 in g.out_shape:
        x = whole(x)
        found = rules_of([Whole(outputs) for outputs in g.out_size], axes, x.chunks)
    else:
        found = rules_of(rules, axes, x.chunks)
    common = arguments | {"implementation": implementation}
    bounds = [bounds_of(x.chunks[axis]) for axis in axes.spatial]

    def local(of_block: Pieces) -> Block:
        along = spatial(of_block, axes)
        windows = tuple(piece.windows for piece in along)
        tables = tuple(piece.sources(bound) for piece, bound in zip(along, bounds, strict=True))
        options = common | {"output_size": tuple(piece.outputs for piece in along)}
        if any(windows):
            options |= {"operation": operation, "windows": windows, "axes": axes.spatial}
        return Block(options, finish=GlobalIndices(tables, g.in_size) if g.return_indices else None)

    dtypes = [dtype, INDEX] if g.return_indices else [dtype]
    return in_blocks(operation.name, SharedOut(operation), [Input("x", x, found)], {}, counts(found), dtypes, local)


@dataclass(frozen=True)
class SharedOut:
    """An adaptive pool, of windows that are listed where they are not those of a pool of the region."""

    pool: Any

    def __call__(self, x: Array, **options: Any) -> Any:
        """The pool of the region."""
        if "windows" not in options:
            return self.pool(x, **options)
        windows, axes = options.pop("windows"), options.pop("axes")
        options.pop("operation")
        return self.along(x, windows, axes, options)

    def along(self, x: Array, windows: Sequence[Sequence[Window]], axes: Size, options: dict[str, Any]) -> Any:
        """The pool, one window after another along the axes that have lists of them."""
        number = next((number for number, listed in enumerate(windows) if listed), None)
        if number is None:
            return self.pool(x, **options)
        axis, size = axes[number], list(options["output_size"])
        size[number] = 1
        left = [() if one == number else listed for one, listed in enumerate(windows)]
        parts = []
        for first, last in windows[number]:
            part = x[(*(slice(None),) * axis, slice(first, last))]
            y = self.along(part, left, axes, options | {"output_size": tuple(size)})
            parts.append(moved(y, part, x, axes, number, first) if isinstance(y, tuple) else y)
        if isinstance(parts[0], tuple):
            return tuple(np.concatenate([part[one] for part in parts], axis) for one in (0, 1))
        return np.concatenate(parts, axis)


def moved(y: tuple[Array, Array], part: Array, x: Array, axes: Size, number: int, first: int) -> tuple[Array, Array]:
    """(values, indices), whose indices count cells of a part that begins at `first` of an axis, as cells of x."""
    planes = [tuple(array.shape[axis] for axis in axes) for array in (part, x)]
    cells = list(np.unravel_index(y[1], planes[0]))
    cells[number] = cells[number] + first
    return y[0], np.ravel_multi_index(cells, planes[1])


def are_large(rules: Sequence[Shares], chunks: Sequence[Size]) -> bool:
    """Whether the largest windows lie in more blocks than a task should read."""
    for rule, sizes in zip(rules, chunks, strict=True):
        share = -(-sum(sizes) // rule.outputs)
        if share > FEW * max(sizes) and len(sizes) > FEW:
            return True
    return False


def global_pool(operation: Any, arguments: dict[str, Any]) -> Any:
    """global_max_pool and global_avg_pool."""
    no_out(arguments)
    once(arguments)
    x = numeric("x", arguments.pop("x"))
    layout, implementation = arguments.pop("layout", None), arguments.pop("implementation", "auto")
    rank, size = pooled_rank(x.shape, layout)
    dtype = pool_dtype(operation.name, x.dtype)
    full, _ = check.batched("x", x.shape, rank)
    g = signatures.pool(full, rank=rank, dtype=dtype, kind=operation.kind, kernel_size=size, stride=1, layout=layout)
    chosen_form(operation.name, Problem(g, uniform(dtype)), host(), implementation)
    axes = Axes.of(x.ndim, rank, g.channels_last)
    if 0 not in x.shape and any(len(x.chunks[axis]) > 1 for axis in axes.spatial):
        return reduced(operation.name, x, g, axes)
    x = x if 0 not in x.shape else whole(x)
    found = rules_of([Whole(1)] * rank, axes, x.chunks)
    options = {"layout": layout, "implementation": implementation}
    return in_blocks(operation.name, operation, [Input("x", x, found)], {}, counts(found), [dtype], lambda _: Block(options))


# Block by block ---------------------------------------------------------------------------------------------------------------


class Met(NamedTuple):
    """The windows that a block meets along an axis: their numbers first, first + 1, ..., and their cells in the block."""

    first: int
    windows: tuple[Window, ...]
    begin: int  # of the block in the input


def met(bounds: Bounds, block: int, outputs: int) -> Met:
    """The windows that a block meets."""
    begin, end = bounds[block], bounds[block + 1]
    rule, cells = Shares(outputs), bounds[-1]
    first = begin * outputs // cells
    while first > 0 and rule.window(cells, first - 1)[1] > begin:
        first -= 1
    found = []
    for output in range(first, outputs):
        low, high = rule.window(cells, output)
        if low >= end:
            break
        found.append((max(low, begin) - begin, min(high, end) - begin))
    return Met(first, tuple(found), begin)


@dataclass(frozen=True)
class Part:
    """What a block adds to the windows that it meets.

    Attributes
    ----------
    kind : str
        "max" or "avg".
    axes : tuple of int
        Of the block, that are pooled.
    mets : tuple of Met
        Along each of them.
    plane : tuple of int
        Cells of the input along them.
    """

    kind: str
    axes: Size
    mets: tuple[Met, ...]
    plane: Size

    def __call__(self, x: Array) -> Any:
        """Sums, or (largest cells, their indices in the plane), with the axes where they are in x."""
        shape = list(x.shape)
        for axis, one in zip(self.axes, self.mets, strict=True):
            shape[axis] = len(one.windows)
        wide = wide_of(x.dtype)
        values = np.empty(shape, x.dtype if self.kind == "max" else wide)
        indices = np.empty(shape, INDEX)
        for at in product(*(range(len(one.windows)) for one in self.mets)):
            cells: list[Any] = [slice(None)] * x.ndim
            place: list[Any] = [slice(None)] * x.ndim
            for axis, number, one in zip(self.axes, at, self.mets, strict=True):
                cells[axis], place[axis] = slice(*one.windows[number]), slice(number, number + 1)
            window = x[tuple(cells)]
            if self.kind == "avg":
                values[tuple(place)] = np.add.reduce(window, self.axes, dtype=wide, keepdims=True)
            else:
                values[tuple(place)], indices[tuple(place)] = self.largest(window, at)
        return values if self.kind == "avg" else (values, indices)

    def largest(self, window: Array, at: Size) -> tuple[Array, Array]:
        """(the largest cells of a window's planes, their indices in the input's plane): the first, NaN before all else."""
        lead = [axis for axis in range(window.ndim) if axis not in self.axes]
        planes = np.ascontiguousarray(window.transpose(*lead, *self.axes)).reshape([window.shape[axis] for axis in lead] + [-1])
        first = np.argmax(planes, axis=-1)
        values = np.take_along_axis(planes, first[..., None], -1)[..., 0]
        cells = np.unravel_index(first, [window.shape[axis] for axis in self.axes])
        begins = [one.begin + one.windows[number][0] for number, one in zip(at, self.mets, strict=True)]
        indices = np.ravel_multi_index([cell + begin for cell, begin in zip(cells, begins, strict=True)], self.plane)
        kept = [1 if axis in self.axes else window.shape[axis] for axis in range(window.ndim)]
        return values.reshape(kept), indices.reshape(kept)


def wide_of(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """What sums of many cells are made in."""
    return np.dtype({"f": np.float64, "c": np.complex128, "u": np.uint64}.get(dtype.kind, np.int64))


@dataclass(frozen=True)
class Combined:
    """The windows of all parts together.

    Attributes
    ----------
    kind : str
        "max" or "avg".
    axes, plane : tuple of int
        As of the parts.
    firsts : tuple of tuple of int
        Of each part, the numbers of its first windows.
    outputs : tuple of int
        Windows along the axes.
    dtype : dtype
        Of the result.
    with_indices : bool
        Whether the result is (values, indices).
    """

    kind: str
    axes: Size
    plane: Size
    firsts: tuple[Size, ...]
    outputs: Size
    dtype: np.dtype[Any]
    with_indices: bool

    def __call__(self, *parts: Any) -> Any:
        """The result."""
        shape = list((parts[0] if self.kind == "avg" else parts[0][0]).shape)
        for axis, outputs in zip(self.axes, self.outputs, strict=True):
            shape[axis] = outputs
        return self.means(parts, shape) if self.kind == "avg" else self.largest(parts, shape)

    def place(self, firsts: Size, part: Array) -> Cells:
        """Where the windows of a part are."""
        found = [slice(None)] * part.ndim
        for axis, first in zip(self.axes, firsts, strict=True):
            found[axis] = slice(first, first + part.shape[axis])
        return tuple(found)

    def means(self, parts: Sequence[Array], shape: list[int]) -> Array:
        """Sums over counts; of integers toward zero."""
        total, count = np.zeros(shape, wide_of(self.dtype)), np.ones((), np.int64)
        with np.errstate(all="ignore"):
            for firsts, part in zip(self.firsts, parts, strict=True):
                total[self.place(firsts, part)] += part
            for axis in range(len(shape)):
                sizes = np.ones(1, np.int64)
                if axis in self.axes:
                    number = self.axes.index(axis)
                    found = (Shares(self.outputs[number]).window(self.plane[number], o) for o in range(self.outputs[number]))
                    sizes = np.array([high - low for low, high in found])
                count = np.multiply.outer(count, sizes)
            if total.dtype.kind == "u":
                return (total // count.astype(np.uint64)).astype(self.dtype)
            if total.dtype.kind == "i":
                quotient = np.abs(total).view(np.uint64) // count.astype(np.uint64)
                return np.where(total < 0, -quotient.astype(np.int64), quotient.astype(np.int64)).astype(self.dtype)
            return (total / count).astype(self.dtype)

    def largest(self, parts: Sequence[tuple[Array, Array]], shape: list[int]) -> Any:
        """The first of the largest cells, NaN before all else."""
        values, indices = np.zeros(shape, self.dtype), np.full(shape, prod(self.plane), INDEX)
        for firsts, (more, where) in zip(self.firsts, parts, strict=True):
            place = self.place(firsts, more)
            best, at = values[place], indices[place]
            none = at == prod(self.plane)
            is_nan, was_nan = more != more, best != best
            wins = none | (is_nan & ~was_nan) | (~was_nan & (more > best))
            ties = ~none & ((is_nan & was_nan) | (more == best)) & (where < at)
            values[place], indices[place] = np.where(wins | ties, more, best), np.where(wins | ties, where, at)
        return (values, indices) if self.with_indices else values


def reduced(label: str, x: Any, geometry: PoolGeometry, axes: Axes) -> Any:
    """The pool of windows that lie in many blocks: a part a block, and one task a block of the other axes for the results."""
    g, along = geometry, axes.spatial
    outputs = g.out_size
    bounds = [bounds_of(x.chunks[axis]) for axis in along]
    mets = [[met(bound, block, count) for block in range(len(bound) - 1)] for bound, count in zip(bounds, outputs, strict=True)]
    name = f"{label}-{tokenize(label, x.name, outputs, g.return_indices)}"
    parts: dict[Any, Any] = {}
    for number in product(*map(range, x.numblocks)):
        task = Part(g.kind, along, tuple(one[number[axis]] for one, axis in zip(mets, along, strict=True)), g.in_size)
        parts[(f"{name}-part", *number)] = (task, (x.name, *number))
    results: dict[Any, Any] = {}
    others = [range(1) if axis in along else range(blocks) for axis, blocks in enumerate(x.numblocks)]
    for number in product(*others):
        places = list(product(*(range(x.numblocks[axis]) if axis in along else [number[axis]] for axis in range(x.ndim))))
        firsts = tuple(tuple(one[place[axis]].first for one, axis in zip(mets, along, strict=True)) for place in places)
        combined = Combined(g.kind, along, g.in_size, firsts, outputs, check.native(x.dtype), g.return_indices)
        results[(name, *number)] = (combined, *((f"{name}-part", *place) for place in places))
    chunks = tuple((outputs[along.index(axis)],) if axis in along else x.chunks[axis] for axis in range(x.ndim))
    dtype = check.native(x.dtype)
    first = array_of(f"{name}-part", parts, [x], x.chunks, dtype)
    last = array_of(name, results, [first], chunks, dtype)
    if not g.return_indices:
        return last
    numbers = [key[1:] for key in results]
    return tuple(
        array_of(f"{name}-{part}", picked(f"{name}-{part}", name, part, numbers), [last], chunks, kind)
        for part, kind in enumerate((dtype, INDEX))
    )
