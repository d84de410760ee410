"""What runs when a block is computed: the region is put together, and the function called on it, on one thread."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.memory import aligned
from fastconv.kernels.threads import at_most
from fastconv.problem.blocks import NOWHERE, Run
from fastconv.problem.convolutions import Array, Size

SPARE = 2  # times its cells that a result may hold in memory
KEPT = (
    128 << 20
)  # bytes of a region, at most, whose memory a thread keeps for the next one: fresh memory costs more than to fill it


class Scratch(threading.local):
    """The memory that regions of this thread are put together in."""

    bytes: Array | None = None

    def empty(self, shape: Size, dtype: np.dtype[Any]) -> Array:
        """An array that is good until the next one is asked for."""
        size = prod(shape) * dtype.itemsize
        if size > KEPT or dtype.hasobject:
            return np.empty(shape, dtype)
        if self.bytes is None or self.bytes.size < size:
            self.bytes = aligned(size, np.dtype(np.uint8))
        return self.bytes[:size].view(dtype).reshape(shape)

    def holds(self, y: Array) -> bool:
        """Whether an array may lie in this memory."""
        return self.bytes is not None and np.may_share_memory(self.bytes, y)


scratch = Scratch()


class Region(NamedTuple):
    """Cells of an array, from a grid of its blocks.

    Attributes
    ----------
    name : str
        The argument that it is.
    grid : tuple of int
        Blocks along each axis.
    runs : tuple of tuples of Run
        Of each axis, with the numbers of blocks in the grid.
    fill : number
        What cells hold that no block has.
    """

    name: str
    grid: Size
    runs: tuple[tuple[Run, ...], ...]
    fill: Any = 0

    def of(self, blocks: Sequence[Array], room: Callable[..., Array] = np.empty) -> Array:
        """The cells, in an array that room(shape, dtype) gives: a view where they lie in one block, side by side."""
        if all(len(runs) == 1 and runs[0].step == 1 and runs[0].block != NOWHERE for runs in self.runs):
            return blocks[0][tuple(slice(run.start, run.start + run.count) for (run,) in self.runs)]
        region = room(tuple(sum(run.count for run in runs) for runs in self.runs), blocks[0].dtype)
        for parts in product(*map(placed, self.runs)):
            to = tuple(slice(at, at + run.count) for at, run in parts)
            if any(run.block == NOWHERE for _, run in parts):
                region[to] = self.fill
                continue
            number = int(np.ravel_multi_index([run.block for _, run in parts], self.grid)) if self.grid else 0
            region[to] = blocks[number][tuple(cells(run) for _, run in parts)]
        return region


def placed(runs: Sequence[Run]) -> list[tuple[int, Run]]:
    """(where it lies in the region, the run) of each."""
    found, at = [], 0
    for run in runs:
        found.append((at, run))
        at += run.count
    return found


def cells(run: Run) -> slice:
    """The cells of a block; of a cell that is repeated that one, which broadcasts."""
    if run.step == 0:
        return slice(run.start, run.start + 1)
    stop = run.start + run.step * run.count
    return slice(run.start, stop if stop >= 0 else None, run.step)


@dataclass(frozen=True)
class Task:
    """One block of a result.

    Attributes
    ----------
    function : callable
        Takes all arrays by name, and the options.
    regions : tuple of Region
        The arrays that it needs cells of, whose blocks come first.
    wholes : tuple of str
        The arrays that it needs whole, which come then.
    options : dict
        All else.
    keep : tuple of slice, optional
        What of the function's result is the block.
    finish : callable, optional
        Makes the block of it.
    threads : int
        That the function may use.
    """

    function: Callable[..., Any]
    regions: tuple[Region, ...]
    wholes: tuple[str, ...]
    options: dict[str, Any]
    keep: tuple[slice, ...] | None = None
    finish: Callable[[Any], Any] | None = None
    threads: int = 1

    def __call__(self, *blocks: Array) -> Any:
        """The block."""
        arrays, first = {}, 0
        for region in self.regions:
            last = first + prod(region.grid)
            arrays[region.name] = region.of(blocks[first:last], np.empty if first else scratch.empty)
            first = last
        arrays |= zip(self.wholes, blocks[first:], strict=True)
        with at_most(self.threads):
            y = self.function(**arrays, **self.options)
        if self.finish is not None:
            y = self.finish(y)
        return tuple(map(self.kept, y)) if isinstance(y, tuple) else self.kept(y)

    def kept(self, y: Array) -> Array:
        """What of a result is the block; a copy of it where the result is much larger."""
        if self.keep is None:
            return y.copy() if scratch.holds(y) else y
        block = y[self.keep]
        return block.copy() if block.size * SPARE < y.size or scratch.holds(y) else block
