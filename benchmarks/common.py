"""What the benchmarks share: a named layer as a plan whose result is right, and the quantities that are followed."""

from functools import lru_cache

import numpy as np

import fastconv as fc
from fastconv.measuring import layers
from fastconv.measuring.checking import sample
from fastconv.measuring.roofs import copy_bandwidth, fma_peak
from fastconv.plans.timing import timed_round
from fastconv.problem.convolutions import LAYOUTS

ORDERS = ["channels_first", "channels_last"]
THREADS = [1, 2]
REFERENCE_SECONDS = 0.1


@lru_cache(maxsize=2)  # asv sets up anew before each timed call
def planned(name, implementation, order, dtype="float32"):
    """(plan, x, sample of the reference) of a named layer, compiled and verified; arrays are seeded.

    Raises NotImplementedError, which asv shows as n/a, where the implementation cannot serve the layer.
    """
    plan, x, w = unverified(name, implementation, order, dtype)
    geometry = plan.geometry
    expected = sample(geometry, x, w, None, plan.out_dtype, REFERENCE_SECONDS)
    _, wrong = expected.check(geometry.channels_first(plan(x)), plan.implementation.error)
    assert wrong is None, wrong
    return plan, x, expected


def unverified(name, implementation, order, dtype="float32"):
    """(plan, x, w) of a named layer; nothing has run."""
    layer = layers.layer(name)
    layout = LAYOUTS[layer.rank][ORDERS.index(order)]
    x, w = layer.arrays(dtype, layout)
    operands = () if w is None else (w,)
    planner = getattr(fc, layer.operation).plan
    try:
        plan = planner(x.shape, *operands, layout=layout, implementation=implementation, x_dtype=dtype, **layer.kwargs)
    except ValueError as error:
        raise NotImplementedError(str(error)) from error
    return plan, x, w


def served(operation):
    """Every implementation but the loops in plain Python, which take minutes where others take milliseconds."""
    return [name for name in fc.implementations(operation) if name != "reference"]


def seconds_of(plan, x, repeats=9):
    """The median time of a call, after one that is not counted."""
    out = plan(x)
    return float(np.median([one for _ in range(repeats) for one in timed_round(lambda: plan(x, out), 0.0)]))


class _Plans:
    """The time of a call of a plan; a subclass has the values of the parameters."""

    param_names = ("layer", "implementation", "layout", "threads")
    timeout = 300

    def setup(self, layer, implementation, layout, threads):
        fc.set_num_threads(threads)
        self.plan, self.x, _ = planned(layer, implementation, layout)
        self.out = np.empty(self.plan.out_shape, self.plan.out_dtype)

    def time_plan(self, layer, implementation, layout, threads):
        self.plan(self.x, self.out)


class _Speedups:
    """What the implementation that "auto" takes gains, and how much of the machine it uses, on one thread."""

    param_names = ("layer", "layout")
    timeout = 300

    def setup(self, layer, layout):
        fc.set_num_threads(1)
        self.plan, self.x, self.expected = planned(layer, "auto", layout)
        self.seconds = seconds_of(self.plan, self.x)

    def track_speedup_over_reference(self, layer, layout):
        return self.expected.seconds / self.seconds

    track_speedup_over_reference.unit = "times"


class _ConvSpeedups(_Speedups):
    def track_speedup_over_im2col(self, layer, layout):
        other, x, _ = planned(layer, "im2col", layout)
        return seconds_of(other, x) / self.seconds

    def track_share_of_peak(self, layer, layout):
        return self.plan.geometry.flops / self.seconds / fma_peak(self.plan.out_dtype)

    track_speedup_over_im2col.unit = "times"
    track_share_of_peak.unit = "of the FMA peak"


class _PoolSpeedups(_Speedups):
    def track_speedup_over_strided(self, layer, layout):
        other, x, _ = planned(layer, "strided", layout)
        return seconds_of(other, x) / self.seconds

    def track_share_of_copy(self, layer, layout):
        return self.plan.geometry.bytes(self.x.itemsize) / self.seconds / copy_bandwidth()

    track_speedup_over_strided.unit = "times"
    track_share_of_copy.unit = "of the bandwidth of a large copy"
