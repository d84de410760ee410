"""Sizes of pools: output shape, the window of every output, what an average divides by."""

from dataclasses import dataclass, replace
from math import prod
from typing import NamedTuple

import numpy as np

from fastconv.problem.borders import Border
from fastconv.problem.convolutions import Array, Hashed, Pairs, Size, SpatialGeometry, cached_property, window_extent


class Windows(NamedTuple):
    """The windows of a pool along one axis; each array has one entry per output.

    Attributes
    ----------
    start, stop : array of int64
        The window's taps inside the input are range(start, stop, dilation).
    counted : array of int64
        Taps that an average divides by.
    """

    start: Array
    stop: Array
    counted: Array


@dataclass(frozen=True)
class PoolGeometry(SpatialGeometry):
    """Everything about the sizes of one pool. An adaptive pool has `adaptive` true and its kernel is its output size.

    Attributes
    ----------
    kind : str
        "max", "min", "avg" or "lp".
    in_size, kernel, stride, dilation : tuple of int
        One entry per spatial axis.
    padding : tuple of (before, after)
        Cells of padding per axis.
    divisor_override : int or None
        What an average divides by, in place of the count of taps.
    norm_type : float
        The p of an Lp pool.
    border : Border or None
        What windows see in padding; None where padding is no part of a window: it never wins and adds nothing.
    """

    kind: str
    batch: int
    channels: int
    in_size: Size
    kernel: Size
    stride: Size
    padding: Pairs
    dilation: Size
    ceil_mode: bool = False
    adaptive: bool = False
    return_indices: bool = False
    count_include_pad: bool = True
    divisor_override: int | None = None
    norm_type: float = 2.0
    channels_last: bool = False
    border: Border | None = None

    __hash__ = Hashed.__hash__

    @property
    def operation(self) -> str:
        return f"{'adaptive_' if self.adaptive else ''}{self.kind}_pool"

    @cached_property
    def window(self) -> Size:
        """Cells from the first tap to the last, per axis."""
        return tuple(map(window_extent, self.kernel, self.dilation))

    @cached_property
    def out_size(self) -> Size:
        if self.adaptive:
            return self.kernel
        return tuple(map(self._outputs, range(self.rank)))

    @cached_property
    def reach(self) -> Pairs:
        """Cells that windows reach before and after the input, per axis."""
        return tuple(
            (before, max(0, (outputs - 1) * stride + extent - before - size))
            for outputs, stride, extent, (before, _), size in zip(
                self.out_size, self.stride, self.window, self.padding, self.in_size, strict=True
            )
        )

    @cached_property
    def without_border(self) -> "PoolGeometry":
        """The same pool of an input that holds the cells of the border: as many as windows reach."""
        size = tuple(cells + sum(pair) for cells, pair in zip(self.in_size, self.reach, strict=True))
        none = ((0, 0),) * self.rank
        return replace(self, in_size=size, padding=none, ceil_mode=False, count_include_pad=True, border=None)

    def _outputs(self, axis: int) -> int:
        size, stride, (before, after) = self.in_size[axis], self.stride[axis], self.padding[axis]
        room = size + before + after - self.window[axis]
        if not self.ceil_mode:
            return room // stride + 1
        outputs = -(-room // stride) + 1
        return outputs - 1 if (outputs - 1) * stride >= size + before else outputs

    @cached_property
    def x_shape(self) -> Size:
        return self.shape(self.channels, self.in_size)

    @cached_property
    def out_shape(self) -> Size:
        return self.shape(self.channels, self.out_size)

    @cached_property
    def windows(self) -> tuple[Windows, ...]:
        """The windows of each axis, clipped to the input."""
        return tuple(map(self._adaptive_windows if self.adaptive else self._strided_windows, range(self.rank)))

    def _adaptive_windows(self, axis: int) -> Windows:
        size, outputs = self.in_size[axis], self.out_size[axis]
        o = np.arange(outputs, dtype=np.int64)
        start, stop = o * size // max(1, outputs), -(-(o + 1) * size // max(1, outputs))
        return Windows(start, stop, stop - start)

    def _strided_windows(self, axis: int) -> Windows:
        size, dilation, (before, after) = self.in_size[axis], self.dilation[axis], self.padding[axis]
        first = np.arange(self.out_size[axis], dtype=np.int64) * self.stride[axis] - before
        end = first + self.window[axis]
        start = np.where(first < 0, first + -(first // dilation) * dilation, first)
        stop = np.maximum(np.minimum(end, size), start)
        inside = -((start - stop) // dilation)
        padded = -((first - np.minimum(end, size + after)) // dilation)
        return Windows(start, stop, padded if self.count_include_pad else inside)

    @cached_property
    def taps(self) -> int:
        """Taps of the largest window."""
        if self.adaptive:
            return prod(int((axis.stop - axis.start).max(initial=0)) for axis in self.windows)
        return prod(self.kernel)

    @cached_property
    def flops(self) -> int:
        """Comparisons or additions of the direct form, one per tap and output."""
        return prod(self.out_shape) * self.taps

    def bytes(self, itemsize: int) -> int:
        """The least a kernel has to move: input once, output once (and 8-byte indices where asked for)."""
        return itemsize * prod(self.x_shape) + (itemsize + 8 * self.return_indices) * prod(self.out_shape)

    def divisors(self) -> Array:
        """What each output of an average is divided by, shaped like one output plane."""
        counts = np.ones((), np.int64)
        for axis in self.windows:
            counts = np.multiply.outer(counts, axis.counted)
        return counts if self.divisor_override is None else np.full_like(counts, self.divisor_override)

    @cached_property
    def empty_window(self) -> int | None:
        """The first axis on which some window holds no cell of the input, or None."""
        for axis, (start, stop, _) in enumerate(self.windows):
            if (start >= stop).any():
                return axis
        return None


@dataclass(frozen=True)
class UnpoolGeometry(SpatialGeometry):
    """Sizes of a max_unpool: values of a small map go to the cells of a larger one that their indices name."""

    batch: int
    channels: int
    in_size: Size
    out_size: Size
    channels_last: bool = False
    operation = "max_unpool"

    @cached_property
    def x_shape(self) -> Size:
        return self.shape(self.channels, self.in_size)

    @cached_property
    def out_shape(self) -> Size:
        return self.shape(self.channels, self.out_size)

    @property
    def flops(self) -> int:
        """Values placed."""
        return prod(self.x_shape)

    def bytes(self, itemsize: int) -> int:
        """Values and 8-byte indices read once, output written once."""
        return (itemsize + 8) * prod(self.x_shape) + itemsize * prod(self.out_shape)
