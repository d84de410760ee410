"""Activations on their own, on vectors: y[i] = act(x[i]), where y may be x."""

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from fastconv.kernels.activations import codes
from fastconv.kernels.jit import Kernel, element, inlined
from fastconv.kernels.simd import vector
from fastconv.machine import Machine, host
from fastconv.problem.convolutions import Array
from fastconv.problem.problem import Operands, Problem
from fastconv.problem.windows import ElementwiseGeometry

pointer = vector.pointer
CYCLES = {"clip": 1, "leaky_relu": 1, "hardswish": 3, "silu": 20}  # about, of a vector in the cache


@lru_cache(maxsize=32)
def kernel(kind: str, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loop over elements: f32_silu_avx512."""
    real = np.dtype(f"{dtype[0]}{int(dtype[1:]) // 8}").type
    three, six, sixth = real(3), real(6), real(1 / 6)

    def clip(v, low, high):
        return vector.clip(v, low, high)

    def leaky_relu(v, low, high):
        return vector.leaky(v, low)

    def silu(v, low, high):
        return vector.silu(v)

    def hardswish(v, low, high):
        return vector.hardswish(v, three, six, sixth)

    act = inlined({"clip": clip, "leaky_relu": leaky_relu, "silu": silu, "hardswish": hardswish}[kind])

    def elementwise(begin, end, x, y, low, high):
        source, to = pointer(x), pointer(y)
        whole = end - (end - begin) % lanes
        for i in range(begin, whole, lanes):
            vector.store(to + i, act(vector.load(source + i, lanes), low, high))
        if whole < end:
            last = vector.load_first(source + whole, end - whole, lanes)
            vector.store_first(to + whole, act(last, low, high), end - whole)

    elementwise.__name__ = f"{dtype}_{kind}_{isa}"
    return Kernel(elementwise)


# Decisions --------------------------------------------------------------------------------------------------------------


def supports(problem: Problem) -> str | None:
    """Real numbers of the types that vectors have."""
    dtype = problem.dtype
    if dtype.kind in "iu" or dtype in (np.float32, np.float64):
        return None
    return f"its vectors are integers, float32 or float64, not {dtype}"


def cost(problem: Problem, machine: Machine) -> float:
    """Cycles a vector, or the bytes at memory speed."""
    geometry, dtype = problem.geometry, problem.dtype
    vectors = geometry.flops / machine.lanes(dtype)
    return 2e-6 + max(vectors * CYCLES[geometry.activation.kind] / 3e9, geometry.bytes(dtype.itemsize) / machine.bandwidth)


@lru_cache(maxsize=256)
def launch(geometry: ElementwiseGeometry, dtype: np.dtype[Any], machine: Machine) -> tuple[Any, ...]:
    """(kernel, items, work, the two numbers of the activation)."""
    kind, items = geometry.activation.kind, prod(geometry.shape)
    found = kernel(kind, machine.lanes(dtype), element(dtype), machine.isa)
    _, low, high = codes(geometry.activation, dtype)
    return found, items, items * CYCLES[kind] // 2, low, high


def run(operands: Operands, packed: None, problem: Problem, out: Array) -> None:
    """Every element; x and out may be the same array."""
    x, geometry = operands["x"], problem.geometry
    found, items, work, low, high = launch(geometry, x.dtype, host())
    found(items, work, x.ravel(), out.ravel(), low, high)
