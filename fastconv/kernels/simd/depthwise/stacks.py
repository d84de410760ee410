"""Stacks of output rows of depthwise convolution, and the windows of their tiles: where they lie, or copied.

planes.py runs over stacks.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from fastconv.kernels.jit import compiled, inlined
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import windows
from fastconv.kernels.simd.engine.requests import Rows
from fastconv.kernels.simd.engine.sizes import Axes, Plane, Strides, reader
from fastconv.kernels.simd.engine.workspace import workspace
from fastconv.problem.borders import ZERO_FILL as ZEROS

pointer = vector.pointer


class Form(NamedTuple):
    """What a kernel is compiled for.

    Attributes
    ----------
    rows, columns : int
        Output rows and vectors of its tile.
    taps_h, taps_w, stride : int
        Of the kernel.
    apart : int
        Channels that lie together.
    own : int
        Vectors of weights that a tap has, 0 where one weight serves all lanes.
    gated : bool
        Whether silu follows.
    dilated : bool
        Whether taps lie apart, in planes.
    """

    rows: int
    columns: int
    taps_h: int
    taps_w: int
    stride: int
    apart: int
    own: int
    gated: bool
    dilated: bool


class Sizes(NamedTuple):
    """The sizes of a call: an image's values in a row count as columns.

    Attributes
    ----------
    planes : int
        Of an image.
    cells, outputs, padding, dilation : Plane
        Of the input, the output, before the input, and from tap to tap.
    ahead : Rows
        That are asked for.
    over : int
        Whether what lies behind a row may be stored before it.
    mode : int
        The border's.
    """

    planes: int
    cells: Plane
    outputs: Plane
    padding: Plane
    dilation: Plane
    ahead: Rows
    over: int
    mode: int


class Stack(NamedTuple):
    """The output rows of an item.

    Attributes
    ----------
    image, weights, bias, y : Pointer
        Of its plane, and its first output.
    top : int
        The first row of cells under it, which may be padding.
    rows : (int, int)
        The first row of its windows that is in the plane, and the one behind the last, those of a dilation counted.
    inside : bool
        Whether no row of its windows is padding.
    """

    image: Any
    weights: Any
    bias: Any
    y: Any
    top: int
    rows: tuple[int, int]
    inside: bool


class Window(NamedTuple):
    """What a tile reads.

    Attributes
    ----------
    at, step : Pointer, int
        Its first cell, and elements from one row to the next.
    top, bottom, left, right : int
        The rows top .. bottom - 1 and the cells left .. right - 1 of a row are those that hold no padding.
    """

    at: Any
    step: int
    top: int
    bottom: int
    left: int
    right: int


class Parts(NamedTuple):
    """Of a thread's memory: a row of zeros, or a copied window."""

    window: int


class Tables(NamedTuple):
    """Offsets of the columns of a copied vector."""

    steps: int


read, carve, carve_tables = reader(Sizes), workspace(Parts), workspace(Tables)


@lru_cache(maxsize=64)
def window_finder(form: Form, lanes: int) -> Any:
    """The compiled window of a tile of one column, from cell `left` of its row on: copied where padding is not of zeros."""
    pack, apart = windows.packer(lanes, True), form.apart
    rows, reach = (form.rows - 1) * form.stride + form.taps_h, (form.taps_w - 1) * apart + 1
    stride, width = form.stride, (lanes - 1) * form.stride + reach

    def dilated_window(stack, left, room, work, steps, fill, s):
        at = stack.image + (stack.top * s.cells.w + left)
        first, last = stack.rows
        return Window(at, s.dilation.h * s.cells.w, first, last, -left, s.cells.w - left)

    @compiled
    def copied_window(image, left, top, room, work, steps, fill, s):
        pixel = left // apart
        offset = left - pixel * apart
        pixels = -(-(offset + min(width, (room - 1) * stride + reach)) // apart)
        strides, cells = Strides(0, 1, 0, s.cells.w, apart), Axes(1, s.cells.h, s.cells.w // apart)
        source = windows.Source(image, strides, cells, s.mode, fill)
        pack(source, windows.Block(Axes(0, top, pixel), 1, 1, rows, pixels, apart, apart), work.window, steps)
        return Window(work.window + offset, pixels * apart, 0, rows, 0, width + 1)

    def window_of(stack, left, room, work, steps, fill, s):
        right = s.cells.w - left
        if s.mode == ZEROS or (stack.inside and left >= 0 and width <= right):
            first, last = stack.rows
            return Window(stack.image + (stack.top * s.cells.w + left), s.cells.w, first, last, -left, right)
        return copied_window(stack.image, left, stack.top, room, work, steps, fill, s)

    return inlined(dilated_window if form.dilated else window_of)


@lru_cache(maxsize=64)
def stack_finder(form: Form) -> Any:
    """The compiled stack of output rows of an item; the last one of a plane may overlap the one before."""
    rows, stride, taps = form.rows, form.stride, form.taps_h * form.taps_w if form.apart == 1 else 0
    reach = (rows - 1) * stride + form.taps_h

    @inlined
    def stack_at(plane, h, top, there, inside, x, w, bias, y, s):
        """The stack of a plane from its output row h on."""
        of_image = plane % s.planes
        image, to = pointer(x) + plane * s.cells.h * s.cells.w, pointer(y) + (plane * s.outputs.h + h) * s.outputs.w
        return Stack(image, pointer(w) + of_image * taps, pointer(bias) + of_image, to, top, there, inside)

    def stack_of(item, x, w, bias, y, s):
        plane, number = divmod(item, -(-s.outputs.h // rows))
        h = min(number * rows, s.outputs.h - rows)
        top = h * stride - s.padding.h
        return stack_at(plane, h, top, (-top, s.cells.h - top), top >= 0 and top + reach <= s.cells.h, x, w, bias, y, s)

    def dilated_stack(item, x, w, bias, y, s):
        """The rows that lie a dilation apart; of every residue there are as many stacks."""
        apart = s.dilation.h
        plane, of_plane = divmod(item, -(-s.outputs.h // (rows * apart)) * apart)
        stack, residue = divmod(of_plane, apart)
        share = (s.outputs.h - residue - 1) // apart + 1
        h = residue + min(stack * rows, share - rows) * apart
        top = h - s.padding.h
        return stack_at(plane, h, top, (-(top // apart), -((top - s.cells.h) // apart)), False, x, w, bias, y, s)

    return inlined(dilated_stack if form.dilated else stack_of)
