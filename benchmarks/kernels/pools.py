"""Pools of networks, and of images with windows that overlap: dilation, erosion, box blur."""

from benchmarks.common import ORDERS, THREADS, _Plans, _PoolSpeedups, served

LAYERS = ["resnet50.pool1", "resnet50.global_pool", "densenet121.transition1_pool", "c3d.pool2"]
IMAGES = ["morphology.dilate_k3", "morphology.erode_k15", "morphology.blur_k31"]


class Pools(_Plans):
    params = (LAYERS, served("max_pool2d"), ORDERS, THREADS)


class Images(_Plans):
    params = (IMAGES, served("max_pool2d"), ["channels_first"], THREADS)


class Speedups(_PoolSpeedups):
    params = (LAYERS + IMAGES, ORDERS)
