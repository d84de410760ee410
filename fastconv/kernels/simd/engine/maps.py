"""Small square maps that a layer keeps in size, channels first: under each tap lies the map, as one row, some cells further."""

from typing import NamedTuple

import numpy as np

from fastconv.machine import Machine
from fastconv.problem.borders import ZERO_FILL as ZEROS
from fastconv.problem.convolutions import ConvGeometry

LARGEST = 16  # cells on either axis


class Form(NamedTuple):
    """What kernels of such maps are compiled for: cells and taps on either axis."""

    side: int
    taps: int


def form_of(geometry: ConvGeometry) -> Form:
    """The form of a geometry that suits."""
    return Form(geometry.in_size[0], geometry.kernel[0])


def suits(geometry: ConvGeometry, taps: tuple[int, ...], machine: Machine) -> bool:
    """Whether a depthwise layer's maps are small and square, and the padding of a kernel of such taps keeps their size."""
    g = geometry
    return bool(
        machine.vector_bytes >= 32
        and g.rank == 2
        and not (g.channels_last or g.transposed)
        and g.in_per_group == g.out_per_group == 1
        and g.kernel[0] == g.kernel[1] in taps
        and g.stride == g.dilation == (1, 1)
        and g.kernel[0] // 2 < g.in_size[0] == g.in_size[1] <= LARGEST
        and g.padding == ((g.kernel[0] // 2,) * 2,) * 2
        and g.mode == ZEROS
    )


def vectors_of(geometry: ConvGeometry, dtype: np.dtype[np.generic], machine: Machine) -> int:
    """Vectors that the cells of a map fill."""
    return -(-(geometry.in_size[0] * geometry.in_size[1]) // machine.lanes(dtype))
