"""The Fourier family where it cuts blocks, which the cases of the registry are too small for."""

import numpy as np
import pytest
from case import Case
from comparing import assert_answers, expect

import fastconv as fc
from fastconv.kernels.simd.fourier import butterflies
from fastconv.kernels.simd.fourier import choice as fft
from fastconv.machine import host
from fastconv.plans.errors import SPREAD

MANY_BLOCKS = {
    "1d": ("conv1d", (2, 2, 9000), (3, 2, 301), {"padding": 150}),
    "1d, stride": ("conv1d", (1, 2, 9001), (2, 2, 64), {"stride": 7, "padding": ((5, 0),)}),
    "2d": ("conv2d", (1, 2, 150, 170), (3, 2, 13, 21), {"padding": ((0, 12), (20, 3))}),
    "2d, stride and dilation": ("conv2d", (2, 4, 140, 131), (4, 2, 9, 7), {"stride": (3, 2), "dilation": 2, "groups": 2}),
    "2d, reflect": ("conv2d", (1, 1, 140, 131), (1, 1, 31, 31), {"padding": 15, "padding_mode": "reflect"}),
    "2d, circular, then silu": (
        "conv2d",
        (1, 1, 90, 99),
        (2, 1, 15, 9),
        {"padding": 4, "padding_mode": "circular", "activation": "silu"},
    ),
    "3d": ("conv3d", (1, 2, 21, 40, 45), (2, 2, 5, 7, 9), {"padding": (2, 3, 4)}),
}


def draw(shape, dtype, seed):
    rng = np.random.default_rng(seed)
    found = rng.standard_normal(shape)
    return (found + 1j * rng.standard_normal(shape) if np.dtype(dtype).kind == "c" else found).astype(dtype)


def channels_last(array):
    return np.ascontiguousarray(np.moveaxis(array, 1, -1))


@pytest.mark.parametrize(
    "dtype", ["float32", "complex64", *(pytest.param(wide, marks=pytest.mark.slow) for wide in ("float64", "complex128"))]
)
@pytest.mark.parametrize("last", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["channels first", "channels last"])
@pytest.mark.parametrize("name", MANY_BLOCKS)
def test_many_blocks_give_what_the_sum_of_products_gives(name, last, dtype):
    operation, x_shape, w_shape, options = MANY_BLOCKS[name]
    if "activation" in options and np.dtype(dtype).kind == "c":
        options = {**options, "activation": None}
    x, w, bias = draw(x_shape, dtype, 1), draw(w_shape, dtype, 2), draw(w_shape[:1], dtype, 3)
    call = getattr(fc, operation)
    expected = call(x, w, bias, implementation="im2col", **options)
    magnitude = np.abs(call(np.abs(x), np.abs(w), np.abs(bias), implementation="im2col", **{**options, "activation": None}))
    if last:
        x, w = channels_last(x), channels_last(w)
        options = {**options, "layout": {"conv1d": "NLC", "conv2d": "NHWC", "conv3d": "NDHWC"}[operation]}
    found = call(x, w, bias, implementation="fft", **options)
    found = np.moveaxis(found, -1, 1) if last else found
    # An error of a sum of n terms in any order is at most n * eps * magnitude; here it grows as log2 of a block.
    bound = np.finfo(dtype).eps * 2 * np.log2(512 * 512) * magnitude.max()
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= bound


def test_one_wrong_cell_is_seen():
    case = Case("check", "conv2d", (1, 1, 40, 40), (1, 1, 9, 9))
    inputs = case.inputs(np.float32, "normal")
    answers = expect(case, inputs)
    found = case.call(inputs, "fft")
    assert_answers(found, answers, SPREAD["fft"])
    found[0, 0, 20, 20] += 4 * answers[0].bound.max() * 1.01
    with pytest.raises(AssertionError):
        assert_answers(found, answers, SPREAD["fft"])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_nan_spreads_to_its_pair_of_blocks_and_no_further(value):
    x = np.random.default_rng(0).standard_normal((2, 1, 100_000)).astype(np.float32)
    w = np.ones((1, 1, 101), np.float32)
    plan = fc.conv1d.plan(x.shape, w, implementation="fft")
    clean = plan(x)
    x[0, 0, 0] = value
    found = plan(x)
    pair = 2 * fft.chosen(plan.problem, host()).cut.outputs[2]
    assert pair < clean.shape[-1], "one pair of blocks shows nothing"
    assert not np.isfinite(found[0, 0, 0])
    np.testing.assert_array_equal(found[0, :, pair:], clean[0, :, pair:])
    np.testing.assert_array_equal(found[1], clean[1])


def test_threads_change_no_bit(threads):
    x, w = draw((1, 1, 300, 310), "float32", 0), draw((1, 1, 25, 25), "float32", 1)
    found = []
    for n in (1, 2, 3):
        fc.set_num_threads(n)
        found.append(fc.conv2d(x, w, padding=12, implementation="fft").tobytes())
    assert found[1:] == found[:1] * 2


def test_weights_that_would_take_too_much_memory_are_refused():
    with pytest.raises(ValueError, match="transformed weights would take"):
        fc.conv2d.plan((1, 2048, 7, 7), np.broadcast_to(np.float32(0), (2048, 2048, 3, 3)), implementation="fft")
    with pytest.raises(ValueError, match="does not fit its blocks"):
        fc.conv2d.plan((1, 1, 3, 3000), np.broadcast_to(np.float32(0), (1, 1, 1, 2000)), implementation="fft")


def test_auto_takes_it_for_large_kernels_alone():
    def chosen(k):
        w = draw((1, 1, k, k), "float32", 0)  # of full rank: "separable" serves others
        return fc.conv2d.plan((1, 1, 1024, 1024), w).implementation.name

    assert chosen(63) == "fft"
    assert chosen(3) != "fft"


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6, 8, 12, 48, 96, 128, 384, 512])
def test_the_order_of_frequencies_holds_each_once(n):
    assert sorted(butterflies.order(n)) == list(range(n))
    assert np.prod(butterflies.factors(n)) == n


def test_sizes_without_a_transform_are_refused():
    with pytest.raises(ValueError, match="not 20"):
        butterflies.factors(20)


def test_auto_never_takes_it_for_filters_of_one_channel_whose_sums_stay_exact():
    """Of complex numbers nothing is promised, nor of more taps and channels."""

    def cost(taps, channels=1, dtype="float32"):
        w = np.ones((1, channels, taps, taps), dtype)
        problem = fc.conv2d.plan((1, channels, 300, 300), w, x_dtype=w.dtype, padding=taps // 2, implementation="fft").served
        return fft.cost(problem, host())

    for dtype in ("float32", "float64"):
        assert min(cost(1, dtype=dtype), cost(15, dtype=dtype)) > 2 * cost(17, dtype=dtype)
    assert cost(15, dtype="complex64") < 2 * cost(17, dtype="complex64")
    assert cost(15, channels=2) < 2 * cost(17, channels=2)
