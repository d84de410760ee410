"""Matrices turned, squares of vectors at a time: y [n][c][r] = x [n][r][c]."""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Call, Kernel, element
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.sizes import reader, written
from fastconv.kernels.simd.engine.windows import unpacker
from fastconv.machine import Machine
from fastconv.problem.convolutions import Array

pointer = vector.pointer

PART = 256  # rows of an item


class Sizes(NamedTuple):
    """Rows and columns of a matrix of x."""

    rows: int
    columns: int


read = reader(Sizes)


def room(columns: int, lanes: int) -> int:
    """Elements behind x that are read, and may hold anything."""
    return lanes * (columns + 1)


@lru_cache(maxsize=16)
def kernel(lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loops over matrices and parts of their rows: f32_turn_avx512."""
    unpack = unpacker(lanes)

    def turn(begin, end, x, y, sizes):
        """y[n, c, r] = x[n, r, c]"""
        s = read(sizes)
        parts = (s.rows + PART - 1) // PART
        for item in range(begin, end):
            n, part = divmod(item, parts)
            first = part * PART
            source, to = pointer(x) + (n * s.rows + first) * s.columns, pointer(y) + (n * s.rows * s.columns + first)
            unpack(source, 1, min(PART, s.rows - first), s.columns, s.columns, to, 0, s.rows)

    turn.__name__ = f"{dtype}_turn_{isa}"
    return Kernel(turn)


# Decisions --------------------------------------------------------------------------------------------------------------


def seconds(count: int, rows: int, columns: int, dtype: np.dtype[Any], machine: Machine) -> float:
    """Of so many matrices: a few cycles a vector of whole squares."""
    lanes = machine.lanes(dtype)
    squares = -(-rows // lanes) * -(-columns // lanes)
    return 1e-6 + machine.seconds(count * squares * 5.0 * lanes, 2 * count * rows * columns * dtype.itemsize)


@remembered
def launch(count: int, rows: int, columns: int, dtype: np.dtype[Any], machine: Machine) -> tuple[Kernel, int, int, Array]:
    """(kernel, items, work, sizes)."""
    made = kernel(machine.lanes(dtype), element(dtype), machine.isa)
    return made, count * -(-rows // PART), count * rows * columns, written(Sizes(rows, columns))


def call(x: Array, y: Array, count: int, rows: int, columns: int, machine: Machine) -> Call:
    """So many matrices, from and to flat arrays; x has room behind them."""
    made, items, work, sizes = launch(count, rows, columns, x.dtype, machine)
    return Call(made, items, work, (x, y, sizes))
