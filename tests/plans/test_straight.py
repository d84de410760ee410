"""Plans that go straight to their kernels from the second call on: they see each call's arrays, and refuse what they did."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv.plans.straight import NAME, Straight

W = np.random.default_rng(1).standard_normal((6, 4, 3, 3)).astype(np.float32)
X_SHAPE = (2, 4, 9, 11)


def numbers(shape: tuple[int, ...], seed: int) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def plans() -> dict[str, Any]:
    """Plans of each kind, by name; those that "straight" begins are nothing but kernels."""
    shape = X_SHAPE
    return {
        "straight conv": fc.conv2d.plan(shape, W, padding=1, implementation="direct"),
        "straight winograd": fc.conv2d.plan(shape, W, padding=1, implementation="winograd"),
        "straight unpacked": fc.conv2d.plan(shape, W, implementation="unpacked"),
        "straight grouped, gelu": fc.conv2d.plan(shape, W[:4, :1], groups=4, activation="silu"),
        "straight single": fc.conv2d.plan(shape[1:], W, np.arange(6, dtype=np.float32), implementation="direct"),
        "straight pool": fc.max_pool2d.plan(shape, 2, implementation="direct"),
        "straight mean": fc.adaptive_avg_pool2d.plan(shape, (3, 2)),
        "straight relu": fc.relu.plan(shape),
        "col2im": fc.conv_transpose2d.plan(shape, W.transpose(1, 0, 2, 3), stride=2, implementation="col2im"),
        "loops": fc.conv2d.plan(shape, W, implementation="loops"),
        "indices": fc.max_pool2d.plan(shape, 2, return_indices=True),
        "bordered": fc.avg_pool2d.plan(shape, 3, padding=1, padding_mode="reflect", implementation="loops"),
        "whole numbers": fc.conv2d.plan(shape, W, x_dtype=np.int16),
    }


@pytest.mark.parametrize("name", list(plans()))
def test_each_call_sees_its_own_arrays(name: str) -> None:
    plan, fresh = plans()[name], plans()[name]
    for seed in range(5):
        x = (8 * numbers(plan.x_shape, seed)).astype(plan.dtype)
        fresh.__dict__.pop(NAME, None)
        expected = fresh(x)
        found = plan(x)
        if name == "indices":
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_array_equal(one, other)
            continue
        np.testing.assert_array_equal(found, expected)
        out = np.full_like(expected, 7)
        assert plan(x, out=out) is out
        np.testing.assert_array_equal(out, expected)
        turned = np.ascontiguousarray(x[..., ::-1])[..., ::-1]
        np.testing.assert_array_equal(plan(turned), expected)
        strided = np.repeat(out, 2, -1)[..., ::2]
        assert plan(x, out=strided) is strided
        np.testing.assert_array_equal(strided, expected)
    assert isinstance(plan.__dict__.get(NAME), Straight) == name.startswith("straight")


def test_refusals_stay() -> None:
    plan = plans()["straight conv"]
    x = numbers(X_SHAPE, 0)
    for _ in range(3):
        y = plan(x)
        with pytest.raises(ValueError, match="x must have shape"):
            plan(x[:1])
        with pytest.raises(TypeError, match="x must have dtype"):
            plan(x.astype(np.float64))
        with pytest.raises(ValueError, match="out"):
            plan(x, out=y[:1])
        memory = np.zeros(x.size + y.size, np.float32)
        with pytest.raises(ValueError, match="out"):
            plan(memory[: x.size].reshape(x.shape), out=memory[8 : 8 + y.size].reshape(y.shape))
        np.testing.assert_array_equal(plan(x), y)


def test_an_activation_writes_over_its_own_input() -> None:
    plan = fc.relu.plan((5, 7))
    for seed in range(3):
        x = numbers((5, 7), seed)
        expected = np.maximum(x, 0)
        assert plan(x, out=x) is x
        np.testing.assert_array_equal(x, expected)
        assert fc.relu(x, out=x) is x


def test_threads_share_a_plan() -> None:
    plan = plans()["straight winograd"]
    arrays = [numbers(X_SHAPE, seed) for seed in range(8)]
    expected = [plan(x) for x in arrays]
    with ThreadPoolExecutor(8) as pool:
        for turn, y in enumerate(pool.map(lambda turn: plan(arrays[turn % 8]), range(200))):
            np.testing.assert_array_equal(y, expected[turn % 8])
