"""Elements that are float32 in registers alone: float16 and small integers are converted as they are read and written."""

import numpy as np
import pytest
from comparing import assert_same_bits

import fastconv as fc
from fastconv.kernels.simd.arrays import casting
from fastconv.machine import host
from fastconv.plans.registry import OPERATIONS

pytestmark = pytest.mark.skipif(not host().converts, reason="this machine's vectors have no 16-bit elements")
HALF, SINGLE = np.dtype(np.float16), np.dtype(np.float32)
LAYOUTS = ("NCHW", "NHWC")


def values(rng, shape):
    """Normal numbers of float16, among them a NaN, both infinities, a denormal number and a negative zero."""
    x = rng.standard_normal(shape).astype(HALF)
    x.ravel()[[7, 30, 61, 90, 118]] = np.nan, np.inf, -np.inf, 6e-8, -0.0
    return x


def rounded(x):
    with np.errstate(over="ignore", invalid="ignore"):
        return x.astype(HALF)


def test_every_half_becomes_what_numpy_makes_of_it():
    """All 65,536 patterns of bits, to float32 and back; a NaN stays one."""
    halves = np.arange(1 << 16, dtype=np.uint16).view(HALF)
    singles = casting.contiguous(halves, SINGLE)
    np.testing.assert_array_equal(singles, halves.astype(SINGLE))
    assert np.array_equal(np.signbit(singles), np.signbit(halves))
    back = np.empty_like(halves)
    casting.fill(back, singles)
    numbers = ~np.isnan(halves)
    np.testing.assert_array_equal(back.view(np.uint16)[numbers], halves.view(np.uint16)[numbers])
    assert np.isnan(back[~numbers]).all()


def test_floats_are_rounded_as_numpy_rounds(rng):
    """Half-way cases go to the even neighbour, what is too large to infinity, denormal numbers are kept; any length."""
    halves = np.arange(0x7C00, dtype=np.uint16).view(HALF).astype(SINGLE)
    middles = (halves[1:] + halves[:-1]) / 2
    x = np.concatenate([middles, np.nextafter(middles, 0), np.nextafter(middles, np.inf), [65519.0, 65520.0, 1e30, 1e-30]])
    x = np.concatenate([x, -x, rng.integers(0, 1 << 32, 1000, np.uint32).view(SINGLE)]).astype(SINGLE)
    for count in (len(x), 1003):
        found = np.empty(count, HALF)
        casting.fill(found, x[:count])
        assert_same_bits(np.nan_to_num(found, nan=1.5), np.nan_to_num(rounded(x[:count]), nan=1.5))


POOLS = [
    pytest.param(
        name, options, layout, marks=[pytest.mark.slow] * slow, id=f"{name}-{layout}{'-indices' * ('dilation' in options)}"
    )
    for layout in LAYOUTS
    for name, options, slow in (
        ("max_pool2d", {"kernel_size": 2}, layout == "NCHW"),
        ("avg_pool2d", {"kernel_size": 3, "stride": 1, "padding": 1}, True),
        ("max_pool2d", {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 1, "return_indices": True}, True),
        ("global_max_pool", {}, layout == "NHWC"),
    )
]


@pytest.mark.parametrize(("name", "options", "layout"), POOLS)
def test_pools_of_float16_are_those_of_float32_rounded_once(rng, name, options, layout):
    """Bit for bit, with NaN and infinities, and no copy of the input is made in another dtype."""
    operation, x = getattr(fc, name), values(rng, (2, 18, 11, 18))
    plan = operation.plan(x.shape, x_dtype=HALF, layout=layout, **options)
    assert {one.kernel_dtype for one in plan.operands} == {plan.written_dtype} == {HALF}
    found, wide = plan(x), operation(x.astype(SINGLE), layout=layout, **options)
    if isinstance(found, tuple):
        np.testing.assert_array_equal(found[1], wide[1])
        found, wide = found[0], wide[0]
    np.testing.assert_array_equal(found, rounded(wide))


def test_activations_of_float16(rng):
    """As those of float32, rounded once, in place too."""
    x = values(rng, (5, 67))
    expected = rounded(fc.relu(x.astype(SINGLE)))
    np.testing.assert_array_equal(fc.relu(x), expected)
    assert fc.relu(x, out=x) is x
    np.testing.assert_array_equal(x, expected)


CONVOLUTIONS = [
    pytest.param(
        one,
        layout,
        dtype,
        marks=[pytest.mark.slow] * ((one.name, layout) != ("depthwise", "NHWC")),
        id=f"{one.name}-{layout}-{dtype}",
    )
    for one in OPERATIONS["conv"]
    if one.name in ("direct", "depthwise", "winograd")
    for layout, dtype in (("NCHW", "float16"), ("NHWC", "float16"), ("NHWC", "uint8"))
]


@pytest.mark.parametrize(("one", "layout", "dtype"), CONVOLUTIONS)
def test_convolutions_convert_as_they_read(rng, one, layout, dtype):
    """Of whole numbers, whose sums are exact, bit for bit what float32 gives; borders of every kind are read so too."""
    groups = 16 if one.name == "depthwise" else 1
    x = rng.integers(0, 9, (1, 16, 9, 11) if layout == "NCHW" else (1, 9, 11, 16)).astype(dtype)
    w = rng.integers(-3, 4, (16, 16 // groups, 3, 3)).astype(HALF if dtype == "float16" else SINGLE)
    w = w if layout == "NCHW" else np.moveaxis(w, 1, -1)
    exact = one.name != "winograd"
    for border in ({}, {"padding_mode": "reflect"}):
        options = {"padding": 1, "groups": groups, "layout": layout, "implementation": one.name, "activation": "relu", **border}
        plan = fc.conv2d.plan(x.shape, w, x_dtype=dtype, **options)
        assert "x" in one.converts(plan.seen)
        wide = fc.conv2d(x.astype(SINGLE), w.astype(SINGLE), **options)
        if exact:
            assert_same_bits(plan(x), wide.astype(plan.out_dtype))
        else:  # points of a tile are no whole numbers
            assert np.abs(plan(x).astype(SINGLE) - wide).max() <= np.finfo(plan.out_dtype).eps * np.abs(wide).max()


@pytest.mark.slow
def test_a_border_that_the_input_cannot_hold_is_not_rounded_to_it():
    """A constant of 0.1 is no float16, and counts as it is: x is then converted whole."""
    x, w = np.zeros((1, 16, 9, 11), HALF), np.ones((16, 1, 3, 3), SINGLE)
    options = {"padding": 1, "groups": 16, "padding_mode": "constant", "padding_value": 0.1}
    found = fc.conv2d(x, w, implementation="depthwise", **options)
    np.testing.assert_array_equal(found, fc.conv2d(x.astype(SINGLE), w, implementation="depthwise", **options))


@pytest.mark.slow
def test_sums_that_are_stored_in_parts_are_not_rounded_in_between():
    """1024 + 1 times 0.25 + ... over more channels than one chunk has: float16 would lose each 0.25 that is added to 1024."""
    channels = 8192
    x = np.full((1, channels, 3, 3), 1.0, HALF)
    w = np.full((1, channels, 3, 3), 2.0**-7, HALF)
    plan = fc.conv2d.plan(x.shape, w, x_dtype=HALF, implementation="direct")
    assert plan.implementation.converts(plan.seen) == {"x"}
    assert plan(x).item() == channels * 9 / 128


INTEGERS = [
    pytest.param(layout, dtype, marks=[pytest.mark.slow] * ((layout, dtype) != ("NHWC", "int32")))
    for layout in LAYOUTS
    for dtype in ("int32", "uint64")
]


@pytest.mark.parametrize(("layout", "dtype"), INTEGERS)
def test_integers_are_convolved_on_vectors(rng, layout, dtype):
    """They wrap as NumPy's do, products and sums alike."""
    limits = np.iinfo(dtype)
    x = rng.integers(limits.min, limits.max, (1, 9, 11, 16), dtype, endpoint=True)
    w = rng.integers(limits.min, limits.max, (16, 3, 3, 16), dtype, endpoint=True)
    if layout == "NCHW":
        x, w = np.moveaxis(x, -1, 1).copy(), np.moveaxis(w, -1, 1).copy()
    found = fc.conv2d(x, w, padding=1, layout=layout, implementation="direct")
    assert_same_bits(found, fc.conv2d(x, w, padding=1, layout=layout, implementation="im2col"))
