"""Morphology of binary images, by SciPy's names."""

import operator
from typing import Any

import numpy as np

from fastconv.ndimage.arguments import axes_of, image, result, sequence, values
from fastconv.ndimage.documentation import documented
from fastconv.ndimage.extrema import MAXIMUM, MINIMUM, boxes, cover_geometry, inside, under
from fastconv.ndimage.morphology import mirrored, mirrored_origins
from fastconv.problem.borders import Border
from fastconv.problem.convolutions import Array
from fastconv.problem.filters import FilterGeometry


@documented
def binary_erosion(
    input: Any,
    structure: Any = None,
    iterations: Any = 1,
    mask: Any = None,
    output: Any = None,
    border_value: Any = 0,
    origin: Any = 0,
    brute_force: Any = False,
    *,
    axes: Any = None,
) -> Array:
    """
    Cells whose window is all set; scipy.ndimage.binary_erosion.

    Parameters
    ----------
    {set}
    {cross}
    {iterations}
    {mask}
    {set_output}
    {border_value}
    {origins}
    {brute_force}
    {axes}

    {result}

    {raises}

    {examples}
    >>> fc.ndimage.binary_erosion(np.array([0, 1, 1, 1, 0, 0, 1, 0])).astype(int)
    array([0, 0, 1, 0, 0, 0, 0, 0])
    """
    return repeated(MINIMUM, input, structure, iterations, mask, output, border_value, origin, axes)


@documented
def binary_dilation(
    input: Any,
    structure: Any = None,
    iterations: Any = 1,
    mask: Any = None,
    output: Any = None,
    border_value: Any = 0,
    origin: Any = 0,
    brute_force: Any = False,
    *,
    axes: Any = None,
) -> Array:
    """
    Cells whose mirrored window has a cell that is set; scipy.ndimage.binary_dilation.

    Parameters
    ----------
    {set}
    {cross}
    {iterations}
    {mask}
    {set_output}
    {border_value}
    {origins}
    {brute_force}
    {axes}

    {result}

    {raises}

    {examples}
    >>> fc.ndimage.binary_dilation(np.array([0, 1, 1, 1, 0, 0, 1, 0])).astype(int)
    array([1, 1, 1, 1, 1, 1, 1, 1])
    """
    x = image(input)
    used = axes_of(axes, x.ndim)
    window = mirrored(default_structure(structure, len(used)))
    moved = mirrored_origins(sequence(origin, len(used)), window.shape)
    return repeated(MAXIMUM, x, window, iterations, mask, output, border_value, moved, used)


@documented
def binary_opening(
    input: Any,
    structure: Any = None,
    iterations: Any = 1,
    output: Any = None,
    origin: Any = 0,
    mask: Any = None,
    border_value: Any = 0,
    brute_force: Any = False,
    *,
    axes: Any = None,
) -> Array:
    """
    An erosion, and a dilation of it; scipy.ndimage.binary_opening.

    Parameters
    ----------
    {set}
    {cross}
    {iterations}
    {set_output}
    {origins}
    {mask}
    {border_value}
    {brute_force}
    {axes}

    {result}

    {raises}

    {examples}
    >>> fc.ndimage.binary_opening(np.array([0, 1, 1, 1, 0, 0, 1, 0])).astype(int)
    array([0, 1, 1, 1, 0, 0, 0, 0])
    """
    between = binary_erosion(input, structure, iterations, mask, None, border_value, origin, brute_force, axes=axes)
    return binary_dilation(between, structure, iterations, mask, output, border_value, origin, brute_force, axes=axes)


@documented
def binary_closing(
    input: Any,
    structure: Any = None,
    iterations: Any = 1,
    output: Any = None,
    origin: Any = 0,
    mask: Any = None,
    border_value: Any = 0,
    brute_force: Any = False,
    *,
    axes: Any = None,
) -> Array:
    """
    A dilation, and an erosion of it; scipy.ndimage.binary_closing.

    Parameters
    ----------
    {set}
    {cross}
    {iterations}
    {set_output}
    {origins}
    {mask}
    {border_value}
    {brute_force}
    {axes}

    {result}

    {raises}

    {examples}
    >>> fc.ndimage.binary_closing(np.array([0, 1, 1, 1, 0, 0, 1, 0])).astype(int)
    array([0, 1, 1, 1, 1, 1, 1, 0])
    """
    between = binary_dilation(input, structure, iterations, mask, None, border_value, origin, brute_force, axes=axes)
    return binary_erosion(between, structure, iterations, mask, output, border_value, origin, brute_force, axes=axes)


def default_structure(structure: Any, rank: int) -> Array:
    """The structure as bool: by default a cell and its neighbours along each axis."""
    if structure is not None:
        return values("structure", structure, bool)
    return np.asarray(np.abs(np.indices((3,) * rank) - 1).sum(0) <= 1)


def repeated(
    operation: str,
    input: Any,
    structure: Any,
    iterations: Any,
    mask: Any,
    output: Any,
    border_value: Any,
    origin: Any,
    axes: Any,
) -> Array:
    """Erosions or dilations of a binary image, one after the other."""
    try:
        iterations = operator.index(iterations)
    except TypeError as error:
        raise TypeError("iterations parameter should be an integer") from error
    x = image(input)
    used = axes_of(axes, x.ndim)
    window = default_structure(structure, len(used))
    if window.ndim != len(used):
        if len(used) < x.ndim:
            raise RuntimeError(f"structure.ndim ({window.ndim}) must match len(axes) ({len(used)})")
        raise RuntimeError("structure and input must have same dimensionality")
    if window.size < 1:
        raise RuntimeError("structure must not be empty")
    if mask is not None:
        mask = values("mask", mask)
        if mask.shape != x.shape:
            raise RuntimeError("mask and input must have equal sizes")
        mask = mask.astype(bool)
    origins = [inside(one, k) for one, k in zip(sequence(origin, len(used)), window.shape, strict=True)]
    if isinstance(output, np.ndarray) and output.dtype.kind == "c":
        raise TypeError("Complex output type not supported")
    y = result(output if isinstance(output, np.ndarray) else bool, x)
    around = Border("constant")
    geometry = cover_geometry(operation, x, used, window.shape, origins, around)
    image_of = x if x.dtype == np.bool_ else x != 0
    found = np.empty(x.shape, bool) if iterations != 1 or y.dtype != np.bool_ or np.may_share_memory(image_of, y) else y
    spare = image_of
    done = 0
    while True:
        once(operation, spare, found, geometry, window, bool(border_value))
        if mask is not None:
            np.copyto(found, spare, where=~mask)
        done += 1
        if done == iterations or (iterations < 1 and np.array_equal(spare, found)):
            break
        spare, found = found, np.empty_like(found) if spare is image_of else spare
    if found is not y:
        y[...] = found
    return y


def once(operation: str, x: Array, y: Array, geometry: FilterGeometry, window: Array, border_value: bool) -> None:
    """One erosion or dilation of an array of bool into another."""
    if not window.any():
        y[...] = operation == MINIMUM
    elif window.all():
        boxes(operation, x, y, geometry, border_value)
    else:
        under(operation, x, y, geometry, window, None, border_value)
