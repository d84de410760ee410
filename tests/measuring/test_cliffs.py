"""Drawn geometries: a seed draws the same ones every time, and a row holds what was measured."""

import importlib
import sys
from itertools import islice
from math import prod
from pathlib import Path

import numpy as np
import pytest

import fastconv as fc
from fastconv.kernels.simd.engine.weights import Draft
from fastconv.plans.binding import Bound
from fastconv.plans.kinds import ConvPlan

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))  # last, so that an installed fastconv stays the one under test
if not (ROOT / "benchmarks").is_dir():
    pytest.skip("the suite is not part of an installed package", allow_module_level=True)

cliffs, drawn = (importlib.import_module(f"benchmarks.{name}") for name in ("cliffs", "operations.drawn"))


def draws(seed, kinds, count):
    return list(islice(cliffs.drawn(np.random.default_rng(seed), kinds), count))


def test_a_seed_draws_the_same_geometries():
    """And another one others; kinds come in turn, none too large to be worth its time."""
    first = draws(5, ["pool", "adaptive"], 8)
    assert first == draws(5, ["pool", "adaptive"], 8) != draws(6, ["pool", "adaptive"], 8)
    assert [one.kind for one in first] == ["pool", "adaptive"] * 4
    assert all(prod(one.x_shape) < cliffs.MOST_CELLS for one in first)


@pytest.mark.parametrize("kind", cliffs.KINDS, ids=lambda kind: kind.__name__)
def test_each_kind_is_a_call_in_both_layouts(kind):
    """Of its own name, with as many channels in x and w as groups tell, and the same cells in either order."""
    for seed in range(5):
        found = kind(np.random.default_rng(seed))
        last = found.ordered(True)
        assert found == found.ordered(False)
        assert found.kind == kind.__name__
        assert last.x_shape == (found.x_shape[0], *found.x_shape[2:], found.x_shape[1])
        assert last.options["layout"].endswith("C")
        if found.w_shape is not None:
            transposed = found.operation.startswith("conv_transpose")
            channels = found.w_shape[0] if transposed else found.w_shape[1] * found.options.get("groups", 1)
            assert channels == found.x_shape[1]
            assert last.w_shape == (found.w_shape[0], *found.w_shape[2:], found.w_shape[1])


class Twice:
    """A peer that gives one result and takes twice the time."""

    name = "torch"

    def __init__(self, value):
        self.value = value

    def prepare(self, case):
        self.shape = case.geometry.channels_first(np.empty(case.geometry.out_shape)).shape

    def result(self):
        return np.full(self.shape, self.value, np.float32)

    def run(self, seconds):
        return [2e-3, 1e-3, 3e-3]


def test_a_row_holds_what_was_measured(monkeypatch, threads):
    """Our median beside that of the fastest peer, after results were compared; without a peer there is no ratio."""
    monkeypatch.setattr(cliffs, "SECONDS", 1e-4)
    geometry = cliffs.Geometry("pool", "max_pool2d", (1, 16, 8, 8), None, {"kernel_size": 2})
    ones = np.random.default_rng(0)
    monkeypatch.setattr(cliffs, "numbers", lambda rng, dtype: np.ones)
    row = cliffs.measured(geometry, False, np.dtype(np.float32), "plans", [Twice(1)], ones)
    assert (row.best, row.peer, row.layout) == (2e-3, "torch", "NCHW")
    assert row.ratio == row.best / row.seconds
    assert "max_pool" in row.kernel
    with pytest.raises(AssertionError, match="torch"):
        cliffs.measured(geometry, False, np.dtype(np.float32), "plans", [Twice(2)], ones)
    with monkeypatch.context() as patch:  # what a function gives is compared, not what its plan does
        assert cliffs.measured(geometry, False, np.dtype(np.float32), "equal", [Twice(1)], ones).best == 2e-3
        patch.setattr(cliffs, "function_of", lambda geometry, *_: lambda: np.full((1, 16, 4, 4), 3, np.float32))
        with pytest.raises(AssertionError, match="torch"):
            cliffs.measured(geometry, False, np.dtype(np.float32), "equal", [Twice(1)], ones)
    monkeypatch.setattr(cliffs, "timed_round", lambda one, seconds: [1e-3 if isinstance(one, Bound) else 4e-3])
    for name, seconds in (("torch", 4e-3), ("onnxruntime", 1e-3)):  # a plan is bound beside a peer whose arrays are
        peer = Twice(1)
        peer.name = name
        row = cliffs.measured(geometry, False, np.dtype(np.float32), "plans", [peer], ones)
        assert (row.seconds, row.best, row.peer) == (seconds, 2e-3, name)
    alone = cliffs.measured(geometry, True, np.dtype(np.float32), "plans", [], ones)
    assert (alone.ratio, alone.layout) == (None, "NHWC")
    slow = row._replace(seconds=4e-3)
    assert cliffs.summary([row._replace(seconds=1e-3), slow, alone]).splitlines() == [
        "all             2 rows: geometric mean  1.00, worst  0.50, 1 below 0.9",
        "pool            2 rows: geometric mean  1.00, worst  0.50, 1 below 0.9",
    ]


def test_new_weights_are_packed_in_each_call(monkeypatch):
    """No call of "new" finds weights of another; those of "equal" find them from the third on."""
    packed, packing, run = [], ConvPlan.packing, Draft.run
    monkeypatch.setattr(ConvPlan, "packing", lambda plan, *arrays: packed.append(1) or packing(plan, *arrays))
    monkeypatch.setattr(Draft, "run", lambda draft, *arrays: packed.append(1) or run(draft, *arrays))
    geometry = cliffs.Geometry("dense", "conv2d", (1, 3, 8, 8), (4, 3, 3, 3), {"padding": 1})
    x, w = np.ones(geometry.x_shape, np.float32), np.zeros(geometry.w_shape, np.float32)
    for calls in ("new", "equal"):
        fc.clear_caches()
        packed.clear()
        call = cliffs.function_of(geometry, x, (w,), calls)
        assert {call().shape for _ in range(20)} == {(1, 4, 8, 8)}
        assert len(packed) >= 20 if calls == "new" else len(packed) <= 3


def test_the_suite_has_every_kind():
    """asv's parameters are the kinds, and its geometries those of its seed."""
    assert [kind.__name__ for kind in cliffs.KINDS] == drawn.KINDS == drawn.Drawn.params[0]
    assert drawn.geometry_of("pool", "channels_last") == draws(drawn.SEED, ["pool"], 1)[0].ordered(True)
