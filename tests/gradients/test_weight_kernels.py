"""The vector kernels of the gradient by weights: guard pages, partial sums, threads, NaN, bounds of rounding, workspaces."""

import gc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from guards import guarded
from machines import HALVING, MESHED, NARROW

import fastconv as fc
from fastconv import grad
from fastconv.kernels.simd.engine import maps as maps_of_a_row
from fastconv.kernels.simd.gradients import choice, cuts, maps, outputs, rows, squares, winograd
from fastconv.machine import CACHED, CACHED_FAR, Machine, host
from fastconv.measuring.checking import allowed, bound_of, error_of, roundings
from fastconv.problem.convolutions import LAYOUTS, ConvGeometry
from fastconv.problem.gradients import WeightGradient
from fastconv.problem.problem import Problem
from fastconv.problem.types import uniform

FLOAT = np.dtype(np.float32)
FAMILIES = {"direct": choice.DIRECT, "winograd": choice.WINOGRAD, "depthwise": choice.DEPTHWISE}
Arrays = tuple[np.ndarray, np.ndarray]


def problem(size: tuple[int, ...], kernel: tuple[int, ...], channels: tuple[int, int], last: bool, **options: Any) -> Problem:
    """The gradient by `channels` filters of a size: two images, a padding of 1, unless told otherwise."""
    rank, (c, k) = len(size), channels
    ones = (1,) * rank
    given = {"stride": ones, "dilation": ones, "padding": ((1, 1),) * rank, "groups": 1, "batch": 2, **options}
    geometry = ConvGeometry(
        batch=given["batch"],
        in_channels=c,
        out_channels=k,
        in_size=size,
        kernel=kernel,
        stride=given["stride"],
        padding=given["padding"],
        dilation=given["dilation"],
        groups=given["groups"],
        output_padding=(0,) * rank,
        channels_last=last,
    )
    return Problem(WeightGradient(geometry), uniform(FLOAT))


def drawn(asked: Problem, whole: bool) -> Arrays:
    """x and dy: whole numbers, whose sums are exact, or normal ones."""
    rng, g = np.random.default_rng(3), asked.geometry
    shapes = g.x_shape, g.dy_shape
    if whole:
        return tuple(rng.integers(-4, 5, shape).astype(FLOAT) for shape in shapes)
    return tuple(rng.standard_normal(shape).astype(FLOAT) for shape in shapes)


def called(asked: Problem, arrays: Arrays, name: str, dtype: Any = FLOAT) -> np.ndarray:
    """fastconv.grad's operation by an implementation."""
    g = asked.geometry.forward
    operation = getattr(grad, f"conv{g.rank}d_weight")
    options = {"padding": g.padding, "groups": g.groups, "layout": LAYOUTS[g.rank][g.channels_last]}
    x, dy = (array.astype(dtype) for array in arrays)
    return operation(x, g.w_shape, dy, g.stride, dilation=g.dilation, implementation=name, **options)


GUARDED = {
    "3x3": problem((7, 9), (3, 3), (18, 10), False),
    "strided": problem((9, 8), (3, 3), (18, 10), False, stride=(2, 2)),
    "pixels": problem((7, 9), (1, 1), (18, 10), False, padding=((0, 0), (0, 0))),
    "colours": problem((7, 41), (3, 3), (3, 32), False),
    "colours strided": problem((9, 70), (5, 5), (3, 20), False, stride=(2, 2)),
    "few dilated": problem((9, 12), (3, 2), (5, 16), False, dilation=(2, 3)),
    "small groups": problem((7, 9), (3, 3), (8, 12), False, groups=2),
    "depthwise": problem((7, 21), (3, 3), (18, 18), False, groups=18),
    "depthwise strided": problem((7, 70), (3, 3), (3, 6), False, groups=3, stride=(2, 2)),
    "depthwise squares": problem((7, 7), (3, 3), (18, 18), False, groups=18, batch=3),
}
ROWS = {
    "depthwise rows": problem((7, 29), (3, 3), (32, 32), True, groups=32),
    "depthwise rows strided": problem((6, 57), (3, 3), (32, 32), True, groups=32, stride=(2, 2)),
}
GUARDED |= {
    f"{name} last": replace(asked, geometry=WeightGradient(replace(asked.geometry.forward, channels_last=True)))
    for name, asked in GUARDED.items()
} | ROWS


@pytest.mark.parametrize("at", ["end", pytest.param("beginning", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", GUARDED)
def test_nothing_is_read_or_written_out_of_bounds(name: str, at: str) -> None:
    """Every family on arrays at guard pages: the loops' sums, to the bit where they are summed directly."""
    asked = GUARDED[name]
    x, dy = drawn(asked, whole=True)
    expected = called(asked, (x, dy), "loops")
    served = [one for one, family in FAMILIES.items() if family.supports(asked) is None]
    assert "direct" in served
    for one in served:
        out = guarded(np.full(expected.shape, np.nan, FLOAT), at)
        FAMILIES[one].run({"x": guarded(x, at), "dy": guarded(dy, at)}, None, asked, out)
        if error_of("conv_weight", one).spread:
            np.testing.assert_allclose(out, expected, atol=bound(asked, (x, dy), one))
        else:
            np.testing.assert_array_equal(out, expected)


@pytest.mark.skipif(host().vector_bytes < 32, reason="it serves wider vectors")
@pytest.mark.parametrize("far", [False, True])
def test_squares_of_every_size(far: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loops' sums, to the bit, at guard pages, of channels that are shared out anyhow; a NaN stays in its channel."""
    monkeypatch.setattr(Machine, "asks", lambda self, moved: far)
    for side in range(2, maps_of_a_row.LARGEST + 1):
        asked = problem((side, side), (3, 3), (5, 5), False, groups=5, batch=3)
        x, dy = drawn(asked, whole=True)
        expected = called(asked, (x, dy), "loops")
        assert squares.supports(asked.geometry.forward, FLOAT, host()) is None
        fc.clear_caches()
        (candidate,) = squares.candidates(asked.geometry.forward, FLOAT, host())
        made = candidate.launch()
        for at in ("end", "beginning"):
            out = guarded(np.full(expected.shape, np.nan, FLOAT), at)
            made.run(guarded(x, at).ravel(), guarded(dy, at).ravel(), out.ravel())
            np.testing.assert_array_equal(out, expected)
        parts = np.full(expected.shape, np.nan, FLOAT)
        for begin, end in ((0, 1), (1, 4), (4, 5)):
            made.kernel.serial(begin, end, x.ravel(), dy.ravel(), parts.ravel(), made.sizes, made.parameters)
        np.testing.assert_array_equal(parts, expected)
        dy[1, 2, 1, 1] = np.nan
        made.run(x.ravel(), dy.ravel(), parts.ravel())
        assert np.isnan(parts[2]).all()
        np.testing.assert_array_equal(parts[[0, 1, 3, 4]], expected[[0, 1, 3, 4]])
    fc.clear_caches()


def bound(asked: Problem, arrays: Arrays, name: str) -> float:
    """The largest error that a record allows."""
    magnitude = called(asked, (np.abs(arrays[0]), np.abs(arrays[1])), "im2col", np.float64)
    found = bound_of(magnitude, magnitude, roundings(asked.geometry, FLOAT), FLOAT)
    return float(allowed(found, error_of("conv_weight", name)).max())


SLICED = {
    "direct": problem((40, 41), (3, 3), (20, 17), True, batch=4),
    "colours": problem((40, 41), (5, 5), (3, 17), True, batch=4),
    "winograd": problem((40, 41), (3, 3), (20, 17), True, batch=4),
    "depthwise": problem((40, 41), (3, 3), (18, 18), True, batch=4, groups=18),
}


@pytest.mark.parametrize("name", SLICED)
def test_partial_sums_have_the_same_bits_on_any_number_of_threads(name: str) -> None:
    """Slices of the positions, of which there are several here, are added up in one order."""
    asked, name = SLICED[name], "direct" if name == "colours" else name
    launch = choice.launch_of(FAMILIES[name], asked, host())
    assert launch.items > 1
    arrays = drawn(asked, whole=False)
    before = fc.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 5):
            fc.set_num_threads(threads)
            results.append(called(asked, arrays, name))
    finally:
        fc.set_num_threads(before)
    for one in results[1:]:
        np.testing.assert_array_equal(one, results[0])
    exact = called(asked, arrays, "im2col", np.float64)
    np.testing.assert_allclose(results[0], exact, atol=bound(asked, arrays, name))


@pytest.mark.parametrize("size", [(6, 4), (5, 7), (6, 9), (9, 3)])
def test_minimal_filtering_keeps_its_bound_on_small_maps(size: tuple[int, int]) -> None:
    """Sums of few products, whose bound is the tightest, by tiles that end beyond the map."""
    asked = problem(size, (3, 3), (18, 10), True, padding=((0, 0), (1, 1)), batch=1)
    arrays = drawn(asked, whole=False)
    exact = called(asked, arrays, "reference", np.float64)
    np.testing.assert_allclose(called(asked, arrays, "winograd"), exact, atol=bound(asked, arrays, "winograd"))


@pytest.mark.parametrize("last", [False, True])
def test_a_nan_reaches_the_taps_that_meet_it(last: bool) -> None:
    """One in the last column of x meets the last taps of a depthwise kernel alone; lanes behind the last output see nothing."""
    asked = problem((7, 21), (3, 3), (18, 18), last, groups=18, padding=((1, 1), (0, 0)))
    x, dy = drawn(asked, whole=True)
    (x[1, 3, 20] if last else x[1, :, 3, 20])[5] = np.nan
    expected = called(asked, (x, dy), "reference")
    assert 0 < np.isnan(expected).sum() < expected.size
    for name in ("depthwise", "direct"):
        np.testing.assert_array_equal(called(asked, (x, dy), name), expected)


@pytest.mark.parametrize("name", FAMILIES)
def test_no_image_gives_zeros(name: str) -> None:
    """A sum of nothing is written, not left."""
    asked = problem((7, 9), (3, 3), (18, 18), False, batch=0, groups=18 if name == "depthwise" else 1)
    out = np.full(asked.geometry.out_shape, np.nan, FLOAT)
    x, dy = drawn(asked, whole=True)
    FAMILIES[name].run({"x": x, "dy": dy}, None, asked, out)
    assert not out.any()


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("stride", [1, 3000])
def test_far_windows_are_refused_or_copied_in_parts(stride: int, last: bool) -> None:
    """Large steps and dilations do not make a copy that grows with them."""
    far = problem((1, 40_000), (1, 3), (40, 8), last, dilation=(1, 15_000), stride=(1, stride), padding=((0, 0), (0, 0)))
    reason = choice.DIRECT.supports(far)
    assert reason is not None
    assert "30,001 cells" in reason
    near = problem((1, 40_000), (1, 3), (40, 8), last, stride=(1, 3000), padding=((0, 0), (0, 0)))
    chunk = choice.chosen(choice.DIRECT, near, host()).cut.chunk
    assert chunk[2] * 3000 * 40 <= 2 << 20


@pytest.mark.parametrize("last", [False, True])
def test_layers_of_few_channels_have_vectors_of_output_channels(last: bool) -> None:
    """And are not copied where their dy lies in whole vectors, channels last."""
    asked = GUARDED["colours last" if last else "colours"]
    assert "_outputs_" in choice.DIRECT.kernel(asked, host())
    many = problem((9, 9), (1, 1), (256, 64), last, padding=((0, 0), (0, 0)))
    assert not isinstance(choice.chosen(choice.DIRECT, many, NARROW).cut, outputs.Cut)


def test_rows_beyond_the_l2_cache_are_asked_for_where_a_vector_is_a_line() -> None:
    """Of narrower vectors, each of which asks, from several times as much on."""
    for side, batch, halving, narrow in ((14, 1, False, False), (56, 1, True, False), (56, 8, True, True)):
        g = problem((side, side), (3, 3), (96, 96), True, groups=96, batch=batch).geometry.forward.lifted()
        assert rows.is_far(g, FLOAT, HALVING) == halving
        assert rows.is_far(g, FLOAT, NARROW) == narrow


@pytest.mark.parametrize("name", ROWS)
def test_channels_in_whole_vectors_are_read_where_they_lie(name: str) -> None:
    """By the kernel of rows, the same bits whether or not it asks for rows ahead; arrays end at a guard page."""
    asked = ROWS[name]
    x, dy = drawn(asked, whole=True)
    assert "_rows_" in choice.DEPTHWISE.kernel(asked, host())
    one = next(rows.candidates(asked.geometry.forward, FLOAT, host()))
    expected = called(asked, (x, dy), "loops")
    for ahead in (False, True):
        out = np.full(expected.shape, np.nan, FLOAT)
        cut = one.cut._replace(form=one.cut.form._replace(ahead=ahead))
        made = rows.draft(asked.geometry.forward.lifted(), cut, FLOAT, host())
        made.run(guarded(x, "end").ravel(), guarded(dy, "end").ravel(), out.ravel())
        np.testing.assert_array_equal(out, expected)


MASKS = pytest.mark.skipif(host().vector_bytes < 32, reason="masks are slow there, and rows are copied")


@MASKS
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (5, 4), (7, 7)], ids=str)
def test_maps_are_read_where_they_lie(kernel: tuple[int, int], stride: int) -> None:
    """Maps narrower and wider than a vector, of fewer rows than go together and of more, padding wider than they are."""
    for size in ((1, 1), (3, 5), (7, 7), (19, 33), (9, 70)):
        for padding in (((0, 0), (0, 0)), ((1, 2), (3, 0)), ((6, 6), (6, 6))):
            if any(cells + sum(pads) < taps for cells, pads, taps in zip(size, padding, kernel, strict=True)):
                continue
            read_in_place(problem(size, kernel, (3, 6), False, groups=3, padding=padding, stride=(stride, stride)))


@MASKS
@pytest.mark.parametrize(
    "options",
    [
        {"dilation": (3, 2)},
        {"dilation": (2, 1), "stride": (1, 2)},
        {"stride": (3, 1)},
        {"stride": (2, 1), "padding": ((3, 1), (0, 2))},
        {"stride": (4, 2), "padding": ((0, 3), (2, 1))},
    ],
    ids=str,
)
def test_maps_with_steps_are_read_where_they_lie(options: Any) -> None:
    """Taps and outputs some rows and columns apart, of few channels and of more than a block has."""
    for channels in (2, 35):
        read_in_place(problem((17, 40), (3, 3), (channels, channels), False, groups=channels, **options))


@MASKS
def test_maps_of_a_volume_are_read_where_they_lie() -> None:
    """Slices of the kernel that meet planes of padding."""
    read_in_place(problem((5, 9, 18), (3, 3, 3), (4, 4), False, groups=4))


def read_in_place(asked: Problem) -> None:
    """The kernel of maps gives the loops' sums, whether or not it asks for maps ahead, of arrays at guard pages."""
    x, dy = drawn(asked, whole=True)
    expected = called(asked, (x, dy), "loops")
    one = next(maps.candidates(asked.geometry.forward, FLOAT, host()))
    assert maps.supports(asked.geometry.forward, FLOAT, host()) is None
    for ahead, at in ((False, "end"), (False, "beginning"), (True, "end")):
        out = guarded(np.full(expected.shape, np.nan, FLOAT), at)
        cut = one.cut._replace(form=one.cut.form._replace(ahead=ahead))
        made = maps.draft(asked.geometry.forward.lifted(), cut, FLOAT, host())
        made.run(guarded(x, at).ravel(), guarded(dy, at).ravel(), out.ravel())
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("cached", [CACHED, CACHED_FAR])
@pytest.mark.parametrize("last", [False, True])
def test_chunks_that_leave_the_l2_cache_give_the_same_sums(last: bool, cached: float) -> None:
    """The smallest and the largest chunk of a machine with a small one."""
    asked, machine = problem((30, 29), (3, 3), (24, 20), last, batch=3), replace(host(), l2=64 << 10, cached=cached)
    arrays = drawn(asked, whole=False)
    exact, most = called(asked, arrays, "im2col", np.float64), bound(asked, arrays, "winograd")
    found = sorted(winograd.candidates(asked.geometry.forward, FLOAT, machine), key=lambda one: np.prod(one.cut.chunk))
    assert np.prod(found[0].cut.chunk) * 4 < np.prod(found[-1].cut.chunk)
    for one in (found[0], found[-1]):
        out = np.full(exact.shape, np.nan, FLOAT)
        one.launch().run(arrays[0].ravel(), arrays[1].ravel(), out.ravel())
        np.testing.assert_allclose(out, exact, atol=most)


def test_over_a_mesh_a_chunk_fits_the_l2_cache_with_its_copies() -> None:
    """Of 2 MiB: what leaves it, copies too, comes back at the speed of the last cache."""
    for channels, size in ((64, 56), (128, 28), (32, 32)):
        geometry = problem((size, size), (3, 3), (channels, channels), True, batch=8).geometry.forward
        best = min(winograd.candidates(geometry, FLOAT, MESHED), key=lambda one: one.seconds).cut
        tiles = int(np.prod(best.chunk)) // 16
        assert sum(cuts.held_by((4, 4), (best.k_part, best.c_part), tiles, FLOAT)) <= MESHED.l2 * 7 // 8


@pytest.mark.parametrize("parts", [(16, 16), (64, 128), (256, 256)], ids=str)
@pytest.mark.parametrize(("l2", "l3"), [(256 << 10, 2 << 20), (512 << 10, 32 << 20), (2 << 20, 64 << 20)])
def test_chunks_beyond_the_l2_cache_take_a_share_of_the_last_one(l2: int, l3: int, parts: tuple[int, int]) -> None:
    """With all that a thread keeps beside them, whatever the channels of a block."""
    machine = replace(host(), l2=l2, l3=l3)
    near, *more = cuts.chunks_for((4, 4), parts, FLOAT, machine)
    assert near >= 4
    assert near not in more
    for tiles in more:
        assert sum(cuts.held_by((4, 4), parts, tiles, FLOAT)) <= min(cuts.MOST_HELD, l3 // 4)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system does not tell the most memory since then")
@pytest.mark.parametrize(
    ("name", "size", "kernel", "channels", "options"),
    [
        ("direct", 7, 3, (512, 512), {}),
        ("winograd", 7, 3, (512, 512), {}),
        ("winograd", 56, 3, (64, 64), {}),
        ("direct", 14, 1, (256, 1024), {"padding": ((0, 0), (0, 0))}),
        ("direct", 112, 7, (3, 64), {"stride": (2, 2)}),
        ("depthwise", 14, 3, (384, 384), {"groups": 384}),
    ],
)
def test_workspaces_take_16_mib_at_most(name: str, size: int, kernel: int, channels: tuple[int, int], options: Any) -> None:
    """In sum, of one call on one thread, as the system counts the pages that were touched; eight images, channels first."""
    asked = problem((size, size), (kernel, kernel), channels, False, batch=8, **options)
    x, dy = drawn(asked, whole=True)
    out, family = np.zeros(asked.geometry.out_shape, FLOAT), FAMILIES[name]
    operands = {"x": x, "dy": dy}
    fc.set_num_threads(1)
    family.run(operands, None, asked, out)  # compiles
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    family.run(operands, None, asked, out)
    assert resident("VmHWM") - before <= 16 << 20


def resident(field: str) -> int:
    """Bytes of this process in memory: now, or at most since the count began."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) << 10


@pytest.mark.slow
@pytest.mark.parametrize("name", ["3x3", "3x3 last", "strided", "pixels last"])
def test_every_candidate_gives_the_same_sums(name: str) -> None:
    """Every register tile and block that could be chosen: the loops' sums."""
    asked = GUARDED[name]
    x, dy = drawn(asked, whole=True)
    expected = called(asked, (x, dy), "loops")
    candidates = list(choice.DIRECT.candidates(asked, host()))
    assert len(candidates) > 2
    for one in candidates:
        out = np.full(expected.shape, np.nan, FLOAT)
        one.launch().run(x.ravel(), dy.ravel(), out.ravel())
        np.testing.assert_array_equal(out, expected)
