"""fastconv.torch.conv2d and its kin: values and gradients are torch's, and torch.compile takes them whole."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch.nn import functional  # noqa: E402

import fastconv.torch as ft  # noqa: E402

CASES = [
    ("conv1d", (2, 4, 9), (4, 2, 3), {"groups": 2, "padding": 2, "dilation": 2}),
    ("conv2d", (2, 4, 7, 6), (4, 4, 3, 3), {"stride": 2, "padding": 1}),
    ("conv2d", (4, 7, 6), (4, 4, 2, 2), {"padding": "same"}),
    ("conv3d", (1, 2, 4, 4, 4), (2, 2, 2, 2, 2), {"padding": (1, 0, 1)}),
    ("conv_transpose1d", (2, 4, 5), (4, 2, 3), {"stride": 2, "output_padding": 1}),
    ("conv_transpose2d", (1, 4, 4, 3), (4, 2, 3, 3), {"stride": 2, "padding": 1, "groups": 2}),
    ("max_pool1d", (2, 4, 9), None, {"kernel_size": 3, "stride": 2, "padding": 1}),
    ("max_pool2d", (2, 4, 7, 6), None, {"kernel_size": 3, "stride": 2, "ceil_mode": True}),
    ("avg_pool2d", (2, 4, 7, 6), None, {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False}),
    ("avg_pool3d", (1, 2, 4, 4, 4), None, {"kernel_size": 2, "divisor_override": 3}),
]
IDS = [f"{name} {i}" for i, (name, *_) in enumerate(CASES)]


def arguments(shape, w_shape, dtype=torch.float64):
    """Tensors that require gradients."""
    generator = torch.Generator().manual_seed(0)
    shapes = [shape] if w_shape is None else [shape, w_shape]
    return [torch.randn(one, generator=generator, dtype=dtype, requires_grad=True) for one in shapes]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")  # torch's own, and of its own sake
@pytest.mark.parametrize(("name", "shape", "w_shape", "options"), CASES, ids=IDS)
def test_values_and_gradients_are_torchs(name, shape, w_shape, options, threads):
    """To a few roundings of float64, by every argument; and by finite differences, once and twice."""
    given = arguments(shape, w_shape)
    ours, theirs = getattr(ft, name), getattr(functional, name)
    y, expected = ours(*given, **options), theirs(*given, **options)
    torch.testing.assert_close(y, expected)
    dy = torch.randn_like(expected)
    torch.testing.assert_close(torch.autograd.grad(y, given, dy), torch.autograd.grad(expected, given, dy))
    call = lambda *arrays: ours(*arrays, **options)  # noqa: E731
    assert torch.autograd.gradcheck(call, given, fast_mode=True)
    assert torch.autograd.gradgradcheck(call, given, fast_mode=True)


@pytest.mark.parametrize(("name", "shape", "w_shape", "options"), CASES[1:2] + CASES[5:6] + CASES[7:9])
def test_channels_last_stays_channels_last(name, shape, w_shape, options, threads):
    """Forward and backward."""
    first = arguments(shape, w_shape)
    x = first[0].detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    y = getattr(ft, name)(x, *first[1:], **options)
    assert y.is_contiguous(memory_format=torch.channels_last)
    expected = getattr(functional, name)(*first, **options)
    torch.testing.assert_close(y, expected)
    dy = torch.randn_like(expected)
    torch.testing.assert_close(torch.autograd.grad(y, x, dy), torch.autograd.grad(expected, first[0], dy))


def test_the_bias_has_a_gradient(threads):
    x, w = arguments((2, 4, 7, 6), (4, 4, 3, 3))
    bias = torch.randn(4, dtype=torch.float64, requires_grad=True)
    for name in ("conv2d", "conv_transpose2d"):
        ours, theirs = getattr(ft, name)(x, w, bias), getattr(functional, name)(x, w, bias)
        torch.testing.assert_close(ours, theirs)
        torch.testing.assert_close(torch.autograd.grad(ours.sum(), bias), torch.autograd.grad(theirs.sum(), bias))


@pytest.mark.parametrize(
    "name", ["conv", "conv_input", "conv_weight", "max_pool", "max_pool_input", "avg_pool", "avg_pool_input"]
)
def test_operators_pass_torchs_own_check(name, threads):
    """torch.library.opcheck: schema, fake tensors, autograd registration, and ahead-of-time autograd with dynamic shapes."""
    x, w = arguments((2, 4, 7, 6), (4, 4, 3, 3))
    dy = torch.randn(2, 4, 4, 3, dtype=torch.float64, requires_grad=True)
    steps, window = ([2, 2], [1, 1, 1, 1], [1, 1], 1), ([3, 3], [2, 2], [1, 1])
    where = functional.max_pool2d(x, 3, 2, 1, return_indices=True)[1]
    given = {
        "conv": (x, w, None, *steps),
        "conv_input": (x.shape, w, dy, *steps),
        "conv_weight": (x, w.shape, dy, *steps),
        "max_pool": (x, *window, [1, 1], False),
        "max_pool_input": (x.shape, where, dy),
        "avg_pool": (x, *window, False, True, None),
        "avg_pool_input": (x.shape, dy, *window, False, True, None),
    }[name]
    found = torch.library.opcheck(getattr(torch.ops.fastconv, name).default, given)
    assert set(found.values()) == {"SUCCESS"}


def test_torch_compile_takes_a_net_without_a_break(threads):
    """One graph, forward and backward; the generated code is not asked for, since it needs a compiler of C++."""
    x, w = arguments((2, 4, 7, 6), (4, 4, 3, 3))

    def net(x, w):
        return ft.avg_pool2d(ft.max_pool2d(ft.conv2d(x, w, padding=1).relu(), 3, 1), 2).sum()

    found = torch.compile(net, backend="aot_eager", fullgraph=True)(x, w)
    expected = net(x, w)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, (x, w)), torch.autograd.grad(expected, (x, w)))


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda x, w: ft.conv2d(x.numpy(), w), TypeError, "input must be a Tensor, got ndarray"),
        (lambda x, w: ft.conv2d(x[0, 0], w), ValueError, "input must have 4 axes, or 3 without the batch, got shape"),
        (
            lambda x, w: ft.conv2d(x, w.float()),
            TypeError,
            "weight must have the dtype of input, torch.float64, got torch.float32",
        ),
        (lambda x, w: ft.conv2d(x, w[:, :3]), ValueError, r"weight must have 4 / groups input channels"),
        (lambda x, w: ft.conv2d(x, w, w[0, 0, 0]), ValueError, r"bias must have shape \(4,\)"),
        (lambda x, w: ft.conv2d(x, w, stride=(1, 2, 3)), ValueError, "stride must be an int or 2 ints"),
        (lambda x, w: ft.conv2d(x, w, padding="full"), ValueError, 'padding must be "valid", "same" or ints'),
        (lambda x, w: ft.conv2d(x, w, groups=0), ValueError, "groups must be an int of at least 1"),
        (lambda x, w: ft.conv_transpose2d(x, w, output_padding=1), ValueError, "output_padding must be smaller than"),
        (lambda x, w: ft.max_pool2d(x, 2.5), TypeError, "kernel_size must be an int or 2 ints"),
        (lambda x, w: ft.max_pool2d(x, 3, padding=2), ValueError, "padding must be at most half the dilated kernel"),
    ],
)
def test_wrong_arguments_are_named(call, kind, message):
    x, w = torch.zeros(1, 4, 6, 6, dtype=torch.float64), torch.zeros(4, 4, 3, 3, dtype=torch.float64)
    with pytest.raises(kind, match=message):
        call(x, w)
