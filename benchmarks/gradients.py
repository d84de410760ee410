"""Backward passes of layers, channels first and last: gradients by input and weights of convolutions, by input of pools.

`python -m benchmarks.gradients` times them beside torch, on one thread, both sides in turn in one process.
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


def torch_backward(torch, layer, arrays, dy, last):
    """A function that takes torch's gradients of the same layer by ("x",), by ("w",)."""
    functional = torch.nn.functional
    turned = [torch.from_numpy(np.ascontiguousarray(np.moveaxis(a, -1, 1) if last else a)) for a in (*arrays, dy)]
    if last:
        turned = [t.to(memory_format=torch.channels_last) for t in turned]
    *leaves, tdy = turned
    leaves = [leaf.requires_grad_() for leaf in leaves]
    if layer.operation == "global_avg_pool":
        y = functional.adaptive_avg_pool2d(leaves[0], 1)
    else:
        y = getattr(functional, layer.operation)(*leaves, **layer.kwargs)
    return lambda place: torch.autograd.grad(y, leaves[place], tdy, retain_graph=True)


def main():
    """A row a layer, layout and operand: milliseconds of either, and times as fast."""
    import torch

    fc.set_num_threads(1)
    torch.set_num_threads(1)
    chosen = sys.argv[1:] or CONVOLUTIONS + DEPTHWISE + POOLS
    for name in chosen:
        for order in ORDERS:
            layer, arrays, pull, dy = pulled(name, order)
            backward = torch_backward(torch, layer, arrays, dy, order == "channels_last")
            for place, wrt in enumerate(pull.names):
                calls = (lambda wrt=wrt, pull=pull, dy=dy: pull(dy, wrt)), (lambda place=place, b=backward: b(place))
                rounds = [[] for _ in calls]
                for number in range(8):
                    for call, times in zip(calls, rounds, strict=True):
                        took = timed_round(call, 0.0)
                        times.extend(took if number else [])
                mine, theirs = (1e3 * float(np.median(times)) for times in rounds)
                print(f"{name:32} {order:15} {wrt} {mine:9.2f} ms {theirs:9.2f} ms {theirs / mine:6.2f}", flush=True)


if __name__ == "__main__":
    main()
