"""Pools on a map of ResNet-50 and on an image."""

import fastconv as fc
from benchmarks.common import planned

LAYERS = ["resnet50.pool1", "morphology.dilate_k5"]


class Pools:
    """The time of a call of a plan."""

    params = (LAYERS, fc.implementations("max_pool2d")[:-1], ["NCHW", "NHWC"])
    param_names = ("layer", "implementation", "layout")
    timeout = 300

    def setup(self, layer, implementation, layout):
        fc.set_num_threads(1)
        self.plan, self.x, _ = planned(layer, implementation, layout)
        self.out = self.plan(self.x)

    def time_plan(self, layer, implementation, layout):
        self.plan(self.x, self.out)
