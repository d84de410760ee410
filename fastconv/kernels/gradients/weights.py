"""Weights of a transposed convolution as those of the plain one that it is: channels change places, taps their order."""

from math import prod

import numpy as np

from fastconv.kernels.jit import Kernel
from fastconv.problem.convolutions import Array, ConvGeometry

SECONDS = 1.2e-9  # an element


@Kernel
def mirror_first(begin, end, w, out, k_count, c_count, taps):
    """out[g, c, k, t] = w[g, k, c, taps - 1 - t]; items are g, c"""
    for item in range(begin, end):
        group, c = divmod(item, c_count)
        for k in range(k_count):
            source = ((group * k_count + k) * c_count + c) * taps
            to = (item * k_count + k) * taps
            for t in range(taps):
                out[to + t] = w[source + taps - 1 - t]


@Kernel
def mirror_last(begin, end, w, out, k_count, c_count, taps):
    """out[g, c, t, k] = w[g, k, taps - 1 - t, c]; items are g, c"""
    for item in range(begin, end):
        group, c = divmod(item, c_count)
        for t in range(taps):
            to = (item * taps + t) * k_count
            source = (group * k_count * taps + taps - 1 - t) * c_count + c
            for k in range(k_count):
                out[to + k] = w[source + k * taps * c_count]


def mirrored_weights(w: Array, backward: ConvGeometry, shape: tuple[int, ...]) -> Array:
    """Weights of `backward`, a transposed convolution, in the shape and order of the plain one."""
    g = backward
    w = np.ascontiguousarray(w)
    out = np.empty(shape, w.dtype)
    kernel = mirror_last if g.channels_last else mirror_first
    kernel(g.groups * g.out_per_group, w.size, w.reshape(-1), out.reshape(-1), g.in_per_group, g.out_per_group, prod(g.kernel))
    return out
