"""Divisors of a row of windows, of which those that are alike are left out; rows that are cut into strips."""

import numpy as np
import pytest
from guards import SUPPORTED, guarded
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import fastconv as fc
from fastconv.kernels.simd.pools import choice, indices, rows
from fastconv.kernels.simd.pools.bounds import place, row_of_divisors
from fastconv.machine import host
from fastconv.problem.pools import PoolGeometry
from fastconv.problem.walks import window_extent

small = st.integers(1, 9)


@settings(derandomize=True, deadline=None, max_examples=400, database=None)
@given(small, small, small, small, st.integers(1, 5), st.integers(0, 9), st.booleans(), st.sampled_from([None, -3, 7]))
def test_a_folded_row_is_the_row(size, kernel, stride, dilation, channels, before, counts_padding, override):
    """Whatever is read of it at once, wherever that begins."""
    before = min(before, window_extent(kernel, dilation) // 2)
    options = {"count_include_pad": counts_padding, "divisor_override": override}
    for long in (size, 5 * size, 20 * size):
        axis = (long,), (kernel,), (stride,), ((before, before),), (dilation,)
        geometry = PoolGeometry("avg", 1, 1, *axis, **options)
        assume(geometry.out_size[0] > 0)
        row = np.repeat(geometry.divisors(), channels)
        for together in (1, 4, 16):
            found, fold = row_of_divisors(geometry, np.dtype(np.float32), together, channels)
            assert found.size == len(row) - fold.out
            for i in range(len(row)):
                at = place.py_func(i, fold)
                np.testing.assert_array_equal(found[at : at + together][: len(row) - i], row[i : i + together])


@pytest.mark.parametrize("counts_padding", [True, False])
def test_its_length_is_that_of_its_ends(counts_padding):
    geometry = PoolGeometry("avg", 1, 1, (10**12,), (9,), (1,), ((4, 4),), (3,), count_include_pad=counts_padding)
    found, _ = row_of_divisors(geometry, np.dtype(np.float32), 16)
    assert found.size == (16 if counts_padding else 16 + 8)


@pytest.mark.skipif(not SUPPORTED, reason="guard pages are made by mprotect")
@pytest.mark.parametrize("operation", ["max_pool2d", "avg_pool2d"])
@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        ((2, 9), {"stride": 1, "padding": (1, 4)}),
        ((1, 12), {"stride": 2, "padding": (0, 5)}),
        ((3, 5), {"stride": 7, "padding": (1, 2)}),
        ((2, 3), {"stride": 3, "dilation": (1, 11), "padding": (0, 1)}),
    ],
    ids=str,
)
def test_rows_are_cut_into_strips(operation, kernel, options, monkeypatch):
    """Lines of few cells give the bits of a line of a row, with indices too."""
    rng = np.random.default_rng(7)
    x = rng.standard_normal((1, 2, 5, 700)).astype(np.float32)
    options = {**options, "kernel_size": kernel, "implementation": "direct"}
    kinds = [{}, {"return_indices": True}] if operation == "max_pool2d" else [{}, {"count_include_pad": False}]
    if operation == "avg_pool2d" and "dilation" in options:
        options.pop("dilation")
    for kind in kinds:
        whole = getattr(fc, operation)(x, **options, **kind)
        plan = getattr(fc, operation).plan(x.shape, **options, **kind)
        assert "_nchw_" in choice.kernel(plan.problem, host())
        for line in (1, 100):
            monkeypatch.setattr(rows, "LINE", line)
            made = (indices if kind.get("return_indices") else rows).launch
            stride = () if kind.get("return_indices") else (rows.stride_of(plan.geometry),)
            cut = made(plan.geometry, x.dtype, host(), *stride)
            for at in ("end", "beginning"):
                outputs = whole if isinstance(whole, tuple) else (whole,)
                found = tuple(guarded(np.full_like(one, 77), at) for one in outputs)
                cut.run(guarded(x, at), *found)
                for one, other in zip(found, outputs, strict=True):
                    np.testing.assert_array_equal(one, other)
            monkeypatch.undo()
