"""How graphs are made: one task a block of the result, with the blocks of the inputs that it reads as its arguments."""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, NamedTuple

import dask
import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from fastconv.dask.parts import parts
from fastconv.dask.tasks import Output, Region, Step, Task
from fastconv.problem import arguments as check
from fastconv.problem.blocks import NOWHERE, Piece, Run
from fastconv.problem.convolutions import Size
from fastconv.problem.foreign import LazyArray, at_hand, converted
from fastconv.problem.frames import Frame

SETTING = "fastconv.num-threads"
Pieces = tuple[Piece, ...]


class Input(NamedTuple):
    """An array that tasks read cells of; pieces[axis][block of the result] along each axis.

    Where frames are given too, a large block may be computed in parts that `function` writes to its argument `out`.
    """

    name: str
    array: Any
    pieces: Sequence[Sequence[Piece]]
    fill: Any = 0
    frames: Sequence[Sequence[Frame | None]] = ()
    out: str = "out"


class Block(NamedTuple):
    """What is particular to the task of one block: options, what to keep of the function's result, and how to finish it."""

    options: dict[str, Any]
    keep: tuple[slice, ...] | None = None
    finish: Callable[[Any], Any] | None = None


def lazy(name: str, value: Any) -> Any:
    """`value` as a dask array of NumPy's arrays, its sizes known."""
    if not isinstance(value, da.Array):
        try:
            value = at_hand(name, value)
        except LazyArray:
            value = getattr(value, "data", value)  # what xarray labels
        if type(value).__module__.partition(".")[0] == "dask" and not isinstance(value, da.Array):
            raise TypeError(
                f"{name} must be a dask array, got dask's {type(value).__name__}: compute it first, {name}.compute()"
            )
    if not isinstance(value, da.Array):
        found = converted(name, value)
        return da.from_array(found, chunks="auto")
    if type(value._meta) is not np.ndarray and not isinstance(value._meta, np.generic):
        kind = type(value._meta)
        raise TypeError(f"{name} must be a dask array of NumPy arrays, got one of {kind.__module__}.{kind.__qualname__}")
    if any(np.isnan(cells) for cells in value.shape):
        raise ValueError(f"{name} has chunks of unknown sizes, shape {value.shape}: {name}.compute_chunk_sizes() computes them")
    return value


def numeric(name: str, value: Any) -> Any:
    """`value` as a dask array of a dtype that fastconv's operations compute with."""
    found = lazy(name, value)
    check.dtype(name, found.dtype)
    return found


def whole(array: Any) -> Any:
    """A dask array in one block."""
    return array.rechunk(-1) if any(len(sizes) > 1 for sizes in array.chunks) else array


def stand_in(array: Any) -> Any:
    """An array of NumPy's of the shape and dtype, which takes no memory, for checks that read no cell."""
    return np.broadcast_to(np.zeros((), array.dtype), array.shape)


def no_out(arguments: dict[str, Any], name: str = "out") -> None:
    """Take `out` out, which nothing lazy can be written to."""
    if arguments.pop(name, None) is not None:
        raise TypeError(
            f"{name} must be None with dask arrays: y.store(...) or y.to_zarr(...) write the result to where it belongs"
        )


def region_of(one: Input, chosen: Pieces, places: dict[Any, int]) -> Region:
    """The cells of an input that a part of a block needs; their blocks get places among the task's arguments."""
    used = [piece.blocks or [0] for piece in chosen]
    runs = tuple(
        tuple(run if run.block == NOWHERE else run._replace(block=blocks.index(run.block)) for run in piece.runs)
        or (Run(0, 0, 1, 0),)
        for piece, blocks in zip(chosen, used, strict=True)
    )
    keys = ((one.array.name, *numbers) for numbers in product(*used))
    return Region(one.name, tuple(map(len, used)), runs, tuple(places.setdefault(key, len(places)) for key in keys), one.fill)


def same_place(place: Size) -> Size:
    """Where a block's pieces are, of an input with the axes of the result."""
    return place


def in_blocks(
    label: str,
    function: Callable[..., Any],
    inputs: Sequence[Input],
    wholes: dict[str, Any],
    chunks: Sequence[Size],
    dtypes: Sequence[Any],
    local: Callable[[Pieces], Block],
    place_of: Callable[[Size], Size] = same_place,
) -> Any:
    """The result in blocks of these sizes, or several of them.

    Parameters
    ----------
    label : str
        What names begin with.
    function : callable
        Of the arrays by name and the options.
    inputs : sequence of Input
        The arrays that tasks read cells of. The first one's pieces tell what is particular to a block.
    wholes : dict
        The arrays that every task needs whole.
    chunks : sequence of tuple of int
        Of the result.
    dtypes : sequence of dtype
        Of the result; of more than one the function gives a tuple.
    local : callable
        The Block of the pieces of the first input.
    place_of : callable
        Where the pieces of a block are, of its place in the result.
    """
    threads = check.integer(SETTING, dask.config.get(SETTING, 1), 1)
    whole_arrays = {name: whole(array) for name, array in wholes.items()}
    chunks = tuple(tuple(int(cells) for cells in sizes) for sizes in chunks)
    dependencies = [*(one.array for one in inputs), *whole_arrays.values()]
    last_keys = [(array.name, *(0,) * array.ndim) for array in whole_arrays.values()]
    tasks: dict[Size, Any] = {}
    described: list[Any] = []
    for number in product(*(range(len(sizes)) for sizes in chunks)):
        place = place_of(number)
        places: dict[Any, int] = {}
        steps, out = steps_of(inputs, place, local, dtypes, places)
        task = Task(function, steps, tuple(whole_arrays), threads, out)
        tasks[number] = (task, *places, *last_keys)
        if not described:
            described = [steps[0].options, steps[0].keep]
    read = [(one.name, one.array.name, one.fill, one.pieces) for one in inputs]
    token = tokenize(label, described, chunks, threads, read, {name: one.name for name, one in whole_arrays.items()})
    name = f"{label}-{token}"
    layer = {(name, *number): task for number, task in tasks.items()}
    if len(dtypes) == 1:
        return array_of(name, layer, dependencies, chunks, dtypes[0])
    graph = HighLevelGraph.from_collections(name, layer, dependencies=dependencies)
    return tuple(
        array_of(f"{name}-{part}", picked(f"{name}-{part}", name, part, tasks), (graph, name), chunks, dtype)
        for part, dtype in enumerate(dtypes)
    )


def pieces_at(one: Input, place: Size) -> Pieces:
    """What a block needs of an input."""
    return tuple(pieces[at] for pieces, at in zip(one.pieces, place, strict=True))


def steps_of(
    inputs: Sequence[Input], place: Size, local: Callable[[Pieces], Block], dtypes: Sequence[Any], places: dict[Any, int]
) -> tuple[tuple[Step, ...], Output | None]:
    """(the calls that make a block, the array that they write to where there are several)."""
    first = inputs[0]
    framed = [along[at] for along, at in zip(first.frames, place, strict=True)] if first.frames else []
    found = parts(framed, first.array.dtype.itemsize) if framed else []
    if not found:
        block = local(pieces_at(first, place))
        regions = tuple(region_of(one, pieces_at(one, place), places) for one in inputs)
        return (Step(regions, *block),), None
    steps = []
    for number, part in enumerate(found):  # the pieces of all inputs are the first one's
        regions = tuple(region_of(one, part.pieces, places) for one in inputs)
        steps.append(Step(regions, local(part.pieces).options, moves=part.moves if number else ()))
    return tuple(steps), Output(first.out, tuple(piece.outputs for piece in pieces_at(first, place)), dtypes[0])


def picked(name: str, source: str, part: int, places: Any) -> dict[Any, Any]:
    """Tasks that each take a part of what another one gives."""
    from operator import getitem

    return {(name, *number): (getitem, (source, *number), part) for number in places}


def array_of(name: str, layer: dict[Any, Any], dependencies: Any, chunks: Any, dtype: Any) -> Any:
    """The dask array of a layer that depends on arrays, or on (a graph, the name of its last layer)."""
    if isinstance(dependencies, tuple):
        before, last = dependencies
        layers, edges = {**before.layers, name: layer}, {**before.dependencies, name: {last}}
        graph = HighLevelGraph(layers, edges)
    else:
        graph = HighLevelGraph.from_collections(name, layer, dependencies=dependencies)
    return da.Array(graph, name, chunks, meta=np.empty((0,) * len(chunks), dtype))
