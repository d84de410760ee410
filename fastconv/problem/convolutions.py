"""Sizes of convolutions: every shape, offset and count is computed here, for pools in pool_geometry.py.

Kernels call the sizes by the letters of the field. Public names use the words.

    ====== ===================================== =========================
    letter meaning                               public word
    ====== ===================================== =========================
    n      image in the batch                    batch
    c      input channel                         in_channels, channels
    k      output channel                        out_channels
    d h w  depth, height, width of input, output size
    t r s  depth, height, width of the kernel    kernel, kernel_size
    ====== ===================================== =========================

A geometry is frozen and holds plain ints, so that it can be hashed, compared and handed to kernels as it is.
"""

from dataclasses import dataclass
from math import gcd, prod
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from fastconv.problem.borders import ZEROS, Border, source_cell
from fastconv.problem.walks import Walk, window_extent

if TYPE_CHECKING:
    from functools import cached_property as cached_property
else:

    class cached_property:
        """functools.cached_property without the lock that it has before Python 3.12: a forked child may find that held."""

        def __init__(self, function):
            self.function, self.__doc__ = function, function.__doc__

        def __set_name__(self, owner, name):
            self.name = name

        def __get__(self, instance, owner=None):
            if instance is None:
                return self
            value = instance.__dict__[self.name] = self.function(instance)
            return value


Size = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]
Array = npt.NDArray[Any]

LAYOUTS = {1: ("NCL", "NLC"), 2: ("NCHW", "NHWC"), 3: ("NCDHW", "NDHWC")}
SPATIAL_AXES = 3  # every geometry can be lifted to this many axes


class Activation(NamedTuple):
    """What is applied to an output value as it is written.

    Attributes
    ----------
    kind : str
        "none", "clip" (relu and relu6 are clips), "leaky_relu", "silu", "hardswish" or "gelu".
    low, high : float
        The bounds of a clip; `low` is the slope of a leaky_relu.
    """

    kind: str = "none"
    low: float = 0.0
    high: float = 0.0


IDENTITY = Activation()


def shape_turned(shape: Size, rank: int, channels_last: bool) -> Size:
    """The shape that a map, with or without a batch axis, has in the other layout."""
    first, maps = shape[: len(shape) - 1 - rank], shape[len(shape) - 1 - rank :]
    return (*first, maps[-1], *maps[:-1]) if channels_last else (*first, *maps[1:], maps[0])


def same_padding(size: int, kernel: int, stride: int, dilation: int, lower: bool) -> tuple[int, int]:
    """The padding whose output has ceil(size / stride) cells; the odd cell at the end, or at the start if `lower`."""
    outputs = -(-size // stride)
    total = max(0, (outputs - 1) * stride + window_extent(kernel, dilation) - size)
    small, large = total // 2, total - total // 2
    return (large, small) if lower else (small, large)


def same_transposed(kernel: int, stride: int, dilation: int, lower: bool) -> tuple[tuple[int, int], int]:
    """(padding, output_padding) of a transposed convolution whose output has size * stride cells."""
    surplus = window_extent(kernel, dilation) - stride
    total = max(0, surplus)
    small, large = total // 2, total - total // 2
    return ((large, small) if lower else (small, large)), max(0, -surplus)


class Hashed:
    """A frozen dataclass that works out its hash once: a geometry is looked up on every call."""

    @cached_property
    def _hash(self) -> int:
        values: Any = self
        return hash(tuple([getattr(values, name) for name in values.__dataclass_fields__]))

    def __hash__(self) -> int:
        return self._hash

    def changed(self, **fields: Any) -> Self:
        """A copy with other values of some fields, which dataclasses.replace takes four times as long to make."""
        known, made = self.__dict__, object.__new__(type(self))
        made.__dict__.update({name: known[name] for name in self.__dataclass_fields__}, **fields)  # type: ignore[attr-defined]
        return made


class SpatialGeometry(Hashed):
    """What the geometries of batched, channelled maps share: the order of their axes."""

    batch: int
    in_size: Size
    channels_last: bool

    @property
    def rank(self) -> int:
        return len(self.in_size)

    @property
    def layout(self) -> str:
        return LAYOUTS[self.rank][self.channels_last]

    def shape(self, channels: int, size: Size) -> Size:
        """(batch, channels, *size) in the order of this geometry's layout."""
        return (self.batch, *size, channels) if self.channels_last else (self.batch, channels, *size)

    def channels_first(self, array: Array) -> Array:
        """A view of x, w or the output as (n, c, ...), whatever the layout."""
        return np.moveaxis(array, -1, 1) if self.channels_last else array


@dataclass(frozen=True)
class ConvGeometry(SpatialGeometry):
    """Everything about the sizes of one convolution, or transposed convolution.

    Attributes
    ----------
    in_size, kernel, stride, dilation : tuple of int
        One entry per spatial axis.
    padding : tuple of (before, after)
        Cells of padding per axis; of a transposed convolution, cells cut off the full output.
    output_padding : tuple of int
        Cells that a transposed convolution adds after the end; zeros for a convolution.
    border : Border
        What the cells of padding hold.
    channels_last : bool
        Whether arrays are n, ..., c and weights k, ..., c, instead of n, c, ... and k, c, ...
    """

    batch: int
    in_channels: int
    out_channels: int
    in_size: Size
    kernel: Size
    stride: Size
    padding: Pairs
    dilation: Size
    groups: int = 1
    output_padding: Size = ()
    border: Border = ZEROS
    channels_last: bool = False
    transposed: bool = False
    activation: Activation = IDENTITY

    __hash__ = Hashed.__hash__

    @property
    def operation(self) -> str:
        return "conv_transpose" if self.transposed else "conv"

    @property
    def shaped_by(self) -> str:
        """The arguments that make an output large, as an error names them."""
        return "stride, dilation, padding and output_padding" if self.transposed else "padding and stride"

    @property
    def in_per_group(self) -> int:
        return self.in_channels // self.groups

    @property
    def out_per_group(self) -> int:
        return self.out_channels // self.groups

    @cached_property
    def window(self) -> Size:
        """Cells from the first tap to the last, per axis."""
        return tuple(map(window_extent, self.kernel, self.dilation))

    @cached_property
    def out_size(self) -> Size:
        if self.transposed:
            return tuple(
                (size - 1) * stride - before - after + window + extra if size else 0
                for size, stride, (before, after), window, extra in zip(
                    self.in_size, self.stride, self.padding, self.window, self.output_padding, strict=True
                )
            )
        return tuple(
            (size + before + after - window) // stride + 1
            for size, (before, after), window, stride in zip(self.in_size, self.padding, self.window, self.stride, strict=True)
        )

    @cached_property
    def longest(self) -> int:
        """Cells of the longest window, padding, or step from an output to the next."""
        steps = (stride for stride, cells in zip(self.stride, self.out_size, strict=True) if cells > 1)
        return max(*self.window, *map(max, self.padding), *steps)

    @cached_property
    def x_shape(self) -> Size:
        return self.shape(self.in_channels, self.in_size)

    @cached_property
    def out_shape(self) -> Size:
        return self.shape(self.out_channels, self.out_size)

    @cached_property
    def w_shape(self) -> Size:
        first, second = (self.in_channels, self.out_per_group) if self.transposed else (self.out_channels, self.in_per_group)
        return (first, *self.kernel, second) if self.channels_last else (first, second, *self.kernel)

    @cached_property
    def taps(self) -> int:
        return prod(self.kernel)

    @cached_property
    def reduction(self) -> int:
        """Products that at most are summed into one output: the L of the error bound."""
        return self.in_per_group * self.taps

    @cached_property
    def is_pointwise(self) -> bool:
        """Whether each window is one cell, and every cell is one window."""
        return (
            self.taps == 1
            and all(step == 1 for step in self.stride)
            and not any(any(pair) for pair in self.padding)
            and not self.transposed
        )

    @cached_property
    def weights(self) -> int:
        """Elements of the weights."""
        return self.in_channels * self.out_per_group * self.taps

    @cached_property
    def flops(self) -> int:
        """Multiplications and additions of the direct sum, taps in padding counted."""
        cells = self.in_size if self.transposed else self.out_size
        return 2 * self.batch * prod(cells) * self.taps * self.in_channels * self.out_per_group

    def bytes(self, itemsize: int) -> int:
        """The least a kernel has to move: input and weights once, output once."""
        return itemsize * (prod(self.x_shape) + prod(self.w_shape) + prod(self.out_shape))

    @cached_property
    def mode(self) -> int:
        """The border's mode as kernels take it."""
        return self.border.code

    def cell(self, position: Size, tap: Size) -> Size | None:
        """The input cell that `tap` of the output at `position` reads, or None where the border's value stands."""
        found = []
        axes = zip(position, tap, self.stride, self.dilation, self.padding, self.in_size, strict=True)
        for o, t, stride, dilation, (before, _), size in axes:
            if self.transposed:
                cell, rest = divmod(o + before - t * dilation, stride)
                if rest or not 0 <= cell < size:
                    return None
            else:
                cell = source_cell(o * stride + t * dilation - before, size, self.mode)
                if cell < 0:
                    return None
            found.append(cell)
        return tuple(found)

    def span(self, axis: int, tap: int) -> tuple[int, int, int]:
        """(first, last + 1, start): the outputs of a convolution whose `tap` lies in the input, and the first's cell.

        For a transposed convolution the inputs whose `tap` lies in the output, and the first one's output.
        """
        stride, before = self.stride[axis], self.padding[axis][0]
        offset = tap * self.dilation[axis] - before
        near, far = (self.out_size, self.in_size) if not self.transposed else (self.in_size, self.out_size)
        first = max(0, -(offset // stride))
        last = min(near[axis], -((offset - far[axis]) // stride))
        return first, max(first, last), first * stride + offset

    def sources(self, axis: int, tap: int, first: int, last: int) -> Array:
        """The input cells that `tap` reads for the outputs first .. last - 1, -1 for none; convolutions only."""
        offset = tap * self.dilation[axis] - self.padding[axis][0]
        size, positions = self.in_size[axis], np.arange(first, last) * self.stride[axis] + offset
        inside = (positions >= 0) & (positions < size)
        if self.border.mode == "replicate":
            return np.clip(positions, 0, size - 1)
        if self.border.mode == "circular":
            return positions % size
        if self.border.mode in ("reflect", "symmetric"):
            reflects = self.border.mode == "reflect"
            period = max(1, 2 * size - 2) if reflects else 2 * size
            cells = positions % period
            return np.where(cells < size, cells, period - cells - (not reflects))
        return np.where(inside, positions, -1)

    def lifted(self) -> "ConvGeometry":
        """The same convolution over three axes: axes of one cell come first."""
        return self._lifted if self.rank < SPATIAL_AXES else self

    @cached_property
    def _lifted(self) -> "ConvGeometry":
        missing = SPATIAL_AXES - self.rank
        ones = (1,) * missing
        return self.changed(
            in_size=ones + self.in_size,
            kernel=ones + self.kernel,
            stride=ones + self.stride,
            padding=((0, 0),) * missing + self.padding,
            dilation=ones + self.dilation,
            output_padding=(0,) * missing + self.output_padding,
        )

    def as_row(self) -> "ConvGeometry":
        """The same convolution over planes of one row: of a line, or of windows of one cell."""
        return self._row

    @cached_property
    def _row(self) -> "ConvGeometry":
        return self.changed(
            in_size=(1, prod(self.in_size)),
            kernel=(1, self.kernel[-1]),
            stride=(1, self.stride[-1]),
            padding=((0, 0), self.padding[-1]),
            dilation=(1, self.dilation[-1]),
            output_padding=(0, *self.output_padding[-1:]),
        )

    def walks(self, axis: int) -> tuple[Walk, ...]:
        """The plain convolutions that this axis is made of: itself, or one per phase of a transposed convolution that has taps.

        The outputs of a transposed convolution that are `stride` apart meet the same taps, so that each phase is a convolution
        of stride 1 by every stride / gcd(stride, dilation)-th tap, in reverse. Of more phases than taps, most have none.
        """
        cells, taps, stride = self.in_size[axis], self.kernel[axis], self.stride[axis]
        dilation, before, outputs = self.dilation[axis], self.padding[axis][0], self.out_size[axis]
        if not self.transposed:
            return (Walk(outputs, taps, cells, -before, stride, dilation, 0, 1, 0, 1),)
        common = gcd(stride, dilation)
        tap_step, spread = stride // common, dilation // common
        walks = []
        for first in range(min(tap_step, taps)):
            phase = (first * dilation - before) % stride
            if phase < outputs:
                number, more = len(range(phase, outputs, stride)), len(range(first, taps, tap_step)) - 1
                origin = (phase + before - first * dilation) // stride - more * spread
                last = first + more * tap_step
                walks.append(Walk(number, more + 1, cells, origin, 1, spread, phase, stride, last, -tap_step))
        return tuple(walks)

    def most_walks(self, axis: int) -> int:
        """How many plain convolutions this axis is made of, or more."""
        stride = self.stride[axis]
        return min(stride // gcd(stride, self.dilation[axis]), self.kernel[axis]) if self.transposed else 1

    def bare_walk(self, axis: int) -> Walk:
        """All outputs of this axis, and no tap."""
        return Walk(self.out_size[axis], 0, self.in_size[axis], 0, 1, 1, 0, 1, 0, 1)
