"""The function beside the plan: what deciding, packing weights and making the result cost each time."""

import fastconv as fc
from benchmarks.common import ORDERS, planned
from fastconv.measuring import layers

LAYERS = ["resnet50.res3_3x3", "resnet50.res4_1x1b", "mobilenetv2.b3_dw", "resnet50.pool1"]


class Calls:
    params = (LAYERS, ORDERS)
    param_names = ("layer", "layout")
    timeout = 300

    def setup(self, layer, layout):
        fc.set_num_threads(1)
        self.plan, self.x, _ = planned(layer, "auto", layout)
        named = layers.layer(layer)
        order = self.plan.geometry.layout
        _, w = named.arrays("float32", order)
        self.operands = () if w is None else (w,)
        self.options = {**named.kwargs, "layout": order}
        self.function, self.planner = getattr(fc, named.operation), getattr(fc, named.operation).plan

    def time_function(self, layer, layout):
        self.function(self.x, *self.operands, **self.options)

    def time_make_plan(self, layer, layout):
        self.planner(self.x.shape, *self.operands, **self.options)

    def time_plan(self, layer, layout):
        self.plan(self.x)
