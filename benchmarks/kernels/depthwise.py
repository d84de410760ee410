"""A kernel per channel, of strides 1 and 2, from large maps of few channels to small maps of many."""

from benchmarks.common import ORDERS, THREADS, _ConvSpeedups, _Plans, served

LAYERS = ["mobilenetv2.b1_first_dw", "mobilenetv2.b2_first_dw_s2", "mobilenetv2.b3_dw", "mobilenetv2.b6_dw"]


class Depthwise(_Plans):
    params = (LAYERS, served("conv2d"), ORDERS, THREADS)


class Speedups(_ConvSpeedups):
    params = (LAYERS, ORDERS)
