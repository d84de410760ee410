"""fastconv.autograd and fastconv.jax beside the libraries themselves: values, gradients, jit."""

from typing import Any

import numpy as np
import pytest

import fastconv as fc

RNG = np.random.default_rng(11)
X, W, BIAS = (RNG.integers(-4, 5, shape).astype(np.float64) for shape in ((2, 4, 6, 5), (4, 4, 3, 3), (4,)))
CALLS: dict[str, tuple[str, tuple[np.ndarray, ...], dict[str, Any]]] = {
    "conv": ("conv2d", (X, W, BIAS), {"padding": 1, "activation": "relu"}),
    "transposed": ("conv_transpose2d", (X, W), {"stride": [2, 1]}),
    "max": ("max_pool2d", (X + RNG.random(X.shape),), {"kernel_size": 3, "stride": 2, "padding": 1}),
    "avg": ("avg_pool2d", (X,), {"kernel_size": 3, "stride": 2, "padding": 1}),
    "relu": ("relu", (X + 0.5,), {}),
    "unfold": ("unfold", (X,), {"kernel_size": (3, 3)}),
}


def expected(name: str, arrays: tuple[np.ndarray, ...], options: dict[str, Any]) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """(value, gradients of half the sum of its squares)."""
    y, pull = getattr(fc, name).vjp(*arrays, **options)
    found = pull(y)
    return y, found if isinstance(found, tuple) else (found,)


@pytest.mark.parametrize("case", CALLS)
def test_autograd_differentiates(case: str) -> None:
    """Values outside of a derivative, and gradients by every array that are the pullbacks' own."""
    autograd = pytest.importorskip("autograd", reason="autograd is not installed")
    from fastconv import autograd as door

    name, arrays, options = CALLS[case]
    y, gradients = expected(name, arrays, options)
    function = getattr(door, name)
    np.testing.assert_array_equal(function(*arrays, **options), y)

    def loss(*given: Any) -> Any:
        return 0.5 * autograd.numpy.sum(function(*given, **options) ** 2)

    for place, gradient in enumerate(gradients):
        np.testing.assert_array_equal(autograd.grad(loss, place)(*arrays), gradient)


def test_autograd_passes_its_own_check_through_a_network() -> None:
    """check_grads differentiates numerically: two layers and a pool, by input and weights."""
    pytest.importorskip("autograd", reason="autograd is not installed")
    from autograd.test_util import check_grads

    from fastconv import autograd as door

    def network(x: Any, w: Any) -> Any:
        return door.conv2d(door.max_pool2d(door.conv2d(x, w, activation="gelu"), 2), w[:, :, :1, :1])

    check_grads(network, modes=["rev"], order=1)(X / 4, W / 4)
    with pytest.raises(TypeError, match="takes no out"):
        door.relu(X, out=np.empty_like(X))


@pytest.mark.parametrize("case", CALLS)
def test_jax_differentiates(case: str) -> None:
    """Values and gradients, compiled and not, are the pullbacks' own in float32."""
    jax = pytest.importorskip("jax", reason="jax is not installed")
    from fastconv import jax as door

    name, arrays, options = CALLS[case]
    arrays = tuple(array.astype(np.float32) for array in arrays)
    y, gradients = expected(name, arrays, options)
    function = getattr(door, name)
    np.testing.assert_array_equal(function(*arrays, **options), y)

    def loss(*given: Any) -> Any:
        return 0.5 * (function(*given, **options) ** 2).sum()

    found = jax.jit(jax.grad(loss, tuple(range(len(arrays)))))(*arrays)
    for one, gradient in zip(found, gradients, strict=True):
        np.testing.assert_array_equal(np.asarray(one), gradient)


def test_jax_maps_and_refuses() -> None:
    """vmap makes the calls one by one; what does not fit is refused while it is traced, in fastconv's words."""
    jax = pytest.importorskip("jax", reason="jax is not installed")
    from fastconv import jax as door

    x = X.astype(np.float32)
    mapped = jax.vmap(lambda one: door.avg_pool2d(one, 2, layout="NCHW"))(x)
    np.testing.assert_array_equal(np.asarray(mapped), fc.avg_pool2d(x, 2))
    with pytest.raises(ValueError, match="w must have 4 input channels"):
        jax.jit(door.conv2d)(x, W[:, :2].astype(np.float32))
