"""Where the cells lie that an output, or a tap, meets: strides in memory, and positions along one axis."""

from fastconv.kernels.jit import compiled
from fastconv.problem import borders, pools
from fastconv.problem import convolutions as sizes
from fastconv.problem.convolutions import Array, ConvGeometry, Size
from fastconv.problem.pools import PoolGeometry, UnpoolGeometry

source_cell, span = compiled(borders.source_cell), compiled(pools.span)


def strides(geometry: ConvGeometry | PoolGeometry | UnpoolGeometry, array: Array) -> Size:
    """The strides of a (n, c, ...) view, in elements, lifted to five axes."""
    found = [stride // array.itemsize for stride in geometry.channels_first(array).strides]
    return (*found[:2], *(0,) * (sizes.SPATIAL_AXES - geometry.rank), *found[2:])


@compiled
def tap_cell(o, tap, size, stride, before, dilation, mode, transposed):
    """The input cell under `tap` of output `o` on one axis, or -1"""
    if not transposed:
        return source_cell(o * stride + tap * dilation - before, size, mode)
    position = o + before - tap * dilation
    if position < 0 or position % stride != 0 or position // stride >= size:
        return -1
    return position // stride
