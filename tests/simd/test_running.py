"""Running pools: blocks, strips and chunks of every kind meet their neighbours, and what a window does not hold never shows."""

import numpy as np
import pytest
from comparing import assert_same_bits, assert_within

import fastconv as fc
from fastconv.kernels.simd.pools import running
from fastconv.machine import host

FLOAT = np.dtype(np.float32)
LANES = host().lanes(FLOAT)
LINE = running.LINE // FLOAT.itemsize
# Shapes that are cut: (x_shape, options, the parts of the cut that must be several).
CUT = {
    "strips": ((1, 2, 40, 3 * LINE // 2), {"kernel_size": (7, 5), "padding": (3, 2)}, {"strips", "blocks"}),
    "strips, wide windows": ((1, 1, 9, LINE), {"kernel_size": (8, 701), "padding": (4, 350)}, {"strips", "blocks"}),
    "combs": ((1, 3, 67, 50), {"kernel_size": (9, 4), "dilation": (5, 3), "padding": (20, 5)}, {"blocks"}),
    "chunks": ((1, 30, 45, 5 * LANES + 3), {"kernel_size": (6, 31), "padding": (3, 15), "layout": "NHWC"}, {"blocks"}),
    "chunks, narrow": (
        (1, 16, 3 * LINE // (4 * LANES) + 8, 2 * LANES + 3),
        {"kernel_size": (6, LINE // (4 * LANES) + 1), "layout": "NHWC"},
        {"chunks", "blocks"},
    ),
    "depths": ((1, 2, 5, 23, 40), {"kernel_size": (3, 7, 7), "padding": (1, 3, 3)}, {"blocks"}),
    "many rows": ((1, 1, 3000, 200), {"kernel_size": (1501, 3), "padding": (750, 1)}, {"blocks"}),
}


def normal(shape):
    return np.random.default_rng(7).standard_normal(shape, FLOAT)


def call(kind, x, options, implementation):
    return getattr(fc, f"{kind}_pool{x.ndim - 2}d")(x, stride=1, **options, implementation=implementation)


@pytest.mark.parametrize("kind", ["max", "min", "avg"])
@pytest.mark.parametrize(("shape", "options", "several"), CUT.values(), ids=CUT)
def test_every_part_of_a_cut(shape, options, several, kind):
    """Order is exact, and an average lies within the bound that the kernels' docstring states."""
    x = normal(shape)
    geometry = fc.avg_pool2d.plan(shape, stride=1, **options).geometry if len(shape) == 4 else None
    if geometry is not None:
        cut = running.cut(geometry, FLOAT.itemsize, LANES)
        counts = {
            "strips": geometry.out_size[1] / cut.strip,
            "chunks": cut.channels / cut.chunk,
            "blocks": geometry.out_size[0] / (cut.height * cut.comb),
        }
        assert all(counts[name] > 1 for name in several)
    found = call(kind, x, options, "running")
    if kind != "avg":
        assert_same_bits(found, call(kind, x, options, "direct"))
        return
    *heights, wide = options["kernel_size"]
    with np.errstate(over="ignore"):
        exact, scale = (call("avg", np.asarray(a, np.float64), options, "direct") for a in (x, np.abs(x)))
    terms = np.prod(heights) + 2 * np.log2(wide) + 1
    assert_within(found.astype(np.float64), exact, terms * np.finfo(FLOAT).eps * scale)


@pytest.mark.parametrize("kind", ["max", "min", "avg"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("kernel", [(1, 31), (31, 1), (9, 14)])
def test_a_cell_stays_in_its_windows(kind, value, kernel):
    """Every output whose window does not hold the cell has the bits that it had before."""
    x, options = normal((1, 1, 70, 90)), {"kernel_size": kernel}
    before = call(kind, x, options, "running")
    (h, w), (tall, wide) = (40, 37), kernel
    x[0, 0, h, w] = value
    after = call(kind, x, options, "running")
    held = np.zeros(after.shape, bool)
    held[0, 0, h - tall + 1 : h + 1, w - wide + 1 : w + 1] = True
    assert held.any()
    assert_same_bits(after[~held], before[~held])
    if kind == "avg":
        assert (after[held] != before[held]).all()


@pytest.mark.parametrize("kind", ["max", "min"])
@pytest.mark.parametrize("width", [4 * LANES - 1, 4 * LANES, 9 * LANES + 5])
def test_nan_is_found_wherever_it_is(kind, width):
    """Blocks are reduced as numbers first: a NaN in any vector of any row, alone, brings them to the careful way."""
    options = {"kernel_size": (5, 3), "padding": (2, 1)}
    for column in sorted({0, LANES, 2 * LANES + 1, 4 * LANES - 2, width - 1}):
        for row in (0, 6, 11):
            x = normal((1, 1, 12, width))
            x[0, 0, row, column] = np.nan
            found = call(kind, x, options, "running")
            assert np.isnan(found).any()
            np.testing.assert_array_equal(found, call(kind, x, options, "direct"))


def test_the_workspace_is_bounded():
    """Lines too long for it are refused with the reason, whatever the cut."""
    with pytest.raises(ValueError, match="its lines of 100001 cells a window would not fit its workspace"):
        fc.max_pool1d(np.zeros((1, 1, 200_000), FLOAT), 100_001, stride=1, implementation="running")
    for shape, options, _ in CUT.values():
        if len(shape) == 4:
            cut = running.cut(fc.max_pool2d.plan(shape, stride=1, **options).geometry, FLOAT.itemsize, LANES)
            assert (cut.height + 1) * cut.pitch * FLOAT.itemsize <= running.WORKSPACE
