"""Sizes that cross into kernels as an array of integers, and are read by name there."""

from typing import NamedTuple

import numba
import numpy as np
import pytest

from fastconv.kernels.simd.engine.sizes import Axes, Plane, reader, written


class Inner(NamedTuple):
    plane: Plane
    one: int


class Sizes(NamedTuple):
    axes: Axes
    count: int
    inner: Inner


def test_what_is_written_is_read_by_name() -> None:
    sizes, read = Sizes(Axes(1, 2, 3), -4, Inner(Plane(5, 1 << 40), 7)), reader(Sizes)

    @numba.njit
    def again(array):
        s = read(array)
        return s.axes, s.count, s.inner.plane.h, s.inner.plane.w, s.inner.one

    assert again(written(sizes)) == ((1, 2, 3), -4, 5, 1 << 40, 7)


def test_an_array_of_other_numbers_is_refused() -> None:
    read = reader(Plane)
    with pytest.raises(numba.TypingError):
        numba.njit(lambda array: read(array).h)(np.zeros(2, np.int32))


def test_fields_are_integers_or_tuples_of_them() -> None:
    class Wrong(NamedTuple):
        share: float

    with pytest.raises(TypeError, match=r"Wrong\.share must be an int or a NamedTuple"):
        reader(Wrong)
