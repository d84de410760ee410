"""The types: pointers, vectors, register tiles, and how LLVM represents them.

Elements of a Stored type are memory's alone: registers hold them as float32, and whatever reads or writes them converts. They
come to kernels as arrays of RECORDS, since Numba has no arrays of float16, and those of uint8 hold integers.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import models, register_model

I1, I8, I32, I64 = ir.IntType(1), ir.IntType(8), ir.IntType(32), ir.IntType(64)
INTEGERS = (*types.signed_domain, *types.unsigned_domain)
ELEMENTS = {types.float32: ir.FloatType(), types.float64: ir.DoubleType(), types.boolean: I1}
ELEMENTS |= {integer: ir.IntType(integer.bitwidth) for integer in INTEGERS}
BYTES = {types.float32: 4, types.float64: 8} | {integer: integer.bitwidth // 8 for integer in INTEGERS}
QUIET = {4: 1 << 22, 8: 1 << 51}  # the bit that every NaN of a result has set, by bytes of a float


class Stored(types.Type):
    """Elements that are of a type in memory, and float32 in registers."""

    def __init__(self, memory: Any) -> None:
        self.memory = memory
        super().__init__(f"Stored({memory})")


CONVERTED = [np.dtype(name) for name in ("float16", "uint8", "int8", "uint16", "int16")]
RECORDS = {dtype: np.dtype([(dtype.name, f"u{dtype.itemsize}")], align=True) for dtype in CONVERTED}
STORED = {dtype.name: Stored(getattr(types, dtype.name)) for dtype in CONVERTED}
ELEMENTS |= {one: ir.HalfType() if name == "float16" else ELEMENTS[one.memory] for name, one in STORED.items()}
BYTES |= {STORED[dtype.name]: dtype.itemsize for dtype in CONVERTED}


def held(stored: Any) -> Any:
    """The type that registers have for elements of a type in memory."""
    return types.float32 if isinstance(stored, Stored) else stored


def element_of(dtype: Any) -> Any:
    """The type of an array's elements in memory."""
    return STORED[next(iter(dtype.fields))] if isinstance(dtype, types.Record) else dtype


class Pointer(types.Type):
    """The address of an element."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(f"Pointer({dtype})")


class Vector(types.Type):
    """`lanes` elements in one register."""

    def __init__(self, dtype: Any, lanes: int) -> None:
        self.dtype, self.lanes = dtype, lanes
        super().__init__(f"Vector({dtype}, {lanes})")


class Rows(types.Type):
    """The addresses of `rows` elements."""

    def __init__(self, dtype: Any, rows: int) -> None:
        self.dtype, self.rows = dtype, rows
        super().__init__(f"Rows({dtype}, {rows})")


class Tile(types.Type):
    """rows x columns vectors."""

    def __init__(self, dtype: Any, rows: int, columns: int, lanes: int) -> None:
        self.dtype, self.rows, self.columns, self.lanes = dtype, rows, columns, lanes
        super().__init__(f"Tile({dtype}, {rows}, {columns}, {lanes})")


def _represented_by(kind: type, llvm_type: Callable[[Any], Any]) -> None:
    @register_model(kind)
    class Model(models.PrimitiveModel):  # type: ignore[misc]
        def __init__(self, manager: Any, t: Any) -> None:
            super().__init__(manager, t, llvm_type(t))


def vector_of(t: Any) -> Any:
    """LLVM's type of a vector, or of each vector of a tile."""
    return ir.VectorType(ELEMENTS[t.dtype], t.lanes)


_represented_by(Pointer, lambda t: I64)
_represented_by(Vector, vector_of)
_represented_by(Rows, lambda t: ir.LiteralStructType([I64] * t.rows))
_represented_by(Tile, lambda t: ir.LiteralStructType([vector_of(t)] * (t.rows * t.columns)))
