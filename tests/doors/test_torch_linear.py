"""Linear layers of converted models."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from converted import close  # noqa: E402
from torch import nn  # noqa: E402

import fastconv.torch as ft  # noqa: E402
from fastconv.torch.layers import MOST  # noqa: E402


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 24), (7, 24), (2, 5, 24), (2, 3, 4, 24), (2, 2, 3, 2, 24), (0, 24), (24,)])
@pytest.mark.parametrize("activation", [None, nn.ReLU(), nn.GELU()])
def test_linear_layers(activation, shape, dtype, threads):
    """Rows of any number of axes, one row as well, with what follows them; those that plans do not serve stay torch's."""
    model = nn.Sequential(nn.Linear(24, 10), *([] if activation is None else [activation]), nn.Linear(10, 3, bias=False)).to(
        dtype
    )
    fast, x = ft.convert(model), torch.randn(shape, dtype=dtype)
    with torch.no_grad():
        for _ in range(2):
            found, expected = fast(x), model(x)
            assert found.shape == expected.shape
            close(torch.cat([found.flatten(), torch.ones(1)]), torch.cat([expected.flatten(), torch.ones(1)]))
    assert [type(one).__name__ for one in fast.children()] == ["Linear"] * 2
    served = len(shape) > 1 and 0 not in shape
    assert ft.report(fast).count("torch ran it last time") == 2 * (not served)
    name = "" if activation is None else f" + {type(activation).__name__.lower()}"
    assert f"fastconv: linear{name}" in ft.report(fast)


def test_linear_layers_make_plans_for_a_few_shapes(threads):
    """Sequences of ever new lengths would have the weights packed for each: they are torch's from then on."""
    model = nn.Linear(6, 4)
    fast = ft.convert(model)
    with torch.no_grad():
        for rows in (*range(1, 2 * MOST), 1):
            x = torch.randn(rows, 6)
            close(fast(x), model(x))
            assert len(fast.plans) == min(rows, MOST) or rows == 1
        assert f"it has plans for {MOST} other shapes" in ft.report(fast)
        fast.weight.mul_(2)
        close(fast(x), nn.functional.linear(x, 2 * model.weight, model.bias))


def test_a_linear_layer_that_learns_is_torchs(threads):
    model = nn.Sequential(nn.Linear(4, 2), nn.ReLU())
    fast = ft.convert(model)
    for one in fast.parameters():
        one.requires_grad_(True)
    fast(torch.ones(3, 4)).sum().backward()
    assert all(one.grad is not None for one in fast.parameters())
