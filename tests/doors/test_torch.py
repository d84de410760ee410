"""fastconv.torch.convert: a converted model gives what the model gives, and leaves to torch what it must."""

import copy
import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from converted import close, layers_of  # noqa: E402
from torch import nn  # noqa: E402

import fastconv.torch as ft  # noqa: E402
from fastconv.torch.layers import MOST  # noqa: E402
from fastconv.torch.products import Convolution  # noqa: E402


def norm(channels, rank=2):
    """A batch norm that has seen data."""
    found = getattr(nn, f"BatchNorm{rank}d")(channels)
    found.running_mean.uniform_(-0.5, 0.5)
    found.running_var.uniform_(0.5, 2)
    found.weight.data.uniform_(0.5, 1.5)
    found.bias.data.uniform_(-0.5, 0.5)
    return found


class Residual(nn.Module):
    """ResNet's block: the addition stands behind a batch norm, in place or not, before the last activation."""

    def __init__(self, in_place=True, down=False):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(4, 4, 3, padding=1, bias=False), norm(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1, bias=False), norm(4)
        self.relu = nn.ReLU(inplace=in_place)
        self.down = nn.Sequential(nn.Conv2d(4, 4, 1), norm(4)) if down else None
        self.in_place = in_place

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        identity = x if self.down is None else self.down(x)
        if self.in_place:
            y += identity
        else:
            y = identity + y
        return self.relu(y)


class Dense(nn.Module):
    """DenseNet's order: a batch norm and an activation before a convolution, and channels side by side."""

    def __init__(self):
        super().__init__()
        self.norm, self.conv = norm(4), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        y = self.conv(torch.relu(self.norm(x)))
        return nn.functional.avg_pool2d(nn.functional.max_pool2d(torch.cat([x, y], 1), 2, 1), 2).flatten(1)


class Branching(nn.Module):
    """What cannot be traced: its path depends on the data."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), norm(4), nn.ReLU())
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        y = self.body(x)
        return self.pool(y) if y.mean() > -100 else y


def chain(*layers):
    return nn.Sequential(*layers)


ACTIVATIONS = (nn.SiLU(), nn.Hardswish(), nn.GELU(), nn.ReLU6(), nn.LeakyReLU(0.2), nn.Hardtanh(-1, 2))
NETS = {
    "residual": lambda: Residual(),
    "residual, not in place": lambda: Residual(in_place=False),
    "downsampled": lambda: Residual(down=True),
    "dense": Dense,
    "branching": Branching,
    "activations": lambda: chain(*(part for one in ACTIVATIONS for part in (nn.Conv2d(4, 4, 1), one))),
    "grouped, padded": lambda: chain(nn.Conv2d(4, 4, 3, padding=1, groups=4, padding_mode="reflect"), norm(4), nn.ReLU()),
    "transposed": lambda: chain(nn.ConvTranspose2d(4, 4, 3, 2, 1, 1, groups=2), norm(4), nn.ReLU()),
    "gated": lambda: chain(nn.Conv2d(4, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 4, 1), nn.Sigmoid()),
}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["NCHW", "NHWC"])
def test_a_converted_net_gives_what_the_net_gives(name, memory_format, threads):
    """In both memory formats, without a gradient and in inference mode; torch ran none of what was converted."""
    model = NETS[name]().eval()
    x = torch.randn(2, 4, 6, 6).contiguous(memory_format=memory_format)
    expected = model(x.clone()).detach()
    fast = ft.convert(model)
    given = x.clone()
    close(fast(given), expected)
    assert (given == x).all(), "the input was written to"
    with torch.inference_mode():
        y = fast(x)
    close(y, expected)
    assert layers_of(fast)
    assert all(one.reason is None and one.plans for one in layers_of(fast))
    if y.ndim == 4:
        assert y.is_contiguous(memory_format=memory_format)


def test_chains_become_one_layer_each():
    """Nothing is left of batch norms, activations and additions; the report names them."""
    fast = ft.convert(Residual(down=True))
    assert sorted(type(one).__name__ for one in fast.children()) == ["Convolution"] * 3
    lines = ft.report(fast).splitlines()
    assert lines[0].split(None, 2) == ["conv1", "Conv2d", "fastconv: conv2d + batch norm + relu"]
    assert lines[1].split(None, 2) == ["conv2", "Conv2d", "fastconv: conv2d + batch norm + residual + relu"]
    assert lines[2].split(None, 2) == ["down.0", "Conv2d", "fastconv: conv2d + batch norm"]
    assert lines[-1] == "3 of 3 layers run on fastconv"
    fast(torch.zeros(1, 4, 6, 6))
    assert ", by " in ft.report(fast).splitlines()[0]


def test_the_model_is_not_changed(threads):
    """Neither its mode nor its state; the copy requires no gradients."""
    model = Residual().train()
    before = copy.deepcopy(model.state_dict())
    fast = ft.convert(model, torch.zeros(1, 4, 6, 6))
    assert model.training
    assert all(one.training for one in model.modules())
    assert all((value == before[name]).all() for name, value in model.state_dict().items())
    assert all(one.requires_grad for one in model.parameters())
    assert not any(one.requires_grad for one in fast.parameters())
    assert not fast.training


def test_plans_are_kept_for_the_last_shapes(threads):
    fast = ft.convert(nn.Conv2d(4, 4, 3))
    for size in range(4, 4 + 2 * MOST):
        fast(torch.zeros(1, 4, size, size))
    assert len(fast.plans) == MOST
    last = list(fast.plans.values())[-1]
    fast(torch.zeros(1, 4, size, size))
    assert list(fast.plans.values())[-1] is last


def test_weights_that_change_are_packed_anew(threads):
    """In place, and by load_state_dict."""
    model, x = nn.Conv2d(4, 4, 3), torch.randn(1, 4, 6, 6)
    fast = ft.convert(model)
    fast(x)
    with torch.no_grad():
        fast.weight.mul_(2)
    fast.load_state_dict({"weight": fast.weight.clone(), "bias": model.bias + 1})
    close(fast(x), nn.functional.conv2d(x, 2 * model.weight, model.bias + 1).detach())


def test_tensors_are_shared_and_not_copied(threads):
    """The result of a layer is the plan's array: a new one for each call, in the tensor's own memory."""
    fast, x = ft.convert(nn.MaxPool2d(2)), torch.randn(1, 4, 6, 6)
    y, again = fast(x), fast(x)
    assert y.data_ptr() != again.data_ptr()
    assert np.shares_memory(y.numpy(), torch.from_numpy(y.numpy()).numpy())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtypes(dtype, threads):
    """float64 is served; others are torch's, and the report says so."""
    model = chain(nn.Conv2d(4, 4, 3), nn.MaxPool2d(2)).to(dtype)
    x = torch.randn(1, 4, 6, 6).to(dtype)
    fast = ft.convert(model)
    close(fast(x), model(x).detach())
    lines = ft.report(fast).splitlines()
    assert ("torch: its weights have dtype torch.bfloat16" in lines[0]) == (dtype == torch.bfloat16)
    assert ("torch ran it last time: its input has dtype torch.bfloat16" in lines[1]) == (dtype == torch.bfloat16)


def test_what_needs_torch_is_left_to_torch(threads):
    """Gradients by the input, training mode, autocast, subclasses of Tensor, vmap: each is right, and has its reason."""
    model, x = nn.Conv2d(4, 4, 3), torch.randn(2, 4, 6, 6)
    fast, expected = ft.convert(model), model(x).detach()
    needs = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(fast(needs).sum(), needs)
    (wanted,) = torch.autograd.grad(model(needs).sum(), needs)
    torch.testing.assert_close(slope, wanted)
    assert "requires a gradient" in fast.reason
    with torch.autocast("cpu", torch.bfloat16):
        assert fast(x).dtype == torch.bfloat16
    assert "autocast" in fast.reason
    close(torch.vmap(fast)(x[:, None])[:, 0], expected)
    assert "lazily" in fast.reason
    fast.train()
    close(fast(x), expected)
    assert "training" in fast.reason
    with pytest.raises(RuntimeError, match="Given groups=1, weight of size"):
        fast.eval()(x[:, :3])


def test_a_folded_batch_norm_cannot_be_trained():
    fast = ft.convert(Residual())
    with pytest.raises(RuntimeError, match="has its batch norm folded in: train the model that was converted"):
        fast.train()


def test_hooks_keep_a_module_torchs(threads):
    """A hook sees every call, and what is around the module is converted all the same."""
    model = chain(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU())
    seen = []
    model[0].register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    x = torch.randn(1, 4, 6, 6)
    fast, expected = ft.convert(model), model(x).detach()
    seen.clear()
    close(fast(x), expected)
    assert seen == [(1, 4, 4, 4)]
    lines = ft.report(fast).splitlines()
    assert lines[0].endswith("torch: it has hooks")
    assert lines[1].endswith("fastconv: conv2d + relu, by " + fast.get_submodule(next(
        name for name, one in fast.named_modules() if isinstance(one, Convolution))).implementation())  # fmt: skip


def test_a_value_that_is_written_to_is_not_moved_past(threads):
    """The residual's convolution reads x before it is clipped in place, the addition after."""

    class Writing(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x):
            x = x * 1
            y = self.conv(x)
            x.clamp_(-0.1, 0.1)
            return y + x

    model, x = Writing(), torch.randn(1, 4, 6, 6)
    close(ft.convert(model)(x), model(x).detach())


def test_a_residual_of_another_shape_is_added_by_torch(threads):
    class Broadcast(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x, more):
            return torch.relu(self.conv(x) + more)

    model, x, more = Broadcast(), torch.randn(2, 4, 6, 6), torch.randn(4, 1, 1)
    fast = ft.convert(model)
    close(fast(x, more), model(x, more).detach())
    assert "another shape" in layers_of(fast)[0].reason
    close(fast(x, x), model(x, x).detach())


def test_a_batch_norm_of_vectors_is_torchs(threads):
    """(batch, channels) has no spatial axis: as many samples as channels must not be taken for a map."""
    model = chain(norm(4, 1), nn.ReLU()).eval()
    x = torch.randn(4, 4)
    close(ft.convert(model)(x), model(x).detach())


def test_copies_and_pickles_make_plans_of_their_own(threads):
    fast, x = ft.convert(Residual()), torch.randn(1, 4, 6, 6)
    expected = fast(x)
    for other in (copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        assert not any(one.plans for one in layers_of(other))
        assert (other(x) == expected).all()


def test_a_model_that_differs_is_told():
    class Random(nn.Module):
        def forward(self, x):
            return torch.rand_like(x)

    with pytest.warns(RuntimeWarning, match="the converted model's result differs from the model's by"):
        ft.convert(Random(), torch.zeros(1, 4, 6, 6))


def test_progress_is_shown_where_it_is_asked_for(capsys):
    ft.convert(nn.Conv2d(4, 4, 3), progress=True)
    assert "1 layers converted" in capsys.readouterr().err
    ft.convert(nn.Conv2d(4, 4, 3))
    assert capsys.readouterr() == ("", "")


def test_wrong_arguments_are_named():
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module, got int"):
        ft.convert(3)
    with pytest.raises(TypeError, match=r"memory_format must be None, torch.channels_last, torch.contiguous_format or torch"):
        ft.convert(nn.ReLU(), memory_format=torch.channels_last_3d)
    with pytest.raises(TypeError, match=r"converted must be what fastconv.torch.convert returned, got ReLU"):
        ft.report(nn.ReLU())


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["resnet50", "vgg16", "mobilenet_v2", "densenet121", "googlenet", "efficientnet_b0", "fcn_resnet50"]
)
def test_networks_of_torchvision(name, threads):
    """Seeded random weights and batch norms that have seen data: all layers run on fastconv."""
    from benchmarks.networks import network, output

    model, x = network(name), torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        expected = output(model(x))
        for memory_format in (None, torch.preserve_format, torch.channels_last):
            fast = ft.convert(model, memory_format=memory_format)
            close(output(fast(x)), expected)
            assert all(one.reason is None for one in layers_of(fast))
    left = [line for line in ft.report(fast).splitlines()[:-1] if "  torch: " in line]
    assert all(" StochasticDepth " in line for line in left), left
