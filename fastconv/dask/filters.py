"""ndimage's functions: each block is the function's result on a region that reaches as far as its windows do."""

import operator
from collections.abc import Callable
from inspect import signature
from typing import Any

import numpy as np

from fastconv.dask.graphs import Block, Input, Pieces, in_blocks, lazy, no_out, stand_in, whole
from fastconv.dask.maps import counts
from fastconv.ndimage import arguments as check
from fastconv.problem.blocks import Halo, pieces
from fastconv.problem.foreign import at_hand
from fastconv.problem.frames import frames
from fastconv.served import NotServed

Arguments = dict[str, Any]
Reach = dict[int, int]  # cells to either side, by axis
CIRCULAR = ("wrap", "grid-wrap")
ON_THE_GRID = ("mask",)  # arrays of the shape of the input
EVERYWHERE = ("weights", "footprint", "structure")


# How far windows reach --------------------------------------------------------------------------------------------------------


def along(a: Arguments, values: list[int]) -> Reach:
    """One value an axis of `axes`."""
    axes = check.axes_of(a.get("axes"), a["ndim"])
    found: Reach = {}
    for one in (axes, sorted(axes)):  # a footprint's axes are in the order of the array's where SciPy has them so
        for axis, value in zip(one, values, strict=True):
            found[axis] = max(found.get(axis, 0), value)
    return found


def rank_of(a: Arguments) -> int:
    """Axes that are filtered."""
    return len(check.axes_of(a.get("axes"), a["ndim"]))


def origins_of(a: Arguments, count: int) -> list[int]:
    """How far windows are moved, either way."""
    return [abs(operator.index(one)) for one in check.sequence(a.get("origin", 0), count)]


def window(a: Arguments) -> Reach:
    """A size, a footprint or a structure."""
    rank = rank_of(a)
    shaped = next((a[name] for name in ("footprint", "structure", "weights") if a.get(name) is not None), None)
    sizes = check.sequence(a.get("size", 3), rank) if shaped is None else list(np.shape(shaped))
    moved = origins_of(a, rank)
    return along(a, [int(size) // 2 + one for size, one in zip(sizes, moved, strict=True)])


def line(a: Arguments) -> Reach:
    """A size or weights along one axis."""
    size = len(a["weights"]) if "weights" in a else int(a["size"])
    return {check.axis_of(a.get("axis", -1), a["ndim"]): size // 2 + abs(operator.index(a.get("origin", 0)))}


def gaussian(a: Arguments) -> Reach:
    """As many deviations as it has weights, or a radius."""
    a = a | a.get("kwargs", {})
    rank = rank_of(a)
    truncate, radii = a.get("truncate", 4.0), check.sequence(a.get("radius"), rank)
    deviations = [float(one) for one in check.sequence(a["sigma"], rank)]
    reach = [int(truncate * one + 0.5) if r is None else int(r) for one, r in zip(deviations, radii, strict=True)]
    return along(a, reach)


def gaussian1d(a: Arguments) -> Reach:
    """The same along one axis."""
    radius = a.get("radius")
    reach = int(a.get("truncate", 4.0) * float(a["sigma"]) + 0.5) if radius is None else int(radius)
    return {check.axis_of(a.get("axis", -1), a["ndim"]): reach}


def neighbours(a: Arguments) -> Reach:
    """The next cell along each axis."""
    return along(a, [1] * rank_of(a))


def binary(a: Arguments) -> Reach:
    """A structure, by default of neighbours, so many times."""
    count = operator.index(a.get("iterations", 1))
    if count < 1:
        raise NotServed(
            f"iterations must be at least 1 with dask arrays, got {count}: until nothing changes, a cell may reach any other"
        )
    once = window(a) if a.get("structure") is not None else along(a, [1 + one for one in origins_of(a, rank_of(a))])
    return {axis: count * reach for axis, reach in once.items()}


def twice(rule: Callable[[Arguments], Reach]) -> Callable[[Arguments], Reach]:
    """A step and another of it."""
    return lambda a: {axis: 2 * reach for axis, reach in rule(a).items()}


WINDOWS = "maximum_filter minimum_filter median_filter rank_filter percentile_filter uniform_filter correlate convolve"
ONE_STEP = "grey_erosion grey_dilation morphological_gradient morphological_laplace"
TWO_STEPS = "grey_opening grey_closing white_tophat black_tophat"
LINES = "maximum_filter1d minimum_filter1d uniform_filter1d correlate1d convolve1d"
RULES: dict[str, Callable[[Arguments], Reach]] = {
    **dict.fromkeys(f"{WINDOWS} {ONE_STEP}".split(), window),
    **dict.fromkeys(TWO_STEPS.split(), twice(window)),
    **dict.fromkeys(LINES.split(), line),
    **dict.fromkeys(("gaussian_filter", "gaussian_laplace", "gaussian_gradient_magnitude"), gaussian),
    "gaussian_filter1d": gaussian1d,
    **dict.fromkeys(("prewitt", "sobel", "laplace"), neighbours),
    **dict.fromkeys(("binary_erosion", "binary_dilation"), binary),
    **dict.fromkeys(("binary_opening", "binary_closing"), twice(binary)),
}


# The result -------------------------------------------------------------------------------------------------------------------


def circular(a: Arguments, reach: Reach) -> list[bool]:
    """Which axes have no ends: those along which it reaches and whose mode is circular."""
    mode, ndim = a.get("mode", "reflect"), a["ndim"]
    if isinstance(mode, str) or not np.iterable(mode):
        return [mode in CIRCULAR if isinstance(mode, str) else False] * ndim
    found = [False] * ndim
    for axis, one in zip(check.axes_of(a.get("axes"), ndim), mode, strict=True):
        found[axis] = one in CIRCULAR
    return found


def served(function: Any, arguments: Arguments) -> Any:
    """The lazy result of a function of ndimage."""
    name, given = function.__name__, dict(arguments)
    rule = RULES.get(name)
    if rule is None:
        raise NotServed(
            f"ndimage.{name} takes no dask array: nothing tells how far the function that it calls reaches; "
            f"dask.array.map_overlap(ndimage.{name}, input, depth=...) does"
        )
    kind = given.get("output")
    if kind is not None and not isinstance(kind, type | np.dtype | str):
        no_out({"output": kind}, "output")
    x = lazy("input", given.pop("input"))
    wholes = {one: lazy(one, given.pop(one)) for one in EVERYWHERE if is_lazy(given.get(one))}
    grids = {one: lazy(one, given.pop(one)) for one in ON_THE_GRID if given.get(one) is not None}
    for one, array in grids.items():
        if array.shape != x.shape:
            raise RuntimeError(f"{one} and input must have equal sizes")
    stood_in = {one: stand_in(array) for one, array in wholes.items()}
    known = given | {one: np.ones(array.shape, array.dtype) for one, array in wholes.items()}
    empty = np.empty((0,) * x.ndim, x.dtype)  # meets all checks, and tells the dtype
    dtype = function(empty, **flat(known), **{one: np.empty(empty.shape, array.dtype) for one, array in grids.items()}).dtype
    named = signature(function).parameters
    a = {one: p.default for one, p in named.items() if p.default is not p.empty} | given | stood_in | {"ndim": x.ndim}
    reach, around = rule(a), circular(a, rule(a))
    if 0 in x.shape:
        x, reach = whole(x), {}
    rules = [Halo(n, reach.get(axis, 0), around[axis]) for axis, n in enumerate(x.shape)]
    found = [pieces(rule, sizes) for rule, sizes in zip(rules, x.chunks, strict=True)]
    framed = [frames(rule, sizes, along) for rule, sizes, along in zip(rules, x.chunks, found, strict=True)]
    inputs = [Input("input", x, found, frames=framed, out="output")]
    for one, array in grids.items():
        inputs.append(Input(one, array.rechunk(x.chunks), found))
    return in_blocks(name, function, inputs, wholes, counts(found), [dtype], lambda of: Block(flat(given), kept(of)))


def is_lazy(value: Any) -> bool:
    """Whether a value is a dask array, or labels one."""
    try:
        at_hand("value", value)
    except TypeError:
        return True
    return False


def flat(given: Arguments) -> Arguments:
    """Keyword arguments among all others."""
    return {name: value for name, value in given.items() if name != "kwargs"} | given.get("kwargs", {})


def kept(of_block: Pieces) -> tuple[slice, ...] | None:
    """What of the result on a region is the block."""
    if all(piece.crop == 0 and piece.cells == piece.outputs for piece in of_block):
        return None
    return tuple(slice(piece.crop, piece.crop + piece.outputs) for piece in of_block)
