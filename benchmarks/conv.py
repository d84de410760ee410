"""Convolutions: every implementation on layers of real networks, in both layouts, on one thread and on two."""

import fastconv as fc
from benchmarks.common import planned, seconds_of
from fastconv import layers
from fastconv.roofs import fma_peak

LAYERS = [
    "resnet50.conv1",
    "resnet50.res2_1x1a",
    "resnet50.res3_3x3",
    "resnet50.res4_3x3",
    "mobilenetv2.b3_dw",
    "vgg19.conv2_2",
]
FAST = [name for name in fc.implementations("conv2d") if name not in ("reference", "strided")]
LAYOUTS = ["NCHW", "NHWC"]


class Plans:
    """The time of a call of a plan."""

    params = (LAYERS, FAST, LAYOUTS, [1, 2])
    param_names = ("layer", "implementation", "layout", "threads")
    timeout = 300

    def setup(self, layer, implementation, layout, threads):
        fc.set_num_threads(threads)
        self.plan, self.x, _ = planned(layer, implementation, layout)
        self.out = self.plan(self.x)

    def time_plan(self, layer, implementation, layout, threads):
        self.plan(self.x, self.out)


class Calls:
    """The time of the function, which packs the weights too."""

    params = (LAYERS, LAYOUTS)
    param_names = ("layer", "layout")

    def setup(self, layer, layout):
        fc.set_num_threads(1)
        self.layer = layers.layer(layer)
        self.x, self.w = self.layer.arrays("float32", layout)
        self.function = getattr(fc, self.layer.operation)
        self.time_call(layer, layout)

    def time_call(self, layer, layout):
        self.function(self.x, self.w, layout=layout, **self.layer.kwargs)


class Speedups:
    """What the best implementation gains, and how much of the machine it uses."""

    params = (LAYERS, LAYOUTS)
    param_names = ("layer", "layout")
    timeout = 300

    def setup(self, layer, layout):
        fc.set_num_threads(1)
        self.plan, self.x, self.expected = planned(layer, "auto", layout)
        self.seconds = seconds_of(lambda: self.plan(self.x))

    def track_speedup_over_reference(self, layer, layout):
        return self.expected.seconds / self.seconds

    def track_speedup_over_im2col(self, layer, layout):
        other, x, _ = planned(layer, "im2col", layout)
        return seconds_of(lambda: other(x)) / self.seconds

    def track_share_of_peak(self, layer, layout):
        return self.plan.geometry.flops / self.seconds / fma_peak(self.plan.out_dtype)

    track_speedup_over_reference.unit = "times"
    track_speedup_over_im2col.unit = "times"
    track_share_of_peak.unit = "of the FMA peak"


class Quick:
    """The subset that a gate runs: one layer, every fast implementation, one thread."""

    params = (FAST,)
    param_names = ("implementation",)
    timeout = 120

    def setup(self, implementation):
        fc.set_num_threads(1)
        self.plan, self.x, _ = planned("resnet50.res4_3x3", implementation)

    def time_res4_3x3(self, implementation):
        self.plan(self.x)
