"""Sizes of pools: output shape, the window of every output, what an average divides by."""

from dataclasses import dataclass, replace
from math import prod
from typing import NamedTuple

import numpy as np

from fastconv.problem.borders import Border
from fastconv.problem.convolutions import Array, Hashed, Pairs, Size, SpatialGeometry, cached_property
from fastconv.problem.walks import window_extent


class Span(NamedTuple):
    """The window of an output on one axis: its cells are range(start, stop, dilation), and an average counts `count`."""

    start: int
    stop: int
    count: int  # type: ignore[assignment]


class Axis(NamedTuple):
    """The windows of one axis: tap t of output o lies at o * stride - before + t * dilation.

    Attributes
    ----------
    cells, outputs : int
        Of the input and of the result.
    taps, stride, dilation, before : int
        As in the formula. An adaptive axis has 0 taps: output o has the cells floor(o * cells / outputs) to
        ceil((o + 1) * cells / outputs), and `stride` is cells // outputs.
    rest : int
        Of an adaptive axis, cells % outputs.
    low, high : int
        The taps that an average counts lie at low .. high - 1.
    fixed : int
        What an average counts whatever lies in the window, or 0.
    """

    cells: int
    outputs: int
    taps: int
    stride: int
    dilation: int
    before: int
    rest: int
    low: int
    high: int
    fixed: int


WHOLE = Axis(cells=1, outputs=1, taps=1, stride=1, dilation=1, before=0, rest=0, low=0, high=1, fixed=0)


def span(axis: Axis, output: int) -> Span:
    """The window of an output, clipped to the input. Kernels compile it: it divides at the ends of an axis alone."""
    if axis.taps == 0:
        start = output * axis.stride + output * axis.rest // axis.outputs
        stop = (output + 1) * axis.stride - (output + 1) * -axis.rest // axis.outputs
        return Span(start, stop, axis.fixed if axis.fixed != 0 else stop - start)
    first = output * axis.stride - axis.before
    end = first + (axis.taps - 1) * axis.dilation + 1
    if first >= 0 and end <= axis.cells:
        return Span(first, end, axis.fixed if axis.fixed != 0 else axis.taps)
    start = first % axis.dilation if first < 0 else first
    missed = max(0, -((first - axis.low) // axis.dilation))
    counted = max(0, -((first - min(end, axis.high)) // axis.dilation) - missed)
    return Span(start, max(start, min(end, axis.cells)), axis.fixed if axis.fixed != 0 else counted)


def counts(axis: Axis, outputs: Array) -> Array:
    """What an average counts in the windows of some outputs."""
    if axis.fixed:
        return np.full_like(outputs, axis.fixed)
    if axis.taps == 0:
        start, stop = outputs * axis.rest // axis.outputs, -((outputs + 1) * -axis.rest // axis.outputs)
        return axis.stride + stop - start
    first = outputs * axis.stride - axis.before
    end = np.minimum(first + (axis.taps - 1) * axis.dilation + 1, axis.high)
    missed = np.maximum(0, -((first - axis.low) // axis.dilation))
    return np.maximum(0, -((first - end) // axis.dilation) - missed)


def taps_inside(axis: Axis) -> tuple[Array, Array]:
    """(first tap, last + 1) inside the input: of the outputs of an axis all that differ, and maybe some more often."""
    a = axis
    at = a.before - np.arange(a.taps + 1) * a.dilation  # where a tap comes into the input, and where it leaves it
    changes = np.concatenate([[0], -(-at // a.stride), -(-(at + a.cells) // a.stride)])
    first_cell = changes[(changes >= 0) & (changes < a.outputs)] * a.stride - a.before
    first = np.clip(-(first_cell // a.dilation), 0, a.taps)
    return first, np.clip(-((first_cell - a.cells) // a.dilation), first, a.taps)


def has_empty_window(axis: Axis) -> bool:
    """Whether some window holds no cell: the last one behind the input, or one before it, whose taps may step over it."""
    a = axis
    if a.taps == 0 or a.outputs == 0:
        return False
    if (a.outputs - 1) * a.stride - a.before >= a.cells or a.before > (a.taps - 1) * a.dilation:
        return True
    begun_before = min(a.outputs, -(-a.before // a.stride))
    if a.dilation <= a.cells or not begun_before:
        return False
    # Their first taps inside, (o * stride - before) % dilation, of which some lie behind the input.
    begin, stride = -a.before % a.dilation, a.stride % a.dilation
    behind = a.dilation - a.cells
    return floor_sum(begun_before, a.dilation, stride, begin + behind) > floor_sum(begun_before, a.dilation, stride, begin)


def floor_sum(count: int, divisor: int, step: int, begin: int) -> int:
    """The sum of (step * i + begin) // divisor over i < count, in as many rounds as Euclid's algorithm has."""
    total = 0
    while True:
        total += count * (count - 1) // 2 * (step // divisor) + count * (begin // divisor)
        step, begin = step % divisor, begin % divisor
        last = step * count + begin
        if last < divisor:
            return total
        count, divisor, step, begin = last // divisor, step, divisor, last % divisor


def largest_window(size: int, outputs: int) -> int:
    """Cells of the largest window of an adaptive axis: o * rest takes all multiples of gcd(rest, outputs) modulo outputs."""
    if not outputs:
        return 0
    whole, rest = divmod(size, outputs)
    return whole + (0 if not rest else 1 if outputs % rest == 0 else 2)


@dataclass(frozen=True)
class PoolGeometry(SpatialGeometry):
    """Everything about the sizes of one pool. An adaptive pool has `adaptive` true and its kernel is its output size.

    Attributes
    ----------
    kind : str
        "max", "min", "avg", "lp" or "rank".
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
    order : int
        Of the kind "rank", the place of the result among the cells of a window in order, from 0 on.
    footprint : bytes or None
        One byte for each cell of the kernel in row-major order, 0 for those left out; None where no cell is.
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
    order: int = 0
    footprint: bytes | None = None

    __hash__ = Hashed.__hash__

    @property
    def operation(self) -> str:
        return f"{'adaptive_' if self.adaptive else ''}{self.kind}_pool"

    @property
    def shaped_by(self) -> str:
        """The arguments that make an output large, as an error names them."""
        return "output_size" if self.adaptive else "padding and stride"

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
    def axes(self) -> tuple[Axis, ...]:
        """The windows of each axis."""
        return tuple(map(self._axis, range(self.rank)))

    def _axis(self, axis: int) -> Axis:
        size, outputs, fixed = self.in_size[axis], self.out_size[axis], 0
        if self.divisor_override is not None:
            fixed = self.divisor_override if axis == self.rank - 1 else 1
        if self.adaptive:
            whole, rest = divmod(size, max(1, outputs))
            return Axis(size, outputs, 0, whole, 1, 0, rest, 0, size, fixed)
        before, after = self.padding[axis]
        low, high = (-before, size + after) if self.count_include_pad else (0, size)
        taps, stride, dilation = self.kernel[axis], self.stride[axis], self.dilation[axis]
        return Axis(size, outputs, taps, stride, dilation, before, 0, low, high, fixed)

    @cached_property
    def taps(self) -> int:
        """Taps of the largest window."""
        if self.adaptive:
            return prod(map(largest_window, self.in_size, self.out_size))
        return prod(self.kernel) if self.footprint is None else sum(map(bool, self.footprint))

    @cached_property
    def members(self) -> Array:
        """The cells of the kernel that are not left out, by their numbers in row-major order."""
        if self.footprint is None:
            return np.arange(prod(self.kernel))
        return np.flatnonzero(np.frombuffer(self.footprint, np.uint8))

    @cached_property
    def flops(self) -> int:
        """Comparisons or additions of the direct form, one per tap and output."""
        return prod(self.out_shape) * self.taps

    def bytes(self, itemsize: int) -> int:
        """The least a kernel has to move: input once, output once (and 8-byte indices where asked for)."""
        return itemsize * prod(self.x_shape) + (itemsize + 8 * self.return_indices) * prod(self.out_shape)

    def divisors(self) -> Array:
        """What each output of an average is divided by, shaped like one output plane."""
        found = np.ones((), np.int64)
        for axis in self.axes:
            found = np.multiply.outer(found, counts(axis, np.arange(axis.outputs)))
        return found

    @cached_property
    def empty_window(self) -> int | None:
        """The first axis on which some window holds no cell of the input, or None."""
        return next((number for number, axis in enumerate(self.axes) if has_empty_window(axis)), None)

    @cached_property
    def has_empty_footprint(self) -> bool:
        """Whether some window holds no cell of the input that its footprint has."""
        if self.footprint is None or not prod(self.out_size):
            return False
        count = np.frombuffer(self.footprint, np.uint8).reshape(self.kernel) != 0
        for number, axis in enumerate(self.axes):
            first, stop = taps_inside(axis)
            sums = np.insert(np.cumsum(count, number), 0, 0, number)
            count = np.take(sums, stop, number) - np.take(sums, first, number)
        return bool((count == 0).any())


@dataclass(frozen=True)
class UnpoolGeometry(SpatialGeometry):
    """Sizes of a max_unpool: values of a small map go to the cells of a larger one that their indices name."""

    batch: int
    channels: int
    in_size: Size
    out_size: Size
    channels_last: bool = False
    operation = "max_unpool"
    shaped_by = "kernel_size, stride and output_size"

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
