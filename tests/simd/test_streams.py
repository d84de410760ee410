"""Channels that stream past their sums, by every register tile, on arrays that end at a guard page; and who takes it."""

from dataclasses import replace

import numpy as np
import pytest
from guards import SUPPORTED, guarded, guarded_everywhere
from machines import MESHED, NARROW

import fastconv as fc
from fastconv.kernels.simd.direct import choice as direct
from fastconv.kernels.simd.direct import pointwise, streams
from fastconv.kernels.simd.engine import tables, weights
from fastconv.machine import CACHED, host

TILES = tables.TILES[host().isa].streams
LANES = host().lanes(np.dtype("f4"))


def launches(problem, w, bias, tile, chunk=None):
    """Those by one tile, and with so many channels a chunk."""
    g, dtype, machine = problem.geometry, problem.dtype, host()
    cut = streams.cut(g, tile, dtype, machine)
    cut = cut if chunk is None else cut._replace(chunk=chunk)
    return tuple([weights.launched(draft, w, bias) for draft in streams.drafts(g, cut, dtype, machine)])


def whole(shape, dtype, seed=3):
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)


@pytest.mark.skipif(not SUPPORTED, reason="guard pages are made by mprotect")
@pytest.mark.parametrize("activation", [None, "relu", pytest.param("silu", marks=pytest.mark.slow)])
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize("tile", TILES, ids=str)
def test_every_tile_gives_the_sums_of_every_block(tile, dtype, activation, threads, monkeypatch):
    """Blocks of a tile and of several, what is left of them, one block and many; groups, a residual, one thread and three."""
    monkeypatch.setattr(streams, "RUN", 8 * tile.columns * host().vector_bytes)
    width = tile.columns * host().lanes(np.dtype(dtype))
    lengths = width, width + 1, 3 * width - 1, 12 * width, 13 * width + 3, 45 * width - 1
    for length, groups, k_extra in zip(lengths, (1, 3, 1, 2, 1, 2), (0, 1, 2, tile.rows, 3, 1), strict=True):
        k = tile.rows + k_extra
        x, w, bias = whole((2, 5 * groups, length), dtype), whole((k * groups, 5, 1), dtype), whole(k * groups, dtype)
        residual = whole((2, k * groups, length), dtype) if k_extra == 1 else None
        options = {"groups": groups, "activation": activation}
        expected = fc.conv1d(x, w, bias, residual=residual, implementation="im2col", **options)
        plan = fc.conv1d.plan(x.shape, w, bias, residual=residual is not None, implementation="direct", **options)
        for chunk, at, n in ((5, "end", 1), (2, "beginning", 3), (1, "end", 2)):
            fc.set_num_threads(n)
            packed = launches(plan.served, w.reshape(-1), bias, tile, chunk)
            out = guarded(np.full(expected.shape, np.nan, dtype), at)
            operands = {"x": guarded(x, at)} | ({} if residual is None else {"residual": guarded(residual, at)})
            direct.run(operands, guarded_everywhere(packed, at), plan.served, out)
            np.testing.assert_allclose(out, expected, rtol=16 * np.finfo(dtype).eps if activation == "silu" else 0)


@pytest.mark.parametrize("tile", TILES, ids=str)
def test_sums_have_the_order_that_panels_have(tile, rng):
    """However channels are cut into chunks."""
    x = rng.standard_normal((1, 19, 7, 11 * LANES), np.float32)
    w = rng.standard_normal((9, 19, 1, 1), np.float32)
    bias = rng.standard_normal(9, np.float32)
    plan = fc.conv2d.plan(x.shape, w, bias, implementation="direct")
    by_panels = [weights.launched(one, w, bias) for one in pointwise.candidate(plan.served, host()).launch()]
    expected = np.empty(plan.out_shape, np.float32)
    direct.run({"x": x}, tuple(by_panels), plan.served, expected)
    for chunk in (3, 8, 19):
        out = np.full(plan.out_shape, np.nan, np.float32)
        direct.run({"x": x}, launches(plan.served, w, bias, tile, chunk), plan.served, out)
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("dtype", ["float16", "uint8", "int16"])
def test_what_is_converted_is_read_and_written_where_it_lies(dtype, monkeypatch):
    monkeypatch.setattr(direct, "choice", streams.candidate)
    x, w = abs(whole((1, 6, 9, 40), dtype)), whole((5, 6, 1, 1), np.float32)
    w, result = (w.astype(dtype), None) if dtype == "float16" else (w, np.float32)
    plan = fc.conv2d.plan(x.shape, w, x_dtype=x.dtype, dtype=result, implementation="direct")
    assert "streams" in plan.kernel
    expected = fc.conv2d(x.astype(np.float32), w.astype(np.float32), implementation="im2col")
    np.testing.assert_array_equal(plan(x), expected)


def test_no_position_is_in_two_blocks_or_in_none():
    """Of odd lengths, whose last blocks are longer than the others."""
    tile = TILES[0]
    for length in (2 * streams.RUN // 4 - 1, 2 * streams.RUN // 4 + 17, 9 * streams.RUN // 4 + 5):
        x, w = whole((1, 3, length), np.float32), whole((tile.rows + 1, 3, 1), np.float32)
        plan = fc.conv1d.plan(x.shape, w, implementation="direct", activation="gelu")
        packed = launches(plan.served, w, np.zeros(len(w), np.float32), tile)
        assert packed[0].items == max(1, round(length * 4 / streams.RUN))
        out = np.full(plan.out_shape, np.nan, np.float32)
        direct.run({"x": x}, packed, plan.served, out)
        # An activation that is applied to what was stored would be applied twice where blocks overlap.
        np.testing.assert_allclose(out, fc.conv1d(x, w, activation="gelu", implementation="im2col"), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("x_shape", "k"),
    [((1, 64, 256, 256), 1), ((1, 64, 256, 256), 2), ((1, 64, 128, 128), 4), ((1, 3, 224, 224), 64), ((1, 2, 500, 500), 20)],
)
def test_heads_and_first_layers_of_large_maps_take_it(x_shape, k):
    w = np.zeros((k, x_shape[1], 1, 1), np.float32)

    def streamed(**options):
        plan = fc.conv2d.plan(x_shape, w, implementation="direct", **options)
        return isinstance(direct.choice(plan.served, NARROW).cut, streams.Cut)

    assert streamed()
    assert not streamed(stride=2)
    assert not streamed(padding=1)


def test_layers_of_many_channels_go_elsewhere():
    def suits(c, k, positions):
        plan = fc.conv1d.plan((1, c, positions), np.zeros((k, c, 1), np.float32), implementation="direct")
        return streams.suits(plan.served, host())

    assert suits(streams.FEW_INPUTS, streams.MOST_OUTPUTS, 1000)
    assert suits(streams.WHOLE, 5000, 100)
    assert not suits(streams.FEW_INPUTS, streams.MOST_OUTPUTS + 1, 1000)  # whose sums take megabytes
    assert suits(512, streams.FEW_OUTPUTS, 1000)
    assert not suits(streams.FEW_INPUTS + 1, streams.FEW_OUTPUTS + 1, 1000)
    assert not suits(8, 8, LANES)  # less than a tile


def test_channels_are_read_in_chunks_that_a_processor_foresees():
    """Fewer where memory is far, where few outputs hide nothing, and where they share sets of the L1 cache."""

    def chunk(c, k, *size):
        geometry = fc.conv2d.plan((1, c, *size), np.zeros((k, c, 1, 1), np.float32), implementation="direct").geometry
        return streams.chunk_of(geometry, np.dtype(np.float32), replace(host(), l3=32 << 20))

    assert chunk(24, 144, 57, 55) == 24
    assert chunk(48, 144, 57, 55) == 16
    assert chunk(24, 144, 64, 64) == chunk(24, 8, 57, 55) == chunk(24, 144, 403, 401) == 8
    assert chunk(20, 1, 57, 55) == 7


def test_panels_wait_for_memory_that_is_far_but_over_a_mesh():
    """Where nothing was measured."""

    def waits(machine, size):
        plan = fc.conv2d.plan((1, 64, size, size), np.zeros((4, 64, 1, 1), np.float32), implementation="direct")
        problem = plan.served
        return streams.waiting_cycles(problem.geometry, pointwise.candidate(problem, machine).cut, problem.dtype, machine)

    assert waits(MESHED, 300) == 0
    flat = replace(MESHED, cached=CACHED)
    assert waits(flat, 300) > 0 == waits(flat, 31)
