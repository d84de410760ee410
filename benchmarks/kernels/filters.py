"""Image filters of one channel, and of three channels each by itself, on 1024 x 1024."""

from benchmarks.common import ORDERS, THREADS, _ConvSpeedups, _Plans

LAYERS = ["filters.k3", "filters.k9", "filters.k21", "filters.rgb_k5"]


class Filters(_Plans):
    params = (LAYERS, ["auto", "direct", "im2col"], ORDERS, THREADS)


class Speedups(_ConvSpeedups):
    params = (LAYERS, ORDERS)
