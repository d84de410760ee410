"""Activations on their own, on vectors: y[i] = act(x[i]), where y may be x."""

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from fastconv.kernels.activations import KINDS
from fastconv.kernels.jit import Call, Kernel, element, flat, inlined, make_calls
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import epilogue
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array
from fastconv.problem.problem import Operands, Problem
from fastconv.problem.windows import ElementwiseGeometry

pointer = vector.pointer
CYCLES = {"clip": 1, "leaky_relu": 1, "hardswish": 3, "silu": 12, "gelu": 30}  # about, of a vector in the cache
AT_ONCE = {"silu": 4}  # vectors: one after the other, what waits for exponentials would fill a processor's queues


@lru_cache(maxsize=16)
def activation(kind: str, dtype: str) -> Any:
    """The compiled activate(v, e) of a vector; integers have bounds alone."""

    def bounded(v, e):
        return vector.clip(v, e.low, e.high)

    def weighed(v, e):
        return vector.gelu(v)

    if dtype[0] in "iu":
        return inlined(bounded)
    return inlined(weighed) if kind == "gelu" else epilogue.activation_of(dtype, silu=True)


@lru_cache(maxsize=32)
def activation_kernel(kind: str, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loop over elements: f32_silu_avx512."""
    code, activate, wide = KINDS.index(kind), activation(kind, dtype), lanes * AT_ONCE.get(kind, 1)

    def activated(begin, end, x, y, low, high):
        """y[i] = act(x[i])"""
        e, source, to = epilogue.Epilogue(code, code, low, high, False, 0), pointer(x), pointer(y)
        most, whole = end - (end - begin) % wide, end - (end - begin) % lanes
        for i in range(begin, most, wide):
            vector.store(to + i, activate(vector.load(source + i, wide), e))
        for i in range(most, whole, lanes):
            vector.store(to + i, activate(vector.load(source + i, lanes), e))
        if whole < end:
            last = vector.load_first(source + whole, end - whole, lanes)
            vector.store_first(to + whole, activate(last, e), end - whole)

    activated.__name__ = f"{dtype}_{kind}_{isa}"
    return Kernel(activated)


# Decisions --------------------------------------------------------------------------------------------------------------


def supports(problem: Problem) -> str | None:
    """Real numbers of the types that vectors have."""
    dtype = problem.dtype
    if dtype.kind in "iu" or dtype in (np.float32, np.float64):
        return None
    return f"its vectors are integers, float32 or float64, not {dtype}"


def cycles(geometry: ElementwiseGeometry, dtype: np.dtype[Any], machine: Machine) -> int:
    """About, of a vector."""
    return CYCLES[geometry.activation.kind]


def cost(problem: Problem, machine: Machine) -> float:
    """Cycles a vector, or the bytes at memory speed."""
    geometry, dtype = problem.geometry, problem.dtype
    vectors = geometry.flops / machine.lanes(dtype)
    seconds = vectors * cycles(geometry, dtype, machine) / 3e9
    return 2e-6 + max(seconds, geometry.bytes(dtype.itemsize) / machine.bandwidth)


@remembered
def launch(geometry: ElementwiseGeometry, dtype: np.dtype[Any], machine: Machine) -> tuple[Kernel, int, int, tuple[Any, Any]]:
    """(kernel, items, work, the two numbers of the activation)."""
    kind, items = geometry.activation.kind, prod(geometry.shape)
    made = activation_kernel(kind, machine.lanes(dtype), element(dtype), machine.isa)
    low, high = epilogue.scalars(geometry.activation, dtype)[1:3]
    return made, items, items * cycles(geometry, dtype, machine) // 2, (low, high)


def kernel(problem: Problem, machine: Machine) -> str:
    """The name of the kernel that runs."""
    return launch(problem.geometry, problem.dtype, machine)[0].__name__


def calls(operands: Operands, packed: None, problem: Problem, out: Array) -> tuple[Call, ...]:
    """The one call."""
    made, items, work, scalars = launch(problem.geometry, problem.dtype, host())
    return (Call(made, items, work, (flat(operands["x"]), flat(out), *scalars)),)


def run(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """Every element; x and out may be the same array."""
    make_calls(calls(operands, packed, problem, out))
