"""The kernels of direct convolution, each on everything that it could serve, chosen or not, at guard pages."""

from dataclasses import replace

import numpy as np
import pytest
from cases import CASES
from comparing import answers, assert_answers
from guards import SUPPORTED, guarded, guarded_everywhere

import fastconv as fc
from fastconv.kernels.simd.direct import choice as direct
from fastconv.kernels.simd.direct import cuts, dots, held, patches, planar, pointwise, streams, tiles
from fastconv.kernels.simd.engine.tables import TILES, Tile
from fastconv.kernels.simd.engine.walks import flattened
from fastconv.machine import host
from fastconv.plans.errors import LOCAL

MODULES = {
    "tiles": tiles,
    "planar": planar,
    "pointwise": pointwise,
    "streams": streams,
    "dots": dots,
    "held": held,
    "patches": patches,
}
KERNELS = 12  # of those that are compiled for their number of products: others would take minutes


@pytest.mark.skipif(not SUPPORTED, reason="guard pages are made by mprotect")
@pytest.mark.parametrize("at", ["end", pytest.param("beginning", marks=pytest.mark.slow)])
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", MODULES)
def test_each_kernel_gives_what_it_would_give_if_it_were_chosen(name, dtype, at, monkeypatch):
    """Whatever the costs say; whole numbers, which have no rounding. Where tiles are chosen, other tests have them."""
    module, served, choice, seen = MODULES[name], 0, direct.choice, set()

    def forced(problem, machine):
        return module.candidate(problem, machine) if module.suits(problem, machine) else choice(problem, machine)

    monkeypatch.setattr(direct, "choice", forced)
    for case in CASES:
        if case.family not in ("conv", "conv_transpose"):
            continue
        inputs = case.inputs(dtype)
        plan = case.plan(inputs, "direct")
        problem = plan.served
        if 0 in plan.geometry.out_shape or not module.suits(problem, host()):
            continue
        if module is tiles and isinstance(choice(problem, host()).cut, cuts.Cuts):
            continue
        if module in (held, patches) and len(seen) < KERNELS:
            seen.add(plan.kernel)
        if module in (held, patches) and plan.kernel not in seen:
            continue
        out = guarded(np.full(plan.geometry.out_shape, np.nan, dtype), at)
        operands = {one: guarded(inputs[one], at) for one in ("x", "residual") if one in inputs}
        operands["x"] = operands["x"].reshape(plan.geometry.x_shape)
        direct.run(operands, guarded_everywhere(plan.packed, at), problem, out)
        assert_answers(out.reshape(plan.out_shape), answers(case, dtype, "whole"), LOCAL)
        served += 1
    assert served >= (1 if module is streams else 5)  # few of these maps fill vectors of streams; test_streams.py has others


@pytest.mark.parametrize(
    ("size", "options", "served"),
    [
        (28, {"padding": 1}, True),
        (400, {"stride": 20}, True),
        (300, {"dilation": 50, "padding": 50}, True),
        (1000, {"dilation": 333}, False),
    ],
)
def test_patches_copy_no_more_cells_than_the_cache_holds(size, options, served):
    """Rows of wide dilations and strides lie far apart: a row of outputs takes all lines between its taps."""
    plan = fc.conv2d.plan((1, 1, size, size), np.ones((4, 1, 3, 3), np.float32), **options)
    machine = replace(host(), l2=1 << 20)
    assert patches.suits(plan.served, machine) == served
    g = flattened(plan.served.geometry)
    lines, of_line = patches.cells_under(g, patches.cut(g, plan.served.dtype, machine))
    assert (4 * lines * of_line <= machine.l2 // 2) == served


@pytest.mark.parametrize("activation", ["relu", "silu"])
@pytest.mark.parametrize("outputs", [16, 21])
def test_held_adds_a_residual_where_the_result_goes(outputs, activation, threads, monkeypatch):
    """In registers: whole panels, parts of one, positions that a tile leaves over; plans bound to the residual's own memory."""
    monkeypatch.setattr(direct, "choice", held.candidate)
    rng = np.random.default_rng(outputs)
    shapes = (2, 7, 13, 2), (outputs, 3, 2, 2), (outputs,), (2, 7, 13, outputs)
    x, w, bias, residual = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    options = {"padding": ((1, 1), (1, 0)), "layout": "NHWC", "activation": activation}
    expected = fc.conv2d(x, w, bias, residual=residual, implementation="im2col", **options)
    plan = fc.conv2d.plan(x.shape, w, bias, residual=True, implementation="direct", **options)
    assert "held" in plan.kernel
    np.testing.assert_allclose(plan(x, residual=residual), expected, rtol=1e-5, atol=1e-5)
    assert plan.adds_in_place
    y = residual.copy()
    plan.bind(x, y, out=y)()
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("channels", "outputs"), [(1, 1), (1, 5), (3, 4), (7, 9), (16, 2)])
def test_rows_shorter_than_a_vector(channels, outputs, dtype, monkeypatch):
    """Weights are read where they lie, also those of a block that has fewer channels than a tile has rows."""
    monkeypatch.setattr(direct, "choice", planar.candidate)
    rng = np.random.default_rng(channels)
    for width in range(3, 2 * host().lanes(np.dtype(dtype)) + 2, 3):
        for options in ({"padding": 1}, {"stride": 2, "padding": (0, 1)}, {"dilation": (2, 1), "padding": 2, "groups": 2}):
            groups = options.get("groups", 1)
            shapes = (2, channels * groups, 5, width), (outputs * groups, channels, 3, 3), (outputs * groups,)
            x, w, bias = (rng.integers(-4, 5, shape).astype(dtype) for shape in shapes)
            plan = fc.conv2d.plan(x.shape, w, bias, activation="relu", implementation="direct", **options)
            expected = fc.conv2d(x, w, bias, activation="relu", implementation="im2col", **options)
            np.testing.assert_array_equal(plan(x), expected)


@pytest.mark.skipif(host().vector_bytes < 32, reason="narrow vectors are not half empty along the channels")
def test_small_maps_of_few_channels_read_their_weights_where_they_lie():
    """A call of the function then packs nothing."""
    w = np.ones((4, 3, 3, 3), np.float32)
    plan = fc.conv2d.plan((1, 3, 12, 18), w)
    assert "planar" in plan.kernel
    assert plan.packed[0].weights.size == w.size


def test_the_kernel_that_is_told_is_the_one_that_is_estimated():
    for case in CASES:
        if case.family in ("conv", "conv_transpose"):
            plan = case.plan(case.inputs("float32"), "direct")
            if plan.packed:
                names = {launch.kernel.__name__ for launch in plan.packed}
                assert set(direct.kernel(plan.served, host()).split(", ")) == names
                assert direct.cost(plan.served, host()) == min(one.seconds for one in direct.candidates(plan.served, host()))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("activation", [None, "relu", ("leaky_relu", 0.25), "hardswish", "silu", "gelu"])
@pytest.mark.parametrize(
    ("x_shape", "w_shape", "options"),
    [
        ((2, 9, 7, 11), (21, 9, 3, 3), {"padding": 1}),
        ((1, 8, 6, 5), (34, 4, 3, 2), {"groups": 2, "stride": 2, "padding": 1}),
        ((2, 2, 9, 41), (5, 2, 3, 3), {"padding": 1}),
        ((1, 1, 19, 41), (1, 1, 3, 3), {"padding": 1, "stride": (1, 2)}),
        ((1, 20, 7, 7), (19, 20, 1, 1), {}),
        ((1, 20, 9, 8), (3, 20, 1, 1), {}),
    ],
    ids=["dense", "groups", "planar", "stack", "rest", "few"],
)
def test_a_residual_is_added_once_before_the_activation(x_shape, w_shape, options, activation, layout):
    rng = np.random.default_rng(43)
    x, w = (rng.standard_normal(shape).astype(np.float32) for shape in (x_shape, w_shape))
    if layout == "NHWC":
        x, w = (np.ascontiguousarray(np.moveaxis(array, 1, -1)) for array in (x, w))
    options = {**options, "layout": layout, "activation": activation}
    residual = rng.standard_normal(fc.conv2d.plan(x.shape, w, **options).out_shape).astype(np.float32)
    expected = fc.conv2d(x, w, residual=residual, implementation="reference", **options)
    for name in ("direct", "unpacked"):
        y = fc.conv2d(x, w, residual=residual, implementation=name, **options)
        np.testing.assert_allclose(y, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("implementation", ["direct", "unpacked"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    ("x_shape", "w_shape", "options"),
    [
        ((2, 9, 7, 11), (21, 9, 3, 3), {"padding": 2}),
        ((1, 8, 6, 5), (34, 4, 3, 2), {"groups": 2, "stride": 2, "padding": 3}),
        ((2, 2, 9, 41), (5, 2, 3, 3), {"padding": 1, "stride": (1, 2)}),
        ((1, 1, 19, 41), (1, 1, 3, 3), {"padding": 1, "dilation": (1, 2)}),
        ((1, 6, 4, 5), (7, 6, 1, 1), {"padding": 1}),
    ],
)
def test_a_constant_border_is_what_its_cells_hold(x_shape, w_shape, options, layout, implementation):
    rng = np.random.default_rng(44)
    x, w = (rng.integers(-4, 5, shape).astype(np.float32) for shape in (x_shape, w_shape))
    if layout == "NHWC":
        x, w = (np.ascontiguousarray(np.moveaxis(array, 1, -1)) for array in (x, w))
    options = {**options, "layout": layout, "padding_mode": "constant", "padding_value": 2.5}
    expected = fc.conv2d(x, w, implementation="reference", **options)
    np.testing.assert_array_equal(fc.conv2d(x, w, implementation=implementation, **options), expected)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    ("size", "kernel", "options"),
    [
        ((47, 41), (3, 3), {"dilation": 32, "padding": 32}),
        ((40, 61), (3, 3), {"dilation": (36, 1), "padding": (36, 1), "groups": 2}),
        ((31, 37), (2, 4), {"dilation": (29, 17), "padding": ((28, 3), (40, 12)), "stride": (1, 2)}),
        ((1, 1), (3, 5), {"padding": (1, 2)}),
        ((30, 30), (3, 3), {"dilation": 40, "padding": 80}),  # outputs that no tap reaches
    ],
)
def test_taps_in_the_zeros_around_an_input_are_left_out(size, kernel, options, layout, count):
    """A part of the outputs at a time; the sums are the same, the bias, residual and activation too."""
    rng, groups = np.random.default_rng(3), options.get("groups", 1)
    shapes = (2, *size, 34), (48, *kernel, 34 // groups), (48,)
    x, w, bias = (rng.integers(-4, 5, shape).astype(np.float32) for shape in shapes)
    if layout == "NCHW":
        x, w = (np.ascontiguousarray(np.moveaxis(one, -1, 1)) for one in (x, w))
    fc.set_num_threads(count)
    plan = fc.conv2d.plan(x.shape, w, bias, activation="relu", implementation="direct", layout=layout, residual=True, **options)
    residual = rng.integers(-4, 5, plan.out_shape).astype(np.float32)
    found = plan(x, residual=residual)
    expected = fc.conv2d(x, w, bias, activation="relu", implementation="loops", layout=layout, residual=residual, **options)
    np.testing.assert_array_equal(found, expected)
    assert len(plan.packed) > 1 or size == (1, 1)


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        ((1, 1), {"stride": 2}),
        ((1, 1), {"stride": (2, 4), "padding": (2, 4)}),
        ((1, 1), {"stride": 3, "padding": (1, 0)}),
        ((1, 1), {"stride": 2, "padding": 1, "padding_mode": "reflect"}),
        ((1, 1), {"stride": 2, "groups": 16}),
        ((3, 1), {"stride": (1, 3), "padding": (1, 3)}),
        ((1, 3), {"stride": (3, 1), "padding": (3, 1)}),
    ],
)
def test_cells_between_the_strides_of_one_tap_are_not_packed(kernel, options, layout, dtype):
    """Of 1024 channels, whose cells conflict in the cache where they lie."""
    rng, groups = np.random.default_rng(4), options.get("groups", 1)
    x = rng.integers(0, 5, (2, 10, 13, 1024)).astype(dtype)
    w = rng.integers(-3, 4, (32, *kernel, 1024 // groups)).astype(np.float32)
    if layout == "NCHW":
        x, w = (np.ascontiguousarray(np.moveaxis(one, -1, 1)) for one in (x, w))
    found = fc.conv2d(x, w, implementation="direct", layout=layout, **options)
    np.testing.assert_array_equal(found, fc.conv2d(x, w, implementation="loops", layout=layout, **options))


@pytest.mark.skipif(host().vector_bytes < 32, reason="narrow vectors are not half empty along the channels")
def test_few_outputs_of_many_channels_are_summed_along_rows():
    rng = np.random.default_rng(5)
    x, w = (rng.integers(-4, 5, shape).astype(np.float32) for shape in ((2, 70, 20, 50), (3, 70, 5, 3)))
    plan = fc.conv2d.plan(x.shape, w, padding=(2, 1), implementation="direct")
    assert "planar" in plan.kernel
    np.testing.assert_array_equal(plan(x), fc.conv2d(x, w, padding=(2, 1), implementation="loops"))


@pytest.mark.skipif(not SUPPORTED, reason="guard pages are made by mprotect")
@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("count", [1, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    ("x_shape", "w_shape", "options"),
    [
        ((19, 3, 4, 4), (5, 3, 3, 3), {"padding": 1}),
        ((40, 40, 3, 3), (70, 40, 3, 3), {"padding": (0, 1)}),
        ((5, 6, 2, 3), (4, 3, 2, 2), {"padding": 2, "groups": 2, "stride": 2}),
        ((7, 130, 2, 2), (17, 130, 1, 2), {}),
        ((9, 700, 2, 1), (33, 700, 3, 3), {"padding": 1}),
        ((1, 70, 2, 2), (100, 70, 3, 3), {"padding": 1}),
        ((6, 4, 5, 5), (3, 4, 3, 3), {"padding": 4, "dilation": 4, "padding_mode": "reflect"}),
        ((3, 5, 14, 9), (18, 5, 3, 2), {"dilation": (9, 2), "padding": (9, 1)}),
    ],
    ids=["padded", "deep", "groups", "in place", "chunks", "few", "reflected", "spread"],
)
def test_small_maps_of_several_images_are_blocks(x_shape, w_shape, options, layout, dtype, count, monkeypatch):
    """Of more images than divide the batch, whose tiles end in other images than they begin in; rows of taps packed apart."""
    monkeypatch.setattr(direct, "choice", tiles.candidate)
    fc.set_num_threads(count)
    rng = np.random.default_rng(45)
    x, w, bias = (rng.integers(-4, 5, shape).astype(dtype) for shape in (x_shape, w_shape, w_shape[:1]))
    if layout == "NHWC":
        x, w = (np.ascontiguousarray(np.moveaxis(array, 1, -1)) for array in (x, w))
    options = {**options, "layout": layout, "residual": True, "activation": "relu"}
    plan = fc.conv2d.plan(x.shape, w, bias, implementation="direct", **options)
    assert all("conv" in launch.kernel.__name__ for launch in plan.packed)
    residual = rng.integers(-4, 5, plan.out_shape).astype(dtype)
    expected = fc.conv2d(x, w, bias, implementation="im2col", **{**options, "residual": residual})
    out = guarded(np.full(plan.out_shape, np.nan, dtype), "end")
    direct.run(
        {"x": guarded(x, "end"), "residual": guarded(residual, "end")}, guarded_everywhere(plan.packed, "end"), plan.served, out
    )
    np.testing.assert_array_equal(out, expected)


@pytest.mark.skipif(not TILES[host().isa].conv_few, reason="no tile of this machine has as few positions")
def test_few_positions_have_a_tile_of_their_own():
    """Of as many rows as there are positions, where channels fill its vectors."""
    for size, kernel in (((2, 2), "conv_4x6"), ((1, 3), "conv_4x6"), ((3, 2), "conv_7x3")):
        plan = fc.conv2d.plan((1, 48, *size), np.zeros((96, 48, 3, 3), np.float32), padding=1, implementation="direct")
        assert kernel in plan.kernel


def test_small_maps_go_together_and_rows_of_wide_dilations_do_not():
    """As many images as fill some tiles; channels first, not where the results of a tile would lie apart for few products."""

    def cut_of(x_shape, w_shape, **options):
        problem = fc.conv2d.plan(x_shape, np.zeros(w_shape, np.float32), **options).problem
        return cuts.cuts(problem.geometry.lifted(), problem.dtype, host()).of_walks[0]

    many = cut_of((64, 32, 3, 3), (64, 32, 3, 3), padding=1)
    assert many.block.images > 4
    assert cut_of((2, 32, 40, 40), (64, 32, 3, 3), padding=1).block.images == 1
    assert cut_of((64, 1, 5, 5), (64, 1, 3, 3), padding=1).block.images == 1
    assert cut_of((64, 5, 5, 1), (64, 3, 3, 1), padding=1, layout="NHWC").block.images > 4
    spread = cut_of((1, 64, 60, 60), (64, 64, 3, 3), padding=16, dilation=16).walks[1]
    assert cuts.rows_packed(spread, 1) == spread.taps < spread.reach(1)
    assert cuts.rows_packed(spread, 60) == spread.reach(60)


def test_deep_pixels_are_copied_where_low_tiles_meet_a_line_of_each(monkeypatch):
    """Channels first: of more channels than an L1 cache keeps lines of, for panels enough; on every machine the same sums."""
    short = replace(host(), isa="avx2", vector_bytes=32, registers=16, l1=32 << 10)

    def reads_in_place(channels, outputs, tile, size=14, dtype="float32"):
        w = np.zeros((outputs, channels, 1, 1), dtype)
        plan = fc.conv2d.plan((1, channels, size, size), w, x_dtype=dtype, implementation="direct")
        g = plan.geometry.lifted()
        return cuts.is_in_place(g, next(cuts.walks_of(g)), Tile(*tile), short, w.itemsize)

    assert not reads_in_place(256, 256, (6, 2))
    assert not reads_in_place(256, 256, (4, 3))
    assert reads_in_place(64, 256, (6, 2))  # whose lines stay
    assert reads_in_place(256, 32, (6, 2))  # which few panels read
    assert reads_in_place(256, 256, (14, 2))  # which take most of a line
    assert reads_in_place(256, 256, (6, 2), dtype="float64")

    monkeypatch.setattr(direct, "choice", tiles.candidate)
    rng = np.random.default_rng(5)
    x, w = rng.integers(-4, 5, (2, 130, 5, 7)).astype(np.float32), rng.integers(-4, 5, (200, 130, 1, 1)).astype(np.float32)
    for packs in (False, True):
        monkeypatch.setattr(cuts, "is_in_place", lambda *_, packs=packs: not packs)
        fc.clear_caches()
        np.testing.assert_array_equal(fc.conv2d(x, w, implementation="direct"), fc.conv2d(x, w, implementation="im2col"))
    fc.clear_caches()


SHORT_RUNS = [
    ((2, 1, 7, 9, 12), (19, 1, 3, 3, 3), {"padding": 1}, 27),
    ((1, 3, 6, 8, 9), (21, 3, 2, 3, 3), {"padding": (0, 1, 1), "stride": (1, 2, 2)}, 54),
    ((2, 2, 5, 6, 8), (10, 1, 3, 3, 2), {"groups": 2, "padding": (1, 1, 0)}, None),
    ((1, 4, 17, 13), (10, 4, 5, 5), {"padding": 2, "stride": 2}, 100),
    ((1, 3, 19, 23), (20, 3, 3, 3), {"padding": 2, "dilation": 2}, 27),
    ((3, 3, 16, 20), (36, 3, 4, 4), {"stride": 4}, 48),
    ((1, 40, 9, 9), (8, 40, 3, 3), {"padding": 1, "stride": 2}, 0),
]


@pytest.mark.skipif(not SUPPORTED, reason="guard pages are made by mprotect")
@pytest.mark.parametrize("at", ["end", "beginning"])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(("x_shape", "w_shape", "options", "listed"), SHORT_RUNS)
def test_windows_of_short_runs_are_read_value_by_value(x_shape, w_shape, options, listed, last, at, monkeypatch):
    """Rows of padding too, and the last panel, of a part of its channels; tiles with a residual go one by one."""
    monkeypatch.setattr(direct, "choice", tiles.candidate)
    rng, layout = np.random.default_rng(5), None if not last else {4: "NHWC", 5: "NDHWC"}[len(x_shape)]
    x, w = (rng.integers(-4, 5, shape).astype(np.float32) for shape in (x_shape, w_shape))
    if last:
        x, w = np.ascontiguousarray(np.moveaxis(x, 1, -1)), np.ascontiguousarray(np.moveaxis(w, 1, -1))
    operation = getattr(fc, f"conv{len(x_shape) - 2}d")
    for extra in ({}, {"activation": "relu"}, {"residual": True}):
        asked = {**options, **extra, "layout": layout}
        plan = operation.plan(x.shape, w, implementation="direct", **asked)
        expected = operation(x, w, implementation="loops", **options, layout=layout)
        operands = {"x": guarded(x, at)}
        if extra.get("residual"):
            operands["residual"] = guarded(np.ones(expected.shape, np.float32), at)
        out = guarded(np.full(plan.geometry.out_shape, np.nan, np.float32), at)
        direct.run(operands, guarded_everywhere(plan.packed, at), plan.served, out)
        shown = np.maximum(expected, 0) if "activation" in extra else expected + 1 if extra else expected
        np.testing.assert_array_equal(out, shown)
    if listed is not None:
        (cut,) = tiles.candidate(plan.served, host()).cut.of_walks
        packed = not cut.in_place or (last and not options.get("padding"))
        assert cuts.values_listed(flattened(plan.served.geometry), cut, 1) == (listed if packed else 0)
