"""What the benchmarks share: a named layer as a plan whose result is right."""

import numpy as np

import fastconv as fc
from fastconv import layers
from fastconv.sampling import sample


def planned(name, implementation, layout="NCHW", dtype="float32"):
    """(plan, x, sample of the reference) of a named layer, verified.

    Raises NotImplementedError, which asv shows as n/a, where the implementation cannot serve the layer.
    """
    layer = layers.layer(name)
    x, w = layer.arrays(dtype, layout)
    operands = () if w is None else (w,)
    planner = getattr(fc, f"plan_{layer.operation}")
    try:
        plan = planner(x.shape, *operands, layout=layout, implementation=implementation, dtype=dtype, **layer.kwargs)
    except ValueError as error:
        raise NotImplementedError(str(error)) from error
    geometry = plan.geometry
    expected = sample(geometry, x, w, None, plan.out_dtype, 0.1)
    if implementation != "reference":
        _, wrong = expected.check(geometry.channels_first(plan(x)), plan.implementation.name)
        assert wrong is None, wrong
    return plan, x, expected


def seconds_of(function, repeats=7):
    """The median time of a call, after one that is not counted."""
    import time

    function()
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        function()
        times.append(time.perf_counter() - begun)
    return float(np.median(times))
