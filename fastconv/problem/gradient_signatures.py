"""The arguments of gradients, checked together: shapes and parameters in, a geometry out."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastconv.problem import arguments as check
from fastconv.problem import signatures
from fastconv.problem.convolutions import ConvGeometry, Size
from fastconv.problem.gradients import PoolGradient, ScatterGradient, WeightGradient


@contextmanager
def told_as(**names: str) -> Iterator[None]:
    """The checks of the operation itself, whose messages then have the names of the gradient's arguments."""
    try:
        yield
    except ValueError as error:
        message = str(error)
        for own, name in names.items():
            message = re.sub(rf"(?<![\w*]){own}(?!\w)", name, message)
        raise ValueError(message) from None


def full_size(name: str, value: Any, rank: int, single: bool) -> Size:
    """A shape with a batch axis, given with one or, as the gradient's own arrays, without."""
    size, alone = check.batched(name, check.shape(name, value), rank)
    if alone != single:
        raise ValueError(f"{name} must have a batch axis where grad_output has one, got {size[1:] if alone else size}")
    return size


def weight_gradient(x_shape: Size, weight_size: Any, dtype: np.dtype[Any], *, rank: int, **options: Any) -> WeightGradient:
    """Of a convolution of a batched shape by weights of a size."""
    size = check.shape("weight_size", weight_size)
    with told_as(x="input", w="weight_size"):
        return WeightGradient(signatures.convolution(x_shape, size, dtype, rank=rank, transposed=False, **options))


def convolution(input_size: Size, w_shape: Size, dtype: np.dtype[Any], *, rank: int, **options: Any) -> ConvGeometry:
    """Of a convolution of an input of a batched size."""
    with told_as(x="input_size", w="weight"):
        return signatures.convolution(input_size, w_shape, dtype, rank=rank, transposed=False, **options)


def scatter(dy_shape: Size, input_size: Size, *, rank: int, layout: Any = None) -> ScatterGradient:
    """Of a max or min pool of an input of a batched size, whose gradient has a batched shape."""
    last = check.channels_last(layout, rank)
    planes = [(shape[0], shape[-1] if last else shape[1]) for shape in (input_size, dy_shape)]
    if planes[0] != planes[1]:
        raise ValueError(f"input_size must have the batch and channels of grad_output, {planes[1]}, got {planes[0]}")
    in_size, pooled = (shape[1:-1] if last else shape[2:] for shape in (input_size, dy_shape))
    return ScatterGradient(*planes[0], in_size, pooled, last)


def pool(kind: str, dy_shape: Size, input_size: Size, dtype: np.dtype[Any], *, rank: int, **options: Any) -> PoolGradient:
    """Of an average or an Lp pool of an input of a batched size."""
    with told_as(x="input"):
        found = signatures.pool(input_size, kind=kind, rank=rank, dtype=dtype, **options)
    if found.out_shape != dy_shape:
        raise ValueError(f"grad_output must have the shape of the pool's result, {found.out_shape}, got {dy_shape}")
    return PoolGradient(found)
