"""Windows packed from planes and from pixels, and results unpacked into planes: every width, at guard pages."""

from typing import NamedTuple

import numpy as np
import pytest
from guards import SUPPORTED, guarded

from fastconv.kernels.jit import Kernel
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine import windows
from fastconv.kernels.simd.engine.sizes import Axes, Strides, reader, written
from fastconv.machine import host
from fastconv.problem.borders import CONSTANT

pytestmark = pytest.mark.skipif(not SUPPORTED, reason="guard pages are made by mprotect")
FLOAT = np.dtype("f4")
LANES = host().lanes(FLOAT)
BORDER = np.float32(-1)
WIDTHS = (1, 2, 3, LANES - 1, LANES, LANES + 3, 3 * LANES - 1)


class Sizes(NamedTuple):
    """Of an image and of a block of it."""

    strides: Strides
    cells: Axes
    corner: Axes
    depths: int
    rows: int
    columns: int
    channels: int
    pitch: int


read = reader(Sizes)


def packing(last):
    """The compiled packer, called with sizes as an array."""
    pack = windows.packer(LANES, last)

    def packed(begin, end, x, to, steps, sizes):
        s = read(sizes)
        source = windows.Source(vector.pointer(x), s.strides, s.cells, CONSTANT, BORDER)
        block = windows.Block(s.corner, s.depths, 1, s.rows, s.columns, s.channels, s.pitch)
        pack(source, block, vector.pointer(to), vector.pointer(steps))

    return Kernel(packed)


def unpacking():
    """The compiled unpacker."""
    unpack = windows.unpacker(LANES)

    def unpacked(begin, end, block, y, sizes):
        p = vector.pointer(sizes)
        rows, columns, channels = vector.peek(p), vector.peek(p + 1), vector.peek(p + 2)
        pitch, by_row = vector.peek(p + 3), vector.peek(p + 4)
        unpack(vector.pointer(block), rows, columns, channels, pitch, vector.pointer(y), by_row, rows * by_row)

    return Kernel(unpacked)


PACK = {last: packing(last) for last in (False, True)}
UNPACK = unpacking()


@pytest.mark.parametrize("at", ["beginning", "end"])
@pytest.mark.parametrize("skew", [0, 5])
@pytest.mark.parametrize("pads", [0, 2])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
def test_windows_are_the_cells_and_their_border(width, last, pads, skew, at, rng):
    """All of an image with a border around it: narrow rows and wide ones, few channels and many."""
    for channels in WIDTHS:
        size = (2, 3, width)
        x = rng.integers(1, 9, (*size, channels) if last else (channels, *size)).astype(FLOAT)
        plane, pitch = 6 * width, channels + skew
        of = (0, 1, 3 * width * channels, width * channels, channels) if last else (0, plane, 3 * width, width, 1)
        rows, columns = 3 + 2 * pads, width + 2 * pads
        sizes = Sizes(Strides(*of), Axes(*size), Axes(-pads, -pads, -pads), 2 + 2 * pads, rows, columns, channels, pitch)
        to = guarded(np.full((2 + 2 * pads) * rows * columns * pitch, np.nan, FLOAT), at)
        PACK[last].serial(0, 1, guarded(x.reshape(-1), at), to, np.zeros(LANES, np.int64), written(sizes))
        cells = x if last else np.moveaxis(x, 0, -1)
        expected = np.pad(cells, [(pads, pads)] * 3 + [(0, 0)], constant_values=BORDER)
        np.testing.assert_array_equal(to.reshape(*expected.shape[:3], pitch)[..., :channels], expected)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
def test_results_come_to_their_places_alone(width, whole, rng):
    """Of a block that has whole rows of the planes, or parts; what is behind the block may be read, as its owner allows."""
    for channels in WIDTHS:
        rows, pitch = 3, channels + 2
        block = np.full((rows * width + LANES) * pitch + LANES, np.nan, FLOAT)
        block[: rows * width * pitch] = rng.integers(1, 9, rows * width * pitch)
        by_row = width if whole else width + 4
        y = guarded(np.full((channels, rows, by_row), 77, FLOAT), "end" if whole else "beginning")
        UNPACK.serial(0, 1, block, y.reshape(-1), np.array((rows, width, channels, pitch, by_row)))
        found = block[: rows * width * pitch].reshape(rows, width, pitch)[..., :channels]
        np.testing.assert_array_equal(y[..., :width], np.moveaxis(found, -1, 0))
        assert (y[..., width:] == 77).all()
