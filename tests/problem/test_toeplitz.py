"""Small maps as rows: the matrix of a convolution holds each weight where its output meets its cell."""

import numpy as np
import pytest

import fastconv as fc
from fastconv.kernels.simd.arrays import matrices
from fastconv.problem import toeplitz


def geometry(shape, w_shape, **options):
    """That of a plan."""
    rank = len(shape) - 2
    return getattr(fc, f"conv{rank}d").plan(shape, np.ones(w_shape, np.float32), **options).geometry


CASES = [
    ((3, 5, 3, 3), (4, 5, 3, 3), {"padding": 1}),
    ((2, 3, 2, 2), (4, 3, 3, 3), {"padding": 1}),
    ((2, 3, 4, 3), (2, 3, 3, 4), {"padding": (1, 2), "stride": (2, 1), "dilation": (1, 2)}),
    ((2, 3, 7), (4, 3, 5), {"padding": ((3, 1),)}),
    ((1, 2, 2, 3, 2), (3, 2, 2, 3, 3), {"padding": 1}),
]


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(("shape", "w_shape", "options"), CASES)
def test_the_product_is_the_convolution(shape, w_shape, options, last):
    """Whole numbers, to the bit, with a bias; in both layouts on the memory that there is."""
    rng, rank = np.random.default_rng(0), len(shape) - 2
    x, w, bias = (rng.integers(-4, 5, size).astype(np.float32) for size in (shape, w_shape, w_shape[:1]))
    if last:
        x, w = (np.ascontiguousarray(np.moveaxis(one, 1, -1)) for one in (x, w))
        options = options | {"layout": {1: "NLC", 2: "NHWC", 3: "NDHWC"}[rank]}
    g = geometry(x.shape, w.shape, **options)
    assert toeplitz.refusal(g) is None
    matrix = matrices.matrix(w, g).reshape(-1, x[0].size)
    assert matrix.size == toeplitz.size(g)
    found = x.reshape(len(x), -1) @ matrix.T + toeplitz.biases(bias, g)
    expected = getattr(fc, f"conv{rank}d")(x, w, bias, implementation="loops", **options)
    np.testing.assert_array_equal(found.reshape(expected.shape), expected)


@pytest.mark.parametrize(
    ("shape", "w_shape", "options", "reason"),
    [
        ((1, 2, 3, 3), (2, 1, 3, 3), {"padding": 1, "groups": 2}, "one group"),
        ((1, 2, 3, 3), (2, 2, 3, 3), {"padding": 1, "padding_mode": "reflect"}, "padded with zeros"),
        ((1, 2, 6, 6), (2, 2, 3, 3), {"padding": 1}, "not 36 for 9"),
        ((1, 64, 4, 4), (64, 64, 3, 3), {"padding": 1}, "not 16 for 9"),
        ((1, 2, 4, 4), (2, 2, 1, 3), {"padding": (0, 1)}, "not 16 for 3"),
        ((1, 400, 3, 3), (400, 400, 3, 3), {"padding": 1}, "12,960,000 elements"),
    ],
)
def test_what_has_no_matrix(shape, w_shape, options, reason):
    assert reason in (toeplitz.refusal(geometry(shape, w_shape, **options)) or "")
    with pytest.raises(ValueError, match="toeplitz"):
        fc.conv2d(np.ones(shape, np.float32), np.ones(w_shape, np.float32), implementation="toeplitz", **options)


def test_auto_takes_it_for_many_small_maps():
    """And for no map whose windows lie inside."""
    w = np.ones((32, 64, 3, 3), np.float32)
    assert fc.conv2d.plan((500, 64, 2, 2), w, padding=1).implementation.name == "toeplitz"
    assert fc.conv2d.plan((1, 64, 28, 28), w, padding=1).implementation.name != "toeplitz"
