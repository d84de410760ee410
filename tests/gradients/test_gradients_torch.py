"""Gradients beside torch's autograd, in float64."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastconv as fc

torch = pytest.importorskip("torch", reason="torch is not installed")
F = torch.nn.functional
RNG = np.random.default_rng(7)
X, W = RNG.standard_normal((2, 4, 6, 7)), RNG.standard_normal((6, 4, 3, 2))
DEEP = RNG.standard_normal((1, 2, 5, 6, 5))
CLOSE = 64 * float(np.finfo(np.float64).eps)  # of sums of at most a few dozen terms about 1


def padded(mode: str) -> Callable[..., Any]:
    """torch's convolution of an input padded by a mode."""
    return lambda x, w, stride, **_: F.conv2d(F.pad(x, (2, 2, 1, 1), mode=mode), w, stride=stride)


CASES: dict[str, tuple[str, tuple[np.ndarray, ...], dict[str, Any], Callable[..., Any]]] = {
    "conv": ("conv2d", (X, W, W[:, 0, 0, 0]), {"stride": (2, 1), "padding": 1, "dilation": (1, 2)}, F.conv2d),
    "groups": ("conv2d", (X, W[:, :2], W[:, 0, 0, 0]), {"groups": 2}, F.conv2d),
    "volume": ("conv3d", (DEEP, RNG.standard_normal((3, 2, 3, 2, 2))), {"stride": 2, "padding": 1}, F.conv3d),
    "transposed": (
        "conv_transpose2d",
        (X, W.transpose(1, 0, 2, 3)[:, :3], W[:, 0, 0, 0]),
        {"stride": (2, 3), "padding": (1, 0), "output_padding": (1, 2), "groups": 2, "dilation": (2, 1)},
        F.conv_transpose2d,
    ),
    "output-padding": (
        "conv_transpose2d",
        (X, W.transpose(1, 0, 2, 3)),
        {"output_padding": 2, "dilation": 3},
        F.conv_transpose2d,
    ),
    **{
        mode: ("conv2d", (X, W), {"stride": 2, "padding": (1, 2), "padding_mode": mode}, padded(mode))
        for mode in ("reflect", "replicate", "circular")
    },
    "max": ("max_pool2d", (X,), {"kernel_size": 3, "stride": 2, "padding": 1}, F.max_pool2d),
    "avg": ("avg_pool2d", (X,), {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}, F.avg_pool2d),
    "exclude": ("avg_pool3d", (DEEP,), {"kernel_size": 2, "padding": 1, "count_include_pad": False}, F.avg_pool3d),
    "lp": ("lp_pool2d", (X,), {"norm_type": 2, "kernel_size": 3, "stride": 2}, F.lp_pool2d),
    "lp3": ("lp_pool2d", (np.abs(X),), {"norm_type": 3, "kernel_size": 3, "stride": 2}, F.lp_pool2d),
    "adaptive": ("adaptive_avg_pool2d", (X,), {"output_size": (4, 3)}, F.adaptive_avg_pool2d),
    "adaptive-max": ("adaptive_max_pool2d", (X,), {"output_size": (4, 3)}, F.adaptive_max_pool2d),
    "unfold": ("unfold", (X,), {"kernel_size": (3, 2), "padding": 1, "stride": 2}, F.unfold),
    **{name: (name, (4 * X,), {}, getattr(F, name)) for name in ("relu", "relu6", "leaky_relu", "silu", "hardswish", "gelu")},
}


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_torchs(case: str) -> None:
    """By every operand, of a random gradient of the result."""
    name, arrays, options, theirs = CASES[case]
    y, pull = getattr(fc, name).vjp(*arrays, **options)
    leaves = [torch.tensor(array, requires_grad=True) for array in arrays]
    expected = theirs(*leaves, **options)
    dy = np.random.default_rng(1).standard_normal(y.shape)
    expected.backward(torch.from_numpy(dy))
    for gradient, leaf in zip(pull(dy, wrt=pull.names), leaves, strict=True):
        other = leaf.grad.numpy()
        assert np.abs(gradient - other).max() <= CLOSE * max(1, np.abs(other).max())


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_names_and_order_are_torchs(rank: int) -> None:
    """fastconv.grad's convolutions take what torch.nn.grad's take, by position."""
    rng, grad = np.random.default_rng(2), torch.nn.grad
    x, w = rng.standard_normal((2, 4, *[6] * rank)), rng.standard_normal((6, 2, *[3] * rank))
    more = (2, 1, 1, 2)  # stride, padding, dilation, groups
    dy = rng.standard_normal(
        fc.conv2d(x, w, None, *more).shape if rank == 2 else getattr(fc, f"conv{rank}d")(x, w, None, *more).shape
    )
    tx, tw, tdy = map(torch.from_numpy, (x, w, dy))
    for name, mine, theirs in (
        ("input", (x.shape, w, dy, *more), (x.shape, tw, tdy, *more)),
        ("weight", (x, w.shape, dy, *more), (tx, w.shape, tdy, *more)),
    ):
        found = getattr(fc.grad, f"conv{rank}d_{name}")(*mine)
        other = getattr(grad, f"conv{rank}d_{name}")(*theirs).numpy()
        assert np.abs(found - other).max() <= CLOSE * max(1, np.abs(other).max())
