"""The tutorial's three functions give what its loops define, in the right size, and refuse what it refuses."""

import numpy as np
import pytest

from fastconv import numpycnn
from fastconv.measuring import demo


@pytest.mark.parametrize("channels", [None, 1, 3])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_conv_is_what_the_loops_compute(channels, size):
    rng = np.random.default_rng(size)
    image = rng.standard_normal((9, 12) if channels is None else (9, 12, channels))
    bank = rng.standard_normal((2, size, size) if channels is None else (2, size, size, channels))
    maps = numpycnn.conv(image, bank)
    expected = demo.conv_loops(image.reshape(9, 12, -1), bank.reshape(2, size, size, -1))
    assert maps.shape == (9 - size + 1, 12 - size + 1, 2)
    assert maps.dtype == np.float64
    np.testing.assert_allclose(maps, expected, atol=8 * size * size * 3 * np.finfo(np.float64).eps)


def test_whole_numbers_come_out_exact_from_integers_and_lists():
    image = np.arange(30, dtype=np.uint8).reshape(5, 6)
    bank = [[[0, 0, 0], [0, 1, 0], [0, 0, -1]]]
    assert np.array_equal(numpycnn.conv(image, bank)[:, :, 0], np.full((3, 4), -7.0))


def test_a_single_channel_may_be_written_on_one_side_only():
    image, bank = np.ones((4, 4)), np.ones((1, 3, 3, 1))
    assert np.array_equal(numpycnn.conv(image, bank), numpycnn.conv(image[:, :, None], bank[..., 0]))


@pytest.mark.parametrize("height", range(3, 12))
@pytest.mark.parametrize(("size", "stride"), [(2, 2), (3, 2), (2, 1), (2, 3)])
def test_pooling_has_one_output_for_each_window(height, size, stride):
    maps = np.random.default_rng(0).standard_normal((height, 7, 2))
    pooled = numpycnn.pooling(maps, size, stride)
    assert pooled.shape == (len(range(0, height - size + 1, stride)), len(range(0, 7 - size + 1, stride)), 2)
    assert np.array_equal(pooled, demo.pooling_loops(maps, size, stride))


def test_the_sizes_that_the_tutorial_gets_wrong():
    assert numpycnn.pooling(np.ones((4, 4, 1))).shape == (2, 2, 1)  # its article: 1 x 1
    assert np.array_equal(numpycnn.pooling(np.ones((5, 5, 1)))[:, :, 0], np.ones((2, 2)))  # its repository: 3 x 3, with zeros


def test_pooling_of_one_map_stays_one_map():
    assert numpycnn.pooling(np.arange(16.0).reshape(4, 4)).tolist() == [[5.0, 7.0], [13.0, 15.0]]


def test_relu_keeps_the_positive():
    maps = np.array([[[-1.5, 2.0]], [[0.0, -3.0]]])
    assert np.array_equal(numpycnn.relu(maps), demo.relu_loops(maps))
    assert maps[0, 0, 0] == -1.5


@pytest.mark.parametrize(
    ("image", "bank", "message"),
    [
        ((5, 5, 3), (2, 3, 3, 2), "same number of channels, got 3 and 2"),
        ((5, 5, 3), (2, 3, 3), "same number of channels, got 3 and 1"),
        ((5, 5), (2, 3, 5), "must be square, got 3 x 5"),
        ((5, 5), (2, 2, 2), "must have an odd size, got 2 x 2"),
        ((5, 4), (2, 5, 5), "5 x 5 is larger than img of 5 x 4"),
        ((5,), (2, 3, 3), r"img must be height x width.*got shape \(5,\)"),
        ((5, 5), (3, 3), r"conv_filter must be filters x k x k.*got shape \(3, 3\)"),
    ],
)
def test_what_the_tutorial_refuses_is_an_error(image, bank, message):
    with pytest.raises(ValueError, match=message):
        numpycnn.conv(np.ones(image), np.ones(bank))


@pytest.mark.parametrize(
    ("size", "stride", "message"),
    [(0, 2, "size must be at least 1"), (2, 0, "stride must be at least 1"), (9, 2, "size must be at most 5")],
)
def test_windows_that_do_not_fit_are_an_error(size, stride, message):
    with pytest.raises(ValueError, match=message):
        numpycnn.pooling(np.ones((5, 5, 1)), size, stride)


@pytest.mark.parametrize("image", [np.ma.masked_equal(np.ones((5, 5)), 0), np.ones((5, 5)) * 1j])
def test_masks_and_imaginary_parts_are_not_dropped(image):
    """They are refused, as conv2d refuses a mask."""
    for call in (
        lambda: numpycnn.conv(image, np.ones((1, 3, 3))),
        lambda: numpycnn.relu(image),
        lambda: numpycnn.pooling(image),
    ):
        with pytest.raises(TypeError, match=r"img|feature_map"):
            call()
