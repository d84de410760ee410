"""Convolution of small maps as one product with the block Toeplitz matrix of the weights: "toeplitz" of the registry.

The product is a convolution of one tap on rows, by the kernels of direct convolution: an image is a row of its input, and what
it gives is an image of the result, in either layout. Products with the zeros of the matrix take a NaN to all of an image.
"""

from dataclasses import replace
from typing import Any

from fastconv.kernels.jit import Call, Launch, launch_calls
from fastconv.kernels.keeping import remembered
from fastconv.kernels.simd.arrays import matrices
from fastconv.kernels.simd.direct import choice as direct
from fastconv.machine import Machine
from fastconv.problem import toeplitz
from fastconv.problem.convolutions import Array
from fastconv.problem.problem import Operands, Problem


@remembered
def product_of(problem: Problem) -> Problem:
    """The product."""
    return replace(problem, geometry=toeplitz.as_rows(problem.geometry))


def supports(problem: Problem) -> str | None:
    """Maps of few cells, of what direct convolution serves."""
    return toeplitz.refusal(problem.geometry) or direct.supports(problem)


def cost(problem: Problem, machine: Machine) -> float:
    """Of the product."""
    return direct.cost(product_of(problem), machine)


def pack_cost(problem: Problem, machine: Machine) -> float:
    """Of the matrix, and of its packing."""
    return 2e-6 + 5e-10 * toeplitz.size(problem.geometry) + direct.pack_cost(product_of(problem), machine)


def growth(problem: Problem, machine: Machine) -> float:
    """Elements of the matrix for a weight."""
    return toeplitz.size(problem.geometry) / problem.geometry.weights


def converts(problem: Problem) -> frozenset[str]:
    """Arrays that the product converts as it reads or writes them."""
    return direct.converts(product_of(problem))


def kernel(problem: Problem, machine: Machine) -> str:
    """The name of the product's kernel."""
    return direct.kernel(product_of(problem), machine)


def pack(w: Array, bias: Array, problem: Problem) -> tuple[Launch, ...]:
    """The matrix, as the product's kernel takes it."""
    g = problem.geometry
    return direct.pack(matrices.matrix(w, g), toeplitz.biases(bias, g), product_of(problem))


def run(operands: Operands, packed: tuple[Launch, ...], problem: Problem, out: Array) -> None:
    """The product, on the same memory."""
    direct.run(operands, packed, product_of(problem), out)


def calls(operands: Operands, packed: tuple[Launch, ...], problem: Problem, out: Any) -> tuple[Call, ...]:
    """What `run` calls."""
    return launch_calls(operands, packed, product_of(problem), out)
