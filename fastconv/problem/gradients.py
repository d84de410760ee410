"""Sizes of gradients: of a convolution by its weights, and of pools by their input.

A gradient holds the geometry of the operation that it belongs to; `dy` is the gradient of that operation's result. The gradient
of a convolution by its input is a transposed convolution, and has no geometry of its own.
"""

from dataclasses import dataclass, replace
from math import prod

from fastconv.problem.borders import ZEROS
from fastconv.problem.convolutions import (
    IDENTITY,
    SPATIAL_AXES,
    Array,
    ConvGeometry,
    Hashed,
    Size,
    SpatialGeometry,
    cached_property,
)
from fastconv.problem.pools import WHOLE, Axis, PoolGeometry


@dataclass(frozen=True)
class WeightGradient(Hashed):
    """Sizes of dw[k, c, t] = sum over n, o of x[n, c, o * stride + t * dilation - padding] * dy[n, k, o].

    Attributes
    ----------
    forward : ConvGeometry
        The convolution, not transposed, without an activation; its border is what the cells of padding hold in x.
    """

    forward: ConvGeometry
    operation = "conv_weight"
    shaped_by = "weight_size"

    __hash__ = Hashed.__hash__

    @property
    def rank(self) -> int:
        return self.forward.rank

    @property
    def layout(self) -> str:
        return self.forward.layout

    @property
    def channels_last(self) -> bool:
        return self.forward.channels_last

    def channels_first(self, array: Array) -> Array:
        """A view of x, dy or dw as (n, c, ...), whatever the layout."""
        return self.forward.channels_first(array)

    @property
    def x_shape(self) -> Size:
        return self.forward.x_shape

    @property
    def dy_shape(self) -> Size:
        return self.forward.out_shape

    @property
    def out_shape(self) -> Size:
        """Of dw: the shape of the weights."""
        return self.forward.w_shape

    @cached_property
    def positions(self) -> int:
        """Positions of one image that are summed over."""
        return prod(self.forward.out_size)

    @cached_property
    def reduction(self) -> int:
        """Products that at most are summed into one weight's gradient: the L of the error bound."""
        return self.forward.batch * self.positions

    @property
    def longest(self) -> int:
        """Cells of the longest window, padding, or step from an output to the next."""
        return self.forward.longest

    @property
    def flops(self) -> int:
        """Multiplications and additions of the direct sum, taps in padding counted."""
        return self.forward.flops

    def bytes(self, itemsize: int) -> int:
        """The least a kernel has to move: x and dy once, dw once."""
        return self.forward.bytes(itemsize)


@dataclass(frozen=True)
class ScatterGradient(SpatialGeometry, Hashed):
    """Sizes of the gradient of a max or min pool: dx[n, c, index] is the sum of all dy whose index that is.

    Attributes
    ----------
    in_size : tuple of int
        Of the pool's input, and so of the result.
    pooled_size : tuple of int
        Of the pool's output, and so of dy and of the indices.
    windows : tuple of Axis or None
        Those that hold each index, of three axes; None where an index may be any cell's.
    """

    batch: int
    channels: int
    in_size: Size
    pooled_size: Size
    channels_last: bool = False
    windows: tuple[Axis, ...] | None = None
    operation = "max_pool_input"
    shaped_by = "input_size"

    __hash__ = Hashed.__hash__

    @cached_property
    def x_shape(self) -> Size:
        return self.shape(self.channels, self.in_size)

    @cached_property
    def dy_shape(self) -> Size:
        return self.shape(self.channels, self.pooled_size)

    @property
    def indices_shape(self) -> Size:
        return self.dy_shape

    @property
    def out_shape(self) -> Size:
        return self.x_shape

    @property
    def out_size(self) -> Size:
        """Of one plane of the result."""
        return self.in_size

    @property
    def flops(self) -> int:
        """Values placed, and cells cleared."""
        return prod(self.dy_shape) + prod(self.x_shape)

    def bytes(self, itemsize: int) -> int:
        """Values and 8-byte indices read once, the result written once."""
        return (itemsize + 8) * prod(self.dy_shape) + itemsize * prod(self.x_shape)


@dataclass(frozen=True)
class PoolGradient(Hashed):
    """Sizes of the gradient of an average or an Lp pool by its input.

    Attributes
    ----------
    forward : PoolGeometry
        The pool; padding is no part of its windows, or holds zeros.
    """

    forward: PoolGeometry
    shaped_by = "input_size"

    __hash__ = Hashed.__hash__

    @property
    def operation(self) -> str:
        return f"{self.forward.kind}_pool_input"

    @property
    def rank(self) -> int:
        return self.forward.rank

    @property
    def layout(self) -> str:
        return self.forward.layout

    @property
    def channels_last(self) -> bool:
        return self.forward.channels_last

    @property
    def x_shape(self) -> Size:
        return self.forward.x_shape

    @property
    def dy_shape(self) -> Size:
        return self.forward.out_shape

    @property
    def out_shape(self) -> Size:
        return self.forward.x_shape

    @cached_property
    def lifted_axes(self) -> tuple[Axis, ...]:
        """The windows of three axes."""
        return lifted_axes(self.forward)

    @cached_property
    def averaged(self) -> PoolGeometry | None:
        """The average pool of dy that is this gradient: of windows one cell apart that all divide by the same; else None."""
        g = self.forward
        counted = g.count_include_pad or not any(map(any, g.padding))
        if g.kind != "avg" or g.adaptive or g.border is not None or any(step > 1 for step in g.stride) or not prod(g.out_shape):
            return None
        before = [extent - 1 - pair[0] for extent, pair in zip(g.window, g.padding, strict=True)]
        sizes = zip(g.in_size, g.out_size, g.window, before, strict=True)
        after = [cells - outputs + extent - 1 - first for cells, outputs, extent, first in sizes]
        if min(*before, *after) < 0 or not (counted or g.divisor_override):
            return None
        return replace(
            g,
            in_size=g.out_size,
            padding=tuple(zip(before, after, strict=True)),
            ceil_mode=False,
            count_include_pad=True,
            divisor_override=g.divisor_override or prod(g.kernel),
        )

    @cached_property
    def overlaps(self) -> int:
        """Windows that at most hold one cell."""
        g = self.forward
        if g.adaptive:
            return 2**g.rank * max(1, prod(-(-out // max(1, size)) for out, size in zip(g.out_size, g.in_size, strict=True)))
        return prod(min(taps, -(-extent // step)) for taps, extent, step in zip(g.kernel, g.window, g.stride, strict=True))

    @property
    def flops(self) -> int:
        """Additions of the direct form, one per tap and output."""
        return self.forward.flops

    def bytes(self, itemsize: int) -> int:
        """The gradients once each; x and y too where the value of a cell decides."""
        return itemsize * (prod(self.dy_shape) + prod(self.x_shape)) * (2 if self.forward.kind == "lp" else 1)


def lifted_axes(pool: PoolGeometry) -> tuple[Axis, ...]:
    """The windows of three axes: those of one cell come first."""
    return (WHOLE,) * (SPATIAL_AXES - pool.rank) + pool.axes


def input_gradient(forward: ConvGeometry) -> ConvGeometry:
    """The convolution of dy that is the gradient of a convolution, or a transposed one, by its input.

    Of zeros around the input a transposed convolution cuts the padding off; with another border its result has that border's
    cells still around it. Cells that no window reached are its output_padding.
    """
    if forward.transposed:
        return adjoint(forward)
    g = forward
    axes = zip(g.in_size, g.padding, g.window, g.stride, strict=True)
    return replace(
        g,
        in_channels=g.out_channels,
        out_channels=g.in_channels,
        in_size=g.out_size,
        padding=((0, 0),) * g.rank if has_copies(g) else g.padding,
        output_padding=tuple((size + sum(pair) - window) % step for size, pair, window, step in axes),
        border=ZEROS,
        transposed=True,
        activation=IDENTITY,
    )


def mirrored(backward: ConvGeometry) -> ConvGeometry | None:
    """A transposed convolution of stride 1 as a plain one, by kernels in reverse order; None where it cuts off more."""
    g = backward
    pads = tuple(
        (extent - 1 - before, extent - 1 - after + more)
        for extent, (before, after), more in zip(g.window, g.padding, g.output_padding, strict=True)
    )
    if not g.transposed or any(step > 1 for step in g.stride) or min(map(min, pads)) < 0:
        return None
    return replace(g, padding=pads, output_padding=(0,) * g.rank, transposed=False)


def has_copies(forward: ConvGeometry) -> bool:
    """Whether cells of padding are copies of cells of the input, whose gradient they share."""
    return forward.border.mode not in ("zeros", "constant") and any(map(any, forward.padding))


def adjoint(forward: ConvGeometry) -> ConvGeometry:
    """The plain convolution whose adjoint a transposed one is; it reads the first `in_size` cells of dy.

    An output_padding of a stride and more leaves cells at the end that the convolution must not see as windows of their own: it
    loses padding, and then cells, at the end.
    """
    g = forward
    after = [pair[1] - more for pair, more in zip(g.padding, g.output_padding, strict=True)]
    return replace(
        g,
        in_channels=g.out_channels,
        out_channels=g.in_channels,
        in_size=tuple(size + min(0, end) for size, end in zip(g.out_size, after, strict=True)),
        padding=tuple((pair[0], max(0, end)) for pair, end in zip(g.padding, after, strict=True)),
        output_padding=(0,) * g.rank,
        border=ZEROS,
        transposed=False,
        activation=IDENTITY,
    )


def weight_gradient(forward: ConvGeometry) -> WeightGradient:
    """The gradient by the weights: of a transposed convolution that of its adjoint, where x and dy change places."""
    return WeightGradient(adjoint(forward) if forward.transposed else replace(forward, activation=IDENTITY))
