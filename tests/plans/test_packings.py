"""Functions find small weights that they packed before, and only those: by their bytes, whatever array they came in."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv.kernels import keeping
from fastconv.plans import packings
from fastconv.plans.registry import OPERATIONS

GEOMETRIES: list[tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ("conv2d", (1, 4, 9, 9), (4, 4, 3, 3), {"padding": 1}),
    ("conv2d", (1, 16, 1, 1), (8, 16, 1, 1), {}),
    ("conv2d", (2, 8, 12, 12), (8, 1, 3, 3), {"groups": 8}),
    ("conv2d", (1, 9, 9, 4), (4, 3, 3, 4), {"layout": "NHWC"}),
    ("conv1d", (1, 3, 40), (5, 3, 7), {}),
    ("conv_transpose2d", (1, 6, 8, 8), (6, 2, 4, 4), {"stride": 2}),
]
EACH = [
    pytest.param(*one, name, id=f"{one[0]}-{len(one[1])}-{place}-{name}")
    for place, one in enumerate(GEOMETRIES)
    for name in ("auto", *(each.name for each in OPERATIONS[one[0][:-2]]))
]


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    fc.clear_caches()


def kept() -> int:
    return sum(len(known.packings) for known in packings._packings.values())


def numbers(shape: tuple[int, ...], seed: int) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("operation", "x_shape", "w_shape", "options", "implementation"), EACH)
def test_weights_are_told_by_their_bytes(
    operation: str, x_shape: tuple[int, ...], w_shape: tuple[int, ...], options: dict[str, Any], implementation: str
) -> None:
    """An array that is written into between calls: every implementation sees what it holds then, and no other's weights."""
    function, x = getattr(fc, operation), numbers(x_shape, 0)
    one, other = numbers(w_shape, 1), numbers(w_shape, 2)
    named = options | {"implementation": implementation}
    try:
        expected = [function.plan(x_shape, w, **named)(x) for w in (one, other)]
    except ValueError:
        pytest.skip(f"{implementation} does not serve it")
    w = one.copy()
    first = [function(x, w, **named) for _ in range(3)][-1]
    w[...] = other  # where those calls' weights were read in place, they are gone
    found = [function(x, weights.copy(), **named) for weights in (one, other)]
    found.append([function(x, w, **named) for _ in range(2)][-1])
    for y, right in zip((first, *found), (*expected[:1], *expected, expected[1]), strict=True):
        np.testing.assert_allclose(y, right, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(first, found[0])
    assert kept() == 2


@pytest.mark.parametrize(("channels", "compared"), [(16, True), (300, False)])
def test_weights_that_are_read_where_they_lie_are_compared_only_where_they_are_few(channels: int, compared: bool) -> None:
    """To compare many takes longer than to pack nothing; and what they hold now is what a call sees."""
    x, w = numbers((1, channels, 1, 1), 0), numbers((120, channels, 1, 1), 1)
    for seed in (1, 1, 2, 1):
        w[...] = numbers(w.shape, seed)
        y = fc.conv2d(x, w, implementation="unpacked")
        np.testing.assert_allclose(y[0, :, 0, 0], w[:, :, 0, 0] @ x[0, :, 0, 0], rtol=1e-4, atol=1e-4)
    assert (kept() > 0) == compared


def test_equal_weights_are_packed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w = numbers((1, 4, 9, 9), 0), numbers((4, 4, 3, 3), 1)
    expected = [fc.conv2d(x, w, bias=[1, 2, 3, 4]) for _ in range(2)][-1]

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("packed again")

    monkeypatch.setattr("fastconv.plans.kinds.ConvPlan.packing", refused)
    np.testing.assert_array_equal(fc.conv2d(x, w.copy(), bias=np.array([1, 2, 3, 4])), expected)
    with pytest.raises(AssertionError, match="packed again"):
        fc.conv2d(x, w, bias=[1, 2, 3, 5])


def test_a_bias_is_told_by_its_values_and_type() -> None:
    x, w = numbers((1, 2, 5, 5), 0), numbers((3, 2, 3, 3), 1)
    bare = fc.conv2d(x, w)
    for bias in (None, [0.0, 0, 0], [1.0, 2, 3], [1, 2, 3], None):
        added = 0 if bias is None else np.asarray(bias, np.float32)[:, None, None]
        np.testing.assert_allclose(fc.conv2d(x, w, bias=bias), bare + added, rtol=1e-5, atol=1e-5)
    for wrong, error in (([1.0, 2], ValueError), ([[1.0, 2, 3]], ValueError), ([1j, 2, 3], TypeError)):
        with pytest.raises(error, match="bias"):
            fc.conv2d(x, w, bias=wrong)


def test_signs_of_zeros_and_nans_are_told_apart() -> None:
    """By bytes: a NaN is found again, which equals nothing, and -0.0 is not 0.0."""
    x = np.ones((1, 1, 2), np.float32)
    for weight in (0.0, -0.0, np.nan, 0.0, np.nan):
        found = fc.conv1d(x, np.full((1, 1, 1), weight, np.float32))
        np.testing.assert_array_equal(found, np.full((1, 1, 2), weight))
    assert kept() == 3


def test_integers_are_summed_as_their_own_size_asks() -> None:
    """Weights of the same type and shape, whose sums one float holds and another does not."""
    x = np.full((1, 1, 40), 200, np.uint8)
    for weight in (1, 30_000, 1):
        w = np.full((1, 1, 9), weight, np.int32)
        np.testing.assert_array_equal(fc.conv1d(x, w), np.full((1, 1, 32), 1800 * weight))


def test_arguments_that_are_equal_and_mean_another_thing() -> None:
    x, w = numbers((1, 2, 5, 5), 0), numbers((3, 2, 3, 3), 1)
    fc.conv2d(x, w, stride=1)
    with pytest.raises(TypeError, match="stride"):
        fc.conv2d(x, w, stride=1.0)
    with pytest.raises(TypeError, match="stride"):
        fc.conv2d(x, w, stride=(1, True))


def test_what_is_not_kept() -> None:
    """Large weights, weights in another order, arguments without a hash."""
    x = numbers((1, 130, 4, 4), 0)
    fc.conv2d(x, numbers((512, 130, 1, 1), 1))
    fc.conv2d(x, numbers((130, 4, 1, 1), 1).transpose(1, 0, 2, 3))
    fc.conv2d(x, numbers((4, 130, 1, 1), 1), stride=[1, 1])
    assert kept() == 0


def test_weights_in_another_order_keep_no_others_from_being_found() -> None:
    x, w = numbers((1, 4, 9, 9), 0), numbers((4, 4, 3, 3), 1)
    fc.conv2d(x, np.asfortranarray(w))
    for _ in range(3):
        fc.conv2d(x, w)
    assert [one.plan is not None for known in packings._packings.values() for one in known.packings] == [True]


def test_only_several_of_one_geometry_are_kept() -> None:
    x = numbers((1, 2, 5, 5), 0)
    for seed in range(3 * packings.SEVERAL):
        w = numbers((3, 2, 3, 3), seed)
        np.testing.assert_array_equal(fc.conv2d(x, w), fc.conv2d(x, w.copy()))
    assert kept() == packings.SEVERAL
    assert keeping.kept_bytes() > packings.SEVERAL * 3 * 2 * 9 * 4


def test_weights_that_always_change_are_noted_now_and_then() -> None:
    """And are found again once they change no more."""
    x, noted = numbers((1, 2, 5, 5), 0), set()
    for seed in range(8 * packings.TIRED):
        w = numbers((3, 2, 3, 3), seed)
        np.testing.assert_array_equal(fc.conv2d(x, w), fc.conv2d.plan(x.shape, w)(x))
        noted |= {bytes(one.w) for known in packings._packings.values() for one in known.packings}
    assert packings.TIRED <= len(noted) <= 2 * packings.TIRED
    for _ in range(packings.TIRED + 2):
        fc.conv2d(x, w)
    assert any(one.plan is not None for known in packings._packings.values() for one in known.packings)


def test_a_new_implementation_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w = numbers((1, 2, 5, 5), 0), numbers((3, 2, 3, 3), 1)
    fc.conv2d(x, w)
    fc.conv2d(x, w)
    loops = [one for one in OPERATIONS["conv"] if one.name == "loops"]
    monkeypatch.setitem(OPERATIONS, "conv", tuple(loops))
    for _ in range(2):
        assert fc.conv2d(x, w).shape == (1, 3, 3, 3)
    known = next(iter(packings._packings.values()))
    newest, before = (one.plan and one.plan.implementation.name for one in known.packings)
    assert newest == "loops" != before


def test_threads_share_them() -> None:
    """More weights than are kept, from many threads at once."""
    x, weights = numbers((1, 4, 9, 9), 0), [numbers((4, 4, 3, 3), seed) for seed in range(2 * packings.SEVERAL)]
    expected = [fc.conv2d(x, w) for w in weights]
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda turn: fc.conv2d(x, weights[turn % len(weights)]), range(400))
        for turn, y in enumerate(found):
            np.testing.assert_array_equal(y, expected[turn % len(weights)])
