"""Filters as columns times rows: which kernels have few of them, and that "auto" looks."""

import numpy as np
import pytest

import fastconv as fc
from fastconv.kernels.simd.filters import choice as separable
from fastconv.plans.errors import SPREAD

GAUSSIAN = np.exp(-(np.linspace(-2, 2, 9) ** 2))
KERNELS = {
    "gaussian": (np.outer(GAUSSIAN, GAUSSIAN), 1),
    "box": (np.full((15, 9), 1 / 135), 1),
    "sobel": (np.outer([1, 2, 1], [1, 0, -1]), 1),
    "zeros": (np.zeros((4, 5)), 1),
    "laplacian": (np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]]), 2),
    "sharpened": (np.outer(GAUSSIAN, GAUSSIAN) - np.eye(9)[4][:, None] * np.eye(9)[4], 2),
    "random": (np.random.default_rng(0).standard_normal((7, 5)), 5),
}


def geometry_of(kernel, channels=1, **options):
    w = np.broadcast_to(kernel, (channels, 1, *kernel.shape))
    return fc.conv2d.plan((1, channels, 64, 80), w, groups=channels, **options).geometry


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", KERNELS)
def test_the_rank_is_the_lowest_that_gives_the_kernel(name, dtype):
    kernel, rank = KERNELS[name]
    w = kernel.astype(dtype)[None, None]
    u, v = separable.decomposed(w, geometry_of(w[0, 0]))
    assert u.shape == (1, rank, kernel.shape[0])
    assert v.shape == (1, rank, kernel.shape[1])
    error = np.abs(np.einsum("nir,nis->nrs", u.astype("f8"), v.astype("f8")) - w[0]).max()
    assert error <= 2 * separable.TOLERANCE * np.finfo(dtype).eps * np.abs(kernel).max()


@pytest.mark.parametrize("name", ["sobel", "ones", "binomial", "zeros"])
def test_whole_kernels_of_rank_one_keep_whole_sums(name):
    kernel = {"ones": np.ones((5, 4)), "binomial": np.outer([1, 4, 6, 4, 1], [1, 2, 1])}.get(name, KERNELS.get(name, [0])[0])
    w = np.stack([kernel, -3 * kernel])[:, None].astype(np.float32)
    x = np.random.default_rng(2).integers(0, 256, (1, 2, 40, 50)).astype(np.float32)
    exact = fc.conv2d(x, w, groups=2, implementation="direct")
    np.testing.assert_array_equal(fc.conv2d(x, w, groups=2, implementation="separable"), exact)


def test_one_wrong_weight_raises_the_rank():
    w = KERNELS["gaussian"][0].astype(np.float32)[None, None]
    w[0, 0, 3, 2] += 100 * np.finfo(np.float32).eps
    assert separable.decomposed(w, geometry_of(w[0, 0]))[0].shape[1] == 2


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("name", [name for name in KERNELS if name != "random"])
def test_filters_give_what_the_direct_sum_gives(name, mode, channels):
    kernel = KERNELS[name][0]
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2, channels, 70, 523)).astype(np.float32)
    w = np.stack([kernel * scale for scale in range(1, channels + 1)])[:, None].astype(np.float32)
    options = {"groups": channels, "padding": tuple(k // 2 for k in kernel.shape), "padding_mode": mode}
    expected = fc.conv2d(x.astype("f8"), w.astype("f8"), implementation="im2col", **options)
    magnitude = fc.conv2d(np.abs(x).astype("f8"), np.abs(w).astype("f8"), implementation="im2col", **options)
    found = fc.conv2d(x, w, implementation="separable", **options)
    bound = SPREAD["separable"].factor * np.finfo(np.float32).eps * (kernel.size + 1) * magnitude.max()
    assert np.abs(found - expected).max() <= bound


def test_auto_takes_it_for_the_kernels_that_are_separable():
    x_shape, gaussian = (1, 1, 512, 512), np.outer(*[np.hanning(33)[1:-1]] * 2).astype(np.float32)[None, None]
    random = np.random.default_rng(0).standard_normal((1, 1, 31, 31)).astype(np.float32)
    names = [fc.conv2d.plan(x_shape, w, padding=15).implementation.name for w in (random, gaussian, random, gaussian)]
    assert names[1] == names[3] == "separable"
    assert names[0] == names[2] != "separable"
    assert fc.conv2d.plan(x_shape, gaussian, padding=15, implementation="direct").implementation.name == "direct"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_go_row_by_row(value):
    w = np.ones((1, 1, 5, 4), np.float32)
    w[0, 0, 2, 1] = value
    x = np.random.default_rng(3).random((1, 1, 20, 40), np.float32) + 1
    assert fc.conv2d.plan((1, 1, 512, 512), w).implementation.name != "separable"
    with np.errstate(invalid="ignore"):
        expected, found = (fc.conv2d(x, w, implementation=name) for name in ("direct", "separable"))
    np.testing.assert_array_equal(found, expected)
