"""Plans bound to arrays that stay, and plans that are one of many: what they run, and what they refuse."""

import numpy as np
import pytest

import fastconv as fc
from fastconv.kernels.simd.arrays import weaving
from fastconv.machine import host
from fastconv.plans.dispatch import NETWORK, choose, chosen_form, streaming
from fastconv.plans.registry import OPERATIONS


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    shapes = ((1, 4, 6, 6), (4, 4, 3, 3), (1, 4, 6, 6))
    return tuple(rng.standard_normal(shape).astype(np.float32) for shape in shapes)


def test_a_bound_call_reads_its_arrays_anew(arrays, threads):
    """It gives what a call gives, bit for bit, of what the arrays hold when it is made."""
    x, w, residual = arrays
    plan = fc.conv2d.plan(x.shape, w, padding=1, residual=True, activation="relu")
    y = np.empty(plan.out_shape, np.float32)
    run = plan.bind(x, residual, out=y)
    for sign in (1, -1):
        x *= sign
        assert run() is y
        assert (y == plan(x, residual)).all()


def test_a_bound_call_takes_what_a_call_takes(arrays, threads):
    """Results that lie apart, and the pairs of a pool with indices, go the way of a call."""
    x = arrays[0]
    plan = fc.max_pool2d.plan(x.shape, 2)
    apart = np.empty((*plan.out_shape[:-1], 6), np.float32)[..., ::2]
    assert (plan.bind(x, out=apart)() == plan(x)).all()
    plan = fc.max_pool2d.plan(x.shape, 2, return_indices=True)
    pair = np.empty(plan.out_shape, np.float32), np.empty(plan.out_shape, np.int64)
    assert all((found == wanted).all() for found, wanted in zip(plan.bind(x, out=pair)(), plan(x), strict=True))


@pytest.mark.parametrize("layout", ["NCL", "NLC"])
def test_a_bound_call_weaves_phases(layout, threads, monkeypatch):
    """Those of a transposed convolution that is asked as a plain one, after its sums, in one program."""
    monkeypatch.setattr(weaving, "cost", lambda *arguments: -1.0)
    rng = np.random.default_rng(1)
    x, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((2, 9, 70), (9, 5, 12)))
    if layout == "NLC":
        x, w = (np.ascontiguousarray(np.moveaxis(array, 1, -1)) for array in (x, w))
    plan = fc.conv_transpose1d.plan(x.shape, w, stride=4, padding=1, layout=layout)
    assert plan.form.woven is not None
    y = np.empty(plan.out_shape, np.float32)
    run = plan.bind(x, out=y)
    assert len(run.program.rows) > 1
    for sign in (1, -1):
        x *= sign
        y.fill(np.nan)
        assert run() is y
        assert (y == plan(x)).all()


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_a_residual_may_lie_where_the_result_goes(activation, dtype, threads):
    """Bit for bit what is added to a result elsewhere, in whole tiles and in those that rows or channels do not fill."""
    if dtype == "int32" and activation == "gelu":
        activation = None
    rng = np.random.default_rng(0)
    for shape, count in (((1, 6, 6, 4), 64), ((2, 5, 7, 4), 35)):
        x, w = (rng.normal(0, 3, size).astype(dtype) for size in (shape, (count, 1, 1, 4)))
        plan = fc.conv2d.plan(
            shape, w, activation=activation, layout="NHWC", residual=True, x_dtype=dtype, implementation="direct"
        )
        y = rng.normal(0, 3, plan.out_shape).astype(dtype)
        wanted = plan(x, y)
        assert plan.adds_in_place
        assert plan.bind(x, y, out=y)() is y
        assert (y == wanted).all()


@pytest.mark.parametrize(
    ("implementation", "layout"), [("winograd", "NHWC"), ("direct", "NCHW"), ("im2col", "NHWC"), ("strassen", "NHWC")]
)
def test_a_residual_lies_elsewhere_for_others(implementation, layout, threads):
    """They store sums before they add it, or in parts; and a call takes none so, nor does one whose x is the result too."""
    last = layout == "NHWC"
    w = np.ones((16, 3, 3, 16) if last else (16, 16, 3, 3), np.float32)
    options = {"padding": 1, "layout": layout, "residual": True}
    plan = fc.conv2d.plan((1, 8, 8, 16) if last else (1, 16, 8, 8), w, implementation=implementation, **options)
    x, y = np.ones(plan.x_shape, np.float32), np.ones(plan.out_shape, np.float32)
    assert not plan.adds_in_place
    with pytest.raises(ValueError, match="out must not overlap residual"):
        plan.bind(x, y, out=y)
    direct = fc.conv2d.plan((1, 8, 8, 16), np.ones((16, 3, 3, 16), np.float32), padding=1, layout="NHWC", residual=True)
    y = np.ones(direct.out_shape, np.float32)
    with pytest.raises(ValueError, match="out must not overlap"):
        direct(x.reshape(direct.x_shape), y, out=y)
    with pytest.raises(ValueError, match="out must not overlap x"):
        direct.bind(y, y, out=y)


def test_a_bound_call_refuses_what_a_call_refuses(arrays, threads):
    x, w, _ = arrays
    plan = fc.conv2d.plan(x.shape, w, padding=1)
    with pytest.raises(TypeError, match="out must be an array, got NoneType"):
        plan.bind(x, out=None)
    with pytest.raises(ValueError, match="out must not overlap x"):
        plan.bind(x, out=x)
    with pytest.raises(ValueError, match=r"x must have shape \(1, 4, 6, 6\)"):
        plan.bind(x[:, :2], out=np.empty(plan.out_shape, np.float32))


def test_the_choice_among_others_counts_the_weights(arrays):
    """It is that of "auto" and the time in which packed weights come: never more weights for a gain that they cost."""
    names = set()
    for size, channels in ((7, 512), (14, 256), (28, 64)):
        plan = fc.conv2d.plan((1, size, size, channels), np.zeros((4 * channels, 1, 1, channels), np.float32), layout="NHWC")
        problem = plan.problem
        form, chosen = chosen_form("conv2d", problem, host(), NETWORK)
        served = [one for one in OPERATIONS["conv"] if one.supports(form.problem) is None]
        total = {one.name: one.cost(form.problem, host()) + streaming(one, form.problem, host()) for one in served}
        assert total[chosen.name] == min(total.values())
        names.add(chosen.name)
    assert names
    by_name = {one.name: one for one in OPERATIONS["conv"]}
    assert streaming(by_name["strassen"], problem, host()) == 7 / 4 * streaming(by_name["direct"], problem, host())
    assert choose("max_pool2d", fc.max_pool2d.plan((1, 4, 6, 6), 2).problem, host(), NETWORK).name == "direct"


def test_functions_are_never_one_of_many(arrays):
    x, w, _ = arrays
    with pytest.raises(ValueError, match='implementation "network" is for plans, which are one of many; a function takes none'):
        fc.conv2d(x, w, implementation="network")
