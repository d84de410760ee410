"""A comparison verifies before it times, finds what is wrong, and says what it looked at."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import fastconv as fc
from fastconv.kernels import reference
from fastconv.kernels.loops.convolutions import run_conv
from fastconv.measuring import checking as sampling
from fastconv.measuring.checking import sample
from fastconv.measuring.comparison import Comparison, Row, compare
from fastconv.measuring.roofs import copy_bandwidth, fma_peak
from fastconv.plans import registry
from fastconv.plans.errors import LOCAL, Error
from fastconv.problem.convolutions import ConvGeometry

RNG = np.random.default_rng(0)
X = RNG.standard_normal((1, 3, 8, 8)).astype(np.float32)
W = RNG.standard_normal((4, 3, 3, 3)).astype(np.float32)
LARGE_X = RNG.standard_normal((1, 4, 24, 24)).astype(np.float32)
LARGE_W = RNG.standard_normal((8, 4, 3, 3)).astype(np.float32)


def by_name(rows):
    """Rows by their implementation."""
    return {row.implementation: row for row in rows}


@pytest.fixture
def broken(monkeypatch):
    """Adds an implementation of "conv" that spoils what "loops" computed."""

    def add(spoil, name="broken"):
        def run(x, packed, geometry, out):
            run_conv(x, packed, geometry, out)
            spoil(out)

        honest = next(one for one in registry.OPERATIONS["conv"] if one.name == "loops")
        dear = replace(honest, name=name, run=run, cost=lambda *_: 9.0)
        monkeypatch.setitem(registry.OPERATIONS, "conv", (dear, *registry.OPERATIONS["conv"]))

    return add


# Rows -------------------------------------------------------------------------------------------------------------------


def test_every_implementation_is_verified_and_timed():
    rows = compare("conv2d", X, W, padding=1, seconds=0.02)
    assert [row.implementation for row in rows] == fc.implementations("conv2d")
    served = [row for row in rows if row.status != "skipped"]
    assert {"loops", "reference"} < {row.implementation for row in served}
    assert all(row.verified for row in rows)
    for row in served:
        assert (row.status, row.verified, row.peer) == ("ok", "all outputs", False)
        assert row.seconds > 0
        flops = 2 * 4 * 64 * 27
        assert row.gflops == pytest.approx(flops / row.seconds / 1e9)
        assert row.gbytes_per_second == pytest.approx(4 * (X.size + W.size + 4 * 64) / row.seconds / 1e9)
        assert row.max_error < 1e-5
    assert rows[-1].speedup == 1
    assert sum(row.auto for row in rows) == 1
    assert next(row for row in rows if row.auto).implementation == fc.conv2d.plan(X.shape, W, padding=1).implementation.name


def test_it_is_public():
    assert fc.compare is compare


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("operation", "x", "arguments", "options"),
    [
        ("conv1d", X[0, :, 0], (W[:, :, 0],), {"layout": "NCL", "activation": "silu"}),
        ("conv2d", np.moveaxis(X, 1, -1), (np.moveaxis(W, 1, -1), np.ones(4, np.float32), 2), {"layout": "NHWC"}),
        ("conv2d", X[0], (W,), {"padding_mode": "reflect", "padding": 1}),
        ("conv3d", X[:, :, None], (W[:, :, None],), {"padding": "same"}),
        ("conv_transpose2d", X, (np.swapaxes(W, 0, 1),), {"stride": 2, "output_padding": 1}),
        pytest.param("conv2d", X.astype(np.float16), (W.astype(np.float16),), {}, marks=pytest.mark.exhaustive),
        pytest.param("conv2d", X + 1j * X, (W - 2j * W,), {}, marks=pytest.mark.exhaustive),
        ("conv2d", (9 * X).astype(np.int16), (W.astype(np.int16),), {"activation": "relu"}),
        ("max_pool2d", X, (2,), {"return_indices": True}),
        ("min_pool1d", X[0], (3, 2), {}),
        ("avg_pool2d", np.moveaxis(X, 1, -1), (3,), {"layout": "NHWC", "padding": 1, "count_include_pad": False}),
        ("lp_pool2d", X, (3.0, 2), {}),
        ("adaptive_avg_pool2d", X, (3,), {}),
        ("global_max_pool", X, (), {}),
    ],
)
def test_every_convolution_and_pool_can_be_compared(operation, x, arguments, options):
    rows = compare(operation, x, *arguments, seconds=0.001, **options)
    assert [row.implementation for row in rows] == fc.implementations(operation)
    assert {row.status for row in rows} <= {"ok", "skipped"}
    assert sum(row.status == "ok" for row in rows) >= 2, rows


def test_an_implementation_that_cannot_serve_the_case_says_why(monkeypatch):
    honest = registry.OPERATIONS["conv"]
    refusing = replace(honest[0], supports=lambda problem: "it is Monday")
    monkeypatch.setitem(registry.OPERATIONS, "conv", (refusing, *honest[1:]))
    row = compare("conv2d", X, W, seconds=0.001)[0]
    assert (row.status, row.seconds) == ("skipped", None)
    assert "it is Monday" in row.verified


def test_one_that_would_take_too_long_is_skipped(broken):
    broken(lambda out: None, "slow")
    monday = registry.OPERATIONS["conv"][0]
    registry.OPERATIONS["conv"] = (replace(monday, cost=lambda *_: 1e6), *registry.OPERATIONS["conv"][1:])
    row = compare("conv2d", X, W, implementations=["slow"], seconds=0.001)[0]
    assert row.status == "skipped"
    assert "expected to take" in row.verified


def test_auto_stands_for_what_it_picks():
    assert [row.auto for row in compare("conv2d", X, W, implementations=["auto"], seconds=0.001)] == [True]


def test_inputs_are_left_alone():
    x, w = X.copy(), W.copy()
    compare("conv2d", x, w, seconds=0.001)
    assert np.array_equal(x, X)
    assert np.array_equal(w, W)


# What is wrong ----------------------------------------------------------------------------------------------------------


def test_one_wrong_element_is_found_and_not_timed(broken):
    def spoil(out):
        out[0, 3, 5, 5] += 1e-3

    broken(spoil)
    row = by_name(compare("conv2d", X, W, seconds=0.001))["broken"]
    assert (row.status, row.seconds, row.speedup) == ("wrong", None, None)
    assert "wrong at 1 of all outputs; (0, 3, 5, 5)" in row.verified
    assert row.max_error == pytest.approx(1e-3, rel=0.01)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_nan_or_infinity_is_found(broken, value):
    broken(lambda out: out.__setitem__((0, 0, 0, 0), value))
    assert by_name(compare("conv2d", X, W, seconds=0.001))["broken"].status == "wrong"


def test_in_a_sample_the_corners_are_looked_at(broken):
    broken(lambda out: out.__setitem__((0, -1, -1, -1), 0))
    comparison = Comparison("conv2d", LARGE_X, LARGE_W, implementations=["broken"], seconds=0.001, reference_seconds=0.01)
    list(comparison.steps())
    assert comparison.rows()[0].status == "wrong"


def test_one_that_raises_does_not_hide_the_others(broken):
    def explode(out):
        raise ZeroDivisionError("oops")

    broken(explode)
    rows = by_name(compare("conv2d", X, W, seconds=0.001))
    assert rows["broken"].status == "wrong"
    assert rows["broken"].verified == "raised ZeroDivisionError: oops"
    assert rows["loops"].status == "ok"


# The sample -------------------------------------------------------------------------------------------------------------


def test_a_large_case_is_checked_on_a_sample_and_says_so():
    comparison = Comparison(
        "conv2d", LARGE_X, LARGE_W, implementations=["loops", "reference"], seconds=0.01, reference_seconds=0.02
    )
    list(comparison.steps())
    own, reference = comparison.rows()
    total = 8 * 22 * 22
    assert own.verified == reference.verified
    count = int(own.verified.split()[0].replace(",", ""))
    assert own.verified == f"{count:,} of {total:,} outputs"
    assert 8 <= count < total
    assert reference.note == f"extrapolated from {own.verified}"
    assert own.status == "ok"


def test_an_extrapolated_time_is_that_of_the_whole(monkeypatch):
    """On a clock that ticks a millisecond for each output, a sample tells the time of all."""
    ticks, honest = [], reference.conv_cell
    monkeypatch.setattr(sampling, "time", SimpleNamespace(perf_counter=lambda: 1e-3 * len(ticks)))
    monkeypatch.setattr(reference, "conv_cell", lambda *cell: (ticks.append(cell), honest(*cell))[1])
    geometry = fc.conv2d.plan(LARGE_X.shape, LARGE_W).geometry
    part = sample(geometry, LARGE_X, LARGE_W, None, np.dtype(np.float32), 0.2)
    assert 100 <= part.count <= 100 + 2**3  # half of the limit, and the corners of channels, rows and columns
    assert not part.complete
    assert part.seconds == pytest.approx(1e-3 * part.total)


def test_the_sample_is_the_same_every_time_and_holds_the_reference_values():
    geometry = fc.conv2d.plan(LARGE_X.shape, LARGE_W).geometry
    whole = sample(geometry, LARGE_X, LARGE_W, None, np.dtype(np.float32), 100)
    expected = fc.conv2d(LARGE_X.astype(np.float64), LARGE_W.astype(np.float64), implementation="strided")
    np.testing.assert_allclose(expected[whole.index], whole.expected, rtol=1e-12, atol=1e-12)


def test_the_bound_is_what_decides():
    geometry = fc.conv2d.plan(X.shape, W).geometry
    assert isinstance(geometry, ConvGeometry)
    whole = sample(geometry, X, W, None, np.dtype(np.float32), 100)
    y = np.empty((1, 4, 6, 6))
    y[whole.index] = whole.expected + 0.99 * whole.bound
    assert whole.check(y, LOCAL)[1] is None
    y[whole.index] = whole.expected + 1.01 * whole.bound
    assert "wrong at 144 of all outputs" in whole.check(y, LOCAL)[1]
    assert whole.check(y, Error(4.0, spread=True))[1] is None


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_integers_and_maxima_must_be_equal(dtype):
    x = (100 * X).astype(dtype)
    whole = sample(fc.max_pool2d.plan(x.shape, 2).geometry, x, None, None, np.dtype(dtype), 100)
    assert not whole.bound.any()
    assert whole.check(fc.max_pool2d(x, 2), LOCAL) == (0.0, None)


def test_nothing_to_compute_is_no_failure():
    rows = compare("conv2d", np.zeros((0, 3, 8, 8), np.float32), W, seconds=0.001)
    assert {row.verified for row in rows if row.status == "ok"} == {"all outputs"}


# Steps, peers, roofs ----------------------------------------------------------------------------------------------------


def test_what_was_measured_before_an_interruption_is_there():
    comparison = Comparison("conv2d", X, W, seconds=0.01)
    assert comparison.rows() == []
    steps = comparison.steps()
    while "round 1" not in next(steps):
        pass
    assert {row.status for row in comparison.rows()} <= {"ok", "skipped"}
    assert not any(row.seconds for row in comparison.rows())
    next(steps)
    assert sum(row.seconds is not None for row in comparison.rows()) == 1
    steps.close()


def test_steps_are_as_many_as_announced_at_most():
    comparison = Comparison("conv2d", X, W, seconds=0.01)
    assert len(list(comparison.steps())) <= comparison.total_steps


@pytest.mark.parametrize("peer", ["scipy", "cv2"])
def test_peers_have_rows_of_their_own(peer):
    pytest.importorskip(peer)
    rows = compare("conv2d", X[:, :1], W[:1, :1], padding=1, implementations=["loops"], peers=[peer], seconds=0.01)
    assert [row.implementation for row in rows] == ["loops", peer]
    assert (rows[1].peer, rows[1].status, rows[1].verified) == (True, "ok", "all outputs")
    assert rows[1].seconds > 0
    assert rows[1].note


def test_a_peer_that_cannot_serve_the_case_says_why():
    pytest.importorskip("scipy")
    row = compare("conv2d", X, W, implementations=["loops"], peers=["scipy"], seconds=0.01)[-1]
    assert (row.status, row.verified) == ("skipped", "scipy does not sum over channels")


def test_the_roofs_are_measured():
    assert 1e8 < copy_bandwidth() < 1e13
    assert fma_peak(np.dtype(np.int32)) is None
    peak = fma_peak(np.dtype(np.float32), 2)
    assert peak is None or peak == 2 * fma_peak(np.dtype(np.float32))


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: compare("conv4d", X, W), ValueError, "operation must be one of"),
        (lambda: compare("relu", X), ValueError, "operation must be a convolution or pool.*got 'relu'"),
        (lambda: compare("conv", X, W), ValueError, "operation must be a convolution or pool.*got 'conv'"),
        (lambda: compare("conv2d", X), TypeError, "w"),
        (lambda: compare("conv2d", X, W, groups=2), ValueError, "groups"),
        (lambda: compare("conv2d", X, W, implementations=["x"]), ValueError, "implementations must be some of auto, .*got 'x'"),
        (lambda: compare("conv2d", X, W, peers=["jax"]), ValueError, "peers must be True, False or some of torch, .*got 'jax'"),
        (lambda: compare("conv2d", X, W, seconds=0), ValueError, "seconds must be above 0, got 0"),
    ],
)
def test_a_wrong_call_is_an_error_before_anything_runs(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_a_row_is_made_of_plain_values():
    assert Row("x") == Row("x")
    assert hash(Row("x")) == hash(Row("x"))
