"""What a converted model keeps between calls: steps and buffers, which no caller ever sees."""

import copy
import pickle
import threading

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import converted  # noqa: E402
from torch import nn  # noqa: E402

import fastconv.torch as ft  # noqa: E402
from fastconv.torch.layers import MOST  # noqa: E402
from fastconv.torch.running import Network  # noqa: E402


def stochastic_depth(input, p, mode, training=True):
    """As torchvision's: it drops branches of a model in training mode alone."""
    return input * 0 if training else input


torch.fx.wrap("stochastic_depth")


class Gated(nn.Module):
    """A product, a sum and a concatenation that no layer of fastconv makes, and views of results."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.gate, self.drop, self.sigmoid = nn.Conv2d(4, 4, 1), nn.Dropout(), nn.Sigmoid()
        self.last, self.pool = nn.Conv2d(8, 4, 1), nn.AdaptiveAvgPool2d(1)

    def forward(self, x):
        y = torch.relu(self.first(x))
        z = self.drop(self.second(y))
        y = y * self.sigmoid(self.gate(self.pool(y)))
        y = self.last(torch.cat([y, z + y * 2], 1))
        left, right = y.chunk(2, 1)
        return left, self.pool(right).flatten(1), y


def pieces(value):
    return value if isinstance(value, tuple) else (value,)


def close(found, expected):
    for y, wanted in zip(pieces(found), pieces(expected), strict=True):
        converted.close(y, wanted)


def schedules(model):
    return [one for module in model.modules() if isinstance(module, Network) for one in module.schedules.values()]


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Gated().eval()


@pytest.fixture
def x():
    return torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["NCHW", "NHWC"])
def test_later_calls_give_what_the_first_does(model, x, memory_format, threads):
    """With the same bits, for other values too; and results that the caller holds are never written again."""
    fast = ft.convert(model, memory_format=memory_format)
    with torch.no_grad():
        first = fast(x)
        (schedule,) = schedules(fast)
        again, other = fast(x), fast(-x)
        for y, repeated in zip(first, again, strict=True):
            assert (y == repeated).all()
        close(first, model(x))
        close(other, model(-x))
    buffers = {id(one): one for one in schedule.buffers}
    assert len(schedule.slots.of) > len(buffers)
    held = {y.untyped_storage().data_ptr() for y in (*first, *again, *other)}
    assert held.isdisjoint({one.ctypes.data for one in schedule.buffers})
    assert len({y.untyped_storage().data_ptr() for y in (first[2], again[2], other[2])}) == 3


def test_buffers_are_told(model, x, threads):
    """How many results lie in how many buffers, in the report's last line but one."""
    fast = ft.convert(model, x)
    slots = schedules(fast)[0].slots
    assert ft.report(fast).splitlines()[-2].startswith(f"{len(slots.of)} results share {len(slots.sizes)} buffers of ")
    assert 0 < sum(slots.sizes) < slots.values


class Residual(nn.Module):
    """Two blocks: what the first adds is read by nothing behind it; its result is the second's residual, or more than that."""

    def __init__(self, reads):
        super().__init__()
        self.stem, self.last = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.first, self.second = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.reads = reads

    def forward(self, x):
        x = self.stem(x)
        y = torch.relu(self.first(torch.relu(self.stem(x))) + x)
        z = torch.relu(self.second(self.stem(y)) + y)
        if self.reads == "nothing":
            return self.last(z)
        return self.last(z + y) if self.reads == "a sum" else (self.last(z), y)


@pytest.mark.parametrize("reads", ["nothing", "a sum", "the caller"])
def test_a_residual_read_for_the_last_time_is_written_over(x, reads, threads):
    """In channels-last order by tiles, and no other: results stay those of the first call, and of torch."""
    torch.manual_seed(0)
    model = Residual(reads).eval()
    fast = ft.convert(model, memory_format=torch.channels_last)
    with torch.no_grad():
        first = fast(x)
        (schedule,) = schedules(fast)
        later = [fast(x), fast(-x), fast(x)]
        for y, repeated, wanted in zip(*map(pieces, (first, later[2], model(x))), strict=True):
            assert (y == repeated).all()
            close(y, wanted)
        close(later[1], model(-x))
    assert len(schedule.over) == {"nothing": 2, "a sum": 1, "the caller": 0}[reads]
    for node, residual in schedule.over.items():
        assert schedule.slots.of[node] == schedule.slots.of[residual]
    plain = ft.convert(model)
    close(plain(x), model(x))
    close(plain(x), model(x))
    assert not schedules(plain)[0].over


def test_other_shapes_and_grad_modes_have_their_own(model, x, threads):
    """In any order, also in inference mode, whose tensors are no others'."""
    fast = ft.convert(model)
    small = x[:1, :, :5]
    for one in (x, small, x, small):
        with torch.inference_mode():
            y = fast(one)
        close(y, model(one))
        close(fast(one), model(one))
    assert len(schedules(fast)) == 2
    for size in range(4, 4 + MOST + 1):
        fast(x[:, :, :size, :4])
    assert len(schedules(fast)) == MOST


def test_threads_at_once(model, x, threads):
    """One has the buffers, the others new memory: all results are right."""
    fast = ft.convert(model, x)
    given = [x * (1 + number) for number in range(4)]
    expected = [fast(one) for one in given]
    found = [[] for _ in given]
    barrier = threading.Barrier(len(given))

    def call(number):
        barrier.wait()
        for _ in range(20):
            found[number].append(fast(given[number]))

    callers = [threading.Thread(target=call, args=(number,)) for number in range(len(given))]
    for one in callers:
        one.start()
    for one in callers:
        one.join()
    for several, wanted in zip(found, expected, strict=True):
        assert len(several) == 20
        assert all((y == w).all() for results in several for y, w in zip(results, wanted, strict=True))


def test_a_call_within_a_call_takes_new_memory(model, x, threads):
    """The buffers are in use, and their values must outlast the inner call."""
    fast = ft.convert(model, x)
    expected, inner = fast(x), []
    (schedule,) = schedules(fast)
    schedule.steps.insert(len(schedule.steps) // 2, (lambda: inner.append(fast(-x)), False))
    found = fast(x)
    assert len(inner) == 1
    assert all((y == wanted).all() for y, wanted in zip(found, expected, strict=True))
    close(inner[0], model(-x))


def test_copies_and_pickles_share_no_buffers(model, x, threads):
    fast = ft.convert(model, x)
    for other in (copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        assert not schedules(other)
        for _ in range(2):
            close(other(x), fast(x))
        assert isinstance(other, Network)
        (one,), (mine,) = schedules(other), schedules(fast)
        assert not {id(part) for part in one.buffers} & {id(part) for part in mine.buffers}
        assert ft.report(other) == ft.report(fast)


def test_weights_modules_and_hooks_that_change_are_seen(model, x, threads):
    """A schedule is of the weights, the modules and the hooks that were there when it was made."""
    fast = ft.convert(model, x)
    weights = {name: value for name, value in fast.named_parameters() if "first" in name}
    with torch.no_grad():
        for name, value in weights.items():
            value.mul_(2)
            model.first.get_parameter(name.rpartition(".")[2]).mul_(2)
    for _ in range(3):
        close(fast(x), model(x))
    name, gate = next((name, one) for name, one in fast.named_modules() if isinstance(one, nn.Sigmoid))
    seen = []
    handle = gate.register_forward_hook(lambda module, inputs, output: seen.append(output))
    for _ in range(3):
        close(fast(x), model(x))
    assert len(seen) == 3
    handle.remove()
    setattr(fast, name, nn.Hardsigmoid())
    model.sigmoid = nn.Hardsigmoid()
    for _ in range(2):
        close(fast(x), model(x))


def test_what_a_hook_keeps_is_not_written_again(x, threads):
    """A module with hooks sees values that nobody else writes to."""
    torch.manual_seed(0)
    model, kept = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1)), []
    model[2].register_forward_hook(lambda module, inputs, output: kept.append(inputs[0]))
    fast = ft.convert(model.eval())
    for sign in (1, -1, 2):
        fast(sign * x)
    expected = [model[1](model[0](sign * x)).detach() for sign in (1, -1, 2)]
    for found, wanted in zip(kept, expected, strict=True):
        close(found, wanted)


def test_a_model_in_a_model(x, threads):
    """A part that cannot be traced calls a traced one twice: its first result is not the second's memory."""

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))

        def forward(self, x):
            y = self.body(x)
            return y + self.body(y) if y.mean() > -100 else y

    torch.manual_seed(0)
    model = Twice().eval()
    fast = ft.convert(model, x)
    assert schedules(fast)
    for _ in range(2):
        close(fast(x), model(x).detach())


def test_a_bias_where_there_was_none_is_seen(x, threads):
    """A parameter that is replaced is another one, though none was written to."""
    model = nn.Sequential(nn.Conv2d(4, 4, 3, bias=False), nn.ReLU(), nn.Conv2d(4, 2, 1, bias=False)).eval()
    fast = ft.convert(model)
    with torch.no_grad():
        for _ in range(3):
            fast(x)
        layer = converted.layers_of(fast)[-1]
        layer.bias = model[2].bias = nn.Parameter(torch.ones(2), requires_grad=False)
        for _ in range(3):
            close(fast(x), model(x))


def test_values_that_change_their_shape_are_left_to_torch(threads):
    """The inputs are alike, and what torch computes of them is not."""

    class Chosen(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.last = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, x, which):
            return self.last(torch.index_select(self.conv(x), 0, torch.nonzero(which[:, 0, 0, 0] > 0).flatten()))

    torch.manual_seed(0)
    model, x = Chosen().eval(), torch.randn(4, 4, 6, 6)
    fast = ft.convert(model)
    for signs in ([1, 1, -1, -1], [1, -1, 1, 1], [1, 1, -1, -1]):
        which = torch.tensor(signs).float().reshape(4, 1, 1, 1)
        close(fast(x, which), model(x, which).detach())


def test_what_does_nothing_is_left_out(x, threads):
    """Between a convolution and the addition of its residual, which is fused then; in training mode it stays."""

    class Dropping(nn.Module):
        def __init__(self, mode):
            super().__init__()
            self.conv, self.mode = nn.Conv2d(4, 4, 3, padding=1), mode

        def forward(self, x):
            return stochastic_depth(self.conv(x), 0.5, "row", self.mode) + x

    for mode, wanted in ((False, "conv2d + residual"), (True, "conv2d")):
        model = Dropping(mode).eval()
        fast = ft.convert(model)
        assert ft.report(fast).splitlines()[0].endswith(f"fastconv: {wanted}")
        close(fast(x), model(x).detach())


def test_gradients_are_torchs(model, x, threads):
    """Parameters that ask for gradients after the conversion get them right, or an error, and never of values written anew."""
    fast, needs = ft.convert(model, x), x.clone().requires_grad_()
    fast(x)
    (slope,) = torch.autograd.grad(sum(one.sum() for one in fast(needs)), needs)
    (wanted,) = torch.autograd.grad(sum(one.sum() for one in model(needs)), needs)
    close(slope, wanted)
