"""Arrays whose memory is the other layout's run in that layout: the result is the same, and its memory has the order of x's."""

import numpy as np
import pytest

import fastconv as fc

CALLS = {
    "conv2d": lambda x, w, **more: fc.conv2d(x, w, padding=1, **more),
    "plan": lambda x, w, **more: fc.conv2d.plan(x.shape, w, padding=1)(x, **more),
    "integers": lambda x, w, **more: fc.conv2d(x.astype(np.int32), w.astype(np.int32), padding=1, **more),
    "max_pool2d": lambda x, w, **more: fc.max_pool2d(x, 2, **more),
    "adaptive_avg_pool2d": lambda x, w, **more: fc.adaptive_avg_pool2d(x, (3, 2), **more),
    "relu": lambda x, w, **more: fc.relu(x, **more),
}


@pytest.fixture
def arrays(rng):
    """(x as a view of memory with channels last, w) of whole numbers: their sums are exact in any order."""
    x = rng.integers(-4, 5, (2, 9, 11, 16)).astype(np.float32)
    return np.moveaxis(x, -1, 1), rng.integers(-3, 4, (16, 16, 3, 3)).astype(np.float32)


def lies_last(y):
    return np.moveaxis(y, 1, -1).flags.c_contiguous


@pytest.mark.parametrize("name", CALLS)
def test_a_turned_view_gives_the_same_and_keeps_its_order(arrays, name):
    """The values of the copied call, but for rounding: the layouts may be served by other algorithms; and torch's memory."""
    x, w = arrays
    expected = CALLS[name](x.copy(order="C"), w)
    found = CALLS[name](x, w)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert expected.flags.c_contiguous
    assert lies_last(found) or name == "integers"  # whose cast is an array in C order


def test_it_is_not_copied(arrays, monkeypatch):
    """No operand of the plan is made contiguous."""
    x, w = arrays
    plan = fc.conv2d.plan(x.shape, w, padding=1)
    assert plan.turned.geometry.layout == "NHWC"
    expected = plan(x)
    monkeypatch.setattr("fastconv.kernels.simd.arrays.casting.contiguous", None)
    np.testing.assert_array_equal(plan(x), expected)


def test_what_is_written_and_added(arrays, rng):
    """`out` of either order is filled and returned, a residual of either order added, indices are those of the plane."""
    x, w = arrays
    plain = x.copy(order="C")
    residual = rng.integers(-4, 5, (2, 16, 9, 11)).astype(np.float32)
    expected = fc.conv2d(plain, w, padding=1, residual=residual, activation="relu")
    for out in (np.empty_like(expected), np.moveaxis(np.empty((2, 9, 11, 16), np.float32), -1, 1)):
        assert fc.conv2d(x, w, padding=1, residual=residual, activation="relu", out=out) is out
        np.testing.assert_allclose(out, expected, rtol=0, atol=1e-5 * expected.max())
    for found, wanted in zip(
        fc.max_pool2d(x, 2, return_indices=True), fc.max_pool2d(plain, 2, return_indices=True), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)
    values = np.moveaxis(np.empty((2, 4, 5, 16), np.float32), -1, 1), np.moveaxis(np.empty((2, 4, 5, 16), np.int64), -1, 1)
    assert fc.max_pool2d(x, 2, return_indices=True, out=values)[0] is values[0]
    np.testing.assert_array_equal(values[1], fc.max_pool2d(plain, 2, return_indices=True)[1])


def test_an_implementation_that_is_named_sees_what_was_asked(arrays):
    """It takes a copy, in the layout of the call; so does a view that is of neither layout."""
    x, w = arrays
    assert fc.max_pool2d(x, 2, implementation="strided").flags.c_contiguous
    assert fc.conv2d(x[:, ::-1], w, padding=1).flags.c_contiguous
    assert fc.conv2d(x, w, padding=1, implementation="im2col").flags.c_contiguous


def test_errors_name_what_the_caller_passed(arrays):
    """Shapes are told as they were passed, not as they are turned."""
    x, w = arrays
    with pytest.raises(ValueError, match=r"w must have 16 input channels .* got 7 in shape \(16, 7, 3, 3\)"):
        fc.conv2d(x, w[:, :7])
    with pytest.raises(ValueError, match="residual must have the result's shape"):
        fc.conv2d(x, w, padding=1, residual=np.zeros((2, 16, 9, 10), np.float32))
    with pytest.raises(ValueError, match="out must not overlap x"):
        fc.conv2d(x, w, padding=1, out=x)
