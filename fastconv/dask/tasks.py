"""What runs when a block is computed: the region is put together, and the function called on it, on one thread."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.memory import aligned, empty
from fastconv.kernels.threads import at_most
from fastconv.problem.blocks import NOWHERE, Run
from fastconv.problem.convolutions import Array, Size

SPARE = 2  # times its cells that a result may hold in memory
KEPT = (
    128 << 20
)  # bytes of a region, at most, whose memory a thread keeps for the next one: fresh memory costs more than a copy
Cells = tuple[slice, ...]


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
    places : tuple of int
        Of each block of the grid, in row-major order, its number among the task's arguments.
    fill : number
        What cells hold that no block has.
    """

    name: str
    grid: Size
    runs: tuple[tuple[Run, ...], ...]
    places: Size = (0,)
    fill: Any = 0

    def of(self, blocks: Sequence[Array], room: Callable[..., Array] = np.empty) -> Array:
        """The cells, in an array that room(shape, dtype) gives: a view where they lie in one block, side by side."""
        if all(len(runs) == 1 and runs[0].step == 1 and runs[0].block != NOWHERE for runs in self.runs):
            return blocks[self.places[0]][tuple(slice(run.start, run.start + run.count) for (run,) in self.runs)]
        region = room(tuple(sum(run.count for run in runs) for runs in self.runs), blocks[self.places[0]].dtype)
        for parts in product(*map(placed, self.runs)):
            to = tuple(slice(at, at + run.count) for at, run in parts)
            if any(run.block == NOWHERE for _, run in parts):
                region[to] = self.fill
                continue
            number = int(np.ravel_multi_index([run.block for _, run in parts], self.grid)) if self.grid else 0
            region[to] = blocks[self.places[number]][tuple(cells(run) for _, run in parts)]
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


class Step(NamedTuple):
    """One call of a task's function.

    Attributes
    ----------
    regions : tuple of Region
        The arrays that it needs cells of.
    options : dict
        All else but arrays that are needed whole.
    keep : tuple of slice, optional
        What of the function's result is wanted.
    finish : callable, optional
        Makes the block of the result.
    moves : tuple of (tuple of slice, tuple of slice)
        Of one of several steps: outputs that are wanted, and where they belong in the block. Without any the function writes
        the whole block.
    """

    regions: tuple[Region, ...]
    options: dict[str, Any]
    keep: Cells | None = None
    finish: Callable[[Any], Any] | None = None
    moves: tuple[tuple[Cells, Cells], ...] = ()


class Output(NamedTuple):
    """The array that several steps write to, and what the function calls it."""

    name: str
    shape: Size
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class Task:
    """One block of a result.

    Attributes
    ----------
    function : callable
        Takes all arrays by name, and the options.
    steps : tuple of Step
        The calls of it.
    wholes : tuple of str
        The arrays that it needs whole, which are the last arguments.
    threads : int
        That the function may use.
    out : Output, optional
        Where several steps write to.
    """

    function: Callable[..., Any]
    steps: tuple[Step, ...]
    wholes: tuple[str, ...] = ()
    threads: int = 1
    out: Output | None = None

    def __call__(self, *blocks: Array) -> Any:
        """The block."""
        last = len(blocks) - len(self.wholes)
        wholes = dict(zip(self.wholes, blocks[last:], strict=True))
        with at_most(self.threads):
            if self.out is None:
                return self.block(self.steps[0], blocks, wholes)
            result = empty(self.out.shape, self.out.dtype)
            for step in self.steps:
                self.write(result, step, blocks, wholes)
            return result

    def called(self, step: Step, blocks: Sequence[Array], more: dict[str, Any]) -> Any:
        """The function's result on the regions of a step."""
        arrays = {one.name: one.of(blocks, np.empty if n else scratch.empty) for n, one in enumerate(step.regions)}
        return self.function(**arrays, **(step.options | more))

    def write(self, result: Array, step: Step, blocks: Sequence[Array], wholes: dict[str, Any]) -> None:
        """A part of a block, where it belongs."""
        assert self.out is not None
        if not step.moves:
            self.called(step, blocks, wholes | {self.out.name: result})
            return
        y = self.called(step, blocks, wholes)
        for source, to in step.moves:
            result[to] = y[source]

    def block(self, step: Step, blocks: Sequence[Array], wholes: dict[str, Any]) -> Any:
        """A block that one step makes."""
        y = self.called(step, blocks, wholes)
        if step.finish is not None:
            y = step.finish(y)
        return tuple(kept(one, step.keep) for one in y) if isinstance(y, tuple) else kept(y, step.keep)


def kept(y: Array, keep: Cells | None) -> Array:
    """What of a result is the block; a copy of it where the result is much larger."""
    if keep is None:
        return y.copy() if scratch.holds(y) else y
    block = y[keep]
    return block.copy() if block.size * SPARE < y.size or scratch.holds(y) else block
