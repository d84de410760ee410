"""The gradient by the weights of kernels of one tap, channels first, by dot products: sums, guard pages, cuts."""

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import pytest
from guards import guarded

from fastconv import grad
from fastconv.kernels.simd.gradients import dots
from fastconv.machine import host
from fastconv.problem.convolutions import ConvGeometry

# (images, input channels, output channels, map, groups): fewer channels than a tile, and parts of one; parts of vectors.
LAYERS: dict[str, tuple[int, int, int, tuple[int, ...], int]] = {
    "tiles and parts": (2, 7, 9, (7, 7), 1),
    "few channels": (3, 2, 1, (5, 4), 1),
    "short line": (4, 5, 6, (3,), 1),
    "volume in groups": (2, 12, 21, (3, 4, 5), 3),
    "one cell": (9, 13, 11, (1, 1), 1),
    "several blocks": (2, 300, 70, (4, 4), 1),
    "several parts of a plane": (2, 6, 8, (40, 37), 2),
}
# Caches that hold few positions, so that planes and blocks are cut.
SMALL = replace(host(), l1=1 << 10, l2=8 << 10)


def geometry(name: str) -> ConvGeometry:
    """The layer of a name."""
    batch, channels, outputs, size, groups = LAYERS[name]
    ones, none = (1,) * len(size), (0,) * len(size)
    return ConvGeometry(
        batch=batch,
        in_channels=channels,
        out_channels=outputs,
        in_size=size,
        kernel=ones,
        stride=ones,
        padding=((0, 0),) * len(size),
        dilation=ones,
        groups=groups,
        output_padding=none,
        channels_last=False,
    )


def drawn(g: ConvGeometry, dtype: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x and dy of whole numbers, whose sums are exact, and the reference's dw."""
    rng = np.random.default_rng(7)
    x, dy = (rng.integers(-4, 5, (g.batch, channels, *g.in_size)).astype(dtype) for channels in (g.in_channels, g.out_channels))
    operation = getattr(grad, f"conv{g.rank}d_weight")
    return x, dy, operation(x, g.w_shape, dy, groups=g.groups, implementation="reference")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("machine", [host(), SMALL], ids=["host", "small caches"])
@pytest.mark.parametrize("name", LAYERS)
def test_every_tile_gives_the_sums_of_the_reference(name: str, machine: Any, dtype: Any) -> None:
    """To the bit, between guard pages, however items are shared out."""
    g = geometry(name)
    x, dy, expected = drawn(g, dtype)
    assert dots.supports(g, np.dtype(dtype), machine) is None
    candidates = list(dots.candidates(g, np.dtype(dtype), machine))
    assert candidates
    for one in candidates:
        made = one.launch()
        for at in ("end", "beginning"):
            dw = guarded(np.full(expected.shape, np.nan, dtype), at)
            made.run(guarded(x, at).ravel(), guarded(dy, at).ravel(), dw.ravel())
            np.testing.assert_array_equal(dw, expected)
        if made.combine is None:
            parts, middle = np.full(expected.shape, np.nan, dtype), made.items // 2
            for begin, end in ((middle, made.items), (0, middle)):
                made.kernel.serial(begin, end, x.ravel(), dy.ravel(), parts.ravel(), parts.ravel(), made.sizes, made.parameters)
            np.testing.assert_array_equal(parts, expected)


def test_planes_and_blocks_are_cut_where_caches_are_small() -> None:
    g, dtype = geometry("several parts of a plane").lifted(), np.dtype(np.float32)
    one = next(dots.candidates(g, dtype, SMALL)).cut
    assert one.together == 1
    assert one.part < prod(g.in_size)
    assert one.part % host().lanes(dtype) == 0


def test_slices_of_positions_are_added_up_in_order() -> None:
    """A layer of one block, and positions enough for several threads."""
    g = replace(geometry("tiles and parts"), batch=40, in_size=(64, 64))
    x, dy, expected = drawn(g, np.float32)
    made = next(dots.candidates(g, np.dtype(np.float32), host())).launch()
    assert made.combine is not None
    dw = np.full(expected.shape, np.nan, np.float32)
    made.run(x.ravel(), dy.ravel(), dw.ravel())
    np.testing.assert_array_equal(dw, expected)


def test_a_nan_stays_in_its_channels() -> None:
    g = geometry("tiles and parts")
    x, dy, expected = drawn(g, np.float32)
    x[1, 2, 3, 4] = dy[0, 5, 6, 6] = np.nan
    dw = np.empty_like(expected)
    next(dots.candidates(g, np.dtype(np.float32), host())).launch().run(x.ravel(), dy.ravel(), dw.ravel())
    met = np.zeros(expected.shape, bool)
    met[:, 2] = met[5] = True
    assert np.isnan(dw[met]).all()
    np.testing.assert_array_equal(dw[~met], expected[~met])


def test_other_layers_are_refused() -> None:
    g = geometry("tiles and parts")
    for other in (replace(g, channels_last=True), replace(g, kernel=(1, 2)), replace(g, stride=(2, 1))):
        assert dots.supports(other, np.dtype(np.float32), host()) is not None
