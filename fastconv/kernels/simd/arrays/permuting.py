"""Axes in another order: y [...][a][...][b] = x [...][b][...][a].

What follows itself along axis a of x and along axis b of y is turned in registers, square by square; where nothing does, the
two axes are gone through in x's order. NumPy goes through them in y's.
"""

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled, element
from fastconv.kernels.keeping import remembered
from fastconv.kernels.memory import aligned
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.sizes import reader, written
from fastconv.machine import host
from fastconv.problem.convolutions import Array, Size

peek, poke, pointer = vector.peek, vector.poke, vector.pointer

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
WORTH = 1 << 13  # elements that NumPy has copied before a kernel is called
SIDE = 8  # elements of either axis that are worth squares
ITEM = 64  # elements of two axes that are worth finding where they begin
RUN = 16  # elements that follow each other in x and y which NumPy copies as fast
PART = 64  # rows of x whose lines stay in the L1 cache until all of them was read


class Axis(NamedTuple):
    """Elements of an axis, and from one to the next in x and in y."""

    size: int
    of_x: int
    of_y: int


class Outer(NamedTuple):
    """Axes that squares are taken along, the innermost first."""

    first: Axis
    second: Axis
    third: Axis
    fourth: Axis
    fifth: Axis


class Sizes(NamedTuple):
    """Elements to the first one in x and in y, the two axes, whether they are taken by squares, and all others."""

    from_x: int
    from_y: int
    a: Axis
    b: Axis
    by_squares: int
    outer: Outer


read = reader(Sizes)


@compiled
def offsets_of(item, s):
    """Elements to an item in x and in y."""
    from_x, from_y = s.from_x, s.from_y
    for axis in s.outer:
        item, at = divmod(item, axis.size)
        from_x += at * axis.of_x
        from_y += at * axis.of_y
    return from_x, from_y


@lru_cache(maxsize=8)
def kernel(lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over all axes, two of them the innermost: f32_permute_avx512."""

    @compiled
    def turn(source, to, s):
        """y[a][b] = x[b][a], by squares"""
        for begun in range(0, s.b.size, PART):
            ended = min(s.b.size, begun + PART)
            for a in range(0, s.a.size, lanes):
                rows = min(lanes, s.a.size - a)
                for b in range(begun, ended, lanes):
                    count, at, put = min(lanes, ended - b), source + (a + b * s.b.of_x), to + (a * s.a.of_y + b)
                    if rows == count == lanes:
                        vector.store_tile(vector.load_turned(at, s.b.of_x, lanes), put, s.a.of_y)
                    else:
                        square = vector.load_transposed(at, s.b.of_x, rows, count, lanes, 1, lanes)
                        vector.store_spans(square, put, s.a.of_y, rows, count)

    def permute(begin, end, x, y, sizes):
        """y[item][a][b] = x[item][b][a], by the steps of each."""
        s = read(sizes)
        for item in range(begin, end):
            from_x, from_y = offsets_of(item, s)
            source, to = pointer(x) + from_x, pointer(y) + from_y
            if s.by_squares:
                turn(source, to, s)
            else:
                for b in range(s.b.size):
                    for a in range(s.a.size):
                        poke(to + (a * s.a.of_y + b * s.b.of_y), peek(source + (a * s.a.of_x + b * s.b.of_x)))

    permute.__name__ = f"{dtype}_permute_{isa}"
    return Kernel(permute)


ONE = Axis(1, 0, 0)


def joined(shape: Size, steps: Size) -> list[Axis]:
    """The axes of a view, without those of one element, and with those that follow each other in x joined."""
    found: list[Axis] = []
    for number, (size, step) in enumerate(zip(shape, steps, strict=True)):
        axis = Axis(size, step, prod(shape[number + 1 :]))
        if size == 1:
            continue
        if found and found[-1].of_x == axis.size * axis.of_x:
            found[-1] = Axis(found[-1].size * axis.size, axis.of_x, axis.of_y)
        else:
            found.append(axis)
    return found


@remembered
def launch(shape: Size, steps: Size, first: int, dtype: np.dtype[Any]) -> tuple[Kernel, int, Array] | None:
    """(kernel, items, sizes) of a view with such steps in elements, that begins at `first`; None where NumPy is as fast."""
    axes = joined(shape, steps)
    if len(axes) < 2:
        return None
    a = min(axes, key=lambda axis: abs(axis.of_x))
    b = max((axis for axis in axes if axis is not a), key=lambda axis: axis.size)
    from_x, from_y, last = first, 0, axes[-1]
    by_squares = a is not last and abs(a.of_x) == 1 and min(a.size, last.size) >= SIDE
    if by_squares:
        b = last
    elif a.size * b.size < ITEM or (a is last and a.size >= RUN):
        return None
    outer = [axis for axis in axes if axis is not a and axis is not b]
    if by_squares and a.of_x < 0:  # it is taken from its end
        from_x, from_y = first - (a.size - 1), (a.size - 1) * a.of_y
        a = Axis(a.size, 1, -a.of_y)
    spare = len(Outer._fields) - len(outer)
    if spare < 0:
        return None
    machine = host()
    sizes = Sizes(from_x, from_y, a, b, int(by_squares), Outer(*outer[::-1], *[ONE] * spare))
    made = kernel(machine.lanes(dtype), element(dtype), machine.isa)
    return made, prod(axis.size for axis in outer), written(sizes)


def contiguous(view: Array, x: Array) -> Array:
    """A view of x, an array in C order, in C order itself."""
    if view.size < WORTH or view.dtype not in FLOATS or view.flags.c_contiguous:
        return np.ascontiguousarray(view)
    size = view.itemsize
    found = launch(view.shape, tuple(step // size for step in view.strides), (address(view) - address(x)) // size, view.dtype)
    if found is None:
        return np.ascontiguousarray(view)
    made, items, sizes = found
    y = aligned(view.size, view.dtype)
    made(items, view.size, x.reshape(-1), y, sizes)
    return y.reshape(view.shape)


def address(array: Array) -> int:
    """Of its first element."""
    found: int = array.__array_interface__["data"][0]
    return found
