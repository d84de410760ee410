"""Transposed convolutions with weights as they lie: what is cut and left over, on arrays that end, or begin, at guard pages."""

from functools import partial

import numpy as np
import pytest
from guards import SUPPORTED, guarded, guarded_everywhere

import fastconv as fc
from fastconv.kernels.simd.direct import scattered
from fastconv.kernels.simd.engine import tables
from fastconv.kernels.simd.engine.costs import Candidate
from fastconv.machine import host
from fastconv.plans.dispatch import chosen_form

LAYOUTS = {"conv_transpose1d": "NLC", "conv_transpose2d": "NHWC", "conv_transpose3d": "NDHWC"}


@pytest.fixture(params=tables.TILES[host().isa].scattered, ids=lambda tile: f"{tile[0]}x{tile[1]}")
def tile(request, monkeypatch):
    """A tile, and bands of a few of them in items of few channels, which then have neighbours."""

    def choice(problem, machine):
        g = problem.geometry
        channels = g.out_per_group if g.channels_last else 2
        cut = scattered.Cut(request.param, 3 * request.param.rows, channels, g.lifted().out_size[1])
        return Candidate(0.0, cut, partial(scattered.draft, g, cut, problem.dtype, machine))

    monkeypatch.setattr(scattered, "choice", choice)
    return request.param


def agrees(operation, x_shape, w_shape, last, dtype="float32", **options):
    """Of whole numbers, which have no rounding, the result is exactly that of loops."""
    rng = np.random.default_rng(31)
    x, w = (rng.integers(-4, 5, shape).astype(dtype) for shape in (x_shape, w_shape))
    bias = rng.integers(-4, 5, w_shape[1] * options.get("groups", 1)).astype(dtype)
    if last:
        x, w = (np.ascontiguousarray(np.moveaxis(array, 1, -1)) for array in (x, w))
        options["layout"] = LAYOUTS[operation]
    plan = getattr(fc, operation).plan(x.shape, w, bias, implementation="unpacked", **options)
    expected = getattr(fc, operation)(x, w, bias, implementation="loops", **options)
    for at in ("end", "beginning"):
        out = guarded(np.full(expected.shape, np.nan, dtype), at)
        scattered.run({"x": guarded(x, at)}, guarded_everywhere(plan.packed, at), plan.served, out)
        np.testing.assert_array_equal(out, expected)


@pytest.mark.skipif(not SUPPORTED, reason="guard pages are made by mprotect")
@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
class TestOnGuardPages:
    def test_ends_of_tiles_strips_and_bands(self, tile, last):
        """Fewer positions and products than a tile has; as many; and some more."""
        rows, columns = tile
        width = columns * host().lanes(np.dtype(np.float32))
        for k in (1, 3, width - 1, width, width + 1):
            for positions in (1, rows - 1, rows, 3 * rows, 3 * rows + 1, 6 * rows + 1):
                for channels in (1, 5):
                    agrees("conv_transpose1d", (2, channels, positions), (channels, k, 2), last, stride=2)

    @pytest.mark.parametrize("groups", [1, 3])
    def test_steps_and_what_is_cut_off(self, tile, last, groups):
        options = {"stride": (2, 3), "dilation": (1, 2), "padding": (2, 3), "output_padding": (1, 2), "groups": groups}
        agrees("conv_transpose2d", (2, 4 * groups, 5, 9), (4 * groups, 3, 4, 3), last, **options)
        agrees("conv_transpose2d", (1, 2 * groups, 7, 3), (2 * groups, 5, 3, 5), last, stride=1, padding=2, groups=groups)

    @pytest.mark.parametrize("step", [1, 4, 8, 32], ids=lambda step: f"by {step}")
    @pytest.mark.parametrize("padding", [0, 5])
    def test_runs_that_vectors_add_up(self, tile, last, step, padding):
        agrees("conv_transpose1d", (1, 6, 21), (6, 2, 33), last, stride=step, padding=padding)
        agrees("conv_transpose1d", (1, 6, 5), (6, 1, 64), last, stride=step, padding=padding)

    def test_windows_that_lie_outside(self, tile, last):
        """Positions all of whose cells are cut off, and outputs that meet no tap."""
        agrees("conv_transpose1d", (1, 3, 9), (3, 2, 2), last, stride=3, padding=4, output_padding=2)
        agrees("conv_transpose2d", (1, 3, 4, 4), (3, 2, 1, 1), last, stride=3, padding=3)

    @pytest.mark.parametrize("groups", [1, 2])
    def test_images_of_one_cell_are_positions_of_one(self, tile, last, groups):
        for images in (1, 2, tile.rows, 7 * tile.rows + 1):
            agrees("conv_transpose2d", (images, 5 * groups, 1, 1), (5 * groups, 3, 4, 4), last, groups=groups)
        agrees("conv_transpose2d", (9, 5, 1, 1), (5, 3, 4, 4), last, padding=1)
        agrees("conv_transpose3d", (9, 5, 1, 1, 1), (5, 3, 2, 3, 2), last, stride=3, output_padding=1)

    @pytest.mark.parametrize("rows", [1, 3, 4])
    def test_rows_of_y_are_parts(self, tile, last, rows, monkeypatch):
        """Each part makes the products that reach it, of all depths."""
        whole = scattered.choice

        def choice(problem, machine):
            cut = whole(problem, machine).cut._replace(rows=rows)
            return Candidate(0.0, cut, partial(scattered.draft, problem.geometry, cut, problem.dtype, machine))

        monkeypatch.setattr(scattered, "choice", choice)
        for options in ({"stride": 2}, {"stride": (1, 2), "padding": 1}, {"stride": (3, 1), "dilation": 2, "padding": (4, 0)}):
            agrees("conv_transpose2d", (2, 5, 6, 7), (5, 3, 4, 3), last, **options)
        agrees("conv_transpose2d", (1, 4, 5, 6), (4, 2, 3, 3), last, groups=2, stride=2, output_padding=1)
        agrees("conv_transpose3d", (1, 3, 3, 4, 5), (3, 2, 2, 3, 2), last, stride=2, padding=1)

    def test_other_ranks_and_doubles(self, tile, last):
        agrees("conv_transpose3d", (1, 5, 3, 4, 5), (5, 3, 2, 3, 2), last, stride=2, padding=1)
        agrees("conv_transpose3d", (1, 5, 2, 3, 5), (5, 3, 2, 2, 2), last, stride=2)
        agrees("conv_transpose2d", (1, 9, 5, 6), (9, 7, 3, 3), last, dtype="float64", stride=2)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_results_do_not_depend_on_threads(layout):
    x = np.random.default_rng(1).normal(size=(1, 60, 40, 30)).astype("f4")
    w = np.random.default_rng(2).normal(size=(60, 4, 4, 4)).astype("f4")
    if layout == "NHWC":
        x, w = (np.ascontiguousarray(np.moveaxis(array, 1, -1)) for array in (x, w))
    plan = fc.conv_transpose2d.plan(x.shape, w, stride=2, padding=1, layout=layout, implementation="unpacked")
    before, results = fc.get_num_threads(), []
    try:
        for threads in (1, 2):
            fc.set_num_threads(threads)
            results.append(plan(x))
    finally:
        fc.set_num_threads(before)
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("layout", ["NCL", "NLC"])
@pytest.mark.parametrize("shapes", [((2, 3, 1), (3, 0, 4)), ((2, 0, 5), (0, 3, 4)), ((0, 3, 5), (3, 2, 4))], ids=str)
def test_nothing_to_sum(shapes, layout):
    """No output channels, no input channels, or no image: zeros, or an array without elements."""
    x, w = (np.ones(shape, "f4") for shape in shapes)
    if layout == "NLC":
        x, w = (np.ascontiguousarray(np.moveaxis(array, 1, -1)) for array in (x, w))
    options = {"layout": layout, "implementation": "unpacked"}
    expected = fc.conv_transpose1d(x, w, **(options | {"implementation": "loops"}))
    np.testing.assert_array_equal(fc.conv_transpose1d(x, w, **options), expected)


def test_an_activation_follows_the_last_window():
    x, w = np.ones((1, 4, 3, 3), "f4"), np.full((4, 2, 3, 3), -1, "f4")
    options = {"stride": 1, "activation": "relu", "implementation": "unpacked"}
    bias = np.array([20, 10], "f4")
    expected = fc.conv_transpose2d(x, w, bias, **(options | {"implementation": "loops"}))
    np.testing.assert_array_equal(fc.conv_transpose2d(x, w, bias, **options), expected)


def test_a_plan_has_weights_of_its_own_and_a_function_sees_new_ones():
    x, w = np.ones((1, 8, 2, 2), "f4"), np.ones((8, 3, 1, 1), "f4")
    plan = fc.conv_transpose2d.plan(x.shape, w, implementation="unpacked")
    w[:] = 2
    assert (plan(x) == 8).all()
    for factor in (2, 3, 4):
        w[:] = factor
        assert (fc.conv_transpose2d(x, w, implementation="unpacked") == 8 * factor).all()


def test_products_that_no_workspace_holds_are_refused():
    w = np.broadcast_to(np.float32(0), (1, 1 << 20, 8))
    with pytest.raises(ValueError, match="cannot serve this call: the products of a few positions"):
        fc.conv_transpose1d.plan((1, 2, 1), w, layout="NLC", implementation="unpacked")


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_functions_of_small_maps_to_few_channels_take_it(layout):
    x, w = np.zeros((1, 64, 5, 5), "f4"), np.zeros((64, 1, 4, 4), "f4")
    if layout == "NHWC":
        x, w = np.zeros((1, 5, 5, 64), "f4"), np.zeros((64, 4, 4, 1), "f4")
    problem = fc.conv_transpose2d.plan(x.shape, w, stride=2, padding=1, layout=layout).problem
    assert chosen_form("conv_transpose2d", problem, host(), once=True)[1].name == "unpacked"
