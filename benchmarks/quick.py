"""One layer of each kind by the implementation that "auto" takes: minutes, not an hour, and what the gate runs."""

from benchmarks.common import ORDERS, _ConvSpeedups, _Plans, _PoolSpeedups

CONVOLUTIONS = ["resnet50.res4_3x3", "resnet50.res4_1x1b", "mobilenetv2.b3_dw", "filters.k9"]
POOLS = ["resnet50.pool1", "morphology.erode_k15"]


class Quick(_Plans):
    params = (CONVOLUTIONS + POOLS, ["auto"], ORDERS, [1])


class Convolutions(_ConvSpeedups):
    params = (CONVOLUTIONS, ["channels_first"])


class Pools(_PoolSpeedups):
    params = (POOLS, ["channels_first"])
