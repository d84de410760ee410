"""Gradients of the activations of exponentials, on vectors: dx[i] = dy[i] * slope(value[i]), of the value before them."""

from functools import lru_cache
from typing import Any

from fastconv.kernels.jit import Kernel, element, inlined
from fastconv.kernels.memory import aligned
from fastconv.kernels.simd import vector
from fastconv.machine import host
from fastconv.problem.convolutions import Array

pointer = vector.pointer
CYCLES = {"silu": 20, "gelu": 35}  # about, of a vector in the cache


@lru_cache(maxsize=4)
def slope(kind: str) -> Any:
    """The compiled derivative of a vector."""

    def of_silu(v):
        return vector.silu_slope(v)

    def of_gelu(v):
        return vector.gelu_slope(v)

    return inlined(of_silu if kind == "silu" else of_gelu)


@lru_cache(maxsize=16)
def gradient_kernel(kind: str, lanes: int, dtype: str, isa: str) -> Kernel:
    """The compiled loop over elements: f32_silu_gradient_avx512."""
    slope_of = slope(kind)

    def gradient(begin, end, dy, value, dx):
        """dx[i] = dy[i] * slope(value[i])"""
        source, at, to = pointer(dy), pointer(value), pointer(dx)
        whole = end - (end - begin) % lanes
        for i in range(begin, whole, lanes):
            vector.store(to + i, vector.load(source + i, lanes) * slope_of(vector.load(at + i, lanes)))
        if whole < end:
            rest = end - whole
            factors = slope_of(vector.load_first(at + whole, rest, lanes))
            vector.store_first(to + whole, vector.load_first(source + whole, rest, lanes) * factors, rest)

    gradient.__name__ = f"{dtype}_{kind}_gradient_{isa}"
    return Kernel(gradient)


def activation_gradient(dy: Array, value: Array, kind: str) -> Array:
    """The gradient before an activation; arrays are C-contiguous, both float32 or both float64."""
    machine, dtype = host(), dy.dtype
    dx = aligned(dy.size, dtype)
    made = gradient_kernel(kind, machine.lanes(dtype), element(dtype), machine.isa)
    made(dy.size, CYCLES[kind] * dy.size // 8, dy.reshape(-1), value.reshape(-1), dx)
    return dx.reshape(dy.shape)
