"""Values and pullbacks: the transpose of the derivative, for every differentiable operation."""

from typing import Any

import numpy as np
import pytest
from case import Case
from cases import BROAD
from comparing import assert_same_bits

import fastconv as fc

EPS = float(np.finfo(np.float64).eps)
STEP = EPS ** (1 / 3)  # of a central difference: its error and that of rounding are then alike
PIECEWISE = 8.0  # times STEP**2 that third derivatives of what is tested may come to, relative to the size of all terms
DIFFERENTIABLE = [case for case in BROAD if not case.is_gradient and "layout" not in dict(case.options)]
DIFFERENTIABLE += [case for case in BROAD if not case.is_gradient and case.name in ("groups2-4-to-6", "indices-padding")]
DIFFERENTIABLE = [case for case in dict.fromkeys(DIFFERENTIABLE) if np.prod(case.x_shape)]


def value_of(found: Any) -> np.ndarray:
    """The values of a result, which may have indices beside them."""
    return found[0] if isinstance(found, tuple) else found


# Geometries whose gradients are convolutions, or pools, of kinds that others have too.
ALIKE = ("depthwise-stride2", "one-channel-wide", "one-channel-kernel5x5", "kernel3x2", "tall-dilation", "upsampled-alone")


def of_two_axes(case: Case) -> Any:
    """Cases of one and three axes, whose kernels are those of two, and what is alike, as slow ones."""
    slow = case.function.rank in (1, 3) or case.name in ALIKE or case.family == "min_pool"
    return pytest.param(case, id=str(case), marks=pytest.mark.slow if slow else ())


@pytest.mark.exhaustive
@pytest.mark.parametrize("case", list(map(of_two_axes, DIFFERENTIABLE)))
def test_a_pullback_is_the_transpose_of_the_derivative(case: Case) -> None:
    """<dy, (f(x + h v) - f(x - h v)) / 2h> = <pull(dy), v> in float64, in a random direction of each operand alone.

    A linear operation's difference has no error but rounding: of those this is the adjoint identity.
    """
    inputs, rng = case.inputs(np.float64, "normal"), np.random.default_rng(3)
    y, pull = case.function.vjp(**inputs, **dict(case.options))
    assert_same_bits(value_of(y), value_of(case.call(inputs))) if exact(case) else None
    dy = rng.standard_normal(value_of(y).shape)
    gradients = pull(dy, wrt=list(pull.names))
    assert pull.names == tuple(name for name in ("x", "w", "bias", "residual") if name in inputs)
    for name, gradient in zip(pull.names, gradients, strict=True):
        assert gradient.shape == inputs[name].shape
        assert gradient.dtype == inputs[name].dtype
        direction = rng.standard_normal(gradient.shape)
        ahead, behind = (
            value_of(case.call({**inputs, name: inputs[name] + sign * STEP * direction})).astype(np.longdouble)
            for sign in (1, -1)
        )
        slope = (dy * (ahead - behind)).sum() / (2 * STEP)
        scale = (np.abs(dy) * (np.abs(ahead) + np.abs(behind) + 1)).sum()
        assert abs(slope - (gradient * direction).sum()) <= PIECEWISE * STEP**2 * scale
        assert_same_bits(pull(dy, wrt=name), gradient)


def exact(case: Case) -> bool:
    """Whether vjp runs the very plan of a call: not where sums are kept for an activation, nor where indices are found too."""
    return case.family.startswith(("avg", "lp", "fold", "unfold", "adaptive_avg", "activation", "max_unpool"))


@pytest.mark.parametrize("layout", ["NCHW", pytest.param("NHWC", marks=pytest.mark.slow)])
@pytest.mark.parametrize("mode", ["zeros", "reflect", "symmetric", "replicate", "circular"])
@pytest.mark.parametrize("stride", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
def test_cells_of_borders_pass_their_gradient_on(mode: str, layout: str, stride: int) -> None:
    """The adjoint identity of convolutions and averages with a border, whole numbers: without a rounding."""
    rng = np.random.default_rng(4)
    last = layout == "NHWC"
    x = rng.integers(-4, 5, (2, 5, 7, 4) if last else (2, 4, 5, 7)).astype(np.float64)
    w = rng.integers(-4, 5, (6, 3, 2, 2) if last else (6, 2, 3, 2)).astype(np.float64)
    options = {"stride": stride, "padding": ((1, 2), (2, 0)), "padding_mode": mode, "layout": layout}
    y, pull = fc.conv2d.vjp(x, w, groups=2, **options)
    dy = rng.integers(-4, 5, y.shape).astype(np.float64)
    dx, dw = pull(dy)
    assert (y * dy).sum() == (x * dx).sum() == (w * dw).sum()
    y, pull = fc.avg_pool2d.vjp(x, (2, 4), **options)
    dy = rng.integers(-4, 5, y.shape).astype(np.float64)
    assert (y * dy).sum() == (x * pull(dy)).sum()


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("options", [{}, {"divisor_override": 2}], ids=str)
@pytest.mark.parametrize("kernel", [(4, 4), (2, 4)])  # all cells, and half of them; both divide exactly
def test_one_window_shares_its_gradient_with_its_cells(kernel: tuple[int, int], options: dict[str, Any], layout: str) -> None:
    """That of a global average: the reference's bits, zeros of either sign and NaN too."""
    size, ones = ((2, 4, 4, 3), (2, 1, 1, 3)) if layout == "NHWC" else ((2, 3, 4, 4), (2, 3, 1, 1))
    dy = np.array([-0.0, 0.1, np.nan, 3, -7, np.inf], np.float32).reshape(ones)
    call = {"kernel_size": kernel, "stride": 9, "layout": layout, **options}
    expected = fc.grad.avg_pool2d_input(size, dy, **call, implementation="reference")
    assert_same_bits(fc.grad.avg_pool2d_input(size, dy, **call, implementation="loops"), expected)


@pytest.mark.parametrize("channels", [1, 3, 8, 31, 32, 33, 70, 128])
@pytest.mark.parametrize("options", [{"stride": 2}, {"stride": 1, "padding": 1}, {"stride": 3}], ids=str)
def test_vectors_of_channels_share_gradients(options: dict[str, Any], channels: int) -> None:
    """Of averages, channels last: cells of one window, of several and of none; whole numbers, whose sums are exact."""
    size = (2, 7, 8, channels)
    call = {"kernel_size": 2, "layout": "NHWC", "divisor_override": 1, **options}
    shape = fc.avg_pool2d(np.zeros(size, np.float32), **call).shape
    dy = np.random.default_rng(7).integers(-9, 10, shape).astype(np.float32)
    expected = fc.grad.avg_pool2d_input(size, dy, **call, implementation="reference")
    for name in ("gather", "loops"):
        np.testing.assert_array_equal(fc.grad.avg_pool2d_input(size, dy, **call, implementation=name), expected)


@pytest.mark.parametrize("options", [{"rank": 5}, {"rank": None, "percentile": 20}, {"rank": -1}], ids=str)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_the_cell_of_a_rank_takes_the_gradient(options: dict[str, Any], layout: str) -> None:
    """Of equal cells the one that a stable sort puts at the rank, NaN last; windows add up."""
    rng = np.random.default_rng(6)
    x = rng.integers(-2, 3, (1, 2, 6, 7)).astype(np.float32)
    x[0, 1, 2, 3] = np.nan
    rank = {5: 5, None: 1, -1: 8}[options["rank"]]
    given = np.moveaxis(x, 1, -1) if layout == "NHWC" else x
    y, pull = fc.rank_pool2d.vjp(given, kernel_size=3, stride=1, padding=1, padding_mode="circular", layout=layout, **options)
    dy = rng.integers(1, 5, (1, 2, 6, 7)).astype(np.float32)
    dx, value = pull(np.moveaxis(dy, 1, -1) if layout == "NHWC" else dy), np.empty_like(x)
    expected, where = np.zeros_like(x), np.pad(np.arange(42).reshape(6, 7), 1, "wrap")
    for n, c, i, j in np.ndindex(dy.shape):
        seen = where[i : i + 3, j : j + 3].ravel()
        cell = np.unravel_index(seen[np.argsort(x[n, c].ravel()[seen], kind="stable")[rank]], (6, 7))
        value[n, c, i, j] = x[(n, c, *cell)]
        expected[(n, c, *cell)] += dy[n, c, i, j]
    if layout == "NHWC":
        value, expected = np.moveaxis(value, 1, -1), np.moveaxis(expected, 1, -1)
    assert_same_bits(y, np.ascontiguousarray(value))
    assert_same_bits(dx, np.ascontiguousarray(expected))


@pytest.mark.parametrize("mode", [None, "zeros", "constant", "reflect", "circular"])
@pytest.mark.parametrize("kind", ["max", "min"])
def test_the_winner_takes_the_gradient(kind: str, mode: str | None) -> None:
    """Overlapping windows add up, ties go to the first, NaN win; of a border to the cell that the winner copies."""
    rng = np.random.default_rng(5)
    x = rng.integers(-3, 4, (2, 3, 6, 7)).astype(np.float32)
    if mode is None:
        x[0, 1, 2, 3] = np.nan
    options = {"kernel_size": 3, "stride": 2, "padding": 1, "padding_mode": mode}
    if mode == "constant":
        options["padding_value"] = 1
    y, pull = getattr(fc, f"{kind}_pool2d").vjp(x, **options)
    dy = rng.integers(1, 5, y.shape).astype(np.float32)
    expected = np.zeros_like(x)
    fill = {"constant_values": options.get("padding_value", 0)} if mode in ("zeros", "constant") else {}
    name = {"reflect": "reflect", "circular": "wrap"}.get(mode, "constant")
    where = np.pad(np.arange(42).reshape(6, 7), 1, name, **({"constant_values": -1} if name == "constant" else {}))
    for n, c, i, j in np.ndindex(y.shape):
        seen = where[2 * i : 2 * i + 3, 2 * j : 2 * j + 3].ravel()
        seen = seen if mode in ("zeros", "constant") else seen[seen >= 0]
        cells = np.where(seen >= 0, x[n, c].ravel()[seen], fill.get("constant_values", 0))
        winner = seen[(np.argmax if kind == "max" else np.argmin)(cells)]
        if winner >= 0:
            expected[n, c].ravel()[winner] += dy[n, c, i, j]
    assert_same_bits(pull(dy), expected)


def test_indices_that_were_asked_for_come_too() -> None:
    """The pullback takes the gradient of the values."""
    x = np.arange(16.0).reshape(1, 4, 4)
    (y, where), pull = fc.max_pool2d.vjp(x, 2, return_indices=True)
    where[...] = 0  # the caller's own
    assert pull(np.ones_like(y)).sum() == 4
    assert pull(np.ones_like(y))[0, 1, 1] == 1


def test_an_infinite_norm_is_shared() -> None:
    """Cells as large as the norm share its gradient; where the norm is zero there is none."""
    x = np.array([[3.0, -3.0, 1.0, 0.0, 0.0, 0.0]])
    _, pull = fc.lp_pool1d.vjp(x, float("inf"), 3)
    np.testing.assert_array_equal(pull(np.array([[2.0, 5.0]])), [[1, -1, 0, 0, 0, 0]])


def test_of_equal_indices_the_last_value_has_the_gradient() -> None:
    """That of max_unpool, which keeps the last."""
    y, pull = fc.max_unpool1d.vjp(np.array([[1.0, 2.0]]), np.array([[1, 1]]), 2)
    np.testing.assert_array_equal(y, [[0, 2, 0, 0]])
    np.testing.assert_array_equal(pull(np.array([[5.0, 7.0, 0.0, 0.0]])), [[0, 7]])


# Plans, types, errors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", [None, "relu", "silu"])
@pytest.mark.parametrize("operation", ["conv2d", "conv_transpose2d"])
def test_a_plan_packs_once_for_both_directions(operation: str, activation: str | None) -> None:
    """Its pullback gives what the function's gives, call after call, whatever becomes of the caller's weights."""
    rng = np.random.default_rng(6)
    x, w, bias = (rng.integers(-4, 5, shape).astype(np.float32) for shape in ((2, 4, 6, 5), (4, 4, 3, 3), (4,)))
    function = getattr(fc, operation)
    plan = function.plan(x.shape, w, bias, padding=1, activation=activation, residual=True)
    residual = rng.integers(-4, 5, plan.out_shape).astype(np.float32)
    y, pull = function.vjp(x, w, bias, padding=1, activation=activation, residual=residual)
    dy = rng.integers(-4, 5, y.shape).astype(np.float32)
    expected, before = pull(dy), w.copy()
    w[...] = np.nan
    for _ in range(2):
        z, pull = plan.vjp(x, residual)
        np.testing.assert_allclose(z, y, rtol=1e-5)
        found = pull(dy)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-4)
    assert not np.isnan(before).any()


def test_gradients_have_the_dtype_of_their_operands() -> None:
    """Sums are made in the result's dtype, float16's in float32."""
    x, w = np.ones((1, 2, 4, 4), np.float32), np.ones((3, 2, 3, 3), np.float64)
    bias, residual = np.ones(3, np.float32), np.ones((1, 3, 2, 2), np.float16)
    y, pull = fc.conv2d.vjp(x, w, bias, residual=residual)
    assert y.dtype == np.float64
    assert [one.dtype for one in pull(np.ones(y.shape, np.float32))] == [np.float32, np.float64, np.float32, np.float16]
    half = np.full((1, 1, 60, 60), 1, np.float16)
    y, pull = fc.conv2d.vjp(half, np.ones((1, 1, 1, 1), np.float16))
    assert pull(np.ones_like(y), "w").item() == 3600  # which a sum of float16 does not come to


def test_nothing_is_computed_that_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """`wrt` of one name gives an array, of several a tuple in their order."""
    from fastconv.plans import pullbacks

    x, w, bias = np.ones((1, 2, 5, 5)), np.ones((3, 2, 3, 3)), np.ones(3)
    y, pull = fc.conv2d.vjp(x, w, bias)
    dy = np.ones_like(y)
    dx, dw, dbias = pull(dy)
    for one, other in zip(pull(dy, ("bias", "x")), (dbias, dx), strict=True):
        assert_same_bits(one, other)
    monkeypatch.setattr(pullbacks, "weights_of", None)
    assert_same_bits(pull(dy, "x"), dx)
    assert dw.shape == w.shape


X, W = np.ones((1, 2, 5, 5)), np.ones((3, 2, 3, 3))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: fc.conv2d.vjp(X, W)[1](np.ones((1, 3, 3, 4))),
            ValueError,
            r"dy must have the shape of the result, \(1, 3, 3, 3",
        ),
        (
            lambda: fc.conv2d.vjp(X, W)[1](np.ones((1, 3, 3, 3), complex)),
            TypeError,
            "dy must have a dtype that casts to float64",
        ),
        (lambda: fc.conv2d.vjp(X, W)[1](np.ones((1, 3, 3, 3)), "v"), ValueError, r"wrt must be some of \('x', 'w'\).*got 'v'"),
        (lambda: fc.conv2d.vjp(X, W)[1](np.ones((1, 3, 3, 3)), 1), TypeError, "wrt must be a name or names"),
        (lambda: fc.conv2d.vjp(X, W)[1](np.ones((1, 3, 3, 3)), "bias"), ValueError, "wrt must be some of"),
        (lambda: fc.conv2d.vjp(X.astype(int), W.astype(int)), TypeError, "x has dtype int64, which is not differentiable"),
        (lambda: fc.conv2d.vjp(X.astype(complex), W), TypeError, "x has dtype complex128, which is not differentiable"),
        (lambda: fc.max_pool2d.vjp(X.astype(int), 2), TypeError, "x has dtype int64, which is not differentiable"),
        (lambda: fc.conv2d.vjp(X, W, strides=2), TypeError, "strides"),
        (lambda: fc.conv2d.vjp(X, W[:, :1]), ValueError, "w must have 2 input channels"),
        (lambda: fc.conv2d.plan(X.shape, W.astype(int), x_dtype=float).vjp(X), TypeError, "w has dtype int64"),
        (lambda: fc.grad.conv2d_weight(X, (3, 1, 3, 3), X), ValueError, "weight_size must have 2 input channels"),
        (lambda: fc.grad.conv2d_weight(X, (3, 2, 3, 3), X), ValueError, "grad_output must have the shape of the convolution's"),
        (lambda: fc.grad.conv2d_weight(X.astype(int), (3, 2, 3, 3), X), TypeError, "input has dtype int64"),
        (lambda: fc.grad.conv2d_input((2, 5, 5), W, np.ones((1, 3, 3, 3))), ValueError, "input_size must have a batch axis"),
        (lambda: fc.grad.conv2d_input(X.shape, W, X), ValueError, "grad_output must have the shape of the convolution's"),
        (lambda: fc.grad.max_pool2d_input((1, 2, 2, 2), np.full(X.shape, 4), X), ValueError, r"indices must lie in 0 \.\. 3"),
        (
            lambda: fc.grad.avg_pool2d_input((1, 2, 9, 9), X, 2),
            ValueError,
            "grad_output must have the shape of the pool's result",
        ),
        (lambda: fc.grad.conv2d_weight.vjp(X), TypeError, "has no vjp"),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.exhaustive
@pytest.mark.parametrize("padding", [0, 1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("stride", [1, pytest.param(2, marks=pytest.mark.slow), 4])
@pytest.mark.parametrize("layout", ["NCHW", pytest.param("NHWC", marks=pytest.mark.slow)])
def test_every_size_that_a_forward_pass_allows(stride: int, padding: int, layout: str) -> None:
    """fastconv.grad gives a gradient of the input's very size, rows that no window reached included."""
    rng = np.random.default_rng(8)
    last = layout == "NHWC"
    w = rng.integers(-3, 4, (2, 3, 3, 1) if last else (2, 1, 3, 3)).astype(np.float64)
    for size in range(3, 8):
        x = rng.integers(-3, 4, (1, size, 6, 1) if last else (1, 1, size, 6)).astype(np.float64)
        options = {"stride": stride, "padding": padding, "layout": layout}
        y = fc.conv2d(x, w, **options)
        dy = rng.integers(-3, 4, y.shape).astype(np.float64)
        dx = fc.grad.conv2d_input(x.shape, w, dy, **options)
        dw = fc.grad.conv2d_weight(x, w.shape, dy, **options)
        assert dx.shape == x.shape
        assert (dx * x).sum() == (dw * w).sum() == (y * dy).sum()
