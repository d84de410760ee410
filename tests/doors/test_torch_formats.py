"""The memory format that a converted model computes in, and what comes out of it."""

import copy
import pickle

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from converted import close, layers_of  # noqa: E402
from torch import nn  # noqa: E402

import fastconv.torch as ft  # noqa: E402
from fastconv.torch.conversion import MANY  # noqa: E402


class Column(nn.Module):
    """Many convolutions, and a view of what they give."""

    def __init__(self, count, reads=False):
        super().__init__()
        self.convs = nn.Sequential(*[nn.Conv2d(4, 4, 3, padding=1) for _ in range(count)])
        self.reads = reads

    def forward(self, x):
        if self.reads and float(x.sum()) > 1e9:  # what torch.fx cannot trace
            return x, x
        y = self.convs(x)
        return y, y.view(y.size(0), -1)


def layouts(model):
    """Those that a model's plans have."""
    return {one.plan.geometry.layout for layer in layers_of(model) for one in layer.plans.values()}


@pytest.mark.parametrize("given", [torch.contiguous_format, torch.channels_last], ids=["NCHW", "NHWC"])
def test_many_convolutions_run_channels_last(given, threads):
    """By default, whatever comes; results have the format of the input, and copies do the same."""
    model, x = Column(MANY).eval(), torch.randn(2, 4, 6, 5).contiguous(memory_format=given)
    fast = ft.convert(model)
    with torch.no_grad():
        for one in (fast, copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
            for _ in range(2):
                maps, flat = one(x)
                close(maps, model(x.contiguous())[0])
                close(flat, model(x.contiguous())[1])
                assert maps.is_contiguous(memory_format=given)
            assert layouts(one) == {"NHWC"}


@pytest.mark.parametrize(
    ("model", "options"),
    [
        (Column(MANY - 1), {}),
        (Column(MANY), {"memory_format": torch.preserve_format}),
        (Column(MANY), {"memory_format": torch.contiguous_format}),
        (Column(MANY, reads=True), {}),
        (nn.Sequential(*[nn.Conv2d(4, 4, 3, padding=1) for _ in range(MANY)], nn.ConvTranspose2d(4, 4, 2)), {}),
    ],
    ids=["few", "preserve", "contiguous", "untraced", "transposed"],
)
def test_others_compute_in_the_format_of_their_inputs(model, options, threads):
    """Few convolutions, as the caller wants it, models that are not traced as a whole, and those with others among them."""
    fast, x = ft.convert(model.eval(), **options), torch.randn(2, 4, 6, 5)
    with torch.no_grad():
        for found, expected in zip(fast(x), model(x), strict=True):
            close(found, expected)
    assert layouts(fast) == {"NCHW"}


def test_what_has_no_formats_goes_to_torch(threads):
    """A sparse map among the arguments comes as it is."""

    class Masked(Column):
        def forward(self, x, mask):
            return super().forward(x), torch.sparse.sum(mask)

    model, x = Masked(MANY).eval(), torch.randn(2, 4, 6, 5)
    fast, mask = ft.convert(model), torch.ones(1, 1, 2, 3).to_sparse()
    with torch.no_grad():
        ((maps, _), total), ((expected, _), wanted) = fast(x, mask), model(x, mask)
    close(maps, expected)
    close(total, wanted)
    assert layouts(fast) == {"NHWC"}


def test_models_that_are_not_traced_compute_in_a_format_too(threads):
    """As the caller asks; several arguments, named ones and pairs of results go through."""

    class Pairs(Column):
        def forward(self, x, *, other=None):
            if float(x.sum()) > 1e9:
                return x, {}
            y = self.convs(x if other is None else x + other)
            return y, {"sum": y.sum()}

    model = Pairs(2).eval()
    fast, x = ft.convert(model, memory_format=torch.channels_last), torch.randn(2, 4, 6, 5)
    with torch.no_grad():
        for named in ({}, {"other": torch.ones_like(x)}):
            (maps, rest), (expected, sums) = fast(x, **named), model(x, **named)
            close(maps, expected)
            close(rest["sum"], sums["sum"])
            assert maps.is_contiguous()
    assert layouts(fast) == {"NHWC"}


def test_memory_format_is_converted_at_the_ends(threads):
    """Inside all is channels_last; the result has the format of the input, and views become reshapes."""

    class Viewing(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3)

        def forward(self, x):
            y = self.conv(x)
            return y, y.view(y.size(0), -1)

    model = Viewing()
    x = torch.randn(2, 4, 6, 6)
    fast = ft.convert(model, x, memory_format=torch.channels_last)
    maps, flat = fast(x)
    close(maps, model(x)[0].detach())
    close(flat, model(x)[1].detach())
    assert maps.is_contiguous()
    (layer,) = layers_of(fast)
    assert {one.plan.geometry.layout for one in layer.plans.values()} == {"NHWC"}
