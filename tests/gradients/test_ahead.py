"""What tiles of the gradient by weights ask for ahead, channels first: sums are the same, and there is room for it."""

import numpy as np
import pytest
from guards import guarded

from fastconv import grad
from fastconv.kernels.jit import Kernel
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.sizes import Axes, Strides
from fastconv.kernels.simd.engine.tables import TILES
from fastconv.kernels.simd.gradients import ahead, tiles
from fastconv.machine import host
from fastconv.problem.convolutions import ConvGeometry

FLOAT = np.dtype(np.float32)


def geometry(size: tuple[int, ...], kernel: tuple[int, ...], channels: tuple[int, int], step: int = 1) -> ConvGeometry:
    """Three images with a padding of 1 where the kernel has several taps, strided and dilated by `step`."""
    rank, steps = len(size), (step,) * len(size)
    padding = tuple((1, 1) if taps > 1 else (0, 0) for taps in kernel)
    return ConvGeometry(3, *channels, size, kernel, steps, padding, steps, 1, (0,) * rank)


CASES = {
    "pixels": (geometry((9, 11), (1, 1), (20, 14)), (1, 4, 11)),
    "pixels of planes": (geometry((3, 3), (1, 1), (20, 14)), (2, 3, 3)),
    "3x3": (geometry((9, 11), (3, 3), (20, 14)), (1, 4, 6)),
    "strided, dilated": (geometry((13, 12), (3, 2), (9, 17), 2), (1, 2, 3)),
    "volumes": (geometry((4, 5, 6), (2, 3, 3), (10, 9)), (2, 5, 6)),
    "more than there is room for": (geometry((40, 41), (3, 3), (66, 12)), (1, 40, 40)),
}


@pytest.mark.parametrize("name", CASES)
def test_sums_are_the_same_with_and_without_asking(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of arrays that end at a guard page; whole numbers, whose sums are exact."""
    g, chunk = CASES[name]
    rng = np.random.default_rng(2)
    x, dy = (rng.integers(-4, 5, shape).astype(FLOAT) for shape in (g.x_shape, g.out_shape))
    operation = getattr(grad, f"conv{g.rank}d_weight")
    options = {"padding": g.padding, "dilation": g.dilation, "implementation": "loops"}
    expected = operation(x, g.w_shape, dy, g.stride, **options)
    tile, sizes = TILES[host().isa].gradient[0], []
    for asks in (False, True):
        monkeypatch.setattr(tiles, "are_waited_for", lambda moved, machine, asks=asks: asks)
        cut = tiles.Cut(tile, -(-g.out_channels // tile.rows) * tile.rows, tile.columns * host().lanes(FLOAT), chunk)
        made = tiles.draft.__wrapped__(g.lifted(), cut, FLOAT, host())  # not kept: others draft as the machine asks
        sizes.append(made.sizes.tolist())
        out = np.full(expected.shape, np.nan, FLOAT)
        made.run(guarded(x).ravel(), guarded(dy).ravel(), out.ravel())
        np.testing.assert_array_equal(out, expected)
    assert sizes[0] != sizes[1]


def find(begin, end, offsets, numbers):  # type: ignore[no-untyped-def]
    """Pieces of 8 elements of rows, in images of 4 channels of 3x5x20; the last number becomes how many."""
    p = vector.pointer(numbers)
    corner = Axes(vector.peek(p + 1), vector.peek(p + 2), vector.peek(p + 3))
    high, wide, channel, channels = vector.peek(p + 4), vector.peek(p + 5), vector.peek(p + 6), vector.peek(p + 7)
    rows = ahead.Rows(vector.peek(p), corner, high, wide, channel, channels)
    count = ahead.find(vector.pointer(offsets), 0, rows, Strides(1200, 300, 100, 20, 1), Axes(3, 5, 20), 8)
    vector.poke(p + 8, count)


FIND = Kernel(find)


def found(offsets: np.ndarray, *numbers: int) -> int:
    """Pieces of the image, first cell, rows, columns, first channel and channels of `numbers`."""
    given = np.array([*numbers, -1])
    FIND.serial(0, 1, offsets, given)
    return int(given[-1])


def test_pieces_cover_what_lies_inside() -> None:
    """Rows that are cut off by the map's edges, none outside of it, and no more than there is room for."""
    offsets = np.full(ahead.PIECES + 1, -1)
    cells = np.arange(2400).reshape(2, 4, 3, 5, 20)
    for d, h, w, high, wide in ((1, -1, -2, 4, 13), (2, 3, 15, 9, 9), (0, 0, 0, 5, 20), (3, 0, 0, 5, 20), (0, 0, 20, 5, 3)):
        count = found(offsets, 1, d, h, w, high, wide, 1, 3)
        rows = cells[1, 1:4, d : d + 1, max(0, h) : max(0, h + high), max(0, w) : max(0, w + wide)]
        expected = np.moveaxis(rows, 0, 2)[..., ::8].ravel()
        np.testing.assert_array_equal(offsets[:count], expected)
    assert found(offsets, 0, 0, 0, 0, 5, 20, 0, 300) == ahead.PIECES
    assert offsets[-1] == -1
