"""What SciPy's functions take, checked and normalised as SciPy does: with its exceptions, and its words where they matter."""

import operator
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from fastconv.kernels.memory import empty
from fastconv.problem.borders import Border
from fastconv.problem.convolutions import Array
from fastconv.problem.foreign import at_hand

MODES = {
    "reflect": "symmetric",
    "grid-mirror": "symmetric",
    "mirror": "reflect",
    "nearest": "replicate",
    "wrap": "circular",
    "grid-wrap": "circular",
    "constant": "constant",
    "grid-constant": "constant",
}
BOOL = "?"
# What kernels hold of bool and float16, by character.
HELD: dict[str, np.dtype[Any]] = {BOOL: np.dtype(np.uint8), "e": np.dtype(np.float32)}


def values(name: str, value: Any, dtype: Any = None) -> Array:
    """What numpy.asarray makes of an array at hand."""
    return np.asarray(value if type(value) is np.ndarray else at_hand(name, value), dtype)


def image(input: Any, complex_too: bool = False) -> Array:
    """The input as an array of numbers."""
    if isinstance(input, np.ma.MaskedArray):
        raise TypeError("masked arrays are not supported: their masks would be lost; fill them first (input.filled(value))")
    x = values("input", input)
    if x.dtype.kind == "c" and not complex_too:
        raise TypeError("Complex type not supported")
    if x.dtype.kind not in "biufc" or x.dtype.itemsize > (16 if x.dtype.kind == "c" else 8):
        raise RuntimeError(f"data type not supported: {x.dtype}")
    return x


def border(mode: Any) -> Border:
    """The border that a mode of SciPy's names."""
    if not isinstance(mode, str) or mode not in MODES:
        raise RuntimeError(f"boundary mode not supported: {mode!r}; allowed are {', '.join(MODES)}")
    return Border(MODES[mode])


def one_border(mode: Any, message: str) -> Border:
    """The border of all axes, where a sequence of modes is an error."""
    if not isinstance(mode, str) and isinstance(mode, Iterable):
        raise RuntimeError(message)
    return border(mode)


def sequence(value: Any, rank: int) -> list[Any]:
    """One value an axis."""
    if isinstance(value, str) or not np.iterable(value):
        return [value] * rank
    values = list(value)
    if len(values) != rank:
        raise RuntimeError("sequence argument must have length equal to input rank")
    return values


def axis_of(axis: Any, ndim: int) -> int:
    """An axis, counted from the front."""
    axis = operator.index(axis)
    if not -ndim <= axis < ndim:
        raise np.exceptions.AxisError(axis, ndim)
    return axis % ndim


def axes_of(axes: Any, ndim: int) -> tuple[int, ...]:
    """The axes that a filter works along, counted from the front."""
    if axes is None:
        return tuple(range(ndim))
    if np.isscalar(axes):
        axes = (operator.index(axes),)  # type: ignore[arg-type]
    elif not isinstance(axes, Iterable):
        raise ValueError("axes must be an integer, iterable of integers, or None")
    axes = tuple(operator.index(axis) for axis in axes)
    for axis in axes:
        if not -ndim <= axis < ndim:
            raise ValueError(f"specified axis: {axis} is out of range")
    axes = tuple(axis % ndim for axis in axes)
    if len(set(axes)) != len(axes):
        raise ValueError("axes must be unique")
    return axes


def over_all_axes(values: Sequence[Any], axes: Sequence[int], ndim: int, other: Any) -> tuple[Any, ...]:
    """One value an axis of the array: `other` where the filter does not work."""
    found = [other] * ndim
    for value, axis in zip(values, axes, strict=True):
        found[axis] = value
    return tuple(found)


def check_origin(origin: Any, size: int, message: str) -> int:
    """An origin that leaves the cell of the output inside its window."""
    origin = operator.index(origin)
    if not -(size // 2) <= origin <= (size - 1) // 2:
        raise ValueError(message)
    return origin


def result(output: Any, input: Array, complex_output: bool = False, frames: int = 4) -> Array:
    """The array that a filter writes: the one given, or a new one. `frames` is how far above this one the user's is."""
    shape = input.shape
    if output is None:
        dtype = np.promote_types(input.dtype, np.complex64) if complex_output else input.dtype.newbyteorder("=")
        return empty(shape, dtype)
    if isinstance(output, type | np.dtype):
        dtype = np.dtype(output)
        if complex_output and dtype.kind != "c":
            warnings.warn("promoting specified output dtype to complex", stacklevel=frames + 1)
            dtype = np.promote_types(dtype, np.complex64)
        return empty(shape, dtype)
    if isinstance(output, str):
        dtype = np.dtype(output)
        if complex_output and dtype.kind != "c":
            raise RuntimeError("output must have complex dtype")
        if not issubclass(dtype.type, np.number):
            raise RuntimeError("output must have numeric dtype")
        return empty(shape, dtype)
    given = np.asarray(output)
    if given.shape != shape:
        raise RuntimeError("output shape not correct")
    if complex_output and given.dtype.kind != "c":
        raise RuntimeError("output must have complex dtype")
    return given


# Between SciPy's arrays and those of kernels ----------------------------------------------------------------------------------


def plain(x: Array) -> Array:
    """x in C order and this machine's byte order, bool as uint8, float16 as float32: a view where it can be one."""
    x = np.ascontiguousarray(x, x.dtype.newbyteorder("="))
    held = HELD.get(x.dtype.char, x.dtype)
    return x.view(held) if held.itemsize == x.dtype.itemsize else x.astype(held)


def computed(x: Array, output: Array, compute: Callable[[Array, Array], None]) -> Array:
    """`output`, after compute(x, out) on arrays that kernels take: in C order, native, apart from each other."""
    source: Array = plain(x).reshape(x.shape)
    dtype = output.dtype.newbyteorder("=")
    held: np.dtype[Any] = HELD.get(dtype.char, dtype)
    direct = (
        output.flags.c_contiguous
        and output.flags.writeable
        and output.flags.aligned
        and output.dtype.isnative
        and (output.dtype == held or dtype.char == BOOL)
        and not np.may_share_memory(source, output)
    )
    if not output.flags.writeable:
        raise ValueError("output array is read-only")
    out = output.view(held) if direct else empty(output.shape, held)
    compute(source, out)
    if dtype.char == BOOL:
        np.not_equal(out, 0, out=output)
    elif not direct:
        output[...] = out
    return output
