"""Backward passes of layers, channels first and last: gradients by input and weights of convolutions, by input of pools.

`python -m benchmarks.gradients` times them beside torch, on one thread, both sides in turn in one process;
`python -m benchmarks.gradients resnet50` all convolutions of a network, forward and backward, and their sums.
"""

import sys

import numpy as np

import fastconv as fc
from benchmarks.common import ORDERS
from fastconv.measuring import layers
from fastconv.plans.timing import timed_round
from fastconv.problem.convolutions import LAYOUTS

CONVOLUTIONS = ["resnet50.res2_3x3", "resnet50.res3_3x3", "resnet50.res4_3x3", "resnet50.res5_3x3", "resnet50.res4_1x1b"]
DEPTHWISE = ["mobilenetv2.b3_dw"]
POOLS = ["resnet50.pool1", "densenet121.transition1_pool", "resnet50.global_pool"]
BATCH = 8


def pulled(name, order):
    """(layer, arrays, pullback of a plan, gradient of the result) of a named layer."""
    layer = layers.layer(name).with_batch(BATCH)
    layout = LAYOUTS[layer.rank][ORDERS.index(order)]
    x, w = layer.arrays("float32", layout)
    operands = () if w is None else (w,)
    plan = getattr(fc, layer.operation).plan(x.shape, *operands, layout=layout, x_dtype="float32", **layer.kwargs)
    y, pull = plan.vjp(x)
    dy = np.random.default_rng(1).standard_normal(y.shape).astype(np.float32)
    return layer, (x, *operands), pull, dy


class Backward:
    params = (CONVOLUTIONS + DEPTHWISE, ["x", "w"], ORDERS)
    param_names = ("layer", "wrt", "layout")
    timeout = 300

    def setup(self, layer, wrt, layout):
        fc.set_num_threads(1)
        _, _, self.pull, self.dy = pulled(layer, layout)
        self.pull(self.dy, wrt)

    def time_pull(self, layer, wrt, layout):
        self.pull(self.dy, wrt)


class Pools:
    params = (POOLS, ORDERS)
    param_names = ("layer", "layout")
    timeout = 300

    def setup(self, layer, layout):
        fc.set_num_threads(1)
        _, _, self.pull, self.dy = pulled(layer, layout)
        self.pull(self.dy)

    def time_pull(self, layer, layout):
        self.pull(self.dy)


def torch_calls(torch, layer, arrays, dy, last):
    """(torch's forward pass, a function that takes its gradients of the same layer by ("x",), by ("w",))."""
    functional = torch.nn.functional
    turned = [torch.from_numpy(np.ascontiguousarray(np.moveaxis(a, -1, 1) if last else a)) for a in (*arrays, dy)]
    if last:
        turned = [t.to(memory_format=torch.channels_last) for t in turned]
    *tensors, tdy = turned
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]

    def forward(operands):
        if layer.operation == "global_avg_pool":
            return functional.adaptive_avg_pool2d(operands[0], 1)
        return getattr(functional, layer.operation)(*operands, **layer.kwargs)

    y = forward(leaves)
    return lambda: forward(tensors), lambda place: torch.autograd.grad(y, leaves[place], tdy, retain_graph=True)


def in_turn(calls, rounds=8):
    """Median seconds of each of some calls, made in turn; the first round is not counted."""
    times = [[] for _ in calls]
    for number in range(rounds):
        for call, of_call in zip(calls, times, strict=True):
            took = timed_round(call, 0.0)
            of_call.extend(took if number else [])
    return [float(np.median(one)) for one in times]


def measured(torch, name, order, forward=False):
    """(operand, or "y" of the forward pass, seconds, torch's) of a named layer."""
    layer, arrays, pull, dy = pulled(name, order)
    run, backward = torch_calls(torch, layer, arrays, dy, order == "channels_last")
    if forward:
        layout = LAYOUTS[layer.rank][ORDERS.index(order)]
        plan = getattr(fc, layer.operation).plan(arrays[0].shape, *arrays[1:], layout=layout, **layer.kwargs)
        yield "y", *in_turn([lambda: plan(arrays[0]), run])
    for place, wrt in enumerate(pull.names):
        if not (forward and wrt == "x" and arrays[0].size == BATCH * 3 * 224 * 224):  # nobody asks for that of images
            yield wrt, *in_turn([lambda wrt=wrt: pull(dy, wrt), lambda place=place: backward(place)])


def network(torch, name):
    """The convolutions of a network, forward and backward: a row a layer, and the sums, each layer as often as it has it."""
    found = [layer for layer in layers.network(name) if layer.operation.startswith("conv")]
    for order in ORDERS:
        sums = {"y": [0.0, 0.0], "x": [0.0, 0.0], "w": [0.0, 0.0]}
        for layer in found:
            for wrt, mine, theirs in measured(torch, layer.name, order, forward=True):
                sums[wrt] = [sums[wrt][0] + layer.count * mine, sums[wrt][1] + layer.count * theirs]
                print(row(f"{layer.name} x{layer.count}", order, wrt, mine, theirs), flush=True)
        for wrt, (mine, theirs) in sums.items():
            print(row(f"{name} in all", order, wrt, mine, theirs), flush=True)
        mine, theirs = (sum(one[side] for one in sums.values()) for side in (0, 1))
        print(row(f"{name} in all", order, "-", mine, theirs), flush=True)


def row(name, order, wrt, mine, theirs):
    """A line of the table."""
    return f"{name:32} {order:15} {wrt} {1e3 * mine:9.2f} ms {1e3 * theirs:9.2f} ms {theirs / mine:6.2f}"


def main():
    """A row a layer, layout and operand: milliseconds of either, and times as fast; of networks by name, forward too."""
    import torch

    fc.set_num_threads(1)
    torch.set_num_threads(1)
    for name in sys.argv[1:] or CONVOLUTIONS + DEPTHWISE + POOLS:
        if name in layers.networks():
            network(torch, name)
            continue
        for order in ORDERS:
            for wrt, mine, theirs in measured(torch, name, order):
                print(row(name, order, wrt, mine, theirs), flush=True)


if __name__ == "__main__":
    main()
