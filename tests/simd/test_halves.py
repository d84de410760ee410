"""Direct convolution by tiles of half vectors, where two of them run in the time of a whole one."""

from dataclasses import replace

import numpy as np
import pytest
from guards import SUPPORTED, guarded, guarded_everywhere

import fastconv as fc
from fastconv.kernels.simd.direct import choice as direct
from fastconv.kernels.simd.direct import tiles
from fastconv.kernels.simd.engine.costs import Candidate
from fastconv.machine import host

HALF = replace(host(), units=1).halved  # of a processor that runs a whole vector as two
IN_HALVES = [
    ((1, 12, 9, 11), (24, 12, 1, 1), {}, 3),
    ((2, 10, 8, 9), (8, 10, 3, 3), {"padding": 1, "stride": 2}, 1),
    ((1, 9, 7, 30), (40, 9, 3, 3), {"padding": 1}, 5),
    ((1, 16, 9, 9), (16, 8, 3, 3), {"groups": 2, "padding": 1}, 1),
    ((2, 3, 4, 5, 6), (21, 3, 2, 2, 2), {}, 3),
]


@pytest.mark.skipif(HALF is None, reason="vectors of AVX-512 have halves")
@pytest.mark.skipif(not SUPPORTED, reason="guard pages are made by mprotect")
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(("x_shape", "w_shape", "options", "columns"), IN_HALVES)
def test_tiles_of_half_vectors(x_shape, w_shape, options, columns, last, dtype, monkeypatch):
    """The same sums at guard pages, channels of the last vector that are not there too."""
    monkeypatch.setattr(direct, "choice", lambda problem, machine: tiles.candidate_of(problem, HALF))
    rng, layout = np.random.default_rng(5), None if not last else {4: "NHWC", 5: "NDHWC"}[len(x_shape)]
    x, w = (rng.integers(-4, 5, shape).astype(dtype) for shape in (x_shape, w_shape))
    if last:
        x, w = np.ascontiguousarray(np.moveaxis(x, 1, -1)), np.ascontiguousarray(np.moveaxis(w, 1, -1))
    operation = getattr(fc, f"conv{len(x_shape) - 2}d")
    plan = operation.plan(x.shape, w, x_dtype=dtype, implementation="direct", layout=layout, **options)
    assert (f"x{columns}_halves" if dtype == "float32" else "_halves") in plan.kernel
    out = guarded(np.full(plan.geometry.out_shape, -1, dtype), "end")
    direct.run({"x": guarded(x, "end")}, guarded_everywhere(plan.packed, "end"), plan.served, out)
    np.testing.assert_array_equal(out, operation(x, w, implementation="loops", layout=layout, **options))


def test_half_vectors_are_tried_where_two_run_at_once_and_the_last_whole_one_is_half_empty(monkeypatch):
    one, two = replace(host(), isa="avx512", vector_bytes=64, registers=32, units=1), replace(host(), units=2)
    served = {k: fc.conv2d.plan((1, 8, 5, 5), np.ones((k, 8, 1, 1), np.float32)).served for k in (16, 24, 25, 40)}
    tried = []

    def candidate_of(problem, machine):
        tried.append(machine)
        return Candidate(0.0, None, None)

    monkeypatch.setattr(tiles, "candidate_of", candidate_of)
    for outputs, machine, expected in ((24, one, 2), (16, one, 1), (25, one, 1), (40, one, 2), (24, two, 1)):
        tried.clear()
        tiles.candidate(served[outputs], machine)
        assert len(tried) == expected, outputs
    assert one.halved.lanes(np.dtype(np.float32)) == 8
    assert one.halved.units == 2
    assert two.halved is None
