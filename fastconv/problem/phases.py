"""Transposed convolutions as plain ones to stride times as many channels, whose outputs are then woven.

Where the stride divides the kernel, output o of a transposed convolution is

    y [k][o] = z [k][phase][q]                              for o + padding = q * stride + phase
    z [k][phase][q] = sum over c, j of x [c][q - j] * w [c][k][phase + j * stride]

z is a plain convolution of stride 1 by kernel / stride taps, and has the products that y has, neither more nor fewer. Of stride
1 there is one phase, which is y: a convolution by mirrored weights. Shi et al., Is the deconvolution layer the same as a
convolutional layer? (2016).
"""

from dataclasses import dataclass, replace
from math import prod

import numpy as np

from fastconv.problem.convolutions import Array, ConvGeometry, Hashed, Size, cached_property


@dataclass(frozen=True)
class Phases(Hashed):
    """A transposed convolution as a plain one.

    Attributes
    ----------
    of : ConvGeometry
        The transposed convolution.
    plain : ConvGeometry
        The convolution to the phases of every channel: k before phases channels first, phases before k channels last.
    shift : tuple of int
        Output o of `of` is that of a position and phase of `plain`: o + shift = position * stride + phase.
    """

    of: ConvGeometry
    plain: ConvGeometry
    shift: Size

    __hash__ = Hashed.__hash__

    @cached_property
    def are_woven(self) -> bool:
        """Whether the result is not that of `plain`."""
        return prod(self.of.stride) > 1

    def weights(self, w: Array) -> Array:
        """The weights of `plain`, of those of `of` in C order: a view whose axes are yet to be joined."""
        split, order, mirrored = self.parts
        found: Array = w.reshape(split).transpose(order)[mirrored]
        return found

    @cached_property
    def parts(self) -> tuple[Size, Size, tuple[slice, ...]]:
        """(the axes that weights are split into, their order in those of `plain`, and what mirrors taps there)."""
        g, taps = self.of, self.plain.kernel
        axes = tuple(range(g.rank))
        split = [size for pair in zip(taps, g.stride, strict=True) for size in pair]  # of each axis: (tap, phase)
        if g.channels_last:  # [g][c][j ph ...][k] to [g][ph ...][k][j ...][c]
            shape = (g.groups, g.in_per_group, *split, g.out_per_group)
            order = (0, *(3 + 2 * axis for axis in axes), 2 + 2 * g.rank, *(2 + 2 * axis for axis in axes), 1)
        else:  # [g][c][k][j ph ...] to [g][k][ph ...][c][j ...]
            shape = (g.groups, g.in_per_group, g.out_per_group, *split)
            order = (0, 2, *(4 + 2 * axis for axis in axes), 1, *(3 + 2 * axis for axis in axes))
        first = len(shape) - g.rank - g.channels_last
        mirrored = tuple(slice(None, None, -1 if first <= axis < first + g.rank else None) for axis in range(len(shape)))
        return shape, order, mirrored

    def bias(self, bias: Array) -> Array:
        """The bias of every phase."""
        if not self.are_woven:
            return bias
        count, by_group = prod(self.of.stride), bias.reshape(self.of.groups, self.of.out_per_group)
        if self.of.channels_last:
            return np.tile(by_group, (1, count)).reshape(-1)
        return np.repeat(by_group, count, 1).reshape(-1)


def mirrored(geometry: ConvGeometry) -> Phases | None:
    """A transposed convolution of stride 1 as a plain one, unless it leaves out more than its windows reach over."""
    g, pads = geometry, []
    for taps, step, cells, (before, _), outputs in zip(g.kernel, g.dilation, g.in_size, g.padding, g.out_size, strict=True):
        reach = step * (taps - 1)
        pads.append((reach - before, outputs + before - cells))
    if any(pad < 0 for pair in pads for pad in pair):
        return None
    plain = replace(g, padding=tuple(pads), output_padding=(0,) * g.rank, transposed=False)
    return Phases(g, plain, (0,) * g.rank)


def phases(geometry: ConvGeometry) -> Phases | None:
    """A transposed convolution as a plain one, where its stride is 1, or divides the kernel and no tap is dilated."""
    g = geometry
    if not g.transposed or 0 in g.out_shape:
        return None
    if prod(g.stride) == 1:
        return mirrored(g)
    divides = all(taps % step == 0 for taps, step in zip(g.kernel, g.stride, strict=True))
    if not divides or any(step > 1 for step in g.dilation):
        return None
    pads, shift = [], []
    for taps, stride, cells, (before, _), outputs in zip(
        (a // b for a, b in zip(g.kernel, g.stride, strict=True)), g.stride, g.in_size, g.padding, g.out_size, strict=True
    ):
        begin, end = before // stride, (before + outputs - 1) // stride  # the positions that are needed
        room = max(0, taps - 1 - begin)
        pads.append((room, max(0, end - cells + 1)))
        shift.append(before - (taps - 1 - room) * stride)
    plain = replace(
        g,
        out_channels=g.out_channels * prod(g.stride),
        kernel=tuple(taps // step for taps, step in zip(g.kernel, g.stride, strict=True)),
        stride=(1,) * g.rank,
        padding=tuple(pads),
        output_padding=(0,) * g.rank,
        transposed=False,
    )
    return Phases(g, plain, tuple(shift))
