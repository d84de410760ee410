"""3x3 layers of stride 1, from maps of 56x56 to 7x7: Winograd beside the direct sum."""

from benchmarks.common import ORDERS, THREADS, _ConvSpeedups, _Plans, planned, seconds_of

LAYERS = ["resnet50.res2_3x3", "resnet50.res3_3x3", "resnet50.res4_3x3", "resnet50.res5_3x3"]


class Winograd(_Plans):
    params = (LAYERS, ["winograd", "direct", "im2col"], ORDERS, THREADS)


class Speedups(_ConvSpeedups):
    params = (LAYERS, ORDERS)

    def track_speedup_over_direct(self, layer, layout):
        other, x, _ = planned(layer, "direct", layout)
        return seconds_of(other, x) / self.seconds

    track_speedup_over_direct.unit = "times"


class Rounding:
    """The largest error of outputs of variance 1, among those that the reference computed."""

    params = (LAYERS, ["winograd", "direct"])
    param_names = ("layer", "implementation")
    timeout = 300

    def track_max_error(self, layer, implementation):
        plan, x, expected = planned(layer, implementation, "channels_first")
        return expected.check(plan(x), plan.implementation.error)[0]

    track_max_error.unit = "absolute"
